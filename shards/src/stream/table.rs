//! The connections of a shard by slot, by flow and by remote address.
//!
//! A slot is used again once its connection is gone, with a generation that rises with each use, so that a
//! [`FlowToken`] names one connection for ever. Bounds: as many slots as there were connections at once.

use super::connection::Connection;
use sipfed_proto::{FlowToken, ShardIndex};
use std::collections::HashMap;
use std::net::SocketAddr;

/// A place for one connection at a time.
#[derive(Debug)]
struct Slot {
    generation: u32,
    connection: Option<Connection>,
}

/// All connections of a shard.
#[derive(Debug)]
pub(crate) struct Table {
    shard: ShardIndex,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// The connection that a message to this address goes over (RFC 5923). Keyed by the peer's own choice
    /// of port, hence the standard library's keyed hash.
    by_remote: HashMap<SocketAddr, u32>,
}

impl Table {
    /// An empty one.
    pub(crate) fn new(shard: ShardIndex) -> Self {
        Self { shard, slots: Vec::new(), free: Vec::new(), by_remote: HashMap::new() }
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Keeps a connection that `make` makes for the flow it is given, and returns its slot.
    pub(crate) fn insert<E>(&mut self, make: impl FnOnce(FlowToken) -> Result<Connection, E>) -> Result<u32, E> {
        let slot = self.free.last().copied().unwrap_or(self.slots.len() as u32);
        // The generation rises when a slot is left, so that a flow which has ended matches nothing.
        let generation = self.slots.get(slot as usize).map_or(1, |s| s.generation);
        let connection = make(FlowToken::new(self.shard, slot, generation))?;
        self.by_remote.insert(connection.remote(), slot);
        if self.free.pop().is_some() {
            self.slots[slot as usize].connection = Some(connection);
        } else {
            self.slots.push(Slot { generation, connection: Some(connection) });
        }
        Ok(slot)
    }

    /// The connection in `slot`.
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Connection> {
        self.slots.get_mut(slot as usize)?.connection.as_mut()
    }

    /// All connections.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.slots.iter().filter_map(|slot| slot.connection.as_ref())
    }

    /// The slot of the connection that has this slot and generation, if it is still the one.
    pub(crate) fn find(&self, slot: u32, generation: u32) -> Option<u32> {
        let found = self.slots.get(slot as usize)?;
        (found.generation == generation && found.connection.is_some()).then_some(slot)
    }

    /// The slot of the connection that a message to `remote` goes over.
    pub(crate) fn find_remote(&self, remote: SocketAddr) -> Option<u32> {
        self.by_remote.get(&remote).copied()
    }

    /// Has no message to its remote address go over the connection in `slot` any more.
    pub(crate) fn forget_remote(&mut self, slot: u32) {
        let Some(remote) = self.get_mut(slot).map(|c| c.remote()) else { return };
        if self.by_remote.get(&remote) == Some(&slot) {
            self.by_remote.remove(&remote);
        }
    }

    /// Lets go of the connection in `slot`.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<Connection> {
        self.forget_remote(slot);
        let place = self.slots.get_mut(slot as usize)?;
        let connection = place.connection.take()?;
        // 31 bits of it are seen in a flow; 0 is never a generation.
        place.generation = (place.generation & 0x7fff_ffff) % 0x7fff_ffff + 1;
        self.free.push(slot);
        Some(connection)
    }
}
