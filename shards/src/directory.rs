//! Between the shards and whoever keeps the global directory, in the control plane.
//!
//! From a shard: questions, changes, and that a task is done. To a shard: answers, tasks, who the other nodes are, and which
//! homes are down. One bounded queue for each of these, for each shard. Who has put something in wakes the other side: a shard by its bell, the control plane by
//! the function that it has given. Neither ever waits for the other. A shard that finds its queue full keeps what it has
//! (see `sipfed_proto::directory`), and is rung when there is room again; the control plane keeps what a shard does not
//! take at once.
//!
//! Bounds: [`QUESTIONS_COUNT_MAX`], [`CHANGES_COUNT_MAX`] and [`ORDERS_COUNT_MAX`] for each shard, and one task at a time.

use crate::mesh::Mesh;
use crate::wake::{Alarm, Wake};
use crossbeam::queue::ArrayQueue;
use sipfed_proto::directory::{Answer, News, Order, Question, ShardsLink};
use sipfed_proto::{Now, Outbox, Shard, ShardIndex};
use std::sync::Arc;

/// Questions of one shard that wait to be taken by the control plane.
const QUESTIONS_COUNT_MAX: usize = 4096;
/// Changes of one shard that wait to be taken by the control plane.
const CHANGES_COUNT_MAX: usize = 4096;
/// Answers and tasks that wait to be taken by one shard.
const ORDERS_COUNT_MAX: usize = 4096;
/// Answers and tasks that a shard takes in one turn.
const ORDERS_PER_TURN_MAX: usize = 256;

/// The queues of one shard.
#[derive(Debug)]
struct Queues {
    questions: ArrayQueue<Question>,
    news: ArrayQueue<News>,
    orders: ArrayQueue<Order>,
}

/// The queues of all shards; the control plane's end, which is for any one thread.
#[derive(Debug)]
pub struct DirectoryLink {
    queues: Box<[Queues]>,
    mesh: Arc<Mesh>,
    alarm: Alarm,
}

impl DirectoryLink {
    pub(crate) fn new(mesh: Arc<Mesh>, shards_count: usize, wake: Wake) -> Self {
        let queues = |_| Queues {
            questions: ArrayQueue::new(QUESTIONS_COUNT_MAX),
            news: ArrayQueue::new(CHANGES_COUNT_MAX),
            orders: ArrayQueue::new(ORDERS_COUNT_MAX),
        };
        Self { queues: (0..shards_count).map(queues).collect(), mesh, alarm: Alarm::new(wake) }
    }

    fn take<T>(&self, shard: usize, queue: &ArrayQueue<T>) -> Option<T> {
        self.mesh.take_from(ShardIndex(shard as u8), queue)
    }
}

impl ShardsLink for DirectoryLink {
    fn look(&self) {
        self.alarm.look();
    }

    fn shards_count(&self) -> usize {
        self.queues.len()
    }

    fn take_question(&self, shard: usize) -> Option<Question> {
        self.take(shard, &self.queues[shard].questions)
    }

    fn take_news(&self, shard: usize) -> Option<News> {
        self.take(shard, &self.queues[shard].news)
    }

    fn put(&self, shard: usize, order: Order) -> Result<(), Order> {
        self.queues[shard].orders.push(order)
    }

    fn ring(&self, shard: usize) {
        self.mesh.bell(ShardIndex(shard as u8)).ring();
    }
}

/// One shard's end.
#[derive(Debug)]
pub(crate) struct DirectoryPort {
    link: Arc<DirectoryLink>,
    shard: usize,
    /// A task that is done while what came of it has not all been told.
    done: Option<News>,
    /// How many changes the machine had forgotten when that was last told.
    forgotten: u64,
}

impl DirectoryPort {
    pub(crate) fn new(link: Arc<DirectoryLink>, shard: ShardIndex) -> Self {
        Self { link, shard: usize::from(shard.0), done: None, forgotten: 0 }
    }

    /// Whether there is no order, and nothing that could be told: what did not fit before may fit by now, and whoever
    /// made room has rung already.
    pub(crate) fn is_idle(&self, machine: &Shard) -> bool {
        let Queues { questions, news, orders } = &self.link.queues[self.shard];
        let is_told = machine.changes_count() == 0 && self.done.is_none();
        orders.is_empty() && (is_told || news.is_full()) && (machine.questions_count() == 0 || questions.is_full())
    }

