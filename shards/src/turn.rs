//! The page to read first: what one shard does, turn by turn.
//!
//! A [`ShardRun`] owns all that a shard has: its machine, sockets, connections and ends of the queues. It
//! repeats one turn for ever:
//!
//! 1. **receive**: the wishes and commands of the control plane, a batch from every UDP socket that is ready, one read from
//!    every connection that is. The machine handles each message, or names the shard it belongs to, for
//!    which it is put into a parcel;
//! 2. **hand over** those parcels at once, and take in those of the other shards, which are awake at about
//!    the same moments;
//! 3. **obey** what the control plane says of the global directory and of names, then **timers** of the machine and of the connections;
//! 4. **append** what all of that has changed to the shard's log, in one entry (see [`crate::persistence`]), and hand it to
//!    the backups (see [`crate::replication`]);
//! 5. **send** what the machine has put into its outbox: datagrams in batches, each connection in one
//!    write, messages for connections of other shards by the mesh. What could not be sent, and connections
//!    that have ended, go back to the machine, whose answers are sent in the same turn; then **tell** the control
//!    plane what there is to ask and to publish;
//! 6. **wait**, in one of three ways (see [`ShardRun::wait`]).
//!
//! Bounds: every source gives a bounded batch to a turn; the machine bounds its timers; sending goes round
//! [`SEND_ROUNDS_MAX`] times and leaves the rest to the next turn. While anything is left there is no wait.

use crate::ShardReport;
use crate::bind::Ports;
use crate::clock::Clock;
use crate::directory::DirectoryPort;
use crate::link::{Control, Done, Promise};
use crate::mesh::{Letter, MeshPort};
use crate::names::NamesPort;
use crate::pace::Pace;
use crate::persistence::{Durable, Held, ShardLog};
use crate::ready::Ready;
use crate::replication::ReplicaPort;
use crate::runtime;
use crate::stream::{News, Step, Streams};
use crate::sys;
use crate::sys::datagrams::{BATCH_COUNT_MAX, Received, Sending};
use crate::sys::epoll::{Epoll, Event, Interest};
use crate::udp::{self, UdpPort};
use crate::{SocketOptions, link};
use arrayvec::ArrayVec;
use sipfed_proto::{Counters, Destination, Glance, Now, Outbox, Shard, ShardIndex, Source, Verdict, limits};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Events taken from the epoll set in one turn. The set hands out what is ready in turn, so that no
/// connection is passed over for another.
const EVENTS_COUNT_MAX: usize = 128;
/// Parcels taken from each other shard in one turn.
const PARCELS_PER_TURN_MAX: usize = 4;
/// How often a turn sends what its own sending has brought about.
const SEND_ROUNDS_MAX: usize = 4;
/// Longest wait: whatever else lives in the executor gets its turn at least so often.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Nanoseconds for which a shard that sleeps between batches, and has no connection, goes straight to its UDP sockets:
/// to be told that they are ready costs a system call a turn. A new connection waits so long at most.
const LOOK_EVERY_NS: u64 = 4_000_000;
/// Nanoseconds to wait while the kernel or another shard has no room for what is to be sent.
const CONGESTED_WAIT_NS: u64 = 250_000;

/// What a shard is made of.
pub(crate) struct Parts<'a> {
    pub(crate) index: ShardIndex,
    pub(crate) machine: Shard,
    pub(crate) log: Option<ShardLog>,
    pub(crate) ports: Ports,
    pub(crate) mesh: MeshPort,
    pub(crate) control: Arc<Control>,
    pub(crate) directory: Option<DirectoryPort>,
    pub(crate) names: Option<NamesPort>,
    pub(crate) replication: Option<ReplicaPort>,
    pub(crate) clock: Clock,
    pub(crate) sockets: &'a SocketOptions,
}

