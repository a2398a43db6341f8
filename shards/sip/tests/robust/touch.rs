//! Reads everything that can be read of a message, and makes everything of it that can be made.

use sipfed_sip::compose::{self, Forward, Stamp};
use sipfed_sip::{Address, Contact, Fault, HeaderName, Host, Index, Message, Method, Param, StartLine, Uri, Via, scan};
use std::fmt::{self, Write};
use std::hash::{DefaultHasher, Hash, Hasher};

const NAMES: [HeaderName; HeaderName::COUNT] = [
    HeaderName::Via,
    HeaderName::From,
    HeaderName::To,
    HeaderName::CallId,
    HeaderName::CSeq,
    HeaderName::Contact,
    HeaderName::MaxForwards,
    HeaderName::Route,
    HeaderName::RecordRoute,
    HeaderName::Path,
    HeaderName::Expires,
    HeaderName::ContentLength,
    HeaderName::ContentType,
    HeaderName::Require,
    HeaderName::ProxyRequire,
    HeaderName::Supported,
    HeaderName::Unsupported,
    HeaderName::Allow,
    HeaderName::UserAgent,
    HeaderName::Date,
    HeaderName::MaxBreadth,
    HeaderName::WwwAuthenticate,
    HeaderName::ProxyAuthenticate,
    HeaderName::RetryAfter,
    HeaderName::Other,
];

/// A digest of all that was read: equal for two readings of the same message.
struct Digest<'a> {
    hasher: DefaultHasher,
    bytes: &'a [u8],
}

impl Write for Digest<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.hash(&mut self.hasher);
        Ok(())
    }
}

impl<'a> Digest<'a> {
    fn note(&mut self, value: impl Hash) {
        value.hash(&mut self.hasher);
    }

    /// A part of the message: it must lie within.
    fn part(&mut self, part: &[u8]) {
        if !part.is_empty() {
            let (all, found) = (self.bytes.as_ptr_range(), part.as_ptr_range());
            assert!(all.start <= found.start && found.end <= all.end, "a part lies outside of the message");
            self.note(found.start as usize - all.start as usize);
        }
        self.note(part);
    }

    fn fault(&mut self, fault: Fault) {
        write!(self, "{fault}").unwrap();
    }

    fn method(&mut self, method: Method<'_>) {
        self.note((method.bit(), method.as_bytes()));
    }

    fn host(&mut self, host: Host<'_>) {
        self.note(host.ip());
        if let Host::Name(name) = host {
            self.part(name);
        }
    }

    fn params(&mut self, params: impl Iterator<Item = Param<'a>>) {
        for param in params {
            self.part(param.raw);
            self.part(param.name);
            self.part(param.value.unwrap_or_default());
            self.part(param.unquoted().unwrap_or_default());
        }
    }

    fn via(&mut self, via: Result<Via<'a>, Fault>) {
        match via {
            Ok(via) => {
                self.host(via.host);
                self.note(via.port);
                for part in [via.transport, via.sent_by, via.raw, via.branch().unwrap_or_default()] {
                    self.part(part);
                }
                self.part(via.params.as_bytes());
                self.params(via.params.iter());
                self.note(via.params.has("rport"));
                let received = via.params.value("received").and_then(Host::parse).and_then(|host| host.ip());
                self.note(received);
            }
            Err(fault) => self.fault(fault),
        }
    }

    fn address(&mut self, address: &Address<'a>, aor: &mut Vec<u8>) {
        for part in [address.display, address.uri, address.raw, address.tag().unwrap_or_default()] {
            self.part(part);
        }
        self.params(address.params.iter());
        self.uri(address.uri(), aor);
    }

    fn uri(&mut self, uri: Result<Uri<'a>, &'static str>, aor: &mut Vec<u8>) {
        let uri = match uri {
            Ok(uri) => uri,
            Err(what) => return self.note(what),
        };
        let copy = uri;
        assert!(uri == copy, "a URI equals itself");
        aor.clear();
        uri.write_tel_digits(aor);
        match uri {
            Uri::Sip(uri) => {
                for part in [uri.user, uri.password, Some(uri.headers), uri.param("lr"), uri.param("transport")] {
                    self.part(part.unwrap_or_default());
                }
                self.host(uri.host);
                self.note((uri.port, uri.params().count()));
                self.part(uri.params_bytes());
                uri.write_aor(aor);
                assert!(aor.iter().all(|b| (b'!'..=b'~').contains(b)), "an AoR is printable");
            }
            Uri::Tel(uri) => {
                self.part(uri.number);
                self.note(uri.params().count());
            }
            Uri::Other(uri) => self.part(uri),
        }
        self.note(aor.as_slice());
    }
}

