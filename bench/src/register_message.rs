//! The usual REGISTER, as a phone sends it, and the check of what comes back.
//!
//! 606 bytes: an AoR of 30, a Contact URI of 45, a Call-ID of 36, a User-Agent of 20 and a `+sip.instance`
//! (a UUID URN in quotes, 49). Both ways lead through rsip, the project's type library: the template is
//! built with it, and a sample of the answers is decoded with it, away from the hot path.

use crate::branch::{BRANCH_PLACEHOLDER, Branch};
use crate::error::Error;
use crate::template::{Field, Template, decimal};
use rsip::headers::{ToTypedHeader, UntypedHeader};
use rsip::message::{HasHeaders, HeadersExt};
use rsip::{Header, Headers, Method, Param, Scheme, Transport, Uri, Version, typed};
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of the usual address of record, `user@domain`.
pub(crate) const AOR_BYTES: usize = 30;
/// Digits of a subscriber's number.
pub(crate) const SUBSCRIBER_DIGITS: usize = 9;
/// CSeq of the first REGISTER; every later one counts up and keeps the width.
pub(crate) const CSEQ_FIRST: u32 = 1001;
/// Seconds that a binding is asked for.
pub(crate) const EXPIRES_S: u32 = 3600;

const SUBSCRIBER_PLACEHOLDER: &str = "987654321";
const PORT_PLACEHOLDER: u16 = 55_555;
const CSEQ_PLACEHOLDER: u32 = 7777;
const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, NOTIFY, REFER, MESSAGE, PUBLISH, SUBSCRIBE";

/// Whether the phones name their instance (RFC 5626 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instance {
    /// With `+sip.instance`.
    Named,
    /// Without.
    Unnamed,
}

/// What one REGISTER differs in from another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registration {
    /// The subscriber's number, of at most [`SUBSCRIBER_DIGITS`] digits.
    pub(crate) subscriber: u32,
    /// The port of the phone, of five digits.
    pub(crate) port: u16,
    /// CSeq, of four digits.
    pub(crate) cseq: u32,
    /// The branch of its Via.
    pub(crate) branch: Branch,
}

/// The REGISTER of every subscriber of a domain, ready to be filled in.
#[derive(Clone, Debug)]
pub(crate) struct RegisterTemplate {
    template: Template,
    subscriber: Field,
    port: Field,
    cseq: Field,
    branch: Field,
}

impl RegisterTemplate {
    /// For phones at the address of `server` that register in `domain`.
    pub(crate) fn new(server: SocketAddr, domain: &str, instance: Instance) -> Result<Self, Error> {
        let request = request(server, domain, instance)?;
        let template = Template::new(request.to_string().into_bytes())?;
        let subscriber_places = if instance == Instance::Named { 6 } else { 5 };
        Ok(Self {
            subscriber: template.field(SUBSCRIBER_PLACEHOLDER, subscriber_places)?,
            port: template.field(&PORT_PLACEHOLDER.to_string(), 2)?,
            cseq: template.field(&CSEQ_PLACEHOLDER.to_string(), 1)?,
            branch: template.field(BRANCH_PLACEHOLDER, 1)?,
            template,
        })
    }

    /// Bytes of a request.
    pub(crate) fn len(&self) -> usize {
        self.template.len()
    }

    /// Writes a request to the start of `room`, which must be large enough.
    pub(crate) fn write(&self, registration: &Registration, room: &mut [u8]) {
        self.template.copy_to(room);
        let message = &mut room[..self.template.len()];
        self.subscriber.write(message, &decimal::<SUBSCRIBER_DIGITS>(registration.subscriber));
        self.port.write(message, &decimal::<5>(u32::from(registration.port)));
        self.cseq.write(message, &decimal::<4>(registration.cseq));
        self.branch.write(message, &registration.branch.to_bytes());
    }
}

/// The user part of subscribers in `domain`, up to their digits: long enough for an AoR of [`AOR_BYTES`].
pub(crate) fn user_prefix(domain: &str) -> String {
    let bytes = AOR_BYTES.saturating_sub(1 + domain.len() + SUBSCRIBER_DIGITS).max(1);
    "subscriber-".chars().rev().cycle().take(bytes).collect::<Vec<_>>().into_iter().rev().collect()
}

/// The address of record `sip:user@domain` with `digits` for the subscriber's number.
pub(crate) fn aor_uri(domain: &str, digits: &str) -> Result<Uri, Error> {
    let uri = format!("sip:{}{digits}@{domain}", user_prefix(domain));
    Uri::try_from(uri.as_str()).map_err(|error| Error::Template(error.to_string()))
}

