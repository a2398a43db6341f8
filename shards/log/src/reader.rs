//! Reads a directory without a node, for tools.
//!
//! # Contract
//! Goes in: the path of a data directory. Comes out: what is in its logs ([`LogReader::inspect`]), whether all of it can
//! be read ([`LogReader::verify`]), and the entries ([`LogReader::export`]). Nothing is changed, and a file system that is
//! mounted read-only will do.
//!
//! A running node is refused: RocksDB's read-only view is not consistent while somebody writes. Readers share the
//! directory's lock, so several may read at once, and a node does not start meanwhile. All calls wait for the disk, and
//! hold one log open at a time.

use crate::damage::Damages;
use crate::directory::{FORMAT, Lock, manifest_of};
use crate::high_water::HighWater;
use crate::log::{database, holds_entries, is_lost};
use crate::replay::{self, Entry, Progress, Replayed, Tables};
use crate::store::{self, Store};
use crate::wal::{self, Scan};
use crate::{Damage, DirectoryError, Generation, Layout, Lost, ReadError, ReplayError, Sequence, entry};
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// A directory that is open for reading.
#[derive(Debug)]
pub struct LogReader {
    layout: Layout,
    created_at_s: u64,
    _lock: Lock,
}

/// What is in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The format that it is written in.
    pub format: u64,
    /// When it was made, in seconds since 1970.
    pub created_at_s: u64,
    /// The current layout.
    pub layout: Layout,
    /// Its logs, in the order of their shards. A log that was never opened has no generation.
    pub shards: Vec<ShardInspection>,
}

/// What is in the log of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardInspection {
    /// The shard.
    pub shard: u32,
    /// Its generations, oldest first.
    pub generations: Vec<GenerationInspection>,
    /// Bytes of write-ahead logs on disk.
    pub wal_bytes: u64,
    /// Why it cannot be opened, or what of its write-ahead logs cannot be read. What tables hold is not looked at; see
    /// [`LogReader::verify`].
    pub damages: Vec<Damage>,
    /// The tail that the next opening will cut back.
    pub tail: Option<Damage>,
}

/// What is in a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenerationInspection {
    /// Which one, and when it started.
    pub generation: Generation,
    /// Its first and last entry; `None` when it has none.
    pub entries: Option<(Sequence, Sequence)>,
    /// Bytes of its tables on disk.
    pub tables_bytes: u64,
    /// Its tables on disk.
    pub tables_count: u64,
}

/// What a verification has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// The logs, in the order of their shards.
    pub shards: Vec<ShardVerification>,
}

/// What a verification has found in the log of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardVerification {
    /// The shard.
    pub shard: u32,
    /// Entries that can be read.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What cannot be read, or is missing.
    pub damages: Vec<Damage>,
    /// The tail that the next opening will cut back: no damage.
    pub tail: Option<Damage>,
}

impl Verification {
    /// Nothing is damaged.
    pub fn is_whole(&self) -> bool {
        self.shards.iter().all(|shard| shard.damages.is_empty())
    }
}

/// A log that is open for reading; `None` in place of the store when there is nothing, or it cannot be opened.
struct ReadLog {
    store: Option<Store>,
    generations: Vec<Generation>,
    damages: Vec<Damage>,
    tail: Option<Damage>,
    database: PathBuf,
}

