//! The data plane: one executor, one set of sockets and one [`sipfed_proto::Shard`] per core.
//!
//! A [`DataPlane`] is started with [`Options`] and runs until it is stopped. It owns one thread per shard,
//! pinned to its core; each thread owns a machine, its sockets and its connections, and shares nothing but
//! bounded queues with the others. Begin with `turn`, which is what such a thread does.
//!
//! # Rooms
//! - `turn`: one turn of a shard; `pace`: how long it waits for the next one.
//! - `udp`: datagrams in batches; `stream`: TCP connections and their framing.
//! - `mesh`: what crosses from shard to shard; `link`: what crosses to the control plane, and `administration`, its end;
//!   `directory`: what crosses to whoever keeps the global directory; `doorbell`: how a shard that is asleep learns of either.
//!   `names`: what crosses to whoever resolves names.
//! - `persistence`: the shard's end of its log, and how everything comes back from it.
//! - `replication`: what crosses to whoever speaks with the nodes that back this one up; `wake`: how either is woken.
//! - `runtime`: the executor, the one module that names glommio; `clock`: the time a shard is told.
//! - `bind`: the sockets, before any shard runs; `start`: the order of starting and stopping.
//! - `sys`: the system calls, and all of the crate's `unsafe`.
#![warn(missing_docs)]

mod administration;
mod bind;
mod clock;
mod directory;
mod doorbell;
mod error;
mod link;
mod mesh;
mod names;
mod pace;
mod persistence;
mod ready;
mod replication;
mod runtime;
mod start;
mod stream;
mod sys;
mod turn;
mod udp;
mod wake;

pub use administration::{Administration, Busy};
pub use directory::DirectoryLink;
pub use error::StartError;
pub use link::{Command, OwnedBinding, Reply};
pub use names::NamesQueues;
pub use persistence::{Durability, OnFailure, PersistenceOptions};
pub use replication::{ReplicaLink, ReplicationOptions};
pub use start::{Activity, DataPlane};

pub use wake::Wake;

use sipfed_proto::{Counters, Listener, Settings, ShardIndex};
use std::net::IpAddr;
use std::sync::Arc;

/// What the data plane is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The cores to run on, one shard each, in shard order. More shards than cores: name a core twice.
    pub cores: Vec<usize>,
    /// Where to listen. Port 0 lets the kernel choose one port that all shards then share.
    pub listeners: Vec<Listener>,
    /// An address that moves between this node and others: listeners at it are bound whether or not the host has it, and
    /// the shards begin passive.
    pub virtual_ip: Option<IpAddr>,
    /// The machine's settings; `listeners` and `own_addresses` are filled in once the sockets are bound.
    pub settings: Settings,
    /// Sockets and streams.
    pub sockets: SocketOptions,
    /// How bindings are kept beyond the life of the node; `None` keeps them in memory alone.
    pub persistence: Option<PersistenceOptions>,
    /// How the keeper of the global directory is woken; `None` where there is none.
    pub directory: Option<Wake>,
    /// How whoever resolves names is woken; `None` where nobody does.
    pub names: Option<Wake>,
    /// How bindings are kept on other nodes as well; `None` for a node that cannot have a backup.
    pub replication: Option<ReplicationOptions>,
}

/// Bounds and waits of sockets and streams.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    /// Bytes asked of the kernel for each UDP receive buffer (SO_RCVBUF).
    pub receive_buffer_bytes: usize,
    /// Bytes asked of the kernel for each UDP send buffer (SO_SNDBUF).
    pub send_buffer_bytes: usize,
    /// Longest wait, in microseconds, for more datagrams before a batch is taken; 0 takes each at once.
    pub coalesce_us: u32,
    /// Connections of one shard.
    pub connections_per_shard_max: u32,
    /// Seconds after which a connection without traffic is closed.
    pub stream_idle_s: u32,
    /// Milliseconds that opening a connection may take.
    pub connect_timeout_ms: u32,
    /// Bytes of one message on a stream; at most [`sipfed_proto::limits::MESSAGE_BYTES_MAX`].
    pub stream_message_bytes_max: usize,
    /// Bytes that may wait to be written to one connection.
    pub stream_write_bytes_max: usize,
    /// TLS of streams.
    pub tls: TlsOptions,
    /// WebSockets.
    pub websocket: WebSocketOptions,
}

/// TLS of streams, and its bounds.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// What connections at listeners for TLS begin with; needed where there is such a listener.
    pub server: Option<Arc<rustls::ServerConfig>>,
    /// What connections within TLS that the node opens begin with, and how it knows their peers; `None` opens none.
    pub client: Option<Arc<rustls::ClientConfig>>,
    /// Milliseconds that a handshake may take.
    pub handshake_timeout_ms: u32,
    /// Handshakes under way in one shard, of connections that it has accepted and of those that it opens apart; connections
    /// beyond are refused.
    pub handshakes_per_shard_max: u32,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self { server: None, client: None, handshake_timeout_ms: 5000, handshakes_per_shard_max: 1000 }
    }
}

/// How connections at listeners for WebSockets become such, and the bounds of that.
#[derive(Clone, Debug)]
pub struct WebSocketOptions {
    /// Where pages that connect may come from (RFC 6454 §6.2), such as `https://phone.example.com`; empty for anywhere.
    pub origins: Arc<[String]>,
    /// Milliseconds that the request for a WebSocket may take to come.
    pub upgrade_timeout_ms: u32,
    /// Connections of one shard that wait for their request; those beyond are refused.
    pub upgrades_per_shard_max: u32,
}

impl Default for WebSocketOptions {
    fn default() -> Self {
        Self { origins: Arc::default(), upgrade_timeout_ms: 5000, upgrades_per_shard_max: 1000 }
    }
}

/// What one shard reports.
#[derive(Clone, Debug)]
pub struct ShardReport {
    /// Which shard.
    pub shard: ShardIndex,
    /// Its counters.
    pub counters: Counters,
    /// Bindings it holds, those included that were removed and are only remembered.
    pub bindings: usize,
    /// Of these, those that are more than remembered.
    pub contacts: usize,
    /// AoRs that have one of those.
    pub homes: usize,
    /// Transactions that are open in it.
    pub open_transactions: usize,
    /// Connections it owns.
    pub connections: usize,
    /// What its log has done, where it keeps one.
    pub log: Option<sipfed_log::Statistics>,
}

#[cfg(test)]
mod tests;
