//! The node's secret and what is derived from it: keyed hashes that nobody outside can aim at.
//!
//! One secret, equal on all shards of a node. A hash that a sender could compute would let it crowd one slot
//! of a table (HashDoS), guess a branch or forge a flow; all of them are SipHash with a key of its own.

use crate::limits;
use arrayvec::ArrayVec;
use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher13 as SipHasher128};
use std::hash::{Hash, Hasher};
use std::ops::Range;

/// Bytes of the parts that [`Keys::transaction`] hashes at once; those of usual requests have a third.
const PARTS_BYTES_MAX: usize = 1024;

/// How a branch begins that is unique by itself (RFC 3261 §8.1.1.7).
pub(crate) const BRANCH_COOKIE: &[u8] = b"z9hG4bK";

/// A canonical AoR's hash: decides its shard and its place in the tables there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AorHash(pub(crate) u64);

impl Hash for AorHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

impl AorHash {
    /// The range of the hash space that it lies in: its topmost bits.
    #[inline]
    pub(crate) fn leaf(self) -> u16 {
        (self.0 >> (64 - limits::LEAVES_BITS)) as u16
    }

    /// The shard that owns it, of `count`. A leaf belongs to one shard as a whole, and a shard owns leaves that follow one
    /// another.
    #[inline]
    pub(crate) fn shard(self, count: u8) -> u8 {
        shard_of(self.leaf(), count)
    }
}

/// The shard, of `count`, that owns a leaf.
#[inline]
pub(crate) fn shard_of(leaf: u16, count: u8) -> u8 {
    ((usize::from(leaf) * usize::from(count)) >> limits::LEAVES_BITS) as u8
}

/// The number in the branch of a call that all nodes with one home work out alike: the leaf of its AoR, and a keyed hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TwinNumber(pub(crate) u64);

impl TwinNumber {
    /// That of the branch which a call of `aor` has to `receiver`. `transaction` is the key of its server transaction, of which
    /// nobody outside knows a bit: folding a product with it leaves who knows the number of one receiver without that of another.
    pub(crate) fn new(aor: AorHash, transaction: u128, receiver: u64) -> Self {
        let product = u128::from(transaction as u64 ^ receiver) * (transaction >> 64);
        let hash = product as u64 ^ (product >> 64) as u64;
        Self(u64::from(aor.leaf()) << (64 - limits::LEAVES_BITS) | hash >> limits::LEAVES_BITS)
    }

    /// That of the AoR whose shard handles the call.
    pub(crate) fn leaf(self) -> u16 {
        (self.0 >> (64 - limits::LEAVES_BITS)) as u16
    }

    /// The nonce of a client transaction that has it.
    pub(crate) fn nonce(self) -> u32 {
        self.0 as u32
    }

    /// Where it stands in a table: the leaves of a shard are near each other, so they decide about nothing there.
    pub(crate) fn place(self) -> u64 {
        self.0.rotate_left(32)
    }
}

/// The leaves that a shard owns, of `count`.
pub(crate) fn leaves_of(shard: u8, count: u8) -> Range<u16> {
    let first = |shard: u8| (usize::from(shard) * limits::LEAVES_COUNT).div_ceil(usize::from(count)) as u16;
    first(shard)..first(shard + 1)
}

/// Lower-case hexadecimal digits as a number.
pub(crate) fn read_hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |n, &b| {
        let digit = match b {
            b'0'..=b'9' => b - b'0',
            b'a'..=b'f' => b - b'a' + 10,
            _ => return None,
        };
        Some(n << 4 | u64::from(digit))
    })
}

/// For tables by numbers that no sender chooses, such as flow tokens and keyed hashes: mixing their bits is enough.
#[derive(Debug, Default)]
pub(crate) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.write_u64(u64::from(b));
        }
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0 ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
}

#[derive(Debug)]
pub(crate) struct Keys {
    routing: SipHasher13,
    transaction: SipHasher128,
    tag: SipHasher13,
    branch: SipHasher13,
    contact: SipHasher13,
    pub(crate) gruu: [u8; 32],
    drawn: u64,
}

impl Keys {
    /// `shard` parts the streams of numbers that shards draw; all else is equal on all of them.
    pub(crate) fn new(secret: [u8; 32], shard: u8) -> Self {
        let derive = |purpose: u8, part: u8| {
            let mut hasher = SipHasher128::new_with_key(secret[..16].try_into().expect("16 of 32 bytes"));
            hasher.write(&secret[16..]);
            hasher.write(&[purpose, part]);
            hasher.finish128().as_bytes()
        };
        let mut gruu = [0u8; 32];
        gruu[..16].copy_from_slice(&derive(6, 0));
        gruu[16..].copy_from_slice(&derive(6, 1));
        Self {
            routing: SipHasher13::new_with_key(&derive(1, 0)),
            transaction: SipHasher128::new_with_key(&derive(2, 0)),
            tag: SipHasher13::new_with_key(&derive(3, 0)),
            branch: SipHasher13::new_with_key(&derive(4, shard)),
            contact: SipHasher13::new_with_key(&derive(5, 0)),
            gruu,
            drawn: 0,
        }
    }

    /// The hash of a canonical AoR.
    #[inline]
    pub(crate) fn aor(&self, aor: &[u8]) -> AorHash {
        AorHash(self.routing.hash(aor))
    }

