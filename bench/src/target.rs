//! What sipfed sets out to reach, on one page. A target is printed beside its figure; it never fails a run.

use serde::Serialize;

/// A bound that a figure should keep.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Target {
    /// The figure should be at most this, in its own unit.
    pub(crate) at_most: f64,
}

const fn at_most(at_most: f64) -> Target {
    Target { at_most }
}

/// CPU per refresh at saturation, as a multiple of the recvfrom echo's.
pub(crate) const REFRESH_SATURATED_RATIO: Option<Target> = Some(at_most(1.4));
/// CPU per refresh at 30,000 a second, microseconds.
pub(crate) const REFRESH_PACED_US: Option<Target> = Some(at_most(12.0));
/// The pure machine's share of a refresh, nanoseconds.
pub(crate) const MACHINE_REFRESH_NS: Option<Target> = Some(at_most(800.0));
/// Allocations of the pure machine per refresh.
pub(crate) const MACHINE_REFRESH_ALLOCATIONS: Option<Target> = Some(at_most(0.0));
/// CPU per completed call at 1,200 calls a second, microseconds.
pub(crate) const CALL_US: Option<Target> = Some(at_most(70.0));
/// Resident memory per binding, bytes.
pub(crate) const BINDING_BYTES: Option<Target> = Some(at_most(500.0));
/// 99 of 100 REGISTERs at half of the highest rate, microseconds.
pub(crate) const HALF_LOAD_P99_US: Option<Target> = Some(at_most(1000.0));
