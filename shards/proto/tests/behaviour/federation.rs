//! The federation: what is published, what is asked, and what a request makes of the answer.

use super::node::{Node, Sent, and, invite, register, request, respond, with};
use sipfed_proto::directory::{Answer, Change, Pass, Walk};
use sipfed_proto::settings::DirectorySettings;
use sipfed_proto::{Destination, Transport};
use std::num::NonZeroU8;

const CALLER: &str = "198.51.100.9:5060";
const PHONE: &str = "203.0.113.1:5060";
const PEER: &str = "192.0.2.2";

fn node() -> Node {
    node_with(|_| {})
}

fn node_with(change: impl FnOnce(&mut DirectorySettings)) -> Node {
    let mut node = Node::with(|settings| {
        let mut directory = DirectorySettings {
            home: "192.0.2.1".to_owned(),
            peers: vec![PEER.to_owned(), "192.0.2.3:5080".to_owned(), "2001:db8::3".to_owned()],
            ..DirectorySettings::default()
        };
        change(&mut directory);
        settings.directory = Some(directory);
    });
    node.shard.keep_homes();
    node
}

fn starts(sent: &[Sent]) -> Vec<&str> {
    sent.iter().map(Sent::start).collect()
}

/// The question that the node asks now, if any.
fn question(node: &mut Node) -> Option<(u64, String)> {
    node.shard.next_question().map(|q| (q.id, String::from_utf8(q.aor.into()).unwrap()))
}

fn changes(node: &mut Node) -> Vec<(String, bool)> {
    let text = |Change { aor, is_home }| (String::from_utf8(Vec::from(aor)).unwrap(), is_home);
    std::iter::from_fn(|| node.shard.next_change()).map(text).collect()
}

fn change(user: &str, is_home: bool) -> (String, bool) {
    (format!("{user}@fed.example"), is_home)
}

#[test]
fn the_first_binding_is_published_and_the_last_withdrawn() {
    let mut node = node();
    node.register("bob", "sip:bob@203.0.113.1", PHONE);
    assert_eq!(changes(&mut node), [change("bob", true)]);
    // A further binding and a refresh change nothing.
    node.udp(PHONE, &with(&register("bob", "<sip:bob@203.0.113.7>", 2), "bob-call", "other"));
    node.udp(PHONE, &register("bob", "<sip:bob@203.0.113.1>", 3));
    assert_eq!(changes(&mut node), []);
    node.udp(PHONE, &register("bob", "<sip:bob@203.0.113.1>;expires=0", 4));
    assert_eq!(changes(&mut node), [], "one is left");
    node.udp(PHONE, &with(&register("bob", "<sip:bob@203.0.113.7>;expires=0", 5), "bob-call", "other"));
    assert_eq!(changes(&mut node), [change("bob", false)]);
    node.pass(60_000);
    assert_eq!(changes(&mut node), [], "that it is not remembered any more is no news");
    node.udp(PHONE, &register("bob", "<sip:bob@203.0.113.1>", 6));
    assert_eq!(changes(&mut node), [change("bob", true)]);
    node.pass(3_601_000);
    assert_eq!(changes(&mut node), [change("bob", false)], "its time ran out");
}

#[test]
fn what_comes_and_goes_before_it_is_taken_is_one_change() {
    let mut node = node();
    for cseq in 0..3 {
        node.udp(PHONE, &register("bob", "<sip:bob@203.0.113.1>", 2 * cseq + 1));
        node.udp(PHONE, &register("bob", "<sip:bob@203.0.113.1>;expires=0", 2 * cseq + 2));
    }
    assert_eq!(changes(&mut node), [change("bob", false)]);
}

