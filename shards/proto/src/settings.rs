//! What configuration decides for a shard, as types that are already valid.
//!
//! Made once by the control plane from the configuration file and shared, unchanged, by all shards of the
//! node. Units stand in the names.

use crate::hop::Listener;
use crate::limits;
pub use crate::location::{Matching, Ping};
pub use crate::nat::{Sign, Signs};
pub use crate::policy::{PathMode, Pattern, PingWith, Rule, Then, When};
use std::net::{IpAddr, SocketAddr};

/// Everything a shard is configured with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The number of the node among those that share its secret.
    pub node: u16,
    /// Domains this node is the registrar of, in lower case; an IP address is written without brackets.
    /// The first stands for `tel` URIs.
    pub domains: Vec<String>,
    /// Whether a request whose host is one of the node's own addresses is for a domain of ours.
    pub own_addresses_are_domains: bool,
    /// The bound listeners.
    pub listeners: Vec<Listener>,
    /// Every address that a wildcard listener answers at.
    pub own_addresses: Vec<IpAddr>,
    /// The name or address to put into Via and Record-Route instead of the local address.
    pub advertised_host: Option<String>,
    /// Text of the Server header field; empty for none.
    pub server_header: String,
    /// The registrar's.
    pub registrar: RegistrarSettings,
    /// The proxy's.
    pub proxy: ProxySettings,
    /// For phones behind NATs.
    pub nat: NatSettings,
    /// What is done with which requests; at most [`limits::RULES_COUNT_MAX`] rules.
    pub policy: Vec<Rule>,
    /// RFC 3261 §17 timers.
    pub timers: TimerSettings,
    /// The federation's; `None` for a node that stands alone.
    pub directory: Option<DirectorySettings>,
    /// For next hops by name; `None` where names are not resolved.
    pub names: Option<NameSettings>,
}

/// How names of next hops are resolved (RFC 3263).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameSettings {
    /// Milliseconds that a request waits for a name; then it goes on as if nobody could say.
    pub timeout_ms: u32,
    /// Names of which one shard remembers what they lead to.
    pub cache_entries_max: u32,
    /// Seconds for which that is believed at most.
    pub ttl_max_s: u32,
    /// Requests of one shard that wait for names.
    pub parked_messages_max: u32,
    /// Names that one shard asks for at a time.
    pub questions_max: u32,
}

impl Default for NameSettings {
    fn default() -> Self {
        Self {
            timeout_ms: 3000,
            cache_entries_max: 10_000,
            ttl_max_s: 3600,
            parked_messages_max: 4096,
            questions_max: 1024,
        }
    }
}

/// How a node takes part in a federation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectorySettings {
    /// `address` or `address:port` under which the other nodes reach this one, as it is published.
    pub home: String,
    /// The homes of the other nodes: a request from one of these addresses is looked up here alone.
    pub peers: Vec<String>,
    /// What all nodes share, to know each other's requests also where these seem to come from elsewhere.
    pub secret: Option<String>,
    /// Milliseconds that a request waits for the homes of its AoR; then it goes on with what is known.
    pub lookup_deadline_ms: u32,
    /// Milliseconds for which it is believed that nobody else has an AoR; 0 asks each time.
    pub negative_cache_ms: u32,
    /// Seconds for which the homes of an AoR are remembered, for use while the store does not answer; 0 for not at all.
    pub stale_cache_s: u32,
    /// Milliseconds after which another home that has said nothing to an INVITE is given up, and left out for a while.
    pub home_timeout_ms: u32,
    /// How many peers a request is sent to while the store does not answer and nothing is remembered; 0 for none.
    pub ask_peers_max: u8,
}

impl Default for DirectorySettings {
    fn default() -> Self {
        Self {
            home: String::new(),
            peers: Vec::new(),
            secret: None,
            lookup_deadline_ms: 200,
            negative_cache_ms: 1000,
            stale_cache_s: 3600,
            home_timeout_ms: 3000,
            ask_peers_max: 8,
        }
    }
}

