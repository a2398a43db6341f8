//! The messages of a call: INVITE as a template made with rsip, the rest made of what came in.
//!
//! The caller keeps to the route set of RFC 3261 §12.1.2 (Record-Route in reverse order, remote target from the
//! Contact) and the callee copies Via and Record-Route as §8.2.6.2 and §12.1.1 have it, so that a proxy which
//! gets one of them wrong fails the call.

use crate::branch::{Branch, DIGITS_PLACEHOLDER};
use crate::error::Error;
use crate::lines::{Message, host_port, list_items, uri};
use crate::register_message::{SUBSCRIBER_DIGITS, aor_uri, contact_uri, user_prefix, via};
use crate::template::{Field, Template, decimal};
use rsip::headers::UntypedHeader;
use rsip::{Headers, Method, Param, Version, typed};
use std::net::SocketAddr;

const CALLEE_PLACEHOLDER: &str = "987654321";
const CALLER_PLACEHOLDER: &str = "876543219";
const PORT_PLACEHOLDER: u16 = 55_555;
/// Stands before the call's number in every Call-ID.
const CALL_ID_PREFIX: &[u8] = b"c-";

/// What one INVITE differs in from another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Invitation {
    /// Number of the caller.
    pub(crate) caller: u32,
    /// Number of the callee.
    pub(crate) callee: u32,
    /// The caller's port.
    pub(crate) port: u16,
    /// Phase and number of the call.
    pub(crate) call: Branch,
}

/// The INVITE of every call, ready to be filled in, and what later requests need to know.
#[derive(Clone, Debug)]
pub(crate) struct InviteTemplate {
    template: Template,
    caller: Field,
    callee: Field,
    port: Field,
    call: Field,
    server: SocketAddr,
    domain: String,
}

impl InviteTemplate {
    /// For calls between subscribers of `domain` at `server`.
    pub(crate) fn new(server: SocketAddr, domain: &str) -> Result<Self, Error> {
        let template = Template::new(invite(server, domain)?.to_string().into_bytes())?;
        Ok(Self {
            caller: template.field(CALLER_PLACEHOLDER, 2)?,
            callee: template.field(CALLEE_PLACEHOLDER, 2)?,
            port: template.field(&PORT_PLACEHOLDER.to_string(), 2)?,
            call: template.field(DIGITS_PLACEHOLDER, 3)?,
            template,
            server,
            domain: domain.to_owned(),
        })
    }

    /// Bytes of an INVITE.
    pub(crate) fn len(&self) -> usize {
        self.template.len()
    }

    /// Writes an INVITE to the start of `room`.
    pub(crate) fn write(&self, invitation: &Invitation, room: &mut [u8]) {
        self.template.copy_to(room);
        let message = &mut room[..self.template.len()];
        self.caller.write(message, &decimal::<SUBSCRIBER_DIGITS>(invitation.caller));
        self.callee.write(message, &decimal::<SUBSCRIBER_DIGITS>(invitation.callee));
        self.port.write(message, &decimal::<5>(u32::from(invitation.port)));
        self.call.write(message, &invitation.call.digits());
    }

    /// ACK to a final response other than 2xx: of the INVITE's own transaction (RFC 3261 §17.1.1.3).
    pub(crate) fn ack_of_refusal(&self, invitation: &Invitation, response: Message<'_>) -> Option<Vec<u8>> {
        let digits = decimal::<SUBSCRIBER_DIGITS>(invitation.callee);
        let mut text = Vec::with_capacity(512);
        text.extend_from_slice(b"ACK sip:");
        text.extend_from_slice(user_prefix(&self.domain).as_bytes());
        text.extend_from_slice(&digits);
        text.extend_from_slice(b"@");
        text.extend_from_slice(self.domain.as_bytes());
        self.finish_request(&mut text, invitation, b"", &[], response, b"1 ACK")?;
        Some(text)
    }

