//! Whom the node takes for whom over TLS that it opens (RFC 5922 §7, RFC 5280). In: the authorities, from a file or from the
//! system, at the start and again whenever the node is told to. Out: what the data plane begins connections with, which always
//! goes by what was read last.
//!
//! A peer is known by the name that led to it (RFC 5922 §7.3), or where that was an address, by an iPAddress of its
//! certificate. Names are compared whole: a wildcard stands for nothing (§7.2). The common name of a subject is not looked at,
//! which §7.1 leaves open. A session is never resumed, so that every connection is verified by the authorities of its time.

use crate::pem::{self, Unusable};
use crate::phone_tls::PhoneCertificate;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use tracing::warn;

/// The authorities that certificates of peers are issued by.
#[derive(Debug)]
pub(crate) struct PeerVerifier {
    /// Their file; `None` for those of the system.
    file: Option<PathBuf>,
    roots: RwLock<Arc<RootCertStore>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PeerVerifier {
    /// Reads the authorities.
    pub(crate) fn new(file: Option<&Path>) -> Result<Arc<Self>, Unusable> {
        let roots = RwLock::new(Arc::new(authorities(file)?));
        let algorithms = default_provider().signature_verification_algorithms;
        Ok(Arc::new(Self { file: file.map(Path::to_owned), roots, algorithms }))
    }

    /// Reads the authorities again.
    pub(crate) fn reload(&self) -> Result<(), Unusable> {
        let read = Arc::new(authorities(self.file.as_deref())?);
        *self.roots.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }

    /// What connections to peers begin with: TLS 1.2 or 1.3, and where the peer asks for a certificate, the one that phones
    /// are shown too (RFC 5922 §7.4).
    pub(crate) fn client(self: &Arc<Self>, shown: &Arc<PhoneCertificate>) -> Result<Arc<ClientConfig>, Error> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(self) as _)
            .with_client_cert_resolver(Arc::clone(shown) as _);
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let roots = Arc::clone(&self.roots.read().unwrap_or_else(PoisonError::into_inner));
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&certificate, &roots, intermediates, now, self.algorithms.all)?;
        match server_name {
            ServerName::DnsName(name) => verify_domain(&certificate, end_entity, server_name, name.as_ref())?,
            _ => verify_server_name(&certificate, server_name)?,
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// RFC 5922 §7.1 and §7.2: the domains of the certificate are those of its sip URIs without a user, and where it has none of
/// these, its dNSNames.
fn verify_domain(
    certificate: &ParsedCertificate<'_>,
    der: &CertificateDer<'_>,
    server_name: &ServerName<'_>,
    name: &str,
) -> Result<(), Error> {
    let unreadable = |_| Error::InvalidCertificate(CertificateError::BadEncoding);
    let names = webpki::EndEntityCert::try_from(der).map_err(unreadable)?;
    let mut uris = names.valid_uri_names().filter_map(domain_of_uri).peekable();
    if uris.peek().is_none() {
        // By the library, which knows what a dNSName is, and then once more without its wildcards.
        verify_server_name(certificate, server_name)?;
        if names.valid_dns_names().any(|dns| dns.eq_ignore_ascii_case(name)) {
            return Ok(());
        }
    } else if uris.any(|domain| domain.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    let presented = names.valid_uri_names().chain(names.valid_dns_names()).map(str::to_owned).collect();
    let expected = server_name.to_owned();
    Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext { expected, presented }))
}

/// The domain of a URI that identifies one (RFC 5922 §7.1): of the scheme sip, and without a user.
fn domain_of_uri(uri: &str) -> Option<&str> {
    let (scheme, rest) = uri.split_once(':')?;
    let host_and_port = rest.split([';', '?']).next()?;
    let host = host_and_port.rsplit_once(':').map_or(host_and_port, |(host, _)| host);
    (scheme.eq_ignore_ascii_case("sip") && !rest.contains('@') && !host.is_empty()).then_some(host)
}

