//! Failures that were seen in the field, played on purpose: which they are, and what happens in each.

use super::ends::Expectation;
use super::{EXPIRES_S_MAX, World};
use crate::CALLS_MS;
use crate::call::Expected;
use crate::phone::{Wanted, contact_name};
use crate::store::Mood;

/// A failure that is played. Home 0 is an active node and its backup, home 1 a node alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// The store is away while phones register for the first time: what could not be published then is published later.
    FirstRegistrationsWithoutStore,
    /// The store is away: phones of the home that a call enters at are called all the same, and only once.
    LocalCallsWithoutStore,
    /// The store does what it is told and says that it did not, while phones come and go.
    StoreLosesAnswers,
    /// The active node dies while it withdraws rows: the other one withdraws the rest.
    ActiveDiesBeforeItWithdraws,
    /// Phones leave while the node that has the address cannot withdraw, and time passes: no row stays, and no live one goes.
    AddressMovesWhileBindingsEnd,
    /// A backup comes back with an empty disk while all phones register again.
    EmptyBackupDuringMassRegistration,
    /// A node alone comes back with an empty disk: what it published before is void.
    NodeComesBackEmpty,
    /// Both nodes have the address, and phones register with either.
    BothAreActive,
    /// All nodes die at once and come back, and every phone registers again.
    StormAfterRestart,
    /// A node that has come back empty is told to remove all bindings of a user before its twin tells it of any.
    AllRemovedBeforeTheTwinTells,
    /// The active node dies and with it the connections of phones: whoever calls them is told at once that they are not there,
    /// and reaches them once they have come again.
    ConnectionsEndWithTheirNode,
    /// The store is away when all nodes start, and slow when it comes: phones register and are called, and all is published.
    StoreComesAfterTheNodes,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::FirstRegistrationsWithoutStore,
        Self::LocalCallsWithoutStore,
        Self::StoreLosesAnswers,
        Self::ActiveDiesBeforeItWithdraws,
        Self::AddressMovesWhileBindingsEnd,
        Self::EmptyBackupDuringMassRegistration,
        Self::NodeComesBackEmpty,
        Self::BothAreActive,
        Self::StormAfterRestart,
        Self::AllRemovedBeforeTheTwinTells,
        Self::ConnectionsEndWithTheirNode,
        Self::StoreComesAfterTheNodes,
    ];
}

impl World {
    /// Plays it, from the start of all nodes on. Phones do nothing but what it has them do.
    pub(crate) fn play_scenario(&mut self, scenario: Scenario) {
        self.keep_still();
        if scenario == Scenario::StoreComesAfterTheNodes {
            self.store_is(Mood::Away);
        }
        self.begin();
        self.pass(2000);
        if scenario == Scenario::FirstRegistrationsWithoutStore {
            self.store_is(Mood::Away);
        }
        self.all_register(EXPIRES_S_MAX.into());
        self.pass(12_000);
        match scenario {
            Scenario::FirstRegistrationsWithoutStore
            | Scenario::LocalCallsWithoutStore
            | Scenario::StoreLosesAnswers
            | Scenario::StoreComesAfterTheNodes => self.store_fails(scenario),
            Scenario::ActiveDiesBeforeItWithdraws => {
                self.store_is(Mood::Away);
                self.some_want(Wanted::Remove);
                self.pass(1000);
                self.crash(0, false, false);
                self.hold(0, vec![1]);
                self.store_is(Mood::Good);
                self.pass(10_000);
            }
            Scenario::AddressMovesWhileBindingsEnd => {
                self.some_want(Wanted::Bind { expires_s: 15 });
                self.store_is(Mood::Away);
                self.pass(10_000);
                self.hold(0, vec![1]);
                self.pass(20_000);
                self.store_is(Mood::Good);
                self.pass(5000);
                self.hold(0, vec![0]);
            }
            Scenario::EmptyBackupDuringMassRegistration
            | Scenario::NodeComesBackEmpty
            | Scenario::AllRemovedBeforeTheTwinTells => self.come_back_empty(scenario),
            Scenario::BothAreActive => {
                self.hold(0, vec![0, 1]);
                for wanted in [Wanted::Bind { expires_s: 300 }, Wanted::Remove, Wanted::Bind { expires_s: 120 }] {
                    self.some_want(wanted);
                    self.pass(3000);
                }
                self.hold(0, vec![1]);
            }
            Scenario::ConnectionsEndWithTheirNode => self.connections_end(),
            Scenario::StormAfterRestart => {
                (0..3).for_each(|node| self.crash(node, true, false));
                self.pass(5000);
                (0..3).for_each(|node| self.start(node, 4));
                self.all_register(EXPIRES_S_MAX.into());
                self.pass(10_000);
            }
        }
    }

