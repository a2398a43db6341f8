//! What branches come to (RFC 3261 §16.7 to §16.10).

use super::context::{Context, Homes};
use crate::outbox::{Outbox, Ticket};
use crate::reject::Rejection;
use crate::request::{self, Request};
use crate::response::Response;
use crate::shard::Core;
use crate::time::Now;
use crate::transaction::client::ClientId;
use sipfed_sip::{HeaderName, compose};

/// What a branch has come to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome<'a> {
    /// A response has come.
    Response(&'a Response<'a>),
    /// None has come in time: as 408 (§16.8).
    TimedOut,
    /// The request could not be sent: as 503 (§16.9).
    NotSent,
}

impl Core {
    /// A branch of the server transaction `id` has come to something.
    pub(crate) fn branch_outcome(
        &mut self,
        id: u32,
        client: ClientId,
        outcome: &Outcome<'_>,
        now: Now,
        out: &mut Outbox,
    ) {
        if matches!(outcome, Outcome::Response(_)) {
            self.note_answering(id, client, now);
        }
        let Some(server) = self.servers.get_mut(id) else { return };
        let answered = server.is_answered();
        let Some(context) = server.context.as_deref_mut() else { return };
        let (status, response) = match outcome {
            Outcome::Response(response) => (response.status, Some(*response)),
            Outcome::TimedOut => (408, None),
            // RFC 5626 §5.3: whoever has named the flow is to try another.
            Outcome::NotSent if context.goes_by_flow => (430, None),
            // The phone is gone until it registers anew, which says the same as if its connection had been missed before.
            Outcome::NotSent if context.open.iter().any(|open| open.client == client && open.is_flow) => (480, None),
            Outcome::NotSent => (503, None),
        };
        if status < 200 {
            // §16.7 step 5; RFC 4320 §4.1 keeps provisional responses of other requests from going on.
            if let Some(response) = response.filter(|_| status > 100 && context.is_invite && !answered) {
                self.server_respond(id, status, now, out, |buffer| forward(buffer, response));
            }
            return;
        }
        if !answered && self.fail_over(id, client, (status, response), now, out) {
            return;
        }
        let Some(context) = self.servers.context_mut(id) else { return };
        context.end(client);
        // A home that does not answer may have the AoR although others do not.
        if context.homes == Homes::Tried && (status == 408 || (500..600).contains(&status)) {
            context.homes = Homes::Unsure;
        }
        if status < 300 {
            self.branch_succeeded(id, status, response, answered, now, out);
            return;
        }
        if answered {
            return;
        }
        match response {
            Some(response) => {
                let mut bytes = std::mem::take(&mut self.scratch.compose);
                bytes.clear();
                forward(&mut bytes, response);
                context.add(status, &bytes, challenges(response));
                self.scratch.compose = bytes;
            }
            None => context.add(status, b"", Vec::new()),
        }
        if status >= 600 {
            // §16.7 step 5: nobody else is to ring, but what still comes is waited for.
            self.close_context(id, now, out);
        }
        self.go_on(id, now, out);
    }

    /// Something has come of a branch, which tells that its phone is there.
    fn note_answering(&mut self, id: u32, client: ClientId, now: Now) {
        let Some(context) = self.servers.context_mut(id) else { return };
        let open = context.open.iter().find(|open| open.client == client);
        if let Some((record, contact_id)) = open.and_then(|open| open.binding) {
            self.note_heard(record, contact_id, now);
        }
    }

    fn branch_succeeded(
        &mut self,
        id: u32,
        status: u16,
        response: Option<&Response<'_>>,
        answered: bool,
        now: Now,
        out: &mut Outbox,
    ) {
        let Some(context) = self.servers.context_mut(id) else { return };
        let is_invite = context.is_invite;
        // Of an INVITE every 2xx goes on (§16.7 step 5), of another request the first.
        if let Some(response) = response.filter(|_| is_invite || !answered) {
            self.server_respond(id, status, now, out, |buffer| forward(buffer, response));
        }
        self.close_context(id, now, out);
        if !is_invite {
            // Nothing that still comes is passed on.
            return self.drop_context(id);
        }
        if let Some(context) = self.servers.context_mut(id) {
            // No further branch, no response of our own: the request is not needed any more.
            context.request = Box::default();
            context.forget_failures();
        }
        self.rearm_server(id);
    }

