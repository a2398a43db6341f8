//! What has to hold once all is well again, and nothing is under way.

use super::{World, home_name};
use crate::call::Expected;
use crate::facts::Facts;
use crate::ledger::Contact;
use crate::node::Node;
use crate::phone::contact_name;

/// Milliseconds after which a call is answered whose phones all answer, or are known not to be there.
const ANSWER_MS_MAX: u64 = 5000;

/// A binding as both nodes of a home have to hold it.
type Held = (Vec<u8>, u64, u32, u32);

/// What has to come of a call to a user.
#[derive(Debug, Default)]
pub(super) struct Expectation {
    /// The contacts that have to be called, and those that may be.
    pub(super) called: Vec<Contact>,
    pub(super) perhaps: Vec<Contact>,
    /// Of those that may be, there is one that does not answer for sure.
    has_unreached: bool,
    /// There is one that is bound, and is not called since its connection has ended.
    has_lost: bool,
    /// There is one that was bound, or still is, and is not called.
    was_there: bool,
}

impl World {
    /// The node that has the address of a home.
    fn holder(&self, home: usize) -> usize {
        self.homes[home].holders[0]
    }

    /// Lets time pass until nothing has expired a moment ago or will in a moment, by any clock, and nothing is under way: what
    /// a passive node keeps for a while ends at any time.
    pub(crate) fn wait_for_stillness(&mut self) {
        const AROUND_S: (u32, u32) = (8, 4);
        let skew_s = (self.plan.skew_ms_max / 1000) as u32 + 1;
        for _ in 0..60 {
            let now_s = self.nodes[0].now(self.now).unix_s();
            let around = now_s - AROUND_S.0 - skew_s..now_s + AROUND_S.1 + skew_s;
            let lags =
                |node: &Node| node.life.iter().flat_map(|life| life.replicator.reports()).any(|r| r.lag_parts > 0);
            if !self.ends_s.iter().any(|end| around.contains(end)) && !self.nodes.iter().any(lags) {
                return;
            }
            self.pass(1000);
        }
    }

    /// Both nodes of each home hold the same, know it, and the store says the same.
    pub(crate) fn check_agreement(&mut self) {
        for home in 0..self.homes.len() {
            if let [a, b] = self.homes[home].nodes[..] {
                self.check_twins(a, b);
            }
            let node = self.holder(home);
            let mut here: Vec<String> =
                self.nodes[node].live(self.now).map(|b| String::from_utf8_lossy(b.aor).into_owned()).collect();
            here.sort_unstable();
            here.dedup();
            let rows = self.store.aors(&home_name(self.homes[home].addr), self.now);
            if here != rows {
                self.violated(format!("store: home {home} has {here:?}, and the store says {rows:?}"));
            }
        }
    }

    fn check_twins(&mut self, a: usize, b: usize) {
        let held = |node: usize| {
            let live = self.nodes[node].live(self.now);
            let mut held: Vec<Held> = live.map(|b| (b.aor.to_vec(), b.contact_id, b.expires_at_s, b.cseq)).collect();
            held.sort_unstable();
            held
        };
        // One whose time is just over by one of two clocks is found by the other one.
        let soon_s = self.nodes[a].now(self.now).unix_s().max(self.nodes[b].now(self.now).unix_s()) + 2;
        let of = |node: usize| held(node).into_iter().filter(|held| held.2 > soon_s).collect::<Vec<_>>();
        let (first, second) = (of(a), of(b));
        let mut wrong = Vec::new();
        if first != second {
            wrong.push(format!("twins: n{a} holds {} bindings and n{b} {}, not the same", first.len(), second.len()));
        }
        for node in [a, b] {
            let Some(life) = &self.nodes[node].life else { continue };
            let report = life.replicator.reports()[0];
            if !life.replicator.state().is_whole {
                wrong.push(format!("twins: n{node} never comes to know all: {report:?}"));
            }
            if !(report.is_connected && report.is_synchronized && report.has_all) {
                wrong.push(format!("twins: n{node} is not synchronized: {report:?}"));
            }
            if report.divergence != 0 || report.leaves_left != 0 || report.lag_parts != 0 {
                wrong.push(format!("twins: n{node} still differs: {report:?}"));
            }
        }
        for what in wrong {
            self.violated(what);
        }
    }

    /// Both hold what they say they hold, to the last digest.
    pub(crate) fn check_digests(&mut self) {
        for home in 0..self.homes.len() {
            if let [a, b] = self.homes[home].nodes[..]
                && self.nodes[a].digests() != self.nodes[b].digests()
            {
                self.violated(format!("twins: the digests of n{a} and n{b} differ"));
            }
        }
    }

    /// Fetches all bindings of all users at all homes; the answers are checked as they come.
    pub(crate) fn probe_all(&mut self) {
        for home in 0..self.homes.len() {
            for user in 0..self.plan.users_count {
                self.probe(home, user);
            }
        }
    }

