//! Pings over loopback: phones whose Via says another address answer, fall silent and come back, and are told to be left alone.

use super::http::call;
use super::natted::NattedPhone;
use super::phone::Phone;
use super::pop::Federation;
use super::{Daemon, EVERY_SECOND, LOOK_INTERVAL, PATIENCE, Start, folder, total};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Instant;

const MANAGED: &str = "[domains]\nnames = [\"fed.example\"]\n[ops]\nlisten = \"127.0.0.1:0\"\n";

fn start(data: Option<&Path>) -> Daemon {
    Daemon::start(&Start { file: &format!("{MANAGED}{EVERY_SECOND}"), data, ..Start::default() })
}

/// What a phone behind a NAT takes for its address.
fn says() -> SocketAddr {
    ([10, 0, 0, 7], 5060).into()
}

fn phone(node: &Daemon) -> NattedPhone {
    NattedPhone::udp(UdpSocket::bind("127.0.0.1:0").unwrap(), node.udp, says())
}

/// The one contact that there is, as a dump tells it.
fn contact(node: &Daemon) -> Value {
    let mut dump = call(node, "ul_dump", &json!([]));
    dump["Domains"][0]["AORs"][0]["Contacts"][0].take()
}

/// Looks at that contact until it is so; whoever is given answers pings meanwhile.
fn wait_for_contact(node: &Daemon, mut answering: Option<&mut NattedPhone>, is_so: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(phone) = &mut answering {
            for ping in phone.waiting() {
                phone.answer(&ping, 200);
            }
        }
        let contact = contact(node);
        if is_so(&contact) {
            return contact;
        }
        assert!(Instant::now() < end, "waited in vain: {contact}");
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// Whether its phone has answered, and no ping since was lost.
fn is_well(contact: &Value) -> bool {
    contact["Ping-Latency"].as_u64().is_some_and(|us| us >= 1000)
        && contact["Heard"].is_u64()
        && contact["Pings-Lost"] == 0
}

#[test]
fn a_phone_is_pinged_again_and_again_and_a_dump_tells_how_it_stands() {
    let mut node = start(None);
    let mut phone = phone(&node);
    phone.register("bob");
    let before = contact(&node);
    assert!(before.get("Ping-Latency").is_none() && before.get("Heard").is_none(), "{before}");
    let mut branches = BTreeSet::new();
    for _ in 0..3 {
        let ping = phone.pinged();
        assert_eq!(ping.start(), "OPTIONS sip:bob@10.0.0.7:5060 SIP/2.0");
        branches.extend(ping.fields("Via").map(ToOwned::to_owned));
        phone.answer(&ping, 200);
    }
    assert_eq!(branches.len(), 3, "{branches:?}");
    let told = |reports: &[_]| total(reports, "pings_answered") + total(reports, "pings_answered_late");
    node.wait_until("the answers are there", |reports| told(reports) >= 3);
    wait_for_contact(&node, Some(&mut phone), is_well);
    // Silence is counted, and forgiven.
    wait_for_contact(&node, None, |contact| contact["Pings-Lost"].as_u64() >= Some(2));
    wait_for_contact(&node, Some(&mut phone), is_well);
    let reports = node.reports();
    assert!(total(&reports, "pings_lost") >= 2);
    assert_eq!((total(&reports, "contacts"), total(&reports, "bindings_unanswered")), (1, 0));
    node.stop();
}

#[test]
fn a_phone_that_has_gone_is_removed_and_its_row_leaves_the_store() {
    let federation = Federation::new("mongodb native", 1);
    let more = format!("{EVERY_SECOND}remove_on_timeout = true\nmax_pings_lost = 2\nping_threshold_ms = 500\n");
    let mut node = federation.pop(0, &more);
    let (mut bob, alice) = (phone(&node), Phone::new("127.0.0.1"));
    bob.register("bob");
    // She is behind no NAT, and nobody asks whether she is there.
    alice.register(node.udp, "alice", 600);
    node.wait_for_directory("both are published", |directory| directory.count("published") >= 2);
    node.wait_until("bob has not answered", |reports| total(reports, "bindings_unanswered") == 1);
    assert!(bob.waiting().len() >= 2);
    node.wait_for_directory("his row is withdrawn", |directory| directory.count("withdrawn") >= 1);
    let aors = || federation.rows().aors_at(&federation.homes[0]);
    assert_eq!(aors(), BTreeSet::from(["alice@fed.example".to_owned()]));
    assert_eq!(total(&node.reports(), "contacts"), 1);
    Phone::new("127.0.0.1").call_fails(node.udp, "bob", 404);
    bob.register("bob");
    node.wait_for_directory("bob is published again", |directory| directory.count("published") >= 3);
    node.stop();
}

#[test]
fn a_node_that_is_told_to_ping_nobody_remembers_it_until_it_is_told_otherwise() {
    let (data, mut clock) = (folder(), start(None));
    let mut node = start(Some(&data));
    // While alice is pinged by another node, bob would be as well.
    let (mut bob, mut alice) = (phone(&node), phone(&clock));
    bob.register("bob");
    alice.register("alice");
    bob.answer_pings(1);
    assert_eq!(call(&node, "nh_enable_ping", &json!([])), json!({ "Status": 1 }));
    assert_eq!(call(&node, "nh_enable_ping", &json!([0])), "OK");
    // Each shard has heard of it when it reports.
    let before = total(&node.reports(), "pings_sent");
    bob.waiting();
    alice.waiting();
    alice.answer_pings(4);
    assert_eq!(total(&node.reports(), "pings_sent"), before);
    assert!(bob.waiting().is_empty());
    node.kill();

    let mut node = start(Some(&data));
    bob.turn_to(node.udp);
    assert_eq!(call(&node, "nh_enable_ping", &json!([])), json!({ "Status": 0 }));
    alice.waiting();
    alice.answer_pings(4);
    let reports = node.reports();
    assert_eq!((total(&reports, "contacts"), total(&reports, "pings_sent")), (1, 0));
    assert_eq!(call(&node, "nh_enable_ping", &json!([1])), "OK");
    bob.answer_pings(2);
    node.kill();

    let node = start(Some(&data));
    bob.turn_to(node.udp);
    bob.waiting();
    bob.answer_pings(1);
    assert_eq!(call(&node, "nh_enable_ping", &json!([])), json!({ "Status": 1 }));
    assert!(total(&clock.reports(), "pings_sent") >= 8);
    clock.stop();
    node.stop();
    std::fs::remove_dir_all(data).unwrap();
}

#[test]
fn a_phone_over_tcp_is_pinged_over_its_connection() {
    let mut node = start(None);
    let mut phone = NattedPhone::tcp(TcpStream::connect(node.tcp).unwrap(), says());
    phone.register("bob");
    let ping = phone.pinged();
    assert_eq!(ping.start(), "OPTIONS sip:bob@10.0.0.7:5060;transport=tcp SIP/2.0");
    assert!(ping.fields("Via").next().unwrap().starts_with("SIP/2.0/TCP "), "{ping:?}");
    phone.answer(&ping, 200);
    wait_for_contact(&node, Some(&mut phone), is_well);
    drop(phone);
    let reports = node.wait_until("its connection is gone", |reports| total(reports, "pings_without_way") >= 2);
    assert_eq!(total(&reports, "connections_opened"), 0, "nobody is called for a ping");
    node.stop();
}
