//! What a daemon says of its directory, asked while another thread loads it.

use super::Server;
use super::daemon_log::lines;
use crate::error::{Doing, Error};
use crate::sys;
use serde_json::Value;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// How long a daemon may take to report.
const REPORT_S_MAX: u64 = 10;
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Asks one daemon.
#[derive(Debug)]
pub(crate) struct DirectoryProbe {
    pid: u32,
    log: File,
    has_directory: bool,
}

/// What it has said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DirectoryState {
    /// Whether the store answers.
    pub(crate) is_up: bool,
    /// AoRs whose row is still to be written.
    pub(crate) pending: u64,
    /// How long the one that waits longest has waited.
    pub(crate) lag_ms: u64,
    /// Rows written.
    pub(crate) published: u64,
    /// Questions that the store was asked.
    pub(crate) lookups: u64,
    /// Comparisons that were finished.
    pub(crate) reconciles: u64,
    /// Writes that failed.
    pub(crate) write_failures: u64,
}

impl Server {
    /// For a daemon of ours that logs JSON. One without a directory is asked the same, and says nothing of it.
    pub(crate) fn directory_probe(&self, has_directory: bool) -> Result<DirectoryProbe, Error> {
        let pid = *self.pids.first().ok_or(Error::Options("the server has no process"))?;
        let log = self.launch()?.log.try_clone().doing("sharing the daemon's log")?;
        Ok(DirectoryProbe { pid, log, has_directory })
    }
}

impl DirectoryProbe {
    /// Asks, and waits for the answer.
    pub(crate) fn ask(&self) -> Result<DirectoryState, Error> {
        let from = self.log.metadata().doing("reading the size of the daemon's log")?.len();
        let asked = Instant::now();
        sys::signal(self.pid, libc::SIGUSR1).doing("asking the daemon for a report")?;
        let wanted = if self.has_directory { "directory" } else { "report" };
        while asked.elapsed() < Duration::from_secs(REPORT_S_MAX) {
            let length = self.log.metadata().doing("reading the size of the daemon's log")?.len().saturating_sub(from);
            let mut text = vec![0; length as usize];
            self.log.read_exact_at(&mut text, from).doing("reading the daemon's log")?;
            let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
            if let Some(line) = lines(&text[..whole]).iter().find(|line| line["message"] == wanted) {
                return Ok(if self.has_directory { state(line) } else { DirectoryState::default() });
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Err(Error::Options("the daemon did not report on SIGUSR1"))
    }

    /// Asks again and again until what it says `is` so; fails after `patience`.
    pub(crate) fn wait_until(
        &self,
        what: &str,
        patience: Duration,
        is: impl Fn(&DirectoryState) -> bool,
    ) -> Result<DirectoryState, Error> {
        let started = Instant::now();
        loop {
            let state = self.ask()?;
            if is(&state) {
                return Ok(state);
            }
            if started.elapsed() > patience {
                return Err(Error::Store(format!("{what} did not come within {} s: {state:?}", patience.as_secs())));
            }
            std::thread::sleep(5 * POLL_INTERVAL);
        }
    }
}

fn state(line: &Value) -> DirectoryState {
    let count = |name: &str| line["counters"][name].as_u64().unwrap_or_default();
    DirectoryState {
        is_up: line["is_up"].as_bool().unwrap_or_default(),
        pending: line["pending"].as_u64().unwrap_or_default(),
        lag_ms: line["lag_ms"].as_u64().unwrap_or_default(),
        published: count("published"),
        lookups: count("lookups"),
        reconciles: count("reconciles"),
        write_failures: count("write_failures"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauges_and_counters_are_read() {
        let line = serde_json::json!({
            "message": "directory", "is_up": true, "pending": 3, "lag_ms": 17,
            "counters": {"published": 5, "lookups": 2}
        });
        let expected =
            DirectoryState { is_up: true, pending: 3, lag_ms: 17, published: 5, lookups: 2, ..Default::default() };
        assert_eq!(state(&line), expected);
    }
}
