//! One shard's end of its log: what may be promised, and when.
//!
//! # Contract
//! In: what the machine has written down in a turn ([`sipfed_proto::Shard::journal`]) and its promises: the replies, the
//! answers to commands that say it is done, and what is reported to other nodes as merged. Out: the promises, each once what
//! it promises is durable in the configured sense. A turn makes one append for all that it has changed, before it sends
//! anything. What other nodes send can wait, and has to while [`ShardLog::has_room`] says so, or the log would come to
//! refuse phones for its sake.
//!
//! Owned by the shard's thread; the log's own threads flush, sync, and make and drop generations, and ring the shard's
//! bell when there is news. Nothing here waits for a disk.
//!
//! # When the disk does not follow
//! An append that would have to wait, or that fails, leaves what was written down in `pending`, and the promises in
//! `held`. With [`OnFailure::Refuse`] the machine answers every REGISTER with 503 from then on, so that neither grows,
//! and goes on with calls; what was pending is appended when the log takes it again, and its promises leave then. With
//! [`OnFailure::Serve`] promises leave at once, what was pending is given up, and a new generation begins when the log is
//! back, so that every refresh writes its binding whole again.
//!
//! # Generations
//! A generation lasts as long as a binding may live; one that ended that long ago holds nothing that is needed and is
//! dropped as a whole. So the log is never scanned or compacted, and holds three generations at most.
//!
//! Bounds: [`HELD_COUNT_MAX`] promises, and reports of merges, of which there are none while there is no room; `unsynced` is
//! what is appended between two syncs; `pending` is what one turn may change, what a sync has lost, and what connections
//! that end add to it.

pub(crate) mod boot;
mod pending;

use crate::link::Promise;
use pending::Pending;
use sipfed_log::{AppendError, Event, Generation, Log, Sequence};
use sipfed_proto::replica::end::Report;
use sipfed_proto::{Counters, Destination, Now, Shard, ShardIndex, limits};
use std::collections::VecDeque;
use std::path::PathBuf;

/// Promises that may wait for the disk; one more is dropped, and its phone repeats itself.
const HELD_COUNT_MAX: usize = 65_536;
/// Promises and bytes that wait for the disk up to which there is room for what other nodes send.
const WAITING_COUNT_MAX: usize = HELD_COUNT_MAX / 2;
const UNSYNCED_BYTES_MAX: usize = sipfed_log::OPERATIONS_BYTES_MAX / 2;
/// Milliseconds between two attempts to reopen a log that has failed.
const REOPEN_INTERVAL_MS: u64 = 1_000;
/// Milliseconds after which a disk that is behind is worth a line in the log.
const STALL_TOLD_MS: u128 = 1_000;
/// Seconds beyond the longest life of a binding that a generation is kept: times are rounded up to seconds.
const MARGIN_S: u32 = limits::REMOVED_REMEMBERED_S + 2;

/// How a node keeps its bindings beyond its own life.
#[derive(Clone, Debug)]
pub struct PersistenceOptions {
    /// The data directory; made when it is missing. One node at a time owns it.
    pub directory: PathBuf,
    /// What a promise survives.
    pub durability: Durability,
    /// What happens while the disk does not follow.
    pub on_failure: OnFailure,
    /// Gives up what is damaged in a log instead of refusing to start.
    pub salvage: bool,
}

/// What a promise survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The death of the process.
    Process,
    /// A loss of power: everything appended meanwhile is synced together, and promises wait for that.
    Disk,
}

/// What happens while the disk does not follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Registrations are refused with 503.
    Refuse,
    /// Registrations are accepted without being durable.
    Serve,
}

/// A promise to a phone or to the control plane.
pub(crate) enum Held {
    /// A reply to a phone.
    Message { to: Destination, bytes: Box<[u8]> },
    /// An answer to the control plane.
    Answer(Promise),
}

/// What is durable now.
pub(crate) enum Durable {
    /// It may leave.
    Promised(Held),
    /// What another node has sent was merged, which lets that node rely on it.
    Merged(Report),
}

/// A promise that waits for the disk.
struct Waiting {
    /// The entry that it waits for; `None` while that has not been appended.
    sequence: Option<Sequence>,
    promise: Durable,
}

/// See the module's documentation.
pub(crate) struct ShardLog {
    shard: ShardIndex,
    log: Log,
    on_failure: OnFailure,
    /// Seconds that a generation lasts, and that a binding may live.
    expires_s_max: u32,
    /// When the last binding that came back at the start has ended; until then nothing is dropped.
    restored_until_s: u32,
    looked_at_s: u32,
    /// The last entry that was appended.
    last: Sequence,
    pending: Pending,
    /// Entries that were appended and are not durable yet: what a failed sync loses is appended again.
    unsynced: VecDeque<(Sequence, Box<[u8]>)>,
    unsynced_bytes: usize,
    held: VecDeque<Waiting>,
    trouble: Option<Trouble>,
}

