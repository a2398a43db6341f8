//! The connections of one shard, TCP with TLS or without, and WebSockets (RFC 3261 §18, RFC 5626, RFC 5923, RFC 7118).
//!
//! In: readiness of listeners and connections, and messages to send by flow or by address. Out: whole
//! messages with their [`Source`], and [`News`] of connections that have ended and of requests that were
//! lost. A connection belongs to the shard that accepted or opened it, from its first byte to its last.
//!
//! - [`framing`]: where a message ends.
//! - [`connection`]: one connection; [`table`]: all of them; [`ages`]: which of them rest too long.
//! - [`outbound`]: what waits to be written; [`tls`]: how it is encrypted; [`handshake`]: how that begins;
//!   [`websocket`]: SIP in frames.
//!
//! A message to an address goes over the connection that exists to just that address, from the address of ours
//! that it is to come from, whoever opened it; a new one is opened only where there is none. An answer whose own
//! connection is gone takes no other peer's.
//!
//! A connection within TLS is *secured* first: nothing is read or written as a message before the keys are agreed on, and
//! one that we open is closed where its peer is not who it should be. That has a time limit of its own, and a limit of how
//! many are at it at once, for those that peers have opened and for our own apart. One that we have opened is used again
//! for the same ends and the same name of its peer (RFC 5923 §5.1); one that a peer has opened, for its flow alone.
//! One at a listener for WebSockets is *upgraded* then, which has such limits as well.
//!
//! A connection whose peer ends its sending, or sends what cannot be framed, *lingers*: it is reported as
//! ended at once, what still comes is thrown away, and answers to what was read may be written for
//! [`LINGER_MS`]. Closing at once would reset the connection and could take the last answer with it.
//!
//! Bounds: connections, bytes of a message and bytes that wait to be written, as configured; one read of
//! [`SCRATCH_BYTES`] per connection and turn, so that none starves the others; [`ACCEPTS_PER_TURN_MAX`] and
//! [`EXPIRIES_PER_TURN_MAX`] a turn.

pub(crate) mod ages;
pub(crate) mod connection;
pub(crate) mod framing;
pub(crate) mod handshake;
pub(crate) mod outbound;
pub(crate) mod table;
pub(crate) mod tls;
pub(crate) mod websocket;

use crate::ready::Ready;
use crate::sys::epoll::{Epoll, Event, Interest};
use crate::sys::{self, SocketOption};
use crate::{SocketOptions, TlsOptions};
use ages::{Ages, Queue};
use connection::{Connection, Opener, Reading, Stage};
use framing::{Broken, Frame};
use handshake::Handshakes;
use rustls::ServerConfig;
use sipfed_proto::{Counters, Ends, FlowToken, Now, ShardIndex, Source, Ticket, Transport};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use table::Table;
use tls::Tls;
use websocket::Upgrades;

/// Bytes read from one connection in a turn: about the time that a batch of datagrams takes.
const SCRATCH_BYTES: usize = 8 * 1024;
/// Connections accepted from one listener in a turn.
const ACCEPTS_PER_TURN_MAX: usize = 64;
/// Connections closed for their age in a turn.
const EXPIRIES_PER_TURN_MAX: usize = 256;
/// Milliseconds that a connection may still be written to after its peer has ended its sending.
const LINGER_MS: u64 = 5_000;
/// Milliseconds that a listener rests when the process has no descriptor left.
const ACCEPT_REST_MS: u64 = 100;

/// What the connections have to tell the machine.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Connections that have ended.
    pub(crate) closed: Vec<FlowToken>,
    /// Requests that were not sent.
    pub(crate) failed: Vec<Ticket>,
}

/// What every step is given.
pub(crate) struct Step<'a> {
    pub(crate) epoll: &'a Epoll,
    pub(crate) now: Now,
    pub(crate) counters: &'a mut Counters,
    pub(crate) news: &'a mut News,
}

impl Step<'_> {
    /// Takes note of a message that a connection could not take.
    fn lose(&mut self, ticket: Ticket) {
        self.counters.dropped_flow_gone += 1;
        if ticket.is_some() {
            self.news.failed.push(ticket);
        }
    }
}

/// A listening socket.
#[derive(Debug)]
struct StreamPort {
    listener: TcpListener,
    /// What is spoken over its connections.
    transport: Transport,
    /// How TLS is begun at it, where it is.
    tls: Option<Arc<ServerConfig>>,
    resting_until: Option<Now>,
}

