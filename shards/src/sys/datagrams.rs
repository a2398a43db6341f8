//! Many datagrams in one call: `recvmmsg` and `sendmmsg` with the addresses they came to and leave from.
//!
//! A [`Received`] owns the memory that datagrams are received into, for all sockets of a shard in turn; a
//! [`Sending`] owns the heads of those that are sent, whose bytes stay where they are. Both allocate once.
//! The kernel's structures point at each other; they are joined up anew before each call, which costs a few
//! nanoseconds a datagram and leaves no pointer that could outlive what it points to.

use super::address::{RawAddress, in_addr, in6_addr, ipv4, ipv6};
use super::checked;
use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

/// Datagrams of one call.
pub(crate) const BATCH_COUNT_MAX: usize = 64;

/// Bytes between the starts of two receive buffers beyond their size: without it all of them would begin
/// in the same set of the processor's cache.
const STAGGER_BYTES: usize = 1024;

/// Room for the ancillary data of one datagram: the local address of either family and the drop counter.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Ancillary([u8; 128]);

/// The memory that datagrams are received into.
pub(crate) struct Received {
    bytes: Box<[u8]>,
    bytes_each: usize,
    names: Box<[RawAddress]>,
    ancillaries: Box<[Ancillary]>,
    iovecs: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

/// One received datagram.
#[derive(Debug)]
pub(crate) struct Datagram<'a> {
    /// What it carries.
    pub(crate) bytes: &'a [u8],
    /// Its sender; `None` when the kernel named none of an IP family.
    pub(crate) remote: Option<SocketAddr>,
    /// The address it was sent to, where the socket was asked to tell it.
    pub(crate) local_ip: Option<IpAddr>,
    /// How many datagrams the kernel has dropped at this socket since it was opened, modulo 2^32; `None`
    /// while it has dropped none.
    pub(crate) dropped_count: Option<u32>,
    /// Whether it was longer than its buffer.
    pub(crate) is_cut: bool,
}

impl Received {
    /// Memory for a full batch of datagrams of at most `bytes_each`. Pages are used only once written to.
    pub(crate) fn new(bytes_each: usize) -> Self {
        Self {
            bytes: vec![0; BATCH_COUNT_MAX * (bytes_each + STAGGER_BYTES)].into_boxed_slice(),
            bytes_each,
            names: vec![RawAddress::empty(); BATCH_COUNT_MAX].into_boxed_slice(),
            ancillaries: vec![Ancillary([0; 128]); BATCH_COUNT_MAX].into_boxed_slice(),
            iovecs: empty_iovecs(),
            headers: empty_headers(),
        }
    }

    /// Receives what waits at `socket`, at most [`BATCH_COUNT_MAX`] datagrams; never blocks.
    pub(crate) fn receive(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let chunks = self.bytes.chunks_exact_mut(self.bytes_each + STAGGER_BYTES);
        let heads = self.iovecs.iter_mut().zip(self.headers.iter_mut());
        let places = self.names.iter_mut().zip(self.ancillaries.iter_mut());
        for ((chunk, (iovec, header)), (name, ancillary)) in chunks.zip(heads).zip(places) {
            *iovec = libc::iovec { iov_base: chunk.as_mut_ptr().cast(), iov_len: self.bytes_each };
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = RawAddress::BYTES as libc::socklen_t;
            header.msg_hdr.msg_iov = iovec;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = ptr::from_mut(ancillary).cast();
            header.msg_hdr.msg_controllen = size_of::<Ancillary>() as _;
            header.msg_hdr.msg_flags = 0;
        }
        let (headers, count) = (self.headers.as_mut_ptr(), self.headers.len() as libc::c_uint);
        let fd = socket.as_fd().as_raw_fd();
        // SAFETY: each header points at an address, an iovec and ancillary room of `self`, which nothing
        // else touches until the call returns, and each iovec at `bytes_each` bytes of its own chunk.
        let received = unsafe { libc::recvmmsg(fd, headers, count, libc::MSG_DONTWAIT as _, ptr::null_mut()) };
        Ok(checked(received)? as usize)
    }

