//! A whole shard: every input goes through here.

mod administer;
mod naming;

pub use administer::{ByHand, Ended, Owners, Refusal};

use crate::counters::Counters;
use crate::date::Date;
use crate::directory::{Answer, Change, Directory, Pass, Question, Walk};
use crate::explain::{Explanation, Unexplained};
use crate::hop::{FlowToken, PeerName, ShardIndex, Source, Transport};
use crate::keys::{AorHash, Keys};
use crate::limits;
use crate::location::journal::{self, BadEntry};
use crate::location::{AorKey, Cause, Location, Op, Record, RecordId, Unbind};
use crate::names::Names;
use crate::nat::{Intervals, Pinger};
use crate::outbox::{Outbox, Ticket};
use crate::peer_names::PeerNames;
use crate::proxy::{self, Domains};
use crate::registrar::print_of_settings;
use crate::reject::Rejection;
use crate::request::Request;
use crate::response::Response;
use crate::settings::{LostFlow, Settings};
use crate::silent::Silent;
use crate::steer::Glance;
use crate::stun;
use crate::time::Now;
use crate::transaction::client::ClientTransactions;
use crate::transaction::server::{self, ServerTransactions};
use crate::view::BindingView;
use crate::wheel::{Due, Wheel};
use sipfed_sip::{Index, Message, Method, ScanError, scan};
use std::net::IpAddr;
use std::sync::Arc;

/// Which shard this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number.
    pub index: ShardIndex,
    /// How many there are on this node.
    pub count: u8,
}

/// What became of a received message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was handled here (answered, forwarded, or dropped and counted).
    Handled,
    /// Another shard owns it: hand it over, unchanged, to that shard's [`Shard::handle_steered`].
    Belongs(ShardIndex),
}

/// The machine. See the crate's documentation for the order of calls.
#[derive(Debug)]
pub struct Shard {
    /// Where the parts of the message at hand lie; apart from the rest, which is changed while it is read.
    index: Index,
    pub(crate) core: Core,
}

/// Everything of a shard but the message at hand.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) settings: Arc<Settings>,
    pub(crate) place: Place,
    pub(crate) keys: Keys,
    pub(crate) domains: Domains,
    pub(crate) counters: Counters,
    pub(crate) wheel: Wheel,
    pub(crate) location: Location,
    pub(crate) servers: ServerTransactions,
    pub(crate) clients: ClientTransactions,
    pub(crate) date: Date,
    pub(crate) directory: Option<Directory>,
    pub(crate) names: Option<Names>,
    /// Next hops that did not answer a moment ago, or asked to be left alone.
    pub(crate) avoided: Silent,
    pub(crate) pinger: Pinger,
    pub(crate) peer_names: PeerNames,
    /// See [`print_of_settings`].
    pub(crate) settings_print: u64,
    pub(crate) scratch: Scratch,
    pub(crate) is_draining: bool,
    pub(crate) is_refusing_changes: bool,
    /// Whether nobody but this node could know of a binding here.
    pub(crate) is_whole: bool,
}

/// Buffers that are used again from message to message. Whoever needs one takes it out and puts it back.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) aor: Vec<u8>,
    pub(crate) plan: Vec<u8>,
    pub(crate) reason: String,
    pub(crate) compose: Vec<u8>,
    pub(crate) forward: Vec<u8>,
    pub(crate) via: Vec<u8>,
    pub(crate) record_route: Vec<u8>,
    pub(crate) routes: Vec<u8>,
    /// For a request that we sent.
    pub(crate) index: Index,
    /// For a request that we received and kept.
    pub(crate) request_index: Index,
}

impl Shard {
    /// A shard without bindings. `secret` is the node's: equal on all its shards, unknown to anyone else.
    pub fn new(settings: Arc<Settings>, place: Place, secret: [u8; 32], now: Now) -> Self {
        let mut location = Location::new(place);
        location.intervals = Intervals::new(&settings.nat.ping);
        let core = Core {
            place,
            keys: Keys::new(secret, place.index.0),
            domains: Domains::new(&settings),
            directory: settings.directory.as_ref().map(Directory::new),
            names: settings.names.as_ref().map(|settings| Names::new(settings, now)),
            avoided: Silent::default(),
            settings_print: print_of_settings(&settings),
            pinger: Pinger::new(&settings.nat.ping, place.count),
            settings,
            counters: Counters::default(),
            peer_names: PeerNames::default(),
            wheel: Wheel::new(now),
            location,
            servers: ServerTransactions::default(),
            clients: ClientTransactions::default(),
            date: Date::new(now),
            scratch: Scratch::default(),
            is_draining: false,
            is_refusing_changes: false,
            is_whole: true,
        };
        Self { index: Index::new(), core }
    }

