//! A session with a cluster: how it is opened, and what its errors mean.

use crate::store::{StoreError, StoreOptions, connect_timeout};
use crate::url::{CassandraUrl, Credentials, Level};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::{Session, TlsContext};
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::{
    ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError, ExecutionError, MetadataError,
    NewSessionError, PrepareError, RequestAttemptError,
};
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::policies::retry::FallthroughRetryPolicy;
use scylla::statement::Consistency;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a change of the schema may be on its way to all servers.
const SCHEMA_AGREEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// Certificates of the system, on Debian and on Red Hat and their relatives.
const SYSTEM_CERTIFICATES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// Opens a session, within [`connect_timeout`].
pub(super) async fn connected(url: &CassandraUrl, options: &StoreOptions) -> Result<Session, StoreError> {
    let mut policy = DefaultPolicy::builder().token_aware(true);
    if let Some(datacenter) = &url.datacenter {
        policy = policy.prefer_datacenter(datacenter.clone()).permit_dc_failover(true);
    }
    let profile = ExecutionProfile::builder()
        .consistency(consistency(url.consistency))
        .request_timeout(Some(options.timeout))
        .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
        .load_balancing_policy(policy.build())
        .build();
    let limit = connect_timeout(options);
    let mut builder = SessionBuilder::new()
        .known_nodes(&url.hosts)
        .connection_timeout(limit)
        .schema_agreement_timeout(SCHEMA_AGREEMENT_TIMEOUT)
        .keyspaces_to_fetch([url.keyspace.as_str()])
        .default_execution_profile_handle(profile.into_handle());
    if let Some(Credentials { user, password }) = &url.credentials {
        builder = builder.user(user, password);
    }
    if url.tls {
        builder = builder.tls_context(Some(tls(url.ca.as_deref())?));
    }
    let session = match tokio::time::timeout(limit, builder.build()).await {
        Ok(Ok(session)) => session,
        Ok(Err(error)) if is_refusal(&error) => {
            let what = format!("{url}: the cluster refuses the connection; see to user, password and certificates");
            return Err(StoreError::refused(what).because(error));
        }
        Ok(Err(error)) => return Err(StoreError::unavailable(format!("{url}: no connection")).because(error)),
        Err(_) => {
            return Err(StoreError::unavailable(format!("{url}: no connection within {} s", limit.as_secs())));
        }
    };
    if let Some(datacenter) = &url.datacenter {
        check_datacenter(&session, url, datacenter)?;
    }
    Ok(session)
}

/// A datacenter that does not exist would silently be no preference at all.
fn check_datacenter(session: &Session, url: &CassandraUrl, datacenter: &str) -> Result<(), StoreError> {
    let state = session.get_cluster_state();
    let mut known: Vec<&str> = state.get_nodes_info().iter().filter_map(|node| node.datacenter.as_deref()).collect();
    known.sort_unstable();
    known.dedup();
    if known.contains(&datacenter) {
        return Ok(());
    }
    let known = known.join(", ");
    Err(StoreError::refused(format!("{url}: there is no datacenter {datacenter}; write datacenter= one of {known}")))
}

