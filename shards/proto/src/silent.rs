//! Receivers that did not answer a moment ago, by transport and address.
//!
//! A receiver that is down would cost every caller the wait for it, so one that has just been silent is left out, or tried
//! last, for a while. Whoever is heard, by a response or a request, is silent no more. Bounded by [`SILENT_COUNT_MAX`].

use crate::hop::{Destination, Transport};
use crate::time::Now;
use std::net::{IpAddr, SocketAddr};

/// Receivers that are remembered as silent.
const SILENT_COUNT_MAX: usize = 128;
/// Milliseconds for which one is that did not answer.
pub(crate) const SILENT_MS: u64 = 10_000;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Silent {
    until: Vec<(Transport, SocketAddr, Now)>,
}

impl Silent {
    /// Nothing has come from there in time, or nothing is to be sent there: for so many milliseconds.
    pub(crate) fn note(&mut self, to: &Destination, ms: u64, now: Now) {
        self.until.retain(|(.., until)| *until > now);
        let Some(remote) = remote(to) else { return };
        self.heard(to);
        if self.until.len() < SILENT_COUNT_MAX {
            self.until.push((to.transport(), remote, now.plus_ms(ms)));
        }
    }

    /// Something has come from there.
    pub(crate) fn heard(&mut self, to: &Destination) {
        if !self.until.is_empty()
            && let Some(remote) = remote(to)
        {
            self.until.retain(|(transport, silent, _)| *silent != remote || *transport != to.transport());
        }
    }

    /// A request has come from that address.
    pub(crate) fn heard_from(&mut self, ip: IpAddr) {
        self.until.retain(|(_, silent, _)| silent.ip() != ip);
    }

    /// Nothing of what was noted of these addresses counts any more.
    pub(crate) fn forget(&mut self, homes: &[SocketAddr]) {
        self.until.retain(|(_, silent, _)| !homes.contains(silent));
    }

    /// Whether it was silent a moment ago.
    pub(crate) fn is_silent(&self, to: &Destination, now: Now) -> bool {
        !self.until.is_empty()
            && remote(to).is_some_and(|remote| {
                let is_it = |transport: Transport, silent| transport == to.transport() && silent == remote;
                self.until.iter().any(|(transport, silent, until)| is_it(*transport, *silent) && *until > now)
            })
    }
}

/// Where a way leads, if that is known.
pub(crate) fn remote(to: &Destination) -> Option<SocketAddr> {
    match to {
        Destination::Udp { remote, .. } => Some(*remote),
        Destination::Connect(ends) => Some(ends.remote),
        Destination::Flow { fallback, .. } => fallback.map(|ends| ends.remote),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(n: u16) -> Destination {
        let local = "192.0.2.1:5060".parse().unwrap();
        Destination::Udp { remote: SocketAddr::from(([192, 0, 2, 9], n)), local }
    }

    #[test]
    fn a_receiver_is_silent_for_a_while_or_until_it_is_heard() {
        let (mut silent, now) = (Silent::default(), Now::from_unix_ms(1_000_000));
        silent.note(&to(1), SILENT_MS, now);
        silent.note(&to(2), SILENT_MS, now);
        silent.heard(&to(2));
        assert!(silent.is_silent(&to(1), now.plus_ms(SILENT_MS - 1)));
        assert!(!silent.is_silent(&to(1), now.plus_ms(SILENT_MS)));
        assert!(!silent.is_silent(&to(2), now));
    }

    #[test]
    fn few_are_remembered_and_the_old_make_room() {
        let (mut silent, now) = (Silent::default(), Now::from_unix_ms(1_000_000));
        for n in 1..=SILENT_COUNT_MAX as u16 + 1 {
            silent.note(&to(n), SILENT_MS, now);
        }
        assert!(!silent.is_silent(&to(SILENT_COUNT_MAX as u16 + 1), now));
        let later = now.plus_ms(SILENT_MS);
        silent.note(&to(7777), SILENT_MS, later);
        assert!(silent.is_silent(&to(7777), later));
    }
}
