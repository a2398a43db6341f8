//! The shard's end of hot backup: nodes that hold the same bindings, so that any of them can take over.
//!
//! # Contract
//! Out go the entries of a turn that are the node's own ([`Shard::own_journal`]), for the backups; in come theirs, by
//! [`Shard::merge`], in any order. What is merged is written down for the log of this node as well, and has to be merged
//! before the turn does anything else, so that the two can be told apart ([`Shard::mark_foreign`]). Two nodes find out
//! where they differ by the digests of their leaves, then by lists of what each holds of a leaf; what one of them lacks is
//! written whole by the other and merged like anything else. Who sends what when is decided by
//! [`Replicator`](session::Replicator).
//!
//! All nodes that back each other up need the same secret: hashes, contact ids and fingerprints come from it.

pub mod end;
pub mod frame;
pub mod session;

pub use crate::location::journal::Position;
pub use crate::location::{Held, Stamp};

use crate::keys;
use crate::location::AorKey;
use crate::location::journal::{self, BadEntry, Journal};
use crate::shard::Shard;
use crate::time::Now;
use std::ops::Range;

/// Entries for a backup, made apart from the node's own journal.
#[derive(Debug)]
pub struct Copy(Journal);

impl Default for Copy {
    fn default() -> Self {
        Self::new()
    }
}

impl Copy {
    /// Without an entry.
    pub fn new() -> Self {
        Self(Journal::apart())
    }

    /// The entries.
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// Forgets the entries, and keeps their room for others.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl Shard {
    /// From now on other nodes hold the same bindings: removals are remembered for them, and digests kept. To be called
    /// while there are such nodes, connected or not.
    pub fn keep_backups(&mut self) {
        let core = &mut self.core;
        core.location.keep_backups(core.settings.registrar.max_expires_s, &mut core.wheel);
    }

    /// There are no such nodes any more.
    pub fn forget_backups(&mut self) {
        self.core.location.forget_backups();
    }

    /// Takes in what another node has written down. Entries of other shards are passed over.
    pub fn merge(&mut self, journal: &[u8], now: Now) -> Result<(), BadEntry> {
        let core = &mut self.core;
        core.location.stamps.tick(now);
        let room = (core.settings.registrar.bindings_per_shard_max as usize).saturating_mul(2);
        for entry in journal::entries(journal) {
            let entry = entry?;
            if core.owner_of(entry.aor) == core.place.index {
                core.location.merge(&entry, room, &mut core.wheel, &mut core.counters);
            }
        }
        Ok(())
    }

    /// How many refreshes were merged whose binding is another one here, or none.
    pub(crate) fn replica_gaps(&self) -> u64 {
        self.core.counters.replica_gaps
    }

    /// All that another node has written down up to here was merged.
    pub fn taken(&mut self, position: Position) {
        self.core.location.taken(position);
        self.core.location.journal.taken(&position);
    }

    /// How far the journals of other nodes were taken, those of an earlier life of this node included.
    pub fn positions(&self) -> &[Position] {
        &self.core.location.positions
    }

    /// What has been written down in this turn so far came from other nodes.
    pub fn mark_foreign(&mut self) {
        self.core.location.journal.mark_foreign();
    }

    /// What has been written down since [`Shard::mark_foreign`].
    pub fn own_journal(&self) -> &[u8] {
        self.core.location.journal.own_bytes()
    }

    /// The latest stamp that was given here or seen.
    pub fn last_stamp(&self) -> Stamp {
        self.core.location.stamps.last()
    }

    /// All backups have what was written here up to then, so that removals before need not be remembered for them.
    pub fn backups_have(&mut self, stamp: Stamp) {
        self.core.location.backups_have(stamp);
    }

    /// Whether it is known who is registered here. Where it is not, since a backup has not told all yet, an AoR that is not
    /// found is answered 480 with Retry-After, and not 404.
    pub fn set_whole(&mut self, is_whole: bool) {
        self.core.is_whole = is_whole;
    }

    /// The leaves of this shard.
    pub fn leaves(&self) -> Range<u16> {
        self.core.location.leaves()
    }

    /// The digests of the leaves of this shard, in their order. Equal digests mean equal bindings; what was removed is in
    /// none.
    pub fn digests(&self) -> impl ExactSizeIterator<Item = u64> {
        self.core.location.digests()
    }

    /// What is held of a leaf, in no order.
    pub fn list(&self, leaf: u16) -> impl Iterator<Item = Held> {
        self.core.location.list(leaf)
    }

    /// Writes whole what another node, which holds `theirs` of a leaf, lacks or has older; gives how many bindings.
    pub fn write_newer(&self, leaf: u16, theirs: &mut [Held], copy: &mut Copy) -> usize {
        theirs.sort_unstable_by_key(|held| held.contact_id);
        self.core.location.write_newer(leaf, theirs, &mut copy.0)
    }
}

impl Shard {
    /// Takes over what is bound at `other`, a machine with another secret: the bindings of this shard get the ids that they
    /// have with this one's. What is only remembered there is not taken over. To be called before anything is received.
    pub fn adopt(&mut self, other: &Self, now: Now) {
        let core = &mut self.core;
        core.location.stamps.tick(now);
        for (aor, local, binding) in other.core.location.held(now.unix_s()) {
            let hash = core.keys.aor(aor);
            if core.owner_of(hash) == core.place.index {
                let rules = core.settings.policy.iter();
                let parameters = rules.filter_map(|rule| rule.then.matching.as_ref()?.parameter());
                let contact_id = core.keys.contact(hash, &binding.identity(parameters), binding.reg_id());
                core.location.adopt(AorKey { hash, aor }, &binding, local, contact_id, &mut core.wheel);
            }
        }
    }
}

/// Gives each entry of a journal to `part` with the shard that owns its AoR, of `count`. What entries say is not looked at.
pub fn part<'a>(journal: &'a [u8], count: u8, mut part: impl FnMut(u8, &'a [u8])) -> Result<(), BadEntry> {
    journal::part(journal, |leaf, entry| part(keys::shard_of(leaf, count), entry))
}
