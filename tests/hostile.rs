//! Bad input on real sockets: whatever comes, the daemon lives, serves the next phone, and gives back what it took.

#[path = "sipp/daemon.rs"]
mod daemon;

use daemon::{Daemon, PATIENCE, Report, Start, total};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// Kilobytes of memory that a flood may leave behind: what allocators keep, and nothing that grows with the flood.
const RSS_GROWTH_KB_MAX: u64 = 64 * 1024;

/// Timers so short that what a flood has begun ends soon: Timer B and Timer F are 64 times T1.
const SHORT_TIMERS: &str = "[timers]\nt1_ms = 10\nt2_ms = 40\nt4_ms = 50\n";

/// A request of a user of the node, from `via`.
fn request(method: &str, uri: &str, via: &str, call: u32, lines: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\r\n\
         Via: SIP/2.0/{via};branch=z9hG4bK{method}{call};rport\r\n\
         Max-Forwards: 70\r\n\
         From: <{uri}>;tag={call}\r\n\
         To: <{uri}>\r\n\
         Call-ID: {method}-{call}\r\n\
         CSeq: 1 {method}\r\n\
         {lines}\r\n"
    )
}

/// What a daemon holds; after a flood it is the same again.
#[derive(Debug, PartialEq, Eq)]
struct BaseLine {
    open_transactions: u64,
    connections: u64,
    descriptors: usize,
}

impl BaseLine {
    fn of(node: &Daemon, reports: &[Report]) -> Self {
        Self {
            open_transactions: total(reports, "open_transactions"),
            connections: total(reports, "connections"),
            descriptors: std::fs::read_dir(format!("/proc/{}/fd", node.pid)).unwrap().count(),
        }
    }
}

/// Kilobytes of memory that the daemon has resident.
fn rss_kb(node: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid)).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A daemon under attack, and what it held before.
struct Target {
    node: Daemon,
    before: BaseLine,
    rss_kb_before: u64,
}

impl Target {
    fn start(shards: u8, file: &str) -> Self {
        let mut node = Daemon::start(&Start { shards, file, ..Start::default() });
        register(&node, 0);
        let reports = node.reports();
        let before = BaseLine::of(&node, &reports);
        let rss_kb_before = rss_kb(&node);
        Self { node, before, rss_kb_before }
    }

    /// Checks that the daemon serves and holds what it held before, and ends it; returns its last reports.
    fn finish(mut self) -> Vec<Report> {
        for user in 1..=8 {
            register(&self.node, user);
        }
        let node = &mut self.node;
        let is_quiet =
            |reports: &[Report]| ["open_transactions", "connections"].iter().all(|name| total(reports, name) == 0);
        let reports = node.wait_until("nothing is open any more", is_quiet);
        assert_eq!(BaseLine::of(node, &reports), self.before, "{reports:#?}");
        let grown_kb = rss_kb(node).saturating_sub(self.rss_kb_before);
        assert!(grown_kb < RSS_GROWTH_KB_MAX, "grown by {grown_kb} kB: {reports:#?}");
        self.node.stop();
        reports
    }
}

/// A phone that registers over UDP, and repeats itself until it is answered.
fn register(node: &Daemon, user: u32) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let local = socket.local_addr().unwrap();
    let lines = format!("Contact: <sip:user{user}@{local}>\r\nContent-Length: 0\r\n");
    let register = request("REGISTER", &format!("sip:user{user}@{}", node.udp), &format!("UDP {local}"), user, &lines);
    let mut answer = [0; 4096];
    for _ in 0..PATIENCE.as_millis() / 500 {
        socket.send_to(register.as_bytes(), node.udp).unwrap();
        if let Ok(length) = socket.recv(&mut answer) {
            assert!(answer[..length].starts_with(b"SIP/2.0 200 "), "{}", String::from_utf8_lossy(&answer[..length]));
            return;
        }
    }
    panic!("user{user} cannot register");
}

fn connect(node: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(node.tcp).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn options(stream: &TcpStream) -> String {
    let (local, node) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    request("OPTIONS", &format!("sip:{node}"), &format!("TCP {local}"), 1, "Content-Length: 0\r\n")
}

/// Sends an OPTIONS and returns the head of its answer.
fn ping(mut stream: &TcpStream) -> String {
    stream.write_all(options(stream).as_bytes()).unwrap();
    head(stream)
}

/// Reads to the next empty line.
fn head(mut stream: &TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer");
        bytes.extend(byte);
    }
    String::from_utf8(bytes).unwrap()
}

/// Reads until the peer has closed; a reset is an end as well.
fn rest(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "the connection stays open");
    }
    bytes
}

/// Numbers that are the same in every run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        self.next() as usize % bound
    }
}

