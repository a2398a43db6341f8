//! The thread that makes entries survive a loss of power.
//!
//! It syncs all that was appended since the last sync at once, so that the cost of a sync is shared by all turns of all
//! of its time, and sleeps when there is nothing. It ends at the first failure: after a failed sync the kernel may have
//! forgotten what it could not write, so a second one that succeeds would promise too much. Reopening the log
//! writes everything anew.

use super::{Shared, append_error};
use crate::high_water::HighWater;
use crate::store::Store;
use crate::{AppendError, Sequence};
use crossbeam::sync::{Parker, Unparker};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A running syncer.
pub(super) struct Syncer {
    stop: Arc<AtomicBool>,
    unparker: Unparker,
    thread: JoinHandle<()>,
}

pub(super) struct Parts {
    pub(super) folder: PathBuf,
    pub(super) store: Arc<Store>,
    pub(super) shared: Arc<Shared>,
    pub(super) high_water: Arc<HighWater>,
    pub(super) interval: Duration,
    /// Called once, at the first failure.
    pub(super) failed: Box<dyn FnOnce(AppendError) + Send>,
}

impl Syncer {
    pub(super) fn start(parts: Parts) -> std::io::Result<Self> {
        let parker = Parker::new();
        let unparker = parker.unparker().clone();
        let stop = Arc::new(AtomicBool::new(false));
        let is_stopping = stop.clone();
        let thread =
            thread::Builder::new().name("log-syncer".to_owned()).spawn(move || run(parts, &parker, &is_stopping))?;
        Ok(Self { stop, unparker, thread })
    }

    pub(super) fn unparker(&self) -> Unparker {
        self.unparker.clone()
    }

    /// Ends it; a sync that has begun is waited for.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.unparker.unpark();
        let _ = self.thread.join();
    }
}

fn run(parts: Parts, parker: &Parker, stop: &AtomicBool) {
    let Parts { folder, store, shared, high_water, interval, failed } = parts;
    while !stop.load(Ordering::SeqCst) {
        let target = shared.appended.load(Ordering::SeqCst);
        if target == shared.durable.load(Ordering::Relaxed) {
            shared.is_syncer_idle.store(true, Ordering::SeqCst);
            // Whoever has appended before that did not see it; whoever does after it wakes this thread.
            if shared.appended.load(Ordering::SeqCst) == target && !stop.load(Ordering::SeqCst) {
                parker.park();
            }
            shared.is_syncer_idle.store(false, Ordering::SeqCst);
            continue;
        }
        let begun = Instant::now();
        if let Err(error) = store.flush_wal(true) {
            drop(store);
            shared.has_sync_failed.store(true, Ordering::SeqCst);
            failed(append_error(&folder, "sync", &error));
            (shared.wake)();
            return;
        }
        let took_us = begun.elapsed().as_micros() as u64;
        shared.syncs.fetch_add(1, Ordering::Relaxed);
        shared.sync_us_max.fetch_max(took_us, Ordering::Relaxed);
        shared.durable.store(target, Ordering::Release);
        // A note that is not written says too little, which is allowed.
        let _ = high_water.write(Sequence(target));
        (shared.wake)();
        let next = begun + interval;
        while !stop.load(Ordering::SeqCst) && Instant::now() < next {
            parker.park_deadline(next);
        }
    }
}
