//! Next hops by name (RFC 3263): what names are known to lead to, and requests that wait for one.
//!
//! # Contract
//! A request whose way leads over a name that nobody knows is *parked* whole, as it came, before any transaction is made for
//! it. Out goes one [`Question`] a name, taken by the runtime with [`Shard::next_name`](crate::Shard::next_name); in comes
//! what the name has come to, once for each question, by [`Shard::handle_name`](crate::Shard::handle_name). Then the request
//! is handled from the beginning, and finds what it needs. A retransmission of a parked request is dropped; its CANCEL is
//! answered, and it is answered 487 (RFC 3261 §9.2).
//!
//! A request waits once, at most `names.timeout_ms`: what is not known then counts as not to be known. A registered contact
//! by name is then reached where it registered from; any other request is refused, 502 where the name leads nowhere, 504
//! where nobody could say (RFC 3261 §21.5.5). A question that is not answered in time stays open until it is, and meanwhile
//! nobody else waits for it.
//!
//! Without [`crate::settings::NameSettings`] there is none of it: a name leads nowhere.
//!
//! Owned by one shard, never shared. Bounded: what is known (`names.cache_entries_max`), questions that are open
//! (`names.questions_max`), parked messages and their bytes. A request that finds no room is answered 503, or goes to where
//! its contact registered from.
//!
//! # Rooms
//! - [`inquiry`]: the steps from a name to servers, for whoever has a resolver.
//! - [`cache`]: what names have come to.
//! - [`choice`]: the order in which servers are tried.
//! - [`parked`]: messages that wait.
//! - [`link`]: how questions and answers cross between a shard and whoever has a resolver.
//!
//! What a URI wants of its name, and what becomes of servers, is the proxy's (`proxy::next_hop`, `proxy::failover`).

mod cache;
mod choice;
mod inquiry;
mod link;
mod parked;

pub use inquiry::{
    ADDRESSES_COUNT_MAX, Found, Inquiry, Kind, Lookup, Naptr, Resolved, SERVERS_COUNT_MAX, SERVICES_COUNT_MAX, Server,
    Srv, Step, Wanted,
};
pub use link::NamesLink;

pub(crate) use choice::order;
pub(crate) use parked::Message as ParkedMessage;

use crate::hop::Source;
use crate::keys::{Keys, NumberHasher};
use crate::settings::NameSettings;
use crate::slab::Slab;
use crate::time::Now;
use crate::wheel::TimerId;
use arrayvec::ArrayVec;
use cache::{Cache, Known};
use hashbrown::HashMap;
use parked::{ParkedId, Parking};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// Bytes of a name (RFC 1035 §2.3.4).
const NAME_BYTES_MAX: usize = 253;

/// A question for whoever has a resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Names the question in its answer.
    pub id: u32,
    /// In lower case, without a last dot.
    pub name: Box<str>,
    /// What is wanted of it.
    pub wanted: Wanted,
}

/// A keyed hash over a name and what is wanted of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NameKey(u128);

impl Hash for NameKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0 as u64);
    }
}

/// Why a name leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unresolved {
    /// Names are not resolved here.
    Off,
    /// It is one of ours, so whoever is sent there comes back.
    Own,
    /// It has not been asked for yet.
    Unasked,
    /// It leads nowhere.
    Nothing,
    /// Nobody could say.
    NoAnswer,
    /// There was no room to ask.
    NoRoom,
}

/// How the message at hand takes a name that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// It may wait.
    MayWait,
    /// It has waited.
    HasWaited,
    /// There is no room for it to wait.
    NoRoom,
}

/// A question that is open.
#[derive(Debug)]
struct Open {
    key: NameKey,
    /// `None` once nobody waits any more.
    timer: Option<TimerId>,
    waiting: Vec<ParkedId>,
    /// Whether its time is over.
    is_overdue: bool,
}

