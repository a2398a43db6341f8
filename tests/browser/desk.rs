//! A phone on a desk, over UDP: it keeps the route set of a call as RFC 3261 §12 says, and nothing more.

use crate::daemon::PATIENCE;
use crate::node::Node;
use std::net::{SocketAddr, UdpSocket};

const DESCRIPTION: &str =
    "v=0\r\no=- 2 2 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n";

pub(crate) struct Desk {
    socket: UdpSocket,
    node: SocketAddr,
    /// Numbers branches and Call-IDs.
    count: u32,
}

/// A call of the phone.
pub(crate) struct Call {
    /// Where the other side is, as its Contact says.
    pub(crate) target: String,
    /// By which routes its requests go there.
    routes: Vec<String>,
    from: String,
    to: String,
    id: String,
    cseq: u32,
}

/// The values of a header field, in the order of its lines.
fn fields(message: &str, name: &str) -> Vec<String> {
    let lines = message.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).collect()
}

fn field(message: &str, name: &str) -> String {
    fields(message, name).into_iter().next().unwrap_or_else(|| panic!("no {name} in\n{message}"))
}

/// What stands between angle brackets.
fn uri(value: &str) -> String {
    value.split(['<', '>']).nth(1).unwrap_or(value).to_owned()
}

impl Desk {
    pub(crate) fn new(node: &Node) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, node: node.udp, count: 0 }
    }

    fn contact(&self) -> String {
        format!("Contact: <sip:desk@{}>\r\n", self.socket.local_addr().unwrap())
    }

    fn send(&self, text: &str) {
        self.socket.send_to(text.as_bytes(), self.node).unwrap();
    }

    /// The 200 to the request with that CSeq.
    fn receive_answer(&self, cseq: &str) -> String {
        self.receive("SIP/2.0 200 ", |message| field(message, "CSeq") == cseq)
    }

    /// The next message that begins and is so; others, such as 100 and what is sent again, are passed over.
    fn receive(&self, start: &str, is_it: impl Fn(&str) -> bool) -> String {
        let mut seen = String::new();
        loop {
            let mut datagram = [0; 8192];
            let received = self.socket.recv(&mut datagram);
            let len = received.unwrap_or_else(|error| panic!("no `{start}` ({error}), but:\n{seen}"));
            let text = String::from_utf8_lossy(&datagram[..len]).into_owned();
            if text.starts_with(start) && is_it(&text) {
                return text;
            }
            seen.push_str(&text);
        }
    }

    /// A Via with a branch that is new.
    fn via(&mut self) -> String {
        self.count += 1;
        let at = self.socket.local_addr().unwrap();
        format!("Via: SIP/2.0/UDP {at};rport;branch=z9hG4bKdesk{}{}\r\nMax-Forwards: 70\r\n", at.port(), self.count)
    }

    pub(crate) fn register(&mut self) {
        let (via, contact) = (self.via(), self.contact());
        self.send(&format!(
            "REGISTER sip:sip.example SIP/2.0\r\n{via}From: <sip:desk@sip.example>;tag=r\r\n\
             To: <sip:desk@sip.example>\r\nCall-ID: desk\r\nCSeq: 1 REGISTER\r\n{contact}Content-Length: 0\r\n\r\n"
        ));
        self.receive_answer("1 REGISTER");
    }

    /// Calls, and waits until the call is answered.
    pub(crate) fn call(&mut self, target: &str) -> Call {
        let (via, contact) = (self.via(), self.contact());
        let id = format!("desk-{}", via.rsplit("desk").next().unwrap().lines().next().unwrap());
        let from = "<sip:desk@sip.example>;tag=d".to_owned();
        self.send(&format!(
            "INVITE {target} SIP/2.0\r\n{via}From: {from}\r\nTo: <{target}>\r\nCall-ID: {id}\r\nCSeq: 1 INVITE\r\n\
             {contact}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{DESCRIPTION}",
            DESCRIPTION.len()
        ));
        let answer = self.receive_answer("1 INVITE");
        // §12.1.2: the routes of the answer, the last one first.
        let routes = fields(&answer, "Record-Route").into_iter().rev().collect();
        let target = uri(&field(&answer, "Contact"));
        Call { target, routes, from, to: field(&answer, "To"), id, cseq: 1 }
    }

    /// A request within a call (§12.2.1.1).
    fn request(&mut self, call: &Call, method: &str, more: &str, body: &str) {
        let Call { target, routes, from, to, id, cseq } = call;
        let routes: String = routes.iter().flat_map(|route| ["Route: ", route, "\r\n"]).collect();
        let via = self.via();
        self.send(&format!(
            "{method} {target} SIP/2.0\r\n{via}{routes}From: {from}\r\nTo: {to}\r\nCall-ID: {id}\r\n\
             CSeq: {cseq} {method}\r\n{more}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
    }

    pub(crate) fn acknowledge(&mut self, call: &mut Call) {
        self.request(call, "ACK", "", "");
    }

    /// Sends a re-INVITE, and acknowledges that it is accepted.
    pub(crate) fn change(&mut self, call: &mut Call) {
        call.cseq += 1;
        let more = format!("{}Content-Type: application/sdp\r\n", self.contact());
        self.request(call, "INVITE", &more, DESCRIPTION);
        self.receive_answer(&format!("{} INVITE", call.cseq));
        self.acknowledge(call);
    }

    pub(crate) fn hang_up(&mut self, call: &mut Call) {
        call.cseq += 1;
        self.request(call, "BYE", "", "");
        self.receive_answer(&format!("{} BYE", call.cseq));
    }

    /// Answers a request with 200.
    fn answer(&self, request: &str, more: &str, body: &str) {
        let mut answer = "SIP/2.0 200 OK\r\n".to_owned();
        for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
            for value in fields(request, name) {
                let tag = if name == "To" && !value.contains(";tag=") { ";tag=desk" } else { "" };
                answer.extend([name, ": ", &value, tag, "\r\n"]);
            }
        }
        self.send(&format!("{answer}{more}Content-Length: {}\r\n\r\n{body}", body.len()));
    }

    fn accept_invite(&self, request: &str) {
        self.answer(request, &format!("{}Content-Type: application/sdp\r\n", self.contact()), DESCRIPTION);
    }

    /// Waits for a call and takes it.
    pub(crate) fn take_call(&mut self) -> Call {
        let invite = self.receive("INVITE ", |_| true);
        self.accept_invite(&invite);
        // §12.1.1: the routes of the request as they stand.
        Call {
            target: uri(&field(&invite, "Contact")),
            routes: fields(&invite, "Record-Route"),
            from: format!("{};tag=desk", field(&invite, "To")),
            to: field(&invite, "From"),
            id: field(&invite, "Call-ID"),
            cseq: 0,
        }
    }

    pub(crate) fn wait_for_acknowledgement(&mut self) {
        self.receive("ACK ", |_| true);
    }

    /// Waits for a re-INVITE and accepts it.
    pub(crate) fn accept_change(&mut self) {
        let invite = self.receive("INVITE ", |invite| field(invite, "To").contains(";tag="));
        self.accept_invite(&invite);
        self.wait_for_acknowledgement();
    }

    /// Waits for a request, and answers it with 200.
    pub(crate) fn accept(&mut self, method: &str) {
        let request = self.receive(&format!("{method} "), |_| true);
        self.answer(&request, "", "");
    }
}
