//! What the store says of one AoR, for an operator who asks.
//!
//! In: an AoR. Out: its rows, how long the store took, and how old each row is. It is a question like those of the shards, to
//! the same store over the same connections, but nothing is remembered of its answer, and the breaker takes no note of it.
//!
//! Bounds: [`INQUIRIES_COUNT_MAX`] wait, one at a time is answered, and each for `directory.lookup_deadline_ms` at most.

use super::keeper::Shared;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

/// Inquiries that may wait.
pub(super) const INQUIRIES_COUNT_MAX: usize = 16;

/// One question, and where its answer goes.
#[derive(Debug)]
pub(super) struct Inquiry {
    aor: Box<str>,
    answer: oneshot::Sender<Result<Found, String>>,
}

/// What the store has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// How long it took.
    pub took: Duration,
    /// A home of the AoR and when its row was written, in microseconds since the Unix epoch, where the schema keeps that.
    pub rows: Vec<(Box<str>, Option<i64>)>,
}

/// Asks a keeper, from any thread with an executor. A copy asks the same one.
#[derive(Clone, Debug)]
pub struct Inquirer(mpsc::Sender<Inquiry>);

impl Inquirer {
    pub(super) fn new() -> (Self, mpsc::Receiver<Inquiry>) {
        let (sender, inquiries) = mpsc::channel(INQUIRIES_COUNT_MAX);
        (Self(sender), inquiries)
    }

    /// What the store says of a canonical AoR, or why it does not.
    pub async fn ask(&self, aor: &str) -> Result<Found, String> {
        let (answer, answered) = oneshot::channel();
        let inquiry = Inquiry { aor: aor.into(), answer };
        self.0.try_send(inquiry).map_err(|_| "too many ask, or the node stops".to_owned())?;
        answered.await.unwrap_or_else(|_| Err("the node stops".to_owned()))
    }
}

/// Answers one inquiry after the other.
pub(super) async fn answer_all(shared: Rc<Shared>, mut inquiries: mpsc::Receiver<Inquiry>) {
    while let Some(Inquiry { aor, answer }) = inquiries.recv().await {
        // Whoever asked may have gone.
        let _ = answer.send(look_up(&shared, &aor).await);
    }
}

async fn look_up(shared: &Shared, aor: &str) -> Result<Found, String> {
    let store = shared.store_if_up().ok_or("the store has not been reached since the start")?;
    let begun = Instant::now();
    match timeout(shared.locator.deadline(), store.homes(aor)).await {
        Ok(Ok(rows)) => {
            let rows = rows.into_iter().map(|row| (row.home, row.written_at_us)).collect();
            Ok(Found { took: begun.elapsed(), rows })
        }
        Ok(Err(error)) => Err(error.told()),
        Err(_) => Err("no answer within directory.lookup_deadline_ms".to_owned()),
    }
}
