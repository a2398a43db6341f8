//! Bindings that several nodes hold alike: what comes from the others, and how two nodes find out where they differ.
//!
//! # Contract
//! In go the journals of other nodes ([`Location::merge`]), in any order and any number of times. For each binding the
//! write with the latest stamp stays, on every node, so that all that were told the same hold the same; a removal is a write
//! like any other, and is remembered until all backups are known to have it, or until nothing older can still be alive.
//! Out come, for the leaves of the hash space, digests, lists of stamps, and whole bindings that another node lacks.
//!
//! A refresh names the stamp of the binding that it was made of, since it says nothing else of it: where that is not what
//! is held here it is passed over and counted, and the digests will differ until the whole binding has come.
//!
//! A removal of what is not held here is remembered as well, since another node may hold it, perhaps by another text of the
//! same Contact: of one binding, or of all that the AoR had by then. It is told to every node that lacks it, and removes there
//! what is meant and older.
//!
//! Without [`Location::keep_backups`] there is none of it.
//!
//! Bounds: twice the bindings that a REGISTER may make, so that limits which are set a little apart do no harm; of an AoR
//! the bindings with the latest stamps, [`limits::AOR_BINDINGS_COUNT_MAX`] of them, and beside them the latest removals,
//! [`limits::AOR_REMOVALS_COUNT_MAX`].

use super::journal::{Change, Entry, Position};
use super::op::Bind;
use super::op::Removal;
use super::record::{Binding, Record};
use super::stamp::Stamp;
use super::table::{AorKey, Location, RecordId};
use crate::counters::Counters;
use crate::limits;
use crate::wheel::Wheel;
use std::net::SocketAddr;
use std::ops::Range;

/// Seconds after which it is asked again whether a removal must still be remembered.
const ASK_AGAIN_S: u32 = 10;
/// Set in the stamp of a list for a binding that was removed.
const REMOVED: u64 = 1 << 63;

/// What is known of the nodes that hold the same bindings.
#[derive(Debug)]
pub(crate) struct Backups {
    /// The longest that a binding may live.
    expires_s_max: u32,
    /// All backups have what was written here up to then.
    has_all_to: Stamp,
}

/// What one node holds of one binding, for another node to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which binding.
    pub contact_id: u64,
    /// When it was written.
    pub stamp: Stamp,
    /// Whether it is only remembered.
    pub is_removed: bool,
}

impl Held {
    /// Bytes of each in a message between nodes.
    pub const BYTES: usize = 16;

    /// As it is sent.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let stamp = self.stamp.bits() | if self.is_removed { REMOVED } else { 0 };
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.contact_id.to_le_bytes());
        bytes[8..].copy_from_slice(&stamp.to_le_bytes());
        bytes
    }

    /// What [`Held::to_bytes`] gave.
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 of 16 bytes"));
        Self { contact_id: number(0), stamp: Stamp::from_bits(number(8)), is_removed: number(8) & REMOVED != 0 }
    }
}

/// What a binding adds to the digest of its leaf.
#[inline]
pub(super) fn print(contact_id: u64, stamp: Stamp) -> u64 {
    // The product of two odd-salted numbers, folded: each bit of either moves half of the result.
    let product = u128::from(contact_id ^ 0x2d35_8dcc_aa6c_78a5) * u128::from(stamp.bits() ^ 0x8bb8_4b93_962e_acc9);
    (product >> 64) as u64 ^ product as u64
}

/// Whether a state of a binding, its stamp and whether it is only remembered, is followed by another one. What has ended
/// by itself keeps the stamp that it had.
fn is_overtaken(before: (Stamp, bool), after: (Stamp, bool)) -> bool {
    before < after
}

/// Whether a binding was removed, by what the record remembers of removals of what was not known here.
fn is_forestalled(record: &Record, binding: &Binding<'_>) -> bool {
    record.bindings().any(|removed| removed.forestalls(binding))
}

/// What is remembered of a binding that is held as one that was removed.
fn removal_by(bind: &Bind<'_>) -> Removal {
    Removal { cseq: bind.cseq, branch_hash: bind.branch_hash, until_s: bind.expires_at_s, stamp: bind.stamp }
}

impl Location {
    /// From now on other nodes hold the same bindings; none of them lives longer than `expires_s_max`.
    pub(crate) fn keep_backups(&mut self, expires_s_max: u32, wheel: &mut Wheel) {
        let backups = Backups { expires_s_max, has_all_to: Stamp::ZERO };
        // Where there have been backups all along, digests are up to date.
        if self.backups.replace(backups).is_none() {
            self.digest_anew(wheel);
        }
    }

    /// There are no such nodes any more.
    pub(crate) fn forget_backups(&mut self) {
        self.backups = None;
    }

    /// Whether other nodes hold the same bindings.
    pub(crate) fn has_backups(&self) -> bool {
        self.backups.is_some()
    }

