//! Phones behind NATs: who is pinged, when, with what, and what comes of it.

use super::node::{NODE, Node, Sent, and, invite, register, respond, with};
use sipfed_proto::settings::{Ping, PingBytes, Settings, Sign};
use sipfed_proto::{Destination, FlowToken, ShardIndex};
use std::net::SocketAddr;

/// Where a NAT lets a phone at 10.0.0.7 be seen.
const SEEN_AT: &str = "198.51.100.9:40000";
const INTERVAL_MS: u64 = 30_000;
const ENDS_UNANSWERED: Ping = Ping::Request { ends_unanswered: true };

fn node_with(change: impl FnOnce(&mut Settings)) -> Node {
    Node::with(|settings| {
        settings.nat.ping.interval_s = 30;
        change(settings);
    })
}

/// Registers a phone behind a NAT.
fn register_natted(node: &mut Node, user: &str, cseq: u32) {
    let message = register(user, &format!("<sip:{user}@10.0.0.7:5060>;expires=3600"), cseq);
    let sent = node.udp(SEEN_AT, &with(&message, "198.51.100.9:5060", "10.0.0.7:5060"));
    assert_eq!(sent[0].status(), 200, "{}", sent[0].text);
}

fn pings(sent: &[(u64, Sent)]) -> Vec<(u64, &Sent)> {
    sent.iter().filter(|(_, sent)| sent.start().starts_with("OPTIONS ")).map(|(at, sent)| (*at, sent)).collect()
}

/// Lets time pass until a ping leaves.
fn next_ping(node: &mut Node) -> Sent {
    loop {
        let wait_ms = node.shard.next_deadline().unwrap().since(node.now).as_millis() as u64;
        if let Some((_, ping)) = pings(&node.pass(wait_ms)).first() {
            return (*ping).clone();
        }
    }
}

/// Lets time pass; each ping is answered after `after_ms`.
fn pass_answering(node: &mut Node, ms: u64, after_ms: u64) -> usize {
    let (end, mut count) = (node.now.plus_ms(ms), 0);
    while node.now < end {
        let next = node.shard.next_deadline().filter(|next| *next <= end).unwrap_or(end);
        let sent = node.pass(next.since(node.now).as_millis() as u64);
        for (_, ping) in pings(&sent) {
            count += 1;
            node.pass(after_ms);
            assert!(node.udp(SEEN_AT, &respond(ping, 200, "phone")).is_empty(), "an answer goes no further");
        }
    }
    count
}

#[test]
fn a_phone_behind_a_nat_is_asked_where_it_was_seen_once_in_each_interval() {
    let mut node = node_with(|_| {});
    register_natted(&mut node, "a", 1);
    node.register("open", "sip:open@198.51.100.8", "198.51.100.8:5060");
    let sent = node.pass(4 * INTERVAL_MS);
    let pings = pings(&sent);
    assert_eq!(pings.len(), 4 - usize::from(node.shard.counters().pings_spared == 1), "{pings:?}");
    for pair in pings.windows(2) {
        assert_eq!(pair[1].0 - pair[0].0, INTERVAL_MS);
        for name in ["Via", "Call-ID", "From"] {
            assert_ne!(pair[0].1.field(name), pair[1].1.field(name), "each is a request of its own");
        }
    }
    let ping = pings[0].1;
    assert_eq!(ping.udp(), Some(SEEN_AT.parse().unwrap()));
    assert_eq!(ping.start(), "OPTIONS sip:a@10.0.0.7:5060 SIP/2.0");
    assert_eq!(ping.field("To"), Some("<sip:a@10.0.0.7:5060>"));
    assert!(ping.field("From").unwrap().starts_with("<sip:ping@sipfed.invalid>;tag="));
    assert_eq!((ping.field("Max-Forwards"), ping.field("CSeq")), (Some("70"), Some("1 OPTIONS")));
    assert!(ping.field("Via").unwrap().starts_with("SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK"));
}

