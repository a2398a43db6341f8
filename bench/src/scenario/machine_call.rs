//! The second half of `machine`: calls through the pure shard.
//!
//! Caller and callee are played by what the `call` scenario sends, outside of the measured stretch. Time goes on as at
//! 1,200 calls a second, so that transactions end at the usual pace (RFC 3261 Timers D, J, K and L).

use super::machine::{LOCAL, Machine, PHONE, START_UNIX_MS};
use crate::branch::Branch;
use crate::call_message::{Invitation, InviteTemplate, OK, RINGING, response};
use crate::error::Error;
use crate::lines::Message;
use crate::sys::allocations_count;
use sipfed_proto::{FlowToken, Now, Outbox, Source, Transport};
use std::time::Instant;

const CALLS_PER_S: u64 = 1200;

/// What one stretch of calls took.
#[derive(Clone, Copy, Default)]
pub(super) struct CallStretch {
    pub(super) calls: u64,
    pub(super) ns: u64,
    pub(super) allocations: u64,
}

/// Calls through the shard of a [`Machine`] whose subscribers have registered.
pub(super) struct Calls<'a> {
    machine: &'a mut Machine,
    template: InviteTemplate,
    /// Calls so far.
    done: u64,
    stretch: CallStretch,
}

impl<'a> Calls<'a> {
    pub(super) fn new(machine: &'a mut Machine) -> Result<Self, Error> {
        let template = InviteTemplate::new(LOCAL, &LOCAL.to_string())?;
        Ok(Self { machine, template, done: 0, stretch: CallStretch::default() })
    }

    /// Runs `calls` calls one after another.
    pub(super) fn stretch(&mut self, calls: u64) -> Result<CallStretch, Error> {
        self.stretch = CallStretch { calls, ..CallStretch::default() };
        for _ in 0..calls {
            self.call()?;
            self.done += 1;
        }
        Ok(self.stretch)
    }

    fn call(&mut self) -> Result<(), Error> {
        let aors = u64::from(self.machine.aors);
        let call = Branch { phase: 0x7fff, number: self.done as u32 };
        let invitation = Invitation {
            caller: ((self.done + 1) % aors) as u32,
            callee: (self.done % aors) as u32,
            port: PHONE.port(),
            call,
        };
        let mut invite = vec![0; self.template.len()];
        self.template.write(&invitation, &mut invite);
        // To the callee, behind the 100.
        let called = self.pass(&invite, 2)?;
        let called = cut(&called)?;
        let contact = called.request_uri().unwrap_or_default();
        self.pass(&response(called, RINGING, call, Some(contact)), 1)?;
        let ok = self.pass(&response(called, OK, call, Some(contact)), 1)?;
        let requests = self.template.dialog_requests(&invitation, cut(&ok)?);
        let requests = requests.map_err(|wrong| wrong_answer(&format!("the call has no dialog: {wrong:?}"), &ok))?;
        self.pass(&requests.ack, 1)?;
        let bye = self.pass(&requests.bye, 1)?;
        self.pass(&response(cut(&bye)?, OK, call, None), 1)?;
        Ok(())
    }

    /// Hands a message to the shard; gives the last of the `count` that it sends.
    fn pass(&mut self, message: &[u8], count: usize) -> Result<Vec<u8>, Error> {
        let now = Now::from_unix_ms(START_UNIX_MS + self.machine.done + self.done * 1000 / CALLS_PER_S);
        let source = Source { transport: Transport::Udp, remote: PHONE, local: LOCAL, flow: FlowToken::NONE };
        let out: &mut Outbox = &mut self.machine.out;
        out.clear();
        let allocations_before = allocations_count();
        let started = Instant::now();
        self.machine.shard.receive(message, &source, now, out);
        // What timers send again is for nobody here, and goes with the next clear.
        let sent = out.len();
        self.machine.shard.handle_timeout(now, out);
        self.stretch.ns += started.elapsed().as_nanos() as u64;
        self.stretch.allocations += allocations_count() - allocations_before;
        match out.transmits()[..sent].last() {
            Some(last) if sent == count => Ok(out.bytes(last).to_vec()),
            _ => Err(wrong_answer(&format!("a message of a call led to {sent} instead of {count}"), message)),
        }
    }
}

fn cut(bytes: &[u8]) -> Result<Message<'_>, Error> {
    Message::cut(bytes).ok_or_else(|| wrong_answer("the shard sent what is no message", bytes))
}

fn wrong_answer(what: &str, message: &[u8]) -> Error {
    Error::WrongAnswer { what: what.to_owned(), answer: String::from_utf8_lossy(message).into_owned() }
}
