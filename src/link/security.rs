//! How nodes know each other: TLS 1.3, with both sides showing who they are. In: the configuration and its files, at the
//! start, and the files again whenever the node is told to ([`Certificates`]). Out: connections whose other end is a node of
//! the cluster.
//!
//! By **certificates**, the other end is the node whose `url` has the IP address that its certificate is valid for, issued by
//! an authority of `cluster.tls_ca`. Who dials knows the node beforehand; who is dialled learns only by the hello which node
//! it is, and then asks [`Security::check_node`].
//!
//! By a **secret**, all nodes have one key pair (Ed25519), made from the secret and the number of the cluster, and show its
//! public half (RFC 7250). That proves that the other end knows the secret; which node it is, is what it says.
//!
//! No session is resumed, so that every connection proves it anew.

use super::failure::Failure;
use super::shared_key::{self, NoKey, SharedKey};
use crate::config::{Config, TlsFiles};
use crate::pem::{self, Unusable};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};
use sipfed_directory::choose_cryptography;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

/// What is wrong with what nodes are to know each other by. No text has the secret.
#[derive(Debug)]
pub(crate) struct SecurityError {
    pub(crate) what: String,
    pub(crate) right: &'static str,
}

impl SecurityError {
    pub(super) fn new(what: impl Into<String>, right: &'static str) -> Self {
        Self { what: what.into(), right }
    }
}

impl From<Unusable> for SecurityError {
    fn from(Unusable { what, right }: Unusable) -> Self {
        Self { what, right }
    }
}

impl fmt::Display for SecurityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.right)
    }
}

/// The files that certificates are read from, whenever that is.
#[derive(Clone, Debug)]
pub(crate) struct Certificates {
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    /// The IP address that the certificate has to be valid for.
    own: IpAddr,
}

impl Certificates {
    /// Those that the configuration names; `None` where it names none. `own` is the IP address in this node's `url`.
    pub(crate) fn of(config: &Config, own: IpAddr) -> Option<Self> {
        let TlsFiles { ca, certificate, key } = &config.node.tls;
        Some(Self { ca: ca.clone()?, certificate: certificate.clone()?, key: key.clone()?, own })
    }

    /// Reads them as they are now.
    pub(crate) fn read(&self) -> Result<Security, SecurityError> {
        Security::by_certificates(&self.ca, &self.certificate, &self.key, self.own)
    }
}

/// See the module's documentation.
#[derive(Clone)]
pub(crate) struct Security {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    is_by_certificates: bool,
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Security").field("by", &self.word()).finish_non_exhaustive()
    }
}

impl Security {
    /// What the configuration says; `None` where it says nothing. `own` is the IP address in this node's `url`.
    pub(crate) fn of(config: &Config, own: IpAddr) -> Result<Option<Self>, SecurityError> {
        match (Certificates::of(config, own), &config.cluster.links.secret) {
            (Some(certificates), _) => certificates.read().map(Some),
            (None, Some(secret)) => Self::by_secret(secret, config.cluster.provisioning.cluster_id.get()).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// By files in PEM form.
    pub(super) fn by_certificates(
        ca: &Path,
        certificate: &Path,
        key: &Path,
        own: IpAddr,
    ) -> Result<Self, SecurityError> {
        choose_cryptography();
        let roots = Arc::new(pem::authorities(ca, "cluster.tls_ca")?);
        let chain = pem::certificates(certificate, "cluster.tls_certificate")?;
        let unusable = |error: &dyn fmt::Display| {
            let what = format!("cluster.tls_certificate, {}, cannot be used: {error}", certificate.display());
            SecurityError::new(what, "have a certificate issued for this node, and name the key that belongs to it")
        };
        let private_key = pem::private_key(key, "cluster.tls_key")?;
        check_address(&chain[0], own).map_err(|error| unusable(&error))?;
        let verifier = |error: &dyn fmt::Display| {
            SecurityError::new(format!("cluster.tls_ca cannot be used: {error}"), "name the authorities of the nodes")
        };
        let provider = Arc::new(default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(|error| verifier(&error))?;
        let servers = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|error| verifier(&error))?;
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .and_then(|builder| {
                builder.with_client_cert_verifier(clients).with_single_cert(chain.clone(), private_key.clone_key())
            })
            .map_err(|error| unusable(&error))?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .and_then(|builder| builder.with_webpki_verifier(servers).with_client_auth_cert(chain, private_key))
            .map_err(|error| unusable(&error))?;
        Ok(Self::with(server, client, true))
    }

    /// By what all nodes of a cluster share.
    pub(super) fn by_secret(secret: &str, cluster_id: u16) -> Result<Self, SecurityError> {
        choose_cryptography();
        let unusable = |_: NoKey| SecurityError::new("no key can be made of cluster.secret", "write another secret");
        let SharedKey { verifier, certified } = shared_key::of(secret, cluster_id).map_err(unusable)?;
        let provider = Arc::new(default_provider());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| unusable(error.into()))?
            .with_client_cert_verifier(Arc::clone(&verifier) as _)
            .with_cert_resolver(Arc::new(rustls::server::AlwaysResolvesServerRawPublicKeys::new(Arc::clone(
                &certified,
            ))));
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| unusable(error.into()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(rustls::client::AlwaysResolvesClientRawPublicKeys::new(certified)));
        Ok(Self::with(server, client, false))
    }

    fn with(mut server: ServerConfig, mut client: ClientConfig, is_by_certificates: bool) -> Self {
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        client.resumption = Resumption::disabled();
        Self { acceptor: Arc::new(server).into(), connector: Arc::new(client).into(), is_by_certificates }
    }

    /// By what nodes know each other, for people.
    pub(crate) fn word(&self) -> &'static str {
        if self.is_by_certificates { "certificates" } else { "a secret" }
    }

    /// Makes of an accepted connection one with a node of the cluster.
    pub(super) async fn accept(&self, tcp: TcpStream) -> Result<TlsStream<TcpStream>, Failure> {
        self.acceptor.accept(tcp).await.map(TlsStream::from).map_err(|error| Failure::of_io(&error))
    }

    /// Makes of an opened connection one with the node whose `url` has this IP address.
    pub(super) async fn dial(&self, tcp: TcpStream, ip: IpAddr) -> Result<TlsStream<TcpStream>, Failure> {
        let connected = self.connector.connect(ServerName::IpAddress(ip.into()), tcp).await;
        connected.map(TlsStream::from).map_err(|error| Failure::of_io(&error))
    }

    /// Whether the other end of an accepted connection is the node whose `url` has this IP address; why not otherwise. By a
    /// secret nothing can be said against it.
    pub(super) fn check_node(&self, stream: &TlsStream<TcpStream>, ip: IpAddr) -> Result<(), String> {
        if !self.is_by_certificates {
            return Ok(());
        }
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).ok_or("it shows none")?;
        check_address(certificate, ip).map_err(|error| error.to_string())
    }
}

/// Whether a certificate is for this IP address.
fn check_address(certificate: &CertificateDer<'_>, ip: IpAddr) -> Result<(), rustls::Error> {
    verify_server_name(&ParsedCertificate::try_from(certificate)?, &ServerName::IpAddress(ip.into()))
}