    /// The datagram at `index` of the last call that received more than that.
    pub(crate) fn datagram(&self, index: usize) -> Datagram<'_> {
        let header = &self.headers[index];
        let start = index * (self.bytes_each + STAGGER_BYTES);
        let len = (header.msg_len as usize).min(self.bytes_each);
        let mut datagram = Datagram {
            bytes: &self.bytes[start..start + len],
            remote: self.names[index].get(header.msg_hdr.msg_namelen),
            local_ip: None,
            dropped_count: None,
            is_cut: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        };
        let mut rest = &self.ancillaries[index].0[..header.msg_hdr.msg_controllen.min(128)];
        while let Some((level, kind, data, next)) = split_ancillary(rest) {
            match (level, kind) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    datagram.local_ip = value(data).map(|info: libc::in_pktinfo| ipv4(info.ipi_addr).into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    datagram.local_ip = value(data).map(|info: libc::in6_pktinfo| ipv6(info.ipi6_addr).into());
                }
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => datagram.dropped_count = value(data),
                _ => {}
            }
            rest = next;
        }
        datagram
    }
}

/// A value that the kernel put into ancillary data.
///
/// # Safety
/// Every pattern of bytes is a value of the type.
unsafe trait Plain: Copy {}
// SAFETY: integers, and structures of integers, have a value for every pattern of bytes.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for libc::in_pktinfo {}
// SAFETY: as above.
unsafe impl Plain for libc::in6_pktinfo {}
// SAFETY: as above.
unsafe impl Plain for libc::cmsghdr {}

/// The value that `data` begins with; `None` when it is too short.
fn value<T: Plain>(data: &[u8]) -> Option<T> {
    // SAFETY: there are enough bytes, any of which make a value of a plain type.
    (data.len() >= size_of::<T>()).then(|| unsafe { data.as_ptr().cast::<T>().read_unaligned() })
}

/// Rounds up as CMSG_ALIGN does.
const fn aligned(len: usize) -> usize {
    len.next_multiple_of(size_of::<usize>())
}

/// The first piece of ancillary data as level, kind, data, and the rest behind it.
fn split_ancillary(bytes: &[u8]) -> Option<(libc::c_int, libc::c_int, &[u8], &[u8])> {
    let header: libc::cmsghdr = value(bytes)?;
    let data_start = aligned(size_of::<libc::cmsghdr>());
    let len = header.cmsg_len;
    let data = bytes.get(data_start..len)?;
    Some((header.cmsg_level, header.cmsg_type, data, bytes.get(aligned(len)..).unwrap_or(&[])))
}

/// One datagram to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parting<'a> {
    /// What it carries.
    pub(crate) bytes: &'a [u8],
    /// The receiver.
    pub(crate) remote: SocketAddr,
    /// The address it is to come from; `None` leaves that to the socket.
    pub(crate) source_ip: Option<IpAddr>,
}

/// The heads of datagrams that are sent.
pub(crate) struct Sending {
    names: Box<[RawAddress]>,
    ancillaries: Box<[Ancillary]>,
    iovecs: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

impl Sending {
    /// Heads for a full batch.
    pub(crate) fn new() -> Self {
        Self {
            names: vec![RawAddress::empty(); BATCH_COUNT_MAX].into_boxed_slice(),
            ancillaries: vec![Ancillary([0; 128]); BATCH_COUNT_MAX].into_boxed_slice(),
            iovecs: empty_iovecs(),
            headers: empty_headers(),
        }
    }

    /// Sends `datagrams`, at most [`BATCH_COUNT_MAX`] of them, in their order; never blocks.
    ///
    /// Returns how many the kernel took. When it took some, but not all, the next one has failed and tells
    /// why when it is tried as the first; an error always means the first.
    pub(crate) fn send<'a>(
        &mut self,
        socket: impl AsFd,
        datagrams: impl Iterator<Item = Parting<'a>>,
    ) -> io::Result<usize> {
        let heads = self.iovecs.iter_mut().zip(self.headers.iter_mut());
        let places = self.names.iter_mut().zip(self.ancillaries.iter_mut());
        let mut count: libc::c_uint = 0;
        for ((datagram, (iovec, header)), (name, ancillary)) in datagrams.zip(heads).zip(places) {
            let bytes = datagram.bytes;
            *iovec = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            header.msg_hdr.msg_namelen = name.set(datagram.remote);
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
            header.msg_hdr.msg_iov = iovec;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_controllen = datagram.source_ip.map_or(0, |ip| put_source(ancillary, ip)) as _;
            header.msg_hdr.msg_control = match datagram.source_ip {
                Some(_) => ptr::from_mut(ancillary).cast(),
                None => ptr::null_mut(),
            };
            count += 1;
        }
        if count == 0 {
            return Ok(0);
        }
        let (headers, fd) = (self.headers.as_mut_ptr(), socket.as_fd().as_raw_fd());
        // SAFETY: the first `count` headers were just joined up with addresses, iovecs and ancillary data
        // of `self` and with bytes that are borrowed for 'a; the kernel only reads those.
        let sent = unsafe { libc::sendmmsg(fd, headers, count, (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _) };
        Ok(checked(sent)? as usize)
    }
}

/// Writes the ancillary data that has a datagram leave from `ip`, and returns its length.
fn put_source(ancillary: &mut Ancillary, ip: IpAddr) -> usize {
    match ip {
        IpAddr::V4(ip) => {
            let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: in_addr(ip), ipi_addr: in_addr(ip) };
            put_ancillary(ancillary, libc::IPPROTO_IP, libc::IP_PKTINFO, info)
        }
        IpAddr::V6(ip) => {
            let info = libc::in6_pktinfo { ipi6_addr: in6_addr(ip), ipi6_ifindex: 0 };
            put_ancillary(ancillary, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info)
        }
    }
}

