//! What the standard library does not offer of Linux, and the only place of this crate with unsafe code.
//!
//! CPU clocks of processes, batches of datagrams, waiting with nanosecond deadlines, children that die with
//! their parent, and an allocator that counts. Everything here is a thin wrapper over one system call.
#![allow(unsafe_code)]

use mimalloc::MiMalloc;
use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;
use std::time::Duration;

/// The CPU clock of one process: user and system time of all its threads, living and ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuClock(libc::clockid_t);

impl CpuClock {
    /// The clock of process `pid`.
    pub(crate) fn of_process(pid: u32) -> io::Result<Self> {
        let mut id: libc::clockid_t = 0;
        // SAFETY: `id` is a valid place for one clock id, and the call keeps no pointer.
        let code = unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &raw mut id) };
        if code == 0 { Ok(Self(id)) } else { Err(io::Error::from_raw_os_error(code)) }
    }

    /// The clock of this process.
    pub(crate) const fn own() -> Self {
        Self(libc::CLOCK_PROCESS_CPUTIME_ID)
    }

    /// Nanoseconds of CPU used so far.
    pub(crate) fn read_ns(self) -> io::Result<u64> {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a valid place for one timespec, and the call keeps no pointer.
        let code = unsafe { libc::clock_gettime(self.0, &raw mut time) };
        if code == 0 {
            Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

/// Lets sleeps of this thread end when they are due, not up to 50 µs later.
pub(crate) fn set_timer_slack_ns(slack_ns: u64) {
    // SAFETY: PR_SET_TIMERSLACK takes one number and no pointer. Its failure only makes sleeps coarser.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, slack_ns) };
}

/// Has the kernel give this process memory in pages of the usual size, as a daemon has it.
pub(crate) fn decline_huge_pages() {
    // SAFETY: this option takes one integer and touches no memory. A failure leaves all as it was.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

/// Makes the kernel kill the child when the thread that starts it ends, however it ends.
pub(crate) fn die_with_parent(command: &mut Command) {
    // SAFETY: the closure runs between fork and exec and makes one async-signal-safe system call.
    unsafe {
        command.pre_exec(|| {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0 {
                Ok(())
            } else {
                Err(io::Error::last_os_error())
            }
        });
    }
}

/// Has the child run on what others leave of the processors.
pub(crate) fn run_idle(command: &mut Command) {
    // SAFETY: the closure runs between fork and exec and makes one async-signal-safe system call.
    unsafe {
        command.pre_exec(|| {
            let none = libc::sched_param { sched_priority: 0 };
            if libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const none) == 0 {
                Ok(())
            } else {
                Err(io::Error::last_os_error())
            }
        });
    }
}

/// Lets this process have `count` descriptors, as far as its hard limit goes.
pub(crate) fn raise_descriptors(count: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one rlimit, which lives during the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_cur.max(count.min(limit.rlim_max));
    // SAFETY: the kernel reads one rlimit, which lives during the call.
    let code = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends `signal` to process `pid`.
pub(crate) fn signal(pid: u32, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: the call takes two numbers and no pointer.
    let code = unsafe { libc::kill(pid as libc::pid_t, signal) };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Bytes of a datagram that a batch can hold.
pub(crate) const DATAGRAM_BYTES_MAX: usize = 2048;
/// Datagrams of one batch.
pub(crate) const BATCH_COUNT_MAX: usize = 64;
/// Bytes of what the kernel says of a datagram beside it: one time, with its head.
const CONTROL_BYTES: usize = 64;

/// Aligned as the kernel wants it.
#[repr(align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_BYTES]);

type Datagram = [u8; DATAGRAM_BYTES_MAX];

/// Up to [`BATCH_COUNT_MAX`] datagrams, received or sent with one system call.
pub(crate) struct DatagramBatch {
    bytes: Box<[Datagram]>,
    lengths: [usize; BATCH_COUNT_MAX],
    peers: Box<[libc::sockaddr_storage]>,
    peer_lengths: [libc::socklen_t; BATCH_COUNT_MAX],
    vectors: Box<[libc::iovec]>,
    controls: Box<[Control]>,
    headers: Box<[libc::mmsghdr]>,
}

/// Has the kernel note when each datagram reaches this socket, for [`DatagramBatch::arrived_ns`].
pub(crate) fn note_arrivals(socket: &impl AsRawFd) -> io::Result<()> {
    let is_on: libc::c_int = 1;
    // SAFETY: `is_on` is valid for the call, which reads as many bytes of it as it is told.
    let code = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const is_on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl DatagramBatch {
    /// An empty batch; allocates all it will ever need.
    pub(crate) fn new() -> Self {
        // SAFETY: both are plain C structures for which all zeroes is a valid value.
        let (peer, header) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        let vector = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Self {
            bytes: vec![[0; DATAGRAM_BYTES_MAX]; BATCH_COUNT_MAX].into_boxed_slice(),
            lengths: [0; BATCH_COUNT_MAX],
            peers: vec![peer; BATCH_COUNT_MAX].into_boxed_slice(),
            peer_lengths: [0; BATCH_COUNT_MAX],
            vectors: vec![vector; BATCH_COUNT_MAX].into_boxed_slice(),
            controls: vec![Control([0; CONTROL_BYTES]); BATCH_COUNT_MAX].into_boxed_slice(),
            headers: vec![header; BATCH_COUNT_MAX].into_boxed_slice(),
        }
    }

    /// The bytes of datagram `at`.
    pub(crate) fn datagram(&self, at: usize) -> &[u8] {
        &self.bytes[at][..self.lengths[at]]
    }

    /// The room of datagram `at`, to be written before [`Self::set_length`] and a send.
    pub(crate) fn room(&mut self, at: usize) -> &mut Datagram {
        &mut self.bytes[at]
    }

    /// How much of the room of datagram `at` is to be sent.
    pub(crate) fn set_length(&mut self, at: usize, length: usize) {
        self.lengths[at] = length.min(DATAGRAM_BYTES_MAX);
    }

    /// When datagram `at`, received last, reached its socket, in nanoseconds since the Unix epoch; `None` where the kernel
    /// was not asked to [note](note_arrivals) that.
    pub(crate) fn arrived_ns(&self, at: usize) -> Option<u64> {
        let header = &self.headers[at].msg_hdr;
        // SAFETY: `point_headers` has made the header name a control buffer of `self`, and the kernel has set how much of it
        // it has filled. A first control message is inside of that, and its length is checked before its time is read.
        unsafe {
            let control = libc::CMSG_FIRSTHDR(header);
            let needed = libc::CMSG_LEN(size_of::<libc::timespec>() as libc::c_uint) as usize;
            if control.is_null()
                || (*control).cmsg_level != libc::SOL_SOCKET
                || (*control).cmsg_type != libc::SCM_TIMESTAMPNS
                || ((*control).cmsg_len as usize) < needed
            {
                return None;
            }
            let time = libc::CMSG_DATA(control).cast::<libc::timespec>().read_unaligned();
            Some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
        }
    }

    /// Receives what is there into a connected socket's batch; 0 when nothing is.
    pub(crate) fn receive(&mut self, socket: &impl AsRawFd) -> io::Result<usize> {
        self.receive_with(socket.as_raw_fd(), libc::MSG_DONTWAIT)
    }

    /// Waits for one datagram, then takes what else is there, and remembers who sent each.
    pub(crate) fn receive_waiting(&mut self, socket: &impl AsRawFd) -> io::Result<usize> {
        self.receive_with(socket.as_raw_fd(), libc::MSG_WAITFORONE)
    }

    fn receive_with(&mut self, socket: RawFd, flags: libc::c_int) -> io::Result<usize> {
        self.peer_lengths = [size_of::<libc::sockaddr_storage>() as libc::socklen_t; BATCH_COUNT_MAX];
        self.point_headers(BATCH_COUNT_MAX, |_| DATAGRAM_BYTES_MAX);
        for (header, control) in self.headers.iter_mut().zip(&mut self.controls) {
            header.msg_hdr.msg_control = (&raw mut control.0).cast();
            header.msg_hdr.msg_controllen = CONTROL_BYTES as _;
        }
        // SAFETY: `point_headers` has just made each header point at a buffer, an address and a vector that
        // live in `self`, with their true sizes; the kernel keeps none of them after the call.
        let count = unsafe {
            libc::recvmmsg(
                socket,
                self.headers.as_mut_ptr(),
                BATCH_COUNT_MAX as libc::c_uint,
                flags as _,
                ptr::null_mut(),
            )
        };
        if count < 0 {
            return nothing_when_it_would_block(io::Error::last_os_error());
        }
        for at in 0..count as usize {
            self.lengths[at] = (self.headers[at].msg_len as usize).min(DATAGRAM_BYTES_MAX);
            self.peer_lengths[at] = self.headers[at].msg_hdr.msg_namelen;
        }
        Ok(count as usize)
    }

    /// Sends the first `count` datagrams to the peer of a connected socket; says how many went out.
    pub(crate) fn send(&mut self, socket: &impl AsRawFd, count: usize) -> io::Result<usize> {
        self.peer_lengths[..count].fill(0);
        self.send_back(socket, count)
    }

    /// Sends the first `count` datagrams each to whom the datagram in its place was received from.
    pub(crate) fn send_back(&mut self, socket: &impl AsRawFd, count: usize) -> io::Result<usize> {
        let count = count.min(BATCH_COUNT_MAX);
        let lengths = self.lengths;
        self.point_headers(count, |at| lengths[at]);
        // SAFETY: as in `receive_with`; the lengths are at most the sizes of the buffers.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count as libc::c_uint,
                libc::MSG_DONTWAIT as _,
            )
        };
        if sent < 0 { nothing_when_it_would_block(io::Error::last_os_error()) } else { Ok(sent as usize) }
    }

    /// Points the first `count` headers at their buffers; a peer of length 0 stands for a connected socket.
    fn point_headers(&mut self, count: usize, length: impl Fn(usize) -> usize) {
        for at in 0..count {
            self.vectors[at] = libc::iovec { iov_base: self.bytes[at].as_mut_ptr().cast(), iov_len: length(at) };
            let named = self.peer_lengths[at] != 0;
            let header = &mut self.headers[at].msg_hdr;
            header.msg_name = if named { (&raw mut self.peers[at]).cast() } else { ptr::null_mut() };
            header.msg_namelen = self.peer_lengths[at];
            header.msg_iov = &raw mut self.vectors[at];
            header.msg_iovlen = 1;
            header.msg_control = ptr::null_mut();
            header.msg_controllen = 0;
        }
    }
}

/// An error of a socket as "nothing", where it says that there is nothing, or that the peer is not there
/// (ECONNREFUSED on loopback): both are loss to a client, and its timers see to them.
fn nothing_when_it_would_block(error: io::Error) -> io::Result<usize> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused => Ok(0),
        _ => Err(error),
    }
}

/// Waits for readability of many sockets.
pub(crate) struct Epoll {
    fd: OwnedFd,
    events: [libc::epoll_event; BATCH_COUNT_MAX],
}

impl Epoll {
    /// One that watches nothing yet.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: the call takes a flag and no pointer.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd, events: [libc::epoll_event { events: 0, u64: 0 }; BATCH_COUNT_MAX] })
    }

    /// Watches `socket`, which [`Self::wait`] then names by `number`.
    pub(crate) fn add(&self, socket: &impl AsRawFd, number: usize) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: number as u64 };
        // SAFETY: `event` is valid for the call, which copies it.
        let code =
            unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &raw mut event) };
        if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits until a socket is readable or `timeout` is over; appends the numbers of readable ones.
    pub(crate) fn wait(&mut self, timeout: Duration, readable: &mut Vec<usize>) -> io::Result<()> {
        let time = libc::timespec {
            tv_sec: timeout.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(timeout.subsec_nanos() as i32),
        };
        // SAFETY: `events` has room for the count that is given, `time` is valid for the call, the null
        // signal mask (of size 0) means that none is changed. epoll_wait itself knows milliseconds only.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.fd.as_raw_fd(),
                self.events.as_mut_ptr(),
                BATCH_COUNT_MAX as libc::c_int,
                &raw const time,
                ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        if count < 0 {
            return nothing_when_it_would_block(io::Error::last_os_error()).map(|_| ());
        }
        readable.extend(self.events[..count as usize].iter().map(|event| event.u64 as usize));
        Ok(())
    }
}

