//! RFC 5118: IPv6 in SIP.

use super::{contact_addresses, names_in, sip, vias, with, with_sound};
use sipfed_sip::{Fault, HeaderName, Host, Method, Uri};

fn v6(text: &str) -> Host<'static> {
    Host::Ip(text.parse().unwrap())
}

/// IPv6 references in Request-URI, Via and Contact.
#[test]
fn rfc5118_4_1_ipv6_good() {
    with_sound("rfc5118/ipv6-good", |m| {
        let uri = sip(m.request_uri());
        assert_eq!((uri.host, uri.port, uri.user), (v6("2001:db8::10"), None, None));
        let via = m.top_via().unwrap();
        assert_eq!((via.host, via.port, via.sent_by), (v6("2001:db8::9:1"), None, b"[2001:db8::9:1]".as_slice()));
        let contact = contact_addresses(m)[0];
        assert_eq!((contact.display, sip(contact.uri).host), (br#""Caller""#.as_slice(), v6("2001:db8::1")));
    });
}

/// Without brackets it is no URI.
#[test]
fn rfc5118_4_2_ipv6_bad() {
    with_sound("rfc5118/ipv6-bad", |m| {
        assert_eq!(m.request_uri(), b"sip:2001:db8::10");
        assert!(Uri::parse(m.request_uri()).is_err());
    });
}

/// Within the brackets, what was meant for a port is the address's last part.
#[test]
fn rfc5118_4_3_port_ambiguous() {
    with_sound("rfc5118/port-ambiguous", |m| {
        let uri = sip(m.request_uri());
        assert_eq!((uri.host, uri.port), (v6("2001:db8::10:5070"), None));
    });
}

/// Behind the brackets it is the port.
#[test]
fn rfc5118_4_4_port_unambiguous() {
    with_sound("rfc5118/port-unambiguous", |m| {
        let uri = sip(m.request_uri());
        assert_eq!((uri.host, uri.port), (v6("2001:db8::10"), Some(5070)));
    });
}

/// A `received` with brackets breaks the grammar of RFC 3261 and must be taken all the same.
#[test]
fn rfc5118_4_5_via_received_param_with_delim() {
    with_sound("rfc5118/via-received-param-with-delim", |m| {
        let via = m.top_via().unwrap();
        assert_eq!(via.params.value("received").and_then(Host::parse), Some(v6("2001:db8::9:255")));
        assert_eq!(via.branch(), Some(b"z9hG4bKas3-111".as_slice()));
        assert_eq!(m.method(), Some(Method::Bye));
    });
}

/// The form that the grammar has, without brackets.
#[test]
fn rfc5118_4_5_via_received_param_no_delim() {
    with_sound("rfc5118/via-received-param-no-delim", |m| {
        let via = m.top_via().unwrap();
        assert_eq!(via.params.value("received").and_then(Host::parse), Some(v6("2001:db8::9:255")));
        assert_eq!(via.branch(), Some(b"z9hG4bKas3".as_slice()));
    });
}

/// Addresses without brackets in SDP are the body's affair.
#[test]
fn rfc5118_4_6_ipv6_in_sdp() {
    with_sound("rfc5118/ipv6-in-sdp", |m| {
        assert_eq!(m.body().len(), 251);
        assert_eq!(sip(m.address(HeaderName::To).unwrap().uri).host, v6("2001:db8::10"));
    });
}

/// IPv4 and IPv6 mixed within the Vias of one message.
#[test]
fn rfc5118_4_7_mult_ip_in_header() {
    with_sound("rfc5118/mult-ip-in-header", |m| {
        let read: Vec<_> = vias(m).iter().map(|v| (v.host, v.port, v.transport)).collect();
        let expected: [(Host<'_>, Option<u16>, &[u8]); 3] = [
            (v6("2001:db8::9:1"), Some(6050), b"UDP"),
            (v6("192.0.2.1"), None, b"UDP"),
            (v6("2001:db8::9:255"), None, b"TCP"),
        ];
        assert_eq!(read, expected);
        assert_eq!(vias(m)[2].params.value("received").and_then(Host::parse), Some(v6("192.0.2.200")));
    });
}

/// IPv4 and IPv6 mixed within SDP.
#[test]
fn rfc5118_4_8_mult_ip_in_sdp() {
    with_sound("rfc5118/mult-ip-in-sdp", |m| assert_eq!(m.body().len(), 189));
}

/// IPv4-mapped addresses are IPv6 addresses.
#[test]
fn rfc5118_4_9_ipv4_mapped_ipv6() {
    with_sound("rfc5118/ipv4-mapped-ipv6", |m| {
        let read: Vec<_> = vias(m).iter().map(|v| (v.host, v.port)).collect();
        assert_eq!(read, [(v6("::ffff:192.0.2.10"), Some(19823)), (v6("::ffff:192.0.2.2"), None)]);
        assert_eq!(sip(contact_addresses(m)[0].uri).host, v6("::ffff:192.0.2.2"));
        assert_eq!(m.body().len(), 245);
    });
}

/// Three colons before an IPv4 part, by a mistake of RFC 3261's grammar, are taken for two.
#[test]
fn rfc5118_4_10_ipv6_bug_abnf_3_colons() {
    with_sound("rfc5118/ipv6-bug-abnf-3-colons", |m| {
        assert_eq!(sip(m.request_uri()).host, v6("2001:db8::192.0.2.1"));
        assert_eq!(sip(m.address(HeaderName::To).unwrap().uri).host, v6("2001:db8::192.0.2.1"));
    });
    assert_eq!(Host::parse(b"[2001:db8:::10]"), None, "the mistake needs an IPv4 part");
    assert_eq!(Host::parse(b"[2001:db8:::10:192.0.2.1]"), None, "right behind the colons");
}

/// The form that was meant.
#[test]
fn rfc5118_4_10_ipv6_correct_abnf_2_colons() {
    with_sound("rfc5118/ipv6-correct-abnf-2-colons", |m| {
        assert_eq!(sip(m.request_uri()).host, v6("2001:db8::192.0.2.1"));
    });
}

/// As the archive has them, with bare LF: read so far that a reply is possible, but never as sound messages.
#[test]
fn rfc5118_bare_lf_is_no_line_end() {
    let names = names_in("rfc5118/bare_lf");
    assert_eq!(names.len(), 12);
    for name in names {
        with(&name, |m| {
            assert!(matches!(m.fault(), Some(Fault::StartLine(_))), "{name}");
            assert!(m.top_via().is_ok() && m.cseq().is_ok(), "{name}");
        });
    }
}
