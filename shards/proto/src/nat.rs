//! Phones behind NATs: what tells that one is, and what keeps the NAT open.
//!
//! # Contract
//! In goes a request, of which [`signs`] says whether its sender is behind a NAT; the registrar stores that with a binding,
//! with how its phone is to be pinged. Out come pings, at the turns of the [`rhythm`], evenly also where a shard is late
//! ([`smoothing`]), no more in a second than the [`budget`] allows, and what became of them: how a phone stands is kept
//! beside its binding ([`crate::location::Health`]), and a binding whose phone has stopped to answer ends, where
//! configuration says so.
//!
//! Owned by one shard, as its bindings are. Only the active node of a home pings, and ends what is not answered; a passive one
//! keeps the rhythm without sending, so that it goes on at once when it becomes the active one, with a new *watch*: what
//! the time before has left open is neither awaited nor counted.
//!
//! A ping has no transaction: it is sent once, and the [`branch`] that comes back with its answer says which binding it was
//! for, when it was sent, and that this node has sent it. So a million phones cost 12 bytes each and one deadline for each
//! AoR.
//!
//! How often a phone is pinged may be learned from what its network's NATs need ([`intervals`]).
//!
//! Bounds: one deadline for each record, one open ping for each binding, [`budget`] for what leaves in a second.

mod branch;
mod budget;
mod intervals;
mod pinger;
mod rhythm;
mod signs;
mod smoothing;

pub(crate) use branch::shard_of_ping;
pub(crate) use intervals::Intervals;
pub(crate) use pinger::Pinger;
pub(crate) use rhythm::Rhythm;
pub use signs::{Sign, Signs};
