//! What an operator is told of a request that nobody has sent.

use super::node::{NODE, Node, and, invite, register, request, with};
use sipfed_proto::explain::{Explanation, Unexplained};
use sipfed_proto::settings::{DirectorySettings, Matching, Pattern, Rule, Settings, Then, When};
use sipfed_proto::{FlowToken, Source, Transport};
use sipfed_sip::Method;

fn source(from: &str) -> Source {
    let (remote, local) = (from.parse().unwrap(), NODE.parse().unwrap());
    Source { transport: Transport::Udp, remote, local, flow: FlowToken::NONE }
}

pub(super) fn explain(node: &mut Node, from: &str, text: &str) -> Explanation {
    let before = (node.shard.counters(), node.shard.bindings());
    let explanation = node.shard.explain(text.as_bytes(), &source(from), node.now).unwrap();
    assert_eq!((node.shard.counters(), node.shard.bindings()), before, "nothing is changed by it");
    assert!(node.shard.next_question().is_none());
    explanation
}

fn node() -> Node {
    let rule = |name: &str, when, then| Rule { name: name.to_owned(), when, then };
    let calls = When { methods: Method::Invite.bit(), ..When::default() };
    Node::with(|settings: &mut Settings| {
        settings.nat.ping.interval_s = 30;
        settings.directory = Some(DirectorySettings {
            home: "192.0.2.1".to_owned(),
            peers: vec!["192.0.2.2".to_owned()],
            ..DirectorySettings::default()
        });
        settings.policy = vec![
            rule("snom", When { user_agent: Some(Pattern::new("snom*")), ..When::default() }, Then::default()),
            rule("calls", calls, Then { contact_agent: Some(Pattern::new("*")), is_last: true, ..Then::default() }),
            rule(
                "bad",
                When { user_agent: Some(Pattern::new("bad*")), ..When::default() },
                Then { refuse: Some((403, "No".to_owned())), ..Then::default() },
            ),
        ];
    })
}

#[test]
fn a_registration_is_explained_with_rules_and_signs_of_a_nat() {
    let mut node = node();
    let message = and(&register("a", "<sip:a@10.0.0.7>, <sip:a@10.0.0.8>", 1), "User-Agent: snom/1");
    let told = explain(&mut node, "203.0.113.5:1024", &message);
    assert_eq!((told.method.as_str(), told.aor.as_deref()), ("REGISTER", Some("a@fed.example")));
    let rules: Vec<(&str, bool)> = told.rules.iter().map(|(name, held)| (name.as_str(), *held)).collect();
    assert_eq!(rules, [("snom", true), ("calls", false), ("bad", false)]);
    let counting: Vec<&str> = told.signs.iter().filter(|(_, counts)| *counts).map(|(sign, _)| *sign).collect();
    assert_eq!(counting, ["diff-ip-src-via"]);
    assert!(told.signs.contains(&("private-contact", false)));
    assert_eq!(
        told.outcome,
        "accepted: 2 bound, 0 refreshed, 0 removed; reached where it was seen, pinged every 30 s with requests"
    );
    let told = explain(&mut node, "198.51.100.9:5060", &and(&register("a", "<sip:a@h>", 1), "User-Agent: bad"));
    assert_eq!(told.outcome, "refused with 403 No");
    let told = explain(&mut node, "198.51.100.9:5060", &register("a", "<sip:a@h>;expires=1", 1));
    assert!(told.outcome.starts_with("refused with 423 "), "{}", told.outcome);
}

#[test]
fn it_is_told_what_a_contact_is_matched_by() {
    for (matching, told) in [
        (Matching::Contact, "not pinged"),
        (Matching::ContactAndCallId, "not pinged; matched by Contact and Call-ID"),
        (Matching::Parameter("rinstance".to_owned()), "not pinged; matched by rinstance of the Contact"),
    ] {
        let then = Then { matching: Some(matching), ..Then::default() };
        let rule = Rule { name: "match".to_owned(), when: When::default(), then };
        let mut node = Node::with(|settings| settings.policy = vec![rule]);
        let message = register("a", "<sip:a@198.51.100.9;rinstance=1>", 1);
        let outcome = explain(&mut node, "198.51.100.9:5060", &message).outcome;
        assert!(outcome.ends_with(told), "{outcome}");
    }
}

#[test]
fn a_call_is_explained_contact_by_contact_and_so_is_where_else_it_goes() {
    let mut node = node();
    node.register("a", "sip:a@198.51.100.9", "198.51.100.9:5060");
    let deaf = with(&register("a", "<sip:a@198.51.100.8>;methods=\"OPTIONS\"", 2), "a-call", "b-call");
    node.udp("198.51.100.8:5060", &deaf);
    let told = explain(&mut node, "203.0.113.9:5060", &invite("a"));
    let branches: Vec<_> = told.contacts.iter().map(|contact| (contact.uri.as_str(), contact.branch.clone())).collect();
    assert_eq!(
        branches,
        [
            ("sip:a@198.51.100.9", Ok("udp:198.51.100.9:5060".to_owned())),
            ("sip:a@198.51.100.8", Err("it does not take the method")),
        ]
    );
    assert_eq!((told.elsewhere, told.outcome.as_str()), (Ok(()), "branches: 1, and those to other homes"));
    assert_eq!(told.rules.len(), 2, "nothing behind the last was looked at");
    let told = explain(&mut node, "192.0.2.2:5060", &invite("a"));
    assert!(told.is_from_cluster);
    assert_eq!(told.elsewhere, Err("another node has sent it, which has asked"));
    let told = explain(&mut node, "192.0.2.2:5060", &invite("nobody"));
    assert_eq!(told.outcome, "no branch: nobody can be reached");
    let foreign = request("INVITE", "sip:x@other.example", "caller", 1);
    assert_eq!(
        explain(&mut node, "203.0.113.9:5060", &foreign).outcome,
        "refused with 403 Forbidden (domain is not served here)"
    );
}

#[test]
fn what_is_no_request_is_told_as_such() {
    let mut node = node();
    for (text, what) in [
        ("hello", "it is no SIP message"),
        ("SIP/2.0 200 OK\r\n\r\n", "it is a response"),
        ("INVITE sip:a@fed.example SIP/2.0\r\n\r\n", "it would be refused with 400"),
    ] {
        let told = node.shard.explain(text.as_bytes(), &source("203.0.113.9:5060"), node.now);
        let Err(Unexplained::NoRequest(told)) = told else { panic!("{told:?}") };
        assert!(told.starts_with(what), "{told}");
    }
}
