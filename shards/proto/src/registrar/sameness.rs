//! The usual refresh: a REGISTER that differs from the one before in its branch, CSeq and nothing else that counts.
//!
//! What a REGISTER asks for follows from some of its header fields and from where it came from. A fingerprint over
//! the bytes of all of these is kept with the binding that was made of it. Where it is met again, the same would be
//! decided again, so nothing has to be read to decide it. Two texts of one fingerprint would have to be sent by
//! the same subscriber, who gains nothing by it; so it is fast and not keyed.

use super::plan::{self, Order};
use crate::location::{AorKey, Op, Record, Refresh};
use crate::reject::Rejection;
use crate::request::{self, Request};
use crate::shard::Core;
use crate::time::Now;
use sipfed_sip::HeaderName;
use std::net::IpAddr;

/// The fields that a binding follows from.
const FIELDS: [HeaderName; 6] = [
    HeaderName::Contact,
    HeaderName::Expires,
    HeaderName::CallId,
    HeaderName::UserAgent,
    HeaderName::Allow,
    HeaderName::Path,
];

/// No fingerprint: of a binding that was not made by a REGISTER with one Contact.
pub(super) const NONE: u64 = 0;

/// The fingerprint of a request; never [`NONE`].
pub(super) fn print_of(request: &Request<'_>) -> u64 {
    let mut print = Print(0x9e37_79b9_7f4a_7c15);
    for name in FIELDS {
        for field in request.message.fields(name) {
            print.add(field.value);
        }
        print.word(name as u64);
    }
    let source = &request.source;
    for address in [source.remote, source.local] {
        match address.ip() {
            IpAddr::V4(ip) => print.word(u64::from(ip.to_bits()) << 16 | u64::from(address.port())),
            IpAddr::V6(ip) => print.add(&ip.octets()),
        }
        print.word(u64::from(address.port()));
    }
    print.word(source.flow.bits());
    print.word(source.transport as u64 | u64::from(request::is_natted(&request.via, source)) << 8);
    print.0.max(1)
}

struct Print(u64);

impl Print {
    #[inline]
    fn word(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product as u64) ^ (product >> 64) as u64 ^ word.rotate_left(32);
    }

    #[inline]
    fn add(&mut self, text: &[u8]) {
        let (words, rest) = text.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.word(u64::from_le_bytes(last));
        self.word(text.len() as u64);
    }
}

impl Core {
    /// Refreshes the binding that this very request made before; whether there is one.
    pub(super) fn refresh_same<'a>(
        &mut self,
        request: &Request<'a>,
        key: AorKey<'_>,
        now: Now,
    ) -> Result<bool, Rejection<'a>> {
        let Some((_, record)) = self.location.find(key) else { return Ok(false) };
        let print = print_of(request);
        let same = Record::bindings(record).find(|b| b.request_print() == print);
        let Some(binding) = same.filter(|b| b.is_live(now.unix_s()) && !b.flags().flow_lost()) else {
            return Ok(false);
        };
        let branch_hash = self.keys.branch(request.via.branch().unwrap_or_default());
        if let Order::Later = plan::order(&binding, request.call_id, request.cseq.number, branch_hash)? {
            let op = Op::Refresh(Refresh {
                contact_id: binding.contact_id(),
                expires_at_s: plan::end_of(now, self.shortened(binding.granted_s(), request)),
                updated_at_s: now.unix_s(),
                cseq: request.cseq.number,
                branch_hash,
            });
            self.counters.registers_refreshed += 1;
            self.location.apply(key, &op, &mut self.wheel, &mut self.counters);
        }
        Ok(true)
    }
}
