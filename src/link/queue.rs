//! What waits to be written to one node. In: frames, as long as there is room for them. Out: bytes for the connection.
//!
//! Payloads are bounded by [`QUEUE_BYTES_MAX`]; one that finds no room is not taken. Of pings, pongs and the last word there
//! is one each at most, since a later one says what an earlier one did, and they go before payloads. Owned by one link;
//! whoever waits for something to write or for room is on its thread.

use super::frame::{Frame, PAYLOAD_BYTES_MAX, PAYLOAD_HEAD_BYTES, payload_head};
use std::cell::RefCell;
use std::collections::VecDeque;
use tokio::sync::Notify;

/// Bytes of payloads that wait.
pub(crate) const QUEUE_BYTES_MAX: usize = 4 << 20;
/// Bytes of small frames that are written together.
const BATCH_BYTES: usize = 64 << 10;
/// Bytes of a payload from which on it is written as it is, and not copied behind others.
const LONG_BYTES: usize = 16 << 10;
/// There is room as long as the longest payload fits.
const ROOM_BYTES: usize = QUEUE_BYTES_MAX - PAYLOAD_BYTES_MAX - PAYLOAD_HEAD_BYTES;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: RefCell<Waiting>,
    /// Raised when there is something to write.
    filled: Notify,
    /// Raised when there may be room again.
    drained: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    ping: Option<Vec<u8>>,
    pong: Option<u64>,
    close: Option<String>,
    in_order: VecDeque<InOrder>,
    /// Of these, as they are written.
    bytes: usize,
}

/// What goes over the link in its order.
#[derive(Debug)]
enum InOrder {
    /// A payload without its head.
    Payload { channel: u8, bytes: Vec<u8> },
    /// A whole frame of another kind.
    Frame(Vec<u8>),
}

impl InOrder {
    /// Its bytes as it is written.
    fn len(&self) -> usize {
        match self {
            Self::Payload { bytes, .. } => PAYLOAD_HEAD_BYTES + bytes.len(),
            Self::Frame(bytes) => bytes.len(),
        }
    }
}

/// What has been taken to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) frames: u64,
    /// Whether nothing is to follow.
    pub(super) is_last: bool,
}

