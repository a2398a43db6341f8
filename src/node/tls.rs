//! TLS of SIP in a node: what it shows, and by what it knows peers. In: the files of the section `tls`, at the start and
//! whenever the node is told to read them again. Out: what the data plane begins connections with. Files that cannot be used
//! leave what was read before in use, and the log says why.

use super::failed;
use crate::cli::Exit;
use crate::config::Config;
use crate::peer_tls::PeerVerifier;
use crate::phone_tls::PhoneCertificate;
use std::sync::Arc;
use tracing::{error, info};

/// What a node has that takes part in TLS.
#[derive(Debug)]
pub(super) struct NodeTls {
    certificate: Arc<PhoneCertificate>,
    verifier: Arc<PeerVerifier>,
}

impl NodeTls {
    /// Reads the files, and has the data plane begin connections with them; `None` where no certificate is configured.
    pub(super) fn prepare(config: &mut Config) -> Result<Option<Self>, Exit> {
        let files = &config.node.phone_tls;
        let certificate = PhoneCertificate::of(files)
            .map_err(|error| failed(config, "the certificate for phones cannot be shown", &error))?;
        let Some(certificate) = certificate else { return Ok(None) };
        let verifier = PeerVerifier::new(files.authorities.as_deref())
            .map_err(|error| failed(config, "peers cannot be verified over TLS", &error))?;
        let (server, client) = (certificate.server(), verifier.client(&certificate));
        let server = server.map_err(|error| failed(config, "TLS for phones cannot be set up", &error))?;
        let client = client.map_err(|error| failed(config, "TLS to peers cannot be set up", &error))?;
        let options = &mut config.node.sockets.tls;
        (options.server, options.client) = (Some(server), Some(client));
        Ok(Some(Self { certificate, verifier }))
    }

    /// Reads the files again. Connections that exist are kept.
    pub(super) fn reload(&self) {
        match self.certificate.reload() {
            Ok(()) => info!("phones are shown the certificate that was read again"),
            Err(error) => error!(
                reason = %error,
                "the certificate for phones was read again and cannot be used; the one from before is shown"
            ),
        }
        match self.verifier.reload() {
            Ok(()) => info!("peers are verified by the authorities that were read again"),
            Err(error) => error!(
                reason = %error,
                "the authorities of peers were read again and cannot be used; those from before count"
            ),
        }
    }
}
