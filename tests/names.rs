//! Next hops by name (RFC 3263), with the real daemon and a server of DNS that the test runs: which records are asked for,
//! what becomes of calls while DNS is slow, silent or wrong, and where a call goes when a server does not answer.

#[path = "sipp/daemon.rs"]
mod daemon;
#[path = "names/dns.rs"]
mod dns;
#[path = "sipp/place.rs"]
mod place;

use daemon::{Daemon, PATIENCE, Start};
use dns::{Answer, Dns};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

/// A program that speaks SIP over UDP.
struct Agent(UdpSocket);

impl Agent {
    fn new(ip: &str) -> Self {
        let socket = UdpSocket::bind(format!("{ip}:0")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn addr(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// The next message, and where it came from.
    fn receive(&self) -> (String, SocketAddr) {
        let mut buffer = vec![0; 65_535];
        let (len, from) = self.0.recv_from(&mut buffer).expect("no message came");
        (String::from_utf8(buffer[..len].to_vec()).unwrap(), from)
    }

    /// Takes the next request, which has to hold `text`, and answers it.
    fn serve(&self, text: &str, status: &str) {
        let (request, from) = self.receive();
        assert!(request.contains(text), "no {text} in\n{request}");
        self.0.send_to(response(&request, status).as_bytes(), from).unwrap();
    }

    /// Sends a request to somebody; gives its Call-ID.
    fn send(&self, to: &Daemon, uri: &str, more: &str) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let (n, at) = (COUNT.fetch_add(1, Ordering::Relaxed), self.addr());
        let message = format!(
            "MESSAGE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bKm{n}\r\nMax-Forwards: 70\r\n\
             From: <sip:al@sip.example>;tag=a\r\nTo: <{uri}>\r\nCall-ID: call-{n}\r\nCSeq: 1 MESSAGE\r\n\
             {more}Content-Length: 0\r\n\r\n"
        );
        self.0.send_to(message.as_bytes(), to.udp).unwrap();
        format!("call-{n}\r\n")
    }

    /// The status of the next final response, which has to have this Call-ID.
    fn status(&self, call_id: &str) -> String {
        loop {
            let (message, _) = self.receive();
            assert!(message.contains(call_id), "no {call_id} in\n{message}");
            if !message.starts_with("SIP/2.0 1") {
                return message.split(' ').nth(1).unwrap().to_owned();
            }
        }
    }
}

fn response(request: &str, status: &str) -> String {
    let is_kept = |line: &&str| ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name));
    let lines: String = request.lines().filter(is_kept).flat_map(|line| [line, "\r\n"]).collect();
    format!("SIP/2.0 {status} X\r\n{lines}Content-Length: 0\r\n\r\n")
}

/// Where anything outside goes: the name of a proxy.
const ELSEWHERE: &str = "sip:bob@elsewhere.example";

/// A node that relays to `hop`, and asks the server for names.
fn relay(hop: &str, dns: &Dns, more: &str) -> Daemon {
    let file = format!(
        "[domains]\nnames = [\"sip.example\"]\n[proxy]\nforeign = \"{hop}\"\nfailover_ms = 300\n\
         [names]\nservers = [\"udp:{}\"]\n{more}",
        dns.addr
    );
    Daemon::start(&Start { file: &file, ..Start::default() })
}

fn dns() -> Dns {
    Dns::start(SocketAddr::from(([127, 0, 0, 1], 0)))
}

#[test]
fn rfc3263_a_request_goes_the_whole_way_from_naptr_to_an_address_and_the_next_one_asks_nothing() {
    let (dns, server, caller) = (dns(), Agent::new("127.0.0.1"), Agent::new("127.0.0.1"));
    dns.services("example.net", &[("SIP+D2U", "_sip._udp.example.net"), ("SIP+D2T", "_sip._tcp.example.net")]);
    dns.servers("_sip._udp.example.net", &[(10, "a.example.net", server.addr().port())]);
    dns.host("a.example.net", server.addr().ip(), 60);
    let node = relay("sip:example.net", &dns, "");
    let call = caller.send(&node, ELSEWHERE, "");
    server.serve("MESSAGE sip:bob@elsewhere.example ", "200");
    assert_eq!(caller.status(&call), "200");
    let asked = [
        "A a.example.net",
        "AAAA a.example.net",
        "NAPTR example.net",
        "SRV _sip._tcp.example.net",
        "SRV _sip._udp.example.net",
    ];
    assert_eq!(dns.queries(), asked);
    // A phone may be on the other shard: that one finds what is remembered for both.
    for n in 0..8 {
        let call = caller.send(&node, &format!("sip:u{n}@elsewhere.example"), "");
        server.serve("MESSAGE ", "200");
        assert_eq!(caller.status(&call), "200");
    }
    assert_eq!(dns.queries(), [""; 0]);
    node.stop();
}

