//! RFC 4475 §3.1.2: messages that break the grammar.

use super::{octets, with, with_sound};
use sipfed_sip::{Contact, Fault, HeaderName, Index, Method, ScanError, StartLine, Uri, parse_u32, scan};

/// Semicolons without parameters and commas without values are an error in Via and Contact.
#[test]
fn rfc4475_3_1_2_1_badinv01() {
    with_sound("rfc4475/badinv01", |m| {
        assert!(matches!(m.top_via(), Err(Fault::Header(HeaderName::Via, _))));
        assert_eq!(m.top_via_head().unwrap().sent_by, b"192.0.2.15", "the 400 finds its way");
        assert!(matches!(m.contacts().next(), Some(Err(Fault::Header(HeaderName::Contact, _)))));
        assert!(m.address(HeaderName::To).is_ok() && m.address(HeaderName::From).is_ok(), "enough to answer 400");
    });
}

/// A datagram with less body than Content-Length says is answered 400.
#[test]
fn rfc4475_3_1_2_2_clerr() {
    with("rfc4475/clerr", |m| {
        assert_eq!(m.fault(), Some(Fault::ShortBody));
        assert_eq!(m.body().len(), 154, "no more than there is");
    });
}

/// A negative Content-Length is an error, and never a number to count with.
#[test]
fn rfc4475_3_1_2_3_ncl() {
    with("rfc4475/ncl", |m| {
        assert!(matches!(m.fault(), Some(Fault::Header(HeaderName::ContentLength, _))));
    });
    let text = String::from_utf8(octets("rfc4475/ncl")).unwrap().replace("-999", "five");
    let mut index = Index::new();
    let m = scan(text.as_bytes(), &mut index).unwrap();
    assert!(matches!(m.fault(), Some(Fault::Header(HeaderName::ContentLength, _))));
}

/// Numbers above their bounds: none is cut to fit.
#[test]
fn rfc4475_3_1_2_4_scalar02() {
    with_sound("rfc4475/scalar02", |m| {
        assert!(matches!(m.cseq(), Err(Fault::Header(HeaderName::CSeq, _))));
        assert!(matches!(m.max_forwards(), Err(Fault::Header(HeaderName::MaxForwards, _))));
        assert_eq!(m.expires(), None, "RFC 3261 §10.3 step 7: taken for the default");
        let Some(Ok(Contact::At(contact))) = m.contacts().next() else { panic!("no contact") };
        assert_eq!(contact.params.value("expires").map(parse_u32), Some(None));
    });
}

/// The same in a response, which is dropped.
#[test]
fn rfc4475_3_1_2_5_scalarlg() {
    with_sound("rfc4475/scalarlg", |m| {
        assert_eq!(m.status(), Some(503));
        assert!(matches!(m.cseq(), Err(Fault::Header(HeaderName::CSeq, _))));
        assert_eq!(m.value(HeaderName::RetryAfter).map(parse_u32), Some(None));
    });
}

/// A quoted display name that does not end is an error: nothing is guessed.
#[test]
fn rfc4475_3_1_2_6_quotbal() {
    with_sound("rfc4475/quotbal", |m| {
        let fault = Fault::Header(HeaderName::To, "quoted display name does not end");
        assert_eq!(m.address(HeaderName::To), Err(fault));
    });
}

/// Brackets around the Request-URI are not stripped: it is no URI.
#[test]
fn rfc4475_3_1_2_7_ltgtruri() {
    with_sound("rfc4475/ltgtruri", |m| {
        assert_eq!(m.request_uri(), b"<sip:user@example.com>");
        assert!(Uri::parse(m.request_uri()).is_err());
    });
}

/// White space within the Request-URI is an error.
#[test]
fn rfc4475_3_1_2_8_lwsruri() {
    with("rfc4475/lwsruri", |m| {
        assert!(matches!(m.fault(), Some(Fault::StartLine(_))));
        assert!(m.top_via().is_ok(), "enough to answer 400");
    });
}

/// More than one space between the parts of the start line is an error.
#[test]
fn rfc4475_3_1_2_9_lwsstart() {
    with("rfc4475/lwsstart", |m| {
        assert!(matches!(m.fault(), Some(Fault::StartLine(_))));
        assert_eq!(m.method(), Some(Method::Invite));
    });
}

/// Space at the end of the start line is an error.
#[test]
fn rfc4475_3_1_2_10_trws() {
    with("rfc4475/trws", |m| {
        assert!(matches!(m.fault(), Some(Fault::StartLine(_))));
        assert_eq!(m.request_uri(), b"sip:remote-target@example.com");
    });
}

