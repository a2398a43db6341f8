//! The local addresses that messages arrived at, by number, so that a binding keeps two bytes of it.

use std::net::SocketAddr;

/// Grows with the addresses of the host's interfaces, which are few; at most 65,535.
#[derive(Debug, Default)]
pub(crate) struct LocalAddresses {
    addresses: Vec<SocketAddr>,
}

impl LocalAddresses {
    /// The number of `address`.
    pub(crate) fn number(&mut self, address: SocketAddr) -> u16 {
        if let Some(at) = self.addresses.iter().position(|&a| a == address) {
            return at as u16;
        }
        if self.addresses.len() == usize::from(u16::MAX) {
            return 0;
        }
        self.addresses.push(address);
        (self.addresses.len() - 1) as u16
    }

    /// The address of that number, which [`LocalAddresses::number`] gave.
    pub(crate) fn address(&self, number: u16) -> SocketAddr {
        self.addresses[usize::from(number)]
    }
}