fn tls(ca: Option<&Path>) -> Result<TlsContext, StoreError> {
    let path = match ca {
        Some(path) => path.to_owned(),
        None => SYSTEM_CERTIFICATES.iter().map(PathBuf::from).find(|path| path.exists()).ok_or_else(|| {
            StoreError::refused("the system has no certificates to trust; name a file of them with ca=/path.pem")
        })?,
    };
    let unusable = || StoreError::refused(format!("{}: no certificates in PEM form can be read", path.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&path).map_err(|error| unusable().because(error))? {
        let added = roots.add(certificate.map_err(|error| unusable().because(error))?);
        // A system's bundle may hold some that this library does not take; the operator's own file may not.
        if ca.is_some() {
            added.map_err(|error| unusable().because(error))?;
        }
    }
    if roots.is_empty() {
        return Err(unusable());
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(TlsContext::Rustls023(Arc::new(config)))
}

const fn consistency(level: Level) -> Consistency {
    match level {
        Level::One => Consistency::One,
        Level::Two => Consistency::Two,
        Level::Three => Consistency::Three,
        Level::Quorum => Consistency::Quorum,
        Level::All => Consistency::All,
        Level::LocalQuorum => Consistency::LocalQuorum,
        Level::EachQuorum => Consistency::EachQuorum,
        Level::LocalOne => Consistency::LocalOne,
    }
}

/// What the failure of a statement means that names tables which were found or made a moment ago. Where another node has
/// just made them, a server describes them before it knows them itself: it will know them.
pub(super) fn failed_early(what: String, error: ExecutionError) -> StoreError {
    let is_late = match &error {
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(DbError::Invalid, said))
        | ExecutionError::PrepareError(PrepareError::AllAttemptsFailed {
            first_attempt: RequestAttemptError::DbError(DbError::Invalid, said),
            ..
        }) => said.contains("does not exist"),
        _ => false,
    };
    if is_late { StoreError::unavailable(what).because(error) } else { failed(what, error) }
}

/// What the failure of a request means; `what` says what was to be done, and where.
pub(super) fn failed(what: String, error: ExecutionError) -> StoreError {
    let refused = match &error {
        ExecutionError::BadQuery(_) => true,
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, _))
        | ExecutionError::PrepareError(PrepareError::AllAttemptsFailed {
            first_attempt: RequestAttemptError::DbError(error, _),
            ..
        }) => is_for_good(error),
        _ => false,
    };
    if refused { StoreError::refused(what).because(error) } else { StoreError::unavailable(what).because(error) }
}

/// Whether the server would say the same again.
const fn is_for_good(error: &DbError) -> bool {
    matches!(
        error,
        DbError::SyntaxError
            | DbError::Invalid
            | DbError::AlreadyExists { .. }
            | DbError::FunctionFailure { .. }
            | DbError::AuthenticationError
            | DbError::Unauthorized
            | DbError::ConfigError
            | DbError::ProtocolError
    )
}

fn is_refusal(error: &NewSessionError) -> bool {
    match error {
        NewSessionError::IllegalConfig(_) => true,
        NewSessionError::MetadataError(MetadataError::ConnectionPoolError(ConnectionPoolError::Broken {
            last_connection_error,
            ..
        })) => match last_connection_error {
            ConnectionError::ConnectionSetupRequestError(setup) => match &setup.error {
                ConnectionSetupRequestErrorKind::DbError(error, _) => is_for_good(error),
                ConnectionSetupRequestErrorKind::MissingAuthentication
                | ConnectionSetupRequestErrorKind::StartAuthSessionError(_)
                | ConnectionSetupRequestErrorKind::AuthChallengeEvaluationError(_)
                | ConnectionSetupRequestErrorKind::AuthFinishError(_) => true,
                _ => false,
            },
            // As rustls tells a certificate that it does not trust.
            ConnectionError::IoError(error) => error.kind() == ErrorKind::InvalidData,
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_does_not_know_its_new_tables_yet_is_late() {
        let of = |error, said: &str| {
            let first_attempt = RequestAttemptError::DbError(error, said.to_owned());
            ExecutionError::from(PrepareError::AllAttemptsFailed { first_attempt })
        };
        let absent = || of(DbError::Invalid, "table homes_epochs does not exist");
        assert!(failed_early(String::new(), absent()).is_passing());
        assert!(!failed(String::new(), absent()).is_passing(), "later it is gone for good");
        assert!(!failed_early(String::new(), of(DbError::Unauthorized, "no SELECT")).is_passing());
        assert!(!failed_early(String::new(), of(DbError::Invalid, "Undefined column name")).is_passing());
    }

    #[test]
    fn certificates_that_cannot_be_read_are_named() {
        crate::choose_cryptography();
        let Err(error) = tls(Some(Path::new("/nonexistent/ca.pem"))) else { panic!("it should be refused") };
        assert!(!error.is_passing());
        assert!(error.told().starts_with("/nonexistent/ca.pem: no certificates in PEM form can be read: "));
        assert!(tls(Some(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")))).is_err());
    }
}
