//! The certificate that phones are shown over TLS. In: its files, at the start, and again whenever the node is told to. Out:
//! what the data plane begins connections with, which always shows what was read last.
//!
//! Files that cannot be used leave what was read before in use. A connection that exists keeps its keys.

use crate::config::PhoneTls;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// What is wrong with the files.
#[derive(Debug, thiserror::Error)]
#[error("{what}; {right}")]
pub(crate) struct Unusable {
    pub(crate) what: String,
    pub(crate) right: &'static str,
}

/// The files, and what they had when they could last be used.
#[derive(Debug)]
pub(crate) struct PhoneCertificate {
    certificate: PathBuf,
    key: PathBuf,
    shown: RwLock<Arc<CertifiedKey>>,
}

impl PhoneCertificate {
    /// Reads the files that the configuration names; `None` where it names none.
    pub(crate) fn of(files: &PhoneTls) -> Result<Option<Arc<Self>>, Unusable> {
        let PhoneTls { certificate: Some(certificate), key: Some(key) } = files else { return Ok(None) };
        let shown = RwLock::new(Arc::new(read(certificate, key)?));
        Ok(Some(Arc::new(Self { certificate: certificate.clone(), key: key.clone(), shown })))
    }

    /// Reads the files again.
    pub(crate) fn reload(&self) -> Result<(), Unusable> {
        let read = Arc::new(read(&self.certificate, &self.key)?);
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }

    /// What connections of phones begin with: TLS 1.2 or 1.3, with tickets by which a phone that comes again saves most of
    /// the handshake.
    pub(crate) fn server(self: &Arc<Self>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as _);
        config.ticketer = Ticketer::new()?;
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for PhoneCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.shown.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey, Unusable> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&contents(certificate, "tls.certificate")?).collect();
    let chain = chain.map_err(|error| Unusable {
        what: format!("tls.certificate, {}, is not PEM: {error}", certificate.display()),
        right: "write certificates in PEM form",
    })?;
    if chain.is_empty() {
        let what = format!("tls.certificate, {}, has no certificate", certificate.display());
        return Err(Unusable { what, right: "write certificates in PEM form" });
    }
    let private_key = PrivateKeyDer::from_pem_slice(&contents(key, "tls.key")?).map_err(|error| Unusable {
        what: format!("tls.key, {}, has no private key in PEM form: {error}", key.display()),
        right: "write the key in PEM form, without a password",
    })?;
    CertifiedKey::from_der(chain, private_key, &default_provider()).map_err(|error| Unusable {
        what: format!("tls.certificate, {}, cannot be used with tls.key: {error}", certificate.display()),
        right: "name the certificate and the key that belong together",
    })
}

fn contents(path: &Path, key: &str) -> Result<Vec<u8>, Unusable> {
    std::fs::read(path).map_err(|error| Unusable {
        what: format!("{key}, {}, cannot be read: {error}", path.display()),
        right: "correct the path, or let the user of the node read the file",
    })
}
