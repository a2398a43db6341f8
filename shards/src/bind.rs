//! Binds every listener on every shard before any shard runs.
//!
//! In: the configured listeners, and the address that may come and go, where there is one. Out: for each shard one socket per listener, and the listeners as they are
//! bound. Each shard has a socket of its own on the same address (SO_REUSEPORT), and the kernel spreads
//! senders and connections over them by a hash of their addresses. They are bound in shard order, which
//! is the order in which the kernel numbers them.
//!
//! The first socket of an address is bound before it is willing to share: with that, a second daemon of the same
//! user would quietly take half of the traffic. A port of 0 is chosen by the kernel for the first shard and
//! taken by the others; to a socket that is willing to share it gives UDP ports that others have.
//!
//! A socket at the virtual address is bound whether or not the host has it (IP_FREEBIND): what is sent to the address
//! arrives from the moment on in which the host gets it.

use crate::SocketOptions;
use crate::error::StartError;
use crate::sys::{self, SocketOption};
use crate::udp::UdpPort;
use sipfed_proto::{Listener, Transport};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

/// Connections that may wait to be accepted; the kernel cuts this at net.core.somaxconn.
const ACCEPT_BACKLOG_COUNT: i32 = 4096;

/// The sockets of one shard, in the order of the listeners.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    /// Its UDP sockets.
    pub(crate) udp: Vec<UdpPort>,
    /// Its listeners for streams, each with what is spoken over them.
    pub(crate) streams: Vec<(Transport, TcpListener)>,
}

/// All sockets of the node.
#[derive(Debug)]
pub(crate) struct Bound {
    /// By shard.
    pub(crate) shards: Vec<Ports>,
    /// The listeners with their ports filled in.
    pub(crate) listeners: Vec<Listener>,
}

/// Binds `listeners` for `shards_count` shards.
pub(crate) fn bind(
    listeners: &[Listener],
    virtual_ip: Option<IpAddr>,
    shards_count: usize,
    options: &SocketOptions,
) -> Result<Bound, StartError> {
    let mut bound = Bound { shards: (0..shards_count).map(|_| Ports::default()).collect(), listeners: Vec::new() };
    for &configured in listeners {
        let mut listener = configured;
        for (shard, ports) in bound.shards.iter_mut().enumerate() {
            let is_virtual = virtual_ip == Some(listener.addr.ip());
            let socket = if shard == 0 { bind_first(listener, is_virtual)? } else { bind_next(listener, is_virtual)? };
            listener.addr = socket
                .local_addr()
                .map(|addr| addr.as_socket().unwrap_or(listener.addr))
                .map_err(|source| StartError::Listen { listener, step: "asking for its address", source })?;
            if listener.transport.is_reliable() {
                socket.listen(ACCEPT_BACKLOG_COUNT).map_err(|source| refused(listener, "listening", source))?;
                ports.streams.push((listener.transport, socket.into()));
            } else {
                let step = "setting its options";
                prepare_udp(&socket, listener.addr, options).map_err(|source| StartError::Listen {
                    listener,
                    step,
                    source,
                })?;
                if shard == 0 {
                    warn_of_small_buffer(&socket, listener, options.receive_buffer_bytes);
                }
                ports.udp.push(UdpPort::new(socket.into(), listener.addr));
            }
        }
        bound.listeners.push(listener);
    }
    Ok(bound)
}

fn open(listener: Listener, is_virtual: bool) -> io::Result<Socket> {
    let is_stream = listener.transport.is_reliable();
    let (kind, protocol) = if is_stream { (Type::STREAM, Protocol::TCP) } else { (Type::DGRAM, Protocol::UDP) };
    let socket = Socket::new(Domain::for_address(listener.addr), kind.nonblocking(), Some(protocol))?;
    if listener.addr.is_ipv6() {
        // An IPv4 sender then always has an IPv4 address, never a mapped one.
        socket.set_only_v6(true)?;
    }
    if listener.transport.is_reliable() {
        // Connections of an earlier run may still wait for their end; they do not stand in the way.
        socket.set_reuse_address(true)?;
    }
    match listener.addr {
        _ if !is_virtual => {}
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
    }
    Ok(socket)
}

/// Binds the first socket of an address, which nobody else may have, and lets others of ours join it.
fn bind_first(listener: Listener, is_virtual: bool) -> Result<Socket, StartError> {
    let attempt = open(listener, is_virtual).and_then(|socket| {
        socket.bind(&listener.addr.into())?;
        socket.set_reuse_port(true)?;
        Ok(socket)
    });
    attempt.map_err(|source| refused(listener, "binding", source))
}

