//! Next hops by name, and what becomes of a request whose next hop fails.

use super::cluster::ClusterConfig;
use super::forms;
use super::key::{Key, Kind, Unit, Wrong};
use super::node::NodeConfig;
use sipfed_proto::settings::NameSettings;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Its name in the file.
pub(super) const SECTION: &str = "names";

/// The port of DNS.
const DNS_PORT: u16 = 53;
/// Servers that are asked.
const SERVERS_COUNT_MAX: usize = 8;

/// How names of next hops are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamesConfig {
    /// Whether they are.
    pub(crate) resolve: bool,
    /// Who is asked; none for those of the host.
    pub(crate) servers: Vec<NameServer>,
    /// The shards' own.
    pub(crate) settings: NameSettings,
}

impl Default for NamesConfig {
    fn default() -> Self {
        Self { resolve: true, servers: Vec::new(), settings: NameSettings::default() }
    }
}

/// A server of DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NameServer {
    /// Whether it is asked over TCP alone; otherwise over UDP, and over TCP where an answer is cut.
    pub(crate) is_tcp: bool,
    /// Where it is.
    pub(crate) addr: SocketAddr,
}

impl fmt::Display for NameServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", if self.is_tcp { "tcp" } else { "udp" }, self.addr)
    }
}

fn add_server(config: &mut NodeConfig, text: &str) -> Result<(), Wrong> {
    let right = "write \"udp:\" or \"tcp:\" and an IP address, with a port where it is not 53: \"udp:192.0.2.53\"";
    let (is_tcp, rest) = match text.split_once(':') {
        Some(("udp", rest)) => (false, rest),
        Some(("tcp", rest)) => (true, rest),
        _ => return Err(Wrong::new("the transport is missing", right)),
    };
    let bare = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(rest);
    let addr = match (rest.parse::<SocketAddr>(), bare.parse::<IpAddr>()) {
        (Ok(addr), _) => addr,
        (_, Ok(ip)) => SocketAddr::new(ip, DNS_PORT),
        _ => return Err(Wrong::new("not an IP address, or one with a port", right)),
    };
    if addr.port() == 0 || addr.ip().is_unspecified() || addr.ip().is_multicast() {
        return Err(Wrong::new("nothing can be sent to this address", right));
    }
    config.names.servers.push(NameServer { is_tcp, addr });
    Ok(())
}

