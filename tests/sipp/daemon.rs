//! A daemon for one test: started at ports that the kernel chooses, asked for its counters, ended with the test.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// How long anything may take before its test fails; on an idle machine nothing takes a tenth of it.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// How often the state of another process is looked at.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What a daemon is started with.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    /// How many shards.
    pub(crate) shards: u8,
    /// Where it listens; port 0 lets the kernel choose one for each transport.
    pub(crate) at: SocketAddr,
    /// Over which transports it does so.
    pub(crate) over: &'a [&'a str],
    /// Where it listens beside that, as the file has it.
    pub(crate) also: &'a [&'a str],
    /// More of the configuration file, without the table `[node]`.
    pub(crate) file: &'a str,
    /// Its own folder, which goes with it; `None` for a new one.
    pub(crate) folder: Option<&'a Path>,
    /// Its data directory; `None` for one that goes with it.
    pub(crate) data: Option<&'a Path>,
    /// A program and its arguments that become the daemon with `exec`; none for the daemon itself.
    pub(crate) within: &'a [&'a str],
}

impl Default for Start<'_> {
    fn default() -> Self {
        let at = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { shards: 2, at, over: &["udp", "tcp"], also: &[], file: "", folder: None, data: None, within: &[] }
    }
}

/// A running daemon; killed when its test fails.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    pub(crate) pid: u32,
    shards: u8,
    log: Receiver<String>,
    seen: Vec<String>,
    pub(crate) udp: SocketAddr,
    pub(crate) tcp: SocketAddr,
    /// Where its management interface is, as the line `ready` says it; empty where it has none.
    #[allow(dead_code, reason = "not every test that plays with a daemon manages it")]
    pub(crate) management: String,
    /// What it said when it was ready.
    ready: String,
    /// Its own folder.
    folder: PathBuf,
}

/// What one shard reported: its gauges and counters by name.
#[derive(Debug)]
pub(crate) struct Report(String);

impl Report {
    /// What stands in a line of the log.
    #[allow(dead_code, reason = "not every test that plays with a daemon asks for more than its shards")]
    pub(crate) fn of(line: String) -> Self {
        Self(line)
    }

    /// The gauge or counter of that name; 1 for true and 0 for false.
    pub(crate) fn count(&self, name: &str) -> u64 {
        let start = format!("\"{name}\":");
        let (_, rest) = self.0.split_once(&start).unwrap_or_else(|| panic!("no {name} in {}", self.0));
        match rest.split([',', '}']).next().unwrap() {
            "true" => 1,
            "false" => 0,
            number => number.parse().unwrap(),
        }
    }
}

/// A gauge or counter, added up over the shards.
#[allow(dead_code, reason = "not every test that plays with a daemon adds them up")]
pub(crate) fn total(reports: &[Report], name: &str) -> u64 {
    reports.iter().map(|report| report.count(name)).sum()
}