    /// Via to the end of a request within the call: From, To and Call-ID are those of `response`.
    fn finish_request(
        &self,
        text: &mut Vec<u8>,
        invitation: &Invitation,
        branch_suffix: &[u8],
        routes: &[&[u8]],
        response: Message<'_>,
        cseq: &[u8],
    ) -> Option<()> {
        text.extend_from_slice(b" SIP/2.0\r\nVia: SIP/2.0/UDP ");
        text.extend_from_slice(self.server.ip().to_string().as_bytes());
        text.extend_from_slice(b":");
        text.extend_from_slice(&decimal::<5>(u32::from(invitation.port)));
        text.extend_from_slice(b";branch=");
        text.extend_from_slice(&invitation.call.to_bytes());
        text.extend_from_slice(branch_suffix);
        text.extend_from_slice(b";rport\r\nMax-Forwards: 70\r\n");
        for route in routes {
            append_field(text, b"Route", route);
        }
        append_field(text, b"From", response.value("From", "f")?);
        append_field(text, b"To", response.value("To", "t")?);
        append_field(text, b"Call-ID", response.value("Call-ID", "i")?);
        append_field(text, b"CSeq", cseq);
        text.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        Some(())
    }

    /// ACK and BYE of the dialog that `ok`, the 2xx, has made (RFC 3261 §12.1.2, §12.2.1.1).
    pub(crate) fn dialog_requests(
        &self,
        invitation: &Invitation,
        ok: Message<'_>,
    ) -> Result<DialogRequests, WrongDialog> {
        let target = uri(ok.value("Contact", "m").ok_or(WrongDialog::NoContact)?);
        let mut routes: Vec<&[u8]> = ok.values("Record-Route", "Record-Route").flat_map(list_items).collect();
        routes.reverse();
        let first = uri(routes.first().ok_or(WrongDialog::NotRecordRouted)?);
        if !has_lr(first) {
            return Err(WrongDialog::StrictRoute);
        }
        if host_port(first) != self.server.to_string().as_bytes() {
            return Err(WrongDialog::RouteLeadsElsewhere);
        }
        let request = |method: &[u8], suffix: &[u8], cseq: &[u8]| {
            let mut text = Vec::with_capacity(768);
            text.extend_from_slice(method);
            text.extend_from_slice(target);
            self.finish_request(&mut text, invitation, suffix, &routes, ok, cseq).ok_or(WrongDialog::Incomplete)?;
            Ok(text)
        };
        Ok(DialogRequests { ack: request(b"ACK ", b"a", b"1 ACK")?, bye: request(b"BYE ", b"b", b"2 BYE")? })
    }
}

/// What the caller sends within the dialog.
#[derive(Clone, Debug)]
pub(crate) struct DialogRequests {
    /// ACK.
    pub(crate) ack: Vec<u8>,
    /// BYE.
    pub(crate) bye: Vec<u8>,
}

/// Why a 2xx makes no dialog that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum WrongDialog {
    /// It has no remote target.
    NoContact,
    /// From, To or Call-ID are missing.
    Incomplete,
    /// The proxy is not in the route set.
    NotRecordRouted,
    /// The first route has no `lr`.
    StrictRoute,
    /// The first route is not the proxy that was called.
    RouteLeadsElsewhere,
}

/// The number of the call that a message belongs to.
pub(crate) fn call_of(message: Message<'_>) -> Option<Branch> {
    Branch::from_digits(message.value("Call-ID", "i")?.strip_prefix(CALL_ID_PREFIX)?)
}

/// A response of the callee to `request` (RFC 3261 §8.2.6.2); `contact` makes it one that opens a dialog.
pub(crate) fn response(request: Message<'_>, status_line: &[u8], call: Branch, contact: Option<&[u8]>) -> Vec<u8> {
    let mut text = Vec::with_capacity(1024);
    text.extend_from_slice(status_line);
    text.extend_from_slice(b"\r\n");
    for field in request.fields() {
        let copied = field.is("Via", "v")
            || field.is("From", "f")
            || field.is("Call-ID", "i")
            || field.is("CSeq", "CSeq")
            || (contact.is_some() && field.is("Record-Route", "Record-Route"));
        if copied {
            append_field(&mut text, field.name, field.value);
        } else if field.is("To", "t") {
            text.extend_from_slice(b"To: ");
            text.extend_from_slice(field.value);
            if !field.value.windows(5).any(|part| part == b";tag=") {
                text.extend_from_slice(b";tag=u-");
                text.extend_from_slice(&call.digits());
            }
            text.extend_from_slice(b"\r\n");
        }
    }
    if let Some(contact) = contact {
        text.extend_from_slice(b"Contact: <");
        text.extend_from_slice(contact);
        text.extend_from_slice(b">\r\n");
    }
    if status_line == OK && contact.is_some() {
        let body = sdp("callee");
        text.extend_from_slice(
            format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(),
        );
        text.extend_from_slice(body.as_bytes());
    } else {
        text.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    }
    text
}

