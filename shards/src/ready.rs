//! What a ready descriptor of a shard is, as the number that it is waited for with.

/// The owner of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// The shard's bell.
    Bell,
    /// The UDP port with this index.
    Udp(u32),
    /// The TCP listener with this index.
    Listener(u32),
    /// The connection in this slot, in its generation: an event of a connection that was closed and whose
    /// slot was taken again within the same batch must not reach the new one.
    Connection {
        /// Its slot.
        slot: u32,
        /// The generation of that slot.
        generation: u32,
    },
}

impl Ready {
    /// Packs it: two bits of kind, 31 of generation, 31 of index.
    pub(crate) const fn token(self) -> u64 {
        match self {
            Self::Bell => 0,
            Self::Udp(index) => 1 << 62 | index as u64,
            Self::Listener(index) => 2 << 62 | index as u64,
            Self::Connection { slot, generation } => 3 << 62 | (generation as u64) << 31 | slot as u64,
        }
    }

    /// Unpacks it.
    pub(crate) const fn from_token(token: u64) -> Self {
        let index = (token & 0x7fff_ffff) as u32;
        match token >> 62 {
            0 => Self::Bell,
            1 => Self::Udp(index),
            2 => Self::Listener(index),
            _ => Self::Connection { slot: index, generation: (token >> 31) as u32 & 0x7fff_ffff },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_owner_survives_its_token() {
        for ready in [
            Ready::Bell,
            Ready::Udp(3),
            Ready::Listener(0),
            Ready::Connection { slot: 0x00ff_ffff, generation: 0x7fff_ffff },
            Ready::Connection { slot: 0, generation: 1 },
        ] {
            assert_eq!(Ready::from_token(ready.token()), ready);
        }
    }
}
