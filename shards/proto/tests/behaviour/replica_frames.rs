//! What a backup must not send.

use super::pair::{Member, start};
use sipfed_proto::replica::end::Order;
use sipfed_proto::replica::frame::{Frame, State};

#[test]
fn frames_that_break_the_rules_are_refused() {
    let now = start();
    let fresh = || {
        let mut member = Member::new(2, 1, now, |_| {});
        member.turn(None, now);
        member.replicator.link_up(1);
        member
    };
    let state = State::default();
    let begin = Frame::Begin { history: 1, shards: 1, state };
    let held = Frame::Held { shard: 0, round: 1, leaf: 1, held: Vec::new() };
    for (frames, what) in [
        (vec![Frame::Synced { shard: 0, round: 1 }], "comes before the beginning"),
        (vec![begin.clone(), begin.clone()], "begins where none may begin"),
        (vec![begin.clone(), Frame::Taken { shard: 0, sequence: 1 }], "acknowledges what was not sent"),
        (vec![begin.clone(), Frame::Synced { shard: 1, round: 1 }], "names a shard that this node does not have"),
        (vec![begin.clone(), Frame::Start { shard: 1, sequence: 1 }], "names a shard that its sender does not have"),
        (
            vec![begin.clone(), Frame::Part { shard: 0, sequence: 1, journal: b"".into() }],
            "is a part that does not follow",
        ),
        (
            vec![
                begin.clone(),
                Frame::Start { shard: 0, sequence: 1 },
                Frame::Part { shard: 0, sequence: 2, journal: b"\x01\xff\xff".into() },
            ],
            "has an entry that is cut off",
        ),
    ] {
        let mut member = fresh();
        let (last, good) = frames.split_last().unwrap();
        for frame in good {
            member.replicator.receive(1, &frame.write(), now).unwrap();
        }
        assert_eq!(member.replicator.receive(1, &last.write(), now).unwrap_err().0, what);
    }
    // Whoever is no backup is not listened to.
    let mut member = fresh();
    assert_eq!(member.replicator.receive(9, &held.write(), now), Ok(()));
    assert!(!member.replicator.next_order(0).is_some_and(|order| matches!(order, Order::Newer { .. })));
}
