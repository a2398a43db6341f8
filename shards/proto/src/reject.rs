//! Refusals: a request's error is its SIP response.

use crate::counters::Counters;
use crate::hop::Source;
use crate::outbox::{Outbox, Ticket};
use crate::request::{self, Request};
use crate::shard::Core;
use sipfed_sip::compose::{self, Stamp};
use sipfed_sip::{Fault, HeaderName, Message, Method};
use std::fmt::Write;

/// The methods the node itself answers, as Allow says them.
pub(crate) const OWN_METHODS: &[u8] = b"REGISTER, OPTIONS";

/// Why a request is refused, as it will be answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rejection<'a> {
    pub(crate) status: u16,
    reason: Reason,
    extra: Extra<'a>,
    /// Which counter it rises.
    pub(crate) count: Count,
}

#[derive(Clone, Copy, Debug)]
enum Reason {
    Phrase(&'static str),
    Fault(Fault),
    /// What the rule with that number says.
    Rule(usize),
}

/// A header field that goes with a refusal.
#[derive(Clone, Copy, Debug)]
enum Extra<'a> {
    None,
    MinExpires(u32),
    RetryAfter(u32),
    /// The option tags of that field that are not among the supported (RFC 3261 §8.2.2.3).
    Unsupported(Message<'a>, HeaderName, &'static [&'static str]),
    Allow,
    /// A code and a text of RFC 3261 §20.43.
    Warning(u16, &'static str),
}

/// Which counter a refusal rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    Malformed,
    Request,
    Overload,
    NotDurable,
    Draining,
    Loop,
}

impl<'a> Rejection<'a> {
    pub(crate) fn new(status: u16, reason: &'static str) -> Self {
        Self { status, reason: Reason::Phrase(reason), extra: Extra::None, count: Count::Request }
    }

    /// 400, or 505 for another SIP version (RFC 3261 §16.3 step 1, §21.5.6).
    pub(crate) fn fault(fault: Fault) -> Self {
        let status = if fault == Fault::Version { 505 } else { 400 };
        Self { status, reason: Reason::Fault(fault), extra: Extra::None, count: Count::Malformed }
    }

    /// As a rule of the policy says.
    pub(crate) fn by_rule(rule: usize) -> Self {
        Self { reason: Reason::Rule(rule), ..Self::new(403, "") }
    }

    /// 482, 483 or 440.
    pub(crate) fn looped(status: u16, reason: &'static str) -> Self {
        Self { count: Count::Loop, ..Self::new(status, reason) }
    }

    /// 503 since a limit is reached.
    pub(crate) fn overload(reason: &'static str, retry_after_s: u32) -> Self {
        Self { extra: Extra::RetryAfter(retry_after_s), count: Count::Overload, ..Self::new(503, reason) }
    }

    /// 503 since what the request changes could not be made durable.
    pub(crate) fn not_durable(retry_after_s: u32) -> Self {
        let reason = "Service Unavailable (registrations cannot be made durable)";
        Self { extra: Extra::RetryAfter(retry_after_s), count: Count::NotDurable, ..Self::new(503, reason) }
    }

    /// 480 since a backup of this node may know of bindings that it has not told yet (RFC 3261 §21.4.18).
    pub(crate) fn not_known_yet(retry_after_s: u32) -> Self {
        let reason = "Temporarily Unavailable (who is registered is not known yet)";
        Self { extra: Extra::RetryAfter(retry_after_s), ..Self::new(480, reason) }
    }

    /// 503 since the node is going down.
    pub(crate) fn draining(retry_after_s: u32) -> Self {
        let reason = "Service Unavailable (node is draining)";
        Self { extra: Extra::RetryAfter(retry_after_s), count: Count::Draining, ..Self::new(503, reason) }
    }

    /// 423 (RFC 3261 §10.3 step 7).
    pub(crate) fn too_brief(min_expires_s: u32) -> Self {
        Self { extra: Extra::MinExpires(min_expires_s), ..Self::new(423, "Interval Too Brief") }
    }

    /// 405 with what the node itself allows.
    pub(crate) fn own_method() -> Self {
        Self { extra: Extra::Allow, ..Self::new(405, "Method Not Allowed") }
    }

    /// 480 since a request for a sips URI goes over TLS alone, all the way (RFC 5630 §5.3).
    pub(crate) fn insecure(reason: &'static str) -> Self {
        Self { extra: Extra::Warning(380, "SIPS Not Allowed"), ..Self::new(480, reason) }
    }

    /// Status and reason, where these are all there is to say.
    pub(crate) fn phrase(&self) -> Option<(u16, &'static str)> {
        match self.reason {
            Reason::Phrase(phrase) => Some((self.status, phrase)),
            Reason::Fault(_) | Reason::Rule(_) => None,
        }
    }

    /// 420 when `field` has an option tag that is not among `supported`.
    pub(crate) fn check_required(
        message: Message<'a>,
        field: HeaderName,
        supported: &'static [&'static str],
    ) -> Result<(), Self> {
        if message.tags(field).all(|tag| is_supported(tag, supported)) {
            return Ok(());
        }
        Err(Self { extra: Extra::Unsupported(message, field, supported), ..Self::new(420, "Bad Extension") })
    }
}

fn is_supported(tag: &[u8], supported: &[&str]) -> bool {
    supported.iter().any(|s| sipfed_sip::eq_ignore_case(tag, s.as_bytes()))
}

impl Core {
    /// Refuses a request that could be read.
    pub(crate) fn reject(&mut self, request: &Request<'_>, rejection: &Rejection<'_>, out: &mut Outbox) {
        self.reject_message(&request.message, request.method, &request.source, rejection, out);
    }

