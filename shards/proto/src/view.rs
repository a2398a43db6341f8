//! What a shard knows and what a journal says, to be looked at and not to be changed: for tools.
//!
//! # Contract
//! In goes a machine ([`crate::Shard::live_bindings`]) or the journal that one has written ([`changes`]); out come views
//! that borrow from it. Texts are bytes as the phone wrote them, and need not be UTF-8.

use crate::hop::Transport;
use crate::location::journal::{self, BadEntry, Change, Position};
use crate::location::{Binding, BindingFlags, Health, Ping};
use crate::path;
use sipfed_sip::Method;
use std::net::SocketAddr;

/// One binding.
#[allow(clippy::struct_excessive_bools, reason = "they are marks that have nothing to do with each other")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindingView<'a> {
    /// The address of record, in the canonical form that decides what is the same: `alice@example.com`.
    pub aor: &'a [u8],
    /// The number that stands for the Contact within its AoR.
    pub contact_id: u64,
    /// The Contact's URI.
    pub uri: &'a [u8],
    /// The Contact's parameters from the first semicolon on, without expires and q; empty for none.
    pub params: &'a [u8],
    /// The value of +sip.instance without quotes (RFC 5626); empty for none.
    pub instance: &'a [u8],
    /// reg-id (RFC 5626); 0 for none.
    pub reg_id: u32,
    /// Call-ID of the REGISTER.
    pub call_id: &'a [u8],
    /// CSeq of the last REGISTER.
    pub cseq: u32,
    /// User-Agent; empty for none.
    pub user_agent: &'a [u8],
    /// Path values (RFC 3327) as a comma list; empty for none.
    pub path: &'a [u8],
    /// Preference, 0 to 1000.
    pub q_milli: u16,
    /// Set of [`Method::bit`]; see [`BindingView::methods`].
    pub methods: u16,
    /// What the REGISTER came over.
    pub transport: Transport,
    /// Where the phone was seen: where the REGISTER came from, or where the proxy on its Path says, if that counts.
    pub received: SocketAddr,
    /// What it came over there.
    pub received_over: Transport,
    /// The address of the node that it came to.
    pub local: SocketAddr,
    /// When it ends, in seconds since the Unix epoch.
    pub expires_at_s: u32,
    /// When it was written last.
    pub updated_at_s: u32,
    /// When it was first made with this Call-ID.
    pub first_at_s: u32,
    /// Whether it is behind a NAT: without a Path it is reached where it was seen, and not at its Contact.
    pub is_natted: bool,
    /// Whether its connection has ended.
    pub is_flow_lost: bool,
    /// Whether the phone supports GRUUs (RFC 5627).
    pub supports_gruu: bool,
    /// Whether the phone supports Path (RFC 3327).
    pub supports_path: bool,
    /// How its phone is pinged.
    pub ping: Ping,
    /// How its phone stands; nothing is known of one in a journal.
    pub health: HealthView,
}

/// How a phone stands, as far as its pings tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthView {
    /// Milliseconds that the last answer took; 65,535 for all that took longer.
    pub latency_ms: Option<u16>,
    /// Pings in a row that it has not answered; one that may still be answered is not counted.
    pub lost: u8,
    /// When it was last heard but for REGISTER requests, in seconds since the Unix epoch.
    pub heard_at_s: Option<u32>,
}

impl HealthView {
    pub(crate) fn new(health: Health) -> Self {
        let Health { heard_at_s, latency_ms, lost, .. } = health;
        Self {
            latency_ms: (latency_ms > 0).then_some(latency_ms),
            lost,
            heard_at_s: (heard_at_s > 0).then_some(heard_at_s),
        }
    }
}

/// One change of one binding, as a journal has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeView<'a> {
    /// The keyed hash of the address of record. A journal names the AoR itself only where a binding is written whole.
    pub aor_hash: u64,
    /// Which binding of it.
    pub contact_id: u64,
    /// What became of it.
    pub kind: ChangeKind<'a>,
}

