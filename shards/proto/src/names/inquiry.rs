//! From a name to servers: the steps of RFC 3263 §4 as a machine that asks and is answered.
//!
//! In: what is wanted of a name, and the records of DNS as they come. Out: which records to look up next, several at a
//! time, and in the end a [`Resolved`]. Whoever has a resolver runs it; nothing here waits or draws.
//!
//! - NAPTR is asked for where neither port nor transport is given (§4.1): `SIP+D2U`, `SIP+D2T` and `SIPS+D2T` count, in
//!   their order and preference, with the flag `s`. A domain whose NAPTR records of SIP name none of these is not reached.
//! - SRV of what NAPTR named, of the transport that is asked for, or of UDP and TCP (of TLS for sips) where there is no
//!   NAPTR (§4.1, §4.2). A target `.` says that there is no such service (RFC 2782).
//! - Addresses of each target, of both families; of the name itself where there is no SRV, or a port was given (§4.2).
//!
//! A lookup that failed counts as nothing found where something else was found. Bounded by [`SERVICES_COUNT_MAX`],
//! [`SERVERS_COUNT_MAX`] and [`ADDRESSES_COUNT_MAX`]; what is beyond is left out.

use crate::hop::Transport;
use std::net::IpAddr;

/// Services of NAPTR that are followed.
pub const SERVICES_COUNT_MAX: usize = 4;
/// Servers of one name.
pub const SERVERS_COUNT_MAX: usize = 16;
/// Addresses of one server.
pub const ADDRESSES_COUNT_MAX: usize = 8;
/// Seconds for which it is believed that there is nothing, where no SOA record says it.
const NOTHING_TTL_S: u32 = 30;

/// What a URI wants of its name (RFC 3263 §4.1, §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// Its addresses, since the URI gives the port.
    Addresses,
    /// The servers of this transport, which the URI gives without a port.
    Service(Transport),
    /// The servers of any transport: the URI gives neither.
    Any {
        /// Whether it is a sips URI, so that only TLS counts.
        is_secured: bool,
    },
}

/// A type of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RFC 3403.
    Naptr,
    /// RFC 2782.
    Srv,
    /// Addresses of IPv4.
    A,
    /// Addresses of IPv6.
    Aaaa,
}

/// One question for DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The whole name, without a last dot; no search list is to be added to it.
    pub name: Box<str>,
    /// Which of its records.
    pub kind: Kind,
}

/// A NAPTR record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naptr {
    /// Lower ones come first.
    pub order: u16,
    /// The same among those of one order.
    pub preference: u16,
    /// `s` where an SRV record follows.
    pub flags: Box<str>,
    /// Such as `SIP+D2U`.
    pub service: Box<str>,
    /// The name of the SRV records.
    pub replacement: Box<str>,
}

/// An SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// Lower ones are tried first.
    pub priority: u16,
    /// The share among those of one priority.
    pub weight: u16,
    /// The port of the target.
    pub port: u16,
    /// A name; `.` or nothing where there is no such service.
    pub target: Box<str>,
}

/// What a lookup has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Records, and the seconds for which they may be believed.
    Naptr(Vec<Naptr>, u32),
    /// The same.
    Srv(Vec<Srv>, u32),
    /// The same.
    Addresses(Vec<IpAddr>, u32),
    /// There are none, or there is no such name, for so many seconds where an SOA record says it (RFC 2308).
    Nothing(Option<u32>),
    /// Nobody answered, or not what was asked.
    Failed,
}

/// A server that a name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `None` where the URI decides it.
    pub transport: Option<Transport>,
    /// `None` for that of the URI, or of the transport.
    pub port: Option<u16>,
    /// Lower ones are tried first, and all of one number before those of the next.
    pub rank: u16,
    /// The share among those of one rank (RFC 2782).
    pub weight: u16,
    /// At least one.
    pub addresses: Box<[IpAddr]>,
}

/// What a name has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// Servers, in the order of their ranks, and the seconds for which they may be believed.
    Servers(Vec<Server>, u32),
    /// It leads nowhere, for so many seconds.
    Nothing(u32),
    /// Nobody could say.
    Failed,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// To look all of these up, in any order, and to give what was found to [`Inquiry::take`] in this one. Never none.
    Ask(Vec<Lookup>),
    /// Nothing: this has come of it.
    Done(Resolved),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Naptr,
    Services,
    Addresses,
}

