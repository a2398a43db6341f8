//! Which shard handles what: the same owner whatever socket the kernel chose.

use super::node::{NODE, and, invite, register, request, with};
use sipfed_proto::settings::Settings;
use sipfed_proto::{FlowToken, Listener, Now, Outbox, Place, Shard, ShardIndex, Source, Transport, Verdict};
use std::sync::Arc;

const COUNT: u8 = 4;

struct Shards {
    all: Vec<Shard>,
    out: Outbox,
}

impl Shards {
    fn new() -> Self {
        let addr = NODE.parse().unwrap();
        let settings = Arc::new(Settings {
            domains: vec!["fed.example".into()],
            listeners: vec![Listener { transport: Transport::Udp, addr }],
            advertised_host: Some("198.51.100.254".into()),
            ..Settings::default()
        });
        let shard = |index| {
            let place = Place { index: ShardIndex(index), count: COUNT };
            Shard::new(Arc::clone(&settings), place, [3; 32], Now::from_unix_ms(1_700_000_000_000))
        };
        Self { all: (0..COUNT).map(shard).collect(), out: Outbox::new() }
    }

    /// The shard that handles `text`, which must be the same whichever receives it, and the first lines sent.
    fn owner(&mut self, text: &str) -> (u8, Vec<String>) {
        let owners: Vec<u8> = (0..COUNT).map(|at| self.receive(at, text)).collect();
        assert!(owners.iter().all(|o| *o == owners[0]), "{owners:?} for\n{text}");
        let line = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().to_owned();
        let lines = self.out.iter().map(|(_, bytes)| line(bytes)).collect();
        self.out.clear();
        (owners[0], lines)
    }

    /// The shard that handles `text` when shard `at` receives it.
    fn receive(&mut self, at: u8, text: &str) -> u8 {
        match self.all[usize::from(at)].receive(text.as_bytes(), &source(), now(), &mut self.out) {
            Verdict::Handled => at,
            Verdict::Belongs(shard) => shard.0,
        }
    }
}

fn now() -> Now {
    Now::from_unix_ms(1_700_000_000_000)
}

fn source() -> Source {
    let local = NODE.parse().unwrap();
    Source { transport: Transport::Udp, remote: "198.51.100.9:5060".parse().unwrap(), local, flow: FlowToken::NONE }
}

fn bob(n: usize) -> String {
    format!("bob{n}")
}

#[test]
fn a_call_goes_where_its_callee_is_registered() {
    let mut shards = Shards::new();
    let mut seen = std::collections::BTreeSet::new();
    for n in 0..16 {
        let user = bob(n);
        let (home, sent) = shards.owner(&register(&user, "<sip:x@203.0.113.1>", 1));
        assert_eq!(sent[0], "SIP/2.0 200 OK");
        let call = with(&invite(&user), "caller1", &format!("caller1{n}"));
        let (owner, sent) = shards.owner(&call);
        assert_eq!(owner, home);
        assert!(sent.len() <= 2 && !sent.iter().any(|line| line.contains("404")), "{sent:?}");
        let cancel = with(&with(&call, "INVITE sip", "CANCEL sip"), "1 INVITE", "1 CANCEL");
        assert_eq!(shards.owner(&cancel).0, home);
        let ack = with(&with(&call, "INVITE sip", "ACK sip"), "1 INVITE", "1 ACK");
        let ack = with(&ack, &format!("To: <sip:{user}@fed.example>"), &format!("To: <sip:{user}@fed.example>;tag=t"));
        assert_eq!(shards.owner(&ack).0, home);
        seen.insert(home);
    }
    assert!(seen.len() > 1);
}

#[test]
fn a_route_that_names_only_us_changes_nothing() {
    let mut shards = Shards::new();
    for n in 0..16 {
        let user = bob(n);
        let home = shards.owner(&register(&user, "<sip:x@203.0.113.1>", 1)).0;
        for (m, route) in ["<sip:192.0.2.1;lr>", "<sip:fed.example;lr>", "<sip:198.51.100.254;lr>"].iter().enumerate() {
            for method in ["INVITE", "MESSAGE"] {
                let message = request(method, &format!("sip:{user}@fed.example"), &format!("c{n}{m}"), 1);
                let (owner, sent) = shards.owner(&and(&message, &format!("Route: {route}")));
                assert_eq!(owner, home, "{method} by {route}");
                assert!(!sent.iter().any(|line| line.contains("404") || line.contains("403")), "{sent:?}");
            }
        }
    }
}

#[test]
fn a_request_inside_a_dialog_to_an_aor_goes_to_its_owner() {
    let mut shards = Shards::new();
    for n in 0..16 {
        let user = bob(n);
        let home = shards.owner(&register(&user, "<sip:x@203.0.113.1>", 1)).0;
        let bye = request("BYE", &format!("sip:{user}@fed.example"), &format!("c{n}"), 2);
        let bye = with(&bye, &format!("To: <sip:c{n}@fed.example>"), "To: <sip:x@fed.example>;tag=t");
        let (owner, sent) = shards.owner(&bye);
        assert_eq!((owner, sent[0].as_str()), (home, "BYE sip:x@203.0.113.1 SIP/2.0"));
    }
}

#[test]
fn a_request_inside_a_dialog_by_our_route_stays_where_it_came() {
    let mut shards = Shards::new();
    let bye = request("BYE", "sip:x@203.0.113.1", "c", 2);
    let bye = with(&bye, "To: <sip:c@fed.example>", "To: <sip:x@fed.example>;tag=t");
    let bye = and(&bye, "Route: <sip:192.0.2.1;lr>");
    for at in 0..COUNT {
        assert_eq!(shards.receive(at, &bye), at);
    }
}
