//! RFC 3263 §4, RFC 2782: the steps from a name to servers.

use sipfed_proto::Transport;
use sipfed_proto::names::{Found, Inquiry, Kind, Lookup, Naptr, Resolved, SERVERS_COUNT_MAX, Srv, Step, Wanted};

const ANY: Wanted = Wanted::Any { is_secured: false };
const SECURED: Wanted = Wanted::Any { is_secured: true };

fn naptr(order: u16, preference: u16, service: &str, replacement: &str) -> Naptr {
    Naptr { order, preference, flags: "S".into(), service: service.into(), replacement: replacement.into() }
}

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Srv {
    Srv { priority, weight, port, target: target.into() }
}

fn addresses(ips: &[&str]) -> Found {
    Found::Addresses(ips.iter().map(|ip| ip.parse().unwrap()).collect(), 60)
}

/// Answers lookups from a zone; what is not in it is not there.
fn run(wanted: Wanted, zone: impl Fn(&str, Kind) -> Option<Found>) -> (Vec<String>, Resolved) {
    let (mut inquiry, mut step) = Inquiry::new("example.net", wanted);
    let mut asked = Vec::new();
    loop {
        let lookups = match step {
            Step::Done(resolved) => return (asked, resolved),
            Step::Ask(lookups) => lookups,
        };
        assert!(!lookups.is_empty() && asked.len() < 100);
        let found = lookups.iter().map(|Lookup { name, kind }| {
            asked.push(format!("{kind:?} {name}"));
            zone(name, *kind).unwrap_or(Found::Nothing(Some(7)))
        });
        let found = found.collect();
        step = inquiry.take(found);
    }
}

/// Rank, transport, address and port of each server.
fn places(resolved: &Resolved) -> Vec<String> {
    let Resolved::Servers(servers, _) = resolved else { panic!("{resolved:?}") };
    let place = |server: &sipfed_proto::names::Server| {
        let transport = server.transport.map_or("-", Transport::uri_token);
        let port = server.port.map_or("-".to_owned(), |port| port.to_string());
        let ips: Vec<String> = server.addresses.iter().map(ToString::to_string).collect();
        format!("{} {transport} {}:{port}", server.rank, ips.join(","))
    };
    servers.iter().map(place).collect()
}

#[test]
fn rfc3263_4_1_naptr_says_which_transports_and_in_which_order() {
    let (asked, resolved) = run(ANY, |name, kind| match (name, kind) {
        ("example.net", Kind::Naptr) => Some(Found::Naptr(
            vec![
                naptr(90, 50, "SIP+D2T", "_sip._tcp.example.net."),
                naptr(100, 10, "E2U+sip", "_enum.example.net"),
                naptr(50, 50, "sips+d2t", "_sips._tcp.example.net"),
                naptr(90, 10, "SIP+D2U", "_sip._udp.elsewhere.example"),
            ],
            300,
        )),
        ("_sips._tcp.example.net", Kind::Srv) => Some(Found::Srv(vec![srv(0, 0, 5061, "s.example.net.")], 200)),
        ("_sip._udp.elsewhere.example", Kind::Srv) => Some(Found::Srv(vec![srv(5, 0, 5070, "u.example.net")], 100)),
        ("_sip._tcp.example.net", Kind::Srv) => Some(Found::Srv(vec![srv(0, 0, 5080, "U.example.net")], 100)),
        ("s.example.net", Kind::A) => Some(addresses(&["192.0.2.1"])),
        ("u.example.net", Kind::Aaaa) => Some(addresses(&["2001:db8::2"])),
        ("u.example.net", Kind::A) => Some(addresses(&["192.0.2.2"])),
        _ => None,
    });
    assert_eq!(
        places(&resolved),
        ["0 tls 192.0.2.1:5061", "1 udp 192.0.2.2,2001:db8::2:5070", "2 tcp 192.0.2.2,2001:db8::2:5080"]
    );
    assert!(matches!(resolved, Resolved::Servers(_, 60)), "the least TTL of all counts");
    assert_eq!(
        asked.iter().filter(|lookup| lookup.ends_with(" u.example.net")).count(),
        2,
        "each host once: {asked:?}"
    );
}

#[test]
fn rfc3263_4_1_sips_takes_tls_alone() {
    let zone = |name: &str, kind| match (name, kind) {
        ("example.net", Kind::Naptr) => Some(Found::Naptr(
            vec![naptr(1, 1, "SIP+D2U", "_sip._udp.example.net"), naptr(2, 1, "SIPS+D2T", "_sips._tcp.example.net")],
            60,
        )),
        ("_sips._tcp.example.net", Kind::Srv) => Some(Found::Srv(vec![srv(0, 0, 5061, "s.example.net")], 60)),
        ("s.example.net", Kind::A) => Some(addresses(&["192.0.2.1"])),
        _ => None,
    };
    assert_eq!(places(&run(SECURED, zone).1), ["0 tls 192.0.2.1:5061"]);
    // A domain that offers SIP, but nothing of what was asked for, is not guessed at.
    let (asked, resolved) = run(SECURED, |name, kind| match kind {
        Kind::Naptr => Some(Found::Naptr(vec![naptr(1, 1, "SIP+D2U", "_sip._udp.example.net")], 60)),
        Kind::A => Some(addresses(&["192.0.2.1"])),
        _ => zone(name, kind),
    });
    assert_eq!((asked.len(), resolved), (1, Resolved::Nothing(30)));
}

