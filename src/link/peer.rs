//! The link to one other node, as long as the table has that node: it is dialled, or waited for, again and again, and what is
//! said over the connection that comes of it is read and written here.
//!
//! One task tends a link, so that what its user is told of one node stands in order: up, payloads, down. While the user does
//! not take them, nothing is read: the kernel's buffers fill, and the other end waits.

use super::asking::{self, ASKING_VERSION};
use super::failure::{Failure, Reason};
use super::frame::{ANSWER, ASK, FRAME_BYTES_MAX, Fault, Frame, Splitter};
use super::links::{LinkEvent, Links};
use super::meeting::{self, Met};
use super::queue::Queue;
use super::snapshot::{Counts, add};
use crate::cluster::{Id, Node};
use sipfed_directory::Backoff;
use sipfed_nodes::pulse::{Beat, Pulse, State};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{sleep, sleep_until, timeout};
use tokio_rustls::TlsStream;

/// Pauses between attempts to reach a node.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// How long the last word to a node may take to be written.
const LAST_WORD_MAX: Duration = Duration::from_millis(500);

/// The link to one node.
pub(super) struct Peer {
    pub(super) node: Node,
    pub(super) queue: Queue,
    pub(super) pulse: RefCell<Pulse>,
    /// What the log and others were told of it last.
    pub(super) noted: Cell<State>,
    /// What was agreed upon over the present connection, or over the last.
    pub(super) version: Cell<u16>,
    /// What the other end runs there.
    pub(super) release: RefCell<String>,
    /// Whether it was up at some time.
    pub(super) was_up: Cell<bool>,
    /// Raised when there may be something to do earlier than there was.
    beat: Notify,
    counts: Arc<Counts>,
    offers: mpsc::Sender<Met>,
    /// Why it ends, once it does.
    leaving: watch::Sender<Option<&'static str>>,
    /// Why the present connection is to end, where its user wants that.
    breaking: mpsc::Sender<String>,
    breaks: RefCell<mpsc::Receiver<String>>,
    /// Why it could not be reached, as was told last.
    told: RefCell<String>,
}

impl Peer {
    /// A link that is down, and where connections from the node come in.
    pub(super) fn new(node: Node, pulse: Pulse, counts: Arc<Counts>) -> (Rc<Self>, mpsc::Receiver<Met>) {
        let (offers, offered) = mpsc::channel(1);
        let (breaking, breaks) = mpsc::channel(1);
        let peer = Self {
            node,
            queue: Queue::default(),
            pulse: RefCell::new(pulse),
            noted: Cell::new(State::Down),
            version: Cell::new(0),
            release: RefCell::default(),
            was_up: Cell::new(false),
            beat: Notify::new(),
            counts,
            offers,
            leaving: watch::channel(None).0,
            breaking,
            breaks: RefCell::new(breaks),
            told: RefCell::default(),
        };
        (Rc::new(peer), offered)
    }

    /// Takes a connection that the node has opened. One that waits already is as good.
    pub(super) fn offer(&self, met: Met) {
        let _ = self.offers.try_send(met);
    }

    /// Has the present connection end.
    pub(super) fn break_off(&self, why: &str) {
        // One reason is enough.
        let _ = self.breaking.try_send(why.to_owned());
    }

    /// Why the present connection is to end, once somebody says so.
    fn poll_break(&self, context: &mut Context<'_>) -> Poll<String> {
        // The sender lives as long as this.
        self.breaks.borrow_mut().poll_recv(context).map(Option::unwrap_or_default)
    }

    /// Has the link end.
    pub(super) fn leave(&self, why: &'static str) {
        self.leaving.send_replace(Some(why));
    }

    /// Which of its connections the present one is.
    pub(super) fn life(&self) -> u64 {
        self.counts.ups.load(Relaxed)
    }

    pub(super) fn id(&self) -> Id {
        self.node.id
    }

    pub(super) fn is_up(&self) -> bool {
        self.pulse.borrow().state() != State::Down
    }
}

