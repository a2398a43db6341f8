//! The last part of `machine`: all bindings of the pure shard are given to an empty one that backs it up.
//!
//! Leaf by leaf, as nodes do it: what the giver writes whole is merged by the backup, which keeps digests and writes its
//! journal. Links, queues and the log are not there, so what is left is the location service of either side.

use super::machine::{NOW, empty_shard};
use crate::error::Error;
use crate::sys::allocations_count;
use sipfed_proto::Shard;
use sipfed_proto::replica::Copy;
use std::time::{Duration, Instant};

/// What one synchronization took.
#[derive(Clone, Copy, Default)]
pub(super) struct SyncStretch {
    pub(super) bindings: u64,
    pub(super) give_ns: u64,
    pub(super) merge_ns: u64,
    pub(super) merge_allocations: u64,
}

/// Gives all bindings of `giver` to a new shard.
pub(super) fn stretch(giver: &Shard) -> Result<SyncStretch, Error> {
    let mut backup = empty_shard();
    backup.keep_journal(NOW);
    backup.keep_backups();
    let mut stretch = SyncStretch::default();
    for leaf in giver.leaves() {
        let started = Instant::now();
        let mut copy = Copy::new();
        stretch.bindings += giver.write_newer(leaf, &mut [], &mut copy) as u64;
        stretch.give_ns += nanoseconds(started.elapsed());
        let allocations_before = allocations_count();
        let started = Instant::now();
        let is_good = backup.merge(copy.bytes(), NOW).is_ok();
        backup.clear_journal();
        stretch.merge_ns += nanoseconds(started.elapsed());
        stretch.merge_allocations += allocations_count() - allocations_before;
        if !is_good {
            return Err(wrong(format!("leaf {leaf} was given and could not be read")));
        }
    }
    if backup.contacts() == giver.contacts() {
        Ok(stretch)
    } else {
        Err(wrong(format!("of {} bindings {} came to the backup", giver.contacts(), backup.contacts())))
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

fn wrong(what: String) -> Error {
    Error::WrongAnswer { what, answer: String::new() }
}
