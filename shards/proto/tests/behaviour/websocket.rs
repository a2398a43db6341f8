//! RFC 7118: browsers, which are reached over the WebSocket that they came by and over nothing else.

use super::node::{Node, Sent, and, invite, register, respond, with};
use sipfed_proto::settings::{LostFlow, Rule, Sign, Then};
use sipfed_proto::{Destination, FlowToken, Listener, Settings, ShardIndex, Transport};

const PHONE: &str = "198.51.100.9:5060";
const BROWSER: &str = "203.0.113.7:40000";
/// What a browser calls itself (RFC 7118 §5).
const NAMELESS: &str = "df7jal23ls0d.invalid";
const CONTACT: &str = "sip:bob@df7jal23ls0d.invalid;transport=ws";

fn node() -> Node {
    node_with(|_| {})
}

fn node_with(change: impl FnOnce(&mut Settings)) -> Node {
    Node::with(|settings| {
        let listens = |transport, addr: &str| Listener { transport, addr: addr.parse().unwrap() };
        settings.listeners.push(listens(Transport::Ws, "192.0.2.1:80"));
        settings.listeners.push(listens(Transport::Wss, "192.0.2.1:443"));
        settings.registrar.lost_flow = LostFlow::Connect;
        change(settings);
    })
}

fn flow(transport: Transport) -> FlowToken {
    FlowToken::new(ShardIndex(0), 1, 1).over(transport)
}

fn over(flow: FlowToken) -> Destination {
    Destination::Flow { flow, fallback: None }
}

/// The same as a browser sends it: named by nothing that leads anywhere, and without Content-Length.
fn from_browser(message: &str, flow: FlowToken) -> String {
    let via = format!("SIP/2.0/{} {NAMELESS};", flow.transport().via_token());
    with(&with(message, "SIP/2.0/UDP 198.51.100.9:5060;", &via), "Content-Length: 0\r\n", "")
}

/// A BYE to the other side of a call, whose routes are `routes`.
fn bye(uri: &str, branch: &str, routes: &[&str]) -> String {
    let bye = with(&invite("bob"), "INVITE sip:bob@fed.example", &format!("BYE {uri}"));
    let bye = with(&with(&bye, "1 INVITE", "2 BYE"), "z9hG4bKcaller1INVITE", branch);
    let bye = with(&bye, "To: <sip:bob@fed.example>", "To: <sip:bob@fed.example>;tag=t");
    and(&bye, &format!("Route: {}", routes.join(", ")))
}

fn record_routes(sent: &Sent) -> Vec<&str> {
    sent.fields("Record-Route").collect()
}

#[test]
fn rfc7118_5_a_browser_registers_and_is_called_over_its_websocket_alone() {
    for (transport, port) in [(Transport::Ws, 80), (Transport::Wss, 443)] {
        let (mut node, flow) = (node(), flow(transport));
        let answer =
            node.websocket(flow, BROWSER, &from_browser(&register("bob", &format!("<{CONTACT}>"), 1), flow)).remove(0);
        assert_eq!((answer.status(), answer.to), (200, over(flow)), "{answer:?}");
        assert!(answer.field("Via").unwrap().ends_with(";received=203.0.113.7"), "§5.2.3: {answer:?}");
        let copy = node.udp(PHONE, &invite("bob")).remove(1);
        assert_eq!((copy.to, copy.start()), (over(flow), &*format!("INVITE {CONTACT} SIP/2.0")));
        let via = copy.fields("Via").next().unwrap();
        assert!(via.starts_with(&format!("SIP/2.0/{} 192.0.2.1:{port};", transport.via_token())), "{via}");
        assert!(node.pass(20_000).is_empty(), "§17: nothing is retransmitted over a reliable transport");
        // Its connection is gone: no name or address leads to it.
        node.close(flow);
        let answers = node
            .udp(PHONE, &with(&invite("bob"), "z9hG4bKcaller1", "z9hG4bKcaller2").replace("Call-ID: ", "Call-ID: x"));
        assert!(answers.iter().all(|sent| sent.udp() == Some(PHONE.parse().unwrap())), "{answers:?}");
        assert_eq!(answers.last().unwrap().status(), 480);
    }
}

#[test]
fn a_phone_calls_a_browser_and_either_ends_the_call() {
    for (transport, port) in [(Transport::Ws, 80), (Transport::Wss, 443)] {
        let (mut node, flow) = (node(), flow(transport));
        node.websocket(flow, BROWSER, &from_browser(&register("bob", &format!("<{CONTACT}>"), 1), flow));
        let copy = node.udp(PHONE, &invite("bob")).remove(1);
        let routes = record_routes(&copy);
        // RFC 7118 §5.2.2: `ws` stands for both kinds.
        assert!(routes[0].ends_with(&format!("@192.0.2.1:{port};transport=ws;lr>")), "{routes:?}");
        assert_eq!(routes[1], "<sip:192.0.2.1:5060;lr>");
        let rings = respond(&copy, 200, "t").replace("Content-Length: 0\r\n", "");
        let answer = node.websocket(flow, BROWSER, &rings).remove(0);
        assert_eq!((answer.status(), answer.udp()), (200, Some(PHONE.parse().unwrap())));
        assert_eq!(answer.field("Content-Length"), Some("0"), "datagrams say it");
        let by_caller = node.udp(PHONE, &bye(CONTACT, "z9hG4bKbye1", &[routes[1], routes[0]])).remove(0);
        assert_eq!((by_caller.to, by_caller.start()), (over(flow), &*format!("BYE {CONTACT} SIP/2.0")));
        assert_eq!(by_caller.field("Route"), None);
        let by_browser = from_browser(&bye("sip:caller@198.51.100.9:5060", "z9hG4bKbye2", &routes), flow);
        let by_browser = node.websocket(flow, BROWSER, &by_browser).remove(0);
        assert_eq!(by_browser.udp(), Some(PHONE.parse().unwrap()));
        assert_eq!(by_browser.field("Content-Length"), Some("0"));
    }
}

