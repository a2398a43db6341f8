//! What a node takes in: the journals of a backup, and whatever a comparison finds missing.

use super::{LEAVES_AT_ONCE, News, Replicator, SPARE_BYTES_MAX, SPARE_COUNT_MAX, Task};
use crate::limits;
use crate::replica::end::Order;
use crate::replica::frame::{BadFrame, Frame};
use crate::replica::{Position, Stamp, part};
use std::collections::VecDeque;
use std::ops::RangeInclusive;

/// Bytes of a room that is worth being used again.
const SPARE_BYTES: RangeInclusive<usize> = 4096..=SPARE_BYTES_MAX;

/// The journal of one shard of a backup.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// The last part that all shards have taken; `None` where its stream has to start anew.
    pub(super) taken: Option<u64>,
    /// Parts that are being merged, oldest first, and whether they are done.
    merging: VecDeque<(u64, bool)>,
    comparison: Comparison,
    /// Names the present comparison: what belongs to an earlier one counts no more.
    round: u64,
    /// The part after which its digests are.
    compared_after: u64,
    /// Bindings that the present comparison has brought.
    missing: u64,
    /// Whole bindings that are being merged, in orders.
    merging_whole: usize,
    /// Nothing differed, or all that did was mended, since the link came up.
    is_synced: bool,
}

/// Where a comparison of digests stands.
#[derive(Debug, Default)]
enum Comparison {
    #[default]
    None,
    /// Shards of this node are being asked for theirs.
    Asking { first: u16, theirs: Vec<u64>, ours: Vec<u64> },
    /// Leaves that differ are asked for.
    Mending { left: VecDeque<u16>, asked: usize },
}

/// How far the journals of other nodes were taken by earlier lives of this one, as its shards have kept it.
#[derive(Debug)]
pub(super) struct Resumption {
    /// By shard; `None` until it has told.
    told: Vec<Option<Vec<Position>>>,
}

impl Resumption {
    pub(super) fn new(shards: usize) -> Self {
        Self { told: vec![None; shards] }
    }

    /// Whether with this all shards have told.
    pub(super) fn told(&mut self, shard: u8, positions: Vec<Position>) -> bool {
        self.told[usize::from(shard)] = Some(positions);
        self.is_known()
    }

    pub(super) fn is_known(&self) -> bool {
        self.told.iter().all(Option::is_some)
    }

    /// The journal of a backup's shard, as far as every shard here has it.
    pub(super) fn incoming(&self, node: u16, shard: u8, history: u64) -> Incoming {
        let of = |positions: &Option<Vec<Position>>| {
            let mut positions = positions.iter().flatten();
            let is_it =
                |position: &&Position| (position.node, position.shard, position.history) == (node, shard, history);
            positions.find(is_it).map(|position| position.sequence)
        };
        // `None` of any shard is less than everything.
        Incoming { taken: self.told.iter().map(of).min().flatten(), ..Incoming::default() }
    }
}

impl Incoming {
    pub(super) fn is_synchronized(&self) -> bool {
        self.is_synced
    }

    pub(super) fn is_mending(&self) -> bool {
        !matches!(self.comparison, Comparison::None)
    }

    pub(super) fn leaves_left(&self) -> usize {
        match &self.comparison {
            Comparison::Mending { left, asked } => left.len() + asked,
            Comparison::None | Comparison::Asking { .. } => 0,
        }
    }

    /// The link is gone; what was being merged is sent again unless it is known to be done.
    pub(super) fn break_off(&mut self) {
        *self = Self { taken: self.taken, ..Self::default() };
    }
}

impl Replicator {
    /// The journal of a backup's shard starts anew behind `sequence`. The shards keep that, so that a later life of this node
    /// can resume there: what was before is compared each time.
    pub(super) fn start_anew(&mut self, node: u16, shard: u8, sequence: u64) -> Result<(), BadFrame> {
        *self.incoming_mut(node, shard)? = Incoming { taken: Some(sequence), ..Incoming::default() };
        let history = self.backup_mut(node).map_or(0, |backup| backup.history);
        let position = Position { node, shard, history, sequence };
        self.order_all(&Order::Merge { ticket: 0, position: Some(position), journal: Vec::new() });
        Ok(())
    }

    pub(super) fn take_part(&mut self, node: u16, shard: u8, sequence: u64, journal: &[u8]) -> Result<(), BadFrame> {
        let incoming = self.incoming_mut(node, shard)?;
        let last = incoming.merging.back().map(|merging| merging.0).or(incoming.taken);
        if last.is_none_or(|last| sequence <= last) {
            return Err(BadFrame("is a part that does not follow"));
        }
        incoming.merging.push_back((sequence, false));
        let history = self.backup_mut(node).map_or(0, |backup| backup.history);
        let position = Position { node, shard, history, sequence };
        let pieces = pieces(journal, self.streams.len(), Vec::new)?;
        let ticket = self.ticket(Task::Part { node, shard, sequence }, pieces.len());
        for (orders, piece) in self.orders.iter_mut().zip(pieces) {
            orders.push_back(Order::Merge { ticket, position: Some(position), journal: piece });
        }
        Ok(())
    }

