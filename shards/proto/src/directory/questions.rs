//! Which AoRs are being asked for, and which server transactions wait for the answer.
//!
//! One question for an AoR is open at a time, whoever else wants to know joins it. Bounded by
//! [`limits::QUESTIONS_COUNT_MAX`] open ones; who joins is bounded by the transactions of the shard.

use super::Question;
use crate::keys::{AorHash, NumberHasher};
use crate::limits;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::hash::BuildHasherDefault;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    open: HashMap<AorHash, Vec<u32>, BuildHasherDefault<NumberHasher>>,
    /// Those that have not been taken yet.
    queue: VecDeque<Question>,
}

impl Questions {
    /// Whether an answer for this AoR is on its way.
    pub(crate) fn is_open(&self, aor: AorHash) -> bool {
        self.open.contains_key(&aor)
    }

    /// Has `waiting` wait for the answer; `false` when no further question has room.
    pub(crate) fn ask(&mut self, aor: AorHash, text: Box<[u8]>, waiting: u32) -> bool {
        if let Some(all) = self.open.get_mut(&aor) {
            all.push(waiting);
            return true;
        }
        if self.open.len() >= limits::QUESTIONS_COUNT_MAX {
            return false;
        }
        self.open.insert(aor, vec![waiting]);
        self.queue.push_back(Question { id: aor.0, aor: text });
        true
    }

    /// How many wait to be taken.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// The question that waits longest to be taken.
    pub(crate) fn next(&mut self) -> Option<Question> {
        self.queue.pop_front()
    }

    /// The answer has come: everyone who waited for it.
    pub(crate) fn close(&mut self, aor: AorHash) -> Vec<u32> {
        self.open.remove(&aor).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_the_same_joins_the_question() {
        let mut questions = Questions::default();
        assert!(questions.ask(AorHash(1), Box::from(*b"a"), 10));
        assert!(questions.ask(AorHash(1), Box::from(*b"a"), 11));
        assert_eq!(questions.next().map(|q| q.id), Some(1));
        assert_eq!(questions.next(), None);
        assert!(questions.ask(AorHash(1), Box::from(*b"a"), 12), "also when it is on its way");
        assert_eq!(questions.next(), None);
        assert_eq!(questions.close(AorHash(1)), [10, 11, 12]);
        assert!(questions.close(AorHash(1)).is_empty());
    }

    #[test]
    fn questions_are_bounded_and_joining_is_not_refused() {
        let mut questions = Questions::default();
        for n in 0..limits::QUESTIONS_COUNT_MAX as u64 {
            assert!(questions.ask(AorHash(n), Box::default(), 0));
        }
        assert!(!questions.ask(AorHash(u64::MAX), Box::default(), 0));
        assert!(questions.ask(AorHash(5), Box::default(), 1));
    }
}