    /// A hash over parts, each ended so that no two lists of parts run together.
    pub(crate) fn transaction(&self, parts: &[&[u8]]) -> u128 {
        // Hashing one text at once costs a third of hashing its parts one after another.
        let mut text: ArrayVec<u8, PARTS_BYTES_MAX> = ArrayVec::new();
        let len: usize = parts.iter().map(|part| part.len() + 4).sum();
        let hash = if len <= text.capacity() {
            for part in parts {
                // There is room, as was counted.
                let _ = text.try_extend_from_slice(part);
                let _ = text.try_extend_from_slice(&(part.len() as u32).to_le_bytes());
            }
            self.transaction.hash(&text)
        } else {
            let mut hasher = self.transaction;
            for part in parts {
                hasher.write(part);
                hasher.write(&(part.len() as u32).to_le_bytes());
            }
            hasher.finish128()
        };
        u128::from(hash.h1) << 64 | u128::from(hash.h2)
    }

    /// A request's own number, the same for its retransmissions: our replies carry it as their To tag (RFC 3261
    /// §8.2.7), and the bindings of a REGISTER keep its lower half.
    ///
    /// A branch with the cookie of RFC 3261 §8.1.1.7 is unique by itself; without it the Call-ID has to help.
    #[inline]
    pub(crate) fn request(&self, branch: &[u8], call_id: &[u8]) -> u64 {
        if branch.len() > BRANCH_COOKIE.len() && branch.starts_with(BRANCH_COOKIE) {
            return self.tag.hash(branch);
        }
        self.pair(branch, call_id)
    }

    /// A hash over two parts.
    pub(crate) fn pair(&self, first: &[u8], second: &[u8]) -> u64 {
        let mut hasher = self.tag;
        hasher.write(first);
        hasher.write(&(first.len() as u32).to_le_bytes());
        hasher.write(second);
        hasher.finish()
    }

    /// A contact's id within the node's AoRs: it depends on the AoR and the binding's identity, given in parts, alone.
    pub(crate) fn contact(&self, aor: AorHash, identity: &[&[u8]], reg_id: u32) -> u64 {
        let mut hasher = self.contact;
        hasher.write_u64(aor.0);
        hasher.write_u32(reg_id);
        for part in identity {
            hasher.write(part);
        }
        hasher.finish()
    }

    /// A number that this shard gives once; `now_ms` keeps it apart from those given before a restart.
    pub(crate) fn count(&mut self, now_ms: u64) -> u64 {
        self.drawn += 1;
        now_ms << 20 | (self.drawn & 0xf_ffff)
    }

    /// A number that nobody can foretell and that this shard has not given before, but by chance. What it is drawn for
    /// keeps it apart from those of the shard before a restart, and of other nodes with this secret.
    pub(crate) fn draw(&mut self, purpose: u64) -> u64 {
        self.drawn += 1;
        let mut hasher = self.branch;
        hasher.write_u64(self.drawn);
        hasher.write_u64(purpose);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_agree_on_hashes_and_draw_apart() {
        let (mut a, mut b) = (Keys::new([7; 32], 0), Keys::new([7; 32], 1));
        assert_eq!(a.aor(b"x@y"), b.aor(b"x@y"));
        assert_ne!(a.draw(5), b.draw(5));
        assert_ne!(a.draw(5), Keys::new([7; 32], 0).draw(5), "not twice");
        assert_ne!(Keys::new([7; 32], 0).draw(5), Keys::new([7; 32], 0).draw(6), "for another purpose");
        assert_ne!(a.aor(b"x@y"), Keys::new([8; 32], 0).aor(b"x@y"));
        assert_ne!(a.transaction(&[b"ab", b"c"]), a.transaction(&[b"a", b"bc"]));
        let long = [b'x'; PARTS_BYTES_MAX];
        for at in [0, 1, 500, PARTS_BYTES_MAX - 8, PARTS_BYTES_MAX - 7, PARTS_BYTES_MAX - 4] {
            let streamed = |part: &[u8]| {
                let mut hasher = a.transaction;
                hasher.write(part);
                hasher.write(&(part.len() as u32).to_le_bytes());
                let hash = hasher.finish128();
                u128::from(hash.h1) << 64 | u128::from(hash.h2)
            };
            assert_eq!(a.transaction(&[&long[..at]]), streamed(&long[..at]), "{at} bytes");
        }
    }

    #[test]
    fn every_shard_gets_its_share() {
        let keys = Keys::new([1; 32], 0);
        let mut counts = [0u32; 3];
        for n in 0..30_000u32 {
            counts[usize::from(keys.aor(format!("u{n}@h").as_bytes()).shard(3))] += 1;
        }
        assert!(counts.iter().all(|&c| (9_500..10_500).contains(&c)), "{counts:?}");
    }

    #[test]
    fn a_leaf_belongs_to_one_shard() {
        for count in [1, 2, 3, 7, 16, 127, 128] {
            let owner = |leaf: u64| AorHash(leaf << (64 - limits::LEAVES_BITS)).shard(count);
            let owners: Vec<u8> = (0..limits::LEAVES_COUNT as u64).map(owner).collect();
            assert!(owners.is_sorted() && owners[0] == 0 && owners.last() == Some(&(count - 1)));
            let low = limits::LEAVES_COUNT / usize::from(count);
            for (shard, range) in (0..count).map(|shard| (shard, leaves_of(shard, count))) {
                assert!((low..=low + 1).contains(&range.len()), "{count} shards: {range:?}");
                assert!(range.clone().all(|leaf| owners[usize::from(leaf)] == shard));
            }
            assert_eq!(owner(77), AorHash(77 << (64 - limits::LEAVES_BITS) | 0xffff).shard(count));
        }
    }
}
