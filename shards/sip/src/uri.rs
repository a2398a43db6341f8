//! URIs: sip, sips and tel (RFC 3261 §19.1, RFC 3966).

mod equality;

use crate::chars::{self, URI_PARAM, USER};
use crate::host::Host;
pub use equality::unescaped;
use equality::{Unit, eq_folded, units};

/// Parameters, and headers, of one URI. Comparing two URIs costs the square of it.
const URI_PARAMS_COUNT_MAX: usize = 32;

/// A scheme we route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// sip
    Sip,
    /// sips: TLS on every hop (RFC 5630)
    Sips,
}

/// A SIP or SIPS URI, taken apart; every part is as written.
#[derive(Clone, Copy, Debug)]
pub struct SipUri<'a> {
    /// sip or sips.
    pub scheme: Scheme,
    /// The user part without password; `None` when there is no `@`.
    pub user: Option<&'a [u8]>,
    /// The password.
    pub password: Option<&'a [u8]>,
    /// The host.
    pub host: Host<'a>,
    /// The port, when it is said.
    pub port: Option<u16>,
    /// The URI parameters without the first semicolon.
    params: &'a [u8],
    /// The headers without the question mark.
    pub headers: &'a [u8],
}

/// A tel URI (RFC 3966), taken apart.
#[derive(Clone, Copy, Debug)]
pub struct TelUri<'a> {
    /// The subscriber number, with its visual separators.
    pub number: &'a [u8],
    /// The parameters without the first semicolon.
    params: &'a [u8],
}

/// Any URI.
///
/// What was parsed is printable ASCII without space, quotes and angle brackets, so that it can be written into a
/// start line or a header field as it is.
#[derive(Clone, Copy, Debug)]
pub enum Uri<'a> {
    /// RFC 3261 §19.1.
    Sip(SipUri<'a>),
    /// RFC 3966.
    Tel(TelUri<'a>),
    /// An absolute URI of another scheme, whole.
    Other(&'a [u8]),
}

impl<'a> Uri<'a> {
    /// Reads all of `text` as a URI.
    pub fn parse(text: &'a [u8]) -> Result<Self, &'static str> {
        match *text {
            [s, i, p, b':', ref rest @ ..] if chars::fold4([s, i, p, b':']) == chars::fold4(*b"sip:") => {
                SipUri::parse_rest(Scheme::Sip, rest).map(Self::Sip)
            }
            [a, b, c, d, b':', ref rest @ ..] if chars::fold4([a, b, c, d]) == chars::fold4(*b"sips") => {
                SipUri::parse_rest(Scheme::Sips, rest).map(Self::Sip)
            }
            [t, e, l, b':', ref rest @ ..] if chars::fold4([t, e, l, b':']) == chars::fold4(*b"tel:") => {
                TelUri::parse_rest(rest).map(Self::Tel)
            }
            _ => Self::parse_other(text),
        }
    }

    fn parse_other(text: &'a [u8]) -> Result<Self, &'static str> {
        let colon = memchr::memchr(b':', text).ok_or("URI without scheme")?;
        let (scheme, rest) = (&text[..colon], &text[colon + 1..]);
        let is_scheme = scheme.first().is_some_and(u8::is_ascii_alphabetic)
            && scheme.iter().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b));
        let is_printable = rest.iter().all(|&b| b > b' ' && b < 0x7f && !b"<>\"".contains(&b));
        if is_scheme && is_printable && !rest.is_empty() { Ok(Self::Other(text)) } else { Err("URI is malformed") }
    }

    /// The SIP or SIPS URI, when it is one.
    pub fn sip(&self) -> Option<&SipUri<'a>> {
        match self {
            Self::Sip(uri) => Some(uri),
            Self::Tel(_) | Self::Other(_) => None,
        }
    }

    /// Appends a tel URI's number without visual separators; nothing for another URI.
    pub fn write_tel_digits(&self, out: &mut Vec<u8>) {
        if let Self::Tel(tel) = self {
            out.extend(tel.digits());
        }
    }
}

impl<'a> TelUri<'a> {
    /// Reads what follows `tel:`.
    fn parse_rest(rest: &'a [u8]) -> Result<Self, &'static str> {
        let len = memchr::memchr(b';', rest).unwrap_or(rest.len());
        let (number, params) = rest.split_at(len);
        let digits = number.strip_prefix(b"+").unwrap_or(number);
        let allowed = |b: &u8| b.is_ascii_hexdigit() || b"*#-.()".contains(b);
        if !digits.iter().all(allowed) || !digits.iter().any(|b| b.is_ascii_hexdigit() || b"*#".contains(b)) {
            return Err("tel URI without a number");
        }
        let params = match params {
            [b';', params @ ..] if params_len(params)? == params.len() => params,
            [] => params,
            _ => return Err("malformed URI parameter"),
        };
        Ok(Self { number, params })
    }

    /// The parameters: names and values as written.
    pub fn params(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        params_of(self.params)
    }

    /// The number without its visual separators (RFC 3966 §3).
    fn digits(&self) -> impl Iterator<Item = u8> + use<'a> {
        self.number.iter().filter(|b| !b"-.()".contains(b)).map(u8::to_ascii_lowercase)
    }
}

impl<'a> SipUri<'a> {
    /// Reads what follows `sip:` or `sips:`.
    fn parse_rest(scheme: Scheme, rest: &'a [u8]) -> Result<Self, &'static str> {
        let (user, password, rest) = split_user(rest)?;
        let (host, rest) = Host::parse_prefix(rest)?;
        let (port, rest) = match rest {
            [b':', digits @ ..] => {
                let (port, len) = chars::port_prefix(digits).ok_or("port is no number up to 65535")?;
                (Some(port), &digits[len..])
            }
            _ => (None, rest),
        };
        let (params, rest) = match rest {
            [b';', tail @ ..] => tail.split_at(params_len(tail)?),
            _ => (&rest[..0], rest),
        };
        let headers = match rest {
            [] => rest,
            [b'?', headers @ ..] => {
                check_headers(headers)?;
                headers
            }
            _ => return Err("unexpected character after the host of a URI"),
        };
        Ok(Self { scheme, user, password, host, port, params, headers })
    }

    /// The URI parameters: names and values as written.
    pub fn params(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        params_of(self.params)
    }

    /// The URI parameter of that name: `None` when absent, an empty value when it has none.
    pub fn param(&self, name: &str) -> Option<&'a [u8]> {
        let found = self.params().find(|(n, _)| eq_folded(n, name.as_bytes()));
        found.map(|(_, value)| value.unwrap_or_default())
    }

    /// The URI parameters as written, without the first semicolon.
    pub fn params_bytes(&self) -> &'a [u8] {
        self.params
    }

    /// Appends the canonical AoR of this URI: `user@host`, the user's needless escapes resolved, the host in
    /// lower case, without port, password and parameters (RFC 3261 §10.3 step 5). Without a user only the host.
    ///
    /// An escaped reserved or unprintable character stays escaped, in upper case, so that no two AoRs
    /// become one and nothing unprintable gets into a name (RFC 4475 §3.1.1.4: `%00` does not end it).
    pub fn write_aor(&self, out: &mut Vec<u8>) {
        if let Some(user) = self.user {
            write_unescaped(user, out);
            out.push(b'@');
        }
        write_host(&self.host, out);
    }
}

