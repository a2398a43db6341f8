//! What a REGISTER asks for, decided as a whole before any of it is done (RFC 3261 §10.3 steps 6 and 7).

mod contact;

use crate::hop::{FlowToken, Source};
use crate::keys::AorHash;
use crate::limits;
use crate::location::{AorKey, Bind, Binding, Cause, KnownBy, Ping, Record, Refresh, Stamp, Unbind};
use crate::path::{self, Seen};
use crate::policy::{PathMode, Treatment};
use crate::registrar::stored::{stored_path, user_agent};
use crate::registrar::{Supports, sameness};
use crate::reject::Rejection;
use crate::request::Request;
use crate::settings::Overflow;
use crate::shard::Core;
use crate::time::Now;
use arrayvec::ArrayVec;
use contact::Planner;
use sipfed_sip::{Contact, Fault, HeaderName};
use std::ops::Range;

/// A whole REGISTER, decided.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(super) acts: ArrayVec<Act<'a>, { limits::REGISTER_ACTS_COUNT_MAX }>,
    /// Contact ids that make room.
    pub(super) evicted: ArrayVec<u64, { limits::AOR_BINDINGS_COUNT_MAX }>,
    common: Common<'a>,
}

/// What is done about one Contact.
#[derive(Debug)]
pub(super) enum Act<'a> {
    /// A retransmission, or the removal of what is nowhere.
    Nothing,
    Refresh(Refresh),
    Remove(Unbind),
    Bind(Wanted<'a>),
    /// The removal of what is not known here, and may be at another node.
    Forestall(Wanted<'a>),
}

/// One Contact that is to be bound.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) contact_id: u64,
    uri: &'a [u8],
    /// Its stored parameters within the plan's bytes.
    params: Range<usize>,
    instance: (u16, u16),
    reg_id: u32,
    known_by: KnownBy,
    q_milli: u16,
    methods: u16,
    /// Seconds granted, before they are shortened at random.
    granted_s: u32,
    expires_s: u32,
    first_at_s: Option<u32>,
}

/// What all Contacts of the REGISTER share.
#[derive(Debug)]
pub(super) struct Common<'a> {
    /// Where it came from; where `seen` says where the phone was, from there.
    source: Source,
    /// Where the proxy on its Path has seen the phone, where a rule says that this counts.
    seen: Option<Seen>,
    local: u16,
    treatment: Treatment,
    natted: bool,
    ping: Ping,
    call_id: &'a [u8],
    cseq: u32,
    branch_hash: u32,
    user_agent: &'a [u8],
    /// The Path values within the plan's bytes.
    path: Range<usize>,
    /// See [`sameness`].
    request_print: u64,
    supports: Supports,
}

impl<'a> Plan<'a> {
    /// A plan without an act. It is thousands of bytes large, most of them unused: it stays where it is made and is
    /// filled by reference.
    #[inline]
    pub(super) fn new(common: Common<'a>) -> Self {
        Self { acts: ArrayVec::new(), evicted: ArrayVec::new(), common }
    }

    /// Where the phone was seen, by us or by the proxy on its Path, and over what.
    pub(crate) fn phone(&self) -> Source {
        let Common { source, seen, .. } = &self.common;
        Source { transport: seen.map_or(source.transport, |seen| seen.over), ..*source }
    }

    /// What it does, in words; with how often phones are pinged where it comes from.
    pub(crate) fn words(&self, ping_interval_ms: u32) -> String {
        let (mut bound, mut refreshed, mut removed) = (0, 0, self.evicted.len());
        for act in &self.acts {
            match act {
                Act::Nothing => {}
                Act::Refresh(_) => refreshed += 1,
                Act::Bind(_) => bound += 1,
                Act::Remove(_) | Act::Forestall(_) => removed += 1,
            }
        }
        let often = format!("pinged every {} s", ping_interval_ms / 1000);
        let ping = match self.common.ping {
            Ping::None => "not pinged".to_owned(),
            _ if ping_interval_ms == 0 => "not pinged, since no interval is configured".to_owned(),
            Ping::Bytes => format!("{often} with bytes"),
            Ping::Request { ends_unanswered: false } => format!("{often} with requests"),
            Ping::Request { ends_unanswered: true } => {
                format!("{often} with requests, and removed when it does not answer")
            }
        };
        let reached = match &self.common {
            Common { seen: Some(Seen { at, over }), .. } => {
                format!("by its Path, which says that it was seen at {}:{at}", over.uri_token())
            }
            common if !common.path.is_empty() => "by its Path".to_owned(),
            Common { natted: true, .. } => "where it was seen".to_owned(),
            _ => "at its Contact".to_owned(),
        };
        format!("accepted: {bound} bound, {refreshed} refreshed, {removed} removed; reached {reached}, {ping}")
    }

