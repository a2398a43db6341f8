//! Not there yet.

use super::store::{Change, Epoch, Inspection, PageToken, Row, ScannedRow, StoreError, StoreOptions};
use super::url::MongoDbUrl;

pub(super) const BATCH_ROWS_MAX: usize = 50;

/// The store; a clone is the same one.
#[derive(Clone, Debug)]
pub(crate) struct MongoDbStore;

#[allow(
    clippy::unused_async,
    clippy::unused_self,
    clippy::unnecessary_wraps,
    unused_variables,
    reason = "not there yet"
)]
impl MongoDbStore {
    pub(super) async fn connect(url: &MongoDbUrl, options: &StoreOptions) -> Result<Self, StoreError> {
        Err(StoreError::refused(format!("{url}: this store is not there yet")))
    }
    pub(super) async fn write(&self, home: &str, changes: &[Change], stamp_us: i64) -> Result<(), StoreError> {
        Ok(())
    }
    pub(super) async fn homes(&self, aor: &str) -> Result<Vec<Row>, StoreError> {
        Ok(Vec::new())
    }
    pub(super) async fn scan(
        &self,
        home: Option<&str>,
        page: Option<PageToken>,
        rows_max: usize,
    ) -> Result<(Vec<ScannedRow>, Option<PageToken>), StoreError> {
        Ok((Vec::new(), None))
    }
    pub(super) async fn delete_rows(&self, rows: &[ScannedRow]) -> Result<(), StoreError> {
        Ok(())
    }
    pub(super) async fn epochs(&self) -> Result<Vec<Epoch>, StoreError> {
        Ok(Vec::new())
    }
    pub(super) async fn set_epoch(&self, home: &str, epoch_us: i64, stamp_us: i64) -> Result<(), StoreError> {
        Ok(())
    }
    pub(super) async fn sweep(&self, home: &str, now_us: i64) -> Result<u64, StoreError> {
        Ok(0)
    }
    pub(super) const fn has_leases(&self) -> bool {
        false
    }
    pub(super) const fn has_epochs(&self) -> bool {
        false
    }
    pub(super) async fn inspect(&self) -> Result<Inspection, StoreError> {
        Ok(Inspection::default())
    }
}
