//! Between the shards and whoever resolves names, in the control plane.
//!
//! From a shard: questions. To a shard: what their names have come to, and that all which is known is to be asked for anew.
//! One bounded queue each way for each shard; who has put something in wakes the other side. Neither ever waits for the
//! other: a shard that finds its queue full keeps its questions and is rung when there is room, and the control plane takes
//! no more questions of a shard than it can give answers to.
//!
//! Bounds: [`QUESTIONS_COUNT_MAX`] and [`ORDERS_COUNT_MAX`] for each shard.

use crate::mesh::Mesh;
use crate::wake::{Alarm, Wake};
use crossbeam::queue::ArrayQueue;
use sipfed_proto::names::{NamesLink, Question, Resolved};
use sipfed_proto::{Now, Shard, ShardIndex};
use std::sync::Arc;

/// Questions of one shard that wait to be taken by the control plane.
const QUESTIONS_COUNT_MAX: usize = 256;
/// Answers that wait to be taken by one shard.
const ORDERS_COUNT_MAX: usize = 4096;
/// Answers that a shard takes in one turn.
const ORDERS_PER_TURN_MAX: usize = 64;

/// What the control plane has for a shard.
#[derive(Debug)]
enum Order {
    Answer(u32, Resolved),
    AskAnew,
}

/// The queues of one shard.
#[derive(Debug)]
struct Queues {
    questions: ArrayQueue<Question>,
    orders: ArrayQueue<Order>,
}

/// The queues of all shards; the control plane's end, which is for any one thread.
#[derive(Debug)]
pub struct NamesQueues {
    queues: Box<[Queues]>,
    mesh: Arc<Mesh>,
    alarm: Alarm,
}

impl NamesQueues {
    pub(crate) fn new(mesh: Arc<Mesh>, shards_count: usize, wake: Wake) -> Self {
        let queues =
            |_| Queues { questions: ArrayQueue::new(QUESTIONS_COUNT_MAX), orders: ArrayQueue::new(ORDERS_COUNT_MAX) };
        Self { queues: (0..shards_count).map(queues).collect(), mesh, alarm: Alarm::new(wake) }
    }

    fn order(&self, shard: usize, order: Order) -> Result<(), Order> {
        self.queues[shard].orders.push(order)?;
        self.mesh.bell(ShardIndex(shard as u8)).ring();
        Ok(())
    }
}

impl NamesLink for NamesQueues {
    fn look(&self) {
        self.alarm.look();
    }

    fn shards_count(&self) -> usize {
        self.queues.len()
    }

    fn take_question(&self, shard: usize) -> Option<Question> {
        self.mesh.take_from(ShardIndex(shard as u8), &self.queues[shard].questions)
    }

    fn answer(&self, shard: usize, id: u32, resolved: Resolved) -> Result<(), Resolved> {
        self.order(shard, Order::Answer(id, resolved)).map_err(|order| match order {
            Order::Answer(_, resolved) => resolved,
            Order::AskAnew => Resolved::Failed,
        })
    }

    fn ask_anew(&self, shard: usize) -> bool {
        self.order(shard, Order::AskAnew).is_ok()
    }
}

/// One shard's end.
#[derive(Debug)]
pub(crate) struct NamesPort {
    link: Arc<NamesQueues>,
    shard: usize,
}

impl NamesPort {
    pub(crate) fn new(link: Arc<NamesQueues>, shard: ShardIndex) -> Self {
        Self { link, shard: usize::from(shard.0) }
    }

    /// Whether there is no answer, and nothing that could be asked.
    pub(crate) fn is_idle(&self, machine: &Shard) -> bool {
        let Queues { questions, orders } = &self.link.queues[self.shard];
        orders.is_empty() && (machine.names_count() == 0 || questions.is_full())
    }

    /// Takes answers in; whether more are left.
    pub(crate) fn obey(&self, machine: &mut Shard, now: Now) -> bool {
        let orders = &self.link.queues[self.shard].orders;
        for _ in 0..ORDERS_PER_TURN_MAX {
            match orders.pop() {
                Some(Order::Answer(id, resolved)) => machine.handle_name(id, resolved, now),
                Some(Order::AskAnew) => machine.forget_names(),
                None => return false,
            }
        }
        !orders.is_empty()
    }

    /// Asks what the machine has to ask, as far as there is room.
    pub(crate) fn tell(&self, machine: &mut Shard) {
        if machine.names_count() == 0 {
            return;
        }
        let questions = &self.link.queues[self.shard].questions;
        let mut has_asked = false;
        while !questions.is_full()
            && let Some(question) = machine.next_name()
        {
            // This is the only one who puts something in.
            let _ = questions.push(question);
            has_asked = true;
        }
        if has_asked {
            self.link.alarm.wake();
        }
    }
}
