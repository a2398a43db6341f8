//! Which hosts are ours.

use crate::request::{SIP_PORT, SIPS_PORT, port_of};
use crate::settings::Settings;
use crate::shard::Core;
use sipfed_sip::{Host, SipUri};
use std::net::IpAddr;

/// The domains and addresses that requests may name, made once from the settings.
#[derive(Debug)]
pub(crate) struct Domains {
    /// In lower case, sorted.
    names: Vec<Box<[u8]>>,
    /// Sorted.
    domain_addresses: Vec<IpAddr>,
    /// Sorted.
    own_addresses: Vec<IpAddr>,
    ports: Vec<u16>,
    /// The advertised name, in lower case; an advertised address is among our own.
    advertised: Option<Box<[u8]>>,
    own_addresses_count: bool,
}

impl Domains {
    pub(crate) fn new(settings: &Settings) -> Self {
        let mut names = Vec::new();
        let mut domain_addresses = Vec::new();
        for domain in &settings.domains {
            match domain.parse::<IpAddr>() {
                Ok(ip) => domain_addresses.push(ip),
                Err(_) => names.push(domain.to_ascii_lowercase().into_bytes().into_boxed_slice()),
            }
        }
        let concrete = settings.listeners.iter().map(|l| l.addr.ip()).filter(|ip| !ip.is_unspecified());
        let advertised = settings.advertised_host.as_deref().unwrap_or_default();
        let advertised_address = advertised.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        let own = settings.own_addresses.iter().copied();
        let mut own_addresses: Vec<IpAddr> = own.chain(concrete).chain(advertised_address).collect();
        let mut ports: Vec<u16> = settings.listeners.iter().map(|l| l.addr.port()).collect();
        names.sort_unstable();
        domain_addresses.sort_unstable();
        own_addresses.sort_unstable();
        own_addresses.dedup();
        ports.sort_unstable();
        ports.dedup();
        Self {
            names,
            domain_addresses,
            own_addresses,
            ports,
            advertised: (!advertised.is_empty()).then(|| advertised.to_ascii_lowercase().into_bytes().into()),
            own_addresses_count: settings.own_addresses_are_domains,
        }
    }

    fn has_name(&self, name: &[u8]) -> bool {
        let name = name.strip_suffix(b".").unwrap_or(name);
        let folded = |b: &u8| b.to_ascii_lowercase();
        self.names.binary_search_by(|n| n.iter().copied().cmp(name.iter().map(folded))).is_ok()
    }

    /// Whether `host` at `port` is where this node listens.
    pub(super) fn is_self(&self, host: &Host<'_>, port: u16) -> bool {
        if !self.ports.contains(&port) {
            return false;
        }
        match host {
            Host::Ip(ip) => {
                self.own_addresses.binary_search(ip).is_ok() || self.domain_addresses.binary_search(ip).is_ok()
            }
            Host::Name(name) => self.advertised.as_ref().is_some_and(|a| sipfed_sip::eq_ignore_case(a, name)),
        }
    }
}

impl Core {
    /// Whether this node is the registrar of the URI's domain. An address counts at the ports we listen on only:
    /// phones may share our address.
    pub(crate) fn is_ours(&self, uri: &SipUri<'_>) -> bool {
        match uri.host {
            Host::Name(name) if self.domains.has_name(name) => true,
            Host::Ip(ip) if self.domains.domain_addresses.binary_search(&ip).is_ok() => {
                self.domains.ports.contains(&port_of(uri))
            }
            host => self.domains.own_addresses_count && self.domains.is_self(&host, port_of(uri)),
        }
    }

    /// Whether a name is one of ours, at the port that a URI gives: nobody else is to be asked what it leads to.
    pub(super) fn is_own_name(&self, name: &[u8], port: Option<u16>) -> bool {
        self.domains.has_name(name) || self.domains.is_self(&Host::Name(name), port.unwrap_or(SIP_PORT))
    }

    /// Whether the URI of a Route names this node: one that we put into a Record-Route, or a domain of ours.
    pub(crate) fn is_self(&self, uri: &SipUri<'_>) -> bool {
        let listens_at = |port: &u16| self.domains.is_self(&uri.host, *port);
        uri.port.map_or_else(|| usual_ports(uri).iter().any(listens_at), |port| listens_at(&port))
            || matches!(uri.host, Host::Name(name) if self.domains.has_name(name))
    }
}

/// The ports that a URI without one may mean: those of SIP (RFC 3261 §19.1.2), and those of WebSockets, of which `ws` is
/// either kind (RFC 7118 §5.2.2).
fn usual_ports(uri: &SipUri<'_>) -> &'static [u16] {
    match uri.param("transport") {
        Some(token) if sipfed_sip::eq_ignore_case(token, b"ws") => &[80, 443],
        Some(token) if sipfed_sip::eq_ignore_case(token, b"wss") => &[443],
        _ if port_of(uri) == SIPS_PORT => &[SIPS_PORT],
        _ => &[SIP_PORT],
    }
}
