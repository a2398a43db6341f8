//! The caller: INVITE, ACK and BYE, and what it makes of their answers.

use super::{Call, CallLoad, Failure, MS, Stage, Timer, WAIT_MS};
use crate::branch::Branch;
use crate::call_message::Invitation;
use crate::error::Error;
use crate::lines::Message;

/// How much longer than it should ring a call may take to be answered, milliseconds.
const ANSWER_MS_MAX: u64 = 15_000;

impl CallLoad<'_> {
    pub(super) fn invitation(&self, number: u32) -> Invitation {
        let callee = self.plan.first_callee + number % self.plan.callees;
        Invitation {
            // The caller is the neighbour: another subscriber, on another socket.
            caller: self.plan.first_callee + (number + 1) % self.plan.callees,
            callee,
            port: self.sockets.port(self.socket_of_caller(number)),
            call: Branch { phase: self.phase, number },
        }
    }

    pub(super) fn socket_of_caller(&self, number: u32) -> usize {
        (number as usize + 1) % self.sockets.count()
    }

    pub(super) fn invite(&mut self, due_ns: u64) -> Result<(), Error> {
        let number = self.calls.len() as u32;
        self.calls.push(Call { intended_ns: due_ns, ..Call::default() });
        self.arm(due_ns, number, Timer::Invite(0), WAIT_MS[0]);
        self.send_invite(number)
    }

    pub(super) fn send_invite(&mut self, number: u32) -> Result<(), Error> {
        self.template.write(&self.invitation(number), self.sockets.outgoing.room(0));
        self.sockets.outgoing.set_length(0, self.template.len());
        self.sockets.send(self.socket_of_caller(number), 1)
    }

    /// Timers A and B of RFC 3261 §17.1.1.2; a provisional response ends the retransmissions.
    pub(super) fn invite_again(&mut self, number: u32, sent: u8, now_ns: u64) -> Result<(), Error> {
        let call = &self.calls[number as usize];
        if call.stage != Stage::Inviting {
            return Ok(());
        }
        let next = (usize::from(sent) + 1).min(WAIT_MS.len() - 1);
        if call.provisional {
            let patience_ms = u64::from(self.plan.ring_ms) + ANSWER_MS_MAX;
            if now_ns > call.intended_ns + patience_ms * MS {
                self.fail(number, Failure::NeverFinal);
                return Ok(());
            }
        } else if usize::from(sent) + 1 == WAIT_MS.len() {
            self.fail(number, Failure::Unanswered);
            return Ok(());
        } else {
            self.outcome.retransmissions += 1;
            self.send_invite(number)?;
        }
        self.arm(now_ns, number, Timer::Invite(next as u8), WAIT_MS[next]);
        Ok(())
    }

    pub(super) fn invite_answered(
        &mut self,
        number: u32,
        status: u16,
        message: Message<'_>,
        now_ns: u64,
    ) -> Result<(), Error> {
        let call = &mut self.calls[number as usize];
        call.provisional = true;
        call.trying |= status == 100;
        match status {
            180 if !call.ringing_heard => {
                call.ringing_heard = true;
                // The callee's share, from its receiving to its sending, is left out of the set-up.
                let callee_ns = call.ringing_sent_ns - call.arrived_ns;
                self.outcome.set_up.record(call.intended_ns + callee_ns, now_ns);
                Ok(())
            }
            100..200 => Ok(()),
            200..300 => self.accepted(number, message, now_ns),
            _ if call.stage == Stage::Inviting => {
                let ack = self.template.ack_of_refusal(&self.invitation(number), message);
                self.send(self.socket_of_caller(number), &ack.unwrap_or_default())?;
                self.fail(number, Failure::Refused(status));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn accepted(&mut self, number: u32, message: Message<'_>, now_ns: u64) -> Result<(), Error> {
        let socket = self.socket_of_caller(number);
        if self.calls[number as usize].stage == Stage::Inviting {
            match self.template.dialog_requests(&self.invitation(number), message) {
                Ok(requests) => self.calls[number as usize].requests = Some(Box::new(requests)),
                Err(wrong) => {
                    self.fail(number, Failure::Dialog(wrong));
                    return Ok(());
                }
            }
            self.calls[number as usize].stage = Stage::Talking;
            if self.plan.hold_ms > 0 {
                self.arm(now_ns, number, Timer::Hold, u64::from(self.plan.hold_ms));
            }
        }
        // RFC 3261 §13.2.2.4: every retransmission of the 2xx is acknowledged anew.
        let Some(requests) = self.calls[number as usize].requests.take() else { return Ok(()) };
        let sent = self.send(socket, &requests.ack);
        self.calls[number as usize].requests = Some(requests);
        sent?;
        let leaves = self.calls[number as usize].stage == Stage::Talking && self.plan.hold_ms == 0;
        if leaves { self.leave(number, now_ns) } else { Ok(()) }
    }

    pub(super) fn leave(&mut self, number: u32, now_ns: u64) -> Result<(), Error> {
        self.calls[number as usize].stage = Stage::Leaving;
        self.arm(now_ns, number, Timer::Bye(0), WAIT_MS[0]);
        self.send_bye(number)
    }

    pub(super) fn send_bye(&mut self, number: u32) -> Result<(), Error> {
        let Some(requests) = self.calls[number as usize].requests.take() else { return Ok(()) };
        let sent = self.send(self.socket_of_caller(number), &requests.bye);
        self.calls[number as usize].requests = Some(requests);
        sent
    }

    pub(super) fn leave_again(&mut self, number: u32, sent: u8, now_ns: u64) -> Result<(), Error> {
        let next = usize::from(sent) + 1;
        if next == WAIT_MS.len() {
            self.fail(number, Failure::ByeUnanswered);
            return Ok(());
        }
        self.outcome.retransmissions += 1;
        self.arm(now_ns, number, Timer::Bye(next as u8), WAIT_MS[next]);
        self.send_bye(number)
    }

    pub(super) fn bye_answered(&mut self, number: u32, status: u16) {
        if status == 200 {
            self.outcome.completed += 1;
            self.end(number);
        } else if status > 200 {
            self.fail(number, Failure::ByeRefused(status));
        }
    }
}
