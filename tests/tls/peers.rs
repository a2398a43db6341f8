//! Peers that the node opens TLS to: verified by their address, shown its certificate, used again, and refused.

use super::dns::Dns;
use super::node::{Node, folder, request, write_certificate};
use crate::daemon::PATIENCE;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Somebody who waits for TLS, and asks whoever connects for a certificate.
struct Peer {
    listener: TcpListener,
    config: Arc<ServerConfig>,
}

type Connection = StreamOwned<ServerConnection, TcpStream>;

impl Peer {
    /// One with a certificate for `name` by `authority`, which takes the certificate `asked` alone.
    fn new(authority: &CertifiedIssuer<'static, KeyPair>, name: &str, asked: &CertificateDer<'static>) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, authority).unwrap().der().clone();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(asked.clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.unwrap())
            .with_single_cert(vec![certificate], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .unwrap();
        Self { listener: TcpListener::bind("127.0.0.1:0").unwrap(), config: Arc::new(config) }
    }

    fn addr(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    fn accept(&self) -> Connection {
        let (socket, _) = self.listener.accept().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        StreamOwned::new(ServerConnection::new(Arc::clone(&self.config)).unwrap(), socket)
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn write_authority(folder: &Path, authority: &CertifiedIssuer<'static, KeyPair>) {
    std::fs::write(folder.join("authorities.pem"), authority.pem()).unwrap();
}

/// A node that relays what is not its own to `peer`.
fn start(
    name: &str,
    peer: impl FnOnce(&CertificateDer<'static>) -> Peer,
    known: &CertifiedIssuer<'static, KeyPair>,
) -> (Node, Peer) {
    let folder = folder(name);
    let peer = peer(&write_certificate(&folder));
    write_authority(&folder, known);
    let authorities = format!("authorities = \"{}/authorities.pem\"\n", folder.display());
    let foreign = format!("[proxy]\nforeign = \"tls:{}\"\n", peer.addr());
    (Node::start_in(folder, "127.0.0.1", &foreign, &authorities), peer)
}

fn caller() -> UdpSocket {
    let caller = UdpSocket::bind("127.0.0.1:0").unwrap();
    caller.set_read_timeout(Some(PATIENCE)).unwrap();
    caller
}

fn call(node: &Node, caller: &UdpSocket) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let via = format!("UDP {};rport", caller.local_addr().unwrap());
    let branch = format!("z9hG4bK-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let call = request("OPTIONS", "sip:bob@elsewhere.example", &via, "").replace("z9hG4bKOPTIONS", &branch);
    caller.send_to(call.as_bytes(), node.udp).unwrap();
}

fn hear(caller: &UdpSocket) -> String {
    let mut datagram = [0; 4096];
    let len = caller.recv(&mut datagram).unwrap();
    String::from_utf8_lossy(&datagram[..len]).into_owned()
}

/// Reads the next request, and answers it 200.
fn serve(connection: &mut Connection) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        connection.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    let asked = String::from_utf8(bytes).unwrap();
    let answer = asked.split_once("\r\n").unwrap().1.replace("Max-Forwards: 69\r\n", "");
    connection.write_all(format!("SIP/2.0 200 OK\r\n{answer}").as_bytes()).unwrap();
    asked
}

#[test]
fn a_peer_is_verified_shown_the_certificate_and_its_connection_is_used_again() {
    let authority = authority();
    let (node, peer) = start("peer", |asked| Peer::new(&authority, "127.0.0.1", asked), &authority);
    let caller = caller();
    call(&node, &caller);
    let mut connection = peer.accept();
    let asked = serve(&mut connection);
    assert!(asked.starts_with("OPTIONS sip:bob@elsewhere.example "), "{asked}");
    assert!(asked.contains(&format!("Via: SIP/2.0/TLS {};", node.tls)), "{asked}");
    assert_eq!(connection.conn.peer_certificates().unwrap().len(), 1, "the node shows its own, since it is asked");
    assert!(hear(&caller).starts_with("SIP/2.0 200 "));
    // RFC 5923: what the same shard sends there goes over the same connection.
    for _ in 0..8 {
        call(&node, &caller);
        serve(&mut connection);
        assert!(hear(&caller).starts_with("SIP/2.0 200 "));
    }
}

#[test]
fn a_peer_that_is_not_who_it_should_be_is_sent_nothing_until_its_authority_is_known() {
    let (known, other) = (authority(), authority());
    let (mut node, peer) = start("unverified", |asked| Peer::new(&other, "127.0.0.1", asked), &known);
    let caller = caller();
    call(&node, &caller);
    let mut said = Vec::new();
    let _ = peer.accept().read_to_end(&mut said);
    assert!(said.is_empty());
    assert!(hear(&caller).starts_with("SIP/2.0 500 "), "RFC 3261 §16.9 and §16.7 step 6");
    let line = node.daemon.line_with("not who it should be");
    assert!(line.contains(&peer.addr().to_string()) && line.contains("invalid peer certificate"), "{line}");

    write_authority(&node.folder, &other);
    node.daemon.signal("HUP");
    node.daemon.line_with("peers are verified by the authorities that were read again");
    call(&node, &caller);
    serve(&mut peer.accept());
    assert!(hear(&caller).starts_with("SIP/2.0 200 "));
}

#[test]
fn an_address_has_to_stand_in_the_certificate() {
    let authority = authority();
    let (mut node, peer) = start("address", |asked| Peer::new(&authority, "sip.example", asked), &authority);
    let caller = caller();
    call(&node, &caller);
    let mut said = Vec::new();
    let _ = peer.accept().read_to_end(&mut said);
    assert!(said.is_empty() && hear(&caller).starts_with("SIP/2.0 500 "));
    let line = node.daemon.line_with("not who it should be");
    assert!(line.contains("127.0.0.1") && line.contains("sip.example"), "the log says who was expected: {line}");
}

#[test]
fn rfc5922_7_3_a_peer_by_name_shows_a_certificate_for_the_domain_that_was_asked_for() {
    let authority = authority();
    let folder = folder("named");
    let asked = write_certificate(&folder);
    // Whoever can answer for DNS can name any server, but has no certificate for the domain.
    let [stranger, peer] = ["a.example.net", "example.net"].map(|name| Peer::new(&authority, name, &asked));
    write_authority(&folder, &authority);
    let dns = Dns::start(SocketAddr::from(([127, 0, 0, 1], 0)));
    dns.services("example.net", &[("SIPS+D2T", "_sips._tcp.example.net")]);
    let targets = [(10, "a.example.net", stranger.addr().port()), (20, "a.example.net", peer.addr().port())];
    dns.servers("_sips._tcp.example.net", &targets);
    dns.host("a.example.net", peer.addr().ip(), 60);
    let authorities = format!("authorities = \"{}/authorities.pem\"\n", folder.display());
    let foreign = format!("[proxy]\nforeign = \"sip:example.net\"\n[names]\nservers = [\"udp:{}\"]\n", dns.addr);
    let mut node = Node::start_in(folder, "127.0.0.1", &foreign, &authorities);
    let caller = caller();
    call(&node, &caller);
    let mut said = Vec::new();
    let _ = stranger.accept().read_to_end(&mut said);
    assert!(said.is_empty());
    // The next server is tried at once.
    let mut connection = peer.accept();
    let asked = serve(&mut connection);
    assert!(asked.starts_with("OPTIONS sip:bob@elsewhere.example "), "{asked}");
    assert!(hear(&caller).starts_with("SIP/2.0 200 "));
    let line = node.daemon.line_with("not who it should be");
    assert!(line.contains(&stranger.addr().to_string()) && line.contains("example.net"), "{line}");
}
