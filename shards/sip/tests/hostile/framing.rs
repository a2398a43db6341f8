//! Line ends, folds, NUL, Content-Length, and the bounds on sizes and counts.

use super::{fault, options, with};
use sipfed_sip::{Fault, HEADERS_COUNT_MAX, HeaderName, Index, MESSAGE_BYTES_MAX, ScanError, scan};

/// RFC 3261 §7: a lone CR or LF ends no line, so a field that another element would see behind one is a fault.
#[test]
fn rfc3261_7_bare_cr_and_bare_lf_are_faults_wherever_they_stand() {
    for end in ["\n", "\r", "\n\r", "\r\r\n", "\r\n\n"] {
        for text in [
            format!("OPTIONS sip:a@b SIP/2.0{end}Via: SIP/2.0/UDP a\r\nTo: <sip:a@b>\r\n\r\n"),
            format!("OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP a{end}To: <sip:a@b>\r\n\r\n"),
            format!("OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP a\r\nTo: <sip:a@b>{end}\r\n"),
            format!("OPTIONS sip:a@b SIP/2.0\r\nX: a{end}Content-Length: 5\r\n\r\nhello"),
            format!("OPTIONS sip:a@b SIP/2.0\r\nX: a{end} Content-Length: 5\r\n\r\nhello"),
            format!("OPTIONS sip:a@b SIP/2.0\r\nX: a\r\n b{end}c\r\n\r\n"),
        ] {
            assert!(fault(text.as_bytes()).is_some(), "{text:?}");
        }
    }
}

/// RFC 3261 §7: what another element could take for the end of the header fields, so that a field behind it would
/// be body there, is a fault.
#[test]
fn rfc3261_7_what_looks_like_the_end_of_the_header_fields_is_a_fault() {
    for end in ["\n\n", "\r\r", "\r\n\n", "\n\r\n", "\r\n \n", "\r\n\r"] {
        let text = format!("OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP a{end}l: 5\r\n\r\nhello");
        assert!(fault(text.as_bytes()).is_some(), "{text:?}");
    }
}

/// RFC 3261 §7.3.1: a fold continues the line before it; there is none before the first.
#[test]
fn rfc3261_7_3_1_folds_continue_a_field_and_never_the_start_line() {
    assert!(fault(b"OPTIONS sip:a@b SIP/2.0\r\n X: a\r\n\r\n").is_some());
    assert!(fault(b"OPTIONS sip:a@b SIP/2.0\r\n\t\r\n\r\n").is_some());
    // Only the value may be folded, not what stands before the colon.
    assert!(fault(&options(b"X\r\n : a\r\n", b"")).is_some());
    let bytes = options(b"To:\r\n\t<sip:bob@b>\r\n ;tag=1\r\n \r\nl: 0\r\n", b"");
    with(&bytes, |m| {
        assert_eq!(m.fault(), None);
        let to = m.address(HeaderName::To).unwrap();
        assert_eq!((to.uri, to.tag()), (b"sip:bob@b".as_slice(), Some(b"1".as_slice())));
        assert_eq!(m.value(HeaderName::ContentLength), Some(b"0".as_slice()), "a fold of nothing but space hides none");
    });
    // What looks like a field in a fold is none.
    let bytes = options(b"X: a\r\n l: 5\r\nl: 0\r\n", b"hello");
    with(&bytes, |m| assert_eq!((m.fault(), m.body()), (None, b"".as_slice())));
}

