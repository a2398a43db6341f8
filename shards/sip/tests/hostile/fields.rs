//! Single header fields: Via, From and To, Contact, CSeq, lists.

use super::{options, with};
use sipfed_sip::{Contact, Fault, HeaderName, Host, Via};

/// Reads all Vias of a message whose only Via line is `value`.
fn vias(value: &str) -> Result<usize, Fault> {
    with(&options(format!("Via: {value}\r\n").as_bytes(), b""), |m| {
        m.vias().try_fold(0, |count, via: Result<Via<'_>, Fault>| via.map(|_| count + 1))
    })
}

/// Reads all Contacts of a message with the Contact lines `values`; gives how they begin.
fn contacts(values: &[&str]) -> Result<Vec<String>, String> {
    let lines = values.iter().map(|value| format!("Contact: {value}\r\n")).collect::<Vec<_>>().concat();
    with(&options(lines.as_bytes(), b""), |m| {
        let read = |contact: Result<Contact<'_>, Fault>| match contact {
            Ok(Contact::All) => Ok("*".to_owned()),
            Ok(Contact::At(address)) => match address.uri() {
                Ok(_) => Ok(String::from_utf8(address.raw.to_vec()).unwrap()),
                Err(what) => Err(what.to_owned()),
            },
            Err(fault) => Err(fault.to_string()),
        };
        m.contacts().map(read).collect()
    })
}

fn to(value: &str) -> Result<Option<String>, Fault> {
    with(&options(format!("To: {value}\r\n").as_bytes(), b""), |m| {
        let tag = |tag: &[u8]| String::from_utf8(tag.to_vec()).unwrap();
        m.address(HeaderName::To).map(|to| to.tag().map(tag))
    })
}

/// CVE-2023-27598, CVE-2018-16657: a malformed Via is a fault that names it.
#[test]
fn rfc3261_20_42_malformed_vias_are_faults() {
    for value in [
        "",
        ",",
        ";",
        "SIP",
        "SIP/2.0",
        "SIP/2.0/",
        "SIP/2.0/UDP",
        "SIP/2.0/UDP ",
        "SIP/2.0/UDP :5060",
        "SIP/2.0/UDP ;branch=a",
        "SIP//UDP a",
        "/2.0/UDP a",
        "SIP/2.0 UDP a",
        "SIP/2.0/U DP a",
        "SIP/2.0/UDPa;branch",
        "SIP/2.0/UDP a b",
        "SIP/2.0/UDP [",
        "SIP/2.0/UDP []",
        "SIP/2.0/UDP [::1",
        "SIP/2.0/UDP ::1",
        "SIP/2.0/UDP [::1]x",
        "SIP/2.0/UDP [::g]",
        "SIP/2.0/UDP [::1%eth0]",
        "SIP/2.0/UDP [1.2.3.4]",
        "SIP/2.0/UDP [::ffff:1.2.3.4.5]",
        "SIP/2.0/UDP 1.2.3.256",
        "SIP/2.0/UDP a:",
        "SIP/2.0/UDP a:x",
        "SIP/2.0/UDP a:-1",
        "SIP/2.0/UDP a:65536",
        "SIP/2.0/UDP a:4294972356",
        "SIP/2.0/UDP a:1:2",
        "SIP/2.0/UDP a\x01",
        "SIP/2.0/UDP a\x7f;b",
        "SIP/2.0/UDP \u{e4}",
        "SIP/2.0/UDP a;branch=\x01",
        "SIP/2.0/UDP a;branch=a\x7f",
        "SIP/2.0/UDP a@b",
        "SIP/2.0/UDP a;br\"anch=a",
        "SIP/2.0/UDP a;branch=\"a",
        "SIP/2.0/UDP a;branch=\"a\\\"",
        "SIP/2.0/UDP a;branch=",
        "SIP/2.0/UDP a;=b",
        "SIP/2.0/UDP a;",
        "SIP/2.0/UDP a;;b",
        "SIP/2.0/UDP a;b c",
        "SIP/2.0/UDP a;b=c=\"d\"",
    ] {
        assert!(matches!(vias(value), Err(Fault::Header(HeaderName::Via, _))), "{value:?}: {:?}", vias(value));
    }
}

/// RFC 3261 has no comments in Via (RFC 2543 had): what stands in one is for nobody to read as a parameter.
#[test]
fn rfc3261_20_42_a_via_has_no_comment() {
    for value in
        ["SIP/2.0/UDP a (c)", "SIP/2.0/UDP a;branch=b (;received=1.1.1.1)", "(c) SIP/2.0/UDP a", "SIP/2.0/UDP a,(c)"]
    {
        assert!(vias(value).is_err(), "{value:?}");
    }
}

