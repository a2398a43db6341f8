//! What a node of a cluster makes of the others: which there are, which of them answers for a home, and which live.
//!
//! # Contract
//! All of it is pure: what was read or heard comes in, with the time where that matters, as an `Instant` that somebody else
//! has taken; what has to be done, kept or told comes out. So a simulation runs the same machines as the daemon, whose
//! rooms `cluster`, `ownership` and `link` do the reading, the keeping and the telling. Nothing here is shared between
//! threads, and nothing grows beyond the nodes that a cluster may have ([`NODES_COUNT_MAX`]).
//!
//! # Rooms
//! - [`topology`]: the nodes of a cluster, valid as a whole; [`rows`]: what OpenSIPS's table says of them; [`alterations`]:
//!   what operators have changed of them; [`copy`]: what is kept of them; [`address`]: how their addresses are written.
//! - [`ownership`]: which of the nodes with one home answers for it.
//! - [`pulse`]: whether the node at the other end of a link lives; [`health`]: which homes are down for that.
#![forbid(unsafe_code)]

pub mod address;
pub mod alterations;
pub mod copy;
pub mod health;
pub mod ownership;
pub mod pulse;
pub mod rows;
pub mod topology;

pub use address::{BinAddress, SipAddress, Wrong};
pub use topology::{Fault, Id, NODES_COUNT_MAX, Node, Topology};
