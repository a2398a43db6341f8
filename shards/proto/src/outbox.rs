//! What a turn sends: bytes in one reused buffer, and where they go.
//!
//! The shard fills it, the runtime empties it after each turn with [`Outbox::clear`], which keeps the
//! memory. A message is written once, by the composer, straight into the buffer.

use crate::hop::Destination;
use std::ops::Range;

/// Names the client transaction that a request belongs to, so that the runtime can report that it could
/// not be sent (RFC 3261 §8.1.3.1, §16.9). [`Ticket::NONE`] where nobody waits for that news.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

impl Ticket {
    /// Nobody waits.
    pub const NONE: Self = Self(0);

    /// A ticket of `shard` (kept in the top 8 bits so that the news finds its way back).
    pub const fn new(shard: crate::hop::ShardIndex, transaction: u64) -> Self {
        Self((shard.0 as u64) << 56 | (transaction & 0x00ff_ffff_ffff_ffff))
    }

    /// The shard whose transaction it is.
    pub const fn shard(self) -> crate::hop::ShardIndex {
        crate::hop::ShardIndex((self.0 >> 56) as u8)
    }

    /// The transaction's number within the shard.
    pub const fn transaction(self) -> u64 {
        self.0 & 0x00ff_ffff_ffff_ffff
    }

    /// Whether somebody waits for the news.
    pub const fn is_some(self) -> bool {
        self.0 != 0
    }
}

/// One message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub to: Destination,
    /// Whom to tell when it cannot be sent.
    pub ticket: Ticket,
    /// Whether it says that something is done which has been written down in this turn: it may leave once that is
    /// durable (see [`Shard::journal`](crate::Shard::journal)).
    pub is_promise: bool,
    span: Range<u32>,
}

/// The messages of one turn.
#[derive(Debug, Default)]
pub struct Outbox {
    buffer: Vec<u8>,
    transmits: Vec<Transmit>,
}

impl Outbox {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.transmits.is_empty()
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.transmits.len()
    }

    /// The messages in the order they were written.
    pub fn iter(&self) -> impl Iterator<Item = (&Transmit, &[u8])> {
        self.transmits.iter().map(|t| (t, self.bytes(t)))
    }

    /// The messages' heads, for a sender that goes by index.
    pub fn transmits(&self) -> &[Transmit] {
        &self.transmits
    }

    /// The bytes of `transmit`, which must be of this outbox.
    pub fn bytes(&self, transmit: &Transmit) -> &[u8] {
        &self.buffer[transmit.span.start as usize..transmit.span.end as usize]
    }

    /// Forgets all messages and keeps the memory.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.transmits.clear();
    }

    /// Adds a message that `compose` appends to the buffer it is given, and returns its bytes.
    ///
    /// `compose` must only append.
    pub fn push(&mut self, to: Destination, ticket: Ticket, compose: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        self.add(to, ticket, false, compose)
    }

    /// Adds a message that is a promise, as [`Outbox::push`] does; nobody waits for the news that it was not sent.
    pub(crate) fn push_promise(&mut self, to: Destination, compose: impl FnOnce(&mut Vec<u8>)) {
        self.add(to, Ticket::NONE, true, compose);
    }

    fn add(&mut self, to: Destination, ticket: Ticket, is_promise: bool, compose: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        let start = self.buffer.len();
        compose(&mut self.buffer);
        debug_assert!(self.buffer.len() >= start, "compose must only append");
        let span = start as u32..self.buffer.len() as u32;
        self.transmits.push(Transmit { to, ticket, is_promise, span });
        &self.buffer[start..]
    }
}
