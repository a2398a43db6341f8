//! A model of the directory's store: rows that say which AoR is at home where, and since when the rows of a home count; the
//! last write of each wins.
//!
//! In: requests of keepers, each with the time stamp that its writer gave. Out: answers, unless the store is in trouble: it
//! may fail, do what it is told and yet fail, say nothing, or answer questions with what was. Of two writes with one stamp
//! a removal wins, as in the stores that it stands for. Where rows have a lease they end with it, unless they are written anew.
//!
//! [`Client`] is what a keeper has of it: it puts requests into the [`Mailbox`], from which the simulation takes them.

use crate::draw::Draw;
use crate::keepers::Stir;
use sipfed_directory::{Answering, Change, Epoch, GivenStore, PageToken, Row, ScannedRow, StoreError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long a keeper waits for an answer.
const REQUEST_MAX: Duration = Duration::from_secs(4);
/// Rows of one page.
const PAGE_ROWS_COUNT: usize = 3;

/// What the store is asked.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    /// To take a connection.
    Reach,
    /// To write rows of a home.
    Write {
        home: String,
        changes: Vec<Change>,
        stamp_us: i64,
    },
    /// Whose home an AoR is.
    Homes {
        aor: String,
    },
    /// A page of the AoRs of a home, or of all, behind the row of this key.
    Scan {
        home: Option<String>,
        behind: Option<Key>,
    },
    /// To forget rows of a home whose lease has ended.
    Sweep {
        home: String,
    },
    /// To remove rows that have not been written since: with the stamp that each had.
    Delete {
        rows: Vec<(Key, i64)>,
    },
    Epochs,
    SetEpoch {
        home: String,
        epoch_us: i64,
        stamp_us: i64,
    },
}

/// What it says.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    Done,
    Rows(Vec<(Key, i64)>),
    Page(Vec<(Key, i64)>, bool),
    Swept(u64),
    Epochs(Vec<Epoch>),
    Failed,
}

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Good,
    /// Some requests fail, half of them after they were carried out.
    Failing,
    /// It says nothing.
    Away,
    /// It takes its time.
    Slow,
    /// Questions are answered with what was.
    Stale,
}

/// AoR and home.
type Key = (String, String);

#[derive(Clone, Copy, Debug)]
struct Cell {
    stamp_us: i64,
    /// A removal that is remembered, otherwise.
    is_home: bool,
    /// When its lease ends, in milliseconds since the simulation began.
    until: u64,
}

#[derive(Clone, Debug, Default)]
struct Tables {
    rows: BTreeMap<Key, Cell>,
    /// By home: since when its rows count, and when that was said.
    epochs: BTreeMap<String, (i64, i64)>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Store {
    tables: Tables,
    /// What is read while it is stale.
    past: Tables,
    mood: Mood,
    draw: Draw,
    /// Milliseconds after which a row ends; `None` for never.
    lease_ms: Option<u64>,
    /// How many rows were written anew while they were there.
    pub(crate) renewed: u64,
}

impl Store {
    pub(crate) fn new(draw: Draw, lease_ms: Option<u64>) -> Self {
        let tables = Tables::default;
        Self { tables: tables(), past: tables(), mood: Mood::Good, draw, lease_ms, renewed: 0 }
    }

    pub(crate) fn set_mood(&mut self, mood: Mood) {
        if mood == Mood::Stale {
            self.past = self.tables.clone();
        }
        self.mood = mood;
    }

    /// Milliseconds that a request takes, there and back.
    pub(crate) fn takes_ms(&mut self) -> u64 {
        if self.mood == Mood::Slow { self.draw.between(100, 3000) } else { self.draw.between(1, 10) }
    }

    /// Carries out a request at `now`; `None` where it says nothing.
    pub(crate) fn carry_out(&mut self, asked: &Asked, now: u64) -> Option<Said> {
        if self.mood == Mood::Away {
            return None;
        }
        let fails = self.mood == Mood::Failing && self.draw.happens(400);
        if fails && self.draw.happens(500) {
            return Some(Said::Failed);
        }
        let said = self.answer(asked, now);
        Some(if fails { Said::Failed } else { said })
    }

