//! Client transactions: what the tables of [`super::invite_client`] and [`super::non_invite_client`] act on.
//!
//! A response finds its transaction by the number in our own branch: a slot of the table and a nonce that
//! nobody else can know, so that a forged response finds nothing. Where another node may have to go on with a call, it is a
//! number that this one knows as well ([`TwinNumber`]), and a table leads from there to the slot.

use super::{invite_client, non_invite_client};
use crate::hop::{Destination, ShardIndex};
use crate::keys::TwinNumber;
use crate::outbox::{Outbox, Ticket};
use crate::proxy::Outcome;
use crate::response::Response;
use crate::shard::Core;
use crate::slab::Slab;
use crate::time::Now;
use crate::wheel::{Due, TimerId};
use hashbrown::HashTable;
use sipfed_sip::{CSeq, HeaderName, Method, compose, scan};

/// Names one client transaction for as long as it lives, and none afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientId {
    pub(crate) slot: u32,
    pub(crate) nonce: u32,
}

impl ClientId {
    pub(crate) fn ticket(self, shard: ShardIndex) -> Ticket {
        Ticket::new(shard, u64::from(self.slot) << 24 | u64::from(self.nonce & 0xff_ffff))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Invite(invite_client::State),
    NonInvite(non_invite_client::State),
}

/// How far the CANCEL of an INVITE has come (RFC 3261 §9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cancel {
    No,
    /// To be sent once a provisional response has come.
    Wanted,
    /// Sent, as this transaction.
    Sent(ClientId),
}

#[derive(Debug)]
pub(crate) struct ClientTransaction {
    nonce: u32,
    state: State,
    to: Destination,
    /// The request as sent, while it may be needed.
    request: Box<[u8]>,
    /// The server transaction it is a branch of; `None` once that has ended, and for a CANCEL.
    server: Option<u32>,
    cancel: Cancel,
    interval_ms: u32,
    /// Timer A or E.
    resend_at: Option<Now>,
    /// Timer B or F.
    give_up_at: Option<Now>,
    /// Timer D, K or M.
    end_at: Option<Now>,
    /// Timer C of the proxy (§16.6 step 11), or the end of waiting for a cancelled branch (§9.1).
    timer_c_at: Option<Now>,
    /// When a receiver that has said nothing at all is waited for no longer.
    hurry_at: Option<Now>,
    /// Whether nobody waits for it any more, so that only a 2xx which comes after all is told.
    is_given_up: bool,
    /// What it is found by where its branch does not name its slot.
    number: Option<TwinNumber>,
    timer: Option<TimerId>,
}

impl ClientTransaction {
    /// One that has sent nothing yet.
    fn new(nonce: u32, state: State, to: Destination, server: Option<u32>) -> Self {
        Self {
            nonce,
            state,
            to,
            request: Box::default(),
            server,
            cancel: Cancel::No,
            interval_ms: 0,
            resend_at: None,
            give_up_at: None,
            end_at: None,
            timer_c_at: None,
            hurry_at: None,
            is_given_up: false,
            number: None,
            timer: None,
        }
    }

    /// Whether nothing has been said to it.
    fn is_unheard(&self) -> bool {
        matches!(
            self.state,
            State::Invite(invite_client::State::Calling) | State::NonInvite(non_invite_client::State::Trying)
        )
    }

    /// Whom to tell of that, if anybody: of a branch that was given up only a 2xx counts.
    fn told_of(&self, outcome: &Outcome<'_>) -> Option<u32> {
        let is_success = matches!(outcome, Outcome::Response(response) if (200..300).contains(&response.status));
        self.server.filter(|_| !self.is_given_up || is_success)
    }

    /// Whether a response with that CSeq answers its request (§17.1.3); anything does once that is not kept any more.
    fn is_asked(&self, cseq: &CSeq<'_>) -> bool {
        match self.state {
            State::Invite(_) => cseq.method == Method::Invite,
            State::NonInvite(_) => {
                let method = cseq.method.as_bytes();
                self.request.is_empty()
                    || self.request.starts_with(method) && self.request.get(method.len()) == Some(&b' ')
            }
        }
    }
}

/// All client transactions of a shard.
#[derive(Debug, Default)]
pub(crate) struct ClientTransactions {
    slots: Slab<ClientTransaction>,
    /// The slots of those that have a number.
    numbered: HashTable<u32>,
}

impl ClientTransactions {
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn get(&self, id: ClientId) -> Option<&ClientTransaction> {
        self.slots.get(id.slot).filter(|t| t.nonce == id.nonce)
    }

