//! One node: its shards, its logs, its replicator, and a model of what the daemon puts around them.
//!
//! In: datagrams, frames, answers of the store, what the kernel says of the address, commands, time. Out: what leaves, as [`Sent`]. The data plane
//! ([`Node::turn`]) and the control plane ([`Node::control`]) take their steps apart from one another, as in the daemon:
//! between them are bounded queues.

use crate::draw::mix;
use crate::flow::Tokens;
use crate::journal_log::Logs;
use crate::keepers::{Activity, Stir};
use crate::owner::Owner;
use crate::seat::{Incoming, Leaving, Seat, Turn};
use crate::shards_link::ShardsQueues;
use crate::world::Defect;
use sipfed_nodes::ownership::{Kept, Mode, Role};
use sipfed_proto::replica::Held;
use sipfed_proto::replica::frame::BadFrame;
use sipfed_proto::replica::session::{News, ReplicaSettings, Replicator};
use sipfed_proto::view::BindingView;
use sipfed_proto::{Now, Settings, ShardIndex, Source};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// When the simulation begins, in milliseconds since the Unix epoch.
pub(crate) const BEGINNING_MS: u64 = 1_700_000_000_000;
/// Datagrams that wait for a turn; the kernel drops one more.
const INBOX_COUNT_MAX: usize = 400;
/// What links have brought that waits for the replicator, as in the daemon.
pub(crate) const EVENTS_COUNT_MAX: usize = 32;
/// Orders that may wait for one shard, as in the daemon.
pub(crate) const ORDERS_COUNT_MAX: usize = 1024;

/// What does not change from life to life.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) home: usize,
    /// Its number in the cluster.
    pub(crate) number: u16,
    /// The number of the other node with its home.
    pub(crate) twin: Option<u16>,
    pub(crate) secret: [u8; 32],
    /// How far its clock is ahead of the slowest.
    pub(crate) skew_ms: u64,
    pub(crate) is_seed: bool,
    pub(crate) is_sync: bool,
    pub(crate) kept_bytes: usize,
    pub(crate) reports_count_max: usize,
    /// What decides whether it is active, where it has a twin.
    pub(crate) mode: Mode,
    /// When the simulation began, for machines that measure.
    pub(crate) began: Instant,
}

/// Something that leaves a node or happens there.
#[derive(Debug)]
pub(crate) enum Sent {
    Message(Leaving),
    Frame(Vec<u8>),
    News(News),
    Bad(BadFrame),
}

/// A node that runs.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) seats: Vec<Seat>,
    pub(crate) replicator: Replicator,
    pub(crate) directory: Arc<ShardsQueues>,
    /// To the keeper: whether the node is active and knows all.
    activity: watch::Sender<bool>,
    /// A defect that is planted for a test of the checkers: a passive node publishes as well.
    always_publishes: bool,
    /// What its shards call the connections of phones.
    pub(crate) tokens: Tokens,
    inbox: VecDeque<Incoming>,
    /// Frames that have come and have not been read.
    pub(crate) frames: VecDeque<Vec<u8>>,
    /// Of a node that has a twin.
    pub(crate) owner: Option<Owner>,
    /// The one that is in force.
    pub(crate) role: Role,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) identity: Identity,
    settings: Arc<Settings>,
    logs: Logs,
    /// What is on its disk of the roles that it has had.
    kept: Kept,
    pub(crate) life: Option<Life>,
    /// How many lives it has had.
    pub(crate) lives_count: u64,
    /// Another one whenever what it holds may be otherwise.
    pub(crate) version: u64,
    /// How many disks it has had.
    pub(crate) disks_count: u64,
    pub(crate) paused_until: u64,
    /// When its next turn is.
    pub(crate) turn_at: Option<u64>,
    pub(crate) is_control_due: bool,
    /// What is planted for a test of the checkers.
    defect: Defect,
}

