//! An empty backup beside a node that is full: how fast it is given everything, and what REGISTERs notice.
//!
//! REGISTERs come at a modest rate, in stretches of half a second: some before the backup starts, and as many as begin before
//! it has everything.

use super::pair::{Pair, Way, domain};
use super::{Part, first_of};
use crate::answer::Answers;
use crate::cli::ReplicationArgs;
use crate::error::{Doing, Error};
use crate::fetch;
use crate::latency::Latencies;
use crate::pace::Pace;
use crate::phase::{Troubles, pace_name};
use crate::register_load::{Plan, whole_rounds};
use crate::register_message::CSEQ_FIRST;
use crate::report::{Figure, Report, cores_count};
use crate::server::Server;
use crate::target;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Stretches of one round while the backup is not there.
const IDLE_STRETCHES: u32 = 6;
/// How long the log of a backup may be behind.
const LOG_PATIENCE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

/// What the rounds came to.
#[derive(Default)]
struct Series {
    took_s: Vec<f64>,
    donor_s: Vec<f64>,
    receiver_s: Vec<f64>,
    idle_p99: Vec<f64>,
    busy_p99: Vec<f64>,
    requests: Vec<f64>,
    checked: u32,
}

/// Runs it.
pub(super) fn run(args: &ReplicationArgs, report: &mut Report, troubles: &mut Troubles) -> Result<(), Error> {
    let count = whole_rounds(args.server.sized(args.bindings, 1600), args.server.client_sockets);
    let rate = args.server.sized(args.modest_rate, 1000);
    let stretch = whole_rounds((rate / 2).min(count), args.server.client_sockets);
    let first = first_of(Part::Sync);
    let mut plan = Plan {
        name: "registering",
        first,
        count,
        cseq: CSEQ_FIRST,
        pace: Pace::Window(args.window),
        answers: Answers::Sip,
    };
    let mut pair = Pair::start(args, Way::Async)?;
    pair.measure(plan, troubles)?;
    plan = Plan { name: "refreshing", count: stretch, pace: Pace::Rate(rate), ..plan };
    let mut series = Series::default();
    for _ in 0..args.server.sized(args.rounds, 1) {
        let mut idle = Latencies::new();
        for _ in 0..IDLE_STRETCHES {
            plan.cseq += 1;
            idle.add(&pair.measure(plan, troubles)?.outcome.latencies);
        }
        let donor_before_ns = pair.server.cpu_ns()?;
        let backup = pair.start_backup(args, true)?;
        let (is_over, mut busy) = (AtomicBool::new(false), Latencies::new());
        let (loaded, took) = std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let took = synchronized(&backup);
                is_over.store(true, Ordering::Relaxed);
                took
            });
            (load(&mut pair, &mut plan, &is_over, &mut busy, troubles), watcher.join())
        });
        loaded?;
        let took = took.map_err(|_| std::io::Error::other("it panicked")).doing("watching a backup")??;
        series.took_s.push(took.as_secs_f64());
        series.donor_s.push((pair.server.cpu_ns()? - donor_before_ns) as f64 / 1e9);
        series.receiver_s.push(backup.cpu_ns()? as f64 / 1e9);
        series.idle_p99.push(idle.quantiles().p99);
        series.busy_p99.push(busy.quantiles().p99);
        series.requests.push(busy.count() as f64);
        series.checked += check(&backup, args, &pair, count)?;
    }
    report.set("bindings, sync", u64::from(count));
    report_series(report, &series, f64::from(count), &pace_name(plan.pace), args.server.shards());
    Ok(())
}

/// Waits until a backup has everything; how long that took from the moment in which the link was up.
fn synchronized(backup: &Server) -> Result<Duration, Error> {
    let linked = backup.wait_for("the link to a node is up")?;
    let whole = backup.wait_for("this node knows all bindings of its home")?;
    Ok(whole.checked_sub(linked).unwrap_or_else(|| (whole + DAY).saturating_sub(linked)))
}

/// Refreshes at a rate while the backup is given everything.
fn load(
    pair: &mut Pair,
    plan: &mut Plan,
    is_over: &AtomicBool,
    latencies: &mut Latencies,
    troubles: &mut Troubles,
) -> Result<(), Error> {
    loop {
        plan.cseq += 1;
        latencies.add(&pair.measure(*plan, troubles)?.outcome.latencies);
        if is_over.load(Ordering::Relaxed) {
            return Ok(());
        }
    }
}

/// Looks after a sample of what the backup was given. It answers nobody while its log is behind.
fn check(backup: &Server, args: &ReplicationArgs, pair: &Pair, count: u32) -> Result<u32, Error> {
    let asked = Instant::now();
    loop {
        match fetch::check_sample(backup.address(), domain(args), &pair.sockets, first_of(Part::Sync), count) {
            Err(Error::WrongAnswer { answer, .. })
                if answer.starts_with("SIP/2.0 503 ") && asked.elapsed() < LOG_PATIENCE =>
            {
                std::thread::sleep(Duration::from_millis(100));
            }
            checked => return checked,
        }
    }
}

fn report_series(report: &mut Report, series: &Series, count: f64, pace: &str, shards: usize) {
    let per =
        |seconds: &[f64], cores: f64| -> Vec<f64> { seconds.iter().map(|s| count / s.max(1e-9) / cores).collect() };
    let cores = shards.min(cores_count()) as f64;
    let mut add = |name: &str, unit, samples: &[f64], target| {
        report.add(Figure::new(format!("sync: {name}"), unit, samples).against(target));
    };
    add("from the link to a whole backup", "s", &series.took_s, None);
    add("bindings / that", "bindings/s", &per(&series.took_s, 1.0), None);
    add("bindings / that / cores", "bindings/s", &per(&series.took_s, cores), None);
    add("CPU of the node that gives, with its REGISTERs", "s CPU", &series.donor_s, None);
    add("CPU of the backup, with its start", "s CPU", &series.receiver_s, None);
    add("bindings / CPU of the node that gives", "bindings/s", &per(&series.donor_s, 1.0), target::SYNC_BINDINGS_PER_S);
    add("bindings / CPU of the backup", "bindings/s", &per(&series.receiver_s, 1.0), target::SYNC_BINDINGS_PER_S);
    add("bindings fetched from the backup, right", "bindings", &[f64::from(series.checked)], None);
    add(&format!("REGISTERs meanwhile, {pace}"), "requests", &series.requests, None);
    add(&format!("REGISTER, {pace}: p99, idle"), "µs", &series.idle_p99, None);
    add(&format!("REGISTER, {pace}: p99, meanwhile"), "µs", &series.busy_p99, None);
    let ratios: Vec<f64> =
        series.busy_p99.iter().zip(&series.idle_p99).map(|(busy, idle)| busy / idle.max(1e-9)).collect();
    add(&format!("REGISTER, {pace}: p99, meanwhile / idle"), "times", &ratios, target::SYNC_P99_RATIO);
}
