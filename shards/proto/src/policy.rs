//! What is done with a request, as an ordered list of rules says it: what other servers have a routing script for.
//!
//! # Contract
//! In goes a request that opens a transaction, out of any dialog; out comes its [`Treatment`]. Every rule is looked at in its
//! order. One whose conditions all hold says what it has to say, and what a later rule says counts more; a rule may be the last
//! that is looked at, and one that refuses is. What no rule says is as the settings of its room say.
//!
//! Pure, and the same for the same request and settings, so that it may be asked again at any time; what a REGISTER was
//! treated like is kept with its binding. Bounded by [`limits::RULES_COUNT_MAX`], and by the length of what is compared.

mod pattern;

pub use pattern::Pattern;

use crate::hop::Transport;
use crate::limits;
use crate::location::{Matching, Ping};
use crate::reject::Rejection;
use crate::request::Request;
use crate::shard::Core;
use ipnet::IpNet;
use sipfed_sip::{HeaderName, Host, Method};

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// How explanations name it.
    pub name: String,
    /// When it holds.
    pub when: When,
    /// What it says then.
    pub then: Then,
}

/// The conditions of a rule, all of which have to hold; one that is not given does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// Set of [`Method::bit`]; 0 for all.
    pub methods: u16,
    /// Domains in lower case: of To in a REGISTER, else of the Request-URI.
    pub domains: Vec<String>,
    /// Networks that it came from.
    pub sources: Vec<IpNet>,
    /// Transports that it came over.
    pub transports: Vec<Transport>,
    /// What its User-Agent is like.
    pub user_agent: Option<Pattern>,
    /// A header field, by its long name, one value of which is like this.
    pub header: Option<(String, Pattern)>,
    /// Whether it shows one of the signs of a NAT that count.
    pub natted: Option<bool>,
    /// Whether another node of the federation has sent it.
    pub from_cluster: Option<bool>,
}

/// What a rule says; what is not given is left as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Then {
    /// What its phone is pinged with.
    pub ping: Option<PingWith>,
    /// Whether its binding ends when its phone does not answer.
    pub remove_on_timeout: Option<bool>,
    /// What becomes of its Path.
    pub path: Option<PathMode>,
    /// Whether its phone is behind a NAT where its Path says at which address it was seen.
    pub path_received: Option<bool>,
    /// What a Contact is matched by with the bindings that there are.
    pub matching: Option<Matching>,
    /// Whether a binding too many takes the place of the oldest, instead of being refused.
    pub force_registration: Option<bool>,
    /// Whether its 200 names only the Contacts that it has named.
    pub only_request_contacts: Option<bool>,
    /// Most bindings of its AoR.
    pub max_contacts: Option<u8>,
    /// Fewest seconds that it is granted; fewer are raised to it.
    pub min_expires_s: Option<u32>,
    /// Most seconds that it is granted.
    pub max_expires_s: Option<u32>,
    /// Whether it goes to the most wanted contact alone.
    pub no_branches: Option<bool>,
    /// Whether of contacts with one q the one that answers pings fastest is tried first.
    pub sort_by_latency: Option<bool>,
    /// Milliseconds: contacts whose last answer to a ping took longer are left out.
    pub max_latency_ms: Option<u16>,
    /// What the User-Agent of a contact has to be like.
    pub contact_agent: Option<Pattern>,
    /// Whether other homes of the AoR are asked for.
    pub global: Option<bool>,
    /// Whether a Contact of a phone behind a NAT is written as where it was seen.
    pub fix_contact: Option<bool>,
    /// What it is refused with: status code and reason phrase.
    pub refuse: Option<(u16, String)>,
    /// Whether no further rule is looked at.
    pub is_last: bool,
}

/// What a phone is pinged with, as a rule says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PingWith {
    /// Nothing.
    Nothing,
    /// Requests.
    Request,
    /// Bytes.
    Bytes,
}

/// What becomes of the Path of a REGISTER (RFC 3327).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathMode {
    /// It is stored, whether the phone says that it supports it or not.
    #[default]
    Lazy,
    /// It is stored, and a phone that does not say so is refused with 420 (§5.3).
    Strict,
    /// It is passed over.
    Off,
}

