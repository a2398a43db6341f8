//! Messages made of the bytes of another: replies, forwarded requests and responses, ACK and CANCEL.
//!
//! Everything appends to a buffer of the caller's and allocates only when that has to grow. The message
//! given must have the fields that are copied; one that is missing is left out.
//!
//! No value becomes a line of its own: whatever is written here, line ends within it become single spaces, as
//! RFC 3261 §7.3.1 has it for folds. Only what is handed over as whole lines ([`Forward::via`] and such) is
//! written as it is; it is to be made with [`header`].
//!
//! ```
//! use sipfed_sip::{HeaderName, Index, compose, scan};
//!
//! let bytes = b"OPTIONS sip:example.com SIP/2.0\r\n\
//!     Via: SIP/2.0/UDP pc.example.com;branch=z9hG4bK7;rport\r\n\
//!     From: <sip:a@example.com>;tag=1\r\n\
//!     To: <sip:example.com>\r\n\
//!     Call-ID: c1\r\n\
//!     CSeq: 1 OPTIONS\r\n\r\n";
//! let mut index = Index::new();
//! let request = scan(bytes, &mut index)?;
//!
//! let stamp = compose::Stamp { received: Some("192.0.2.1".parse()?), rport: Some(5062) };
//! let mut out = Vec::new();
//! compose::reply(&mut out, &request, 200, "OK", b"t7", stamp);
//! compose::header(&mut out, "Accept", b"application/sdp");
//! compose::end(&mut out);
//!
//! let mut index = Index::new();
//! let reply = scan(&out, &mut index)?;
//! assert_eq!(reply.status(), Some(200));
//! assert_eq!(reply.top_via()?.params.value("rport"), Some(b"5062".as_slice()));
//! assert_eq!(reply.address(HeaderName::To)?.tag(), Some(b"t7".as_slice()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::address::{Address, Contact};
use crate::chars;
use crate::header::HeaderName;
use crate::message::{Field, Message, StartLine};
use crate::uri::Uri;
use crate::via::Via;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

/// What is written into the topmost Via of a request before it goes on or is answered
/// (RFC 3261 §18.2.1, RFC 3581 §4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The address the request came from, where the Via does not say it.
    pub received: Option<IpAddr>,
    /// The port the request came from, where the Via asks for it.
    pub rport: Option<u16>,
}

/// Starts a reply (RFC 3261 §8.2.6): status line, Via, From, To, Call-ID and CSeq of `request`.
///
/// `status` has three digits. `to_tag` is added when To has no tag yet. Further header fields and [`end`] are to
/// follow.
pub fn reply(out: &mut Vec<u8>, request: &Message<'_>, status: u16, reason: &str, to_tag: &[u8], stamp: Stamp) {
    let needs_tag = !to_tag.is_empty() && request.first(HeaderName::To).is_some_and(|to| !has_tag(&to));
    let via = request.top_via().ok().filter(|_| stamp != Stamp::default());
    let to_tag = if needs_tag { to_tag } else { b"" };
    reply_to_read(out, request, via.as_ref(), status, reason, to_tag, stamp);
}

/// As [`reply`], for a request whose topmost Via and To have been read: `via` is stamped where it is given, and
/// `to_tag` is added where it is not empty.
pub fn reply_to_read(
    out: &mut Vec<u8>,
    request: &Message<'_>,
    via: Option<&Via<'_>>,
    status: u16,
    reason: &str,
    to_tag: &[u8],
    stamp: Stamp,
) {
    debug_assert!((100..=699).contains(&status));
    let digits = [status / 100, status / 10 % 10, status % 10].map(|digit| b'0'.wrapping_add(digit as u8));
    out.extend_from_slice(b"SIP/2.0 ");
    out.extend_from_slice(&digits);
    out.push(b' ');
    one_line(out, reason.as_bytes());
    out.extend_from_slice(b"\r\n");
    for (i, field) in request.fields(HeaderName::Via).enumerate() {
        match via {
            Some(via) if i == 0 => stamped_via(out, &field, via, stamp),
            _ => line(out, &field),
        }
    }
    for name in [HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq] {
        let Some(field) = request.first(name) else { continue };
        if name == HeaderName::To && !to_tag.is_empty() {
            out.extend_from_slice(text(&field));
            out.extend_from_slice(b";tag=");
            one_line(out, to_tag);
            out.extend_from_slice(b"\r\n");
        } else {
            line(out, &field);
        }
    }
}