    /// Looks at a message that a socket received, as [`Shard::receive_glanced`] and [`Shard::handle_steered`] want it.
    pub fn glance(&mut self, bytes: &[u8]) -> Glance {
        self.core.glance(bytes)
    }

    /// Reads from memory what the messages behind `glances` are going to need, so that a batch of them waits for its
    /// cache misses together and not for each in turn. Changes nothing.
    pub fn foresee(&self, glances: impl Iterator<Item = Glance>) {
        let location = &self.core.location;
        let read = glances.filter_map(|glance| glance.aor).fold(0, |sum, aor| sum ^ location.touch(aor));
        std::hint::black_box(read);
    }

    /// [`Shard::receive_glanced`] of a message that nobody has looked at.
    pub fn receive(&mut self, bytes: &[u8], source: &Source, now: Now, out: &mut Outbox) -> Verdict {
        let glance = self.glance(bytes);
        self.receive_glanced(bytes, glance, source, now, out)
    }

    /// Takes one whole message (a datagram, or a framed message of a stream) as a socket received it. `glance` is of
    /// these bytes.
    pub fn receive_glanced(
        &mut self,
        bytes: &[u8],
        glance: Glance,
        source: &Source,
        now: Now,
        out: &mut Outbox,
    ) -> Verdict {
        let Self { index, core } = self;
        core.counters.received += 1;
        if stun::may_be(bytes) && source.transport == Transport::Udp {
            core.answer_stun(bytes, source, out);
            return Verdict::Handled;
        }
        let glanced = glance.aor.map(|aor| core.owner_of(aor));
        if let Some(owner) = glanced.filter(|owner| *owner != core.place.index) {
            core.counters.steered_out += 1;
            return Verdict::Belongs(owner);
        }
        let Some(message) = core.scan(bytes, index) else { return Verdict::Handled };
        let owner = glanced.unwrap_or_else(|| core.owner(&message));
        if owner != core.place.index {
            core.counters.steered_out += 1;
            return Verdict::Belongs(owner);
        }
        core.handle(&message, glance.aor, source, now, out);
        Verdict::Handled
    }

    /// Takes a message that another shard received and found to belong here, with its glance.
    pub fn handle_steered(&mut self, bytes: &[u8], glance: Glance, source: &Source, now: Now, out: &mut Outbox) {
        let Self { index, core } = self;
        core.counters.steered_in += 1;
        if let Some(message) = core.scan(bytes, index) {
            core.handle(&message, glance.aor, source, now, out);
        }
    }

    /// What would become of a message that is received from `source` now, and why; nothing is changed.
    pub fn explain(&mut self, bytes: &[u8], source: &Source, now: Now) -> Result<Explanation, Unexplained> {
        self.core.explain(bytes, source, now)
    }

    /// A connection of any shard has ended: what was bound to it is marked as configured.
    pub fn handle_flow_closed(&mut self, flow: FlowToken, now: Now, _out: &mut Outbox) {
        self.core.location.stamps.tick(now);
        self.core.lose_flow(flow);
    }

    /// A message of this shard's could not be sent.
    pub fn handle_transmit_failed(&mut self, ticket: Ticket, now: Now, out: &mut Outbox) {
        if ticket.is_some() {
            self.core.client_not_sent(ticket.transaction(), now, out);
        }
    }

    /// Does what has become due. Bounded per call; what is left makes [`Shard::next_deadline`] lie in the past.
    pub fn handle_timeout(&mut self, now: Now, out: &mut Outbox) {
        self.handle_ready(now, out);
        let core = &mut self.core;
        core.location.stamps.tick(now);
        let mut budget = limits::TIMEOUTS_PER_TURN_MAX;
        while let Some(due) = core.wheel.advance(now, &mut budget) {
            match due {
                Due::Record(id) => {
                    core.location.handle_timeout(RecordId(id), now, &mut core.wheel, &mut core.counters);
                }
                Due::Ping(id) => core.ping_due(RecordId(id), now, out),
                Due::Server(id) => core.server_timeout(id, now, out),
                Due::Client(slot) => core.client_timeout(slot, now, out),
                Due::Name(id) => core.name_overdue(id, now),
            }
        }
    }

    /// The number of a name by which a peer within TLS has to be known; `None` for what is no domain name.
    pub fn name_peer(&mut self, name: &[u8]) -> Option<PeerName> {
        self.core.peer_names.number(name)
    }

