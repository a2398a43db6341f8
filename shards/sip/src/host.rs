//! Hosts: IPv4 and IPv6 addresses and names (RFC 3261 §25.1 `host`, RFC 5118).

use crate::chars;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A host of a URI or a Via.
#[derive(Clone, Copy, Debug)]
pub enum Host<'a> {
    /// An address; an IPv6 address stood between brackets.
    Ip(IpAddr),
    /// A name, as written.
    Name(&'a [u8]),
}

impl<'a> Host<'a> {
    /// Reads the host that `input` begins with; gives what follows it.
    pub(crate) fn parse_prefix(input: &'a [u8]) -> Result<(Self, &'a [u8]), &'static str> {
        if let [b'[', rest @ ..] = input {
            let end = memchr::memchr(b']', rest).ok_or("IPv6 reference without closing bracket")?;
            let v6 = parse_v6(&rest[..end]).ok_or("IPv6 reference is no IPv6 address")?;
            return Ok((Self::Ip(IpAddr::V6(v6)), &rest[end + 1..]));
        }
        if let Some((v4, len)) = v4_prefix(input) {
            return Ok((Self::Ip(IpAddr::V4(v4)), &input[len..]));
        }
        match name_len(input) {
            0 => Err("host is missing, or neither a name nor an address"),
            len => Ok((Self::Name(&input[..len]), &input[len..])),
        }
    }

    /// Reads all of `input` as a host; an IPv6 address may stand without brackets, as `received` has it
    /// in the field (RFC 5118 §4.5).
    pub fn parse(input: &'a [u8]) -> Option<Self> {
        if let Some(v6) = parse_v6(input) {
            return Some(Self::Ip(IpAddr::V6(v6)));
        }
        match Self::parse_prefix(input) {
            Ok((host, [])) => Some(host),
            _ => None,
        }
    }

    /// Its address, when it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(*ip),
            Self::Name(_) => None,
        }
    }
}

impl PartialEq for Host<'_> {
    /// Names are equal but for case (RFC 3261 §19.1.4); a name never equals an address.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Name(a), Self::Name(b)) => chars::eq_ignore_case(a, b),
            _ => false,
        }
    }
}

/// The length of the host name that `input` begins with; 0 when it is none.
///
/// RFC 3261 §25.1 has the last label begin with a letter. One that begins with a digit is let pass, hosts being named
/// so, unless `inet_aton` takes it for a number: what is `256.1.1.1` or `0x7f000001` here must not be an address to
/// another element, which would send elsewhere than we do.
fn name_len(input: &[u8]) -> usize {
    let (mut at, mut label, mut top_label) = (0, 0, 0);
    while let Some(&b) = input.get(at).filter(|&&b| chars::is(b, chars::HOST)) {
        if b == b'.' {
            if at == label {
                return 0;
            }
            label = at + 1;
        }
        if at == label {
            top_label = label;
        }
        at += 1;
    }
    let first = input.get(top_label).copied().unwrap_or_default();
    if first.is_ascii_alphabetic() {
        return at;
    }
    let top = &input[top_label..at];
    let top = top.strip_suffix(b".").unwrap_or(top);
    let is_number = top.iter().all(u8::is_ascii_digit) || matches!(top, [b'0', b'x' | b'X', ..]);
    if first.is_ascii_digit() && !is_number { at } else { 0 }
}

/// The address that `input` begins with and its length: four parts of at most three digits, leading zeros allowed as
/// in the RFC's grammar. `None` also where a name goes on behind it.
fn v4_prefix(input: &[u8]) -> Option<(Ipv4Addr, usize)> {
    let mut octets = [0u8; 4];
    let mut at = 0;
    for (i, octet) in octets.iter_mut().enumerate() {
        if i > 0 {
            if input.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
        let (start, mut value) = (at, 0u32);
        while let Some(digit) = input.get(at).map(|b| b.wrapping_sub(b'0')).filter(|&digit| digit < 10) {
            value = value * 10 + u32::from(digit);
            at += 1;
            if at - start > 3 {
                return None;
            }
        }
        if at == start || value > 255 {
            return None;
        }
        *octet = value as u8;
    }
    match input.get(at) {
        Some(&b) if chars::is(b, chars::HOST) => None,
        _ => Some((Ipv4Addr::from(octets), at)),
    }
}

fn parse_v6(text: &[u8]) -> Option<Ipv6Addr> {
    // The longest form is 45 bytes; one more colon is let through below.
    if text.len() > 46 || memchr::memchr(b':', text).is_none() {
        return None;
    }
    let parse = |text: &[u8]| std::str::from_utf8(text).ok()?.parse().ok();
    parse(text).or_else(|| {
        // RFC 5118 §4.10: the grammar of RFC 3261 allows a third colon before an IPv4 part by mistake.
        let at = memchr::memmem::find(text, b":::")?;
        v4_prefix(&text[at + 3..]).filter(|(_, len)| at + 3 + len == text.len())?;
        let mut mended = [0u8; 46];
        let len = text.len() - 1;
        mended[..at].copy_from_slice(&text[..at]);
        mended[at..len].copy_from_slice(&text[at + 1..]);
        parse(&mended[..len])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3261_25_hosts_are_told_apart() {
        let ip = |s: &str| Some(Host::Ip(s.parse().unwrap()));
        assert_eq!(Host::parse(b"192.0.2.1"), ip("192.0.2.1"));
        assert_eq!(Host::parse(b"[2001:db8::1]"), ip("2001:db8::1"));
        assert_eq!(Host::parse(b"2001:db8::1"), ip("2001:db8::1"));
        assert_eq!(Host::parse(b"[2001:db8:::192.0.2.1]"), ip("2001:db8::192.0.2.1"));
        assert_eq!(Host::parse(b"Example.COM"), Some(Host::Name(b"example.com")));
        assert_eq!(Host::parse(b"pc_33.example.com."), Some(Host::Name(b"pc_33.example.com.")));
        for bad in
            ["", "256.1.1.1", "1.2.3", "1.2.3.4.5", "[::1", "[1.2.3.4]", "[::1]x", "a..b", ".a", "-1:", "a b", "[]"]
        {
            assert_eq!(Host::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
