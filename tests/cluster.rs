//! Nodes that are provisioned as OpenSIPS's are: by a table in a real database, or by the file; and what becomes of them
//! when the table changes, is wrong, or is not there.

#[path = "sipp/daemon.rs"]
mod daemon;
#[path = "federation/phone.rs"]
mod phone;
#[path = "stores/real.rs"]
mod real;
#[path = "cluster/relay.rs"]
mod relay;
#[path = "cluster/table.rs"]
mod table;

use daemon::{Daemon, LOOK_INTERVAL, PATIENCE, Start, folder, total};
use phone::Phone;
use relay::Relay;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use table::{PAIR, Table, WITH_BACKUPS};

/// The message of a reload.
const READ_AGAIN: &str = "the nodes of the cluster were read again";

/// The configuration of a node.
fn file(table: &Table, url: &str, current_id: u8, directory: &str) -> String {
    let name = &table.name;
    format!(
        "[domains]\nnames = [\"fed.example\"]\n[cluster]\ndb_url = \"{url}\"\ntable = \"{name}\"\ncurrent_id = \
         {current_id}\n[directory]\nurl = \"{directory}\"\nschema = \"opensips\"\nlookup_deadline_ms = 2000\n"
    )
}

/// A store of the directory that no other test uses.
fn shared_directory(table: &Table) -> String {
    format!("{}/clu_{}_{}.userlocation", real::cassandra(), std::process::id(), table.number)
}

/// Starts a node at its home.
fn node(home: &str, file: &str, data: Option<&Path>) -> Daemon {
    Daemon::start(&Start { at: SocketAddr::new(home.parse().unwrap(), 5060), file, data, ..Start::default() })
}

/// What a command of `sipfed` ends with, and what it says on both outputs.
fn sipfed(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sipfed")).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// A node that does not start: what it ends with and says.
fn refused(file: &str) -> (i32, String) {
    let folder = folder();
    let refused = refused_with_copy(file, &folder.join("data"));
    std::fs::remove_dir_all(folder).unwrap();
    refused
}

/// The same with a data directory that may have a copy.
fn refused_with_copy(file: &str, data: &Path) -> (i32, String) {
    let folder = folder();
    let path = folder.join("sipfed.toml");
    std::fs::write(&path, format!("[node]\nlisten = [\"udp:127.0.0.1:0\"]\n{file}")).unwrap();
    let (code, _, told) = sipfed(&["serve", "--config", path.to_str().unwrap(), "--data-dir", data.to_str().unwrap()]);
    std::fs::remove_dir_all(folder).unwrap();
    // Lines are broken where they are long.
    (code, told.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" "))
}