/// RFC 3261 §7.3.1: commas part values; an empty one is none that could be passed over, since another element
/// would count it.
#[test]
fn rfc3261_7_3_1_lists_have_no_empty_values() {
    for value in
        [",SIP/2.0/UDP a", "SIP/2.0/UDP a,", "SIP/2.0/UDP a, ", "SIP/2.0/UDP a,,SIP/2.0/UDP b", "SIP/2.0/UDP a;b=c,\t"]
    {
        assert!(vias(value).is_err(), "{value:?}");
    }
    for value in ["", ",", "<sip:a@b>,", ",<sip:a@b>", "<sip:a@b>,,<sip:c@d>", "<sip:a@b> <sip:c@d>", "<sip:a@b>;"] {
        assert!(contacts(&[value]).is_err(), "{value:?}");
        let bytes = options(format!("Route: {value}\r\n").as_bytes(), b"");
        assert!(with(&bytes, |m| m.addresses(HeaderName::Route).any(|route| route.is_err())), "{value:?}");
    }
    // Lists of option tags are read leniently: an empty element names no tag.
    let bytes = options(b"Require: , a,,b ,\r\nRequire:\r\nRequire: c\r\n", b"");
    with(&bytes, |m| {
        let tags: Vec<_> = m.tags(HeaderName::Require).collect();
        assert_eq!(tags, [b"a".as_slice(), b"b", b"c"]);
    });
}

/// Commas and semicolons within quotes and brackets part nothing.
#[test]
fn rfc3261_7_3_1_lists_are_parted_outside_of_quotes_and_brackets() {
    assert_eq!(vias("SIP/2.0/UDP a;x=\",;\\\",\";branch=b,SIP/2.0/TCP c"), Ok(2));
    let values = ["\"a,\\\"<sip:x@y>,\" <sip:a;p,q@b>;x=\"<,>\", sip:c@d;q=0.1,<sip:e@f>", "sip:g@h"];
    let expected = ["\"a,\\\"<sip:x@y>,\" <sip:a;p,q@b>;x=\"<,>\"", "sip:c@d;q=0.1", "<sip:e@f>", "sip:g@h"];
    assert_eq!(contacts(&values).unwrap(), expected);
    with(&options(b"Supported: a\r\nk: b, c\r\nSUPPORTED:\r\n d\r\n", b""), |m| {
        assert_eq!(m.tags(HeaderName::Supported).count(), 4);
    });
}

/// CVE-2023-27599 and its like: a quote that does not end is a fault, also when a backslash stands before the last.
#[test]
fn rfc3261_25_1_unterminated_quotes_are_faults() {
    for value in [
        "\"",
        "\"a",
        "\"a\\",
        "\"a\\\"",
        "\"a\\\" <sip:a@b>",
        "<sip:a@b>;tag=\"",
        "<sip:a@b>;tag=\"a\\\"",
        "\"a\"\" <sip:a@b>",
    ] {
        assert!(to(value).is_err(), "{value:?}");
        assert!(contacts(&[value]).is_err(), "{value:?}");
    }
}

/// CVE-2018-14767: a tag is one token. An empty one, two, or one that two elements would read differently is a fault.
#[test]
fn rfc3261_19_3_a_tag_is_one_token() {
    for value in [
        "<sip:a@b>;tag=",
        "<sip:a@b>;tag",
        "<sip:a@b>;tag;tag=a",
        "<sip:a@b>;tag=a;tag=b",
        "<sip:a@b>;tag=a;x;TAG=a",
        "<sip:a@b>;tag=\"a\"",
        "<sip:a@b>;tag=\"\"",
        "<sip:a@b>;tag=a b",
        "<sip:a@b>;tag=a<b",
    ] {
        assert!(matches!(to(value), Err(Fault::Header(HeaderName::To, _))), "{value:?}: {:?}", to(value));
    }
    assert_eq!(to("<sip:a@b>"), Ok(None));
    assert_eq!(to("<sip:a@b>;TAG = a%b"), Ok(Some("a%b".into())));
    assert_eq!(to("<sip:a@b>;tag=a@[b]=="), Ok(Some("a@[b]==".into())), "no token, but in use and read in one way");
    assert_eq!(to("<sip:a@b;tag=x>"), Ok(None), "a parameter of the URI is none of To");
    assert_eq!(to("<sip:a@b>;x=\";tag=y\""), Ok(None), "nor is what stands within quotes");
    let long = "t".repeat(60_000);
    assert_eq!(to(&format!("<sip:a@b>;tag={long}")), Ok(Some(long)));
}

