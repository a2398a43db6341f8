//! What is this node's own: its addresses, its sizes, its logs.

use super::forms::{self, SipAddress};
use super::key::{Key, Kind, Unit, Wrong};
use super::links::TlsFiles;
use super::names::NamesConfig;
use super::ops::OpsConfig;
use super::tls::PhoneTls;
use crate::cluster::{Id, SqlUrl};
use crate::ownership::Mode;
use sipfed_directory::UrlError;
use sipfed_proto::settings::{Foreign, ProxySettings, RegistrarSettings};
use sipfed_proto::{Listener, Transport, limits};
use sipfed_shards::{Durability, OnFailure, SocketOptions, TlsOptions, WebSocketOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// The keys that differ from node to node.
#[derive(Clone, Debug)]
pub(crate) struct NodeConfig {
    /// How many shards; `None` for one on every core.
    pub(crate) shards: Option<u8>,
    /// Where to listen.
    pub(crate) listen: Vec<Listener>,
    /// What stands in Via and Record-Route instead of the local address.
    pub(crate) advertised_host: Option<String>,
    /// The Server header field; empty for none.
    pub(crate) server_header: String,
    /// Routes handed to phones.
    pub(crate) service_route: Vec<String>,
    /// Most bindings of one shard.
    pub(crate) bindings_per_shard_max: u32,
    /// Most server transactions of one shard.
    pub(crate) transactions_per_shard_max: u32,
    /// Where requests for other domains go.
    pub(crate) foreign: Foreign,
    /// How names of next hops are resolved.
    pub(crate) names: NamesConfig,
    /// What phones are shown over TLS.
    pub(crate) phone_tls: PhoneTls,
    /// Sockets and streams.
    pub(crate) sockets: SocketOptions,
    /// What a 200 to a REGISTER survives; `None` for nothing.
    pub(crate) durability: Option<Durability>,
    /// The data directory; `None` for the usual place.
    pub(crate) data_directory: Option<PathBuf>,
    /// What happens while the disk does not follow.
    pub(crate) on_disk_failure: OnFailure,
    /// Under which other nodes reach this one, as it is published.
    pub(crate) home: Option<SipAddress>,
    /// The database that has the table of the cluster's nodes.
    pub(crate) db_url: Option<SqlUrl>,
    /// Milliseconds that reading it may take.
    pub(crate) db_timeout_ms: u32,
    /// Which of the nodes this one is.
    pub(crate) current_id: Option<Id>,
    /// What decides whether it is the active one of its home.
    pub(crate) ownership: Mode,
    /// By what other nodes know this one, and it knows them.
    pub(crate) tls: TlsFiles,
    /// The commands that this node does for others, by their names.
    pub(crate) remote_commands: Vec<String>,
    /// The form of log lines.
    pub(crate) log_format: LogFormat,
    /// The least severe lines that are written.
    pub(crate) log_level: LogLevel,
    /// Seconds that open transactions are waited for.
    pub(crate) drain_s: u32,
    /// The management interface.
    pub(crate) ops: OpsConfig,
    /// Seconds that a backup may take to take the home over from a node that stops.
    pub(crate) hand_over_s: u32,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people; coloured on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// The least severe lines that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogLevel {
    /// What stops the node.
    Error,
    /// What an operator should look at.
    Warn,
    /// Start, stop and reports.
    Info,
    /// Steps in between.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// Its word in the file and on the command line.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Addresses that one node may listen at.
pub(crate) const LISTENERS_COUNT_MAX: usize = 16;
/// Routes that a 200 to REGISTER may name.
const SERVICE_ROUTES_COUNT_MAX: usize = 4;
/// The ceiling of buffers of the kernel: SO_RCVBUF is a signed number that the kernel doubles.
const SOCKET_BUFFER_BYTES_MAX: u64 = 1 << 30;

impl Default for NodeConfig {
    fn default() -> Self {
        let registrar = RegistrarSettings::default();
        let proxy = ProxySettings::default();
        let sip_port = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 5060));
        Self {
            shards: None,
            listen: [Transport::Udp, Transport::Tcp].map(|transport| Listener { transport, addr: sip_port }).to_vec(),
            advertised_host: None,
            server_header: "sipfed".to_owned(),
            service_route: registrar.service_route,
            bindings_per_shard_max: registrar.bindings_per_shard_max,
            transactions_per_shard_max: proxy.transactions_per_shard_max,
            foreign: proxy.foreign,
            names: NamesConfig::default(),
            phone_tls: PhoneTls::default(),
            sockets: SocketOptions {
                receive_buffer_bytes: 4 << 20,
                send_buffer_bytes: 4 << 20,
                coalesce_us: 2000,
                connections_per_shard_max: 20_000,
                stream_idle_s: 7200,
                connect_timeout_ms: 5000,
                stream_message_bytes_max: limits::MESSAGE_BYTES_MAX,
                stream_write_bytes_max: 256 << 10,
                tls: TlsOptions::default(),
                websocket: WebSocketOptions::default(),
            },
            durability: Some(Durability::Process),
            data_directory: None,
            on_disk_failure: OnFailure::Refuse,
            home: None,
            db_url: None,
            db_timeout_ms: 5000,
            current_id: None,
            ownership: Mode::Address,
            tls: TlsFiles::default(),
            remote_commands: crate::ops::READ_ONLY.iter().map(ToString::to_string).collect(),
            log_format: LogFormat::Text,
            log_level: LogLevel::Info,
            drain_s: 5,
            ops: OpsConfig::default(),
            hand_over_s: 5,
        }
    }
}

