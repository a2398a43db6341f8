//! How evenly pings leave when a shard is late.
//!
//! Turns are even ([`super::rhythm`]), but a shard that has been kept from its core, or busy, finds those of the time that it
//! has missed due together. They are spread over the time after it: a ping may leave when no more than a quarter above the usual
//! number has left, with [`AHEAD_NS`] for what belongs to one tick of the wheel. So ten milliseconds carry no more than 1.9
//! times their share.
//!
//! The usual number is what was due in the second before, or in this one where that is more already. Where there was no
//! second before, as when a node becomes active, or where there are few, nothing is held back. A number that rises
//! suddenly makes pings wait for half a second at most, until it is the usual one.

use crate::time::Now;
use crate::wheel::TICK_MS;

/// How much may leave at once, as the time in which it would have left evenly: a tick, and what chance adds to it.
const AHEAD_NS: u64 = (TICK_MS + 1) * 1_000_000;
/// Due in a second, what a shard has to have at least for evenness to matter.
const PER_S_MIN: u32 = 1000;

/// See the module's documentation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Smoothing {
    /// The second that `count` is of, since the Unix epoch.
    second: u64,
    /// How many have been due in it.
    count: u32,
    /// How many were due in the second before it, where there was one.
    before: Option<u32>,
    /// When the next one would leave in an even flow, in nanoseconds since the Unix epoch.
    next_ns: u64,
}

impl Smoothing {
    /// Notes that `count` pings are due.
    pub(super) fn note(&mut self, count: u32, now: Now) {
        let second = u64::from(now.unix_s());
        if second != self.second {
            self.before = (second == self.second + 1).then_some(self.count);
            (self.second, self.count) = (second, 0);
        }
        self.count = self.count.saturating_add(count);
    }

    /// Whether `count` pings that leave together may leave now. Otherwise they ask again at the next tick.
    pub(super) fn admits(&mut self, count: u32, now: Now) -> bool {
        let Some(before) = self.before else { return true };
        let per_s = u64::from(before.max(self.count).max(PER_S_MIN));
        let apart_ns = 1_000_000_000 * 4 / (per_s * 5);
        let now_ns = now.unix_ms() * 1_000_000;
        if self.next_ns > now_ns + AHEAD_NS {
            return false;
        }
        self.next_ns = self.next_ns.max(now_ns) + u64::from(count) * apart_ns;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When pings leave that are due at `due`, in milliseconds, where the shard turns at `turns` only.
    fn leaving(due: impl Iterator<Item = u64>, turns: impl Iterator<Item = u64>) -> Vec<(u64, u64)> {
        let (mut smoothing, mut waiting, mut left) = (Smoothing::default(), Vec::new(), Vec::new());
        let mut due = due.peekable();
        for at in turns {
            let now = Now::from_unix_ms(at);
            while let Some(turn) = due.next_if(|turn| *turn <= at) {
                waiting.push(turn);
                smoothing.note(1, now);
            }
            waiting.retain(|turn| {
                let leaves = smoothing.admits(1, now);
                left.extend(leaves.then_some((*turn, at)));
                !leaves
            });
        }
        left
    }

    /// Ten in a millisecond.
    fn even(from_ms: u64, to_ms: u64) -> impl Iterator<Item = u64> {
        (from_ms * 10..to_ms * 10).map(|n| n / 10)
    }

    fn ticks(to_ms: u64) -> impl Iterator<Item = u64> {
        (1..=to_ms / TICK_MS).map(|tick| tick * TICK_MS)
    }

    fn busiest_10_ms(left: &[(u64, u64)]) -> usize {
        let mut by_ms = vec![0; 5010];
        for (_, at) in left {
            by_ms[*at as usize] += 1;
        }
        by_ms[1500..].windows(10).map(|window| window.iter().sum()).max().unwrap_or(0)
    }

    #[test]
    fn what_a_late_shard_owes_is_spread_over_the_time_after() {
        let left = leaving(even(0, 2500), ticks(2500));
        assert_eq!(left.len(), 25_000);
        assert_eq!(busiest_10_ms(&left), 120, "three ticks");
        // It stands still for 40 ms, and once more soon after.
        let is_awake = |at: &u64| !(2000..2040).contains(at) && !(2060..2080).contains(at);
        let left = leaving(even(0, 2500), ticks(2500).filter(is_awake));
        assert_eq!(left.len(), 25_000);
        let busiest = busiest_10_ms(&left);
        assert!((150..=190).contains(&busiest), "{busiest} of 100");
        let last_late = left.iter().filter(|(turn, at)| at - turn > TICK_MS).map(|(_, at)| *at).max().unwrap();
        assert!((2080..=2330).contains(&last_late), "{last_late}");
    }

    #[test]
    fn a_number_that_rises_at_once_is_the_usual_one_soon() {
        let rising = even(0, 1000).filter(|n| n % 10 == 0).chain(even(1000, 5000));
        let left = leaving(rising, ticks(5000));
        let longest = left.iter().map(|(turn, at)| at - turn).max().unwrap();
        assert!((100..=500).contains(&longest), "{longest} ms");
        assert!(left.iter().filter(|(_, at)| *at >= 4000).all(|(turn, at)| at - turn <= TICK_MS));
    }

    #[test]
    fn nothing_waits_without_a_measure_nor_where_there_are_few() {
        let now = |ms: u64| Now::from_unix_ms(1_000_000 + ms);
        let mut smoothing = Smoothing::default();
        smoothing.note(9000, now(0));
        assert!((0..9000).all(|_| smoothing.admits(1, now(0))), "the first second is the measure");
        smoothing.note(5000, now(1000));
        let left = (0..5000).filter(|_| smoothing.admits(1, now(1000))).count();
        assert_eq!(left, 57, "5 ms of 9,000 a second and a quarter, and the one that is next");
        smoothing.note(20, now(5000));
        assert!((0..20).all(|_| smoothing.admits(1, now(5000))), "after a second without pings there is no measure");
        smoothing.note(4, now(6000));
        let left = (0..20).filter(|_| smoothing.admits(1, now(6000))).count();
        assert_eq!(left, 7, "as of 1,000 a second");
    }
}
