//! RFC 3261 §18.2.2, RFC 5626, RFC 5923: connections and what is bound to them.

use super::node::{Node, Sent, invite, register, respond, with};
use sipfed_proto::settings::LostFlow;
use sipfed_proto::{Destination, Ends, FlowToken, Listener, ShardIndex, Transport};

const CALLER: &str = "198.51.100.9:5060";

fn flow(n: u32) -> FlowToken {
    FlowToken::new(ShardIndex(0), n, 1)
}

/// A connection from the address of the node.
fn from_node(remote: &str) -> Ends {
    ends(remote, Some("192.0.2.1"))
}

fn ends(remote: &str, local: Option<&str>) -> Ends {
    Ends::new(Transport::Tcp, remote.parse().unwrap(), local.map(|ip| ip.parse().unwrap()))
}

fn tcp(message: &str) -> String {
    with(message, "SIP/2.0/UDP", "SIP/2.0/TCP")
}

fn register_over(node: &mut Node, flow: FlowToken, contact: &str) -> Sent {
    node.tcp(flow, "203.0.113.7:40000", &tcp(&register("bob", contact, 1))).remove(0)
}

#[test]
fn rfc3261_18_2_2_a_response_takes_the_connection_of_its_request() {
    let mut node = Node::new();
    let sent = register_over(&mut node, flow(1), "<sip:bob@203.0.113.7;transport=tcp>");
    assert_eq!(sent.status(), 200);
    let fallback = Some(from_node("203.0.113.7:5060"));
    assert_eq!(sent.to, Destination::Flow { flow: flow(1), fallback });
}

#[test]
fn rfc3261_18_3_a_request_on_a_stream_without_content_length_is_400() {
    let mut node = Node::new();
    let message = with(&tcp(&register("bob", "<sip:bob@h>", 1)), "Content-Length: 0\r\n", "");
    let sent = node.tcp(flow(1), CALLER, &message).remove(0);
    assert_eq!(sent.start(), "SIP/2.0 400 Bad Request (Content-Length is missing)");
    assert_eq!(node.shard.bindings(), 0);
}

#[test]
fn rfc5923_a_call_takes_the_connection_that_its_binding_came_over() {
    let mut node = Node::new();
    register_over(&mut node, flow(1), "<sip:bob@203.0.113.7;transport=tcp>");
    let copy = node.udp(CALLER, &invite("bob")).remove(1);
    assert!(matches!(copy.to, Destination::Flow { flow: f, .. } if f == flow(1)), "{copy:?}");
    assert!(copy.field("Via").unwrap().starts_with("SIP/2.0/TCP 192.0.2.1:5060;"));
    assert!(node.pass(20_000).is_empty(), "§17: nothing is retransmitted over a reliable transport");
}

#[test]
fn rfc5658_and_rfc5626_5_2_record_route_names_both_sides_and_the_connection() {
    let mut node = Node::new();
    register_over(&mut node, flow(1), "<sip:bob@10.0.0.1:5060;transport=tcp>");
    let copy = node.udp(CALLER, &invite("bob")).remove(1);
    let routes: Vec<&str> = copy.fields("Record-Route").collect();
    assert_eq!(routes.len(), 2);
    assert!(routes[0].ends_with("@192.0.2.1:5060;transport=tcp;lr>"), "towards the callee: {routes:?}");
    assert_eq!(routes[1], "<sip:192.0.2.1:5060;lr>");
    // The caller's BYE, with the route set turned round, goes over the connection although the Contact is private.
    let bye = with(
        &with(&invite("bob"), "INVITE sip:bob@fed.example", "BYE sip:bob@10.0.0.1:5060;transport=tcp"),
        "1 INVITE",
        "2 BYE",
    );
    let bye = with(
        &with(&bye, "z9hG4bKcaller1INVITE", "z9hG4bKbye"),
        "To: <sip:bob@fed.example>",
        "To: <sip:bob@fed.example>;tag=t",
    );
    let bye = super::node::and(&bye, &format!("Route: {}, {}", routes[1], routes[0]));
    let sent = node.udp(CALLER, &bye);
    assert!(matches!(sent[0].to, Destination::Flow { flow: f, .. } if f == flow(1)), "{sent:?}");
    // The callee's comes over that connection and goes out to the caller.
    let answer = respond(&sent[0], 200, "");
    assert_eq!(node.tcp(flow(1), "203.0.113.7:40000", &answer)[0].udp(), Some(CALLER.parse().unwrap()));
    let bye = tcp(&with(&bye, "BYE sip:bob@10.0.0.1:5060;transport=tcp", "BYE sip:caller@198.51.100.9:5060"));
    let bye = with(
        &with(&bye, "z9hG4bKbye", "z9hG4bKbye2"),
        &format!("{}, {}", routes[1], routes[0]),
        &format!("{}, {}", routes[0], routes[1]),
    );
    let sent = node.tcp(flow(1), "203.0.113.7:40000", &bye);
    assert_eq!(sent[0].udp(), Some(CALLER.parse().unwrap()), "{sent:?}");
}

