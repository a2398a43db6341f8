//! Whether the configured addresses can be bound.
//!
//! The shards share their ports by SO_REUSEPORT, and so would a second process of the same user, silently:
//! half of the datagrams would go to each. So every address is bound once without sharing before the shards
//! bind it, which fails when anybody else holds it.

use crate::holder;
use crate::{Finding, Verdict};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fmt;
use std::net::SocketAddr;

/// A transport protocol as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Datagrams.
    Udp,
    /// Streams.
    Tcp,
}

/// An address to listen at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Its protocol.
    pub protocol: Protocol,
    /// Address and port.
    pub addr: SocketAddr,
    /// Whether it moves between hosts, so that this one need not have it now.
    pub is_virtual: bool,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Udp => "udp",
            Protocol::Tcp => "tcp",
        };
        write!(f, "{protocol}:{}", self.addr)
    }
}

/// What binding an address came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It can be bound, or the kernel will choose its port.
    Free,
    /// A process holds it; which one, where this process may see that.
    Taken(Option<Holder>),
    /// The kernel refused it with this errno.
    Refused(i32),
}

/// A process that holds an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its name.
    pub name: String,
}

/// Binds the address and lets it go again.
pub(crate) fn probe(address: Address) -> Outcome {
    if address.addr.port() == 0 {
        return Outcome::Free;
    }
    match bind(address) {
        Ok(()) => Outcome::Free,
        Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) => Outcome::Taken(holder::find(address)),
        Err(error) => Outcome::Refused(error.raw_os_error().unwrap_or(0)),
    }
}

fn bind(Address { protocol, addr, is_virtual }: Address) -> std::io::Result<()> {
    let kind = match protocol {
        Protocol::Udp => Type::DGRAM,
        Protocol::Tcp => Type::STREAM,
    };
    let socket = Socket::new(Domain::for_address(addr), kind, None)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if protocol == Protocol::Tcp {
        // Connections that linger in TIME_WAIT after a restart do not hold the address; a listener does.
        socket.set_reuse_address(true)?;
    }
    match addr {
        _ if !is_virtual => {}
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
    }
    socket.bind(&SockAddr::from(addr))
}

pub(crate) fn decide(address: Address, outcome: &Outcome) -> Verdict {
    match outcome {
        Outcome::Free => Verdict::Fine,
        Outcome::Taken(holder) => Verdict::Fatal(taken(address, holder.as_ref())),
        Outcome::Refused(errno) => Verdict::Fatal(refused(address, *errno)),
    }
}

fn taken(address: Address, holder: Option<&Holder>) -> Finding {
    let port = address.addr.port();
    let other = Address { addr: SocketAddr::new(address.addr.ip(), port.wrapping_add(10).max(1024)), ..address };
    let option = match address.protocol {
        Protocol::Udp => "-lunp",
        Protocol::Tcp => "-ltnp",
    };
    let by = match holder {
        Some(Holder { pid, name }) => format!("process {pid} ({name})"),
        None => "another process".to_owned(),
    };
    Finding::new(
        format!("{address} is taken: {by} listens there"),
        format!(
            "sudo ss {option} 'sport = :{port}'   # names the process; end it\n\
             sipfed serve --listen {other}   # or listen elsewhere"
        ),
    )
}

