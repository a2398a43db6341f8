//! A client of a WebSocket that does as it is told, right or wrong.

use crate::daemon::PATIENCE;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

/// The request for a WebSocket, with the key of RFC 6455 §1.3.
pub(crate) const REQUEST: &str = "GET / HTTP/1.1\r\nHost: sip.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\nSec-WebSocket-Version: 13\r\n\
     Origin: https://phone.example\r\n\r\n";

const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: sip\r\n\r\n";

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A WebSocket that is open.
pub(crate) struct Client {
    stream: Box<dyn Stream>,
    via_token: &'static str,
}

/// A frame of the node: its first byte, and what it carries.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

/// A frame as a client sends it (RFC 6455 §5.2), with up to 65,535 bytes.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    const KEY: [u8; 4] = [1, 2, 3, 4];
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len => {
            bytes.push(0xfe);
            bytes.extend((len as u16).to_be_bytes());
        }
    }
    bytes.extend(KEY);
    bytes.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

impl Client {
    pub(crate) fn ws(to: SocketAddr) -> Self {
        Self::open(Box::new(connect(to)), "WS")
    }

    pub(crate) fn wss(to: SocketAddr, trusted: &Path) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(trusted).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let tls = ClientConnection::new(Arc::new(config), name).unwrap();
        Self::open(Box::new(StreamOwned::new(tls, connect(to))), "WSS")
    }

    fn open(stream: Box<dyn Stream>, via_token: &'static str) -> Self {
        let mut client = Self { stream, via_token };
        client.send(REQUEST.as_bytes());
        assert_eq!(String::from_utf8(client.read(ANSWER.len())).unwrap(), ANSWER);
        client
    }

    /// What it calls its transport in a Via.
    pub(crate) fn via_token(&self) -> &'static str {
        self.via_token
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
        self.stream.flush().unwrap();
    }

    /// Sends a whole message of text.
    pub(crate) fn send_text(&mut self, text: &str) {
        self.send(&masked(0x81, text.as_bytes()));
    }

    fn read(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// The next frame, which has no mask.
    pub(crate) fn frame(&mut self) -> Frame {
        let head = self.read(2);
        let len = match head[1] {
            126 => u16::from_be_bytes(self.read(2).try_into().unwrap()).into(),
            len => usize::from(len),
        };
        Frame { first: head[0], payload: self.read(len) }
    }

    /// The next message, which is whole and text.
    pub(crate) fn message(&mut self) -> String {
        let Frame { first, payload } = self.frame();
        assert_eq!(first, 0x81, "{payload:?}");
        String::from_utf8(payload).unwrap()
    }

    /// That nothing but the end follows.
    #[track_caller]
    pub(crate) fn assert_ended(&mut self) {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"");
    }
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}
