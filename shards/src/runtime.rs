//! The executor that a shard runs on: the one module that names glommio.
//!
//! In: a core, and the future that is the shard. Out: its result, or why no executor can run here. An
//! [`Executor`] belongs to the thread that made it; nothing it runs ever leaves that thread.
//!
//! # Who waits how
//! A shard waits in its own epoll set, on its own thread, and never in the executor. Waiting through glommio takes
//! half a dozen entries into the kernel: 41 us of processor time for an echoed datagram where epoll takes 16, on
//! the machine this was measured on. And a poll of a nested epoll set through its rings was seen to stay
//! asleep although the set was ready. The executor pins the thread, owns the tasks and lets them have their turn in
//! [`yield_if_needed`], between two turns of the shard.
//!
//! Bounds: small rings, since a shard puts nothing into them, and the least memory that glommio registers.

use glommio::{BuilderErrorKind, GlommioError, LocalExecutor, LocalExecutorBuilder, Placement, ReactorErrorKind};
use std::io;
use std::time::Duration;

/// Entries of each of an executor's three rings.
const RING_DEPTH: usize = 64;
/// Bytes that glommio registers with its rings at least; we store nothing through it.
const RING_MEMORY_BYTES: usize = 64 * 1024;
/// Bytes of memory that glommio insists the process may lock.
pub(crate) const LOCKABLE_BYTES_MIN: u64 = 512 * 1024;
/// Time after which a shard that never waits lets the executor's other tasks run.
const PREEMPT_AFTER: Duration = Duration::from_secs(1);

/// Why no executor can run here.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// The core does not exist, or this process may not run on it.
    Core(String),
    /// The process may lock too little memory.
    LockableMemory,
    /// The kernel refuses io_uring.
    IoUring(String),
    /// Anything else.
    Other(String),
}

impl Unfit {
    fn of(error: &GlommioError<()>) -> Self {
        match error {
            GlommioError::BuilderError(BuilderErrorKind::NonExistentCpus { .. }) => {
                Self::Core("it does not exist or is not online".to_owned())
            }
            GlommioError::ReactorError(ReactorErrorKind::MemLockLimit(..)) => Self::LockableMemory,
            // glommio asks whether the kernel knows all operations, and words what it is told.
            GlommioError::IoError(e) if e.kind() == io::ErrorKind::Unsupported => Self::IoUring(e.to_string()),
            GlommioError::IoError(e) => match e.raw_os_error() {
                // Kernels before 5.12 charge rings to the locked memory and answer so when it is used up.
                Some(libc::ENOMEM) => Self::LockableMemory,
                Some(libc::EPERM | libc::ENOSYS) => Self::IoUring(e.to_string()),
                _ => Self::Other(e.to_string()),
            },
            // Its text for a core outside the process's set is that of sched_setaffinity.
            GlommioError::EnhancedIoError { source, .. } if source.raw_os_error() == Some(libc::EINVAL) => {
                Self::Core(format!("this process may not run on it ({source})"))
            }
            other => Self::Other(other.to_string()),
        }
    }
}

/// An executor on its core.
pub(crate) struct Executor(LocalExecutor);

impl Executor {
    /// Makes an executor of the calling thread and pins that to `core`.
    pub(crate) fn pinned(core: usize) -> Result<Self, Unfit> {
        LocalExecutorBuilder::new(Placement::Fixed(core))
            .ring_depth(RING_DEPTH)
            .io_memory(RING_MEMORY_BYTES)
            .preempt_timer(PREEMPT_AFTER)
            .make()
            .map(Self)
            .map_err(|error| Unfit::of(&error))
    }

    /// Runs `task` to its end.
    pub(crate) fn run<T>(&self, task: impl Future<Output = T>) -> T {
        self.0.run(task)
    }
}

/// Lets other tasks of the executor run when it is their turn; costs one read of memory otherwise.
pub(crate) async fn yield_if_needed() {
    glommio::yield_if_needed().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn an_executor_runs_a_task_to_its_end() {
        let done = Executor::pinned(0).unwrap().run(async {
            yield_if_needed().await;
            7
        });
        assert_eq!(done, 7);
    }

    #[test]
    fn a_core_that_does_not_exist_is_told_as_such() {
        assert!(matches!(Executor::pinned(4000), Err(Unfit::Core(_))));
    }
}
