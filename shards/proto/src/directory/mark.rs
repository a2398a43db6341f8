//! The mark on a request by which nodes of one federation know each other's, wherever these seem to come from.
//!
//! A parameter of our Via: a keyed hash of what no other request has (its branch and Call-ID), by a secret that all nodes
//! share. Who copies it has it for that one request, and gains that it is looked up in one place instead of all.
//! Everything that a request carries by itself is not trusted (RFC 3261 §26): without the secret the parameter says nothing.

use sipfed_sip::Via;
use sipfed_sip::compose::hexadecimal;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::fmt;
use std::hash::Hasher;

/// The parameter's name.
pub(crate) const PARAM: &str = "sipfed-mark";
/// Digits of its value.
const DIGITS: usize = 32;

/// See the module's documentation.
pub(crate) struct Mark {
    keyed: SipHasher13,
}

impl Mark {
    /// The mark of all nodes that have this secret.
    pub(crate) fn new(secret: &str) -> Self {
        let mut hasher = SipHasher13::new_with_key(b"sipfed mark of 1");
        hasher.write(secret.as_bytes());
        Self { keyed: SipHasher13::new_with_key(&hasher.finish128().as_bytes()) }
    }

    /// The value for a request.
    pub(crate) fn of(&self, branch: &[u8], call_id: &[u8]) -> [u8; DIGITS] {
        let mut hasher = self.keyed;
        hasher.write_u32(branch.len() as u32);
        hasher.write(branch);
        hasher.write(call_id);
        let hash = hasher.finish128();
        let mut digits = [0; DIGITS];
        digits[..16].copy_from_slice(&hexadecimal::<16>(hash.h1));
        digits[16..].copy_from_slice(&hexadecimal::<16>(hash.h2));
        digits
    }

    /// Whether the request with this topmost Via has it.
    pub(crate) fn is_on(&self, via: &Via<'_>, call_id: &[u8]) -> bool {
        let (Some(given), Some(branch)) = (via.params.value(PARAM), via.branch()) else { return false };
        let due = self.of(branch, call_id);
        // All of it is compared, so that the time it takes tells nothing of how much was right.
        given.len() == due.len() && given.iter().zip(due).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mark")
    }
}
