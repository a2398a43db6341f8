//! URIs: what passes as one, and what comparing two may cost.

use super::{options, with};
use sipfed_sip::{Contact, SipUri, Uri};

fn sip(text: &str) -> SipUri<'_> {
    match Uri::parse(text.as_bytes()) {
        Ok(Uri::Sip(uri)) => uri,
        other => panic!("{text}: {other:?}"),
    }
}

/// CVE-2023-27597 and its like: what is let through as a URI can be written into a start line or a field: it is
/// printable ASCII without space, bracket or quote, whatever its scheme.
#[test]
fn rfc3261_25_1_a_uri_is_printable_ascii() {
    let schemes = ["sip:a@b", "sip:a", "sips:a@b;x=y", "sip:a@b;x=y?c=d", "tel:+1", "tel:+1;x=y", "http://a", "urn:a"];
    for scheme in schemes {
        assert!(Uri::parse(scheme.as_bytes()).is_ok(), "{scheme}");
        for evil in [" ", "\t", "\r", "\n", "\r\n ", "\r\nX: y", "\0", "\x01", "\x7f", "<", ">", "\"", "ä", "\x0b"] {
            for at in 0..=scheme.len() {
                let text = [&scheme[..at], evil, &scheme[at..]].concat();
                assert!(Uri::parse(text.as_bytes()).is_err(), "{text:?}");
            }
        }
    }
}

/// A folded Contact cannot smuggle a line into what is made of its URI.
#[test]
fn rfc3261_7_3_1_a_fold_within_brackets_is_no_uri() {
    for uri in ["sip:a@b;x=\r\n y", "tel:+1;x=\r\n y", "urn:\r\n y", "sip:a\r\n @b", "\r\n sip:a@b", "sip:a@b\r\n "] {
        let bytes = options(format!("Contact: <{uri}>\r\n").as_bytes(), b"");
        with(&bytes, |m| {
            assert_eq!(m.fault(), None);
            let Some(Ok(Contact::At(contact))) = m.contacts().next() else { panic!("{uri:?}") };
            assert!(contact.uri().is_err(), "{uri:?}");
        });
    }
}

/// RFC 3261 §19.1.1: what a SIP URI must not be.
#[test]
fn rfc3261_19_1_1_malformed_uris() {
    for text in [
        "",
        ":",
        "sip",
        "sip:",
        "sips:",
        "sip:@",
        "sip:@b",
        "sip::pw@b",
        "sip:a@",
        "sip:a@b@c",
        "sip:a:b:c@d",
        "sip:a@b:",
        "sip:a@b:x",
        "sip:a@b:-1",
        "sip:a@b:65536",
        "sip:a@b:4294972356",
        "sip:a@b:5060:1",
        "sip:a@[::1",
        "sip:a@::1",
        "sip:a@[::1]1",
        "sip:a@b;",
        "sip:a@b;;a",
        "sip:a@b;=a",
        "sip:a@b;a=b=c",
        "sip:a@b?",
        "sip:a@b?a",
        "sip:a@b?=a",
        "sip:a@b?a=b&",
        "sip:a@b?&a=b",
        "sip:a@b?a=b&&c=d",
        "sip:a%@b",
        "sip:a%4@b",
        "sip:a%4g@b",
        "sip:a%%41@b",
        "sip:a@b;x=%4",
        "sip:a@b;x=%zz",
        "sip:a@b?x=%",
        "sip:a#b@c",
        "sip:a@b#c",
        "sip:[a]@b",
        "sip:a@b/c",
        "sip:a\\@b",
        "sip:a@b;x=a,b",
        "sip:a@b;x={y}",
        "1sip:a",
        "-:a",
        "si p:a",
        "*",
        "sip:a@b;x=y@z",
    ] {
        assert!(Uri::parse(text.as_bytes()).is_err(), "{text:?}");
    }
}

