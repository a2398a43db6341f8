//! How a log is opened, and what of it is believed.
//!
//! 1. Read the write-ahead logs by ourselves (see `wal`). What cannot be read at the very end was being written when the
//!    process or the machine died; it is cut back and told. It is damage when the note says that it had reached the disk.
//! 2. What cannot be read and has readable records behind it is damage, unless tables have those entries as well.
//! 3. Damage is refused before anything is changed. With salvage it is given up, which RocksDB does by cutting there.
//! 4. Open, and compare: RocksDB must have all that was read in 1, and what the note says.
//!
//! Opening writes what was in write-ahead logs to tables, so that afterwards all entries are on the disk.

use super::LogOptions;
use crate::damage::Damages;
use crate::directory::{make_folder, sync_folder};
use crate::entry::{START_KEY, Start};
use crate::high_water::HighWater;
use crate::store::{self, Store};
use crate::wal::{self, Scan};
use crate::{Damage, Generation, Lost, OpenError, Sequence, affinity};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What was found when a log was opened.
#[derive(Clone, Debug)]
pub struct OpenReport {
    /// The current generation.
    pub generation: Generation,
    /// The last entry; 0 when there is none.
    pub last: Sequence,
    /// What was being written when the process or the machine died, and is cut back. With [`super::Durability::Process`]
    /// no append of it had returned, unless the machine died or the file was changed.
    pub cut: Option<Damage>,
    /// What is lost, and was given up for [`LogOptions::salvage`].
    pub given_up: Vec<Damage>,
    /// RocksDB's files were rebuilt from what could be read of them.
    pub is_rebuilt: bool,
    /// Why the note of what has reached the disk cannot be used, if so.
    pub note_unreadable: Option<String>,
    /// Threads of RocksDB that may use fewer cores than the one that has opened the log; 0 unless RocksDB was first used
    /// by a pinned thread.
    pub pinned_threads: usize,
}

/// An opened log.
pub(super) struct Opened {
    pub(super) store: Arc<Store>,
    pub(super) generations: Vec<Generation>,
    pub(super) last: Sequence,
    pub(super) report: OpenReport,
    pub(super) high_water: Arc<HighWater>,
}

/// Where RocksDB's files are.
pub(crate) fn database(folder: &Path) -> PathBuf {
    folder.join("database")
}

/// Opens the log in `folder`, or makes it.
pub(super) fn open(folder: &Path, options: &LogOptions) -> Result<Opened, OpenError> {
    let cores = check_cores()?;
    let database = database(folder);
    make_folder(&database)?;
    for made in [Some(folder), folder.parent()].into_iter().flatten() {
        sync_folder(made)?;
    }
    let (note, note_unreadable) = match HighWater::read(folder) {
        Ok(note) => (note.unwrap_or_default(), None),
        Err(reason) => (Sequence(0), Some(reason)),
    };
    let mut opening = Opening { folder, database, options, given_up: Damages::default(), is_rebuilt: false };
    let scan = wal::scan(&opening.database).map_err(|error| opening.failed("read the write-ahead logs of", &error))?;
    let cut = opening.judge(&scan, note)?;
    store::share_flush_threads(options.flush_threads_count)
        .map_err(|error| opening.failed("start threads for", &error))?;
    let store = opening.open_or_rebuild()?;
    let (generations, floor) = opening.generations(&store)?;
    let generation = *generations.last().ok_or_else(|| opening.failed("find a generation of", "there is none"))?;
    let last = opening.last(&store, &generations)?.max(floor);
    let high_water = HighWater::open(folder).map_err(|error| opening.failed("open the note of", &error))?;
    opening.compare(last, scan.last.unwrap_or_default().max(note), &high_water)?;
    high_water
        .write(last)
        .and_then(|()| high_water.sync())
        .map_err(|error| opening.failed("write the note of", &error))?;
    let report = OpenReport {
        generation,
        last,
        cut,
        given_up: opening.given_up.0,
        is_rebuilt: opening.is_rebuilt,
        note_unreadable,
        pinned_threads: cores.map_or(0, affinity::pinned_store_threads),
    };
    Ok(Opened { store: Arc::new(store), generations, last, report, high_water: Arc::new(high_water) })
}

pub(super) fn failed(step: &'static str, folder: &Path, cause: &(impl ToString + ?Sized)) -> OpenError {
    OpenError::Failed { step, folder: folder.to_path_buf(), cause: cause.to_string() }
}

/// Refuses a thread that may use fewer cores than the process's first one. Returns how many it may use.
fn check_cores() -> Result<Option<usize>, OpenError> {
    let (thread, process) = (affinity::of_this_thread(), affinity::of_first_thread());
    match (thread, process) {
        (Some(thread), Some(process)) if thread.count < process.count => {
            Err(OpenError::PinnedThread { thread: thread.list, process: process.list })
        }
        (thread, _) => Ok(thread.map(|cores| cores.count)),
    }
}

