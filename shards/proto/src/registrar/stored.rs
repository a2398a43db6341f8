//! What is kept of a REGISTER's header fields: of each Contact, and of the request. Pure reading: what is there comes in, what is
//! stored or why it cannot be comes out. Bounds are those of [`limits`].

use crate::limits;
use crate::registrar::gruu;
use crate::reject::Rejection;
use crate::request::{self, Request};
use sipfed_sip::{Address, Contact, Fault, HeaderName, Message, Uri, Via, parse_u32};
use std::ops::Range;

/// A Contact at an address that nobody may be made to send to is refused.
pub(super) fn check_reachable<'a>(uri: &Uri<'_>) -> Result<(), Rejection<'a>> {
    let ip = uri.sip().and_then(|uri| uri.host.ip());
    let port = uri.sip().and_then(|uri| uri.port);
    if port == Some(0) || ip.is_some_and(|ip| !crate::proxy::may_send_to(ip)) {
        return Err(Rejection::new(403, "Forbidden (Contact is an address that cannot be sent to)"));
    }
    Ok(())
}

/// What is kept of the parameters of a Contact.
#[derive(Debug)]
pub(super) struct StoredParams<'a> {
    /// The value of expires.
    pub(super) expires: Option<&'a [u8]>,
    /// The value of methods (RFC 3840).
    pub(super) methods: Option<&'a [u8]>,
    pub(super) params: Range<usize>,
    pub(super) instance: (u16, u16),
    pub(super) reg_id: u32,
    pub(super) q_milli: u16,
}

/// Appends the Contact's parameters without expires and q, which are kept as numbers, and without what a
/// phone copied from our own replies.
pub(super) fn store_params<'a>(address: &Address<'a>, bytes: &mut Vec<u8>) -> Result<StoredParams<'a>, &'static str> {
    let start = bytes.len();
    let mut stored =
        StoredParams { expires: None, methods: None, params: start..start, instance: (0, 0), reg_id: 0, q_milli: 1000 };
    for param in address.params.iter() {
        match param.name.len() {
            7 if param.is("expires") => {
                stored.expires = stored.expires.or(param.unquoted());
                continue;
            }
            8 | 9 if gruu::is_gruu_param(param.name) => continue,
            1 if param.is("q") => {
                stored.q_milli = param.value.and_then(parse_q).ok_or("q is no number from 0 to 1")?;
                continue;
            }
            6 if param.is("reg-id") => {
                let reg_id = param.value.and_then(parse_u32).filter(|&n| n > 0 && n < 1 << 31);
                stored.reg_id = reg_id.ok_or("reg-id is no number above 0")?;
            }
            7 if param.is("methods") => stored.methods = param.unquoted(),
            13 if param.is("+sip.instance") => {
                let value = param.unquoted().filter(|v| !v.is_empty()).ok_or("+sip.instance has no value")?;
                let quote = usize::from(param.raw.ends_with(b"\""));
                let at = bytes.len() - start + param.raw.len() - quote - value.len();
                stored.instance = (at as u16, value.len() as u16);
            }
            _ => {}
        }
        bytes.extend_from_slice(param.raw);
    }
    if bytes.len() - start > limits::CONTACT_PARAMS_BYTES_MAX {
        return Err("parameters are too long");
    }
    stored.params = start..bytes.len();
    // RFC 5626 §6: without an instance a reg-id means nothing.
    if stored.instance.1 == 0 {
        stored.reg_id = 0;
    }
    Ok(stored)
}

/// qvalue in thousandths (RFC 3261 §25.1).
fn parse_q(text: &[u8]) -> Option<u16> {
    let (whole, fraction) = match text.iter().position(|&b| b == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &text[..0]),
    };
    if fraction.len() > 3 || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let milli = fraction.iter().chain(b"000").take(3).fold(0, |n, b| n * 10 + u16::from(b - b'0'));
    match (whole, milli) {
        (b"0", milli) => Some(milli),
        (b"1", 0) => Some(1000),
        _ => None,
    }
}