/// The log does not take what it is given.
struct Trouble {
    since: Now,
    /// Whether it has been told to the operator.
    is_told: bool,
    /// When the log is to be reopened; `None` while it may go on by itself.
    reopen_at: Option<Now>,
    /// Entries were given up meanwhile.
    has_given_up: bool,
}

impl ShardLog {
    pub(super) fn new(
        shard: ShardIndex,
        log: Log,
        on_failure: OnFailure,
        expires_s_max: u32,
        restored_until_s: u32,
    ) -> Self {
        let last = log.durable();
        Self {
            shard,
            log,
            on_failure,
            expires_s_max,
            restored_until_s,
            looked_at_s: 0,
            last,
            pending: Pending::default(),
            unsynced: VecDeque::new(),
            unsynced_bytes: 0,
            held: VecDeque::new(),
            trouble: None,
        }
    }

    /// The beginning of a turn: takes note of what the log's threads have done, and looks after the generations.
    pub(crate) fn begin(&mut self, now: Now, machine: &mut Shard) {
        while let Some(event) = self.log.poll() {
            match event {
                Event::GenerationStarted(generation) => machine.keep_journal(began(generation)),
                Event::GenerationsDropped(_) => {}
                Event::Reopened(report) => {
                    machine.keep_journal(began(report.generation));
                    self.take_back(report.last);
                }
                Event::ReopenFailed(error) => self.tell(&error.to_string()),
                Event::Failed(error) => self.fail(&error, now, machine, &mut Counters::default()),
            }
        }
        if self.looked_at_s != now.unix_s() {
            self.looked_at_s = now.unix_s();
            self.look_after_generations(now);
        }
        if let Some(at) = self.trouble.as_mut().and_then(|trouble| trouble.reopen_at.as_mut())
            && *at <= now
        {
            *at = now.plus_ms(REOPEN_INTERVAL_MS);
            // Busy means that it is under way.
            let _ = self.log.reopen();
        }
    }

    /// The log was reopened and its last entry is `last`: what was appended behind that is gone, and is pending again.
    fn take_back(&mut self, last: Sequence) {
        let lost = std::mem::take(&mut self.unsynced).into_iter().filter(|(sequence, _)| *sequence > last);
        self.pending.take_back(lost.map(|(_, entry)| entry));
        self.unsynced_bytes = 0;
        for held in self.held.iter_mut().filter(|held| held.sequence.is_some_and(|wanted| wanted > last)) {
            held.sequence = None;
        }
        self.last = last;
        if let Some(trouble) = &mut self.trouble {
            trouble.reopen_at = None;
        }
    }

    fn look_after_generations(&mut self, now: Now) {
        let (now_s, lasts_s) = (u64::from(now.unix_s()), u64::from(self.expires_s_max));
        // Busy means that something of that kind is under way already, and is looked at again a second later.
        if self.log.generation().started_at_s + lasts_s <= now_s {
            let _ = self.log.start_generation(now_s);
        }
        let generations = self.log.generations();
        let is_over = |two: &[Generation]| two[1].started_at_s + lasts_s + u64::from(MARGIN_S) <= now_s;
        let over = generations.windows(2).take_while(|two| is_over(two)).last().map(|two| two[1].number);
        if let Some(before) = over.filter(|_| u64::from(self.restored_until_s) <= now_s) {
            let _ = self.log.drop_generations_that_ended(before);
        }
    }

    /// Appends what the turn has written down; whether its promises may leave at once.
    pub(crate) fn append(&mut self, now: Now, machine: &mut Shard, counters: &mut Counters) -> bool {
        machine.take_journal(self.pending.turn());
        if !self.pending.is_empty() || self.trouble.is_some() {
            self.append_pending(now, machine, counters);
        }
        match (&self.trouble, self.on_failure) {
            (Some(_), OnFailure::Serve) => true,
            (Some(_), OnFailure::Refuse) => false,
            (None, _) => self.log.durable() >= self.last,
        }
    }

    fn append_pending(&mut self, now: Now, machine: &mut Shard, counters: &mut Counters) {
        let Self { log, pending, unsynced, unsynced_bytes, last, .. } = self;
        let appended = pending.append(|entry| {
            *last = log.append(entry)?;
            if log.durable() < *last {
                *unsynced_bytes += entry.len();
                unsynced.push_back((*last, entry.into()));
            }
            Ok(())
        });
        match appended {
            Ok(()) => {
                for held in self.held.iter_mut().rev().take_while(|held| held.sequence.is_none()) {
                    held.sequence = Some(self.last);
                }
                if let Some(trouble) = self.trouble.take() {
                    self.recover(&trouble, now, machine);
                }
            }
            Err(error) => self.fail(&error, now, machine, counters),
        }
    }

