//! A request on its way through: validated (RFC 3261 §16.3), kept, copied to its branches (§16.6).

use super::allowed::{Place, allowed};
use super::context::{Context, Open};
use super::next_hop::{self, Branch, BranchNumber};
use super::route::{self, Routed};
use super::target::Target;
use crate::hop::{Destination, Source};
use crate::limits;
use crate::outbox::{Outbox, Ticket};
use crate::policy::Treatment;
use crate::reject::Rejection;
use crate::request::{Request, SIP_PORT};
use crate::shard::Core;
use crate::time::Now;
use crate::transaction::server;
use sipfed_sip::compose::{self, Forward};
use sipfed_sip::{Address, HeaderName, Message, Method, Uri, scan};

/// Option tags of Proxy-Require that are understood: none.
const SUPPORTED: &[&str] = &[];

impl Core {
    /// Proxies a request that opens a new transaction under `key`.
    pub(crate) fn proxy(&mut self, key: u128, request: &Request<'_>, now: Now, out: &mut Outbox) {
        let mut tried = self.try_proxy(key, request, now, out);
        if self.has_unasked() {
            if self.park(key, request) {
                return;
            }
            tried = self.try_proxy(key, request, now, out);
            self.has_gone_without();
        }
        if let Err(rejection) = tried {
            self.reject(request, &rejection, out);
        }
    }

