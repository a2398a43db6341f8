//! When requests are sent: as answers come back, or at a given rate whatever comes back.

/// How a phase is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Closed loop: this many requests are outstanding at any time.
    Window(u32),
    /// Open loop: this many requests a second, evenly spaced, each at its own instant.
    Rate(u32),
}

/// The instants of an open loop, in nanoseconds of the phase. Arithmetic, not accumulation: no drift.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    rate_per_s: u64,
}

impl Schedule {
    /// `rate_per_s` instants a second; 0 counts as 1.
    pub(crate) fn new(rate_per_s: u32) -> Self {
        Self { rate_per_s: u64::from(rate_per_s.max(1)) }
    }

    /// When request `number` is due.
    pub(crate) fn due_ns(self, number: u32) -> u64 {
        u64::from(number) * 1_000_000_000 / self.rate_per_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_spaced_evenly_and_do_not_drift() {
        let schedule = Schedule::new(30_000);
        assert_eq!(schedule.due_ns(0), 0);
        assert_eq!(schedule.due_ns(30_000), 1_000_000_000);
        assert_eq!(schedule.due_ns(3_000_000), 100_000_000_000);
        for number in 0..100_000 {
            let gap_ns = schedule.due_ns(number + 1) - schedule.due_ns(number);
            assert!((33_333..=33_334).contains(&gap_ns), "{number}: {gap_ns}");
        }
    }
}
