//! `sipfed log` as a shell sees it, on directories that a real daemon has written.

#[path = "sipp/daemon.rs"]
#[allow(dead_code, reason = "a daemon can tell more than is asked here")]
mod daemon;

use daemon::{Daemon, Start, folder};
use serde_json::Value;
use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// Subscribers beside alice; enough for each shard to have some.
const USERS: usize = 40;

/// A data directory, removed when its test has succeeded.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        Self(folder())
    }

    fn node(&self) -> Daemon {
        Daemon::start(&Start { data: Some(&self.0), ..Start::default() })
    }

    /// What a node leaves behind that has registered alice and all others and was killed.
    fn written() -> Self {
        let directory = Self::new();
        let mut node = directory.node();
        let phone = Phone::new(&node);
        phone.register("alice", 1, ALICE);
        for user in 0..USERS {
            phone.register(&format!("u{user}"), 1, b"Contact: <sip:u@192.0.2.7:5070>;expires=3600\r\n");
        }
        node.kill();
        directory
    }

    fn log(&self, arguments: &[&str]) -> Output {
        command(arguments, &self.0).output().unwrap()
    }

    /// What a command that succeeds prints, without a word on stderr.
    #[track_caller]
    fn printed(&self, arguments: &[&str]) -> String {
        let output = self.log(arguments);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{arguments:?}");
        text(&output.stdout).to_owned()
    }

    /// The same as the JSON objects that it is.
    #[track_caller]
    fn objects(&self, arguments: &[&str]) -> Vec<Value> {
        self.printed(arguments).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The largest file of all shards' databases that is called `.extension`.
    fn largest(&self, extension: &str) -> PathBuf {
        let shards = (0..2).map(|shard| self.0.join(format!("layout-1/shard-{shard}/database")));
        let files = shards.flat_map(|folder| fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.extension().is_some_and(|found| found == extension));
        files.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }
}

const ALICE: &[u8] = b"Contact: <sip:alice@192.0.2.1:5062;x=1>;q=0.7;expires=600;+sip.instance=\"<urn:x:1>\";reg-id=2\
    ;methods=\"INVITE, ACK\"\r\nPath: <sip:edge.example;lr>\r\nSupported: path, gruu\r\nUser-Agent: caf\xe9 1\r\n";

/// Somebody who registers.
struct Phone {
    socket: UdpSocket,
    domain: String,
}

impl Phone {
    fn new(node: &Daemon) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(node.udp).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { socket, domain: node.udp.to_string() }
    }

    /// Registers `user` with further header field lines.
    fn register(&self, user: &str, cseq: u32, lines: &[u8]) {
        let (domain, local) = (&self.domain, self.socket.local_addr().unwrap());
        let head = format!(
            "REGISTER sip:{domain} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {local};branch=z9hG4bK{user}x{cseq};rport\r\n\
             From: <sip:{user}@{domain}>;tag=1\r\nTo: <sip:{user}@{domain}>\r\n\
             Call-ID: call-{user}\r\nCSeq: {cseq} REGISTER\r\nMax-Forwards: 70\r\n"
        );
        self.socket.send(&[head.as_bytes(), lines, b"Content-Length: 0\r\n\r\n"].concat()).unwrap();
        let mut room = [0; 2048];
        let length = self.socket.recv(&mut room).unwrap();
        assert!(room.starts_with(b"SIP/2.0 200 "), "{}", String::from_utf8_lossy(&room[..length]));
    }
}

fn command(arguments: &[&str], directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sipfed"));
    command.arg("log").args(arguments).arg("--data-dir").arg(directory);
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 0xff;
    fs::write(file, bytes).unwrap();
}

