//! What the keeper takes from around it apart from its clock, which is that of tokio: the time on the wall, and chance.
//!
//! The daemon has both from the system. Who hands in others, and pauses tokio's clock, has a keeper that does the same each
//! time.

use crate::store::now_us;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

/// See the module's documentation.
#[derive(Clone)]
pub struct Ambient {
    wall_us: Arc<dyn Fn() -> i64 + Send + Sync>,
    seed: u64,
}

impl Ambient {
    /// `wall_us` tells microseconds since the Unix epoch; all that is left to chance comes from `seed`.
    pub fn new(wall_us: impl Fn() -> i64 + Send + Sync + 'static, seed: u64) -> Self {
        Self { wall_us: Arc::new(wall_us), seed }
    }

    pub(super) fn wall_us(&self) -> i64 {
        (self.wall_us)()
    }

    pub(super) fn chance(&self) -> Chance {
        Chance(self.seed)
    }
}

impl Default for Ambient {
    /// The system's.
    fn default() -> Self {
        Self::new(now_us, unforeseen())
    }
}

impl fmt::Debug for Ambient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ambient")
    }
}

/// A number that nobody outside of this process can know.
pub(super) fn unforeseen() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Numbers for pauses and for the choice of lanes, one after the other (splitmix64).
#[derive(Clone, Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let number = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ number >> 31
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_what_its_seed_makes_it() {
        let ambient = Ambient::new(|| 7, 1);
        let of = |mut chance: Chance| [chance.number(), chance.number()];
        assert_eq!(of(ambient.chance()), of(ambient.clone().chance()));
        assert_ne!(of(ambient.chance()), of(Chance::new(2)));
        assert_eq!(ambient.wall_us(), 7);
    }
}
