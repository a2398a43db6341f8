//! Which binding of an AoR a Contact names.

use super::record::Binding;
use sipfed_sip::Uri;

/// What a Contact without an instance is matched by. One with an instance is known by that (RFC 5626 §6, RFC 5627), whatever
/// is said here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Matching {
    /// The equality of URIs (RFC 3261 §10.3 step 7).
    #[default]
    Contact,
    /// That, and the Call-ID: phones that name themselves by one URI are told from each other by it.
    ContactAndCallId,
    /// The value of this parameter of its URI, named in lower case, as it is written; where its URI lacks it, the URI.
    Parameter(String),
}

impl Matching {
    /// The parameter by which it matches.
    pub(crate) fn parameter(&self) -> Option<&str> {
        match self {
            Self::Parameter(name) => Some(name),
            Self::Contact | Self::ContactAndCallId => None,
        }
    }
}

/// What a binding was matched by when it was made, as it is kept with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum KnownBy {
    /// Its instance, or its URI.
    #[default]
    Contact,
    /// Its URI and its Call-ID.
    CallId,
    /// A parameter of its URI.
    Parameter,
}

/// What a REGISTER says of one of its Contacts that tells which binding is meant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'c> {
    pub(crate) uri: &'c Uri<'c>,
    /// The same as it is written.
    pub(crate) uri_bytes: &'c [u8],
    /// The value of +sip.instance; empty for none.
    pub(crate) instance: &'c [u8],
    /// 0 for none.
    pub(crate) reg_id: u32,
    pub(crate) call_id: &'c [u8],
}

impl<'c> Named<'c> {
    /// What a binding is known by that it makes.
    pub(crate) fn known_by(&self, matching: &Matching) -> KnownBy {
        match matching {
            Matching::ContactAndCallId if self.instance.is_empty() => KnownBy::CallId,
            Matching::Parameter(name) if self.instance.is_empty() && value_of(self.uri, name).is_some() => {
                KnownBy::Parameter
            }
            _ => KnownBy::Contact,
        }
    }

    /// What the contact id of a binding is made of that it makes: a text, in parts, that no other binding of the AoR has.
    pub(crate) fn identity(&self, matching: &'c Matching) -> [&'c [u8]; 3] {
        let parameter = matching.parameter().and_then(|name| Some((name, value_of(self.uri, name)?)));
        identity(self.known_by(matching), self.instance, (self.uri_bytes, self.call_id), parameter)
    }
}

fn identity<'c>(
    known_by: KnownBy,
    instance: &'c [u8],
    (uri, call_id): (&'c [u8], &'c [u8]),
    parameter: Option<(&'c str, &'c [u8])>,
) -> [&'c [u8]; 3] {
    match (known_by, parameter) {
        _ if !instance.is_empty() => [instance, b"", b""],
        // No URI has such a byte.
        (KnownBy::CallId, _) => [uri, b"\0", call_id],
        // Every URI has a colon before its first equals sign.
        (KnownBy::Parameter, Some((name, value))) => [name.as_bytes(), b"=", value],
        (KnownBy::Contact | KnownBy::Parameter, _) => [uri, b"", b""],
    }
}

impl<'a> Binding<'a> {
    /// What its contact id is made of ([`Named::identity`]), where rules match by these `parameters`.
    pub(crate) fn identity<'c>(&self, mut parameters: impl Iterator<Item = &'c str>) -> [&'c [u8]; 3]
    where
        'a: 'c,
    {
        let known_by = self.flags().known_by();
        let uri = Uri::parse(self.uri()).ok().filter(|_| known_by == KnownBy::Parameter);
        let parameter = uri.and_then(|uri| parameters.find_map(|name| Some((name, value_of(&uri, name)?))));
        identity(known_by, self.instance(), (self.uri(), self.call_id()), parameter)
    }

    /// Whether its removal, where it was not known, was that of `other` as well: they are the same for a registrar.
    pub(super) fn forestalls(&self, other: &Binding<'_>) -> bool {
        if !self.flags().forestalls() || !self.flags().removed() || self.stamp() <= other.stamp() {
            return false;
        }
        if self.uri().is_empty() {
            return true;
        }
        if self.flags().known_by() == KnownBy::CallId && self.call_id() != other.call_id() {
            return false;
        }
        let (uri, instance) = (self.uri(), self.instance());
        if uri == other.uri() && instance == other.instance() && self.reg_id() == other.reg_id() {
            return true;
        }
        Uri::parse(uri).is_ok_and(|uri| {
            let (reg_id, call_id) = (self.reg_id(), self.call_id());
            let named = Named { uri: &uri, uri_bytes: self.uri(), instance, reg_id, call_id };
            other.is_named_by(&named, &Matching::Contact)
        })
    }

    /// Whether a Contact names it: by instance and reg-id where it has them (RFC 5626 §6), else as `matching` says.
    pub(crate) fn is_named_by(&self, named: &Named<'_>, matching: &Matching) -> bool {
        if !named.instance.is_empty() && (named.reg_id != 0 || !self.instance().is_empty()) {
            return self.instance() == named.instance && self.reg_id() == named.reg_id;
        }
        let is_at = |uri: &Uri<'_>| Uri::parse(self.uri()).is_ok_and(|own| own == *uri);
        match matching {
            Matching::Contact => is_at(named.uri),
            Matching::ContactAndCallId => self.call_id() == named.call_id && is_at(named.uri),
            Matching::Parameter(name) => match value_of(named.uri, name) {
                Some(value) => Uri::parse(self.uri()).is_ok_and(|own| value_of(&own, name) == Some(value)),
                None => is_at(named.uri),
            },
        }
    }
}

/// The value of a URI's parameter, as it is written; `None` where there is none, or an empty one.
fn value_of<'a>(uri: &Uri<'a>, name: &str) -> Option<&'a [u8]> {
    uri.sip().and_then(|uri| uri.param(name)).filter(|value| !value.is_empty())
}
