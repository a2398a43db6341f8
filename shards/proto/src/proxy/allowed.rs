//! What of a URI may stand where a request carries it (RFC 3261 §19.1.1 table 1).
//!
//! A Contact may have headers, and a URI from elsewhere a method: whoever forms a request from that URI follows
//! them (§19.1.5), but they are no part of where it goes. Handed on they would be taken for that, or for an order
//! by the next element.

use sipfed_sip::Uri;
use std::borrow::Cow;

/// Where a URI is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The start line (§16.6 step 2).
    RequestUri,
    /// A Route (§16.6 step 6).
    Route,
}

impl Place {
    /// Whether a URI parameter of that name must not stand there.
    fn forbids(self, name: &[u8]) -> bool {
        is_named(name, b"method") || self == Self::Route && is_named(name, b"ttl")
    }
}

/// `uri` as it may stand in a start line.
pub(crate) fn in_request_uri(uri: &[u8]) -> Cow<'_, [u8]> {
    allowed(uri, Place::RequestUri)
}

/// `uri` without what must not stand at `place`.
pub(super) fn allowed(uri: &[u8], place: Place) -> Cow<'_, [u8]> {
    let Ok(Uri::Sip(sip)) = Uri::parse(uri) else { return uri.into() };
    let headers_len = if sip.headers.is_empty() { 0 } else { sip.headers.len() + 1 };
    let bare = &uri[..uri.len() - headers_len];
    if !sip.params().any(|(name, _)| place.forbids(name)) {
        return bare.into();
    }
    let params_len = sip.params_bytes().len() + 1;
    let mut kept = bare[..bare.len() - params_len].to_vec();
    for (name, value) in sip.params().filter(|(name, _)| !place.forbids(name)) {
        kept.push(b';');
        kept.extend_from_slice(name);
        if let Some(value) = value {
            kept.push(b'=');
            kept.extend_from_slice(value);
        }
    }
    kept.into()
}

/// Whether `name`, whose escapes stand for their characters (§19.1.4), is `expected` but for case.
fn is_named(name: &[u8], expected: &[u8]) -> bool {
    sipfed_sip::unescaped(name).map(|byte| byte.to_ascii_lowercase()).eq(expected.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3261_19_1_1_table_1_headers_and_method_stand_in_no_request() {
        for (uri, request_uri, route) in [
            ("sip:b@h", "sip:b@h", "sip:b@h"),
            ("sip:b@h:5070;ob;lr", "sip:b@h:5070;ob;lr", "sip:b@h:5070;ob;lr"),
            ("sip:b@h?Subject=x&To=y", "sip:b@h", "sip:b@h"),
            ("sip:b@h;ob?Subject=x", "sip:b@h;ob", "sip:b@h;ob"),
            ("sip:b@h;method=BYE", "sip:b@h", "sip:b@h"),
            ("sip:b@h;ttl=1;METHOD=BYE;transport=udp?a=b", "sip:b@h;ttl=1;transport=udp", "sip:b@h;transport=udp"),
            ("sip:b@h;m%65thod=BYE;lr", "sip:b@h;lr", "sip:b@h;lr"),
            ("sip:b@h;methods=BYE;method;xmethod", "sip:b@h;methods=BYE;xmethod", "sip:b@h;methods=BYE;xmethod"),
            ("sip:u;method=x@h", "sip:u;method=x@h", "sip:u;method=x@h"),
            ("tel:+1;method=BYE", "tel:+1;method=BYE", "tel:+1;method=BYE"),
        ] {
            let written = |place| String::from_utf8(allowed(uri.as_bytes(), place).into_owned()).unwrap();
            assert_eq!((written(Place::RequestUri).as_str(), written(Place::Route).as_str()), (request_uri, route));
        }
    }
}
