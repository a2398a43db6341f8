//! What has to be equal on every node of a cluster: what a phone may notice when another node answers it.

use super::forms::{self, SipAddress};
use super::key::{Key, Kind, Unit, Wrong};
use super::links::{LinksConfig, ReplicationConfig};
use super::member::ProvisioningConfig;
use super::names::HopsConfig;
use super::nat::NatConfig;
use crate::cluster::Id;
use sipfed_directory::{Schema, StoreUrl, UrlError};
use sipfed_proto::limits;
use sipfed_proto::settings::{DirectorySettings, LostFlow, Overflow, RegistrarSettings, Rule, TimerSettings};

/// The keys that all nodes of a cluster share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClusterConfig {
    /// Domains that the cluster is the registrar of.
    pub(crate) domains: Vec<String>,
    /// Whether a node's own addresses count as domains.
    pub(crate) own_addresses_are_domains: bool,
    /// RFC 3261 §10.3; its routes and its bound on bindings are the node's own.
    pub(crate) registrar: RegistrarSettings,
    /// Timer C.
    pub(crate) timer_c_s: u32,
    /// Whether q groups are tried one after another.
    pub(crate) serial_by_q: bool,
    /// Seconds for each of these groups.
    pub(crate) serial_group_s: u32,
    /// Seconds in Retry-After.
    pub(crate) retry_after_s: u32,
    /// Next hops that fail.
    pub(crate) hops: HopsConfig,
    /// RFC 3261 §17.
    pub(crate) timers: TimerSettings,
    /// Phones behind NATs.
    pub(crate) nat: NatConfig,
    /// What is done with which requests.
    pub(crate) policy: Vec<Rule>,
    /// The directory of the federation.
    pub(crate) directory: DirectoryConfig,
    /// The nodes, and which of several clusters they are.
    pub(crate) provisioning: ProvisioningConfig,
    /// How they are linked.
    pub(crate) links: LinksConfig,
    /// Hot backup.
    pub(crate) replication: ReplicationConfig,
}

/// Where nodes publish whose home they are, and how the homes of others are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DirectoryConfig {
    /// The store; `None` for a node that stands alone.
    pub(crate) url: Option<StoreUrl>,
    /// How its rows look.
    pub(crate) schema: Schema,
    /// Whether tables and indexes that are missing are made.
    pub(crate) create: bool,
    /// The other nodes; what comes from them is looked up locally only.
    pub(crate) peers: Vec<SipAddress>,
    /// What all nodes share; `None` for nodes that know each other by address alone.
    pub(crate) secret: Option<String>,
    /// Milliseconds that a request waits for the store.
    pub(crate) lookup_deadline_ms: u32,
    /// Milliseconds that an answer without a home is kept.
    pub(crate) negative_cache_ms: u32,
    /// Seconds that the last known homes serve while the store does not answer.
    pub(crate) stale_cache_s: u32,
    /// Milliseconds that another home may say nothing to an INVITE.
    pub(crate) home_timeout_ms: u32,
    /// How many peers are asked directly while the store does not answer.
    pub(crate) ask_peers_max: u8,
    /// Seconds after which a row ends unless it is written again; 0 for never.
    pub(crate) lease_s: u32,
    /// Seconds between two comparisons of this node's rows with its bindings; 0 for none.
    pub(crate) reconcile_interval_s: u32,
    /// Rows a second that a comparison reads.
    pub(crate) reconcile_rows_per_s: u32,
    /// Milliseconds that one request to the store may take.
    pub(crate) timeout_ms: u32,
    /// Changes that wait for the store.
    pub(crate) pending_max: u32,
}

impl Default for DirectoryConfig {
    fn default() -> Self {
        // What the machine goes by has its default there.
        let DirectorySettings {
            lookup_deadline_ms,
            negative_cache_ms,
            stale_cache_s,
            home_timeout_ms,
            ask_peers_max,
            secret,
            ..
        } = DirectorySettings::default();
        Self {
            url: None,
            schema: Schema::Native,
            create: true,
            peers: Vec::new(),
            secret,
            lookup_deadline_ms,
            negative_cache_ms,
            stale_cache_s,
            home_timeout_ms,
            ask_peers_max,
            lease_s: 86_400,
            reconcile_interval_s: 21_600,
            reconcile_rows_per_s: 20_000,
            timeout_ms: 2000,
            pending_max: 1_000_000,
        }
    }
}

