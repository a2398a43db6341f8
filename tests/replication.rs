//! Pairs of nodes that hold the same bindings, on hosts of their own: what was registered at one is at the other when the
//! address of their home moves. Needs root, since the hosts are network namespaces.

#[path = "sipp/daemon.rs"]
mod daemon;
#[allow(dead_code, reason = "here the test moves the address")]
#[path = "failover/keepalived.rs"]
mod keepalived;
#[allow(dead_code, reason = "here nobody measures when the kernel tells of an address")]
#[path = "failover/network.rs"]
mod network;
#[allow(dead_code, reason = "here the test moves the address")]
#[path = "failover/pair.rs"]
mod pair;
#[path = "federation/phone.rs"]
mod phone;
#[allow(dead_code, reason = "here nobody looks at single answers")]
#[path = "management/phone.rs"]
mod phones;
#[path = "sipp/tool.rs"]
mod tool;

use daemon::{Daemon, LOOK_INTERVAL, PATIENCE, Report, Start, folder, total};
use network::{Host, Network};
use pair::Pair;
use phone::{Message, Phone, response};
use phones::Phones;
use std::net::SocketAddr;
use std::time::Instant;

const SECRET: &str = "secret = \"0123456789abcdef0123456789abcdef\"\n";
const SYNC: &str = "replication = \"sync\"\n";
const ACTIVE: &str = "this node is active";
const WHOLE: &str = "this node knows all bindings of its home";

/// What a node reports of its one backup.
fn backup(daemon: &mut Daemon) -> Report {
    daemon.signal("USR1");
    Report::of(daemon.line("backup"))
}

/// Starts both nodes, of which the first has the address, with different numbers of shards, and waits until they hold the same.
fn start_whole(pair: &Pair) -> (Daemon, Daemon) {
    pair.members[0].host.set_address(pair.home, true);
    let (mut one, mut two) = (pair.start_with(0, 2), pair.start_with(1, 3));
    for node in [&mut one, &mut two] {
        node.line(WHOLE);
    }
    wait_for_backup(&mut one, "they are equal", is_equal);
    (one, two)
}

fn wait_for_backup(daemon: &mut Daemon, what: &str, is_so: impl Fn(&Report) -> bool) -> Report {
    let end = Instant::now() + PATIENCE;
    loop {
        let report = backup(daemon);
        if is_so(&report) {
            return report;
        }
        assert!(Instant::now() < end, "waited in vain until {what}: {report:?}");
        std::thread::sleep(LOOK_INTERVAL);
    }
}

fn is_equal(report: &Report) -> bool {
    ["is_connected", "has_all", "is_synchronized"].iter().all(|name| report.count(name) == 1)
        && report.count("lag_parts") == 0
}

/// Moves the address of a pair to one of its hosts, which the host of the phones learns.
fn give_address(pair: &Pair, member: usize, phones: &Host) {
    pair.members[1 - member].host.set_address(pair.home, false);
    pair.members[member].host.set_address(pair.home, true);
    phones.forget_who_has(pair.home);
}

fn register_all(phone: &Phone, at: SocketAddr, users: std::ops::Range<u32>) {
    for user in users {
        phone.register(at, &format!("user{user}"), 600);
    }
}

#[test]
fn a_backup_has_all_that_was_answered_when_the_active_node_is_killed() {
    if !network::is_possible("a_backup_has_all_that_was_answered_when_the_active_node_is_killed") {
        return;
    }
    let network = Network::new();
    let keys = format!("{SECRET}{SYNC}");
    let pair = Pair::new(&network, [1, 2], network::address(100), &keys, "[directory]\nurl = \"memory:\"\n");
    let (mut one, mut two) = start_whole(&pair);
    let host = network.host(50);
    let (phone, caller) = (Phone::with(host.socket_to(pair.home)), Phone::with(host.socket_to(pair.home)));
    register_all(&phone, pair.at(), 0..200);
    // What was answered is there, without a moment to spare.
    one.kill();
    let reports = two.reports();
    assert_eq!((total(&reports, "contacts"), total(&reports, "registers_accepted")), (200, 0));
    assert_eq!(two.directory().count("published"), 0, "a passive node publishes nothing");
    give_address(&pair, 1, &host);
    two.line(ACTIVE);
    caller.call(pair.at(), "user7");
    phone.answer(&phone.rings(), 200);
    assert_eq!(caller.outcome().status(), 200);
    // It is known from before.
    register_all(&phone, pair.at(), 0..1);
    assert_eq!(total(&two.reports(), "registers_accepted"), 1);
    assert_eq!(total(&two.reports(), "contacts"), 200);
    two.wait_for_directory("all rows are there", |directory| directory.count("published") >= 200);
    // The killed one comes back, with another number of shards, and learns what has happened meanwhile.
    register_all(&phone, pair.at(), 200..250);
    phone.register(pair.at(), "user9", 0);
    let mut one = pair.start_with(0, 1);
    one.line(WHOLE);
    wait_for_backup(&mut two, "they are equal", is_equal);
    assert_eq!(total(&one.reports(), "contacts"), 249);
    give_address(&pair, 0, &host);
    one.line(ACTIVE);
    caller.call_fails(pair.at(), "user9", 480);
    caller.call(pair.at(), "user249");
    phone.answer(&phone.rings(), 200);
    assert_eq!(caller.outcome().status(), 200);
    one.stop();
    two.stop();
}

