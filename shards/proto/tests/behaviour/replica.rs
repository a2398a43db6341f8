//! Nodes that back each other up: they come to hold the same, whatever happens between them.

use super::node::{NODE, and, register};
use super::pair::{Member, Pair, bind, empty_shard, reshard, start};
use proptest::prelude::*;
use sipfed_proto::replica::end::Report;
use sipfed_proto::replica::session::{News, ReplicaSettings};
use sipfed_proto::{Ended, FlowToken, Outbox, Source, Transport};

#[test]
fn a_backup_answers_like_the_node_that_it_takes_over_from() {
    for shards in [[1, 1], [1, 3], [4, 2]] {
        let mut pair = Pair::connected(shards);
        assert!(pair.members.iter().all(Member::is_whole));
        for user in 0..5 {
            pair.now = pair.now.plus_ms(1);
            let now = pair.now;
            assert!(pair.members[0].ask(&bind(user, user, 1, 300), now).starts_with("SIP/2.0 200 "));
        }
        pair.now = pair.now.plus_ms(60_000);
        let refreshed = pair.members[0].ask(&bind(1, 1, 2, 400), pair.now);
        pair.members[0].ask(&bind(2, 2, 3, 0), pair.now);
        pair.settle();
        pair.assert_equal();
        assert_eq!(pair.members[1].bindings(pair.now), 4);
        // A retransmission is known, and an older request is refused, as if nothing had happened.
        assert_eq!(pair.members[1].ask(&bind(1, 1, 2, 400), pair.now), refreshed);
        assert!(pair.members[1].ask(&bind(2, 2, 2, 300), pair.now).starts_with("SIP/2.0 500 "));
    }
}

#[test]
fn nobody_is_said_to_be_unknown_before_all_bindings_have_come() {
    let mut pair = Pair::new([1, 2]);
    for user in 0..5 {
        pair.members[0].ask(&bind(user, 0, 1, 300), pair.now);
    }
    assert!(!pair.members[1].is_whole(), "no seed");
    let now = pair.now;
    assert_eq!(pair.members[0].status_of_call("nobody", now), "SIP/2.0 404 Not Found");
    assert!(pair.members[1].status_of_call("nobody", now).starts_with("SIP/2.0 480 "));
    pair.connect();
    while !pair.members[1].is_whole() {
        assert!(pair.carry(1), "it never comes to know all");
        assert!(!pair.members[1].is_whole() || pair.members[1].bindings(pair.now) == 5);
    }
    pair.now = pair.now.plus_ms(1);
    let now = pair.now;
    assert_eq!(pair.members[1].status_of_call("nobody", now), "SIP/2.0 404 Not Found");
    assert!(pair.members[1].news.contains(&News::Whole(Some(1))));
}

#[test]
fn a_seed_goes_on_alone_and_two_that_wait_for_one_another_go_on_together() {
    let now = start();
    let fallback_ms = ReplicaSettings::default().seed_fallback_ms;
    let mut seed = Member::new(1, 1, now, |settings| settings.is_seed = true);
    seed.turn(None, now.plus_ms(fallback_ms - 1));
    assert!(!seed.is_whole());
    seed.turn(None, now.plus_ms(fallback_ms));
    assert!(seed.is_whole() && seed.news == [News::Whole(None)]);
    let members = [Member::new(1, 1, now, |_| {}), Member::new(2, 2, now, |_| {})];
    let mut pair = Pair { members, is_linked: false, now };
    pair.members[1].ask(&bind(1, 1, 1, 300), now);
    pair.pass(10 * fallback_ms);
    assert!(!pair.members.iter().any(Member::is_whole));
    pair.connect();
    pair.settle();
    pair.pass(10 * fallback_ms);
    pair.settle();
    assert!(pair.members.iter().all(Member::is_whole));
    pair.assert_equal();
}

/// What a node says of itself at the beginning of a link may be over before the other one has begun as well.
#[test]
fn a_change_of_state_while_a_link_begins_is_told() {
    let mut pair = Pair::new([1, 1]);
    pair.connect();
    pair.turn(0);
    pair.members[0].replicator.set_role(true, 7);
    pair.settle();
    let state = pair.members[1].replicator.reports()[0].state;
    assert_eq!((state.is_active, state.term), (true, 7));
}

