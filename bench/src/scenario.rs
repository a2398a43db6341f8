//! The scenarios, one file each. Each takes its options and gives a report.

pub(crate) mod boot;
pub(crate) mod call;
pub(crate) mod directory;
pub(crate) mod durability;
pub(crate) mod latency;
pub(crate) mod machine;
mod machine_call;
mod machine_sync;
pub(crate) mod memory;
pub(crate) mod pings;
pub(crate) mod register;
pub(crate) mod replication;
pub(crate) mod tls;

/// Number of the first subscriber of each scenario, far enough apart that one attached server can be measured
/// by all of them in turn.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Range {
    /// [`register`].
    Register,
    /// [`latency`].
    Latency,
    /// [`memory`].
    Memory,
    /// [`call`].
    Call,
    /// [`durability`].
    Durability,
    /// [`boot`].
    Boot,
    /// [`directory`].
    Directory,
    /// [`replication`].
    Replication,
    /// [`pings`].
    Pings,
}

impl Range {
    /// The first number.
    pub(crate) const fn first(self) -> u32 {
        match self {
            Self::Register => 0,
            Self::Latency => 200_000_000,
            Self::Memory => 400_000_000,
            Self::Call => 600_000_000,
            Self::Durability => 700_000_000,
            Self::Replication => 800_000_000,
            Self::Pings => 850_000_000,
            Self::Boot => 900_000_000,
            Self::Directory => 950_000_000,
        }
    }
}
