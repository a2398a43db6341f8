//! Many phones behind one socket, which register and wait for their 200, and a stream of them that does not end.

use super::daemon::PATIENCE;
use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Requests that wait for their answer at a time.
const WINDOW: usize = 256;
/// When an answer is missed, and asked for again.
const RETRANSMIT: Duration = Duration::from_millis(500);
/// New phones, and as many that refresh, in one go of a stream.
const STREAM_STEP: u32 = 8;
/// Between two goes, so that the others have the machine too.
const STREAM_PAUSE: Duration = Duration::from_millis(5);

/// Phones with numbers.
#[derive(Debug)]
pub(crate) struct Crowd {
    socket: UdpSocket,
    at: SocketAddr,
    name: &'static str,
    cseq: u32,
}

impl Crowd {
    /// Its users are `name0`, `name1` and so on.
    pub(crate) fn new(name: &'static str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(RETRANSMIT)).unwrap();
        let at = socket.local_addr().unwrap();
        Self { socket, at, name, cseq: 0 }
    }

    /// The AoRs of those with these numbers.
    pub(crate) fn aors(&self, numbers: Range<u32>) -> impl Iterator<Item = String> {
        numbers.map(|number| format!("{}{number}@fed.example", self.name))
    }

    /// Registers them for so long (0 to leave), and waits for a 200 to each.
    pub(crate) fn register(&mut self, node: SocketAddr, numbers: Range<u32>, expires_s: u32) {
        self.cseq += 1;
        let (mut next, mut open) = (numbers.clone(), HashMap::new());
        let mut heard = Instant::now();
        let mut bytes = vec![0; 4096];
        loop {
            while open.len() < WINDOW
                && let Some(number) = next.next()
            {
                let message = self.message(number, expires_s);
                self.socket.send_to(message.as_bytes(), node).unwrap();
                open.insert(number, message);
            }
            if open.is_empty() {
                return;
            }
            let Ok(length) = self.socket.recv(&mut bytes) else {
                assert!(heard.elapsed() < PATIENCE, "{} REGISTERs are not answered", open.len());
                for message in open.values() {
                    self.socket.send_to(message.as_bytes(), node).unwrap();
                }
                continue;
            };
            // However slow the machine is, answers keep coming.
            heard = Instant::now();
            let answer = std::str::from_utf8(&bytes[..length]).unwrap();
            assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
            let field = |name| answer.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            if field("CSeq: ").split(' ').next() == Some(&self.cseq.to_string()) {
                open.remove(&field("Call-ID: ").parse().unwrap());
            }
        }
    }

    fn message(&self, number: u32, expires_s: u32) -> String {
        let Self { at, name, cseq, .. } = self;
        format!(
            "REGISTER sip:fed.example SIP/2.0\r\n\
             Via: SIP/2.0/UDP {at};branch=z9hG4bK{number}x{cseq};rport\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:{name}{number}@fed.example>;tag={number}\r\n\
             To: <sip:{name}{number}@fed.example>\r\n\
             Call-ID: {number}\r\nCSeq: {cseq} REGISTER\r\n\
             Contact: <sip:{name}{number}@{at}>;expires={expires_s}\r\nContent-Length: 0\r\n\r\n"
        )
    }
}

/// Phones of which some come and some refresh all the time.
#[derive(Debug)]
pub(crate) struct Stream {
    is_over: Arc<AtomicBool>,
    answered: Arc<AtomicU32>,
    thread: JoinHandle<(Crowd, u32)>,
}

impl Stream {
    pub(crate) fn start(node: SocketAddr, name: &'static str) -> Self {
        let (is_over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (over, count) = (Arc::clone(&is_over), Arc::clone(&answered));
        let run = move || {
            let (mut crowd, mut next) = (Crowd::new(name), 0);
            while !over.load(Ordering::Relaxed) {
                crowd.register(node, next..next + STREAM_STEP, 600);
                let old = next / 2..next / 2 + STREAM_STEP;
                crowd.register(node, old, 600);
                next += STREAM_STEP;
                count.fetch_add(2 * STREAM_STEP, Ordering::Relaxed);
                std::thread::sleep(STREAM_PAUSE);
            }
            (crowd, next)
        };
        Self { is_over, answered, thread: std::thread::spawn(run) }
    }

    /// Waits until so many more REGISTERs have been answered.
    pub(crate) fn wait_for(&self, more: u32) {
        let (end, wanted) = (Instant::now() + PATIENCE, self.answered.load(Ordering::Relaxed) + more);
        while self.answered.load(Ordering::Relaxed) < wanted {
            assert!(Instant::now() < end && !self.thread.is_finished(), "registrations do not go on");
            std::thread::sleep(STREAM_PAUSE);
        }
    }

    /// Ends it once everything is answered; the AoRs that have come.
    pub(crate) fn stop(self) -> Vec<String> {
        self.is_over.store(true, Ordering::Relaxed);
        let (crowd, count) = self.thread.join().unwrap();
        crowd.aors(0..count).collect()
    }
}