/// The authorities in `file`, or else those that the system trusts.
fn authorities(file: Option<&Path>) -> Result<RootCertStore, Unusable> {
    if let Some(file) = file {
        return pem::authorities(file, "tls.authorities");
    }
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        warn!(
            reason = reasons.join("; "),
            "the system has no authorities, so that no peer can be verified over TLS that the node opens; install them (as \
             ca-certificates does), or name a file as tls.authorities"
        );
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};

    struct Authority(CertifiedIssuer<'static, KeyPair>);

    impl Authority {
        fn new() -> Self {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
        }

        fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            change(&mut params);
            params.signed_by(&KeyPair::generate().unwrap(), &self.0).unwrap().der().clone()
        }

        fn verifier(&self) -> PeerVerifier {
            let mut roots = RootCertStore::empty();
            roots.add(self.0.der().clone()).unwrap();
            let algorithms = default_provider().signature_verification_algorithms;
            PeerVerifier { file: None, roots: RwLock::new(Arc::new(roots)), algorithms }
        }
    }

    fn dns(name: &str) -> SanType {
        SanType::DnsName(name.try_into().unwrap())
    }

    fn uri(uri: &str) -> SanType {
        SanType::URI(uri.try_into().unwrap())
    }

    fn verify(verifier: &PeerVerifier, certificate: &CertificateDer<'_>, name: &str) -> Result<(), Error> {
        let name = ServerName::try_from(name).unwrap();
        verifier.verify_server_cert(certificate, &[], &name, &[], UnixTime::now()).map(|_| ())
    }

    #[test]
    fn rfc5922_7_1_and_7_2_names_are_those_of_sip_uris_else_of_dns_and_are_compared_whole() {
        let authority = Authority::new();
        let verifier = authority.verifier();
        for (sans, name, is_right) in [
            (vec![dns("sip.example")], "sip.example", true),
            (vec![dns("SIP.Example")], "sip.eXample", true),
            (vec![dns("sip.example")], "edge.sip.example", false),
            (vec![dns("edge.sip.example")], "sip.example", false),
            (vec![dns("*.example")], "sip.example", false),
            (vec![uri("sip:example.com")], "example.com", true),
            (vec![uri("SIP:example.com")], "example.com", true),
            (vec![uri("sip:example.com:5061;transport=tcp")], "example.com", true),
            // A sip URI takes the place of all dNSNames.
            (vec![uri("sip:example.com"), dns("sip.example.com")], "sip.example.com", false),
            (vec![uri("sip:example.com"), dns("sip.example.com")], "example.com", true),
            // What is no such URI takes nobody's place.
            (vec![uri("sip:bob@example.com")], "example.com", false),
            (vec![uri("sips:example.com")], "example.com", false),
            (vec![uri("https://example.com"), dns("example.com")], "example.com", true),
            (vec![], "example.com", false),
        ] {
            let text = format!("{sans:?} for {name}");
            let certificate = authority.issue(|params| params.subject_alt_names = sans);
            assert_eq!(verify(&verifier, &certificate, name).is_ok(), is_right, "{text}");
        }
    }

    #[test]
    fn rfc5280_an_address_has_to_stand_in_the_certificate_itself() {
        let authority = Authority::new();
        let verifier = authority.verifier();
        let address = |ip: &str| SanType::IpAddress(ip.parse().unwrap());
        for (san, name, is_right) in [
            (address("192.0.2.1"), "192.0.2.1", true),
            (address("2001:db8::1"), "2001:db8::1", true),
            (address("192.0.2.2"), "192.0.2.1", false),
            (dns("sip.example"), "192.0.2.1", false),
            (uri("sip:192.0.2.1"), "192.0.2.1", false),
        ] {
            let certificate = authority.issue(|params| params.subject_alt_names = vec![san]);
            assert_eq!(verify(&verifier, &certificate, name).is_ok(), is_right, "{name}");
        }
    }

    #[test]
    fn rfc5280_the_authority_and_the_time_have_to_be_right_and_a_subject_is_no_name() {
        let authority = Authority::new();
        let certificate = authority.issue(|params| params.subject_alt_names = vec![dns("sip.example")]);
        assert!(verify(&authority.verifier(), &certificate, "sip.example").is_ok());
        assert!(verify(&Authority::new().verifier(), &certificate, "sip.example").is_err());
        let old = authority.issue(|params| {
            params.subject_alt_names = vec![dns("sip.example")];
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        });
        let error = verify(&authority.verifier(), &old, "sip.example").unwrap_err();
        assert!(error.to_string().contains("expired"), "{error}");
        let by_subject = authority.issue(|params| params.distinguished_name.push(DnType::CommonName, "sip.example"));
        assert!(verify(&authority.verifier(), &by_subject, "sip.example").is_err());
    }
}
