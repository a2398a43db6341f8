//! Links: what the nodes of a cluster say to each other, beside SIP.
//!
//! # Contract
//! In: who the nodes are ([`Topology`]) and by what they know each other ([`Security`]), at the start and whenever either is
//! read again; payloads for other nodes. Out:
//! what happens on the links and the payloads of others, in order, for whoever lives on the thread of the links
//! ([`LinkEvent`]); which homes are down, for the shards; how each link stands ([`LinkStates`]), for any thread.
//!
//! A node keeps one TCP connection to each other enabled node, at the address of its `url`. Of two nodes that with the
//! higher number dials, again and again; the lower one listens at its own `url`. Who is at the other end is known by
//! [`security`] before anything is said, and [`greeting`] decides whether it belongs there.
//!
//! Owned by the node, which starts the thread after the shards and stops it before them. Nothing on it blocks. Bounded: the
//! handshakes under way and their time ([`meeting`]), the length of a frame, what waits for each node
//! ([`queue::QUEUE_BYTES_MAX`]), and what waits for the user ([`EVENTS_COUNT_MAX`]). A user that does not take its events
//! stops the reading of that link, and by that the sending at the other end; the link stays up.
//!
//! # Rooms
//! Pure: [`frame`] is the layout of what is said, [`greeting`] who may say it, [`sipfed_nodes::pulse`] whether the other end
//! lives, [`sipfed_nodes::health`] which homes are down, `told` what the log was told of. With I/O: [`meeting`] makes two nodes know each other by
//! [`security`] (and `shared_key`), [`peer`] is the life of one link, [`links`] all of them, [`asking`] what nodes ask each other. [`snapshot`] is what other
//! threads see, `failure` why a connection came to no link.

mod asking;
mod failure;
mod frame;
mod greeting;
mod links;
mod meeting;
mod peer;
mod queue;
mod security;
mod shared_key;
mod snapshot;
#[cfg(test)]
mod tests;
mod told;

pub(crate) use asking::{ANSWER_MAX, Asker, QUESTIONS_COUNT_MAX, Question, Unanswered};
pub(crate) use frame::{MESSAGE_BYTES_MAX, Versions};
pub(crate) use greeting::VERSIONS;
pub(crate) use links::{LinkEvent, Links, NotSent};
pub(crate) use security::{Certificates, Security, SecurityError};
pub(crate) use sipfed_nodes::pulse::State;
pub(crate) use snapshot::{LinkReport, LinkStates};

use crate::cluster::Topology;
use crate::config::SipAddress;
use asking::Asking;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::{error, warn};

/// Events that wait for the user of the links.
pub(crate) const EVENTS_COUNT_MAX: usize = 32;
/// How long a stopping node waits for its links, and again for their user.
const STOP_MAX: Duration = Duration::from_secs(1);

/// How homes that are down are told; called on the thread of the links, with all of them each time.
pub(crate) type TellDown = Box<dyn Fn(Arc<[Box<str>]>) + Send>;

/// What links are started with.
pub(crate) struct LinksOptions {
    pub(crate) topology: Topology,
    /// Where to listen: the address in this node's `url`.
    pub(crate) at: SocketAddr,
    /// The home that this node runs with.
    pub(crate) home: SipAddress,
    /// Of the protocol.
    pub(crate) versions: Versions,
    pub(crate) security: Security,
    pub(crate) ping_interval: Duration,
    pub(crate) ping_timeout: Duration,
    pub(crate) tell_down: TellDown,
    /// Takes the questions of other nodes; whoever is at its other end answers.
    pub(crate) answerer: mpsc::Sender<Question>,
}

/// The running thread. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct LinkThread {
    states: Arc<LinkStates>,
    wishes: watch::Sender<Wishes>,
    asker: Asker,
    thread: Option<JoinHandle<()>>,
}

/// What the node wants of its links.
#[derive(Clone, Debug, Default)]
struct Wishes {
    /// The nodes, once they are not those of the start any more.
    topology: Option<Topology>,
    /// By what they know each other, once it is not that of the start any more.
    security: Option<Security>,
    is_stopping: bool,
}

/// Tells the links what has been read again, from any thread.
#[derive(Clone, Debug)]
pub(crate) struct LinksSender(watch::Sender<Wishes>);

