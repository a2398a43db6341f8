//! How often phones are pinged: as configured, or as often as the NATs of their network need it.
//!
//! # Contract
//! In go the answers to pings, each of which says that a mapping has held since the ping before, and *moves*: REGISTER requests
//! of a phone that has left its last ping without an answer and now comes from another port of the same address, so that
//! its mapping was gone. Out comes the time between two pings for an address.
//!
//! All phones of a network are taken to stand behind one kind of NAT (an IPv4 network of 24 bits, an IPv6 network of 56).
//! Where moves come to one in [`ANSWERS_PER_MOVE`] answers, the interval of a network is made shorter at once; after
//! [`ANSWERS_TO_LENGTHEN`] answers it is made longer, though only to three quarters of what was too long within [`CEILING_S`]:
//! after traffic a phone is spared a ping, so that its mapping may rest for one and a half intervals. A phone that
//! was restarted looks like a move, so one alone says nothing.
//!
//! Owned by one shard, which learns from its own phones. Bounds: the two configured ends; [`NETWORKS_COUNT_MAX`] networks, where
//! one that was not heard of for [`FORGOTTEN_S`] makes room, and one that finds none is pinged as configured.

use super::Rhythm;
use crate::location::{Ping, Record};
use crate::settings::PingSettings;
use crate::time::Now;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Networks of which something is learned.
const NETWORKS_COUNT_MAX: usize = 4096;
/// Seconds without news after which a network may be forgotten.
const FORGOTTEN_S: u32 = 3600;
/// Answers for which one move is none too many.
const ANSWERS_PER_MOVE: u32 = 20;
/// Moves below which they are taken for phones that were restarted.
const MOVES_MIN: u32 = 2;
/// Answers after which a longer interval is tried.
const ANSWERS_TO_LENGTHEN: u32 = 60;
/// Seconds for which an interval that was too long is not tried again.
const CEILING_S: u32 = 6 * 3600;

/// See the module's documentation. The default pings nobody.
#[derive(Debug, Default)]
pub(crate) struct Intervals {
    configured_ms: u32,
    min_ms: u32,
    max_ms: u32,
    networks: BTreeMap<IpAddr, Network>,
    /// When room was looked for last, in seconds since the Unix epoch.
    looked_for_room_at_s: u32,
}

/// What is known of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    interval_ms: u32,
    /// Since the interval was changed last.
    answers: u32,
    moves: u32,
    /// An interval that was too long, and when that was; 0 where there was none.
    ceiling_ms: u32,
    ceiling_at_s: u32,
    heard_at_s: u32,
}

/// What news has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// Pings of the network come more often.
    Shorter,
    /// They come less often.
    Longer,
}

impl Intervals {
    pub(crate) fn new(settings: &PingSettings) -> Self {
        let ms = |seconds: u32| seconds.saturating_mul(1000);
        let or_configured = |seconds| if seconds == 0 { settings.interval_s } else { seconds };
        Self {
            configured_ms: ms(settings.interval_s),
            min_ms: ms(or_configured(settings.interval_min_s).min(settings.interval_s)),
            max_ms: ms(or_configured(settings.interval_max_s).max(settings.interval_s)),
            ..Self::default()
        }
    }

    /// Whether anything is learned.
    pub(crate) fn is_learning(&self) -> bool {
        self.min_ms < self.max_ms && self.configured_ms > 0
    }

    /// Milliseconds from one ping of an address to the next.
    pub(crate) fn of(&self, ip: IpAddr) -> u32 {
        self.networks.get(&network(ip)).map_or(self.configured_ms, |network| network.interval_ms)
    }

    /// When a record is pinged: as often as that of its phones which needs it most.
    pub(crate) fn rhythm(&self, record: &Record) -> Rhythm {
        if self.networks.is_empty() {
            return Rhythm::new(self.configured_ms);
        }
        let pinged = record.bindings().filter(|b| b.flags().ping() != Ping::None && !b.flags().removed());
        let shortest = pinged.map(|b| self.of(b.remote().ip())).min();
        Rhythm::new(shortest.unwrap_or(self.configured_ms))
    }

    /// A phone at `ip` has answered a ping.
    pub(crate) fn answered(&mut self, ip: IpAddr, now: Now) -> Change {
        let (max_ms, now_s) = (self.max_ms, now.unix_s());
        let Some(known) = self.known(ip, now_s) else { return Change::None };
        known.answers += 1;
        if known.answers < ANSWERS_TO_LENGTHEN {
            return Change::None;
        }
        let has_ceiling = known.ceiling_ms > 0 && now_s < known.ceiling_at_s + CEILING_S;
        let ceiling_ms = if has_ceiling { known.ceiling_ms / 4 * 3 } else { max_ms };
        let longer_ms = (known.interval_ms + known.interval_ms / 4).min(max_ms).min(ceiling_ms);
        (known.answers, known.moves) = (0, 0);
        if longer_ms <= known.interval_ms {
            return Change::None;
        }
        known.interval_ms = longer_ms;
        Change::Longer
    }

    /// A phone whose ping was not answered has come from another port of `ip`.
    pub(crate) fn moved(&mut self, ip: IpAddr, now: Now) -> Change {
        let (min_ms, now_s) = (self.min_ms, now.unix_s());
        let Some(known) = self.known(ip, now_s) else { return Change::None };
        known.moves += 1;
        if known.moves < MOVES_MIN || known.moves * ANSWERS_PER_MOVE < known.answers {
            return Change::None;
        }
        (known.ceiling_ms, known.ceiling_at_s) = (known.interval_ms, now_s);
        (known.answers, known.moves) = (0, 0);
        let shorter_ms = (known.interval_ms / 5 * 3).max(min_ms);
        if shorter_ms >= known.interval_ms {
            return Change::None;
        }
        known.interval_ms = shorter_ms;
        Change::Shorter
    }

