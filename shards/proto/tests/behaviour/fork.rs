//! RFC 3261 §16.6, §16.7: forks, the best response, CANCEL.

use super::node::{Node, Sent, and, invite, register, respond, with};

const CALLER: &str = "198.51.100.9:5060";

fn node_with(contacts: &str) -> Node {
    let mut node = Node::new();
    let sent = node.udp("203.0.113.1:5060", &register("bob", contacts, 1));
    assert_eq!(sent[0].status(), 200, "{}", sent[0].text);
    node
}

fn ring(node: &mut Node) -> Vec<Sent> {
    node.udp(CALLER, &invite("bob")).into_iter().filter(|s| s.start().starts_with("INVITE")).collect()
}

fn message() -> String {
    with(&with(&invite("bob"), "INVITE sip", "MESSAGE sip"), "1 INVITE", "1 MESSAGE")
}

fn cancel() -> String {
    with(&with(&invite("bob"), "INVITE sip", "CANCEL sip"), "1 INVITE", "1 CANCEL")
}

#[test]
fn rfc3261_16_7_the_first_2xx_cancels_the_others() {
    let mut node = node_with("<sip:b@203.0.113.1>, <sip:b@203.0.113.2>, <sip:b@203.0.113.3>");
    let copies = ring(&mut node);
    assert_eq!(copies.len(), 3);
    node.udp("203.0.113.1:5060", &respond(&copies[0], 180, "1"));
    node.udp("203.0.113.2:5060", &respond(&copies[1], 180, "2"));
    let sent = node.udp("203.0.113.1:5060", &respond(&copies[0], 200, "1"));
    let starts: Vec<&str> = sent.iter().map(Sent::start).collect();
    assert_eq!(starts, ["SIP/2.0 200 X", "CANCEL sip:b@203.0.113.2 SIP/2.0"], "the third has not said a word (§9.1)");
    assert_eq!(sent[1].field("Via"), copies[1].field("Via"));
    assert_eq!(sent[1].field("CSeq"), Some("1 CANCEL"));
    // Once it does, it is cancelled too.
    let sent = node.udp("203.0.113.3:5060", &respond(&copies[2], 180, "3"));
    assert_eq!(sent.iter().map(Sent::start).collect::<Vec<_>>(), ["CANCEL sip:b@203.0.113.3 SIP/2.0"]);
    // Their 487 are acked and go no further; the responses to CANCEL end there.
    assert!(node.udp("203.0.113.2:5060", &respond(&sent[0], 200, "")).is_empty());
    let sent = node.udp("203.0.113.2:5060", &respond(&copies[1], 487, "2"));
    assert_eq!(sent.iter().map(Sent::start).collect::<Vec<_>>(), ["ACK sip:b@203.0.113.2 SIP/2.0"]);
}

#[test]
fn rfc3261_16_7_step_5_a_2xx_that_comes_later_goes_on_too() {
    let mut node = node_with("<sip:b@203.0.113.1>, <sip:b@203.0.113.2>");
    let copies = ring(&mut node);
    node.udp("203.0.113.1:5060", &respond(&copies[0], 200, "1"));
    let sent = node.udp("203.0.113.2:5060", &respond(&copies[1], 200, "2"));
    assert_eq!(sent[0].status(), 200);
    assert!(sent[0].field("To").unwrap().contains("tag=2"));
}

#[test]
fn rfc3261_16_7_step_6_the_best_of_all_failures_is_said_once_all_have_come() {
    let mut node = node_with("<sip:b@203.0.113.1>, <sip:b@203.0.113.2>, <sip:b@203.0.113.3>");
    let copies = ring(&mut node);
    assert_eq!(node.udp("203.0.113.1:5060", &respond(&copies[0], 503, "1")).len(), 1, "only an ACK");
    assert_eq!(node.udp("203.0.113.2:5060", &respond(&copies[1], 486, "2")).len(), 1);
    let sent = node.udp("203.0.113.3:5060", &respond(&copies[2], 500, "3"));
    assert_eq!(sent[1].status(), 486);
    assert!(sent[1].field("To").unwrap().contains("tag=2"));
}

