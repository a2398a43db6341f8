//! How the control plane is woken by shards that have something for it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How the control plane is woken when a shard has something for it.
#[derive(Clone)]
pub struct Wake(Arc<dyn Fn() + Send + Sync>);

impl Wake {
    /// Wakes by calling `wake`, on the thread of a shard: it must not block.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(wake))
    }
}

impl fmt::Debug for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wake")
    }
}

/// Wakes once until the control plane looks again.
///
/// A shard puts something in and then raises the flag; who looks takes the flag down and then looks. Both are one
/// read-modify-write of the flag, so whoever is second sees what the other did before: what was put in is found, or the
/// flag was down and the shard wakes.
#[derive(Debug)]
pub(crate) struct Alarm {
    wake: Wake,
    /// Whether the control plane was woken and has not begun to look yet.
    is_awake: AtomicBool,
}

impl Alarm {
    pub(crate) fn new(wake: Wake) -> Self {
        Self { wake, is_awake: AtomicBool::new(false) }
    }

    /// To be called before all queues are looked into: whatever comes from now on wakes again.
    pub(crate) fn look(&self) {
        self.is_awake.swap(false, Ordering::AcqRel);
    }

    pub(crate) fn wake(&self) {
        if !self.is_awake.swap(true, Ordering::AcqRel) {
            (self.wake.0)();
        }
    }
}
