//! A home that dies and lives again, with what it had or without.

use super::daemon::{Daemon, PATIENCE, Start, folder, total};
use super::load::Crowd;
use super::phone::Phone;
use super::pop::Federation;
use super::rows::Row;
use std::path::Path;
use std::time::{Duration, Instant};

impl Federation {
    /// Starts a node that has its data there.
    fn pop_in(&self, node: usize, data: &Path, more: &str) -> Daemon {
        self.pop_with(node, &Start { data: Some(data), file: &self.file(node, more), ..Start::default() })
    }
}

#[test]
fn the_rows_of_a_home_that_has_lost_everything_are_void_at_once_and_then_removed() {
    let federation = Federation::new("cassandra native", 2);
    let (rows, data) = (federation.rows(), folder());
    let mut a = federation.pop_in(0, &data, "");
    let mut b = federation.pop(1, "");
    a.wait_for_directory("the store is there", |directory| directory.count("reconciles") == 1);
    let mut crowd = Crowd::new("u");
    crowd.register(a.udp, 0..3000, 600);
    a.wait_for_directory("they are published", |directory| directory.count("published") == 3000);
    a.kill();
    drop(a);
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::create_dir(&data).unwrap();
    // Its rows are compared a thousand at a time, ten seconds after one another.
    let mut a = federation.pop_in(0, &data, "reconcile_rows_per_s = 100");
    // B may look at them until it knows that A has begun anew, and finds nobody there, or nobody who answers in time; then
    // it does not even ask.
    let end = Instant::now() + PATIENCE;
    while b.directory().count("rows_void") == 0 {
        assert!(Instant::now() < end, "B does not notice");
        let user = rows.all().pop().expect("not all are compared yet").aor;
        let caller = Phone::new("127.0.0.1");
        caller.call(b.udp, user.split('@').next().unwrap());
        let status = caller.outcome().status();
        assert!(matches!(status, 404 | 480), "{status}");
    }
    let asked = total(&b.reports(), "branches_to_homes");
    let left = rows.all().pop().expect("not all are compared yet").aor;
    Phone::new("127.0.0.1").call_fails(b.udp, left.split('@').next().unwrap(), 404);
    assert_eq!(total(&b.reports(), "branches_to_homes"), asked);
    assert_eq!(rows.all().pop().expect("its row is still there").aor, left);
    a.kill();
    drop(a);
    let mut a = federation.pop_in(0, &data, "");
    a.wait_for_directory("its rows are compared", |directory| directory.count("reconciles") == 1);
    assert_eq!(rows.all(), []);
    crowd.register(a.udp, 0..100, 600);
    let bob = Phone::new("127.0.0.1");
    bob.register(a.udp, "bob", 600);
    a.wait_for_directory("they are published anew", |directory| directory.count("published") == 101);
    assert_eq!(rows.all().len(), 101);
    let caller = Phone::new("127.0.0.1");
    caller.call(b.udp, "bob");
    bob.answer(&bob.rings(), 200);
    assert_eq!(caller.outcome().status(), 200);
    a.stop();
    b.stop();
    std::fs::remove_dir_all(data).unwrap();
}

#[test]
fn the_rows_of_a_home_that_comes_back_with_its_data_stay_but_for_what_has_expired() {
    let federation = Federation::new("cassandra native", 2);
    let (rows, data, more) = (federation.rows(), folder(), "[registrar]\nmin_expires_s = 1");
    let mut a = federation.pop_in(0, &data, more);
    let b = federation.pop(1, "");
    a.wait_for_directory("the store is there", |directory| directory.count("reconciles") == 1);
    let (mut long, mut short, bob) = (Crowd::new("long"), Crowd::new("short"), Phone::new("127.0.0.1"));
    long.register(a.udp, 0..300, 600);
    bob.register(a.udp, "bob", 600);
    // Long enough to be published, whatever else the machine does.
    let short_s = 5;
    let registered = Instant::now();
    short.register(a.udp, 0..300, short_s);
    a.wait_for_directory("they are published", |directory| directory.count("published") == 601);
    let of_long = |rows: Vec<Row>| -> Vec<Row> { rows.into_iter().filter(|row| row.aor.starts_with("long")).collect() };
    let before = of_long(rows.all());
    assert_eq!(before.len(), 300);
    // The last ones may have been published, or not.
    long.register(a.udp, 300..400, 600);
    a.kill();
    drop(a);
    // They end while the node is down, which takes its time.
    let ended = registered + Duration::from_secs(u64::from(short_s) + 1);
    std::thread::sleep(ended.saturating_duration_since(Instant::now()));
    let mut a = federation.pop_in(0, &data, more);
    let done =
        |directory: &super::daemon::Report| directory.count("reconciles") == 1 && directory.count("pending") == 0;
    let report = a.wait_for_directory("what is there is compared", done);
    assert_eq!(report.count("withdrawn"), 300);
    let mut wanted: Vec<String> = long.aors(0..400).chain(["bob@fed.example".to_owned()]).collect();
    wanted.sort();
    let now = rows.all();
    assert_eq!(now.iter().map(|row| row.aor.clone()).collect::<Vec<_>>(), wanted);
    let kept: Vec<Row> = of_long(now).into_iter().filter(|row| before.iter().any(|old| old.aor == row.aor)).collect();
    assert_eq!(kept, before, "none was ever gone, or written anew");
    let caller = Phone::new("127.0.0.1");
    caller.call(b.udp, "bob");
    bob.answer(&bob.rings(), 200);
    assert_eq!(caller.outcome().status(), 200);
    a.stop();
    b.stop();
    std::fs::remove_dir_all(data).unwrap();
}