/// Writes one piece of ancillary data, and returns its length with the padding behind it.
fn put_ancillary<T: Plain>(room: &mut Ancillary, level: libc::c_int, kind: libc::c_int, data: T) -> usize {
    const { assert!(aligned(size_of::<libc::cmsghdr>()) + aligned(size_of::<T>()) <= 128) };
    let data_start = aligned(size_of::<libc::cmsghdr>());
    // SAFETY: zero is a value of this structure of integers.
    let mut header: libc::cmsghdr = unsafe { mem::zeroed() };
    header.cmsg_level = level;
    header.cmsg_type = kind;
    header.cmsg_len = (data_start + size_of::<T>()) as _;
    // SAFETY: the room is longer than both, as asserted above.
    unsafe {
        room.0.as_mut_ptr().cast::<libc::cmsghdr>().write_unaligned(header);
        room.0.as_mut_ptr().add(data_start).cast::<T>().write_unaligned(data);
    }
    data_start + aligned(size_of::<T>())
}

fn empty_iovecs() -> Box<[libc::iovec]> {
    vec![libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH_COUNT_MAX].into_boxed_slice()
}

fn empty_headers() -> Box<[libc::mmsghdr]> {
    // SAFETY: zero is a value of this structure of integers and pointers.
    let header: libc::mmsghdr = unsafe { mem::zeroed() };
    vec![header; BATCH_COUNT_MAX].into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, UdpSocket};

    #[test]
    fn a_batch_is_received_whole_with_its_senders() {
        let (a, b) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let remote = b.local_addr().unwrap();
        let texts = ["one", "", "three"];
        let sent = Sending::new()
            .send(&a, texts.iter().map(|t| Parting { bytes: t.as_bytes(), remote, source_ip: None }))
            .unwrap();
        assert_eq!(sent, 3);
        let mut received = Received::new(65_535);
        assert_eq!(received.receive(&b).unwrap(), 3);
        for (index, text) in texts.iter().enumerate() {
            let datagram = received.datagram(index);
            assert_eq!(datagram.bytes, text.as_bytes());
            assert_eq!(datagram.remote, Some(a.local_addr().unwrap()));
            assert!(!datagram.is_cut);
        }
        assert_eq!(received.receive(&b).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_datagram_longer_than_its_buffer_is_told_as_cut() {
        let (a, b) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        a.send_to(&[b'x'; 100], b.local_addr().unwrap()).unwrap();
        let mut received = Received::new(60);
        assert_eq!(received.receive(&b).unwrap(), 1);
        assert_eq!((received.datagram(0).bytes.len(), received.datagram(0).is_cut), (60, true));
    }

    #[test]
    fn a_datagram_leaves_from_the_address_it_is_told_to() {
        let wildcard = UdpSocket::bind("0.0.0.0:0").unwrap();
        let b = UdpSocket::bind("127.0.0.1:0").unwrap();
        let source_ip = Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 77)));
        let parting = Parting { bytes: b"hello", remote: b.local_addr().unwrap(), source_ip };
        Sending::new().send(&wildcard, [parting].into_iter()).unwrap();
        let (_, from) = b.recv_from(&mut [0; 16]).unwrap();
        assert_eq!(Some(from.ip()), source_ip);
    }

    #[test]
    fn ancillary_data_that_is_cut_ends_the_list() {
        assert!(split_ancillary(&[]).is_none());
        assert!(split_ancillary(&[0; 15]).is_none());
        assert!(split_ancillary(&[255; 128]).is_none());
        assert!(split_ancillary(&[0; 128]).is_none());
    }
}
