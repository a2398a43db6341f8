//! All links of a node: what its thread owns, and what whoever lives on that thread can do with them.

use super::asking::Questions;
use super::failure::{Failure, Reason};
use super::frame::{Hello, PAYLOAD_BYTES_MAX};
use super::greeting::{Expected, Own, PeerHello, Refused};
use super::meeting;
use super::peer::{self, Peer};
use super::security::Security;
use super::snapshot::LinkStates;
use super::told::Told;
use super::{LinksOptions, TellDown};
use crate::cluster::{Id, Node, Topology};
use sipfed_nodes::health::{self, Seen};
use sipfed_nodes::pulse::{Pulse, Rhythm, State};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until};
use tracing::{info, warn};

/// Connections of nobody knows whom that are under way: from addresses of nodes, and as many from all others. So strangers
/// do not keep nodes out.
const PLACES_COUNT_MAX: usize = 32;
/// How long a stranger who came to nothing keeps its place at least, so that no more than so many handshakes a second are
/// done for strangers.
const STRANGER_PAUSE: Duration = Duration::from_secs(1);
/// How long nobody is accepted after that has failed, as it does where the process has no file left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What happens on links, for their user. Of each node: up, then payloads, then down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkEvent {
    /// Payloads can be sent to the node from now on.
    Up { node: Id, peer: PeerHello },
    /// The node has sent a payload.
    Payload { node: Id, channel: u8, bytes: Box<[u8]> },
    /// None can any more, and what waited to be sent is gone.
    Down { node: Id, why: String },
}

/// Why a payload was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotSent {
    /// Too much waits already; [`Links::room`] tells when it does not.
    NoRoom,
    /// There is no link to the node now.
    NotUp,
    /// It has more than [`PAYLOAD_BYTES_MAX`] bytes.
    TooLong,
}

/// See the module's documentation.
pub(crate) struct Links {
    own: Own,
    /// Where this node takes connections.
    at: SocketAddr,
    rhythm: (Duration, Duration),
    security: RefCell<Security>,
    pub(super) states: Arc<LinkStates>,
    topology: RefCell<Topology>,
    peers: RefCell<BTreeMap<Id, Rc<Peer>>>,
    tasks: RefCell<Vec<JoinHandle<()>>>,
    /// `None` once the links end.
    events: RefCell<Option<mpsc::Sender<LinkEvent>>>,
    told: RefCell<Told>,
    pub(super) questions: Questions,
    places: [Rc<Cell<usize>>; 2],
    tell_down: TellDown,
    /// The homes that are down, as was told last.
    down: RefCell<Vec<Box<str>>>,
}

impl Links {
    pub(super) fn new(options: LinksOptions, states: Arc<LinkStates>, events: mpsc::Sender<LinkEvent>) -> Rc<Self> {
        let LinksOptions { topology, at, home, versions, security, ping_interval, ping_timeout, tell_down, answerer } =
            options;
        Rc::new(Self {
            own: Own { versions, home, release: env!("CARGO_PKG_VERSION") },
            at,
            rhythm: (ping_interval, ping_timeout),
            security: RefCell::new(security),
            states,
            topology: RefCell::new(topology),
            peers: RefCell::default(),
            tasks: RefCell::default(),
            events: RefCell::new(Some(events)),
            told: RefCell::default(),
            questions: Questions::new(answerer),
            places: Default::default(),
            tell_down,
            down: RefCell::default(),
        })
    }

    /// Sends a payload to a node, in order with those before, and takes it out of `bytes`; whoever is told otherwise still
    /// has it.
    pub(crate) fn send(&self, node: Id, channel: u8, bytes: &mut Vec<u8>) -> Result<(), NotSent> {
        let peers = self.peers.borrow();
        let peer = peers.get(&node).filter(|peer| peer.is_up()).ok_or(NotSent::NotUp)?;
        if bytes.len() > PAYLOAD_BYTES_MAX {
            return Err(NotSent::TooLong);
        }
        if peer.queue.put(channel, bytes) { Ok(()) } else { Err(NotSent::NoRoom) }
    }

    /// Until there is room for any payload to this node, or no link to it.
    pub(crate) async fn room(&self, node: Id) {
        let peer = self.peers.borrow().get(&node).cloned();
        if let Some(peer) = peer.filter(|peer| peer.is_up()) {
            peer.queue.room().await;
        }
    }

    /// Breaks the link to a node off, which is told why; it is made anew like any other.
    pub(crate) fn close(&self, node: Id, why: &str) {
        if let Some(peer) = self.peers.borrow().get(&node) {
            peer.break_off(why);
        }
    }

