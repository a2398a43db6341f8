//! A directory in the memory of this process: for tests, for homes that share a process, and for a node alone.
//!
//! Rows stand in one ordered map behind a lock that is held for one request. What was removed is remembered with its
//! stamp, so that a write that comes late cannot bring it back; [`MemoryStore::sweep`] forgets it after an hour.

use super::store::{Change, Epoch, Inspection, PageToken, Row, ScannedRow, StoreError, StoreOptions, now_us};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[cfg(test)]
use faults::Faults;

/// How long a removal is remembered: longer than any write can be late.
const REMOVAL_KEPT_US: i64 = 3_600_000_000;

/// The store; a clone is the same one.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
    /// 0 for rows without end.
    lease_us: i64,
}

struct Shared {
    tables: Mutex<Tables>,
    #[cfg(test)]
    faults: Faults,
}

#[derive(Default)]
struct Tables {
    /// Ordered, so that a scan knows where it goes on.
    homes_by_aor: BTreeMap<Box<str>, Vec<Cell>>,
    epochs: BTreeMap<Box<str>, Stamped>,
}

struct Cell {
    /// Shared by all rows of a home that one write has put in.
    home: Arc<str>,
    stamp_us: i64,
    /// `i64::MAX` for never.
    expires_us: i64,
    /// A removal that is remembered, otherwise.
    is_home: bool,
}

struct Stamped {
    epoch_us: i64,
    stamp_us: i64,
}

impl Cell {
    const fn is_there(&self, now_us: i64) -> bool {
        self.is_home && self.expires_us > now_us
    }

    fn row(&self, aor: &str) -> Row {
        Row { aor: aor.into(), home: (&*self.home).into(), written_at_us: Some(self.stamp_us) }
    }
}

