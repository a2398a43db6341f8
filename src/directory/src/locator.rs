//! Asks the store whose home an AoR is.
//!
//! In: questions of the shards. Out: one answer to each, in time for the deadline that the request has there, or after
//! it. Rows that the epoch of their home outdates are left out. While the store is away (see [`super::breaker`]) the
//! answer is at once that nobody can say.
//!
//! Bounds: [`LOOKUPS_COUNT_MAX`] questions are under way; others wait with their shards.

use super::breaker::{Breaker, PROBE_INTERVAL};
use super::keeper::Shared;
use super::statistics::add;
use super::{Epoch, Row, StoreError};
use sipfed_proto::directory::{Order, Question};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;
use tokio::time::{sleep, timeout};

/// Questions that are under way at a time.
const LOOKUPS_COUNT_MAX: usize = 1024;
/// An AoR that nobody has, to find out whether the store answers (RFC 2606 §2).
const PROBE_AOR: &str = "probe@sipfed.invalid";

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Locator {
    deadline: Duration,
    in_flight: Cell<usize>,
    breaker: RefCell<Breaker>,
    epochs: RefCell<HashMap<Box<str>, i64>>,
}

impl Locator {
    pub(super) fn new(deadline: Duration) -> Self {
        Self { deadline, in_flight: Cell::new(0), breaker: RefCell::default(), epochs: RefCell::default() }
    }

    /// How long the store may take to answer.
    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Whether one more question may be asked.
    pub(super) fn has_room(&self) -> bool {
        self.in_flight.get() < LOOKUPS_COUNT_MAX
    }

    /// Whether questions are answered, as far as is known.
    pub(super) fn is_answered(&self) -> bool {
        self.breaker.borrow().is_closed()
    }

    /// Takes the epochs of all homes.
    pub(super) fn know(&self, epochs: Vec<Epoch>) {
        *self.epochs.borrow_mut() = epochs.into_iter().map(|epoch| (epoch.home, epoch.epoch_us)).collect();
    }

    /// The homes that these rows name, without those that are void; and how many those are.
    fn homes(&self, rows: Vec<Row>) -> (Box<[Box<str>]>, usize) {
        let epochs = self.epochs.borrow();
        let all = rows.len();
        let is_void = |row: &Row| {
            let epoch_us = epochs.get(&row.home);
            row.written_at_us.zip(epoch_us).is_some_and(|(written_us, epoch_us)| written_us < *epoch_us)
        };
        let homes: Box<[Box<str>]> = rows.into_iter().filter(|row| !is_void(row)).map(|row| row.home).collect();
        let void = all - homes.len();
        (homes, void)
    }
}

/// Sees to the answer of a question.
pub(super) fn ask(shared: &Rc<Shared>, shard: usize, question: Question) {
    let locator = &shared.locator;
    let store = shared.store_if_up().filter(|_| locator.breaker.borrow().is_closed());
    // What is no text cannot stand in a row.
    let (Some(store), Ok(aor)) = (store, String::from_utf8(question.aor.into())) else {
        add(&shared.statistics.lookups_spared, 1);
        return shared.deliver(shard, Order::Answer { id: question.id, homes: None });
    };
    locator.in_flight.set(locator.in_flight.get() + 1);
    add(&shared.statistics.lookups, 1);
    let shared = Rc::clone(shared);
    tokio::task::spawn_local(async move {
        let locator = &shared.locator;
        let found = timeout(locator.deadline, store.homes(&aor)).await;
        let homes = match found {
            Ok(Ok(rows)) => {
                let (homes, void) = locator.homes(rows);
                add(&shared.statistics.rows_void, void);
                answered(&shared);
                Some(homes)
            }
            Ok(Err(error)) => {
                failed(&shared, &error.told());
                None
            }
            Err(_) => {
                failed(&shared, "no answer within directory.lookup_deadline_ms");
                None
            }
        };
        locator.in_flight.set(locator.in_flight.get() - 1);
        shared.deliver(shard, Order::Answer { id: question.id, homes });
        // There is room for another one.
        shared.news.notify_one();
    });
}

/// The store has answered, be it a probe or a question that was asked before it counted as away: whichever is first tells
/// that it is back.
fn answered(shared: &Rc<Shared>) {
    let away = shared.locator.breaker.borrow_mut().succeeded(Instant::now());
    if let Some(away) = away {
        shared.tell_back(away);
    }
}

fn failed(shared: &Rc<Shared>, why: &str) {
    add(&shared.statistics.lookup_failures, 1);
    if shared.locator.breaker.borrow_mut().failed(Instant::now()) {
        shared.tell_away(why);
        tokio::task::spawn_local(probe(Rc::clone(shared)));
    }
}

/// Finds out when the store answers again.
async fn probe(shared: Rc<Shared>) {
    loop {
        sleep(PROBE_INTERVAL).await;
        if shared.locator.is_answered() {
            return;
        }
        let Some(store) = shared.store_if_up() else { continue };
        let found: Result<Result<_, StoreError>, _> = timeout(shared.locator.deadline, store.homes(PROBE_AOR)).await;
        if matches!(found, Ok(Ok(_))) {
            return answered(&shared);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_from_before_the_epoch_of_their_home_are_void() {
        let locator = Locator::new(Duration::from_millis(200));
        let epoch = |home: &str, epoch_us| Epoch { home: home.into(), epoch_us };
        locator.know(vec![epoch("10.0.0.1", 1000), epoch("10.0.0.2", i64::MAX)]);
        let row = |home: &str, written_at_us| Row { aor: "a@b".into(), home: home.into(), written_at_us };
        let rows = vec![
            row("10.0.0.1", Some(1000)),
            row("10.0.0.2", Some(5_000_000)),
            row("10.0.0.3", Some(1)),
            row("10.0.0.4", None),
        ];
        let (homes, void) = locator.homes(rows);
        assert_eq!((&*homes, void), (&["10.0.0.1".into(), "10.0.0.3".into(), "10.0.0.4".into()][..], 1));
        assert_eq!(locator.homes(vec![row("10.0.0.1", Some(999))]).1, 1);
    }
}
