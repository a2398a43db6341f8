//! The deadlines of a shard: a hierarchical timer wheel.
//!
//! Levels of 64 slots; a slot of the lowest level is one tick of [`TICK_MS`] milliseconds, a slot of each other level as
//! long as four of the level below. A deadline stands in the lowest level that reaches it, so its slot is no longer than a
//! sixteenth of the time that was left. That bounds what has to be moved at once of deadlines that come
//! round evenly, such as pings. Scheduling and cancelling take constant time; a deadline moves down a few times before it
//! fires. A deadline fires at its tick or later, never earlier.
//!
//! Each entry belongs to whoever keeps its [`TimerId`]: it is gone once it fired or was cancelled. Moving a
//! crowded slot down is spread over calls by the budget of [`Wheel::advance`].

use crate::slab::Slab;
use crate::time::Now;
use std::num::NonZeroU32;

/// Milliseconds of one tick.
pub(crate) const TICK_MS: u64 = 4;
const SLOT_BITS: u32 = 6;
const SLOTS_COUNT: usize = 1 << SLOT_BITS;
/// By how much longer a slot is than one of the level below, in bits.
const LEVEL_BITS: u32 = 2;
const LEVELS_COUNT: usize = 14;
/// Ticks that the wheel can look ahead: more than the half of 32 bits that a deadline may be away.
const HORIZON_TICKS: u64 = (SLOTS_COUNT as u64 - 1) << (LEVEL_BITS * (LEVELS_COUNT as u32 - 1));
const _: () = assert!(HORIZON_TICKS > (u32::MAX >> 1) as u64);
const NONE: u32 = u32::MAX;
/// The place of entries that were taken out of their slot and wait to be fired or moved down.
const MOVING: u16 = (LEVELS_COUNT * SLOTS_COUNT) as u16;

/// An entry of the wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerId(NonZeroU32);

impl TimerId {
    // One more than the number, so that `None` costs nothing in the millions of records that may have a timer.
    fn of(id: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(id))
    }

    fn id(self) -> u32 {
        self.0.get() - 1
    }
}

/// What has become due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// A record of the location service.
    Record(u32),
    /// The phones of a record are to be pinged.
    Ping(u32),
    /// A server transaction and its response context.
    Server(u32),
    /// A client transaction.
    Client(u32),
    /// A question for a name.
    Name(u32),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    due: Due,
    /// The low 32 bits of the deadline in ticks.
    deadline: u32,
    next: u32,
    prev: u32,
    place: u16,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Wheel {
    entries: Slab<Entry>,
    heads: [u32; LEVELS_COUNT * SLOTS_COUNT + 1],
    occupied: [u64; LEVELS_COUNT],
    /// Every slot before this tick has been emptied.
    tick: u64,
}

impl Wheel {
    pub(crate) fn new(now: Now) -> Self {
        Self {
            entries: Slab::default(),
            heads: [NONE; LEVELS_COUNT * SLOTS_COUNT + 1],
            occupied: [0; LEVELS_COUNT],
            tick: now.unix_ms() / TICK_MS,
        }
    }

    /// The time of the tick that is at hand.
    pub(crate) fn now(&self) -> Now {
        Now::from_unix_ms(self.tick * TICK_MS)
    }

    /// How many deadlines there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// `due` will come out of [`Wheel::advance`] once `at` has been reached.
    pub(crate) fn schedule(&mut self, due: Due, at: Now) -> TimerId {
        let deadline = at.unix_ms().div_ceil(TICK_MS).clamp(self.tick, self.tick + u64::from(u32::MAX >> 1));
        let id = self.entries.insert(Entry { due, deadline: deadline as u32, next: NONE, prev: NONE, place: MOVING });
        self.link(id, deadline);
        TimerId::of(id)
    }

    /// The deadline is off. It must not have fired.
    pub(crate) fn cancel(&mut self, timer: TimerId) {
        debug_assert!(self.entries.get(timer.id()).is_some(), "a timer was cancelled after it fired");
        self.unlink(timer.id());
        self.entries.remove(timer.id());
    }

    /// When there is something to do; a time in the past when there is now.
    pub(crate) fn next_deadline(&self) -> Option<Now> {
        if self.heads[MOVING as usize] != NONE {
            return Some(Now::from_unix_ms(self.tick * TICK_MS));
        }
        self.next_slot().map(|(_, tick)| Now::from_unix_ms(tick * TICK_MS))
    }

