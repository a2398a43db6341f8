//! The log and its directory as a node has them: on a real file system, through crashes, damage, full disks and disks
//! that fail.
//!
//! A process that is to die is this test binary again, with a role (see `persistence/child.rs`).

#[path = "persistence/child.rs"]
mod child;
#[path = "persistence/contract.rs"]
mod contract;
#[path = "persistence/crash.rs"]
mod crash;
#[path = "persistence/damage.rs"]
mod damage;
#[path = "persistence/disk.rs"]
mod disk;
#[path = "persistence/owner.rs"]
mod owner;
#[path = "persistence/place.rs"]
mod place;
#[path = "persistence/resharding.rs"]
mod resharding;
#[path = "persistence/tool.rs"]
mod tool;
