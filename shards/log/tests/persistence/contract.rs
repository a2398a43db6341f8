//! What a log promises while nothing goes wrong.

use crate::place::{NOW_S, Opened, Place, files, options};
use sipfed_log::{
    AppendError, Busy, Durability, Event, Generation, LogOptions, OPERATIONS_BYTES_MAX, OpenError, Sequence,
};
use std::fs;
use std::ops::ControlFlow;
use std::process::Command;
use std::time::Duration;

#[test]
fn what_was_appended_comes_back_in_order() {
    let place = Place::new();
    let mut opened = Opened::new(&place.at("shard-0"), options());
    assert_eq!((opened.report.last, opened.log.durable()), (Sequence(0), Sequence(0)));
    assert_eq!(opened.append(3000), Sequence(3000));
    assert_eq!(opened.read().0, (1..=3000).collect::<Vec<_>>(), "while it is open");
    opened.log.close().unwrap();

    for _ in 0..2 {
        let opened = Opened::new(&place.at("shard-0"), options());
        assert_eq!(opened.report.last, Sequence(3000));
        assert!(opened.report.cut.is_none() && opened.report.given_up.is_empty());
        let (found, replayed) = opened.read();
        assert_eq!(found, (1..=3000).collect::<Vec<_>>());
        assert_eq!((replayed.entries, replayed.last), (3000, Sequence(3000)));
    }
}

#[test]
fn sequences_run_on_across_generations_and_restarts() {
    let place = Place::new();
    for round in 0..4 {
        let mut opened = Opened::new(&place.at("shard-0"), options());
        opened.append(100);
        opened.start_generation(NOW_S + round);
        opened.append(100);
        assert_eq!(opened.read().0, (1..=(round + 1) * 200).collect::<Vec<_>>());
        let starts: Vec<u64> = opened.log.generations().iter().skip(1).map(|found| found.started_at_s).collect();
        assert_eq!(starts, (NOW_S..=NOW_S + round).collect::<Vec<_>>());
    }
}

#[test]
fn a_generation_begins_when_it_is_polled() {
    let place = Place::new();
    let mut opened = Opened::new(&place.at("shard-0"), options());
    let first = Generation { number: 1, started_at_s: NOW_S };
    let second = Generation { number: 2, started_at_s: NOW_S + 60 };
    opened.log.start_generation(second.started_at_s).unwrap();
    assert_eq!(opened.log.start_generation(0), Err(Busy), "one thing at a time");
    opened.append(10);
    assert_eq!(opened.log.generation(), first, "nobody has polled");
    assert!(matches!(opened.event(), Event::GenerationStarted(started) if started == second));
    assert_eq!(opened.log.generation(), second);
    opened.append(10);

    let mut generations = Vec::new();
    let visit = &mut |entry: sipfed_log::Entry<'_>| {
        generations.push(entry.generation.number);
        ControlFlow::Continue(())
    };
    opened.log.replay(visit, &mut |_| {}).unwrap();
    assert_eq!(generations, [[1; 10], [2; 10]].concat());
}

#[test]
fn a_generation_that_is_dropped_leaves_with_all_its_entries_and_files() {
    let place = Place::new();
    let mut opened = Opened::new(&place.at("shard-0"), options());
    for number in 0..3 {
        opened.append(50);
        opened.start_generation(NOW_S + number);
    }
    opened.append(50);
    opened.log.drop_generations_that_ended(3).unwrap();
    let event = opened.event();
    assert!(matches!(&event, Event::GenerationsDropped(numbers) if *numbers == [1, 2]), "{event:?}");
    assert_eq!(opened.read().0, (101..=200).collect::<Vec<_>>());
    opened.log.close().unwrap();
    let opened = Opened::new(&place.at("shard-0"), options());
    assert_eq!(opened.read().0, (101..=200).collect::<Vec<_>>());
    assert_eq!(opened.log.generations().len(), 2);
    assert_eq!(files(&place.at("shard-0"), "sst").len(), 2, "one table for each generation that is left");
}

#[test]
fn sequences_run_on_when_every_entry_was_dropped() {
    let place = Place::new();
    let mut opened = Opened::new(&place.at("shard-0"), options());
    opened.append(70);
    opened.start_generation(NOW_S);
    // The current generation stays, whatever is asked.
    opened.log.drop_generations_that_ended(99).unwrap();
    opened.event();
    assert_eq!(opened.read().0, [0; 0]);
    opened.log.close().unwrap();
    let mut opened = Opened::new(&place.at("shard-0"), options());
    assert_eq!(opened.report.last, Sequence(70));
    assert_eq!(opened.append(1), Sequence(71));
}

#[test]
fn durable_follows_the_syncs_of_the_disk() {
    let place = Place::new();
    let durability = Durability::Disk { interval: Duration::from_micros(100) };
    let mut opened = Opened::new(&place.at("shard-0"), LogOptions { durability, ..options() });
    for _ in 0..20 {
        let last = opened.append(10);
        opened.wait_durable(last);
        assert_eq!(opened.log.durable(), last);
    }
    let statistics = opened.log.statistics();
    assert!((20..=200).contains(&statistics.syncs), "{statistics:?}");
    assert_eq!(statistics.entries, 200);
    assert!(statistics.wal_bytes > statistics.operations_bytes);
}

#[test]
fn bytes_of_the_write_ahead_log_are_counted_as_they_are_written() {
    let place = Place::new();
    let mut opened = Opened::new(&place.at("shard-0"), options());
    let before: u64 = files(&place.at("shard-0"), "log").iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    opened.append(1000);
    let after: u64 = files(&place.at("shard-0"), "log").iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    let reckoned = opened.log.statistics().wal_bytes;
    // A record that happens to reach into one block more has another header.
    assert!((after - before).abs_diff(reckoned) < 1000, "{} bytes, {reckoned} reckoned", after - before);
}