/// One shard with all that it owns.
pub(crate) struct ShardRun {
    index: ShardIndex,
    machine: Shard,
    outbox: Outbox,
    log: Option<ShardLog>,
    /// Whether the promises of this turn may leave with it.
    kept: Kept,
    news: News,
    /// What the runtime itself counts; added to the machine's when it reports.
    counters: Counters,
    clock: Clock,
    pace: Pace,
    epoll: Epoll,
    /// When the epoll set was looked into last, and whether the next turn goes straight to the UDP sockets.
    looked_at_ns: u64,
    goes_to_udp: bool,
    udp: Vec<UdpPort>,
    received: Received,
    sending: Sending,
    /// By UDP port: the messages of the outbox that it is to send.
    departing: Vec<Vec<u32>>,
    streams: Streams,
    mesh: MeshPort,
    control: Arc<Control>,
    directory: Option<DirectoryPort>,
    names: Option<NamesPort>,
    replication: Option<ReplicaPort>,
    /// Answers to commands of this turn that its append has to make true.
    promised: Vec<Promise>,
    is_draining: bool,
    /// The turn before has handled messages.
    is_serving: bool,
}

/// Where that which a turn has changed is kept already.
#[derive(Clone, Copy)]
struct Kept {
    in_log: bool,
    by_backup: bool,
}

/// What a turn leaves behind.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    /// Messages that it handled.
    messages_count: usize,
    /// Something could not be taken or sent within its bounds: the next turn follows at once.
    has_more: bool,
    /// The kernel or another shard has no room: the next turn follows soon.
    is_congested: bool,
}

/// Where received messages go.
struct Intake<'a> {
    machine: &'a mut Shard,
    outbox: &'a mut Outbox,
    mesh: &'a mut MeshPort,
    now: Now,
    messages_count: usize,
    dropped_count: u64,
}

impl Intake<'_> {
    fn take(&mut self, bytes: &[u8], glance: Glance, source: &Source) {
        match self.machine.receive_glanced(bytes, glance, source, self.now, self.outbox) {
            Verdict::Handled => self.messages_count += 1,
            Verdict::Belongs(owner) => {
                let is_put = self.mesh.put(owner, Letter::Steered { source: *source, glance, bytes });
                self.dropped_count += u64::from(!is_put);
            }
        }
    }
}

impl ShardRun {
    /// Makes the shard; it runs on the thread that it is made on.
    pub(crate) fn new(parts: Parts<'_>) -> io::Result<Self> {
        let Parts { index, machine, log, ports, mesh, control, directory, names, replication, clock, sockets } = parts;
        let epoll = Epoll::new(EVENTS_COUNT_MAX)?;
        epoll.add(mesh.bell(), Interest::READ_EDGE, Ready::Bell.token())?;
        for (index, port) in ports.udp.iter().enumerate() {
            epoll.add(port.socket(), Interest::READ, Ready::Udp(index as u32).token())?;
        }
        sys::tighten_timers();
        sys::shorten_slice();
        Ok(Self {
            index,
            machine,
            outbox: Outbox::new(),
            log,
            kept: Kept { in_log: true, by_backup: true },
            news: News::default(),
            counters: Counters::default(),
            clock,
            pace: Pace::new(sockets.coalesce_us, sys::monotonic_ns()),
            departing: vec![Vec::new(); ports.udp.len()],
            udp: ports.udp,
            received: Received::new(limits::MESSAGE_BYTES_MAX),
            sending: Sending::new(),
            streams: Streams::new(index, ports.streams, sockets, &epoll)?,
            epoll,
            looked_at_ns: 0,
            goes_to_udp: false,
            mesh,
            control,
            directory,
            names,
            replication,
            promised: Vec::new(),
            is_draining: false,
            is_serving: false,
        })
    }