#[test]
fn a_reconcile_finds_what_differs_in_both_directions() {
    let mut node = node();
    for user in ["here", "unpublished"] {
        node.register(user, "sip:x@203.0.113.1", PHONE);
    }
    changes(&mut node);
    let pass = Pass(NonZeroU8::new(1).unwrap());
    node.shard.compare([&b"here@fed.example"[..], b"gone@fed.example"].into_iter(), pass);
    assert_eq!(changes(&mut node), [change("gone", false)]);
    assert_eq!(node.shard.walk(Walk::Unseen(pass), 0, 1), Some(1));
    assert_eq!(node.shard.walk(Walk::Unseen(pass), 1, 100), None);
    assert_eq!(changes(&mut node), [change("unpublished", true)]);
    // The next pass begins anew.
    assert_eq!(node.shard.walk(Walk::Unseen(Pass(NonZeroU8::new(2).unwrap())), 0, 100), None);
    assert_eq!(changes(&mut node), [change("here", true), change("unpublished", true)]);
    assert_eq!(node.shard.walk(Walk::All, 0, 100), None);
    assert_eq!(changes(&mut node), [change("here", true), change("unpublished", true)]);
}

#[test]
fn a_call_goes_to_the_phones_here_and_to_the_other_homes() {
    let mut node = node();
    node.udp(PHONE, &register("bob", "<sip:bob@203.0.113.1>;q=0.3;expires=60", 1));
    let sent = node.udp(CALLER, &invite("bob"));
    assert_eq!(starts(&sent), ["SIP/2.0 100 Trying", "INVITE sip:bob@203.0.113.1 SIP/2.0"], "it rings at once");
    let (id, aor) = question(&mut node).unwrap();
    assert_eq!(aor, "bob@fed.example");
    let homes = ["192.0.2.1".into(), "192.0.2.2".into(), "sip:192.0.2.3:5080".into(), "192.0.2.2".into()];
    let sent = node.answer(id, Answer::Homes(&homes));
    assert_eq!(starts(&sent), ["INVITE sip:bob@fed.example SIP/2.0"; 2], "the Request-URI stays the AoR");
    let to: Vec<String> = sent.iter().map(|sent| sent.udp().unwrap().to_string()).collect();
    assert_eq!(to, ["192.0.2.2:5060", "192.0.2.3:5080"]);
    assert!(sent.iter().all(|sent| sent.field("Route").is_none()));
    assert_eq!(node.shard.counters().branches_to_homes, 2);
    // The phone at the other home answers; this one stops ringing.
    let rings = ringing(&mut node);
    node.udp(PHONE, &respond(&rings, 180, "p"));
    let answered = node.udp("192.0.2.2:5060", &respond(&sent[0], 200, "far"));
    assert_eq!(answered[0].status(), 200);
    assert!(starts(&answered).contains(&"CANCEL sip:bob@203.0.113.1 SIP/2.0"), "{answered:#?}");
}

/// The retransmission of what rings at the phone.
fn ringing(node: &mut Node) -> Sent {
    let all = node.pass(600);
    all.into_iter().map(|(_, sent)| sent).find(|sent| sent.start() == "INVITE sip:bob@203.0.113.1 SIP/2.0").unwrap()
}

#[test]
fn a_request_from_a_peer_is_looked_up_here_alone() {
    let mut node = node();
    let sent = node.udp("192.0.2.2:5060", &invite("bob"));
    assert_eq!(sent[0].status(), 404);
    assert_eq!(question(&mut node), None);
    // Another port of its address, and a peer of IPv6, are peers too.
    node.register("bob", "sip:bob@203.0.113.1", PHONE);
    let again = with(&invite("bob"), "branch=z9hG4bK", "branch=z9hG4bKagain");
    assert_eq!(node.udp("192.0.2.3:6666", &again).len(), 2);
    assert_eq!(question(&mut node), None);
    assert_eq!(node.shard.counters().requests_from_peers, 2);
}