/// A To that cannot be read counts as tagged, and so does one with a malformed tag: nothing is added to what is
/// not understood.
fn has_tag(to: &Field<'_>) -> bool {
    Address::parse_only(to.value).map_or(true, |to| to.tag().is_some())
}

/// The field from its name to the end of its value.
fn text<'a>(field: &Field<'a>) -> &'a [u8] {
    &field.line[..field.value_at - field.line_at + field.value.len()]
}

/// A field's line. Where the message it came in broke it off or ended it with a lone CR or LF, it ends with
/// CR LF all the same: a lenient reader would see an empty line otherwise.
fn line(out: &mut Vec<u8>, field: &Field<'_>) {
    if field.line.ends_with(b"\r\n") {
        out.extend_from_slice(field.line);
    } else {
        out.extend_from_slice(text(field));
        out.extend_from_slice(b"\r\n");
    }
}

/// `text` with every run of white space that has a line end in it as one space.
fn one_line(out: &mut Vec<u8>, text: &[u8]) {
    if memchr::memchr2(b'\r', b'\n', text).is_none() {
        return out.extend_from_slice(text);
    }
    let mut rest = text;
    while let Some(at) = memchr::memchr2(b'\r', b'\n', rest) {
        out.extend_from_slice(chars::trim_end(&rest[..at]));
        out.push(b' ');
        rest = chars::trim_start(&rest[at..]);
    }
    out.extend_from_slice(rest);
}

/// One header field.
pub fn header(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    one_line(out, value);
    out.extend_from_slice(b"\r\n");
}

/// One header field with a number.
pub fn header_number(out: &mut Vec<u8>, name: &str, value: u32) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    number(out, value);
    out.extend_from_slice(b"\r\n");
}

/// A decimal number.
#[inline]
pub fn number(out: &mut Vec<u8>, value: u32) {
    let mut digits = [0u8; 10];
    let mut at = digits.len();
    let mut rest = value;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Ends a message without a body.
pub fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
}

/// What changes in a request on its way through a proxy (RFC 3261 §16.6).
#[derive(Clone, Copy, Debug)]
pub struct Forward<'a> {
    /// The new Request-URI; headers that it has are left out.
    pub request_uri: &'a [u8],
    /// Our own Via, a whole line with its line end, which becomes the topmost.
    pub via: &'a [u8],
    /// Our Record-Route lines; empty for none.
    pub record_route: &'a [u8],
    /// Route lines that come before those of the request; empty for none.
    pub routes: &'a [u8],
    /// How many of the request's topmost Route values are taken out.
    pub routes_popped: usize,
    /// The Max-Forwards that is written.
    pub max_forwards: u8,
    /// The Max-Breadth that is written (RFC 5393 §5.3.3); `None` leaves it as it is.
    pub max_breadth: Option<u32>,
    /// What stands in its Contact instead of host and port, where it has one Contact; `None` leaves it as it is.
    pub contact: Option<SocketAddr>,
    /// What is written into the topmost Via of the request.
    pub stamp: Stamp,
    /// That Via, where it has been read already.
    pub top: Option<&'a Via<'a>>,
}