/// Binds another socket to an address that [`bind_first`] has bound.
fn bind_next(listener: Listener, is_virtual: bool) -> Result<Socket, StartError> {
    let attempt = open(listener, is_virtual).and_then(|socket| {
        socket.set_reuse_port(true)?;
        socket.bind(&listener.addr.into())?;
        Ok(socket)
    });
    attempt.map_err(|source| refused(listener, "binding", source))
}

fn refused(listener: Listener, step: &'static str, source: io::Error) -> StartError {
    match source.kind() {
        io::ErrorKind::AddrInUse => StartError::PortInUse { listener },
        io::ErrorKind::AddrNotAvailable => StartError::AddressNotHere { listener },
        io::ErrorKind::PermissionDenied => StartError::NotPermitted { listener },
        _ => StartError::Listen { listener, step, source },
    }
}

fn prepare_udp(socket: &Socket, addr: SocketAddr, options: &SocketOptions) -> io::Result<()> {
    let (receive_bytes, send_bytes) = (options.receive_buffer_bytes, options.send_buffer_bytes);
    // Beyond net.core.rmem_max only with CAP_NET_ADMIN; without it the kernel gives what it may.
    if sys::set_option(socket, SocketOption::ReceiveBufferForced, receive_bytes as i32).is_err() {
        socket.set_recv_buffer_size(receive_bytes)?;
    }
    if sys::set_option(socket, SocketOption::SendBufferForced, send_bytes as i32).is_err() {
        socket.set_send_buffer_size(send_bytes)?;
    }
    sys::set_option(socket, SocketOption::TellDropped, 1)?;
    let is_wildcard = addr.ip().is_unspecified();
    if addr.is_ipv4() {
        // A large INVITE may be fragmented on its way; with the DF bit it would vanish (RFC 3261 §18.1.1
        // leaves what is beyond the path MTU to congestion-safe transports, which phones often lack).
        sys::set_option(socket, SocketOption::PathMtuDiscovery, libc::IP_PMTUDISC_DONT)?;
        if is_wildcard {
            sys::set_option(socket, SocketOption::TellLocalIpv4, 1)?;
        }
    } else if is_wildcard {
        sys::set_option(socket, SocketOption::TellLocalIpv6, 1)?;
    }
    Ok(())
}

/// Says so when the kernel gave a smaller receive buffer than asked for: bursts are then lost in it.
fn warn_of_small_buffer(socket: &Socket, listener: Listener, wanted_bytes: usize) {
    // The kernel doubles what it is asked for, and tells the double.
    let given_bytes = socket.recv_buffer_size().unwrap_or(0) / 2;
    if given_bytes < wanted_bytes {
        tracing::warn!(
            listener = %listener.addr, given_bytes, wanted_bytes,
            "the receive buffer is smaller than configured; raise net.core.rmem_max or lower receive_buffer_bytes"
        );
    }
}