#[test]
fn a_synchronization_that_breaks_off_goes_on_where_it_was() {
    let mut pair = Pair::new([2, 1]);
    for n in 0..3000 {
        let contact = format!("<sip:c{n}@203.0.113.9:5070>");
        pair.members[0].ask(&and(&register(&format!("v{n}"), &contact, 1), "Expires: 600"), pair.now);
    }
    let mut held = 0;
    for _ in 0..5 {
        pair.connect();
        while pair.members[1].bindings(pair.now) < held + 500 {
            assert!(pair.carry(2), "nothing comes any more");
        }
        held = pair.members[1].bindings(pair.now);
        assert!(!pair.members[1].is_whole());
        pair.cut();
    }
    pair.connect();
    pair.settle();
    assert!(pair.members[1].is_whole());
    assert_eq!(pair.members[1].bindings(pair.now), 3000);
    let report = pair.members[1].replicator.reports()[0];
    assert!(report.is_synchronized && report.leaves_left == 0);
    assert!((3000..3300).contains(&report.mended), "{} were sent", report.mended);
    pair.compare();
    assert_eq!(pair.members[1].replicator.reports()[0].divergence, 0);
}

#[test]
fn a_removal_is_kept_for_a_backup_that_is_away() {
    let mut pair = Pair::connected([1, 1]);
    pair.members[0].ask(&bind(1, 1, 1, 600), pair.now);
    pair.settle();
    pair.cut();
    pair.members[0].ask(&bind(1, 1, 2, 0), pair.now);
    // Long after a retransmission could come.
    for _ in 0..30 {
        pair.pass(10_000);
    }
    assert_eq!(pair.members[1].bindings(pair.now), 1);
    // It survives a restart as well.
    let [first, _] = &pair.members;
    let logs = first.logs.clone();
    pair.members[0] = Member::restarted(1, &logs, 99, pair.now, |_| {});
    pair.connect();
    pair.settle();
    pair.compare();
    assert_eq!(pair.members.each_ref().map(|member| member.bindings(pair.now)), [0, 0]);
    // Once the backup has it, it is forgotten in time.
    for _ in 0..6 {
        pair.compare();
    }
    assert_eq!(pair.members.each_ref().map(|member| member.shards[0].0.bindings()), [0, 0]);
}

/// What was removed where it was not known: by a phone that had registered at the other node.
#[test]
fn a_removal_sticks_of_what_only_the_other_node_knows() {
    for is_restarted in [false, true] {
        let mut pair = Pair::connected([1, 2]);
        pair.cut();
        pair.members[1].ask(&bind(1, 1, 1, 600), pair.now);
        pair.members[1].ask(&bind(1, 2, 2, 600), pair.now);
        pair.pass(1000);
        let removed = pair.members[0].ask(&bind(1, 1, 3, 0), pair.now);
        assert!(removed.starts_with("SIP/2.0 200 "), "{removed}");
        // Its retransmission is known, and a copy of the registration that comes late is refused.
        let held = pair.members[0].shards[0].0.bindings();
        assert_eq!(pair.members[0].ask(&bind(1, 1, 3, 0), pair.now), removed);
        assert_eq!((held, pair.members[0].shards[0].0.bindings()), (1, 1));
        assert!(pair.members[0].ask(&bind(1, 1, 1, 600), pair.now).starts_with("SIP/2.0 500 "));
        // Long after a retransmission could come.
        for _ in 0..30 {
            pair.pass(10_000);
        }
        pair.heal(is_restarted);
        for member in &mut pair.members {
            let contacts = member.contacts("u1", pair.now);
            assert!(contacts.len() == 1 && contacts[0].contains("sip:c2@"), "{contacts:?}");
        }
        // Once both have it, it is forgotten in time.
        for _ in 0..6 {
            pair.compare();
        }
        let held = pair.members.each_ref().map(|member| member.shards.iter().map(|(s, _)| s.bindings()).sum::<usize>());
        assert_eq!(held, [1, 1]);
    }
}

