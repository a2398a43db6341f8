//! What sipfed sets out to reach, on one page. A target is printed beside its figure; it never fails a run.

use serde::Serialize;

/// A bound that a figure should keep, in the figure's own unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// The figure should be this or less.
    AtMost(f64),
    /// The figure should be this or more.
    AtLeast(f64),
}

impl Target {
    /// Whether `value` keeps it.
    pub(crate) fn is_met_by(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }
}

/// CPU per refresh at saturation, as a multiple of the recvfrom echo's.
pub(crate) const REFRESH_SATURATED_RATIO: Option<Target> = Some(Target::AtMost(1.4));
/// CPU per refresh at 30,000 a second, microseconds.
pub(crate) const REFRESH_PACED_US: Option<Target> = Some(Target::AtMost(12.0));
/// The pure machine's share of a refresh, nanoseconds.
pub(crate) const MACHINE_REFRESH_NS: Option<Target> = Some(Target::AtMost(800.0));
/// Allocations of the pure machine per refresh.
pub(crate) const MACHINE_REFRESH_ALLOCATIONS: Option<Target> = Some(Target::AtMost(0.0));
/// CPU per completed call at 1,200 calls a second, microseconds.
pub(crate) const CALL_US: Option<Target> = Some(Target::AtMost(70.0));
/// Resident memory per binding, bytes.
pub(crate) const BINDING_BYTES: Option<Target> = Some(Target::AtMost(500.0));
/// 99 of 100 REGISTERs at half of the highest rate, microseconds.
pub(crate) const HALF_LOAD_P99_US: Option<Target> = Some(Target::AtMost(1000.0));
/// CPU per refresh with `process` durability, as a multiple of the same without any.
pub(crate) const REFRESH_PROCESS_RATIO: Option<Target> = Some(Target::AtMost(1.5));
/// 99 of 100 REGISTERs at half of the highest rate with `process` durability, microseconds.
pub(crate) const DURABLE_HALF_LOAD_P99_US: Option<Target> = Some(Target::AtMost(2000.0));
/// Bindings that one core brings back in a second.
pub(crate) const BOOT_BINDINGS_PER_S: Option<Target> = Some(Target::AtLeast(1_000_000.0));
/// Resident memory after a start, as a multiple of that before the end.
pub(crate) const BOOT_RESIDENT_RATIO: Option<Target> = Some(Target::AtMost(1.5));
/// How long the AoR that waits longest for the directory in memory has waited, right after the last of many REGISTERs,
/// milliseconds.
pub(crate) const PUBLISHING_LAG_MS: Option<Target> = Some(Target::AtMost(100.0));
/// Rows that the daemon writes into Cassandra in a second, as a multiple of what the bare driver writes one by one.
pub(crate) const PUBLISHING_RAW_RATIO: Option<Target> = Some(Target::AtLeast(0.8));
/// CPU per REGISTER of a node with a backup that follows in its own time, as a multiple of the same without one.
pub(crate) const REPLICATION_RATIO: Option<Target> = Some(Target::AtMost(1.25));
/// Bindings that a core gives to an empty backup in a second, and that a core of that takes in.
pub(crate) const SYNC_BINDINGS_PER_S: Option<Target> = Some(Target::AtLeast(500_000.0));
/// 99 of 100 REGISTERs while a backup is given all bindings, as a multiple of the same while it is not.
pub(crate) const SYNC_P99_RATIO: Option<Target> = Some(Target::AtMost(2.0));
/// 99 of 100 REGISTERs while the store is frozen, as a multiple of the same while it answers.
pub(crate) const FROZEN_P99_RATIO: Option<Target> = Some(Target::AtMost(1.1));
/// What pings take of one core, percent.
pub(crate) const PINGS_CORE_PERCENT: Option<Target> = Some(Target::AtMost(60.0));
/// Most pings in ten milliseconds, as a multiple of what an even share is.
pub(crate) const PINGS_BUSIEST_RATIO: Option<Target> = Some(Target::AtMost(2.0));
/// What the daemon keeps for a phone that is connected over TLS and says nothing.
pub(crate) const TLS_CONNECTION_BYTES: Option<Target> = Some(Target::AtMost(25_000.0));