/// A server whose addresses are not known yet.
#[derive(Debug)]
struct Target {
    transport: Option<Transport>,
    port: Option<u16>,
    rank: u16,
    weight: u16,
    /// Its place among the hosts.
    host: usize,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Inquiry {
    name: Box<str>,
    wanted: Wanted,
    stage: Stage,
    services: Vec<(Transport, Box<str>)>,
    targets: Vec<Target>,
    hosts: Vec<Box<str>>,
    ttl_s: u32,
    nothing_ttl_s: Option<u32>,
    has_failed: bool,
}

impl Inquiry {
    /// One of this name, and what to do first.
    pub fn new(name: &str, wanted: Wanted) -> (Self, Step) {
        let mut inquiry = Self {
            name: name.into(),
            wanted,
            stage: Stage::Naptr,
            services: Vec::new(),
            targets: Vec::new(),
            hosts: Vec::new(),
            ttl_s: u32::MAX,
            nothing_ttl_s: None,
            has_failed: false,
        };
        let step = match wanted {
            Wanted::Any { .. } => Step::Ask(vec![Lookup { name: name.into(), kind: Kind::Naptr }]),
            Wanted::Service(transport) => inquiry.ask_services(&[transport]),
            Wanted::Addresses => inquiry.ask_name(None),
        };
        (inquiry, step)
    }

    /// Takes what was found, in the order in which it was asked for.
    pub fn take(&mut self, found: Vec<Found>) -> Step {
        for found in &found {
            match found {
                Found::Nothing(Some(ttl_s)) => {
                    self.nothing_ttl_s = Some(self.nothing_ttl_s.map_or(*ttl_s, |before| before.min(*ttl_s)));
                }
                // A server that does not know NAPTR may well know what follows.
                Found::Failed => self.has_failed |= self.stage != Stage::Naptr,
                Found::Naptr(_, ttl_s) | Found::Srv(_, ttl_s) | Found::Addresses(_, ttl_s) => {
                    self.ttl_s = self.ttl_s.min(*ttl_s);
                }
                Found::Nothing(None) => {}
            }
        }
        match self.stage {
            Stage::Naptr => self.take_naptr(found),
            Stage::Services => self.take_services(found),
            Stage::Addresses => self.take_addresses(&found),
        }
    }

    fn is_secured(&self) -> bool {
        matches!(self.wanted, Wanted::Any { is_secured: true } | Wanted::Service(Transport::Tls))
    }

    fn take_naptr(&mut self, found: Vec<Found>) -> Step {
        let Some(Found::Naptr(mut records, _)) = found.into_iter().next() else { return self.ask_usual_services() };
        records.sort_by_key(|record| (record.order, record.preference));
        let is_of_sip = records.iter().any(|record| {
            let service = record.service.to_ascii_uppercase();
            service.starts_with("SIP+") || service.starts_with("SIPS+")
        });
        let is_secured = self.is_secured();
        let usable = records.iter().filter_map(|record| {
            let transport = match record.service.to_ascii_uppercase().as_str() {
                "SIP+D2U" => Transport::Udp,
                "SIP+D2T" => Transport::Tcp,
                "SIPS+D2T" => Transport::Tls,
                _ => return None,
            };
            let is_usable = record.flags.eq_ignore_ascii_case("s") && !is_root(&record.replacement);
            (is_usable && (!is_secured || transport == Transport::Tls))
                .then(|| (transport, bare(&record.replacement).into()))
        });
        let services: Vec<_> = usable.take(SERVICES_COUNT_MAX).collect();
        if !services.is_empty() {
            self.services = services;
            return self.ask_chosen();
        }
        if is_of_sip { self.nothing() } else { self.ask_usual_services() }
    }

    fn ask_usual_services(&mut self) -> Step {
        if self.is_secured() {
            self.ask_services(&[Transport::Tls])
        } else {
            self.ask_services(&[Transport::Udp, Transport::Tcp])
        }
    }

