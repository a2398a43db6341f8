//! One AoR with its bindings, packed into one allocation.
//!
//! Layout, little-endian: hash (8), AoR length (2), count of bindings (2), AoR; then each binding as
//! [`FIXED_BYTES`] of numbers, [`HEALTH_BYTES`] of its [`Health`], and its URI, parameters, Call-ID, User-Agent and Path.
//! Its health is this process's own: no journal has it, and a binding that is made anew begins without one.

#[cfg(test)]
mod tests;

use super::health::{HEALTH_BYTES, Health};
use super::naming::KnownBy;
use super::op::{Bind, Ping, Refresh, Removal};
use super::stamp::Stamp;
use crate::hop::{FlowToken, Transport};
use crate::keys::AorHash;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Where the head has the count of bindings.
const COUNT: usize = 10;
const HEAD_BYTES: usize = 12;
/// Bytes of what a journal has as well.
pub(super) const FIXED_BYTES: usize = 100;
/// Bytes before the texts of a binding.
const NUMBERS_BYTES: usize = FIXED_BYTES + HEALTH_BYTES;

const CACHE_LINE_BYTES: usize = 64;
/// Bytes that [`Record::touch`] reads at most: of the record of one usual binding all.
const TOUCHED_BYTES_MAX: usize = 512;

// Where each number lies within the fixed part of a binding.
const CONTACT_ID: usize = 0;
const FLOW: usize = 8;
const EXPIRES_AT: usize = 16;
const UPDATED_AT: usize = 20;
const FIRST_AT: usize = 24;
const CSEQ: usize = 28;
const BRANCH: usize = 32;
const REG_ID: usize = 36;
const REMOTE_IP: usize = 40;
const REMOTE_PORT: usize = 56;
const LOCAL: usize = 58;
const Q: usize = 60;
const METHODS: usize = 62;
const FLAGS: usize = 64;
const URI_LEN: usize = 66;
const PARAMS_LEN: usize = 68;
const CALL_ID_LEN: usize = 70;
const USER_AGENT_LEN: usize = 72;
const PATH_LEN: usize = 74;
const INSTANCE_AT: usize = 76;
const INSTANCE_LEN: usize = 78;
const REQUEST_PRINT: usize = 80;
const GRANTED: usize = 88;
const STAMP: usize = 92;
const REMOTE_IS_V4: u16 = 1 << 15;

/// Marks of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BindingFlags(u16);

impl BindingFlags {
    const TCP: u16 = 1 << 0;
    const NATTED: u16 = 1 << 1;
    const FLOW_LOST: u16 = 1 << 2;
    const REMOVED: u16 = 1 << 3;
    const SUPPORTS_GRUU: u16 = 1 << 4;
    const SUPPORTS_PATH: u16 = 1 << 5;
    const PING_REQUEST: u16 = 1 << 6;
    const PING_BYTES: u16 = 1 << 7;
    const ENDS_UNANSWERED: u16 = 1 << 8;
    const FORESTALLS: u16 = 1 << 9;
    const TLS: u16 = 1 << 10;
    const WEBSOCKET: u16 = 1 << 11;
    const BY_CALL_ID: u16 = 1 << 12;
    const BY_PARAMETER: u16 = 1 << 13;

    /// How it is pinged.
    pub(crate) fn ping(self) -> Ping {
        match self.0 & (Self::PING_REQUEST | Self::PING_BYTES) {
            0 => Ping::None,
            Self::PING_BYTES => Ping::Bytes,
            _ => Ping::Request { ends_unanswered: self.0 & Self::ENDS_UNANSWERED != 0 },
        }
    }

    /// What it was matched by when it was made.
    pub(crate) fn known_by(self) -> KnownBy {
        match self.0 & (Self::BY_CALL_ID | Self::BY_PARAMETER) {
            0 => KnownBy::Contact,
            Self::BY_PARAMETER => KnownBy::Parameter,
            _ => KnownBy::CallId,
        }
    }

    /// Whether it is behind a NAT: without a Path it is reached where it registered from.
    pub(crate) fn natted(self) -> bool {
        self.0 & Self::NATTED != 0
    }

    /// Whether its connection has ended.
    pub(crate) fn flow_lost(self) -> bool {
        self.0 & Self::FLOW_LOST != 0
    }

    /// Whether the phone supports GRUUs (RFC 5627).
    pub(crate) fn supports_gruu(self) -> bool {
        self.0 & Self::SUPPORTS_GRUU != 0
    }

