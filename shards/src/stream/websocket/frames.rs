//! The frames of one WebSocket, on the side of the server (RFC 6455 §5).
//!
//! In: whatever pieces the connection arrives in. Out: whole messages, each exactly once and in order, and pings; and the
//! heads of the frames that we send. It is pure: no socket, no clock. A message that lies whole within one piece is
//! unmasked and handed out in place; only what is cut is kept, so that a connection at rest holds no buffer.
//!
//! - A client masks all that it sends (§5.1), uses no extension, since none is ever agreed on (§5.2), and writes lengths as
//!   short as they can be (§5.2). Whatever else comes ends the connection, for the reason that [`End`] tells.
//! - The fragments of a message are joined; control frames may stand between them (§5.4). Text has to be UTF-8 (§8.1).
//!
//! Bounds: a message has at most the size that is handed in, which the length in a frame's head is held against before
//! anything of the frame is kept; no more is kept than that, the head of one frame and the 125 bytes of a control frame.

use arrayvec::ArrayVec;

/// Bytes that a control frame may carry (§5.5).
const CONTROL_BYTES_MAX: usize = 125;
/// Bytes of the longest head of a frame that we send, which has no mask.
const HEAD_BYTES_MAX: usize = 10;

/// What a client has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// One whole message, be it text or binary.
    Message(&'a [u8]),
    /// A ping, with what its pong has to bring back (§5.5.2).
    Ping(&'a [u8]),
}

/// Why nothing more is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client has closed the WebSocket, with this code or with none (§5.5.1).
    Closed(Option<u16>),
    /// What came breaks the protocol.
    Breach,
    /// Text that is no UTF-8.
    NotUtf8,
    /// A message is longer than allowed.
    TooLong,
}

impl End {
    /// The code that we close with (§7.4.1); a code of the client's goes back to it.
    pub(crate) fn code(self) -> Option<u16> {
        match self {
            Self::Closed(code) => code,
            Self::Breach => Some(1002),
            Self::NotUtf8 => Some(1007),
            Self::TooLong => Some(1009),
        }
    }
}

/// The code with which a server closes a WebSocket that it has no more use for (§7.4.1).
pub(crate) const GOING_AWAY: u16 = 1001;

/// What a frame is (§5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    /// It goes on with the message that has begun.
    Continuation,
    /// It begins a message of text.
    Text,
    /// It begins another message.
    Binary,
    /// Nothing follows.
    Close,
    /// A pong is asked for.
    Ping,
    /// The answer to a ping.
    Pong,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The head of a frame that a client sends.
#[derive(Clone, Copy, Debug)]
struct Head {
    opcode: Opcode,
    /// Whether the message ends with it.
    is_last: bool,
    key: [u8; 4],
    /// Bytes of the head itself.
    len: usize,
    payload_len: usize,
}

/// What a buffer begins with.
enum Beginning {
    /// A whole head, of a frame that may not be whole.
    Frame(Head),
    /// A part of a head, which has at least so many bytes.
    Part(usize),
}

/// The frames that a client sends.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// The fragments of the message that has begun, joined, and behind them the beginning of a frame that is cut.
    held: Vec<u8>,
    /// Bytes of the former.
    joined_len: u32,
    /// Whether the message that has begun is text; `None` where none has.
    joining_text: Option<bool>,
}

