//! How large a log is.

use super::Shared;
use crate::{Generation, store, wal};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

/// Measures a log's sizes, from a thread that may wait. Does not keep the log open.
#[derive(Clone)]
pub struct Meter {
    shared: Arc<Shared>,
    database: PathBuf,
}

/// The sizes of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of tables on disk.
    pub tables_bytes: u64,
    /// Tables on disk.
    pub tables_count: u64,
    /// Bytes of write-ahead logs on disk.
    pub wal_bytes: u64,
    /// Bytes of write buffers in memory.
    pub buffers_bytes: u64,
    /// Generations.
    pub generations_count: u64,
    /// Failures of RocksDB's threads since the log was opened.
    pub background_errors: u64,
}

impl Meter {
    pub(super) fn new(shared: Arc<Shared>, folder: &Path) -> Self {
        Self { shared, database: super::opening::database(folder) }
    }

    /// The sizes now; `None` while the log is closed or being reopened.
    pub fn measure(&self) -> Option<Sizes> {
        let slot = self.shared.slot.read().unwrap_or_else(PoisonError::into_inner);
        let store = slot.as_ref()?;
        let tables = store.live_files().unwrap_or_default();
        let mut sizes = Sizes {
            tables_bytes: tables.iter().map(|table| table.size as u64).sum(),
            tables_count: tables.len() as u64,
            wal_bytes: wal::bytes(&self.database),
            ..Sizes::default()
        };
        for number in store::generation_numbers(&self.database).unwrap_or_default() {
            let Some(family) = store.cf_handle(&Generation::name(number)) else { continue };
            let property = |name| store.property_int_value_cf(&family, name).ok().flatten().unwrap_or_default();
            sizes.generations_count += 1;
            sizes.buffers_bytes += property("rocksdb.cur-size-all-mem-tables");
            sizes.background_errors = sizes.background_errors.max(property("rocksdb.background-errors"));
        }
        Some(sizes)
    }
}