    /// What is known of the network of `ip`; `None` where nothing is learned, or no room is left.
    fn known(&mut self, ip: IpAddr, now_s: u32) -> Option<&mut Network> {
        if !self.is_learning() {
            return None;
        }
        let network_of = network(ip);
        if self.networks.len() >= NETWORKS_COUNT_MAX && !self.networks.contains_key(&network_of) {
            self.make_room(now_s)?;
        }
        let new = Network {
            interval_ms: self.configured_ms,
            answers: 0,
            moves: 0,
            ceiling_ms: 0,
            ceiling_at_s: 0,
            heard_at_s: now_s,
        };
        let known = self.networks.entry(network_of).or_insert(new);
        known.heard_at_s = now_s;
        Some(known)
    }

    /// Forgets networks that nothing is heard of, no more than once a minute; whether there is room then.
    fn make_room(&mut self, now_s: u32) -> Option<()> {
        if now_s < self.looked_for_room_at_s + 60 {
            return None;
        }
        self.looked_for_room_at_s = now_s;
        self.networks.retain(|_, network| now_s < network.heard_at_s + FORGOTTEN_S);
        (self.networks.len() < NETWORKS_COUNT_MAX).then_some(())
    }
}

/// The network of an address, as its first address.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => std::net::Ipv4Addr::from_bits(ip.to_bits() & !0xff).into(),
        IpAddr::V6(ip) => std::net::Ipv6Addr::from_bits(ip.to_bits() >> 72 << 72).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 7));
    const NEIGHBOUR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 200));
    const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 114, 7));

    fn between(min_s: u32, max_s: u32) -> Intervals {
        Intervals::new(&PingSettings {
            interval_s: 30,
            interval_min_s: min_s,
            interval_max_s: max_s,
            ..PingSettings::default()
        })
    }

    fn at(s: u32) -> Now {
        Now::from_unix_ms((1_700_000_000 + u64::from(s)) * 1000)
    }

    #[test]
    fn without_two_ends_nothing_is_learned() {
        let mut intervals = between(0, 0);
        for s in 0..1000 {
            assert_eq!((intervals.answered(PHONE, at(s)), intervals.moved(PHONE, at(s))), (Change::None, Change::None));
        }
        assert_eq!((intervals.of(PHONE), intervals.networks.len()), (30_000, 0));
    }

    #[test]
    fn moves_make_the_interval_of_their_network_shorter_down_to_the_least() {
        let mut intervals = between(10, 0);
        assert_eq!(intervals.moved(PHONE, at(0)), Change::None, "one may be a phone that was restarted");
        assert_eq!(intervals.moved(NEIGHBOUR, at(1)), Change::Shorter);
        assert_eq!((intervals.of(PHONE), intervals.of(STRANGER)), (18_000, 30_000));
        for s in 2..20 {
            intervals.moved(PHONE, at(s));
        }
        assert_eq!((intervals.of(PHONE), intervals.of(STRANGER)), (10_000, 30_000));
    }

    #[test]
    fn a_few_moves_among_many_answers_are_phones_that_were_restarted() {
        let mut intervals = between(10, 0);
        for s in 0..ANSWERS_TO_LENGTHEN - 1 {
            assert_eq!(intervals.answered(PHONE, at(s)), Change::None);
        }
        assert_eq!(intervals.moved(PHONE, at(60)), Change::None);
        assert_eq!(intervals.moved(PHONE, at(60)), Change::None);
        assert_eq!(intervals.of(PHONE), 30_000);
    }

    #[test]
    fn answers_make_it_longer_up_to_the_most_and_not_to_what_was_too_long() {
        let mut intervals = between(10, 120);
        let answer = |intervals: &mut Intervals, s: u32| {
            let changes: Vec<Change> = (0..ANSWERS_TO_LENGTHEN).map(|_| intervals.answered(PHONE, at(s))).collect();
            assert!(changes[..changes.len() - 1].iter().all(|change| *change == Change::None));
            changes[changes.len() - 1]
        };
        assert_eq!(answer(&mut intervals, 0), Change::Longer);
        assert_eq!(intervals.of(PHONE), 37_500);
        intervals.moved(PHONE, at(1));
        assert_eq!(intervals.moved(PHONE, at(1)), Change::Shorter);
        for s in 2..20 {
            answer(&mut intervals, s);
        }
        assert_eq!(intervals.of(PHONE), 28_125, "three quarters of what was too long");
        for s in 0..20 {
            answer(&mut intervals, s + 1 + CEILING_S);
        }
        assert_eq!(intervals.of(PHONE), 120_000);
    }

    #[test]
    fn networks_are_bounded_and_one_without_news_makes_room() {
        let mut intervals = between(10, 60);
        for n in 0..NETWORKS_COUNT_MAX as u32 {
            intervals.answered(std::net::Ipv4Addr::from_bits(n << 8).into(), at(0));
        }
        intervals.moved(PHONE, at(100));
        intervals.moved(PHONE, at(100));
        assert_eq!((intervals.of(PHONE), intervals.networks.len()), (30_000, NETWORKS_COUNT_MAX));
        intervals.moved(PHONE, at(FORGOTTEN_S));
        intervals.moved(PHONE, at(FORGOTTEN_S));
        assert_eq!((intervals.of(PHONE), intervals.networks.len()), (18_000, 1));
    }
}
