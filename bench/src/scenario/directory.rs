//! `directory`: what it costs to publish and to ask whose home an AoR is, and what a store that does not answer costs.
//!
//! Each part is a file: [`memory`] and [`cassandra`] publish, [`frozen`] registers while the store stands still,
//! [`lookup`] calls a phone at another home, [`parked`] fills a node with INVITEs that wait for the store. [`node`] is a
//! daemon with a directory, [`publishing`] a stretch of REGISTERs with the rows that come of it, [`store`] the Cassandra
//! and [`raw`] the yardstick beside the daemon.

mod cassandra;
mod frozen;
mod lookup;
mod memory;
mod node;
mod parked;
mod publishing;
mod raw;
mod store;

use super::Range;
use crate::cli::DirectoryArgs;
use crate::error::Error;
use crate::phase::Troubles;
use crate::report::Report;
use crate::server::Server;
use raw::Raw;
use store::Cassandra;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// Publishing into the store in memory.
    Memory,
    /// Publishing into Cassandra, beside the bare driver.
    Cassandra,
    /// REGISTERs while the store answers and while it is frozen.
    Frozen,
    /// Calls that find their phone at another home.
    Lookup,
    /// INVITEs that wait for a frozen store.
    Parked,
}

/// What the parts with a store share.
struct Bench<'a> {
    args: &'a DirectoryArgs,
    cassandra: Cassandra,
    raw: Raw,
    troubles: Troubles,
}

/// Runs the scenario.
pub(crate) fn run(args: &DirectoryArgs) -> Result<Report, Error> {
    let is_wanted = |part: Part| args.parts.is_empty() || args.parts.contains(&part);
    let mut report = Report::new("directory");
    report.set("shards", args.server.shards() as u64);
    report.set("rounds", u64::from(args.server.sized(args.rounds, 1)));
    let mut troubles = Troubles::default();
    if is_wanted(Part::Memory) {
        memory::run(args, &mut report, &mut troubles)?;
    }
    if [Part::Cassandra, Part::Frozen, Part::Lookup, Part::Parked].into_iter().any(is_wanted) {
        let cassandra = Cassandra::open(args)?;
        let raw = Raw::connect(cassandra.address())?;
        let mut bench = Bench { args, cassandra, raw, troubles };
        let done = bench.run(&is_wanted, &mut report);
        bench.raw.drop_keyspace();
        done?;
        troubles = bench.troubles;
    }
    troubles.report(&mut report);
    Ok(report)
}

impl Bench<'_> {
    fn run(&mut self, is_wanted: &impl Fn(Part) -> bool, report: &mut Report) -> Result<(), Error> {
        if is_wanted(Part::Cassandra) {
            cassandra::run(self, report)?;
        }
        if is_wanted(Part::Lookup) {
            lookup::run(self, report)?;
        }
        for (part, run) in [(Part::Frozen, frozen::run as fn(&mut Self, &mut Report) -> _), (Part::Parked, parked::run)]
        {
            if is_wanted(part) && self.cassandra.can_be_frozen() {
                run(self, report)?;
            } else if is_wanted(part) {
                report.notes.push(format!("{part:?} was left out: the Cassandra of CASSANDRA_URL needs --store-pid"));
            }
        }
        Ok(())
    }
}

/// Number of the first subscriber of each part, so that none meets what another has left.
const fn first_of(part: Part) -> u32 {
    Range::Directory.first() + part as u32 * 9_000_000
}

/// CPU time of a store's process, if it is known.
fn cpu_ns(cassandra: &Cassandra) -> Result<Option<u64>, Error> {
    cassandra.process().map(Server::cpu_ns).transpose()
}
