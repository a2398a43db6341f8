//! Of a pair, only the node that has the address of the home pings, from the moment that it has it.

use super::behind::command;
use super::natted::NattedPhone;
use super::network::{self, Network};
use super::pair::Pair;
use super::{Daemon, EVERY_SECOND, LOOK_INTERVAL, PATIENCE, tool, total};
use std::time::Instant;

const SECRET: &str = "secret = \"0123456789abcdef0123456789abcdef\"\n";
const ACTIVE: &str = "this node is active";
const PASSIVE: &str = "this node is passive";
const WHOLE: &str = "this node knows all bindings of its home";

fn pings_sent(node: &mut Daemon) -> u64 {
    total(&node.reports(), "pings_sent")
}

/// Has the phone answer pings until this node has heard so many of its answers.
fn wait_for_answers(node: &mut Daemon, phone: &mut NattedPhone, count: u64) {
    let end = Instant::now() + PATIENCE;
    while total(&node.reports(), "pings_answered") < count {
        assert!(Instant::now() < end, "its pings are not answered");
        for ping in phone.waiting() {
            phone.answer(&ping, 200);
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// The hook of whoever moves the address is wrong, or early: what this node would send from there its phones would answer to
/// the other one, or the kernel would not send it.
#[test]
fn a_node_that_is_active_by_command_without_the_address_pings_nobody_and_ends_no_binding() {
    let test = "a_node_that_is_active_by_command_without_the_address_pings_nobody_and_ends_no_binding";
    if !network::is_possible(test) {
        return;
    }
    for home in [network::address(100), network::address_v6(100)] {
        let network = Network::new();
        let keys = format!("{SECRET}ownership = \"command\"\n");
        let pings = "remove_on_timeout = true\nmax_pings_lost = 2\nping_threshold_ms = 500\n";
        let more = format!("{EVERY_SECOND}{pings}[ops]\nlisten = \"127.0.0.1:8888\"\n");
        let pair = Pair::new(&network, [1, 2], home, &keys, &more);
        let (mut one, mut two) = (pair.start(0), pair.start(1));
        for node in [&mut one, &mut two] {
            node.line(WHOLE);
        }
        pair.members[1].host.set_address(home, true);
        command(&pair.members[0].host, &["nh_enable_ping", "1"]);
        one.line(ACTIVE);
        let host = network.host(50);
        let mut phone = NattedPhone::udp(host.socket_to(home), pair.at(), ([10, 0, 0, 7], 5060).into());
        phone.register("bob");
        one.wait_until("it would have pinged", |reports| total(reports, "pings_without_way") >= 4);
        for node in [&mut one, &mut two] {
            let reports = node.reports();
            assert_eq!((total(&reports, "contacts"), total(&reports, "bindings_unanswered")), (1, 0));
        }
        assert!(phone.waiting().is_empty());

        pair.members[1].host.set_address(home, false);
        pair.members[0].host.set_address(home, true);
        host.forget_who_has(home);
        wait_for_answers(&mut one, &mut phone, 3);
        assert_eq!((pings_sent(&mut two), total(&one.reports(), "contacts")), (0, 1));
        one.stop();
        two.stop();
    }
}

#[test]
fn the_passive_node_sends_not_one_ping_and_goes_on_with_them_when_the_address_has_moved() {
    let test = "the_passive_node_sends_not_one_ping_and_goes_on_with_them_when_the_address_has_moved";
    if !network::is_possible(test) || !tool::is_installed(test, "keepalived", "keepalived") {
        return;
    }
    let network = Network::new();
    let pair = Pair::new(&network, [1, 2], network::address(100), SECRET, EVERY_SECOND);
    let (mut one, mut two) = (pair.start(0), pair.start(1));
    for node in [&mut one, &mut two] {
        node.line(WHOLE);
    }
    let _keepalived = pair.keepalived(0);
    one.line(ACTIVE);
    let _other = pair.keepalived(1);
    let socket = network.host(50).socket_to(pair.home);
    let mut phone = NattedPhone::udp(socket, pair.at(), ([10, 0, 0, 7], 5060).into());
    phone.register("bob");
    two.wait_until("it has the binding", |reports| total(reports, "contacts") == 1);
    wait_for_answers(&mut one, &mut phone, 4);
    assert_eq!(pings_sent(&mut two), 0);

    one.kill();
    two.line(ACTIVE);
    wait_for_answers(&mut two, &mut phone, 3);

    let mut one = pair.start(0);
    one.line(ACTIVE);
    two.line(PASSIVE);
    let before = pings_sent(&mut two);
    wait_for_answers(&mut one, &mut phone, 4);
    assert_eq!(pings_sent(&mut two), before);
    one.stop();
    two.stop();
}
