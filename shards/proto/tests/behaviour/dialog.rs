//! RFC 3261 §16.4, §16.6 steps 6 and 7, §16.12: routes, and requests inside dialogs.

use super::node::{Node, and, invite, request, respond, with};

const CALLER: &str = "198.51.100.9:5060";
const CALLEE: &str = "203.0.113.7:5062";

/// A BYE to the callee's Contact as the caller sends it after the call was set up.
fn bye(route: &str) -> String {
    let bye = request("BYE", "sip:bob@203.0.113.7:5062", "caller", 2);
    let bye = with(&bye, "To: <sip:caller@fed.example>", "To: <sip:bob@fed.example>;tag=t");
    and(&bye, &format!("Route: {route}"))
}

#[test]
fn rfc3261_16_12_a_bye_by_our_record_route_goes_to_the_remote_target() {
    let mut node = Node::new();
    let sent = node.udp(CALLER, &bye("<sip:192.0.2.1:5060;lr>"));
    assert_eq!((sent.len(), sent[0].udp()), (1, Some(CALLEE.parse().unwrap())));
    assert_eq!(sent[0].start(), "BYE sip:bob@203.0.113.7:5062 SIP/2.0");
    assert_eq!((sent[0].field("Route"), sent[0].field("Record-Route")), (None, None));
    let sent = node.udp(CALLEE, &respond(&sent[0], 200, ""));
    assert_eq!((sent[0].status(), sent[0].udp()), (200, Some(CALLER.parse().unwrap())));
}

#[test]
fn rfc3261_16_4_both_of_our_routes_are_taken_and_the_next_is_followed() {
    let mut node = Node::new();
    let sent =
        node.udp(CALLER, &bye("<sip:192.0.2.1:5060;lr>, <sip:192.0.2.1:5060;transport=tcp;lr>,<sip:192.0.2.99;lr>"));
    assert_eq!(sent[0].udp(), Some("192.0.2.99:5060".parse().unwrap()));
    assert_eq!(sent[0].field("Route"), Some("<sip:192.0.2.99;lr>"));
    assert_eq!(sent[0].start(), "BYE sip:bob@203.0.113.7:5062 SIP/2.0");
}

#[test]
fn rfc3261_16_6_step_6_a_strict_router_next_gets_the_request_uri() {
    let mut node = Node::new();
    let sent = node.udp(CALLER, &bye("<sip:192.0.2.1:5060;lr>, <sip:192.0.2.99>, <sip:192.0.2.98;lr>"));
    assert_eq!(sent[0].udp(), Some("192.0.2.99:5060".parse().unwrap()));
    assert_eq!(sent[0].start(), "BYE sip:192.0.2.99 SIP/2.0");
    let routes: Vec<&str> = sent[0].fields("Route").collect();
    assert_eq!(routes, ["<sip:192.0.2.98;lr>", "<sip:bob@203.0.113.7:5062>"]);
}

#[test]
fn rfc3261_16_4_a_strict_router_before_us_is_undone() {
    let mut node = Node::new();
    let message = with(
        &bye("<sip:192.0.2.98;lr>, <sip:bob@203.0.113.7:5062>"),
        "BYE sip:bob@203.0.113.7:5062",
        "BYE sip:192.0.2.1:5060;lr",
    );
    let sent = node.udp(CALLER, &message);
    assert_eq!(sent[0].start(), "BYE sip:bob@203.0.113.7:5062 SIP/2.0");
    assert_eq!(sent[0].udp(), Some("192.0.2.98:5060".parse().unwrap()));
    assert_eq!(sent[0].fields("Route").collect::<Vec<_>>(), ["<sip:192.0.2.98;lr>"]);
}

#[test]
fn rfc3261_16_6_steps_2_and_6_a_uri_leaves_behind_what_may_not_stand_in_a_request() {
    let mut node = Node::new();
    // A strict router before us has put the target behind the routes, and a strict router follows.
    let target = "<sip:bob@203.0.113.7:5062;method=INVITE;ttl=1;ob?Route=%3Csip:x%3E>";
    let message = with(
        &bye(&format!("<sip:192.0.2.99;method=BYE;x?a=b>, {target}")),
        "BYE sip:bob@203.0.113.7:5062",
        "BYE sip:192.0.2.1:5060;lr",
    );
    let sent = node.udp(CALLER, &message);
    assert_eq!(sent[0].start(), "BYE sip:192.0.2.99;x SIP/2.0");
    assert_eq!(sent[0].fields("Route").collect::<Vec<_>>(), ["<sip:bob@203.0.113.7:5062;ob>"]);

    // A Contact may be registered with all of it, and is called without.
    node.register("bob", "sip:bob@203.0.113.7:5062;method=BYE;ob?Subject=x", CALLEE);
    let copy = node.udp(CALLER, &invite("bob")).remove(1);
    assert_eq!(copy.start(), "INVITE sip:bob@203.0.113.7:5062;ob SIP/2.0");
}

