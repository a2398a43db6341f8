//! Why a connection came to no link: a reason that is counted, and a text for people.

use super::frame::Fault;
use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};
use std::fmt;
use std::io;

/// Each is counted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Nobody answers at the node's address.
    Unreachable,
    /// The handshake took too long.
    TimedOut,
    /// The other end hung up.
    Closed,
    /// It speaks no TLS, or none of ours.
    NotTls,
    /// It did not show that it is a node, or that it is the one that it should be.
    Untrusted,
    /// It does not take this node for one.
    Distrusted,
    /// It spoke TLS, and then something other than the protocol.
    Garbled,
    /// It is a node, and not one that belongs here.
    Refused,
    /// It says that of this node.
    RefusedByPeer,
    /// Too many handshakes were under way.
    NoPlace,
}

impl Reason {
    pub(super) const COUNT: usize = 10;

    /// The names of the counters, in the order above.
    pub(super) const NAMES: [&'static str; Self::COUNT] = [
        "unreachable",
        "timed_out",
        "closed",
        "not_tls",
        "untrusted",
        "distrusted",
        "garbled",
        "refused",
        "refused_by_peer",
        "no_place",
    ];
}

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: Reason,
    pub(super) why: String,
}

impl Failure {
    pub(super) fn new(reason: Reason, why: impl Into<String>) -> Self {
        Self { reason, why: why.into() }
    }

    /// Of a connection that broke.
    pub(super) fn of_io(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(tls) => Self::new(reason(tls), text(tls)),
            None if error.kind() == io::ErrorKind::UnexpectedEof => Self::new(Reason::Closed, "the other end hung up"),
            None => Self::new(Reason::Closed, format!("the connection broke: {error}")),
        }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::new(Reason::Garbled, format!("the other end sent {fault}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

fn reason(error: &Error) -> Reason {
    match error {
        Error::InvalidCertificate(_) | Error::NoCertificatesPresented => Reason::Untrusted,
        Error::PeerIncompatible(incompatible) if is_other_way(incompatible) => Reason::Untrusted,
        Error::AlertReceived(AlertDescription::CloseNotify) => Reason::Closed,
        Error::AlertReceived(_) => Reason::Distrusted,
        _ => Reason::NotTls,
    }
}

/// Whether one side goes by certificates and the other by a secret.
fn is_other_way(incompatible: &PeerIncompatible) -> bool {
    matches!(
        incompatible,
        PeerIncompatible::IncorrectCertificateTypeExtension | PeerIncompatible::UnsolicitedCertificateTypeExtension
    )
}

fn text(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the certificate of the other end is by an authority that is not in cluster.tls_ca".to_owned()
        }
        Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure) => {
            "the other end has another cluster.secret".to_owned()
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => {
            "the certificate of the other end is not valid for the IP address in the url of the node: have one issued with this \
             address as a subject alternative name"
                .to_owned()
        }
        Error::InvalidCertificate(other) => format!("the certificate of the other end cannot be used: {other}"),
        Error::NoCertificatesPresented => "the other end shows no certificate".to_owned(),
        Error::PeerIncompatible(incompatible) if is_other_way(incompatible) => {
            "one end goes by certificates and the other by a secret: configure both alike".to_owned()
        }
        Error::AlertReceived(alert) => {
            format!("the other end does not take this node for one of the cluster ({alert:?}); its log says why")
        }
        other => format!("the other end does not speak TLS 1.3 as nodes do: {other}"),
    }
}
