//! Handshakes of TLS: how many are under way, what those that we begin begin with, and what became of those that failed.
//!
//! In: connections that begin to be secured, and how that ended. Out: counters by their reasons, and a line of the log for a
//! peer that is not who it should be, one in [`UNVERIFIED_LOG_MS`] at most. Owned by the connections of one shard.

use super::connection::{Connection, Opener};
use super::tls::Tls;
use super::{Step, TlsOptions};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use sipfed_proto::{Ends, Now};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// Milliseconds from one line of the log about a peer that is not who it should be to the next: each call to it would be one.
const UNVERIFIED_LOG_MS: u64 = 10_000;

/// The handshakes of a shard.
#[derive(Debug)]
pub(super) struct Handshakes {
    client: Option<Arc<ClientConfig>>,
    count_max: usize,
    /// Milliseconds that one may take.
    pub(super) ms_max: u64,
    accepted_count: usize,
    /// Those that still wait for their connection included.
    opened_count: usize,
    /// When the log may have its next line, and how many it has not had since the last one.
    logs_at: Option<Now>,
    unlogged_count: u64,
}

impl Handshakes {
    pub(super) fn new(options: &TlsOptions) -> Self {
        Self {
            client: options.client.clone(),
            count_max: options.handshakes_per_shard_max as usize,
            ms_max: u64::from(options.handshake_timeout_ms),
            accepted_count: 0,
            opened_count: 0,
            logs_at: None,
            unlogged_count: 0,
        }
    }

    fn count(&mut self, opener: Opener) -> &mut usize {
        match opener {
            Opener::Peer => &mut self.accepted_count,
            Opener::Us => &mut self.opened_count,
        }
    }

    /// Whether one more may be under way.
    pub(super) fn has_room(&mut self, opener: Opener) -> bool {
        *self.count(opener) < self.count_max
    }

    /// One more is under way.
    pub(super) fn begin(&mut self, opener: Opener) {
        *self.count(opener) += 1;
    }

    /// One is no more, however it ended.
    pub(super) fn end(&mut self, opener: Opener) {
        *self.count(opener) -= 1;
    }

    /// What a connection between `ends` begins with; `None` where none can be begun. Its peer has to be known by the name of
    /// the ends, whose text is `name`, or by its address where they have none.
    pub(super) fn connect(&mut self, ends: Ends, name: Option<&str>, step: &mut Step<'_>) -> Option<Tls> {
        let expected = match (ends.name, name) {
            (None, _) => Some(ServerName::IpAddress(ends.remote.ip().to_canonical().into())),
            (Some(_), Some(text)) => ServerName::try_from(text.to_owned()).ok(),
            // Its name had to make room, and nobody may stand in for it.
            (Some(_), None) => None,
        };
        let config = self.client.clone().filter(|_| self.has_room(Opener::Us));
        let tls = config.zip(expected).and_then(|(config, expected)| Tls::connecting(&config, expected).ok());
        step.counters.tls_connects_failed += u64::from(tls.is_none());
        tls
    }

    /// Counts a connection that could not be secured, which is then closed.
    pub(super) fn failed(&mut self, connection: &Connection, error: &io::Error, step: &mut Step<'_>) {
        match connection.opener() {
            Opener::Peer if is_unverified(error) => step.counters.tls_client_unverified += 1,
            // Who has said nothing was a probe.
            Opener::Peer => {
                let has_spoken = connection.has_spoken || error.kind() == io::ErrorKind::InvalidData;
                step.counters.tls_failed += u64::from(has_spoken);
            }
            Opener::Us if is_unverified(error) => {
                step.counters.tls_unverified += 1;
                self.log(connection.remote(), error, step.now);
            }
            Opener::Us => step.counters.tls_connects_failed += 1,
        }
    }

    /// Counts a connection whose handshake took too long.
    pub(super) fn timed_out(connection: &Connection, step: &mut Step<'_>) {
        match connection.opener() {
            Opener::Peer => step.counters.tls_timed_out += 1,
            Opener::Us => step.counters.tls_connects_failed += 1,
        }
    }

    fn log(&mut self, peer: SocketAddr, error: &io::Error, now: Now) {
        if self.logs_at.is_some_and(|at| now < at) {
            self.unlogged_count += 1;
            return;
        }
        let unlogged = std::mem::take(&mut self.unlogged_count);
        self.logs_at = Some(now.plus_ms(UNVERIFIED_LOG_MS));
        // The error names who was expected and who the certificate is for.
        tracing::warn!(%peer, reason = %error, unlogged, "a peer within TLS is not who it should be; nothing was sent to it");
    }
}

/// Whether the peer's certificate is the reason.
fn is_unverified(error: &io::Error) -> bool {
    use rustls::Error::{InvalidCertificate, NoCertificatesPresented};
    let reason = error.get_ref().and_then(|reason| reason.downcast_ref::<rustls::Error>());
    matches!(reason, Some(InvalidCertificate(_) | NoCertificatesPresented))
}
