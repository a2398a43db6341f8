//! Phones and callers of a few lines: they send what a test says, and wait for what it expects.

use super::daemon::PATIENCE;
use std::fmt::Write;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// After which time a request that is not answered is usually sent again (RFC 3261, T1).
#[allow(dead_code, reason = "few tests have nodes whose address moves")]
pub(crate) const RETRANSMIT: Duration = Duration::from_millis(500);

/// Who registers, is called, or calls; one at a time.
#[derive(Debug)]
pub(crate) struct Phone {
    socket: UdpSocket,
    at: SocketAddr,
}

/// A message that a phone received.
#[derive(Clone, Debug)]
pub(crate) struct Message(pub(crate) String);

impl Message {
    /// Its first line.
    pub(crate) fn start(&self) -> &str {
        self.0.lines().next().unwrap_or_default()
    }

    /// The status of a response, 0 for a request.
    pub(crate) fn status(&self) -> u16 {
        self.start().strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0)
    }

    /// The values of the header fields of that name.
    pub(crate) fn fields<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

impl Phone {
    /// One at a port of the kernel's choice on this address.
    #[allow(dead_code, reason = "phones of another network bring their socket")]
    pub(crate) fn new(ip: &str) -> Self {
        Self::at(SocketAddr::new(ip.parse().unwrap(), 0))
    }

    /// One at this port, as a node of another make has.
    #[allow(dead_code, reason = "phones of another network bring their socket")]
    pub(crate) fn at(at: SocketAddr) -> Self {
        Self::with(UdpSocket::bind(at).unwrap())
    }

    /// One that has a socket already, as in another network.
    #[allow(dead_code, reason = "most phones are at the addresses of this host")]
    pub(crate) fn with(socket: UdpSocket) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let at = socket.local_addr().unwrap();
        Self { socket, at }
    }

    /// The user of this URI, at this phone, as a Contact says it.
    pub(crate) fn contact(&self, user: &str) -> String {
        format!("sip:{user}@{}", self.at)
    }

    pub(crate) fn send(&self, node: SocketAddr, message: &str) {
        self.socket.send_to(message.as_bytes(), node).unwrap();
    }

    /// The next message that is wanted; others are passed over.
    pub(crate) fn receive(&self, wanted: impl Fn(&Message) -> bool) -> (Message, SocketAddr) {
        let mut bytes = vec![0; 65_536];
        loop {
            let (len, from) = self.socket.recv_from(&mut bytes).expect("what the test waits for comes in time");
            let message = Message(String::from_utf8_lossy(&bytes[..len]).into_owned());
            if wanted(&message) {
                return (message, from);
            }
        }
    }

    fn request(&self, method: &str, uri: &str, user: &str, more: &str) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        format!(
            "{method} {uri} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {at};branch=z9hG4bK{method}{n};rport\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:{user}@fed.example>;tag={n}\r\n\
             To: <sip:{user}@fed.example>\r\n\
             Call-ID: {n}@{at}\r\n\
             CSeq: {n} {method}\r\n\
             {more}Content-Length: 0\r\n\r\n",
            at = self.at
        )
    }

    /// Registers for so long (0 to leave), and waits for the 200.
    pub(crate) fn register(&self, node: SocketAddr, user: &str, expires_s: u32) {
        let contact = format!("Contact: <{}>;expires={expires_s}\r\n", self.contact(user));
        self.send(node, &self.request("REGISTER", "sip:fed.example", user, &contact));
        let (answer, _) = self.receive(|message| message.status() > 0);
        assert_eq!(answer.status(), 200, "{answer:?}");
    }

    /// The same while the address of the node moves, when a request may be lost: it is sent again and again until it is
    /// answered.
    #[allow(dead_code, reason = "few tests have nodes whose address moves")]
    pub(crate) fn register_again(&self, node: SocketAddr, user: &str, expires_s: u32, every: Duration) {
        let contact = format!("Contact: <{}>;expires={expires_s}\r\n", self.contact(user));
        let request = self.request("REGISTER", "sip:fed.example", user, &contact);
        let (end, mut bytes) = (Instant::now() + PATIENCE, vec![0; 65_536]);
        self.socket.set_read_timeout(Some(every)).unwrap();
        loop {
            self.send(node, &request);
            match self.socket.recv_from(&mut bytes) {
                Ok((len, _)) if bytes[..len].starts_with(b"SIP/2.0 200 ") => break,
                _ => assert!(Instant::now() < end, "nobody answers {user} at {node}"),
            }
        }
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }

    /// Calls a user, with the INVITE that it gives; what comes of it is to be received.
    pub(crate) fn call(&self, node: SocketAddr, user: &str) -> String {
        let contact = format!("Contact: <{}>\r\n", self.contact("caller"));
        let invite = self.request("INVITE", &format!("sip:{user}@fed.example"), user, &contact);
        self.send(node, &invite);
        invite
    }

    /// The final response to a call.
    pub(crate) fn outcome(&self) -> Message {
        self.receive(|message| message.status() >= 200).0
    }

    /// Calls a user, and is told this final status.
    #[allow(dead_code, reason = "not every test that calls expects to fail")]
    pub(crate) fn call_fails(&self, node: SocketAddr, user: &str, status: u16) -> Message {
        self.call(node, user);
        let outcome = self.outcome();
        assert_eq!(outcome.status(), status, "{outcome:?}");
        outcome
    }

    /// The INVITE that it is called with, and from where.
    pub(crate) fn rings(&self) -> (Message, SocketAddr) {
        self.receive(|message| message.start().starts_with("INVITE "))
    }

    /// Answers a request.
    pub(crate) fn answer(&self, (request, from): &(Message, SocketAddr), status: u16) {
        self.send(*from, &response(request, status, &self.contact("phone")));
    }
}

/// The response of a phone with this Contact to a request.
pub(crate) fn response(request: &Message, status: u16, contact: &str) -> String {
    let mut response = format!("SIP/2.0 {status} X\r\n");
    for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
        for value in request.fields(name) {
            let tag = if name == "To" && !value.contains(";tag=") { ";tag=phone" } else { "" };
            write!(response, "{name}: {value}{tag}\r\n").unwrap();
        }
    }
    write!(response, "Contact: <{contact}>\r\nContent-Length: 0\r\n\r\n").unwrap();
    response
}
