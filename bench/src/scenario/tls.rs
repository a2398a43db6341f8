//! `tls`: phones that are connected over TLS and say nothing. What each costs in memory, and what its handshake costs.
//!
//! One client opens one connection after the other, with a full handshake of TLS 1.3 (ECDSA on P-256), and sends one keep-alive
//! over it (RFC 5626 §4.4.1), so that the daemon has read and written once. Handshakes by a ticket are measured behind that. At
//! the end each connection is asked once more whether it is there.

use crate::cli::TlsArgs;
use crate::error::{Doing, Error};
use crate::report::{Figure, Report};
use crate::server::{Server, free_address};
use crate::{sys, target};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The server that phones name.
const NAME: &str = "sip.bench.example";
/// How long the daemon may take for anything.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long what the daemon does behind its answers may go on.
const SETTLE: Duration = Duration::from_secs(1);
/// Descriptors that the generator has beside connections.
const DESCRIPTORS_BESIDE: u64 = 64;

type Phone = StreamOwned<ClientConnection, TcpStream>;

/// The daemon's certificate, in files that go with it.
struct Certificate {
    folder: PathBuf,
    trusted: RootCertStore,
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Certificate {
    fn new() -> Result<Self, Error> {
        let folder = std::env::temp_dir().join(format!("sipfed-bench-tls-{}", std::process::id()));
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).map_err(io::Error::other);
        let made = made.doing("making a certificate")?;
        std::fs::create_dir_all(&folder).doing("making a folder for the certificate")?;
        let mut trusted = RootCertStore::empty();
        trusted.add(made.cert.der().clone()).map_err(io::Error::other).doing("trusting the certificate")?;
        let written = Self { folder, trusted };
        for (file, text) in [("certificate.pem", made.cert.pem()), ("key.pem", made.signing_key.serialize_pem())] {
            std::fs::write(written.folder.join(file), text).doing("writing the certificate")?;
        }
        Ok(written)
    }

    /// The daemon's configuration.
    fn settings(&self) -> String {
        let folder = self.folder.display();
        format!("[tls]\ncertificate = \"{folder}/certificate.pem\"\nkey = \"{folder}/key.pem\"\n")
    }

    fn client(&self, resumption: Resumption) -> Result<Arc<ClientConfig>, Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
        let builder = builder.map_err(io::Error::other).doing("setting up TLS")?;
        let mut config = builder.with_root_certificates(self.trusted.clone()).with_no_client_auth();
        config.resumption = resumption;
        Ok(Arc::new(config))
    }
}

/// Runs the scenario.
pub(crate) fn run(args: &TlsArgs) -> Result<Report, Error> {
    let connections = args.server.sized(args.connections, 64);
    let rounds = args.server.sized(args.rounds, 1);
    sys::raise_descriptors(u64::from(connections) * 2 + DESCRIPTORS_BESIDE).doing("asking for more descriptors")?;
    let certificate = Certificate::new()?;
    let (mut each, mut full, mut resumed, mut alive) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let address = free_address()?;
        let listen = format!("tls:{address}");
        let mut server = args.server.start_backup("none", &["--listen", &listen], |_| certificate.settings())?;
        let before = server.resident_bytes()?;
        let config = certificate.client(Resumption::disabled())?;
        let (mut phones, per_s) = connect_all(&mut server, address, connections, &config)?;
        full.push(per_s);
        std::thread::sleep(if args.server.smoke { Duration::ZERO } else { SETTLE });
        let grown = server.resident_bytes()?.saturating_sub(before);
        each.push(grown as f64 / f64::from(connections));
        let config = certificate.client(Resumption::in_memory_sessions(connections as usize))?;
        // The first one has no ticket yet.
        connect(address, &config).doing("connecting over TLS")?;
        let (again, per_s) = connect_all(&mut server, address, connections.div_ceil(4), &config)?;
        resumed.push(per_s);
        drop(again);
        alive.push(phones.iter_mut().filter_map(|phone| ping(phone).ok()).count() as f64);
        server.check_alive()?;
    }
    let mut report = Report::new("tls");
    report.set("connections", connections.into());
    report.set("rounds", rounds.into());
    report.set("shards", args.server.shards() as u64);
    let memory = Figure::new("resident per idle connection", "bytes", &each);
    report.add(memory.against(target::TLS_CONNECTION_BYTES));
    report.add(Figure::new("full handshakes a second of CPU", "1/s", &full));
    report.add(Figure::new("handshakes by ticket a second of CPU", "1/s", &resumed));
    report.add(Figure::new("connections that are there at the end", "connections", &alive));
    Ok(report)
}

/// Opens so many connections, and says how many of them the daemon opens in a second of its CPU.
fn connect_all(
    server: &mut Server,
    address: SocketAddr,
    count: u32,
    config: &Arc<ClientConfig>,
) -> Result<(Vec<Phone>, f64), Error> {
    let before_ns = server.cpu_ns()?;
    let mut phones = Vec::with_capacity(count as usize);
    for _ in 0..count {
        phones.push(connect(address, config).doing("connecting over TLS")?);
    }
    let used_ns = server.cpu_ns()?.saturating_sub(before_ns);
    server.check_alive()?;
    Ok((phones, f64::from(count) * 1e9 / used_ns.max(1) as f64))
}

/// A connection that has been used once.
fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Phone> {
    let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
    let tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_nodelay(true)?;
    let mut phone = StreamOwned::new(tls, socket);
    ping(&mut phone)?;
    Ok(phone)
}

/// A keep-alive and its answer.
fn ping(phone: &mut Phone) -> io::Result<()> {
    phone.write_all(b"\r\n\r\n")?;
    phone.flush()?;
    phone.read_exact(&mut [0; 2])
}