    /// The nodes to which there are links, in their order.
    pub(crate) fn neighbours(&self) -> Vec<Id> {
        let peers = self.peers.borrow();
        peers.values().filter(|peer| peer.pulse.borrow().state() == State::Up).map(|peer| peer.id()).collect()
    }

    pub(super) fn peer(&self, node: Id) -> Option<Rc<Peer>> {
        self.peers.borrow().get(&node).cloned()
    }

    pub(super) fn me(&self) -> Id {
        self.topology.borrow().current_id()
    }

    pub(super) fn at(&self) -> SocketAddr {
        self.at
    }

    pub(super) fn hello(&self) -> Hello {
        self.own.hello(&self.topology.borrow())
    }

    pub(super) fn check(&self, hello: &Hello, expected: Expected) -> Result<(PeerHello, Node), Refused> {
        self.own.check(hello, expected, &self.topology.borrow())
    }

    /// By what whoever is met now is known.
    pub(super) fn security(&self) -> Security {
        self.security.borrow().clone()
    }

    /// From now on by this.
    pub(super) fn renew(&self, security: Security) {
        self.security.replace(security);
    }

    /// From now on these are the nodes: links to others end, and new ones begin.
    pub(super) fn provide(self: &Rc<Self>, topology: Topology) {
        let me = topology.current_id();
        // A node that takes no part has no links.
        let is_taking_part = topology.current().is_enabled;
        let wanted: BTreeMap<Id, Node> = (topology.nodes().iter())
            .filter(|node| is_taking_part && node.is_enabled && node.id != me)
            .map(|node| (node.id, node.clone()))
            .collect();
        self.topology.replace(topology);
        let is_other = |peer: &Peer| wanted.get(&peer.id()).is_none_or(|node| !is_same_for_links(node, &peer.node));
        let gone: Vec<Rc<Peer>> =
            self.peers.borrow_mut().extract_if(.., |_, peer| is_other(peer)).map(|(_, peer)| peer).collect();
        for peer in gone {
            peer.leave(if is_taking_part {
                "its row of the table of nodes has changed or is gone"
            } else {
                "the node has been told to take no part in the cluster"
            });
            if !wanted.contains_key(&peer.id()) {
                self.states.remove(peer.id());
            }
        }
        self.tasks.borrow_mut().retain(|task| !task.is_finished());
        for (id, node) in wanted {
            if !self.peers.borrow().contains_key(&id) {
                self.begin(node);
            }
        }
        self.tell_health();
    }

    fn begin(self: &Rc<Self>, node: Node) {
        let (interval, timeout) = self.rhythm;
        let (id, rhythm) = (node.id, Rhythm { interval, timeout, retries: node.no_ping_retries });
        let (peer, offers) = Peer::new(node, Pulse::new(rhythm, Instant::now()), self.states.enter(id));
        self.peers.borrow_mut().insert(id, Rc::clone(&peer));
        self.tasks.borrow_mut().push(tokio::task::spawn_local(peer::tend(Rc::clone(self), peer, offers)));
    }

    /// Ends all links, each with a last word.
    pub(super) async fn end(&self) {
        for peer in self.peers.take().into_values() {
            peer.leave("the node stops");
        }
        let tasks = self.tasks.take();
        for task in tasks {
            let _ = task.await;
        }
    }

    /// Lets the user know by the end of its events that there is nothing more.
    pub(super) fn close_events(&self) {
        self.events.take();
    }

    /// Tells the user, as soon as it has room for that.
    pub(super) async fn tell(&self, event: LinkEvent) {
        let events = self.events.borrow().clone();
        if let Some(events) = events {
            // A user that has ended wants to know nothing any more.
            let _ = events.send(event).await;
        }
    }

    /// Tells the user, if it has room; gives the event back otherwise.
    pub(super) fn try_tell(&self, event: LinkEvent) -> Option<LinkEvent> {
        match self.events.borrow().as_ref()?.try_send(event) {
            Err(mpsc::error::TrySendError::Full(event)) => Some(event),
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => None,
        }
    }

    /// A link has come up.
    pub(super) fn note_up(&self, peer: &Peer, hello: &PeerHello) {
        peer.noted.set(State::Up);
        if self.is_present(peer) {
            self.states.set_state(peer.id(), State::Up);
        }
        let (node, home, at) = (peer.id().get(), peer.node.sip_addr.to_string(), peer.node.url.to_string());
        info!(node, home, at, version = hello.version, release = hello.release, "the link to a node is up");
        self.tell_health();
    }