#[test]
fn rfc3261_16_11_an_ack_for_a_2xx_goes_on_without_state_and_its_retransmission_alike() {
    let mut node = Node::new();
    let ack = with(&with(&bye("<sip:192.0.2.1:5060;lr>"), "BYE sip", "ACK sip"), "2 BYE", "1 ACK");
    let sent = node.udp(CALLER, &ack);
    assert_eq!((sent.len(), sent[0].udp()), (1, Some(CALLEE.parse().unwrap())));
    assert_eq!(node.udp(CALLER, &ack)[0].text, sent[0].text);
    assert_eq!(node.shard.held_transactions(), 0);
}

#[test]
fn no_open_relay_without_a_dialog() {
    let mut node = Node::new();
    let message = with(&bye("<sip:192.0.2.1:5060;lr>, <sip:192.0.2.99;lr>"), ";tag=t", "");
    assert_eq!(node.udp(CALLER, &message)[0].status(), 403);
}

#[test]
fn foreign_domains_are_relayed_where_configured() {
    let mut node = Node::with(|s| {
        s.proxy.foreign =
            sipfed_proto::settings::Foreign::Relay(sipfed_proto::Transport::Udp, "192.0.2.200:5070".parse().unwrap());
    });
    let message = with(&invite("bob"), "INVITE sip:bob@fed.example", "INVITE sip:bob@elsewhere.example");
    let sent = node.udp(CALLER, &message);
    assert_eq!(sent[1].start(), "INVITE sip:bob@elsewhere.example SIP/2.0");
    assert_eq!(sent[1].udp(), Some("192.0.2.200:5070".parse().unwrap()));
}

#[test]
fn rfc3327_5_3_a_call_follows_the_path_of_its_binding() {
    let mut node = Node::new();
    let message = super::node::register("bob", "<sip:bob@10.0.0.1>", 1);
    node.udp(CALLEE, &and(&message, "Path: <sip:192.0.2.77;lr>, <sip:192.0.2.78;lr>"));
    let copy = node.udp(CALLER, &invite("bob")).remove(1);
    assert_eq!(copy.udp(), Some("192.0.2.77:5060".parse().unwrap()));
    assert_eq!(copy.field("Route"), Some("<sip:192.0.2.77;lr>,<sip:192.0.2.78;lr>"));
    assert_eq!(copy.start(), "INVITE sip:bob@10.0.0.1 SIP/2.0");
}

#[test]
fn a_phone_behind_a_nat_is_reached_where_it_registered_from() {
    let mut node = Node::new();
    let message = with(
        &super::node::register("bob", "<sip:bob@10.0.0.1>", 1),
        "198.51.100.9:5060;branch",
        "10.0.0.1:5060;rport;branch",
    );
    node.udp("203.0.113.7:31000", &message);
    let copy = node.udp(CALLER, &invite("bob")).remove(1);
    assert_eq!(
        (copy.udp(), copy.start()),
        (Some("203.0.113.7:31000".parse().unwrap()), "INVITE sip:bob@10.0.0.1 SIP/2.0")
    );
}

#[test]
fn a_phone_that_sends_from_another_port_than_it_listens_at_is_called_at_its_contact() {
    let mut node = Node::new();
    let message = super::node::register("bob", "<sip:bob@203.0.113.7:5062>", 1);
    let message = with(&message, "198.51.100.9:5060;branch", "203.0.113.7:5062;rport;branch");
    node.udp("203.0.113.7:31000", &message);
    assert_eq!(node.udp(CALLER, &invite("bob"))[1].udp(), Some(CALLEE.parse().unwrap()));
}

#[test]
fn a_tel_uri_is_a_user_of_the_first_domain() {
    let mut node = Node::new();
    node.register("+12015550123", "sip:bob@203.0.113.7:5062", CALLEE);
    let message = with(&invite("bob"), "INVITE sip:bob@fed.example", "INVITE tel:+1-201-555-0123");
    assert_eq!(node.udp(CALLER, &message)[1].udp(), Some(CALLEE.parse().unwrap()));
}
