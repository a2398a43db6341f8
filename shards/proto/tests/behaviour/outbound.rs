//! RFC 5626: phones that keep flows.

use super::node::{NODE, Node, Sent, and, invite, register, request, respond, with};
use sipfed_proto::{Destination, FlowToken, ShardIndex};

const PHONE: &str = "198.51.100.9:5060";

fn flow(slot: u32) -> FlowToken {
    FlowToken::new(ShardIndex(0), slot, 1)
}

/// A REGISTER over TCP of a phone's flow with that reg-id.
fn outbound(reg_id: u32, cseq: u32) -> String {
    let contact = format!("<sip:a@198.51.100.9;transport=tcp>;+sip.instance=\"<urn:x>\";reg-id={reg_id}");
    let message = and(&register("a", &contact, cseq), "Supported: path, outbound");
    with(&with(&message, "SIP/2.0/UDP", "SIP/2.0/TCP"), "a-call", &format!("call-{reg_id}"))
}

fn invites(sent: &[Sent]) -> Vec<Destination> {
    sent.iter().filter(|sent| sent.start().starts_with("INVITE ")).map(|sent| sent.to).collect()
}

#[test]
fn rfc5626_6_a_phone_that_keeps_flows_is_told_that_its_flow_is_used() {
    let mut node = Node::with(|settings| settings.registrar.flow_timer_s = 120);
    for cseq in [1, 2] {
        let answer = node.tcp(flow(1), PHONE, &outbound(1, cseq)).remove(0);
        assert_eq!((answer.status(), answer.field("Require")), (200, Some("outbound")), "CSeq {cseq}");
        assert_eq!(answer.field("Flow-Timer"), Some("120"));
    }
    assert_eq!(node.shard.counters().registers_refreshed, 1, "the second was known by its text");
    let plain = with(&outbound(2, 3), "Supported: path, outbound", "Supported: path");
    let answer = node.tcp(flow(2), PHONE, &plain).remove(0);
    assert_eq!((answer.status(), answer.field("Require"), answer.field("Flow-Timer")), (200, None, None));
    let required = and(&outbound(3, 4), "Require: outbound");
    assert_eq!(node.tcp(flow(3), PHONE, &required)[0].status(), 200);
    let mut silent = Node::new();
    assert_eq!(silent.tcp(flow(1), PHONE, &outbound(1, 1))[0].field("Flow-Timer"), None);
}

#[test]
fn rfc5626_6_a_first_hop_that_keeps_no_flows_is_439() {
    let via = "Via: SIP/2.0/TCP 192.0.2.77;branch=z9hG4bKedge\r\nVia: SIP/2.0/TCP 198.51.100.9";
    let through = |paths: &[&str]| {
        let message = with(&outbound(1, 1), "Via: SIP/2.0/TCP 198.51.100.9", via);
        paths.iter().fold(message, |message, path| and(&message, &format!("Path: {path}")))
    };
    for (paths, status) in [
        (&[][..], 439),
        (&["<sip:192.0.2.77;lr>"], 439),
        (&["<sip:192.0.2.77;lr;ob>"], 200),
        (&["<sip:192.0.2.78;lr>", "<sip:192.0.2.77;lr;ob>"], 200),
        (&["<sip:192.0.2.78;lr;ob>", "<sip:192.0.2.77;lr>"], 439),
    ] {
        let mut node = Node::new();
        let answer = node.tcp(flow(1), "192.0.2.77:5060", &through(paths)).remove(0);
        assert_eq!(answer.status(), status, "{paths:?}");
        assert_eq!(answer.field("Require"), (status == 200).then_some("outbound"));
        assert_eq!(node.shard.bindings(), usize::from(status == 200));
    }
}

#[test]
fn rfc5626_5_3_of_the_flows_of_one_phone_the_latest_that_stands_is_used() {
    let mut node = Node::new();
    for reg_id in [1, 2] {
        assert_eq!(node.tcp(flow(reg_id), PHONE, &outbound(reg_id, reg_id))[0].status(), 200);
        node.pass(2000);
    }
    let call = |node: &mut Node, n: u32| {
        let sent = node.udp("203.0.113.9:5060", &with(&invite("a"), "z9hG4bK", &format!("z9hG4bK{n}")));
        invites(&sent)
    };
    let over = |slot| Destination::Flow { flow: flow(slot), fallback: None };
    assert_eq!(call(&mut node, 1), [over(2)]);
    node.close(flow(2));
    assert_eq!(call(&mut node, 2), [over(1)]);
    node.tcp(flow(3), PHONE, &outbound(2, 9));
    node.pass(1000);
    assert_eq!(call(&mut node, 3), [over(3)]);
}

