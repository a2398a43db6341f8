//! Whom a request goes to (RFC 3261 §16.5).

use super::elsewhere::Elsewhere;
use super::next_hop::{Flow, NoWay, reaches};
use super::route::Routed;
use crate::hop::{Destination, Ends, Source, Transport};
use crate::limits;
use crate::location::{AorKey, Binding, Record};
use crate::policy::Treatment;
use crate::registrar::TempGruu;
use crate::reject::Rejection;
use crate::request::Request;
use crate::settings::{Foreign, LostFlow};
use crate::shard::Core;
use crate::time::Now;
use sipfed_sip::{SipUri, Uri};
use std::net::IpAddr;

/// One place a request goes to: what becomes a branch.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Its Request-URI.
    pub(super) uri: Box<[u8]>,
    /// Route values that come before those of the request (RFC 3327 §5.3), as a comma list.
    pub(super) path: Box<[u8]>,
    /// Where it is sent.
    pub(super) to: Destination,
    /// Thousandths; targets of one q are tried together.
    pub(super) q_milli: u16,
    /// Milliseconds that its phone took to answer the last ping; `u16::MAX` where that is not known.
    pub(super) latency_ms: u16,
    /// Whether it is another home of the AoR, which is told that the directory was asked.
    pub(super) is_home: bool,
    /// Whether it is a phone behind a NAT, which requests of a dialog do not reach at its Contact either.
    pub(super) is_natted: bool,
}

impl Target {
    /// One that is reached at an address, whatever is known of it.
    pub(super) fn at(uri: &[u8], to: Destination) -> Self {
        Self {
            uri: uri.into(),
            path: Box::default(),
            to,
            q_milli: 1000,
            latency_ms: u16::MAX,
            is_home: false,
            is_natted: false,
        }
    }
}

/// Whom a request goes to: never nobody.
#[derive(Debug, Default)]
pub(super) struct Targets {
    /// The most wanted first.
    pub(super) here: Vec<Target>,
    /// Where the directory is to be asked who else.
    pub(super) elsewhere: Option<Elsewhere>,
}

/// Why a request does not go to a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its time is over, or it was removed.
    Over,
    /// It does not take the method.
    Method,
    /// It answers pings too slowly for what a rule says.
    Slow,
    /// Its User-Agent is not what a rule says.
    Agent,
    /// Nothing leads to it.
    NoWay,
    /// Another flow leads to the same phone.
    OtherFlow,
}

impl Fate {
    /// The same in words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Over => "it was removed, or its time is over",
            Self::Method => "it does not take the method",
            Self::Slow => "its last answer to a ping took longer than max_ping_latency_ms of a rule",
            Self::Agent => "its User-Agent is not like contact_user_agent of a rule",
            Self::OtherFlow => "its phone is reached over another flow, which was registered later",
            Self::NoWay => "no way leads to it: its connection is gone, or its address cannot be sent to",
        }
    }
}

