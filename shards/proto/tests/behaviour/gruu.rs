//! RFC 5627: GRUUs.

use super::node::{Node, and, invite, register, with};

const PHONE: &str = "198.51.100.9:5060";

fn contact(n: u8) -> String {
    format!("<sip:a@198.51.100.{n}>;+sip.instance=\"<urn:uuid:{n}>\"")
}

fn gruus(node: &mut Node, n: u8, cseq: u32, call: &str) -> (String, String) {
    let message = and(&register("a", &contact(n), cseq), "Supported: gruu");
    let sent = node.udp(PHONE, &with(&message, "a-call", call)).remove(0);
    assert_eq!(sent.status(), 200, "{}", sent.text);
    let line = sent.fields("Contact").find(|c| c.contains(&format!("uuid:{n}>"))).unwrap().to_owned();
    let part = |name: &str| line.split(name).nth(1).unwrap().split('"').next().unwrap().to_owned();
    (part(";pub-gruu=\""), part(";temp-gruu=\""))
}

fn ring(node: &mut Node, uri: &str, cseq: u32) -> Vec<String> {
    let message = with(&invite("a"), "INVITE sip:a@fed.example", &format!("INVITE {uri}"));
    let message = with(&message, "CSeq: 1", &format!("CSeq: {cseq}"));
    let message = with(&message, "z9hG4bKcaller1", &format!("z9hG4bKcaller{cseq}"));
    let sent = node.udp("203.0.113.1:5060", &message);
    sent.iter().filter(|s| s.start() != "SIP/2.0 100 Trying").map(|s| s.start().to_owned()).collect()
}

#[test]
fn rfc5627_both_gruus_lead_to_their_instance_alone() {
    let mut node = Node::new();
    let (public, temporary) = gruus(&mut node, 1, 1, "c1");
    gruus(&mut node, 2, 2, "c2");
    assert_eq!(public, "sip:a@fed.example;gr=urn:uuid:1");
    assert!(temporary.starts_with("sip:tgruu.") && temporary.ends_with("@fed.example;gr"), "{temporary}");
    assert_eq!(ring(&mut node, "sip:a@fed.example", 10).len(), 2);
    assert_eq!(ring(&mut node, &public, 11), ["INVITE sip:a@198.51.100.1 SIP/2.0"]);
    assert_eq!(ring(&mut node, &temporary, 12), ["INVITE sip:a@198.51.100.1 SIP/2.0"]);
}

#[test]
fn rfc5627_4_2_a_temporary_gruu_ends_with_its_call_id_and_a_forged_one_leads_nowhere() {
    let mut node = Node::new();
    let (_, first) = gruus(&mut node, 1, 1, "c1");
    let (_, second) = gruus(&mut node, 1, 2, "c1");
    assert_ne!(first, second);
    assert_eq!(ring(&mut node, &first, 10), ["INVITE sip:a@198.51.100.1 SIP/2.0"]);
    node.pass(60_000);
    gruus(&mut node, 1, 1, "c2");
    assert_eq!(ring(&mut node, &first, 11), ["SIP/2.0 480 Temporarily Unavailable"]);
    let forged = first.replacen("tgruu.", "tgruu.A", 1);
    assert_eq!(ring(&mut node, &forged, 12), ["SIP/2.0 404 Not Found"]);
}

#[test]
fn rfc5627_5_3_none_for_who_does_not_ask_or_has_no_instance_or_where_switched_off() {
    let mut node = Node::new();
    let sent = node.udp(PHONE, &register("a", &contact(1), 1)).remove(0);
    assert!(!sent.text.contains("gruu"));
    let sent = node.udp(PHONE, &and(&register("b", "<sip:b@h>", 1), "Supported: gruu")).remove(0);
    assert!(!sent.text.contains("gruu"));
    let mut node = Node::with(|s| s.registrar.gruu = false);
    let sent = node.udp(PHONE, &and(&register("a", &contact(1), 1), "Supported: gruu")).remove(0);
    assert!(!sent.text.contains("gruu="));
}