    /// Whether the phone supports Path (RFC 3327).
    pub(crate) fn supports_path(self) -> bool {
        self.0 & Self::SUPPORTS_PATH != 0
    }

    /// Whether it was removed without being known here, and stands for what other nodes may know.
    pub(crate) fn forestalls(self) -> bool {
        self.0 & Self::FORESTALLS != 0
    }

    /// Whether its user removed it and it is only remembered.
    pub(crate) fn removed(self) -> bool {
        self.0 & Self::REMOVED != 0
    }
}

/// An AoR and its bindings.
#[derive(Debug)]
pub(crate) struct Record(Box<[u8]>);

/// One binding of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binding<'a> {
    fixed: &'a [u8],
    rest: &'a [u8],
}

impl Record {
    /// A record's bytes without a binding, to be added to by [`Record::push`].
    pub(super) fn begin(out: &mut Vec<u8>, hash: AorHash, aor: &[u8]) {
        out.clear();
        out.extend_from_slice(&hash.0.to_le_bytes());
        out.extend_from_slice(&(aor.len() as u16).to_le_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(aor);
    }

    /// Whether one of its bindings is more than remembered.
    pub(crate) fn is_home(&self) -> bool {
        self.bindings().any(|binding| !binding.flags().removed())
    }

    /// Copies the packed binding at `range` of this record to `out`.
    pub(super) fn push_packed(out: &mut Vec<u8>, binding: &Binding<'_>) {
        out.extend_from_slice(binding.fixed);
        out.extend_from_slice(binding.rest);
        bump_count(out);
    }

    pub(super) fn push(out: &mut Vec<u8>, b: &Bind<'_>) {
        let mut fixed = [0u8; FIXED_BYTES];
        put(&mut fixed, CONTACT_ID, b.contact_id.to_le_bytes());
        put(&mut fixed, FLOW, b.flow.bits().to_le_bytes());
        put(&mut fixed, EXPIRES_AT, b.expires_at_s.to_le_bytes());
        put(&mut fixed, UPDATED_AT, b.updated_at_s.to_le_bytes());
        put(&mut fixed, FIRST_AT, b.first_at_s.to_le_bytes());
        put(&mut fixed, CSEQ, b.cseq.to_le_bytes());
        put(&mut fixed, BRANCH, b.branch_hash.to_le_bytes());
        put(&mut fixed, REG_ID, b.reg_id.to_le_bytes());
        let (ip, v4) = match b.remote.ip() {
            IpAddr::V4(ip) => (ip.to_ipv6_mapped(), REMOTE_IS_V4),
            IpAddr::V6(ip) => (ip, 0),
        };
        put(&mut fixed, REMOTE_IP, ip.octets());
        put(&mut fixed, REMOTE_PORT, b.remote.port().to_le_bytes());
        put(&mut fixed, LOCAL, b.local.to_le_bytes());
        put(&mut fixed, Q, b.q_milli.to_le_bytes());
        put(&mut fixed, METHODS, b.methods.to_le_bytes());
        put(&mut fixed, REQUEST_PRINT, b.request_print.to_le_bytes());
        put(&mut fixed, GRANTED, b.granted_s.to_le_bytes());
        put(&mut fixed, STAMP, b.stamp.bits().to_le_bytes());
        let flags = [
            (b.transport == Transport::Tcp, BindingFlags::TCP),
            (b.transport.is_secured(), BindingFlags::TLS),
            (b.transport.is_websocket(), BindingFlags::WEBSOCKET),
            (b.natted, BindingFlags::NATTED),
            (b.supports_gruu, BindingFlags::SUPPORTS_GRUU),
            (b.supports_path, BindingFlags::SUPPORTS_PATH),
            (matches!(b.ping, Ping::Request { .. }), BindingFlags::PING_REQUEST),
            (b.ping == Ping::Request { ends_unanswered: true }, BindingFlags::ENDS_UNANSWERED),
            (b.ping == Ping::Bytes, BindingFlags::PING_BYTES),
            (b.known_by == KnownBy::CallId, BindingFlags::BY_CALL_ID),
            (b.known_by == KnownBy::Parameter, BindingFlags::BY_PARAMETER),
        ];
        let flags = flags.into_iter().fold(v4, |set, (is_set, flag)| if is_set { set | flag } else { set });
        put(&mut fixed, FLAGS, flags.to_le_bytes());
        for (at, part) in [
            (URI_LEN, b.uri),
            (PARAMS_LEN, b.params),
            (CALL_ID_LEN, b.call_id),
            (USER_AGENT_LEN, b.user_agent),
            (PATH_LEN, b.path),
        ] {
            put(&mut fixed, at, (part.len() as u16).to_le_bytes());
        }
        put(&mut fixed, INSTANCE_AT, b.instance.0.to_le_bytes());
        put(&mut fixed, INSTANCE_LEN, b.instance.1.to_le_bytes());
        out.extend_from_slice(&fixed);
        out.extend_from_slice(&[0; HEALTH_BYTES]);
        for part in [b.uri, b.params, b.call_id, b.user_agent, b.path] {
            out.extend_from_slice(part);
        }
        bump_count(out);
    }

    pub(super) fn finish(packed: &[u8]) -> Self {
        Self(packed.into())
    }

    pub(crate) fn hash(&self) -> AorHash {
        AorHash(u64::from_le_bytes(take(&self.0, 0)))
    }

    pub(crate) fn aor(&self) -> &[u8] {
        &self.0[HEAD_BYTES..HEAD_BYTES + usize::from(u16::from_le_bytes(take(&self.0, 8)))]
    }

    /// Reads a byte of each line of the processor's cache that it has, up to [`TOUCHED_BYTES_MAX`].
    #[inline]
    pub(super) fn touch(&self) -> u8 {
        let bytes = &self.0[..self.0.len().min(TOUCHED_BYTES_MAX)];
        bytes.iter().step_by(CACHE_LINE_BYTES).fold(0, |sum, byte| sum ^ byte)
    }

    /// Its size in bytes.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many bindings it has, those that are only remembered included.
    pub(crate) fn count(&self) -> usize {
        usize::from(u16::from_le_bytes(take(&self.0, COUNT)))
    }

    /// Its bindings in the order they were made, those that are only remembered included.
    pub(crate) fn bindings(&self) -> impl Iterator<Item = Binding<'_>> + Clone {
        let mut at = HEAD_BYTES + self.aor().len();
        std::iter::from_fn(move || {
            let fixed = self.0.get(at..at + NUMBERS_BYTES)?;
            let len = rest_len(fixed);
            let rest = &self.0[at + NUMBERS_BYTES..at + NUMBERS_BYTES + len];
            at += NUMBERS_BYTES + len;
            Some(Binding { fixed, rest })
        })
    }

