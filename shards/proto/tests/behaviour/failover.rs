//! RFC 3263 §4.3, RFC 3261 §18.1.1: the next way when one has failed, and requests too long for a datagram.

use super::node::{Node, Sent, and, invite, register, request, respond, with};
use sipfed_proto::names::{Resolved, Server};
use sipfed_proto::settings::NameSettings;
use sipfed_proto::{Destination, FlowToken, Listener, Settings, ShardIndex, Transport};
use std::net::SocketAddr;

const CALLER: &str = "198.51.100.9:5060";
const FIRST: &str = "203.0.113.1:5060";
const SECOND: &str = "203.0.113.2:5060";
const THIRD: &str = "203.0.113.3:5060";

/// A node that knows three servers of `example.net`, and how it is called there.
fn node() -> Node {
    let mut node = Node::with(|settings| settings.names = Some(NameSettings::default()));
    assert!(node.udp(CALLER, &to_example("OPTIONS", 9)).is_empty());
    let question = node.shard.next_name().unwrap();
    let server = |(rank, addr): (u16, &str)| {
        let addr: SocketAddr = addr.parse().unwrap();
        let (transport, port) = (Some(Transport::Udp), Some(addr.port()));
        Server { transport, port, rank, weight: 0, addresses: Box::new([addr.ip()]) }
    };
    let servers = (0..).zip([FIRST, SECOND, THIRD]).map(server).collect();
    node.shard.handle_name(question.id, Resolved::Servers(servers, 3600), node.now);
    let (_, sent) = node.pass(0).remove(0);
    assert_eq!(udp(&sent), FIRST);
    node.udp(FIRST, &respond(&sent, 200, ""));
    node.pass(40_000);
    assert_eq!(node.shard.held_transactions(), 0);
    node
}

/// A request within a dialog.
fn to_example(method: &str, n: u32) -> String {
    let message =
        with(&request(method, "sip:bob@example.net", "caller", n), "Call-ID: caller-call", &format!("Call-ID: c{n}"));
    with(&message, "To: <sip:caller@fed.example>", "To: <sip:caller@fed.example>;tag=t")
}

fn udp(sent: &Sent) -> String {
    sent.udp().map(|addr| addr.to_string()).unwrap_or_default()
}

fn branch(sent: &Sent) -> &str {
    sent.field("Via").unwrap().split("branch=").nth(1).unwrap()
}

fn tcp_to(sent: &Sent) -> Option<String> {
    match sent.to {
        Destination::Connect(ends) if ends.transport == Transport::Tcp => Some(ends.remote.to_string()),
        _ => None,
    }
}

#[test]
fn rfc3263_4_3_what_cannot_be_sent_goes_to_the_next_server_with_a_branch_of_its_own() {
    let mut node = node();
    let first = node.udp(CALLER, &to_example("INVITE", 2)).remove(1);
    let second = node.fail(&first).remove(0);
    assert_eq!((udp(&first), udp(&second)), (FIRST.to_owned(), SECOND.to_owned()));
    assert_ne!(branch(&first), branch(&second));
    let third = node.fail(&second).remove(0);
    assert_eq!(udp(&third), THIRD);
    let last = node.fail(&third);
    assert_eq!((last.len(), last[0].status()), (1, 500), "nobody is left");
    assert_eq!(node.shard.counters().branches_failed_over, 2);
}

#[test]
fn rfc3263_4_3_a_503_goes_to_the_next_server_and_nothing_else_does() {
    let mut node = node();
    let first = node.udp(CALLER, &to_example("INVITE", 2)).remove(1);
    let sent = node.udp(FIRST, &respond(&first, 503, "x"));
    assert!(sent[0].start().starts_with("ACK "));
    assert_eq!((sent.len(), udp(&sent[1])), (2, SECOND.to_owned()));
    let answer = node.udp(SECOND, &respond(&sent[1], 500, "x"));
    assert_eq!((answer.len(), answer[1].status()), (2, 500), "{answer:?}");
}

#[test]
fn a_server_that_says_nothing_is_given_up_and_its_late_success_is_passed_on() {
    let mut node = node();
    let first = node.udp(CALLER, &to_example("INVITE", 2)).remove(1);
    let sent = node.pass(3_010);
    let (after, second) = sent.iter().find(|(_, sent)| udp(sent) == SECOND).expect("the next one is tried");
    assert!((3_000..=3_010).contains(after), "{after}");
    let second = second.clone();
    assert!(node.pass(2_000).iter().all(|(_, sent)| udp(sent) == SECOND), "the first is left alone");
    // It rings late: nobody is to pick up there.
    let late = node.udp(FIRST, &respond(&first, 180, "late"));
    assert_eq!((late.len(), late[0].start().starts_with("CANCEL ")), (1, true), "{late:?}");
    // Somebody did.
    let late = node.udp(FIRST, &respond(&first, 200, "late"));
    let success = late.iter().find(|sent| sent.status() == 200).expect("it is passed on");
    assert!(success.field("To").unwrap().contains("tag=t"));
    assert!(node.udp(SECOND, &respond(&second, 486, "x"))[0].start().starts_with("ACK "));
    node.pass(300_000);
    assert_eq!((node.shard.held_transactions(), node.shard.counters().next_hops_given_up), (0, 1));
}

