//! RFC 3263: next hops by name, from the moment that one is not known to the last server that is tried.

use super::node::{Node, Sent, and, invite, request, respond, with};
use sipfed_proto::names::{Question, Resolved, Server, Wanted};
use sipfed_proto::settings::{Foreign, NameSettings, NextHop};
use sipfed_proto::{Destination, FlowToken, Listener, Settings, ShardIndex, Transport};
use std::net::SocketAddr;

const CALLER: &str = "198.51.100.9:5060";
const FIRST: &str = "203.0.113.1:5060";
const SECOND: &str = "203.0.113.2:5060";

fn node() -> Node {
    node_with(|_| {})
}

fn node_with(change: impl FnOnce(&mut Settings)) -> Node {
    Node::with(|settings| {
        settings.names = Some(NameSettings::default());
        change(settings);
    })
}

/// A request within a dialog, to a URI of somebody else.
fn bye(uri: &str, n: u32) -> String {
    let bye = with(&request("BYE", uri, "caller", n), "Call-ID: caller-call", &format!("Call-ID: call{n}"));
    with(&bye, "To: <sip:caller@fed.example>", "To: <sip:caller@fed.example>;tag=t")
}

/// An INVITE within a dialog, likewise.
fn reinvite(uri: &str, n: u32) -> String {
    with(
        &with(&bye(uri, n), "BYE", "INVITE"),
        &format!("branch=z9hG4bKcaller{n}INVITE"),
        &format!("branch=z9hG4bKre{n}"),
    )
}

fn server(rank: u16, addr: &str) -> Server {
    let addr: SocketAddr = addr.parse().unwrap();
    let (transport, port) = (Some(Transport::Udp), Some(addr.port()));
    Server { transport, port, rank, weight: 0, addresses: Box::new([addr.ip()]) }
}

/// What a name with such servers, one after another, has come to.
fn servers(addrs: &[&str]) -> Resolved {
    Resolved::Servers(addrs.iter().zip(0..).map(|(addr, rank)| server(rank, addr)).collect(), 60)
}

impl Node {
    /// The one question that the node has.
    fn question(&mut self) -> Question {
        let question = self.shard.next_name().expect("no name is asked for");
        assert_eq!(self.shard.next_name(), None);
        question
    }

    /// Answers a question; gives what the node sends.
    fn resolve(&mut self, question: &Question, resolved: Resolved) -> Vec<Sent> {
        self.shard.handle_name(question.id, resolved, self.now);
        self.pass(0).into_iter().map(|(_, sent)| sent).collect()
    }

    /// Has a request wait for a name, and answers that.
    fn ask(&mut self, message: &str, resolved: Resolved) -> Vec<Sent> {
        assert!(self.udp(CALLER, message).is_empty());
        let question = self.question();
        self.resolve(&question, resolved)
    }
}

fn udp(sent: &Sent) -> String {
    sent.udp().map(|addr| addr.to_string()).unwrap_or_default()
}

#[test]
fn rfc3263_4_a_request_waits_for_the_name_and_goes_on_from_the_beginning() {
    for (uri, wanted) in [
        ("sip:bob@Host.Example.NET.", Wanted::Any { is_secured: false }),
        ("sip:bob@host.example.net;transport=udp", Wanted::Service(Transport::Udp)),
        ("sip:bob@host.example.net:5070", Wanted::Addresses),
        ("sip:bob@192.0.2.77;maddr=host.example.net", Wanted::Any { is_secured: false }),
    ] {
        let mut node = node();
        let message = bye(uri, 2);
        assert!(node.udp(CALLER, &message).is_empty(), "{uri}");
        assert_eq!((node.shard.held_transactions(), node.shard.open_transactions()), (0, 1), "it is only kept");
        let question = node.question();
        assert_eq!((&*question.name, question.wanted), ("host.example.net", wanted), "{uri}");
        let sent = node.resolve(&question, servers(&[FIRST]));
        assert_eq!((sent.len(), udp(&sent[0])), (1, FIRST.to_owned()), "{uri}");
        assert_eq!(sent[0].start(), format!("BYE {uri} SIP/2.0"));
        assert_eq!(node.udp(FIRST, &respond(&sent[0], 200, ""))[0].status(), 200);
        // The next one finds what is known.
        assert_eq!(udp(&node.udp(CALLER, &bye(uri, 3))[0]), FIRST, "{uri}");
        assert_eq!((node.shard.names_count(), node.shard.counters().names_asked), (0, 1));
    }
}

