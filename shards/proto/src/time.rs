//! Time as a shard sees it: one number that never goes back.

use std::time::Duration;

/// Milliseconds since the Unix epoch, as the runtime says them.
///
/// The runtime takes the wall clock once at start and adds a monotonic clock to it, so that a step of the
/// wall clock neither expires bindings nor stops timers. Range: 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Now(u64);

impl Now {
    /// The instant that lies `ms` milliseconds behind the Unix epoch.
    pub const fn from_unix_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn unix_ms(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down; saturates in the year 2106.
    pub const fn unix_s(self) -> u32 {
        let s = self.0 / 1000;
        if s > u32::MAX as u64 { u32::MAX } else { s as u32 }
    }

    /// This instant moved by `ms` milliseconds into the future, saturating.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// This instant moved by `ms` milliseconds into the past, saturating.
    #[must_use]
    pub const fn before_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_sub(ms))
    }

    /// How long after `earlier` this is; zero when it is not.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}
