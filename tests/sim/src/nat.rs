//! A phone's NAT: it opens a port for each place that the phone sends to, lets nothing in that does not come from there, and
//! closes it once nothing has gone out through it for a while (RFC 4787 §4.3, §5).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// The first port; each that is opened is another one.
const FIRST_PORT: u16 = 20_000;

#[derive(Clone, Copy, Debug)]
struct Mapping {
    port: u16,
    until: u64,
}

/// See the module's documentation. Times are milliseconds since the simulation began.
#[derive(Debug)]
pub(crate) struct Nat {
    ip: IpAddr,
    idle_ms: u64,
    next_port: u16,
    /// By whom the phone sends to.
    mappings: BTreeMap<SocketAddr, Mapping>,
}

impl Nat {
    /// One that closes a port after `idle_ms`.
    pub(crate) fn new(ip: IpAddr, idle_ms: u64) -> Self {
        Self { ip, idle_ms, next_port: FIRST_PORT, mappings: BTreeMap::new() }
    }

    /// The phone sends something; gives where that seems to come from.
    pub(crate) fn out(&mut self, to: SocketAddr, at: u64) -> SocketAddr {
        let until = at + self.idle_ms;
        let mapping = self.mappings.entry(to).or_insert(Mapping { port: 0, until: 0 });
        if mapping.until <= at {
            mapping.port = self.next_port;
            self.next_port += 1;
        }
        mapping.until = until;
        SocketAddr::new(self.ip, mapping.port)
    }

    /// The port that is open for somebody.
    pub(crate) fn open_for(&self, from: SocketAddr, at: u64) -> Option<u16> {
        self.mappings.get(&from).filter(|mapping| mapping.until > at).map(|mapping| mapping.port)
    }

    /// It forgets all ports, as one that is switched off and on.
    pub(crate) fn forget(&mut self) {
        self.mappings.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_open_for_whom_it_was_opened_and_while_something_goes_out() {
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (home, other) = (addr("192.0.2.1:5060"), addr("192.0.2.2:5060"));
        let mut nat = Nat::new(addr("203.0.113.1:1").ip(), 100);
        assert_eq!(nat.out(home, 0), addr("203.0.113.1:20000"));
        assert_eq!(nat.out(other, 0), addr("203.0.113.1:20001"));
        assert_eq!(nat.out(home, 90), addr("203.0.113.1:20000"));
        assert_eq!((nat.open_for(home, 189), nat.open_for(home, 190)), (Some(20_000), None));
        assert_eq!(nat.open_for(other, 150), None);
        assert_eq!(nat.out(home, 190), addr("203.0.113.1:20002"), "another one");
        nat.forget();
        assert_eq!(nat.open_for(home, 191), None);
    }
}