    /// The name that a peer within TLS has to show a certificate for; `None` once it had to make room for others, so that
    /// nothing can be sent there.
    pub fn peer_name(&self, name: PeerName) -> Option<&str> {
        self.core.peer_names.text(name)
    }

    /// When [`Shard::handle_timeout`] is owed next; `None` while nothing waits.
    pub fn next_deadline(&self) -> Option<Now> {
        // What is ready has been for some time.
        let ready = self.core.names.as_ref().filter(|names| names.has_ready()).map(|_| Now::from_unix_ms(0));
        ready.or_else(|| self.core.wheel.next_deadline())
    }

    /// From now on what changes in the location service is written down, for a log whose present generation began at
    /// `generation_began` (see `location::journal`).
    pub fn keep_journal(&mut self, generation_began: Now) {
        self.core.location.journal.keep(generation_began.unix_s());
    }

    /// Writes whole bindings down, from the record with the number `from` on, until about `bytes` have been written;
    /// gives the number to go on from, and `None` when there is none left. To be called while nothing else is done.
    pub fn write_down_all(&mut self, from: u32, bytes: usize) -> Option<u32> {
        self.core.location.write_down_all(from, bytes)
    }

    /// When the last binding that is held now ends, in seconds since the Unix epoch; 0 when there is none.
    pub fn last_expiry_s(&self) -> u32 {
        self.core.location.last_expiry_s()
    }

    /// What has been written down since the last [`Shard::clear_journal`]. Replies of this turn promise it: they may
    /// leave once it is durable.
    pub fn journal(&self) -> &[u8] {
        self.core.location.journal.bytes()
    }

    /// Puts what was written down behind what `into` has; it has been taken care of with that.
    pub fn take_journal(&mut self, into: &mut Vec<u8>) {
        self.core.location.journal.take(into);
    }

    /// What was written down has been taken care of.
    pub fn clear_journal(&mut self) {
        self.core.location.journal.clear();
    }

    /// Does again what a journal of this node says, in the order it was written; entries of other shards are passed
    /// over, so that a log may be read by more or fewer shards than wrote it. Gives how many entries were done. To be
    /// called before anything is received, and before [`Shard::keep_journal`]. What has run out meanwhile is ended by
    /// [`Shard::handle_timeout`] like anything else.
    pub fn restore(&mut self, journal: &[u8]) -> Result<usize, BadEntry> {
        let core = &mut self.core;
        let mut done = 0;
        for entry in journal::entries(journal) {
            let entry = entry?;
            if entry.is_of_node() || core.owner_of(entry.aor) == core.place.index {
                done += usize::from(core.location.restore(&entry, &mut core.wheel));
            }
        }
        Ok(done)
    }

    /// From now on it is noted which AoRs come to have a binding here and which have none any more. To be called once
    /// everything is restored: what the directory says of that is for a reconcile to compare.
    pub fn keep_homes(&mut self) {
        self.core.location.changes.keep();
    }

    /// The next AoR whose row in the directory may have to change, with what it is to say now.
    pub fn next_change(&mut self) -> Option<Change> {
        let location = &mut self.core.location;
        let (hash, aor) = location.changes.take()?;
        Some(Change { aor, is_home: location.is_home(hash) })
    }

    /// How many AoRs [`Shard::next_change`] has to give.
    pub fn changes_count(&self) -> usize {
        self.core.location.changes.len()
    }

    /// How many changes were forgotten for want of room; a reconcile finds them again.
    pub fn changes_forgotten(&self) -> u64 {
        self.core.location.changes.forgotten()
    }

