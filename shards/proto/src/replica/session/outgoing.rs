//! What a node sends: its journals, their digests, and what a backup lacks.

use super::{Backup, News, Replicator, Task};
use crate::replica::end::Order;
use crate::replica::frame::{BadFrame, Frame};
use crate::replica::{Held, Stamp};
use crate::time::Now;
use std::borrow::Cow;
use std::collections::VecDeque;

/// Bytes of a frame from which on nothing more is added to it.
const PART_BYTES: usize = 64 << 10;

/// What is kept of one shard's journal.
#[derive(Debug)]
pub(super) struct Stream {
    kept_bytes_max: usize,
    kept_bytes: usize,
    parts: VecDeque<Part>,
    /// The last part that is not kept any more.
    floor: u64,
    last: u64,
    last_stamp: Stamp,
    /// The last part that nobody has to be waited for.
    released: u64,
    /// How many shards the node has.
    shards: u8,
}

#[derive(Debug)]
struct Part {
    sequence: u64,
    stamp: Stamp,
    journal: Box<[u8]>,
}

/// One shard's journal on its way to one backup.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// The last part that was sent, and that was acknowledged; `None` until the backup has said what it has.
    sent: Option<u64>,
    acked: u64,
    acked_stamp: Stamp,
    /// Since when something has been unacknowledged.
    waiting_since: Option<Now>,
    digests: Digests,
    compare_at: Option<Now>,
    /// The round of the last digests, and the latest stamp in them.
    compared: (u64, Stamp),
    /// The backup has told that it holds all that this shard did.
    is_synced: bool,
}

#[derive(Debug, Default)]
enum Digests {
    #[default]
    None,
    /// In this round.
    Asked(u64),
    /// To be sent after that part.
    After { sequence: u64, round: u64, digests: Vec<u64> },
}

impl Stream {
    pub(super) fn new(shards: u8, kept_bytes_max: usize) -> Self {
        Self {
            kept_bytes_max,
            kept_bytes: 0,
            parts: VecDeque::new(),
            floor: 0,
            last: 0,
            last_stamp: Stamp::ZERO,
            released: u64::MAX,
            shards,
        }
    }

    pub(super) fn push(&mut self, sequence: u64, stamp: Stamp, journal: Box<[u8]>) {
        self.last = sequence;
        self.last_stamp = stamp;
        self.kept_bytes += journal.len();
        self.parts.push_back(Part { sequence, stamp, journal });
        while self.kept_bytes > self.kept_bytes_max
            && let Some(part) = self.parts.pop_front()
        {
            self.kept_bytes -= part.journal.len();
            self.floor = part.sequence;
        }
    }

    fn lose(&mut self, sequence: u64, stamp: Stamp) {
        self.parts.clear();
        self.kept_bytes = 0;
        (self.floor, self.last, self.last_stamp) = (sequence, sequence, stamp);
    }

    /// The parts behind `sequence`.
    fn behind(&self, sequence: u64) -> impl Iterator<Item = &Part> {
        let from = self.parts.partition_point(|part| part.sequence <= sequence);
        self.parts.range(from..)
    }

    /// The stamp of a part: that of the latest one up to it.
    fn stamp_of(&self, sequence: u64) -> Option<Stamp> {
        if sequence >= self.last {
            return Some(self.last_stamp);
        }
        let behind = self.parts.partition_point(|part| part.sequence <= sequence);
        behind.checked_sub(1).map(|at| self.parts[at].stamp)
    }

    /// How many parts a backup has not acknowledged, and their bytes.
    pub(super) fn lag(&self, outgoing: &Outgoing) -> (u64, usize) {
        if outgoing.sent.is_none() {
            return (0, 0);
        }
        let bytes = self.behind(outgoing.acked).map(|part| part.journal.len()).sum();
        (self.last.saturating_sub(outgoing.acked), bytes)
    }
}

impl Replicator {
    /// A backup says what it has of this node's journals.
    pub(super) fn resume(&mut self, node: u16, positions: &[(u8, u64, u64)], now: Now) {
        let own = self.settings.history;
        for shard in 0..self.streams.len() {
            let has = positions.iter().find(|position| usize::from(position.0) == shard && position.1 == own);
            let (floor, last) = (self.streams[shard].floor, self.streams[shard].last);
            let resumed = has.map(|position| position.2).filter(|sequence| (floor..=last).contains(sequence));
            self.start_stream(node, shard as u8, resumed, now);
        }
        self.release();
    }

