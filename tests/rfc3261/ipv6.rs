//! RFC 5118: IPv6 in SIP.

use crate::node::Node;

#[test]
fn rfc5118_4_1_ipv6_good() {
    let mut node = Node::new();
    node.take("rfc5118/ipv6-good").is_answered(200, |_| {});
    let contacts = node.contacts("sip:user@example.com");
    assert!(contacts[0].starts_with("<sip:caller@[2001:db8::1]>"), "{contacts:?}");
}

#[test]
fn rfc5118_4_2_ipv6_bad() {
    let mut node = Node::new();
    node.take("rfc5118/ipv6-bad").is_refused(400, "Request-URI");
    assert_eq!(node.bindings(), 0);
}

/// An address that is not ours: nothing is bound, and nothing relayed.
#[test]
fn rfc5118_4_3_port_ambiguous() {
    let mut node = Node::new();
    node.take("rfc5118/port-ambiguous").is_refused(403, "domain");
    assert_eq!(node.bindings(), 0);
}

#[test]
fn rfc5118_4_4_port_unambiguous() {
    Node::new().take("rfc5118/port-unambiguous").is_answered(200, |_| {});
}

/// A `received` with brackets is no reason to refuse; that the node is in no dialog is.
#[test]
fn rfc5118_4_5_via_received_param_with_delim() {
    let outcome = Node::new().take("rfc5118/via-received-param-with-delim");
    let status = &outcome.sent[0].1[..12];
    assert!([b"SIP/2.0 481 ", b"SIP/2.0 405 "].iter().any(|it| status == *it), "{}", status.escape_ascii());
}

#[test]
fn rfc5118_4_5_via_received_param_no_delim() {
    Node::new().take("rfc5118/via-received-param-no-delim").is_answered(200, |reply| {
        assert_eq!(reply.top_via().unwrap().branch(), Some(b"z9hG4bKas3".as_slice()));
    });
}

#[test]
fn rfc5118_4_6_ipv6_in_sdp() {
    Node::with_phone_at(&["sip:user@[2001:db8::10]"]).take("rfc5118/ipv6-in-sdp").is_forwarded(|_| {});
}

#[test]
fn rfc5118_4_7_mult_ip_in_header() {
    Node::with_phone_at(&["sip:user@host.example.net"]).take("rfc5118/mult-ip-in-header").is_forwarded(|_| {});
}

#[test]
fn rfc5118_4_8_mult_ip_in_sdp() {
    Node::with_phone_at(&["sip:user@[2001:db8::10]"]).take("rfc5118/mult-ip-in-sdp").is_forwarded(|_| {});
}

#[test]
fn rfc5118_4_9_ipv4_mapped_ipv6() {
    Node::with_phone_at(&["sip:user@example.com"]).take("rfc5118/ipv4-mapped-ipv6").is_forwarded(|_| {});
}

/// Three colons are two: the same subscriber.
#[test]
fn rfc5118_4_10_ipv6_bug_abnf_3_colons() {
    let mut node = Node::with_phone_at(&["sip:user@[2001:db8::192.0.2.1]"]);
    node.take("rfc5118/ipv6-bug-abnf-3-colons").is_forwarded(|_| {});
}

#[test]
fn rfc5118_4_10_ipv6_correct_abnf_2_colons() {
    let mut node = Node::with_phone_at(&["sip:user@[2001:db8::192.0.2.1]"]);
    node.take("rfc5118/ipv6-correct-abnf-2-colons").is_forwarded(|_| {});
}