/// All connections of a shard, and its listeners.
#[derive(Debug)]
pub(crate) struct Streams {
    ports: Vec<StreamPort>,
    table: Table,
    ages: Ages,
    /// Connections that have something new to write.
    dirty: Vec<u32>,
    scratch: Box<[u8]>,
    connections_count_max: usize,
    message_bytes_max: usize,
    write_bytes_max: usize,
    idle_ms: u64,
    handshakes: Handshakes,
    upgrades: Upgrades,
    connect_timeout_ms: u64,
}

impl Streams {
    /// The streams of `shard` over its listeners, which do not block and are added to `epoll`. One for TLS takes
    /// connections only where the options have what TLS begins with.
    pub(crate) fn new(
        shard: ShardIndex,
        listeners: Vec<(Transport, TcpListener)>,
        options: &SocketOptions,
        epoll: &Epoll,
    ) -> io::Result<Self> {
        for (index, (_, listener)) in listeners.iter().enumerate() {
            epoll.add(listener, Interest::READ, Ready::Listener(index as u32).token())?;
        }
        let port = |(transport, listener): (Transport, TcpListener)| {
            let tls = options.tls.server.clone().filter(|_| transport.is_secured());
            StreamPort { listener, transport, tls, resting_until: None }
        };
        let mut chance = [0; 4];
        sys::fill_random(&mut chance)?;
        Ok(Self {
            ports: listeners.into_iter().map(port).collect(),
            table: Table::new(shard, u32::from_ne_bytes(chance)),
            ages: Ages::new(),
            dirty: Vec::new(),
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            connections_count_max: options.connections_per_shard_max as usize,
            message_bytes_max: options.stream_message_bytes_max,
            write_bytes_max: options.stream_write_bytes_max,
            idle_ms: u64::from(options.stream_idle_s) * 1000,
            handshakes: Handshakes::new(&options.tls),
            upgrades: Upgrades::new(&options.websocket),
            connect_timeout_ms: u64::from(options.connect_timeout_ms),
        })
    }

    /// How many connections there are, in whatever stage.
    pub(crate) fn connections_count(&self) -> usize {
        self.table.len()
    }

