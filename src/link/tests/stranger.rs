//! Whoever connects and is no node, or is none that behaves: what it gets, and that nobody else notices.

use super::nodes::{PATIENCE, Running, SECRET, Start, by_secret, nodes, poll};
use crate::cluster::Node;
use crate::link::frame::{FRAME_BYTES_MAX, Frame, Hello, Splitter, Versions};
use crate::link::greeting::Refusal;
use crate::link::links::NotSent;
use crate::link::shared_key;
use rustls::crypto::aws_lc_rs::default_provider;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsStream;

/// A connection that somebody who knows the secret has opened.
struct Caller {
    runtime: tokio::runtime::Runtime,
    stream: TlsStream<tokio::net::TcpStream>,
    splitter: Splitter,
    is_over: bool,
}

/// What it hears: the words of a frame without its numbers.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Hello,
    Refuse(u8, String),
    Ping,
    Pong(u64),
    Close(String),
    /// The connection has ended.
    Nothing,
}

impl Caller {
    fn to(node: &Node) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let at = node.url.socket_addr();
        let stream = runtime.block_on(async {
            let tcp = tokio::net::TcpStream::connect(at).await.unwrap();
            by_secret(SECRET).dial(tcp, at.ip()).await.unwrap()
        });
        Self { runtime, stream, splitter: Splitter::default(), is_over: false }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.runtime.block_on(async {
            self.stream.write_all(bytes).await.unwrap();
            self.stream.flush().await.unwrap();
        });
    }

    fn say(&mut self, frame: &Frame<'_>) {
        let mut bytes = Vec::new();
        frame.write(&mut bytes);
        self.bytes(&bytes);
    }

    fn hear(&mut self) -> Heard {
        loop {
            match self.splitter.next(FRAME_BYTES_MAX).unwrap() {
                Some(Frame::Hello(_)) => return Heard::Hello,
                Some(Frame::Refuse { code, why }) => return Heard::Refuse(code, why.to_owned()),
                Some(Frame::Ping { .. }) => return Heard::Ping,
                Some(Frame::Pong { number }) => return Heard::Pong(number),
                Some(Frame::Close { why }) => return Heard::Close(why.to_owned()),
                Some(Frame::Payload { .. } | Frame::Ask { .. } | Frame::Answer { .. }) => panic!("nobody sends any"),
                None => {
                    let read =
                        async { tokio::time::timeout(PATIENCE, self.stream.read_buf(self.splitter.room())).await };
                    if matches!(self.runtime.block_on(read).unwrap(), Ok(0) | Err(_)) {
                        assert!(!std::mem::replace(&mut self.is_over, true), "there is nothing more to hear");
                        return Heard::Nothing;
                    }
                }
            }
        }
    }

    /// The next of what it hears that is no ping.
    fn hear_no_ping(&mut self) -> Heard {
        loop {
            let heard = self.hear();
            if heard != Heard::Ping {
                return heard;
            }
        }
    }

    fn ping(&mut self, number: u64) {
        self.say(&Frame::Ping { number, neighbours: Vec::new() });
    }
}

fn hello(node: &Node) -> Hello {
    Hello {
        versions: Versions { min: 1, max: 1 },
        cluster_id: 1,
        node_id: node.id.get(),
        sip_addr: node.sip_addr.to_string(),
        release: "test".to_owned(),
    }
}

/// Node 1 of two, of which the other is played by the test.
fn node_one() -> (Vec<Node>, Running) {
    let nodes = nodes(2);
    let one = Start::new(1, &nodes, by_secret(SECRET)).go();
    (nodes, one)
}

/// Somebody who is taken for node 2.
fn taken_for_two(nodes: &[Node], one: &Running) -> Caller {
    let mut two = Caller::to(&nodes[0]);
    two.say(&Frame::Hello(hello(&nodes[1])));
    assert_eq!(two.hear(), Heard::Hello);
    assert!(one.is_quiet(), "it may yet refuse node 1");
    two.ping(0);
    assert_eq!(one.up(2), 1);
    two
}