#[test]
fn a_late_failure_of_a_server_that_was_given_up_changes_nothing() {
    let mut node = node();
    let first = node.udp(CALLER, &to_example("INVITE", 2)).remove(1);
    let second = node.pass(3_010).into_iter().map(|(_, sent)| sent).find(|sent| udp(sent) == SECOND).unwrap();
    let late = node.udp(FIRST, &respond(&first, 603, "late"));
    assert!(late.len() == 1 && late[0].start().starts_with("ACK "), "{late:?}");
    assert_eq!(node.udp(SECOND, &respond(&second, 200, "x"))[0].status(), 200);
}

#[test]
fn a_request_other_than_invite_goes_on_as_soon() {
    let mut node = node();
    let first = node.udp(CALLER, &to_example("MESSAGE", 2)).remove(0);
    let second = node.pass(3_010).into_iter().map(|(_, sent)| sent).find(|sent| udp(sent) == SECOND).unwrap();
    assert!(node.pass(2_000).iter().all(|(_, sent)| udp(sent) != FIRST), "the first is left alone");
    assert_eq!(node.udp(SECOND, &respond(&second, 200, ""))[0].status(), 200);
    assert!(node.udp(FIRST, &respond(&first, 200, "")).is_empty(), "one answer is enough");
}

#[test]
fn a_server_that_has_said_something_is_waited_for() {
    let mut node = node();
    let first = node.udp(CALLER, &to_example("INVITE", 2)).remove(1);
    node.udp(FIRST, &respond(&first, 100, ""));
    assert!(node.pass(60_000).is_empty());
    assert_eq!(node.udp(FIRST, &respond(&first, 200, "x"))[0].status(), 200);
}

#[test]
fn a_server_that_has_failed_is_tried_last_for_a_while() {
    let mut node = node();
    let first = node.udp(CALLER, &to_example("INVITE", 2)).remove(1);
    node.fail(&first);
    assert_eq!(udp(&node.udp(CALLER, &to_example("INVITE", 3))[1]), SECOND);
    node.pass(10_000);
    assert_eq!(udp(&node.udp(CALLER, &to_example("INVITE", 4))[1]), FIRST);
    // RFC 3261 §21.5.4: for as long as it says, within bounds; without a word it speaks of one request.
    for (retry_after, next, passed_ms) in [("", FIRST, 0), ("60 (busy)", SECOND, 59_000), ("99999", SECOND, 299_000)] {
        let mut node = self::node();
        let first = node.udp(CALLER, &to_example("INVITE", 5)).remove(1);
        let answer = respond(&first, 503, "x");
        let answer = if retry_after.is_empty() { answer } else { and(&answer, &format!("Retry-After: {retry_after}")) };
        let second = node.udp(FIRST, &answer).remove(1);
        node.udp(SECOND, &respond(&second, 486, "x"));
        node.pass(passed_ms);
        assert_eq!(udp(&node.udp(CALLER, &to_example("INVITE", 6))[1]), next, "{retry_after}");
        node.pass(1_001);
        assert_eq!(udp(&node.udp(CALLER, &to_example("INVITE", 7))[1]), FIRST, "{retry_after}");
    }
}

#[test]
fn a_cancelled_call_goes_to_nobody_else() {
    let mut node = node();
    let call = to_example("INVITE", 2);
    let first = node.udp(CALLER, &call).remove(1);
    let cancel = with(&with(&call, "INVITE sip", "CANCEL sip"), "2 INVITE", "2 CANCEL");
    node.udp(CALLER, &cancel);
    let sent = node.fail(&first);
    assert_eq!((sent.len(), udp(&sent[0])), (1, CALLER.to_owned()), "{sent:?}");
}

/// A request of more than 1300 bytes.
fn long(message: &str) -> String {
    and(message, &format!("X-Filler: {}", "x".repeat(1300)))
}

