//! The registrar: RFC 3261 §10.3.
//!
//! # Contract
//! In goes a REGISTER for a domain of ours whose AoR this shard owns; out comes its one reply. What the
//! REGISTER asks for is planned first, contact by contact, and done only when all of it may be done (§10.3
//! step 7: all or nothing). What is done is a list of [`crate::location::Op`]s.
//!
//! The usual refresh takes none of these steps: see [`sameness`].
//!
//! # Without a transaction
//! A REGISTER opens no server transaction. Its retransmission is known by Call-ID, CSeq and a hash of its
//! branch, which the binding keeps; it changes nothing and is answered from what is there, with the same To
//! tag. A removed binding is remembered for as long as a transaction would have been
//! ([`crate::limits::REMOVED_REMEMBERED_S`]). So a refresh costs no memory, and what §17.2.2 promises holds.
//! Where other nodes hold the same bindings, one that is not known here is remembered as removed as well, since
//! one of them may know it.

mod gruu;
mod plan;
mod reply;
mod sameness;
mod stored;

pub(crate) use gruu::{GRUU_PREFIX, TempGruu};
pub(crate) use sameness::print_of_settings;

use crate::keys::AorHash;
use crate::location::{AorKey, Op, Refresh, Unbind};
use crate::outbox::Outbox;
use crate::policy::{PathMode, Treatment};
use crate::reject::Rejection;
use crate::request::Request;
use crate::shard::Core;
use crate::time::Now;
use plan::Act;
pub(crate) use plan::Plan;
use reply::Registered;
use sipfed_sip::{Contact, HeaderName, Message};
use stored::check_sips_contacts;

/// Option tags that a REGISTER may require of us.
const SUPPORTED: &[&str] = &["path", "gruu", "outbound"];

/// The extensions that a phone says it supports and that change what it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Supports {
    gruu: bool,
    path: bool,
    outbound: bool,
}

impl Supports {
    fn of(message: &Message<'_>) -> Self {
        let mut supports = Self { gruu: false, path: false, outbound: false };
        for tag in message.tags(HeaderName::Supported) {
            supports.gruu |= sipfed_sip::eq_ignore_case(tag, b"gruu");
            supports.path |= sipfed_sip::eq_ignore_case(tag, b"path");
            supports.outbound |= sipfed_sip::eq_ignore_case(tag, b"outbound");
        }
        supports
    }
}

/// Whether a Contact names a flow of its own (RFC 5626 §4.2).
fn names_flow(message: &Message<'_>) -> bool {
    message.contacts().any(|contact| match contact {
        Ok(Contact::At(address)) => address.params.has("reg-id") && address.params.has("+sip.instance"),
        _ => false,
    })
}

impl Core {
    /// Handles a REGISTER whose Request-URI is a domain of ours (§10.3 step 1 was decided by the caller).
    pub(crate) fn register(&mut self, request: &Request<'_>, now: Now, out: &mut Outbox) {
        let mut aor = std::mem::take(&mut self.scratch.aor);
        let mut bytes = std::mem::take(&mut self.scratch.plan);
        let is_natted = self.is_natted(request);
        let treatment = self.treat(request, is_natted);
        match self.register_aor(request, (&treatment, is_natted), &mut aor, &mut bytes, now) {
            Ok(hash) => {
                self.counters.registers_accepted += 1;
                let key = AorKey { hash, aor: &aor };
                let record = self.location.find(key).map(|(id, _)| id);
                let supports = Supports::of(&request.message);
                let registered = Registered {
                    message: &request.message,
                    via: &request.via,
                    number: (!request.is_in_dialog()).then(|| self.number_of(request)),
                    stamp: request.stamp,
                    to: request.reply_to(),
                    wants_gruu: supports.gruu,
                    wants_path: supports.path && treatment.path != PathMode::Off,
                    outbound: supports.outbound && names_flow(&request.message),
                    only: treatment.only_request_contacts.then_some((request.call_id, request.cseq.number)),
                };
                self.reply_registered(&registered, hash, record, now, out);
            }
            Err(rejection) => {
                self.counters.registers_refused += 1;
                self.reject(request, &rejection, out);
            }
        }
        self.scratch.aor = aor;
        self.scratch.plan = bytes;
    }

    /// Steps 2 to 7; leaves the canonical AoR in `aor`.
    fn register_aor<'a>(
        &mut self,
        request: &Request<'a>,
        treatment: (&Treatment, bool),
        aor: &mut Vec<u8>,
        bytes: &mut Vec<u8>,
        now: Now,
    ) -> Result<AorHash, Rejection<'a>> {
        self.with_plan(request, treatment, (aor, bytes), now, |core, key, plan, bytes| {
            core.carry_out(key, plan, bytes, now);
            key.hash
        })
    }

    /// Does something with what such a request asks for, once that is decided. The plan is too large to be handed about.
    #[inline]
    pub(crate) fn with_plan<'a, T>(
        &mut self,
        request: &Request<'a>,
        (treatment, is_natted): (&Treatment, bool),
        (aor, bytes): (&mut Vec<u8>, &mut Vec<u8>),
        now: Now,
        then: impl FnOnce(&mut Self, AorKey<'_>, &Plan<'a>, &[u8]) -> T,
    ) -> Result<T, Rejection<'a>> {
        treatment.refusal()?;
        // Step 2. Steps 3 and 4, authentication and authorization, have no rules to apply yet.
        Rejection::check_required(request.message, HeaderName::Require, SUPPORTED)?;
        self.check_sips(request)?;
        check_sips_contacts(request)?;
        // Step 5.
        let to = request.to.uri().ok();
        let Some(to) = to.as_ref().and_then(sipfed_sip::Uri::sip) else {
            return Err(Rejection::new(400, "Bad Request (To: is no SIP URI)"));
        };
        if to.user.is_none() || !self.is_ours(to) {
            return Err(Rejection::new(404, "Not Found (To: is no address of record of this domain)"));
        }
        aor.clear();
        to.write_aor(aor);
        if aor.len() > crate::limits::AOR_BYTES_MAX {
            return Err(Rejection::new(403, "Forbidden (address of record is too long)"));
        }
        let key = AorKey { hash: self.keys.aor(aor), aor };
        // Step 6 and 7.
        let mut plan = Plan::new(self.common(request, treatment, is_natted, bytes)?);
        self.fill_plan(request, key, bytes, &mut plan, now)?;
        Ok(then(self, key, &plan, bytes))
    }

    fn carry_out(&mut self, key: AorKey<'_>, plan: &Plan<'_>, bytes: &[u8], now: Now) {
        if plan.is_only_refreshes() {
            self.counters.registers_refreshed += 1;
        }
        for contact_id in &plan.evicted {
            let op = Op::Unbind(Unbind { contact_id: *contact_id, cause: crate::location::Cause::Evicted });
            self.location.apply(key, &op, &mut self.wheel, &mut self.counters);
        }
        for act in &plan.acts {
            let op = match act {
                Act::Nothing => continue,
                Act::Refresh(refresh) => Op::Refresh(Refresh { request_print: plan.request_print(), ..*refresh }),
                Act::Remove(unbind) => Op::Unbind(*unbind),
                Act::Bind(wanted) => {
                    self.note_registering(key, wanted.contact_id, &plan.phone(), now);
                    Op::Bind(plan.bind(wanted, bytes, now))
                }
                Act::Forestall(wanted) => Op::Forestall(plan.forestall(wanted, bytes, now)),
            };
            self.location.apply(key, &op, &mut self.wheel, &mut self.counters);
        }
    }
}