    /// Whether every Contact was refreshed in place.
    pub(super) fn is_only_refreshes(&self) -> bool {
        !self.acts.is_empty() && self.acts.iter().all(|act| matches!(act, Act::Refresh(_)))
    }

    /// The fingerprint that goes to the binding of the only Contact; several have none.
    pub(super) fn request_print(&self) -> u64 {
        if self.acts.len() == 1 { self.common.request_print } else { sameness::NONE }
    }

    /// The binding that `wanted` makes.
    pub(super) fn bind<'b>(&'b self, wanted: &'b Wanted<'a>, bytes: &'b [u8], now: Now) -> Bind<'b> {
        let common = &self.common;
        Bind {
            contact_id: wanted.contact_id,
            uri: wanted.uri,
            params: &bytes[wanted.params.clone()],
            instance: wanted.instance,
            reg_id: wanted.reg_id,
            call_id: common.call_id,
            cseq: common.cseq,
            branch_hash: common.branch_hash,
            user_agent: common.user_agent,
            path: &bytes[common.path.clone()],
            q_milli: wanted.q_milli,
            methods: wanted.methods,
            request_print: self.request_print(),
            granted_s: wanted.granted_s,
            transport: common.source.transport,
            remote: common.source.remote,
            local: common.local,
            flow: common.source.flow,
            natted: common.natted,
            supports_gruu: common.supports.gruu,
            supports_path: common.supports.path,
            ping: common.ping,
            known_by: wanted.known_by,
            expires_at_s: end_of(now, wanted.expires_s),
            updated_at_s: now.unix_s(),
            first_at_s: wanted.first_at_s.unwrap_or(now.unix_s()),
            stamp: Stamp::ZERO,
        }
    }

    /// The memory of a removal that `wanted` makes: of the binding what it is known by.
    pub(super) fn forestall<'b>(&'b self, wanted: &'b Wanted<'a>, bytes: &'b [u8], now: Now) -> Bind<'b> {
        Bind {
            user_agent: b"",
            path: b"",
            request_print: sameness::NONE,
            flow: FlowToken::NONE,
            natted: false,
            ping: Ping::None,
            ..self.bind(wanted, bytes, now)
        }
    }
}

/// The second at which something that lasts `expires_s` from now on is over, rounded up.
pub(super) fn end_of(now: Now, expires_s: u32) -> u32 {
    now.plus_ms(u64::from(expires_s) * 1000 + 999).unix_s()
}