/// Every key whose value is a node's own.
pub(super) const OWN_KEYS: &[Key<NodeConfig>] = &[
    Key {
        section: "proxy",
        name: "foreign",
        what: "What becomes of a request for a domain that is not ours: `refuse` answers 403, a next hop gets it relayed. With a \
               name and without a port the name's SRV records count, with `sip:` its NAPTR records as well. Over TLS the next hop has \
               to show a certificate for what is written here.",
        kind: Kind::Text {
            form: "\"refuse\", or \"udp:\", \"tcp:\" or \"tls:\" and host:port or a name, or \"sip:name\"",
            get: |config| Some(forms::foreign_text(&config.foreign)),
            set: |config, text| {
                config.foreign = forms::foreign(text)?;
                Ok(())
            },
        },
    },
    Key {
        section: SECTION,
        name: "resolve",
        what: "Whether names are resolved at all. Otherwise a request whose next hop is a name is answered 502, and a contact \
               by name is reached where it registered from.",
        kind: Kind::Flag { get: |config| config.names.resolve, set: |config, value| config.names.resolve = value },
    },
    Key {
        section: SECTION,
        name: "servers",
        what: "The servers of DNS that are asked: over UDP, and over TCP where an answer is cut, or over TCP alone. None: those \
               of /etc/resolv.conf, with /etc/hosts before them; both are read again on SIGHUP.",
        kind: Kind::List {
            form: "\"udp:address\", \"udp:address:port\" or \"tcp:address:port\"",
            count_max: SERVERS_COUNT_MAX,
            get: |config| config.names.servers.iter().map(ToString::to_string).collect(),
            clear: |config| config.names.servers.clear(),
            add: add_server,
        },
    },
    Key {
        section: SECTION,
        name: "timeout_ms",
        what: "How long a request waits for the name of its next hop. Then it is answered 504, or goes to where its contact \
               registered from.",
        kind: Kind::Number {
            min: 100,
            max: 30_000,
            unit: Unit::Milliseconds,
            get: |config| Some(config.names.settings.timeout_ms.into()),
            set: |config, value| config.names.settings.timeout_ms = value as u32,
        },
    },
    Key {
        section: SECTION,
        name: "ttl_max_s",
        what: "For how long it is believed at most what a name leads to, whatever its records say.",
        kind: Kind::Number {
            min: 1,
            max: 86_400,
            unit: Unit::Seconds,
            get: |config| Some(config.names.settings.ttl_max_s.into()),
            set: |config, value| config.names.settings.ttl_max_s = value as u32,
        },
    },
    Key {
        section: SECTION,
        name: "cache_entries_max",
        what: "Names of which a shard remembers what they lead to; what was learnt longest ago makes room.",
        kind: Kind::Number {
            min: 100,
            max: 1_000_000,
            unit: Unit::Things,
            get: |config| Some(config.names.settings.cache_entries_max.into()),
            set: |config, value| config.names.settings.cache_entries_max = value as u32,
        },
    },
    Key {
        section: SECTION,
        name: "questions_max",
        what: "Names that a shard asks for at a time; a request that needs one more is answered 503.",
        kind: Kind::Number {
            min: 1,
            max: QUESTIONS_MAX,
            unit: Unit::Things,
            get: |config| Some(config.names.settings.questions_max.into()),
            set: |config, value| config.names.settings.questions_max = value as u32,
        },
    },
    Key {
        section: SECTION,
        name: "parked_messages_max",
        what: "Requests of a shard that wait for names, 16 MiB of them at most; one more is answered 503.",
        kind: Kind::Number {
            min: 1,
            max: 1_000_000,
            unit: Unit::Things,
            get: |config| Some(config.names.settings.parked_messages_max.into()),
            set: |config, value| config.names.settings.parked_messages_max = value as u32,
        },
    },
];

/// Answers to as many questions fit into the queue of a shard.
const QUESTIONS_MAX: u64 = 4000;

/// What becomes of a request whose next hop fails, or that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HopsConfig {
    /// Milliseconds.
    pub(crate) failover_ms: u32,
    /// Bytes of a request in a datagram.
    pub(crate) datagram_bytes_max: u32,
}

/// Every key that is equal on all nodes.
pub(super) const KEYS: &[Key<ClusterConfig>] = &[
    Key {
        section: "proxy",
        name: "failover_ms",
        what: "How long a next hop may say nothing to a request while there is another way to try: a further server of its name, \
               or a datagram after TCP.",
        kind: Kind::Number {
            min: 100,
            max: 32_000,
            unit: Unit::Milliseconds,
            get: |config| Some(config.hops.failover_ms.into()),
            set: |config, value| config.hops.failover_ms = value as u32,
        },
    },
    Key {
        section: "proxy",
        name: "datagram_bytes_max",
        what: "A longer request goes over TCP, where its next hop was not named with `transport=udp` and is no phone that \
               registered from there over UDP, and by datagram where that fails (RFC 3261 §18.1.1). 65535 turns it off.",
        kind: Kind::Number {
            min: 200,
            max: 65_535,
            unit: Unit::Bytes,
            get: |config| Some(config.hops.datagram_bytes_max.into()),
            set: |config, value| config.hops.datagram_bytes_max = value as u32,
        },
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_an_address_with_a_port_or_without() {
        let mut config = NodeConfig::default();
        for text in ["udp:192.0.2.53", "tcp:192.0.2.53:5353", "udp:2001:db8::1", "udp:[2001:db8::1]:54", "udp:[::1]"] {
            add_server(&mut config, text).unwrap();
        }
        let texts: Vec<String> = config.names.servers.iter().map(ToString::to_string).collect();
        let written = ["udp:192.0.2.53:53", "tcp:192.0.2.53:5353", "udp:[2001:db8::1]:53", "udp:[2001:db8::1]:54"];
        assert_eq!(texts[..4], written);
        for text in ["192.0.2.53", "udp:ns.example", "tls:192.0.2.53", "udp:0.0.0.0", "udp:192.0.2.53:0"] {
            assert!(add_server(&mut config, text).is_err(), "{text}");
        }
    }
}
