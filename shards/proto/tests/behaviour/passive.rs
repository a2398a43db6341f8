//! A node that is not the active one of its home: what its bindings come to.

use super::node::{Node, invite, register};
use sipfed_proto::limits::{PASSIVE_GRACE_S, PASSIVE_LOOK_S};

const PHONE: &str = "203.0.113.1:5060";
const CALLER: &str = "198.51.100.9:5060";

/// A passive node whose only binding is over since just now.
fn with_one_over() -> Node {
    let mut node = Node::new();
    node.udp(PHONE, &register("bob", "<sip:bob@203.0.113.1>;expires=60", 1));
    node.shard.set_active(false);
    node.pass(60_000);
    node
}

#[test]
fn what_is_over_is_kept_for_a_while_and_never_found() {
    let mut node = with_one_over();
    assert_eq!((node.shard.bindings(), node.shard.live_bindings(node.now).count()), (1, 0));
    assert_eq!(node.udp(CALLER, &invite("bob"))[0].status(), 480);
    node.pass(u64::from(PASSIVE_GRACE_S) * 1000 - 1000);
    assert_eq!(node.shard.bindings(), 1);
    node.pass(1000);
    assert_eq!((node.shard.bindings(), node.shard.counters().bindings_expired), (0, 1));
}

#[test]
fn a_refresh_that_arrives_late_finds_its_binding() {
    let mut node = with_one_over();
    node.pass(u64::from(PASSIVE_GRACE_S) * 1000 - 1000);
    node.udp(PHONE, &register("bob", "<sip:bob@203.0.113.1>;expires=600", 2));
    node.pass(300_000);
    assert_eq!(node.shard.live_bindings(node.now).count(), 1);
    assert_eq!(node.shard.counters().bindings_expired, 0);
}

#[test]
fn a_node_that_becomes_active_lets_go_of_what_is_over_soon() {
    let mut node = with_one_over();
    node.pass(1000);
    node.shard.set_active(true);
    node.pass(u64::from(PASSIVE_LOOK_S) * 1000);
    assert_eq!(node.shard.bindings(), 0);
    // And of what ends from then on at once.
    node.udp(PHONE, &register("bob", "<sip:bob@203.0.113.1>;expires=60", 2));
    node.pass(60_000);
    assert_eq!(node.shard.bindings(), 0);
}
