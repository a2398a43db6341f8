//! RFC 4475 §3.2 to §3.4: messages whose grammar holds and whose meaning is the trouble.

use crate::node::{Node, octets, sip};
use sipfed_sip::HeaderName;

fn user() -> Node {
    Node::with_phone_at(&["sip:user@example.com"])
}

/// The magic cookie alone names no transaction: another request with it is another request.
#[test]
fn rfc4475_3_2_1_badbranch() {
    let mut node = user();
    node.take("rfc4475/badbranch").is_forwarded(|_| {});
    let other = String::from_utf8(octets("rfc4475/badbranch")).unwrap().replace("badbranch.", "another.");
    node.take_octets("", other.as_bytes()).is_forwarded(|_| {});
}

/// The first field that is missing is named; what is there is copied.
#[test]
fn rfc4475_3_3_1_insuf() {
    user().take("rfc4475/insuf").is_refused(400, "is missing");
}

/// The scheme decides, not the To behind it.
#[test]
fn rfc4475_3_3_2_unkscm() {
    user().take("rfc4475/unkscm").is_refused(416, "Unsupported URI Scheme");
}

#[test]
fn rfc4475_3_3_3_novelsc() {
    user().take("rfc4475/novelsc").is_refused(416, "Unsupported URI Scheme");
}

#[test]
fn rfc4475_3_3_4_unksm2() {
    let mut node = Node::new();
    node.take("rfc4475/unksm2").is_refused(400, "To");
    assert_eq!(node.bindings(), 0);
}

/// A proxy answers for Proxy-Require and leaves Require to the callee.
#[test]
fn rfc4475_3_3_5_bext01() {
    user().take("rfc4475/bext01").is_answered(420, |reply| {
        let unsupported: Vec<_> = reply.tags(HeaderName::Unsupported).collect();
        assert_eq!(unsupported, [b"noProxiesSupportThis".as_slice(), b"norDoAnyProxiesSupportThis"]);
    });
    let text = String::from_utf8(octets("rfc4475/bext01")).unwrap();
    let required: String =
        text.lines().filter(|line| !line.starts_with("Proxy-Require")).flat_map(|line| [line, "\r\n"]).collect();
    user().take_octets("", required.as_bytes()).is_forwarded(|_| {});
    // To the node itself it is the callee.
    let own = required.replace("sip:user@example.com", "sip:example.com");
    user().take_octets("", own.as_bytes()).is_answered(420, |reply| {
        let unsupported: Vec<_> = reply.tags(HeaderName::Unsupported).collect();
        assert_eq!(unsupported, [b"nothingSupportsThis".as_slice(), b"nothingSupportsThisEither"]);
    });
}

/// What a body is made of is nothing to a proxy.
#[test]
fn rfc4475_3_3_6_invut() {
    user().take("rfc4475/invut").is_forwarded(|_| {});
}

/// Without authentication an Authorization, of whatever scheme, is ignored.
#[test]
fn rfc4475_3_3_7_regaut01() {
    Node::new().take("rfc4475/regaut01").is_answered(200, |reply| assert_eq!(reply.contacts().count(), 0));
}

#[test]
fn rfc4475_3_3_8_multi01() {
    user().take("rfc4475/multi01").is_refused(400, "stands more than once");
}

#[test]
fn rfc4475_3_3_9_mcl01() {
    user().take("rfc4475/mcl01").is_refused(400, "Content-Length stands more than once");
}

/// Nothing is sent to the broadcast address: the response is none of ours.
#[test]
fn rfc4475_3_3_10_bcast() {
    let mut node = Node::new();
    node.take("rfc4475/bcast").is_nothing();
    assert_eq!(node.counters().dropped_stray_response, 1);
}

/// No hop is left; a request to the node itself needs none.
#[test]
fn rfc4475_3_3_11_zeromf() {
    user().take("rfc4475/zeromf").is_refused(483, "Too Many Hops");
    let own =
        String::from_utf8(octets("rfc4475/zeromf")).unwrap().replacen("sip:user@example.com", "sip:example.com", 1);
    user().take_octets("", own.as_bytes()).is_answered(200, |_| {});
}

/// Calls the AoR of `to` after the REGISTER `name`; gives the Request-URI that its contact is called by.
fn called_by(name: &str, to: &str) -> Vec<u8> {
    let mut node = Node::new();
    node.take(name).is_answered(200, |_| {});
    let invite = String::from_utf8(octets("rfc4475/sdp01")).unwrap().replacen("sip:user@example.com", to, 1);
    node.take_octets("", invite.as_bytes()).is_forwarded(|went| went.request_uri().to_vec())
}

/// Without brackets the parameter is Contact's: the URI has none, neither on fetch nor when it is called.
#[test]
fn rfc4475_3_3_12_cparam01() {
    let mut node = Node::new();
    node.take("rfc4475/cparam01").is_answered(200, |_| {});
    let contacts = node.contacts("sip:watson@example.com");
    assert!(contacts[0].starts_with("<sip:+19725552222@gw1.example.net>;"), "{contacts:?}");
    assert_eq!(called_by("rfc4475/cparam01", "sip:watson@example.com"), b"sip:+19725552222@gw1.example.net");
}

/// Within brackets it is the URI's, on fetch and when it is called.
#[test]
fn rfc4475_3_3_13_cparam02() {
    let mut node = Node::new();
    node.take("rfc4475/cparam02").is_answered(200, |_| {});
    let contacts = node.contacts("sip:watson@example.com");
    assert!(contacts[0].starts_with("<sip:+19725552222@gw1.example.net;unknownparam>"), "{contacts:?}");
    let called = called_by("rfc4475/cparam02", "sip:watson@example.com");
    assert_eq!(called, b"sip:+19725552222@gw1.example.net;unknownparam");
}

/// The escaped header stays within the contact's URI on fetch.
#[test]
fn rfc4475_3_3_14_regescrt() {
    let mut node = Node::new();
    node.take("rfc4475/regescrt").is_answered(200, |_| {});
    let contacts = node.contacts("sip:user@example.com");
    let uri = contacts[0].strip_prefix('<').and_then(|rest| rest.split_once('>')).unwrap().0;
    assert_eq!(uri, "sip:user@example.com?Route=%3Csip:sip.example.com%3E");
    assert_eq!(sip(uri.as_bytes()).headers, b"Route=%3Csip:sip.example.com%3E");
}

#[test]
fn rfc4475_3_3_15_sdp01() {
    user().take("rfc4475/sdp01").is_forwarded(|_| {});
}

/// A request of RFC 2543 goes on, with the length of its body said.
#[test]
fn rfc4475_3_4_1_inv2543() {
    Node::with_phone_at(&["sip:UserB@example.com"]).take("rfc4475/inv2543").is_forwarded(|went| {
        assert_eq!(went.value(HeaderName::ContentLength), Some(went.body().len().to_string().as_bytes()));
        assert_eq!(went.fields(HeaderName::RecordRoute).count(), 2, "its own and ours");
    });
}