/// A phone need not write its Contact alike each time, nor name its instance when it removes it.
#[test]
fn a_removal_sticks_however_the_contact_is_written() {
    let bound = "<sip:c1@203.0.113.9:5070>;+sip.instance=\"<urn:x:1>\"";
    for (bound, removed) in [
        (bound, "<sip:c1@203.0.113.9:5070>"),
        (bound, "<sip:other@203.0.113.9:5070>;+sip.instance=\"<urn:x:1>\""),
        ("<sip:c1@203.0.113.9:5070;ob>", "<sip:%631@203.0.113.9:5070;ob>"),
    ] {
        for is_restarted in [false, true] {
            let mut pair = Pair::connected([1, 1]);
            pair.cut();
            pair.members[1].ask(&and(&register("u1", bound, 1), "Expires: 600"), pair.now);
            pair.members[1].ask(&bind(1, 2, 2, 600), pair.now);
            pair.pass(1000);
            pair.members[0].ask(&and(&register("u1", removed, 3), "Expires: 0"), pair.now);
            pair.heal(is_restarted);
            let contacts = pair.members[1].contacts("u1", pair.now);
            assert!(contacts.len() == 1 && contacts[0].contains("sip:c2@"), "{removed}: {contacts:?}");
            // Who registers again is there.
            pair.members[1].ask(&and(&register("u1", bound, 4), "Expires: 600"), pair.now);
            pair.settle();
            pair.assert_equal();
            assert_eq!(pair.members[0].contacts("u1", pair.now).len(), 2);
        }
    }
}

#[test]
fn a_removal_of_all_sticks_of_what_only_the_other_node_knows() {
    for is_restarted in [false, true] {
        let mut pair = Pair::connected([2, 1]);
        pair.members[0].ask(&bind(1, 0, 1, 600), pair.now);
        pair.settle();
        pair.cut();
        pair.members[1].ask(&bind(1, 1, 2, 600), pair.now);
        pair.members[1].ask(&bind(1, 2, 3, 600), pair.now);
        pair.members[1].ask(&bind(2, 1, 3, 600), pair.now);
        pair.pass(1000);
        let all = and(&register("u1", "*", 4), "Expires: 0");
        let removed = pair.members[0].ask(&all, pair.now);
        assert!(removed.starts_with("SIP/2.0 200 "), "{removed}");
        assert_eq!(pair.members[0].ask(&all, pair.now), removed);
        // What was registered later stays, at either node; the other one does not know of the removal.
        pair.pass(1000);
        pair.members[0].ask(&bind(1, 0, 5, 600), pair.now);
        pair.members[1].ask(&bind(1, 2, 6, 600), pair.now);
        for _ in 0..20 {
            pair.pass(10_000);
        }
        pair.heal(is_restarted);
        for member in &mut pair.members {
            let contacts = member.contacts("u1", pair.now).concat();
            let is_there = [0, 1, 2].map(|contact| contacts.contains(&format!("sip:c{contact}@")));
            assert_eq!(is_there, [true, false, true], "{contacts}");
            assert_eq!(member.contacts("u2", pair.now).len(), 1);
        }
        let mended = pair.members.each_ref().map(|member| member.replicator.reports()[0].mended);
        for _ in 0..6 {
            pair.compare();
        }
        assert_eq!(pair.members.each_ref().map(|member| member.replicator.reports()[0].mended), mended);
        let held = pair.members.each_ref().map(|member| member.shards.iter().map(|(s, _)| s.bindings()).sum::<usize>());
        assert_eq!(held, [3, 3], "the memory of it is gone");
    }
}

/// By hand as well: it is no error that a node knows none, so that the operator takes them for removed.
#[test]
fn a_removal_by_hand_sticks_of_what_only_the_other_node_knows() {
    let mut pair = Pair::connected([1, 1]);
    pair.cut();
    pair.members[1].ask(&bind(1, 1, 1, 600), pair.now);
    for _ in 0..2 {
        pair.pass(1000);
        let now = pair.now;
        let shard = &mut pair.members[0].shards[0].0;
        assert_eq!(shard.end_by_hand(b"u1@fed.example", None, now), Ok(Ended::NoAor));
        assert_eq!(shard.bindings(), 1);
    }
    pair.connect();
    pair.settle();
    pair.compare();
    assert_eq!(pair.members.each_ref().map(|member| member.bindings(pair.now)), [0, 0]);
    pair.assert_equal();
}

/// What stands for all bindings is none that a Contact could name.
#[test]
fn what_is_remembered_of_a_removal_of_all_is_nobodys_binding() {
    let mut pair = Pair::connected([1, 1]);
    pair.members[0].ask(&and(&register("u1", "*", 1), "Expires: 0"), pair.now);
    let held = pair.members[0].shards[0].0.bindings();
    for (n, contact) in ["<>", "<*>", "<>;+sip.instance=\"*\""].iter().enumerate() {
        let answer = pair.members[0].ask(&and(&register("u1", contact, n as u32 + 2), "Expires: 60"), pair.now);
        assert!(answer.starts_with("SIP/2.0 400 "), "{contact}: {answer}");
    }
    assert_eq!((held, pair.members[0].shards[0].0.bindings()), (1, 1));
}

