//! One UDP socket of a shard: datagrams in and out, a batch at a time (RFC 3261 §18).
//!
//! In: what [`Received`] holds after a batch, told as whole messages with the concrete address that they came
//! to. Out: messages of an [`Outbox`] by their index, sent from the address that the machine chose. The
//! socket belongs to one shard; other shards have one of their own on the same address, and the kernel
//! spreads the senders over them.
//!
//! Bounds: 64 datagrams a call. What the kernel does not take at once waits in a backlog of
//! [`BACKLOG_COUNT_MAX`] datagrams and is then dropped and counted. A datagram that is refused for a reason
//! of its own never holds up another.

use crate::sys::datagrams::{BATCH_COUNT_MAX, Datagram, Parting, Received, Sending};
use sipfed_proto::{Counters, Destination, FlowToken, Outbox, Source, Ticket, Transport};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// Datagrams of one socket that may wait until the kernel takes more.
const BACKLOG_COUNT_MAX: usize = 512;

/// A bound UDP socket.
#[derive(Debug)]
pub(crate) struct UdpPort {
    socket: UdpSocket,
    addr: SocketAddr,
    /// What the kernel said last about its drops at this socket.
    dropped_count: u32,
    backlog: VecDeque<Waiting>,
}

/// A datagram that the kernel did not take yet.
#[derive(Debug)]
struct Waiting {
    bytes: Vec<u8>,
    remote: SocketAddr,
    source_ip: Option<IpAddr>,
    ticket: Ticket,
}

/// What comes of an attempt to send that failed.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// The kernel has no room now.
    Full,
    /// A signal came in between.
    Interrupted,
    /// This datagram cannot be sent, or an earlier one has met an error that is told only now.
    Refused,
}

impl Failure {
    fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => Self::Full,
            Some(libc::EINTR) => Self::Interrupted,
            _ => Self::Refused,
        }
    }
}

impl UdpPort {
    /// A port over `socket`, bound to `addr` and made ready by [`crate::bind`].
    pub(crate) fn new(socket: UdpSocket, addr: SocketAddr) -> Self {
        Self { socket, addr, dropped_count: 0, backlog: VecDeque::new() }
    }

    /// The socket, for who waits for it.
    pub(crate) fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Receives what waits, at most one batch, and returns how many datagrams that were.
    pub(crate) fn receive(&self, batch: &mut Received) -> usize {
        // An error other than "nothing there" is an old one of a datagram that was sent (an ICMP message):
        // it is told once and hides nothing, since readiness is level-triggered.
        batch.receive(&self.socket).unwrap_or(0)
    }

