//! The way to an address, and what we call ourselves towards it.

use super::twin::{FORKED_PARAM, SIGNATURE_DIGITS};
use crate::hop::{Destination, Ends, FlowToken, Listener, ShardIndex, Source, Transport};
use crate::keys::{TwinNumber, read_hex, shard_of};
use crate::limits;
use crate::names::Unresolved;
use crate::request::Request;
use crate::shard::Core;
use crate::transaction::client::ClientId;
use sipfed_sip::Via;
use sipfed_sip::compose::{self, hexadecimal};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How our branches begin: the cookie of RFC 3261 §8.1.1.7 and a dot.
const BRANCH_HEAD: &[u8] = b"z9hG4bK.";
/// Digits of [`BranchNumber`].
const NUMBER_DIGITS: usize = 2 + 16;
/// Bytes behind [`BRANCH_HEAD`]: those, a point and the digits of the loop hash.
const UNSIGNED_LEN: usize = NUMBER_DIGITS + 1 + 8;
/// Stands in place of a shard's number before a [`TwinNumber`].
const TWIN_HEAD: u8 = 0xff;
const _: () = assert!(limits::SHARDS_COUNT_MAX <= TWIN_HEAD as usize);

/// Whether a phone may make us send there: a unicast address.
pub(crate) fn may_send_to(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => !ip.is_multicast() && !ip.is_broadcast() && !ip.is_unspecified(),
        IpAddr::V6(ip) => !ip.is_multicast() && !ip.is_unspecified(),
    }
}

/// Whether a message from `local` can get to `remote`: both are of one family, and nothing beyond this host is
/// reached from a loopback address.
pub(super) fn reaches(local: IpAddr, remote: IpAddr) -> bool {
    local.is_ipv4() == remote.is_ipv4() && (remote.is_loopback() || !local.is_loopback())
}

/// What leads to a phone that is not reached at its Contact (RFC 5626 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// A connection.
    Connection(FlowToken),
    /// Datagrams to the address that a NAT shows it at.
    Datagrams(SocketAddr),
}

/// Why a URI leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoWay {
    /// Its host is a name that leads nowhere, for this reason.
    Name(Unresolved),
    /// It asks for a transport that we do not have.
    Transport,
    /// Its address may not be sent to, or we have no address of its family.
    Address,
}

impl Core {
    /// The way to an address over a transport.
    pub(super) fn way_to(
        &self,
        transport: Transport,
        remote: SocketAddr,
        arrived: &Source,
    ) -> Result<Destination, NoWay> {
        if !may_send_to(remote.ip()) || remote.port() == 0 {
            return Err(NoWay::Address);
        }
        match transport {
            Transport::Udp => {
                let local = self.local_for(Transport::Udp, remote.ip(), arrived).ok_or(NoWay::Address)?;
                Ok(Destination::Udp { remote, local })
            }
            // RFC 3261 §18.1.1: who sends over a connection also has to be found at the address that its Via names.
            Transport::Tls if !self.listens_over(Transport::Tls, remote.ip()) => Err(NoWay::Transport),
            Transport::Tcp | Transport::Tls => {
                let local = self.connect_from(transport, remote.ip(), arrived);
                Ok(Destination::Connect(Ends::new(transport, remote, local)))
            }
            // Browsers open these, and nobody listens behind them (RFC 7118 §5).
            Transport::Ws | Transport::Wss => Err(NoWay::Transport),
        }
    }

    /// Whether a listener of ours could be named to `remote` for its way back over `transport`.
    fn listens_over(&self, transport: Transport, remote: IpAddr) -> bool {
        self.settings.listeners.iter().any(|l| l.transport == transport && reaches(l.addr.ip(), remote))
    }

    /// Our own address towards `remote`: the one the request arrived at where family and transport allow, else
    /// the first that fits.
    pub(super) fn local_for(&self, transport: Transport, remote: IpAddr, arrived: &Source) -> Option<SocketAddr> {
        if arrived.transport == transport && arrived.local.is_ipv4() == remote.is_ipv4() {
            return Some(self.local_at(arrived));
        }
        let fits = |l: &&Listener| l.transport == transport && l.addr.is_ipv4() == remote.is_ipv4();
        let listener = self.settings.listeners.iter().find(fits)?;
        if !listener.addr.ip().is_unspecified() {
            return Some(listener.addr);
        }
        if arrived.local.is_ipv4() == remote.is_ipv4() {
            return Some(SocketAddr::new(arrived.local.ip(), listener.addr.port()));
        }
        let family = |ip: &&IpAddr| ip.is_ipv4() == remote.is_ipv4();
        let near = |ip: &&IpAddr| ip.is_loopback() == remote.is_loopback();
        let own = &self.settings.own_addresses;
        let ip = own.iter().filter(family).find(near).or_else(|| own.iter().find(family))?;
        Some(SocketAddr::new(*ip, listener.addr.port()))
    }

