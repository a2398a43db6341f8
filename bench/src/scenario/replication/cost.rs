//! CPU per REGISTER of a node without a backup, and with one in both ways, in turn.
//!
//! A phase ends when the backup has acknowledged everything, so that what was sent late is paid for too. What the backup
//! itself uses is told beside it: in operation it stands on another host.

use super::pair::{Pair, Way};
use super::{Part, first_of};
use crate::answer::Answers;
use crate::cli::ReplicationArgs;
use crate::error::Error;
use crate::pace::Pace;
use crate::phase::{Troubles, pace_name};
use crate::register_load::{Plan, whole_rounds};
use crate::register_message::CSEQ_FIRST;
use crate::report::{Figure, Report};
use crate::server::Server;
use crate::target;
use std::time::Duration;

/// A log's first generation begins with the daemon; see `durability`.
const GENERATION_SETTLE: Duration = Duration::from_millis(1100);

/// What the rounds of one way at one pace came to.
#[derive(Default)]
struct Series {
    server_us: Vec<f64>,
    backup_us: Vec<f64>,
    per_second: Vec<f64>,
}

/// Runs it.
pub(super) fn run(args: &ReplicationArgs, report: &mut Report, troubles: &mut Troubles) -> Result<(), Error> {
    let count = whole_rounds(args.server.sized(args.aors, 640), args.server.client_sockets);
    let rounds = args.server.sized(args.rounds, 1);
    let paces = [Pace::Window(args.window), Pace::Rate(args.server.sized(args.rate, 2000))];
    report.set("AoRs, cost", u64::from(count));
    let mut pairs = Vec::new();
    for way in Way::ALL {
        pairs.push(Pair::start_whole(args, way)?);
    }
    std::thread::sleep(GENERATION_SETTLE);
    let (first, cseq, answers) = (first_of(Part::Cost), CSEQ_FIRST, Answers::Sip);
    let mut plan = Plan { name: "registering", first, count, cseq, pace: paces[0], answers };
    for pace in paces {
        let plans: Vec<Plan> =
            (0..rounds).map(|round| Plan { first: plan.first + round * count, pace, ..plan }).collect();
        plan.first += rounds * count;
        report_costs(report, &format!("new binding, {}", pace_name(pace)), &turns(&mut pairs, &plans, troubles)?);
    }
    plan = Plan { name: "refreshing", first, ..plan };
    for pace in paces {
        // The first refreshes warm up.
        let plans: Vec<Plan> = (1..=rounds + 1).map(|round| Plan { pace, cseq: plan.cseq + round, ..plan }).collect();
        plan.cseq += rounds + 1;
        turns(&mut pairs, &plans[..1], troubles)?;
        report_costs(report, &format!("refresh, {}", pace_name(pace)), &turns(&mut pairs, &plans[1..], troubles)?);
    }
    Ok(())
}

/// A round for each of `plans`, in which all take turns.
fn turns(pairs: &mut [Pair], plans: &[Plan], troubles: &mut Troubles) -> Result<[Series; 3], Error> {
    let mut series: [Series; 3] = Default::default();
    for plan in plans {
        for (pair, series) in pairs.iter_mut().zip(&mut series) {
            let before_ns = pair.server.cpu_ns()?;
            let backup_before_ns = pair.backup.as_ref().map(Server::cpu_ns).transpose()?;
            let measured = pair.measure(*plan, troubles)?;
            pair.settle()?;
            let each = |ns: u64| ns as f64 / 1000.0 / measured.outcome.accepted.max(1) as f64;
            series.server_us.push(each(pair.server.cpu_ns()? - before_ns));
            let backup_ns = pair.backup.as_ref().map(Server::cpu_ns).transpose()?;
            series.backup_us.extend(backup_ns.zip(backup_before_ns).map(|(after, before)| each(after - before)));
            series.per_second.push(measured.per_second());
        }
    }
    Ok(series)
}

fn report_costs(report: &mut Report, what: &str, series: &[Series; 3]) {
    for (way, series) in Way::ALL.iter().zip(series) {
        report.add(Figure::new(format!("{what}: {}", way.word()), "µs CPU", &series.server_us));
    }
    for (way, of) in Way::ALL.iter().zip(series).skip(1) {
        let ratios: Vec<f64> =
            of.server_us.iter().zip(&series[0].server_us).map(|(with, without)| with / without.max(1e-9)).collect();
        let target = if *way == Way::Async { target::REPLICATION_RATIO } else { None };
        report.add(Figure::new(format!("{what}: {} / no backup", way.word()), "times", &ratios).against(target));
        report.add(Figure::new(format!("{what}: the backup's own, {}", way.word()), "µs CPU", &of.backup_us));
    }
    if what.ends_with("saturated") {
        for (way, series) in Way::ALL.iter().zip(series) {
            report.add(Figure::new(format!("{what}: throughput, {}", way.word()), "requests/s", &series.per_second));
        }
    }
}