/// What tells that a phone is behind a NAT, and how phones are pinged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NatSettings {
    /// The signs that count.
    pub signs: Signs,
    /// The pinger's.
    pub ping: PingSettings,
}

/// How phones are pinged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PingSettings {
    /// Seconds from one ping of a phone to the next; 0 for no pings at all.
    pub interval_s: u32,
    /// The shortest and the longest that is learned for the NATs of a network; 0 for no other than that.
    pub interval_min_s: u32,
    /// See there.
    pub interval_max_s: u32,
    /// What a phone is pinged with, where nothing else is said of it.
    pub kind: Ping,
    /// Whether only phones behind a NAT are pinged, where nothing else is said of them.
    pub only_natted: bool,
    /// Pings in a row that are not answered before a binding may end.
    pub lost_max: u8,
    /// Milliseconds after which the ping that may end a binding counts as not answered.
    pub threshold_ms: u32,
    /// The method of a ping that is a request.
    pub method: String,
    /// The URI in its From.
    pub from: String,
    /// What a ping is that is no request.
    pub bytes: PingBytes,
    /// Status codes that are no answer.
    pub ignored_codes: Vec<u16>,
    /// Most pings that all shards together send in a second; 0 for any number.
    pub packets_per_s_max: u32,
}

/// What a ping is that is no request; over a stream always a double CRLF (RFC 5626 §3.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PingBytes {
    /// Two line ends.
    Crlf,
    /// Four bytes that are 0, as OpenSIPS sends them.
    Zeros,
}

impl Default for PingSettings {
    fn default() -> Self {
        Self {
            interval_s: 0,
            interval_min_s: 0,
            interval_max_s: 0,
            kind: Ping::Request { ends_unanswered: false },
            only_natted: true,
            lost_max: 3,
            threshold_ms: 3000,
            method: "OPTIONS".to_owned(),
            from: "sip:ping@sipfed.invalid".to_owned(),
            bytes: PingBytes::Zeros,
            ignored_codes: Vec::new(),
            packets_per_s_max: 0,
        }
    }
}

/// RFC 3261 §10.3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrarSettings {
    /// Seconds granted when a REGISTER asks for none.
    pub default_expires_s: u32,
    /// Fewest seconds granted; asking for fewer (but not 0) is answered 423.
    pub min_expires_s: u32,
    /// Most seconds granted; asking for more is granted this.
    pub max_expires_s: u32,
    /// Percent by which a granted time may be shortened at random, so that refreshes spread; 0 for none.
    pub expires_jitter_percent: u8,
    /// Bindings per AoR.
    pub max_contacts: u8,
    /// What happens to one binding too many.
    pub overflow: Overflow,
    /// Service-Route URIs handed to the phone (RFC 3608), each as it stands between `<` and `>`.
    pub service_route: Vec<String>,
    /// Whether GRUUs are handed out (RFC 5627).
    pub gruu: bool,
    /// Seconds told to phones that keep flows as the longest silence on them (Flow-Timer, RFC 5626 §5.4); 0 for nothing.
    pub flow_timer_s: u32,
    /// What becomes of a binding whose connection has ended.
    pub lost_flow: LostFlow,
    /// Most bindings of one shard; one more is refused with 503.
    pub bindings_per_shard_max: u32,
}

/// What happens to one binding too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The REGISTER is refused with 403.
    Refuse,
    /// The binding that was refreshed longest ago makes room.
    EvictOldest,
}

/// What becomes of a binding whose connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostFlow {
    /// It is kept, and a call opens a connection to its Contact; one of RFC 5626 (reg-id) is skipped.
    Connect,
    /// It is kept and skipped until it is registered again.
    Skip,
    /// It is removed.
    Remove,
}

