//! `durability`: what it costs that an acknowledged binding survives.
//!
//! Three daemons, which keep nothing, what survives their process (`process`) and what survives a loss of power
//! (`disk`), take turns within each round, and ratios are taken within a round. Then comes the load at which response
//! times are looked at, and at last the bytes: see [`written`].

mod written;

use super::Range;
use crate::answer::Answers;
use crate::cli::DurabilityArgs;
use crate::error::Error;
use crate::pace::Pace;
use crate::phase::{Measured, Troubles, measure, pace_name};
use crate::register_load::{Plan, whole_rounds};
use crate::register_message::{CSEQ_FIRST, RegisterTemplate};
use crate::report::{Figure, Report};
use crate::server::{LogTotals, Server};
use crate::sockets::Sockets;
use crate::target;
use std::time::Duration;

/// What the daemons keep. The first is what the others are compared with.
const DURABILITIES: [&str; 3] = ["none", "process", "disk"];
/// A log's first generation begins with the daemon. What is registered in that second would be written whole at its first
/// refresh, which no later one is.
const GENERATION_SETTLE: Duration = Duration::from_millis(1100);

/// One of the daemons that take turns.
struct Contender {
    server: Server,
    sockets: Sockets,
    template: RegisterTemplate,
    shards: usize,
}

/// What the rounds of one contender at one pace came to.
#[derive(Default)]
struct Series {
    server_us: Vec<f64>,
    per_second: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    p999: Vec<f64>,
    log_bytes: Vec<f64>,
    per_append: Vec<f64>,
}

impl Contender {
    fn new(durability: &str, args: &DurabilityArgs) -> Result<Self, Error> {
        let server = args.server.start_with(durability)?;
        let domain = args.server.domain_at(server.address());
        Ok(Self {
            sockets: Sockets::connect(server.address(), args.server.client_sockets)?,
            template: RegisterTemplate::new(server.address(), &domain, args.phone.instance())?,
            server,
            shards: args.server.shards(),
        })
    }

    /// One phase, and what it made the daemon's logs take.
    fn measure(&mut self, plan: Plan, troubles: &mut Troubles) -> Result<(Measured, LogTotals), Error> {
        let before = self.server.log_totals(self.shards)?;
        let measured = measure(&mut self.server, &mut self.sockets, &self.template, plan)?;
        troubles.add(&measured.outcome);
        Ok((measured, self.server.log_totals(self.shards)? - before))
    }
}

/// Runs the scenario.
pub(crate) fn run(args: &DurabilityArgs) -> Result<Report, Error> {
    let count = whole_rounds(args.server.sized(args.aors, 640), args.server.client_sockets);
    let rounds = args.server.sized(args.rounds, 1);
    let rate = args.server.sized(args.rate, 2000);
    let paces = [Pace::Window(args.window), Pace::Rate(rate)];
    let mut report = Report::new("durability");
    report.set("AoRs", u64::from(count));
    report.set("shards", args.server.shards() as u64);
    report.set("window", u64::from(args.window));
    report.set("rounds", u64::from(rounds));
    let mut troubles = Troubles::default();
    let mut contenders =
        DURABILITIES.iter().map(|name| Contender::new(name, args)).collect::<Result<Vec<_>, Error>>()?;
    std::thread::sleep(GENERATION_SETTLE);

    let first = Range::Durability.first();
    let mut plan = Plan { name: "registering", first, count, cseq: CSEQ_FIRST, pace: paces[0], answers: Answers::Sip };
    for (pace, first) in [(paces[1], first + count), (paces[0], first)] {
        let new = turns(&mut contenders, Plan { first, pace, ..plan }, 1, &mut troubles)?;
        report_costs(&mut report, &format!("new binding, {}", pace_name(pace)), &new, false);
    }
    // The first refreshes warm up.
    plan = Plan { name: "refreshing", cseq: CSEQ_FIRST + 1, ..plan };
    turns(&mut contenders, plan, 1, &mut troubles)?;
    let mut highest = 0.0;
    for pace in paces {
        plan = Plan { pace, cseq: plan.cseq + 1, ..plan };
        let series = turns(&mut contenders, plan, rounds, &mut troubles)?;
        plan.cseq += rounds;
        report_costs(&mut report, &format!("refresh, {}", pace_name(pace)), &series, true);
        if matches!(pace, Pace::Window(_)) {
            highest = Figure::new("highest rate", "requests/s", &series[1].per_second).value;
        }
    }
    let half = ((highest / 2.0) as u32).clamp(1, args.server.sized(u32::MAX, 2000));
    report.set("half of the highest rate of process", u64::from(half));
    plan = Plan { pace: Pace::Rate(half), cseq: plan.cseq + 1, ..plan };
    report_times(&mut report, &turns(&mut contenders, plan, rounds, &mut troubles)?);
    drop(contenders);
    written::run(args, count, rate, &mut report, &mut troubles)?;
    troubles.report(&mut report);
    Ok(report)
}

