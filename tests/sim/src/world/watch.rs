//! What has to hold at any time.

use super::{Event, World};
use crate::ledger::Contact;
use crate::node::ORDERS_COUNT_MAX;
use crate::phone::contact_name;
use sipfed_nodes::ownership::Mode;
use std::collections::BTreeSet;

/// Milliseconds within which a node learns that it lost its address.
const NOTICE_MS: u64 = 100;
/// Bytes by which what a backup lacks may exceed what is kept for it: one part.
const PART_BYTES_MAX: usize = 300_000;

impl World {
    /// A node has answered whether a contact is bound.
    pub(super) fn check_contact(&mut self, contact: Contact, node: usize, as_of: u64, is_found: bool) {
        if is_found && self.ledger.must_not_be_found(contact, node, as_of) {
            let what = format!("removed: n{node} finds {}: {}", contact_name(contact), self.ledger.tell(contact));
            self.violated(what);
        } else if !is_found && self.ledger.has_to_be_found(contact, node, as_of, self.now) {
            let what =
                format!("acknowledged: n{node} does not find {}: {}", contact_name(contact), self.ledger.tell(contact));
            self.violated(what);
        } else if is_found {
            self.facts.found += u64::from(self.ledger.has_to_be_found(contact, node, as_of, self.now));
        } else {
            self.facts.absent += u64::from(self.ledger.must_not_be_found(contact, node, as_of));
        }
    }

    /// A node writes to the store.
    pub(super) fn check_publisher(&mut self, node: usize) {
        let home = &self.homes[self.nodes[node].identity.home];
        let is_by_address = self.plan.mode == Mode::Address;
        if is_by_address && !home.holders.contains(&node) && self.now > self.held_until[node] + NOTICE_MS {
            self.violated(format!("publishes: n{node} writes to the store and is not the active one of its home"));
        }
        if !self.stints.is_active_within(node, self.now, NOTICE_MS) {
            self.violated(format!("publishes: n{node} writes to the store and is passive"));
        }
    }

    /// A node says that it was told all by its twin. What it lacks of that is missing, unless it remembers a removal that is
    /// later: one of all bindings of their AoR, which the twin may not have heard of yet.
    pub(super) fn check_whole(&mut self, node: usize) {
        self.facts.whole += 1;
        let Some(link) = self.link_of(node).map(|index| &self.links[index]) else { return };
        let other = 1 - link.side_of(node);
        let twin = link.nodes[other];
        let soon_s = self.nodes[node].now(self.now + 2 * self.plan.skew_ms_max + 3000).unix_s();
        let (own, theirs) = (self.nodes[node].held(), self.nodes[twin].held());
        let still = self.nodes[twin].live(self.now).filter(|binding| binding.expires_at_s > soon_s);
        let still: BTreeSet<(&[u8], u64)> = still.map(|binding| (binding.aor, binding.contact_id)).collect();
        let is_missing = |contact_id: u64| {
            let Some((leaf, of_twin)) = theirs.iter().find(|(_, held)| held.contact_id == contact_id) else {
                return false;
            };
            let mut known = own.iter().filter(|(of, _)| of == leaf).map(|(_, held)| held);
            !known.any(|held| held.contact_id == contact_id || held.is_removed && held.stamp > of_twin.stamp)
        };
        let mut before = link.held_at_start[other].iter();
        let missing = before.find(|(aor, id)| still.contains(&(&**aor, *id)) && is_missing(*id));
        if let Some((aor, _)) = missing {
            let aor = String::from_utf8_lossy(aor).into_owned();
            self.violated(format!("whole: n{node} says that it knows all and lacks a binding of {aor}"));
        }
    }

    /// Looks at queues and memory, and at whether twins hold the same.
    pub(super) fn watch(&mut self) {
        if !self.is_over {
            self.agenda.put(self.now + 500, Event::Watch);
        }
        for home in 0..self.homes.len() {
            if let [a, b] = self.homes[home].nodes[..]
                && self.is_running(a)
                && self.is_running(b)
                && self.hold_the_same(home, [a, b])
            {
                self.ledger.are_equal(home, self.now);
            }
        }
        for node in 0..self.nodes.len() {
            if let Some(what) = self.excess_of(node) {
                self.violated(format!("limits: n{node} has {what}"));
            }
            self.check_health(node);
        }
    }

    /// Whether two nodes of a home hold the same; looked at only where either may hold something else than before.
    fn hold_the_same(&mut self, home: usize, nodes: [usize; 2]) -> bool {
        let versions = nodes.map(|node| self.nodes[node].version);
        if self.same[home].0 != versions {
            let [first, second] = nodes.map(|node| self.nodes[node].digests());
            self.same[home] = (versions, first == second);
        }
        self.same[home].1
    }

    fn excess_of(&self, index: usize) -> Option<String> {
        let node = &self.nodes[index];
        let life = node.life.as_ref()?;
        // Of each user what stands for the removal of all may be remembered as well.
        let contacts = self.phones.len() + self.plan.users_count;
        for seat in &life.seats {
            let bounds = [
                ("bindings", seat.machine.bindings(), contacts),
                ("orders that wait", seat.orders.len(), ORDERS_COUNT_MAX),
                ("replies that wait", seat.held_count(), 2000),
                ("changes that wait", seat.machine.changes_count(), 2 * self.plan.users_count),
                ("transactions", seat.machine.held_transactions(), 20_000),
            ];
            if let Some((what, count, _)) = bounds.iter().find(|(_, count, most)| count > most) {
                return Some(format!("{count} {what}"));
            }
        }
        for report in life.replicator.reports() {
            if report.lag_bytes > self.plan.kept_bytes.max(1) * life.seats.len() + PART_BYTES_MAX {
                return Some(format!("{} bytes that a backup lacks", report.lag_bytes));
            }
        }
        // One that changes again while it is written waits twice.
        let waiting = self.keepers.waiting_count(index);
        if waiting > 2 * self.plan.users_count as u64 {
            return Some(format!("{waiting} rows that wait to be written"));
        }
        (node.generations_count() > 4).then(|| format!("{} generations of its log", node.generations_count()))
    }
}