#[test]
fn operations_beyond_the_bound_are_refused_and_the_log_goes_on() {
    let place = Place::new();
    let mut opened = Opened::new(&place.at("shard-0"), options());
    let bytes = OPERATIONS_BYTES_MAX + 1;
    assert_eq!(opened.log.append(&vec![0; bytes]), Err(AppendError::TooLarge { bytes }));
    assert_eq!(opened.append(1), Sequence(1));
    assert_eq!(opened.log.append(&vec![0; OPERATIONS_BYTES_MAX]), Ok(Sequence(2)));
}

#[test]
fn a_log_is_reopened_with_all_its_entries() {
    let place = Place::new();
    let durability = Durability::Disk { interval: Duration::ZERO };
    let mut opened = Opened::new(&place.at("shard-0"), LogOptions { durability, ..options() });
    opened.append(100);
    opened.log.reopen().unwrap();
    assert!(matches!(opened.log.append(b""), Err(AppendError::Failed { .. })), "until it is open again");
    assert_eq!(opened.log.reopen(), Err(Busy));
    let event = opened.event();
    assert!(matches!(&event, Event::Reopened(report) if report.last == Sequence(100)), "{event:?}");
    let last = opened.append(100);
    opened.wait_durable(last);
    assert_eq!(opened.read().0, (1..=200).collect::<Vec<_>>());
}

#[test]
fn a_log_that_is_open_is_not_opened_twice() {
    let place = Place::new();
    let _opened = Opened::new(&place.at("shard-0"), options());
    let second = Opened::try_new(&place.at("shard-0"), options()).err().unwrap();
    assert!(matches!(second, OpenError::InUse { .. }), "{second}");
}

#[test]
fn a_meter_measures_without_keeping_the_log_open() {
    let place = Place::new();
    let mut opened = Opened::new(&place.at("shard-0"), options());
    opened.append(2000);
    let meter = opened.log.meter();
    let sizes = meter.measure().unwrap();
    assert!(sizes.wal_bytes > 2_000_000 && sizes.buffers_bytes > 2_000_000, "{sizes:?}");
    assert_eq!((sizes.generations_count, sizes.background_errors), (1, 0));
    opened.log.close().unwrap();
    assert_eq!(meter.measure(), None);
    Opened::new(&place.at("shard-0"), options());
}

#[test]
fn a_visitor_may_end_a_replay_and_progress_reaches_the_end() {
    let place = Place::new();
    let mut opened = Opened::new(&place.at("shard-0"), options());
    opened.append(5000);
    let mut seen = 0;
    let visit = &mut |_: sipfed_log::Entry<'_>| {
        seen += 1;
        if seen == 10 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let replayed = opened.log.replay(visit, &mut |_| {}).unwrap();
    assert!(replayed.is_stopped && replayed.entries == 10);

    let mut told = Vec::new();
    opened.log.replay(&mut |_| ControlFlow::Continue(()), &mut |progress| told.push(progress)).unwrap();
    assert!(told.len() > 2 && told.is_sorted_by_key(|progress| progress.entries));
    let end = told.last().unwrap();
    assert_eq!(end.entries, 5000);
    assert!(end.bytes_total > end.bytes / 2 && end.bytes_total < end.bytes * 2, "{end:?}");
}

/// Pins the calling thread to the first core that it may use; false where that is not possible or changes nothing.
fn pin() -> bool {
    let thread = fs::read_link("/proc/thread-self").unwrap();
    let id = thread.file_name().unwrap().to_str().unwrap().to_owned();
    let first = cores("/proc/thread-self/status").split([',', '-']).next().unwrap().to_owned();
    let is_one = cores("/proc/thread-self/status") == first;
    let done = Command::new("taskset").args(["-cp", &first, &id]).output();
    if !is_one && done.is_ok_and(|done| done.status.success()) {
        return true;
    }
    println!("skipped: there is one core only, or no taskset to pin a thread with");
    false
}

fn cores(status: &str) -> String {
    let status = fs::read_to_string(status).unwrap();
    let line = status.lines().find(|line| line.starts_with("Cpus_allowed_list:")).unwrap();
    line.split_whitespace().nth(1).unwrap().to_owned()
}

#[test]
fn a_pinned_thread_may_not_open_a_log() {
    let place = Place::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            if pin() {
                let refused = Opened::try_new(&place.at("shard-0"), options()).err().unwrap();
                assert!(matches!(refused, OpenError::PinnedThread { .. }), "{refused}");
            }
        });
    });
}

#[test]
fn threads_of_a_log_run_on_all_cores_when_a_pinned_thread_appends() {
    let place = Place::new();
    let mut opened = Opened::new(&place.at("shard-0"), options());
    assert_eq!(opened.report.pinned_threads, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            if !pin() {
                return;
            }
            // Enough for a buffer to be full and written to a table.
            opened.append(15_000);
            opened.start_generation(NOW_S);
            opened.log.reopen().unwrap();
            opened.event();
            let all = cores("/proc/self/status");
            for task in fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok) {
                let Ok(name) = fs::read_to_string(task.path().join("comm")) else { continue };
                if name.starts_with("rocksdb:") || name.starts_with("log-") {
                    assert_eq!(cores(task.path().join("status").to_str().unwrap()), all, "{name}");
                }
            }
        });
    });
}
