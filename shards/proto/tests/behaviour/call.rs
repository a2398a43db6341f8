//! RFC 3261 §16, §17: one call through the proxy.

use super::node::{NODE, Node, and, invite, request, respond, with};

const CALLER: &str = "198.51.100.9:5060";
const CALLEE: &str = "203.0.113.7:5062";

fn node_with_callee() -> Node {
    let mut node = Node::new();
    node.register("bob", "sip:bob@203.0.113.7:5062", CALLEE);
    node
}

#[test]
fn rfc3261_16_6_an_invite_is_answered_100_and_goes_to_the_contact() {
    let mut node = node_with_callee();
    let sent = node.udp(CALLER, &and(&invite("bob"), "X-Own: kept"));
    assert_eq!(sent.len(), 2);
    assert_eq!((sent[0].start(), sent[0].udp()), ("SIP/2.0 100 Trying", Some(CALLER.parse().unwrap())));
    assert!(!sent[0].field("To").unwrap().contains("tag="), "§8.2.6.2");
    let copy = &sent[1];
    assert_eq!((copy.start(), copy.udp()), ("INVITE sip:bob@203.0.113.7:5062 SIP/2.0", Some(CALLEE.parse().unwrap())));
    let vias: Vec<&str> = copy.fields("Via").collect();
    assert!(vias[0].starts_with("SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK.") && vias.len() == 2, "{vias:?}");
    assert_eq!(copy.field("Record-Route"), Some("<sip:192.0.2.1:5060;lr>"));
    assert_eq!(copy.field("Max-Forwards"), Some("69"));
    assert_eq!(copy.field("X-Own"), Some("kept"));
}

#[test]
fn rfc3261_16_7_responses_go_back_without_our_via_and_100_does_not() {
    let mut node = node_with_callee();
    let copy = node.udp(CALLER, &invite("bob")).remove(1);
    assert!(node.udp(CALLEE, &respond(&copy, 100, "")).is_empty());
    for status in [180, 183, 200] {
        let sent = node.udp(CALLEE, &respond(&copy, status, "t"));
        assert_eq!((sent.len(), sent[0].status(), sent[0].udp()), (1, status, Some(CALLER.parse().unwrap())));
        assert_eq!(sent[0].fields("Via").count(), 1);
        assert_eq!(sent[0].field("Record-Route"), Some("<sip:192.0.2.1:5060;lr>"));
    }
    assert_eq!(node.shard.open_transactions(), 0);
}

#[test]
fn rfc3261_17_1_1_2_timers_a_and_b_over_udp() {
    let mut node = node_with_callee();
    let copy = node.udp(CALLER, &invite("bob")).remove(1);
    let sent = node.pass(31_900);
    let times: Vec<u64> = sent.iter().map(|s| s.0).collect();
    assert_eq!(times, [500, 1500, 3500, 7500, 15_500, 31_500]);
    assert!(sent.iter().all(|s| s.1.text == copy.text));
    let sent = node.pass(200);
    assert_eq!(sent[0].1.start(), "SIP/2.0 408 Request Timeout");
    assert_eq!(sent.len(), 1);
}

#[test]
fn rfc3261_17_1_1_a_provisional_response_stops_retransmission() {
    let mut node = node_with_callee();
    let copy = node.udp(CALLER, &invite("bob")).remove(1);
    node.udp(CALLEE, &respond(&copy, 180, "t"));
    assert!(node.pass(100_000).is_empty());
}

#[test]
fn rfc3261_17_2_1_a_retransmitted_invite_gets_the_last_response_again() {
    let mut node = node_with_callee();
    let copy = node.udp(CALLER, &invite("bob")).remove(1);
    let again = node.udp(CALLER, &invite("bob"));
    assert_eq!((again.len(), again[0].status()), (1, 100));
    node.udp(CALLEE, &respond(&copy, 180, "t"));
    assert_eq!(node.udp(CALLER, &invite("bob"))[0].status(), 180);
    node.udp(CALLEE, &respond(&copy, 200, "t"));
    // RFC 6026 §7.1: absorbed once accepted.
    assert!(node.udp(CALLER, &invite("bob")).is_empty());
    assert_eq!(node.shard.counters().requests_proxied, 1);
}