impl Node {
    pub(crate) fn new(identity: Identity, settings: Settings, defect: Defect) -> Self {
        Self {
            identity,
            settings: Arc::new(settings),
            logs: Logs::default(),
            kept: Kept::default(),
            life: None,
            lives_count: 0,
            version: 0,
            disks_count: 0,
            paused_until: 0,
            turn_at: None,
            is_control_due: false,
            defect,
        }
    }

    /// What time it is here.
    pub(crate) fn now(&self, at: u64) -> Now {
        Now::from_unix_ms(BEGINNING_MS + at + self.identity.skew_ms)
    }

    /// Starts with these homes of others and with what its logs have, if they can be read; gives what its keeper follows, and whether there is no binding.
    pub(crate) fn start(
        &mut self,
        shards_count: u8,
        (has_address, peers): (bool, Vec<String>),
        at: u64,
        stir: &Stir,
    ) -> Result<(Activity, bool), String> {
        let now = self.now(at);
        if let Some(directory) = &mut Arc::make_mut(&mut self.settings).directory {
            directory.peers = peers;
        }
        let identity = &self.identity;
        let machines = self.logs.start(&self.settings, shards_count, identity.secret, identity.twin.is_some(), now);
        let machines = machines.map_err(|bad| format!("its log cannot be read: byte {} {}", bad.at, bad.what))?;
        self.lives_count += 1;
        self.version += 1;
        let settings = ReplicaSettings {
            node: identity.number,
            history: mix(u64::from(identity.number) << 32 | self.lives_count),
            shards: shards_count,
            is_seed: identity.is_seed,
            kept_bytes: identity.kept_bytes,
            ..ReplicaSettings::default()
        };
        // As in the daemon, by chance, so that none is that of another life.
        let first_generation =
            if self.defect == Defect::TokensRepeat { 1 } else { mix(settings.history) as u32 & 0x3fff_ffff };
        let twins: Vec<u16> = identity.twin.into_iter().collect();
        let mut replicator = Replicator::new(settings, &twins, now);
        if self.defect == Defect::TermsForget {
            self.kept = Kept::default();
        }
        let owner = identity.twin.map(|_| Owner::new(identity.number, identity.mode, self.kept, has_address));
        let role = owner.as_ref().map_or(Role::ALONE, |owner| owner.settle(&mut self.kept));
        replicator.set_role(role.is_active, role.term);
        let directory = ShardsQueues::new(usize::from(shards_count), stir.clone(), self.defect == Defect::RowsStay);
        let directory = Arc::new(directory);
        let is_empty = machines.iter().all(|machine| machine.bindings() == 0);
        let seat = |(index, machine)| Seat::new(machine, index, Arc::clone(&directory));
        let (activity, followed) = watch::channel(false);
        let life = Life {
            seats: machines.into_iter().enumerate().map(seat).collect(),
            replicator,
            directory,
            activity,
            always_publishes: self.defect == Defect::PassivePublish,
            tokens: Tokens::new(usize::from(shards_count), first_generation),
            inbox: VecDeque::new(),
            frames: VecDeque::new(),
            owner,
            role,
        };
        life.tell_activity();
        self.life = Some(life);
        Ok((Activity(followed), is_empty))
    }

    /// Its disk is replaced by an empty one. It does not run.
    pub(crate) fn lose_disk(&mut self) {
        self.logs = Logs::default();
        self.kept = Kept::default();
        self.disks_count += 1;
    }

    pub(crate) fn shards_count(&self) -> usize {
        self.life.as_ref().map_or(0, |life| life.seats.len())
    }

    /// A datagram has come; whether there was room for it.
    pub(crate) fn receive(&mut self, source: Source, bytes: Vec<u8>) -> bool {
        let Some(life) = &mut self.life else { return false };
        if life.inbox.len() >= INBOX_COUNT_MAX {
            return false;
        }
        life.inbox.push_back(Incoming::Message(source, bytes));
        true
    }

    /// Something of a connection has come, of which nothing is lost while the node runs.
    pub(crate) fn hear(&mut self, incoming: Incoming) {
        if let Some(life) = &mut self.life {
            life.inbox.push_back(incoming);
        }
    }

