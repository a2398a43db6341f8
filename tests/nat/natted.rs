//! A phone that says of itself the address that it has behind a NAT, over UDP or TCP.

use super::PATIENCE;
use super::phone::{Message, response};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct NattedPhone {
    way: Way,
    /// What its Via and its Contact say.
    says: SocketAddr,
    cseq: u32,
}

#[derive(Debug)]
enum Way {
    Udp { socket: UdpSocket, node: SocketAddr },
    Tcp(BufReader<TcpStream>),
}

impl NattedPhone {
    /// One that reaches a node by datagrams.
    pub(crate) fn udp(socket: UdpSocket, node: SocketAddr, says: SocketAddr) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { way: Way::Udp { socket, node }, says, cseq: 0 }
    }

    /// One that has connected to a node.
    pub(crate) fn tcp(stream: TcpStream, says: SocketAddr) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { way: Way::Tcp(BufReader::new(stream)), says, cseq: 0 }
    }

    /// The node has come back elsewhere.
    pub(crate) fn turn_to(&mut self, other: SocketAddr) {
        match &mut self.way {
            Way::Udp { node, .. } => *node = other,
            Way::Tcp(_) => panic!("a connection leads where it leads"),
        }
    }

    fn contact(&self, user: &str) -> String {
        let parameter = if matches!(self.way, Way::Tcp(_)) { ";transport=tcp" } else { "" };
        format!("sip:{user}@{}{parameter}", self.says)
    }

    /// Registers for an hour, and waits for the 200.
    pub(crate) fn register(&mut self, user: &str) {
        self.cseq += 1;
        let transport = if matches!(self.way, Way::Tcp(_)) { "TCP" } else { "UDP" };
        let request = format!(
            "REGISTER sip:fed.example SIP/2.0\r\n\
             Via: SIP/2.0/{transport} {says};branch=z9hG4bKR{user}{cseq};rport\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:{user}@fed.example>;tag=1\r\n\
             To: <sip:{user}@fed.example>\r\n\
             Call-ID: {user}@{says}\r\n\
             CSeq: {cseq} REGISTER\r\n\
             Contact: <{contact}>;expires=3600\r\n\
             Content-Length: 0\r\n\r\n",
            says = self.says,
            cseq = self.cseq,
            contact = self.contact(user),
        );
        self.send(&request);
        let answer = self.receive(|message| message.status() > 0);
        assert_eq!(answer.status(), 200, "{answer:?}");
    }

    /// The next ping, which is not answered yet.
    pub(crate) fn pinged(&mut self) -> Message {
        self.receive(|message| message.start().starts_with("OPTIONS "))
    }

    /// Takes and answers so many pings.
    pub(crate) fn answer_pings(&mut self, count: usize) {
        for _ in 0..count {
            let ping = self.pinged();
            self.answer(&ping, 200);
        }
    }

    /// The call that comes; pings before it are answered.
    pub(crate) fn rings(&mut self) -> Message {
        loop {
            let message = self.receive(|message| message.status() == 0);
            if message.start().starts_with("INVITE ") {
                return message;
            }
            if message.start().starts_with("OPTIONS ") {
                self.answer(&message, 200);
            }
        }
    }

    pub(crate) fn answer(&self, request: &Message, status: u16) {
        self.send(&response(request, status, &self.contact("phone")));
    }

    /// All that has come and was not taken yet.
    pub(crate) fn waiting(&mut self) -> Vec<Message> {
        self.set_nonblocking(true);
        let messages = std::iter::from_fn(|| self.next().ok()).collect();
        self.set_nonblocking(false);
        messages
    }

    fn set_nonblocking(&self, is_so: bool) {
        match &self.way {
            Way::Udp { socket, .. } => socket.set_nonblocking(is_so),
            Way::Tcp(stream) => stream.get_ref().set_nonblocking(is_so),
        }
        .unwrap();
    }

    fn send(&self, message: &str) {
        match &self.way {
            Way::Udp { socket, node } => _ = socket.send_to(message.as_bytes(), node).unwrap(),
            Way::Tcp(stream) => stream.get_ref().write_all(message.as_bytes()).unwrap(),
        }
    }

    fn receive(&mut self, wanted: impl Fn(&Message) -> bool) -> Message {
        loop {
            let message = self.next().expect("what the test waits for comes in time");
            if wanted(&message) {
                return message;
            }
        }
    }

    fn next(&mut self) -> io::Result<Message> {
        match &mut self.way {
            Way::Udp { socket, .. } => {
                let mut bytes = vec![0; 65_536];
                let (len, _) = socket.recv_from(&mut bytes)?;
                Ok(Message(String::from_utf8_lossy(&bytes[..len]).into_owned()))
            }
            Way::Tcp(stream) => next_of(stream),
        }
    }
}

/// The next message of a stream. Without waiting there is one only where nothing is left in the middle of it.
fn next_of(stream: &mut BufReader<TcpStream>) -> io::Result<Message> {
    let mut text = String::new();
    loop {
        let start = text.len();
        if stream.read_line(&mut text)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match &text[start..] {
            // What keeps a connection open between two messages.
            "\r\n" if start == 0 => text.clear(),
            "\r\n" => break,
            _ => {}
        }
    }
    let message = Message(text);
    let length = message.fields("Content-Length").next().map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Message(message.0 + &String::from_utf8_lossy(&body)))
}
