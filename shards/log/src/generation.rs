//! One part of a log that is dropped as a whole.

/// A generation of a log. It lasts until the next one starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its number; the first is 1, and each has the next one.
    pub number: u64,
    /// When it started, in seconds since 1970 as the caller counts them.
    pub started_at_s: u64,
}

const PREFIX: &str = "generation-";

impl Generation {
    /// The column family that holds it.
    pub(crate) fn name(number: u64) -> String {
        format!("{PREFIX}{number}")
    }

    /// The number in the name of a column family; `None` for one that is no generation.
    pub(crate) fn number_of(name: &str) -> Option<u64> {
        name.strip_prefix(PREFIX)?.parse().ok()
    }
}
