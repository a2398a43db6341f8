//! Addresses: name-addr and addr-spec with parameters, alone and in lists (RFC 3261 §20.10, §25.1).

use crate::chars::{self, SPACE, TOKEN};
use crate::fault::Fault;
use crate::header::HeaderName;
use crate::message::Fields;
use crate::params::{Param, Params};
use crate::uri::Uri;

/// The value of From, To, Contact, Route and such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address<'a> {
    /// The display name as written, quotes included; empty when there is none.
    pub display: &'a [u8],
    /// The URI as written, without angle brackets. Its own grammar is checked by [`Address::uri`].
    pub uri: &'a [u8],
    /// The header parameters.
    pub params: Params<'a>,
    /// This value as written, without what parts it from the next.
    pub raw: &'a [u8],
    tag: Tag<'a>,
}

/// What the tag parameters are worth (RFC 3261 §19.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Tag<'a> {
    #[default]
    None,
    One(&'a [u8]),
    /// Two of them, or one without a value or with a quoted one: two elements could read it differently.
    Malformed,
}

impl<'a> Tag<'a> {
    #[inline]
    fn note(&mut self, param: Param<'a>) {
        if param.name.len() == 3 && param.is("tag") {
            *self = match (*self, param.value) {
                (Self::None, Some(value)) if !value.starts_with(b"\"") => Self::One(value),
                _ => Self::Malformed,
            };
        }
    }
}

/// Display name, URI and what follows.
type Parts<'a> = (&'a [u8], &'a [u8], &'a [u8]);

impl<'a> Address<'a> {
    /// Reads the first address of `value`; gives what follows, behind the comma.
    #[inline]
    pub fn parse_prefix(value: &'a [u8]) -> Result<(Self, &'a [u8]), &'static str> {
        let (display, uri, rest) = match value {
            [b'"', ..] => {
                let end = chars::quoted_len(value).ok_or("quoted display name does not end")?;
                let (uri, rest) = bracketed(chars::trim_start(&value[end..]))?;
                (&value[..end], uri, rest)
            }
            [b'<', ..] => {
                let (uri, rest) = bracketed(value)?;
                (&value[..0], uri, rest)
            }
            _ => Self::parse_unquoted(value)?,
        };
        let mut tag = Tag::default();
        let (params, rest) = Params::parse_prefix(rest, |param| {
            tag.note(param);
            Ok(())
        })?;
        let raw = chars::trim_end(&value[..value.len() - rest.len()]);
        let rest = match rest {
            [b',', rest @ ..] => match chars::trim_start(rest) {
                [] => return Err("list ends with a comma"),
                rest => rest,
            },
            _ => rest,
        };
        Ok((Self { display, uri, params, raw, tag }, rest))
    }

    /// Reads all of `value` as the one address that From and To are, with at most one tag.
    pub fn parse_only(value: &'a [u8]) -> Result<Self, &'static str> {
        match Self::parse_prefix(value)? {
            (Self { tag: Tag::Malformed, .. }, _) => Err("tag is malformed or stands twice"),
            (address, []) => Ok(address),
            _ => Err("more than one address"),
        }
    }

    /// Tokens as display name before `<`, or an addr-spec without brackets.
    fn parse_unquoted(value: &'a [u8]) -> Result<Parts<'a>, &'static str> {
        let name_len = value.iter().position(|&b| !chars::is(b, TOKEN | SPACE) && b < 0x80).unwrap_or(value.len());
        if value.get(name_len) == Some(&b'<') {
            let (uri, rest) = bracketed(&value[name_len..])?;
            return Ok((chars::trim_end(&value[..name_len]), uri, rest));
        }
        // RFC 3261 §20.10: without brackets, what follows a semicolon belongs to the header field, and a URI
        // with a comma, semicolon or question mark must have them.
        let ends = |&b: &u8| matches!(b, b';' | b',' | b'?' | b'<' | b'>' | b'"') || chars::is(b, SPACE);
        let len = value.iter().position(ends).unwrap_or(value.len());
        if len == 0 {
            return Err("address is missing");
        }
        if value.get(len) == Some(&b'?') {
            return Err("a URI with headers must stand between angle brackets");
        }
        Ok((&value[..0], &value[..len], &value[len..]))
    }

    /// The URI, taken apart.
    pub fn uri(&self) -> Result<Uri<'a>, &'static str> {
        Uri::parse(self.uri)
    }

    /// The tag parameter; `None` also when it is malformed, which [`Message::address`](crate::Message::address)
    /// does not let pass.
    pub fn tag(&self) -> Option<&'a [u8]> {
        match self.tag {
            Tag::One(tag) => Some(tag),
            Tag::None | Tag::Malformed => None,
        }
    }
}

