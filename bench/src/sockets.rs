//! The generator's side of the network: many connected sockets, one thread, whole batches.
//!
//! A server with one SO_REUSEPORT socket per shard gets a client's packets by the hash of their addresses, so
//! there are several client sockets for the load to spread. Each keeps its port for as long as the scenario
//! lives: a phone's Contact names it.

use crate::error::{Doing, Error};
use crate::sys::{DatagramBatch, Epoll, note_arrivals, set_timer_slack_ns};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Receive buffer asked for; the kernel grants what its limit allows.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
/// Sockets of one generator.
pub(crate) const SOCKETS_COUNT_MAX: usize = 64;
/// Ports below have fewer than the five digits that the templates have room for.
const PORT_MIN: u16 = 10_000;
const PORT_ATTEMPTS_COUNT_MAX: usize = 100;

/// Client sockets connected to one server.
pub(crate) struct Sockets {
    clients: Vec<UdpSocket>,
    ports: Vec<u16>,
    epoll: Epoll,
    readable: Vec<usize>,
    /// What is about to be sent.
    pub(crate) outgoing: DatagramBatch,
    /// What was received last.
    pub(crate) incoming: DatagramBatch,
    /// System calls and results, for judging how the load was offered.
    pub(crate) tally: Tally,
    started: Instant,
    phase: u16,
}

/// How the load was offered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Datagrams sent.
    pub(crate) sent: u64,
    /// Times that the generator woke up and sent at least one.
    pub(crate) bursts: u64,
    /// Datagrams that the kernel did not take.
    pub(crate) refused: u64,
}

impl Sockets {
    /// `count` sockets connected to `server`, which must be on this machine.
    pub(crate) fn connect(server: SocketAddr, count: usize) -> Result<Self, Error> {
        if !server.ip().is_loopback() {
            return Err(Error::NotLoopback(server));
        }
        if count == 0 || count > SOCKETS_COUNT_MAX {
            return Err(Error::Options("--client-sockets must be 1 to 64"));
        }
        set_timer_slack_ns(1);
        let epoll = Epoll::new().doing("making an epoll instance")?;
        let (mut clients, mut ports) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for number in 0..count {
            let (socket, port) = connect_one(server)?;
            epoll.add(&socket, number).doing("watching a client socket")?;
            clients.push(socket);
            ports.push(port);
        }
        Ok(Self {
            clients,
            ports,
            epoll,
            readable: Vec::with_capacity(count),
            outgoing: DatagramBatch::new(),
            incoming: DatagramBatch::new(),
            tally: Tally::default(),
            started: Instant::now(),
            phase: 0,
        })
    }

    /// Has the kernel note when each datagram reaches one of them.
    pub(crate) fn note_arrivals(&self) -> Result<(), Error> {
        self.clients.iter().try_for_each(|socket| note_arrivals(socket).doing("having arrivals noted"))
    }

    /// How many sockets there are.
    pub(crate) fn count(&self) -> usize {
        self.clients.len()
    }

    /// The local port of `socket`.
    pub(crate) fn port(&self, socket: usize) -> u16 {
        self.ports[socket]
    }

    /// A number for the next phase, so that late answers to an earlier one are told apart.
    pub(crate) fn next_phase(&mut self) -> u16 {
        self.phase = self.phase.wrapping_add(1);
        self.phase
    }

    /// Nanoseconds since the sockets were made.
    pub(crate) fn now_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    /// Sends the first `count` datagrams of [`Self::outgoing`] over `socket`.
    ///
    /// What the kernel does not take is lost, as it would be on a wire, and counted.
    pub(crate) fn send(&mut self, socket: usize, count: usize) -> Result<(), Error> {
        if count == 0 {
            return Ok(());
        }
        let sent = self.outgoing.send(&self.clients[socket], count).doing("sending")?;
        self.tally.sent += sent as u64;
        self.tally.refused += (count - sent) as u64;
        Ok(())
    }

    /// Waits until something is readable or `until_ns` is reached; 0 looks only.
    pub(crate) fn wait_until(&mut self, until_ns: u64) -> Result<(), Error> {
        let timeout = Duration::from_nanos(until_ns.saturating_sub(self.now_ns()));
        self.epoll.wait(timeout, &mut self.readable).doing("waiting for answers")
    }

    /// Receives a batch from one readable socket into [`Self::incoming`]: the socket and how many.
    pub(crate) fn receive(&mut self) -> Result<Option<(usize, usize)>, Error> {
        // One batch per readiness: epoll is level-triggered, what is left is named again by the next wait.
        let Some(socket) = self.readable.pop() else { return Ok(None) };
        let count = self.incoming.receive(&self.clients[socket]).doing("receiving")?;
        Ok(Some((socket, count)))
    }
}

fn connect_one(server: SocketAddr) -> Result<(UdpSocket, u16), Error> {
    let domain = Domain::for_address(server);
    for _ in 0..PORT_ATTEMPTS_COUNT_MAX {
        let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP)).doing("making a socket")?;
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
        socket.bind(&SockAddr::from(SocketAddr::new(server.ip(), 0))).doing("binding a client socket")?;
        socket.connect(&SockAddr::from(server)).doing("connecting a client socket")?;
        let socket = UdpSocket::from(socket);
        let port = socket.local_addr().doing("reading a client socket's port")?.port();
        if port >= PORT_MIN {
            return Ok((socket, port));
        }
    }
    Err(Error::Options("the system hands out ports below 10000 only (net.ipv4.ip_local_port_range)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loaded() {
        let elsewhere = "192.0.2.1:5060".parse().unwrap();
        assert!(matches!(Sockets::connect(elsewhere, 1), Err(Error::NotLoopback(_))));
    }

    #[test]
    fn what_an_echo_sends_back_is_received_on_the_socket_it_left_from() {
        let echo = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut sockets = Sockets::connect(echo.local_addr().unwrap(), 2).unwrap();
        sockets.outgoing.room(0)[..4].copy_from_slice(b"ping");
        sockets.outgoing.set_length(0, 4);
        sockets.send(1, 1).unwrap();
        let mut room = [0; 16];
        let (length, from) = echo.recv_from(&mut room).unwrap();
        assert_eq!(from.port(), sockets.port(1));
        echo.send_to(&room[..length], from).unwrap();
        sockets.wait_until(u64::MAX / 4).unwrap();
        assert_eq!(sockets.receive().unwrap(), Some((1, 1)));
        assert_eq!(sockets.incoming.datagram(0), b"ping");
        assert_eq!(sockets.receive().unwrap(), None);
    }
}
