//! What names have come to, for as long as it may be believed.
//!
//! An answer is believed for its TTL, at least [`TTL_S_MIN`] and at most `names.ttl_max_s`; that nobody could say, for
//! [`FAILED_MS`]. While nobody can say, servers that were known before are believed for [`STALE_S`] more (RFC 8767): they are
//! likelier to be right than nothing. Bounded by `names.cache_entries_max`; what was learnt longest ago makes room.

use super::NameKey;
use super::inquiry::{Resolved, Server};
use crate::keys::NumberHasher;
use crate::time::Now;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::hash::BuildHasherDefault;

/// Seconds for which an answer is believed at least: the message that waits for it finds it.
const TTL_S_MIN: u32 = 1;
/// Milliseconds for which a name that nobody could say anything of is not asked for again.
const FAILED_MS: u64 = 5_000;
/// Seconds for which servers are kept beyond their TTL, for use while nobody can say whether they are still right.
const STALE_S: u32 = 3600;

/// What a name has come to.
#[derive(Debug)]
pub(crate) enum Known {
    /// Never none.
    Servers(Box<[Server]>),
    /// It leads nowhere.
    Nothing,
    /// Nobody could say.
    Failed,
}

#[derive(Debug)]
struct Entry {
    known: Known,
    learnt_at: Now,
    until: Now,
    /// Until when servers may still be used where nobody can say more.
    stale_until: Now,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Cache {
    entries: HashMap<NameKey, Entry, BuildHasherDefault<NumberHasher>>,
    /// The first to be learnt first. One whose time is not that of its entry was learnt anew since.
    order: VecDeque<(Now, NameKey)>,
    entries_max: usize,
    ttl_s_max: u32,
}

impl Cache {
    pub(crate) fn new(entries_max: usize, ttl_s_max: u32) -> Self {
        Self { entries: HashMap::default(), order: VecDeque::new(), entries_max: entries_max.max(1), ttl_s_max }
    }

    /// What is known of a name, if that may be believed at `now`.
    pub(crate) fn get(&self, key: NameKey, now: Now) -> Option<&Known> {
        self.entries.get(&key).filter(|entry| now < entry.until).map(|entry| &entry.known)
    }

    /// What was known last, for who cannot wait.
    pub(crate) fn get_stale(&self, key: NameKey, now: Now) -> Option<&Known> {
        self.entries.get(&key).filter(|entry| now < entry.stale_until).map(|entry| &entry.known)
    }

    /// Takes in what a name has come to.
    pub(crate) fn keep(&mut self, key: NameKey, resolved: Resolved, now: Now) {
        let ms = |ttl_s: u32| u64::from(ttl_s.min(self.ttl_s_max).max(TTL_S_MIN)) * 1000;
        let (known, until) = match resolved {
            Resolved::Servers(servers, ttl_s) => (Known::Servers(servers.into()), now.plus_ms(ms(ttl_s))),
            Resolved::Nothing(ttl_s) => (Known::Nothing, now.plus_ms(ms(ttl_s))),
            Resolved::Failed => {
                let until = now.plus_ms(FAILED_MS);
                if let Some(entry) = self.entries.get_mut(&key)
                    && matches!(entry.known, Known::Servers(_))
                    && now < entry.stale_until
                {
                    entry.until = entry.until.max(until.min(entry.stale_until));
                    return;
                }
                (Known::Failed, until)
            }
        };
        let is_servers = matches!(known, Known::Servers(_));
        let stale_until = if is_servers { until.plus_ms(u64::from(STALE_S) * 1000) } else { until };
        while self.order.len() >= self.entries_max {
            self.forget_first();
        }
        self.entries.insert(key, Entry { known, learnt_at: now, until, stale_until });
        self.order.push_back((now, key));
    }

    /// Forgets everything but servers for use while nobody can say more.
    pub(crate) fn forget(&mut self) {
        self.entries.retain(|_, entry| matches!(entry.known, Known::Servers(_)));
        for entry in self.entries.values_mut() {
            entry.until = entry.learnt_at;
        }
    }

    fn forget_first(&mut self) {
        let Some((learnt_at, key)) = self.order.pop_front() else { return };
        if self.entries.get(&key).is_some_and(|entry| entry.learnt_at == learnt_at) {
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(ttl_s: u32) -> Resolved {
        let addresses = Box::new(["192.0.2.1".parse().unwrap()]);
        Resolved::Servers(vec![Server { transport: None, port: None, rank: 0, weight: 0, addresses }], ttl_s)
    }

    fn is_servers(known: Option<&Known>) -> bool {
        matches!(known, Some(Known::Servers(_)))
    }

    #[test]
    fn an_answer_is_believed_for_its_ttl_within_bounds() {
        let now = Now::from_unix_ms(1_000_000);
        for (ttl_s, believed_s) in [(0, 1), (1, 1), (30, 30), (60, 60), (86_400, 60)] {
            let mut cache = Cache::new(10, 60);
            cache.keep(NameKey(1), servers(ttl_s), now);
            assert!(is_servers(cache.get(NameKey(1), now.plus_ms(believed_s * 1000 - 1))), "{ttl_s}");
            assert!(cache.get(NameKey(1), now.plus_ms(believed_s * 1000)).is_none(), "{ttl_s}");
        }
        let mut cache = Cache::new(10, 60);
        cache.keep(NameKey(1), Resolved::Nothing(100), now);
        assert!(matches!(cache.get(NameKey(1), now.plus_ms(59_999)), Some(Known::Nothing)));
        assert!(cache.get(NameKey(1), now.plus_ms(60_000)).is_none());
        assert!(cache.get_stale(NameKey(1), now.plus_ms(60_000)).is_none(), "only servers are used beyond their time");
    }

    #[test]
    fn rfc8767_servers_that_were_known_stand_in_while_nobody_can_say() {
        let now = Now::from_unix_ms(1_000_000);
        let mut cache = Cache::new(10, 60);
        cache.keep(NameKey(1), servers(10), now);
        let later = now.plus_ms(20_000);
        assert!(cache.get(NameKey(1), later).is_none());
        cache.keep(NameKey(1), Resolved::Failed, later);
        assert!(is_servers(cache.get(NameKey(1), later.plus_ms(FAILED_MS - 1))));
        assert!(cache.get(NameKey(1), later.plus_ms(FAILED_MS)).is_none(), "then it is asked for again");
        let too_late = now.plus_ms(10_000 + u64::from(STALE_S) * 1000);
        cache.keep(NameKey(1), Resolved::Failed, too_late);
        assert!(matches!(cache.get(NameKey(1), too_late), Some(Known::Failed)));
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut cache = Cache::new(2, 60);
        for n in 1..=3 {
            cache.keep(NameKey(n), servers(60), Now::from_unix_ms(1000 + n as u64));
        }
        let now = Now::from_unix_ms(2000);
        assert!(cache.get(NameKey(1), now).is_none());
        assert!(is_servers(cache.get(NameKey(2), now)) && is_servers(cache.get(NameKey(3), now)));
        for n in 0..1000 {
            cache.keep(NameKey(3), servers(60), now.plus_ms(n));
        }
        assert!(cache.order.len() <= 2 && is_servers(cache.get(NameKey(3), now.plus_ms(1000))));
    }
}
