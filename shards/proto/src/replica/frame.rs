//! What nodes that back each other up say to one another.
//!
//! # Contract
//! [`Frame::write`] and [`Frame::read`] are inverse. Reading checks every length and number before it is used, allocates
//! only what is there, and gives a [`BadFrame`] for anything else. A frame is whole: cutting a stream into frames, and who
//! has sent one, is the link's.
//!
//! # Layout, version 1
//! Little-endian; kind (1), then:
//!
//! | kind | frame | content |
//! | --- | --- | --- |
//! | 1 | begin | history (8), shards (1), state (9) |
//! | 2 | resume | for each position: shard (1), history (8), sequence (8) |
//! | 3 | start | shard (1), sequence (8) |
//! | 4 | part | shard (1), sequence (8), journal |
//! | 5 | taken | shard (1), sequence (8) |
//! | 6 | digests | shard (1), sequence (8), round (8), first leaf (2), digests (8 each) |
//! | 7 | held | shard (1), round (8), leaf (2), what is held of it (16 each) |
//! | 8 | whole | shard (1), round (8), journal |
//! | 9 | leaf done | shard (1), round (8), leaf (2), bindings (4) |
//! | 10 | synced | shard (1), round (8) |
//! | 11 | state | state (9) |
//! | 12 | compare | |
//!
//! A state is: flags (1; bit 0: knows all, bit 1: active), term (8).

use super::Held;
use crate::limits;
use std::borrow::Cow;

/// Bytes of a frame at most.
pub const FRAME_BYTES_MAX: usize = 1_000_000;

/// What a node says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Whether it knows all bindings of its home, so that it may give them to others.
    pub is_whole: bool,
    /// Whether it owns the address of its home.
    pub is_active: bool,
    /// The term in which it came to own it last.
    pub term: u64,
}

/// One message between nodes. `shard` is always a shard of whoever writes the journal that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The first one in each direction.
    Begin {
        /// Names this life of the sender.
        history: u64,
        /// How many shards it has.
        shards: u8,
        /// What it says of itself.
        state: State,
    },
    /// What the sender has of the receiver's journals: shard, history and sequence.
    Resume(Vec<(u8, u64, u64)>),
    /// The journal of a shard follows from here on; what was before is found by digests.
    Start {
        /// Of which shard.
        shard: u8,
        /// The last part that does not follow.
        sequence: u64,
    },
    /// A part of the journal of a shard, and all before it.
    Part {
        /// Of which shard.
        shard: u8,
        /// Its number, or that of the last one where it is several.
        sequence: u64,
        /// The entries.
        journal: Cow<'a, [u8]>,
    },
    /// All parts up to this one are kept by the sender of this frame.
    Taken {
        /// Of which shard.
        shard: u8,
        /// The last one.
        sequence: u64,
    },
    /// The digests of the leaves of a shard, as they are after this part.
    Digests {
        /// Of which shard.
        shard: u8,
        /// After which part.
        sequence: u64,
        /// Names the comparison.
        round: u64,
        /// The first leaf.
        first: u16,
        /// One for each leaf.
        digests: Vec<u64>,
    },
    /// What the sender holds of a leaf of a shard whose digest differs: to be told what it lacks.
    Held {
        /// Of which shard.
        shard: u8,
        /// Of which comparison.
        round: u64,
        /// Which leaf.
        leaf: u16,
        /// What is held.
        held: Vec<Held>,
    },
    /// Whole bindings that the receiver lacks.
    Whole {
        /// Of which shard.
        shard: u8,
        /// Of which comparison.
        round: u64,
        /// The entries.
        journal: Cow<'a, [u8]>,
    },
    /// All that was lacking of a leaf has been sent.
    LeafDone {
        /// Of which shard.
        shard: u8,
        /// Of which comparison.
        round: u64,
        /// Which leaf.
        leaf: u16,
        /// How many bindings that were.
        count: u32,
    },
    /// The sender of this frame has all of a shard's bindings that were there when its digests were made.
    Synced {
        /// Of which shard.
        shard: u8,
        /// In which comparison.
        round: u64,
    },
    /// What the sender says of itself has changed.
    State(State),
    /// The sender wants to compare what it holds with what the receiver does, now.
    Compare,
}

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadFrame(pub &'static str);

impl std::fmt::Display for BadFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a frame of a backup {}", self.0)
    }
}

impl std::error::Error for BadFrame {}

