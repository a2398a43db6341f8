//! The table of records: find, apply, expire.

use super::journal::{Change, Entry, Journal, Position};
use super::local_addresses::LocalAddresses;
use super::op::{Bind, Cause, Op, Refresh, Removal, Unbind};
use super::record::{Binding, Record};
use super::replica::{self, Backups};
use super::stamp::{Stamp, Stamps};
use crate::counters::Counters;
use crate::directory::changes::Changes;
use crate::hop::FlowToken;
use crate::keys::{self, AorHash, NumberHasher};
use crate::nat::Intervals;
use crate::shard::Place;
use crate::slab::Slab;
use crate::time::Now;
use crate::view::BindingView;
use crate::wheel::{Due, TimerId, Wheel};
use hashbrown::{HashMap, HashTable};
use std::hash::BuildHasherDefault;
use std::net::SocketAddr;

/// The number of a record within its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordId(pub(crate) u32);

/// A canonical AoR and its hash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AorKey<'a> {
    pub(crate) hash: AorHash,
    pub(crate) aor: &'a [u8],
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) record: Record,
    timer: Option<TimerId>,
    /// When its phones are to be pinged, where they are.
    pub(super) ping_timer: Option<TimerId>,
    /// Whether they have a place in the budget of pings then.
    pub(super) has_ping_place: bool,
    /// The reconcile that was last shown the record's row; 0 for none.
    pub(super) seen: u8,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct IndexEntry {
    /// The half of the hash that the table itself is indexed by, so that growing it reads no record. The other half
    /// chose the leaf.
    hash: u32,
    pub(super) id: u32,
}

/// What is known of one leaf of the hash space.
#[derive(Debug, Default)]
pub(super) struct Leaf {
    pub(super) index: HashTable<IndexEntry>,
    /// Of the bindings that are not removed, where there are backups ([`replica::print`]).
    pub(super) digest: u64,
}

/// The bindings of one shard. See the module's documentation.
#[derive(Debug)]
pub(crate) struct Location {
    /// Those of this shard, in their order.
    pub(super) leaves: Box<[Leaf]>,
    pub(super) first_leaf: u16,
    pub(super) records: Slab<Slot>,
    /// Records that have bindings on a connection, by connection.
    flows: HashMap<u64, Vec<u32>, BuildHasherDefault<NumberHasher>>,
    pub(super) bindings: usize,
    pub(crate) stamps: Stamps,
    /// Other nodes that hold the same bindings.
    pub(super) backups: Option<Backups>,
    /// How far the journals of other nodes were taken, by node and shard.
    pub(crate) positions: Vec<Position>,
    /// Whether bindings end when their time is over, and not [`crate::limits::PASSIVE_GRACE_S`] later.
    pub(crate) is_active: bool,
    /// Of these, those that are more than remembered.
    contacts: usize,
    /// AoRs that have one of those.
    homes: usize,
    /// How often bindings are pinged.
    pub(crate) intervals: Intervals,
    /// The local addresses that bindings name by number.
    pub(crate) locals: LocalAddresses,
    /// What is written down for a log.
    pub(crate) journal: Journal,
    /// What is noted for the directory.
    pub(crate) changes: Changes,
    scratch: Vec<u8>,
}

impl Location {
    pub(crate) fn new(place: Place) -> Self {
        let leaves = keys::leaves_of(place.index.0, place.count);
        Self {
            first_leaf: leaves.start,
            leaves: leaves.map(|_| Leaf::default()).collect(),
            records: Slab::default(),
            flows: HashMap::default(),
            bindings: 0,
            stamps: Stamps::default(),
            backups: None,
            positions: Vec::new(),
            is_active: true,
            contacts: 0,
            homes: 0,
            intervals: Intervals::default(),
            locals: LocalAddresses::default(),
            journal: Journal::default(),
            changes: Changes::default(),
            scratch: Vec::new(),
        }
    }