#[test]
fn rfc3261_16_7_step_6_503_becomes_500() {
    let mut node = node_with("<sip:b@203.0.113.1>");
    let copies = ring(&mut node);
    let sent = node.udp("203.0.113.1:5060", &respond(&copies[0], 503, "1"));
    assert_eq!(sent[1].status(), 500);
}

#[test]
fn rfc3261_16_7_step_5_a_6xx_cancels_all_and_is_said_after_them() {
    let mut node = node_with("<sip:b@203.0.113.1>, <sip:b@203.0.113.2>");
    let copies = ring(&mut node);
    node.udp("203.0.113.2:5060", &respond(&copies[1], 180, "2"));
    let sent = node.udp("203.0.113.1:5060", &respond(&copies[0], 603, "1"));
    let starts: Vec<&str> = sent.iter().map(Sent::start).collect();
    assert_eq!(starts, ["ACK sip:b@203.0.113.1 SIP/2.0", "CANCEL sip:b@203.0.113.2 SIP/2.0"]);
    let sent = node.udp("203.0.113.2:5060", &respond(&copies[1], 487, "2"));
    assert_eq!(sent[1].status(), 603);
}

#[test]
fn rfc3261_16_7_step_7_challenges_are_joined() {
    let mut node = node_with("<sip:b@203.0.113.1>, <sip:b@203.0.113.2>");
    let copies = ring(&mut node);
    node.udp("203.0.113.1:5060", &and(&respond(&copies[0], 401, "1"), "WWW-Authenticate: Digest realm=\"one\""));
    let sent =
        node.udp("203.0.113.2:5060", &and(&respond(&copies[1], 407, "2"), "Proxy-Authenticate: Digest realm=\"two\""));
    assert_eq!(sent[1].status(), 401);
    assert_eq!(sent[1].field("WWW-Authenticate"), Some("Digest realm=\"one\""));
    assert_eq!(sent[1].field("Proxy-Authenticate"), Some("Digest realm=\"two\""));
}

#[test]
fn rfc3261_16_6_groups_of_q_are_tried_one_after_another() {
    let mut node = node_with("<sip:b@203.0.113.1>;q=0.5, <sip:b@203.0.113.2>;q=0.9, <sip:b@203.0.113.3>;q=0.5");
    let copies = ring(&mut node);
    assert_eq!(copies.iter().map(Sent::start).collect::<Vec<_>>(), ["INVITE sip:b@203.0.113.2 SIP/2.0"]);
    let sent = node.udp("203.0.113.2:5060", &respond(&copies[0], 486, "2"));
    let starts: Vec<&str> = sent.iter().map(Sent::start).collect();
    assert_eq!(
        starts,
        ["ACK sip:b@203.0.113.2 SIP/2.0", "INVITE sip:b@203.0.113.1 SIP/2.0", "INVITE sip:b@203.0.113.3 SIP/2.0"]
    );
}

#[test]
fn a_q_group_that_rings_too_long_makes_room_for_the_next() {
    let mut node = node_with("<sip:b@203.0.113.1>;q=0.5, <sip:b@203.0.113.2>;q=0.9");
    let copies = ring(&mut node);
    node.udp("203.0.113.2:5060", &respond(&copies[0], 180, "2"));
    assert!(node.pass(14_900).is_empty());
    let sent = node.pass(200);
    let starts: Vec<&str> = sent.iter().map(|s| s.1.start()).collect();
    assert_eq!(starts, ["CANCEL sip:b@203.0.113.2 SIP/2.0", "INVITE sip:b@203.0.113.1 SIP/2.0"]);
}

#[test]
fn what_a_phone_says_is_better_than_the_487_of_a_group_that_we_cancelled() {
    let mut node = node_with("<sip:b@203.0.113.1>;q=0.5, <sip:b@203.0.113.2>;q=0.9");
    let copies = ring(&mut node);
    node.udp("203.0.113.2:5060", &respond(&copies[0], 180, "2"));
    let second = node.pass(15_100).pop().unwrap().1;
    node.udp("203.0.113.2:5060", &respond(&copies[0], 487, "2"));
    let sent = node.udp("203.0.113.1:5060", &respond(&second, 486, "1"));
    assert_eq!(sent[1].status(), 486, "the caller has cancelled nothing");
}

