//! A backup whose log is slow: it is told no more than it takes in, and says of nothing that it has it before its log does.

use super::pair::{Pair, bind};
use sipfed_proto::replica::frame::Frame;
use sipfed_proto::replica::session::ReplicaSettings;

/// Leaves that are mended at a time.
const LEAVES_AT_ONCE: usize = 32;

/// Whether the second node has said, in what it has sent since, that it holds all.
fn says_that_it_holds_all(pair: &Pair) -> bool {
    pair.members[1].sent.iter().any(|frame| matches!(Frame::read(frame), Ok(Frame::Synced { .. })))
}

#[test]
fn a_backup_asks_for_more_only_when_its_log_has_what_it_was_given() {
    let mut pair = Pair::new([1, 1]);
    let users = 10 * LEAVES_AT_ONCE;
    for user in 0..users {
        pair.members[0].ask(&bind(user, 0, 1, 300), pair.now);
    }
    pair.members[1].is_log_behind = true;
    pair.connect();
    pair.settle();
    // A leaf has a few of them at most.
    let given = pair.members[1].bindings(pair.now);
    assert!((1..users / 2).contains(&given), "{given}");
    assert!(!pair.members[1].is_whole());
    pair.members[1].is_log_behind = false;
    pair.settle();
    assert_eq!(pair.members[1].bindings(pair.now), users);
    assert!(pair.members[1].is_whole());
}

#[test]
fn a_backup_does_not_say_that_it_holds_all_before_its_log_has_it() {
    let mut pair = Pair::connected([1, 1]);
    pair.members[1].is_log_behind = true;
    pair.members[0].ask(&bind(1, 0, 1, 300), pair.now);
    pair.pass(ReplicaSettings::default().digest_interval_ms);
    // The binding and the digests arrive, and the digests are equal by then.
    for _ in 0..3 {
        let frames: Vec<_> = pair.members[0].sent.drain(..).collect();
        for frame in frames {
            pair.members[1].replicator.receive(1, &frame, pair.now).unwrap();
        }
        pair.turn(0);
        pair.turn(1);
    }
    assert_eq!(pair.members[0].digests(), pair.members[1].digests());
    assert!(!says_that_it_holds_all(&pair));
    pair.members[1].is_log_behind = false;
    pair.turn(1);
    assert!(says_that_it_holds_all(&pair));
}
