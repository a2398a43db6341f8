//! A store that comes from outside: what whoever simulates one has to do.

use super::store::{Change, Epoch, Inspection, PageToken, Row, ScannedRow, StoreError};
use std::fmt::Debug;
use std::pin::Pin;

/// An answer that is under way.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A store of rows with stamps and of epochs. Each request does what the method of its name in [`super::Store`] says, or
/// fails, within a time of its own.
pub trait GivenStore: Debug + Send + Sync {
    /// Reaches it for the first time. Who wants to use it tries again until it has succeeded.
    fn reach(&self) -> Answering<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Puts and removes rows of `home`.
    fn write<'a>(&'a self, home: &'a str, changes: &'a [Change], stamp_us: i64) -> Answering<'a, ()>;

    /// All homes of an AoR.
    fn homes<'a>(&'a self, aor: &'a str) -> Answering<'a, Vec<Row>>;

    /// A page of rows, and where the next one begins.
    fn scan<'a>(
        &'a self,
        home: Option<&'a str>,
        page: Option<PageToken>,
        rows_max: usize,
    ) -> Answering<'a, (Vec<ScannedRow>, Option<PageToken>)>;

    /// Removes rows that a scan has shown.
    fn delete_rows<'a>(&'a self, rows: &'a [ScannedRow]) -> Answering<'a, ()>;

    /// The epochs of all homes that have one.
    fn epochs(&self) -> Answering<'_, Vec<Epoch>>;

    /// Says since when the rows of `home` count.
    fn set_epoch<'a>(&'a self, home: &'a str, epoch_us: i64, stamp_us: i64) -> Answering<'a, ()>;

    /// Removes rows whose lease has ended; without leases there are none.
    fn sweep<'a>(&'a self, _home: &'a str, _now_us: i64) -> Answering<'a, u64> {
        Box::pin(std::future::ready(Ok(0)))
    }

    /// Whether rows end by themselves when they are not written again.
    fn has_leases(&self) -> bool {
        false
    }

    /// Whether it keeps epochs.
    fn has_epochs(&self) -> bool {
        true
    }

    /// What it is found to be.
    fn inspect(&self) -> Answering<'_, Inspection> {
        let server = format!("{self:?}");
        Box::pin(std::future::ready(Ok(Inspection { server, ..Inspection::default() })))
    }
}
