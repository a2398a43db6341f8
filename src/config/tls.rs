//! What is shown over TLS, by whom peers have to be certified, and the bounds of handshakes.

use super::forms;
use super::key::{Key, Kind, Unit};
use super::node::NodeConfig;
use super::tls_domain::TlsDomain;
use std::path::PathBuf;

/// Whether phones are asked for certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ClientCertificates {
    /// They are not.
    #[default]
    None,
    /// They are, and may have none; one that is shown has to be good.
    Asked,
    /// Who has none is let go.
    Required,
}

/// What the section `tls` says beside bounds.
#[derive(Clone, Debug)]
pub(crate) struct PhoneTls {
    /// The certificate, and behind it those in between.
    pub(crate) certificate: Option<PathBuf>,
    /// Its private key.
    pub(crate) key: Option<PathBuf>,
    /// The authorities of peers; `None` for those of the system.
    pub(crate) authorities: Option<PathBuf>,
    /// Certificates for servers that phones name.
    pub(crate) domains: Vec<TlsDomain>,
    /// Whether phones are asked for certificates.
    pub(crate) client: ClientCertificates,
    /// The authorities of phones.
    pub(crate) client_authorities: Option<PathBuf>,
    /// Days before its end from which on a certificate is warned of.
    pub(crate) expiry_warning_days: u32,
}

impl Default for PhoneTls {
    fn default() -> Self {
        Self {
            certificate: None,
            key: None,
            authorities: None,
            domains: Vec::new(),
            client: ClientCertificates::None,
            client_authorities: None,
            expiry_warning_days: 30,
        }
    }
}

/// Its name in the file.
pub(super) const SECTION: &str = "tls";

pub(super) const PEM_FILE: &str = "absolute path of a PEM file";

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
        name: "client",
        what: "Whether phones are asked for certificates at listeners `tls:` and `wss:`. With `asked` they may have none, and one that is \
               shown has to be good; with `required` who has none is let go.",
        kind: Kind::Choice {
            words: &["none", "asked", "required"],
            get: |config| match config.phone_tls.client {
                ClientCertificates::None => "none",
                ClientCertificates::Asked => "asked",
                ClientCertificates::Required => "required",
            },
            set: |config, word| {
                config.phone_tls.client = match word {
                    "asked" => ClientCertificates::Asked,
                    "required" => ClientCertificates::Required,
                    _ => ClientCertificates::None,
                };
            },
        },
    },
    Key {
        section: SECTION,
        name: "client_authorities",
        what: "The authorities by which the certificates of phones have to be issued. Read at the start and on SIGHUP.",
        kind: Kind::Text {
            form: PEM_FILE,
            get: |config| config.phone_tls.client_authorities.as_ref().map(|path| path.display().to_string()),
            set: |config, text| {
                config.phone_tls.client_authorities = Some(forms::absolute_path(text)?);
                Ok(())
            },
        },
    },
    Key {
        section: SECTION,
        name: "expiry_warning_days",
        what: "From how many days before its end on the log warns of a certificate: at the start, when it is read again, and \
               daily; 0 for not before it has ended.",
        kind: Kind::Number {
            min: 0,
            max: 3650,
            unit: Unit::Things,
            get: |config| Some(config.phone_tls.expiry_warning_days.into()),
            set: |config, value| config.phone_tls.expiry_warning_days = value as u32,
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