/// The Contact URI of a phone at `address`, whose port is replaced by `port`.
pub(crate) fn contact_uri(address: SocketAddr, port: u16, digits: &str) -> Uri {
    Uri {
        scheme: Some(Scheme::Sip),
        auth: Some((format!("c-{digits}"), None::<String>).into()),
        host_with_port: (rsip::Host::IpAddr(address.ip()), port).into(),
        params: vec![Param::Transport(Transport::Udp)],
        headers: Vec::new(),
    }
}

/// The top Via of a phone at `address`, with the placeholder branch and RFC 3581's `rport`.
pub(crate) fn via(address: SocketAddr, port: u16) -> typed::Via {
    typed::Via {
        version: Version::V2,
        transport: Transport::Udp,
        uri: Uri { host_with_port: (rsip::Host::IpAddr(address.ip()), port).into(), ..Uri::default() },
        params: vec![
            Param::Branch(rsip::param::Branch::new(BRANCH_PLACEHOLDER)),
            Param::Other(rsip::param::OtherParam::new("rport"), None),
        ],
    }
}

/// Tells this run from an earlier one against the same server: CSeq starts anew, so must the Call-IDs
/// (RFC 3261 §10.3 step 7).
fn run_number() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since_epoch.as_micros() as u64 & 0xffff_ffff_ffff
}

fn request(server: SocketAddr, domain: &str, instance: Instance) -> Result<rsip::Request, Error> {
    let aor = aor_uri(domain, SUBSCRIBER_PLACEHOLDER)?;
    let tag = Param::Tag(rsip::param::Tag::new(format!("t-{SUBSCRIBER_PLACEHOLDER}")));
    let contact = typed::Contact {
        display_name: None,
        uri: contact_uri(server, PORT_PLACEHOLDER, SUBSCRIBER_PLACEHOLDER),
        params: match instance {
            Instance::Named => vec![Param::Other(
                rsip::param::OtherParam::new("+sip.instance"),
                Some(rsip::param::OtherParamValue::new(format!(
                    "\"<urn:uuid:00000000-0000-4000-8000-000{SUBSCRIBER_PLACEHOLDER}>\""
                ))),
            )],
            Instance::Unnamed => Vec::new(),
        },
    };
    let mut headers = Headers::default();
    headers.push(via(server, PORT_PLACEHOLDER).into());
    headers.push(rsip::headers::MaxForwards::default().into());
    headers.push(typed::From { display_name: None, uri: aor.clone(), params: vec![tag] }.into());
    headers.push(typed::To { display_name: None, uri: aor, params: Vec::new() }.into());
    let call_id = format!("{SUBSCRIBER_PLACEHOLDER}-{:012x}@bench.invalid", run_number());
    headers.push(rsip::headers::CallId::new(call_id).into());
    headers.push(typed::CSeq { seq: CSEQ_PLACEHOLDER, method: Method::Register }.into());
    headers.push(contact.into());
    headers.push(rsip::headers::Expires::new(EXPIRES_S.to_string()).into());
    headers.push(rsip::headers::UserAgent::new("sipfed-bench phone/1").into());
    headers.push(rsip::headers::Allow::new(ALLOW).into());
    headers.push(rsip::headers::Supported::new("path, replaces, 100rel").into());
    headers.push(rsip::headers::ContentLength::default().into());
    Ok(rsip::Request {
        method: Method::Register,
        uri: domain_uri(domain)?,
        version: Version::V2,
        headers,
        body: Vec::new(),
    })
}

/// The Request-URI of a REGISTER (RFC 3261 §10.2).
pub(crate) fn domain_uri(domain: &str) -> Result<Uri, Error> {
    Uri::try_from(format!("sip:{domain}").as_str()).map_err(|error| Error::Template(error.to_string()))
}

/// Decodes a 200 with rsip and compares it with the request it answers (RFC 3261 §10.3 step 8).
pub(crate) fn check_answer(answer: &[u8], registration: &Registration) -> Result<(), Error> {
    let wrong = |what: String| Error::WrongAnswer { what, answer: String::from_utf8_lossy(answer).into_owned() };
    let response = rsip::Response::try_from(answer).map_err(|error| wrong(error.to_string()))?;
    let digits = decimal::<SUBSCRIBER_DIGITS>(registration.subscriber);
    let digits = String::from_utf8_lossy(&digits);
    let cseq = typed_or(response.cseq_header(), &wrong)?;
    if (cseq.seq, cseq.method) != (registration.cseq, Method::Register) {
        return Err(wrong(format!("its CSeq is not {} REGISTER", registration.cseq)));
    }
    let call_id = response.call_id_header().map_err(|error| wrong(error.to_string()))?;
    if !call_id.value().starts_with(&*digits) {
        return Err(wrong("its Call-ID is of another subscriber".to_owned()));
    }
    if !response.to_header().is_ok_and(|to| to.value().contains(";tag=")) {
        return Err(wrong("its To has no tag".to_owned()));
    }
    check_contact(&response, registration.port, &digits).map_err(wrong)
}

