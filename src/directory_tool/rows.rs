//! What may be wrong with a row, and how rows are counted.

use super::Named;
use super::output::{GONE, epoch, time};
use crate::config::sip_address;
use serde::Serialize;
use sipfed_directory::{Epoch, Row, ScannedRow, Schema};
use std::collections::BTreeMap;
use std::fmt;

/// Homes that are counted each by itself: many more than any federation has.
const HOMES_COUNT_MAX: usize = 4096;

/// What is wrong with a row by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    EmptyAor,
    EmptyHome,
    HomeIsNoAddress,
    /// Of use to an OpenSIPS that looks it up, and which nobody would publish again.
    HomeIsName,
    /// The key of OpenSIPS's schema is not AoR and home; or one of another schema is not what follows from the row.
    KeyDiffers,
    /// The key is no text.
    NoKey,
}

impl Malformed {
    /// Whether the row is of use to nobody, so that a repair deletes it.
    pub(super) fn is_rubbish(self) -> bool {
        self != Self::HomeIsName
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::EmptyAor => "its AoR is empty",
            Self::EmptyHome => "its home is empty",
            Self::HomeIsNoAddress => "its home is no IP address, or one with a port",
            Self::HomeIsName => "its home is a name, which is not looked up here",
            Self::KeyDiffers => "its key is not its AoR and home",
            Self::NoKey => "its key is no text",
        })
    }
}

/// What a row is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    Malformed(Malformed),
    /// Written before this epoch of its home.
    Void(i64),
}

/// The epochs of all homes that have one.
#[derive(Clone, Debug, Default)]
pub(super) struct Epochs(BTreeMap<Box<str>, i64>);

impl Epochs {
    pub(super) fn new(epochs: Vec<Epoch>) -> Self {
        Self(epochs.into_iter().map(|Epoch { home, epoch_us }| (home, epoch_us)).collect())
    }

    pub(super) fn of(&self, home: &str) -> Option<i64> {
        self.0.get(home).copied()
    }

    pub(super) fn set(&mut self, home: &str, epoch_us: i64) {
        self.0.insert(home.into(), epoch_us);
    }

    pub(super) fn homes(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|home| &**home)
    }

    /// The epoch that makes a row void, if one does. A row whose age is not known is void only when its home is gone.
    pub(super) fn voids(&self, row: &Row) -> Option<i64> {
        let epoch_us = self.of(&row.home)?;
        let is_before = row.written_at_us.is_some_and(|written_at_us| written_at_us < epoch_us);
        (is_before || epoch_us == GONE).then_some(epoch_us)
    }
}

/// Whether `home` looks like a host name, with a port or without (RFC 3261 §25.1).
fn is_name(home: &str) -> bool {
    let (host, port) = home.split_once(':').unwrap_or((home, "5060"));
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    port.parse::<u16>().is_ok() && host.chars().all(is_part) && host.chars().any(char::is_alphabetic)
}

/// What `scanned` is worth. One that is malformed is not looked at any further.
pub(super) fn judge(scanned: &ScannedRow, schema: Schema, epochs: &Epochs) -> Verdict {
    let ScannedRow { row, id } = scanned;
    let malformed = if row.aor.is_empty() {
        Some(Malformed::EmptyAor)
    } else if row.home.is_empty() {
        Some(Malformed::EmptyHome)
    } else if sip_address(&row.home).is_err() {
        Some(if is_name(&row.home) { Malformed::HomeIsName } else { Malformed::HomeIsNoAddress })
    } else {
        match (schema, id) {
            (Schema::Native, None) => None,
            (Schema::Native, Some(_)) => Some(Malformed::KeyDiffers),
            (Schema::OpenSips, None) => Some(Malformed::NoKey),
            (Schema::OpenSips, Some(id)) => {
                let is_both = id.strip_prefix(&*row.aor).is_some_and(|rest| *rest == *row.home);
                (!is_both).then_some(Malformed::KeyDiffers)
            }
        }
    };
    match (malformed, epochs.voids(row)) {
        (Some(why), _) => Verdict::Malformed(why),
        (None, Some(epoch_us)) => Verdict::Void(epoch_us),
        (None, None) => Verdict::Good,
    }
}