#[test]
fn a_marked_request_is_one_of_a_node_wherever_it_comes_from() {
    let with_secret = |secret: &str| node_with(|directory| directory.secret = Some(secret.to_owned()));
    let mut node = with_secret("a secret of all nodes");
    // Which have more to say in their Via.
    node.shard.keep_backups();
    node.udp(CALLER, &invite("bob"));
    let (id, _) = question(&mut node).unwrap();
    let sent = node.answer(id, Answer::Homes(&["192.0.2.77".into()]));
    // From another node, or this one would see its own Via come back.
    let text = &with(&sent[0].text, "Via: SIP/2.0/UDP 192.0.2.1:", "Via: SIP/2.0/UDP 192.0.2.55:");
    let via = sent[0].fields("Via").next().unwrap();
    assert!(via.contains(";sipfed-mark="), "{via}");
    // At the other home, behind a NAT.
    let home = |secret: &str| {
        let mut home = with_secret(secret);
        home.udp_at("192.0.2.77:5060", "198.51.100.200:40000", text);
        home
    };
    assert_eq!(question(&mut home("a secret of all nodes")), None);
    assert!(question(&mut home("the secret of others")).is_some());
    // It is good for that one request.
    let mut home = with_secret("a secret of all nodes");
    let other = with(text, "Call-ID: caller-call", "Call-ID: another-call");
    home.udp_at("192.0.2.77:5060", "198.51.100.200:40000", &other);
    assert!(question(&mut home).is_some());
    // A phone gets none.
    node.register("carol", "sip:carol@203.0.113.1", PHONE);
    let sent = node.udp(CALLER, &with(&invite("carol"), "branch=z9hG4bK", "branch=z9hG4bKsecond"));
    assert!(!sent[1].text.contains("sipfed-mark"));
}

#[test]
fn nobody_has_it_is_404_and_remembered_for_a_moment() {
    let mut node = node();
    assert_eq!(starts(&node.udp(CALLER, &invite("bob"))), ["SIP/2.0 100 Trying"]);
    let (id, _) = question(&mut node).unwrap();
    let sent = node.answer(id, Answer::Homes(&[]));
    assert_eq!(starts(&sent), ["SIP/2.0 404 Not Found"]);
    // The next caller is not let to the store.
    let second = with(&invite("bob"), "branch=z9hG4bK", "branch=z9hG4bKsecond");
    assert_eq!(node.udp(CALLER, &second)[0].status(), 404);
    assert_eq!(question(&mut node), None);
    node.pass(1000);
    let third = with(&invite("bob"), "branch=z9hG4bK", "branch=z9hG4bKthird");
    node.udp(CALLER, &third);
    assert!(question(&mut node).is_some());
}

#[test]
fn callers_of_one_aor_share_a_question() {
    let mut node = node();
    for n in 0..5 {
        node.udp(CALLER, &with(&invite("bob"), "branch=z9hG4bK", &format!("branch=z9hG4bK{n}")));
    }
    let (id, _) = question(&mut node).unwrap();
    assert_eq!(question(&mut node), None);
    assert_eq!(node.answer(id, Answer::Homes(&[PEER.into()])).len(), 5);
    let counters = node.shard.counters();
    assert_eq!((counters.lookups_asked, counters.lookups_joined), (5, 4));
}

#[test]
fn without_an_answer_the_call_goes_on_at_the_deadline_with_what_is_known() {
    let mut node = node_with(|directory| directory.ask_peers_max = 0);
    node.udp(CALLER, &invite("bob"));
    let (id, _) = question(&mut node).unwrap();
    assert!(node.pass(190).is_empty());
    let sent = node.pass(20);
    assert_eq!(sent[0].1.start().split(' ').nth(1), Some("480"), "it is not known that nobody has it");
    assert_eq!(sent[0].1.field("Retry-After"), Some("5"));
    assert!(node.answer(id, Answer::Homes(&[PEER.into()])).is_empty(), "too late");
    assert_eq!(node.shard.counters().refused_unknown_home, 1);
}

#[test]
fn what_the_store_said_last_stands_in_for_it() {
    let mut node = node();
    node.udp(CALLER, &invite("bob"));
    let (id, _) = question(&mut node).unwrap();
    let sent = node.answer(id, Answer::Homes(&["192.0.2.3:5080".into()]));
    node.udp("192.0.2.3:5080", &respond(&sent[0], 486, "busy"));
    node.pass(60_000);
    node.udp(CALLER, &with(&invite("bob"), "branch=z9hG4bK", "branch=z9hG4bKsecond"));
    let (id, _) = question(&mut node).unwrap();
    let sent = node.answer(id, Answer::Unknown);
    assert_eq!(sent.iter().map(|sent| sent.udp().unwrap().to_string()).collect::<Vec<_>>(), ["192.0.2.3:5080"]);
    // That it says 404 does not mean that nobody has the AoR.
    let sent = node.udp("192.0.2.3:5080", &respond(&sent[0], 404, "no"));
    assert_eq!(sent.last().unwrap().status(), 480);
}