/// Appends `host` in its canonical form: a name in lower case without a final dot, an address as such.
pub(crate) fn write_host(host: &Host<'_>, out: &mut Vec<u8>) {
    match host {
        Host::Name(name) => {
            let name = name.strip_suffix(b".").unwrap_or(name);
            let start = out.len();
            out.extend_from_slice(name);
            out[start..].make_ascii_lowercase();
        }
        Host::Ip(ip) => crate::compose::address(out, *ip),
    }
}

fn write_unescaped(text: &[u8], out: &mut Vec<u8>) {
    // The usual user has no escape at all.
    if chars::position(text, b'%').is_none() {
        out.extend_from_slice(text);
        return;
    }
    for unit in units(text) {
        match unit {
            Unit::Plain(b) => out.push(b),
            Unit::Escaped(b) => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                out.extend_from_slice(&[b'%', HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]);
            }
        }
    }
}

type UserParts<'a> = (Option<&'a [u8]>, Option<&'a [u8]>, &'a [u8]);

/// Reads user and password where there is an at sign; gives what follows it.
fn split_user(rest: &[u8]) -> Result<UserParts<'_>, &'static str> {
    const NEEDS_ESCAPE: &str = "URI with a character in its user part that needs an escape";
    let user_len = chars::span_escaped(rest, USER);
    let password_len = match rest[user_len..] {
        [b'@', ref host @ ..] if user_len > 0 => return Ok((Some(&rest[..user_len]), None, host)),
        [b'@', ..] => return Err("URI with an empty user"),
        [b':', ref password @ ..] => chars::span_escaped(password, USER),
        // Either all of it is the host and what follows, or a character stands before the at sign that must not.
        _ if chars::position(rest, b'@').is_none() => return Ok((None, None, rest)),
        _ => return Err(NEEDS_ESCAPE),
    };
    let password = &rest[user_len + 1..][..password_len];
    match rest[user_len + 1 + password_len..] {
        [b'@', ..] if user_len == 0 => Err("URI with an empty user"),
        [b'@', ref host @ ..] => Ok((Some(&rest[..user_len]), Some(password), host)),
        _ if chars::position(rest, b'@').is_none() => Ok((None, None, rest)),
        _ => Err(NEEDS_ESCAPE),
    }
}

