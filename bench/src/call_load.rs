//! Calls at a rate: callers and callees in one loop, over the sockets that the callees registered from.
//!
//! Caller: INVITE, 100, 180, 200, ACK, then BYE and its 200. Callee: 180 and 200 to the INVITE, 200 to the BYE.
//! Each side retransmits as RFC 3261 §13.3.1.4, §17.1.1.2 and §17.1.2.2 have it, so that one lost datagram costs
//! half a second, not a call. A call ends when its BYE is answered, or fails with a named reason.

mod callee;
mod caller;
#[cfg(test)]
mod tests;

use crate::answer::status;
use crate::call_message::{DialogRequests, InviteTemplate, WrongDialog, call_of};
use crate::error::Error;
use crate::latency::Latencies;
use crate::lines::Message;
use crate::pace::Schedule;
use crate::sockets::Sockets;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// Waits after each transmission, milliseconds: T1, doubled up to T2, then given up.
const WAIT_MS: [u64; 5] = [500, 1000, 2000, 4000, 4000];
const MS: u64 = 1_000_000;

/// What a round of calls does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Calls a second.
    pub(crate) rate: u32,
    /// Calls.
    pub(crate) count: u32,
    /// Number of the first callee.
    pub(crate) first_callee: u32,
    /// Callees, a multiple of the sockets.
    pub(crate) callees: u32,
    /// Milliseconds from 180 to 200.
    pub(crate) ring_ms: u32,
    /// Milliseconds from ACK to BYE.
    pub(crate) hold_ms: u32,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Calls whose BYE was answered 200.
    pub(crate) completed: u64,
    /// The others.
    pub(crate) failed: BTreeMap<Failure, u64>,
    /// From the intended instant of the INVITE to the 180, without the callee's share.
    pub(crate) set_up: Latencies,
    /// Requests and responses sent again.
    pub(crate) retransmissions: u64,
    /// Calls that were answered 100.
    pub(crate) trying: u64,
    /// Calls whose ACK reached the callee.
    pub(crate) acknowledged: u64,
    /// Requests within a dialog that reached the callee with a Route still in them.
    pub(crate) routes_left: u64,
    /// From the first INVITE to the end of the last call.
    pub(crate) elapsed_ns: u64,
}

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failure {
    /// The INVITE was answered with this status.
    Refused(u16),
    /// Nothing came back at all.
    Unanswered,
    /// Only provisional responses came back.
    NeverFinal,
    /// The INVITE reached a phone that did not register what it was sent to.
    WrongPhone,
    /// The 200 makes no usable dialog.
    Dialog(WrongDialog),
    /// The BYE was answered with this status.
    ByeRefused(u16),
    /// The BYE was not answered.
    ByeUnanswered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Invite(u8),
    Answer,
    AnswerAgain(u8),
    Hold,
    Bye(u8),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Inviting,
    Talking,
    Leaving,
    Ended,
}

#[derive(Debug, Default)]
struct Call {
    stage: Stage,
    intended_ns: u64,
    provisional: bool,
    trying: bool,
    ringing_heard: bool,
    arrived_ns: u64,
    ringing_sent_ns: u64,
    callee: Option<Box<Callee>>,
    requests: Option<Box<DialogRequests>>,
}

/// The callee's side, kept while something may have to be sent again.
#[derive(Debug)]
struct Callee {
    socket: usize,
    ringing: Vec<u8>,
    ok: Vec<u8>,
    answered: bool,
    acknowledged: bool,
}

struct CallLoad<'a> {
    sockets: &'a mut Sockets,
    template: &'a InviteTemplate,
    plan: Plan,
    phase: u16,
    calls: Vec<Call>,
    timers: BinaryHeap<Reverse<(u64, u32, Timer)>>,
    started_ns: u64,
    ended: u32,
    outcome: Outcome,
    datagram: Vec<u8>,
}

/// Runs `plan` over `sockets`, from which the callees have registered.
pub(crate) fn run(sockets: &mut Sockets, template: &InviteTemplate, plan: Plan) -> Result<Outcome, Error> {
    let mut load = CallLoad {
        phase: sockets.next_phase(),
        calls: Vec::with_capacity(plan.count as usize),
        timers: BinaryHeap::new(),
        started_ns: sockets.now_ns(),
        ended: 0,
        outcome: Outcome {
            completed: 0,
            failed: BTreeMap::new(),
            set_up: Latencies::new(),
            retransmissions: 0,
            trying: 0,
            acknowledged: 0,
            routes_left: 0,
            elapsed_ns: 0,
        },
        datagram: Vec::with_capacity(2048),
        sockets,
        template,
        plan,
    };
    load.run()?;
    Ok(load.outcome)
}

