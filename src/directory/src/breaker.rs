//! Whether it is worth asking the store.
//!
//! After [`FAILURES_COUNT`] failures in a row nobody waits for it any more: questions are answered at once with what is
//! known without it, and one probe at a time finds out when it is back. A success closes it again.

use std::time::Duration;
use tokio::time::Instant;

/// Failures in a row after which the store counts as away.
pub(super) const FAILURES_COUNT: u32 = 8;
/// Time between two probes while it is away.
pub(super) const PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    away_since: Option<Instant>,
}

impl Breaker {
    /// Whether the store may be asked.
    pub(super) fn is_closed(&self) -> bool {
        self.away_since.is_none()
    }

    /// It has answered; for how long it was away, where it was.
    pub(super) fn succeeded(&mut self, now: Instant) -> Option<Duration> {
        self.failures = 0;
        self.away_since.take().map(|since| now.saturating_duration_since(since))
    }

    /// It has not; whether it counts as away from now on.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        if self.failures < FAILURES_COUNT || self.away_since.is_some() {
            return false;
        }
        self.away_since = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_with_a_success() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..3 {
            for _ in 1..FAILURES_COUNT {
                assert!(!breaker.failed(now));
            }
            assert_eq!(breaker.succeeded(now), None, "half of the requests failing is no reason");
        }
        for n in 1..=FAILURES_COUNT {
            assert!(breaker.is_closed());
            assert_eq!(breaker.failed(now), n == FAILURES_COUNT);
        }
        assert!(!breaker.is_closed());
        assert!(!breaker.failed(now), "it is told once");
        assert_eq!(breaker.succeeded(now + PROBE_INTERVAL), Some(PROBE_INTERVAL));
        assert!(breaker.is_closed());
    }
}
