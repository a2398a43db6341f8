//! Whether this node is the active one of its home. Pure: in comes what the kernel says of the address, what is commanded
//! and what a twin claims, with the time; out comes the role, what is to be kept, and what is to be told.
//!
//! A *term* numbers the times at which a node of the home became active; each is greater than all that were known before, so
//! that of two nodes that have both been active the one with the greater term was so later. What is kept has to be durable
//! before the role that goes with it is in force: the same term is then never used twice.
//!
//! - [`Mode::Address`]: active exactly while the host has the address. A command is recorded, and told where it contradicts
//!   the kernel for longer than [`DOUBT`]: a hook of keepalived runs at about the moment at which the address moves. Two that
//!   have the address both stay active, which is told.
//! - [`Mode::Command`]: active from a command to the next. A restart resumes the term that was, and claims nothing anew. Of
//!   two that are active, the one with the smaller term becomes passive, of equal ones that with the greater number.

use crate::topology::Id;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How long a command and the kernel may contradict each other before it is told.
const DOUBT: Duration = Duration::from_secs(1);

/// What decides whether a node is active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Whether the host has the address.
    Address,
    /// Commands.
    Command,
}

impl Mode {
    /// Its word in the file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Command => "command",
        }
    }
}

/// What a node is, and since which term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    /// Whether it answers for its home.
    pub is_active: bool,
    /// The one in which it is active; of a passive node, the greatest that it knows.
    pub term: u64,
}

impl Role {
    /// That of a node without twins.
    pub const ALONE: Self = Self { is_active: true, term: 0 };
    /// That of a node that does not know yet.
    pub const UNKNOWN: Self = Self { is_active: false, term: 0 };
}

/// What a twin says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which one.
    pub node: Id,
    /// The term in which it is active, or the greatest that it knows.
    pub term: u64,
    /// Whether it takes itself for the active one.
    pub is_active: bool,
}

/// What outlives the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The greatest term that is known, of whichever node.
    pub known_term: u64,
    /// The last one of this node.
    pub own_term: u64,
    /// What was commanded last.
    pub commanded: Option<bool>,
}

/// What has come to pass and is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// A command says otherwise than the kernel, and the kernel counts.
    Contradiction {
        /// What was commanded.
        commanded: bool,
    },
    /// A twin is active as well.
    SplitBrain {
        /// Which one.
        node: Id,
        /// Its term.
        term: u64,
    },
    /// No twin is active any more while this node is.
    Healed,
    /// This node has become passive, since that twin is active in a later term.
    Yielded {
        /// Which one.
        node: Id,
        /// Its term.
        term: u64,
    },
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Machine {
    node: Id,
    mode: Mode,
    kept: Kept,
    is_active: bool,
    has_address: Option<bool>,
    /// When a command that contradicts the kernel is to be told.
    doubt_at: Option<Instant>,
    /// Twins that are active while this node is.
    rivals: BTreeSet<Id>,
    splits: u64,
}

impl Machine {
    /// The machine of a node that has kept this.
    pub fn new(node: Id, mode: Mode, kept: Kept) -> Self {
        let is_active = mode == Mode::Command && kept.commanded == Some(true);
        Self { node, mode, kept, is_active, has_address: None, doubt_at: None, rivals: BTreeSet::new(), splits: 0 }
    }

    /// What the node is, once [`Machine::kept`] is durable.
    pub fn role(&self) -> Role {
        let term = if self.is_active { self.kept.own_term } else { self.kept.known_term };
        Role { is_active: self.is_active, term }
    }

    /// What has to be durable before [`Machine::role`] is in force.
    pub fn kept(&self) -> Kept {
        self.kept
    }

    /// Whether the host has the address; `None` until the kernel has said so.
    pub fn has_address(&self) -> Option<bool> {
        self.has_address
    }

    /// How often a twin was found active while this node was.
    pub fn splits(&self) -> u64 {
        self.splits
    }

    /// The host has the address from now on, or has it no more.
    pub fn handle_address(&mut self, has_address: bool) {
        self.has_address = Some(has_address);
        if self.mode == Mode::Address {
            self.become_active(has_address);
        }
    }