thread_local! {
    static ALLOCATIONS_COUNT: Cell<u64> = const { Cell::new(0) };
}

/// mimalloc, with a count of the allocations of each thread.
pub(crate) struct CountingAllocator;

/// How many allocations and reallocations this thread has made.
pub(crate) fn allocations_count() -> u64 {
    ALLOCATIONS_COUNT.with(Cell::get)
}

fn count_one_allocation() {
    // A thread that is ending has no counter any more, and nobody to read it.
    let _ = ALLOCATIONS_COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call is passed on unchanged to mimalloc, which keeps the contract; counting touches neither
// the layout nor the memory.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_one_allocation();
        // SAFETY: the caller's promise is passed on.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count_one_allocation();
        // SAFETY: the caller's promise is passed on.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count_one_allocation();
        // SAFETY: the caller's promise is passed on.
        unsafe { MiMalloc.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { MiMalloc.dealloc(memory, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn the_cpu_clock_of_a_process_runs_while_it_works() {
        let clock = CpuClock::of_process(std::process::id()).unwrap();
        let before_ns = clock.read_ns().unwrap();
        let mut sum = 0_u64;
        for i in 0..2_000_000_u64 {
            sum = std::hint::black_box(sum ^ i);
        }
        assert!(clock.read_ns().unwrap() > before_ns);
    }

    #[test]
    fn a_batch_goes_out_and_comes_back_in_order() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(server.local_addr().unwrap()).unwrap();
        let (mut near, mut far) = (DatagramBatch::new(), DatagramBatch::new());
        for at in 0..3 {
            near.room(at)[0] = b'a' + at as u8;
            near.set_length(at, at + 1);
        }
        assert_eq!(near.send(&client, 3).unwrap(), 3);
        assert_eq!(far.receive_waiting(&server).unwrap(), 3);
        assert_eq!(far.datagram(2).len(), 3);
        assert_eq!(far.send_back(&server, 3).unwrap(), 3);
        assert_eq!(near.receive(&client).unwrap(), 3);
        assert_eq!((near.datagram(0)[0], near.datagram(2)[0]), (b'a', b'c'));
        assert_eq!(near.receive(&client).unwrap(), 0);
    }

    #[test]
    fn the_kernel_says_when_a_datagram_came_where_it_is_asked_to() {
        let (server, client) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let mut batch = DatagramBatch::new();
        client.send_to(b"a", server.local_addr().unwrap()).unwrap();
        assert_eq!((batch.receive_waiting(&server).unwrap(), batch.arrived_ns(0)), (1, None));
        note_arrivals(&server).unwrap();
        let now_ns = || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        let before_ns = now_ns();
        client.send_to(b"b", server.local_addr().unwrap()).unwrap();
        assert_eq!(batch.receive_waiting(&server).unwrap(), 1);
        let arrived_ns = batch.arrived_ns(0).unwrap();
        assert!((before_ns..=now_ns()).contains(&arrived_ns), "{arrived_ns}");
    }

    #[test]
    fn an_allocation_is_counted_once() {
        let before = allocations_count();
        let kept = std::hint::black_box(vec![0_u8; 100]);
        assert_eq!(allocations_count() - before, 1);
        drop(kept);
    }
}
