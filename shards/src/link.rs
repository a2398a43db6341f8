//! The shards' end of the link to the control plane.
//!
//! In: commands, each with the [`Reply`] that its answer is given to, whether the node is the active one of its home, whether
//! phones are pinged then, and two lasting wishes: to drain and to stop. Out: the answers. A [`Control`] is shared by one shard and the control plane;
//! what is put into it is followed by a ring of the shard's bell.
//!
//! What a command has changed is answered when it is durable, as a REGISTER is; a command whose reply is dropped
//! unanswered was not done for certain.
//!
//! Bounds: [`COMMANDS_COUNT_MAX`] commands wait at a shard; one more is refused, and its asker does without. A turn does
//! [`COMMANDS_PER_TURN_MAX`] of them, and one page. A wish is a flag and cannot be lost.

use crate::ShardReport;
use crossbeam::queue::ArrayQueue;
use sipfed_proto::explain::{Explanation, Unexplained};
use sipfed_proto::{ByHand, Ended, Now, Page, Refusal, Shard, Source};
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

/// Commands that may wait at one shard.
pub(crate) const COMMANDS_COUNT_MAX: usize = 64;
/// Commands that a shard does in one turn.
pub(crate) const COMMANDS_PER_TURN_MAX: usize = 16;

/// Where an answer goes. Dropping it says that there is none.
pub struct Reply<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Reply<T> {
    /// Answers by calling `take`, on the thread of a shard: it must not block.
    pub fn new(take: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(take))
    }

    pub(crate) fn give(self, answer: T) {
        (self.0)(answer);
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// What the control plane asks of a shard. AoRs are canonical, and of that shard.
#[derive(Debug)]
pub enum Command {
    /// Its report.
    Report(Reply<ShardReport>),
    /// Some of its bindings, from the record with the number `from` on; 0 to begin.
    Page {
        /// The number that the page before has given.
        from: u32,
        /// The bindings, and the number to go on from; `None` when there is none left.
        reply: Reply<(Page, Option<u32>)>,
    },
    /// What would become of a message.
    Explain {
        /// As it would be received.
        message: Vec<u8>,
        /// Where from.
        source: Source,
        /// What, and why.
        reply: Reply<Result<Explanation, Unexplained>>,
    },
    /// The bindings of an AoR.
    Find {
        /// Which.
        aor: Box<[u8]>,
        /// Its bindings.
        reply: Reply<Page>,
    },
    /// To end the bindings of an AoR.
    End {
        /// Which.
        aor: Box<[u8]>,
        /// The one Contact that is meant; `None` for all.
        contact: Option<Box<[u8]>>,
        /// What became of them.
        reply: Reply<Result<Ended, Refusal>>,
    },
    /// To make a binding.
    Bind {
        /// Which.
        binding: OwnedBinding,
        /// Whether it was made.
        reply: Reply<Result<(), Refusal>>,
    },
    /// To answer when all that has been changed so far is durable.
    Flush {
        /// When it is.
        reply: Reply<Result<(), Refusal>>,
    },
}

/// A binding to be made by hand; see [`ByHand`].
#[derive(Clone, Debug)]
pub struct OwnedBinding {
    /// The canonical AoR.
    pub aor: Box<[u8]>,
    /// The Contact's URI.
    pub contact: Box<[u8]>,
    /// Seconds that it is to live.
    pub expires_s: u32,
    /// 0 to 1000.
    pub q_milli: u16,
    /// As in [`ByHand`].
    pub methods: u16,
}

/// An answer that says that something is done, and may be given once that is durable.
pub(crate) struct Promise(Box<dyn FnOnce() + Send>);

impl Promise {
    fn new<T: Send + 'static>(reply: Reply<T>, answer: T) -> Self {
        Self(Box::new(move || reply.give(answer)))
    }

    pub(crate) fn keep(self) {
        (self.0)();
    }
}

/// What has become of a command.
pub(crate) enum Done {
    /// It was answered.
    Answered,
    /// It was answered, and has taken as long as a turn should.
    AnsweredAtLength,
    /// It is to be answered once the log has what was changed.
    Promised(Promise),
}

