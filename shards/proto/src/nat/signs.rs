//! What tells that the sender of a request is behind a NAT.
//!
//! Eight signs, each with the name that OpenSIPS's `nat_uac_test` gives it. Which of them count is configured; one that is
//! there is enough. No sign is certain: a phone may send from one port and listen at another, and a proxy before it that
//! adds no Via of its own makes every phone look so.

use crate::hop::Source;
use crate::request::Request;
use crate::shard::Core;
use sipfed_sip::{Contact, Message, Uri, Via};
use std::net::{IpAddr, Ipv4Addr};

/// One sign of a NAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Sign {
    /// The Contact is at an address that is private (RFC 1918, RFC 4193) or shared (RFC 6598).
    PrivateContact,
    /// The request came from another address than its topmost Via says.
    DiffIpSrcVia,
    /// The topmost Via is at a private or shared address.
    PrivateVia,
    /// A connection line of the session description is (RFC 4566 §5.7).
    PrivateSdp,
    /// The request came from another port than its topmost Via says.
    DiffPortSrcVia,
    /// It came from another address than its Contact is at.
    DiffIpSrcContact,
    /// It came from another port than its Contact is at.
    DiffPortSrcContact,
    /// Contact, Via or session description are at an address that is shared behind a carrier's NAT (RFC 6598).
    CarrierGradeNat,
}

impl Sign {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::PrivateContact,
        Self::DiffIpSrcVia,
        Self::PrivateVia,
        Self::PrivateSdp,
        Self::DiffPortSrcVia,
        Self::DiffIpSrcContact,
        Self::DiffPortSrcContact,
        Self::CarrierGradeNat,
    ];

    /// As configuration says it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::PrivateContact => "private-contact",
            Self::DiffIpSrcVia => "diff-ip-src-via",
            Self::PrivateVia => "private-via",
            Self::PrivateSdp => "private-sdp",
            Self::DiffPortSrcVia => "diff-port-src-via",
            Self::DiffIpSrcContact => "diff-ip-src-contact",
            Self::DiffPortSrcContact => "diff-port-src-contact",
            Self::CarrierGradeNat => "carrier-grade-nat",
        }
    }
}

/// A set of signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signs(u8);

impl Default for Signs {
    /// The one that has few reasons but a NAT.
    fn default() -> Self {
        Self::NONE.with(Sign::DiffIpSrcVia)
    }
}

impl Signs {
    /// No sign.
    pub const NONE: Self = Self(0);
    /// Every sign.
    pub(crate) const ALL: Self = Self(u8::MAX);

    /// These and `sign`.
    #[must_use]
    pub const fn with(self, sign: Sign) -> Self {
        Self(self.0 | 1 << sign as u8)
    }

    /// Whether `sign` is among them.
    #[inline]
    pub const fn has(self, sign: Sign) -> bool {
        self.0 & 1 << sign as u8 != 0
    }

    /// Those that are there, in the order of [`Sign::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Sign> {
        Sign::ALL.into_iter().filter(move |sign| self.has(*sign))
    }

    /// Whether one of these signs is in a request with that topmost Via.
    #[inline]
    pub(crate) fn any(self, message: &Message<'_>, via: &Via<'_>, source: &Source) -> bool {
        let (remote, said) = (source.remote, via.host.ip());
        if self.has(Sign::DiffIpSrcVia) && said.is_some_and(|ip| ip != remote.ip()) {
            return true;
        }
        let beyond = Self(self.0 & !(1 << Sign::DiffIpSrcVia as u8));
        beyond != Self::NONE && beyond.found(message, via, source, true) != Self::NONE
    }

    /// Those of these signs that are in a request with that topmost Via; with `is_first_enough` one of them.
    pub(crate) fn found(self, message: &Message<'_>, via: &Via<'_>, source: &Source, is_first_enough: bool) -> Self {
        let (remote, said) = (source.remote, via.host.ip());
        let default_port = crate::request::SIP_PORT;
        let mut found = Self::NONE;
        for sign in self.iter() {
            let is_there = match sign {
                Sign::DiffIpSrcVia => said.is_some_and(|ip| ip != remote.ip()),
                Sign::PrivateVia => said.is_some_and(is_private),
                Sign::DiffPortSrcVia => via.port.unwrap_or(default_port) != remote.port(),
                Sign::PrivateContact => contacts(message).any(|(ip, _)| ip.is_some_and(is_private)),
                Sign::DiffIpSrcContact => contacts(message).any(|(ip, _)| ip.is_some_and(|ip| ip != remote.ip())),
                Sign::DiffPortSrcContact => {
                    contacts(message).any(|(_, port)| port.unwrap_or(default_port) != remote.port())
                }
                Sign::PrivateSdp => connections(message.body()).any(is_private),
                Sign::CarrierGradeNat => {
                    let of_contacts = contacts(message).filter_map(|(ip, _)| ip);
                    said.into_iter().chain(of_contacts).chain(connections(message.body())).any(is_shared)
                }
            };
            if is_there {
                found = found.with(sign);
                if is_first_enough {
                    return found;
                }
            }
        }
        found
    }
}