/// A node without backups has nobody who could know more.
#[test]
fn without_backups_nothing_is_remembered_of_what_was_not_there() {
    let mut shard = empty_shard(0, 1, start());
    let mut out = Outbox::new();
    let source = Source {
        transport: Transport::Udp,
        remote: "198.51.100.9:5060".parse().unwrap(),
        local: "192.0.2.1:5060".parse().unwrap(),
        flow: FlowToken::NONE,
    };
    for text in [bind(1, 1, 1, 0), and(&register("u1", "*", 2), "Expires: 0")] {
        shard.receive(text.as_bytes(), &source, start(), &mut out);
    }
    assert_eq!((out.iter().count(), shard.bindings()), (2, 0));
}

/// The node that is away had granted more time than the one that took over did later.
#[test]
fn what_expired_does_not_come_back_from_a_backup_that_holds_an_older_state_of_it() {
    let mut pair = Pair::connected([1, 1]);
    pair.members[0].ask(&bind(1, 1, 1, 600), pair.now);
    pair.settle();
    pair.cut();
    pair.pass(1000);
    pair.members[1].ask(&bind(1, 1, 2, 60), pair.now);
    pair.pass(70_000);
    assert_eq!(pair.members[1].bindings(pair.now), 0);
    let logs = pair.members[1].logs.clone();
    pair.members[1] = Member::restarted(2, &logs, 99, pair.now, |_| {});
    pair.connect();
    pair.settle();
    pair.compare();
    assert_eq!(pair.members.each_ref().map(|member| member.bindings(pair.now)), [0, 0]);
    pair.assert_equal();
    for _ in 0..6 {
        pair.compare();
    }
    assert_eq!(pair.members.each_ref().map(|member| member.shards[0].0.bindings()), [0, 0]);
}

#[test]
fn what_expires_expires_everywhere_and_is_no_difference() {
    let mut pair = Pair::connected([1, 2]);
    for user in 0..5 {
        pair.members[0].ask(&bind(user, 0, 1, 60), pair.now);
    }
    pair.settle();
    pair.pass(61_000);
    pair.settle();
    pair.compare();
    assert_eq!(pair.members.each_ref().map(|member| member.bindings(pair.now)), [0, 0]);
    pair.assert_equal();
    assert!(!pair.members.iter().flat_map(|member| &member.news).any(|news| matches!(news, News::Diverged { .. })));
}

#[test]
fn a_restarted_backup_asks_for_what_it_missed() {
    let mut pair = Pair::connected([2, 2]);
    for user in 0..5 {
        pair.members[0].ask(&bind(user, 0, 1, 600), pair.now);
    }
    pair.settle();
    pair.cut();
    for user in 0..3 {
        pair.members[0].ask(&bind(user, 1, 2, 600), pair.now);
    }
    let logs = pair.members[1].logs.clone();
    pair.members[1] = Member::restarted(2, &logs, 77, pair.now, |_| {});
    pair.members[0].news.clear();
    pair.connect();
    pair.settle();
    pair.assert_equal();
    assert_eq!(pair.members[1].bindings(pair.now), 8);
    let is_restart = |news: &News| matches!(news, News::Restarted { .. });
    assert!(!pair.members[0].news.iter().any(is_restart), "{:?}", pair.members[0].news);
    assert_eq!(pair.members[1].replicator.reports()[0].mended, 0, "no comparison had to find it");
    // What is not kept any more is found by a comparison.
    pair.cut();
    let logs = pair.members[0].logs.clone();
    pair.members[0] = Member::restarted(1, &logs, 78, pair.now, |settings| settings.kept_bytes = 100);
    pair.connect();
    pair.settle();
    pair.cut();
    for user in 0..5 {
        pair.members[0].ask(&bind(user, 2, 3, 600), pair.now);
    }
    pair.connect();
    pair.settle();
    pair.assert_equal();
    assert!(pair.members[0].news.iter().any(is_restart));
}

