//! What can be done to a binding.

use super::naming::KnownBy;
use super::stamp::Stamp;
use crate::hop::{FlowToken, Transport};
use std::net::{Ipv4Addr, SocketAddr};

/// One change of one binding of an AoR: the unit of everything that keeps bindings equal.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op<'a> {
    /// A binding is created, or replaced as a whole.
    Bind(Bind<'a>),
    /// A binding lives on; nothing else of it has changed.
    Refresh(Refresh),
    /// A binding ends.
    Unbind(Unbind),
    /// A binding that is not known here is removed: where other nodes hold the same bindings, one of them may know it. It is
    /// remembered until `expires_at_s` at least, as one that was removed. With an empty URI all bindings of the AoR are meant.
    Forestall(Bind<'a>),
    /// The binding's connection has ended; it stays, marked.
    LoseFlow {
        /// Which binding.
        contact_id: u64,
    },
}

/// A whole binding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bind<'a> {
    pub(crate) contact_id: u64,
    /// The Contact's URI, as written.
    pub(crate) uri: &'a [u8],
    /// The Contact's parameters as written, from the first semicolon, without expires and q.
    pub(crate) params: &'a [u8],
    /// The value of +sip.instance within `params`, without quotes: where it begins and its length.
    pub(crate) instance: (u16, u16),
    /// reg-id (RFC 5626); 0 for none.
    pub(crate) reg_id: u32,
    pub(crate) call_id: &'a [u8],
    pub(crate) cseq: u32,
    /// Keyed hash of the REGISTER's topmost branch.
    pub(crate) branch_hash: u32,
    pub(crate) user_agent: &'a [u8],
    /// Path values (RFC 3327) as a comma list; empty for none.
    pub(crate) path: &'a [u8],
    /// 0 to 1000.
    pub(crate) q_milli: u16,
    /// Set of [`sipfed_sip::Method::bit`].
    pub(crate) methods: u16,
    /// A fingerprint of the REGISTER that made it, where that had no other Contact; 0 for none.
    pub(crate) request_print: u64,
    /// Seconds that were granted.
    pub(crate) granted_s: u32,
    pub(crate) transport: Transport,
    /// Where the phone was seen: by this node, or by the proxy on its Path where that says so.
    pub(crate) remote: SocketAddr,
    /// The number of the local address in the shard's table of them.
    pub(crate) local: u16,
    pub(crate) flow: FlowToken,
    /// Whether the phone is behind a NAT, so that without a Path it is reached at `remote` and not at its Contact.
    pub(crate) natted: bool,
    pub(crate) known_by: KnownBy,
    /// Whether the phone supports GRUUs (RFC 5627).
    pub(crate) supports_gruu: bool,
    /// Whether the phone supports Path (RFC 3327).
    pub(crate) supports_path: bool,
    /// How its phone is pinged.
    pub(crate) ping: Ping,
    /// Unix time in seconds, rounded up.
    pub(crate) expires_at_s: u32,
    pub(crate) updated_at_s: u32,
    /// When this binding was first made with this Call-ID: what temporary GRUUs live and die with.
    pub(crate) first_at_s: u32,
    /// Given by the door where it is done first; what comes from elsewhere brings its own.
    pub(crate) stamp: Stamp,
}

/// How a phone is pinged, so that a NAT before it lets through what is sent to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ping {
    /// Not at all.
    #[default]
    None,
    /// By a request that it answers.
    Request {
        /// Whether its binding ends when too many of them are not answered.
        ends_unanswered: bool,
    },
    /// By bytes that are no message, and that nobody answers.
    Bytes,
}

impl Bind<'_> {
    /// What [`Op::Forestall`] takes for all bindings of an AoR, where nobody's REGISTER says so.
    pub(crate) fn of_all(contact_id: u64, local: u16, until_s: u32) -> Bind<'static> {
        Bind {
            contact_id,
            uri: b"",
            params: b"",
            instance: (0, 0),
            reg_id: 0,
            call_id: b"",
            cseq: 0,
            branch_hash: 0,
            user_agent: b"",
            path: b"",
            q_milli: 0,
            methods: 0,
            request_print: 0,
            granted_s: 0,
            transport: Transport::Udp,
            remote: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            local,
            flow: FlowToken::NONE,
            natted: false,
            known_by: KnownBy::Contact,
            ping: Ping::None,
            supports_gruu: false,
            supports_path: false,
            expires_at_s: until_s,
            updated_at_s: 0,
            first_at_s: 0,
            stamp: Stamp::ZERO,
        }
    }
}

/// What a refresh writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refresh {
    pub(crate) contact_id: u64,
    pub(crate) expires_at_s: u32,
    pub(crate) updated_at_s: u32,
    pub(crate) cseq: u32,
    pub(crate) branch_hash: u32,
    /// As in [`Bind`], of the REGISTER that refreshes.
    pub(crate) request_print: u64,
    /// As in [`Bind`].
    pub(crate) stamp: Stamp,
}

/// How a binding ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unbind {
    pub(crate) contact_id: u64,
    pub(crate) cause: Cause,
}

/// What is left of a binding that was removed and is remembered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Removal {
    pub(crate) cseq: u32,
    pub(crate) branch_hash: u32,
    /// Unix time in seconds at which the memory of it ends.
    pub(crate) until_s: u32,
    pub(crate) stamp: Stamp,
}

/// Why a binding ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Its user removed it, with this CSeq and branch. It is remembered without being a binding until
    /// `until_s`, so that an older REGISTER that arrives late does not bring it back.
    User {
        /// CSeq of the removal.
        cseq: u32,
        /// Keyed hash of the removal's branch.
        branch_hash: u32,
        /// Unix time in seconds.
        until_s: u32,
    },
    /// Its time, or the time it was remembered for, is over.
    Expired,
    /// It made room for another.
    Evicted,
    /// Its connection ended and configuration says so.
    FlowLost,
    /// Its phone has not answered as many pings in a row as configured.
    Unanswered,
}