/// How a request is treated.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is an answer to a question of its own")]
pub(crate) struct Treatment {
    /// The rules that held, by their numbers.
    pub(crate) held: u64,
    ping: Option<PingWith>,
    remove_on_timeout: Option<bool>,
    pub(crate) path: PathMode,
    pub(crate) path_received: bool,
    /// The rule that says what a Contact is matched by.
    matching_by: Option<usize>,
    pub(crate) force_registration: Option<bool>,
    pub(crate) only_request_contacts: bool,
    pub(crate) max_contacts: Option<u8>,
    pub(crate) min_expires_s: Option<u32>,
    pub(crate) max_expires_s: Option<u32>,
    pub(crate) no_branches: bool,
    pub(crate) sort_by_latency: bool,
    pub(crate) max_latency_ms: Option<u16>,
    /// The rule that says what the User-Agent of a contact has to be like.
    contact_agent_by: Option<usize>,
    pub(crate) is_local: bool,
    pub(crate) fix_contact: bool,
    /// The rule that refuses it.
    pub(crate) refused_by: Option<usize>,
    /// How many rules were looked at.
    pub(crate) looked_at: usize,
}

impl Treatment {
    fn take(&mut self, index: usize, then: &Then) {
        self.held |= 1 << index;
        self.ping = then.ping.or(self.ping);
        self.remove_on_timeout = then.remove_on_timeout.or(self.remove_on_timeout);
        self.force_registration = then.force_registration.or(self.force_registration);
        self.max_contacts = then.max_contacts.or(self.max_contacts);
        self.min_expires_s = then.min_expires_s.or(self.min_expires_s);
        self.max_expires_s = then.max_expires_s.or(self.max_expires_s);
        self.max_latency_ms = then.max_latency_ms.or(self.max_latency_ms);
        self.contact_agent_by = then.contact_agent.as_ref().map(|_| index).or(self.contact_agent_by);
        self.path = then.path.unwrap_or(self.path);
        self.path_received = then.path_received.unwrap_or(self.path_received);
        self.matching_by = then.matching.as_ref().map(|_| index).or(self.matching_by);
        self.only_request_contacts = then.only_request_contacts.unwrap_or(self.only_request_contacts);
        self.no_branches = then.no_branches.unwrap_or(self.no_branches);
        self.sort_by_latency = then.sort_by_latency.unwrap_or(self.sort_by_latency);
        self.fix_contact = then.fix_contact.unwrap_or(self.fix_contact);
        self.is_local = then.global.map_or(self.is_local, |global| !global);
        self.refused_by = then.refuse.as_ref().map(|_| index);
    }

    /// The refusal, where a rule says one.
    pub(crate) fn refusal(&self) -> Result<(), Rejection<'static>> {
        self.refused_by.map_or(Ok(()), |rule| Err(Rejection::by_rule(rule)))
    }
}

impl When {
    fn holds(&self, request: &Request<'_>, facts: &Facts<'_, '_>) -> bool {
        let Self { methods, domains, sources, transports, user_agent, header, natted, from_cluster } = self;
        (*methods == 0 || methods & request.method.bit() != 0)
            && (domains.is_empty() || facts.domain().is_some_and(|domain| is_among(&domain, domains)))
            && (sources.is_empty() || sources.iter().any(|network| network.contains(&request.source.remote.ip())))
            && (transports.is_empty() || transports.contains(&request.source.transport))
            && user_agent
                .as_ref()
                .is_none_or(|pattern| pattern.is_like(request.message.value(HeaderName::UserAgent).unwrap_or_default()))
            && header.as_ref().is_none_or(|(name, pattern)| has_like(request, name, pattern))
            && natted.is_none_or(|natted| natted == facts.is_natted)
            && from_cluster.is_none_or(|from_cluster| from_cluster == facts.core.is_from_cluster(request))
    }
}

/// What is asked about a request, and is only looked for when it is.
struct Facts<'c, 'a> {
    core: &'c Core,
    request: &'c Request<'a>,
    is_natted: bool,
}

