//! Route preprocessing (RFC 3261 §16.4) and Record-Route (§16.6 step 4).

use super::next_hop::Flow;
use super::target::Target;
use crate::hop::{Destination, Transport};
use crate::reject::Rejection;
use crate::request::{self, Request};
use crate::shard::Core;
use sipfed_sip::{Address, HeaderName, Uri};
use std::net::SocketAddr;

/// A request's Request-URI and routes as they are once our own are taken off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Routed<'a> {
    /// The Request-URI.
    pub(crate) uri: Uri<'a>,
    pub(crate) uri_bytes: &'a [u8],
    /// The first route that is not ours.
    pub(crate) next: Option<Address<'a>>,
    /// How many of the topmost routes are ours.
    pub(crate) popped: usize,
    /// Whether the last route became the Request-URI and is to be left out.
    pub(crate) last_taken: bool,
    /// The flow that our own route names, where the request is to go over it.
    pub(crate) flow: Option<Flow>,
}

impl Routed<'_> {
    /// Whether it is for a sips URI, so that it goes over TLS alone (RFC 5630 §5.3).
    pub(super) fn is_sips(&self) -> bool {
        request::is_sips(&self.uri)
    }

    /// Whether what is sent to `target` has a sips URI where that decides about the Record-Route of that side (RFC 3261
    /// §16.6 step 4): as its Request-URI, or on top of its routes.
    fn leaves_for_sips(&self, target: &Target) -> bool {
        let top = target.path.iter().position(|byte| *byte == b'<').map(|at| &target.path[at + 1..]);
        let top = top.or(self.next.map(|next| next.uri));
        [Some(&*target.uri), top].into_iter().flatten().any(|uri| request::after_sips(uri).is_some())
    }
}

impl Core {
    /// Refuses what is for a sips URI and has come over something else than TLS, or to who has none (RFC 5630 §5.3: a use that
    /// contradicts itself is answered 400).
    pub(crate) fn check_sips(&self, request: &Request<'_>) -> Result<(), Rejection<'static>> {
        if !request.is_sips() || request.source.transport.is_secured() {
            return Ok(());
        }
        if self.settings.listeners.iter().any(|listener| listener.transport.is_secured()) {
            return Err(Rejection::new(400, "Bad Request (for a sips URI, and not over TLS)"));
        }
        Err(Rejection::new(416, "Unsupported URI Scheme (no TLS here)"))
    }

    pub(super) fn take_own_routes<'a>(&self, request: &Request<'a>) -> Result<Routed<'a>, Rejection<'a>> {
        let mut routed = Routed {
            uri: request.uri,
            uri_bytes: request.message.request_uri(),
            next: None,
            popped: 0,
            last_taken: false,
            flow: None,
        };
        if request.message.first(HeaderName::Route).is_none() {
            return Ok(routed);
        }
        let routes = || request.message.addresses(HeaderName::Route);
        // A strict router has put our Record-Route into the Request-URI and the target at the end.
        if let Some(uri) = request.uri.sip().filter(|uri| uri.param("lr").is_some() && self.is_self(uri)) {
            routed.flow = uri.user.and_then(|user| self.read_flow_user(user));
            let last = routes().last().transpose().map_err(Rejection::fault)?;
            if let Some(last) = last {
                routed.uri = last.uri().map_err(|_| Rejection::new(400, "Bad Request (Route: malformed URI)"))?;
                routed.uri_bytes = last.uri;
                routed.last_taken = true;
            }
        }
        let count = if routed.last_taken { routes().count() - 1 } else { usize::MAX };
        for address in routes().take(count) {
            let address = address.map_err(Rejection::fault)?;
            let uri = address.uri().map_err(|_| Rejection::new(400, "Bad Request (Route: malformed URI)"))?;
            match uri.sip() {
                Some(uri) if self.is_self(uri) => {
                    routed.popped += 1;
                    routed.flow = uri.user.and_then(|user| self.read_flow_user(user));
                }
                _ => {
                    routed.next = Some(address);
                    break;
                }
            }
        }
        // A route that names the flow the request came over leads away from it (RFC 5626 §5.3).
        let source = &request.source;
        routed.flow = routed.flow.filter(|flow| match *flow {
            Flow::Connection(flow) => flow != source.flow,
            Flow::Datagrams(remote) => source.transport != Transport::Udp || remote != source.remote,
        });
        Ok(routed)
    }

    /// Appends our Record-Route lines: one for both sides, or one for each where they differ (RFC 5658) or where
    /// one is a flow that has to be named. Each side is a sips URI where its own request is for one.
    pub(super) fn write_record_route(
        &self,
        request: &Request<'_>,
        routed: &Routed<'_>,
        target: &Target,
        local: SocketAddr,
        out: &mut Vec<u8>,
    ) {
        let (to, arrived) = (&target.ways.to, &request.source);
        let outside_flow = match to {
            Destination::Flow { flow, .. } => Some(Flow::Connection(*flow)),
            Destination::Udp { remote, .. } if target.is_natted => Some(Flow::Datagrams(*remote)),
            Destination::Udp { .. } | Destination::Connect(_) => None,
        };
        let inside_flow = match arrived.transport {
            transport if transport.is_reliable() => Some(Flow::Connection(arrived.flow)),
            _ => self.is_natted(request).then_some(Flow::Datagrams(arrived.remote)),
        };
        let inside = self.local_at(arrived);
        let outside_sips = to.transport().is_secured() && routed.leaves_for_sips(target);
        let inside_sips = arrived.transport.is_secured() && request.is_sips();
        let outer = Side { transport: to.transport(), local, is_sips: outside_sips, flow: outside_flow };
        let inner = Side { transport: arrived.transport, local: inside, is_sips: inside_sips, flow: inside_flow };
        let differ = to.transport() != arrived.transport || local != inside || outside_sips != inside_sips;
        if differ || outside_flow.is_some() || inside_flow.is_some() {
            self.write_record_route_line(&outer, out);
        }
        self.write_record_route_line(&inner, out);
    }

    fn write_record_route_line(&self, side: &Side, out: &mut Vec<u8>) {
        let Side { transport, local, is_sips, flow } = *side;
        out.extend_from_slice(if is_sips { b"Record-Route: <sips:" } else { b"Record-Route: <sip:" });
        if let Some(flow) = flow {
            self.write_flow_user(flow, out);
            out.push(b'@');
        }
        self.write_sent_by(local, out);
        // A sips URI says TLS itself (RFC 5630 §5.3); over a WebSocket that has to be added.
        if transport.is_reliable() && !(is_sips && transport == Transport::Tls) {
            out.extend_from_slice(b";transport=");
            out.extend_from_slice(transport.uri_parameter().as_bytes());
        }
        out.extend_from_slice(b";lr>\r\n");
    }
}

/// What we call ourselves towards one side of a request.
struct Side {
    transport: Transport,
    local: SocketAddr,
    is_sips: bool,
    flow: Option<Flow>,
}

/// Whether a request may open a dialog, so that we have to stay on its way (§16.6 step 4).
pub(super) fn opens_dialog(request: &Request<'_>) -> bool {
    use sipfed_sip::Method;
    !request.is_in_dialog()
        && matches!(request.method, Method::Invite | Method::Subscribe | Method::Refer | Method::Notify)
}
