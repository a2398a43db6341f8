//! The branch of a Via as the generator writes it: magic cookie, phase and number of the request or call.
//!
//! A response carries it back unchanged (RFC 3261 §8.2.6.2), so that its request is found without a table of
//! strings, and what belongs to an earlier phase is told apart. A retransmission has the branch of its first
//! transmission, as RFC 3261 §17.1.2 has it.

use crate::template::{hexadecimal, parse_hexadecimal};
use memchr::memmem;

/// RFC 3261 §8.1.1.7.
const COOKIE: &[u8] = b"z9hG4bK";
const PHASE_DIGITS: usize = 4;
const NUMBER_DIGITS: usize = 8;

/// How many bytes a branch has.
pub(crate) const BRANCH_BYTES: usize = COOKIE.len() + PHASE_DIGITS + NUMBER_DIGITS;
/// Stands in a template for a branch.
pub(crate) const BRANCH_PLACEHOLDER: &str = "z9hG4bKPHASNNUMBERR";
/// Stands in a template for the digits of a branch alone: the call's number in Call-ID and tags.
pub(crate) const DIGITS_PLACEHOLDER: &str = "PHASNNUMBERR";
/// Digits of a phase and a number.
pub(crate) const DIGITS_BYTES: usize = PHASE_DIGITS + NUMBER_DIGITS;

const _: () = assert!(BRANCH_PLACEHOLDER.len() == BRANCH_BYTES);

/// Which request of which phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Branch {
    /// The phase, unique within a run of the generator.
    pub(crate) phase: u16,
    /// The request within the phase.
    pub(crate) number: u32,
}

impl Branch {
    /// As it stands in a Via.
    pub(crate) fn to_bytes(self) -> [u8; BRANCH_BYTES] {
        let mut bytes = [0; BRANCH_BYTES];
        bytes[..COOKIE.len()].copy_from_slice(COOKIE);
        bytes[COOKIE.len()..].copy_from_slice(&self.digits());
        bytes
    }

    /// Without the cookie.
    pub(crate) fn digits(self) -> [u8; DIGITS_BYTES] {
        let mut digits = [0; DIGITS_BYTES];
        let (phase, number) = digits.split_at_mut(PHASE_DIGITS);
        phase.copy_from_slice(&hexadecimal::<PHASE_DIGITS>(u32::from(self.phase)));
        number.copy_from_slice(&hexadecimal::<NUMBER_DIGITS>(self.number));
        digits
    }

    /// What [`Self::digits`] made, at the start of `text`.
    pub(crate) fn from_digits(text: &[u8]) -> Option<Self> {
        let (phase, number) = text.get(..DIGITS_BYTES)?.split_at(PHASE_DIGITS);
        Some(Self { phase: parse_hexadecimal(phase)? as u16, number: parse_hexadecimal(number)? })
    }

    /// The first branch of `message`: that of the top Via, in a message that reached us.
    pub(crate) fn find(message: &[u8]) -> Option<Self> {
        let start = memmem::find(message, COOKIE)? + COOKIE.len();
        Self::from_digits(message.get(start..)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_is_found_again_in_a_message() {
        let branch = Branch { phase: 0x1f, number: 99_999 };
        let mut message = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;rport=1;branch=".to_vec();
        message.extend_from_slice(&branch.to_bytes());
        message.extend_from_slice(b";received=127.0.0.1\r\n");
        assert_eq!(Branch::find(&message), Some(branch));
        assert_eq!(Branch::find(b"branch=z9hG4bKPHAS"), None);
    }
}
