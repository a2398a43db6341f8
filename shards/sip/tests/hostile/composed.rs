//! What is composed: no octet of a peer's ever becomes a line of its own.

use super::{options, with};
use sipfed_sip::compose::{self, Forward, Stamp};
use sipfed_sip::{HeaderName, Index, Message, scan};

/// What ends lines for one reader or another, and what may follow it.
const EVIL: [&str; 9] =
    ["\r\nEvil: 1", "\nEvil: 1", "\rEvil: 1", "\r\n\r\nEvil: 1", "\n\nEvil: 1", "\r\n Evil: 1", "\r\r\n", "\r\n", "\n"];

/// Scans what was composed: it is sound, and has exactly `fields` lines.
fn sound(out: &[u8], fields: usize) {
    let text = out.escape_ascii();
    let mut index = Index::new();
    let made = scan(out, &mut index).unwrap();
    assert_eq!(made.fault(), None, "{text}");
    assert_eq!(made.all_fields().count(), fields, "{text}");
    assert!(!made.all_fields().any(|field| field.line.starts_with(b"Evil")), "{text}");
    assert!(made.body().is_empty(), "{text}");
    let ends = |end: u8| out.split(|&b| b == end).count() - 1;
    assert_eq!((ends(b'\r'), ends(b'\n')), (fields + 2, fields + 2), "one line end per line and no other: {text}");
}

fn reply_to(request: &Message<'_>, reason: &str, tag: &[u8], more: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    compose::reply(&mut out, request, 400, reason, tag, Stamp::default());
    more(&mut out);
    compose::end(&mut out);
    out
}

/// RFC 3261 §7.3.1: a value with a line end in it is written as one line, its folds as single spaces.
#[test]
fn rfc3261_7_3_1_values_with_line_ends_become_one_line() {
    let request = options(b"To: <sip:a@b>\r\n", b"");
    with(&request, |request| {
        for evil in EVIL {
            let value = format!("a{evil}b");
            sound(&reply_to(request, "Bad", b"t", |out| compose::header(out, "X", value.as_bytes())), 7);
            sound(&reply_to(request, &value, b"t", |_| {}), 6);
            sound(&reply_to(request, "Bad", value.as_bytes(), |_| {}), 6);
            let mut out = Vec::new();
            compose::ack(&mut out, request, value.as_bytes());
            sound(&out, 7);
        }
        let out = reply_to(request, "Bad", b"t", |out| compose::header(out, "X", b"a\r\n \t b"));
        with(&out, |reply| assert!(reply.all_fields().any(|field| field.line == b"X: a b\r\n")));
    });
}

/// A Request-URI with a line end in it is written without.
#[test]
fn rfc3261_7_1_the_request_line_is_one_line() {
    let request = options(b"To: <sip:a@b>\r\nMax-Forwards: 7\r\n", b"");
    with(&request, |request| {
        for evil in EVIL {
            let uri = format!("sip:a@b{evil}");
            let change = Forward {
                request_uri: uri.as_bytes(),
                via: b"Via: SIP/2.0/UDP us;branch=z9hG4bKus\r\n",
                record_route: b"",
                routes: b"",
                routes_popped: 0,
                max_forwards: 6,
                max_breadth: Some(3),
                contact: None,
                stamp: Stamp::default(),
                top: None,
            };
            let mut out = Vec::new();
            compose::forward_request(&mut out, request, &change);
            let mut index = Index::new();
            let made = scan(&out, &mut index).unwrap();
            assert!(!made.all_fields().any(|field| field.line.starts_with(b"Evil")));
            assert_eq!(made.all_fields().count(), 9, "{evil:?}");
        }
    });
}

/// RFC 3261 §16.6 step 2 and RFC 4475 §3.3.14: a contact's headers stay out of the Request-URI it is called by.
#[test]
fn rfc3261_16_6_headers_of_a_contact_stay_out_of_the_request_line() {
    for (contact, expected) in [
        ("sip:a@b?Route=%3Csip:c%3E", "sip:a@b"),
        ("sips:a?b@c:5061;lr?x=y&z=1", "sips:a?b@c:5061;lr"),
        ("sip:a?b@c;d", "sip:a?b@c;d"),
        ("tel:+1", "tel:+1"),
        ("http://a?b", "http://a?b"),
    ] {
        with(&options(b"To: <sip:a@b>\r\n", b""), |request| {
            let change = Forward {
                request_uri: contact.as_bytes(),
                via: b"Via: SIP/2.0/UDP us\r\n",
                record_route: b"",
                routes: b"",
                routes_popped: 0,
                max_forwards: 6,
                max_breadth: None,
                contact: None,
                stamp: Stamp::default(),
                top: None,
            };
            let mut out = Vec::new();
            compose::forward_request(&mut out, request, &change);
            with(&out, |went| assert_eq!(went.request_uri(), expected.as_bytes()));
        });
    }
}

