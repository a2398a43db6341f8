//! Homes that are known to be down.
//!
//! In: the homes whose nodes have all been lost, from whoever has links to these, each time anything changes. Out: whether
//! a way leads to one of them. What is told stands until something else is told. Bounded by [`DOWN_COUNT_MAX`].

use crate::hop::Destination;
use crate::silent::remote;
use std::net::SocketAddr;

/// Homes that may be known to be down: as many as a cluster has nodes.
const DOWN_COUNT_MAX: usize = 128;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Down {
    homes: Vec<SocketAddr>,
}

impl Down {
    /// From now on it is these; gives those that are so no more.
    pub(super) fn set(&mut self, homes: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
        let homes: Vec<SocketAddr> = homes.take(DOWN_COUNT_MAX).collect();
        let mut before = std::mem::replace(&mut self.homes, homes);
        before.retain(|home| !self.homes.contains(home));
        before
    }

    /// Whether this way leads to one of them.
    pub(crate) fn is_down(&self, to: &Destination) -> bool {
        let canonical = |addr: SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
        !self.homes.is_empty() && remote(to).is_some_and(|remote| self.homes.contains(&canonical(remote)))
    }
}
