//! The connections of a shard by slot, by flow and by their ends.
//!
//! A slot is used again once its connection is gone, with a generation that rises with each use, so that a
//! [`FlowToken`] names one connection for ever. Where generations begin is left to chance: flows are named in the Routes of
//! phones, which outlive the node, and which the other nodes of its home believe as well. Bounds: as many slots as there were
//! connections at once.

use super::connection::{Connection, Opener};
use sipfed_proto::{Ends, FlowToken, ShardIndex};
use std::collections::HashMap;

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
    /// That of a slot which was not used yet.
    first_generation: u32,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// The connection that a message between these ends goes over (RFC 5923), once with our own address and
    /// once for who does not ask for one. Keyed by the peer's own choice of port, hence the standard library's
    /// keyed hash.
    accepted: HashMap<Ends, u32>,
    /// The same for connections that we have opened.
    opened: HashMap<Ends, u32>,
}

impl Table {
    /// An empty one; `chance` is any number.
    pub(crate) fn new(shard: ShardIndex, chance: u32) -> Self {
        Self {
            shard,
            first_generation: generation_after(chance),
            slots: Vec::new(),
            free: Vec::new(),
            accepted: HashMap::new(),
            opened: HashMap::new(),
        }
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Keeps a connection that `make` makes for the flow it is given, and returns its slot.
    pub(crate) fn insert<E>(&mut self, make: impl FnOnce(FlowToken) -> Result<Connection, E>) -> Result<u32, E> {
        let slot = self.free.last().copied().unwrap_or(self.slots.len() as u32);
        // The generation rises when a slot is left, so that a flow which has ended matches nothing.
        let generation = self.slots.get(slot as usize).map_or(self.first_generation, |s| s.generation);
        let connection = make(FlowToken::new(self.shard, slot, generation))?;
        let by_ends = match connection.opener() {
            Opener::Us => &mut self.opened,
            Opener::Peer => &mut self.accepted,
        };
        for ends in ends_of(&connection).into_iter().flatten() {
            by_ends.insert(ends, slot);
        }
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

    /// The slot of the connection that a message between `ends` goes over.
    pub(crate) fn find_ends(&self, ends: Ends) -> Option<u32> {
        self.accepted.get(&ends).copied().or_else(|| self.find_opened(ends))
    }

    /// The slot of the connection between `ends` that we have opened.
    pub(crate) fn find_opened(&self, ends: Ends) -> Option<u32> {
        self.opened.get(&ends).copied()
    }

    /// Has no message between its ends go over the connection in `slot` any more.
    pub(crate) fn forget_ends(&mut self, slot: u32) {
        let Some(connection) = self.slots.get(slot as usize).and_then(|s| s.connection.as_ref()) else { return };
        let by_ends = match connection.opener() {
            Opener::Us => &mut self.opened,
            Opener::Peer => &mut self.accepted,
        };
        for ends in ends_of(connection).into_iter().flatten() {
            if by_ends.get(&ends) == Some(&slot) {
                by_ends.remove(&ends);
            }
        }
    }

    /// Lets go of the connection in `slot`.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<Connection> {
        self.forget_ends(slot);
        let place = self.slots.get_mut(slot as usize)?;
        let connection = place.connection.take()?;
        place.generation = generation_after(place.generation);
        self.free.push(slot);
        Some(connection)
    }
}

/// The generation behind that one: 31 bits of it are seen in a flow, and 0 is never one.
fn generation_after(generation: u32) -> u32 {
    (generation & 0x7fff_ffff) % 0x7fff_ffff + 1
}

/// What a connection is found by: its ends, and its remote end alone. One within TLS that a peer has opened is found by
/// its flow alone, since ends say nothing of who is there, and so is a WebSocket, behind which nobody listens; one that we
/// have opened is found by the name of its peer as well.
fn ends_of(connection: &Connection) -> Option<[Ends; 2]> {
    if connection.is_websocket() || connection.is_secured() && connection.opener() == Opener::Peer {
        return None;
    }
    let (transport, remote, name) = (connection.flow().transport(), connection.remote(), connection.name());
    Some([Some(connection.local_ip()), None].map(|local| Ends { transport, remote, local, name }))
}
