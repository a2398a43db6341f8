//! What commands know of the cluster: the nodes, how they stand, who owns the address, and how far backups are.

use crate::cluster::{Id, Topology};
use crate::link::{Asker, LinkReport, LinkStates, State};
use crate::ownership::{Commander, Role};
use crate::replication::{ReplicationStatistics, Standing};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::watch;

/// See the module's documentation.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) nodes: watch::Receiver<Topology>,
    /// Where nodes are linked.
    pub(crate) links: Option<Arc<LinkStates>>,
    /// Where others have this node's home.
    pub(crate) ownership: Option<Commander>,
    /// Where it has backups.
    pub(crate) replication: Option<Arc<ReplicationStatistics>>,
    /// Has what is held here compared with what backups hold, where it has some.
    pub(crate) compare: Option<Arc<dyn Fn() + Send + Sync>>,
    /// The way to other nodes, where there are links.
    pub(crate) asker: Option<Asker>,
    /// Whether it takes part in hot backup, and what changes that, where it has backups.
    pub(crate) is_replicating: Option<watch::Sender<bool>>,
}

impl Cluster {
    pub(super) fn topology(&self) -> Topology {
        self.nodes.borrow().clone()
    }

    /// How the links stand; none where there are none.
    pub(super) fn reports(&self) -> Vec<LinkReport> {
        self.links.as_ref().map_or_else(Vec::new, |links| links.reports())
    }

    /// What this node is for its home.
    pub(super) fn role(&self) -> Role {
        self.ownership.as_ref().map_or(Role::ALONE, |ownership| ownership.status().role)
    }

    pub(super) fn standing(&self) -> Option<Standing> {
        self.replication.as_ref().map(|replication| replication.standing())
    }

    pub(super) fn is_taking_part_in_replication(&self) -> bool {
        self.is_replicating.as_ref().is_some_and(|is_replicating| *is_replicating.borrow())
    }

    /// The nodes to which there are links.
    pub(super) fn neighbours(&self) -> Vec<Id> {
        let is_up = |report: &LinkReport| report.state != State::Down;
        self.reports().into_iter().filter(is_up).map(|report| report.node).collect()
    }

    /// All of it, for a report.
    pub(super) fn report(&self) -> Value {
        let role = self.role();
        let links: Vec<Value> = self
            .reports()
            .into_iter()
            .map(|link| {
                json!({
                    "node": link.node.get(),
                    "state": link.state.word(),
                    "age_ms": link.age.as_millis() as u64,
                    "rtt_us": link.round_trip.map(|time| time.as_micros() as u64),
                })
            })
            .collect();
        let mut report = json!({
            "is_active": role.is_active,
            "term": role.term,
            "is_enabled": self.topology().current().is_enabled,
            "Links": links,
        });
        if let Some(Standing { own, is_backed_up, backups }) = self.standing() {
            let backup = |backup: &sipfed_proto::replica::session::BackupReport| {
                json!({
                    "node": backup.node,
                    "is_connected": backup.is_connected,
                    "is_whole": backup.state.is_whole,
                    "is_active": backup.state.is_active,
                    "lag_parts": backup.lag_parts,
                    "lag_bytes": backup.lag_bytes,
                    "has_all": backup.has_all,
                    "is_synchronized": backup.is_synchronized,
                    "leaves_left": backup.leaves_left,
                    "divergence": backup.divergence,
                    "mended": backup.mended,
                })
            };
            report["is_whole"] = own.is_whole.into();
            report["is_backed_up"] = is_backed_up.into();
            report["Backups"] = backups.iter().map(backup).collect();
        }
        report
    }
}
