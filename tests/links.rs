//! Nodes that are linked with each other: they notice when one of them is gone, and calls do not wait for it.

#[path = "sipp/daemon.rs"]
mod daemon;
#[path = "federation/phone.rs"]
mod phone;

use daemon::{Daemon, LOOK_INTERVAL, PATIENCE, Start, folder, total};
use phone::Phone;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

const SECRET: &str = "secret = \"0123456789abcdef0123456789abcdef\"\n";
const UP: &str = "the link to a node is up";
const DOWN: &str = "the link to a node is down";
const RENEWED: &str =
    "the certificates of links were read again: new links are made by them, those that are there stay";

/// Some nodes that know each other by the file, at addresses that no other test uses.
struct Cluster {
    /// The beginning of the addresses, with its last dot.
    network: String,
    count: u8,
}

impl Cluster {
    fn new(count: u8) -> Self {
        static COUNT: AtomicU8 = AtomicU8::new(200);
        let network = format!("127.{}.{}.", 20 + std::process::id() % 200, COUNT.fetch_add(1, Ordering::Relaxed));
        Self { network, count }
    }

    fn home(&self, number: u8) -> String {
        format!("{}{number}", self.network)
    }

    /// The configuration of a node, with more keys of its cluster. Its store is never there, so that peers are asked.
    fn file(&self, number: u8, more: &str) -> String {
        let mut file = format!(
            "[domains]\nnames = [\"fed.example\"]\n[directory]\nurl = \"cassandra://127.0.0.1:1/nowhere.homes\"\n\
             lookup_deadline_ms = 10\nhome_timeout_ms = 32000\n[cluster]\ncurrent_id = {number}\n{more}"
        );
        for number in 1..=self.count {
            let home = self.home(number);
            write!(file, "[[cluster.node]]\nnode_id = {number}\nurl = \"bin:{home}:5578\"\nsip_addr = \"{home}\"\n")
                .unwrap();
        }
        file
    }

    fn node(&self, number: u8, more: &str) -> Daemon {
        let at = SocketAddr::new(self.home(number).parse().unwrap(), 5060);
        Daemon::start(&Start { shards: 1, at, file: &self.file(number, more), ..Start::default() })
    }
}

/// What a node says of its link to another one.
fn link(daemon: &mut Daemon, number: u8) -> String {
    daemon.signal("USR1");
    let link = loop {
        let line = daemon.line("link");
        if line.contains(&format!("\"node\":{number},")) {
            break line;
        }
    };
    daemon.line("report");
    link
}

fn wait_for_link(daemon: &mut Daemon, number: u8, state: &str) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        let line = link(daemon, number);
        if line.contains(&format!("\"state\":\"{state}\"")) {
            return line;
        }
        assert!(Instant::now() < end, "waited in vain until it is {state}: {line}");
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// The next line of the log that says this of a node.
fn line_of(daemon: &mut Daemon, message: &str, number: u8) -> String {
    loop {
        let line = daemon.line(message);
        if line.contains(&format!("\"node\":{number},")) {
            return line;
        }
    }
}

/// Calls somebody whom nobody has; how many homes were asked, and how many left out since they are down.
fn asked_and_left_out(node: &mut Daemon) -> (u64, u64) {
    let before = node.reports();
    let refused = Phone::new("127.0.0.1").call_fails(node.udp, "nobody", 480);
    assert!(refused.fields("Retry-After").next().is_some(), "{refused:?}");
    let after = node.reports();
    let rose = |name| total(&after, name) - total(&before, name);
    (rose("branches_to_homes"), rose("homes_skipped_down"))
}