    /// What a received datagram is: its bytes and where it came from, or `None` when it was counted as
    /// dropped.
    pub(crate) fn open<'a>(&mut self, datagram: &Datagram<'a>, counters: &mut Counters) -> Option<(&'a [u8], Source)> {
        if let Some(dropped_count) = datagram.dropped_count {
            counters.dropped_receive_full += u64::from(dropped_count.wrapping_sub(self.dropped_count));
            self.dropped_count = dropped_count;
        }
        if datagram.is_cut {
            counters.dropped_too_long += 1;
            return None;
        }
        let Some(remote) = datagram.remote else {
            counters.dropped_unparsable += 1;
            return None;
        };
        let local = match datagram.local_ip {
            Some(ip) if self.addr.ip().is_unspecified() => SocketAddr::new(ip, self.addr.port()),
            _ => self.addr,
        };
        Some((datagram.bytes, Source { transport: Transport::Udp, remote, local, flow: FlowToken::NONE }))
    }

    /// How well this socket fits a message that is to leave from `local` to `remote`; 0 for not at all.
    ///
    /// The port names the socket. Where the machine names an address that nothing is bound to, the socket
    /// of that family still serves: better from another port than not at all.
    fn fitness(&self, local: SocketAddr, remote: SocketAddr) -> u8 {
        if self.addr.is_ipv4() != remote.is_ipv4() {
            0
        } else if self.addr == local {
            4
        } else if self.addr.port() == local.port() {
            2 + u8::from(self.addr.ip().is_unspecified())
        } else {
            1
        }
    }

    /// The address that a message is to leave from, where the socket itself leaves that open.
    fn source_ip(&self, local: SocketAddr) -> Option<IpAddr> {
        let is_open =
            self.addr.ip().is_unspecified() && !local.ip().is_unspecified() && local.is_ipv4() == self.addr.is_ipv4();
        is_open.then(|| local.ip())
    }

    fn parting<'a>(&self, outbox: &'a Outbox, index: u32) -> Option<(Parting<'a>, Ticket)> {
        let transmit = &outbox.transmits()[index as usize];
        let Destination::Udp { remote, local } = transmit.to else { return None };
        let parting = Parting { bytes: outbox.bytes(transmit), remote, source_ip: self.source_ip(local) };
        Some((parting, transmit.ticket))
    }

    /// Sends the messages of `outbox` at `indices`, all of which go over UDP.
    ///
    /// A request that the kernel refuses is told in `failed`; one that found no room is dropped quietly,
    /// since its transaction sends it again.
    pub(crate) fn send(
        &mut self,
        outbox: &Outbox,
        indices: &[u32],
        sending: &mut Sending,
        counters: &mut Counters,
        failed: &mut Vec<Ticket>,
    ) {
        let mut rest = if self.backlog.is_empty() { indices } else { self.queue(outbox, indices, counters) };
        let mut has_been_refused = false;
        while let Some(&first) = rest.first() {
            let batch = rest.iter().take(BATCH_COUNT_MAX);
            let partings = batch.filter_map(|&index| self.parting(outbox, index)).map(|(parting, _)| parting);
            match sending.send(&self.socket, partings) {
                Ok(sent_count) => {
                    has_been_refused = false;
                    rest = &rest[sent_count.clamp(1, rest.len())..];
                }
                Err(error) => match Failure::of(&error) {
                    Failure::Interrupted => {}
                    Failure::Full => rest = self.queue(outbox, rest, counters),
                    // The first refusal may tell of an earlier datagram; a second one means this one.
                    Failure::Refused if !has_been_refused => has_been_refused = true,
                    Failure::Refused => {
                        has_been_refused = false;
                        if let Some((parting, ticket)) = self.parting(outbox, first)
                            && !self.send_from_elsewhere(parting, sending)
                        {
                            refuse(ticket, counters, failed);
                        }
                        rest = &rest[1..];
                    }
                },
            }
        }
    }

    /// Sends one that was refused from whichever address leads to its receiver, where another one was named. A binding
    /// that came from a backup, or from the log of a host that had other addresses, names one that is not this host's:
    /// better from another address than not at all. Whether it was sent.
    fn send_from_elsewhere(&self, parting: Parting<'_>, sending: &mut Sending) -> bool {
        let anywhere = Parting { source_ip: None, ..parting };
        parting.source_ip.is_some() && sending.send(&self.socket, std::iter::once(anywhere)).is_ok()
    }

    /// Puts the messages at `indices` behind those that wait; returns the rest, which is none.
    fn queue<'i>(&mut self, outbox: &Outbox, indices: &'i [u32], counters: &mut Counters) -> &'i [u32] {
        for &index in indices {
            if self.backlog.len() >= BACKLOG_COUNT_MAX {
                counters.dropped_send_full += 1;
            } else if let Some((Parting { bytes, remote, source_ip }, ticket)) = self.parting(outbox, index) {
                self.backlog.push_back(Waiting { bytes: bytes.to_vec(), remote, source_ip, ticket });
            }
        }
        &indices[indices.len()..]
    }

    /// Whether datagrams wait for the kernel.
    pub(crate) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Tries again to send what waits.
    pub(crate) fn flush(&mut self, sending: &mut Sending, counters: &mut Counters, failed: &mut Vec<Ticket>) {
        let mut has_been_refused = false;
        while let Some(first) = self.backlog.front() {
            let ticket = first.ticket;
            let partings = self.backlog.iter().take(BATCH_COUNT_MAX).map(|w| Parting {
                bytes: &w.bytes,
                remote: w.remote,
                source_ip: w.source_ip,
            });
            match sending.send(&self.socket, partings) {
                Ok(sent_count) => {
                    has_been_refused = false;
                    self.backlog.drain(..sent_count.clamp(1, self.backlog.len()));
                }
                Err(error) => match Failure::of(&error) {
                    Failure::Interrupted => {}
                    Failure::Full => return,
                    Failure::Refused if !has_been_refused => has_been_refused = true,
                    Failure::Refused => {
                        has_been_refused = false;
                        let parting = Parting { bytes: &first.bytes, remote: first.remote, source_ip: first.source_ip };
                        if !self.send_from_elsewhere(parting, sending) {
                            refuse(ticket, counters, failed);
                        }
                        self.backlog.pop_front();
                    }
                },
            }
        }
    }
}

