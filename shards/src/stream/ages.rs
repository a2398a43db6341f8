//! Connections in the order of their last use, so that those unused for too long are found at once.
//!
//! All connections in one [`Queue`] may rest equally long; the one used longest ago therefore stands at its
//! head, and a use moves a connection to the tail. Both take a few writes, whatever the number of
//! connections is, and no timer is set for each. A connection is named by its slot and stands in at most
//! one queue.

use sipfed_proto::Now;

/// What a connection is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// To be opened.
    Opening,
    /// To agree on keys.
    Securing,
    /// To ask for a WebSocket.
    Upgrading,
    /// To be used.
    Open,
    /// To be closed.
    Lingering,
}

impl Queue {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [Self::Opening, Self::Securing, Self::Upgrading, Self::Open, Self::Lingering];
}

const NOBODY: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    before: u32,
    behind: u32,
    since: Now,
    queue: Option<Queue>,
}

/// The queues of all connections of a shard.
#[derive(Debug)]
pub(crate) struct Ages {
    links: Vec<Link>,
    heads: [u32; Queue::ALL.len()],
    tails: [u32; Queue::ALL.len()],
}

impl Ages {
    /// Empty queues.
    pub(crate) fn new() -> Self {
        Self { links: Vec::new(), heads: [NOBODY; Queue::ALL.len()], tails: [NOBODY; Queue::ALL.len()] }
    }

    /// Puts `slot` at the tail of `queue`, taking it out of the queue it stood in.
    pub(crate) fn put(&mut self, slot: u32, queue: Queue, now: Now) {
        self.remove(slot);
        let unqueued = Link { before: NOBODY, behind: NOBODY, since: now, queue: None };
        if self.links.len() <= slot as usize {
            self.links.resize(slot as usize + 1, unqueued);
        }
        let before = std::mem::replace(&mut self.tails[queue as usize], slot);
        self.links[slot as usize] = Link { before, behind: NOBODY, since: now, queue: Some(queue) };
        match self.links.get_mut(before as usize) {
            Some(link) => link.behind = slot,
            None => self.heads[queue as usize] = slot,
        }
    }

    /// Takes `slot` out of the queue it stands in.
    pub(crate) fn remove(&mut self, slot: u32) {
        let Some(link) = self.links.get_mut(slot as usize) else { return };
        let Some(queue) = link.queue.take() else { return };
        let Link { before, behind, .. } = *link;
        match self.links.get_mut(before as usize) {
            Some(link) => link.behind = behind,
            None => self.heads[queue as usize] = behind,
        }
        match self.links.get_mut(behind as usize) {
            Some(link) => link.before = before,
            None => self.tails[queue as usize] = before,
        }
    }

    /// The slot that stands longest in `queue`, and since when.
    pub(crate) fn oldest(&self, queue: Queue) -> Option<(u32, Now)> {
        let slot = self.heads[queue as usize];
        self.links.get(slot as usize).map(|link| (slot, link.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_use_moves_a_connection_behind_the_others() {
        let mut ages = Ages::new();
        for slot in 0..3 {
            ages.put(slot, Queue::Open, Now::from_unix_ms(u64::from(slot)));
        }
        ages.put(0, Queue::Open, Now::from_unix_ms(9));
        assert_eq!(ages.oldest(Queue::Open), Some((1, Now::from_unix_ms(1))));
        ages.put(1, Queue::Lingering, Now::from_unix_ms(10));
        ages.remove(2);
        assert_eq!(ages.oldest(Queue::Open), Some((0, Now::from_unix_ms(9))));
        assert_eq!(ages.oldest(Queue::Lingering), Some((1, Now::from_unix_ms(10))));
        assert_eq!(ages.oldest(Queue::Opening), None);
    }

    proptest! {
        #[test]
        fn the_queues_keep_the_order_of_a_plain_list(
            steps in prop::collection::vec((0_u32..12, 0..=Queue::ALL.len()), 0..200),
        ) {
            let mut ages = Ages::new();
            let mut lists: [Vec<u32>; Queue::ALL.len()] = Default::default();
            for (ms, (slot, step)) in steps.into_iter().enumerate() {
                for list in &mut lists {
                    list.retain(|s| *s != slot);
                }
                match Queue::ALL.get(step) {
                    Some(queue) => {
                        ages.put(slot, *queue, Now::from_unix_ms(ms as u64));
                        lists[step].push(slot);
                    }
                    None => ages.remove(slot),
                }
                for (queue, list) in Queue::ALL.iter().zip(&lists) {
                    prop_assert_eq!(ages.oldest(*queue).map(|(slot, _)| slot), list.first().copied());
                }
            }
        }
    }
}
