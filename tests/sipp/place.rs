//! Addresses for agents. All of 127.0.0.0/8 is this host, so each agent has an IP address of its own, and no two
//! tests ever ask for the same port.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU8, Ordering};

/// An address that is free over UDP and over TCP.
pub(crate) fn free() -> SocketAddr {
    let ip = own_ip();
    // Some programs know no ports of more than four digits.
    (5060..6060).map(|port| SocketAddr::from((ip, port))).find(|at| is_free(*at)).expect("a port is free")
}

/// An IP address of this host that nobody else uses.
fn own_ip() -> Ipv4Addr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    // Away from 127.0.x.x, where daemons and resolvers live.
    Ipv4Addr::new(127, high | 0x80, low, COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A program that listens at this port of all addresses would be in the way.
fn is_free(at: SocketAddr) -> bool {
    UdpSocket::bind(at).is_ok() && TcpListener::bind(at).is_ok()
}
