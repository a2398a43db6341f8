//! A model of the keeper of the directory, `src/directory/` of the daemon, as small as it can be.
//!
//! In: whether its node is the active one of its home and knows all of it, changes and questions of the shards, answers of
//! the store, time. Out: requests to the store and orders for the shards.
//!
//! What it has of the real one: only an active node publishes; each time as the active node begins with a reconcile, once
//! no write of an earlier time is under way; changes of one AoR wait once and are written in their order, one write at a
//! time, again and again; a passive node forgets what its shards note; each question is answered once. A reconcile shows the
//! store's rows to the shards and then has them walk over the rest, which withdraws what is not known here: so it waits
//! until the node is whole.
//!
//! What it lacks: lanes, epochs, leases, pages, and all of what concerns speed.

use crate::store::{Asked, Said};
use sipfed_proto::directory::{Change, Question};
use std::collections::{BTreeMap, VecDeque};

/// Rows in one write.
const BATCH_COUNT: usize = 4;
/// Milliseconds after which a question is given up.
const QUESTION_MS: u64 = 1000;
/// Milliseconds after which a write or a scan is taken for failed.
const REQUEST_MS: u64 = 4000;
/// Pauses after a failure.
const PAUSE_MS: (u64, u64) = (50, 2000);
/// Milliseconds between two reconciles.
const RECONCILE_MS: u64 = 20_000;

/// What a shard is to do for the directory.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    Answer { id: u64, homes: Option<Vec<Box<str>>> },
    Compare { pass: u8, aors: Vec<String> },
    Walk { pass: u8 },
}

/// What the keeper wants done.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    Ask { id: u64, asked: Asked },
    Order { shard: usize, order: Order },
}

/// Where a reconcile stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    None,
    Scanning { id: u64, until: u64 },
    Comparing { left: usize },
    Walking { left: usize },
}

#[derive(Debug)]
struct Write {
    id: u64,
    stint: u64,
    changes: Vec<(String, bool)>,
    until: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Keeper {
    shards_count: usize,
    is_active: bool,
    /// The number of the present time as the active node, or of the last one.
    stint: u64,
    waiting: VecDeque<(String, bool)>,
    writing: Option<Write>,
    write_at: u64,
    pause_ms: u64,
    stamp_us: u64,
    phase: Phase,
    pass: u8,
    reconcile_at: u64,
    /// By request: shard, number there, and until when.
    questions: BTreeMap<u64, (usize, u64, u64)>,
    next_id: u64,
    /// A defect that is planted for a test of the checkers: nothing is withdrawn.
    pub(crate) forgets_to_withdraw: bool,
    /// Another one: a passive node publishes as well.
    pub(crate) publishes_always: bool,
}

impl Keeper {
    pub(crate) fn new(shards_count: usize) -> Self {
        Self {
            shards_count,
            is_active: false,
            stint: 0,
            waiting: VecDeque::new(),
            writing: None,
            write_at: 0,
            pause_ms: PAUSE_MS.0,
            stamp_us: 0,
            phase: Phase::None,
            pass: 0,
            reconcile_at: 0,
            questions: BTreeMap::new(),
            next_id: 0,
            forgets_to_withdraw: false,
            publishes_always: false,
        }
    }

    /// How many AoRs wait to be written.
    pub(crate) fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// How many questions are open.
    pub(crate) fn questions_count(&self) -> usize {
        self.questions.len()
    }

    pub(crate) fn set_active(&mut self, is_active: bool, now: u64) {
        if is_active == self.is_active {
            return;
        }
        self.is_active = is_active;
        if is_active {
            self.stint += 1;
            self.reconcile_at = now;
        } else if !self.publishes_always {
            self.waiting.clear();
        }
        self.phase = Phase::None;
    }

    /// A shard has noted a change.
    pub(crate) fn note(&mut self, change: &Change) {
        if !self.is_active && !self.publishes_always || self.forgets_to_withdraw && !change.is_home {
            return;
        }
        let aor = String::from_utf8_lossy(&change.aor).into_owned();
        match self.waiting.iter_mut().find(|(of, _)| *of == aor) {
            Some(waiting) => waiting.1 = change.is_home,
            None => self.waiting.push_back((aor, change.is_home)),
        }
    }