/// RFC 3261 §7.3.1: a parameter stands once. Two branches would be two transactions to two elements.
#[test]
fn rfc3261_7_3_1_a_branch_stands_once() {
    for value in
        ["SIP/2.0/UDP a;branch=a;branch=b", "SIP/2.0/UDP a;branch=a;x=y;Branch=a", "SIP/2.0/UDP a;branch;branch=a"]
    {
        assert!(vias(value).is_err(), "{value:?}");
    }
    for name in ["received", "rport", "maddr", "ttl"] {
        let value = format!("SIP/2.0/UDP a;{name}=1;branch=a;{name}=2");
        assert!(vias(&value).is_err(), "{value:?}");
    }
    assert_eq!(vias("HTTP/1.1/TCP a"), Ok(1), "by the grammar the protocol may be any");
    assert_eq!(vias("SIP/2.0/UDP a;x=1;x=2;branch=a"), Ok(1), "what we do not read may be as it is");
}

/// From and To are one address each, and exactly that.
#[test]
fn rfc3261_20_39_to_is_one_address() {
    for value in [
        "",
        "a",
        "<>",
        "<",
        ">",
        "sip:a@b>",
        "<sip:a@b",
        "<sip:a@b>>",
        "<sip:a@b>x",
        "a \"b\" <sip:a@b>",
        "\"a\" b <sip:a@b>",
        "a@b <sip:a@b>",
        "a, b <sip:a@b>",
        "<sip:a@b>, <sip:c@d>",
        "<sip:a@b>,",
        "sip:a@b, sip:c@d",
        "\"a\"",
        "\"a\" sip:a@b",
        "(c) <sip:a@b>",
    ] {
        let bytes = options(format!("To: {value}\r\n").as_bytes(), b"");
        let broken = with(&bytes, |m| m.address(HeaderName::To).map_or(true, |to| to.uri().is_err()));
        assert!(broken, "{value:?}");
    }
    for value in [
        "<sip:a@b>",
        "a <sip:a@b>",
        "a<sip:a@b>",
        "\"\"<sip:a@b>",
        "\"<sip:x@y>\" <sip:a@b>",
        "sip:a@b",
        "ü <sip:a@b>",
        "sip:b",
    ] {
        let bytes = options(format!("To: {value}\r\n").as_bytes(), b"");
        assert!(with(&bytes, |m| m.address(HeaderName::To).is_ok_and(|to| to.uri().is_ok())), "{value:?}");
    }
}

/// RFC 3261 §10.2.2: `*` stands alone. With anything beside it, it is no address that a registrar could bind.
#[test]
fn rfc3261_10_2_2_the_asterisk_stands_alone() {
    assert_eq!(contacts(&["*"]).unwrap(), ["*"]);
    assert_eq!(contacts(&[" * "]).unwrap(), ["*"]);
    assert_eq!(contacts(&["*", "<sip:a@b>"]).unwrap(), ["*", "<sip:a@b>"], "the registrar sees both and refuses");
    for value in ["*;expires=0", "*,*", "*, <sip:a@b>", "<sip:a@b>,*", "<*>", "\"\" *", "* *", "**"] {
        assert!(contacts(&[value]).is_err(), "{value:?}");
    }
}

/// RFC 3261 §20.10: without brackets what follows belongs to Contact, and a question mark is an error.
#[test]
fn rfc3261_20_10_contacts_without_brackets() {
    assert_eq!(contacts(&["sip:a@b;q=1,sip:c@d"]).unwrap(), ["sip:a@b;q=1", "sip:c@d"]);
    for value in ["sip:a@b?x=y", "sip:a@b;x=y?z", "sip:a@b <x>", "sip:a@b\"c\"", "sip:a@b<c>", "a", "sip:", "sip:a@b ;"]
    {
        assert!(contacts(&[value]).is_err(), "{value:?}");
    }
}