    /// Carries out what has been ordered; whether more is left.
    pub(crate) fn obey(&mut self, machine: &mut Shard, now: Now, out: &mut Outbox) -> bool {
        let orders = &self.link.queues[self.shard].orders;
        for _ in 0..ORDERS_PER_TURN_MAX {
            let Some(order) = orders.pop() else { return false };
            match order {
                Order::Answer { id, homes } => {
                    let answer = homes.as_deref().map_or(Answer::Unknown, Answer::Homes);
                    machine.handle_answer(id, answer, now, out);
                }
                Order::Compare { pass, aors } => {
                    machine.compare(aors.iter().map(|aor| &**aor), pass);
                    self.done = Some(News::Done(None));
                }
                Order::Peers(peers) => machine.set_peers(peers.iter().map(|peer| &**peer)),
                Order::Down(homes) => machine.set_down(homes.iter().map(|home| &**home)),
                Order::Walk { walk, from, count } => self.done = Some(News::Done(machine.walk(walk, from, count))),
            }
        }
        !orders.is_empty()
    }

    /// Tells what the machine has to ask and to say, as far as there is room.
    pub(crate) fn tell(&mut self, machine: &mut Shard) {
        let Queues { questions, news, .. } = &self.link.queues[self.shard];
        let mut has_told = false;
        while !questions.is_full()
            && let Some(question) = machine.next_question()
        {
            // This is the only one who puts something in.
            let _ = questions.push(question);
            has_told = true;
        }
        while !news.is_full()
            && let Some(change) = machine.next_change()
        {
            let _ = news.push(News::Change(change));
            has_told = true;
        }
        let forgotten = machine.changes_forgotten();
        if forgotten > self.forgotten && news.push(News::Forgotten).is_ok() {
            self.forgotten = forgotten;
            has_told = true;
        }
        if machine.changes_count() == 0
            && let Some(done) = self.done.take()
        {
            self.done = news.push(done).err();
            has_told = true;
        }
        if has_told {
            self.link.alarm.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipfed_proto::directory::Pass;
    use sipfed_proto::{Place, Settings};

    fn machine() -> Shard {
        let place = Place { index: ShardIndex(0), count: 1 };
        let mut machine = Shard::new(Arc::new(Settings::default()), place, [1; 32], Now::from_unix_ms(1_000_000));
        machine.keep_homes();
        machine
    }

    fn aors(range: std::ops::Range<u32>) -> Arc<[Box<[u8]>]> {
        range.map(|n| format!("user{n}@example.com").into_bytes().into_boxed_slice()).collect()
    }

    #[test]
    fn what_does_not_fit_is_told_when_there_is_room_and_a_task_is_done_after_all_of_it() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let woken = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&woken);
        let wake = Wake::new(move || _ = counted.fetch_add(1, Ordering::Relaxed));
        let link = Arc::new(DirectoryLink::new(Arc::new(Mesh::new(1).unwrap()), 1, wake));
        let mut port = DirectoryPort::new(Arc::clone(&link), ShardIndex(0));
        let (mut machine, mut out) = (machine(), Outbox::new());
        let count = CHANGES_COUNT_MAX as u32 + 10;
        let pass = Pass(std::num::NonZeroU8::MIN);
        assert!(port.is_idle(&machine));
        link.put(0, Order::Compare { pass, aors: aors(0..count) }).unwrap();
        assert!(!port.is_idle(&machine));
        assert!(!port.obey(&mut machine, Now::from_unix_ms(1_000_000), &mut out));
        let mut told = 0;
        loop {
            port.tell(&mut machine);
            assert!(port.is_idle(&machine), "the queue is full, or all is told");
            let news = link.take_news(0).unwrap();
            assert_eq!(port.is_idle(&machine), machine.changes_count() == 0 && port.done.is_none(), "there is room");
            match news {
                News::Change(change) => {
                    told += 1;
                    assert!(!change.is_home);
                }
                News::Done(next) => {
                    assert_eq!((told, next), (count, None));
                    break;
                }
                News::Forgotten => panic!("there was room in the machine"),
            }
        }
        assert_eq!(link.take_news(0), None);
        assert_eq!(woken.load(Ordering::Relaxed), 1, "it has not looked since");
        link.look();
        port.tell(&mut machine);
        assert_eq!(woken.load(Ordering::Relaxed), 1, "there is nothing new");
        link.put(0, Order::Compare { pass, aors: aors(0..1) }).unwrap();
        port.obey(&mut machine, Now::from_unix_ms(1_000_000), &mut out);
        port.tell(&mut machine);
        assert_eq!(woken.load(Ordering::Relaxed), 2);
    }
}
