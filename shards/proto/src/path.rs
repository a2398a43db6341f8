//! The Path of a binding (RFC 3327), as it is kept: the values of the REGISTER as one comma list, nearest hop first.

use crate::hop::Transport;
use arrayvec::ArrayVec;
use sipfed_sip::{Address, Host, Scheme, SipUri, Uri};
use std::net::SocketAddr;

/// The longest `received` that is read: an IPv6 address with port and transport fits, each of its delimiters escaped.
const RECEIVED_BYTES_MAX: usize = 96;

/// Where a proxy has seen a phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) at: SocketAddr,
    pub(crate) over: Transport,
}

/// The URI of the first hop, which requests for the binding go to.
pub(crate) fn first(path: &[u8]) -> Option<Uri<'_>> {
    uris(path).next()?
}

/// Where the first hop says that it has seen the phone: by the parameter `received` that the modules `path` of OpenSIPS and
/// Kamailio add to its URI. One that joins two networks names itself twice, with `r2`, and says so on the far side. Nothing
/// is said by what is no SIP URI with an address, over a transport that is known here.
pub(crate) fn seen(path: &[u8]) -> Option<Seen> {
    let mut hops = uris(path);
    let mut hop = hops.next()??;
    if hop.sip()?.param("r2").is_some()
        && let Some(far_side) = hops.next()
    {
        hop = far_side?;
    }
    let mut text = ArrayVec::<u8, RECEIVED_BYTES_MAX>::new();
    for byte in sipfed_sip::unescaped(hop.sip()?.param("received")?) {
        text.try_push(byte).ok()?;
    }
    let uri = Uri::parse(&text).ok()?;
    let uri = uri.sip()?;
    let over = transport(uri)?;
    let Host::Ip(ip) = uri.host else { return None };
    let port = uri.port.unwrap_or(over.usual_port());
    (port != 0).then_some(Seen { at: SocketAddr::new(ip, port), over })
}

fn transport(uri: &SipUri<'_>) -> Option<Transport> {
    let usual = if uri.scheme == Scheme::Sips { Transport::Tls } else { Transport::Udp };
    let Some(token) = uri.param("transport") else { return Some(usual) };
    Transport::ALL.into_iter().find(|known| sipfed_sip::eq_ignore_case(token, known.uri_token().as_bytes()))
}

/// The URIs of its values; `None` for one that is malformed.
fn uris(mut path: &[u8]) -> impl Iterator<Item = Option<Uri<'_>>> {
    std::iter::from_fn(move || {
        let (hop, rest) = Address::parse_prefix(path).ok()?;
        path = rest;
        Some(hop.uri().ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_phone_was_seen_is_read_as_edge_proxies_write_it() {
        for (path, seen_at) in [
            ("<sip:edge.example;lr;received=sip:203.0.113.7:31000>", Some(("203.0.113.7:31000", Transport::Udp))),
            (
                "<sip:1.2.3.4;lr;received=sip:203.0.113.7:31000%3btransport%3dTCP>, <sip:x;received=sip:1.1.1.1>",
                Some(("203.0.113.7:31000", Transport::Tcp)),
            ),
            (
                "<sip:1.2.3.4;lr;received=sip:[2001:db8::1]:5062%3Btransport%3Dwss>;x=1",
                Some(("[2001:db8::1]:5062", Transport::Wss)),
            ),
            ("<sip:1.2.3.4;received=%73ips:203.0.113.7>", Some(("203.0.113.7:5061", Transport::Tls))),
            (
                "<sip:10.0.0.1;lr;r2=on;received=sip:1.1.1.1>,<sip:1.2.3.4;lr;r2=on;received=sip:203.0.113.7:1>",
                Some(("203.0.113.7:1", Transport::Udp)),
            ),
            ("<sip:10.0.0.1;lr;r2=on>,<sip:1.2.3.4;lr;r2=on>", None),
            (
                "\"<sip:1.1.1.1;received=sip:1.1.1.1>, \" <sip:1.2.3.4;lr;received=sip:203.0.113.7:1>",
                Some(("203.0.113.7:1", Transport::Udp)),
            ),
            ("<sip:10.0.0.1;lr>,<sip:1.2.3.4;lr;received=sip:203.0.113.7:1>", None),
            ("<sip:10.0.0.1;lr;r2=on;received=sip:203.0.113.7:1>", Some(("203.0.113.7:1", Transport::Udp))),
            ("", None),
            ("<sip:1.2.3.4;lr>", None),
            ("<sip:1.2.3.4;lr;received>", None),
            ("<sip:1.2.3.4;lr;received=203.0.113.7>", None),
            ("<sip:1.2.3.4;lr;received=sip:phone.example:5060>", None),
            ("<sip:1.2.3.4;lr;received=sip:203.0.113.7:0>", None),
            ("<sip:1.2.3.4;lr;received=sip:203.0.113.7:99999>", None),
            ("<sip:1.2.3.4;lr;received=sip:203.0.113.7%3btransport%3dsctp>", None),
            ("<sip:1.2.3.4;lr;received=tel:%2B15>", None),
            ("<sip:1.2.3.4;lr;received=sip:203.0.113.7%", None),
        ] {
            let expected = seen_at.map(|(at, over)| Seen { at: at.parse().unwrap(), over });
            assert_eq!(seen(path.as_bytes()), expected, "{path}");
        }
        let long = format!("<sip:1.2.3.4;received=sip:{}@203.0.113.7>", "%61".repeat(RECEIVED_BYTES_MAX));
        assert_eq!(seen(long.as_bytes()), None);
    }
}
