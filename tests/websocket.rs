//! SIP over WebSocket (RFC 7118) with the real daemon, and with clients that say exactly what each test wants.

#[path = "websocket/client.rs"]
mod client;
#[path = "sipp/daemon.rs"]
mod daemon;
#[path = "browser/node.rs"]
mod node;

use client::{Client, Frame, REQUEST, masked};
use daemon::PATIENCE;
use node::Node;
use serde_json::json;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream, UdpSocket};

const CONTACT: &str = "sip:bob@df7jal23ls0d.invalid;transport=ws";

/// A request out of any dialog; over a WebSocket it needs no Content-Length.
fn request(method: &str, uri: &str, via: &str, more: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{via};branch=z9hG4bK{method}\r\nMax-Forwards: 70\r\n\
         From: <sip:bob@sip.example>;tag=a\r\nTo: <sip:bob@sip.example>\r\nCall-ID: {method}\r\nCSeq: 1 {method}\r\n\
         {more}\r\n"
    )
}

fn register(client: &mut Client) -> String {
    let via = format!("{} df7jal23ls0d.invalid", client.via_token());
    let more = format!("Contact: <{CONTACT}>\r\nUser-Agent: by hand\r\n");
    let text = request("REGISTER", "sip:sip.example", &via, &more);
    // A phone that comes anew makes a Call-ID anew.
    client.send_text(&text.replace("Call-ID: ", &format!("Call-ID: {}", client.via_token())));
    client.message()
}

/// Everything that a plain connection is told before it is closed.
fn told(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut said = Vec::new();
    // A reset is as good an end as any.
    let _ = stream.read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn a_browser_registers_and_is_called_over_its_websocket() {
    for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        is_called_over_its_websocket(ip);
    }
}

fn is_called_over_its_websocket(ip: IpAddr) {
    let node = Node::start_at(ip, "");
    for (gone, mut client) in [(1, Client::ws(node.ws)), (2, Client::wss(node.wss, &node.trusted))] {
        let token = client.via_token();
        let registered = register(&mut client);
        assert!(registered.starts_with("SIP/2.0 200 ") && registered.contains(CONTACT), "{registered}");
        assert!(registered.contains(&format!(";received={ip}")), "{registered}");

        let caller = UdpSocket::bind((ip, 0)).unwrap();
        caller.set_read_timeout(Some(PATIENCE)).unwrap();
        let via = format!("UDP {};rport", caller.local_addr().unwrap());
        caller.send_to(request("OPTIONS", "sip:bob@sip.example", &via, "").as_bytes(), node.udp).unwrap();
        let asked = client.message();
        assert!(asked.starts_with(&format!("OPTIONS {CONTACT} SIP/2.0\r\n")), "{asked}");
        let at = if token == "WS" { node.ws } else { node.wss };
        assert!(asked.contains(&format!("Via: SIP/2.0/{token} {at};")), "{asked}");
        // Its answer, cut into fragments with a ping between them, goes back to the caller.
        let answer = asked.split_once("\r\n").unwrap().1.replace("Max-Forwards: 69\r\n", "");
        let answer = format!("SIP/2.0 200 OK\r\n{answer}");
        let (first, second) = answer.as_bytes().split_at(40);
        client.send(&[masked(0x02, first), masked(0x89, b"there?"), masked(0x80, second)].concat());
        assert_eq!(client.frame(), Frame { first: 0x8a, payload: b"there?".to_vec() });
        let mut datagram = [0; 4096];
        let len = caller.recv(&mut datagram).unwrap();
        assert!(datagram[..len].starts_with(b"SIP/2.0 200 OK"), "{}", String::from_utf8_lossy(&datagram[..len]));

        // Who operates the node sees by what the browser is reached.
        let lower = token.to_ascii_lowercase();
        let shown = node.ctl(&["ul_show_contact", "location", "bob@sip.example"]);
        assert_eq!(shown["Contacts"][0]["Socket"], json!(format!("{lower}:{at}")), "{shown}");
        let message = request("INVITE", "sip:bob@sip.example", "UDP 127.0.0.1:9", "");
        let explained = node.ctl(&["sipfed:explain", &format!("message={message}")]);
        let branch = json!([{ "Contact": CONTACT, "Branch": format!("{lower}, over its connection") }]);
        assert_eq!(explained["Contacts"], branch, "{explained}");

        client.send(&masked(0x88, b"\x03\xe8"));
        assert_eq!(client.frame(), Frame { first: 0x88, payload: b"\x03\xe8".to_vec() });
        client.assert_ended();
        // Once it is gone, and the shard that has its binding knows, nothing leads to it.
        node.wait_for("bindings_flow_lost", gone);
        caller
            .send_to(
                request("OPTIONS", "sip:bob@sip.example", &via.replace("rport", "rport;x"), "")
                    .replace("bKOPT", "bK2")
                    .as_bytes(),
                node.udp,
            )
            .unwrap();
        let len = caller.recv(&mut datagram).unwrap();
        assert!(datagram[..len].starts_with(b"SIP/2.0 480 "), "{}", String::from_utf8_lossy(&datagram[..len]));
    }
    assert_eq!((node.count("ws_upgrades"), node.count("connections_broken")), (2, 0));
}

