//! Certificates and keys out of files in PEM form. In: where a file is, and the key of the configuration that names it. Out: what
//! is in it, or what is wrong with it and what would be right.

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[error("{what}; {right}")]
pub(crate) struct Unusable {
    pub(crate) what: String,
    pub(crate) right: &'static str,
}

/// The certificates in a file; one at least.
pub(crate) fn certificates(path: &Path, key: &str) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let right = "write certificates in PEM form";
    let bytes = contents(path, key)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(Unusable { what: format!("{key}, {}, has no certificate", path.display()), right }),
        Err(error) => Err(Unusable { what: format!("{key}, {}, is not PEM: {error}", path.display()), right }),
    }
}

/// The authorities in a file; one at least.
pub(crate) fn authorities(path: &Path, key: &str) -> Result<RootCertStore, Unusable> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, key)? {
        roots.add(certificate).map_err(|error| Unusable {
            what: format!("{key}, {}, has a certificate of no authority: {error}", path.display()),
            right: "write the certificates of the authorities in PEM form",
        })?;
    }
    Ok(roots)
}

/// The private key in a file.
pub(crate) fn private_key(path: &Path, key: &str) -> Result<PrivateKeyDer<'static>, Unusable> {
    PrivateKeyDer::from_pem_slice(&contents(path, key)?).map_err(|error| Unusable {
        what: format!("{key}, {}, has no private key in PEM form: {error}", path.display()),
        right: "write the key in PEM form, without a password",
    })
}

fn contents(path: &Path, key: &str) -> Result<Vec<u8>, Unusable> {
    std::fs::read(path).map_err(|error| Unusable {
        what: format!("{key}, {}, cannot be read: {error}", path.display()),
        right: "correct the path, or let the user of the node read the file",
    })
}