    fn digest_anew(&mut self, wheel: &mut Wheel) {
        self.leaves.iter_mut().for_each(|leaf| leaf.digest = 0);
        for id in 0..self.records.end() {
            let Some(slot) = self.records.get(id) else { continue };
            let live = slot.record.bindings().filter(|b| !b.flags().removed());
            let digest = live.fold(0, |sum, b| sum ^ print(b.contact_id(), b.stamp()));
            let (hash, is_all_live) = (slot.record.hash(), slot.record.bindings().all(|b| !b.flags().removed()));
            self.leaf_mut(hash).digest ^= digest;
            if !is_all_live {
                self.rearm(RecordId(id), wheel);
            }
        }
    }

    /// All backups have what was written here up to then.
    pub(crate) fn backups_have(&mut self, stamp: Stamp) {
        if let Some(backups) = &mut self.backups {
            backups.has_all_to = stamp;
        }
    }

    /// Takes note of how far another node's journal was taken.
    pub(crate) fn taken(&mut self, position: Position) {
        let is_same = |known: &&mut Position| (known.node, known.shard) == (position.node, position.shard);
        match self.positions.iter_mut().find(is_same) {
            Some(known) => *known = position,
            None => self.positions.push(position),
        }
    }

    /// Whether a backup may not have what was written with this stamp.
    pub(super) fn backups_may_lack(&self, stamp: Stamp) -> bool {
        self.backups.as_ref().is_some_and(|backups| stamp > backups.has_all_to)
    }

    /// Until when something that is removed now has to be remembered, unless all backups come to have it.
    pub(super) fn remembered_until_s(&self) -> u32 {
        let now_s = self.stamps.now_s();
        self.backups.as_ref().map_or(0, |backups| now_s.saturating_add(backups.expires_s_max))
    }

    /// When a binding is over, or the memory of it.
    pub(super) fn ends_at_s(&self, binding: &Binding<'_>) -> u32 {
        let until_s = binding.expires_at_s();
        if !binding.flags().removed() {
            return if self.is_active { until_s } else { until_s.saturating_add(limits::PASSIVE_GRACE_S) };
        }
        match &self.backups {
            Some(backups) if binding.stamp() <= backups.has_all_to => {
                until_s.min(binding.stamp().unix_s() + limits::REMOVED_REMEMBERED_S)
            }
            _ => until_s,
        }
    }

    /// When that has to be looked at.
    pub(super) fn look_at_s(&self, binding: &Binding<'_>) -> u32 {
        let (until_s, now_s) = (binding.expires_at_s(), self.stamps.now_s());
        if !binding.flags().removed() {
            let is_kept = !self.is_active && until_s <= now_s;
            return if is_kept { self.ends_at_s(binding).min(now_s + limits::PASSIVE_LOOK_S) } else { until_s };
        }
        if self.backups.is_none() {
            return until_s;
        }
        let usual = binding.stamp().unix_s() + limits::REMOVED_REMEMBERED_S;
        until_s.min(usual.max(now_s + ASK_AGAIN_S))
    }

    /// Remembers the removal of what is not held here, where another node may hold it.
    pub(super) fn forestall(
        &mut self,
        key: AorKey<'_>,
        found: Option<RecordId>,
        bind: &Bind<'_>,
        wheel: &mut Wheel,
        counters: &mut Counters,
    ) {
        if self.backups.is_none() {
            return;
        }
        let until_s = bind.expires_at_s.max(self.remembered_until_s());
        let bind = Bind { expires_at_s: until_s, stamp: self.stamps.next(), ..*bind };
        // What is over may still be held.
        if let Some((id, removal)) = self.removal_of_held(found, &bind) {
            self.mark_removed(id, bind.contact_id, &removal, wheel, counters);
        } else {
            self.hold_removed(key, found, &bind, wheel, counters);
        }
    }

    /// The same as [`removal_by`] of one that is held in the record already, which is given with it. It keeps its Call-ID: the
    /// CSeq of another one says nothing beside that.
    fn removal_of_held(&self, found: Option<RecordId>, bind: &Bind<'_>) -> Option<(RecordId, Removal)> {
        let id = found?;
        let held = self.binding(id, bind.contact_id)?;
        let removal = removal_by(bind);
        if held.call_id() == bind.call_id {
            return Some((id, removal));
        }
        Some((id, Removal { cseq: held.cseq(), branch_hash: held.branch_hash(), ..removal }))
    }