#[test]
fn keep_alives_of_either_kind_are_answered() {
    let node = Node::start("");
    let mut client = Client::ws(node.ws);
    client.send(&[masked(0x81, b"\r\n\r\n"), masked(0x8a, b"unasked"), masked(0x89, b"")].concat());
    assert_eq!(client.frame(), Frame { first: 0x81, payload: b"\r\n".to_vec() });
    assert_eq!(client.frame(), Frame { first: 0x8a, payload: Vec::new() });
}

#[test]
fn a_phone_that_is_pinged_with_bytes_is_sent_pings_of_websockets() {
    let node = Node::start("[nat]\nping_natted_only = false\nping_with = \"bytes\"\nping_interval_s = 1\n");
    let mut client = Client::ws(node.ws);
    assert!(register(&mut client).starts_with("SIP/2.0 200 "));
    assert_eq!(client.frame(), Frame { first: 0x89, payload: Vec::new() });
}

#[test]
fn requests_that_make_no_websocket_are_told_why_and_counted() {
    let node = Node::start("[ws]\norigins = [\"https://phone.example\"]\nupgrade_timeout_ms = 300\n");
    let plain_sip = request("OPTIONS", "sip:sip.example", "WS a.invalid", "");
    for (sent, status, counter) in [
        (REQUEST.replace("Protocol: sip", "Protocol: sips"), "400 ", "ws_no_subprotocol"),
        (REQUEST.replace("Version: 13", "Version: 12"), "426 ", "ws_no_upgrade"),
        ("GET /health HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "426 ", "ws_no_upgrade"),
        (REQUEST.replace("https://phone.example", "https://evil.example"), "403 ", "ws_origin_refused"),
        (plain_sip, "400 ", "ws_malformed"),
        ("\x16\x03\x01".to_owned(), "400 ", "ws_malformed"),
        (format!("GET /{}", "x".repeat(10_000)), "431 ", "ws_too_long"),
    ] {
        let before = node.count(counter);
        let mut stream = TcpStream::connect(node.ws).unwrap();
        stream.write_all(sent.as_bytes()).unwrap();
        let answer = told(&mut stream);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{sent}: {answer}");
        assert_eq!(node.count(counter), before + 1, "{counter}");
    }
    // One that drips comes to its end in time.
    let mut slow = TcpStream::connect(node.ws).unwrap();
    slow.write_all(b"GET /").unwrap();
    assert_eq!(told(&mut slow), "");
    assert_eq!(node.count("ws_timed_out"), 1);
    // The others are served as before.
    assert!(register(&mut Client::ws(node.ws)).starts_with("SIP/2.0 200 "));
}

#[test]
fn frames_that_break_the_protocol_end_their_connection_and_no_other() {
    let node = Node::start("[tcp]\nmessage_bytes_max = 2000\n");
    let mut other = Client::wss(node.wss, &node.trusted);
    assert!(register(&mut other).starts_with("SIP/2.0 200 "));
    let too_long = masked(0x81, &[b'x'; 2001]);
    let cases: [(&[u8], u16); 8] = [
        (b"\x81\x04text", 1002),
        (b"OPTIONS sip:sip.example SIP/2.0\r\n\r\n", 1002),
        (&masked(0xc1, b"x"), 1002),
        (&masked(0x83, b"x"), 1002),
        (&masked(0x80, b"x"), 1002),
        (&masked(0x89, &[b'x'; 126]), 1002),
        (&masked(0x81, b"\xff"), 1007),
        (&too_long[..8], 1009),
    ];
    for (sent, code) in cases {
        let mut client = Client::ws(node.ws);
        client.send(sent);
        assert_eq!(client.frame(), Frame { first: 0x88, payload: code.to_be_bytes().to_vec() }, "{sent:02x?}");
        client.assert_ended();
    }
    assert_eq!((node.count("connections_broken"), node.count("dropped_too_long")), (8, 1));
    // What is no SIP within whole frames harms nobody, and neither does one that is never ended.
    let mut client = Client::ws(node.ws);
    client.send(&[masked(0x82, &[0; 500]), masked(0x81, b""), masked(0x01, &[b'x'; 100])].concat());
    assert!(register(&mut other).starts_with("SIP/2.0 200 "));
}
