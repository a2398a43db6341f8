//! One run of SIPp: a scenario, its calls, and what became of them.

use crate::daemon::{LOOK_INTERVAL, PATIENCE, folder};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// Lines of what SIPp logged that a failing test shows.
const SHOWN_LINES: usize = 60;

/// A run that is being put together.
#[derive(Debug)]
pub(crate) struct Sipp {
    command: Command,
    scenario: String,
    folder: PathBuf,
    calls: u64,
    at: SocketAddr,
}

/// A run that goes on; killed when its test fails.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    sipp: Sipp,
}

impl Sipp {
    /// `calls` calls of a scenario by an agent at `at` with the node at `node`.
    pub(crate) fn new(scenario: &str, node: SocketAddr, at: SocketAddr, calls: u64) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/sipp/scenarios/{scenario}.xml"));
        assert!(file.exists(), "{} is missing", file.display());
        let folder = folder();
        let mut command = Command::new("sipp");
        let ip = at.ip().to_string();
        command.current_dir(&folder).arg(node.to_string()).arg("-sf").arg(file);
        command.args(["-i", &ip, "-mi", &ip, "-bind_local", "-p", &at.port().to_string()]);
        command.args(["-m", &calls.to_string(), "-nostdin", "-max_socket", "1000"]);
        // SIPp ends by itself before patience does, and then says what it waited for.
        command.args(["-timeout", &format!("{}s", PATIENCE.as_secs() - 5), "-timeout_error"]);
        command.args(["-trace_stat", "-stf", "stat.csv", "-trace_err", "-error_file", "errors.log"]);
        command.args(["-trace_msg", "-message_file", "messages.log"]);
        Self { command, scenario: scenario.to_owned(), folder, calls, at }
    }

    /// Has it run within another program, which becomes SIPp with `exec`.
    #[allow(dead_code, reason = "not every test has SIPp on another host")]
    pub(crate) fn within(mut self, words: &[&str]) -> Self {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(self.command.get_program()).args(self.command.get_args());
        command.current_dir(&self.folder);
        self.command = command;
        self
    }

    /// More options of SIPp.
    pub(crate) fn with(mut self, options: &[&str]) -> Self {
        self.command.args(options);
        self
    }

    /// The lines that calls take their fields from, one after the other and again from the first.
    pub(crate) fn fields(mut self, lines: &[String]) -> Self {
        std::fs::write(self.folder.join("fields.csv"), format!("SEQUENTIAL\n{}\n", lines.join("\n"))).unwrap();
        self.command.args(["-inf", "fields.csv"]);
        self
    }

    /// Starts it.
    pub(crate) fn start(mut self) -> Running {
        let screen = std::fs::File::create(self.folder.join("screen.log")).unwrap();
        let output = screen.try_clone().unwrap();
        let child = self.command.stdin(Stdio::null()).stdout(screen).stderr(output).spawn().unwrap();
        Running { child, sipp: self }
    }

    /// Starts an agent that waits for calls, and returns when it does.
    pub(crate) fn listen(self) -> Running {
        let mut running = self.start();
        let end = Instant::now() + PATIENCE;
        while !is_taken(running.child.id(), running.sipp.at) {
            let has_ended = running.child.try_wait().unwrap().is_some();
            assert!(!has_ended && Instant::now() < end, "{}", running.sipp.tell("does not listen"));
            std::thread::sleep(LOOK_INTERVAL);
        }
        running
    }

    /// Runs it to its end, at which all of its calls have succeeded.
    pub(crate) fn run(self) {
        self.start().finish();
    }

    /// The last value in a column of SIPp's statistics.
    fn statistic(&self, name: &str) -> Option<u64> {
        let table = std::fs::read_to_string(self.folder.join("stat.csv")).ok()?;
        let column = table.lines().next()?.split(';').position(|title| title == name)?;
        table.lines().last()?.split(';').nth(column)?.parse().ok()
    }

    /// What a failing test says of this run.
    fn tell(&self, what: &str) -> String {
        let mut text = format!("sipp {what}: {}\n{:?}\n", self.scenario, self.command);
        for name in ["errors.log", "messages.log", "screen.log"] {
            let bytes = std::fs::read(self.folder.join(name)).unwrap_or_default();
            let log = String::from_utf8_lossy(&bytes);
            let lines: Vec<_> = log.lines().collect();
            let shown = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
            // Writing to a string cannot fail.
            let _ = writeln!(text, "--- {name}, its end ---\n{shown}");
        }
        text
    }
}

impl Running {
    /// Waits for its end, at which all of its calls have succeeded.
    pub(crate) fn finish(mut self) {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > end => panic!("{}", self.sipp.tell("did not end")),
                None => std::thread::sleep(LOOK_INTERVAL),
            }
        };
        assert!(status.success(), "{}", self.sipp.tell(&format!("ended with {status}")));
        let counts = ["SuccessfulCall(C)", "FailedCall(C)"].map(|name| self.sipp.statistic(name));
        let expected = [Some(self.sipp.calls), Some(0)];
        assert_eq!(counts, expected, "{}", self.sipp.tell("counted other calls than it should"));
        std::fs::remove_dir_all(&self.sipp.folder).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already unless the test failed; then there is nobody left to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether somebody receives at `address` where that process is, over whatever transport.
fn is_taken(pid: u32, address: SocketAddr) -> bool {
    let SocketAddr::V4(v4) = address else { panic!("{address} is not IPv4") };
    // The kernel shows an address as it lies in memory.
    let ip = u32::from_ne_bytes(v4.ip().octets());
    let local = format!(": {ip:08X}:{:04X} ", v4.port());
    // There is none once it has ended.
    let table = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default();
    ["udp", "tcp"].iter().any(|name| table(name).lines().any(|line| line.contains(&local)))
}