#[test]
fn an_answered_ping_tells_how_long_it_took_and_one_that_is_not_is_counted() {
    let mut node = node_with(|_| {});
    register_natted(&mut node, "a", 1);
    let count = pass_answering(&mut node, 3 * INTERVAL_MS, 40);
    let counters = node.shard.counters();
    assert_eq!((counters.pings_sent, counters.pings_answered), (count as u64, count as u64));
    assert_eq!((counters.pings_lost, counters.pings_answered_late), (0, 0));
    let health = |node: &Node| node.shard.live_bindings(node.now).next().unwrap().health;
    assert_eq!((health(&node).latency_ms, health(&node).lost), (Some(40), 0));
    let heard_at_s = health(&node).heard_at_s.unwrap();
    node.pass(3 * INTERVAL_MS);
    assert_eq!((health(&node).lost, node.shard.counters().pings_lost), (2, 2), "the third may still be answered");
    assert_eq!(health(&node).heard_at_s, Some(heard_at_s));
    assert_eq!(node.shard.contacts(), 1, "it was not said that it ends");
}

#[test]
fn a_binding_whose_phone_has_gone_ends_when_the_last_ping_is_lost() {
    let mut node = node_with(|settings| settings.nat.ping.kind = ENDS_UNANSWERED);
    register_natted(&mut node, "a", 1);
    node.shard.keep_homes();
    pass_answering(&mut node, 2 * INTERVAL_MS, 40);
    let first = node.pass(INTERVAL_MS);
    let first_at = pings(&first)[0].0;
    let more = node.pass(INTERVAL_MS + first_at);
    assert_eq!(pings(&more).len(), 2);
    assert_eq!(node.shard.contacts(), 1);
    node.pass(2_990);
    assert_eq!(node.shard.contacts(), 1, "its threshold is not over");
    node.pass(20);
    assert_eq!((node.shard.contacts(), node.shard.counters().bindings_unanswered), (0, 1));
    assert_eq!(node.shard.counters().pings_lost, 3);
    assert!(!node.shard.next_change().unwrap().is_home, "its row is withdrawn");
    assert!(pings(&node.pass(3 * INTERVAL_MS)).is_empty());
    // The late answer finds nobody; the next REGISTER is welcome.
    assert!(node.udp(SEEN_AT, &respond(pings(&more)[1].1, 200, "x")).is_empty());
    assert_eq!(node.shard.counters().dropped_stray_response, 1);
    register_natted(&mut node, "a", 2);
    assert_eq!(node.shard.contacts(), 1);
}

#[test]
fn one_answer_among_lost_pings_begins_the_count_anew() {
    let mut node = node_with(|settings| settings.nat.ping.kind = ENDS_UNANSWERED);
    register_natted(&mut node, "a", 1);
    let mut last = next_ping(&mut node);
    for _ in 0..10 {
        let next = next_ping(&mut node);
        // After the next one has left.
        node.udp(SEEN_AT, &respond(&last, 486, "x"));
        last = next;
    }
    let counters = node.shard.counters();
    assert_eq!((node.shard.contacts(), counters.bindings_unanswered, counters.pings_answered), (1, 0, 0));
    assert_eq!((counters.pings_lost, counters.pings_answered_late), (10, 10));
}

#[test]
fn a_register_among_lost_pings_begins_the_count_anew() {
    let mut node = node_with(|settings| settings.nat.ping.kind = ENDS_UNANSWERED);
    register_natted(&mut node, "a", 1);
    for cseq in 2..6 {
        next_ping(&mut node);
        next_ping(&mut node);
        node.pass(2_000);
        register_natted(&mut node, "a", cseq);
    }
    assert_eq!((node.shard.contacts(), node.shard.counters().bindings_unanswered), (1, 0));
    node.pass(4 * INTERVAL_MS);
    assert_eq!(node.shard.contacts(), 0);
}