    /// Sends the journal of a shard from behind `resumed` on, or from its present end, and compares.
    fn start_stream(&mut self, node: u16, shard: u8, resumed: Option<u64>, now: Now) {
        let sequence = resumed.unwrap_or(self.streams[usize::from(shard)].last);
        let Some(backup) = self.backup_mut(node) else { return };
        let Some(outgoing) = backup.outgoing.get_mut(usize::from(shard)) else { return };
        *outgoing = Outgoing { sent: Some(sequence), acked: sequence, compare_at: Some(now), ..Outgoing::default() };
        if resumed.is_none() {
            backup.control.push_back(Frame::Start { shard, sequence }.write());
            self.news.push_back(News::Restarted { node, shard });
        }
        self.look_after_streams(now);
    }

    /// Parts of a shard could not be handed over, so that all backups have to start anew.
    pub(super) fn lost(&mut self, shard: u8, sequence: u64, stamp: Stamp) {
        self.streams[usize::from(shard)].lose(sequence, stamp);
        self.restart_those_behind();
        self.release();
    }

    /// Starts the streams anew whose next part is not kept any more.
    fn restart_those_behind(&mut self) {
        let mut behind = Vec::new();
        for backup in &self.backups {
            for (shard, (stream, outgoing)) in self.streams.iter().zip(&backup.outgoing).enumerate() {
                if outgoing.sent.is_some_and(|sent| sent < stream.floor) {
                    behind.push((backup.node, shard as u8));
                }
            }
        }
        for (node, shard) in behind {
            // Compared with the next look.
            self.start_stream(node, shard, None, Now::from_unix_ms(0));
        }
    }

    /// Asks for digests where they are due, and finds out who lags.
    pub(super) fn look_after_streams(&mut self, now: Now) {
        self.restart_those_behind();
        let timeout_ms = self.settings.ack_timeout_ms;
        let mut due = Vec::new();
        for backup in self.backups.iter_mut().filter(|backup| backup.peer.is_some()) {
            let mut is_late = false;
            for (shard, outgoing) in backup.outgoing.iter_mut().enumerate() {
                let Some(sent) = outgoing.sent else { continue };
                if sent > outgoing.acked {
                    let since = *outgoing.waiting_since.get_or_insert(now);
                    is_late |= now >= since.plus_ms(timeout_ms);
                }
                if outgoing.compare_at.is_some_and(|at| at <= now) && matches!(outgoing.digests, Digests::None) {
                    outgoing.compare_at = Some(now.plus_ms(self.settings.digest_interval_ms));
                    due.push((backup.node, shard as u8));
                }
            }
            if is_late && !backup.is_lagging {
                backup.is_lagging = true;
                self.news.push_back(News::Lagging(backup.node));
            }
        }
        for (node, shard) in due {
            let ticket = self.ticket(Task::OurDigests { node, shard }, 1);
            if let Ok(outgoing) = self.outgoing_mut(node, shard) {
                outgoing.digests = Digests::Asked(ticket);
            }
            self.orders[usize::from(shard)].push_back(Order::Digests { ticket });
        }
        self.release();
    }

    pub(super) fn our_digests(
        &mut self,
        node: u16,
        shard: u8,
        round: u64,
        (sequence, stamp): (u64, Stamp),
        digests: Vec<u64>,
    ) {
        if let Ok(outgoing) = self.outgoing_mut(node, shard)
            && matches!(outgoing.digests, Digests::Asked(asked) if asked == round)
        {
            outgoing.digests = Digests::After { sequence, round, digests };
            outgoing.compared = (round, stamp);
        }
    }

    pub(super) fn acknowledged(&mut self, node: u16, shard: u8, sequence: u64, now: Now) -> Result<(), BadFrame> {
        let stamp = self.streams.get(usize::from(shard)).and_then(|stream| stream.stamp_of(sequence));
        let outgoing = self.outgoing_mut(node, shard)?;
        if outgoing.sent.is_none_or(|sent| sequence > sent) {
            return Err(BadFrame("acknowledges what was not sent"));
        }
        outgoing.acked = outgoing.acked.max(sequence);
        outgoing.acked_stamp = stamp.unwrap_or_default().max(outgoing.acked_stamp);
        outgoing.waiting_since = (outgoing.sent > Some(outgoing.acked)).then_some(now);
        let is_settled = |outgoing: &Outgoing| outgoing.sent.is_some_and(|sent| sent == outgoing.acked);
        if let Some(backup) = self.backup_mut(node)
            && backup.is_lagging
            && backup.outgoing.iter().all(is_settled)
        {
            backup.is_lagging = false;
            self.news.push_back(News::CaughtUp(node));
        }
        self.release();
        Ok(())
    }

    /// A backup holds this of a leaf, and wants what it lacks.
    pub(super) fn give_newer(
        &mut self,
        node: u16,
        shard: u8,
        round: u64,
        leaf: u16,
        held: Vec<Held>,
    ) -> Result<(), BadFrame> {
        self.outgoing_mut(node, shard)?;
        if self.owner(leaf) != shard {
            return Err(BadFrame("names a leaf of another shard"));
        }
        let ticket = self.ticket(Task::Newer { node, shard, round }, 1);
        self.orders[usize::from(shard)].push_back(Order::Newer { ticket, leaf, held });
        Ok(())
    }

