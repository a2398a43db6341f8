//! RFC 4475 §3.1.2: messages that break the grammar are refused, and nothing of them is kept or passed on.

use crate::node::{Node, octets, vectors_in};
use sipfed_proto::Destination;
use sipfed_sip::{Fault, Index, scan};

/// Takes the vector `name` at a node where everybody whom the vectors call is bound; nothing is kept of it.
#[track_caller]
fn is_refused(name: &str, status: u16, word: &str) {
    let uris =
        ["sip:user@example.com", "sip:user@example.org", "sip:t.watson@example.org", "sip:remote-target@example.com"];
    let mut node = Node::with_phone_at(&uris);
    node.take(name).is_refused(status, word);
    assert_eq!((node.bindings(), node.counters().requests_proxied), (uris.len(), 0));
}

/// Behind its sent-by the Via is broken. Who can still read so far answers 400; who cannot has nowhere to send it,
/// and counts.
#[test]
fn rfc4475_3_1_2_1_badinv01() {
    let mut node = Node::with_phone_at(&["sip:user@example.com"]);
    let outcome = node.take("rfc4475/badinv01");
    outcome.is_refused(400, "Via");
    assert_eq!(node.counters().requests_proxied, 0);
}

#[test]
fn rfc4475_3_1_2_2_clerr() {
    is_refused("rfc4475/clerr", 400, "Content-Length");
}

#[test]
fn rfc4475_3_1_2_3_ncl() {
    is_refused("rfc4475/ncl", 400, "Content-Length");
}

/// Nothing is bound, also not with the one number that could be cut to fit.
#[test]
fn rfc4475_3_1_2_4_scalar02() {
    is_refused("rfc4475/scalar02", 400, "CSeq");
    let text = String::from_utf8(octets("rfc4475/scalar02")).unwrap();
    let mut node = Node::new();
    node.take_octets("", text.replace("36893488147419103232", "1").as_bytes()).is_refused(400, "Max-Forwards");
    // What is left, an Expires and a contact's expires beyond 2^32, is a long time: the longest that is granted.
    let text = text.replace("36893488147419103232", "1").replace("Max-Forwards: 300", "Max-Forwards: 30");
    node.take_octets("", text.as_bytes()).is_answered(200, |_| {});
    assert!(node.contacts("sip:user@example.com")[0].ends_with(";expires=7200"));
}

#[test]
fn rfc4475_3_1_2_5_scalarlg() {
    let mut node = Node::new();
    node.take("rfc4475/scalarlg").is_nothing();
    assert_eq!(node.counters().dropped_malformed_response, 1);
}

#[test]
fn rfc4475_3_1_2_6_quotbal() {
    is_refused("rfc4475/quotbal", 400, "To: quoted display name does not end");
}

#[test]
fn rfc4475_3_1_2_7_ltgtruri() {
    is_refused("rfc4475/ltgtruri", 400, "Request-URI");
}

#[test]
fn rfc4475_3_1_2_8_lwsruri() {
    is_refused("rfc4475/lwsruri", 400, "start line");
}

#[test]
fn rfc4475_3_1_2_9_lwsstart() {
    is_refused("rfc4475/lwsstart", 400, "start line");
}

#[test]
fn rfc4475_3_1_2_10_trws() {
    is_refused("rfc4475/trws", 400, "start line");
}

/// The escaped Route in the Request-URI never becomes a header field: the request ends here.
#[test]
fn rfc4475_3_1_2_11_escruri() {
    is_refused("rfc4475/escruri", 400, "Request-URI");
}

/// Nobody here reads a Date, so a strange one passes.
#[test]
fn rfc4475_3_1_2_12_baddate() {
    Node::with_phone_at(&["sip:user@example.com"]).take("rfc4475/baddate").is_forwarded(|_| {});
}

#[test]
fn rfc4475_3_1_2_13_regbadct() {
    is_refused("rfc4475/regbadct", 400, "Contact");
}

/// A proxy does not read To's URI, and the RFC lets it be liberal: the request goes on as it came.
#[test]
fn rfc4475_3_1_2_14_badaspec() {
    Node::with_phone_at(&["sip:user@example.org"]).take("rfc4475/badaspec").is_forwarded(|_| {});
    // A registrar reads it, and binds nothing.
    let text = String::from_utf8(octets("rfc4475/badaspec")).unwrap();
    let text = text.replace("OPTIONS", "REGISTER").replace("sip:user@example.org", "sip:example.org");
    let mut node = Node::new();
    node.take_octets("", text.as_bytes()).is_refused(400, "To");
    assert_eq!(node.bindings(), 0);
}

