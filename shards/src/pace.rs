//! How long a shard waits before it takes its next batch: the trade of a little latency for many wake-ups.
//!
//! Waking a thread for a packet costs as much as handling the packet. A shard under load therefore does not
//! wait for the next datagram but sleeps through the arrival of several and takes them in one go. In: how
//! many messages each turn brought. Out: the moment to sleep until, or none.
//!
//! - At a low rate a sleep would bring one message late and save nothing: the shard waits for readiness and
//!   answers at once.
//! - In between, it sleeps until about [`BATCH_AIM`] messages are there, at most `coalesce_us`: the higher
//!   the rate, the shorter the sleep.
//! - At saturation, when a batch came back full, it does not wait at all.
//!
//! Sleeps end on a grid of the monotonic clock. Shards of one node so take their batches at the same moments,
//! and what one hands to another is met there awake (see [`crate::turn`]).

/// Messages that a sleep should gather. More of them save little more and come later: measured at 30,000 requests a
/// second, an aim of 7 costs 10.5 us of processor time each, 10 costs 9 us, and 14 costs 9 us and half of the
/// latency again.
const BATCH_AIM: f32 = 10.0;
/// Messages that must be expected from a sleep for it to pay.
const EXPECTED_MIN: f32 = 3.0;
/// Time over which the rate of arrival is averaged.
const RATE_OVER_US: f32 = 4_000.0;
/// The finest step of the grid.
const STEP_NS_MIN: u64 = 32_768;

/// The rate of work at one shard, and what follows from it.
#[derive(Debug)]
pub(crate) struct Pace {
    coalesce_ns_max: u64,
    /// Messages per microsecond.
    rate: f32,
    last_turn_ns: u64,
}

impl Pace {
    /// The pace of a shard that nothing has reached yet; `coalesce_us` of 0 never sleeps.
    pub(crate) fn new(coalesce_us: u32, now_ns: u64) -> Self {
        Self { coalesce_ns_max: u64::from(coalesce_us) * 1000, rate: 0.0, last_turn_ns: now_ns }
    }

    /// Takes note of a turn that ended at `now_ns` and handled `messages_count`. What was only handed over to
    /// another shard is that shard's work, and is counted there.
    pub(crate) fn note(&mut self, messages_count: usize, now_ns: u64) {
        let passed_us = (now_ns.saturating_sub(self.last_turn_ns) as f32 / 1000.0).max(1.0);
        self.last_turn_ns = now_ns;
        let weight = 1.0 - (-passed_us / RATE_OVER_US).exp();
        self.rate += weight * (messages_count as f32 / passed_us - self.rate);
    }

    /// The moment to sleep until before the next batch, or `None` when it should be waited for instead.
    pub(crate) fn sleep_until_ns(&self, now_ns: u64) -> Option<u64> {
        let limit_us = self.coalesce_ns_max as f32 / 1000.0;
        if self.rate * limit_us < EXPECTED_MIN {
            return None;
        }
        let wanted_ns = ((BATCH_AIM / self.rate).min(limit_us) * 1000.0) as u64;
        // The next moment of the grid, unless that is so near that nothing could arrive until then. A turn
        // begins at such a moment and is short beside a step, so that a sleep takes most of one.
        let step_ns = step_within(wanted_ns * 8 / 9)?;
        let at_ns = (now_ns + step_ns / 8).next_multiple_of(step_ns);
        Some(at_ns)
    }
}

/// The longest step of the grid that is no longer than `limit_ns`: a power of two, or one and a half times
/// that. There are few of them, so that shards of about the same pace have the same step.
fn step_within(limit_ns: u64) -> Option<u64> {
    let power_ns = (limit_ns + 1).next_power_of_two() / 2;
    let step_ns = if power_ns + power_ns / 2 <= limit_ns { power_ns + power_ns / 2 } else { power_ns };
    (step_ns >= STEP_NS_MIN).then_some(step_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds one message every `gap_us` for `spent_us`, in turns as the pace itself asks for them.
    fn run(pace: &mut Pace, gap_us: u64, spent_us: u64) -> (usize, u64) {
        let start_ns = pace.last_turn_ns;
        let (mut now_ns, mut next_ns, mut turns_count, mut slept_ns_max) = (start_ns, start_ns, 0, 0);
        while now_ns < start_ns + spent_us * 1000 {
            now_ns = match pace.sleep_until_ns(now_ns) {
                Some(at_ns) => {
                    slept_ns_max = slept_ns_max.max(at_ns - now_ns);
                    at_ns
                }
                None => now_ns.max(next_ns),
            };
            let mut messages_count = 0;
            while next_ns <= now_ns {
                messages_count += 1;
                next_ns += gap_us * 1000;
            }
            pace.note(messages_count, now_ns);
            turns_count += 1;
        }
        (turns_count, slept_ns_max)
    }

    #[test]
    fn the_grid_has_two_steps_to_each_doubling() {
        let steps = [32_767, 32_768, 49_151, 49_152, 65_535, 65_536, 1 << 20].map(step_within);
        let expected = [0, 32_768, 32_768, 49_152, 49_152, 65_536, 1 << 20];
        assert_eq!(steps.map(Option::unwrap_or_default), expected);
    }

    #[test]
    fn a_quiet_shard_answers_at_once() {
        let mut pace = Pace::new(1000, 0);
        assert_eq!(pace.sleep_until_ns(5), None);
        let (turns_count, slept_ns_max) = run(&mut pace, 2_000, 1_000_000);
        assert_eq!((turns_count / 100, slept_ns_max), (5, 0));
    }

    #[test]
    fn a_busy_shard_takes_several_messages_at_a_time_and_sleeps_less_the_busier_it_is() {
        let mut sleeps = Vec::new();
        for gap_us in [200, 66, 33, 16] {
            let mut pace = Pace::new(1000, 7);
            run(&mut pace, gap_us, 50_000);
            let (turns_count, slept_ns_max) = run(&mut pace, gap_us, 300_000);
            let each = 300_000 / gap_us as usize / turns_count;
            assert!((3..=16).contains(&each), "{each} messages a turn at a gap of {gap_us} us");
            sleeps.push(slept_ns_max);
        }
        assert!(sleeps.is_sorted_by(|a, b| a >= b) && sleeps[0] > sleeps[3], "{sleeps:?}");
        assert!(sleeps[0] <= 1_000_000);
    }

    #[test]
    fn a_shard_told_not_to_coalesce_never_sleeps() {
        let mut pace = Pace::new(0, 0);
        assert_eq!(run(&mut pace, 10, 100_000).1, 0);
    }

    #[test]
    fn a_shard_falls_back_to_answering_at_once_when_traffic_ends() {
        let mut pace = Pace::new(1000, 0);
        run(&mut pace, 33, 100_000);
        assert!(pace.sleep_until_ns(pace.last_turn_ns).is_some());
        let now_ns = pace.last_turn_ns + 50_000_000;
        pace.note(1, now_ns);
        assert_eq!(pace.sleep_until_ns(now_ns), None);
    }

    #[test]
    fn shards_of_equal_pace_wake_at_the_same_moments() {
        let (mut a, mut b) = (Pace::new(500, 0), Pace::new(500, 123));
        run(&mut a, 40, 100_000);
        run(&mut b, 40, 100_000);
        let now_ns = 10_000_000_000;
        assert_eq!(a.sleep_until_ns(now_ns), b.sleep_until_ns(now_ns + 900));
    }
}
