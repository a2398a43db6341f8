//! What is said over a link, as bytes. Pure: bytes come in, frames or what is wrong with them come out.
//!
//! # Contract
//! [`Splitter`] is handed bytes as they arrive and gives whole frames, in their order. It never holds more than one frame
//! and what one reading brings, and takes no memory for what has not arrived, whatever a length says. After the first
//! [`Fault`] nothing that follows means anything: the connection has to be closed.
//!
//! # Layout, versions 1 and 2
//! Little-endian. Each frame: length of what follows (4), kind (1), content. A text is its length (1) and so many bytes of
//! UTF-8 without control characters; the last text of a frame has no length where the table says "the rest".
//!
//! | kind | what | content |
//! | --- | --- | --- |
//! | 1 | hello | lowest and highest version that is spoken, cluster_id, node_id (2 each), sip_addr and release (texts); what a later version puts behind these is passed over |
//! | 2 | refuse | code (1, [`super::greeting::Refusal`]), why (a text, the rest) |
//! | 3 | ping | number (8), then the node_id (2 each) of every node to which the sender has a link that is up |
//! | 4 | pong | number of the ping (8) |
//! | 5 | payload | channel (1), bytes (the rest) |
//! | 6 | close | why (a text, the rest) |
//! | 7 | ask, from version 2 on | number (8), the question (the rest) |
//! | 8 | answer, from version 2 on | number of the question (8), the answer (the rest); empty where it is turned down |
//!
//! Hello and refuse are the same in all versions, since they come before one is agreed upon. A kind that is not of the
//! version is a fault.

use crate::cluster::{Id, NODES_COUNT_MAX};
use std::fmt;

/// Bytes of a frame behind its length.
pub(super) const FRAME_BYTES_MAX: usize = 1 << 20;
/// The same for frames before the other side is known.
pub(super) const GREETING_BYTES_MAX: usize = 1024;
/// Bytes that a payload may have.
pub(crate) const PAYLOAD_BYTES_MAX: usize = FRAME_BYTES_MAX + LENGTH_BYTES - PAYLOAD_HEAD_BYTES;

/// Bytes of a question or of an answer.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 10;

const LENGTH_BYTES: usize = 4;
/// Length, kind and channel.
pub(super) const PAYLOAD_HEAD_BYTES: usize = LENGTH_BYTES + 2;
/// Bytes of why a link is refused or closed.
const WHY_BYTES_MAX: usize = 512;
/// What is asked for in one reading.
const READ_BYTES: usize = 16 << 10;

const HELLO: u8 = 1;
const REFUSE: u8 = 2;
const PING: u8 = 3;
const PONG: u8 = 4;
const PAYLOAD: u8 = 5;
const CLOSE: u8 = 6;
pub(super) const ASK: u8 = 7;
pub(super) const ANSWER: u8 = 8;

/// The versions that a node speaks, from the lowest to the highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) min: u16,
    pub(crate) max: u16,
}

/// Who somebody says that it is; nothing of it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) versions: Versions,
    pub(super) cluster_id: u16,
    pub(super) node_id: u16,
    pub(super) sip_addr: String,
    pub(super) release: String,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    Hello(Hello),
    Refuse { code: u8, why: &'a str },
    Ping { number: u64, neighbours: Vec<Id> },
    Pong { number: u64 },
    Payload { channel: u8, bytes: &'a [u8] },
    Close { why: &'a str },
    Ask { number: u64, bytes: &'a [u8] },
    Answer { number: u64, bytes: &'a [u8] },
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Without so much as a kind.
    Empty,
    /// Longer than is allowed, by this length.
    TooLong(u32),
    /// Of a kind that nobody knows.
    Kind(u8),
    /// Shorter or longer than its content, or with content that cannot be.
    Content(u8),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a frame without content"),
            Self::TooLong(length) => write!(f, "a frame of {length} bytes, which is too long"),
            Self::Kind(kind) => write!(f, "a frame of the unknown kind {kind}"),
            Self::Content(kind) => write!(f, "a broken frame of kind {kind}"),
        }
    }
}

impl Frame<'_> {
    /// Writes the frame behind what `out` has.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; LENGTH_BYTES]);
        match self {
            Self::Hello(hello) => {
                out.push(HELLO);
                for number in [hello.versions.min, hello.versions.max, hello.cluster_id, hello.node_id] {
                    out.extend_from_slice(&number.to_le_bytes());
                }
                for text in [&hello.sip_addr, &hello.release] {
                    let text = cut(text, u8::MAX.into());
                    out.push(text.len() as u8);
                    out.extend_from_slice(text.as_bytes());
                }
            }
            Self::Refuse { code, why } => {
                out.extend_from_slice(&[REFUSE, *code]);
                out.extend_from_slice(cut(why, WHY_BYTES_MAX).as_bytes());
            }
            Self::Ping { number, neighbours } => {
                out.push(PING);
                out.extend_from_slice(&number.to_le_bytes());
                out.extend(neighbours.iter().flat_map(|id| id.get().to_le_bytes()));
            }
            Self::Pong { number } => {
                out.push(PONG);
                out.extend_from_slice(&number.to_le_bytes());
            }
            Self::Payload { channel, bytes } => {
                out.truncate(start);
                out.extend_from_slice(&payload_head(*channel, bytes.len()));
                out.extend_from_slice(bytes);
            }
            Self::Close { why } => {
                out.push(CLOSE);
                out.extend_from_slice(cut(why, WHY_BYTES_MAX).as_bytes());
            }
            Self::Ask { number, bytes } | Self::Answer { number, bytes } => {
                out.push(if matches!(self, Self::Ask { .. }) { ASK } else { ANSWER });
                out.extend_from_slice(&number.to_le_bytes());
                out.extend_from_slice(bytes);
            }
        }
        let length = (out.len() - start - LENGTH_BYTES) as u32;
        out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    }
}