    /// The kernel says whether the host has the address of its home.
    pub(crate) fn hear_kernel(&mut self, has_address: bool) {
        self.decide(|owner, _| owner.hear_kernel(has_address), 0);
    }

    /// A hook of whoever moves the address says whether it is to be active.
    pub(crate) fn obey(&mut self, is_active: bool, at: u64) {
        self.decide(|owner, now| owner.obey(is_active, now), at);
    }

    fn decide(&mut self, tell: impl FnOnce(&mut Owner, Instant), at: u64) {
        let now = self.identity.began + Duration::from_millis(at);
        let Self { life, kept, .. } = self;
        let Some(life) = life else { return };
        if let Some(owner) = &mut life.owner {
            tell(owner, now);
        }
        life.settle(kept);
    }

    /// What is in force; `None` while it does not run.
    pub(crate) fn role(&self) -> Option<Role> {
        self.life.as_ref().map(|life| life.role)
    }

    /// A turn of every shard. Where it dies within, the shards from `torn_at` on do not get as far as their logs.
    pub(crate) fn turn(&mut self, at: u64, torn_at: Option<usize>) -> Vec<Sent> {
        let (now, expires_s_max) = (self.now(at), self.settings.registrar.max_expires_s);
        let Self { life, logs, identity, settings, defect, version, .. } = self;
        let Some(life) = life else { return Vec::new() };
        let count = life.seats.len();
        let mut received: Vec<Vec<_>> = (0..count).map(|_| Vec::new()).collect();
        for incoming in life.inbox.drain(..) {
            let shard = match &incoming {
                Incoming::Message(source, _) if source.flow.is_some() => source.flow.shard(),
                // The kernel chooses a socket by the sender.
                Incoming::Message(source, _) => ShardIndex((mix(u64::from(source.remote.port())) % count as u64) as u8),
                Incoming::Closed(flow) => flow.shard(),
                Incoming::NotSent(ticket) => ticket.shard(),
            };
            received[usize::from(shard.0)].push(incoming);
        }
        let pings_passively = *defect == Defect::PassivePing;
        let lacks_address = life.owner.as_ref().is_some_and(Owner::lacks_address) && !pings_passively;
        let mut sent = Vec::new();
        for (index, received) in received.into_iter().enumerate() {
            if torn_at.is_some_and(|torn| index > torn) {
                break;
            }
            let turn = Turn {
                now,
                shards_count: count,
                is_active: life.role.is_active || pings_passively,
                absent: settings.listeners.first().filter(|_| lacks_address).map(|listener| listener.addr.ip()),
                is_sync: identity.is_sync,
                expires_s_max,
                reports_count_max: identity.reports_count_max,
                is_torn: torn_at == Some(index),
                forgets_to_log: *defect == Defect::LogsForget,
            };
            let (leaving, letters) = life.seats[index].turn(received, &turn, &mut logs.0[index]);
            *version += u64::from(life.seats[index].has_written);
            sent.extend(leaving.into_iter().map(Sent::Message));
            for letter in letters {
                life.seats[letter.owner].letters.push_back(letter);
            }
        }
        sent
    }

    /// When a turn is owed next.
    pub(crate) fn next_turn(&self, at: u64) -> Option<u64> {
        let life = self.life.as_ref()?;
        if !life.inbox.is_empty() || life.seats.iter().any(|seat| !seat.is_idle()) {
            return Some(at + 1);
        }
        let here = BEGINNING_MS + self.identity.skew_ms;
        let deadline = life.seats.iter().filter_map(|seat| seat.machine.next_deadline()).min()?;
        Some(deadline.unix_ms().saturating_sub(here).max(at + 1))
    }

