//! RFC 3261 §10.3: the registrar.

use super::node::{Node, Sent, and, register, request, with};
use sipfed_proto::settings::Overflow;

const PHONE: &str = "198.51.100.9:5060";

fn one(mut sent: Vec<Sent>) -> Sent {
    assert_eq!(sent.len(), 1, "{sent:?}");
    sent.remove(0)
}

fn contacts(node: &mut Node, user: &str) -> Vec<String> {
    let sent = one(node.udp(PHONE, &register(user, "", 9000)));
    assert_eq!(sent.status(), 200);
    sent.fields("Contact").map(str::to_owned).collect()
}

#[test]
fn rfc3261_10_3_step_8_200_lists_all_contacts_with_expires_and_has_date() {
    let mut node = Node::new();
    let sent = one(node.udp(PHONE, &register("a", "<sip:a@198.51.100.9>;q=0.5, <sip:a@198.51.100.8>", 1)));
    assert_eq!(sent.status(), 200, "{}", sent.text);
    let all: Vec<&str> = sent.fields("Contact").collect();
    assert_eq!(all, ["<sip:a@198.51.100.9>;q=0.500;expires=3600", "<sip:a@198.51.100.8>;expires=3600"]);
    assert_eq!(sent.field("Date"), Some("Tue, 14 Nov 2023 22:13:20 GMT"));
    assert!(sent.field("To").unwrap().contains(";tag="));
}

#[test]
fn rfc3261_10_2_3_a_fetch_changes_nothing_and_shows_what_is_left() {
    let mut node = Node::new();
    node.register("a", "sip:a@198.51.100.9", PHONE);
    node.pass(600_000);
    assert_eq!(contacts(&mut node, "a"), ["<sip:a@198.51.100.9>;expires=3000"]);
}

#[test]
fn rfc3261_10_3_a_binding_ends_with_its_time() {
    let mut node = Node::new();
    node.udp(PHONE, &register("a", "<sip:a@198.51.100.9>;expires=60", 1));
    node.pass(59_000);
    assert_eq!(contacts(&mut node, "a").len(), 1);
    node.pass(1_000);
    assert_eq!(contacts(&mut node, "a").len(), 0);
    assert_eq!((node.shard.bindings(), node.shard.counters().bindings_expired), (0, 1));
}

#[test]
fn rfc3261_10_3_step_1_another_domain_is_not_ours_to_register() {
    let mut node = Node::new();
    let sent =
        one(node.udp(PHONE, &with(&register("a", "<sip:a@h>", 1), "sip:fed.example SIP", "sip:other.example SIP")));
    assert_eq!(sent.status(), 403);
}

#[test]
fn rfc3261_10_3_step_2_unknown_requirements_are_420() {
    let mut node = Node::new();
    let sent = one(node.udp(PHONE, &and(&register("a", "<sip:a@h>", 1), "Require: path, x1, x2")));
    assert_eq!((sent.status(), sent.field("Unsupported")), (420, Some("x1, x2")));
    assert_eq!(node.shard.bindings(), 0);
}

#[test]
fn rfc3261_10_3_step_5_an_aor_of_another_domain_is_404() {
    let mut node = Node::new();
    let message = with(&register("a", "<sip:a@h>", 1), "To: <sip:a@fed.example>", "To: <sip:a@other.example>");
    assert_eq!(one(node.udp(PHONE, &message)).status(), 404);
    let message = with(&register("a", "<sip:a@h>", 1), "To: <sip:a@fed.example>", "To: <sip:fed.example>");
    assert_eq!(one(node.udp(PHONE, &message)).status(), 404);
    let message = with(&register("a", "<sip:a@h>", 1), "To: <sip:a@fed.example>", "To: <tel:+1>");
    assert_eq!(one(node.udp(PHONE, &message)).status(), 400);
}

#[test]
fn rfc3261_10_3_step_5_spellings_of_one_aor_are_one() {
    let mut node = Node::new();
    node.udp(PHONE, &register("a", "<sip:a@198.51.100.9>", 1));
    let other =
        with(&register("a", "<sip:a@198.51.100.8>", 2), "To: <sip:a@fed.example>", "To: <sip:%61@FED.example;x=y>");
    assert_eq!(one(node.udp(PHONE, &other)).fields("Contact").count(), 2);
}

