//! The log of one shard.
//!
//! # Contract
//! A [`Log`] is opened by a thread that may wait, and then belongs to its shard, which appends the operations of each turn
//! and polls for what the log's threads have done. `append`, `poll` and `durable` never wait for a disk; `append` makes
//! one system call. `replay`, `close` and the opening may wait.
//!
//! A failure of writing or syncing breaks the log: it takes nothing more until it is reopened, so that no append follows
//! one of which nobody knows whether it is there. RocksDB alone would not recover either: once a write to its
//! write-ahead log has failed, it refuses all others until it is opened anew, even when there is room again.

mod keeper;
mod meter;
mod opening;
mod syncer;

pub use meter::{Meter, Sizes};
pub use opening::OpenReport;
pub(crate) use opening::{database, holds_entries, is_lost};

use crate::replay::{self, Entry, Progress, Replayed};
use crate::store::{self, Store};
use crate::{AppendError, Busy, Generation, OPERATIONS_BYTES_MAX, OpenError, ReplayError, Sequence, entry};
use crossbeam::sync::Unparker;
use keeper::{Keeper, Report, Request};
use opening::Opened;
use rocksdb::WriteOptions;
use rocksdb::properties::NUM_IMMUTABLE_MEM_TABLE;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// Bytes of operations between two looks at how full the write buffers are.
const LOOK_EVERY_BYTES: u64 = 1 << 20;
/// Full buffers from which on a log is filling. RocksDB stalls at one less than all, since it would rather slow down
/// before there is none left.
const FULL_BUFFERS_COUNT_MAX: u64 = store::WRITE_BUFFERS_COUNT_MAX as u64 - 2;

/// When an entry is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When `append` has returned: it survives the death of the process, not that of the machine.
    Process,
    /// When [`Log::durable`] has reached it: it survives a loss of power. A thread syncs, all that was appended
    /// meanwhile at once, and begins two syncs at least `interval` apart.
    Disk {
        /// Shortest time between the beginnings of two syncs; zero syncs without pause.
        interval: Duration,
    },
}

/// How a log is opened.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// When an entry is durable.
    pub durability: Durability,
    /// Gives up what is damaged, and tells it, instead of refusing the log. Copy the folder before: what is given up of
    /// write-ahead logs is gone from it. Damage in tables stays, and is refused again without salvage, until its
    /// generation is dropped or the log is written anew (see [`crate::DataDirectory::begin_layout`]).
    pub salvage: bool,
    /// The time, in seconds since 1970: a new log's first generation starts then.
    pub now_s: u64,
    /// Threads that write buffers to disk, shared by all logs of the process; at least 1. The largest number that any log
    /// was opened with holds.
    pub flush_threads_count: u32,
}

/// What the log's threads have done.
#[derive(Debug)]
pub enum Event {
    /// A generation has started; from now on appends go to it.
    GenerationStarted(Generation),
    /// The generations with these numbers are gone.
    GenerationsDropped(Vec<u64>),
    /// The log takes appends again.
    Reopened(OpenReport),
    /// The log could not be reopened, and takes nothing until that succeeds.
    ReopenFailed(OpenError),
    /// Something has failed on a thread of the log, which takes nothing until it is reopened. Entries after
    /// [`Log::durable`] are not on the disk.
    Failed(AppendError),
}

/// What a log has done since it was opened, as its shard counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Appends.
    pub entries: u64,
    /// Bytes of operations appended.
    pub operations_bytes: u64,
    /// Bytes written to the write-ahead log for them, as reckoned from its format.
    pub wal_bytes: u64,
    /// Appends that were refused as stalled.
    pub stalls: u64,
    /// Appends that were refused for another reason.
    pub failures: u64,
    /// Syncs that have ended.
    pub syncs: u64,
    /// Longest sync, in microseconds.
    pub sync_us_max: u64,
}

/// What a log's threads share.
struct Shared {
    /// Last sequence that was appended.
    appended: AtomicU64,
    /// Last sequence that is known to be on the disk.
    durable: AtomicU64,
    /// The list of generations is being written: RocksDB would let a put wait for it.
    is_listing: AtomicBool,
    /// The syncer sleeps until it is woken.
    is_syncer_idle: AtomicBool,
    /// A sync has failed: none may be tried again before the log is reopened.
    has_sync_failed: AtomicBool,
    syncs: AtomicU64,
    sync_us_max: AtomicU64,
    /// The database, for those who are not the shard; `None` while it is closed.
    slot: RwLock<Option<Arc<Store>>>,
    /// Wakes the shard.
    wake: Box<dyn Fn() + Send + Sync>,
}