    /// The contacts of a user that have to be called, and those that may be.
    pub(super) fn expected_of(&self, user: usize) -> Expectation {
        let mut expected = Expectation::default();
        for home in 0..self.homes.len() {
            let node = self.holder(home);
            for contact in self.contacts_of(user, home) {
                // The call comes a moment later.
                let is_bound = self.ledger.has_to_be_found(contact, node, self.now, self.now + 5000);
                let is_gone = self.ledger.must_not_be_found(contact, node, self.now);
                if is_bound && self.is_reached(contact) {
                    expected.called.push(contact);
                } else if !is_gone && !self.is_lost(contact) {
                    expected.perhaps.push(contact);
                    expected.has_unreached |= !self.is_reached(contact);
                } else {
                    expected.has_lost |= is_bound;
                    expected.was_there |= self.ledger.was_asked(contact);
                }
            }
        }
        expected
    }

    /// Calls every user, each call entering at some home: once with an answer where somebody is sure to answer, and once
    /// with none.
    pub(crate) fn call_all(&mut self) {
        for user in 0..self.plan.users_count {
            let expected = self.expected_of(user);
            let Expectation { called, perhaps, has_unreached, has_lost, was_there } = expected;
            self.facts.over_flows +=
                called.iter().filter(|contact| self.phones[contact.phone].is_stream).count() as u64;
            for answers in [true, false] {
                let home = self.draw.below(self.homes.len());
                let (subject, statuses): (_, &'static [u16]) = match called.first() {
                    Some(contact) if answers => (contact_name(*contact), &[200]),
                    // Who does not answer at all is waited for, and what comes of it is told.
                    Some(_) if has_unreached => ("decline".to_owned(), &[]),
                    Some(_) if was_there => ("decline".to_owned(), &[486, 480]),
                    Some(_) => ("decline".to_owned(), &[486]),
                    // Somebody of whom nothing is known for sure.
                    None if !perhaps.is_empty() => ("decline".to_owned(), &[]),
                    None if has_lost => ("decline".to_owned(), &[480, 430]),
                    // A removal is remembered for a while.
                    None if was_there => ("decline".to_owned(), &[404, 480]),
                    None => ("decline".to_owned(), &[404]),
                };
                self.facts.unreachable += u64::from(called.is_empty() && perhaps.is_empty() && has_lost);
                let expected = Expected::Final { statuses, called: called.clone(), perhaps: perhaps.clone() };
                self.call(user, home, &subject, expected);
            }
        }
    }

    /// What has come of those calls.
    pub(crate) fn check_calls(&mut self) {
        let mut wrong = Vec::new();
        for call in &self.calls {
            let Expected::Final { statuses, called, perhaps } = &call.expected else { continue };
            self.facts.calls += 1;
            self.facts.crossings += call.crossings.len() as u64;
            let named = |contacts: &[Contact]| contacts.iter().map(|c| contact_name(*c)).collect::<Vec<_>>();
            let (called, perhaps) = (named(called), named(perhaps));
            let tell = || format!("call {} of {} at home {}", call.number, call.user, call.home);
            for name in called.iter().chain(&perhaps) {
                let count = call.rung.iter().filter(|rung| *rung == name).count();
                if count > 1 || count == 0 && called.contains(name) {
                    wrong.push(format!("calls: {} came {count} times to {name}", tell()));
                }
            }
            if let Some(name) = call.rung.iter().find(|name| !called.contains(name) && !perhaps.contains(name)) {
                wrong.push(format!("calls: {} came to {name}, which is not registered", tell()));
            }
            let mut homes: Vec<usize> = call.crossings.iter().map(|crossing| crossing.0).collect();
            homes.push(call.home);
            let count = homes.len();
            homes.sort_unstable();
            homes.dedup();
            if homes.len() != count {
                wrong.push(format!("loops: {} came to a home twice: {:?}", tell(), call.crossings));
            }
            let finals: Vec<u16> = call.finals.iter().map(|of| of.0).collect();
            let is_expected = |status: &u16| statuses.is_empty() || statuses.contains(status);
            if finals.len() != 1 || !finals.iter().all(is_expected) {
                wrong.push(format!("calls: {} was answered {finals:?}, and not {statuses:?}", tell()));
            }
            let waited_ms = call.answered_at.map_or(0, |at| at - call.began_at);
            if !statuses.is_empty() && waited_ms > ANSWER_MS_MAX {
                wrong.push(format!("calls: {} was answered after {waited_ms} ms only", tell()));
            }
        }
        for what in wrong {
            self.violated(what);
        }
    }

    /// The time of everything is over: nothing is left anywhere.
    pub(crate) fn check_nothing_left(&mut self) {
        let mut wrong = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            for seat in node.life.iter().flat_map(|life| &life.seats) {
                let left = (seat.machine.bindings(), seat.machine.held_transactions(), seat.held_count());
                if left != (0, 0, 0) {
                    wrong.push(format!("limits: n{index} still has bindings, transactions, replies: {left:?}"));
                }
            }
        }
        for home in 0..self.homes.len() {
            let rows = self.store.aors(&home_name(self.homes[home].addr), self.now);
            if !rows.is_empty() {
                wrong.push(format!("store: nobody is at home {home}, and the store says {rows:?}"));
            }
        }
        for what in wrong {
            self.violated(what);
        }
    }

    /// No more of what goes by itself but nodes and links.
    pub(crate) fn end_watching(&mut self) {
        self.is_over = true;
    }

    /// What there was to check.
    pub(crate) fn facts(&self) -> Facts {
        Facts { renewed: self.store.renewed, ..self.facts }
    }

    /// How many requests of phones were acknowledged.
    pub(crate) fn acknowledged_count(&self) -> usize {
        self.ledger.acknowledged_count()
    }
}
