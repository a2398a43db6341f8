//! Where one message ends and the next begins on a stream (RFC 3261 §18.3, RFC 5626 §3.5.1).
//!
//! In: whatever pieces a stream arrives in. Out: whole messages, each exactly once and in order, and pings.
//! It is pure: no socket, no clock. A message that lies whole within one piece is handed out in place;
//! only what is cut is kept, so that a connection at rest holds no buffer.
//!
//! - A message ends Content-Length bytes behind its empty line. On a stream the header field must be there
//!   (RFC 3261 §20.14), as one number, in its long or compact form, folded or not; when it is missing, no
//!   number, too large, or given twice with different numbers, nobody can tell where the next message begins.
//! - CRLFs between messages are skipped (RFC 3261 §7.5). Two in a row are a ping (RFC 5626 §3.5.1).
//!
//! Bounds: header section and body together take at most the size the framing is made with, and no more
//! than that is ever kept. After a [`Broken`] the stream cannot be read on.

use memchr::memmem;

/// What was found on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// One whole message.
    Message(&'a [u8]),
    /// The header section of a message whose end cannot be found: it can be answered, but nothing behind it
    /// can be read. [`Broken`] follows.
    HeadOnly(&'a [u8]),
    /// A double CRLF, which asks for a single one as the answer (RFC 5626 §3.5.1).
    Ping,
}

/// Why a stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// A message is longer than allowed.
    TooLong,
    /// There is no usable Content-Length.
    NoLength,
}

/// The framing of one stream.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    /// The beginning of a message whose end has not arrived.
    partial: Vec<u8>,
    /// Bytes of `partial` in which the empty line is known not to begin.
    scanned: u32,
    /// Bytes of the message as a whole, once its header section is there; 0 before.
    message_len: u32,
    /// How much of a double CRLF has been seen between two messages.
    ping_seen: u8,
}

/// What a buffer begins with.
enum Beginning {
    /// A whole message of so many bytes.
    Message(usize),
    /// A part of one. `scanned` and `message_len` are as in [`Framing`].
    Part { scanned: usize, message_len: usize },
    /// A header section of so many bytes without a usable length.
    HeadOnly(usize),
    /// More than allowed.
    TooLong,
}

