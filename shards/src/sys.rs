//! Every call of the kernel that the standard library and `socket2` do not offer.
//!
//! In come borrowed descriptors and plain Rust values, out come `io::Result`s; no raw pointer leaves this
//! folder. It is the only place of the crate with `unsafe`, and each such block says why it is sound.
//!
//! - [`address`]: socket addresses to and from the kernel's form.
//! - [`datagrams`]: many datagrams in one call, with the addresses they came to and leave from.
//! - [`epoll`]: readiness of all descriptors of a shard, and the eventfd that stands for its queues.

pub(crate) mod address;
pub(crate) mod datagrams;
pub(crate) mod epoll;

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

/// Turns the -1 of a system call into the error it stands for.
fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Nanoseconds of `CLOCK_MONOTONIC`, the clock that [`sleep_until_ns`] sleeps by.
pub(crate) fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec to write to; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Blocks the calling thread until `CLOCK_MONOTONIC` reads `at_ns`; a signal may end it sooner.
pub(crate) fn sleep_until_ns(at_ns: u64) {
    let at = libc::timespec { tv_sec: (at_ns / 1_000_000_000) as i64, tv_nsec: (at_ns % 1_000_000_000) as i64 };
    // SAFETY: `at` is a valid timespec, and no remainder is asked for.
    unsafe { libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &raw const at, ptr::null_mut()) };
}

/// Lets timers of the calling thread fire within a microsecond; the default of 50 us is a fifth of our wait.
pub(crate) fn tighten_timers() {
    let slack_ns: libc::c_ulong = 1_000;
    // SAFETY: this option takes one integer and touches no memory. A failure leaves the default slack.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, slack_ns) };
}

/// Has the kernel give this process memory in pages of the usual size. Where the allocator asks for huge ones, a shard that
/// touches one for the first time waits until 2 MiB are cleared, of which most may be returned unused. On a virtual machine,
/// whose own memory comes from a host, a backup took 1.6 times the processor time for what it is given, and a call in the pure
/// machine 1.4 times, while a refresh among a million AoRs saved 1 %.
pub(crate) fn decline_huge_pages() {
    // SAFETY: this option takes one integer and touches no memory. A failure, as with an old kernel, leaves all as it was.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

/// Asks the scheduler to give the calling thread the processor in short slices, and so soon after it has woken: a turn
/// is short, and another thread on the same core should not make it wait for the end of a long slice. Kernels before
/// 6.12 know one slice for all.
pub(crate) fn shorten_slice() {
    // SAFETY: all members are plain integers, for which zero is a value.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    attributes.size = size_of::<libc::sched_attr>() as u32;
    // What the operator has given the process stays.
    attributes.sched_flags = libc::SCHED_FLAG_KEEP_POLICY as u64;
    // SAFETY: the call takes numbers and touches no memory; it cannot fail for the calling thread.
    attributes.sched_nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    // The shortest that there is.
    attributes.sched_runtime = 100_000;
    // SAFETY: `attributes` is valid and has the size that it says; 0 is the calling thread. A failure, as where the
    // call is filtered, leaves the slice as it was.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
}

/// An option of a socket that takes a number and that `socket2` does not know.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SocketOption {
    /// Each datagram tells how many the kernel has dropped before it.
    TellDropped,
    /// Each datagram tells the IPv4 address it was sent to.
    TellLocalIpv4,
    /// Each datagram tells the IPv6 address it was sent to.
    TellLocalIpv6,
    /// Datagrams may be fragmented on their way: 0 for IP_PMTUDISC_DONT.
    PathMtuDiscovery,
    /// The receive buffer, beyond the system's ceiling; asks for a privilege.
    ReceiveBufferForced,
    /// A port is not chosen when an address is bound, but with the peer, so that many connections share it.
    BindWithoutPort,
    /// The send buffer, beyond the system's ceiling; asks for a privilege.
    SendBufferForced,
}