    /// How many bindings there are, those that are only remembered included.
    pub(crate) fn bindings(&self) -> usize {
        self.bindings
    }

    /// How many bindings there are, without those that are only remembered.
    pub(crate) fn contacts(&self) -> usize {
        self.contacts
    }

    /// How many AoRs have a binding that is more than remembered.
    pub(crate) fn homes(&self) -> usize {
        self.homes
    }

    /// One more than the highest number of a record.
    pub(super) fn end(&self) -> u32 {
        self.records.end()
    }

    /// The record of an AoR.
    #[inline]
    pub(crate) fn find(&self, key: AorKey<'_>) -> Option<(RecordId, &Record)> {
        let hash = key.hash.0 as u32;
        let entry = self.leaf(key.hash)?.index.find(spread(hash), |e| {
            e.hash == hash && self.records.get(e.id).is_some_and(|slot| slot.record.aor() == key.aor)
        })?;
        Some((RecordId(entry.id), &self.records.get(entry.id)?.record))
    }

    /// The record of an AoR known by its hash alone, as in a temporary GRUU.
    #[inline]
    pub(crate) fn find_by_hash(&self, aor: AorHash) -> Option<(RecordId, &Record)> {
        let hash = aor.0 as u32;
        let entry = self.leaf(aor)?.index.find(spread(hash), |e| {
            e.hash == hash && self.records.get(e.id).is_some_and(|slot| slot.record.hash() == aor)
        })?;
        Some((RecordId(entry.id), &self.records.get(entry.id)?.record))
    }

    /// The leaf of a hash; `None` for one of another shard.
    #[inline]
    fn leaf(&self, hash: AorHash) -> Option<&Leaf> {
        self.leaves.get(usize::from(hash.leaf().wrapping_sub(self.first_leaf)))
    }

    /// The leaf of a record of this shard.
    pub(super) fn leaf_mut(&mut self, hash: AorHash) -> &mut Leaf {
        &mut self.leaves[usize::from(hash.leaf() - self.first_leaf)]
    }

    /// Reads the record of an AoR from memory, and nothing else.
    #[inline]
    pub(crate) fn touch(&self, aor: AorHash) -> u8 {
        self.find_by_hash(aor).map_or(0, |(_, record)| record.touch())
    }

    /// The one door: does `op` to the AoR of `key`. An op on a binding that is not there does nothing.
    pub(crate) fn apply(&mut self, key: AorKey<'_>, op: &Op<'_>, wheel: &mut Wheel, counters: &mut Counters) {
        match (op, self.find(key).map(|(id, _)| id)) {
            (Op::Refresh(refresh), Some(id)) => self.refresh(id, refresh),
            (Op::Bind(bind), found) => {
                let bind = Bind { stamp: self.stamps.next(), ..*bind };
                self.bind(key, found, &bind, wheel, counters);
            }
            (Op::Unbind(unbind), Some(id)) => self.unbind(id, unbind, wheel, counters),
            (Op::Forestall(bind), found) => self.forestall(key, found, bind, wheel, counters),
            (Op::LoseFlow { contact_id }, Some(id)) => {
                if self.record_mut(id).mark_flow_lost(*contact_id) {
                    counters.bindings_flow_lost += 1;
                }
            }
            (Op::Refresh(_) | Op::Unbind(_) | Op::LoseFlow { .. }, None) => {}
        }
    }

    /// [`Location::apply`] of a refresh, for who has found the AoR's record already.
    #[inline]
    pub(crate) fn refresh(&mut self, id: RecordId, refresh: &Refresh) {
        let refresh = Refresh { stamp: self.stamps.next(), ..*refresh };
        self.refresh_stamped(id, &refresh);
    }