/// The grammar of the Request-URI holds, but its headers are visible: whoever handles the request refuses it.
#[test]
fn rfc4475_3_1_2_11_escruri() {
    with_sound("rfc4475/escruri", |m| {
        let Ok(Uri::Sip(uri)) = Uri::parse(m.request_uri()) else { panic!("no SIP URI") };
        assert_eq!(uri.headers, b"Route=%3Csip:example.com%3E");
        assert!(m.first(HeaderName::Route).is_none(), "an escaped header is never a header field");
    });
}

/// A Date in another zone than GMT hurts nobody who does not use it.
#[test]
fn rfc4475_3_1_2_12_baddate() {
    with_sound("rfc4475/baddate", |m| {
        assert_eq!(m.value(HeaderName::Date), Some(b"Fri, 01 Jan 2010 16:00:00 EST".as_slice()));
    });
}

/// A URI with headers must stand between brackets (RFC 3261 §20.10).
#[test]
fn rfc4475_3_1_2_13_regbadct() {
    with_sound("rfc4475/regbadct", |m| {
        assert!(matches!(m.contacts().next(), Some(Err(Fault::Header(HeaderName::Contact, _)))));
    });
}

/// Spaces within the brackets are no part of a URI.
#[test]
fn rfc4475_3_1_2_14_badaspec() {
    with_sound("rfc4475/badaspec", |m| {
        let to = m.address(HeaderName::To).unwrap();
        assert_eq!(to.display, br#""Watson, Thomas""#);
        assert!(to.uri().is_err());
    });
}

/// As the archive has it, without the empty line behind its header fields.
#[test]
fn rfc4475_3_1_2_15_baddn() {
    with("rfc4475/baddn", |m| {
        assert_eq!(m.fault(), Some(Fault::NoEnd));
        assert!(m.address(HeaderName::To).is_err());
    });
}

/// A comma in a display name needs quotes: else there are two addresses where one may stand.
#[test]
fn rfc4475_3_1_2_15_baddn_fixed() {
    with_sound("rfc4475/baddn_fixed", |m| {
        for name in [HeaderName::From, HeaderName::To] {
            assert!(matches!(m.address(name), Err(Fault::Header(found, _)) if found == name));
        }
    });
}

/// Another version is no breach of the grammar but a reason for 505, before anything else.
#[test]
fn rfc4475_3_1_2_16_badvers() {
    with("rfc4475/badvers", |m| {
        assert_eq!(m.fault(), Some(Fault::Version));
        assert_eq!(m.top_via().unwrap().sent_by, b"c.example.com", "the 505 finds its way");
    });
}

/// CSeq's method is read apart from the request's, so that the two can be compared.
#[test]
fn rfc4475_3_1_2_17_mismatch01() {
    with_sound("rfc4475/mismatch01", |m| {
        assert_eq!(m.method(), Some(Method::Options));
        assert_eq!(m.cseq().map(|c| c.method), Ok(Method::Invite));
    });
}

/// The same with a method that nobody knows.
#[test]
fn rfc4475_3_1_2_18_mismatch02() {
    with_sound("rfc4475/mismatch02", |m| {
        assert_eq!(m.method(), Some(Method::Other(b"NEWMETHOD")));
        assert_eq!(m.cseq().map(|c| c.method), Ok(Method::Invite));
        assert_eq!(m.body().len(), 138);
    });
}

/// A status code beyond three digits is none: there is no response to match with anything.
#[test]
fn rfc4475_3_1_2_19_bigcode() {
    let bytes = octets("rfc4475/bigcode");
    assert_eq!(scan(&bytes, &mut Index::new()).unwrap_err(), ScanError::NotSip);
    // 4294967301 is 5 in 32 bits; nor is a code of four digits cut to three.
    for code in ["5", "099", "700", "1000", "2000", "4294967496", "2 0", "-20"] {
        let text = format!("SIP/2.0 {code} OK\r\nl: 0\r\n\r\n");
        assert_eq!(scan(text.as_bytes(), &mut Index::new()).unwrap_err(), ScanError::NotSip, "{code}");
    }
}

/// In the archive and described nowhere: without a version in its first line it is no SIP.
#[test]
fn rfc4475_unreferenced_test() {
    let bytes = octets("rfc4475/test");
    assert_eq!(scan(&bytes, &mut Index::new()).unwrap_err(), ScanError::NotSip);
    // With a version, the line without a colon is what is wrong.
    let text = String::from_utf8(bytes).unwrap().replacen("\r\n", " SIP/2.0\r\n", 1);
    let mut index = Index::new();
    let m = scan(text.as_bytes(), &mut index).unwrap();
    assert!(matches!(m.start_line(), StartLine::Request { method: Method::Invite, .. }));
    assert!(matches!(m.fault(), Some(Fault::Line(_))));
}