#[test]
fn rfc3261_10_3_step_6_star_removes_all_and_only_with_expires_0() {
    let mut node = Node::new();
    node.udp(PHONE, &register("a", "<sip:a@198.51.100.9>, <sip:a@198.51.100.8>", 1));
    assert_eq!(one(node.udp(PHONE, &register("a", "*", 2))).status(), 400);
    assert_eq!(one(node.udp(PHONE, &and(&register("a", "*", 2), "Expires: 60"))).status(), 400);
    assert_eq!(one(node.udp(PHONE, &and(&register("a", "*, <sip:a@h>", 2), "Expires: 0"))).status(), 400);
    assert_eq!(
        one(node.udp(PHONE, &and(&and(&register("a", "*", 2), "Contact: <sip:x@y>"), "Expires: 0"))).status(),
        400
    );
    assert_eq!(contacts(&mut node, "a").len(), 2);
    let sent = one(node.udp(PHONE, &and(&register("a", "*", 3), "Expires: 0")));
    assert_eq!((sent.status(), sent.fields("Contact").count()), (200, 0));
    assert_eq!(node.shard.counters().bindings_removed, 2);
}

#[test]
fn rfc3261_10_3_step_6_star_obeys_call_id_and_cseq() {
    let mut node = Node::new();
    node.udp(PHONE, &register("a", "<sip:a@198.51.100.9>", 5));
    let stale = and(&register("a", "*", 5), "Expires: 0");
    let stale = with(&stale, "z9hG4bKa5", "z9hG4bKother");
    assert_eq!(one(node.udp(PHONE, &stale)).status(), 500);
    assert_eq!(contacts(&mut node, "a").len(), 1);
    let foreign = with(&stale, "Call-ID: a-call", "Call-ID: b-call");
    assert_eq!(one(node.udp(PHONE, &foreign)).fields("Contact").count(), 0);
}

#[test]
fn rfc3261_10_3_step_7_expires_precedence_and_bounds() {
    let mut node = Node::new();
    let expires = |node: &mut Node, contact: &str, field: Option<&str>| {
        let message = register("a", contact, 1 + node.shard.counters().received as u32);
        let message = field.map_or(message.clone(), |field| and(&message, field));
        let sent = one(node.udp(PHONE, &message));
        sent.field("Contact").map(|c| c.rsplit("expires=").next().unwrap().to_owned()).unwrap_or_default()
    };
    assert_eq!(expires(&mut node, "<sip:a@h>;expires=100", Some("Expires: 200")), "100");
    assert_eq!(expires(&mut node, "<sip:a@h>", Some("Expires: 200")), "200");
    assert_eq!(expires(&mut node, "<sip:a@h>", None), "3600");
    // Malformed is as if absent; too large is as much as there is.
    assert_eq!(expires(&mut node, "<sip:a@h>;expires=soon", None), "3600");
    assert_eq!(expires(&mut node, "<sip:a@h>;expires=99999999999999999999", None), "7200");
    assert_eq!(expires(&mut node, "<sip:a@h>;expires=0", None), "");
}

#[test]
fn rfc3261_10_3_step_7_too_brief_is_423_with_min_expires() {
    let mut node = Node::new();
    let sent = one(node.udp(PHONE, &register("a", "<sip:a@h>;expires=59", 1)));
    assert_eq!((sent.status(), sent.field("Min-Expires")), (423, Some("60")));
    assert_eq!(node.shard.bindings(), 0);
}

#[test]
fn rfc3261_10_3_step_7_all_or_nothing() {
    let mut node = Node::new();
    node.udp(PHONE, &register("a", "<sip:old@h>", 1));
    for bad in [
        "<sip:new@h>, <sip:x@h>;expires=5",
        "<sip:new@h>, <sip:x@h",
        "<sip:new@h>, <sip:old@h>;expires=0, <sip:x@h>;q=7",
        "<sip:new@h>, <sip:224.0.0.1>",
        "<sip:new@h>, <sip:new@h>",
    ] {
        let sent = one(node.udp(PHONE, &register("a", bad, 2)));
        assert!(matches!(sent.status(), 400 | 403 | 423), "{bad}: {}", sent.start());
        assert_eq!(contacts(&mut node, "a"), ["<sip:old@h>;expires=3600"], "{bad}");
    }
}

