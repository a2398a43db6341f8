//! Which nodes could reach one another, and since when: the checker of links and of homes that are left out.
//!
//! In: whether two nodes run and reach one another, whenever that may have changed. Out: whether they have done so, or have not
//! done so, for long enough that both must know.

/// Two nodes.
#[derive(Clone, Copy, Debug)]
struct Pair {
    is_together: bool,
    since: u64,
    /// By side: whether they were together for long enough in this life of its node.
    has_met: [bool; 2],
}

/// See the module's documentation. Times are milliseconds since the simulation began.
#[derive(Debug)]
pub(crate) struct Reach {
    pairs: Vec<Pair>,
    /// After so long two nodes that reach one another are linked, and two that do not are not.
    up_ms: u64,
    down_ms: u64,
}

impl Reach {
    /// Of so many pairs, none of which is together.
    pub(crate) fn new(pairs_count: usize, up_ms: u64, down_ms: u64) -> Self {
        let pair = Pair { is_together: false, since: 0, has_met: [false; 2] };
        Self { pairs: vec![pair; pairs_count], up_ms, down_ms }
    }

    /// Whether a pair is together now. What was `disturbed` begins anew.
    pub(crate) fn is(&mut self, pair: usize, is_together: bool, at: u64, disturbed: bool) {
        let met = self.is_up(pair, at);
        let pair = &mut self.pairs[pair];
        if met {
            pair.has_met = [true; 2];
        }
        if disturbed || pair.is_together != is_together {
            (pair.is_together, pair.since) = (is_together, at);
        }
    }

    /// The node at that side begins another life.
    pub(crate) fn forget(&mut self, pair: usize, side: usize) {
        self.pairs[pair].has_met[side] = false;
    }

    /// Whether both must be linked.
    pub(crate) fn is_up(&self, pair: usize, at: u64) -> bool {
        let Pair { is_together, since, .. } = self.pairs[pair];
        is_together && since + self.up_ms <= at
    }

    /// Whether the node at that side must take the other one for lost.
    pub(crate) fn is_lost(&self, pair: usize, side: usize, at: u64) -> bool {
        let Pair { is_together, since, has_met } = self.pairs[pair];
        !is_together && since + self.down_ms <= at && has_met[side]
    }
}
