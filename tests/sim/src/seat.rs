//! One shard of a node with the ends of its queues: the turn of the daemon's `shards/src/turn.rs` around the real machine.
//!
//! In: datagrams, orders of the replicator and of the keeper, time. Out: datagrams that leave, reports, changes and
//! questions. A turn appends its journal to the log before its promises leave; where the node is to promise only what a
//! backup has, they wait for their part to be released.

use crate::journal_log::ShardLog;
use crate::shards_link::ShardsQueues;
use sipfed_proto::directory::{Answer, News, Order as DirectoryOrder};
use sipfed_proto::replica::end::{Order, ReplicaEnd, Report};
use sipfed_proto::{Destination, FlowToken, Glance, Now, Outbox, Shard, Source, Ticket, Verdict};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Orders that a shard carries out in one turn.
const ORDERS_PER_TURN_MAX: usize = 64;
/// Bytes that a turn's orders may have brought before no more of them is carried out.
const REPORTED_BYTES_MAX: usize = 256 << 10;

/// What comes to a node from outside.
#[derive(Debug)]
pub(crate) enum Incoming {
    Message(Source, Vec<u8>),
    /// A connection has ended.
    Closed(FlowToken),
    /// A request could not be sent.
    NotSent(Ticket),
}

/// What a shard has been handed by another one.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) owner: usize,
    says: Says,
}

#[derive(Debug)]
enum Says {
    Steered { glance: Glance, source: Source, bytes: Vec<u8> },
    Closed(FlowToken),
}

/// The way that a message takes from the node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    Datagram {
        to: SocketAddr,
        from: SocketAddr,
    },
    Flow(FlowToken),
    /// Over a connection that would have to be opened, and is refused: phones take none.
    Refused,
}

/// A message that leaves the node.
#[derive(Debug)]
pub(crate) struct Leaving {
    pub(crate) way: Way,
    pub(crate) ticket: Ticket,
    pub(crate) bytes: Vec<u8>,
    /// Whether it is promised that a backup has what it says.
    pub(crate) is_backed: bool,
}

/// What a turn is taken with.
#[allow(clippy::struct_excessive_bools, reason = "they have nothing to do with each other")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) now: Now,
    pub(crate) shards_count: usize,
    pub(crate) is_active: bool,
    /// The address of the home while the host does not have it.
    pub(crate) absent: Option<IpAddr>,
    pub(crate) is_sync: bool,
    pub(crate) expires_s_max: u32,
    pub(crate) reports_count_max: usize,
    /// The node dies before the turn is written down.
    pub(crate) is_torn: bool,
    /// A defect that is planted for a test of the checkers: nothing is written down.
    pub(crate) forgets_to_log: bool,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) machine: Shard,
    end: ReplicaEnd,
    pub(crate) orders: VecDeque<Order>,
    pub(crate) reports: VecDeque<Report>,
    owed: VecDeque<Report>,
    has_lost: bool,
    /// The last part that no reply has to wait for.
    pub(crate) released: u64,
    held: VecDeque<(u64, Leaving)>,
    pub(crate) letters: VecDeque<Letter>,
    /// Its queues to and from the keeper are those of this number.
    index: usize,
    directory: Arc<ShardsQueues>,
    /// A task of the keeper that is done while what came of it has not all been told.
    done: Option<News>,
    /// Whether the last turn has changed any binding.
    pub(crate) has_written: bool,
    /// How many changes the machine had forgotten when that was last told.
    forgotten: u64,
}

impl Seat {
    pub(crate) fn new(mut machine: Shard, index: usize, directory: Arc<ShardsQueues>) -> Self {
        machine.keep_homes();
        Self {
            machine,
            end: ReplicaEnd::new(),
            orders: VecDeque::new(),
            reports: VecDeque::new(),
            owed: VecDeque::new(),
            has_lost: false,
            released: u64::MAX,
            held: VecDeque::new(),
            letters: VecDeque::new(),
            index,
            directory,
            done: None,
            has_written: false,
            forgotten: 0,
        }
    }

    /// Replies that wait for a backup.
    pub(crate) fn held_count(&self) -> usize {
        self.held.len()
    }

    /// Whether there is nothing to do before the next deadline.
    pub(crate) fn is_idle(&self) -> bool {
        let may_leave = self.held.front().is_some_and(|held| held.0 <= self.released);
        let has_orders = !self.orders.is_empty() || self.directory.has_order(self.index);
        let has_news = self.machine.changes_count() > 0 || self.done.is_some();
        let may_tell = has_news && self.directory.takes_news(self.index)
            || self.machine.questions_count() > 0 && self.directory.takes_question(self.index);
        self.letters.is_empty() && !has_orders && !may_tell && !may_leave
    }