    fn ask_services(&mut self, transports: &[Transport]) -> Step {
        let prefix = |transport: &Transport| match transport {
            Transport::Tls | Transport::Wss => "_sips._tcp",
            Transport::Udp => "_sip._udp",
            Transport::Tcp | Transport::Ws => "_sip._tcp",
        };
        let service = |t: &Transport| (*t, format!("{}.{}", prefix(t), self.name).into_boxed_str());
        self.services = transports.iter().map(service).collect();
        self.ask_chosen()
    }

    fn ask_chosen(&mut self) -> Step {
        self.stage = Stage::Services;
        let lookup = |(_, name): &(Transport, Box<str>)| Lookup { name: name.clone(), kind: Kind::Srv };
        Step::Ask(self.services.iter().map(lookup).collect())
    }

    fn take_services(&mut self, found: Vec<Found>) -> Step {
        let services = std::mem::take(&mut self.services);
        let fallback = services.first().map(|(transport, _)| *transport);
        let (mut rank, mut is_refused) = (0, false);
        for ((transport, _), found) in services.into_iter().zip(found) {
            let Found::Srv(mut records, _) = found else { continue };
            records.retain(|record| !is_root(&record.target) && record.port != 0);
            is_refused |= records.is_empty();
            records.sort_by_key(|record| record.priority);
            for group in records.chunk_by(|a, b| a.priority == b.priority) {
                for record in group.iter().take(SERVERS_COUNT_MAX - self.targets.len().min(SERVERS_COUNT_MAX)) {
                    let host = self.host(bare(&record.target));
                    let (port, weight) = (Some(record.port), record.weight);
                    self.targets.push(Target { transport: Some(transport), port, rank, weight, host });
                }
                rank += 1;
            }
        }
        match (self.targets.is_empty(), self.has_failed, is_refused) {
            (false, ..) => self.ask_hosts(),
            (true, true, _) => Step::Done(Resolved::Failed),
            (true, false, true) => self.nothing(),
            (true, false, false) => self.ask_name(fallback),
        }
    }

    /// The place of a host among all, where each stands once.
    fn host(&mut self, name: &str) -> usize {
        self.hosts.iter().position(|host| host.eq_ignore_ascii_case(name)).unwrap_or_else(|| {
            self.hosts.push(name.into());
            self.hosts.len() - 1
        })
    }

    /// The addresses of the name itself.
    fn ask_name(&mut self, transport: Option<Transport>) -> Step {
        let host = self.host(&self.name.clone());
        self.targets.push(Target { transport, port: None, rank: 0, weight: 0, host });
        self.ask_hosts()
    }

    fn ask_hosts(&mut self) -> Step {
        self.stage = Stage::Addresses;
        let of = |host: &str| [Kind::A, Kind::Aaaa].map(|kind| Lookup { name: host.into(), kind });
        Step::Ask(self.hosts.iter().flat_map(|host| of(host)).collect())
    }

    fn take_addresses(&mut self, found: &[Found]) -> Step {
        let addresses_of = |host: usize| -> Box<[IpAddr]> {
            let both = found.iter().skip(2 * host).take(2);
            let each = both.flat_map(|found| match found {
                Found::Addresses(addresses, _) => addresses.as_slice(),
                _ => &[],
            });
            each.copied().take(ADDRESSES_COUNT_MAX).collect()
        };
        let servers: Vec<Server> = std::mem::take(&mut self.targets)
            .into_iter()
            .map(|Target { transport, port, rank, weight, host }| {
                let addresses = addresses_of(host);
                Server { transport, port, rank, weight, addresses }
            })
            .filter(|server| !server.addresses.is_empty())
            .collect();
        match (servers.is_empty(), self.has_failed) {
            (false, _) => Step::Done(Resolved::Servers(servers, self.ttl_s)),
            (true, true) => Step::Done(Resolved::Failed),
            (true, false) => self.nothing(),
        }
    }

    fn nothing(&self) -> Step {
        Step::Done(Resolved::Nothing(self.nothing_ttl_s.unwrap_or(NOTHING_TTL_S)))
    }
}

fn bare(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

fn is_root(name: &str) -> bool {
    bare(name).is_empty()
}