    /// A step of the control plane; `room` is what the link to the twin takes, `None` where it is down.
    pub(crate) fn control(&mut self, at: u64, room: Option<usize>) -> Vec<Sent> {
        let (now, twin, began) = (self.now(at), self.identity.twin, self.identity.began);
        let Self { life, kept, .. } = self;
        let Some(life) = life else { return Vec::new() };
        let mut sent = Vec::new();
        life.take_reports(now);
        if let Some(twin) = twin {
            while !life.replicator.is_congested()
                && let Some(frame) = life.frames.pop_front()
            {
                if let Err(bad) = life.replicator.receive(twin, &frame, now) {
                    sent.push(Sent::Bad(bad));
                    life.frames.clear();
                }
            }
        }
        life.replicator.handle_timeout(now);
        let news: Vec<News> = std::iter::from_fn(|| life.replicator.next_news()).collect();
        life.hear_claims(&news, began + Duration::from_millis(at), kept);
        life.give_orders();
        if let (Some(twin), Some(room)) = (twin, room) {
            let mut bytes = 0;
            while bytes < room
                && let Some(frame) = life.replicator.next_frame(twin)
            {
                bytes += frame.len();
                sent.push(Sent::Frame(frame));
            }
        }
        sent.extend(news.into_iter().map(Sent::News));
        life.tell_activity();
        sent
    }

    /// The digests of all leaves.
    pub(crate) fn digests(&self) -> Vec<u64> {
        let seats = self.life.iter().flat_map(|life| &life.seats);
        seats.flat_map(|seat| seat.machine.digests()).collect()
    }

    /// The bindings that can be called now.
    pub(crate) fn live(&self, at: u64) -> impl Iterator<Item = BindingView<'_>> {
        let now = self.now(at);
        let seats = self.life.iter().flat_map(|life| &life.seats);
        seats.flat_map(move |seat| seat.machine.live_bindings(now))
    }

    /// What it holds, removals that it remembers included, with their leaves.
    pub(crate) fn held(&self) -> Vec<(u16, Held)> {
        let seats = self.life.iter().flat_map(|life| &life.seats);
        let leaves = seats.flat_map(|seat| seat.machine.leaves().map(move |leaf| (seat, leaf)));
        leaves.flat_map(|(seat, leaf)| seat.machine.list(leaf).map(move |held| (leaf, held))).collect()
    }

    /// Generations of each log at most.
    pub(crate) fn generations_count(&self) -> usize {
        self.logs.0.iter().map(crate::journal_log::ShardLog::generations_count).max().unwrap_or(0)
    }
}

impl Life {
    fn take_reports(&mut self, now: Now) {
        for (index, seat) in self.seats.iter_mut().enumerate() {
            while let Some(report) = seat.reports.pop_front() {
                self.replicator.handle_report(index as u8, report, now);
            }
        }
    }

    /// What twins say of themselves goes to who decides what this node is.
    fn hear_claims(&mut self, news: &[News], now: Instant, kept: &mut Kept) {
        let Some(owner) = &mut self.owner else { return };
        for news in news {
            if let News::Claim { node, state } = news {
                owner.hear_twin(*node, state.term, state.is_active);
            }
        }
        owner.look(now);
        self.settle(kept);
    }

    /// Puts in force what the node has come to be.
    fn settle(&mut self, kept: &mut Kept) {
        let Some(owner) = &self.owner else { return };
        let role = owner.settle(kept);
        if role != self.role {
            self.role = role;
            self.replicator.set_role(role.is_active, role.term);
            self.tell_activity();
        }
    }

    fn give_orders(&mut self) {
        for (index, seat) in self.seats.iter_mut().enumerate() {
            while seat.orders.len() < ORDERS_COUNT_MAX
                && let Some(order) = self.replicator.next_order(index as u8)
            {
                seat.orders.push_back(order);
            }
            seat.released = self.replicator.released(index as u8);
        }
    }

    /// Has the keeper know whether the node is the active one of its home and knows all of it.
    fn tell_activity(&self) {
        let is_active = self.always_publishes || self.role.is_active && self.replicator.state().is_whole;
        self.activity.send_if_modified(|told| std::mem::replace(told, is_active) != is_active);
    }
}
