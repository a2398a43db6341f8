//! The certificates that are shown over TLS, and what phones may have to show. In: the files of the section `tls`, at the start,
//! and again whenever the node is told to. Out: what the data plane begins connections with, which always goes by what was read
//! last.
//!
//! A phone that names a server (SNI, RFC 6066 §3) is shown the certificate of the first of: that name, its wildcard, the
//! default. Files are taken all together or not at all: where one cannot be used, what was read before stays in use. A
//! connection that exists keeps its keys.
//!
//! - [`client`]: certificates of phones.
//! - [`validity`]: until when a certificate is valid.

mod client;
mod validity;

pub(crate) use validity::{Standing, Validity};

use crate::config::{ClientCertificates, PhoneTls};
use crate::pem::{self, Unusable};
use client::ClientVerifier;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SignatureScheme};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

/// What all files had when they could last be used.
#[derive(Debug)]
struct Shown {
    /// For who names no server, or one that has none of its own.
    default: Arc<CertifiedKey>,
    /// By server name in lower case; a wildcard as it is written.
    by_name: HashMap<String, Arc<CertifiedKey>>,
    validities: Vec<Validity>,
}

/// The files, and what they had when they could last be used.
#[derive(Debug)]
pub(crate) struct PhoneCertificate {
    files: PhoneTls,
    shown: RwLock<Arc<Shown>>,
    /// Who knows phones by their certificates, where they are asked for one.
    phones: Option<Arc<ClientVerifier>>,
}

impl PhoneCertificate {
    /// Reads the files that the configuration names; `None` where it names none.
    pub(crate) fn of(files: &PhoneTls) -> Result<Option<Arc<Self>>, Unusable> {
        let Some(shown) = read_all(files)? else { return Ok(None) };
        let phones = match (files.client, &files.client_authorities) {
            (ClientCertificates::Asked | ClientCertificates::Required, Some(authorities)) => {
                Some(Arc::new(ClientVerifier::new(authorities, files.client == ClientCertificates::Required)?))
            }
            _ => None,
        };
        Ok(Some(Arc::new(Self { files: files.clone(), shown: RwLock::new(Arc::new(shown)), phones })))
    }

    /// Reads the files again.
    pub(crate) fn reload(&self) -> Result<(), Unusable> {
        let Some(read) = read_all(&self.files)? else { return Ok(()) };
        if let Some(phones) = &self.phones {
            phones.reload()?;
        }
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(read);
        Ok(())
    }

    /// Until when each certificate is valid.
    pub(crate) fn validities(&self) -> Vec<Validity> {
        self.shown().validities.clone()
    }

    /// What connections of phones begin with: TLS 1.2 or 1.3. A phone that comes again saves most of the handshake by a
    /// ticket; where phones show certificates there are none, so that each connection is judged by the authorities of its
    /// time.
    pub(crate) fn server(self: &Arc<Self>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let builder =
            ServerConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions()?;
        let builder = match &self.phones {
            Some(phones) => builder.with_client_cert_verifier(Arc::clone(phones) as _),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::clone(self) as _);
        if self.phones.is_some() {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        } else {
            config.ticketer = Ticketer::new()?;
        }
        Ok(Arc::new(config))
    }

    fn shown(&self) -> Arc<Shown> {
        Arc::clone(&self.shown.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shown {
    /// The certificate of a server name.
    fn of(&self, name: &str) -> &Arc<CertifiedKey> {
        let name = name.to_ascii_lowercase();
        // A wildcard stands for one label (RFC 6125 §6.4.3).
        let wildcard = || self.by_name.get(&format!("*.{}", name.split_once('.')?.1));
        self.by_name.get(&name).or_else(wildcard).unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for PhoneCertificate {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.shown();
        Some(Arc::clone(hello.server_name().map_or(&shown.default, |name| shown.of(name))))
    }
}

/// Shown to peers that ask for it over TLS that the node opens.
impl ResolvesClientCert for PhoneCertificate {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.shown().default)).filter(|shown| shown.key.choose_scheme(schemes).is_some())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn read_all(files: &PhoneTls) -> Result<Option<Shown>, Unusable> {
    let (Some(certificate), Some(key)) = (&files.certificate, &files.key) else { return Ok(None) };
    let (default, validity) = read(certificate, key, "tls")?;
    let (mut by_name, mut validities) = (HashMap::new(), vec![validity]);
    for domain in &files.domains {
        let (shown, validity) = read(&domain.certificate, &domain.key, "tls.domain")?;
        validities.push(validity);
        for name in &domain.names {
            by_name.insert(name.clone(), Arc::clone(&shown));
        }
    }
    Ok(Some(Shown { default, by_name, validities }))
}

fn read(certificate: &Path, key: &Path, section: &str) -> Result<(Arc<CertifiedKey>, Validity), Unusable> {
    let chain = pem::certificates(certificate, &format!("{section}.certificate"))?;
    let private_key = pem::private_key(key, &format!("{section}.key"))?;
    let validity = Validity::of(certificate, &chain)?;
    let shown = CertifiedKey::from_der(chain, private_key, &default_provider()).map_err(|error| Unusable {
        what: format!("{section}.certificate, {}, cannot be used with {section}.key: {error}", certificate.display()),
        right: "name the certificate and the key that belong together",
    })?;
    Ok((Arc::new(shown), validity))
}