#[test]
fn rfc4320_4_1_a_100_is_due_although_one_branch_has_refused_for_all() {
    let mut node = node_with("<sip:b@203.0.113.1>, <sip:b@203.0.113.2>");
    let copies = node.udp(CALLER, &message());
    assert!(node.udp("203.0.113.1:5060", &respond(&copies[0], 603, "1")).is_empty());
    let trying = node.pass(4000).into_iter().filter(|s| s.1.start() == "SIP/2.0 100 Trying");
    assert_eq!(trying.map(|s| s.0).collect::<Vec<_>>(), [3500]);
}

#[test]
fn rfc4320_4_2_a_408_for_another_request_goes_no_further_and_the_request_not_twice() {
    let mut node = node_with("<sip:b@203.0.113.1>");
    let copies = node.udp(CALLER, &message());
    assert!(node.udp("203.0.113.1:5060", &respond(&copies[0], 408, "1")).is_empty());
    for _ in 0..6 {
        assert!(node.udp(CALLER, &message()).is_empty(), "its sender does not know and repeats itself");
        assert!(node.pass(4000).is_empty());
    }
    node.pass(33_000);
    assert_eq!((node.shard.held_transactions(), node.shard.open_transactions()), (0, 0));
}

#[test]
fn in_parallel_where_configured_whatever_the_q() {
    let mut node = Node::with(|s| s.proxy.serial_by_q = false);
    node.udp("203.0.113.1:5060", &register("bob", "<sip:b@203.0.113.1>;q=0.5, <sip:b@203.0.113.2>;q=0.9", 1));
    assert_eq!(ring(&mut node).len(), 2);
}

#[test]
fn rfc3261_16_10_cancel_is_answered_and_passed_to_ringing_branches() {
    let mut node = node_with("<sip:b@203.0.113.1>");
    let copies = ring(&mut node);
    node.udp("203.0.113.1:5060", &respond(&copies[0], 180, "1"));
    let sent = node.udp(CALLER, &cancel());
    let starts: Vec<&str> = sent.iter().map(Sent::start).collect();
    assert_eq!(starts, ["SIP/2.0 200 OK", "CANCEL sip:b@203.0.113.1 SIP/2.0"]);
    let again = node.udp(CALLER, &cancel());
    assert_eq!(again.iter().map(Sent::start).collect::<Vec<_>>(), ["SIP/2.0 200 OK"]);
    let sent = node.udp("203.0.113.1:5060", &respond(&copies[0], 487, "1"));
    assert_eq!(sent[1].status(), 487);
}

#[test]
fn rfc3261_9_1_a_cancelled_branch_that_stays_silent_ends_after_64_t1() {
    let mut node = node_with("<sip:b@203.0.113.1>");
    let copies = ring(&mut node);
    node.udp("203.0.113.1:5060", &respond(&copies[0], 180, "1"));
    let cancelled = node.udp(CALLER, &cancel());
    node.udp("203.0.113.1:5060", &respond(&cancelled[1], 200, "1"));
    let sent = node.pass(32_100);
    assert_eq!(sent.iter().map(|s| s.1.status()).collect::<Vec<_>>(), [408]);
}

#[test]
fn rfc3261_9_2_a_cancel_that_matches_nothing_is_481() {
    let mut node = node_with("<sip:b@203.0.113.1>");
    let sent = node.udp(CALLER, &cancel());
    assert_eq!((sent.len(), sent[0].status()), (1, 481));
}

#[test]
fn rfc3261_16_8_timer_c_ends_endless_ringing() {
    let mut node = node_with("<sip:b@203.0.113.1>");
    let copies = ring(&mut node);
    node.udp("203.0.113.1:5060", &respond(&copies[0], 180, "1"));
    node.pass(100_000);
    node.udp("203.0.113.1:5060", &respond(&copies[0], 180, "1"));
    // §16.7 step 2: every provisional response sets it anew.
    assert!(node.pass(180_900).is_empty());
    let sent = node.pass(200);
    assert_eq!(sent[0].1.start(), "CANCEL sip:b@203.0.113.1 SIP/2.0");
}