fn typed_or<'a, H: ToTypedHeader<'a> + Clone>(
    header: Result<&'a H, rsip::Error>,
    wrong: &impl Fn(String) -> Error,
) -> Result<H::Typed, Error> {
    header.and_then(|header| header.clone().into_typed()).map_err(|error| wrong(error.to_string()))
}

/// A phone has one binding here, so the first Contact must be its own, with its `port` and the time that is left.
pub(crate) fn check_contact(response: &rsip::Response, port: u16, digits: &str) -> Result<(), String> {
    let contact = response
        .headers()
        .iter()
        .find_map(|header| if let Header::Contact(contact) = header { Some(contact.value()) } else { None })
        .ok_or("it lists no Contact")?;
    if !contact.contains(&format!("sip:c-{digits}@")) || !contact.contains(&format!(":{port}")) {
        return Err("its Contact is not the one that was registered".to_owned());
    }
    let seconds: u32 = contact
        .split(';')
        .find_map(|param| param.trim().strip_prefix("expires="))
        .and_then(|value| value.split(',').next()?.trim().parse().ok())
        .ok_or("its Contact has no expires")?;
    if (1..=EXPIRES_S).contains(&seconds) { Ok(()) } else { Err(format!("it expires after {seconds} s")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTRATION: Registration =
        Registration { subscriber: 42, port: 40_001, cseq: CSEQ_FIRST, branch: Branch { phase: 1, number: 7 } };

    fn message(instance: Instance) -> String {
        let server = "127.0.0.1:15060".parse().unwrap();
        let template = RegisterTemplate::new(server, "127.0.0.1:15060", instance).unwrap();
        let mut room = [0; 2048];
        template.write(&REGISTRATION, &mut room);
        String::from_utf8(room[..template.len()].to_vec()).unwrap()
    }

    #[test]
    fn the_usual_register_has_the_lengths_it_is_known_for() {
        let text = message(Instance::Named);
        assert_eq!(text.len(), 606, "{text}");
        let request = rsip::Request::try_from(text.as_str()).unwrap();
        let to = request.to_header().unwrap().typed().unwrap();
        assert_eq!(to.uri.to_string().len() - "sip:".len(), AOR_BYTES);
        assert_eq!(request.call_id_header().unwrap().value().len(), 36);
        assert_eq!(request.user_agent_header().unwrap().value().len(), 20);
        let contact = request.contact_header().unwrap().value();
        let uri = &contact[1..contact.find('>').unwrap()];
        assert_eq!(uri.len(), 45, "{uri}");
        let instance = contact.split("+sip.instance=").nth(1).unwrap();
        assert_eq!(instance, "\"<urn:uuid:00000000-0000-4000-8000-000000000042>\"");
        assert_eq!(instance.len(), 49);
    }

    #[test]
    fn rsip_reads_what_was_filled_in() {
        let request = rsip::Request::try_from(message(Instance::Unnamed).as_str()).unwrap();
        assert_eq!(request.method, Method::Register);
        assert_eq!(request.cseq_header().unwrap().typed().unwrap().seq, CSEQ_FIRST);
        let via = request.via_header().unwrap().typed().unwrap();
        assert_eq!(via.branch().unwrap().to_string().as_bytes(), REGISTRATION.branch.to_bytes());
        assert_eq!(via.uri.port().unwrap().value(), &40_001);
        let contact = request.contact_header().unwrap().typed().unwrap();
        assert_eq!(contact.uri.user().unwrap(), "c-000000042");
        assert!(contact.params.is_empty());
    }

    #[test]
    fn a_right_answer_passes_and_a_wrong_one_is_named() {
        let good = message(Instance::Named)
            .replace("REGISTER sip:127.0.0.1:15060 SIP/2.0", "SIP/2.0 200 OK")
            .replace("@127.0.0.1:15060>\r\nCall", "@127.0.0.1:15060>;tag=x\r\nCall")
            .replace("0042>\"", "0042>\";expires=3600");
        check_answer(good.as_bytes(), &REGISTRATION).unwrap();
        for (from, to) in [
            (";tag=x", ""),
            ("expires=3600", "expires=0"),
            ("CSeq: 1001", "CSeq: 1002"),
            ("Call-ID: 000000042", "Call-ID: 000000043"),
            ("sip:c-000000042", "sip:c-000000043"),
        ] {
            assert!(check_answer(good.replace(from, to).as_bytes(), &REGISTRATION).is_err(), "{from}");
        }
    }

    #[test]
    fn the_aor_keeps_its_length_in_another_domain() {
        let uri = aor_uri("example.net", "000000001").unwrap().to_string();
        assert_eq!(uri.len() - "sip:".len(), AOR_BYTES, "{uri}");
    }
}
