//! What two parsers read of a message, in one form, so that it can be compared.

use rsip::headers::{ToTypedHeader, UntypedHeader};
use rsip::message::HeadersExt;
use sipfed_sip::{Address, Contact, Fault, HeaderName, Host, Index, Params, Scheme, SipUri, Uri, Via, scan};
use std::convert::TryFrom;
use std::fmt::Display;

/// Names and values in lower case: in neither does case count where rsip keeps it.
pub(crate) type ParamList = Vec<(String, Option<String>)>;

/// A SIP URI, or any other as it is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct UriReading {
    pub(crate) scheme: String,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) params: ParamList,
}

/// A Via.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ViaReading {
    pub(crate) transport: String,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) branch: Option<String>,
    pub(crate) params: ParamList,
}

/// From, To or a Contact.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AddressReading {
    pub(crate) display: String,
    pub(crate) uri: UriReading,
    pub(crate) params: ParamList,
}

/// A whole message. What a parser refuses to read is `None`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    pub(crate) start: Option<(String, UriReading)>,
    pub(crate) top_via: Option<ViaReading>,
    pub(crate) via_count: Option<usize>,
    pub(crate) from: Option<AddressReading>,
    pub(crate) to: Option<AddressReading>,
    pub(crate) contacts: Option<Vec<AddressReading>>,
    pub(crate) cseq: Option<(u32, String)>,
    pub(crate) call_id: Option<String>,
    pub(crate) max_forwards: Option<u32>,
    pub(crate) expires: Option<u32>,
    pub(crate) body: Option<Vec<u8>>,
}

impl Reading {
    /// The names of what the two do not agree upon.
    pub(crate) fn differences(&self, other: &Self) -> Vec<&'static str> {
        let pairs = [
            ("start", self.start == other.start),
            ("top_via", self.top_via == other.top_via),
            ("via_count", self.via_count == other.via_count),
            ("from", self.from == other.from),
            ("to", self.to == other.to),
            ("contacts", self.contacts == other.contacts),
            ("cseq", self.cseq == other.cseq),
            ("call_id", self.call_id == other.call_id),
            ("max_forwards", self.max_forwards == other.max_forwards),
            ("expires", self.expires == other.expires),
            ("body", self.body == other.body),
        ];
        pairs.into_iter().filter(|(_, agree)| !agree).map(|(name, _)| name).collect()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What we read.
pub(crate) fn ours(bytes: &[u8]) -> Reading {
    let mut index = Index::new();
    let m = scan(bytes, &mut index).unwrap();
    assert_eq!(m.fault(), None, "{}", bytes.escape_ascii());
    let start = match m.method() {
        Some(method) => our_uri(Uri::parse(m.request_uri())).map(|uri| (text(method.as_bytes()), uri)),
        None => m.status().map(|status| (status.to_string(), UriReading::default())),
    };
    let vias: Result<Vec<Via<'_>>, Fault> = m.vias().collect();
    let contacts: Result<Vec<Contact<'_>>, Fault> = m.contacts().collect();
    let address = |contact: &Contact<'_>| match contact {
        Contact::At(address) => our_address(address),
        Contact::All => None,
    };
    Reading {
        start,
        top_via: m.top_via().ok().map(|via| our_via(&via)),
        via_count: vias.ok().map(|vias| vias.len()),
        from: m.address(HeaderName::From).ok().as_ref().and_then(our_address),
        to: m.address(HeaderName::To).ok().as_ref().and_then(our_address),
        contacts: contacts.ok().and_then(|contacts| contacts.iter().map(address).collect()),
        cseq: m.cseq().ok().map(|cseq| (cseq.number, text(cseq.method.as_bytes()))),
        call_id: m.call_id().ok().map(text),
        max_forwards: m.max_forwards().ok().flatten().map(u32::from),
        expires: m.expires(),
        body: Some(m.body().to_vec()),
    }
}

fn our_host(host: &Host<'_>) -> String {
    match host {
        Host::Ip(ip) => ip.to_string(),
        Host::Name(name) => text(name),
    }
}

fn our_uri(uri: Result<Uri<'_>, &str>) -> Option<UriReading> {
    match uri.ok()? {
        Uri::Sip(uri) => Some(our_sip_uri(&uri)),
        Uri::Tel(tel) => Some(UriReading { scheme: "tel".into(), host: text(tel.number), ..UriReading::default() }),
        Uri::Other(uri) => Some(UriReading { scheme: text(uri), ..UriReading::default() }),
    }
}

