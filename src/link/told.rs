//! What the log was told of a moment ago, so that a stranger cannot fill it. Pure: time is handed in.
//!
//! Each address once a minute. Bounded by [`ADDRESSES_COUNT_MAX`]; who finds no room is not told of, and counted elsewhere.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// For how long an address is not told of again.
const SILENCE: Duration = Duration::from_mins(1);
/// Addresses that are remembered.
const ADDRESSES_COUNT_MAX: usize = 1024;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Told {
    at: HashMap<IpAddr, Instant>,
}

impl Told {
    /// Whether something of this address may be told now, which it then is.
    pub(super) fn may_tell(&mut self, ip: IpAddr, now: Instant) -> bool {
        let is_fresh = |at: &Instant| now.saturating_duration_since(*at) < SILENCE;
        if self.at.get(&ip).is_some_and(is_fresh) {
            return false;
        }
        if self.at.len() >= ADDRESSES_COUNT_MAX {
            self.at.retain(|_, at| is_fresh(at));
        }
        let has_room = self.at.len() < ADDRESSES_COUNT_MAX;
        if has_room {
            self.at.insert(ip, now);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_of_once_a_minute_and_the_old_make_room() {
        let (mut told, now) = (Told::default(), Instant::now());
        let ip = |n: usize| IpAddr::from([10, 0, (n >> 8) as u8, n as u8]);
        assert!(told.may_tell(ip(0), now));
        assert!(!told.may_tell(ip(0), now + SILENCE.mul_f64(0.999)));
        assert!(told.may_tell(ip(0), now + SILENCE));
        for n in 1..ADDRESSES_COUNT_MAX {
            assert!(told.may_tell(ip(n), now + SILENCE));
        }
        assert!(!told.may_tell(ip(ADDRESSES_COUNT_MAX), now + SILENCE));
        assert!(told.may_tell(ip(ADDRESSES_COUNT_MAX), now + 2 * SILENCE));
        assert_eq!(told.at.len(), 1);
    }
}