    /// Starts no further branch and cancels those that ring (§16.7 step 10).
    fn close_context(&mut self, id: u32, now: Now, out: &mut Outbox) {
        let Some(context) = self.servers.context_mut(id) else { return };
        context.is_closed = true;
        context.elsewhere = None;
        context.targets.clear();
        context.next_group_at = None;
        if context.is_invite {
            self.cancel_open(id, now, out);
        }
    }

    fn cancel_open(&mut self, id: u32, now: Now, out: &mut Outbox) {
        let Some(context) = self.servers.context_mut(id) else { return };
        let mut open = std::mem::take(&mut context.open);
        for branch in &mut open {
            // Nobody wants to hear of another way any more.
            branch.target = None;
            self.cancel_client(branch.client, now, out);
        }
        if let Some(context) = self.servers.context_mut(id) {
            context.open = open;
        }
    }

    /// After a branch has failed: the next group, or the best response when there is none.
    pub(super) fn go_on(&mut self, id: u32, now: Now, out: &mut Outbox) {
        let Some(context) = self.servers.context_mut(id) else { return };
        if context.is_done() {
            self.respond_best(id, now, out);
        } else if context.open.is_empty() && !context.targets.is_empty() {
            self.start_next_group(id, now, out);
        } else {
            self.rearm_server(id);
        }
    }

    /// §16.7 steps 6 and 9.
    fn respond_best(&mut self, id: u32, now: Now, out: &mut Outbox) {
        let Some(context) = self.servers.context_mut(id) else { return };
        let Some(best) = context.take_best().filter(|best| best.status != 404 || context.homes != Homes::Unsure) else {
            return self.respond_refusal(id, now, out);
        };
        if best.status == 408 && !context.is_invite {
            if best.bytes.is_empty() {
                // RFC 4320 §4.2: too late to be of use; the sender has given up by itself.
                self.close_server(id);
            } else {
                self.stay_silent(id, now);
            }
            return;
        }
        if !best.bytes.is_empty() && best.status != 503 {
            self.server_respond(id, best.status, now, out, |buffer| buffer.extend_from_slice(&best.bytes));
        } else {
            // §16.7 step 6: one branch that cannot serve does not mean that we cannot.
            let (status, reason) = match best.status {
                408 => (408, "Request Timeout"),
                430 => (430, "Flow Failed"),
                480 => (480, "Temporarily Unavailable"),
                _ => (500, "Server Internal Error (no branch could be reached)"),
            };
            self.respond_own(id, status, reason, now, out);
        }
        if let Some(context) = self.servers.context_mut(id) {
            context.request = Box::default();
        }
    }

    /// RFC 4320 §4.2: a 408 that came from a branch goes no further. Its sender does not know and may repeat the
    /// request until its own Timer F, which must not start it once more.
    fn stay_silent(&mut self, id: u32, now: Now) {
        let wait_ms = 64 * u64::from(self.settings.timers.t1_ms);
        let Some(context) = self.servers.context_mut(id) else { return };
        context.request = Box::default();
        (context.trying_at, context.forget_at) = (None, Some(now.plus_ms(wait_ms)));
        self.rearm_server(id);
    }

    /// A final response that we make ourselves.
    pub(super) fn respond_own(&mut self, id: u32, status: u16, reason: &str, now: Now, out: &mut Outbox) {
        self.respond_own_with(id, status, reason, None, now, out);
    }

