//! Limits: each is a counted, visible refusal.

use super::node::{Node, invite, register, respond, with};

const CALLER: &str = "198.51.100.9:5060";

#[test]
fn one_binding_too_many_is_503_with_retry_after() {
    let mut node = Node::with(|s| s.registrar.bindings_per_shard_max = 1);
    node.register("a", "sip:a@203.0.113.1", CALLER);
    let sent = node.udp(CALLER, &register("b", "<sip:b@203.0.113.1>", 1)).remove(0);
    assert_eq!((sent.status(), sent.field("Retry-After")), (503, Some("5")));
    assert_eq!(node.shard.counters().refused_overload, 1);
    let refresh = node.udp(CALLER, &register("a", "<sip:a@203.0.113.1>;expires=3600", 2)).remove(0);
    assert_eq!(refresh.status(), 200, "a refresh needs no room");
}

#[test]
fn one_transaction_too_many_is_503_with_retry_after() {
    let mut node = Node::with(|s| s.proxy.transactions_per_shard_max = 1);
    node.register("bob", "sip:b@203.0.113.1", CALLER);
    node.udp(CALLER, &invite("bob"));
    let sent = node.udp(CALLER, &with(&invite("bob"), "z9hG4bKcaller1", "z9hG4bKcaller2")).remove(0);
    assert_eq!((sent.status(), sent.field("Retry-After")), (503, Some("5")));
}

#[test]
fn contacts_of_one_request_and_lengths_are_bounded() {
    let mut node = Node::with(|s| s.registrar.max_contacts = 64);
    let many: Vec<String> = (0..33).map(|n| format!("<sip:{n}@h>")).collect();
    assert_eq!(node.udp(CALLER, &register("a", &many.join(","), 1))[0].status(), 403);
    for contact in [format!("<sip:{}@h>", "x".repeat(1100)), format!("<sip:x@h>;p={}", "x".repeat(1100))] {
        assert!(matches!(node.udp(CALLER, &register("a", &contact, 1))[0].status(), 400 | 403));
    }
    let long = with(&register("a", "<sip:a@h>", 1), "To: <sip:a@", &format!("To: <sip:{}@", "a".repeat(300)));
    assert_eq!(node.udp(CALLER, &long)[0].status(), 403);
    assert_eq!(node.shard.bindings(), 0);
}

#[test]
fn what_is_stored_of_one_aor_always_fits_into_its_200() {
    let mut node = Node::with(|s| s.registrar.max_contacts = 64);
    let mut refused = 0;
    for cseq in 1..=64 {
        let contact = format!("<sip:{cseq}@h;p={}>;x={}", "x".repeat(900), "y".repeat(900));
        let sent = node.udp(CALLER, &register("a", &contact, cseq)).remove(0);
        assert!(sent.text.len() < 65_000);
        refused += usize::from(sent.status() == 403);
    }
    assert!(refused > 0);
}

#[test]
fn a_flood_of_removed_bindings_leaves_nothing_behind() {
    let mut node = Node::new();
    for n in 0..2000 {
        let user = format!("u{n}");
        node.udp(CALLER, &register(&user, "<sip:a@h>", 1));
        node.udp(CALLER, &register(&user, "<sip:a@h>;expires=0", 2));
    }
    node.pass(40_000);
    assert_eq!((node.shard.bindings(), node.shard.next_deadline()), (0, None));
}

#[test]
fn a_draining_node_refuses_what_is_new_and_ends_what_is_open() {
    let mut node = Node::new();
    node.register("bob", "sip:b@203.0.113.1", CALLER);
    let copy = node.udp(CALLER, &invite("bob")).remove(1);
    node.shard.drain();
    assert_eq!(node.shard.open_transactions(), 1);
    let sent = node.udp(CALLER, &register("c", "<sip:c@h>", 1)).remove(0);
    assert_eq!((sent.status(), sent.field("Retry-After")), (503, Some("5")));
    let sent = node.udp(CALLER, &with(&invite("bob"), "z9hG4bKcaller1", "z9hG4bKcaller2")).remove(0);
    assert_eq!(sent.status(), 503);
    assert_eq!(node.udp("203.0.113.1:5060", &respond(&copy, 200, "t"))[0].status(), 200);
    assert_eq!(node.shard.open_transactions(), 0);
    assert_eq!(node.shard.counters().refused_draining, 2);
}