/// CVE-2020-28361: white space before the colon hides no field (RFC 3261 §25.1 HCOLON); nothing else may stand there.
#[test]
fn rfc3261_25_1_space_before_the_colon_hides_no_field() {
    for name in ["Content-Length ", "Content-Length\t", "content-length \t ", "l ", "L\t\t", "CONTENT-LENGTH"] {
        let bytes = options(format!("{name}: 3\r\n").as_bytes(), b"hello");
        with(&bytes, |m| assert_eq!((m.fault(), m.body()), (None, b"hel".as_slice()), "{name:?}"));
    }
    for name in
        ["Content-Length\x0b", "Content-Length\x0c", "Content-Length\0", "Content Length", "Content-Length\u{a0}"]
    {
        let bytes = options(format!("{name}: 3\r\n").as_bytes(), b"hello");
        assert!(matches!(fault(&bytes), Some(Fault::Line(_))), "{name:?}");
    }
    for line in [": a", "X", "X a", "\"X\": a", "X;y: a", "(X): a", "\u{feff}Via: a", "X=a: b"] {
        let bytes = options(format!("{line}\r\n").as_bytes(), b"");
        assert!(fault(&bytes).is_some(), "{line:?}");
    }
}

/// RFC 3261 §25.1 TEXT-UTF8-TRIM has no NUL: an element that ends its strings there would see another value. As a
/// quoted-pair it is legal (RFC 4475 §3.1.1.2).
#[test]
fn rfc3261_25_1_nul_is_a_fault_except_as_a_quoted_pair() {
    for line in ["X: a\0b", "X: \0", "To: <sip:a\0@b>", "X\0: a", "X: \"a\0\"", "X: \"\\\\\0\"", "X: a\r\n \0"] {
        let bytes = options(format!("{line}\r\n").as_bytes(), b"");
        assert!(matches!(fault(&bytes), Some(Fault::Line(_))), "{line:?}");
    }
    assert!(matches!(fault(b"OPTIONS sip:a\0@b SIP/2.0\r\nl: 0\r\n\r\n"), Some(Fault::StartLine(_))));
    assert!(fault(b"SIP/2.0 200 O\0K\r\nl: 0\r\n\r\n").is_some());
    for line in ["To: \"a\\\0b\" <sip:a@b>", "X: \"\\\\\\\0\"", "X: \\\0"] {
        let bytes = options(format!("{line}\r\n").as_bytes(), b"");
        assert_eq!(fault(&bytes), None, "{line:?}");
    }
    assert_eq!(fault(&options(b"l: 3\r\n", b"a\0b")), None, "a body is octets");
}

/// CVE-2026-45103, CVE-2023-28097, CVE-2026-39863: a length that is no number within the datagram is a fault,
/// and never wraps to one that is.
#[test]
fn rfc3261_20_14_a_content_length_is_a_number_or_a_fault() {
    for value in [
        "",
        "-1",
        "+3",
        "3 3",
        "3,3",
        "3;a",
        "0x3",
        "3.0",
        "three",
        "\"3\"",
        "3\0",
        "٣",
        "18446744073709551616",
        "18446744073709551619",
        "340282366920938463463374607431768211459",
    ] {
        let bytes = options(format!("Content-Length: {value}\r\n").as_bytes(), b"hello");
        assert!(fault(&bytes).is_some(), "{value:?}");
    }
    for value in ["6", "65536", "4294967296", "4294967299", "9223372036854775808", "18446744073709551615"] {
        let bytes = options(format!("Content-Length: {value}\r\n").as_bytes(), b"hello");
        with(&bytes, |m| assert_eq!((m.fault(), m.body()), (Some(Fault::ShortBody), b"hello".as_slice()), "{value}"));
    }
    for value in ["3", "0003", "3  ", "\r\n 3", "3\r\n ", "00000000000000000000000000000000003"] {
        let bytes = options(format!("Content-Length: {value}\r\n").as_bytes(), b"hello");
        with(&bytes, |m| assert_eq!((m.fault(), m.body()), (None, b"hel".as_slice()), "{value:?}"));
    }
}

/// RFC 3261 §7.3.1: two lengths are a fault, be they equal, and whatever form their names have.
#[test]
fn rfc3261_7_3_1_two_content_lengths_are_a_fault() {
    for lines in ["Content-Length: 3\r\nContent-Length: 3", "l: 3\r\nContent-Length: 0", "L : 0\r\nX: y\r\nl: 5"] {
        let bytes = options(format!("{lines}\r\n").as_bytes(), b"hello");
        assert_eq!(fault(&bytes), Some(Fault::Repeated(HeaderName::ContentLength)), "{lines:?}");
    }
}