/// RFC 3966: a tel URI is a number, and its parameters are checked like those of a SIP URI.
#[test]
fn rfc3966_3_tel_uris() {
    for text in [
        "tel:",
        "tel:;a=b",
        "tel:x",
        "tel:+",
        "tel:()",
        "tel:+1 2",
        "tel:+1;",
        "tel:+1;;a",
        "tel:+1;=a",
        "tel:+1;a=b c",
        "tel:+1;a=\"b\"",
        "tel:+1?a=b",
        "tel:+1@b",
    ] {
        assert!(Uri::parse(text.as_bytes()).is_err(), "{text:?}");
    }
    for text in [
        "tel:+1-201-555-0123",
        "tel:7042;phone-context=example.com",
        "TEL:911;phone-context=+1",
        "tel:*21#;phone-context=a;ext=5",
        "tel:+1(2).3",
    ] {
        assert!(matches!(Uri::parse(text.as_bytes()), Ok(Uri::Tel(_))), "{text:?}");
    }
}

/// RFC 3966 §4: parameters count: the same local number in two contexts is two subscribers.
#[test]
fn rfc3966_4_equal_numbers() {
    let uri = |text: &'static str| Uri::parse(text.as_bytes()).unwrap();
    assert_eq!(uri("tel:+1-201-555-0123"), uri("TEL:+1(201)5550123"));
    assert_ne!(uri("tel:+12015550123"), uri("tel:12015550123"));
    assert_eq!(uri("tel:7042;phone-context=Example.com;ext=1"), uri("tel:70-42;ext=1;PHONE-CONTEXT=example.com"));
    assert_ne!(uri("tel:7042;phone-context=a.example"), uri("tel:7042;phone-context=b.example"));
    assert_ne!(uri("tel:7042;phone-context=a.example"), uri("tel:7042"));
    assert_ne!(uri("tel:7042"), uri("tel:7042;ext=1"));
    let mut digits = Vec::new();
    uri("tel:+1-201;ext=1").write_tel_digits(&mut digits);
    assert_eq!(digits, b"+1201");
}

/// Comparing costs the square of the count of parameters, so the count is bounded: 64 KiB of them once took a second.
#[test]
fn rfc3261_19_1_4_parameters_and_headers_are_bounded() {
    let params = |count: usize| (0..count).map(|n| format!(";p{n}=v")).collect::<Vec<_>>().concat();
    let headers = |count: usize| (0..count).map(|n| format!("&h{n}=v")).collect::<Vec<_>>().concat();
    let most = format!("sip:a@b{}?{}", params(32), &headers(32)[1..]);
    assert!(sip(&most) == sip(&most));
    assert_eq!(sip(&most).params().count(), 32);
    assert!(Uri::parse(format!("sip:a@b{}", params(33)).as_bytes()).is_err());
    assert!(Uri::parse(format!("tel:+1{}", params(33)).as_bytes()).is_err());
    assert!(Uri::parse(format!("sip:a@b?{}", &headers(33)[1..]).as_bytes()).is_err());
}

/// RFC 3261 §19.1.4: names of parameters may be escaped too, and are then the same names.
#[test]
fn rfc3261_19_1_4_escaped_parameter_names() {
    assert_eq!(sip("sip:a@b;%6c%72").param("lr"), Some(b"".as_slice()));
    assert_eq!(sip("sip:a@b;m%41ddr=x").param("MADDR"), Some(b"x".as_slice()));
    assert_eq!(sip("sip:a@b;l%72=x;lr").param("lr"), Some(b"x".as_slice()), "the first of the two");
}

/// Different users never share a canonical AoR, and equal ones always do.
#[test]
fn rfc3261_10_3_aors_of_different_users_differ() {
    let aor = |text: &str| {
        let mut out = Vec::new();
        sip(text).write_aor(&mut out);
        out
    };
    let mut seen = std::collections::BTreeMap::new();
    for byte in 0..=255u8 {
        let user = format!("sip:x%{byte:02x}y@h");
        let plain = aor(&user);
        assert_eq!(plain, aor(&format!("sip:x%{byte:02X}y@H")), "{user}");
        assert!(plain.iter().all(|b| (b'!'..=b'~').contains(b)), "{user}");
        assert_eq!(seen.insert(plain, byte), None, "{user}");
    }
    assert_ne!(aor("sip:a%40b@h"), aor("sip:a@b"));
    assert_ne!(aor("sip:a%2540b@h"), aor("sip:a%40b@h"), "an escape is resolved once");
}