/// RFC 3261 §16.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxySettings {
    /// What becomes of a request for a domain that is not ours.
    pub foreign: Foreign,
    /// Seconds that a phone may ring: Timer C (RFC 3261 §16.6 step 11), more than 180.
    pub timer_c_s: u32,
    /// Whether branches of unequal q are tried one group after another.
    pub serial_by_q: bool,
    /// Seconds that a q group may ring before it is cancelled and the next one is tried.
    pub serial_group_s: u32,
    /// Most server transactions of one shard; one more is refused with 503.
    pub transactions_per_shard_max: u32,
    /// Seconds named in Retry-After.
    pub retry_after_s: u32,
    /// Milliseconds for which a next hop may say nothing to a request while there is another way to try.
    pub failover_ms: u32,
    /// Bytes of a request that may leave in a datagram where nobody has named its transport (RFC 3261 §18.1.1).
    pub datagram_bytes_max: u32,
}

/// What becomes of a request for a domain that is not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// It is refused with 403.
    Refuse,
    /// It is relayed to this address.
    Relay(crate::hop::Transport, SocketAddr),
    /// It is relayed to what this name leads to (RFC 3263).
    RelayByName(NextHop),
}

impl Foreign {
    /// Whether it is a next hop that is reached over nothing within TLS.
    pub(crate) fn is_insecure(&self) -> bool {
        match self {
            Self::Refuse => false,
            Self::Relay(transport, _) => !transport.is_secured(),
            Self::RelayByName(hop) => hop.transport.is_some_and(|transport| !transport.is_secured()),
        }
    }
}

/// A next hop by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// `None` where DNS says it.
    pub transport: Option<crate::hop::Transport>,
    /// A host or a domain.
    pub name: Box<str>,
    /// `None` where DNS says it.
    pub port: Option<u16>,
}

/// RFC 3261 §17, table 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerSettings {
    /// Estimate of the round-trip time, milliseconds.
    pub t1_ms: u32,
    /// Longest interval between retransmissions, milliseconds.
    pub t2_ms: u32,
    /// Longest time a message stays in the network, milliseconds.
    pub t4_ms: u32,
}

impl TimerSettings {
    /// How long a client takes until its Timer E is reset to T2: when a non-INVITE request is answered 100
    /// (RFC 4320 §4.1).
    pub(crate) fn non_invite_trying_ms(&self) -> u64 {
        let (mut interval, mut total) = (u64::from(self.t1_ms.max(1)), 0);
        while interval < u64::from(self.t2_ms) {
            total += interval;
            interval *= 2;
        }
        total.max(u64::from(self.t1_ms))
    }
}

impl Default for TimerSettings {
    fn default() -> Self {
        Self { t1_ms: 500, t2_ms: 4000, t4_ms: 5000 }
    }
}

impl Default for RegistrarSettings {
    fn default() -> Self {
        Self {
            default_expires_s: 3600,
            min_expires_s: 60,
            max_expires_s: 7200,
            expires_jitter_percent: 0,
            max_contacts: 16,
            overflow: Overflow::Refuse,
            service_route: Vec::new(),
            gruu: true,
            flow_timer_s: 0,
            lost_flow: LostFlow::Connect,
            bindings_per_shard_max: 20_000_000,
        }
    }
}

impl Default for ProxySettings {
    fn default() -> Self {
        Self {
            foreign: Foreign::Refuse,
            timer_c_s: 181,
            serial_by_q: true,
            serial_group_s: 15,
            transactions_per_shard_max: 500_000,
            retry_after_s: limits::RETRY_AFTER_S,
            failover_ms: 3000,
            datagram_bytes_max: 1300,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            node: 0,
            domains: Vec::new(),
            own_addresses_are_domains: true,
            listeners: Vec::new(),
            own_addresses: Vec::new(),
            advertised_host: None,
            server_header: String::new(),
            registrar: RegistrarSettings::default(),
            proxy: ProxySettings::default(),
            nat: NatSettings::default(),
            policy: Vec::new(),
            timers: TimerSettings::default(),
            directory: None,
            names: None,
        }
    }
}
