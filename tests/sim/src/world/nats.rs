//! What has to hold of phones behind NATs: who pings them, who reaches them, and what becomes of one that falls silent.

use super::World;
use crate::ledger::Contact;
use crate::phone::contact_name;

/// Milliseconds within which a node learns that it lost its address.
const NOTICE_MS: u64 = 100;

impl World {
    /// A node sends something to who is outside: only the active node of a home pings.
    pub(super) fn check_ping(&mut self, node: usize, bytes: &[u8]) {
        if !bytes.starts_with(b"OPTIONS ") {
            return;
        }
        let has_address = self.homes[self.nodes[node].identity.home].holders.contains(&node);
        let is_late = !has_address && self.now > self.held_until[node] + NOTICE_MS;
        if is_late || !self.stints.is_active_within(node, self.now, NOTICE_MS) {
            self.violated(format!("pings: n{node} pings and is not the active one of its home"));
        }
    }

    /// Some of the phones whose bindings end for that fall silent.
    pub(super) fn some_fall_silent(&mut self) {
        if !self.plan.ends_unanswered() {
            return;
        }
        for index in 0..self.phones.len() {
            if self.phones[index].nat.is_some() && self.draw.happens(300) {
                self.note(format_args!("p{index} falls silent"));
                self.phones[index].is_silent = true;
            }
        }
    }

    /// Whether whoever calls a contact reaches its phone for sure.
    pub(super) fn is_reached(&self, contact: Contact) -> bool {
        if self.phones[contact.phone].is_stream {
            return self.is_reached_by_flow(contact);
        }
        self.phones[contact.phone].is_reached_from(contact.home, self.homes[contact.home].addr, self.now)
    }

    /// Once all is well and pings have had their time: nobody finds a phone that has fallen silent.
    pub(crate) fn check_silent(&mut self) {
        let mut wrong = Vec::new();
        for home in 0..self.homes.len() {
            let addr = self.homes[home].addr;
            for phone in &self.phones {
                let contact = Contact { home, phone: phone.number };
                let name = format!("sip:{}@", contact_name(contact));
                let is_bound = self.nodes[self.homes[home].holders[0]]
                    .live(self.now)
                    .any(|binding| binding.uri.starts_with(name.as_bytes()));
                if phone.is_silent && is_bound {
                    wrong.push(format!("pings: home {home} still has p{}, which answers no ping", phone.number));
                }
                let since = phone.kept_open_since(home, addr, self.now).filter(|_| is_bound);
                self.facts.kept_open += u64::from(since.is_some_and(|since| since + self.plan.nat_idle_ms < self.now));
                self.facts.silent += u64::from(phone.is_silent);
            }
        }
        for what in wrong {
            self.violated(what);
        }
    }
}