impl LogReader {
    /// Opens the directory at `path` for reading.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        // Refuses what is no data directory before there is a lock to share.
        manifest_of(path).map_err(|error| refused(path, error))?;
        let lock = Lock::share(path).map_err(|error| refused(path, error))?;
        let manifest = manifest_of(path).map_err(|error| refused(path, error))?;
        let layout = Layout::of(path, &manifest);
        Ok(Self { layout, created_at_s: manifest.created_at_s, _lock: lock })
    }

    /// The current set of logs.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What generations, sequences, sizes and ages there are. Reads write-ahead logs, and of tables only their ends.
    pub fn inspect(&self) -> Inspection {
        let shards = (0..self.layout.shards_count).map(|shard| self.log(shard).inspect(shard)).collect();
        Inspection { format: FORMAT, created_at_s: self.created_at_s, layout: self.layout.clone(), shards }
    }

    /// Reads and checks everything. `check` says what is wrong with the operations of an entry, which mean nothing here.
    /// `progress` is called now and then with the shard.
    pub fn verify(
        &self,
        check: &mut dyn FnMut(Entry<'_>) -> Result<(), String>,
        progress: &mut dyn FnMut(u32, Progress),
    ) -> Result<Verification, ReadError> {
        let mut verification = Verification::default();
        for shard in 0..self.layout.shards_count {
            let mut log = self.log(shard);
            let tables = log.tables();
            let (mut refused, mut refused_count) = (Damages::default(), 0);
            let mut visit = |entry: Entry<'_>| {
                if let Err(reason) = check(entry) {
                    let file = tables.file_of(&entry).unwrap_or_else(|| log.database.clone());
                    let lost = Some(Lost { first: entry.sequence, last: Some(entry.sequence) });
                    refused.add(Damage { file, offset_bytes: None, lost, reason });
                    refused_count += 1;
                }
                ControlFlow::Continue(())
            };
            let read = log.read(true, &mut visit, &mut |at| progress(shard, at));
            let replayed = read.map_err(|source| ReadError::Replay { shard, source })?;
            log.damages.extend(replayed.damages);
            log.damages.extend(refused.0);
            let (entries, bytes) = (replayed.entries - refused_count, replayed.bytes);
            let ReadLog { damages, tail, .. } = log;
            verification.shards.push(ShardVerification { shard, entries, bytes, damages, tail });
        }
        Ok(verification)
    }

    /// Gives all entries of all shards to `visit` with their shard, oldest first, until it ends it. With `salvage`, what
    /// cannot be read is left out and returned; without it, the first damage is an error.
    pub fn export(
        &self,
        salvage: bool,
        visit: &mut dyn FnMut(u32, Entry<'_>) -> ControlFlow<()>,
        progress: &mut dyn FnMut(u32, Progress),
    ) -> Result<Vec<Damage>, ReadError> {
        let mut damages = Vec::new();
        for shard in 0..self.layout.shards_count {
            let log = self.log(shard);
            if !salvage && !log.damages.is_empty() {
                return Err(ReadError::Damaged { shard, damages: log.damages });
            }
            let read = log.read(salvage, &mut |entry| visit(shard, entry), &mut |at| progress(shard, at));
            let replayed = read.map_err(|source| ReadError::Replay { shard, source })?;
            damages.extend(log.damages);
            damages.extend(replayed.damages);
            if replayed.is_stopped {
                break;
            }
        }
        Ok(damages)
    }

    fn log(&self, shard: u32) -> ReadLog {
        let folder = self.layout.shard_folder(shard);
        let database = database(&folder);
        let damaged = |reason: String| Damage { file: database.clone(), offset_bytes: None, lost: None, reason };
        let Scan { last: in_wal, middle, tail } = match wal::scan(&database) {
            Ok(scan) => scan,
            Err(error) => Scan { middle: vec![damaged(error.to_string())], ..Scan::default() },
        };
        let mut log =
            ReadLog { store: None, generations: Vec::new(), damages: Vec::new(), tail, database: database.clone() };
        let mut last = Sequence(0);
        if database.join("CURRENT").exists() {
            let opened =
                store::open_read_only(&database).and_then(|store| Ok((store::generation_numbers(&database)?, store)));
            match opened {
                Ok((numbers, store)) => {
                    last = log.take(&numbers, &store);
                    log.damages.extend(middle.into_iter().filter(|found| is_lost(&store, &database, found)));
                    log.store = Some(store);
                }
                Err(error) => {
                    log.damages.extend(middle);
                    let file = store::file_in(&error, &database).unwrap_or_else(|| database.clone());
                    log.damages.push(Damage { file, ..damaged(error.to_string()) });
                    return log;
                }
            }
        } else if holds_entries(&database) {
            // Without entries it is a log that was never opened.
            log.damages.push(damaged("its file CURRENT is missing".to_owned()));
        }
        log.compare(last, in_wal.unwrap_or_default(), HighWater::read(&folder));
        log
    }
}

/// Says of a directory that is no node's what is so of it: that it is not there, or has no manifest.
fn refused(path: &Path, error: DirectoryError) -> ReadError {
    match (error, fs::metadata(path)) {
        (DirectoryError::Foreign { path }, Ok(_)) => ReadError::NoManifest { path },
        (DirectoryError::Foreign { path }, Err(found)) if found.kind() == io::ErrorKind::NotFound => {
            ReadError::Missing { path }
        }
        (error, _) => error.into(),
    }
}

