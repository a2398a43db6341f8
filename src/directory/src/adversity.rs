//! The keeper between real shards and a store that misbehaves: nothing waits for it, and in the end it says what is so.

mod node;

use super::memory::MemoryStore;
use super::store::{Change, Store, StoreOptions, now_us};
use node::{HOME, Node, PATIENCE, aors, poll};
use sipfed_proto::directory::{Order, Pass, ShardsLink};
use std::num::NonZeroU8;
use std::time::{Duration, Instant};

/// A request to a store that does not answer takes longer than any test waits, but where a test says so.
const NEVER: Duration = Duration::from_mins(10);

fn store(timeout: Duration) -> MemoryStore {
    MemoryStore::new(&StoreOptions { timeout, ..StoreOptions::default() })
}

/// Phones come, some go, and some of these come back; who is there in the end.
fn come_and_go(node: &mut Node) -> Vec<String> {
    node.register(0..300, 600);
    node.register(0..100, 0);
    node.register(0..50, 600);
    aors((0..50).chain(100..300))
}

#[test]
fn a_store_that_fails_every_second_request_has_the_last_state_of_each_aor_in_the_end() {
    let store = store(NEVER);
    let mut node = Node::start(&store, |_| {});
    store.faults().fail_every(2);
    let there = come_and_go(&mut node);
    poll("everything is published", || node.rows().is_some_and(|rows| rows == there));
    assert!(node.count("write_failures") > 0);
}

#[test]
fn a_question_that_is_answered_after_all_tells_that_the_store_is_back() {
    let store = store(NEVER);
    let mut node = Node::start(&store, |options| options.lookup_deadline = NEVER);
    store.faults().slow(Duration::from_secs(3));
    store.faults().fail_every(1);
    (0..8).for_each(|n| node.begin_call(&format!("early{n}")));
    node.wait_until("they are asked for", |node| node.count("lookups") == 8);
    // Each of these gives up waiting after the shard's deadline, so that the last one is asked for a while later.
    (0..5).for_each(|n| assert_eq!(node.call(&format!("later{n}")), 480));
    node.wait_until("the store counts as away", |node| !node.keeper().statistics().is_up());
    // No probe is answered from now on, but the questions that are under way are.
    store.faults().freeze();
    store.faults().fail_every(0);
    node.wait_until("the store counts as back", |node| node.keeper().statistics().is_up());
    store.faults().slow(Duration::ZERO);
    store.faults().release();
    assert_eq!(node.call("nobody"), 404);
}

#[test]
fn what_a_twin_has_published_is_left_alone_by_a_node_that_does_not_know_it() {
    let store = store(NEVER);
    let mut twin = Node::start(&store, |options| options.has_twin = true);
    twin.register(0..50, 600);
    twin.wait_until("it is published", |node| node.count("published") >= 50);
    // It starts with nothing, which is no reason to take its twin's rows for void or for wrong.
    let mut node = Node::start(&store, |options| options.has_twin = true);
    node.register(50..60, 600);
    node.wait_until("it is published", |node| node.count("published") >= 10);
    assert_eq!(node.rows().unwrap(), aors(0..60));
    assert_eq!((node.count("withdrawn"), twin.call("nobody")), (0, 404));
    node.register(50..60, 0);
    node.wait_until("it is withdrawn", |node| node.count("withdrawn") == 10);
    assert_eq!(node.rows().unwrap(), aors(0..50));
}

#[test]
fn a_store_whose_answers_are_lost_has_the_last_state_of_each_aor_in_the_end() {
    let store = store(NEVER);
    let mut node = Node::start(&store, |_| {});
    store.faults().lose_answers(true);
    let there = come_and_go(&mut node);
    node.wait_until("writes have failed", |node| node.count("write_failures") > 20);
    assert_eq!(node.count("published") + node.count("withdrawn"), 0);
    store.faults().lose_answers(false);
    node.wait_until("all is written", Node::is_settled);
    assert_eq!(node.rows().unwrap(), there);
}

#[test]
fn a_frozen_store_keeps_nobody_waiting_and_gets_everything_when_it_goes_on() {
    let store = store(NEVER);
    let mut node = Node::start(&store, |_| {});
    node.register(0..100, 600);
    node.wait_until("they are published", |node| node.count("published") == 100);
    store.faults().freeze();
    let (mut pending, mut oldest) = (0, Duration::ZERO);
    for n in 0..20 {
        // Each is answered, and a call to nobody too: in time at first, and at once when the store counts as away.
        node.register(100 + n * 50..150 + n * 50, 600);
        let began = Instant::now();
        assert_eq!(node.call(&format!("nobody{n}")), 480);
        assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
        let lag = node.keeper().statistics().lag();
        assert!(lag.pending >= pending && lag.oldest > oldest, "{lag:?}");
        (pending, oldest) = (lag.pending, lag.oldest);
    }
    node.wait_until("all wait", |node| node.keeper().statistics().lag().pending == 1000);
    assert_eq!((node.count("lookups"), node.count("lookups_spared")), (8, 12));
    assert!(!node.keeper().statistics().is_up());
    store.faults().release();
    node.wait_until("all is written", Node::is_settled);
    assert_eq!(node.keeper().statistics().lag().oldest, Duration::ZERO);
    assert_eq!(node.rows().unwrap(), aors(0..1100));
    node.wait_until("it counts as back", |node| node.keeper().statistics().is_up());
    assert_eq!(node.call("nobody"), 404);
    assert_eq!(node.count("lookups"), 9);
}

