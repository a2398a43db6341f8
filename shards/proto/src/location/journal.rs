//! What changes in the location service as bytes: the unit of a log, of replication and of sync.
//!
//! # Contract
//! In goes every change that [`super::Location`] makes, while it is kept ([`Journal::keep`]); out come the entries of
//! a turn, which the runtime takes, makes durable, hands to the node's backups, and clears. On the other side of a restart
//! the same bytes go back through [`super::Location::restore`], in their order; at a backup they go through
//! [`super::Location::merge`], in any order. What an entry says is enough to do it again; doing it twice is harmless.
//!
//! What came from another node stands at the beginning of a turn's entries ([`Journal::mark_foreign`]): it is made durable
//! here, and is not sent on.
//!
//! Owned by the location service of one shard. Bounded by what a turn may change; the runtime clears it every turn.
//!
//! # Generations
//! A refresh is short, and means nothing without the whole binding before it. So that what lies far back in a log
//! can be dropped without being read, a log is cut into *generations*: a binding that was last written before the
//! present one began is written whole. What is older than the longest time that a binding may live is then needed by
//! nobody. Expiry is not written for a log, since the time is in the binding; it is where there are backups.
//!
//! # Layout, version 2
//! Little-endian. Each entry: kind (1), length of what follows the AoR's hash (2), the hash (8), then by kind:
//!
//! | kind | what | content |
//! | --- | --- | --- |
//! | 1 | bound | length of the AoR (2), the AoR, the local address (19), the packed binding ([`super::record`]) |
//! | 2 | refreshed | contact id (8), the stamp before and the stamp (8 each), expiry, update, CSeq, branch hash (4 each) |
//! | 3 | refreshed by another text | as 2, and its fingerprint (8) |
//! | 4 | removed, and remembered | contact id (8), stamp (8), CSeq, branch hash, end of remembering (4 each) |
//! | 5 | gone | contact id (8), stamp of what has gone (8) |
//! | 6 | all of another node's was taken up to here | its history (8), the number within (8), node (2), shard (1); the hash is 0 |

use super::op::{Refresh, Removal};
use super::record::{Binding, FIXED_BYTES};
use super::stamp::Stamp;
use crate::keys::AorHash;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

const BOUND: u8 = 1;
const REFRESHED: u8 = 2;
const REFRESHED_ANEW: u8 = 3;
const REMOVED: u8 = 4;
const GONE: u8 = 5;
const POSITION: u8 = 6;

const HEAD_BYTES: usize = 11;
const LOCAL_BYTES: usize = 19;

/// The entries of a turn, while they are kept. See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    is_kept: bool,
    /// Seconds since the Unix epoch.
    generation_began_at_s: u32,
    bytes: Vec<u8>,
    /// Bytes at the beginning that came from other nodes.
    foreign_bytes: usize,
    tally: Tally,
}

/// How much of what a shard of another node has written down was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The node.
    pub node: u16,
    /// Its shard.
    pub shard: u8,
    /// Which of the node's lives.
    pub history: u64,
    /// The number of the last part of it.
    pub sequence: u64,
}

/// How many entries of a kind were written down, and their bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) bindings: u64,
    pub(crate) binding_bytes: u64,
    pub(crate) refreshes: u64,
    pub(crate) refresh_bytes: u64,
}

/// One entry, read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) aor: AorHash,
    pub(crate) change: Change<'a>,
}

impl Entry<'_> {
    /// Whether it is about no AoR.
    pub(crate) fn is_of_node(&self) -> bool {
        matches!(self.change, Change::Taken(_))
    }
}

/// What an entry says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change<'a> {
    Bound {
        aor: &'a [u8],
        local: SocketAddr,
        binding: Binding<'a>,
    },
    /// `request_print` counts only where `is_anew`.
    Refreshed {
        /// That of the binding until then.
        before: Stamp,
        refresh: Refresh,
        is_anew: bool,
    },
    Removed {
        contact_id: u64,
        removal: Removal,
    },
    Gone {
        contact_id: u64,
        stamp: Stamp,
    },
    Taken(Position),
}

/// Bytes that are no entry: the log is damaged, or was written by a newer version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadEntry {
    /// Where it begins among the bytes given.
    pub at: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

impl Journal {
    /// One that belongs to no shard's log: what is copied out of a location is packed into it.
    pub(crate) fn apart() -> Self {
        Self { is_kept: true, ..Self::default() }
    }

    /// From now on changes are written down; a new generation begins.
    pub(crate) fn keep(&mut self, now_s: u32) {
        self.is_kept = true;
        self.generation_began_at_s = now_s;
    }

