//! What a REGISTER asks for, decided as a whole before any of it is done (RFC 3261 §10.3 steps 6 and 7).

use crate::hop::Source;
use crate::limits;
use crate::location::{AorKey, Bind, Binding, Cause, Ping, Record, Refresh, Stamp, Unbind};
use crate::registrar::{Supports, gruu, sameness};
use crate::reject::Rejection;
use crate::request::Request;
use crate::settings::{Overflow, RegistrarSettings};
use crate::shard::Core;
use crate::time::Now;
use arrayvec::ArrayVec;
use sipfed_sip::{Address, Contact, Fault, HeaderName, Uri, parse_u32};
use std::ops::Range;

/// A whole REGISTER, decided.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) acts: ArrayVec<Act<'a>, { limits::AOR_BINDINGS_COUNT_MAX }>,
    /// Contact ids that make room.
    pub(super) evicted: ArrayVec<u64, { limits::AOR_BINDINGS_COUNT_MAX }>,
    common: Common<'a>,
}

/// What is done about one Contact.
#[derive(Debug)]
pub(super) enum Act<'a> {
    /// A retransmission, or the removal of what is not there.
    Nothing,
    Refresh(Refresh),
    Remove(Unbind),
    Bind(Wanted<'a>),
}

/// One Contact that is to be bound.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    contact_id: u64,
    uri: &'a [u8],
    /// Its stored parameters within the plan's bytes.
    params: Range<usize>,
    instance: (u16, u16),
    reg_id: u32,
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
    source: Source,
    local: u16,
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
            expires_at_s: end_of(now, wanted.expires_s),
            updated_at_s: now.unix_s(),
            first_at_s: wanted.first_at_s.unwrap_or(now.unix_s()),
            stamp: Stamp::ZERO,
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
        bytes: &mut Vec<u8>,
    ) -> Result<Common<'a>, Rejection<'a>> {
        bytes.clear();
        let natted = self.settings.nat.signs.any(&request.message, &request.via, &request.source);
        Ok(Common {
            path: stored_path(request, bytes)?,
            source: request.source,
            local: self.location.locals.number(request.source.local),
            natted,
            ping: self.ping_wanted(natted),
            call_id: request.call_id,
            cseq: request.cseq.number,
            branch_hash: self.number_of(request) as u32,
            user_agent: user_agent(request),
            request_print: if request.is_in_dialog() {
                sameness::NONE
            } else {
                self.print_of(&request.message, &request.via, &request.source)
            },
            supports: Supports::of(&request.message),
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
                return plan_removal_of_all(record, plan, now);
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
        if wanted == 0 {
            return Ok(());
        }
        let settings = &self.settings.registrar;
        if self.location.bindings() + wanted > settings.bindings_per_shard_max as usize {
            let retry_after_s = self.settings.proxy.retry_after_s;
            return Err(Rejection::overload("Service Unavailable (limit of bindings reached)", retry_after_s));
        }
        let removed =
            |id: u64| plan.acts.iter().any(|act| matches!(act, Act::Remove(unbind) if unbind.contact_id == id));
        // Those that are only remembered count for memory, not for the user; they make room first.
        let mut others: ArrayVec<(bool, u32, u64), { limits::AOR_BINDINGS_COUNT_MAX }> = ArrayVec::new();
        let mut used_bytes = stored_bytes + 512 * wanted;
        if let Some(record) = record {
            used_bytes += record.len();
            for b in record.bindings().filter(|b| !bound(b.contact_id()) && !removed(b.contact_id())) {
                let _ = others.try_push((b.is_live(now.unix_s()), b.updated_at_s(), b.contact_id()));
            }
        }
        others.sort_unstable();
        let live = others.iter().filter(|other| other.0).count();
        let room = usize::from(settings.max_contacts);
        if wanted > room || (live + wanted > room && settings.overflow == Overflow::Refuse) {
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
        Act::Bind(wanted) => Some(wanted.contact_id),
    };
    match id(act) {
        Some(new) if acts.iter().any(|other| id(other) == Some(new)) => {
            Err(Rejection::fault(Fault::Header(HeaderName::Contact, "one binding stands twice")))
        }
        _ => Ok(()),
    }
}

/// What is needed to decide about one Contact.
struct Planner<'c, 'a> {
    core: &'c Core,
    key: AorKey<'c>,
    record: Option<&'c Record>,
    request: &'c Request<'a>,
    now: Now,
    bytes: &'c mut Vec<u8>,
}

impl<'a> Planner<'_, 'a> {
    fn plan_contact(&mut self, address: &Address<'a>, common: &Common<'a>) -> Result<Act<'a>, Rejection<'a>> {
        let refuse = |what| Rejection::fault(Fault::Header(HeaderName::Contact, what));
        if address.uri.len() > limits::CONTACT_BYTES_MAX {
            return Err(Rejection::new(403, "Forbidden (Contact is too long)"));
        }
        let settings = &self.core.settings.registrar;
        let stored = store_params(address, self.bytes).map_err(refuse)?;
        let granted_s = self.expires(stored.expires, settings)?;
        let expires_s = self.core.shortened(granted_s, common.call_id, common.cseq);
        let instance =
            &self.bytes[stored.params.start + usize::from(stored.instance.0)..][..usize::from(stored.instance.1)];
        let mut existing = self.find_same(address.uri, instance, stored.reg_id);
        if existing.is_none() {
            let uri = address.uri().map_err(refuse)?;
            check_reachable(&uri)?;
            existing = self.find_equal(&uri, instance, stored.reg_id);
        }
        let order = existing.as_ref().map(|b| common_order(b, common)).transpose()?;
        if matches!(order, Some(Order::Retransmission)) {
            return Ok(Act::Nothing);
        }
        if expires_s == 0 {
            let live = existing.filter(|b| !b.flags().removed());
            return Ok(live.map_or(Act::Nothing, |b| removal(&b, common, self.now)));
        }
        let contact_id = existing.as_ref().map_or_else(
            || {
                let identity = if instance.is_empty() { address.uri } else { instance };
                self.core.keys.contact(self.key.hash, identity, stored.reg_id)
            },
            Binding::contact_id,
        );
        let wanted = Wanted {
            contact_id,
            uri: address.uri,
            params: stored.params,
            instance: stored.instance,
            reg_id: stored.reg_id,
            q_milli: stored.q_milli,
            methods: methods(self.request, stored.methods),
            granted_s,
            expires_s,
            first_at_s: existing
                .as_ref()
                .filter(|b| b.call_id() == common.call_id && b.is_live(self.now.unix_s()))
                .map(Binding::first_at_s),
        };
        match existing {
            Some(binding) if self.is_refresh(&binding, &wanted, common) => Ok(Act::Refresh(Refresh {
                contact_id,
                expires_at_s: end_of(self.now, expires_s),
                updated_at_s: self.now.unix_s(),
                cseq: common.cseq,
                branch_hash: common.branch_hash,
                // Known once all Contacts are: see `Plan::request_print`.
                request_print: sameness::NONE,
                stamp: Stamp::ZERO,
            })),
            _ => Ok(Act::Bind(wanted)),
        }
    }

    /// Step 7: the Contact's expires, else the field Expires, else the default; cut to the bounds.
    fn expires(&self, of_contact: Option<&[u8]>, settings: &RegistrarSettings) -> Result<u32, Rejection<'a>> {
        let all_digits = |v: &[u8]| !v.is_empty() && v.iter().all(u8::is_ascii_digit);
        // §20.10 and §20.19: a malformed value counts as absent; one that is too large as very long.
        let read = |v: &[u8]| parse_u32(v).or_else(|| all_digits(v).then_some(u32::MAX));
        let asked =
            of_contact.and_then(read).or_else(|| self.request.message.value(HeaderName::Expires).and_then(read));
        let asked_s = asked.unwrap_or(settings.default_expires_s);
        if asked_s == 0 {
            return Ok(0);
        }
        // Only shorter than an hour may be called too brief; the minimum is bounded so.
        if asked_s < settings.min_expires_s {
            return Err(Rejection::too_brief(settings.min_expires_s));
        }
        Ok(asked_s.min(settings.max_expires_s))
    }

    /// The binding that this Contact names, when it names it by the same bytes: the usual refresh.
    fn find_same(&self, raw: &[u8], instance: &[u8], reg_id: u32) -> Option<Binding<'_>> {
        self.current().find(|b| b.uri() == raw && b.instance() == instance && b.reg_id() == reg_id)
    }

    /// The binding that this Contact names: by instance and reg-id where it has them (RFC 5626 §6), else by
    /// URI equality (RFC 3261 §10.3 step 7).
    fn find_equal(&self, uri: &Uri<'_>, instance: &[u8], reg_id: u32) -> Option<Binding<'_>> {
        self.current().find(|b| {
            if !instance.is_empty() && (reg_id != 0 || !b.instance().is_empty()) {
                return b.instance() == instance && b.reg_id() == reg_id;
            }
            Uri::parse(b.uri()).is_ok_and(|other| other == *uri)
        })
    }

    /// The AoR's bindings that are not over, those included that are only remembered.
    fn current(&self) -> impl Iterator<Item = Binding<'_>> {
        let now_s = self.now.unix_s();
        self.record.into_iter().flat_map(Record::bindings).filter(move |b| b.expires_at_s() > now_s)
    }

    /// Whether nothing but times, CSeq and branch would change.
    fn is_refresh(&self, b: &Binding<'_>, wanted: &Wanted<'_>, common: &Common<'_>) -> bool {
        b.is_live(self.now.unix_s())
            && b.uri() == wanted.uri
            && b.params() == &self.bytes[wanted.params.clone()]
            && b.call_id() == common.call_id
            && b.path() == &self.bytes[common.path.clone()]
            && b.user_agent() == common.user_agent
            && b.q_milli() == wanted.q_milli
            && b.methods() == wanted.methods
            && b.granted_s() == wanted.granted_s
            && b.remote() == common.source.remote
            && b.flow() == common.source.flow
            && b.transport() == common.source.transport
            && b.local() == common.local
            && b.flags().natted() == common.natted
            && b.flags().supports_gruu() == common.supports.gruu
            && b.flags().supports_path() == common.supports.path
            && b.flags().ping() == common.ping
            && !b.flags().flow_lost()
    }
}

