//! Whether a node is the active one of its home: the machine of the daemon, and a model of the thread that it lives on.
//!
//! In: what the kernel says of the address, what the hook of whoever moves it commands, what the twin claims. Out: the role
//! that is in force. What has to outlive the process is written before that, on the disk of the node ([`Kept`]), which is
//! handed in and out.

use sipfed_nodes::Id;
use sipfed_nodes::ownership::{Claim, Kept, Machine, Mode, Role, Told};
use std::time::Instant;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Owner {
    machine: Machine,
    told: Vec<Told>,
}

impl Owner {
    /// That of a node that starts with what it has kept. `has_address` is what the kernel says, which a start waits for.
    pub(crate) fn new(number: u16, mode: Mode, kept: Kept, has_address: bool) -> Self {
        let node = Id::new(number.into()).expect("nodes are numbered from 1");
        let mut machine = Machine::new(node, mode, kept);
        machine.handle_address(has_address);
        Self { machine, told: Vec::new() }
    }

    /// The kernel says whether the host has the address.
    pub(crate) fn hear_kernel(&mut self, has_address: bool) {
        self.machine.handle_address(has_address);
    }

    /// Whether the kernel has said that the host does not have the address.
    pub(crate) fn lacks_address(&self) -> bool {
        self.machine.has_address() == Some(false)
    }

    /// A hook says what the node is to be.
    pub(crate) fn obey(&mut self, is_active: bool, now: Instant) {
        self.machine.handle_command(is_active, now);
    }

    /// The twin says what it is.
    pub(crate) fn hear_twin(&mut self, node: u16, term: u64, is_active: bool) {
        if let Some(node) = Id::new(node.into()) {
            self.machine.handle_claim(Claim { node, term, is_active }, &mut self.told);
        }
    }

    /// Does what has become due.
    pub(crate) fn look(&mut self, now: Instant) {
        if self.machine.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.machine.handle_timeout(now, &mut self.told);
        }
    }

    /// Puts what has to outlive the process into `kept`, and gives the role that is in force for that.
    pub(crate) fn settle(&self, kept: &mut Kept) -> Role {
        *kept = self.machine.kept();
        self.machine.role()
    }

    /// What people were told since this was asked last.
    pub(crate) fn take_told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }
}