#[test]
fn rfc3261_10_3_step_7_bindings_are_found_by_uri_equality() {
    let mut node = Node::new();
    node.udp(PHONE, &register("a", "<sip:%61@H;transport=UDP>", 1));
    let sent = one(node.udp(PHONE, &register("a", "<sip:a@h;Transport=udp>", 2)));
    assert_eq!(sent.fields("Contact").collect::<Vec<_>>(), ["<sip:a@h;Transport=udp>;expires=3600"]);
    let sent = one(node.udp(PHONE, &register("a", "<sip:a@h>", 3)));
    assert_eq!(sent.fields("Contact").count(), 2, "transport in one only is another URI");
}

#[test]
fn rfc5626_6_instance_and_reg_id_name_a_binding_whatever_its_uri() {
    let mut node = Node::new();
    let contact = |uri: &str, reg_id: &str| format!("<{uri}>;+sip.instance=\"<urn:uuid:1>\"{reg_id}");
    node.udp(PHONE, &register("a", &contact("sip:a@1.1.1.1", ";reg-id=1"), 1));
    let sent = one(node.udp(PHONE, &register("a", &contact("sip:a@2.2.2.2", ";reg-id=1"), 2)));
    assert_eq!(sent.fields("Contact").count(), 1);
    assert!(sent.field("Contact").unwrap().contains("2.2.2.2"));
    let sent = one(node.udp(PHONE, &register("a", &contact("sip:a@2.2.2.2", ";reg-id=2"), 3)));
    assert_eq!(sent.fields("Contact").count(), 2);
    assert_eq!(one(node.udp(PHONE, &register("a", &contact("sip:a@2.2.2.2", ";reg-id=0"), 4))).status(), 400);
}

#[test]
fn rfc3261_10_3_max_contacts_refuses_or_evicts_the_oldest() {
    let mut node = Node::with(|s| s.registrar.max_contacts = 2);
    node.udp(PHONE, &register("a", "<sip:1@h>, <sip:2@h>", 1));
    assert_eq!(one(node.udp(PHONE, &register("a", "<sip:3@h>", 2))).status(), 403);
    let sent = one(node.udp(PHONE, &register("a", "<sip:3@h>, <sip:1@h>;expires=0", 3)));
    assert_eq!(sent.fields("Contact").count(), 2, "one goes, one comes");

    let mut node = Node::with(|s| {
        s.registrar.max_contacts = 2;
        s.registrar.overflow = Overflow::EvictOldest;
    });
    node.udp(PHONE, &register("a", "<sip:1@h>", 1));
    node.pass(5000);
    node.udp(PHONE, &register("a", "<sip:2@h>", 2));
    node.pass(5000);
    node.udp(PHONE, &register("a", "<sip:1@h>", 3));
    node.pass(5000);
    let sent = one(node.udp(PHONE, &register("a", "<sip:3@h>", 4)));
    let left: Vec<&str> = sent.fields("Contact").map(|c| &c[..9]).collect();
    assert_eq!(left, ["<sip:1@h>", "<sip:3@h>"]);
    assert_eq!(node.shard.counters().bindings_evicted, 1);
}

#[test]
fn rfc3327_5_3_path_is_kept_and_shown_to_who_supports_it() {
    let mut node = Node::new();
    let message = and(&register("a", "<sip:a@h>", 1), "Path: <sip:192.0.2.77;lr>,<sip:192.0.2.78;lr>");
    assert_eq!(one(node.udp(PHONE, &message)).field("Path"), None);
    let message = and(&with(&message, "CSeq: 1", "CSeq: 2"), "Supported: path");
    let sent = one(node.udp(PHONE, &message));
    assert_eq!(sent.field("Path"), Some("<sip:192.0.2.77;lr>,<sip:192.0.2.78;lr>"));
    let bad = and(&register("a", "<sip:a@h>", 3), "Path: sip:x");
    assert_eq!(one(node.udp(PHONE, &bad)).status(), 400);
}

