//! Phones whose registrations come through an edge proxy that says in its Path where it has seen them.

use super::explain::explain;
use super::node::{Node, Sent, and, invite, register, respond, with};
use sipfed_proto::Transport;
use sipfed_proto::settings::{PathMode, Rule, Settings, Then, When};

const EDGE: &str = "192.0.2.77:5060";
const CONTACT: &str = "<sip:a@10.0.0.7:5060>;expires=3600";

fn node(change: impl FnOnce(&mut Settings)) -> Node {
    Node::with(|settings| {
        let when = When { sources: vec!["192.0.2.77/32".parse().unwrap()], ..When::default() };
        let then = Then { path_received: Some(true), ..Then::default() };
        settings.policy = vec![Rule { name: "edge".to_owned(), when, then }];
        settings.nat.ping.interval_s = 30;
        change(settings);
    })
}

/// A REGISTER as the edge proxy hands it on that has seen the phone there.
fn through_edge(seen_at: &str, cseq: u32) -> String {
    let message = with(&register("a", CONTACT, cseq), "198.51.100.9:5060", EDGE);
    and(&message, &format!("Path: <sip:192.0.2.77;lr;received=sip:{seen_at}>"))
}

fn accept(node: &mut Node, from: &str, message: &str) {
    let sent = node.udp(from, message);
    assert_eq!(sent[0].status(), 200, "{}", sent[0].text);
}

/// Where the phone was seen, over what, and whether it is behind a NAT.
fn seen(node: &Node) -> (String, Transport, bool) {
    let [binding] = node.shard.live_bindings(node.now).collect::<Vec<_>>().try_into().unwrap();
    (binding.received.to_string(), binding.received_over, binding.is_natted)
}

fn pings(node: &mut Node, ms: u64) -> Vec<Sent> {
    let sent = node.pass(ms).into_iter().map(|(_, sent)| sent);
    sent.filter(|sent| sent.start().starts_with("OPTIONS ")).collect()
}

#[test]
fn a_phone_is_behind_a_nat_that_its_edge_proxy_says_it_has_seen_somewhere() {
    for (from, seen_at, expected) in [
        (EDGE, "198.51.100.9:40000", ("198.51.100.9:40000", Transport::Udp, true)),
        (EDGE, "198.51.100.9:40000%3btransport%3dtls", ("198.51.100.9:40000", Transport::Tls, true)),
        (EDGE, "[2001:db8::9]:40000", ("[2001:db8::9]:40000", Transport::Udp, true)),
        (EDGE, "phone.example:40000", (EDGE, Transport::Udp, false)),
        // The rule is about the edge proxy alone.
        ("192.0.2.78:5060", "198.51.100.9:40000", ("192.0.2.78:5060", Transport::Udp, false)),
    ] {
        let mut node = node(|_| {});
        accept(&mut node, from, &with(&through_edge(seen_at, 1), EDGE, from));
        assert_eq!(seen(&node), (expected.0.to_owned(), expected.1, expected.2), "{seen_at}");
        let pings = pings(&mut node, 60_000);
        assert_eq!(!pings.is_empty(), expected.2, "{seen_at}: only phones behind NATs are pinged");
        for ping in pings {
            assert_eq!(ping.udp(), Some(EDGE.parse().unwrap()), "it goes by the Path all the same");
            assert_eq!(ping.field("Route"), Some(&*format!("<sip:192.0.2.77;lr;received=sip:{seen_at}>")));
        }
        let sent = node.udp("203.0.113.9:5060", &invite("a"));
        let ring = sent.iter().find(|sent| sent.start().starts_with("INVITE ")).unwrap();
        assert_eq!((ring.start(), ring.udp()), ("INVITE sip:a@10.0.0.7:5060 SIP/2.0", Some(EDGE.parse().unwrap())));
    }
}

#[test]
fn nothing_is_said_by_a_path_that_is_passed_over() {
    let mut node = node(|settings| settings.policy[0].then.path = Some(PathMode::Off));
    accept(&mut node, EDGE, &through_edge("198.51.100.9:40000", 1));
    assert_eq!(seen(&node), (EDGE.to_owned(), Transport::Udp, false));
}

#[test]
fn where_a_phone_was_seen_is_kept_with_its_binding() {
    let mut first = node(|_| {});
    first.shard.keep_journal(first.now);
    accept(&mut first, EDGE, &through_edge("198.51.100.9:40000%3Btransport%3Dtcp", 1));
    let expected = seen(&first);
    let (mut restarted, mut backup) = (node(|_| {}), node(|_| {}));
    restarted.shard.restore(first.shard.journal()).unwrap();
    backup.shard.keep_backups();
    backup.shard.merge(first.shard.journal(), backup.now).unwrap();
    for node in [&mut first, &mut restarted, &mut backup] {
        let before = node.shard.counters();
        accept(node, EDGE, &through_edge("198.51.100.9:40000%3Btransport%3Dtcp", 2));
        let after = node.shard.counters();
        assert_eq!(after.registers_refreshed, before.registers_refreshed + 1);
        assert_eq!(seen(node), expected);
        accept(node, EDGE, &through_edge("198.51.100.9:40001", 3));
        assert_eq!(seen(node), ("198.51.100.9:40001".to_owned(), Transport::Udp, true));
    }
}

/// The phone's NAT holds a mapping for 20 s. It registers every minute; gives how many pings were lost in each.
fn minutes(node: &mut Node, count: u32, over: &str) -> Vec<u64> {
    let mut port = 40_000;
    let minute = |cseq| {
        accept(node, EDGE, &through_edge(&format!("198.51.100.9:{port}{over}"), cseq));
        let (end, mut open_until) = (node.now.plus_ms(60_000), node.now.plus_ms(20_000));
        let before = node.shard.counters().pings_lost;
        while node.now < end {
            let next = node.shard.next_deadline().filter(|next| *next <= end).unwrap_or(end);
            for ping in pings(node, next.since(node.now).as_millis() as u64) {
                if node.now < open_until {
                    open_until = node.now.plus_ms(20_000);
                    node.udp(EDGE, &respond(&ping, 200, "phone"));
                }
            }
        }
        port += u16::from(node.now >= open_until);
        node.shard.counters().pings_lost - before
    };
    (1..=count).map(minute).collect()
}

#[test]
fn the_interval_is_learned_for_the_network_of_the_phone_and_not_for_its_proxy() {
    let told = |node: &mut Node, seen_at: &str| explain(node, EDGE, &through_edge(seen_at, 1000)).outcome;
    let mut datagrams = node(|settings| settings.nat.ping.interval_min_s = 5);
    let lost = minutes(&mut datagrams, 120, "");
    assert!(lost[..10].iter().sum::<u64>() > 0 && lost[60..].iter().sum::<u64>() == 0, "{lost:?}");
    let by_path = "by its Path, which says that it was seen at udp:";
    let outcome = told(&mut datagrams, "203.0.113.9:40000");
    assert!(outcome.contains(&format!("{by_path}203.0.113.9:40000, pinged every 30 s")), "{outcome}");
    let outcome = told(&mut datagrams, "198.51.100.200:1");
    let is_learned = outcome.contains(&format!("{by_path}198.51.100.200:1, pinged every "));
    assert!(is_learned && !outcome.contains("every 30 s"), "{outcome}");
    // Another port of a connection says nothing of a NAT's patience with datagrams.
    let mut connections = node(|settings| settings.nat.ping.interval_min_s = 5);
    minutes(&mut connections, 120, "%3btransport%3dtcp");
    assert_eq!(connections.shard.counters().ping_intervals_shortened, 0);
}