    /// Tells the log and others, where the state of a link has changed.
    pub(super) fn note(&self, peer: &Peer, why: &str) {
        let state = peer.pulse.borrow().state();
        if peer.noted.replace(state) == state {
            return;
        }
        if self.is_present(peer) {
            self.states.set_state(peer.id(), state);
        }
        let (node, home) = (peer.id().get(), peer.node.sip_addr.to_string());
        match state {
            State::Up => info!(node, home, "the link to a node is well again"),
            State::Probe => warn!(node, home, "the link to a node misses an answer"),
            State::Down if self.is_present(peer) => warn!(node, home, why, "the link to a node is down"),
            State::Down => info!(node, home, why, "the link to a node is down"),
        }
        self.tell_health();
    }

    /// Whether the link is still wanted; otherwise there may be another one in its place.
    fn is_present(&self, peer: &Peer) -> bool {
        self.peers.borrow().get(&peer.id()).is_some_and(|present| std::ptr::eq(Rc::as_ptr(present), peer))
    }

    /// Tells which homes are down, where that has changed.
    fn tell_health(&self) {
        let seen = |peer: &Rc<Peer>| Seen { home: peer.node.sip_addr, is_up: peer.is_up(), was_up: peer.was_up.get() };
        let nodes: Vec<Seen> = self.peers.borrow().values().map(seen).collect();
        let down = health::homes_down(self.own.home, &nodes);
        if *self.down.borrow() == down {
            return;
        }
        if nodes.iter().all(|node| !node.is_up) {
            warn!("no other node is linked: calls leave out no home, since it may be this node that is cut off");
        } else if down.is_empty() {
            info!("calls leave out no home any more");
        } else {
            warn!(homes = down.join(" "), "calls leave out homes: all of their nodes are down");
        }
        (self.tell_down)(down.iter().cloned().collect());
        self.down.replace(down);
    }

    /// Counts a connection that came to no link, and tells the log unless that was told of its address a moment ago;
    /// whether it did.
    pub(super) fn failed(&self, at: SocketAddr, node: Option<Id>, failure: &Failure, is_news: bool) -> bool {
        self.states.count_failure(failure.reason);
        if !is_news || !self.told.borrow_mut().may_tell(at.ip().to_canonical(), Instant::now()) {
            return false;
        }
        let (at, why) = (at.to_string(), &*failure.why);
        if let Some(node) = node {
            warn!(node = node.get(), at, why, "a node cannot be linked; it is tried again");
        } else {
            warn!(at, why, "a connection from elsewhere came to no link");
        }
        true
    }

    /// A place for a connection from this address, if there is one.
    fn place(&self, ip: IpAddr) -> Option<Place> {
        let ip = ip.to_canonical();
        let is_of_node = self.peers.borrow().values().any(|peer| peer.node.url.socket_addr().ip().to_canonical() == ip);
        let taken = &self.places[usize::from(is_of_node)];
        (taken.get() < PLACES_COUNT_MAX).then(|| {
            taken.set(taken.get() + 1);
            Place { taken: Rc::clone(taken), is_of_node }
        })
    }
}

/// Whether two rows of a node say the same of its link.
fn is_same_for_links(one: &Node, other: &Node) -> bool {
    let part = |of: &Node| (of.id, of.url, of.sip_addr, of.no_ping_retries);
    part(one) == part(other)
}

/// Is free again when this is dropped.
struct Place {
    taken: Rc<Cell<usize>>,
    is_of_node: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.set(self.taken.get() - 1);
    }
}

/// Takes connections, for ever.
pub(super) async fn listen(links: Rc<Links>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((tcp, from)) => {
                if let Some(place) = links.place(from.ip()) {
                    tokio::task::spawn_local(welcome(Rc::clone(&links), tcp, from, place));
                } else {
                    let failure = Failure::new(Reason::NoPlace, "too many others are at it");
                    links.failed(from, None, &failure, true);
                }
            }
            Err(error) => {
                let why = error.to_string();
                if links.told.borrow_mut().may_tell(links.at.ip(), Instant::now()) {
                    warn!(why, "connections of other nodes cannot be accepted; it is tried again");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Finds out who it is.
async fn welcome(links: Rc<Links>, tcp: TcpStream, from: SocketAddr, place: Place) {
    let began = Instant::now();
    match meeting::accept(&links, tcp).await {
        Ok(met) => {
            let peers = links.peers.borrow();
            // The row may be another one since it was looked at.
            if let Some(peer) = peers.get(&met.row.id).filter(|peer| is_same_for_links(&peer.node, &met.row)) {
                peer.offer(met);
            }
        }
        Err(failure) => {
            links.failed(from, None, &failure, true);
            if !place.is_of_node {
                sleep_until((began + STRANGER_PAUSE).into()).await;
            }
        }
    }
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").field("me", &self.me()).field("at", &self.at).finish_non_exhaustive()
    }
}
