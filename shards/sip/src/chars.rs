//! Character classes of RFC 3261 §25.1 as one table, and the small readers built on it.

use wide::u8x16;

/// A class of characters: a bit in [`CLASS`].
pub(crate) const TOKEN: u8 = 1;
/// unreserved and user-unreserved of a URI's user part, without the escape.
pub(crate) const USER: u8 = 2;
/// What a URI parameter or header is made of, without the escape.
pub(crate) const URI_PARAM: u8 = 4;
/// Letters, digits, hyphen, dot and (leniently: it is in use) underscore of a host name.
pub(crate) const HOST: u8 = 8;
/// What a parameter's value may be made of when it is not quoted: token and host, and leniently whatever is
/// printable, is no separator, and does not begin the headers of a URI.
pub(crate) const VALUE: u8 = 16;
/// Characters that need no escape anywhere in a URI: the same as their escape (RFC 3261 §19.1.4).
pub(crate) const UNRESERVED: u8 = 32;
/// `word` of a Call-ID.
pub(crate) const WORD: u8 = 64;
/// SP, HTAB and the CR LF of a fold, which the scan has checked.
pub(crate) const SPACE: u8 = 128;

const fn classes() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut c = 0usize;
    while c < 256 {
        let b = c as u8;
        let alphanumeric = b.is_ascii_alphanumeric();
        if alphanumeric || has(b"-.!%*_+`'~", b) {
            table[c] |= TOKEN;
        }
        if alphanumeric || has(b"-_.!~*'()", b) {
            table[c] |= UNRESERVED | USER | URI_PARAM;
        }
        if has(b"&=+$,;?/", b) {
            table[c] |= USER;
        }
        if has(b"[]/:&+$", b) {
            table[c] |= URI_PARAM;
        }
        if alphanumeric || has(b"-._", b) {
            table[c] |= HOST;
        }
        if b > b' ' && b != 0x7f && !has(b";,?\"<>", b) {
            table[c] |= VALUE;
        }
        if alphanumeric || has(b"-.!%*_+`'~()<>:\\\"/[]?{}", b) {
            table[c] |= WORD;
        }
        if has(b" \t\r\n", b) {
            table[c] |= SPACE;
        }
        c += 1;
    }
    table
}

const fn has(set: &[u8], b: u8) -> bool {
    let mut i = 0;
    while i < set.len() {
        if set[i] == b {
            return true;
        }
        i += 1;
    }
    false
}

pub(crate) static CLASS: [u8; 256] = classes();

/// Whether `b` belongs to `class`.
#[inline]
pub(crate) fn is(b: u8, class: u8) -> bool {
    CLASS[b as usize] & class != 0
}

/// Whether all of `bytes` belong to `class`.
#[inline]
pub(crate) fn all(bytes: &[u8], class: u8) -> bool {
    span(bytes, class) == bytes.len()
}

/// Whether `bytes` is a `token` of RFC 3261 §25.1.
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, TOKEN)
}

/// How many of the first bytes belong to `class`.
#[inline]
pub(crate) fn span(bytes: &[u8], class: u8) -> usize {
    let mut at = 0;
    while let Some(&[a, b, c, d]) = bytes[at..].first_chunk() {
        let all = CLASS[a as usize] & CLASS[b as usize] & CLASS[c as usize] & CLASS[d as usize];
        if all & class == 0 {
            break;
        }
        at += 4;
    }
    while at < bytes.len() && is(bytes[at], class) {
        at += 1;
    }
    at
}

/// A word of eight times the same byte.
const fn eight(b: u8) -> u64 {
    u64::from_le_bytes([b; 8])
}

/// The top bit of the first byte of `word` that lies below `limit` (0x80 at most) is the lowest bit set here.
///
/// In `word - limit.. & !word` the top bit of a byte is set where that byte lies below. A borrow can set it wrongly
/// only above a byte where it is rightly set.
#[inline]
const fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(eight(limit)) & !word & eight(0x80)
}

/// As [`below`], for the bytes that are `b`.
#[inline]
const fn same(word: u64, b: u8) -> u64 {
    below(word ^ eight(b), 1)
}

/// Where the first byte at or behind `from` stands that `marks` finds in words of eight, and `is_it` alone; the
/// end when there is none. For the short distances within a message this costs less than the call of a vector routine.
#[inline]
fn find(bytes: &[u8], from: usize, marks: impl Fn(u64) -> u64, is_it: impl Fn(u8) -> bool) -> usize {
    let mut at = from;
    while let Some(word) = bytes[at..].first_chunk() {
        let found = marks(u64::from_le_bytes(*word));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while at < bytes.len() && !is_it(bytes[at]) {
        at += 1;
    }
    at
}

/// Where the first `b` stands.
#[inline]
pub(crate) fn position(bytes: &[u8], b: u8) -> Option<usize> {
    let at = find(bytes, 0, |word| same(word, b), |other| other == b);
    (at < bytes.len()).then_some(at)
}

/// Where the first `b` stands among sixteen bytes.
#[inline]
pub(crate) fn position_among_sixteen(bytes: &[u8; 16], b: u8) -> Option<usize> {
    let found = u8x16::new(*bytes).simd_eq(u8x16::splat(b)).to_bitmask();
    (found != 0).then(|| found.trailing_zeros() as usize)
}

/// `bytes` without white space at either end; a fold counts as white space.
#[inline]
pub fn trim(bytes: &[u8]) -> &[u8] {
    trim_end(trim_start(bytes))
}

#[inline]
pub(crate) fn trim_start(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes {
        if *first > b' ' || !is(*first, SPACE) {
            break;
        }
        bytes = rest;
    }
    bytes
}

#[inline]
pub(crate) fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., last] = bytes {
        if *last > b' ' || !is(*last, SPACE) {
            break;
        }
        bytes = rest;
    }
    bytes
}

