//! How far a long reading is, on a terminal and nowhere else.

use sipfed_log::Progress;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// What is done sooner says nothing.
const SILENCE: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_millis(200);

/// One line on stderr that is written over again and again, and erased in the end.
#[derive(Debug)]
pub(super) struct ProgressLine {
    is_wanted: bool,
    what: &'static str,
    shards_count: u32,
    /// When the line is due next.
    due: Instant,
    is_shown: bool,
    records_before: u64,
    shard: u32,
    records: u64,
}

impl ProgressLine {
    /// `is_wanted` is false where the line would stand in the way, as between lines on the same terminal.
    pub(super) fn new(what: &'static str, shards_count: u32, is_wanted: bool) -> Self {
        let is_wanted = is_wanted && std::io::stderr().is_terminal();
        let due = Instant::now() + SILENCE;
        Self { is_wanted, what, shards_count, due, is_shown: false, records_before: 0, shard: 0, records: 0 }
    }

    /// The reading of `shard` has come to `at`.
    pub(super) fn tell(&mut self, shard: u32, at: Progress) {
        if shard != self.shard {
            self.records_before += self.records;
            self.shard = shard;
        }
        self.records = at.entries;
        if !self.is_wanted || Instant::now() < self.due {
            return;
        }
        self.due = Instant::now() + INTERVAL;
        self.is_shown = true;
        let percent = percent(self.shards_count, shard, at);
        let records = self.records_before + self.records;
        // A terminal that is gone needs no progress.
        let _ = write!(std::io::stderr(), "\r\x1b[K{}: {percent} %, {records} records", self.what);
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// Shards have about the same share of the bindings, so each counts the same.
fn percent(shards_count: u32, shard: u32, at: Progress) -> u64 {
    let of_shard = (at.bytes * 100).checked_div(at.bytes_total).unwrap_or(100).min(100);
    (u64::from(shard) * 100 + of_shard) / u64::from(shards_count.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_has_the_same_share() {
        let at = |bytes, bytes_total| Progress { entries: 1, bytes, bytes_total };
        assert_eq!(percent(1, 0, at(0, 100)), 0);
        assert_eq!(percent(4, 1, at(50, 100)), 37);
        assert_eq!(percent(4, 3, at(120, 100)), 100, "the total is an estimate");
        assert_eq!(percent(2, 0, at(0, 0)), 50, "an empty log is read");
    }
}
