//! Which binding a Contact names, where rules say what it is matched by.

use super::node::{NODE, Node, and, invite, register, with};
use sipfed_proto::settings::{Matching, Rule, Settings, Then, When};
use sipfed_proto::{Listener, Place, Shard, ShardIndex, Transport};
use std::sync::Arc;

const NATS: [&str; 2] = ["203.0.113.1:31000", "203.0.113.2:32000"];

fn rules(matching: &Matching) -> Vec<Rule> {
    let then = Then { matching: Some(matching.clone()), ..Then::default() };
    vec![Rule { name: "how to match".to_owned(), when: When::default(), then }]
}

fn node(matching: &Matching) -> Node {
    let mut node = Node::with(|settings| settings.policy = rules(matching));
    node.shard.keep_journal(node.now);
    node.shard.keep_backups();
    node
}

fn by_parameter() -> Matching {
    Matching::Parameter("rinstance".to_owned())
}

/// A REGISTER of `a` by the phone whose Call-ID is `call`, with this Contact.
fn ask(call: &str, contact: &str, cseq: u32) -> String {
    let message = with(&register("a", contact, cseq), "a-call", call);
    with(&message, "z9hG4bK", &format!("z9hG4bK{call}"))
}

/// Where the contacts of `a` are, in the order of their addresses.
fn held(node: &Node) -> Vec<String> {
    held_by(&node.shard, node)
}

fn held_by(shard: &Shard, node: &Node) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let live = shard.live_bindings(node.now).map(|b| format!("{} {} {}", b.received, text(b.uri), text(b.call_id)));
    let mut live: Vec<String> = live.collect();
    live.sort();
    live
}

fn accept(node: &mut Node, from: &str, message: &str) {
    let sent = node.udp(from, message);
    assert_eq!(sent[0].status(), 200, "{message}\n{}", sent[0].text);
}

#[test]
fn phones_with_one_private_contact_are_told_from_each_other_by_their_call_id() {
    let contact = "<sip:a@192.168.1.10:5060>";
    for (matching, count) in [(Matching::Contact, 1), (Matching::ContactAndCallId, 2)] {
        let mut node = node(&matching);
        for (n, from) in NATS.into_iter().enumerate() {
            accept(&mut node, from, &ask(&format!("call-{n}"), contact, 1));
        }
        assert_eq!(held(&node).len(), count, "{matching:?}");
        let sent = node.udp("198.51.100.7:5060", &invite("a"));
        assert_eq!(sent.iter().filter(|sent| sent.start().starts_with("INVITE ")).count(), count);
    }
    let mut node = node(&Matching::ContactAndCallId);
    for (n, from) in NATS.into_iter().enumerate() {
        accept(&mut node, from, &ask(&format!("call-{n}"), contact, 1));
    }
    let both = held(&node);
    // However it writes its Contact, each has its own binding: refreshed, moved and ended.
    for (cseq, contact) in [(2, contact), (3, "<sip:a@192.168.1.10:5060>;x=1"), (4, "<sip:%61@192.168.1.10:5060>")] {
        accept(&mut node, NATS[0], &ask("call-0", contact, cseq));
        assert_eq!((held(&node).len(), node.shard.counters().bindings_created), (2, 2), "{contact}");
    }
    accept(&mut node, NATS[1], &ask("call-1", &format!("{contact};expires=0"), 2));
    assert_eq!(held(&node), [both[0].replace("sip:a", "sip:%61")]);
    // One that has no binding with its Call-ID ends none.
    accept(&mut node, NATS[1], &ask("call-2", &format!("{contact};expires=0"), 1));
    assert_eq!(held(&node).len(), 1);
    // An older request of the one that was ended does not bring it back.
    assert_eq!(node.udp(NATS[1], &ask("call-1", contact, 1))[0].status(), 500);
}

#[test]
fn a_phone_whose_address_changes_is_known_by_a_parameter_of_its_contact() {
    let mut node = node(&by_parameter());
    accept(&mut node, NATS[0], &ask("one", "<sip:a@192.168.1.10:5060;rinstance=5f>", 1));
    accept(&mut node, NATS[1], &ask("two", "<sip:a@192.168.1.10:5060;rinstance=6a>", 1));
    accept(&mut node, NATS[1], &ask("three", "<sip:a@10.0.0.7:1024;RINSTANCE=5f>", 1));
    let moved = "203.0.113.2:32000 sip:a@10.0.0.7:1024;RINSTANCE=5f three";
    let other = "203.0.113.2:32000 sip:a@192.168.1.10:5060;rinstance=6a two";
    assert_eq!(held(&node), [moved, other]);
    // Without the parameter, or with nothing in it, the URI counts.
    for (cseq, contact) in [(1, "<sip:a@10.0.0.8>"), (2, "<sip:a@10.0.0.8;rinstance>"), (3, "<sip:a@10.0.0.9>")] {
        accept(&mut node, NATS[0], &ask("four", contact, cseq));
        assert_eq!(held(&node).len(), if cseq == 3 { 4 } else { 3 }, "{contact}");
    }
    let twice = "<sip:a@10.0.1.1;rinstance=7c>, <sip:a@10.0.1.2;rinstance=7c>";
    assert_eq!(node.udp(NATS[0], &ask("five", twice, 1))[0].status(), 400);
    accept(&mut node, NATS[0], &ask("six", "<sip:a@10.9.9.9;rinstance=5f>;expires=0", 1));
    assert_eq!((held(&node).len(), held(&node).contains(&moved.to_owned())), (3, false));
}

