//! Which node of a home answers for it: what kernels and hooks say, and what has to hold of the roles that come of it.

use super::{Event, World};
use sipfed_nodes::ownership::{Mode, Told};
use sipfed_proto::replica::session::News;

/// Milliseconds after which a node knows that an address is its own, or is not.
const NOTICE_MS: u64 = 50;
/// Milliseconds that the hook of whoever moves an address takes at most.
const HOOK_MS_MAX: u64 = 1500;

impl World {
    /// The address of a home is held by these nodes from now on.
    pub(super) fn hold(&mut self, home: usize, nodes: Vec<usize>) {
        if self.homes[home].holders == nodes {
            return;
        }
        self.note(format_args!("the address of home {home} is at {nodes:?}"));
        for node in &self.homes[home].holders {
            self.held_until[*node] = self.now;
        }
        self.ledger.held_by(home, nodes.clone(), self.now);
        self.homes[home].holders = nodes;
        for node in self.homes[home].nodes.clone() {
            self.agenda.put(self.now + NOTICE_MS, Event::Kernel(node));
        }
        self.run_hooks(home);
    }

    /// Where nodes go by commands: whoever moves the address tells them.
    pub(super) fn run_hooks(&mut self, home: usize) {
        if self.plan.mode == Mode::Address {
            return;
        }
        for node in self.homes[home].nodes.clone() {
            let is_active = self.homes[home].holders.contains(&node);
            let at = self.now + self.draw.between(0, HOOK_MS_MAX);
            self.agenda.put(at, Event::Hook { node, is_active });
        }
    }

    /// The kernel of a node says whether it has the address.
    pub(super) fn kernel_says(&mut self, node: usize) {
        let has_address = self.homes[self.nodes[node].identity.home].holders.contains(&node);
        self.nodes[node].hear_kernel(has_address);
        self.look_at_role(node);
        self.turn_soon(node, self.now);
    }

    /// A hook commands a node that may not run.
    pub(super) fn hook_says(&mut self, node: usize, is_active: bool) {
        self.nodes[node].obey(is_active, self.now);
        self.look_at_role(node);
        self.turn_soon(node, self.now);
    }

    /// What a node says of its twin.
    pub(super) fn note_claim(&mut self, node: usize, news: &News) {
        if let News::Claim { state, .. } = news {
            self.stints.heard(node, state.term);
        }
    }

    /// Sees whether a node has another role, and whether it may have it.
    pub(super) fn look_at_role(&mut self, node: usize) {
        let Some(role) = self.nodes[node].role() else { return };
        let (wrong, is_new) = self.stints.is(node, role, self.nodes[node].identity.mode, self.now);
        self.facts.stints += u64::from(is_new);
        if let Some(what) = wrong {
            self.violated(format!("terms: n{node} {what}"));
        }
        let told = self.nodes[node].life.as_mut().and_then(|life| life.owner.as_mut()).map(super::Owner::take_told);
        for told in told.into_iter().flatten() {
            self.note(format_args!("n{node} {told:?}"));
            self.facts.yields += u64::from(matches!(told, Told::Yielded { .. }));
        }
    }

    /// Once all is well: whoever has the address is the active one, alone, and all nodes of its home know it and its term.
    pub(crate) fn check_roles(&mut self) {
        let mut wrong = Vec::new();
        for home in &self.homes {
            for node in &home.nodes {
                let (Some(role), Some(life)) = (self.nodes[*node].role(), &self.nodes[*node].life) else { continue };
                if role.is_active != home.holders.contains(node) {
                    wrong.push(format!("roles: n{node} is {role:?}, and the address is at {:?}", home.holders));
                }
                let twin = home.nodes.iter().find(|other| *other != node).and_then(|other| self.nodes[*other].role());
                let Some((twin, report)) = twin.zip(life.replicator.reports().first().copied()) else { continue };
                if (report.state.is_active, report.state.term) != (twin.is_active, twin.term) {
                    wrong.push(format!("roles: n{node} believes {:?}, and its twin is {twin:?}", report.state));
                }
                if twin.is_active && role.term < twin.term {
                    wrong.push(format!(
                        "roles: n{node} knows no later term than {}, and its twin is {twin:?}",
                        role.term
                    ));
                }
            }
        }
        for what in wrong {
            self.violated(what);
        }
    }
}
