//! RFC 3261 §18.1.1, §19.1.2, §26.2.1: connections within TLS that the node opens.

use super::node::{NODE, Node, Sent, and, invite, register, request, with};
use sipfed_proto::settings::Foreign;
use sipfed_proto::{Destination, Ends, FlowToken, Listener, ShardIndex, Transport};
use std::net::SocketAddr;

const CALLER: &str = "198.51.100.9:5060";
const PEER: &str = "203.0.113.9:5061";

/// A node that also listens for TLS.
fn secured() -> Node {
    Node::with(|settings| listen_for_tls(&mut settings.listeners))
}

fn listen_for_tls(listeners: &mut Vec<Listener>) {
    listeners.push(Listener { transport: Transport::Tls, addr: "192.0.2.1:5061".parse().unwrap() });
}

fn over_tls(remote: &str) -> Destination {
    Destination::Connect(Ends::new(Transport::Tls, remote.parse().unwrap(), Some("192.0.2.1".parse().unwrap())))
}

/// A request of a dialog, which goes where its Request-URI and its routes say.
fn bye(uri: &str, route: &str) -> String {
    let bye = with(&request("BYE", uri, "caller", 2), "To: <sip:caller@fed.example>", "To: <sip:x@fed.example>;tag=t");
    if route.is_empty() { bye } else { and(&bye, &format!("Route: {route}")) }
}

fn only(sent: Vec<Sent>) -> Sent {
    assert_eq!(sent.len(), 1, "{sent:?}");
    sent.into_iter().next().unwrap()
}

#[test]
fn rfc3261_19_1_2_a_uri_with_transport_tls_leads_over_tls_to_5061() {
    for (uri, route) in [
        ("sip:bob@203.0.113.9;transport=tls", ""),
        ("sip:bob@203.0.113.9:5061;transport=TLS", ""),
        ("sip:bob@198.51.100.1", "<sip:203.0.113.9;transport=tls;lr>"),
    ] {
        let sent = only(secured().udp(CALLER, &bye(uri, route)));
        assert_eq!(sent.to, over_tls(PEER), "{uri} {route}");
        assert!(sent.field("Via").unwrap().starts_with("SIP/2.0/TLS 192.0.2.1:5061;"), "{}", sent.text);
    }
    let sent = only(secured().udp(CALLER, &bye("sip:bob@203.0.113.9:5070;transport=tls", "")));
    assert_eq!(sent.to, over_tls("203.0.113.9:5070"));
}

#[test]
fn rfc3261_18_1_1_a_node_that_cannot_be_reached_over_tls_opens_none() {
    let uri = "sip:bob@203.0.113.9;transport=tls";
    assert_eq!(only(Node::new().udp(CALLER, &bye(uri, ""))).status(), 416);
    // A listener of the other family is of no use to who has only this one.
    let mut node = Node::with(|settings| {
        let addr = "[2001:db8::1]:5061".parse().unwrap();
        settings.listeners.push(Listener { transport: Transport::Tls, addr });
    });
    assert_eq!(only(node.udp(CALLER, &bye(uri, ""))).status(), 416);
}

#[test]
fn a_foreign_request_is_relayed_over_tls_and_its_dialog_goes_both_ways() {
    let mut node = Node::with(|settings| {
        listen_for_tls(&mut settings.listeners);
        settings.proxy.foreign = Foreign::Relay(Transport::Tls, PEER.parse().unwrap());
    });
    let call = with(&invite("bob"), "INVITE sip:bob@fed.example", "INVITE sip:bob@elsewhere.example");
    let sent = node.udp(CALLER, &call).remove(1);
    assert_eq!(sent.to, over_tls(PEER));
    let routes: Vec<&str> = sent.fields("Record-Route").collect();
    assert_eq!(routes, ["<sip:192.0.2.1:5061;transport=tls;lr>", "<sip:192.0.2.1:5060;lr>"]);
    // What the other side sends within the dialog comes over the connection that we have opened, from a port of its own.
    let back = with(&bye("sip:caller@198.51.100.9:5060", &routes.join(", ")), "SIP/2.0/UDP", "SIP/2.0/TLS");
    let back = with(&back, "198.51.100.9:5060;branch", "203.0.113.9:5061;branch");
    let flow = FlowToken::new(ShardIndex(0), 5, 1).over(Transport::Tls);
    let sent = only(node.tls(flow, PEER, &back));
    assert_eq!(sent.udp(), Some(CALLER.parse().unwrap()), "{sent:?}");
    assert_eq!(sent.fields("Route").count(), 0);
}

#[test]
fn rfc3261_16_9_a_connection_that_fails_is_a_503_which_the_caller_hears_as_500() {
    let mut node = Node::with(|settings| {
        listen_for_tls(&mut settings.listeners);
        settings.proxy.foreign = Foreign::Relay(Transport::Tls, PEER.parse().unwrap());
    });
    let call = with(&invite("bob"), "INVITE sip:bob@fed.example", "INVITE sip:bob@elsewhere.example");
    let sent = node.udp(CALLER, &call).remove(1);
    let answer = only(node.fail(&sent));
    assert_eq!((answer.status(), answer.udp()), (500, Some(CALLER.parse().unwrap())));
}

#[test]
fn a_path_leads_over_tls_and_a_contact_with_transport_tls_is_connected_to() {
    let mut node = secured();
    let path = "Path: <sip:203.0.113.9;transport=tls;lr>";
    let sent = node.udp(CALLER, &and(&and(&register("bob", "<sip:bob@10.0.0.1>", 1), path), "Supported: path"));
    assert_eq!(sent[0].status(), 200, "{}", sent[0].text);
    assert_eq!(node.udp(CALLER, &invite("bob")).remove(1).to, over_tls(PEER));

    let mut node = secured();
    node.register("bob", "sip:bob@198.51.100.9;transport=tls", CALLER);
    assert_eq!(node.udp(CALLER, &invite("bob")).remove(1).to, over_tls("198.51.100.9:5061"));
}

#[test]
fn rfc5626_5_3_a_binding_that_came_over_tls_is_its_connection_and_nothing_else() {
    let mut node = secured();
    let flow = FlowToken::new(ShardIndex(0), 1, 1).over(Transport::Tls);
    let message = with(&register("bob", "<sip:bob@203.0.113.7:5061;transport=tls>", 1), "SIP/2.0/UDP", "SIP/2.0/TLS");
    let message = with(&message, "198.51.100.9:5060;branch", "203.0.113.7:5061;branch");
    assert_eq!(node.tls(flow, "203.0.113.7:5061", &message)[0].status(), 200);
    let copy = node.udp(CALLER, &invite("bob")).remove(1);
    assert_eq!(copy.to, Destination::Flow { flow, fallback: None });
    let mut node = node;
    node.close(flow);
    let again = with(&invite("bob"), "z9hG4bKcaller1INVITE", "z9hG4bKagain");
    let refused = node.udp(CALLER, &again);
    assert!(refused.iter().any(|sent| sent.status() == 480), "{refused:?}");
}

#[test]
fn a_route_to_our_port_of_tls_is_ours_with_and_without_the_port() {
    for own in ["<sip:192.0.2.1:5061;transport=tls;lr>", "<sip:192.0.2.1;transport=tls;lr>"] {
        let sent = only(secured().udp(CALLER, &bye("sip:bob@203.0.113.9", own)));
        assert_eq!(sent.udp(), Some(SocketAddr::new("203.0.113.9".parse().unwrap(), 5060)), "{own}");
        assert_eq!(sent.fields("Route").count(), 0);
    }
    assert_eq!(NODE, "192.0.2.1:5060");
}