#[test]
fn rfc5626_5_3_a_request_by_a_flow_that_is_gone_is_430() {
    let mut node = Node::new();
    node.tcp(flow(1), PHONE, &outbound(1, 1));
    let sent = node.udp("203.0.113.9:5060", &invite("a"));
    let ring = sent.iter().find(|sent| sent.start().starts_with("INVITE ")).unwrap();
    let route = ring.fields("Record-Route").next().unwrap().to_owned();
    let bye = request("BYE", "sip:a@phone.invalid;transport=tcp", "x", 2)
        .replace("To: <sip:x@fed.example>", "To: <sip:x@fed.example>;tag=1");
    let sent = node.udp("203.0.113.9:5060", &and(&bye, &format!("Route: {route}")));
    let forwarded = sent.iter().find(|sent| sent.start().starts_with("BYE ")).unwrap().clone();
    let answered = node.fail(&forwarded);
    assert_eq!(answered.last().unwrap().status(), 430, "{answered:?}");
}

#[test]
fn rfc5626_8_a_stun_request_among_datagrams_is_answered_and_costs_nothing_else() {
    let mut node = Node::new();
    let stun = "\0\u{1}\0\0!\u{12}";
    // Not even its beginning is SIP, and what is broken is not answered.
    assert!(node.udp(PHONE, stun).is_empty());
    assert_eq!(node.shard.counters().dropped_unparsable, 1);
    let source = sipfed_proto::Source {
        transport: sipfed_proto::Transport::Udp,
        remote: PHONE.parse().unwrap(),
        local: NODE.parse().unwrap(),
        flow: FlowToken::NONE,
    };
    let whole = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
    let mut out = sipfed_proto::Outbox::new();
    node.shard.receive(&whole, &source, node.now, &mut out);
    let (transmit, answer) = out.iter().next().unwrap();
    assert_eq!(transmit.to, Destination::Udp { remote: source.remote, local: source.local });
    assert_eq!((answer.len(), &answer[..2], &answer[8..20]), (32, &[1, 1][..], &[7; 12][..]));
    assert_eq!(node.shard.counters().keepalives, 1);
}

#[test]
fn rfc5626_5_3_when_a_flow_fails_the_next_one_of_the_same_phone_is_tried() {
    let answers: [(&str, Option<u16>, bool); 4] = [
        ("nothing was sent", None, true),
        ("430", Some(430), true),
        ("503", Some(503), false),
        ("486", Some(486), false),
    ];
    for (what, status, goes_on) in answers {
        let mut node = Node::new();
        for reg_id in [1, 2, 3] {
            node.tcp(flow(reg_id), PHONE, &outbound(reg_id, reg_id));
            node.pass(2000);
        }
        let sent = node.udp("203.0.113.9:5060", &invite("a"));
        let mut ring = sent.into_iter().find(|sent| sent.start().starts_with("INVITE ")).unwrap();
        assert_eq!(ring.to, Destination::Flow { flow: flow(3), fallback: None });
        for slot in [2, 1] {
            let sent = match status {
                Some(status) => node.tcp(flow(slot + 1), PHONE, &respond(&ring, status, "phone")),
                None => node.fail(&ring),
            };
            let next = sent.iter().find(|sent| sent.start().starts_with("INVITE "));
            assert_eq!(next.is_some(), goes_on, "{what}: {sent:?}");
            let Some(next) = next else { break };
            assert_eq!(next.to, Destination::Flow { flow: flow(slot), fallback: None }, "{what}");
            ring = next.clone();
        }
        if goes_on {
            let sent = node.tcp(flow(1), PHONE, &respond(&ring, 200, "phone"));
            assert_eq!(sent.last().unwrap().status(), 200, "{what}: {sent:?}");
        }
    }
}

#[test]
fn a_phone_whose_connection_is_gone_is_unavailable_whether_or_not_that_was_known() {
    for is_known in [false, true] {
        let mut node = Node::new();
        node.tcp(flow(1), PHONE, &outbound(1, 1));
        if is_known {
            node.close(flow(1));
        }
        let mut sent = node.udp("203.0.113.9:5060", &invite("a"));
        if let Some(ring) = sent.iter().find(|sent| sent.start().starts_with("INVITE ")).cloned() {
            sent = node.fail(&ring);
        }
        assert_eq!(sent.last().unwrap().status(), 480, "{sent:?}");
    }
}
