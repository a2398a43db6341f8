//! The system calls that the standard library does not offer. All `unsafe` of this crate stands here.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// A resource limit of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What is in force now.
    pub soft: u64,
    /// What the soft limit may be raised to without privilege.
    pub hard: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Resource {
    OpenFiles,
    LockedMemory,
}

impl Resource {
    const fn number(self) -> libc::__rlimit_resource_t {
        match self {
            Self::OpenFiles => libc::RLIMIT_NOFILE,
            Self::LockedMemory => libc::RLIMIT_MEMLOCK,
        }
    }
}

/// The limit in force; both bounds are 0 when it cannot be read, which no kernel does.
pub(crate) fn limit(resource: Resource) -> Limit {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit that outlives the call, which writes nothing else.
    unsafe { libc::getrlimit(resource.number(), &raw mut limit) };
    Limit { soft: limit.rlim_cur, hard: limit.rlim_max }
}

/// Raises the soft limit to the hard one, and the hard one to `needed` where the process has the privilege.
/// What cannot be raised stays: the checks say so with the numbers in force.
pub(crate) fn raise_limit(resource: Resource, needed: u64) {
    let now = limit(resource);
    let set = |limit: Limit| {
        let limit = libc::rlimit { rlim_cur: limit.soft, rlim_max: limit.hard };
        // SAFETY: `limit` is a valid rlimit that outlives the call, which only reads it.
        unsafe { libc::setrlimit(resource.number(), &raw const limit) == 0 }
    };
    if now.hard >= needed || !set(Limit { soft: needed, hard: needed }) {
        set(Limit { soft: now.hard, hard: now.hard });
    }
}

/// Makes the smallest ring and closes it again. An error is what the kernel answered.
pub(crate) fn probe_io_uring() -> io::Result<()> {
    // struct io_uring_params is 120 bytes, all zero for a ring without options.
    let mut params = [0u64; 15];
    // SAFETY: the kernel reads and writes the 120 bytes of `params`, which is large and aligned enough.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 2, params.as_mut_ptr()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was made above and belongs to nobody else; dropping it closes it.
    drop(unsafe { OwnedFd::from_raw_fd(fd as i32) });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raising_never_lowers_a_limit() {
        let before = limit(Resource::OpenFiles);
        raise_limit(Resource::OpenFiles, 1);
        let after = limit(Resource::OpenFiles);
        assert_eq!(after, Limit { soft: before.hard, hard: before.hard });
    }
}
