//! Response times of refreshes at a modest rate, without a backup and with one in both ways, in turn.

use super::pair::{Pair, Way};
use super::{Part, first_of};
use crate::answer::Answers;
use crate::cli::ReplicationArgs;
use crate::error::Error;
use crate::latency::Quantiles;
use crate::pace::Pace;
use crate::phase::{Troubles, pace_name};
use crate::register_load::{Plan, whole_rounds};
use crate::register_message::CSEQ_FIRST;
use crate::report::{Figure, Report};

/// Seconds of one turn.
const DURATION_S: u32 = 3;

/// Runs it.
pub(super) fn run(args: &ReplicationArgs, report: &mut Report, troubles: &mut Troubles) -> Result<(), Error> {
    let rate = args.server.sized(args.modest_rate, 2000);
    let count = whole_rounds(args.server.sized(rate * DURATION_S, 640), args.server.client_sockets);
    let mut plan = Plan {
        name: "refreshing",
        first: first_of(Part::Times),
        count,
        cseq: CSEQ_FIRST,
        pace: Pace::Rate(rate),
        answers: Answers::Sip,
    };
    let mut pairs = Vec::new();
    for way in Way::ALL {
        pairs.push(Pair::start_whole(args, way)?);
    }
    let mut series: [Vec<Quantiles>; 3] = Default::default();
    // The first round registers.
    for round in 0..=args.server.sized(args.rounds, 1) {
        plan.cseq += 1;
        for (pair, series) in pairs.iter_mut().zip(&mut series) {
            let measured = pair.measure(plan, troubles)?;
            if round > 0 {
                series.push(measured.outcome.latencies.quantiles());
            }
        }
    }
    for (label, of) in [("p50", (|q| q.p50) as fn(&Quantiles) -> f64), ("p99", |q| q.p99)] {
        for (way, rounds) in Way::ALL.iter().zip(&series) {
            let samples: Vec<f64> = rounds.iter().map(of).collect();
            let name = format!("refresh, {}: {label}, {}", pace_name(plan.pace), way.word());
            report.add(Figure::new(name, "µs", &samples));
        }
    }
    Ok(())
}
