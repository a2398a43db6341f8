//! Who sends what to whom when nodes back each other up: a pure machine for one node.
//!
//! # Contract
//! In: links that come and go, frames of other nodes, reports of this node's shards, and time. Out: frames
//! ([`Replicator::next_frame`], asked for while the link has room), orders for the shards ([`Replicator::next_order`]), how
//! much of each shard's journal all backups have ([`Replicator::released`]), and news for people
//! ([`Replicator::next_news`]). It belongs to the control plane of one node.
//!
//! # How two nodes come to hold the same
//! Each node sends its own journals to each backup, one stream for each of its shards. A part that was merged by all
//! shards of the backup is acknowledged. Where a link comes back, the backup says what it has; what follows is sent from
//! the latest parts, which are kept ([`ReplicaSettings::kept_bytes`]), or else the stream starts anew at its present end.
//!
//! At the start of a stream, and every [`ReplicaSettings::digest_interval_ms`] after, the digests of all leaves are sent
//! within it, so that both nodes compare what they hold after the same part. For each leaf that differs the backup sends
//! what it holds, and is sent what it lacks. This finds what was missed, by whatever cause; a new node misses everything,
//! so it is a full synchronization as well. It goes leaf by leaf, [`LEAVES_AT_ONCE`] at a time, so that a backup is given as
//! much as its shards have merged and written down; broken off anywhere, it goes on with the leaves that still differ. Once
//! nothing differs, and all of that is written down, the backup says that it is synchronized.
//!
//! # Who knows all
//! A node is *whole* when it may say that somebody is not registered: it has no backups, or it was synchronized by a backup
//! that is whole. A seed that finds no such backup for [`ReplicaSettings::seed_fallback_ms`] goes on with what it has. So
//! does the node with the lowest number where several wait for one another, once they hold the same.
//!
//! Bounds: what is kept, for each shard; [`SPARE_COUNT_MAX`] rooms of [`SPARE_BYTES_MAX`]; [`LEAVES_AT_ONCE`] leaves on
//! their way to a backup, for each of its shards; parts of a backup that are being merged are bounded by its link, which is
//! to be read only while [`Replicator::is_congested`] is false.

mod incoming;
mod outgoing;

use super::frame::{BadFrame, Frame, State};
use crate::keys;
use crate::replica::end::{Order, Report};
use crate::time::Now;
use incoming::{Incoming, Resumption};
use outgoing::{Outgoing, Stream};
use std::collections::{HashMap, VecDeque};

/// Leaves that a backup asks for at a time, of each shard.
const LEAVES_AT_ONCE: usize = 32;
/// Orders that may wait for one shard before links are read no more.
const ORDERS_COUNT_MAX: usize = 256;
/// Rooms for whole bindings that are kept, and bytes of each.
const SPARE_COUNT_MAX: usize = 128;
const SPARE_BYTES_MAX: usize = 256 << 10;
/// Milliseconds between two looks at what shards may forget.
const FORGET_INTERVAL_MS: u64 = 5_000;

/// How a node replicates.
#[derive(Clone, Debug)]
pub struct ReplicaSettings {
    /// This node's number.
    pub node: u16,
    /// Names this life of the node: drawn at random.
    pub history: u64,
    /// How many shards it has.
    pub shards: u8,
    /// Whether it may go on with what it has.
    pub is_seed: bool,
    /// Milliseconds that a seed looks for a backup that knows all.
    pub seed_fallback_ms: u64,
    /// Bytes of parts that are kept for a backup to resume, for each shard.
    pub kept_bytes: usize,
    /// Milliseconds between two comparisons.
    pub digest_interval_ms: u64,
    /// Milliseconds that a backup may leave a part unacknowledged before nobody waits for it any more.
    pub ack_timeout_ms: u64,
}

impl Default for ReplicaSettings {
    fn default() -> Self {
        Self {
            node: 1,
            history: 0,
            shards: 1,
            is_seed: false,
            seed_fallback_ms: 5_000,
            kept_bytes: 16 << 20,
            digest_interval_ms: 10_000,
            ack_timeout_ms: 1_000,
        }
    }
}

