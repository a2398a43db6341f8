//! When the phones of a record are pinged.
//!
//! Time is cut into intervals, the same on every shard and node, and each AoR has its own moment in them, by its hash. So
//! pings are spread evenly however phones came, all at once after an outage as well, and a node that takes over from another
//! goes on in the same rhythm.

use crate::keys::AorHash;
use crate::time::Now;

/// See the module's documentation. The default has no turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rhythm {
    interval_ms: u32,
}

impl Rhythm {
    /// One that comes round in `interval_ms` milliseconds; 0 for never.
    pub(crate) fn new(interval_ms: u32) -> Self {
        Self { interval_ms }
    }

    /// Milliseconds from one turn of a record to its next.
    pub(crate) fn interval_ms(self) -> u32 {
        self.interval_ms
    }

    /// Where in an interval a record has its turn.
    fn phase_ms(self, hash: AorHash) -> u64 {
        // The low half: the high one says which shard has it.
        (u64::from(hash.0 as u32) * u64::from(self.interval_ms)) >> 32
    }

    /// The number of the interval in which `at` lies, for a record: it rises at each of its turns.
    pub(crate) fn turn(self, hash: AorHash, at: Now) -> u64 {
        let interval_ms = u64::from(self.interval_ms).max(1);
        (at.unix_ms() + interval_ms - self.phase_ms(hash)) / interval_ms
    }

    /// A record's first turn after `at`.
    pub(crate) fn next_turn(self, hash: AorHash, at: Now) -> Option<Now> {
        if self.interval_ms == 0 {
            return None;
        }
        let ms = self.turn(hash, at) * u64::from(self.interval_ms) + self.phase_ms(hash);
        Some(Now::from_unix_ms(ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_record_has_one_turn_in_an_interval_and_all_of_them_are_spread_evenly() {
        let rhythm = Rhythm::new(30_000);
        let start = Now::from_unix_ms(1_700_000_000_123);
        let mut windows = vec![0u32; 30];
        for n in 0..30_000u64 {
            let hash = AorHash(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let first = rhythm.next_turn(hash, start).unwrap();
            let wait_ms = first.unix_ms() - start.unix_ms();
            assert!((1..=30_000).contains(&wait_ms), "{wait_ms}");
            windows[(wait_ms - 1) as usize / 1000] += 1;
            let second = rhythm.next_turn(hash, first).unwrap();
            assert_eq!(second.unix_ms() - first.unix_ms(), 30_000);
            assert_eq!(rhythm.turn(hash, first), rhythm.turn(hash, start) + 1);
            assert_eq!(rhythm.turn(hash, Now::from_unix_ms(second.unix_ms() - 1)), rhythm.turn(hash, first));
        }
        assert!(windows.iter().all(|count| (900..1100).contains(count)), "{windows:?}");
        assert_eq!(Rhythm::default().next_turn(AorHash(7), start), None);
    }
}