/// The request as it goes on; all else passes as it came, body included. Nothing for a response.
///
/// The request must be sound ([`Message::fault`]): its lines are copied as they are.
pub fn forward_request(out: &mut Vec<u8>, request: &Message<'_>, change: &Forward<'_>) {
    let StartLine::Request { method, .. } = request.start_line() else { return };
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    one_line(out, without_headers(change.request_uri));
    out.extend_from_slice(b" SIP/2.0\r\n");
    out.extend_from_slice(change.via);
    out.extend_from_slice(change.record_route);
    out.extend_from_slice(change.routes);
    if request.first(HeaderName::MaxForwards).is_none() {
        header_number(out, "Max-Forwards", u32::from(change.max_forwards));
    }
    if let (Some(breadth), None) = (change.max_breadth, request.first(HeaderName::MaxBreadth)) {
        header_number(out, "Max-Breadth", breadth);
    }
    let mut via_seen = false;
    let mut to_pop = change.routes_popped;
    let bytes = request.bytes();
    let mut copied = request.headers_at();
    for field in request.all_fields() {
        let edited = match field.name {
            HeaderName::Via => !std::mem::replace(&mut via_seen, true),
            HeaderName::Route => to_pop > 0,
            HeaderName::MaxForwards => true,
            HeaderName::MaxBreadth => change.max_breadth.is_some(),
            HeaderName::Contact => change.contact.is_some(),
            _ => false,
        };
        if !edited {
            continue;
        }
        out.extend_from_slice(&bytes[copied..field.line_at]);
        copied = field.line_at + field.line.len();
        match field.name {
            HeaderName::Via => match change.top.copied().or_else(|| request.top_via().ok()) {
                Some(via) => stamped_via(out, &field, &via, change.stamp),
                None => line(out, &field),
            },
            HeaderName::Route => pop_values(out, &field, &mut to_pop),
            HeaderName::MaxForwards => header_number(out, "Max-Forwards", u32::from(change.max_forwards)),
            HeaderName::Contact => match change.contact.and_then(|at| Some((at, one_contact(request, &field)?))) {
                Some((at, host_and_port)) => {
                    out.extend_from_slice(&field.line[..host_and_port.start]);
                    socket_address(out, at);
                    out.extend_from_slice(&field.line[host_and_port.end..]);
                }
                None => line(out, &field),
            },
            _ => header_number(out, "Max-Breadth", change.max_breadth.unwrap_or_default()),
        }
    }
    out.extend_from_slice(&bytes[copied..request.headers_end()]);
    end_with_body(out, request);
}

/// Where in its line host and port stand in the URI of this Contact, when it is the only one of the request.
fn one_contact(request: &Message<'_>, field: &Field<'_>) -> Option<Range<usize>> {
    let mut contacts = request.contacts();
    let (Some(Ok(Contact::At(address))), None) = (contacts.next(), contacts.next()) else { return None };
    if !matches!(Uri::parse(address.uri), Ok(Uri::Sip(_))) {
        return None;
    }
    let behind_scheme = memchr::memchr(b':', address.uri)? + 1;
    let begin = memchr::memchr(b'@', address.uri).map_or(behind_scheme, |at| at + 1);
    let rest = &address.uri[begin..];
    let end = begin + memchr::memchr2(b';', b'?', rest).unwrap_or(rest.len());
    // The same text may stand in its display name, so the URI is told by where it lies.
    let at = address.uri.as_ptr().addr().checked_sub(field.line.as_ptr().addr())?;
    (at + end <= field.line.len()).then_some(at + begin..at + end)
}

/// RFC 3261 §16.6 step 2, §19.1.1 table 1: a contact's URI may have headers, a Request-URI may not.
fn without_headers(uri: &[u8]) -> &[u8] {
    if memchr::memchr(b'?', uri).is_none() {
        return uri;
    }
    match Uri::parse(uri) {
        Ok(Uri::Sip(sip)) if !sip.headers.is_empty() => &uri[..uri.len() - sip.headers.len() - 1],
        _ => uri,
    }
}