impl Default for ClusterConfig {
    fn default() -> Self {
        let sipfed_proto::Settings { domains, own_addresses_are_domains, registrar, proxy, timers, .. } =
            sipfed_proto::Settings::default();
        Self {
            domains,
            own_addresses_are_domains,
            registrar,
            timer_c_s: proxy.timer_c_s,
            serial_by_q: proxy.serial_by_q,
            serial_group_s: proxy.serial_group_s,
            retry_after_s: proxy.retry_after_s,
            hops: HopsConfig { failover_ms: proxy.failover_ms, datagram_bytes_max: proxy.datagram_bytes_max },
            timers,
            directory: DirectoryConfig::default(),
            provisioning: ProvisioningConfig::default(),
            links: LinksConfig::default(),
            replication: ReplicationConfig::default(),
            nat: NatConfig::default(),
            policy: Vec::new(),
        }
    }
}

/// Other nodes that a file may name: as many as a cluster of OpenSIPS has.
const PEERS_COUNT_MAX: usize = 128;

/// Domains that a file may name.
const DOMAINS_COUNT_MAX: usize = 1024;

/// Every key whose value goes into a [`ClusterConfig`].
pub(crate) const KEYS: &[Key<ClusterConfig>] = &[
    Key {
        section: "domains",
        name: "names",
        what: "Domains this node is the registrar of. The first stands for `tel` URIs.",
        kind: Kind::List {
            form: "domain names or IP addresses",
            count_max: DOMAINS_COUNT_MAX,
            get: |config| config.domains.clone(),
            clear: |config| config.domains.clear(),
            add: add_domain,
        },
    },
    Key {
        section: "domains",
        name: "own_addresses_are_domains",
        what: "Whether a request whose host is one of the node's own addresses is for a domain of its own.",
        kind: Kind::Flag {
            get: |config| config.own_addresses_are_domains,
            set: |config, value| config.own_addresses_are_domains = value,
        },
    },
    Key {
        section: "registrar",
        name: "default_expires_s",
        what: "Granted when a REGISTER asks for no time of its own (RFC 3261 §10.3 step 7).",
        kind: Kind::Number {
            min: 1,
            max: limits::EXPIRES_S_MAX as u64,
            unit: Unit::Seconds,
            get: |config| Some(config.registrar.default_expires_s.into()),
            set: |config, value| config.registrar.default_expires_s = value as u32,
        },
    },
    Key {
        section: "registrar",
        name: "min_expires_s",
        what: "Asking for less, but not for 0, is answered 423 (RFC 3261 §10.3 step 7).",
        kind: Kind::Number {
            min: 1,
            max: limits::EXPIRES_S_MAX as u64,
            unit: Unit::Seconds,
            get: |config| Some(config.registrar.min_expires_s.into()),
            set: |config, value| config.registrar.min_expires_s = value as u32,
        },
    },
    Key {
        section: "registrar",
        name: "max_expires_s",
        what: "Asking for more is granted this.",
        kind: Kind::Number {
            min: 1,
            max: limits::EXPIRES_S_MAX as u64,
            unit: Unit::Seconds,
            get: |config| Some(config.registrar.max_expires_s.into()),
            set: |config, value| config.registrar.max_expires_s = value as u32,
        },
    },
    Key {
        section: "registrar",
        name: "expires_jitter_percent",
        what: "By how much a granted time may be shortened at random, so that refreshes spread; 0 for none.",
        kind: Kind::Number {
            min: 0,
            max: 50,
            unit: Unit::Percent,
            get: |config| Some(config.registrar.expires_jitter_percent.into()),
            set: |config, value| config.registrar.expires_jitter_percent = value as u8,
        },
    },
    Key {
        section: "registrar",
        name: "max_contacts",
        what: "Bindings that one address of record may have at a time.",
        kind: Kind::Number {
            min: 1,
            max: limits::AOR_BINDINGS_COUNT_MAX as u64,
            unit: Unit::Things,
            get: |config| Some(config.registrar.max_contacts.into()),
            set: |config, value| config.registrar.max_contacts = value as u8,
        },
    },
    Key {
        section: "registrar",
        name: "overflow",
        what: "What happens to one binding too many: its REGISTER is refused with 403, or the binding that was refreshed longest ago makes room.",
        kind: Kind::Choice {
            words: &["refuse", "evict_oldest"],
            get: |config| match config.registrar.overflow {
                Overflow::Refuse => "refuse",
                Overflow::EvictOldest => "evict_oldest",
            },
            set: |config, word| {
                config.registrar.overflow = if word == "refuse" { Overflow::Refuse } else { Overflow::EvictOldest };
            },
        },
    },
    Key {
        section: "registrar",
        name: "gruu",
        what: "Whether GRUUs are handed out (RFC 5627).",
        kind: Kind::Flag { get: |config| config.registrar.gruu, set: |config, value| config.registrar.gruu = value },
    },
    Key {
        section: "registrar",
        name: "lost_flow",
        what: "What becomes of a binding whose connection has ended: `connect` keeps it, and a call opens a connection to its Contact (one with a reg-id of RFC 5626 is skipped); `skip` keeps it for its next refresh; `remove` removes it.",
        kind: Kind::Choice {
            words: &["connect", "skip", "remove"],
            get: |config| match config.registrar.lost_flow {
                LostFlow::Connect => "connect",
                LostFlow::Skip => "skip",
                LostFlow::Remove => "remove",
            },
            set: |config, word| {
                config.registrar.lost_flow = match word {
                    "connect" => LostFlow::Connect,
                    "skip" => LostFlow::Skip,
                    _ => LostFlow::Remove,
                };
            },
        },
    },
    Key {
        section: "proxy",
        name: "timer_c_s",
        what: "How long a phone may ring: Timer C, more than three minutes (RFC 3261 §16.6 step 11).",
        kind: Kind::Number {
            min: 181,
            max: 3600,
            unit: Unit::Seconds,
            get: |config| Some(config.timer_c_s.into()),
            set: |config, value| config.timer_c_s = value as u32,
        },
    },
    Key {
        section: "proxy",
        name: "serial_by_q",
        what: "Whether contacts of unequal q are tried one group after another; otherwise all ring at once.",
        kind: Kind::Flag { get: |config| config.serial_by_q, set: |config, value| config.serial_by_q = value },
    },
    Key {
        section: "proxy",
        name: "serial_group_s",
        what: "After this time the next q group is tried although the last still rings.",
        kind: Kind::Number {
            min: 1,
            max: 180,
            unit: Unit::Seconds,
            get: |config| Some(config.serial_group_s.into()),
            set: |config, value| config.serial_group_s = value as u32,
        },
    },
    Key {
        section: "proxy",
        name: "retry_after_s",
        what: "Named in Retry-After when a request is refused with 503.",
        kind: Kind::Number {
            min: 1,
            max: 3600,
            unit: Unit::Seconds,
            get: |config| Some(config.retry_after_s.into()),
            set: |config, value| config.retry_after_s = value as u32,
        },
    },
    Key {
        section: "timers",
        name: "t1_ms",
        what: "Estimate of the round-trip time (RFC 3261 §17.1.1.1).",
        kind: Kind::Number {
            min: 10,
            max: 10_000,
            unit: Unit::Milliseconds,
            get: |config| Some(config.timers.t1_ms.into()),
            set: |config, value| config.timers.t1_ms = value as u32,
        },
    },
    Key {
        section: "timers",
        name: "t2_ms",
        what: "Longest interval between retransmissions (RFC 3261 §17.1.2.2).",
        kind: Kind::Number {
            min: 10,
            max: 60_000,
            unit: Unit::Milliseconds,
            get: |config| Some(config.timers.t2_ms.into()),
            set: |config, value| config.timers.t2_ms = value as u32,
        },
    },
    Key {
        section: "timers",
        name: "t4_ms",
        what: "Longest time that a message stays in the network (RFC 3261 §17.1.2.2).",
        kind: Kind::Number {
            min: 10,
            max: 60_000,
            unit: Unit::Milliseconds,
            get: |config| Some(config.timers.t4_ms.into()),
            set: |config, value| config.timers.t4_ms = value as u32,
        },
    },
    Key {
        section: "directory",
        name: "url",
        what: "The store that all nodes share: Cassandra, MongoDB, or `memory:` for a trial. Left out: this node stands \
               alone, nothing is published or asked.",
        kind: Kind::Text {
            form: "\"cassandra://host:9042/keyspace.table\" or \"mongodb://host:27017/database.collection\"",
            get: |config| config.directory.url.as_ref().map(ToString::to_string),
            set: |config, text| {
                config.directory.url = Some(text.parse().map_err(|UrlError { what, right }| Wrong { what, right })?);
                Ok(())
            },
        },
    },
    Key {
        section: "directory",
        name: "schema",
        what: "How rows look: `native` keeps when each was written; `opensips` is exactly OpenSIPS's, for a federation \
               with it. A table has one of the two.",
        kind: Kind::Choice {
            words: &["native", "opensips"],
            get: |config| config.directory.schema.word(),
            set: |config, word| {
                config.directory.schema = if word == "opensips" { Schema::OpenSips } else { Schema::Native };
            },
        },
    },
    Key {
        section: "directory",
        name: "create",
        what: "Whether keyspace, tables and indexes that are missing are made at the start; otherwise they are asked for.",
        kind: Kind::Flag {
            get: |config| config.directory.create,
            set: |config, value| config.directory.create = value,
        },
    },
    Key {
        section: "directory",
        name: "peers",
        what: "The nodes of the federation, by the addresses under which they are reached (OpenSIPS's `sip_addr`): what \
               comes from these addresses is looked up locally only. This node itself may be among them. Left out with a \
               `[cluster]`, whose nodes they are.",
        kind: Kind::List {
            form: "\"address\" or \"address:port\"",
            count_max: PEERS_COUNT_MAX,
            get: |config| config.directory.peers.iter().map(ToString::to_string).collect(),
            clear: |config| config.directory.peers.clear(),
            add: add_peer,
        },
    },
    Key {
        section: "directory",
        name: "secret",
        what: "What all nodes of the federation share: requests between them carry a mark made with it, and are looked up \
               locally only wherever they seem to come from, as behind a NAT. Left out: nodes know each other by the \
               addresses in `peers` alone.",
        kind: Kind::Text {
            form: "16 to 128 printable characters",
            get: |config| config.directory.secret.clone(),
            set: |config, text| {
                let is_long_enough = (16..=128).contains(&text.len());
                if !is_long_enough || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                    let right =
                        "write 16 to 128 characters without spaces, such as what `openssl rand -base64 24` prints";
                    return Err(Wrong::new("too short or too long, or with other than printable characters", right));
                }
                config.directory.secret = Some(text.to_owned());
                Ok(())
            },
        },
    },
    Key {
        section: "directory",
        name: "lookup_deadline_ms",
        what: "How long a request waits for the store before what is known without it has to do.",
        kind: Kind::Number {
            min: 10,
            max: 5000,
            unit: Unit::Milliseconds,
            get: |config| Some(config.directory.lookup_deadline_ms.into()),
            set: |config, value| config.directory.lookup_deadline_ms = value as u32,
        },
    },
    Key {
        section: "directory",
        name: "negative_cache_ms",
        what: "How long it is remembered that an AoR has no home elsewhere; 0 asks every time.",
        kind: Kind::Number {
            min: 0,
            max: 60_000,
            unit: Unit::Milliseconds,
            get: |config| Some(config.directory.negative_cache_ms.into()),
            set: |config, value| config.directory.negative_cache_ms = value as u32,
        },
    },
    Key {
        section: "directory",
        name: "stale_cache_s",
        what: "How old the homes last heard of may be while the store does not answer; 0 for not at all.",
        kind: Kind::Number {
            min: 0,
            max: 86_400,
            unit: Unit::Seconds,
            get: |config| Some(config.directory.stale_cache_s.into()),
            set: |config, value| config.directory.stale_cache_s = value as u32,
        },
    },
    Key {
        section: "directory",
        name: "home_timeout_ms",
        what: "How long another home may say nothing to an INVITE before the call goes on without it. It is then left out \
               for ten seconds, or until something is heard from it.",
        kind: Kind::Number {
            min: 500,
            max: 32_000,
            unit: Unit::Milliseconds,
            get: |config| Some(config.directory.home_timeout_ms.into()),
            set: |config, value| config.directory.home_timeout_ms = value as u32,
        },
    },
    Key {
        section: "directory",
        name: "ask_peers_max",
        what: "How many peers are asked directly for an AoR while the store does not answer; 0 for none.",
        kind: Kind::Number {
            min: 0,
            max: 64,
            unit: Unit::Things,
            get: |config| Some(config.directory.ask_peers_max.into()),
            set: |config, value| config.directory.ask_peers_max = value as u8,
        },
    },
    Key {
        section: "directory",
        name: "lease_s",
        what: "After this time a row ends unless it is written again, so that those of a node that is gone do not stay; 0 for never, else at least 60. OpenSIPS's schema in MongoDB has no leases.",
        kind: Kind::Number {
            min: 0,
            max: 2_592_000,
            unit: Unit::Seconds,
            get: |config| Some(config.directory.lease_s.into()),
            set: |config, value| config.directory.lease_s = value as u32,
        },
    },
    Key {
        section: "directory",
        name: "reconcile_interval_s",
        what: "How often the rows of this node are compared with its bindings, and mended; 0 for never.",
        kind: Kind::Number {
            min: 0,
            max: 604_800,
            unit: Unit::Seconds,
            get: |config| Some(config.directory.reconcile_interval_s.into()),
            set: |config, value| config.directory.reconcile_interval_s = value as u32,
        },
    },
    Key {
        section: "directory",
        name: "reconcile_rows_per_s",
        what: "How many rows a second that reads at most, to spare the store.",
        kind: Kind::Number {
            min: 100,
            max: 1_000_000,
            unit: Unit::Things,
            get: |config| Some(config.directory.reconcile_rows_per_s.into()),
            set: |config, value| config.directory.reconcile_rows_per_s = value as u32,
        },
    },
    Key {
        section: "directory",
        name: "timeout_ms",
        what: "How long one request to the store may take.",
        kind: Kind::Number {
            min: 100,
            max: 60_000,
            unit: Unit::Milliseconds,
            get: |config| Some(config.directory.timeout_ms.into()),
            set: |config, value| config.directory.timeout_ms = value as u32,
        },
    },
    Key {
        section: "directory",
        name: "pending_max",
        what: "Changes that may wait for the store; beyond that the next comparison publishes them.",
        kind: Kind::Number {
            min: 1000,
            max: 10_000_000,
            unit: Unit::Things,
            get: |config| Some(config.directory.pending_max.into()),
            set: |config, value| config.directory.pending_max = value as u32,
        },
    },
    Key {
        section: "cluster",
        name: "table",
        what: "The table of the nodes in the database (OpenSIPS's `db_table` of clusterer).",
        kind: Kind::Text {
            form: "letters, digits and _",
            get: |config| Some(config.provisioning.table.clone()),
            set: |config, text| {
                let is_name = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                    && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                    && text.len() <= TABLE_NAME_BYTES_MAX;
                if !is_name {
                    let right = "write a letter, and up to 63 letters, digits and _ behind it";
                    return Err(Wrong::new("not the name of a table", right));
                }
                text.clone_into(&mut config.provisioning.table);
                Ok(())
            },
        },
    },
    Key {
        section: "cluster",
        name: "cluster_id",
        what: "Which of the clusters in the table this one is (OpenSIPS's `location_cluster` of usrloc).",
        kind: Kind::Number {
            min: 1,
            max: Id::MAX,
            unit: Unit::Things,
            get: |config| Some(config.provisioning.cluster_id.get().into()),
            set: |config, value| config.provisioning.cluster_id = Id::new(value).unwrap_or(Id::ONE),
        },
    },
];

/// What MySQL bounds the name of a table to.
const TABLE_NAME_BYTES_MAX: usize = 64;

fn add_peer(config: &mut ClusterConfig, text: &str) -> Result<(), Wrong> {
    let peer = forms::sip_address(text)?;
    if config.directory.peers.iter().any(|known| known.is_same(peer)) {
        return Err(Wrong::new("this address stands here twice", "remove one of the two"));
    }
    config.directory.peers.push(peer);
    Ok(())
}

fn add_domain(config: &mut ClusterConfig, text: &str) -> Result<(), Wrong> {
    let domain = forms::domain(text)?;
    if config.domains.contains(&domain) {
        return Err(Wrong::new("this domain stands here twice", "remove one of the two"));
    }
    config.domains.push(domain);
    Ok(())
}