    /// What we call ourselves towards the sender of a request: the address that it arrived at. Over a connection that
    /// we have opened that has a port which nobody listens at, and the port of the listener stands for it.
    pub(super) fn local_at(&self, arrived: &Source) -> SocketAddr {
        if self.listens_at_port(arrived.transport, arrived.local.port()) {
            return arrived.local;
        }
        let transport = if arrived.transport.is_reliable() { arrived.transport } else { Transport::Tcp };
        self.stream_listener_at(transport, arrived.local.ip()).unwrap_or(arrived.local)
    }

    /// Whether a listener for `transport` has that port.
    pub(super) fn listens_at_port(&self, transport: Transport, port: u16) -> bool {
        self.settings.listeners.iter().any(|l| l.transport == transport && l.addr.port() == port)
    }

    /// The address of ours that a connection to `remote` starts from: the one that the request arrived at where a
    /// listener of the transport has it too, else that of the first listener which reaches `remote`. Where that is a
    /// wildcard, the kernel knows better.
    pub(super) fn connect_from(&self, transport: Transport, remote: IpAddr, arrived: &Source) -> Option<IpAddr> {
        let local = arrived.local.ip();
        if self.stream_listener_at(transport, local).is_some() && reaches(local, remote) {
            return Some(local);
        }
        let listeners = self.settings.listeners.iter().filter(|l| l.transport == transport);
        listeners.map(|l| l.addr.ip()).find(|ip| reaches(*ip, remote)).filter(|ip| !ip.is_unspecified())
    }

    /// The listener for streams of `transport` that has the address `ip`, with that address where it is a wildcard.
    pub(super) fn stream_listener_at(&self, transport: Transport, ip: IpAddr) -> Option<SocketAddr> {
        let has = |l: IpAddr| l == ip || l.is_unspecified() && l.is_ipv4() == ip.is_ipv4();
        let listeners = &self.settings.listeners;
        let listener = listeners.iter().find(|l| l.transport == transport && has(l.addr.ip()))?;
        Some(SocketAddr::new(ip, listener.addr.port()))
    }

    /// Our own address on a way, for Via and Record-Route.
    pub(crate) fn local_of(&self, to: &Destination, arrived: &Source) -> SocketAddr {
        let ends = match to {
            Destination::Udp { local, .. } => return *local,
            Destination::Flow { fallback, .. } => *fallback,
            Destination::Connect(ends) => Some(*ends),
        };
        let transport = to.transport();
        // Of several listeners at one address that which the request arrived at is meant.
        let is_elsewhere = |ip: &IpAddr| arrived.transport != transport || *ip != arrived.local.ip();
        let named = ends.and_then(|ends| ends.local).filter(is_elsewhere);
        if let Some(local) = named.and_then(|ip| self.stream_listener_at(transport, ip)) {
            return local;
        }
        let remote = ends.map_or(arrived.remote.ip(), |ends| ends.remote.ip());
        // A node without such a listener of that family still has to call itself something.
        self.local_for(transport, remote, arrived).unwrap_or(arrived.local)
    }

    /// Appends `host:port` as the world knows us.
    pub(crate) fn write_sent_by(&self, local: SocketAddr, out: &mut Vec<u8>) {
        match &self.settings.advertised_host {
            Some(host) => {
                out.extend_from_slice(host.as_bytes());
                out.push(b':');
                compose::number(out, u32::from(local.port()));
            }
            None => compose::socket_address(out, local),
        }
    }

    /// Appends our Via line of a branch of `request`.
    pub(super) fn write_via(
        &self,
        request: &Request<'_>,
        to: &Destination,
        local: SocketAddr,
        branch: &Branch,
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(b"Via: SIP/2.0/");
        out.extend_from_slice(to.transport().via_token().as_bytes());
        out.push(b' ');
        self.write_sent_by(local, out);
        out.extend_from_slice(b";branch=");
        let begin = out.len();
        out.extend_from_slice(BRANCH_HEAD);
        let (head, number) = match branch.number {
            BranchNumber::Client(shard, id) => (shard.0, u64::from(id.slot) << 32 | u64::from(id.nonce)),
            BranchNumber::Twin(TwinNumber(number)) => (TWIN_HEAD, number),
            BranchNumber::Stateless(number) => (0, number),
        };
        out.extend_from_slice(&hexadecimal::<2>(u64::from(head)));
        out.extend_from_slice(&hexadecimal::<16>(number));
        out.push(b'.');
        out.extend_from_slice(&hexadecimal::<8>(u64::from(branch.loop_hash)));
        if !matches!(branch.number, BranchNumber::Stateless(_))
            && let Some(signature) = self.signature(request, &out[begin..])
        {
            out.push(b'.');
            out.extend_from_slice(&hexadecimal::<SIGNATURE_DIGITS>(signature));
            if !branch.is_only {
                out.push(b';');
                out.extend_from_slice(FORKED_PARAM.as_bytes());
            }
        }
        out.extend_from_slice(b"\r\n");
    }