/// A Contact at an address that nobody may be made to send to is refused.
fn check_reachable<'a>(uri: &Uri<'_>) -> Result<(), Rejection<'a>> {
    let ip = uri.sip().and_then(|uri| uri.host.ip());
    let port = uri.sip().and_then(|uri| uri.port);
    if port == Some(0) || ip.is_some_and(|ip| !crate::proxy::may_send_to(ip)) {
        return Err(Rejection::new(403, "Forbidden (Contact is an address that cannot be sent to)"));
    }
    Ok(())
}

struct StoredParams<'a> {
    /// The value of expires.
    expires: Option<&'a [u8]>,
    /// The value of methods (RFC 3840).
    methods: Option<&'a [u8]>,
    params: Range<usize>,
    instance: (u16, u16),
    reg_id: u32,
    q_milli: u16,
}

/// Appends the Contact's parameters without expires and q, which are kept as numbers, and without what a
/// phone copied from our own replies.
fn store_params<'a>(address: &Address<'a>, bytes: &mut Vec<u8>) -> Result<StoredParams<'a>, &'static str> {
    let start = bytes.len();
    let mut stored =
        StoredParams { expires: None, methods: None, params: start..start, instance: (0, 0), reg_id: 0, q_milli: 1000 };
    for param in address.params.iter() {
        match param.name.len() {
            7 if param.is("expires") => {
                stored.expires = stored.expires.or(param.unquoted());
                continue;
            }
            8 | 9 if gruu::is_gruu_param(param.name) => continue,
            1 if param.is("q") => {
                stored.q_milli = param.value.and_then(parse_q).ok_or("q is no number from 0 to 1")?;
                continue;
            }
            6 if param.is("reg-id") => {
                let reg_id = param.value.and_then(parse_u32).filter(|&n| n > 0 && n < 1 << 31);
                stored.reg_id = reg_id.ok_or("reg-id is no number above 0")?;
            }
            7 if param.is("methods") => stored.methods = param.unquoted(),
            13 if param.is("+sip.instance") => {
                let value = param.unquoted().filter(|v| !v.is_empty()).ok_or("+sip.instance has no value")?;
                let quote = usize::from(param.raw.ends_with(b"\""));
                let at = bytes.len() - start + param.raw.len() - quote - value.len();
                stored.instance = (at as u16, value.len() as u16);
            }
            _ => {}
        }
        bytes.extend_from_slice(param.raw);
    }
    if bytes.len() - start > limits::CONTACT_PARAMS_BYTES_MAX {
        return Err("parameters are too long");
    }
    stored.params = start..bytes.len();
    // RFC 5626 §6: without an instance a reg-id means nothing.
    if stored.instance.1 == 0 {
        stored.reg_id = 0;
    }
    Ok(stored)
}