/// Makes a generation, which is there once its record of the start is.
pub(super) fn create_generation(store: &Store, generation: Generation, floor: Sequence) -> Result<(), rocksdb::Error> {
    let name = Generation::name(generation.number);
    store.create_cf(&name, &store::generation_options()?)?;
    put_start(store, generation, floor)
}

/// Writes what a generation says of itself.
pub(super) fn put_start(store: &Store, generation: Generation, floor: Sequence) -> Result<(), rocksdb::Error> {
    let start = Start { started_at_s: generation.started_at_s, floor };
    match store.cf_handle(&Generation::name(generation.number)) {
        Some(family) => store.put_cf(&family, START_KEY.key(), start.encode()),
        None => Ok(()),
    }
}

/// An opening on its way.
struct Opening<'o> {
    folder: &'o Path,
    database: PathBuf,
    options: &'o LogOptions,
    given_up: Damages,
    is_rebuilt: bool,
}

impl Opening<'_> {
    fn failed(&self, step: &'static str, cause: &(impl ToString + ?Sized)) -> OpenError {
        failed(step, self.folder, cause)
    }

    /// Gives up what is damaged, or refuses it.
    fn give_up(&mut self, damages: Vec<Damage>) -> Result<(), OpenError> {
        if !damages.is_empty() && !self.options.salvage {
            return Err(OpenError::Damaged { folder: self.folder.to_path_buf(), damages });
        }
        for damage in damages {
            self.given_up.add(damage);
        }
        Ok(())
    }

    /// Judges what the write-ahead logs hold, before anything is changed; `note` is what had reached the disk. Returns
    /// the torn tail.
    fn judge(&mut self, scan: &Scan, note: Sequence) -> Result<Option<Damage>, OpenError> {
        let mut damages = scan.middle.clone();
        let mut cut = scan.tail.clone();
        if let Some(tail) = cut.take_if(|tail| tail.lost.is_some_and(|lost| lost.first <= note)) {
            let lost = tail.lost.map(|lost| Lost { last: Some(note), ..lost });
            damages.push(Damage { lost, ..tail });
        }
        if !damages.is_empty() {
            let tables = store::open_read_only(&self.database).ok();
            damages.retain(|damage| tables.as_ref().is_none_or(|tables| is_lost(tables, &self.database, damage)));
        }
        if !self.database.join("CURRENT").exists() && holds_entries(&self.database) {
            damages.push(Damage {
                file: self.database.join("CURRENT"),
                offset_bytes: None,
                lost: None,
                reason: "it is missing, and there are tables or write-ahead logs".to_owned(),
            });
        }
        self.give_up(damages)?;
        Ok(cut)
    }

    fn open_or_rebuild(&mut self) -> Result<Store, OpenError> {
        let is_current = self.database.join("CURRENT").exists() || !holds_entries(&self.database);
        if is_current {
            match store::open(&self.database) {
                Err(error) if store::is_damage(&error) => self.give_up(vec![self.damage(&error)])?,
                opened => return opened.map_err(|error| self.refused(&error)),
            }
        }
        store::repair(&self.database).map_err(|error| self.refused(&error))?;
        self.is_rebuilt = true;
        store::open(&self.database).map_err(|error| self.refused(&error))
    }

    /// Why RocksDB does not open it.
    fn refused(&self, error: &rocksdb::Error) -> OpenError {
        let folder = self.folder.to_path_buf();
        if store::is_locked(error) {
            OpenError::InUse { folder }
        } else if store::is_full(error) {
            OpenError::DiskFull { folder, cause: error.to_string() }
        } else if store::is_damage(error) {
            OpenError::Damaged { folder, damages: vec![self.damage(error)] }
        } else {
            self.failed("open", &error)
        }
    }

    fn damage(&self, error: &rocksdb::Error) -> Damage {
        let unknown = self.unknown(error.as_ref());
        Damage { file: store::file_in(error, &self.database).unwrap_or(unknown.file), ..unknown }
    }

    /// A damage of which it is not known where it is.
    fn unknown(&self, reason: &str) -> Damage {
        Damage { file: self.database.clone(), offset_bytes: None, lost: None, reason: reason.to_owned() }
    }

    /// All generations, and the highest sequence that one of them says was given. A new log gets its first one; one whose
    /// making was interrupted is removed.
    fn generations(&mut self, store: &Store) -> Result<(Vec<Generation>, Sequence), OpenError> {
        let numbers = store::generation_numbers(&self.database)
            .map_err(|error| self.failed("list the generations of", &error))?;
        let (mut generations, mut floor) = (Vec::new(), Sequence(0));
        for number in &numbers {
            match self.start_of(store, *number) {
                Ok(Some(start)) => {
                    generations.push(Generation { number: *number, started_at_s: start.started_at_s });
                    floor = floor.max(start.floor);
                }
                Ok(None) if Some(number) == numbers.last() && is_empty(store, *number) => {
                    store
                        .drop_cf(&Generation::name(*number))
                        .map_err(|error| self.failed("remove an unfinished generation of", &error))?;
                }
                missing => {
                    let missing = missing.err().unwrap_or_else(|| self.unknown("it is missing"));
                    let reason = format!("the start of generation {number}: {}", missing.reason);
                    self.give_up(vec![Damage { reason, ..missing }])?;
                    // The latest time that it can have been, so that nothing is dropped too early for it.
                    let generation = Generation { number: *number, started_at_s: self.options.now_s };
                    put_start(store, generation, Sequence(0)).map_err(|error| self.refused(&error))?;
                    generations.push(generation);
                }
            }
        }
        if generations.is_empty() {
            let first = Generation { number: 1, started_at_s: self.options.now_s };
            create_generation(store, first, Sequence(0)).map_err(|error| self.refused(&error))?;
            generations.push(first);
        }
        Ok((generations, floor))
    }

    /// What a generation says of itself; `None` when it says nothing, an error when that cannot be read.
    fn start_of(&self, store: &Store, number: u64) -> Result<Option<Start>, Damage> {
        let Some(family) = store.cf_handle(&Generation::name(number)) else { return Ok(None) };
        match store.get_cf(&family, START_KEY.key()) {
            Ok(value) => value.map(|value| Start::decode(&value)).transpose().map_err(|reason| self.unknown(&reason)),
            Err(error) => Err(self.damage(&error)),
        }
    }

    /// The last entry that is there; 0 when there is none.
    fn last(&mut self, store: &Store, generations: &[Generation]) -> Result<Sequence, OpenError> {
        let tables = store.live_files().map_err(|error| self.failed("list the tables of", &error))?;
        let in_tables = tables.iter().filter_map(|table| Sequence::from_key(table.end_key.as_deref()?)).max();
        let mut last = in_tables.unwrap_or_default();
        for generation in generations {
            let Some(family) = store.cf_handle(&Generation::name(generation.number)) else { continue };
            let mut entries = store.raw_iterator_cf(&family);
            entries.seek_to_last();
            // A damaged block is found by the replay, with what is lost by it.
            last = last.max(entries.key().and_then(Sequence::from_key).unwrap_or_default());
        }
        Ok(last)
    }

    /// Compares the `last` entry that there is with the one that there must be.
    fn compare(&mut self, last: Sequence, wanted: Sequence, high_water: &HighWater) -> Result<(), OpenError> {
        if last >= wanted {
            return Ok(());
        }
        // What RocksDB has cut is gone from its files, so the note keeps that it is missed.
        high_water.write(wanted).map_err(|error| self.failed("write the note of", &error))?;
        self.give_up(vec![Damage {
            file: self.database.clone(),
            offset_bytes: None,
            lost: Some(Lost { first: last.next(), last: Some(wanted) }),
            reason: "the records are missing at the end, where nothing is left to read".to_owned(),
        }])
    }
}

