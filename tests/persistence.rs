//! Nothing acknowledged is lost: the real daemon is killed at any moment, and what it had answered is there again.

#[path = "sipp/daemon.rs"]
mod daemon;

use daemon::{Daemon, PATIENCE, Start, folder, total};
use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::path::Path;
use std::time::{Duration, Instant};

/// Times that the daemon is killed under load. `SIPFED_CRASH_ROUNDS` asks for more.
const ROUNDS: u32 = 50;
/// Subscribers of the crash test.
const USERS: usize = 400;
/// Requests that wait for their answer at a time.
const WINDOW: usize = 48;

/// What a phone has been answered, and what it has asked since.
#[derive(Clone, Debug, Default)]
struct Phone {
    cseq: u32,
    /// What the last answered request left behind.
    answered: Left,
    /// What was asked and not answered: it may have been done, or not.
    asked: Option<Left>,
}

/// What a REGISTER leaves behind: nothing, or a binding with this x.
type Left = Vec<u32>;

/// Phones behind one socket, which repeat nothing.
struct Phones {
    socket: UdpSocket,
    all: Vec<Phone>,
    /// xorshift, so that a failing round can be told by its seed.
    random: u64,
}

impl Phones {
    fn new(seed: u64) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        Self { socket, all: vec![Phone::default(); USERS], random: seed | 1 }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % below
    }

    fn message(&self, node: &Daemon, user: usize, contact: Option<&str>) -> String {
        let (local, phone) = (self.socket.local_addr().unwrap(), &self.all[user]);
        let contact = contact.map(|contact| format!("Contact: {contact}\r\n")).unwrap_or_default();
        let (aor, cseq) = (format!("<sip:u{user}@{}>", node.udp), phone.cseq);
        format!(
            "REGISTER sip:{node} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {local};branch=z9hG4bK{user}x{cseq};rport\r\n\
             From: {aor};tag={user}\r\nTo: {aor}\r\nCall-ID: call-{user}\r\nCSeq: {cseq} REGISTER\r\n\
             Max-Forwards: 70\r\n{contact}Content-Length: 0\r\n\r\n",
            node = node.udp
        )
    }

    /// Asks for one change of `user`: a binding, the same again, another Contact, or none.
    fn ask(&mut self, node: &Daemon, user: usize) {
        let local = self.socket.local_addr().unwrap();
        let (choice, fresh) = (self.draw(10), self.draw(1000) as u32);
        let wanted = match (choice, self.all[user].answered.first()) {
            (0, Some(_)) => vec![],
            (1..=6, Some(&same)) => vec![same],
            _ => vec![fresh],
        };
        // A binding is one instance, so that another Contact replaces it.
        let instance = format!("+sip.instance=\"<urn:x:{user}>\"");
        let expires_s = if wanted.is_empty() { 0 } else { 3600 };
        let x = wanted.first().or(self.all[user].answered.first()).copied().unwrap_or_default();
        let contact = format!("<sip:u{user}@{local};x={x}>;{instance};expires={expires_s}");
        self.all[user].cseq += 1;
        self.all[user].asked = Some(wanted);
        let message = self.message(node, user, Some(&contact));
        self.socket.send_to(message.as_bytes(), node.udp).unwrap();
    }

    /// Takes in the next answer to a request that waits for one; the user it is for.
    fn take(&mut self) -> Option<usize> {
        loop {
            let mut room = [0; 2048];
            let length = self.socket.recv(&mut room).ok()?;
            let answer = std::str::from_utf8(&room[..length]).unwrap();
            let (user, cseq) = named(answer);
            let phone = &mut self.all[user];
            // An answer to a fetch that was repeated may still come.
            if cseq != phone.cseq {
                continue;
            }
            let Some(done) = phone.asked.take() else { continue };
            if answer.starts_with("SIP/2.0 200 ") {
                phone.answered = done;
            }
            return Some(user);
        }
    }

    /// Keeps `WINDOW` requests on their way until `count` have been answered and the daemon is killed.
    fn load_until_killed(&mut self, node: &mut Daemon, count: usize) {
        let mut free: Vec<usize> = (0..USERS).collect();
        let (mut answered, mut open) = (0, 0);
        let end = Instant::now() + PATIENCE;
        while answered < count {
            assert!(Instant::now() < end, "{answered} of {count} requests were answered");
            while open < WINDOW && !free.is_empty() {
                let at = self.draw(free.len() as u64) as usize;
                let user = free.swap_remove(at);
                self.ask(node, user);
                open += 1;
            }
            if let Some(user) = self.take() {
                free.push(user);
                (answered, open) = (answered + 1, open - 1);
            }
        }
        node.kill();
        // What it had sent before it died counts.
        while self.take().is_some() {}
    }

    /// Checks what the daemon knows against what it had answered.
    fn check(&mut self, node: &Daemon, seed: u64) {
        let mut missing: BTreeSet<usize> = (0..USERS).collect();
        let end = Instant::now() + PATIENCE;
        while !missing.is_empty() {
            assert!(Instant::now() < end, "seed {seed}: {} fetches were not answered", missing.len());
            for &user in missing.iter().take(WINDOW) {
                self.socket.send_to(self.message(node, user, None).as_bytes(), node.udp).unwrap();
            }
            let mut room = [0; 2048];
            while let Ok(length) = self.socket.recv(&mut room) {
                let answer = std::str::from_utf8(&room[..length]).unwrap();
                let (user, _) = named(answer);
                if missing.remove(&user) {
                    self.judge(user, answer, seed);
                }
                if missing.len().is_multiple_of(WINDOW) {
                    break;
                }
            }
        }
    }

    fn judge(&mut self, user: usize, answer: &str, seed: u64) {
        assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
        let found: Left = answer
            .lines()
            .filter_map(|line| line.strip_prefix("Contact: ")?.split_once(";x=")?.1.split_once('>')?.0.parse().ok())
            .collect();
        let phone = &mut self.all[user];
        let may_be = found == phone.answered || phone.asked.as_ref() == Some(&found);
        assert!(may_be, "seed {seed}: u{user} had {:?}, may have {:?}, has {found:?}", phone.answered, phone.asked);
        (phone.answered, phone.asked) = (found, None);
    }
}

