//! What the threads of a daemon that serve shards have used, and how long they had to wait for a core.

use super::Server;
use crate::error::{Doing, Error};
use std::ops::Sub;

/// What a shard's thread is called, before its number.
const SHARD: &str = "shard-";

/// Times of all threads that serve shards, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ThreadTimes {
    /// On a core.
    pub(crate) cpu_ns: u64,
    /// Ready to run, while others had the cores.
    pub(crate) wait_ns: u64,
}

impl Sub for ThreadTimes {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { cpu_ns: self.cpu_ns - before.cpu_ns, wait_ns: self.wait_ns - before.wait_ns }
    }
}

/// Of one thread, by its `schedstat`.
fn times(schedstat: &str) -> Option<ThreadTimes> {
    let mut numbers = schedstat.split_ascii_whitespace().map(str::parse);
    Some(ThreadTimes { cpu_ns: numbers.next()?.ok()?, wait_ns: numbers.next()?.ok()? })
}

impl Server {
    /// What its shards' threads have used so far.
    pub(crate) fn shard_times(&self) -> Result<ThreadTimes, Error> {
        let mut sum = ThreadTimes::default();
        for pid in &self.pids {
            let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).doing("listing the daemon's threads")?;
            for task in tasks {
                let task = task.doing("listing the daemon's threads")?.path();
                // One that has just ended was no shard.
                let name = std::fs::read_to_string(task.join("comm")).unwrap_or_default();
                if !name.starts_with(SHARD) {
                    continue;
                }
                let text = std::fs::read_to_string(task.join("schedstat")).doing("reading a shard's times")?;
                let times = times(&text).ok_or(Error::Options("the kernel keeps no times of threads (schedstat)"))?;
                sum.cpu_ns += times.cpu_ns;
                sum.wait_ns += times.wait_ns;
            }
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_a_thread_are_read() {
        assert_eq!(times("992695 802606 3\n"), Some(ThreadTimes { cpu_ns: 992_695, wait_ns: 802_606 }));
        assert_eq!(times(""), None);
    }
}
