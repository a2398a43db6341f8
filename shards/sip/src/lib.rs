//! SIP grammar (RFC 3261 §7, §25): a zero-copy scanner over one message and a composer that splices its
//! bytes.
//!
//! # What goes in, what comes out
//! [`scan()`] takes the bytes of one message and an [`Index`] that is used again from message to message. It
//! runs over the header section once, finds the lines and names the header fields it knows; it copies
//! nothing and allocates nothing once the index has grown. The [`Message`] it gives reads single fields
//! when asked: [`Message::top_via`], [`Message::cseq`], [`Message::contacts`] and so on.
//!
//! [`compose`] goes the other way: replies, forwarded requests and forwarded responses are made of the
//! bytes that came in, cut where the RFC has something changed, so that what we do not understand
//! passes through untouched (RFC 3261 §16.6 step 1).
//!
//! # Broken messages
//! A [`ScanError`] means that there is no SIP message to answer. Everything milder is a [`Fault`]: the first
//! one found by the scan is kept in the message ([`Message::fault`]), so that a request can still be
//! answered 400 with the fields that are there; the typed readers return theirs.
//!
//! # Bounds
//! [`MESSAGE_BYTES_MAX`] bytes a message, [`HEADERS_COUNT_MAX`] header field lines.
#![forbid(unsafe_code)]

mod address;
mod chars;
pub mod compose;
mod controls;
mod fault;
mod field;
mod header;
mod host;
mod message;
mod method;
mod params;
mod scan;
mod tag_list;
mod uri;
mod via;

pub use address::{Address, Addresses, Contact, Contacts};
pub use chars::{eq_ignore_case, is_token, parse_u32, parse_u64, trim};
pub use fault::{Fault, ScanError};
pub use field::CSeq;
pub use header::HeaderName;
pub use host::Host;
pub use message::{Field, Fields, Message, StartLine};
pub use method::Method;
pub use params::{Param, Params};
pub use scan::{HEADERS_COUNT_MAX, Index, MESSAGE_BYTES_MAX, glance_to, scan};
pub use tag_list::TagList;
pub use uri::{Scheme, SipUri, TelUri, Uri, unescaped};
pub use via::{Via, Vias};