#[test]
fn a_forged_flow_in_a_route_is_no_flow() {
    let mut node = Node::new();
    let bye = with(&with(&invite("bob"), "INVITE sip:bob@fed.example", "BYE sip:bob@203.0.113.7"), "1 INVITE", "2 BYE");
    let bye = with(&bye, "To: <sip:bob@fed.example>", "To: <sip:bob@fed.example>;tag=t");
    let forged = format!("Route: <sip:f{:016x}{:016x}@192.0.2.1:5060;lr>", flow(1).bits(), 7);
    let sent = node.udp(CALLER, &super::node::and(&bye, &forged));
    assert_eq!(sent[0].udp(), Some("203.0.113.7:5060".parse().unwrap()));
}

#[test]
fn a_binding_whose_connection_is_lost_is_called_at_its_contact() {
    let mut node = Node::new();
    register_over(&mut node, flow(1), "<sip:bob@203.0.113.7;transport=tcp>");
    node.close(flow(1));
    assert_eq!(node.shard.counters().bindings_flow_lost, 1);
    let sent = node.udp(CALLER, &invite("bob"));
    // The Via of the REGISTER said another address than it came from: behind a NAT nothing else leads there.
    assert_eq!(sent[0].status(), 480);

    let mut node = Node::new();
    node.tcp(flow(1), CALLER, &tcp(&register("bob", "<sip:bob@198.51.100.9;transport=tcp>", 1)));
    node.close(flow(1));
    let copy = node.udp(CALLER, &invite("bob")).remove(1);
    assert_eq!(copy.to, Destination::Connect(from_node(CALLER)));
}

#[test]
fn rfc5626_5_3_an_outbound_binding_is_its_flow() {
    let mut node = Node::new();
    let contact = "<sip:bob@198.51.100.9;transport=tcp>;+sip.instance=\"<urn:x>\";reg-id=1";
    node.tcp(flow(1), CALLER, &tcp(&register("bob", contact, 1)));
    node.close(flow(1));
    assert_eq!(node.udp(CALLER, &invite("bob"))[0].status(), 480);
    // Registered again over a new connection it is whole again.
    node.tcp(flow(2), CALLER, &tcp(&register("bob", contact, 2)));
    let later = with(&invite("bob"), "z9hG4bKcaller1", "z9hG4bKcaller2");
    assert_eq!(node.udp(CALLER, &later).len(), 2);
    // The end of the old connection says nothing about it.
    node.close(flow(1));
    let later = with(&invite("bob"), "z9hG4bKcaller1", "z9hG4bKcaller3");
    assert_eq!(node.udp(CALLER, &later).len(), 2);
}

#[test]
fn lost_connections_skip_or_remove_where_configured() {
    for (lost_flow, status, bindings) in [(LostFlow::Skip, 480, 1), (LostFlow::Remove, 404, 0)] {
        let mut node = Node::with(|s| s.registrar.lost_flow = lost_flow);
        node.tcp(flow(1), CALLER, &tcp(&register("bob", "<sip:bob@198.51.100.9;transport=tcp>", 1)));
        node.close(flow(1));
        assert_eq!(node.udp(CALLER, &invite("bob"))[0].status(), status);
        assert_eq!(node.shard.bindings(), bindings);
    }
}