#[test]
fn rfc3263_4_2_a_host_of_ipv6_is_reached_from_an_address_of_ipv6() {
    let (dns, server, caller) = (dns(), Agent::new("[::1]"), Agent::new("127.0.0.1"));
    dns.host("six.example.net", server.addr().ip(), 60);
    let file = format!(
        "[domains]\nnames = [\"sip.example\"]\n[proxy]\nforeign = \"udp:six.example.net:{}\"\n[names]\nservers = [\"udp:{}\"]\n",
        server.addr().port(),
        dns.addr
    );
    let node = Daemon::start(&Start { file: &file, also: &["udp:[::1]:0"], ..Start::default() });
    let call = caller.send(&node, ELSEWHERE, "");
    server.serve("Via: SIP/2.0/UDP [::1]:", "200");
    assert_eq!(caller.status(&call), "200");
    node.stop();
}

#[test]
fn an_answer_is_asked_for_again_once_its_time_is_over() {
    let (dns, server, caller) = (dns(), Agent::new("127.0.0.1"), Agent::new("127.0.0.1"));
    dns.host("a.example.net", server.addr().ip(), 1);
    let node = relay(&format!("udp:a.example.net:{}", server.addr().port()), &dns, "");
    let mut asked = 0;
    while asked < 3 {
        let call = caller.send(&node, ELSEWHERE, "");
        server.serve("MESSAGE ", "200");
        assert_eq!(caller.status(&call), "200");
        asked += dns.queries().iter().filter(|query| *query == "A a.example.net").count();
    }
    node.stop();
}

#[test]
fn a_name_that_does_not_exist_is_502_and_one_that_fails_is_504() {
    let (dns, caller) = (dns(), Agent::new("127.0.0.1"));
    for (answer, status) in [(Answer::Failure, "504"), (Answer::Records(Vec::new()), "502")] {
        dns.say("a.example.net", &answer);
        let node = relay("udp:a.example.net:5060", &dns, "");
        assert_eq!(caller.status(&caller.send(&node, ELSEWHERE, "")), status);
        assert!(!dns.queries().is_empty());
        assert_eq!(caller.status(&caller.send(&node, ELSEWHERE, "")), status);
        assert_eq!(dns.queries(), [""; 0], "it is remembered");
        node.stop();
    }
    let node = relay("udp:gone.example.net:5060", &dns, "");
    assert_eq!(caller.status(&caller.send(&node, ELSEWHERE, "")), "502");
    node.stop();
}

#[test]
fn rfc3263_4_3_a_server_that_does_not_answer_is_passed_over() {
    let (dns, server, caller) = (dns(), Agent::new("127.0.0.1"), Agent::new("127.0.0.1"));
    let silent = Agent::new("127.0.0.1");
    let targets = [(10, "a.example.net", silent.addr().port()), (20, "a.example.net", server.addr().port())];
    dns.servers("_sip._udp.example.net", &targets);
    dns.host("a.example.net", server.addr().ip(), 60);
    let mut node = relay("udp:example.net", &dns, "");
    let call = caller.send(&node, ELSEWHERE, "");
    assert!(silent.receive().0.contains(&call), "the first is tried first");
    server.serve(&call, "200");
    assert_eq!(caller.status(&call), "200");
    // From now on it is tried last.
    for _ in 0..5 {
        let call = caller.send(&node, ELSEWHERE, "");
        server.serve(&call, "200");
        assert_eq!(caller.status(&call), "200");
    }
    assert_eq!(daemon::total(&node.reports(), "branches_failed_over"), 1);
    node.stop();
}

