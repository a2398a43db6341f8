//! The callee: 180 and 200 to an INVITE, 200 to a BYE.

use super::{CallLoad, Callee, Failure, Timer, WAIT_MS};
use crate::branch::Branch;
use crate::call_message::{OK, RINGING, response};
use crate::error::Error;
use crate::lines::{Message, host_port};

impl CallLoad<'_> {
    pub(super) fn called(
        &mut self,
        number: u32,
        socket: usize,
        message: Message<'_>,
        now_ns: u64,
    ) -> Result<(), Error> {
        if let Some(callee) = self.calls[number as usize].callee.take() {
            let again = if callee.answered { &callee.ok } else { &callee.ringing };
            let sent = self.send(callee.socket, again);
            self.calls[number as usize].callee = Some(callee);
            return sent;
        }
        let contact = message.request_uri().unwrap_or_default();
        let port = format!(":{}", self.sockets.port(socket));
        if !host_port(contact).ends_with(port.as_bytes()) {
            self.fail(number, Failure::WrongPhone);
            return Ok(());
        }
        let call = Branch { phase: self.phase, number };
        let ringing = response(message, RINGING, call, Some(contact));
        let ok = response(message, OK, call, Some(contact));
        self.calls[number as usize].arrived_ns = now_ns;
        self.send(socket, &ringing)?;
        let sent_ns = self.sockets.now_ns();
        let callee = Callee { socket, ringing, ok, answered: false, acknowledged: false };
        self.calls[number as usize].ringing_sent_ns = sent_ns;
        self.calls[number as usize].callee = Some(Box::new(callee));
        if self.plan.ring_ms == 0 {
            return self.answer(number, sent_ns);
        }
        self.arm(sent_ns, number, Timer::Answer, u64::from(self.plan.ring_ms));
        Ok(())
    }

    pub(super) fn answer(&mut self, number: u32, now_ns: u64) -> Result<(), Error> {
        let Some(mut callee) = self.calls[number as usize].callee.take() else { return Ok(()) };
        callee.answered = true;
        self.send(callee.socket, &callee.ok)?;
        self.calls[number as usize].callee = Some(callee);
        self.arm(now_ns, number, Timer::AnswerAgain(0), WAIT_MS[0]);
        Ok(())
    }

    /// The 2xx is sent again until its ACK comes (RFC 3261 §13.3.1.4).
    pub(super) fn answer_again(&mut self, number: u32, sent: u8, now_ns: u64) -> Result<(), Error> {
        let Some(callee) = self.calls[number as usize].callee.take() else { return Ok(()) };
        let again = !callee.acknowledged && usize::from(sent) + 1 < WAIT_MS.len();
        if again {
            self.outcome.retransmissions += 1;
            self.send(callee.socket, &callee.ok)?;
            self.arm(now_ns, number, Timer::AnswerAgain(sent + 1), WAIT_MS[usize::from(sent) + 1]);
        }
        self.calls[number as usize].callee = Some(callee);
        Ok(())
    }

    pub(super) fn acknowledged(&mut self, number: u32, message: Message<'_>) {
        let Some(callee) = &mut self.calls[number as usize].callee else { return };
        if !callee.acknowledged {
            callee.acknowledged = true;
            self.outcome.acknowledged += 1;
            self.outcome.routes_left += u64::from(message.value("Route", "Route").is_some());
        }
    }

    pub(super) fn hung_up(&mut self, number: u32, socket: usize, message: Message<'_>) -> Result<(), Error> {
        self.outcome.routes_left += u64::from(message.value("Route", "Route").is_some());
        let ok = response(message, OK, Branch { phase: self.phase, number }, None);
        self.send(socket, &ok)
    }
}
