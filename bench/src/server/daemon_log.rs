//! What a daemon that logs JSON says of itself: that it is ready, what its shards have written, and how its backup stands.

use super::Server;
use crate::error::{Doing, Error};
use crate::sys;
use serde_json::Value;
use std::ops::Sub;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// How long a daemon may take to report.
const REPORT_S_MAX: u64 = 10;
/// How long what it is to say may take.
const LINE_S_MAX: u64 = 120;
const REPORT_POLL_INTERVAL: Duration = Duration::from_millis(2);

/// What the logs of all shards have taken since the daemon was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogTotals {
    /// Appends.
    pub(crate) entries: u64,
    /// Bytes in the write-ahead log, framing included, as the daemon reckons them.
    pub(crate) bytes: u64,
}

/// How a daemon's backup stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BackupState {
    /// Both hold what the other one does.
    pub(crate) is_equal: bool,
    /// Changes that it has not acknowledged.
    pub(crate) lag_parts: u64,
}

fn backup_state(line: &Value) -> BackupState {
    let is_equal = ["is_connected", "has_all", "is_synchronized"].iter().all(|name| line[*name] == true);
    BackupState { is_equal, lag_parts: line["lag_parts"].as_u64().unwrap_or_default() }
}

impl Sub for LogTotals {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { entries: self.entries - before.entries, bytes: self.bytes - before.bytes }
    }
}

impl Server {
    /// Bytes that the daemon has logged so far: what to give to [`Self::log_since`].
    pub(super) fn log_bytes(&self) -> Result<u64, Error> {
        Ok(self.launch()?.log.metadata().doing("reading the size of the daemon's log")?.len())
    }

    /// The whole lines that the daemon has logged after its first `bytes` bytes, as far as they are JSON.
    pub(super) fn log_since(&self, bytes: u64) -> Result<Vec<Value>, Error> {
        let mut text = vec![0; self.log_bytes()?.saturating_sub(bytes) as usize];
        self.launch()?.log.read_exact_at(&mut text, bytes).doing("reading the daemon's log")?;
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        Ok(lines(&text[..whole]))
    }

    /// What the shards' logs have taken, added up; a daemon without logs has taken nothing.
    pub(crate) fn log_totals(&self, shards: usize) -> Result<LogTotals, Error> {
        Ok(totals(&self.reports(shards)?))
    }

    /// Gauges or counters of these names, each added up over the shards.
    pub(crate) fn counts<const N: usize>(&self, shards: usize, names: [&str; N]) -> Result<[u64; N], Error> {
        let reports = self.reports(shards)?;
        let counts = names.map(|name| count(&reports, name));
        if counts.contains(&None) {
            return Err(Error::Options("the daemon does not count what is to be measured"));
        }
        Ok(counts.map(Option::unwrap_or_default))
    }

    /// Transactions that no shard has forgotten yet.
    pub(crate) fn open_transactions(&self, shards: usize) -> Result<u64, Error> {
        self.counts(shards, ["open_transactions"]).map(|[count]| count)
    }

    /// How the daemon's one backup stands, by its own account; `None` for one that has none.
    pub(crate) fn backup(&self, shards: usize) -> Result<Option<BackupState>, Error> {
        Ok(self.told(shards)?.iter().find(|line| line["message"] == "backup").map(backup_state))
    }

    /// Waits until the daemon has logged that message; gives the time of day at which it first did.
    pub(crate) fn wait_for(&self, message: &str) -> Result<Duration, Error> {
        let started = Instant::now();
        loop {
            if let Some(line) = self.log_since(0)?.iter().find(|line| line["message"] == message) {
                return time_of_day(line).ok_or(Error::Options("a line of the daemon's log has no time"));
            }
            if started.elapsed() > Duration::from_secs(LINE_S_MAX) {
                return Err(Error::Silent { server: self.address, waited_s: LINE_S_MAX, log: self.log_tail() });
            }
            std::thread::sleep(REPORT_POLL_INTERVAL);
        }
    }

    /// Asks the daemon for a report: a line for each shard.
    fn reports(&self, shards: usize) -> Result<Vec<Value>, Error> {
        Ok(self.told(shards)?.into_iter().filter(|line| line["message"] == "report").collect())
    }