    pub(super) fn newer_told(&mut self, ticket: u64, leaf: u16, journal: &[u8], done: Option<u32>) {
        let Some(given) = self.given.get(&ticket) else { return };
        let Task::Newer { node, shard, round } = given.task else { return };
        if done.is_some() {
            self.given.remove(&ticket);
        }
        let Some(backup) = self.backup_mut(node) else { return };
        if !journal.is_empty() {
            backup.bulk.push_back(Frame::Whole { shard, round, journal: Cow::Borrowed(journal) }.write());
        }
        if let Some(count) = done {
            backup.bulk.push_back(Frame::LeafDone { shard, round, leaf, count }.write());
        }
    }

    /// The next frame for a backup, to be asked for while its link has room.
    pub fn next_frame(&mut self, node: u16) -> Option<Vec<u8>> {
        let Self { backups, streams, .. } = self;
        let backup = backups.iter_mut().find(|backup| backup.node == node && backup.is_linked)?;
        if let Some(frame) = backup.control.pop_front() {
            return Some(frame);
        }
        let Backup { outgoing, .. } = backup;
        for (shard, (stream, outgoing)) in streams.iter().zip(outgoing).enumerate() {
            if let Some(frame) = outgoing.next_frame(shard as u8, stream) {
                return Some(frame.write());
            }
        }
        backup.bulk.pop_front()
    }

    /// How much of a shard's journal nobody has to be waited for any more: all backups that keep up have it. Everything,
    /// where there is none.
    pub fn released(&self, shard: u8) -> u64 {
        self.streams[usize::from(shard)].released
    }

    /// Whether there is a backup that keeps up, so that [`Replicator::released`] says something.
    pub fn is_backed_up(&self) -> bool {
        self.backups.iter().any(Backup::keeps_up)
    }

    pub(super) fn release(&mut self) {
        for (shard, stream) in self.streams.iter_mut().enumerate() {
            let keeping_up = self.backups.iter().filter(|backup| backup.keeps_up());
            let acked = keeping_up.filter_map(|backup| backup.outgoing.get(shard)).map(|outgoing| outgoing.acked).min();
            stream.released = acked.unwrap_or(u64::MAX);
        }
    }

    /// Tells the shards what all backups have, so that they forget what was removed before.
    pub(super) fn tell_what_backups_have(&mut self) {
        for (shard, orders) in self.orders.iter_mut().enumerate() {
            let has = |backup: &Backup| backup.has_all().then(|| backup.outgoing[shard].acked_stamp);
            if let Some(Some(stamp)) = self.backups.iter().map(has).min()
                && stamp > Stamp::ZERO
            {
                orders.push_back(Order::BackupsHave(stamp));
            }
        }
    }
}

impl Backup {
    /// Whether it has what it acknowledges: a refresh of a binding that it has not been told yet leaves nothing there.
    fn keeps_up(&self) -> bool {
        self.has_all() && !self.is_lagging
    }
}

impl Outgoing {
    /// The backup holds all that was there when digests were made.
    pub(super) fn synced(&mut self, round: u64) {
        if self.compared.0 == round {
            self.acked_stamp = self.acked_stamp.max(self.compared.1);
            self.is_synced = true;
        }
    }

    /// Digests are due at that time, unless they are earlier.
    pub(super) fn compare_by(&mut self, at: Now) {
        self.compare_at = self.compare_at.map(|due| due.min(at));
    }

    pub(super) fn is_synced(&self) -> bool {
        self.is_synced
    }

    fn next_frame<'a>(&mut self, shard: u8, stream: &'a Stream) -> Option<Frame<'a>> {
        let sent = self.sent?;
        let until = match &mut self.digests {
            Digests::After { sequence, round, digests } if sent >= *sequence => {
                let (sequence, round, digests) = (*sequence, *round, std::mem::take(digests));
                self.digests = Digests::None;
                let first = crate::keys::leaves_of(shard, stream.shards).start;
                return Some(Frame::Digests { shard, sequence, round, first, digests });
            }
            Digests::After { sequence, .. } => *sequence,
            Digests::None | Digests::Asked(_) => u64::MAX,
        };
        let mut parts = stream.behind(sent).take_while(|part| part.sequence <= until);
        let first = parts.next()?;
        let (mut sequence, mut journal) = (first.sequence, Cow::Borrowed(&*first.journal));
        for part in parts {
            if journal.len() + part.journal.len() > PART_BYTES {
                break;
            }
            journal.to_mut().extend_from_slice(&part.journal);
            sequence = part.sequence;
        }
        self.sent = Some(sequence);
        Some(Frame::Part { shard, sequence, journal })
    }
}