#[test]
fn a_browser_calls_a_phone_and_either_ends_the_call() {
    for (transport, port) in [(Transport::Ws, 80), (Transport::Wss, 443)] {
        let (mut node, flow) = (node(), flow(transport));
        node.register("bob", "sip:bob@198.51.100.9:5060", PHONE);
        let call = from_browser(&and(&invite("bob"), &format!("Contact: <{}>", CONTACT.replace("bob", "alice"))), flow);
        let copy = node.websocket(flow, BROWSER, &format!("{call}v=0\r\n")).remove(1);
        assert_eq!((copy.udp(), copy.field("Content-Length")), (Some(PHONE.parse().unwrap()), Some("5")));
        assert!(copy.text.ends_with("\r\n\r\nv=0\r\n"));
        let routes = record_routes(&copy);
        assert_eq!(routes[0], "<sip:192.0.2.1:5060;lr>");
        assert!(routes[1].ends_with(&format!("@192.0.2.1:{port};transport=ws;lr>")), "{routes:?}");
        let answer = node.udp(PHONE, &respond(&copy, 200, "t")).remove(0);
        assert_eq!((answer.status(), answer.to), (200, over(flow)));
        let by_phone = node.udp(PHONE, &bye(&CONTACT.replace("bob", "alice"), "z9hG4bKbye1", &routes)).remove(0);
        assert_eq!(by_phone.to, over(flow));
        let by_browser = from_browser(&bye("sip:bob@198.51.100.9:5060", "z9hG4bKbye2", &[routes[1], routes[0]]), flow);
        assert_eq!(node.websocket(flow, BROWSER, &by_browser)[0].udp(), Some(PHONE.parse().unwrap()));
        // A call to a browser that is gone goes to nobody who may have its address now.
        node.close(flow);
        let late = node.udp(PHONE, &bye(&CONTACT.replace("bob", "alice"), "z9hG4bKbye3", &routes)).remove(0);
        let failed = node.fail(&late);
        assert_eq!(failed.last().map(Sent::status), Some(430), "RFC 5626 §5.3.1: {late:?} {failed:?}");
    }
}

#[test]
fn a_message_says_no_more_than_the_websocket_that_has_brought_it() {
    let (mut node, flow) = (node(), flow(Transport::Ws));
    let message = register("bob", &format!("<{CONTACT}>"), 1);
    let message = with(&message, "SIP/2.0/UDP", "SIP/2.0/WS");
    let short = with(&message, "Content-Length: 0", "Content-Length: 10");
    assert_eq!(node.websocket(flow, BROWSER, &short)[0].status(), 400);
    assert_eq!(node.websocket(flow, BROWSER, &format!("{message}more"))[0].status(), 200, "as of a datagram (§18.3)");
}

#[test]
fn a_browser_goes_by_a_route_that_names_the_node_by_the_address_that_it_connected_to() {
    let (mut node, flow) = (node(), flow(Transport::Wss));
    node.register("bob", "sip:bob@198.51.100.9:5060", PHONE);
    for (n, route) in
        ["192.0.2.1;transport=ws", "192.0.2.1;transport=WSS", "192.0.2.1:443;transport=ws", "fed.example;transport=ws"]
            .into_iter()
            .enumerate()
    {
        let call = and(&invite("bob"), &format!("Route: <sip:{route};lr>"));
        let call = with(&from_browser(&call, flow), "z9hG4bKcaller1", &format!("z9hG4bKroute{n}"));
        let sent = node.websocket(flow, BROWSER, &with(&call, "Call-ID: ", &format!("Call-ID: {n}")));
        assert_eq!(sent[1].udp(), Some(PHONE.parse().unwrap()), "{route}: {sent:?}");
        assert_eq!(sent[1].field("Route"), None);
    }
}

#[test]
fn a_contact_that_leads_nowhere_is_not_written_as_an_address_that_leads_nowhere_either() {
    let mut node = node_with(|settings| {
        // Every browser shows this sign, since its Via says no port.
        settings.nat.signs = settings.nat.signs.with(Sign::DiffPortSrcVia);
        settings.policy = vec![Rule { then: Then { fix_contact: Some(true), ..Then::default() }, ..Rule::default() }];
    });
    node.register("bob", "sip:bob@198.51.100.9:5060", PHONE);
    let call = from_browser(&and(&invite("bob"), &format!("Contact: <{CONTACT}>")), flow(Transport::Wss));
    let copy = node.websocket(flow(Transport::Wss), BROWSER, &call).remove(1);
    assert_eq!(copy.field("Contact"), Some(&*format!("<{CONTACT}>")));
}

#[test]
fn nobody_is_reached_by_opening_a_websocket() {
    let mut node = node();
    for transport in ["ws", "wss"] {
        let next = format!("sip:carol@198.51.100.20:80;transport={transport}");
        let sent = node.udp(PHONE, &bye(&next, &format!("z9hG4bK{transport}"), &["<sip:192.0.2.1:5060;lr>"]));
        assert_eq!(sent[0].status(), 416, "{sent:?}");
    }
}
