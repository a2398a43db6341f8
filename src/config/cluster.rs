//! What has to be equal on every node of a cluster: what a phone may notice when another node answers it.

use super::forms;
use super::key::{Key, Kind, Unit, Wrong};
use sipfed_proto::limits;
use sipfed_proto::settings::{LostFlow, Overflow, RegistrarSettings, TimerSettings};

/// The keys that all nodes of a cluster share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClusterConfig {
    /// Domains that the cluster is the registrar of.
    pub(crate) domains: Vec<String>,
    /// Whether a node's own addresses count as domains.
    pub(crate) own_addresses_are_domains: bool,
    /// RFC 3261 §10.3; its routes and its bound on bindings are the node's own and stand in
    /// [`super::node::NodeConfig`].
    pub(crate) registrar: RegistrarSettings,
    /// Timer C.
    pub(crate) timer_c_s: u32,
    /// Whether q groups are tried one after another.
    pub(crate) serial_by_q: bool,
    /// Seconds for each of these groups.
    pub(crate) serial_group_s: u32,
    /// Seconds in Retry-After.
    pub(crate) retry_after_s: u32,
    /// RFC 3261 §17.
    pub(crate) timers: TimerSettings,
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
            timers,
        }
    }
}

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
];

fn add_domain(config: &mut ClusterConfig, text: &str) -> Result<(), Wrong> {
    let domain = forms::domain(text)?;
    if config.domains.contains(&domain) {
        return Err(Wrong::new("this domain stands here twice", "remove one of the two"));
    }
    config.domains.push(domain);
    Ok(())
}