#[test]
fn rfc6026_7_2_every_2xx_of_an_accepted_invite_goes_on_until_timer_m() {
    let mut node = node_with_callee();
    let copy = node.udp(CALLER, &invite("bob")).remove(1);
    node.udp(CALLEE, &respond(&copy, 200, "t"));
    assert_eq!(node.udp(CALLEE, &respond(&copy, 200, "t"))[0].status(), 200);
    node.pass(33_000);
    assert!(node.udp(CALLEE, &respond(&copy, 200, "t")).is_empty(), "RFC 6026 §8.9: a stray");
    assert_eq!(node.shard.counters().dropped_stray_response, 1);
    assert_eq!(node.shard.held_transactions(), 0);
}

#[test]
fn rfc3261_17_1_1_3_and_17_2_1_a_failure_is_acked_on_both_sides() {
    let mut node = node_with_callee();
    let copy = node.udp(CALLER, &invite("bob")).remove(1);
    let sent = node.udp(CALLEE, &respond(&copy, 486, "busy"));
    assert_eq!(sent.len(), 2);
    let ack = &sent[0];
    assert_eq!((ack.start(), ack.udp()), ("ACK sip:bob@203.0.113.7:5062 SIP/2.0", Some(CALLEE.parse().unwrap())));
    assert_eq!(ack.field("Via"), copy.field("Via"), "the branch of the INVITE");
    assert_eq!(ack.field("CSeq"), Some("1 ACK"));
    assert!(ack.field("To").unwrap().ends_with(";tag=busy"));
    assert_eq!(sent[1].status(), 486);
    // Timer G repeats it until the ACK comes.
    let times: Vec<u64> = node.pass(4000).iter().map(|s| s.0).collect();
    assert_eq!(times, [500, 1500, 3500]);
    let to = sent[1].field("To").unwrap().to_owned();
    let ack = with(&with(&invite("bob"), "INVITE sip", "ACK sip"), "1 INVITE", "1 ACK");
    let ack = with(&ack, "To: <sip:bob@fed.example>", &format!("To: {to}"));
    assert!(node.udp(CALLER, &ack).is_empty());
    // The callee's retransmission is acked again, and goes no further.
    let sent = node.udp(CALLEE, &respond(&copy, 486, "busy"));
    assert_eq!((sent.len(), sent[0].start()), (1, "ACK sip:bob@203.0.113.7:5062 SIP/2.0"));
    node.pass(40_000);
    assert_eq!(node.shard.held_transactions(), 0);
}

#[test]
fn rfc3261_17_2_2_other_requests_and_their_timers() {
    let mut node = node_with_callee();
    let message =
        with(&with(&with(&invite("bob"), "INVITE sip", "MESSAGE sip"), "1 INVITE", "1 MESSAGE"), "1INVITE", "1MESSAGE");
    let sent = node.udp(CALLER, &message);
    assert_eq!((sent.len(), sent[0].start()), (1, "MESSAGE sip:bob@203.0.113.7:5062 SIP/2.0"));
    assert_eq!(sent[0].field("Record-Route"), None);
    // Timer E doubles up to T2; RFC 4320 §4.1: a 100 when the sender's would be at T2.
    let all = node.pass(12_000);
    let resent: Vec<u64> = all.iter().filter(|s| s.1.start().starts_with("MESSAGE")).map(|s| s.0).collect();
    assert_eq!(resent, [500, 1500, 3500, 7500, 11_500]);
    let trying: Vec<u64> = all.iter().filter(|s| s.1.start() == "SIP/2.0 100 Trying").map(|s| s.0).collect();
    assert_eq!(trying, [3500]);
    let sent = node.udp(CALLEE, &respond(&sent[0], 200, "t"));
    assert_eq!(sent[0].status(), 200);
    assert_eq!(node.udp(CALLER, &message)[0].status(), 200, "a retransmission gets the response again");
    node.pass(33_000);
    assert_eq!(node.shard.held_transactions(), 0);
}