/// A datagram that is wrong in one of several ways.
fn junk(index: u32, numbers: &mut Numbers, node: SocketAddr) -> Vec<u8> {
    let lines = "Contact: <sip:junk@127.0.0.1:9>\r\nContent-Length: 0\r\n";
    let method = ["REGISTER", "INVITE", "OPTIONS", "MESSAGE", "CANCEL", "ACK", "BYE", "SUBSCRIBE"][numbers.below(8)];
    let mut good = request(method, &format!("sip:user0@{node}"), "UDP 127.0.0.1:9", index, lines).into_bytes();
    match index % 6 {
        // Nothing but noise.
        0 => (0..numbers.below(1500)).map(|_| numbers.next() as u8).collect(),
        // Cut anywhere.
        1 => {
            good.truncate(numbers.below(good.len()));
            good
        }
        // A few bytes changed.
        2 => {
            for _ in 0..=numbers.below(4) {
                let at = numbers.below(good.len());
                good[at] = numbers.next() as u8;
            }
            good
        }
        // A response to nothing we sent.
        3 => format!("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP {node};branch=z9hG4bK.{:016x}\r\n\r\n", numbers.next()).into(),
        // A piece said twice.
        4 => {
            let at = numbers.below(good.len());
            good.extend_from_within(at..);
            good
        }
        // A length that is not true.
        _ => {
            let text = String::from_utf8(good).unwrap();
            text.replace("Content-Length: 0", &format!("Content-Length: {}", numbers.next())).into()
        }
    }
}

#[test]
fn ten_thousand_junk_datagrams_leave_nothing_behind() {
    let target = Target::start(2, SHORT_TIMERS);
    let mut numbers = Numbers(0x5eed);
    // Several senders, so that both shards have their share.
    let sockets: Vec<_> = (0..16).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    for index in 0..10_000 {
        let bytes = junk(index, &mut numbers, target.node.udp);
        sockets[index as usize % sockets.len()].send_to(&bytes, target.node.udp).unwrap();
        if index % 500 == 0 {
            // The daemon keeps up before more is sent, so that it reads all of it.
            register(&target.node, 100 + index);
        }
    }
    let reports = target.finish();
    for report in &reports {
        assert!(report.count("dropped_unparsable") > 0 && report.count("refused_malformed") > 0, "{reports:#?}");
    }
    assert!(total(&reports, "received") + total(&reports, "dropped_receive_full") >= 10_000, "{reports:#?}");
}

#[test]
fn the_largest_datagrams_are_taken_or_refused() {
    let target = Target::start(2, "");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let (local, node) = (socket.local_addr().unwrap(), target.node.udp);
    let (uri, via) = (format!("sip:{node}"), format!("UDP {local}"));
    let filled = |call, header: &str| {
        let length = 65_507 - request("OPTIONS", &uri, &via, call, header).len() - 2;
        request("OPTIONS", &uri, &via, call, &format!("{header}{}\r\n", "x".repeat(length)))
    };
    let mut answer = [0; 4096];
    // One is a header field that nobody knows; the other makes the From, which an answer repeats, too long for that.
    for (call, text) in [(1, filled(1, "X-Large: ")), (2, filled(2, "f: <sip:a@b>;tag=1;x="))] {
        socket.send_to(text.as_bytes(), node).unwrap();
        let length = socket.recv(&mut answer).expect("an answer");
        let answer = String::from_utf8_lossy(&answer[..length]);
        let expected = if call == 1 { "SIP/2.0 200 " } else { "SIP/2.0 400 " };
        assert!(answer.starts_with(expected), "{answer}");
    }
    // Nothing at all, and a keep-alive of RFC 5626 §4.4.1, get no answer.
    socket.send_to(b"", node).unwrap();
    socket.send_to(b"\r\n\r\n", node).unwrap();
    assert_eq!(total(&target.finish(), "refused_malformed"), 1);
}

#[test]
fn a_message_in_single_bytes_is_one_message() {
    let target = Target::start(2, "");
    let mut stream = connect(&target.node);
    for _ in 0..3 {
        for byte in options(&stream).bytes() {
            stream.write_all(&[byte]).unwrap();
        }
        assert!(head(&stream).starts_with("SIP/2.0 200 "));
    }
    // RFC 5626 §3.5.1: a double CRLF is answered with a single one.
    stream.write_all(b"\r\n\r\n").unwrap();
    let mut pong = [0; 2];
    stream.read_exact(&mut pong).unwrap();
    assert_eq!(pong, *b"\r\n");
    drop(stream);
    assert_eq!(total(&target.finish(), "connections_broken"), 0);
}