impl Frame<'_> {
    /// As it is sent.
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Begin { history, shards, state } => {
                out.push(1);
                out.extend_from_slice(&history.to_le_bytes());
                out.push(*shards);
                write_state(&mut out, *state);
            }
            Self::Resume(positions) => {
                out.push(2);
                for (shard, history, sequence) in positions {
                    out.push(*shard);
                    out.extend_from_slice(&history.to_le_bytes());
                    out.extend_from_slice(&sequence.to_le_bytes());
                }
            }
            Self::Start { shard, sequence } => head(&mut out, 3, *shard, *sequence),
            Self::Part { shard, sequence, journal } => {
                out.reserve_exact(10 + journal.len());
                head(&mut out, 4, *shard, *sequence);
                out.extend_from_slice(journal);
            }
            Self::Taken { shard, sequence } => head(&mut out, 5, *shard, *sequence),
            Self::Digests { shard, sequence, round, first, digests } => {
                out.reserve_exact(20 + 8 * digests.len());
                head(&mut out, 6, *shard, *sequence);
                out.extend_from_slice(&round.to_le_bytes());
                out.extend_from_slice(&first.to_le_bytes());
                for digest in digests {
                    out.extend_from_slice(&digest.to_le_bytes());
                }
            }
            Self::Held { shard, round, leaf, held } => {
                out.reserve_exact(12 + Held::BYTES * held.len());
                head(&mut out, 7, *shard, *round);
                out.extend_from_slice(&leaf.to_le_bytes());
                for held in held {
                    out.extend_from_slice(&held.to_bytes());
                }
            }
            Self::Whole { shard, round, journal } => {
                out.reserve_exact(10 + journal.len());
                head(&mut out, 8, *shard, *round);
                out.extend_from_slice(journal);
            }
            Self::LeafDone { shard, round, leaf, count } => {
                head(&mut out, 9, *shard, *round);
                out.extend_from_slice(&leaf.to_le_bytes());
                out.extend_from_slice(&count.to_le_bytes());
            }
            Self::Synced { shard, round } => head(&mut out, 10, *shard, *round),
            Self::State(state) => {
                out.push(11);
                write_state(&mut out, *state);
            }
            Self::Compare => out.push(12),
        }
        out
    }
}

impl<'a> Frame<'a> {
    /// What [`Frame::write`] gave.
    pub fn read(bytes: &'a [u8]) -> Result<Self, BadFrame> {
        if bytes.len() > FRAME_BYTES_MAX {
            return Err(BadFrame("is longer than a frame may be"));
        }
        let mut rest = Reader(bytes);
        let frame = match rest.byte()? {
            1 => Self::Begin { history: rest.long()?, shards: rest.count_of_shards()?, state: rest.state()? },
            2 => {
                let mut positions = Vec::with_capacity(rest.0.len() / 17);
                while !rest.0.is_empty() {
                    positions.push((rest.shard()?, rest.long()?, rest.long()?));
                }
                Self::Resume(positions)
            }
            3 => Self::Start { shard: rest.shard()?, sequence: rest.long()? },
            4 => Self::Part { shard: rest.shard()?, sequence: rest.long()?, journal: rest.all().into() },
            5 => Self::Taken { shard: rest.shard()?, sequence: rest.long()? },
            6 => {
                let (shard, sequence, round, first) = (rest.shard()?, rest.long()?, rest.long()?, rest.leaf()?);
                let digests = rest.each::<8>()?.map(u64::from_le_bytes).collect::<Vec<_>>();
                if usize::from(first) + digests.len() > limits::LEAVES_COUNT {
                    return Err(BadFrame("has more leaves than there are"));
                }
                Self::Digests { shard, sequence, round, first, digests }
            }
            7 => {
                let (shard, round, leaf) = (rest.shard()?, rest.long()?, rest.leaf()?);
                Self::Held { shard, round, leaf, held: rest.each()?.map(Held::from_bytes).collect() }
            }
            8 => Self::Whole { shard: rest.shard()?, round: rest.long()?, journal: rest.all().into() },
            9 => {
                let (shard, round) = (rest.shard()?, rest.long()?);
                Self::LeafDone { shard, round, leaf: rest.leaf()?, count: rest.word()? }
            }
            10 => Self::Synced { shard: rest.shard()?, round: rest.long()? },
            11 => Self::State(rest.state()?),
            12 => Self::Compare,
            _ => return Err(BadFrame("is of a kind that this version does not know")),
        };
        if rest.0.is_empty() { Ok(frame) } else { Err(BadFrame("is longer than its kind")) }
    }
}

fn head(out: &mut Vec<u8>, kind: u8, shard: u8, number: u64) {
    out.extend_from_slice(&[kind, shard]);
    out.extend_from_slice(&number.to_le_bytes());
}

fn write_state(out: &mut Vec<u8>, state: State) {
    out.push(u8::from(state.is_whole) | u8::from(state.is_active) << 1);
    out.extend_from_slice(&state.term.to_le_bytes());
}

