//! The shard's end of the global directory: which AoRs are at home at which node of the federation.
//!
//! # Contract
//! Out go *changes* ("this AoR is at home here now", or no longer) and *questions* ("whose home is this AoR?"), taken by
//! the runtime with [`Shard::next_change`](crate::Shard::next_change) and
//! [`Shard::next_question`](crate::Shard::next_question) when it has room for them. In come answers, by
//! [`Shard::handle_answer`](crate::Shard::handle_answer), and the pages of a reconcile, by
//! [`Shard::compare`](crate::Shard::compare) and [`Shard::walk`](crate::Shard::walk). Whoever keeps the store answers
//! each question once, late or not; nothing here waits for it: a request goes on at its own deadline with what is known.
//!
//! Without [`crate::settings::DirectorySettings`] there is none of it, and it costs nothing.
//!
//! Owned by one shard, never shared. An AoR belongs to one shard, so all questions for it meet here, and one question
//! answers them all. Bounded by [`crate::limits`]: changes (what does not fit is left to the next reconcile), questions
//! (a request that finds no room goes on as if the store were away) and remembered answers.
//!
//! # Rooms
//! - [`changes`]: AoRs whose row may have to change, each once.
//! - [`questions`]: which AoRs are being asked for, and who waits.
//! - [`link`]: the words of the shards and of the keeper for one another.
//! - [`mark`]: how nodes know each other's requests, wherever these come from.
//! - [`down`]: homes whose nodes are known to be down.
//! - [`memory`]: answers that are remembered, for seconds when nobody was found, for longer as a substitute while the
//!   store does not answer.
//!
//! What a request makes of an answer is the proxy's (`proxy::elsewhere`).

pub(crate) mod changes;
mod down;
mod link;
pub(crate) mod mark;
mod memory;
mod questions;

pub use link::{News, Order, ShardsLink};

use crate::keys::AorHash;
use crate::request::SIP_PORT;
use crate::settings::DirectorySettings;
use crate::silent::Silent;
use crate::time::Now;
use down::Down;
use mark::Mark;
use memory::Memory;
use questions::Questions;
use sipfed_sip::{Host, Uri, Via};
use std::net::{IpAddr, SocketAddr};

/// A question for the store.
#[derive(Debug, PartialEq, Eq)]
pub struct Question {
    /// Names the question in its answer.
    pub id: u64,
    /// The canonical AoR, without a scheme.
    pub aor: Box<[u8]>,
}

/// What the store has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The homes of the AoR, each as `address` or `address:port`; ours may be among them.
    Homes(&'a [Box<str>]),
    /// Nothing: it is away, failed, or too slow.
    Unknown,
}

/// Whether an AoR is at home here.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    /// The canonical AoR, without a scheme.
    pub aor: Box<[u8]>,
    /// Whether it has a binding here.
    pub is_home: bool,
}

/// Which AoRs [`Shard::walk`](crate::Shard::walk) gives as changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// All that are at home here, so that their rows are written anew.
    All,
    /// Those at home here that [`Shard::compare`](crate::Shard::compare) was not shown in this pass.
    Unseen(Pass),
}

/// The number of a reconcile; two that follow one another differ, and none is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass(pub std::num::NonZeroU8);

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Directory {
    /// As published.
    home: Box<str>,
    home_address: Option<IpAddr>,
    peers: Vec<Box<str>>,
    /// Sorted.
    peer_addresses: Vec<IpAddr>,
    /// `None` where nodes know each other by address alone.
    pub(crate) mark: Option<Mark>,
    deadline_ms: u32,
    /// How long another home may say nothing to an INVITE.
    pub(crate) home_timeout_ms: u32,
    ask_peers_max: usize,
    questions: Questions,
    memory: Memory,
    /// Homes that are left out for a while.
    pub(crate) silent: Silent,
    /// Homes that are left out until they are known to be up.
    pub(crate) down: Down,
}

