//! The table of records: find, apply, expire.

use super::journal::{Change, Entry, Journal};
use super::local_addresses::LocalAddresses;
use super::op::{Bind, Cause, Op, Refresh, Unbind};
use super::record::{Binding, Record};
use crate::counters::Counters;
use crate::directory::changes::Changes;
use crate::directory::{Pass, Walk};
use crate::hop::FlowToken;
use crate::keys::{AorHash, NumberHasher};
use crate::slab::Slab;
use crate::time::Now;
use crate::view::BindingView;
use crate::wheel::{Due, TimerId, Wheel};
use hashbrown::{HashMap, HashTable};
use std::hash::BuildHasherDefault;

/// Index tables; each holds its share of the AoRs.
const SEGMENTS_COUNT: usize = 256;

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
struct Slot {
    record: Record,
    timer: Option<TimerId>,
    /// The reconcile that was last shown the record's row; 0 for none.
    seen: u8,
}

#[derive(Clone, Copy, Debug)]
struct IndexEntry {
    /// The half of the hash that the table itself is indexed by, so that growing it reads no record.
    hash: u32,
    id: u32,
}

/// The bindings of one shard. See the module's documentation.
#[derive(Debug)]
pub(crate) struct Location {
    index: Box<[HashTable<IndexEntry>]>,
    records: Slab<Slot>,
    /// Records that have bindings on a connection, by connection.
    flows: HashMap<u64, Vec<u32>, BuildHasherDefault<NumberHasher>>,
    bindings: usize,
    /// The local addresses that bindings name by number.
    pub(crate) locals: LocalAddresses,
    /// What is written down for a log.
    pub(crate) journal: Journal,
    /// What is noted for the directory.
    pub(crate) changes: Changes,
    scratch: Vec<u8>,
}