impl Core {
    /// What all Contacts of the request share.
    pub(super) fn common<'a>(
        &mut self,
        request: &Request<'a>,
        treatment: &Treatment,
        natted: bool,
        bytes: &mut Vec<u8>,
    ) -> Result<Common<'a>, Rejection<'a>> {
        bytes.clear();
        let supports = Supports::of(&request.message);
        let path = match treatment.path {
            PathMode::Off => 0..0,
            PathMode::Lazy => stored_path(request, bytes)?,
            PathMode::Strict => {
                let path = stored_path(request, bytes)?;
                if !path.is_empty() && !supports.path {
                    return Err(Rejection::new(420, "Bad Extension (Path, which the phone does not say it supports)"));
                }
                path
            }
        };
        let seen = treatment.path_received.then(|| path::seen(&bytes[path.clone()])).flatten();
        // What is told is not what such a one asks for.
        let has_print = !request.is_in_dialog() && !treatment.only_request_contacts;
        let request_print =
            if has_print { self.print_of(&request.message, &request.source, natted) } else { sameness::NONE };
        let natted = natted || seen.is_some();
        Ok(Common {
            path,
            treatment: *treatment,
            source: Source { remote: seen.map_or(request.source.remote, |seen| seen.at), ..request.source },
            seen,
            local: self.location.locals.number(request.source.local),
            natted,
            ping: self.ping_wanted(treatment, natted),
            call_id: request.call_id,
            cseq: request.cseq.number,
            branch_hash: self.number_of(request) as u32,
            user_agent: user_agent(request),
            request_print,
            supports,
        })
    }

    /// Decides about every Contact of the request.
    pub(super) fn fill_plan<'a>(
        &self,
        request: &Request<'a>,
        key: AorKey<'_>,
        bytes: &mut Vec<u8>,
        plan: &mut Plan<'a>,
        now: Now,
    ) -> Result<(), Rejection<'a>> {
        if request.call_id.len() > limits::CALL_ID_BYTES_MAX {
            return Err(Rejection::new(403, "Forbidden (Call-ID is too long)"));
        }
        let record = self.location.find(key).map(|(_, record)| record);
        let mut contacts = request.message.contacts().peekable();
        match contacts.peek() {
            // A fetch (§10.2.3).
            None => return Ok(()),
            Some(Ok(Contact::All)) => {
                contacts.next();
                if contacts.next().is_some() || request.message.expires() != Some(0) {
                    let what = "* must be the only one, with Expires 0";
                    return Err(Rejection::fault(Fault::Header(HeaderName::Contact, what)));
                }
                plan_removal_of_all(record, plan, now)?;
                self.forestall_all(key, record, plan, now)?;
                return self.plan_room(record, plan, 0, now);
            }
            Some(_) => {}
        }
        let mut planner = Planner { core: self, key, record, request, now, bytes };
        for contact in contacts {
            match contact.map_err(Rejection::fault)? {
                Contact::All => {
                    let what = "* must be the only one, with Expires 0";
                    return Err(Rejection::fault(Fault::Header(HeaderName::Contact, what)));
                }
                Contact::At(_) if plan.acts.len() == limits::REGISTER_CONTACTS_COUNT_MAX => {
                    return Err(Rejection::new(403, "Forbidden (too many contacts in one request)"));
                }
                Contact::At(address) => {
                    let act = planner.plan_contact(&address, &plan.common)?;
                    refuse_twice(&plan.acts, &act)?;
                    plan.acts.push(act);
                }
            }
        }
        self.plan_room(record, plan, bytes.len(), now)
    }

    /// A granted time, shortened at random as configured. Drawn from the request itself, so that its retransmission is
    /// granted the same.
    pub(super) fn shortened(&self, granted_s: u32, call_id: &[u8], cseq: u32) -> u32 {
        let settings = &self.settings.registrar;
        if settings.expires_jitter_percent == 0 || granted_s == 0 {
            return granted_s;
        }
        let draw = self.keys.pair(call_id, &cseq.to_le_bytes());
        let most = u64::from(granted_s) * u64::from(settings.expires_jitter_percent) / 100;
        let shorter = (draw % (most + 1)) as u32;
        (granted_s - shorter).max(settings.min_expires_s)
    }

    /// Whether what the plan binds fits, and who makes room where configuration says so.
    fn plan_room(
        &self,
        record: Option<&Record>,
        plan: &mut Plan<'_>,
        stored_bytes: usize,
        now: Now,
    ) -> Result<(), Rejection<'static>> {
        let bound = |id: u64| plan.acts.iter().any(|act| matches!(act, Act::Bind(w) if w.contact_id == id));
        let wanted = plan.acts.iter().filter(|act| matches!(act, Act::Bind(_))).count();
        let remembered = plan.acts.iter().filter(|act| matches!(act, Act::Forestall(_))).count();
        if wanted + remembered == 0 {
            return Ok(());
        }
        let settings = &self.settings.registrar;
        if self.location.bindings() + wanted + remembered > settings.bindings_per_shard_max as usize {
            let retry_after_s = self.settings.proxy.retry_after_s;
            return Err(Rejection::overload("Service Unavailable (limit of bindings reached)", retry_after_s));
        }
        if wanted == 0 {
            return Ok(());
        }
        let removed =
            |id: u64| plan.acts.iter().any(|act| matches!(act, Act::Remove(unbind) if unbind.contact_id == id));
        // Those that are over and still held count for memory, not for the user; they make room first. Those that are only
        // remembered have a room of their own.
        let mut others: ArrayVec<(bool, u32, u64), { limits::AOR_BINDINGS_COUNT_MAX }> = ArrayVec::new();
        let mut used_bytes = stored_bytes + 512 * wanted;
        if let Some(record) = record {
            used_bytes += record.len();
            for b in record.bindings() {
                if b.flags().removed() {
                    used_bytes -= b.packed_len();
                } else if !bound(b.contact_id()) && !removed(b.contact_id()) {
                    let _ = others.try_push((b.is_live(now.unix_s()), b.updated_at_s(), b.contact_id()));
                }
            }
        }
        others.sort_unstable();
        let live = others.iter().filter(|other| other.0).count();
        let treatment = &plan.common.treatment;
        let room = usize::from(treatment.max_contacts.unwrap_or(settings.max_contacts));
        let refuses = treatment.force_registration.map_or(settings.overflow == Overflow::Refuse, |force| !force);
        if wanted > room || (live + wanted > room && refuses) {
            return Err(Rejection::new(403, "Forbidden (too many contacts for this address of record)"));
        }
        if used_bytes > limits::AOR_RECORD_BYTES_MAX {
            return Err(Rejection::new(403, "Forbidden (contacts of this address of record are too long)"));
        }
        let too_many = (live + wanted).saturating_sub(room);
        let evicted = others.iter().filter(|other| other.0).take(too_many).map(|other| other.2);
        let forgotten_count = (others.len() + wanted).saturating_sub(limits::AOR_BINDINGS_COUNT_MAX);
        let forgotten = others.iter().filter(|other| !other.0).take(forgotten_count).map(|other| other.2);
        plan.evicted.extend(evicted.chain(forgotten));
        Ok(())
    }
}

