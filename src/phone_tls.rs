//! The certificate that phones are shown over TLS. In: its files, at the start, and again whenever the node is told to. Out:
//! what the data plane begins connections with, which always shows what was read last.
//!
//! Files that cannot be used leave what was read before in use. A connection that exists keeps its keys.

use crate::config::PhoneTls;
use crate::pem::{self, Unusable};
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SignatureScheme};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

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
        let PhoneTls { certificate: Some(certificate), key: Some(key), .. } = files else { return Ok(None) };
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

impl PhoneCertificate {
    fn shown(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.shown.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for PhoneCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown())
    }
}

/// Shown to peers that ask for it over TLS that the node opens.
impl ResolvesClientCert for PhoneCertificate {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.shown()).filter(|shown| shown.key.choose_scheme(schemes).is_some())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey, Unusable> {
    let chain = pem::certificates(certificate, "tls.certificate")?;
    let private_key = pem::private_key(key, "tls.key")?;
    CertifiedKey::from_der(chain, private_key, &default_provider()).map_err(|error| Unusable {
        what: format!("tls.certificate, {}, cannot be used with tls.key: {error}", certificate.display()),
        right: "name the certificate and the key that belong together",
    })
}