/// A message without Content-Length ends with its datagram; a stream needs it said (RFC 3261 §18.3).
fn end_with_body(out: &mut Vec<u8>, message: &Message<'_>) {
    if message.first(HeaderName::ContentLength).is_none() {
        header_number(out, "Content-Length", message.body().len() as u32);
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(message.body());
}

/// The response as it goes on upstream: without its topmost Via (RFC 3261 §16.7 step 3).
///
/// The response must be sound ([`Message::fault`]): its lines are copied as they are.
pub fn forward_response(out: &mut Vec<u8>, response: &Message<'_>) {
    if let Ok(via) = response.top_via() {
        forward_read_response(out, response, &via);
    }
}

/// As [`forward_response`], for a response whose topmost Via has been read.
pub fn forward_read_response(out: &mut Vec<u8>, response: &Message<'_>, top: &Via<'_>) {
    let bytes = response.bytes();
    let start = bytes.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or(0);
    let Some(field) = response.first(HeaderName::Via) else { return };
    out.extend_from_slice(&bytes[start..field.line_at]);
    if let [b',', others @ ..] = chars::trim_start(&field.value[top.raw.len()..]) {
        header(out, field.name.as_str(), chars::trim_start(others));
    }
    out.extend_from_slice(&bytes[field.line_at + field.line.len()..response.headers_end()]);
    end_with_body(out, response);
}

/// Writes the field without its first `to_pop` values and counts them down; nothing when none is left.
fn pop_values(out: &mut Vec<u8>, field: &Field<'_>, to_pop: &mut usize) {
    let mut rest = field.value;
    while *to_pop > 0 && !rest.is_empty() {
        *to_pop -= 1;
        rest = Address::parse_prefix(rest).map_or(&[][..], |(_, rest)| rest);
    }
    if !rest.is_empty() {
        header(out, field.name.as_str(), rest);
    }
}

/// Writes a Via line whose first value is `via`, stamped. What the sender claims to have been received from is
/// worth nothing and left out where we say it ourselves.
fn stamped_via(out: &mut Vec<u8>, field: &Field<'_>, via: &Via<'_>, stamp: Stamp) {
    if stamp == Stamp::default() {
        return line(out, field);
    }
    let value_at = field.value_at - field.line_at;
    out.extend_from_slice(&field.line[..value_at]);
    if via.has_received() && stamp.received.is_some() {
        stamped_params(out, via, stamp);
    } else {
        match (stamp.rport, via.rport()) {
            (Some(port), Some(rport)) => {
                let at = rport.raw.as_ptr() as usize - via.raw.as_ptr() as usize;
                out.extend_from_slice(&via.raw[..at]);
                out.extend_from_slice(b";rport=");
                number(out, u32::from(port));
                out.extend_from_slice(&via.raw[at + rport.raw.len()..]);
            }
            _ => out.extend_from_slice(via.raw),
        }
    }
    if let Some(ip) = stamp.received {
        out.extend_from_slice(b";received=");
        address(out, ip);
    }
    out.extend_from_slice(&field.value[via.raw.len()..]);
    out.extend_from_slice(b"\r\n");
}

/// A Via value without its received parameter and with its rport filled in.
fn stamped_params(out: &mut Vec<u8>, via: &Via<'_>, stamp: Stamp) {
    let params_len = via.params.as_bytes().len();
    out.extend_from_slice(chars::trim_end(&via.raw[..via.raw.len() - params_len]));
    for param in via.params.iter().filter(|param| !param.is("received")) {
        match stamp.rport {
            Some(port) if param.is("rport") => {
                out.extend_from_slice(b";rport=");
                number(out, u32::from(port));
            }
            _ => out.extend_from_slice(param.raw),
        }
    }
}

/// An IP address, an IPv6 address without brackets.
pub fn address(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            let mut text = [b'.'; 16];
            let mut at = 0;
            for octet in ip.octets() {
                let digits = [octet / 100, octet / 10 % 10, octet % 10];
                for digit in &digits[usize::from(octet < 100) + usize::from(octet < 10)..] {
                    text[at] = b'0' + digit;
                    at += 1;
                }
                at += 1;
            }
            out.extend_from_slice(&text[..at - 1]);
        }
        // Writing to a Vec cannot fail.
        IpAddr::V6(ip) => _ = write!(out, "{ip}"),
    }
}

