//! Nodes learn of one another from a table: at their start, or from their copy of it, and when they are told to read it again.

use super::{Defect, Event, World, home_name};
use crate::members::By;

/// Milliseconds after which a node that knows nobody is started again.
const START_AGAIN_MS: u64 = 2000;
/// Milliseconds after which an operator has a node read the table again that could not.
const RELOAD_AGAIN_MS: u64 = 7000;

impl World {
    /// Puts the nodes of a home into the table.
    fn provision(&mut self, home: usize) {
        for node in self.homes[home].nodes.clone() {
            let identity = &self.nodes[node].identity;
            self.members.add(identity.number, &home_name(self.homes[home].addr), identity.is_seed);
        }
    }

    /// The homes that are there from the start are in the table; one may come later.
    pub(super) fn provision_first(&mut self) {
        let count = self.homes.len();
        let joins_at = self.plan.joins_at.filter(|_| count > 2);
        (0..count - usize::from(joins_at.is_some())).for_each(|home| self.provision(home));
        if let Some(at) = joins_at {
            self.agenda.put(at, Event::Join(count - 1));
            self.latecomer = Some(count - 1);
        }
    }

    /// Whether a home is not in the table yet.
    pub(super) fn is_to_come(&self, home: usize) -> bool {
        self.latecomer == Some(home)
    }

    /// A home comes to be: its nodes are in the table and start, and the others are told to read it again.
    pub(super) fn join(&mut self, home: usize) {
        if !self.is_to_come(home) {
            return;
        }
        self.latecomer = None;
        self.note(format_args!("home {home} joins"));
        self.facts.joins += 1;
        self.provision(home);
        for node in self.homes[home].nodes.clone() {
            let shards = self.draw.between(1, 4) as u8;
            self.start(node, shards);
        }
        for node in 0..self.nodes.len() {
            let at = self.now + self.draw.between(0, 5000);
            self.agenda.put(at, Event::Reload(node));
        }
    }

    /// Brings in who has not joined yet, and has everybody read the table.
    pub(super) fn join_all(&mut self) {
        self.members.is_away = false;
        if let Some(home) = self.latecomer {
            self.join(home);
        }
        for node in 0..self.nodes.len() {
            self.agenda.put(self.now, Event::Reload(node));
        }
    }

    /// A node that starts learns who the others are; whether it does, and otherwise it is started again later.
    pub(super) fn learn_nodes(&mut self, node: usize, shards: u8) -> bool {
        let number = self.nodes[node].identity.number;
        let by = self.members.start(node, number, self.now / 1000);
        match by {
            None => {
                self.note(format_args!("n{node} knows no nodes"));
                self.agenda.put(self.now + START_AGAIN_MS, Event::Start { node, shards });
            }
            Some(By::Copy) => {
                self.facts.copies += 1;
                self.note(format_args!("n{node} goes by its copy of the table"));
                // Somebody has it read the table once that is there.
                self.agenda.put(self.now + RELOAD_AGAIN_MS, Event::Reload(node));
            }
            Some(By::Table) => {}
        }
        if by.is_some() && !self.members.is_as_told(node) {
            self.violated(format!("nodes: n{node} starts with other nodes than the table told it last"));
        }
        by.is_some()
    }

    /// The homes of others that a node is started with.
    pub(super) fn peers_of(&self, node: usize) -> Vec<String> {
        if self.defect == Defect::PeersUnknown { Vec::new() } else { self.members.peers(node) }
    }

    /// A node is told to read the table again.
    pub(super) fn reload(&mut self, node: usize) {
        if !self.is_running(node) {
            return;
        }
        let number = self.nodes[node].identity.number;
        if !self.members.reload(node, number, self.now / 1000) {
            return self.agenda.put(self.now + RELOAD_AGAIN_MS, Event::Reload(node));
        }
        let peers = self.peers_of(node);
        self.note(format_args!("n{node} has read the table: {peers:?}"));
        self.keepers.send_peers(node, peers.into_iter().map(Into::into).collect());
        self.dial_known(node);
    }

    /// Once all is well: everybody goes by what the table says.
    pub(crate) fn check_nodes(&mut self) {
        for node in 0..self.nodes.len() {
            if !self.members.is_fresh(node, self.nodes[node].identity.number) {
                self.violated(format!("nodes: n{node} does not go by what the table says"));
            }
        }
    }
}