#[test]
fn without_a_memory_the_peers_themselves_are_asked() {
    let mut node = node_with(|directory| directory.ask_peers_max = 2);
    node.udp(CALLER, &invite("bob"));
    let (id, _) = question(&mut node).unwrap();
    let sent = node.answer(id, Answer::Unknown);
    let to: Vec<String> = sent.iter().map(|sent| sent.udp().unwrap().to_string()).collect();
    assert_eq!(to, ["192.0.2.2:5060", "192.0.2.3:5080"]);
    node.udp("192.0.2.3:5080", &respond(&sent[1], 404, "no"));
    let sent = node.udp("192.0.2.2:5060", &respond(&sent[0], 200, "yes"));
    assert_eq!(sent[0].status(), 200);
}

/// Calls `user` with a branch of its own, and has the directory answer; what is sent then.
fn call_answered(node: &mut Node, user: &str, branch: &str, answer: Answer<'_>) -> Vec<Sent> {
    node.udp(CALLER, &with(&invite(user), "branch=z9hG4bK", &format!("branch=z9hG4bK{branch}")));
    let (id, _) = question(node).unwrap();
    node.answer(id, answer)
}

fn receivers(sent: &[Sent]) -> Vec<String> {
    let requests = sent.iter().filter(|sent| sent.status() == 0);
    requests.filter_map(Sent::udp).map(|to| to.to_string()).collect()
}

#[test]
fn a_home_that_says_nothing_is_given_up_early_and_left_out_for_a_while() {
    let mut node = node();
    let homes = [PEER.into(), "192.0.2.3:5080".into()];
    let sent = call_answered(&mut node, "bob", "1", Answer::Homes(&homes));
    assert_eq!(receivers(&sent), ["192.0.2.2:5060", "192.0.2.3:5080"]);
    node.udp("192.0.2.3:5080", &respond(&sent[1], 486, "busy"));
    let last = node.pass(3_000).pop().unwrap();
    assert_eq!((last.0, last.1.status()), (3_000, 486), "and not after 32 seconds");
    // Meanwhile it costs nobody anything.
    let sent = call_answered(&mut node, "carol", "2", Answer::Homes(&homes));
    assert_eq!(receivers(&sent), ["192.0.2.3:5080"]);
    let sent = node.udp("192.0.2.3:5080", &respond(&sent[0], 404, "no"));
    assert_eq!(sent.last().unwrap().status(), 480, "the other one may have her");
    let counters = node.shard.counters();
    assert_eq!((counters.homes_given_up, counters.homes_skipped), (1, 1));
    node.pass(10_000);
    assert_eq!(call_answered(&mut node, "dave", "3", Answer::Homes(&homes)).len(), 2, "it may be back");
}

#[test]
fn a_home_that_is_heard_is_left_out_no_more() {
    let mut node = node_with(|directory| directory.ask_peers_max = 2);
    let sent = call_answered(&mut node, "bob", "1", Answer::Unknown);
    assert_eq!(receivers(&sent), ["192.0.2.2:5060", "192.0.2.3:5080"]);
    node.pass(3_100);
    let sent = call_answered(&mut node, "bob", "2", Answer::Unknown);
    assert!(receivers(&sent).is_empty(), "both are silent, and a third is out of reach: {sent:#?}");
    assert_eq!(sent[0].status(), 480);
    // Whatever request comes from it.
    node.udp("192.0.2.3:5080", &with(&invite("erin"), "branch=z9hG4bK", "branch=z9hG4bKpeer"));
    let sent = call_answered(&mut node, "bob", "3", Answer::Unknown);
    assert_eq!(receivers(&sent), ["192.0.2.3:5080"]);
}