#[test]
fn rfc3263_4_1_without_naptr_every_transport_is_asked_for_and_without_srv_the_name_itself() {
    for found in [None, Some(Found::Failed), Some(Found::Naptr(vec![naptr(1, 1, "E2U+sip", "x.example")], 60))] {
        let (asked, resolved) = run(ANY, |name, kind| match (name, kind) {
            (_, Kind::Naptr) => found.clone(),
            ("example.net", Kind::A) => Some(addresses(&["192.0.2.1"])),
            _ => None,
        });
        assert_eq!(asked[1..3], ["Srv _sip._udp.example.net", "Srv _sip._tcp.example.net"]);
        assert_eq!(places(&resolved), ["0 udp 192.0.2.1:-"], "{asked:?}");
    }
    let (asked, resolved) = run(SECURED, |_, kind| (kind == Kind::Aaaa).then(|| addresses(&["2001:db8::1"])));
    assert_eq!(asked[1], "Srv _sips._tcp.example.net");
    assert_eq!(places(&resolved), ["0 tls 2001:db8::1:-"]);
}

#[test]
fn rfc3263_4_2_a_transport_leads_to_its_srv_and_a_port_to_addresses() {
    for (transport, name) in [
        (Transport::Udp, "_sip._udp.example.net"),
        (Transport::Tcp, "_sip._tcp.example.net"),
        (Transport::Tls, "_sips._tcp.example.net"),
    ] {
        let (asked, resolved) = run(Wanted::Service(transport), |asked, kind| match kind {
            Kind::Srv if asked == name => Some(Found::Srv(vec![srv(0, 0, 5999, "s.example.net")], 60)),
            Kind::A => Some(addresses(&["192.0.2.1"])),
            _ => None,
        });
        assert_eq!(places(&resolved), [format!("0 {} 192.0.2.1:5999", transport.uri_token())]);
        assert_eq!(asked.len(), 3);
        let (_, resolved) =
            run(Wanted::Service(transport), |_, kind| (kind == Kind::A).then(|| addresses(&["192.0.2.1"])));
        assert_eq!(places(&resolved), [format!("0 {} 192.0.2.1:-", transport.uri_token())]);
    }
    let (asked, resolved) = run(Wanted::Addresses, |_, kind| (kind == Kind::A).then(|| addresses(&["192.0.2.1"])));
    assert_eq!((asked.len(), places(&resolved)), (2, vec!["0 - 192.0.2.1:-".to_owned()]));
}

#[test]
fn rfc2782_priorities_are_ranks_and_a_dot_says_that_there_is_no_service() {
    let udp = Wanted::Service(Transport::Udp);
    let (_, resolved) = run(udp, |name, kind| match (name, kind) {
        (_, Kind::Srv) => Some(Found::Srv(
            vec![srv(20, 1, 3, "c.example"), srv(10, 1, 1, "a.example"), srv(10, 9, 2, "b.example")],
            60,
        )),
        ("c.example", _) | (_, Kind::Naptr | Kind::Aaaa) => None,
        (_, Kind::A) => Some(addresses(&["192.0.2.1"])),
    });
    assert_eq!(places(&resolved), ["0 udp 192.0.2.1:1", "0 udp 192.0.2.1:2"], "one without an address is left out");
    for target in [".", ""] {
        let (asked, resolved) = run(udp, |_, kind| match kind {
            Kind::Srv => Some(Found::Srv(vec![srv(0, 0, 0, target)], 60)),
            _ => Some(addresses(&["192.0.2.1"])),
        });
        assert_eq!((asked.len(), resolved), (1, Resolved::Nothing(30)));
    }
}

#[test]
fn what_failed_is_no_answer_unless_something_else_is_one() {
    // Without the SRV records nobody knows that the name itself is meant.
    let (_, resolved) = run(Wanted::Service(Transport::Udp), |_, kind| match kind {
        Kind::Srv => Some(Found::Failed),
        _ => Some(addresses(&["192.0.2.1"])),
    });
    assert_eq!(resolved, Resolved::Failed);
    let (_, resolved) = run(ANY, |name, kind| match kind {
        Kind::Srv if name == "_sip._udp.example.net" => Some(Found::Srv(vec![srv(0, 0, 5060, "a.example")], 60)),
        Kind::A => Some(addresses(&["192.0.2.1"])),
        _ => Some(Found::Failed),
    });
    assert_eq!(places(&resolved), ["0 udp 192.0.2.1:5060"]);
    let (_, resolved) = run(Wanted::Addresses, |_, kind| (kind == Kind::A).then_some(Found::Failed));
    assert_eq!(resolved, Resolved::Failed);
    let (_, resolved) = run(Wanted::Addresses, |_, _| None);
    assert_eq!(resolved, Resolved::Nothing(7), "for as long as the SOA record says");
    let (_, resolved) = run(Wanted::Addresses, |_, _| Some(Found::Nothing(None)));
    assert_eq!(resolved, Resolved::Nothing(30));
}

#[test]
fn a_zone_cannot_make_it_ask_for_ever() {
    let many = |n: u16| (0..n).map(|n| srv(n % 7, n, 5060, &format!("h{n}.example"))).collect::<Vec<_>>();
    let (asked, resolved) = run(ANY, |_, kind| match kind {
        Kind::Naptr => Some(Found::Naptr(
            (0..500).map(|n| naptr(n, 0, "SIP+D2U", &format!("_sip._udp.n{n}.example"))).collect(),
            60,
        )),
        Kind::Srv => Some(Found::Srv(many(500), 60)),
        Kind::A => Some(Found::Addresses((0..=255).map(|n| [192, 0, 2, n].into()).collect(), 60)),
        Kind::Aaaa => None,
    });
    assert!(asked.len() <= 1 + 4 + 2 * SERVERS_COUNT_MAX, "{}", asked.len());
    let Resolved::Servers(servers, _) = resolved else { panic!() };
    assert_eq!(servers.len(), SERVERS_COUNT_MAX);
    assert!(servers.iter().all(|server| server.addresses.len() == 8));
}
