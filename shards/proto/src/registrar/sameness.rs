//! The usual refresh: a REGISTER that differs from the one before in its Vias and CSeq and in nothing else.
//!
//! What a REGISTER asks for follows from its bytes, from where it came from, and from the settings. A fingerprint over all of
//! that but Via and CSeq is kept with the binding that was made of it. Where it is met again, everything would be read as
//! it was read then and decided as it was decided then, so nothing but Via and CSeq is read, and the answer is
//! composed at once. A request that this room does not answer goes the whole way through [`super`].
//!
//! Two texts of one fingerprint would have to be sent by the same subscriber, who gains nothing by it; so it is
//! fast and not keyed. It is the same in every process, so that it may be kept with the binding.

use super::Supports;
use super::plan::{self, Order};
use super::reply::Registered;
use crate::hop::Source;
use crate::keys::AorHash;
use crate::location::{Record, Refresh, Stamp};
use crate::outbox::Outbox;
use crate::request;
use crate::settings::Settings;
use crate::shard::Core;
use crate::time::Now;
use sipfed_sip::{HeaderName, Message, Method};
use std::net::IpAddr;

/// No fingerprint: of a binding that was not made by a REGISTER with one Contact and without a tag in To, which
/// nobody sends.
pub(super) const NONE: u64 = 0;

/// A fingerprint of all settings that decide about a REGISTER: where they change, every REGISTER is read again.
pub(crate) fn print_of_settings(settings: &Settings) -> u64 {
    let mut print = Print::new();
    // Whatever is added to them stands in this text as well. Another version of it costs every subscriber one whole
    // registration.
    print.add(format!("{:?} {:?} {:?}", settings.registrar, settings.nat, settings.policy).as_bytes());
    print.end()
}

impl Core {
    /// The fingerprint of a REGISTER, of whose topmost Via `is_natted` is what counts; never [`NONE`].
    pub(super) fn print_of(&self, message: &Message<'_>, source: &Source, is_natted: bool) -> u64 {
        let mut print = Print::new();
        for span in message.spans_without(|name| matches!(name, HeaderName::Via | HeaderName::CSeq)) {
            print.add(span);
        }
        for address in [source.remote, source.local] {
            match address.ip() {
                IpAddr::V4(ip) => print.words(u64::from(ip.to_bits()), u64::from(address.port())),
                IpAddr::V6(ip) => {
                    let bits = ip.to_bits();
                    print.words(bits as u64, (bits >> 64) as u64);
                    print.words(6, u64::from(address.port()));
                }
            }
        }
        let marks = source.transport as u64 | u64::from(is_natted) << 8;
        print.words(source.flow.bits(), marks);
        print.words(self.settings_print, 0);
        print.end().max(1)
    }
}

/// A hash over bytes, of two lanes that do not wait for each other.
struct Print {
    lanes: [u64; 2],
}

impl Print {
    const SALTS: [u64; 4] =
        [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03, 0x8cb9_2ba7_2f3d_8dd7, 0xaaaa_aaaa_5555_5555];

    fn new() -> Self {
        Self { lanes: [Self::SALTS[0], Self::SALTS[1]] }
    }

    #[inline]
    fn fold(a: u64, b: u64) -> u64 {
        let product = u128::from(a) * u128::from(b);
        (product as u64) ^ (product >> 64) as u64
    }

    /// Takes sixteen bytes into a lane. What is added keeps a lane from being wiped out by a factor of zero.
    #[inline]
    fn mix(&mut self, lane: usize, a: u64, b: u64) {
        let salt = Self::SALTS[2 + lane];
        self.lanes[lane] = Self::fold(self.lanes[lane] ^ a, b ^ salt).wrapping_add(a.rotate_left(29) ^ b);
    }

    #[inline]
    fn words(&mut self, a: u64, b: u64) {
        self.mix(0, a, b);
    }

    #[inline]
    fn block(&mut self, block: &[u8; 32]) {
        let (words, _) = block.as_chunks::<8>();
        let [a, b, c, d] = [0, 1, 2, 3].map(|at| u64::from_le_bytes(words[at]));
        self.mix(0, a, b);
        self.mix(1, c, d);
    }

