//! Questions that nodes put to each other over links. In: a question for a node, from any thread ([`Asker`]); out: its answer,
//! or why there is none. The other way round: the questions of others ([`Question`]), for whoever answers them on a thread of
//! its own; without anybody they are turned down at once. What questions and answers are is no matter here.
//!
//! It is of [`ASKING_VERSION`] of the protocol: an older node is not asked. Bounds: [`QUESTIONS_COUNT_MAX`] open at a time with
//! each node, in each direction; [`MESSAGE_BYTES_MAX`] bytes; [`ANSWER_MAX`]. What is too much is turned down. A question does
//! not outlive the connection that it was put over.

use super::frame::{Frame, MESSAGE_BYTES_MAX};
use super::links::Links;
use super::peer::Peer;
use crate::cluster::Id;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// The first version of the protocol that has questions.
pub(super) const ASKING_VERSION: u16 = 2;
/// Open with one node at a time, in one direction; and those that wait for whoever answers.
pub(crate) const QUESTIONS_COUNT_MAX: usize = 16;
/// How long an answer may take.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(10);

/// A question that has been put to this node, by another one or by itself.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) from: Id,
    pub(crate) bytes: Box<[u8]>,
    /// Dropped where it is not answered.
    pub(crate) answer: oneshot::Sender<Vec<u8>>,
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// There is no link to the node, or none any more.
    NotUp,
    /// The node runs this release, which knows no questions.
    TooOld(String),
    /// Too many are open with it, on this end or on the other, or nobody answers there.
    TurnedDown,
    /// It has more than [`MESSAGE_BYTES_MAX`] bytes.
    TooLong,
    /// It took longer than [`ANSWER_MAX`].
    TooSlow,
}

type Answered = oneshot::Sender<Result<Box<[u8]>, Unanswered>>;

/// A question on its way to the thread of the links.
#[derive(Debug)]
pub(super) struct Asking {
    node: Id,
    bytes: Vec<u8>,
    answered: Answered,
}

/// Asks other nodes, from any thread.
#[derive(Clone, Debug)]
pub(crate) struct Asker(mpsc::Sender<Asking>);

impl Asker {
    pub(super) fn channel() -> (Self, mpsc::Receiver<Asking>) {
        let (sender, receiver) = mpsc::channel(QUESTIONS_COUNT_MAX);
        (Self(sender), receiver)
    }

    /// Puts a question to a node, which may be this one.
    pub(crate) async fn ask(&self, node: Id, bytes: Vec<u8>) -> Result<Box<[u8]>, Unanswered> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(Unanswered::TooLong);
        }
        let (answered, answer) = oneshot::channel();
        let asked = async {
            if self.0.send(Asking { node, bytes, answered }).await.is_err() {
                return Err(Unanswered::NotUp);
            }
            answer.await.unwrap_or(Err(Unanswered::NotUp))
        };
        timeout(ANSWER_MAX, asked).await.unwrap_or(Err(Unanswered::TooSlow))
    }
}

/// What the thread of the links knows of questions.
#[derive(Debug)]
pub(super) struct Questions {
    /// Put to others, by node and number.
    open: RefCell<BTreeMap<(Id, u64), Answered>>,
    next_number: Cell<u64>,
    /// Put by others, by node.
    taken: RefCell<BTreeMap<Id, usize>>,
    answerer: mpsc::Sender<Question>,
}

impl Questions {
    pub(super) fn new(answerer: mpsc::Sender<Question>) -> Self {
        Self { open: RefCell::default(), next_number: Cell::new(1), taken: RefCell::default(), answerer }
    }

    /// The connection to a node has ended.
    pub(super) fn forget(&self, node: Id) {
        self.open.borrow_mut().retain(|(of, _), _| *of != node);
    }

    /// An answer has come; one that nobody waits for is passed over.
    pub(super) fn answered(&self, node: Id, number: u64, bytes: &[u8]) {
        if let Some(answered) = self.open.borrow_mut().remove(&(node, number)) {
            // Whoever asked may have given up.
            let _ = answered.send(if bytes.is_empty() { Err(Unanswered::TurnedDown) } else { Ok(bytes.into()) });
        }
    }

    /// Hands a question to whoever answers; what comes of it, unless it is turned down.
    fn hand_over(&self, from: Id, bytes: Box<[u8]>) -> Option<oneshot::Receiver<Vec<u8>>> {
        let (answer, answered) = oneshot::channel();
        self.answerer.try_send(Question { from, bytes, answer }).ok()?;
        Some(answered)
    }
}

/// Puts a question to a node.
pub(super) fn ask(links: &Links, Asking { node, bytes, answered }: Asking) {
    let questions = &links.questions;
    if node == links.me() {
        if let Some(answer) = questions.hand_over(node, bytes.into()) {
            tokio::task::spawn_local(async move {
                // Whoever asked may have given up.
                let _ = answered.send(answer.await.map(Into::into).map_err(|_| Unanswered::TurnedDown));
            });
        } else {
            let _ = answered.send(Err(Unanswered::TurnedDown));
        }
        return;
    }
    match put(links, node, &bytes) {
        Ok(number) => {
            questions.open.borrow_mut().insert((node, number), answered);
        }
        Err(why) => {
            let _ = answered.send(Err(why));
        }
    }
}

fn put(links: &Links, node: Id, bytes: &[u8]) -> Result<u64, Unanswered> {
    let peer = links.peer(node).filter(|peer| peer.is_up()).ok_or(Unanswered::NotUp)?;
    if peer.version.get() < ASKING_VERSION {
        return Err(Unanswered::TooOld(peer.release.borrow().clone()));
    }
    let mut open = links.questions.open.borrow_mut();
    open.retain(|_, answered| !answered.is_closed());
    if open.keys().filter(|(of, _)| *of == node).count() >= QUESTIONS_COUNT_MAX {
        return Err(Unanswered::TurnedDown);
    }
    let number = links.questions.next_number.get();
    links.questions.next_number.set(number + 1);
    if peer.queue.put_frame(&Frame::Ask { number, bytes }) { Ok(number) } else { Err(Unanswered::TurnedDown) }
}

/// A node has put a question.
pub(super) fn take(links: &Rc<Links>, peer: &Rc<Peer>, number: u64, bytes: &[u8]) {
    let node = peer.id();
    let is_room = links.questions.taken.borrow().get(&node).is_none_or(|count| *count < QUESTIONS_COUNT_MAX);
    let handed = if is_room { links.questions.hand_over(node, bytes.into()) } else { None };
    let Some(answer) = handed else {
        peer.queue.put_frame(&Frame::Answer { number, bytes: &[] });
        return;
    };
    *links.questions.taken.borrow_mut().entry(node).or_default() += 1;
    let (links, peer, life) = (Rc::clone(links), Rc::clone(peer), peer.life());
    tokio::task::spawn_local(async move {
        let answer = timeout(ANSWER_MAX, answer).await.ok().and_then(Result::ok);
        let answer = answer.filter(|answer| answer.len() <= MESSAGE_BYTES_MAX).unwrap_or_default();
        // What was asked over an earlier connection nobody waits for.
        if peer.is_up() && peer.life() == life {
            peer.queue.put_frame(&Frame::Answer { number, bytes: &answer });
        }
        let mut taken = links.questions.taken.borrow_mut();
        if let Some(count) = taken.get_mut(&node) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&node);
            }
        }
    });
}