#[test]
fn inspect_shows_what_a_node_has_written() {
    let directory = Directory::written();
    let shown = directory.printed(&["inspect"]);
    assert!(shown.starts_with(&format!("{}\n  made at  20", directory.0.display())), "{shown}");
    assert!(shown.contains("  layout   1\n  shards   2\n"), "{shown}");
    let rows = shown.lines().filter(|line| line.trim_start().starts_with(['0', '1'])).count();
    assert_eq!(rows, 2, "{shown}");

    let [node, shards @ ..] = &directory.objects(&["inspect", "--json"])[..] else { panic!() };
    assert_eq!((&node["kind"], &node["format"], &node["shards"]), (&"directory".into(), &2.into(), &2.into()));
    assert_eq!(shards.len(), 2);
    for (index, shard) in shards.iter().enumerate() {
        assert_eq!(shard["shard"], index);
        let generation = &shard["generations"][0];
        assert_eq!(generation["first_record"], 1);
        assert_eq!(shard["records"], generation["last_record"]);
        assert!(generation["started_at"].as_str().unwrap().ends_with('Z'), "{generation}");
        assert!(shard["write_ahead_log_bytes"].as_u64().unwrap() > 0 && shard["damages"] == Value::Array(vec![]));
    }
}

#[test]
fn verify_passes_what_a_killed_and_what_a_stopped_node_leaves() {
    let directory = Directory::written();
    for _ in 0..2 {
        let told = directory.printed(&["verify"]);
        assert!(told.contains(&format!("{} is whole: ", directory.0.display())), "{told}");
        let objects = directory.objects(&["verify", "--json"]);
        assert!(objects.iter().all(|object| object["is_whole"] == true), "{objects:?}");
        directory.node().stop();
    }
}

#[test]
fn a_flipped_byte_is_named_with_file_and_record_wherever_it_is() {
    for extension in ["log", "sst"] {
        let directory = Directory::written();
        if extension == "sst" {
            // What is in the write-ahead log becomes a table at the next start.
            directory.node().stop();
        }
        let file = directory.largest(extension);
        flip(&file, fs::metadata(&file).unwrap().len() as usize / 3);
        let output = directory.log(&["verify"]);
        let told = text(&output.stdout);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(6), ""), "{told}");
        let line = told.lines().find(|line| line.contains(file.to_str().unwrap())).unwrap_or_else(|| panic!("{told}"));
        assert!(line.contains(", record"), "{told}");
        assert!(told.contains(" is damaged: ") && told.contains(": damaged, "), "{told}");

        let objects = directory.log(&["verify", "--json"]);
        assert_eq!(objects.status.code(), Some(6));
        let lines = text(&objects.stdout).lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let shards: Vec<Value> = lines.filter(|object| object["kind"] == "shard").collect();
        let damages: Vec<&Value> = shards.iter().filter_map(|shard| shard["damages"].as_array()).flatten().collect();
        assert_eq!(damages.len(), 1, "{damages:?}");
        assert_eq!(damages[0]["file"], file.to_str().unwrap());
        assert!(damages[0]["first_record"].is_u64() && damages[0]["reason"].is_string(), "{damages:?}");

        let refused = directory.log(&["export"]);
        assert_eq!(refused.status.code(), Some(6));
        assert!(text(&refused.stderr).contains(file.to_str().unwrap()), "{}", text(&refused.stderr));
        let salvaged = directory.log(&["export", "--salvage"]);
        assert_eq!(salvaged.status.code(), Some(0));
        assert!(text(&salvaged.stdout).lines().count() < USERS + 1);
        assert!(text(&salvaged.stderr).starts_with("lost: "), "{}", text(&salvaged.stderr));
    }
}

