//! Whom a request goes to (RFC 3261 §16.5).

use super::elsewhere::Elsewhere;
use super::next_hop::{Flow, NoWay, reaches};
use super::route::Routed;
use super::ways::{Passage, Ways};
use crate::hop::{Destination, Ends, Source, Transport};
use crate::limits;
use crate::location::{AorKey, Binding, Record, RecordId};
use crate::names::Unresolved;
use crate::path;
use crate::policy::Treatment;
use crate::registrar::TempGruu;
use crate::reject::Rejection;
use crate::request::{self, Request};
use crate::settings::{Foreign, LostFlow};
use crate::shard::Core;
use crate::time::Now;
use sipfed_sip::{SipUri, Uri};
use std::borrow::Cow;
use std::net::SocketAddr;

/// One place a request goes to: what becomes a branch.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Its Request-URI.
    pub(super) uri: Box<[u8]>,
    /// Route values that come before those of the request (RFC 3327 §5.3), as a comma list.
    pub(super) path: Box<[u8]>,
    /// Where it is sent.
    pub(super) ways: Ways,
    /// Whether `ways.to` is a stream to where a datagram would be too long.
    pub(super) is_stream_instead: bool,
    /// Thousandths; targets of one q are tried together.
    pub(super) q_milli: u16,
    /// Milliseconds that its phone took to answer the last ping; `u16::MAX` where that is not known.
    pub(super) latency_ms: u16,
    /// Whether it is another home of the AoR, which is told that the directory was asked.
    pub(super) is_home: bool,
    /// Whether it is a phone behind a NAT, which requests of a dialog do not reach at its Contact either.
    pub(super) is_natted: bool,
    /// The binding that it is, by its record and contact id.
    pub(super) binding: Option<(RecordId, u64)>,
    /// What leads to the same phone when this flow has failed.
    pub(super) other_flow: Option<Box<Self>>,
}

impl Target {
    /// Where it is sent.
    pub(crate) fn ways(&self) -> &Ways {
        &self.ways
    }

    /// One that is reached so, whatever is known of it.
    pub(super) fn at(uri: &[u8], ways: impl Into<Ways>) -> Self {
        Self {
            uri: uri.into(),
            path: Box::default(),
            ways: ways.into(),
            is_stream_instead: false,
            q_milli: 1000,
            latency_ms: u16::MAX,
            is_home: false,
            is_natted: false,
            binding: None,
            other_flow: None,
        }
    }

    /// A binding of the record `id`.
    fn of(id: RecordId, binding: &Binding<'_>, ways: Ways, is_sips: bool) -> Self {
        let is_direct = binding.path().is_empty();
        Self {
            path: binding.path().into(),
            q_milli: binding.q_milli(),
            latency_ms: Some(binding.health().latency_ms).filter(|ms| *ms > 0).unwrap_or(u16::MAX),
            is_natted: binding.flags().natted() && is_direct,
            binding: Some((id, binding.contact_id())),
            ..Self::at(&uri_towards(binding.uri(), is_sips), ways)
        }
    }

    /// Puts the flow behind all others of its phone.
    fn put_last(&mut self, other: Self) {
        match &mut self.other_flow {
            Some(flow) => flow.put_last(other),
            None => self.other_flow = Some(Box::new(other)),
        }
    }
}

