//! Links between the nodes of a cluster: what all of them share, and the files of TLS, which are a node's own.

use super::key::{Key, Kind, Unit, Wrong};
use super::{ClusterConfig, NodeConfig, forms};
use crate::ops;
use std::path::PathBuf;

/// How nodes know each other, and how soon they notice that one is gone.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct LinksConfig {
    /// What all nodes know and nobody else does; `None` for nodes that show certificates, or have no links.
    pub(crate) secret: Option<String>,
    /// Milliseconds from one ping to the next.
    pub(crate) ping_interval_ms: u32,
    /// Milliseconds that an answer to it may take.
    pub(crate) ping_timeout_ms: u32,
}

impl Default for LinksConfig {
    fn default() -> Self {
        Self { secret: None, ping_interval_ms: 1000, ping_timeout_ms: 1000 }
    }
}

impl std::fmt::Debug for LinksConfig {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinksConfig")
            .field("has_secret", &self.secret.is_some())
            .field("ping_interval_ms", &self.ping_interval_ms)
            .field("ping_timeout_ms", &self.ping_timeout_ms)
            .finish()
    }
}

/// How nodes with one home keep the same bindings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplicationConfig {
    /// Whether a registration is promised only once a backup has it.
    pub(crate) is_sync: bool,
    /// Milliseconds after which nobody waits any more for a backup that does not acknowledge.
    pub(crate) timeout_ms: u32,
    /// Seconds that a seed looks for a backup that knows all bindings.
    pub(crate) seed_fallback_s: u32,
    /// Seconds from one comparison to the next.
    pub(crate) compare_interval_s: u32,
    /// Bytes of changes that are kept for a backup to resume, for each shard.
    pub(crate) kept_bytes: u32,
}

impl Default for ReplicationConfig {
    fn default() -> Self {
        Self { is_sync: false, timeout_ms: 1000, seed_fallback_s: 5, compare_interval_s: 10, kept_bytes: 16 << 20 }
    }
}

/// Files in PEM form; all of them are named, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// The authorities that are trusted.
    pub(crate) ca: Option<PathBuf>,
    /// This node's certificate, and those between it and the authority.
    pub(crate) certificate: Option<PathBuf>,
    /// The key of the certificate.
    pub(crate) key: Option<PathBuf>,
}

/// Every key whose value goes into a [`LinksConfig`].
pub(crate) const KEYS: &[Key<ClusterConfig>] = &[
    Key {
        section: "cluster",
        name: "secret",
        what: "What all nodes of the cluster share, so that links between them need no certificates: whoever knows it is one \
               of them. Nodes that back each other up need it with certificates as well: their hashes come from it. \
               Without certificates anybody who reaches the port of a node can try guesses at home, so let a machine make \
               it. Left out together with the `tls_` keys: there are no links.",
        kind: Kind::Text {
            form: "32 to 128 printable characters",
            get: |config| config.links.secret.clone(),
            set: |config, text| {
                let is_long_enough = (32..=128).contains(&text.len());
                if !is_long_enough || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                    let right =
                        "write 32 to 128 characters without spaces, such as what `openssl rand -base64 32` prints";
                    return Err(Wrong::new("too short or too long, or with other than printable characters", right));
                }
                config.links.secret = Some(text.to_owned());
                Ok(())
            },
        },
    },
    Key {
        section: "cluster",
        name: "ping_interval_ms",
        what: "How often a node pings each other one over their link (OpenSIPS's `ping_interval`, which is in seconds).",
        kind: Kind::Number {
            min: 50,
            max: 60_000,
            unit: Unit::Milliseconds,
            get: |config| Some(config.links.ping_interval_ms.into()),
            set: |config, value| config.links.ping_interval_ms = value as u32,
        },
    },
    Key {
        section: "cluster",
        name: "ping_timeout_ms",
        what: "How long an answer to a ping may take (OpenSIPS's `ping_timeout`). A ping that is missed is repeated at once, \
               `no_ping_retries` times in all; then the node is down.",
        kind: Kind::Number {
            min: 50,
            max: 60_000,
            unit: Unit::Milliseconds,
            get: |config| Some(config.links.ping_timeout_ms.into()),
            set: |config, value| config.links.ping_timeout_ms = value as u32,
        },
    },
    Key {
        section: "cluster",
        name: "replication",
        what: "When a registration is answered at a node that has backups: `async`, once its own log has it; `sync`, once a \
               backup has it as well, as long as there is one that keeps up. Where there is none, `sync` goes on alone, and \
               tells so.",
        kind: Kind::Choice {
            words: &["async", "sync"],
            get: |config| if config.replication.is_sync { "sync" } else { "async" },
            set: |config, word| config.replication.is_sync = word == "sync",
        },
    },
    Key {
        section: "cluster",
        name: "replication_timeout_ms",
        what: "How long a backup may take to acknowledge a change. One that takes longer is waited for no more until it has \
               caught up.",
        kind: Kind::Number {
            min: 50,
            max: 60_000,
            unit: Unit::Milliseconds,
            get: |config| Some(config.replication.timeout_ms.into()),
            set: |config, value| config.replication.timeout_ms = value as u32,
        },
    },
    Key {
        section: "cluster",
        name: "seed_fallback_s",
        what: "How long a seed that starts looks for a backup that knows all bindings before it goes on with what it has \
               (OpenSIPS's `seed_fallback_interval`).",
        kind: Kind::Number {
            min: 1,
            max: 3600,
            unit: Unit::Seconds,
            get: |config| Some(config.replication.seed_fallback_s.into()),
            set: |config, value| config.replication.seed_fallback_s = value as u32,
        },
    },
    Key {
        section: "cluster",
        name: "compare_interval_s",
        what: "How often nodes with one home compare what they hold, and mend what differs.",
        kind: Kind::Number {
            min: 1,
            max: 3600,
            unit: Unit::Seconds,
            get: |config| Some(config.replication.compare_interval_s.into()),
            set: |config, value| config.replication.compare_interval_s = value as u32,
        },
    },
    Key {
        section: "cluster",
        name: "replication_kept_bytes",
        what: "Changes of each shard that are kept in memory, so that a backup whose link was broken goes on where it was; \
               what is older is found by comparing.",
        kind: Kind::Number {
            min: 65_536,
            max: 1 << 30,
            unit: Unit::Bytes,
            get: |config| Some(config.replication.kept_bytes.into()),
            set: |config, value| config.replication.kept_bytes = value as u32,
        },
    },
];

