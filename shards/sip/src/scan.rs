//! The scan: one pass over the header section that finds every line and names the fields it knows.
//!
//! Lines end with CRLF and nothing else: a lone CR or LF is a fault, since what another element would take
//! for a line end must not pass through us as text (request smuggling). So is any other control character but a
//! tab: NUL, VT and FF end strings or lines somewhere. They are legal only as quoted-pairs (RFC 3261 §25.1).

use crate::chars::{self, SPACE, TOKEN};
use crate::controls::Controls;
use crate::fault::{Fault, ScanError};
use crate::header::HeaderName;
use crate::message::Message;

/// Bytes of one message; offsets are kept in 16 bits.
pub const MESSAGE_BYTES_MAX: usize = 65_535;
/// Header field lines of one message.
pub const HEADERS_COUNT_MAX: usize = 256;

/// Lines that are looked at, those included that are no header fields.
const LINES_COUNT_MAX: usize = 2 * HEADERS_COUNT_MAX;

/// No further field of that name.
const NONE: u16 = u16::MAX;

const _: () = {
    assert!(MESSAGE_BYTES_MAX <= u16::MAX as usize);
    assert!(HEADERS_COUNT_MAX < NONE as usize);
};

/// One header field line, as offsets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) name: HeaderName,
    /// The next entry of that name.
    pub(crate) next_same: u16,
    pub(crate) line_start: u16,
    pub(crate) value_start: u16,
    pub(crate) value_end: u16,
    pub(crate) line_end: u16,
}

/// The start line, as offsets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    Request { method_end: u16, uri: (u16, u16) },
    Response { status: u16, reason: (u16, u16) },
}

/// Where the parts of a message lie. Used again from message to message; the scan allocates only until it has
/// grown to the longest message seen, [`HEADERS_COUNT_MAX`] entries at most.
#[derive(Debug)]
pub struct Index {
    pub(crate) entries: Vec<Entry>,
    /// The first entry of each name.
    pub(crate) first: [u16; HeaderName::COUNT],
    /// The last entry of each name that has a first.
    last: [u16; HeaderName::COUNT],
    pub(crate) start: Start,
    pub(crate) start_line: (u16, u16),
    pub(crate) headers_end: u16,
    pub(crate) body: (u16, u16),
    pub(crate) fault: Option<Fault>,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            entries: Vec::with_capacity(32),
            first: [NONE; HeaderName::COUNT],
            last: [NONE; HeaderName::COUNT],
            start: Start::Response { status: 0, reason: (0, 0) },
            start_line: (0, 0),
            headers_end: 0,
            body: (0, 0),
            fault: None,
        }
    }
}

/// Scans the message in `bytes`, which is one datagram or one framed message of a stream.
///
/// What follows Content-Length bytes of body is not part of the message (RFC 3261 §18.3).
///
/// ```
/// use sipfed_sip::{HeaderName, Index, Method, scan};
///
/// let bytes = b"REGISTER sip:example.com SIP/2.0\r\n\
///     Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK7\r\n\
///     t: <sip:alice@example.com>\r\n\
///     CSeq: 1 REGISTER\r\n\r\n";
/// let mut index = Index::new();
/// let message = scan(bytes, &mut index)?;
/// assert_eq!(message.fault(), None);
/// assert_eq!(message.method(), Some(Method::Register));
/// assert_eq!(message.top_via()?.branch(), Some(b"z9hG4bK7".as_slice()));
/// assert_eq!(message.address(HeaderName::To)?.uri, b"sip:alice@example.com");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn scan<'a>(bytes: &'a [u8], index: &'a mut Index) -> Result<Message<'a>, ScanError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(ScanError::TooLong);
    }
    // RFC 3261 §7.5: line ends before the start line are ignored.
    let begin = bytes.iter().position(|b| !matches!(b, b'\r' | b'\n')).ok_or(ScanError::KeepAlive)?;
    index.reset();
    let mut controls = Controls::new(bytes);
    let mut at = index.scan_start_line(bytes, begin, &mut controls)?;
    for _ in 0..LINES_COUNT_MAX {
        match bytes.get(at..) {
            Some([b'\r', b'\n', ..]) => {
                index.headers_end = at as u16;
                index.bound_body(bytes, at + 2);
                return Ok(Message { bytes, index });
            }
            Some([_, ..]) => at = index.scan_line(bytes, at, &mut controls),
            Some([]) | None => break,
        }
    }
    // What lies beyond the last line that counts is neither header field nor body.
    index.fault(if at < bytes.len() { Fault::TooManyHeaders } else { Fault::NoEnd });
    index.headers_end = at as u16;
    index.body = (at as u16, at as u16);
    Ok(Message { bytes, index })
}