    /// Refuses a request as far as its Via can be read; an ACK is never answered (RFC 3261 §17.1.1.3).
    pub(crate) fn reject_message(
        &mut self,
        message: &Message<'_>,
        method: Method<'_>,
        source: &Source,
        rejection: &Rejection<'_>,
        out: &mut Outbox,
    ) {
        count(&mut self.counters, rejection.count);
        if method == Method::Ack {
            self.counters.dropped_stray_ack += 1;
            return;
        }
        let Some(via) = message.top_via().ok().or_else(|| message.top_via_head()) else {
            self.counters.dropped_unparsable += 1;
            return;
        };
        let to = request::reply_to(&via, source);
        let stamp = request::stamp(&via, source);
        self.push_rejection(message, rejection, to, stamp, out);
    }

    fn push_rejection(
        &mut self,
        message: &Message<'_>,
        rejection: &Rejection<'_>,
        to: crate::hop::Destination,
        stamp: Stamp,
        out: &mut Outbox,
    ) {
        let via = message.top_via().ok();
        let branch = via.as_ref().and_then(sipfed_sip::Via::branch).unwrap_or_default();
        let tag = self.reply_tag(branch, message.value(HeaderName::CallId).unwrap_or_default());
        let mut reason = std::mem::take(&mut self.scratch.reason);
        reason.clear();
        let status = self.write_words(rejection, &mut reason);
        let server = &self.settings.server_header;
        out.push(to, Ticket::NONE, |buffer| {
            compose::reply(buffer, message, status, &reason, &tag, stamp);
            write_extra(buffer, &rejection.extra);
            if !server.is_empty() {
                compose::header(buffer, "Server", server.as_bytes());
            }
            compose::end(buffer);
        });
        self.counters.sent += 1;
        self.scratch.reason = reason;
    }

    /// Appends the reason phrase of a refusal, and gives its status code.
    fn write_words(&self, rejection: &Rejection<'_>, reason: &mut String) -> u16 {
        // Writing to a String cannot fail.
        let _ = match rejection.reason {
            Reason::Rule(rule) => {
                let said = self.settings.policy.get(rule).and_then(|rule| rule.then.refuse.as_ref());
                let (code, phrase) = said.map_or((rejection.status, "Forbidden"), |(code, phrase)| (*code, phrase));
                reason.push_str(phrase);
                return code;
            }
            Reason::Phrase(phrase) => reason.write_str(phrase),
            Reason::Fault(Fault::Version) => reason.write_str("Version Not Supported"),
            Reason::Fault(fault) => write!(reason, "Bad Request ({fault})"),
        };
        rejection.status
    }

    /// Status code and reason phrase of a refusal.
    pub(crate) fn words_of(&self, rejection: &Rejection<'_>) -> (u16, String) {
        let mut reason = String::new();
        (self.write_words(rejection, &mut reason), reason)
    }

    /// The To tag of our replies to this request, equal for its retransmissions.
    pub(crate) fn reply_tag(&self, branch: &[u8], call_id: &[u8]) -> [u8; 16] {
        compose::hexadecimal(self.keys.request(branch, call_id))
    }

    /// The same for a request that was read.
    pub(crate) fn tag_for(&self, request: &Request<'_>) -> [u8; 16] {
        compose::hexadecimal(self.number_of(request))
    }

    /// The request's own number, equal for its retransmissions.
    pub(crate) fn number_of(&self, request: &Request<'_>) -> u64 {
        self.keys.request(request.via.branch().unwrap_or_default(), request.call_id)
    }
}

fn count(counters: &mut Counters, what: Count) {
    match what {
        Count::Malformed => counters.refused_malformed += 1,
        Count::Request => counters.refused_request += 1,
        Count::Overload => counters.refused_overload += 1,
        Count::NotDurable => counters.refused_not_durable += 1,
        Count::Draining => counters.refused_draining += 1,
        Count::Loop => counters.refused_loop += 1,
    }
}

fn write_extra(out: &mut Vec<u8>, extra: &Extra<'_>) {
    match extra {
        Extra::None => {}
        Extra::MinExpires(s) => compose::header_number(out, "Min-Expires", *s),
        Extra::RetryAfter(s) => compose::header_number(out, "Retry-After", *s),
        Extra::Allow => compose::header(out, "Allow", OWN_METHODS),
        Extra::Warning(code, text) => {
            out.extend_from_slice(b"Warning: ");
            compose::number(out, u32::from(*code));
            // Whoever warns may call itself by a word of its own (RFC 3261 §20.43, pseudonym).
            out.extend_from_slice(b" sipfed \"");
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\"\r\n");
        }
        Extra::Unsupported(message, field, supported) => {
            out.extend_from_slice(b"Unsupported: ");
            let tags = message.tags(*field).filter(|tag| !is_supported(tag, supported));
            for (i, tag) in tags.enumerate() {
                if i > 0 {
                    out.extend_from_slice(b", ");
                }
                out.extend_from_slice(tag);
            }
            out.extend_from_slice(b"\r\n");
        }
    }
}
