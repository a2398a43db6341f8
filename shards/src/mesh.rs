//! What crosses from shard to shard: one bounded lane for each ordered pair of them.
//!
//! In: letters, each a message or a piece of news for one other shard. They are gathered in a parcel per
//! receiver and leave together, so that a turn costs one queue operation and at most one wake-up for each
//! shard it has something for, however many letters that is. Out: the letters of other shards, in the
//! order each of them wrote. Empty parcels travel back on a lane of their own and are filled again, so that
//! nothing is allocated per letter.
//!
//! The [`Mesh`] is shared by all shards; a [`MeshPort`] is one shard's end of it and owned by that shard.
//!
//! Bounds: [`LANE_PARCELS_COUNT_MAX`] parcels on a lane, [`PARCEL_LETTERS_COUNT_MAX`] letters or
//! [`PARCEL_BYTES_MAX`] bytes in a parcel. While a lane is full its next parcel goes on filling; when that
//! is full as well, a message is dropped, and the caller counts it. News is not dropped, since nobody says it
//! again: it waits in order for room, up to [`NEWS_WAITING_COUNT_MAX`] for each receiver.

use crate::doorbell::Doorbell;
use crossbeam::queue::ArrayQueue;
use sipfed_proto::{Ends, FlowToken, Glance, ShardIndex, Source, Ticket};
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Parcels that may lie on one lane.
const LANE_PARCELS_COUNT_MAX: usize = 16;
/// Parcels on a lane from which on a small one waits to be filled further: their receiver is late, and many
/// small parcels would fill the lane where a few large ones do not.
const LANE_PARCELS_AHEAD: usize = 4;
/// Messages in one parcel.
const PARCEL_LETTERS_COUNT_MAX: usize = 512;
/// News in one parcel beyond its messages: they take no bytes, and what they tell nobody else will.
const PARCEL_NEWS_COUNT_MAX: usize = 4096;
/// News that may wait for room in a parcel for one receiver: one for each connection that a shard can have, so
/// that all of them may end while the receiver is kept from running.
const NEWS_WAITING_COUNT_MAX: usize = 1 << 20;
/// Bytes of one parcel; the largest message fits into an empty one.
const PARCEL_BYTES_MAX: usize = 256 * 1024;
/// Bytes of memory that a parcel keeps when it is emptied.
const PARCEL_BYTES_KEPT_MAX: usize = 64 * 1024;

const _: () = assert!(PARCEL_BYTES_MAX >= 2 * sipfed_proto::limits::MESSAGE_BYTES_MAX);

/// What one shard tells another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Letter<'a> {
    /// A received message that belongs to the other shard.
    Steered {
        /// Where it came from.
        source: Source,
        /// What who received it has seen of it.
        glance: Glance,
        /// The message.
        bytes: &'a [u8],
    },
    /// A message for a connection that the other shard owns.
    Transmit {
        /// The connection.
        flow: FlowToken,
        /// Where to connect when it is gone.
        fallback: Option<Ends>,
        /// Whom to tell when it cannot be sent.
        ticket: Ticket,
        /// The message.
        bytes: &'a [u8],
    },
    /// A connection has ended.
    FlowClosed(FlowToken),
    /// A message of the other shard's could not be sent.
    TransmitFailed(Ticket),
}

impl Letter<'_> {
    /// The letter as news, which carries no message and may wait.
    fn news(&self) -> Option<News> {
        match *self {
            Letter::Steered { .. } | Letter::Transmit { .. } => None,
            Letter::FlowClosed(flow) => Some(News::FlowClosed(flow)),
            Letter::TransmitFailed(ticket) => Some(News::TransmitFailed(ticket)),
        }
    }
}

/// What a shard tells another without a message.
#[derive(Clone, Copy, Debug)]
enum News {
    FlowClosed(FlowToken),
    TransmitFailed(Ticket),
}

impl News {
    fn letter(self) -> Letter<'static> {
        match self {
            Self::FlowClosed(flow) => Letter::FlowClosed(flow),
            Self::TransmitFailed(ticket) => Letter::TransmitFailed(ticket),
        }
    }
}

