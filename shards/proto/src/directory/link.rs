//! What lies between the shards and whoever keeps the directory: the words of both, and the keeper's end.
//!
//! How it lies there is the runtime's: queues between threads in the daemon, others in a simulation. The keeper sees no more
//! of the shards than [`ShardsLink`].

use super::{Change, Pass, Question, Walk};
use std::fmt::Debug;
use std::sync::Arc;

/// What the control plane has for a shard.
#[derive(Debug)]
pub enum Order {
    /// The homes of the AoR that the question of this id asked for; `None` where nobody can say.
    Answer {
        /// That of the question.
        id: u64,
        /// Each as `address` or `address:port`.
        homes: Option<Box<[Box<str>]>>,
    },
    /// A page of AoRs that the directory says are at home at this node; those of other shards are passed over.
    Compare {
        /// The reconcile that it belongs to.
        pass: Pass,
        /// The AoRs.
        aors: Arc<[Box<[u8]>]>,
    },
    /// To make changes of some AoRs that are at home here.
    Walk {
        /// Of which.
        walk: Walk,
        /// The number that the walk before has given; 0 to begin.
        from: u32,
        /// How many AoRs to look at.
        count: u32,
    },
    /// The other nodes of the federation are these from now on, each as `address` or `address:port`.
    Peers(Arc<[Box<str>]>),
    /// The homes that are known to be down are these from now on, in the same form.
    Down(Arc<[Box<str>]>),
}

/// What a shard has for the control plane, apart from questions.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// A row may have to change.
    Change(Change),
    /// A task is done and all that came of it has been told; a walk goes on from this number.
    Done(Option<u32>),
    /// There was no room to note all changes: a reconcile has to find them.
    Forgotten,
}

/// The queues of all shards, as the control plane sees them from one thread. Each is bounded, and nothing here waits.
pub trait ShardsLink: Debug + Send + Sync {
    /// To be called before all queues are looked into: whatever comes from now on wakes again.
    fn look(&self);

    /// How many shards there are.
    fn shards_count(&self) -> usize;

    /// The next question of a shard.
    fn take_question(&self, shard: usize) -> Option<Question>;

    /// The next news of a shard.
    fn take_news(&self, shard: usize) -> Option<News>;

    /// Gives a shard an order; gives it back when there is no room. The shard does not notice before it is rung.
    fn put(&self, shard: usize, order: Order) -> Result<(), Order>;

    /// Has a shard look after its orders.
    fn ring(&self, shard: usize);
}