    /// Takes `bytes` and their count, so that no two lists of them run together.
    #[inline]
    fn add(&mut self, bytes: &[u8]) {
        let (blocks, rest) = bytes.as_chunks::<32>();
        for block in blocks {
            self.block(block);
        }
        let mut last = [0; 32];
        last[..rest.len()].copy_from_slice(rest);
        self.block(&last);
        self.words(bytes.len() as u64, 0);
    }

    fn end(&self) -> u64 {
        Self::fold(self.lanes[0] ^ Self::SALTS[2], self.lanes[1] ^ Self::SALTS[3])
    }
}

impl Core {
    /// Refreshes the binding that this very request made before, and answers; `None` when there is none, and nothing
    /// was done. `aor` is the hash of the AoR in To.
    pub(crate) fn refresh_same(
        &mut self,
        message: &Message<'_>,
        aor: AorHash,
        source: &Source,
        now: Now,
        out: &mut Outbox,
    ) -> Option<()> {
        let (id, record) = self.location.find_by_hash(aor)?;
        if message.fault().is_some() || self.is_draining || self.is_refusing_changes {
            return None;
        }
        let via = message.top_via().ok()?;
        let cseq = message.cseq().ok().filter(|cseq| cseq.method == Method::Register)?;
        let print = self.print_of(message, source, self.settings.nat.signs.any(message, &via, source));
        let same = Record::bindings(record).find(|b| b.request_print() == print);
        let binding = same.filter(|b| b.is_live(now.unix_s()) && !b.flags().flow_lost())?;
        let call_id = binding.call_id();
        let number = self.keys.request(via.branch().unwrap_or_default(), call_id);
        let (supports, names_flow) = (binding.flags(), binding.reg_id() != 0);
        if let Order::Later = plan::order(&binding, call_id, cseq.number, number as u32).ok()? {
            let refresh = Refresh {
                contact_id: binding.contact_id(),
                expires_at_s: plan::end_of(now, self.shortened(binding.granted_s(), call_id, cseq.number)),
                updated_at_s: now.unix_s(),
                cseq: cseq.number,
                branch_hash: number as u32,
                request_print: print,
                stamp: Stamp::ZERO,
            };
            self.counters.registers_refreshed += 1;
            self.location.refresh(id, &refresh);
        }
        self.counters.registers_accepted += 1;
        let registered = Registered {
            message,
            via: &via,
            number: Some(number),
            stamp: request::stamp(&via, source),
            to: request::reply_to(&via, source),
            wants_gruu: supports.supports_gruu(),
            wants_path: supports.supports_path(),
            outbound: names_flow && Supports::of(message).outbound,
            // A request for which that is not so has no fingerprint.
            only: None,
        };
        self.reply_registered(&registered, aor, Some(id), now, out);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(parts: &[&[u8]]) -> u64 {
        let mut print = Print::new();
        for part in parts {
            print.add(part);
        }
        print.end()
    }

    #[test]
    fn every_byte_and_every_boundary_counts() {
        let text: Vec<u8> = (0..200u8).collect();
        let whole = print(&[&text]);
        for at in 0..text.len() {
            let mut other = text.clone();
            other[at] ^= 1;
            assert_ne!(print(&[&other]), whole, "byte {at}");
            assert_ne!(print(&[&text[..at], &text[at..]]), whole, "parted at {at}");
        }
        assert_ne!(print(&[b""]), print(&[b"\0"]));
        assert_ne!(print(&[b"", b"a"]), print(&[b"a", b""]));
    }

    /// Fingerprints are kept with bindings, beyond the life of a process: another one for the same bytes costs every
    /// subscriber one whole registration.
    #[test]
    fn a_fingerprint_is_the_same_in_every_process() {
        let print = print(&[b"REGISTER sip:example.com SIP/2.0\r\n", &[7; 100]]);
        assert_eq!(print, 0x9c02_8cf0_fc17_5b6b, "{print:#x}");
    }
}
