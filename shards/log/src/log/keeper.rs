//! The thread that does for a log what takes time.
//!
//! It is started by the thread that opens the log, so that it may run wherever that one may, and so may what it starts in
//! turn. It does one thing after the other, as the log asks: at most one that is answered by a report, and the flush of a
//! generation that has ended.

use super::opening::{self, Opened};
use super::syncer::{Parts, Syncer};
use super::{Durability, LogOptions, Shared, append_error};
use crate::high_water::HighWater;
use crate::store::Store;
use crate::{AppendError, Busy, Generation, OpenError, Sequence};
use crossbeam::channel::{Receiver, Sender, bounded};
use crossbeam::sync::Unparker;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};

/// Requests and reports that may wait: one that is answered, a flush, a closing; and a failure of the syncer.
const QUEUE_COUNT_MAX: usize = 4;

/// What the keeper is asked for.
pub(super) enum Request {
    /// Makes a generation; answered.
    Start(Generation),
    /// Writes the buffers of a generation that has ended to disk.
    Flush(u64),
    /// Drops generations; answered.
    Drop { numbers: Vec<u64>, current: Generation },
    /// Opens the log again, of which this was the shard's hold, at a time not before `now_s`; answered.
    Reopen { store: Option<Arc<Store>>, now_s: u64 },
    /// Syncs, and ends.
    Close,
}

/// What the keeper, or the syncer, has to tell.
pub(super) enum Report {
    Started(Generation),
    Dropped(Vec<u64>),
    Reopened(Box<(Opened, Option<Unparker>)>),
    ReopenFailed(OpenError),
    Failed {
        error: AppendError,
        /// It answers a request.
        is_answer: bool,
    },
}

/// The log's end of the keeper. Dropping it ends the keeper, and waits for that.
pub(super) struct Keeper {
    requests: Option<Sender<Request>>,
    reports: Receiver<Report>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

impl Keeper {
    /// Starts the keeper, and the syncer if the log has one, of the database in `shared`.
    pub(super) fn start(
        folder: &Path,
        options: LogOptions,
        shared: Arc<Shared>,
        high_water: Arc<HighWater>,
    ) -> io::Result<(Self, Option<Unparker>)> {
        let (requests, asked) = bounded(QUEUE_COUNT_MAX);
        let (told, reports) = bounded(QUEUE_COUNT_MAX);
        let mut run = Run { folder: folder.to_path_buf(), options, shared, told, high_water, syncer: None };
        let syncer = run.start_syncer()?;
        let thread = thread::Builder::new().name("log-keeper".to_owned()).spawn(move || run.run(&asked))?;
        Ok((Self { requests: Some(requests), reports, thread: Some(thread) }, syncer))
    }

    pub(super) fn ask(&self, request: Request) -> Result<(), Busy> {
        self.requests.as_ref().ok_or(Busy)?.try_send(request).map_err(|_| Busy)
    }

    pub(super) fn take_report(&self) -> Option<Report> {
        self.reports.try_recv().ok()
    }

