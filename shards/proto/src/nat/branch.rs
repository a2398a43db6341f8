//! The branch of a ping: all that is needed to know what its answer is an answer to.
//!
//! `z9hG4bKp`, then in hexadecimal digits the shard (2), the record (8), the low 32 bits of the time in milliseconds (8), and
//! a keyed hash (16) of these, of the AoR and of the binding. Nobody else can make one, and one that comes back credits only
//! the binding that it was made for, whatever has taken the record's number meanwhile.

use crate::hop::ShardIndex;
use crate::keys::{AorHash, Keys, read_hex};
use sipfed_sip::compose::hexadecimal;

const HEAD: &[u8] = b"z9hG4bKp";
const LEN: usize = HEAD.len() + 2 + 8 + 8 + 16;

/// What stands in the branch of a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PingBranch {
    pub(super) shard: ShardIndex,
    pub(super) record: u32,
    pub(super) sent_at: u32,
    proof: u64,
}

impl PingBranch {
    /// That of a ping to a binding.
    pub(super) fn new(
        keys: &Keys,
        shard: ShardIndex,
        record: u32,
        sent_at: u32,
        (aor, contact_id): (AorHash, u64),
    ) -> Self {
        let unproven = Self { shard, record, sent_at, proof: 0 };
        Self { proof: unproven.proof_for(keys, (aor, contact_id)), ..unproven }
    }

    fn proof_for(&self, keys: &Keys, (aor, contact_id): (AorHash, u64)) -> u64 {
        let mut text = [0; 32];
        text[0] = b'p';
        text[1] = self.shard.0;
        text[4..8].copy_from_slice(&self.record.to_le_bytes());
        text[8..12].copy_from_slice(&self.sent_at.to_le_bytes());
        text[16..24].copy_from_slice(&aor.0.to_le_bytes());
        text[24..].copy_from_slice(&contact_id.to_le_bytes());
        keys.pair(b"ping", &text)
    }

    /// Whether it was made for that binding.
    pub(super) fn is_of(&self, keys: &Keys, binding: (AorHash, u64)) -> bool {
        self.proof == self.proof_for(keys, binding)
    }

    /// As it stands in a Via.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(HEAD);
        out.extend_from_slice(&hexadecimal::<2>(u64::from(self.shard.0)));
        out.extend_from_slice(&hexadecimal::<8>(u64::from(self.record)));
        out.extend_from_slice(&hexadecimal::<8>(u64::from(self.sent_at)));
        out.extend_from_slice(&hexadecimal::<16>(self.proof));
    }

    /// One that came back; `None` for a branch that no ping has.
    pub(super) fn read(branch: &[u8]) -> Option<Self> {
        let digits = branch.strip_prefix(HEAD).filter(|_| branch.len() == LEN)?;
        Some(Self {
            shard: ShardIndex(read_hex(&digits[..2])? as u8),
            record: read_hex(&digits[2..10])? as u32,
            sent_at: read_hex(&digits[10..18])? as u32,
            proof: read_hex(&digits[18..])?,
        })
    }
}

/// The shard that has sent the ping with that branch.
pub(crate) fn shard_of_ping(branch: &[u8]) -> Option<ShardIndex> {
    PingBranch::read(branch).map(|branch| branch.shard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_comes_back_as_it_was_made_and_only_for_its_binding() {
        let (keys, binding) = (Keys::new([3; 32], 2), (AorHash(5), 77));
        let branch = PingBranch::new(&keys, ShardIndex(2), 0x0012_3456, 0xfedc_ba98, binding);
        let mut text = Vec::new();
        branch.write(&mut text);
        let read = PingBranch::read(&text).unwrap();
        assert_eq!((read, shard_of_ping(&text)), (branch, Some(ShardIndex(2))));
        assert!(read.is_of(&keys, binding));
        assert!(!read.is_of(&keys, (AorHash(6), 77)) && !read.is_of(&keys, (AorHash(5), 78)));
        assert!(!read.is_of(&Keys::new([4; 32], 2), binding));
        for at in HEAD.len()..text.len() {
            let mut other = text.clone();
            other[at] = if other[at] == b'0' { b'1' } else { b'0' };
            assert!(!PingBranch::read(&other).is_some_and(|other| other.is_of(&keys, binding)), "digit {at}");
        }
        for bad in [&b"z9hG4bKp"[..], b"z9hG4bK.00", &text[..text.len() - 1], &[&text[..], b"0"].concat()] {
            assert_eq!(PingBranch::read(bad), None);
        }
    }
}