impl Command {
    /// Does what is asked, but for a report, which `report` makes.
    pub(crate) fn carry_out(self, machine: &mut Shard, now: Now, report: impl FnOnce(&Shard) -> ShardReport) -> Done {
        match self {
            Self::Report(reply) => reply.give(report(machine)),
            Self::Page { from, reply } => {
                reply.give(machine.page(from, now));
                return Done::AnsweredAtLength;
            }
            Self::Explain { message, source, reply } => reply.give(machine.explain(&message, &source, now)),
            Self::Find { aor, reply } => reply.give(machine.bindings_of(&aor, now)),
            Self::End { aor, contact, reply } => {
                return promised(reply, machine.end_by_hand(&aor, contact.as_deref(), now));
            }
            Self::Bind { binding: OwnedBinding { aor, contact, expires_s, q_milli, methods }, reply } => {
                let binding = ByHand { aor: &aor, contact: &contact, expires_s, q_milli, methods };
                return promised(reply, machine.bind_by_hand(&binding, now));
            }
            Self::Flush { reply } => return promised(reply, Ok(())),
        }
        Done::Answered
    }
}

fn promised<T: Send + 'static>(reply: Reply<Result<T, Refusal>>, answer: Result<T, Refusal>) -> Done {
    // What was refused has changed nothing.
    if answer.is_err() {
        reply.give(answer);
        return Done::Answered;
    }
    Done::Promised(Promise::new(reply, answer))
}

/// What the control plane wants of one shard.
#[derive(Debug)]
pub(crate) struct Control {
    commands: ArrayQueue<Command>,
    virtual_ip: Option<IpAddr>,
    is_active: AtomicBool,
    lacks_virtual_ip: AtomicBool,
    is_pinging: AtomicBool,
    is_draining: AtomicBool,
    is_stopping: AtomicBool,
}

impl Control {
    /// Nothing is wanted yet; the node begins as the active one of its home where that has no virtual address.
    pub(crate) fn new(virtual_ip: Option<IpAddr>) -> Self {
        Self {
            commands: ArrayQueue::new(COMMANDS_COUNT_MAX),
            virtual_ip,
            is_active: AtomicBool::new(virtual_ip.is_none()),
            lacks_virtual_ip: AtomicBool::new(false),
            is_pinging: AtomicBool::new(true),
            is_draining: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
        }
    }

    /// Asks for something; `false` when too many ask, or the shard is to end.
    pub(crate) fn ask(&self, command: Command) -> bool {
        !self.is_stopping() && self.commands.push(command).is_ok()
    }

    /// Tells the shard whether the node is the active one of its home from now on.
    pub(crate) fn tell_active(&self, is_active: bool) {
        self.is_active.store(is_active, Ordering::Release);
    }

    /// Tells the shard whether the host has the virtual address.
    pub(crate) fn tell_virtual_ip(&self, has_it: bool) {
        self.lacks_virtual_ip.store(!has_it, Ordering::Release);
    }

    /// Tells the shard whether phones are pinged while the node is the active one.
    pub(crate) fn tell_pinging(&self, is_pinging: bool) {
        self.is_pinging.store(is_pinging, Ordering::Release);
    }

    /// Asks the shard to take no new requests from now on.
    pub(crate) fn ask_drain(&self) {
        self.is_draining.store(true, Ordering::Release);
    }

    /// Asks the shard to end.
    pub(crate) fn ask_stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
    }

    /// The next command that waits.
    pub(crate) fn take(&self) -> Option<Command> {
        self.commands.pop()
    }

    /// Whether a command waits.
    pub(crate) fn has_more(&self) -> bool {
        !self.commands.is_empty()
    }

    /// Whether nothing new has been asked since it was last looked after; a wish to drain counts only until
    /// `is_draining` says that it is followed, and so does what the node is until `machine` knows it.
    pub(crate) fn is_idle(&self, is_draining: bool, machine: &Shard) -> bool {
        !self.has_more()
            && !self.is_stopping()
            && self.is_draining() == is_draining
            && self.is_active() == machine.is_active()
            && self.absent_address() == machine.absent_address()
            && self.is_pinging() == machine.is_pinging()
    }

    /// Whether the node is the active one of its home.
    pub(crate) fn is_active(&self) -> bool {
        self.is_active.load(Ordering::Acquire)
    }

    /// The virtual address while the host does not have it.
    pub(crate) fn absent_address(&self) -> Option<IpAddr> {
        self.virtual_ip.filter(|_| self.lacks_virtual_ip.load(Ordering::Acquire))
    }

    /// Whether phones are pinged while it is.
    pub(crate) fn is_pinging(&self) -> bool {
        self.is_pinging.load(Ordering::Acquire)
    }

    /// Whether the shard is to take no new requests.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    /// Whether the shard is to end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_commands_wait_and_no_more() {
        let control = Control::new(None);
        let ask = || control.ask(Command::Flush { reply: Reply::new(|_| {}) });
        assert_eq!((0..1000).take_while(|_| ask()).count(), COMMANDS_COUNT_MAX);
        assert!(control.take().is_some() && ask());
        control.ask_stop();
        assert!(control.take().is_some() && !ask(), "who ends takes none");
    }
}
