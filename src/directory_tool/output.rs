//! How the commands write times, ages and places, and how far a long reading is.

use super::Target;
use serde::Serialize;
use sipfed_directory::Inspection;
use sipfed_proto::rfc3339;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant, SystemTime};

/// Examples of one kind that are shown to a person.
pub(super) const EXAMPLES_MAX: u64 = 20;

/// The epoch of a home that is gone for good.
pub(super) const GONE: i64 = i64::MAX;

/// What the store is, as JSON.
#[derive(Debug, Serialize)]
pub(super) struct StoreObject<'a> {
    kind: &'static str,
    url: String,
    server: &'a str,
    schema: &'static str,
    columns: &'a [String],
    has_aor_index: bool,
    keeps_epochs: bool,
    expires_by_itself: bool,
}

impl<'a> StoreObject<'a> {
    pub(super) fn new(target: &Target, found: &'a Inspection, keeps_epochs: bool) -> Self {
        Self {
            kind: "store",
            url: target.url.to_string(),
            server: &found.server,
            schema: target.options.schema.word(),
            columns: &found.columns,
            has_aor_index: found.has_aor_index,
            keeps_epochs,
            expires_by_itself: found.expires_by_itself,
        }
    }
}

/// The wall clock in microseconds.
pub(super) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// A time in microseconds since the Unix epoch, as text.
pub(super) fn time(us: i64) -> String {
    rfc3339(u64::try_from(us / 1_000_000).unwrap_or(0))
}

/// An epoch, as a person reads it.
pub(super) fn epoch(epoch_us: Option<i64>) -> String {
    match epoch_us {
        None => "none".to_owned(),
        Some(GONE) => "gone for good".to_owned(),
        Some(us) => time(us),
    }
}

/// A time that has passed, in its two largest units.
pub(super) fn age(seconds: i64) -> String {
    const UNITS: [(&str, i64); 4] = [("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)];
    let mut rest = seconds.max(0);
    let mut parts = Vec::new();
    for (unit, length) in UNITS {
        if rest >= length || (unit == "s" && parts.is_empty()) {
            parts.push(format!("{} {unit}", rest / length));
            rest %= length;
        } else if !parts.is_empty() {
            break;
        }
        if parts.len() == 2 {
            break;
        }
    }
    parts.join(" ")
}

/// One line on stderr, on a terminal and nowhere else, that is written over again and again, and erased in the end.
#[derive(Debug)]
pub(super) struct Progress {
    is_wanted: bool,
    what: &'static str,
    due: Instant,
    is_shown: bool,
}

impl Progress {
    /// What is done sooner says nothing.
    const SILENCE: Duration = Duration::from_secs(1);
    const INTERVAL: Duration = Duration::from_millis(200);

    pub(super) fn new(what: &'static str) -> Self {
        let is_wanted = std::io::stderr().is_terminal();
        Self { is_wanted, what, due: Instant::now() + Self::SILENCE, is_shown: false }
    }

    pub(super) fn tell(&mut self, rows: u64) {
        if !self.is_wanted || Instant::now() < self.due {
            return;
        }
        self.due = Instant::now() + Self::INTERVAL;
        self.is_shown = true;
        // A terminal that is gone needs no progress.
        let _ = write!(std::io::stderr(), "\r\x1b[K{}: {rows} rows", self.what);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_its_two_largest_units() {
        let ages = [0, 59, 60, 3661, 7200, 90_000, 86_401, -5].map(age);
        assert_eq!(ages, ["0 s", "59 s", "1 min", "1 h 1 min", "2 h", "1 d 1 h", "1 d", "0 s"]);
    }

    #[test]
    fn an_epoch_is_a_time_or_the_end() {
        let epochs = [None, Some(1_700_000_000_000_000), Some(GONE)].map(epoch);
        assert_eq!(epochs, ["none", "2023-11-14T22:13:20Z", "gone for good"]);
    }
}
