//! What would become of a request, and why: for operators.
//!
//! # Contract
//! In goes a message as it would be received; out comes an [`Explanation`]. Nothing is changed, counted, sent or asked by it.
//! What is decided is decided by the same functions that decide about requests, so that it cannot say anything else than they
//! would.
//!
//! Bounded by what a message names and an AoR has.

use crate::hop::{Destination, ShardIndex, Source};
use crate::location::{AorKey, Matching};
use crate::names::Names;
use crate::policy::Treatment;
use crate::proxy::{Fate, Routed, Ways};
use crate::request::Request;
use crate::shard::Core;
use crate::time::Now;
use sipfed_sip::{ScanError, Uri, scan};

/// What would become of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Its method.
    pub method: String,
    /// The address of record that it is about; `None` where it is about none here.
    pub aor: Option<String>,
    /// Whether another node of the federation has sent it.
    pub is_from_cluster: bool,
    /// The signs of a NAT that it shows, by their words; those that do not count as well.
    pub signs: Vec<(&'static str, bool)>,
    /// All rules in their order, by their names, and whether they held. None follows the last that was looked at.
    pub rules: Vec<(String, bool)>,
    /// What would be done with it.
    pub outcome: String,
    /// The contacts of its AoR, and what would become of each.
    pub contacts: Vec<ContactFate>,
    /// Whether the directory would be asked for other homes of the AoR, or why not.
    pub elsewhere: Result<(), &'static str>,
}

/// What would become of one contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactFate {
    /// Its URI.
    pub uri: String,
    /// Where a branch to it would be sent, or why there would be none.
    pub branch: Result<String, &'static str>,
}

/// What cannot be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unexplained {
    /// Another shard would handle it.
    Belongs(ShardIndex),
    /// It is no request that would be answered: what is wrong with it.
    NoRequest(String),
}

impl Core {
    pub(crate) fn explain(&mut self, bytes: &[u8], source: &Source, now: Now) -> Result<Explanation, Unexplained> {
        let mut index = sipfed_sip::Index::new();
        let message = scan(bytes, &mut index).map_err(|error| {
            let what = match error {
                ScanError::TooLong => "it is longer than a message may be",
                ScanError::KeepAlive | ScanError::NotSip => "it is no SIP message",
            };
            Unexplained::NoRequest(what.to_owned())
        })?;
        let Some(method) = message.method() else {
            return Err(Unexplained::NoRequest("it is a response".to_owned()));
        };
        let owner = self.owner(&message);
        if owner != self.place.index {
            return Err(Unexplained::Belongs(owner));
        }
        let request = match Request::parse(message, method, source) {
            Ok(request) => request,
            Err(rejection) => {
                let (status, reason) = self.words_of(&rejection);
                return Err(Unexplained::NoRequest(format!("it would be refused with {status} {reason}")));
            }
        };
        self.tick_names(now);
        let explanation = self.explain_request(&request, now);
        // Nobody is asked for the sake of an explanation.
        if let Some(names) = &mut self.names {
            names.forget_unasked();
        }
        Ok(explanation)
    }

    fn explain_request(&mut self, request: &Request<'_>, now: Now) -> Explanation {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let counting = self.settings.nat.signs;
        let signs = crate::nat::Signs::ALL.found(&request.message, &request.via, &request.source, false);
        let is_natted = self.is_natted(request);
        let treatment = self.treat(request, is_natted);
        let rules = self.settings.policy.iter().take(treatment.looked_at).enumerate();
        let mut explanation = Explanation {
            method: text(request.method.as_bytes()),
            aor: None,
            is_from_cluster: self.is_from_cluster(request),
            signs: signs.iter().map(|sign| (sign.word(), counting.has(sign))).collect(),
            rules: rules.map(|(index, rule)| (rule.name.clone(), treatment.held & 1 << index != 0)).collect(),
            outcome: String::new(),
            contacts: Vec::new(),
            elsewhere: Err("it is not for an address of record here"),
        };
        if self.is_for_registrar(request) {
            self.explain_register(request, (&treatment, is_natted), &mut explanation, now);
        } else {
            self.explain_forward(request, &treatment, &mut explanation, now);
        }
        explanation
    }

