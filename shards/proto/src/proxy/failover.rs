//! The next way of a target when one has failed (RFC 3263 §4.3), and requests that are too long for a datagram (RFC 3261
//! §18.1.1).
//!
//! A way has failed when its request could not be sent, when nothing came back within `proxy.failover_ms` (Timer B or F on
//! the last way), or when 503 came back. Behind the last way of a flow comes the next flow of the same phone, and at once when
//! 430 came back (RFC 5626 §5.3, §11.5); a 503 of the phone itself is not asked for over another one. The next one gets a client transaction and a branch of its own; the branch before is
//! given up: what still rings there is cancelled, and a late 2xx is passed on all the same. A receiver that has failed is tried
//! last for [`SILENT_MS`], one that has said Retry-After for as long as that, at most [`limits::AVOIDED_S_MAX`].
//!
//! A request of more than `proxy.datagram_bytes_max` whose transport nobody has named goes over TCP first, where there is a
//! listener for it, and by datagrams after all where TCP fails; then TCP is not tried there for [`NO_STREAM_MS`].

use super::target::Target;
use crate::hop::{Destination, Ends, Source, Transport};
use crate::limits;
use crate::outbox::Outbox;
use crate::response::Response;
use crate::shard::Core;
use crate::silent::SILENT_MS;
use crate::time::Now;
use crate::transaction::client::ClientId;
use sipfed_sip::HeaderName;

/// Milliseconds for which a receiver that has not taken a connection is sent long requests in datagrams at once.
const NO_STREAM_MS: u64 = 300_000;

impl Core {
    /// Goes on to the next way of a branch that has come to `status`, where it has one. Whether it has.
    pub(super) fn fail_over(
        &mut self,
        id: u32,
        client: ClientId,
        (status, response): (u16, Option<&Response<'_>>),
        now: Now,
        out: &mut Outbox,
    ) -> bool {
        let has_lost_flow = response.is_some() && status == 430;
        let is_failure = response.is_none() || has_lost_flow || status == 503;
        let Some(context) = self.servers.context_mut(id).filter(|context| is_failure && !context.is_closed) else {
            return false;
        };
        let open = context.open.iter_mut().find(|open| open.client == client);
        let Some(mut target) = open.and_then(|open| open.target.take()) else { return false };
        self.avoid(&target, response, now);
        if target.is_stream_instead && response.is_some() {
            // It is the same server that would say the same in answer to a datagram.
            target.ways.rest.pop_front();
            target.is_stream_instead = false;
        }
        let may_take_other = response.is_none() || has_lost_flow;
        let next = target.ways.rest.pop_front().filter(|_| !has_lost_flow);
        let other_flow = target.other_flow.take_if(|_| next.is_none() && may_take_other);
        match (next, other_flow) {
            (Some(next), _) => target.ways.to = next,
            (None, Some(flow)) => target = flow,
            (None, None) => return false,
        }
        // What the branch had of breadth is the next one's.
        let Some(context) = self.servers.context_mut(id) else { return false };
        let Some(at) = context.open.iter().position(|open| open.client == client) else { return false };
        let breadth = context.open.remove(at).breadth;
        self.counters.branches_failed_over += 1;
        self.with_request(id, |core, request, routed| {
            core.start_branch(id, request, routed, *target, breadth, now, out);
        });
        true
    }

    /// Leaves the receiver of a branch alone that has failed.
    fn avoid(&mut self, target: &Target, response: Option<&Response<'_>>, now: Now) {
        let to = &target.ways.to;
        let retry_after = response.map(|response| response.message.value(HeaderName::RetryAfter).and_then(seconds));
        let ms = match retry_after {
            // RFC 3261 §21.5.4: without Retry-After it speaks of this request alone.
            Some(None) => return,
            Some(Some(s)) => u64::from(s.min(limits::AVOIDED_S_MAX)) * 1000,
            None if target.is_stream_instead => NO_STREAM_MS,
            None => SILENT_MS,
        };
        self.avoided.note(to, ms, now);
    }

    /// Has a request of so many bytes go over a stream, where it is too long for a datagram and may. Whether it does.
    pub(super) fn prefer_stream(&self, target: &mut Target, bytes: usize, arrived: &Source, now: Now) -> bool {
        if target.is_stream_instead {
            // This is the datagram after all.
            target.is_stream_instead = false;
            return false;
        }
        let Destination::Udp { remote, local } = target.ways.to else { return false };
        if bytes <= self.settings.proxy.datagram_bytes_max as usize || !target.ways.may_be_stream {
            return false;
        }
        let listeners = &self.settings.listeners;
        let listens = listeners.iter().any(|l| l.transport == Transport::Tcp && l.addr.is_ipv4() == remote.is_ipv4());
        let same = self.stream_listener_at(Transport::Tcp, local.ip()).map(|local| local.ip());
        let local =
            same.or_else(|| self.connect_from(Transport::Tcp, remote.ip(), arrived)).filter(|ip| !ip.is_unspecified());
        let stream = Destination::Connect(Ends::new(Transport::Tcp, remote, local));
        if !listens || self.avoided.is_silent(&stream, now) {
            return false;
        }
        target.ways.rest.push_front(target.ways.to);
        (target.ways.to, target.is_stream_instead) = (stream, true);
        true
    }
}

/// The seconds that a Retry-After begins with (RFC 3261 §20.33).
fn seconds(value: &[u8]) -> Option<u32> {
    let digits = value.iter().take_while(|b| b.is_ascii_digit()).count();
    sipfed_sip::parse_u32(&value[..digits])
}