    fn recover(&mut self, trouble: &Trouble, now: Now, machine: &mut Shard) {
        machine.refuse_changes(false);
        if trouble.is_told {
            tracing::warn!(shard = self.shard.0, "the log takes registrations again");
        }
        if trouble.has_given_up {
            let _ = self.log.start_generation(u64::from(now.unix_s()));
        }
    }

    fn fail(&mut self, error: &AppendError, now: Now, machine: &mut Shard, counters: &mut Counters) {
        let is_stall = matches!(error, AppendError::Stalled);
        counters.log_stalls += u64::from(is_stall);
        counters.log_failures += u64::from(!is_stall);
        let trouble =
            self.trouble.get_or_insert(Trouble { since: now, is_told: false, reopen_at: None, has_given_up: false });
        let has_lasted = now.since(trouble.since).as_millis() >= STALL_TOLD_MS;
        if !is_stall && trouble.reopen_at.is_none() {
            trouble.reopen_at = Some(now.plus_ms(REOPEN_INTERVAL_MS));
        }
        match self.on_failure {
            OnFailure::Refuse => machine.refuse_changes(true),
            OnFailure::Serve => {
                trouble.has_given_up = true;
                self.pending.clear();
            }
        }
        if !is_stall || has_lasted {
            self.tell(&error.to_string());
        }
    }

    /// Whether the log asks for patience, so that it is worth asking again soon; also whether it has no room for what other
    /// nodes send, where that waits.
    pub(crate) fn is_behind(&mut self, waits_for_room: bool) -> bool {
        match &self.trouble {
            Some(trouble) => trouble.reopen_at.is_none(),
            // Of a sync the shard is told.
            None => waits_for_room && self.log.is_filling(),
        }
    }

    /// Whether it follows so well that it may be given what other nodes send. A log that is broken while its node goes on
    /// without takes everything, and loses it.
    pub(crate) fn has_room(&mut self) -> bool {
        match (&self.trouble, self.on_failure) {
            (Some(_), OnFailure::Refuse) => false,
            (Some(trouble), OnFailure::Serve) => trouble.reopen_at.is_some(),
            (None, _) => {
                let is_waited_for = self.held.len() >= WAITING_COUNT_MAX || self.unsynced_bytes >= UNSYNCED_BYTES_MAX;
                !is_waited_for && !self.log.is_filling()
            }
        }
    }

    /// Tells the operator, once for each trouble.
    fn tell(&mut self, what: &str) {
        let Some(trouble) = self.trouble.as_mut().filter(|trouble| !trouble.is_told) else { return };
        trouble.is_told = true;
        let meanwhile = match self.on_failure {
            OnFailure::Refuse => "registrations are refused with 503",
            OnFailure::Serve => "registrations are accepted and would not survive a restart",
        };
        tracing::error!(shard = self.shard.0, reason = what, meanwhile, "the log does not take registrations");
    }

    /// Keeps a promise of this turn until it may leave; `false` when too many wait.
    pub(crate) fn hold(&mut self, held: Held) -> bool {
        if self.held.len() >= HELD_COUNT_MAX {
            return false;
        }
        self.wait_for_last(Durable::Promised(held));
        true
    }

    /// Keeps the report of a merge of this turn until what was merged is durable. There was room for it.
    pub(crate) fn hold_merged(&mut self, report: Report) {
        self.wait_for_last(Durable::Merged(report));
    }

    fn wait_for_last(&mut self, promise: Durable) {
        let sequence = self.trouble.is_none().then_some(self.last);
        self.held.push_back(Waiting { sequence, promise });
    }

    /// Gives what is durable by now to `leave`.
    pub(crate) fn release(&mut self, mut leave: impl FnMut(Durable)) {
        let durable = self.log.durable();
        while let Some((_, entry)) = self.unsynced.pop_front_if(|(sequence, _)| *sequence <= durable) {
            self.unsynced_bytes -= entry.len();
        }
        let may_leave = |waiting: &Waiting| waiting.sequence.is_some_and(|wanted| wanted <= durable);
        while self.held.front().is_some_and(may_leave) {
            let Some(waiting) = self.held.pop_front() else { return };
            leave(waiting.promise);
        }
    }

    /// What the log has done.
    pub(crate) fn statistics(&self) -> sipfed_log::Statistics {
        self.log.statistics()
    }

    /// Syncs and closes the log.
    pub(crate) fn close(self) {
        if let Err(error) = self.log.close() {
            tracing::error!(shard = self.shard.0, reason = error.to_string(), "the log was not closed");
        }
    }
}

/// When a generation began, as the machine is told it.
fn began(generation: Generation) -> Now {
    Now::from_unix_ms(generation.started_at_s * 1000)
}