impl CallLoad<'_> {
    fn run(&mut self) -> Result<(), Error> {
        let schedule = Schedule::new(self.plan.rate);
        while self.ended < self.plan.count {
            let now_ns = self.sockets.now_ns();
            let mut wake_ns = u64::MAX;
            while (self.calls.len() as u32) < self.plan.count {
                let due_ns = self.started_ns + schedule.due_ns(self.calls.len() as u32);
                if due_ns > now_ns {
                    wake_ns = due_ns;
                    break;
                }
                self.invite(due_ns)?;
            }
            self.handle_timers(now_ns)?;
            if let Some(&Reverse((due_ns, ..))) = self.timers.peek() {
                wake_ns = wake_ns.min(due_ns);
            }
            self.sockets.wait_until(wake_ns)?;
            while let Some((socket, count)) = self.sockets.receive()? {
                let now_ns = self.sockets.now_ns();
                for at in 0..count {
                    self.take(socket, at, now_ns)?;
                }
            }
        }
        self.outcome.elapsed_ns = self.sockets.now_ns() - self.started_ns;
        Ok(())
    }

    fn send(&mut self, socket: usize, message: &[u8]) -> Result<(), Error> {
        let length = message.len().min(self.sockets.outgoing.room(0).len());
        self.sockets.outgoing.room(0)[..length].copy_from_slice(&message[..length]);
        self.sockets.outgoing.set_length(0, length);
        self.sockets.send(socket, 1)
    }

    fn arm(&mut self, now_ns: u64, number: u32, timer: Timer, wait_ms: u64) {
        self.timers.push(Reverse((now_ns + wait_ms * MS, number, timer)));
    }

    fn handle_timers(&mut self, now_ns: u64) -> Result<(), Error> {
        while let Some(&Reverse((due_ns, number, timer))) = self.timers.peek() {
            if due_ns > now_ns {
                break;
            }
            self.timers.pop();
            if self.calls[number as usize].stage == Stage::Ended {
                continue;
            }
            match timer {
                Timer::Invite(sent) => self.invite_again(number, sent, now_ns)?,
                Timer::Answer => self.answer(number, now_ns)?,
                Timer::AnswerAgain(sent) => self.answer_again(number, sent, now_ns)?,
                Timer::Hold => self.leave(number, now_ns)?,
                Timer::Bye(sent) => self.leave_again(number, sent, now_ns)?,
            }
        }
        Ok(())
    }

    fn fail(&mut self, number: u32, failure: Failure) {
        *self.outcome.failed.entry(failure).or_default() += 1;
        self.end(number);
    }

    fn end(&mut self, number: u32) {
        let call = &mut self.calls[number as usize];
        call.stage = Stage::Ended;
        self.outcome.trying += u64::from(call.trying);
        // What is kept for retransmission goes; a late one of the peer's is not answered any more.
        call.callee = None;
        call.requests = None;
        self.ended += 1;
    }

    /// One received datagram: a response is the caller's, a request the callee's.
    fn take(&mut self, socket: usize, at: usize, now_ns: u64) -> Result<(), Error> {
        let mut datagram = std::mem::take(&mut self.datagram);
        datagram.clear();
        datagram.extend_from_slice(self.sockets.incoming.datagram(at));
        let taken = self.take_message(socket, &datagram, now_ns);
        self.datagram = datagram;
        taken
    }

    fn take_message(&mut self, socket: usize, datagram: &[u8], now_ns: u64) -> Result<(), Error> {
        let Some(message) = Message::cut(datagram) else { return Ok(()) };
        let Some(call) = call_of(message) else { return Ok(()) };
        let number = call.number;
        let ours = call.phase == self.phase && (number as usize) < self.calls.len();
        if !ours || self.calls[number as usize].stage == Stage::Ended {
            return Ok(());
        }
        match (status(datagram), message.cseq_method()) {
            (Some(status), Some(b"INVITE")) => self.invite_answered(number, status, message, now_ns),
            (Some(status), Some(b"BYE")) => {
                self.bye_answered(number, status);
                Ok(())
            }
            (None, Some(b"INVITE")) => self.called(number, socket, message, now_ns),
            (None, Some(b"ACK")) => {
                self.acknowledged(number, message);
                Ok(())
            }
            (None, Some(b"BYE")) => self.hung_up(number, socket, message),
            _ => Ok(()),
        }
    }
}
