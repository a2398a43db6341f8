//! What the store has lost is published again on command, and what it should not have is removed.

use super::load::Crowd;
use super::pop::Federation;
use super::rows::Row;
use std::collections::BTreeSet;
use std::time::Instant;

#[test]
fn a_hundred_thousand_rows_that_were_lost_come_back_and_stale_ones_go() {
    mend("cassandra native", 100_000);
}

#[test]
fn a_table_of_opensips_is_mended_and_its_rows_are_exactly_as_opensips_has_them() {
    for row in mend("cassandra opensips", 5000) {
        assert_eq!(row.mark, format!("{}{}", row.aor, row.home));
    }
}

/// Publishes so many AoRs, loses their rows, and has a tenth of them stale instead; the rows at the end.
fn mend(store: &'static str, count: u32) -> Vec<Row> {
    let federation = Federation::new(store, 2);
    let (rows, home) = (federation.rows(), federation.homes[0]);
    let mut node = federation.pop(0, "reconcile_rows_per_s = 1000000");
    // What comes during the first reconcile may be published twice.
    node.wait_for_directory("the store is there", |directory| directory.count("reconciles") == 1);
    let mut crowd = Crowd::new("u");
    let started = Instant::now();
    crowd.register(node.udp, 0..count, 3600);
    let registered = started.elapsed();
    node.wait_for_directory("all are published", |directory| directory.count("published") == u64::from(count));
    let published = started.elapsed();
    let wanted: BTreeSet<String> = crowd.aors(0..count).collect();
    assert!(rows.aors_at(&home) == wanted, "all rows are there");

    rows.truncate();
    let stale: Vec<String> = Crowd::new("stale").aors(0..count / 10).collect();
    rows.put(&stale, &home);
    // What another home says is not ours to judge.
    rows.put(&stale[..1], &federation.homes[1]);
    let started = Instant::now();
    let before = node.directory().count("reconciles");
    node.reconcile();
    node.wait_for_directory("all rows are mended", |directory| {
        directory.count("reconciles") > before && directory.count("pending") == 0
    });
    let mended = started.elapsed();
    assert!(rows.aors_at(&home) == wanted, "all rows are there again, and no others");
    assert_eq!(rows.aors_at(&federation.homes[1]).len(), 1);

    // Nothing is left to do.
    let (started, before) = (Instant::now(), node.directory());
    node.reconcile();
    let after = node.wait_for_directory("all rows are compared", |directory| {
        directory.count("reconciles") > before.count("reconciles")
    });
    for name in ["published", "withdrawn"] {
        assert_eq!(after.count(name), before.count(name), "{name}");
    }
    println!(
        "{store}, {count} AoRs: registered after {registered:.1?}, published after {published:.1?}, \
         mended in {mended:.1?}, compared in {:.1?}",
        started.elapsed()
    );
    node.stop();
    rows.all()
}