/// A row that something is wrong with, and what.
#[derive(Debug, Serialize)]
pub(super) struct Finding<'a> {
    pub(super) kind: &'static str,
    id: Option<&'a str>,
    aor: &'a str,
    home: &'a str,
    written_at: Option<String>,
    reason: String,
}

impl<'a> Finding<'a> {
    pub(super) fn malformed(scanned: &'a ScannedRow, why: Malformed) -> Self {
        Self::new("malformed", scanned, why.to_string())
    }

    pub(super) fn void(scanned: &'a ScannedRow, epoch_us: i64) -> Self {
        let reason = match epoch_us {
            GONE => "its home is gone for good".to_owned(),
            us => format!("its home's rows count since {}", epoch(Some(us))),
        };
        Self::new("void", scanned, reason)
    }

    pub(super) fn of_home(scanned: &'a ScannedRow) -> Self {
        Self::new("retired", scanned, "its home is retired".to_owned())
    }

    fn new(kind: &'static str, ScannedRow { row, id }: &'a ScannedRow, reason: String) -> Self {
        let written_at = row.written_at_us.map(time);
        Self { kind, id: id.as_deref(), aor: &row.aor, home: &row.home, written_at, reason }
    }
}

impl fmt::Display for Finding<'_> {
    /// Texts of a store may hold anything, so that they are written with escapes.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, aor, home, written_at, reason, .. } = self;
        write!(formatter, "{aor:?} at {home:?}")?;
        if let Some(id) = id {
            write!(formatter, ", key {id:?}")?;
        }
        if let Some(written_at) = written_at {
            write!(formatter, ", written {written_at}")?;
        }
        write!(formatter, ": {reason}")
    }
}

/// How many rows a home has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) rows: u64,
    pub(super) void: u64,
}

/// Rows by their homes; those that are no addresses are left out.
#[derive(Debug, Default)]
pub(super) struct Homes {
    pub(super) counts: BTreeMap<Box<str>, Count>,
    /// Rows of homes beyond the bound.
    pub(super) further_rows: u64,
}

impl Homes {
    pub(super) fn add(&mut self, home: &str, is_void: bool) {
        let is_full = self.counts.len() >= HOMES_COUNT_MAX;
        let count = match self.counts.get_mut(home) {
            Some(count) => count,
            None if is_full => {
                self.further_rows += 1;
                return;
            }
            None => self.counts.entry(home.into()).or_default(),
        };
        count.rows += 1;
        count.void += u64::from(is_void);
    }
}