    fn get_mut(&mut self, id: ClientId) -> Option<&mut ClientTransaction> {
        self.slots.get_mut(id.slot).filter(|t| t.nonce == id.nonce)
    }

    /// The one that has a number.
    pub(crate) fn by_number(&self, number: TwinNumber) -> Option<ClientId> {
        let has_it = |slot: &u32| number_of(&self.slots, *slot) == Some(number);
        self.id_of(*self.numbered.find(number.place(), has_it)?)
    }

    /// Takes a slot for an INVITE whose branch has a number that no other one has.
    pub(crate) fn reserve_numbered(&mut self, to: Destination, server: u32, number: TwinNumber) -> ClientId {
        let state = State::Invite(invite_client::State::Calling);
        let nonce = number.nonce();
        let slot = self.slots.insert(ClientTransaction {
            number: Some(number),
            ..ClientTransaction::new(nonce, state, to, Some(server))
        });
        let place = |slot: &u32| number_of(&self.slots, *slot).map_or(0, TwinNumber::place);
        self.numbered.insert_unique(number.place(), slot, place);
        ClientId { slot, nonce }
    }

    /// Has a reserved transaction stand where it does when its phone rings, without sending `invite`: another node has.
    pub(crate) fn take_up(&mut self, id: ClientId, invite: &[u8]) {
        if let Some(t) = self.get_mut(id) {
            (t.state, t.request) = (State::Invite(invite_client::State::Proceeding), invite.into());
        }
    }

    /// Forgets whose branch it is.
    pub(crate) fn orphan(&mut self, id: ClientId) {
        if let Some(t) = self.get_mut(id) {
            t.server = None;
        }
    }

    /// Has a reserved transaction send to another receiver.
    pub(crate) fn redirect(&mut self, id: ClientId, to: Destination) {
        if let Some(t) = self.get_mut(id) {
            t.to = to;
        }
    }

    fn id_of(&self, slot: u32) -> Option<ClientId> {
        self.slots.get(slot).map(|t| ClientId { slot, nonce: t.nonce })
    }
}

impl Core {
    /// Takes a slot for a request that is about to be composed: its number stands in the request's branch. `number` is
    /// that of the request it comes of.
    pub(crate) fn reserve_client(
        &mut self,
        to: Destination,
        server: Option<u32>,
        is_invite: bool,
        number: u64,
    ) -> ClientId {
        let nonce = self.keys.draw(number) as u32;
        let state = if is_invite {
            State::Invite(invite_client::State::Calling)
        } else {
            State::NonInvite(non_invite_client::State::Trying)
        };
        let slot = self.clients.slots.insert(ClientTransaction::new(nonce, state, to, server));
        ClientId { slot, nonce }
    }

    /// Sends the request of a reserved transaction and starts its timers (RFC 3261 §17.1.1.2, §17.1.2.2).
    pub(crate) fn start_client(&mut self, id: ClientId, request: &[u8], now: Now, out: &mut Outbox) {
        let timers = self.settings.timers;
        let timer_c_ms = u64::from(self.settings.proxy.timer_c_s) * 1000;
        let ticket = id.ticket(self.place.index);
        let Some(t) = self.clients.get_mut(id) else { return };
        t.request = request.into();
        t.give_up_at = Some(now.plus_ms(64 * u64::from(timers.t1_ms)));
        if !t.to.transport().is_reliable() {
            t.interval_ms = timers.t1_ms;
            t.resend_at = Some(now.plus_ms(u64::from(timers.t1_ms)));
        }
        if matches!(t.state, State::Invite(_)) {
            t.timer_c_at = Some(now.plus_ms(timer_c_ms));
        }
        out.push(t.to, ticket, |buffer| buffer.extend_from_slice(request));
        self.counters.sent += 1;
        self.rearm_client(id);
    }

    /// What was started is waited for no longer than until `at` while nothing at all is said to it.
    pub(crate) fn hurry_client(&mut self, id: ClientId, at: Now) {
        let Some(t) = self.clients.get_mut(id) else { return };
        if t.is_unheard() {
            t.hurry_at = Some(at);
            self.rearm_client(id);
        }
    }

    /// Nothing has been said for as long as it is worth the caller's time. Should something still come, that branch is
    /// cancelled (§9.1), so that nobody is left ringing.
    fn give_up_early(&mut self, id: ClientId, now: Now, out: &mut Outbox) {
        let Some(t) = self.clients.get_mut(id) else { return };
        let (server, to) = (t.server, t.to);
        (t.resend_at, t.is_given_up) = (None, true);
        self.cancel_client(id, now, out);
        self.rearm_client(id);
        if let Some(server) = server {
            if self.is_of_homes(server) {
                self.counters.homes_given_up += 1;
            } else {
                self.counters.next_hops_given_up += 1;
            }
            self.note_silence(server, &to, now);
            self.branch_outcome(server, id, &Outcome::TimedOut, now, out);
        }
    }

