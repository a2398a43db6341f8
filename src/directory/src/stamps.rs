//! The stamps of writes.

use super::ambient::Ambient;
use std::cell::Cell;

/// The time of writes in microseconds since the Unix epoch: each is later than the one before, whatever the clock does.
#[derive(Debug)]
pub(super) struct Stamps {
    ambient: Ambient,
    last: Cell<i64>,
}

impl Stamps {
    pub(super) fn new(ambient: &Ambient) -> Self {
        Self { ambient: ambient.clone(), last: Cell::new(0) }
    }

    pub(super) fn next(&self) -> i64 {
        let stamp = self.wall_us().max(self.last.get() + 1);
        self.last.set(stamp);
        stamp
    }

    /// What the clock on the wall says.
    pub(super) fn wall_us(&self) -> i64 {
        self.ambient.wall_us()
    }

    /// All that follow are later than this one.
    pub(super) fn pass(&self, stamp_us: i64) {
        self.last.set(self.last.get().max(stamp_us));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_rise_although_the_clock_may_not() {
        let stamps = Stamps::new(&Ambient::default());
        let first = stamps.next();
        assert!(stamps.next() > first);
        let ahead = stamps.wall_us() + 3_600_000_000;
        stamps.pass(ahead);
        assert_eq!(stamps.next(), ahead + 1);
        stamps.pass(first);
        assert_eq!(stamps.next(), ahead + 2);
    }
}
