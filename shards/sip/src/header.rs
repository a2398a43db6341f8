//! Header field names, long and compact (RFC 3261 §7.3.3, §20).

use std::fmt;

macro_rules! names {
    ($($variant:ident $long:literal $($compact:literal)?;)+) => {
        /// The header fields that are read here; all others are [`HeaderName::Other`] and pass untouched.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum HeaderName {
            $(#[doc = $long] $variant,)+
            /// Any other.
            Other,
        }

        impl HeaderName {
            /// How many there are, `Other` included.
            pub const COUNT: usize = Self::Other as usize + 1;

            /// Its long form.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $long,)+ Self::Other => "header field" }
            }

            #[cfg(test)]
            const ALL: &'static [(Self, &'static str, Option<u8>)] =
                &[$((Self::$variant, $long, names!(@compact $($compact)?)),)+];
        }
    };
    (@compact $c:literal) => { Some($c) };
    (@compact) => { None };
}

names! {
    Via "Via" b'v';
    From "From" b'f';
    To "To" b't';
    CallId "Call-ID" b'i';
    CSeq "CSeq";
    Contact "Contact" b'm';
    MaxForwards "Max-Forwards";
    Route "Route";
    RecordRoute "Record-Route";
    Path "Path";
    Expires "Expires";
    ContentLength "Content-Length" b'l';
    ContentType "Content-Type" b'c';
    Require "Require";
    ProxyRequire "Proxy-Require";
    Supported "Supported" b'k';
    Unsupported "Unsupported";
    Allow "Allow";
    UserAgent "User-Agent";
    Date "Date";
    MaxBreadth "Max-Breadth";
    WwwAuthenticate "WWW-Authenticate";
    ProxyAuthenticate "Proxy-Authenticate";
    RetryAfter "Retry-After";
}

impl HeaderName {
    /// The header field that `name` (without white space) names, in any case and in its compact form.
    #[inline]
    pub fn from_name(name: &[u8]) -> Self {
        // Few lengths have more than one name, and those differ in their first letters.
        let (candidate, found) = match *name {
            [c] => return Self::from_compact(c),
            [_, _] => (Self::To, is(name, b"To")),
            [_, _, _] => (Self::Via, is(name, b"Via")),
            [a, _, _, _] => match a | 0x20 {
                b'f' => (Self::From, is(name, b"From")),
                b'c' => (Self::CSeq, is(name, b"CSeq")),
                b'p' => (Self::Path, is(name, b"Path")),
                _ => (Self::Date, is(name, b"Date")),
            },
            [b'r' | b'R', _, _, _, _] => (Self::Route, is(name, b"Route")),
            [_, _, _, _, _] => (Self::Allow, is(name, b"Allow")),
            [a, b, _, _, _, _, _] => match [a | 0x20, b | 0x20] {
                [b'c', b'a'] => (Self::CallId, is(name, b"Call-ID")),
                [b'c', _] => (Self::Contact, is(name, b"Contact")),
                [b'e', _] => (Self::Expires, is(name, b"Expires")),
                _ => (Self::Require, is(name, b"Require")),
            },
            [first, ..] => match (name.len(), first | 0x20) {
                (9, _) => (Self::Supported, is(name, b"Supported")),
                (10, _) => (Self::UserAgent, is(name, b"User-Agent")),
                (11, b'm') => (Self::MaxBreadth, is(name, b"Max-Breadth")),
                (11, b'u') => (Self::Unsupported, is(name, b"Unsupported")),
                (11, _) => (Self::RetryAfter, is(name, b"Retry-After")),
                (12, b'm') => (Self::MaxForwards, is(name, b"Max-Forwards")),
                (12, b'r') => (Self::RecordRoute, is(name, b"Record-Route")),
                (12, _) => (Self::ContentType, is(name, b"Content-Type")),
                (13, _) => (Self::ProxyRequire, is(name, b"Proxy-Require")),
                (14, _) => (Self::ContentLength, is(name, b"Content-Length")),
                (16, _) => (Self::WwwAuthenticate, is(name, b"WWW-Authenticate")),
                (18, _) => (Self::ProxyAuthenticate, is(name, b"Proxy-Authenticate")),
                _ => return Self::Other,
            },
            [] => return Self::Other,
        };
        if found { candidate } else { Self::Other }
    }

    fn from_compact(c: u8) -> Self {
        match c.to_ascii_lowercase() {
            b'v' => Self::Via,
            b'f' => Self::From,
            b't' => Self::To,
            b'i' => Self::CallId,
            b'm' => Self::Contact,
            b'l' => Self::ContentLength,
            b'c' => Self::ContentType,
            b'k' => Self::Supported,
            _ => Self::Other,
        }
    }

    /// Whether it stands once at most, and is not a list (RFC 3261 §7.3.1, §20).
    pub(crate) const fn stands_once(self) -> bool {
        matches!(
            self,
            Self::From
                | Self::To
                | Self::CallId
                | Self::CSeq
                | Self::MaxForwards
                | Self::Expires
                | Self::ContentLength
                | Self::ContentType
                | Self::MaxBreadth
        )
    }
}

/// Whether `name` is `long` in any case. Nearly everybody writes it as the RFCs do, which costs a word or two to see.
#[inline]
fn is(name: &[u8], long: &[u8]) -> bool {
    name == long || name.eq_ignore_ascii_case(long)
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_both_forms_and_any_case() {
        for &(name, long, compact) in HeaderName::ALL {
            assert_eq!(HeaderName::from_name(long.as_bytes()), name, "{long}");
            assert_eq!(HeaderName::from_name(long.to_uppercase().as_bytes()), name, "{long}");
            if let Some(c) = compact {
                assert_eq!(HeaderName::from_name(&[c]), name, "{long}");
                assert_eq!(HeaderName::from_name(&[c.to_ascii_uppercase()]), name, "{long}");
            }
        }
        for other in [
            "",
            "x",
            "Tx",
            "Contacts",
            "Call_ID",
            "Call\rID",
            "C%6Fntact",
            "Fro.",
            "FROm ",
            "Routes",
            "Rallo",
            "Content-LengtH ",
        ] {
            assert_eq!(HeaderName::from_name(other.as_bytes()), HeaderName::Other, "{other}");
        }
    }
}