#[test]
fn a_call_that_rings_while_the_address_moves_is_cancelled_by_the_node_that_has_it_now() {
    if !network::is_possible("a_call_that_rings_while_the_address_moves_is_cancelled_by_the_node_that_has_it_now") {
        return;
    }
    let network = Network::new();
    let pair = Pair::new(&network, [1, 2], network::address(100), &format!("{SECRET}{SYNC}"), "");
    let (mut one, mut two) = start_whole(&pair);
    let host = network.host(50);
    let (phone, caller) = (Phone::with(host.socket_to(pair.home)), Phone::with(host.socket_to(pair.home)));
    // They are of several shards.
    register_all(&phone, pair.at(), 0..8);
    let calls: Vec<String> = (0..8).map(|user| caller.call(pair.at(), &format!("user{user}"))).collect();
    let ringing: Vec<_> = (0..8).map(|_| phone.rings()).collect();
    for call in &ringing {
        phone.answer(call, 180);
        caller.receive(|message| message.status() == 180);
    }
    one.kill();
    give_address(&pair, 1, &host);
    two.line(ACTIVE);
    for (rings, _) in &ringing {
        let of_call = |message: &Message, cseq: &str| {
            message.fields("Call-ID").eq(rings.fields("Call-ID"))
                && message.fields("CSeq").any(|value| value.ends_with(cseq))
        };
        let invite = calls.iter().find(|invite| of_call(&Message((*invite).clone()), "INVITE")).unwrap();
        let again = |method: &str| {
            let start = invite.replacen("INVITE ", &format!("{method} "), 1);
            start.replace(" INVITE\r\n", &format!(" {method}\r\n"))
        };
        caller.send(pair.at(), &again("CANCEL"));
        let (cancel, from) = phone.receive(|message| message.status() == 0 && of_call(message, "CANCEL"));
        assert_eq!(cancel.fields("Via").next(), rings.fields("Via").next());
        phone.send(from, &response(&cancel, 200, "sip:phone"));
        phone.send(from, &response(rings, 487, "sip:phone"));
        phone.receive(|message| message.status() == 0 && of_call(message, "ACK"));
        caller.receive(|message| message.status() == 200 && of_call(message, "CANCEL"));
        caller.receive(|message| message.status() == 487 && of_call(message, "INVITE"));
        caller.send(pair.at(), &again("ACK"));
    }
    let reports = two.reports();
    assert_eq!((total(&reports, "cancels_for_twins"), total(&reports, "responses_for_twins")), (8, 0));
    two.stop();
}

#[test]
fn a_backup_that_starts_late_or_was_away_gets_what_it_lacks() {
    if !network::is_possible("a_backup_that_starts_late_or_was_away_gets_what_it_lacks") {
        return;
    }
    let network = Network::new();
    let pair = Pair::new(&network, [1, 2], network::address(100), SECRET, "");
    pair.members[0].host.set_address(pair.home, true);
    let mut one = pair.start(0);
    one.line("this node knows all bindings of its home");
    let phone = Phone::with(network.host(50).socket_to(pair.home));
    register_all(&phone, pair.at(), 0..500);
    let mut two = pair.start(1);
    let line = two.line(WHOLE);
    assert!(line.contains("\"source\":1"), "{line}");
    assert_eq!(total(&two.reports(), "contacts"), 500);
    assert_eq!(wait_for_backup(&mut two, "they are equal", is_equal).count("mended"), 500);
    two.stop();
    register_all(&phone, pair.at(), 500..520);
    phone.register(pair.at(), "user3", 0);
    let mut two = pair.start(1);
    two.line(WHOLE);
    wait_for_backup(&mut one, "they are equal", is_equal);
    let reports = two.reports();
    assert_eq!(total(&reports, "contacts"), 519);
    // What it missed came as the journal, and no comparison had to find it.
    assert_eq!((total(&reports, "replica_bindings"), backup(&mut two).count("mended")), (20, 0));
    two.stop();
    one.stop();
}