#[test]
fn codes_that_say_nothing_of_the_phone_are_no_answer() {
    let mut node = node_with(|settings| {
        settings.nat.ping.kind = ENDS_UNANSWERED;
        settings.nat.ping.ignored_codes = vec![408, 503];
    });
    register_natted(&mut node, "a", 1);
    for _ in 0..6 {
        let sent = node.pass(INTERVAL_MS / 2);
        for (_, ping) in pings(&sent) {
            node.udp(SEEN_AT, &respond(ping, 503, "x"));
        }
    }
    node.pass(2 * INTERVAL_MS);
    assert!(node.shard.counters().pings_ignored >= 2);
    assert_eq!(node.shard.contacts(), 0);
}

#[test]
fn a_passive_node_pings_nobody_and_one_that_becomes_active_goes_on_in_the_same_rhythm() {
    let mut node = node_with(|settings| settings.nat.ping.kind = ENDS_UNANSWERED);
    register_natted(&mut node, "a", 1);
    node.pass(INTERVAL_MS);
    let before = node.pass(INTERVAL_MS);
    let phase = pings(&before)[0].0;
    node.shard.set_active(false);
    assert!(pings(&node.pass(10 * INTERVAL_MS)).is_empty());
    assert_eq!(node.shard.contacts(), 1, "what was open when it became passive ends nothing");
    node.shard.set_active(true);
    let after = node.pass(2 * INTERVAL_MS);
    assert_eq!(pings(&after).iter().map(|(at, _)| at % INTERVAL_MS).collect::<Vec<_>>(), [phase, phase]);
    assert_eq!(node.shard.live_bindings(node.now).next().unwrap().health.lost, 1, "only the pings of this watch count");
    // The same by command.
    node.shard.set_pinging(false);
    assert!(pings(&node.pass(10 * INTERVAL_MS)).is_empty());
    assert_eq!(node.shard.contacts(), 1);
    node.shard.set_pinging(true);
    assert_eq!(pings(&node.pass(INTERVAL_MS)).len(), 1);
}

/// A hook makes this node the active one while the address is still, or again, at the other one, which would get the answers.
#[test]
fn nobody_is_pinged_from_an_address_that_the_host_lacks_and_no_binding_ends_for_it() {
    let mut node = node_with(|settings| settings.nat.ping.kind = ENDS_UNANSWERED);
    register_natted(&mut node, "a", 1);
    next_ping(&mut node);
    next_ping(&mut node);
    next_ping(&mut node);
    node.shard.set_absent_address(NODE.parse::<SocketAddr>().ok().map(|addr| addr.ip()));
    assert!(pings(&node.pass(10 * INTERVAL_MS)).is_empty());
    let counters = node.shard.counters();
    assert_eq!((node.shard.contacts(), counters.pings_lost), (1, 2));
    assert!(counters.pings_without_way >= 10, "{counters:?}");
    node.shard.set_absent_address("192.0.2.99".parse().ok());
    assert_eq!(pings(&node.pass(2 * INTERVAL_MS)).len(), 2, "it registered at another one");
    node.shard.set_absent_address(None);
    assert_eq!(pings(&node.pass(2 * INTERVAL_MS)).len(), 2);
    assert_eq!(node.shard.contacts(), 1, "what is lost is counted from the time on at which it has an address");
    node.pass(2 * INTERVAL_MS);
    assert_eq!(node.shard.contacts(), 0);
}

#[test]
fn nobody_is_pinged_who_has_just_been_heard() {
    let mut node = node_with(|_| {});
    for cseq in 1..30 {
        register_natted(&mut node, "a", cseq);
        assert!(pings(&node.pass(10_000)).is_empty());
    }
    assert!((9..=10).contains(&node.shard.counters().pings_spared), "{:?}", node.shard.counters());
    node.pass(INTERVAL_MS);
    assert_eq!(node.shard.counters().pings_sent, 1);
}

