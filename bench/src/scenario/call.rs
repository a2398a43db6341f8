//! `call`: CPU per call and set-up time, callers and callees in the generator.

use super::Range;
use crate::answer::Answers;
use crate::call_load::{self, Failure, Outcome};
use crate::call_message::InviteTemplate;
use crate::cli::CallArgs;
use crate::error::Error;
use crate::pace::Pace;
use crate::phase::{Troubles, measure, own_cpu_ns};
use crate::register_load::{Plan, whole_rounds};
use crate::register_message::{CSEQ_FIRST, Instance, RegisterTemplate};
use crate::report::{Figure, Report};
use crate::sockets::Sockets;
use crate::target;
use std::collections::BTreeMap;

/// Outstanding REGISTERs of the callees.
const WINDOW: u32 = 256;

/// What the rounds came to.
#[derive(Default)]
struct Rounds {
    server_us: Vec<f64>,
    generator_us: Vec<f64>,
    per_second: Vec<f64>,
    outcomes: Vec<Outcome>,
}

/// Runs the scenario.
pub(crate) fn run(args: &CallArgs) -> Result<Report, Error> {
    let callees = whole_rounds(args.server.sized(args.callees, 64), args.server.client_sockets);
    let rate = args.server.sized(args.rate, 100);
    let count = rate * args.server.sized(args.duration_s, 1);
    let first_callee = Range::Call.first();
    let mut daemon = args.server.open()?;
    let mut sockets = Sockets::connect(daemon.address(), args.server.client_sockets)?;
    let domain = args.server.domain_at(daemon.address());
    let registers = RegisterTemplate::new(daemon.address(), &domain, Instance::Named)?;
    let registering = Plan {
        name: "registering the callees",
        first: first_callee,
        count: callees,
        cseq: CSEQ_FIRST,
        pace: Pace::Window(WINDOW),
        answers: Answers::Sip,
    };
    let mut troubles = Troubles::default();
    troubles.add(&measure(&mut daemon, &mut sockets, &registers, registering)?.outcome);

    let template = InviteTemplate::new(daemon.address(), &domain)?;
    let (ring_ms, hold_ms) = (args.ring_ms, args.hold_ms);
    let plan = call_load::Plan { rate, count, first_callee, callees, ring_ms, hold_ms };
    let mut rounds = Rounds::default();
    for _ in 0..args.server.sized(args.rounds, 1) {
        let (server_before_ns, generator_before_ns) = (daemon.cpu_ns()?, own_cpu_ns()?);
        let outcome = call_load::run(&mut sockets, &template, plan)?;
        let generator_ns = own_cpu_ns()? - generator_before_ns;
        daemon.check_alive()?;
        rounds.add(outcome, daemon.cpu_ns()?.saturating_sub(server_before_ns), generator_ns);
    }
    let mut report = Report::new("call");
    report.set("rate", u64::from(rate));
    report.set("calls per round", u64::from(count));
    report.set("callees", u64::from(callees));
    report.set("shards", args.server.shards() as u64);
    report.set("INVITE bytes", template.len() as u64);
    report.set("ring ms", u64::from(ring_ms));
    report.set("hold ms", u64::from(hold_ms));
    rounds.report(&mut report);
    Ok(report)
}

impl Rounds {
    fn add(&mut self, outcome: Outcome, server_ns: u64, generator_ns: u64) {
        let completed = outcome.completed.max(1) as f64;
        self.server_us.push(server_ns as f64 / 1000.0 / completed);
        self.generator_us.push(generator_ns as f64 / 1000.0 / completed);
        self.per_second.push(outcome.completed as f64 * 1e9 / outcome.elapsed_ns.max(1) as f64);
        self.outcomes.push(outcome);
    }

    fn sum(&self, of: fn(&Outcome) -> u64) -> [f64; 1] {
        [self.outcomes.iter().map(of).sum::<u64>() as f64]
    }

    fn report(&self, report: &mut Report) {
        let quantile = |of: fn(&Outcome) -> f64| -> Vec<f64> { self.outcomes.iter().map(of).collect() };
        report.add(Figure::new("completed call: daemon", "µs CPU", &self.server_us).against(target::CALL_US));
        report.add(Figure::new("completed call: generator", "µs CPU", &self.generator_us));
        report.add(Figure::new("completed", "calls/s", &self.per_second));
        report.add(Figure::new("set-up, p50", "µs", &quantile(|outcome| outcome.set_up.quantiles().p50)));
        report.add(Figure::new("set-up, p99", "µs", &quantile(|outcome| outcome.set_up.quantiles().p99)));
        report.add(Figure::new("set-up, p99.9", "µs", &quantile(|outcome| outcome.set_up.quantiles().p999)));
        report.add(Figure::new("set-up, max", "µs", &quantile(|outcome| outcome.set_up.quantiles().max)));
        report.add(Figure::new("calls completed", "calls", &self.sum(|outcome| outcome.completed)));
        report.add(Figure::new("calls failed", "calls", &self.sum(|outcome| outcome.failed.values().sum())));
        report.add(Figure::new("calls answered 100", "calls", &self.sum(|outcome| outcome.trying)));
        report.add(Figure::new("calls that heard 180", "calls", &self.sum(|outcome| outcome.set_up.count())));
        report.add(Figure::new("ACKs that reached the callee", "calls", &self.sum(|outcome| outcome.acknowledged)));
        report.add(Figure::new("retransmissions", "messages", &self.sum(|outcome| outcome.retransmissions)));
        let mut failed: BTreeMap<Failure, u64> = BTreeMap::new();
        for (&failure, &count) in self.outcomes.iter().flat_map(|outcome| &outcome.failed) {
            *failed.entry(failure).or_default() += count;
        }
        for (failure, count) in failed {
            report.notes.push(format!("{count} calls failed: {failure:?}"));
        }
        let [routes_left] = self.sum(|outcome| outcome.routes_left);
        if routes_left > 0.0 {
            report.notes.push(format!("{routes_left} requests reached the callee with a Route of the proxy left in"));
        }
    }
}