    fn answer(&mut self, asked: &Asked, now: u64) -> Said {
        let until = self.lease_ms.map_or(u64::MAX, |lease_ms| now + lease_ms);
        let read = if self.mood == Mood::Stale { &self.past } else { &self.tables };
        match asked {
            Asked::Reach => Said::Done,
            Asked::Write { home, changes, stamp_us } => {
                for Change { aor, is_home } in changes {
                    let key = (aor.to_string(), home.clone());
                    let none = Cell { stamp_us: i64::MIN, is_home: false, until };
                    let row = self.tables.rows.entry(key).or_insert(none);
                    if (*stamp_us, !is_home) > (row.stamp_us, !row.is_home) {
                        self.renewed += u64::from(*is_home && row.is_home && row.until > now);
                        *row = Cell { stamp_us: *stamp_us, is_home: *is_home, until };
                    }
                }
                Said::Done
            }
            Asked::Homes { aor } => Said::Rows(read.there(now).filter(|(key, _)| key.0 == *aor).collect()),
            Asked::Scan { home, behind } => {
                let of_home = |key: &Key| home.as_ref().is_none_or(|home| key.1 == *home);
                let mut rows = read.there(now).filter(|(key, _)| of_home(key) && Some(key) > behind.as_ref());
                let page: Vec<_> = rows.by_ref().take(PAGE_ROWS_COUNT).collect();
                let has_more = rows.next().is_some();
                Said::Page(page, has_more)
            }
            Asked::Sweep { home } => {
                let mut count = 0;
                for (_, row) in self.tables.rows.iter_mut().filter(|(key, row)| key.1 == *home && row.until <= now) {
                    count += u64::from(std::mem::replace(&mut row.is_home, false));
                }
                Said::Swept(count)
            }
            Asked::Delete { rows } => {
                for (key, stamp_us) in rows {
                    if let Some(row) = self.tables.rows.get_mut(key)
                        && row.stamp_us == *stamp_us
                    {
                        row.is_home = false;
                    }
                }
                Said::Done
            }
            Asked::Epochs => {
                let epoch = |(home, (epoch_us, _)): (&String, &(i64, i64))| Epoch {
                    home: home.as_str().into(),
                    epoch_us: *epoch_us,
                };
                Said::Epochs(read.epochs.iter().map(epoch).collect())
            }
            Asked::SetEpoch { home, epoch_us, stamp_us } => {
                let epoch = self.tables.epochs.entry(home.clone()).or_insert((i64::MIN, i64::MIN));
                if *stamp_us > epoch.1 {
                    *epoch = (*epoch_us, *stamp_us);
                }
                Said::Done
            }
        }
    }

    /// The AoRs whose rows name that home, and count.
    pub(crate) fn aors(&self, home: &str, now: u64) -> Vec<String> {
        let since_us = self.tables.epochs.get(home).map_or(i64::MIN, |epoch| epoch.0);
        let counts = |(key, stamp_us): &(Key, i64)| key.1 == home && *stamp_us >= since_us;
        self.tables.there(now).filter(counts).map(|(key, _)| key.0).collect()
    }
}

impl Tables {
    fn there(&self, now: u64) -> impl Iterator<Item = (Key, i64)> {
        let is_there = move |row: &Cell| row.is_home && row.until > now;
        self.rows.iter().filter(move |(_, row)| is_there(row)).map(|(key, row)| (key.clone(), row.stamp_us))
    }
}

/// A request that is on its way.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) node: usize,
    pub(crate) asked: Asked,
    pub(crate) answer: oneshot::Sender<Said>,
}

/// Requests that have not been taken yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mailbox(Arc<Mutex<Vec<Request>>>);

impl Mailbox {
    pub(crate) fn take(&self) -> Vec<Request> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) node: usize,
    pub(crate) mailbox: Mailbox,
    pub(crate) stir: Stir,
    pub(crate) has_leases: bool,
    /// A defect that is planted for a test of the checkers: it is not tried again to reach the store.
    pub(crate) gives_up: bool,
}