#[test]
fn an_answer_credits_its_own_contact_and_no_forged_one_counts() {
    let mut node = node_with(|_| {});
    let contacts = "<sip:a@10.0.0.7:5060>;expires=3600, <sip:a@10.0.0.8:5060>;expires=3600";
    let sent = node.udp(SEEN_AT, &with(&register("a", contacts, 1), "198.51.100.9:5060", "10.0.0.7:5060"));
    assert_eq!(sent[0].status(), 200);
    node.pass(INTERVAL_MS);
    let sent = node.pass(INTERVAL_MS);
    let pings = pings(&sent);
    assert_eq!(pings.len(), 2);
    let forged = respond(pings[1].1, 200, "x");
    let at = forged.find("z9hG4bKp").unwrap() + 40;
    let digit = if forged.as_bytes()[at] == b'0' { "1" } else { "0" };
    node.udp(SEEN_AT, &format!("{}{digit}{}", &forged[..at], &forged[at + 1..]));
    assert_eq!(node.shard.counters().dropped_stray_response, 1);
    node.udp(SEEN_AT, &respond(pings[0].1, 200, "x"));
    let heard: Vec<bool> = node.shard.live_bindings(node.now).map(|b| b.health.heard_at_s.is_some()).collect();
    assert_eq!(heard, [true, false]);
}

#[test]
fn no_more_pings_leave_in_a_second_than_there_may() {
    let mut node = node_with(|settings| settings.nat.ping.packets_per_s_max = 10);
    for n in 0..360 {
        register_natted(&mut node, &format!("u{n}"), 1);
    }
    node.pass(INTERVAL_MS);
    let before = node.shard.counters();
    let sent = node.pass(10 * INTERVAL_MS);
    let mut by_second = vec![0; 301];
    for (at, _) in pings(&sent) {
        by_second[at as usize / 1000] += 1;
    }
    assert!(by_second.iter().all(|count| *count <= 11), "{by_second:?}");
    let counters = node.shard.counters();
    let sent_count = counters.pings_sent - before.pings_sent;
    assert!(sent_count >= 2900, "{sent_count} of 3,000 places were used");
    assert!(counters.pings_put_off > 0 && counters.pings_left_out > 0, "{counters:?}");
    let open = counters.pings_sent - counters.pings_lost;
    assert!((1..=360).contains(&open), "one that is put off makes the one before it lost once: {counters:?}");
}

#[test]
fn what_is_due_while_a_shard_stands_still_leaves_evenly_afterwards() {
    let mut node = node_with(|settings| settings.nat.ping.interval_s = 10);
    for n in 0..20_000 {
        register_natted(&mut node, &format!("u{n}"), 1);
    }
    node.pass(20_000);
    node.now = node.now.plus_ms(60);
    let mut by_ms = [0; 1010];
    for (at, _) in pings(&node.pass(1000)) {
        by_ms[at as usize] += 1;
    }
    let share = 20_000 / 1000;
    let busiest: usize = by_ms.windows(10).map(|window| window.iter().sum()).max().unwrap();
    assert!(busiest * 10 <= share * 19, "{share} in 10 ms: {by_ms:?}");
    let caught_up: usize = by_ms[..500].iter().sum();
    assert!((1050..=1200).contains(&caught_up), "{caught_up} in 500 ms, and those of 60 ms before");
}

#[test]
fn what_only_opens_the_nat_is_no_message_and_awaits_no_answer() {
    for (bytes, text) in [(PingBytes::Zeros, "\0\0\0\0"), (PingBytes::Crlf, "\r\n\r\n")] {
        let mut node = node_with(|settings| {
            settings.nat.ping.kind = Ping::Bytes;
            settings.nat.ping.bytes = bytes;
        });
        register_natted(&mut node, "a", 1);
        let sent = node.pass(6 * INTERVAL_MS);
        assert!(sent.len() >= 5 && sent.iter().all(|(_, sent)| sent.text == text), "{sent:?}");
        assert_eq!((node.shard.contacts(), node.shard.counters().pings_lost), (1, 0));
    }
}