#[test]
fn rfc4320_4_2_no_408_for_other_requests() {
    let mut node = node_with_callee();
    let message = with(&with(&invite("bob"), "INVITE sip", "MESSAGE sip"), "1 INVITE", "1 MESSAGE");
    node.udp(CALLER, &message);
    let all = node.pass(40_000);
    assert!(all.iter().all(|s| s.1.start().starts_with("MESSAGE") || s.1.status() == 100), "{all:?}");
    assert_eq!(node.shard.held_transactions(), 0);
}

#[test]
fn rfc4320_4_1_no_provisional_response_but_100_for_other_requests() {
    let mut node = node_with_callee();
    let message = with(&with(&invite("bob"), "INVITE sip", "MESSAGE sip"), "1 INVITE", "1 MESSAGE");
    let copy = node.udp(CALLER, &message).remove(0);
    assert!(node.udp(CALLEE, &respond(&copy, 183, "t")).is_empty());
}

#[test]
fn rfc3261_16_3_refusals() {
    let mut node = node_with_callee();
    let cases = [
        (with(&invite("bob"), "Max-Forwards: 70", "Max-Forwards: 0"), 483),
        (and(&invite("bob"), "Proxy-Require: x"), 420),
        (with(&invite("bob"), "INVITE sip:bob@fed.example", "INVITE http://x"), 416),
        (with(&invite("bob"), "INVITE sip:bob@fed.example", "INVITE sip:bob@fed.example?Route=x"), 400),
        (with(&invite("bob"), "INVITE sip:bob@fed.example", "INVITE sips:bob@fed.example"), 416),
        (with(&invite("bob"), "SIP/2.0\r\nVia", "SIP/3.0\r\nVia"), 505),
        (and(&invite("bob"), "Max-Breadth: 0"), 440),
        (invite("nobody"), 404),
        (with(&invite("bob"), "INVITE sip:bob@fed.example", "INVITE sip:bob@elsewhere.example"), 403),
        (with(&invite("bob"), "Call-ID: caller-call\r\n", ""), 400),
        (with(&invite("bob"), "1 INVITE", "1 BYE"), 400),
    ];
    for (message, status) in cases {
        let sent = node.udp(CALLER, &message);
        assert_eq!((sent.len(), sent[0].status()), (1, status), "{}", sent[0].text);
    }
    assert_eq!(node.shard.held_transactions(), 0, "a refusal keeps nothing");
}

#[test]
fn rfc3261_8_2_7_the_ack_of_a_refusal_goes_nowhere() {
    let mut node = node_with_callee();
    let refusal = node.udp(CALLER, &invite("nobody")).remove(0);
    let ack = with(&with(&invite("nobody"), "INVITE sip", "ACK sip"), "1 INVITE", "1 ACK");
    let ack = with(&ack, "To: <sip:nobody@fed.example>", &format!("To: {}", refusal.field("To").unwrap()));
    assert!(node.udp(CALLER, &ack).is_empty());
}

#[test]
fn rfc3261_16_6_step_3_a_request_without_max_forwards_gets_70() {
    let mut node = node_with_callee();
    let sent = node.udp(CALLER, &with(&invite("bob"), "Max-Forwards: 70\r\n", ""));
    assert_eq!(sent[1].field("Max-Forwards"), Some("70"));
}

#[test]
fn rfc3261_16_3_step_4_a_loop_is_detected_and_a_spiral_is_not() {
    let mut node = Node::new();
    // Contacts that lead back to ourselves: the domain's to the address's, and that to itself.
    let at_address = |m: &str| with(m, "To: <sip:loop@fed.example>", "To: <sip:loop@192.0.2.1>");
    node.register("loop", "sip:loop@192.0.2.1:5060", CALLEE);
    let register = super::node::register("loop", "<sip:loop@192.0.2.1:5060>", 1);
    node.udp(CALLER, &at_address(&register));
    let copy = node.udp(CALLER, &invite("loop")).remove(1);
    let second = node.udp(NODE, &copy.text);
    let copy = second.iter().find(|s| s.start().starts_with("INVITE")).expect("another Request-URI is a spiral");
    let third = node.udp(NODE, &copy.text);
    assert_eq!((third.len(), third[0].status()), (1, 482));
}

