//! A shard's end beside a machine and a log, without a thread of its own.

use super::*;
use crate::persistence::{Durable, OnFailure};
use crate::tests::register;
use sipfed_log::{Durability, Log, LogOptions};
use sipfed_proto::{Counters, FlowToken, Place, Settings, Source, Transport};
use std::sync::mpsc;
use std::time::Duration;

const NOW: Now = Now::from_unix_ms(1_700_000_000_000);
const PLACE: Place = Place { index: ShardIndex(0), count: 1 };

fn machine() -> Shard {
    let settings = Settings { domains: vec!["example.com".to_owned()], ..Settings::default() };
    let mut machine = Shard::new(Arc::new(settings), PLACE, [1; 32], NOW);
    machine.keep_journal(NOW);
    machine
}

/// What another node with the same secret writes down for a registration.
fn journal(user: &str) -> Vec<u8> {
    let mut machine = machine();
    let local = "127.0.0.1:5060".parse().unwrap();
    let remote = "127.0.0.1:5070".parse().unwrap();
    let source = Source { transport: Transport::Udp, remote, local, flow: FlowToken::NONE };
    machine.receive(&register(user, "UDP", remote), &source, NOW, &mut Outbox::new());
    machine.journal().into()
}

fn port() -> ReplicaPort {
    let mesh = Arc::new(Mesh::new(1).unwrap());
    ReplicaPort::new(Arc::new(ReplicaLink::new(mesh, 1, Wake::new(|| {}), false)), PLACE.index)
}

fn merge(port: &ReplicaPort, ticket: u64, user: &str) {
    port.link.put(0, Order::Merge { ticket, position: None, journal: journal(user) }).unwrap();
}

/// The tickets of what has been told since, and whether each was a merge.
fn told(port: &mut ReplicaPort) -> Vec<(u64, bool)> {
    port.tell();
    let mut told = Vec::new();
    while let Some(report) = port.link.take_report(0) {
        told.push(match report {
            Report::Merged { ticket, is_good, gaps: 0, .. } if is_good => (ticket, true),
            Report::Digests { ticket, .. } => (ticket, false),
            report => panic!("{report:?}"),
        });
    }
    told
}

#[test]
fn what_other_nodes_send_waits_for_room_in_the_log_and_the_rest_does_not() {
    let (mut port, mut machine) = (port(), machine());
    port.link.put(0, Order::Digests { ticket: 1 }).unwrap();
    merge(&port, 2, "alice");
    port.link.put(0, Order::Digests { ticket: 3 }).unwrap();
    for _ in 0..2 {
        assert!(!port.obey(&mut machine, NOW, false, || false), "nothing can be done at once");
        port.settle_merged(None);
        assert!(port.is_waiting() && machine.bindings() == 0);
    }
    assert_eq!(told(&mut port), [(1, false)]);
    assert!(port.is_idle(), "it is not to spin");
    port.obey(&mut machine, NOW, false, || true);
    port.settle_merged(None);
    assert!(!port.is_waiting() && machine.bindings() == 1);
    let mut answers = told(&mut port);
    answers.sort_unstable();
    assert_eq!(answers, [(2, true), (3, false)]);
}

#[test]
fn a_turn_merges_a_bounded_number_of_bytes() {
    let (mut port, mut machine) = (port(), machine());
    let many = 1 + 2 * BYTES_PER_TURN_MAX / journal("user-0").len();
    let journal: Vec<u8> = (0..many).flat_map(|user| journal(&format!("user-{user}"))).collect();
    for (ticket, piece) in [(1, &journal[..]), (2, &[])] {
        port.link.put(0, Order::Merge { ticket, position: None, journal: piece.into() }).unwrap();
    }
    assert!(port.obey(&mut machine, NOW, false, || true), "the rest is for the next turn");
    port.settle_merged(None);
    assert_eq!(told(&mut port), [(1, true)]);
    port.obey(&mut machine, NOW, false, || true);
    port.settle_merged(None);
    assert_eq!(told(&mut port), [(2, true)]);
}

#[test]
fn a_turn_merges_less_while_phones_are_served() {
    let (mut port, mut machine) = (port(), machine());
    let many = 1 + BYTES_PER_SERVING_TURN_MAX / journal("user-0").len();
    let journal: Vec<u8> = (0..many).flat_map(|user| journal(&format!("user-{user}"))).collect();
    for ticket in 1..=3 {
        port.link.put(0, Order::Merge { ticket, position: None, journal: journal.clone() }).unwrap();
    }
    assert!(port.obey(&mut machine, NOW, true, || true), "the rest is for the next turn");
    port.settle_merged(None);
    assert_eq!(told(&mut port), [(1, true)]);
    port.obey(&mut machine, NOW, false, || true);
    port.settle_merged(None);
    assert_eq!(told(&mut port), [(2, true), (3, true)]);
}

/// What a turn does with the log, of which nothing is durable before it is synced.
fn turn(port: &mut ReplicaPort, machine: &mut Shard, log: &mut ShardLog) {
    port.obey(machine, NOW, false, || log.has_room());
    let is_durable = log.append(NOW, machine, &mut Counters::default());
    port.settle_merged((!is_durable).then_some(&mut *log));
    log.release(|durable| match durable {
        Durable::Merged(report) => port.merged(report),
        Durable::Promised(_) => panic!("nothing was promised"),
    });
}

#[test]
fn what_was_merged_is_told_once_it_is_durable() {
    let folder = std::env::temp_dir().join(format!("sipfed-merged-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    // What is appended first is synced at once, and nothing else for an hour.
    let durability = Durability::Disk { interval: Duration::from_hours(1) };
    let options = LogOptions { durability, salvage: false, now_s: u64::from(NOW.unix_s()), flush_threads_count: 1 };
    let (woken, wakes) = mpsc::channel();
    let (log, _) = Log::open(&folder.join("shard-0"), options, move || _ = woken.send(())).unwrap();
    let mut log = ShardLog::new(PLACE.index, log, OnFailure::Refuse, 600, 0);
    let (mut port, mut machine) = (port(), machine());
    merge(&port, 1, "alice");
    turn(&mut port, &mut machine, &mut log);
    let mut first = told(&mut port);
    while first.is_empty() {
        wakes.recv_timeout(Duration::from_secs(20)).expect("the log tells of its sync");
        turn(&mut port, &mut machine, &mut log);
        first = told(&mut port);
    }
    assert_eq!(first, [(1, true)]);
    merge(&port, 2, "bob");
    turn(&mut port, &mut machine, &mut log);
    turn(&mut port, &mut machine, &mut log);
    assert_eq!(machine.bindings(), 2);
    assert_eq!(told(&mut port), []);
    log.close();
    std::fs::remove_dir_all(&folder).unwrap();
}
