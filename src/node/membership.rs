//! How a node becomes one of its cluster: at its start it reads who the nodes are, and takes home and peers from there; once
//! it runs, it is linked with them.

use super::handover::Handover;
use super::replicate::Replication;
use crate::cli::Exit;
use crate::cluster::{Fault, Id, Known, Outlets, Provisioning, Reloader, SourceError, Substitute, Topology};
use crate::config::{self, Config, LogFormat, SipAddress};
use crate::data_directory;
use crate::link::{
    self, Certificates, LinkEvent, LinkThread, LinksOptions, LinksSender, Question, Security, SecurityError,
};
use crate::ownership::OwnershipOptions;
use crate::replication::{self, ReplicationSetup};
use crate::show;
use sipfed_directory::PeersSender;
use sipfed_proto::Listener;
use std::io;
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

/// What a node knows of its cluster while it starts.
#[derive(Debug)]
pub(super) struct Member {
    provisioning: Provisioning,
    topology: Topology,
    /// Whether the topology is what the source says now, and no copy.
    is_fresh: bool,
    /// By what it and the others know each other, if by anything.
    security: Option<Security>,
    /// Where that is by certificates.
    certificates: Option<Certificates>,
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
    let joined = config.join(&topology);
    let member = Member { provisioning, topology, is_fresh: substitute.is_none(), security: None, certificates: None };
    joined.and_then(|()| member.check_listeners(&config.node.listen)).map_err(|fault| {
        refused(config, &fault.what, &fault.right);
        Exit::BadConfiguration
    })?;
    let own = member.topology.current().url.socket_addr().ip();
    let security = Security::of(config, own).map_err(|SecurityError { what, right }| {
        refused(config, &what, right);
        Exit::BadConfiguration
    })?;
    Ok(Some(Member { security, certificates: Certificates::of(config, own), ..member }))
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
        self.topology.has_twin()
    }

    /// The address of its home, where it moves between this node and another.
    pub(super) fn virtual_ip(&self) -> Option<IpAddr> {
        self.has_twin().then(|| self.topology.home().socket_addr().ip())
    }

    /// How this node is to learn whether it is the active one of its home, where there are others.
    pub(super) fn ownership(&self, config: &Config) -> Option<OwnershipOptions> {
        let node = &config.node;
        Some(OwnershipOptions {
            node: self.topology.current_id(),
            ip: self.virtual_ip()?,
            mode: node.ownership,
            directory: data_directory::of(node),
        })
    }

    /// How this node leaves its home to another one when it stops, where there are others.
    pub(super) fn handover(&self, config: &Config) -> Option<Handover> {
        let OwnershipOptions { mode, directory, .. } = self.ownership(config)?;
        Some(Handover::new(mode, Duration::from_secs(config.node.hand_over_s.into()), &directory))
    }

    /// Whether what is sent to a home that moves between nodes would be heard.
    fn check_listeners(&self, listen: &[Listener]) -> Result<(), Fault> {
        let home = self.topology.home();
        if !self.has_twin() || listen.iter().any(|listener| hears(listener, home)) {
            return Ok(());
        }
        let (id, addr) = (self.topology.current_id(), home.socket_addr());
        let listening: Vec<String> = listen.iter().map(config::listener_text).collect();
        let what = format!(
            "node {id}, which is this node, does not listen at its sip_addr {home}, which it shares with another node: \
             node.listen has {}",
            listening.join(", ")
        );
        Err(Fault::new(
            what,
            format!("add \"udp:{addr}\" to node.listen: it is bound whether or not the host has the address"),
        ))
    }

    /// Once the shards run: links this node with the others, where they have something to know each other by.
    pub(super) fn link(
        &self,
        config: &Config,
        shards: Option<PeersSender>,
        replication: Option<ReplicationSetup>,
        answerer: mpsc::Sender<Question>,
    ) -> io::Result<Option<LinkThread>> {
        let Some(security) = self.security.clone() else {
            let me = self.topology.current_id();
            let others = self.topology.nodes().iter().filter(|node| node.is_enabled && node.id != me).count();
            if others > 0 {
                info!(
                    others,
                    "no links to the other nodes of the cluster: neither cluster.secret nor cluster.tls_ca says by what they \
                     know each other"
                );
            }
            return Ok(None);
        };
        let current = self.topology.current();
        let links = &config.cluster.links;
        let options = LinksOptions {
            topology: self.topology.clone(),
            at: current.url.socket_addr(),
            home: current.sip_addr,
            versions: link::VERSIONS,
            security,
            ping_interval: Duration::from_millis(links.ping_interval_ms.into()),
            ping_timeout: Duration::from_millis(links.ping_timeout_ms.into()),
            answerer,
            tell_down: Box::new(move |homes| {
                if let Some(shards) = &shards {
                    shards.send_down(homes);
                }
            }),
        };
        info!(at = %current.url, security = options.security.word(), "listening for other nodes");
        let user = |links, mut events: mpsc::Receiver<LinkEvent>| async move {
            match replication {
                Some(setup) => replication::run(setup, links, events).await,
                // Whether a node is there is all that links are for then.
                None => while events.recv().await.is_some() {},
            }
        };
        LinkThread::start(options, user).map(Some)
    }

    /// What replication needs, where this node has backups and a way to them.
    pub(super) fn replication(&self, config: &Config) -> io::Result<Option<Replication>> {
        let backups: Vec<String> =
            self.topology.backups(self.topology.current()).map(|node| node.id.to_string()).collect();
        if backups.is_empty() {
            return Ok(None);
        }
        let replication = if self.security.is_some() { Replication::new(&self.topology, config)? } else { None };
        if replication.is_none() {
            warn!(
                backups = backups.join(" "),
                "other nodes have this one's home, and none of them knows who has registered at another: cluster.secret is \
                 missing, without which there is no hot backup"
            );
        }
        Ok(replication)
    }

    /// Once the node runs: keeps the copy, and starts what reads everything again or alters it when it is asked to.
    pub(super) fn settle(
        self,
        peers: Option<PeersSender>,
        links: Option<LinksSender>,
        backups: Option<watch::Sender<Vec<Id>>>,
    ) -> io::Result<(Reloader, watch::Receiver<Topology>)> {
        let Self { provisioning, topology, is_fresh, certificates, .. } = self;
        let texts = |homes: &[SipAddress]| homes.iter().map(ToString::to_string).collect::<Vec<_>>();
        info!(
            cluster = %provisioning,
            home = %topology.home(),
            peers = texts(&topology.peers()).join(" "),
            "member of a cluster"
        );
        if is_fresh {
            provisioning.keep_or_warn(&topology);
        }
        let nodes = watch::Sender::new(topology.clone());
        let follow = nodes.subscribe();
        let outlets = Outlets { peers, links, backups, nodes };
        Ok((Reloader::start(provisioning, topology, certificates, outlets)?, follow))
    }
}