#[test]
fn rfc5393_5_3_3_breadth_bounds_the_branches_that_run_together() {
    let mut node = node_with("<sip:b@203.0.113.1>, <sip:b@203.0.113.2>, <sip:b@203.0.113.3>");
    let message = and(&invite("bob"), "Max-Breadth: 2");
    let sent = node.udp(CALLER, &message);
    let copies: Vec<&Sent> = sent.iter().filter(|s| s.start().starts_with("INVITE")).collect();
    assert_eq!(copies.len(), 2);
    assert!(copies.iter().all(|c| c.field("Max-Breadth") == Some("1")));
    node.udp("203.0.113.1:5060", &respond(copies[0], 486, "1"));
    let sent = node.udp("203.0.113.2:5060", &respond(copies[1], 486, "2"));
    assert_eq!(sent[1].start(), "INVITE sip:b@203.0.113.3 SIP/2.0");
}

#[test]
fn rfc3261_17_1_3_a_response_to_another_method_is_none_of_the_branch() {
    let mut node = node_with("<sip:b@203.0.113.1>");
    let copies = ring(&mut node);
    let wrong = with(&respond(&copies[0], 200, "1"), "1 INVITE", "1 BYE");
    assert!(node.udp("203.0.113.1:5060", &wrong).is_empty());
    assert_eq!(node.shard.counters().dropped_stray_response, 1);
    let copies: Vec<Sent> = node.udp(CALLER, &message());
    let wrong = with(&respond(&copies[0], 200, "1"), "1 MESSAGE", "1 MESSAG");
    assert!(node.udp("203.0.113.1:5060", &wrong).is_empty());
    assert_eq!(node.shard.counters().dropped_stray_response, 2);
    assert_eq!(node.udp("203.0.113.1:5060", &respond(&copies[0], 200, "1"))[0].status(), 200);
}

#[test]
fn rfc3261_16_7_step_3_a_response_for_nobody_but_us_goes_nowhere() {
    let mut node = node_with("<sip:b@203.0.113.1>");
    let copies = ring(&mut node);
    let ours = copies[0].field("Via").unwrap().to_owned();
    let text = respond(&copies[0], 200, "1");
    let others: Vec<&str> = text.lines().filter(|line| line.starts_with("Via:") && !line.contains(&ours)).collect();
    let alone = others.iter().fold(text.clone(), |text, line| with(&text, &format!("{line}\r\n"), ""));
    assert!(node.udp("203.0.113.1:5060", &alone).is_empty());
    assert_eq!(node.shard.counters().dropped_malformed_response, 1);
    assert_eq!(node.udp("203.0.113.1:5060", &text)[0].status(), 200, "the branch is still open");
}

#[test]
fn rfc5393_5_3_3_the_breadth_of_all_open_branches_is_no_more_than_was_given() {
    let mut node = node_with("<sip:b@203.0.113.1>, <sip:b@203.0.113.2>;q=0.5, <sip:b@203.0.113.3>;q=0.2");
    let breadth = |sent: &Sent| sent.field("Max-Breadth").unwrap().parse::<u32>().unwrap();
    let first = ring(&mut node);
    assert_eq!((first.len(), breadth(&first[0])), (1, 30), "60 where none is named, and half is left for the next");
    // The second is tried while the first, cancelled, has not ended.
    node.udp("203.0.113.1:5060", &respond(&first[0], 180, "1"));
    let is_invite = |sent: &&(u64, Sent)| sent.1.start().starts_with("INVITE sip:b@203.0.113.2");
    let sent = node.pass(15_000);
    let second = sent.iter().find(is_invite).map(|(_, sent)| sent.clone()).unwrap();
    assert_eq!(breadth(&second), 15);
    // The first ends and its breadth is free again.
    node.udp("203.0.113.1:5060", &respond(&first[0], 487, "1"));
    let third = node.udp("203.0.113.2:5060", &respond(&second, 486, "2"));
    assert_eq!(third.iter().find(|s| s.start().starts_with("INVITE")).map(breadth), Some(60));
    // More than we grant is not passed on (§5.3.3), and an ACK has it too.
    let wide = and(&invite("bob"), "Max-Breadth: 200");
    let copies = Node::udp(&mut node_with("<sip:b@203.0.113.1>"), CALLER, &wide);
    assert_eq!(copies.iter().find(|s| s.start().starts_with("INVITE")).map(breadth), Some(60));
}
