//! The other homes of an AoR: what the directory adds to the targets of a request.
//!
//! A request from outside for an AoR of ours goes to its bindings here at once, and to each other home of the AoR as soon
//! as the directory names it: with the Request-URI as it came, since the AoR is looked up there again, and with nothing
//! of a local binding. A request from another node of the federation was asked about there; it is looked up here alone,
//! so that no request goes round.
//!
//! Where the directory does not answer in time, what it said last stands for it, then the peers themselves. A 404 says
//! that nobody has the AoR (RFC 3261 §21.4.5), so where that is not known it is 480 with Retry-After (§21.4.18).

use super::context::{Homes, Waiting};
use super::target::{Target, Targets};
use super::ways::{Passage, Ways};
use crate::directory::{self, Answer, mark};
use crate::hop::{Destination, Ends, Transport};
use crate::keys::AorHash;
use crate::limits;
use crate::outbox::Outbox;
use crate::policy::Treatment;
use crate::registrar::TempGruu;
use crate::reject::Rejection;
use crate::request::{Request, SIP_PORT};
use crate::shard::Core;
use crate::silent::SILENT_MS;
use crate::time::Now;
use sipfed_sip::{Host, Method, SipUri, Uri};
use std::net::SocketAddr;

/// What the directory is to be asked.
#[derive(Debug)]
pub(super) struct Elsewhere {
    aor: AorHash,
    /// Empty where the question is open already.
    text: Box<[u8]>,
    /// What is said when no home is found either.
    refusal: Option<(u16, &'static str)>,
}

impl Core {
    /// Adds to the targets found here that the directory is to be asked, where it is.
    pub(super) fn and_elsewhere(
        &mut self,
        request: &Request<'_>,
        uri: Option<&SipUri<'_>>,
        aor: &[u8],
        found: Result<Vec<Target>, Rejection<'static>>,
        treatment: &Treatment,
        now: Now,
    ) -> Result<Targets, Rejection<'static>> {
        let here_alone = |found| Ok(Targets { here: found, elsewhere: None });
        let is_from_cluster = self.is_from_cluster(request);
        let Some(directory) = &mut self.directory else { return found.and_then(here_alone) };
        if request.method == Method::Ack || treatment.is_local {
            return found.and_then(here_alone);
        }
        if request.is_sips() && !is_from_cluster {
            // Homes are reached over UDP or TCP, and nobody has been asked whether there are others.
            let unknown = Rejection::insecure("Temporarily Unavailable (other homes are not reached over TLS)");
            return found.map_err(|why| if why.status == 404 { unknown } else { why }).and_then(here_alone);
        }
        if is_from_cluster {
            directory.silent.heard_from(request.source.remote.ip());
            self.counters.requests_from_peers += 1;
            return found.and_then(here_alone);
        }
        // A temporary GRUU can only be read by the node that gave it out.
        let user = uri.map(|uri| uri.user);
        if user.is_some_and(|user| user.is_none_or(|user| TempGruu::open(user, &self.keys.gruu).is_some())) {
            return found.and_then(here_alone);
        }
        let hash = self.keys.aor(aor);
        if directory.knows_nobody(hash, now) {
            self.counters.lookups_remembered += 1;
            return found.and_then(here_alone);
        }
        let text = if directory.is_asked(hash) { Box::default() } else { aor.into() };
        let refusal = found.as_ref().err().and_then(Rejection::phrase);
        Ok(Targets { here: found.unwrap_or_default(), elsewhere: Some(Elsewhere { aor: hash, text, refusal }) })
    }

    /// Has the transaction wait for the homes of its AoR.
    pub(super) fn ask_directory(&mut self, id: u32, elsewhere: Elsewhere, now: Now) {
        let Some(directory) = &mut self.directory else { return };
        let Some(context) = self.servers.context_mut(id) else { return };
        context.refusal = elsewhere.refusal;
        self.counters.lookups_asked += 1;
        self.counters.lookups_joined += u64::from(elsewhere.text.is_empty());
        let is_asked = directory.ask(elsewhere.aor, elsewhere.text, id);
        // Where there is no room for a question it is as if the directory were away, and known at once.
        let until = if is_asked { directory.deadline(now) } else { now };
        context.elsewhere = Some(Waiting { aor: elsewhere.aor, until });
        self.rearm_server(id);
    }

