//! How questions and answers cross between the shards and whoever has a resolver.

use super::{Question, Resolved};
use std::fmt::Debug;

/// The queues of all shards, as the control plane sees them from one thread. Each is bounded, and nothing here waits.
pub trait NamesLink: Debug + Send + Sync {
    /// To be called before all queues are looked into: whatever comes from now on wakes again.
    fn look(&self);

    /// How many shards there are.
    fn shards_count(&self) -> usize;

    /// The next question of a shard.
    fn take_question(&self, shard: usize) -> Option<Question>;

    /// Gives a shard the answer to its question of that number, and has it look; gives it back when there is no room.
    fn answer(&self, shard: usize, id: u32, resolved: Resolved) -> Result<(), Resolved>;

    /// Has a shard forget what it knows of names; `false` when there is no room.
    fn ask_anew(&self, shard: usize) -> bool;
}