#[test]
fn rfc3608_service_route_is_handed_out() {
    let mut node = Node::with(|s| s.registrar.service_route = vec!["sip:edge.fed.example;lr".into()]);
    let sent = one(node.udp(PHONE, &register("a", "<sip:a@h>", 1)));
    assert_eq!(sent.field("Service-Route"), Some("<sip:edge.fed.example;lr>"));
}

#[test]
fn rfc3581_4_received_and_rport() {
    let mut node = Node::new();
    let message = with(&register("a", "<sip:a@h>", 1), ";branch", ";rport;branch");
    let sent = one(node.udp("203.0.113.5:40000", &message));
    assert_eq!(sent.udp(), Some("203.0.113.5:40000".parse().unwrap()));
    let via = sent.field("Via").unwrap();
    assert!(via.contains(";rport=40000") && via.ends_with(";received=203.0.113.5"), "{via}");
    // RFC 3261 §18.2.2: without rport the port of sent-by.
    let sent = one(node.udp("203.0.113.5:40000", &register("a", "<sip:a@h>", 2)));
    assert_eq!(sent.udp(), Some("203.0.113.5:5060".parse().unwrap()));
    assert!(sent.field("Via").unwrap().ends_with(";received=203.0.113.5"));
    let sent = one(node.udp(PHONE, &register("a", "<sip:a@h>", 3)));
    assert!(!sent.field("Via").unwrap().contains("received"));
}

#[test]
fn jitter_shortens_and_a_retransmission_is_granted_the_same() {
    let mut node = Node::with(|s| s.registrar.expires_jitter_percent = 50);
    let mut granted = std::collections::BTreeSet::new();
    for cseq in 1..40 {
        let sent = one(node.udp(PHONE, &register("a", "<sip:a@h>;expires=1000", cseq)));
        let again = one(node.udp(PHONE, &register("a", "<sip:a@h>;expires=1000", cseq)));
        assert_eq!(sent.text, again.text);
        let s: u32 = sent.field("Contact").unwrap().rsplit('=').next().unwrap().parse().unwrap();
        assert!((500..=1000).contains(&s));
        granted.insert(s);
    }
    assert!(granted.len() > 20);
}

#[test]
fn options_to_the_node_itself_and_methods_it_does_not_have() {
    let mut node = Node::new();
    let sent = one(node.udp(PHONE, &request("OPTIONS", "sip:fed.example", "a", 1)));
    assert_eq!((sent.status(), sent.field("Allow")), (200, Some("REGISTER, OPTIONS")));
    let sent = one(node.udp(PHONE, &request("MESSAGE", "sip:fed.example", "a", 2)));
    assert_eq!((sent.status(), sent.field("Allow")), (405, Some("REGISTER, OPTIONS")));
}

#[test]
fn rfc3261_8_1_2_a_phone_whose_outbound_proxy_is_the_node_registers_by_a_route() {
    let mut node = Node::new();
    for (cseq, route) in
        ["<sip:192.0.2.1;lr>", "<sip:fed.example;transport=tcp;lr>, <sip:192.0.2.1;lr>"].iter().enumerate()
    {
        for again in 1..3 {
            let message = register("bob", "<sip:bob@198.51.100.9:5060>", 2 * cseq as u32 + again);
            let sent = node.udp("198.51.100.9:5060", &and(&message, &format!("Route: {route}"))).remove(0);
            assert_eq!((sent.status(), node.shard.bindings()), (200, 1), "{route}: {}", sent.text);
        }
    }
    // One that leads to another node first is not answered here.
    let message =
        and(&register("carol", "<sip:carol@198.51.100.9>", 1), "Route: <sip:192.0.2.1;lr>, <sip:192.0.2.9;lr>");
    let sent = node.udp("198.51.100.9:5060", &message).remove(0);
    assert_eq!((sent.status(), node.shard.bindings()), (403, 1), "{}", sent.text);
}