    /// A response whose branch names `id` has come.
    pub(crate) fn client_response(&mut self, id: ClientId, response: &Response<'_>, now: Now, out: &mut Outbox) {
        let status = response.status;
        let Some(t) = self.clients.get(id) else {
            self.counters.dropped_stray_response += 1;
            return;
        };
        if response.cseq.method == Method::Cancel {
            // The CANCEL has the branch of its INVITE (§9.1); its response ends its retransmissions, no more.
            let server = t.server;
            if let Cancel::Sent(cancel) = t.cancel {
                let event = non_invite_event(status);
                self.step_non_invite_client(cancel, event, None, now, out);
            }
            if let Some(server) = server.filter(|_| status == 481) {
                self.branch_unknown(server, id, now, out);
            }
            return;
        }
        if !t.is_asked(&response.cseq) {
            self.counters.dropped_stray_response += 1;
            return;
        }
        if !response.goes_on {
            // §16.7 step 3: it would be an answer to ourselves, and a branch asks for nobody but the caller.
            self.counters.dropped_malformed_response += 1;
            return;
        }
        if let Some(t) = self.clients.get_mut(id) {
            t.hurry_at = None;
            self.avoided.heard(&t.to);
            if let Some(directory) = &mut self.directory {
                directory.silent.heard(&t.to);
            }
        }
        match self.clients.get(id).map(|t| t.state) {
            Some(State::Invite(_)) => {
                let event = match status {
                    100..=199 => invite_client::Event::Provisional,
                    200..=299 => invite_client::Event::Success,
                    _ => invite_client::Event::Failure,
                };
                self.step_invite_client(id, event, Some(response), now, out);
            }
            Some(State::NonInvite(_)) => {
                self.step_non_invite_client(id, non_invite_event(status), Some(response), now, out);
            }
            None => {}
        }
    }

    fn step_invite_client(
        &mut self,
        id: ClientId,
        event: invite_client::Event,
        response: Option<&Response<'_>>,
        now: Now,
        out: &mut Outbox,
    ) {
        use invite_client::{Action, State as S};
        let timers = self.settings.timers;
        let timer_c_ms = u64::from(self.settings.proxy.timer_c_s) * 1000;
        let Some(t) = self.clients.get_mut(id) else { return };
        let State::Invite(state) = t.state else { return };
        let Some((next, actions)) = invite_client::step(state, event) else { return };
        t.state = State::Invite(next);
        let to = t.to;
        let mut outcome = None;
        for action in actions {
            let Some(t) = self.clients.get_mut(id) else { return };
            let reliable = t.to.transport().is_reliable();
            match action {
                Action::Resend => self.resend_client(id, out),
                Action::StartA => {
                    t.interval_ms *= 2;
                    t.resend_at = Some(now.plus_ms(u64::from(t.interval_ms)));
                }
                Action::StopAB => (t.resend_at, t.give_up_at) = (None, None),
                Action::Ack => self.send_ack(id, response, out),
                Action::StartD => {
                    // At least 32 s, also where T1 was configured lower.
                    let wait_ms = if reliable { 0 } else { (64 * u64::from(timers.t1_ms)).max(32_000) };
                    (t.end_at, t.timer_c_at) = (Some(now.plus_ms(wait_ms)), None);
                }
                Action::StartM => {
                    (t.end_at, t.timer_c_at) = (Some(now.plus_ms(64 * u64::from(timers.t1_ms))), None);
                    t.request = Box::default();
                }
                Action::Pass => {
                    if response.is_some_and(|response| (101..200).contains(&response.status)) && t.cancel == Cancel::No
                    {
                        // §16.7 step 2.
                        t.timer_c_at = Some(now.plus_ms(timer_c_ms));
                    }
                    outcome = response.map(Outcome::Response);
                }
                Action::TimedOut => outcome = Some(Outcome::TimedOut),
                Action::Failed => outcome = Some(Outcome::NotSent),
            }
        }
        if event == invite_client::Event::Provisional {
            self.send_wanted_cancel(id, now, out);
        }
        let told = outcome.as_ref().and_then(|outcome| self.clients.get(id)?.told_of(outcome));
        self.after_step(id, next == S::Terminated);
        if let (Some(outcome), Some(server)) = (outcome, told) {
            if matches!(outcome, Outcome::TimedOut | Outcome::NotSent) {
                self.note_silence(server, &to, now);
            }
            self.branch_outcome(server, id, &outcome, now, out);
        }
    }

