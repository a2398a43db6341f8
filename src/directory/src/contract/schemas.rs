//! What is each server's own: exact rows, what OpenSIPS has written, missing and foreign tables.

use super::raw::{self, Fields};
use super::{Bench, HOMES, Kind, homes, put, remove, run, scan, scanned};
use crate::store::{Schema, Store, StoreOptions, now_us};

const OPENSIPS: [Kind; 2] = [Kind::Cassandra(Schema::OpenSips), Kind::MongoDb(Schema::OpenSips)];
const NATIVE: [Kind; 2] = [Kind::Cassandra(Schema::Native), Kind::MongoDb(Schema::Native)];

fn fields<const N: usize>(fields: [(&str, &str); N]) -> Fields {
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn key_name(kind: Kind) -> &'static str {
    if matches!(kind, Kind::MongoDb(_)) { "_id" } else { "id" }
}

#[test]
fn rows_are_exactly_those_of_opensips() {
    for kind in OPENSIPS {
        run(kind, async |bench: &Bench| {
            for lease_s in [0, 3600] {
                let store = bench.store_with(StoreOptions { lease_s, ..bench.options() }).await;
                let changes = [put("alice@example.com"), put("bob@example.com"), remove("carol@example.com")];
                store.write("10.0.0.179", &changes, now_us()).await.unwrap();
                let row = |aor, id| fields([(key_name(kind), id), ("aor", aor), ("home_ip", "10.0.0.179")]);
                let expected = [
                    row("alice@example.com", "alice@example.com10.0.0.179"),
                    row("bob@example.com", "bob@example.com10.0.0.179"),
                ];
                assert_eq!(raw::rows(&bench.url).await, expected, "{kind:?}");
            }
        });
    }
}

#[test]
fn rows_that_opensips_has_written_are_found_and_can_be_repaired() {
    for kind in OPENSIPS {
        run(kind, async |bench: &Bench| {
            let store = bench.store().await;
            for home in ["10.0.0.177", "10.0.0.179"] {
                raw::put_as_opensips(&bench.url, &format!("alice@example.com{home}"), "alice@example.com", home).await;
            }
            assert_eq!(homes(&store, "alice@example.com").await, ["10.0.0.177", "10.0.0.179"]);
            // One whose key is not what it says is seen as such.
            raw::put_as_opensips(&bench.url, "odd", "alice@example.com", "10.0.0.180").await;
            let rows = scan(&store, Some("10.0.0.180"), 10).await;
            assert_eq!((rows.len(), rows[0].id.as_deref()), (1, Some("odd")));
            store.delete_rows(&rows).await.unwrap();
            assert_eq!(scan(&store, None, 10).await.len(), 2);
            store.write("10.0.0.177", &[remove("alice@example.com")], now_us()).await.unwrap();
            assert_eq!(homes(&store, "alice@example.com").await, ["10.0.0.179"]);
        });
    }
}

#[test]
fn two_rows_of_opensips_may_share_a_key_and_native_ones_do_not() {
    // `u@10.0.0.1` at 12.3.4.5 and `u@10.0.0.11` at 2.3.4.5 are one key when they are put together.
    for kind in OPENSIPS.into_iter().chain(NATIVE) {
        run(kind, async |bench: &Bench| {
            let store = bench.store().await;
            let stamp_us = now_us();
            store.write("12.3.4.5", &[put("u@10.0.0.1")], stamp_us).await.unwrap();
            store.write("2.3.4.5", &[put("u@10.0.0.11")], stamp_us + 1).await.unwrap();
            assert_eq!(homes(&store, "u@10.0.0.11").await, ["2.3.4.5"]);
            if bench.kind.schema() == Schema::OpenSips {
                assert!(homes(&store, "u@10.0.0.1").await.is_empty());
                assert_eq!(scanned(&store, None, 10).await.len(), 1);
            } else {
                assert_eq!(homes(&store, "u@10.0.0.1").await, ["12.3.4.5"]);
                assert_eq!(scanned(&store, None, 10).await.len(), 2);
            }
        });
    }
}

#[test]
fn native_rows_say_when_they_were_written() {
    for kind in NATIVE {
        run(kind, async |bench: &Bench| {
            let store = bench.store().await;
            store.write(HOMES[0], &[put("alice@example.com")], 1_700_000_000_000_000).await.unwrap();
            let mut expected = fields([("aor", "alice@example.com"), ("home_ip", HOMES[0])]);
            if matches!(kind, Kind::MongoDb(_)) {
                expected.insert("_id".to_owned(), format!("alice@example.com {}", HOMES[0]));
                expected.insert("stamp".to_owned(), "Int64(1700000000000000)".to_owned());
            } else {
                expected.insert("stamp".to_owned(), "BigInt(1700000000000000)".to_owned());
            }
            assert_eq!(raw::rows(&bench.url).await, [expected]);
        });
    }
}

