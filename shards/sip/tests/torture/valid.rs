//! RFC 4475 §3.1.1: valid messages.

use super::{aor, contact_addresses, octets, sip, vias, with_sound};
use sipfed_sip::{HeaderName, Host, Method, StartLine};

/// Folds, mixed compact forms, an empty Subject and leading zeros are all legal; what is unknown is opaque.
#[test]
fn rfc4475_3_1_1_1_wsinv() {
    with_sound("rfc4475/wsinv", |m| {
        let uri = b"sip:vivekg@chair-dnrc.example.com;unknownparam".as_slice();
        assert_eq!(m.start_line(), StartLine::Request { method: Method::Invite, uri });
        assert_eq!(sip(uri).param("unknownparam"), Some(b"".as_slice()));

        let to = m.address(HeaderName::To).unwrap();
        assert_eq!((to.display, to.uri), (b"".as_slice(), b"sip:vivekg@chair-dnrc.example.com".as_slice()));
        assert_eq!(to.tag(), Some(b"1918181833n".as_slice()));
        let from = m.address(HeaderName::From).unwrap();
        assert_eq!(from.display, br#""J Rosenberg \\\"""#);
        assert_eq!((from.uri, from.tag()), (b"sip:jdrosen@example.com".as_slice(), Some(b"98asjd8".as_slice())));

        assert_eq!(m.max_forwards(), Ok(Some(68)));
        assert_eq!(m.call_id(), Ok(b"wsinv.ndaksdj@192.0.2.1".as_slice()));
        let cseq = m.cseq().unwrap();
        assert_eq!((cseq.number, cseq.method), (9, Method::Invite));
        assert_eq!((m.value(HeaderName::ContentLength), m.body().len()), (Some(b"150".as_slice()), 150));
        assert!(m.body().starts_with(b"v=0\r\n") && m.body().ends_with(b"LPC\r\n"));

        let read: Vec<_> = vias(m).iter().map(|v| (v.transport, v.sent_by, v.branch().unwrap())).collect();
        let expected: [(&[u8], &[u8], &[u8]); 3] = [
            (b"UDP", b"192.0.2.2", b"390skdjuw"),
            (b"TCP", b"spindle.example.com", b"z9hG4bK9ikj8"),
            (b"UDP", b"192.168.255.111", b"z9hG4bK30239"),
        ];
        assert_eq!(read, expected);

        let routes: Vec<_> = m.addresses(HeaderName::Route).map(Result::unwrap).collect();
        assert_eq!(routes.len(), 1);
        let route = sip(routes[0].uri);
        assert_eq!((route.param("lr"), route.param("unknownwith")), (Some(b"".as_slice()), Some(b"value".as_slice())));
        assert_eq!(route.param("unknown-no-value"), Some(b"".as_slice()));

        let contacts = contact_addresses(m);
        assert_eq!((contacts.len(), contacts[0].display), (1, br#""Quoted string \"\"""#.as_slice()));
        let params = contacts[0].params;
        assert_eq!(
            (params.value("newparam"), params.value("q")),
            (Some(b"newvalue".as_slice()), Some(b"0.33".as_slice()))
        );
        assert!(params.has("secondparam") && params.value("secondparam").is_none());

        let other = |value: &[u8]| m.all_fields().any(|f| f.name == HeaderName::Other && f.value == value);
        assert!(other(b";;,,;;,;") && other(b"") && other(b"newfangled value\r\n continued newfangled value"));
    });
}

/// Every character of a token may stand in a method; a percent sign is an escape only within a URI.
#[test]
fn rfc4475_3_1_1_2_intmeth() {
    with_sound("rfc4475/intmeth", |m| {
        let method = Method::Other(b"!interesting-Method0123456789_*+`.%indeed'~");
        assert_eq!(m.method(), Some(method));
        assert_eq!(m.cseq().map(|c| (c.number, c.method)), Ok((139_122_385, method)));
        let uri = sip(m.request_uri());
        assert_eq!(uri.user, Some(b"1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*".as_slice()));
        assert_eq!(uri.password, Some(b"&it+has=1,weird!*pas$wo~d_too.(doesn't-it)".as_slice()));
        assert_eq!(uri.host, Host::Name(b"example.com"));

        // The quoted-pairs of BEL, NUL and DEL are characters of the name, and do not end it.
        let to = m.address(HeaderName::To).unwrap();
        assert_eq!(to.display, b"\"BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f\"");
        assert_eq!(sip(to.uri).user, uri.user);
        let from = m.address(HeaderName::From).unwrap();
        assert_eq!(from.display, b"token1~` token2'+_ token3*%!.-");
        assert_eq!(from.tag(), Some(b"_token~1'+`*%!-.".as_slice()));
        assert_eq!(from.params.value("fromParam''~+*_!.-%"), Some("работающий".as_bytes()));

        assert_eq!(m.call_id(), Ok(br#"intmeth.word%ZK-!.*_+'@word`~)(><:\/"][?}{"#.as_slice()));
        assert_eq!(m.max_forwards(), Ok(Some(255)));
        assert_eq!(m.top_via().unwrap().branch(), Some(b"z9hG4bK-.!%66*_+`'~".as_slice()));
        let extension = m.all_fields().find(|f| f.line.starts_with(b"extensionHeader-!.%*+_`'~:")).unwrap();
        assert_eq!((extension.name, extension.value), (HeaderName::Other, "\u{feff}大停電".as_bytes()));
    });
}

/// An escape equals its character in user parts and URI parameters, and is resolved once only.
#[test]
fn rfc4475_3_1_1_3_esc01() {
    with_sound("rfc4475/esc01", |m| {
        let uri = sip(m.request_uri());
        assert_eq!(uri.user, Some(b"sips%3Auser%40example.com".as_slice()));
        assert_eq!(
            (uri.host, aor(&uri).as_str()),
            (Host::Name(b"example.net"), "sips%3Auser%40example.com@example.net")
        );
        let to = m.address(HeaderName::To).unwrap();
        assert_eq!((sip(to.uri), aor(&sip(to.uri)).as_str()), (sip(b"sip:user@example.com"), "user@example.com"));
        let from = m.address(HeaderName::From).unwrap();
        assert_eq!(sip(from.uri).user, Some(b"I%20have%20spaces".as_slice()));
        assert_eq!(aor(&sip(from.uri)), "I%20have%20spaces@example.net");

        let contact = sip(contact_addresses(m)[0].uri);
        assert_eq!(aor(&contact), "caller@host5.example.net");
        assert_eq!(contact.param("lr"), Some(b"".as_slice()), "%6C%72 is lr");
        assert_eq!(contact.param("name"), Some(b"v%61lue%25%34%31".as_slice()));
        assert_eq!(contact, sip(b"sip:caller@host5.example.net;lr;name=value%2541"));
        assert_ne!(contact, sip(b"sip:caller@host5.example.net;lr;name=value%41"));
        assert_ne!(contact, sip(b"sip:caller@host5.example.net;lr;name=valueA"));
    });
}

/// An escaped NUL ends nothing: the AoR keeps it, and one NUL is not two.
#[test]
fn rfc4475_3_1_1_4_escnull() {
    with_sound("rfc4475/escnull", |m| {
        let to = m.address(HeaderName::To).unwrap();
        assert_eq!(aor(&sip(to.uri)), "null-%00-null@example.com");
        let contacts = contact_addresses(m);
        assert_eq!(contacts.len(), 2);
        assert_eq!(contacts[0].uri, b"sip:%00@host5.example.com");
        assert_eq!(contacts[1].uri, b"sip:%00%00@host5.example.com");
        assert_ne!(sip(contacts[0].uri), sip(contacts[1].uri));
        assert_ne!(aor(&sip(contacts[0].uri)), aor(&sip(contacts[1].uri)));
    });
}

/// Outside of URIs a percent sign is a character: this is no REGISTER, and `C%6Fntact` is no Contact.
#[test]
fn rfc4475_3_1_1_5_esc02() {
    with_sound("rfc4475/esc02", |m| {
        assert_eq!(m.method(), Some(Method::Other(b"RE%47IST%45R")));
        assert_eq!(m.cseq().map(|c| c.method), Ok(Method::Other(b"RE%47IST%45R")));
        assert_eq!(m.address(HeaderName::To).unwrap().display, br#""%Z%45""#);
        assert_eq!(m.top_via().unwrap().branch(), Some(b"z9hG4bK209%fzsnel234".as_slice()));
        let uris: Vec<&[u8]> = contact_addresses(m).iter().map(|c| c.uri).collect();
        assert_eq!(uris, [b"sip:alias1@host1.example.com".as_slice(), b"sip:alias3@host3.example.com"]);
    });
}

/// A display name of tokens needs no white space before the bracket.
#[test]
fn rfc4475_3_1_1_6_lwsdisp() {
    with_sound("rfc4475/lwsdisp", |m| {
        let from = m.address(HeaderName::From).unwrap();
        assert_eq!((from.display, from.uri), (b"caller".as_slice(), b"sip:caller@example.com".as_slice()));
        assert_eq!(from.tag(), Some(b"323".as_slice()));
    });
}

/// Long values everywhere, and 34 Via lines of every spelling, all read to their ends.
#[test]
fn rfc4475_3_1_1_7_longreq() {
    with_sound("rfc4475/longreq", |m| {
        let vias = vias(m);
        let hosts: Vec<String> = vias.iter().map(|v| String::from_utf8(v.sent_by.to_vec()).unwrap()).collect();
        let mut expected: Vec<String> = (1..=33).rev().map(|n| format!("sip{n}.example.com")).collect();
        expected.push("host.example.com".into());
        assert_eq!(hosts, expected);
        assert!(vias.iter().all(|v| v.transport == b"TCP"));
        let last = vias.last().unwrap();
        let branch = format!("very{}branchvalue", "long".repeat(50));
        assert_eq!(last.params.value("received"), Some(b"192.0.2.5".as_slice()));
        assert_eq!(last.branch(), Some(branch.as_bytes()));
        assert!(vias[..33].iter().all(|v| v.branch().is_none()));

        let to = m.address(HeaderName::To).unwrap();
        assert_eq!(to.display, format!("\"I have a user name of {} proportion\"", "extreme".repeat(10)).as_bytes());
        let uri = sip(to.uri);
        assert_eq!((uri.user, uri.port), (Some(b"user".as_slice()), Some(6000)));
        assert_eq!(uri.params().count(), 3);
        assert_eq!(uri.param("unknownparam1"), Some(format!("very{}value", "long".repeat(20)).as_bytes()));
        let from = m.address(HeaderName::From).unwrap();
        assert_eq!(sip(from.uri).user, Some("amazinglylongcallername".repeat(5).as_bytes()));
        assert_eq!(from.tag(), Some(format!("12{}424", "982".repeat(50)).as_bytes()));
        assert_eq!(from.params.iter().count(), 3);
        assert_eq!(m.call_id(), Ok(format!("longreq.one{}longcallid", "really".repeat(20)).as_bytes()));
        assert_eq!(sip(contact_addresses(m)[0].uri).user, sip(from.uri).user);
        assert_eq!(m.body().len(), 150);
    });
}

/// What follows Content-Length octets of body in a datagram is noise: no second request is seen.
#[test]
fn rfc4475_3_1_1_8_dblreq() {
    with_sound("rfc4475/dblreq", |m| {
        assert_eq!(m.method(), Some(Method::Register));
        assert_eq!(m.call_id(), Ok(b"dblreq.0ha0isndaksdj99sdfafnl3lk233412".as_slice()));
        assert_eq!(m.body(), b"");
        assert_eq!(vias(m).len(), 1);
        assert!(m.bytes()[m.headers_end()..].starts_with(b"\r\n\r\nINVITE "), "what is left over begins here");
    });
}

/// A semicolon before the at sign belongs to the user part.
#[test]
fn rfc4475_3_1_1_9_semiuri() {
    with_sound("rfc4475/semiuri", |m| {
        let uri = sip(m.request_uri());
        assert_eq!(uri.user, Some(b"user;par=u%40example.net".as_slice()));
        assert_eq!((uri.host, uri.params().count()), (Host::Name(b"example.com"), 0));
        assert_eq!(aor(&uri), "user;par=u%40example.net@example.com");
    });
}

/// A transport token may be any, known or not.
#[test]
fn rfc4475_3_1_1_10_transports() {
    with_sound("rfc4475/transports", |m| {
        let read: Vec<_> = vias(m).iter().map(|v| (v.transport, v.sent_by)).collect();
        let expected: [(&[u8], &[u8]); 5] = [
            (b"UDP", b"t1.example.com"),
            (b"SCTP", b"t2.example.com"),
            (b"TLS", b"t3.example.com"),
            (b"UNKNOWN", b"t4.example.com"),
            (b"TCP", b"t5.example.com"),
        ];
        assert_eq!(read, expected);
    });
}

/// A body is octets: NUL and line ends in it are nothing to the grammar.
#[test]
fn rfc4475_3_1_1_11_mpart01() {
    with_sound("rfc4475/mpart01", |m| {
        let bytes = octets("rfc4475/mpart01");
        assert_eq!(m.method(), Some(Method::Message));
        assert_eq!(m.body().len(), 553);
        assert_eq!(m.body(), &bytes[bytes.len() - 553..]);
        assert!(m.body().contains(&0) && m.body().ends_with(b"--7a9cbec02ceef655--\r\n"));
        assert_eq!(m.value(HeaderName::ContentType), Some(b"multipart/mixed;boundary=7a9cbec02ceef655".as_slice()));
        assert_eq!(m.addresses(HeaderName::Route).count(), 1);
    });
}

/// A reason phrase may be any UTF-8.
#[test]
fn rfc4475_3_1_1_12_unreason() {
    with_sound("rfc4475/unreason", |m| {
        let reason = "= 2**3 * 5**2 но сто девяносто девять - простое".as_bytes();
        assert_eq!(m.start_line(), StartLine::Response { status: 200, reason });
        assert_eq!(m.body().len(), 154);
    });
}

/// A reason phrase may be empty.
#[test]
fn rfc4475_3_1_1_13_noreason() {
    with_sound("rfc4475/noreason", |m| {
        assert_eq!(m.start_line(), StartLine::Response { status: 100, reason: b"" });
    });
}