    /// The binding of that id.
    pub(crate) fn binding(&self, contact_id: u64) -> Option<Binding<'_>> {
        self.bindings().find(|b| b.contact_id() == contact_id)
    }

    fn fixed_mut(&mut self, contact_id: u64) -> Option<&mut [u8]> {
        let mut at = HEAD_BYTES + self.aor().len();
        while let Some(fixed) = self.0.get(at..at + NUMBERS_BYTES) {
            if u64::from_le_bytes(take(fixed, CONTACT_ID)) == contact_id {
                return Some(&mut self.0[at..at + NUMBERS_BYTES]);
            }
            at += NUMBERS_BYTES + rest_len(fixed);
        }
        None
    }

    /// Writes how a binding's phone stands in place.
    pub(super) fn set_health(&mut self, contact_id: u64, health: Health) {
        if let Some(fixed) = self.fixed_mut(contact_id) {
            fixed[FIXED_BYTES..].copy_from_slice(&health.to_bytes());
        }
    }

    /// Writes a refresh in place; whether there is such a binding.
    pub(super) fn refresh(&mut self, r: &Refresh) -> bool {
        let Some(fixed) = self.fixed_mut(r.contact_id) else { return false };
        put(fixed, EXPIRES_AT, r.expires_at_s.to_le_bytes());
        put(fixed, UPDATED_AT, r.updated_at_s.to_le_bytes());
        put(fixed, CSEQ, r.cseq.to_le_bytes());
        put(fixed, BRANCH, r.branch_hash.to_le_bytes());
        put(fixed, REQUEST_PRINT, r.request_print.to_le_bytes());
        put(fixed, STAMP, r.stamp.bits().to_le_bytes());
        true
    }

    /// Leaves of a binding only what it is remembered for; whether there is such a binding.
    pub(super) fn mark_removed(&mut self, contact_id: u64, removal: &Removal) -> bool {
        let Some(fixed) = self.fixed_mut(contact_id) else { return false };
        put(fixed, EXPIRES_AT, removal.until_s.to_le_bytes());
        put(fixed, CSEQ, removal.cseq.to_le_bytes());
        put(fixed, BRANCH, removal.branch_hash.to_le_bytes());
        put(fixed, STAMP, removal.stamp.bits().to_le_bytes());
        set_flag(fixed, BindingFlags::REMOVED);
        true
    }

    /// Marks a binding as one that is not known here; whether there is such a binding.
    pub(super) fn mark_forestalling(&mut self, contact_id: u64) -> bool {
        let Some(fixed) = self.fixed_mut(contact_id) else { return false };
        set_flag(fixed, BindingFlags::FORESTALLS);
        true
    }

    /// Marks a binding's connection as ended; whether there is such a binding.
    pub(super) fn mark_flow_lost(&mut self, contact_id: u64) -> bool {
        let Some(fixed) = self.fixed_mut(contact_id) else { return false };
        set_flag(fixed, BindingFlags::FLOW_LOST);
        true
    }
}