#[test]
fn what_is_missing_is_told_with_the_command_that_makes_it() {
    for kind in OPENSIPS.into_iter().chain(NATIVE) {
        run(kind, async |bench: &Bench| {
            let only_there = StoreOptions { create: false, ..bench.options() };
            let told = bench.refusal(only_there).await;
            assert!(told.contains("missing is the ") && told.contains("`sipfed directory init`"), "{told}");
            assert!(told.contains(&bench.url.to_string()), "{told}");
            drop(bench.store().await);
            let store = bench.store_with(only_there).await;
            store.write(HOMES[0], &[put("alice@example.com")], now_us()).await.unwrap();
            // Making what exists is harmless.
            assert_eq!(homes(&bench.store().await, "alice@example.com").await, [HOMES[0]]);
        });
    }
}

#[test]
fn a_table_of_the_other_schema_is_refused() {
    for kind in OPENSIPS.into_iter().chain(NATIVE) {
        run(kind, async |bench: &Bench| {
            let store = bench.store().await;
            store.write(HOMES[0], &[put("alice@example.com")], now_us()).await.unwrap();
            let other = if bench.kind.schema() == Schema::Native { Schema::OpenSips } else { Schema::Native };
            for create in [true, false] {
                let told = bench.refusal(StoreOptions { schema: other, create, ..bench.options() }).await;
                assert!(told.contains(&format!("is not of the schema \"{}\"", other.word())), "{told}");
                assert!(told.contains("\"native\"") && told.contains("\"opensips\""), "{told}");
                let right = format!("set directory.schema = \"{}\"", bench.kind.schema().word());
                assert!(told.contains(&right), "{told}");
            }
        });
    }
}

#[test]
fn a_foreign_table_in_cassandra_is_refused() {
    run(Kind::Cassandra(Schema::OpenSips), async |bench: &Bench| {
        drop(bench.store().await);
        raw::cql(&bench.url, "ALTER TABLE {table} ADD colour text").await;
        let told = bench.refusal(bench.options()).await;
        assert!(told.contains("colour text") && told.contains("name another table"), "{told}");
    });
}

#[test]
fn the_table_of_the_tutorial_serves_without_an_index() {
    run(Kind::Cassandra(Schema::OpenSips), async |bench: &Bench| {
        drop(bench.store().await);
        let index = bench.url.to_string().rsplit_once('.').unwrap().1.to_owned();
        raw::cql(&bench.url, &format!("DROP INDEX sipfed_contract.{index}_aor_idx")).await;
        let store = bench.store_with(StoreOptions { create: false, ..bench.options() }).await;
        assert!(!store.inspect().await.unwrap().has_aor_index);
        store.write(HOMES[0], &[put("alice@example.com")], now_us()).await.unwrap();
        assert_eq!(homes(&store, "alice@example.com").await, [HOMES[0]]);
        assert!(bench.store().await.inspect().await.unwrap().has_aor_index);
    });
}

#[test]
fn a_store_says_what_it_is() {
    for kind in OPENSIPS.into_iter().chain(NATIVE).chain([Kind::Memory]) {
        run(kind, async |bench: &Bench| {
            let store = bench.store().await;
            store.write(HOMES[0], &[put("alice@example.com")], now_us()).await.unwrap();
            let found = store.inspect().await.unwrap();
            assert!(found.table_exists && found.has_aor_index, "{found:?}");
            assert_eq!(found.epochs_exist, store.has_epochs());
            let columns: &[&str] = match kind {
                Kind::Cassandra(Schema::OpenSips) => &["aor text", "home_ip text", "id text"],
                Kind::MongoDb(Schema::OpenSips) => &["_id string", "aor string", "home_ip string"],
                Kind::MongoDb(Schema::Native) => &["_id string", "aor string", "home_ip string", "stamp long"],
                Kind::Memory | Kind::Cassandra(Schema::Native) => &["aor text", "home_ip text", "stamp bigint"],
            };
            assert_eq!(found.columns, columns);
            assert!(found.server.bytes().any(|byte| byte.is_ascii_digit()), "{}", found.server);
        });
    }
}

#[test]
fn a_datacenter_that_does_not_exist_is_refused() {
    run(Kind::Cassandra(Schema::Native), async |bench: &Bench| {
        let url = format!("{}?datacenter=nowhere", bench.url);
        let Err(error) = Store::connect(&url.parse().unwrap(), &bench.options()).await else { panic!("it connects") };
        assert!(error.told().contains("there is no datacenter nowhere; write datacenter= one of "), "{}", error.told());
    });
}
