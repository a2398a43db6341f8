//! RFC 4475 §3.1.1: valid messages are served or passed on.

use crate::node::{Node, PHONE, octets, read, sip};
use sipfed_sip::{HeaderName, Method};

/// Accepted and passed on; the unknown header fields reach the callee as they came.
#[test]
fn rfc4475_3_1_1_1_wsinv() {
    let mut node = Node::with_phone_at(&["sip:vivekg@chair-dnrc.example.com"]);
    node.take("rfc4475/wsinv").is_forwarded(|went| {
        assert_eq!(went.request_uri(), format!("sip:phone@{PHONE}").as_bytes());
        assert_eq!(went.addresses(HeaderName::Route).count(), 0, "the route was ours");
        assert!(went.all_fields().any(|field| field.line == b"UnknownHeaderWithUnusualValue: ;;,,;;,;\r\n"));
        assert_eq!(went.vias().count(), 4);
    });
}

/// A method that nobody knows goes to whoever is called.
#[test]
fn rfc4475_3_1_1_2_intmeth() {
    let aor = "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*@example.com";
    let mut node = Node::with_phone_at(&[aor]);
    node.take("rfc4475/intmeth").is_forwarded(|went| {
        assert_eq!(went.method(), Some(Method::Other(b"!interesting-Method0123456789_*+`.%indeed'~")));
    });
    // To a domain of ours where nobody of that name is bound: 404.
    Node::new().take("rfc4475/intmeth").is_refused(404, "");
}

/// An escaped at sign does not make another user or host of the Request-URI.
#[test]
fn rfc4475_3_1_1_3_esc01() {
    let mut node = Node::with_phone_at(&["sip:sips%3auser%40example.com@example.net"]);
    node.take("rfc4475/esc01").is_forwarded(|_| {});
    let mut node = Node::with_phone_at(&["sip:user@example.com", "sip:sips@example.net"]);
    node.take("rfc4475/esc01").is_refused(404, "");
}

/// One NUL and two are two contacts of a user whose name has a NUL in it.
#[test]
fn rfc4475_3_1_1_4_escnull() {
    let mut node = Node::new();
    node.take("rfc4475/escnull").is_answered(200, |_| {});
    let contacts = node.contacts("sip:null-%00-null@example.com");
    assert_eq!(contacts.len(), 2, "{contacts:?}");
    assert!(contacts.iter().any(|contact| contact.starts_with("<sip:%00@host5.example.com>")));
    assert!(contacts.iter().any(|contact| contact.starts_with("<sip:%00%00@host5.example.com>")));
    assert_eq!(node.contacts("sip:null-@example.com").len(), 0, "the name does not end at the NUL");
}

/// No REGISTER, however it looks: nothing is bound.
#[test]
fn rfc4475_3_1_1_5_esc02() {
    let mut node = Node::new();
    node.take("rfc4475/esc02").is_refused(405, "");
    assert_eq!(node.bindings(), 0);
}

/// No space is needed before the bracket.
#[test]
fn rfc4475_3_1_1_6_lwsdisp() {
    Node::with_phone_at(&["sip:user@example.com"]).take("rfc4475/lwsdisp").is_forwarded(|_| {});
}

/// Long values go through whole, and 34 Vias come out as 35.
#[test]
fn rfc4475_3_1_1_7_longreq() {
    Node::with_phone_at(&["sip:user@example.com"]).take("rfc4475/longreq").is_forwarded(|went| {
        assert_eq!(went.vias().count(), 35);
    });
}

/// The REGISTER is served, once; the INVITE behind it is noise.
#[test]
fn rfc4475_3_1_1_8_dblreq() {
    let mut node = Node::with_phone_at(&["sip:joe@example.com"]);
    node.take("rfc4475/dblreq").is_answered(200, |_| {});
    assert_eq!(node.contacts("sip:j.user@example.com").len(), 1);
    assert_eq!(node.counters().requests_proxied, 0);
}