#[test]
fn calls_leave_out_a_node_that_was_killed_or_is_stopped_until_it_is_back() {
    let cluster = Cluster::new(3);
    let more = format!("{SECRET}ping_interval_ms = 200\nping_timeout_ms = 500\n");
    let [mut one, mut two, mut three] = [1, 2, 3].map(|number| cluster.node(number, &more));
    for (node, others) in [(&mut one, [2, 3]), (&mut two, [1, 3]), (&mut three, [1, 2])] {
        for other in others {
            let line = wait_for_link(node, other, "Up");
            assert!(line.contains(&format!("\"next_hop\":{other},")), "{line}");
        }
    }
    assert_eq!(asked_and_left_out(&mut one), (2, 0));
    three.kill();
    assert!(line_of(&mut one, DOWN, 3).contains("\"level\":\"warn\""));
    let left_out = one.line("calls leave out homes: all of their nodes are down");
    assert!(left_out.contains(&format!("\"homes\":\"{}\"", cluster.home(3))), "{left_out}");
    assert_eq!(settled(&mut one, (1, 1)), (1, 1), "nobody waits for it");
    let (bob, caller) = (Phone::new("127.0.0.1"), Phone::new("127.0.0.1"));
    bob.register(two.udp, "bob", 600);
    caller.call(one.udp, "bob");
    bob.answer(&bob.rings(), 486);
    assert_eq!(caller.outcome().status(), 486);
    assert_eq!(total(&one.reports(), "homes_given_up"), 0, "it was not waited for");
    drop(three);
    let mut three = cluster.node(3, &more);
    line_of(&mut one, UP, 3);
    one.line("calls leave out no home any more");
    assert_eq!(settled(&mut one, (2, 0)), (2, 0));
    // A node that hangs says nothing, and its connections stay.
    wait_for_link(&mut three, 1, "Up");
    three.signal("STOP");
    line_of(&mut one, "the link to a node misses an answer", 3);
    assert!(line_of(&mut one, DOWN, 3).contains("it answers no ping"));
    assert_eq!(settled(&mut one, (1, 1)), (1, 1));
    three.signal("CONT");
    line_of(&mut one, UP, 3);
    assert_eq!(settled(&mut one, (2, 0)), (2, 0));
    // One that stops says so.
    two.stop();
    assert!(line_of(&mut one, DOWN, 2).contains("the other end says: the node stops"));
    one.stop();
    three.stop();
}

