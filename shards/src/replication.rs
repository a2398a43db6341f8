//! Between the shards and whoever speaks with the nodes that back this one up, in the control plane.
//!
//! # Contract
//! To a shard: [`Order`]s. From a shard: [`Report`]s, in the order they were made, among them what each turn has written
//! down ([`Report::Part`]). One bounded queue for each of the two, for each shard, and a number: up to which part nobody has
//! to be waited for any more ([`ReplicaLink::release`]). Neither side ever waits for the other. A shard that finds its queue
//! full keeps what it owes as an answer, carries out no further order, and gives up parts; that it has, it says as soon as
//! there is room ([`Report::Lost`]), and a comparison finds what was in them.
//!
//! That something was merged is told once the log has it, durable in the configured sense, like a promise to a phone: the
//! other node relies on it. While the log has no room for more ([`crate::persistence`]), what other nodes send stays in the
//! queue of orders, which makes them wait as well.
//!
//! Where the node is to promise only what a backup has ([`ReplicationOptions::is_sync`]), a reply waits here for its part
//! to be released, after it has waited for the log.
//!
//! Bounds: [`ORDERS_COUNT_MAX`], [`REPORTS_COUNT_MAX`] and [`HELD_COUNT_MAX`] for each shard; a turn carries out
//! [`ORDERS_PER_TURN_MAX`] orders, and fewer once they have merged or copied [`BYTES_PER_TURN_MAX`].

use crate::mesh::Mesh;
use crate::persistence::{Held, ShardLog};
use crate::wake::{Alarm, Wake};
use crossbeam::queue::ArrayQueue;
use sipfed_proto::replica::end::{Order, ReplicaEnd, Report};
use sipfed_proto::{Now, Outbox, Shard, ShardIndex, Ticket};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Orders that wait to be taken by one shard.
const ORDERS_COUNT_MAX: usize = 1024;
/// Reports of one shard that wait to be taken by the control plane.
const REPORTS_COUNT_MAX: usize = 4096;
/// Reports that a shard keeps while their queue is full; further parts are given up. The answers to the orders of one turn
/// come on top.
const OWED_COUNT_MAX: usize = 1024;
/// Replies of one shard that may wait for a backup; one more is dropped, and its phone repeats itself.
const HELD_COUNT_MAX: usize = 65_536;
/// Orders that a shard carries out in one turn.
const ORDERS_PER_TURN_MAX: usize = 64;
/// Bytes of entries that a turn's orders may have merged or copied before no more of them is carried out.
const BYTES_PER_TURN_MAX: usize = 64 << 10;
/// The same while phones are being served, who wait for as long as that takes: what the bindings of one leaf are.
const BYTES_PER_SERVING_TURN_MAX: usize = 32 << 10;
/// What telling that one binding is held counts for, in bytes.
const LISTED_BYTES: usize = 64;
/// The ticket of an order whose report nobody waits for.
const NOBODY: u64 = 0;

/// How the bindings of a node are replicated.
#[derive(Clone, Debug)]
pub struct ReplicationOptions {
    /// How the control plane is woken when a shard has something for it.
    pub wake: Wake,
    /// Whether a registration is promised only once a backup has it, as long as there is one that keeps up.
    pub is_sync: bool,
    /// What hashes, contact ids and GRUUs come from: equal on all nodes with this home.
    pub secret: [u8; 32],
}

/// The queues of one shard.
#[derive(Debug)]
struct Queues {
    orders: ArrayQueue<Order>,
    reports: ArrayQueue<Report>,
    /// The last part that no reply has to wait for.
    released: AtomicU64,
}

/// The queues of all shards; the control plane's end, which is for any one thread.
#[derive(Debug)]
pub struct ReplicaLink {
    queues: Box<[Queues]>,
    mesh: Arc<Mesh>,
    alarm: Alarm,
    is_sync: bool,
}

