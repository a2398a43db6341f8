//! TLS between a connection's socket and its messages, on the side of who was connected to and of who connects (RFC 3261
//! §26.2.1, RFC 5922 §7).
//!
//! In: what the socket has, and messages to write. Out: what the peer has said, and records for the socket. Nothing here
//! waits: what the socket does not take stays until it takes more. Bounds: one read of the socket at a time, of one
//! record at most, and [`UNSENT_BYTES_MAX`] that wait encrypted; whatever else waits, waits where it is counted
//! ([`Outbound`](super::outbound::Outbound)).

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// Bytes that are encrypted before the socket takes them: one record.
const UNSENT_BYTES_MAX: usize = 16 << 10;

/// The TLS of one connection.
#[derive(Debug)]
pub(crate) struct Tls(Box<rustls::Connection>);

impl Tls {
    /// TLS that the peer begins.
    pub(super) fn new(config: &Arc<ServerConfig>) -> io::Result<Self> {
        let mut tls = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        tls.set_buffer_limit(Some(UNSENT_BYTES_MAX));
        Ok(Self(Box::new(tls.into())))
    }

    /// TLS that we begin, with a peer that has to be known as `name`.
    pub(super) fn connecting(config: &Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<Self> {
        let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        tls.set_buffer_limit(Some(UNSENT_BYTES_MAX));
        Ok(Self(Box::new(tls.into())))
    }

    /// Whether the two sides are still agreeing on their keys.
    pub(super) fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    /// Whether something waits for the socket to take it.
    pub(super) fn has_unsent(&self) -> bool {
        self.0.wants_write()
    }

    /// Takes in what `stream` has, in one read; `None` when it has nothing, 0 at its end. [`io::ErrorKind::InvalidData`]
    /// is what is no TLS, or is not agreed on; the peer is then told why.
    pub(super) fn receive(&mut self, stream: &mut TcpStream) -> io::Result<Option<usize>> {
        let len = loop {
            match self.0.read_tls(stream) {
                Ok(len) => break len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        };
        if let Err(error) = self.0.process_new_packets() {
            // The connection is lost whether or not the alert is taken.
            let _ = self.send(stream);
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        Ok(Some(len))
    }

    /// Reads what was received, as much as fits into `scratch`; `None` when all of it has been, 0 at the end.
    pub(super) fn read(&mut self, scratch: &mut [u8]) -> io::Result<Option<usize>> {
        match self.0.reader().read(scratch) {
            Ok(len) => Ok(Some(len)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            // The end of the stream without that of TLS: a message says itself where it ends.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Some(0)),
            Err(error) => Err(error),
        }
    }

    /// Writes what waits, as much as `stream` takes.
    pub(super) fn send(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        while self.0.wants_write() {
            match self.0.write_tls(stream) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// `stream` with what is written to it encrypted.
    pub(super) fn over<'a>(&'a mut self, stream: &'a mut TcpStream) -> Encrypting<'a> {
        Encrypting { tls: self, stream }
    }

    /// Tells the peer that nothing follows, so that it can tell an end from an attack.
    pub(super) fn end(&mut self, stream: &mut TcpStream) {
        if !self.is_handshaking() {
            self.0.send_close_notify();
            // Who does not take it loses nothing but the reason.
            let _ = self.send(stream);
        }
    }
}

/// Encrypts what is written, while the socket takes it.
pub(super) struct Encrypting<'a> {
    tls: &'a mut Tls,
    stream: &'a mut TcpStream,
}

impl Write for Encrypting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        let len = self.tls.0.writer().write(bytes)?;
        self.tls.send(self.stream)?;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tls.send(self.stream)?;
        if self.tls.has_unsent() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    }
}