/// What stands before a payload of that many bytes.
pub(super) fn payload_head(channel: u8, bytes: usize) -> [u8; PAYLOAD_HEAD_BYTES] {
    let [a, b, c, d] = ((PAYLOAD_HEAD_BYTES - LENGTH_BYTES + bytes) as u32).to_le_bytes();
    [a, b, c, d, PAYLOAD, channel]
}

/// As much of the text as `bytes_max` has room for.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// Frames out of a stream. See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    bytes: Vec<u8>,
    /// Where the next frame begins.
    start: usize,
}

impl Splitter {
    /// Where what is read next has to be put behind what is there; with room for a reading.
    pub(super) fn room(&mut self) -> &mut Vec<u8> {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.reserve(READ_BYTES);
        &mut self.bytes
    }

    /// Whether the next frame is there and is a ping.
    pub(super) fn is_ping_next(&self) -> bool {
        matches!(self.whole(FRAME_BYTES_MAX), Ok(Some(frame)) if frame[0] == PING)
    }

    /// The next frame if all of it is there; it has `bytes_max` at most.
    pub(super) fn next(&mut self, bytes_max: usize) -> Result<Option<Frame<'_>>, Fault> {
        let Some(length) = self.whole(bytes_max)?.map(<[u8]>::len) else { return Ok(None) };
        let from = self.start + LENGTH_BYTES;
        self.start = from + length;
        read(&self.bytes[from..from + length]).map(Some)
    }

    /// Kind and content of the next frame, if all of it is there.
    fn whole(&self, bytes_max: usize) -> Result<Option<&[u8]>, Fault> {
        let Some((length, rest)) = self.bytes[self.start..].split_first_chunk() else { return Ok(None) };
        match u32::from_le_bytes(*length) {
            0 => Err(Fault::Empty),
            length if length as usize > bytes_max => Err(Fault::TooLong(length)),
            length => Ok(rest.get(..length as usize)),
        }
    }
}

/// Reads kind and content of a frame.
fn read(frame: &[u8]) -> Result<Frame<'_>, Fault> {
    let (kind, mut rest) = frame.split_first().ok_or(Fault::Empty)?;
    let kind = *kind;
    if !(HELLO..=ANSWER).contains(&kind) {
        return Err(Fault::Kind(kind));
    }
    content(kind, &mut rest).filter(|_| rest.is_empty() || kind == HELLO).ok_or(Fault::Content(kind))
}