#[test]
fn over_a_connection_only_the_one_there_is_serves() {
    let mut node = node_with(|settings| settings.nat.ping.only_natted = false);
    let flow = FlowToken::new(ShardIndex(0), 3, 1);
    let message = with(&register("a", "<sip:a@10.0.0.7:5060;transport=tcp>;expires=3600", 1), "UDP", "TCP");
    assert_eq!(node.tcp(flow, SEEN_AT, &message)[0].status(), 200);
    let sent = node.pass(2 * INTERVAL_MS);
    let pings = pings(&sent);
    assert!(!pings.is_empty());
    assert!(pings.iter().all(|(_, ping)| ping.to == Destination::Flow { flow, fallback: None }));
    assert!(pings[0].1.field("Via").unwrap().starts_with("SIP/2.0/TCP "));
    node.tcp(flow, SEEN_AT, &respond(pings[0].1, 200, "x"));
    node.close(flow);
    assert_eq!(node.pass(3 * INTERVAL_MS).len(), 0);
    assert!(node.shard.counters().pings_without_way >= 2);
}

#[test]
fn a_phone_behind_another_proxy_is_reached_through_it() {
    let mut node = node_with(|settings| settings.nat.ping.only_natted = false);
    let message = and(&register("a", "<sip:a@10.0.0.7>;expires=3600", 1), "Path: <sip:192.0.2.77;lr>");
    assert_eq!(node.udp("192.0.2.77:5060", &message)[0].status(), 200);
    let sent = node.pass(2 * INTERVAL_MS);
    let ping = pings(&sent)[0].1;
    assert_eq!(ping.udp(), Some("192.0.2.77:5060".parse().unwrap()));
    assert_eq!(ping.field("Route"), Some("<sip:192.0.2.77;lr>"));
}

#[test]
fn who_could_be_called_and_is_not_asked_is_not_taken_for_gone() {
    let mut node = node_with(|settings| {
        settings.nat.ping.only_natted = false;
        settings.nat.ping.kind = ENDS_UNANSWERED;
    });
    // A connection to the proxy would have to be opened.
    let message = and(&register("a", "<sip:a@10.0.0.7>;expires=3600", 1), "Path: <sip:192.0.2.77;transport=tcp;lr>");
    assert_eq!(node.udp("192.0.2.77:5060", &message)[0].status(), 200);
    assert!(pings(&node.pass(20 * INTERVAL_MS)).is_empty());
    let counters = node.shard.counters();
    assert!(counters.pings_without_way >= 19, "{counters:?}");
    assert_eq!((node.shard.contacts(), counters.pings_lost), (1, 0));
    // Behind a NAT, one whose own connection is gone cannot be called either.
    let flow = FlowToken::new(ShardIndex(0), 3, 1);
    let message = register("b", "<sip:b@10.0.0.7:5060;transport=tcp>;expires=3600", 1);
    let message = with(&message, "UDP 198.51.100.9:5060", "TCP 10.0.0.7:5060");
    assert_eq!(node.tcp(flow, SEEN_AT, &message)[0].status(), 200);
    node.close(flow);
    node.pass(20 * INTERVAL_MS);
    assert_eq!((node.shard.contacts(), node.shard.counters().bindings_unanswered), (1, 1));
}

#[test]
fn the_signs_that_count_are_those_that_are_configured() {
    let natted = |node: &Node| node.shard.live_bindings(node.now).next().unwrap().is_natted;
    for (signs, is_natted) in [(&[][..], false), (&[Sign::PrivateContact], true), (&[Sign::DiffPortSrcVia], true)] {
        let mut node = node_with(|settings| {
            settings.nat.signs = signs.iter().fold(sipfed_proto::settings::Signs::NONE, |set, sign| set.with(*sign));
        });
        register_natted(&mut node, "a", 1);
        assert_eq!(natted(&node), is_natted, "{signs:?}");
    }
}

#[test]
fn other_settings_are_noticed_by_the_next_refresh_after_a_restart() {
    let mut node = Node::new();
    node.shard.keep_journal(node.now);
    register_natted(&mut node, "a", 1);
    let journal = node.shard.journal().to_vec();
    for (interval_s, pings_count) in [(0, 0), (30, 2)] {
        let mut node = Node::with(|settings| settings.nat.ping.interval_s = interval_s);
        node.shard.restore(&journal).unwrap();
        register_natted(&mut node, "a", 2);
        node.pass(INTERVAL_MS);
        assert_eq!(pings(&node.pass(2 * INTERVAL_MS)).len(), pings_count);
    }
}

