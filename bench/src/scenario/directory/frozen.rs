//! REGISTERs at a rate, while the store answers and while it is frozen, in turn; and of a daemon without a directory, while
//! the store is frozen too. A store that answers works on the cores that the shards want, so that a frozen one is best
//! compared with none.
//!
//! Of each turn's AoRs nine of ten have registered in the turn before, and one of ten is new: the AoRs of a turn begin a
//! tenth behind those of the turn before.

use super::node::Node;
use super::{Bench, Part, first_of};
use crate::answer::Answers;
use crate::error::Error;
use crate::latency::Quantiles;
use crate::pace::Pace;
use crate::phase::{measure, pace_name};
use crate::register_load::{Plan, whole_rounds};
use crate::register_message::CSEQ_FIRST;
use crate::report::{Figure, Report};
use crate::target;
use std::time::Duration;

/// One of so many AoRs is new in each turn.
const NEW_ONE_OF: u32 = 10;
const WINDOW: u32 = 256;
/// How long what waited for a store may take once it answers.
const THAW_PATIENCE: Duration = Duration::from_mins(2);
/// What takes turns: who registers, and how the store is.
const WAYS: [(&str, usize, bool); 3] =
    [("the store answers", 0, false), ("the store is frozen", 0, true), ("no directory", 1, true)];
/// Between freezing and loading, so that no turn begins with what the one before has left.
const SETTLE: Duration = Duration::from_millis(500);

/// What the rounds of one way came to.
#[derive(Default)]
struct Series {
    quantiles: Vec<Quantiles>,
    server_us: Vec<f64>,
    waiting: Vec<f64>,
}

/// Runs it.
pub(super) fn run(bench: &mut Bench<'_>, report: &mut Report) -> Result<(), Error> {
    let Bench { args, cassandra, raw, troubles } = bench;
    let rate = args.server.sized(args.frozen_rate, 2000);
    // A tenth has to be whole rounds of the sockets, so that each phone keeps its own.
    let step = whole_rounds(
        args.server.sized(args.frozen_rate * args.duration_s, 3200) / NEW_ONE_OF,
        args.server.client_sockets,
    );
    let rounds = args.server.sized(args.rounds, 1);
    let plan = Plan {
        name: "registering",
        first: first_of(Part::Frozen),
        count: step * NEW_ONE_OF,
        cseq: CSEQ_FIRST,
        pace: Pace::Window(WINDOW),
        answers: Answers::Sip,
    };
    let with = Node::start(args, Some(&cassandra.url(&raw.keyspace, "frozen")), "")?;
    let mut nodes = [(with, plan), (Node::start(args, None, "")?, plan)];
    for (node, plan) in &mut nodes {
        troubles.add(&measure(&mut node.server, &mut node.sockets, &node.registers, *plan)?.outcome);
        plan.pace = Pace::Rate(rate);
        plan.name = "refreshing";
    }
    let mut series: [Series; WAYS.len()] = Default::default();
    // The first round warms up.
    for round in 0..=rounds {
        for (series, (_, of, is_frozen)) in series.iter_mut().zip(WAYS) {
            nodes[0].0.probe.wait_until("the last row", THAW_PATIENCE, |state| state.pending == 0)?;
            let ice = is_frozen.then(|| cassandra.freeze()).transpose()?;
            std::thread::sleep(SETTLE);
            let (node, plan) = &mut nodes[of];
            *plan = Plan { first: plan.first + step, cseq: plan.cseq + 1, ..*plan };
            let measured = measure(&mut node.server, &mut node.sockets, &node.registers, *plan)?;
            let state = node.probe.ask()?;
            drop(ice);
            troubles.add(&measured.outcome);
            if round > 0 {
                series.quantiles.push(measured.outcome.latencies.quantiles());
                series.server_us.push(measured.server_us());
                series.waiting.push(state.pending as f64);
            }
        }
    }
    report.set("AoRs, frozen", u64::from(plan.count));
    report_series(report, &series, rate);
    Ok(())
}

fn report_series(report: &mut Report, series: &[Series; WAYS.len()], rate: u32) {
    let name = |what: &str| format!("REGISTER, {}: {what}", pace_name(Pace::Rate(rate)));
    for (label, of) in [("p50", (|q| q.p50) as fn(&Quantiles) -> f64), ("p99", |q| q.p99), ("p99.9", |q| q.p999)] {
        let samples = series.each_ref().map(|series| series.quantiles.iter().map(of).collect::<Vec<f64>>());
        let figures: Vec<Figure> = WAYS
            .iter()
            .zip(&samples)
            .map(|((way, ..), samples)| Figure::new(name(&format!("{label}, {way}")), "µs", samples))
            .collect();
        let frozen = figures[1].value;
        let ratios: Vec<(&str, f64)> = vec![
            ("frozen / answering", frozen / figures[0].value.max(1e-9)),
            ("frozen / no directory", frozen / figures[2].value.max(1e-9)),
        ];
        for figure in figures {
            report.add(figure);
        }
        for (which, ratio) in ratios {
            let target = if label == "p99" { target::FROZEN_P99_RATIO } else { None };
            let figure = Figure::new(name(&format!("{label}, {which}, of the medians")), "times", &[ratio]);
            report.add(figure.against(target));
        }
        for (which, base) in [("frozen / answering", &samples[0]), ("frozen / no directory", &samples[2])] {
            let ratios: Vec<f64> = samples[1].iter().zip(base).map(|(frozen, base)| frozen / base.max(1e-9)).collect();
            report.add(Figure::new(name(&format!("{label}, {which}, by rounds")), "times", &ratios));
        }
    }
    for ((way, ..), series) in WAYS.iter().zip(series) {
        report.add(Figure::new(name(&format!("daemon, {way}")), "µs CPU", &series.server_us));
    }
    report.add(Figure::new(name("AoRs that waited for the frozen store"), "AoRs", &series[1].waiting));
}