/// The value of the first To of a message, for who only has to know whose it is: the lines behind it are not
/// looked at.
///
/// What it gives is what the scan finds for [`HeaderName::To`]. It gives nothing where that takes more than a
/// glance: where the field is folded, or has white space before its colon, or a line has a control character.
pub fn glance_to(bytes: &[u8]) -> Option<&[u8]> {
    let mut controls = Controls::new(bytes);
    let mut at = 0;
    loop {
        let end = controls.next(at);
        let Some([b'\r', b'\n', after @ ..]) = bytes.get(end..) else { return None };
        let value = match &bytes[at..end] {
            [b'T' | b't', b'o' | b'O', b':', value @ ..] | [b'T' | b't', b':', value @ ..] => value,
            [] | [b'T' | b't', b' ' | b'\t', ..] | [b'T' | b't', b'o' | b'O', b' ' | b'\t', ..] => return None,
            _ => {
                at = end + 2;
                continue;
            }
        };
        let is_folded = matches!(after.first(), Some(b' ' | b'\t'));
        return (!is_folded).then(|| chars::trim(value));
    }
}

/// A line: where its text ends and where the next line begins.
struct Line {
    end: usize,
    next: usize,
    fault: Option<&'static str>,
}

/// The line at `at`, without what may continue it.
fn line(bytes: &[u8], at: usize, controls: &mut Controls<'_>) -> Line {
    let end = controls.next(at);
    match bytes[end..] {
        [b'\r', b'\n', ..] => Line { end, next: end + 2, fault: None },
        _ => unusual_line(bytes, at, end, controls),
    }
}

/// The line at `at`, whose first control character, at `end`, does not begin its line end.
#[cold]
fn unusual_line(bytes: &[u8], at: usize, mut end: usize, controls: &mut Controls<'_>) -> Line {
    let mut fault = None;
    loop {
        match bytes[end..] {
            [b'\r', b'\n', ..] => return Line { end, next: end + 2, fault },
            [b'\r' | b'\n', ..] | [] => {
                let next = (end + 1).min(bytes.len());
                return Line { end, next, fault: fault.or(Some("a line does not end with CR LF")) };
            }
            [b'\t', ..] => {}
            [_, ..] if is_quoted_pair(&bytes[at..end]) => {}
            [_, ..] => fault = Some("a control character stands outside of a quoted-pair"),
        }
        end = controls.next(end + 1);
    }
}

/// Whether what follows `before` is escaped by a backslash that is not itself escaped.
fn is_quoted_pair(before: &[u8]) -> bool {
    before.iter().rev().take_while(|&&b| b == b'\\').count() % 2 == 1
}

impl Index {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    fn reset(&mut self) {
        self.entries.clear();
        self.first = [NONE; HeaderName::COUNT];
        self.fault = None;
    }

