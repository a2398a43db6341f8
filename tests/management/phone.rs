//! A socket that many phones share.

use crate::daemon::PATIENCE;
use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Requests that wait for their answers at a time.
const WINDOW: usize = 64;

pub(crate) struct Phones {
    socket: UdpSocket,
    pub(crate) local: SocketAddr,
    node: SocketAddr,
}

impl Phones {
    pub(crate) fn of(node: SocketAddr) -> Self {
        Self::with(UdpSocket::bind("127.0.0.1:0").unwrap(), node)
    }

    /// Those that have a socket already, as in another network.
    pub(crate) fn with(socket: UdpSocket, node: SocketAddr) -> Self {
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let local = socket.local_addr().unwrap();
        Self { socket, local, node }
    }

    /// A REGISTER of `user` with more lines.
    pub(crate) fn register_bytes(&self, user: &str, cseq: u32, lines: &[u8]) -> Vec<u8> {
        let local = self.local;
        let head = format!(
            "REGISTER sip:fed.example SIP/2.0\r\n\
             Via: SIP/2.0/UDP {local};branch=z9hG4bK-{user}-{cseq};rport\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:{user}@fed.example>;tag=1\r\n\
             To: <sip:{user}@fed.example>\r\n\
             Call-ID: {user}\r\n\
             CSeq: {cseq} REGISTER\r\n\
             Content-Length: 0\r\n\
             Contact: <sip:{user}@{local}>;expires=3600\r\n"
        );
        [head.as_bytes(), lines, b"\r\n"].concat()
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.node).unwrap();
    }

    /// The next datagram; `None` when none has come for a while.
    pub(crate) fn receive(&self) -> Option<String> {
        let mut answer = [0; 4096];
        let len = self.socket.recv(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer[..len]).into_owned())
    }

    /// The next datagram that begins so.
    pub(crate) fn wait_for(&self, begin: &str) -> String {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(text) = self.receive().filter(|text| text.starts_with(begin)) {
                return text;
            }
        }
        panic!("no {begin}");
    }

    /// Sends a request until it is answered; gives the answer.
    pub(crate) fn ask(&self, request: &[u8]) -> String {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            self.send(request);
            if let Some(answer) = self.receive() {
                return answer;
            }
        }
        panic!("no answer to {}", String::from_utf8_lossy(request));
    }

    pub(crate) fn register(&self, user: &str, cseq: u32, lines: &[u8]) {
        let answer = self.ask(&self.register_bytes(user, cseq, lines));
        assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    }

    /// Registers all of these users, with that CSeq and more lines; requests that are lost are repeated.
    pub(crate) fn register_all(&self, users: impl Iterator<Item = String>, cseq: u32, lines: &[u8]) {
        let mut users = users.peekable();
        let mut open = BTreeSet::new();
        let end = Instant::now() + 4 * PATIENCE;
        while users.peek().is_some() || !open.is_empty() {
            while open.len() < WINDOW
                && let Some(user) = users.next()
            {
                self.send(&self.register_bytes(&user, cseq, lines));
                open.insert(user);
            }
            match self.receive() {
                Some(answer) => {
                    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
                    let call = answer.lines().find_map(|line| line.strip_prefix("Call-ID: ")).unwrap();
                    open.remove(call);
                }
                None => open.iter().for_each(|user| self.send(&self.register_bytes(user, cseq, lines))),
            }
            assert!(Instant::now() < end, "{} are not answered", open.len());
        }
    }
}