/// Takes the content of a frame off `rest`; `None` where it cannot be.
fn content<'a>(kind: u8, rest: &mut &'a [u8]) -> Option<Frame<'a>> {
    Some(match kind {
        HELLO => {
            let [min, max, cluster_id, node_id] = [number(rest)?, number(rest)?, number(rest)?, number(rest)?];
            let [sip_addr, release] = [text(rest)?.to_owned(), text(rest)?.to_owned()];
            let versions = Some(Versions { min, max }).filter(|versions| versions.min <= versions.max)?;
            Frame::Hello(Hello { versions, cluster_id, node_id, sip_addr, release })
        }
        REFUSE => {
            let code = *rest.split_off_first()?;
            Frame::Refuse { code, why: why(rest)? }
        }
        PING => {
            let number = long(rest)?;
            let (ids, []) = std::mem::take(rest).as_chunks() else { return None };
            if ids.len() > NODES_COUNT_MAX {
                return None;
            }
            let ids = ids.iter().map(|id| Id::new(u16::from_le_bytes(*id).into()));
            Frame::Ping { number, neighbours: ids.collect::<Option<_>>()? }
        }
        PONG => Frame::Pong { number: long(rest)? },
        PAYLOAD => {
            let channel = *rest.split_off_first()?;
            Frame::Payload { channel, bytes: std::mem::take(rest) }
        }
        CLOSE => Frame::Close { why: why(rest)? },
        ASK | ANSWER => {
            let number = long(rest)?;
            let bytes = Some(std::mem::take(rest)).filter(|bytes| bytes.len() <= MESSAGE_BYTES_MAX)?;
            if kind == ASK { Frame::Ask { number, bytes } } else { Frame::Answer { number, bytes } }
        }
        _ => return None,
    })
}

fn number(rest: &mut &[u8]) -> Option<u16> {
    rest.split_off(..2)?.as_array().map(|bytes| u16::from_le_bytes(*bytes))
}

fn long(rest: &mut &[u8]) -> Option<u64> {
    rest.split_off(..8)?.as_array().map(|bytes| u64::from_le_bytes(*bytes))
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let length = *rest.split_off_first()?;
    printable(rest.split_off(..usize::from(length))?)
}

fn why<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    printable(std::mem::take(rest)).filter(|text| text.len() <= WHY_BYTES_MAX)
}

