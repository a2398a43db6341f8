//! A pair is upgraded under load: one node after the other is told to stop, and started again.

use super::network::{self, Network};
use super::pair::Pair;
use super::run::Sipp;
use super::{ACTIVE, MEMORY, is_possible, total};
use std::net::SocketAddr;
use std::time::Instant;

const KEYS: &str = "secret = \"0123456789abcdef0123456789abcdef\"\nreplication = \"sync\"\n";
const WHOLE: &str = "this node knows all bindings of its home";
/// Registrations and calls of one half of the upgrade, and how many a second.
const REGISTRATIONS: u64 = 1000;
const REGISTRATION_RATE: &str = "200";
const CALLS: u64 = 500;
const CALL_RATE: &str = "100";
/// Phones that are called in turn.
const CALLEES: u64 = 20;

#[test]
fn a_pair_is_upgraded_under_load_and_not_one_registration_or_call_fails() {
    let test = "a_pair_is_upgraded_under_load_and_not_one_registration_or_call_fails";
    if !is_possible(test) || !super::tool::is_installed(test, "sipp", "sip-tester") {
        return;
    }
    let network = Network::new();
    // What rings when the home moves is answered through the other node: nothing more is to be waited for.
    let pair = Pair::new(&network, [1, 2], network::address(100), KEYS, &format!("{MEMORY}[stop]\ndrain_s = 1\n"));
    let mut nodes = [0, 1].map(|member| pair.start(member));
    for node in &mut nodes {
        node.line(WHOLE);
    }
    let _first = pair.keepalived_that_stays(0);
    nodes[0].line(ACTIVE);
    let _second = pair.keepalived_that_stays(1);

    let load = network.host(50);
    let at = |port| SocketAddr::new(network::address(50), port);
    let (phones, callers, registering) = (at(5070), at(5080), at(5090));
    let run = |scenario: &str, own, calls| Sipp::new(scenario, pair.at(), own, calls);
    let users =
        |name: &str, count: u64| -> Vec<String> { (0..count).map(|user| format!("{name}{user};{phones}")).collect() };
    run("register", registering, CALLEES).fields(&users("callee", CALLEES)).within(&load.within()).run();
    let mut bindings = CALLEES;
    for leaving in [0, 1] {
        let before = nodes.each_mut().map(|node| total(&node.reports(), "received"));
        let answering = run("phone_stays", phones, CALLS).with(&["-rtcheck", "loose"]).within(&load.within()).listen();
        let registrations = run("register", registering, REGISTRATIONS)
            .fields(&users(&format!("user{leaving}x"), REGISTRATIONS))
            .with(&["-r", REGISTRATION_RATE])
            .within(&load.within())
            .start();
        let calls = run("caller_stays", callers, CALLS)
            .fields(&users("callee", CALLEES))
            .with(&["-r", CALL_RATE])
            .within(&load.within())
            .start();
        bindings += REGISTRATIONS;
        nodes[leaving].wait_until("the load is under way", |reports| {
            total(reports, "received") > before[leaving] + REGISTRATIONS / 4
        });

        let told = Instant::now();
        nodes[leaving].signal("TERM");
        nodes[1 - leaving].line(ACTIVE);
        println!("active {} ms after the other one was told to stop", told.elapsed().as_millis());
        nodes[leaving].line("the home is handed over");
        assert_eq!(total(&nodes[leaving].last_reports(), "refused_draining"), 0);
        // The new release.
        nodes[leaving] = pair.start(leaving);
        nodes[leaving].line(WHOLE);

        registrations.finish();
        calls.finish();
        answering.finish();
        let reports = nodes[1 - leaving].reports();
        let passed = total(&reports, "responses_for_twins");
        println!("{passed} responses to what the other one had sent");
        assert!(passed > 0, "of calls that rang while the home moved");
        assert!(total(&reports, "received") > before[1 - leaving], "it has taken a part of the load");
        for node in &mut nodes {
            node.wait_until("both have all bindings", |reports| total(reports, "contacts") == bindings);
        }
    }
    let [one, two] = nodes;
    one.stop();
    two.stop();
}