#[test]
fn rfc3261_17_reliable_transports_end_at_once() {
    let mut node = Node::new();
    node.register("bob", "sip:bob@203.0.113.7;transport=tcp", "203.0.113.7:5060");
    let message = tcp(&with(&with(&invite("bob"), "INVITE sip", "MESSAGE sip"), "1 INVITE", "1 MESSAGE"));
    let copy = node.tcp(flow(9), CALLER, &message).remove(0);
    assert_eq!(copy.to, Destination::Connect(from_node("203.0.113.7:5060")));
    node.tcp(flow(8), "203.0.113.7:5060", &respond(&copy, 200, "t"));
    node.pass(10);
    assert_eq!(node.shard.held_transactions(), 0, "Timers J and K are zero");
}

#[test]
fn rfc3261_18_1_1_over_a_connection_that_we_opened_we_are_known_by_the_port_we_listen_at() {
    let mut node = Node::new();
    node.register("bob", "sip:bob@203.0.113.7;transport=tcp", "203.0.113.7:5060");
    let sent = node.tcp_at("192.0.2.1:40001", flow(1), CALLER, &tcp(&invite("bob")));
    assert!(sent[1].field("Via").unwrap().starts_with("SIP/2.0/TCP 192.0.2.1:5060;"), "{sent:?}");
    let routes: Vec<&str> = sent[1].fields("Record-Route").collect();
    assert_eq!(routes.len(), 2);
    assert!(routes.iter().all(|route| route.contains("192.0.2.1:5060;transport=tcp;lr>")), "{routes:?}");
}

#[test]
fn a_connection_starts_from_the_address_that_a_listener_names() {
    const BOB: &str = "203.0.113.7:5060";
    let listener = |transport, addr: &str| Listener { transport, addr: addr.parse().unwrap() };
    // The request arrives at 192.0.2.1 over UDP.
    for (listeners, local) in [
        (&["192.0.2.1:5060"][..], Some("192.0.2.1")),
        (&["192.0.2.9:5060", "192.0.2.1:5060"], Some("192.0.2.1")),
        (&["192.0.2.9:5060", "192.0.2.8:5060"], Some("192.0.2.9")),
        (&["0.0.0.0:5060"], Some("192.0.2.1")),
        (&["127.0.0.1:5060", "192.0.2.9:5060"], Some("192.0.2.9")),
        (&["127.0.0.1:5060"], None),
        (&["[::]:5060"], None),
    ] {
        let mut node = Node::with(|s| {
            s.listeners.truncate(1);
            s.listeners.extend(listeners.iter().map(|addr| listener(Transport::Tcp, addr)));
        });
        node.register("bob", "sip:bob@203.0.113.7;transport=tcp", BOB);
        let copy = node.udp(CALLER, &invite("bob")).remove(1);
        assert_eq!(copy.to, Destination::Connect(ends(BOB, local)), "{listeners:?}");
        if let Some(local) = local {
            let via = copy.field("Via").unwrap();
            assert!(via.starts_with(&format!("SIP/2.0/TCP {local}:5060;")), "{listeners:?}: {via}");
        }
    }
}

#[test]
fn a_phone_is_connected_to_from_the_address_that_it_registered_at() {
    let listeners = ["192.0.2.1:5060", "192.0.2.2:5060"];
    let mut node = Node::with(|s| {
        let tcp = listeners.map(|addr| Listener { transport: Transport::Tcp, addr: addr.parse().unwrap() });
        s.listeners.extend(tcp);
    });
    let message = tcp(&register("bob", "<sip:bob@198.51.100.9;transport=tcp>", 1));
    node.tcp_at("192.0.2.2:5060", flow(1), CALLER, &message);
    node.close(flow(1));
    let copy = node.udp(CALLER, &invite("bob")).remove(1);
    assert_eq!(copy.to, Destination::Connect(ends(CALLER, Some("192.0.2.2"))));
    assert!(copy.field("Via").unwrap().starts_with("SIP/2.0/TCP 192.0.2.2:5060;"), "{copy:?}");
}