impl MemoryStore {
    /// An empty one. Schema and `create` mean nothing here.
    pub fn new(options: &StoreOptions) -> Self {
        Self {
            shared: Arc::new(Shared {
                tables: Mutex::default(),
                #[cfg(test)]
                faults: Faults::new(options.timeout),
            }),
            lease_us: i64::from(options.lease_s) * 1_000_000,
        }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // No request leaves the tables half done where it could panic.
        self.shared.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[allow(clippy::unused_async, reason = "it waits in tests, and the other stores' methods do everywhere")]
    #[cfg_attr(not(test), allow(unused_variables, reason = "only a fault tells writes from reads"))]
    async fn begin(&self, writes: bool) -> Result<(), StoreError> {
        #[cfg(test)]
        self.shared.faults.begin(writes).await?;
        Ok(())
    }

    #[allow(clippy::unnecessary_wraps, clippy::unused_self, reason = "it fails in tests")]
    fn end(&self) -> Result<(), StoreError> {
        #[cfg(test)]
        self.shared.faults.end()?;
        Ok(())
    }

    pub(super) async fn write(&self, home: &str, changes: &[Change], stamp_us: i64) -> Result<(), StoreError> {
        self.begin(true).await?;
        let home: Arc<str> = home.into();
        let expires_us = if self.lease_us == 0 { i64::MAX } else { now_us() + self.lease_us };
        let mut tables = self.tables();
        for Change { aor, is_home } in changes {
            let new = Cell { home: home.clone(), stamp_us, expires_us, is_home: *is_home };
            let Some(cells) = tables.homes_by_aor.get_mut(aor) else {
                tables.homes_by_aor.insert(aor.clone(), vec![new]);
                continue;
            };
            match cells.iter_mut().find(|cell| cell.home == home) {
                Some(cell) if cell.stamp_us > stamp_us => {}
                Some(cell) => *cell = new,
                None => cells.push(new),
            }
        }
        drop(tables);
        self.end()
    }

    pub(super) async fn homes(&self, aor: &str) -> Result<Vec<Row>, StoreError> {
        self.begin(false).await?;
        let now_us = now_us();
        let tables = self.tables();
        let cells = tables.homes_by_aor.get(aor).map_or(&[][..], Vec::as_slice);
        let rows = cells.iter().filter(|cell| cell.is_there(now_us)).map(|cell| cell.row(aor)).collect();
        drop(tables);
        self.end()?;
        Ok(rows)
    }

    /// A page ends with the last home of an AoR, so it may be longer than `rows_max` by the homes of one.
    pub(super) async fn scan(
        &self,
        home: Option<&str>,
        page: Option<PageToken>,
        rows_max: usize,
    ) -> Result<(Vec<ScannedRow>, Option<PageToken>), StoreError> {
        self.begin(false).await?;
        let after = match &page {
            Some(PageToken(aor)) => Bound::Excluded(std::str::from_utf8(aor).map_err(|error| {
                StoreError::refused("the page token is of another store; scan from the start").because(error)
            })?),
            None => Bound::Unbounded,
        };
        let now_us = now_us();
        let (mut rows, mut next) = (Vec::new(), None);
        for (aor, cells) in self.tables().homes_by_aor.range::<str, _>((after, Bound::Unbounded)) {
            if rows.len() >= rows_max {
                break;
            }
            let wanted = |cell: &&Cell| cell.is_there(now_us) && home.is_none_or(|home| *cell.home == *home);
            rows.extend(cells.iter().filter(wanted).map(|cell| ScannedRow { row: cell.row(aor), id: None }));
            next = (rows.len() >= rows_max).then(|| PageToken(aor.as_bytes().into()));
        }
        self.end()?;
        Ok((rows, next))
    }

    pub(super) async fn delete_rows(&self, rows: &[ScannedRow]) -> Result<(), StoreError> {
        self.begin(true).await?;
        let mut tables = self.tables();
        for ScannedRow { row, .. } in rows {
            let cells = tables.homes_by_aor.get_mut(&row.aor).map_or(&mut [][..], Vec::as_mut_slice);
            for cell in cells.iter_mut().filter(|cell| *cell.home == *row.home) {
                if row.written_at_us.is_none_or(|seen_us| cell.stamp_us <= seen_us) {
                    cell.is_home = false;
                }
            }
        }
        drop(tables);
        self.end()
    }

    pub(super) async fn epochs(&self) -> Result<Vec<Epoch>, StoreError> {
        self.begin(false).await?;
        let tables = self.tables();
        let epochs = tables.epochs.iter();
        let epochs = epochs.map(|(home, set)| Epoch { home: home.clone(), epoch_us: set.epoch_us }).collect();
        drop(tables);
        self.end()?;
        Ok(epochs)
    }

    pub(super) async fn set_epoch(&self, home: &str, epoch_us: i64, stamp_us: i64) -> Result<(), StoreError> {
        self.begin(true).await?;
        let mut tables = self.tables();
        if tables.epochs.get(home).is_none_or(|set| set.stamp_us <= stamp_us) {
            tables.epochs.insert(home.into(), Stamped { epoch_us, stamp_us });
        }
        drop(tables);
        self.end()
    }

    pub(super) async fn sweep(&self, home: &str, now_us: i64) -> Result<u64, StoreError> {
        self.begin(true).await?;
        let mut count = 0;
        self.tables().homes_by_aor.retain(|_, cells| {
            cells.retain(|cell| {
                if *cell.home != *home {
                    return true;
                }
                let has_ended = cell.is_home && cell.expires_us <= now_us;
                count += u64::from(has_ended);
                let is_forgotten = !cell.is_home && cell.stamp_us < now_us.saturating_sub(REMOVAL_KEPT_US);
                !has_ended && !is_forgotten
            });
            !cells.is_empty()
        });
        self.end()?;
        Ok(count)
    }

    pub(super) const fn has_leases(&self) -> bool {
        self.lease_us > 0
    }

    #[allow(clippy::unused_self, reason = "the other stores' answer depends on their schema")]
    pub(super) const fn has_epochs(&self) -> bool {
        true
    }

    pub(super) async fn inspect(&self) -> Result<Inspection, StoreError> {
        self.begin(false).await?;
        Ok(Inspection {
            server: concat!("memory of sipfed ", env!("CARGO_PKG_VERSION")).to_owned(),
            table_exists: true,
            columns: ["aor text", "home_ip text", "stamp bigint"].map(str::to_owned).to_vec(),
            has_aor_index: true,
            epochs_exist: true,
            expires_by_itself: false,
        })
    }

    /// Makes the store misbehave.
    #[cfg(test)]
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("memory:")
    }
}

#[cfg(test)]
mod faults {
    use crate::store::StoreError;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
    use std::time::Duration;
    use tokio::sync::watch;

    /// How the store misbehaves; by default not at all. Every switch may be turned while requests run.
    pub struct Faults {
        timeout: Duration,
        requests: AtomicU64,
        fail_every: AtomicU64,
        is_full: AtomicBool,
        loses_answers: AtomicBool,
        refuses: AtomicBool,
        slow_us: AtomicU64,
        is_frozen: watch::Sender<bool>,
    }

    impl Faults {
        pub(super) fn new(timeout: Duration) -> Self {
            Self {
                timeout,
                requests: AtomicU64::new(0),
                fail_every: AtomicU64::new(0),
                is_full: AtomicBool::new(false),
                loses_answers: AtomicBool::new(false),
                refuses: AtomicBool::new(false),
                slow_us: AtomicU64::new(0),
                is_frozen: watch::channel(false).0,
            }
        }

        /// Requests so far, those that failed included.
        pub fn requests(&self) -> u64 {
            self.requests.load(Relaxed)
        }

        /// Every `nth` request is `Unavailable` and does nothing: 1 for all, 0 for none.
        pub fn fail_every(&self, nth: u64) {
            self.fail_every.store(nth, Relaxed);
        }

        /// Nothing is answered until it is released; a request that waits for its timeout is `Unavailable`.
        pub fn freeze(&self) {
            self.is_frozen.send_replace(true);
        }

        /// What waits goes on.
        pub fn release(&self) {
            self.is_frozen.send_replace(false);
        }