    /// Whether changes are written down.
    #[inline]
    pub(super) fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// The entries since the last [`Journal::clear`].
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What was written down since the start.
    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// What has been written down in this turn so far came from other nodes.
    pub(crate) fn mark_foreign(&mut self) {
        self.foreign_bytes = self.bytes.len();
    }

    /// The entries that are this node's own.
    pub(crate) fn own_bytes(&self) -> &[u8] {
        &self.bytes[self.foreign_bytes..]
    }

    /// Puts the entries behind what `into` has, and clears them. They are not copied where it is empty.
    pub(crate) fn take(&mut self, into: &mut Vec<u8>) {
        if into.is_empty() {
            std::mem::swap(&mut self.bytes, into);
        } else {
            into.extend_from_slice(&self.bytes);
        }
        self.clear();
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.foreign_bytes = 0;
    }

    /// Whether a binding last written at `updated_at_s` has to be written whole.
    pub(super) fn wants_whole(&self, updated_at_s: u32) -> bool {
        // What was written in the very second that the generation began may belong to the one before.
        updated_at_s <= self.generation_began_at_s
    }

    fn entry(&mut self, kind: u8, aor: AorHash, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.is_kept {
            return;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[kind, 0, 0]);
        self.bytes.extend_from_slice(&aor.0.to_le_bytes());
        write(&mut self.bytes);
        // What is said of one binding is shorter than that (see the end of `limits`).
        let len = (self.bytes.len() - start - HEAD_BYTES) as u16;
        self.bytes[start + 1..start + 3].copy_from_slice(&len.to_le_bytes());
        let (count, bytes) = match kind {
            BOUND => (&mut self.tally.bindings, &mut self.tally.binding_bytes),
            REFRESHED | REFRESHED_ANEW => (&mut self.tally.refreshes, &mut self.tally.refresh_bytes),
            _ => return,
        };
        *count += 1;
        *bytes += u64::from(len) + HEAD_BYTES as u64;
    }

    pub(super) fn bound(&mut self, hash: AorHash, aor: &[u8], binding: &Binding<'_>, local: SocketAddr) {
        self.entry(BOUND, hash, |out| {
            out.extend_from_slice(&(aor.len() as u16).to_le_bytes());
            out.extend_from_slice(aor);
            let (ip, family) = match local.ip() {
                IpAddr::V4(ip) => (ip.to_ipv6_mapped(), 4),
                IpAddr::V6(ip) => (ip, 6),
            };
            out.push(family);
            out.extend_from_slice(&ip.octets());
            out.extend_from_slice(&local.port().to_le_bytes());
            let (fixed, rest) = binding.packed();
            out.extend_from_slice(fixed);
            out.extend_from_slice(rest);
        });
    }

    pub(super) fn refreshed(&mut self, aor: AorHash, before: Stamp, refresh: &Refresh, is_anew: bool) {
        let kind = if is_anew { REFRESHED_ANEW } else { REFRESHED };
        self.entry(kind, aor, |out| {
            for number in [refresh.contact_id, before.bits(), refresh.stamp.bits()] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            for number in [refresh.expires_at_s, refresh.updated_at_s, refresh.cseq, refresh.branch_hash] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            if is_anew {
                out.extend_from_slice(&refresh.request_print.to_le_bytes());
            }
        });
    }

    pub(super) fn removed(&mut self, aor: AorHash, contact_id: u64, removal: &Removal) {
        self.entry(REMOVED, aor, |out| {
            for number in [contact_id, removal.stamp.bits()] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            for number in [removal.cseq, removal.branch_hash, removal.until_s] {
                out.extend_from_slice(&number.to_le_bytes());
            }
        });
    }

    pub(super) fn gone(&mut self, aor: AorHash, contact_id: u64, stamp: Stamp) {
        self.entry(GONE, aor, |out| {
            out.extend_from_slice(&contact_id.to_le_bytes());
            out.extend_from_slice(&stamp.bits().to_le_bytes());
        });
    }

    pub(crate) fn taken(&mut self, position: &Position) {
        self.entry(POSITION, AorHash(0), |out| {
            out.extend_from_slice(&position.history.to_le_bytes());
            out.extend_from_slice(&position.sequence.to_le_bytes());
            out.extend_from_slice(&position.node.to_le_bytes());
            out.push(position.shard);
        });
    }
}

