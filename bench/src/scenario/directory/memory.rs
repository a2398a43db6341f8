//! New AoRs at a rate, published into the store in memory: does it keep up, and what does it cost beside a daemon
//! without a directory?

use super::node::Node;
use super::publishing::{Published, publish};
use super::{Part, first_of};
use crate::answer::Answers;
use crate::cli::DirectoryArgs;
use crate::error::Error;
use crate::pace::Pace;
use crate::phase::{Troubles, pace_name};
use crate::register_load::{Plan, whole_rounds};
use crate::register_message::CSEQ_FIRST;
use crate::report::{Figure, Report};
use crate::target;

/// Runs it.
pub(super) fn run(args: &DirectoryArgs, report: &mut Report, troubles: &mut Troubles) -> Result<(), Error> {
    let rate = args.server.sized(args.rate, 2000);
    let count = whole_rounds(args.server.sized(rate * args.duration_s, 1600), args.server.client_sockets);
    let rounds = args.server.sized(args.rounds, 1);
    let pace = Pace::Rate(rate);
    let mut with = Node::start(args, Some("memory:"), "")?;
    let mut without = Node::start(args, None, "")?;
    let (mut published, mut plain): (Vec<Published>, Vec<Published>) = (Vec::new(), Vec::new());
    // The first round warms up.
    for round in 0..=rounds {
        let first = first_of(Part::Memory) + round * count;
        let plan = Plan { name: "registering", first, count, cseq: CSEQ_FIRST, pace, answers: Answers::Sip };
        let of_with = publish(&mut with, plan, true, troubles)?;
        let of_without = publish(&mut without, plan, false, troubles)?;
        if round > 0 {
            published.push(of_with);
            plain.push(of_without);
        }
    }
    report.set("new AoRs a round, memory", u64::from(count));
    let mut add = |name: &str, unit, target, of: &dyn Fn(&Published) -> f64, all: &[Published]| {
        let samples: Vec<f64> = all.iter().map(of).collect();
        report
            .add(Figure::new(format!("memory, new AoRs, {}: {name}", pace_name(pace)), unit, &samples).against(target));
    };
    add("registered", "AoRs/s", None, &|round| round.registered_per_s, &published);
    add("most that waited", "AoRs", None, &|round| round.pending_max as f64, &published);
    add("longest wait seen", "ms", None, &|round| round.lag_max_ms as f64, &published);
    let lag = target::PUBLISHING_LAG_MS;
    add("longest wait at the end", "ms", lag, &|round| round.at_the_end.lag_ms as f64, &published);
    add("daemon", "µs CPU", None, &Published::us_each, &published);
    add("daemon without a directory", "µs CPU", None, &Published::us_each, &plain);
    let ratios: Vec<f64> = published.iter().zip(&plain).map(|(a, b)| a.us_each() / b.us_each().max(1e-9)).collect();
    report.add(Figure::new(format!("memory, new AoRs, {}: with / without", pace_name(pace)), "times", &ratios));
    Ok(())
}