    fn step_non_invite_client(
        &mut self,
        id: ClientId,
        event: non_invite_client::Event,
        response: Option<&Response<'_>>,
        now: Now,
        out: &mut Outbox,
    ) {
        use non_invite_client::{Action, State as S};
        let timers = self.settings.timers;
        let Some(t) = self.clients.get_mut(id) else { return };
        let State::NonInvite(state) = t.state else { return };
        let Some((next, actions)) = non_invite_client::step(state, event) else { return };
        t.state = State::NonInvite(next);
        let to = t.to;
        let mut outcome = None;
        for action in actions {
            let Some(t) = self.clients.get_mut(id) else { return };
            let reliable = t.to.transport().is_reliable();
            match action {
                Action::Resend => self.resend_client(id, out),
                Action::StartE | Action::StartEAtT2 if reliable => {}
                Action::StartE => {
                    t.interval_ms = (t.interval_ms * 2).min(timers.t2_ms);
                    t.resend_at = Some(now.plus_ms(u64::from(t.interval_ms)));
                }
                Action::StartEAtT2 => {
                    t.interval_ms = timers.t2_ms;
                    t.resend_at = Some(now.plus_ms(u64::from(timers.t2_ms)));
                }
                Action::Pass => outcome = response.map(Outcome::Response),
                Action::StartK => {
                    let wait_ms = if reliable { 0 } else { u64::from(timers.t4_ms) };
                    (t.resend_at, t.give_up_at) = (None, None);
                    t.end_at = Some(now.plus_ms(wait_ms));
                    t.request = Box::default();
                }
                Action::TimedOut => outcome = Some(Outcome::TimedOut),
                Action::Failed => outcome = Some(Outcome::NotSent),
            }
        }
        let told = outcome.as_ref().and_then(|outcome| self.clients.get(id)?.told_of(outcome));
        self.after_step(id, next == S::Terminated);
        if let (Some(outcome), Some(server)) = (outcome, told) {
            if matches!(outcome, Outcome::TimedOut | Outcome::NotSent) {
                self.note_silence(server, &to, now);
            }
            self.branch_outcome(server, id, &outcome, now, out);
        }
    }

    fn after_step(&mut self, id: ClientId, terminated: bool) {
        if terminated {
            self.close_client(id);
        } else {
            self.rearm_client(id);
        }
    }

    fn resend_client(&mut self, id: ClientId, out: &mut Outbox) {
        let ticket = id.ticket(self.place.index);
        if let Some(t) = self.clients.get(id) {
            out.push(t.to, ticket, |buffer| buffer.extend_from_slice(&t.request));
            self.counters.retransmissions_sent += 1;
            self.counters.sent += 1;
        }
    }

    /// §17.1.1.3.
    fn send_ack(&mut self, id: ClientId, response: Option<&Response<'_>>, out: &mut Outbox) {
        let to = response.and_then(|response| response.message.value(HeaderName::To));
        let index = &mut self.scratch.index;
        let (Some(t), Some(to)) = (self.clients.get(id), to) else { return };
        let Ok(request) = scan(&t.request, index) else { return };
        out.push(t.to, Ticket::NONE, |buffer| compose::ack(buffer, &request, to));
        self.counters.sent += 1;
    }

    /// Cancels an INVITE branch: at once where a provisional response has come, else when one comes (§9.1).
    pub(crate) fn cancel_client(&mut self, id: ClientId, now: Now, out: &mut Outbox) {
        let Some(t) = self.clients.get_mut(id) else { return };
        if t.cancel != Cancel::No {
            return;
        }
        match t.state {
            State::Invite(invite_client::State::Calling) => t.cancel = Cancel::Wanted,
            State::Invite(invite_client::State::Proceeding) => {
                t.cancel = Cancel::Wanted;
                self.send_wanted_cancel(id, now, out);
            }
            _ => {}
        }
    }

    fn send_wanted_cancel(&mut self, id: ClientId, now: Now, out: &mut Outbox) {
        let timers = self.settings.timers;
        let Some(t) = self.clients.get_mut(id) else { return };
        if t.cancel != Cancel::Wanted {
            return;
        }
        // §9.1: without a final response 64 * T1 later the branch counts as cancelled.
        t.timer_c_at = Some(now.plus_ms(64 * u64::from(timers.t1_ms)));
        let to = t.to;
        let cancel = self.reserve_client(to, None, false, id.nonce.into());
        let mut bytes = std::mem::take(&mut self.scratch.compose);
        bytes.clear();
        if let Some(t) = self.clients.get_mut(id) {
            t.cancel = Cancel::Sent(cancel);
            if let Ok(request) = scan(&t.request, &mut self.scratch.index) {
                compose::cancel(&mut bytes, &request);
            }
        }
        self.start_client(cancel, &bytes, now, out);
        self.scratch.compose = bytes;
        self.rearm_client(id);
    }

