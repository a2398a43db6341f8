//! What a shard does for its backups, order by order.
//!
//! # Contract
//! In: [`Order`]s of a [`Replicator`](super::session::Replicator), at the beginning of a turn, and at its end the entries
//! that the turn has written down. Out: [`Report`]s, to be handed to the same replicator in the order in which they were
//! made. A [`ReplicaEnd`] belongs to one shard and counts its parts; whoever cannot hand a part over says so by
//! [`Report::Lost`].
//!
//! An order is bounded by what it carries, or by what is in one leaf.

use super::{Copy, Held, Position, Stamp, part};
use crate::shard::Shard;
use crate::time::Now;

/// Bytes of entries in one report, unless a single one is longer.
const PIECE_BYTES: usize = 128 << 10;

/// Bytes of whole bindings up to which the room for those of the next leaf is kept.
const COPY_BYTES_KEPT: usize = 1 << 20;

/// What a shard is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Other nodes back this one up from now on, or none does.
    KeepBackups(bool),
    /// To tell how far other nodes' journals were taken.
    TellPositions,
    /// To merge what another node has written down.
    Merge {
        /// Names the order in its report.
        ticket: u64,
        /// What is complete with it.
        position: Option<Position>,
        /// The entries.
        journal: Vec<u8>,
    },
    /// To tell the digests of its leaves.
    Digests {
        /// Names the order in its report.
        ticket: u64,
    },
    /// To tell what it holds of a leaf.
    List {
        /// Names the order in its report.
        ticket: u64,
        /// Which leaf.
        leaf: u16,
    },
    /// To write whole what another node lacks of a leaf.
    Newer {
        /// Names the order in its report.
        ticket: u64,
        /// Which leaf.
        leaf: u16,
        /// What the other node holds of it.
        held: Vec<Held>,
    },
    /// All backups have what was written here up to then.
    BackupsHave(Stamp),
    /// Whether it is known who is registered here.
    Whole(bool),
}

/// What a shard has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// How far other nodes' journals were taken.
    Positions(Vec<Position>),
    /// A turn has written something down.
    Part {
        /// Its number; each is one higher than the one before.
        sequence: u64,
        /// The latest stamp in it.
        stamp: Stamp,
        /// The entries.
        journal: Box<[u8]>,
    },
    /// Parts up to this one could not be handed over.
    Lost {
        /// The last one.
        sequence: u64,
        /// The latest stamp by then.
        stamp: Stamp,
    },
    /// Entries were merged, and written down here.
    Merged {
        /// That of the order.
        ticket: u64,
        /// Whether they were entries.
        is_good: bool,
        /// Refreshes among them whose binding is another one here, or none.
        gaps: u64,
        /// The entries, for their room to be used again by who has made it.
        spent: Vec<u8>,
    },
    /// The digests of its leaves, in their order.
    Digests {
        /// That of the order.
        ticket: u64,
        /// The last part that is in them.
        sequence: u64,
        /// The latest stamp that is in them.
        stamp: Stamp,
        /// One for each leaf.
        digests: Vec<u64>,
    },
    /// What is held of a leaf.
    List {
        /// That of the order.
        ticket: u64,
        /// Which leaf.
        leaf: u16,
        /// What is held.
        held: Vec<Held>,
    },
    /// Whole bindings of a leaf.
    Newer {
        /// That of the order.
        ticket: u64,
        /// Which leaf.
        leaf: u16,
        /// The entries.
        journal: Box<[u8]>,
        /// Nothing more of the leaf follows; that many bindings were written in all.
        done: Option<u32>,
    },
}

/// One shard's end; see the module's documentation.
#[derive(Debug, Default)]
pub struct ReplicaEnd {
    has_backups: bool,
    sequence: u64,
    /// The room in which whole bindings are written.
    copy: Copy,
}

impl ReplicaEnd {
    /// Of a shard that has written nothing down yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of the last part.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether parts are wanted.
    pub fn has_backups(&self) -> bool {
        self.has_backups
    }

    /// Carries out an order; to be called before the turn does anything else.
    pub fn obey(&mut self, order: Order, machine: &mut Shard, now: Now, mut report: impl FnMut(Report)) {
        match order {
            Order::KeepBackups(true) => {
                self.has_backups = true;
                machine.keep_backups();
            }
            Order::KeepBackups(false) => {
                self.has_backups = false;
                machine.forget_backups();
            }
            Order::TellPositions => report(Report::Positions(machine.positions().to_vec())),
            Order::Merge { ticket, position, journal } => {
                let before = machine.replica_gaps();
                let is_good = machine.merge(&journal, now).is_ok();
                let gaps = machine.replica_gaps() - before;
                if let Some(position) = position.filter(|_| is_good) {
                    machine.taken(position);
                }
                report(Report::Merged { ticket, is_good, gaps, spent: journal });
            }
            Order::Digests { ticket } => {
                let digests = machine.digests().collect();
                report(Report::Digests { ticket, sequence: self.sequence, stamp: machine.last_stamp(), digests });
            }
            Order::List { ticket, leaf } => {
                report(Report::List { ticket, leaf, held: machine.list(leaf).collect() });
            }
            Order::Newer { ticket, leaf, mut held } => {
                let count = machine.write_newer(leaf, &mut held, &mut self.copy) as u32;
                tell_newer(ticket, leaf, count, self.copy.bytes(), report);
                if self.copy.bytes().len() > COPY_BYTES_KEPT {
                    self.copy = Copy::new();
                }
                self.copy.clear();
            }
            Order::BackupsHave(stamp) => machine.backups_have(stamp),
            Order::Whole(is_whole) => machine.set_whole(is_whole),
        }
    }

    /// Reports what this turn has written down of its own; to be called at its end.
    pub fn tell_parts(&mut self, machine: &Shard, mut report: impl FnMut(Report)) {
        let journal = machine.own_journal();
        if journal.is_empty() || !self.has_backups {
            return;
        }
        let stamp = machine.last_stamp();
        for piece in pieces(journal) {
            self.sequence += 1;
            report(Report::Part { sequence: self.sequence, stamp, journal: piece.into() });
        }
    }
}

/// A journal in pieces of [`PIECE_BYTES`], as far as entries allow; at least one.
fn pieces(journal: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut cuts = vec![0];
    if journal.len() > PIECE_BYTES {
        let mut at = 0;
        let cut = part(journal, 1, |_, entry| {
            let begun = cuts[cuts.len() - 1];
            if at > begun && at + entry.len() - begun > PIECE_BYTES {
                cuts.push(at);
            }
            at += entry.len();
        });
        debug_assert!(cut.is_ok(), "it was written a moment ago");
    }
    cuts.push(journal.len());
    (1..cuts.len()).map(move |index| &journal[cuts[index - 1]..cuts[index]])
}

/// Reports whole bindings in pieces.
fn tell_newer(ticket: u64, leaf: u16, count: u32, journal: &[u8], mut report: impl FnMut(Report)) {
    let mut pieces = pieces(journal).peekable();
    while let Some(piece) = pieces.next() {
        let done = pieces.peek().is_none().then_some(count);
        report(Report::Newer { ticket, leaf, journal: piece.into(), done });
    }
}