    /// Gives the next thing that is due, or `None`. `budget` counts down with every entry that is looked at;
    /// at zero nothing more is given and [`Wheel::next_deadline`] lies in the past.
    pub(crate) fn advance(&mut self, now: Now, budget: &mut usize) -> Option<Due> {
        let now_tick = now.unix_ms() / TICK_MS;
        loop {
            while self.heads[MOVING as usize] != NONE {
                if *budget == 0 {
                    return None;
                }
                *budget -= 1;
                let id = self.heads[MOVING as usize];
                self.unlink(id);
                let entry = *self.entries.get(id).expect("a linked entry exists");
                let deadline = self.whole(entry.deadline);
                if deadline <= self.tick {
                    self.entries.remove(id);
                    return Some(entry.due);
                }
                self.link(id, deadline);
            }
            match self.next_slot() {
                Some((slot, tick)) if tick <= now_tick => {
                    self.tick = tick;
                    self.empty(slot);
                }
                _ => {
                    self.tick = self.tick.max(now_tick);
                    return None;
                }
            }
        }
    }

    /// The first occupied slot in time and the tick at which it begins.
    fn next_slot(&self) -> Option<(usize, u64)> {
        let occupied = self.occupied.iter().enumerate().filter(|(_, bits)| **bits != 0);
        let firsts = occupied.map(|(level, bits)| {
            let shift = LEVEL_BITS * level as u32;
            let here = self.tick >> shift;
            let slot = here + u64::from(bits.rotate_right((here % SLOTS_COUNT as u64) as u32).trailing_zeros());
            (level * SLOTS_COUNT + slot as usize % SLOTS_COUNT, (slot << shift).max(self.tick))
        });
        firsts.min_by_key(|(_, begin)| *begin)
    }

    /// Takes a slot's entries out as a whole.
    fn empty(&mut self, slot: usize) {
        let head = std::mem::replace(&mut self.heads[slot], NONE);
        self.occupied[slot / SLOTS_COUNT] &= !(1 << (slot % SLOTS_COUNT));
        self.heads[MOVING as usize] = head;
        // Only the place of the first is ever read while a list moves: unlinking another goes by its neighbours.
        if let Some(entry) = self.entries.get_mut(head) {
            entry.place = MOVING;
        }
    }

    fn whole(&self, deadline: u32) -> u64 {
        let ahead = deadline.wrapping_sub(self.tick as u32) as i32;
        self.tick.saturating_add_signed(i64::from(ahead))
    }

    fn link(&mut self, id: u32, deadline: u64) {
        let at = deadline.max(self.tick);
        let ahead = (at - self.tick) | (SLOTS_COUNT as u64 - 1);
        let mut level = (ahead.ilog2() + 1 - SLOT_BITS).div_ceil(LEVEL_BITS);
        // The slot at hand has begun before now: what is just within reach of a level may lie one slot behind its last.
        if (at >> (LEVEL_BITS * level)) - (self.tick >> (LEVEL_BITS * level)) == SLOTS_COUNT as u64 {
            level += 1;
        }
        let slot = (at >> (LEVEL_BITS * level)) as usize % SLOTS_COUNT;
        let level = level as usize;
        let place = level * SLOTS_COUNT + slot;
        self.occupied[level] |= 1 << slot;
        let head = std::mem::replace(&mut self.heads[place], id);
        let entry = self.entries.get_mut(id).expect("a linked entry exists");
        (entry.next, entry.prev, entry.place) = (head, NONE, place as u16);
        if let Some(next) = self.entries.get_mut(head) {
            next.prev = id;
        }
    }