#[test]
fn a_store_that_is_slower_than_its_timeout_is_as_good_as_none_and_gets_everything_later() {
    let store = store(Duration::from_millis(300));
    let mut node = Node::start(&store, |_| {});
    store.faults().slow(Duration::from_secs(3));
    let there = come_and_go(&mut node);
    assert_eq!(node.call("nobody"), 480);
    node.wait_until("writes have failed", |node| node.count("write_failures") > 8);
    assert_eq!(node.count("published"), 0);
    store.faults().slow(Duration::ZERO);
    poll("everything is published", || node.rows().is_some_and(|rows| rows == there));
}

#[test]
fn a_store_that_takes_seconds_within_its_timeout_gets_everything_and_no_call_waits_for_it() {
    let store = store(NEVER);
    let mut node = Node::start(&store, |_| {});
    store.faults().slow(Duration::from_secs(3));
    let there = come_and_go(&mut node);
    let began = Instant::now();
    assert_eq!(node.call("nobody"), 480);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    node.wait_until("all is written", Node::is_settled);
    assert_eq!(node.count("write_failures"), 0);
    store.faults().slow(Duration::ZERO);
    assert_eq!(node.rows().unwrap(), there);
}

#[test]
fn what_waits_is_bounded_and_what_was_forgotten_is_found_again() {
    const PENDING_MAX: usize = 1000;
    let store = store(NEVER);
    let mut node = Node::start_on(1, &store, |options| options.pending_max = PENDING_MAX);
    store.faults().full(true);
    // A shard that is shown more AoRs that are not its own than it can note has no room for what comes then.
    let foreign = (0..sipfed_proto::limits::HOME_CHANGES_COUNT_MAX + 20_000).map(|n| format!("x{n}@fed.example"));
    let foreign = foreign.map(|aor| aor.into_bytes().into_boxed_slice()).collect();
    let link = node.link();
    link.put(0, Order::Compare { pass: Pass(NonZeroU8::MAX), aors: foreign }).unwrap();
    link.ring(0);
    node.wait_until("as many wait as may", |node| node.keeper().statistics().lag().pending == PENDING_MAX as u64);
    node.register(0..200, 600);
    assert_eq!(node.keeper().statistics().lag().pending, PENDING_MAX as u64);
    let before = node.count("reconciles");
    store.faults().full(false);
    node.wait_until("it is compared again", |node| node.count("reconciles") > before && node.is_settled());
    assert_eq!(node.rows().unwrap(), aors(0..200));
}

#[test]
fn rows_are_written_anew_before_their_lease_ends() {
    let options = StoreOptions { timeout: NEVER, lease_s: 8, ..StoreOptions::default() };
    let store = MemoryStore::new(&options);
    // More than one step of a walk for each shard.
    let there = aors(0..2500);
    let mut node = Node::start(&store, |keeper| keeper.store = options);
    node.register(0..2500, 600);
    node.wait_until("all is written", |node| node.count("published") == 2500);
    let first = node.newest_stamps().into_values().max().unwrap();
    let mut renewed = first;
    for _ in 0..2 {
        poll("every row is written anew", || {
            assert_eq!(node.rows().unwrap(), there, "no row ever ends");
            node.newest_stamps().into_values().all(|stamp| stamp > renewed)
        });
        renewed = node.newest_stamps().into_values().max().unwrap();
    }
    assert!(renewed - first > 6_000_000, "not all of the time");
}

#[test]
fn an_aor_that_comes_and_goes_while_the_store_is_away_is_written_once() {
    let store = store(NEVER);
    let mut node = Node::start(&store, |_| {});
    store.faults().full(true);
    for _ in 0..100 {
        node.register(0..1, 600);
        node.register(0..1, 0);
    }
    node.register(0..1, 600);
    node.wait_until("it waits", |node| node.keeper().statistics().lag().pending == 1);
    store.faults().full(false);
    node.wait_until("all is written", Node::is_settled);
    assert_eq!((node.count("published"), node.count("withdrawn")), (1, 0));
    assert_eq!(node.rows().unwrap(), aors(0..1));
}