/// What `sipfed cluster show --json` says of the nodes with this file.
fn shown(file: &str) -> Vec<String> {
    let folder = folder();
    let path = folder.join("sipfed.toml");
    std::fs::write(&path, file).unwrap();
    let (code, told, wrong) = sipfed(&["cluster", "show", "--json", "--config", path.to_str().unwrap()]);
    assert_eq!(code, 0, "{wrong}");
    std::fs::remove_dir_all(folder).unwrap();
    told.lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn nodes_of_the_tutorials_tables_form_a_federation_and_calls_go_to_the_other_home() {
    for (insert, homes) in [(PAIR, [177, 179]), (WITH_BACKUPS, [223, 224])] {
        let table = Table::new(insert);
        let directory = shared_directory(&table);
        let homes = homes.map(|last| table.address(last));
        let mut one = node(&homes[0], &file(&table, &table.url, 1, &directory), None);
        let mut three = node(&homes[1], &file(&table, &table.url, 3, &directory), None);
        for node in [&mut one, &mut three] {
            node.wait_for_directory("the store is there", |directory| directory.count("reconciles") > 0);
        }
        let bob = Phone::new("127.0.0.1");
        bob.register(one.udp, "bob", 600);
        one.wait_for_directory("bob is published", |directory| directory.count("published") >= 1);
        let caller = Phone::new("127.0.0.1");
        caller.call(three.udp, "bob");
        let rings = bob.rings();
        assert_eq!(rings.0.fields("Via").count(), 3, "the caller, node 3 and the home: {rings:?}");
        bob.answer(&rings, 200);
        assert_eq!(caller.outcome().status(), 200);
        let reports = one.reports();
        assert_eq!((total(&reports, "requests_from_peers"), total(&reports, "lookups_asked")), (1, 0));
        let folder = folder();
        let path = folder.join("sipfed.toml");
        std::fs::write(&path, file(&table, &table.url, 3, &directory)).unwrap();
        let verified = sipfed(&["directory", "verify", "--config", path.to_str().unwrap()]);
        assert_eq!(verified.0, 0, "the homes of the cluster are known: {verified:?}");
        std::fs::remove_dir_all(folder).unwrap();
        one.stop();
        three.stop();
    }
}

#[test]
fn a_node_starts_by_its_copy_while_the_database_is_away_or_silent() {
    let table = Table::new(PAIR);
    let home = table.address(177);
    let data = folder();
    let (url, relay) = Relay::to(&table.url);
    let by_relay = file(&table, &url, 1, "memory:");
    node(&home, &by_relay, Some(&data)).stop();
    drop(relay);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mysql://opensips:opensipsrw@{}/opensips", silent.local_addr().unwrap());
    let by_silence = file(&table, &url, 1, "memory:").replace("[cluster]\n", "[cluster]\ndb_timeout_ms = 300\n");
    for (file, why) in [(by_relay, "refused"), (by_silence, "took more than 300 ms")] {
        let daemon = node(&home, &file, Some(&data));
        assert_eq!(daemon.udp.ip().to_string(), home);
        let log = daemon.end();
        let said = |text: &str| log.iter().find(|line| line.contains(text)).unwrap_or_else(|| panic!("{log:#?}"));
        let line = said("the nodes of the cluster are those of the copy");
        assert!(line.contains("\"level\":\"warn\"") && line.contains("\"age_s\":") && line.contains(why), "{line}");
        assert!(line.contains(&format!("the table {} at mysql://127.0.0.1:", table.name)), "{line}");
        let member = said("\"message\":\"member of a cluster\"");
        let peer = table.address(179);
        assert!(member.contains(&format!("\"home\":\"{home}\",\"peers\":\"{peer}\"")), "{member}");
        assert!(!log.iter().any(|line| line.contains("opensipsrw")), "{log:#?}");
    }
    std::fs::remove_dir_all(data).unwrap();
}

#[test]
fn without_database_and_copy_a_node_says_what_to_do() {
    let table = Table::new(PAIR);
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, told) = refused(&file(&table, &format!("mysql://opensips:opensipsrw@{gone}/opensips"), 1, "memory:"));
    assert_eq!(code, 1, "{told}");
    for text in ["does not answer", "there is no copy of them in", "start the database or correct cluster.db_url"] {
        assert!(told.contains(text), "{told}");
    }
    assert!(!told.contains("opensipsrw"), "{told}");
    // One that answers, and says no.
    let wrong = table.url.replace("opensipsrw", "sesame");
    let (code, told) = refused(&file(&table, &wrong, 1, "memory:"));
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("Access denied") && !told.contains("sesame"), "{told}");
    let other = file(&table, &table.url, 1, "memory:").replace(&table.name, "clusterer_of_nobody");
    assert!(refused(&other).1.contains("clusterer_of_nobody"));
}

#[test]
fn a_node_that_would_not_hear_the_home_that_it_shares_is_told_what_to_listen_at() {
    let member =
        |id| format!("[[cluster.node]]\nnode_id = {id}\nurl = \"bin:10.0.0.17{id}\"\nsip_addr = \"10.0.0.223\"\n");
    let (code, told) = refused(&format!("[cluster]\ncurrent_id = 1\n{}{}", member(1), member(2)));
    assert_eq!(code, 3, "{told}");
    for text in [
        "node 1, which is this node, does not listen at its sip_addr 10.0.0.223, which it shares with another node",
        "add \"udp:10.0.0.223:5060\" to node.listen",
    ] {
        assert!(told.contains(text), "{told}");
    }
}

#[test]
fn a_node_that_comes_to_share_its_home_while_it_runs_says_that_it_is_to_be_restarted() {
    let table = Table::new(PAIR);
    let mut daemon = node(&table.address(177), &file(&table, &table.url, 1, "memory:"), None);
    table.run("UPDATE clusterer SET sip_addr = '10.0.0.177' WHERE node_id = 3");
    daemon.signal("HUP");
    daemon.line(
        "another node has come to share this one's sip_addr, or shares it no more: restart this node to take that over",
    );
    daemon.stop();
}

