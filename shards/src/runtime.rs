//! The executor that a shard runs on: the one module that names glommio.
//!
//! In: a core, and the future that is the shard. Out: its result, or why no executor can run here. An
//! [`Executor`] belongs to the thread that made it; nothing it runs ever leaves that thread.
//!
//! # Who waits how
//! Waiting through glommio takes half a dozen entries into the kernel, about 30 us of processor time on the
//! machine this was measured on, three times what a datagram costs to echo. A shard therefore waits in two
//! steps. As long as traffic comes, its own thread waits in its own epoll set, at most for the time
//! that [`crate::turn`] bounds. Only when that has passed does it wait here, in [`Readiness`], where the
//! executor runs its other tasks and parks its rings. [`yield_if_needed`] lets those tasks in between turns.
//!
//! Bounds: small rings, since the only operation in them is the wait for one descriptor, and the least
//! memory that glommio registers.

use glommio::io::{PollState, PollableFd};
use glommio::timer::Timer;
use glommio::{BuilderErrorKind, GlommioError, LocalExecutor, LocalExecutorBuilder, Placement, ReactorErrorKind};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// Entries of each of an executor's three rings.
const RING_DEPTH: usize = 64;
/// Bytes that glommio registers with its rings at least; we store nothing through it.
const RING_MEMORY_BYTES: usize = 64 * 1024;
/// Bytes of memory that glommio insists the process may lock.
pub(crate) const LOCKABLE_BYTES_MIN: u64 = 512 * 1024;
/// Time after which a shard that never waits lets the executor's other tasks run.
const PREEMPT_AFTER: Duration = Duration::from_millis(10);

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

/// The wait for one descriptor, in which the executor may do other things.
pub(crate) struct Readiness {
    fd: PollableFd<OwnedFd>,
    /// A wait that ended with its time stays registered, and serves the next one.
    pending: PollState,
}

impl Readiness {
    /// The readiness of `fd`, which does not block. To be made within [`Executor::run`].
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        let fd = PollableFd::new(fd).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { fd, pending: PollState::new() })
    }

    /// Waits until the descriptor is readable or `timeout` has passed. It may return early, and does when
    /// the descriptor was readable at any time since the last wait.
    pub(crate) async fn wait(&mut self, timeout: Duration) {
        let mut timer = pin!(Timer::new(timeout));
        poll_fn(|context| {
            // A failure to wait is as good as a readiness: what is read then tells.
            if self.fd.poll_readable(context, &mut self.pending).is_ready() {
                return Poll::Ready(());
            }
            timer.as_mut().poll(context).map(|_| ())
        })
        .await;
    }
}

/// Lets other tasks of the executor run when it is their turn; costs one read of memory otherwise.
pub(crate) async fn yield_if_needed() {
    glommio::yield_if_needed().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::epoll::{Epoll, EventFd, Interest};
    use std::time::Instant;

    #[test]
    fn a_wait_ends_with_readiness_or_with_its_time() {
        let executor = Executor::pinned(0).unwrap();
        executor.run(async {
            let (mut epoll, eventfd) = (Epoll::new(4).unwrap(), EventFd::new().unwrap());
            epoll.add(&eventfd, Interest::READ_EDGE, 1).unwrap();
            let mut readiness = Readiness::new(epoll.descriptor().unwrap()).unwrap();
            for _ in 0..3 {
                let before = Instant::now();
                readiness.wait(Duration::from_millis(2)).await;
                assert!(before.elapsed() >= Duration::from_millis(2));
                assert_eq!(epoll.poll(), 0);
                eventfd.raise();
                readiness.wait(Duration::from_mins(10)).await;
                assert_eq!(epoll.poll(), 1);
            }
            // Woken from another thread while it is parked.
            std::thread::scope(|scope| {
                scope.spawn(|| eventfd.raise());
            });
            readiness.wait(Duration::from_mins(10)).await;
            assert_eq!(epoll.poll(), 1);
            yield_if_needed().await;
        });
    }

    #[test]
    fn a_core_that_does_not_exist_is_told_as_such() {
        assert!(matches!(Executor::pinned(4000), Err(Unfit::Core(_))));
    }
}