    /// A flow as the user part of a Record-Route URI: what it is and a keyed hash of that, so that nobody can aim
    /// requests at a connection, or at an address, through us (RFC 5626 §5.2).
    pub(super) fn write_flow_user(&self, flow: Flow, out: &mut Vec<u8>) {
        let begin = out.len();
        match flow {
            Flow::Connection(flow) => {
                out.push(b'f');
                out.extend_from_slice(&hexadecimal::<16>(flow.bits()));
            }
            Flow::Datagrams(remote) => {
                match remote.ip() {
                    IpAddr::V4(ip) => {
                        out.push(b'v');
                        out.extend_from_slice(&hexadecimal::<8>(ip.to_bits().into()));
                    }
                    IpAddr::V6(ip) => {
                        out.push(b'w');
                        out.extend_from_slice(&hexadecimal::<16>((ip.to_bits() >> 64) as u64));
                        out.extend_from_slice(&hexadecimal::<16>(ip.to_bits() as u64));
                    }
                }
                out.extend_from_slice(&hexadecimal::<4>(remote.port().into()));
            }
        }
        let proof = self.keys.pair(b"flow", &out[begin..]);
        out.extend_from_slice(&hexadecimal::<16>(proof));
    }

    /// The flow that a user part names, if it is one of ours.
    pub(super) fn read_flow_user(&self, user: &[u8]) -> Option<Flow> {
        let (named, proof) = user.split_at_checked(user.len().checked_sub(16)?)?;
        let (kind, digits) = named.split_first()?;
        let datagrams = |ip: IpAddr, port: &[u8]| Some(Flow::Datagrams(SocketAddr::new(ip, read_hex(port)? as u16)));
        let flow = match (kind, digits.len()) {
            (b'f', 16) => Flow::Connection(FlowToken::from_bits(read_hex(digits)?)),
            (b'v', 12) => datagrams(Ipv4Addr::from_bits(read_hex(&digits[..8])? as u32).into(), &digits[8..])?,
            (b'w', 36) => {
                let (high, low) = (read_hex(&digits[..16])?, read_hex(&digits[16..32])?);
                datagrams(Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)).into(), &digits[32..])?
            }
            _ => return None,
        };
        (self.keys.pair(b"flow", named) == read_hex(proof)?).then_some(flow)
    }
}

/// What a branch of ours says of who waits for its responses.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BranchNumber {
    /// A client transaction of that shard.
    Client(ShardIndex, ClientId),
    /// A client transaction that is found by what other nodes know as well.
    Twin(TwinNumber),
    /// Nobody: it is equal for a retransmission (§16.11), and is not told from a client transaction where it is read.
    Stateless(u64),
}

impl BranchNumber {
    /// The shard that handles responses, of `count`.
    pub(crate) fn shard(self, count: u8) -> ShardIndex {
        match self {
            Self::Client(shard, _) => shard,
            Self::Twin(number) => ShardIndex(shard_of(number.leaf(), count)),
            Self::Stateless(_) => ShardIndex(0),
        }
    }
}

/// What our branch is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Branch {
    pub(super) number: BranchNumber,
    pub(super) loop_hash: u32,
    /// Whether the request has no other branch.
    pub(super) is_only: bool,
    /// Whether its Contact is written as where its sender was seen.
    pub(super) fixes_contact: bool,
}

/// Whether a Via of ours has the same loop hash (RFC 3261 §16.3 step 4, RFC 5393 §4.2).
pub(super) fn has_loop_hash(via: &Via<'_>, loop_hash: u32) -> bool {
    via.branch().and_then(split_branch).is_some_and(|(_, hash)| hash == loop_hash)
}

/// The number in a branch of ours, and its loop hash.
fn split_branch(branch: &[u8]) -> Option<(BranchNumber, u32)> {
    let branch = split_signature(branch).map_or(branch, |(unsigned, _)| unsigned);
    let rest = branch.strip_prefix(BRANCH_HEAD)?;
    if rest.len() != UNSIGNED_LEN || rest[NUMBER_DIGITS] != b'.' {
        return None;
    }
    let (head, number) = (read_hex(&rest[..2])? as u8, read_hex(&rest[2..NUMBER_DIGITS])?);
    let number = match head {
        TWIN_HEAD => BranchNumber::Twin(TwinNumber(number)),
        shard => {
            BranchNumber::Client(ShardIndex(shard), ClientId { slot: (number >> 32) as u32, nonce: number as u32 })
        }
    };
    Some((number, read_hex(&rest[NUMBER_DIGITS + 1..])? as u32))
}

/// A branch without its signature, and that.
pub(super) fn split_signature(branch: &[u8]) -> Option<(&[u8], u64)> {
    let (unsigned, signature) = branch.split_at_checked(BRANCH_HEAD.len() + UNSIGNED_LEN)?;
    let digits = signature.strip_prefix(b".").filter(|digits| digits.len() == SIGNATURE_DIGITS)?;
    Some((unsigned, read_hex(digits)?))
}

/// The number in a branch of ours.
pub(crate) fn branch_number(branch: &[u8]) -> Option<BranchNumber> {
    split_branch(branch).map(|(number, _)| number)
}