        /// Every request takes this much longer.
        pub fn slow(&self, by: Duration) {
            self.slow_us.store(by.as_micros() as u64, Relaxed);
        }

        /// Writes are `Unavailable` and do nothing; reads are answered.
        pub fn full(&self, is_full: bool) {
            self.is_full.store(is_full, Relaxed);
        }

        /// Requests are done, and then told to be `Unavailable`.
        pub fn lose_answers(&self, loses: bool) {
            self.loses_answers.store(loses, Relaxed);
        }

        /// Every request is `Refused`.
        pub fn refuse(&self, refuses: bool) {
            self.refuses.store(refuses, Relaxed);
        }

        pub(super) async fn begin(&self, writes: bool) -> Result<(), StoreError> {
            let number = self.requests.fetch_add(1, Relaxed) + 1;
            let waited = tokio::time::timeout(self.timeout, async {
                // The sender lives as long as this, so waiting for it cannot fail.
                let _ = self.is_frozen.subscribe().wait_for(|is_frozen| !is_frozen).await;
                let slow_us = self.slow_us.load(Relaxed);
                if slow_us > 0 {
                    tokio::time::sleep(Duration::from_micros(slow_us)).await;
                }
            });
            if waited.await.is_err() {
                return Err(StoreError::unavailable("no answer from memory: in time"));
            }
            if self.refuses.load(Relaxed) {
                return Err(StoreError::refused("memory: was told to refuse"));
            }
            let nth = self.fail_every.load(Relaxed);
            if (nth > 0 && number.is_multiple_of(nth)) || (writes && self.is_full.load(Relaxed)) {
                return Err(StoreError::unavailable("memory: was told to fail"));
            }
            Ok(())
        }

        pub(super) fn end(&self) -> Result<(), StoreError> {
            if self.loses_answers.load(Relaxed) {
                return Err(StoreError::unavailable("memory: was told to lose its answers"));
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const HOUR_US: i64 = 3_600_000_000;

    fn run(test: impl AsyncFnOnce(MemoryStore)) {
        let options = StoreOptions { timeout: Duration::from_millis(50), ..StoreOptions::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(test(MemoryStore::new(&options)));
    }

    fn alice() -> [Change; 1] {
        [Change { aor: "alice@example.com".into(), is_home: true }]
    }

    async fn homes(store: &MemoryStore) -> usize {
        store.homes("alice@example.com").await.unwrap().len()
    }

    #[test]
    fn homes_of_one_process_share_a_store() {
        run(async |store| {
            let other = store.clone();
            store.write("192.0.2.1", &alice(), 1).await.unwrap();
            other.write("192.0.2.2", &alice(), 1).await.unwrap();
            assert_eq!((homes(&store).await, homes(&other).await), (2, 2));
        });
    }

    #[test]
    fn removals_are_forgotten_after_an_hour() {
        run(async |store| {
            store.write("192.0.2.1", &[Change { is_home: false, ..alice()[0].clone() }], 2).await.unwrap();
            assert_eq!(store.sweep("192.0.2.1", HOUR_US).await.unwrap(), 0);
            store.write("192.0.2.1", &alice(), 1).await.unwrap();
            assert_eq!(homes(&store).await, 0);
            assert_eq!(store.sweep("192.0.2.1", HOUR_US + 3).await.unwrap(), 0);
            assert!(store.tables().homes_by_aor.is_empty());
        });
    }

    #[test]
    fn a_frozen_store_is_unavailable_and_goes_on_when_it_is_released() {
        run(async |store| {
            store.faults().freeze();
            assert!(store.write("192.0.2.1", &alice(), 1).await.is_err_and(|error| error.is_passing()));
            let alice = alice();
            let release = async { store.faults().release() };
            let (written, ()) = tokio::join!(store.write("192.0.2.1", &alice, 2), release);
            written.unwrap();
            assert_eq!(homes(&store).await, 1);
            assert_eq!(store.faults().requests(), 3);
        });
    }

    #[test]
    fn a_store_fails_as_it_is_told() {
        run(async |store| {
            let faults = store.faults();
            faults.full(true);
            assert!(store.write("192.0.2.1", &alice(), 1).await.is_err_and(|error| error.is_passing()));
            assert_eq!(homes(&store).await, 0);
            faults.full(false);
            faults.lose_answers(true);
            assert!(store.write("192.0.2.1", &alice(), 1).await.is_err_and(|error| error.is_passing()));
            faults.lose_answers(false);
            assert_eq!(homes(&store).await, 1);
            faults.refuse(true);
            assert!(store.homes("alice@example.com").await.is_err_and(|error| !error.is_passing()));
            faults.refuse(false);
            faults.fail_every(2);
            let mut failed = 0;
            for _ in 0..10 {
                failed += u32::from(store.homes("alice@example.com").await.is_err());
            }
            assert_eq!(failed, 5);
            faults.fail_every(0);
            faults.slow(Duration::from_secs(1));
            assert!(store.homes("alice@example.com").await.is_err());
        });
    }
}