impl<'a> Facts<'_, 'a> {
    fn domain(&self) -> Option<Host<'a>> {
        let Request { method, to, uri, .. } = self.request;
        let uri = if *method == Method::Register { to.uri().ok()? } else { *uri };
        uri.sip().map(|uri| uri.host)
    }
}

fn is_among(domain: &Host<'_>, domains: &[String]) -> bool {
    domains.iter().any(|other| match domain {
        Host::Name(name) => sipfed_sip::eq_ignore_case(name.strip_suffix(b".").unwrap_or(name), other.as_bytes()),
        Host::Ip(ip) => other.parse() == Ok(*ip),
    })
}

/// Whether a header field of that name has a value like that.
fn has_like(request: &Request<'_>, name: &str, pattern: &Pattern) -> bool {
    let known = HeaderName::from_name(name.as_bytes());
    request.message.all_fields().any(|field| {
        let is_it = match known {
            HeaderName::Other => {
                let end = field.line.iter().position(|byte| *byte == b':').unwrap_or_default();
                sipfed_sip::eq_ignore_case(sipfed_sip::trim(&field.line[..end]), name.as_bytes())
            }
            known => field.name == known,
        };
        is_it && pattern.is_like(field.value)
    })
}

impl Core {
    /// Whether another node of the federation has sent it.
    pub(crate) fn is_from_cluster(&self, request: &Request<'_>) -> bool {
        let Request { source, via, call_id, .. } = request;
        let directory = self.directory.as_ref();
        directory.is_some_and(|known| known.is_peer(source.remote.ip()) || known.is_marked(via, call_id))
    }

    /// How a request is treated. `is_natted` is whether it shows a sign of a NAT that counts.
    pub(crate) fn treat(&self, request: &Request<'_>, is_natted: bool) -> Treatment {
        let mut treatment = Treatment::default();
        let facts = Facts { core: self, request, is_natted };
        for (index, rule) in self.settings.policy.iter().take(limits::RULES_COUNT_MAX).enumerate() {
            treatment.looked_at = index + 1;
            if rule.when.holds(request, &facts) {
                treatment.take(index, &rule.then);
                if rule.then.is_last || treatment.refused_by.is_some() {
                    break;
                }
            }
        }
        treatment
    }

    /// Whether a request that is treated so may go to a phone with that User-Agent.
    pub(crate) fn takes_agent(&self, treatment: &Treatment, user_agent: &[u8]) -> bool {
        let rule = treatment.contact_agent_by.and_then(|index| self.settings.policy.get(index));
        rule.and_then(|rule| rule.then.contact_agent.as_ref()).is_none_or(|pattern| pattern.is_like(user_agent))
    }

    /// What a Contact of a REGISTER that is treated so is matched by.
    pub(crate) fn matching(&self, treatment: &Treatment) -> &Matching {
        let rule = treatment.matching_by.and_then(|index| self.settings.policy.get(index));
        rule.and_then(|rule| rule.then.matching.as_ref()).unwrap_or(&Matching::Contact)
    }

    /// How the phone of a new binding is to be pinged.
    pub(crate) fn ping_wanted(&self, treatment: &Treatment, is_natted: bool) -> Ping {
        let settings = &self.settings.nat.ping;
        if settings.interval_s == 0 {
            return Ping::None;
        }
        let usual = match settings.kind {
            Ping::None => PingWith::Nothing,
            Ping::Bytes => PingWith::Bytes,
            Ping::Request { .. } => PingWith::Request,
        };
        let by_settings = if settings.only_natted && !is_natted { PingWith::Nothing } else { usual };
        match treatment.ping.unwrap_or(by_settings) {
            PingWith::Nothing => Ping::None,
            PingWith::Bytes => Ping::Bytes,
            PingWith::Request => {
                let by_settings = settings.kind == Ping::Request { ends_unanswered: true };
                Ping::Request { ends_unanswered: treatment.remove_on_timeout.unwrap_or(by_settings) }
            }
        }
    }
}