/// The length of the URI parameters that `input`, behind the first semicolon, begins with.
fn params_len(input: &[u8]) -> Result<usize, &'static str> {
    const MALFORMED: &str = "malformed URI parameter";
    let mut at = 0;
    for _ in 0..URI_PARAMS_COUNT_MAX {
        let name_len = chars::span_escaped(&input[at..], URI_PARAM);
        if name_len == 0 {
            return Err(MALFORMED);
        }
        at += name_len;
        if input.get(at) == Some(&b'=') {
            at += 1;
            at += chars::span_escaped(&input[at..], URI_PARAM);
        }
        match input.get(at) {
            Some(b';') => at += 1,
            Some(b'?') | None => return Ok(at),
            Some(_) => return Err(MALFORMED),
        }
    }
    Err("URI with too many parameters")
}

/// Parameters whose grammar was checked.
fn params_of(params: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    params.split(|&b| b == b';').filter(|p| !p.is_empty()).map(|p| match memchr::memchr(b'=', p) {
        Some(at) => (&p[..at], Some(&p[at + 1..])),
        None => (p, None),
    })
}

fn check_headers(headers: &[u8]) -> Result<(), &'static str> {
    // hnv-unreserved has the question mark where param-unreserved has the ampersand, which parts headers.
    let is_part = |part: &[u8]| part.split(|&b| b == b'?').all(|p| chars::all_or_escaped(p, URI_PARAM));
    for (i, header) in headers.split(|&b| b == b'&').enumerate() {
        if i == URI_PARAMS_COUNT_MAX {
            return Err("URI with too many headers");
        }
        match memchr::memchr(b'=', header) {
            Some(at) if at > 0 && is_part(&header[..at]) && header[at + 1..].split(|&b| b == b'=').all(is_part) => {}
            _ => return Err("malformed header in a URI"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sip(text: &str) -> SipUri<'_> {
        match Uri::parse(text.as_bytes()) {
            Ok(Uri::Sip(uri)) => uri,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn aor(text: &str) -> String {
        let mut out = Vec::new();
        sip(text).write_aor(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rfc3261_10_3_aors_are_canonical() {
        assert_eq!(aor("sips:Alice:secret@Example.COM:5061;transport=tcp?a=b"), "Alice@example.com");
        assert_eq!(aor("sip:%61%2f%00@h"), "a%2F%00@h");
        assert_eq!(aor("sip:user;par=u%40example.net@Example.com."), "user;par=u%40example.net@example.com");
        assert_eq!(aor("sip:a@[2001:DB8::1]:5060"), "a@2001:db8::1");
        assert_eq!(aor("sip:example.com"), "example.com");
    }

    #[test]
    fn rfc3261_19_1_1_parts_and_breaches() {
        let uri = sip("sip:+1-212:pw@gw.com:5070;user=phone;lr?a=b&c=d");
        assert_eq!(uri.user, Some(b"+1-212".as_slice()));
        assert_eq!(uri.password, Some(b"pw".as_slice()));
        assert_eq!(uri.port, Some(5070));
        assert_eq!(uri.param("USER"), Some(b"phone".as_slice()));
        assert_eq!(uri.param("lr"), Some(b"".as_slice()));
        assert_eq!(uri.param("maddr"), None);
        assert_eq!(uri.headers, b"a=b&c=d");
        for bad in [
            "sip:",
            "sip:@h",
            "sip:a@",
            "sip:a@@h",
            "sip:a b@h",
            "sip:a%4@h",
            "sip:a@h:",
            "sip:a@h:99999",
            "sip:a@h;",
            "sip:a@h;;x",
            "sip:a@h;=x",
            "sip:a@h?x",
            "sip:a@h x",
            "<sip:a@h>",
            "sip",
            "sip:2001:db8::10",
            "tel:",
            "tel:x",
        ] {
            assert!(Uri::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let Ok(Uri::Tel(tel)) = Uri::parse(b"tel:+1-201-555-0123;phone-context=x") else { panic!("no tel URI") };
        assert_eq!(tel.number, b"+1-201-555-0123");
        assert!(tel.params().eq([(b"phone-context".as_slice(), Some(b"x".as_slice()))]));
        assert!(matches!(Uri::parse(b"soap.beep://192.0.2.103:3002"), Ok(Uri::Other(_))));
    }
}
