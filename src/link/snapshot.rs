//! How the links of this node stand, for whoever asks from another thread. Written by the thread of the links alone.

use super::failure::Reason;
use crate::cluster::Id;
use sipfed_nodes::pulse::State;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// See the module's documentation. A lock is held for as long as one link takes to be looked at or written.
#[derive(Debug, Default)]
pub(crate) struct LinkStates {
    links: Mutex<BTreeMap<Id, Entry>>,
    failures: [AtomicU64; Reason::COUNT],
}

/// What is kept of a link.
#[derive(Debug)]
struct Entry {
    state: State,
    since: Instant,
    round_trip: Option<Duration>,
    neighbours: Vec<Id>,
    counts: Arc<Counts>,
}

/// What has gone over a link since this process began, over all of its connections.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) frames_in: AtomicU64,
    pub(super) bytes_in: AtomicU64,
    pub(super) frames_out: AtomicU64,
    pub(super) bytes_out: AtomicU64,
    pub(super) pings_lost: AtomicU64,
    /// How often it has come up.
    pub(super) ups: AtomicU64,
}

/// How one link stands.
#[derive(Clone, Debug)]
pub(crate) struct LinkReport {
    pub(crate) node: Id,
    pub(crate) state: State,
    /// For how long it has been in this state.
    pub(crate) age: Duration,
    /// How long the last answer to a ping took.
    pub(crate) round_trip: Option<Duration>,
    /// The nodes to which that node has links that are up; none unless this link is.
    pub(crate) neighbours: Vec<Id>,
    /// By which node it can be reached: itself where the link is up, else a neighbour that has one to it.
    pub(crate) next_hop: Option<Id>,
    pub(crate) counts: Vec<(&'static str, u64)>,
}

/// Adds to a count.
pub(super) fn add(count: &AtomicU64, n: u64) {
    count.fetch_add(n, Relaxed);
}

impl LinkStates {
    /// All links, in the order of the nodes.
    pub(crate) fn reports(&self) -> Vec<LinkReport> {
        let links = self.lock();
        let up = |id: Id| links.get(&id).is_some_and(|link| link.state == State::Up);
        let hop = |id: Id| {
            let by = links.iter().find(|(by, link)| up(**by) && link.neighbours.contains(&id)).map(|(by, _)| *by);
            if up(id) { Some(id) } else { by }
        };
        let report = |(id, link): (&Id, &Entry)| LinkReport {
            node: *id,
            state: link.state,
            age: link.since.elapsed(),
            round_trip: link.round_trip,
            neighbours: link.neighbours.clone(),
            next_hop: hop(*id),
            counts: link.counts.named(),
        };
        links.iter().map(report).collect()
    }

    /// The connections that came to no link, by reason.
    pub(crate) fn failures(&self) -> Vec<(&'static str, u64)> {
        Reason::NAMES.into_iter().zip(self.failures.iter().map(|count| count.load(Relaxed))).collect()
    }

    pub(super) fn count_failure(&self, reason: Reason) {
        add(&self.failures[reason as usize], 1);
    }

    /// From now on there is a link to this node; where there was one, its counts go on.
    pub(super) fn enter(&self, id: Id) -> Arc<Counts> {
        let entry = || Entry {
            state: State::Down,
            since: Instant::now(),
            round_trip: None,
            neighbours: Vec::new(),
            counts: Arc::default(),
        };
        Arc::clone(&self.lock().entry(id).or_insert_with(entry).counts)
    }

    /// There is none any more.
    pub(super) fn remove(&self, id: Id) {
        self.lock().remove(&id);
    }

    pub(super) fn set_state(&self, id: Id, state: State) {
        if let Some(link) = self.lock().get_mut(&id) {
            link.state = state;
            link.since = Instant::now();
            if state == State::Down {
                link.neighbours.clear();
            }
        }
    }

    pub(super) fn set_round_trip(&self, id: Id, round_trip: Option<Duration>) {
        if let Some(link) = self.lock().get_mut(&id) {
            link.round_trip = round_trip;
        }
    }

    pub(super) fn set_neighbours(&self, id: Id, neighbours: Vec<Id>) {
        if let Some(link) = self.lock().get_mut(&id) {
            link.neighbours = neighbours;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Id, Entry>> {
        // What is written there is whole after each step.
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn named(&self) -> Vec<(&'static str, u64)> {
        let all = [
            ("frames_in", &self.frames_in),
            ("bytes_in", &self.bytes_in),
            ("frames_out", &self.frames_out),
            ("bytes_out", &self.bytes_out),
            ("pings_lost", &self.pings_lost),
            ("ups", &self.ups),
        ];
        all.into_iter().map(|(name, count)| (name, count.load(Relaxed))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> Id {
        Id::new(number).unwrap()
    }

    fn hops(states: &LinkStates) -> Vec<Option<u16>> {
        states.reports().iter().map(|link| link.next_hop.map(Id::get)).collect()
    }

    #[test]
    fn who_is_down_is_reached_by_a_neighbour_that_has_it() {
        let states = LinkStates::default();
        for number in [1, 2, 3] {
            states.enter(id(number));
        }
        assert_eq!(hops(&states), [None; 3]);
        states.set_state(id(1), State::Up);
        states.set_state(id(2), State::Up);
        states.set_neighbours(id(2), vec![id(1), id(3)]);
        assert_eq!(hops(&states), [Some(1), Some(2), Some(2)]);
        states.set_state(id(1), State::Probe);
        assert_eq!(hops(&states), [Some(2), Some(2), Some(2)]);
        states.set_state(id(2), State::Down);
        assert_eq!(hops(&states), [None; 3], "what it said last does not count");
        assert!(states.reports()[1].neighbours.is_empty());
    }

    #[test]
    fn counts_outlive_connections() {
        let states = LinkStates::default();
        add(&states.enter(id(1)).ups, 1);
        add(&states.enter(id(1)).ups, 1);
        assert_eq!(states.reports()[0].counts.last(), Some(&("ups", 2)));
        states.remove(id(1));
        assert!(states.reports().is_empty());
        states.count_failure(Reason::NoPlace);
        assert_eq!(states.failures().last(), Some(&("no_place", 1)));
    }
}
