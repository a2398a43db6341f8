//! The request by which a connection becomes a WebSocket of SIP, and our answer to it (RFC 6455 §4.2, RFC 7118 §4.1).
//!
//! In: whatever pieces the request arrives in. Out: the answer that accepts it, or a [`Refusal`] with the answer that says
//! why. It is pure: no socket, no clock. What cannot become such a request is refused as early as that is seen.
//!
//! The path of the request means nothing, and no extension is agreed on. A client waits for the answer before it sends
//! anything else (RFC 6455 §4.1), so what comes together with the request is a breach.
//!
//! Bounds: [`REQUEST_BYTES_MAX`] bytes and [`FIELDS_COUNT_MAX`] header fields, which leaves room for the cookies of a browser.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use memchr::memmem;

/// Bytes of a request with its empty line.
pub(crate) const REQUEST_BYTES_MAX: usize = 8 * 1024;
/// Header fields of a request.
const FIELDS_COUNT_MAX: usize = 64;
/// How a request begins (RFC 6455 §4.1).
const BEGINNING: &[u8] = b"GET ";
/// What a key is hashed with (RFC 6455 §1.3).
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The subprotocol (RFC 7118 §4.1).
const SUBPROTOCOL: &[u8] = b"sip";

/// A request as far as it has come.
#[derive(Debug, Default)]
pub(crate) struct Upgrade {
    held: Vec<u8>,
}

/// Why a connection does not become a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// What came is no request of HTTP/1.1, or none that a WebSocket can begin with.
    Malformed(&'static str),
    /// The request has no end within its bounds.
    TooLong,
    /// It asks for no WebSocket, or for another version than 13.
    NoUpgrade,
    /// It does not offer the subprotocol `sip`.
    NoSubprotocol,
    /// It comes from a page that is not allowed to.
    Origin,
}

impl Refusal {
    /// The answer; its body says the same to a person.
    pub(crate) fn answer(self) -> String {
        let (status, fields, why) = match self {
            Self::Malformed(why) => ("400 Bad Request", "", why),
            Self::TooLong => ("431 Request Header Fields Too Large", "", "the request is too long"),
            // RFC 9110 §15.5.22 and RFC 6455 §4.4.
            Self::NoUpgrade => (
                "426 Upgrade Required",
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
                "only a WebSocket of version 13 is served here",
            ),
            Self::NoSubprotocol => {
                ("400 Bad Request", "", "Sec-WebSocket-Protocol has to offer sip, the one subprotocol here (RFC 7118)")
            }
            Self::Origin => ("403 Forbidden", "", "pages of this origin may not connect here"),
        };
        let connection = if fields.is_empty() { "close" } else { "close, Upgrade" };
        format!(
            "HTTP/1.1 {status}\r\n{fields}Connection: {connection}\r\nContent-Type: text/plain\r\n\
             Content-Length: {}\r\n\r\n{why}\n",
            why.len() + 1
        )
    }
}

impl Upgrade {
    /// Takes the next piece of the connection. `None` while the request has not ended; else the answer that makes the
    /// connection a WebSocket, or why it becomes none. Pages of `origins` may connect, or of any where there are none.
    pub(crate) fn push(&mut self, piece: &[u8], origins: &[String]) -> Option<Result<String, Refusal>> {
        let scanned = self.held.len().saturating_sub(3);
        self.held.extend_from_slice(piece);
        let begun = self.held.len().min(BEGINNING.len());
        if self.held[..begun] != BEGINNING[..begun] {
            return Some(Err(Refusal::Malformed("a WebSocket begins with GET over HTTP/1.1")));
        }
        let within = &self.held[..self.held.len().min(REQUEST_BYTES_MAX)];
        match memmem::find(&within[scanned.min(within.len())..], b"\r\n\r\n") {
            Some(at) if scanned + at + 4 < self.held.len() => {
                Some(Err(Refusal::Malformed("something follows the request before it is answered")))
            }
            Some(_) => Some(judge(&self.held, origins)),
            None => (self.held.len() >= REQUEST_BYTES_MAX).then_some(Err(Refusal::TooLong)),
        }
    }
}

/// Judges a whole request.
fn judge(bytes: &[u8], origins: &[String]) -> Result<String, Refusal> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_COUNT_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) if request.version == Some(1) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TooLong),
        _ => return Err(Refusal::Malformed("this is no request of HTTP/1.1")),
    }
    let fields = Fields(request.headers);
    // RFC 9112 §3.2.
    fields.only("Host").ok_or(Refusal::Malformed("Host is missing, or there twice"))?;
    let is_asked_for = fields.lists("Upgrade", |token| token.eq_ignore_ascii_case(b"websocket"))
        && fields.lists("Connection", |token| token.eq_ignore_ascii_case(b"upgrade"))
        && fields.only("Sec-WebSocket-Version") == Some(b"13");
    if !is_asked_for {
        return Err(Refusal::NoUpgrade);
    }
    let key = fields.only("Sec-WebSocket-Key").filter(|key| is_key(key));
    let key = key.ok_or(Refusal::Malformed("Sec-WebSocket-Key is not 16 bytes in Base64"))?;
    if !fields.lists("Sec-WebSocket-Protocol", |token| token == SUBPROTOCOL) {
        return Err(Refusal::NoSubprotocol);
    }
    // Who sends none is no browser, whose user could be misled by a page (RFC 6455 §10.2).
    if fields.has("Origin") && !origins.is_empty() {
        let origin = fields.only("Origin").ok_or(Refusal::Malformed("Origin is there twice"))?;
        let is_allowed = |allowed: &String| allowed.as_bytes().eq_ignore_ascii_case(origin);
        if !origins.iter().any(is_allowed) {
            return Err(Refusal::Origin);
        }
    }
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: sip\r\n\r\n",
        accept(key)
    ))
}

/// The header fields of a request.
struct Fields<'a>(&'a [httparse::Header<'a>]);

impl<'a> Fields<'a> {
    fn values(&self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value.trim_ascii())
    }

    fn has(&self, name: &'a str) -> bool {
        self.values(name).next().is_some()
    }

    /// The value of a field that is there once.
    fn only(&self, name: &'a str) -> Option<&'a [u8]> {
        let mut values = self.values(name);
        values.next().filter(|_| values.next().is_none())
    }

    /// Whether a field whose value is a list, which may stand in several, has a member like that.
    fn lists(&self, name: &'a str, is_it: impl Fn(&[u8]) -> bool) -> bool {
        self.values(name).any(|value| value.split(|byte| *byte == b',').any(|token| is_it(token.trim_ascii())))
    }
}

fn is_key(key: &[u8]) -> bool {
    let mut bytes = [0; 18];
    BASE64.decode_slice(key, &mut bytes) == Ok(16)
}

/// What proves that the request was read (RFC 6455 §4.2.2).
fn accept(key: &[u8]) -> String {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(KEY_SUFFIX);
    BASE64.encode(hash.finish())
}

#[cfg(test)]
pub(crate) mod tests;