    pub(super) fn take_whole(&mut self, node: u16, shard: u8, round: u64, journal: &[u8]) -> Result<(), BadFrame> {
        let spare = &mut self.spare;
        let pieces = pieces(journal, self.streams.len(), || spare.pop().unwrap_or_default())?;
        let concerned = pieces.iter().filter(|piece| !piece.is_empty()).count();
        if concerned == 0 {
            return Ok(());
        }
        let incoming = self.incoming_mut(node, shard)?;
        incoming.merging_whole += usize::from(incoming.round == round);
        let ticket = self.ticket(Task::Whole { node, shard, round }, concerned);
        for (orders, piece) in self.orders.iter_mut().zip(pieces).filter(|(_, piece)| !piece.is_empty()) {
            orders.push_back(Order::Merge { ticket, position: None, journal: piece });
        }
        Ok(())
    }

    /// Keeps the room of what a shard has merged for whole bindings that come. Rooms of parts are short.
    pub(super) fn keep_spare(&mut self, mut spent: Vec<u8>) {
        if self.spare.len() < SPARE_COUNT_MAX && SPARE_BYTES.contains(&spent.capacity()) {
            spent.clear();
            self.spare.push(spent);
        }
    }

    /// A shard has merged something. Where that meant nothing without bindings that are not here, they are asked for at once.
    pub(super) fn merged(&mut self, ticket: u64, is_good: bool, has_gaps: bool) {
        if has_gaps {
            self.ask_for_comparison(ticket);
        }
        if !is_good {
            // What it says is found missing by every comparison, and never comes.
            if let Some(Task::Part { node, shard, .. } | Task::Whole { node, shard, .. }) =
                self.given.remove(&ticket).map(|given| given.task)
            {
                self.news.push_back(News::Unreadable(node));
                self.go_on_mending(node, shard);
            }
            return;
        }
        match self.done(ticket) {
            Some(Task::Part { node, shard, sequence }) => {
                let Ok(incoming) = self.incoming_mut(node, shard) else { return };
                if let Some(merging) = incoming.merging.iter_mut().find(|merging| merging.0 == sequence) {
                    merging.1 = true;
                }
                let mut taken = None;
                while let Some((sequence, _)) = incoming.merging.pop_front_if(|merging| merging.1) {
                    taken = Some(sequence);
                }
                let Some(sequence) = taken else { return };
                incoming.taken = Some(sequence);
                if let Some(backup) = self.backup_mut(node) {
                    backup.control.push_back(Frame::Taken { shard, sequence }.write());
                }
                self.go_on_mending(node, shard);
            }
            Some(Task::Whole { node, shard, round }) => {
                let Ok(incoming) = self.incoming_mut(node, shard) else { return };
                if incoming.round != round {
                    return;
                }
                incoming.merging_whole = incoming.merging_whole.saturating_sub(1);
                self.go_on_mending(node, shard);
            }
            _ => {}
        }
    }

    /// Has a backup compare, unless a comparison with it is under way.
    fn ask_for_comparison(&mut self, ticket: u64) {
        let Some(Task::Part { node, .. }) = self.given.get(&ticket).map(|given| &given.task) else { return };
        let node = *node;
        let Some(backup) = self.backup_mut(node) else { return };
        if !backup.is_asked_to_compare && !backup.incoming.iter().any(Incoming::is_mending) {
            backup.is_asked_to_compare = true;
            backup.control.push_back(Frame::Compare.write());
        }
    }

    /// Digests of a backup's shard have come: those of this node are asked for, as they are after the same part.
    pub(super) fn compare(
        &mut self,
        node: u16,
        shard: u8,
        (round, after): (u64, u64),
        first: u16,
        theirs: Vec<u64>,
    ) -> Result<(), BadFrame> {
        let incoming = self.incoming_mut(node, shard)?;
        // What is still being mended is compared again with the next digests.
        if incoming.is_mending() {
            return Ok(());
        }
        if theirs.is_empty() {
            return Err(BadFrame("has no digest"));
        }
        let last = first + (theirs.len() - 1) as u16;
        let ours = vec![0; theirs.len()];
        if let Some(backup) = self.backup_mut(node) {
            backup.is_asked_to_compare = false;
        }
        let incoming = self.incoming_mut(node, shard)?;
        incoming.comparison = Comparison::Asking { first, theirs, ours };
        incoming.round = round;
        incoming.compared_after = after;
        incoming.missing = 0;
        incoming.merging_whole = 0;
        let (from, to) = (self.owner(first), self.owner(last));
        let ticket = self.ticket(Task::Compare { node, shard, round }, usize::from(to - from) + 1);
        for orders in &mut self.orders[usize::from(from)..=usize::from(to)] {
            orders.push_back(Order::Digests { ticket });
        }
        Ok(())
    }