#[test]
fn a_home_that_is_known_to_be_down_is_left_out_until_it_is_not() {
    let mut node = node();
    let homes = [PEER.into(), "192.0.2.3:5080".into()];
    // It is noted as silent first, as the home of a node that has just died is.
    let sent = call_answered(&mut node, "bob", "1", Answer::Homes(&homes));
    node.udp("192.0.2.2:5060", &respond(&sent[0], 486, "busy"));
    node.pass(3_000);
    node.shard.set_down(["sip:192.0.2.3:5080", "192.0.2.2:5070", "sip.example.com"].into_iter());
    let sent = call_answered(&mut node, "carol", "2", Answer::Homes(&homes));
    assert_eq!(receivers(&sent), ["192.0.2.2:5060"], "another port is another home");
    let sent = node.udp("192.0.2.2:5060", &respond(&sent[0], 404, "no"));
    assert_eq!(sent.last().unwrap().status(), 480, "the other one may have her");
    let counters = node.shard.counters();
    assert_eq!((counters.homes_skipped_down, counters.homes_skipped), (1, 0));
    node.pass(60_000);
    node.shard.set_down(["192.0.2.2", "192.0.2.3:5080"].into_iter());
    let sent = call_answered(&mut node, "dave", "3", Answer::Homes(&homes));
    assert!(receivers(&sent).is_empty(), "{sent:#?}");
    node.shard.set_down(std::iter::empty());
    let sent = call_answered(&mut node, "erin", "4", Answer::Homes(&homes));
    assert_eq!(receivers(&sent), ["192.0.2.2:5060", "192.0.2.3:5080"]);
    // Nothing comes of that, and yet it is back as soon as it is known to be.
    node.pass(3_000);
    node.shard.set_down(["192.0.2.3:5080"].into_iter());
    node.shard.set_down(std::iter::empty());
    let sent = call_answered(&mut node, "frank", "5", Answer::Homes(&homes));
    assert_eq!(receivers(&sent), ["192.0.2.3:5080"], "the other was silent");
}

#[test]
fn a_home_that_wakes_up_too_late_is_cancelled_so_that_nobody_is_left_ringing() {
    let mut node = node();
    let sent = call_answered(&mut node, "bob", "1", Answer::Homes(&[PEER.into()]));
    let last = node.pass(3_000).pop().unwrap().1;
    assert_eq!(last.status(), 408);
    let sent = node.udp("192.0.2.2:5060", &respond(&sent[0], 180, "late"));
    assert_eq!(starts(&sent), ["CANCEL sip:bob@fed.example SIP/2.0"]);
    // One that has said anything is waited for as long as any phone rings.
    let sent = call_answered(&mut node, "bob", "2", Answer::Homes(&[PEER.into()]));
    node.udp("192.0.2.2:5060", &respond(&sent[0], 100, ""));
    let second = |sent: &&(u64, Sent)| sent.1.field("Via").is_some_and(|via| via.contains("z9hG4bK2"));
    assert_eq!(node.pass(60_000).iter().filter(second).count(), 0);
    let sent = node.udp("192.0.2.2:5060", &respond(&sent[0], 200, "at last"));
    assert_eq!(sent[0].status(), 200);
}

#[test]
fn phones_here_ring_and_answer_while_the_store_is_silent() {
    let mut node = node();
    node.register("bob", "sip:bob@203.0.113.1", PHONE);
    let sent = node.udp(CALLER, &invite("bob"));
    let sent = node.udp(PHONE, &respond(&sent[1], 200, "p"));
    assert_eq!(sent[0].status(), 200);
    let (id, _) = question(&mut node).unwrap();
    assert!(node.answer(id, Answer::Homes(&[PEER.into()])).is_empty(), "it is answered");
    // One that declines at once has to wait for what else there may be.
    let sent = node.udp(CALLER, &with(&invite("bob"), "branch=z9hG4bK", "branch=z9hG4bKsecond"));
    assert_eq!(starts(&node.udp(PHONE, &respond(&sent[1], 486, "p"))), ["ACK sip:bob@203.0.113.1 SIP/2.0"]);
    let (id, _) = question(&mut node).unwrap();
    assert_eq!(node.answer(id, Answer::Homes(&[]))[0].status(), 486);
}