impl Core {
    /// `*` where other nodes hold the same bindings: also those that are not known here.
    fn forestall_all<'a>(
        &self,
        key: AorKey<'_>,
        record: Option<&Record>,
        plan: &mut Plan<'a>,
        now: Now,
    ) -> Result<(), Rejection<'a>> {
        if !self.location.has_backups() {
            return Ok(());
        }
        let before = record.into_iter().flat_map(Record::bindings).find(Binding::is_removal_of_all);
        let act = match &before {
            Some(before) => match common_order(before, &plan.common)? {
                Order::Retransmission => return Ok(()),
                Order::Later => removal(before, &plan.common, now),
            },
            None => Act::Forestall(Wanted::removed(self.contact_of_all(key.hash), b"")),
        };
        // A record never has more bindings than leave room for it.
        let _ = plan.acts.try_push(act);
        Ok(())
    }

    /// The contact id that stands for all bindings of an AoR: no Contact has an empty identity.
    pub(crate) fn contact_of_all(&self, aor: AorHash) -> u64 {
        self.keys.contact(aor, &[], 0)
    }
}

impl<'a> Wanted<'a> {
    /// What is to be remembered as removed.
    fn removed(contact_id: u64, uri: &'a [u8]) -> Self {
        Self {
            contact_id,
            uri,
            params: 0..0,
            instance: (0, 0),
            reg_id: 0,
            known_by: KnownBy::Contact,
            q_milli: 0,
            methods: 0,
            granted_s: 0,
            expires_s: limits::REMOVED_REMEMBERED_S,
            first_at_s: None,
        }
    }
}

/// `*`: every binding, unless one was made later by the same Call-ID (step 6).
fn plan_removal_of_all<'a>(record: Option<&Record>, plan: &mut Plan<'a>, now: Now) -> Result<(), Rejection<'a>> {
    for binding in record.into_iter().flat_map(Record::bindings).filter(|b| b.is_live(now.unix_s())) {
        let act = match common_order(&binding, &plan.common)? {
            Order::Retransmission => Act::Nothing,
            Order::Later => removal(&binding, &plan.common, now),
        };
        // A record never has more bindings than acts have room for.
        let _ = plan.acts.try_push(act);
    }
    Ok(())
}

pub(super) enum Order {
    Later,
    Retransmission,
}

/// Step 7: an update from the same Call-ID must be later than what is there.
pub(super) fn order<'a>(
    binding: &Binding<'_>,
    call_id: &[u8],
    cseq: u32,
    branch_hash: u32,
) -> Result<Order, Rejection<'a>> {
    if binding.call_id() != call_id || cseq > binding.cseq() {
        Ok(Order::Later)
    } else if cseq == binding.cseq() && branch_hash == binding.branch_hash() {
        Ok(Order::Retransmission)
    } else {
        Err(Rejection::new(500, "Server Internal Error (CSeq is not higher than that of the binding)"))
    }
}

fn common_order<'a>(binding: &Binding<'_>, common: &Common<'_>) -> Result<Order, Rejection<'a>> {
    order(binding, common.call_id, common.cseq, common.branch_hash)
}

/// A removed binding keeps its Call-ID, so it is remembered with a CSeq of that one: the CSeq of another Call-ID would let
/// late copies of older requests pass, or refuse newer ones.
fn removal<'a>(binding: &Binding<'_>, common: &Common<'a>, now: Now) -> Act<'a> {
    let is_own = binding.call_id() == common.call_id;
    let (cseq, branch_hash) =
        if is_own { (common.cseq, common.branch_hash) } else { (binding.cseq(), binding.branch_hash()) };
    let cause = Cause::User { cseq, branch_hash, until_s: end_of(now, limits::REMOVED_REMEMBERED_S) };
    Act::Remove(Unbind { contact_id: binding.contact_id(), cause })
}

/// One binding named twice in one request has no meaning that all would agree on.
fn refuse_twice<'a>(acts: &[Act<'_>], act: &Act<'_>) -> Result<(), Rejection<'a>> {
    let id = |act: &Act<'_>| match act {
        Act::Nothing => None,
        Act::Refresh(refresh) => Some(refresh.contact_id),
        Act::Remove(unbind) => Some(unbind.contact_id),
        Act::Bind(wanted) | Act::Forestall(wanted) => Some(wanted.contact_id),
    };
    match id(act) {
        Some(new) if acts.iter().any(|other| id(other) == Some(new)) => {
            Err(Rejection::fault(Fault::Header(HeaderName::Contact, "one binding stands twice")))
        }
        _ => Ok(()),
    }
}
