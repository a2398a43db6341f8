//! Which cores a thread may run on, as the kernel tells it.

use std::fs;
use std::path::Path;

/// The cores of a thread, as the kernel writes them (`0-3,8`), and how many they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cores {
    pub(crate) list: String,
    pub(crate) count: usize,
}

fn of_status(path: &Path) -> Option<Cores> {
    let status = fs::read_to_string(path).ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?.trim().to_owned();
    Some(Cores { count: count(&list)?, list })
}

fn count(list: &str) -> Option<usize> {
    let mut total = 0;
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        total += last.parse::<usize>().ok()? + 1 - first.parse::<usize>().ok()?;
    }
    Some(total)
}

/// The cores of the calling thread; `None` where the kernel does not say.
pub(crate) fn of_this_thread() -> Option<Cores> {
    of_status(Path::new("/proc/thread-self/status"))
}

/// The cores of the process's first thread.
pub(crate) fn of_first_thread() -> Option<Cores> {
    of_status(Path::new("/proc/self/status"))
}

/// RocksDB's threads in this process that may use fewer cores than `wanted`.
pub(crate) fn pinned_store_threads(wanted: usize) -> usize {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return 0 };
    tasks
        .filter_map(Result::ok)
        .filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.starts_with("rocksdb:")))
        .filter_map(|task| of_status(&task.path().join("status")))
        .filter(|cores| cores.count < wanted)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_counted_as_the_kernel_writes_them() {
        for (list, expected) in [("0", 1), ("0-3", 4), ("0-3,8,10-11", 7)] {
            assert_eq!(count(list), Some(expected), "{list}");
        }
        assert_eq!(count(""), None);
    }
}