    /// Takes turns until the control plane asks to stop, and returns the last report.
    pub(crate) async fn run(mut self) -> ShardReport {
        while !self.control.is_stopping() {
            let turn = self.turn();
            runtime::yield_if_needed().await;
            self.wait(turn);
        }
        let report = report(self.index, &self.machine, &self.counters, &self.streams, self.log.as_ref());
        // Dropping a command tells its asker that nobody answers.
        while self.control.take().is_some() {}
        if let Some(log) = self.log {
            log.close();
        }
        report
    }

    /// One turn over what the last wait has found ready.
    fn turn(&mut self) -> Turn {
        let now = self.clock.now();
        let mut turn = Turn::default();
        if let Some(log) = &mut self.log {
            log.begin(now, &mut self.machine);
        }
        if let Some(replication) = &mut self.replication {
            let log = &mut self.log;
            let has_room = || log.as_mut().is_none_or(ShardLog::has_room);
            turn.has_more |= replication.obey(&mut self.machine, now, self.is_serving, has_room);
        }
        self.obey_control(now, &mut turn);
        self.receive_ready(now, &mut turn);
        self.mesh.dispatch();
        self.receive_parcels(now, &mut turn);
        if let Some(directory) = &mut self.directory {
            turn.has_more |= directory.obey(&mut self.machine, now, &mut self.outbox);
        }
        if let Some(names) = &self.names {
            turn.has_more |= names.obey(&mut self.machine, now);
        }
        self.machine.handle_timeout(now, &mut self.outbox);
        // What it owes still must not wait until messages have gathered.
        turn.has_more |= self.machine.next_deadline().is_some_and(|at| at <= now);
        self.expire_streams(now);
        self.append(now);
        self.send(now, &mut turn);
        if let Some(directory) = &mut self.directory {
            directory.tell(&mut self.machine);
        }
        if let Some(names) = &self.names {
            names.tell(&mut self.machine);
        }
        self.is_serving = turn.messages_count > 0;
        turn
    }

    /// Makes durable what the turn has changed, hands it to the backups, and lets go what waited for that.
    fn append(&mut self, now: Now) {
        let Self { machine, log, replication, counters, promised, outbox, .. } = self;
        if let Some(replication) = replication {
            replication.take_parts(machine);
        }
        let in_log = if let Some(log) = log {
            log.append(now, machine, counters)
        } else {
            machine.clear_journal();
            true
        };
        let kept = Kept { in_log, by_backup: replication.as_ref().is_none_or(ReplicaPort::may_leave) };
        self.kept = kept;
        for promise in promised.drain(..) {
            // One that has no room is dropped, which says that nothing is certain.
            match (&mut *log, &mut *replication) {
                (Some(log), _) if !kept.in_log => _ = log.hold(Held::Answer(promise)),
                (_, Some(replication)) if !kept.by_backup => _ = replication.hold(Held::Answer(promise)),
                _ => promise.keep(),
            }
        }
        if let Some(replication) = replication {
            replication.settle_merged(log.as_mut().filter(|_| !kept.in_log));
        }
        if let Some(log) = log {
            log.release(|durable| match (durable, &mut *replication) {
                (Durable::Promised(held), Some(replication)) if !kept.by_backup => {
                    counters.dropped_not_durable += u64::from(!replication.hold(held));
                }
                (Durable::Promised(held), _) => held.leave(outbox),
                (Durable::Merged(report), Some(replication)) => replication.merged(report),
                (Durable::Merged(_), None) => {}
            });
        }
        if let Some(replication) = replication {
            replication.tell();
            replication.release(outbox);
        }
    }

    fn receive_ready(&mut self, now: Now, turn: &mut Turn) {
        if self.goes_to_udp {
            for port in 0..self.udp.len() {
                self.receive_datagrams(port, now, turn);
            }
            return;
        }
        turn.has_more |= self.epoll.count() == EVENTS_COUNT_MAX;
        for index in 0..self.epoll.count() {
            let event = self.epoll.event(index);
            match Ready::from_token(event.token) {
                // Whoever rang has left something in a queue, and all of these are looked into anyway.
                Ready::Bell => {}
                Ready::Udp(port) => self.receive_datagrams(port as usize, now, turn),
                Ready::Listener(listener) => {
                    let mut step = Step { epoll: &self.epoll, now, counters: &mut self.counters, news: &mut self.news };
                    self.streams.accept(listener, &mut step);
                }
                Ready::Connection { slot, generation } => {
                    self.receive_stream(slot, generation, event, now, turn);
                }
            }
        }
        self.epoll.clear();
    }

