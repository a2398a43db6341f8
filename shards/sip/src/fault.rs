//! What can be wrong with a message.

use crate::HeaderName;
use std::fmt;

/// A breach of the grammar in a message that can otherwise be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The SIP-Version is well formed but not 2.0 (RFC 3261 §7.1): 505.
    Version,
    /// The start line breaks RFC 3261 §7.1 or §7.2.
    StartLine(&'static str),
    /// The Request-URI breaks RFC 3261 §19.1.1.
    RequestUri(&'static str),
    /// A header field breaks its grammar.
    Header(HeaderName, &'static str),
    /// A mandatory header field is missing (RFC 3261 §8.1.1).
    Missing(HeaderName),
    /// A header field that stands once at most stands twice (RFC 3261 §7.3.1).
    Repeated(HeaderName),
    /// A line is no header field.
    Line(&'static str),
    /// There are more than [`crate::HEADERS_COUNT_MAX`] header field lines.
    TooManyHeaders,
    /// The header section does not end with an empty line (RFC 3261 §7).
    NoEnd,
    /// The body is shorter than Content-Length says (RFC 3261 §18.3).
    ShortBody,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version => f.write_str("SIP version is not 2.0"),
            Self::StartLine(what) => write!(f, "start line: {what}"),
            Self::RequestUri(what) => write!(f, "Request-URI: {what}"),
            Self::Header(name, what) => write!(f, "{name}: {what}"),
            Self::Missing(name) => write!(f, "{name} is missing"),
            Self::Repeated(name) => write!(f, "{name} stands more than once"),
            Self::Line(what) => f.write_str(what),
            Self::TooManyHeaders => f.write_str("too many header fields"),
            Self::NoEnd => f.write_str("no empty line ends the header fields"),
            Self::ShortBody => f.write_str("body is shorter than Content-Length"),
        }
    }
}

impl std::error::Error for Fault {}

/// Why bytes are no SIP message at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanError {
    /// Nothing but line ends: a keep-alive (RFC 3261 §7.5, RFC 5626 §3.5.1).
    KeepAlive,
    /// More than [`crate::MESSAGE_BYTES_MAX`] bytes.
    TooLong,
    /// The first line is neither a request line nor a status line.
    NotSip,
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeepAlive => "only line ends",
            Self::TooLong => "longer than a SIP message may be",
            Self::NotSip => "the first line is neither a request line nor a status line",
        })
    }
}

impl std::error::Error for ScanError {}