#[test]
fn a_transport_and_a_port_of_the_uri_count_where_addresses_alone_are_known() {
    let addresses = |ips: &[&str]| {
        let addresses = ips.iter().map(|ip| ip.parse().unwrap()).collect();
        Resolved::Servers(vec![Server { transport: None, port: None, rank: 0, weight: 0, addresses }], 60)
    };
    let mut node = node();
    let sent = node.ask(&bye("sip:bob@host.example.net:5070", 2), addresses(&["203.0.113.1"]));
    assert_eq!(udp(&sent[0]), "203.0.113.1:5070");
    let sent = node.udp(CALLER, &bye("sip:bob@host.example.net:5080;transport=tcp", 3));
    let Destination::Connect(ends) = sent[0].to else { panic!("{sent:?}") };
    assert_eq!((ends.transport, ends.remote.to_string()), (Transport::Tcp, "203.0.113.1:5080".to_owned()));
    // The node has no address of IPv6, so nothing leads to one.
    let sent = node.ask(&bye("sip:bob@six.example.net:5070", 4), addresses(&["2001:db8::1", "203.0.113.6"]));
    assert_eq!(udp(&sent[0]), "203.0.113.6:5070");
    let sent = node.ask(&bye("sip:bob@only.example.net:5070", 5), addresses(&["2001:db8::1"]));
    assert_eq!(sent[0].status(), 403, "{sent:?}");
}

#[test]
fn routes_paths_and_contacts_are_resolved_and_our_own_names_are_not() {
    let mut node = node_with(|s| s.advertised_host = Some("edge.fed.example".into()));
    let route = and(&bye("sip:bob@192.0.2.77", 2), "Route: <sip:proxy.example.net;lr>");
    assert_eq!(udp(&node.ask(&route, servers(&[FIRST]))[0]), FIRST);
    for own in ["Route: <sip:fed.example;lr>", "Route: <sip:edge.fed.example;lr>"] {
        let sent = node.udp(CALLER, &and(&bye("sip:bob@203.0.113.7", if own.contains("edge") { 3 } else { 4 }), own));
        assert_eq!(udp(&sent[0]), "203.0.113.7:5060", "{own}");
    }
    let with_path = and(&super::node::register("al", "<sip:al@10.0.0.1>", 1), "Path: <sip:edge.example.net;lr>");
    let with_path = and(&with_path, "Supported: path");
    assert_eq!(node.udp(CALLER, &with_path)[0].status(), 200);
    assert!(node.udp(CALLER, &invite("al")).is_empty());
    let question = node.question();
    assert_eq!(&*question.name, "edge.example.net");
    assert_eq!(udp(&node.resolve(&question, servers(&[SECOND]))[1]), SECOND);
}

#[test]
fn a_contact_by_name_that_leads_nowhere_is_reached_where_it_registered_from() {
    for (resolved, place) in [
        (servers(&[FIRST]), FIRST),
        (Resolved::Nothing(30), "203.0.113.9:5060"),
        (Resolved::Failed, "203.0.113.9:5060"),
    ] {
        let mut node = node();
        node.register("bob", "sip:bob@phone.example.net", "203.0.113.9:5060");
        let sent = node.ask(&invite("bob"), resolved);
        assert_eq!((sent.len(), sent[0].status(), udp(&sent[1])), (2, 100, place.to_owned()));
    }
    // A name of ours would come back to us.
    let mut node = node();
    node.register("bob", "sip:bob@fed.example", "203.0.113.9:5060");
    assert_eq!(udp(&node.udp(CALLER, &invite("bob"))[1]), "203.0.113.9:5060");
}

