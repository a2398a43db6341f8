//! RFC 3261 §26.2.1, RFC 5922 §7.3, RFC 5923: connections within TLS that we open.

use super::*;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConnection, StreamOwned};
use sipfed_proto::{Place, Settings, Shard};
use std::thread::JoinHandle;

type Peer = StreamOwned<ServerConnection, TcpStream>;

/// A certificate for these names or addresses, and what a server with it begins with.
fn server(names: &[&str]) -> (CertificateDer<'static>, Arc<ServerConfig>) {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let certificate = CertificateDer::from(made.cert.der().to_vec());
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())
        .unwrap();
    (certificate, Arc::new(config))
}

fn client(trusted: CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// Streams that open connections, and somebody who waits for them.
struct Opened {
    bench: Bench,
    listener: TcpListener,
    server: Arc<ServerConfig>,
}

impl Opened {
    /// Somebody with a certificate for `names`, whom we trust.
    fn to(names: &[&str], change: impl FnOnce(&mut SocketOptions)) -> Self {
        let (certificate, server) = server(names);
        let bench = Bench::new(|options| {
            options.tls.client = Some(client(certificate));
            change(options);
        });
        Self { bench, listener: TcpListener::bind("127.0.0.1:0").unwrap(), server }
    }

    fn ends(&self) -> Ends {
        Ends::new(Transport::Tls, self.listener.local_addr().unwrap(), None)
    }

    fn send(&mut self, ends: Ends, name: Option<&str>, n: u64, message: &[u8]) {
        self.bench.with(|streams, step| streams.send_to(ends, name, ticket(n), message, step));
    }

    /// The other side of the next connection, as far as the handshake goes.
    fn accept(&self) -> JoinHandle<io::Result<Peer>> {
        let (listener, server) = (self.listener.try_clone().unwrap(), Arc::clone(&self.server));
        std::thread::spawn(move || {
            let (socket, _) = listener.accept()?;
            let mut peer = StreamOwned::new(ServerConnection::new(server).unwrap(), socket);
            while peer.conn.is_handshaking() {
                peer.conn.complete_io(&mut peer.sock)?;
            }
            Ok(peer)
        })
    }
}

fn names() -> Shard {
    let place = Place { index: ShardIndex(3), count: 4 };
    Shard::new(Arc::new(Settings::default()), place, [1; 32], Now::from_unix_ms(0))
}

#[test]
fn rfc5923_a_request_opens_tls_and_those_behind_it_take_the_same_connection() {
    let mut opened = Opened::to(&["127.0.0.1"], |_| {});
    let accepting = opened.accept();
    let ends = opened.ends();
    opened.send(ends, None, 1, b"first ");
    opened.send(ends, None, 2, b"second ");
    opened.bench.run_until(|bench| bench.counters.tls_connects == 1);
    let mut peer = accepting.join().unwrap().unwrap();
    opened.send(ends, None, 3, b"third");
    opened.bench.with(Streams::flush);
    assert_receives(&mut peer, b"first second third");
    // What the peer says comes over it too, and is answered over it.
    peer.write_all(MESSAGE).unwrap();
    opened.bench.run_until(|bench| bench.taken.len() == 1);
    let source = opened.bench.taken[0].1;
    assert_eq!((source.transport, source.flow.transport()), (Transport::Tls, Transport::Tls));
    opened.bench.answer(source.flow, Ticket::NONE, b"answer");
    opened.bench.with(Streams::flush);
    assert_receives(&mut peer, b"answer");
    assert_eq!((opened.bench.streams.connections_count(), opened.bench.counters.connections_opened), (1, 1));
    assert_eq!((opened.bench.counters.tls_handshakes, opened.bench.news.failed.len()), (0, 0));
}

#[test]
fn what_waits_for_the_keys_does_not_keep_the_shard_busy() {
    let mut opened = Opened::to(&["127.0.0.1"], |_| {});
    let ends = opened.ends();
    opened.send(ends, None, 1, b"first");
    // The peer takes the connection and says nothing.
    opened.bench.run_until(|bench| bench.counters.connections_opened == 1);
    opened.bench.with(Streams::flush);
    assert_eq!(opened.bench.epoll.wait(Duration::ZERO), 0, "nothing is ready");
}

#[test]
fn rfc5922_7_3_a_peer_that_is_not_who_it_should_be_is_sent_nothing() {
    // It has a certificate for another address.
    let mut opened = Opened::to(&["127.0.0.2"], |_| {});
    let accepting = opened.accept();
    let ends = opened.ends();
    opened.send(ends, None, 1, b"secret");
    opened.bench.run_until(|bench| bench.news.failed == [ticket(1)]);
    assert!(accepting.join().unwrap().is_err());
    let counters = &opened.bench.counters;
    assert_eq!((counters.tls_unverified, counters.tls_connects, counters.tls_connects_failed), (1, 0, 0));
    assert_eq!(opened.bench.streams.connections_count(), 0);
    // Or one by an authority that we do not know.
    let mut opened = Opened::to(&["127.0.0.1"], |options| options.tls.client = Some(client(server(&["127.0.0.1"]).0)));
    let accepting = opened.accept();
    let ends = opened.ends();
    opened.send(ends, None, 1, b"secret");
    opened.bench.run_until(|bench| bench.news.failed == [ticket(1)]);
    assert!(accepting.join().unwrap().is_err());
    assert_eq!(opened.bench.counters.tls_unverified, 1);
}

#[test]
fn a_connection_is_used_again_for_the_same_name_alone() {
    let mut opened = Opened::to(&["sip.example", "127.0.0.1"], |_| {});
    let mut shard = names();
    let name = shard.name_peer(b"sip.example");
    let named = Ends { name, ..opened.ends() };
    // A peer that goes ends its connection, which is not used again then.
    let mut peers = Vec::new();
    for (ends, text) in [(named, Some("sip.example")), (opened.ends(), None)] {
        let accepting = opened.accept();
        opened.send(ends, text, 1, b"x");
        peers.push(accepting);
        let connects = peers.len() as u64;
        opened.bench.run_until(|bench| bench.counters.tls_connects == connects);
        opened.bench.with(Streams::flush);
    }
    let mut peers: Vec<Peer> = peers.into_iter().map(|accepting| accepting.join().unwrap().unwrap()).collect();
    opened.send(named, Some("sip.example"), 1, b"y");
    opened.bench.with(Streams::flush);
    assert_receives(&mut peers[0], b"xy");
    assert_eq!(opened.bench.counters.tls_connects, 2);
    assert_eq!(opened.bench.streams.connections_count(), 2);
    // A name that had to make room leads nowhere, however the ends lie.
    let gone = Ends { name: shard.name_peer(b"gone.example"), ..opened.ends() };
    opened.send(gone, None, 9, b"x");
    assert_eq!(opened.bench.news.failed, [ticket(9)]);
}

#[test]
fn who_speaks_no_tls_or_nothing_is_given_up_in_time() {
    let mut opened = Opened::to(&["127.0.0.1"], |options| options.tls.handshake_timeout_ms = 3000);
    let ends = opened.ends();
    opened.send(ends, None, 1, b"x");
    let (mut plain, _) = opened.listener.accept().unwrap();
    plain.write_all(b"SIP/2.0 400 Bad Request\r\n\r\n").unwrap();
    opened.bench.run_until(|bench| bench.news.failed == [ticket(1)]);
    assert_eq!(opened.bench.counters.tls_connects_failed, 1);

    opened.send(ends, None, 2, b"x");
    opened.bench.run_until(|bench| bench.counters.connections_opened == 2);
    opened.bench.pass(2999);
    assert_eq!(opened.bench.streams.connections_count(), 1);
    opened.bench.pass(1);
    assert_eq!(opened.bench.news.failed, [ticket(1), ticket(2)]);
    assert_eq!((opened.bench.counters.tls_connects_failed, opened.bench.counters.tls_timed_out), (2, 0));
    assert_eq!(opened.bench.streams.connections_count(), 0);
}

#[test]
fn no_more_handshakes_of_our_own_are_under_way_than_allowed() {
    let mut opened = Opened::to(&["127.0.0.1"], |options| options.tls.handshakes_per_shard_max = 1);
    let ends = opened.ends();
    opened.send(ends, None, 1, b"x");
    let other = Ends { local: Some([127, 0, 0, 1].into()), ..ends };
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    opened.send(Ends { remote: elsewhere.local_addr().unwrap(), ..other }, None, 2, b"x");
    assert_eq!((&opened.bench.news.failed[..], opened.bench.counters.tls_connects_failed), (&[ticket(2)][..], 1));
    // The end of the first one, however it comes, makes room.
    drop(opened.listener.accept().unwrap());
    opened.bench.run_until(|bench| bench.news.failed.len() == 2);
    opened.send(Ends { remote: elsewhere.local_addr().unwrap(), ..other }, None, 3, b"x");
    assert_eq!(opened.bench.news.failed.len(), 2);
    assert_eq!(opened.bench.streams.connections_count(), 1);
}

#[test]
fn without_what_tls_begins_with_nothing_is_opened() {
    let mut opened = Opened::to(&["127.0.0.1"], |options| options.tls.client = None);
    let ends = opened.ends();
    opened.send(ends, None, 1, b"x");
    assert_eq!((&opened.bench.news.failed[..], opened.bench.streams.connections_count()), (&[ticket(1)][..], 0));
}
