//! The thread that reads the table of the cluster and the certificates of links again when the node is told to, and alters the
//! nodes by command.
//!
//! In: what somebody asks for. Out: the homes of the other nodes, to whoever keeps the directory; the nodes, and by what they
//! know each other, to their links; what has changed, in the log; what came of it, to who wants to know.
//! A reading that fails leaves what it was to read as it was. Asking never waits: what is asked while a reading goes on is one
//! more reading. Owned by the node; the thread ends with the process, or some time after this was dropped.

use super::{Id, Provisioning, Topology, Unaltered};
use crate::config::{BinAddress, SipAddress};
use crate::link::{Certificates, LinksSender};
use sipfed_directory::PeersSender;
use sipfed_nodes::alterations::Alterations;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use tokio::sync::watch;
use tracing::{info, warn};

/// Who wait for a reading while one goes on.
const ASKED_COUNT_MAX: usize = 8;

/// Who is told whether everything could be read; otherwise why not.
type TellRead = Box<dyn FnOnce(Result<(), String>) + Send>;
/// Who is told whether the nodes were altered.
type TellAltered = Box<dyn FnOnce(Result<(), Unaltered>) + Send>;

/// How the nodes are to be altered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alteration {
    /// The node takes part, or does not.
    Enable(Id, bool),
    /// There is no such node.
    Remove(Id),
}

enum Wish {
    Read(Option<TellRead>),
    Alter(Alteration, TellAltered),
}

/// What is told of new nodes; each where there is somebody to tell.
pub(crate) struct Outlets {
    /// Without a directory nobody wants the peers.
    pub(crate) peers: Option<PeersSender>,
    pub(crate) links: Option<LinksSender>,
    /// Without replication nobody wants the backups.
    pub(crate) backups: Option<watch::Sender<Vec<Id>>>,
    pub(crate) nodes: watch::Sender<Topology>,
}

/// The running thread.
pub(crate) struct Reloader {
    asked: SyncSender<Wish>,
    has_source: bool,
}

/// Asks the thread from any other.
#[derive(Clone)]
pub(crate) struct Reload {
    asked: SyncSender<Wish>,
    has_source: bool,
}

impl Reload {
    /// Whether there is anything to read again: a table, or certificates.
    pub(crate) fn has_source(&self) -> bool {
        self.has_source
    }

    /// Has all sources read again; `tell` is called on the thread that reads, and must not block. `false` where too many
    /// wait already.
    pub(crate) fn ask(&self, tell: impl FnOnce(Result<(), String>) + Send + 'static) -> bool {
        self.asked.try_send(Wish::Read(Some(Box::new(tell)))).is_ok()
    }

    /// Has the nodes altered; the same holds for `tell`.
    pub(crate) fn alter(
        &self,
        alteration: Alteration,
        tell: impl FnOnce(Result<(), Unaltered>) + Send + 'static,
    ) -> bool {
        self.asked.try_send(Wish::Alter(alteration, Box::new(tell))).is_ok()
    }
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reload")
    }
}

impl Reloader {
    /// `topology` is what the node runs with, `certificates` where its links go by such.
    pub(crate) fn start(
        provisioning: Provisioning,
        topology: Topology,
        certificates: Option<Certificates>,
        outlets: Outlets,
    ) -> io::Result<Self> {
        let (asked, asking) = mpsc::sync_channel(ASKED_COUNT_MAX);
        let has_source = provisioning.is_a_table() || certificates.is_some();
        let mut keeper = Keeper {
            home: topology.home(),
            url: topology.current().url,
            had_twin: topology.has_twin(),
            alterations: Alterations::default(),
            provisioning,
            read: topology,
            certificates,
            outlets,
        };
        std::thread::Builder::new().name("cluster".to_owned()).spawn(move || {
            while let Ok(first) = asking.recv() {
                // Whoever has asked by now is served by one reading.
                let mut tells = Vec::new();
                let mut is_to_read = false;
                for wish in std::iter::once(first).chain(asking.try_iter()) {
                    match wish {
                        Wish::Read(tell) => {
                            is_to_read = true;
                            tells.extend(tell);
                        }
                        Wish::Alter(alteration, tell) => tell(keeper.alter(alteration)),
                    }
                }
                if is_to_read {
                    let done = keeper.read();
                    for tell in tells {
                        tell(done.clone());
                    }
                }
            }
        })?;
        Ok(Self { asked, has_source })
    }

    /// Has all sources read again; `false` where there are none.
    pub(crate) fn reload(&self) -> bool {
        if self.has_source {
            // What does not fit has been asked for already and is still to be done.
            let _ = self.asked.try_send(Wish::Read(None));
        }
        self.has_source
    }