/// `rounds` phases like `plan` for each contender, in turn; CSeq counts up.
fn turns(contenders: &mut [Contender], plan: Plan, rounds: u32, troubles: &mut Troubles) -> Result<[Series; 3], Error> {
    let mut series: [Series; 3] = Default::default();
    for round in 0..rounds {
        for (contender, series) in contenders.iter_mut().zip(&mut series) {
            let (measured, log) = contender.measure(Plan { cseq: plan.cseq + round, ..plan }, troubles)?;
            series.add(&measured, log);
        }
    }
    Ok(series)
}

impl Series {
    fn add(&mut self, measured: &Measured, log: LogTotals) {
        let quantiles = measured.outcome.latencies.quantiles();
        let accepted = measured.outcome.accepted.max(1) as f64;
        self.server_us.push(measured.server_us());
        self.per_second.push(measured.per_second());
        self.p50.push(quantiles.p50);
        self.p99.push(quantiles.p99);
        self.p999.push(quantiles.p999);
        self.log_bytes.push(log.bytes as f64 / accepted);
        self.per_append.push(accepted / log.entries.max(1) as f64);
    }
}

fn report_costs(report: &mut Report, what: &str, series: &[Series; 3], is_aimed_at: bool) {
    for (name, series) in DURABILITIES.iter().zip(series) {
        report.add(Figure::new(format!("{what}: {name}"), "µs CPU", &series.server_us));
    }
    for (name, of) in DURABILITIES.iter().zip(series).skip(1) {
        let ratios: Vec<f64> =
            of.server_us.iter().zip(&series[0].server_us).map(|(with, without)| with / without.max(1e-9)).collect();
        let target = if is_aimed_at && *name == "process" { target::REFRESH_PROCESS_RATIO } else { None };
        report.add(Figure::new(format!("{what}: {name} / none"), "times", &ratios).against(target));
    }
    for (name, series) in DURABILITIES.iter().zip(series) {
        if what.ends_with("saturated") {
            report.add(Figure::new(format!("{what}: throughput, {name}"), "requests/s", &series.per_second));
        }
        if *name != "none" {
            report.add(Figure::new(format!("{what}: requests per append, {name}"), "requests", &series.per_append));
            report.add(Figure::new(format!("{what}: write-ahead log, {name}"), "bytes", &series.log_bytes));
        }
    }
}

fn report_times(report: &mut Report, series: &[Series; 3]) {
    for (name, series) in DURABILITIES.iter().zip(series) {
        let target = if *name == "process" { target::DURABLE_HALF_LOAD_P99_US } else { None };
        report.add(Figure::new(format!("half load: p50, {name}"), "µs", &series.p50));
        report.add(Figure::new(format!("half load: p99, {name}"), "µs", &series.p99).against(target));
        report.add(Figure::new(format!("half load: p99.9, {name}"), "µs", &series.p999));
    }
}
