//! Server transactions: what the tables of [`super::invite_server`] and [`super::non_invite_server`] act on.
//!
//! Found by a keyed hash over what RFC 3261 §17.2.3 has matched. Each keeps the last response for as long as
//! it may have to be sent again, and its response context (RFC 3261 §16.2) until its final response.

use super::{invite_server, non_invite_server};
use crate::hop::Destination;
use crate::keys::{BRANCH_COOKIE, Keys};
use crate::outbox::{Outbox, Ticket};
use crate::proxy::Context;
use crate::request::Request;
use crate::shard::Core;
use crate::slab::Slab;
use crate::time::Now;
use crate::wheel::{Due, TimerId};
use hashbrown::HashTable;
use sipfed_sip::{HeaderName, Method};

/// Where a server transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Invite(invite_server::State),
    NonInvite(non_invite_server::State),
}

/// One server transaction.
#[derive(Debug)]
pub(crate) struct ServerTransaction {
    key: u128,
    state: State,
    reply_to: Destination,
    /// The last response, while it may have to be sent again.
    last: Vec<u8>,
    /// Timer G's interval.
    interval_ms: u32,
    /// Timer G.
    resend_at: Option<Now>,
    /// Timer H, I, J or L.
    end_at: Option<Now>,
    timer: Option<TimerId>,
    pub(crate) context: Option<Box<Context>>,
}

/// All server transactions of a shard.
#[derive(Debug, Default)]
pub(crate) struct ServerTransactions {
    slots: Slab<ServerTransaction>,
    index: HashTable<(u128, u32)>,
    unanswered: usize,
}

/// The key of the transaction that a request belongs to; that of an ACK or CANCEL is that of its INVITE.
pub(crate) fn key(keys: &Keys, request: &Request<'_>) -> u128 {
    let is_invite = matches!(request.method, Method::Invite | Method::Ack | Method::Cancel);
    let method: &[u8] = if is_invite { b"INVITE" } else { request.method.as_bytes() };
    match request.via.branch() {
        Some(branch) if branch.starts_with(BRANCH_COOKIE) && branch.len() > BRANCH_COOKIE.len() => {
            keys.transaction(&[branch, request.via.sent_by, method])
        }
        // RFC 2543: no unique branch, so everything that stays equal is compared (RFC 4475 §3.2.1). The To tag is
        // left out: an ACK carries the one of our response.
        _ => keys.transaction(&[
            b"2543",
            request.message.request_uri(),
            request.from.tag().unwrap_or_default(),
            request.call_id,
            &request.cseq.number.to_le_bytes(),
            request.via.raw,
            method,
        ]),
    }
}

impl ServerTransactions {
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many have not been answered finally.
    pub(crate) fn unanswered(&self) -> usize {
        self.unanswered
    }

    pub(crate) fn find(&self, key: u128) -> Option<u32> {
        self.index.find(key as u64, |entry| entry.0 == key).map(|entry| entry.1)
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut ServerTransaction> {
        self.slots.get_mut(id)
    }

    pub(crate) fn context_mut(&mut self, id: u32) -> Option<&mut Context> {
        self.slots.get_mut(id)?.context.as_deref_mut()
    }

    /// The key of one.
    pub(crate) fn key_of(&self, id: u32) -> Option<u128> {
        self.slots.get(id).map(|t| t.key)
    }

    /// Opens one for `request`.
    pub(crate) fn open(&mut self, key: u128, request: &Request<'_>, context: Box<Context>) -> u32 {
        let state = match request.method {
            Method::Invite => State::Invite(invite_server::State::Proceeding),
            _ => State::NonInvite(non_invite_server::State::Trying),
        };
        let id = self.slots.insert(ServerTransaction {
            key,
            state,
            reply_to: request.reply_to(),
            last: Vec::new(),
            interval_ms: 0,
            resend_at: None,
            end_at: None,
            timer: None,
            context: Some(context),
        });
        self.index.insert_unique(key as u64, (key, id), |entry| entry.0 as u64);
        self.unanswered += 1;
        id
    }
}

impl ServerTransaction {
    /// Whether a final response has been sent.
    pub(crate) fn is_answered(&self) -> bool {
        !matches!(
            self.state,
            State::Invite(invite_server::State::Proceeding)
                | State::NonInvite(non_invite_server::State::Trying | non_invite_server::State::Proceeding)
        )
    }
}

/// A response of the TU, as an event of the machine that sends it.
enum Response {
    Invite(invite_server::Event),
    NonInvite(non_invite_server::Event),
}

impl Response {
    fn of(state: State, status: u16) -> Self {
        match (state, status) {
            (State::Invite(_), 100..=199) => Self::Invite(invite_server::Event::Provisional),
            (State::Invite(_), 200..=299) => Self::Invite(invite_server::Event::Success),
            (State::Invite(_), _) => Self::Invite(invite_server::Event::Failure),
            (State::NonInvite(_), 100..=199) => Self::NonInvite(non_invite_server::Event::Provisional),
            (State::NonInvite(_), _) => Self::NonInvite(non_invite_server::Event::Final),
        }
    }