#[test]
fn a_row_that_is_wrong_is_refused_by_a_start_and_by_a_reload() {
    let table = Table::new(PAIR);
    let file = file(&table, &table.url, 1, "memory:");
    let mut daemon = node(&table.address(177), &file, None);
    table.run("UPDATE clusterer SET sip_addr = NULL WHERE node_id = 3");
    daemon.signal("HUP");
    let line = daemon.line("the nodes of the cluster stay as they are: they could not be read again");
    assert!(line.contains("cluster_id 1, node_id 3: sip_addr is empty"), "{line}");
    let (code, told) = refused(&file);
    assert_eq!(code, 3, "{told}");
    assert!(told.contains("cluster_id 1, node_id 3: sip_addr is empty: write an IP address"), "{told}");
    table.run("UPDATE clusterer SET sip_addr = 'sip.example.com' WHERE node_id = 3");
    let (code, told) = refused(&file);
    assert_eq!(code, 3, "{told}");
    assert!(told.contains("sip_addr cannot be 'sip.example.com'"), "{told}");
    table.run("UPDATE clusterer SET sip_addr = '10.0.0.180' WHERE node_id = 3");
    daemon.signal("HUP");
    let line = daemon.line(READ_AGAIN);
    let change = format!("node 3 has another sip_addr: {} became {}", table.address(179), table.address(180));
    assert!(line.contains(&change), "{line}");
    daemon.stop();
}

#[test]
fn a_reload_by_command_says_what_came_of_it() {
    let table = Table::new(PAIR);
    let file = format!("{}[ops]\nlisten = \"127.0.0.1:0\"\n", file(&table, &table.url, 1, "memory:"));
    let mut daemon = node(&table.address(177), &file, None);
    let reload = |daemon: &Daemon, name: &str| sipfed(&["ctl", "--url", &daemon.management, name]);
    table.run("UPDATE clusterer SET sip_addr = NULL WHERE node_id = 3");
    let (code, _, told) = reload(&daemon, "clusterer_reload");
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("Failed to reload (500)") && told.contains("node_id 3: sip_addr is empty"), "{told}");
    table.run("UPDATE clusterer SET sip_addr = '10.0.0.180' WHERE node_id = 3");
    assert_eq!(reload(&daemon, "clusterer:reload"), (0, "OK\n".to_owned(), String::new()));
    assert!(daemon.line(READ_AGAIN).contains(&table.address(180)));
    let (_, list, _) = sipfed(&["ctl", "--url", &daemon.management, "--json", "clusterer:list"]);
    assert!(list.contains("\"node_id\":3,\"db_id\":2,"), "the number of the row: {list}");
    daemon.stop();
}

#[test]
fn a_node_whose_table_has_become_wrong_starts_by_its_copy_and_tells_it_as_an_error() {
    let table = Table::new(PAIR);
    let (home, data) = (table.address(177), folder());
    let file = file(&table, &table.url, 1, "memory:");
    // One that keeps no bindings keeps the copy all the same; one that does is not kept from its data directory by it.
    node(&home, &format!("{file}[persistence]\ndurability = \"none\"\n"), Some(&data)).stop();
    table.run("UPDATE clusterer SET url = 'bin:' WHERE node_id = 3");
    let log = node(&home, &file, Some(&data)).end();
    let line = log.iter().find(|line| line.contains("the nodes of the cluster are those of the copy")).unwrap();
    assert!(line.contains("\"level\":\"error\"") && line.contains("node_id 3: url cannot be 'bin:'"), "{line}");
    // Of another cluster it is no copy.
    let (code, told) = refused_with_copy(&file.replace("[cluster]\n", "[cluster]\ncluster_id = 2\n"), &data);
    assert_eq!(code, 3, "{told}");
    assert!(
        told.contains("has no node of cluster 2") && told.contains("is of cluster 1, and this node is in"),
        "{told}"
    );
    std::fs::remove_dir_all(data).unwrap();
}

#[test]
fn a_data_directory_that_takes_no_copy_is_no_more_than_a_warning() {
    let table = Table::new(PAIR);
    let file = file(&table, &table.url, 1, "memory:");
    // Without bindings to keep, nobody makes the directory.
    let log = node(&table.address(177), &format!("{file}[persistence]\ndurability = \"none\"\n"), None).end();
    let line = log.iter().find(|line| line.contains("no copy of them can be kept at ")).unwrap();
    assert!(line.contains("\"level\":\"warn\""), "{line}");
}

