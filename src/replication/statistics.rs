//! How replication stands, for whoever asks from another thread.

use sipfed_proto::replica::frame::State;
use sipfed_proto::replica::session::BackupReport;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Written by the thread of the links alone, read by any.
#[derive(Debug, Default)]
pub(crate) struct ReplicationStatistics {
    standing: Mutex<Standing>,
    written: Condvar,
}

/// How replication stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// What this node says of itself.
    pub(crate) own: State,
    /// Whether a backup keeps up.
    pub(crate) is_backed_up: bool,
    pub(crate) backups: Vec<BackupReport>,
}

impl ReplicationStatistics {
    pub(crate) fn set(&self, standing: Standing) {
        *self.lock() = standing;
        self.written.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it stands now.
    pub(crate) fn standing(&self) -> Standing {
        self.lock().clone()
    }

    /// Waits until every backup that is connected has acknowledged everything, by what is written twice from now on, since
    /// what is under way to the shards' queues counts as well; whether that came about in time.
    pub(crate) fn settles_within(&self, bound: Duration) -> bool {
        let end = Instant::now() + bound;
        let (mut standing, mut looks) = (self.lock(), 0);
        loop {
            let is_settled = standing.backups.iter().all(|backup| !backup.is_connected || backup.lag_parts == 0);
            if looks >= 2 && is_settled {
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            let (next, timeout) = self.written.wait_timeout(standing, left).unwrap_or_else(PoisonError::into_inner);
            standing = next;
            looks += 1;
            if timeout.timed_out() {
                return false;
            }
        }
    }
}