    /// The same with a Retry-After.
    pub(super) fn respond_own_with(
        &mut self,
        id: u32,
        status: u16,
        reason: &str,
        retry_after_s: Option<u32>,
        now: Now,
        out: &mut Outbox,
    ) {
        let Some(tag) = self.servers.context_mut(id).map(|context| context.tag) else { return };
        self.with_message(id, |core, message, source| {
            let stamp = message.top_via().map(|via| request::stamp(&via, source)).unwrap_or_default();
            core.server_respond(id, status, now, out, |buffer| {
                compose::reply(buffer, message, status, reason, &tag, stamp);
                if let Some(s) = retry_after_s {
                    compose::header_number(buffer, "Retry-After", s);
                }
                compose::end(buffer);
            });
        });
    }

    /// A CANCEL (§9.2, §16.10). It is answered without a transaction of its own: its retransmission gets the same
    /// 200 and finds nothing left to cancel.
    pub(crate) fn cancel(&mut self, key: u128, request: &Request<'_>, now: Now, out: &mut Outbox) {
        let Some(id) = self.servers.find(key).or_else(|| self.take_up(key, request, now, out)) else {
            // §16.10 has an element that knows nothing of the INVITE pass the CANCEL on, since it may have passed that
            // on without state. We never do, so there is nothing downstream that it could match.
            return self.reject(request, &Rejection::new(481, "Call/Transaction Does Not Exist"), out);
        };
        let tag = match self.servers.context_mut(id) {
            Some(context) => context.tag,
            None => self.tag_for(request),
        };
        out.push(request.reply_to(), Ticket::NONE, |buffer| {
            compose::reply(buffer, &request.message, 200, "OK", &tag, request.stamp);
            compose::end(buffer);
        });
        self.counters.sent += 1;
        let Some(context) = self.servers.context_mut(id) else { return };
        if !context.is_invite || context.is_closed || context.is_taken_up {
            return;
        }
        self.close_context(id, now, out);
        self.go_on(id, now, out);
    }

    /// The timers of a context.
    pub(crate) fn proxy_timeout(&mut self, id: u32, now: Now, out: &mut Outbox) {
        let Some(server) = self.servers.get_mut(id) else { return };
        let answered = server.is_answered();
        let Some(context) = server.context.as_deref_mut() else { return };
        if context.elsewhere.is_some_and(|waiting| waiting.until <= now) {
            self.homes_unknown(id, now, out);
        }
        let Some(context) = self.servers.context_mut(id) else { return };
        let due = |at: &mut Option<Now>| at.take_if(|at| *at <= now).is_some();
        if due(&mut context.trying_at) && !answered {
            self.respond_trying(id, now, out);
        }
        let Some(context) = self.servers.context_mut(id) else { return };
        if due(&mut context.forget_at) {
            self.close_server(id);
            return;
        }
        if due(&mut context.next_group_at) && !context.is_closed {
            self.cancel_open(id, now, out);
            self.start_next_group(id, now, out);
        }
    }

    /// RFC 4320 §4.1: a request other than INVITE that takes long is answered 100 once, so that its sender slows down.
    fn respond_trying(&mut self, id: u32, now: Now, out: &mut Outbox) {
        self.with_message(id, |core, message, source| {
            let stamp = message.top_via().map(|via| request::stamp(&via, source)).unwrap_or_default();
            core.server_respond(id, 100, now, out, |buffer| {
                compose::reply(buffer, message, 100, "Trying", b"", stamp);
                compose::end(buffer);
            });
        });
    }

    /// The server transaction ends: its branches are nobody's any more.
    pub(crate) fn orphan_branches(&mut self, context: &Context) {
        for &client in &context.started {
            self.clients.orphan(client);
        }
    }
}

/// The response as it goes upstream: without our Via (§16.7 step 3).
fn forward(buffer: &mut Vec<u8>, response: &Response<'_>) {
    compose::forward_read_response(buffer, &response.message, &response.via);
}

/// The challenge lines of a 401 or 407.
fn challenges(response: &Response<'_>) -> Vec<u8> {
    let mut lines = Vec::new();
    if matches!(response.status, 401 | 407) {
        for name in [HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate] {
            for field in response.message.fields(name) {
                lines.extend_from_slice(field.line);
            }
        }
    }
    lines
}