fn printable(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(number: u16) -> Id {
        Id::new(number.into()).unwrap()
    }

    fn hello() -> Hello {
        Hello {
            versions: Versions { min: 1, max: 2 },
            cluster_id: 1,
            node_id: 3,
            sip_addr: "192.0.2.1:5070".to_owned(),
            release: "0.1.0".to_owned(),
        }
    }

    fn frames() -> Vec<Frame<'static>> {
        vec![
            Frame::Hello(hello()),
            Frame::Refuse { code: 3, why: "no node 3" },
            Frame::Ping { number: u64::MAX, neighbours: vec![id(1), id(0xffff)] },
            Frame::Ping { number: 0, neighbours: Vec::new() },
            Frame::Pong { number: 7 },
            Frame::Payload { channel: 9, bytes: b"\0\xff" },
            Frame::Payload { channel: 0, bytes: b"" },
            Frame::Close { why: "" },
            Frame::Ask { number: 1 << 40, bytes: b"?" },
            Frame::Answer { number: u64::MAX, bytes: b"" },
        ]
    }

    fn written(frame: &Frame<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame.write(&mut bytes);
        bytes
    }

    fn splitter(bytes: &[u8]) -> Splitter {
        Splitter { bytes: bytes.to_vec(), start: 0 }
    }

    #[test]
    fn what_is_written_is_read_however_it_arrives() {
        let stream: Vec<u8> = frames().iter().flat_map(written).collect();
        for step in [1, 2, 3, 7, stream.len()] {
            let (mut splitter, mut seen) = (Splitter::default(), 0);
            for piece in stream.chunks(step) {
                splitter.room().extend_from_slice(piece);
                while let Some(frame) = splitter.next(FRAME_BYTES_MAX).unwrap() {
                    assert_eq!(frame, frames()[seen]);
                    seen += 1;
                }
            }
            assert_eq!(seen, frames().len());
        }
    }

    #[test]
    fn the_layout_is_that_of_the_table() {
        let bytes = written(&Frame::Ping { number: 2, neighbours: vec![id(0x0102)] });
        assert_eq!(bytes, [11, 0, 0, 0, PING, 2, 0, 0, 0, 0, 0, 0, 0, 2, 1]);
        let bytes = written(&Frame::Hello(hello()));
        assert_eq!(bytes[..14], [30, 0, 0, 0, HELLO, 1, 0, 2, 0, 1, 0, 3, 0, 14]);
        assert!(bytes.ends_with(b"192.0.2.1:5070\x050.1.0"));
    }

    #[test]
    fn a_later_hello_may_say_more_and_nothing_else_may() {
        let mut bytes = written(&Frame::Hello(hello()));
        bytes.extend_from_slice(b"more");
        bytes[0] += 4;
        assert_eq!(splitter(&bytes).next(GREETING_BYTES_MAX), Ok(Some(Frame::Hello(hello()))));
        let mut bytes = written(&Frame::Pong { number: 7 });
        bytes.push(0);
        bytes[0] += 1;
        assert_eq!(splitter(&bytes).next(FRAME_BYTES_MAX), Err(Fault::Content(PONG)));
    }

    #[test]
    fn what_is_no_frame_is_a_fault() {
        let too_long = (FRAME_BYTES_MAX as u32 + 1).to_le_bytes();
        let long_question = written(&Frame::Ask { number: 1, bytes: &vec![0; MESSAGE_BYTES_MAX + 1] });
        let newline = written(&Frame::Close { why: "a\nb" });
        let backwards = written(&Frame::Hello(Hello { versions: Versions { min: 2, max: 1 }, ..hello() }));
        let crowd = written(&Frame::Ping { number: 1, neighbours: vec![id(1); NODES_COUNT_MAX + 1] });
        for (bytes, fault) in [
            (&[0, 0, 0, 0][..], Fault::Empty),
            (&too_long, Fault::TooLong(FRAME_BYTES_MAX as u32 + 1)),
            (&[1, 0, 0, 0, 0], Fault::Kind(0)),
            (&[1, 0, 0, 0, 9], Fault::Kind(9)),
            (&long_question, Fault::Content(ASK)),
            (&[8, 0, 0, 0, ANSWER, 1, 2, 3, 4, 5, 6, 7], Fault::Content(ANSWER)),
            (&[1, 0, 0, 0, PAYLOAD], Fault::Content(PAYLOAD)),
            (&[10, 0, 0, 0, PING, 1, 0, 0, 0, 0, 0, 0, 0, 1], Fault::Content(PING)),
            (&[11, 0, 0, 0, PING, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0], Fault::Content(PING)),
            (&crowd, Fault::Content(PING)),
            (&newline, Fault::Content(CLOSE)),
            (&[2, 0, 0, 0, CLOSE, 0xff], Fault::Content(CLOSE)),
            (&backwards, Fault::Content(HELLO)),
        ] {
            assert_eq!(splitter(bytes).next(FRAME_BYTES_MAX), Err(fault), "{bytes:?}");
        }
        let bytes = written(&Frame::Payload { channel: 1, bytes: &[0; GREETING_BYTES_MAX] });
        assert!(matches!(splitter(&bytes).next(GREETING_BYTES_MAX), Err(Fault::TooLong(_))));
        assert!(matches!(splitter(&bytes).next(FRAME_BYTES_MAX), Ok(Some(_))));
    }

    #[test]
    fn a_length_alone_takes_no_memory() {
        let mut splitter = Splitter::default();
        splitter.room().extend_from_slice(&(FRAME_BYTES_MAX as u32).to_le_bytes());
        assert_eq!(splitter.next(FRAME_BYTES_MAX), Ok(None));
        splitter.room();
        assert!(splitter.bytes.capacity() <= 4 * READ_BYTES, "{}", splitter.bytes.capacity());
    }

    #[test]
    fn texts_are_cut_to_what_the_other_side_takes() {
        let long = "é".repeat(WHY_BYTES_MAX);
        let bytes = written(&Frame::Refuse { code: 1, why: &long });
        let whole = splitter(&bytes).next(GREETING_BYTES_MAX).map(|frame| frame.is_some());
        assert_eq!(whole, Ok(true));
        let bytes = written(&Frame::Hello(Hello { release: long, ..hello() }));
        assert!(matches!(splitter(&bytes).next(GREETING_BYTES_MAX), Ok(Some(Frame::Hello(_)))));
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_are_frames_or_a_fault(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
            bytes_max in 1..=FRAME_BYTES_MAX,
        ) {
            let (mut splitter, mut given, mut got) = (Splitter::default(), 0, 0);
            'stream: for piece in pieces {
                splitter.room().extend_from_slice(&piece);
                given += piece.len();
                loop {
                    match splitter.next(bytes_max) {
                        Ok(Some(Frame::Payload { bytes, .. })) => got += bytes.len(),
                        Ok(Some(Frame::Ping { neighbours, .. })) => got += 2 * neighbours.len(),
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => break 'stream,
                    }
                }
            }
            prop_assert!(got <= given);
        }

        #[test]
        fn any_content_of_any_kind_is_a_frame_that_is_written_alike_or_a_fault(
            kind in 0..10_u8,
            content in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let mut bytes = vec![kind];
            bytes.extend_from_slice(&content);
            if let Ok(frame) = read(&bytes) {
                let again = written(&frame);
                // A hello may have had more behind it.
                prop_assert!(bytes.starts_with(&again[LENGTH_BYTES..]));
            }
        }
    }
}