    pub(super) fn refresh_stamped(&mut self, id: RecordId, refresh: &Refresh) {
        let is_watched = self.journal.is_kept() || self.backups.is_some();
        let before = is_watched.then(|| self.binding(id, refresh.contact_id)).flatten();
        let before = before.map(|b| (b.updated_at_s(), b.request_print(), b.stamp()));
        let done = self.record_mut(id).refresh(refresh);
        debug_assert!(done, "the registrar refreshes what it found");
        // The deadline stays; when it fires it finds the later time.
        let Some((updated_at_s, request_print, stamp)) = before else { return };
        let aor = self.record(id).hash();
        self.digest(aor, refresh.contact_id, stamp);
        self.digest(aor, refresh.contact_id, refresh.stamp);
        if self.journal.wants_whole(updated_at_s) {
            self.write_bound(id, refresh.contact_id);
        } else {
            self.journal.refreshed(aor, stamp, refresh, request_print != refresh.request_print);
        }
    }

    /// Makes a binding a part of its leaf's digest, or no part of it any more.
    #[inline]
    pub(super) fn digest(&mut self, aor: AorHash, contact_id: u64, stamp: Stamp) {
        if self.backups.is_some() {
            self.leaf_mut(aor).digest ^= replica::print(contact_id, stamp);
        }
    }

    /// Makes or replaces a binding; gives the record that has it.
    pub(super) fn bind(
        &mut self,
        key: AorKey<'_>,
        found: Option<RecordId>,
        bind: &Bind<'_>,
        wheel: &mut Wheel,
        counters: &mut Counters,
    ) -> RecordId {
        let mut packed = std::mem::take(&mut self.scratch);
        Record::begin(&mut packed, key.hash, key.aor);
        let mut replaced = None;
        let was_home = found.is_some_and(|id| self.record(id).is_home());
        if let Some(id) = found {
            for binding in self.record(id).bindings() {
                if binding.contact_id() == bind.contact_id {
                    replaced = Some((binding.flow(), binding.flags().removed(), binding.stamp()));
                } else {
                    Record::push_packed(&mut packed, &binding);
                }
            }
        }
        Record::push(&mut packed, bind);
        let record = Record::finish(&packed);
        self.scratch = packed;
        if replaced.is_none() {
            self.bindings += 1;
        }
        if let Some((_, false, stamp)) = replaced {
            self.digest(key.hash, bind.contact_id, stamp);
        } else {
            counters.bindings_created += 1;
            self.contacts += 1;
        }
        self.digest(key.hash, bind.contact_id, bind.stamp);
        let id = match found {
            Some(id) => {
                *self.record_mut(id) = record;
                id
            }
            None => self.insert(key.hash, record),
        };
        if !was_home {
            self.homes += 1;
            self.changes.note(key.hash, key.aor);
        }
        self.write_bound(id, bind.contact_id);
        if let Some((flow, ..)) = replaced {
            self.forget_flow(id, flow);
        }
        if bind.flow.is_some() {
            let ids = self.flows.entry(bind.flow.bits()).or_default();
            if !ids.contains(&id.0) {
                ids.push(id.0);
            }
        }
        self.rearm(id, wheel);
        self.await_ping(id, wheel);
        id
    }