#[test]
fn a_request_to_a_name_that_leads_nowhere_is_502_and_504_where_nobody_can_say() {
    for (resolved, status) in [(Resolved::Nothing(30), 502), (Resolved::Failed, 504)] {
        let mut node = node();
        let sent = node.ask(&bye("sip:bob@host.example.net", 2), resolved);
        assert_eq!((sent.len(), sent[0].status()), (1, status));
        assert_eq!(node.udp(CALLER, &bye("sip:bob@host.example.net", 3))[0].status(), status, "it is remembered");
        node.pass(60_000);
        assert!(node.udp(CALLER, &bye("sip:bob@host.example.net", 4)).is_empty(), "and asked for again");
    }
    let mut node = Node::new();
    assert_eq!(node.udp(CALLER, &bye("sip:bob@host.example.net", 2))[0].status(), 502, "names are not resolved");
}

#[test]
fn a_silent_resolver_costs_the_first_its_timeout_and_nobody_after_it_anything() {
    let mut node = node();
    assert!(node.udp(CALLER, &bye("sip:bob@host.example.net", 2)).is_empty());
    let question = node.question();
    assert!(node.udp(CALLER, &bye("sip:bob@host.example.net", 3)).is_empty(), "it joins");
    assert_eq!(node.shard.names_count(), 0, "one question a name");
    let sent = node.pass(3_100);
    let statuses: Vec<u16> = sent.iter().map(|(_, sent)| sent.status()).collect();
    assert_eq!(statuses, [504, 504]);
    assert!(sent.iter().all(|(ms, _)| (3_000..3_010).contains(ms)), "{sent:?}");
    node.pass(600_000);
    assert_eq!(node.udp(CALLER, &bye("sip:bob@host.example.net", 4))[0].status(), 504, "it is still being asked");
    // An answer that comes late is an answer.
    assert!(node.resolve(&question, servers(&[FIRST])).is_empty());
    assert_eq!(udp(&node.udp(CALLER, &bye("sip:bob@host.example.net", 5))[0]), FIRST);
    assert_eq!(node.shard.counters().names_unanswered, 1);
}

#[test]
fn what_waits_for_several_names_goes_on_once_all_are_answered() {
    let mut node = node();
    for (n, name) in [(1, "one"), (2, "two")] {
        let contact = format!("<sip:bob@{name}.example.net>;q=0.{n}");
        let message = with(&super::node::register("bob", &contact, n), "Call-ID: bob-call", &format!("Call-ID: b{n}"));
        assert_eq!(node.udp(CALLER, &message)[0].status(), 200);
    }
    assert!(node.udp(CALLER, &invite("bob")).is_empty());
    let (one, two) = (node.shard.next_name().unwrap(), node.shard.next_name().unwrap());
    assert!(node.resolve(&two, servers(&[SECOND])).is_empty());
    node.pass(1_500);
    let sent = node.resolve(&one, Resolved::Servers(vec![server(0, FIRST)], 0));
    assert_eq!((sent.len(), udp(&sent[1])), (2, SECOND.to_owned()), "the most wanted first: {sent:?}");
    assert_eq!(node.udp(SECOND, &respond(&sent[1], 486, "t")).len(), 2, "its ACK, and the next one");
}

#[test]
fn a_retransmission_of_what_waits_is_dropped() {
    let mut node = node();
    let message = reinvite("sip:bob@host.example.net", 2);
    assert!(node.udp(CALLER, &message).is_empty());
    assert!(node.udp(CALLER, &message).is_empty());
    assert_eq!((node.shard.parked_requests(), node.shard.counters().retransmissions_absorbed), (1, 1));
    let question = node.question();
    assert_eq!(node.resolve(&question, servers(&[FIRST])).len(), 2, "100 and the branch, once");
}

#[test]
fn rfc3261_9_2_an_invite_that_waits_is_cancelled() {
    let mut node = node();
    let message = reinvite("sip:bob@host.example.net", 2);
    assert!(node.udp(CALLER, &message).is_empty());
    let question = node.question();
    let cancel = with(&with(&message, "INVITE sip", "CANCEL sip"), "2 INVITE", "2 CANCEL");
    let sent = node.udp(CALLER, &cancel);
    let statuses: Vec<u16> = sent.iter().map(Sent::status).collect();
    assert_eq!(statuses, [200, 487]);
    assert_eq!(sent[0].field("CSeq"), Some("2 CANCEL"));
    assert_eq!(sent[1].field("CSeq"), Some("2 INVITE"));
    assert_eq!(sent[0].field("To"), sent[1].field("To"), "§9.2: with the same tag");
    assert_eq!(node.udp(CALLER, &message)[0].status(), 487, "its retransmission gets the same");
    assert!(node.pass(600).iter().any(|(_, sent)| sent.status() == 487), "until its ACK");
    let ack = with(&with(&message, "INVITE sip", "ACK sip"), "2 INVITE", "2 ACK");
    assert!(node.udp(CALLER, &ack).is_empty());
    assert!(node.resolve(&question, servers(&[FIRST])).is_empty(), "nobody is called");
    assert!(node.pass(60_000).is_empty());
    assert_eq!((node.shard.held_transactions(), node.shard.parked_requests()), (0, 0));
}

