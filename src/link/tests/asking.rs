//! Nodes ask each other: whoever can be asked answers, and who asks is told in time why nobody does.

use super::nodes::{SECRET, Start, by_secret, id, nodes, pair};
use crate::link::{MESSAGE_BYTES_MAX, QUESTIONS_COUNT_MAX, Unanswered, VERSIONS, Versions};

fn block_on<T>(done: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(done)
}

#[test]
fn a_question_is_answered_by_the_node_that_it_is_put_to() {
    let (_, one, mut two) = pair();
    let mut questions = two.questions.take().unwrap();
    let answer = async {
        for _ in 0..3 {
            let question = questions.recv().await.unwrap();
            let said = [b"to ", &*question.bytes].concat();
            assert_eq!(question.from, id(1));
            question.answer.send(said).unwrap();
        }
    };
    let (one_asks, long) = (one.thread.asker(), vec![7; MESSAGE_BYTES_MAX - 3]);
    let ask = async {
        assert_eq!(one_asks.ask(id(2), b"hello".to_vec()).await.as_deref(), Ok(&b"to hello"[..]));
        assert_eq!(one_asks.ask(id(2), long).await.unwrap().len(), MESSAGE_BYTES_MAX);
        // An answer that is too long is none.
        assert_eq!(one_asks.ask(id(2), vec![7; MESSAGE_BYTES_MAX]).await, Err(Unanswered::TurnedDown));
        assert_eq!(one_asks.ask(id(2), vec![7; MESSAGE_BYTES_MAX + 1]).await, Err(Unanswered::TooLong));
    };
    block_on(async { tokio::join!(answer, ask) });
}

#[test]
fn a_node_asks_itself_by_the_same_way() {
    let (_, mut one, _two) = pair();
    let mut questions = one.questions.take().unwrap();
    let asker = one.thread.asker();
    let (asked, ()) = block_on(async {
        tokio::join!(asker.ask(id(1), b"me".to_vec()), async {
            let question = questions.recv().await.unwrap();
            assert_eq!(question.from, id(1));
            question.answer.send(question.bytes.into_vec()).unwrap();
        })
    });
    assert_eq!(asked.as_deref(), Ok(&b"me"[..]));
}

#[test]
fn who_cannot_be_asked_is_told_at_once() {
    let (_, one, mut two) = pair();
    let asker = one.thread.asker();
    assert_eq!(block_on(asker.ask(id(9), b"?".to_vec())), Err(Unanswered::NotUp));
    // More than may be open at a time, none of which is answered.
    let held = two.questions.take().unwrap();
    let too_many = block_on(async {
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..=QUESTIONS_COUNT_MAX {
            let asker = asker.clone();
            asked.spawn(async move { asker.ask(id(2), b"?".to_vec()).await });
        }
        asked.join_next().await.unwrap().unwrap()
    });
    assert_eq!(too_many, Err(Unanswered::TurnedDown));
    // Nobody answers there any more.
    drop(held);
    assert_eq!(block_on(asker.ask(id(2), b"?".to_vec())), Err(Unanswered::TurnedDown));
    // The link breaks meanwhile.
    let (_, one, two) = pair();
    let asker = one.thread.asker();
    let asked = std::thread::spawn(move || block_on(asker.ask(id(2), b"?".to_vec())));
    let mut two = two;
    let question = two.questions.as_mut().unwrap().blocking_recv().unwrap();
    drop(two);
    assert_eq!(asked.join().unwrap(), Err(Unanswered::NotUp));
    drop((one, question));
}

#[test]
fn a_node_of_an_earlier_release_is_not_asked() {
    let nodes = nodes(2);
    let one = Start::new(1, &nodes, by_secret(SECRET)).go();
    let older = Versions { min: 1, max: 1 };
    let two = Start { versions: older, ..Start::new(2, &nodes, by_secret(SECRET)) }.go();
    assert_eq!((one.up(2), VERSIONS.max), (1, 2));
    two.up(1);
    let release = env!("CARGO_PKG_VERSION").to_owned();
    assert_eq!(block_on(one.thread.asker().ask(id(2), b"?".to_vec())), Err(Unanswered::TooOld(release)));
    assert!(one.is_quiet() && two.is_quiet(), "the link stays");
}