/// A backup may be given bindings faster than its disk takes them: these are more than its log has room for in memory. It knows
/// all only once the log has all, and keeps room in it, so that whoever registers as soon as the address has come is not refused.
#[test]
fn a_backup_that_has_just_been_given_all_bindings_refuses_nobody_when_the_address_comes() {
    const USERS: usize = 32_000;
    if !network::is_possible("a_backup_that_has_just_been_given_all_bindings_refuses_nobody_when_the_address_comes") {
        return;
    }
    let network = Network::new();
    let on_disk = "[persistence]\ndurability = \"disk\"\n";
    let pair = Pair::new(&network, [1, 2], network::address(100), SECRET, on_disk);
    pair.members[0].host.set_address(pair.home, true);
    let mut one = pair.start(0);
    one.line(WHOLE);
    let host = network.host(50);
    let phones = Phones::with(host.socket_to(pair.home), pair.at());
    let users = |range: std::ops::Range<usize>| range.map(|user| format!("user{user}"));
    // Another phone of each, and as much to be kept of both as there may be.
    let long = "x".repeat(900);
    let lines =
        format!("Contact: <sip:desk@10.0.0.7;x={long}>;x={long};expires=3600\r\nPath: <sip:10.0.0.9;lr;x={long}>\r\n");
    phones.register_all(users(0..USERS), 1, lines.as_bytes());
    let mut two = pair.start_with(1, 1);
    two.line(WHOLE);
    give_address(&pair, 1, &host);
    two.line(ACTIVE);
    // Each of them is answered 200, or this panics.
    phones.register_all(users(USERS - 500..USERS + 500), 2, lines.as_bytes());
    let reports = two.reports();
    assert!(total(&reports, "log_bytes") > 64 << 20, "{reports:?}");
    assert_eq!(total(&reports, "contacts"), 2 * (USERS as u64 + 500));
    for name in ["refused_not_durable", "registers_refused", "log_stalls"] {
        assert_eq!(total(&reports, name), 0, "{name}");
    }
    let report = wait_for_backup(&mut two, "they are equal", is_equal);
    assert_eq!((report.count("mended"), report.count("divergence")), (2 * USERS as u64, 0));
    one.stop();
    two.stop();
}

#[test]
fn with_sync_a_registration_waits_for_a_backup_that_hangs_only_so_long() {
    if !network::is_possible("with_sync_a_registration_waits_for_a_backup_that_hangs_only_so_long") {
        return;
    }
    let network = Network::new();
    let keys = format!("{SECRET}{SYNC}replication_timeout_ms = 200\n");
    let pair = Pair::new(&network, [1, 2], network::address(100), &keys, "");
    pair.members[0].host.set_address(pair.home, true);
    let (mut one, two) = (pair.start(0), pair.start(1));
    one.line("registrations are promised once a backup has them");
    let phone = Phone::with(network.host(50).socket_to(pair.home));
    register_all(&phone, pair.at(), 0..10);
    two.signal("STOP");
    register_all(&phone, pair.at(), 10..20);
    one.line("no backup keeps up: registrations are promised although this node alone has them");
    two.signal("CONT");
    one.line("registrations are promised once a backup has them");
    wait_for_backup(&mut one, "they are equal", is_equal);
    let mut two = two;
    assert_eq!(total(&two.reports(), "contacts"), 20);
    one.stop();
    two.stop();
}

/// A command of the management interface of a node, with its parameters; what it answers.
fn command(host: &Host, words: &[&str]) -> String {
    let mut ctl = host.command(env!("CARGO_BIN_EXE_sipfed"));
    let output = ctl.args(["ctl", "--url", "http://127.0.0.1:8888/mi", "--json"]).args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().split_whitespace().collect()
}