#[test]
fn rfc3261_16_11_an_ack_waits_too_and_is_never_answered() {
    let ack = |n: u32| with(&bye("sip:bob@host.example.net", n), "BYE", "ACK");
    let mut node = node();
    assert!(node.udp(CALLER, &ack(2)).is_empty());
    assert!(node.udp(CALLER, &ack(2)).is_empty(), "with the 2xx it comes again");
    let question = node.question();
    let sent = node.resolve(&question, servers(&[FIRST, SECOND]));
    assert_eq!((sent.len(), udp(&sent[0])), (1, FIRST.to_owned()));
    let mut node = self::node();
    assert!(node.ask(&ack(3), Resolved::Nothing(30)).is_empty());
    assert_eq!(node.shard.counters().dropped_stray_ack, 1);
}

#[test]
fn what_waits_is_bounded_in_messages_and_names() {
    let mut node = node_with(|s| {
        s.names = Some(NameSettings { parked_messages_max: 3, questions_max: 2, ..NameSettings::default() });
    });
    node.register("bob", "sip:bob@phone.example.net", "203.0.113.9:5060");
    assert!(node.udp(CALLER, &bye("sip:a@one.example.net", 2)).is_empty());
    assert!(node.udp(CALLER, &bye("sip:a@two.example.net", 3)).is_empty());
    let refused = node.udp(CALLER, &bye("sip:a@three.example.net", 4)).remove(0);
    assert_eq!((refused.status(), refused.field("Retry-After")), (503, Some("5")));
    // A phone is reached where it registered from.
    assert_eq!(udp(&node.udp(CALLER, &invite("bob"))[1]), "203.0.113.9:5060");
    assert!(node.udp(CALLER, &bye("sip:a@one.example.net", 5)).is_empty(), "who joins asks for no further name");
    assert_eq!(node.udp(CALLER, &bye("sip:a@one.example.net", 6))[0].status(), 503, "but has to have room");
    assert_eq!((node.shard.parked_requests(), node.shard.counters().names_refused), (3, 3));
}

#[test]
fn what_waits_is_bounded_in_bytes() {
    let mut node = node_with(|s| {
        s.names = Some(NameSettings { parked_messages_max: 100_000, ..NameSettings::default() });
    });
    let filler = "x".repeat(60_000);
    let answered = (2..1000).position(|n| {
        let message = and(&bye("sip:a@one.example.net", n), &format!("X-Filler: {filler}"));
        !node.udp(CALLER, &message).is_empty()
    });
    assert!((270..=280).contains(&answered.unwrap()), "{answered:?}");
}

#[test]
fn many_that_wait_for_one_name_go_on_over_several_turns() {
    let mut node = node();
    for n in 2..302 {
        assert!(node.udp(CALLER, &bye("sip:a@one.example.net", n)).is_empty());
    }
    let question = node.question();
    node.shard.handle_name(question.id, servers(&[FIRST]), node.now);
    let mut out = sipfed_proto::Outbox::new();
    node.shard.handle_timeout(node.now, &mut out);
    assert_eq!(out.len(), 64);
    assert!(node.shard.next_deadline().is_some_and(|at| at <= node.now), "the next turn follows at once");
    assert_eq!(node.pass(0).len(), 300 - 64);
}