impl Framing {
    /// The framing of a stream that nothing has arrived on.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Whether a message has begun and not ended.
    pub(crate) fn is_within_message(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Takes the next piece of the stream and hands everything that it completes to `found`. A message may
    /// have at most `bytes_max` bytes, which must not change between calls.
    pub(crate) fn push(
        &mut self,
        piece: &[u8],
        bytes_max: usize,
        mut found: impl FnMut(Frame<'_>),
    ) -> Result<(), Broken> {
        let mut rest = piece;
        if self.is_within_message() {
            rest = self.complete(rest, bytes_max, &mut found)?;
            if self.is_within_message() {
                return Ok(());
            }
        }
        loop {
            rest = self.skip_line_ends(rest, &mut found);
            if rest.is_empty() {
                return Ok(());
            }
            match beginning(rest, 0, 0, bytes_max) {
                Beginning::Message(len) => {
                    found(Frame::Message(&rest[..len]));
                    rest = &rest[len..];
                }
                Beginning::Part { scanned, message_len } => {
                    self.partial.extend_from_slice(rest);
                    (self.scanned, self.message_len) = (scanned as u32, message_len as u32);
                    return Ok(());
                }
                Beginning::HeadOnly(len) => {
                    found(Frame::HeadOnly(&rest[..len]));
                    return Err(Broken::NoLength);
                }
                Beginning::TooLong => return Err(Broken::TooLong),
            }
        }
    }

    /// Goes on with the message that has begun, and returns what lies behind it.
    fn complete<'p>(
        &mut self,
        piece: &'p [u8],
        bytes_max: usize,
        found: &mut impl FnMut(Frame<'_>),
    ) -> Result<&'p [u8], Broken> {
        // More than one whole message is never needed, nor kept.
        let missing = match self.message_len {
            0 => bytes_max + 1 - self.partial.len().min(bytes_max),
            len => len as usize - self.partial.len(),
        };
        let held = self.partial.len();
        let (taken, _) = piece.split_at(missing.min(piece.len()));
        self.partial.extend_from_slice(taken);
        let beginning = beginning(&self.partial, self.scanned as usize, self.message_len as usize, bytes_max);
        match beginning {
            Beginning::Message(len) => {
                let message = self.reset();
                found(Frame::Message(&message[..len]));
                Ok(&piece[len - held..])
            }
            Beginning::Part { scanned, message_len } => {
                (self.scanned, self.message_len) = (scanned as u32, message_len as u32);
                Ok(&[])
            }
            Beginning::HeadOnly(len) => {
                found(Frame::HeadOnly(&self.reset()[..len]));
                Err(Broken::NoLength)
            }
            Beginning::TooLong => {
                self.reset();
                Err(Broken::TooLong)
            }
        }
    }

    /// Gives up what is held.
    fn reset(&mut self) -> Vec<u8> {
        (self.scanned, self.message_len) = (0, 0);
        std::mem::take(&mut self.partial)
    }

    /// Skips the CRLFs before a message and tells of pings among them.
    fn skip_line_ends<'p>(&mut self, piece: &'p [u8], found: &mut impl FnMut(Frame<'_>)) -> &'p [u8] {
        const PING: &[u8; 4] = b"\r\n\r\n";
        for (index, &byte) in piece.iter().enumerate() {
            if byte != b'\r' && byte != b'\n' {
                self.ping_seen = 0;
                return &piece[index..];
            }
            self.ping_seen = match self.ping_seen {
                seen if PING[usize::from(seen)] == byte => seen + 1,
                _ => u8::from(byte == b'\r'),
            };
            if usize::from(self.ping_seen) == PING.len() {
                self.ping_seen = 0;
                found(Frame::Ping);
            }
        }
        &[]
    }
}

/// Judges what `bytes` begin with. The empty line begins at `scanned` or behind it; `message_len` is that of
/// an earlier call which had found the whole header section, or 0.
fn beginning(bytes: &[u8], scanned: usize, message_len: usize, bytes_max: usize) -> Beginning {
    if message_len != 0 {
        let is_whole = bytes.len() >= message_len;
        return if is_whole { Beginning::Message(message_len) } else { Beginning::Part { scanned, message_len } };
    }
    let window = &bytes[..bytes.len().min(bytes_max)];
    let Some(at) = memmem::find(&window[scanned.min(window.len())..], b"\r\n\r\n") else {
        let scanned = bytes.len().saturating_sub(3);
        return if bytes.len() >= bytes_max { Beginning::TooLong } else { Beginning::Part { scanned, message_len: 0 } };
    };
    let head_len = scanned + at + 4;
    match content_length(&bytes[..head_len]) {
        None => Beginning::HeadOnly(head_len),
        Some(body_len) if body_len > (bytes_max - head_len) as u64 => Beginning::TooLong,
        Some(body_len) => beginning(bytes, scanned, head_len + body_len as usize, bytes_max),
    }
}

/// The Content-Length of a header section with its start line; `None` unless there is exactly one number.
fn content_length(head: &[u8]) -> Option<u64> {
    let mut length = None;
    let mut rest = head;
    // The start line is no header field, but has no name that could be taken for one either.
    while let Some(end) = memmem::find(rest, b"\r\n") {
        let (line, behind) = (&rest[..end], &rest[end + 2..]);
        rest = behind;
        let Some(value) = length_value(line) else { continue };
        // A line that begins with white space continues the one before (RFC 3261 §7.3.1).
        let folds = folded_len(rest);
        let number = number(&[value, &rest[..folds]])?;
        if length.is_some_and(|earlier| earlier != number) {
            return None;
        }
        length = Some(number);
        rest = &rest[folds..];
    }
    length
}

/// What stands behind the colon when `line` is a Content-Length.
fn length_value(line: &[u8]) -> Option<&[u8]> {
    let colon = memchr::memchr(b':', line)?;
    let name = line[..colon].trim_ascii_end();
    let is_length = name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"l");
    is_length.then(|| &line[colon + 1..])
}

/// Bytes of the lines at the beginning of `rest` that continue the line before them.
fn folded_len(rest: &[u8]) -> usize {
    let mut len = 0;
    while matches!(rest.get(len), Some(b' ' | b'\t')) {
        match memmem::find(&rest[len..], b"\r\n") {
            Some(end) => len += end + 2,
            None => break,
        }
    }
    len
}

/// The number that the pieces of a header field's value make up; white space may stand around it only.
fn number(pieces: &[&[u8]]) -> Option<u64> {
    let mut digits =
        pieces.iter().flat_map(|piece| piece.iter().copied()).skip_while(u8::is_ascii_whitespace).peekable();
    digits.peek()?;
    let mut number = 0_u64;
    while let Some(digit) = digits.next_if(u8::is_ascii_digit) {
        number = number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    // Something must have been read, and nothing but white space may follow.
    let has_digit = pieces.iter().flat_map(|p| p.iter()).find(|b| !b.is_ascii_whitespace())?.is_ascii_digit();
    (has_digit && digits.all(|b| b.is_ascii_whitespace())).then_some(number)
}

#[cfg(test)]
mod tests;