#[test]
fn commands_tell_how_a_pair_stands_and_say_who_is_active() {
    if !network::is_possible("commands_tell_how_a_pair_stands_and_say_who_is_active") {
        return;
    }
    let network = Network::new();
    let keys = format!("{SECRET}ownership = \"command\"\n");
    let pair = Pair::new(&network, [1, 2], network::address(100), &keys, "[ops]\nlisten = \"127.0.0.1:8888\"\n");
    let (mut one, mut two) = (pair.start(0), pair.start(1));
    let hosts = pair.members.each_ref().map(|member| member.host.clone());
    for (node, other) in [(&mut one, 2), (&mut two, 1)] {
        node.line(WHOLE);
        wait_for_backup(node, "they are equal", |report| is_equal(report) && report.count("node") == other);
    }
    let list = command(&hosts[0], &["clusterer:list"]);
    assert_eq!(
        list,
        "{\"Clusters\":[{\"cluster_id\":1,\"Nodes\":[{\"node_id\":2,\"db_id\":-1,\"url\":\"bin:10.77.0.2\",\"link_state\":\"Up\",\
         \"state\":\"enabled\",\"next_hop\":\"2\",\"description\":\"none\"}]}]}"
    );
    let topology = command(&hosts[1], &["clusterer_list_topology"]);
    assert!(topology.contains("{\"node_id\":2,\"Neighbours\":[1]}"), "{topology}");
    let capability = "{\"name\":\"usrloc-contact-repl\",\"state\":\"Ok\",\"enabled\":\"yes\"}";
    assert!(command(&hosts[1], &["clusterer:list_cap"]).contains(capability));
    let statistics = command(&hosts[0], &["get_statistics", "replication:", "clusterer:"]);
    for value in ["\"replication:is_whole\":1", "\"replication:divergence\":0", "\"clusterer:nodes_up\":1"] {
        assert!(statistics.contains(value), "{statistics}");
    }
    switches_hot_backup(&hosts[1], &mut two, &mut one);
    // Nobody is active before somebody says so.
    let tag = |state| format!("[{{\"Tag\":\"home\",\"Cluster\":1,\"State\":\"{state}\"}}]");
    for host in &hosts {
        assert_eq!(command(host, &["clusterer_list_shtags"]), tag("backup"));
        assert_eq!(command(host, &["nh_enable_ping"]), "{\"Status\":0}");
    }
    assert_eq!(command(&hosts[0], &["nh_enable_ping", "1"]), "\"OK\"");
    one.line(ACTIVE);
    assert_eq!(command(&hosts[0], &["clusterer_list_shtags"]), tag("active"));
    // The one who says so last is; the other one hears of it.
    assert_eq!(command(&hosts[1], &["clusterer_shtag_set_active", "home/1"]), "\"OK\"");
    two.line(ACTIVE);
    one.line("this node is passive");
    assert_eq!(command(&hosts[0], &["nh_enable_ping"]), "{\"Status\":0}");
    assert_eq!(command(&hosts[0], &["ul_cluster_sync"]), "\"OK\"");
    one.line("what is held here is compared with what backups hold, as was asked");
    one.stop();
    two.stop();
}

/// A node is told to take no part in hot backup, misses a binding, and has it once it takes part again.
fn switches_hot_backup(host: &Host, node: &mut Daemon, other: &mut Daemon) {
    let set = |status| ["clusterer:set_cap_status", "1", "usrloc-contact-repl", status];
    assert_eq!(command(host, &set("0")), "\"OK\"");
    let capability = "{\"name\":\"usrloc-contact-repl\",\"state\":\"Ok\",\"enabled\":\"no\"}";
    assert!(command(host, &["clusterer:list_cap"]).contains(capability));
    wait_for_backup(other, "it takes no part", |report| report.count("is_connected") == 0);
    let add = ["ul_add", "location", "late@fed.example", "sip:late@127.0.0.1:9", "600", "1", "0", "0", "0"];
    assert_eq!(command(host, &add), "\"OK\"");
    assert_eq!(total(&other.reports(), "contacts"), 0);
    assert_eq!(command(host, &set("1")), "\"OK\"");
    assert!(command(host, &["clusterer_list_cap"]).contains("\"enabled\":\"yes\""));
    other.wait_until("it has what it missed", |reports| total(reports, "contacts") == 1);
    for node in [node, other] {
        wait_for_backup(node, "they are equal", is_equal);
    }
    assert_eq!(command(host, &["ul_rm", "location", "late@fed.example"]), "\"OK\"");
}

#[test]
fn a_node_that_comes_to_have_backups_takes_its_bindings_along() {
    let data = folder();
    let register_one = |node: &Daemon, phone: &Phone| phone.register(node.udp, "alice", 600);
    let (phone, caller) = (Phone::new("127.0.0.1"), Phone::new("127.0.0.1"));
    let domain = "[domains]\nnames = [\"fed.example\"]\n";
    let node = Daemon::start(&Start { file: domain, data: Some(&data), ..Start::default() });
    register_one(&node, &phone);
    node.stop();
    let node = |number| {
        let url = format!("bin:127.0.0.{number}:5599");
        format!("[[cluster.node]]\nnode_id = {number}\nurl = \"{url}\"\nsip_addr = \"127.0.0.1:5999\"\nseed = true\n")
    };
    let nodes = [node(1), node(2)].concat();
    let file = format!("{domain}[cluster]\ncurrent_id = 1\n{SECRET}{nodes}");
    for shards in [2, 1] {
        let mut node = Daemon::start(&Start { shards, file: &file, data: Some(&data), ..Start::default() });
        assert_eq!(total(&node.reports(), "contacts"), 1);
        caller.call(node.udp, "alice");
        phone.answer(&phone.rings(), 200);
        assert_eq!(caller.outcome().status(), 200);
        // It is the same binding for its phone.
        register_one(&node, &phone);
        assert_eq!(total(&node.reports(), "contacts"), 1);
        node.stop();
    }
    std::fs::remove_dir_all(data).unwrap();
}
