//! Where a message came from and where one goes: addresses, transports and flows.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;

/// A transport protocol of RFC 3261 §18.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams; requests are retransmitted by the transaction layer.
    Udp,
    /// A stream; a message is framed by its Content-Length (RFC 3261 §18.3).
    Tcp,
    /// A stream within TLS (RFC 3261 §26.2.1).
    Tls,
    /// Messages of a WebSocket (RFC 7118). A browser opens it, and nobody is reached by opening one.
    Ws,
    /// The same within TLS.
    Wss,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Udp, Self::Tcp, Self::Tls, Self::Ws, Self::Wss];

    /// Whether the transport itself sees to delivery, so that no request is retransmitted (RFC 3261 §17).
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Self::Udp)
    }

    /// Whether it is within TLS, so that the two ends know who the other one is and nobody in between reads.
    pub const fn is_secured(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// Whether it is a WebSocket.
    pub const fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// The token in a Via (`UDP`, `TCP`, `TLS`, `WS`, `WSS`).
    pub const fn via_token(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// The value of a URI's `transport` parameter (`udp`, `tcp`, `tls`, `ws`). One for WebSockets within TLS is not defined
    /// (RFC 7118 §5.2.2): the connection says what it is within, and that stands in the Via.
    pub const fn uri_parameter(self) -> &'static str {
        match self {
            Self::Wss => Self::Ws.uri_token(),
            other => other.uri_token(),
        }
    }

    /// The port where none is written (RFC 3261 §19.1.2, RFC 6455 §3).
    pub const fn usual_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }

    /// Its name before an address (`udp`, `tcp`, `tls`, `ws`, `wss`).
    pub const fn uri_token(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }
}

/// The number of a shard, 0 to one less than their count; at most [`crate::limits::SHARDS_COUNT_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardIndex(pub u8);

/// One accepted or opened connection, named so that a later one is never taken for it.
///
/// Made by the runtime from the shard that owns the connection, its slot there and a generation that
/// rises with each use of the slot, and marked with its transport, so that a message is written for the way that it
/// takes wherever the token comes from. [`FlowToken::NONE`] stands for "no connection" (UDP).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowToken(u64);

impl FlowToken {
    /// No connection.
    pub const NONE: Self = Self(0);

    /// Marks a connection within TLS.
    const TLS: u64 = 1 << 55;
    /// Marks a WebSocket.
    const WEBSOCKET: u64 = 1 << 54;

    /// The TCP flow in `slot` of `shard`; `generation` starts at 1 and keeps its low 31 bits.
    pub const fn new(shard: ShardIndex, slot: u32, generation: u32) -> Self {
        let generation = generation & 0x7fff_ffff;
        // Slots above 2^22 cannot occur: connections are bounded far below.
        Self((shard.0 as u64) << 56 | (slot as u64 & 0x3f_ffff) << 32 | 0x8000_0000 | generation as u64)
    }

    /// The same connection, over a transport that is one of connections.
    #[must_use]
    pub const fn over(self, transport: Transport) -> Self {
        let bits = self.0 & !(Self::TLS | Self::WEBSOCKET);
        let tls = if transport.is_secured() { Self::TLS } else { 0 };
        let websocket = if transport.is_websocket() { Self::WEBSOCKET } else { 0 };
        Self(bits | tls | websocket)
    }

    /// The transport of the connection.
    pub const fn transport(self) -> Transport {
        match (self.0 & Self::TLS != 0, self.0 & Self::WEBSOCKET != 0) {
            (false, false) => Transport::Tcp,
            (true, false) => Transport::Tls,
            (false, true) => Transport::Ws,
            (true, true) => Transport::Wss,
        }
    }

    /// A flow from its number, as stored with a binding.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Its number.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether there is a connection at all.
    pub const fn is_some(self) -> bool {
        self.0 != 0
    }

    /// The shard that owns the connection.
    pub const fn shard(self) -> ShardIndex {
        ShardIndex((self.0 >> 56) as u8)
    }

    /// The slot of the connection within its shard.
    pub const fn slot(self) -> u32 {
        (self.0 >> 32) as u32 & 0x3f_ffff
    }

    /// The generation of that slot.
    pub const fn generation(self) -> u32 {
        self.0 as u32 & 0x7fff_ffff
    }
}

