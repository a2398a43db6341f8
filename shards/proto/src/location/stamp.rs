//! When a binding was written, as a number that orders all writes of it on all nodes that hold it.
//!
//! # Contract
//! In goes the time of the node, once a turn at least, and every stamp that comes from elsewhere (a log, another node). Out
//! come stamps: each is later than all that this shard has given or seen. So what is written here after something was
//! learnt from another node is later than that, whatever the two clocks say (a hybrid logical clock). Stamps of two nodes
//! that know nothing of one another are ordered by their clocks.
//!
//! The time in milliseconds is the upper part, a count the lower one: [`COUNT_BITS`].

use crate::time::Now;

/// Bits of the count; what does not fit counts as time.
const COUNT_BITS: u32 = 20;

/// See the module's documentation. The topmost bit is never set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(u64);

impl Stamp {
    /// Before everything.
    pub const ZERO: Self = Self(0);

    /// From what [`Stamp::bits`] gave.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & (u64::MAX >> 1))
    }

    /// As a number.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The second that it was given in, since the Unix epoch, by the clock of who gave it.
    pub(crate) const fn unix_s(self) -> u32 {
        ((self.0 >> COUNT_BITS) / 1000) as u32
    }
}

/// Gives the stamps of a shard.
#[derive(Debug, Default)]
pub(crate) struct Stamps {
    now: Stamp,
    last: Stamp,
}

impl Stamps {
    /// It is `now`.
    #[inline]
    pub(crate) fn tick(&mut self, now: Now) {
        self.now = Stamp::from_bits(now.unix_ms() << COUNT_BITS);
    }

    /// This stamp was given elsewhere, or before.
    #[inline]
    pub(crate) fn see(&mut self, stamp: Stamp) {
        self.last = self.last.max(stamp);
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Stamp {
        self.last = Stamp::from_bits(self.last.0 + 1).max(self.now);
        self.last
    }

    /// What time it is, in seconds since the Unix epoch.
    pub(crate) fn now_s(&self) -> u32 {
        self.now.unix_s()
    }

    /// The latest one that was given or seen.
    pub(crate) fn last(&self) -> Stamp {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_later_than_all_that_were_seen() {
        let mut stamps = Stamps::default();
        stamps.tick(Now::from_unix_ms(1_700_000_000_123));
        let first = stamps.next();
        assert_eq!(first.unix_s(), 1_700_000_000);
        let second = stamps.next();
        assert!(second > first);
        // Another node's clock is ahead; ours is set back.
        let ahead = Stamp::from_bits(1_700_000_009_000 << COUNT_BITS);
        stamps.see(ahead);
        stamps.tick(Now::from_unix_ms(1_600_000_000_000));
        assert!(stamps.next() > ahead);
        assert_eq!(Stamp::from_bits(u64::MAX).bits() >> 63, 0);
    }
}