/// A letter as a parcel holds it: its bytes lie in the parcel's buffer.
#[derive(Clone, Debug)]
enum Entry {
    Steered(Source, Glance, Range<u32>),
    Transmit { flow: FlowToken, fallback: Option<Ends>, ticket: Ticket, span: Range<u32> },
    FlowClosed(FlowToken),
    TransmitFailed(Ticket),
}

/// Letters of one shard for another.
#[derive(Debug, Default)]
pub(crate) struct Parcel {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl Parcel {
    /// Whether a letter with `bytes_len` bytes, or news where there are none, still fits in.
    fn has_room(&self, bytes_len: Option<usize>) -> bool {
        match bytes_len {
            Some(len) => self.entries.len() < PARCEL_LETTERS_COUNT_MAX && self.bytes.len() + len <= PARCEL_BYTES_MAX,
            None => self.entries.len() < PARCEL_LETTERS_COUNT_MAX + PARCEL_NEWS_COUNT_MAX,
        }
    }

    fn put_bytes(&mut self, bytes: &[u8]) -> Range<u32> {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len() as u32
    }

    /// Adds a letter; `false` when there is no room for it.
    fn put(&mut self, letter: Letter<'_>) -> bool {
        let bytes_len = match letter {
            Letter::Steered { bytes, .. } | Letter::Transmit { bytes, .. } => Some(bytes.len()),
            Letter::FlowClosed(_) | Letter::TransmitFailed(_) => None,
        };
        if !self.has_room(bytes_len) {
            return false;
        }
        let entry = match letter {
            Letter::Steered { source, glance, bytes } => Entry::Steered(source, glance, self.put_bytes(bytes)),
            Letter::Transmit { flow, fallback, ticket, bytes } => {
                Entry::Transmit { flow, fallback, ticket, span: self.put_bytes(bytes) }
            }
            Letter::FlowClosed(flow) => Entry::FlowClosed(flow),
            Letter::TransmitFailed(ticket) => Entry::TransmitFailed(ticket),
        };
        self.entries.push(entry);
        true
    }

    /// The letters in the order they were put in.
    pub(crate) fn letters(&self) -> impl Iterator<Item = Letter<'_>> {
        let bytes = |span: &Range<u32>| &self.bytes[span.start as usize..span.end as usize];
        self.entries.iter().map(move |entry| match entry {
            Entry::Steered(source, glance, span) => {
                Letter::Steered { source: *source, glance: *glance, bytes: bytes(span) }
            }
            Entry::Transmit { flow, fallback, ticket, span } => {
                Letter::Transmit { flow: *flow, fallback: *fallback, ticket: *ticket, bytes: bytes(span) }
            }
            Entry::FlowClosed(flow) => Letter::FlowClosed(*flow),
            Entry::TransmitFailed(ticket) => Letter::TransmitFailed(*ticket),
        })
    }

    fn empty(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(PARCEL_BYTES_KEPT_MAX);
        self.entries.clear();
        self.entries.shrink_to(PARCEL_LETTERS_COUNT_MAX);
    }
}

/// From one shard to one other: full parcels there, empty ones back.
#[derive(Debug)]
struct Lane {
    full: ArrayQueue<Box<Parcel>>,
    empty: ArrayQueue<Box<Parcel>>,
}

/// All lanes and bells of a node.
#[derive(Debug)]
pub(crate) struct Mesh {
    shards_count: usize,
    /// Row by row: the lane from shard `f` to shard `t` is at `f * shards_count + t`.
    lanes: Vec<Lane>,
    bells: Vec<Doorbell>,
}

impl Mesh {
    /// A mesh of `shards_count` shards.
    pub(crate) fn new(shards_count: usize) -> io::Result<Self> {
        let lane =
            || Lane { full: ArrayQueue::new(LANE_PARCELS_COUNT_MAX), empty: ArrayQueue::new(LANE_PARCELS_COUNT_MAX) };
        Ok(Self {
            shards_count,
            lanes: (0..shards_count * shards_count).map(|_| lane()).collect(),
            bells: (0..shards_count).map(|_| Doorbell::new()).collect::<io::Result<_>>()?,
        })
    }