    fn unlink(&mut self, id: u32) {
        let Some(&Entry { next, prev, place, .. }) = self.entries.get(id) else { return };
        if let Some(entry) = self.entries.get_mut(next) {
            entry.prev = prev;
            if prev == NONE {
                entry.place = place;
            }
        }
        if let Some(entry) = self.entries.get_mut(prev) {
            entry.next = next;
            return;
        }
        self.heads[place as usize] = next;
        if next == NONE && place != MOVING {
            self.occupied[place as usize / SLOTS_COUNT] &= !(1 << (place as usize % SLOTS_COUNT));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all_due(wheel: &mut Wheel, now: Now) -> Vec<u32> {
        let mut budget = usize::MAX;
        std::iter::from_fn(|| wheel.advance(now, &mut budget))
            .map(|due| match due {
                Due::Record(n) | Due::Ping(n) | Due::Server(n) | Due::Client(n) | Due::Name(n) => n,
            })
            .collect()
    }

    proptest! {
        /// Against a list of deadlines: nothing early, nothing late by more than a tick, nothing lost.
        #[test]
        fn fires_what_a_list_would(
            start in 0u64..1 << 42,
            delays in prop::collection::vec((0u64..40 * 24 * 3_600_000, any::<bool>()), 1..200),
            steps in prop::collection::vec(0u64..5 * 24 * 3_600_000, 1..40),
        ) {
            let mut now = Now::from_unix_ms(start);
            let mut wheel = Wheel::new(now);
            let mut expected: Vec<(u64, u32)> = Vec::new();
            for (n, &(delay, cancelled)) in delays.iter().enumerate() {
                // Short and long delays in equal parts.
                let delay = if n % 2 == 0 { delay % 40_000 } else { delay };
                let timer = wheel.schedule(Due::Record(n as u32), now.plus_ms(delay));
                if cancelled {
                    wheel.cancel(timer);
                } else {
                    expected.push((start + delay, n as u32));
                }
            }
            for step in steps {
                if let Some(next) = wheel.next_deadline() {
                    let first = expected.iter().map(|e| e.0).min().unwrap();
                    prop_assert!(next.unix_ms() <= first + TICK_MS);
                }
                now = now.plus_ms(step);
                let mut due = all_due(&mut wheel, now);
                due.sort_unstable();
                let now_ms = now.unix_ms();
                let must: Vec<u32> = expected.iter().filter(|e| e.0 + TICK_MS <= now_ms).map(|e| e.1).collect();
                for n in &must {
                    prop_assert!(due.binary_search(n).is_ok(), "{n} is late");
                }
                for n in &due {
                    let at = expected.iter().position(|e| e.1 == *n).expect("fires once");
                    prop_assert!(expected.remove(at).0 <= now_ms, "{n} is early");
                }
            }
            prop_assert_eq!(wheel.len(), expected.len());
        }
    }

    #[test]
    fn a_crowded_slot_is_moved_within_the_budget_of_each_call() {
        let start = Now::from_unix_ms(1_000_000);
        let mut wheel = Wheel::new(start);
        for n in 0..1000 {
            wheel.schedule(Due::Record(n), start.plus_ms(3_600_000));
        }
        let end = start.plus_ms(3_600_000 + TICK_MS);
        let (mut fired, mut calls) = (0, 0);
        while fired < 1000 {
            let mut budget = 100;
            fired += std::iter::from_fn(|| wheel.advance(end, &mut budget)).count();
            calls += 1;
            assert!(fired == 1000 || wheel.next_deadline().unwrap() <= end);
        }
        assert!(calls >= 10);
        assert_eq!(wheel.next_deadline(), None);
    }

    #[test]
    fn no_tick_has_to_move_much_of_what_comes_round_evenly() {
        const COUNT: u32 = 30_000;
        let mut now = Now::from_unix_ms(1_000_000);
        let (mut wheel, interval_ms) = (Wheel::new(now), 30_000);
        for n in 0..COUNT {
            wheel.schedule(Due::Ping(n), now.plus_ms(u64::from(n) * interval_ms / u64::from(COUNT)));
        }
        let mut looked_at_max = 0;
        for _ in 0..3 * interval_ms / TICK_MS {
            now = now.plus_ms(TICK_MS);
            let mut budget = usize::MAX;
            while let Some(due) = wheel.advance(now, &mut budget) {
                wheel.schedule(due, now.plus_ms(interval_ms));
            }
            looked_at_max = looked_at_max.max(usize::MAX - budget);
        }
        // What is due in a sixteenth of the interval, and a little.
        assert!(looked_at_max < COUNT as usize / 15, "{looked_at_max} in one tick");
    }

    #[test]
    fn what_moves_can_still_be_cancelled() {
        let start = Now::from_unix_ms(0);
        let mut wheel = Wheel::new(start);
        let timers: Vec<_> = (0..10).map(|n| wheel.schedule(Due::Record(n), start.plus_ms(10_000))).collect();
        let end = start.plus_ms(20_000);
        let mut budget = 3;
        assert_eq!(wheel.advance(start.plus_ms(9_999), &mut budget), None);
        let mut fired: Vec<u32> = Vec::new();
        let mut budget = 15;
        while let Some(Due::Record(n)) = wheel.advance(end, &mut budget) {
            fired.push(n);
        }
        for (n, timer) in timers.iter().enumerate() {
            if n % 2 == 0 && !fired.contains(&(n as u32)) {
                wheel.cancel(*timer);
            }
        }
        fired.extend(all_due(&mut wheel, end));
        for n in (1..10).step_by(2) {
            assert!(fired.contains(&n));
        }
        assert_eq!(wheel.len(), 0);
    }
}
