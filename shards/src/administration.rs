//! The control plane's hold on all shards, for whoever asks and commands from a thread of its own.
//!
//! In: commands. Out: to which shard one belongs. Asking never waits; who asks bounds by itself how long it waits for the
//! answer. It may outlive the shards, which then take no command.

use crate::link::{Command, Control};
use crate::mesh::Mesh;
use sipfed_proto::{Owners, ShardIndex};
use std::sync::Arc;

/// See the module's documentation. A copy asks the same shards.
#[derive(Clone, Debug)]
pub struct Administration {
    controls: Arc<[Arc<Control>]>,
    mesh: Arc<Mesh>,
    owners: Arc<Owners>,
}

/// Too many commands wait at the shard already, or it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

impl Administration {
    pub(crate) fn new(controls: Arc<[Arc<Control>]>, mesh: Arc<Mesh>, owners: Owners) -> Self {
        Self { controls, mesh, owners: Arc::new(owners) }
    }

    /// How many shards there are.
    pub fn shards_count(&self) -> usize {
        self.controls.len()
    }

    /// The shard that owns a canonical AoR.
    pub fn owner(&self, aor: &[u8]) -> usize {
        self.owners.of(aor)
    }

    /// Asks something of a shard.
    pub fn ask(&self, shard: usize, command: Command) -> Result<(), Busy> {
        if !self.controls[shard].ask(command) {
            return Err(Busy);
        }
        self.mesh.bell(ShardIndex(shard as u8)).ring();
        Ok(())
    }
}