/// Every field that stands once at most is a fault when it stands twice, in either form of its name.
#[test]
fn rfc3261_7_3_1_single_fields_stand_once() {
    for (name, first, second) in [
        (HeaderName::From, "", "f: <sip:x@b>;tag=2"),
        (HeaderName::CallId, "", "i: d"),
        (HeaderName::CSeq, "", "CSEQ: 1 OPTIONS"),
        (HeaderName::To, "To: <sip:a@b>\r\n", "t: <sip:a@b>"),
        (HeaderName::MaxForwards, "Max-Forwards: 1\r\n", "max-forwards: 1"),
        (HeaderName::Expires, "Expires: 1\r\n", "expires : 1"),
        (HeaderName::ContentType, "c: a/b\r\n", "Content-Type: a/c"),
        (HeaderName::MaxBreadth, "Max-Breadth: 1\r\n", "Max-Breadth: 1"),
    ] {
        let bytes = options(format!("{first}{second}\r\n").as_bytes(), b"");
        assert_eq!(fault(&bytes), Some(Fault::Repeated(name)));
    }
}

/// CVE-2026-45538: a name of any length is a name; a long one is taken for no shorter one.
#[test]
fn rfc3261_7_3_names_over_255_octets_are_names() {
    for length in [255, 256, 257, 270, 1000, 60_000] {
        let name = "V".repeat(length);
        let bytes = options(format!("{name}: 3\r\n").as_bytes(), b"");
        with(&bytes, |m| {
            assert_eq!(m.fault(), None);
            let field = m.all_fields().last().unwrap();
            assert_eq!((field.name, field.value), (HeaderName::Other, b"3".as_slice()));
            assert_eq!(m.fields(HeaderName::Via).count(), 1);
        });
    }
    // 256 octets more than Content-Length has, which 8 bits would not tell apart.
    let name = format!("Content-Length{}", "x".repeat(256));
    with(&options(format!("{name}: 3\r\n").as_bytes(), b"hello"), |m| assert_eq!(m.body(), b"hello"));
}

/// One field line too many is a fault, and none behind it counts.
#[test]
fn field_lines_are_bounded() {
    let own = with(&options(b"", b""), |m| m.all_fields().count());
    let lines = "X: y\r\n".repeat(HEADERS_COUNT_MAX - own);
    with(&options(lines.as_bytes(), b""), |m| {
        assert_eq!((m.fault(), m.all_fields().count()), (None, HEADERS_COUNT_MAX));
    });
    let one_more = format!("{lines}Content-Length: 3\r\n");
    with(&options(one_more.as_bytes(), b"hello"), |m| {
        assert_eq!((m.fault(), m.all_fields().count()), (Some(Fault::TooManyHeaders), HEADERS_COUNT_MAX));
        assert_eq!(m.first(HeaderName::ContentLength), None);
    });
}

/// Lines that are no fields are bounded too: of a datagram of nothing else, few are looked at.
#[test]
fn lines_that_are_no_fields_are_bounded() {
    for line in ["\r", "\n", "x\r\n", "\r\r"] {
        let bytes = options(format!("{}Content-Length: 3\r\n", line.repeat(9000)).as_bytes(), b"hello");
        with(&bytes, |m| {
            assert!(matches!(m.fault(), Some(Fault::Line(_))), "{line:?}");
            assert_eq!((m.first(HeaderName::ContentLength), m.body()), (None, b"".as_slice()));
            assert!(m.top_via().is_ok(), "enough to answer 400");
        });
    }
}

