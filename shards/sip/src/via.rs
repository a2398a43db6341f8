//! Via (RFC 3261 §20.42).

use crate::chars::{self, TOKEN};
use crate::fault::Fault;
use crate::header::HeaderName;
use crate::host::Host;
use crate::message::Fields;
use crate::params::{Param, Params};

/// One Via value.
#[derive(Clone, Copy, Debug)]
pub struct Via<'a> {
    /// The transport token as written (`UDP`).
    pub transport: &'a [u8],
    /// The sent-by host.
    pub host: Host<'a>,
    /// The sent-by port.
    pub port: Option<u16>,
    /// host and port as written.
    pub sent_by: &'a [u8],
    /// The parameters.
    pub params: Params<'a>,
    /// This value as written, without what parts it from the next.
    pub raw: &'a [u8],
    branch: Option<&'a [u8]>,
    rport: Option<Param<'a>>,
    has_received: bool,
}

impl<'a> Via<'a> {
    /// Reads the first Via of `value`; gives what follows, behind the comma.
    ///
    /// The protocol may be any, by the grammar: a request of another version must still be answered 505 along its
    /// Via (RFC 4475 §3.1.2.16).
    pub(crate) fn parse_prefix(value: &'a [u8]) -> Result<(Self, &'a [u8]), &'static str> {
        let (mut via, rest) = Self::parse_head(value)?;
        let mut seen = Seen::default();
        let (params, rest) = Params::parse_prefix(rest, |param| seen.note(param))?;
        via.params = params;
        via.raw = chars::trim_end(&value[..value.len() - rest.len()]);
        Seen { branch: via.branch, rport: via.rport, .. } = seen;
        via.has_received = seen.names & RECEIVED != 0;
        let rest = match rest {
            [b',', rest @ ..] => match chars::trim_start(rest) {
                [] => return Err("list ends with a comma"),
                rest => rest,
            },
            _ => rest,
        };
        Ok((via, rest))
    }

    /// Reads the first Via of `value` up to its sent-by; gives what follows.
    #[inline]
    pub(crate) fn parse_head(value: &'a [u8]) -> Result<(Self, &'a [u8]), &'static str> {
        let rest = match value {
            // Nearly all of them.
            [b'S', b'I', b'P', b'/', b'2', b'.', b'0', b'/', rest @ ..] => chars::trim_start(rest),
            _ => token_and_slash(token_and_slash(value)?)?,
        };
        let (transport, rest) = rest.split_at(chars::span(rest, TOKEN));
        let sent_by_and_more = chars::trim_start(rest);
        if transport.is_empty() || sent_by_and_more.len() == rest.len() {
            return Err("transport or sent-by is missing");
        }
        let (host, rest) = Host::parse_prefix(sent_by_and_more)?;
        let (port, rest) = parse_port(rest)?;
        let sent_by = &sent_by_and_more[..sent_by_and_more.len() - rest.len()];
        let raw = &value[..value.len() - rest.len()];
        let (params, branch, rport, has_received) = (Params::default(), None, None, false);
        Ok((Self { transport, host, port, sent_by, params, raw, branch, rport, has_received }, rest))
    }

    /// The branch parameter.
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.branch
    }

    /// The rport parameter (RFC 3581 §3), with or without a value.
    pub fn rport(&self) -> Option<Param<'a>> {
        self.rport
    }

    /// Whether there is a received parameter.
    pub fn has_received(&self) -> bool {
        self.has_received
    }
}

/// The parameters that decide where a response goes stand once: two elements could each read another of two
/// (RFC 3261 §7.3.1).
#[derive(Default)]
struct Seen<'a> {
    names: u8,
    branch: Option<&'a [u8]>,
    rport: Option<Param<'a>>,
}

/// The bit of received in the set of names seen.
const RECEIVED: u8 = 4;

