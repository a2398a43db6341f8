//! Which AoRs are at home here, as the directory is to say it: what has changed, and what a reconcile compares.

use super::table::{AorKey, Location, RecordId};
use crate::directory::{Pass, Walk};
use crate::keys::AorHash;

impl Location {
    /// The row of the record's AoR in the directory may have to change.
    pub(super) fn note(&mut self, id: RecordId) {
        let Self { records, changes, .. } = self;
        if let Some(slot) = records.get(id.0) {
            changes.note(slot.record.hash(), slot.record.aor());
        }
    }

    /// One of the record's bindings has gone: was it the last?
    pub(super) fn note_if_gone(&mut self, id: RecordId) {
        if self.changes.is_kept() && !self.record(id).is_home() {
            self.note(id);
        }
    }

    /// Whether the AoR has a binding here, as the directory is to say it.
    pub(crate) fn is_home(&self, aor: AorHash) -> bool {
        self.find_by_hash(aor).is_some_and(|(_, record)| record.is_home())
    }

    /// The directory has a row which says that the AoR is at home here: marked as seen, or noted when it is wrong.
    pub(crate) fn compare(&mut self, key: AorKey<'_>, pass: Pass) {
        match self.find(key).filter(|(_, record)| record.is_home()).map(|(id, _)| id) {
            Some(id) => self.records.get_mut(id.0).expect("the record was found").seen = pass.0.get(),
            None => self.changes.note(key.hash, key.aor),
        }
    }

    /// Notes AoRs from the record with the number `from` on, `count` records at most; gives the number to go on from,
    /// and `None` when there is none left.
    pub(crate) fn walk(&mut self, walk: Walk, from: u32, count: u32) -> Option<u32> {
        let end = from.saturating_add(count).min(self.records.end());
        for id in from..end {
            let Some(slot) = self.records.get(id) else { continue };
            let is_wanted = match walk {
                Walk::All => true,
                Walk::Unseen(pass) => slot.seen != pass.0.get(),
            };
            if is_wanted && slot.record.is_home() {
                self.changes.note(slot.record.hash(), slot.record.aor());
            }
        }
        (end < self.records.end()).then_some(end)
    }
}