fn bracketed(input: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    let [b'<', rest @ ..] = input else { return Err("angle bracket is missing after the display name") };
    let end = chars::position(rest, b'>').ok_or("angle bracket does not close")?;
    Ok((&rest[..end], &rest[end + 1..]))
}

/// The addresses of a header field, over all its lines.
#[derive(Clone, Debug)]
pub struct Addresses<'a> {
    name: HeaderName,
    fields: Fields<'a>,
    rest: &'a [u8],
}

impl<'a> Addresses<'a> {
    pub(crate) fn new(name: HeaderName, fields: Fields<'a>) -> Self {
        Self { name, fields, rest: &[] }
    }

    fn parse_next(&mut self) -> Result<Address<'a>, Fault> {
        match Address::parse_prefix(self.rest) {
            Ok((address, rest)) => {
                self.rest = rest;
                Ok(address)
            }
            Err(what) => {
                self.rest = &[];
                Err(Fault::Header(self.name, what))
            }
        }
    }
}

impl<'a> Iterator for Addresses<'a> {
    type Item = Result<Address<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            self.rest = self.fields.next()?.value;
        }
        Some(self.parse_next())
    }
}

/// One Contact value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact<'a> {
    /// `*`: all bindings (RFC 3261 §10.2.2).
    All,
    /// An address.
    At(Address<'a>),
}

/// The Contacts of a message, over all its lines.
#[derive(Clone, Debug)]
pub struct Contacts<'a> {
    addresses: Addresses<'a>,
}

impl<'a> Contacts<'a> {
    pub(crate) fn new(fields: Fields<'a>) -> Self {
        Self { addresses: Addresses::new(HeaderName::Contact, fields) }
    }
}

impl<'a> Iterator for Contacts<'a> {
    type Item = Result<Contact<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let addresses = &mut self.addresses;
        if addresses.rest.is_empty() {
            addresses.rest = addresses.fields.next()?.value;
            if addresses.rest == b"*" {
                addresses.rest = &[];
                return Some(Ok(Contact::All));
            }
        }
        Some(addresses.parse_next().map(Contact::At))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<Address<'_>, &'static str> {
        match Address::parse_prefix(text.as_bytes())? {
            (address, []) => Ok(address),
            _ => Err("more"),
        }
    }

    #[test]
    fn rfc3261_20_10_brackets_decide_whose_the_parameters_are() {
        let a = one("\"Quoted \\\" Name\" <sip:a@b;x=y>;tag=1").unwrap();
        assert_eq!((a.uri, a.tag()), (b"sip:a@b;x=y".as_slice(), Some(b"1".as_slice())));
        let a = one("sip:a@b;x=y").unwrap();
        assert_eq!((a.uri, a.params.value("x")), (b"sip:a@b".as_slice(), Some(b"y".as_slice())));
        let a = one("caller<sip:caller@example.com>;tag=323").unwrap();
        assert_eq!(a.display, b"caller");
        let a = one("T. A. Watson <sip:a@b>").unwrap();
        assert_eq!(a.display, b"T. A. Watson");
    }

    #[test]
    fn broken_addresses_are_refused() {
        for bad in [
            "",
            "<",
            "<sip:a@b",
            "\"x <sip:a@b>",
            "\"x\" sip:a@b",
            "Bell, Alexander <sip:a@b>",
            "sip:a@b?x=y",
            "sip:a@b,",
            "sip:a@b x",
        ] {
            assert!(one(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lists_are_parted_at_commas_outside_of_quotes_and_brackets() {
        let text = b"\"a,b\" <sip:x,y@h>;p=\"c,d\" , <sip:z@h>";
        let (first, rest) = Address::parse_prefix(text).unwrap();
        assert_eq!(first.uri, b"sip:x,y@h");
        assert_eq!(rest, b"<sip:z@h>");
    }
}