enum State {
    Serving(Arc<Store>),
    /// Broken; the database is kept until it is reopened.
    Broken(Option<Arc<Store>>, AppendError),
}

/// The log of one shard; see the module for its contract.
pub struct Log {
    folder: PathBuf,
    options: LogOptions,
    state: State,
    generations: Vec<Generation>,
    /// Name of the current generation's column family.
    name: String,
    next: Sequence,
    /// The value that is being written.
    value: Vec<u8>,
    write_options: WriteOptions,
    is_keeper_busy: bool,
    keeper: Keeper,
    syncer: Option<Unparker>,
    shared: Arc<Shared>,
    statistics: Statistics,
    fullness: Fullness,
}

/// What is known of how full the write buffers are.
#[derive(Default)]
struct Fullness {
    is_filling: bool,
    /// How much had been appended when that was looked up.
    looked_at_bytes: u64,
}

impl Log {
    /// Opens the log in `folder`, a folder of [`crate::Layout::shard_folder`], and makes it when it is missing.
    ///
    /// `wake` is called from threads of the log when [`Log::poll`] has something or [`Log::durable`] has advanced; it
    /// must not wait. What is in the log is durable then, in either sense: it is written to tables while it is opened.
    pub fn open(
        folder: &Path,
        options: LogOptions,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Result<(Self, OpenReport), OpenError> {
        let opened = opening::open(folder, &options)?;
        let shared = Arc::new(Shared {
            appended: AtomicU64::new(opened.last.0),
            durable: AtomicU64::new(opened.last.0),
            is_listing: AtomicBool::new(false),
            is_syncer_idle: AtomicBool::new(false),
            has_sync_failed: AtomicBool::new(false),
            syncs: AtomicU64::new(0),
            sync_us_max: AtomicU64::new(0),
            slot: RwLock::new(Some(opened.store.clone())),
            wake: Box::new(wake),
        });
        let Opened { store, generations, last, report, high_water } = opened;
        let (keeper, syncer) = Keeper::start(folder, options, shared.clone(), high_water)
            .map_err(|error| opening::failed("start a thread for", folder, &error))?;
        let mut write_options = WriteOptions::default();
        write_options.set_no_slowdown(true);
        let log = Self {
            folder: folder.to_path_buf(),
            options,
            state: State::Serving(store),
            name: Generation::name(report.generation.number),
            generations,
            next: last.next(),
            value: Vec::new(),
            write_options,
            is_keeper_busy: false,
            keeper,
            syncer,
            shared,
            statistics: Statistics::default(),
            fullness: Fullness::default(),
        };
        Ok((log, report))
    }

    /// Appends the operations of one turn to the current generation, as one entry: after a restart all of them are there,
    /// or none.
    pub fn append(&mut self, operations: &[u8]) -> Result<Sequence, AppendError> {
        let result = self.put(operations);
        match &result {
            Ok(_) => {
                self.statistics.entries += 1;
                self.statistics.operations_bytes += operations.len() as u64;
                self.statistics.wal_bytes += wal_bytes(self.value.len());
            }
            Err(AppendError::Stalled) => self.statistics.stalls += 1,
            Err(_) => self.statistics.failures += 1,
        }
        result
    }

    fn put(&mut self, operations: &[u8]) -> Result<Sequence, AppendError> {
        let store = match &self.state {
            State::Serving(store) => store,
            State::Broken(_, error) => return Err(error.clone()),
        };
        if operations.len() > OPERATIONS_BYTES_MAX {
            return Err(AppendError::TooLarge { bytes: operations.len() });
        }
        if self.shared.is_listing.load(Ordering::Acquire) {
            return Err(AppendError::Stalled);
        }
        let sequence = self.next;
        entry::encode(sequence, operations, &mut self.value);
        let Some(family) = store.cf_handle(&self.name) else {
            return Err(self.broken(failed(&self.folder, "append", "its generation is gone")));
        };
        let written = store.put_cf_opt(&family, sequence.key(), &self.value, &self.write_options);
        drop(family);
        match written {
            Ok(()) => {}
            Err(error) if store::is_stall(&error) => return Err(AppendError::Stalled),
            Err(error) => return Err(self.broken(append_error(&self.folder, "append", &error))),
        }
        self.next = sequence.next();
        // In one order with the syncer's look at it before it sleeps: one of the two sees what the other has done.
        self.shared.appended.store(sequence.0, Ordering::SeqCst);
        if let Some(syncer) = &self.syncer
            && self.shared.is_syncer_idle.load(Ordering::SeqCst)
        {
            syncer.unpark();
        }
        Ok(sequence)
    }

    /// Whether so much waits to become tables that whoever can wait should: one more buffer, which has just been begun, is
    /// left for those who cannot, before appends are stalled. There is no event when that is over.
    pub fn is_filling(&mut self) -> bool {
        let bytes = self.statistics.operations_bytes;
        let State::Serving(store) = &self.state else { return false };
        if self.fullness.is_filling || bytes - self.fullness.looked_at_bytes >= LOOK_EVERY_BYTES {
            // Takes the lock of the database, which nobody holds while files are written.
            let waiting = store
                .cf_handle(&self.name)
                .and_then(|family| store.property_int_value_cf(&family, NUM_IMMUTABLE_MEM_TABLE).ok().flatten());
            let is_filling = waiting.is_some_and(|count| count >= FULL_BUFFERS_COUNT_MAX);
            self.fullness = Fullness { is_filling, looked_at_bytes: bytes };
        }
        self.fullness.is_filling
    }

    /// The last sequence that is durable, in the sense of the log's [`Durability`].
    pub fn durable(&self) -> Sequence {
        let Shared { appended, durable, .. } = &*self.shared;
        match self.options.durability {
            Durability::Process => Sequence(appended.load(Ordering::Acquire)),
            Durability::Disk { .. } => Sequence(durable.load(Ordering::Acquire)),
        }
    }

    /// The generation that appends go to. It changes in [`Log::poll`] only.
    ///
    /// # Panics
    /// Never: a log has a generation.
    pub fn generation(&self) -> Generation {
        *self.generations.last().expect("a log has a generation")
    }

    /// All generations, oldest first; the last one is the current one.
    pub fn generations(&self) -> &[Generation] {
        &self.generations
    }

    /// Asks for a new generation that starts at `now_s`, in seconds since 1970. It is made on the log's thread; appends go
    /// to the current one until [`Log::poll`] returns [`Event::GenerationStarted`].
    pub fn start_generation(&mut self, now_s: u64) -> Result<(), Busy> {
        let number = self.generation().number + 1;
        self.ask(Request::Start(Generation { number, started_at_s: now_s }))
    }

    /// Asks for all generations to be dropped whose number is below `before`, with all their entries; the current one
    /// stays. Once they are gone, [`Log::poll`] returns [`Event::GenerationsDropped`].
    ///
    /// A generation ended when the next one started. It may be dropped when that is longer ago than the longest expiry.
    pub fn drop_generations_that_ended(&mut self, before: u64) -> Result<(), Busy> {
        let current = self.generation();
        let ended = self.generations.iter().map(|generation| generation.number);
        let numbers = ended.filter(|number| *number < before.min(current.number)).collect();
        self.ask(Request::Drop { numbers, current })
    }

    fn ask(&mut self, request: Request) -> Result<(), Busy> {
        if self.is_keeper_busy || !matches!(self.state, State::Serving(_)) {
            return Err(Busy);
        }
        self.keeper.ask(request)?;
        self.is_keeper_busy = true;
        Ok(())
    }

    /// Closes the log and opens it again, on the log's thread, which may take as long as opening; until [`Log::poll`]
    /// returns [`Event::Reopened`] or [`Event::ReopenFailed`], appends are refused. Entries whose append has failed may be
    /// there afterwards, or not.
    pub fn reopen(&mut self) -> Result<(), Busy> {
        if self.is_keeper_busy {
            return Err(Busy);
        }
        let error = failed(&self.folder, "append", "it is being reopened");
        let store = match std::mem::replace(&mut self.state, State::Broken(None, error)) {
            State::Serving(store) => Some(store),
            State::Broken(store, _) => store,
        };
        let now_s = self.generation().started_at_s;
        self.keeper.ask(Request::Reopen { store, now_s })?;
        self.is_keeper_busy = true;
        Ok(())
    }

    /// What the log's threads have done, one thing at a time. Call it at the start of a turn until it returns `None`.
    pub fn poll(&mut self) -> Option<Event> {
        let report = self.keeper.take_report()?;
        Some(match report {
            Report::Started(generation) => {
                self.is_keeper_busy = false;
                let ended = self.generation().number;
                self.generations.push(generation);
                self.name = Generation::name(generation.number);
                // What it still has in memory keeps write-ahead logs alive. If the keeper has no time, they live longer.
                let _ = self.keeper.ask(Request::Flush(ended));
                Event::GenerationStarted(generation)
            }
            Report::Dropped(numbers) => {
                self.is_keeper_busy = false;
                self.generations.retain(|generation| !numbers.contains(&generation.number));
                Event::GenerationsDropped(numbers)
            }
            Report::Reopened(opened) => {
                self.is_keeper_busy = false;
                let (Opened { store, generations, last, report, .. }, syncer) = *opened;
                self.name = Generation::name(report.generation.number);
                self.state = State::Serving(store);
                self.generations = generations;
                self.next = last.next();
                self.syncer = syncer;
                Event::Reopened(report)
            }
            Report::ReopenFailed(error) => {
                self.is_keeper_busy = false;
                self.state = State::Broken(None, failed(&self.folder, "reopen", &error.to_string()));
                Event::ReopenFailed(error)
            }
            Report::Failed { error, is_answer } => {
                self.is_keeper_busy &= !is_answer;
                Event::Failed(self.broken(error))
            }
        })
    }

    /// Breaks the log for `error`, unless it is broken already, and returns it.
    fn broken(&mut self, error: AppendError) -> AppendError {
        if let State::Serving(store) = &self.state {
            self.state = State::Broken(Some(store.clone()), error.clone());
        }
        error
    }

    /// Reads all entries, oldest first, and gives them to `visit`, which may end it. `progress` is called now and then, and
    /// at the end. Without [`LogOptions::salvage`], the first entry that is lost ends it with an error.
    pub fn replay(
        &self,
        visit: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Replayed, ReplayError> {
        match &self.state {
            State::Serving(store) => replay::read(store, &self.generations, self.options.salvage, visit, progress),
            State::Broken(..) => Err(ReplayError::NotOpen),
        }
    }

    /// What was done since it was opened.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            syncs: self.shared.syncs.load(Ordering::Relaxed),
            sync_us_max: self.shared.sync_us_max.load(Ordering::Relaxed),
            ..self.statistics
        }
    }

