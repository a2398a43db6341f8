//! How many pings leave in a second, whatever is due.
//!
//! Each ping takes a place in a row of places that lie evenly apart. One whose place is near leaves at once, so that a late
//! turn of the shard is made up for; one whose place is further off waits for it.

use crate::time::Now;

/// Milliseconds that a ping may leave before its place.
const EARLY_MS: u64 = 20;

/// See the module's documentation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// Microseconds from one place to the next; 0 for no bound.
    apart_us: u64,
    /// The next place, in microseconds since the Unix epoch.
    next_us: u64,
}

/// What a ping is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It may leave.
    Now,
    /// It may leave then; the place is its own.
    At(Now),
    /// There is none before `until`.
    None,
}

impl Budget {
    /// For one of `shards_count` shards of a node that may send `per_s` pings in a second; 0 for any number.
    pub(super) fn new(per_s: u32, shards_count: u8) -> Self {
        let apart_us = u64::from(shards_count.max(1)) * 1_000_000;
        Self { apart_us: apart_us.checked_div(u64::from(per_s)).unwrap_or(0), next_us: 0 }
    }

    /// A place before `until` for `count` pings that leave together.
    pub(super) fn take(&mut self, count: u32, now: Now, until: Now) -> Place {
        if self.apart_us == 0 {
            return Place::Now;
        }
        let now_us = now.unix_ms() * 1000;
        let place_us = self.next_us.max(now_us);
        if place_us >= until.unix_ms() * 1000 {
            return Place::None;
        }
        self.next_us = place_us + self.apart_us * u64::from(count);
        if place_us <= now_us + EARLY_MS * 1000 { Place::Now } else { Place::At(Now::from_unix_ms(place_us / 1000)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_waits_in_its_order_and_what_finds_no_place_is_told() {
        let now = Now::from_unix_ms(1_000_000);
        let mut budget = Budget::new(200, 2);
        let places: Vec<Place> = (0..11).map(|_| budget.take(1, now, now.plus_ms(100))).collect();
        let at = |ms| Place::At(now.plus_ms(ms));
        let waiting = [30, 40, 50, 60, 70, 80, 90].map(at);
        assert_eq!(places[..3], [Place::Now; 3], "100 a second, and 20 ms ahead");
        assert_eq!(places[3..10], waiting);
        assert_eq!(places[10], Place::None);
        assert_eq!(budget.take(1, now.plus_ms(80), now.plus_ms(500)), Place::Now);
        // What was not used is gone: no burst follows a silence.
        let later = now.plus_ms(10_000);
        let count = (0..100).filter(|_| budget.take(1, later, later.plus_ms(5000)) == Place::Now).count();
        assert_eq!(count, 3);
        assert_eq!(Budget::new(0, 4).take(9, now, now), Place::Now);
        assert_eq!(budget.take(5, later.plus_ms(9000), later.plus_ms(9500)), Place::Now);
        assert_eq!(budget.take(1, later.plus_ms(9000), later.plus_ms(9500)), Place::At(later.plus_ms(9050)));
    }
}
