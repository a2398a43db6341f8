//! The layout of OpenSIPS's tutorial: two points of presence, each of two nodes behind an address that keepalived moves, and
//! one directory.

use super::network::{self, Network};
use super::pair::Pair;
use super::phone::Phone;
use super::run::{Running, Sipp};
use super::{ACTIVE, Daemon, LOOK_INTERVAL, PATIENCE, is_possible, ownership, real, total};
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const KEYS: &str = "secret = \"0123456789abcdef0123456789abcdef\"\nreplication = \"sync\"\n";
/// Phones that register while a node is killed, and how many a second.
const PHONES: u64 = 900;
const RATE: u64 = 300;
/// How often it is tried whether somebody answers.
const PROBE_INTERVAL: Duration = Duration::from_millis(5);

/// The other pair, as a node's file has it, and the directory.
fn others(numbers: [u8; 2], home: std::net::IpAddr, store: SocketAddr) -> String {
    let mut text = String::new();
    for number in numbers {
        let ip = network::address(number);
        write!(text, "[[cluster.node]]\nnode_id = {number}\nurl = \"bin:{ip}\"\nsip_addr = \"{home}\"\n").unwrap();
    }
    let database = format!("tutorial{}", std::process::id());
    write!(text, "[directory]\nurl = \"mongodb://{store}/{database}.homes\"\n").unwrap();
    text
}

#[test]
fn four_nodes_of_the_tutorial_lose_nothing_when_an_active_one_is_killed_under_load() {
    let test = "four_nodes_of_the_tutorial_lose_nothing_when_an_active_one_is_killed_under_load";
    if !is_possible(test) || !super::tool::is_installed(test, "sipp", "sip-tester") {
        return;
    }
    let network = Network::new();
    let store: SocketAddr = real::mongodb().trim_start_matches("mongodb://").trim_end_matches('/').parse().unwrap();
    let store = network.host(60).lead_to(store);
    let homes = [network::address(100), network::address(101)];
    let pairs = [
        Pair::new(&network, [1, 2], homes[0], KEYS, &others([3, 4], homes[1], store)),
        Pair::new(&network, [3, 4], homes[1], KEYS, &others([1, 2], homes[0], store)),
    ];
    let [mut one, mut two] = [0, 1].map(|member| pairs[0].start(member));
    let [mut three, mut four] = [0, 1].map(|member| pairs[1].start(member));
    for node in [&mut one, &mut two, &mut three, &mut four] {
        node.line("this node knows all bindings of its home");
    }
    let events = pairs[0].members[1].host.watch();
    let _keepalived = pairs.each_ref().map(|pair| [0, 1].map(|member| pair.keepalived(member)));
    one.line(ACTIVE);
    three.line(ACTIVE);
    let phones = network.host(50);
    let (alice, bob) = (Phone::with(phones.socket_to(homes[0])), Phone::with(phones.socket_to(homes[1])));
    alice.register(pairs[0].at(), "alice", 600);
    bob.register(pairs[1].at(), "bob", 600);
    for node in [&mut one, &mut three] {
        node.wait_for_directory("its row is there", |directory| directory.count("published") == 1);
    }
    // Each is called from the other point of presence, where only the directory knows of it.
    call(&bob, pairs[1].at(), &alice, "alice");
    call(&alice, pairs[0].at(), &bob, "bob");

    let sipp = load(&network, pairs[0].at());
    let end = Instant::now() + PATIENCE;
    while total(&one.reports(), "contacts") < PHONES / 3 {
        assert!(Instant::now() < end, "the load does not begin");
    }
    let killed = Instant::now();
    one.kill();
    let (probe, caller) = (Phone::with(phones.socket_to(homes[0])), Phone::with(phones.socket_to(homes[0])));
    probe.register_again(pairs[0].at(), "probe", 600, PROBE_INTERVAL);
    let registered = killed.elapsed();
    caller.call(pairs[0].at(), "probe");
    let rings = probe.rings();
    let called = killed.elapsed();
    probe.answer(&rings, 486);
    assert_eq!(caller.outcome().status(), 486);
    let line = two.line(ACTIVE);
    let active = super::microseconds_since(events.next(homes[0], true), &line);
    println!(
        "killed under {RATE} REGISTER/s: first 200 to a REGISTER after {} ms, first INVITE at a phone after {} ms",
        registered.as_millis(),
        called.as_millis()
    );
    println!("active {active} µs after the kernel's event, which is when the address had moved");
    sipp.finish();
    // All that was answered by either node, and those of the test.
    let contacts = total(&two.reports(), "contacts");
    println!("of {} registrations that were answered, {} are at the backup", PHONES + 2, contacts);
    assert_eq!(contacts, PHONES + 2);
    call(&bob, pairs[1].at(), &alice, "alice");
    call(&alice, pairs[0].at(), &bob, "bob");

    // The killed one comes back, and keepalived gives it the address again.
    let mut one = pairs[0].start(0);
    one.line("this node knows all bindings of its home");
    wait_until_active(&mut one);
    assert_eq!(total(&one.reports(), "contacts"), PHONES + 2);
    call(&bob, pairs[1].at(), &alice, "alice");
    for node in [one, two, three, four] {
        node.stop();
    }
}

/// Phones that begin to register.
fn load(network: &Network, node: SocketAddr) -> Running {
    let host = network.host(51);
    let at = SocketAddr::new(network::address(51), 5070);
    let fields: Vec<String> = (0..PHONES).map(|phone| format!("load{phone};{at}")).collect();
    let rate = RATE.to_string();
    let sipp = Sipp::new("register", node, at, PHONES).fields(&fields).with(&["-t", "u1", "-r", &rate]);
    sipp.within(&host.within()).start()
}

/// Waits until a node is active, which it may have been before.
fn wait_until_active(node: &mut Daemon) {
    let end = Instant::now() + PATIENCE;
    while !ownership(node).contains("\"is_active\":true") {
        assert!(Instant::now() < end, "it is not given the address");
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// A call that is taken.
fn call(caller: &Phone, at: SocketAddr, phone: &Phone, user: &str) {
    caller.call(at, user);
    phone.answer(&phone.rings(), 200);
    assert_eq!(caller.outcome().status(), 200, "{user}");
}
