//! REGISTERs at a rate, while the store answers and while it is frozen, in turn.
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
const THAW_PATIENCE: Duration = Duration::from_secs(120);
/// Between freezing and loading, so that no turn begins with what the one before has left.
const SETTLE: Duration = Duration::from_millis(500);

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
    let mut node = Node::start(args, Some(&cassandra.url(&raw.keyspace, "frozen")), "")?;
    let mut plan = Plan {
        name: "registering",
        first: first_of(Part::Frozen),
        count: step * NEW_ONE_OF,
        cseq: CSEQ_FIRST,
        pace: Pace::Window(WINDOW),
        answers: Answers::Sip,
    };
    troubles.add(&measure(&mut node.server, &mut node.sockets, &node.registers, plan)?.outcome);
    plan.pace = Pace::Rate(rate);
    let mut answering: Vec<Quantiles> = Vec::new();
    let mut frozen: Vec<Quantiles> = Vec::new();
    let (mut us_answering, mut us_frozen, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
    // The first round warms up.
    for round in 0..=rounds {
        for is_frozen in [false, true] {
            node.probe.wait_until("the last row", THAW_PATIENCE, |state| state.pending == 0)?;
            let ice = is_frozen.then(|| cassandra.freeze()).transpose()?;
            std::thread::sleep(SETTLE);
            plan = Plan { first: plan.first + step, cseq: plan.cseq + 1, name: "refreshing", ..plan };
            let measured = measure(&mut node.server, &mut node.sockets, &node.registers, plan)?;
            let state = node.probe.ask()?;
            drop(ice);
            troubles.add(&measured.outcome);
            if round == 0 {
                continue;
            }
            let quantiles = measured.outcome.latencies.quantiles();
            if is_frozen {
                frozen.push(quantiles);
                us_frozen.push(measured.server_us());
                waiting.push(state.pending as f64);
            } else {
                answering.push(quantiles);
                us_answering.push(measured.server_us());
            }
        }
    }
    report.set("AoRs, frozen", u64::from(plan.count));
    let name = |what: &str| format!("REGISTER, {}: {what}", pace_name(plan.pace));
    for (label, of) in [("p50", (|q| q.p50) as fn(&Quantiles) -> f64), ("p99", |q| q.p99), ("p99.9", |q| q.p999)] {
        let [a, b] = [&answering, &frozen].map(|all| all.iter().map(of).collect::<Vec<f64>>());
        let ratios: Vec<f64> = a.iter().zip(&b).map(|(answering, frozen)| frozen / answering.max(1e-9)).collect();
        let (a, b) = (
            Figure::new(name(&format!("{label}, the store answers")), "µs", &a),
            Figure::new(name(&format!("{label}, the store is frozen")), "µs", &b),
        );
        let of_medians = b.value / a.value.max(1e-9);
        report.add(a);
        report.add(b);
        report.add(Figure::new(name(&format!("{label}, frozen / answering, by rounds")), "times", &ratios));
        let target = if label == "p99" { target::FROZEN_P99_RATIO } else { None };
        let of_medians =
            Figure::new(name(&format!("{label}, frozen / answering, of the medians")), "times", &[of_medians]);
        report.add(of_medians.against(target));
    }
    report.add(Figure::new(name("daemon, the store answers"), "µs CPU", &us_answering));
    report.add(Figure::new(name("daemon, the store is frozen"), "µs CPU", &us_frozen));
    report.add(Figure::new(name("AoRs that waited for the frozen store"), "AoRs", &waiting));
    Ok(())
}
