//! What one Contact of a REGISTER asks for (RFC 3261 §10.3 steps 6 and 7).

use super::{Act, Common, Order, Wanted, common_order, end_of, removal};
use crate::limits;
use crate::location::{AorKey, Binding, KnownBy, Matching, Named, Record, Refresh, Stamp};
use crate::policy::Treatment;
use crate::registrar::sameness;
use crate::registrar::stored::{StoredParams, check_reachable, first_hop_keeps_flows, methods, store_params};
use crate::reject::Rejection;
use crate::request::Request;
use crate::settings::RegistrarSettings;
use crate::shard::Core;
use crate::time::Now;
use sipfed_sip::{Address, Fault, HeaderName, parse_u32};

/// What is needed to decide about one Contact.
pub(super) struct Planner<'c, 'a> {
    pub(super) core: &'c Core,
    pub(super) key: AorKey<'c>,
    pub(super) record: Option<&'c Record>,
    pub(super) request: &'c Request<'a>,
    pub(super) now: Now,
    pub(super) bytes: &'c mut Vec<u8>,
}

/// The binding that a Contact names, or what a new one is known by.
struct Matched<'r> {
    existing: Option<Binding<'r>>,
    contact_id: u64,
    known_by: KnownBy,
}

impl<'a> Planner<'_, 'a> {
    pub(super) fn plan_contact(
        &mut self,
        address: &Address<'a>,
        common: &Common<'a>,
    ) -> Result<Act<'a>, Rejection<'a>> {
        let refuse = |what| Rejection::fault(Fault::Header(HeaderName::Contact, what));
        if address.uri.len() > limits::CONTACT_BYTES_MAX {
            return Err(Rejection::new(403, "Forbidden (Contact is too long)"));
        }
        let settings = &self.core.settings.registrar;
        let stored = store_params(address, self.bytes).map_err(refuse)?;
        if stored.reg_id != 0
            && common.supports.outbound
            && !first_hop_keeps_flows(&self.request.message, &self.request.via)
        {
            return Err(Rejection::new(439, "First Hop Lacks Outbound Support"));
        }
        let granted_s = self.expires(stored.expires, settings, &common.treatment)?;
        let expires_s = self.core.shortened(granted_s, common.call_id, common.cseq);
        let Matched { existing, contact_id, known_by } = self.matched(address, &stored, common)?;
        let order = existing.as_ref().map(|b| common_order(b, common)).transpose()?;
        if matches!(order, Some(Order::Retransmission)) {
            return Ok(Act::Nothing);
        }
        let has_backups = self.core.location.has_backups();
        if expires_s == 0 && (existing.is_some() || !has_backups) {
            // Another node may have heard of it again since it was removed here.
            let known = existing.filter(|b| has_backups || !b.flags().removed());
            return Ok(known.map_or(Act::Nothing, |b| removal(&b, common, self.now)));
        }
        if expires_s == 0 {
            let StoredParams { params, instance, reg_id, .. } = stored;
            let removed = Wanted::removed(contact_id, address.uri);
            return Ok(Act::Forestall(Wanted { params, instance, reg_id, known_by, ..removed }));
        }
        let wanted = Wanted {
            contact_id,
            uri: address.uri,
            params: stored.params,
            instance: stored.instance,
            reg_id: stored.reg_id,
            known_by,
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

    /// Which binding the Contact names.
    #[inline]
    fn matched(
        &self,
        address: &Address<'a>,
        stored: &StoredParams<'_>,
        common: &Common<'_>,
    ) -> Result<Matched<'_>, Rejection<'a>> {
        let (params, reg_id, call_id) = (&self.bytes[stored.params.clone()], stored.reg_id, common.call_id);
        let instance = &params[usize::from(stored.instance.0)..][..usize::from(stored.instance.1)];
        let matching = self.core.matching(&common.treatment);
        let by_call_id = (*matching == Matching::ContactAndCallId && instance.is_empty()).then_some(call_id);
        let existing = self.find_same(address.uri, instance, reg_id, by_call_id);
        if let Some(existing) = existing.filter(|_| *matching == Matching::Contact) {
            let (contact_id, known_by) = (existing.contact_id(), KnownBy::Contact);
            return Ok(Matched { existing: Some(existing), contact_id, known_by });
        }
        let uri = address.uri().map_err(|what| Rejection::fault(Fault::Header(HeaderName::Contact, what)))?;
        let named = Named { uri: &uri, uri_bytes: address.uri, instance, reg_id, call_id };
        let known_by = named.known_by(matching);
        if existing.is_none() {
            check_reachable(&uri)?;
        }
        let existing = existing.or_else(|| self.current().find(|b| b.is_named_by(&named, matching)));
        let contact_id = existing.as_ref().map_or_else(
            || self.core.keys.contact(self.key.hash, &named.identity(matching), reg_id),
            Binding::contact_id,
        );
        Ok(Matched { existing, contact_id, known_by })
    }

    /// Step 7: the Contact's expires, else the field Expires, else the default; cut to the bounds.
    fn expires(
        &self,
        of_contact: Option<&[u8]>,
        settings: &RegistrarSettings,
        treatment: &Treatment,
    ) -> Result<u32, Rejection<'a>> {
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
        let asked_s = asked_s.max(treatment.min_expires_s.unwrap_or(0));
        if asked_s < settings.min_expires_s {
            return Err(Rejection::too_brief(settings.min_expires_s));
        }
        Ok(asked_s.min(treatment.max_expires_s.unwrap_or(settings.max_expires_s)))
    }

    /// The binding that this Contact names, when it names it by the same bytes: the usual refresh. The Call-ID is given where
    /// it has to be the same as well.
    fn find_same(&self, raw: &[u8], instance: &[u8], reg_id: u32, call_id: Option<&[u8]>) -> Option<Binding<'_>> {
        let mut same = self.current().filter(|b| b.uri() == raw && b.instance() == instance && b.reg_id() == reg_id);
        same.find(|b| call_id.is_none_or(|call_id| b.call_id() == call_id))
    }

    /// The AoR's bindings that are not over, those included that are only remembered.
    fn current(&self) -> impl Iterator<Item = Binding<'_>> {
        let now_s = self.now.unix_s();
        let held = self.record.into_iter().flat_map(Record::bindings).filter(|b| !b.is_removal_of_all());
        held.filter(move |b| b.expires_at_s() > now_s)
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
            && b.flags().known_by() == wanted.known_by
            && !b.flags().flow_lost()
    }
}
