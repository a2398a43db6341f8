//! Where the control characters of a message stand: what its lines end with, and what else must not be in them.
//!
//! A cursor over the bytes of one message. It looks at blocks of [`BLOCK_BYTES`] and keeps what it has seen of
//! the last one as a bit for each byte, so that the lines of a message, asked for in their order, cost one look
//! at each of its bytes and a few instructions a line.

use wide::u8x16;

/// Bytes that are looked at at once.
const BLOCK_BYTES: usize = 64;
/// No block was looked at yet: no block begins there.
const NO_BLOCK: usize = usize::MAX;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Controls<'a> {
    bytes: &'a [u8],
    /// Where the block begins that `found` is about.
    block_at: usize,
    /// A bit for each byte of the block that is a control character, the first byte's lowest.
    found: u64,
}

impl<'a> Controls<'a> {
    #[inline]
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, block_at: NO_BLOCK, found: 0 }
    }

    /// Where the first control character below SP stands at or behind `from`; the end when there is none.
    #[inline]
    pub(crate) fn next(&mut self, from: usize) -> usize {
        let block_at = from & !(BLOCK_BYTES - 1);
        if block_at != self.block_at {
            self.look_at(block_at);
        }
        let ahead = self.found & (u64::MAX << (from % BLOCK_BYTES));
        if ahead != 0 {
            return self.block_at + ahead.trailing_zeros() as usize;
        }
        self.next_block()
    }

    fn next_block(&mut self) -> usize {
        loop {
            let block_at = self.block_at + BLOCK_BYTES;
            if block_at >= self.bytes.len() {
                return self.bytes.len();
            }
            self.look_at(block_at);
            if self.found != 0 {
                return block_at + self.found.trailing_zeros() as usize;
            }
        }
    }

    #[inline]
    fn look_at(&mut self, block_at: usize) {
        let rest = self.bytes.get(block_at..).unwrap_or_default();
        self.block_at = block_at;
        self.found = rest.first_chunk().map_or_else(
            || {
                // What lies behind the end is no control character.
                let mut block = [b' '; BLOCK_BYTES];
                block[..rest.len()].copy_from_slice(rest);
                controls(&block)
            },
            controls,
        );
    }
}

/// A bit for each control character of a block.
#[inline]
fn controls(block: &[u8; BLOCK_BYTES]) -> u64 {
    let highest = u8x16::splat(b' ' - 1);
    let (parts, _) = block.as_chunks::<16>();
    let mut found = 0;
    for (at, part) in parts.iter().enumerate() {
        let part = u8x16::new(*part);
        found |= u64::from(part.min(highest).simd_eq(part).to_bitmask()) << (16 * at);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_by_one(bytes: &[u8], from: usize) -> usize {
        (from..bytes.len()).find(|&at| bytes[at] < b' ').unwrap_or(bytes.len())
    }

    #[test]
    fn control_characters_are_found_wherever_they_stand() {
        for len in [0, 1, 15, 16, 63, 64, 65, 127, 128, 200] {
            let clean = vec![0xffu8; len];
            assert_eq!(Controls::new(&clean).next(0), len);
            for at in 0..len {
                for control in [0, 9, 10, 13, 0x1f] {
                    let mut bytes: Vec<u8> = (0..len).map(|n| if n % 2 == 0 { b' ' } else { 0x80 }).collect();
                    bytes[at] = control;
                    for from in 0..=len {
                        assert_eq!(Controls::new(&bytes).next(from), one_by_one(&bytes, from), "{at} from {from}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_cursor_may_be_asked_in_any_order() {
        let bytes: Vec<u8> = (0..1000u32).map(|n| if n % 37 == 5 { b'\r' } else { b'x' }).collect();
        let mut controls = Controls::new(&bytes);
        for from in (0..1000).chain((0..1000).rev()).chain([700, 3, 64, 63, 999, 1000, 128]) {
            assert_eq!(controls.next(from), one_by_one(&bytes, from), "from {from}");
        }
    }
}