#[test]
fn a_reconcile_comes_to_its_end_although_every_second_request_fails() {
    let store = store(NEVER);
    let mut node = Node::start(&store, |_| {});
    node.register(0..100, 600);
    node.wait_until("all is written", |node| node.count("published") == 100);
    // As many stale rows as make several pages, and some that are missing.
    let stale: Vec<Change> = (0..5000).map(|n| Change { aor: format!("x{n}").into(), is_home: true }).collect();
    let missing = aors(0..10).into_iter().map(|aor| Change { aor: aor.into(), is_home: false });
    let raw = Store::Memory(store.clone());
    node::now(raw.write(HOME, &stale, now_us())).unwrap();
    node::now(raw.write(HOME, &missing.collect::<Vec<_>>(), now_us())).unwrap();
    store.faults().fail_every(2);
    let before = node.count("reconciles");
    node.keeper().reconcile();
    node.wait_until("it is compared", |node| node.count("reconciles") > before && node.is_settled());
    store.faults().fail_every(0);
    assert_eq!(node.rows().unwrap(), aors(0..100));
}

#[test]
fn what_is_written_before_the_epoch_is_set_belongs_to_the_new_life() {
    let store = store(NEVER);
    // Long enough for phones to come before the epoch of the old life has been read.
    store.faults().slow(Duration::from_millis(500));
    let mut node = Node::start_unsettled(2, &store, |_| {});
    node.register(0..100, 600);
    node.wait_until("it is compared", |node| node.count("reconciles") > 0 && node.is_settled());
    store.faults().slow(Duration::ZERO);
    let raw = Store::Memory(store.clone());
    let epoch = node::now(raw.epochs()).unwrap().pop().unwrap();
    let (stamps, epoch_us) = (node.newest_stamps(), epoch.epoch_us);
    assert_eq!(stamps.len(), 100);
    assert_eq!(node.count("published"), 100, "none was void, so none had to be written anew");
    assert!(stamps.into_values().all(|stamp_us| stamp_us > epoch_us));
}

#[test]
fn a_frozen_store_does_not_keep_a_node_from_stopping() {
    let store = store(NEVER);
    let mut node = Node::start(&store, |_| {});
    store.faults().freeze();
    node.register(0..100, 600);
    let began = Instant::now();
    node.stop();
    assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
}

#[test]
fn a_passive_node_writes_nothing_and_everything_once_it_is_active() {
    let store = store(NEVER);
    let mut node = Node::start_passive(&store);
    node.register(0..100, 600);
    assert_eq!(node.call("nobody"), 404, "it asks all the same");
    assert_eq!((node.rows().unwrap(), node.count("published"), node.count("reconciles")), (vec![], 0, 0));
    node.set_active(true);
    node.wait_until("all is written", |node| node.count("reconciles") == 1 && node.is_settled());
    assert_eq!(node.rows().unwrap(), aors(0..100));
    node.set_active(false);
    node.keeper().reconcile();
    node.register(100..200, 600);
    node.register(0..50, 0);
    assert_eq!(node.call("nobody"), 404);
    assert_eq!((node.rows().unwrap(), node.count("reconciles")), (aors(0..100), 1));
    node.set_active(true);
    node.wait_until("it is compared", |node| node.count("reconciles") == 2 && node.is_settled());
    assert_eq!(node.rows().unwrap(), aors(50..200));
}

#[test]
fn what_waits_when_a_node_becomes_passive_is_not_written() {
    let store = store(NEVER);
    let mut node = Node::start(&store, |_| {});
    store.faults().full(true);
    node.register(0..100, 600);
    node.wait_until("it waits", |node| node.keeper().statistics().lag().pending == 100);
    node.wait_until("writes have failed", |node| !node.keeper().statistics().is_up());
    node.set_active(false);
    node.wait_until("nothing waits", Node::is_settled);
    store.faults().full(false);
    assert_eq!(node.call("nobody"), 404);
    assert!(node.keeper().statistics().is_up(), "who writes nothing is refused nothing");
    assert_eq!((node.rows().unwrap(), node.count("published")), (vec![], 0));
    node.set_active(true);
    poll("everything is published", || node.rows().unwrap() == aors(0..100));
}

#[test]
fn a_write_that_ends_in_a_later_stint_does_not_bring_back_what_has_gone_meanwhile() {
    let store = store(NEVER);
    let mut node = Node::start(&store, |_| {});
    store.faults().freeze();
    node.register(0..50, 600);
    node.wait_until("they are being written", |node| node.keeper().statistics().lag().pending == 50);
    node.set_active(false);
    node.register(0..50, 0);
    node.register(50..60, 600);
    node.set_active(true);
    let before = node.count("reconciles");
    store.faults().release();
    node.wait_until("it is compared", |node| node.count("reconciles") > before && node.is_settled());
    assert_eq!(node.rows().unwrap(), aors(50..60));
}