    /// Whether it may have to be sent again from the state that it leads to; `None` when it is not sent at all.
    fn is_kept(&self, state: State) -> Option<bool> {
        match (self, state) {
            // A 2xx is sent again by its UAS, end to end (RFC 3261 §13.3.1.4).
            (Self::Invite(event), State::Invite(state)) => {
                invite_server::step(state, *event).map(|(next, _)| next != invite_server::State::Accepted)
            }
            (Self::NonInvite(event), State::NonInvite(state)) => non_invite_server::step(state, *event).map(|_| true),
            _ => None,
        }
    }
}

impl Core {
    /// A request that belongs to the transaction came again.
    pub(crate) fn server_request(&mut self, id: u32, out: &mut Outbox) {
        let Some(transaction) = self.servers.get_mut(id) else { return };
        self.counters.retransmissions_absorbed += 1;
        let resend = match transaction.state {
            State::Invite(state) => invite_server::step(state, invite_server::Event::Request)
                .is_some_and(|(_, actions)| actions.contains(&invite_server::Action::SendLast)),
            State::NonInvite(state) => non_invite_server::step(state, non_invite_server::Event::Request)
                .is_some_and(|(_, actions)| actions.contains(&non_invite_server::Action::SendLast)),
        };
        if resend {
            send_last(transaction, out);
            self.counters.sent += 1;
        }
    }

    /// An ACK of the transaction came; whether it is for the TU.
    pub(crate) fn server_ack(&mut self, id: u32, now: Now) -> bool {
        self.step_invite_server(id, invite_server::Event::Ack, now, &mut Outbox::new())
    }

    /// Sends a response of `status`, whose bytes `compose` appends, through the transaction.
    pub(crate) fn server_respond(
        &mut self,
        id: u32,
        status: u16,
        now: Now,
        out: &mut Outbox,
        compose: impl FnOnce(&mut Vec<u8>),
    ) {
        let Some(transaction) = self.servers.get_mut(id) else { return };
        let event = Response::of(transaction.state, status);
        let Some(is_kept) = event.is_kept(transaction.state) else { return };
        let sent = out.push(transaction.reply_to, Ticket::NONE, compose);
        self.counters.sent += 1;
        transaction.last.clear();
        if is_kept {
            transaction.last.extend_from_slice(sent);
        }
        match event {
            Response::Invite(event) => _ = self.step_invite_server(id, event, now, out),
            Response::NonInvite(event) => self.step_non_invite_server(id, event, now, out),
        }
    }

    /// Carries out one step; whether an ACK is for the TU.
    fn step_invite_server(&mut self, id: u32, event: invite_server::Event, now: Now, out: &mut Outbox) -> bool {
        use invite_server::{Action, State as S};
        let timers = self.settings.timers;
        let Some(t) = self.servers.get_mut(id) else { return false };
        let State::Invite(state) = t.state else { return false };
        let Some((next, actions)) = invite_server::step(state, event) else { return false };
        let was_answered = t.is_answered();
        t.state = State::Invite(next);
        let became_answered = !was_answered && t.is_answered();
        let reliable = t.reply_to.transport().is_reliable();
        let mut pass_ack = false;
        for action in actions {
            match action {
                // [`Core::server_respond`] has done that already.
                Action::Send => {}
                Action::SendLast => {
                    send_last(t, out);
                    self.counters.sent += 1;
                }
                Action::StartG if reliable => {}
                Action::StartG => {
                    t.interval_ms =
                        if t.interval_ms == 0 { timers.t1_ms } else { (t.interval_ms * 2).min(timers.t2_ms) };
                    t.resend_at = Some(now.plus_ms(u64::from(t.interval_ms)));
                }
                Action::StartH | Action::StartL => t.end_at = Some(now.plus_ms(64 * u64::from(timers.t1_ms))),
                Action::StartI => {
                    t.resend_at = None;
                    t.end_at = Some(now.plus_ms(if reliable { 0 } else { u64::from(timers.t4_ms) }));
                }
                Action::PassAck => pass_ack = true,
            }
        }
        self.servers.unanswered -= usize::from(became_answered);
        let Some(t) = self.servers.get_mut(id) else { return false };
        match next {
            // Nothing is sent again from here.
            S::Accepted | S::Confirmed => t.last = Vec::new(),
            S::Terminated => return self.close_server(id),
            S::Proceeding | S::Completed => {}
        }
        self.rearm_server(id);
        pass_ack
    }

