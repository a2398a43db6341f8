//! Answers of the store that are remembered.
//!
//! That nobody else has an AoR is believed for `negative_cache_ms`, which keeps calls to nobody, and scanners, away from
//! the store. Which homes an AoR had is remembered for `stale_cache_s`, and only used while the store does not answer.
//! Each is bounded by [`limits::ANSWERS_COUNT_MAX`]; the oldest makes room. Answers that name nobody stand apart from
//! those that name homes, so that a scanner pushes none of these out.

use crate::keys::{AorHash, NumberHasher};
use crate::limits;
use crate::time::Now;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::hash::BuildHasherDefault;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Memory {
    negative_ms: u64,
    stale_ms: u64,
    nobody: Remembered<()>,
    homes: Remembered<Box<[Box<str>]>>,
}

/// Values by AoR with the time that each was learnt, the oldest first in `order`.
#[derive(Debug)]
struct Remembered<T> {
    values: HashMap<AorHash, (Now, T), BuildHasherDefault<NumberHasher>>,
    /// An entry whose time is not that of the value is of a value that was learnt anew since.
    order: VecDeque<(Now, AorHash)>,
}

impl Memory {
    pub(crate) fn new(negative_cache_ms: u32, stale_cache_s: u32) -> Self {
        Self {
            negative_ms: u64::from(negative_cache_ms),
            stale_ms: u64::from(stale_cache_s) * 1000,
            nobody: Remembered::default(),
            homes: Remembered::default(),
        }
    }

    /// Remembers the homes of an AoR other than ours.
    pub(crate) fn keep(&mut self, aor: AorHash, homes: &[Box<str>], now: Now) {
        self.nobody.forget_older(self.negative_ms, now);
        self.homes.forget_older(self.stale_ms, now);
        if homes.is_empty() {
            self.homes.values.remove(&aor);
            if self.negative_ms > 0 {
                self.nobody.keep(aor, (), now);
            }
        } else {
            self.nobody.values.remove(&aor);
            if self.stale_ms > 0 {
                self.homes.keep(aor, homes.into(), now);
            }
        }
    }

    /// Whether nobody had the AoR a moment ago.
    pub(crate) fn is_nobody(&self, aor: AorHash, now: Now) -> bool {
        self.nobody.get(aor, self.negative_ms, now).is_some()
    }

    /// The homes that the AoR had when the store last answered.
    pub(crate) fn stale(&self, aor: AorHash, now: Now) -> Option<&[Box<str>]> {
        self.homes.get(aor, self.stale_ms, now).map(|homes| &**homes)
    }
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self { values: HashMap::default(), order: VecDeque::new() }
    }
}

impl<T> Remembered<T> {
    fn keep(&mut self, aor: AorHash, value: T, now: Now) {
        while self.order.len() >= limits::ANSWERS_COUNT_MAX {
            self.forget_first();
        }
        self.values.insert(aor, (now, value));
        self.order.push_back((now, aor));
    }

    fn get(&self, aor: AorHash, age_ms_max: u64, now: Now) -> Option<&T> {
        let (learnt, value) = self.values.get(&aor)?;
        (now < learnt.plus_ms(age_ms_max)).then_some(value)
    }

    fn forget_older(&mut self, age_ms_max: u64, now: Now) {
        while self.order.front().is_some_and(|(learnt, _)| learnt.plus_ms(age_ms_max) <= now) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some((learnt, aor)) = self.order.pop_front() else { return };
        if self.values.get(&aor).is_some_and(|(at, _)| *at == learnt) {
            self.values.remove(&aor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now::from_unix_ms(1_000_000 + ms)
    }

    #[test]
    fn nobody_is_believed_for_a_moment_and_homes_are_remembered_for_longer() {
        let mut memory = Memory::new(1000, 60);
        memory.keep(AorHash(1), &[], at(0));
        assert!(memory.is_nobody(AorHash(1), at(999)));
        assert!(!memory.is_nobody(AorHash(1), at(1000)));
        memory.keep(AorHash(1), &["a".into()], at(2000));
        assert!(!memory.is_nobody(AorHash(1), at(2000)));
        assert_eq!(memory.stale(AorHash(1), at(61_999)), Some(&["a".into()][..]));
        assert_eq!(memory.stale(AorHash(1), at(62_000)), None);
        memory.keep(AorHash(1), &[], at(3000));
        assert_eq!(memory.stale(AorHash(1), at(3000)), None, "the store knows better");
    }

    #[test]
    fn what_was_learnt_anew_is_not_forgotten_with_the_old() {
        let mut memory = Memory::new(1000, 60);
        memory.keep(AorHash(1), &["a".into()], at(0));
        memory.keep(AorHash(1), &["b".into()], at(30_000));
        memory.keep(AorHash(2), &["c".into()], at(70_000));
        assert_eq!(memory.stale(AorHash(1), at(70_000)), Some(&["b".into()][..]));
    }

    #[test]
    fn answers_are_bounded_and_a_scanner_pushes_no_home_out() {
        let mut memory = Memory::new(1000, 60);
        memory.keep(AorHash(0), &["a".into()], at(0));
        for n in 1..=limits::ANSWERS_COUNT_MAX as u64 + 10 {
            memory.keep(AorHash(n), &[], at(1));
        }
        assert_eq!(memory.nobody.values.len(), limits::ANSWERS_COUNT_MAX);
        assert!(!memory.is_nobody(AorHash(10), at(1)), "the oldest has made room");
        assert!(memory.stale(AorHash(0), at(1)).is_some());
    }
}