/// RFC 3261 §8.2.6.2: a field of a request that ends with a bare CR or LF, or with nothing at all, ends with CR LF
/// in the reply: no empty line comes of it that would end the reply's fields for a lenient reader.
#[test]
fn rfc3261_8_2_6_2_replies_mend_the_line_ends_of_broken_requests() {
    for end in ["\n", "\r", "\n\r", "\r\n"] {
        let text = [
            "OPTIONS sip:a SIP/2.0",
            "Via: SIP/2.0/UDP a;branch=1;rport",
            "v: SIP/2.0/UDP b;branch=2",
            "f: <sip:a@b>;tag=1",
            "t: <sip:c@d>",
            "i: c",
            "CSeq: 1 OPTIONS",
            "",
        ]
        .join(end);
        let mut index = Index::new();
        let Ok(request) = scan(text.as_bytes(), &mut index) else { panic!("{text:?}") };
        sound(&reply_to(&request, "Bad", b"t", |_| {}), 7);
        let stamp = Stamp { received: Some("192.0.2.9".parse().unwrap()), rport: Some(5) };
        let mut out = Vec::new();
        compose::reply(&mut out, &request, 400, "Bad", b"t", stamp);
        compose::end(&mut out);
        sound(&out, 7);
        let mut out = Vec::new();
        compose::cancel(&mut out, &request);
        sound(&out, 7);
    }
    // The last field ends with the datagram.
    let mut index = Index::new();
    let request = scan(b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a\r\nv: SIP/2.0/UDP b", &mut index).unwrap();
    sound(&reply_to(&request, "Bad", b"t", |_| {}), 3);
}

/// CVE-2023-28095: replies to requests in which anything is missing or broken are sound in their lines.
#[test]
fn rfc3261_8_2_6_2_replies_to_hostile_requests() {
    for (fields, count) in [
        ("", 5),
        ("To: \"a <sip:a@b>\r\n", 6),
        ("To: <sip:a@b>;tag=\r\n", 6),
        ("To:\r\n", 6),
        ("To: <sip:a@b>\r\nTo: <sip:c@d>\r\n", 6),
        ("Via:\r\nTo: <sip:a@b>\r\n", 6),
        ("Via: SIP/2.0/UDP a;rport;branch=\"x,y\\\"\";;\r\n", 5),
        ("X: y\r\n z: \r\nno colon\r\n", 5),
    ] {
        with(&options(fields.as_bytes(), b""), |request| {
            let stamp = Stamp { received: Some("192.0.2.9".parse().unwrap()), rport: Some(5) };
            let mut out = Vec::new();
            compose::reply(&mut out, request, 400, "Bad", b"t", stamp);
            compose::end(&mut out);
            sound(&out, count);
        });
    }
}

/// A To whose tag is not understood gets no second one.
#[test]
fn rfc3261_8_2_6_2_a_reply_never_makes_a_second_tag() {
    for (to, expected) in [
        ("<sip:a@b>", "<sip:a@b>;tag=ours"),
        ("sip:a@b;x=y", "sip:a@b;x=y;tag=ours"),
        ("<sip:a@b>;tag=t", "<sip:a@b>;tag=t"),
        ("<sip:a@b>;tag", "<sip:a@b>;tag"),
        ("<sip:a@b>;tag=", "<sip:a@b>;tag="),
        ("<sip:a@b>;tag=\"\"", "<sip:a@b>;tag=\"\""),
        ("<sip:a@b>;tag=a;tag=b", "<sip:a@b>;tag=a;tag=b"),
        ("\"a <sip:a@b>", "\"a <sip:a@b>"),
        ("<sip:a@b>,", "<sip:a@b>,"),
    ] {
        with(&options(format!("To: {to}\r\n").as_bytes(), b""), |request| {
            let out = reply_to(request, "Bad", b"ours", |_| {});
            with(&out, |reply| assert_eq!(reply.value(HeaderName::To), Some(expected.as_bytes())));
        });
    }
}

/// RFC 3261 §18.2.1, RFC 3581 §4: what a peer says of where it is received from is replaced, wherever it stands.
#[test]
fn rfc3261_18_2_1_the_stamp_replaces_what_was_claimed() {
    for (via, expected) in [
        ("SIP/2.0/UDP a;received=1.1.1.1;branch=b;rport", "SIP/2.0/UDP a;branch=b;rport=5;received=192.0.2.9"),
        ("SIP/2.0/UDP a;rport=77;Received=[::1];branch=b", "SIP/2.0/UDP a;rport=5;branch=b;received=192.0.2.9"),
        ("SIP/2.0/UDP a", "SIP/2.0/UDP a;received=192.0.2.9"),
        (
            "SIP/2.0/UDP a ; x = \"y,z\" , SIP/2.0/TCP c",
            "SIP/2.0/UDP a ; x = \"y,z\";received=192.0.2.9 , SIP/2.0/TCP c",
        ),
    ] {
        with(&options(format!("Via: {via}\r\n").as_bytes(), b""), |request| {
            let stamp = Stamp { received: Some("192.0.2.9".parse().unwrap()), rport: Some(5) };
            let mut out = Vec::new();
            compose::reply(&mut out, request, 400, "Bad", b"t", stamp);
            compose::end(&mut out);
            with(&out, |reply| {
                let via = reply.value(HeaderName::Via).unwrap();
                assert_eq!(String::from_utf8_lossy(via), expected);
            });
        });
    }
}
