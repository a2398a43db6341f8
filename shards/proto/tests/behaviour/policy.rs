//! Rules: which requests they hold for, and what they change.

use super::node::{Node, Sent, and, invite, register, request, respond, with};
use sipfed_proto::settings::{
    DirectorySettings, Overflow, PathMode, Pattern, Ping, PingWith, Rule, Settings, Then, When,
};
use sipfed_proto::{FlowToken, ShardIndex, Transport};
use sipfed_sip::Method;

const PHONE: &str = "198.51.100.9:5060";

fn rule(when: When, then: Then) -> Rule {
    Rule { name: "a rule".to_owned(), when, then }
}

fn node(rules: Vec<Rule>) -> Node {
    node_with(rules, |_| {})
}

fn node_with(rules: Vec<Rule>, change: impl FnOnce(&mut Settings)) -> Node {
    Node::with(|settings| {
        settings.policy = rules;
        change(settings);
    })
}

fn refuse(code: u16, phrase: &str) -> Then {
    Then { refuse: Some((code, phrase.to_owned())), ..Then::default() }
}

/// What is answered to a REGISTER with one Contact.
fn registers(node: &mut Node, message: &str) -> Sent {
    node.udp(PHONE, message).remove(0)
}

fn at(ip: &str) -> String {
    with(&register("a", "<sip:a@198.51.100.9>", 1), "198.51.100.9:5060;", &format!("{ip}:5060;"))
}

#[test]
fn a_rule_holds_when_all_of_its_conditions_do() {
    let plain = register("a", "<sip:a@198.51.100.9>", 1);
    let snom = and(&plain, "User-Agent: SNOM-370");
    let marked = and(&plain, "X-Realm: wholesale; x=1");
    let other_domain = plain.replace("fed.example", "FED.other");
    let yes = |when| (when, true);
    let no = |when| (when, false);
    let domains = |domain: &str| When { domains: vec![domain.to_owned()], ..When::default() };
    let sources = |net: &str| When { sources: vec![net.parse().unwrap()], ..When::default() };
    let agent = |like: &str| When { user_agent: Some(Pattern::new(like)), ..When::default() };
    let header =
        |name: &str, like: &str| When { header: Some((name.to_owned(), Pattern::new(like))), ..When::default() };
    for (message, (when, is_refused)) in [
        (&plain, yes(When::default())),
        (&plain, yes(When { methods: Method::Register.bit(), ..When::default() })),
        (&plain, no(When { methods: Method::Invite.bit() | Method::Options.bit(), ..When::default() })),
        (&plain, yes(domains("fed.example"))),
        (&plain, no(domains("fed.other"))),
        (&other_domain, yes(domains("fed.other"))),
        (&plain, yes(sources("198.51.100.0/24"))),
        (&plain, no(sources("198.51.101.0/24"))),
        (&plain, no(sources("2001:db8::/32"))),
        (&plain, yes(When { transports: vec![Transport::Tcp, Transport::Udp], ..When::default() })),
        (&plain, no(When { transports: vec![Transport::Tcp], ..When::default() })),
        (&snom, yes(agent("*snom*"))),
        (&plain, no(agent("*snom*"))),
        (&plain, yes(agent(""))),
        (&marked, yes(header("x-realm", "wholesale*"))),
        (&marked, no(header("x-realm", "retail*"))),
        (&plain, no(header("x-realm", "*"))),
        (&plain, yes(header("Call-ID", "a-call"))),
        (&plain, yes(When { natted: Some(false), from_cluster: Some(false), ..When::default() })),
        (&plain, no(When { natted: Some(true), ..When::default() })),
        (&at("10.0.0.7"), yes(When { natted: Some(true), ..When::default() })),
        (&plain, no(When { from_cluster: Some(true), ..When::default() })),
        (&snom, no(When { domains: vec!["fed.other".to_owned()], ..agent("*snom*") })),
    ] {
        let mut node = node_with(vec![rule(when.clone(), refuse(488, "Not Here"))], |settings| {
            settings.domains.push("fed.other".to_owned());
        });
        let answer = registers(&mut node, message);
        let expected = if is_refused { "SIP/2.0 488 Not Here" } else { "SIP/2.0 200 OK" };
        assert_eq!(answer.start(), expected, "{when:?}\n{message}");
        assert_eq!(node.shard.counters().registers_refused, u64::from(is_refused));
    }
}