impl Queue {
    /// Takes a payload out of `bytes`, if there is room.
    pub(super) fn put(&self, channel: u8, bytes: &mut Vec<u8>) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let frame_bytes = bytes.len() + PAYLOAD_HEAD_BYTES;
        if waiting.bytes + frame_bytes > QUEUE_BYTES_MAX {
            return false;
        }
        waiting.bytes += frame_bytes;
        waiting.in_order.push_back(InOrder::Payload { channel, bytes: std::mem::take(bytes) });
        self.filled.notify_one();
        true
    }

    /// Takes a frame of another kind in order with payloads, if there is room.
    pub(super) fn put_frame(&self, frame: &Frame<'_>) -> bool {
        let mut bytes = Vec::new();
        frame.write(&mut bytes);
        let mut waiting = self.waiting.borrow_mut();
        let has_room = waiting.bytes + bytes.len() <= QUEUE_BYTES_MAX;
        if has_room {
            waiting.bytes += bytes.len();
            waiting.in_order.push_back(InOrder::Frame(bytes));
            self.filled.notify_one();
        }
        has_room
    }

    pub(super) fn ping(&self, ping: &Frame<'_>) {
        let mut frame = Vec::new();
        ping.write(&mut frame);
        self.waiting.borrow_mut().ping = Some(frame);
        self.filled.notify_one();
    }

    pub(super) fn pong(&self, number: u64) {
        self.waiting.borrow_mut().pong = Some(number);
        self.filled.notify_one();
    }

    /// Has this said before what waits, and nothing behind it.
    pub(super) fn close(&self, why: &str) {
        self.waiting.borrow_mut().close = Some(why.to_owned());
        self.filled.notify_one();
    }

    /// Forgets what waits.
    pub(super) fn clear(&self) {
        *self.waiting.borrow_mut() = Waiting::default();
        self.drained.notify_waiters();
    }

    /// Bytes of payloads that wait.
    pub(super) fn bytes(&self) -> usize {
        self.waiting.borrow().bytes
    }

    /// Puts what is to be written next into `out`, which is empty, as soon as there is something. What follows it of a long
    /// payload is put into `rest`.
    pub(super) async fn take(&self, out: &mut Vec<u8>, rest: &mut Vec<u8>) -> Taken {
        loop {
            let taken = self.take_waiting(out, rest);
            if taken.frames > 0 {
                return taken;
            }
            self.filled.notified().await;
        }
    }

    fn take_waiting(&self, out: &mut Vec<u8>, rest: &mut Vec<u8>) -> Taken {
        let mut waiting = self.waiting.borrow_mut();
        let mut taken = Taken::default();
        if let Some(ping) = waiting.ping.take() {
            out.extend_from_slice(&ping);
            taken.frames += 1;
        }
        if let Some(number) = waiting.pong.take() {
            Frame::Pong { number }.write(out);
            taken.frames += 1;
        }
        if let Some(why) = waiting.close.take() {
            Frame::Close { why: &why }.write(out);
            return Taken { frames: taken.frames + 1, is_last: true };
        }
        while rest.is_empty()
            && out.len() < BATCH_BYTES
            && let Some(next) = waiting.in_order.pop_front()
        {
            waiting.bytes -= next.len();
            match next {
                InOrder::Payload { channel, bytes } => {
                    out.extend_from_slice(&payload_head(channel, bytes.len()));
                    if bytes.len() < LONG_BYTES {
                        out.extend_from_slice(&bytes);
                    } else {
                        *rest = bytes;
                    }
                }
                InOrder::Frame(bytes) => out.extend_from_slice(&bytes),
            }
            taken.frames += 1;
        }
        if waiting.bytes <= ROOM_BYTES {
            self.drained.notify_waiters();
        }
        taken
    }

    /// Until the longest payload has room, or what waited has been forgotten.
    pub(super) async fn room(&self) {
        let drained = self.drained.notified();
        if self.bytes() > ROOM_BYTES {
            drained.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::frame::{FRAME_BYTES_MAX, Splitter};
    use std::task::{Context, Waker};

    /// What the future gives without waiting.
    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        }
    }

    /// What is written next: the kinds of the frames, and whether they are the last.
    fn written(queue: &Queue) -> (Vec<String>, bool) {
        let (mut splitter, mut rest) = (Splitter::default(), Vec::new());
        let taken = now(queue.take(splitter.room(), &mut rest)).unwrap_or_default();
        splitter.room().append(&mut rest);
        let mut kinds = Vec::new();
        while let Some(frame) = splitter.next(FRAME_BYTES_MAX).unwrap() {
            kinds.push(match frame {
                Frame::Payload { channel, bytes } => format!("{channel}:{}", bytes.len()),
                other => format!("{other:?}"),
            });
        }
        assert_eq!(kinds.len() as u64, taken.frames);
        (kinds, taken.is_last)
    }

    #[test]
    fn what_does_not_fit_is_not_taken_and_room_is_told() {
        let (queue, longest) = (Queue::default(), vec![0; PAYLOAD_BYTES_MAX]);
        for _ in 0..3 {
            assert!(now(queue.room()).is_some());
            assert!(queue.put(1, &mut longest.clone()));
        }
        let mut room = std::pin::pin!(queue.room());
        let mut context = Context::from_waker(Waker::noop());
        assert!(room.as_mut().poll(&mut context).is_pending());
        let mut refused = longest.clone();
        assert!(!queue.put(1, &mut refused) && refused == longest);
        assert!(queue.put(2, &mut b"small".to_vec()), "there is room for less");
        assert_eq!(written(&queue), (vec![format!("1:{PAYLOAD_BYTES_MAX}")], false));
        assert!(room.as_mut().poll(&mut context).is_ready());
        assert!(queue.put(1, &mut longest.clone()));
        let (mut out, mut rest) = (Vec::new(), Vec::new());
        while now(queue.take(&mut out, &mut rest)).is_some() {
            (out, rest) = (Vec::new(), Vec::new());
        }
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn small_frames_are_written_together_and_those_of_the_link_itself_go_first() {
        let queue = Queue::default();
        assert!(queue.put(1, &mut b"a".to_vec()) && queue.put(2, &mut Vec::new()));
        queue.ping(&Frame::Ping { number: 1, neighbours: Vec::new() });
        queue.ping(&Frame::Ping { number: 2, neighbours: Vec::new() });
        queue.pong(8);
        queue.pong(9);
        let ping = "Ping { number: 2, neighbours: [] }";
        assert_eq!(
            written(&queue),
            (vec![ping.into(), "Pong { number: 9 }".into(), "1:1".into(), "2:0".into()], false)
        );
        assert!(queue.put(1, &mut b"a".to_vec()));
        queue.close("the end");
        assert_eq!(written(&queue), (vec!["Close { why: \"the end\" }".into()], true));
    }

    #[test]
    fn what_is_forgotten_makes_room() {
        let queue = Queue::default();
        while queue.put(1, &mut vec![0; 1000]) {}
        let mut room = std::pin::pin!(queue.room());
        let mut context = Context::from_waker(Waker::noop());
        assert!(room.as_mut().poll(&mut context).is_pending());
        queue.clear();
        assert!(room.as_mut().poll(&mut context).is_ready());
        assert_eq!(written(&queue), (Vec::new(), false));
    }
}
