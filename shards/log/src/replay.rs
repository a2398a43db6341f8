//! Reads all entries of a log in order, and finds what is missing.
//!
//! Sequences have no gaps, so that whatever is lost leaves a hole that is seen here, no matter how it was lost: a damaged
//! block, an entry whose own checksum does not fit, a table or write-ahead log that is not there. Only the end has
//! nothing behind it; the note of what has reached the disk stands for it (see `high_water`).
//!
//! A generation is read by one iterator over all its tables. A damaged block stops it. From there on entries are asked for
//! one by one, up to the end of that table, and the iterator goes on behind it: so exactly the entries of that block are
//! lost.

use crate::damage::Damages;
use crate::store::{self, Store};
use crate::{Damage, Generation, Lost, ReplayError, Sequence, entry};
use rocksdb::{LiveFile, ReadOptions};
use std::ops::ControlFlow;
use std::path::PathBuf;

/// One append, as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its sequence.
    pub sequence: Sequence,
    /// The generation that it is in.
    pub generation: Generation,
    /// The operations, as they were appended.
    pub operations: &'a [u8],
}

/// How far a reading is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Entries read so far.
    pub entries: u64,
    /// Bytes of keys and values read so far.
    pub bytes: u64,
    /// About how many bytes there are in all.
    pub bytes_total: u64,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Entries that were visited.
    pub entries: u64,
    /// Bytes of keys and values read.
    pub bytes: u64,
    /// The last entry that was visited; 0 when there was none.
    pub last: Sequence,
    /// What is lost; empty unless the log was opened with salvage.
    pub damages: Vec<Damage>,
    /// The visitor has ended it.
    pub is_stopped: bool,
}

/// Entries between two calls of the progress.
const PROGRESS_ENTRIES: u64 = 1024;
/// Bytes read ahead, by all tables of a generation together, and by one of them.
const READ_AHEAD_BYTES_MAX: usize = 64 << 20;
const READ_AHEAD_TABLE_BYTES_MAX: usize = 2 << 20;
const READ_AHEAD_TABLE_BYTES_MIN: usize = 32 << 10;

/// Reads `generations`, which are all there are, oldest first.
pub(crate) fn read(
    store: &Store,
    generations: &[Generation],
    salvage: bool,
    visit: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Replayed, ReplayError> {
    let tables = store.live_files().map_err(|error| failed("list the tables", Sequence(0), &error))?;
    let bytes_total = bytes(store, &tables, generations);
    let mut reading = Reading {
        store,
        tables,
        salvage,
        visit,
        told: progress,
        progress: Progress { bytes_total, ..Progress::default() },
        replayed: Replayed::default(),
        damages: Damages::default(),
        last: None,
    };
    for generation in generations {
        if reading.generation(*generation)?.is_break() {
            reading.replayed.is_stopped = true;
            break;
        }
    }
    (reading.told)(reading.progress);
    let Progress { entries, bytes, .. } = reading.progress;
    let last = reading.last.unwrap_or_default();
    Ok(Replayed { entries, bytes, last, damages: reading.damages.0, ..reading.replayed })
}

fn failed(step: &'static str, after: Sequence, error: &rocksdb::Error) -> ReplayError {
    ReplayError::Failed { step, after, cause: error.to_string() }
}

/// About how many bytes the generations have, in tables and in memory.
fn bytes(store: &Store, tables: &[LiveFile], generations: &[Generation]) -> u64 {
    let in_memory = |generation: &Generation| {
        let family = store.cf_handle(&Generation::name(generation.number))?;
        store.property_int_value_cf(&family, "rocksdb.cur-size-all-mem-tables").ok()?
    };
    let in_tables: usize = tables.iter().map(|table| table.size).sum();
    in_tables as u64 + generations.iter().filter_map(in_memory).sum::<u64>()
}

struct Reading<'r> {
    store: &'r Store,
    tables: Vec<LiveFile>,
    salvage: bool,
    visit: &'r mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    told: &'r mut dyn FnMut(Progress),
    progress: Progress,
    replayed: Replayed,
    damages: Damages,
    /// The last sequence that was met, readable or lost.
    last: Option<Sequence>,
}

