//! Readiness of all descriptors of a shard in one set, and the eventfd that stands for its queues.

use super::checked;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// What is waited for on a descriptor. Errors and hang-ups are always reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interest(u32);

impl Interest {
    /// Something to read, or the peer has ended its sending.
    pub(crate) const READ: Self = Self((libc::EPOLLIN | libc::EPOLLRDHUP) as u32);
    /// Room to write.
    pub(crate) const WRITE: Self = Self(libc::EPOLLOUT as u32);
    /// Nothing but errors.
    pub(crate) const NONE: Self = Self(0);
    /// Something to read, told once per arrival and not while it stays unread.
    pub(crate) const READ_EDGE: Self = Self((libc::EPOLLIN | libc::EPOLLET) as u32);

    /// Both.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One ready descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    /// The number that the descriptor was added with.
    pub(crate) token: u64,
    /// There is something to read, an end, or an error that a read will tell.
    pub(crate) readable: bool,
    /// There is room to write, or an error that a write will tell.
    pub(crate) writable: bool,
    /// Both directions have ended, or the descriptor has failed.
    pub(crate) ended: bool,
}

/// A set of descriptors, level-triggered unless added otherwise, and the events of its last wait.
pub(crate) struct Epoll {
    fd: OwnedFd,
    events: Box<[libc::epoll_event]>,
    count: usize,
}

impl Epoll {
    /// An empty set that tells at most `events_count_max` events at a time.
    pub(crate) fn new(events_count_max: usize) -> io::Result<Self> {
        // SAFETY: the call takes no memory; the descriptor it returns is owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(checked(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        let events = vec![libc::epoll_event { events: 0, u64: 0 }; events_count_max].into_boxed_slice();
        Ok(Self { fd, events, count: 0 })
    }

    /// Adds a descriptor. It leaves the set by being closed.
    pub(crate) fn add(&self, fd: impl AsFd, interest: Interest, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd.as_fd(), interest, token)
    }

    /// Changes what is waited for.
    pub(crate) fn change(&self, fd: impl AsFd, interest: Interest, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd.as_fd(), interest, token)
    }

    fn control(&self, op: libc::c_int, fd: BorrowedFd<'_>, interest: Interest, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest.0, u64: token };
        // SAFETY: both descriptors are open, and `event` is a valid event to read from.
        checked(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), op, fd.as_raw_fd(), &raw mut event) })?;
        Ok(())
    }

    /// Collects what is ready without waiting, and returns how many events there are.
    pub(crate) fn poll(&mut self) -> usize {
        let (events, max) = (self.events.as_mut_ptr(), self.events.len() as libc::c_int);
        // SAFETY: `events` is valid for `max` events.
        self.count = collected(unsafe { libc::epoll_wait(self.fd.as_raw_fd(), events, max, 0) });
        self.count
    }

    /// Blocks the calling thread until something is ready or `timeout`, rounded up to milliseconds, has
    /// passed, and returns how many events there are. A signal, and the kernel's own io_uring work, may end
    /// the wait sooner.
    pub(crate) fn wait(&mut self, timeout: Duration) -> usize {
        let timeout_ms = libc::c_int::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(libc::c_int::MAX);
        let (events, max) = (self.events.as_mut_ptr(), self.events.len() as libc::c_int);
        // SAFETY: `events` is valid for `max` events.
        let ready = unsafe { libc::epoll_wait(self.fd.as_raw_fd(), events, max, timeout_ms) };
        self.count = collected(ready);
        self.count
    }

    /// Forgets the events of the last wait.
    pub(crate) fn clear(&mut self) {
        self.count = 0;
    }

    /// How many events the last wait brought.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The event at `index` of the last wait.
    pub(crate) fn event(&self, index: usize) -> Event {
        let event = self.events[..self.count][index];
        let has = |flags: libc::c_int| event.events & flags as u32 != 0;
        let ended = has(libc::EPOLLERR | libc::EPOLLHUP);
        Event {
            token: event.u64,
            readable: has(libc::EPOLLIN | libc::EPOLLRDHUP) || ended,
            writable: has(libc::EPOLLOUT) || ended,
            ended,
        }
    }
}

/// The only failure that a valid set can have is an interruption, which brings no event.
fn collected(ready: libc::c_int) -> usize {
    usize::try_from(ready).unwrap_or(0)
}

/// A counter in the kernel whose rising makes it readable in an [`Epoll`] set.
///
/// It is never read: added with [`Interest::READ_EDGE`], each rise is told once, and 64 bits do not run over.
#[derive(Debug)]
pub(crate) struct EventFd(File);

impl EventFd {
    /// A counter at zero.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: the call takes no memory; the descriptor it returns is owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(checked(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))?) };
        Ok(Self(File::from(fd)))
    }

    /// Lets it rise.
    pub(crate) fn raise(&self) {
        // It can fail only when the counter is full, and then it is readable anyway.
        let _ = (&self.0).write(&1_u64.to_ne_bytes());
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eventfd_is_told_once_per_rise_though_it_is_never_read() {
        let mut epoll = Epoll::new(8).unwrap();
        let eventfd = EventFd::new().unwrap();
        epoll.add(&eventfd, Interest::READ_EDGE, 7).unwrap();
        assert_eq!(epoll.poll(), 0);
        for _ in 0..3 {
            eventfd.raise();
            assert_eq!(epoll.wait(Duration::from_secs(10)), 1);
            assert_eq!((epoll.event(0).token, epoll.event(0).readable), (7, true));
            assert_eq!(epoll.poll(), 0, "a rise is told once");
        }
    }

    #[test]
    fn a_wait_ends_with_its_timeout() {
        let mut epoll = Epoll::new(1).unwrap();
        assert_eq!(epoll.wait(Duration::from_micros(50)), 0);
    }
}