/// `host:port` of a socket address, an IPv6 address between brackets.
pub fn socket_address(out: &mut Vec<u8>, socket: SocketAddr) {
    if socket.is_ipv6() {
        out.push(b'[');
        address(out, socket.ip());
        out.push(b']');
    } else {
        address(out, socket.ip());
    }
    out.push(b':');
    number(out, u32::from(socket.port()));
}

/// The lowest `DIGITS` hexadecimal digits of a number, in lower case.
pub fn hexadecimal<const DIGITS: usize>(value: u64) -> [u8; DIGITS] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'0'; DIGITS];
    let mut rest = value;
    for digit in text.iter_mut().rev() {
        *digit = HEX[rest as usize & 15];
        rest >>= 4;
    }
    text
}

/// The ACK for a non-2xx final response (RFC 3261 §17.1.1.3): `request` is the INVITE as we sent it, `to` the
/// value of To in the response.
pub fn ack(out: &mut Vec<u8>, request: &Message<'_>, to: &[u8]) {
    hop_by_hop(out, request, b"ACK", Some(to));
}

/// The CANCEL of an INVITE (RFC 3261 §9.1): `request` is the INVITE as we sent it.
pub fn cancel(out: &mut Vec<u8>, request: &Message<'_>) {
    hop_by_hop(out, request, b"CANCEL", None);
}

