//! Responses to what another node with this home has sent: its address has come here while phones were being asked.
//!
//! RFC 6026 §8.9 has stray responses dropped, since whoever made one up could have it sent to anybody. A node that shares its
//! home therefore signs its branches, with a key that all nodes with that home have: over the branch itself, the Via below,
//! and where that leads. A response that matches is passed on without state, as RFC 3261 §16.7 would, to exactly where the
//! node that has sent the request would have passed it. So a call that is being set up, or ended, while the home moves
//! is not lost.
//!
//! Datagrams only: a connection ended with the node that had it. What the caller is owed beyond that is not known here: of
//! several branches those that still ring are not cancelled, and a failure is passed on only where there was one branch.

use crate::hop::{Destination, Source, Transport};
use crate::outbox::{Outbox, Ticket};
use crate::request::{Request, SIP_PORT};
use crate::response::Response;
use crate::shard::Core;
use sipfed_sip::{Host, Via, compose};
use std::net::{IpAddr, SocketAddr};

/// Digits of a signature.
pub(super) const SIGNATURE_DIGITS: usize = 16;

impl Core {
    /// The signature of a branch of `request`, where another node may have to pass on what comes back. `unsigned` is the branch
    /// without it, `is_only` whether the request has no other branch.
    pub(super) fn signature(&self, request: &Request<'_>, unsigned: &[u8], is_only: bool) -> Option<u64> {
        if !self.location.has_backups() {
            return None;
        }
        let Destination::Udp { remote, .. } = request.reply_to() else { return None };
        Some(self.sign(unsigned, request.via.branch().unwrap_or_default(), remote, request.call_id, is_only))
    }

    fn sign(&self, unsigned: &[u8], below: &[u8], to: SocketAddr, call_id: &[u8], is_only: bool) -> u64 {
        let ip = match to.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let ways: &[u8] = if is_only { b"one" } else { b"many" };
        self.keys.transaction(&[b"twin", unsigned, below, &ip.octets(), &to.port().to_le_bytes(), call_id, ways]) as u64
    }

    /// Passes on a response that no client transaction waits for, where another node with this home has sent its request.
    /// Whether that was so.
    pub(crate) fn pass_on_for_twin(&mut self, response: &Response<'_>, source: &Source, out: &mut Outbox) -> bool {
        if !self.location.has_backups() || response.status == 100 || source.transport != Transport::Udp {
            return false;
        }
        let Some((unsigned, signature)) = response.via.branch().and_then(super::next_hop::split_signature) else {
            return false;
        };
        let (Some(Ok(below)), Ok(call_id)) = (response.message.vias().nth(1), response.message.call_id()) else {
            return false;
        };
        let Some(remote) = reply_address(&below) else { return false };
        let branch = below.branch().unwrap_or_default();
        let is_signed = |is_only| self.sign(unsigned, branch, remote, call_id, is_only) == signature;
        if !is_signed(true) && (response.status >= 300 || !is_signed(false)) {
            return false;
        }
        let to = Destination::Udp { remote, local: source.local };
        out.push(to, Ticket::NONE, |buffer| compose::forward_read_response(buffer, &response.message, &response.via));
        self.counters.sent += 1;
        self.counters.responses_for_twins += 1;
        true
    }
}

/// Where a Via says that its response goes (RFC 3261 §18.2.2, RFC 3581 §4), by what its receiver has noted in it.
fn reply_address(via: &Via<'_>) -> Option<SocketAddr> {
    if !via.transport.eq_ignore_ascii_case(b"UDP") {
        return None;
    }
    let ip = match via.params.iter().find(|param| param.is("received")) {
        Some(received) => Host::parse(received.unquoted()?)?.ip()?,
        None => via.host.ip()?,
    };
    let port = match via.rport() {
        Some(rport) => std::str::from_utf8(rport.unquoted()?).ok()?.parse().ok()?,
        None => via.port.unwrap_or(SIP_PORT),
    };
    Some(SocketAddr::new(ip, port))
}