    /// The directory has said something of an AoR, which all who wait for it go on with.
    pub(crate) fn directory_answered(&mut self, aor: AorHash, answer: Answer<'_>, now: Now, out: &mut Outbox) {
        let Some(directory) = &mut self.directory else { return };
        let (waiting, homes) = directory.answered(aor, answer, now);
        for id in waiting {
            // It may have been answered, cancelled or overdue since, and its number may be another one's.
            let context = self.servers.context_mut(id);
            if context.and_then(|context| context.elsewhere).is_none_or(|waiting| waiting.aor != aor) {
                continue;
            }
            match &homes {
                Some(homes) => self.go_elsewhere(id, homes, usize::MAX, now, out),
                None => self.homes_unknown(id, now, out),
            }
        }
    }

    /// Nobody says whose home the AoR is: what was known last stands in for it.
    pub(super) fn homes_unknown(&mut self, id: u32, now: Now, out: &mut Outbox) {
        let Some(context) = self.servers.context_mut(id) else { return };
        let Some(waiting) = context.elsewhere else { return };
        context.homes = Homes::Unsure;
        self.counters.lookups_unanswered += 1;
        let Some(directory) = &self.directory else { return };
        let (homes, count_max) = directory.substitute(waiting.aor, now);
        let homes = homes.to_vec();
        self.go_elsewhere(id, &homes, count_max, now, out);
    }

    /// Starts a branch to each of the homes that is not known to be down and was not silent a moment ago, to so many at
    /// most, and goes on.
    fn go_elsewhere(&mut self, id: u32, homes: &[Box<str>], count_max: usize, now: Now, out: &mut Outbox) {
        let Some(context) = self.servers.context_mut(id) else { return };
        context.elsewhere = None;
        if !context.is_closed && !homes.is_empty() {
            self.with_request(id, |core, request, routed| {
                let mut targets = Vec::with_capacity(homes.len());
                let (mut are_down, mut are_silent) = (0, 0);
                for home in homes {
                    match core.ways_to_home(home, request) {
                        Some(ways) if core.is_down(&ways.to) => are_down += 1,
                        Some(ways) if core.is_silent(&ways.to, now) => are_silent += 1,
                        Some(ways) if !targets.iter().any(|target: &Target| target.ways.to == ways.to) => {
                            targets.push(Target { is_home: true, ..Target::at(routed.uri_bytes, ways) });
                        }
                        Some(_) => {}
                        None => core.counters.homes_unusable += 1,
                    }
                }
                let Some(context) = core.servers.context_mut(id) else { return };
                targets.truncate(count_max);
                targets.truncate(limits::BRANCHES_COUNT_MAX.saturating_sub(context.started.len()));
                // RFC 5393 §5.3.3: what the branches here have left, shared with groups that are still to come.
                targets.truncate(context.breadth as usize);
                let shares = targets.len() + usize::from(!context.targets.is_empty());
                let breadth = (context.breadth / shares.max(1) as u32).max(1);
                context.breadth -= breadth.saturating_mul(targets.len() as u32).min(context.breadth);
                core.counters.homes_skipped += are_silent;
                core.counters.homes_skipped_down += are_down;
                if are_silent + are_down > 0 {
                    context.homes = Homes::Unsure;
                } else if context.homes == Homes::Untried && !targets.is_empty() {
                    context.homes = Homes::Tried;
                }
                for target in targets {
                    core.start_branch(id, request, routed, target, breadth, now, out);
                    core.counters.branches_to_homes += 1;
                }
            });
        }
        self.rearm_server(id);
        self.go_on(id, now, out);
    }

    fn is_down(&self, to: &Destination) -> bool {
        self.directory.as_ref().is_some_and(|directory| directory.down.is_down(to))
    }

    fn is_silent(&self, to: &Destination, now: Now) -> bool {
        self.directory.as_ref().is_some_and(|directory| directory.silent.is_silent(to, now))
    }

    /// Whether other homes were tried for the transaction `id`.
    pub(crate) fn is_of_homes(&mut self, id: u32) -> bool {
        self.servers.context_mut(id).is_some_and(|context| context.homes != Homes::Untried)
    }

    /// Nothing has come of a branch of the transaction `id`.
    pub(crate) fn note_silence(&mut self, id: u32, to: &Destination, now: Now) {
        let has_homes = self.is_of_homes(id);
        if let Some(directory) = self.directory.as_mut().filter(|_| has_homes) {
            directory.silent.note(to, SILENT_MS, now);
        }
    }

