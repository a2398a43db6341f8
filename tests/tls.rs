//! Phones over TLS, with the real daemon: registered and called over their connection, and a certificate that is replaced.

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// How long anything may take before its test fails; nothing is waited for that long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running node with its files; killed when its test ends.
struct Node {
    child: Child,
    log: BufReader<ChildStderr>,
    folder: PathBuf,
    udp: SocketAddr,
    tls: SocketAddr,
}

impl Node {
    fn start(name: &str, ip: &str) -> (Self, CertificateDer<'static>) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let shown = write_certificate(&folder);
        let mut file = format!("[node]\nshards = 2\nlisten = [\"udp:{ip}:0\", \"tls:{ip}:0\"]\n");
        let place = folder.display();
        write!(file, "[domains]\nnames = [\"sip.example\"]\n[log]\nformat = \"json\"\n").unwrap();
        write!(file, "[tls]\ncertificate = \"{place}/certificate.pem\"\nkey = \"{place}/key.pem\"\n").unwrap();
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
        (node, shown)
    }

    /// The next log line that has this text.
    fn line(&mut self, text: &str) -> String {
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

    fn hang_up(&self) {
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

/// Writes a certificate that nobody else has issued, with its key.
fn write_certificate(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["sip.example".to_owned()]).unwrap();
    std::fs::write(folder.join("certificate.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

type Phone = StreamOwned<ClientConnection, TcpStream>;

/// A phone that trusts `trusted` alone, with its handshake done.
fn connect(to: SocketAddr, trusted: &CertificateDer<'static>) -> std::io::Result<Phone> {
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
fn read_message(phone: &mut Phone) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        phone.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).unwrap()
}

fn request(method: &str, uri: &str, via: &str, more: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{via};branch=z9hG4bK{method}\r\nMax-Forwards: 70\r\n\
         From: <sip:bob@sip.example>;tag=a\r\nTo: <sip:bob@sip.example>\r\nCall-ID: {method}\r\nCSeq: 1 {method}\r\n\
         {more}Content-Length: 0\r\n\r\n"
    )
}

fn register(phone: &mut Phone) -> String {
    let at = phone.sock.local_addr().unwrap();
    let contact = format!("Contact: <sip:bob@{at};transport=tls>\r\n");
    phone.write_all(request("REGISTER", "sip:sip.example", &format!("TLS {at}"), &contact).as_bytes()).unwrap();
    read_message(phone)
}

#[test]
fn a_phone_registers_over_tls_and_is_called_over_its_connection() {
    for (name, ip) in [("v4", "127.0.0.1"), ("v6", "[::1]")] {
        let (node, shown) = Node::start(name, ip);
        let mut phone = connect(node.tls, &shown).unwrap();
        let registered = register(&mut phone);
        assert!(registered.starts_with("SIP/2.0 200 "), "{registered}");

        let caller = UdpSocket::bind(format!("{ip}:0")).unwrap();
        caller.set_read_timeout(Some(PATIENCE)).unwrap();
        let via = format!("UDP {};rport", caller.local_addr().unwrap());
        let call = request("OPTIONS", "sip:bob@sip.example", &via, "");
        caller.send_to(call.as_bytes(), node.udp).unwrap();
        let asked = read_message(&mut phone);
        assert!(asked.starts_with(&format!("OPTIONS sip:bob@{}", phone.sock.local_addr().unwrap())), "{asked}");
        assert!(asked.contains(&format!("Via: SIP/2.0/TLS {};", node.tls)), "{asked}");
        // Its answer goes back to the caller.
        let answer = asked.split_once("\r\n").unwrap().1.replace("Max-Forwards: 69\r\n", "");
        phone.write_all(format!("SIP/2.0 200 OK\r\n{answer}").as_bytes()).unwrap();
        let mut datagram = [0; 4096];
        let len = caller.recv(&mut datagram).unwrap();
        assert!(datagram[..len].starts_with(b"SIP/2.0 200 OK"), "{}", String::from_utf8_lossy(&datagram[..len]));

        // Plain SIP gets no answer there.
        let mut plain = TcpStream::connect(node.tls).unwrap();
        plain.set_read_timeout(Some(PATIENCE)).unwrap();
        plain.write_all(call.as_bytes()).unwrap();
        let mut said = Vec::new();
        // A reset is as good an end as any.
        let _ = plain.read_to_end(&mut said);
        assert!(!said.starts_with(b"SIP"), "{said:?}");
    }
}

#[test]
fn a_certificate_is_replaced_without_losing_a_connection_and_a_bad_one_is_not_taken() {
    let (mut node, before) = Node::start("reload", "127.0.0.1");
    let mut phone = connect(node.tls, &before).unwrap();
    assert!(register(&mut phone).starts_with("SIP/2.0 200 "));

    let after = write_certificate(&node.folder);
    node.hang_up();
    node.line("phones are shown the certificate that was read again");
    connect(node.tls, &after).unwrap();
    connect(node.tls, &before).unwrap_err();
    assert!(register(&mut phone).starts_with("SIP/2.0 200 "), "the connection is kept");

    let key = std::fs::read(node.folder.join("key.pem")).unwrap();
    write_certificate(&node.folder);
    std::fs::write(node.folder.join("key.pem"), key).unwrap();
    node.hang_up();
    let line = node.line("cannot be used; the one from before is shown");
    assert!(line.contains("certificate.pem"), "{line}");
    connect(node.tls, &after).unwrap();

    let check = Command::new(env!("CARGO_BIN_EXE_sipfed")).arg("check").arg(node.folder.join("sipfed.toml")).output();
    let check = check.unwrap();
    let said = String::from_utf8_lossy(&check.stderr).into_owned();
    assert!(!check.status.success() && said.contains("tls.certificate"), "{said}");
}