    /// The directory says of these AoRs that they are at home here: those of this shard are marked as seen in `pass`, or
    /// become changes when they are not at home. AoRs of other shards are passed over.
    pub fn compare<'a>(&mut self, aors: impl Iterator<Item = &'a [u8]>, pass: Pass) {
        let core = &mut self.core;
        for aor in aors {
            let hash = core.keys.aor(aor);
            if core.owner_of(hash) == core.place.index {
                core.location.compare(AorKey { hash, aor }, pass);
            }
        }
    }

    /// Makes changes of the AoRs that `walk` asks for, from the record with the number `from` on, looking at `count`
    /// records; gives the number to go on from, and `None` when there is none left.
    pub fn walk(&mut self, walk: Walk, from: u32, count: u32) -> Option<u32> {
        self.core.location.walk(walk, from, count)
    }

    /// How many questions [`Shard::next_question`] has to give.
    pub fn questions_count(&self) -> usize {
        self.core.directory.as_ref().map_or(0, Directory::questions_count)
    }

    /// The next question for the directory. Each is to be answered once by [`Shard::handle_answer`].
    pub fn next_question(&mut self) -> Option<Question> {
        self.core.directory.as_mut().and_then(Directory::next_question)
    }

    /// Takes in what the directory says to the question of that id.
    pub fn handle_answer(&mut self, id: u64, answer: Answer<'_>, now: Now, out: &mut Outbox) {
        self.core.directory_answered(AorHash(id), answer, now, out);
    }

    /// From now on these are the other nodes of the federation, each as `address` or `address:port`. What was asked of
    /// those before goes on; without a directory there is nobody to know.
    pub fn set_peers<'a>(&mut self, peers: impl Iterator<Item = &'a str>) {
        if let Some(directory) = &mut self.core.directory {
            directory.set_peers(peers);
        }
    }

    /// From now on these homes are known to be down, each as `address` or `address:port`: no request is sent there.
    pub fn set_down<'a>(&mut self, homes: impl Iterator<Item = &'a str>) {
        if let Some(directory) = &mut self.core.directory {
            directory.set_down(homes);
        }
    }

    /// Whether REGISTER requests are answered 503 with Retry-After, since what they change could not be made durable.
    pub fn refuse_changes(&mut self, is_refusing: bool) {
        self.core.is_refusing_changes = is_refusing;
    }

    /// Whether this node is the one of its home that decides when bindings end, as every node is at first. One that is not
    /// lets go of a binding [`limits::PASSIVE_GRACE_S`] after its time is over, and does not find it meanwhile. One that
    /// becomes it lets go of what is over within [`limits::PASSIVE_LOOK_S`].
    ///
    /// Only the active one pings.
    pub fn set_active(&mut self, is_active: bool) {
        if self.core.location.is_active != is_active {
            self.core.pinger.begin_watch();
        }
        self.core.location.is_active = is_active;
    }

    /// Whether phones are pinged while this node is the active one, as they are at first.
    pub fn set_pinging(&mut self, is_on: bool) {
        self.core.pinger.turn(is_on);
    }

    /// The local address that this host does not have, as it is with that of the home where this node was made active by
    /// a command (`cluster.ownership`) before the address came, or without it. Phones that registered at that address are not
    /// pinged meanwhile, and their bindings do not end for it; `None`, as at first, for no such address.
    pub fn set_absent_address(&mut self, ip: Option<IpAddr>) {
        self.core.pinger.set_absent(ip);
    }

    /// What [`Shard::set_absent_address`] has said last.
    pub fn absent_address(&self) -> Option<IpAddr> {
        self.core.pinger.absent()
    }

    /// What [`Shard::set_pinging`] has said last.
    pub fn is_pinging(&self) -> bool {
        self.core.pinger.is_on()
    }

    /// What [`Shard::set_active`] has said last.
    pub fn is_active(&self) -> bool {
        self.core.location.is_active
    }

    /// From now on new requests are answered 503 with Retry-After; what is open goes on.
    pub fn drain(&mut self) {
        self.core.is_draining = true;
    }

    /// How many transactions are still to be answered, by us or to us; requests that wait for a name are among them.
    ///
    /// Those that were answered and only wait for retransmissions are not counted.
    pub fn open_transactions(&self) -> usize {
        self.core.servers.unanswered() + self.core.names.as_ref().map_or(0, Names::parked)
    }

    /// How many transactions are held in memory, of both kinds and in every state.
    pub fn held_transactions(&self) -> usize {
        self.core.servers.len() + self.core.clients.len()
    }

    /// How many bindings are held.
    pub fn bindings(&self) -> usize {
        self.core.location.bindings()
    }

    /// The bindings that can be called at `now`, in no order that means anything; nothing is changed. Those that were
    /// removed and are only remembered are not among them, though [`Shard::bindings`] counts them.
    pub fn live_bindings(&self, now: Now) -> impl Iterator<Item = BindingView<'_>> {
        self.core.location.live(now.unix_s())
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        let tally = self.core.location.journal.tally();
        Counters {
            journal_bindings: tally.bindings,
            journal_binding_bytes: tally.binding_bytes,
            journal_refreshes: tally.refreshes,
            journal_refresh_bytes: tally.refresh_bytes,
            home_changes_forgotten: self.core.location.changes.forgotten(),
            ..self.core.counters
        }
    }

    /// For what the runtime drops or refuses itself.
    pub fn counters_mut(&mut self) -> &mut Counters {
        &mut self.core.counters
    }
}