impl fmt::Debug for FlowToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_some() {
            write!(f, "flow {}/{}/{}", self.shard().0, self.slot(), self.generation())
        } else {
            f.write_str("no flow")
        }
    }
}

/// Where a message was received from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The transport it came over.
    pub transport: Transport,
    /// The sender's address as the kernel saw it. An IPv4 sender has an IPv4 address, never a mapped one.
    pub remote: SocketAddr,
    /// The concrete local address and port it was received at, also when the socket is bound to a wildcard.
    pub local: SocketAddr,
    /// Its connection; [`FlowToken::NONE`] for UDP.
    pub flow: FlowToken,
}

/// A name that a peer within TLS has to show a certificate for, as a number of one shard: [`crate::Shard::peer_name`] says
/// which name it is, for as long as that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerName(NonZeroU64);

impl PeerName {
    /// The name in `place`, in the use of that place which `generation` counts.
    pub(crate) fn new(place: u32, generation: u32) -> Self {
        Self(NonZeroU64::MIN.saturating_add(u64::from(generation) << 24 | u64::from(place & 0xff_ffff)))
    }

    pub(crate) fn place(self) -> u32 {
        (self.0.get() - 1) as u32 & 0xff_ffff
    }

    pub(crate) fn generation(self) -> u32 {
        ((self.0.get() - 1) >> 24) as u32
    }
}

/// The two ends of a connection that is opened where there is none yet (RFC 5923).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends {
    /// What is spoken over it: TCP, or TLS.
    pub transport: Transport,
    /// Whom it leads to.
    pub remote: SocketAddr,
    /// The address of ours that it starts from; `None` leaves that to the kernel.
    pub local: Option<IpAddr>,
    /// Within TLS: the name that led there, by which the peer has to be known (RFC 5922 §7.3). `None` where it was the
    /// address itself, which then has to stand in the peer's certificate.
    pub name: Option<PeerName>,
}

impl Ends {
    /// Those of a connection that is named by addresses alone.
    pub const fn new(transport: Transport, remote: SocketAddr, local: Option<IpAddr>) -> Self {
        Self { transport, remote, local, name: None }
    }
}

/// Where a message is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A datagram to `remote` from our socket at `local`.
    Udp {
        /// The receiver.
        remote: SocketAddr,
        /// The listening address it is sent from (its port names the socket, its IP the source address).
        local: SocketAddr,
    },
    /// Over a connection that exists, in whichever shard owns it.
    ///
    /// When it is gone the runtime connects to `fallback` where there is one (RFC 3261 §18.2.2), and
    /// reports a failure otherwise.
    Flow {
        /// The connection.
        flow: FlowToken,
        /// Where to connect when it is gone.
        fallback: Option<Ends>,
    },
    /// Over a stream: a connection of this shard between these ends is used again (RFC 5923), or one is opened.
    Connect(Ends),
}

impl Destination {
    /// The transport of that way.
    pub const fn transport(&self) -> Transport {
        match self {
            Self::Udp { .. } => Transport::Udp,
            Self::Flow { flow, .. } => flow.transport(),
            Self::Connect(ends) => ends.transport,
        }
    }
}

/// An address that the node listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Listener {
    /// Its transport.
    pub transport: Transport,
    /// The address it is bound to; the IP may be a wildcard, the port is never 0 once bound.
    pub addr: SocketAddr,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_token_keeps_its_parts_and_is_never_none() {
        let flow = FlowToken::new(ShardIndex(3), 70_000, 9);
        assert_eq!((flow.shard(), flow.slot(), flow.generation()), (ShardIndex(3), 70_000, 9));
        assert!(flow.is_some());
        assert!(FlowToken::new(ShardIndex(0), 0, 0).is_some());
        assert!(!FlowToken::NONE.is_some());
        assert_eq!(FlowToken::from_bits(flow.bits()), flow);
        assert_eq!(flow.transport(), Transport::Tcp);
        for transport in Transport::ALL.into_iter().filter(|transport| transport.is_reliable()) {
            let flow = flow.over(Transport::Wss).over(transport);
            assert_eq!(flow.transport(), transport);
            assert_eq!((flow.shard(), flow.slot(), flow.generation()), (ShardIndex(3), 70_000, 9));
        }
    }
}