impl Directory {
    pub(crate) fn new(settings: &DirectorySettings) -> Self {
        let mut directory = Self {
            home: bare(&settings.home).into(),
            home_address: address_of(&settings.home),
            peers: Vec::new(),
            peer_addresses: Vec::new(),
            mark: settings.secret.as_deref().map(Mark::new),
            deadline_ms: settings.lookup_deadline_ms,
            home_timeout_ms: settings.home_timeout_ms,
            ask_peers_max: usize::from(settings.ask_peers_max),
            questions: Questions::default(),
            memory: Memory::new(settings.negative_cache_ms, settings.stale_cache_s),
            silent: Silent::default(),
            down: Down::default(),
        };
        directory.set_peers(settings.peers.iter().map(String::as_str));
        directory
    }

    /// From now on these are the other nodes.
    pub(crate) fn set_peers<'a>(&mut self, peers: impl Iterator<Item = &'a str>) {
        self.peers = peers.map(|peer| bare(peer).into()).collect();
        self.peer_addresses = self.peers.iter().filter_map(|peer| address_of(peer)).collect();
        self.peer_addresses.sort_unstable();
        self.peer_addresses.dedup();
    }

    /// From now on these homes are known to be down. One that was, and is not named any more, is used at once.
    pub(crate) fn set_down<'a>(&mut self, homes: impl Iterator<Item = &'a str>) {
        let back = self.down.set(homes.filter_map(socket_address_of));
        self.silent.forget(&back);
    }

    /// Whether a request from `ip` comes from another node of the federation, which has asked the directory itself.
    pub(crate) fn is_peer(&self, ip: IpAddr) -> bool {
        self.peer_addresses.binary_search(&ip.to_canonical()).is_ok()
    }

    /// Whether a request with this topmost Via comes from another node, by what only nodes can know.
    pub(crate) fn is_marked(&self, via: &Via<'_>, call_id: &[u8]) -> bool {
        self.mark.as_ref().is_some_and(|mark| mark.is_on(via, call_id))
    }

    /// The address under which the others know this node.
    pub(crate) fn home_address(&self) -> Option<IpAddr> {
        self.home_address
    }

    /// When a request that begins to wait now goes on without an answer.
    pub(crate) fn deadline(&self, now: Now) -> Now {
        now.plus_ms(u64::from(self.deadline_ms))
    }

    /// Whether it is known that nobody but this node has the AoR.
    pub(crate) fn knows_nobody(&self, aor: AorHash, now: Now) -> bool {
        self.memory.is_nobody(aor, now)
    }

    /// Has the server transaction `waiting` wait for the homes of an AoR; `false` when no further question has room.
    pub(crate) fn ask(&mut self, aor: AorHash, text: Box<[u8]>, waiting: u32) -> bool {
        self.questions.ask(aor, text, waiting)
    }

    /// Whether somebody waits for the homes of this AoR already.
    pub(crate) fn is_asked(&self, aor: AorHash) -> bool {
        self.questions.is_open(aor)
    }

    /// How many questions wait to be taken.
    pub(crate) fn questions_count(&self) -> usize {
        self.questions.waiting()
    }

    pub(crate) fn next_question(&mut self) -> Option<Question> {
        self.questions.next()
    }

    /// Takes an answer in: who waited for it, and the homes that are not ours.
    pub(crate) fn answered(&mut self, aor: AorHash, answer: Answer<'_>, now: Now) -> (Vec<u32>, Option<Vec<Box<str>>>) {
        let homes = match answer {
            Answer::Homes(homes) => {
                let others = homes.iter().map(|home| bare(home)).filter(|home| **home != *self.home);
                let others: Vec<Box<str>> = others.map(Box::from).collect();
                self.memory.keep(aor, &others, now);
                Some(others)
            }
            Answer::Unknown => None,
        };
        (self.questions.close(aor), homes)
    }

    /// The homes to try while the store does not answer: those it named last, else the peers, each of which looks in its
    /// own bindings; and how many of them at most.
    pub(crate) fn substitute(&self, aor: AorHash, now: Now) -> (&[Box<str>], usize) {
        match self.memory.stale(aor, now) {
            Some(homes) => (homes, usize::MAX),
            None => (&self.peers, self.ask_peers_max),
        }
    }
}

