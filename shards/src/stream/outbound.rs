//! What waits to be written to one connection.
//!
//! Messages are put behind each other and written in as few calls as possible. Each keeps its ticket until
//! its last byte is written, so that a request that is lost with its connection is told to its transaction
//! (RFC 3261 §8.1.3.1). Bounds: the caller's limit of bytes. Nothing is held once all is written.

use sipfed_proto::Ticket;
use std::collections::VecDeque;
use std::io::{self, Write};

/// Bytes that wait for a connection, with the messages they make up.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    bytes: Vec<u8>,
    /// Bytes at the beginning that are written already.
    written: usize,
    /// For each message its end within `bytes` and its ticket.
    messages: VecDeque<(usize, Ticket)>,
}

impl Outbound {
    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Puts a message, with `head` before it, behind the others; `false` when that would make more than `bytes_max` wait.
    pub(crate) fn put(&mut self, head: &[u8], message: &[u8], ticket: Ticket, bytes_max: usize) -> bool {
        if self.bytes.len() - self.written + head.len() + message.len() > bytes_max {
            return false;
        }
        if self.written > self.bytes.len() / 2 {
            self.forget_written();
        }
        self.bytes.extend_from_slice(head);
        self.bytes.extend_from_slice(message);
        self.messages.push_back((self.bytes.len(), ticket));
        true
    }

    /// Moves what waits to the beginning, so that the memory is bounded by what waits.
    fn forget_written(&mut self) {
        self.bytes.drain(..self.written);
        for (end, _) in &mut self.messages {
            *end -= self.written;
        }
        self.written = 0;
    }

    /// Writes what `stream` takes. Returns whether all is written; an error means the stream is lost.
    pub(crate) fn write_to(&mut self, stream: &mut impl Write) -> io::Result<bool> {
        while self.written < self.bytes.len() {
            match stream.write(&self.bytes[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => self.note_written(len),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        *self = Self::default();
        Ok(true)
    }

    fn note_written(&mut self, len: usize) {
        self.written += len;
        while self.messages.front().is_some_and(|(end, _)| *end <= self.written) {
            self.messages.pop_front();
        }
    }

    /// The tickets of the messages that were not written whole, with [`Ticket::NONE`] among them.
    pub(crate) fn unwritten(&self) -> impl Iterator<Item = Ticket> {
        self.messages.iter().map(|(_, ticket)| *ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipfed_proto::ShardIndex;

    /// Takes a given number of bytes and then no more.
    struct Narrow {
        room: usize,
        taken: Vec<u8>,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let len = bytes.len().min(self.room);
            if len == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.room -= len;
            self.taken.extend_from_slice(&bytes[..len]);
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn ticket(n: u64) -> Ticket {
        Ticket::new(ShardIndex(0), n)
    }

    #[test]
    fn a_message_keeps_its_ticket_until_its_last_byte_is_written() {
        let mut outbound = Outbound::default();
        for (text, n) in [("first", 1), ("second", 2), ("third", 3)] {
            assert!(outbound.put(&[], text.as_bytes(), ticket(n), 100));
        }
        let mut narrow = Narrow { room: 7, taken: Vec::new() };
        assert!(!outbound.write_to(&mut narrow).unwrap());
        assert_eq!(outbound.unwritten().collect::<Vec<_>>(), [ticket(2), ticket(3)]);
        assert!(outbound.put(&[], b"fourth", ticket(4), 100));
        narrow.room = 100;
        assert!(outbound.write_to(&mut narrow).unwrap());
        assert_eq!(narrow.taken, b"firstsecondthirdfourth");
        assert!(outbound.is_empty() && outbound.unwritten().next().is_none());
        assert_eq!(outbound.bytes.capacity(), 0, "a connection at rest holds no memory");
    }

    #[test]
    fn the_limit_counts_what_waits_and_not_what_is_written() {
        let mut outbound = Outbound::default();
        let mut narrow = Narrow { room: 0, taken: Vec::new() };
        let mut put_count = 0;
        for n in 0..50 {
            assert!(outbound.put(&[], &[n; 10], ticket(u64::from(n)), 25), "{n}");
            assert!(outbound.put(&[], &[n; 10], ticket(u64::from(n)), 25), "{n}");
            assert!(!outbound.put(&[], &[n; 10], ticket(u64::from(n)), 25), "{n}");
            put_count += 20;
            narrow.room = 20;
            assert!(outbound.write_to(&mut narrow).unwrap());
        }
        assert_eq!(narrow.taken.len(), put_count);
        narrow.room = 5;
        assert!(outbound.put(&[], &[1; 20], ticket(1), 25) && !outbound.write_to(&mut narrow).unwrap());
        assert!(outbound.put(&[], &[2; 10], ticket(2), 25));
        assert_eq!(outbound.unwritten().count(), 2);
        assert!(outbound.bytes.len() <= 30);
    }
}
