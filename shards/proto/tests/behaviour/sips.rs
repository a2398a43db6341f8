//! RFC 5630, RFC 3261 §16.6 and §26.2.2: sips URIs.

use super::node::{Node, Sent, and, invite, register, request, with};
use sipfed_proto::settings::{DirectorySettings, Foreign};
use sipfed_proto::{Destination, Ends, FlowToken, Listener, Settings, ShardIndex, Source, Transport};

const CALLER: &str = "198.51.100.9:5060";
const PHONE: &str = "203.0.113.7:40000";

fn flow(n: u32) -> FlowToken {
    FlowToken::new(ShardIndex(0), n, 1).over(Transport::Tls)
}

fn secured(change: impl FnOnce(&mut Settings)) -> Node {
    Node::with(|settings| {
        settings.listeners.push(Listener { transport: Transport::Tls, addr: "192.0.2.1:5061".parse().unwrap() });
        change(settings);
    })
}

fn tls(message: &str) -> String {
    with(message, "SIP/2.0/UDP", "SIP/2.0/TLS")
}

/// The same for the sips URI of its Request-URI.
fn sips(message: &str) -> String {
    message.replacen(" sip:", " sips:", 1)
}

fn register_sips(node: &mut Node, flow: FlowToken, contact: &str) -> Sent {
    node.tls(flow, PHONE, &tls(&sips(&register("bob", contact, 1)))).remove(0)
}

/// What becomes of a call from over TLS.
fn call(node: &mut Node, message: &str) -> Vec<Sent> {
    node.tls(flow(9), CALLER, &tls(message))
}

fn over_tls(remote: &str) -> Destination {
    Destination::Connect(Ends::new(Transport::Tls, remote.parse().unwrap(), Some("192.0.2.1".parse().unwrap())))
}

#[test]
fn rfc5630_5_2_both_schemes_name_one_user() {
    let mut node = secured(|_| {});
    assert_eq!(register_sips(&mut node, flow(1), "<sips:bob@203.0.113.7:40000>").status(), 200);
    let copy = call(&mut node, &sips(&invite("bob"))).remove(1);
    assert_eq!(copy.start(), "INVITE sips:bob@203.0.113.7:40000 SIP/2.0");
    assert_eq!(copy.to, Destination::Flow { flow: flow(1), fallback: None });
    assert_eq!(node.shard.bindings(), 1);
}

#[test]
fn rfc5630_5_2_a_sips_contact_is_bound_only_where_everything_is_sips() {
    let contact = "<sips:bob@203.0.113.7>";
    let good = sips(&register("bob", contact, 1));
    let path = |uri: &str| and(&and(&good, &format!("Path: <{uri};lr>")), "Supported: path");
    for (message, what) in [
        (register("bob", contact, 1), "the Request-URI is none"),
        (with(&good, contact, "<sips:bob@203.0.113.7>, <sip:bob@203.0.113.8>"), "another one is none"),
        (path("sip:203.0.113.9"), "the Path is not of such alone"),
    ] {
        let mut node = secured(|_| {});
        let sent = node.tls(flow(1), PHONE, &tls(&message)).remove(0);
        assert!(sent.start().starts_with("SIP/2.0 400 ") && sent.start().contains(what), "{}", sent.start());
        assert_eq!(node.shard.bindings(), 0);
    }
    for message in [good.clone(), path("sips:203.0.113.9"), with(&good, "To: <sip:", "To: <sips:")] {
        assert_eq!(secured(|_| {}).tls(flow(1), PHONE, &tls(&message)).remove(0).status(), 200, "{message}");
    }
    // Nothing leads over TLS to who has not come over it.
    let mut node = secured(|_| {});
    assert_eq!(node.udp(CALLER, &good).remove(0).status(), 400);
    let tcp = with(&good, "SIP/2.0/UDP", "SIP/2.0/TCP");
    let plain = FlowToken::new(ShardIndex(0), 4, 1);
    assert_eq!(node.tcp(plain, PHONE, &tcp).remove(0).status(), 400);
    assert_eq!(Node::new().udp(CALLER, &good).remove(0).status(), 416, "no TLS here at all");
}