    fn receive_datagrams(&mut self, port: usize, now: Now, turn: &mut Turn) {
        let count = self.udp[port].receive(&mut self.received);
        turn.has_more |= count == BATCH_COUNT_MAX;
        let mut batch: ArrayVec<(&[u8], Source, Glance), BATCH_COUNT_MAX> = ArrayVec::new();
        for index in 0..count {
            if let Some((bytes, source)) = self.udp[port].open(&self.received.datagram(index), &mut self.counters) {
                batch.push((bytes, source, self.machine.glance(bytes)));
            }
        }
        self.machine.foresee(batch.iter().map(|(_, _, glance)| *glance));
        let mut intake = Intake {
            machine: &mut self.machine,
            outbox: &mut self.outbox,
            mesh: &mut self.mesh,
            now,
            messages_count: 0,
            dropped_count: 0,
        };
        for (bytes, source, glance) in &batch {
            intake.take(bytes, *glance, source);
        }
        turn.messages_count += intake.messages_count;
        self.counters.dropped_mesh_full += intake.dropped_count;
    }

    fn receive_stream(&mut self, slot: u32, generation: u32, event: Event, now: Now, turn: &mut Turn) {
        let mut intake = Intake {
            machine: &mut self.machine,
            outbox: &mut self.outbox,
            mesh: &mut self.mesh,
            now,
            messages_count: 0,
            dropped_count: 0,
        };
        let mut step = Step { epoll: &self.epoll, now, counters: &mut self.counters, news: &mut self.news };
        self.streams.handle_event(slot, generation, event, &mut step, &mut |bytes, source| {
            let glance = intake.machine.glance(bytes);
            intake.take(bytes, glance, source);
        });
        turn.messages_count += intake.messages_count;
        self.counters.dropped_mesh_full += intake.dropped_count;
    }

    fn receive_parcels(&mut self, now: Now, turn: &mut Turn) {
        for from in 0..self.mesh.shards_count() {
            for _ in 0..PARCELS_PER_TURN_MAX {
                let Some(parcel) = self.mesh.take(from) else { break };
                self.machine.foresee(parcel.letters().filter_map(|letter| match letter {
                    Letter::Steered { glance, .. } => Some(glance),
                    _ => None,
                }));
                for letter in parcel.letters() {
                    turn.messages_count += 1;
                    self.receive_letter(letter, now);
                }
                self.mesh.give_back(from, parcel);
            }
        }
    }

    fn receive_letter(&mut self, letter: Letter<'_>, now: Now) {
        match letter {
            Letter::Steered { source, glance, bytes } => {
                self.machine.handle_steered(bytes, glance, &source, now, &mut self.outbox);
            }
            Letter::Transmit { flow, fallback, ticket, bytes } => {
                let mut step = Step { epoll: &self.epoll, now, counters: &mut self.counters, news: &mut self.news };
                self.streams.send_flow(flow, fallback, ticket, bytes, &mut step);
            }
            Letter::FlowClosed(flow) => self.machine.handle_flow_closed(flow, now, &mut self.outbox),
            Letter::TransmitFailed(ticket) => {
                self.machine.handle_transmit_failed(ticket, now, &mut self.outbox);
            }
        }
    }

