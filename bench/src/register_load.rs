//! One phase of REGISTERs: a number of subscribers, each sent one request, at a pace.
//!
//! The loop sends what is due, waits for answers or the next instant, and reads whole batches. Sending a request
//! is a copy of the template and a few stores; reading an answer is its status and its branch. A sample of
//! the answers is kept and decoded with rsip when the phase is over.

use crate::answer::Answers;
use crate::branch::Branch;
use crate::error::Error;
use crate::latency::Latencies;
use crate::pace::{Pace, Schedule};
use crate::register_message::{RegisterTemplate, Registration, check_answer};
use crate::resend::{Due, ResendQueues};
use crate::sockets::{Sockets, Tally};
use crate::sys::BATCH_COUNT_MAX;
use std::collections::BTreeMap;

/// One answer in this many is decoded with rsip.
const SAMPLE_EVERY: u64 = 499;
/// Answers that are decoded at most.
const SAMPLE_COUNT_MAX: usize = 256;
/// What counts as most of a phase.
const MOST_PERCENT: u64 = 99;
/// A phase ends with an error when this many requests were lost, and they are more than a tenth.
const LOST_COUNT_MAX: u64 = 1000;

/// What a phase does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// For messages about it.
    pub(crate) name: &'static str,
    /// Number of the first subscriber.
    pub(crate) first: u32,
    /// How many subscribers; rounded down to a multiple of the sockets.
    pub(crate) count: u32,
    /// CSeq of every request.
    pub(crate) cseq: u32,
    /// How requests follow each other.
    pub(crate) pace: Pace,
    /// What answers look like.
    pub(crate) answers: Answers,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Requests sent, without retransmissions.
    pub(crate) sent: u64,
    /// Requests answered 200.
    pub(crate) accepted: u64,
    /// Final responses other than 200, by status.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// Requests never answered.
    pub(crate) lost: u64,
    /// Requests sent again.
    pub(crate) retransmissions: u64,
    /// From the first request to the last answer.
    pub(crate) elapsed_ns: u64,
    /// Requests answered, and after how long, when [`MOST_PERCENT`] of all were: the last few may wait for
    /// retransmissions, and would make a rate of a closed loop look like their timers.
    pub(crate) most: (u64, u64),
    /// From the intended instant to the answer.
    pub(crate) latencies: Latencies,
    /// Bytes of all answers.
    pub(crate) answer_bytes: u64,
    /// Datagrams per wake-up and the like.
    pub(crate) tally: Tally,
    /// Answers decoded with rsip and found right.
    pub(crate) checked: u64,
}

/// Runs `plan` over `sockets`.
pub(crate) fn run(sockets: &mut Sockets, template: &RegisterTemplate, plan: Plan) -> Result<Outcome, Error> {
    let mut load = RegisterLoad::new(sockets, template, plan)?;
    load.run()?;
    load.finish()
}

/// How many of `wanted` subscribers a phase over `sockets` has: the nearest multiple above.
pub(crate) fn whole_rounds(wanted: u32, sockets: usize) -> u32 {
    wanted.max(1).next_multiple_of(sockets as u32)
}

struct RegisterLoad<'a> {
    sockets: &'a mut Sockets,
    template: &'a RegisterTemplate,
    plan: Plan,
    phase: u16,
    per_socket: u32,
    stride: u64,
    /// By request: when it was meant to be sent; 0 before, [`ANSWERED`] after.
    intended_ns: Vec<u64>,
    /// Requests sent so far: in all (open loop), of each socket (closed loop).
    next: u32,
    next_of_socket: Vec<u32>,
    resend: ResendQueues,
    started_ns: u64,
    ended: u64,
    outcome: Outcome,
    samples: Vec<(u32, Vec<u8>)>,
    first_refusal: Option<Vec<u8>>,
}

const ANSWERED: u64 = u64::MAX;

impl<'a> RegisterLoad<'a> {
    fn new(sockets: &'a mut Sockets, template: &'a RegisterTemplate, plan: Plan) -> Result<Self, Error> {
        let per_socket = plan.count / sockets.count() as u32;
        if per_socket == 0 {
            return Err(Error::Options("there must be at least as many subscribers as client sockets"));
        }
        let count = per_socket * sockets.count() as u32;
        sockets.tally = Tally::default();
        Ok(Self {
            phase: sockets.next_phase(),
            stride: coprime_stride(per_socket),
            per_socket,
            intended_ns: vec![0; count as usize],
            next: 0,
            next_of_socket: vec![0; sockets.count()],
            resend: ResendQueues::default(),
            started_ns: sockets.now_ns(),
            ended: 0,
            outcome: Outcome {
                sent: 0,
                accepted: 0,
                refused: BTreeMap::new(),
                lost: 0,
                retransmissions: 0,
                elapsed_ns: 0,
                most: (0, 0),
                latencies: Latencies::new(),
                answer_bytes: 0,
                tally: Tally::default(),
                checked: 0,
            },
            samples: Vec::with_capacity(SAMPLE_COUNT_MAX),
            first_refusal: None,
            sockets,
            template,
            plan,
        })
    }