/// Whether a listener hears what is sent to that address; of a port that the kernel chooses nobody knows.
fn hears(listener: &Listener, home: SipAddress) -> bool {
    let (own, home) = (listener.addr, home.socket_addr());
    let is_wildcard = own.ip().is_unspecified() && own.is_ipv4() == home.is_ipv4();
    (own.ip() == home.ip() || is_wildcard) && [0, home.port()].contains(&own.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_heard_at_its_address_and_by_a_wildcard_of_its_family() {
        for (listener, home, is_heard) in [
            ("udp:10.0.0.223:5060", "10.0.0.223", true),
            ("tcp:0.0.0.0:5060", "10.0.0.223", true),
            ("udp:10.0.0.223:0", "10.0.0.223", true),
            ("udp:10.0.0.177:5060", "10.0.0.223", false),
            ("udp:[::]:5060", "10.0.0.223", false),
            ("udp:0.0.0.0:5070", "10.0.0.223", false),
            ("udp:0.0.0.0:5070", "10.0.0.223:5070", true),
            ("udp:[::]:5060", "[2001:db8::1]", true),
        ] {
            let (listener, home) = (config::listener(listener).unwrap(), config::sip_address(home).unwrap());
            assert_eq!(hears(&listener, home), is_heard, "{listener:?} {home}");
        }
    }
}