    fn obey_control(&mut self, now: Now, turn: &mut Turn) {
        if self.control.is_draining() && !self.is_draining {
            self.is_draining = true;
            self.machine.drain();
        }
        self.machine.set_active(self.control.is_active());
        self.machine.set_absent_address(self.control.absent_address());
        self.machine.set_pinging(self.control.is_pinging());
        for _ in 0..link::COMMANDS_PER_TURN_MAX {
            let Some(command) = self.control.take() else { break };
            let Self { index, machine, log, counters, streams, .. } = self;
            let report = |machine: &Shard| report(*index, machine, counters, streams, log.as_ref());
            match command.carry_out(machine, now, report) {
                Done::Answered => {}
                Done::AnsweredAtLength => break,
                Done::Promised(promise) => self.promised.push(promise),
            }
        }
        turn.has_more |= self.control.has_more();
    }

    fn expire_streams(&mut self, now: Now) {
        if self.streams.next_deadline().is_some_and(|deadline| deadline <= now) {
            let mut step = Step { epoll: &self.epoll, now, counters: &mut self.counters, news: &mut self.news };
            self.streams.expire(&mut step);
        }
    }

    /// Sends the outbox, and what comes of sending it.
    fn send(&mut self, now: Now, turn: &mut Turn) {
        for port in &mut self.udp {
            port.flush(&mut self.sending, &mut self.counters, &mut self.news.failed);
        }
        for _ in 0..SEND_ROUNDS_MAX {
            self.depart(now);
            let mut step = Step { epoll: &self.epoll, now, counters: &mut self.counters, news: &mut self.news };
            self.streams.flush(&mut step);
            self.tell_news(now);
            if self.outbox.is_empty() {
                break;
            }
        }
        turn.has_more |= !self.outbox.is_empty();
        let waits_for_room = self.replication.as_ref().is_some_and(ReplicaPort::is_waiting);
        let is_log_behind = self.log.as_mut().is_some_and(|log| log.is_behind(waits_for_room));
        turn.is_congested = !self.mesh.dispatch() || is_log_behind || self.udp.iter().any(UdpPort::has_backlog);
    }

    /// Gives each message of the outbox to the socket, connection or shard that it goes by, and empties it.
    fn depart(&mut self, now: Now) {
        let Self { epoll, counters, news, streams, mesh, machine, .. } = self;
        for (index, transmit) in self.outbox.transmits().iter().enumerate() {
            let ticket = transmit.ticket;
            if transmit.is_promise && !(self.kept.in_log && self.kept.by_backup) {
                let held = Held::Message { to: transmit.to, bytes: self.outbox.bytes(transmit).into() };
                let is_held = match (&mut self.log, &mut self.replication) {
                    (Some(log), _) if !self.kept.in_log => log.hold(held),
                    (_, Some(replication)) => replication.hold(held),
                    _ => false,
                };
                counters.dropped_not_durable += u64::from(!is_held);
                continue;
            }
            let mut step = Step { epoll, now, counters, news };
            match transmit.to {
                Destination::Udp { remote, local } => match udp::best_port(&self.udp, local, remote) {
                    Some(port) => self.departing[port].push(index as u32),
                    None => udp::refuse(ticket, counters, &mut news.failed),
                },
                Destination::Flow { flow, fallback } if flow.shard() == self.index => {
                    streams.send_flow(flow, fallback, ticket, self.outbox.bytes(transmit), &mut step);
                }
                Destination::Flow { flow, fallback } => {
                    let bytes = self.outbox.bytes(transmit);
                    if !mesh.put(flow.shard(), Letter::Transmit { flow, fallback, ticket, bytes }) {
                        counters.dropped_mesh_full += 1;
                        news.failed.extend(ticket.is_some().then_some(ticket));
                    }
                }
                Destination::Connect(ends) => {
                    let name = ends.name.and_then(|name| machine.peer_name(name));
                    streams.send_to(ends, name, ticket, self.outbox.bytes(transmit), &mut step);
                }
            }
        }
        for (port, departing) in self.udp.iter_mut().zip(&mut self.departing) {
            if !departing.is_empty() {
                port.send(&self.outbox, departing, &mut self.sending, counters, &mut news.failed);
                departing.clear();
            }
        }
        self.outbox.clear();
    }