/// qvalue in thousandths (RFC 3261 §25.1).
fn parse_q(text: &[u8]) -> Option<u16> {
    let (whole, fraction) = match text.iter().position(|&b| b == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &text[..0]),
    };
    if fraction.len() > 3 || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let milli = fraction.iter().chain(b"000").take(3).fold(0, |n, b| n * 10 + u16::from(b - b'0'));
    match (whole, milli) {
        (b"0", milli) => Some(milli),
        (b"1", 0) => Some(1000),
        _ => None,
    }
}

/// The methods that the Contact takes: those of its own parameter (RFC 3840), else of Allow, else all.
fn methods(request: &Request<'_>, of_contact: Option<&[u8]>) -> u16 {
    let bits = |list: &[u8]| {
        let tokens = list.split(|&b| b == b',').map(sipfed_sip::trim).filter(|token| !token.is_empty());
        tokens.fold(0, |set, token| set | sipfed_sip::Method::from_token(token).bit())
    };
    let listed = match of_contact {
        Some(list) => bits(list),
        None => request.message.fields(HeaderName::Allow).fold(0, |set, field| set | bits(field.value)),
    };
    if listed == 0 { u16::MAX } else { listed }
}

fn user_agent<'a>(request: &Request<'a>) -> &'a [u8] {
    let text = request.message.value(HeaderName::UserAgent).unwrap_or_default();
    &text[..text.len().min(limits::USER_AGENT_BYTES_MAX)]
}

