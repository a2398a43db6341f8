//! Phones over TLS: registered and called over their connection, and a certificate that is replaced.

use super::node::{Node, connect, read_message, register, request, write_certificate};
use crate::daemon::PATIENCE;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::process::Command;

#[test]
fn a_phone_registers_over_tls_and_is_called_over_its_connection() {
    for (name, ip) in [("v4", "127.0.0.1"), ("v6", "[::1]")] {
        let (node, shown) = Node::start(name, ip);
        let mut phone = connect(node.tls, &shown).unwrap();
        let registered = register(&mut phone);
        assert!(registered.starts_with("SIP/2.0 200 "), "{registered}");

        let caller = UdpSocket::bind(format!("{ip}:0")).unwrap();
        caller.set_read_timeout(Some(PATIENCE)).unwrap();
        let via = format!("UDP {};rport", caller.local_addr().unwrap());
        let call = request("OPTIONS", "sip:bob@sip.example", &via, "");
        caller.send_to(call.as_bytes(), node.udp).unwrap();
        let asked = read_message(&mut phone);
        assert!(asked.starts_with(&format!("OPTIONS sip:bob@{}", phone.sock.local_addr().unwrap())), "{asked}");
        assert!(asked.contains(&format!("Via: SIP/2.0/TLS {};", node.tls)), "{asked}");
        // Its answer goes back to the caller.
        let answer = asked.split_once("\r\n").unwrap().1.replace("Max-Forwards: 69\r\n", "");
        phone.write_all(format!("SIP/2.0 200 OK\r\n{answer}").as_bytes()).unwrap();
        let mut datagram = [0; 4096];
        let len = caller.recv(&mut datagram).unwrap();
        assert!(datagram[..len].starts_with(b"SIP/2.0 200 OK"), "{}", String::from_utf8_lossy(&datagram[..len]));

        // Plain SIP gets no answer there.
        let mut plain = TcpStream::connect(node.tls).unwrap();
        plain.set_read_timeout(Some(PATIENCE)).unwrap();
        plain.write_all(call.as_bytes()).unwrap();
        let mut said = Vec::new();
        // A reset is as good an end as any.
        let _ = plain.read_to_end(&mut said);
        assert!(!said.starts_with(b"SIP"), "{said:?}");
    }
}

#[test]
fn a_certificate_is_replaced_without_losing_a_connection_and_a_bad_one_is_not_taken() {
    let (mut node, before) = Node::start("reload", "127.0.0.1");
    let mut phone = connect(node.tls, &before).unwrap();
    assert!(register(&mut phone).starts_with("SIP/2.0 200 "));

    let after = write_certificate(&node.folder);
    node.daemon.signal("HUP");
    node.daemon.line_with("phones are shown the certificate that was read again");
    connect(node.tls, &after).unwrap();
    connect(node.tls, &before).unwrap_err();
    assert!(register(&mut phone).starts_with("SIP/2.0 200 "), "the connection is kept");

    let key = std::fs::read(node.folder.join("key.pem")).unwrap();
    write_certificate(&node.folder);
    std::fs::write(node.folder.join("key.pem"), key).unwrap();
    node.daemon.signal("HUP");
    let line = node.daemon.line_with("cannot be used; the one from before is shown");
    assert!(line.contains("certificate.pem"), "{line}");
    connect(node.tls, &after).unwrap();

    let check = Command::new(env!("CARGO_BIN_EXE_sipfed")).arg("check").arg(node.folder.join("sipfed.toml")).output();
    let check = check.unwrap();
    let said = String::from_utf8_lossy(&check.stderr).into_owned();
    assert!(!check.status.success() && said.contains("tls.certificate"), "{said}");
}
