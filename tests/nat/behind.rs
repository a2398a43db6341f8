//! A phone behind a real NAT: what keeps it reachable are the pings, and nothing else.

use super::natted::NattedPhone;
use super::network::{Host, Network, address};
use super::phone::Phone;
use super::router::{self, MAPPING_KEPT, Nat, Ports};
use super::{Daemon, EVERY_SECOND, Start, total};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Instant;

/// The last numbers of the addresses of node, NAT and caller.
const NODE: u8 = 1;
const NAT: u8 = 9;
const CALLER: u8 = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

/// A phone behind the NAT.
fn phone_behind(nat: &Nat, transport: Transport, node: SocketAddr) -> NattedPhone {
    let (host, ip) = nat.inside();
    match transport {
        Transport::Udp => {
            let at = SocketAddr::new(ip, 5060);
            NattedPhone::udp(host.make_there(move || UdpSocket::bind(at).unwrap()), node, at)
        }
        Transport::Tcp => {
            let stream = host.make_there(move || TcpStream::connect(node).unwrap());
            let at = stream.local_addr().unwrap();
            NattedPhone::tcp(stream, at)
        }
    }
}

/// A command of the management interface of the node; what it answers.
pub(crate) fn command(host: &Host, words: &[&str]) -> String {
    let mut ctl = host.command(env!("CARGO_BIN_EXE_sipfed"));
    let output = ctl.args(["ctl", "--url", "http://127.0.0.1:8888/mi", "--json"]).args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().split_whitespace().collect()
}

/// Keeps the NAT open by pings alone, calls, stops the pings, calls, and registers again.
fn is_reached_while_it_is_pinged(test: &str, ports: Ports, transport: Transport) {
    if !router::is_possible(test) {
        return;
    }
    let network = Network::new();
    let (host, at) = (network.host(NODE), SocketAddr::new(address(NODE), 5060));
    let file = format!("[domains]\nnames = [\"fed.example\"]\n[ops]\nlisten = \"127.0.0.1:8888\"\n{EVERY_SECOND}");
    let mut node = Daemon::start(&Start { at, file: &file, within: &host.within(), ..Start::default() });
    let nat = Nat::new(&network, NAT, ports);
    let caller = Phone::with(network.host(CALLER).socket_to(at.ip()));
    let mut phone = phone_behind(&nat, transport, at);
    phone.register("bob");
    let dump = command(&host, &["ul_dump"]);
    let seen_at = format!("\"Received\":\"sip:{}:", address(NAT));
    let (_, port) = dump.split_once(&seen_at).unwrap_or_else(|| panic!("not {seen_at} in {dump}"));
    match (ports, transport) {
        (Ports::Kept, Transport::Udp) => assert!(port.starts_with("5060\""), "{dump}"),
        (Ports::Symmetric, _) => assert!(port.starts_with("20"), "{dump}"),
        (Ports::Kept, Transport::Tcp) => {}
    }

    let end = Instant::now() + 2 * MAPPING_KEPT;
    while Instant::now() < end {
        phone.answer_pings(1);
    }
    caller.call(at, "bob");
    let call = phone.rings();
    phone.answer(&call, 486);
    assert_eq!(caller.outcome().status(), 486);

    assert_eq!(command(&host, &["nh_enable_ping", "0"]), "\"OK\"");
    nat.wait_until_closed();
    phone.waiting();
    nat.turns_away(|| _ = caller.call(at, "bob"));
    let came = phone.waiting();
    assert!(came.is_empty(), "the NAT has let it through: {came:?}");

    // It opens the NAT again by itself; over TCP it notices that its connection leads nowhere, and makes another one.
    if transport == Transport::Tcp {
        phone = phone_behind(&nat, transport, at);
    }
    phone.register("bob");
    caller.call(at, "bob");
    phone.rings();
    assert_eq!(total(&node.reports(), "pings_without_way"), 0);
    node.kill();
}

#[test]
fn a_phone_behind_a_nat_that_keeps_its_port_is_reached_while_it_is_pinged() {
    is_reached_while_it_is_pinged(
        "a_phone_behind_a_nat_that_keeps_its_port_is_reached_while_it_is_pinged",
        Ports::Kept,
        Transport::Udp,
    );
}

#[test]
fn a_phone_behind_a_symmetric_nat_is_reached_while_it_is_pinged() {
    is_reached_while_it_is_pinged(
        "a_phone_behind_a_symmetric_nat_is_reached_while_it_is_pinged",
        Ports::Symmetric,
        Transport::Udp,
    );
}

#[test]
fn a_phone_over_tcp_behind_a_nat_is_reached_while_it_is_pinged() {
    is_reached_while_it_is_pinged(
        "a_phone_over_tcp_behind_a_nat_is_reached_while_it_is_pinged",
        Ports::Kept,
        Transport::Tcp,
    );
}