#[test]
fn a_draining_node_lets_what_waited_go_on() {
    let mut node = node();
    let options = with(&request("OPTIONS", "sip:bob@host.example.net", "caller", 2), "To: ", "To: x ");
    let mut node_of = |message: &str| node.udp(CALLER, message);
    assert_eq!(node_of(&options)[0].status(), 403, "outside of a dialog nobody else is served");
    let mut node = node_with(|s| {
        s.proxy.foreign = Foreign::Relay(Transport::Udp, "192.0.2.200:5070".parse().unwrap());
    });
    let message = and(&invite("bob"), "Route: <sip:proxy.example.net;lr>");
    assert!(node.udp(CALLER, &message).is_empty());
    node.shard.drain();
    let question = node.question();
    assert_eq!(udp(&node.resolve(&question, servers(&[FIRST]))[1]), FIRST);
}

#[test]
fn what_a_name_leads_to_is_believed_for_its_ttl() {
    let mut node = node();
    assert_eq!(node.ask(&bye("sip:a@one.example.net", 2), servers(&[FIRST])).len(), 1);
    node.pass(59_000);
    assert_eq!(udp(&node.udp(CALLER, &bye("sip:a@one.example.net", 3))[0]), FIRST);
    node.pass(1_000);
    let sent = node.ask(&bye("sip:a@one.example.net", 4), servers(&[SECOND]));
    assert_eq!(udp(&sent[0]), SECOND);
    // While nobody can say, it stays where it was (RFC 8767).
    node.pass(61_000);
    let sent = node.ask(&bye("sip:a@one.example.net", 5), Resolved::Failed);
    assert_eq!(udp(&sent[0]), SECOND);
}

#[test]
fn rfc3263_4_4_calls_spread_over_servers_and_each_stays_where_it_began() {
    let mut node = node();
    let both = Resolved::Servers(vec![server(0, FIRST), server(0, SECOND)], 60);
    node.ask(&bye("sip:a@one.example.net", 2), both);
    let mut counts = [0, 0];
    for n in 3..203 {
        let first = udp(&node.udp(CALLER, &bye("sip:a@one.example.net", n))[0]);
        let again = with(&bye("sip:a@one.example.net", n), "branch=z9hG4bK", "branch=z9hG4bKagain");
        assert_eq!(udp(&node.udp(CALLER, &again)[0]), first);
        counts[usize::from(first == SECOND)] += 1;
    }
    assert!(counts.iter().all(|count| *count > 60), "{counts:?}");
}

#[test]
fn explain_says_what_a_name_leads_to_and_asks_nobody() {
    let mut node = node();
    let source = sipfed_proto::Source {
        transport: Transport::Udp,
        remote: CALLER.parse().unwrap(),
        local: super::node::NODE.parse().unwrap(),
        flow: FlowToken::NONE,
    };
    let explain = |node: &mut Node, message: &str| {
        let explanation = node.shard.explain(message.as_bytes(), &source, node.now).unwrap();
        let contact = explanation.contacts.first().map(|contact| format!("{:?}", contact.branch));
        (explanation.outcome, contact.unwrap_or_default())
    };
    let message = bye("sip:a@one.example.net", 2);
    let (outcome, _) = explain(&mut node, &message);
    assert!(outcome.starts_with("waits until it is asked where the name of its next hop leads"), "{outcome}");
    node.register("bob", "sip:bob@one.example.net", "203.0.113.9:5060");
    let (_, contact) = explain(&mut node, &invite("bob"));
    assert!(contact.contains("its next hop is a name that is not known yet"), "{contact}");
    assert_eq!((node.shard.names_count(), node.shard.parked_requests()), (0, 0));
    node.ask(&message, servers(&[FIRST, SECOND]));
    let words = "udp:203.0.113.1:5060, to which one.example.net leads, else udp:203.0.113.2:5060";
    assert_eq!(explain(&mut node, &bye("sip:a@one.example.net", 3)).0, format!("forwarded to {words}"));
    assert!(explain(&mut node, &invite("bob")).1.contains(words));
}

