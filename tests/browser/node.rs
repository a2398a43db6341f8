//! A node that browsers can reach: it listens over UDP, ws and wss, and is killed when its test ends.

use crate::daemon::{Daemon, PATIENCE, Start, folder};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

pub(crate) struct Node {
    daemon: Daemon,
    pub(crate) udp: SocketAddr,
    pub(crate) ws: SocketAddr,
    pub(crate) wss: SocketAddr,
    /// The certificate that stands behind the one which the node shows, in PEM form.
    pub(crate) trusted: PathBuf,
}

impl Node {
    /// A node of `sip.example` with `more` in its file.
    pub(crate) fn start(more: &str) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), more)
    }

    /// The same at that address.
    pub(crate) fn start_at(ip: IpAddr, more: &str) -> Self {
        let folder = folder();
        let trusted = write_certificates(&folder);
        let place = folder.display();
        let file = format!(
            "[domains]\nnames = [\"sip.example\"]\n[ops]\nlisten = \"127.0.0.1:0\"\n\
             [tls]\ncertificate = \"{place}/certificate.pem\"\nkey = \"{place}/key.pem\"\n{more}"
        );
        let over = &["udp", "ws", "wss"];
        let daemon = Daemon::start(&Start {
            at: SocketAddr::new(ip, 0),
            over,
            file: &file,
            folder: Some(&folder),
            ..Start::default()
        });
        Self { udp: daemon.udp, ws: daemon.listens("ws"), wss: daemon.listens("wss"), daemon, trusted }
    }

    /// What a command of its operator is answered.
    pub(crate) fn ctl(&self, command: &[&str]) -> Value {
        let url = &self.daemon.management;
        let mut program = Command::new(env!("CARGO_BIN_EXE_sipfed"));
        program.args(["ctl", "--url", url]).args(command).arg("--json").stdin(Stdio::null());
        let output = program.output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A counter, added up over the shards.
    pub(crate) fn count(&self, name: &str) -> u64 {
        let report = self.ctl(&["report"]);
        let shards = report["Shards"].as_array().unwrap();
        shards
            .iter()
            .map(|shard| shard["counters"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {shard}")))
            .sum()
    }

    /// Waits until a counter has come to that.
    pub(crate) fn wait_for(&self, name: &str, count: u64) {
        let end = Instant::now() + PATIENCE;
        while self.count(name) < count {
            assert!(Instant::now() < end, "waited in vain until {name} is {count}");
        }
    }
}

/// Writes a certificate for this host, its key, and the certificate of who has issued it, whose path it returns.
fn write_certificates(folder: &Path) -> PathBuf {
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    // Two certificates of one name would be one that has issued itself.
    authority.distinguished_name.push(rcgen::DnType::CommonName, "authority of the tests");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    std::fs::write(folder.join("certificate.pem"), certificate.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    let trusted = folder.join("authority.pem");
    std::fs::write(&trusted, authority_certificate.pem()).unwrap();
    trusted
}
