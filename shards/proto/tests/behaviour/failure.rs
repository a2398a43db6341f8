//! RFC 3261 §16.9, §18: what cannot be sent, and what cannot be read.

use super::node::{Node, invite, register, respond, with};

const CALLER: &str = "198.51.100.9:5060";

#[test]
fn rfc3261_16_9_a_branch_that_cannot_be_sent_counts_as_503() {
    let mut node = Node::new();
    node.register("bob", "sip:b@203.0.113.1", "203.0.113.1:5060");
    let copy = node.udp(CALLER, &invite("bob")).remove(1);
    let sent = node.fail(&copy);
    assert_eq!((sent.len(), sent[0].status()), (1, 500));
    assert!(node.fail(&copy).is_empty());
}

#[test]
fn a_contact_that_cannot_be_sent_to_is_refused() {
    let mut node = Node::new();
    for uri in ["sip:a@224.0.0.1", "sip:a@255.255.255.255", "sip:a@0.0.0.0", "sip:a@[ff02::1]", "sip:a@203.0.113.1:0"] {
        let sent = node.udp(CALLER, &register("a", &format!("<{uri}>"), 1));
        assert_eq!(sent[0].status(), 403, "{uri}");
    }
}

#[test]
fn rfc6026_8_9_forged_and_stray_responses_go_nowhere() {
    let mut node = Node::new();
    node.register("bob", "sip:b@203.0.113.1", "203.0.113.1:5060");
    let copy = node.udp(CALLER, &invite("bob")).remove(1);
    let response = respond(&copy, 200, "t");
    let branch = copy.field("Via").unwrap().split("branch=").nth(1).unwrap().to_owned();
    let forged = format!("{}0{}", &branch[..20], &branch[21..]);
    let forged = if forged == branch { format!("{}1{}", &branch[..20], &branch[21..]) } else { forged };
    assert!(node.udp(CALLER, &with(&response, &branch, &forged)).is_empty());
    assert!(node.udp(CALLER, &with(&response, &branch, "z9hG4bKwhatever")).is_empty());
    assert!(node.udp(CALLER, &with(&response, "CSeq: 1 INVITE", "CSeq: x INVITE")).is_empty());
    let counters = node.shard.counters();
    assert_eq!((counters.dropped_stray_response, counters.dropped_malformed_response), (2, 1));
    assert_eq!(node.udp("203.0.113.1:5060", &response)[0].status(), 200);
}

#[test]
fn what_is_no_sip_is_dropped_and_counted() {
    let mut node = Node::new();
    for junk in ["GET / HTTP/1.1\r\n\r\n", "\0\0\0\0", "x", "SIP/2.0 4294967301 x\r\n\r\n"] {
        assert!(node.udp(CALLER, junk).is_empty(), "{junk:?}");
    }
    assert!(node.udp(CALLER, "\r\n\r\n").is_empty());
    let counters = node.shard.counters();
    assert_eq!((counters.dropped_unparsable, counters.keepalives), (4, 1));
    // A request without a Via that could be answered.
    assert!(node.udp(CALLER, "INVITE sip:a@b SIP/2.0\r\n\r\n").is_empty());
    assert_eq!(node.shard.counters().dropped_unparsable, 5);
}

#[test]
fn a_refusal_says_what_was_wrong() {
    let mut node = Node::new();
    let sent = node.udp(CALLER, &with(&invite("bob"), "CSeq: 1 INVITE", "CSeq: 99999999999 INVITE"));
    assert_eq!(sent[0].start(), "SIP/2.0 400 Bad Request (CSeq: number is above 2^32 - 1)");
}
