//! When two URIs are equal (RFC 3261 §19.1.4, RFC 3966 §4).

use super::{SipUri, TelUri, Uri, params_of};
use crate::chars;

/// A character as RFC 3261 §19.1.4 compares it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Written plainly, or escaped without need.
    Plain(u8),
    /// Escaped, and not the same as its plain form: reserved, or not printable.
    Escaped(u8),
}

pub(super) fn units(text: &[u8]) -> impl Iterator<Item = Unit> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let b = *text.get(at)?;
        if let [b'%', high, low, ..] = text[at..]
            && let (Some(high), Some(low)) = (chars::hex(high), chars::hex(low))
        {
            at += 3;
            let b = high << 4 | low;
            return Some(if chars::is(b, chars::UNRESERVED) { Unit::Plain(b) } else { Unit::Escaped(b) });
        }
        at += 1;
        Some(Unit::Plain(b))
    })
}

/// The characters of a part of a URI, what was escaped (`%` and two hexadecimal digits) for itself.
pub fn unescaped(text: &[u8]) -> impl Iterator<Item = u8> + '_ {
    units(text).map(|unit| match unit {
        Unit::Plain(b) | Unit::Escaped(b) => b,
    })
}

fn has_escapes(text: &[u8]) -> bool {
    memchr::memchr(b'%', text).is_some()
}

/// Equal but for needless escapes, case counting.
fn eq_exact(a: &[u8], b: &[u8]) -> bool {
    a == b || ((has_escapes(a) || has_escapes(b)) && units(a).eq(units(b)))
}

/// Equal but for needless escapes and case.
pub(super) fn eq_folded(a: &[u8], b: &[u8]) -> bool {
    let fold = |u: Unit| match u {
        Unit::Plain(b) => Unit::Plain(b.to_ascii_lowercase()),
        escaped @ Unit::Escaped(_) => escaped,
    };
    chars::eq_ignore_case(a, b) || ((has_escapes(a) || has_escapes(b)) && units(a).map(fold).eq(units(b).map(fold)))
}

fn eq_option(a: Option<&[u8]>, b: Option<&[u8]>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => eq_exact(a, b),
        (a, b) => a.is_none() && b.is_none(),
    }
}

impl PartialEq for SipUri<'_> {
    /// RFC 3261 §19.1.4. Not transitive, as the RFC notes.
    fn eq(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && eq_option(self.user, other.user)
            && eq_option(self.password, other.password)
            && self.host == other.host
            && self.port == other.port
            && params_match(self, other)
            && params_match(other, self)
            && headers_match(self.headers, other.headers)
    }
}

/// Whether every parameter of `a` agrees with `b`: present in both it must be equal; user, ttl, method,
/// maddr and (by the examples of §19.1.4) transport must be present in both or in none.
///
/// The count of parameters is bounded when a URI is parsed, and so is the square of it here.
fn params_match(a: &SipUri<'_>, b: &SipUri<'_>) -> bool {
    const MUST_BE_IN_BOTH: [&[u8]; 5] = [b"user", b"ttl", b"method", b"maddr", b"transport"];
    a.params().all(|(name, value)| match b.params().find(|(other, _)| eq_folded(name, other)) {
        Some((_, other)) => eq_folded(value.unwrap_or_default(), other.unwrap_or_default()),
        None => !MUST_BE_IN_BOTH.iter().any(|m| eq_folded(m, name)),
    })
}

/// Headers are never ignored: the same ones in any order.
fn headers_match(a: &[u8], b: &[u8]) -> bool {
    if a == b {
        return true;
    }
    let within =
        |a: &[u8], b: &[u8]| a.split(|&c| c == b'&').all(|h| b.split(|&c| c == b'&').any(|other| header_eq(h, other)));
    !a.is_empty() && !b.is_empty() && within(a, b) && within(b, a)
}

fn header_eq(a: &[u8], b: &[u8]) -> bool {
    let split = |h: &[u8]| memchr::memchr(b'=', h).unwrap_or(h.len());
    let (at_a, at_b) = (split(a), split(b));
    eq_folded(&a[..at_a], &b[..at_b]) && eq_exact(&a[at_a..], &b[at_b..])
}

impl PartialEq for TelUri<'_> {
    /// RFC 3966 §4: the number without its visual separators, and the same parameters in any order.
    fn eq(&self, other: &Self) -> bool {
        let within = |a: &[u8], b: &[u8]| {
            params_of(a).all(|(name, value)| {
                params_of(b).any(|(other, its)| {
                    eq_folded(name, other) && eq_folded(value.unwrap_or_default(), its.unwrap_or_default())
                })
            })
        };
        self.digits().eq(other.digits()) && within(self.params, other.params) && within(other.params, self.params)
    }
}

impl PartialEq for Uri<'_> {
    /// SIP and tel URIs by their own rules, others as written.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sip(a), Self::Sip(b)) => a == b,
            (Self::Tel(a), Self::Tel(b)) => a == b,
            (Self::Other(a), Self::Other(b)) => a == b,
            _ => false,
        }
    }
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

    /// The pairs of RFC 3261 §19.1.4 that are equal.
    #[test]
    fn rfc3261_19_1_4_equal_pairs() {
        for (a, b) in [
            ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
            ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            ),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            ),
        ] {
            assert!(sip(a) == sip(b), "{a} {b}");
        }
    }

    /// The pairs of RFC 3261 §19.1.4 that are not.
    #[test]
    fn rfc3261_19_1_4_unequal_pairs() {
        for (a, b) in [
            ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            ("sip:bob@biloxi.com:6000;transport=tcp", "sip:bob@biloxi.com;transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
            ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
            ("sip:a@b.c", "sips:a@b.c"),
            ("sip:a%2Fb@b.c", "sip:a/b@b.c"),
            ("sip:null-%00-null@b.c", "sip:null-%00@b.c"),
        ] {
            assert!(sip(a) != sip(b), "{a} {b}");
        }
    }
}