/// The semicolon belongs to the user's name.
#[test]
fn rfc4475_3_1_1_9_semiuri() {
    let mut node = Node::with_phone_at(&["sip:user;par=u%40example.net@example.com"]);
    node.take("rfc4475/semiuri").is_forwarded(|_| {});
    Node::with_phone_at(&["sip:user@example.com"]).take("rfc4475/semiuri").is_refused(404, "");
}

/// Vias of any transport go through.
#[test]
fn rfc4475_3_1_1_10_transports() {
    Node::with_phone_at(&["sip:user@example.com"]).take("rfc4475/transports").is_forwarded(|went| {
        assert_eq!(went.vias().count(), 6);
    });
}

/// A body with NULs goes through octet by octet.
#[test]
fn rfc4475_3_1_1_11_mpart01() {
    Node::with_phone_at(&["sip:kumiko@example.org"]).take("rfc4475/mpart01").is_forwarded(|went| {
        let bytes = octets("rfc4475/mpart01");
        assert_eq!(went.body(), &bytes[bytes.len() - 553..]);
        assert_eq!(went.addresses(HeaderName::Route).count(), 0, "the route was ours");
    });
}

/// Calls the phone, and answers with the status line of the vector `name`; gives what comes back to the caller.
fn answered_with(name: &str) -> Vec<Vec<u8>> {
    let mut node = Node::with_phone_at(&["sip:user@example.com"]);
    let invite = node.take("rfc4475/sdp01");
    let (_, sent) = invite.sent.iter().find(|(_, bytes)| bytes.starts_with(b"INVITE")).unwrap();
    let lines = read(sent, |invite| {
        let kept = [HeaderName::Via, HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq];
        let lines = invite.all_fields().filter(|field| kept.contains(&field.name)).map(|field| field.line);
        lines.collect::<Vec<_>>().concat()
    });
    let answer = octets(name);
    let status_line = answer.split_inclusive(|&b| b == b'\n').next().unwrap();
    let bytes = [status_line, lines.as_slice(), b"Content-Length: 0\r\n\r\n"].concat();
    node.send_from(PHONE, &bytes).sent.into_iter().map(|(_, bytes)| bytes).collect()
}

/// A reason phrase of any UTF-8 reaches the caller. The vector itself answers nothing of ours and is dropped.
#[test]
fn rfc4475_3_1_1_12_unreason() {
    let came_back = answered_with("rfc4475/unreason");
    let reason = "SIP/2.0 200 = 2**3 * 5**2 но сто девяносто девять - простое\r\n";
    assert_eq!(came_back.len(), 1);
    assert!(came_back[0].starts_with(reason.as_bytes()));
    let mut node = Node::new();
    node.take("rfc4475/unreason").is_nothing();
    assert_eq!(node.counters().dropped_stray_response, 1);
}

/// A 100 ends here, with or without a reason phrase.
#[test]
fn rfc4475_3_1_1_13_noreason() {
    assert_eq!(answered_with("rfc4475/noreason").len(), 0);
    let mut node = Node::new();
    node.take("rfc4475/noreason").is_nothing();
    assert_eq!(node.counters().dropped_stray_response, 1);
}

/// What a proxy hands to a contact is its URI, not what only Contact may say of it (RFC 3261 §19.1.1 table 1).
#[test]
fn rfc3261_16_6_step_2_a_contact_becomes_a_request_uri() {
    let mut node = Node::new();
    node.take("rfc4475/regescrt").is_answered(200, |_| {});
    let invite = String::from_utf8(octets("rfc4475/sdp01")).unwrap();
    node.take_octets("rfc4475/sdp01", invite.as_bytes()).is_forwarded(|went| {
        let uri = sip(went.request_uri());
        assert_eq!((uri.user, uri.headers), (Some(b"user".as_slice()), b"".as_slice()));
        assert!(went.first(HeaderName::Route).is_none(), "an escaped header never becomes a header field");
    });
}
