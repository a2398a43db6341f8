//! TLS of SIP in a node: what it shows, and by what it knows peers. In: the files of the section `tls`, at the start and
//! whenever the node is told to read them again. Out: what the data plane begins connections with. Files that cannot be used
//! leave what was read before in use, and the log says why.

use super::failed;
use crate::cli::Exit;
use crate::config::Config;
use crate::peer_tls::PeerVerifier;
use crate::phone_tls::{PhoneCertificate, Standing};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::{error, info, warn};

/// How often the log says that a certificate ends.
const TELL_INTERVAL: Duration = Duration::from_hours(24);

/// What a node has that takes part in TLS.
#[derive(Debug)]
pub(super) struct NodeTls {
    certificate: Arc<PhoneCertificate>,
    verifier: Arc<PeerVerifier>,
    warning_days: u32,
    /// When the log has said last how certificates stand.
    told_at: Mutex<Instant>,
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
        let (warning_days, told_at) = (config.node.phone_tls.expiry_warning_days, Mutex::new(Instant::now()));
        let tls = Self { certificate, verifier, warning_days, told_at };
        tls.tell();
        Ok(Some(tls))
    }

    /// Tells daily of certificates that end.
    pub(super) fn look(&self) {
        if self.told_at.lock().unwrap_or_else(PoisonError::into_inner).elapsed() >= TELL_INTERVAL {
            self.tell();
        }
    }

    fn tell(&self) {
        *self.told_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        for validity in self.certificate.validities() {
            let file = validity.file.display();
            match validity.standing(self.warning_days) {
                Standing::Valid => {}
                Standing::EndsSoon(days) => {
                    warn!(%file, ends_at = validity.ends_at(), days, "a certificate ends soon: renew it, and have it read again");
                }
                Standing::Expired => {
                    error!(%file, ended_at = validity.ends_at(), "a certificate has expired: phones and peers refuse it");
                }
                Standing::NotYet => {
                    error!(%file, begins_at = validity.begins_at(), "a certificate does not count yet: phones and peers refuse it");
                }
            }
        }
    }

    /// Reads the files again; what cannot be used is logged, and told. Connections that exist are kept.
    pub(super) fn reload(&self) -> Result<(), String> {
        let (certificate, verifier) = (self.certificate.reload(), self.verifier.reload());
        let reasons: Vec<String> = [&certificate, &verifier]
            .into_iter()
            .filter_map(|read| read.as_ref().err())
            .map(ToString::to_string)
            .collect();
        match certificate {
            Ok(()) => info!("phones are shown the certificate that was read again"),
            Err(error) => error!(
                reason = %error,
                "the certificate for phones was read again and cannot be used; the one from before is shown"
            ),
        }
        match verifier {
            Ok(()) => info!("peers are verified by the authorities that were read again"),
            Err(error) => error!(
                reason = %error,
                "the authorities of peers were read again and cannot be used; those from before count"
            ),
        }
        self.tell();
        if reasons.is_empty() { Ok(()) } else { Err(reasons.join("; ")) }
    }
}