/// Commands that other nodes may be allowed.
const REMOTE_COMMANDS_COUNT_MAX: usize = 64;

/// The form of the files.
const PEM_FILE: &str = "absolute path of a PEM file";

/// Every key of links that is a node's own.
pub(crate) const OWN_KEYS: &[Key<NodeConfig>] = &[
    Key {
        section: "cluster",
        name: "remote_commands",
        what: "The management commands that this node does for other nodes of the cluster, which send them by \
               `clusterer:send_mi` and `clusterer:broadcast_mi`. By default those that change nothing; `[]` for none. Who has \
               broken into one node can have all of these done by the others. Without a management interface none is done.",
        kind: Kind::List {
            form: "\"module:command\"",
            count_max: REMOTE_COMMANDS_COUNT_MAX,
            get: |config| config.remote_commands.clone(),
            clear: |config| config.remote_commands.clear(),
            add: |config, text| {
                config.remote_commands.push(remote_command(text)?);
                Ok(())
            },
        },
    },
    Key {
        section: "cluster",
        name: "tls_ca",
        what: "The authorities by which the certificates of other nodes have to be issued. With it, links between nodes go by \
               certificates: that of a node is valid for the IP address in its `url`. Read at the start and on SIGHUP, as the \
               next two are.",
        kind: Kind::Text {
            form: PEM_FILE,
            get: |config| config.tls.ca.as_ref().map(|path| path.display().to_string()),
            set: |config, text| {
                config.tls.ca = Some(forms::absolute_path(text)?);
                Ok(())
            },
        },
    },
    Key {
        section: "cluster",
        name: "tls_certificate",
        what: "The certificate of this node, for client and server alike, and behind it those of the authorities in between.",
        kind: Kind::Text {
            form: PEM_FILE,
            get: |config| config.tls.certificate.as_ref().map(|path| path.display().to_string()),
            set: |config, text| {
                config.tls.certificate = Some(forms::absolute_path(text)?);
                Ok(())
            },
        },
    },
    Key {
        section: "cluster",
        name: "tls_key",
        what: "The private key of the certificate, without a password.",
        kind: Kind::Text {
            form: PEM_FILE,
            get: |config| config.tls.key.as_ref().map(|path| path.display().to_string()),
            set: |config, text| {
                config.tls.key = Some(forms::absolute_path(text)?);
                Ok(())
            },
        },
    },
];

/// The name of a command, as newer OpenSIPS writes it.
fn remote_command(text: &str) -> Result<String, Wrong> {
    let right = "write the name of a command, such as \"usrloc:rm\"; docs/management.md lists them";
    let Some(signature) = ops::signatures().find(|signature| signature.is_called(text)) else {
        return Err(Wrong::new("not a command of this release", right));
    };
    if ops::is_sent_on(signature.name) {
        return Err(Wrong::new("a command that would be sent on", "leave it out: no node takes it from another one"));
    }
    Ok(signature.name.to_owned())
}
