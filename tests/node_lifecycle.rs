//! A node as its operator sees it: start, reports, refusal to share an address, drain and stop.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long anything may take before its test fails; nothing is waited for that long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running node; killed when its test fails.
struct Node {
    child: Child,
    log: BufReader<ChildStderr>,
    udp: SocketAddr,
    data: PathBuf,
}

impl Node {
    /// Starts a node of two shards at ports that the kernel chooses, and waits until it is ready.
    fn start(arguments: &[&str]) -> Self {
        Self::start_with(Command::new(env!("CARGO_BIN_EXE_sipfed")), arguments)
    }

    fn start_with(mut command: Command, arguments: &[&str]) -> Self {
        let data = data_directory();
        let mut child = command
            .args(["serve", "--log-format", "json", "--shards", "2"])
            .args(["--listen", "udp:127.0.0.1:0", "--listen", "tcp:127.0.0.1:0"])
            .args(arguments)
            .arg("--data-dir")
            .arg(&data)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let udp = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut node = Self { child, log, udp, data };
        let ready = node.line("ready");
        let listening = string(&ready, "listening");
        node.udp = listening.split(' ').find_map(|part| part.strip_prefix("udp:")?.parse().ok()).unwrap();
        assert_ne!(node.udp.port(), 0, "{ready}");
        node
    }

    /// The next log line with this message.
    fn line(&mut self, message: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            let length = self.log.read_line(&mut line).unwrap();
            assert!(length > 0, "the log ended without `{message}`:\n{seen}");
            if string(&line, "message") == message {
                return line;
            }
            seen.push_str(&line);
        }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status();
        assert!(status.unwrap().success());
    }

    fn exit(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It has ended already unless the test failed; then there is nobody left to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// A data directory that nobody else uses.
fn data_directory() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("lifecycle-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// The string in a field of a JSON line; empty when there is none. No value here holds an escaped quote.
fn string<'a>(line: &'a str, field: &str) -> &'a str {
    let start = format!("\"{field}\":\"");
    line.split_once(&start).and_then(|(_, rest)| rest.split_once('"')).map_or("", |(value, _)| value)
}

/// The number in a field of a JSON line.
fn number(line: &str, field: &str) -> u64 {
    let start = format!("\"{field}\":");
    let (_, rest) = line.split_once(&start).unwrap_or_else(|| panic!("no {field} in {line}"));
    rest.split([',', '}']).next().unwrap().parse().unwrap()
}

/// A phone or a caller: a socket of its own.
struct Agent {
    socket: UdpSocket,
    node: SocketAddr,
}

impl Agent {
    fn of(node: &Node) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, node: node.udp }
    }

    /// Sends a request; `uri` is its Request-URI and To, this agent its Contact.
    fn send(&self, method: &str, uri: &str) {
        let local = self.socket.local_addr().unwrap();
        let call = format!("{method}-{}", local.port());
        let request = format!(
            "{method} {uri} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {local};branch=z9hG4bK{call};rport\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:agent@{local}>;tag={call}\r\n\
             To: <{uri}>\r\n\
             Call-ID: {call}\r\n\
             CSeq: 1 {method}\r\n\
             Contact: <sip:agent@{local}>\r\n\
             Content-Length: 0\r\n\r\n"
        );
        self.socket.send_to(request.as_bytes(), self.node).unwrap();
    }

    /// The first line of what comes next, without provisional responses.
    fn receive(&self) -> String {
        let mut buffer = [0; 4096];
        loop {
            let length = self.socket.recv(&mut buffer).expect("nothing came");
            let line = std::str::from_utf8(&buffer[..length]).unwrap().lines().next().unwrap().to_owned();
            if !line.starts_with("SIP/2.0 1") {
                return line;
            }
        }
    }
}