impl Frames {
    /// Takes the next piece of the connection, unmasks it in place, and hands everything that it completes to `found`. A
    /// message may have at most `bytes_max` bytes, which must not change between calls.
    pub(crate) fn push(
        &mut self,
        piece: &mut [u8],
        bytes_max: usize,
        mut found: impl FnMut(Found<'_>),
    ) -> Result<(), End> {
        let mut rest = piece;
        while !rest.is_empty() {
            if self.is_cut() {
                rest = self.complete(rest, bytes_max, &mut found)?;
                continue;
            }
            match self.beginning(rest, bytes_max)? {
                Beginning::Frame(head) if rest.len() - head.len >= head.payload_len => {
                    let (frame, behind) = rest.split_at_mut(head.len + head.payload_len);
                    self.take(head, &mut frame[head.len..], &mut found)?;
                    rest = behind;
                }
                Beginning::Frame(_) | Beginning::Part(_) => {
                    self.held.extend_from_slice(rest);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Whether a frame has begun and not ended.
    fn is_cut(&self) -> bool {
        self.held.len() > self.joined_len as usize
    }

    /// Goes on with the frame that is cut, and returns what lies behind what it needed.
    fn complete<'p>(
        &mut self,
        piece: &'p mut [u8],
        bytes_max: usize,
        found: &mut impl FnMut(Found<'_>),
    ) -> Result<&'p mut [u8], End> {
        let begin = self.joined_len as usize;
        let needed = |beginning: &Beginning| match beginning {
            Beginning::Frame(head) => head.len + head.payload_len,
            Beginning::Part(len) => *len,
        };
        let cut = self.beginning(&self.held[begin..], bytes_max)?;
        let missing = needed(&cut) - (self.held.len() - begin);
        let (taken, behind) = piece.split_at_mut(missing.min(piece.len()));
        self.held.extend_from_slice(taken);
        if let Beginning::Frame(head) = self.beginning(&self.held[begin..], bytes_max)?
            && self.held.len() - begin == head.len + head.payload_len
        {
            self.take_held(head, found)?;
        }
        Ok(behind)
    }

    /// Takes a whole frame whose payload lies in a piece.
    fn take(&mut self, head: Head, payload: &mut [u8], found: &mut impl FnMut(Found<'_>)) -> Result<(), End> {
        unmask(payload, head.key);
        if head.opcode.is_control() {
            return control(head.opcode, payload, found);
        }
        if head.is_last && self.joining_text.is_none() {
            return deliver(payload, head.opcode == Opcode::Text, found);
        }
        let mut joined = std::mem::take(&mut self.held);
        joined.extend_from_slice(payload);
        self.join(head, joined, found)
    }

    /// Takes the frame that was cut, which is whole now.
    fn take_held(&mut self, head: Head, found: &mut impl FnMut(Found<'_>)) -> Result<(), End> {
        let mut held = std::mem::take(&mut self.held);
        let begin = self.joined_len as usize;
        let payload = &mut held[begin + head.len..];
        unmask(payload, head.key);
        if head.opcode.is_control() {
            let taken = control(head.opcode, payload, found);
            if begin > 0 {
                held.truncate(begin);
                self.held = held;
            }
            return taken;
        }
        held.drain(begin..begin + head.len);
        self.join(head, held, found)
    }

    /// Takes note of a message as far as it has come.
    fn join(&mut self, head: Head, joined: Vec<u8>, found: &mut impl FnMut(Found<'_>)) -> Result<(), End> {
        let is_text = self.joining_text.unwrap_or(head.opcode == Opcode::Text);
        if head.is_last {
            (self.joined_len, self.joining_text) = (0, None);
            return deliver(&joined, is_text, found);
        }
        (self.joined_len, self.joining_text) = (joined.len() as u32, Some(is_text));
        self.held = joined;
        Ok(())
    }

    /// Judges what `bytes` begin with, as early as something is wrong with it.
    fn beginning(&self, bytes: &[u8], bytes_max: usize) -> Result<Beginning, End> {
        let (opcode, is_last) = match bytes.first() {
            None => return Ok(Beginning::Part(2)),
            // The three reserved bits belong to extensions (§5.2).
            Some(first) if first & 0x70 != 0 => return Err(End::Breach),
            Some(first) => (Opcode::from_bits(first & 0x0f).ok_or(End::Breach)?, first & 0x80 != 0),
        };
        let is_in_place = match opcode {
            Opcode::Continuation => self.joining_text.is_some(),
            Opcode::Text | Opcode::Binary => self.joining_text.is_none(),
            Opcode::Close | Opcode::Ping | Opcode::Pong => is_last,
        };
        if !is_in_place {
            return Err(End::Breach);
        }
        let Some(second) = bytes.get(1) else { return Ok(Beginning::Part(2)) };
        let short_len = second & 0x7f;
        if second & 0x80 == 0 || opcode.is_control() && usize::from(short_len) > CONTROL_BYTES_MAX {
            return Err(End::Breach);
        }
        let length_len = match short_len {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let len = 2 + length_len + 4;
        let Some(head) = bytes.get(..len) else { return Ok(Beginning::Part(len)) };
        let long_len = head[2..2 + length_len].iter().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
        let payload_len = match length_len {
            2 if long_len > 125 => long_len,
            8 if long_len > 0xffff && long_len >> 63 == 0 => long_len,
            0 => short_len.into(),
            _ => return Err(End::Breach),
        };
        if !opcode.is_control() && payload_len > (bytes_max - self.joined_len as usize) as u64 {
            return Err(End::TooLong);
        }
        let key = [head[len - 4], head[len - 3], head[len - 2], head[len - 1]];
        Ok(Beginning::Frame(Head { opcode, is_last, key, len, payload_len: payload_len as usize }))
    }
}

fn control(opcode: Opcode, payload: &[u8], found: &mut impl FnMut(Found<'_>)) -> Result<(), End> {
    match opcode {
        Opcode::Close => return Err(end_of(payload)),
        Opcode::Ping => found(Found::Ping(payload)),
        // A pong that nobody has asked for is one too (§5.5.3).
        _ => {}
    }
    Ok(())
}

/// What a Close frame says (§5.5.1): nothing, or a code that may be sent (§7.4) and a reason.
fn end_of(payload: &[u8]) -> End {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { End::Closed(None) } else { End::Breach };
    };
    let code = u16::from_be_bytes(*code);
    match code {
        _ if std::str::from_utf8(reason).is_err() => End::NotUtf8,
        1000..=1003 | 1007..=1014 | 3000..=4999 => End::Closed(Some(code)),
        _ => End::Breach,
    }
}

fn deliver(message: &[u8], is_text: bool, found: &mut impl FnMut(Found<'_>)) -> Result<(), End> {
    if is_text && std::str::from_utf8(message).is_err() {
        return Err(End::NotUtf8);
    }
    found(Found::Message(message));
    Ok(())
}

/// §5.3: each byte is combined with one of the four of the key, in turn.
fn unmask(payload: &mut [u8], key: [u8; 4]) {
    let (words, rest) = payload.as_chunks_mut();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(key)).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key) {
        *byte ^= key;
    }
}

/// The head of a whole frame of ours with so many bytes behind it; nothing that a server sends is masked (§5.1).
pub(crate) fn head(opcode: Opcode, payload_len: usize) -> ArrayVec<u8, HEAD_BYTES_MAX> {
    let mut head = ArrayVec::new();
    head.push(0x80 | opcode.bits());
    match payload_len {
        0..=125 => head.push(payload_len as u8),
        126..=0xffff => {
            head.push(126);
            head.extend((payload_len as u16).to_be_bytes());
        }
        _ => {
            head.push(127);
            head.extend((payload_len as u64).to_be_bytes());
        }
    }
    head
}

/// The head for a message: text where it can be, which is what every script reads (RFC 7118 §4.2).
pub(crate) fn message_head(message: &[u8]) -> ArrayVec<u8, HEAD_BYTES_MAX> {
    let is_text = std::str::from_utf8(message).is_ok();
    head(if is_text { Opcode::Text } else { Opcode::Binary }, message.len())
}

#[cfg(test)]
pub(crate) mod tests;
