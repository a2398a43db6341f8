//! A real node with a listener for TLS, and phones that speak with it.

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// How long anything may take before its test fails; nothing is waited for that long.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A running node with its files; killed when its test ends.
pub(super) struct Node {
    pub(super) child: Child,
    log: BufReader<ChildStderr>,
    pub(super) folder: PathBuf,
    pub(super) udp: SocketAddr,
    pub(super) tls: SocketAddr,
}

impl Node {
    /// A node that shows a certificate for `sip.example`, with nothing else configured.
    pub(super) fn start(name: &str, ip: &str) -> (Self, CertificateDer<'static>) {
        let folder = folder(name);
        let shown = write_certificate(&folder);
        (Self::start_in(folder, ip, "", ""), shown)
    }

    /// A node that shows the certificate that lies in its folder, with `more` in its file and `tls` in the section of TLS.
    pub(super) fn start_in(folder: PathBuf, ip: &str, more: &str, tls: &str) -> Self {
        let mut file = format!("[node]\nshards = 2\nlisten = [\"udp:{ip}:0\", \"tls:{ip}:0\"]\n");
        let place = folder.display();
        write!(file, "[domains]\nnames = [\"sip.example\"]\n[log]\nformat = \"json\"\n").unwrap();
        write!(file, "[tls]\ncertificate = \"{place}/certificate.pem\"\nkey = \"{place}/key.pem\"\n{tls}{more}")
            .unwrap();
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
        let log = BufReader::new(child.stderr.take().unwrap());
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut node = Self { child, log, folder, udp: nowhere, tls: nowhere };
        let ready = node.line("\"ready\"");
        let addr = |scheme: &str| {
            let found = ready.split(['"', ' ']).find_map(|part| part.strip_prefix(scheme)?.parse().ok());
            found.unwrap_or_else(|| panic!("{ready}"))
        };
        (node.udp, node.tls) = (addr("udp:"), addr("tls:"));
        node
    }

    /// The next log line that has this text.
    pub(super) fn line(&mut self, text: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            assert!(self.log.read_line(&mut line).unwrap() > 0, "the log ended without {text}:\n{seen}");
            if line.contains(text) {
                return line;
            }
            seen.push_str(&line);
        }
    }

    pub(super) fn hang_up(&self) {
        let status = Command::new("sh").arg("-c").arg(format!("kill -HUP {}", self.child.id())).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Where it has ended already, nobody is left to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// An empty folder of a test.
pub(super) fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tls-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Writes a certificate that nobody else has issued, with its key.
pub(super) fn write_certificate(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["sip.example".to_owned()]).unwrap();
    std::fs::write(folder.join("certificate.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

pub(super) type Phone = StreamOwned<ClientConnection, TcpStream>;

/// A phone that trusts `trusted` alone, with its handshake done.
pub(super) fn connect(to: SocketAddr, trusted: &CertificateDer<'static>) -> std::io::Result<Phone> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("sip.example").unwrap();
    let mut phone = StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), TcpStream::connect(to)?);
    phone.sock.set_read_timeout(Some(PATIENCE))?;
    while phone.conn.is_handshaking() {
        phone.conn.complete_io(&mut phone.sock)?;
    }
    Ok(phone)
}

/// The next message, which has no body.
pub(super) fn read_message(phone: &mut Phone) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        phone.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).unwrap()
}

pub(super) fn request(method: &str, uri: &str, via: &str, more: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{via};branch=z9hG4bK{method}\r\nMax-Forwards: 70\r\n\
         From: <sip:bob@sip.example>;tag=a\r\nTo: <sip:bob@sip.example>\r\nCall-ID: {method}\r\nCSeq: 1 {method}\r\n\
         {more}Content-Length: 0\r\n\r\n"
    )
}

pub(super) fn register(phone: &mut Phone) -> String {
    let at = phone.sock.local_addr().unwrap();
    let contact = format!("Contact: <sip:bob@{at};transport=tls>\r\n");
    phone.write_all(request("REGISTER", "sip:sip.example", &format!("TLS {at}"), &contact).as_bytes()).unwrap();
    read_message(phone)
}