/// As a release may have written it that let removals stand in the way of the limit.
#[test]
fn a_log_with_more_bindings_of_an_aor_than_it_may_have_is_pinged_as_far_as_the_limit() {
    let logs = [0, 1].map(|half| {
        let mut node = node_with(|settings| settings.registrar.max_contacts = 64);
        node.shard.keep_journal(node.now);
        for part in 0..2 {
            let contact = |n: u32| format!("<sip:a@10.0.{}.{n}:5060>;expires=3600", 2 * half + part);
            let contacts: Vec<String> = (1..33).map(contact).collect();
            let message = register("a", &contacts.join(", "), part + 1);
            let sent = node.udp(SEEN_AT, &with(&message, "198.51.100.9:5060", "10.0.0.7:5060"));
            assert_eq!(sent[0].status(), 200, "{}", sent[0].text);
        }
        node.shard.journal().to_vec()
    });
    let mut node = node_with(|_| {});
    for log in &logs {
        node.shard.restore(log).unwrap();
    }
    assert_eq!(node.shard.contacts(), 128);
    node.pass(INTERVAL_MS);
    assert_eq!(pings(&node.pass(INTERVAL_MS)).len(), 64);
}

/// Both ends of a call are behind NATs: what either sends inside the dialog reaches the other one, whose Contact is an
/// address that means nothing outside.
#[test]
fn requests_of_a_dialog_reach_phones_behind_nats_in_both_directions() {
    const CALLER_SEEN_AT: &str = "203.0.113.5:31000";
    let mut node = Node::new();
    register_natted(&mut node, "a", 1);
    let call = with(&and(&invite("a"), "Contact: <sip:caller@10.1.1.1:5060>"), "198.51.100.9:5060", "10.1.1.1:5060");
    let sent = node.udp(CALLER_SEEN_AT, &call);
    let ring = sent.iter().find(|sent| sent.start().starts_with("INVITE")).unwrap();
    assert_eq!(ring.udp(), Some(SEEN_AT.parse().unwrap()));
    let routes: Vec<String> = ring.fields("Record-Route").map(str::to_owned).collect();
    let answered = node.udp(SEEN_AT, &and(&respond(ring, 200, "x"), "Contact: <sip:a@10.0.0.7:5060>"));
    assert_eq!(
        answered.last().unwrap().udp(),
        Some("203.0.113.5:5060".parse().unwrap()),
        "without rport, as RFC 3261 says"
    );
    let in_dialog = |method: &str, uri: &str, routes: &[String]| {
        let request = super::node::request(method, uri, "dialog", 7)
            .replace("To: <sip:dialog@fed.example>", "To: <sip:x@fed.example>;tag=x");
        routes.iter().fold(request, |request, route| and(&request, &format!("Route: {route}")))
    };
    let reversed: Vec<String> = routes.iter().rev().cloned().collect();
    for method in ["ACK", "BYE"] {
        let sent = node.udp(CALLER_SEEN_AT, &in_dialog(method, "sip:a@10.0.0.7:5060", &reversed));
        assert_eq!(sent.last().unwrap().udp(), Some(SEEN_AT.parse().unwrap()), "{method}: {sent:?}");
        assert_eq!(sent.last().unwrap().fields("Route").count(), 0);
    }
    let sent = node.udp(SEEN_AT, &in_dialog("INFO", "sip:caller@10.1.1.1:5060", &routes));
    assert_eq!(sent.last().unwrap().udp(), Some(CALLER_SEEN_AT.parse().unwrap()), "{sent:?}");
    // Nobody makes such a route up.
    let at = routes[0].find('@').unwrap() - 1;
    let digit = if routes[0].as_bytes()[at] == b'0' { "1" } else { "0" };
    let forged = vec![format!("{}{digit}{}", &routes[0][..at], &routes[0][at + 1..])];
    let sent = node.udp("203.0.113.66:5060", &in_dialog("MESSAGE", "sip:a@10.0.0.7:5060", &forged));
    assert_eq!(sent.last().unwrap().udp(), Some("10.0.0.7:5060".parse().unwrap()));
}