#[test]
fn another_node_of_the_federation_is_told_from_everybody_else() {
    let when = When { from_cluster: Some(false), methods: Method::Invite.bit(), ..When::default() };
    let mut node = node_with(vec![rule(when, refuse(403, "Only Nodes"))], |settings| {
        settings.directory = Some(DirectorySettings {
            home: "192.0.2.1".to_owned(),
            peers: vec!["192.0.2.2".to_owned()],
            ..DirectorySettings::default()
        });
    });
    node.register("a", "sip:a@198.51.100.9", PHONE);
    assert_eq!(node.udp("203.0.113.9:5060", &invite("a"))[0].status(), 403);
    let other = with(&invite("a"), "z9hG4bK", "z9hG4bKx");
    assert!(node.udp("192.0.2.2:5060", &other).iter().any(|sent| sent.start().starts_with("INVITE ")));
}

#[test]
fn what_a_later_rule_says_counts_more_and_nothing_is_looked_at_behind_the_last() {
    let max = |seconds| Then { max_expires_s: Some(seconds), ..Then::default() };
    let granted = |rules| {
        let mut node = node(rules);
        registers(&mut node, &register("a", "<sip:a@198.51.100.9>;expires=3600", 1))
            .field("Contact")
            .unwrap()
            .to_owned()
    };
    let always = When::default;
    assert_eq!(granted(vec![]), "<sip:a@198.51.100.9>;expires=3600");
    let both = vec![rule(always(), max(100)), rule(always(), max(200))];
    assert_eq!(granted(both), "<sip:a@198.51.100.9>;expires=200");
    let last = vec![rule(always(), Then { is_last: true, ..max(100) }), rule(always(), max(200))];
    assert_eq!(granted(last), "<sip:a@198.51.100.9>;expires=100");
    let raised = vec![rule(always(), Then { min_expires_s: Some(300), ..Then::default() })];
    let mut node = node(raised);
    let answer = registers(&mut node, &register("a", "<sip:a@198.51.100.9>;expires=10", 1));
    assert_eq!(answer.field("Contact"), Some("<sip:a@198.51.100.9>;expires=300"), "raised, and not refused with 423");
}

#[test]
fn rules_bound_the_contacts_of_an_aor_and_say_what_is_told_of_them() {
    let two = |node: &mut Node| {
        node.register("a", "sip:a@198.51.100.1", "198.51.100.1:5060");
        node.pass(2000);
        registers(node, &with(&register("a", "<sip:a@198.51.100.9>", 9), "a-call", "b-call"))
    };
    let one = Then { max_contacts: Some(1), ..Then::default() };
    assert_eq!(two(&mut node(vec![rule(When::default(), one.clone())])).status(), 403);
    let forced = Then { force_registration: Some(true), ..one.clone() };
    assert_eq!(two(&mut node(vec![rule(When::default(), forced)])).fields("Contact").count(), 1);
    let refused = Then { force_registration: Some(false), ..one };
    let mut evicting = node_with(vec![rule(When::default(), refused)], |settings| {
        settings.registrar.overflow = Overflow::EvictOldest;
    });
    assert_eq!(two(&mut evicting).status(), 403);
    let own = Then { only_request_contacts: Some(true), ..Then::default() };
    let mut node = node(vec![rule(When::default(), own)]);
    for cseq in [9, 10] {
        let again = with(&register("a", "<sip:a@198.51.100.9>", cseq), "a-call", "b-call");
        let answer = if cseq == 9 { two(&mut node) } else { registers(&mut node, &again) };
        assert_eq!(answer.fields("Contact").collect::<Vec<_>>(), ["<sip:a@198.51.100.9>;expires=3600"], "CSeq {cseq}");
    }
    assert_eq!(node.shard.bindings(), 2);
}