    /// Measures the log's sizes from any thread; it may wait for a disk.
    pub fn meter(&self) -> Meter {
        Meter::new(self.shared.clone(), &self.folder)
    }

    /// Syncs and closes the log. It waits for the disk. A log that is dropped instead is closed without a sync; a broken
    /// one is as well, and says why it is broken.
    pub fn close(self) -> Result<(), AppendError> {
        let Self { state, mut keeper, folder, .. } = self;
        match state {
            State::Broken(_, error) => Err(error),
            State::Serving(store) => {
                // The keeper closes the database, as the last who holds it.
                drop(store);
                keeper.close().map_err(|cause| failed(&folder, "sync", &cause))
            }
        }
    }
}

fn failed(folder: &Path, step: &'static str, cause: &str) -> AppendError {
    AppendError::Failed { step, folder: folder.to_path_buf(), cause: cause.to_owned() }
}

fn append_error(folder: &Path, step: &'static str, error: &rocksdb::Error) -> AppendError {
    if store::is_full(error) {
        AppendError::DiskFull { folder: folder.to_path_buf(), cause: error.to_string() }
    } else {
        failed(folder, step, error.as_ref())
    }
}

/// Bytes that a value of `length` takes in the write-ahead log: a batch's header, tag, column family, key and lengths, and
/// a header for each block of 32 KiB that it reaches into.
fn wal_bytes(length: usize) -> u64 {
    let length_bytes = (usize::BITS - length.leading_zeros()).max(1).div_ceil(7) as usize;
    let batch = 12 + 1 + 1 + 1 + size_of::<Sequence>() + length_bytes + length;
    (batch + 7 * batch.div_ceil((32 << 10) - 7)) as u64
}