#[test]
fn a_phone_that_names_its_instance_is_known_by_that_whatever_a_rule_says() {
    for matching in [Matching::Contact, Matching::ContactAndCallId, by_parameter()] {
        let mut node = node(&matching);
        let contact = |host: &str, instance| format!("<sip:a@{host};rinstance=1>;+sip.instance=\"<urn:x:{instance}>\"");
        accept(&mut node, NATS[0], &ask("one", &contact("192.168.1.10", 1), 1));
        accept(&mut node, NATS[1], &ask("two", &contact("192.168.1.10", 2), 1));
        assert_eq!(held(&node).len(), 2, "{matching:?}");
        // It has started again somewhere else.
        accept(&mut node, NATS[0], &ask("three", &contact("192.168.1.11", 1), 1));
        assert_eq!(held(&node).len(), 2, "{matching:?}");
    }
}

#[test]
fn what_a_binding_was_matched_by_survives_restarts_backups_and_other_secrets() {
    for (matching, contacts) in [
        (Matching::ContactAndCallId, ["<sip:a@192.168.1.10>", "<sip:a@192.168.1.10>"]),
        (by_parameter(), ["<sip:a@192.168.1.10;rinstance=1>", "<sip:a@192.168.1.10;rinstance=2>"]),
    ] {
        let mut first = node(&matching);
        let ask_all = |node: &mut Node, cseq| {
            for (n, from) in NATS.into_iter().enumerate() {
                accept(node, from, &ask(&format!("call-{n}"), contacts[n], cseq));
            }
        };
        ask_all(&mut first, 1);
        let (journal, both) = (first.shard.journal().to_vec(), held(&first));
        let (mut restarted, mut backup, mut keyed_anew) = (node(&matching), node(&matching), node(&matching));
        restarted.shard.restore(&journal).unwrap();
        backup.shard.merge(&journal, backup.now).unwrap();
        let mut settings =
            Settings { policy: rules(&matching), domains: vec!["fed.example".into()], ..Settings::default() };
        settings.listeners = vec![Listener { transport: Transport::Udp, addr: NODE.parse().unwrap() }];
        let place = Place { index: ShardIndex(0), count: 1 };
        let mut other = Shard::new(Arc::new(settings), place, [8; 32], first.now);
        other.restore(&journal).unwrap();
        keyed_anew.shard.adopt(&other, first.now);
        for (n, node) in [&mut restarted, &mut backup, &mut keyed_anew].into_iter().enumerate() {
            assert_eq!(held(node), both, "{matching:?} {n}");
            ask_all(node, 2);
            assert_eq!((held(node), node.shard.counters().registers_refreshed), (both.clone(), 2), "{matching:?} {n}");
        }
    }
}

#[test]
fn what_is_ended_where_it_was_not_known_is_ended_elsewhere_and_nothing_else_is() {
    let (same, moved) = ("<sip:a@192.168.1.10>", "<sip:a@10.0.0.7;rinstance=1>;expires=0");
    for (matching, bound, ended) in [
        (Matching::ContactAndCallId, [same, same], "<sip:%61@192.168.1.10>;expires=0"),
        (by_parameter(), ["<sip:a@192.168.1.10;rinstance=1>", "<sip:a@192.168.1.10;rinstance=2>"], moved),
    ] {
        let (mut knows, mut ends) = (node(&matching), node(&matching));
        for (n, from) in NATS.into_iter().enumerate() {
            accept(&mut knows, from, &ask(&format!("call-{n}"), bound[n], 1));
        }
        for node in [&mut knows, &mut ends] {
            node.pass(1000);
        }
        accept(&mut ends, NATS[0], &ask("call-0", ended, 2));
        knows.shard.merge(ends.shard.journal(), knows.now).unwrap();
        let left = held(&knows);
        assert!(left.len() == 1 && left[0].starts_with(NATS[1]), "{matching:?}: {left:?}");
        // Nor does the one that was told of it take in what was ended.
        let journal = knows.shard.journal().to_vec();
        ends.shard.merge(&journal, ends.now).unwrap();
        assert_eq!(held(&ends), left, "{matching:?}");
    }
}

#[test]
fn each_phone_has_one_binding_whichever_rule_it_comes_under() {
    let home = When { user_agent: Some(sipfed_proto::settings::Pattern::new("home*")), ..When::default() };
    let mut node = Node::with(|settings| {
        settings.policy = rules(&Matching::ContactAndCallId);
        settings.policy[0].when = home;
    });
    let contact = "<sip:a@192.168.1.10>";
    accept(&mut node, NATS[0], &ask("one", contact, 1));
    accept(&mut node, NATS[0], &and(&ask("one", contact, 2), "User-Agent: home"));
    assert_eq!(held(&node).len(), 1);
    accept(&mut node, NATS[1], &and(&ask("two", contact, 1), "User-Agent: home"));
    assert_eq!(held(&node).len(), 2);
    accept(&mut node, NATS[0], &ask("one", contact, 3));
    assert_eq!(held(&node).len(), 2);
}