/// Takes numbers off the front of bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadFrame> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(BadFrame("is cut off"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn all(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// All that is left, in pieces of `N` bytes.
    fn each<const N: usize>(&mut self) -> Result<impl Iterator<Item = [u8; N]> + use<'a, N>, BadFrame> {
        let (pieces, rest) = self.all().as_chunks::<N>();
        if rest.is_empty() { Ok(pieces.iter().copied()) } else { Err(BadFrame("is cut off")) }
    }

    fn byte(&mut self) -> Result<u8, BadFrame> {
        self.array().map(u8::from_le_bytes)
    }

    fn word(&mut self) -> Result<u32, BadFrame> {
        self.array().map(u32::from_le_bytes)
    }

    fn long(&mut self) -> Result<u64, BadFrame> {
        self.array().map(u64::from_le_bytes)
    }

    fn shard(&mut self) -> Result<u8, BadFrame> {
        let shard = self.byte()?;
        if usize::from(shard) < limits::SHARDS_COUNT_MAX { Ok(shard) } else { Err(BadFrame("names no shard")) }
    }

    fn count_of_shards(&mut self) -> Result<u8, BadFrame> {
        let count = self.byte()?;
        let is_valid = (1..=limits::SHARDS_COUNT_MAX).contains(&usize::from(count));
        if is_valid { Ok(count) } else { Err(BadFrame("has no valid number of shards")) }
    }

    fn leaf(&mut self) -> Result<u16, BadFrame> {
        let leaf = self.array().map(u16::from_le_bytes)?;
        if usize::from(leaf) < limits::LEAVES_COUNT { Ok(leaf) } else { Err(BadFrame("names no leaf")) }
    }

    fn state(&mut self) -> Result<State, BadFrame> {
        let (flags, term) = (self.byte()?, self.long()?);
        Ok(State { is_whole: flags & 1 != 0, is_active: flags & 2 != 0, term })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::Stamp;
    use proptest::prelude::*;

    fn frames() -> Vec<Frame<'static>> {
        let state = State { is_whole: true, is_active: false, term: 7 };
        let held = |contact_id, is_removed| Held { contact_id, stamp: Stamp::from_bits(1 << 60), is_removed };
        vec![
            Frame::Begin { history: u64::MAX, shards: 128, state },
            Frame::Resume(vec![(0, 1, 2), (127, 3, 4)]),
            Frame::Resume(Vec::new()),
            Frame::Start { shard: 1, sequence: 2 },
            Frame::Part { shard: 1, sequence: 2, journal: Cow::Borrowed(b"journal") },
            Frame::Taken { shard: 1, sequence: 2 },
            Frame::Digests { shard: 1, sequence: 2, round: 9, first: 4094, digests: vec![5, 6] },
            Frame::Held { shard: 1, round: 9, leaf: 4095, held: vec![held(1, false), held(2, true)] },
            Frame::Whole { shard: 1, round: 9, journal: Cow::Borrowed(b"") },
            Frame::LeafDone { shard: 1, round: 9, leaf: 2, count: 3 },
            Frame::Synced { shard: 1, round: 9 },
            Frame::State(State { is_whole: false, is_active: true, term: 1 }),
            Frame::Compare,
        ]
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        for frame in frames() {
            let written = frame.write();
            assert_eq!(Frame::read(&written), Ok(frame));
        }
    }

    #[test]
    fn numbers_of_nothing_are_refused() {
        for (bytes, what) in [
            (vec![], "is cut off"),
            (vec![0], "is of a kind that this version does not know"),
            (vec![10, 128], "names no shard"),
            ([vec![1], vec![0; 8], vec![0], vec![0; 9]].concat(), "has no valid number of shards"),
            ([vec![9, 0], vec![0; 8], vec![0, 16, 0, 0, 0, 0]].concat(), "names no leaf"),
            ([vec![10, 1], vec![0; 9]].concat(), "is longer than its kind"),
            ([vec![6, 0], vec![0; 16], vec![255, 15], vec![0; 16]].concat(), "has more leaves than there are"),
            ([vec![7, 0], vec![0; 8], vec![0, 0, 1]].concat(), "is cut off"),
            (vec![4; FRAME_BYTES_MAX + 1], "is longer than a frame may be"),
        ] {
            assert_eq!(Frame::read(&bytes), Err(BadFrame(what)));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0u8..14) {
            let bytes = [vec![kind], bytes].concat();
            if let Ok(frame) = Frame::read(&bytes) {
                // Unused bits of flags are not kept.
                let written = frame.write();
                prop_assert_eq!(Frame::read(&written), Ok(frame));
            }
        }

        #[test]
        fn what_is_cut_or_longer_is_refused_or_another_frame(at in 0usize..13, end in 0usize..40) {
            let whole = frames().swap_remove(at);
            let bytes = whole.write();
            if let Some(cut) = bytes.get(..end).filter(|cut| cut.len() < bytes.len()) {
                prop_assert_ne!(Frame::read(cut), Ok(whole));
            }
        }
    }
}
