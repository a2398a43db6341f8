//! A node that browsers can reach: it listens over UDP, ws and wss, and is killed when its test ends.

use serde_json::Value;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take before its test fails; nothing is waited for that long.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Node {
    child: Child,
    log: BufReader<ChildStderr>,
    folder: PathBuf,
    management: String,
    pub(crate) udp: SocketAddr,
    pub(crate) ws: SocketAddr,
    pub(crate) wss: SocketAddr,
    /// The certificate that stands behind the one which the node shows, in PEM form.
    pub(crate) trusted: PathBuf,
}

impl Node {
    /// A node of `sip.example` with `more` in its file.
    pub(crate) fn start(name: &str, more: &str) -> Self {
        let name = format!("{}-{name}-{}", env!("CARGO_CRATE_NAME"), std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let trusted = write_certificates(&folder);
        let listen = "listen = [\"udp:127.0.0.1:0\", \"ws:127.0.0.1:0\", \"wss:127.0.0.1:0\"]";
        let mut file = format!("[node]\nshards = 2\n{listen}\n[domains]\nnames = [\"sip.example\"]\n");
        let place = folder.display();
        write!(file, "[log]\nformat = \"json\"\n[ops]\nlisten = \"127.0.0.1:0\"\n").unwrap();
        write!(file, "[tls]\ncertificate = \"{place}/certificate.pem\"\nkey = \"{place}/key.pem\"\n{more}").unwrap();
        let config = folder.join("sipfed.toml");
        std::fs::write(&config, file).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_sipfed"))
            .args(["serve", "--config"])
            .arg(config)
            .arg("--data-dir")
            .arg(folder.join("data"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let ready = ready_line(&mut log);
        let addr = |scheme: &str| {
            let found = ready.split(['"', ' ']).find_map(|part| part.strip_prefix(scheme)?.parse().ok());
            found.unwrap_or_else(|| panic!("{ready}"))
        };
        let management = ready.split(['"', ' ']).find(|part| part.starts_with("http://")).unwrap().to_owned();
        Self { child, log, folder, management, udp: addr("udp:"), ws: addr("ws:"), wss: addr("wss:"), trusted }
    }

    /// What a command of its operator is answered.
    pub(crate) fn ctl(&self, command: &[&str]) -> Value {
        let url = &self.management;
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

impl Drop for Node {
    fn drop(&mut self) {
        // Where it has ended already, nobody is left to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let mut said = String::new();
            let _ = std::io::Read::read_to_string(&mut self.log, &mut said);
            eprintln!("the node said:\n{said}");
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn ready_line(log: &mut impl BufRead) -> String {
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        assert!(log.read_line(&mut line).unwrap() > 0, "the node is not ready:\n{seen}");
        if line.contains("\"ready\"") {
            return line;
        }
        seen.push_str(&line);
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