#[test]
fn rules_say_what_becomes_of_a_path() {
    let message = and(&register("a", "<sip:a@198.51.100.9>", 1), "Path: <sip:edge.example;lr>");
    let supporting = and(&message, "Supported: path");
    for (path, plain, with_support) in [
        (PathMode::Lazy, (200, "<sip:edge.example;lr>"), (200, "<sip:edge.example;lr>")),
        (PathMode::Strict, (420, ""), (200, "<sip:edge.example;lr>")),
        (PathMode::Off, (200, ""), (200, "")),
    ] {
        for (supports, message, (status, stored)) in [(false, &message, plain), (true, &supporting, with_support)] {
            let mut node = node(vec![rule(When::default(), Then { path: Some(path), ..Then::default() })]);
            let answer = registers(&mut node, message);
            assert_eq!(answer.status(), status, "{path:?}");
            let path = node.shard.live_bindings(node.now).next().map(|b| String::from_utf8(b.path.to_vec()).unwrap());
            assert_eq!(path.unwrap_or_default(), stored);
            assert_eq!(answer.field("Path").is_some(), supports && !stored.is_empty());
        }
    }
}

#[test]
fn rules_say_who_is_pinged_and_with_what() {
    let agent = |like: &str, then| rule(When { user_agent: Some(Pattern::new(like)), ..When::default() }, then);
    let rules = vec![
        agent("snom*", Then { ping: Some(PingWith::Request), remove_on_timeout: Some(true), ..Then::default() }),
        agent("cisco*", Then { ping: Some(PingWith::Bytes), ..Then::default() }),
        agent("quiet*", Then { ping: Some(PingWith::Nothing), ..Then::default() }),
    ];
    for (agent, ping) in [
        ("snom 1", Ping::Request { ends_unanswered: true }),
        ("cisco", Ping::Bytes),
        ("quiet", Ping::None),
        ("others", Ping::Request { ends_unanswered: false }),
    ] {
        let mut node = node_with(rules.clone(), |settings| {
            settings.nat.ping.interval_s = 30;
            settings.nat.ping.only_natted = false;
        });
        let message = and(&register("a", "<sip:a@198.51.100.9>", 1), &format!("User-Agent: {agent}"));
        assert_eq!(registers(&mut node, &message).status(), 200);
        assert_eq!(node.shard.live_bindings(node.now).next().unwrap().ping, ping, "{agent}");
    }
}

/// Registers three phones with the same q, which answer pings after 30, 10 and 20 ms; gives where an INVITE goes, in order.
fn called(then: Then) -> Vec<String> {
    let mut node = node_with(vec![rule(When { methods: Method::Invite.bit(), ..When::default() }, then)], |settings| {
        settings.nat.ping.interval_s = 10;
        settings.nat.ping.only_natted = false;
    });
    for (n, agent) in [(1, "snom"), (2, "cisco"), (3, "snom")] {
        let from = format!("198.51.100.{n}:5060");
        let message = with(&register("a", &format!("<sip:a@198.51.100.{n}>"), n), "a-call", &format!("call-{n}"));
        node.udp(&from, &and(&message, &format!("User-Agent: {agent}")));
    }
    // A turn of theirs at which nobody is spared; being of one AoR, they are asked together.
    let pings = loop {
        let next_ms = node.shard.next_deadline().unwrap().since(node.now).as_millis() as u64;
        let sent = node.pass(next_ms).into_iter().map(|(_, sent)| sent);
        let pings: Vec<Sent> = sent.filter(|sent| sent.start().starts_with("OPTIONS ")).collect();
        if !pings.is_empty() {
            break pings;
        }
    };
    for host in ["198.51.100.2", "198.51.100.3", "198.51.100.1"] {
        node.pass(10);
        let ping = pings.iter().find(|ping| ping.start().contains(host)).unwrap();
        node.udp(&format!("{host}:5060"), &respond(ping, 200, "x"));
    }
    let sent = node.udp("203.0.113.9:5060", &invite("a"));
    let invites = sent.iter().filter(|sent| sent.start().starts_with("INVITE "));
    invites.map(|sent| sent.udp().unwrap().ip().to_string().rsplit_once('.').unwrap().1.to_owned()).collect()
}