impl Location {
    pub(crate) fn new() -> Self {
        Self {
            index: (0..SEGMENTS_COUNT).map(|_| HashTable::new()).collect(),
            records: Slab::default(),
            flows: HashMap::default(),
            bindings: 0,
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

    /// The record of an AoR.
    #[inline]
    pub(crate) fn find(&self, key: AorKey<'_>) -> Option<(RecordId, &Record)> {
        let (segment, hash) = place(key.hash);
        let entry = self.index[segment].find(spread(hash), |e| {
            e.hash == hash && self.records.get(e.id).is_some_and(|slot| slot.record.aor() == key.aor)
        })?;
        Some((RecordId(entry.id), &self.records.get(entry.id)?.record))
    }

    /// The record of an AoR known by its hash alone, as in a temporary GRUU.
    #[inline]
    pub(crate) fn find_by_hash(&self, aor: AorHash) -> Option<(RecordId, &Record)> {
        let (segment, hash) = place(aor);
        let entry = self.index[segment].find(spread(hash), |e| {
            e.hash == hash && self.records.get(e.id).is_some_and(|slot| slot.record.hash() == aor)
        })?;
        Some((RecordId(entry.id), &self.records.get(entry.id)?.record))
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
            (Op::Bind(bind), found) => _ = self.bind(key, found, bind, wheel, counters),
            (Op::Unbind(unbind), Some(id)) => self.unbind(id, unbind, wheel, counters),
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
        let before = self.journal.is_kept().then(|| self.binding(id, refresh.contact_id)).flatten();
        let before = before.map(|b| (b.updated_at_s(), b.request_print()));
        let done = self.record_mut(id).refresh(refresh);
        debug_assert!(done, "the registrar refreshes what it found");
        // The deadline stays; when it fires it finds the later time.
        match before {
            Some((updated_at_s, _)) if self.journal.wants_whole(updated_at_s) => {
                self.write_bound(id, refresh.contact_id);
            }
            Some((_, request_print)) => {
                let aor = self.record(id).hash();
                self.journal.refreshed(aor, refresh, request_print != refresh.request_print);
            }
            None => {}
        }
    }

    /// Makes or replaces a binding; gives the record that has it.
    fn bind(
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
                    replaced = Some((binding.flow(), binding.flags().removed()));
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
        if replaced.is_none_or(|(_, removed)| removed) {
            counters.bindings_created += 1;
        }
        let id = match found {
            Some(id) => {
                *self.record_mut(id) = record;
                id
            }
            None => self.insert(key.hash, record),
        };
        if !was_home {
            self.changes.note(key.hash, key.aor);
        }
        self.write_bound(id, bind.contact_id);
        if let Some((flow, _)) = replaced {
            self.forget_flow(id, flow);
        }
        if bind.flow.is_some() {
            let ids = self.flows.entry(bind.flow.bits()).or_default();
            if !ids.contains(&id.0) {
                ids.push(id.0);
            }
        }
        self.rearm(id, wheel);
        id
    }

    fn unbind(&mut self, id: RecordId, unbind: &Unbind, wheel: &mut Wheel, counters: &mut Counters) {
        let removed = match unbind.cause {
            Cause::User { cseq, branch_hash, until_s } => {
                if self.record_mut(id).mark_removed(unbind.contact_id, cseq, branch_hash, until_s) {
                    counters.bindings_removed += 1;
                    let aor = self.record(id).hash();
                    self.journal.removed(aor, unbind.contact_id, cseq, branch_hash, until_s);
                    self.note_if_gone(id);
                    self.rearm(id, wheel);
                }
                return;
            }
            Cause::Expired => &mut counters.bindings_expired,
            Cause::Evicted => &mut counters.bindings_evicted,
            Cause::FlowLost => &mut counters.bindings_flow_lost,
        };
        if unbind.cause != Cause::Expired {
            let aor = self.record(id).hash();
            self.journal.gone(aor, unbind.contact_id);
        }
        // What was only remembered is no binding that ends.
        if self.remove(id, unbind.contact_id, wheel) {
            *removed += 1;
        }
    }

    fn binding(&self, id: RecordId, contact_id: u64) -> Option<Binding<'_>> {
        self.record(id).bindings().find(|b| b.contact_id() == contact_id)
    }

    /// Writes a binding down whole.
    fn write_bound(&mut self, id: RecordId, contact_id: u64) {
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
                if binding.flags().removed() {
                    let (cseq, branch_hash) = (binding.cseq(), binding.branch_hash());
                    let (id, until_s) = (binding.contact_id(), binding.expires_at_s());
                    self.journal.removed(slot.record.hash(), id, cseq, branch_hash, until_s);
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
        self.records().flat_map(move |record| {
            let live = record.bindings().filter(move |binding| binding.is_live(now_s));
            live.map(|binding| BindingView::new(record.aor(), &binding, self.locals.address(binding.local())))
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
            (Change::Bound { aor, local, binding }, found) => {
                let bind = binding.restored(self.locals.number(local));
                let id = self.bind(AorKey { hash: entry.aor, aor }, found, &bind, wheel, counters);
                if bind.transport.is_reliable() {
                    self.record_mut(id).mark_flow_lost(bind.contact_id);
                }
                true
            }
            (Change::Refreshed { mut refresh, is_anew }, Some(id)) => {
                if !is_anew && let Some(binding) = self.binding(id, refresh.contact_id) {
                    refresh.request_print = binding.request_print();
                }
                self.record_mut(id).refresh(&refresh)
            }
            (Change::Removed { contact_id, cseq, branch_hash, until_s }, Some(id)) => {
                let done = self.record_mut(id).mark_removed(contact_id, cseq, branch_hash, until_s);
                self.rearm(id, wheel);
                done
            }
            (Change::Gone { contact_id }, Some(id)) => self.remove(id, contact_id, wheel),
            (_, None) => false,
        }
    }

    fn insert(&mut self, hash: AorHash, record: Record) -> RecordId {
        let id = self.records.insert(Slot { record, timer: None, seen: 0 });
        let (segment, hash) = place(hash);
        self.index[segment].insert_unique(spread(hash), IndexEntry { hash, id }, |e| spread(e.hash));
        RecordId(id)
    }

    /// Takes one binding out, and the record when it was the last; whether it could be called until then.
    fn remove(&mut self, id: RecordId, contact_id: u64, wheel: &mut Wheel) -> bool {
        let mut packed = std::mem::take(&mut self.scratch);
        let record = self.record(id);
        let hash = record.hash();
        Record::begin(&mut packed, hash, record.aor());
        let (mut left, mut found) = (0, None);
        for binding in record.bindings() {
            if binding.contact_id() == contact_id {
                found = Some((binding.flow(), !binding.flags().removed()));
            } else {
                Record::push_packed(&mut packed, &binding);
                left += 1;
            }
        }
        if let Some((flow, was_live)) = found {
            self.bindings -= 1;
            if left > 0 {
                *self.record_mut(id) = Record::finish(&packed);
                if was_live {
                    self.note_if_gone(id);
                }
            } else {
                if was_live {
                    self.note(id);
                }
                self.drop_record(id, hash, wheel);
            }
            self.forget_flow(id, flow);
        }
        self.scratch = packed;
        found.is_some_and(|(_, was_live)| was_live)
    }

    fn drop_record(&mut self, id: RecordId, hash: AorHash, wheel: &mut Wheel) {
        let (segment, hash) = place(hash);
        if let Ok(entry) = self.index[segment].find_entry(spread(hash), |e| e.id == id.0) {
            entry.remove();
        }
        if let Some(Slot { timer: Some(timer), .. }) = self.records.remove(id.0) {
            wheel.cancel(timer);
        }
    }

    /// The row of the record's AoR in the directory may have to change.
    fn note(&mut self, id: RecordId) {
        let Self { records, changes, .. } = self;
        if let Some(slot) = records.get(id.0) {
            changes.note(slot.record.hash(), slot.record.aor());
        }
    }

    /// One of the record's bindings has gone: was it the last?
    fn note_if_gone(&mut self, id: RecordId) {
        if self.changes.is_kept() && !self.record(id).is_home() {
            self.note(id);
        }
    }

    /// Whether the AoR has a binding here, as the directory is to say it.
    pub(crate) fn is_home(&self, aor: AorHash) -> bool {
        self.find_by_hash(aor).is_some_and(|(_, record)| record.is_home())
    }

    /// The directory has a row which says that the AoR is at home here: marked as seen, or noted when it is wrong.
    pub(crate) fn compare(&mut self, key: AorKey<'_>, pass: Pass) {
        match self.find(key).filter(|(_, record)| record.is_home()).map(|(id, _)| id) {
            Some(id) => self.records.get_mut(id.0).expect("the record was found").seen = pass.0.get(),
            None => self.changes.note(key.hash, key.aor),
        }
    }

    /// Notes AoRs from the record with the number `from` on, `count` records at most; gives the number to go on from,
    /// and `None` when there is none left.
    pub(crate) fn walk(&mut self, walk: Walk, from: u32, count: u32) -> Option<u32> {
        let end = from.saturating_add(count).min(self.records.end());
        for id in from..end {
            let Some(slot) = self.records.get(id) else { continue };
            let is_wanted = match walk {
                Walk::All => true,
                Walk::Unseen(pass) => slot.seen != pass.0.get(),
            };
            if is_wanted && slot.record.is_home() {
                self.changes.note(slot.record.hash(), slot.record.aor());
            }
        }
        (end < self.records.end()).then_some(end)
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

    /// The record's deadline has fired: bindings whose time is over go, and the next deadline is set.
    pub(crate) fn handle_timeout(&mut self, id: RecordId, now: Now, wheel: &mut Wheel, counters: &mut Counters) {
        let Some(slot) = self.records.get_mut(id.0) else { return };
        slot.timer = None;
        let now_s = now.unix_s();
        while let Some(slot) = self.records.get(id.0) {
            let Some(over) = slot.record.bindings().find(|b| b.expires_at_s() <= now_s) else { break };
            let unbind = Unbind { contact_id: over.contact_id(), cause: Cause::Expired };
            self.unbind(id, &unbind, wheel, counters);
        }
        self.rearm(id, wheel);
    }

    /// Sets the record's deadline to the end of the binding that ends first.
    fn rearm(&mut self, id: RecordId, wheel: &mut Wheel) {
        let Some(slot) = self.records.get_mut(id.0) else { return };
        let Some(first) = slot.record.bindings().map(|b| b.expires_at_s()).min() else { return };
        if let Some(timer) = slot.timer.take() {
            wheel.cancel(timer);
        }
        slot.timer = Some(wheel.schedule(Due::Record(id.0), Now::from_unix_ms(u64::from(first) * 1000)));
    }

    fn record(&self, id: RecordId) -> &Record {
        &self.records.get(id.0).expect("the record was found").record
    }

    fn record_mut(&mut self, id: RecordId) -> &mut Record {
        &mut self.records.get_mut(id.0).expect("the record was found").record
    }
}

/// The index table of an AoR and the half of its hash that is used there. The other half chose the shard.
fn place(hash: AorHash) -> (usize, u32) {
    let low = hash.0 as u32;
    (low as usize % SEGMENTS_COUNT, low)
}

/// hashbrown takes the table's slot from the low bits and its tag from the top seven; the lowest eight bits
/// chose the segment, so they are moved out of the way.
fn spread(hash: u32) -> u64 {
    u64::from(hash >> 8) | u64::from(hash) << 32
}
