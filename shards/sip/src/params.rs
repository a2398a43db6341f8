//! Parameters: `;name=value` after addresses and Vias.

use crate::chars::{self, SPACE, TOKEN, VALUE};

/// One parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    /// Its name, as written; names are equal but for case.
    pub name: &'a [u8],
    /// Its value, as written, a quoted-string with its quotes; `None` when there is no `=`.
    pub value: Option<&'a [u8]>,
    /// From its semicolon to its end, as written.
    pub raw: &'a [u8],
}

impl<'a> Param<'a> {
    /// Whether it has that name.
    #[inline]
    pub fn is(&self, name: &str) -> bool {
        chars::eq_ignore_case(self.name, name.as_bytes())
    }

    /// Its value without the quotes of a quoted-string; escapes inside stay as they are.
    pub fn unquoted(&self) -> Option<&'a [u8]> {
        let value = self.value?;
        match value {
            [b'"', inner @ .., b'"'] => Some(inner),
            _ => Some(value),
        }
    }
}

/// Parameters whose grammar was checked: iterating over them cannot fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Params<'a> {
    raw: &'a [u8],
}

impl<'a> Params<'a> {
    /// Reads the header parameters that `input` begins with, up to a comma or the end, and shows each to `see`;
    /// gives what follows.
    #[inline]
    pub(crate) fn parse_prefix(
        input: &'a [u8],
        mut see: impl FnMut(Param<'a>) -> Result<(), &'static str>,
    ) -> Result<(Self, &'a [u8]), &'static str> {
        let mut rest = chars::trim_start(input);
        while let [b';', ..] = rest {
            let (param, after) = next(rest)?;
            see(param)?;
            rest = after;
        }
        match rest {
            [] | [b',', ..] => Ok((Self { raw: &input[..input.len() - rest.len()] }, rest)),
            _ => Err("unexpected character after parameters"),
        }
    }

    /// All of them as written, from the first semicolon.
    pub fn as_bytes(&self) -> &'a [u8] {
        chars::trim(self.raw)
    }

    /// The parameters in their order.
    pub fn iter(&self) -> impl Iterator<Item = Param<'a>> + use<'a> {
        let mut rest = chars::trim_start(self.raw);
        std::iter::from_fn(move || {
            let (param, after) = next(rest).ok()?;
            rest = after;
            Some(param)
        })
    }

    /// The first parameter of that name.
    pub fn get(&self, name: &str) -> Option<Param<'a>> {
        self.iter().find(|p| p.is(name))
    }

    /// The value of the first parameter of that name, without quotes; `None` also when it has no value.
    pub fn value(&self, name: &str) -> Option<&'a [u8]> {
        self.get(name)?.unquoted()
    }

    /// Whether there is a parameter of that name.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

/// Reads `;name[=value]` with white space around each part (RFC 3261 §25.1 SEMI, EQUAL).
#[inline(always)]
#[expect(clippy::inline_always, reason = "who only looks at names and values is spared the rest")]
fn next(input: &[u8]) -> Result<(Param<'_>, &[u8]), &'static str> {
    if input.first() != Some(&b';') {
        return Err("parameter without semicolon");
    }
    let name_at = space_end(input, 1);
    let name_end = name_at + chars::span(&input[name_at..], TOKEN);
    if name_end == name_at {
        return Err("parameter without name");
    }
    let name = &input[name_at..name_end];
    let (mut value, mut end) = (None, name_end);
    let equals_at = space_end(input, name_end);
    if input.get(equals_at) == Some(&b'=') {
        let value_at = space_end(input, equals_at + 1);
        end = value_at + value_len(&input[value_at..])?;
        value = Some(&input[value_at..end]);
    }
    Ok((Param { name, value, raw: &input[..end] }, &input[space_end(input, end)..]))
}

/// Where the white space at `at` ends; `at` itself when there is none, which is the usual case.
#[inline]
fn space_end(input: &[u8], mut at: usize) -> usize {
    while input.get(at).is_some_and(|&b| b <= b' ' && chars::is(b, SPACE)) {
        at += 1;
    }
    at
}

/// The length of a gen-value: token, host (also a bare IPv6 address, RFC 5118 §4.5) or quoted-string. More than
/// those characters is let pass, so that values in use are not refused.
#[inline]
fn value_len(value: &[u8]) -> Result<usize, &'static str> {
    if let [b'"', ..] = value {
        return chars::quoted_len(value).ok_or("quoted parameter value does not end");
    }
    match chars::span(value, VALUE) {
        0 => Err("parameter without value after its equals sign"),
        len => Ok(len),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(s: &str) -> Result<Params<'_>, &'static str> {
        Params::parse_prefix(s.as_bytes(), |_| Ok(())).map(|(p, rest)| {
            assert!(rest.is_empty());
            p
        })
    }

    #[test]
    fn rfc3261_25_parameters_with_white_space_and_quotes() {
        let p = parse(" ; tag = 1a\t;lr;x=\"a;b,\\\"c\" ; Received=2001:db8::1").unwrap();
        assert_eq!(p.value("TAG"), Some(b"1a".as_slice()));
        assert!(p.has("lr") && p.value("lr").is_none());
        assert_eq!(p.value("x"), Some(br#"a;b,\"c"#.as_slice()));
        assert_eq!(p.value("received"), Some(b"2001:db8::1".as_slice()));
        assert_eq!(p.iter().count(), 4);
        assert_eq!(p.get("x").unwrap().raw, br#";x="a;b,\"c""#);
    }

    #[test]
    fn broken_parameters_are_named() {
        for bad in [";", ";;a", ";a=", ";a=\"b", "a=b", ";a b", ";a=b\"c\"", ";=b", ";a=b?c"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