impl Client {
    async fn ask(&self, asked: Asked) -> Result<Said, StoreError> {
        let (answer, answered) = oneshot::channel();
        let request = Request { node: self.node, asked, answer };
        self.mailbox.0.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        self.stir.raise();
        match timeout(REQUEST_MAX, answered).await {
            Ok(Ok(Said::Failed)) => Err(StoreError::unavailable("the store fails")),
            Ok(Ok(said)) => Ok(said),
            Ok(Err(_)) | Err(_) => Err(StoreError::unavailable("the store says nothing")),
        }
    }
}

fn row(((aor, home), stamp_us): (Key, i64)) -> Row {
    Row { aor: aor.into(), home: home.into(), written_at_us: Some(stamp_us) }
}

fn odd() -> StoreError {
    StoreError::unavailable("the store says something else")
}

/// Where the page behind this row begins.
fn token(of: &Row) -> PageToken {
    PageToken::new(format!("{} {}", of.aor, of.home).into_bytes())
}

fn key(of: &PageToken) -> Key {
    let text = String::from_utf8_lossy(of.bytes());
    let (aor, home) = text.split_once(' ').unwrap_or_default();
    (aor.to_owned(), home.to_owned())
}

impl GivenStore for Client {
    fn reach(&self) -> Answering<'_, ()> {
        Box::pin(async {
            let reached = self.ask(Asked::Reach).await.map(|_| ());
            if self.gives_up && reached.is_err() {
                std::future::pending::<()>().await;
            }
            reached
        })
    }

    fn write<'a>(&'a self, home: &'a str, changes: &'a [Change], stamp_us: i64) -> Answering<'a, ()> {
        let asked = Asked::Write { home: home.to_owned(), changes: changes.to_vec(), stamp_us };
        Box::pin(async { self.ask(asked).await.map(|_| ()) })
    }

    fn homes<'a>(&'a self, aor: &'a str) -> Answering<'a, Vec<Row>> {
        Box::pin(async {
            match self.ask(Asked::Homes { aor: aor.to_owned() }).await? {
                Said::Rows(rows) => Ok(rows.into_iter().map(row).collect()),
                _ => Err(odd()),
            }
        })
    }

    fn scan<'a>(
        &'a self,
        home: Option<&'a str>,
        page: Option<PageToken>,
        _rows_max: usize,
    ) -> Answering<'a, (Vec<ScannedRow>, Option<PageToken>)> {
        let asked = Asked::Scan { home: home.map(str::to_owned), behind: page.as_ref().map(key) };
        Box::pin(async {
            let Said::Page(rows, has_more) = self.ask(asked).await? else { return Err(odd()) };
            let rows: Vec<ScannedRow> = rows.into_iter().map(|of| ScannedRow { row: row(of), id: None }).collect();
            let next = rows.last().filter(|_| has_more).map(|last| token(&last.row));
            Ok((rows, next))
        })
    }

    fn delete_rows<'a>(&'a self, rows: &'a [ScannedRow]) -> Answering<'a, ()> {
        let of = |scanned: &ScannedRow| {
            let Row { aor, home, written_at_us } = &scanned.row;
            ((aor.to_string(), home.to_string()), written_at_us.unwrap_or(i64::MIN))
        };
        let asked = Asked::Delete { rows: rows.iter().map(of).collect() };
        Box::pin(async { self.ask(asked).await.map(|_| ()) })
    }

    fn epochs(&self) -> Answering<'_, Vec<Epoch>> {
        Box::pin(async {
            match self.ask(Asked::Epochs).await? {
                Said::Epochs(epochs) => Ok(epochs),
                _ => Err(odd()),
            }
        })
    }

    fn sweep<'a>(&'a self, home: &'a str, _now_us: i64) -> Answering<'a, u64> {
        let asked = Asked::Sweep { home: home.to_owned() };
        Box::pin(async {
            match self.ask(asked).await? {
                Said::Swept(count) => Ok(count),
                _ => Err(odd()),
            }
        })
    }

    fn has_leases(&self) -> bool {
        self.has_leases
    }

    fn set_epoch<'a>(&'a self, home: &'a str, epoch_us: i64, stamp_us: i64) -> Answering<'a, ()> {
        let asked = Asked::SetEpoch { home: home.to_owned(), epoch_us, stamp_us };
        Box::pin(async { self.ask(asked).await.map(|_| ()) })
    }
}