fn hop_by_hop(out: &mut Vec<u8>, request: &Message<'_>, method: &[u8], to: Option<&[u8]>) {
    out.extend_from_slice(method);
    out.push(b' ');
    out.extend_from_slice(request.request_uri());
    out.extend_from_slice(b" SIP/2.0\r\n");
    if let Ok(via) = request.top_via() {
        header(out, "Via", via.raw);
    }
    for field in request.fields(HeaderName::Route) {
        line(out, &field);
    }
    header(out, "Max-Forwards", b"70");
    for name in [HeaderName::From, HeaderName::To, HeaderName::CallId] {
        match (name, to, request.first(name)) {
            (HeaderName::To, Some(to), _) => header(out, "To", to),
            (_, _, Some(field)) => line(out, &field),
            _ => {}
        }
    }
    if let Ok(cseq) = request.cseq() {
        out.extend_from_slice(b"CSeq: ");
        number(out, cseq.number);
        out.push(b' ');
        out.extend_from_slice(method);
        out.extend_from_slice(b"\r\n");
    }
    end(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Index, scan};

    const INVITE: &[u8] = b"INVITE sip:bob@b.example SIP/2.0\r\n\
        Via: SIP/2.0/UDP 10.0.0.1:5060;rport;branch=z9hG4bK1;received=9.9.9.9, SIP/2.0/UDP x;branch=z9hG4bK0\r\n\
        v: SIP/2.0/UDP y;branch=z9hG4bKy\r\n\
        Max-Forwards: 70\r\n\
        Route: <sip:us;lr>, <sip:next;lr>\r\n\
        From: <sip:a@b>;tag=1\r\n\
        To: <sip:bob@b.example>\r\n\
        Call-ID: c\r\n\
        X-Odd:  kept  as it is\r\n\
        CSeq: 7 INVITE\r\n\
        \r\nbody";

    fn text(out: Vec<u8>) -> String {
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rfc3261_8_2_6_reply_copies_and_tags() {
        let mut index = Index::new();
        let request = scan(INVITE, &mut index).unwrap();
        let stamp = Stamp { received: Some("192.0.2.7".parse().unwrap()), rport: Some(4321) };
        let mut out = Vec::new();
        reply(&mut out, &request, 404, "Not Found", b"t1", stamp);
        end(&mut out);
        assert_eq!(
            text(out),
            "SIP/2.0 404 Not Found\r\n\
             Via: SIP/2.0/UDP 10.0.0.1:5060;rport=4321;branch=z9hG4bK1;received=192.0.2.7, SIP/2.0/UDP x;branch=z9hG4bK0\r\n\
             v: SIP/2.0/UDP y;branch=z9hG4bKy\r\n\
             From: <sip:a@b>;tag=1\r\n\
             To: <sip:bob@b.example>;tag=t1\r\n\
             Call-ID: c\r\n\
             CSeq: 7 INVITE\r\n\
             Content-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn rfc3261_16_6_forwarding_changes_what_it_must_and_no_more() {
        let mut index = Index::new();
        let request = scan(INVITE, &mut index).unwrap();
        let mut out = Vec::new();
        let change = Forward {
            request_uri: b"sip:bob@10.1.1.1",
            via: b"Via: SIP/2.0/UDP us;branch=z9hG4bKus\r\n",
            record_route: b"Record-Route: <sip:us;lr>\r\n",
            routes: b"",
            routes_popped: 1,
            max_forwards: 69,
            max_breadth: None,
            contact: None,
            stamp: Stamp::default(),
            top: None,
        };
        forward_request(&mut out, &request, &change);
        assert_eq!(
            text(out),
            "INVITE sip:bob@10.1.1.1 SIP/2.0\r\n\
             Via: SIP/2.0/UDP us;branch=z9hG4bKus\r\n\
             Record-Route: <sip:us;lr>\r\n\
             Via: SIP/2.0/UDP 10.0.0.1:5060;rport;branch=z9hG4bK1;received=9.9.9.9, SIP/2.0/UDP x;branch=z9hG4bK0\r\n\
             v: SIP/2.0/UDP y;branch=z9hG4bKy\r\n\
             Max-Forwards: 69\r\n\
             Route: <sip:next;lr>\r\n\
             From: <sip:a@b>;tag=1\r\n\
             To: <sip:bob@b.example>\r\n\
             Call-ID: c\r\n\
             X-Odd:  kept  as it is\r\n\
             CSeq: 7 INVITE\r\n\
             Content-Length: 4\r\n\
             \r\nbody"
        );
    }

    #[test]
    fn rfc3261_16_7_a_response_loses_our_via_alone() {
        let response = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP us;branch=z9hG4bKus, SIP/2.0/UDP a\r\nv: SIP/2.0/UDP b\r\nl: 0\r\n\r\n";
        let mut index = Index::new();
        let mut out = Vec::new();
        forward_response(&mut out, &scan(response, &mut index).unwrap());
        assert_eq!(text(out), "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a\r\nv: SIP/2.0/UDP b\r\nl: 0\r\n\r\n");
    }

    #[test]
    fn rfc3261_17_1_1_3_and_9_1_ack_and_cancel_keep_what_names_the_transaction() {
        let mut index = Index::new();
        let request = scan(INVITE, &mut index).unwrap();
        let mut out = Vec::new();
        ack(&mut out, &request, b"<sip:bob@b.example>;tag=9");
        assert_eq!(
            text(out),
            "ACK sip:bob@b.example SIP/2.0\r\n\
             Via: SIP/2.0/UDP 10.0.0.1:5060;rport;branch=z9hG4bK1;received=9.9.9.9\r\n\
             Route: <sip:us;lr>, <sip:next;lr>\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:a@b>;tag=1\r\n\
             To: <sip:bob@b.example>;tag=9\r\n\
             Call-ID: c\r\n\
             CSeq: 7 ACK\r\n\
             Content-Length: 0\r\n\r\n"
        );
        let mut out = Vec::new();
        cancel(&mut out, &request);
        let out = text(out);
        assert!(out.contains("CSeq: 7 CANCEL\r\n") && out.contains("To: <sip:bob@b.example>\r\n"), "{out}");
    }
}
