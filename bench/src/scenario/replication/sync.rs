//! An empty backup beside a node that is full: how fast it is given everything, and what REGISTERs notice.
//!
//! REGISTERs come at a modest rate, in stretches of half a second: as many before the backup starts as fall between the
//! moment in which the link is up and that in which the backup has everything.

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
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

const STARTING: u8 = 0;
const SYNCHRONIZING: u8 = 1;
const OVER: u8 = 2;
/// Stretches of one round while the backup is not there.
const IDLE_STRETCHES: u32 = 6;

/// A backup that has everything.
struct Synchronized {
    backup: Server,
    took: Duration,
}

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
        let (donor_before_ns, start, state) = (pair.server.cpu_ns()?, pair.starter(), AtomicU8::new(STARTING));
        let mut busy = Latencies::new();
        let (loaded, synchronized) = std::thread::scope(|scope| {
            let receiver = scope.spawn(|| {
                let done = synchronize(&start, args, &state);
                state.store(OVER, Ordering::Relaxed);
                done
            });
            (load(&mut pair, &mut plan, &state, &mut busy, troubles), receiver.join())
        });
        loaded?;
        let synchronized =
            synchronized.map_err(|_| std::io::Error::other("it panicked")).doing("starting a backup")??;
        let Synchronized { backup, took } = synchronized;
        series.took_s.push(took.as_secs_f64());
        series.donor_s.push((pair.server.cpu_ns()? - donor_before_ns) as f64 / 1e9);
        series.receiver_s.push(backup.cpu_ns()? as f64 / 1e9);
        series.idle_p99.push(idle.quantiles().p99);
        series.busy_p99.push(busy.quantiles().p99);
        series.requests.push(busy.count() as f64);
        series.checked += fetch::check_sample(backup.address(), domain(args), &pair.sockets, first, count)?;
    }
    report.set("bindings, sync", u64::from(count));
    report_series(report, &series, f64::from(count), &pace_name(plan.pace), args.server.shards());
    Ok(())
}

/// Starts an empty backup, and waits until it has everything.
fn synchronize(
    start: &(impl Fn(&ReplicationArgs) -> Result<Server, Error> + Send),
    args: &ReplicationArgs,
    state: &AtomicU8,
) -> Result<Synchronized, Error> {
    let backup = start(args)?;
    backup.wait_for("the link to a node is up", 0)?;
    let linked = Instant::now();
    state.store(SYNCHRONIZING, Ordering::Relaxed);
    backup.wait_for("this node knows all bindings of its home", 0)?;
    Ok(Synchronized { backup, took: linked.elapsed() })
}

/// Refreshes at a rate while the backup is given everything.
fn load(
    pair: &mut Pair,
    plan: &mut Plan,
    state: &AtomicU8,
    latencies: &mut Latencies,
    troubles: &mut Troubles,
) -> Result<(), Error> {
    while state.load(Ordering::Relaxed) == STARTING {
        std::thread::sleep(Duration::from_millis(1));
    }
    while state.load(Ordering::Relaxed) == SYNCHRONIZING {
        plan.cseq += 1;
        latencies.add(&pair.measure(*plan, troubles)?.outcome.latencies);
    }
    Ok(())
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
    add("bindings / that / cores", "bindings/s", &per(&series.took_s, cores), target::SYNC_BINDINGS_PER_S);
    add("CPU of the node that gives, with its REGISTERs", "s CPU", &series.donor_s, None);
    add("CPU of the backup, with its start", "s CPU", &series.receiver_s, None);
    add("bindings / CPU of the node that gives", "bindings/s", &per(&series.donor_s, 1.0), None);
    add("bindings / CPU of the backup", "bindings/s", &per(&series.receiver_s, 1.0), None);
    add("bindings fetched from the backup, right", "bindings", &[f64::from(series.checked)], None);
    add(&format!("REGISTERs meanwhile, {pace}"), "requests", &series.requests, None);
    add(&format!("REGISTER, {pace}: p99, idle"), "µs", &series.idle_p99, None);
    add(&format!("REGISTER, {pace}: p99, meanwhile"), "µs", &series.busy_p99, None);
    let ratios: Vec<f64> =
        series.busy_p99.iter().zip(&series.idle_p99).map(|(busy, idle)| busy / idle.max(1e-9)).collect();
    add(&format!("REGISTER, {pace}: p99, meanwhile / idle"), "times", &ratios, target::SYNC_P99_RATIO);
}