impl<'a> Binding<'a> {
    /// Its numbers and its texts, as a journal packs them.
    pub(super) fn packed(&self) -> (&'a [u8], &'a [u8]) {
        (&self.fixed[..FIXED_BYTES], self.rest)
    }

    /// Bytes of it within its record.
    pub(crate) fn packed_len(&self) -> usize {
        self.fixed.len() + self.rest.len()
    }

    /// How its phone stands, as far as it was pinged; nothing is known where it was read from a journal.
    pub(crate) fn health(&self) -> Health {
        self.fixed
            .get(FIXED_BYTES..)
            .and_then(|bytes| bytes.try_into().ok())
            .map(Health::from_bytes)
            .unwrap_or_default()
    }

    /// A binding from what [`Binding::packed`] gave, in this process or another; `None` when that cannot be.
    pub(super) fn from_packed(fixed: &'a [u8], rest: &'a [u8]) -> Option<Self> {
        if fixed.len() != FIXED_BYTES || rest_len(fixed) != rest.len() {
            return None;
        }
        let binding = Self { fixed, rest };
        let instance_end = binding.len(INSTANCE_AT) + binding.len(INSTANCE_LEN);
        (instance_end <= binding.len(PARAMS_LEN)).then_some(binding)
    }

    /// The operation that makes it anew where nothing is left of its connection, with `local` for the number of its
    /// local address.
    pub(super) fn restored(&self, local: u16) -> Bind<'a> {
        let flags = self.flags();
        Bind {
            contact_id: self.contact_id(),
            uri: self.uri(),
            params: self.params(),
            instance: (self.short(INSTANCE_AT), self.short(INSTANCE_LEN)),
            reg_id: self.reg_id(),
            call_id: self.call_id(),
            cseq: self.cseq(),
            branch_hash: self.branch_hash(),
            user_agent: self.user_agent(),
            path: self.path(),
            q_milli: self.q_milli(),
            methods: self.methods(),
            request_print: self.request_print(),
            granted_s: self.granted_s(),
            transport: self.transport(),
            remote: self.remote(),
            local,
            flow: FlowToken::NONE,
            natted: flags.natted(),
            supports_gruu: flags.supports_gruu(),
            supports_path: flags.supports_path(),
            ping: flags.ping(),
            known_by: flags.known_by(),
            expires_at_s: self.expires_at_s(),
            updated_at_s: self.updated_at_s(),
            first_at_s: self.first_at_s(),
            stamp: self.stamp(),
        }
    }

    /// Whether it stands for the removal of all bindings that the AoR had then, wherever they are known.
    pub(crate) fn is_removal_of_all(&self) -> bool {
        self.flags().forestalls() && self.uri().is_empty()
    }

    /// What it is remembered for, where it was removed.
    pub(super) fn removal(&self) -> Option<Removal> {
        let (cseq, branch_hash) = (self.cseq(), self.branch_hash());
        let (until_s, stamp) = (self.expires_at_s(), self.stamp());
        self.flags().removed().then_some(Removal { cseq, branch_hash, until_s, stamp })
    }

    /// When it was written last, for all nodes that hold it.
    #[inline]
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp::from_bits(u64::from_le_bytes(take(self.fixed, STAMP)))
    }

    pub(crate) fn contact_id(&self) -> u64 {
        u64::from_le_bytes(take(self.fixed, CONTACT_ID))
    }

    pub(crate) fn flow(&self) -> FlowToken {
        FlowToken::from_bits(u64::from_le_bytes(take(self.fixed, FLOW)))
    }

    /// Unix time in seconds at which it, or the memory of it, ends.
    pub(crate) fn expires_at_s(&self) -> u32 {
        self.number(EXPIRES_AT)
    }

    pub(crate) fn updated_at_s(&self) -> u32 {
        self.number(UPDATED_AT)
    }

    pub(crate) fn first_at_s(&self) -> u32 {
        self.number(FIRST_AT)
    }

    pub(crate) fn cseq(&self) -> u32 {
        self.number(CSEQ)
    }

    pub(crate) fn branch_hash(&self) -> u32 {
        self.number(BRANCH)
    }

    pub(crate) fn reg_id(&self) -> u32 {
        self.number(REG_ID)
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        let ip = Ipv6Addr::from(take::<16>(self.fixed, REMOTE_IP));
        let ip = if self.short(FLAGS) & REMOTE_IS_V4 == 0 { IpAddr::V6(ip) } else { ip.to_canonical() };
        SocketAddr::new(ip, self.short(REMOTE_PORT))
    }

    pub(crate) fn local(&self) -> u16 {
        self.short(LOCAL)
    }

    pub(crate) fn q_milli(&self) -> u16 {
        self.short(Q)
    }

    pub(crate) fn methods(&self) -> u16 {
        self.short(METHODS)
    }

    pub(crate) fn request_print(&self) -> u64 {
        u64::from_le_bytes(take(self.fixed, REQUEST_PRINT))
    }

    /// Seconds that were granted when it was made.
    pub(crate) fn granted_s(&self) -> u32 {
        self.number(GRANTED)
    }

    pub(crate) fn flags(&self) -> BindingFlags {
        BindingFlags(self.short(FLAGS))
    }

    pub(crate) fn transport(&self) -> Transport {
        let flags = self.short(FLAGS);
        let is = |flag| flags & flag != 0;
        match (is(BindingFlags::TLS), is(BindingFlags::WEBSOCKET)) {
            (true, true) => Transport::Wss,
            (true, false) => Transport::Tls,
            (false, true) => Transport::Ws,
            (false, false) if is(BindingFlags::TCP) => Transport::Tcp,
            (false, false) => Transport::Udp,
        }
    }

    pub(crate) fn uri(&self) -> &'a [u8] {
        &self.rest[..self.len(URI_LEN)]
    }

    pub(crate) fn params(&self) -> &'a [u8] {
        let at = self.len(URI_LEN);
        &self.rest[at..at + self.len(PARAMS_LEN)]
    }

    pub(crate) fn call_id(&self) -> &'a [u8] {
        let at = self.len(URI_LEN) + self.len(PARAMS_LEN);
        &self.rest[at..at + self.len(CALL_ID_LEN)]
    }

    pub(crate) fn user_agent(&self) -> &'a [u8] {
        let at = self.len(URI_LEN) + self.len(PARAMS_LEN) + self.len(CALL_ID_LEN);
        &self.rest[at..at + self.len(USER_AGENT_LEN)]
    }

    pub(crate) fn path(&self) -> &'a [u8] {
        &self.rest[self.rest.len() - self.len(PATH_LEN)..]
    }

    /// The value of +sip.instance without quotes; empty for none.
    pub(crate) fn instance(&self) -> &'a [u8] {
        let at = self.len(INSTANCE_AT);
        &self.params()[at..at + self.len(INSTANCE_LEN)]
    }

    /// Whether it can be called: neither removed nor over.
    pub(crate) fn is_live(&self, now_s: u32) -> bool {
        !self.flags().removed() && self.expires_at_s() > now_s
    }

    fn number(&self, at: usize) -> u32 {
        u32::from_le_bytes(take(self.fixed, at))
    }

    fn short(&self, at: usize) -> u16 {
        u16::from_le_bytes(take(self.fixed, at))
    }

    fn len(&self, at: usize) -> usize {
        usize::from(self.short(at))
    }
}

fn rest_len(fixed: &[u8]) -> usize {
    [URI_LEN, PARAMS_LEN, CALL_ID_LEN, USER_AGENT_LEN, PATH_LEN]
        .iter()
        .map(|&at| usize::from(u16::from_le_bytes(take(fixed, at))))
        .sum()
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the slice has that length")
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

fn set_flag(fixed: &mut [u8], flag: u16) {
    let flags = u16::from_le_bytes(take(fixed, FLAGS)) | flag;
    put(fixed, FLAGS, flags.to_le_bytes());
}

fn bump_count(out: &mut [u8]) {
    let count = u16::from_le_bytes(take(out, COUNT)) + 1;
    put(out, COUNT, count.to_le_bytes());
}
