//! Bindings copied out in one piece, for whoever looks at them from another thread.
//!
//! In goes a record, or the number to go on from; out come its live bindings, packed as a journal packs them, so that
//! copying them is all that it costs the shard. Read by [`Page::bindings`].
//!
//! Bounds: a page ends with the record that takes it beyond [`PAGE_BYTES_MAX`], or after looking at
//! [`PAGE_RECORDS_COUNT_MAX`] numbers.

use super::health::Health;
use super::journal::Journal;
use super::record::Record;
use super::table::{Location, RecordId};
use crate::view::{BindingView, ChangeKind, HealthView, changes};

/// Bytes after which a page takes no further record.
const PAGE_BYTES_MAX: usize = 32_768;
/// Numbers of records that are looked at for one page, whether there is a record or not.
const PAGE_RECORDS_COUNT_MAX: u32 = 2_048;

/// Some bindings as they were at one moment; those of one AoR follow each other.
#[derive(Debug)]
pub struct Page {
    packed: Journal,
    /// Of each binding, which no journal has.
    healths: Vec<Health>,
}

impl Page {
    pub(crate) fn new() -> Self {
        Self { packed: Journal::apart(), healths: Vec::new() }
    }

    /// The bindings.
    pub fn bindings(&self) -> impl Iterator<Item = BindingView<'_>> {
        // What was packed in this process is whole.
        let bindings = changes(self.packed.bytes()).filter_map(|change| match change.ok()?.kind {
            ChangeKind::Bound(binding) => Some(binding),
            _ => None,
        });
        let healths = self.healths.iter().map(|health| HealthView::new(*health));
        bindings.zip(healths).map(|(binding, health)| BindingView { health, ..binding })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.healths.is_empty()
    }
}

impl Location {
    /// Adds the bindings of `record` that can be called to `page`.
    pub(crate) fn copy_out(&self, record: &Record, now_s: u32, page: &mut Page) {
        for binding in record.bindings().filter(|binding| binding.is_live(now_s)) {
            page.packed.bound(record.hash(), record.aor(), &binding, self.locals.address(binding.local()));
            page.healths.push(binding.health());
        }
    }

    /// A page of bindings that can be called, from the record with the number `from` on, and the number to go on from;
    /// `None` when there is none left.
    pub(crate) fn page(&self, from: u32, now_s: u32) -> (Page, Option<u32>) {
        let mut page = Page::new();
        let end = from.saturating_add(PAGE_RECORDS_COUNT_MAX).min(self.end());
        for id in from..end {
            if page.packed.bytes().len() >= PAGE_BYTES_MAX {
                return (page, Some(id));
            }
            if let Some(record) = self.get(RecordId(id)) {
                self.copy_out(record, now_s, &mut page);
            }
        }
        (page, (end < self.end()).then_some(end))
    }
}
