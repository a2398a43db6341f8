//! How fast the stores are: a smoke test by default, a measurement with more rows.
//!
//! ```sh
//! THROUGHPUT_ROWS=100000 cargo test -p sipfed throughput -- --nocapture --test-threads 1
//! ```

use super::{Bench, HOMES, Kind, run};
use crate::store::{Change, Schema, now_us};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::time::Instant;

/// Changes of one call, as the advertiser would gather them.
const WRITE_CHANGES: usize = 1000;
/// Lookups that are on their way at once.
const LOOKUPS_IN_FLIGHT: usize = 32;

fn measure(kind: Kind) {
    let rows = std::env::var("THROUGHPUT_ROWS").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    run(kind, async |bench: &Bench| {
        let store = bench.store().await;
        let aor = |n: usize| format!("user{n:07}@sip.example.com");
        let all: Vec<Change> = (0..rows).map(|n| Change { aor: aor(n).into(), is_home: true }).collect();
        let say = |what: &str, count: usize, began: Instant| {
            let seconds = began.elapsed().as_secs_f64();
            println!("{kind:?}: {what}: {:.0} a second ({count} in {seconds:.2} s)", count as f64 / seconds);
        };
        let began = Instant::now();
        for changes in all.chunks(WRITE_CHANGES) {
            store.write(HOMES[0], changes, now_us()).await.unwrap();
        }
        say("rows put", rows, began);

        let lookups = rows.min(20_000);
        let began = Instant::now();
        let found = stream::iter(0..lookups).map(|n| {
            let (store, aor) = (&store, aor(n * 7919 % rows));
            async move { store.homes(&aor).await }
        });
        let found: Vec<_> = found.buffer_unordered(LOOKUPS_IN_FLIGHT).try_collect().await.unwrap();
        say("AoRs looked up", lookups, began);
        assert!(found.iter().all(|homes| homes.len() == 1));

        let mut times_us = Vec::new();
        for n in 0..lookups.min(2000) {
            let began = Instant::now();
            store.homes(&aor(n * 7919 % rows)).await.unwrap();
            times_us.push(began.elapsed().as_micros());
        }
        times_us.sort_unstable();
        let (p50, p99) = (times_us[times_us.len() / 2], times_us[times_us.len() * 99 / 100]);
        println!("{kind:?}: one lookup after another: p50 {p50} µs, p99 {p99} µs");

        let began = Instant::now();
        let (mut count, mut page) = (0, None);
        loop {
            let (rows, next) = store.scan(Some(HOMES[0]), page, 1000).await.unwrap();
            count += rows.len();
            page = next;
            if page.is_none() {
                break;
            }
        }
        say("rows scanned", count, began);
        assert_eq!(count, rows);

        let gone: Vec<Change> = all.into_iter().map(|change| Change { is_home: false, ..change }).collect();
        let began = Instant::now();
        for changes in gone.chunks(WRITE_CHANGES) {
            store.write(HOMES[0], changes, now_us()).await.unwrap();
        }
        say("rows removed", rows, began);
    });
}

#[test]
fn memory() {
    measure(Kind::Memory);
}

#[test]
fn cassandra_native() {
    measure(Kind::Cassandra(Schema::Native));
}

#[test]
fn cassandra_opensips() {
    measure(Kind::Cassandra(Schema::OpenSips));
}

#[test]
fn mongodb_native() {
    measure(Kind::MongoDb(Schema::Native));
}

#[test]
fn mongodb_opensips() {
    measure(Kind::MongoDb(Schema::OpenSips));
}