impl Core {
    fn scan<'a>(&mut self, bytes: &'a [u8], index: &'a mut Index) -> Option<Message<'a>> {
        match scan(bytes, index) {
            Ok(message) => Some(message),
            Err(ScanError::KeepAlive) => {
                self.counters.keepalives += 1;
                None
            }
            Err(ScanError::TooLong) => {
                self.counters.dropped_too_long += 1;
                None
            }
            Err(ScanError::NotSip) => {
                self.counters.dropped_unparsable += 1;
                None
            }
        }
    }

    /// Handles a message of this shard's; `aor` is that of a REGISTER where it is known already.
    fn handle(&mut self, message: &Message<'_>, aor: Option<AorHash>, source: &Source, now: Now, out: &mut Outbox) {
        self.location.stamps.tick(now);
        self.tick_names(now);
        let method = message.method();
        if method == Some(Method::Register)
            && let Some(aor) = aor.or_else(|| self.aor_of_register(message))
            && self.refresh_same(message, aor, source, now, out).is_some()
        {
            return;
        }
        match method {
            Some(method) => match Request::parse(*message, method, source) {
                Ok(request) => self.handle_request(&request, now, out),
                Err(rejection) => self.reject_message(message, method, source, &rejection, out),
            },
            None => self.handle_response(message, source, now, out),
        }
    }

    fn handle_response(&mut self, response: &Message<'_>, source: &Source, now: Now, out: &mut Outbox) {
        let Some(response) = Response::parse(*response) else {
            self.counters.dropped_malformed_response += 1;
            return;
        };
        let number = response.via.branch().and_then(proxy::branch_number);
        match number.map(|number| self.client_of(number)) {
            Some(Some(id)) => self.client_response(id, &response, now, out),
            Some(None) if self.pass_on_for_twin(&response, source, out) => {}
            None if self.ping_answered(&response, now) => {}
            // RFC 6026 §8.9: no stray response is forwarded; what has no branch of ours is one.
            _ => self.counters.dropped_stray_response += 1,
        }
    }

    fn handle_request(&mut self, request: &Request<'_>, now: Now, out: &mut Outbox) {
        // A REGISTER for us has no transaction (see the registrar), so the table need not be asked.
        if self.is_for_registrar(request) {
            if self.is_draining {
                return self.reject(request, &Rejection::draining(self.settings.proxy.retry_after_s), out);
            }
            if self.is_refusing_changes {
                return self.reject(request, &Rejection::not_durable(self.settings.proxy.retry_after_s), out);
            }
            return self.register(request, now, out);
        }
        let key = server::key(&self.keys, request);
        if self.is_parked(key) {
            return self.parked_again(key, request, now, out);
        }
        match (request.method, self.servers.find(key)) {
            (Method::Ack, found) => self.handle_ack(key, request, found, now, out),
            (Method::Cancel, _) => self.cancel(key, request, now, out),
            (_, Some(id)) => self.server_request(id, out),
            (_, None) if self.is_draining && !request.is_in_dialog() && !self.has_waited() => {
                self.reject(request, &Rejection::draining(self.settings.proxy.retry_after_s), out);
            }
            (Method::Options, None) if request.uri.sip().is_some_and(|uri| uri.user.is_none() && self.is_ours(uri)) => {
                self.answer_options(request, out);
            }
            (_, None) => self.proxy(key, request, now, out),
        }
    }

    fn handle_ack(&mut self, key: u128, request: &Request<'_>, found: Option<u32>, now: Now, out: &mut Outbox) {
        match found {
            Some(id) => {
                if self.server_ack(id, now) {
                    self.forward_ack(key, request, now, out);
                }
            }
            // The tag of a refusal of ours, which kept no transaction that would absorb its ACK (§8.2.7).
            None if request.to.tag() == Some(&self.tag_for(request)) => {}
            None => self.forward_ack(key, request, now, out),
        }
    }

    /// Marks or removes the bindings of a connection that has ended.
    fn lose_flow(&mut self, flow: FlowToken) {
        for id in self.location.take_flow(flow) {
            let Some(record) = self.location.get(RecordId(id)) else { continue };
            let (hash, aor) = (record.hash(), record.aor().to_vec());
            let lost: Vec<u64> = Record::bindings(record)
                .filter(|b| b.flow() == flow && !b.flags().removed() && !b.flags().flow_lost())
                .map(|b| b.contact_id())
                .collect();
            for contact_id in lost {
                let op = match self.settings.registrar.lost_flow {
                    LostFlow::Remove => Op::Unbind(Unbind { contact_id, cause: Cause::FlowLost }),
                    LostFlow::Connect | LostFlow::Skip => Op::LoseFlow { contact_id },
                };
                let key = AorKey { hash, aor: &aor };
                self.location.apply(key, &op, &mut self.wheel, &mut self.counters);
            }
        }
    }
}
