//! Certificates of phones (RFC 5922 §7.4, RFC 5280). In: the authorities in a file, which may be read again. Out: whether a phone
//! may stay that shows a certificate by one of them, or none.

use crate::pem::{self, Unusable};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// Who knows phones by the authorities of a file, as it was when it could last be used.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    authorities: PathBuf,
    is_required: bool,
    inner: RwLock<Arc<dyn ClientCertVerifier>>,
}

impl ClientVerifier {
    pub(super) fn new(authorities: &Path, is_required: bool) -> Result<Self, Unusable> {
        let inner = RwLock::new(read(authorities)?);
        Ok(Self { authorities: authorities.to_owned(), is_required, inner })
    }

    /// Reads the authorities again.
    pub(super) fn reload(&self) -> Result<(), Unusable> {
        let read = read(&self.authorities)?;
        *self.inner.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }

    fn inner(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.inner.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.is_required
    }

    /// None: a phone has one certificate at most, and shows that.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.inner().verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner().verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner().verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner().supported_verify_schemes()
    }
}

fn read(authorities: &Path) -> Result<Arc<dyn ClientCertVerifier>, Unusable> {
    let roots = pem::authorities(authorities, "tls.client_authorities")?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()));
    builder.build().map_err(|error| Unusable {
        what: format!("tls.client_authorities, {}, cannot be used: {error}", authorities.display()),
        right: "write certificates of authorities in PEM form",
    })
}