#[test]
fn what_comes_back_from_a_log_is_in_the_digests_as_it_comes() {
    let mut pair = Pair::connected([2, 2]);
    for user in 0..32 {
        pair.members[0].ask(&bind(user, 0, 1, 600), pair.now);
        // A refresh, or an end.
        pair.members[0].ask(&bind(user, 0, 2, if user % 2 == 0 { 600 } else { 0 }), pair.now);
    }
    for (index, log) in pair.members[0].logs.iter().enumerate() {
        let mut asks_before = empty_shard(index as u8, 2, pair.now);
        asks_before.keep_backups();
        asks_before.restore(log).unwrap();
        let mut asks_after = empty_shard(index as u8, 2, pair.now);
        asks_after.restore(log).unwrap();
        asks_after.keep_backups();
        let digests: Vec<u64> = asks_after.digests().collect();
        assert!(digests.iter().any(|digest| *digest != 0));
        assert!(asks_before.digests().eq(digests.iter().copied()));
        // To be asked again changes nothing.
        asks_before.keep_backups();
        assert!(asks_before.digests().eq(digests));
    }
}

#[test]
fn a_reply_has_to_wait_for_backups_that_keep_up_and_for_no_others() {
    let mut pair = Pair::connected([1, 1]);
    let released = |pair: &Pair| pair.members[0].replicator.released(0);
    assert!(pair.members[0].replicator.is_backed_up());
    let before = pair.members[0].shards[0].1.sequence();
    pair.members[0].ask(&bind(1, 1, 1, 600), pair.now);
    let wanted = pair.members[0].shards[0].1.sequence();
    assert_eq!((wanted, released(&pair)), (before + 1, before));
    pair.settle();
    assert_eq!(released(&pair), wanted);
    // It says nothing for too long.
    pair.members[0].ask(&bind(1, 1, 2, 600), pair.now);
    pair.turn(0);
    let now = pair.now.plus_ms(ReplicaSettings::default().ack_timeout_ms);
    pair.members[0].turn(None, now);
    assert_eq!(released(&pair), u64::MAX);
    assert!(!pair.members[0].replicator.is_backed_up());
    assert!(pair.members[0].news.contains(&News::Lagging(2)));
    pair.settle();
    assert!(pair.members[0].news.contains(&News::CaughtUp(2)));
    assert_eq!(released(&pair), wanted + 1);
    pair.cut();
    assert_eq!(released(&pair), u64::MAX);
}

/// It takes a refresh of a binding that it does not have yet, and has nothing of it.
#[test]
fn a_backup_that_is_being_told_all_is_not_one_that_has_what_it_acknowledges() {
    let mut pair = Pair::new([1, 1]);
    pair.members[0].ask(&bind(1, 1, 1, 600), pair.now);
    pair.connect();
    while !pair.members[1].is_whole() {
        assert!(!pair.members[0].replicator.is_backed_up());
        assert_eq!(pair.members[0].replicator.released(0), u64::MAX);
        assert!(pair.carry(1), "it never comes to know all");
    }
    pair.settle();
    assert!(pair.members[0].replicator.is_backed_up());
}

#[test]
fn parts_that_could_not_be_handed_over_are_found_by_a_comparison() {
    let mut pair = Pair::connected([1, 1]);
    let now = pair.now;
    let (shard, end) = &mut pair.members[0].shards[0];
    let mut out = Outbox::new();
    let source = Source {
        transport: Transport::Udp,
        remote: "203.0.113.1:5062".parse().unwrap(),
        local: NODE.parse().unwrap(),
        flow: FlowToken::NONE,
    };
    shard.receive(bind(1, 1, 1, 600).as_bytes(), &source, now, &mut out);
    end.tell_parts(shard, |_| {});
    shard.clear_journal();
    let (sequence, stamp) = (end.sequence(), shard.last_stamp());
    pair.members[0].replicator.handle_report(0, Report::Lost { sequence, stamp }, now);
    pair.settle();
    pair.compare();
    pair.assert_equal();
    assert_eq!(pair.members[1].bindings(pair.now), 1);
}

#[test]
fn a_refresh_of_what_is_not_there_is_compared_at_once() {
    let mut pair = Pair::connected([1, 1]);
    pair.members[0].ask(&bind(1, 1, 1, 600), pair.now);
    pair.settle();
    // Both are active for a while without hearing of each other.
    pair.cut();
    pair.now = pair.now.plus_ms(1000);
    pair.members[1].ask(&bind(1, 1, 2, 600), pair.now);
    pair.connect();
    // The first one refreshes what it has before it hears of the other's.
    pair.now = pair.now.plus_ms(1000);
    pair.members[0].ask(&bind(1, 1, 3, 600), pair.now);
    pair.settle();
    pair.assert_equal();
    assert_eq!(pair.members[1].shards[0].0.counters().replica_gaps, 1);
}