/// A home as it is published, without the scheme that some write before it.
pub(crate) fn bare(home: &str) -> &str {
    let home = home.trim();
    let scheme = home.get(..4).filter(|scheme| scheme.eq_ignore_ascii_case("sip:"));
    scheme.map_or(home, |_| bare(&home[4..]))
}

/// A home as the URI that it is the next hop of.
pub(crate) fn uri_of(home: &str) -> String {
    let home = bare(home);
    // An address of IPv6 stands in brackets within a URI, and without them where it is published alone.
    match home.parse::<std::net::Ipv6Addr>() {
        Ok(ip) => format!("sip:[{ip}]"),
        Err(_) => format!("sip:{home}"),
    }
}

fn address_of(home: &str) -> Option<IpAddr> {
    socket_address_of(home).map(|addr| addr.ip())
}

fn socket_address_of(home: &str) -> Option<SocketAddr> {
    let uri = uri_of(home);
    let Ok(Uri::Sip(uri)) = Uri::parse(uri.as_bytes()) else { return None };
    match uri.host {
        Host::Ip(ip) => Some(SocketAddr::new(ip.to_canonical(), uri.port.unwrap_or(SIP_PORT))),
        Host::Name(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(home: &str, peers: &[&str]) -> Directory {
        Directory::new(&DirectorySettings {
            home: home.to_owned(),
            peers: peers.iter().map(|peer| (*peer).to_owned()).collect(),
            ..DirectorySettings::default()
        })
    }

    #[test]
    fn a_home_is_an_address_however_it_is_written() {
        for (home, uri) in [
            ("10.0.0.5", "sip:10.0.0.5"),
            ("10.0.0.5:5070", "sip:10.0.0.5:5070"),
            ("sip:10.0.0.5", "sip:10.0.0.5"),
            ("sip:SIP:10.0.0.5", "sip:10.0.0.5"),
            ("2001:db8::1", "sip:[2001:db8::1]"),
            ("[2001:db8::1]:5070", "sip:[2001:db8::1]:5070"),
        ] {
            assert_eq!(uri_of(home), uri);
            assert!(address_of(home).is_some(), "{home}");
        }
        assert_eq!(address_of("sip.example.com"), None);
        assert_eq!(address_of("a b"), None);
    }

    #[test]
    fn a_peer_is_known_by_its_address_in_either_family() {
        let directory = directory("10.0.0.1", &["10.0.0.5:5070", "2001:db8::1", "::ffff:10.0.0.6"]);
        for (ip, is_peer) in [("10.0.0.5", true), ("10.0.0.6", true), ("2001:db8::1", true), ("10.0.0.1", false)] {
            assert_eq!(directory.is_peer(ip.parse().unwrap()), is_peer, "{ip}");
        }
    }

    #[test]
    fn other_peers_take_the_place_of_those_before() {
        let mut directory = directory("10.0.0.1", &["10.0.0.5", "10.0.0.6"]);
        directory.set_peers(["sip:10.0.0.6", "10.0.0.7:5070"].into_iter());
        for (ip, is_peer) in [("10.0.0.5", false), ("10.0.0.6", true), ("10.0.0.7", true)] {
            assert_eq!(directory.is_peer(ip.parse().unwrap()), is_peer, "{ip}");
        }
        let (peers, _) = directory.substitute(AorHash(1), Now::from_unix_ms(1000));
        assert_eq!(peers, ["10.0.0.6".into(), "10.0.0.7:5070".into()]);
    }

    #[test]
    fn the_own_home_is_never_an_answer() {
        let mut directory = directory("10.0.0.1", &[]);
        let now = Now::from_unix_ms(1000);
        assert!(directory.ask(AorHash(1), Box::from(*b"a@b"), 7));
        assert_eq!(directory.next_question(), Some(Question { id: 1, aor: Box::from(*b"a@b") }));
        let homes = ["sip:10.0.0.1".into(), "10.0.0.2".into()];
        let (waiting, homes) = directory.answered(AorHash(1), Answer::Homes(&homes), now);
        assert_eq!((waiting, homes), (vec![7], Some(vec!["10.0.0.2".into()])));
        assert_eq!(directory.substitute(AorHash(1), now).0, ["10.0.0.2".into()]);
    }
}