/// Whether the two are equal but for the case of ASCII letters (RFC 3261 §7.3.1).
#[inline]
pub fn eq_ignore_case(a: &[u8], b: &[u8]) -> bool {
    // Nearly everybody writes names as the RFCs do.
    a.len() == b.len() && (a == b || a.eq_ignore_ascii_case(b))
}

/// 1*DIGIT as a number; `None` when it is something else or does not fit.
#[inline]
pub fn parse_u32(digits: &[u8]) -> Option<u32> {
    parse_u64(digits).and_then(|n| u32::try_from(n).ok())
}

/// 1*DIGIT as a number; `None` when it is something else or does not fit. Leading zeros are allowed.
#[inline]
pub fn parse_u64(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let mut n = 0u64;
    for &b in digits {
        let d = b.wrapping_sub(b'0');
        if d > 9 {
            return None;
        }
        n = n.checked_mul(10)?.checked_add(u64::from(d))?;
    }
    Some(n)
}

/// The port that `bytes` begins with, and how many digits it has.
#[inline]
pub(crate) fn port_prefix(bytes: &[u8]) -> Option<(u16, usize)> {
    let (mut at, mut port) = (0, 0u32);
    while let Some(digit) = bytes.get(at).map(|b| b.wrapping_sub(b'0')).filter(|&digit| digit < 10) {
        port = port * 10 + u32::from(digit);
        at += 1;
        if port > u32::from(u16::MAX) {
            return None;
        }
    }
    if at == 0 { None } else { Some((port as u16, at)) }
}

/// The length of the quoted-string that `bytes` begins with, its quotes included (RFC 3261 §25.1);
/// `None` when it does not end.
pub(crate) fn quoted_len(bytes: &[u8]) -> Option<usize> {
    debug_assert_eq!(bytes.first(), Some(&b'"'));
    let mut at = 1;
    while at < bytes.len() {
        at = find(bytes, at, |word| same(word, b'"') | same(word, b'\\'), |b| matches!(b, b'"' | b'\\'));
        if bytes.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        at += 2;
    }
    None
}

/// `word` with the bit set that tells lower from upper case; `-` and digits stay as they are.
#[inline]
pub(crate) const fn fold4(word: [u8; 4]) -> u32 {
    u32::from_le_bytes(word) | 0x2020_2020
}

/// The value of a hexadecimal digit.
pub(crate) fn hex(b: u8) -> Option<u8> {
    match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        b'A'..=b'F' => Some(b - b'A' + 10),
        _ => None,
    }
}

/// How many of the first bytes belong to `class` or are whole escapes (`%` and two hexadecimal digits).
#[inline]
pub(crate) fn span_escaped(bytes: &[u8], class: u8) -> usize {
    let mut at = span(bytes, class);
    while let [b'%', high, low, ..] = bytes[at..] {
        if hex(high).is_none() || hex(low).is_none() {
            break;
        }
        at += 3;
        at += span(&bytes[at..], class);
    }
    at
}

/// Whether `bytes` is made of `class` and whole escapes.
pub(crate) fn all_or_escaped(bytes: &[u8], class: u8) -> bool {
    span_escaped(bytes, class) == bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stop_at_their_bounds() {
        assert_eq!(parse_u32(b"0070"), Some(70));
        assert_eq!(parse_u32(b"4294967295"), Some(u32::MAX));
        assert_eq!(parse_u32(b"4294967296"), None);
        assert_eq!(parse_u64(b"99999999999999999999999"), None);
        assert_eq!(parse_u32(b""), None);
        assert_eq!(parse_u32(b"-1"), None);
        assert_eq!(parse_u32(b"+1"), None);
    }

    #[test]
    fn escapes_are_whole_or_end_the_span() {
        for (text, len) in
            [("ab", 2), ("a%41b", 5), ("%41%4g", 3), ("%4", 0), ("a%", 1), ("%41", 3), ("%%41", 0), ("a b", 1)]
        {
            assert_eq!(span_escaped(text.as_bytes(), USER), len, "{text}");
        }
    }

    #[test]
    fn quoted_strings_end_at_their_own_quote() {
        assert_eq!(quoted_len(br#""a\"b" c"#), Some(6));
        assert_eq!(quoted_len(br#""a\\" c"#), Some(5));
        assert_eq!(quoted_len(br#""a\"#), None);
        assert_eq!(quoted_len(br#""a"#), None);
    }
}
