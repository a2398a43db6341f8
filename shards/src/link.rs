//! The shards' end of the link to the control plane.
//!
//! In: requests for a report, whether the node is the active one of its home, and two lasting wishes: to drain and to
//! stop. Out: reports. A [`Control`] is
//! shared by one shard and the control plane; what is put into it is followed by a ring of the shard's bell.
//!
//! Bounds: [`REPORTS_COUNT_MAX`] requests for a report wait at a shard; one more is refused, and its asker
//! does without. A wish is a flag and cannot be lost.

use crate::ShardReport;
use crossbeam::channel::Sender;
use crossbeam::queue::ArrayQueue;
use std::sync::atomic::{AtomicBool, Ordering};

/// Requests for a report that may wait at one shard.
pub(crate) const REPORTS_COUNT_MAX: usize = 16;

/// What the control plane wants of one shard.
#[derive(Debug)]
pub(crate) struct Control {
    reports: ArrayQueue<Sender<ShardReport>>,
    is_active: AtomicBool,
    is_draining: AtomicBool,
    is_stopping: AtomicBool,
}

impl Control {
    /// Nothing is wanted yet; the node begins as the active one of its home, or not.
    pub(crate) fn new(is_active: bool) -> Self {
        Self {
            reports: ArrayQueue::new(REPORTS_COUNT_MAX),
            is_active: AtomicBool::new(is_active),
            is_draining: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
        }
    }

    /// Asks for a report, to be sent to `reply`, which must have room for it; `false` when too many ask.
    pub(crate) fn ask_report(&self, reply: Sender<ShardReport>) -> bool {
        self.reports.push(reply).is_ok()
    }

    /// Tells the shard whether the node is the active one of its home from now on.
    pub(crate) fn tell_active(&self, is_active: bool) {
        self.is_active.store(is_active, Ordering::Release);
    }

    /// Asks the shard to take no new requests from now on.
    pub(crate) fn ask_drain(&self) {
        self.is_draining.store(true, Ordering::Release);
    }

    /// Asks the shard to end.
    pub(crate) fn ask_stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
    }

    /// The next one that waits for a report.
    pub(crate) fn take_report_request(&self) -> Option<Sender<ShardReport>> {
        self.reports.pop()
    }

    /// Whether nothing new has been asked since it was last looked after; a wish to drain counts only until
    /// `is_draining` says that it is followed, and so does whether the node is the active one until `is_active` does.
    pub(crate) fn is_idle(&self, is_draining: bool, is_active: bool) -> bool {
        self.reports.is_empty()
            && !self.is_stopping()
            && self.is_draining() == is_draining
            && self.is_active() == is_active
    }

    /// Whether the node is the active one of its home.
    pub(crate) fn is_active(&self) -> bool {
        self.is_active.load(Ordering::Acquire)
    }

    /// Whether the shard is to take no new requests.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    /// Whether the shard is to end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }
}
