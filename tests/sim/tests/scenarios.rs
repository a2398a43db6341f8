//! Failures seen in the field, played on purpose: none of them does here what it did there.

use sipfed_sim::{Defect, Facts, Scenario, run_scenario};

/// Seeds of each scenario.
const SEEDS_COUNT: u64 = 8;

#[track_caller]
fn assert_harmless(scenario: Scenario) {
    let (mut acknowledged_count, mut sum) = (0, Facts::default());
    for seed in 0..SEEDS_COUNT {
        let outcome = run_scenario(scenario, seed, Defect::None);
        assert!(outcome.violations.is_empty(), "{scenario:?}, {outcome}");
        acknowledged_count += outcome.acknowledged_count;
        sum += outcome.facts;
    }
    // A play without phones and calls shows nothing.
    assert!(acknowledged_count > 20 && sum.calls > 20 && sum.found > 10, "{acknowledged_count} {sum:?}");
    assert!(scenario != Scenario::ConnectionsEndWithTheirNode || sum.unreachable > 2, "{sum:?}");
}

macro_rules! scenarios {
    ($($name:ident: $scenario:ident,)*) => {
        $(#[test]
        fn $name() {
            assert_harmless(Scenario::$scenario);
        })*

        #[test]
        fn every_scenario_has_a_test() {
            assert_eq!([$(Scenario::$scenario),*], Scenario::ALL);
        }
    };
}

scenarios! {
    a_row_that_could_not_be_published_at_first_is_published_later: FirstRegistrationsWithoutStore,
    a_store_that_is_away_keeps_no_local_call_from_its_phone: LocalCallsWithoutStore,
    a_store_that_loses_its_answers_ends_with_the_right_rows: StoreLosesAnswers,
    rows_that_a_dead_node_should_have_withdrawn_do_not_stay: ActiveDiesBeforeItWithdraws,
    rows_of_bindings_that_ended_while_the_address_moved_do_not_stay: AddressMovesWhileBindingsEnd,
    an_empty_backup_misses_nothing_of_a_mass_registration: EmptyBackupDuringMassRegistration,
    calls_to_a_node_that_came_back_empty_are_answered: NodeComesBackEmpty,
    two_active_nodes_end_in_one_state: BothAreActive,
    a_storm_after_a_restart_loses_nobody: StormAfterRestart,
    a_removal_of_all_that_the_twin_has_not_heard_of_is_no_loss: AllRemovedBeforeTheTwinTells,
    phones_whose_connections_died_with_their_node_are_missed_until_they_come_again: ConnectionsEndWithTheirNode,
    nodes_that_start_without_the_store_serve_and_publish_later: StoreComesAfterTheNodes,
}

#[test]
fn connections_that_are_taken_for_those_of_a_life_before_would_be_found() {
    let is_found = |seed| {
        let outcome = run_scenario(Scenario::ConnectionsEndWithTheirNode, seed, Defect::TokensRepeat);
        outcome.violations.iter().any(|what| what.starts_with("flows:"))
    };
    assert!((0..SEEDS_COUNT).any(is_found));
}

#[test]
fn a_row_that_stays_would_be_found() {
    let is_found = |seed| {
        let outcome = run_scenario(Scenario::ActiveDiesBeforeItWithdraws, seed, Defect::RowsStay);
        outcome.violations.iter().any(|what| what.starts_with("store:"))
    };
    assert!((0..SEEDS_COUNT).any(is_found));
}