/// Offsets are kept in 16 bits: the longest message is read to its end, one octet more is refused.
#[test]
fn messages_are_bounded() {
    let own = options(b"l: 0\r\nX: \r\n", b"").len();
    let fields = format!("l: 0\r\nX: {}\r\n", "y".repeat(MESSAGE_BYTES_MAX - own));
    let mut bytes = options(fields.as_bytes(), b"");
    assert_eq!(bytes.len(), MESSAGE_BYTES_MAX);
    with(&bytes, |m| {
        assert_eq!((m.fault(), m.headers_end()), (None, MESSAGE_BYTES_MAX - 2));
        assert_eq!(m.all_fields().last().unwrap().value.len(), MESSAGE_BYTES_MAX - own);
    });
    bytes.push(b'z');
    assert_eq!(scan(&bytes, &mut Index::new()).unwrap_err(), ScanError::TooLong);
    let filled = options(b"", &vec![b'z'; MESSAGE_BYTES_MAX - options(b"", b"").len()]);
    with(&filled, |m| assert_eq!((m.fault(), m.body().last()), (None, Some(&b'z'))));
}

/// RFC 3261 §7.5: line ends before the start line are passed over; nothing but line ends is a keep-alive.
#[test]
fn rfc3261_7_5_line_ends_before_the_start_line() {
    with(&[b"\r\n\r\n".as_slice(), &options(b"l: 2\r\n", b"hi")].concat(), |m| {
        assert_eq!((m.fault(), m.body()), (None, b"hi".as_slice()));
    });
    for bytes in [b"".as_slice(), b"\r\n", b"\r\n\r\n", b"\n"] {
        assert_eq!(scan(bytes, &mut Index::new()).unwrap_err(), ScanError::KeepAlive);
    }
    for bytes in
        [b"\0\0\0\0".as_slice(), b" \r\n", b"GET / HTTP/1.1\r\n\r\n", b"\r\n \r\nOPTIONS sip:a SIP/2.0\r\n\r\n"]
    {
        assert_eq!(scan(bytes, &mut Index::new()).unwrap_err(), ScanError::NotSip);
    }
}

/// RFC 3261 §7.1: methods are tokens, the version stands at the end, in any case (§7.1 says so of the version only).
#[test]
fn rfc3261_7_1_start_lines() {
    for line in [
        "OPTIONS",
        "OPTIONS ",
        "OPTIONS sip:a",
        "OPTIONS sip:a ",
        "OPTIONS  SIP/2.0",
        "OPTIONS SIP/2.0",
        " OPTIONS sip:a SIP/2.0",
        "OPT(IONS sip:a SIP/2.0",
        "OPTIONS\tsip:a\tSIP/2.0",
        "OPTIONS sip:a HTTP/1.1",
        "OPTIONS sip:a SIP2.0",
        "OPTIÖNS sip:a SIP/2.0",
    ] {
        let text = format!("{line}\r\nl: 0\r\n\r\n");
        let mut index = Index::new();
        let broken = scan(text.as_bytes(), &mut index).map_or(true, |m| m.fault().is_some());
        assert!(broken, "{line:?}");
    }
    for (line, expected) in [
        ("OPTIONS sip:a sip/2.0", None),
        ("OPTIONS sip:a SIP/2.1", Some(Fault::Version)),
        ("OPTIONS sip:a SIP/2.00", Some(Fault::Version)),
        ("OPTIONS sip:a SIP/02.0", Some(Fault::Version)),
        ("OPTIONS sip:a SIP/", Some(Fault::Version)),
        ("SIP/3.0 200 OK", Some(Fault::Version)),
        ("SIP/2.0 200 ", None),
    ] {
        assert_eq!(fault(format!("{line}\r\nl: 0\r\n\r\n").as_bytes()), expected, "{line:?}");
    }
    // A tab or a control character would end the URI for some readers.
    for uri in ["sip:a\tb", "sip:a\x01", "sip:a\x7f", "sip:a\x0b"] {
        let text = format!("OPTIONS {uri} SIP/2.0\r\nl: 0\r\n\r\n");
        assert!(matches!(fault(text.as_bytes()), Some(Fault::StartLine(_))), "{uri:?}");
    }
}