impl Core {
    /// The targets of a request.
    pub(super) fn targets(
        &mut self,
        request: &Request<'_>,
        routed: &Routed<'_>,
        treatment: &Treatment,
        now: Now,
    ) -> Result<Targets, Rejection<'static>> {
        match &routed.uri {
            _ if routed.flow.is_some() || routed.next.is_some() => {}
            Uri::Sip(uri) if uri.scheme != sipfed_sip::Scheme::Sips && self.is_ours(uri) => {
                return self.targets_of_aor(request, Some(uri), &[], treatment, now);
            }
            Uri::Tel(_) => {
                let mut number = Vec::new();
                routed.uri.write_tel_digits(&mut number);
                return self.targets_of_aor(request, None, &number, treatment, now);
            }
            _ => {}
        }
        Ok(Targets { here: self.targets_by_route(request, routed)?, elsewhere: None })
    }

    /// The targets of a request that no AoR of ours is asked for.
    fn targets_by_route(&self, request: &Request<'_>, routed: &Routed<'_>) -> Result<Vec<Target>, Rejection<'static>> {
        if let Some(flow) = routed.flow {
            return Ok(vec![self.target_over_flow(request, routed, flow)?]);
        }
        if let Some(next) = &routed.next {
            // A request that goes its way by Route is let through inside a dialog, or where foreign requests are.
            let uri = next.uri().map_err(|_| Rejection::new(400, "Bad Request (Route: malformed URI)"))?;
            self.refuse_foreign(request)?;
            return self.target_at(request, routed.uri_bytes, &uri);
        }
        match &routed.uri {
            Uri::Sip(uri) if uri.scheme == sipfed_sip::Scheme::Sips => {
                Err(Rejection::new(416, "Unsupported URI Scheme (no TLS here)"))
            }
            Uri::Sip(_) => match self.settings.proxy.foreign {
                Foreign::Relay(transport, remote) if !request.is_in_dialog() => {
                    self.target_relayed(request, routed.uri_bytes, transport, remote)
                }
                _ => {
                    self.refuse_foreign(request)?;
                    self.target_at(request, routed.uri_bytes, &routed.uri)
                }
            },
            Uri::Tel(_) | Uri::Other(_) => Err(Rejection::new(416, "Unsupported URI Scheme")),
        }
    }

    /// Requests that are not for us may pass inside a dialog, as far as a To tag tells, since we asked to stay on its
    /// way; others only as configured, so that this is no open relay.
    fn refuse_foreign(&self, request: &Request<'_>) -> Result<(), Rejection<'static>> {
        let relays = matches!(self.settings.proxy.foreign, Foreign::Relay(..));
        if request.is_in_dialog() || relays {
            return Ok(());
        }
        Err(Rejection::new(403, "Forbidden (domain is not served here)"))
    }

    fn target_relayed(
        &self,
        request: &Request<'_>,
        uri: &[u8],
        transport: Transport,
        remote: std::net::SocketAddr,
    ) -> Result<Vec<Target>, Rejection<'static>> {
        let to = self.way_to(transport, remote, &request.source).map_err(no_way)?;
        Ok(vec![Target::at(uri, to)])
    }

    fn target_at(
        &self,
        request: &Request<'_>,
        uri_bytes: &[u8],
        next: &Uri<'_>,
    ) -> Result<Vec<Target>, Rejection<'static>> {
        let Uri::Sip(next) = next else { return Err(Rejection::new(416, "Unsupported URI Scheme")) };
        let to = self.resolve(next, &request.source).map_err(no_way)?;
        Ok(vec![Target::at(uri_bytes, to)])
    }

    fn target_over_flow(
        &self,
        request: &Request<'_>,
        routed: &Routed<'_>,
        flow: Flow,
    ) -> Result<Target, Rejection<'static>> {
        let flow = match flow {
            Flow::Connection(flow) => flow,
            Flow::Datagrams(remote) => {
                let to = self.way_to(Transport::Udp, remote, &request.source).map_err(no_way)?;
                return Ok(Target::at(routed.uri_bytes, to));
            }
        };
        let next = routed.next.and_then(|next| next.uri().ok()).unwrap_or(routed.uri);
        let way = next.sip().and_then(|uri| self.resolve(uri, &request.source).ok());
        let fallback = match way {
            // What came within TLS leads to nothing less, and nobody listens behind a WebSocket.
            _ if flow.transport() != Transport::Tcp => None,
            Some(Destination::Connect(ends)) => Some(ends),
            Some(Destination::Udp { remote, .. }) => {
                let local = self.connect_from(remote.ip(), &request.source);
                Some(Ends { transport: Transport::Tcp, remote, local })
            }
            _ => None,
        };
        Ok(Target::at(routed.uri_bytes, Destination::Flow { flow, fallback }))
    }

    /// The bindings of the AoR that a Request-URI of ours names: by user and domain, or the user `number` of our first
    /// domain.
    fn targets_of_aor(
        &mut self,
        request: &Request<'_>,
        uri: Option<&SipUri<'_>>,
        number: &[u8],
        treatment: &Treatment,
        now: Now,
    ) -> Result<Targets, Rejection<'static>> {
        let mut aor = std::mem::take(&mut self.scratch.aor);
        aor.clear();
        let found = if let Some(uri) = uri {
            uri.write_aor(&mut aor);
            self.targets_of_uri(request, uri, &aor, treatment, now)
        } else {
            aor.extend_from_slice(number);
            aor.push(b'@');
            aor.extend_from_slice(self.settings.domains.first().map_or(&[][..], |d| d.as_bytes()));
            let key = AorKey { hash: self.keys.aor(&aor), aor: &aor };
            self.targets_of_record(request, self.location.find(key).map(|(_, record)| record), None, treatment, now)
        };
        let targets = self.and_elsewhere(request, uri, &aor, found, treatment, now);
        self.scratch.aor = aor;
        let mut targets = targets?;
        // The most wanted first; among equals the order of the bindings, which is that of their making.
        let latency_ms = |target: &Target| if treatment.sort_by_latency { target.latency_ms } else { 0 };
        targets.here.sort_by_key(|target| (std::cmp::Reverse(target.q_milli), latency_ms(target)));
        if treatment.no_branches && !targets.here.is_empty() {
            targets.here.truncate(1);
            targets.elsewhere = None;
        }
        targets.here.truncate(limits::BRANCHES_COUNT_MAX);
        Ok(targets)
    }

    fn targets_of_uri(
        &self,
        request: &Request<'_>,
        uri: &SipUri<'_>,
        aor: &[u8],
        treatment: &Treatment,
        now: Now,
    ) -> Result<Vec<Target>, Rejection<'static>> {
        let Some(user) = uri.user else {
            return Err(Rejection::own_method());
        };
        if let Some(gruu) = TempGruu::open(user, &self.keys.gruu) {
            let wanted = |b: &Binding<'_>| b.contact_id() == gruu.contact_id && b.first_at_s() == gruu.first_at_s;
            return self.targets_of_record(
                request,
                self.location.find_by_hash(gruu.aor).map(|(_, record)| record),
                Some(&wanted),
                treatment,
                now,
            );
        }
        let record = self.location.find(AorKey { hash: self.keys.aor(aor), aor }).map(|(_, record)| record);
        match uri.param("gr").filter(|gr| !gr.is_empty()) {
            // A public GRUU (RFC 5627 §3.3): the instance that it names.
            Some(gr) => {
                let wanted = |b: &Binding<'_>| instance_urn(b.instance()) == gr;
                self.targets_of_record(request, record, Some(&wanted), treatment, now)
            }
            None => self.targets_of_record(request, record, None, treatment, now),
        }
    }

    fn targets_of_record(
        &self,
        request: &Request<'_>,
        record: Option<&Record>,
        wanted: Option<&dyn Fn(&Binding<'_>) -> bool>,
        treatment: &Treatment,
        now: Now,
    ) -> Result<Vec<Target>, Rejection<'static>> {
        let Some(record) = record else {
            return Err(if self.is_whole {
                Rejection::new(404, "Not Found")
            } else {
                Rejection::not_known_yet(self.settings.proxy.retry_after_s)
            });
        };
        let mut targets = Vec::new();
        let mut filtered = false;
        for binding in record.bindings().filter(|b| wanted.is_none_or(|wanted| wanted(b))) {
            let fate = self.fate(request, treatment, (record, &binding), now);
            filtered |= fate == Err(Fate::Method);
            if let Ok(to) = fate {
                let (uri, path) = (binding.uri().into(), binding.path().into());
                let (q_milli, is_natted) = (binding.q_milli(), binding.flags().natted() && binding.path().is_empty());
                let latency_ms = Some(binding.health().latency_ms).filter(|ms| *ms > 0).unwrap_or(u16::MAX);
                targets.push(Target { uri, path, to, q_milli, latency_ms, is_home: false, is_natted });
            }
        }
        match (targets.is_empty(), filtered) {
            (false, _) => Ok(targets),
            (true, true) => Err(Rejection::new(405, "Method Not Allowed (no contact takes this method)")),
            (true, false) => Err(Rejection::new(480, "Temporarily Unavailable")),
        }
    }

    /// Where a request goes that goes to a binding, or why it does not.
    pub(crate) fn fate(
        &self,
        request: &Request<'_>,
        treatment: &Treatment,
        (record, binding): (&Record, &Binding<'_>),
        now: Now,
    ) -> Result<Destination, Fate> {
        if !binding.is_live(now.unix_s()) {
            return Err(Fate::Over);
        }
        if binding.methods() & request.method.bit() == 0 {
            return Err(Fate::Method);
        }
        // 0 is none yet.
        if treatment.max_latency_ms.is_some_and(|max_ms| binding.health().latency_ms > max_ms) {
            return Err(Fate::Slow);
        }
        if !self.takes_agent(treatment, binding.user_agent()) {
            return Err(Fate::Agent);
        }
        let to = self.way_to_binding(&request.source, binding).ok_or(Fate::NoWay)?;
        if has_newer_flow(record, binding, now) {
            return Err(Fate::OtherFlow);
        }
        Ok(to)
    }

    /// The way of a request that no AoR of ours is asked for.
    pub(crate) fn way_by_route(
        &self,
        request: &Request<'_>,
        routed: &Routed<'_>,
    ) -> Result<Destination, Rejection<'static>> {
        let targets = self.targets_by_route(request, routed)?;
        targets.first().map(|target| target.to).ok_or_else(|| Rejection::new(404, "Not Found"))
    }

    /// Where a binding is reached: through its Path, on its connection, where it registered from when it is behind a
    /// NAT or names itself by a host name, else at its Contact.
    /// `arrived` says which of our addresses it is reached from.
    pub(crate) fn way_to_binding(&self, arrived: &Source, binding: &Binding<'_>) -> Option<Destination> {
        if !binding.path().is_empty() {
            let first = first_path(binding.path())?;
            return self.resolve(first.sip()?, arrived).ok();
        }
        let contact = Uri::parse(binding.uri()).ok();
        let contact = contact.as_ref().and_then(Uri::sip);
        if binding.transport().is_reliable() {
            let lost = binding.flags().flow_lost();
            // RFC 5626 §5.3: an outbound binding is its flow; nothing else leads there.
            if lost && (binding.reg_id() != 0 || self.settings.registrar.lost_flow != LostFlow::Connect) {
                return None;
            }
            let is_direct = binding.transport() == Transport::Tcp && binding.reg_id() == 0 && !binding.flags().natted();
            let direct = contact.filter(|_| is_direct);
            let remote = direct.and_then(|uri| match self.resolve(uri, arrived) {
                Ok(Destination::Connect(Ends { remote, .. }) | Destination::Udp { remote, .. }) => Some(remote),
                _ => None,
            });
            // The phone knows us by the address that it registered at.
            let local = self.location.locals.address(binding.local()).ip();
            let local_to = |remote: IpAddr| reaches(local, remote).then_some(local);
            let ends = remote.map(|remote| Ends { transport: Transport::Tcp, remote, local: local_to(remote.ip()) });
            return match (lost, ends) {
                (false, fallback) => Some(Destination::Flow { flow: binding.flow(), fallback }),
                (true, Some(ends)) => Some(Destination::Connect(ends)),
                (true, None) => None,
            };
        }
        let registered_at =
            Destination::Udp { remote: binding.remote(), local: self.location.locals.address(binding.local()) };
        if binding.flags().natted() {
            return Some(registered_at);
        }
        match contact.map(|uri| self.resolve(uri, arrived)) {
            Some(Ok(to)) => Some(to),
            Some(Err(NoWay::Name)) => Some(registered_at),
            _ => None,
        }
    }
}