impl LinksSender {
    /// From now on these are the nodes.
    pub(crate) fn send_topology(&self, topology: Topology) {
        self.0.send_modify(|wishes| wishes.topology = Some(topology));
    }

    /// From now on links are made by this; those that are there stay.
    pub(crate) fn send_security(&self, security: Security) {
        self.0.send_modify(|wishes| wishes.security = Some(security));
    }
}

impl LinkThread {
    /// Listens, and starts the thread. What `user` gives lives there beside the links for as long as these do: it is to end
    /// soon after its events have.
    pub(crate) fn start<F>(
        options: LinksOptions,
        user: impl FnOnce(Rc<Links>, mpsc::Receiver<LinkEvent>) -> F + Send + 'static,
    ) -> io::Result<Self>
    where
        F: Future<Output = ()> + 'static,
    {
        let at = options.at;
        let listener = TcpListener::bind(at).map_err(|error| io::Error::new(error.kind(), format!("{at}: {error}")))?;
        listener.set_nonblocking(true)?;
        let states = Arc::new(LinkStates::default());
        let (wishes, wished) = watch::channel(Wishes::default());
        let (asker, asking) = Asker::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let written = Arc::clone(&states);
        let run = move || {
            let life = live(options, listener, written, user, (wished, asking));
            if let Err(error) = tokio::task::LocalSet::new().block_on(&runtime, life) {
                let why = error.to_string();
                error!(why, "the links to other nodes have ended");
            }
        };
        let thread = std::thread::Builder::new().name("links".to_owned()).spawn(run)?;
        Ok(Self { states, wishes, asker, thread: Some(thread) })
    }

    pub(crate) fn states(&self) -> &Arc<LinkStates> {
        &self.states
    }

    /// For whoever has questions.
    pub(crate) fn asker(&self) -> Asker {
        self.asker.clone()
    }

    /// For whoever reads anything again.
    pub(crate) fn sender(&self) -> LinksSender {
        LinksSender(self.wishes.clone())
    }

    /// Says goodbye to the other nodes, within bounds, and ends the thread.
    pub(crate) fn stop(mut self) {
        self.join();
    }

    fn join(&mut self) {
        self.wishes.send_modify(|wishes| wishes.is_stopping = true);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            error!("the thread of the links had panicked");
        }
    }
}

impl Drop for LinkThread {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.join();
        }
    }
}

impl fmt::Debug for LinksOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinksOptions").field("at", &self.at).field("security", &self.security).finish_non_exhaustive()
    }
}

/// The life of the links.
async fn live<F>(
    options: LinksOptions,
    listener: TcpListener,
    states: Arc<LinkStates>,
    user: impl FnOnce(Rc<Links>, mpsc::Receiver<LinkEvent>) -> F,
    (mut wished, mut asking): (watch::Receiver<Wishes>, mpsc::Receiver<Asking>),
) -> io::Result<()>
where
    F: Future<Output = ()> + 'static,
{
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (sender, events) = mpsc::channel(EVENTS_COUNT_MAX);
    let topology = options.topology.clone();
    let links = Links::new(options, states, sender);
    let user = tokio::task::spawn_local(user(Rc::clone(&links), events));
    let listening = tokio::task::spawn_local(links::listen(Rc::clone(&links), listener));
    links.provide(topology);
    loop {
        let Wishes { topology, security, is_stopping } = wished.borrow_and_update().clone();
        if is_stopping {
            break;
        }
        if let Some(security) = security {
            links.renew(security);
        }
        if let Some(topology) = topology {
            links.provide(topology);
        }
        tokio::select! {
            changed = wished.changed() => if changed.is_err() {
                break;
            },
            Some(asking) = asking.recv() => asking::ask(&links, asking),
        }
    }
    listening.abort();
    if timeout(STOP_MAX, links.end()).await.is_err() {
        warn!("not every node was told that this one stops");
    }
    links.close_events();
    match timeout(STOP_MAX, user).await {
        Ok(Ok(())) => {}
        Ok(Err(panic)) => error!(why = %panic, "what uses the links had panicked"),
        Err(_) => warn!("what uses the links did not end in time"),
    }
    Ok(())
}