/// Whether a configuration names `home`.
pub(super) fn is_named(named: &Named, home: &str) -> bool {
    sip_address(home).is_ok_and(|home| named.all().any(|known| known.is_same(home)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(id: Option<&str>, aor: &str, home: &str, written_at_us: Option<i64>) -> ScannedRow {
        ScannedRow { row: Row { aor: aor.into(), home: home.into(), written_at_us }, id: id.map(Into::into) }
    }

    fn epochs(of: &[(&str, i64)]) -> Epochs {
        Epochs::new(of.iter().map(|(home, epoch_us)| Epoch { home: (*home).into(), epoch_us: *epoch_us }).collect())
    }

    #[test]
    fn a_malformed_row_is_told_what_is_wrong_with_it() {
        let judge = |id: Option<&str>, aor: &str, home: &str| {
            judge(&scanned(id, aor, home, None), Schema::OpenSips, &Epochs::default())
        };
        assert_eq!(judge(Some("a@h10.0.0.1"), "a@h", "10.0.0.1"), Verdict::Good);
        assert_eq!(judge(Some("a@h[2001:db8::1]:5070"), "a@h", "[2001:db8::1]:5070"), Verdict::Good);
        assert_eq!(judge(Some("a@h10.0.0.1"), "", "10.0.0.1"), Verdict::Malformed(Malformed::EmptyAor));
        assert_eq!(judge(Some("a@h10.0.0.1"), "a@h", ""), Verdict::Malformed(Malformed::EmptyHome));
        for home in ["sip:10.0.0.1", "10.0.0.1:0", "10.0.0.256"] {
            let id = format!("a@h{home}");
            assert_eq!(judge(Some(&id), "a@h", home), Verdict::Malformed(Malformed::HomeIsNoAddress));
        }
        for home in ["pop1.example.com", "pop1", "pop1.example.com:5070"] {
            let verdict = judge(Some(&format!("a@h{home}")), "a@h", home);
            assert_eq!(verdict, Verdict::Malformed(Malformed::HomeIsName), "which no repair deletes");
        }
        for id in ["a@h10.0.0.2", "a@h", "a@h 10.0.0.1", "b@h10.0.0.1", ""] {
            assert_eq!(judge(Some(id), "a@h", "10.0.0.1"), Verdict::Malformed(Malformed::KeyDiffers), "{id}");
        }
        assert_eq!(judge(None, "a@h", "10.0.0.1"), Verdict::Malformed(Malformed::NoKey));
    }

    #[test]
    fn a_key_of_the_native_schema_is_told_only_where_it_contradicts() {
        let judge = |id| judge(&scanned(id, "a@h", "10.0.0.1", None), Schema::Native, &Epochs::default());
        assert_eq!(judge(None), Verdict::Good);
        assert_eq!(judge(Some("x")), Verdict::Malformed(Malformed::KeyDiffers));
    }

    #[test]
    fn a_row_is_void_that_was_written_before_the_epoch_of_its_home() {
        let epochs = epochs(&[("10.0.0.1", 100), ("10.0.0.2", GONE)]);
        let judge = |home, at| judge(&scanned(None, "a@h", home, at), Schema::Native, &epochs);
        assert_eq!(judge("10.0.0.1", Some(99)), Verdict::Void(100));
        assert_eq!(judge("10.0.0.1", Some(100)), Verdict::Good);
        assert_eq!(judge("10.0.0.1", None), Verdict::Good, "nobody knows its age");
        assert_eq!(judge("10.0.0.2", Some(i64::MAX - 1)), Verdict::Void(GONE));
        assert_eq!(judge("10.0.0.2", None), Verdict::Void(GONE));
        assert_eq!(judge("10.0.0.3", Some(0)), Verdict::Good);
    }

    #[test]
    fn the_number_of_homes_is_bounded() {
        let mut homes = Homes::default();
        for number in 0..HOMES_COUNT_MAX + 7 {
            homes.add(&format!("10.0.{}.{}", number / 256, number % 256), false);
        }
        homes.add("10.0.0.0", true);
        assert_eq!((homes.counts.len(), homes.further_rows), (HOMES_COUNT_MAX, 7));
        assert_eq!(homes.counts["10.0.0.0"], Count { rows: 2, void: 1 });
    }

    #[test]
    fn a_home_is_named_however_it_is_written() {
        let address = |text| sip_address(text).unwrap();
        let named = Named { home: Some(address("10.0.0.1")), peers: vec![address("[2001:db8::1]:5060")] };
        for (home, is) in [("10.0.0.1:5060", true), ("[2001:db8::1]", true), ("10.0.0.1:5061", false), ("x", false)] {
            assert_eq!(is_named(&named, home), is, "{home}");
        }
    }

    #[test]
    fn what_a_store_holds_cannot_write_on_a_terminal() {
        let row = scanned(Some("x"), "a\x1b[2J@h", "10.0.0.1", Some(1_700_000_000_000_000));
        let text = Finding::malformed(&row, Malformed::KeyDiffers).to_string();
        assert_eq!(
            text,
            "\"a\\u{1b}[2J@h\" at \"10.0.0.1\", key \"x\", written 2023-11-14T22:13:20Z: its key is not its AoR and home"
        );
    }
}