    /// Asks the daemon how it is: all lines up to those of its shards, which come last.
    fn told(&self, shards: usize) -> Result<Vec<Value>, Error> {
        let log_bytes = self.log_bytes()?;
        let asked = Instant::now();
        for &pid in &self.pids {
            sys::signal(pid, libc::SIGUSR1).doing("asking the daemon for a report")?;
        }
        while asked.elapsed() < Duration::from_secs(REPORT_S_MAX) {
            let lines = self.log_since(log_bytes)?;
            if lines.iter().filter(|line| line["message"] == "report").count() >= shards {
                return Ok(lines);
            }
            std::thread::sleep(REPORT_POLL_INTERVAL);
        }
        Err(Error::Options("the daemon did not report on SIGUSR1"))
    }

    /// Bytes that the daemon's process has written since it was started: handed to the kernel (`wchar`, which counts files
    /// and the few bytes by which threads wake each other, but no sockets), and on their way to a disk (`write_bytes`).
    pub(crate) fn written_bytes(&self) -> Result<(u64, u64), Error> {
        let (mut handed, mut disk) = (0, 0);
        for pid in &self.pids {
            let text = std::fs::read_to_string(format!("/proc/{pid}/io")).doing("reading what the daemon wrote")?;
            handed += counter(&text, "wchar: ");
            disk += counter(&text, "write_bytes: ");
        }
        Ok((handed, disk))
    }
}

pub(super) fn lines(text: &[u8]) -> Vec<Value> {
    text.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

/// From midnight to a line, which begins with a date and a time such as `2026-01-31T23:59:59.000001Z`.
fn time_of_day(line: &Value) -> Option<Duration> {
    let (_, time) = line["time"].as_str()?.split_once('T')?;
    let (seconds, fraction) = time.trim_end_matches('Z').split_once('.')?;
    let parts: Vec<u64> = seconds.split(':').filter_map(|part| part.parse().ok()).collect();
    let [hours, minutes, seconds] = parts[..] else { return None };
    let micros = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    Some(Duration::from_secs((hours * 60 + minutes) * 60 + seconds) + Duration::from_micros(micros))
}

/// A gauge, or a counter, of all shards; `None` where one has none of that name.
fn count(reports: &[Value], name: &str) -> Option<u64> {
    reports.iter().map(|report| report[name].as_u64().or_else(|| report["counters"][name].as_u64())).sum()
}

fn totals(reports: &[Value]) -> LogTotals {
    let sum = |field: &str| reports.iter().filter_map(|report| report[field].as_u64()).sum();
    LogTotals { entries: sum("log_entries"), bytes: sum("log_bytes") }
}

fn counter(io: &str, name: &str) -> u64 {
    io.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logs_of_all_shards_are_added_up() {
        let text = b"{\"message\":\"report\",\"shard\":0,\"log_entries\":2,\"log_bytes\":140}\n\
                     what a library writes\n\
                     {\"message\":\"report\",\"shard\":1,\"log_entries\":3,\"log_bytes\":150}\n";
        let lines = lines(text);
        assert_eq!(lines.len(), 2);
        assert_eq!(totals(&lines), LogTotals { entries: 5, bytes: 290 });
        assert_eq!(totals(&[serde_json::json!({"message": "report", "shard": 0})]), LogTotals::default());
    }

    #[test]
    fn gauges_and_counters_of_all_shards_are_added_up() {
        let report = serde_json::json!({"message": "report", "contacts": 2, "counters": {"pings_sent": 3}});
        let reports = [report.clone(), report];
        assert_eq!(["contacts", "pings_sent", "none"].map(|name| count(&reports, name)), [Some(4), Some(6), None]);
    }

    #[test]
    fn a_backup_is_equal_once_both_hold_the_same() {
        let mut line = serde_json::json!({
            "message": "backup", "is_connected": true, "has_all": true, "is_synchronized": true, "lag_parts": 3
        });
        assert_eq!(backup_state(&line), BackupState { is_equal: true, lag_parts: 3 });
        line["has_all"] = false.into();
        assert!(!backup_state(&line).is_equal);
    }

    #[test]
    fn the_time_of_a_line_is_read() {
        let line = serde_json::json!({"time": "2026-01-31T01:02:03.000450Z"});
        assert_eq!(time_of_day(&line), Some(Duration::from_micros(3_723_000_450)));
        assert_eq!(time_of_day(&serde_json::json!({"time": "soon"})), None);
    }

    #[test]
    fn counters_of_a_process_are_read_by_their_whole_names() {
        let io = "rchar: 1\nwchar: 22\nread_bytes: 3\nwrite_bytes: 4096\ncancelled_write_bytes: 5\n";
        assert_eq!((counter(io, "wchar: "), counter(io, "write_bytes: "), counter(io, "none: ")), (22, 4096, 0));
    }
}
