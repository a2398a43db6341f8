//! A message that was scanned, and the readers of its fields.

use crate::address::{Address, Addresses, Contacts};
use crate::chars;
use crate::fault::Fault;
use crate::field::CSeq;
use crate::header::HeaderName;
use crate::method::Method;
use crate::scan::{Entry, Index, Start};
use crate::tag_list::TagList;
use crate::via::{Via, Vias};

/// The first line of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartLine<'a> {
    /// A request (RFC 3261 §7.1).
    Request {
        /// Its method.
        method: Method<'a>,
        /// Its Request-URI, as written.
        uri: &'a [u8],
    },
    /// A response (RFC 3261 §7.2).
    Response {
        /// Its status code, 100 to 699.
        status: u16,
        /// Its reason phrase, as written.
        reason: &'a [u8],
    },
}

/// A message that was scanned: its bytes and where its parts lie.
///
/// Each reader parses its field when it is asked, over all lines of that name where it is a list:
///
/// ```
/// use sipfed_sip::{Contact, Fault, HeaderName, Index, Uri, scan};
///
/// let bytes = b"REGISTER sip:example.com SIP/2.0\r\n\
///     Contact: \"Al\" <sip:al@192.0.2.1:5062;ob>;q=0.5, <tel:+15550100>\r\n\
///     m: <sip:al@[2001:db8::1]>;expires=60\r\n\
///     CSeq: 4294967296 REGISTER\r\n\r\n";
/// let mut index = Index::new();
/// let message = scan(bytes, &mut index)?;
/// let mut contacts = message.contacts();
/// let Some(Ok(Contact::At(first))) = contacts.next() else { panic!("there are three") };
/// assert_eq!((first.display, first.params.value("q")), (b"\"Al\"".as_slice(), Some(b"0.5".as_slice())));
/// assert!(matches!(first.uri(), Ok(Uri::Sip(uri)) if uri.port == Some(5062)));
/// assert_eq!(contacts.count(), 2);
///
/// // What is missing or malformed is a fault that names the field.
/// assert_eq!(message.address(HeaderName::To), Err(Fault::Missing(HeaderName::To)));
/// assert!(matches!(message.cseq(), Err(Fault::Header(HeaderName::CSeq, _))));
/// # Ok::<(), sipfed_sip::ScanError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) index: &'a Index,
}

/// One header field line of a message, folds included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Which one.
    pub name: HeaderName,
    /// Its value without white space at its ends; folds inside are kept.
    pub value: &'a [u8],
    /// The whole line with its line end.
    pub line: &'a [u8],
    /// Where `value` begins in the message.
    pub value_at: usize,
    /// Where `line` begins in the message.
    pub line_at: usize,
}

impl<'a> Message<'a> {
    /// All bytes that were scanned.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The first breach of the grammar that the scan met.
    pub fn fault(&self) -> Option<Fault> {
        self.index.fault
    }