    fn explain_register(
        &mut self,
        request: &Request<'_>,
        treatment: (&Treatment, bool),
        explanation: &mut Explanation,
        now: Now,
    ) {
        let (mut aor, mut bytes) = (Vec::new(), Vec::new());
        explanation.elsewhere = Err("a registration asks nobody");
        let planned = self.with_plan(request, treatment, (&mut aor, &mut bytes), now, |core, _, plan, _| {
            plan.words(core.location.intervals.of(plan.phone().remote.ip()))
        });
        explanation.outcome = match planned {
            Ok(words) => match self.matching(treatment.0) {
                Matching::Contact => words,
                Matching::ContactAndCallId => words + "; matched by Contact and Call-ID",
                Matching::Parameter(name) => format!("{words}; matched by {name} of the Contact"),
            },
            Err(rejection) => {
                let (status, reason) = self.words_of(&rejection);
                format!("refused with {status} {reason}")
            }
        };
        explanation.aor = (!aor.is_empty()).then(|| String::from_utf8_lossy(&aor).into_owned());
    }

    fn explain_forward(&mut self, request: &Request<'_>, treatment: &Treatment, out: &mut Explanation, now: Now) {
        let in_dialog = Treatment::default();
        let treatment = if request.is_in_dialog() { &in_dialog } else { treatment };
        let routed = self.check_forward(request, treatment);
        let routed = match routed {
            Ok(routed) => routed,
            Err(rejection) => {
                let (status, reason) = self.words_of(&rejection);
                out.outcome = format!("refused with {status} {reason}");
                return;
            }
        };
        let uri = routed.aor_uri().and_then(|uri| uri.sip().copied()).filter(|uri| self.is_ours(uri));
        let Some(uri) = uri.filter(|uri| uri.user.is_some()) else {
            let target = self.target_by_route(request, &routed);
            out.outcome = match target {
                Err(_) if self.names.as_ref().is_some_and(Names::has_unasked) => {
                    "waits until it is asked where the name of its next hop leads, which is not known yet".to_owned()
                }
                Ok(target) => format!("forwarded to {}", places(target.ways())),
                Err(rejection) => {
                    let (status, reason) = self.words_of(&rejection);
                    format!("refused with {status} {reason}")
                }
            };
            return;
        };
        let mut aor = Vec::new();
        uri.write_aor(&mut aor);
        let record = self.location.find(AorKey { hash: self.keys.aor(&aor), aor: &aor }).map(|(_, record)| record);
        for (record, binding) in record.into_iter().flat_map(|record| record.bindings().map(move |b| (record, b))) {
            let fate = self.fate(request, treatment, (record, &binding), now);
            let uri = String::from_utf8_lossy(binding.uri()).into_owned();
            out.contacts.push(ContactFate { uri, branch: fate.map(|ways| places(&ways)).map_err(Fate::words) });
        }
        let count = out.contacts.iter().filter(|contact| contact.branch.is_ok()).count();
        let count = if treatment.no_branches { count.min(1) } else { count };
        out.elsewhere = self.asks_elsewhere(request, treatment, count);
        out.outcome = match (count, out.elsewhere) {
            (0, Err(_)) => "no branch: nobody can be reached".to_owned(),
            (0, Ok(())) => "no branch here; other homes are asked for".to_owned(),
            (count, Err(_)) => format!("branches: {count}"),
            (count, Ok(())) => format!("branches: {count}, and those to other homes"),
        };
        out.aor = Some(String::from_utf8_lossy(&aor).into_owned());
    }

    fn asks_elsewhere(&self, request: &Request<'_>, treatment: &Treatment, count: usize) -> Result<(), &'static str> {
        if self.directory.is_none() {
            return Err("there is no directory");
        }
        if self.is_from_cluster(request) {
            return Err("another node has sent it, which has asked");
        }
        if request.is_sips() {
            return Err("it is for a sips URI, and other homes are not reached over TLS");
        }
        if treatment.is_local {
            return Err("a rule says global = false");
        }
        if treatment.no_branches && count > 0 {
            return Err("a rule says no_branches");
        }
        Ok(())
    }
}

/// Where a request goes, in words.
fn places(ways: &Ways) -> String {
    let mut words = place(&ways.to);
    if !ways.name.is_empty() {
        words = format!("{words}, to which {} leads", String::from_utf8_lossy(&ways.name));
    }
    for (n, to) in ways.rest.iter().enumerate() {
        words.push_str(if n == 0 { ", else " } else { ", " });
        words.push_str(&place(to));
    }
    words
}

/// A destination in words.
fn place(to: &Destination) -> String {
    let transport = to.transport().uri_token();
    match to {
        Destination::Udp { remote, .. } => format!("{transport}:{remote}"),
        Destination::Flow { .. } => format!("{transport}, over its connection"),
        Destination::Connect(ends) => format!("{transport}:{}", ends.remote),
    }
}

impl<'a> Routed<'a> {
    /// The URI that decides where the request goes, where no route does.
    fn aor_uri(&self) -> Option<&Uri<'a>> {
        (self.flow.is_none() && self.next.is_none()).then_some(&self.uri)
    }
}
