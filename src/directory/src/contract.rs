//! What every store has to do, and what each one does in its own way, against real servers.
//!
//! `CASSANDRA_URL` and `MONGODB_URL` name the servers (`cassandra://127.0.0.1:9042`, without a table); where they are
//! not set, `scripts/stores` starts some. Each test has a table of its own and drops it. [`raw`] asks the servers past
//! the code under test.

mod outages;
mod raw;
mod schemas;
mod secured;
mod throughput;

use super::store::{Change, Epoch, Row, ScannedRow, Schema, Store, StoreError, StoreOptions, now_us};
use super::url::StoreUrl;
use futures_util::FutureExt;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

const HOMES: [&str; 3] = ["192.0.2.1:5060", "[2001:db8::7]:5060", "198.51.100.20"];

/// A store to be tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Memory,
    Cassandra(Schema),
    MongoDb(Schema),
}

impl Kind {
    /// Whether rows say when they were written.
    fn has_stamps(self) -> bool {
        self != Self::MongoDb(Schema::OpenSips)
    }

    /// Whether a removal is remembered, so that an older write cannot undo it.
    fn remembers_removals(self) -> bool {
        !matches!(self, Self::MongoDb(_))
    }

    fn schema(self) -> Schema {
        match self {
            Self::Memory => Schema::Native,
            Self::Cassandra(schema) | Self::MongoDb(schema) => schema,
        }
    }
}

/// A table of a test's own.
struct Bench {
    kind: Kind,
    url: StoreUrl,
}

impl Bench {
    fn new(kind: Kind) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let table = format!("t{}_{}_{:x}", std::process::id(), NUMBER.fetch_add(1, Relaxed), now_us());
        let url = match kind {
            Kind::Memory => "memory:".to_owned(),
            Kind::Cassandra(_) => format!("{}/sipfed_contract.{table}", server("cassandra")),
            Kind::MongoDb(_) => format!("{}/sipfed_contract.{table}", server("mongodb")),
        };
        Self { kind, url: url.parse().unwrap() }
    }

    fn options(&self) -> StoreOptions {
        // Servers are shared by many tests at once, and by other work on the machine.
        StoreOptions { schema: self.kind.schema(), timeout: Duration::from_secs(20), ..StoreOptions::default() }
    }

    async fn store(&self) -> Store {
        self.store_with(self.options()).await
    }

    async fn store_with(&self, options: StoreOptions) -> Store {
        match Store::connect(&self.url, &options).await {
            Ok(store) => store,
            Err(error) => panic!("{}", error.told()),
        }
    }

    async fn refusal(&self, options: StoreOptions) -> String {
        match Store::connect(&self.url, &options).await {
            Ok(store) => panic!("{store:?} should have been refused"),
            Err(error @ StoreError::Refused { .. }) => error.told(),
            Err(error) => panic!("refused, but not as such: {}", error.told()),
        }
    }
}

/// The address of a server, started where nobody names one.
fn server(program: &str) -> &'static str {
    static CASSANDRA: OnceLock<String> = OnceLock::new();
    static MONGODB: OnceLock<String> = OnceLock::new();
    let (url, variable) =
        if program == "cassandra" { (&CASSANDRA, "CASSANDRA_URL") } else { (&MONGODB, "MONGODB_URL") };
    url.get_or_init(|| {
        let named = std::env::var(variable).ok().filter(|url| !url.is_empty());
        let url = named.unwrap_or_else(|| started(program));
        url.trim().trim_end_matches('/').to_owned()
    })
}

fn started(program: &str) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/stores");
    let output = Command::new(script).args(["start", program]).output();
    let output = output.unwrap_or_else(|error| panic!("{script} start {program}: {error}"));
    assert!(
        output.status.success(),
        "{script} start {program} failed, so {program} cannot be tested:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a test on a bench, and clears the bench whatever came of it.
fn run<T: AsyncFnOnce(&Bench)>(kind: Kind, test: T) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let bench = Bench::new(kind);
        let result = AssertUnwindSafe(test(&bench)).catch_unwind().await;
        raw::drop_all(&bench.url).await;
        if let Err(panic) = result {
            resume_unwind(panic);
        }
    });
}

fn put(aor: &str) -> Change {
    Change { aor: aor.into(), is_home: true }
}

fn remove(aor: &str) -> Change {
    Change { aor: aor.into(), is_home: false }
}

async fn homes(store: &Store, aor: &str) -> Vec<String> {
    let mut homes: Vec<String> = store.homes(aor).await.unwrap().into_iter().map(|row| row.home.into()).collect();
    homes.sort();
    homes
}

