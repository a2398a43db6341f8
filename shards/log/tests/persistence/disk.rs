//! Disks that are full, slow, or fail.
//!
//! Full ones are real: a small file system, or a limit on the size of files. Slow and failing ones are made by
//! `fault.c`, which stands between the log and the kernel while a file `armed` exists.

use crate::child::{Player, arguments, command, tell};
use crate::owner::in_namespace;
use crate::place::{Opened, Place, options};
use sipfed_log::{AppendError, Durability, Event, LogOptions, Sequence};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Appends until something else than a stall refuses it.
fn append_until_refused(opened: &mut Opened) -> (Sequence, AppendError) {
    let mut last = Sequence(0);
    loop {
        match opened.try_append() {
            Ok(sequence) => last = sequence,
            Err(AppendError::Stalled) => std::thread::yield_now(),
            Err(error) => return (last, error),
        }
    }
}

/// Reopens, and checks that everything up to `acknowledged` is there and the log goes on.
fn recover(opened: &mut Opened, acknowledged: Sequence) {
    // What has failed on another thread may be told first.
    while opened.log.reopen().is_err() {
        opened.event();
    }
    let report = loop {
        match opened.event() {
            Event::Reopened(report) => break report,
            Event::ReopenFailed(error) => panic!("{error}"),
            _ => {}
        }
    };
    assert!(report.given_up.is_empty(), "{report:?}");
    let (found, _) = opened.read();
    assert!(found.len() as u64 >= acknowledged.0, "{} of {acknowledged}", found.len());
    assert_eq!(found, (1..=report.last.0).collect::<Vec<_>>());
    opened.append(100);
}

/// The child: fills the disk, makes room `how`, and goes on.
pub(crate) fn fill(folder: &Path, how: &str) {
    let filler = folder.join("filler");
    if how == "by removing a file" {
        fs::write(&filler, vec![1; 40 << 20]).unwrap();
    }
    let mut opened = Opened::new(&folder.join("shard-0"), options());
    let (acknowledged, error) = append_until_refused(&mut opened);
    assert!(matches!(error, AppendError::DiskFull { .. }), "{error}");
    assert_eq!(opened.try_append(), Err(error), "it stays refused");
    if how == "by removing a file" {
        fs::remove_file(&filler).unwrap();
    } else {
        let id = std::process::id().to_string();
        let lifted = Command::new("prlimit").args(["--pid", &id, "--fsize=unlimited"]).status().unwrap();
        assert!(lifted.success());
    }
    assert!(opened.try_append().is_err(), "not before it is reopened");
    recover(&mut opened, acknowledged);
    tell("recovered");
}

#[test]
fn a_full_file_system_refuses_and_room_brings_it_back() {
    let place = Place::new();
    let child = command("fill:by removing a file", &place.0);
    let Some(mut mounted) = in_namespace("mount -t tmpfs -o size=100m tmpfs \"$0\"", &place.0, &child) else { return };
    let (status, told) = Player::start(&mut mounted).end();
    assert!(status.success() && told.contains("recovered"), "{told}");
}

#[test]
fn a_limit_on_the_size_of_files_is_a_full_disk() {
    if !Command::new("prlimit").arg("--version").output().is_ok_and(|found| found.status.success()) {
        println!("skipped: there is no prlimit to lift a limit with");
        return;
    }
    let place = Place::new();
    let child = command("fill:by lifting the limit", &place.0);
    let mut limited = Command::new("sh");
    // Blocks of 512 bytes. The signal that comes with the limit is ignored, as a daemon would.
    limited
        .args(["-c", "trap '' XFSZ; ulimit -S -f 8000; exec \"$0\" \"$@\""])
        .arg(child.get_program())
        .args(arguments());
    for (name, value) in child.get_envs() {
        limited.env(name, value.unwrap());
    }
    let (status, told) = Player::start(&mut limited).end();
    assert!(status.success() && told.contains("recovered"), "{told}");
}

/// Runs a child whose calls of `call` on files that end with `suffix` fail, or wait, while its folder has a file `armed`.
fn with_fault(role: &str, call: &str, suffix: &str, way: &str) {
    let place = Place::new();
    let (source, library) = (place.at("fault.c"), place.at("fault.so"));
    fs::write(&source, include_str!("fault.c")).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).arg("-ldl").output();
    match built {
        Err(_) => return println!("skipped: there is no C compiler to build the fault with"),
        Ok(built) => assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr)),
    }
    let mut child = command(role, &place.0);
    child
        .env("LD_PRELOAD", &library)
        .env("FAULT_CALL", call)
        .env("FAULT_SUFFIX", suffix)
        .env("FAULT_WAY", way)
        .env("FAULT_ARMED", place.at("armed"));
    let (status, told) = Player::start(&mut child).end();
    assert!(status.success() && told.contains("recovered"), "{told}");
}