/// A name that the message at hand needs and that nobody knows.
#[derive(Debug)]
struct Unasked {
    key: NameKey,
    name: Box<str>,
    wanted: Wanted,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Names {
    settings: NameSettings,
    now: Now,
    cache: Cache,
    open: Slab<Open>,
    by_key: HashMap<NameKey, u32, BuildHasherDefault<NumberHasher>>,
    /// Questions that have not been taken yet.
    queue: VecDeque<Question>,
    parking: Parking,
    /// Ways are looked for while all else is only read.
    unasked: RefCell<Vec<Unasked>>,
    patience: Patience,
}

impl Names {
    pub(crate) fn new(settings: &NameSettings, now: Now) -> Self {
        Self {
            settings: *settings,
            now,
            cache: Cache::new(settings.cache_entries_max as usize, settings.ttl_max_s),
            open: Slab::default(),
            by_key: HashMap::default(),
            queue: VecDeque::new(),
            parking: Parking::new(settings.parked_messages_max as usize),
            unasked: RefCell::default(),
            patience: Patience::MayWait,
        }
    }

    /// It is `now`.
    pub(crate) fn tick(&mut self, now: Now) {
        self.now = now;
    }

    /// The servers of a name, or why there are none. Where it was not asked for and the message at hand may wait, as
    /// `may_ask` says of this use of it, it is noted that it has to.
    pub(crate) fn servers(
        &self,
        keys: &Keys,
        name: &[u8],
        wanted: Wanted,
        may_ask: bool,
    ) -> Result<&[Server], Unresolved> {
        let name = name.strip_suffix(b".").unwrap_or(name);
        let mut folded: ArrayVec<u8, NAME_BYTES_MAX> = ArrayVec::new();
        if folded.try_extend_from_slice(name).is_err() {
            return Err(Unresolved::Nothing);
        }
        folded.make_ascii_lowercase();
        let kind = match wanted {
            Wanted::Addresses => [0, 0],
            Wanted::Service(transport) => [1, transport as u8],
            Wanted::Any { is_secured } => [2, u8::from(is_secured)],
        };
        let key = NameKey(keys.transaction(&[b"name", &folded, &kind]));
        let known = match self.patience {
            Patience::HasWaited => self.cache.get_stale(key, self.now).or_else(|| self.cache.get(key, self.now)),
            Patience::MayWait | Patience::NoRoom => self.cache.get(key, self.now),
        };
        match known {
            Some(Known::Servers(servers)) => return Ok(servers),
            Some(Known::Nothing) => return Err(Unresolved::Nothing),
            Some(Known::Failed) => return Err(Unresolved::NoAnswer),
            None => {}
        }
        let is_overdue = self.by_key.get(&key).and_then(|id| self.open.get(*id)).is_some_and(|open| open.is_overdue);
        match self.patience {
            _ if is_overdue => Err(Unresolved::NoAnswer),
            Patience::HasWaited => Err(Unresolved::NoAnswer),
            Patience::NoRoom => Err(Unresolved::NoRoom),
            Patience::MayWait => {
                let mut unasked = self.unasked.borrow_mut();
                if may_ask && unasked.iter().all(|other| other.key != key) {
                    // Letters, digits, hyphens, dots and underscores are all that the host of a URI has.
                    unasked.push(Unasked { key, name: String::from_utf8_lossy(&folded).into(), wanted });
                }
                Err(Unresolved::Unasked)
            }
        }
    }

    /// When it is, as far as is known here.
    pub(crate) fn now(&self) -> Now {
        self.now
    }

    /// Whether the message at hand needs a name that nobody knows.
    pub(crate) fn has_unasked(&self) -> bool {
        !self.unasked.borrow().is_empty()
    }

    /// It does not, after all.
    pub(crate) fn forget_unasked(&mut self) {
        self.unasked.get_mut().clear();
    }

    /// Whether the message at hand has waited.
    pub(crate) fn has_waited(&self) -> bool {
        self.patience == Patience::HasWaited
    }