/// Whether an entry of `damage` is in no table.
pub(crate) fn is_lost(tables: &Store, database: &Path, damage: &Damage) -> bool {
    let Some(Lost { first, last: Some(last) }) = damage.lost else { return true };
    let Ok(numbers) = store::generation_numbers(database) else { return true };
    let is_there = |sequence: u64| {
        numbers
            .iter()
            .filter_map(|number| tables.cf_handle(&Generation::name(*number)))
            .any(|family| tables.get_pinned_cf(&family, Sequence(sequence).key()).is_ok_and(|value| value.is_some()))
    };
    !(first.0..=last.0).all(is_there)
}

fn is_empty(store: &Store, number: u64) -> bool {
    let Some(family) = store.cf_handle(&Generation::name(number)) else { return true };
    let mut entries = store.raw_iterator_cf(&family);
    entries.seek_to_first();
    !entries.valid() && entries.status().is_ok()
}

/// Whether a folder of RocksDB's has tables, or write-ahead logs with something in them.
pub(crate) fn holds_entries(database: &Path) -> bool {
    let is = |path: &Path, extension: &str| path.extension().is_some_and(|found| found == extension);
    let is_filled = |path: &Path| File::open(path).and_then(|file| file.metadata()).is_ok_and(|found| found.len() > 0);
    fs::read_dir(database).is_ok_and(|entries| {
        entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .any(|path| is(&path, "sst") || is(&path, "log") && is_filled(&path))
    })
}