    /// For whoever asks from another thread.
    pub(crate) fn handle(&self) -> Reload {
        Reload { asked: self.asked.clone(), has_source: self.has_source }
    }
}

/// What the thread owns.
struct Keeper {
    provisioning: Provisioning,
    /// What the source said last.
    read: Topology,
    alterations: Alterations,
    certificates: Option<Certificates>,
    outlets: Outlets,
    /// What this node runs with, whatever the source has come to say.
    home: SipAddress,
    url: BinAddress,
    had_twin: bool,
}

impl Keeper {
    /// Reads everything again; what could not be read and why.
    fn read(&mut self) -> Result<(), String> {
        let failed = [self.read_nodes(), self.read_certificates()].into_iter().filter_map(Result::err);
        let failed: Vec<String> = failed.collect();
        if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
    }

    fn read_nodes(&mut self) -> Result<(), String> {
        if !self.provisioning.is_a_table() {
            self.alterations.forget_enabled();
            self.tell();
            return Ok(());
        }
        let newer = match self.provisioning.read() {
            Ok(newer) => newer,
            Err(error) => {
                let why = error.to_string();
                warn!(why, "the nodes of the cluster stay as they are: they could not be read again");
                return Err(format!("the nodes of the cluster stay as they were: {why}"));
            }
        };
        let (home, changes) = (self.home, self.read.changes_to(&newer));
        if self.provisioning.names_peers && self.read.peers_of(home) != newer.peers_of(home) {
            warn!("directory.peers says otherwise now: remove it, or the next start is refused");
        }
        self.read = newer;
        self.alterations.forget_enabled();
        self.tell();
        let known = &self.read;
        if self.outlets.links.is_some() && known.current().url != self.url {
            let (running, written) = (self.url.to_string(), known.current().url.to_string());
            warn!(running, written, "the url of this node has changed: restart it to take it over");
        }
        if !known.home().is_same(home) {
            let (running, written) = (home.to_string(), known.home().to_string());
            warn!(running, written, "the sip_addr of this node has changed: restart it to take it over");
        }
        if known.has_twin() != self.had_twin {
            warn!(
                "another node has come to share this one's sip_addr, or shares it no more: restart this node to take that over"
            );
        }
        self.provisioning.keep_or_warn(known);
        info!(changes = changes.join("; "), "the nodes of the cluster were read again");
        Ok(())
    }

    fn read_certificates(&self) -> Result<(), String> {
        let Some(certificates) = &self.certificates else { return Ok(()) };
        match certificates.read() {
            Ok(security) => {
                if let Some(links) = &self.outlets.links {
                    links.send_security(security);
                }
                info!(
                    "the certificates of links were read again: new links are made by them, those that are there stay"
                );
                Ok(())
            }
            Err(error) => {
                let why = error.to_string();
                warn!(why, "the certificates of links stay as they are: they cannot be used as the files are now");
                Err(format!("the certificates of links stay as they were: {why}"))
            }
        }
    }

    fn alter(&mut self, alteration: Alteration) -> Result<(), Unaltered> {
        let before = self.alterations.applied(&self.read);
        match alteration {
            Alteration::Enable(node, is_enabled) => self.alterations.set_enabled(&self.read, node, is_enabled)?,
            Alteration::Remove(_) if self.provisioning.is_a_table() => return Err(Unaltered::InTable),
            Alteration::Remove(node) => self.alterations.remove(&self.read, node)?,
        }
        let changes = before.changes_to(&self.alterations.applied(&self.read));
        if !changes.is_empty() {
            warn!(changes = changes.join("; "), "the nodes of the cluster were changed by a command");
        }
        self.tell();
        Ok(())
    }

    /// Tells whoever goes by the nodes what they are now.
    fn tell(&self) {
        let Outlets { peers, links, backups, nodes } = &self.outlets;
        let known = self.alterations.applied(&self.read);
        if let Some(peers) = peers {
            let homes = known.peers_of(self.home).iter().map(|peer| peer.to_string().into()).collect::<Arc<[_]>>();
            peers.send(homes);
        }
        if let Some(links) = links {
            links.send_topology(known.clone());
        }
        nodes.send_replace(known);
        if let Some(backups) = backups {
            // A backup that is disabled for a while is like one that is cut off: what it misses is remembered.
            let known = self.alterations.without_removed(&self.read);
            backups.send_replace(known.backups(known.current()).map(|node| node.id).collect());
        }
    }
}
