//! The nodes of the cluster as they stand in a table, and as each node knows them: what it read last, or its copy of that.
//!
//! In: rows that come to be in the table, and whether its database answers. Out: the topology that a node goes by from its
//! start or its latest reading on. The rows, what they mean and the copy are the daemon's own; the copy lies on the disk of
//! the node, and goes with it.

use sipfed_nodes::rows::{self, Row};
use sipfed_nodes::{Id, Topology, copy};

/// The only cluster.
const CLUSTER: Id = Id::ONE;
const TABLE: &str = "clusterer";

/// What a node knows.
#[derive(Clone, Debug, Default)]
struct Known {
    /// While it runs.
    topology: Option<Topology>,
    /// On its disk.
    copy: Option<Vec<u8>>,
    /// What the table told it last, for the checker.
    told: Option<Topology>,
}

/// How a node has come to know the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Table,
    Copy,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Members {
    table: Vec<Row>,
    /// The database says nothing.
    pub(crate) is_away: bool,
    /// A defect that is planted for a test of the checkers: copies stay what they were at first.
    forgets_to_keep: bool,
    by_node: Vec<Known>,
}

impl Members {
    /// An empty table, and so many nodes that know nothing.
    pub(crate) fn new(nodes_count: usize, forgets_to_keep: bool) -> Self {
        Self { table: Vec::new(), is_away: false, forgets_to_keep, by_node: vec![Known::default(); nodes_count] }
    }

    /// Somebody puts a node into the table.
    pub(crate) fn add(&mut self, number: u16, home: &str, is_seed: bool) {
        let text = |text: &str| Some(text.to_owned());
        let number = number.to_string();
        let flags = is_seed.then(|| "seed".to_owned());
        let url = Some(format!("bin:10.1.0.{number}"));
        self.table.push([
            text(&number),
            text("1"),
            text(&number),
            url,
            text("1"),
            text("3"),
            text("50"),
            text(home),
            flags,
            None,
        ]);
    }

    fn read(&self, number: u16) -> Option<Topology> {
        let id = Id::new(number.into())?;
        if self.is_away { None } else { rows::topology(&self.table, CLUSTER, id, TABLE).ok() }
    }

    /// A node starts: the table tells it the nodes, or else its copy; `None` where neither does.
    pub(crate) fn start(&mut self, node: usize, number: u16, now_s: u64) -> Option<By> {
        let by = if self.reload(node, number, now_s) { By::Table } else { By::Copy };
        if by == By::Copy {
            let (text, id) = (self.by_node[node].copy.as_ref()?, Id::new(number.into())?);
            let copied = copy::read(text, CLUSTER).ok()?;
            self.by_node[node].topology = Topology::new(CLUSTER, id, copied.nodes, "the copy").ok();
        }
        self.by_node[node].topology.is_some().then_some(by)
    }

    /// A node reads the table again; whether it could.
    pub(crate) fn reload(&mut self, node: usize, number: u16, now_s: u64) -> bool {
        let Some(read) = self.read(number) else { return false };
        let known = &mut self.by_node[node];
        if known.copy.is_none() || !self.forgets_to_keep {
            known.copy = copy::write(TABLE, &read, now_s).ok();
        }
        known.told = Some(read.clone());
        known.topology = Some(read);
        true
    }

    pub(crate) fn stop(&mut self, node: usize) {
        self.by_node[node].topology = None;
    }

    pub(crate) fn lose_disk(&mut self, node: usize) {
        self.by_node[node].copy = None;
    }

    /// The homes of the others that a running node knows.
    pub(crate) fn peers(&self, node: usize) -> Vec<String> {
        let topology = self.by_node[node].topology.iter();
        topology.flat_map(Topology::peers).map(|peer| peer.to_string()).collect()
    }

    /// Whether a running node knows another one.
    pub(crate) fn knows(&self, node: usize, other: u16) -> bool {
        let topology = self.by_node[node].topology.as_ref();
        topology
            .is_some_and(|topology| topology.nodes().iter().any(|known| known.id.get() == other && known.is_enabled))
    }

    /// Whether a running node goes by what the table told it last; one without a copy of that has forgotten it.
    pub(crate) fn is_as_told(&self, node: usize) -> bool {
        let Known { topology, told, .. } = &self.by_node[node];
        topology.is_none() || topology == told
    }

    /// Whether a running node goes by what the table says now.
    pub(crate) fn is_fresh(&self, node: usize, number: u16) -> bool {
        self.by_node[node].topology == self.read(number)
    }
}
