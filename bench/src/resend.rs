//! Retransmission of requests over UDP: Timer E of RFC 3261 §17.1.2.2.
//!
//! T1 is 500 ms, doubled up to T2 = 4 s. Timer F is not 64 times T1: after the fifth transmission and one more
//! T2 a request counts as lost, so that a silent server ends a phase within 12 s instead of 32.

use std::collections::VecDeque;

/// Waiting time after each transmission, milliseconds.
const WAIT_MS: [u64; 5] = [500, 1000, 2000, 4000, 4000];

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Send this request again.
    Resend(u32),
    /// Give this request up.
    GiveUp(u32),
}

/// Waiting requests. As each transmission waits equally long, a queue for each is already in order.
#[derive(Debug, Default)]
pub(crate) struct ResendQueues {
    queues: [VecDeque<(u64, u32)>; WAIT_MS.len()],
}

impl ResendQueues {
    /// Request `number` was sent for the first time.
    pub(crate) fn sent(&mut self, number: u32, now_ns: u64) {
        self.wait(0, number, now_ns);
    }

    fn wait(&mut self, transmission: usize, number: u32, now_ns: u64) {
        self.queues[transmission].push_back((now_ns + WAIT_MS[transmission] * 1_000_000, number));
    }

    /// The next request that is due and not yet `answered`; answered ones are forgotten on the way.
    pub(crate) fn pop(&mut self, now_ns: u64, answered: impl Fn(u32) -> bool) -> Option<Due> {
        for transmission in 0..WAIT_MS.len() {
            while let Some(&(due_ns, number)) = self.queues[transmission].front() {
                let answered = answered(number);
                if !answered && due_ns > now_ns {
                    break;
                }
                self.queues[transmission].pop_front();
                if answered {
                    continue;
                }
                if transmission + 1 == WAIT_MS.len() {
                    return Some(Due::GiveUp(number));
                }
                self.wait(transmission + 1, number, now_ns);
                return Some(Due::Resend(number));
            }
        }
        None
    }

    /// When [`Self::pop`] may have something next.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        self.queues.iter().filter_map(|queue| queue.front()).map(|&(due_ns, _)| due_ns).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn an_unanswered_request_is_sent_five_times_and_then_given_up() {
        let mut queues = ResendQueues::default();
        queues.sent(7, 0);
        let mut now_ns = 0;
        for at_ms in [500, 1500, 3500, 7500] {
            assert_eq!(queues.pop(at_ms * MS - 1, |_| false), None);
            now_ns = at_ms * MS;
            assert_eq!(queues.next_ns(), Some(now_ns));
            assert_eq!(queues.pop(now_ns, |_| false), Some(Due::Resend(7)));
        }
        now_ns += 4000 * MS;
        assert_eq!(queues.pop(now_ns, |_| false), Some(Due::GiveUp(7)));
        assert_eq!(queues.next_ns(), None);
    }

    #[test]
    fn an_answered_request_is_forgotten() {
        let mut queues = ResendQueues::default();
        queues.sent(1, 0);
        queues.sent(2, 10);
        assert_eq!(queues.pop(20, |number| number == 1), None);
        assert_eq!(queues.next_ns(), Some(500 * MS + 10));
        assert_eq!(queues.pop(500 * MS + 10, |_| true), None);
        assert_eq!(queues.next_ns(), None);
    }
}