    /// Does nothing where the request has to wait for a name.
    fn try_proxy<'a>(
        &mut self,
        key: u128,
        request: &Request<'a>,
        now: Now,
        out: &mut Outbox,
    ) -> Result<(), Rejection<'a>> {
        let loop_hash = self.validate(request)?;
        let breadth = breadth(request)?;
        let treatment = self.treatment_of(request);
        let routed = self.check_treated(request, &treatment)?;
        let targets = self.targets(request, &routed, &treatment, now);
        if self.has_unasked() {
            return Ok(());
        }
        let targets = targets?;
        if !self.has_room_for_transaction() {
            let retry_after_s = self.settings.proxy.retry_after_s;
            return Err(Rejection::overload("Service Unavailable (limit of transactions reached)", retry_after_s));
        }
        let is_invite = request.method == Method::Invite;
        let tag = self.tag_for(request);
        let mut context = Box::new(Context::new(request.message.bytes(), request.source, tag, is_invite));
        context.loop_hash = loop_hash;
        context.breadth = breadth;
        context.fixes_contact = treatment.fix_contact;
        context.goes_by_flow = routed.flow.is_some();
        context.targets = targets.here.into();
        if !is_invite {
            context.trying_at = Some(now.plus_ms(self.settings.timers.non_invite_trying_ms()));
        }
        let id = self.servers.open(key, request, context);
        self.counters.requests_proxied += 1;
        if is_invite {
            // §16.2: said at once, so that the caller need not repeat itself.
            self.server_respond(id, 100, now, out, |buffer| {
                let (via, stamp) = (Some(&request.via), request.stamp);
                compose::reply_to_read(buffer, &request.message, via, 100, "Trying", b"", stamp);
                if let Some(line) = server::timestamp_line(request) {
                    buffer.extend_from_slice(line);
                }
                compose::end(buffer);
            });
        }
        if let Some(elsewhere) = targets.elsewhere {
            self.ask_directory(id, elsewhere, now);
        }
        // Phones at home here ring at once; other homes join them when they are known.
        self.start_group(id, request, &routed, now, out);
        Ok(())
    }

    /// Whether another server transaction may be opened.
    pub(super) fn has_room_for_transaction(&self) -> bool {
        self.servers.len() < self.settings.proxy.transactions_per_shard_max as usize
    }

    /// Where a request goes by its routes, unless a rule refuses it.
    pub(super) fn check_treated<'a>(
        &self,
        request: &Request<'a>,
        treatment: &Treatment,
    ) -> Result<Routed<'a>, Rejection<'a>> {
        self.check_sips(request)?;
        let routed = self.take_own_routes(request)?;
        treatment.refusal()?;
        Ok(routed)
    }

    /// All that may refuse a request before anybody is looked for, and where it goes by its routes.
    pub(crate) fn check_forward<'a>(
        &self,
        request: &Request<'a>,
        treatment: &Treatment,
    ) -> Result<Routed<'a>, Rejection<'a>> {
        self.validate(request)?;
        breadth(request)?;
        self.check_treated(request, treatment)
    }

    /// How a request is treated: as rules say, or in a dialog as the request that has opened it went.
    pub(super) fn treatment_of(&self, request: &Request<'_>) -> Treatment {
        if request.is_in_dialog() || self.settings.policy.is_empty() {
            return Treatment::default();
        }
        let is_natted = self.is_natted(request);
        let mut treatment = self.treat(request, is_natted);
        // Nobody listens where a WebSocket was seen to come from (RFC 7118 §5).
        treatment.fix_contact &= is_natted && !request.source.transport.is_websocket();
        treatment
    }

    /// §16.3 steps 2 to 5; gives the loop hash.
    pub(super) fn validate<'a>(&self, request: &Request<'a>) -> Result<u32, Rejection<'a>> {
        if request.max_forwards == Some(0) {
            return Err(Rejection::looped(483, "Too Many Hops"));
        }
        let loop_hash = self.loop_hash(request, request.to.tag());
        for via in request.message.vias() {
            let via = via.map_err(Rejection::fault)?;
            // It may have left by another of our addresses than it comes back to.
            if self.domains.is_self(&via.host, via.port.unwrap_or(SIP_PORT)) && next_hop::has_loop_hash(&via, loop_hash)
            {
                return Err(Rejection::looped(482, "Loop Detected"));
            }
        }
        Rejection::check_required(request.message, HeaderName::ProxyRequire, SUPPORTED)?;
        Ok(loop_hash)
    }

    /// Over everything that decides where a request goes (RFC 3261 §16.6 step 8, RFC 5393 §4.2.2): equal for a
    /// request that has come round, different for one that spirals.
    fn loop_hash(&self, request: &Request<'_>, to_tag: Option<&[u8]>) -> u32 {
        let route = request.message.value(HeaderName::Route).unwrap_or_default();
        self.keys.transaction(&[
            b"loop",
            request.message.request_uri(),
            request.call_id,
            request.from.tag().unwrap_or_default(),
            to_tag.unwrap_or_default(),
            &request.cseq.number.to_le_bytes(),
            route,
            request.message.value(HeaderName::ProxyRequire).unwrap_or_default(),
        ]) as u32
    }

    /// Starts the branches of the next q group.
    pub(super) fn start_group(
        &mut self,
        id: u32,
        request: &Request<'_>,
        routed: &Routed<'_>,
        now: Now,
        out: &mut Outbox,
    ) {
        let serial_group_ms = u64::from(self.settings.proxy.serial_group_s) * 1000;
        let Some(context) = self.servers.context_mut(id) else { return };
        // Which group rings is not known of what another node has sent.
        let serial = self.settings.proxy.serial_by_q && !context.is_taken_up;
        let Some(first_q) = context.targets.front().map(|target| target.q_milli) else { return };
        // RFC 5393 §5.3.3: no more at a time than there is breadth, and all of them together have no more than that.
        // A group that has another behind it leaves a share for that; cancelled branches take a while to end.
        let same = context.targets.iter().take_while(|t| !serial || t.q_milli == first_q).count();
        let count = same.min(context.breadth as usize);
        let more = context.targets.len() > count;
        context.next_group_at = (more && context.is_invite).then(|| now.plus_ms(serial_group_ms));
        let more = more || context.elsewhere.is_some();
        if count == 0 {
            return self.rearm_server(id);
        }
        let breadth = (context.breadth / (count + usize::from(more)) as u32).max(1);
        context.breadth -= breadth * count as u32;
        context.started.reserve_exact(count);
        context.open.reserve_exact(count);
        for _ in 0..count {
            let next = self.servers.context_mut(id).and_then(|context| context.targets.pop_front());
            let Some(target) = next else { break };
            self.start_branch(id, request, routed, target, breadth, now, out);
        }
        self.rearm_server(id);
    }

    /// Starts one branch, with the breadth that is its own.
    #[allow(clippy::too_many_arguments, reason = "a branch is made of all of these, and they are borrowed apart")]
    pub(super) fn start_branch(
        &mut self,
        id: u32,
        request: &Request<'_>,
        routed: &Routed<'_>,
        mut target: Target,
        breadth: u32,
        now: Now,
        out: &mut Outbox,
    ) {
        let is_invite = request.method == Method::Invite;
        self.name_peers(&mut target.ways);
        let (client, number) = if let Some(number) = self.free_twin_number(id, request, &target) {
            (self.clients.reserve_numbered(target.ways.to, id, number), BranchNumber::Twin(number))
        } else {
            let client = self.reserve_client(target.ways.to, Some(id), is_invite, self.number_of(request));
            (client, BranchNumber::Client(self.place.index, client))
        };
        let Some(context) = self.servers.context_mut(id) else { return };
        let is_alone = context.started.is_empty() && context.targets.is_empty() && context.elsewhere.is_none();
        // Homes come several at a time.
        let is_only = is_alone && !target.is_home;
        context.started.push(client);
        let Context { loop_hash, fixes_contact, is_taken_up, .. } = *context;
        let branch = Branch { number, loop_hash, is_only, fixes_contact };
        let mut bytes = std::mem::take(&mut self.scratch.forward);
        bytes.clear();
        self.compose_branch(request, routed, &target, &branch, breadth, &mut bytes);
        if self.prefer_stream(&mut target, bytes.len(), &request.source, now) {
            bytes.clear();
            self.clients.redirect(client, target.ways.to);
            self.compose_branch(request, routed, &target, &branch, breadth, &mut bytes);
            self.counters.branches_too_long += 1;
        }
        let home_ms =
            self.directory.as_ref().filter(|_| target.is_home && is_invite).map(|directory| directory.home_timeout_ms);
        let has_next = !is_taken_up && (!target.ways.rest.is_empty() || target.other_flow.is_some());
        let next_ms = has_next.then_some(self.settings.proxy.failover_ms);
        if let Some(context) = self.servers.context_mut(id) {
            let binding = target.binding.filter(|_| target.path.is_empty());
            let is_flow = binding.is_some() && matches!(target.ways.to, Destination::Flow { fallback: None, .. });
            let target = has_next.then(|| Box::new(target));
            context.open.push(Open { client, breadth, target, binding, is_flow });
        }
        if is_taken_up {
            self.clients.take_up(client, &bytes);
            self.cancel_client(client, now, out);
        } else {
            self.start_client(client, &bytes, now, out);
        }
        if let Some(ms) = [home_ms, next_ms].into_iter().flatten().min() {
            self.hurry_client(client, now.plus_ms(u64::from(ms)));
        }
        self.scratch.forward = bytes;
        self.counters.branches_created += 1;
    }

    /// Starts the next q group from the request as it was kept.
    pub(super) fn start_next_group(&mut self, id: u32, now: Now, out: &mut Outbox) {
        self.with_request(id, |core, request, routed| core.start_group(id, request, routed, now, out));
    }

    /// Does something with the request of a context as it was kept.
    pub(super) fn with_request(&mut self, id: u32, go_on: impl FnOnce(&mut Self, &Request<'_>, &Routed<'_>)) {
        self.with_message(id, |core, message, source| {
            // It was read once already, so it can be read again.
            if let Some(Ok(request)) = message.method().map(|m| Request::parse(*message, m, source))
                && let Ok(routed) = core.take_own_routes(&request)
            {
                go_on(core, &request, &routed);
            }
        });
    }

    /// The same with its message alone, and where that came from.
    pub(super) fn with_message(&mut self, id: u32, go_on: impl FnOnce(&mut Self, &Message<'_>, &Source)) {
        let Some(context) = self.servers.context_mut(id) else { return };
        let (bytes, source) = (std::mem::take(&mut context.request), context.source);
        let mut index = std::mem::take(&mut self.scratch.request_index);
        if let Ok(message) = scan(&bytes, &mut index) {
            go_on(self, &message, &source);
        }
        self.scratch.request_index = index;
        if let Some(context) = self.servers.context_mut(id) {
            context.request = bytes;
        }
    }

    /// §16.6 steps 1 to 9: the copy that goes to `target`.
    fn compose_branch(
        &mut self,
        request: &Request<'_>,
        routed: &Routed<'_>,
        target: &Target,
        branch: &Branch,
        max_breadth: u32,
        out: &mut Vec<u8>,
    ) {
        let local = self.local_towards(target, &request.source);
        let mut via = std::mem::take(&mut self.scratch.via);
        let mut record_route = std::mem::take(&mut self.scratch.record_route);
        let mut routes = std::mem::take(&mut self.scratch.routes);
        via.clear();
        record_route.clear();
        routes.clear();
        self.write_via(request, &target.ways.to, local, branch, &mut via);
        if target.is_home {
            self.write_mark(request, &mut via);
        }
        if route::opens_dialog(request) {
            self.write_record_route(request, routed, target, local, &mut record_route);
        }
        if !target.path.is_empty() {
            compose::header(&mut routes, "Route", &target.path);
        }
        let strict = strict_next(routed).filter(|_| target.path.is_empty());
        let mut request_uri: &[u8] = &target.uri;
        let mut routes_popped = routed.popped;
        if routed.last_taken || strict.is_some() {
            routes_popped = usize::MAX;
            if let Some(next) = &strict {
                request_uri = next.uri;
            }
            rewrite_routes(request, routed, strict.is_some().then_some(&*target.uri), &mut routes);
        }
        let change = Forward {
            request_uri: &allowed(request_uri, Place::RequestUri),
            via: &via,
            record_route: &record_route,
            routes: &routes,
            routes_popped,
            max_forwards: request.max_forwards.map_or(limits::MAX_FORWARDS_DEFAULT as u8, |n| n - 1),
            max_breadth: Some(max_breadth),
            contact: branch.fixes_contact.then_some(request.source.remote),
            stamp: request.stamp,
            top: Some(&request.via),
        };
        compose::forward_request(out, &request.message, &change);
        (self.scratch.via, self.scratch.record_route, self.scratch.routes) = (via, record_route, routes);
    }

    /// An ACK for a 2xx, which is a transaction of its own without responses: it goes on without state (§16.11).
    pub(crate) fn forward_ack(&mut self, key: u128, request: &Request<'_>, now: Now, out: &mut Outbox) {
        if request.max_forwards == Some(0) {
            self.counters.dropped_stray_ack += 1;
            return;
        }
        let mut target = self.target_of_ack(request, now);
        if self.has_unasked() {
            if self.park(key, request) {
                return;
            }
            target = self.target_of_ack(request, now);
            self.has_gone_without();
        }
        let Ok((routed, Some(mut target))) = target else {
            self.counters.dropped_stray_ack += 1;
            return;
        };
        self.name_peers(&mut target.ways);
        // That of a failure which was passed on for another node has the branch of its INVITE (§17.1.1.3), whose To had no tag.
        let (number, to_tag) = if let Some(number) = self.twin_number(key, request, &target) {
            (BranchNumber::Twin(number), None)
        } else {
            let number = self.keys.pair(request.via.branch().unwrap_or_default(), request.call_id);
            (BranchNumber::Stateless(number), request.to.tag())
        };
        let loop_hash = self.loop_hash(request, to_tag);
        let branch = Branch { number, loop_hash, is_only: true, fixes_contact: false };
        let mut bytes = std::mem::take(&mut self.scratch.forward);
        bytes.clear();
        let breadth = breadth(request).unwrap_or(1);
        self.compose_branch(request, &routed, &target, &branch, breadth, &mut bytes);
        out.push(target.ways.to, Ticket::NONE, |buffer| buffer.extend_from_slice(&bytes));
        self.scratch.forward = bytes;
        self.counters.sent += 1;
    }

    fn target_of_ack<'a>(
        &mut self,
        request: &Request<'a>,
        now: Now,
    ) -> Result<(Routed<'a>, Option<Target>), Rejection<'a>> {
        let routed = self.take_own_routes(request)?;
        let targets = self.targets(request, &routed, &Treatment::default(), now)?;
        Ok((routed, targets.here.into_iter().next()))
    }

    /// Answers an OPTIONS for the node itself (RFC 3261 §11.2).
    pub(crate) fn answer_options(&mut self, request: &Request<'_>, out: &mut Outbox) {
        if let Err(rejection) = Rejection::check_required(request.message, HeaderName::Require, SUPPORTED) {
            return self.reject(request, &rejection, out);
        }
        let tag = self.tag_for(request);
        let server = &self.settings.server_header;
        out.push(request.reply_to(), Ticket::NONE, |buffer| {
            compose::reply(buffer, &request.message, 200, "OK", &tag, request.stamp);
            compose::header(buffer, "Allow", crate::reject::OWN_METHODS);
            compose::header(buffer, "Accept", b"");
            compose::header(buffer, "Supported", b"path, gruu, outbound");
            if !server.is_empty() {
                compose::header(buffer, "Server", server.as_bytes());
            }
            compose::end(buffer);
        });
        self.counters.sent += 1;
    }
}

