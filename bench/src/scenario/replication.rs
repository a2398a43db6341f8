//! `replication`: what it costs that another node holds the same bindings.
//!
//! Each part is a file: [`cost`] has the CPU per REGISTER, [`times`] its response times, each without a backup and with one in
//! both ways of replication, in turn; [`sync`] starts an empty backup beside a node that is full. [`pair`] is a daemon that
//! may have a backup. Both stand on this host, where an address of 127.0.0.0/8 is had by everybody: both are active.

mod cost;
mod pair;
mod sync;
mod times;

use super::Range;
use crate::cli::ReplicationArgs;
use crate::error::Error;
use crate::phase::Troubles;
use crate::report::Report;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// CPU per REGISTER.
    Cost,
    /// Response times.
    Times,
    /// An empty backup that is given all bindings.
    Sync,
}

/// Runs the scenario.
pub(crate) fn run(args: &ReplicationArgs) -> Result<Report, Error> {
    let is_wanted = |part: Part| args.parts.is_empty() || args.parts.contains(&part);
    let mut report = Report::new("replication");
    report.set("shards", args.server.shards() as u64);
    report.set("rounds", u64::from(args.server.sized(args.rounds, 1)));
    let mut troubles = Troubles::default();
    if is_wanted(Part::Cost) {
        cost::run(args, &mut report, &mut troubles)?;
    }
    if is_wanted(Part::Times) {
        times::run(args, &mut report, &mut troubles)?;
    }
    if is_wanted(Part::Sync) {
        sync::run(args, &mut report, &mut troubles)?;
    }
    troubles.report(&mut report);
    Ok(report)
}

/// Number of the first subscriber of a part, so that none meets what another has left.
const fn first_of(part: Part) -> u32 {
    Range::Replication.first() + part as u32 * 30_000_000
}