/// ES2017-01 and §8.1.1.5: CSeq is a number below 2^32 and a method.
#[test]
fn rfc3261_8_1_1_5_cseq() {
    let cseq = |value: &str| {
        let bytes = format!("OPTIONS sip:a SIP/2.0\r\nCSeq: {value}\r\n\r\n");
        with(bytes.as_bytes(), |m| m.cseq().map(|c| c.number))
    };
    let long = format!("{} OPTIONS", "9".repeat(60_000));
    for value in [
        "",
        "1",
        "OPTIONS",
        "OPTIONS 1",
        "1OPTIONS",
        "-1 OPTIONS",
        "+1 OPTIONS",
        "1.0 OPTIONS",
        "0x1 OPTIONS",
        "1 OPTIONS x",
        "1 OPT(",
        "1 , OPTIONS",
        "4294967296 OPTIONS",
        "18446744073709551616 OPTIONS",
        long.as_str(),
    ] {
        assert!(matches!(cseq(value), Err(Fault::Header(HeaderName::CSeq, _))), "{value:?}");
    }
    for (value, number) in
        [("0 OPTIONS", 0), ("4294967295\tOPTIONS", u32::MAX), ("00000000000000000000001  \r\n OPTIONS", 1)]
    {
        assert_eq!(cseq(value), Ok(number), "{value:?}");
    }
}

/// RFC 3261 §20.22: Max-Forwards above 255 is a fault; §20.19: a bad Expires counts as absent.
#[test]
fn rfc3261_20_22_numbers_stay_within_their_bounds() {
    for value in ["256", "-1", "", "70,70", "70 70", "4294967366", "18446744073709551686", "７０"] {
        let bytes = options(format!("Max-Forwards: {value}\r\nExpires: -{value}\r\n").as_bytes(), b"");
        with(&bytes, |m| {
            assert!(matches!(m.max_forwards(), Err(Fault::Header(HeaderName::MaxForwards, _))), "{value:?}");
            assert_eq!(m.expires(), None, "{value:?}");
        });
    }
    with(&options(b"Max-Forwards: 255\r\nExpires: 4294967295\r\n", b""), |m| {
        assert_eq!((m.max_forwards(), m.expires()), (Ok(Some(255)), Some(u32::MAX)));
    });
    with(&options(b"Expires: 4294967296\r\n", b""), |m| assert_eq!(m.expires(), None));
}

/// RFC 3261 §20.8: a Call-ID is a word, or two parted by an at sign.
#[test]
fn rfc3261_20_8_call_id() {
    let call_id = |value: &str| {
        let bytes = format!("OPTIONS sip:a SIP/2.0\r\nCall-ID: {value}\r\n\r\n");
        with(bytes.as_bytes(), |m| m.call_id().is_ok())
    };
    for value in ["", "a b", "a,b", "a;b", "a\x01", "ä", "a=b", "@", "a@", "@a", "a@b@c", "a\r\n b"] {
        assert!(!call_id(value), "{value:?}");
    }
    for value in ["a", "a@b", "<script>", "a:b/c\\d\"e[]?{}%", &"x".repeat(60_000)] {
        assert!(call_id(value));
    }
}

/// RFC 3261 §25.1 and RFC 5118: what is a host, and what only looks like one.
#[test]
fn rfc3261_25_1_hosts() {
    for host in [
        "",
        ".",
        "..",
        "a..b",
        ".a",
        "1",
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "1.2.3.4444",
        "a:b",
        "[",
        "]",
        "[]",
        "[a]",
        "[::1",
        "::1]",
        "[::1]]",
        "[::1%lo]",
        "[1.2.3.4]",
        "[::1]:5060",
        "a b",
        "a,b",
        "a;b",
        "a/b",
        "a@b",
        "a\0",
        "ä",
        "1::2::3",
        ":::",
        "[:::]",
        "::::",
        "[2001:db8:::1]",
        "0x7f.1",
        "1.2.3.0x4",
        "[::ffff:1.2.3.256]",
        "-",
        "_",
        "-.-",
        "1.2.3.4..",
        "[0:0:0:0:0:0:0:0:0]",
        "[fffff::]",
    ] {
        assert_eq!(Host::parse(host.as_bytes()), None, "{host:?}");
    }
    for host in ["a", "a.", "A-b_c.example", "1a", "1.2.3.a", "xn--bcher-kva.example", "a-", "3com.example"] {
        assert_eq!(Host::parse(host.as_bytes()), Some(Host::Name(host.as_bytes())), "{host:?}");
    }
    for (host, ip) in [
        ("192.000.002.001", "192.0.2.1"),
        ("[::]", "::"),
        ("::", "::"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
        ("[::FFFF:1.2.3.4]", "::ffff:1.2.3.4"),
    ] {
        assert_eq!(Host::parse(host.as_bytes()), Some(Host::Ip(ip.parse().unwrap())), "{host:?}");
    }
}
