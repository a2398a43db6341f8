//! The checkers can fail: each finds a defect that is planted in the world around the code under test.

use sipfed_sim::{Defect, Profile, run_with};

/// Runs seeds until one violates `invariant`.
#[track_caller]
fn assert_found(defect: Defect, profile: Profile, invariant: &str) {
    let mut found = Vec::new();
    for seed in 0..12 {
        found.extend(run_with(seed, Some(profile), defect, false).violations);
        if found.iter().any(|what| what.starts_with(invariant)) {
            return;
        }
    }
    panic!("{defect:?} is not found as a violation of {invariant}: {found:?}");
}

#[test]
fn twins_that_never_hear_of_some_changes_are_found_to_differ() {
    assert_found(Defect::FramesVanish, Profile::Calm, "twins:");
}

#[test]
fn bindings_that_a_restart_forgets_are_missed() {
    assert_found(Defect::LogsForget, Profile::Crashes, "acknowledged:");
}

#[test]
fn rows_that_stay_are_found() {
    assert_found(Defect::RowsStay, Profile::Calm, "store:");
}

#[test]
fn a_passive_node_that_publishes_is_found() {
    assert_found(Defect::PassivePublish, Profile::Calm, "publishes:");
}

#[test]
fn terms_that_are_used_again_are_found() {
    assert_found(Defect::TermsForget, Profile::Crashes, "terms:");
}

#[test]
fn calls_to_homes_that_are_down_are_found() {
    assert_found(Defect::HealthUnheard, Profile::Crashes, "links:");
}

#[test]
fn nodes_that_are_never_taken_for_lost_are_found() {
    assert_found(Defect::LostStay, Profile::Crashes, "links:");
}

#[test]
fn a_passive_node_that_pings_is_found() {
    assert_found(Defect::PassivePing, Profile::Calm, "pings:");
}

#[test]
fn bindings_of_phones_that_fell_silent_are_found() {
    assert_found(Defect::SilentStay, Profile::Calm, "pings:");
}

#[test]
fn rows_that_end_with_their_lease_are_missed() {
    assert_found(Defect::LeasesUnknown, Profile::Calm, "store:");
}

#[test]
fn connections_whose_end_nobody_hears_of_are_found() {
    assert_found(Defect::FlowsUnheard, Profile::Partitions, "calls:");
}

#[test]
fn nodes_that_never_reach_a_store_which_came_after_them_are_found() {
    assert_found(Defect::StoreReachedOnce, Profile::Store, "store:");
}

#[test]
fn copies_that_are_not_kept_up_are_found() {
    assert_found(Defect::CopiesStay, Profile::Rolling, "nodes:");
}

#[test]
fn calls_that_go_round_are_found() {
    assert_found(Defect::PeersUnknown, Profile::Calm, "loops:");
}
