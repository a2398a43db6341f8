//! How a shard that has gone to sleep is woken for what lies in its queues.
//!
//! A queue is only memory: a shard that waits in the kernel does not see it fill. Who has put something into
//! a queue of a shard therefore rings that shard's bell, once for all it has put there. The bell costs a
//! system call only while the shard is really parked, which a busy shard never is.

use crate::sys::epoll::EventFd;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// The bell of one shard; rung by all others and by the control plane.
#[derive(Debug)]
pub(crate) struct Doorbell {
    eventfd: EventFd,
    is_parked: AtomicBool,
}

impl Doorbell {
    /// A bell of a shard that is awake.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { eventfd: EventFd::new()?, is_parked: AtomicBool::new(false) })
    }

    /// Wakes the shard if it is parked. To be called after putting something into a queue of that shard.
    ///
    /// # Why no wake-up is lost
    /// Ringer and sleeper each write one place and then read the other's: the ringer writes the queue and
    /// reads `is_parked`, the sleeper writes `is_parked` and reads the queue (Dekker's pattern). With
    /// acquire and release alone both reads could miss both writes, since a processor may let a read pass
    /// its own earlier write. A sequentially consistent fence between the write and the read on either side
    /// forbids just that: the two fences have one order, and whoever's fence is second sees what the other
    /// wrote. So the ringer sees the sleeper parked, or the sleeper sees the queue filled, or both.
    pub(crate) fn ring(&self) {
        fence(Ordering::SeqCst);
        // One ringer is enough: who takes the flag down raises the eventfd. That flag orders nothing else,
        // for what was put into a queue is published by the queue itself.
        if self.is_parked.load(Ordering::Relaxed) && self.is_parked.swap(false, Ordering::Relaxed) {
            self.eventfd.raise();
        }
    }

    /// Announces that the shard is about to wait in the kernel, and has it wait only if `is_idle`, which
    /// looks into the queues, still holds. Returns whether it may.
    pub(crate) fn park(&self, is_idle: impl FnOnce() -> bool) -> bool {
        self.is_parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let may_wait = is_idle();
        if !may_wait {
            self.unpark();
        }
        may_wait
    }

    /// Announces that the shard is awake and looks into its queues by itself.
    pub(crate) fn unpark(&self) {
        self.is_parked.store(false, Ordering::Relaxed);
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::epoll::{Epoll, Interest};
    use crossbeam::queue::ArrayQueue;
    use std::time::Duration;

    #[test]
    fn a_bell_is_silent_while_its_shard_is_awake() {
        let bell = Doorbell::new().unwrap();
        let mut epoll = Epoll::new(1).unwrap();
        epoll.add(&bell, Interest::READ_EDGE, 0).unwrap();
        bell.ring();
        assert!(!bell.park(|| false), "something lies in the queue");
        bell.ring();
        assert_eq!(epoll.poll(), 0);
        assert!(bell.park(|| true));
        bell.ring();
        bell.ring();
        assert_eq!(epoll.poll(), 1);
    }

    #[test]
    fn no_item_is_left_in_the_queue_of_a_parked_shard() {
        const ITEMS_COUNT: u32 = 20_000;
        let bell = Doorbell::new().unwrap();
        let queue = ArrayQueue::new(4);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for mut item in 0..ITEMS_COUNT {
                    while let Err(back) = queue.push(item) {
                        item = back;
                        std::thread::yield_now();
                    }
                    bell.ring();
                }
            });
            let mut epoll = Epoll::new(1).unwrap();
            epoll.add(&bell, Interest::READ_EDGE, 0).unwrap();
            let mut expected = 0;
            while expected < ITEMS_COUNT {
                while let Some(item) = queue.pop() {
                    assert_eq!(item, expected);
                    expected += 1;
                }
                if expected < ITEMS_COUNT && bell.park(|| queue.is_empty()) {
                    assert_eq!(epoll.wait(Duration::from_mins(1)), 1, "a wake-up was lost at {expected}");
                }
                bell.unpark();
            }
        });
    }
}