#[test]
fn a_stream_whose_messages_have_no_end_is_answered_and_closed() {
    let target = Target::start(2, "");
    // RFC 3261 §18.3: without one true Content-Length nobody knows where the next message begins.
    let unclear = [
        "",
        "Content-Length: many\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 1\r\nl: 2\r\n",
        "l: 99999999999999999999999\r\n",
    ];
    // A length that is a number, but of more than is allowed.
    let too_long = ["Content-Length: 65536\r\n", "Content-Length: 4294967296\r\n"];
    let broken = |lines: &str| {
        let mut stream = connect(&target.node);
        let (local, node) = (stream.local_addr().unwrap(), target.node.tcp);
        let text = request("OPTIONS", &format!("sip:{node}"), &format!("TCP {local}"), 1, lines);
        // What follows would be a request that is answered with 200.
        stream.write_all(format!("{text}{}", options(&stream)).as_bytes()).unwrap();
        stream
    };
    let (unclear, too_long) =
        (unclear.map(|lines| (lines, broken(lines))), too_long.map(|lines| (lines, broken(lines))));
    // A header section that never ends. The daemon may close before all of it is written.
    let mut endless = connect(&target.node);
    let _ = endless.write_all(format!("OPTIONS sip:a@b SIP/2.0\r\nX: {}", "x".repeat(70_000)).as_bytes());
    let endless = ("no end", endless);
    // Each answer repeats the Via of its request, and so names the connection that it belongs to.
    for (lines, stream) in &unclear {
        let answer = String::from_utf8(rest(stream)).unwrap();
        let is_single = answer.starts_with("SIP/2.0 400 ") && answer.matches("SIP/2.0 ").count() == 1;
        let via = format!("Via: SIP/2.0/TCP {};", stream.local_addr().unwrap());
        assert!(is_single && answer.contains(&via), "{lines:?} over {stream:?} was answered: {answer:?}");
    }
    for (lines, stream) in too_long.iter().chain([&endless]) {
        let answer = String::from_utf8(rest(stream)).unwrap();
        assert_eq!(answer, "", "{lines:?} over {stream:?}");
    }
    drop((unclear, too_long, endless));
    let reports = target.finish();
    assert_eq!(total(&reports, "connections_broken"), 8, "{reports:#?}");
}

#[test]
fn a_connection_at_rest_is_closed_in_time() {
    let target = Target::start(2, "[tcp]\nidle_s = 10\n");
    let silent = connect(&target.node);
    let mut stuck = connect(&target.node);
    let begun = options(&stuck);
    stuck.write_all(&begun.as_bytes()[..begun.len() / 2]).unwrap();
    let answered = connect(&target.node);
    assert!(ping(&answered).starts_with("SIP/2.0 200 "));
    for stream in [silent, stuck, answered] {
        assert!(rest(&stream).is_empty());
    }
    assert_eq!(total(&target.finish(), "connections_idled"), 3);
}

#[test]
fn one_connection_too_many_is_refused_and_counted() {
    const LIMIT: usize = 8;
    let mut target = Target::start(1, &format!("[tcp]\nconnections_per_shard_max = {LIMIT}\n"));
    let mut held: Vec<_> = (0..LIMIT).map(|_| connect(&target.node)).collect();
    for stream in &held {
        assert!(ping(stream).starts_with("SIP/2.0 200 "));
    }
    for _ in 0..3 {
        assert!(rest(&connect(&target.node)).is_empty());
    }
    // Those that were there before go on, and a place that becomes free is given away.
    assert!(held.iter().all(|stream| ping(stream).starts_with("SIP/2.0 200 ")));
    held.pop();
    target.node.wait_until("a place is free", |reports| total(reports, "connections") < LIMIT as u64);
    assert!(ping(&connect(&target.node)).starts_with("SIP/2.0 200 "));
    drop(held);
    assert_eq!(total(&target.finish(), "connections_refused"), 3);
}

#[test]
fn a_flood_of_connections_leaves_nothing_behind() {
    const COUNT: u64 = 3_000;
    let target = Target::start(2, "");
    for index in 0..COUNT {
        let mut stream = connect(&target.node);
        match index % 3 {
            // Closed at once.
            0 => {}
            // Closed within a message.
            1 => stream.write_all(b"REGISTER sip:").unwrap(),
            // Closed with the answer unread, which resets the connection.
            _ => {
                stream.write_all(options(&stream).as_bytes()).unwrap();
                let mut first = [0];
                stream.read_exact(&mut first).unwrap();
            }
        }
    }
    let reports = target.finish();
    assert_eq!(total(&reports, "connections_accepted"), COUNT, "{reports:#?}");
    assert!(reports.iter().all(|report| report.count("connections_accepted") > 0), "{reports:#?}");
}

#[test]
fn calls_to_phones_that_never_answer_end_by_themselves() {
    let target = Target::start(2, SHORT_TIMERS);
    let node = target.node.udp;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let via = format!("UDP {}", socket.local_addr().unwrap());
    // The phone of user0 has registered and gone away.
    let mut answer = [0; 4096];
    let mut refused = 0;
    for call in 0..500 {
        let lines = "Contact: <sip:caller@127.0.0.1:9>\r\nContent-Length: 0\r\n";
        let invite = request("INVITE", &format!("sip:user0@{node}"), &via, call, lines);
        socket.send_to(invite.as_bytes(), node).unwrap();
        // 100 is said at once, so the daemon keeps up.
        loop {
            let length = socket.recv(&mut answer).expect("a 100");
            if answer[..length].starts_with(b"SIP/2.0 100 ") {
                break;
            }
            refused += 1;
        }
    }
    while refused < 500 {
        let length = socket.recv(&mut answer).expect("a 408 for each call");
        assert!(answer[..length].starts_with(b"SIP/2.0 408 "), "{}", String::from_utf8_lossy(&answer[..length]));
        refused += 1;
    }
    let reports = target.finish();
    assert_eq!(total(&reports, "branches_timed_out"), 500, "{reports:#?}");
}
