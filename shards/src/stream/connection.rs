//! One connection: its socket, TLS where that is spoken over it, what of a message has arrived, and what waits to be written.

use super::framing::Framing;
use super::outbound::Outbound;
use super::tls::Tls;
use super::websocket::frames::{self, Frames};
use super::websocket::upgrade::Upgrade;
use crate::ready::Ready;
use crate::sys::epoll::{Epoll, Interest};
use sipfed_proto::{FlowToken, PeerName, Source, Ticket, Transport};
use std::io::{self, Read};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The kernel is opening it; what is to be sent waits.
    Opening,
    /// The two sides agree on their keys.
    Securing,
    /// The peer asks for a WebSocket.
    Upgrading,
    /// Both directions are in use.
    Open,
    /// Nothing is read from it any more, but answers to what was read may still be written.
    Lingering,
}

/// Who has opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opener {
    /// The peer, from whichever port it chose.
    Peer,
    /// We have, so that somebody listens at its remote end.
    Us,
}

/// How what arrives becomes messages.
#[derive(Debug)]
pub(crate) enum Reading {
    /// They lie one behind the other.
    Stream(Framing),
    /// A request for a WebSocket comes first.
    Upgrade(Upgrade),
    /// They lie in frames.
    Frames(Frames),
}

impl Reading {
    /// That of a connection which nothing has come over.
    fn begin(transport: Transport) -> Self {
        if transport.is_websocket() { Self::Upgrade(Upgrade::default()) } else { Self::none() }
    }

    /// That of a connection which nothing is read from any more.
    pub(super) fn none() -> Self {
        Self::Stream(Framing::new())
    }
}

/// One connection. At rest it owns no memory beyond itself and its keys.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    tls: Option<Tls>,
    flow: FlowToken,
    remote: SocketAddr,
    local: SocketAddr,
    pub(crate) stage: Stage,
    opener: Opener,
    /// By which its peer was verified, where that was not its address.
    name: Option<PeerName>,
    /// The peer has sent something.
    pub(crate) has_spoken: bool,
    /// The peer has ended its sending.
    pub(crate) has_ended: bool,
    /// It stands in the list of those that have something new to write.
    pub(crate) is_dirty: bool,
    interest: Interest,
    pub(crate) reading: Reading,
    pub(crate) outbound: Outbound,
}

impl Connection {
    /// A connection over `stream`, which does not block, added to `epoll`. `tls` is what its peer begins with.
    pub(crate) fn new(
        stream: TcpStream,
        flow: FlowToken,
        remote: SocketAddr,
        stage: Stage,
        tls: Option<Tls>,
        epoll: &Epoll,
    ) -> io::Result<Self> {
        let interest = match stage {
            Stage::Opening => Interest::WRITE,
            Stage::Securing | Stage::Upgrading | Stage::Open | Stage::Lingering => Interest::READ,
        };
        let local = stream.local_addr()?;
        epoll.add(&stream, interest, token(flow))?;
        Ok(Self {
            stream,
            tls,
            flow,
            remote,
            local,
            stage,
            opener: if stage == Stage::Opening { Opener::Us } else { Opener::Peer },
            name: None,
            has_spoken: false,
            has_ended: false,
            is_dirty: false,
            interest,
            reading: Reading::begin(flow.transport()),
            outbound: Outbound::default(),
        })
    }

    /// The same connection, to a peer that has to be known as `name`.
    pub(crate) fn named(self, name: Option<PeerName>) -> Self {
        Self { name, ..self }
    }

    /// By which its peer was verified, where that was not its address.
    pub(crate) fn name(&self) -> Option<PeerName> {
        self.name
    }

    /// Its name.
    pub(crate) fn flow(&self) -> FlowToken {
        self.flow
    }

    /// The peer's address.
    pub(crate) fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Who has opened it.
    pub(crate) fn opener(&self) -> Opener {
        self.opener
    }

    /// Our own address.
    pub(crate) fn local_ip(&self) -> IpAddr {
        self.local.ip()
    }

    /// Where its messages come from.
    pub(crate) fn source(&self) -> Source {
        Source { transport: self.flow.transport(), remote: self.remote, local: self.local, flow: self.flow }
    }