    fn step_non_invite_server(&mut self, id: u32, event: non_invite_server::Event, now: Now, out: &mut Outbox) {
        use non_invite_server::{Action, State as S};
        let timers = self.settings.timers;
        let Some(t) = self.servers.get_mut(id) else { return };
        let State::NonInvite(state) = t.state else { return };
        let Some((next, actions)) = non_invite_server::step(state, event) else { return };
        let was_answered = t.is_answered();
        t.state = State::NonInvite(next);
        let became_answered = !was_answered && t.is_answered();
        for action in actions {
            match action {
                // [`Core::server_respond`] has done that already.
                Action::Send => {}
                Action::SendLast => {
                    send_last(t, out);
                    self.counters.sent += 1;
                }
                Action::StartJ => {
                    let reliable = t.reply_to.transport().is_reliable();
                    t.end_at = Some(now.plus_ms(if reliable { 0 } else { 64 * u64::from(timers.t1_ms) }));
                }
            }
        }
        self.servers.unanswered -= usize::from(became_answered);
        if next == S::Terminated {
            self.close_server(id);
        } else {
            self.rearm_server(id);
        }
    }

    /// The transaction's own timers; those of its context are looked at by the proxy.
    pub(crate) fn server_timeout(&mut self, id: u32, now: Now, out: &mut Outbox) {
        let Some(t) = self.servers.get_mut(id) else { return };
        t.timer = None;
        let due = |at: Option<Now>| at.is_some_and(|at| at <= now);
        let (end, resend) = (due(t.end_at), due(t.resend_at));
        match t.state {
            State::Invite(state) if end => {
                let event = match state {
                    invite_server::State::Completed => invite_server::Event::TimerH,
                    invite_server::State::Confirmed => invite_server::Event::TimerI,
                    _ => invite_server::Event::TimerL,
                };
                self.step_invite_server(id, event, now, out);
            }
            State::Invite(_) if resend => {
                t.resend_at = None;
                self.counters.retransmissions_sent += 1;
                self.step_invite_server(id, invite_server::Event::TimerG, now, out);
            }
            State::NonInvite(_) if end => {
                self.step_non_invite_server(id, non_invite_server::Event::TimerJ, now, out);
            }
            _ => {}
        }
        self.proxy_timeout(id, now, out);
        self.rearm_server(id);
    }

    /// Sets the transaction's one deadline to the first of its timers.
    pub(crate) fn rearm_server(&mut self, id: u32) {
        let Some(t) = self.servers.get_mut(id) else { return };
        let context = t.context.as_ref().and_then(|context| context.next_deadline());
        let first = [t.resend_at, t.end_at, context].into_iter().flatten().min();
        if let Some(timer) = t.timer.take() {
            self.wheel.cancel(timer);
        }
        t.timer = first.map(|at| self.wheel.schedule(Due::Server(id), at));
    }

    /// Lets go of the response context of an answered transaction, which waits on for retransmissions alone.
    pub(crate) fn drop_context(&mut self, id: u32) {
        if let Some(context) = self.servers.get_mut(id).and_then(|t| t.context.take()) {
            self.orphan_branches(&context);
        }
        self.rearm_server(id);
    }

    /// Ends a transaction without a word; always false, for the caller's convenience.
    pub(crate) fn close_server(&mut self, id: u32) -> bool {
        if let Some(t) = self.servers.slots.remove(id) {
            self.servers.unanswered -= usize::from(!t.is_answered());
            if let Ok(entry) = self.servers.index.find_entry(t.key as u64, |entry| entry.1 == id) {
                entry.remove();
            }
            if let Some(timer) = t.timer {
                self.wheel.cancel(timer);
            }
            if let Some(context) = t.context {
                self.orphan_branches(&context);
            }
        }
        false
    }
}

fn send_last(transaction: &ServerTransaction, out: &mut Outbox) {
    if !transaction.last.is_empty() {
        out.push(transaction.reply_to, Ticket::NONE, |buffer| buffer.extend_from_slice(&transaction.last));
    }
}

/// The Timestamp line of a request, which a 100 repeats (RFC 3261 §8.2.6.1).
pub(crate) fn timestamp_line<'a>(request: &Request<'a>) -> Option<&'a [u8]> {
    const NAME: &[u8] = b"Timestamp";
    let is_it = |line: &[u8]| line.len() > NAME.len() && sipfed_sip::eq_ignore_case(&line[..NAME.len()], NAME);
    request.message.all_fields().find(|f| f.name == HeaderName::Other && is_it(f.line)).map(|f| f.line)
}
