//! A stretch of REGISTERs, watched until every row that comes of it is written.
//!
//! A second thread asks the daemon again and again how far it is behind; a daemon without a directory is asked the same,
//! so that asking costs both the same.

use super::node::Node;
use crate::error::{Doing, Error};
use crate::phase::Troubles;
use crate::register_load::{self, Plan};
use crate::server::{DirectoryProbe, DirectoryState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the daemon is asked while it is loaded.
const WATCH_INTERVAL: Duration = Duration::from_millis(50);
/// How long the rows of a stretch may take after the last REGISTER.
const DRAIN_PATIENCE: Duration = Duration::from_mins(1);

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Published {
    /// REGISTERs answered 200.
    pub(super) accepted: u64,
    /// REGISTERs answered a second.
    pub(super) registered_per_s: f64,
    /// CPU time of the daemon until the last row was written.
    pub(super) cpu_ns: u64,
    /// The most AoRs that were seen waiting.
    pub(super) pending_max: u64,
    /// The longest time that one was seen waiting.
    pub(super) lag_max_ms: u64,
    /// Right after the last REGISTER was answered.
    pub(super) at_the_end: DirectoryState,
    /// Rows that were still to be written then, wherever they waited.
    pub(super) left: u64,
    /// How long those took.
    pub(super) draining: Duration,
    /// From the first REGISTER to the last row.
    pub(super) whole: Duration,
}

impl Published {
    /// Rows written a second from the first REGISTER on.
    pub(super) fn whole_per_s(&self) -> f64 {
        self.accepted as f64 / self.whole.as_secs_f64().max(1e-9)
    }

    /// CPU time of the daemon for each AoR.
    pub(super) fn us_each(&self) -> f64 {
        self.cpu_ns as f64 / 1000.0 / self.accepted.max(1) as f64
    }
}

/// Runs `plan`, each REGISTER of which is of a new AoR; `is_published` says whether rows come of it.
pub(super) fn publish(
    node: &mut Node,
    plan: Plan,
    is_published: bool,
    troubles: &mut Troubles,
) -> Result<Published, Error> {
    let before = node.probe.ask()?;
    let cpu_before_ns = node.server.cpu_ns()?;
    let is_over = AtomicBool::new(false);
    let Node { sockets, registers, probe, .. } = node;
    let probe = &*probe;
    let started = Instant::now();
    let (outcome, seen) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(probe, &is_over));
        let outcome = register_load::run(sockets, registers, plan);
        is_over.store(true, Ordering::Relaxed);
        (outcome, watcher.join())
    });
    node.server.check_alive()?;
    let outcome = outcome?;
    troubles.add(&outcome);
    let seen = seen.map_err(|_| std::io::Error::other("it panicked")).doing("watching the directory")??;
    let mut published = Published {
        accepted: outcome.accepted,
        registered_per_s: outcome.accepted as f64 * 1e9 / outcome.elapsed_ns.max(1) as f64,
        pending_max: seen.iter().map(|state| state.pending).max().unwrap_or_default(),
        lag_max_ms: seen.iter().map(|state| state.lag_ms).max().unwrap_or_default(),
        ..Published::default()
    };
    if is_published {
        let wanted = before.published + outcome.accepted;
        let registered = Instant::now();
        published.at_the_end = probe.ask()?;
        published.left = wanted.saturating_sub(published.at_the_end.published);
        probe.wait_until("the last row", DRAIN_PATIENCE, |state| state.published >= wanted)?;
        published.draining = registered.elapsed();
    }
    published.whole = started.elapsed();
    published.cpu_ns = node.server.cpu_ns()?.saturating_sub(cpu_before_ns);
    Ok(published)
}

fn watch(probe: &DirectoryProbe, is_over: &AtomicBool) -> Result<Vec<DirectoryState>, Error> {
    let mut seen = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        std::thread::sleep(WATCH_INTERVAL);
        seen.push(probe.ask()?);
    }
    Ok(seen)
}