    /// Calls go on while their node dies, and are ended when phones have come to the other one over new connections; then that
    /// one dies as well, and no phone comes again.
    fn connections_end(&mut self) {
        self.phones.iter_mut().for_each(|phone| phone.home = 0);
        self.all_register(EXPIRES_S_MAX.into());
        self.pass(5000);
        for user in 0..self.plan.users_count {
            for contact in self.expected_of(user).called {
                self.call(user, contact.home, &contact_name(contact), Expected::Anything);
            }
        }
        self.pass(2500);
        self.crash(0, false, false);
        self.hold(0, vec![1]);
        // Who has not heard of the end of his connection hears of it by the first one.
        for _ in 0..2 {
            self.all_register(EXPIRES_S_MAX.into());
            self.pass(3000);
        }
        self.pass(20_000);
        self.start(0, 2);
        self.pass(5000);
        self.crash(1, false, false);
        self.hold(0, vec![0]);
        self.pass(3000);
        self.call_all();
        self.pass(CALLS_MS);
        self.check_calls();
        self.all_register(EXPIRES_S_MAX.into());
        self.pass(10_000);
    }

    /// The scenarios in which a node loses its disk.
    fn come_back_empty(&mut self, scenario: Scenario) {
        match scenario {
            Scenario::EmptyBackupDuringMassRegistration => {
                self.crash(1, true, true);
                self.pass(3000);
                self.start(1, 3);
                for _ in 0..4 {
                    self.all_register(EXPIRES_S_MAX.into());
                    self.pass(300);
                }
                self.pass(20_000);
                self.hold(0, vec![1]);
            }
            Scenario::NodeComesBackEmpty => {
                self.crash(2, false, true);
                self.pass(5000);
                self.start(2, 2);
                self.pass(5000);
                self.some_want(Wanted::Bind { expires_s: 300 });
                self.pass(10_000);
            }
            Scenario::AllRemovedBeforeTheTwinTells => {
                self.crash(0, false, true);
                self.hold(0, vec![1]);
                self.pass(5000);
                self.all_register(EXPIRES_S_MAX.into());
                self.pass(5000);
                self.start(0, 2);
                self.cut(0, 3000);
                self.hold(0, vec![0]);
                self.some_want(Wanted::RemoveAll);
                self.pass(10_000);
            }
            _ => {}
        }
    }

    /// The scenarios in which nothing but the store is in trouble.
    fn store_fails(&mut self, scenario: Scenario) {
        match scenario {
            Scenario::LocalCallsWithoutStore => {
                self.store_is(Mood::Away);
                self.call_locally();
                self.pass(20_000);
                self.check_calls();
            }
            Scenario::StoreLosesAnswers => {
                self.store_is(Mood::Failing);
                for wanted in [Wanted::Remove, Wanted::Bind { expires_s: 300 }, Wanted::Remove] {
                    self.some_want(wanted);
                    self.pass(4000);
                }
            }
            Scenario::StoreComesAfterTheNodes => {
                self.call_locally();
                self.pass(20_000);
                self.check_calls();
                self.store_is(Mood::Slow);
                self.pass(20_000);
            }
            _ => self.pass(20_000),
        }
    }

    fn all_register(&mut self, expires_s: u64) {
        (0..self.phones.len()).for_each(|phone| self.phone_sends(phone, Wanted::Bind { expires_s }));
    }

    /// Every second phone does something.
    fn some_want(&mut self, wanted: Wanted) {
        (0..self.phones.len()).step_by(2).for_each(|phone| self.phone_sends(phone, wanted));
    }

    /// A phone sends one REGISTER at a time.
    fn phone_sends(&mut self, phone: usize, wanted: Wanted) {
        if self.phones[phone].pending.is_none() {
            self.phone_wants(phone, wanted);
        }
    }

    /// Calls each user once where he has a contact for sure.
    fn call_locally(&mut self) {
        for user in 0..self.plan.users_count {
            let Expectation { called, perhaps, .. } = self.expected_of(user);
            let Some(first) = called.first().copied() else { continue };
            let (here, elsewhere): (Vec<_>, Vec<_>) =
                called.into_iter().partition(|contact| contact.home == first.home);
            let perhaps = perhaps.into_iter().chain(elsewhere).collect();
            let expected = Expected::Final { statuses: &[200], called: here, perhaps };
            self.call(user, first.home, &contact_name(first), expected);
        }
    }
}
