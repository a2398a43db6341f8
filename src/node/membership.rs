//! How a node becomes one of its cluster: at its start it reads who the nodes are, and takes home and peers from there.

use crate::cli::Exit;
use crate::cluster::{Known, Provisioning, Reloader, SourceError, Substitute, Topology};
use crate::config::{Config, LogFormat};
use crate::directory::PeersSender;
use crate::show;
use std::io;
use tracing::{error, info, warn};

/// What a node knows of its cluster while it starts.
#[derive(Debug)]
pub(super) struct Member {
    provisioning: Provisioning,
    topology: Topology,
    /// Whether the topology is what the source says now, and no copy.
    is_fresh: bool,
}

/// Reads the nodes of the cluster, where there is one, and puts home and peers into the configuration. What is wrong has
/// been told when this is an error.
pub(super) fn join(config: &mut Config) -> Result<Option<Member>, Exit> {
    let Some(provisioning) = Provisioning::of(config) else { return Ok(None) };
    let Known { topology, substitute } = provisioning.known().map_err(|unknown| {
        refused(config, &unknown.to_string(), unknown.right());
        unknown.exit()
    })?;
    if let Some(Substitute { reason, age, from }) = &substitute {
        let (why, age_s) = (reason.to_string(), age.as_secs());
        if matches!(reason, SourceError::Away(_)) {
            warn!(why, age_s, from, "the nodes of the cluster are those of the copy");
        } else {
            error!(why, age_s, from, "the nodes of the cluster are those of the copy");
        }
    }
    config.join(&topology).map_err(|fault| {
        refused(config, &fault.what, &fault.right);
        Exit::BadConfiguration
    })?;
    Ok(Some(Member { provisioning, topology, is_fresh: substitute.is_none() }))
}

fn refused(config: &Config, what: &str, right: &str) {
    match config.node.log_format {
        LogFormat::Json => error!(right, "{what}"),
        LogFormat::Text => show::error(what, right),
    }
}

impl Member {
    /// Whether another node has this one's home.
    pub(super) fn has_twin(&self) -> bool {
        self.topology.backups(self.topology.current()).next().is_some()
    }

    /// Once the node runs: keeps the copy, and starts what reads the source again when it is asked to.
    pub(super) fn settle(self, peers: Option<PeersSender>) -> io::Result<Option<Reloader>> {
        let Self { provisioning, topology, is_fresh } = self;
        let texts = |homes: &[crate::config::SipAddress]| homes.iter().map(ToString::to_string).collect::<Vec<_>>();
        info!(
            cluster = %provisioning,
            home = %topology.home(),
            peers = texts(&topology.peers()).join(" "),
            "member of a cluster"
        );
        let backups: Vec<String> = topology.backups(topology.current()).map(|node| node.id.to_string()).collect();
        if peers.is_some() && !backups.is_empty() {
            warn!(
                backups = backups.join(" "),
                "other nodes have this one's home, and this release keeps no hot backup: none of them knows who has registered at another"
            );
        }
        if is_fresh {
            provisioning.keep_or_warn(&topology);
        }
        if provisioning.is_a_table() { Reloader::start(provisioning, topology, peers).map(Some) } else { Ok(None) }
    }
}