/// Every key whose value goes into a [`NodeConfig`].
pub(crate) const KEYS: &[Key<NodeConfig>] = &[
    Key {
        section: "node",
        name: "shards",
        what: "How many shards, one thread each. Left out: one on every core that the process may use.",
        kind: Kind::Number {
            min: 1,
            max: limits::SHARDS_COUNT_MAX as u64,
            unit: Unit::Things,
            get: |config| config.shards.map(u64::from),
            set: |config, value| config.shards = Some(value as u8),
        },
    },
    Key {
        section: "node",
        name: "listen",
        what: "Addresses to listen at, over IPv4 or IPv6 (`\"udp:[::]:5060\"`). Port 0 lets the kernel choose.",
        kind: Kind::List {
            form: "\"transport:address:port\", where transport is udp, tcp, tls, ws or wss",
            count_max: LISTENERS_COUNT_MAX,
            get: |config| config.listen.iter().map(forms::listener_text).collect(),
            clear: |config| config.listen.clear(),
            add: add_listener,
        },
    },
    Key {
        section: "node",
        name: "advertised_host",
        what: "Name or address put into Via and Record-Route. Left out: the local address that a message leaves from.",
        kind: Kind::Text {
            form: "host name or IP address",
            get: |config| config.advertised_host.clone(),
            set: |config, text| {
                config.advertised_host = Some(forms::host(text)?);
                Ok(())
            },
        },
    },
    Key {
        section: "node",
        name: "server_header",
        what: "Text of the Server header field of responses; empty for none.",
        kind: Kind::Text {
            form: "up to 64 printable characters",
            get: |config| Some(config.server_header.clone()),
            set: |config, text| {
                config.server_header = forms::header_text(text)?;
                Ok(())
            },
        },
    },
    Key {
        section: "registrar",
        name: "service_route",
        what: "Service-Route URIs handed to phones (RFC 3608), each as it stands between `<` and `>`.",
        kind: Kind::List {
            form: "SIP URIs with lr",
            count_max: SERVICE_ROUTES_COUNT_MAX,
            get: |config| config.service_route.clone(),
            clear: |config| config.service_route.clear(),
            add: add_service_route,
        },
    },
    Key {
        section: "registrar",
        name: "bindings_per_shard_max",
        what: "Bindings of one shard; one more is refused with 503.",
        kind: Kind::Number {
            min: 1,
            max: 100_000_000,
            unit: Unit::Things,
            get: |config| Some(config.bindings_per_shard_max.into()),
            set: |config, value| config.bindings_per_shard_max = value as u32,
        },
    },
    Key {
        section: "proxy",
        name: "transactions_per_shard_max",
        what: "Server transactions of one shard; one more is refused with 503.",
        kind: Kind::Number {
            min: 1,
            max: 10_000_000,
            unit: Unit::Things,
            get: |config| Some(config.transactions_per_shard_max.into()),
            set: |config, value| config.transactions_per_shard_max = value as u32,
        },
    },
    Key {
        section: "udp",
        name: "receive_buffer_bytes",
        what: "Asked of the kernel for the receive buffer of each socket (SO_RCVBUF); net.core.rmem_max bounds it.",
        kind: Kind::Number {
            min: 4096,
            max: SOCKET_BUFFER_BYTES_MAX,
            unit: Unit::Bytes,
            get: |config| Some(config.sockets.receive_buffer_bytes as u64),
            set: |config, value| config.sockets.receive_buffer_bytes = value as usize,
        },
    },
    Key {
        section: "udp",
        name: "send_buffer_bytes",
        what: "Asked of the kernel for the send buffer of each socket (SO_SNDBUF); net.core.wmem_max bounds it.",
        kind: Kind::Number {
            min: 4096,
            max: SOCKET_BUFFER_BYTES_MAX,
            unit: Unit::Bytes,
            get: |config| Some(config.sockets.send_buffer_bytes as u64),
            set: |config, value| config.sockets.send_buffer_bytes = value as usize,
        },
    },
    Key {
        section: "udp",
        name: "coalesce_us",
        what: "Longest wait of a shard under load for more datagrams before it takes a batch: it saves wake-ups, and comes late by no more than this; 0 takes each datagram at once.",
        kind: Kind::Number {
            min: 0,
            max: 10_000,
            unit: Unit::Microseconds,
            get: |config| Some(config.sockets.coalesce_us.into()),
            set: |config, value| config.sockets.coalesce_us = value as u32,
        },
    },
    Key {
        section: "tcp",
        name: "connections_per_shard_max",
        what: "Connections of one shard; one more is closed at once. The limit of open files may lower it.",
        kind: Kind::Number {
            min: 1,
            max: 1_000_000,
            unit: Unit::Things,
            get: |config| Some(config.sockets.connections_per_shard_max.into()),
            set: |config, value| config.sockets.connections_per_shard_max = value as u32,
        },
    },
    Key {
        section: "tcp",
        name: "idle_s",
        what: "A connection without traffic for this long is closed. The default outlasts the refresh interval of every registration, so that phones without keep-alives stay reachable.",
        kind: Kind::Number {
            min: 10,
            max: 86_400,
            unit: Unit::Seconds,
            get: |config| Some(config.sockets.stream_idle_s.into()),
            set: |config, value| config.sockets.stream_idle_s = value as u32,
        },
    },
    Key {
        section: "tcp",
        name: "connect_timeout_ms",
        what: "How long opening a connection may take.",
        kind: Kind::Number {
            min: 50,
            max: 32_000,
            unit: Unit::Milliseconds,
            get: |config| Some(config.sockets.connect_timeout_ms.into()),
            set: |config, value| config.sockets.connect_timeout_ms = value as u32,
        },
    },
    Key {
        section: "tcp",
        name: "message_bytes_max",
        what: "The longest message; a connection that announces a longer one is closed.",
        kind: Kind::Number {
            min: 1500,
            max: limits::MESSAGE_BYTES_MAX as u64,
            unit: Unit::Bytes,
            get: |config| Some(config.sockets.stream_message_bytes_max as u64),
            set: |config, value| config.sockets.stream_message_bytes_max = value as usize,
        },
    },
    Key {
        section: "tcp",
        name: "write_buffer_bytes_max",
        what: "What may wait to be written to one connection; a message that would exceed it is dropped and counted.",
        kind: Kind::Number {
            min: limits::MESSAGE_BYTES_MAX as u64 + 1,
            max: 16 << 20,
            unit: Unit::Bytes,
            get: |config| Some(config.sockets.stream_write_bytes_max as u64),
            set: |config, value| config.sockets.stream_write_bytes_max = value as usize,
        },
    },
    Key {
        section: "persistence",
        name: "durability",
        what: "What a 200 to a REGISTER survives: `none` keeps bindings in memory alone, `process` survives the death of \
               the process, `disk` a loss of power, at the price of a wait for the disk.",
        kind: Kind::Choice {
            words: &["none", "process", "disk"],
            get: |config| durability_word(config.durability),
            set: |config, word| config.durability = durability(word),
        },
    },
    Key {
        section: "persistence",
        name: "directory",
        what: "Where bindings are kept: a folder of this node alone. Left out: what systemd names as its state directory, \
               else `/var/lib/sipfed` for root and `~/.local/state/sipfed` for others.",
        kind: Kind::Text {
            form: "absolute path",
            get: |config| config.data_directory.as_ref().map(|path| path.display().to_string()),
            set: |config, text| {
                config.data_directory = Some(forms::absolute_path(text)?);
                Ok(())
            },
        },
    },
    Key {
        section: "persistence",
        name: "on_failure",
        what: "What happens while the disk is full, has failed or is too slow: `refuse` answers REGISTER with 503, `serve` \
               accepts it although a restart would forget it. Calls go on.",
        kind: Kind::Choice {
            words: &["refuse", "serve"],
            get: |config| match config.on_disk_failure {
                OnFailure::Refuse => "refuse",
                OnFailure::Serve => "serve",
            },
            set: |config, word| {
                config.on_disk_failure = if word == "serve" { OnFailure::Serve } else { OnFailure::Refuse };
            },
        },
    },
    Key {
        section: "directory",
        name: "home",
        what: "The address under which other nodes reach this one, as it is published (OpenSIPS's `sip_addr`). Without a \
               port, 5060 is meant. Left out with a `[cluster]`, which has it.",
        kind: Kind::Text {
            form: "\"address\" or \"address:port\"",
            get: |config| config.home.as_ref().map(ToString::to_string),
            set: |config, text| {
                config.home = Some(forms::sip_address(text)?);
                Ok(())
            },
        },
    },
    Key {
        section: "cluster",
        name: "db_url",
        what: "The database with the table of the nodes (OpenSIPS's `db_url` of clusterer). It is read at the start and on \
               SIGHUP; while it is away, the copy in the data directory serves. Left out: the nodes are those of \
               `[[cluster.node]]`, if any.",
        kind: Kind::Text {
            form: "URL, see below",
            get: |config| config.db_url.as_ref().map(ToString::to_string),
            set: |config, text| {
                let url = text.parse().map_err(|UrlError { what, right }| Wrong { what, right })?;
                config.db_url = Some(url);
                Ok(())
            },
        },
    },
    Key {
        section: "cluster",
        name: "db_timeout_ms",
        what: "How long reading the table may take, from the connection to the last row.",
        kind: Kind::Number {
            min: 100,
            max: 60_000,
            unit: Unit::Milliseconds,
            get: |config| Some(config.db_timeout_ms.into()),
            set: |config, value| config.db_timeout_ms = value as u32,
        },
    },
    Key {
        section: "cluster",
        name: "current_id",
        what: "Which of the nodes this one is, by its `node_id` (OpenSIPS's `current_id` of clusterer, `my_node_id` in \
               its newer releases).",
        kind: Kind::Number {
            min: 1,
            max: Id::MAX,
            unit: Unit::Things,
            get: |config| config.current_id.map(|id| id.get().into()),
            set: |config, value| config.current_id = Id::new(value),
        },
    },
    Key {
        section: "cluster",
        name: "ownership",
        what: "What decides which of the nodes with one `sip_addr` is the active one: `address`, that its host has the \
               address now, as the kernel says; `command`, that it was told so last (`nh_enable_ping`, a sharing tag), also \
               after a restart. A node whose `sip_addr` no other node has is always active.",
        kind: Kind::Choice {
            words: &["address", "command"],
            get: |config| config.ownership.word(),
            set: |config, word| {
                config.ownership = if word == "command" { Mode::Command } else { Mode::Address };
            },
        },
    },
    Key {
        section: "log",
        name: "format",
        what: "`text` is for people and coloured on a terminal; `json` writes one object a line. Both go to stderr.",
        kind: Kind::Choice {
            words: &["text", "json"],
            get: |config| match config.log_format {
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            },
            set: |config, word| {
                config.log_format = if word == "text" { LogFormat::Text } else { LogFormat::Json };
            },
        },
    },
    Key {
        section: "log",
        name: "level",
        what: "The least severe lines that are written. No level writes a line for each message.",
        kind: Kind::Choice {
            words: &["error", "warn", "info", "debug", "trace"],
            get: |config| config.log_level.word(),
            set: |config, word| {
                config.log_level =
                    LogLevel::ALL.into_iter().find(|level| level.word() == word).unwrap_or(LogLevel::Info);
            },
        },
    },
    Key {
        section: "stop",
        name: "drain_s",
        what: "How long a stopping node waits for open transactions to end. New requests are answered 503 meanwhile.",
        kind: Kind::Number {
            min: 0,
            max: 600,
            unit: Unit::Seconds,
            get: |config| Some(config.drain_s.into()),
            set: |config, value| config.drain_s = value as u32,
        },
    },
    Key {
        section: "stop",
        name: "hand_over_s",
        what: "How long a stopping node that is the active one of its home goes on serving until a backup has taken over, before it \
               drains; 0 for not at all. It waits only while a backup has all of its bindings.",
        kind: Kind::Number {
            min: 0,
            max: 600,
            unit: Unit::Seconds,
            get: |config| Some(config.hand_over_s.into()),
            set: |config, value| config.hand_over_s = value as u32,
        },
    },
];

/// The word of `persistence.durability` for it.
pub(crate) const fn durability_word(durability: Option<Durability>) -> &'static str {
    match durability {
        None => "none",
        Some(Durability::Process) => "process",
        Some(Durability::Disk) => "disk",
    }
}

/// What a word of `persistence.durability` means; any but the three is the default.
pub(crate) fn durability(word: &str) -> Option<Durability> {
    match word {
        "none" => None,
        "disk" => Some(Durability::Disk),
        _ => Some(Durability::Process),
    }
}

fn add_listener(config: &mut NodeConfig, text: &str) -> Result<(), Wrong> {
    let listener = forms::listener(text)?;
    // Several ports of the kernel's choice are several listeners.
    if listener.addr.port() != 0 && config.listen.contains(&listener) {
        return Err(Wrong::new("this address stands here twice", "remove one of the two"));
    }
    config.listen.push(listener);
    Ok(())
}

fn add_service_route(config: &mut NodeConfig, text: &str) -> Result<(), Wrong> {
    let route = forms::route_uri(text)?;
    config.service_route.push(route);
    Ok(())
}