/// The methods that the Contact takes: those of its own parameter (RFC 3840), else of Allow, else all.
pub(super) fn methods(request: &Request<'_>, of_contact: Option<&[u8]>) -> u16 {
    let bits = |list: &[u8]| {
        let tokens = list.split(|&b| b == b',').map(sipfed_sip::trim).filter(|token| !token.is_empty());
        tokens.fold(0, |set, token| set | sipfed_sip::Method::from_token(token).bit())
    };
    let listed = match of_contact {
        Some(list) => bits(list),
        None => request.message.fields(HeaderName::Allow).fold(0, |set, field| set | bits(field.value)),
    };
    if listed == 0 { u16::MAX } else { listed }
}

pub(super) fn user_agent<'a>(request: &Request<'a>) -> &'a [u8] {
    let text = request.message.value(HeaderName::UserAgent).unwrap_or_default();
    &text[..text.len().min(limits::USER_AGENT_BYTES_MAX)]
}

/// Appends the Path values (RFC 3327 §5.3) as one comma list.
pub(super) fn stored_path<'a>(request: &Request<'a>, bytes: &mut Vec<u8>) -> Result<Range<usize>, Rejection<'a>> {
    let start = bytes.len();
    for address in request.message.addresses(HeaderName::Path) {
        let address = address.map_err(Rejection::fault)?;
        let is_sip = address.uri().is_ok_and(|uri| uri.sip().is_some());
        if !is_sip || !address.raw.ends_with(b">") && !address.raw.contains(&b'<') {
            return Err(Rejection::fault(Fault::Header(HeaderName::Path, "is no SIP URI between angle brackets")));
        }
        if bytes.len() > start {
            bytes.push(b',');
        }
        bytes.extend_from_slice(address.raw);
    }
    if bytes.len() - start > limits::PATH_BYTES_MAX {
        return Err(Rejection::new(403, "Forbidden (Path is too long)"));
    }
    Ok(start..bytes.len())
}

/// RFC 5630 §5.2: a sips Contact is bound only where the Request-URI, all Contacts and all of the Path are sips URIs, and where
/// the request came over TLS, without which nothing leads to it.
pub(super) fn check_sips_contacts<'a>(request: &Request<'a>) -> Result<(), Rejection<'a>> {
    let contacts = || {
        request.message.contacts().filter_map(|contact| match contact {
            Ok(Contact::At(address)) => Some(address.uri),
            _ => None,
        })
    };
    let is_sips = |uri: &[u8]| request::after_sips(uri).is_some();
    if !contacts().any(is_sips) {
        return Ok(());
    }
    let what = if !request.source.transport.is_secured() {
        "is a sips URI, and this did not come over TLS"
    } else if !request.is_sips() {
        "is a sips URI, and the Request-URI is none"
    } else if !contacts().all(is_sips) {
        "is a sips URI, and another one is none"
    } else if !request.message.addresses(HeaderName::Path).all(|path| path.is_ok_and(|path| is_sips(path.uri))) {
        "is a sips URI, and the Path is not of such alone"
    } else {
        return Ok(());
    };
    Err(Rejection::fault(Fault::Header(HeaderName::Contact, what)))
}

/// Whether whoever has the phone's flow keeps it: we, or the first proxy on its Path, which says so (RFC 5626 §6).
pub(super) fn first_hop_keeps_flows(message: &Message<'_>, top: &Via<'_>) -> bool {
    if !message.has_second_via(top) {
        return true;
    }
    let first = message.addresses(HeaderName::Path).last().and_then(Result::ok);
    first.is_some_and(|path| path.uri().is_ok_and(|uri| uri.sip().is_some_and(|uri| uri.param("ob").is_some())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3261_25_qvalues() {
        for (text, milli) in [("0", 0), ("1", 1000), ("0.5", 500), ("0.125", 125), ("1.000", 1000), ("0.", 0)] {
            assert_eq!(parse_q(text.as_bytes()), Some(milli), "{text}");
        }
        for bad in ["", "2", "1.1", "0.1234", ".5", "-1", "0.x"] {
            assert_eq!(parse_q(bad.as_bytes()), None, "{bad}");
        }
    }
}