    /// Adds to a Via line of ours, which goes to another home, that the directory was asked about its request.
    pub(super) fn write_mark(&self, request: &Request<'_>, via: &mut Vec<u8>) {
        const BRANCH: &[u8] = b";branch=";
        let Some(mark) = self.directory.as_ref().and_then(|directory| directory.mark.as_ref()) else { return };
        let Some(at) = via.windows(BRANCH.len()).position(|part| part == BRANCH) else { return };
        let end = via.len() - b"\r\n".len();
        let branch = via[at + BRANCH.len()..end].split(|byte| *byte == b';').next().unwrap_or_default();
        let value = mark.of(branch, request.call_id);
        via.truncate(end);
        via.extend_from_slice(b";");
        via.extend_from_slice(mark::PARAM.as_bytes());
        via.extend_from_slice(b"=");
        via.extend_from_slice(&value);
        via.extend_from_slice(b"\r\n");
    }

    /// The way to another home: from the address that it knows us by, where that is ours at present.
    fn ways_to_home(&self, home: &str, request: &Request<'_>) -> Option<Ways> {
        let uri = directory::uri_of(home);
        let Ok(Uri::Sip(uri)) = Uri::parse(uri.as_bytes()) else { return None };
        if let Host::Ip(ip) = uri.host
            && self.listens_at(SocketAddr::new(ip, uri.port.unwrap_or(SIP_PORT)))
        {
            return None;
        }
        let mut ways = self.resolve(&uri, Passage::of(request).without_asking()).ok()?;
        let own = self.directory.as_ref().and_then(directory::Directory::home_address);
        ways.to = match (ways.to, own) {
            (Destination::Udp { remote, local }, Some(own)) => {
                Destination::Udp { remote, local: self.listener_at(Transport::Udp, own, remote).unwrap_or(local) }
            }
            (Destination::Connect(ends), Some(own)) => {
                let local = self.listener_at(Transport::Tcp, own, ends.remote).map(|local| local.ip());
                Destination::Connect(Ends { local: local.or(ends.local), ..ends })
            }
            (to, _) => to,
        };
        Some(ways)
    }

    /// Whether a request to `addr` would come back to this node. Another port of an own address is another node's.
    fn listens_at(&self, addr: SocketAddr) -> bool {
        let is_own = self.settings.own_addresses.contains(&addr.ip());
        self.settings.listeners.iter().any(|l| {
            let ip = l.addr.ip();
            l.addr.port() == addr.port() && (ip == addr.ip() || ip.is_unspecified() && is_own)
        })
    }

    /// The listener that has the address `own`, where it leads to `remote`.
    fn listener_at(&self, transport: Transport, own: std::net::IpAddr, remote: SocketAddr) -> Option<SocketAddr> {
        if own.is_ipv4() != remote.is_ipv4() {
            return None;
        }
        let is_own = self.settings.own_addresses.contains(&own);
        let has = |ip: std::net::IpAddr| ip == own || ip.is_unspecified() && ip.is_ipv4() == own.is_ipv4() && is_own;
        let listener = self.settings.listeners.iter().find(|l| l.transport == transport && has(l.addr.ip()))?;
        Some(SocketAddr::new(own, listener.addr.port()))
    }

    /// What is said when nothing has come of the request: that it was cancelled, what was found here, or that nobody
    /// knows.
    pub(super) fn respond_refusal(&mut self, id: u32, now: Now, out: &mut Outbox) {
        let retry_after_s = self.settings.proxy.retry_after_s;
        let Some(context) = self.servers.context_mut(id) else { return };
        let is_closed = context.is_closed || context.is_taken_up;
        let (is_unsure, refusal) = (context.homes == Homes::Unsure, context.refusal);
        match refusal {
            _ if is_closed => self.respond_own(id, 487, "Request Terminated", now, out),
            _ if is_unsure => {
                self.counters.refused_unknown_home += 1;
                let reason = "Temporarily Unavailable (the directory does not say where the user is)";
                self.respond_own_with(id, 480, reason, Some(retry_after_s), now, out);
            }
            Some((status, reason)) => {
                self.counters.refused_request += 1;
                self.respond_own(id, status, reason, now, out);
            }
            // There were branches, so there is a best response; a context that has neither is a defect.
            None => self.respond_own(id, 500, "Server Internal Error", now, out),
        }
        if let Some(context) = self.servers.context_mut(id) {
            context.request = Box::default();
        }
    }
}