    fn unbind(&mut self, id: RecordId, unbind: &Unbind, wheel: &mut Wheel, counters: &mut Counters) {
        let contact_id = unbind.contact_id;
        let Some(binding) = self.binding(id, contact_id) else { return };
        let (was_live, stamp) = (!binding.flags().removed(), binding.stamp());
        let (own_cseq, own_branch_hash) = (binding.cseq(), binding.branch_hash());
        let stamp_removed = || Removal { cseq: own_cseq, branch_hash: own_branch_hash, until_s: 0, stamp };
        let (count, remembered) = match unbind.cause {
            Cause::User { cseq, branch_hash, until_s } => {
                (&mut counters.bindings_removed, Some(Removal { cseq, branch_hash, until_s, stamp }))
            }
            Cause::Expired => (&mut counters.bindings_expired, None),
            // A backup that does not hear of it now must not bring it back later.
            Cause::Evicted => (&mut counters.bindings_evicted, self.backups.as_ref().map(|_| stamp_removed())),
            Cause::FlowLost => (&mut counters.bindings_flow_lost, self.backups.as_ref().map(|_| stamp_removed())),
            Cause::Unanswered => (&mut counters.bindings_unanswered, self.backups.as_ref().map(|_| stamp_removed())),
        };
        // What was only remembered is no binding that ends.
        *count += u64::from(was_live);
        if let Some(removal) = remembered {
            let until_s = removal.until_s.max(self.remembered_until_s());
            let removal = Removal { until_s, stamp: self.stamps.next(), ..removal };
            self.mark_removed(id, contact_id, &removal, wheel, counters);
            return;
        }
        // A backup may hold an older state of it that lives longer. The stamp stays: a refresh that is later wins.
        if was_live && self.backups_may_lack(stamp) {
            let removal = Removal { until_s: self.remembered_until_s(), ..stamp_removed() };
            self.mark_removed(id, contact_id, &removal, wheel, counters);
            return;
        }
        if unbind.cause != Cause::Expired || was_live && self.backups.is_some() {
            let aor = self.record(id).hash();
            self.journal.gone(aor, contact_id, stamp);
        }
        self.remove(id, contact_id, wheel);
    }

    /// Leaves of a binding what it is remembered for.
    pub(super) fn mark_removed(
        &mut self,
        id: RecordId,
        contact_id: u64,
        removal: &Removal,
        wheel: &mut Wheel,
        counters: &mut Counters,
    ) {
        let Some(binding) = self.binding(id, contact_id) else { return };
        let (was_live, stamp) = (!binding.flags().removed(), binding.stamp());
        let aor = self.record(id).hash();
        self.record_mut(id).mark_removed(contact_id, removal);
        if was_live {
            self.contacts -= 1;
            self.homes -= usize::from(!self.record(id).is_home());
            self.digest(aor, contact_id, stamp);
        } else {
            // Removed again: another node may not remember it, or have heard of the binding in between.
            self.record_mut(id).mark_forestalling(contact_id);
            self.write_bound(id, contact_id);
        }
        self.journal.removed(aor, contact_id, removal);
        self.note_if_gone(id);
        self.give_up_removals(id, wheel, counters);
        self.rearm(id, wheel);
    }

