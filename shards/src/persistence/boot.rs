//! The start of a node that keeps a log: everything comes back through the door that live traffic uses.
//!
//! In: the data directory. Out: one opened log for each shard, read into its machine. Logs are opened before any thread is
//! pinned (see [`sipfed_log`]); each shard reads its own on its own core, all at the same time.
//!
//! Where the directory was written by another number of shards, its logs are first written anew for this one: every
//! new shard reads all old logs and keeps what is its own. The old layout stays whole until the new one is. The same goes
//! for one that was written with another secret, by a node that had no backups then: hashes and ids become those of the new
//! one.

use super::{Durability, PersistenceOptions, ShardLog};
use crate::clock::Clock;
use crate::error::StartError;
use crate::mesh::Mesh;
use sipfed_log::{DataDirectory, Identity, Layout, Log, LogOptions, OpenReport};
use sipfed_proto::{BadEntry, Now, Outbox, Place, Settings, Shard, ShardIndex};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Shortest time between the beginnings of two syncs.
const SYNC_INTERVAL: Duration = Duration::from_millis(1);
/// Threads that write buffers of all logs to the disk.
const FLUSH_THREADS_COUNT: u32 = 2;
/// Bytes of an entry when everything is written anew.
const REWRITE_BYTES: usize = 256 << 10;
/// Time between two lines about the progress of a start.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// The data directory and the logs of all shards, in shard order.
pub(crate) struct OpenedLogs {
    pub(crate) directory: DataDirectory,
    pub(crate) logs: Vec<Log>,
}

/// Opens the directory, and the log of every shard. A directory that is new gets the secret that is `wanted`, or `drawn`; in
/// one with another secret than is wanted everything is written anew.
pub(crate) fn open(
    options: &PersistenceOptions,
    shards_count: u8,
    wanted: Option<[u8; 32]>,
    drawn: [u8; 32],
    settings: &Arc<Settings>,
    clock: Clock,
    mesh: &Arc<Mesh>,
) -> Result<OpenedLogs, StartError> {
    let now_s = u64::from(clock.now().unix_s());
    let identity = Identity { shards_count: shards_count.into(), secret: wanted.unwrap_or(drawn), now_s };
    let mut directory = DataDirectory::open(&options.directory, &identity).map_err(not_kept)?;
    let secret = wanted.unwrap_or(*directory.secret());
    if secret != *directory.secret() {
        tracing::info!(
            "the logs are written with another secret than that of this home; contacts and GRUUs get other ids"
        );
        rewrite(options, &mut directory, settings, clock, secret)?;
    }
    if let Some(resharding) = directory.needs_resharding() {
        tracing::info!(
            from = resharding.stored,
            to = resharding.wanted,
            "the logs are written for another number of shards"
        );
        rewrite(options, &mut directory, settings, clock, secret)?;
    }
    let layout = directory.layout();
    let mut logs = Vec::with_capacity(shards_count.into());
    for shard in 0..shards_count {
        let mesh = Arc::clone(mesh);
        let wake = move || mesh.bell(ShardIndex(shard)).ring();
        logs.push(open_log(options, &layout.shard_folder(shard.into()), now_s, wake)?);
    }
    Ok(OpenedLogs { directory, logs })
}

fn open_log(
    options: &PersistenceOptions,
    folder: &Path,
    now_s: u64,
    wake: impl Fn() + Send + Sync + 'static,
) -> Result<Log, StartError> {
    let durability = match options.durability {
        Durability::Process => sipfed_log::Durability::Process,
        Durability::Disk => sipfed_log::Durability::Disk { interval: SYNC_INTERVAL },
    };
    let log_options =
        LogOptions { durability, salvage: options.salvage, now_s, flush_threads_count: FLUSH_THREADS_COUNT };
    let (log, report) = Log::open(folder, log_options, wake).map_err(not_kept)?;
    tell(folder, &report);
    Ok(log)
}

/// Tells what an operator should know of a log that was opened.
fn tell(folder: &Path, report: &OpenReport) {
    let log = folder.display().to_string();
    if let Some(cut) = &report.cut {
        tracing::warn!(
            log,
            what = cut.to_string(),
            "the end of a log was being written when the node died, and is cut"
        );
    }
    for damage in &report.given_up {
        tracing::error!(log, what = damage.to_string(), "a part of a log is lost");
    }
    if report.is_rebuilt {
        tracing::warn!(log, "the files of a log were rebuilt from what could be read of them");
    }
}

