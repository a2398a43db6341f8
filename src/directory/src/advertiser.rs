//! Writes what has changed at this home into the store.
//!
//! In: changes from the shards. Out: rows. An AoR always belongs to the same one of [`LANES_COUNT`] lanes, each of which
//! has one write under way at a time, so that two changes of an AoR are never in flight together and the later one is
//! written later, with a later stamp. A lane gathers for [`LINGER`], writes a batch, and tries again after a pause that
//! grows and is drawn at random, until it is written or overtaken. It never gives up: what waits is bounded by AoRs.
//!
//! Bounds: `directory.pending_max` AoRs wait here. When as many do, nothing more is taken from the shards, which forget
//! what does not fit there either; the next reconcile finds that.

use super::Change;
use super::ambient::{Chance, unforeseen};
use super::backlog::Backlog;
use super::keeper::{Shared, Stint};
use super::statistics::add;
use siphasher::sip::SipHasher13;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio::time::sleep;

/// Writes that are under way at a time.
const LANES_COUNT: usize = 8;
/// How long a lane that has less than a batch waits for more.
const LINGER: Duration = Duration::from_millis(10);
/// Batches that travel in one write.
const BATCHES_PER_WRITE: usize = 4;
/// The pause after a first failure, and the longest one.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Advertiser {
    lanes: Vec<Lane>,
    /// By which AoRs are spread over the lanes, so that nobody can choose one.
    key: (u64, u64),
    pending: Cell<usize>,
    pending_max: usize,
    /// Raised when something was written.
    pub(super) progress: Notify,
}

#[derive(Debug, Default)]
struct Lane {
    backlog: RefCell<Backlog>,
    filled: Notify,
    /// Since when the first of those that are being written waits.
    in_flight_since: Cell<Option<Instant>>,
    /// The stint in which these were taken.
    in_flight_of: Cell<Option<Stint>>,
}

impl Advertiser {
    pub(super) fn new(pending_max: usize, chance: &mut Chance) -> Self {
        Self {
            lanes: (0..LANES_COUNT).map(|_| Lane::default()).collect(),
            key: (chance.number(), chance.number()),
            pending: Cell::new(0),
            pending_max,
            progress: Notify::new(),
        }
    }

    /// How many AoRs wait, those under way included.
    pub(super) fn pending(&self) -> usize {
        self.pending.get()
    }

    /// Whether one more may wait.
    pub(super) fn has_room(&self) -> bool {
        self.pending.get() < self.pending_max
    }

    fn lane_of(&self, aor: &str) -> usize {
        SipHasher13::new_with_keys(self.key.0, self.key.1).hash(aor.as_bytes()) as usize % LANES_COUNT
    }

    /// An AoR has changed.
    pub(super) fn note(&self, change: Change, now: Instant) {
        let lane = &self.lanes[self.lane_of(&change.aor)];
        let mut backlog = lane.backlog.borrow_mut();
        if backlog.note(change, now) {
            self.pending.set(self.pending.get() + 1);
        }
        drop(backlog);
        lane.filled.notify_one();
    }

    /// What waits is not to be written any more.
    pub(super) fn forget(&self) {
        for lane in &self.lanes {
            let forgotten = lane.backlog.take().len();
            self.pending.set(self.pending.get() - forgotten);
        }
        self.progress.notify_waiters();
    }

    /// Waits until nothing is under way that was taken in an earlier stint than this one.
    pub(super) async fn have_ended_before(&self, stint: Stint) {
        let is_earlier = |lane: &Lane| lane.in_flight_of.get().is_some_and(|of| of != stint);
        loop {
            let progress = self.progress.notified();
            if !self.lanes.iter().any(is_earlier) {
                return;
            }
            progress.await;
        }
    }