    /// Syncs and closes the database, which nobody else holds any more.
    pub(super) fn close(&mut self) -> Result<(), String> {
        if let Some(requests) = self.requests.take() {
            let _ = requests.send(Request::Close);
        }
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            _ => Err("the log's thread has died".to_owned()),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The keeper's own.
struct Run {
    folder: PathBuf,
    options: LogOptions,
    shared: Arc<Shared>,
    told: Sender<Report>,
    high_water: Arc<HighWater>,
    syncer: Option<Syncer>,
}

impl Run {
    /// Does what it is asked until the log is closed, and then closes the database. Returns what a last sync has said.
    fn run(mut self, asked: &Receiver<Request>) -> Result<(), String> {
        let mut result = Ok(());
        for request in asked {
            match request {
                Request::Start(generation) => {
                    self.answer(|run| run.start(generation).map(|()| Report::Started(generation)));
                }
                Request::Flush(number) => {
                    if let Err(error) = self.flush(number) {
                        self.report(Report::Failed { error, is_answer: false });
                    }
                }
                Request::Drop { numbers, current } => {
                    self.answer(|run| run.drop_all(&numbers, current).map(|()| Report::Dropped(numbers)));
                }
                Request::Reopen { store, now_s } => {
                    self.options.now_s = self.options.now_s.max(now_s);
                    self.reopen(store);
                }
                Request::Close => {
                    result = self.sync();
                    break;
                }
            }
        }
        self.close();
        result
    }

    fn report(&self, report: Report) {
        // A log that is gone does not listen.
        let _ = self.told.send(report);
        (self.shared.wake)();
    }

    fn answer(&self, work: impl FnOnce(&Self) -> Result<Report, AppendError>) {
        let report = work(self).unwrap_or_else(|error| Report::Failed { error, is_answer: true });
        self.report(report);
    }

    fn store(&self) -> Result<Arc<Store>, AppendError> {
        let slot = self.shared.slot.read().unwrap_or_else(PoisonError::into_inner);
        slot.clone().ok_or_else(|| super::failed(&self.folder, "use", "it is not open"))
    }

    /// RocksDB lets puts wait while it writes its list of column families; the shard is told not to try.
    fn listing<T>(&self, work: impl FnOnce() -> T) -> T {
        self.shared.is_listing.store(true, Ordering::SeqCst);
        let done = work();
        self.shared.is_listing.store(false, Ordering::SeqCst);
        done
    }

    fn start(&self, generation: Generation) -> Result<(), AppendError> {
        let store = self.store()?;
        let floor = Sequence(self.shared.appended.load(Ordering::Acquire));
        self.listing(|| opening::create_generation(&store, generation, floor))
            .map_err(|error| append_error(&self.folder, "start a generation of", &error))
    }

    fn flush(&self, number: u64) -> Result<(), AppendError> {
        let store = self.store()?;
        let Some(family) = store.cf_handle(&Generation::name(number)) else { return Ok(()) };
        store.flush_cf(&family).map_err(|error| append_error(&self.folder, "write the buffers of", &error))
    }

    /// Drops the oldest first, so that what is left has no gap whenever the process dies.
    fn drop_all(&self, numbers: &[u64], current: Generation) -> Result<(), AppendError> {
        let store = self.store()?;
        let floor = Sequence(self.shared.appended.load(Ordering::Acquire));
        let error = |error: &rocksdb::Error| append_error(&self.folder, "drop a generation of", error);
        opening::put_start(&store, current, floor).map_err(|cause| error(&cause))?;
        for number in numbers {
            let name = Generation::name(*number);
            // Held over the dropping, so that its tables are deleted afterwards, when appends need not wait.
            let family = store.cf_handle(&name);
            self.listing(|| store.drop_cf(&name)).map_err(|cause| error(&cause))?;
            drop(family);
        }
        Ok(())
    }

    fn reopen(&mut self, store: Option<Arc<Store>>) {
        drop(store);
        self.close();
        let reopened = opening::open(&self.folder, &self.options).and_then(|opened| {
            self.shared.appended.store(opened.last.0, Ordering::SeqCst);
            self.shared.durable.store(opened.last.0, Ordering::SeqCst);
            *self.shared.slot.write().unwrap_or_else(PoisonError::into_inner) = Some(opened.store.clone());
            self.shared.has_sync_failed.store(false, Ordering::SeqCst);
            self.high_water = opened.high_water.clone();
            match self.start_syncer() {
                Ok(syncer) => Ok((opened, syncer)),
                Err(error) => Err(opening::failed("start a thread for", &self.folder, &error)),
            }
        });
        match reopened {
            Ok(opened) => self.report(Report::Reopened(Box::new(opened))),
            Err(error) => {
                self.close();
                self.report(Report::ReopenFailed(error));
            }
        }
    }

    fn start_syncer(&mut self) -> io::Result<Option<Unparker>> {
        let Durability::Disk { interval } = self.options.durability else { return Ok(None) };
        let store = self.store().map_err(io::Error::other)?;
        let told = self.told.clone();
        let failed = move |error| {
            let _ = told.send(Report::Failed { error, is_answer: false });
        };
        let syncer = Syncer::start(Parts {
            folder: self.folder.clone(),
            store,
            shared: self.shared.clone(),
            high_water: self.high_water.clone(),
            interval,
            failed: Box::new(failed),
        })?;
        let unparker = syncer.unparker();
        self.syncer = Some(syncer);
        Ok(Some(unparker))
    }

    /// Everything that was appended reaches the disk, and the note says so.
    fn sync(&mut self) -> Result<(), String> {
        if let Some(syncer) = self.syncer.take() {
            syncer.stop();
        }
        if self.shared.has_sync_failed.load(Ordering::SeqCst) {
            return Err("an earlier sync has failed".to_owned());
        }
        let appended = Sequence(self.shared.appended.load(Ordering::Acquire));
        let store = self.store().map_err(|error| error.to_string())?;
        store.flush_wal(true).map_err(|error| error.to_string())?;
        self.high_water.write(appended).and_then(|()| self.high_water.sync()).map_err(|error| error.to_string())
    }

    /// Closes the database: the syncer, the slot and the shard were all who held it.
    fn close(&mut self) {
        if let Some(syncer) = self.syncer.take() {
            syncer.stop();
        }
        drop(self.shared.slot.write().unwrap_or_else(PoisonError::into_inner).take());
    }
}
