//! What a URI leads to: one way, or several that are tried one after another (RFC 3263 §4).
//!
//! Where the host is an address there is one. A name leads to what is known of it ([`crate::names`]): servers in an order
//! that is drawn for the call, so that whatever belongs to it goes the same way (§4.4). Those to which nothing leads from
//! here, by their transport or their family, are left out; those that did not answer a moment ago come last. At most
//! [`limits::WAYS_COUNT_MAX`].

use super::next_hop::NoWay;
use crate::hop::{Destination, Source, Transport};
use crate::limits;
use crate::names::{self, Unresolved, Wanted};
use crate::request::Request;
use crate::settings::NextHop;
use crate::shard::Core;
use sipfed_sip::{Host, Scheme, SipUri};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

/// For what a way is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passage<'a> {
    /// Where the request came from, and at which of our addresses.
    pub(crate) arrived: &'a Source,
    /// Its Call-ID.
    pub(crate) call_id: &'a [u8],
    /// Whether it may wait for a name that is not known.
    pub(crate) may_ask: bool,
    /// Whether every hop is to be one of a sips URI (RFC 3261 §16.6 step 7).
    pub(crate) is_sips: bool,
}

impl<'a> Passage<'a> {
    /// That of a request which may wait.
    pub(crate) fn of(request: &'a Request<'_>) -> Self {
        Self { arrived: &request.source, call_id: request.call_id, may_ask: true, is_sips: false }
    }

    /// The same for a request whose Request-URI is a sips URI, or is none.
    pub(crate) fn for_sips(self, is_sips: bool) -> Self {
        Self { is_sips, ..self }
    }

    /// The same for a use that does without a name which is not known.
    pub(crate) fn without_asking(self) -> Self {
        Self { may_ask: false, ..self }
    }
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ways {
    /// Where to at first.
    pub(crate) to: Destination,
    /// Where to when that fails, one after another.
    pub(crate) rest: VecDeque<Destination>,
    /// The name that leads there; empty where there is none. It is what a server's certificate has to name (RFC 5922 §7.3),
    /// whatever the name of the server itself is.
    pub(crate) name: Box<[u8]>,
    /// Whether a datagram was not asked for, so that a long request goes over a stream (RFC 3261 §18.1.1).
    pub(crate) may_be_stream: bool,
}

impl From<Destination> for Ways {
    /// The one way, as it is.
    fn from(to: Destination) -> Self {
        Self { to, rest: VecDeque::new(), name: Box::default(), may_be_stream: false }
    }
}

/// What a URI says of the way, apart from its host.
#[derive(Clone, Copy, Debug)]
struct Asked {
    transport: Option<Transport>,
    port: Option<u16>,
    is_secured: bool,
}

impl Asked {
    /// The transport where nothing else says one (RFC 3263 §4.1).
    fn usual(self) -> Transport {
        if self.is_secured { Transport::Tls } else { Transport::Udp }
    }

    fn wanted(self) -> Wanted {
        match (self.port, self.transport) {
            (Some(_), _) => Wanted::Addresses,
            (None, Some(transport)) => Wanted::Service(transport),
            (None, None) => Wanted::Any { is_secured: self.is_secured },
        }
    }

    /// What a server is reached at, with what is known of it.
    fn hop(self, ip: IpAddr, transport: Option<Transport>, port: Option<u16>) -> (Transport, SocketAddr) {
        let transport = transport.or(self.transport).unwrap_or(self.usual());
        (transport, SocketAddr::new(ip, port.or(self.port).unwrap_or(transport.usual_port())))
    }
}

impl Core {
    /// The ways that a SIP URI names: by its maddr or its host, its transport and its port.
    pub(super) fn resolve(&self, uri: &SipUri<'_>, passage: Passage<'_>) -> Result<Ways, NoWay> {
        let host = match uri.param("maddr") {
            Some(maddr) => Host::parse(maddr).ok_or(NoWay::Address)?,
            None => uri.host,
        };
        let is_secured = passage.is_sips || uri.scheme == Scheme::Sips;
        let is = |token: &[u8], what: &[u8]| sipfed_sip::eq_ignore_case(token, what);
        let transport = match uri.param("transport") {
            None => None,
            // RFC 3261 §26.2.2: TLS over TCP is what both ask for.
            Some(token) if is(token, b"tls") || is_secured && is(token, b"tcp") => Some(Transport::Tls),
            Some(token) if is(token, b"udp") && !is_secured => Some(Transport::Udp),
            Some(token) if is(token, b"tcp") => Some(Transport::Tcp),
            Some(_) => return Err(NoWay::Transport),
        };
        let asked = Asked { transport, port: uri.port, is_secured };
        let mut ways = match host {
            Host::Ip(ip) => {
                let (transport, remote) = asked.hop(ip, None, None);
                Ways::from(self.way_to(transport, remote, passage.arrived)?)
            }
            Host::Name(name) => self.ways_by_name(name, asked, passage)?,
        };
        ways.may_be_stream = asked.transport.is_none();
        Ok(ways)
    }

    /// Has connections within TLS ask their peer for the name that led there (RFC 5922 §7.3).
    pub(super) fn name_peers(&mut self, ways: &mut Ways) {
        let is_secured = |to: &Destination| matches!(to, Destination::Connect(ends) if ends.transport.is_secured());
        if ways.name.is_empty() || !std::iter::once(&ways.to).chain(&ways.rest).any(is_secured) {
            return;
        }
        let name = self.peer_names.number(&ways.name);
        for to in std::iter::once(&mut ways.to).chain(&mut ways.rest) {
            if let Destination::Connect(ends) = to
                && ends.transport.is_secured()
            {
                ends.name = name;
            }
        }
    }

    /// The ways to a next hop of the configuration.
    pub(super) fn resolve_hop(&self, hop: &NextHop, passage: Passage<'_>) -> Result<Ways, NoWay> {
        let asked = Asked { transport: hop.transport, port: hop.port, is_secured: passage.is_sips };
        let ways = self.ways_by_name(hop.name.as_bytes(), asked, passage)?;
        Ok(Ways { may_be_stream: hop.transport.is_none(), ..ways })
    }

    fn ways_by_name(&self, name: &[u8], asked: Asked, passage: Passage<'_>) -> Result<Ways, NoWay> {
        let Some(names) = &self.names else { return Err(NoWay::Name(Unresolved::Off)) };
        if self.is_own_name(name, asked.port) {
            return Err(NoWay::Name(Unresolved::Own));
        }
        let servers = names.servers(&self.keys, name, asked.wanted(), passage.may_ask).map_err(NoWay::Name)?;
        let (mut ways, mut avoided, mut why) = (VecDeque::new(), VecDeque::new(), NoWay::Address);
        for (server, ip) in names::order(servers, self.keys.pair(passage.call_id, name)) {
            if ways.len() + avoided.len() == limits::WAYS_COUNT_MAX {
                break;
            }
            let (transport, remote) = asked.hop(ip, server.transport, server.port);
            match self.way_to(transport, remote, passage.arrived) {
                Ok(to) if ways.contains(&to) || avoided.contains(&to) => {}
                Ok(to) if self.avoided.is_silent(&to, names.now()) => avoided.push_back(to),
                Ok(to) => ways.push_back(to),
                Err(no_way) => why = no_way,
            }
        }
        ways.append(&mut avoided);
        let to = ways.pop_front().ok_or(why)?;
        Ok(Ways { rest: ways, name: name.into(), ..Ways::from(to) })
    }
}