/// The next route when it is a strict router (no lr): it gets the Request-URI (§16.6 step 6).
fn strict_next<'a>(routed: &Routed<'a>) -> Option<Address<'a>> {
    let next = routed.next?;
    let is_loose = matches!(next.uri(), Ok(Uri::Sip(uri)) if uri.param("lr").is_some());
    (!is_loose).then_some(next)
}

/// Writes the routes that remain: without our own, without a last one that became the Request-URI, without a strict
/// next one, and with the Request-URI at their end where that one took its place.
fn rewrite_routes(request: &Request<'_>, routed: &Routed<'_>, target: Option<&[u8]>, out: &mut Vec<u8>) {
    let all = || request.message.addresses(HeaderName::Route).map_while(Result::ok);
    let end = all().count() - usize::from(routed.last_taken);
    let start = routed.popped + usize::from(target.is_some());
    for address in all().take(end).skip(start) {
        compose::header(out, "Route", address.raw);
    }
    if let Some(target) = target {
        out.extend_from_slice(b"Route: <");
        out.extend_from_slice(&allowed(target, Place::Route));
        out.extend_from_slice(b">\r\n");
    }
}

/// RFC 5393 §5.3.3: how many branches may run at a time; 440 where there is no breadth left.
pub(super) fn breadth<'a>(request: &Request<'a>) -> Result<u32, Rejection<'a>> {
    let Some(value) = request.message.value(HeaderName::MaxBreadth) else { return Ok(limits::MAX_BREADTH) };
    match sipfed_sip::parse_u32(value) {
        Some(0) => Err(Rejection::looped(440, "Max-Breadth Exceeded")),
        Some(n) => Ok(n.min(limits::MAX_BREADTH)),
        None => Err(Rejection::fault(sipfed_sip::Fault::Header(HeaderName::MaxBreadth, "is no number"))),
    }
}