/// All rows, in pages of `rows_max`.
async fn scan(store: &Store, home: Option<&str>, rows_max: usize) -> Vec<ScannedRow> {
    let (mut all, mut page) = (Vec::new(), None);
    loop {
        let (rows, next) = store.scan(home, page, rows_max).await.unwrap();
        all.extend(rows);
        page = next;
        if page.is_none() {
            all.sort_by(|a, b| (&a.row.aor, &a.row.home).cmp(&(&b.row.aor, &b.row.home)));
            return all;
        }
    }
}

async fn scanned(store: &Store, home: Option<&str>, rows_max: usize) -> Vec<(String, String)> {
    let rows = scan(store, home, rows_max).await;
    rows.into_iter().map(|ScannedRow { row, .. }| (row.aor.into(), row.home.into())).collect()
}

async fn a_row_is_found_until_it_is_withdrawn(bench: &Bench) {
    let store = bench.store().await;
    assert!(homes(&store, "alice@example.com").await.is_empty());
    let stamp_us = now_us();
    store.write(HOMES[0], &[put("alice@example.com"), put("bob@example.com")], stamp_us).await.unwrap();
    let row = Row {
        aor: "alice@example.com".into(),
        home: HOMES[0].into(),
        written_at_us: bench.kind.has_stamps().then_some(stamp_us),
    };
    assert_eq!(store.homes("alice@example.com").await.unwrap(), [row]);
    assert!(homes(&store, "Alice@example.com").await.is_empty());
    store.write(HOMES[0], &[remove("alice@example.com")], stamp_us + 1).await.unwrap();
    assert!(homes(&store, "alice@example.com").await.is_empty());
    assert_eq!(homes(&store, "bob@example.com").await, [HOMES[0]]);
    store.write(HOMES[0], &[], stamp_us + 2).await.unwrap();
    store.write(HOMES[0], &[remove("nobody@example.com")], stamp_us + 3).await.unwrap();
}

async fn an_aor_may_have_several_homes(bench: &Bench) {
    let (store, stamp_us) = (bench.store().await, now_us());
    for home in HOMES {
        store.write(home, &[put("alice@example.com")], stamp_us).await.unwrap();
    }
    let mut all = HOMES;
    all.sort_unstable();
    assert_eq!(homes(&store, "alice@example.com").await, all);
    store.write(HOMES[1], &[remove("alice@example.com")], stamp_us + 1).await.unwrap();
    assert_eq!(homes(&store, "alice@example.com").await, [HOMES[0], HOMES[2]]);
}

async fn a_write_may_be_repeated(bench: &Bench) {
    let (store, stamp_us) = (bench.store().await, now_us());
    let changes = [put("alice@example.com"), remove("bob@example.com"), put("carol@example.com")];
    for stamp_us in [stamp_us, stamp_us, stamp_us + 1] {
        store.write(HOMES[0], &changes, stamp_us).await.unwrap();
        assert_eq!(homes(&store, "alice@example.com").await, [HOMES[0]]);
        assert!(homes(&store, "bob@example.com").await.is_empty());
    }
    assert_eq!(scan(&store, None, 10).await.len(), 2);
}

async fn an_older_stamp_does_not_undo_a_newer_one(bench: &Bench) {
    let (store, stamp_us) = (bench.store().await, now_us());
    store.write(HOMES[0], &[put("b@example.com")], stamp_us).await.unwrap();
    if bench.kind.has_stamps() {
        // The one in the middle is older; those around it have to be done.
        let late = [put("a@example.com"), put("b@example.com"), put("c@example.com")];
        store.write(HOMES[0], &late, stamp_us - 10).await.unwrap();
        assert_eq!(store.homes("b@example.com").await.unwrap()[0].written_at_us, Some(stamp_us));
        assert_eq!(homes(&store, "c@example.com").await, [HOMES[0]]);
        store.write(HOMES[0], &[remove("b@example.com"), remove("c@example.com")], stamp_us - 5).await.unwrap();
        assert_eq!(homes(&store, "b@example.com").await, [HOMES[0]]);
        assert!(homes(&store, "c@example.com").await.is_empty());
    }
    store.write(HOMES[0], &[remove("b@example.com")], stamp_us + 10).await.unwrap();
    if bench.kind.remembers_removals() {
        store.write(HOMES[0], &[put("b@example.com")], stamp_us + 5).await.unwrap();
        assert!(homes(&store, "b@example.com").await.is_empty());
    }
    store.write(HOMES[0], &[put("b@example.com")], stamp_us + 20).await.unwrap();
    assert_eq!(homes(&store, "b@example.com").await, [HOMES[0]]);
}

