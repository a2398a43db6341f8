//! A shard with phones around it: what it is sent, what it sends, and a clock that only the test moves.

use sipfed_proto::directory::Answer;
use sipfed_proto::settings::Settings;
use sipfed_proto::{
    Destination, FlowToken, Listener, Now, Outbox, Place, Shard, ShardIndex, Source, Ticket, Transport, Verdict,
};
use std::net::SocketAddr;
use std::sync::Arc;

/// The node's own address.
pub(super) const NODE: &str = "192.0.2.1:5060";

/// One message that the node sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) to: Destination,
    pub(super) ticket: Ticket,
    pub(super) text: String,
}

impl Sent {
    /// Its first line.
    pub(super) fn start(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    /// The value of the first header field of that name.
    pub(super) fn field<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.fields(name).next()
    }

    /// The values of the header fields of that name.
    pub(super) fn fields<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.text.lines().filter_map(move |line| {
            let (n, value) = line.split_once(':')?;
            n.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The status code of a response.
    pub(super) fn status(&self) -> u16 {
        self.start().split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0)
    }

    /// The receiver's address, when it is a datagram.
    pub(super) fn udp(&self) -> Option<SocketAddr> {
        match self.to {
            Destination::Udp { remote, .. } => Some(remote),
            _ => None,
        }
    }
}

/// The node under test.
pub(super) struct Node {
    pub(super) shard: Shard,
    pub(super) now: Now,
    out: Outbox,
}

impl Node {
    /// A node that is the registrar of `fed.example`.
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    /// A node with other settings.
    pub(super) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::at(Place { index: ShardIndex(0), count: 1 }, change)
    }

    /// One shard of a node with other settings.
    pub(super) fn at(place: Place, change: impl FnOnce(&mut Settings)) -> Self {
        let addr = NODE.parse().unwrap();
        let mut settings = Settings {
            domains: vec!["fed.example".into()],
            listeners: vec![Listener { transport: Transport::Udp, addr }, Listener { transport: Transport::Tcp, addr }],
            ..Settings::default()
        };
        change(&mut settings);
        let now = Now::from_unix_ms(1_700_000_000_000);
        Self { shard: Shard::new(Arc::new(settings), place, [7; 32], now), now, out: Outbox::new() }
    }

    /// Hands a datagram from `from` in; gives what the node sends.
    pub(super) fn udp(&mut self, from: &str, text: &str) -> Vec<Sent> {
        self.udp_at(NODE, from, text)
    }

    /// The same at another address of the node.
    pub(super) fn udp_at(&mut self, at: &str, from: &str, text: &str) -> Vec<Sent> {
        let (remote, local) = (from.parse().unwrap(), at.parse().unwrap());
        self.receive(&Source { transport: Transport::Udp, remote, local, flow: FlowToken::NONE }, text)
    }

    /// Hands a message that came over a connection in.
    pub(super) fn tcp(&mut self, flow: FlowToken, from: &str, text: &str) -> Vec<Sent> {
        self.tcp_at(NODE, flow, from, text)
    }

    /// The same at another address of the node.
    pub(super) fn tcp_at(&mut self, at: &str, flow: FlowToken, from: &str, text: &str) -> Vec<Sent> {
        let (remote, local) = (from.parse().unwrap(), at.parse().unwrap());
        self.receive(&Source { transport: Transport::Tcp, remote, local, flow }, text)
    }

    /// Hands a message that came over a connection within TLS in.
    pub(super) fn tls(&mut self, flow: FlowToken, from: &str, text: &str) -> Vec<Sent> {
        self.tls_at("192.0.2.1:5061", flow, from, text)
    }

    /// The same at another of our addresses.
    pub(super) fn tls_at(&mut self, at: &str, flow: FlowToken, from: &str, text: &str) -> Vec<Sent> {
        let (remote, local) = (from.parse().unwrap(), at.parse().unwrap());
        self.receive(&Source { transport: Transport::Tls, remote, local, flow }, text)
    }

    /// Hands a message of a browser in, over the WebSocket that the flow is.
    pub(super) fn websocket(&mut self, flow: FlowToken, from: &str, text: &str) -> Vec<Sent> {
        let local = if flow.transport() == Transport::Wss { "192.0.2.1:443" } else { "192.0.2.1:80" };
        let (remote, local) = (from.parse().unwrap(), local.parse().unwrap());
        self.receive(&Source { transport: flow.transport(), remote, local, flow }, text)
    }