    /// Somebody wants the node to be active, or to be passive.
    pub fn handle_command(&mut self, is_active: bool, now: Instant) {
        self.kept.commanded = Some(is_active);
        match self.mode {
            Mode::Address => self.doubt_at = (self.has_address == Some(!is_active)).then(|| now + DOUBT),
            Mode::Command => self.become_active(is_active),
        }
    }

    /// A twin says what it is.
    pub fn handle_claim(&mut self, claim: Claim, told: &mut Vec<Told>) {
        let Claim { node, term, is_active } = claim;
        if node == self.node {
            return;
        }
        self.kept.known_term = self.kept.known_term.max(term);
        if !self.is_active {
            return;
        }
        if !is_active {
            if self.rivals.remove(&node) && self.rivals.is_empty() {
                told.push(Told::Healed);
            }
            return;
        }
        if self.rivals.insert(node) {
            self.splits += 1;
            told.push(Told::SplitBrain { node, term });
        }
        if self.mode == Mode::Command && (term, Reverse(node)) > (self.kept.own_term, Reverse(self.node)) {
            // It stays so after a restart, which would otherwise contest what has been settled.
            self.kept.commanded = Some(false);
            self.become_active(false);
            told.push(Told::Yielded { node, term });
        }
    }

    /// When [`Machine::handle_timeout`] is owed; `None` while nothing waits.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.doubt_at
    }

    /// Tells what has been contradicted for long enough.
    pub fn handle_timeout(&mut self, now: Instant, told: &mut Vec<Told>) {
        if self.doubt_at.is_some_and(|at| at <= now) {
            self.doubt_at = None;
            if let Some(commanded) = self.kept.commanded.filter(|commanded| self.has_address == Some(!commanded)) {
                told.push(Told::Contradiction { commanded });
            }
        }
    }

    fn become_active(&mut self, is_active: bool) {
        if is_active && !self.is_active {
            self.kept.known_term = self.kept.known_term.saturating_add(1);
            self.kept.own_term = self.kept.known_term;
        }
        if !is_active {
            self.rivals.clear();
        }
        self.is_active = is_active;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> Id {
        Id::new(number).unwrap()
    }

    fn machine(mode: Mode) -> Machine {
        Machine::new(id(1), mode, Kept::default())
    }

    fn claim(machine: &mut Machine, node: u64, term: u64, is_active: bool) -> Vec<Told> {
        let mut told = Vec::new();
        machine.handle_claim(Claim { node: id(node), term, is_active }, &mut told);
        told
    }

    const fn active(term: u64) -> Role {
        Role { is_active: true, term }
    }

    const fn passive(term: u64) -> Role {
        Role { is_active: false, term }
    }

    #[test]
    fn a_node_is_active_exactly_while_it_has_the_address_and_each_time_in_a_later_term() {
        let mut machine = machine(Mode::Address);
        assert_eq!((machine.role(), machine.has_address()), (passive(0), None));
        for (has_address, role) in
            [(false, passive(0)), (true, active(1)), (true, active(1)), (false, passive(1)), (true, active(2))]
        {
            machine.handle_address(has_address);
            assert_eq!(machine.role(), role);
        }
        claim(&mut machine, 2, 7, false);
        assert_eq!(machine.role(), active(2), "the term of its own");
        machine.handle_address(false);
        assert_eq!(machine.role(), passive(7));
        machine.handle_address(true);
        assert_eq!(machine.role(), active(8));
        // After a restart none of them is used again.
        let mut again = Machine::new(id(1), Mode::Address, machine.kept());
        assert_eq!(again.role(), passive(8));
        again.handle_address(true);
        assert_eq!(again.role(), active(9));
    }

    #[test]
    fn a_command_that_contradicts_the_kernel_is_told_unless_the_kernel_follows_soon() {
        let mut machine = machine(Mode::Address);
        let (now, mut told) = (Instant::now(), Vec::new());
        machine.handle_command(true, now);
        assert_eq!(machine.next_deadline(), None, "nobody knows yet whether it contradicts");
        machine.handle_address(false);
        // A hook that runs just before the address is there.
        machine.handle_command(true, now);
        assert_eq!((machine.role(), machine.next_deadline()), (passive(0), Some(now + DOUBT)));
        machine.handle_address(true);
        machine.handle_timeout(now + DOUBT, &mut told);
        assert_eq!((machine.next_deadline(), &*told), (None, &[][..]));
        machine.handle_command(false, now);
        machine.handle_timeout(now, &mut told);
        assert_eq!(told, [], "not yet");
        machine.handle_timeout(now + DOUBT, &mut told);
        assert_eq!(told, [Told::Contradiction { commanded: false }]);
        assert_eq!((machine.role(), machine.kept().commanded), (active(1), Some(false)));
        // One that agrees ends the doubt.
        machine.handle_command(false, now);
        machine.handle_command(true, now);
        assert_eq!(machine.next_deadline(), None);
    }

    #[test]
    fn two_that_have_the_address_stay_active_and_that_is_told_once() {
        let mut machine = machine(Mode::Address);
        machine.handle_address(true);
        assert_eq!(claim(&mut machine, 2, 9, true), [Told::SplitBrain { node: id(2), term: 9 }]);
        assert_eq!(claim(&mut machine, 2, 9, true), []);
        assert_eq!(claim(&mut machine, 3, 8, true), [Told::SplitBrain { node: id(3), term: 8 }]);
        assert_eq!(claim(&mut machine, 3, 8, false), []);
        assert_eq!(claim(&mut machine, 2, 9, false), [Told::Healed]);
        assert_eq!((machine.role(), machine.splits()), (active(1), 2));
        assert_eq!(claim(&mut machine, 2, 10, true).len(), 1, "it is another one");
        machine.handle_address(false);
        assert_eq!(claim(&mut machine, 2, 10, true), [], "a passive node has no rival");
        assert_eq!(claim(&mut machine, 1, 99, true), [], "nor is a node its own");
        assert_eq!((machine.role(), machine.splits()), (passive(10), 3));
    }

    #[test]
    fn commands_make_a_node_active_and_a_restart_resumes_its_term() {
        let mut machine = machine(Mode::Command);
        machine.handle_address(true);
        assert_eq!(machine.role(), passive(0), "the address alone does not");
        machine.handle_command(true, Instant::now());
        machine.handle_command(true, Instant::now());
        machine.handle_address(false);
        assert_eq!(machine.role(), active(1));
        claim(&mut machine, 2, 5, false);
        let again = Machine::new(id(1), Mode::Command, machine.kept());
        assert_eq!(again.role(), active(1));
        machine.handle_command(false, Instant::now());
        assert_eq!(machine.role(), passive(5));
        assert_eq!(Machine::new(id(1), Mode::Command, machine.kept()).role(), passive(5));
    }

    #[test]
    fn of_two_that_are_active_by_command_the_smaller_term_and_then_the_greater_number_yields() {
        for (node, term, yields) in [(2, 0, false), (2, 1, false), (2, 2, true)] {
            let mut machine = machine(Mode::Command);
            machine.handle_command(true, Instant::now());
            let told = claim(&mut machine, node, term, true);
            assert_eq!(told.contains(&Told::Yielded { node: id(node), term }), yields, "{told:?}");
            assert_eq!((machine.role().is_active, machine.splits()), (!yields, 1));
            let again = Machine::new(id(1), Mode::Command, machine.kept());
            assert_eq!(again.role().is_active, !yields, "a restart contests nothing that was settled");
        }
        let mut greater = Machine::new(id(3), Mode::Command, Kept::default());
        greater.handle_command(true, Instant::now());
        claim(&mut greater, 2, 1, true);
        assert_eq!(greater.role(), passive(1));
    }

    #[test]
    fn terms_end_at_the_greatest_number_and_do_not_begin_anew() {
        let mut machine = machine(Mode::Address);
        claim(&mut machine, 2, u64::MAX, false);
        machine.handle_address(true);
        assert_eq!(machine.role(), active(u64::MAX));
    }
}