    pub(super) fn binding(&self, id: RecordId, contact_id: u64) -> Option<Binding<'_>> {
        self.record(id).binding(contact_id)
    }

    /// Writes a binding down whole.
    pub(super) fn write_bound(&mut self, id: RecordId, contact_id: u64) {
        if !self.journal.is_kept() {
            return;
        }
        let Self { records, journal, locals, .. } = self;
        let Some(record) = records.get(id.0).map(|slot| &slot.record) else { return };
        if let Some(binding) = record.bindings().find(|b| b.contact_id() == contact_id) {
            journal.bound(record.hash(), record.aor(), &binding, locals.address(binding.local()));
        }
    }

    /// Writes whole bindings down, from the record with that number on, until about `bytes` are in the journal; gives
    /// the number of the record to go on from.
    pub(crate) fn write_down_all(&mut self, from: u32, bytes: usize) -> Option<u32> {
        for id in from..self.records.end() {
            if self.journal.bytes().len() >= bytes {
                return Some(id);
            }
            let Some(slot) = self.records.get(id) else { continue };
            for binding in slot.record.bindings() {
                let local = self.locals.address(binding.local());
                self.journal.bound(slot.record.hash(), slot.record.aor(), &binding, local);
                if let Some(removal) = binding.removal() {
                    self.journal.removed(slot.record.hash(), binding.contact_id(), &removal);
                }
            }
        }
        None
    }

    /// All records, in the order of their numbers.
    fn records(&self) -> impl Iterator<Item = &Record> {
        (0..self.records.end()).filter_map(|id| self.get(RecordId(id)))
    }

    /// The bindings that can be called, in the order of their records.
    pub(crate) fn live(&self, now_s: u32) -> impl Iterator<Item = BindingView<'_>> {
        self.held(now_s).map(|(aor, local, binding)| BindingView::new(aor, &binding, local))
    }

    /// The same, each with its AoR and its local address.
    pub(crate) fn held(&self, now_s: u32) -> impl Iterator<Item = (&[u8], SocketAddr, Binding<'_>)> {
        self.records().flat_map(move |record| {
            let live = record.bindings().filter(move |binding| binding.is_live(now_s));
            live.map(|binding| (record.aor(), self.locals.address(binding.local()), binding))
        })
    }

    /// When the last binding ends, in seconds since the Unix epoch; 0 when there is none.
    pub(crate) fn last_expiry_s(&self) -> u32 {
        self.records().flat_map(Record::bindings).map(|b| b.expires_at_s()).max().unwrap_or(0)
    }

    /// Does again what an entry of a journal says; whether there was something to do. Of connections nothing is left.
    ///
    /// What is over by now comes back too, since a later entry may have refreshed it in time; the wheel ends the rest.
    pub(crate) fn restore(&mut self, entry: &Entry<'_>, wheel: &mut Wheel) -> bool {
        // What happened before was counted before.
        let counters = &mut Counters::default();
        let found = self.find_by_hash(entry.aor).map(|(id, _)| id);
        match (entry.change, found) {
            (Change::Taken(position), _) => {
                self.taken(position);
                true
            }
            (Change::Bound { aor, local, binding }, found) => {
                self.stamps.see(binding.stamp());
                let bind = binding.restored(self.locals.number(local));
                let id = self.bind(AorKey { hash: entry.aor, aor }, found, &bind, wheel, counters);
                if bind.transport.is_reliable() {
                    self.record_mut(id).mark_flow_lost(bind.contact_id);
                }
                if binding.flags().forestalls() {
                    self.record_mut(id).mark_forestalling(bind.contact_id);
                }
                true
            }
            (Change::Refreshed { mut refresh, is_anew, .. }, Some(id)) => {
                let Some(binding) = self.binding(id, refresh.contact_id) else { return false };
                if !is_anew {
                    refresh.request_print = binding.request_print();
                }
                self.stamps.see(refresh.stamp);
                self.refresh_stamped(id, &refresh);
                true
            }
            (Change::Removed { contact_id, removal }, Some(id)) => {
                self.stamps.see(removal.stamp);
                let is_there = self.binding(id, contact_id).is_some();
                self.mark_removed(id, contact_id, &removal, wheel, counters);
                is_there
            }
            (Change::Gone { contact_id, .. }, Some(id)) => self.remove(id, contact_id, wheel),
            (_, None) => false,
        }
    }

    pub(super) fn insert(&mut self, hash: AorHash, record: Record) -> RecordId {
        let id = self.records.insert(Slot { record, timer: None, ping_timer: None, has_ping_place: false, seen: 0 });
        let entry = IndexEntry { hash: hash.0 as u32, id };
        self.leaf_mut(hash).index.insert_unique(spread(entry.hash), entry, |e| spread(e.hash));
        RecordId(id)
    }

    /// Takes one binding out, and the record when it was the last; whether it could be called until then.
    pub(super) fn remove(&mut self, id: RecordId, contact_id: u64, wheel: &mut Wheel) -> bool {
        let mut packed = std::mem::take(&mut self.scratch);
        let record = self.record(id);
        let hash = record.hash();
        Record::begin(&mut packed, hash, record.aor());
        let (mut left, mut found) = (0, None);
        for binding in record.bindings() {
            if binding.contact_id() == contact_id {
                found = Some((binding.flow(), !binding.flags().removed(), binding.stamp()));
            } else {
                Record::push_packed(&mut packed, &binding);
                left += 1;
            }
        }
        if let Some((flow, was_live, stamp)) = found {
            self.bindings -= 1;
            if was_live {
                self.contacts -= 1;
                self.digest(hash, contact_id, stamp);
            }
            if left > 0 {
                *self.record_mut(id) = Record::finish(&packed);
                self.homes -= usize::from(was_live && !self.record(id).is_home());
                if was_live {
                    self.note_if_gone(id);
                }
            } else {
                self.homes -= usize::from(was_live);
                if was_live {
                    self.note(id);
                }
                self.drop_record(id, hash, wheel);
            }
            self.forget_flow(id, flow);
        }
        self.scratch = packed;
        found.is_some_and(|(_, was_live, _)| was_live)
    }

    fn drop_record(&mut self, id: RecordId, hash: AorHash, wheel: &mut Wheel) {
        if let Ok(entry) = self.leaf_mut(hash).index.find_entry(spread(hash.0 as u32), |e| e.id == id.0) {
            entry.remove();
        }
        if let Some(slot) = self.records.remove(id.0) {
            for timer in [slot.timer, slot.ping_timer].into_iter().flatten() {
                wheel.cancel(timer);
            }
        }
    }

    /// The record no longer has a binding on `flow`, unless another of its bindings has.
    fn forget_flow(&mut self, id: RecordId, flow: FlowToken) {
        if !flow.is_some() {
            return;
        }
        let still = self.records.get(id.0).is_some_and(|slot| slot.record.bindings().any(|b| b.flow() == flow));
        if still {
            return;
        }
        if let Some(ids) = self.flows.get_mut(&flow.bits()) {
            ids.retain(|&other| other != id.0);
            if ids.is_empty() {
                self.flows.remove(&flow.bits());
            }
        }
    }

    /// Takes the list of records that have bindings on `flow`.
    pub(crate) fn take_flow(&mut self, flow: FlowToken) -> Vec<u32> {
        self.flows.remove(&flow.bits()).unwrap_or_default()
    }

    /// The record of that number.
    pub(crate) fn get(&self, id: RecordId) -> Option<&Record> {
        self.records.get(id.0).map(|slot| &slot.record)
    }

    /// The record's deadline has fired: bindings whose time is over go, at once or a while later, and the next deadline is
    /// set.
    pub(crate) fn handle_timeout(&mut self, id: RecordId, now: Now, wheel: &mut Wheel, counters: &mut Counters) {
        let Some(slot) = self.records.get_mut(id.0) else { return };
        slot.timer = None;
        let now_s = now.unix_s();
        while let Some(slot) = self.records.get(id.0) {
            let Some(over) = slot.record.bindings().find(|b| self.ends_at_s(b) <= now_s) else { break };
            let unbind = Unbind { contact_id: over.contact_id(), cause: Cause::Expired };
            self.unbind(id, &unbind, wheel, counters);
        }
        self.rearm(id, wheel);
    }

    /// Sets the record's deadline to the end of the binding that ends first.
    pub(super) fn rearm(&mut self, id: RecordId, wheel: &mut Wheel) {
        let Some(slot) = self.records.get(id.0) else { return };
        let Some(first) = slot.record.bindings().map(|b| self.look_at_s(&b)).min() else { return };
        let Some(slot) = self.records.get_mut(id.0) else { return };
        if let Some(timer) = slot.timer.take() {
            wheel.cancel(timer);
        }
        slot.timer = Some(wheel.schedule(Due::Record(id.0), Now::from_unix_ms(u64::from(first) * 1000)));
    }

    pub(super) fn record(&self, id: RecordId) -> &Record {
        &self.records.get(id.0).expect("the record was found").record
    }

    pub(super) fn record_mut(&mut self, id: RecordId) -> &mut Record {
        &mut self.records.get_mut(id.0).expect("the record was found").record
    }
}

/// hashbrown takes the table's slot from the low bits and its tag from the top seven.
fn spread(hash: u32) -> u64 {
    u64::from(hash) | u64::from(hash) << 32
}
