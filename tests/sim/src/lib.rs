//! Whole federations in virtual time.
//!
//! # Contract
//! In: a seed and a [`Profile`]. Out: an [`Outcome`], always the same one for the same seed, profile and code: a digest of
//! everything that happened, and what was violated, if anything was. Nothing here reads a clock, starts a thread, or goes
//! over a map whose order is not that of its keys.
//!
//! # What is real
//! Registrar, proxy, location service, journal, the shard's end of the directory and of replication, and the replicator: all
//! of `sipfed-proto`, called in the order in which the daemon calls it. And the keeper of the directory, all of
//! `sipfed-directory` but the drivers of its stores, on a clock that stands still until the agenda moves it (`keepers`). And
//! what decides which node of a home is active, the machine of `sipfed-nodes` (`owner`), and what decides which nodes live and which
//! homes are down (`link`); and what
//! a table of nodes means, and the copy of it (`members`).
//!
//! # What is modelled
//! - `seat`, `node`: a shard's turn, the mesh, and the steps of the control plane.
//! - `journal_log`: the log, its generations, torn ends, lost disks, and starts with another number of shards.
//! - `world::network`: datagrams that are lost, doubled and overtaken.
//! - `link`, `world::links`: connections between nodes, with bounded room, which stall, are cut, and end with a host that says
//!   nothing.
//! - `store`, `shards_link`: the directory's store, and what lies between the shards and the keeper.
//! - `phone`, `nat`, `call`: who registers, from behind what, and who calls.
//! - `flow`, `world::flows`: connections of phones, which end at one side or at both, or are forgotten by a NAT between.
//! - `world::trouble`: crashes, partitions, pauses, addresses that move or are held twice, a store that fails; clocks that
//!   differ are of the nodes.
//!
//! # What is checked
//! `ledger`, `stints`, `reach` and `world::watch` at any time, `world::ends` once all is well again. They see what goes over the wire to phones,
//! and states at the end; they know nothing of how the code under test comes to them.
#![forbid(unsafe_code)]

mod agenda;
mod call;
mod draw;
mod facts;
mod flow;
mod history;
mod journal_log;
mod keepers;
mod ledger;
mod link;
mod members;
mod nat;
mod node;
mod owner;
mod phone;
mod profile;
mod reach;
mod seat;
mod shards_link;
mod sip;
mod stints;
mod store;
mod world;

pub use facts::Facts;
pub use profile::Profile;
pub use world::{Defect, Scenario};

use profile::Plan;
use std::fmt;
use world::{EXPIRES_S_MAX, World};

/// Milliseconds in which everything comes to rest once all is well: four comparisons, two reconciles.
const REST_MS: u64 = 45_000;
/// Milliseconds in which phones have learnt that their connection has ended with a node that had the address.
const RETURN_MS: u64 = 5000;
/// Milliseconds in which calls have come to their end.
const CALLS_MS: u64 = 40_000;

/// What has come of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Of the run.
    pub seed: u64,
    /// Of the run.
    pub profile: Profile,
    /// Of all events.
    pub digest: u64,
    /// How many events there were.
    pub events_count: u64,
    /// What was violated: the name of the invariant, a colon, and how.
    pub violations: Vec<String>,
    /// The last events before that.
    pub last_events: Vec<String>,
    /// Requests of phones that were acknowledged.
    pub acknowledged_count: usize,
    /// What there was to check.
    pub facts: Facts,
}

/// Runs a seed with its own profile, or with the one that is given.
pub fn run(seed: u64, profile: Option<Profile>) -> Outcome {
    run_with(seed, profile, Defect::None, false)
}

/// The same with a defect; `is_told` prints every event.
pub fn run_with(seed: u64, profile: Option<Profile>, defect: Defect, is_told: bool) -> Outcome {
    let profile = profile.unwrap_or_else(|| Profile::of(seed));
    let plan = Plan::new(seed, profile);
    let mut world = World::new(seed, plan, defect, is_told);
    world.begin();
    world.pass(world.plan.trouble_ms);
    come_to_rest(&mut world);
    outcome_of(&world, seed, profile)
}

/// Plays a scenario; of a seed come the phones, who registers where, and how long everything takes.
pub fn run_scenario(scenario: Scenario, seed: u64, defect: Defect) -> Outcome {
    let mut world = World::new(seed, Plan::of_scenario(seed), defect, false);
    world.play_scenario(scenario);
    come_to_rest(&mut world);
    outcome_of(&world, seed, Profile::Calm)
}

fn outcome_of(world: &World, seed: u64, profile: Profile) -> Outcome {
    Outcome {
        seed,
        profile,
        digest: world.history.digest(),
        events_count: world.history.events_count(),
        violations: world.violations.clone(),
        last_events: world.history.last(),
        acknowledged_count: world.acknowledged_count(),
        facts: world.facts(),
    }
}

/// Something to be done, and how long it takes.
type Step = (fn(&mut World), u64);

/// Puts all right, and looks at what has come of it.
fn come_to_rest(world: &mut World) {
    world.heal();
    // Longer than anything that was still to be put right.
    world.pass(31_000);
    world.settle_addresses();
    world.pass(RETURN_MS);
    world.some_come_again();
    world.pass(REST_MS);
    let steps: [Step; 9] = [
        (World::wait_for_stillness, 0),
        (World::check_nodes, 0),
        (World::check_roles, 0),
        (World::check_links, 0),
        (World::check_silent, 0),
        (World::check_agreement, 0),
        (World::probe_all, 2000),
        (World::call_all, CALLS_MS),
        (World::check_calls, 0),
    ];
    for (step, ms) in steps {
        if !world.violations.is_empty() {
            return;
        }
        step(world);
        world.pass(ms);
    }
    if world.plan.goes_to_the_end && world.violations.is_empty() {
        world.end_watching();
        world.pass(u64::from(2 * EXPIRES_S_MAX) * 1000);
        world.check_digests();
        world.check_nothing_left();
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, profile, digest, events_count, acknowledged_count, facts, .. } = self;
        let name = profile.name();
        writeln!(
            f,
            "seed {seed}, {name}: {events_count} events, digest {digest:016x}, {acknowledged_count} acknowledged"
        )?;
        writeln!(f, "  {facts:?}")?;
        if self.violations.is_empty() {
            return Ok(());
        }
        for what in &self.violations {
            writeln!(f, "  violated: {what}")?;
        }
        writeln!(f, "the last events:")?;
        for event in &self.last_events {
            writeln!(f, "  {event}")?;
        }
        write!(f, "once more: cargo run --release -p sipfed-sim -- --seed {seed} --profile {name}")
    }
}
