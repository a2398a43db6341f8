//! What tools see of a shard and of its journal.

use super::node::{Node, and, register, with};
use sipfed_proto::view::{ChangeKind, ChangeView, changes};
use sipfed_proto::{FlowToken, ShardIndex, Transport};

const PHONE: &str = "203.0.113.1:5062";

/// A binding that has everything.
fn registered() -> Node {
    let mut node = Node::new();
    node.shard.keep_journal(node.now);
    let contact = "<sip:a@203.0.113.1:5062;x=1>;q=0.7;expires=600;+sip.instance=\"<urn:x:1>\";reg-id=2\
                   ;methods=\"INVITE, ACK\"";
    let message = and(&register("a", contact, 7), "User-Agent: phone/1\r\nSupported: path, gruu");
    let message = and(&message, "Path: <sip:edge.example;lr>");
    let sent = node.udp(PHONE, &message);
    assert_eq!(sent[0].status(), 200, "{}", sent[0].text);
    node
}

#[test]
fn a_live_binding_is_seen_with_all_that_was_registered() {
    let node = registered();
    let [binding] = node.shard.live_bindings(node.now).collect::<Vec<_>>().try_into().unwrap();
    assert_eq!((binding.aor, binding.uri), (&b"a@fed.example"[..], &b"sip:a@203.0.113.1:5062;x=1"[..]));
    assert_eq!((binding.instance, binding.reg_id, binding.q_milli), (&b"<urn:x:1>"[..], 2, 700));
    assert_eq!((binding.call_id, binding.cseq), (&b"a-call"[..], 7));
    assert_eq!((binding.user_agent, binding.path), (&b"phone/1"[..], &b"<sip:edge.example;lr>"[..]));
    assert_eq!((binding.received, binding.transport), (PHONE.parse().unwrap(), Transport::Udp));
    assert_eq!(binding.expires_at_s, node.now.unix_s() + 600);
    assert_eq!(binding.methods().collect::<Vec<_>>(), ["INVITE", "ACK"]);
    assert!(binding.supports_path && binding.supports_gruu && !binding.is_flow_lost);
}

#[test]
fn what_is_removed_or_over_is_not_seen() {
    let mut node = registered();
    node.udp(PHONE, &register("b", "<sip:b@h>;expires=60", 1));
    node.udp(PHONE, &register("c", "<sip:c@h>;expires=600", 1));
    node.udp(PHONE, &register("c", "<sip:c@h>;expires=0", 2));
    assert_eq!(node.shard.live_bindings(node.now).count(), 2);
    assert_eq!(node.shard.live_bindings(node.now.plus_ms(60_000)).count(), 1);
    assert_eq!(node.shard.live_bindings(node.now.plus_ms(600_000)).count(), 0);
}

#[test]
fn the_changes_of_a_journal_are_seen_in_their_order() {
    let mut node = Node::new();
    node.shard.keep_journal(node.now);
    node.pass(1_000);
    let flow = FlowToken::new(ShardIndex(0), 1, 1);
    for cseq in 1..=2 {
        let message = register("a", "<sip:a@h;transport=tcp>;expires=600", cseq);
        node.tcp(flow, PHONE, &with(&message, "SIP/2.0/UDP", "SIP/2.0/TCP"));
    }
    node.udp(PHONE, &register("a", "<sip:a@h;transport=tcp>;expires=0", 3));
    let found: Vec<ChangeView<'_>> = changes(node.shard.journal()).map(Result::unwrap).collect();
    let [bound, refreshed, removed] = found.as_slice() else { panic!("{found:?}") };
    let ChangeKind::Bound(binding) = bound.kind else { panic!("{bound:?}") };
    assert_eq!((binding.aor, binding.contact_id), (&b"a@fed.example"[..], bound.contact_id));
    assert_eq!((binding.transport, binding.local), (Transport::Tcp, super::node::NODE.parse().unwrap()));
    let now_s = node.now.unix_s();
    let lives_on = ChangeKind::Refreshed { expires_at_s: now_s + 600, updated_at_s: now_s, cseq: 2 };
    assert_eq!(refreshed.kind, lives_on);
    assert!(matches!(removed.kind, ChangeKind::Removed { cseq: 3, .. }), "{removed:?}");
    for later in [refreshed, removed] {
        assert_eq!((later.aor_hash, later.contact_id), (bound.aor_hash, bound.contact_id));
    }
}

#[test]
fn nothing_follows_a_bad_change() {
    let node = registered();
    let journal = node.shard.journal();
    let bad = [journal, &[77; 11], journal].concat();
    let found: Vec<_> = changes(&bad).collect();
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[1].unwrap_err().at, journal.len());
}
