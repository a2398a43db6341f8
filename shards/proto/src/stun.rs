//! STUN Binding requests among the datagrams of SIP: how a phone keeps its NAT open and learns whether its flow still stands
//! (RFC 5626 §4.4.2, §8).
//!
//! In goes a datagram whose first byte is below 4, as no SIP message begins (RFC 7983 §7); out comes the address that it came
//! from (RFC 5389 §7, §15.2), to there. Such a request has no attributes; one that has any that it wants to be understood is
//! not answered. An answer is 12 bytes longer than what was asked over IPv4, so nobody floods others with it.

use crate::hop::{Destination, Source};
use crate::outbox::{Outbox, Ticket};
use crate::shard::Core;
use std::net::IpAddr;

const HEADER_BYTES: usize = 20;
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const XOR_MAPPED_ADDRESS: [u8; 2] = [0x00, 0x20];

/// Whether a datagram may be STUN.
#[inline]
pub(crate) fn may_be(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| *first < 4)
}

/// Cookie and transaction id of a Binding request that wants nothing to be understood.
fn read(bytes: &[u8]) -> Option<&[u8; 16]> {
    let (header, attributes) = bytes.split_at_checked(HEADER_BYTES)?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[..2] != BINDING_REQUEST || header[4..8] != MAGIC_COOKIE || length != attributes.len() {
        return None;
    }
    let mut rest = attributes;
    while !rest.is_empty() {
        let (head, behind) = rest.split_at_checked(4)?;
        // Those from 0x8000 on may be passed over (RFC 5389 §15).
        if head[0] < 0x80 {
            return None;
        }
        let value = usize::from(u16::from_be_bytes([head[2], head[3]])).next_multiple_of(4);
        rest = behind.get(value..)?;
    }
    header[4..].try_into().ok()
}

fn write(id: &[u8; 16], source: &Source, out: &mut Vec<u8>) {
    let port = source.remote.port() ^ u16::from_be_bytes([MAGIC_COOKIE[0], MAGIC_COOKIE[1]]);
    let cookie = u32::from_be_bytes(MAGIC_COOKIE);
    let (family, address_len) = if source.remote.is_ipv4() { (1, 4) } else { (2, 16) };
    let value_len: u16 = 4 + address_len;
    out.extend_from_slice(&BINDING_SUCCESS);
    out.extend_from_slice(&(4 + value_len).to_be_bytes());
    out.extend_from_slice(id);
    out.extend_from_slice(&XOR_MAPPED_ADDRESS);
    out.extend_from_slice(&value_len.to_be_bytes());
    out.extend_from_slice(&[0, family]);
    out.extend_from_slice(&port.to_be_bytes());
    match source.remote.ip() {
        IpAddr::V4(ip) => out.extend_from_slice(&(ip.to_bits() ^ cookie).to_be_bytes()),
        IpAddr::V6(ip) => out.extend_from_slice(&(ip.to_bits() ^ u128::from_be_bytes(*id)).to_be_bytes()),
    }
}

impl Core {
    /// Answers a Binding request; anything else is dropped.
    pub(crate) fn answer_stun(&mut self, bytes: &[u8], source: &Source, out: &mut Outbox) {
        let Some(id) = read(bytes) else {
            self.counters.dropped_unparsable += 1;
            return;
        };
        self.counters.keepalives += 1;
        let to = Destination::Udp { remote: source.remote, local: source.local };
        out.push(to, Ticket::NONE, |buffer| write(id, source, buffer));
        self.counters.sent += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hop::{FlowToken, Transport};

    const ID: [u8; 12] = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

    fn request(attributes: &[u8]) -> Vec<u8> {
        let length = (attributes.len() as u16).to_be_bytes();
        [&BINDING_REQUEST[..], &length, &MAGIC_COOKIE, &ID, attributes].concat()
    }

    fn answer(remote: &str) -> Vec<u8> {
        let (remote, local) = (remote.parse().unwrap(), "192.0.2.1:5060".parse().unwrap());
        let source = Source { transport: Transport::Udp, remote, local, flow: FlowToken::NONE };
        let mut out = Vec::new();
        write(read(&request(&[])).unwrap(), &source, &mut out);
        out
    }

    /// The addresses of RFC 5769 §2.2 and §2.3, which have the same transaction id.
    #[test]
    fn rfc5769_the_address_is_told_xored() {
        let told = answer("192.0.2.1:32853");
        assert_eq!(told[..4], [0x01, 0x01, 0, 12]);
        assert_eq!(told[8..20], ID);
        assert_eq!(told[20..], [0x00, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
        let told = answer("[2001:db8:1234:5678:11:2233:4455:6677]:32853");
        assert_eq!(told[..4], [0x01, 0x01, 0, 24]);
        let address = [0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9];
        assert_eq!(told[24..28], [0, 2, 0xa1, 0x47]);
        assert_eq!(told[28..], address);
    }

    #[test]
    fn what_wants_more_or_is_broken_is_not_read() {
        assert!(read(&request(&[])).is_some());
        assert!(read(&request(&[0x80, 0x22, 0, 3, 1, 2, 3, 0])).is_some(), "SOFTWARE may be passed over");
        assert!(read(&request(&[0x00, 0x24, 0, 4, 1, 2, 3, 4])).is_none(), "PRIORITY has to be understood");
        assert!(read(&request(&[0x80, 0x22, 0, 9, 1, 2, 3, 0])).is_none());
        assert!(read(&request(&[0x80])).is_none());
        let whole = request(&[]);
        for at in [0, 1, 3, 4] {
            let mut other = whole.clone();
            other[at] ^= 0x41;
            assert!(read(&other).is_none(), "byte {at}");
        }
        assert!((0..whole.len()).all(|len| read(&whole[..len]).is_none()));
    }
}