impl ReadLog {
    fn tables(&self) -> Tables {
        self.store.as_ref().map_or_else(Tables::default, Tables::of)
    }

    /// Takes note of the generations in `store`, and returns the last sequence that was given. A generation whose start
    /// cannot be read is taken to have started at 0; reading its entries shows what is wrong.
    fn take(&mut self, numbers: &[u64], store: &Store) -> Sequence {
        let mut last = Sequence(0);
        let tables = Tables::of(store);
        for number in numbers {
            let name = Generation::name(*number);
            let family = store.cf_handle(&name);
            let value = family.and_then(|family| store.get_cf(&family, entry::START_KEY.key()).ok().flatten());
            let start = value.and_then(|value| entry::Start::decode(&value).ok());
            let started_at_s = start.map_or(0, |start| start.started_at_s);
            self.generations.push(Generation { number: *number, started_at_s });
            let floor = start.map_or(Sequence(0), |start| start.floor);
            last = last.max(floor).max(ends(store, &name, &tables).map_or(floor, |(_, end)| end));
        }
        last
    }

    /// Compares the `last` entry that there is with the last one `in_wal`, and with the `note` of what had reached the disk.
    fn compare(&mut self, last: Sequence, in_wal: Sequence, note: Result<Option<Sequence>, String>) {
        let note = note.unwrap_or_else(|reason| {
            let file = self.database.with_file_name(HighWater::FILE);
            self.damages.push(Damage { file, offset_bytes: None, lost: None, reason });
            None
        });
        let (first, wanted) = (last.next(), in_wal.max(note.unwrap_or_default()));
        if last >= wanted {
            return;
        }
        // What was being written at the end had reached the disk.
        let tail = self.tail.take_if(|_| wanted > in_wal);
        // RocksDB reads a write-ahead log up to the first damage, so that what stands behind is lost by it.
        let is_cause = |lost: &&mut Lost| lost.first == first;
        if let Some(cause) = self.damages.iter_mut().filter_map(|damage| damage.lost.as_mut()).find(is_cause) {
            cause.last = Some(wanted);
            return;
        }
        self.damages.push(Damage {
            file: tail.as_ref().map_or_else(|| self.database.clone(), |tail| tail.file.clone()),
            offset_bytes: tail.as_ref().and_then(|tail| tail.offset_bytes),
            lost: Some(Lost { first, last: Some(wanted) }),
            reason: tail.map_or_else(
                || "the records are missing at the end, where nothing is left to read".to_owned(),
                |tail| tail.reason,
            ),
        });
    }

    fn read(
        &self,
        salvage: bool,
        visit: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Replayed, ReplayError> {
        match &self.store {
            Some(store) => replay::read(store, &self.generations, salvage, visit, progress),
            None => Ok(Replayed::default()),
        }
    }

    fn inspect(self, shard: u32) -> ShardInspection {
        let tables = self.tables();
        let inspect = |generation: &Generation| {
            let name = Generation::name(generation.number);
            let own = || tables.of_generation(&name);
            GenerationInspection {
                generation: *generation,
                entries: self.store.as_ref().and_then(|store| ends(store, &name, &tables)),
                tables_bytes: own().map(|table| table.size as u64).sum(),
                tables_count: own().count() as u64,
            }
        };
        let generations = self.generations.iter().map(inspect).collect();
        ShardInspection {
            shard,
            generations,
            wal_bytes: wal::bytes(&self.database),
            damages: self.damages,
            tail: self.tail,
        }
    }
}

/// The first and last entry of a generation: those that can be read, and those that `tables` say to hold, so that what
/// is in a table and cannot be read is not taken for missing.
fn ends(store: &Store, name: &str, tables: &Tables) -> Option<(Sequence, Sequence)> {
    let held = tables.of_generation(name).filter_map(replay::range);
    held.chain(readable_ends(store, name)).reduce(|(first, last), (low, high)| (first.min(low), last.max(high)))
}

fn readable_ends(store: &Store, name: &str) -> Option<(Sequence, Sequence)> {
    let family = store.cf_handle(name)?;
    let mut entries = store.raw_iterator_cf(&family);
    entries.seek(entry::START_KEY.next().key());
    let first = Sequence::from_key(entries.key()?)?;
    entries.seek_to_last();
    Some((first, Sequence::from_key(entries.key()?)?))
}
