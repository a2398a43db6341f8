//! The key pair that a shared secret stands for, and that it is what the other side shows.
//!
//! The secret and the number of the cluster become a key pair of Ed25519 by HKDF-SHA256 (RFC 5869). Its public half is shown
//! in place of a certificate (RFC 7250), and no other is accepted; the handshake's signature proves the private half.

use aws_lc_rs::hkdf;
use aws_lc_rs::signature::Ed25519KeyPair;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{default_provider, sign};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use std::fmt;
use std::sync::Arc;

/// What keys of this use are set apart by from those of any other.
const CONTEXT: &[u8] = b"sipfed links between the nodes of a cluster 1";
/// Bytes of what a key of Ed25519 is made from.
const SEED_BYTES: usize = 32;

/// Both halves, ready for use.
pub(super) struct SharedKey {
    /// Accepts this key alone.
    pub(super) verifier: Arc<KeyVerifier>,
    pub(super) certified: Arc<CertifiedKey>,
}

/// That no key can be made.
#[derive(Debug)]
pub(super) struct NoKey;

impl<E: std::error::Error> From<E> for NoKey {
    fn from(_: E) -> Self {
        Self
    }
}

/// The key pair of a cluster.
pub(super) fn of(secret: &str, cluster_id: u16) -> Result<SharedKey, NoKey> {
    let mut seed = [0; SEED_BYTES];
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, CONTEXT).extract(secret.as_bytes());
    prk.expand(&[&cluster_id.to_le_bytes()], hkdf::HKDF_SHA256)?.fill(&mut seed)?;
    let document = Ed25519KeyPair::from_seed_unchecked(&seed)?.to_pkcs8()?;
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(document.as_ref().to_vec()));
    let signing = sign::any_supported_type(&private)?;
    let public = signing.public_key().ok_or(NoKey)?.as_ref().to_vec();
    let certified = CertifiedKey::new(vec![CertificateDer::from(public.clone())], signing);
    let algorithms = default_provider().signature_verification_algorithms;
    Ok(SharedKey { verifier: Arc::new(KeyVerifier { public, algorithms }), certified: Arc::new(certified) })
}

/// Accepts one key, on either side.
pub(super) struct KeyVerifier {
    /// As it is shown: an RFC 5280 SubjectPublicKeyInfo.
    public: Vec<u8>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl fmt::Debug for KeyVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyVerifier")
    }
}

impl KeyVerifier {
    fn check(&self, shown: &CertificateDer<'_>) -> Result<(), Error> {
        if shown.as_ref() == self.public {
            Ok(())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(shown.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }
}

fn no_tls12() -> Error {
    Error::General("no link speaks TLS 1.2".to_owned())
}

impl ServerCertVerifier for KeyVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for KeyVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(secret: &str, cluster_id: u16) -> Vec<u8> {
        of(secret, cluster_id).unwrap().verifier.public.clone()
    }

    #[test]
    fn one_secret_is_one_key_for_each_cluster() {
        let (one, other) = ("open sesame open sesame open sesame", "open sesame open sesame open sesamf");
        assert_eq!(public(one, 1), public(one, 1));
        assert_ne!(public(one, 1), public(one, 2));
        assert_ne!(public(one, 1), public(other, 1));
        let key = of(one, 1).unwrap();
        assert!(key.verifier.check(&CertificateDer::from(public(one, 1))).is_ok());
        assert!(key.verifier.check(&CertificateDer::from(public(one, 2))).is_err());
        assert!(key.verifier.check(&CertificateDer::from(Vec::new())).is_err());
    }

    #[test]
    fn the_key_of_a_secret_never_changes() {
        // Nodes of different releases have to agree upon it. Computed by other means than those under test.
        const EXPECTED: [u8; 44] = [
            0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00, 0xac, 0xa6, 0x0c, 0x4b, 0x5e, 0x26,
            0x34, 0x25, 0x6d, 0x15, 0xbb, 0x4b, 0x0c, 0x66, 0x76, 0xc6, 0xbd, 0xa3, 0x2e, 0x99, 0xc4, 0x19, 0x80, 0xb8,
            0x1a, 0xe5, 0x1e, 0xcc, 0x68, 0xb6, 0x82, 0xe4,
        ];
        assert_eq!(public("0123456789abcdef0123456789abcdef", 1), EXPECTED);
    }
}