#[test]
fn whoever_speaks_no_tls_is_hung_up_on_and_nobody_notices() {
    let (nodes, one) = node_one();
    let at = nodes[0].url.socket_addr();
    for (junk, reason) in [(&b"GET / HTTP/1.1\r\n\r\n"[..], "not_tls"), (b"", "closed")] {
        let mut tcp = TcpStream::connect(at).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.write_all(junk).unwrap();
        tcp.shutdown(std::net::Shutdown::Write).unwrap();
        // An alert of TLS may come first.
        let _ = tcp.read_to_end(&mut Vec::new());
        one.wait_for_failure(reason);
    }
    let two = Start::new(2, &nodes, by_secret(SECRET)).go();
    one.up(2);
    two.up(1);
}

#[test]
fn strangers_that_say_nothing_keep_no_node_out() {
    let (nodes, one) = node_one();
    // Not from the address of a node.
    let at = nodes[0].url.socket_addr();
    let idle: Vec<TcpStream> = (0..40).map(|_| connect_from("127.0.0.1", at)).collect();
    poll("no place is left", || one.failures("no_place") >= 8);
    let two = Start::new(2, &nodes, by_secret(SECRET)).go();
    one.up(2);
    two.up(1);
    drop(idle);
    poll("all have been given up", || one.failures("closed") >= 32);
}

#[test]
fn strangers_that_come_again_and_again_cost_little() {
    let (nodes, one) = node_one();
    let at = nodes[0].url.socket_addr();
    let began = Instant::now();
    for _ in 0..200 {
        let mut tcp = connect_from("127.0.0.1", at);
        tcp.write_all(b"junk").unwrap();
        let _ = tcp.read_to_end(&mut Vec::new());
    }
    poll("all were seen", || one.failures("no_place") + one.failures("not_tls") + one.failures("closed") == 200);
    let handshakes = one.failures("not_tls") + one.failures("closed");
    let seconds = began.elapsed().as_secs();
    assert!(handshakes <= 32 * (seconds + 2), "{handshakes} handshakes in {seconds} seconds");
    assert!(handshakes > 0);
}

#[test]
fn who_knows_the_key_of_a_node_and_shows_none_is_no_node() {
    let (nodes, one) = node_one();
    let key = shared_key::of(SECRET, 1).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(default_provider().into())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(key.verifier)
        .with_no_client_auth();
    let at = nodes[0].url.socket_addr();
    let mut tls = rustls::ClientConnection::new(config.into(), at.ip().into()).unwrap();
    let mut tcp = connect_from("127.0.0.1", at);
    let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
    let mut bytes = Vec::new();
    Frame::Hello(hello(&nodes[1])).write(&mut bytes);
    // It may have been hung up on already.
    let _ = stream.write_all(&bytes);
    let mut answer = Vec::new();
    assert!(stream.read_to_end(&mut answer).is_err() && answer.is_empty(), "{answer:?}");
    one.wait_for_failure("untrusted");
    assert!(one.is_quiet());
}

/// A connection from this address.
fn connect_from(ip: &str, at: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(ip.parse().unwrap(), 0).into()).unwrap();
    socket.connect(&at.into()).unwrap();
    let tcp = TcpStream::from(socket);
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp
}