#[test]
fn a_node_that_is_added_by_a_reload_is_a_peer_from_then_on() {
    let table = Table::new(PAIR);
    table.run("DELETE FROM clusterer WHERE node_id = 3");
    let mut one = node(&table.address(177), &file(&table, &table.url, 1, "memory:"), None);
    let three = Phone::new(&table.address(179));
    let mut calls = 0;
    let mut call = |one: &mut Daemon| {
        calls += 1;
        three.call(one.udp, &format!("nobody{calls}"));
        assert_eq!(three.outcome().status(), 404);
        let reports = one.reports();
        (total(&reports, "requests_from_peers"), total(&reports, "lookups_asked"))
    };
    assert_eq!(call(&mut one), (0, 1), "whoever is no peer is looked up everywhere");
    table.run(
        "INSERT INTO clusterer (cluster_id, node_id, url, sip_addr) VALUES (1, 3, 'bin:10.0.0.179', '10.0.0.179')",
    );
    one.signal("HUP");
    let line = one.line(READ_AGAIN);
    assert!(line.contains(&format!("node 3 was added, home {}", table.address(179))), "{line}");
    // The shards hear of it a moment after the log does.
    let end = Instant::now() + PATIENCE;
    let mut before = 1;
    loop {
        let (from_peers, asked) = call(&mut one);
        if from_peers == 1 {
            assert_eq!(asked, before, "a peer's call is looked up here alone");
            break;
        }
        assert!(Instant::now() < end, "it never becomes a peer");
        before = asked;
        std::thread::sleep(LOOK_INTERVAL);
    }
    table.run("DELETE FROM clusterer WHERE node_id = 3");
    one.signal("HUP");
    assert!(one.line(READ_AGAIN).contains("node 3 was removed"));
    // A home of its own is taken over with the next start.
    table.run("UPDATE clusterer SET sip_addr = '10.0.0.178' WHERE node_id = 1");
    one.signal("HUP");
    let line = one.line("the sip_addr of this node has changed: restart it to take it over");
    assert!(line.contains(&format!("\"written\":\"{}\"", table.address(178))), "{line}");
    one.stop();
}

#[test]
fn links_come_and_go_with_the_rows_of_nodes() {
    let table = Table::new(PAIR);
    let secret = "[cluster]\nsecret = \"0123456789abcdef0123456789abcdef\"\n";
    let file = |number| file(&table, &table.url, number, "memory:").replace("[cluster]\n", secret);
    let mut one = node(&table.address(177), &file(1), None);
    let mut three = node(&table.address(179), &file(3), None);
    one.line("the link to a node is up");
    table.run("UPDATE clusterer SET state = 0 WHERE node_id = 3");
    one.signal("HUP");
    let line = one.line("the link to a node is down");
    assert!(line.contains("its row of the table of nodes has changed or is gone"), "{line}");
    // It is not of the cluster any more, and is told what would make it so.
    let line = three.line("a node cannot be linked; it is tried again");
    assert!(line.contains("node 3 is disabled for node 1: enable it in the table and send SIGHUP to node 1"), "{line}");
    table.run("UPDATE clusterer SET state = 1 WHERE node_id = 3");
    one.signal("HUP");
    one.line("the link to a node is up");
    // Where it listens is taken over with its next start.
    table.run("UPDATE clusterer SET url = 'bin:10.0.0.177:5566' WHERE node_id = 1");
    one.signal("HUP");
    let line = one.line("the url of this node has changed: restart it to take it over");
    assert!(line.contains(&format!("\"written\":\"bin:{}:5566\"", table.address(177))), "{line}");
    one.stop();
    three.stop();
}

#[test]
fn a_table_in_sqlite_one_in_mariadb_and_the_file_say_the_same() {
    let table = Table::new(WITH_BACKUPS);
    table.run("UPDATE clusterer SET flags = NULL WHERE node_id = 4");
    let by_mysql = shown(&file(&table, &table.url, 2, "memory:"));
    let seeds: Vec<bool> = by_mysql.iter().map(|line| line.contains("\"is_seed\":true")).collect();
    assert_eq!(seeds, [true, false, true, false], "NULL and the text are no flags: {by_mysql:#?}");

    let folder = folder();
    let path = folder.join("opensips.db");
    table::sqlite(&path, &WITH_BACKUPS.replace("10.0.0.", &table.network));
    let by_sqlite = shown(&format!("[cluster]\ncurrent_id = 2\ndb_url = \"sqlite://{}\"\n", path.display()));
    assert_eq!(by_sqlite, by_mysql);
    std::fs::remove_dir_all(folder).unwrap();

    let mut by_file = "[cluster]\ncurrent_id = 2\n".to_owned();
    for (id, url, home, seed) in [(1, 177, 223, true), (2, 178, 223, false), (3, 179, 224, true), (4, 180, 224, false)]
    {
        let (url, home) = (table.address(url), table.address(home));
        let node = format!("node_id = {id}\nurl = \"bin:{url}\"\nsip_addr = \"{home}\"\nseed = {seed}\n");
        by_file.push_str("[[cluster.node]]\n");
        by_file.push_str(&node);
    }
    assert_eq!(shown(&by_file), by_mysql);
    let home = table.address(223);
    let this = format!("\"node_id\":2,\"home\":\"{home}\",\"url\":\"bin:{}\"", table.address(178));
    assert!(
        by_mysql[1].contains(&this) && by_mysql[1].contains("\"is_this_node\":true,\"backups\":[1]"),
        "{by_mysql:#?}"
    );
}