/// One phone behind a NAT that holds a mapping for `held_ms`, and a REGISTER of it every minute; gives how often the NAT
/// had closed in each of these minutes.
fn minutes_behind_a_nat(node: &mut Node, held_ms: u64, minutes: u32) -> Vec<bool> {
    let mut port = 40_000;
    let minute = |_| {
        let remote = format!("198.51.100.9:{port}");
        let message = register("a", "<sip:a@10.0.0.7:5060>;expires=3600", node.now.unix_s());
        let sent = node.udp(&remote, &with(&message, "198.51.100.9:5060", "10.0.0.7:5060"));
        assert_eq!(sent[0].status(), 200, "{}", sent[0].text);
        let (end, mut open_until) = (node.now.plus_ms(60_000), node.now.plus_ms(held_ms));
        while node.now < end {
            let next = node.shard.next_deadline().filter(|next| *next <= end).unwrap_or(end);
            let sent = node.pass(next.since(node.now).as_millis() as u64);
            for (_, ping) in pings(&sent) {
                if node.now < open_until {
                    open_until = node.now.plus_ms(held_ms);
                    node.udp(&remote, &respond(ping, 200, "phone"));
                }
            }
        }
        let has_closed = node.now >= open_until;
        port += u16::from(has_closed);
        has_closed
    };
    (0..minutes).map(minute).collect()
}

#[test]
fn phones_whose_nats_close_are_pinged_more_often_until_they_stay_open() {
    let mut node = node_with(|settings| settings.nat.ping.interval_min_s = 5);
    let closed = minutes_behind_a_nat(&mut node, 20_000, 120);
    assert!(closed[0], "30 s are too long: {closed:?}");
    assert!(closed[60..].iter().all(|has_closed| !has_closed), "{closed:?}");
    let counters = node.shard.counters();
    assert!(counters.ping_intervals_shortened > counters.ping_intervals_lengthened, "{counters:?}");

    let mut node = node_with(|_| {});
    let closed = minutes_behind_a_nat(&mut node, 20_000, 120);
    assert!(closed[60..].iter().any(|has_closed| *has_closed), "nothing is learned unasked: {closed:?}");
}

#[test]
fn phones_whose_nats_stay_open_are_pinged_less_often_and_not_less_than_these_need() {
    let mut node = node_with(|settings| settings.nat.ping.interval_max_s = 300);
    minutes_behind_a_nat(&mut node, 600_000, 600);
    let before = node.shard.counters().pings_sent;
    minutes_behind_a_nat(&mut node, 600_000, 60);
    let sent = node.shard.counters().pings_sent - before;
    assert!((1..=60).contains(&sent), "an hour needs 120 of them at 30 s: {sent}");
}

#[test]
fn a_phone_that_has_answered_a_call_is_not_asked_whether_it_is_there() {
    let mut node = node_with(|_| {});
    register_natted(&mut node, "a", 1);
    let first = next_ping(&mut node);
    node.udp(SEEN_AT, &respond(&first, 200, "phone"));
    node.pass(INTERVAL_MS - 5000);
    let spared = node.shard.counters().pings_spared;
    let sent = node.udp("203.0.113.9:5060", &invite("a"));
    let ring = sent.iter().find(|sent| sent.start().starts_with("INVITE ")).unwrap().clone();
    assert!(!node.udp(SEEN_AT, &respond(&ring, 180, "phone")).is_empty());
    assert_eq!(pings(&node.pass(5000)).len(), 0);
    assert_eq!(node.shard.counters().pings_spared, spared + 1);
    assert_eq!(pings(&node.pass(INTERVAL_MS)).len(), 1, "once");
}