/// Gives each entry of `bytes` to `part` with the leaf of its AoR, without reading it; nothing follows what is cut off.
pub(crate) fn part<'a>(bytes: &'a [u8], mut part: impl FnMut(u16, &'a [u8])) -> Result<(), BadEntry> {
    let mut at = 0;
    while at < bytes.len() {
        let mut head = Reader(&bytes[at..]);
        let read = |head: &mut Reader<'_>| Ok((head.byte()?, head.short()?, AorHash(head.long()?)));
        let (_, len, aor) = read(&mut head).map_err(|what| BadEntry { at, what })?;
        let end = at + HEAD_BYTES + usize::from(len);
        let entry = bytes.get(at..end).ok_or(BadEntry { at, what: "is cut off" })?;
        part(aor.leaf(), entry);
        at = end;
    }
    Ok(())
}

/// The entries that `bytes` is made of, in their order; nothing follows a bad one.
pub(crate) fn entries(bytes: &[u8]) -> impl Iterator<Item = Result<Entry<'_>, BadEntry>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        Some(match read(rest) {
            Ok((entry, len)) => {
                at += len;
                Ok(entry)
            }
            Err(what) => {
                let bad = BadEntry { at, what };
                at = bytes.len();
                Err(bad)
            }
        })
    })
}

/// The entry that `bytes` begins with, and its length.
fn read(bytes: &[u8]) -> Result<(Entry<'_>, usize), &'static str> {
    let mut head = Reader(bytes);
    let (kind, len, aor) = (head.byte()?, head.short()?, AorHash(head.long()?));
    let mut content = Reader(head.take(usize::from(len))?);
    let change = match kind {
        BOUND => bound(&mut content)?,
        REFRESHED | REFRESHED_ANEW => {
            let is_anew = kind == REFRESHED_ANEW;
            let (contact_id, before, stamp) = (content.long()?, content.stamp()?, content.stamp()?);
            let refresh = Refresh {
                contact_id,
                expires_at_s: content.word()?,
                updated_at_s: content.word()?,
                cseq: content.word()?,
                branch_hash: content.word()?,
                request_print: if is_anew { content.long()? } else { 0 },
                stamp,
            };
            Change::Refreshed { before, refresh, is_anew }
        }
        REMOVED => {
            let (contact_id, stamp) = (content.long()?, content.stamp()?);
            let (cseq, branch_hash, until_s) = (content.word()?, content.word()?, content.word()?);
            Change::Removed { contact_id, removal: Removal { cseq, branch_hash, until_s, stamp } }
        }
        GONE => Change::Gone { contact_id: content.long()?, stamp: content.stamp()? },
        POSITION => {
            let (history, sequence, node) = (content.long()?, content.long()?, content.short()?);
            Change::Taken(Position { node, shard: content.byte()?, history, sequence })
        }
        _ => return Err("is of a kind that this version does not know"),
    };
    if !content.0.is_empty() {
        return Err("is longer than its kind");
    }
    Ok((Entry { aor, change }, HEAD_BYTES + usize::from(len)))
}

fn bound<'a>(content: &mut Reader<'a>) -> Result<Change<'a>, &'static str> {
    let aor_len = content.short()?;
    let aor = content.take(usize::from(aor_len))?;
    let mut local = Reader(content.take(LOCAL_BYTES)?);
    let (family, octets, port) = (local.byte()?, local.take(16)?, local.short()?);
    let ip = Ipv6Addr::from(<[u8; 16]>::try_from(octets).map_err(|_| "has a cut address")?);
    let ip = match family {
        4 => IpAddr::V6(ip).to_canonical(),
        6 => IpAddr::V6(ip),
        _ => return Err("has a local address of no known family"),
    };
    let fixed = content.take(FIXED_BYTES)?;
    let rest = content.take(content.0.len())?;
    let binding = Binding::from_packed(fixed, rest).ok_or("is a binding whose lengths do not add up")?;
    Ok(Change::Bound { aor, local: SocketAddr::new(ip, port), binding })
}

/// Takes numbers off the front of bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or("is cut off")?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        self.take(N)?.try_into().map_err(|_| "is cut off")
    }

    fn byte(&mut self) -> Result<u8, &'static str> {
        self.array().map(u8::from_le_bytes)
    }

    fn short(&mut self) -> Result<u16, &'static str> {
        self.array().map(u16::from_le_bytes)
    }

    fn word(&mut self) -> Result<u32, &'static str> {
        self.array().map(u32::from_le_bytes)
    }

    fn long(&mut self) -> Result<u64, &'static str> {
        self.array().map(u64::from_le_bytes)
    }

    fn stamp(&mut self) -> Result<Stamp, &'static str> {
        self.long().map(Stamp::from_bits)
    }
}