    /// Accepts what waits at the listener with `index`.
    pub(crate) fn accept(&mut self, index: u32, step: &mut Step<'_>) {
        for _ in 0..ACCEPTS_PER_TURN_MAX {
            let Some(port) = self.ports.get(index as usize) else { return };
            match port.listener.accept() {
                Ok((stream, remote)) => {
                    let (transport, tls) = (port.transport, port.tls.clone());
                    self.take_in(stream, remote, (transport, tls.as_ref()), step);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_of_the_peer(&error) => {}
                // No descriptor or no memory is left: the connection stays in the kernel's queue, and asking
                // for it again and again would only burn this core.
                Err(_) => {
                    step.counters.connections_refused += 1;
                    return self.rest(index, step);
                }
            }
        }
    }

    fn take_in(
        &mut self,
        stream: TcpStream,
        remote: SocketAddr,
        (transport, tls): (Transport, Option<&Arc<ServerConfig>>),
        step: &mut Step<'_>,
    ) {
        // Dropping the stream closes it.
        if self.table.len() >= self.connections_count_max {
            step.counters.connections_refused += 1;
            return;
        }
        if tls.is_some() && !self.handshakes.has_room(Opener::Peer) {
            step.counters.tls_refused += 1;
            return;
        }
        let stage = match tls {
            Some(_) => Stage::Securing,
            None if transport.is_websocket() => Stage::Upgrading,
            None => Stage::Open,
        };
        let made = self.table.insert(|flow| {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let tls = tls.map(Tls::new).transpose()?;
            Connection::new(stream, flow.over(transport), remote, stage, tls, step.epoll)
        });
        let Ok(slot) = made else { return };
        step.counters.connections_accepted += 1;
        match stage {
            Stage::Securing => {
                self.handshakes.begin(Opener::Peer);
                self.ages.put(slot, Queue::Securing, step.now);
            }
            Stage::Upgrading => self.begin_upgrade(slot, step),
            _ => self.ages.put(slot, Queue::Open, step.now),
        }
    }

    fn rest(&mut self, index: u32, step: &mut Step<'_>) {
        let port = &mut self.ports[index as usize];
        let interest = step.epoll.change(&port.listener, Interest::NONE, Ready::Listener(index).token());
        if interest.is_ok() {
            port.resting_until = Some(step.now.plus_ms(ACCEPT_REST_MS));
        }
    }

    /// Does what a ready connection asks for; whole messages go to `take`.
    pub(crate) fn handle_event(
        &mut self,
        slot: u32,
        generation: u32,
        event: Event,
        step: &mut Step<'_>,
        take: &mut impl FnMut(&[u8], &Source),
    ) {
        let Some(slot) = self.table.find(slot, generation) else { return };
        let Some(connection) = self.table.get_mut(slot) else { return };
        if connection.stage == Stage::Opening {
            return self.finish_opening(slot, step);
        }
        if connection.stage == Stage::Securing {
            return self.secure(slot, step, take);
        }
        let has_ended = connection.has_ended;
        if event.readable && !has_ended {
            self.read(slot, step, take);
        } else if event.ended {
            return self.close(slot, step);
        }
        if event.writable {
            self.flush_one(slot, step);
        }
    }

    fn finish_opening(&mut self, slot: u32, step: &mut Step<'_>) {
        let Some(connection) = self.table.get_mut(slot) else { return };
        if connection.finish_opening().is_err() {
            return self.close(slot, step);
        }
        step.counters.connections_opened += 1;
        let queue = if connection.stage == Stage::Securing { Queue::Securing } else { Queue::Open };
        self.ages.put(slot, queue, step.now);
        self.flush_one(slot, step);
    }

    fn secure(&mut self, slot: u32, step: &mut Step<'_>, take: &mut impl FnMut(&[u8], &Source)) {
        let Some(connection) = self.table.get_mut(slot) else { return };
        let is_secured = connection.secure();
        match is_secured.and_then(|is_secured| connection.update_interest(step.epoll).map(|()| is_secured)) {
            Ok(false) => {}
            Ok(true) => {
                let opener = connection.opener();
                self.handshakes.end(opener);
                step.counters.tls_handshakes += u64::from(opener == Opener::Peer);
                step.counters.tls_connects += u64::from(opener == Opener::Us);
                match connection.stage {
                    Stage::Upgrading => self.begin_upgrade(slot, step),
                    _ => self.ages.put(slot, Queue::Open, step.now),
                }
                // What came together with the end of the handshake makes the socket ready no more.
                self.read_received(slot, step, take);
            }
            Err(error) => {
                self.handshakes.failed(connection, &error, step);
                self.close(slot, step);
            }
        }
    }

    fn read(&mut self, slot: u32, step: &mut Step<'_>, take: &mut impl FnMut(&[u8], &Source)) {
        let Some(connection) = self.table.get_mut(slot) else { return };
        if let Err(error) = connection.receive() {
            step.counters.connections_broken += u64::from(error.kind() == io::ErrorKind::InvalidData);
            return self.close(slot, step);
        }
        self.read_received(slot, step, take);
    }

    /// Reads once, or as long as something is there that the socket does not tell of any more.
    fn read_received(&mut self, slot: u32, step: &mut Step<'_>, take: &mut impl FnMut(&[u8], &Source)) {
        while self.read_one(slot, step, take) {}
        if self.table.get_mut(slot).is_some_and(|connection| connection.has_unwritten()) {
            self.mark_dirty(slot);
        }
    }

    /// Reads what fits into one buffer; whether more may have been received.
    fn read_one(&mut self, slot: u32, step: &mut Step<'_>, take: &mut impl FnMut(&[u8], &Source)) -> bool {
        let Some(connection) = self.table.get_mut(slot) else { return false };
        let len = match connection.read(&mut self.scratch) {
            Ok(None) => return false,
            Ok(Some(len)) => len,
            Err(_) => {
                self.close(slot, step);
                return false;
            }
        };
        if len == 0 {
            connection.has_ended = true;
            // Who has never said anything waits for no answer: a probe, or a scan. Nor does a WebSocket whose peer is gone.
            let is_probe = !connection.has_spoken && connection.outbound.is_empty();
            let awaits_nothing = is_probe || connection.is_websocket();
            if awaits_nothing {
                self.close(slot, step);
            } else {
                self.linger(slot, step);
            }
            return false;
        }
        connection.has_spoken = true;
        let is_secured = connection.is_secured();
        if connection.stage == Stage::Lingering {
            return is_secured;
        }
        let source = connection.source();
        let Reading::Stream(framing) = &mut connection.reading else {
            self.take_websocket(slot, len, step, take);
            return is_secured;
        };
        self.ages.put(slot, Queue::Open, step.now);
        let mut pings_count = 0;
        let end = framing.push(&self.scratch[..len], self.message_bytes_max, |frame| match frame {
            Frame::Message(bytes) | Frame::HeadOnly(bytes) => take(bytes, &source),
            Frame::Ping => pings_count += 1,
        });
        for _ in 0..pings_count {
            step.counters.keepalives += 1;
            // RFC 5626 §4.4.1: the answer to a double CRLF is a single one. One that finds no room is not
            // missed by a peer that does not read.
            connection.put(b"\r\n", Ticket::NONE, self.write_bytes_max);
        }
        if pings_count > 0 {
            self.mark_dirty(slot);
        }
        if let Err(broken) = end {
            step.counters.connections_broken += 1;
            step.counters.dropped_too_long += u64::from(broken == Broken::TooLong);
            self.linger(slot, step);
        }
        is_secured
    }

    /// Ends the reading of a connection, and reports its end.
    fn linger(&mut self, slot: u32, step: &mut Step<'_>) {
        let Some(connection) = self.table.get_mut(slot) else { return };
        if connection.stage == Stage::Open {
            connection.stage = Stage::Lingering;
            connection.reading = Reading::none();
            step.news.closed.push(connection.flow());
            self.ages.put(slot, Queue::Lingering, step.now);
            self.table.forget_ends(slot);
        }
        self.mark_dirty(slot);
    }

    /// Ends a connection for good.
    fn close(&mut self, slot: u32, step: &mut Step<'_>) {
        self.ages.remove(slot);
        let Some(mut connection) = self.table.remove(slot) else { return };
        if connection.is_securing() {
            self.handshakes.end(connection.opener());
        }
        if connection.stage == Stage::Upgrading {
            self.upgrades.end();
        }
        connection.end();
        if connection.stage == Stage::Open {
            step.news.closed.push(connection.flow());
        }
        for ticket in connection.outbound.unwritten() {
            step.lose(ticket);
        }
    }

    /// Has a message wait for the connection that `flow` names. Where that is gone it goes to `fallback`
    /// (RFC 3261 §18.2.2), over a connection that we open: one that a peer has opened from just there is
    /// another peer's as likely as not, behind a NAT for example.
    pub(crate) fn send_flow(
        &mut self,
        flow: FlowToken,
        fallback: Option<Ends>,
        ticket: Ticket,
        message: &[u8],
        step: &mut Step<'_>,
    ) {
        let found = self.table.find(flow.slot(), flow.generation());
        let fallback =
            || fallback.and_then(|ends| self.table.find_opened(ends).or_else(|| self.open(ends, None, step)));
        match found.or_else(fallback) {
            Some(slot) => self.put(slot, ticket, message, step),
            None => step.lose(ticket),
        }
    }

    /// Has a message wait for a connection between `ends`, which is opened where there is none. `name` is the text of
    /// their name, as far as that is still known.
    pub(crate) fn send_to(
        &mut self,
        ends: Ends,
        name: Option<&str>,
        ticket: Ticket,
        message: &[u8],
        step: &mut Step<'_>,
    ) {
        match self.between(ends, name, step) {
            Some(slot) => self.put(slot, ticket, message, step),
            None => step.lose(ticket),
        }
    }

    /// The connection between `ends`, which is opened where there is none.
    fn between(&mut self, ends: Ends, name: Option<&str>, step: &mut Step<'_>) -> Option<u32> {
        self.table.find_ends(ends).or_else(|| self.open(ends, name, step))
    }

    fn put(&mut self, slot: u32, ticket: Ticket, message: &[u8], step: &mut Step<'_>) {
        let has_room =
            self.table.get_mut(slot).is_some_and(|connection| connection.put(message, ticket, self.write_bytes_max));
        if has_room {
            self.mark_dirty(slot);
        } else {
            step.lose(ticket);
        }
    }

    fn open(&mut self, ends: Ends, name: Option<&str>, step: &mut Step<'_>) -> Option<u32> {
        if self.table.len() >= self.connections_count_max {
            step.counters.connections_refused += 1;
            return None;
        }
        let tls = match ends.transport {
            Transport::Tls => Some(self.handshakes.connect(ends, name, step)?),
            _ => None,
        };
        let is_secured = tls.is_some();
        let stream = match start_connecting(ends) {
            Ok(stream) => stream,
            // A binding that came from a backup names an address of that host: better from another one than not at all.
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable && ends.local.is_some() => {
                return self.between(Ends { local: None, ..ends }, name, step);
            }
            Err(_) => return None,
        };
        let made = self.table.insert(|flow| {
            let flow = flow.over(ends.transport);
            let connection = Connection::new(stream, flow, ends.remote, Stage::Opening, tls, step.epoll);
            connection.map(|connection| connection.named(ends.name))
        });
        let slot = made.ok()?;
        if is_secured {
            self.handshakes.begin(Opener::Us);
        }
        self.ages.put(slot, Queue::Opening, step.now);
        Some(slot)
    }

    fn mark_dirty(&mut self, slot: u32) {
        if let Some(connection) = self.table.get_mut(slot)
            && !connection.is_dirty
        {
            connection.is_dirty = true;
            self.dirty.push(slot);
        }
    }

    /// Writes what this turn has put to connections, each in one call.
    pub(crate) fn flush(&mut self, step: &mut Step<'_>) {
        for index in 0..self.dirty.len() {
            self.flush_one(self.dirty[index], step);
        }
        self.dirty.clear();
    }

    fn flush_one(&mut self, slot: u32, step: &mut Step<'_>) {
        let Some(connection) = self.table.get_mut(slot) else { return };
        connection.is_dirty = false;
        let had_some = connection.has_unwritten();
        if connection.flush().and_then(|()| connection.update_interest(step.epoll)).is_err() {
            return self.close(slot, step);
        }
        if connection.is_over() && !connection.has_unwritten() {
            connection.end_sending();
        }
        if had_some && connection.stage == Stage::Open {
            self.ages.put(slot, Queue::Open, step.now);
        }
    }

    /// How long a connection may stand in `queue`.
    fn age_ms_max(&self, queue: Queue) -> u64 {
        match queue {
            Queue::Opening => self.connect_timeout_ms,
            Queue::Securing => self.handshakes.ms_max,
            Queue::Upgrading => self.upgrades.ms_max,
            Queue::Open => self.idle_ms,
            Queue::Lingering => LINGER_MS,
        }
    }

    /// When [`Streams::expire`] is owed next.
    pub(crate) fn next_deadline(&self) -> Option<Now> {
        let ages = Queue::ALL.into_iter().filter_map(|queue| {
            let (_, since) = self.ages.oldest(queue)?;
            Some(since.plus_ms(self.age_ms_max(queue)))
        });
        ages.chain(self.ports.iter().filter_map(|port| port.resting_until)).min()
    }

    /// Closes what has rested, or taken to open, for too long, and wakes listeners that have rested.
    pub(crate) fn expire(&mut self, step: &mut Step<'_>) {
        for queue in Queue::ALL {
            for _ in 0..EXPIRIES_PER_TURN_MAX {
                let Some((slot, since)) = self.ages.oldest(queue) else { break };
                if since.plus_ms(self.age_ms_max(queue)) > step.now {
                    break;
                }
                // A turn that comes late finds the answer and the deadline together, and the answer came first.
                if self.table.get_mut(slot).is_some_and(|connection| connection.is_dirty) {
                    self.flush_one(slot, step);
                    if queue == Queue::Open {
                        // It has been used just now, so it does not rest any more.
                        continue;
                    }
                }
                step.counters.connections_idled += u64::from(queue == Queue::Open);
                if queue == Queue::Securing
                    && let Some(connection) = self.table.get_mut(slot)
                {
                    Handshakes::timed_out(connection, step);
                }
                step.counters.ws_timed_out += u64::from(queue == Queue::Upgrading);
                self.close(slot, step);
            }
        }
        for (index, port) in self.ports.iter_mut().enumerate() {
            if port.resting_until.is_some_and(|until| until <= step.now) {
                let token = Ready::Listener(index as u32).token();
                // Should this fail, it is tried again at the next turn.
                if step.epoll.change(&port.listener, Interest::READ, token).is_ok() {
                    port.resting_until = None;
                }
            }
        }
    }
}

/// Whether accepting failed for a reason of that one connection (accept(2) names these).
fn is_of_the_peer(error: &io::Error) -> bool {
    !matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// Starts to open a connection; whether that succeeds is told by its readiness to write.
fn start_connecting(Ends { remote, local, .. }: Ends) -> io::Result<TcpStream> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(remote), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(local) = local {
        // With a port of its own for each connection an address would be used up by 28,000 of them.
        sys::set_option(&socket, SocketOption::BindWithoutPort, 1)?;
        socket.bind(&SocketAddr::new(local, 0).into())?;
    }
    match socket.connect(&remote.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket.into()),
    }
}

#[cfg(test)]
mod tests;