fn refused(address: Address, errno: i32) -> Finding {
    let port = address.addr.port();
    let family = if address.addr.is_ipv6() { "ipv6" } else { "ipv4" };
    match errno {
        libc::EACCES | libc::EPERM => Finding::new(
            format!("{address} is not allowed to this process: ports below 1024 are privileged"),
            format!(
                "sudo setcap cap_net_bind_service=+ep \"$(command -v sipfed)\"\n\
                 AmbientCapabilities=CAP_NET_BIND_SERVICE   # in the [Service] section of the systemd unit\n\
                 sudo sysctl -w net.ipv4.ip_unprivileged_port_start={port}   # for every process of the host"
            ),
        ),
        libc::EADDRNOTAVAIL => Finding::new(
            format!("{address} is not an address of this host"),
            format!(
                "ip -brief address   # shows those it has\n\
                 sudo sysctl -w net.{family}.ip_nonlocal_bind=1   # for a virtual address that comes later"
            ),
        ),
        libc::EAFNOSUPPORT => Finding::new(
            format!("{address} is IPv6, which is switched off on this host"),
            "sudo sysctl -w net.ipv6.conf.all.disable_ipv6=0   # or listen at IPv4 addresses only",
        ),
        other => Finding::new(
            format!("{address} cannot be bound: {}", std::io::Error::from_raw_os_error(other)),
            "ip -brief address   # shows the addresses of this host",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    fn udp(addr: &str) -> Address {
        Address { protocol: Protocol::Udp, addr: addr.parse().unwrap(), is_virtual: false }
    }

    #[test]
    fn an_address_that_another_socket_holds_is_taken_and_its_holder_is_named() {
        let this = std::process::id();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let held = Address { addr: socket.local_addr().unwrap(), ..udp("127.0.0.1:0") };
        assert!(matches!(probe(held), Outcome::Taken(Some(Holder { pid, .. })) if pid == this));
        // A wildcard overlaps it; the same port of the other protocol does not.
        let wildcard = Address { addr: SocketAddr::from(([0, 0, 0, 0], held.addr.port())), ..held };
        assert!(matches!(probe(wildcard), Outcome::Taken(Some(Holder { pid, .. })) if pid == this));
        drop(socket);
        assert_eq!(probe(held), Outcome::Free);

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let held = Address { protocol: Protocol::Tcp, addr: listener.local_addr().unwrap(), is_virtual: false };
        assert!(matches!(probe(held), Outcome::Taken(Some(Holder { pid, .. })) if pid == this));
    }

    #[test]
    fn port_zero_and_addresses_of_other_hosts_are_told_apart() {
        assert_eq!(probe(udp("127.0.0.1:0")), Outcome::Free);
        for elsewhere in [udp("198.51.100.1:5060"), udp("[2001:db8::1]:5060")] {
            assert_eq!(probe(elsewhere), Outcome::Refused(libc::EADDRNOTAVAIL));
            assert_eq!(probe(Address { is_virtual: true, ..elsewhere }), Outcome::Free);
        }
    }

    #[test]
    fn each_refusal_names_the_address_and_what_to_type() {
        let address = udp("0.0.0.0:5060");
        let holder = Holder { pid: 4711, name: "kamailio".into() };
        let Verdict::Fatal(finding) = decide(address, &Outcome::Taken(Some(holder))) else { panic!() };
        assert_eq!(finding.what, "udp:0.0.0.0:5060 is taken: process 4711 (kamailio) listens there");
        assert_eq!(
            finding.mend,
            "sudo ss -lunp 'sport = :5060'   # names the process; end it\n\
             sipfed serve --listen udp:0.0.0.0:5070   # or listen elsewhere"
        );
        let Verdict::Fatal(finding) = decide(address, &Outcome::Taken(None)) else { panic!() };
        assert_eq!(finding.what, "udp:0.0.0.0:5060 is taken: another process listens there");
        for (errno, text) in [
            (libc::EACCES, "setcap cap_net_bind_service"),
            (libc::EADDRNOTAVAIL, "ip_nonlocal_bind"),
            (libc::EAFNOSUPPORT, "disable_ipv6=0"),
            (libc::ENOBUFS, "ip -brief address"),
        ] {
            let Verdict::Fatal(finding) = decide(address, &Outcome::Refused(errno)) else { panic!() };
            assert!(finding.what.starts_with("udp:0.0.0.0:5060 "), "{}", finding.what);
            assert!(finding.mend.contains(text), "{}", finding.mend);
        }
    }
}
