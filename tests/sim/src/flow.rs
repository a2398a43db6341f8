//! A phone's connection to a home as the kernels of its two ends have it, and what a node calls it.
//!
//! What is sent arrives in its order. What does not get through is sent again, until who sent it takes the connection for
//! ended. Who gets something of a connection that he does not know says so. A NAT between forgets one through which nothing
//! has gone for a while: what comes to it then is lost, and what the phone sends seems to come from somebody else.

use sipfed_proto::{FlowToken, ShardIndex};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// How often something is sent before its sender gives up; the pauses between come to twenty seconds.
pub(crate) const TRIES_COUNT_MAX: u32 = 8;

/// A direction, and who is at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toward {
    Node,
    Phone,
}

/// What goes over a connection, with where it comes from.
#[derive(Clone, Debug)]
pub(crate) enum Segment<O> {
    Message(O, Vec<u8>),
    /// Who sends it has the connection no more.
    End,
}

/// What is on its way in one direction.
#[derive(Debug)]
pub(crate) struct Way<O> {
    pub(crate) waiting: VecDeque<Segment<O>>,
    pub(crate) is_moving: bool,
    /// How often the first of them was sent in vain.
    pub(crate) tries: u32,
}

/// The end of a connection that a node has, while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Far {
    pub(crate) node: usize,
    pub(crate) token: FlowToken,
}

/// See the module's documentation. Times are milliseconds since the simulation began.
#[derive(Debug)]
pub(crate) struct Flow<O> {
    pub(crate) phone: usize,
    pub(crate) home: usize,
    /// Where it seems to come from.
    pub(crate) remote: SocketAddr,
    /// Whether the phone has it.
    pub(crate) is_near: bool,
    /// The end of the node, while it has it.
    pub(crate) far: Option<Far>,
    /// The node that has taken it.
    pub(crate) node: Option<usize>,
    /// How long its NAT lets nothing pass before it forgets it, and until when it knows it; `None` without one.
    nat: Option<(u64, u64)>,
    ways: [Way<O>; 2],
}

impl<O> Flow<O> {
    /// One that a phone opens.
    pub(crate) fn new(phone: usize, home: usize, remote: SocketAddr, nat_idle_ms: Option<u64>, at: u64) -> Self {
        let way = || Way { waiting: VecDeque::new(), is_moving: false, tries: 0 };
        let nat = nat_idle_ms.map(|idle_ms| (idle_ms, at + idle_ms));
        Self { phone, home, remote, is_near: true, far: None, node: None, nat, ways: [way(), way()] }
    }

    pub(crate) fn way(&mut self, toward: Toward) -> &mut Way<O> {
        &mut self.ways[toward as usize]
    }

    /// Whether its NAT, if there is one, still knows it.
    pub(crate) fn is_passable(&self, at: u64) -> bool {
        self.nat.is_none_or(|(_, until)| until > at)
    }

    /// Something has gone through its NAT.
    pub(crate) fn passed(&mut self, at: u64) {
        if let Some((idle_ms, until)) = &mut self.nat
            && *until > at
        {
            *until = at + *idle_ms;
        }
    }

    /// Its NAT forgets it, if there is one.
    pub(crate) fn forget(&mut self) {
        if let Some((_, until)) = &mut self.nat {
            *until = 0;
        }
    }
}

/// What a life of a node calls its connections: by shard and slot, with a generation that rises with each use of the slot, as
/// in the daemon's table.
#[derive(Debug)]
pub(crate) struct Tokens {
    shards: Vec<Vec<(u32, Option<usize>)>>,
    /// The generation of a slot that was not used yet.
    first: u32,
}

impl Tokens {
    pub(crate) fn new(shards_count: usize, first: u32) -> Self {
        Self { shards: vec![Vec::new(); shards_count], first }
    }

    /// A shard takes a connection; gives what it calls it.
    pub(crate) fn take(&mut self, shard: usize, flow: usize) -> FlowToken {
        let slots = &mut self.shards[shard];
        let slot = slots.iter().position(|slot| slot.1.is_none()).unwrap_or_else(|| {
            slots.push((self.first, None));
            slots.len() - 1
        });
        slots[slot].1 = Some(flow);
        FlowToken::new(ShardIndex(shard as u8), slot as u32, slots[slot].0)
    }

    /// The connection of that name.
    pub(crate) fn find(&self, token: FlowToken) -> Option<usize> {
        let slot = self.shards.get(usize::from(token.shard().0))?.get(token.slot() as usize)?;
        slot.1.filter(|_| slot.0 == token.generation())
    }

    /// That connection has ended.
    pub(crate) fn free(&mut self, token: FlowToken) {
        let slot = &mut self.shards[usize::from(token.shard().0)][token.slot() as usize];
        *slot = (slot.0 + 1, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_that_of_one_connection_alone() {
        let mut tokens = Tokens::new(2, 7);
        let (first, other) = (tokens.take(1, 10), tokens.take(1, 11));
        assert_eq!((tokens.find(first), tokens.find(other)), (Some(10), Some(11)));
        tokens.free(first);
        let next = tokens.take(1, 12);
        assert_eq!((first.slot(), tokens.find(first), tokens.find(next)), (next.slot(), None, Some(12)));
        assert_eq!(tokens.find(FlowToken::new(ShardIndex(9), 0, 7)), None);
    }

    #[test]
    fn a_nat_knows_a_connection_while_something_goes_through_it() {
        let remote = SocketAddr::from(([203, 0, 113, 1], 40_000));
        let mut flow = Flow::<()>::new(0, 0, remote, Some(100), 0);
        flow.passed(90);
        assert!(flow.is_passable(189) && !flow.is_passable(190));
        flow.passed(190);
        assert!(!flow.is_passable(190), "what is forgotten does not come back");
        let mut open = Flow::<()>::new(0, 0, remote, None, 0);
        open.forget();
        assert!(open.is_passable(u64::MAX));
    }
}