#[test]
fn rfc3261_26_2_a_phone_within_tls_is_called_over_its_connection_alone() {
    let listens = |s: &mut sipfed_proto::Settings| {
        let addr = "192.0.2.1:5061".parse().unwrap();
        s.listeners.push(Listener { transport: Transport::Tls, addr });
        s.registrar.lost_flow = LostFlow::Connect;
    };
    for contact in ["<sip:bob@203.0.113.7:5061;transport=tls>", "<sip:bob@203.0.113.7:5060>"] {
        let mut node = Node::with(listens);
        let flow = flow(1).over(Transport::Tls);
        let text = with(&register("bob", contact, 1), "SIP/2.0/UDP", "SIP/2.0/TLS");
        let answer = node.tls(flow, "203.0.113.7:40000", &text).remove(0);
        assert_eq!(answer.to, Destination::Flow { flow, fallback: None });
        let copy = node.udp(CALLER, &invite("bob")).remove(1);
        assert_eq!(copy.to, Destination::Flow { flow, fallback: None });
        let via = copy.fields("Via").next().unwrap();
        assert!(via.starts_with("SIP/2.0/TLS 192.0.2.1:5061;"), "{via}");
        let routes: Vec<&str> = copy.fields("Record-Route").collect();
        assert!(routes[0].ends_with("@192.0.2.1:5061;transport=tls;lr>"), "{routes:?}");
        assert_eq!(routes[1], "<sip:192.0.2.1:5060;lr>");
        // What follows in the dialog takes the same way, and none of another transport.
        let bye = with(&invite("bob"), "INVITE sip:bob@fed.example", "BYE sip:bob@203.0.113.7:5060");
        let bye = with(&with(&bye, "1 INVITE", "2 BYE"), "z9hG4bKcaller1INVITE", "z9hG4bKbye");
        let bye = with(&bye, "To: <sip:bob@fed.example>", "To: <sip:bob@fed.example>;tag=t");
        let bye = super::node::and(&bye, &format!("Route: {}, {}", routes[1], routes[0]));
        assert_eq!(node.udp(CALLER, &bye)[0].to, Destination::Flow { flow, fallback: None });
        node.close(flow);
        let call = with(&invite("bob"), "z9hG4bKcaller1", "z9hG4bKcaller2");
        let answers = node.udp(CALLER, &with(&call, "Call-ID: ", "Call-ID: another"));
        assert!(answers.iter().all(|sent| sent.udp() == Some(CALLER.parse().unwrap())), "{answers:?}");
        assert!(answers.last().unwrap().text.starts_with("SIP/2.0 480"), "{answers:?}");
    }
}

#[test]
fn a_phone_on_a_connection_is_told_the_address_of_ours_that_it_knows_whoever_calls() {
    const OURS: &str = "[2001:db8::1]:5061";
    let mut node = Node::with(|settings| {
        for addr in ["192.0.2.1:5061", OURS] {
            settings.listeners.push(Listener { transport: Transport::Tls, addr: addr.parse().unwrap() });
        }
    });
    let text = with(&register("bob", "<sip:bob@[2001:db8::7]:5061;transport=tls>", 1), "SIP/2.0/UDP", "SIP/2.0/TLS");
    let answer = node.tls_at(OURS, flow(1).over(Transport::Tls), "[2001:db8::7]:40000", &text).remove(0);
    assert_eq!(answer.status(), 200, "{}", answer.text);
    let copy = node.udp(CALLER, &invite("bob")).remove(1);
    let via = copy.fields("Via").next().unwrap();
    assert!(via.starts_with(&format!("SIP/2.0/TLS {OURS};")), "{via}");
    let routes: Vec<&str> = copy.fields("Record-Route").collect();
    assert!(routes[0].contains(&format!("@{OURS};")), "{routes:?}");
    assert_eq!(routes[1], "<sip:192.0.2.1:5060;lr>");
}