#[test]
fn a_node_reports_its_counters_and_stops_when_told() {
    let mut node = Node::start(&[]);
    let agent = Agent::of(&node);
    agent.send("OPTIONS", &format!("sip:{}", node.udp));
    assert!(agent.receive().starts_with("SIP/2.0 200"));

    node.signal("USR1");
    let reports = [node.line("report"), node.line("report")];
    assert_eq!(reports.each_ref().map(|line| number(line, "shard")), [0, 1]);
    assert_eq!(reports.iter().map(|line| number(line, "received")).sum::<u64>(), 1);
    for line in &reports {
        assert!(line.contains("\"counters\":{\"received\":"), "{line}");
        assert_eq!(number(line, "bindings"), 0);
    }

    node.signal("TERM");
    assert_eq!(string(&node.line("stopping"), "signal"), "TERM");
    let stopped = [node.line("stopped"), node.line("stopped")];
    assert_eq!(stopped.iter().map(|line| number(line, "received")).sum::<u64>(), 1);
    assert_eq!(node.exit().code(), Some(0));
}

#[test]
fn a_node_waits_for_no_huge_page_to_be_cleared() {
    let node = Node::start(&[]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("THP_enabled:"));
    assert_eq!(line, Some("THP_enabled:\t0"));
}

#[test]
fn an_interrupt_from_the_keyboard_stops_as_well() {
    let mut node = Node::start(&["--log-level", "debug"]);
    node.signal("INT");
    assert_eq!(string(&node.line("stopping"), "signal"), "INT");
    assert_eq!(node.exit().code(), Some(0));
}

#[test]
fn a_second_node_does_not_share_the_address_of_the_first() {
    let node = Node::start(&[]);
    let listen = format!("udp:{}", node.udp);
    let second = Command::new(env!("CARGO_BIN_EXE_sipfed"))
        .args(["serve", "--durability", "none", "--listen", &listen])
        .output()
        .unwrap();
    let stderr = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(4), "{stderr}");
    let expected = format!("  × {listen} is taken: process {} (sipfed) listens there\n", node.child.id());
    assert!(stderr.contains(&expected), "{stderr}");
    assert!(stderr.contains(&format!("sudo ss -lunp 'sport = :{}'", node.udp.port())), "{stderr}");
}

#[test]
fn a_draining_node_refuses_what_is_new_and_a_second_signal_ends_it() {
    let mut node = Node::start(&[]);
    let phone = Agent::of(&node);
    let alice = format!("sip:alice@{}", node.udp);
    phone.send("REGISTER", &alice);
    assert!(phone.receive().starts_with("SIP/2.0 200"));

    // A phone that rings and is not answered keeps a transaction open.
    let caller = Agent::of(&node);
    caller.send("INVITE", &alice);
    assert!(phone.receive().starts_with("INVITE "));

    node.signal("TERM");
    node.line("stopping");
    // The signal is logged before the shards are told; from some request on, all are refused.
    loop {
        let late = Agent::of(&node);
        late.send("OPTIONS", &format!("sip:{}", node.udp));
        let answer = late.receive();
        if answer.starts_with("SIP/2.0 503") {
            break;
        }
        assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    }
    node.signal("TERM");
    node.line("a second signal came; ending at once");
    assert_eq!(node.exit().code(), Some(5));
}

#[test]
fn what_is_open_is_waited_for_no_longer_than_configured() {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("drain.toml");
    std::fs::write(&file, "[stop]\ndrain_s = 0\n").unwrap();
    let mut node = Node::start(&["--config", file.to_str().unwrap()]);
    let phone = Agent::of(&node);
    let alice = format!("sip:alice@{}", node.udp);
    phone.send("REGISTER", &alice);
    assert!(phone.receive().starts_with("SIP/2.0 200"));
    let caller = Agent::of(&node);
    caller.send("INVITE", &alice);
    assert!(phone.receive().starts_with("INVITE "));

    node.signal("TERM");
    let open = node.line("not everything ended in time");
    assert!(number(&open, "open_transactions") > 0, "{open}");
    assert_eq!(node.exit().code(), Some(0));
}

#[test]
fn a_supervisor_hears_of_start_and_stop() {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("notify-{}", std::process::id()));
    let supervisor = UnixDatagram::bind(&path).unwrap();
    supervisor.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = || {
        let mut buffer = [0; 64];
        let length = supervisor.recv(&mut buffer).expect("the node said nothing");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_sipfed"));
    command.env("NOTIFY_SOCKET", &path);
    let node = Node::start_with(command, &[]);
    assert_eq!(hear(), "READY=1");
    node.signal("TERM");
    assert_eq!(hear(), "STOPPING=1");
    assert_eq!(node.exit().code(), Some(0));
    std::fs::remove_file(&path).unwrap();
}
