//! What of a log cannot be read.

use crate::{DAMAGES_COUNT_MAX, Sequence};
use std::fmt;
use std::path::PathBuf;

/// A part of a log that cannot be read, or is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file, or the folder when it is not known which file is concerned.
    pub file: PathBuf,
    /// Where in the file, in bytes from its start, where known.
    pub offset_bytes: Option<u64>,
    /// The entries that are lost by it, where known.
    pub lost: Option<Lost>,
    /// What was found there.
    pub reason: String,
}

/// Entries that are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The first one.
    pub first: Sequence,
    /// The last one; `None` when they reach to the end of the log, so that nobody knows how many they were.
    pub last: Option<Sequence>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(offset) = self.offset_bytes {
            write!(f, ", byte {offset}")?;
        }
        match self.lost {
            Some(Lost { first, last: Some(last) }) if first == last => write!(f, ", record {first}")?,
            Some(Lost { first, last: Some(last) }) => write!(f, ", records {first} to {last}")?,
            Some(Lost { first, last: None }) => write!(f, ", record {first} and all after it")?,
            None => {}
        }
        write!(f, ": {}", self.reason)
    }
}

/// The first damage of several, as an error tells it.
pub(crate) fn told(damages: &[Damage]) -> String {
    match damages {
        [] => "the damage is not known".to_owned(),
        [only] => only.to_string(),
        [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
    }
}

/// Collects damages; ones that touch in the same file for the same reason become one.
#[derive(Debug, Default)]
pub(crate) struct Damages(pub(crate) Vec<Damage>);

impl Damages {
    pub(crate) fn add(&mut self, found: Damage) {
        let is_full = self.0.len() >= DAMAGES_COUNT_MAX;
        let Some(previous) = self.0.last_mut() else { return self.0.push(found) };
        if let (Some(before), Some(Lost { first, last: Some(last) })) = (&mut previous.lost, found.lost) {
            let touches = before.last.is_some_and(|end| end.next() == first);
            let is_alike = previous.file == found.file && previous.reason == found.reason;
            if touches && is_alike || is_full {
                before.last = Some(last);
                return;
            }
        }
        if !is_full {
            self.0.push(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(first: u64, last: u64, reason: &str) -> Damage {
        let lost = Lost { first: Sequence(first), last: Some(Sequence(last)) };
        Damage { file: "000007.sst".into(), offset_bytes: None, lost: Some(lost), reason: reason.to_owned() }
    }

    #[test]
    fn damages_that_touch_become_one() {
        let mut damages = Damages::default();
        for found in [lost(3, 3, "a"), lost(4, 4, "a"), lost(5, 6, "a"), lost(9, 9, "a"), lost(10, 10, "b")] {
            damages.add(found);
        }
        assert_eq!(damages.0, [lost(3, 6, "a"), lost(9, 9, "a"), lost(10, 10, "b")]);
    }

    #[test]
    fn the_number_of_damages_is_bounded() {
        let mut damages = Damages::default();
        for index in 0..2 * DAMAGES_COUNT_MAX as u64 {
            damages.add(lost(index * 2, index * 2, "a"));
        }
        assert_eq!(damages.0.len(), DAMAGES_COUNT_MAX);
    }

    #[test]
    fn a_damage_says_file_place_records_and_reason() {
        let damage = Damage { offset_bytes: Some(32_768), ..lost(7, 9, "checksum mismatch") };
        assert_eq!(damage.to_string(), "000007.sst, byte 32768, records 7 to 9: checksum mismatch");
    }
}
