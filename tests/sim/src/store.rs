//! A model of the directory's store: rows that say which AoR is at home where, the last write of each wins.
//!
//! In: requests of keepers, each with the time stamp that its writer gave. Out: answers, unless the store is in trouble: it
//! may fail, do what it is told and yet fail, say nothing, or answer questions with what was. Of two writes with one stamp
//! a removal wins, as in the stores that it stands for.

use crate::draw::Draw;
use std::collections::BTreeMap;

/// What the store is asked.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    /// To write rows of a home.
    Write { changes: Vec<(String, bool)>, stamp_us: u64 },
    /// Whose home an AoR is.
    Lookup { aor: String },
    /// Which AoRs a home has.
    Scan,
}

/// What it says.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    Written,
    Homes(Vec<usize>),
    Aors(Vec<String>),
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

/// By AoR and home: when it was written, and whether it is there.
type Rows = BTreeMap<(String, usize), (u64, bool)>;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Store {
    rows: Rows,
    /// What is read while it is stale.
    past: Rows,
    mood: Mood,
    draw: Draw,
}

impl Store {
    pub(crate) fn new(draw: Draw) -> Self {
        Self { rows: Rows::new(), past: Rows::new(), mood: Mood::Good, draw }
    }

    pub(crate) fn set_mood(&mut self, mood: Mood) {
        if mood == Mood::Stale {
            self.past = self.rows.clone();
        }
        self.mood = mood;
    }

    /// Milliseconds that a request takes, there and back.
    pub(crate) fn takes_ms(&mut self) -> u64 {
        if self.mood == Mood::Slow { self.draw.between(100, 3000) } else { self.draw.between(1, 10) }
    }

    /// Carries out a request of the node of `home`; `None` where it says nothing.
    pub(crate) fn carry_out(&mut self, home: usize, asked: &Asked) -> Option<Said> {
        if self.mood == Mood::Away {
            return None;
        }
        let fails = self.mood == Mood::Failing && self.draw.happens(400);
        if fails && self.draw.happens(500) {
            return Some(Said::Failed);
        }
        let said = self.answer(home, asked);
        Some(if fails { Said::Failed } else { said })
    }

    fn answer(&mut self, home: usize, asked: &Asked) -> Said {
        let read = if self.mood == Mood::Stale { &self.past } else { &self.rows };
        match asked {
            Asked::Write { changes, stamp_us } => {
                for (aor, is_home) in changes {
                    let row = self.rows.entry((aor.clone(), home)).or_insert((0, false));
                    if (*stamp_us, !is_home) > (row.0, !row.1) {
                        *row = (*stamp_us, *is_home);
                    }
                }
                Said::Written
            }
            Asked::Lookup { aor } => {
                let rows = read.iter().filter(|((of, _), row)| of == aor && row.1);
                Said::Homes(rows.map(|((_, home), _)| *home).collect())
            }
            Asked::Scan => Said::Aors(aors_of(read, home)),
        }
    }

    /// The AoRs whose rows name that home.
    pub(crate) fn aors(&self, home: usize) -> Vec<String> {
        aors_of(&self.rows, home)
    }
}

fn aors_of(rows: &Rows, home: usize) -> Vec<String> {
    rows.iter().filter(|((_, of), row)| *of == home && row.1).map(|((aor, _), _)| aor.clone()).collect()
}
