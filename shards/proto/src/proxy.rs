//! The proxy: RFC 3261 §16, always stateful but for ACK.
//!
//! # Contract
//! In goes a request that is no REGISTER of ours; out come its branches, and in time one final response (any
//! number of 2xx for an INVITE). A request that may not go on is refused before anything is kept. What is kept
//! is one [`Context`] in its server transaction and one client transaction a branch.
//!
//! Bounded by `proxy.transactions_per_shard_max` and [`crate::limits::BRANCHES_COUNT_MAX`].
//!
//! # Rooms
//! - [`domain`]: which hosts are ours.
//! - [`route`]: Route and Record-Route (§16.4, §16.6 steps 4 and 6).
//! - [`target`]: whom a request goes to (§16.5).
//! - [`ways`]: what a URI means as addresses (RFC 3263).
//! - [`parking`]: requests that wait for a name.
//! - [`next_hop`]: the way to an address; our own Via.
//! - [`allowed`]: what of a URI may stand in a request (§16.6 steps 2 and 6).
//! - [`forward`]: validation, the copies that go on (§16.3, §16.6) and ACK.
//! - [`context`]: the response context and the best response (§16.7).
//! - [`elsewhere`]: the other homes of an AoR, as the directory says them.
//! - [`failover`]: the next way when one has failed.
//! - [`twin`]: calls that another node with this home has begun.
//! - [`outcome`]: what branches come to; CANCEL (§16.10); timers.

mod allowed;
mod context;
mod domain;
mod elsewhere;
mod failover;
mod forward;
mod next_hop;
mod outcome;
mod parking;
mod route;
mod target;
mod twin;
mod ways;

pub(crate) use allowed::in_request_uri;
pub(crate) use context::Context;
pub(crate) use domain::Domains;
pub(crate) use next_hop::{NoWay, branch_number, may_send_to};
pub(crate) use outcome::Outcome;
pub(crate) use route::Routed;
pub(crate) use target::Fate;
pub(crate) use ways::{Passage, Ways};
