//! Phones that others wrote: sipsak and baresip register with the daemon, ping it and call each other through it.

#[path = "sipp/daemon.rs"]
mod daemon;
#[path = "sipp/place.rs"]
mod place;
#[path = "sipp/tool.rs"]
mod tool;

use daemon::{Daemon, PATIENCE, Report, Start, folder, total};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

/// A daemon at a port of four digits, since sipsak cuts longer ones; `None` when a program is missing.
fn node(name: &str, program: &str, package: &str) -> Option<Daemon> {
    tool::is_installed(name, program, package).then(|| Daemon::start(&Start { at: place::free(), ..Start::default() }))
}

fn sipsak(arguments: &str) {
    let output = Command::new("sipsak").args(arguments.split(' ')).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "sipsak {arguments}\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn sipsak_registers_and_pings() {
    let Some(mut node) = node("sipsak_registers_and_pings", "sipsak", "sipsak") else { return };
    let at = node.udp;
    for (transport, user) in [("udp", "alice"), ("tcp", "bob")] {
        sipsak(&format!("-v -E {transport} -s sip:{at}"));
        // -i: the Via of the answer is not searched for a hint to an address that was not given.
        sipsak(&format!("-U -i -v -E {transport} -s sip:{user}@{at} -C sip:{user}@127.0.0.1:9 -x 600"));
        // The same Contact again is a refresh, and `*` removes it.
        sipsak(&format!("-U -i -v -E {transport} -s sip:{user}@{at} -C sip:{user}@127.0.0.1:9 -x 600"));
        sipsak(&format!("-U -i -v -E {transport} -s sip:{user}@{at} -C * -x 0"));
    }
    let reports = node.reports();
    let names = ["registers_accepted", "bindings_created", "bindings_removed", "refused_request"];
    assert_eq!(names.map(|name| total(&reports, name)), [6, 2, 2, 0], "{reports:#?}");
    node.stop();
}

/// A running baresip; killed when its test fails.
struct Baresip {
    child: Child,
    lines: Receiver<String>,
    folder: PathBuf,
}

impl Baresip {
    /// Starts the phone of `user`, which registers at `registrar`, answers by itself, types `command`, and trusts the
    /// authorities in a file.
    fn start(registrar: SocketAddr, user: &str, transport: &str, command: &[&str], trusted: &Path) -> Self {
        let (folder, at) = (folder(), place::free());
        let account = format!("<sip:{user}@{registrar};transport={transport}>;regint=600;answermode=auto\n");
        // A bridge stands for the sound card: what is played is recorded again.
        let config = format!(
            "sip_listen {at}\n\
             sip_cafile {}\n\
             sip_verify_server yes\n\
             audio_player aubridge,{user}\n\
             audio_source aubridge,{user}\n\
             audio_alert aubridge,{user}\n\
             module_path {}\n\
             module g711.so\n\
             module aubridge.so\n\
             module_app account.so\n\
             module_app menu.so\n",
            trusted.display(),
            modules().display()
        );
        for (name, text) in [("accounts", &*account), ("config", &*config), ("contacts", "")] {
            fs::write(folder.join(name), text).unwrap();
        }
        let mut child = Command::new("baresip")
            .args(["-t", &PATIENCE.as_secs().to_string(), "-f"])
            .arg(&folder)
            .args(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Its progress line has no end; what is waited for stands on lines of its own.
        let output = BufReader::new(child.stdout.take().unwrap()).split(b'\n');
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            output.map_while(Result::ok).try_for_each(|line| sender.send(String::from_utf8_lossy(&line).into_owned()))
        });
        Self { child, lines, folder }
    }

    /// Waits until it says `text`.
    fn says(&self, text: &str) {
        let mut said = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            if line.contains(text) {
                return;
            }
            said.push(line);
        }
        panic!("baresip did not say `{text}`:\n{}", said.join("\n"));
    }
}

impl Drop for Baresip {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Where baresip keeps its modules: beside its own prefix, or in the folder of this machine's architecture.
fn modules() -> PathBuf {
    let lib = PathBuf::from("/usr/lib");
    let architecture = lib.join(format!("{}-linux-gnu/baresip/modules", std::env::consts::ARCH));
    if architecture.exists() { architecture } else { lib.join("baresip/modules") }
}

fn one_baresip_calls_another(name: &str, transports: [&str; 2]) {
    if !tool::is_installed(name, "baresip", "baresip-core") {
        return;
    }
    let (at, place) = (place::free(), folder());
    let within_tls = SocketAddr::new(at.ip(), at.port() + 1);
    let certificate = place.join("certificate.pem");
    let made = rcgen::generate_simple_self_signed([at.ip().to_string()]).unwrap();
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(place.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let file = format!("[tls]\ncertificate = \"{0}/certificate.pem\"\nkey = \"{0}/key.pem\"\n", place.display());
    let mut node = Daemon::start(&Start { at, also: &[&format!("tls:{within_tls}")], file: &file, ..Start::default() });
    let phone = |user: &str, transport: &str, command: &[&str]| {
        let registrar = if transport == "tls" { within_tls } else { at };
        Baresip::start(registrar, user, transport, command, &certificate)
    };
    let [called, calling] = transports;
    let bob = phone("bob", called, &[]);
    bob.says("200 OK");
    let dialled = if calling == "tls" { format!("{within_tls};transport=tls") } else { at.to_string() };
    let alice = phone("alice", calling, &["-e", &format!("/dial sip:bob@{dialled}")]);
    alice.says("Call established");
    bob.says("Call established");
    let is_registered = |reports: &[Report]| total(reports, "bindings_created") == 2;
    let reports = node.wait_until("both phones are registered", is_registered);
    assert!(total(&reports, "requests_proxied") > 0, "{reports:#?}");
    drop((alice, bob));
    node.stop();
    let _ = fs::remove_dir_all(&place);
}

#[test]
fn one_baresip_calls_another_over_udp() {
    one_baresip_calls_another("one_baresip_calls_another_over_udp", ["udp", "udp"]);
}

#[test]
fn one_baresip_calls_another_over_tcp() {
    one_baresip_calls_another("one_baresip_calls_another_over_tcp", ["tcp", "tcp"]);
}

#[test]
fn one_baresip_calls_another_from_udp_to_tcp() {
    one_baresip_calls_another("one_baresip_calls_another_from_udp_to_tcp", ["tcp", "udp"]);
}

#[test]
fn one_baresip_calls_another_over_tls() {
    one_baresip_calls_another("one_baresip_calls_another_over_tls", ["tls", "tls"]);
}

#[test]
fn one_baresip_calls_another_from_udp_to_tls() {
    one_baresip_calls_another("one_baresip_calls_another_from_udp_to_tls", ["tls", "udp"]);
}
