//! Requests that wait for the name of a next hop, from the side of the proxy (see [`crate::names`]).

use super::context::Context;
use crate::names::{Names, Resolved};
use crate::outbox::{Outbox, Ticket};
use crate::reject::Rejection;
use crate::request::Request;
use crate::shard::Core;
use crate::time::Now;
use crate::wheel::Due;
use sipfed_sip::{Method, compose, scan};

impl Core {
    /// It is `now`, for what is known of names.
    pub(crate) fn tick_names(&mut self, now: Now) {
        if let Some(names) = &mut self.names {
            names.tick(now);
        }
    }

    /// Whether the request at hand needs a name that it has to wait for.
    pub(super) fn has_unasked(&self) -> bool {
        self.names.as_ref().is_some_and(Names::has_unasked)
    }

    /// Whether the request at hand has waited for a name.
    pub(crate) fn has_waited(&self) -> bool {
        self.names.as_ref().is_some_and(Names::has_waited)
    }

    /// Whether the request that would open the transaction `key` waits for a name.
    pub(crate) fn is_parked(&self, key: u128) -> bool {
        self.names.as_ref().is_some_and(|names| names.is_parked(key))
    }

    /// Has the request at hand wait for the names that it needs; `false` where there is no room, and it is to be handled
    /// again at once, without them.
    pub(super) fn park(&mut self, key: u128, request: &Request<'_>) -> bool {
        let Some(names) = &mut self.names else { return false };
        let (wheel, deadline, mut asked) = (&mut self.wheel, names.deadline(), 0);
        let is_parked = names.park(key, request.message.bytes(), request.source, |question| {
            asked += 1;
            wheel.schedule(Due::Name(question), deadline)
        });
        self.counters.names_asked += asked;
        if is_parked {
            self.counters.requests_parked += 1;
        } else {
            self.counters.names_refused += 1;
            names.handle_without_room();
        }
        is_parked
    }

    /// Ends what [`Core::park`] has begun where there was no room.
    pub(super) fn has_gone_without(&mut self) {
        if let Some(names) = &mut self.names {
            names.has_handled();
        }
    }

    /// A request came that waits for a name already, or a CANCEL of it.
    pub(crate) fn parked_again(&mut self, key: u128, request: &Request<'_>, now: Now, out: &mut Outbox) {
        if request.method == Method::Cancel {
            self.cancel_parked(key, request, now, out);
        } else {
            self.counters.retransmissions_absorbed += 1;
        }
    }

    /// RFC 3261 §9.2: the CANCEL is answered 200, and the INVITE 487. That opens the transaction that it has waited for,
    /// which sees to it that the answer arrives.
    fn cancel_parked(&mut self, key: u128, cancel: &Request<'_>, now: Now, out: &mut Outbox) {
        let parked = self.names.as_mut().and_then(|names| names.take_parked(key));
        let Some(parked) = parked else { return };
        let mut index = std::mem::take(&mut self.scratch.request_index);
        let message = scan(&parked.bytes, &mut index).ok();
        let request = message.and_then(|message| Request::parse(message, message.method()?, &parked.source).ok());
        match request.filter(|request| request.method == Method::Invite) {
            Some(invite) => {
                let tag = self.tag_for(&invite);
                out.push(cancel.reply_to(), Ticket::NONE, |buffer| {
                    compose::reply(buffer, &cancel.message, 200, "OK", &tag, cancel.stamp);
                    compose::end(buffer);
                });
                self.counters.sent += 1;
                let context = Box::new(Context::new(&parked.bytes, parked.source, tag, true));
                let id = self.servers.open(key, &invite, context);
                self.respond_own(id, 487, "Request Terminated", now, out);
            }
            // An ACK has the key of an INVITE, and nothing can be cancelled of it.
            None => self.reject(cancel, &Rejection::new(481, "Call/Transaction Does Not Exist"), out),
        }
        self.scratch.request_index = index;
    }

    /// A question was not answered in time.
    pub(crate) fn name_overdue(&mut self, id: u32, now: Now) {
        self.tick_names(now);
        if let Some(names) = &mut self.names {
            names.overdue(id);
            self.counters.names_unanswered += 1;
        }
    }

    /// What the name of a question has come to.
    pub(crate) fn name_answered(&mut self, id: u32, resolved: Resolved, now: Now) {
        self.tick_names(now);
        if let Some(timer) = self.names.as_mut().and_then(|names| names.answered(id, resolved)) {
            self.wheel.cancel(timer);
        }
    }
}