#[test]
fn rfc3261_18_1_1_a_long_request_goes_over_tcp_and_by_datagrams_where_that_fails() {
    let mut node = Node::new();
    let call = |n: u32| {
        let call = with(
            &long(&request("INVITE", "sip:b@203.0.113.1", "caller", n)),
            "To: <sip:caller@fed.example>",
            "To: <sip:x@y>;tag=t",
        );
        with(&call, "Call-ID: caller-call", &format!("Call-ID: c{n}"))
    };
    let first = node.udp(CALLER, &call(2)).remove(1);
    assert_eq!(tcp_to(&first).as_deref(), Some(FIRST));
    assert!(first.field("Via").unwrap().starts_with("SIP/2.0/TCP 192.0.2.1:5060;"));
    let second = node.fail(&first).remove(0);
    assert_eq!(udp(&second), FIRST);
    assert!(second.field("Via").unwrap().starts_with("SIP/2.0/UDP 192.0.2.1:5060;"));
    assert_ne!(branch(&first), branch(&second));
    assert_eq!(node.udp(FIRST, &respond(&second, 486, "x")).len(), 2);
    // It is known for a while that nobody listens there.
    assert_eq!(udp(&node.udp(CALLER, &call(3))[1]), FIRST);
    node.pass(300_000);
    let first = node.udp(CALLER, &call(4)).remove(1);
    assert!(tcp_to(&first).is_some());
    let sent = node.pass(3_010);
    assert!(sent.iter().any(|(_, sent)| udp(sent) == FIRST), "one that is silent costs no more than a bound: {sent:?}");
    assert_eq!(node.shard.counters().branches_too_long, 2);
}

#[test]
fn rfc3261_18_1_1_a_server_that_answers_over_tcp_is_not_asked_by_datagram() {
    let mut node = Node::new();
    let call = with(
        &long(&request("INVITE", "sip:b@203.0.113.1", "caller", 2)),
        "To: <sip:caller@fed.example>",
        "To: <sip:x@y>;tag=t",
    );
    let first = node.udp(CALLER, &call).remove(1);
    let flow = FlowToken::new(ShardIndex(0), 1, 1);
    let sent = node.tcp(flow, FIRST, &respond(&first, 503, "x"));
    let statuses: Vec<u16> = sent.iter().map(Sent::status).collect();
    assert_eq!(statuses, [0, 500], "its ACK, and the answer");
    assert!(tcp_to(&sent[0]).is_some());
}

#[test]
fn rfc5393_5_3_3_the_breadth_of_a_way_that_is_not_followed_is_free_for_the_next_group() {
    let mut node = Node::new();
    for (n, q) in [(3, "0.9"), (4, "0.1")] {
        let message = register("bob", &format!("<sip:b@203.0.113.{n}>;q={q}"), n);
        let message = with(&message, "Call-ID: bob-call", &format!("Call-ID: b{n}"));
        assert_eq!(node.udp("198.51.100.9:5060", &message)[0].status(), 200);
    }
    let call = and(&long(&invite("bob")), "Max-Breadth: 1");
    let first = node.udp(CALLER, &call).remove(1);
    assert_eq!(tcp_to(&first).as_deref(), Some(THIRD));
    let flow = FlowToken::new(ShardIndex(0), 1, 1);
    let sent = node.tcp(flow, THIRD, &respond(&first, 503, "x"));
    assert_eq!(sent.get(1).and_then(tcp_to).as_deref(), Some("203.0.113.4:5060"), "{sent:?}");
}

#[test]
fn rfc3261_18_1_1_only_what_nobody_has_named_a_transport_for_goes_over_tcp() {
    let call = |uri: &str| {
        with(&long(&request("INVITE", uri, "caller", 2)), "To: <sip:caller@fed.example>", "To: <sip:x@y>;tag=t")
    };
    let is_datagram = |change: &dyn Fn(&mut Settings), message: &str| {
        let mut node = Node::with(change);
        node.register("flow", "sip:b@203.0.113.1", FIRST);
        // Its Via names another address than it comes from.
        assert_eq!(node.udp(FIRST, &register("natted", "<sip:b@10.0.0.1>", 1))[0].status(), 200);
        node.register("other", "sip:b@203.0.113.3", FIRST);
        !udp(&node.udp(CALLER, message)[1]).is_empty()
    };
    let plain = |_: &mut Settings| {};
    assert!(!is_datagram(&plain, &call("sip:b@203.0.113.1")));
    assert!(is_datagram(&plain, &call("sip:b@203.0.113.1;transport=udp")), "it is named");
    assert!(is_datagram(&plain, &long(&invite("flow"))), "it has shown that it takes datagrams");
    assert!(is_datagram(&plain, &long(&invite("natted"))), "nothing else gets through its NAT");
    assert!(!is_datagram(&plain, &long(&invite("other"))));
    assert!(is_datagram(&|s| s.proxy.datagram_bytes_max = 65_535, &call("sip:b@203.0.113.1")), "it is turned off");
    assert!(is_datagram(&|s| s.listeners.truncate(1), &call("sip:b@203.0.113.1")), "there is no TCP");
    let short = with(&call("sip:b@203.0.113.1"), &"x".repeat(1000), "x");
    assert!(is_datagram(&plain, &short));
    let of_ipv6 = |s: &mut Settings| {
        s.listeners[1] = Listener { transport: Transport::Tcp, addr: "[2001:db8::1]:5060".parse().unwrap() };
    };
    assert!(is_datagram(&of_ipv6, &call("sip:b@203.0.113.1")), "there is no TCP of that family");
}