/// What a person may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The node knows all bindings of its home; from which node, where it was synchronized.
    Whole(Option<u16>),
    /// The journal of a shard is sent from its present end; what was before is compared.
    Restarted {
        /// To which backup.
        node: u16,
        /// Which shard of this node.
        shard: u8,
    },
    /// All of a backup's bindings are held here.
    Synchronized {
        /// With which one.
        node: u16,
        /// How many bindings were missing.
        bindings: u64,
    },
    /// A comparison has found differences where there should be none.
    Diverged {
        /// With which node.
        node: u16,
        /// How many bindings were missing here.
        bindings: u64,
    },
    /// An entry of a backup cannot be read here, as one of a newer version: what it says is missing until that is mended.
    Unreadable(u16),
    /// A backup does not acknowledge in time; nobody waits for it until it has caught up.
    Lagging(u16),
    /// It has caught up.
    CaughtUp(u16),
    /// A backup says something else of itself.
    Claim {
        /// Which one.
        node: u16,
        /// What it says.
        state: State,
    },
}

/// How a backup stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupReport {
    /// Which node.
    pub node: u16,
    /// Whether there is a link on which both have begun.
    pub is_connected: bool,
    /// What it says of itself.
    pub state: State,
    /// Parts that it has not acknowledged.
    pub lag_parts: u64,
    /// Bytes of these that are still kept.
    pub lag_bytes: usize,
    /// Whether it has told to hold all that this node holds.
    pub has_all: bool,
    /// Whether this node holds all that it holds.
    pub is_synchronized: bool,
    /// Leaves that are still to be compared here.
    pub leaves_left: usize,
    /// Bindings that the last comparison found missing here.
    pub divergence: u64,
    /// Bindings that comparisons have brought here so far.
    pub mended: u64,
}

/// What a report of a shard is about.
#[derive(Debug)]
enum Task {
    Part { node: u16, shard: u8, sequence: u64 },
    Whole { node: u16, shard: u8, round: u64 },
    OurDigests { node: u16, shard: u8 },
    Compare { node: u16, shard: u8, round: u64 },
    List { node: u16, shard: u8, round: u64 },
    Newer { node: u16, shard: u8, round: u64 },
}

/// An order that was given, to one shard or to several.
#[derive(Debug)]
struct Given {
    task: Task,
    shards_left: usize,
}

/// Another node with the same home.
#[allow(clippy::struct_excessive_bools, reason = "they are marks that have nothing to do with each other")]
#[derive(Debug, Default)]
struct Backup {
    node: u16,
    is_linked: bool,
    /// What it says of itself on its present link, once that has begun.
    peer: Option<State>,
    /// By shard of this node.
    outgoing: Vec<Outgoing>,
    /// By shard of the backup, kept from link to link.
    incoming: Vec<Incoming>,
    /// The history that `incoming` is of.
    history: u64,
    /// Frames that go first.
    control: VecDeque<Vec<u8>>,
    /// Bindings that it lacks.
    bulk: VecDeque<Vec<u8>>,
    is_lagging: bool,
    /// A comparison was asked for, and has not begun yet.
    is_asked_to_compare: bool,
    was_synchronized: bool,
    divergence: u64,
    mended: u64,
}

impl Backup {
    fn is_synchronized(&self) -> bool {
        self.peer.is_some() && !self.incoming.is_empty() && self.incoming.iter().all(Incoming::is_synchronized)
    }