impl<'a> Seen<'a> {
    #[inline]
    fn note(&mut self, param: Param<'a>) -> Result<(), &'static str> {
        let bit = match param.name.len() {
            6 if param.is("branch") => {
                self.branch = self.branch.or(param.unquoted());
                1
            }
            5 if param.is("rport") => {
                self.rport = self.rport.or(Some(param));
                2
            }
            8 if param.is("received") => RECEIVED,
            5 if param.is("maddr") => 8,
            3 if param.is("ttl") => 16,
            _ => return Ok(()),
        };
        if self.names & bit != 0 {
            return Err("a parameter stands twice");
        }
        self.names |= bit;
        Ok(())
    }
}

/// Passes over a token and the slash behind it, white space around both.
fn token_and_slash(input: &[u8]) -> Result<&[u8], &'static str> {
    let len = chars::span(input, TOKEN);
    match chars::trim_start(&input[len..]) {
        [b'/', rest @ ..] if len > 0 => Ok(chars::trim_start(rest)),
        _ => Err("protocol is malformed"),
    }
}

/// Reads a port where there is one; COLON allows white space around it.
fn parse_port(input: &[u8]) -> Result<(Option<u16>, &[u8]), &'static str> {
    let [b':', rest @ ..] = chars::trim_start(input) else { return Ok((None, input)) };
    let rest = chars::trim_start(rest);
    let (port, len) = chars::port_prefix(rest).ok_or("port is no number up to 65535")?;
    Ok((Some(port), &rest[len..]))
}

/// The Vias of a message, topmost first.
#[derive(Clone, Debug)]
pub struct Vias<'a> {
    fields: Fields<'a>,
    rest: &'a [u8],
}

impl<'a> Vias<'a> {
    pub(crate) fn new(fields: Fields<'a>) -> Self {
        Self { fields, rest: &[] }
    }
}

impl<'a> Iterator for Vias<'a> {
    type Item = Result<Via<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            self.rest = self.fields.next()?.value;
        }
        match Via::parse_prefix(self.rest) {
            Ok((via, rest)) => {
                self.rest = rest;
                Some(Ok(via))
            }
            Err(what) => {
                self.rest = &[];
                Some(Err(Fault::Header(HeaderName::Via, what)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3261_20_42_via_with_white_space_everywhere() {
        let value = b"SIP  /2.0\r\n /UDP\r\n    192.0.2.2 : 5070 ; branch=390skdjuw ;rport, SIP/2.0/TCP a";
        let (via, rest) = Via::parse_prefix(value).unwrap();
        assert_eq!(via.transport, b"UDP");
        assert_eq!(via.host, Host::parse(b"192.0.2.2").unwrap());
        assert_eq!(via.port, Some(5070));
        assert_eq!(via.branch(), Some(b"390skdjuw".as_slice()));
        assert!(via.params.has("rport"));
        assert!(via.raw.ends_with(b";rport"));
        assert_eq!(rest, b"SIP/2.0/TCP a");
        let (via, rest) = Via::parse_prefix(rest).unwrap();
        assert_eq!((via.sent_by, rest), (b"a".as_slice(), b"".as_slice()));
    }

    #[test]
    fn rfc5118_4_5_received_with_and_without_brackets() {
        for value in ["[2001:db8::9:255]", "2001:db8::9:255"] {
            let text = format!("SIP/2.0/UDP [2001:db8::9:1];received={value};branch=z9hG4bKas3");
            let (via, _) = Via::parse_prefix(text.as_bytes()).unwrap();
            assert_eq!(Host::parse(via.params.value("received").unwrap()), Host::parse(b"2001:db8::9:255"));
            assert_eq!(via.branch(), Some(b"z9hG4bKas3".as_slice()));
        }
    }

    #[test]
    fn malformed_vias_are_refused() {
        for bad in [
            "",
            "SIP/2.0",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ",
            "SIP/2.0/UDP h:x",
            "SIP/2.0/UDP ;;,;,,",
            "SIP/2.0/UDP [::1",
            "SIP/2.0/UDP h,",
            "SIP/2.0/UDP h;branch=a;branch=b",
        ] {
            assert!(Via::parse_prefix(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