/// Reads everything of `message`; `aor` is room to write into.
pub(crate) fn touch_everything(message: &Message<'_>, aor: &mut Vec<u8>) -> u64 {
    let mut digest = Digest { hasher: DefaultHasher::new(), bytes: message.bytes() };
    let d = &mut digest;
    if let Some(fault) = message.fault() {
        d.fault(fault);
    }
    match message.start_line() {
        StartLine::Request { method, uri } => {
            d.method(method);
            d.part(uri);
        }
        StartLine::Response { status, reason } => {
            d.note(status);
            d.part(reason);
        }
    }
    d.note((message.method().is_some(), message.status(), message.headers_at(), message.headers_end()));
    assert!(message.headers_at() <= message.headers_end() && message.headers_end() <= message.bytes().len());
    d.part(message.body());
    d.uri(Uri::parse(message.request_uri()), aor);
    fields(d, message);
    d.via(message.top_via());
    if let Some(via) = message.top_via_head() {
        assert!(message.top_via().is_err() || message.top_via().is_ok_and(|top| top.sent_by == via.sent_by));
        d.via(Ok(via));
    }
    message.vias().for_each(|via| d.via(via));
    match message.cseq() {
        Ok(cseq) => {
            d.note(cseq.number);
            d.method(cseq.method);
        }
        Err(fault) => d.fault(fault),
    }
    match message.call_id() {
        Ok(call_id) => d.part(call_id),
        Err(fault) => d.fault(fault),
    }
    d.note((message.max_forwards().ok(), message.expires()));
    for contact in message.contacts() {
        match contact {
            Ok(Contact::All) => d.note("*"),
            Ok(Contact::At(address)) => d.address(&address, aor),
            Err(fault) => d.fault(fault),
        }
    }
    for name in NAMES {
        match message.address(name) {
            Ok(address) => d.address(&address, aor),
            Err(fault) => d.fault(fault),
        }
        for address in message.addresses(name) {
            match address {
                Ok(address) => d.address(&address, aor),
                Err(fault) => d.fault(fault),
            }
        }
        message.tags(name).for_each(|tag| d.part(tag));
        d.note(message.tags(name).has("path"));
    }
    digest.hasher.finish()
}

fn fields(d: &mut Digest<'_>, message: &Message<'_>) {
    let mut end = message.headers_at();
    for field in message.all_fields() {
        d.note(field.name);
        d.part(field.line);
        d.part(field.value);
        assert!(end <= field.line_at, "fields do not overlap");
        end = field.line_at + field.line.len();
        assert_eq!(&message.bytes()[field.line_at..end], field.line);
        assert_eq!(&message.bytes()[field.value_at..][..field.value.len()], field.value);
        assert!(field.value_at + field.value.len() <= end);
    }
    assert!(end <= message.headers_end());
    for name in NAMES.into_iter().filter(|&name| name != HeaderName::Other) {
        let same = || message.all_fields().filter(|field| field.name == name);
        assert!(message.fields(name).eq(same()));
        assert_eq!(message.first(name), same().next());
        assert_eq!(message.value(name), same().next().map(|field| field.value));
    }
}

/// Room for what is made of a message, used again.
#[derive(Default)]
pub(crate) struct Room {
    pub(crate) out: Vec<u8>,
    pub(crate) index: Index,
}

/// Composes everything that can be made of `message`: it scans, and as soundly as `message` did.
pub(crate) fn compose_everything(message: &Message<'_>, room: &mut Room) {
    // What is added could go beyond the bounds of a message otherwise.
    if message.all_fields().count() > 240 || message.bytes().len() > 60_000 {
        return;
    }
    let Room { out, index } = room;
    let stamp = Stamp { received: Some([192, 0, 2, 9].into()), rport: Some(5062) };
    for stamp in [Stamp::default(), stamp] {
        out.clear();
        compose::reply(out, message, 486, "Busy Here", b"ours", stamp);
        compose::end(out);
        let reply = scan(out, index).unwrap();
        assert!(reply.fault().is_none() || message.fault().is_some(), "{:?}", reply.fault());
        assert!(
            !reply.fault().is_some_and(|fault| matches!(fault, Fault::Repeated(_) | Fault::NoEnd | Fault::ShortBody))
        );
        assert_eq!((reply.status(), reply.body()), (Some(486), b"".as_slice()));
        assert_eq!(reply.fields(HeaderName::Via).count(), message.fields(HeaderName::Via).count());
    }
    forward(message, room);
    let Room { out, index } = room;
    for ack in [true, false] {
        out.clear();
        if ack {
            compose::ack(out, message, message.value(HeaderName::To).unwrap_or_default());
        } else {
            compose::cancel(out, message);
        }
        let made = scan(out, index);
        if message.fault().is_none() && message.method().is_some() {
            assert_eq!(made.unwrap().fault(), None);
        }
    }
}

fn forward(message: &Message<'_>, room: &mut Room) {
    let Room { out, index } = room;
    let routes_popped = message.bytes().len() % 3;
    let change = Forward {
        request_uri: b"sip:next@example.com",
        via: b"Via: SIP/2.0/UDP us;branch=z9hG4bKus\r\n",
        record_route: b"Record-Route: <sip:us;lr>\r\n",
        routes: b"",
        routes_popped,
        max_forwards: 9,
        max_breadth: Some(60),
        contact: None,
        stamp: Stamp::default(),
        top: None,
    };
    out.clear();
    compose::forward_request(out, message, &change);
    if message.fault().is_none() && message.method().is_some() {
        let made = scan(out, index).unwrap();
        assert_eq!((made.fault(), made.body(), made.max_forwards()), (None, message.body(), Ok(Some(9))));
        let raw = |via: Result<Via<'_>, Fault>| via.map(|via| via.raw.len());
        assert!(made.vias().skip(1).map(raw).eq(message.vias().map(raw)));
        let route = |m: &Message<'_>, at: usize| m.addresses(HeaderName::Route).nth(at).map(|r| r.map(|r| r.uri.len()));
        if message.addresses(HeaderName::Route).all(|route| route.is_ok()) {
            let count = message.addresses(HeaderName::Route).count();
            assert_eq!(made.addresses(HeaderName::Route).count(), count.saturating_sub(routes_popped));
            for at in routes_popped..count {
                assert_eq!(route(&made, at - routes_popped), route(message, at));
            }
        }
    }
    out.clear();
    compose::forward_response(out, message);
    if message.fault().is_none() && message.status().is_some() && message.top_via().is_ok() {
        let made = scan(out, index).unwrap();
        assert_eq!((made.fault(), made.body(), made.start_line()), (None, message.body(), message.start_line()));
        let raw = |via: Result<Via<'_>, Fault>| via.map(|via| via.raw.len());
        assert!(made.vias().map(raw).eq(message.vias().skip(1).map(raw)));
    }
}
