//! What is shown over TLS, by whom peers have to be certified, and the bounds of handshakes.

use super::forms;
use super::key::{Key, Kind, Unit};
use super::node::NodeConfig;
use std::path::PathBuf;

/// The files of the section `tls`.
#[derive(Clone, Debug, Default)]
pub(crate) struct PhoneTls {
    /// The certificate, and behind it those in between.
    pub(crate) certificate: Option<PathBuf>,
    /// Its private key.
    pub(crate) key: Option<PathBuf>,
    /// The authorities of peers; `None` for those of the system.
    pub(crate) authorities: Option<PathBuf>,
}

/// Its name in the file.
pub(super) const SECTION: &str = "tls";

const PEM_FILE: &str = "absolute path of a PEM file";

/// Every key of the section.
pub(super) const KEYS: &[Key<NodeConfig>] = &[
    Key {
        section: SECTION,
        name: "certificate",
        what: "The certificate that phones are shown at listeners `tls:` and `wss:`, and peers that ask for it, and behind it those of the authorities in between. \
               Read at the start and on SIGHUP, as the key is; connections that exist are kept.",
        kind: Kind::Text {
            form: PEM_FILE,
            get: |config| config.phone_tls.certificate.as_ref().map(|path| path.display().to_string()),
            set: |config, text| {
                config.phone_tls.certificate = Some(forms::absolute_path(text)?);
                Ok(())
            },
        },
    },
    Key {
        section: SECTION,
        name: "key",
        what: "The private key of the certificate, without a password.",
        kind: Kind::Text {
            form: PEM_FILE,
            get: |config| config.phone_tls.key.as_ref().map(|path| path.display().to_string()),
            set: |config, text| {
                config.phone_tls.key = Some(forms::absolute_path(text)?);
                Ok(())
            },
        },
    },
    Key {
        section: SECTION,
        name: "authorities",
        what: "The authorities by which peers have to be certified to whom the node opens TLS. Left out: those that the system \
               trusts. Read at the start and on SIGHUP.",
        kind: Kind::Text {
            form: PEM_FILE,
            get: |config| config.phone_tls.authorities.as_ref().map(|path| path.display().to_string()),
            set: |config, text| {
                config.phone_tls.authorities = Some(forms::absolute_path(text)?);
                Ok(())
            },
        },
    },
    Key {
        section: SECTION,
        name: "handshake_timeout_ms",
        what: "How long a handshake may take, from the first byte to the last.",
        kind: Kind::Number {
            min: 100,
            max: 60_000,
            unit: Unit::Milliseconds,
            get: |config| Some(config.sockets.tls.handshake_timeout_ms.into()),
            set: |config, value| config.sockets.tls.handshake_timeout_ms = value as u32,
        },
    },
    Key {
        section: SECTION,
        name: "handshakes_per_shard_max",
        what: "Handshakes that are under way in one shard, of connections to it and of those that it opens apart; a connection \
               beyond is closed, or not opened.",
        kind: Kind::Number {
            min: 1,
            max: 1_000_000,
            unit: Unit::Things,
            get: |config| Some(config.sockets.tls.handshakes_per_shard_max.into()),
            set: |config, value| config.sockets.tls.handshakes_per_shard_max = value as u32,
        },
    },
];
