//! Header fields of a message, line by line: as much of the grammar as a phone of the generator needs.
//!
//! Not the daemon's parser, on purpose: what one of them misreads, the other should not. Fields are not folded
//! (RFC 3261 §7.3.1 lets a sender choose); compact names are known.

use memchr::{memchr, memmem};

/// A message cut into start line, header section and body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    /// The request or status line.
    pub(crate) start: &'a [u8],
    fields: &'a [u8],
}

/// One header field line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    /// Its name, as written.
    pub(crate) name: &'a [u8],
    /// Its value without the spaces around.
    pub(crate) value: &'a [u8],
}

impl<'a> Message<'a> {
    /// Cuts `bytes`; `None` where there is no end of the header section.
    pub(crate) fn cut(bytes: &'a [u8]) -> Option<Self> {
        let end = memmem::find(bytes, b"\r\n\r\n")?;
        let start_end = memmem::find(bytes, b"\r\n")?;
        Some(Self { start: &bytes[..start_end], fields: bytes.get(start_end + 2..end + 2)? })
    }

    /// All fields in their order.
    pub(crate) fn fields(self) -> impl Iterator<Item = Field<'a>> {
        let mut rest = self.fields;
        std::iter::from_fn(move || {
            let end = memmem::find(rest, b"\r\n")?;
            let line = &rest[..end];
            rest = &rest[end + 2..];
            let colon = memchr(b':', line)?;
            Some(Field { name: line[..colon].trim_ascii_end(), value: line[colon + 1..].trim_ascii() })
        })
    }

    /// The values of the fields called `long` or `compact`, in their order.
    pub(crate) fn values(self, long: &'static str, compact: &'static str) -> impl Iterator<Item = &'a [u8]> {
        self.fields().filter(move |field| field.is(long, compact)).map(|field| field.value)
    }

    /// The first such value.
    pub(crate) fn value(self, long: &'static str, compact: &'static str) -> Option<&'a [u8]> {
        self.values(long, compact).next()
    }

    /// The method of the CSeq, which both requests and responses carry.
    pub(crate) fn cseq_method(self) -> Option<&'a [u8]> {
        self.value("CSeq", "CSeq")?.rsplit(|&byte| byte == b' ').next()
    }

    /// The Request-URI.
    pub(crate) fn request_uri(self) -> Option<&'a [u8]> {
        self.start.split(|&byte| byte == b' ').nth(1)
    }
}

impl Field<'_> {
    /// Whether its name is `long` or `compact`, in any case.
    pub(crate) fn is(&self, long: &str, compact: &str) -> bool {
        self.name.eq_ignore_ascii_case(long.as_bytes()) || self.name.eq_ignore_ascii_case(compact.as_bytes())
    }
}

/// The addresses of a list such as Record-Route, each with its brackets and parameters.
pub(crate) fn list_items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut bracketed = false;
    value
        .split(move |&byte| {
            match byte {
                b'<' => bracketed = true,
                b'>' => bracketed = false,
                _ => {}
            }
            byte == b',' && !bracketed
        })
        .map(<[u8]>::trim_ascii)
}

/// The URI between `<` and `>`, or the whole value without its header parameters (RFC 3261 §20.10).
pub(crate) fn uri(address: &[u8]) -> &[u8] {
    if let Some(open) = memchr(b'<', address) {
        let inner = &address[open + 1..];
        return &inner[..memchr(b'>', inner).unwrap_or(inner.len())];
    }
    address[..memchr(b';', address).unwrap_or(address.len())].trim_ascii()
}

/// Host and port of a SIP URI, as written.
pub(crate) fn host_port(uri: &[u8]) -> &[u8] {
    let rest = uri.strip_prefix(b"sip:").unwrap_or(uri);
    let rest = &rest[memchr(b'@', rest).map_or(0, |at| at + 1)..];
    &rest[..rest.iter().position(|byte| b";?".contains(byte)).unwrap_or(rest.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"SIP/2.0 200 OK\r\nVia: a\r\nv : b\r\nRecord-Route: <sip:p1;lr>, <sip:x,y@p2;lr>;z\r\n\
        CSeq: 2 BYE\r\ni: c-1@bench\r\nContent-Length: 0\r\n\r\n";

    #[test]
    fn fields_are_found_by_long_and_compact_name() {
        let message = Message::cut(TEXT).unwrap();
        assert_eq!(message.start, b"SIP/2.0 200 OK");
        let vias: Vec<&[u8]> = message.values("Via", "v").collect();
        assert_eq!(vias, [b"a", b"b"]);
        assert_eq!(message.value("Call-ID", "i").unwrap(), b"c-1@bench");
        assert_eq!(message.cseq_method().unwrap(), b"BYE");
        assert_eq!(message.fields().count(), 6);
        assert!(Message::cut(b"INVITE sip:x SIP/2.0\r\nVia: a\r\n").is_none());
    }

    #[test]
    fn a_list_is_split_at_commas_outside_of_brackets() {
        let routes = Message::cut(TEXT).unwrap().value("Record-Route", "Record-Route").unwrap();
        let items: Vec<&[u8]> = list_items(routes).collect();
        assert_eq!(items, [&b"<sip:p1;lr>"[..], b"<sip:x,y@p2;lr>;z"]);
        assert_eq!(uri(items[1]), b"sip:x,y@p2;lr");
        assert_eq!(uri(b"sip:a@b;tag=1"), b"sip:a@b");
    }

    #[test]
    fn host_and_port_stand_between_user_and_parameters() {
        assert_eq!(host_port(b"sip:c-1@127.0.0.1:40001;transport=UDP"), b"127.0.0.1:40001");
        assert_eq!(host_port(b"sip:127.0.0.1:5060;lr"), b"127.0.0.1:5060");
        assert_eq!(host_port(b"sip:[::1]:5060;lr"), b"[::1]:5060");
    }
}