    /// Takes a turn over what has come; gives what leaves, and what belongs to other shards.
    pub(crate) fn turn(
        &mut self,
        received: Vec<Incoming>,
        turn: &Turn,
        log: &mut ShardLog,
    ) -> (Vec<Leaving>, Vec<Letter>) {
        let (now, mut out, mut steered) = (turn.now, Outbox::new(), Vec::new());
        log.look_after_generations(turn.expires_s_max, &mut self.machine, now);
        self.obey(turn);
        self.machine.set_active(turn.is_active);
        self.machine.set_absent_address(turn.absent);
        for incoming in received {
            match incoming {
                Incoming::Message(source, bytes) => {
                    let glance = self.machine.glance(&bytes);
                    if let Verdict::Belongs(owner) =
                        self.machine.receive_glanced(&bytes, glance, &source, now, &mut out)
                    {
                        let says = Says::Steered { glance, source, bytes };
                        steered.push(Letter { owner: usize::from(owner.0), says });
                    }
                }
                Incoming::Closed(flow) => {
                    self.machine.handle_flow_closed(flow, now, &mut out);
                    let others = (0..turn.shards_count).filter(|shard| *shard != self.index);
                    steered.extend(others.map(|owner| Letter { owner, says: Says::Closed(flow) }));
                }
                Incoming::NotSent(ticket) => self.machine.handle_transmit_failed(ticket, now, &mut out),
            }
        }
        while let Some(letter) = self.letters.pop_front() {
            match letter.says {
                Says::Steered { glance, source, bytes } => {
                    self.machine.handle_steered(&bytes, glance, &source, now, &mut out);
                }
                Says::Closed(flow) => self.machine.handle_flow_closed(flow, now, &mut out),
            }
        }
        self.obey_directory(now, &mut out);
        self.machine.handle_timeout(now, &mut out);
        self.has_written = !self.machine.journal().is_empty();
        self.tell_parts(turn.reports_count_max);
        if turn.is_torn {
            return (Vec::new(), Vec::new());
        }
        if !turn.forgets_to_log {
            log.append(self.machine.journal());
        }
        self.machine.clear_journal();
        let leaving = self.send(turn.is_sync, &out);
        self.tell_directory();
        (leaving, steered)
    }

    fn pay(&mut self, count_max: usize) {
        while self.reports.len() < count_max
            && let Some(report) = self.owed.pop_front()
        {
            self.reports.push_back(report);
        }
    }

    fn obey(&mut self, turn: &Turn) {
        self.pay(turn.reports_count_max);
        let mut bytes = 0;
        for _ in 0..ORDERS_PER_TURN_MAX {
            if !self.owed.is_empty() || bytes > REPORTED_BYTES_MAX {
                break;
            }
            let Some(order) = self.orders.pop_front() else { break };
            let Self { end, machine, owed, .. } = self;
            end.obey(order, machine, turn.now, |report| {
                if let Report::Newer { journal, .. } = &report {
                    bytes += journal.len();
                }
                owed.push_back(report);
            });
            self.pay(turn.reports_count_max);
        }
        self.machine.mark_foreign();
    }

    fn tell_parts(&mut self, count_max: usize) {
        self.pay(count_max);
        if self.has_lost && self.owed.is_empty() && self.reports.len() < count_max {
            let lost = Report::Lost { sequence: self.end.sequence(), stamp: self.machine.last_stamp() };
            self.reports.push_back(lost);
            self.has_lost = false;
        }
        let Self { end, machine, owed, reports, has_lost, .. } = self;
        end.tell_parts(machine, |part| {
            if *has_lost || !owed.is_empty() || reports.len() >= count_max {
                *has_lost = true;
            } else {
                reports.push_back(part);
            }
        });
    }

    fn obey_directory(&mut self, now: Now, out: &mut Outbox) {
        while let Some(order) = self.directory.take_order(self.index) {
            match order {
                DirectoryOrder::Answer { id, homes } => {
                    let answer = homes.as_deref().map_or(Answer::Unknown, Answer::Homes);
                    self.machine.handle_answer(id, answer, now, out);
                }
                DirectoryOrder::Compare { pass, aors } => {
                    self.machine.compare(aors.iter().map(|aor| &**aor), pass);
                    self.done = Some(News::Done(None));
                }
                DirectoryOrder::Walk { walk, from, count } => {
                    self.done = Some(News::Done(self.machine.walk(walk, from, count)));
                }
                DirectoryOrder::Peers(peers) => self.machine.set_peers(peers.iter().map(|peer| &**peer)),
                DirectoryOrder::Down(homes) => self.machine.set_down(homes.iter().map(|home| &**home)),
            }
        }
    }

    fn tell_directory(&mut self) {
        let (directory, index) = (&self.directory, self.index);
        while directory.takes_question(index)
            && let Some(question) = self.machine.next_question()
        {
            directory.ask(index, question);
        }
        while directory.takes_news(index)
            && let Some(change) = self.machine.next_change()
        {
            directory.tell(index, News::Change(change));
        }
        let forgotten = self.machine.changes_forgotten();
        if forgotten > self.forgotten && directory.takes_news(index) {
            directory.tell(index, News::Forgotten);
            self.forgotten = forgotten;
        }
        if self.machine.changes_count() == 0
            && directory.takes_news(index)
            && let Some(done) = self.done.take()
        {
            directory.tell(index, done);
        }
    }

    fn send(&mut self, is_sync: bool, out: &Outbox) -> Vec<Leaving> {
        let (mut leaving, wanted) = (Vec::new(), self.end.sequence());
        let is_waited_for = is_sync && self.end.has_backups();
        let is_backed = |released: u64| is_waited_for && released != u64::MAX;
        for (transmit, bytes) in out.iter() {
            let way = match transmit.to {
                Destination::Udp { remote: to, local: from } => Way::Datagram { to, from },
                Destination::Flow { flow, .. } => Way::Flow(flow),
                Destination::Connect(_) => Way::Refused,
            };
            let mut message = Leaving { way, ticket: transmit.ticket, bytes: bytes.to_vec(), is_backed: false };
            if transmit.is_promise && is_waited_for && wanted > self.released {
                self.held.push_back((wanted, message));
            } else {
                message.is_backed = transmit.is_promise && is_backed(self.released);
                leaving.push(message);
            }
        }
        let released = self.released;
        while let Some((_, message)) = self.held.pop_front_if(|held| held.0 <= released) {
            leaving.push(Leaving { is_backed: is_backed(released), ..message });
        }
        leaving
    }
}