#[test]
fn rfc5630_5_3_what_is_for_sips_goes_to_sips_contacts_alone_else_480_with_warning_380() {
    let mut node = secured(|_| {});
    // A phone that came over TLS and has registered a sip Contact has not agreed to more than that.
    let sent = node.tls(flow(1), PHONE, &tls(&register("bob", "<sip:bob@203.0.113.7;transport=tls>", 1))).remove(0);
    assert_eq!(sent.status(), 200);
    let refused = call(&mut node, &sips(&invite("bob"))).pop().unwrap();
    assert_eq!(refused.status(), 480);
    assert_eq!(refused.field("Warning"), Some("380 sipfed \"SIPS Not Allowed\""));
    // Beside one at a sips URI it is passed over.
    let other = with(&sips(&register("bob", "<sips:bob@203.0.113.8>", 1)), "bob-call", "other-call");
    assert_eq!(node.tls(flow(2), "203.0.113.8:40000", &tls(&other)).remove(0).status(), 200);
    let again = with(&sips(&invite("bob")), "z9hG4bKcaller1INVITE", "z9hG4bKagain");
    let sent = call(&mut node, &again);
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert_eq!(sent[1].to, Destination::Flow { flow: flow(2), fallback: None });
    // Nobody at all is 404 as ever, and a connection that is gone is no matter of schemes.
    assert_eq!(call(&mut node, &sips(&invite("nobody"))).pop().unwrap().status(), 404);
    node.close(flow(2));
    let last = with(&sips(&invite("bob")), "z9hG4bKcaller1INVITE", "z9hG4bKlast");
    assert_eq!(call(&mut node, &last).pop().unwrap().field("Warning"), Some("380 sipfed \"SIPS Not Allowed\""));
}

#[test]
fn rfc5630_5_3_what_is_for_sip_goes_to_a_sips_contact_as_sip_and_over_tls() {
    let mut node = secured(|_| {});
    register_sips(&mut node, flow(1), "<sips:bob@203.0.113.7:40000;x=y>");
    let copy = node.udp(CALLER, &invite("bob")).remove(1);
    assert_eq!(copy.start(), "INVITE sip:bob@203.0.113.7:40000;x=y SIP/2.0");
    assert_eq!(copy.to, Destination::Flow { flow: flow(1), fallback: None });
    // RFC 3261 §16.6 step 4: no side of it is sips.
    assert!(copy.fields("Record-Route").all(|route| route.starts_with("<sip:")), "{}", copy.text);
}

#[test]
fn rfc3261_16_6_4_record_route_is_sips_and_the_dialog_follows_it_both_ways() {
    let mut node = secured(|_| {});
    register_sips(&mut node, flow(1), "<sips:bob@203.0.113.7:40000>");
    let copy = call(&mut node, &sips(&invite("bob"))).remove(1);
    let routes: Vec<String> = copy.fields("Record-Route").map(str::to_owned).collect();
    assert_eq!(routes.len(), 2);
    for route in &routes {
        assert!(route.starts_with("<sips:") && route.ends_with("@192.0.2.1:5061;lr>"), "{route}");
    }
    let bye = |uri: &str, routes: String| {
        let bye = with(&request("BYE", uri, "caller", 2), "To: <sip:caller@fed.example>", "To: <sip:x@y>;tag=t");
        tls(&and(&bye, &format!("Route: {routes}")))
    };
    let to_bob = bye("sips:bob@203.0.113.7:40000", format!("{}, {}", routes[1], routes[0]));
    let sent = node.tls(flow(9), CALLER, &to_bob).remove(0);
    assert_eq!((sent.to, sent.fields("Route").count()), (Destination::Flow { flow: flow(1), fallback: None }, 0));
    let to_caller = with(&bye("sips:c@198.51.100.9", format!("{}, {}", routes[0], routes[1])), "caller2BYE", "back");
    let sent = node.tls(flow(1), PHONE, &to_caller).remove(0);
    assert_eq!(sent.to, Destination::Flow { flow: flow(9), fallback: None });
}

#[test]
fn rfc3261_26_2_2_a_request_for_sips_leaves_over_tls_or_not_at_all() {
    let bye = |uri: &str, route: &str| {
        let bye = with(&request("BYE", uri, "caller", 2), "To: <sip:caller@fed.example>", "To: <sip:x@y>;tag=t");
        if route.is_empty() { bye } else { and(&bye, &format!("Route: {route}")) }
    };
    for (uri, route, to) in [
        ("sips:bob@203.0.113.9", "", "203.0.113.9:5061"),
        ("sips:bob@203.0.113.9:5070;transport=tcp", "", "203.0.113.9:5070"),
        ("sips:bob@10.0.0.1", "<sip:203.0.113.9;lr>", "203.0.113.9:5061"),
        ("sip:bob@10.0.0.1", "<sips:203.0.113.9;lr>", "203.0.113.9:5061"),
    ] {
        let sent = call(&mut secured(|_| {}), &bye(uri, route)).remove(0);
        assert_eq!(sent.to, over_tls(to), "{uri} {route}");
    }
    for (uri, route) in
        [("sips:bob@203.0.113.9;transport=udp", ""), ("sips:bob@10.0.0.1", "<sip:203.0.113.9;transport=udp;lr>")]
    {
        assert_eq!(call(&mut secured(|_| {}), &bye(uri, route)).remove(0).status(), 416, "{uri} {route}");
    }
    // What came over UDP has broken the promise already.
    assert_eq!(secured(|_| {}).udp(CALLER, &bye("sips:bob@203.0.113.9", "")).remove(0).status(), 400);
}