/// Counts a datagram that the kernel refused, and has its transaction told.
pub(crate) fn refuse(ticket: Ticket, counters: &mut Counters, failed: &mut Vec<Ticket>) {
    counters.dropped_send_error += 1;
    if ticket.is_some() {
        failed.push(ticket);
    }
}

/// The index of the port that a message from `local` to `remote` is best sent from.
pub(crate) fn best_port(ports: &[UdpPort], local: SocketAddr, remote: SocketAddr) -> Option<usize> {
    let fitness = |port: &UdpPort| port.fitness(local, remote);
    let (index, best) = ports.iter().map(fitness).enumerate().max_by_key(|&(index, f)| (f, usize::MAX - index))?;
    (best > 0).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipfed_proto::ShardIndex;

    fn port(addr: &str) -> UdpPort {
        let socket = UdpSocket::bind(addr).unwrap();
        let addr = socket.local_addr().unwrap();
        UdpPort::new(socket, addr)
    }

    fn outbox(messages: &[(&str, SocketAddr, Ticket)], local: SocketAddr) -> Outbox {
        let mut outbox = Outbox::new();
        for (text, remote, ticket) in messages {
            let to = Destination::Udp { remote: *remote, local };
            outbox.push(to, *ticket, |b| b.extend_from_slice(text.as_bytes()));
        }
        outbox
    }

    fn ticket(n: u64) -> Ticket {
        Ticket::new(ShardIndex(0), n)
    }

    #[test]
    fn a_refused_datagram_holds_up_no_other() {
        let mut sender = port("127.0.0.1:0");
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let good = receiver.local_addr().unwrap();
        // A loopback sender cannot reach an address outside this machine.
        let bad = "192.0.2.1:5060".parse().unwrap();
        let messages =
            [("1", good, ticket(1)), ("2", bad, ticket(2)), ("3", good, Ticket::NONE), ("4", bad, Ticket::NONE)];
        let outbox = outbox(&messages, sender.addr);
        let (mut counters, mut failed) = (Counters::default(), Vec::new());
        sender.send(&outbox, &[0, 1, 2, 3], &mut Sending::new(), &mut counters, &mut failed);
        let mut bytes = [0; 8];
        for expected in [b"1", b"3"] {
            let (len, _) = receiver.recv_from(&mut bytes).unwrap();
            assert_eq!(&bytes[..len], expected);
        }
        assert_eq!(failed, [ticket(2)]);
        assert_eq!(counters.dropped_send_error, 2);
        assert!(!sender.has_backlog());
    }

    #[test]
    fn a_datagram_from_an_address_of_another_host_leaves_from_one_of_this_host() {
        let mut sender = port("0.0.0.0:0");
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let remote = receiver.local_addr().unwrap();
        let elsewhere = SocketAddr::new("192.0.2.1".parse().unwrap(), sender.addr.port());
        let (mut counters, mut failed) = (Counters::default(), Vec::new());
        let mut sending = Sending::new();
        sender.send(&outbox(&[("1", remote, ticket(1))], elsewhere), &[0], &mut sending, &mut counters, &mut failed);
        sender.queue(&outbox(&[("2", remote, ticket(2))], elsewhere), &[0], &mut counters);
        sender.flush(&mut sending, &mut counters, &mut failed);
        let mut bytes = [0; 8];
        for expected in [b"1", b"2"] {
            let (len, from) = receiver.recv_from(&mut bytes).unwrap();
            assert_eq!((&bytes[..len], from.port()), (&expected[..], sender.addr.port()));
        }
        assert!(failed.is_empty() && counters.dropped_send_error == 0);
    }

    #[test]
    fn more_than_a_batch_is_sent_in_order() {
        let mut sender = port("127.0.0.1:0");
        let receiver = port("127.0.0.1:0");
        let texts: Vec<String> = (0..150).map(|n| n.to_string()).collect();
        let messages: Vec<_> = texts.iter().map(|t| (t.as_str(), receiver.addr, Ticket::NONE)).collect();
        let outbox = outbox(&messages, sender.addr);
        let indices: Vec<u32> = (0..150).collect();
        let mut counters = Counters::default();
        sender.send(&outbox, &indices, &mut Sending::new(), &mut counters, &mut Vec::new());
        let mut batch = Received::new(2048);
        let mut seen = Vec::new();
        while seen.len() < 150 {
            for index in 0..receiver.receive(&mut batch) {
                seen.push(String::from_utf8(batch.datagram(index).bytes.to_vec()).unwrap());
            }
        }
        assert_eq!(seen, texts);
    }

    #[test]
    fn what_finds_no_room_waits_within_its_bound() {
        let mut sender = port("127.0.0.1:0");
        let receiver = port("127.0.0.1:0");
        let local = sender.addr;
        let messages: Vec<_> = (0..600).map(|n| ("x", receiver.addr, ticket(n))).collect();
        let outbox = outbox(&messages, local);
        let (mut counters, mut failed) = (Counters::default(), Vec::new());
        let indices: Vec<u32> = (0..600).collect();
        assert!(sender.queue(&outbox, &indices, &mut counters).is_empty());
        assert_eq!((sender.backlog.len(), counters.dropped_send_full), (512, 88));
        sender.flush(&mut Sending::new(), &mut counters, &mut failed);
        assert!(!sender.has_backlog() && failed.is_empty());
    }

    #[test]
    fn a_message_leaves_by_the_socket_its_local_address_names() {
        let ports = [port("127.0.0.1:0"), port("0.0.0.0:0"), port("[::1]:0")];
        let remote: SocketAddr = "127.0.0.1:9".parse().unwrap();
        assert_eq!(best_port(&ports, ports[0].addr, remote), Some(0));
        let concrete = SocketAddr::new("127.0.0.5".parse().unwrap(), ports[1].addr.port());
        assert_eq!(best_port(&ports, concrete, remote), Some(1));
        assert_eq!(ports[1].source_ip(concrete), Some(concrete.ip()));
        assert_eq!(ports[0].source_ip(concrete), None);
        assert_eq!(best_port(&ports, ports[2].addr, "[::1]:9".parse().unwrap()), Some(2));
        assert_eq!(best_port(&ports, "127.0.0.1:1".parse().unwrap(), remote), Some(0));
        assert_eq!(best_port(&ports[2..], ports[0].addr, remote), None);
    }

    #[test]
    fn the_kernels_drops_are_counted_once_though_its_counter_runs_over() {
        let mut receiver = port("127.0.0.1:0");
        let mut counters = Counters::default();
        for dropped_count in [Some(u32::MAX), None, Some(u32::MAX), Some(4)] {
            let remote = Some(receiver.addr);
            let datagram = Datagram { bytes: b"", remote, local_ip: None, dropped_count, is_cut: false };
            assert!(receiver.open(&datagram, &mut counters).is_some());
        }
        assert_eq!(counters.dropped_receive_full, u64::from(u32::MAX) + 5);
        let cut = Datagram { bytes: b"", remote: None, local_ip: None, dropped_count: None, is_cut: true };
        assert!(receiver.open(&cut, &mut counters).is_none());
        assert_eq!(counters.dropped_too_long, 1);
    }
}
