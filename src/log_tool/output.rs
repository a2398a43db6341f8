//! What the commands print, and how they write numbers, times and damage.

use serde::Serialize;
use sipfed_log::{Damage, Lost};
use std::fmt;
use std::io::{self, BufWriter, StdoutLock, Write};

/// Bytes that are gathered before they are written.
const GATHERED_BYTES: usize = 64 << 10;

/// Lines on stdout. A line that cannot be written is an error and no panic, since `| head` is a fair use.
#[derive(Debug)]
pub(super) struct Output {
    lines: BufWriter<StdoutLock<'static>>,
}

impl Output {
    pub(super) fn new() -> Self {
        Self { lines: BufWriter::with_capacity(GATHERED_BYTES, io::stdout().lock()) }
    }

    /// One line of text.
    pub(super) fn line(&mut self, line: fmt::Arguments<'_>) -> io::Result<()> {
        self.lines.write_fmt(line)?;
        self.lines.write_all(b"\n")
    }

    /// One JSON object on a line.
    pub(super) fn json(&mut self, object: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.lines, object)?;
        self.lines.write_all(b"\n")
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.lines.flush()
    }
}

/// A damage as JSON.
#[derive(Debug, Serialize)]
pub(super) struct DamageObject {
    file: String,
    offset_bytes: Option<u64>,
    first_record: Option<u64>,
    /// `null` beside a first record: it and all after it.
    last_record: Option<u64>,
    reason: String,
}

impl From<&Damage> for DamageObject {
    fn from(damage: &Damage) -> Self {
        let Damage { file, offset_bytes, lost, reason } = damage;
        Self {
            file: file.display().to_string(),
            offset_bytes: *offset_bytes,
            first_record: lost.map(|Lost { first, .. }| first.0),
            last_record: lost.and_then(|Lost { last, .. }| last).map(|last| last.0),
            reason: reason.clone(),
        }
    }
}

pub(super) fn damage_objects(damages: &[Damage]) -> Vec<DamageObject> {
    damages.iter().map(DamageObject::from).collect()
}

/// Bytes as a person reads them.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut value = bytes as f64;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} {}", UNITS[0]) } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A count with its noun.
pub(super) fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let sizes = [0, 1023, 1024, 1_572_864, 5 << 40].map(size);
        assert_eq!(sizes, ["0 bytes", "1023 bytes", "1.0 KiB", "1.5 MiB", "5.0 TiB"]);
    }
}
