//! Calls that another node with this home has begun: its address has come here while phones were being asked.
//!
//! # Responses
//! RFC 6026 §8.9 has stray responses dropped, since whoever made one up could have it sent to anybody. A node that shares its
//! home therefore signs its branches, with a key that all nodes with that home have: over the branch itself, the Via below,
//! and where that leads. A response that matches is passed on without state, as RFC 3261 §16.7 would, to exactly where the
//! node that has sent the request would have passed it. So a call that is being set up, or ended, while the home moves
//! is not lost. A failure is passed on only where there was one branch, since what others say is not known here.
//!
//! # CANCEL
//! A phone knows a CANCEL by the branch of its INVITE (RFC 3261 §9.1), and so it knows an INVITE that comes again. The branch of
//! an INVITE to a binding, or to another home, is therefore made of what every node with this home knows or is told again: the
//! key of the server transaction, which a CANCEL has as well, and the id of the binding. Where two would have the same, as those
//! of a caller that does not keep its calls apart, or a later way of one phone ([`super::failover`]), the later one names the slot
//! of its transaction like that of any other request, and is not found again.
//!
//! A CANCEL whose INVITE is not known is carried out by taking that up: with the transactions that this node would have if
//! it had sent the INVITE and everybody rang. §16.10 would have the CANCEL passed on without state, but then nobody would
//! send it again, acknowledge what phones answer, and make one response for the caller of the responses of several. Who is
//! no target any more is not told; who has become one since answers 481, which is no answer to the INVITE.
//!
//! Datagrams only: a connection ended with the node that had it. When one of several phones has been picked up, the others are
//! not told to stop.

use super::context::Context;
use super::forward;
use super::next_hop::BranchNumber;
use super::target::Target;
use crate::hop::{Destination, Source, Transport};
use crate::keys::TwinNumber;
use crate::outbox::{Outbox, Ticket};
use crate::request::{Request, SIP_PORT};
use crate::response::Response;
use crate::shard::Core;
use crate::time::Now;
use crate::transaction::client::ClientId;
use sipfed_sip::{HeaderName, Host, Method, Via, compose, scan};
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

    /// Takes up the INVITE that a CANCEL is for as another node with this home has sent it: a transaction, with a branch to
    /// everybody whom the INVITE would go to, that is cancelled at once. `None` where there is nobody.
    pub(super) fn take_up(&mut self, key: u128, cancel: &Request<'_>, now: Now, out: &mut Outbox) -> Option<u32> {
        let is_datagram = cancel.source.transport == Transport::Udp;
        if !self.location.has_backups() || !is_datagram || !self.has_room_for_transaction() {
            return None;
        }
        let bytes = invite_of(cancel)?;
        let mut index = std::mem::take(&mut self.scratch.request_index);
        let invite = scan(&bytes, &mut index)
            .ok()
            .and_then(|message| Request::parse(message, Method::Invite, &cancel.source).ok());
        let id = invite.and_then(|invite| self.take_up_invite(key, &invite, now, out));
        self.scratch.request_index = index;
        id
    }

    fn take_up_invite(&mut self, key: u128, invite: &Request<'_>, now: Now, out: &mut Outbox) -> Option<u32> {
        let loop_hash = self.validate(invite).ok()?;
        let breadth = forward::breadth(invite).ok()?;
        let treatment = self.treatment_of(invite);
        let routed = self.check_treated(invite, &treatment).ok()?;
        // Who is asked for only now has not been called.
        if let Some(names) = &mut self.names {
            names.handle_without_room();
        }
        let targets = self.targets(invite, &routed, &treatment, now);
        self.has_gone_without();
        let mut targets = targets.ok()?;
        targets.here.retain(|target| target.binding.is_some());
        if targets.here.is_empty() && targets.elsewhere.is_none() {
            return None;
        }
        let tag = self.tag_for(invite);
        let mut context = Box::new(Context::new(invite.message.bytes(), invite.source, tag, true));
        (context.is_taken_up, context.loop_hash, context.breadth) = (true, loop_hash, breadth);
        context.targets = targets.here.into();
        let id = self.servers.open(key, invite, context);
        if let Some(elsewhere) = targets.elsewhere {
            self.ask_directory(id, elsewhere, now);
        }
        self.start_group(id, invite, &routed, now, out);
        self.counters.cancels_for_twins += 1;
        Some(id)
    }

    /// The receiver of a branch says that there is nothing that a CANCEL could be for (§9.2). Where another node has sent the
    /// INVITE, that was to others.
    pub(crate) fn branch_unknown(&mut self, id: u32, client: ClientId, now: Now, out: &mut Outbox) {
        let Some(context) = self.servers.context_mut(id).filter(|context| context.is_taken_up) else { return };
        context.end(client);
        self.close_client(client);
        self.go_on(id, now, out);
    }
}

/// The INVITE that a CANCEL is for, as far as its branches need it: both have the same Request-URI, Via, Call-ID, From, To,
/// number in CSeq and Routes (RFC 3261 §9.1), and their methods are equally long.
fn invite_of(cancel: &Request<'_>) -> Option<Vec<u8>> {
    const INVITE: &[u8] = b"INVITE";
    let mut bytes = cancel.message.bytes().to_vec();
    let cseq = cancel.message.first(HeaderName::CSeq)?;
    let cseq_end = cseq.value_at + cseq.value.len();
    let begin = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    bytes.get_mut(cseq_end - INVITE.len()..cseq_end)?.copy_from_slice(INVITE);
    bytes.get_mut(begin..begin + INVITE.len())?.copy_from_slice(INVITE);
    Some(bytes)
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
