//! When the phones of a record are pinged, as far as its deadline and what is kept of them go; [`crate::nat`] does the rest.

use super::health::Health;
use super::op::Ping;
use super::table::{Location, RecordId};
use crate::time::Now;
use crate::wheel::{Due, Wheel};

impl Location {
    /// Has [`Due::Ping`] of the record come at its next turn, where one of its bindings is pinged and it does not wait for
    /// that already.
    pub(super) fn await_ping(&mut self, id: RecordId, wheel: &mut Wheel) {
        let Some(slot) = self.records.get(id.0).filter(|slot| slot.ping_timer.is_none()) else { return };
        let is_pinged = slot.record.bindings().any(|b| b.flags().ping() != Ping::None && !b.flags().removed());
        if is_pinged && let Some(at) = self.intervals.rhythm(&slot.record).next_turn(slot.record.hash(), wheel.now()) {
            self.ping_at(id, at, false, wheel);
        }
    }

    /// The record's [`Due::Ping`] has come; whether with a place in the budget.
    pub(crate) fn ping_has_come(&mut self, id: RecordId) -> bool {
        self.records.get_mut(id.0).is_some_and(|slot| {
            slot.ping_timer = None;
            slot.has_ping_place
        })
    }

    /// Has it come at `at`; it must not be waited for.
    pub(crate) fn ping_at(&mut self, id: RecordId, at: Now, has_place: bool, wheel: &mut Wheel) {
        if let Some(slot) = self.records.get_mut(id.0) {
            debug_assert!(slot.ping_timer.is_none(), "one at a time");
            slot.ping_timer = Some(wheel.schedule(Due::Ping(id.0), at));
            slot.has_ping_place = has_place;
        }
    }

    /// Notes how the phone of a binding stands.
    pub(crate) fn set_health(&mut self, id: RecordId, contact_id: u64, health: Health) {
        if let Some(slot) = self.records.get_mut(id.0) {
            slot.record.set_health(contact_id, health);
        }
    }
}