    /// Since when the one that waits longest does.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let of = |lane: &Lane| lane.in_flight_since.get().into_iter().chain(lane.backlog.borrow().oldest()).min();
        self.lanes.iter().filter_map(of).min()
    }

    /// Starts the lanes on the executor of this thread.
    pub(super) fn start(shared: &Rc<Shared>) {
        for lane in 0..LANES_COUNT {
            tokio::task::spawn_local(run(Rc::clone(shared), lane));
        }
    }
}

async fn run(shared: Rc<Shared>, lane: usize) {
    let advertiser = &shared.advertiser;
    let lane = &advertiser.lanes[lane];
    let mut backoff = shared.backoff(BACKOFF);
    loop {
        lane.filled.notified().await;
        while lane.backlog.borrow().len() > 0 {
            let store = shared.store().await;
            let count = store.batch_rows_max() * BATCHES_PER_WRITE;
            if lane.backlog.borrow().len() < count {
                sleep(LINGER).await;
            }
            let batch = lane.backlog.borrow_mut().take(count);
            let Some(stint) = shared.present_stint().filter(|_| !batch.changes.is_empty()) else {
                // It was forgotten meanwhile.
                break;
            };
            lane.in_flight_since.set(batch.oldest());
            lane.in_flight_of.set(Some(stint));
            let written = store.write(&shared.home, &batch.changes, shared.stamps.next()).await;
            lane.in_flight_since.set(None);
            lane.in_flight_of.set(None);
            match written {
                Ok(()) => {
                    let published = batch.changes.iter().filter(|change| change.is_home).count();
                    add(&shared.statistics.published, published);
                    add(&shared.statistics.withdrawn, batch.changes.len() - published);
                    advertiser.pending.set(advertiser.pending.get() - batch.changes.len());
                    shared.write_succeeded();
                    backoff = shared.backoff(BACKOFF);
                }
                Err(error) => {
                    add(&shared.statistics.write_failures, 1);
                    if shared.goes_on(stint) {
                        let overtaken = lane.backlog.borrow_mut().put_back(batch);
                        advertiser.pending.set(advertiser.pending.get() - overtaken);
                        shared.write_failed(&error);
                        sleep(backoff.next_pause()).await;
                    } else {
                        advertiser.pending.set(advertiser.pending.get() - batch.changes.len());
                    }
                }
            }
            shared.tell_lag();
            advertiser.progress.notify_waiters();
            // There may be room for more now.
            shared.news.notify_one();
        }
    }
}

/// Pauses that grow, each drawn between nothing and its bound, so that nodes that failed together do not come back
/// together.
#[derive(Debug)]
pub struct Backoff {
    bound: Duration,
    longest: Duration,
    chance: Chance,
}

impl Backoff {
    /// The first pause is `first` at most, and none is longer than `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self::drawn((first, longest), Chance::new(unforeseen()))
    }

    /// The same, with everything that is left to chance from `seed`.
    pub const fn seeded(bounds: (Duration, Duration), seed: u64) -> Self {
        Self::drawn(bounds, Chance::new(seed))
    }

    pub(super) const fn drawn((first, longest): (Duration, Duration), chance: Chance) -> Self {
        Self { bound: first, longest, chance }
    }

    /// The next pause.
    pub fn next_pause(&mut self) -> Duration {
        let drawn = self.chance.number();
        let pause = self.bound.mul_f64((drawn >> 11) as f64 / (1u64 << 53) as f64);
        self.bound = (self.bound * 2).min(self.longest);
        // Never none at all: a store that refuses at once is not to be asked without a pause.
        pause.max(self.bound / 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_are_never_none() {
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        let pauses: Vec<Duration> = (0..40).map(|_| backoff.next_pause()).collect();
        assert!(pauses.iter().all(|pause| *pause > Duration::ZERO && *pause <= BACKOFF.1), "{pauses:?}");
        assert!(pauses[0] <= BACKOFF.0);
        assert!(pauses[10..].iter().any(|pause| *pause > BACKOFF.1 / 2), "{pauses:?}");
    }
}
