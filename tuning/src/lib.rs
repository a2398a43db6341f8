//! What sipfed needs of its host.
//!
//! A check compares what the host offers ([`Facts`]) with what the configuration asks for ([`Needs`]) and
//! comes to a [`Verdict`]; whatever is amiss comes with the exact command that mends it. Facts are read in
//! one place and the decisions are pure functions of them, so that every message can be shown by a test
//! without such a host.
//!
//! Order of use: [`raise_limits`] first (it needs nobody's help), then [`Facts::read`], then [`check`].

mod buffers;
mod facts;
mod files;
mod holder;
mod io_uring;
mod kernel;
mod listen;
mod memlock;
mod sys;

pub use facts::{Capabilities, Facts};
pub use kernel::KernelVersion;
pub use listen::{Address, Holder, Outcome, Protocol};
pub use sys::Limit;

use std::num::NonZeroU32;

/// What the configuration asks of the host.
#[derive(Clone, Debug)]
pub struct Needs {
    /// Shards, each with an executor and sockets of its own.
    pub shards: u32,
    /// Connections that one shard may hold open.
    pub connections_per_shard_max: u32,
    /// Addresses to listen at; one with port 0 is left to the kernel and not looked at.
    pub listen: Vec<Address>,
    /// Bytes asked for each UDP receive buffer.
    pub receive_buffer_bytes: u64,
    /// Bytes asked for each UDP send buffer.
    pub send_buffer_bytes: u64,
}

/// One named check and what it found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name, as it stands in logs.
    pub name: &'static str,
    /// What it found.
    pub verdict: Verdict,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is well.
    Fine,
    /// The node works, but worse than configured.
    Warning(Finding),
    /// The node cannot work.
    Fatal(Finding),
}

/// What is amiss, and how it is mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was found and what follows from it, in one sentence or two.
    pub what: String,
    /// What to do, one step or alternative a line; commands can be pasted.
    pub mend: String,
}

impl Finding {
    fn new(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { what: what.into(), mend: mend.into() }
    }
}

/// Runs every check. The order is that of dependence: an old kernel explains what comes after it.
pub fn check(facts: &Facts, needs: &Needs) -> Vec<Check> {
    let mut checks = vec![
        Check { name: "kernel", verdict: kernel::decide(facts) },
        Check { name: "memlock", verdict: memlock::decide(facts, needs) },
        Check { name: "io_uring", verdict: io_uring::decide(facts) },
        Check { name: "open files", verdict: files::decide(facts, needs) },
        Check { name: "receive buffer", verdict: buffers::decide_receive(facts, needs) },
        Check { name: "send buffer", verdict: buffers::decide_send(facts, needs) },
    ];
    checks.extend(
        needs
            .listen
            .iter()
            .zip(&facts.listen)
            .map(|(address, outcome)| Check { name: "listen", verdict: listen::decide(*address, outcome) }),
    );
    checks
}

/// Raises what this process may raise itself: the soft limits of open files and of locked memory to their
/// hard limits, and with the privilege to do so the hard limits to what `needs` asks for.
pub fn raise_limits(needs: &Needs) {
    sys::raise_limit(sys::Resource::OpenFiles, files::needed(needs));
    sys::raise_limit(sys::Resource::LockedMemory, memlock::needed_bytes(needs));
}

/// How many connections a shard can hold with the open files that the host grants; at most what is
/// configured. `None` when there is not room for a single one.
pub fn connections_per_shard(facts: &Facts, needs: &Needs) -> Option<NonZeroU32> {
    files::connections_per_shard(facts, needs)
}

/// The cores that this process may run on, in order: what is left of the host's by affinity
/// (`taskset`, `CPUAffinity=`, cpusets).
pub fn allowed_cores() -> Vec<usize> {
    facts::allowed_cores()
}
