//! The clock that a shard is told the time by.
//!
//! The wall clock is read once, at start, and the monotonic clock is added to it: a step of the wall clock
//! then neither expires a binding nor stops a timer. All shards of a node copy one [`Clock`], so that their
//! times agree.

use sipfed_proto::Now;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall clock at start plus monotonic time since.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started_at: Instant,
    /// Microseconds since the Unix epoch when `started_at` was read.
    started_at_unix_us: u64,
}

impl Clock {
    /// A clock that is right now.
    pub(crate) fn start() -> Self {
        // A wall clock before 1970 is not set at all; counting from 0 is then as good as any time.
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started_at: Instant::now(), started_at_unix_us: unix.as_micros() as u64 }
    }

    fn unix_us(&self) -> u64 {
        self.started_at_unix_us + self.started_at.elapsed().as_micros() as u64
    }

    /// The time, as a shard is told it.
    pub(crate) fn now(&self) -> Now {
        Now::from_unix_ms(self.unix_us() / 1000)
    }

    /// How long until [`Clock::now`] reaches `deadline`; zero when it has.
    pub(crate) fn until(&self, deadline: Now) -> Duration {
        Duration::from_micros(deadline.unix_ms().saturating_mul(1000).saturating_sub(self.unix_us()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_that_has_passed_is_due_at_once() {
        let clock = Clock::start();
        assert_eq!(clock.until(clock.now()), Duration::ZERO);
        assert_eq!(clock.until(Now::from_unix_ms(0)), Duration::ZERO);
        assert!(clock.until(clock.now().plus_ms(60_000)) > Duration::from_secs(59));
        assert!(clock.until(Now::from_unix_ms(u64::MAX)) > Duration::from_secs(1 << 32));
    }
}
