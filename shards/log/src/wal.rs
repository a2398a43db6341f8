//! Reads RocksDB's write-ahead logs by itself, before RocksDB does.
//!
//! RocksDB's recovery either cuts at the first record that it cannot read, and drops without a word what was acknowledged
//! after it, or refuses a tail that was torn when the process died, which is no loss at all. It says neither file nor
//! record. A [`scan`] tells them apart: what cannot be read and has readable records behind it is damage
//! ([`Scan::middle`]), and so is a gap in the sequences; what cannot be read at the very end is a tail ([`Scan::tail`]).
//!
//! Nothing is written. One file is in memory at a time; [`crate::WAL_BYTES_MAX`] bounds them all.

mod batch;
mod records;

use crate::{Damage, Lost, Sequence};
use records::{Item, Records};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What the write-ahead logs of a database hold.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// The last entry that can be read.
    pub(crate) last: Option<Sequence>,
    /// Entries that cannot be read and have readable ones behind them. They may be in tables as well: a log that is no
    /// longer needed can be damaged without loss.
    pub(crate) middle: Vec<Damage>,
    /// What cannot be read at the end.
    pub(crate) tail: Option<Damage>,
}

/// Scans the write-ahead logs of the database at `path`; none when there is no database.
pub(crate) fn scan(path: &Path) -> io::Result<Scan> {
    let mut scan = Scan::default();
    let mut open = None;
    for file in files(path)? {
        let bytes = fs::read(&file)?;
        let mut records = Records::new(&bytes);
        while let Some(item) = records.next_item() {
            match item {
                Item::Bad { offset, reason } => {
                    open.get_or_insert_with(|| Damage {
                        file: file.clone(),
                        offset_bytes: Some(offset as u64),
                        lost: None,
                        reason: reason.to_owned(),
                    });
                }
                Item::Record { offset } => {
                    for sequence in batch::sequences(records.payload()) {
                        scan.read(sequence, &file, offset, &mut open);
                    }
                }
            }
        }
    }
    scan.tail = open.map(|tail| {
        let lost = scan.last.map(|last| Lost { first: last.next(), last: None });
        Damage { lost, ..tail }
    });
    Ok(scan)
}

impl Scan {
    /// Takes note of an entry that can be read; `open` is what could not be read before it.
    fn read(&mut self, sequence: Sequence, file: &Path, offset: usize, open: &mut Option<Damage>) {
        let expected = match self.last {
            Some(last) => last.next(),
            // Nothing tells where the log began, but at least the one before this was in what cannot be read.
            None if open.is_some() && sequence.0 > 1 => Sequence(sequence.0 - 1),
            None => sequence,
        };
        let before = open.take();
        if sequence > expected {
            let missing = || Damage {
                file: file.to_path_buf(),
                offset_bytes: Some(offset as u64),
                lost: None,
                reason: format!("record {sequence} follows where {expected} should"),
            };
            let lost = Lost { first: expected, last: Some(Sequence(sequence.0 - 1)) };
            self.middle.push(Damage { lost: Some(lost), ..before.unwrap_or_else(missing) });
        }
        self.last = Some(sequence);
    }
}

/// The write-ahead logs, oldest first.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut numbered = Vec::new();
    for entry in entries {
        let file = entry?.path();
        let number = file.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
        if let (Some(number), true) = (number, file.extension().is_some_and(|extension| extension == "log")) {
            numbered.push((number, file));
        }
    }
    numbered.sort();
    Ok(numbered.into_iter().map(|(_, file)| file).collect())
}

/// Bytes of the write-ahead logs of the database at `path`.
pub(crate) fn bytes(path: &Path) -> u64 {
    let files = files(path).unwrap_or_default();
    files.iter().filter_map(|file| fs::metadata(file).ok()).map(|found| found.len()).sum()
}