/// What a call meets once the shards have heard what the log has said, which they do a moment later.
fn settled(node: &mut Daemon, wanted: (u64, u64)) -> (u64, u64) {
    let end = Instant::now() + PATIENCE;
    loop {
        let met = asked_and_left_out(node);
        if met == wanted || Instant::now() > end {
            return met;
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// A command of the management interface of a node, with its parameters: what it ends with, prints, and says is wrong.
fn command(node: &Daemon, words: &[&str]) -> (i32, String, String) {
    let mut ctl = Command::new(env!("CARGO_BIN_EXE_sipfed"));
    let output = ctl.args(["ctl", "--url", &node.management, "--json"]).args(words).output().unwrap();
    let text =
        |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// One that is done.
fn done(node: &Daemon, words: &[&str]) {
    assert_eq!(command(node, words), (0, "\"OK\"".to_owned(), String::new()), "{words:?}");
}

/// Certificates for the nodes of a cluster; the keys that name them.
fn certificates(cluster: &Cluster, folder: &Path) -> Vec<String> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let name = folder.file_name().unwrap().to_str().unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let path = |name: String| folder.join(name).display().to_string();
    let ca = path("ca.pem".to_owned());
    std::fs::write(&ca, issuer.pem()).unwrap();
    (1..=cluster.count)
        .map(|number| {
            let key = KeyPair::generate().unwrap();
            let certificate =
                CertificateParams::new(vec![cluster.home(number)]).unwrap().signed_by(&key, &issuer).unwrap();
            let (certificate_file, key_file) = (path(format!("{number}.pem")), path(format!("{number}.key")));
            std::fs::write(&certificate_file, certificate.pem()).unwrap();
            std::fs::write(&key_file, key.serialize_pem()).unwrap();
            format!("tls_ca = \"{ca}\"\ntls_certificate = \"{certificate_file}\"\ntls_key = \"{key_file}\"\n")
        })
        .collect()
}

/// A node that does not start: what it ends with and says.
fn refused(file: &str) -> (i32, String) {
    let folder = folder();
    let path = folder.join("sipfed.toml");
    std::fs::write(&path, format!("[node]\nlisten = [\"udp:127.0.0.1:0\"]\n{file}")).unwrap();
    let (config, data) = (path.to_str().unwrap(), folder.join("data"));
    let output = Command::new(env!("CARGO_BIN_EXE_sipfed"))
        .args(["serve", "--config", config, "--data-dir", data.to_str().unwrap()])
        .output()
        .unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    // Lines are broken where they are long.
    let told = String::from_utf8(output.stderr).unwrap();
    let words: Vec<&str> = told.split_whitespace().filter(|word| *word != "│").collect();
    (output.status.code().unwrap(), words.join(" "))
}

/// What `sipfed check` says of a file.
fn check(file: &str) -> String {
    let folder = folder();
    let path = folder.join("sipfed.toml");
    std::fs::write(&path, file).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_sipfed")).arg("check").arg(&path).output().unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn nodes_are_linked_by_certificates_and_one_of_another_authority_is_not() {
    let (cluster, ours, theirs) = (Cluster::new(3), folder(), folder());
    let (keys, other_keys) = (certificates(&cluster, &ours), certificates(&cluster, &theirs));
    let mut one = cluster.node(1, &keys[0]);
    let mut two = cluster.node(2, &keys[1]);
    line_of(&mut one, UP, 2);
    line_of(&mut two, UP, 1);
    let mut three = cluster.node(3, &other_keys[2]);
    let line = three.line("a node cannot be linked; it is tried again");
    assert!(line.contains("by an authority that is not in cluster.tls_ca"), "{line}");
    let line = one.line("a connection from elsewhere came to no link");
    assert!(line.contains(&format!("\"at\":\"{}:", cluster.home(3))), "{line}");
    wait_for_link(&mut one, 3, "Down");
    wait_for_link(&mut one, 2, "Up");
    for node in [one, two, three] {
        node.stop();
    }
    for folder in [ours, theirs] {
        std::fs::remove_dir_all(folder).unwrap();
    }
}

#[test]
fn authority_and_certificates_are_renewed_while_a_link_stays_up() {
    let (cluster, files, renewed, ops) = (Cluster::new(3), folder(), folder(), "[ops]\nlisten = \"127.0.0.1:0\"\n");
    let keys = certificates(&cluster, &files);
    certificates(&cluster, &renewed);
    let [mut one, mut two] = [1, 2].map(|number| {
        let more = format!("{ops}[cluster]\n{}", keys[usize::from(number) - 1]);
        let at = SocketAddr::new(cluster.home(number).parse().unwrap(), 5060);
        let file = cluster.file(number, "").replace("[cluster]\n", &more);
        Daemon::start(&Start { shards: 1, at, file: &file, ..Start::default() })
    });
    line_of(&mut one, UP, 2);
    line_of(&mut two, UP, 1);
    let reload = |one: &mut Daemon, two: &mut Daemon| {
        one.signal("HUP");
        let line = one.line(RENEWED);
        assert!(line.contains("\"level\":\"info\""), "{line}");
        done(two, &["clusterer:reload"]);
    };
    // Both authorities, then certificates of the new one, then the new one alone.
    let read = |folder: &Path, name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    std::fs::write(files.join("ca.pem"), read(&files, "ca.pem") + &read(&renewed, "ca.pem")).unwrap();
    reload(&mut one, &mut two);
    let old_certificate = read(&files, "1.pem");
    for name in ["1.pem", "1.key", "2.pem", "2.key"] {
        std::fs::write(files.join(name), read(&renewed, name)).unwrap();
    }
    reload(&mut one, &mut two);
    std::fs::write(files.join("ca.pem"), read(&renewed, "ca.pem")).unwrap();
    reload(&mut one, &mut two);
    let line = link(&mut one, 2);
    assert!(line.contains("\"state\":\"Up\"") && line.contains("\"ups\":1"), "it was never down: {line}");
    // A link that is made anew is made by what is there now.
    let relink = |one: &mut Daemon, two: &mut Daemon| {
        done(one, &["clusterer:set_status", "1", "0"]);
        line_of(two, DOWN, 1);
        done(one, &["clusterer:set_status", "1", "1"]);
        line_of(one, UP, 2);
        line_of(two, UP, 1);
    };
    relink(&mut one, &mut two);
    // Who has a certificate of the old authority only is nobody any more.
    let mut three = cluster.node(3, &keys[2]);
    let line = three.line("a node cannot be linked; it is tried again");
    assert!(line.contains("the other end does not take this node for one of the cluster"), "{line}");
    // What cannot be used changes nothing.
    std::fs::write(files.join("1.pem"), old_certificate).unwrap();
    one.signal("HUP");
    let line = one.line("the certificates of links stay as they are: they cannot be used as the files are now");
    assert!(line.contains("\"level\":\"warn\"") && line.contains("cluster.tls_certificate"), "{line}");
    std::fs::write(files.join("1.key"), "no key").unwrap();
    let (code, _, told) = command(&one, &["clusterer:reload"]);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("Failed to reload (500)") && told.contains("cluster.tls_key"), "{told}");
    relink(&mut one, &mut two);
    for node in [one, two, three] {
        node.stop();
    }
    for folder in [files, renewed] {
        std::fs::remove_dir_all(folder).unwrap();
    }
}

#[test]
fn nodes_are_taken_out_of_the_cluster_and_back_by_command() {
    let (cluster, ops) = (Cluster::new(3), "[ops]\nlisten = \"127.0.0.1:0\"\n");
    let [mut one, mut two, mut three] = [1, 2, 3].map(|number| {
        let at = SocketAddr::new(cluster.home(number).parse().unwrap(), 5060);
        let file = cluster.file(number, SECRET).replace("[cluster]\n", &format!("{ops}[cluster]\n"));
        Daemon::start(&Start { shards: 1, at, file: &file, ..Start::default() })
    });
    for (node, others) in [(&mut one, [2, 3]), (&mut two, [1, 3]), (&mut three, [1, 2])] {
        for other in others {
            wait_for_link(node, other, "Up");
        }
    }
    assert_eq!(settled(&mut one, (2, 0)), (2, 0));
    // Another node is out for this one alone, and out of its calls.
    done(&one, &["clusterer:set_status", "1", "3", "0"]);
    assert!(
        one.line("the nodes of the cluster were changed by a command").contains("node 3 has another state: 1 became 0")
    );
    line_of(&mut one, "the link to a node is down", 3);
    assert_eq!(settled(&mut one, (1, 0)), (1, 0));
    assert!(command(&one, &["clusterer:list"]).1.contains("\"state\":\"disabled\""));
    assert!(link(&mut two, 3).contains("\"state\":\"Up\""));
    done(&one, &["clusterer_set_status", "cluster_id=1", "node_id=3", "status=1"]);
    line_of(&mut one, UP, 3);
    assert_eq!(settled(&mut one, (2, 0)), (2, 0));
    // A node that takes itself out is down for all others.
    done(&three, &["clusterer:set_status", "1", "0"]);
    for node in [&mut one, &mut two] {
        assert!(line_of(node, DOWN, 3).contains("the other end says: the node has been told to take no part"));
    }
    assert_eq!(settled(&mut one, (1, 1)), (1, 1));
    assert!(command(&three, &["report"]).1.contains("\"is_enabled\":false"));
    done(&three, &["clusterer:set_status", "1", "3", "1"]);
    for node in [&mut one, &mut two] {
        line_of(node, UP, 3);
    }
    // Who is removed is away for good, as far as this node is concerned.
    done(&one, &["clusterer:remove_node", "1", "3"]);
    line_of(&mut one, "the link to a node is down", 3);
    assert!(!command(&one, &["clusterer:list"]).1.contains("\"node_id\":3"));
    for (words, fault) in [
        (&["clusterer:remove_node", "1", "3"][..], "Node id not found (404)"),
        (&["clusterer:remove_node", "1", "1"], "this node cannot be removed"),
        (&["clusterer:set_status", "1", "3", "1"], "Node id not found (404)"),
        (&["clusterer:set_status", "2", "1"], "Cluster id not found (404)"),
        (&["clusterer:set_status", "1", "2"], "Bad value for 'status' (400)"),
        (&["clusterer:set_status", "0", "1"], "Bad value for 'cluster_id' (400)"),
        (&["clusterer:set_cap_status", "1", "usrloc-contact-repl", "0"], "Capability not found (404)"),
        (&["clusterer:reload"], "Clustering not enabled (400)"),
    ] {
        let (code, _, told) = command(&one, words);
        assert!(code == 1 && told.contains(fault), "{words:?}: {told}");
    }
    for node in [one, two, three] {
        node.stop();
    }
}

#[test]
fn nodes_do_for_each_other_what_they_allow() {
    let (cluster, ops) = (Cluster::new(3), "[ops]\nlisten = \"127.0.0.1:0\"\n");
    let allowed = "remote_commands = [\"ul_rm\", \"usrloc:dump\", \"version\"]\n";
    let [one, two, three] = [(1, ops, ""), (2, ops, allowed), (3, "", "")].map(|(number, ops, allowed)| {
        let at = SocketAddr::new(cluster.home(number).parse().unwrap(), 5060);
        let file =
            cluster.file(number, &format!("{SECRET}{allowed}")).replace("[cluster]\n", &format!("{ops}[cluster]\n"));
        Daemon::start(&Start { shards: 1, at, file: &file, ..Start::default() })
    });
    let (mut one, mut two) = (one, two);
    for (node, others) in [(&mut one, [2, 3]), (&mut two, [1, 3])] {
        for other in others {
            wait_for_link(node, other, "Up");
        }
    }
    let bob = Phone::new("127.0.0.1");
    bob.register(two.udp, "bob", 600);
    let (code, dump, _) = command(&one, &["clusterer:send_mi", "1", "2", "ul_dump"]);
    assert!(
        code == 0 && dump.contains("\"AOR\": \"bob@fed.example\"") || dump.contains("\"AOR\":\"bob@fed.example\""),
        "{dump}"
    );
    let remove = ["cluster_send_mi", "1", "2", "usrloc:rm", "location", "bob@fed.example"];
    assert_eq!(command(&one, &remove), (0, "\"OK\"".to_owned(), String::new()));
    two.line("a command of another node");
    let line = two.line("a command of another node");
    assert!(line.contains("\"from\":1,\"command\":\"usrloc:rm\""), "{line}");
    assert_eq!(total(&two.reports(), "contacts"), 0);
    // What a node says no to is told as it says it.
    for (node, words, fault) in [
        (&two, &["clusterer:send_mi", "1", "1", "ul_rm", "location", "a@fed.example"][..], "Forbidden (403)"),
        (&two, &["clusterer:send_mi", "1", "1", "ul_flush"], "add it to cluster.remote_commands of node 1"),
        (&one, &["clusterer:send_mi", "1", "2", "ul_dmp"], "Method not found"),
        (&one, &["clusterer:send_mi", "1", "2", "ul_rm", "location", "bob"], "Domain missing in AOR (400)"),
        (&one, &["clusterer:send_mi", "1", "2", "cluster_send_mi", "1", "1", "version"], "is not sent on"),
        (
            &one,
            &["clusterer:send_mi", "1", "3", "version"],
            "node 3 takes no command now: it has no management interface",
        ),
        (&one, &["clusterer:send_mi", "1", "1", "version"], "Local node specified as destination (400)"),
        (&one, &["clusterer:send_mi", "1", "9", "version"], "Destination down (400)"),
        (&one, &["clusterer:send_mi", "2", "2", "version"], "Cluster id not found (404)"),
        (&one, &["clusterer:send_mi", "1", "0", "version"], "Bad value for 'destination' (400)"),
    ] {
        let (code, _, told) = command(node, words);
        assert!(code == 1 && told.contains(fault), "{words:?}: {told}");
    }
    let (code, _, told) = command(&one, &["clusterer:broadcast_mi", "1", "version"]);
    assert!(code == 1 && told.contains("Not all nodes have done it (500)"), "{told}");
    assert!(told.contains("done by nodes 1 2; node 3 takes no command now"), "{told}");
    done(&one, &["clusterer:set_status", "1", "3", "0"]);
    let (code, version, _) = command(&one, &["cluster_broadcast_mi", "1", "version"]);
    assert!(code == 0 && version.contains("sipfed ("), "{version}");
    done(&one, &["clusterer:set_status", "1", "0"]);
    let (code, _, told) = command(&one, &["clusterer:send_mi", "1", "2", "version"]);
    assert!(code == 1 && told.contains("Local node disabled (400)"), "{told}");
    for node in [one, two, three] {
        node.stop();
    }
}

#[test]
fn a_node_that_cannot_show_who_it_is_or_listen_does_not_start_and_says_why() {
    let (cluster, files) = (Cluster::new(2), folder());
    let keys = certificates(&cluster, &files);
    let (code, told) = refused(&cluster.file(2, &keys[0]));
    assert_eq!(code, 3, "{told}");
    assert!(
        told.contains("cluster.tls_certificate") && told.contains("have a certificate issued for this node"),
        "{told}"
    );
    std::fs::remove_dir_all(files).unwrap();
    let (code, told) = refused(&cluster.file(1, &keys[0]));
    assert_eq!(code, 3, "{told}");
    assert!(told.contains("cluster.tls_ca") && told.contains("correct the path"), "{told}");
    let (code, told) = refused(&cluster.file(1, "secret = \"open-sesame\"\n"));
    assert_eq!(code, 3, "{told}");
    assert!(told.contains("openssl rand") && !told.contains("sesame"), "{told}");
    for (commands, what) in [("ul_dmp", "not a command of this release"), ("cluster_send_mi", "would be sent on")] {
        let (code, told) = refused(&cluster.file(1, &format!("{SECRET}remote_commands = [\"{commands}\"]\n")));
        assert!(code == 3 && told.contains(what), "{told}");
    }
    let taken = std::net::TcpListener::bind(format!("{}:5578", cluster.home(1))).unwrap();
    let (code, told) = refused(&cluster.file(1, SECRET));
    assert_eq!(code, 1, "{told}");
    let at = taken.local_addr().unwrap().to_string();
    assert!(told.contains("cannot listen at its url for others") && told.contains(&at), "{told}");
}

#[test]
fn without_a_secret_or_certificates_there_are_no_links_and_the_node_says_so() {
    let cluster = Cluster::new(2);
    let log = cluster.node(1, "").end();
    let said: Vec<&String> = log.iter().filter(|line| line.contains("no links to the other nodes")).collect();
    assert_eq!(said.len(), 1, "{log:#?}");
    assert!(said[0].contains("\"level\":\"info\"") && said[0].contains("cluster.secret"), "{said:?}");
    let folder = folder();
    assert!(check(&cluster.file(1, "")).contains("links       none: "));
    let with_secret = check(&cluster.file(1, SECRET));
    assert!(with_secret.contains("links       by a secret") && !with_secret.contains("0123456789"), "{with_secret}");
    let by_certificates = check(&cluster.file(1, &certificates(&cluster, &folder)[0]));
    assert!(by_certificates.contains("links       by certificates"), "{by_certificates}");
    std::fs::remove_dir_all(folder).unwrap();
    let alone = Cluster::new(1).node(1, "").end();
    assert!(!alone.iter().any(|line| line.contains("no links to")), "{alone:#?}");
}