    fn run(&mut self) -> Result<(), Error> {
        if let Pace::Window(window) = self.plan.pace {
            let each = (window as usize / self.sockets.count()).max(1);
            for socket in 0..self.sockets.count() {
                self.send_next(socket, each)?;
            }
        }
        while self.ended < self.intended_ns.len() as u64 {
            let send_ns = self.send_scheduled()?;
            self.send_again()?;
            let wake_ns = send_ns.min(self.resend.next_ns().unwrap_or(u64::MAX));
            self.sockets.wait_until(wake_ns)?;
            while let Some((socket, count)) = self.sockets.receive()? {
                let answered = self.take_answers(count);
                if matches!(self.plan.pace, Pace::Window(_)) {
                    self.send_next(socket, answered)?;
                }
            }
        }
        self.outcome.elapsed_ns = self.sockets.now_ns() - self.started_ns;
        Ok(())
    }

    /// Open loop: sends what is due and says when the next is.
    fn send_scheduled(&mut self) -> Result<u64, Error> {
        let Pace::Rate(rate_per_s) = self.plan.pace else { return Ok(u64::MAX) };
        let (schedule, count) = (Schedule::new(rate_per_s), self.intended_ns.len() as u32);
        let now_ns = self.sockets.now_ns();
        let first = self.next;
        while self.next < count {
            let due_ns = self.started_ns + schedule.due_ns(self.next);
            if due_ns > now_ns {
                self.sockets.tally.bursts += u64::from(self.next > first);
                return Ok(due_ns);
            }
            let number = self.next;
            self.next += 1;
            self.write(number, 0);
            self.sockets.send(self.socket_of(number), 1)?;
            self.note_sent(number, due_ns);
        }
        self.sockets.tally.bursts += u64::from(self.next > first);
        Ok(u64::MAX)
    }

    /// Closed loop: sends the next `wanted` requests of `socket`, or what is left of them.
    fn send_next(&mut self, socket: usize, wanted: usize) -> Result<(), Error> {
        let mut wanted = wanted.min((self.per_socket - self.next_of_socket[socket]) as usize);
        while wanted > 0 {
            let batch = wanted.min(BATCH_COUNT_MAX);
            let now_ns = self.sockets.now_ns();
            for at in 0..batch {
                let number = self.next_of_socket[socket] * self.sockets.count() as u32 + socket as u32;
                self.next_of_socket[socket] += 1;
                self.write(number, at);
                self.note_sent(number, now_ns);
            }
            self.sockets.send(socket, batch)?;
            self.sockets.tally.bursts += 1;
            wanted -= batch;
        }
        Ok(())
    }

    fn note_sent(&mut self, number: u32, intended_ns: u64) {
        self.intended_ns[number as usize] = intended_ns.max(1);
        self.resend.sent(number, intended_ns);
        self.outcome.sent += 1;
    }

    fn send_again(&mut self) -> Result<(), Error> {
        let now_ns = self.sockets.now_ns();
        loop {
            let intended_ns = &self.intended_ns;
            let due = self.resend.pop(now_ns, |number| intended_ns[number as usize] == ANSWERED);
            match due {
                None => return Ok(()),
                Some(Due::Resend(number)) => {
                    self.outcome.retransmissions += 1;
                    self.write(number, 0);
                    self.sockets.send(self.socket_of(number), 1)?;
                }
                Some(Due::GiveUp(number)) => self.give_up(number)?,
            }
        }
    }

    fn give_up(&mut self, number: u32) -> Result<(), Error> {
        self.intended_ns[number as usize] = ANSWERED;
        self.ended += 1;
        self.outcome.lost += 1;
        let (lost, sent) = (self.outcome.lost, self.outcome.sent);
        if lost == sent || (lost > LOST_COUNT_MAX && lost > sent / 10) {
            return Err(Error::Lost { what: self.plan.name, lost, sent });
        }
        if matches!(self.plan.pace, Pace::Window(_)) {
            self.send_next(self.socket_of(number), 1)?;
        }
        Ok(())
    }

    /// Reads the first `count` received datagrams; says how many requests got their final answer.
    fn take_answers(&mut self, count: usize) -> usize {
        let now_ns = self.sockets.now_ns();
        let mut answered = 0;
        for at in 0..count {
            let datagram = self.sockets.incoming.datagram(at);
            let Some(answer) = self.plan.answers.read(datagram) else { continue };
            // RFC 3261 §17.1.2.2: provisional answers and those to earlier phases change nothing here.
            if answer.branch.phase != self.phase || answer.status < 200 {
                continue;
            }
            let Some(intended_ns) = self.intended_ns.get_mut(answer.branch.number as usize) else { continue };
            if *intended_ns == ANSWERED || *intended_ns == 0 {
                continue;
            }
            self.outcome.latencies.record(*intended_ns, now_ns);
            *intended_ns = ANSWERED;
            answered += 1;
            if answer.status == 200 {
                self.outcome.accepted += 1;
                self.outcome.answer_bytes += datagram.len() as u64;
                let wanted = self.outcome.accepted % SAMPLE_EVERY == 1 && self.samples.len() < SAMPLE_COUNT_MAX;
                if wanted && self.plan.answers == Answers::Sip {
                    self.samples.push((answer.branch.number, datagram.to_vec()));
                }
            } else {
                self.first_refusal.get_or_insert_with(|| datagram.to_vec());
                *self.outcome.refused.entry(answer.status).or_default() += 1;
            }
        }
        self.ended += answered as u64;
        if self.outcome.most.0 == 0 && self.ended * 100 >= self.intended_ns.len() as u64 * MOST_PERCENT {
            self.outcome.most = (self.ended, now_ns - self.started_ns);
        }
        answered
    }

