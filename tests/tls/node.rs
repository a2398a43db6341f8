//! A real node with a listener for TLS, and phones that speak with it.

use crate::daemon::{Daemon, PATIENCE, Start, total};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A running node with its files; killed when its test ends.
pub(super) struct Node {
    pub(super) daemon: Daemon,
    pub(super) folder: PathBuf,
    pub(super) udp: SocketAddr,
    pub(super) tls: SocketAddr,
}

impl Node {
    /// A node that shows a certificate for `sip.example`, with nothing else configured.
    pub(super) fn start(name: &str, ip: &str) -> (Self, CertificateDer<'static>) {
        let folder = folder(name);
        let shown = write_certificate(&folder);
        (Self::start_in(folder, ip, "", ""), shown)
    }

    /// A node that shows the certificate that lies in its folder, with `more` in its file and `tls` in the section of TLS.
    pub(super) fn start_in(folder: PathBuf, ip: &str, more: &str, tls: &str) -> Self {
        let place = folder.display();
        let file = format!(
            "[domains]\nnames = [\"sip.example\"]\n\
             [tls]\ncertificate = \"{place}/certificate.pem\"\nkey = \"{place}/key.pem\"\n{tls}{more}"
        );
        let at = format!("{ip}:0").parse().unwrap();
        let over = &["udp", "tls"];
        let start = Start { at, over, file: &file, folder: Some(&folder), ..Start::default() };
        let daemon = Daemon::start(&start);
        Self { udp: daemon.udp, tls: daemon.listens("tls"), daemon, folder }
    }

    /// What a counter has come to in all shards, as the node reports it when asked to.
    pub(super) fn counter(&mut self, name: &str) -> u64 {
        total(&self.daemon.reports(), name)
    }
}

/// An empty folder of a test.
pub(super) fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tls-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Writes a certificate that nobody else has issued, with its key.
pub(super) fn write_certificate(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["sip.example".to_owned()]).unwrap();
    std::fs::write(folder.join("certificate.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

pub(super) type Phone = StreamOwned<ClientConnection, TcpStream>;

/// A phone that trusts `trusted` alone, with its handshake done.
pub(super) fn connect(to: SocketAddr, trusted: &CertificateDer<'static>) -> std::io::Result<Phone> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    handshake(to, "sip.example", config)
}

/// Takes whatever certificate it is shown: what the other side shows is what is looked at here.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &default_provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &default_provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A phone that names the server `name` and trusts anybody, with `shown` as its own certificate and its handshake done.
pub(super) fn connect_as(
    to: SocketAddr,
    name: &str,
    shown: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
) -> std::io::Result<Phone> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    let config = match shown {
        Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    handshake(to, name, config)
}

fn handshake(to: SocketAddr, name: &str, config: ClientConfig) -> std::io::Result<Phone> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut phone = StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), TcpStream::connect(to)?);
    phone.sock.set_read_timeout(Some(PATIENCE))?;
    while phone.conn.is_handshaking() {
        phone.conn.complete_io(&mut phone.sock)?;
    }
    Ok(phone)
}

/// The next message, which has no body.
pub(super) fn read_message(phone: &mut Phone) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        phone.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).unwrap()
}

pub(super) fn request(method: &str, uri: &str, via: &str, more: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{via};branch=z9hG4bK{method}\r\nMax-Forwards: 70\r\n\
         From: <sip:bob@sip.example>;tag=a\r\nTo: <sip:bob@sip.example>\r\nCall-ID: {method}\r\nCSeq: 1 {method}\r\n\
         {more}Content-Length: 0\r\n\r\n"
    )
}

pub(super) fn register(phone: &mut Phone) -> String {
    let at = phone.sock.local_addr().unwrap();
    let contact = format!("Contact: <sip:bob@{at};transport=tls>\r\n");
    phone.write_all(request("REGISTER", "sip:sip.example", &format!("TLS {at}"), &contact).as_bytes()).unwrap();
    read_message(phone)
}