    /// A shard asks whose home an AoR is.
    pub(crate) fn ask(&mut self, shard: usize, question: &Question, now: u64) -> Wish {
        let id = self.id();
        self.questions.insert(id, (shard, question.id, now + QUESTION_MS));
        Wish::Ask { id, asked: Asked::Lookup { aor: String::from_utf8_lossy(&question.aor).into_owned() } }
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// A shard has shown its rows, or has walked.
    pub(crate) fn done(&mut self) {
        if let Phase::Comparing { left } | Phase::Walking { left } = &mut self.phase {
            *left = left.saturating_sub(1);
        }
    }

    /// The store has said something.
    pub(crate) fn answered(&mut self, id: u64, said: Said, home_name: impl Fn(usize) -> String, now: u64) -> Vec<Wish> {
        if let Some((shard, id, _)) = self.questions.remove(&id) {
            let homes = match said {
                Said::Homes(homes) => Some(homes.into_iter().map(|home| home_name(home).into()).collect()),
                _ => None,
            };
            return vec![Wish::Order { shard, order: Order::Answer { id, homes } }];
        }
        if self.writing.as_ref().is_some_and(|write| write.id == id) {
            self.write_ended(matches!(said, Said::Written), now);
        } else if matches!(self.phase, Phase::Scanning { id: of, .. } if of == id) {
            return self.scan_ended(&said, now);
        }
        Vec::new()
    }

    fn write_ended(&mut self, is_written: bool, now: u64) {
        let Some(write) = self.writing.take() else { return };
        if is_written {
            self.pause_ms = PAUSE_MS.0;
            return;
        }
        self.write_at = now + self.pause_ms;
        self.pause_ms = (2 * self.pause_ms).min(PAUSE_MS.1);
        if write.stint == self.stint && (self.is_active || self.publishes_always) {
            for (aor, is_home) in write.changes.into_iter().rev() {
                if !self.waiting.iter().any(|(of, _)| *of == aor) {
                    self.waiting.push_front((aor, is_home));
                }
            }
        }
    }

    fn scan_ended(&mut self, said: &Said, now: u64) -> Vec<Wish> {
        let Said::Aors(aors) = said else {
            self.phase = Phase::None;
            self.reconcile_at = now + PAUSE_MS.1;
            return Vec::new();
        };
        self.phase = Phase::Comparing { left: self.shards_count };
        let order = |shard| Wish::Order { shard, order: Order::Compare { pass: self.pass, aors: aors.clone() } };
        (0..self.shards_count).map(order).collect()
    }

    /// What is due. `clock_us` is the time of the node.
    pub(crate) fn poll(&mut self, is_whole: bool, now: u64, clock_us: u64) -> Vec<Wish> {
        let mut wishes = Vec::new();
        while let Some((id, (shard, question, _))) = self.questions.first_key_value().map(|(id, q)| (*id, *q))
            && self.questions[&id].2 <= now
        {
            self.questions.remove(&id);
            wishes.push(Wish::Order { shard, order: Order::Answer { id: question, homes: None } });
        }
        if self.writing.as_ref().is_some_and(|write| write.until <= now) {
            self.write_ended(false, now);
        }
        if matches!(self.phase, Phase::Scanning { until, .. } if until <= now) {
            self.phase = Phase::None;
            self.reconcile_at = now + PAUSE_MS.1;
        }
        if self.writing.is_none() && self.write_at <= now && !self.waiting.is_empty() {
            let count = self.waiting.len().min(BATCH_COUNT);
            let changes: Vec<_> = self.waiting.drain(..count).collect();
            // Each stamp is later than the one before, whatever the clock does.
            self.stamp_us = clock_us.max(self.stamp_us + 1);
            let id = self.id();
            wishes.push(Wish::Ask { id, asked: Asked::Write { changes: changes.clone(), stamp_us: self.stamp_us } });
            self.writing = Some(Write { id, stint: self.stint, changes, until: now + REQUEST_MS });
        }
        self.reconcile(is_whole, now, &mut wishes);
        wishes
    }

    fn reconcile(&mut self, is_whole: bool, now: u64, wishes: &mut Vec<Wish>) {
        match self.phase {
            Phase::None if self.is_active && is_whole && self.reconcile_at <= now => {
                if self.writing.as_ref().is_some_and(|write| write.stint != self.stint) {
                    return;
                }
                self.pass = self.pass.checked_add(1).unwrap_or(1);
                let id = self.id();
                self.phase = Phase::Scanning { id, until: now + REQUEST_MS };
                wishes.push(Wish::Ask { id, asked: Asked::Scan });
            }
            Phase::Comparing { left: 0 } => {
                self.phase = Phase::Walking { left: self.shards_count };
                let order = |shard| Wish::Order { shard, order: Order::Walk { pass: self.pass } };
                wishes.extend((0..self.shards_count).map(order));
            }
            Phase::Walking { left: 0 } => {
                self.phase = Phase::None;
                self.reconcile_at = now + RECONCILE_MS;
            }
            _ => {}
        }
    }
}