fn our_sip_uri(uri: &SipUri<'_>) -> UriReading {
    let lower = |bytes: &[u8]| text(bytes).to_lowercase();
    UriReading {
        scheme: if uri.scheme == Scheme::Sips { "sips".into() } else { "sip".into() },
        user: uri.user.map(text),
        password: uri.password.map(text),
        host: our_host(&uri.host),
        port: uri.port,
        params: uri.params().map(|(name, value)| (lower(name), value.map(lower))).collect(),
    }
}

fn our_params(params: &Params<'_>) -> ParamList {
    let lower = |bytes: &[u8]| text(bytes).to_lowercase();
    params.iter().map(|param| (lower(param.name), param.value.map(lower))).collect()
}

fn our_via(via: &Via<'_>) -> ViaReading {
    ViaReading {
        transport: text(via.transport).to_uppercase(),
        host: our_host(&via.host),
        port: via.port,
        branch: via.branch().map(text),
        params: our_params(&via.params),
    }
}

fn our_address(address: &Address<'_>) -> Option<AddressReading> {
    let uri = our_uri(address.uri())?;
    Some(AddressReading { display: text(address.display), uri, params: our_params(&address.params) })
}

/// What rsip reads; `None` when it refuses the whole message.
pub(crate) fn theirs(bytes: &[u8]) -> Option<Reading> {
    let message = rsip::SipMessage::try_from(bytes).ok()?;
    let start = match &message {
        rsip::SipMessage::Request(request) => (request.method.to_string(), their_uri(&request.uri)),
        rsip::SipMessage::Response(response) => (response.status_code.code().to_string(), UriReading::default()),
    };
    let headers: &rsip::Headers = rsip::message::HasHeaders::headers(&message);
    let typed = |contact: &rsip::headers::Contact| contact.clone().typed().ok();
    let contacts = message.contact_headers().into_iter().map(|contact| {
        let contact = typed(contact)?;
        Some(their_address(contact.display_name.as_deref(), &contact.uri, &contact.params))
    });
    let from = message.from_header().ok().and_then(|from| from.clone().typed().ok());
    let to = message.to_header().ok().and_then(|to| to.clone().typed().ok());
    Some(Reading {
        start: Some(start),
        top_via: message.via_header().ok().and_then(|via| via.clone().typed().ok()).map(|via| their_via(&via)),
        via_count: Some(headers.iter().filter(|header| matches!(header, rsip::Header::Via(_))).count()),
        from: from.map(|from| their_address(from.display_name.as_deref(), &from.uri, &from.params)),
        to: to.map(|to| their_address(to.display_name.as_deref(), &to.uri, &to.params)),
        contacts: contacts.collect(),
        cseq: message.cseq_header().ok().and_then(|c| c.clone().typed().ok()).map(|c| (c.seq, c.method.to_string())),
        call_id: message.call_id_header().ok().map(|call_id| call_id.value().to_owned()),
        max_forwards: message.max_forwards_header().ok().and_then(|hops| hops.num().ok()),
        expires: message.expires_header().and_then(|expires| expires.seconds().ok()),
        body: Some(message.body().clone()),
    })
}

fn their_uri(uri: &rsip::Uri) -> UriReading {
    UriReading {
        scheme: uri.scheme.as_ref().map(ToString::to_string).unwrap_or_default(),
        user: uri.user().map(str::to_owned),
        password: uri.auth.as_ref().and_then(|auth| auth.password.clone()),
        host: uri.host().to_string(),
        port: uri.port().map(|port| *port.value()),
        params: their_params(&uri.params),
    }
}

fn their_params(params: &[impl Display]) -> ParamList {
    let split = |param: &dyn Display| {
        let param = param.to_string().to_lowercase();
        match param[1..].split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (param[1..].to_owned(), None),
        }
    };
    params.iter().map(|param| split(param)).collect()
}

fn their_via(via: &rsip::typed::Via) -> ViaReading {
    ViaReading {
        transport: via.transport.to_string(),
        host: via.uri.host().to_string(),
        port: via.uri.port().map(|port| *port.value()),
        branch: via.branch().map(|branch| branch.value().to_owned()),
        params: their_params(&via.params),
    }
}

fn their_address(display: Option<&str>, uri: &rsip::Uri, params: &[rsip::Param]) -> AddressReading {
    AddressReading {
        display: display.unwrap_or_default().to_owned(),
        uri: their_uri(uri),
        params: their_params(params),
    }
}