    fn socket_of(&self, number: u32) -> usize {
        number as usize % self.sockets.count()
    }

    /// A phone keeps its socket from phase to phase, and subscribers follow each other in no order that the
    /// server's memory knows.
    fn registration(&self, number: u32) -> Registration {
        let sockets = self.sockets.count() as u32;
        let turn = (u64::from(number / sockets) * self.stride % u64::from(self.per_socket)) as u32;
        Registration {
            subscriber: self.plan.first + turn * sockets + number % sockets,
            port: self.sockets.port(self.socket_of(number)),
            cseq: self.plan.cseq,
            branch: Branch { phase: self.phase, number },
        }
    }

    fn write(&mut self, number: u32, at: usize) {
        let registration = self.registration(number);
        self.template.write(&registration, self.sockets.outgoing.room(at));
        self.sockets.outgoing.set_length(at, self.template.len());
    }

    fn finish(mut self) -> Result<Outcome, Error> {
        if self.outcome.accepted == 0 {
            let answer = self.first_refusal.unwrap_or_default();
            let answer = String::from_utf8_lossy(&answer).into_owned();
            return Err(Error::Refused { what: self.plan.name, sent: self.outcome.sent, answer });
        }
        for (number, answer) in &self.samples {
            check_answer(answer, &self.registration(*number))?;
            self.outcome.checked += 1;
        }
        self.outcome.tally = self.sockets.tally;
        Ok(self.outcome)
    }
}

/// A step near the golden section of `count` without a common divisor: it visits all, neighbours far apart.
pub(crate) fn coprime_stride(count: u32) -> u64 {
    let divisor = |mut a: u64, mut b: u64| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let start = (f64::from(count) * 0.618_034) as u64;
    (start.max(1)..=u64::from(count)).find(|&step| divisor(step, u64::from(count)) == 1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register_message::{CSEQ_FIRST, Instance};
    use std::collections::HashSet;
    use std::net::UdpSocket;
    use std::time::Duration;

    #[test]
    fn a_stride_visits_every_subscriber_once() {
        for count in [1_u32, 2, 7, 1000, 3125] {
            let stride = coprime_stride(count);
            let seen: HashSet<u64> = (0..u64::from(count)).map(|turn| turn * stride % u64::from(count)).collect();
            assert_eq!(seen.len(), count as usize);
        }
    }

    #[test]
    fn rounds_are_whole() {
        assert_eq!(whole_rounds(100_000, 32), 100_000);
        assert_eq!(whole_rounds(1, 32), 32);
        assert_eq!(whole_rounds(33, 32), 64);
    }

    /// Answers every request but the first copy of one, so that the generator has to send it again.
    fn lossy_echo(server: &UdpSocket, requests: usize) {
        let mut room = [0; 2048];
        let mut dropped = false;
        server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        for _ in 0..=requests {
            let (length, peer) = server.recv_from(&mut room).unwrap();
            if Branch::find(&room[..length]).unwrap().number == 3 && !dropped {
                dropped = true;
                continue;
            }
            server.send_to(&room[..length], peer).unwrap();
        }
    }

    fn outcome_of(pace: Pace) -> Outcome {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let mut sockets = Sockets::connect(address, 4).unwrap();
        let template = RegisterTemplate::new(address, &address.to_string(), Instance::Named).unwrap();
        let plan = Plan { name: "test", first: 0, count: 400, cseq: CSEQ_FIRST, pace, answers: Answers::Echo };
        std::thread::scope(|scope| {
            scope.spawn(|| lossy_echo(&server, 400));
            run(&mut sockets, &template, plan).unwrap()
        })
    }

    #[test]
    fn a_closed_loop_answers_all_and_sends_a_lost_one_again() {
        let outcome = outcome_of(Pace::Window(16));
        assert_eq!((outcome.sent, outcome.accepted, outcome.lost), (400, 400, 0));
        assert_eq!(outcome.retransmissions, 1);
        assert_eq!(outcome.answer_bytes, 400 * 606);
    }

    #[test]
    fn an_open_loop_keeps_its_schedule_and_times_a_loss_from_the_intended_instant() {
        let outcome = outcome_of(Pace::Rate(4000));
        assert_eq!((outcome.accepted, outcome.retransmissions), (400, 1));
        assert_eq!(outcome.latencies.count(), 400);
        assert!(outcome.elapsed_ns >= 500_000_000);
        assert!(outcome.latencies.quantiles().max >= 499_000.0);
    }
}