fn no_way(why: NoWay) -> Rejection<'static> {
    match why {
        NoWay::Name => Rejection::new(502, "Bad Gateway (next hop is a name that cannot be resolved here)"),
        NoWay::Transport => Rejection::new(416, "Unsupported URI Scheme (transport is not served here)"),
        NoWay::Address => Rejection::new(403, "Forbidden (next hop is an address that cannot be sent to)"),
    }
}

fn first_path(path: &[u8]) -> Option<Uri<'_>> {
    let start = path.iter().position(|&b| b == b'<')? + 1;
    let end = start + path[start..].iter().position(|&b| b == b'>')?;
    Uri::parse(&path[start..end]).ok()
}

/// Whether a later flow of the same phone stands: only one of them is used at a time (RFC 5626 §5.3, §7).
fn has_newer_flow(record: &Record, binding: &Binding<'_>, now: Now) -> bool {
    let age = |b: &Binding<'_>| (b.updated_at_s(), b.contact_id());
    binding.reg_id() != 0
        && record.bindings().any(|other| {
            other.reg_id() != 0
                && other.instance() == binding.instance()
                && age(&other) > age(binding)
                && other.is_live(now.unix_s())
                && !other.flags().flow_lost()
        })
}

/// An instance as it stands in `gr` (RFC 5627 §5.3): without the angle brackets of RFC 5626 §4.1.
fn instance_urn(instance: &[u8]) -> &[u8] {
    instance.strip_prefix(b"<").and_then(|urn| urn.strip_suffix(b">")).unwrap_or(instance)
}