impl ReplicaLink {
    pub(crate) fn new(mesh: Arc<Mesh>, shards_count: usize, wake: Wake, is_sync: bool) -> Self {
        let queues = |_| Queues {
            orders: ArrayQueue::new(ORDERS_COUNT_MAX),
            reports: ArrayQueue::new(REPORTS_COUNT_MAX),
            released: AtomicU64::new(u64::MAX),
        };
        Self { queues: (0..shards_count).map(queues).collect(), mesh, alarm: Alarm::new(wake), is_sync }
    }

    /// How many shards there are.
    pub fn shards_count(&self) -> usize {
        self.queues.len()
    }

    /// To be called before all queues are looked into: whatever comes from now on wakes again.
    pub fn look(&self) {
        self.alarm.look();
    }

    /// The next report of a shard.
    pub fn take_report(&self, shard: usize) -> Option<Report> {
        self.mesh.take_from(ShardIndex(shard as u8), &self.queues[shard].reports)
    }

    /// Gives a shard an order; gives it back when there is no room. The shard does not notice before it is rung.
    pub fn put(&self, shard: usize, order: Order) -> Result<(), Order> {
        self.queues[shard].orders.push(order)
    }

    /// Has a shard look after its orders.
    pub fn ring(&self, shard: usize) {
        self.mesh.bell(ShardIndex(shard as u8)).ring();
    }

    /// Nobody has to be waited for any more for parts up to `sequence`.
    pub fn release(&self, shard: usize, sequence: u64) {
        // A release publishes nothing but itself; the bell's fences order it with the shard's going to sleep.
        let before = self.queues[shard].released.swap(sequence, Ordering::Relaxed);
        if self.is_sync && before != sequence {
            self.ring(shard);
        }
    }
}

/// One shard's end.
pub(crate) struct ReplicaPort {
    link: Arc<ReplicaLink>,
    shard: usize,
    end: ReplicaEnd,
    /// Answers that there was no room for.
    owed: VecDeque<Report>,
    /// What this turn has merged.
    merged: Vec<Report>,
    /// An order that the log has no room for.
    waiting: Option<Order>,
    /// Parts were given up since the last that was handed over.
    has_lost: bool,
    /// Replies and answers, with the part that they wait for.
    held: VecDeque<(u64, Held)>,
}

impl ReplicaPort {
    pub(crate) fn new(link: Arc<ReplicaLink>, shard: ShardIndex) -> Self {
        let shard = usize::from(shard.0);
        Self {
            link,
            shard,
            end: ReplicaEnd::new(),
            owed: VecDeque::new(),
            merged: Vec::new(),
            waiting: None,
            has_lost: false,
            held: VecDeque::new(),
        }
    }

    fn queues(&self) -> &Queues {
        &self.link.queues[self.shard]
    }

    /// Whether there is nothing to do: no order that could be carried out, and no reply that may leave.
    pub(crate) fn is_idle(&self) -> bool {
        let Queues { orders, reports, .. } = self.queues();
        let is_stuck = reports.is_full();
        let is_told = is_stuck || self.owed.is_empty();
        let may_leave = self.held.front().is_some_and(|(wanted, _)| *wanted <= self.released());
        is_told && (orders.is_empty() || is_stuck || self.is_waiting()) && !may_leave
    }