/// Whom a request goes to: never nobody, but where it has to wait for a name.
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
    /// A name leads to it that is not known yet.
    Unasked,
    /// Another flow leads to the same phone.
    OtherFlow,
    /// It is not reached over TLS all the way, or not at a sips URI, and one of both wants it.
    Insecure,
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
            Self::Unasked => {
                "its next hop is a name that is not known yet: a request would have it asked for, and wait"
            }
            Self::Insecure => "a sips URI is reached over TLS alone, and only at a sips URI (RFC 5630)",
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
            Uri::Sip(uri) if self.is_ours(uri) => {
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
            let target = self.target_over_flow(request, routed, flow)?;
            if routed.is_sips() && !target.ways.to.transport().is_secured() {
                return Err(Rejection::insecure("Temporarily Unavailable (the next hop is not reached over TLS)"));
            }
            return Ok(vec![target]);
        }
        if let Some(next) = &routed.next {
            // A request that goes its way by Route is let through inside a dialog, or where foreign requests are.
            let uri = next.uri().map_err(|_| Rejection::new(400, "Bad Request (Route: malformed URI)"))?;
            self.refuse_foreign(request)?;
            return self.target_at(request, routed, &uri);
        }
        match &routed.uri {
            Uri::Sip(_) => match &self.settings.proxy.foreign {
                foreign if !request.is_in_dialog() && routed.is_sips() && foreign.is_insecure() => {
                    Err(Rejection::insecure("Temporarily Unavailable (other domains are not reached over TLS)"))
                }
                Foreign::Relay(transport, remote) if !request.is_in_dialog() => {
                    let to = self.way_to(*transport, *remote, &request.source).map_err(|why| self.no_way(why))?;
                    Ok(vec![Target::at(routed.uri_bytes, to)])
                }
                Foreign::RelayByName(hop) if !request.is_in_dialog() => {
                    let passage = Passage { is_sips: routed.is_sips(), ..Passage::of(request) };
                    let ways = self.resolve_hop(hop, passage).map_err(|why| self.no_way(why))?;
                    Ok(vec![Target::at(routed.uri_bytes, ways)])
                }
                _ => {
                    self.refuse_foreign(request)?;
                    self.target_at(request, routed, &routed.uri)
                }
            },
            Uri::Tel(_) | Uri::Other(_) => Err(Rejection::new(416, "Unsupported URI Scheme")),
        }
    }

    /// Requests that are not for us may pass inside a dialog, as far as a To tag tells, since we asked to stay on its
    /// way; others only as configured, so that this is no open relay.
    fn refuse_foreign(&self, request: &Request<'_>) -> Result<(), Rejection<'static>> {
        if request.is_in_dialog() || self.settings.proxy.foreign != Foreign::Refuse {
            return Ok(());
        }
        Err(Rejection::new(403, "Forbidden (domain is not served here)"))
    }

    fn target_at(
        &self,
        request: &Request<'_>,
        routed: &Routed<'_>,
        next: &Uri<'_>,
    ) -> Result<Vec<Target>, Rejection<'static>> {
        let Uri::Sip(next) = next else { return Err(Rejection::new(416, "Unsupported URI Scheme")) };
        let passage = Passage::of(request).for_sips(routed.is_sips());
        let ways = self.resolve(next, passage).map_err(|why| self.no_way(why))?;
        Ok(vec![Target::at(routed.uri_bytes, ways)])
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
                let to = self.way_to(Transport::Udp, remote, &request.source).map_err(|why| self.no_way(why))?;
                return Ok(Target::at(routed.uri_bytes, to));
            }
        };
        let next = routed.next.and_then(|next| next.uri().ok()).unwrap_or(routed.uri);
        // The connection may well be there: nothing waits for what leads there without it.
        let passage = Passage::of(request).without_asking();
        let way = next.sip().and_then(|uri| self.resolve(uri, passage).ok());
        let fallback = match way.map(|ways| ways.to) {
            // What came within TLS leads to nothing less, and nobody listens behind a WebSocket.
            _ if flow.transport() != Transport::Tcp => None,
            Some(Destination::Connect(ends)) if ends.transport == Transport::Tcp => Some(ends),
            Some(Destination::Udp { remote, .. }) => {
                let local = self.connect_from(Transport::Tcp, remote.ip(), &request.source);
                Some(Ends::new(Transport::Tcp, remote, local))
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
            self.targets_of_record(request, self.location.find(key), None, treatment, now)
        };
        if self.has_unasked() {
            self.scratch.aor = aor;
            return Ok(Targets::default());
        }
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
                self.location.find_by_hash(gruu.aor),
                Some(&wanted),
                treatment,
                now,
            );
        }
        let record = self.location.find(AorKey { hash: self.keys.aor(aor), aor });
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
        record: Option<(RecordId, &Record)>,
        wanted: Option<&dyn Fn(&Binding<'_>) -> bool>,
        treatment: &Treatment,
        now: Now,
    ) -> Result<Vec<Target>, Rejection<'static>> {
        let Some((id, record)) = record else {
            return Err(if self.is_whole {
                Rejection::new(404, "Not Found")
            } else {
                Rejection::not_known_yet(self.settings.proxy.retry_after_s)
            });
        };
        let (mut targets, mut older) = (Vec::new(), Vec::new());
        let (mut filtered, mut insecure) = (false, false);
        for binding in record.bindings().filter(|b| wanted.is_none_or(|wanted| wanted(b))) {
            let ways = self.ways_of(request, treatment, &binding, now);
            filtered |= ways == Err(Fate::Method);
            insecure |= ways == Err(Fate::Insecure);
            match ways {
                Ok(ways) if has_newer_flow(record, &binding, now) => older.push((binding, ways)),
                Ok(ways) => targets.push(Target::of(id, &binding, ways, request.is_sips())),
                Err(_) => {}
            }
        }
        put_older_flows(&mut targets, older, (id, record), request.is_sips());
        if !targets.is_empty() {
            return Ok(targets);
        }
        Err(match (filtered, insecure) {
            (true, _) => Rejection::new(405, "Method Not Allowed (no contact takes this method)"),
            (_, true) => Rejection::insecure("Temporarily Unavailable (no contact is reached over TLS)"),
            _ => Rejection::new(480, "Temporarily Unavailable"),
        })
    }

    /// Where a request goes that goes to a binding, or why it does not.
    pub(crate) fn fate(
        &self,
        request: &Request<'_>,
        treatment: &Treatment,
        (record, binding): (&Record, &Binding<'_>),
        now: Now,
    ) -> Result<Ways, Fate> {
        let ways = self.ways_of(request, treatment, binding, now)?;
        if has_newer_flow(record, binding, now) { Err(Fate::OtherFlow) } else { Ok(ways) }
    }

    /// The same, whether or not its phone has a later flow.
    fn ways_of(
        &self,
        request: &Request<'_>,
        treatment: &Treatment,
        binding: &Binding<'_>,
        now: Now,
    ) -> Result<Ways, Fate> {
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
        let passage = Passage::of(request).for_sips(request.is_sips());
        let ways = self.ways_to_binding(passage, binding);
        let ways =
            ways.map_err(|why| if why == NoWay::Name(Unresolved::Unasked) { Fate::Unasked } else { Fate::NoWay })?;
        // RFC 5630 §5.3: what is for a sips URI goes to a sips URI, and what goes to one goes over TLS.
        let is_at_sips = request::after_sips(binding.uri()).is_some();
        if (request.is_sips() && !is_at_sips) || (is_at_sips && !ways.to.transport().is_secured()) {
            return Err(Fate::Insecure);
        }
        Ok(ways)
    }

    /// The target of a request that no AoR of ours is asked for.
    pub(crate) fn target_by_route(
        &self,
        request: &Request<'_>,
        routed: &Routed<'_>,
    ) -> Result<Target, Rejection<'static>> {
        let targets = self.targets_by_route(request, routed)?;
        targets.into_iter().next().ok_or_else(|| Rejection::new(404, "Not Found"))
    }

    /// Where a binding is reached: through its Path, on its connection, where it registered from when it is behind a
    /// NAT or names itself by a host name that leads nowhere, else at its Contact.
    pub(crate) fn ways_to_binding(&self, passage: Passage<'_>, binding: &Binding<'_>) -> Result<Ways, NoWay> {
        if !binding.path().is_empty() {
            let first = path::first(binding.path()).ok_or(NoWay::Address)?;
            return self.resolve(first.sip().ok_or(NoWay::Transport)?, passage);
        }
        let contact = Uri::parse(binding.uri()).ok();
        let contact = contact.as_ref().and_then(Uri::sip);
        if binding.transport().is_reliable() {
            return self.ways_of_connection(passage, binding, contact);
        }
        let registered_at = binding.remote();
        let flow = Destination::Udp { remote: registered_at, local: self.location.locals.address(binding.local()) };
        if binding.flags().natted() {
            return Ok(flow.into());
        }
        match contact.map(|uri| self.resolve(uri, passage)) {
            Some(Ok(mut ways)) => {
                // It has shown that it takes datagrams there.
                let is_flow = matches!(ways.to, Destination::Udp { remote, .. } if remote == registered_at);
                ways.may_be_stream &= !is_flow;
                Ok(ways)
            }
            Some(Err(NoWay::Name(why))) if why != Unresolved::Unasked => Ok(flow.into()),
            Some(Err(why)) => Err(why),
            None => Err(NoWay::Transport),
        }
    }

    /// The same for one that registered over a connection: that, or a new one to its Contact.
    fn ways_of_connection(
        &self,
        passage: Passage<'_>,
        binding: &Binding<'_>,
        contact: Option<&SipUri<'_>>,
    ) -> Result<Ways, NoWay> {
        let lost = binding.flags().flow_lost();
        // RFC 5626 §5.3: an outbound binding is its flow; nothing else leads there.
        if lost && (binding.reg_id() != 0 || self.settings.registrar.lost_flow != LostFlow::Connect) {
            return Err(NoWay::Address);
        }
        let is_direct = binding.transport() == Transport::Tcp && binding.reg_id() == 0 && !binding.flags().natted();
        // While the connection is there nothing waits for what leads there without it.
        let passage = if lost { passage } else { passage.without_asking() };
        let direct = contact.filter(|_| is_direct).ok_or(NoWay::Address).and_then(|uri| self.resolve(uri, passage));
        // The phone knows us by the address that it registered at.
        let local = self.location.locals.address(binding.local()).ip();
        let ends = |to: Destination| match to {
            Destination::Connect(Ends { transport: Transport::Tcp, remote, .. }) | Destination::Udp { remote, .. } => {
                let local = Some(local).filter(|local| reaches(*local, remote.ip()));
                Some(Ends::new(Transport::Tcp, remote, local))
            }
            Destination::Connect(_) | Destination::Flow { .. } => None,
        };
        if !lost {
            let fallback = direct.ok().and_then(|ways| ends(ways.to));
            return Ok(Destination::Flow { flow: binding.flow(), fallback }.into());
        }
        let Ways { to, rest, name, .. } = direct?;
        let to = ends(to).map(Destination::Connect).ok_or(NoWay::Address)?;
        let rest = rest.into_iter().filter_map(ends).map(Destination::Connect).collect();
        Ok(Ways { to, rest, name, may_be_stream: false })
    }

    /// Our own address towards a target: over a phone's connection the one that it registered at, whoever calls it.
    pub(super) fn local_towards(&self, target: &Target, arrived: &Source) -> SocketAddr {
        let to = &target.ways.to;
        let over_its_connection = target.binding.filter(|_| matches!(to, Destination::Flow { .. }));
        let registered_at = over_its_connection.and_then(|(id, contact_id)| {
            let binding = self.location.get(id)?.binding(contact_id)?;
            Some(self.location.locals.address(binding.local()))
        });
        let listens_at = |local: &SocketAddr| self.listens_at_port(to.transport(), local.port());
        registered_at.filter(listens_at).unwrap_or_else(|| self.local_of(to, arrived))
    }

    /// What is said to a request that no way leads on from.
    fn no_way(&self, why: NoWay) -> Rejection<'static> {
        match why {
            NoWay::Name(Unresolved::Off | Unresolved::Own) => {
                Rejection::new(502, "Bad Gateway (next hop is a name that cannot be resolved here)")
            }
            NoWay::Name(Unresolved::Nothing) => {
                Rejection::new(502, "Bad Gateway (next hop is a name that leads nowhere)")
            }
            NoWay::Name(Unresolved::NoAnswer | Unresolved::Unasked) => {
                Rejection::new(504, "Server Time-out (nobody says where the name of the next hop leads)")
            }
            NoWay::Name(Unresolved::NoRoom) => {
                let retry_after_s = self.settings.proxy.retry_after_s;
                Rejection::overload("Service Unavailable (too many requests wait for names)", retry_after_s)
            }
            NoWay::Transport => Rejection::new(416, "Unsupported URI Scheme (transport is not served here)"),
            NoWay::Address => Rejection::new(403, "Forbidden (next hop is an address that cannot be sent to)"),
        }
    }
}