#[test]
fn rules_say_to_which_contacts_a_call_goes() {
    assert_eq!(called(Then::default()), ["1", "2", "3"]);
    assert_eq!(called(Then { sort_by_latency: Some(true), ..Then::default() }), ["2", "3", "1"]);
    assert_eq!(called(Then { max_latency_ms: Some(20), ..Then::default() }), ["2", "3"]);
    assert_eq!(called(Then { no_branches: Some(true), ..Then::default() }), ["1"]);
    let best = Then { no_branches: Some(true), sort_by_latency: Some(true), ..Then::default() };
    assert_eq!(called(best), ["2"]);
    assert_eq!(called(Then { contact_agent: Some(Pattern::new("snom*")), ..Then::default() }), ["1", "3"]);
    assert_eq!(called(Then { contact_agent: Some(Pattern::new("avaya*|CIS*")), ..Then::default() }), ["2"]);
    assert_eq!(called(Then { contact_agent: Some(Pattern::new("avaya*")), ..Then::default() }), [""; 0]);
}

#[test]
fn a_request_that_is_not_to_look_elsewhere_asks_nobody() {
    let local = Then { global: Some(false), ..Then::default() };
    for (rules, is_asked) in [(vec![], true), (vec![rule(When::default(), local)], false)] {
        let mut node = node_with(rules, |settings| {
            settings.directory =
                Some(DirectorySettings { home: "192.0.2.1".to_owned(), ..DirectorySettings::default() });
        });
        let sent = node.udp("203.0.113.9:5060", &invite("a"));
        assert_eq!(node.shard.next_question().is_some(), is_asked);
        assert_eq!(sent.iter().any(|sent| sent.status() == 404), !is_asked);
    }
}

#[test]
fn a_contact_is_written_as_where_a_phone_was_seen_where_that_is_asked_for() {
    let fix = rule(When::default(), Then { fix_contact: Some(true), ..Then::default() });
    let contact = |node: &mut Node, from: &str, contact: &str| {
        let call = and(&invite("a"), &format!("Contact: {contact}"));
        let call = with(&call, "z9hG4bK", &format!("z9hG4bK{}", contact.len()));
        let sent = node.udp(from, &call);
        let ring = sent.iter().find(|sent| sent.start().starts_with("INVITE ")).unwrap();
        ring.field("Contact").unwrap().to_owned()
    };
    let mut node = node(vec![fix]);
    node.register("a", "sip:a@198.51.100.1", "198.51.100.1:5060");
    let natted = "203.0.113.9:31000";
    for (written, told) in [
        ("<sip:c@10.1.1.1:5062;ob>;x=1", "<sip:c@203.0.113.9:31000;ob>;x=1"),
        ("\"sip:c@10.1.1.1\" <sip:c@10.1.1.1>", "\"sip:c@10.1.1.1\" <sip:c@203.0.113.9:31000>"),
        ("sip:10.1.1.1;x=1", "sip:203.0.113.9:31000;x=1"),
        ("<sip:c@10.1.1.1>, <sip:d@10.1.1.1>", "<sip:c@10.1.1.1>, <sip:d@10.1.1.1>"),
        ("<tel:+15>", "<tel:+15>"),
    ] {
        assert_eq!(contact(&mut node, natted, written), told);
    }
    assert_eq!(contact(&mut node, PHONE, "<sip:caller@192.168.1.1>"), "<sip:caller@192.168.1.1>", "no NAT, no change");
}

#[test]
fn other_rules_are_noticed_by_the_next_refresh_after_a_restart() {
    let mut before = Node::new();
    before.shard.keep_journal(before.now);
    before.register("a", "sip:a@198.51.100.9", PHONE);
    let journal = before.shard.journal().to_vec();
    let mut after = node(vec![rule(When::default(), refuse(403, "No More"))]);
    after.shard.restore(&journal).unwrap();
    let again = register("a", "<sip:a@198.51.100.9>;expires=3600", 2);
    assert_eq!(registers(&mut after, &again).start(), "SIP/2.0 403 No More");
}

#[test]
fn requests_of_a_dialog_go_their_way_whatever_rules_say() {
    let mut node = node(vec![rule(When { methods: !Method::Register.bit(), ..When::default() }, refuse(403, "No"))]);
    let flow = FlowToken::new(ShardIndex(0), 1, 1);
    let bye = with(
        &request("BYE", "sip:b@198.51.100.8:5060", "x", 2),
        "To: <sip:x@fed.example>",
        "To: <sip:x@fed.example>;tag=1",
    );
    let bye = with(&bye, "UDP", "TCP");
    assert!(node.tcp(flow, PHONE, &bye).iter().any(|sent| sent.start().starts_with("BYE ")));
}