    /// The start line.
    pub fn start_line(&self) -> StartLine<'a> {
        match self.index.start {
            Start::Request { method_end, uri } => StartLine::Request {
                method: Method::from_token(&self.bytes[self.index.start_line.0 as usize..method_end as usize]),
                uri: self.slice(uri),
            },
            Start::Response { status, reason } => StartLine::Response { status, reason: self.slice(reason) },
        }
    }

    /// The request's method; `None` for a response.
    pub fn method(&self) -> Option<Method<'a>> {
        match self.start_line() {
            StartLine::Request { method, .. } => Some(method),
            StartLine::Response { .. } => None,
        }
    }

    /// The Request-URI as written; empty for a response.
    pub fn request_uri(&self) -> &'a [u8] {
        match self.index.start {
            Start::Request { uri, .. } => self.slice(uri),
            Start::Response { .. } => &[],
        }
    }

    /// The response's status code; `None` for a request.
    pub fn status(&self) -> Option<u16> {
        match self.index.start {
            Start::Request { .. } => None,
            Start::Response { status, .. } => Some(status),
        }
    }

    /// The body.
    pub fn body(&self) -> &'a [u8] {
        self.slice(self.index.body)
    }

    /// Where the first header field line begins.
    pub fn headers_at(&self) -> usize {
        self.index.start_line.1 as usize
    }

    /// Where the empty line behind the last header field line begins.
    pub fn headers_end(&self) -> usize {
        self.index.headers_end as usize
    }

    /// The first field of that name.
    #[inline]
    pub fn first(&self, name: HeaderName) -> Option<Field<'a>> {
        self.entry(self.index.first[name as usize]).map(|e| self.field(e))
    }

    /// The value of the first field of that name.
    #[inline]
    pub fn value(&self, name: HeaderName) -> Option<&'a [u8]> {
        self.first(name).map(|f| f.value)
    }

    /// All fields of that name in their order; nothing for [`HeaderName::Other`].
    pub fn fields(&self, name: HeaderName) -> Fields<'a> {
        Fields { message: *self, next: self.index.first[name as usize] }
    }

    /// All fields in their order.
    pub fn all_fields(&self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        let message = *self;
        message.index.entries.iter().map(move |e| message.field(e))
    }

    /// All bytes of the message in their order but the lines of the fields that `is_left_out` names.
    pub fn spans_without(&self, is_left_out: impl Fn(HeaderName) -> bool) -> impl Iterator<Item = &'a [u8]> {
        let message = *self;
        let mut entries = message.index.entries.iter().filter(move |e| is_left_out(e.name));
        let mut next = Some(0);
        std::iter::from_fn(move || {
            let start = next?;
            let left_out = entries.next();
            next = left_out.map(|e| e.line_end as usize);
            Some(&message.bytes[start..left_out.map_or(message.bytes.len(), |e| e.line_start as usize)])
        })
    }

    /// The topmost Via (RFC 3261 §18.2.1).
    pub fn top_via(&self) -> Result<Via<'a>, Fault> {
        let field = self.required(HeaderName::Via)?;
        Via::parse_prefix(field.value).map(|(via, _)| via).map_err(|what| Fault::Header(HeaderName::Via, what))
    }

    /// The topmost Via as far as its sent-by, without its parameters: for the refusal of a request that
    /// [`Message::top_via`] cannot read to its end, and for nothing else. `None` when even that is malformed.
    pub fn top_via_head(&self) -> Option<Via<'a>> {
        self.first(HeaderName::Via).and_then(|field| Via::parse_head(field.value).ok()).map(|(via, _)| via)
    }

    /// Whether there is a Via below the topmost, which is `top`.
    pub fn has_second_via(&self, top: &Via<'_>) -> bool {
        let mut fields = self.fields(HeaderName::Via);
        fields.next().is_some_and(|first| first.value.len() > top.raw.len()) || fields.next().is_some()
    }

    /// All Vias, topmost first.
    pub fn vias(&self) -> Vias<'a> {
        Vias::new(self.fields(HeaderName::Via))
    }

    /// CSeq (RFC 3261 §8.1.1.5).
    pub fn cseq(&self) -> Result<CSeq<'a>, Fault> {
        CSeq::parse(self.required(HeaderName::CSeq)?.value).map_err(|what| Fault::Header(HeaderName::CSeq, what))
    }

    /// Call-ID (RFC 3261 §8.1.1.4): a word, or two with an at sign between them (§25.1).
    pub fn call_id(&self) -> Result<&'a [u8], Fault> {
        let value = self.required(HeaderName::CallId)?.value;
        let len = chars::span(value, chars::WORD);
        let is_one = match value[len..] {
            [] => len > 0,
            [b'@', ref host @ ..] => len > 0 && !host.is_empty() && chars::all(host, chars::WORD),
            _ => false,
        };
        if is_one { Ok(value) } else { Err(Fault::Header(HeaderName::CallId, "is no word")) }
    }

    /// Max-Forwards (RFC 3261 §20.22): 0 to 255; `None` when absent.
    pub fn max_forwards(&self) -> Result<Option<u8>, Fault> {
        let Some(value) = self.value(HeaderName::MaxForwards) else { return Ok(None) };
        match chars::parse_u32(value).and_then(|n| u8::try_from(n).ok()) {
            Some(n) => Ok(Some(n)),
            None => Err(Fault::Header(HeaderName::MaxForwards, "is no number from 0 to 255")),
        }
    }

    /// Expires (RFC 3261 §20.19); `None` when absent, also when it is malformed: §10.3 step 7 has such a
    /// value taken for the default.
    pub fn expires(&self) -> Option<u32> {
        chars::parse_u32(self.value(HeaderName::Expires)?)
    }

    /// The one address of From, To and such; a malformed or repeated tag is a fault.
    pub fn address(&self, name: HeaderName) -> Result<Address<'a>, Fault> {
        Address::parse_only(self.required(name)?.value).map_err(|what| Fault::Header(name, what))
    }

    /// The addresses of Route, Record-Route, Path and such, over all fields of that name.
    pub fn addresses(&self, name: HeaderName) -> Addresses<'a> {
        Addresses::new(name, self.fields(name))
    }

    /// The Contacts over all fields.
    pub fn contacts(&self) -> Contacts<'a> {
        Contacts::new(self.fields(HeaderName::Contact))
    }

    /// The option tags of Require, Supported and such, or the methods of Allow, over all fields.
    pub fn tags(&self, name: HeaderName) -> TagList<'a> {
        TagList::new(self.fields(name))
    }

    fn required(&self, name: HeaderName) -> Result<Field<'a>, Fault> {
        self.first(name).ok_or(Fault::Missing(name))
    }

    fn entry(&self, at: u16) -> Option<&'a Entry> {
        self.index.entries.get(at as usize)
    }

    fn field(&self, e: &Entry) -> Field<'a> {
        Field {
            name: e.name,
            value: self.slice((e.value_start, e.value_end)),
            line: self.slice((e.line_start, e.line_end)),
            value_at: e.value_start as usize,
            line_at: e.line_start as usize,
        }
    }

    fn slice(&self, (start, end): (u16, u16)) -> &'a [u8] {
        &self.bytes[start as usize..end as usize]
    }
}

/// The fields of one name in their order.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    message: Message<'a>,
    next: u16,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        let entry = self.message.entry(self.next)?;
        self.next = entry.next_same;
        Some(self.message.field(entry))
    }
}