#[test]
fn rfc3261_16_3_step_4_a_loop_over_another_address_of_ours_is_detected() {
    let other = "192.0.2.2:5060";
    let mut node = Node::with(|s| {
        let transport = sipfed_proto::Transport::Udp;
        s.listeners.push(sipfed_proto::Listener { transport, addr: other.parse().unwrap() });
    });
    node.register("loop", "sip:loop@203.0.113.7:5062", CALLEE);
    let copy = node.udp(CALLER, &invite("loop")).remove(1);
    // The next element sends it back as it was, to our other address.
    let back = with(&copy.text, copy.start(), "INVITE sip:loop@fed.example SIP/2.0");
    let via = format!("Via: SIP/2.0/UDP {CALLEE};branch=z9hG4bKnext\r\nVia: SIP/2.0/UDP");
    let back = back.replacen("Via: SIP/2.0/UDP", &via, 1);
    let sent = node.udp_at(other, CALLEE, &back);
    assert_eq!((sent.len(), sent[0].status()), (1, 482));
}

#[test]
fn rfc3261_8_2_6_1_a_100_repeats_the_timestamp() {
    let mut node = node_with_callee();
    let sent = node.udp(CALLER, &and(&invite("bob"), "Timestamp: 54"));
    assert_eq!(sent[0].field("Timestamp"), Some("54"));
}

#[test]
fn an_aor_whose_binding_was_just_removed_is_480_and_a_filtered_method_405() {
    let mut node = Node::new();
    node.udp(
        CALLEE,
        &and(&super::node::register("bob", "<sip:bob@203.0.113.7>", 1), "Allow: INVITE, ACK, BYE, CANCEL"),
    );
    let message = with(&with(&invite("bob"), "INVITE sip", "MESSAGE sip"), "1 INVITE", "1 MESSAGE");
    assert_eq!(node.udp(CALLER, &message)[0].status(), 405);
    node.udp(CALLEE, &super::node::register("bob", "<sip:bob@203.0.113.7>;expires=0", 2));
    assert_eq!(node.udp(CALLER, &invite("bob"))[0].status(), 480);
    node.pass(40_000);
    let later = with(&invite("bob"), "z9hG4bKcaller1", "z9hG4bKcaller2");
    assert_eq!(node.udp(CALLER, &later)[0].status(), 404);
}

#[test]
fn rfc3261_17_2_3_the_bare_cookie_names_no_transaction() {
    let mut node = node_with_callee();
    let bare = |call: &str| {
        let message =
            with(&request("MESSAGE", "sip:bob@fed.example", call, 1), &format!("z9hG4bK{call}1MESSAGE"), "z9hG4bK");
        with(&message, &format!("To: <sip:{call}@"), "To: <sip:bob@")
    };
    assert_eq!(node.udp(CALLER, &bare("x")).len(), 1);
    assert_eq!(node.udp(CALLER, &bare("y")).len(), 1, "another call is another transaction");
    assert!(node.udp(CALLER, &bare("x")).is_empty(), "and the same one is a retransmission");
}

/// Of the node before a restart, or of a backup that had its address: both have its secret.
#[test]
fn a_response_to_another_lifes_branch_is_a_stray_one() {
    let before = node_with_callee().udp(CALLER, &invite("bob")).remove(1);
    let mut node = node_with_callee();
    let another = with(&with(&invite("bob"), "z9hG4bK", "z9hG4bKnew"), "caller-call", "another-call");
    let copy = node.udp(CALLER, &another).remove(1);
    assert!(node.udp(CALLEE, &respond(&before, 486, "t")).is_empty());
    assert_eq!(node.shard.counters().dropped_stray_response, 1);
    assert_eq!(node.udp(CALLEE, &respond(&copy, 180, "t"))[0].status(), 180);
}
