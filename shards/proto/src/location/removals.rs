//! What an AoR remembers of bindings that were removed: so much, and the oldest are given up first.
//!
//! A removal is remembered so that a REGISTER which comes late does not undo it, and where there are backups, so that one which
//! has not heard of it does not. It has a room of its own: what is remembered takes none from what is bound, and an AoR that is
//! full of bindings remembers as much as any other.

use super::record::Record;
use super::table::{Location, RecordId};
use crate::counters::Counters;
use crate::limits;
use crate::wheel::Wheel;

impl Location {
    /// Keeps within bounds what a record remembers. A log need not be told, since whoever reads it comes to the same.
    pub(super) fn give_up_removals(&mut self, id: RecordId, wheel: &mut Wheel, counters: &mut Counters) {
        while let Some(oldest) = given_up_next(self.record(id)) {
            counters.removals_given_up += 1;
            self.remove(id, oldest, wheel);
        }
    }
}

/// The oldest removal of a record that remembers too many.
fn given_up_next(record: &Record) -> Option<u64> {
    let fits = |count, bytes| count <= limits::AOR_REMOVALS_COUNT_MAX && bytes <= limits::AOR_REMOVALS_BYTES_MAX;
    // The usual case needs no look at each of them.
    if fits(record.count(), record.len()) {
        return None;
    }
    let removed = record.bindings().filter(|b| b.flags().removed());
    let (count, bytes) = removed.clone().fold((0, 0), |(count, bytes), b| (count + 1, bytes + b.packed_len()));
    let oldest = removed.min_by_key(|b| (b.stamp(), b.contact_id()));
    oldest.filter(|_| !fits(count, bytes)).map(|b| b.contact_id())
}
