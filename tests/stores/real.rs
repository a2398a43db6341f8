//! Real databases for a test: the ones that every test shares, and a Cassandra of its own that it may hurt.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// The command that knows how to get, start and end them.
const STORES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/stores");

/// How long a process may take to end once it was killed.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often the state of another process is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The URL of the Cassandra that all tests share, `cassandra://HOST:PORT`; it is started if it does not run. A test
/// keeps to a keyspace that nobody else uses.
#[allow(dead_code, reason = "not every test that uses a database uses this one")]
pub(crate) fn cassandra() -> String {
    shared("cassandra", "CASSANDRA_URL")
}

/// The URL of the MongoDB that all tests share, `mongodb://HOST:PORT`; it is started if it does not run. A test keeps to
/// a database that nobody else uses.
#[allow(dead_code, reason = "not every test that uses a database uses this one")]
pub(crate) fn mongodb() -> String {
    shared("mongodb", "MONGODB_URL")
}

/// The URL of the MariaDB that all tests share, `mysql://USER:PASSWORD@HOST:PORT/DATABASE`; it is started if it does not
/// run. A test keeps to tables that nobody else uses.
#[allow(dead_code, reason = "not every test that uses a database uses this one")]
pub(crate) fn mysql() -> String {
    shared("mysql", "MYSQL_URL")
}

fn shared(store: &str, variable: &str) -> String {
    match std::env::var(variable) {
        Ok(url) if !url.is_empty() => url,
        _ => started(Command::new(STORES).args(["start", store])),
    }
}

/// What `scripts/stores start NAME` prints: the URL.
fn started(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let (url, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "no store, no test; {command:?} says:\n{told}");
    url.trim().to_owned()
}

/// A Cassandra that one test alone uses; it ends with the test.
#[allow(dead_code, reason = "not every test that uses a database has one of its own")]
#[derive(Debug)]
pub(crate) struct OwnCassandra {
    folder: PathBuf,
    ports: [u16; 2],
    url: String,
    /// Ends the server when this test is gone, also if nobody can drop anything any more.
    guard: Option<Child>,
}

#[allow(dead_code, reason = "not every test that uses a database has one of its own")]
impl OwnCassandra {
    /// Starts one, with data of its own, and waits until it answers.
    pub(crate) fn start() -> Self {
        let mut own = Self::absent();
        own.restart();
        own
    }

    /// One that does not run before [`restart`](Self::restart).
    pub(crate) fn absent() -> Self {
        let ports = [free_port(), free_port()];
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("cassandra-{}", ports[0]));
        // Whatever was killed before it could tidy up; the port is free, so it does not run.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let url = format!("cassandra://127.0.0.1:{}", ports[0]);
        let mut own = Self { folder, ports, url, guard: None };
        // In a session of its own, so that a Ctrl-C does not end it before it has done its work. Its standard input ends
        // with this process.
        let guard = own
            .command("setsid", &["sh", "-c", "cat >/dev/null; exec \"$0\" stop cassandra", STORES])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        own.guard = Some(guard.unwrap());
        own
    }

    /// Its URL, `cassandra://127.0.0.1:PORT`, which stays the same.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Stops it where it is: it takes connections and bytes, by the kernel's hand, and answers nothing.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
        self.wait_until("it is frozen", |state| state == Some('T'));
    }

    /// Lets a frozen one go on.
    pub(crate) fn thaw(&self) {
        self.signal("CONT");
        self.wait_until("it has thawed", |state| state.is_some_and(|state| state != 'T'));
    }

    /// Ends it without a warning, frozen or not; its data stay.
    pub(crate) fn kill(&self) {
        self.signal("KILL");
        self.wait_until("it has ended", |state| state.is_none());
    }

    /// Starts it again after [`kill`](Self::kill), at the same port and with its data, and waits until it answers.
    pub(crate) fn restart(&mut self) {
        assert_eq!(started(&mut self.command(STORES, &["start", "cassandra"])), self.url);
    }

    /// A command for this server and no other.
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_remove("CASSANDRA_URL")
            .env("SIPFED_STORES_DATA", &self.folder)
            .env("CASSANDRA_PORT", self.ports[0].to_string())
            .env("CASSANDRA_STORAGE_PORT", self.ports[1].to_string())
            // Killed, it has to come back with its tables, which the shared one does not write to the disk at once.
            .env("CASSANDRA_JVM_ARGS", "-XX:TieredStopAtLevel=1 -Dcassandra.unsafesystem=false")
            // One of several on the machine.
            .env("CASSANDRA_HEAP", "512M");
        command
    }

    /// The process, which is this test's as long as the test has not killed it.
    fn pid(&self) -> Option<u32> {
        let file = fs::read_to_string(self.folder.join("cassandra/pid")).ok()?;
        file.split(' ').next()?.parse().ok()
    }

    fn signal(&self, name: &str) {
        let pid = self.pid().expect("it runs");
        let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {pid}")).status().unwrap();
        assert!(status.success(), "no process {pid} for {name}");
    }

    /// What the kernel says of the process: R, S, T and so on; nothing once it has ended with all of its threads, which
    /// hold its ports until then.
    fn state(&self) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()?)).ok()?;
        let (_, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let (state, threads) = (fields[0].chars().next()?, fields[17].parse::<u32>().ok()?);
        (!matches!(state, 'Z' | 'X') || threads > 1).then_some(state)
    }

    fn wait_until(&self, what: &str, is_so: impl Fn(Option<char>) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so(self.state()) {
            assert!(Instant::now() < end, "waited in vain until {what}");
            std::thread::sleep(LOOK_INTERVAL);
        }
    }
}

impl Drop for OwnCassandra {
    fn drop(&mut self) {
        if let Some(pid) = self.pid().filter(|_| self.state().is_some()) {
            // SIGKILL alone ends a frozen one too; thawed, it is at least seen to die.
            let _ = Command::new("sh").arg("-c").arg(format!("kill -CONT {pid}; kill -KILL {pid}")).status();
        }
        if let Some(mut guard) = self.guard.take() {
            // It waits for the end of the server, and then ends itself.
            drop(guard.stdin.take());
            let _ = guard.wait();
        }
        if std::thread::panicking() {
            // What it wrote to its log may say why.
            eprintln!("the Cassandra of this test was in {}", self.folder.display());
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// A port that nobody listens at, and that the kernel gives to nobody by itself: it is still free some seconds later.
#[allow(dead_code, reason = "not every test that uses a database has one of its own")]
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id() as u16 % 1000 * 10;
    loop {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
