//! Pairs of nodes with one home, on hosts of their own, between which a real keepalived moves the address of the home. Needs
//! root, since the hosts are network namespaces.
//!
//! `cargo test -p sipfed --test failover -- --nocapture` prints how long it takes from the kernel's event to a node that is
//! active, and from the end of one to the first answer of the other.

#[path = "sipp/daemon.rs"]
mod daemon;
#[path = "failover/keepalived.rs"]
mod keepalived;
#[allow(dead_code, reason = "here keepalived announces who has an address")]
#[path = "failover/network.rs"]
mod network;
#[path = "failover/pair.rs"]
mod pair;
#[path = "federation/phone.rs"]
mod phone;
#[path = "stores/real.rs"]
mod real;
#[allow(dead_code, reason = "no SIPp waits for calls here")]
#[path = "sipp/run.rs"]
mod run;
#[path = "sipp/tool.rs"]
mod tool;
#[path = "failover/tutorial.rs"]
mod tutorial;
#[path = "failover/upgrade.rs"]
mod upgrade;

use daemon::{Daemon, LOOK_INTERVAL, PATIENCE, Start, folder, total};
use network::{Network, microsecond};
use pair::Pair;
use phone::{Phone, RETRANSMIT};
use std::time::Instant;

const ACTIVE: &str = "this node is active";
const PASSIVE: &str = "this node is passive";

/// A directory of each node's own.
const MEMORY: &str = "[directory]\nurl = \"memory:\"\n";

/// Whether pairs can be had here; where they cannot, the test is skipped.
fn is_possible(test: &str) -> bool {
    network::is_possible(test) && tool::is_installed(test, "keepalived", "keepalived")
}

/// How long after `earlier` a line was written; nothing where it was written before that was read.
fn microseconds_since(earlier: u64, line: &str) -> u64 {
    const DAY: u64 = 24 * 3600 * 1_000_000;
    let after = (microsecond(line) + DAY - earlier) % DAY;
    if after > DAY / 2 { 0 } else { after }
}

/// What a node reports of its part in the pair.
fn ownership(daemon: &mut Daemon) -> String {
    daemon.signal("USR1");
    daemon.line("ownership")
}

#[test]
fn a_node_is_active_exactly_while_its_host_has_the_address() {
    if !is_possible("a_node_is_active_exactly_while_its_host_has_the_address") {
        return;
    }
    for home in [network::address(100), network::address_v6(100)] {
        let network = Network::new();
        let pair = Pair::new(&network, [1, 2], home, "", MEMORY);
        let phone = Phone::with(network.host(50).socket_to(home));
        let mut node = pair.start(0);
        // The line of the start was written before the node was ready.
        assert!(ownership(&mut node).contains("\"is_active\":false,\"term\":0,\"has_address\":false"));
        assert_eq!(node.directory().count("reconciles"), 0);
        let (host, events) = (&pair.members[0].host, pair.members[0].host.watch());
        for round in 1..=3 {
            host.set_address(home, true);
            let line = node.line(ACTIVE);
            assert!(line.contains(&format!("\"term\":{round},")), "{line}");
            let after = microseconds_since(events.next(home, true), &line);
            println!("active {after} µs after the kernel's event");
            // A thousandth of that is usual; the machine may be busy.
            assert!(after < 5_000_000, "{after} µs");
            phone.register(pair.at(), "bob", 600);
            node.wait_for_directory("it is compared", |directory| directory.count("reconciles") == round);
            host.set_address(home, false);
            node.line(PASSIVE);
        }
        let reports = node.reports();
        assert_eq!((total(&reports, "bindings"), total(&reports, "registers_accepted")), (1, 3));
        node.stop();
    }
}

#[test]
fn keepalived_takes_the_example_of_the_documentation() {
    if !is_possible("keepalived_takes_the_example_of_the_documentation") {
        return;
    }
    let network = Network::new();
    let host = network.host(1);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/keepalived.conf");
    let output = host.command("keepalived").args(["--config-test", "--use-file", file]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.trim().is_empty(), "{told}");
}

#[test]
fn keepalived_moves_the_home_to_the_other_node_when_one_is_killed_and_back_when_it_returns() {
    if !is_possible("keepalived_moves_the_home_to_the_other_node_when_one_is_killed_and_back_when_it_returns") {
        return;
    }
    let network = Network::new();
    let pair = Pair::new(&network, [1, 2], network::address(100), "", MEMORY);
    let host = network.host(50);
    let (phone, caller) = (Phone::with(host.socket_to(pair.home)), Phone::with(host.socket_to(pair.home)));
    let (mut one, mut two) = (pair.start(0), pair.start(1));
    let events = [0, 1].map(|member| pair.members[member].host.watch());
    let _keepalived = pair.keepalived(0);
    let line = one.line(ACTIVE);
    println!("active {} µs after the kernel's event", microseconds_since(events[0].next(pair.home, true), &line));
    phone.register(pair.at(), "bob", 600);
    assert_eq!(total(&two.reports(), "received"), 0);
    assert_eq!(two.directory().count("reconciles"), 0);
    // From now on there is somebody to take it over.
    let _other = pair.keepalived(1);

    let killed = Instant::now();
    one.kill();
    let line = two.line(ACTIVE);
    println!(
        "the other node was active {} ms after the first one was killed, {} µs after the kernel's event",
        killed.elapsed().as_millis(),
        microseconds_since(events[1].next(pair.home, true), &line)
    );
    phone.register_again(pair.at(), "bob", 600, RETRANSMIT);
    println!("and answered {} ms after that", killed.elapsed().as_millis());
    caller.call(pair.at(), "bob");
    phone.answer(&phone.rings(), 200);
    assert_eq!(caller.outcome().status(), 200);
    let before = total(&two.reports(), "received");

    let mut one = pair.start(0);
    let line = one.line(ACTIVE);
    assert!(line.contains("\"term\":2,"), "{line}");
    two.line(PASSIVE);
    phone.register_again(pair.at(), "bob", 600, RETRANSMIT);
    caller.call(pair.at(), "bob");
    phone.answer(&phone.rings(), 200);
    assert_eq!(caller.outcome().status(), 200);
    assert_eq!(total(&two.reports(), "received"), before, "all of it went to the node that has the address");
    assert!(ownership(&mut two).contains("\"is_active\":false,\"term\":1,\"has_address\":false"));
    one.stop();
    two.stop();
}
