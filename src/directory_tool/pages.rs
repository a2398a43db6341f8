//! Reads all rows of a store, a page at a time, at a bounded pace.

use super::output::Progress;
use super::{Pace, Stop};
use sipfed_directory::{ScannedRow, Store, StoreError};
use std::time::{Duration, Instant};

/// Rows of one page.
const PAGE_ROWS_MAX: u32 = 1000;
/// How often a request is made that the store might answer the next time.
const ATTEMPTS: u32 = 3;
/// How long a store in trouble is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// Hands every page to `look`; how many rows there were.
pub(super) async fn each(
    store: &Store,
    pace: &Pace,
    what: &'static str,
    mut look: impl AsyncFnMut(&[ScannedRow]) -> Result<(), Stop>,
) -> Result<u64, Stop> {
    let page_rows = PAGE_ROWS_MAX.min(pace.rows_per_s);
    let mut progress = Progress::new(what);
    let (began, mut count, mut page) = (Instant::now(), 0, None);
    loop {
        let scan = async || store.scan(None, page.clone(), page_rows as usize).await;
        let (rows, next) = patiently(scan).await?;
        count += rows.len() as u64;
        look(&rows).await?;
        progress.tell(count);
        page = next;
        if page.is_none() {
            return Ok(count);
        }
        let due = began + Duration::from_secs_f64(count as f64 / f64::from(pace.rows_per_s));
        tokio::time::sleep_until(due.into()).await;
    }
}

/// Makes a request again that failed for a passing reason: a long reading should not end for a short trouble.
pub(super) async fn patiently<T>(mut request: impl AsyncFnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let mut attempt = 1;
    loop {
        match request().await {
            Err(error) if error.is_passing() && attempt < ATTEMPTS => {
                attempt += 1;
                tokio::time::sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}
