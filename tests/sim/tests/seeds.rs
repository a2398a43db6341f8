//! Seeds of all profiles: a fixed number of them, and one that nobody has seen.

use sipfed_sim::{Facts, Outcome, Profile, run};
use std::time::SystemTime;

/// Seeds of each profile.
const SEEDS_COUNT: u64 = 12;

#[track_caller]
fn assert_well(outcome: &Outcome) {
    assert!(outcome.violations.is_empty(), "{outcome}");
}

fn seeds_of(profile: Profile) -> Facts {
    let mut sum = Facts::default();
    for seed in 0..SEEDS_COUNT {
        let outcome = run(seed, Some(profile));
        assert_well(&outcome);
        sum += outcome.facts;
    }
    println!("{}: {sum:?}", profile.name());
    // Seeds in which there is nothing to check show nothing.
    assert!(sum.found > 100 && sum.absent > 100 && sum.calls > 20 && sum.crossings > 10 && sum.whole > 5, "{sum:?}");
    assert!(sum.renewed > 100, "{sum:?}");
    assert!(sum.pings > 100 && sum.kept_open > 10 && sum.silent > 10, "{sum:?}");
    assert!(sum.over_flows > 5, "{sum:?}");
    assert!(sum.stints > 2 * SEEDS_COUNT, "{sum:?}");
    assert_eq!(sum.troubles > 0, !matches!(profile, Profile::Calm | Profile::Lossy), "{sum:?}");
    sum
}

#[test]
fn nothing_goes_wrong_where_all_is_calm() {
    seeds_of(Profile::Calm);
}

#[test]
fn lost_doubled_and_late_datagrams_do_no_harm() {
    seeds_of(Profile::Lossy);
}

#[test]
fn partitions_and_cut_links_do_no_harm() {
    seeds_of(Profile::Partitions);
}

#[test]
fn nodes_that_die_and_addresses_that_move_do_no_harm() {
    let sum = seeds_of(Profile::Crashes);
    assert!(sum.lost > 10 && sum.left_out > 10, "nobody was taken for lost, or no home for down: {sum:?}");
}

#[test]
fn a_split_brain_ends_in_one_state() {
    let sum = seeds_of(Profile::SplitBrain);
    assert!(sum.yields > 0, "nobody left a home to who had come to have it later: {sum:?}");
}

#[test]
fn rolling_restarts_with_other_numbers_of_shards_do_no_harm() {
    let sum = seeds_of(Profile::Rolling);
    assert!(sum.joins > 0 && sum.copies > 0, "nobody joined later, or no node started by its copy: {sum:?}");
}

#[test]
fn a_store_in_trouble_does_no_harm() {
    let sum = seeds_of(Profile::Store);
    assert!(sum.unreached > 20, "nodes reached the store whenever they started: {sum:?}");
}

#[test]
fn everything_at_once_does_no_harm() {
    seeds_of(Profile::Everything);
}

#[test]
fn a_seed_that_nobody_has_seen_does_no_harm() {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later than 1970");
    let outcome = run(since.as_nanos() as u64, None);
    println!("{outcome}");
    assert_well(&outcome);
}

#[test]
fn a_seed_gives_the_same_events_each_time() {
    let first = run(5, Some(Profile::Everything));
    assert!(first.events_count > 1000, "{first}");
    assert_eq!(first, run(5, Some(Profile::Everything)));
    assert_ne!(first.digest, run(6, Some(Profile::Everything)).digest);
}