    fn receive(&mut self, source: &Source, text: &str) -> Vec<Sent> {
        let verdict = self.shard.receive(text.as_bytes(), source, self.now, &mut self.out);
        assert_eq!(verdict, Verdict::Handled);
        self.take()
    }

    /// Ends a connection.
    pub(super) fn close(&mut self, flow: FlowToken) -> Vec<Sent> {
        self.shard.handle_flow_closed(flow, self.now, &mut self.out);
        self.take()
    }

    /// Says that a message could not be sent.
    pub(super) fn fail(&mut self, sent: &Sent) -> Vec<Sent> {
        self.shard.handle_transmit_failed(sent.ticket, self.now, &mut self.out);
        self.take()
    }

    /// Answers a question to the directory.
    pub(super) fn answer(&mut self, id: u64, answer: Answer<'_>) -> Vec<Sent> {
        self.shard.handle_answer(id, answer, self.now, &mut self.out);
        self.take()
    }

    /// Lets time pass from deadline to deadline; gives what the node sends meanwhile, with the milliseconds it
    /// was sent after.
    pub(super) fn pass(&mut self, ms: u64) -> Vec<(u64, Sent)> {
        let (start, end) = (self.now, self.now.plus_ms(ms));
        let mut all = Vec::new();
        loop {
            let next = self.shard.next_deadline().filter(|next| *next <= end);
            self.now = next.unwrap_or(end).max(self.now);
            self.shard.handle_timeout(self.now, &mut self.out);
            let after = self.now.since(start).as_millis() as u64;
            all.extend(self.take().into_iter().map(|sent| (after, sent)));
            if next.is_none() {
                return all;
            }
        }
    }

    fn take(&mut self) -> Vec<Sent> {
        let sent = self
            .out
            .iter()
            .map(|(t, bytes)| Sent { to: t.to, ticket: t.ticket, text: String::from_utf8(bytes.to_vec()).unwrap() })
            .collect();
        self.out.clear();
        sent
    }

    /// Registers `user` at `contact` (a URI) from `from`; fails the test when it is refused.
    pub(super) fn register(&mut self, user: &str, contact: &str, from: &str) {
        let message = register(user, &format!("<{contact}>;expires=3600"), 1);
        let sent = self.udp(from, &with(&message, "198.51.100.9:5060", from));
        assert_eq!(sent[0].status(), 200, "{}", sent[0].text);
    }
}

/// A REGISTER of `user` with the value of its Contact (none when empty), Call-ID `user` and the given CSeq.
pub(super) fn register(user: &str, contact: &str, cseq: u32) -> String {
    let contact = if contact.is_empty() { String::new() } else { format!("Contact: {contact}\r\n") };
    request("REGISTER", "sip:fed.example", user, cseq).replace("Content-Length", &format!("{contact}Content-Length"))
}

/// A request from and to `user` of our domain, with a branch of its own for each method, user and CSeq.
pub(super) fn request(method: &str, uri: &str, user: &str, cseq: u32) -> String {
    format!(
        "{method} {uri} SIP/2.0\r\n\
         Via: SIP/2.0/UDP 198.51.100.9:5060;branch=z9hG4bK{user}{cseq}{method}\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:{user}@fed.example>;tag=f{user}\r\n\
         To: <sip:{user}@fed.example>\r\n\
         Call-ID: {user}-call\r\n\
         CSeq: {cseq} {method}\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// The same with other text in place.
pub(super) fn with(message: &str, from: &str, to: &str) -> String {
    assert!(message.contains(from), "{from} is not in\n{message}");
    message.replace(from, to)
}

/// The same with a further header field line.
pub(super) fn and(message: &str, line: &str) -> String {
    with(message, "Content-Length", &format!("{line}\r\nContent-Length"))
}

/// A caller's INVITE to `user`.
pub(super) fn invite(user: &str) -> String {
    let invite = request("INVITE", &format!("sip:{user}@fed.example"), "caller", 1);
    with(&invite, "To: <sip:caller@", &format!("To: <sip:{user}@"))
}

/// A response to a request that the node sent.
pub(super) fn respond(request: &Sent, status: u16, tag: &str) -> String {
    let mut out = format!("SIP/2.0 {status} X\r\n");
    for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
        for value in request.fields(name) {
            let tag = if name == "To" && !tag.is_empty() && !value.contains("tag=") {
                format!(";tag={tag}")
            } else {
                String::new()
            };
            out.extend([name, ": ", value, &tag, "\r\n"]);
        }
    }
    out.push_str("Content-Length: 0\r\n\r\n");
    out
}
