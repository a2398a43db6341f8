//! The process under measurement: started by us, or already running on this machine.
//!
//! Its cost is the CPU clock of the whole process (user and system time of all threads, ended ones included),
//! which the kernel keeps in nanoseconds; `/proc/PID/stat` counts in ticks of 10 ms. Another process's clock
//! is brought up to date when its threads leave the CPU or at a tick, so it is read when the server has been
//! idle for a moment. What we start dies with us: killed when dropped, and by the kernel if we are killed.
//!
//! - [`again`]: a daemon that is ended and started over what it has kept.
//! - [`daemon_log`]: what a daemon that logs JSON says of itself.
//! - [`directory_probe`]: what it says of its directory, for a thread beside the one that loads it.
//! - [`threads`]: what its shards' threads alone have used.

mod again;
mod daemon_log;
mod directory_probe;
mod threads;

pub(crate) use again::End;
pub(crate) use daemon_log::LogTotals;
pub(crate) use directory_probe::{DirectoryProbe, DirectoryState};

use crate::echo::{Mode, READY};
use crate::error::{Doing, Error};
use crate::sys::{self, CpuClock};
use again::Launch;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a daemon may take until it answers.
const START_S_MAX: u64 = 60;
/// How long a server is left alone before its CPU clock is read.
const SETTLE: Duration = Duration::from_millis(10);
/// Lines of a failed server's log that are shown.
const LOG_LINES_COUNT: usize = 12;
/// Bytes of a log that are looked at, from its end.
const LOG_BYTES_MAX: u64 = 16 << 10;

/// A server on this machine and its processes.
pub(crate) struct Server {
    address: SocketAddr,
    pids: Vec<u32>,
    clocks: Vec<CpuClock>,
    child: Option<ChildGuard>,
    /// How it was started, if it is a daemon of ours. Dropped after the child, which still writes to its files.
    launch: Option<Launch>,
}

/// A child process that does not outlive its owner.
struct ChildGuard {
    child: Child,
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill, and waiting only reaps it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// A server that runs already, made up of the processes `pids`.
    pub(crate) fn attach(address: SocketAddr, pids: &[u32]) -> Result<Self, Error> {
        if !address.ip().is_loopback() {
            return Err(Error::NotLoopback(address));
        }
        let clocks = pids.iter().map(|&pid| CpuClock::of_process(pid)).collect::<Result<_, _>>();
        let clocks = clocks.doing("finding the CPU clock of --pid")?;
        let mut server = Self { address, pids: pids.to_vec(), clocks, child: None, launch: None };
        server.wait_until_it_answers()?;
        Ok(server)
    }

    /// A process of another kind that runs already, of which only costs are of interest; it is asked for nothing.
    pub(crate) fn watch(address: SocketAddr, pid: u32) -> Result<Self, Error> {
        let clock = CpuClock::of_process(pid).doing("finding the CPU clock of a process")?;
        Ok(Self { address, pids: vec![pid], clocks: vec![clock], child: None, launch: None })
    }

    /// Starts `program serve` on a free port of 127.0.0.1, with `shards` shards and `arguments` behind. `settings` makes
    /// the text of its configuration for that address; an empty one is none. One that
    /// `runs_idle` runs on what others leave of the processors.
    pub(crate) fn start_daemon(
        program: &Path,
        shards: usize,
        arguments: &[String],
        runs_idle: bool,
        settings: impl FnOnce(SocketAddr) -> String,
    ) -> Result<Self, Error> {
        let address = free_address()?;
        let launch = Launch::new(program, address, shards, arguments, runs_idle, &settings(address))?;
        let child = Self::spawn(launch.command()?, program)?;
        let mut server = Self { launch: Some(launch), ..Self::of_child(child, address)? };
        server.wait_until_it_answers()?;
        Ok(server)
    }