#[test]
fn rfc4475_3_1_2_15_baddn() {
    is_refused("rfc4475/baddn", 400, "no empty line");
}

#[test]
fn rfc4475_3_1_2_15_baddn_fixed() {
    is_refused("rfc4475/baddn_fixed", 400, "From: more than one address");
}

#[test]
fn rfc4475_3_1_2_16_badvers() {
    is_refused("rfc4475/badvers", 505, "Version Not Supported");
}

#[test]
fn rfc4475_3_1_2_17_mismatch01() {
    is_refused("rfc4475/mismatch01", 400, "CSeq");
}

#[test]
fn rfc4475_3_1_2_18_mismatch02() {
    is_refused("rfc4475/mismatch02", 501, "CSeq");
}

#[test]
fn rfc4475_3_1_2_19_bigcode() {
    let mut node = Node::new();
    node.take("rfc4475/bigcode").is_nothing();
    assert_eq!(node.counters().dropped_unparsable, 1);
}

#[test]
fn rfc4475_unreferenced_test() {
    let mut node = Node::new();
    node.take("rfc4475/test").is_nothing();
    assert_eq!(node.counters().dropped_unparsable, 1);
}

/// RFC 5118's archive has bare LF: no line ends, so what could be two messages to two elements ends here.
#[test]
fn rfc3261_7_bare_lf_is_refused() {
    for name in vectors_in("rfc5118/bare_lf") {
        is_refused(&name, 400, "CR LF");
    }
}

/// What the node sends is sound; only a refusal may have a control character in it, in a field that it must copy
/// (RFC 3261 §8.2.6.2).
fn is_sound(sent: &[u8]) {
    let mut index = Index::new();
    let message = scan(sent, &mut index).unwrap();
    match message.fault() {
        None => {}
        Some(Fault::Line(what)) if message.status().is_some_and(|status| status >= 400) => {
            assert!(what.contains("control character"));
        }
        Some(fault) => panic!("{fault}: {}", sent.escape_ascii()),
    }
}

/// Hands `bytes` in; whatever the node sends on account of it is sound.
fn breaks_nothing(node: &mut Node, name: &str, bytes: &[u8]) {
    for (to, sent) in node.take_octets(name, bytes).sent {
        is_sound(&sent);
        let broadcast = |addr: std::net::SocketAddr| addr.to_string().starts_with("255.");
        assert!(!matches!(to, Destination::Udp { remote, .. } if broadcast(remote)), "{name}: {to:?}");
    }
}

fn crowded_node() -> Node {
    Node::with_phone_at(&[
        "sip:user@example.com",
        "sip:user@example.org",
        "sip:vivekg@chair-dnrc.example.com",
        "sip:kumiko@example.org",
        "sip:user@[2001:db8::10]",
        "sip:user@host.example.net",
        "sip:UserB@example.com",
    ])
}

/// Whatever is cut off a message, the node answers, serves or drops it, and sends nothing that is broken itself.
#[test]
fn rfc3261_18_3_cut_datagrams_break_nothing() {
    let mut node = crowded_node();
    for name in ["rfc4475", "rfc5118"].into_iter().flat_map(vectors_in) {
        let bytes = octets(&name);
        for length in (0..bytes.len()).step_by(3) {
            breaks_nothing(&mut node, &name, &bytes[..length]);
        }
    }
    node.pass_a_minute(is_sound);
}

/// The same with octets that mean something to the grammar put in the place of others.
#[test]
fn rfc3261_25_changed_octets_break_nothing() {
    const EVIL: &[u8] = b"\0\t\n\r\x0b \"%(,/:;<=>?@[\\]~\x7f\x80\xff019aAz";
    let mut node = crowded_node();
    for name in ["rfc4475", "rfc5118"].into_iter().flat_map(vectors_in) {
        let mut bytes = octets(&name);
        for at in (0..bytes.len()).step_by(2) {
            let was = bytes[at];
            bytes[at] = EVIL[(at * 7 + bytes.len()) % EVIL.len()];
            breaks_nothing(&mut node, &name, &bytes);
            bytes[at] = was;
        }
    }
    node.pass_a_minute(is_sound);
}
