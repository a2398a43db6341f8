//! RFC 3261 §26.2.1: connections within TLS.

use super::*;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

/// A server for `sip.example`, and the roots of who trusts it.
fn server() -> (Arc<ServerConfig>, RootCertStore) {
    let made = rcgen::generate_simple_self_signed(["sip.example".to_owned()]).unwrap();
    let certificate = CertificateDer::from(made.cert.der().to_vec());
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    (Arc::new(config), roots)
}

pub(super) type Peer = StreamOwned<ClientConnection, TcpStream>;

/// Streams at a listener for TLS, and what a peer needs to speak with it.
pub(super) struct Secured {
    pub(super) bench: Bench,
    roots: RootCertStore,
}

impl Secured {
    fn new(change: impl FnOnce(&mut SocketOptions)) -> Self {
        Self::listening(Transport::Tls, change)
    }

    pub(super) fn listening(transport: Transport, change: impl FnOnce(&mut SocketOptions)) -> Self {
        let (server, roots) = server();
        let bench = Bench::listening(transport, |options| {
            options.tls.server = Some(server);
            change(options);
        });
        Self { bench, roots }
    }

    /// A peer that has said hello, with its keys agreed on.
    pub(super) fn peer(&mut self, version: &'static SupportedProtocolVersion) -> Peer {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        let name = ServerName::try_from("sip.example").unwrap();
        let tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let peer = StreamOwned::new(tls, self.bench.peer());
        let before = self.bench.counters.tls_handshakes;
        let greeting = std::thread::spawn(move || {
            let mut peer = peer;
            while peer.conn.is_handshaking() {
                peer.conn.complete_io(&mut peer.sock).unwrap();
            }
            peer
        });
        self.bench.run_until(|bench| bench.counters.tls_handshakes > before);
        greeting.join().unwrap()
    }
}

#[test]
fn messages_come_in_and_answers_go_back_over_both_versions() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut secured = Secured::new(|_| {});
        let mut peer = secured.peer(version);
        let bench = &mut secured.bench;
        peer.write_all(&[MESSAGE, MESSAGE, b"\r\n\r\n", &MESSAGE[..20]].concat()).unwrap();
        bench.run_until(|bench| bench.taken.len() == 2 && bench.counters.keepalives == 1);
        peer.write_all(&MESSAGE[20..]).unwrap();
        bench.run_until(|bench| bench.taken.len() == 3);
        assert!(bench.taken.iter().all(|(bytes, _)| bytes == MESSAGE));
        let (remote, local, flow) = (peer.sock.local_addr().unwrap(), bench.addr, bench.taken[0].1.flow);
        assert_eq!(bench.taken[2].1, Source { transport: Transport::Tls, remote, local, flow });
        assert_eq!(flow.transport(), Transport::Tls);
        bench.answer(flow, Ticket::NONE, b"answer");
        bench.with(Streams::flush);
        assert_receives(&mut peer, b"\r\nanswer");
    }
}

#[test]
fn what_is_longer_than_a_record_comes_whole_both_ways() {
    let mut secured = Secured::new(|options| options.stream_write_bytes_max = 32 << 20);
    let mut peer = secured.peer(&rustls::version::TLS13);
    let bench = &mut secured.bench;
    let head = b"MESSAGE sip:a@b SIP/2.0\r\nl: 60000\r\n\r\n";
    let message = [&head[..], &vec![b'x'; 60_000]].concat();
    let sent = message.clone();
    let writer = std::thread::spawn(move || {
        peer.write_all(&sent).unwrap();
        peer
    });
    bench.run_until(|bench| bench.taken.len() == 1);
    let mut peer = writer.join().unwrap();
    assert_eq!(bench.taken[0].0, message);
    // More than the socket takes at once.
    let long = vec![b'y'; 20 << 20];
    bench.answer(bench.taken[0].1.flow, ticket(1), &long);
    bench.with(Streams::flush);
    assert!(bench.streams.has_unwritten());
    let reader = std::thread::spawn(move || {
        assert_receives(&mut peer, &vec![b'y'; 20 << 20]);
        peer
    });
    bench.run_until(|bench| !bench.streams.has_unwritten());
    reader.join().unwrap();
    assert!(bench.news.failed.is_empty());
}

#[test]
fn what_is_no_tls_is_closed_and_counted() {
    let mut secured = Secured::new(|_| {});
    let mut peer = secured.bench.peer();
    peer.write_all(MESSAGE).unwrap();
    secured.bench.run_until(|bench| bench.counters.tls_failed == 1);
    assert_eq!(secured.bench.streams.connections_count(), 0);
    assert!(secured.bench.taken.is_empty() && secured.bench.news.closed.is_empty());
    // A probe has nothing to be told of.
    drop(secured.bench.peer());
    secured.bench.run_until(|bench| bench.streams.connections_count() == 0);
    assert_eq!(secured.bench.counters.tls_failed, 1);
}

#[test]
fn a_handshake_that_is_not_ended_in_time_is_given_up_although_bytes_drip() {
    let mut secured = Secured::new(|options| options.tls.handshake_timeout_ms = 3000);
    let bench = &mut secured.bench;
    let mut peer = bench.peer();
    // The head of a record that never comes whole.
    for byte in [22, 3, 1] {
        peer.write_all(&[byte]).unwrap();
        bench.pass(999);
        bench.with(Streams::flush);
    }
    assert_eq!(bench.streams.connections_count(), 1);
    bench.pass(3);
    assert_eq!((bench.streams.connections_count(), bench.counters.tls_timed_out), (0, 1));
    assert_eq!((bench.counters.connections_idled, bench.news.closed.len()), (0, 0));
    assert_closed(&mut peer);
}

#[test]
fn no_more_handshakes_are_under_way_than_allowed_and_each_end_makes_room() {
    let mut secured = Secured::new(|options| options.tls.handshakes_per_shard_max = 1);
    let idle = secured.bench.peer();
    let mut refused = TcpStream::connect(secured.bench.addr).unwrap();
    secured.bench.run_until(|bench| bench.counters.tls_refused == 1);
    assert_closed(&mut refused);
    drop(idle);
    secured.bench.run_until(|bench| bench.streams.connections_count() == 0);
    // One that is agreed on is under way no more.
    let _first = secured.peer(&rustls::version::TLS13);
    let _second = secured.peer(&rustls::version::TLS13);
    assert_eq!(secured.bench.streams.connections_count(), 2);
}

#[test]
fn a_message_without_tls_takes_no_connection_within_it_nor_the_other_way_round() {
    let mut secured = Secured::new(|_| {});
    let mut peer = secured.peer(&rustls::version::TLS13);
    let bench = &mut secured.bench;
    peer.write_all(MESSAGE).unwrap();
    bench.run_until(|bench| bench.taken.len() == 1);
    let remote = bench.taken[0].1.remote;
    bench.with(|streams, step| streams.send_to(anywhere(remote), None, ticket(1), b"plain", step));
    // Nobody listens at the port of the peer.
    bench.run_until(|bench| bench.news.failed == [ticket(1)]);
}

#[test]
fn an_end_is_told_before_the_connection_is_closed() {
    let mut secured = Secured::new(|options| options.stream_idle_s = 60);
    let mut peer = secured.peer(&rustls::version::TLS13);
    peer.write_all(MESSAGE).unwrap();
    secured.bench.run_until(|bench| bench.taken.len() == 1);
    secured.bench.pass(60_000);
    assert_eq!(secured.bench.news.closed, [secured.bench.taken[0].1.flow]);
    // An end that was not told is an error here.
    assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
}