impl Reading<'_> {
    fn generation(&mut self, generation: Generation) -> Result<ControlFlow<()>, ReplayError> {
        let name = Generation::name(generation.number);
        let Some(family) = self.store.cf_handle(&name) else {
            let cause = format!("{name} is not there");
            return Err(ReplayError::Failed { step: "read", after: self.after(), cause });
        };
        let mut from = entry::START_KEY.next();
        loop {
            let options = read_options(self.tables_of(&name).count());
            let mut entries = self.store.raw_iterator_cf_opt(&family, options);
            entries.seek(from.key());
            while let Some((key, value)) = entries.item() {
                let sequence = Sequence::from_key(key).unwrap_or_default();
                if self.entry(generation, sequence, value)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                entries.next();
            }
            let Err(error) = entries.status() else { return Ok(ControlFlow::Continue(())) };
            if !store::is_damage(&error) {
                return Err(failed("read", self.after(), &error));
            }
            let (first, last) = self.blocked(&name, &error);
            for sequence in first.0..=last.0 {
                let sequence = Sequence(sequence);
                match self.store.get_pinned_cf_opt(&family, sequence.key(), &read_options(1)) {
                    Ok(Some(value)) => {
                        if self.entry(generation, sequence, &value)?.is_break() {
                            return Ok(ControlFlow::Break(()));
                        }
                    }
                    // It is in another generation, or missing, which the next entry shows.
                    Ok(None) => {}
                    Err(error) => self.lost(&name, sequence, sequence, error.to_string())?,
                }
            }
            from = last.next();
        }
    }

    /// Takes an entry: looks whether all before it were there and whether it is whole, and shows it.
    fn entry(
        &mut self,
        generation: Generation,
        sequence: Sequence,
        value: &[u8],
    ) -> Result<ControlFlow<()>, ReplayError> {
        let name = Generation::name(generation.number);
        if let Some(last) = self.last.filter(|last| sequence > last.next()) {
            self.lost("", last.next(), Sequence(sequence.0 - 1), "the records are missing".to_owned())?;
        }
        self.progress.bytes += (value.len() + size_of::<Sequence>()) as u64;
        match entry::decode(sequence, value) {
            Err(reason) => {
                self.lost(&name, sequence, sequence, reason)?;
                Ok(ControlFlow::Continue(()))
            }
            Ok(operations) => {
                self.last = Some(sequence);
                self.progress.entries += 1;
                if self.progress.entries.is_multiple_of(PROGRESS_ENTRIES) {
                    (self.told)(self.progress);
                }
                Ok((self.visit)(Entry { sequence, generation, operations }))
            }
        }
    }

    /// Takes note that entries of the generation `name` are lost; without salvage, that ends the reading.
    fn lost(&mut self, name: &str, first: Sequence, last: Sequence, reason: String) -> Result<(), ReplayError> {
        let holds = |table: &&LiveFile| range(table).is_some_and(|(low, high)| low <= first && last <= high);
        let file =
            self.tables_of(name).find(holds).map_or_else(|| self.store.path().to_path_buf(), |table| self.path(table));
        let damage = Damage { file, offset_bytes: None, lost: Some(Lost { first, last: Some(last) }), reason };
        if !self.salvage {
            return Err(ReplayError::Damaged { damage, visited: self.progress.entries });
        }
        self.damages.add(damage);
        self.last = Some(last);
        Ok(())
    }

    /// The entries that an iterator cannot reach, since a table of the generation `name` has stopped it: from where it
    /// stands to the end of that table.
    fn blocked(&self, name: &str, error: &rocksdb::Error) -> (Sequence, Sequence) {
        let file = store::file_in(error, self.store.path());
        let table = self.tables_of(name).find(|table| Some(self.path(table)) == file).and_then(range);
        let end = self.tables_of(name).filter_map(range).map(|(_, high)| high).max().unwrap_or_default();
        // Nothing was read yet: the first entry is that of the oldest table.
        let begin = || self.tables_of(name).filter_map(range).map(|(low, _)| low).min().unwrap_or_default();
        let first = self.last.map_or_else(begin, Sequence::next);
        // A table that the iterator has passed, or that is not known, cannot be what stops it: ask for all there is.
        let last = table.map(|(_, high)| high).filter(|high| *high >= first).unwrap_or(end.max(first));
        (first, last)
    }

    fn tables_of(&self, name: &str) -> impl Iterator<Item = &LiveFile> {
        self.tables.iter().filter(move |table| table.column_family_name == name)
    }

    fn path(&self, table: &LiveFile) -> PathBuf {
        self.store.path().join(table.name.trim_start_matches('/'))
    }

    fn after(&self) -> Sequence {
        self.last.unwrap_or_default()
    }
}

/// The tables of a log, to tell what is in which of them.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    folder: PathBuf,
    files: Vec<LiveFile>,
}

impl Tables {
    /// Those of `store`; none when they cannot be listed, which reading them tells better.
    pub(crate) fn of(store: &Store) -> Self {
        Self { folder: store.path().to_path_buf(), files: store.live_files().unwrap_or_default() }
    }

    /// Those of the generation `name`.
    pub(crate) fn of_generation(&self, name: &str) -> impl Iterator<Item = &LiveFile> {
        self.files.iter().filter(move |file| file.column_family_name == name)
    }

    /// The file that `entry` is in; `None` for one that is in no table yet.
    pub(crate) fn file_of(&self, entry: &Entry<'_>) -> Option<PathBuf> {
        let name = Generation::name(entry.generation.number);
        let is_within = |(low, high)| low <= entry.sequence && entry.sequence <= high;
        let file = self.of_generation(&name).find(|file| range(file).is_some_and(is_within))?;
        Some(self.folder.join(file.name.trim_start_matches('/')))
    }
}

/// The first and last entry of a table. The first is reckoned from the last, since the record of the generation's start
/// stands before it under the key 0.
pub(crate) fn range(table: &LiveFile) -> Option<(Sequence, Sequence)> {
    let low = Sequence::from_key(table.start_key.as_deref()?)?;
    let high = Sequence::from_key(table.end_key.as_deref()?)?;
    if low != entry::START_KEY {
        return Some((low, high));
    }
    let entries = table.num_entries.saturating_sub(1);
    (entries > 0).then(|| (Sequence((high.0 + 1).saturating_sub(entries).max(1)), high))
}

/// Everything is checked and nothing is kept; all tables of a generation together read ahead a bounded part.
fn read_options(tables: usize) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_verify_checksums(true);
    options.fill_cache(false);
    options.set_total_order_seek(true);
    let share = READ_AHEAD_BYTES_MAX / tables.max(1);
    if tables > 1 {
        options.set_readahead_size(share.clamp(READ_AHEAD_TABLE_BYTES_MIN, READ_AHEAD_TABLE_BYTES_MAX));
    }
    options
}