    /// Tells the machines of all shards which connections have ended, and each one which of its requests
    /// were not sent.
    fn tell_news(&mut self, now: Now) {
        for flow in self.news.closed.drain(..) {
            self.machine.handle_flow_closed(flow, now, &mut self.outbox);
            for shard in (0..self.mesh.shards_count()).map(|shard| ShardIndex(shard as u8)) {
                if shard != self.index && !self.mesh.put(shard, Letter::FlowClosed(flow)) {
                    self.counters.dropped_mesh_full += 1;
                }
            }
        }
        for ticket in self.news.failed.drain(..) {
            if ticket.shard() == self.index {
                self.machine.handle_transmit_failed(ticket, now, &mut self.outbox);
            } else if !self.mesh.put(ticket.shard(), Letter::TransmitFailed(ticket)) {
                self.counters.dropped_mesh_full += 1;
            }
        }
    }

    /// Waits for the next turn, and leaves in the epoll set what it is about.
    ///
    /// - With something left over, not at all.
    /// - Under load, asleep until several messages have come (see [`crate::pace`]). Nobody needs to ring:
    ///   the queues are looked into when the sleep ends. They are looked into once more before it
    ///   begins, since other shards hand over at about the same moment.
    /// - Otherwise until something is ready or a timer is due.
    fn wait(&mut self, turn: Turn) {
        let now_ns = sys::monotonic_ns();
        self.pace.note(turn.messages_count, now_ns);
        let has_more = turn.has_more || !self.mesh.is_idle();
        let sleep_until_ns = match self.pace.sleep_until_ns(now_ns) {
            _ if has_more => Some(now_ns),
            None if turn.is_congested => Some(now_ns + CONGESTED_WAIT_NS),
            at_ns => at_ns,
        };
        if let Some(at_ns) = sleep_until_ns {
            if at_ns > now_ns {
                sys::sleep_until_ns(at_ns);
            }
            return self.look(at_ns);
        }
        let Self { machine, mesh, control, directory, names, replication, .. } = &*self;
        let is_obeyed = || {
            directory.as_ref().is_none_or(|directory| directory.is_idle(machine))
                && names.as_ref().is_none_or(|names| names.is_idle(machine))
                && replication.as_ref().is_none_or(ReplicaPort::is_idle)
        };
        if !mesh.bell().park(|| mesh.is_idle() && control.is_idle(self.is_draining, machine) && is_obeyed()) {
            return self.look(now_ns);
        }
        self.goes_to_udp = false;
        self.epoll.wait(self.until_next_deadline());
        self.mesh.bell().unpark();
    }

    /// Finds out what is ready, as far as that is not known anyway.
    fn look(&mut self, now_ns: u64) {
        let has_looked = now_ns.saturating_sub(self.looked_at_ns) < LOOK_EVERY_NS;
        self.goes_to_udp = has_looked && self.streams.connections_count() == 0;
        if !self.goes_to_udp {
            self.looked_at_ns = now_ns;
            self.epoll.poll();
        }
    }

    fn until_next_deadline(&self) -> Duration {
        let deadline = [self.machine.next_deadline(), self.streams.next_deadline()].into_iter().flatten().min();
        deadline.map_or(WAIT_MAX, |deadline| self.clock.until(deadline).min(WAIT_MAX))
    }
}

fn report(
    shard: ShardIndex,
    machine: &Shard,
    counters: &Counters,
    streams: &Streams,
    log: Option<&ShardLog>,
) -> ShardReport {
    let mut all = machine.counters();
    all.add(counters);
    ShardReport {
        shard,
        counters: all,
        bindings: machine.bindings(),
        contacts: machine.contacts(),
        homes: machine.homes(),
        open_transactions: machine.open_transactions(),
        connections: streams.connections_count(),
        log: log.map(ShardLog::statistics),
    }
}
