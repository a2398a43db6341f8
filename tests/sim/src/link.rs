//! A connection between two nodes as their kernels have it, and the daemon's own judgement of whether the other end lives.
//!
//! What is sent arrives in its order. While the way is blocked, or that of the acknowledgements, it waits and is sent again; a
//! connection that was cut delivers nothing any more, and each side notices by itself, some only because no ping is answered
//! ([`Pulse`]). Only so many bytes are under way at a time, those that have arrived and were not read included. The second
//! node dials, as the one with the higher number does.

use sipfed_directory::Backoff;
use sipfed_nodes::pulse::{Pulse, Rhythm};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Pauses between two attempts to dial, as in the daemon.
pub(crate) const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// What goes over a connection.
#[derive(Debug)]
pub(crate) enum Carried {
    Ping(u64),
    Pong(u64),
    /// Of replication.
    Payload(Vec<u8>),
    /// The other end has hung up.
    End,
}

impl Carried {
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Payload(bytes) => bytes.len(),
            Self::Ping(_) | Self::Pong(_) | Self::End => 0,
        }
    }
}

/// One side of a link.
#[derive(Debug)]
pub(crate) struct Side {
    /// The connection that this side believes to have.
    pub(crate) has: Option<u64>,
    pub(crate) pulse: Pulse,
    /// At some time in this life of its node.
    pub(crate) was_up: bool,
    /// When the present connection, or the last one, began.
    pub(crate) began_at: u64,
    /// When the pulse is looked at next.
    pub(crate) beat_at: Option<u64>,
    /// Nothing is read, since the node does not take what has come.
    pub(crate) is_full: bool,
    /// Bytes on their way from here, and of these those whose acknowledgement was lost.
    pub(crate) under_way_bytes: usize,
    pub(crate) unacknowledged_bytes: usize,
    /// When the last of what was sent from here arrives.
    pub(crate) last_arrives_at: u64,
    /// What was lost on its way from here and is sent again, with its connection.
    pub(crate) stalled: VecDeque<(u64, Carried)>,
    pub(crate) is_sending_again: bool,
    /// What has come here and was not read.
    pub(crate) received: VecDeque<Carried>,
}

impl Side {
    /// That of a node which starts now.
    pub(crate) fn new(rhythm: Rhythm, now: Instant) -> Self {
        Self {
            has: None,
            pulse: Pulse::new(rhythm, now),
            was_up: false,
            began_at: 0,
            beat_at: None,
            is_full: false,
            under_way_bytes: 0,
            unacknowledged_bytes: 0,
            last_arrives_at: 0,
            stalled: VecDeque::new(),
            is_sending_again: false,
            received: VecDeque::new(),
        }
    }

    /// It has another connection from now on.
    pub(crate) fn begin(&mut self, connection: u64, at: u64, now: Instant) {
        self.pulse.begin(now);
        self.has = Some(connection);
        (self.was_up, self.began_at, self.last_arrives_at) = (true, at, at);
        (self.under_way_bytes, self.unacknowledged_bytes, self.is_full) = (0, 0, false);
        self.stalled.clear();
        self.received.clear();
    }

    /// It has none any more.
    pub(crate) fn end(&mut self) {
        self.pulse.end();
        self.has = None;
        self.is_full = false;
        self.received.clear();
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) nodes: [usize; 2],
    /// Whether both stand for one home.
    pub(crate) is_of_twins: bool,
    pub(crate) sides: [Side; 2],
    /// How many connections there were.
    pub(crate) connections: u64,
    /// The connection that was cut last.
    pub(crate) severed: Option<u64>,
    /// None can be made before.
    pub(crate) down_until: u64,
    pub(crate) backoff: Backoff,
    /// The attempt that is to come; others were given up.
    pub(crate) attempt: u64,
    /// By side: what its node could call when the connection began, by AoR and contact.
    pub(crate) held_at_start: [Vec<(Vec<u8>, u64)>; 2],
}

impl Link {
    pub(crate) fn new(nodes: [usize; 2], is_of_twins: bool, rhythm: Rhythm, now: Instant) -> Self {
        Self {
            nodes,
            is_of_twins,
            sides: [Side::new(rhythm, now), Side::new(rhythm, now)],
            connections: 0,
            severed: None,
            down_until: 0,
            backoff: Backoff::seeded(BACKOFF, 0),
            attempt: 0,
            held_at_start: [Vec::new(), Vec::new()],
        }
    }

    /// The side that a node has.
    pub(crate) fn side_of(&self, node: usize) -> usize {
        usize::from(self.nodes[1] == node)
    }
}