#[test]
fn a_route_of_ours_without_tls_takes_nothing_that_is_for_sips() {
    let mut node = secured(|_| {});
    let plain = FlowToken::new(ShardIndex(0), 4, 1);
    let contact = "<sip:bob@203.0.113.7;transport=tcp>";
    node.tcp(plain, PHONE, &with(&register("bob", contact, 1), "SIP/2.0/UDP", "SIP/2.0/TCP"));
    let copy = node.udp(CALLER, &invite("bob")).remove(1);
    let route = copy.field("Record-Route").unwrap();
    let bye = with(
        &request("BYE", "sips:bob@203.0.113.7", "caller", 2),
        "To: <sip:caller@fed.example>",
        "To: <sip:x@y>;tag=t",
    );
    let refused = call(&mut node, &and(&bye, &format!("Route: {route}"))).remove(0);
    assert_eq!((refused.status(), refused.field("Warning")), (480, Some("380 sipfed \"SIPS Not Allowed\"")));
}

#[test]
fn other_domains_are_relayed_to_over_tls_or_refused() {
    let foreign = sips(&with(&invite("bob"), "INVITE sip:bob@fed.example", "INVITE sip:bob@elsewhere.example"));
    for (transport, port) in [(Transport::Tls, 5061), (Transport::Tcp, 5060), (Transport::Udp, 5060)] {
        let mut node = secured(|settings| {
            settings.proxy.foreign = Foreign::Relay(transport, ([203, 0, 113, 9], port).into());
        });
        let sent = call(&mut node, &foreign).pop().unwrap();
        if transport == Transport::Tls {
            assert_eq!(sent.to, over_tls("203.0.113.9:5061"));
            assert!(sent.field("Record-Route").unwrap().starts_with("<sips:192.0.2.1:5061;lr>"), "{}", sent.text);
        } else {
            assert_eq!((sent.status(), sent.field("Warning")), (480, Some("380 sipfed \"SIPS Not Allowed\"")));
        }
    }
}

#[test]
fn other_homes_are_not_asked_for_who_is_called_at_a_sips_uri() {
    let mut node = secured(|settings| {
        let home = "192.0.2.1".to_owned();
        settings.directory = Some(DirectorySettings { home, ..DirectorySettings::default() });
    });
    let refused = call(&mut node, &sips(&invite("bob"))).pop().unwrap();
    assert_eq!((refused.status(), refused.field("Warning")), (480, Some("380 sipfed \"SIPS Not Allowed\"")));
    register_sips(&mut node, flow(1), "<sips:bob@203.0.113.7:40000>");
    let again = with(&sips(&invite("bob")), "z9hG4bKcaller1INVITE", "z9hG4bKagain");
    let sent = call(&mut node, &again);
    assert_eq!(sent[1].to, Destination::Flow { flow: flow(1), fallback: None });
}

#[test]
fn rfc5630_5_2_1_a_gruu_has_the_scheme_of_its_contact() {
    for scheme in ["sip", "sips"] {
        let contact = format!("<{scheme}:bob@203.0.113.7>;+sip.instance=\"<urn:uuid:1>\"");
        let message = and(&sips(&register("bob", &contact, 1)), "Supported: gruu");
        let sent = secured(|_| {}).tls(flow(1), PHONE, &tls(&message)).remove(0);
        let told = sent.field("Contact").unwrap();
        assert!(told.contains(&format!("pub-gruu=\"{scheme}:bob@fed.example")), "{told}");
        assert!(told.contains(&format!("temp-gruu=\"{scheme}:tgruu.")), "{told}");
    }
}

#[test]
fn explain_says_that_a_contact_is_not_secure_enough() {
    let mut node = secured(|_| {});
    node.register("bob", "sip:bob@198.51.100.9", CALLER);
    let (remote, local) = (CALLER.parse().unwrap(), "192.0.2.1:5061".parse().unwrap());
    let source = Source { transport: Transport::Tls, remote, local, flow: flow(9) };
    let told = node.shard.explain(tls(&sips(&invite("bob"))).as_bytes(), &source, node.now).unwrap();
    assert!(told.contacts[0].branch.as_ref().unwrap_err().contains("RFC 5630"), "{told:?}");
}