    /// The request of `ticket` could not be sent.
    pub(crate) fn client_not_sent(&mut self, transaction: u64, now: Now, out: &mut Outbox) {
        let slot = (transaction >> 24) as u32;
        let Some(id) = self.clients.id_of(slot).filter(|id| u64::from(id.nonce & 0xff_ffff) == transaction & 0xff_ffff)
        else {
            return;
        };
        self.step_invite_client(id, invite_client::Event::TransportError, None, now, out);
        self.step_non_invite_client(id, non_invite_client::Event::TransportError, None, now, out);
    }

    pub(crate) fn client_timeout(&mut self, slot: u32, now: Now, out: &mut Outbox) {
        let Some(id) = self.clients.id_of(slot) else { return };
        let Some(t) = self.clients.get_mut(id) else { return };
        t.timer = None;
        let due = |at: &mut Option<Now>| at.take_if(|at| *at <= now).is_some();
        let (end, give_up) = (due(&mut t.end_at), due(&mut t.give_up_at));
        let (timer_c, resend) = (due(&mut t.timer_c_at), due(&mut t.resend_at));
        let hurry = due(&mut t.hurry_at);
        if give_up {
            self.counters.branches_timed_out += 1;
        }
        match t.state {
            State::Invite(state) => {
                let event = match state {
                    _ if end && state == invite_client::State::Completed => invite_client::Event::TimerD,
                    _ if end => invite_client::Event::TimerM,
                    _ if give_up => invite_client::Event::TimerB,
                    _ if timer_c => return self.timer_c(id, now, out),
                    _ if hurry => return self.give_up_early(id, now, out),
                    _ if resend => invite_client::Event::TimerA,
                    _ => return self.rearm_client(id),
                };
                self.step_invite_client(id, event, None, now, out);
            }
            State::NonInvite(_) => {
                let event = match (end, give_up, resend) {
                    (true, ..) => non_invite_client::Event::TimerK,
                    (_, true, _) => non_invite_client::Event::TimerF,
                    _ if hurry => return self.give_up_early(id, now, out),
                    (.., true) => non_invite_client::Event::TimerE,
                    _ => return self.rearm_client(id),
                };
                self.step_non_invite_client(id, event, None, now, out);
            }
        }
    }

    /// §16.8: a branch that rings too long is cancelled; one that was cancelled and stays silent, or that never
    /// answered, has timed out.
    fn timer_c(&mut self, id: ClientId, now: Now, out: &mut Outbox) {
        let Some(t) = self.clients.get(id) else { return };
        let rings = t.state == State::Invite(invite_client::State::Proceeding);
        if rings && t.cancel == Cancel::No {
            return self.cancel_client(id, now, out);
        }
        let server = t.told_of(&Outcome::TimedOut);
        self.counters.branches_timed_out += 1;
        self.close_client(id);
        if let Some(server) = server {
            self.branch_outcome(server, id, &Outcome::TimedOut, now, out);
        }
    }

    fn rearm_client(&mut self, id: ClientId) {
        let Some(t) = self.clients.get_mut(id) else { return };
        let first = [t.resend_at, t.give_up_at, t.end_at, t.timer_c_at, t.hurry_at].into_iter().flatten().min();
        if let Some(timer) = t.timer.take() {
            self.wheel.cancel(timer);
        }
        t.timer = first.map(|at| self.wheel.schedule(Due::Client(id.slot), at));
    }

    pub(crate) fn close_client(&mut self, id: ClientId) {
        if self.clients.get(id).is_none() {
            return;
        }
        let Some(t) = self.clients.slots.remove(id.slot) else { return };
        if let Some(timer) = t.timer {
            self.wheel.cancel(timer);
        }
        if let Some(number) = t.number
            && let Ok(entry) = self.clients.numbered.find_entry(number.place(), |slot| *slot == id.slot)
        {
            entry.remove();
        }
    }
}

fn number_of(slots: &Slab<ClientTransaction>, slot: u32) -> Option<TwinNumber> {
    slots.get(slot)?.number
}

fn non_invite_event(status: u16) -> non_invite_client::Event {
    if status < 200 { non_invite_client::Event::Provisional } else { non_invite_client::Event::Final }
}