/// The URI of a binding as a Request-URI: for a request that is for a sip URI it is one as well, although it goes over TLS
/// (RFC 5630 §5.3).
fn uri_towards(uri: &[u8], is_sips: bool) -> Cow<'_, [u8]> {
    match request::after_sips(uri).filter(|_| !is_sips) {
        Some(rest) => Cow::Owned([b"sip:", rest].concat()),
        None => Cow::Borrowed(uri),
    }
}

/// What the flows of a phone are ordered by: the latest is the greatest.
fn flow_age(binding: &Binding<'_>) -> (u32, u64) {
    (binding.updated_at_s(), binding.contact_id())
}

/// Whether a later flow of the same phone stands: only one of them is used at a time (RFC 5626 §5.3, §7).
fn has_newer_flow(record: &Record, binding: &Binding<'_>, now: Now) -> bool {
    binding.reg_id() != 0
        && record.bindings().any(|other| {
            other.reg_id() != 0
                && other.instance() == binding.instance()
                && flow_age(&other) > flow_age(binding)
                && other.is_live(now.unix_s())
                && !other.flags().flow_lost()
        })
}

/// Puts the older flows of phones behind the latest ones, which are tried first (RFC 5626 §5.3).
fn put_older_flows(
    targets: &mut Vec<Target>,
    mut older: Vec<(Binding<'_>, Ways)>,
    (id, record): (RecordId, &Record),
    is_sips: bool,
) {
    older.sort_by_key(|(binding, _)| std::cmp::Reverse(flow_age(binding)));
    for (binding, ways) in older {
        let is_of_phone = |target: &Target| {
            let other = record.bindings().find(|b| target.binding == Some((id, b.contact_id())));
            other.is_some_and(|other| other.reg_id() != 0 && other.instance() == binding.instance())
        };
        let target = Target::of(id, &binding, ways, is_sips);
        match targets.iter_mut().find(|target| is_of_phone(target)) {
            Some(first) => first.put_last(target),
            // Nothing leads to the later one.
            None => targets.push(target),
        }
    }
}

/// An instance as it stands in `gr` (RFC 5627 §5.3): without the angle brackets of RFC 5626 §4.1.
fn instance_urn(instance: &[u8]) -> &[u8] {
    instance.strip_prefix(b"<").and_then(|urn| urn.strip_suffix(b">")).unwrap_or(instance)
}
