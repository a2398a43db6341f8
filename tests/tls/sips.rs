//! RFC 5630 with the real daemon: two phones at sips URIs, from REGISTER to BYE.

use super::node::{Node, Phone, connect, read_message};
use crate::daemon::PATIENCE;
use std::io::Write;
use std::net::UdpSocket;

/// A request of `from` with a branch of its own.
fn request(start: &str, from: &str, to: &str, call: &str, cseq: &str, more: &str) -> String {
    let branch = cseq.replace(' ', "");
    format!(
        "{start} SIP/2.0\r\nVia: SIP/2.0/TLS {from}.invalid;branch=z9hG4bK{call}{branch}\r\nMax-Forwards: 70\r\n\
         From: <sips:{from}@sip.example>;tag=f\r\nTo: {to}\r\nCall-ID: {call}\r\nCSeq: {cseq}\r\n{more}\
         Content-Length: 0\r\n\r\n"
    )
}

fn register(phone: &mut Phone, user: &str) {
    let contact = format!("Contact: <sips:{user}@{}>\r\n", phone.sock.local_addr().unwrap());
    let to = format!("<sips:{user}@sip.example>");
    let call = format!("register-{user}");
    let message = request("REGISTER sips:sip.example", user, &to, &call, "1 REGISTER", &contact);
    phone.write_all(message.as_bytes()).unwrap();
    let answer = read_message(phone);
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
}

fn fields(message: &str, name: &str) -> Vec<String> {
    let prefix = format!("{name}: ");
    message.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
}

/// A response to a request, with its Contact.
fn answer(asked: &str, status: &str, contact: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
        for value in fields(asked, name) {
            let tag = if name == "To" && !value.contains("tag=") { ";tag=t" } else { "" };
            text.extend([name, ": ", &value, tag, "\r\n"]);
        }
    }
    text + contact + "Content-Length: 0\r\n\r\n"
}

#[test]
fn a_call_between_sips_uris_takes_tls_all_the_way_and_so_does_its_dialog() {
    let (node, shown) = Node::start("sips", "127.0.0.1");
    let (mut alice, mut bob) = (connect(node.tls, &shown).unwrap(), connect(node.tls, &shown).unwrap());
    register(&mut alice, "alice");
    register(&mut bob, "bob");
    let at_bob = format!("sips:bob@{}", bob.sock.local_addr().unwrap());
    let at_alice = format!("sips:alice@{}", alice.sock.local_addr().unwrap());

    let contact = format!("Contact: <{at_alice}>\r\n");
    let to = "<sips:bob@sip.example>";
    let invite = request("INVITE sips:bob@sip.example", "alice", to, "call", "1 INVITE", &contact);
    alice.write_all(invite.as_bytes()).unwrap();
    assert!(read_message(&mut alice).starts_with("SIP/2.0 100 "));
    let asked = read_message(&mut bob);
    assert!(asked.starts_with(&format!("INVITE {at_bob} SIP/2.0\r\n")), "{asked}");
    let routes = fields(&asked, "Record-Route");
    assert!(routes.len() == 2 && routes.iter().all(|route| route.starts_with("<sips:")), "{asked}");
    bob.write_all(answer(&asked, "200 OK", &format!("Contact: <{at_bob}>\r\n")).as_bytes()).unwrap();
    let answered = read_message(&mut alice);
    assert!(answered.starts_with("SIP/2.0 200 "), "{answered}");

    // The caller's routes are those of Record-Route turned round (RFC 3261 §12.1.2).
    let route = format!("Route: {}, {}\r\n", routes[1], routes[0]);
    let to = "<sips:bob@sip.example>;tag=t";
    alice.write_all(request(&format!("ACK {at_bob}"), "alice", to, "call", "1 ACK", &route).as_bytes()).unwrap();
    let acked = read_message(&mut bob);
    assert!(acked.starts_with(&format!("ACK {at_bob} ")) && fields(&acked, "Route").is_empty(), "{acked}");
    let route = format!("Route: {}, {}\r\n", routes[0], routes[1]);
    let to = "<sips:alice@sip.example>;tag=f";
    let bye =
        request(&format!("BYE {at_alice}"), "bob", to, "call", "9 BYE", &route).replace(";tag=f\r\nTo", ";tag=t\r\nTo");
    bob.write_all(bye.as_bytes()).unwrap();
    let asked = read_message(&mut alice);
    assert!(asked.starts_with(&format!("BYE {at_alice} ")) && fields(&asked, "Route").is_empty(), "{asked}");
    alice.write_all(answer(&asked, "200 OK", "").as_bytes()).unwrap();
    assert!(read_message(&mut bob).starts_with("SIP/2.0 200 "));

    // Whoever calls over UDP has not kept the promise.
    let plain = UdpSocket::bind("127.0.0.1:0").unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    let call = request("OPTIONS sips:bob@sip.example", "carol", "<sips:bob@sip.example>", "udp", "1 OPTIONS", "");
    let via = format!("SIP/2.0/UDP {};rport", plain.local_addr().unwrap());
    plain.send_to(call.replace("SIP/2.0/TLS carol.invalid", &via).as_bytes(), node.udp).unwrap();
    let mut datagram = [0; 4096];
    let len = plain.recv(&mut datagram).unwrap();
    let said = String::from_utf8_lossy(&datagram[..len]).into_owned();
    assert!(said.starts_with("SIP/2.0 400 "), "{said}");
}