/// Every address that the bound `listeners` answer at: their own, and for a wildcard those of all interfaces and the one
/// that may come yet.
pub(crate) fn own_addresses(listeners: &[Listener], virtual_ip: Option<IpAddr>) -> Result<Vec<IpAddr>, StartError> {
    let is_there = |wildcard: IpAddr| listeners.iter().any(|listener| listener.addr.ip() == wildcard);
    let (has_any_v4, has_any_v6) = (is_there(Ipv4Addr::UNSPECIFIED.into()), is_there(Ipv6Addr::UNSPECIFIED.into()));
    let mut addresses: Vec<IpAddr> =
        listeners.iter().map(|listener| listener.addr.ip()).filter(|ip| !ip.is_unspecified()).collect();
    if has_any_v4 || has_any_v6 {
        let interfaces = sys::interface_addresses()
            .map_err(|source| StartError::Machine { step: "list the addresses of the interfaces", source })?;
        let all = interfaces.into_iter().chain(virtual_ip);
        addresses.extend(all.filter(|ip| if ip.is_ipv4() { has_any_v4 } else { has_any_v6 }));
    }
    let mut seen = std::collections::HashSet::new();
    addresses.retain(|ip| seen.insert(*ip));
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(transport: Transport, addr: &str) -> Listener {
        Listener { transport, addr: addr.parse().unwrap() }
    }

    #[test]
    fn all_shards_share_one_port_that_the_kernel_chose() {
        let listeners = [listener(Transport::Udp, "127.0.0.1:0"), listener(Transport::Tcp, "[::1]:0")];
        let bound = bind(&listeners, None, 3, &crate::tests::socket_options()).unwrap();
        assert_eq!(bound.shards.len(), 3);
        for ports in &bound.shards {
            assert_eq!(ports.udp[0].socket().local_addr().unwrap(), bound.listeners[0].addr);
            assert_eq!(ports.streams[0].1.local_addr().unwrap(), bound.listeners[1].addr);
        }
        assert_ne!(bound.listeners[0].addr.port(), 0);
    }

    #[test]
    fn a_second_daemon_does_not_share_the_first_ones_port() {
        for transport in [Transport::Udp, Transport::Tcp] {
            let options = crate::tests::socket_options();
            let first = bind(&[listener(transport, "127.0.0.1:0")], None, 2, &options).unwrap();
            let error = bind(&first.listeners, None, 2, &options).unwrap_err();
            assert!(matches!(error, StartError::PortInUse { listener } if listener == first.listeners[0]));
            let text = error.to_string();
            assert!(text.contains(&first.listeners[0].addr.to_string()) && text.contains("in use"), "{text}");
            drop(first);
        }
    }

    #[test]
    fn a_port_that_the_kernel_chooses_is_nobody_elses() {
        // So many that a choice among all ports, these included, would hit one of them in a few tries.
        let others: Vec<Socket> = (0..500)
            .map(|_| {
                let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
                socket.set_reuse_port(true).unwrap();
                socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
                socket
            })
            .collect();
        let taken: std::collections::HashSet<SocketAddr> =
            others.iter().map(|socket| socket.local_addr().unwrap().as_socket().unwrap()).collect();
        let options = crate::tests::socket_options();
        for _ in 0..400 {
            let bound = bind(&[listener(Transport::Udp, "127.0.0.1:0")], None, 1, &options).unwrap();
            assert!(!taken.contains(&bound.listeners[0].addr), "{:?}", bound.listeners);
        }
    }

    #[test]
    fn an_address_of_another_machine_is_told_as_such() {
        let elsewhere = [listener(Transport::Udp, "192.0.2.1:5060")];
        let error = bind(&elsewhere, None, 1, &crate::tests::socket_options()).unwrap_err();
        assert!(matches!(error, StartError::AddressNotHere { .. }), "{error}");
    }

    #[test]
    fn the_virtual_address_is_bound_before_the_host_has_it_and_no_other_is() {
        let options = crate::tests::socket_options();
        for (ip, other) in [("198.51.100.1", "198.51.100.2"), ("2001:db8::1", "2001:db8::2")] {
            let at = |ip: &str, transport| Listener { transport, addr: SocketAddr::new(ip.parse().unwrap(), 5060) };
            let listeners = [at(ip, Transport::Udp), at(ip, Transport::Tcp)];
            let virtual_ip = Some(ip.parse().unwrap());
            let bound = bind(&listeners, virtual_ip, 2, &options).unwrap();
            assert_eq!(bound.listeners, listeners);
            let error = bind(&listeners, virtual_ip, 1, &options).unwrap_err();
            assert!(matches!(error, StartError::PortInUse { .. }), "it is not shared by accident: {error}");
            let error = bind(&[at(other, Transport::Udp)], virtual_ip, 1, &options).unwrap_err();
            assert!(matches!(error, StartError::AddressNotHere { .. }), "{error}");
        }
    }

    #[test]
    fn a_wildcard_answers_at_all_addresses_of_its_family() {
        let any = [listener(Transport::Udp, "0.0.0.0:5060"), listener(Transport::Tcp, "127.0.0.1:5060")];
        let addresses = own_addresses(&any, None).unwrap();
        assert_eq!(addresses.iter().filter(|ip| ip.is_loopback()).count(), 1);
        assert!(addresses.iter().all(IpAddr::is_ipv4));
        let virtual_ip: IpAddr = "192.0.2.1".parse().unwrap();
        assert!(own_addresses(&any, Some(virtual_ip)).unwrap().contains(&virtual_ip), "also before it is there");
        let concrete = [listener(Transport::Udp, "[2001:db8::1]:5060")];
        assert_eq!(own_addresses(&concrete, None).unwrap(), [concrete[0].addr.ip()]);
    }
}