/// The life of a link.
pub(super) async fn tend(links: Rc<Links>, peer: Rc<Peer>, mut offers: mpsc::Receiver<Met>) {
    let mut leaving = peer.leaving.subscribe();
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    let (mut next, mut is_first) = (None, true);
    while peer.leaving.borrow().is_none() {
        let met = if let Some(met) = next.take() {
            met
        } else {
            tokio::select! {
                biased;
                _ = leaving.changed() => break,
                met = meet(&links, &peer, &mut offers, &mut backoff, is_first) => met,
            }
        };
        is_first = false;
        let began = Instant::now();
        let why = tokio::select! {
            biased;
            why = run(&links, &peer, met, leaving.clone()) => why,
            Some(newer) = offers.recv() => {
                next = Some(newer);
                "the node has opened another connection".to_owned()
            }
        };
        if began.elapsed() > BACKOFF.1 {
            backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        }
        peer.pulse.borrow_mut().end();
        peer.queue.clear();
        links.questions.forget(peer.node.id);
        links.note(&peer, &why);
        links.tell(LinkEvent::Down { node: peer.node.id, why }).await;
    }
}

/// The next connection with the node, however long that takes.
async fn meet(
    links: &Links,
    peer: &Peer,
    offers: &mut mpsc::Receiver<Met>,
    backoff: &mut Backoff,
    is_first: bool,
) -> Met {
    if links.me() < peer.node.id {
        // The sender lives as long as the link.
        return match offers.recv().await {
            Some(met) => met,
            None => std::future::pending().await,
        };
    }
    let mut pause = if is_first { Duration::ZERO } else { backoff.next_pause() };
    loop {
        sleep(pause).await;
        match meeting::dial(links, &peer.node).await {
            Ok(met) => {
                peer.told.borrow_mut().clear();
                return met;
            }
            Err(failure) => {
                let is_news = *peer.told.borrow() != failure.why;
                if links.failed(peer.node.url.socket_addr(), Some(peer.node.id), &failure, is_news) {
                    *peer.told.borrow_mut() = failure.why;
                }
            }
        }
        pause = backoff.next_pause();
    }
}

/// A connection from its beginning to its end; why it ended.
async fn run(
    links: &Rc<Links>,
    peer: &Rc<Peer>,
    met: Met,
    mut leaving: watch::Receiver<Option<&'static str>>,
) -> String {
    let (reader, writer) = tokio::io::split(met.stream);
    peer.pulse.borrow_mut().begin(Instant::now());
    peer.was_up.set(true);
    // What was said of an earlier connection counts no more.
    while peer.breaks.borrow_mut().try_recv().is_ok() {}
    add(&peer.counts.ups, 1);
    peer.version.set(met.peer.version);
    met.peer.release.clone_into(&mut peer.release.borrow_mut());
    links.note_up(peer, &met.peer);
    let up = LinkEvent::Up { node: peer.node.id, peer: met.peer };
    let reading = read(links, peer, reader, met.splitter, up);
    let mut writing = std::pin::pin!(write(peer, writer));
    let last_word = tokio::select! {
        // What has been read has to count before what may have been missed.
        biased;
        ended = reading => match ended {
            End::Broken(why) => return why,
            End::Fault(fault) => Failure::from(fault).why,
        },
        why = beat(links, peer) => return why,
        why = &mut writing => return why,
        why = poll_fn(|context| peer.poll_break(context)) => why,
        Ok(why) = leaving.wait_for(Option::is_some) => why.unwrap_or_default().to_owned(),
    };
    peer.queue.close(&last_word);
    let _ = timeout(LAST_WORD_MAX, writing).await;
    last_word
}