    fn lane(&self, from: usize, to: usize) -> &Lane {
        &self.lanes[from * self.shards_count + to]
    }

    /// The bell of `shard`.
    pub(crate) fn bell(&self, shard: ShardIndex) -> &Doorbell {
        &self.bells[usize::from(shard.0)]
    }

    /// The next of a queue that `shard` fills for another thread. Where the queue was full the shard is rung, since it may
    /// have more than there was room for.
    pub(crate) fn take_from<T>(&self, shard: ShardIndex, queue: &ArrayQueue<T>) -> Option<T> {
        let was_full = queue.is_full();
        let taken = queue.pop();
        if was_full {
            self.bell(shard).ring();
        }
        taken
    }
}

/// One shard's end of the mesh.
#[derive(Debug)]
pub(crate) struct MeshPort {
    mesh: Arc<Mesh>,
    own: usize,
    /// The parcel that is being filled for each shard.
    open: Vec<Option<Box<Parcel>>>,
    /// News for each shard that found no room in its parcel, the oldest first.
    waiting: Vec<VecDeque<News>>,
}

impl MeshPort {
    /// The end of `own`; there must be one only.
    pub(crate) fn new(mesh: Arc<Mesh>, own: ShardIndex) -> Self {
        let open = (0..mesh.shards_count).map(|_| None).collect();
        let waiting = vec![VecDeque::new(); mesh.shards_count];
        Self { mesh, own: usize::from(own.0), open, waiting }
    }

    /// How many shards there are.
    pub(crate) fn shards_count(&self) -> usize {
        self.mesh.shards_count
    }

    /// This shard's bell.
    pub(crate) fn bell(&self) -> &Doorbell {
        &self.mesh.bells[self.own]
    }

    /// Puts a letter into the parcel for another shard; `false` when it had to be dropped.
    pub(crate) fn put(&mut self, to: ShardIndex, letter: Letter<'_>) -> bool {
        let to = usize::from(to.0);
        if to == self.own || to >= self.open.len() {
            return false;
        }
        match letter.news() {
            // A message may overtake news that waits: no message is about a connection that has ended.
            None => self.put_now(to, letter),
            Some(_) if self.waiting[to].is_empty() && self.put_now(to, letter) => true,
            Some(news) => {
                let has_room = self.waiting[to].len() < NEWS_WAITING_COUNT_MAX;
                if has_room {
                    self.waiting[to].push_back(news);
                }
                has_room
            }
        }
    }

    fn put_now(&mut self, to: usize, letter: Letter<'_>) -> bool {
        if self.open_for(to).put(letter) {
            return true;
        }
        // A parcel that fills up within a turn leaves before its end.
        self.dispatch_to(to) && self.open_for(to).put(letter)
    }

    /// Puts news that waits into the parcel for `to`, as much as there is room for.
    fn put_waiting(&mut self, to: usize) {
        while let Some(&news) = self.waiting[to].front()
            && self.put_now(to, news.letter())
        {
            self.waiting[to].pop_front();
        }
        if self.waiting[to].is_empty() {
            self.waiting[to].shrink_to(PARCEL_NEWS_COUNT_MAX);
        }
    }

    /// The parcel that is being filled for `to`.
    fn open_for(&mut self, to: usize) -> &mut Parcel {
        self.open[to].get_or_insert_with(|| self.mesh.lane(self.own, to).empty.pop().unwrap_or_default())
    }

    /// Puts the parcel for `to` on its lane; `false` when the lane is full and the parcel stays open.
    fn dispatch_to(&mut self, to: usize) -> bool {
        let Some(parcel) = self.open[to].take() else { return true };
        if let Err(parcel) = self.mesh.lane(self.own, to).full.push(parcel) {
            self.open[to] = Some(parcel);
            return false;
        }
        self.mesh.bells[to].ring();
        true
    }

    /// Sends all open parcels on their way and wakes who receives them. Returns whether none is left: one
    /// whose receiver is late stays, and wants another call soon.
    pub(crate) fn dispatch(&mut self) -> bool {
        let mut is_all_gone = true;
        for to in 0..self.open.len() {
            self.put_waiting(to);
            if self.open[to].is_some() {
                let is_late = self.mesh.lane(self.own, to).full.len() >= LANE_PARCELS_AHEAD;
                is_all_gone &= !is_late && self.dispatch_to(to);
            }
            is_all_gone &= self.waiting[to].is_empty();
        }
        is_all_gone
    }

