//! What lies between the shards of a simulated node and its keeper: the queues of the daemon, small enough to be full at times.
//!
//! In: what shards ask and tell, orders of the keeper. Out: the same, on the other side. Whoever puts something in has the
//! other side looked after: the keeper is rung by its bell, the node's shards by [`Stir`].

use crate::keepers::Stir;
use sipfed_directory::Bell;
use sipfed_proto::directory::{News, Order, Question, ShardsLink};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Of each kind, for each shard.
const COUNT_MAX: usize = 8;

#[derive(Debug, Default)]
struct Queues {
    questions: VecDeque<Question>,
    news: VecDeque<News>,
    orders: VecDeque<Order>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct ShardsQueues {
    queues: Vec<Mutex<Queues>>,
    pub(crate) bell: Bell,
    stir: Stir,
    /// A defect that is planted for a test of the checkers: nothing is withdrawn.
    forgets_to_withdraw: bool,
}

impl ShardsQueues {
    pub(crate) fn new(shards_count: usize, stir: Stir, forgets_to_withdraw: bool) -> Self {
        let queues = (0..shards_count).map(|_| Mutex::default()).collect();
        Self { queues, bell: Bell::default(), stir, forgets_to_withdraw }
    }

    fn of(&self, shard: usize) -> MutexGuard<'_, Queues> {
        self.queues[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a shard has an order.
    pub(crate) fn has_order(&self, shard: usize) -> bool {
        !self.of(shard).orders.is_empty()
    }

    /// The next order of a shard.
    pub(crate) fn take_order(&self, shard: usize) -> Option<Order> {
        self.of(shard).orders.pop_front()
    }

    /// Whether there is room for one more question of a shard.
    pub(crate) fn takes_question(&self, shard: usize) -> bool {
        self.of(shard).questions.len() < COUNT_MAX
    }

    /// Whether there is room for one more news of a shard.
    pub(crate) fn takes_news(&self, shard: usize) -> bool {
        self.of(shard).news.len() < COUNT_MAX
    }

    /// A shard asks; there is room.
    pub(crate) fn ask(&self, shard: usize, question: Question) {
        self.of(shard).questions.push_back(question);
        self.bell.ring();
    }

    /// A shard tells something; there is room.
    pub(crate) fn tell(&self, shard: usize, news: News) {
        if self.forgets_to_withdraw && matches!(&news, News::Change(change) if !change.is_home) {
            return;
        }
        self.of(shard).news.push_back(news);
        self.bell.ring();
    }
}

impl ShardsLink for ShardsQueues {
    fn look(&self) {}

    fn shards_count(&self) -> usize {
        self.queues.len()
    }

    fn take_question(&self, shard: usize) -> Option<Question> {
        let mut queues = self.of(shard);
        if queues.questions.len() == COUNT_MAX {
            self.stir.raise();
        }
        queues.questions.pop_front()
    }

    fn take_news(&self, shard: usize) -> Option<News> {
        let mut queues = self.of(shard);
        if queues.news.len() == COUNT_MAX {
            self.stir.raise();
        }
        queues.news.pop_front()
    }

    fn put(&self, shard: usize, order: Order) -> Result<(), Order> {
        let mut queues = self.of(shard);
        if queues.orders.len() == COUNT_MAX {
            return Err(order);
        }
        queues.orders.push_back(order);
        Ok(())
    }

    fn ring(&self, _shard: usize) {
        self.stir.raise();
    }
}