    #[cold]
    fn fault(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    /// Reads the start line at `begin`; gives where the next line begins.
    fn scan_start_line(&mut self, bytes: &[u8], begin: usize, controls: &mut Controls<'_>) -> Result<usize, ScanError> {
        let Line { end, next, fault } = line(bytes, begin, controls);
        if let Some(what) = fault {
            self.fault(Fault::StartLine(what));
        }
        self.start_line = (begin as u16, next as u16);
        let line = &bytes[begin..end];
        if is_version(line) {
            self.scan_status_line(line, begin)?;
        } else {
            self.scan_request_line(line, begin)?;
        }
        Ok(next)
    }

    /// SIP-Version SP Status-Code SP Reason-Phrase
    fn scan_status_line(&mut self, line: &[u8], begin: usize) -> Result<(), ScanError> {
        let space = memchr::memchr(b' ', line).ok_or(ScanError::NotSip)?;
        if !chars::eq_ignore_case(&line[..space], b"SIP/2.0") {
            self.fault(Fault::Version);
        }
        let rest = &line[space + 1..];
        let digits = memchr::memchr(b' ', rest).unwrap_or(rest.len());
        let status = match chars::parse_u32(&rest[..digits]) {
            Some(n @ 100..=699) if digits == 3 => n as u16,
            _ => return Err(ScanError::NotSip),
        };
        let reason = (begin + space + 1 + (digits + 1).min(rest.len())) as u16;
        self.start = Start::Response { status, reason: (reason, (begin + line.len()) as u16) };
        Ok(())
    }

    /// Method SP Request-URI SP SIP-Version
    fn scan_request_line(&mut self, line: &[u8], begin: usize) -> Result<(), ScanError> {
        let method_end = chars::span(line, TOKEN);
        if method_end == 0 || line.get(method_end) != Some(&b' ') {
            return Err(ScanError::NotSip);
        }
        let uri_end = match line {
            // Nearly all of them.
            [before @ .., b' ', b'S', b'I', b'P', b'/', b'2', b'.', b'0'] if before.len() > method_end => before.len(),
            _ => self.unusual_version(line, method_end)?,
        };
        let uri = &line[method_end + 1..uri_end];
        // Its grammar is for whoever reads it; here it is one word, so that nobody sees two.
        if uri.is_empty() || uri.iter().any(|&b| b <= b' ' || b == 0x7f) {
            self.fault(Fault::StartLine("white space or a control character in or around the Request-URI"));
        }
        self.start = Start::Request {
            method_end: (begin + method_end) as u16,
            uri: ((begin + method_end + 1) as u16, (begin + uri_end) as u16),
        };
        Ok(())
    }

    /// Where the Request-URI ends in a request line that does not end with ` SIP/2.0`. Without a version at the
    /// end it is no SIP; with white space behind that, it is broken SIP.
    #[cold]
    fn unusual_version(&mut self, line: &[u8], method_end: usize) -> Result<usize, ScanError> {
        let trimmed = chars::trim_end(line);
        let last = memchr::memrchr(b' ', trimmed).filter(|&last| last > method_end).ok_or(ScanError::NotSip)?;
        let version = &trimmed[last + 1..];
        if !is_version(version) {
            return Err(ScanError::NotSip);
        }
        if trimmed.len() != line.len() {
            self.fault(Fault::StartLine("white space at its end"));
        } else if !chars::eq_ignore_case(version, b"SIP/2.0") {
            self.fault(Fault::Version);
        }
        Ok(last)
    }

    /// Reads the header field line at `at` with its folds; gives where the next line begins.
    #[inline]
    fn scan_line(&mut self, bytes: &[u8], at: usize, controls: &mut Controls<'_>) -> usize {
        let end = controls.next(at);
        let (end, next) = match bytes[end..] {
            // Nearly all of them: a line end, and no white space at the begin of the next line.
            [b'\r', b'\n', after, ..] if after > b' ' || after == b'\r' => (end, end + 2),
            _ => self.scan_unusual_line(bytes, at, controls),
        };
        let Some((name, colon)) = name_and_colon(bytes, at, end) else {
            self.fault(Fault::Line("a line is no header field"));
            return next;
        };
        if self.entries.len() == HEADERS_COUNT_MAX {
            self.fault(Fault::TooManyHeaders);
            return next;
        }
        let (value_start, value_end) = trimmed(bytes, at + colon + 1, end);
        self.add(Entry {
            name,
            next_same: NONE,
            line_start: at as u16,
            value_start: value_start as u16,
            value_end: value_end as u16,
            line_end: next as u16,
        });
        next
    }

    /// Where the text of the line at `at` ends, its folds included, and where the next line begins.
    #[cold]
    fn scan_unusual_line(&mut self, bytes: &[u8], at: usize, controls: &mut Controls<'_>) -> (usize, usize) {
        let Line { mut end, mut next, fault } = line(bytes, at, controls);
        if let Some(what) = fault {
            self.fault(Fault::Line(what));
        }
        // RFC 3261 §7.3.1: a line that begins with white space goes on with the one before it.
        while let Some(b' ' | b'\t') = bytes.get(next) {
            // A line that ended otherwise than with CR LF is not gone on with: its end would become text.
            if next != end + 2 {
                break;
            }
            let fold = line(bytes, next, controls);
            (end, next) = (fold.end, fold.next);
            if let Some(what) = fold.fault {
                self.fault(Fault::Line(what));
            }
        }
        (end, next)
    }

    #[inline]
    fn add(&mut self, entry: Entry) {
        let here = self.entries.len() as u16;
        self.entries.push(entry);
        if entry.name == HeaderName::Other {
            return;
        }
        let kind = entry.name as usize;
        if self.first[kind] == NONE {
            self.first[kind] = here;
        } else {
            if entry.name.stands_once() {
                self.fault(Fault::Repeated(entry.name));
            }
            let last = self.last[kind] as usize;
            self.entries[last].next_same = here;
        }
        self.last[kind] = here;
    }

    /// The body is what Content-Length says; without one it is the rest (RFC 3261 §18.3).
    fn bound_body(&mut self, bytes: &[u8], start: usize) {
        let rest = bytes.len() - start;
        let len = match self.entries.get(self.first[HeaderName::ContentLength as usize] as usize) {
            None => rest,
            Some(entry) => match content_length(&bytes[entry.value_start as usize..entry.value_end as usize]) {
                Some(n) if n <= rest => n,
                Some(_) => {
                    self.fault(Fault::ShortBody);
                    rest
                }
                None => {
                    self.fault(Fault::Header(HeaderName::ContentLength, "is no number"));
                    rest
                }
            },
        };
        self.body = (start as u16, (start + len) as u16);
    }
}

fn is_version(text: &[u8]) -> bool {
    matches!(text, [b'S' | b's', b'I' | b'i', b'P' | b'p', b'/', ..])
}

fn content_length(value: &[u8]) -> Option<usize> {
    chars::parse_u64(value).and_then(|n| usize::try_from(n).ok())
}

/// The name that the line at `at..end` begins with, and how far behind `at` the colon stands that follows it.
#[inline]
fn name_and_colon(bytes: &[u8], at: usize, end: usize) -> Option<(HeaderName, usize)> {
    // Most names end within the first sixteen bytes, and with their colon.
    let head = bytes[at..].first_chunk();
    if let Some(colon) = head.and_then(|head| chars::position_among_sixteen(head, b':')).filter(|&c| at + c < end) {
        let name = HeaderName::from_name(&bytes[at..at + colon]);
        if name != HeaderName::Other {
            return Some((name, colon));
        }
    }
    unusual_name_and_colon(&bytes[at..end])
}

fn unusual_name_and_colon(line: &[u8]) -> Option<(HeaderName, usize)> {
    let name_len = chars::span(line, TOKEN);
    // HCOLON allows white space before the colon (RFC 3261 §25.1).
    let spaces = line[name_len..].iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    let colon = name_len + spaces;
    (name_len > 0 && line.get(colon) == Some(&b':')).then(|| (HeaderName::from_name(&line[..name_len]), colon))
}

/// `start..end` without white space at either end.
#[inline]
fn trimmed(bytes: &[u8], start: usize, end: usize) -> (usize, usize) {
    match bytes[start..end] {
        // Nearly all of them.
        [b' ', first, .., last] if first > b' ' && last > b' ' => (start + 1, end),
        _ => unusual_trimmed(bytes, start, end),
    }
}

fn unusual_trimmed(bytes: &[u8], mut start: usize, mut end: usize) -> (usize, usize) {
    let is_space = |b: u8| chars::is(b, SPACE);
    while start < end && is_space(bytes[start]) {
        start += 1;
    }
    while end > start && is_space(bytes[end - 1]) {
        end -= 1;
    }
    (start, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glance_finds_what_a_scan_finds_or_nothing() {
        for (lines, found) in [
            ("Via: x\r\nTo:  <sip:a@b> \r\nFrom: y", Some("<sip:a@b>")),
            ("t:a", Some("a")),
            ("Total: 1\r\nTO:b", Some("b")),
            ("To:\ta", None),
            ("To: a\r\n b", None),
            ("To : a\r\nTo: b", None),
            ("t\t: a\r\nt: b", None),
            ("From: a", None),
            ("X: 1\nTo: a", None),
        ] {
            let text = format!("REGISTER sip:h SIP/2.0\r\n{lines}\r\n\r\nTo: body");
            let glanced = glance_to(text.as_bytes());
            assert_eq!(glanced, found.map(str::as_bytes), "{lines}");
            let mut index = Index::new();
            let scanned = scan(text.as_bytes(), &mut index).unwrap().value(HeaderName::To);
            assert!(glanced.is_none() || glanced == scanned, "{lines}");
        }
        assert_eq!(glance_to(b""), None);
    }
}