fn on_disk() -> LogOptions {
    LogOptions { durability: Durability::Disk { interval: Duration::ZERO }, ..options() }
}

/// The child: syncs fail, or wait.
pub(crate) fn sync(folder: &Path, way: &str) {
    let armed = folder.join("armed");
    let mut opened = Opened::new(&folder.join("shard-0"), on_disk());
    let synced = opened.append(10);
    opened.wait_durable(synced);
    fs::write(&armed, b"").unwrap();
    if way == "wait" {
        let last = opened.append(1000);
        assert_eq!((last, opened.log.durable()), (Sequence(1010), synced), "appends do not wait for a sync");
        fs::remove_file(&armed).unwrap();
        opened.wait_durable(last);
        return tell("recovered");
    }
    opened.append(1);
    let event = opened.event();
    assert!(matches!(event, Event::Failed(AppendError::Failed { step: "sync", .. })), "{event:?}");
    assert_eq!(opened.log.durable(), synced);
    assert!(opened.try_append().is_err());
    fs::remove_file(&armed).unwrap();
    recover(&mut opened, synced);
    opened.wait_durable(Sequence(111));
    opened.log.close().unwrap();
    tell("recovered");
}

#[test]
fn a_slow_sync_keeps_no_append_waiting() {
    with_fault("sync:wait", "sync", ".log", "wait");
}

#[test]
fn a_failed_sync_is_told_and_nothing_more_is_promised() {
    with_fault("sync:fail", "sync", ".log", "fail");
}

/// The child: tables are not written, so that buffers fill.
pub(crate) fn stall(folder: &Path) {
    let armed = folder.join("armed");
    let mut opened = Opened::new(&folder.join("shard-0"), options());
    fs::write(&armed, b"").unwrap();
    let mut filling_at_bytes = None;
    let last = loop {
        match opened.try_append() {
            Ok(sequence) => assert!(sequence.0 < 100_000, "memory is bounded"),
            Err(error) => {
                assert_eq!(error, AppendError::Stalled);
                break opened.log.statistics().entries;
            }
        }
        if filling_at_bytes.is_none() && opened.log.is_filling() {
            filling_at_bytes = Some(opened.log.statistics().operations_bytes);
        }
    };
    assert_eq!(opened.log.statistics().stalls, 1);
    let left = opened.log.statistics().operations_bytes - filling_at_bytes.expect("it is filling before it stalls");
    assert!(left > sipfed_log::WRITE_BUFFER_BYTES as u64 / 2, "{left} bytes are left for who cannot wait");
    assert!(opened.log.is_filling());
    let buffers = opened.log.meter().measure().unwrap().buffers_bytes;
    let bound = sipfed_log::WRITE_BUFFER_BYTES * (sipfed_log::WRITE_BUFFERS_COUNT_MAX + 1);
    assert!(buffers < bound as u64, "{buffers} bytes");
    fs::remove_file(&armed).unwrap();
    assert_eq!(opened.append(1000), Sequence(last + 1000), "what was stalled has no sequence");
    while opened.log.is_filling() {
        std::thread::yield_now();
    }
    assert_eq!(opened.read().0, (1..=last + 1000).collect::<Vec<_>>());
    tell("recovered");
}

#[test]
fn buffers_that_are_full_refuse_and_the_log_goes_on_by_itself() {
    with_fault("stall", "write", ".sst", "wait");
}

/// The child: a write to the write-ahead log fails half-way.
pub(crate) fn write(folder: &Path) {
    let armed = folder.join("armed");
    let mut opened = Opened::new(&folder.join("shard-0"), options());
    let acknowledged = opened.append(100);
    fs::write(&armed, b"").unwrap();
    let error = opened.try_append().expect_err("the write fails");
    assert!(matches!(error, AppendError::Failed { step: "append", .. }), "{error}");
    fs::remove_file(&armed).unwrap();
    assert_eq!(opened.try_append(), Err(error), "not before it is reopened");
    recover(&mut opened, acknowledged);
    tell("recovered");
}

#[test]
fn a_write_that_fails_half_way_breaks_the_log_until_it_is_reopened() {
    with_fault("write", "write", ".log", "fail");
}
