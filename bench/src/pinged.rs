//! Phones that answer pings, and when each of these came.
//!
//! A ping is answered by its own text: another first line, and without the fields that only a request has. So an answer costs
//! the generator little beside the system calls, which take whole batches. The time at which a ping came is the kernel's, so
//! that a generator that is late does not make pings look uneven.

use crate::error::Error;
use crate::sockets::Sockets;
use memchr::memmem;
use std::time::Duration;

/// What evenness is judged by.
pub(crate) const WINDOW_NS: u64 = 10_000_000;

const OK: &[u8] = b"SIP/2.0 200 OK\r\n";
/// A field that answers do not have, which stands in every ping.
const MAX_FORWARDS: &[u8] = b"\r\nMax-Forwards: ";

/// What came while pings were answered.
#[derive(Debug, Default)]
pub(crate) struct Pinged {
    /// When pings came, in nanoseconds since the Unix epoch.
    arrivals_ns: Vec<u64>,
    /// What came besides.
    pub(crate) others: u64,
    /// Answers that the kernel did not take.
    pub(crate) refused: u64,
}

/// How evenly pings came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Evenness {
    /// Most of them within any [`WINDOW_NS`], as a multiple of an even share.
    pub(crate) busiest: f64,
    /// The same of 999 among 1,000 windows that follow one another.
    pub(crate) p999: f64,
    /// Windows of these that have more than twice their share, of a million.
    pub(crate) crowded_per_million: f64,
}

impl Pinged {
    /// How many pings came.
    pub(crate) fn count(&self) -> usize {
        self.arrivals_ns.len()
    }

    /// How evenly they came, where they were to be spread over `length`.
    pub(crate) fn evenness(&mut self, length: Duration) -> Evenness {
        // Sockets are read in turn.
        self.arrivals_ns.sort_unstable();
        let arrivals = &self.arrivals_ns;
        let share = (arrivals.len() as f64 * WINDOW_NS as f64 / length.as_nanos().max(1) as f64).max(f64::MIN_POSITIVE);
        let (mut first, mut busiest) = (0, 0);
        for (last, at_ns) in arrivals.iter().enumerate() {
            while arrivals[first] + WINDOW_NS <= *at_ns {
                first += 1;
            }
            busiest = busiest.max(last + 1 - first);
        }
        let start_ns = arrivals.first().copied().unwrap_or_default();
        let mut windows = vec![0_u32; (length.as_nanos() as u64 / WINDOW_NS).max(1) as usize];
        for at_ns in arrivals {
            if let Some(count) = windows.get_mut(((at_ns - start_ns) / WINDOW_NS) as usize) {
                *count += 1;
            }
        }
        let crowded = windows.iter().filter(|count| f64::from(**count) > 2.0 * share).count();
        let per_million = crowded as f64 * 1e6 / windows.len() as f64;
        windows.sort_unstable();
        let p999 = windows[(windows.len() - 1) * 999 / 1000];
        Evenness { busiest: busiest as f64 / share, p999: f64::from(p999) / share, crowded_per_million: per_million }
    }
}

/// Answers pings for so long.
pub(crate) fn answer(sockets: &mut Sockets, length: Duration) -> Result<Pinged, Error> {
    let end_ns = sockets.now_ns() + length.as_nanos() as u64;
    let mut pinged = Pinged::default();
    while sockets.now_ns() < end_ns {
        sockets.wait_until(end_ns)?;
        while let Some((socket, count)) = sockets.receive()? {
            let mut answers = 0;
            for at in 0..count {
                let Some(length) = write_answer(sockets.incoming.datagram(at), sockets.outgoing.room(answers)) else {
                    pinged.others += 1;
                    continue;
                };
                let arrived_ns = sockets.incoming.arrived_ns(at);
                pinged.arrivals_ns.push(arrived_ns.ok_or(Error::Options("the kernel does not say when pings come"))?);
                sockets.outgoing.set_length(answers, length);
                answers += 1;
            }
            let before = sockets.tally.refused;
            sockets.send(socket, answers)?;
            pinged.refused += sockets.tally.refused - before;
        }
    }
    Ok(pinged)
}

/// Writes the answer to a ping, and says how long it is; `None` for what is no ping.
fn write_answer(ping: &[u8], room: &mut [u8]) -> Option<usize> {
    if ping.starts_with(b"SIP/2.0 ") {
        return None;
    }
    let fields = memmem::find(ping, b"\r\n")? + 2;
    let unwanted = memmem::find(ping, MAX_FORWARDS)?;
    let rest = unwanted + 2 + memmem::find(&ping[unwanted + 2..], b"\r\n")?;
    let mut length = 0;
    for part in [OK, ping.get(fields..unwanted)?, &ping[rest..]] {
        room.get_mut(length..length + part.len())?.copy_from_slice(part);
        length += part.len();
    }
    Some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: &str = "OPTIONS sip:a@10.0.0.7 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;rport;branch=z9hG4bKp0\r\n\
        Max-Forwards: 70\r\nFrom: <sip:p@q>;tag=1\r\nTo: <sip:a@10.0.0.7>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\
        Content-Length: 0\r\n\r\n";

    #[test]
    fn an_answer_is_one_that_rsip_reads() {
        let mut room = [0; 2048];
        let length = write_answer(PING.as_bytes(), &mut room).unwrap();
        let answer = rsip::Response::try_from(&room[..length]).unwrap();
        assert_eq!(answer.status_code, rsip::StatusCode::OK);
        let names = answer.headers.iter().count();
        assert_eq!(names, 6, "{answer}");
        assert_eq!(write_answer(b"SIP/2.0 200 OK\r\n\r\n", &mut room), None);
        assert_eq!(write_answer(&[0; 4], &mut room), None);
    }

    #[test]
    fn evenness_tells_a_burst_from_an_even_flow() {
        let even = |count: u64| (0..count).map(|n| n * 100_000);
        let second = Duration::from_secs(1);
        let mut pinged = Pinged { arrivals_ns: even(10_000).collect(), ..Pinged::default() };
        let all = pinged.evenness(second);
        assert!((all.busiest - 1.0).abs() < 0.001 && (all.p999 - 1.0).abs() < 0.001, "{all:?}");
        assert!(all.crowded_per_million.abs() < 0.001);
        // All of 50 ms at their end, where no window of a grid need begin.
        let late = |at_ns: u64| if (303_000_000..353_000_000).contains(&at_ns) { 353_000_000 } else { at_ns };
        pinged.arrivals_ns = even(10_000).map(late).rev().collect();
        let all = pinged.evenness(second);
        assert!((5.9..=6.1).contains(&all.busiest), "{all:?}");
        assert!((all.crowded_per_million - 10_000.0).abs() < 0.001, "{all:?}");
    }
}