#[test]
fn rfc3261_16_3_step_4_nodes_that_do_not_know_each_other_do_not_send_in_circles() {
    let mut node = node();
    node.udp(CALLER, &invite("bob"));
    let (id, _) = question(&mut node).unwrap();
    let stranger = "192.0.2.66";
    let sent = node.answer(id, Answer::Homes(&[stranger.into()]));
    // The stranger does not take us for a node, asks the directory, and is sent back to us.
    let via = format!("Via: SIP/2.0/UDP {stranger};branch=z9hG4bKstranger\r\nVia: SIP/2.0/UDP 192.0.2.1");
    let back = with(&sent[0].text, "Via: SIP/2.0/UDP 192.0.2.1", &via);
    let sent = node.udp(&format!("{stranger}:5060"), &back);
    assert_eq!(starts(&sent), ["SIP/2.0 482 Loop Detected"]);
    assert_eq!(question(&mut node), None);
}

#[test]
fn a_call_that_waits_can_be_cancelled() {
    let mut node = node();
    node.udp(CALLER, &invite("bob"));
    let (id, _) = question(&mut node).unwrap();
    let cancel = with(&with(&invite("bob"), "INVITE sip", "CANCEL sip"), "1 INVITE", "1 CANCEL");
    let statuses: Vec<u16> = node.udp(CALLER, &cancel).iter().map(Sent::status).collect();
    assert_eq!(statuses, [200, 487]);
    assert!(node.answer(id, Answer::Homes(&[PEER.into()])).is_empty());
    node.pass(64_000);
    assert_eq!(node.shard.held_transactions(), 0);
}

#[test]
fn a_home_that_is_silent_leaves_it_unknown_who_has_the_aor() {
    let mut node = node();
    node.udp(CALLER, &invite("bob"));
    let (id, _) = question(&mut node).unwrap();
    let sent = node.answer(id, Answer::Homes(&[PEER.into(), "192.0.2.3:5080".into()]));
    node.udp("192.0.2.2:5060", &respond(&sent[0], 404, "no"));
    let last = node.pass(33_000).pop().unwrap().1;
    assert_eq!(last.status(), 480);
    // Where all say so, it is so.
    node.udp(CALLER, &with(&invite("bob"), "branch=z9hG4bK", "branch=z9hG4bKsecond"));
    let (id, _) = question(&mut node).unwrap();
    let sent = node.answer(id, Answer::Homes(&[PEER.into()]));
    assert_eq!(node.udp("192.0.2.2:5060", &respond(&sent[0], 404, "no")).last().unwrap().status(), 404);
}

#[test]
fn what_a_phone_says_counts_more_than_that_others_do_not_have_it() {
    for answer in [Answer::Homes(&[PEER.into(), "192.0.2.3:5080".into()]), Answer::Unknown] {
        let mut node = node_with(|directory| directory.ask_peers_max = 2);
        node.udp(CALLER, &invite("bob"));
        let (id, _) = question(&mut node).unwrap();
        let sent = node.answer(id, answer);
        node.udp("192.0.2.2:5060", &respond(&sent[0], 404, "no"));
        let sent = node.udp("192.0.2.3:5080", &respond(&sent[1], 486, "busy"));
        assert_eq!(sent.last().unwrap().status(), 486, "{answer:?}");
    }
}

#[test]
fn a_home_that_no_request_can_be_sent_to_is_counted_and_left_out() {
    let mut node = node();
    node.udp(CALLER, &invite("bob"));
    let (id, _) = question(&mut node).unwrap();
    let homes = ["sip.example.com".into(), "224.0.0.1".into(), "192.0.2.1:5060".into(), "a b".into(), PEER.into()];
    assert_eq!(node.answer(id, Answer::Homes(&homes)).len(), 1);
    assert_eq!(node.shard.counters().homes_unusable, 4);
}

#[test]
fn a_node_at_another_port_of_an_own_address_is_another_node() {
    let mut node = Node::with(|settings| {
        settings.listeners[1].addr = "192.0.2.9:5070".parse().unwrap();
        settings.directory = Some(DirectorySettings { home: "192.0.2.1".to_owned(), ..DirectorySettings::default() });
    });
    node.udp(CALLER, &invite("bob"));
    let (id, _) = question(&mut node).unwrap();
    let homes = ["192.0.2.1:5070".into(), "192.0.2.9:5060".into(), "192.0.2.9:5070".into()];
    let sent = node.answer(id, Answer::Homes(&homes));
    let to: Vec<String> = sent.iter().map(|sent| sent.udp().unwrap().to_string()).collect();
    assert_eq!(to, ["192.0.2.1:5070", "192.0.2.9:5060"]);
}

