//! What this host offers, read once.

use crate::Needs;
use crate::kernel::KernelVersion;
use crate::listen::{self, Outcome};
use crate::sys::{self, Limit, Resource};
use std::fs;

/// What this host offers to this process.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The running kernel; `None` when its release cannot be read.
    pub kernel: Option<KernelVersion>,
    /// Whether a ring could be made, or the errno that the kernel answered.
    pub io_uring: Result<(), i32>,
    /// The sysctl kernel.io_uring_disabled, where the kernel has it.
    pub io_uring_disabled: Option<u8>,
    /// Whether a seccomp filter binds this process.
    pub seccomp: bool,
    /// What this process may do that others may not.
    pub capabilities: Capabilities,
    /// RLIMIT_NOFILE.
    pub open_files: Limit,
    /// RLIMIT_MEMLOCK, in bytes.
    pub memlock: Limit,
    /// The sysctl net.core.rmem_max.
    pub receive_buffer_bytes_max: Option<u64>,
    /// The sysctl net.core.wmem_max.
    pub send_buffer_bytes_max: Option<u64>,
    /// Whether each address of [`Needs::listen`] can be bound, in that order.
    pub listen: Vec<Outcome>,
}

/// The capabilities that a check depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// CAP_IPC_LOCK: locked memory is not limited.
    pub ipc_lock: bool,
    /// CAP_NET_ADMIN: socket buffers may exceed net.core.rmem_max and wmem_max.
    pub net_admin: bool,
    /// CAP_SYS_ADMIN: kernel.io_uring_disabled = 1 does not bind.
    pub sys_admin: bool,
}

impl Facts {
    /// Reads them. What cannot be read is left open, never an error: a check that needs it then passes.
    pub fn read(needs: &Needs) -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .ok()
                .and_then(|release| KernelVersion::parse(&release)),
            io_uring: sys::probe_io_uring().map_err(|error| error.raw_os_error().unwrap_or(0)),
            io_uring_disabled: number("/proc/sys/kernel/io_uring_disabled").map(|value| value as u8),
            seccomp: field(&status, "Seccomp").is_some_and(|mode| mode == "2"),
            capabilities: Capabilities::parse(&status),
            open_files: sys::limit(Resource::OpenFiles),
            memlock: sys::limit(Resource::LockedMemory),
            receive_buffer_bytes_max: number("/proc/sys/net/core/rmem_max"),
            send_buffer_bytes_max: number("/proc/sys/net/core/wmem_max"),
            listen: needs.listen.iter().map(|address| listen::probe(*address)).collect(),
        }
    }
}

impl Capabilities {
    fn parse(status: &str) -> Self {
        const NET_ADMIN: u32 = 12;
        const IPC_LOCK: u32 = 14;
        const SYS_ADMIN: u32 = 21;
        let effective = field(status, "CapEff").and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0);
        let has = |number: u32| effective >> number & 1 == 1;
        Self { ipc_lock: has(IPC_LOCK), net_admin: has(NET_ADMIN), sys_admin: has(SYS_ADMIN) }
    }
}

pub(crate) fn allowed_cores() -> Vec<usize> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let cores = field(&status, "Cpus_allowed_list").map(parse_list).unwrap_or_default();
    if cores.is_empty() { vec![0] } else { cores }
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The value of a line `Name:\tvalue` of /proc/self/status.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

/// Reads `0-3,8,10-11`.
fn parse_list(list: &str) -> Vec<usize> {
    let mut numbers = Vec::new();
    for part in list.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(from), Ok(to)) = (from.trim().parse(), to.trim().parse::<usize>()) {
            numbers.extend(from..=to);
        }
    }
    numbers
}

#[cfg(test)]
impl Facts {
    /// A host on which every check passes.
    pub(crate) fn of_a_good_host() -> Self {
        Self {
            kernel: Some(KernelVersion(6, 1)),
            io_uring: Ok(()),
            io_uring_disabled: Some(0),
            seccomp: false,
            capabilities: Capabilities::default(),
            open_files: Limit { soft: 1 << 20, hard: 1 << 20 },
            memlock: Limit { soft: 8 << 20, hard: 8 << 20 },
            receive_buffer_bytes_max: Some(16 << 20),
            send_buffer_bytes_max: Some(16 << 20),
            listen: Vec::new(),
        }
    }
}

#[cfg(test)]
impl Needs {
    /// What a small node needs.
    pub(crate) fn small() -> Self {
        Self {
            shards: 2,
            connections_per_shard_max: 1000,
            listen: Vec::new(),
            receive_buffer_bytes: 1 << 20,
            send_buffer_bytes: 1 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Verdict, check};

    #[test]
    fn a_list_of_cores_is_read_as_the_kernel_writes_it() {
        assert_eq!(parse_list("0-3,8,10-11"), [0, 1, 2, 3, 8, 10, 11]);
        assert_eq!(parse_list("5"), [5]);
        assert_eq!(parse_list(""), [0usize; 0]);
    }

    #[test]
    fn capabilities_are_bits_of_a_hexadecimal_number() {
        let status = "CapEff:\t0000000000205000\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        assert_eq!(Capabilities::parse(status), Capabilities { ipc_lock: true, net_admin: true, sys_admin: true });
        assert_eq!(Capabilities::parse(""), Capabilities::default());
        assert_eq!(field(status, "Seccomp"), Some("2"));
    }

    #[test]
    fn this_host_can_be_read_and_a_good_one_passes_every_check() {
        let needs = Needs::small();
        assert!(Facts::read(&needs).kernel.is_some());
        assert!(!allowed_cores().is_empty());
        for found in check(&Facts::of_a_good_host(), &needs) {
            assert_eq!(found.verdict, Verdict::Fine, "{}", found.name);
        }
    }
}
