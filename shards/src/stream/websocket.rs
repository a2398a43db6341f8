//! SIP over WebSocket, within TLS or not (RFC 7118, RFC 6455): how a connection becomes a WebSocket, and what is read from it.
//!
//! - [`upgrade`]: the request that a WebSocket begins with; [`frames`]: what messages are cut into.
//!
//! A connection at a listener for WebSockets is *upgraded* first: nothing is read as a message, and nothing names the
//! connection, before its request is accepted. That is bounded in bytes ([`upgrade::REQUEST_BYTES_MAX`]), in time and in how
//! many are at it at once. A request that is refused is told why, and the connection is closed; each reason has a counter.
//!
//! A message of SIP is one message of the WebSocket (RFC 7118 §5.1). CRLFs alone are a keep-alive: two are answered with one,
//! as a message (RFC 5626 §4.4.1), and what is a double CRLF on a stream when we send it is a ping here (RFC 7118 §6).
//!
//! Nothing is sent on a WebSocket that is closed, by whichever side: once what was put before is written we end our sending,
//! and wait for the end of the peer's for as long as any connection lingers.

pub(crate) mod frames;
pub(crate) mod upgrade;

use super::ages::Queue;
use super::connection::{Connection, Reading, Stage};
use super::{Step, Streams};
use crate::WebSocketOptions;
use frames::{End, Found, Frames, Opcode};
use sipfed_proto::{Counters, Source, Ticket};
use std::sync::Arc;
use upgrade::Refusal;

/// What a keep-alive of ours is on a stream (RFC 5626 §3.5.1), and on no WebSocket.
const PING_OF_STREAMS: &[u8] = b"\r\n\r\n";

/// What all connections that become WebSockets share.
#[derive(Debug)]
pub(super) struct Upgrades {
    /// How many are at it.
    count: usize,
    count_max: usize,
    /// Milliseconds that one may take.
    pub(super) ms_max: u64,
    origins: Arc<[String]>,
}

impl Upgrades {
    pub(super) fn new(options: &WebSocketOptions) -> Self {
        Self {
            count: 0,
            count_max: options.upgrades_per_shard_max as usize,
            ms_max: u64::from(options.upgrade_timeout_ms),
            origins: Arc::clone(&options.origins),
        }
    }

    /// Whether one more may be at it.
    pub(super) fn has_room(&self) -> bool {
        self.count < self.count_max
    }

    pub(super) fn begin(&mut self) {
        self.count += 1;
    }

    pub(super) fn end(&mut self) {
        self.count -= 1;
    }
}

impl Connection {
    /// Has a message, or a keep-alive, wait to be written as a frame; `false` when too much waits already.
    pub(super) fn put_in_frame(&mut self, message: &[u8], ticket: Ticket, bytes_max: usize) -> bool {
        match message {
            PING_OF_STREAMS => self.outbound.put(&frames::head(Opcode::Ping, 0), &[], ticket, bytes_max),
            _ => self.outbound.put(&frames::message_head(message), message, ticket, bytes_max),
        }
    }

    /// Has the end of a WebSocket wait to be written (RFC 6455 §5.5.1). One that finds no room is not missed by a peer that
    /// does not read.
    pub(super) fn put_close(&mut self, code: Option<u16>, bytes_max: usize) {
        let code = code.map(u16::to_be_bytes);
        let payload = code.as_ref().map_or(&[][..], |code| code);
        self.outbound.put(&frames::head(Opcode::Close, payload.len()), payload, Ticket::NONE, bytes_max);
    }
}

impl Streams {
    /// Has a connection whose keys are agreed on wait for its request, where there is room for that.
    pub(super) fn begin_upgrade(&mut self, slot: u32, step: &mut Step<'_>) {
        let has_room = self.upgrades.has_room();
        self.upgrades.begin();
        self.ages.put(slot, Queue::Upgrading, step.now);
        if !has_room {
            step.counters.ws_refused += 1;
            self.close(slot, step);
        }
    }

    /// Takes what has been read from a connection that is a WebSocket or becomes one: `len` bytes of the scratch.
    pub(super) fn take_websocket(
        &mut self,
        slot: u32,
        len: usize,
        step: &mut Step<'_>,
        take: &mut impl FnMut(&[u8], &Source),
    ) {
        let Some(connection) = self.table.get_mut(slot) else { return };
        let source = connection.source();
        let Connection { reading, outbound, .. } = connection;
        let frames = match reading {
            Reading::Frames(frames) => frames,
            Reading::Upgrade(upgrade) => {
                let judged = upgrade.push(&self.scratch[..len], &self.upgrades.origins);
                return judged.into_iter().for_each(|judged| self.answer_upgrade(slot, judged, step));
            }
            Reading::Stream(_) => return,
        };
        self.ages.put(slot, Queue::Open, step.now);
        let write_bytes_max = self.write_bytes_max;
        let mut answer = |head: &[u8], payload: &[u8]| {
            step.counters.keepalives += 1;
            // One that finds no room is not missed by a peer that does not read.
            outbound.put(head, payload, Ticket::NONE, write_bytes_max);
        };
        let read = frames.push(&mut self.scratch[..len], self.message_bytes_max, |found| match found {
            Found::Ping(payload) => answer(&frames::head(Opcode::Pong, payload.len()), payload),
            Found::Message(bytes) if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) => {
                if bytes.len() >= PING_OF_STREAMS.len() {
                    answer(&frames::head(Opcode::Text, 2), b"\r\n");
                }
            }
            Found::Message(bytes) => take(bytes, &source),
        });
        if let Err(end) = read {
            let is_breach = !matches!(end, End::Closed(_));
            step.counters.connections_broken += u64::from(is_breach);
            step.counters.dropped_too_long += u64::from(end == End::TooLong);
            connection.put_close(end.code(), write_bytes_max);
            self.linger(slot, step);
        }
    }

    fn answer_upgrade(&mut self, slot: u32, judged: Result<String, Refusal>, step: &mut Step<'_>) {
        let Some(connection) = self.table.get_mut(slot) else { return };
        self.upgrades.end();
        let (stage, queue, answer) = match judged {
            Ok(answer) => {
                step.counters.ws_upgrades += 1;
                connection.reading = Reading::Frames(Frames::default());
                (Stage::Open, Queue::Open, answer)
            }
            Err(refusal) => {
                *counter(refusal, step.counters) += 1;
                connection.reading = Reading::none();
                (Stage::Lingering, Queue::Lingering, refusal.answer())
            }
        };
        connection.stage = stage;
        connection.outbound.put(&[], answer.as_bytes(), Ticket::NONE, self.write_bytes_max);
        self.ages.put(slot, queue, step.now);
        self.mark_dirty(slot);
    }
}

fn counter(refusal: Refusal, counters: &mut Counters) -> &mut u64 {
    match refusal {
        Refusal::Malformed(_) => &mut counters.ws_malformed,
        Refusal::TooLong => &mut counters.ws_too_long,
        Refusal::NoUpgrade => &mut counters.ws_no_upgrade,
        Refusal::NoSubprotocol => &mut counters.ws_no_subprotocol,
        Refusal::Origin => &mut counters.ws_origin_refused,
    }
}
