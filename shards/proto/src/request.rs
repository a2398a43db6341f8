//! A request whose mandatory fields have been read (RFC 3261 §8.1.1, §16.3 step 1).

use crate::hop::{Destination, Ends, Source, Transport};
use crate::reject::Rejection;
use sipfed_sip::compose::Stamp;
use sipfed_sip::{Address, CSeq, Fault, HeaderName, Message, Method, Scheme, SipUri, Uri, Via};
use std::net::SocketAddr;

/// The port of SIP over UDP and TCP (RFC 3261 §18.1.1).
pub(crate) const SIP_PORT: u16 = Transport::Udp.usual_port();
/// The port of SIP over TLS, and of a sips URI (RFC 3261 §19.1.2).
pub(crate) const SIPS_PORT: u16 = Transport::Tls.usual_port();

/// The port that a URI means: its own, else that of its scheme and transport (RFC 3261 §19.1.2).
pub(crate) fn port_of(uri: &SipUri<'_>) -> u16 {
    let is_secured = uri.scheme == Scheme::Sips
        || uri.param("transport").is_some_and(|token| sipfed_sip::eq_ignore_case(token, b"tls"));
    uri.port.unwrap_or(if is_secured { SIPS_PORT } else { SIP_PORT })
}

/// A request, read as far as every request must be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) message: Message<'a>,
    pub(crate) method: Method<'a>,
    /// The Request-URI.
    pub(crate) uri: Uri<'a>,
    pub(crate) via: Via<'a>,
    pub(crate) from: Address<'a>,
    pub(crate) to: Address<'a>,
    pub(crate) call_id: &'a [u8],
    pub(crate) cseq: CSeq<'a>,
    pub(crate) max_forwards: Option<u8>,
    pub(crate) source: Source,
    /// What its topmost Via is stamped with.
    pub(crate) stamp: Stamp,
}

impl<'a> Request<'a> {
    /// Reads what every request must have; the rejection says the first breach.
    pub(crate) fn parse(message: Message<'a>, method: Method<'a>, source: &Source) -> Result<Self, Rejection<'a>> {
        if let Some(fault) = message.fault() {
            return Err(Rejection::fault(fault));
        }
        let is_stream = source.transport.is_reliable() && !source.transport.is_websocket();
        if is_stream && message.first(HeaderName::ContentLength).is_none() {
            // RFC 3261 §18.3: on a stream nothing else says where the message ends. A WebSocket does (RFC 7118 §5.1).
            return Err(Rejection::fault(Fault::Missing(HeaderName::ContentLength)));
        }
        let via = message.top_via().map_err(Rejection::fault)?;
        let from = message.address(HeaderName::From).map_err(Rejection::fault)?;
        let to = message.address(HeaderName::To).map_err(Rejection::fault)?;
        let call_id = message.call_id().map_err(Rejection::fault)?;
        let cseq = message.cseq().map_err(Rejection::fault)?;
        let max_forwards = message.max_forwards().map_err(Rejection::fault)?;
        if cseq.method != method {
            // RFC 3261 §8.1.1.5; RFC 4475 §3.1.2.18 prefers 501 for a method we do not know.
            return Err(match method {
                Method::Other(_) => Rejection::new(501, "Not Implemented (CSeq names another method)"),
                _ => Rejection::fault(Fault::Header(HeaderName::CSeq, "names another method than the request")),
            });
        }
        let uri = Uri::parse(message.request_uri()).map_err(|what| Rejection::fault(Fault::RequestUri(what)))?;
        if uri.sip().is_some_and(|uri| !uri.headers.is_empty()) {
            // RFC 3261 §19.1.1 table 1: they would become header fields of what we send (RFC 4475 §3.1.2.11).
            return Err(Rejection::fault(Fault::RequestUri("must not have headers")));
        }
        let stamp = stamp(&via, source);
        Ok(Self { message, method, uri, via, from, to, call_id, cseq, max_forwards, source: *source, stamp })
    }

    /// Where its responses go.
    pub(crate) fn reply_to(&self) -> Destination {
        reply_to(&self.via, &self.source)
    }

    /// Whether its Request-URI is a sips URI, which wants TLS on every hop (RFC 5630).
    pub(crate) fn is_sips(&self) -> bool {
        is_sips(&self.uri)
    }

    /// Whether it belongs to a dialog, as far as a To tag says (RFC 3261 §12.2).
    pub(crate) fn is_in_dialog(&self) -> bool {
        self.to.tag().is_some()
    }
}

/// Whether a URI wants TLS on every hop (RFC 5630).
pub(crate) fn is_sips(uri: &Uri<'_>) -> bool {
    uri.sip().is_some_and(|uri| uri.scheme == Scheme::Sips)
}

/// What follows the scheme of a sips URI; `None` for any other one.
pub(crate) fn after_sips(uri: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = uri.split_at_checked(b"sips:".len())?;
    scheme.eq_ignore_ascii_case(b"sips:").then_some(rest)
}

/// RFC 3261 §18.2.1 and RFC 3581 §4: `received` where sent-by is a name or another address than the source, or
/// where rport is asked for; the port where rport is asked for.
pub(crate) fn stamp(via: &Via<'_>, source: &Source) -> Stamp {
    let asks_port = via.rport().is_some();
    let says_address = via.host.ip() == Some(source.remote.ip());
    Stamp {
        received: (asks_port || !says_address).then_some(source.remote.ip()),
        rport: asks_port.then_some(source.remote.port()),
    }
}

/// RFC 3261 §18.2.2 and RFC 3581 §4: streams answer on their connection; datagrams go to the address they came
/// from, at the port they came from where rport is asked for and at the port of sent-by otherwise.
///
/// `maddr` is not followed: it lets anyone aim our responses at a third party.
pub(crate) fn reply_to(via: &Via<'_>, source: &Source) -> Destination {
    let sent_by_port = via.port.unwrap_or(SIP_PORT);
    match source.transport {
        Transport::Tcp => {
            let remote = SocketAddr::new(source.remote.ip(), sent_by_port);
            let fallback = Ends::new(Transport::Tcp, remote, Some(source.local.ip()));
            Destination::Flow { flow: source.flow, fallback: Some(fallback) }
        }
        // Who is behind the other end of a connection within TLS is known from that connection alone, and nobody listens
        // behind a WebSocket (RFC 7118 §5).
        Transport::Tls | Transport::Ws | Transport::Wss => Destination::Flow { flow: source.flow, fallback: None },
        Transport::Udp => {
            let port = if via.rport().is_some() { source.remote.port() } else { sent_by_port };
            Destination::Udp { remote: SocketAddr::new(source.remote.ip(), port), local: source.local }
        }
    }
}