/// Sets `option` of `socket` to `value`.
pub(crate) fn set_option(socket: impl AsFd, option: SocketOption, value: libc::c_int) -> io::Result<()> {
    let (level, name) = match option {
        SocketOption::TellDropped => (libc::SOL_SOCKET, libc::SO_RXQ_OVFL),
        SocketOption::TellLocalIpv4 => (libc::IPPROTO_IP, libc::IP_PKTINFO),
        SocketOption::TellLocalIpv6 => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
        SocketOption::PathMtuDiscovery => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
        SocketOption::BindWithoutPort => (libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT),
        SocketOption::ReceiveBufferForced => (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE),
        SocketOption::SendBufferForced => (libc::SOL_SOCKET, libc::SO_SNDBUFFORCE),
    };
    let (fd, len) = (socket.as_fd().as_raw_fd(), size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: the descriptor is open, and `value` is an integer of the length that is said.
    checked(unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), len) })?;
    Ok(())
}

/// Fills `bytes` from the kernel's generator; blocks only in the first seconds after boot.
pub(crate) fn fill_random(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        // SAFETY: `rest` is valid for writes of its length.
        let n = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        if n < 0 {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        }
        filled += n as usize;
    }
    Ok(())
}

/// Bytes of memory that this process may lock. The soft limit is raised to `wanted_bytes` first where the
/// hard limit allows it.
pub(crate) fn lockable_bytes(wanted_bytes: u64) -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit to write to.
    checked(unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) })?;
    if limit.rlim_cur < wanted_bytes && limit.rlim_max > limit.rlim_cur {
        let raised = libc::rlimit { rlim_cur: wanted_bytes.min(limit.rlim_max), ..limit };
        // SAFETY: `raised` is a valid rlimit to read from. A refusal leaves the limit as it was.
        if unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const raised) } == 0 {
            limit = raised;
        }
    }
    Ok(limit.rlim_cur)
}

/// The addresses of all interfaces that are up, in the kernel's order.
pub(crate) fn interface_addresses() -> io::Result<Vec<IpAddr>> {
    let mut first: *mut libc::ifaddrs = ptr::null_mut();
    // SAFETY: `first` is a valid place for the list's head.
    checked(unsafe { libc::getifaddrs(&raw mut first) })?;
    let mut addresses = Vec::new();
    let mut next = first;
    while !next.is_null() {
        // SAFETY: `next` is an element of the list, which stays valid until `freeifaddrs` below.
        let entry = unsafe { &*next };
        if entry.ifa_flags & libc::IFF_UP as u32 != 0 && !entry.ifa_addr.is_null() {
            // SAFETY: the kernel's address begins with its family and is as long as that family demands.
            if let Some(ip) = unsafe { address::ip_from_raw(entry.ifa_addr) } {
                addresses.push(ip);
            }
        }
        next = entry.ifa_next;
    }
    // SAFETY: the list came from `getifaddrs` and is not used any more.
    unsafe { libc::freeifaddrs(first) };
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_sleep_until_a_moment_that_has_passed_returns_at_once() {
        sleep_until_ns(monotonic_ns().saturating_sub(1_000_000));
        let at_ns = monotonic_ns() + 200_000;
        sleep_until_ns(at_ns);
        assert!(monotonic_ns() >= at_ns);
    }

    #[test]
    fn a_shorter_slice_leaves_all_else_as_the_operator_has_it() {
        // What is set is of one thread, and ends with it.
        std::thread::spawn(|| {
            // SAFETY: these calls take numbers, and a structure that lives for as long as they do.
            let nice = || unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
            // SAFETY: as above.
            let policy = || unsafe { libc::sched_getscheduler(0) };
            let wanted = nice() + 3;
            // SAFETY: as above.
            assert_eq!(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, wanted) }, 0);
            let none = libc::sched_param { sched_priority: 0 };
            // SAFETY: as above.
            assert_eq!(unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const none) }, 0);
            shorten_slice();
            assert_eq!((nice(), policy()), (wanted, libc::SCHED_BATCH));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn random_bytes_differ_from_call_to_call() {
        let (mut a, mut b) = ([0; 32], [0; 32]);
        fill_random(&mut a).unwrap();
        fill_random(&mut b).unwrap();
        assert_ne!(a, b);
    }

    #[test]
    fn the_loopback_address_is_among_the_interfaces() {
        assert!(interface_addresses().unwrap().contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
}
