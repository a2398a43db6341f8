//! What happens next: events in the order of their time, and of their making where that is the same.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// See the module's documentation. Times are milliseconds since the simulation began.
#[derive(Debug)]
pub(crate) struct Agenda<E> {
    events: BinaryHeap<Reverse<Entry<E>>>,
    made: u64,
}

#[derive(Debug)]
struct Entry<E> {
    at: u64,
    number: u64,
    event: E,
}

impl<E> Agenda<E> {
    pub(crate) fn new() -> Self {
        Self { events: BinaryHeap::new(), made: 0 }
    }

    /// Something will happen.
    pub(crate) fn put(&mut self, at: u64, event: E) {
        self.made += 1;
        self.events.push(Reverse(Entry { at, number: self.made, event }));
    }

    /// When the next event is.
    pub(crate) fn next_at(&self) -> Option<u64> {
        self.events.peek().map(|next| next.0.at)
    }

    /// The next event that is not later than `until`, and its time.
    pub(crate) fn take(&mut self, until: u64) -> Option<(u64, E)> {
        if self.events.peek()?.0.at > until {
            return None;
        }
        self.events.pop().map(|Reverse(entry)| (entry.at, entry.event))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<E> Eq for Entry<E> {}
