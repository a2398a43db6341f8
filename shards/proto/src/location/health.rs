//! How the phone of a binding stands, as far as its pings tell: what [`crate::nat`] writes beside a binding.
//!
//! Twelve bytes, packed little-endian: when it was pinged last (4), when it was heard last (4), the time that its last
//! answer took (2), pings in a row that it has not answered, with a mark for one that is open (1), and the *watch* that all
//! of that belongs to (1). A watch begins when the node becomes the one that pings; what an earlier watch has left counts
//! for nothing.

/// Bytes of a [`Health`] as packed.
pub(super) const HEALTH_BYTES: usize = 12;
/// Set in the count of unanswered pings while the last one is open.
const OPEN: u8 = 1 << 7;

/// See the module's documentation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Health {
    /// The low 32 bits of the time of the last ping in milliseconds since the Unix epoch.
    pub(crate) pinged_at: u32,
    /// When it was last heard but for REGISTER requests, in seconds since the Unix epoch; 0 for never.
    pub(crate) heard_at_s: u32,
    /// Milliseconds that its last answer took; 0 for none yet, `u16::MAX` for all that took longer.
    pub(crate) latency_ms: u16,
    /// Pings in a row that it has not answered, the open one not counted; 127 for more.
    pub(crate) lost: u8,
    /// Whether the last ping may still be answered.
    pub(crate) is_open: bool,
    /// The watch in which that was; 0 for none.
    pub(crate) watch: u8,
}

impl Health {
    /// What of it counts in `watch`.
    pub(crate) fn in_watch(self, watch: u8) -> Self {
        if self.watch == watch {
            return self;
        }
        Self { heard_at_s: self.heard_at_s, latency_ms: self.latency_ms, watch, ..Self::default() }
    }

    pub(super) fn to_bytes(self) -> [u8; HEALTH_BYTES] {
        let mut bytes = [0; HEALTH_BYTES];
        bytes[..4].copy_from_slice(&self.pinged_at.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.heard_at_s.to_le_bytes());
        bytes[8..10].copy_from_slice(&self.latency_ms.to_le_bytes());
        bytes[10] = self.lost.min(!OPEN) | if self.is_open { OPEN } else { 0 };
        bytes[11] = self.watch;
        bytes
    }

    pub(super) fn from_bytes(bytes: [u8; HEALTH_BYTES]) -> Self {
        let [p0, p1, p2, p3, h0, h1, h2, h3, l0, l1, lost, watch] = bytes;
        Self {
            pinged_at: u32::from_le_bytes([p0, p1, p2, p3]),
            heard_at_s: u32::from_le_bytes([h0, h1, h2, h3]),
            latency_ms: u16::from_le_bytes([l0, l1]),
            lost: lost & !OPEN,
            is_open: lost & OPEN != 0,
            watch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_as_it_was_packed_and_another_watch_forgets_its_pings() {
        let health =
            Health { pinged_at: 0x8765_4321, heard_at_s: 77, latency_ms: 300, lost: 126, is_open: true, watch: 9 };
        assert_eq!(Health::from_bytes(health.to_bytes()), health);
        assert_eq!(health.in_watch(9), health);
        let later = Health { heard_at_s: 77, latency_ms: 300, watch: 10, ..Health::default() };
        assert_eq!(health.in_watch(10), later);
        assert_eq!(Health::from_bytes(Health { lost: 200, is_open: false, ..health }.to_bytes()).lost, 127);
    }
}