#[derive(Clone, Debug)]
enum Step {
    Register { at: usize, user: usize, contact: usize, expires_s: u32 },
    RemoveAll { at: usize, user: usize },
    Pass { s: u64 },
    Carry { frames: usize },
    Cut,
    Connect,
    Restart { at: usize, shards: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0usize..2, 0usize..5, 0usize..3, prop_oneof![Just(0u32), Just(60), 60u32..600])
            .prop_map(|(at, user, contact, expires_s)| Step::Register { at, user, contact, expires_s }),
        1 => (0usize..2, 0usize..5).prop_map(|(at, user)| Step::RemoveAll { at, user }),
        3 => (0u64..200).prop_map(|s| Step::Pass { s }),
        4 => (1usize..5).prop_map(|frames| Step::Carry { frames }),
        1 => Just(Step::Cut),
        2 => Just(Step::Connect),
        1 => (0usize..2, 1u8..4).prop_map(|(at, shards)| Step::Restart { at, shards }),
    ]
}

proptest! {
    /// Whatever both have answered, with a link that comes and goes and frames that are lost with it, and lives that end:
    /// once they can speak with one another, both hold the same, and of each binding the latest that was said anywhere.
    #[test]
    fn two_nodes_come_to_hold_the_same(steps in prop::collection::vec(step(), 1..80), shards in (1u8..4, 1u8..4)) {
        let mut pair = Pair::new([shards.0, shards.1]);
        let mut history = 100;
        // By user and contact: until when the latest request that was answered has it live.
        let mut latest = std::collections::HashMap::new();
        for (n, step) in steps.iter().enumerate() {
            pair.now = pair.now.plus_ms(1);
            let (now, cseq) = (pair.now, n as u32 + 1);
            match *step {
                Step::Register { at, user, contact, expires_s } => {
                    let answer = pair.members[at].ask(&bind(user, contact, cseq, expires_s), now);
                    prop_assert!(answer.starts_with("SIP/2.0 200 "), "{}", answer);
                    if expires_s > 0 {
                        latest.insert((user, contact), now.unix_ms() + u64::from(expires_s) * 1000);
                    } else {
                        latest.remove(&(user, contact));
                    }
                }
                Step::RemoveAll { at, user } => {
                    pair.members[at].ask(&and(&register(&format!("u{user}"), "*", cseq), "Expires: 0"), now);
                    latest.retain(|(of, _), _| *of != user);
                }
                Step::Pass { s } => {
                    for _ in 0..s.div_ceil(20) {
                        pair.pass(20_000);
                    }
                }
                Step::Carry { frames } if pair.is_linked => {
                    pair.carry(frames);
                }
                Step::Connect if !pair.is_linked => pair.connect(),
                Step::Carry { .. } | Step::Connect => {}
                Step::Cut => pair.cut(),
                Step::Restart { at, shards } => {
                    pair.cut();
                    history += 1;
                    let old = pair.members[at].logs.clone();
                    let (node, is_same) = (at as u16 + 1, usize::from(shards) == old.len());
                    let logs = if is_same { old } else { reshard(&old, shards, now) };
                    pair.members[at] = Member::restarted(node, &logs, history, now, |settings| {
                        settings.is_seed = true;
                        settings.kept_bytes = 400;
                    });
                }
            }
        }
        pair.cut();
        pair.connect();
        pair.settle();
        for _ in 0..3 {
            pair.compare();
        }
        pair.assert_equal();
        for member in &mut pair.members {
            prop_assert!(member.replicator.reports()[0].is_synchronized);
            prop_assert_eq!(member.replicator.reports()[0].divergence, 0);
        }
        let now_ms = pair.now.unix_ms();
        for (&(user, contact), &until_ms) in &latest {
            let contacts = pair.members[0].contacts(&format!("u{user}"), pair.now);
            let is_there = contacts.iter().any(|line| line.contains(&format!("sip:c{contact}@")));
            // Times are rounded up to seconds.
            prop_assert!(is_there || until_ms <= now_ms + 1000, "u{} c{}: {:?}", user, contact, contacts);
        }
        for user in 0..5 {
            let contacts = pair.members[0].contacts(&format!("u{user}"), pair.now);
            for contact in (0..3).filter(|contact| !latest.contains_key(&(user, *contact))) {
                let is_there = contacts.iter().any(|line| line.contains(&format!("sip:c{contact}@")));
                prop_assert!(!is_there, "u{} c{} was removed: {:?}", user, contact, contacts);
            }
        }
    }
}
