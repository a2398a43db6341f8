//! The Cassandra that is measured with: one of our own, or the one that CASSANDRA_URL names.
//!
//! Our own is started by `scripts/stores` in a folder and at ports of its own, compiled for load, and ends with us however
//! we end: a shell waits for the end of a pipe that only we hold open.

use crate::cli::DirectoryArgs;
use crate::error::{Doing, Error};
use crate::server::{Server, free_address};
use crate::sys;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What ends our own once standard input has ended.
const GUARD: &str = r#"read -r _; "$0" stop cassandra >"$SIPFED_STORES_DATA.log" 2>&1; rm -rf "$SIPFED_STORES_DATA" "$SIPFED_STORES_DATA.log""#;

/// A Cassandra.
pub(super) struct Cassandra {
    address: SocketAddr,
    process: Option<Server>,
    pid: Option<u32>,
    _guard: Option<Guard>,
}

/// Ends our own when it is dropped.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // It tells nobody how it went; there is nothing to be done about it either.
        let _ = self.0.wait();
    }
}

/// While it lives the store does not run.
pub(super) struct Frozen(u32);

impl Drop for Frozen {
    fn drop(&mut self) {
        // One that has ended needs no more thawing.
        let _ = sys::signal(self.0, libc::SIGCONT);
    }
}

impl Cassandra {
    /// The given one, or one of our own.
    pub(super) fn open(args: &DirectoryArgs) -> Result<Self, Error> {
        match std::env::var("CASSANDRA_URL") {
            Ok(url) if !url.is_empty() => Self::new(address_of(&url)?, args.store_pid, None),
            _ => Self::start(args),
        }
    }

    fn new(address: SocketAddr, pid: Option<u32>, guard: Option<Guard>) -> Result<Self, Error> {
        if !address.ip().is_loopback() {
            return Err(Error::NotLoopback(address));
        }
        let process = pid.map(|pid| Server::watch(address, pid)).transpose()?;
        Ok(Self { address, process, pid, _guard: guard })
    }

    fn start(args: &DirectoryArgs) -> Result<Self, Error> {
        let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/stores");
        let program = args.stores.clone().unwrap_or_else(usual);
        let data = std::env::temp_dir().join(format!("sipfed-bench-{}-stores", std::process::id()));
        let ports = [free_address()?.port(), free_address()?.port()];
        let with = |command: &mut Command| {
            command
                .env("SIPFED_STORES_DATA", &data)
                .env("CASSANDRA_PORT", ports[0].to_string())
                .env("CASSANDRA_STORAGE_PORT", ports[1].to_string())
                // Compiled as well as Java can.
                .env("CASSANDRA_JVM_ARGS", "")
                .env_remove("CASSANDRA_URL")
                .env_remove("CASSANDRA_AUTH")
                .env_remove("CASSANDRA_TLS");
        };
        let not_started = |source| Error::Start { program: program.clone(), source };
        let mut guard = Command::new("sh");
        // Not of our group, so that Ctrl-C leaves it to end what it guards.
        guard.args(["-c", GUARD]).arg(&program).stdin(Stdio::piped()).process_group(0);
        with(&mut guard);
        let guard = Guard(guard.spawn().map_err(not_started)?);
        let mut start = Command::new(&program);
        start.args(["start", "cassandra"]).stdin(Stdio::null());
        with(&mut start);
        let output = start.output().map_err(not_started)?;
        if !output.status.success() {
            return Err(Error::Store(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        let pid = pid_in(&data.join("cassandra/pid"))?;
        Self::new(SocketAddr::from(([127, 0, 0, 1], ports[0])), Some(pid), Some(guard))
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of one of its tables.
    pub(super) fn url(&self, keyspace: &str, table: &str) -> String {
        format!("cassandra://{}/{keyspace}.{table}", self.address)
    }

    /// Its process, if it is known.
    pub(super) fn process(&self) -> Option<&Server> {
        self.process.as_ref()
    }

    /// Whether [`Self::freeze`] works.
    pub(super) fn can_be_frozen(&self) -> bool {
        self.pid.is_some()
    }

    /// Has it stand still until what is returned is dropped.
    pub(super) fn freeze(&self) -> Result<Frozen, Error> {
        let pid = self.pid.ok_or(Error::Options("the process of the store is not known"))?;
        sys::signal(pid, libc::SIGSTOP).doing("freezing the store")?;
        Ok(Frozen(pid))
    }
}

/// The first word is the process.
fn pid_in(file: &PathBuf) -> Result<u32, Error> {
    let text = std::fs::read_to_string(file).doing("finding the store's process")?;
    let pid = text.split_whitespace().next().and_then(|word| word.parse().ok());
    pid.ok_or_else(|| Error::Store(format!("{} names no process", file.display())))
}

/// Host and port of `cassandra://ADDRESS:PORT`, whatever follows.
fn address_of(url: &str) -> Result<SocketAddr, Error> {
    let rest = url.strip_prefix("cassandra://").and_then(|rest| rest.split('/').next());
    let address = rest.and_then(|address| address.parse().ok());
    address.ok_or(Error::Options("CASSANDRA_URL has to be cassandra://ADDRESS:PORT here, without a user"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_an_address_and_no_other_machine_is_loaded() {
        assert_eq!(address_of("cassandra://127.0.0.1:19242").unwrap(), "127.0.0.1:19242".parse().unwrap());
        assert_eq!(address_of("cassandra://[::1]:9042/k.t").unwrap(), "[::1]:9042".parse().unwrap());
        assert!(address_of("cassandra://user:word@127.0.0.1:9042").is_err());
        assert!(matches!(Cassandra::new("192.0.2.1:9042".parse().unwrap(), None, None), Err(Error::NotLoopback(_))));
    }
}