#[test]
fn export_prints_the_bindings_that_a_node_would_start_with() {
    let directory = Directory::written();
    let bindings = directory.objects(&["export"]);
    assert_eq!(bindings.len(), USERS + 1);
    let alice = bindings.iter().find(|binding| binding["aor"].as_str().unwrap().contains("alice")).unwrap();
    for (key, value) in [
        ("contact", "sip:alice@192.0.2.1:5062;x=1"),
        ("call_id", "call-alice"),
        ("user_agent", "caf\u{fffd} 1"),
        ("path", "<sip:edge.example;lr>"),
        ("transport", "udp"),
        ("instance", "<urn:x:1>"),
    ] {
        assert_eq!(alice[key], value, "{alice}");
    }
    assert_eq!((&alice["q"], &alice["cseq"], &alice["reg_id"]), (&0.7.into(), &1.into(), &2.into()));
    assert_eq!(alice["methods"], serde_json::json!(["INVITE", "ACK"]));
    let flags: Vec<_> = alice["flags"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(flags.contains(&"supports_gruu") && flags.contains(&"supports_path"), "{alice}");
    assert!(alice["received"].as_str().unwrap().starts_with("127.0.0.1:"), "{alice}");
    assert_eq!(alice["contact_id"].as_str().unwrap().len(), 16);
    assert!(alice["expires_at_s"].is_u64() && alice["expires_at"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn a_removed_binding_is_among_the_changes_and_not_among_the_bindings() {
    let directory = Directory::new();
    let mut node = directory.node();
    let phone = Phone::new(&node);
    // In the second in which a generation begins, bindings are written whole.
    std::thread::sleep(Duration::from_millis(2100));
    for (cseq, expires_s) in [(1, 3600), (2, 3600), (3, 0)] {
        phone.register("bob", cseq, format!("Contact: <sip:b@192.0.2.2>;expires={expires_s}\r\n").as_bytes());
    }
    node.kill();
    assert_eq!(directory.printed(&["export"]), "");
    let changes = directory.objects(&["export", "--changes"]);
    let kinds: Vec<_> = changes.iter().map(|change| change["change"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["bound", "refreshed", "removed"]);
    for (index, change) in changes.iter().enumerate() {
        assert_eq!((&change["record"], &change["generation"]), (&(index + 1).into(), &1.into()));
        assert_eq!((&change["contact_id"], &change["shard"]), (&changes[0]["contact_id"], &changes[0]["shard"]));
        assert_eq!((&change["aor_hash"], &change["cseq"]), (&changes[0]["aor_hash"], &(index + 1).into()));
    }
}

#[test]
fn a_closed_pipe_ends_an_export_quietly() {
    let directory = Directory::written();
    let mut child =
        command(&["export", "--changes"], &directory.0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}

#[test]
fn the_directory_of_a_running_node_is_refused_with_its_process() {
    let directory = Directory::new();
    let node = directory.node();
    for what in ["inspect", "verify", "export"] {
        let output = directory.log(&[what]);
        let told = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""), "{told}");
        let wanted = format!("{} is in use by process {}", directory.0.display(), node.pid);
        assert!(told.contains(&wanted), "{told}");
    }
    node.stop();
}

#[test]
fn a_directory_that_is_not_there_or_no_nodes_is_refused() {
    let directory = Directory::new();
    let output = directory.log(&["verify"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is not the data directory of a node"), "{}", text(&output.stderr));
    let output = command(&["inspect"], &directory.0.join("missing")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("there is no directory"), "{}", text(&output.stderr));
    assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 0, "reading makes nothing");
}

#[test]
fn without_a_directory_the_usual_one_is_meant() {
    let directory = Directory::written();
    let output = Command::new(env!("CARGO_BIN_EXE_sipfed"))
        .args(["log", "inspect"])
        .env("STATE_DIRECTORY", &directory.0)
        .output()
        .unwrap();
    assert!(text(&output.stdout).starts_with(directory.0.to_str().unwrap()), "{output:?}");
}

#[test]
fn the_help_has_examples_and_exit_codes() {
    for (what, wanted) in [("inspect", "sipfed log inspect"), ("verify", "Exit codes:"), ("export", "--changes | jq")] {
        let output = Command::new(env!("CARGO_BIN_EXE_sipfed")).args(["log", what, "--help"]).output().unwrap();
        assert!(output.status.success() && text(&output.stdout).contains("Examples:"), "{what}");
        assert!(text(&output.stdout).contains(wanted), "{}", text(&output.stdout));
    }
}
