//! One shard of sipfed as a pure, deterministic machine.
//!
//! A [`Shard`] is a registrar (RFC 3261 §10), a location service and a stateful forking proxy
//! (RFC 3261 §16, §17) for one slice of the AoR hash space. It performs no I/O, knows no clock and
//! draws no randomness: bytes, time and secrets are handed in, what is to be sent comes out in an
//! [`Outbox`]. The same inputs in the same order give the same outputs, byte for byte.
//!
//! # The order of calls
//! The runtime takes one *turn* at a time: it hands in a batch of inputs (`receive`, `handle_*`), then
//! calls [`Shard::handle_timeout`] once, then empties the [`Outbox`]. `now` never goes back between two
//! calls. [`Shard::next_deadline`] says when `handle_timeout` is owed next.
//!
//! # Rooms
//! - [`hop`]: where a message came from and where one goes.
//! - [`outbox`]: what a turn sends.
//! - `peer_names`: the names that peers within TLS are known by.
//! - [`settings`]: what configuration decides, as valid types; [`limits`]: every bound, on one page.
//! - [`counters`]: what happened, as plain integers; `reject`: refusals as SIP responses.
//! - [`view`]: what a shard knows and a journal says, for tools.
//! - `wheel`: deadlines of everything in a shard.
//! - `steer`: which shard handles which message.
//! - `location`: the bindings and their one door, `apply`.
//! - `registrar`: RFC 3261 §10.3 on top of it.
//! - `transaction`: the four machines of RFC 3261 §17 as tables.
//! - `proxy`: RFC 3261 §16, response contexts and their branches.
//! - [`explain`]: what would become of a request, for operators.
//! - `policy`: what is done with which requests, as rules say it.
//! - `nat`: signs of NATs, and pings that keep them open; `stun`: keep-alives of phones over UDP.
//! - [`replica`]: nodes that hold the same bindings.
//! - [`directory`]: which AoRs are at home here, and where others are.
//! - [`names`]: what names of next hops lead to, and requests that wait for one.
//! - `silent`: receivers that did not answer a moment ago.
#![forbid(unsafe_code)]

pub mod counters;
mod date;
pub mod directory;
pub mod explain;
pub mod hop;
mod keys;
pub mod limits;
mod location;
pub mod names;
mod nat;
pub mod outbox;
mod path;
mod peer_names;
mod policy;
mod proxy;
mod registrar;
mod reject;
pub mod replica;
mod request;
mod response;
pub mod settings;
mod shard;
mod silent;
mod slab;
mod steer;
mod stun;
mod time;
mod transaction;
pub mod view;
mod wheel;

pub use counters::Counters;
pub use date::rfc3339;
pub use hop::{Destination, Ends, FlowToken, Listener, PeerName, ShardIndex, Source, Transport};
pub use location::Page;
pub use location::journal::BadEntry;
pub use outbox::{Outbox, Ticket, Transmit};
pub use settings::Settings;
pub use shard::{ByHand, Ended, Owners, Place, Refusal, Shard, Verdict};
pub use steer::Glance;
pub use time::Now;
