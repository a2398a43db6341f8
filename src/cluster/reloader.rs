//! The thread that reads the table of the cluster again when the node is told to.
//!
//! In: that somebody asks. Out: the homes of the other nodes, to whoever keeps the directory; the nodes, to their links; what
//! has changed, in the log; whether it could be read, to who wants to know.
//! A reading that fails leaves everything as it was. Asking never waits: what is asked while a reading goes on is one more
//! reading. Owned by the node; the thread ends with the process, or some time after this was dropped.

use super::{Id, Provisioning, Topology};
use crate::directory::PeersSender;
use crate::link::TopologySender;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use tokio::sync::watch;
use tracing::{info, warn};

/// Who wait for a reading while one goes on.
const ASKED_COUNT_MAX: usize = 8;

/// Who is told whether the nodes could be read; otherwise why not.
type Tell = Box<dyn FnOnce(Result<(), String>) + Send>;

/// The running thread.
pub(crate) struct Reloader {
    asked: SyncSender<Option<Tell>>,
}

/// Asks for a reading from any thread.
#[derive(Clone)]
pub(crate) struct Reload(SyncSender<Option<Tell>>);

impl Reload {
    /// Has the source read again; `tell` is called on the thread that reads, and must not block. `false` where too many
    /// wait already.
    pub(crate) fn ask(&self, tell: impl FnOnce(Result<(), String>) + Send + 'static) -> bool {
        self.0.try_send(Some(Box::new(tell))).is_ok()
    }
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reload")
    }
}

impl Reloader {
    /// `topology` is what the node runs with. Without a directory nobody wants the peers, without links the nodes,
    /// and without replication the backups.
    pub(crate) fn start(
        provisioning: Provisioning,
        topology: Topology,
        peers: Option<PeersSender>,
        links: Option<TopologySender>,
        backups: Option<watch::Sender<Vec<Id>>>,
        nodes: watch::Sender<Topology>,
    ) -> io::Result<Self> {
        let (asked, asking) = mpsc::sync_channel::<Option<Tell>>(ASKED_COUNT_MAX);
        let (home, url, had_twin) = (topology.home(), topology.current().url, topology.has_twin());
        let mut known = topology;
        std::thread::Builder::new().name("cluster".to_owned()).spawn(move || {
            while let Ok(first) = asking.recv() {
                // Whoever has asked by now is served by one reading.
                let tells: Vec<Tell> = std::iter::once(first).chain(asking.try_iter()).flatten().collect();
                let tell = |read: Result<(), String>| tells.into_iter().for_each(|tell| tell(read.clone()));
                let newer = match provisioning.read() {
                    Ok(newer) => newer,
                    Err(error) => {
                        let why = error.to_string();
                        warn!(why, "the nodes of the cluster stay as they are: they could not be read again");
                        tell(Err(why));
                        continue;
                    }
                };
                let changes = known.changes_to(&newer);
                if provisioning.names_peers && known.peers_of(home) != newer.peers_of(home) {
                    warn!("directory.peers says otherwise now: remove it, or the next start is refused");
                }
                known = newer;
                if let Some(peers) = &peers {
                    let homes = known.peers_of(home).iter().map(|peer| peer.to_string().into()).collect::<Arc<[_]>>();
                    peers.send(homes);
                }
                if let Some(links) = &links {
                    links.send(known.clone());
                    if known.current().url != url {
                        let (running, written) = (url.to_string(), known.current().url.to_string());
                        warn!(running, written, "the url of this node has changed: restart it to take it over");
                    }
                }
                nodes.send_replace(known.clone());
                if let Some(backups) = &backups {
                    backups.send_replace(known.backups(known.current()).map(|node| node.id).collect());
                }
                if !known.home().is_same(home) {
                    let (running, written) = (home.to_string(), known.home().to_string());
                    warn!(running, written, "the sip_addr of this node has changed: restart it to take it over");
                }
                if known.has_twin() != had_twin {
                    warn!("another node has come to share this one's sip_addr, or shares it no more: restart this node to take that over");
                }
                provisioning.keep_or_warn(&known);
                info!(changes = changes.join("; "), "the nodes of the cluster were read again");
                tell(Ok(()));
            }
        })?;
        Ok(Self { asked })
    }

    /// Has the source read again.
    pub(crate) fn reload(&self) {
        // What does not fit has been asked for already and is still to be done.
        let _ = self.asked.try_send(None);
    }

    /// For whoever asks from another thread.
    pub(crate) fn handle(&self) -> Reload {
        Reload(self.asked.clone())
    }
}
