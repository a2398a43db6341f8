//! The link between the two nodes of a home: frames arrive in their order, until it is cut.
//!
//! What is under way when it is cut is lost. Each side notices by itself, sooner or later; a new link ends the old one on
//! both sides. Only so many bytes are under way at a time, those that have arrived and were not read included.

/// One side of a link.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Side {
    /// The link that this side believes to have.
    pub(crate) has: Option<u64>,
    /// Bytes on their way from here.
    pub(crate) under_way_bytes: usize,
    /// When the last frame from here arrives.
    pub(crate) last_arrives_at: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) nodes: [usize; 2],
    /// The number of the present link, or of the last one.
    pub(crate) epoch: u64,
    pub(crate) is_up: bool,
    /// It does not come back before.
    pub(crate) down_until: u64,
    pub(crate) sides: [Side; 2],
    /// By side: what its node could call when the link came up, by AoR and contact.
    pub(crate) held_at_start: [Vec<(Vec<u8>, u64)>; 2],
}

impl Link {
    pub(crate) fn new(nodes: [usize; 2]) -> Self {
        Self {
            nodes,
            epoch: 0,
            is_up: false,
            down_until: 0,
            sides: [Side::default(); 2],
            held_at_start: [Vec::new(), Vec::new()],
        }
    }

    /// The side that a node has.
    pub(crate) fn side_of(&self, node: usize) -> usize {
        usize::from(self.nodes[1] == node)
    }
}