impl Core {
    /// Whether a request shows one of the signs that count.
    #[inline]
    pub(crate) fn is_natted(&self, request: &Request<'_>) -> bool {
        self.settings.nat.signs.any(&request.message, &request.via, &request.source)
    }
}

/// The addresses and ports that Contacts say. One that cannot be read says nothing.
fn contacts<'a>(message: &Message<'a>) -> impl Iterator<Item = (Option<IpAddr>, Option<u16>)> + use<'a> {
    message.contacts().filter_map(|contact| match contact {
        Ok(Contact::At(address)) => {
            let uri: Uri<'_> = address.uri().ok()?;
            uri.sip().map(|uri| (uri.host.ip(), uri.port))
        }
        _ => None,
    })
}

/// The addresses of the connection lines of a session description, whatever else stands in it.
fn connections(body: &[u8]) -> impl Iterator<Item = IpAddr> {
    body.split(|&byte| byte == b'\n').filter_map(|line| {
        let rest = line.strip_prefix(b"c=IN IP4 ").or_else(|| line.strip_prefix(b"c=IN IP6 "))?;
        let end = rest.iter().position(|byte| b"/ \r".contains(byte)).unwrap_or(rest.len());
        std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
    })
}

/// An address that means something else in another network: of RFC 1918, RFC 4193 or RFC 6598.
fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.is_private() || is_shared(ip),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

/// An address that a carrier's NAT shares among its subscribers: 100.64.0.0/10 (RFC 6598).
fn is_shared(ip: IpAddr) -> bool {
    const PREFIX: u32 = Ipv4Addr::new(100, 64, 0, 0).to_bits() >> 22;
    matches!(ip.to_canonical(), IpAddr::V4(ip) if ip.to_bits() >> 22 == PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hop::{FlowToken, Transport};
    use sipfed_sip::{Index, scan};

    fn found(via: &str, contact: &str, body: &str, remote: &str) -> Vec<&'static str> {
        let text = format!(
            "INVITE sip:b@d SIP/2.0\r\nVia: SIP/2.0/UDP {via};branch=z9hG4bK1\r\nFrom: <sip:a@d>;tag=1\r\n\
             To: <sip:b@d>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nContact: <{contact}>\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut index = Index::new();
        let message = scan(text.as_bytes(), &mut index).unwrap();
        let via = message.top_via().unwrap();
        let source = Source {
            transport: Transport::Udp,
            remote: remote.parse().unwrap(),
            local: "192.0.2.1:5060".parse().unwrap(),
            flow: FlowToken::NONE,
        };
        let all = Sign::ALL.into_iter().fold(Signs::NONE, Signs::with);
        for sign in Sign::ALL {
            let alone = Signs::NONE.with(sign);
            assert_eq!(alone.any(&message, &via, &source), all.found(&message, &via, &source, false).has(sign));
        }
        all.found(&message, &via, &source, false).iter().map(Sign::word).collect()
    }

    #[test]
    fn each_sign_is_found_where_it_is_and_nowhere_else() {
        let open = ("198.51.100.9:5060", "sip:a@198.51.100.9");
        assert_eq!(found(open.0, open.1, "", "198.51.100.9:5060"), [""; 0]);
        assert_eq!(found("phone.example", "sip:a@phone.example", "", "198.51.100.9:5060"), [""; 0]);
        assert_eq!(found("10.0.0.7:5060", open.1, "", "198.51.100.9:5060"), ["diff-ip-src-via", "private-via"]);
        assert_eq!(
            found(open.0, "sip:a@[fd00::7]", "", "198.51.100.9:5060"),
            ["private-contact", "diff-ip-src-contact"]
        );
        assert_eq!(found(open.0, open.1, "", "198.51.100.9:1024"), ["diff-port-src-via", "diff-port-src-contact"]);
        assert_eq!(found(open.0, "sip:a@198.51.100.9:5062", "", "198.51.100.9:5060"), ["diff-port-src-contact"]);
        for (line, is_there) in [
            ("c=IN IP4 192.168.1.1", true),
            ("c=IN IP4 172.31.255.255/127", true),
            ("c=IN IP4 172.32.0.0", false),
            ("c=IN IP6 fd12::1", true),
            ("c=IN IP4 ", false),
            ("c=IN IP4 10.0.0", false),
            ("a=c=IN IP4 10.0.0.1", false),
        ] {
            let signs = found(open.0, open.1, &format!("v=0\r\n{line}\r\nm=audio 1 RTP/AVP 0"), "198.51.100.9:5060");
            assert_eq!(signs.contains(&"private-sdp"), is_there, "{line}");
        }
        for (ip, is_there) in [("100.64.0.0", true), ("100.127.255.255", true), ("100.128.0.0", false)] {
            let signs = found(open.0, &format!("sip:a@{ip}"), "", "198.51.100.9:5060");
            assert_eq!(signs.contains(&"carrier-grade-nat"), is_there, "{ip}");
            assert_eq!(signs.contains(&"private-contact"), is_there, "{ip}");
        }
    }
}