/// Appends the Path values (RFC 3327 §5.3) as one comma list.
fn stored_path<'a>(request: &Request<'a>, bytes: &mut Vec<u8>) -> Result<Range<usize>, Rejection<'a>> {
    let start = bytes.len();
    for address in request.message.addresses(HeaderName::Path) {
        let address = address.map_err(Rejection::fault)?;
        let is_sip = address.uri().is_ok_and(|uri| uri.sip().is_some());
        if !is_sip || !address.raw.ends_with(b">") && !address.raw.contains(&b'<') {
            return Err(Rejection::fault(Fault::Header(HeaderName::Path, "is no SIP URI between angle brackets")));
        }
        if bytes.len() > start {
            bytes.push(b',');
        }
        bytes.extend_from_slice(address.raw);
    }
    if bytes.len() - start > limits::PATH_BYTES_MAX {
        return Err(Rejection::new(403, "Forbidden (Path is too long)"));
    }
    Ok(start..bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3261_25_qvalues() {
        for (text, milli) in [("0", 0), ("1", 1000), ("0.5", 500), ("0.125", 125), ("1.000", 1000), ("0.", 0)] {
            assert_eq!(parse_q(text.as_bytes()), Some(milli), "{text}");
        }
        for bad in ["", "2", "1.1", "0.1234", ".5", "-1", "0.x"] {
            assert_eq!(parse_q(bad.as_bytes()), None, "{bad}");
        }
    }
}
