//! What a listener for TLS has to survive: plain SIP, handshakes that stop half-way, single bytes, and a thousand phones at rest.

use super::node::{Node, connect, read_message, register, request};
use crate::daemon::PATIENCE;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// The first flight of a handshake.
fn hello() -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let mut tls = ClientConnection::new(Arc::new(config), ServerName::try_from("sip.example").unwrap()).unwrap();
    let mut bytes = Vec::new();
    tls.write_tls(&mut bytes).unwrap();
    bytes
}

#[test]
fn plain_sip_and_handshakes_that_stop_half_way_leave_others_alone() {
    let (mut node, shown) = Node::start("hostile", "127.0.0.1");
    let hello = hello();
    let mut half: Vec<TcpStream> = (0..100)
        .map(|n| {
            let mut socket = TcpStream::connect(node.tls).unwrap();
            socket.write_all(&hello[..hello.len() * n / 100]).unwrap();
            socket
        })
        .collect();
    for _ in 0..20 {
        let mut plain = TcpStream::connect(node.tls).unwrap();
        plain.set_read_timeout(Some(PATIENCE)).unwrap();
        plain.write_all(request("OPTIONS", "sip:sip.example", "TLS 127.0.0.1", "").as_bytes()).unwrap();
        let mut said = Vec::new();
        // A reset is as good an end as any.
        let _ = plain.read_to_end(&mut said);
        // At most an alert, which is no SIP.
        assert!(!said.starts_with(b"SIP"), "{said:?}");
    }
    // One that says everything byte by byte is served.
    let mut slow = half.pop().unwrap();
    for byte in &hello[hello.len() * 99 / 100..] {
        slow.write_all(&[*byte]).unwrap();
    }
    slow.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = [0; 1];
    slow.read_exact(&mut answer).unwrap();
    assert_eq!(answer[0], 22, "a handshake record");
    let mut phone = connect(node.tls, &shown).unwrap();
    assert!(register(&mut phone).starts_with("SIP/2.0 200 "));
    drop(half);
    assert!(node.counter("tls_failed") >= 20);
    assert!(register(&mut phone).starts_with("SIP/2.0 200 "));
}

#[test]
fn messages_that_come_byte_by_byte_are_read() {
    let (node, shown) = Node::start("bytes", "127.0.0.1");
    let mut phone = connect(node.tls, &shown).unwrap();
    let at = phone.sock.local_addr().unwrap();
    let contact = format!("Contact: <sip:bob@{at};transport=tls>\r\n");
    for byte in request("REGISTER", "sip:sip.example", &format!("TLS {at}"), &contact).bytes() {
        // Each in a record of its own.
        phone.write_all(&[byte]).unwrap();
        phone.flush().unwrap();
    }
    assert!(read_message(&mut phone).starts_with("SIP/2.0 200 "));
}

#[test]
fn a_thousand_phones_at_rest_are_all_there_afterwards() {
    let (node, shown) = Node::start("rest", "127.0.0.1");
    let mut phones: Vec<_> = (0..1000).map(|_| connect(node.tls, &shown).unwrap()).collect();
    for phone in &mut phones {
        phone.write_all(b"\r\n\r\n").unwrap();
        let mut pong = [0; 2];
        phone.read_exact(&mut pong).unwrap();
        assert_eq!(&pong, b"\r\n");
    }
}