/// Takes one request over TCP and answers it.
fn serve_over_tcp(listener: &TcpListener, text: &str) {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut request).unwrap() > 0, "the connection ended: {request}");
    }
    assert!(request.contains(text), "no {text} in\n{request}");
    reader.get_mut().write_all(response(&request, "200").as_bytes()).unwrap();
    // Until the other side has read it.
    let _ = reader.read(&mut [0]);
}

#[test]
fn rfc3263_4_3_a_server_that_takes_no_connection_is_passed_over_at_once() {
    let (dns, caller) = (dns(), Agent::new("127.0.0.1"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // Nobody listens at a port that was free a moment ago.
    let gone = place::free().port();
    let targets = [(10, "a.example.net", gone), (20, "a.example.net", listener.local_addr().unwrap().port())];
    dns.servers("_sip._tcp.example.net", &targets);
    dns.host("a.example.net", listener.local_addr().unwrap().ip(), 60);
    let node = relay("tcp:example.net", &dns, "");
    let call = caller.send(&node, ELSEWHERE, "");
    let expected = call.clone();
    let server = std::thread::spawn(move || serve_over_tcp(&listener, &expected));
    assert_eq!(caller.status(&call), "200");
    node.stop();
    server.join().unwrap();
}

#[test]
fn a_silent_server_delays_nobody_but_who_asks() {
    let (dns, phone, caller) = (dns(), Agent::new("127.0.0.1"), Agent::new("127.0.0.1"));
    let waiting = Agent::new("127.0.0.1");
    dns.say("a.example.net", &Answer::Silence);
    let mut node = relay("udp:a.example.net:5060", &dns, "timeout_ms = 2000\n");
    let at = phone.addr();
    let register = format!(
        "REGISTER sip:sip.example SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bKr\r\nMax-Forwards: 70\r\n\
         From: <sip:bob@sip.example>;tag=a\r\nTo: <sip:bob@sip.example>\r\nCall-ID: r\r\nCSeq: 1 REGISTER\r\n\
         Contact: <sip:bob@{at}>\r\nContent-Length: 0\r\n\r\n"
    );
    phone.0.send_to(register.as_bytes(), node.udp).unwrap();
    assert!(phone.receive().0.starts_with("SIP/2.0 200 "));
    // Everybody who needs the name waits, on each shard.
    let calls: Vec<String> = (0..20).map(|n| waiting.send(&node, &format!("sip:u{n}@elsewhere.example"), "")).collect();
    dns.wait_for_query();
    for _ in 0..100 {
        let call = caller.send(&node, "sip:bob@sip.example", "");
        phone.serve(&call, "200");
        assert_eq!(caller.status(&call), "200");
    }
    for _ in &calls {
        assert!(waiting.receive().0.starts_with("SIP/2.0 504 "));
    }
    node.line("no server of DNS answers; next hops by name are not found meanwhile");
    node.stop();
}

#[test]
fn a_query_that_is_lost_is_sent_again_while_the_request_waits() {
    let (dns, server, caller) = (dns(), Agent::new("127.0.0.1"), Agent::new("127.0.0.1"));
    dns.say("a.example.net", &Answer::Silence);
    let node = relay(&format!("udp:a.example.net:{}", server.addr().port()), &dns, "timeout_ms = 3000\n");
    let call = caller.send(&node, ELSEWHERE, "");
    dns.wait_for_query();
    dns.say("a.example.net", &Answer::Records(Vec::new()));
    dns.host("a.example.net", server.addr().ip(), 60);
    server.serve(&call, "200");
    assert_eq!(caller.status(&call), "200");
    node.stop();
}

#[test]
fn on_sighup_names_are_asked_for_anew() {
    let (dns, first, second) = (dns(), Agent::new("127.0.0.1"), Agent::new("127.0.0.1"));
    let caller = Agent::new("127.0.0.1");
    dns.host("a.example.net", first.addr().ip(), 3600);
    dns.servers("_sip._udp.example.net", &[(10, "a.example.net", first.addr().port())]);
    let node = relay("udp:example.net", &dns, "");
    let call = caller.send(&node, ELSEWHERE, "");
    first.serve(&call, "200");
    assert_eq!(caller.status(&call), "200");
    dns.servers("_sip._udp.example.net", &[(10, "a.example.net", second.addr().port())]);
    dns.queries();
    node.signal("HUP");
    // Nothing says when the shards have heard of it but the question that follows.
    let mut answered_by_first = 0;
    loop {
        let call = caller.send(&node, ELSEWHERE, "");
        second.0.set_nonblocking(true).unwrap();
        first.0.set_nonblocking(true).unwrap();
        let agent = loop {
            if let Some(agent) = [&first, &second].into_iter().find(|agent| agent.0.peek(&mut [0; 9]).is_ok()) {
                break agent;
            }
            std::thread::yield_now();
        };
        agent.serve(&call, "200");
        assert_eq!(caller.status(&call), "200");
        if std::ptr::eq(agent, &raw const second) {
            break;
        }
        answered_by_first += 1;
        assert!(answered_by_first < 100_000, "it never asks anew");
    }
    assert!(dns.queries().contains(&"SRV _sip._udp.example.net".to_owned()));
    node.stop();
}

#[test]
fn the_servers_of_the_host_are_asked_by_default_and_read_again_on_sighup() {
    let ip = place::free().ip();
    let (dns, server, caller) = (Dns::start((ip, 53).into()), Agent::new("127.0.0.1"), Agent::new("127.0.0.1"));
    dns.host("a.example.net", server.addr().ip(), 60);
    let folder = daemon::folder();
    let path = folder.join("resolv.conf");
    // Another one, where nobody is, so that only what is read again leads anywhere.
    std::fs::write(&path, format!("nameserver {}\n", place::free().ip())).unwrap();
    let file = format!(
        "[domains]\nnames = [\"sip.example\"]\n[proxy]\nforeign = \"udp:a.example.net:{}\"\n[names]\ntimeout_ms = 300\n",
        server.addr().port()
    );
    let mount = format!("mount --bind {} /etc/resolv.conf && exec \"$@\"", path.display());
    let within = ["unshare", "--mount", "sh", "-c", &mount, "sh"];
    let mut node = Daemon::start(&Start { file: &file, within: &within, ..Start::default() });
    assert_eq!(caller.status(&caller.send(&node, ELSEWHERE, "")), "504");
    std::fs::write(&path, format!("nameserver {ip}\n")).unwrap();
    node.signal("HUP");
    node.line("names are asked for anew");
    loop {
        let call = caller.send(&node, ELSEWHERE, "");
        let (message, from) = loop {
            server.0.set_nonblocking(true).unwrap();
            if server.0.peek(&mut [0; 9]).is_ok() {
                break server.receive();
            }
            caller.0.set_nonblocking(true).unwrap();
            if caller.0.peek(&mut [0; 9]).is_ok() {
                break caller.receive();
            }
            std::thread::yield_now();
        };
        if message.starts_with("MESSAGE ") {
            assert!(message.contains(&call));
            server.0.send_to(response(&message, "200").as_bytes(), from).unwrap();
            caller.0.set_nonblocking(false).unwrap();
            assert_eq!(caller.status(&call), "200");
            break;
        }
    }
    node.stop();
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn rfc3261_18_1_1_a_long_request_goes_over_tcp_where_somebody_listens() {
    let (dns, caller) = (dns(), Agent::new("127.0.0.1"));
    let at = place::free();
    let listener = TcpListener::bind(at).unwrap();
    let filler = format!("X-Filler: {}\r\n", "x".repeat(1400));
    dns.host("a.example.net", at.ip(), 60);
    let node = relay(&format!("sip:a.example.net:{}", at.port()), &dns, "");
    let call = caller.send(&node, ELSEWHERE, &filler);
    let server = std::thread::spawn(move || serve_over_tcp(&listener, "Via: SIP/2.0/TCP "));
    assert_eq!(caller.status(&call), "200");
    node.stop();
    server.join().unwrap();
    // Where nobody does it is a datagram after all.
    let server = Agent(UdpSocket::bind(place::free()).unwrap());
    server.0.set_read_timeout(Some(PATIENCE)).unwrap();
    dns.host("a.example.net", server.addr().ip(), 60);
    let node = relay(&format!("sip:a.example.net:{}", server.addr().port()), &dns, "");
    for _ in 0..3 {
        let call = caller.send(&node, ELSEWHERE, &filler);
        server.serve("Via: SIP/2.0/UDP ", "200");
        assert_eq!(caller.status(&call), "200");
    }
    node.stop();
}
