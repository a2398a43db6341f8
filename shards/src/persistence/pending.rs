//! What was written down and is not in the log yet.
//!
//! In: what each turn writes down, and entries that the log had taken and has lost. Out: entries for the log, in the order in
//! which they were written down, none longer than the log takes. Owned by the shard's end of its log. Bounds: an entry that has
//! grown to [`ENTRY_BYTES_MAX`] gets nothing more, so that it fits with what one turn adds to it; how many there are is
//! bounded by who stops writing.

use std::collections::VecDeque;

/// Bytes of an entry from which on what follows goes to the next one.
const ENTRY_BYTES_MAX: usize = sipfed_log::OPERATIONS_BYTES_MAX / 2;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Entries before that of this turn.
    earlier: VecDeque<Box<[u8]>>,
    /// The entry that is being written. Its memory is used again.
    turn: Vec<u8>,
}

impl Pending {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.earlier.is_empty() && self.turn.is_empty()
    }

    /// Where a turn writes, behind all else.
    pub(super) fn turn(&mut self) -> &mut Vec<u8> {
        if self.turn.len() >= ENTRY_BYTES_MAX {
            self.earlier.push_back(std::mem::take(&mut self.turn).into_boxed_slice());
        }
        &mut self.turn
    }

    /// Takes back entries that the log has lost: they are older than all that waits.
    pub(super) fn take_back(&mut self, lost: impl DoubleEndedIterator<Item = Box<[u8]>>) {
        for entry in lost.rev() {
            self.earlier.push_front(entry);
        }
    }

    /// Gives what waits to `append`, oldest first, as far as that takes it. What is refused waits on, with all behind it.
    /// Where nothing waits an empty entry is given, which tells whether the log takes any.
    pub(super) fn append<E>(&mut self, mut append: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let had_earlier = !self.earlier.is_empty();
        while let Some(entry) = self.earlier.front() {
            append(entry)?;
            self.earlier.pop_front();
        }
        if !had_earlier || !self.turn.is_empty() {
            append(&self.turn)?;
            self.turn.clear();
        }
        Ok(())
    }

    /// Gives it all up.
    pub(super) fn clear(&mut self) {
        self.earlier.clear();
        self.turn.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log that takes `room` entries.
    fn take(pending: &mut Pending, room: usize) -> (Vec<Vec<u8>>, bool) {
        let mut taken: Vec<Vec<u8>> = Vec::new();
        let result = pending.append(|entry| {
            assert!(entry.len() <= sipfed_log::OPERATIONS_BYTES_MAX, "an entry of {} bytes", entry.len());
            if taken.len() == room {
                return Err(());
            }
            taken.push(entry.to_vec());
            Ok(())
        });
        (taken, result.is_ok())
    }

    #[test]
    fn a_turn_is_one_entry_and_an_empty_one_asks() {
        let mut pending = Pending::default();
        assert_eq!(take(&mut pending, 1), (vec![vec![]], true));
        pending.turn().extend_from_slice(b"one");
        assert!(!pending.is_empty());
        assert_eq!(take(&mut pending, 1), (vec![b"one".to_vec()], true));
        assert!(pending.is_empty());
    }

    #[test]
    fn what_a_sync_has_lost_stays_apart_and_comes_first() {
        let mut pending = Pending::default();
        pending.turn().extend_from_slice(b"third");
        let lost = [vec![1; sipfed_log::OPERATIONS_BYTES_MAX], vec![2; sipfed_log::OPERATIONS_BYTES_MAX]];
        pending.take_back(lost.iter().map(|entry| entry.as_slice().into()));
        let (taken, is_all) = take(&mut pending, 1);
        assert!(taken == lost[..1] && !is_all, "what is refused waits on");
        pending.turn().extend_from_slice(b" and fourth");
        let (taken, is_all) = take(&mut pending, 9);
        assert!(taken == [lost[1].clone(), b"third and fourth".to_vec()] && is_all && pending.is_empty());
    }

    #[test]
    fn what_gathers_while_the_log_takes_nothing_is_appended_in_entries_that_fit() {
        let mut pending = Pending::default();
        let turn = vec![7; ENTRY_BYTES_MAX - 1];
        for _ in 0..5 {
            pending.turn().extend_from_slice(&turn);
            assert!(!take(&mut pending, 0).1);
        }
        let (taken, is_all) = take(&mut pending, 9);
        assert!(is_all && taken.iter().map(Vec::len).sum::<usize>() == 5 * turn.len());
    }
}
