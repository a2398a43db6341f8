//! How a node that has backups is set up to replicate.

use crate::cluster::{Id, Topology};
use crate::config::Config;
use crate::ownership::{Ownership, RoleWatch};
use crate::replication::{ReplicaBell, ReplicationSetup, ReplicationStatistics, Wholeness, of_home};
use rustls::crypto::aws_lc_rs::default_provider;
use sipfed_proto::replica::session::ReplicaSettings;
use sipfed_shards::{DataPlane, ReplicationOptions};
use std::io;
use std::sync::Arc;
use tokio::sync::watch;

/// What replication needs of the node, from before its shards start.
pub(super) struct Replication {
    node: Id,
    is_seed: bool,
    secret: [u8; 32],
    bell: ReplicaBell,
    backups: watch::Sender<Vec<Id>>,
    is_whole: watch::Sender<bool>,
    statistics: Arc<ReplicationStatistics>,
    comparisons: watch::Sender<u64>,
    is_taking_part: watch::Sender<bool>,
}

impl Replication {
    /// For a node of `topology` that has backups and links to them; `None` where the nodes share no secret.
    pub(super) fn new(topology: &Topology, config: &Config) -> io::Result<Option<Self>> {
        let Some(secret) = &config.cluster.links.secret else { return Ok(None) };
        let current = topology.current();
        let secret = of_home(secret, current.sip_addr).map_err(io::Error::other)?;
        Ok(Some(Self {
            node: current.id,
            is_seed: current.is_seed,
            secret,
            bell: ReplicaBell::default(),
            backups: watch::Sender::new(topology.backups(current).map(|node| node.id).collect()),
            is_whole: watch::Sender::new(false),
            statistics: Arc::default(),
            comparisons: watch::Sender::new(0),
            is_taking_part: watch::Sender::new(true),
        }))
    }

    /// What the shards start with.
    pub(super) fn options(&self, config: &Config) -> ReplicationOptions {
        let is_sync = config.cluster.replication.is_sync;
        ReplicationOptions { wake: self.bell.wake(), is_sync, secret: self.secret }
    }

    /// Whether the node knows all bindings of its home.
    pub(super) fn wholeness(&self) -> Wholeness {
        self.is_whole.subscribe()
    }

    /// For whoever learns of other backups.
    pub(super) fn backups(&self) -> watch::Sender<Vec<Id>> {
        self.backups.clone()
    }

    /// For whoever wants a comparison now.
    pub(super) fn comparer(&self) -> Arc<dyn Fn() + Send + Sync> {
        let comparisons = self.comparisons.clone();
        Arc::new(move || comparisons.send_modify(|count| *count += 1))
    }

    /// For whoever has this node take part or not.
    pub(super) fn is_taking_part(&self) -> watch::Sender<bool> {
        self.is_taking_part.clone()
    }

    /// How it stands.
    pub(super) fn statistics(&self) -> Arc<ReplicationStatistics> {
        Arc::clone(&self.statistics)
    }

    /// What its task on the thread of the links starts with.
    pub(super) fn setup(
        &self,
        config: &Config,
        plane: &DataPlane,
        ownership: Option<&Ownership>,
        role: RoleWatch,
    ) -> io::Result<Option<ReplicationSetup>> {
        let (Some(shards), Some(ownership)) = (plane.replication(), ownership) else { return Ok(None) };
        let mut history = [0; 8];
        default_provider().secure_random.fill(&mut history).map_err(|error| io::Error::other(format!("{error:?}")))?;
        let replication = &config.cluster.replication;
        Ok(Some(ReplicationSetup {
            settings: ReplicaSettings {
                node: self.node.get(),
                history: u64::from_le_bytes(history),
                shards: shards.shards_count() as u8,
                is_seed: self.is_seed,
                seed_fallback_ms: u64::from(replication.seed_fallback_s) * 1000,
                kept_bytes: replication.kept_bytes as usize,
                digest_interval_ms: u64::from(replication.compare_interval_s) * 1000,
                ack_timeout_ms: replication.timeout_ms.into(),
            },
            backups: self.backups.subscribe(),
            shards,
            bell: self.bell.clone(),
            role,
            claims: Box::new(ownership.claims()),
            statistics: self.statistics(),
            comparisons: self.comparisons.subscribe(),
            is_taking_part: self.is_taking_part.subscribe(),
            is_whole: self.is_whole.clone(),
            is_sync: replication.is_sync,
        }))
    }
}