/// Why nothing more is read.
enum End {
    Broken(String),
    /// The other end is to be told.
    Fault(Fault),
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

async fn read(
    links: &Rc<Links>,
    peer: &Rc<Peer>,
    mut reader: ReadHalf<TlsStream<TcpStream>>,
    mut splitter: Splitter,
    up: LinkEvent,
) -> End {
    deliver(links, peer, up).await;
    loop {
        match take_frames(links, peer, &mut splitter).await {
            Ok(None) => {}
            Ok(Some(why)) => return End::Broken(why),
            Err(fault) => return fault.into(),
        }
        match reader.read_buf(splitter.room()).await {
            Ok(0) => return End::Broken("the other end hung up".to_owned()),
            Ok(bytes) => {
                add(&peer.counts.bytes_in, bytes as u64);
                if peer.pulse.borrow_mut().heard() {
                    peer.beat.notify_one();
                }
                links.note(peer, "");
            }
            Err(error) => return End::Broken(Failure::of_io(&error).why),
        }
    }
}

/// Does what the frames say that have come; why the link ends, where one says so.
async fn take_frames(links: &Rc<Links>, peer: &Rc<Peer>, splitter: &mut Splitter) -> Result<Option<String>, Fault> {
    let id = peer.node.id;
    while let Some(frame) = splitter.next(FRAME_BYTES_MAX)? {
        add(&peer.counts.frames_in, 1);
        match frame {
            Frame::Ping { number, neighbours } => {
                peer.queue.pong(number);
                links.states.set_neighbours(id, neighbours);
            }
            Frame::Pong { number } => {
                peer.pulse.borrow_mut().answered(number, Instant::now());
                links.states.set_round_trip(id, peer.pulse.borrow().round_trip());
            }
            Frame::Payload { channel, bytes } => {
                let payload = LinkEvent::Payload { node: id, channel, bytes: bytes.into() };
                deliver(links, peer, payload).await;
            }
            Frame::Ask { .. } if peer.version.get() < ASKING_VERSION => return Err(Fault::Kind(ASK)),
            Frame::Answer { .. } if peer.version.get() < ASKING_VERSION => return Err(Fault::Kind(ANSWER)),
            Frame::Ask { number, bytes } => asking::take(links, peer, number, bytes),
            Frame::Answer { number, bytes } => links.questions.answered(id, number, bytes),
            Frame::Close { why } => return Ok(Some(format!("the other end says: {why}"))),
            Frame::Refuse { why, .. } => {
                links.states.count_failure(Reason::RefusedByPeer);
                return Ok(Some(format!("the other end says: {why}")));
            }
            Frame::Hello(_) => return Ok(Some("the other end said hello again".to_owned())),
        }
    }
    Ok(None)
}

/// Tells the user something. While it has no room for that, nothing is read, and nothing that is not heard counts.
async fn deliver(links: &Links, peer: &Peer, event: LinkEvent) {
    let Some(event) = links.try_tell(event) else { return };
    peer.pulse.borrow_mut().pause(Instant::now());
    peer.beat.notify_one();
    links.tell(event).await;
    peer.pulse.borrow_mut().resume(Instant::now());
    peer.beat.notify_one();
}

async fn write(peer: &Peer, mut writer: WriteHalf<TlsStream<TcpStream>>) -> String {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let mut rest = Vec::new();
        let taken = peer.queue.take(&mut bytes, &mut rest).await;
        let written = async {
            writer.write_all(&bytes).await?;
            writer.write_all(&rest).await?;
            writer.flush().await
        };
        if let Err(error) = written.await {
            return Failure::of_io(&error).why;
        }
        add(&peer.counts.frames_out, taken.frames);
        add(&peer.counts.bytes_out, (bytes.len() + rest.len()) as u64);
        if taken.is_last {
            let _ = writer.shutdown().await;
            return "the last word was said".to_owned();
        }
    }
}

/// Pings, until no answer comes.
async fn beat(links: &Links, peer: &Peer) -> String {
    loop {
        let now = Instant::now();
        loop {
            let beat = peer.pulse.borrow_mut().poll(now);
            peer.counts.pings_lost.store(peer.pulse.borrow().missed_total(), Relaxed);
            match beat {
                Some(Beat::Ping(number)) => {
                    peer.queue.ping(&Frame::Ping { number, neighbours: links.neighbours() });
                }
                Some(Beat::Lost) => return "it answers no ping".to_owned(),
                None => break,
            }
        }
        links.note(peer, "");
        let deadline = peer.pulse.borrow().deadline();
        tokio::select! {
            () = sleep_until(deadline.into()) => {}
            () = peer.beat.notified() => {}
        }
    }
}