async fn writes_of_any_size_are_done_whole(bench: &Bench) {
    let store = bench.store().await;
    assert!(store.batch_rows_max() >= 10);
    let mut stamp_us = now_us();
    for count in [1, 2, 49, 50, 51, 99, 300] {
        let changes: Vec<Change> = (0..count).map(|n| put(&format!("user{n}@example.com"))).collect();
        stamp_us += 1;
        store.write(HOMES[0], &changes, stamp_us).await.unwrap();
        assert_eq!(scan(&store, None, 1000).await.len(), count);
    }
    // Half of them go, and half are written again.
    let changes: Vec<Change> =
        (0..300).map(|n| Change { aor: format!("user{n}@example.com").into(), is_home: n % 2 == 0 }).collect();
    store.write(HOMES[0], &changes, stamp_us + 1).await.unwrap();
    assert_eq!(scan(&store, None, 1000).await.len(), 150);
}

async fn odd_names_are_kept_byte_for_byte(bench: &Bench) {
    let store = bench.store().await;
    let long = format!("{}@example.com", "x".repeat(256 - "@example.com".len()));
    let aors = [
        "$where@example.com",
        "a.b.c@sub.example.com",
        "%22quoted%22%20name@example.com",
        "o'brien\"--@example.com",
        "{a:1}[0]*?@example.com",
        "+441632960001@[2001:db8::1]",
        "_id@example.com",
        "UPPER@example.com",
        "\\u0000;drop@example.com",
        &long,
    ];
    let stamp_us = now_us();
    let changes: Vec<Change> = aors.iter().map(|aor| put(aor)).collect();
    for home in [HOMES[0], HOMES[1]] {
        store.write(home, &changes, stamp_us).await.unwrap();
    }
    for aor in aors {
        assert_eq!(homes(&store, aor).await, [HOMES[0], HOMES[1]], "{aor}");
    }
    assert_eq!(scan(&store, Some(HOMES[1]), 100).await.len(), aors.len());
    let changes: Vec<Change> = aors.iter().map(|aor| remove(aor)).collect();
    store.write(HOMES[1], &changes, stamp_us + 1).await.unwrap();
    assert!(scan(&store, Some(HOMES[1]), 100).await.is_empty());
    assert_eq!(scan(&store, None, 100).await.len(), aors.len());
}

async fn a_scan_sees_every_row_once(bench: &Bench) {
    let (store, stamp_us) = (bench.store().await, now_us());
    let mut expected = Vec::new();
    for (home, count) in [(HOMES[0], 70), (HOMES[1], 25)] {
        let changes: Vec<Change> = (0..count).map(|n| put(&format!("user{n:03}@example.com"))).collect();
        store.write(home, &changes, stamp_us).await.unwrap();
        expected.extend(changes.into_iter().map(|change| (String::from(change.aor), home.to_owned())));
    }
    let of_one = expected[70..].to_vec();
    expected.sort();
    for rows_max in [1, 7, 95, 1000] {
        assert_eq!(scanned(&store, None, rows_max).await, expected, "pages of {rows_max}");
        assert_eq!(scanned(&store, Some(HOMES[1]), rows_max).await, of_one, "pages of {rows_max}");
    }
    assert!(scanned(&store, Some(HOMES[2]), 10).await.is_empty());
    // The key is shown where it could contradict the row.
    for ScannedRow { row, id } in scan(&store, None, 1000).await {
        let key = (bench.kind.schema() == Schema::OpenSips).then(|| format!("{}{}", row.aor, row.home).into());
        assert_eq!(id, key);
        assert_eq!(row.written_at_us, bench.kind.has_stamps().then_some(stamp_us));
    }
}

async fn rows_are_deleted_unless_written_again(bench: &Bench) {
    let (store, stamp_us) = (bench.store().await, now_us() - 1_000_000);
    let changes: Vec<Change> = (0..60).map(|n| put(&format!("user{n:03}@example.com"))).collect();
    store.write(HOMES[0], &changes, stamp_us).await.unwrap();
    let rows = scan(&store, None, 1000).await;
    store.write(HOMES[0], &changes[..1], stamp_us + 1000).await.unwrap();
    store.delete_rows(&rows[..55]).await.unwrap();
    store.delete_rows(&rows[..55]).await.unwrap();
    store.delete_rows(&[]).await.unwrap();
    let left = scan(&store, None, 1000).await.len();
    assert_eq!(left, if bench.kind.has_stamps() { 6 } else { 5 });
    // What was deleted can be written again.
    store.write(HOMES[0], &changes, stamp_us + 2000).await.unwrap();
    assert_eq!(scan(&store, None, 1000).await.len(), 60);
}