/// The user and the CSeq of an answer.
fn named(answer: &str) -> (usize, u32) {
    let value = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let user = value("Call-ID: call-").parse().unwrap();
    (user, value("CSeq: ").split_once(' ').unwrap().0.parse().unwrap())
}

fn start(data: &Path, shards: u8, file: &str) -> Daemon {
    Daemon::start(&Start { shards, data: Some(data), file, ..Start::default() })
}

#[test]
fn nothing_that_was_answered_is_lost_when_the_daemon_is_killed() {
    let folder = folder();
    let rounds = std::env::var("SIPFED_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let mut phones = Phones::new(seed);
    let mut node = start(&folder, 2, "");
    for _ in 0..rounds {
        let count = 1 + phones.draw(1500) as usize;
        phones.load_until_killed(&mut node, count);
        drop(node);
        node = start(&folder, 2, "");
        phones.check(&node, seed);
    }
    node.stop();
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn another_number_of_shards_keeps_everything() {
    let folder = folder();
    let mut phones = Phones::new(7);
    let mut node = start(&folder, 1, "");
    for shards in [2, 3, 1] {
        phones.load_until_killed(&mut node, 1000);
        drop(node);
        node = start(&folder, shards, "");
        phones.check(&node, 7);
    }
    let reports = node.reports();
    assert_eq!(reports.len(), 1);
    node.stop();
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_is_kept_on_the_disk_is_there_after_a_stop_and_after_a_kill() {
    let folder = folder();
    let file = "[persistence]\ndurability = \"disk\"\n";
    let mut phones = Phones::new(11);
    let mut node = start(&folder, 2, file);
    phones.load_until_killed(&mut node, 500);
    drop(node);
    let node = start(&folder, 2, file);
    phones.check(&node, 11);
    node.stop();
    let mut node = start(&folder, 2, file);
    phones.check(&node, 11);
    node.wait_until("the bindings are there", |reports| total(reports, "bindings") > 0);
    node.stop();
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_second_node_on_the_same_directory_is_refused() {
    let folder = folder();
    let node = start(&folder, 1, "");
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_sipfed"))
        .args(["serve", "--listen", "udp:127.0.0.1:0", "--data-dir"])
        .arg(&folder)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{text}");
    assert!(text.contains(&folder.display().to_string()) && text.contains(&node.pid.to_string()), "{text}");
    node.stop();
    std::fs::remove_dir_all(folder).unwrap();
}

/// One REGISTER of a user of its own, repeated until it is answered; the answer. What it has the daemon keep is large,
/// so that a few thousand of them fill what a log has set aside.
fn register_anew(node: &Daemon, socket: &UdpSocket, number: u32) -> String {
    let (local, at, long) = (socket.local_addr().unwrap(), node.udp, "x".repeat(900));
    let aor = format!("<sip:n{number}@{at}>");
    let message = format!(
        "REGISTER sip:{at} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKn{number};rport\r\n\
         From: {aor};tag=1\r\nTo: {aor}\r\nCall-ID: n{number}\r\nCSeq: 1 REGISTER\r\nMax-Forwards: 70\r\n\
         Contact: <sip:n{number}@{local};u={long}>;p={long}\r\nPath: <sip:{local};lr;p={long}>\r\n\
         Supported: path\r\nContent-Length: 0\r\n\r\n"
    );
    let end = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < end, "n{number} was not answered");
        socket.send_to(message.as_bytes(), at).unwrap();
        let mut room = [0; 8192];
        while let Ok(length) = socket.recv(&mut room) {
            let answer = std::str::from_utf8(&room[..length]).unwrap();
            if answer.contains(&format!("Call-ID: n{number}\r\n")) {
                return answer.to_owned();
            }
        }
    }
}

/// Writes files into a folder until nothing more fits; they are `filler-0` and so on.
fn fill(folder: &Path) -> u32 {
    let mut bytes = 1 << 20;
    for number in 0.. {
        let written = std::fs::write(folder.join(format!("filler-{number}")), vec![0; bytes]);
        match written {
            Err(_) if bytes == 1 => return number,
            Err(_) => bytes /= 2,
            Ok(()) => {}
        }
    }
    unreachable!("a disk has an end")
}

#[test]
fn a_full_disk_refuses_registrations_and_recovers() {
    for durability in ["process", "disk"] {
        let file = format!("[persistence]\ndurability = \"{durability}\"\n");
        fill_the_disk_of_a_daemon(&file);
    }
}

fn fill_the_disk_of_a_daemon(file: &str) {
    let folder = folder();
    let mount = "mount -t tmpfs -o size=96m none \"$1\" && shift && exec \"$@\"";
    let place = folder.display().to_string();
    let may_mount = std::process::Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|s| s.success());
    if !may_mount {
        assert!(std::env::var_os("CI").is_none(), "nothing is skipped in CI, and no small disk can be made here");
        println!("skipped: this user may not make a small disk (unshare -m)");
        return;
    }
    let data = folder.join("data");
    let within = ["unshare", "-m", "sh", "-c", mount, "sh", &place];
    let node = Daemon::start(&Start { shards: 1, data: Some(&data), within: &within, file, ..Start::default() });
    let disk = std::path::PathBuf::from(format!("/proc/{}/root{place}", node.pid));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(register_anew(&node, &socket, 0).starts_with("SIP/2.0 200 "));

    let fillers = fill(&disk);
    // The log may have some room that it has asked for already.
    let refused = (1..100_000).find(|&number| {
        let answer = register_anew(&node, &socket, number);
        let is_refused = answer.starts_with("SIP/2.0 503 ") && answer.contains("Retry-After: ");
        assert!(is_refused || answer.starts_with("SIP/2.0 200 "), "{answer}");
        is_refused
    });
    let refused = refused.expect("a full disk refuses");
    let options = format!(
        "OPTIONS sip:{at} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKo;rport\r\nFrom: <sip:a@b>;tag=1\r\n\
         To: <sip:{at}>\r\nCall-ID: o\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
        at = node.udp,
        local = socket.local_addr().unwrap()
    );
    socket.send_to(options.as_bytes(), node.udp).unwrap();
    let mut room = [0; 2048];
    let length = socket.recv(&mut room).expect("everything else goes on");
    assert!(room[..length].starts_with(b"SIP/2.0 200 "));

    for number in 0..=fillers {
        let _ = std::fs::remove_file(disk.join(format!("filler-{number}")));
    }
    let end = Instant::now() + PATIENCE;
    while !register_anew(&node, &socket, refused).starts_with("SIP/2.0 200 ") {
        assert!(Instant::now() < end, "registrations are not taken again");
    }
    let log = node.end();
    let told = |line: &&String| line.contains("the log does not take registrations");
    assert_eq!(log.iter().filter(told).count(), 1, "told once: {log:#?}");
    std::fs::remove_dir_all(folder).unwrap();
}