    fn has_all(&self) -> bool {
        self.peer.is_some() && self.outgoing.iter().all(Outgoing::is_synced)
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Replicator {
    settings: ReplicaSettings,
    state: State,
    streams: Vec<Stream>,
    backups: Vec<Backup>,
    /// What earlier lives of the node have taken, once every shard has told it.
    resumption: Resumption,
    orders: Vec<VecDeque<Order>>,
    /// Rooms for whole bindings that come: shards give back what they have merged.
    spare: Vec<Vec<u8>>,
    given: HashMap<u64, Given>,
    next_ticket: u64,
    news: VecDeque<News>,
    /// Since when it has been waiting for somebody who knows all.
    waiting_since: Now,
    forget_at: Now,
}

impl Replicator {
    /// For a node that starts; `backups` are the numbers of the other nodes with its home.
    pub fn new(settings: ReplicaSettings, backups: &[u16], now: Now) -> Self {
        let shards = usize::from(settings.shards);
        let mut replicator = Self {
            state: State { is_whole: true, ..State::default() },
            streams: (0..shards).map(|_| Stream::new(settings.shards, settings.kept_bytes)).collect(),
            backups: Vec::new(),
            resumption: Resumption::new(shards),
            orders: (0..shards).map(|_| VecDeque::from([Order::TellPositions])).collect(),
            spare: Vec::new(),
            given: HashMap::new(),
            next_ticket: 1,
            news: VecDeque::new(),
            waiting_since: now,
            forget_at: now,
            settings,
        };
        replicator.set_backups(backups, now);
        replicator
    }

    /// From now on these are the other nodes with this home; links to others count as gone.
    pub fn set_backups(&mut self, nodes: &[u16], now: Now) {
        let had_backups = !self.backups.is_empty();
        let gone: Vec<u16> = self.backups.iter().map(|b| b.node).filter(|node| !nodes.contains(node)).collect();
        for node in gone {
            self.link_down(node);
            self.backups.retain(|backup| backup.node != node);
        }
        for node in nodes {
            if !self.backups.iter().any(|backup| backup.node == *node) {
                self.backups.push(Backup { node: *node, ..Backup::default() });
            }
        }
        let has_backups = !self.backups.is_empty();
        if had_backups != has_backups {
            self.order_all(&Order::KeepBackups(has_backups));
            if has_backups {
                self.waiting_since = now;
                self.state.is_whole = false;
                self.order_all(&Order::Whole(false));
            }
        }
        self.look_whether_whole(now);
    }

    /// A link to a backup has come up.
    pub fn link_up(&mut self, node: u16) {
        self.link_down(node);
        let (history, shards, state) = (self.settings.history, self.settings.shards, self.state);
        let Some(backup) = self.backup_mut(node) else { return };
        backup.is_linked = true;
        backup.control.push_back(Frame::Begin { history, shards, state }.write());
    }

    /// The link to a backup is gone.
    pub fn link_down(&mut self, node: u16) {
        self.given.retain(|_, given| match given.task {
            Task::Part { node: of, .. }
            | Task::Whole { node: of, .. }
            | Task::OurDigests { node: of, .. }
            | Task::Compare { node: of, .. }
            | Task::List { node: of, .. }
            | Task::Newer { node: of, .. } => of != node,
        });
        let shards = self.streams.len();
        let Some(backup) = self.backup_mut(node) else { return };
        backup.is_linked = false;
        backup.peer = None;
        backup.outgoing = (0..shards).map(|_| Outgoing::default()).collect();
        backup.incoming.iter_mut().for_each(Incoming::break_off);
        backup.control.clear();
        backup.bulk.clear();
        backup.is_lagging = false;
        backup.is_asked_to_compare = false;
        backup.was_synchronized = false;
        self.release();
    }

    /// Says to all backups whether this node owns its address, and in which term.
    pub fn set_role(&mut self, is_active: bool, term: u64) {
        self.state.is_active = is_active;
        self.state.term = term;
        self.tell_state();
    }

    /// Has what is held here compared with what each backup holds, now; how many backups that are.
    pub fn compare_now(&mut self) -> usize {
        let connected = self.backups.iter_mut().filter(|backup| backup.peer.is_some());
        connected.map(|backup| backup.control.push_back(Frame::Compare.write())).count()
    }

    /// Takes in a frame of a backup; a bad one means that its link is to be closed.
    pub fn receive(&mut self, node: u16, frame: &[u8], now: Now) -> Result<(), BadFrame> {
        let frame = Frame::read(frame)?;
        let Some(backup) = self.backup_mut(node) else { return Ok(()) };
        match frame {
            Frame::Begin { history, shards, state } => {
                if !backup.is_linked || backup.peer.is_some() {
                    return Err(BadFrame("begins where none may begin"));
                }
                self.begin(node, history, shards, state);
            }
            _ if backup.peer.is_none() => return Err(BadFrame("comes before the beginning")),
            Frame::State(state) => {
                backup.peer = Some(state);
                self.news.push_back(News::Claim { node, state });
            }
            Frame::Resume(positions) => self.resume(node, &positions, now),
            Frame::Taken { shard, sequence } => self.acknowledged(node, shard, sequence, now)?,
            Frame::Held { shard, round, leaf, held } => self.give_newer(node, shard, round, leaf, held)?,
            Frame::Synced { shard, round } => {
                self.outgoing_mut(node, shard)?.synced(round);
                self.release();
            }
            Frame::Start { shard, sequence } => self.start_anew(node, shard, sequence)?,
            Frame::Part { shard, sequence, journal } => self.take_part(node, shard, sequence, &journal)?,
            Frame::Digests { shard, sequence, round, first, digests } => {
                self.compare(node, shard, (round, sequence), first, digests)?;
            }
            Frame::Whole { shard, round, journal } => self.take_whole(node, shard, round, &journal)?,
            Frame::Compare => {
                for outgoing in &mut backup.outgoing {
                    outgoing.compare_by(now);
                }
                self.look_after_streams(now);
            }
            Frame::LeafDone { shard, round, count, .. } => self.leaf_done(node, shard, round, count)?,
        }
        self.look_whether_whole(now);
        Ok(())
    }

    /// Both have begun on a new link.
    fn begin(&mut self, node: u16, history: u64, shards: u8, state: State) {
        let resumption = &self.resumption;
        let Some(backup) = self.backups.iter_mut().find(|backup| backup.node == node) else { return };
        backup.peer = Some(state);
        if backup.history != history || backup.incoming.len() != usize::from(shards) {
            backup.history = history;
            backup.incoming = (0..shards).map(|shard| resumption.incoming(node, shard, history)).collect();
        }
        self.news.push_back(News::Claim { node, state });
        if self.resumption.is_known() {
            self.tell_what_is_taken(node);
        }
    }

    fn tell_what_is_taken(&mut self, node: u16) {
        let Some(backup) = self.backup_mut(node) else { return };
        let taken = |(shard, incoming): (usize, &Incoming)| Some((shard as u8, incoming.taken?));
        let history = backup.history;
        let positions = backup.incoming.iter().enumerate().filter_map(taken);
        let positions = positions.map(|(shard, sequence)| (shard, history, sequence)).collect();
        backup.control.push_back(Frame::Resume(positions).write());
    }

    /// Takes in what a shard has done.
    pub fn handle_report(&mut self, shard: u8, report: Report, now: Now) {
        match report {
            Report::Positions(positions) => {
                if self.resumption.told(shard, positions) {
                    for index in 0..self.backups.len() {
                        let (node, history) = (self.backups[index].node, self.backups[index].history);
                        if self.backups[index].peer.is_some() {
                            for (shard, incoming) in self.backups[index].incoming.iter_mut().enumerate() {
                                *incoming = self.resumption.incoming(node, shard as u8, history);
                            }
                            self.tell_what_is_taken(node);
                        }
                    }
                }
            }
            Report::Part { sequence, stamp, journal } => {
                self.streams[usize::from(shard)].push(sequence, stamp, journal);
            }
            Report::Lost { sequence, stamp } => self.lost(shard, sequence, stamp),
            Report::Merged { ticket, is_good, gaps, spent } => {
                self.keep_spare(spent);
                self.merged(ticket, is_good, gaps > 0);
            }
            Report::Digests { ticket, sequence, stamp, digests } => {
                self.digests_told(shard, ticket, (sequence, stamp), digests);
            }
            Report::List { ticket, leaf, held } => {
                if let Some(Task::List { node, shard, round }) = self.done(ticket)
                    && let Some(backup) = self.backup_mut(node)
                {
                    backup.control.push_back(Frame::Held { shard, round, leaf, held }.write());
                }
            }
            Report::Newer { ticket, leaf, journal, done } => self.newer_told(ticket, leaf, &journal, done),
        }
        self.look_whether_whole(now);
    }

    /// Does what has become due; to be called every [`Replicator::INTERVAL_MS`] or so.
    pub fn handle_timeout(&mut self, now: Now) {
        self.look_after_streams(now);
        if self.forget_at <= now {
            self.forget_at = now.plus_ms(FORGET_INTERVAL_MS);
            self.tell_what_backups_have();
        }
        self.look_whether_whole(now);
    }

    /// Milliseconds between two calls of [`Replicator::handle_timeout`].
    pub const INTERVAL_MS: u64 = 50;

    /// The next order for a shard.
    pub fn next_order(&mut self, shard: u8) -> Option<Order> {
        self.orders[usize::from(shard)].pop_front()
    }

    /// The next thing that a person may want to know.
    pub fn next_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// Whether links of backups are to be left alone until shards have caught up.
    pub fn is_congested(&self) -> bool {
        self.orders.iter().any(|orders| orders.len() > ORDERS_COUNT_MAX)
    }

    /// Whether whole bindings are under way, in either direction, so that each answer brings the next question.
    pub fn is_mending(&self) -> bool {
        let is_one = |backup: &Backup| backup.incoming.iter().any(Incoming::is_mending) || !backup.bulk.is_empty();
        self.backups.iter().any(is_one) || self.given.values().any(|given| matches!(given.task, Task::Newer { .. }))
    }

    /// What this node says of itself.
    pub fn state(&self) -> State {
        self.state
    }

    /// How the backups stand.
    pub fn reports(&self) -> Vec<BackupReport> {
        let report = |backup: &Backup| {
            let lags = self.streams.iter().zip(&backup.outgoing).map(|(stream, outgoing)| stream.lag(outgoing));
            let (lag_parts, lag_bytes) = lags.fold((0, 0), |sum, lag| (sum.0 + lag.0, sum.1 + lag.1));
            BackupReport {
                node: backup.node,
                is_connected: backup.peer.is_some(),
                state: backup.peer.unwrap_or_default(),
                lag_parts,
                lag_bytes,
                has_all: backup.has_all(),
                is_synchronized: backup.is_synchronized(),
                leaves_left: backup.incoming.iter().map(Incoming::leaves_left).sum(),
                divergence: backup.divergence,
                mended: backup.mended,
            }
        };
        self.backups.iter().map(report).collect()
    }

    fn look_whether_whole(&mut self, now: Now) {
        if self.state.is_whole {
            return;
        }
        let is_done = |backup: &&Backup| backup.is_synchronized();
        let knows_all = |backup: &&Backup| backup.peer.is_some_and(|state| state.is_whole);
        let source = self.backups.iter().filter(is_done).find(knows_all).map(|backup| backup.node);
        if self.backups.is_empty() || source.is_some() {
            return self.become_whole(source);
        }
        if self.backups.iter().any(|backup| knows_all(&backup)) {
            // One that knows all is at work.
            self.waiting_since = now;
        }
        if now < self.waiting_since.plus_ms(self.settings.seed_fallback_ms) {
            return;
        }
        let connected = || self.backups.iter().filter(|backup| backup.peer.is_some());
        let is_first = connected().all(|backup| self.settings.node < backup.node);
        let is_agreed = connected().count() > 0 && connected().all(Backup::is_synchronized);
        if self.settings.is_seed || is_first && is_agreed {
            self.become_whole(None);
        }
    }

    fn become_whole(&mut self, source: Option<u16>) {
        self.state.is_whole = true;
        self.order_all(&Order::Whole(true));
        self.news.push_back(News::Whole(source));
        self.tell_state();
    }

    fn tell_state(&mut self) {
        let frame = Frame::State(self.state).write();
        for backup in self.backups.iter_mut().filter(|backup| backup.is_linked) {
            backup.control.push_back(frame.clone());
        }
    }

    fn order_all(&mut self, order: &Order) {
        for orders in &mut self.orders {
            orders.push_back(order.clone());
        }
    }

    /// Names an order that `shards` are given.
    fn ticket(&mut self, task: Task, shards: usize) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.given.insert(ticket, Given { task, shards_left: shards });
        ticket
    }

    /// A shard has reported an order: what it was about, once all have; `None` also where its link is gone.
    fn done(&mut self, ticket: u64) -> Option<Task> {
        let given = self.given.get_mut(&ticket)?;
        given.shards_left = given.shards_left.saturating_sub(1);
        if given.shards_left > 0 {
            return None;
        }
        self.given.remove(&ticket).map(|given| given.task)
    }

    fn backup_mut(&mut self, node: u16) -> Option<&mut Backup> {
        self.backups.iter_mut().find(|backup| backup.node == node)
    }

    fn outgoing_mut(&mut self, node: u16, shard: u8) -> Result<&mut Outgoing, BadFrame> {
        let backup = self.backup_mut(node).ok_or(BadFrame("is of no backup"))?;
        backup.outgoing.get_mut(usize::from(shard)).ok_or(BadFrame("names a shard that this node does not have"))
    }

    fn incoming_mut(&mut self, node: u16, shard: u8) -> Result<&mut Incoming, BadFrame> {
        let backup = self.backup_mut(node).ok_or(BadFrame("is of no backup"))?;
        backup.incoming.get_mut(usize::from(shard)).ok_or(BadFrame("names a shard that its sender does not have"))
    }

    /// The shard of this node that a leaf belongs to.
    fn owner(&self, leaf: u16) -> u8 {
        keys::shard_of(leaf, self.streams.len() as u8)
    }
}
