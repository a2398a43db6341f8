//! AoRs whose row in the directory may have to change, each once.
//!
//! An AoR is noted when its first binding comes or its last one goes; what its row is to say is looked up only when it
//! is taken, so that any number of events in between is one change. Bounded by
//! [`limits::HOME_CHANGES_COUNT_MAX`]; what does not fit is forgotten, and that something was forgotten is remembered,
//! for a reconcile to mend.

use crate::keys::{AorHash, NumberHasher};
use crate::limits;
use hashbrown::HashSet;
use std::collections::VecDeque;
use std::hash::BuildHasherDefault;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    is_kept: bool,
    queue: VecDeque<(AorHash, Box<[u8]>)>,
    noted: HashSet<AorHash, BuildHasherDefault<NumberHasher>>,
    forgotten: u64,
}

impl Changes {
    /// From now on changes are noted.
    pub(crate) fn keep(&mut self) {
        self.is_kept = true;
    }

    #[inline]
    pub(crate) fn is_kept(&self) -> bool {
        self.is_kept
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// The row of this AoR may have to change.
    pub(crate) fn note(&mut self, hash: AorHash, aor: &[u8]) {
        if !self.is_kept || self.noted.contains(&hash) {
            return;
        }
        if self.queue.len() >= limits::HOME_CHANGES_COUNT_MAX {
            self.forgotten += 1;
            return;
        }
        self.noted.insert(hash);
        self.queue.push_back((hash, aor.into()));
    }

    /// The AoR that was noted longest ago.
    pub(crate) fn take(&mut self) -> Option<(AorHash, Box<[u8]>)> {
        let taken = self.queue.pop_front()?;
        self.noted.remove(&taken.0);
        if self.queue.is_empty() {
            // A burst leaves no room behind that is needed never again.
            self.queue.shrink_to(1024);
            self.noted.shrink_to(1024);
        }
        Some(taken)
    }

    /// How many changes were forgotten for want of room.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aor_is_there_once_until_it_is_taken() {
        let mut changes = Changes::default();
        changes.note(AorHash(1), b"a@b");
        assert_eq!(changes.take(), None, "nobody keeps a directory");
        changes.keep();
        for _ in 0..3 {
            changes.note(AorHash(1), b"a@b");
            changes.note(AorHash(2), b"c@b");
        }
        assert_eq!(changes.take(), Some((AorHash(1), Box::from(*b"a@b"))));
        changes.note(AorHash(1), b"a@b");
        assert_eq!(changes.take().unwrap().0, AorHash(2));
        assert_eq!(changes.take().unwrap().0, AorHash(1));
        assert_eq!(changes.take(), None);
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut changes = Changes::default();
        changes.keep();
        for n in 0..limits::HOME_CHANGES_COUNT_MAX as u64 + 3 {
            changes.note(AorHash(n), b"a");
        }
        assert_eq!((changes.len(), changes.forgotten()), (limits::HOME_CHANGES_COUNT_MAX, 3));
    }
}
