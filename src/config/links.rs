//! Links between the nodes of a cluster: what all of them share, and the files of TLS, which are a node's own.

use super::key::{Key, Kind, Unit, Wrong};
use super::{ClusterConfig, NodeConfig, forms};
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
               of them. Anybody who reaches the port of a node can try guesses at home, so let a machine make it. Left out \
               together with the `tls_` keys: there are no links.",
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
];

/// The form of the files.
const PEM_FILE: &str = "absolute path of a PEM file";

/// Every key whose value goes into [`TlsFiles`].
pub(crate) const OWN_KEYS: &[Key<NodeConfig>] = &[
    Key {
        section: "cluster",
        name: "tls_ca",
        what: "The authorities by which the certificates of other nodes have to be issued. With it, links between nodes go by \
               certificates: that of a node is valid for the IP address in its `url`. Read at the start, as the next two are.",
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