async fn epochs_are_kept_by_home(bench: &Bench) {
    let (store, stamp_us) = (bench.store().await, now_us());
    assert!(store.epochs().await.unwrap().is_empty());
    if !store.has_epochs() {
        assert!(matches!(store.set_epoch(HOMES[0], 1, stamp_us).await, Err(StoreError::Refused { .. })));
        return;
    }
    store.set_epoch(HOMES[0], stamp_us, stamp_us).await.unwrap();
    store.set_epoch(HOMES[1], i64::MAX, stamp_us).await.unwrap();
    // It may come back from being gone for good, and an older setting comes too late.
    store.set_epoch(HOMES[1], 77, stamp_us + 2).await.unwrap();
    store.set_epoch(HOMES[1], i64::MAX, stamp_us + 1).await.unwrap();
    store.set_epoch(HOMES[2], i64::MAX, stamp_us).await.unwrap();
    let mut epochs: Vec<(Box<str>, i64)> =
        store.epochs().await.unwrap().into_iter().map(|Epoch { home, epoch_us }| (home, epoch_us)).collect();
    epochs.sort();
    let mut expected = [(HOMES[0].into(), stamp_us), (HOMES[1].into(), 77), (HOMES[2].into(), i64::MAX)];
    expected.sort();
    assert_eq!(epochs, expected);
}

async fn rows_end_with_their_lease(bench: &Bench) {
    let lasting = bench.store().await;
    assert!(!lasting.has_leases());
    if bench.kind == Kind::Memory {
        return leases_in_memory(bench).await;
    }
    let store = bench.store_with(StoreOptions { lease_s: 2, ..bench.options() }).await;
    assert_eq!(store.has_leases(), bench.kind != Kind::MongoDb(Schema::OpenSips));
    let (stamp_us, began) = (now_us(), Instant::now());
    lasting.write(HOMES[0], &[put("lasting@example.com")], stamp_us).await.unwrap();
    store.write(HOMES[0], &[put("short@example.com")], stamp_us).await.unwrap();
    if !store.has_leases() {
        return;
    }
    // The clock that a server ends rows by cannot be turned from here, so this waits for it.
    while !homes(&store, "short@example.com").await.is_empty() {
        assert!(began.elapsed() < Duration::from_secs(30), "the row has not ended");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(began.elapsed() > Duration::from_millis(900), "the row has ended too early");
    assert_eq!(scanned(&store, None, 10).await.len(), 1);
    assert_eq!(homes(&lasting, "lasting@example.com").await, [HOMES[0]]);
    let swept = store.sweep(HOMES[0], now_us()).await.unwrap();
    // What the store removes by itself may be gone already.
    if store.inspect().await.unwrap().expires_by_itself {
        assert!(swept <= 1);
    } else {
        assert_eq!(swept, 1);
    }
    assert_eq!(store.sweep(HOMES[0], now_us()).await.unwrap(), 0);
    // A lease can be taken anew.
    store.write(HOMES[0], &[put("short@example.com")], now_us()).await.unwrap();
    assert_eq!(homes(&store, "short@example.com").await, [HOMES[0]]);
}

async fn leases_in_memory(bench: &Bench) {
    let store = bench.store_with(StoreOptions { lease_s: 60, ..bench.options() }).await;
    assert!(store.has_leases());
    store.write(HOMES[0], &[put("short@example.com"), put("gone@example.com")], now_us()).await.unwrap();
    store.write(HOMES[1], &[put("short@example.com")], now_us()).await.unwrap();
    store.write(HOMES[0], &[remove("gone@example.com")], now_us() + 1).await.unwrap();
    assert_eq!(store.sweep(HOMES[0], now_us()).await.unwrap(), 0);
    assert_eq!(store.sweep(HOMES[0], now_us() + 61_000_000).await.unwrap(), 1);
    assert_eq!(homes(&store, "short@example.com").await, [HOMES[1]]);
}

/// One test of each behaviour for each store.
macro_rules! contract {
    ($($behaviour:ident),* $(,)?) => {
        contract!(@store memory, Kind::Memory, $($behaviour),*);
        contract!(@store cassandra_native, Kind::Cassandra(Schema::Native), $($behaviour),*);
        contract!(@store cassandra_opensips, Kind::Cassandra(Schema::OpenSips), $($behaviour),*);
        contract!(@store mongodb_native, Kind::MongoDb(Schema::Native), $($behaviour),*);
        contract!(@store mongodb_opensips, Kind::MongoDb(Schema::OpenSips), $($behaviour),*);
    };
    (@store $name:ident, $kind:expr, $($behaviour:ident),*) => {
        mod $name {
            use super::{Kind, Schema};

            #[allow(dead_code, reason = "memory has no schema")]
            const UNUSED: Schema = Schema::Native;
            $(
                #[test]
                fn $behaviour() {
                    super::run($kind, super::$behaviour);
                }
            )*
        }
    };
}

contract!(
    a_row_is_found_until_it_is_withdrawn,
    an_aor_may_have_several_homes,
    a_write_may_be_repeated,
    an_older_stamp_does_not_undo_a_newer_one,
    writes_of_any_size_are_done_whole,
    odd_names_are_kept_byte_for_byte,
    a_scan_sees_every_row_once,
    rows_are_deleted_unless_written_again,
    epochs_are_kept_by_home,
    rows_end_with_their_lease,
);