    /// Whether an order waits for the log to have room.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Carries out what has been ordered, before the turn does anything else; whether more is left. It does less at once
    /// while phones are being served. `has_room` says whether the log has room for what other nodes send.
    pub(crate) fn obey(
        &mut self,
        machine: &mut Shard,
        now: Now,
        is_serving: bool,
        mut has_room: impl FnMut() -> bool,
    ) -> bool {
        self.tell();
        let bytes_max = if is_serving { BYTES_PER_SERVING_TURN_MAX } else { BYTES_PER_TURN_MAX };
        let Self { link, shard, end, owed, merged, waiting, .. } = self;
        let orders = &link.queues[*shard].orders;
        let (is_stuck, mut bytes) = (!owed.is_empty(), 0);
        for _ in 0..ORDERS_PER_TURN_MAX {
            if is_stuck || bytes > bytes_max {
                break;
            }
            let Some(order) = waiting.take().or_else(|| orders.pop()) else { break };
            if let Order::Merge { ticket, journal, .. } = &order
                && *ticket != NOBODY
            {
                if !has_room() {
                    *waiting = Some(order);
                    break;
                }
                bytes += journal.len();
            }
            end.obey(order, machine, now, |report| match report {
                Report::Merged { .. } => merged.push(report),
                report => {
                    bytes += match &report {
                        Report::Newer { journal, .. } => journal.len(),
                        Report::List { held, .. } => held.len() * LISTED_BYTES,
                        _ => 0,
                    };
                    owed.push_back(report);
                }
            });
        }
        machine.mark_foreign();
        !orders.is_empty() && !is_stuck && waiting.is_none()
    }

    /// Reports what this turn has merged, or leaves that to the log where it is to become durable first.
    pub(crate) fn settle_merged(&mut self, log: Option<&mut ShardLog>) {
        match log {
            Some(log) => self.merged.drain(..).for_each(|report| log.hold_merged(report)),
            None => self.owed.extend(self.merged.drain(..)),
        }
    }

    /// What was merged is durable.
    pub(crate) fn merged(&mut self, report: Report) {
        self.owed.push_back(report);
    }

    /// Takes what the turn has written down of its own. To be called before its journal is cleared.
    pub(crate) fn take_parts(&mut self, machine: &Shard) {
        let Self { end, owed, has_lost, .. } = self;
        // A gap is told before what follows it.
        if *has_lost && owed.len() < OWED_COUNT_MAX {
            owed.push_back(Report::Lost { sequence: end.sequence(), stamp: machine.last_stamp() });
            *has_lost = false;
        }
        end.tell_parts(machine, |part| {
            *has_lost |= owed.len() >= OWED_COUNT_MAX;
            if !*has_lost {
                owed.push_back(part);
            }
        });
    }

    /// Hands over what there is to tell.
    pub(crate) fn tell(&mut self) {
        let reports = &self.link.queues[self.shard].reports;
        let before = self.owed.len();
        pay(&mut self.owed, reports);
        if self.owed.len() < before {
            self.link.alarm.wake();
        }
    }

    fn released(&self) -> u64 {
        self.queues().released.load(Ordering::Relaxed)
    }

    /// Whether what is promised now may be promised at once.
    pub(crate) fn may_leave(&self) -> bool {
        !self.link.is_sync || !self.end.has_backups() || self.end.sequence() <= self.released()
    }

    /// Keeps a promise of this turn until it may leave; `false` when too many wait.
    pub(crate) fn hold(&mut self, held: Held) -> bool {
        if self.held.len() >= HELD_COUNT_MAX {
            return false;
        }
        self.held.push_back((self.end.sequence(), held));
        true
    }

    /// Puts the replies that may leave by now into `out`, and gives the answers.
    pub(crate) fn release(&mut self, out: &mut Outbox) {
        let released = self.released();
        while let Some((_, held)) = self.held.pop_front_if(|(wanted, _)| *wanted <= released) {
            held.leave(out);
        }
    }
}

/// Hands over what is owed, as far as there is room.
fn pay(owed: &mut VecDeque<Report>, reports: &ArrayQueue<Report>) {
    while let Some(report) = owed.pop_front() {
        if let Err(report) = reports.push(report) {
            owed.push_front(report);
            return;
        }
    }
}

impl Held {
    /// Sends the reply, or gives the answer.
    pub(crate) fn leave(self, out: &mut Outbox) {
        match self {
            Self::Message { to, bytes } => {
                out.push(to, Ticket::NONE, |buffer| buffer.extend_from_slice(&bytes));
            }
            Self::Answer(promise) => promise.keep(),
        }
    }
}

#[cfg(test)]
mod tests;
