//! Nodes that back each other up, and an AoR with as many bindings as one may have: what was removed of it stays so.

use super::node::{and, register};
use super::pair::{Pair, bind};
use sipfed_proto::limits::{AOR_BINDINGS_COUNT_MAX, AOR_REMOVALS_COUNT_MAX};

const FULL: usize = AOR_BINDINGS_COUNT_MAX;

/// A pair that holds bindings of one AoR at these contacts.
fn pair_with(contacts: std::ops::Range<usize>) -> Pair {
    let mut pair = Pair::connected([1, 2]);
    for contact in contacts {
        pair.now = pair.now.plus_ms(1);
        let now = pair.now;
        assert!(pair.members[0].ask(&bind(1, contact, 1, 600), now).starts_with("SIP/2.0 200 "));
    }
    pair.settle();
    pair.assert_equal();
    pair
}

fn first_line(answer: &str) -> &str {
    answer.lines().next().unwrap_or_default()
}

/// Has a node asked that, some time after what was asked before.
fn ask(pair: &mut Pair, member: usize, text: &str) -> String {
    pair.pass(1000);
    let now = pair.now;
    pair.members[member].ask(text, now)
}

/// Which contacts both nodes have now.
fn contacts(pair: &mut Pair) -> Vec<usize> {
    let now = pair.now;
    let [one, two] = pair.members.each_mut().map(|member| member.contacts("u1", now));
    assert_eq!(one, two);
    let number = |line: &String| line.split("sip:c").nth(1)?.split('@').next()?.parse().ok();
    let mut numbers: Vec<usize> = one.iter().filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_removal_sticks_of_what_only_the_other_node_knows_although_the_aor_is_full() {
    for is_restarted in [false, true] {
        let mut pair = pair_with(0..FULL - 1);
        pair.cut();
        let cut_off = FULL + 10;
        assert!(ask(&mut pair, 1, &bind(1, cut_off, 2, 600)).starts_with("SIP/2.0 200 "));
        assert!(ask(&mut pair, 0, &bind(1, FULL, 2, 600)).starts_with("SIP/2.0 200 "));
        let removed = ask(&mut pair, 0, &bind(1, cut_off, 3, 0));
        assert!(removed.starts_with("SIP/2.0 200 "), "{}", first_line(&removed));
        pair.heal(is_restarted);
        let expected: Vec<usize> = (0..FULL - 1).chain([FULL]).collect();
        assert_eq!(contacts(&mut pair), expected, "restarted: {is_restarted}");
    }
}

#[test]
fn a_removal_of_all_sticks_although_the_aor_is_full() {
    for is_restarted in [false, true] {
        let mut pair = pair_with(0..FULL);
        pair.cut();
        ask(&mut pair, 1, &bind(1, 0, 2, 0));
        assert!(ask(&mut pair, 1, &bind(1, FULL, 3, 600)).starts_with("SIP/2.0 200 "));
        let removed = ask(&mut pair, 0, &and(&register("u1", "*", 4), "Expires: 0"));
        assert!(removed.starts_with("SIP/2.0 200 ") && !removed.contains("\r\nContact:"), "{}", first_line(&removed));
        pair.heal(is_restarted);
        assert_eq!(contacts(&mut pair), [], "restarted: {is_restarted}");
    }
}

/// A phone that has another port each time, and takes back the one before: for as long as the other node is away all of that
/// is remembered.
#[test]
fn a_phone_that_changes_its_contact_again_and_again_is_never_refused_while_the_other_node_is_away() {
    for is_restarted in [false, true] {
        let mut pair = pair_with(0..1);
        pair.cut();
        let last = 4 * FULL;
        // A part of what it takes back later is known there alone.
        let at_other: Vec<usize> = (last - 10..last).collect();
        for &contact in &at_other {
            ask(&mut pair, 1, &bind(1, contact, 2, 600));
        }
        for contact in 1..=last {
            let (now, cseq) = (pair.now.plus_ms(10), contact as u32 * 2);
            pair.now = now;
            let member = &mut pair.members[0];
            let bound = member.ask(&bind(1, contact, cseq, 600), now);
            assert!(bound.starts_with("SIP/2.0 200 "), "contact {contact}: {}", first_line(&bound));
            let removed = member.ask(&bind(1, contact - 1, cseq + 1, 0), now);
            assert!(removed.starts_with("SIP/2.0 200 "), "contact {contact}: {}", first_line(&removed));
            assert_eq!(removed.matches("\r\nContact:").count(), 1);
            let (shard, _) = &member.shards[0];
            assert!(shard.bindings() <= 1 + AOR_REMOVALS_COUNT_MAX && shard.contacts() == 1);
        }
        let given_up = pair.members[0].shards[0].0.counters().removals_given_up;
        assert_eq!(given_up, (last - AOR_REMOVALS_COUNT_MAX) as u64, "the oldest ones");
        pair.heal(is_restarted);
        let there = contacts(&mut pair);
        assert!(there.contains(&last) && !there.iter().any(|contact| at_other.contains(contact)), "{there:?}");
    }
}

#[test]
fn removals_of_long_contacts_are_remembered_as_far_as_there_is_room() {
    let mut pair = pair_with(0..1);
    pair.cut();
    let request = |contact: usize, cseq: u32, expires_s: u32| {
        let long = "x".repeat(900);
        let contact = format!("<sip:c{contact}@203.0.113.9:5070;x={long}>;x={long}");
        and(&register("u1", &contact, cseq), &format!("Expires: {expires_s}"))
    };
    for contact in 1..40 {
        for (cseq, expires_s) in [(1, 600), (2, 0)] {
            let answer = ask(&mut pair, 0, &request(contact, cseq, expires_s));
            assert!(answer.starts_with("SIP/2.0 200 "), "contact {contact}: {}", first_line(&answer));
        }
    }
    let (shard, _) = &pair.members[0].shards[0];
    let (remembered, given_up) = (shard.bindings() - shard.contacts(), shard.counters().removals_given_up);
    assert!((10..20).contains(&remembered) && remembered as u64 + given_up == 39, "{remembered}, {given_up}");
    assert_eq!(shard.contacts(), 1);
}

/// What is remembered takes no room from what is registered.
#[test]
fn an_aor_is_full_of_bindings_and_not_of_what_is_remembered() {
    let mut pair = pair_with(0..FULL);
    pair.cut();
    for contact in 0..FULL {
        ask(&mut pair, 0, &bind(1, contact, 2, 0));
        let bound = ask(&mut pair, 0, &bind(1, FULL + contact, 2, 600));
        assert!(bound.starts_with("SIP/2.0 200 "), "contact {contact}: {}", first_line(&bound));
        assert_eq!(bound.matches("\r\nContact:").count(), FULL);
    }
    let one_more = ask(&mut pair, 0, &bind(1, 2 * FULL, 2, 600));
    assert!(one_more.starts_with("SIP/2.0 403 "), "{}", first_line(&one_more));
    pair.heal(false);
    assert_eq!(contacts(&mut pair), (FULL..2 * FULL).collect::<Vec<usize>>());
}