    /// Starts one of the yardsticks as a process of its own.
    pub(crate) fn start_echo(mode: Mode, threads: usize, reply_bytes: usize) -> Result<Self, Error> {
        let program = std::env::current_exe().doing("finding this executable")?;
        let mut command = Command::new(&program);
        let mode = if mode == Mode::Recvfrom { "recvfrom" } else { "mmsg" };
        command
            .args(["echo", "--mode", mode, "--threads", &threads.to_string()])
            .args(["--reply-bytes", &reply_bytes.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut guard = Self::spawn(command, &program)?;
        let output = guard.child.stdout.take().expect("the output is piped");
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).doing("waiting for the echo server")?;
        let address = line.trim().strip_prefix(READY).and_then(|address| address.parse().ok());
        Self::of_child(guard, address.ok_or(Error::Options("the echo server did not start"))?)
    }

    fn spawn(mut command: Command, program: &Path) -> Result<ChildGuard, Error> {
        sys::die_with_parent(&mut command);
        let child = command.spawn().map_err(|source| Error::Start { program: program.to_owned(), source })?;
        Ok(ChildGuard { child })
    }

    fn of_child(guard: ChildGuard, address: SocketAddr) -> Result<Self, Error> {
        let pid = guard.child.id();
        let clock = CpuClock::of_process(pid).doing("finding the CPU clock of a child")?;
        Ok(Self { address, pids: vec![pid], clocks: vec![clock], child: Some(guard), launch: None })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// CPU time of all its processes so far, once they have come to rest.
    pub(crate) fn cpu_ns(&self) -> Result<u64, Error> {
        std::thread::sleep(SETTLE);
        let mut sum_ns = 0;
        for clock in &self.clocks {
            sum_ns += clock.read_ns().doing("reading the server's CPU clock")?;
        }
        Ok(sum_ns)
    }

    /// Resident memory of all its processes.
    pub(crate) fn resident_bytes(&self) -> Result<u64, Error> {
        let mut sum = 0;
        for pid in &self.pids {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
            sum += resident_bytes(&status.doing("reading the server's memory")?)
                .ok_or(Error::Options("the server's /proc status has no VmRSS"))?;
        }
        Ok(sum)
    }

    /// Fails when a process that we started has ended by itself.
    pub(crate) fn check_alive(&mut self) -> Result<(), Error> {
        let Some(guard) = &mut self.child else { return Ok(()) };
        match guard.child.try_wait().doing("looking after the server")? {
            None => Ok(()),
            Some(status) => Err(Error::Ended { status, log: self.log_tail() }),
        }
    }

    /// Any answer to an OPTIONS (RFC 3261 §11) shows that it is there.
    fn wait_until_it_answers(&mut self) -> Result<(), Error> {
        let local = SocketAddr::new(self.address.ip(), 0);
        let socket = UdpSocket::bind(local).doing("binding the probe's socket")?;
        socket.connect(self.address).doing("connecting the probe's socket")?;
        socket.set_read_timeout(Some(Duration::from_millis(100))).doing("bounding the probe's wait")?;
        let port = socket.local_addr().doing("reading the probe's port")?.port();
        let started = Instant::now();
        let mut room = [0; 2048];
        for attempt in 0_u64.. {
            if started.elapsed() > Duration::from_secs(START_S_MAX) {
                break;
            }
            // Refused while nobody listens: the next attempt sees.
            let _ = socket.send(options(self.address, port, attempt).as_bytes());
            match socket.recv(&mut room) {
                Ok(length) if room[..length].starts_with(b"SIP/2.0 ") => return Ok(()),
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
            self.check_alive()?;
        }
        let waited_s = started.elapsed().as_secs();
        Err(Error::Silent { server: self.address, waited_s, log: self.log_tail() })
    }

    fn log_tail(&self) -> String {
        let text = self.launch.as_ref().and_then(|launch| tail(&launch.log).ok()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_LINES_COUNT)..];
        if tail.is_empty() { String::new() } else { format!("\nits log ends with:\n{}", tail.join("\n")) }
    }
}

fn tail(log: &File) -> io::Result<String> {
    let length = log.metadata()?.len().min(LOG_BYTES_MAX);
    let mut bytes = vec![0; length as usize];
    log.read_exact_at(&mut bytes, log.metadata()?.len() - length)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// A port that is free for UDP and for TCP. It is let go before the daemon takes it, which is a race in theory.
pub(crate) fn free_address() -> Result<SocketAddr, Error> {
    let loopback = IpAddr::from([127, 0, 0, 1]);
    loop {
        let udp = UdpSocket::bind((loopback, 0)).doing("looking for a free port")?;
        let address = udp.local_addr().doing("reading a free port")?;
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
}

fn options(server: SocketAddr, port: u16, attempt: u64) -> String {
    let ip = server.ip();
    format!(
        "OPTIONS sip:{server} SIP/2.0\r\n\
         Via: SIP/2.0/UDP {ip}:{port};branch=z9hG4bKprobe{attempt};rport\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:probe@{ip}>;tag=p{attempt}\r\n\
         To: <sip:{server}>\r\n\
         Call-ID: probe-{port}-{attempt}@bench.invalid\r\n\
         CSeq: 1 OPTIONS\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t   2048 kB\nThreads:\t1\n"), Some(2 << 20));
        assert_eq!(resident_bytes("Name:\tx\n"), None);
    }

    #[test]
    fn the_probe_is_a_request_that_rsip_reads() {
        let text = options("127.0.0.1:5060".parse().unwrap(), 40_000, 3);
        let request = rsip::Request::try_from(text.as_str()).unwrap();
        assert_eq!(request.method, rsip::Method::Options);
    }

    #[test]
    fn nothing_is_measured_on_another_machine() {
        let elsewhere = "192.0.2.1:5060".parse().unwrap();
        assert!(matches!(Server::attach(elsewhere, &[1]), Err(Error::NotLoopback(_))));
    }
}