#[test]
fn a_node_without_a_table_goes_on_when_it_is_told_to_read_it_again() {
    for (file, said) in [
        ("", "names are asked for anew"),
        ("[names]\nresolve = false\n", "there is nothing to read again: neither a table of nodes nor certificates"),
    ] {
        let mut alone = Daemon::start(&Start { file, ..Start::default() });
        alone.signal("HUP");
        alone.line(said);
        alone.stop();
    }
}

#[test]
fn a_reload_that_contradicts_the_file_is_told() {
    let table = Table::new(PAIR);
    let peers = format!("peers = [\"{}\"]\n", table.address(179));
    let file = format!("{}{peers}", file(&table, &table.url, 1, "memory:"));
    let mut one = node(&table.address(177), &file, None);
    table.run("UPDATE clusterer SET sip_addr = '10.0.0.180' WHERE node_id = 3");
    one.signal("HUP");
    one.line("directory.peers says otherwise now: remove it, or the next start is refused");
    let (code, told) = refused(&file);
    assert_eq!(code, 3, "{told}");
    assert!(told.contains("remove directory.peers: the cluster has them"), "{told}");
    one.stop();
}

#[test]
fn the_types_of_columns_do_not_matter() {
    let table = Table::new(PAIR);
    let columns = "(id VARCHAR(9), cluster_id CHAR(10), node_id BIGINT, url BLOB, state CHAR(1), no_ping_retries DECIMAL(5), \
                   priority BIGINT UNSIGNED, sip_addr TEXT CHARACTER SET latin1, flags VARBINARY(20), description TEXT)";
    let other = Table::with_columns(columns, &PAIR.replace("10.0.0.", &table.network));
    let (of_opensips, by_hand) =
        (shown(&file(&table, &table.url, 1, "memory:")), shown(&file(&other, &other.url, 1, "memory:")));
    assert_eq!(of_opensips, by_hand);
}

#[test]
fn people_are_shown_a_table_and_whether_it_is_the_copy() {
    let table = Table::new(WITH_BACKUPS);
    let data = folder();
    let (url, relay) = Relay::to(&table.url);
    let file = file(&table, &url, 1, "memory:");
    let mut one = node(&table.address(223), &file, Some(&data));
    let path = folder();
    let config = path.join("sipfed.toml");
    std::fs::write(&config, &file).unwrap();
    let show = || {
        let (config, data) = (config.to_str().unwrap(), data.to_str().unwrap());
        let (code, told, _) = sipfed(&["cluster", "show", "--config", config, "--data-dir", data]);
        assert_eq!(code, 0);
        told
    };
    let told = show();
    let lines: Vec<Vec<&str>> = told.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..5], ["cluster", "1,", "node", "1,", "of"], "{told}");
    let url = format!("bin:{}", table.address(177));
    assert_eq!(lines[2], ["1", &table.address(223), &url, "enabled", "seed", "2", "this", "node"], "{told}");
    assert_eq!(lines.len(), 6, "{told}");
    drop(relay);
    assert!(show().lines().nth(1).unwrap().starts_with("this is the copy, read "));
    // A reload without the database changes nothing.
    one.signal("HUP");
    one.line("the nodes of the cluster stay as they are: they could not be read again");
    let checked = sipfed(&["check", config.to_str().unwrap()]);
    assert!(
        checked.1.contains(&format!("cluster     1, node 1, of the table {} at mysql://", table.name)),
        "{checked:?}"
    );
    assert!(!checked.1.contains("opensipsrw") && checked.1.contains("home of the cluster"), "{checked:?}");
    one.stop();
    for folder in [data, path] {
        std::fs::remove_dir_all(folder).unwrap();
    }
}