    /// A shard of this node has told its digests.
    pub(super) fn digests_told(&mut self, own: u8, ticket: u64, after: (u64, Stamp), digests: Vec<u64>) {
        let Some(given) = self.given.get(&ticket) else { return };
        match given.task {
            Task::OurDigests { node, shard } => {
                self.given.remove(&ticket);
                self.our_digests(node, shard, ticket, after, digests);
            }
            Task::Compare { node, shard, round } => {
                let own_first = usize::from(crate::keys::leaves_of(own, self.streams.len() as u8).start);
                let is_last = self.done(ticket).is_some();
                let Ok(incoming) = self.incoming_mut(node, shard) else { return };
                if incoming.round != round {
                    return;
                }
                let Comparison::Asking { first, theirs, ours } = &mut incoming.comparison else { return };
                for (at, digest) in digests.into_iter().enumerate() {
                    let at = (own_first + at).checked_sub(usize::from(*first));
                    if let Some(our) = at.and_then(|at| ours.get_mut(at)) {
                        *our = digest;
                    }
                }
                if !is_last {
                    return;
                }
                let differs = theirs.iter().zip(&*ours).enumerate().filter(|(_, (their, our))| their != our);
                let left: VecDeque<u16> = differs.map(|(at, _)| *first + at as u16).collect();
                incoming.comparison = Comparison::Mending { left, asked: 0 };
                self.go_on_mending(node, shard);
            }
            _ => {}
        }
    }

    /// All that was missing of a leaf has come.
    pub(super) fn leaf_done(&mut self, node: u16, shard: u8, round: u64, count: u32) -> Result<(), BadFrame> {
        let incoming = self.incoming_mut(node, shard)?;
        if incoming.round != round {
            return Ok(());
        }
        match &mut incoming.comparison {
            Comparison::Mending { asked, .. } if *asked > 0 => *asked -= 1,
            _ => return Err(BadFrame("answers what was not asked")),
        }
        incoming.missing += u64::from(count);
        if let Some(backup) = self.backup_mut(node) {
            backup.mended += u64::from(count);
        }
        self.go_on_mending(node, shard);
        Ok(())
    }

    /// Asks for further leaves, as far as what came of earlier ones is merged and written down, or finds that none is left.
    fn go_on_mending(&mut self, node: u16, shard: u8) {
        let Ok(incoming) = self.incoming_mut(node, shard) else { return };
        let Comparison::Mending { left, asked } = &mut incoming.comparison else { return };
        let mut leaves = Vec::new();
        while *asked + incoming.merging_whole < LEAVES_AT_ONCE
            && let Some(leaf) = left.pop_front()
        {
            *asked += 1;
            leaves.push(leaf);
        }
        let (is_mended, round) = (*asked == 0 && incoming.merging_whole == 0, incoming.round);
        let after = incoming.compared_after;
        for leaf in leaves {
            debug_assert!(usize::from(leaf) < limits::LEAVES_COUNT);
            let owner = self.owner(leaf);
            let ticket = self.ticket(Task::List { node, shard, round }, 1);
            self.orders[usize::from(owner)].push_back(Order::List { ticket, leaf });
        }
        // Equal digests may owe that to parts which are merged and not written down yet.
        let is_of_it = |task: &Task| matches!(*task, Task::Part { node: of, shard: at, sequence } if (of, at) == (node, shard) && sequence <= after);
        if is_mended && !self.given.values().any(|given| is_of_it(&given.task)) {
            self.mended(node, shard);
        }
    }

    /// A comparison with a backup's shard is over, and nothing is missing any more.
    fn mended(&mut self, node: u16, shard: u8) {
        let Ok(incoming) = self.incoming_mut(node, shard) else { return };
        let (missing, round) = (std::mem::take(&mut incoming.missing), incoming.round);
        let was_synced = std::mem::replace(&mut incoming.is_synced, true);
        incoming.comparison = Comparison::None;
        let Some(backup) = self.backups.iter_mut().find(|backup| backup.node == node) else { return };
        backup.control.push_back(Frame::Synced { shard, round }.write());
        if was_synced {
            backup.divergence = missing;
            if missing > 0 {
                self.news.push_back(News::Diverged { node, bindings: missing });
            }
        } else if !backup.was_synchronized && backup.is_synchronized() {
            backup.was_synchronized = true;
            self.news.push_back(News::Synchronized { node, bindings: backup.mended });
        }
    }
}

/// The entries of a journal, by shard of `count`; `room` makes room for those of one.
fn pieces(journal: &[u8], count: usize, mut room: impl FnMut() -> Vec<u8>) -> Result<Vec<Vec<u8>>, BadFrame> {
    let mut pieces = vec![Vec::new(); count];
    let mut put = |shard: u8, run: &[u8]| {
        let piece = &mut pieces[usize::from(shard)];
        if piece.capacity() == 0 && !run.is_empty() {
            *piece = room();
        }
        piece.extend_from_slice(run);
    };
    // Neighbours are mostly of one shard: those of one leaf are.
    let (mut of, mut begun, mut at) = (0, 0, 0);
    let read = part(journal, count as u8, |shard, entry| {
        if shard != of {
            put(of, &journal[begun..at]);
            (of, begun) = (shard, at);
        }
        at += entry.len();
    });
    read.map_err(|_| BadFrame("has an entry that is cut off"))?;
    put(of, &journal[begun..at]);
    Ok(pieces)
}