#[test]
fn rfc5922_7_3_a_peer_within_tls_is_asked_for_the_name_that_led_there_and_not_for_that_of_its_server() {
    let mut node = node_with(|settings| {
        let addr = "192.0.2.1:5061".parse().unwrap();
        settings.listeners.push(Listener { transport: Transport::Tls, addr });
    });
    let secured = |rank, addr: &str| Server { transport: Some(Transport::Tls), ..server(rank, addr) };
    let both = Resolved::Servers([secured(0, "203.0.113.1:5061"), secured(1, "203.0.113.2:5061")].into(), 60);
    let mut sent = node.ask(&bye("sip:bob@Sip.Example.NET;transport=tls", 1), both);
    for remote in ["203.0.113.1:5061", "203.0.113.2:5061"] {
        let Destination::Connect(ends) = sent[0].to else { panic!("{sent:?}") };
        assert_eq!((ends.transport, ends.remote), (Transport::Tls, remote.parse().unwrap()));
        assert_eq!(ends.name.and_then(|name| node.shard.peer_name(name)), Some("sip.example.net"), "{remote}");
        let failed = sent.remove(0);
        sent = node.fail(&failed);
    }
    let sent = node.udp(CALLER, &bye("sip:bob@203.0.113.1;transport=tls", 2));
    let Destination::Connect(ends) = sent[0].to else { panic!("{sent:?}") };
    assert_eq!(ends.name, None, "an address has to stand in the certificate itself");
}

#[test]
fn rfc3263_4_1_a_sips_uri_by_name_is_reached_over_tls_alone_by_the_name_that_it_has() {
    let mut node = node_with(|s| {
        let addr = "192.0.2.1:5061".parse().unwrap();
        s.listeners.push(Listener { transport: Transport::Tls, addr });
    });
    let message = with(&with(&bye("sips:bob@host.example.net", 2), "SIP/2.0/UDP", "SIP/2.0/TLS"), "<sip:", "<sips:");
    let flow = FlowToken::new(ShardIndex(0), 1, 1).over(Transport::Tls);
    assert!(node.tls(flow, CALLER, &message).is_empty());
    let question = node.question();
    assert_eq!(question.wanted, Wanted::Any { is_secured: true });
    let server = Server { transport: Some(Transport::Tls), port: Some(5071), ..server(0, FIRST) };
    let sent = node.resolve(&question, Resolved::Servers(vec![server], 60));
    let Destination::Connect(ends) = sent[0].to else { panic!("{sent:?}") };
    assert_eq!((ends.transport, ends.remote.to_string()), (Transport::Tls, "203.0.113.1:5071".to_owned()));
    assert!(ends.name.is_some(), "RFC 5922 §7.3: the certificate has to name the domain");
}

#[test]
fn requests_for_other_domains_are_relayed_to_a_name() {
    for (transport, port, wanted) in [
        (None, None, Wanted::Any { is_secured: false }),
        (Some(Transport::Udp), None, Wanted::Service(Transport::Udp)),
        (Some(Transport::Udp), Some(5070), Wanted::Addresses),
    ] {
        let mut node = node_with(|s| {
            s.proxy.foreign = Foreign::RelayByName(NextHop { transport, name: "proxy.example.net".into(), port });
        });
        let call = with(&invite("bob"), "sip:bob@fed.example", "sip:bob@elsewhere.example");
        assert!(node.udp(CALLER, &call).is_empty());
        let question = node.question();
        assert_eq!((&*question.name, question.wanted), ("proxy.example.net", wanted));
        let sent = node.resolve(&question, servers(&[FIRST]));
        assert_eq!((udp(&sent[1]), sent[1].start()), (FIRST.to_owned(), "INVITE sip:bob@elsewhere.example SIP/2.0"));
        // In a dialog the Request-URI counts.
        assert!(node.udp(CALLER, &bye("sip:bob@elsewhere.example", 2)).is_empty());
        assert_eq!(&*node.question().name, "elsewhere.example");
    }
}

#[test]
fn a_ping_waits_for_no_name() {
    let mut node = node_with(|s| {
        s.nat.ping.interval_s = 30;
        s.nat.ping.only_natted = false;
    });
    node.register("bob", "sip:bob@phone.example.net", "203.0.113.9:5060");
    let pings: Vec<String> = node.pass(70_000).iter().map(|(_, ping)| udp(ping)).collect();
    assert!(!pings.is_empty() && pings.iter().all(|to| to == "203.0.113.9:5060"), "{pings:?}");
    assert_eq!((node.shard.names_count(), node.shard.counters().pings_without_way), (0, 0));
}