#[test]
fn a_hello_that_does_not_belong_there_is_refused_with_what_to_change() {
    let (nodes, one) = node_one();
    let two = || hello(&nodes[1]);
    for (hello, refusal, why) in [
        (Hello { cluster_id: 2, ..two() }, Refusal::OtherCluster, "node 1 is in cluster 1, and node 2 in cluster 2"),
        (Hello { node_id: 7, ..two() }, Refusal::UnknownNode, "node 1 knows of no node 7: add it"),
        (hello(&nodes[0]), Refusal::OwnNumber, "both ends say that they are node 1"),
        (
            Hello { sip_addr: "10.9.9.9".to_owned(), ..two() },
            Refusal::OtherSipAddr,
            "node 2 runs with the sip_addr 10.9.9.9",
        ),
        (
            Hello { versions: Versions { min: 9, max: 9 }, ..two() },
            Refusal::NoCommonVersion,
            "install a newer release on node 1",
        ),
    ] {
        let mut caller = Caller::to(&nodes[0]);
        caller.say(&Frame::Hello(hello));
        match caller.hear() {
            Heard::Refuse(code, text) => {
                assert_eq!(code, refusal as u8);
                assert!(text.contains(why), "{text}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(caller.hear(), Heard::Nothing);
    }
    poll("all are counted", || one.failures("refused") == 5);
    assert!(one.is_quiet());
    // One that says something else first, or after it was answered.
    let mut caller = Caller::to(&nodes[0]);
    caller.ping(1);
    assert_eq!(caller.hear(), Heard::Nothing);
    let mut caller = Caller::to(&nodes[0]);
    caller.say(&Frame::Hello(two()));
    assert_eq!(caller.hear(), Heard::Hello);
    caller.say(&Frame::Refuse { code: 9, why: "no" });
    assert_eq!(caller.hear(), Heard::Nothing);
    one.wait_for_failure("refused_by_peer");
    one.wait_for_failure("garbled");
    assert!(one.is_quiet());
    let mut caller = taken_for_two(&nodes, &one);
    caller.ping(5);
    while caller.hear_no_ping() != Heard::Pong(5) {}
}

#[test]
fn a_frame_that_cannot_be_ends_the_link_with_a_word() {
    let (nodes, one) = node_one();
    for (bytes, why) in [
        (&[0, 0, 0, 0][..], "a frame without content"),
        (&[1, 0, 16, 0], "a frame of 1048577 bytes, which is too long"),
        (&[0xff, 0xff, 0xff, 0xff], "a frame of 4294967295 bytes"),
        (&[1, 0, 0, 0, 99], "a frame of the unknown kind 99"),
        (&[2, 0, 0, 0, 4, 0], "a broken frame of kind 4"),
        // Questions are of a later version than it speaks.
        (&[10, 0, 0, 0, 7, 1, 0, 0, 0, 0, 0, 0, 0, b'?'], "a frame of the unknown kind 7"),
        (&[10, 0, 0, 0, 8, 1, 0, 0, 0, 0, 0, 0, 0, b'!'], "a frame of the unknown kind 8"),
    ] {
        let mut two = taken_for_two(&nodes, &one);
        two.bytes(bytes);
        loop {
            match two.hear_no_ping() {
                Heard::Pong(_) => {}
                Heard::Close(text) => {
                    assert!(text.contains(why), "{text}");
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(two.hear(), Heard::Nothing);
        let told = one.down(2);
        assert!(told.contains(why), "{told}");
    }
    // Before it is known who it is, less is read.
    let mut stranger = Caller::to(&nodes[0]);
    stranger.bytes(&[1, 4, 0, 0]);
    assert!(matches!(stranger.hear(), Heard::Close(why) if why.contains("1025 bytes")));
    let mut two = taken_for_two(&nodes, &one);
    two.say(&Frame::Close { why: "enough" });
    assert_eq!(one.down(2), "the other end says: enough");
    assert_eq!(one.send(2, 1, b"x"), Err(NotSent::NotUp));
}

#[test]
fn another_connection_of_a_node_takes_the_place_of_the_first_once_it_is_whole() {
    let (nodes, one) = node_one();
    let mut first = taken_for_two(&nodes, &one);
    let mut second = Caller::to(&nodes[0]);
    second.say(&Frame::Hello(hello(&nodes[1])));
    assert_eq!(second.hear(), Heard::Hello);
    first.ping(1);
    while first.hear_no_ping() != Heard::Pong(1) {}
    assert!(one.is_quiet(), "the second has not said that it is content");
    second.ping(0);
    assert_eq!(one.down(2), "the node has opened another connection");
    one.up(2);
    while first.hear() != Heard::Nothing {}
    second.ping(2);
    while second.hear_no_ping() != Heard::Pong(2) {}
    assert_eq!(one.count(2, "ups"), 2);
}

#[test]
fn who_answers_no_ping_is_probed_and_then_down_and_who_says_anything_is_well() {
    let nodes = nodes(2);
    let start = Start { timeout: Duration::from_millis(500), ..Start::new(1, &nodes, by_secret(SECRET)) };
    let one = start.go();
    let mut two = taken_for_two(&nodes, &one);
    // It hears pings and answers none, but says something each time.
    for number in 1..20 {
        while two.hear() != Heard::Ping {}
        two.ping(number);
    }
    assert_eq!(one.down(2), "it answers no ping");
    assert!(one.count(2, "pings_lost") >= 3);
    while two.hear() != Heard::Nothing {}
}