impl Daemon {
    /// Starts a daemon and waits for its line `ready`.
    pub(crate) fn start(start: &Start<'_>) -> Self {
        let Start { shards, at, over, also, file, folder: own, data, within } = start;
        let folder = own.map_or_else(folder, Path::to_path_buf);
        let path = folder.join("sipfed.toml");
        let mut listen: Vec<String> = over.iter().map(|transport| format!("{transport}:{at}")).collect();
        listen.extend(also.iter().map(ToString::to_string));
        let listen = format!("listen = {listen:?}");
        std::fs::write(&path, format!("[node]\nshards = {shards}\n{listen}\n{file}")).unwrap();
        let daemon = env!("CARGO_BIN_EXE_sipfed");
        let mut command = Command::new(within.first().unwrap_or(&daemon));
        if !within.is_empty() {
            command.args(&within[1..]).arg(daemon);
        }
        let mut child = command
            .args(["serve", "--log-format", "json", "--config"])
            .arg(&path)
            .arg("--data-dir")
            .arg(data.map_or_else(|| folder.join("data"), Path::to_path_buf))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, log) = mpsc::channel();
        // Reading ends with the log, or with the test, which then does not listen any more.
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let pid = child.id();
        let mut daemon = Self {
            child,
            pid,
            shards: *shards,
            log,
            seen: Vec::new(),
            udp: nowhere,
            tcp: nowhere,
            management: String::new(),
            ready: String::new(),
            folder,
        };
        daemon.ready = daemon.line("ready");
        daemon.udp = daemon.listens("udp");
        if over.contains(&"tcp") {
            daemon.tcp = daemon.listens("tcp");
        }
        let management = daemon.ready.split_once("\"management\":\"").and_then(|(_, rest)| rest.split('"').next());
        daemon.management = management.unwrap_or_default().to_owned();
        daemon
    }

    /// Where it listens over a transport.
    pub(crate) fn listens(&self, transport: &str) -> SocketAddr {
        let scheme = format!("{transport}:");
        let found = self.ready.split([' ', '"']).find_map(|part| part.strip_prefix(&scheme)?.parse().ok());
        found.unwrap_or_else(|| panic!("no {transport} in {}", self.ready))
    }

    /// The next log line with this message.
    pub(crate) fn line(&mut self, message: &str) -> String {
        self.line_with(&format!("\"message\":\"{message}\""))
    }

    /// The next log line that has this text.
    pub(crate) fn line_with(&mut self, wanted: &str) -> String {
        // In all, since a node that goes on may say other things for ever.
        let end = Instant::now() + PATIENCE;
        loop {
            let Ok(line) = self.log.recv_timeout(end.saturating_duration_since(Instant::now())) else {
                panic!("the log has no further `{wanted}`:\n{}", self.seen.join("\n"));
            };
            self.seen.push(line.clone());
            if line.contains(wanted) {
                return line;
            }
        }
    }

    /// A log line that has come already.
    #[allow(dead_code, reason = "not every test that plays with a daemon looks back")]
    pub(crate) fn seen(&self, text: &str) -> &str {
        let found = self.seen.iter().find(|line| line.contains(text));
        found.unwrap_or_else(|| panic!("{text} is not in {:#?}", self.seen))
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.pid)).status();
        assert!(status.unwrap().success());
    }

    /// What the shards report now, by shard number.
    pub(crate) fn reports(&mut self) -> Vec<Report> {
        self.signal("USR1");
        (0..self.shards)
            .map(|shard| {
                let report = Report(self.line("report"));
                assert_eq!(report.count("shard"), u64::from(shard), "{report:?}");
                report
            })
            .collect()
    }

    /// What the keeper of the directory reports now.
    #[allow(dead_code, reason = "not every test that plays with a daemon has a directory")]
    pub(crate) fn directory(&mut self) -> Report {
        self.signal("USR1");
        let directory = Report(self.line("directory"));
        for _ in 0..self.shards {
            self.line("report");
        }
        directory
    }

    /// The first report of the directory that `is_so` says yes to.
    #[allow(dead_code, reason = "not every test that plays with a daemon has a directory")]
    pub(crate) fn wait_for_directory(&mut self, what: &str, is_so: impl Fn(&Report) -> bool) -> Report {
        let end = Instant::now() + PATIENCE;
        loop {
            let report = self.directory();
            if is_so(&report) {
                return report;
            }
            assert!(Instant::now() < end, "waited in vain until {what}: {report:#?}\n{}", self.warnings());
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// The warnings and errors that it has logged.
    fn warnings(&self) -> String {
        let is_one = |line: &&String| line.contains("\"level\":\"warn\"") || line.contains("\"level\":\"error\"");
        self.seen.iter().filter(is_one).flat_map(|line| [line.as_str(), "\n"]).collect()
    }

    /// Has the directory compared with what is so.
    #[allow(dead_code, reason = "not every test that plays with a daemon has a directory")]
    pub(crate) fn reconcile(&self) {
        self.signal("USR2");
    }

    /// The first reports that `is_so` says yes to.
    #[allow(dead_code, reason = "not every test that plays with a daemon waits for its shards")]
    pub(crate) fn wait_until(&mut self, what: &str, is_so: impl Fn(&[Report]) -> bool) -> Vec<Report> {
        let end = Instant::now() + PATIENCE;
        loop {
            let reports = self.reports();
            if is_so(&reports) {
                return reports;
            }
            assert!(Instant::now() < end, "waited in vain until {what}: {reports:#?}");
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Ends the daemon without a warning.
    #[allow(dead_code, reason = "not every test that plays with a daemon kills it")]
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it has ended by itself; gives its exit code.
    #[allow(dead_code, reason = "not every test that plays with a daemon lets it end")]
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Waits for the end of a daemon that was told to stop; gives what its shards report last.
    #[allow(dead_code, reason = "not every test that plays with a daemon watches it stop")]
    pub(crate) fn last_reports(&mut self) -> Vec<Report> {
        let reports = (0..self.shards).map(|_| Report(self.line("stopped"))).collect();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        reports
    }

    /// Stops the daemon, which says that it is well: it exits with 0, and nothing in its log is an error.
    #[allow(dead_code, reason = "not every test that plays with a daemon watches it stop")]
    pub(crate) fn stop(self) {
        let log = self.end();
        let wrong = |line: &&String| line.contains("\"level\":\"error\"") || line.contains("panicked");
        let wrong: Vec<_> = log.iter().filter(wrong).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    /// Stops the daemon, which exits with 0; gives its log.
    #[allow(dead_code, reason = "not every test that plays with a daemon watches it stop")]
    pub(crate) fn end(mut self) -> Vec<String> {
        self.signal("TERM");
        for _ in 0..self.shards {
            self.line("stopped");
        }
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        self.seen.extend(self.log.iter());
        std::mem::take(&mut self.seen)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended already unless the test failed; then there is nobody left to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the daemon warned of:\n{}", self.warnings());
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A folder that nobody else uses; whoever asks for it removes it when all went well.
pub(crate) fn folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("lab-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir(&path).unwrap();
    path
}
