//! Changes that wait to be written, each AoR once.
//!
//! A newer change of an AoR takes the place of an older one and keeps its place in the row: what counts is how long the
//! store has been saying something else. A batch that could not be written is put back in front; where a newer change
//! has come meanwhile, that one stands.

use super::Change;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use tokio::time::Instant;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    wanted: HashMap<Box<str>, Wanted>,
    /// Every AoR of `wanted` once, the one that waits longest in front.
    order: VecDeque<Box<str>>,
}

#[derive(Clone, Copy, Debug)]
struct Wanted {
    is_home: bool,
    since: Instant,
}

/// Changes to be written together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) changes: Vec<Change>,
    since: Vec<Instant>,
}

impl Batch {
    /// Since when the first of them waits.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.since.first().copied()
    }
}

impl Backlog {
    /// An AoR has changed; whether it was not waiting already.
    pub(super) fn note(&mut self, change: Change, now: Instant) -> bool {
        match self.wanted.entry(change.aor) {
            Entry::Occupied(mut there) => {
                there.get_mut().is_home = change.is_home;
                false
            }
            Entry::Vacant(place) => {
                self.order.push_back(place.key().clone());
                place.insert(Wanted { is_home: change.is_home, since: now });
                true
            }
        }
    }

    /// Takes those that wait longest, `count` at most.
    pub(super) fn take(&mut self, count: usize) -> Batch {
        let count = count.min(self.order.len());
        let mut batch = Batch { changes: Vec::with_capacity(count), since: Vec::with_capacity(count) };
        for aor in self.order.drain(..count) {
            if let Some(Wanted { is_home, since }) = self.wanted.remove(&aor) {
                batch.changes.push(Change { aor, is_home });
                batch.since.push(since);
            }
        }
        if self.order.is_empty() {
            // A long outage leaves no room behind that is needed never again.
            self.order.shrink_to(1024);
            self.wanted.shrink_to(1024);
        }
        batch
    }

    /// Puts a batch back that was not written; gives how many of its changes were overtaken meanwhile.
    pub(super) fn put_back(&mut self, batch: Batch) -> usize {
        let mut overtaken = 0;
        for (change, since) in batch.changes.into_iter().zip(batch.since).rev() {
            match self.wanted.entry(change.aor) {
                Entry::Occupied(mut there) => {
                    there.get_mut().since = since;
                    overtaken += 1;
                }
                Entry::Vacant(place) => {
                    self.order.push_front(place.key().clone());
                    place.insert(Wanted { is_home: change.is_home, since });
                }
            }
        }
        overtaken
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Since when the one in front waits. One that was overtaken while it was tried may have waited longer.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.order.front().and_then(|aor| self.wanted.get(aor)).map(|wanted| wanted.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn change(aor: &str, is_home: bool) -> Change {
        Change { aor: aor.into(), is_home }
    }

    #[test]
    fn an_aor_waits_once_from_its_first_change_on_and_its_last_one_counts() {
        let (mut backlog, start) = (Backlog::default(), Instant::now());
        for n in 0..3 {
            backlog.note(change("a", n == 0), start + Duration::from_secs(n));
            backlog.note(change("b", true), start + Duration::from_secs(n + 1));
        }
        assert_eq!((backlog.len(), backlog.oldest()), (2, Some(start)));
        let batch = backlog.take(1);
        assert_eq!((batch.oldest(), batch.changes), (Some(start), vec![change("a", false)]));
        assert_eq!(backlog.take(5).changes, [change("b", true)]);
        assert_eq!((backlog.len(), backlog.oldest()), (0, None));
    }

    #[test]
    fn a_batch_that_failed_goes_first_unless_it_was_overtaken() {
        let (mut backlog, start) = (Backlog::default(), Instant::now());
        for aor in ["a", "b", "c"] {
            backlog.note(change(aor, true), start);
        }
        let batch = backlog.take(2);
        backlog.note(change("b", false), start + Duration::from_secs(1));
        assert_eq!(backlog.put_back(batch), 1);
        assert_eq!(backlog.oldest(), Some(start));
        assert_eq!(backlog.take(9).changes, [change("a", true), change("c", true), change("b", false)]);
    }
}