/// Status lines of the callee.
pub(crate) const RINGING: &[u8] = b"SIP/2.0 180 Ringing";
/// See [`RINGING`].
pub(crate) const OK: &[u8] = b"SIP/2.0 200 OK";

fn append_field(text: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    text.extend_from_slice(name);
    text.extend_from_slice(b": ");
    text.extend_from_slice(value);
    text.extend_from_slice(b"\r\n");
}

fn has_lr(uri: &[u8]) -> bool {
    uri.split(|&byte| byte == b';').skip(1).any(|param| param.eq_ignore_ascii_case(b"lr") || param.starts_with(b"lr="))
}

/// An offer or answer of one audio stream, about 300 bytes.
fn sdp(side: &str) -> String {
    format!(
        "v=0\r\no={side} 2890844526 2890844526 IN IP4 127.0.0.1\r\ns=sipfed-bench\r\nc=IN IP4 127.0.0.1\r\n\
         t=0 0\r\nm=audio 49170 RTP/AVP 8 0 18 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
         a=rtpmap:18 G729/8000\r\na=fmtp:18 annexb=no\r\na=rtpmap:101 telephone-event/8000\r\n\
         a=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n"
    )
}

fn invite(server: SocketAddr, domain: &str) -> Result<rsip::Request, Error> {
    let own = aor_uri(domain, CALLER_PLACEHOLDER)?;
    let called = aor_uri(domain, CALLEE_PLACEHOLDER)?;
    let body = sdp("caller").into_bytes();
    let tag = Param::Tag(rsip::param::Tag::new(format!("t-{DIGITS_PLACEHOLDER}")));
    let contact = contact_uri(server, PORT_PLACEHOLDER, CALLER_PLACEHOLDER);
    let mut headers = Headers::default();
    headers.push(via(server, PORT_PLACEHOLDER).into());
    headers.push(rsip::headers::MaxForwards::default().into());
    headers.push(typed::From { display_name: None, uri: own, params: vec![tag] }.into());
    headers.push(typed::To { display_name: None, uri: called.clone(), params: Vec::new() }.into());
    headers.push(rsip::headers::CallId::new(format!("c-{DIGITS_PLACEHOLDER}@bench.invalid")).into());
    headers.push(typed::CSeq { seq: 1, method: Method::Invite }.into());
    headers.push(typed::Contact { display_name: None, uri: contact, params: Vec::new() }.into());
    headers.push(rsip::headers::UserAgent::new("sipfed-bench phone/1").into());
    headers.push(rsip::headers::Allow::new("INVITE, ACK, CANCEL, BYE, OPTIONS").into());
    headers.push(rsip::headers::ContentType::new("application/sdp").into());
    headers.push(rsip::headers::ContentLength::new(body.len().to_string()).into());
    Ok(rsip::Request { method: Method::Invite, uri: called, version: Version::V2, headers, body })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rsip::headers::ToTypedHeader;
    use rsip::message::HeadersExt;

    const INVITATION: Invitation =
        Invitation { caller: 7, callee: 42, port: 40_001, call: Branch { phase: 2, number: 9 } };

    fn template() -> InviteTemplate {
        InviteTemplate::new("127.0.0.1:5060".parse().unwrap(), "127.0.0.1").unwrap()
    }

    fn invite_bytes() -> Vec<u8> {
        let mut room = [0; 2048];
        template().write(&INVITATION, &mut room);
        room[..template().len()].to_vec()
    }

    /// The callee's 200 as it leaves a proxy at 127.0.0.1:5060 that record-routed it behind another one.
    fn ok_bytes() -> Vec<u8> {
        let invite = String::from_utf8(invite_bytes()).unwrap();
        let routed = invite
            .replace("Max-Forwards", "Record-Route: <sip:10.0.0.9;lr>, <sip:127.0.0.1:5060;lr;d=1>\r\nMax-Forwards");
        let request = Message::cut(routed.as_bytes()).unwrap();
        response(request, OK, INVITATION.call, Some(b"sip:c-000000042@127.0.0.1:40002;transport=UDP"))
    }

    #[test]
    fn rsip_reads_the_invite() {
        let request = rsip::Request::try_from(invite_bytes().as_slice()).unwrap();
        assert_eq!(request.method, Method::Invite);
        assert_eq!(request.uri.to_string(), "sip:subscriber-000000042@127.0.0.1");
        let from = request.from_header().unwrap().typed().unwrap();
        assert_eq!(from.uri.user().unwrap(), "subscriber-000000007");
        assert!((280..=320).contains(&request.body.len()), "{}", request.body.len());
        assert_eq!(call_of(Message::cut(&invite_bytes()).unwrap()), Some(INVITATION.call));
    }

    #[test]
    fn rfc3261_8_2_6_2_the_callee_copies_what_it_must() {
        let ok = rsip::Response::try_from(ok_bytes().as_slice()).unwrap();
        assert!(ok.to_header().unwrap().value().ends_with(";tag=u-000200000009"));
        assert_eq!(ok.record_route_header().unwrap().value(), "<sip:10.0.0.9;lr>, <sip:127.0.0.1:5060;lr;d=1>");
        assert_eq!(ok.call_id_header().unwrap().value(), "c-000200000009@bench.invalid");
    }

    #[test]
    fn rfc3261_12_1_2_the_route_set_is_the_record_route_in_reverse() {
        let ok = ok_bytes();
        let requests = template().dialog_requests(&INVITATION, Message::cut(&ok).unwrap()).unwrap();
        let ack = Message::cut(&requests.ack).unwrap();
        assert_eq!(ack.request_uri().unwrap(), b"sip:c-000000042@127.0.0.1:40002;transport=UDP");
        let routes: Vec<&[u8]> = ack.values("Route", "Route").collect();
        assert_eq!(routes, [&b"<sip:127.0.0.1:5060;lr;d=1>"[..], b"<sip:10.0.0.9;lr>"]);
        let bye = rsip::Request::try_from(requests.bye.as_slice()).unwrap();
        assert_eq!(bye.cseq_header().unwrap().typed().unwrap().seq, 2);
        assert_ne!(Message::cut(&requests.bye).unwrap().value("Via", "v"), ack.value("Via", "v"));
    }

    #[test]
    fn a_route_set_that_cannot_be_used_is_named() {
        let ok = String::from_utf8(ok_bytes()).unwrap();
        let outcome = |text: String| template().dialog_requests(&INVITATION, Message::cut(text.as_bytes()).unwrap());
        for (from, to, wrong) in [
            ("Record-Route:", "X:", WrongDialog::NotRecordRouted),
            ("127.0.0.1:5060;lr;", "127.0.0.1:5060;", WrongDialog::StrictRoute),
            ("127.0.0.1:5060;lr", "127.0.0.1:5061;lr", WrongDialog::RouteLeadsElsewhere),
            ("Contact:", "X:", WrongDialog::NoContact),
            ("Call-ID:", "X:", WrongDialog::Incomplete),
        ] {
            assert_eq!(outcome(ok.replace(from, to)).unwrap_err(), wrong, "{from}");
        }
    }

    #[test]
    fn rfc3261_17_1_1_3_the_ack_of_a_refusal_has_the_branch_of_its_invite() {
        let refusal = String::from_utf8(ok_bytes()).unwrap().replace("200 OK", "404 Not Found");
        let ack = template().ack_of_refusal(&INVITATION, Message::cut(refusal.as_bytes()).unwrap()).unwrap();
        let (ack, invite) = (Message::cut(&ack).unwrap(), invite_bytes());
        let invite = Message::cut(&invite).unwrap();
        assert_eq!(ack.value("Via", "v"), invite.value("Via", "v"));
        assert_eq!(ack.request_uri(), invite.request_uri());
        assert_eq!(ack.value("CSeq", "CSeq").unwrap(), b"1 ACK");
    }
}