    /// Holds a binding as one that was removed, which is not held yet.
    fn hold_removed(
        &mut self,
        key: AorKey<'_>,
        found: Option<RecordId>,
        bind: &Bind<'_>,
        wheel: &mut Wheel,
        counters: &mut Counters,
    ) {
        let mut packed = Vec::new();
        Record::begin(&mut packed, key.hash, key.aor);
        if let Some(id) = found {
            for binding in self.record(id).bindings() {
                Record::push_packed(&mut packed, &binding);
            }
        }
        Record::push(&mut packed, bind);
        let removal = removal_by(bind);
        let mut record = Record::finish(&packed);
        record.mark_removed(bind.contact_id, &removal);
        record.mark_forestalling(bind.contact_id);
        self.bindings += 1;
        let id = match found {
            Some(id) => {
                *self.record_mut(id) = record;
                id
            }
            None => self.insert(key.hash, record),
        };
        // For a log both: what comes back from it whole comes back as a binding.
        self.write_bound(id, bind.contact_id);
        self.journal.removed(key.hash, bind.contact_id, &removal);
        self.give_up_removals(id, wheel, counters);
        self.rearm(id, wheel);
    }

    /// Takes in what another node has written whole.
    fn merge_whole(
        &mut self,
        (key, found): (AorKey<'_>, Option<RecordId>),
        (binding, local): (&Binding<'_>, SocketAddr),
        room: usize,
        wheel: &mut Wheel,
        counters: &mut Counters,
    ) {
        self.stamps.see(binding.stamp());
        let before = found.and_then(|id| self.binding(id, binding.contact_id()));
        let before = before.map(|b| (b.stamp(), b.flags().removed()));
        if before.is_some_and(|before| !is_overtaken(before, (binding.stamp(), binding.flags().removed()))) {
            return;
        }
        if binding.flags().removed() {
            let bind = binding.restored(self.locals.number(local));
            self.merge_removed(key, &bind, room, wheel, counters);
            return;
        }
        // Whoever has sent it hears of that, or has already.
        if found.is_some_and(|id| is_forestalled(self.record(id), binding)) {
            return;
        }
        if self.bindings() >= room {
            counters.replica_refused += 1;
            return;
        }
        let now_s = self.stamps.now_s();
        let bind = Bind { updated_at_s: now_s, ..binding.restored(self.locals.number(local)) };
        self.merge_bind(key, found, &bind, wheel);
        counters.replica_bindings += 1;
    }

    /// Takes in that a binding was removed which another node has written whole: it is known here, or held for whoever knows it.
    fn merge_removed(
        &mut self,
        key: AorKey<'_>,
        bind: &Bind<'_>,
        room: usize,
        wheel: &mut Wheel,
        counters: &mut Counters,
    ) {
        let removal = removal_by(bind);
        let found = self.find(key).map(|(id, _)| id);
        if let Some((id, removal)) = self.removal_of_held(found, bind) {
            self.mark_removed(id, bind.contact_id, &removal, wheel, counters);
            counters.replica_removals += 1;
        } else if self.backups.is_some() && self.bindings() < room {
            self.hold_removed(key, found, bind, wheel, counters);
        } else {
            counters.replica_refused += u64::from(self.backups.is_some());
        }
        let Some((id, _)) = self.find(key) else { return };
        loop {
            let record = self.record(id);
            let meant = record.bindings().filter(|b| !b.flags().removed()).find(|b| is_forestalled(record, b));
            let Some((contact_id, cseq, branch_hash)) = meant.map(|b| (b.contact_id(), b.cseq(), b.branch_hash()))
            else {
                return;
            };
            self.mark_removed(id, contact_id, &Removal { cseq, branch_hash, ..removal }, wheel, counters);
            counters.replica_removals += 1;
        }
    }

    /// Takes in what another node has written down.
    pub(crate) fn merge(&mut self, entry: &Entry<'_>, room: usize, wheel: &mut Wheel, counters: &mut Counters) {
        let found = self.find_by_hash(entry.aor).map(|(id, _)| id);
        let held = |location: &Self, contact_id| {
            let binding = found.and_then(|id| location.binding(id, contact_id));
            binding.map(|b| (b.stamp(), b.flags().removed()))
        };
        match (entry.change, found) {
            (Change::Taken(position), _) => {
                self.taken(position);
                self.journal.taken(&position);
            }
            (Change::Bound { aor, local, binding }, found) => {
                let key = AorKey { hash: entry.aor, aor };
                self.merge_whole((key, found), (&binding, local), room, wheel, counters);
            }
            (Change::Refreshed { before, mut refresh, is_anew }, Some(id)) => {
                self.stamps.see(refresh.stamp);
                let Some(binding) = self.binding(id, refresh.contact_id) else {
                    counters.replica_gaps += 1;
                    return;
                };
                if binding.stamp() >= refresh.stamp {
                    return;
                }
                if binding.stamp() != before || binding.flags().removed() {
                    counters.replica_gaps += 1;
                    return;
                }
                if !is_anew {
                    refresh.request_print = binding.request_print();
                }
                refresh.updated_at_s = self.stamps.now_s();
                self.refresh_stamped(id, &refresh);
                counters.replica_refreshes += 1;
            }
            (Change::Removed { contact_id, removal }, Some(id)) => {
                self.stamps.see(removal.stamp);
                if held(self, contact_id).is_some_and(|held| is_overtaken(held, (removal.stamp, true))) {
                    self.mark_removed(id, contact_id, &removal, wheel, counters);
                    counters.replica_removals += 1;
                }
            }
            (Change::Gone { contact_id, stamp }, Some(id)) => {
                self.stamps.see(stamp);
                if held(self, contact_id).is_some_and(|(held, is_removed)| held <= stamp && !is_removed) {
                    self.journal.gone(entry.aor, contact_id, stamp);
                    self.remove(id, contact_id, wheel);
                    counters.replica_removals += 1;
                }
            }
            (Change::Refreshed { .. }, None) => counters.replica_gaps += 1,
            (Change::Removed { .. } | Change::Gone { .. }, None) => {}
        }
    }

    /// Binds what another node has bound.
    fn merge_bind(&mut self, key: AorKey<'_>, found: Option<RecordId>, bind: &Bind<'_>, wheel: &mut Wheel) {
        // What happens at another node is counted there.
        let counters = &mut Counters::default();
        if let Some(id) = found {
            let others =
                self.record(id).bindings().filter(|b| !b.flags().removed() && b.contact_id() != bind.contact_id);
            let (count, first) = others.fold((0, None::<(Stamp, u64)>), |(count, first), b| {
                let this = (b.stamp(), b.contact_id());
                (count + 1, Some(first.map_or(this, |first| first.min(this))))
            });
            if let Some((stamp, contact_id)) = first.filter(|_| count >= limits::AOR_BINDINGS_COUNT_MAX) {
                if (stamp, contact_id) > (bind.stamp, bind.contact_id) {
                    return;
                }
                self.remove(id, contact_id, wheel);
            }
        }
        let id = self.bind(key, found, bind, wheel, counters);
        if bind.transport.is_reliable() {
            self.record_mut(id).mark_flow_lost(bind.contact_id);
        }
    }

    /// Binds what a machine with another secret holds.
    pub(crate) fn adopt(
        &mut self,
        key: AorKey<'_>,
        binding: &Binding<'_>,
        local: SocketAddr,
        contact_id: u64,
        wheel: &mut Wheel,
    ) {
        self.stamps.see(binding.stamp());
        let found = self.find(key).map(|(id, _)| id);
        let bind = Bind { contact_id, ..binding.restored(self.locals.number(local)) };
        self.merge_bind(key, found, &bind, wheel);
    }

    /// The leaves of this shard.
    pub(crate) fn leaves(&self) -> Range<u16> {
        self.first_leaf..self.first_leaf + self.leaves.len() as u16
    }

    /// The digests of the leaves of this shard, in their order.
    pub(crate) fn digests(&self) -> impl ExactSizeIterator<Item = u64> {
        self.leaves.iter().map(|leaf| leaf.digest)
    }

    fn records_of(&self, leaf: u16) -> impl Iterator<Item = &Record> {
        let leaf = self.leaves.get(usize::from(leaf.wrapping_sub(self.first_leaf)));
        let entries = leaf.into_iter().flat_map(|leaf| leaf.index.iter());
        entries.filter_map(|entry| self.records.get(entry.id)).map(|slot| &slot.record)
    }

    /// What is held of a leaf.
    pub(crate) fn list(&self, leaf: u16) -> impl Iterator<Item = Held> {
        self.records_of(leaf).flat_map(Record::bindings).map(|b| Held {
            contact_id: b.contact_id(),
            stamp: b.stamp(),
            is_removed: b.flags().removed(),
        })
    }

    /// Writes whole what another node, which holds `theirs` of a leaf, lacks or has older; gives how many bindings. A
    /// removal is written only over what is there, unless it was one of what was not known here. `theirs` is sorted by contact id.
    pub(crate) fn write_newer(&self, leaf: u16, theirs: &[Held], out: &mut super::journal::Journal) -> usize {
        let now_s = self.stamps.now_s();
        let mut count = 0;
        for record in self.records_of(leaf) {
            for binding in record.bindings() {
                let at = theirs.binary_search_by_key(&binding.contact_id(), |held| held.contact_id);
                let is_wanted = match at.map(|at| theirs[at]) {
                    Ok(held) => {
                        let theirs = (held.stamp, held.is_removed);
                        is_overtaken(theirs, (binding.stamp(), binding.flags().removed()))
                    }
                    Err(_) => binding.is_live(now_s) || binding.flags().forestalls(),
                };
                if !is_wanted {
                    continue;
                }
                count += 1;
                out.bound(record.hash(), record.aor(), &binding, self.locals.address(binding.local()));
            }
        }
        count
    }
}
