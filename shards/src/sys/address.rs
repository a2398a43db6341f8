//! Socket addresses to and from the kernel's form.

use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Room for an address of either family, in the kernel's form.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) union RawAddress {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl RawAddress {
    /// The longest address there is room for.
    pub(super) const BYTES: usize = size_of::<Self>();

    /// An address of no family.
    pub(super) const fn empty() -> Self {
        // SAFETY: all members are plain integers, for which zero is a value.
        unsafe { mem::zeroed() }
    }

    /// Writes `address` and returns how many bytes of this the kernel has to read.
    pub(super) fn set(&mut self, address: SocketAddr) -> libc::socklen_t {
        match address {
            SocketAddr::V4(a) => {
                self.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: a.port().to_be(),
                    sin_addr: in_addr(*a.ip()),
                    sin_zero: [0; 8],
                };
                size_of::<libc::sockaddr_in>() as libc::socklen_t
            }
            SocketAddr::V6(a) => {
                self.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: a.port().to_be(),
                    sin6_flowinfo: a.flowinfo(),
                    sin6_addr: in6_addr(*a.ip()),
                    sin6_scope_id: a.scope_id(),
                };
                size_of::<libc::sockaddr_in6>() as libc::socklen_t
            }
        }
    }

    /// The address that the kernel wrote, `len` bytes of it; `None` when it is of another family or cut.
    pub(super) fn get(&self, len: libc::socklen_t) -> Option<SocketAddr> {
        let len = len as usize;
        if len < size_of::<libc::sa_family_t>() {
            return None;
        }
        // SAFETY: every member is plain integers, so that each may be read whatever was written; the
        // family says which of them was meant.
        unsafe {
            match libc::c_int::from(self.family) {
                libc::AF_INET if len >= size_of::<libc::sockaddr_in>() => {
                    Some(SocketAddrV4::new(ipv4(self.v4.sin_addr), u16::from_be(self.v4.sin_port)).into())
                }
                libc::AF_INET6 if len >= size_of::<libc::sockaddr_in6>() => {
                    let a = &self.v6;
                    let ip = ipv6(a.sin6_addr);
                    Some(SocketAddrV6::new(ip, u16::from_be(a.sin6_port), a.sin6_flowinfo, a.sin6_scope_id).into())
                }
                _ => None,
            }
        }
    }
}

/// An IPv4 address in the kernel's form.
pub(super) fn in_addr(ip: Ipv4Addr) -> libc::in_addr {
    libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) }
}

/// An IPv6 address in the kernel's form.
pub(super) fn in6_addr(ip: Ipv6Addr) -> libc::in6_addr {
    libc::in6_addr { s6_addr: ip.octets() }
}

/// An IPv4 address from the kernel's form.
pub(super) fn ipv4(addr: libc::in_addr) -> Ipv4Addr {
    Ipv4Addr::from(addr.s_addr.to_ne_bytes())
}

/// An IPv6 address from the kernel's form.
pub(super) fn ipv6(addr: libc::in6_addr) -> Ipv6Addr {
    Ipv6Addr::from(addr.s6_addr)
}

/// The IP of an address in the kernel's form; `None` when it is of another family.
///
/// # Safety
/// `address` points to a socket address that is as long as its family demands.
pub(super) unsafe fn ip_from_raw(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: the caller vouches for the length; reads are unaligned so that its alignment does not matter.
    unsafe {
        match libc::c_int::from((*address).sa_family) {
            libc::AF_INET => Some(ipv4(address.cast::<libc::sockaddr_in>().read_unaligned().sin_addr).into()),
            libc::AF_INET6 => Some(ipv6(address.cast::<libc::sockaddr_in6>().read_unaligned().sin6_addr).into()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_either_family_survives_the_kernels_form() {
        for text in ["192.0.2.7:5060", "[2001:db8::7]:5061", "[::1]:65535", "0.0.0.0:0"] {
            let address: SocketAddr = text.parse().unwrap();
            let mut raw = RawAddress::empty();
            let len = raw.set(address);
            assert_eq!(raw.get(len), Some(address));
            assert_eq!(raw.get(len - 1), None, "{text}, cut");
        }
        assert_eq!(RawAddress::empty().get(RawAddress::BYTES as u32), None);
    }
}