    /// Whether no parcel lies on any lane to this shard.
    pub(crate) fn is_idle(&self) -> bool {
        (0..self.shards_count()).all(|from| self.mesh.lane(from, self.own).full.is_empty())
    }

    /// The next parcel that `from` has sent. It is to be given back with [`MeshPort::give_back`].
    pub(crate) fn take(&self, from: usize) -> Option<Box<Parcel>> {
        self.mesh.lane(from, self.own).full.pop()
    }

    /// Lets an opened parcel travel back to `from` to be filled again.
    pub(crate) fn give_back(&self, from: usize, mut parcel: Box<Parcel>) {
        parcel.empty();
        // More parcels than the way back holds are not needed either.
        drop(self.mesh.lane(from, self.own).empty.push(parcel));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipfed_proto::Transport;
    use std::net::SocketAddr;

    fn source(port: u16) -> Source {
        let remote = SocketAddr::from(([127, 0, 0, 1], port));
        Source { transport: Transport::Udp, remote, local: remote, flow: FlowToken::NONE }
    }

    fn ports() -> (MeshPort, MeshPort) {
        let mesh = Arc::new(Mesh::new(2).unwrap());
        (MeshPort::new(Arc::clone(&mesh), ShardIndex(0)), MeshPort::new(mesh, ShardIndex(1)))
    }

    #[test]
    fn letters_arrive_whole_and_in_order_in_one_parcel() {
        let (mut a, b) = ports();
        let (flow, ticket) = (FlowToken::new(ShardIndex(1), 5, 1), Ticket::new(ShardIndex(1), 9));
        let letters = [
            Letter::Steered { source: source(1), glance: Glance::default(), bytes: b"REGISTER" },
            Letter::Transmit {
                flow,
                fallback: Some(Ends::new(Transport::Tcp, source(2).remote, None)),
                ticket,
                bytes: b"INVITE",
            },
            Letter::FlowClosed(flow),
            Letter::TransmitFailed(ticket),
            Letter::Steered { source: source(3), glance: Glance::default(), bytes: b"" },
        ];
        for letter in letters {
            assert!(a.put(ShardIndex(1), letter));
        }
        assert!(b.is_idle(), "nothing leaves before it is dispatched");
        assert!(a.dispatch() && !b.is_idle());
        let parcel = b.take(0).unwrap();
        assert_eq!(parcel.letters().collect::<Vec<_>>(), letters);
        b.give_back(0, parcel);
        assert!(b.is_idle() && a.dispatch() && b.is_idle());
    }

    #[test]
    fn an_emptied_parcel_is_filled_again() {
        let (mut a, b) = ports();
        let letter = Letter::Steered { source: source(1), glance: Glance::default(), bytes: &[7; 900] };
        assert!(a.put(ShardIndex(1), letter) && a.dispatch());
        let parcel = b.take(0).unwrap();
        let memory = parcel.bytes.as_ptr();
        b.give_back(0, parcel);
        assert!(a.put(ShardIndex(1), letter) && a.dispatch());
        assert_eq!(b.take(0).unwrap().bytes.as_ptr(), memory);
    }

    #[test]
    fn a_full_lane_drops_messages_within_its_bounds_and_recovers() {
        let (mut a, b) = ports();
        let letter = Letter::Steered { source: source(1), glance: Glance::default(), bytes: b"x" };
        let mut put_count = 0;
        while a.put(ShardIndex(1), letter) {
            put_count += 1;
            assert!(put_count <= (LANE_PARCELS_COUNT_MAX + 1) * PARCEL_LETTERS_COUNT_MAX);
        }
        assert_eq!(put_count, (LANE_PARCELS_COUNT_MAX + 1) * PARCEL_LETTERS_COUNT_MAX);
        assert!(a.put(ShardIndex(1), Letter::FlowClosed(FlowToken::new(ShardIndex(0), 1, 1))), "news have room");
        assert!(!a.dispatch());
        let mut taken_count = 0;
        while let Some(parcel) = b.take(0) {
            taken_count += parcel.letters().count();
            b.give_back(0, parcel);
        }
        assert!(a.dispatch());
        taken_count += b.take(0).unwrap().letters().count();
        assert_eq!(taken_count, put_count + 1);
        assert!(a.put(ShardIndex(1), letter));
    }

    #[test]
    fn news_that_finds_the_mesh_full_waits_and_arrives_in_order() {
        const COUNT: usize = 100_000;
        let (mut a, b) = ports();
        let flow = |n: usize| FlowToken::new(ShardIndex(0), n as u32, 1);
        while a.put(ShardIndex(1), Letter::Steered { source: source(1), glance: Glance::default(), bytes: b"x" }) {}
        for n in 0..COUNT {
            assert!(a.put(ShardIndex(1), Letter::FlowClosed(flow(n))), "{n}");
        }
        assert!(!a.dispatch() && !a.waiting[1].is_empty());
        let mut told = Vec::new();
        // A few parcels a turn, as a shard that is behind takes them.
        while told.len() < COUNT {
            let before = told.len();
            for _ in 0..4 {
                let Some(parcel) = b.take(0) else { break };
                told.extend(parcel.letters().filter_map(|letter| match letter {
                    Letter::FlowClosed(flow) => Some(flow),
                    _ => None,
                }));
                b.give_back(0, parcel);
            }
            let is_all_gone = a.dispatch();
            assert!(told.len() > before || !is_all_gone || !b.is_idle(), "{before} of {COUNT} are told");
        }
        assert!(told.into_iter().eq((0..COUNT).map(flow)));
        assert!(a.dispatch() && b.is_idle() && a.waiting[1].is_empty());
    }

    #[test]
    fn news_that_waits_is_bounded() {
        let (mut a, _b) = ports();
        let mut put_count = 0;
        while a.put(ShardIndex(1), Letter::TransmitFailed(Ticket::new(ShardIndex(1), 1))) {
            put_count += 1;
            assert!(put_count <= 2 * NEWS_WAITING_COUNT_MAX);
        }
        assert_eq!(a.waiting[1].len(), NEWS_WAITING_COUNT_MAX);
    }

    #[test]
    fn small_parcels_for_a_late_receiver_are_gathered() {
        let (mut a, b) = ports();
        for _ in 0..2000 {
            assert!(
                a.put(ShardIndex(1), Letter::Steered { source: source(1), glance: Glance::default(), bytes: b"x" })
            );
            a.dispatch();
        }
        let mut parcels_count = 0;
        while let Some(parcel) = b.take(0) {
            parcels_count += 1;
            b.give_back(0, parcel);
        }
        assert_eq!(parcels_count, LANE_PARCELS_AHEAD + (2000 - LANE_PARCELS_AHEAD) / PARCEL_LETTERS_COUNT_MAX);
        assert!(a.dispatch() && b.take(0).is_some());
    }

    #[test]
    fn the_largest_messages_fit_and_a_parcel_keeps_little_memory() {
        let (mut a, b) = ports();
        let bytes = vec![1; sipfed_proto::limits::MESSAGE_BYTES_MAX];
        for _ in 0..8 {
            assert!(
                a.put(ShardIndex(1), Letter::Steered { source: source(1), glance: Glance::default(), bytes: &bytes })
            );
        }
        assert!(a.dispatch());
        let parcel = b.take(0).unwrap();
        assert!(parcel.bytes.len() <= PARCEL_BYTES_MAX);
        b.give_back(0, parcel);
        assert!(b.mesh.lane(0, 1).empty.pop().unwrap().bytes.capacity() <= PARCEL_BYTES_KEPT_MAX);
    }

    #[test]
    fn a_shard_posts_nothing_to_itself_or_to_nobody() {
        let (mut a, _b) = ports();
        for to in [ShardIndex(0), ShardIndex(2)] {
            assert!(!a.put(to, Letter::TransmitFailed(Ticket::new(ShardIndex(0), 1))));
        }
    }
}
