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

use super::next_hop::BranchNumber;
use super::target::Target;
use crate::hop::{Destination, Source, Transport};
use crate::keys::TwinNumber;
use crate::outbox::{Outbox, Ticket};
use crate::request::{Request, SIP_PORT};
use crate::response::Response;
use crate::shard::Core;
use crate::transaction::client::ClientId;
use sipfed_sip::{Host, Method, Via, compose};
use std::net::{IpAddr, SocketAddr};

/// Digits of a signature.
pub(super) const SIGNATURE_DIGITS: usize = 16;
/// The parameter of our Via that says of a signed branch that the request has others. It is no part of the branch, so that this
/// can be worked out by who does not know how many there are; a phone that leaves it out gains no more than by a 6xx.
pub(super) const FORKED_PARAM: &str = "sipfed-forked";

impl Core {
    /// The signature of a branch of `request`, where another node may have to pass on what comes back. `unsigned` is the branch
    /// without it.
    pub(super) fn signature(&self, request: &Request<'_>, unsigned: &[u8]) -> Option<u64> {
        if !self.location.has_backups() {
            return None;
        }
        let Destination::Udp { remote, .. } = request.reply_to() else { return None };
        Some(self.sign(unsigned, request.via.branch().unwrap_or_default(), remote, request.call_id))
    }

    /// The number of the branch that an INVITE with the key `key`, or its ACK, has to `target`: the same at every node with this
    /// home, which all know their bindings by one id. `None` where no other one could go on with it.
    pub(super) fn twin_number(&mut self, key: u128, request: &Request<'_>, target: &Target) -> Option<TwinNumber> {
        if !self.location.has_backups() || request.source.transport != Transport::Udp {
            return None;
        }
        let (aor, receiver) = match (target.binding, target.ways.to) {
            (Some((record, contact_id)), _) => (self.location.get(record)?.hash(), contact_id),
            (None, Destination::Udp { remote, .. }) if target.is_home => {
                let receiver = self.keys.pair(&octets(remote.ip()), &remote.port().to_le_bytes());
                (self.hash_of(request.message.request_uri())?, receiver)
            }
            _ => return None,
        };
        Some(TwinNumber::new(aor, key, receiver))
    }

    /// The same for a new branch of the server transaction `id`; `None` also for what is no INVITE, and where another branch has
    /// that number.
    pub(super) fn free_twin_number(&mut self, id: u32, request: &Request<'_>, target: &Target) -> Option<TwinNumber> {
        let key = self.servers.key_of(id).filter(|_| request.method == Method::Invite)?;
        let number = self.twin_number(key, request, target)?;
        // What is told of an earlier way of the same phone is not to be taken for this one's.
        let is_new = self.servers.context_mut(id)?.started.iter().all(|client| client.nonce != number.nonce());
        Some(number).filter(|number| is_new && self.clients.by_number(*number).is_none())
    }

    /// The client transaction that a branch of ours names.
    pub(crate) fn client_of(&self, number: BranchNumber) -> Option<ClientId> {
        match number {
            BranchNumber::Client(shard, id) if shard == self.place.index => self.clients.get(id).map(|_| id),
            BranchNumber::Twin(number) => self.clients.by_number(number),
            _ => None,
        }
    }

    fn sign(&self, unsigned: &[u8], below: &[u8], to: SocketAddr, call_id: &[u8]) -> u64 {
        let (ip, port) = (octets(to.ip()), to.port());
        self.keys.transaction(&[b"twin", unsigned, below, &ip, &port.to_le_bytes(), call_id]) as u64
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
        let may_pass = response.status < 300 || !response.via.params.has(FORKED_PARAM);
        if !may_pass || self.sign(unsigned, branch, remote, call_id) != signature {
            return false;
        }
        let to = Destination::Udp { remote, local: source.local };
        out.push(to, Ticket::NONE, |buffer| compose::forward_read_response(buffer, &response.message, &response.via));
        self.counters.sent += 1;
        self.counters.responses_for_twins += 1;
        true
    }
}

/// An address in one form for both families.
fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
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