/// Reads a log into a machine and gives the shard its end of it.
pub(crate) fn restore(
    options: &PersistenceOptions,
    machine: &mut Shard,
    log: Log,
    shard: ShardIndex,
    expires_s_max: u32,
    now: Now,
) -> Result<ShardLog, StartError> {
    let started = Instant::now();
    let entries = read_into(machine, &log, shard)?;
    // What ran out while the node was away ends before anybody asks for it.
    let mut out = Outbox::new();
    while machine.next_deadline().is_some_and(|deadline| deadline <= now) {
        machine.handle_timeout(now, &mut out);
    }
    let restored_until_s = machine.last_expiry_s();
    machine.keep_journal(super::began(log.generation()));
    let bindings = machine.bindings();
    if entries > 0 {
        let ms = started.elapsed().as_millis() as u64;
        tracing::info!(shard = shard.0, bindings, entries, ms, "bindings have come back from the log");
    }
    Ok(ShardLog::new(shard, log, options.on_failure, expires_s_max, restored_until_s))
}

/// Reads a whole log into a machine; gives how many entries it has.
fn read_into(machine: &mut Shard, log: &Log, shard: ShardIndex) -> Result<u64, StartError> {
    let mut bad: Option<(u64, BadEntry)> = None;
    let mut told = Instant::now();
    let replayed = log.replay(
        &mut |entry| match machine.restore(entry.operations) {
            Ok(_) => ControlFlow::Continue(()),
            Err(fault) => {
                bad = Some((entry.sequence.0, fault));
                ControlFlow::Break(())
            }
        },
        &mut |progress| {
            if told.elapsed() >= PROGRESS_INTERVAL {
                told = Instant::now();
                let percent = progress.bytes * 100 / progress.bytes_total.max(1);
                tracing::info!(shard = shard.0, percent, entries = progress.entries, "reading the log");
            }
        },
    );
    if let Some((record, fault)) = bad {
        let reason = format!("record {record}: the change at byte {} {}", fault.at, fault.what);
        return Err(StartError::Shard { shard: shard.0.into(), step: "reading its log", reason });
    }
    let replayed = replayed.map_err(not_kept)?;
    for damage in &replayed.damages {
        tracing::error!(shard = shard.0, what = damage.to_string(), "a part of the log is lost");
    }
    Ok(replayed.entries)
}

/// Writes the logs of another number of shards, or with another secret, anew for what is wanted.
fn rewrite(
    options: &PersistenceOptions,
    directory: &mut DataDirectory,
    settings: &Arc<Settings>,
    clock: Clock,
    secret: [u8; 32],
) -> Result<(), StartError> {
    let (now, old) = (clock.now(), directory.layout());
    let now_s = u64::from(now.unix_s());
    let wanted = directory.needs_resharding().map_or(old.shards_count, |resharding| resharding.wanted);
    let old_secret = *directory.secret();
    let is_keyed_anew = secret != old_secret;
    let begun =
        if is_keyed_anew { directory.begin_layout_with(wanted, secret) } else { directory.begin_layout(wanted) };
    let new = begun.map_err(not_kept)?;
    let old_logs = (0..old.shards_count)
        .map(|shard| open_log(options, &old.shard_folder(shard), now_s, || {}))
        .collect::<Result<Vec<_>, _>>()?;
    let machine = |shard: u32, count: u32, secret| {
        let place = Place { index: ShardIndex(shard as u8), count: count as u8 };
        Shard::new(Arc::clone(settings), place, secret, now)
    };
    // Which of them has an AoR is another matter with another secret, so all have to be there.
    let mut old_machines = Vec::new();
    for (shard, log) in (0..old.shards_count).zip(&old_logs).filter(|_| is_keyed_anew) {
        let mut machine = machine(shard, old.shards_count, old_secret);
        read_into(&mut machine, log, ShardIndex(shard as u8))?;
        old_machines.push(machine);
    }
    for shard in 0..new.shards_count {
        let mut machine = machine(shard, new.shards_count, secret);
        for old in &old_machines {
            machine.adopt(old, now);
        }
        for log in old_logs.iter().filter(|_| !is_keyed_anew) {
            read_into(&mut machine, log, ShardIndex(shard as u8))?;
        }
        write_anew(options, &mut machine, &new, shard, now)?;
    }
    for log in old_logs {
        log.close().map_err(not_kept)?;
    }
    directory.commit_layout(&new).map_err(not_kept)
}

fn write_anew(
    options: &PersistenceOptions,
    machine: &mut Shard,
    layout: &Layout,
    shard: u32,
    now: Now,
) -> Result<(), StartError> {
    let mut log = open_log(options, &layout.shard_folder(shard), u64::from(now.unix_s()), || {})?;
    machine.keep_journal(super::began(log.generation()));
    let mut from = Some(0);
    while let Some(next) = from {
        from = machine.write_down_all(next, REWRITE_BYTES);
        // Here is nobody who would have to be answered, so a log that asks for patience gets it.
        while let Err(error) = log.append(machine.journal()) {
            if !matches!(error, sipfed_log::AppendError::Stalled) {
                return Err(not_kept(error));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        machine.clear_journal();
    }
    log.close().map_err(not_kept)
}

fn not_kept(error: impl std::error::Error) -> StartError {
    StartError::Persistence { reason: error.to_string() }
}