/// What becomes of a binding.
#[allow(clippy::large_enum_variant, reason = "one at a time is looked at, and none is kept")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind<'a> {
    /// It is made, replaced, or written whole once more.
    Bound(BindingView<'a>),
    /// It lives on.
    Refreshed {
        /// When it ends, in seconds since the Unix epoch.
        expires_at_s: u32,
        /// When that was.
        updated_at_s: u32,
        /// CSeq of the REGISTER.
        cseq: u32,
    },
    /// Its user has removed it.
    Removed {
        /// CSeq of the REGISTER.
        cseq: u32,
        /// Until when it is remembered, so that an older REGISTER does not bring it back.
        remembered_until_s: u32,
    },
    /// It made room for another, or ended with its connection.
    Gone,
    /// What another node has written down was taken up to here; neither hash nor contact id mean anything.
    Taken(Position),
}

impl<'a> BindingView<'a> {
    pub(crate) fn new(aor: &'a [u8], binding: &Binding<'a>, local: SocketAddr) -> Self {
        let flags: BindingFlags = binding.flags();
        let seen = flags.natted().then(|| path::seen(binding.path())).flatten();
        let seen = seen.filter(|seen| seen.at == binding.remote());
        Self {
            aor,
            contact_id: binding.contact_id(),
            uri: binding.uri(),
            params: binding.params(),
            instance: binding.instance(),
            reg_id: binding.reg_id(),
            call_id: binding.call_id(),
            cseq: binding.cseq(),
            user_agent: binding.user_agent(),
            path: binding.path(),
            q_milli: binding.q_milli(),
            methods: binding.methods(),
            transport: binding.transport(),
            received: binding.remote(),
            received_over: seen.map_or(binding.transport(), |seen| seen.over),
            local,
            expires_at_s: binding.expires_at_s(),
            updated_at_s: binding.updated_at_s(),
            first_at_s: binding.first_at_s(),
            is_natted: flags.natted(),
            is_flow_lost: flags.flow_lost(),
            supports_gruu: flags.supports_gruu(),
            supports_path: flags.supports_path(),
            ping: flags.ping(),
            health: HealthView::new(binding.health()),
        }
    }

    /// The names of the methods that the phone says it takes, those without a name here left out.
    pub fn methods(&self) -> impl Iterator<Item = &'static str> + use<> {
        let set = self.methods;
        let known = Method::KNOWN.into_iter().filter(move |method| set & method.bit() != 0);
        known.filter_map(|method| std::str::from_utf8(method.as_bytes()).ok())
    }
}

/// The changes that a journal is made of, in their order; nothing follows a bad one.
pub fn changes(journal: &[u8]) -> impl Iterator<Item = Result<ChangeView<'_>, BadEntry>> {
    journal::entries(journal).map(|entry| {
        let entry = entry?;
        let (contact_id, kind) = match entry.change {
            Change::Bound { aor, local, binding } => {
                (binding.contact_id(), ChangeKind::Bound(BindingView::new(aor, &binding, local)))
            }
            Change::Refreshed { refresh, .. } => {
                let (expires_at_s, updated_at_s, cseq) = (refresh.expires_at_s, refresh.updated_at_s, refresh.cseq);
                (refresh.contact_id, ChangeKind::Refreshed { expires_at_s, updated_at_s, cseq })
            }
            Change::Removed { contact_id, removal } => {
                let (cseq, remembered_until_s) = (removal.cseq, removal.until_s);
                (contact_id, ChangeKind::Removed { cseq, remembered_until_s })
            }
            Change::Gone { contact_id, .. } => (contact_id, ChangeKind::Gone),
            Change::Taken(position) => (0, ChangeKind::Taken(position)),
        };
        Ok(ChangeView { aor_hash: entry.aor.0, contact_id, kind })
    })
}