    /// Learns how the opening went; an error means that it failed. What is within TLS is secured next.
    pub(crate) fn finish_opening(&mut self) -> io::Result<()> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        self.stream.peer_addr()?;
        self.local = self.stream.local_addr()?;
        self.stage = if self.is_secured() { Stage::Securing } else { Stage::Open };
        Ok(())
    }

    /// Whether it is within TLS.
    pub(crate) fn is_secured(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether the two sides have not agreed on keys yet, which they have to.
    pub(crate) fn is_securing(&self) -> bool {
        self.is_secured() && matches!(self.stage, Stage::Opening | Stage::Securing)
    }

    /// Whether it is a WebSocket, or becomes one.
    pub(crate) fn is_websocket(&self) -> bool {
        self.flow.transport().is_websocket()
    }

    /// Goes on with agreeing on keys; whether that is done. An error means that it failed.
    pub(crate) fn secure(&mut self) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else { return Ok(true) };
        match tls.receive(&mut self.stream)? {
            Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Some(_) => self.has_spoken = true,
            None => {}
        }
        tls.send(&mut self.stream)?;
        let is_done = !tls.is_handshaking();
        if is_done {
            self.stage = if self.is_websocket() { Stage::Upgrading } else { Stage::Open };
        }
        Ok(is_done)
    }

    /// Has what is within TLS taken in, in one read, before [`Connection::read`] gives it.
    pub(crate) fn receive(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.receive(&mut self.stream)?;
        }
        Ok(())
    }

    /// Tells the peer that this is the end, where the transport has a word for it.
    pub(crate) fn end(&mut self) {
        if self.is_websocket() && self.stage == Stage::Open && !self.has_unwritten() {
            self.put_close(Some(frames::GOING_AWAY), usize::MAX);
            // Who does not take it loses nothing but the reason.
            let _ = self.flush();
        }
        if let Some(tls) = &mut self.tls {
            tls.end(&mut self.stream);
        }
    }

    /// Whether nothing will be put any more: a WebSocket that is closed says nothing.
    pub(crate) fn is_over(&self) -> bool {
        self.is_websocket() && self.stage == Stage::Lingering
    }

    /// Tells the peer, after all that was written, that this is the end of it.
    pub(crate) fn end_sending(&mut self) {
        self.end();
        // A connection that has been lost meanwhile has ended as well.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Whether something waits to be written.
    pub(crate) fn has_unwritten(&self) -> bool {
        !self.outbound.is_empty() || self.tls.as_ref().is_some_and(Tls::has_unsent)
    }

    /// Reads what has arrived, as much as fits into `scratch`; `None` when nothing has.
    pub(crate) fn read(&mut self, scratch: &mut [u8]) -> io::Result<Option<usize>> {
        if let Some(tls) = &mut self.tls {
            return tls.read(scratch);
        }
        loop {
            match self.stream.read(scratch) {
                Ok(len) => return Ok(Some(len)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Has a message wait to be written; `false` when too much waits already.
    pub(crate) fn put(&mut self, message: &[u8], ticket: Ticket, bytes_max: usize) -> bool {
        if self.is_websocket() {
            return !self.is_over() && self.put_in_frame(message, ticket, bytes_max);
        }
        self.outbound.put(&[], message, ticket, bytes_max)
    }

    /// Writes what the kernel takes; an error means that the connection is lost.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match (&mut self.tls, self.stage) {
            (_, Stage::Opening) => {}
            (Some(tls), Stage::Securing) => tls.send(&mut self.stream)?,
            (Some(tls), _) => {
                tls.send(&mut self.stream)?;
                self.outbound.write_to(&mut tls.over(&mut self.stream))?;
            }
            (None, _) => {
                self.outbound.write_to(&mut self.stream)?;
            }
        }
        Ok(())
    }

    /// Waits for what the connection now has use for.
    pub(crate) fn update_interest(&mut self, epoll: &Epoll) -> io::Result<()> {
        let read = if self.has_ended { Interest::NONE } else { Interest::READ };
        let wanted = match self.stage {
            Stage::Opening => Interest::WRITE,
            // Messages wait for the keys, however much the socket would take.
            Stage::Securing if !self.tls.as_ref().is_some_and(Tls::has_unsent) => read,
            _ if !self.has_unwritten() => read,
            _ => read.and(Interest::WRITE),
        };
        if wanted != self.interest {
            epoll.change(&self.stream, wanted, token(self.flow))?;
            self.interest = wanted;
        }
        Ok(())
    }
}

fn token(flow: FlowToken) -> u64 {
    Ready::Connection { slot: flow.slot(), generation: flow.generation() }.token()
}
