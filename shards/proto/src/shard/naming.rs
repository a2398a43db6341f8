//! Names of next hops: questions out, answers in, and what has waited for them.

use super::Shard;
use crate::limits;
use crate::names::{Names, Question, Resolved};
use crate::outbox::Outbox;
use crate::time::Now;

impl Shard {
    /// How many questions [`Shard::next_name`] has to give.
    pub fn names_count(&self) -> usize {
        self.core.names.as_ref().map_or(0, Names::questions_count)
    }

    /// The next name that is asked for. Each is to be answered once by [`Shard::handle_name`].
    pub fn next_name(&mut self) -> Option<Question> {
        self.core.names.as_mut().and_then(Names::next_question)
    }

    /// Takes in what the name of the question with that number has come to. What waited for it is handled by the next
    /// [`Shard::handle_timeout`].
    pub fn handle_name(&mut self, id: u32, resolved: Resolved, now: Now) {
        self.core.name_answered(id, resolved, now);
    }

    /// Forgets what names have come to, so that each is asked for anew.
    pub fn forget_names(&mut self) {
        if let Some(names) = &mut self.core.names {
            names.forget();
        }
    }

    /// How many requests wait for names.
    pub fn parked_requests(&self) -> usize {
        self.core.names.as_ref().map_or(0, Names::parked)
    }

    /// Handles requests that have waited for names, [`limits::PARKED_PER_TURN_MAX`] at most.
    pub(super) fn handle_ready(&mut self, now: Now, out: &mut Outbox) {
        let Self { index, core } = self;
        for _ in 0..limits::PARKED_PER_TURN_MAX {
            let Some(parked) = core.names.as_mut().and_then(Names::handle_ready) else { return };
            if let Some(message) = core.scan(&parked.bytes, index) {
                core.handle(&message, None, &parked.source, now, out);
            }
            if let Some(names) = &mut core.names {
                names.has_handled();
            }
        }
    }
}