    /// Until [`Names::has_handled`] the message at hand is one that has waited.
    pub(crate) fn handle_ready(&mut self) -> Option<ParkedMessage> {
        let message = self.parking.take_ready()?;
        self.patience = Patience::HasWaited;
        Some(message)
    }

    /// Until [`Names::has_handled`] the message at hand goes on without what it would have to wait for.
    pub(crate) fn handle_without_room(&mut self) {
        self.forget_unasked();
        self.patience = Patience::NoRoom;
    }

    /// The message at hand is done with.
    pub(crate) fn has_handled(&mut self) {
        self.forget_unasked();
        self.patience = Patience::MayWait;
    }

    /// Forgets what names have come to.
    pub(crate) fn forget(&mut self) {
        self.cache.forget();
    }

    /// Whether a parked message is ready to be handled.
    pub(crate) fn has_ready(&self) -> bool {
        self.parking.has_ready()
    }

    /// When a message that begins to wait now has waited long enough.
    pub(crate) fn deadline(&self) -> Now {
        self.now.plus_ms(self.settings.timeout_ms.into())
    }

    /// How many messages are parked.
    pub(crate) fn parked(&self) -> usize {
        self.parking.len()
    }

    /// Whether the message that would open the transaction of that key is parked.
    pub(crate) fn is_parked(&self, key: u128) -> bool {
        self.parking.find(key).is_some()
    }

    /// Takes that message out.
    pub(crate) fn take_parked(&mut self, key: u128) -> Option<ParkedMessage> {
        self.parking.find(key).and_then(|id| self.parking.take(id))
    }

    /// Has the message at hand wait for what it needs; `false` where there is no room. `schedule` is called for each
    /// question that is new, with its number.
    pub(crate) fn park(
        &mut self,
        key: u128,
        bytes: &[u8],
        source: Source,
        mut schedule: impl FnMut(u32) -> TimerId,
    ) -> bool {
        let unasked = std::mem::take(self.unasked.get_mut());
        let is_new = |unasked: &&Unasked| !self.by_key.contains_key(&unasked.key);
        let new_count = unasked.iter().filter(is_new).count();
        if !self.parking.has_room(bytes.len()) || self.open.len() + new_count > self.settings.questions_max as usize {
            return false;
        }
        let id = self.parking.add(key, ParkedMessage { bytes: bytes.into(), source }, unasked.len());
        for Unasked { key, name, wanted } in unasked {
            if let Some(open) = self.by_key.get(&key).and_then(|question| self.open.get_mut(*question)) {
                open.waiting.push(id);
                continue;
            }
            let question = self.open.insert(Open { key, timer: None, waiting: vec![id], is_overdue: false });
            self.by_key.insert(key, question);
            if let Some(open) = self.open.get_mut(question) {
                open.timer = Some(schedule(question));
            }
            self.queue.push_back(Question { id: question, name, wanted });
        }
        true
    }

    /// How many questions wait to be taken.
    pub(crate) fn questions_count(&self) -> usize {
        self.queue.len()
    }

    /// The question that waits longest to be taken.
    pub(crate) fn next_question(&mut self) -> Option<Question> {
        self.queue.pop_front()
    }

    /// Takes in what the name of a question has come to; gives the timer that is not needed any more.
    pub(crate) fn answered(&mut self, id: u32, resolved: Resolved) -> Option<TimerId> {
        let open = self.open.remove(id)?;
        self.by_key.remove(&open.key);
        self.cache.keep(open.key, resolved, self.now);
        for id in open.waiting {
            self.parking.answered(id);
        }
        open.timer
    }

    /// The time of a question is over: whoever waits for it goes on.
    pub(crate) fn overdue(&mut self, id: u32) {
        let Some(open) = self.open.get_mut(id) else { return };
        (open.timer, open.is_overdue) = (None, true);
        let (key, waiting) = (open.key, std::mem::take(&mut open.waiting));
        self.cache.keep(key, Resolved::Failed, self.now);
        for id in waiting {
            self.parking.answered(id);
        }
    }
}
