//! What the directory has done and where it stands, for whoever asks from another thread.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::Instant;

/// Written by the keeper's thread alone, read by any.
#[derive(Debug)]
pub struct Statistics {
    started: Instant,
    /// Whether the store answers.
    pub(super) is_up: AtomicBool,
    /// AoRs that are waiting to be written.
    pub(super) pending: AtomicU64,
    /// Microseconds after the start at which the one that waits longest began to, plus one; 0 for none.
    oldest_us: AtomicU64,
    pub(super) published: AtomicU64,
    pub(super) withdrawn: AtomicU64,
    pub(super) write_failures: AtomicU64,
    pub(super) lookups: AtomicU64,
    pub(super) lookup_failures: AtomicU64,
    /// Questions that were answered without asking, since the store is away.
    pub(super) lookups_spared: AtomicU64,
    /// Rows that were left out of answers since the epoch of their home outdates them.
    pub(super) rows_void: AtomicU64,
    pub(super) unpublishable: AtomicU64,
    pub(super) reconciles: AtomicU64,
    pub(super) rows_compared: AtomicU64,
}

/// How far the store is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// AoRs whose row is not yet what it has to be.
    pub pending: u64,
    /// For how long that has been so for one of them.
    pub oldest: Duration,
}

impl Statistics {
    pub(super) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            started: Instant::now(),
            is_up: AtomicBool::new(false),
            pending: zero(),
            oldest_us: zero(),
            published: zero(),
            withdrawn: zero(),
            write_failures: zero(),
            lookups: zero(),
            lookup_failures: zero(),
            lookups_spared: zero(),
            rows_void: zero(),
            unpublishable: zero(),
            reconciles: zero(),
            rows_compared: zero(),
        }
    }

    pub(super) fn set_lag(&self, pending: usize, oldest: Option<Instant>) {
        self.pending.store(pending as u64, Relaxed);
        let us = |since: Instant| since.saturating_duration_since(self.started).as_micros() as u64 + 1;
        self.oldest_us.store(oldest.map_or(0, us), Relaxed);
    }

    /// How far the store is behind now.
    pub fn lag(&self) -> Lag {
        let oldest = match self.oldest_us.load(Relaxed) {
            0 => Duration::ZERO,
            us => self.started.elapsed().saturating_sub(Duration::from_micros(us - 1)),
        };
        Lag { pending: self.pending.load(Relaxed), oldest }
    }

    /// Whether the store answers.
    pub fn is_up(&self) -> bool {
        self.is_up.load(Relaxed)
    }

    /// Everything that is counted, by name.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        let all = [
            ("published", &self.published),
            ("withdrawn", &self.withdrawn),
            ("write_failures", &self.write_failures),
            ("lookups", &self.lookups),
            ("lookup_failures", &self.lookup_failures),
            ("lookups_spared", &self.lookups_spared),
            ("rows_void", &self.rows_void),
            ("unpublishable", &self.unpublishable),
            ("reconciles", &self.reconciles),
            ("rows_compared", &self.rows_compared),
        ];
        all.into_iter().map(|(name, count)| (name, count.load(Relaxed))).collect()
    }
}

/// Adds to a count.
pub(super) fn add(count: &AtomicU64, n: usize) {
    count.fetch_add(n as u64, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_that_of_the_one_which_waits_longest() {
        let statistics = Statistics::new();
        assert_eq!(statistics.lag(), Lag { pending: 0, oldest: Duration::ZERO });
        statistics.set_lag(3, Some(statistics.started));
        let lag = statistics.lag();
        assert_eq!(lag.pending, 3);
        assert!(lag.oldest <= statistics.started.elapsed());
        statistics.set_lag(0, None);
        assert_eq!(statistics.lag().oldest, Duration::ZERO);
    }
}