#[test]
fn other_requests_are_asked_about_too_and_answered_in_time() {
    let mut node = node();
    let message = request("MESSAGE", "sip:bob@fed.example", "caller", 1);
    assert!(node.udp(CALLER, &message).is_empty(), "RFC 4320 §4.1: no 100 at once");
    let (id, _) = question(&mut node).unwrap();
    let sent = node.answer(id, Answer::Homes(&[PEER.into()]));
    assert_eq!(starts(&sent), ["MESSAGE sip:bob@fed.example SIP/2.0"]);
    assert_eq!(node.udp("192.0.2.2:5060", &respond(&sent[0], 200, "p"))[0].status(), 200);
}

#[test]
fn a_telephone_number_is_asked_for_in_our_first_domain() {
    let mut node = node();
    node.udp(CALLER, &request("INVITE", "tel:+358-555-1234567", "caller", 1));
    let (id, aor) = question(&mut node).unwrap();
    assert_eq!(aor, "+3585551234567@fed.example");
    let sent = node.answer(id, Answer::Homes(&[PEER.into()]));
    assert_eq!(starts(&sent), ["INVITE tel:+358-555-1234567 SIP/2.0"]);
}

#[test]
fn homes_have_the_breadth_that_phones_here_leave() {
    let mut node = node();
    node.register("bob", "sip:bob@203.0.113.1", PHONE);
    let sent = node.udp(CALLER, &and(&invite("bob"), "Max-Breadth: 2"));
    assert_eq!(sent[1].field("Max-Breadth"), Some("1"));
    let (id, _) = question(&mut node).unwrap();
    let sent = node.answer(id, Answer::Homes(&[PEER.into(), "192.0.2.3:5080".into()]));
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].field("Max-Breadth"), Some("1"));
}

#[test]
fn a_node_that_stands_alone_asks_and_publishes_nothing() {
    let mut node = Node::new();
    node.register("bob", "sip:bob@203.0.113.1", PHONE);
    assert_eq!(node.udp(CALLER, &invite("nobody"))[0].status(), 404);
    assert_eq!(question(&mut node), None);
    assert_eq!(changes(&mut node), []);
}

#[test]
fn rfc3261_18_1_1_a_long_request_goes_to_another_home_over_tcp_and_by_datagram_where_that_fails() {
    let mut node = node();
    let call = |n: u32| {
        let call = and(&invite("bob"), &format!("X-Filler: {}", "x".repeat(1300)));
        with(&with(&call, "z9hG4bKcaller1", &format!("z9hG4bKcaller{n}")), "Call-ID: ", &format!("Call-ID: {n}"))
    };
    let homes = [PEER.into()];
    node.udp(CALLER, &call(1));
    let (id, _) = question(&mut node).unwrap();
    let first = node.answer(id, Answer::Homes(&homes)).remove(0);
    let Destination::Connect(ends) = first.to else { panic!("{first:?}") };
    assert_eq!((ends.transport, ends.remote.to_string()), (Transport::Tcp, "192.0.2.2:5060".to_owned()));
    assert_eq!(ends.local, Some("192.0.2.1".parse().unwrap()), "the address that the other one knows");
    let second = node.fail(&first).remove(0);
    assert_eq!(second.udp().map(|addr| addr.to_string()).as_deref(), Some("192.0.2.2:5060"));
    assert_eq!(node.udp("192.0.2.2:5060", &respond(&second, 486, "x"))[1].status(), 486);
    // It is not taken for silent since it takes no connection.
    node.udp(CALLER, &call(2));
    let (id, _) = question(&mut node).unwrap();
    assert!(node.answer(id, Answer::Homes(&homes))[0].udp().is_some());
    assert_eq!(node.shard.counters().homes_skipped, 0);
}
