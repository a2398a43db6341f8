//! Which nodes a cluster has, and what that means for one of them. Pure: rows and keys come in, a valid topology or
//! everything that is wrong with them comes out.

use crate::address::{BinAddress, SipAddress};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

/// Nodes of one cluster, as in OpenSIPS.
pub const NODES_COUNT_MAX: usize = 128;
/// Clusters of one table, as in OpenSIPS.
pub const CLUSTERS_COUNT_MAX: usize = 64;

/// The number of a node or of a cluster; from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Id(NonZeroU16);

impl Id {
    /// The greatest one.
    pub const MAX: u64 = u16::MAX as u64;
    /// The first one.
    pub const ONE: Self = Self(NonZeroU16::MIN);

    /// Of a number; `None` for 0 and for what is above [`Id::MAX`].
    pub fn new(number: u64) -> Option<Self> {
        u16::try_from(number).ok().and_then(NonZeroU16::new).map(Self)
    }

    /// As a number.
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Id {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A node of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// OpenSIPS's `node_id`.
    pub id: Id,
    /// Where other nodes reach it for what is between nodes.
    pub url: BinAddress,
    /// Whether it takes part: OpenSIPS's `state`.
    pub is_enabled: bool,
    /// How many pings in a row it may miss: OpenSIPS's column of that name.
    pub no_ping_retries: u32,
    /// Which way to it is preferred: OpenSIPS's column of that name.
    pub priority: u32,
    /// The address of its SIP listener, or that of the pair that it belongs to: its home.
    pub sip_addr: SipAddress,
    /// Whether it may begin with nothing, without a node that gives it its bindings.
    pub is_seed: bool,
    /// For people.
    pub description: Option<String>,
    /// The number of its row, where it stands in a table.
    pub db_id: Option<u64>,
}

/// One thing that is wrong with a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong, and where.
    pub what: String,
    /// What would be right.
    pub right: String,
    /// The node that is meant, by its place in the list, and the column.
    pub at: Option<(usize, &'static str)>,
}

impl Fault {
    /// One that is of no node in particular.
    pub fn new(what: impl Into<String>, right: impl Into<String>) -> Self {
        Self { what: what.into(), right: right.into(), at: None }
    }

    fn at(self, index: usize, column: &'static str) -> Self {
        Self { at: Some((index, column)), ..self }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.right)
    }
}

/// The nodes of a cluster, of which one is this node. Valid from its making on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    cluster_id: Id,
    current_id: Id,
    /// In the order of their numbers.
    nodes: Vec<Node>,
}

impl Topology {
    /// `source` is where the nodes stand, as a text for people: "the table clusterer".
    pub fn new(cluster_id: Id, current_id: Id, mut nodes: Vec<Node>, source: &str) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            if nodes[..index].iter().any(|before| before.id == node.id) {
                let what = format!("{source} names node_id {} of cluster {cluster_id} twice", node.id);
                let right = "give one of the two another node_id, or remove it";
                faults.push(Fault::new(what, right).at(index, "node_id"));
            }
        }
        for (index, node) in nodes.iter().enumerate() {
            let (home, text) = (node.sip_addr, node.sip_addr.to_string());
            let is_otherwise = |other: &&Node| other.sip_addr.is_same(home) && other.sip_addr.to_string() != text;
            // What is published is the text.
            if let Some(other) = nodes[..index].iter().find(is_otherwise) {
                let what = format!(
                    "{source} has the sip_addr of nodes {} and {} of cluster {cluster_id} in two forms of one address: {} \
                     and {text}",
                    other.id, node.id, other.sip_addr
                );
                faults.push(Fault::new(what, "write both alike").at(index, "sip_addr"));
            }
        }
        if nodes.len() > NODES_COUNT_MAX {
            let what = format!("{source} has {} nodes of cluster {cluster_id}", nodes.len());
            faults.push(Fault::new(what, format!("at most {NODES_COUNT_MAX} can be in a cluster; remove some")));
        }
        faults.extend(missing(cluster_id, current_id, &nodes, source));
        if faults.is_empty() {
            nodes.sort_by_key(|node| node.id);
            Ok(Self { cluster_id, current_id, nodes })
        } else {
            Err(faults)
        }
    }

    /// Those of the nodes that are wanted, and this node.
    pub(crate) fn retain(&self, is_wanted: impl Fn(&Node) -> bool) -> Self {
        let nodes = self.nodes.iter().filter(|node| node.id == self.current_id || is_wanted(node)).cloned().collect();
        Self { nodes, ..*self }
    }

    /// The same nodes, each enabled or not. This node may be one that is not: it is in the cluster, and takes no part.
    pub(crate) fn enable(&self, is_enabled: impl Fn(&Node) -> bool) -> Self {
        let with = |node: &Node| Node { is_enabled: is_enabled(node), ..node.clone() };
        Self { nodes: self.nodes.iter().map(with).collect(), ..*self }
    }

    /// Which cluster it is.
    pub fn cluster_id(&self) -> Id {
        self.cluster_id
    }

    /// The number of this node.
    pub fn current_id(&self) -> Id {
        self.current_id
    }

    /// All of them, in the order of their numbers.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// This node.
    pub fn current(&self) -> &Node {
        // It was there when this was made, and nothing takes it away.
        self.nodes.iter().find(|node| node.id == self.current_id).expect("a topology has its own node")
    }

    /// Under which address this node publishes what it has.
    pub fn home(&self) -> SipAddress {
        self.current().sip_addr
    }

    /// The homes of enabled nodes other than this one's, each once, in the order of the nodes.
    pub fn peers(&self) -> Vec<SipAddress> {
        self.peers_of(self.home())
    }

    /// The same for a node that runs with this home, whatever the topology has come to say of it.
    pub fn peers_of(&self, home: SipAddress) -> Vec<SipAddress> {
        let mut peers: Vec<SipAddress> = Vec::new();
        for node in self.nodes.iter().filter(|node| node.is_enabled && !node.sip_addr.is_same(home)) {
            if !peers.iter().any(|known| known.is_same(node.sip_addr)) {
                peers.push(node.sip_addr);
            }
        }
        peers
    }

    /// The enabled nodes that stand for the same home as `node`.
    pub fn backups(&self, node: &Node) -> impl Iterator<Item = &Node> {
        let (id, home) = (node.id, node.sip_addr);
        let is_backup = move |other: &&Node| other.is_enabled && other.sip_addr.is_same(home);
        self.nodes.iter().filter(move |other| other.id != id).filter(is_backup)
    }

    /// Whether another enabled node stands for this one's home.
    pub fn has_twin(&self) -> bool {
        self.backups(self.current()).next().is_some()
    }

    /// What is otherwise in `newer`, one text for each node.
    pub fn changes_to(&self, newer: &Self) -> Vec<String> {
        let of = |topology: &Self, id| topology.nodes.iter().find(|node| node.id == id).cloned();
        let mut changes = Vec::new();
        for new in &newer.nodes {
            let id = new.id;
            match of(self, id) {
                None => changes.push(format!("node {id} was added, home {}", new.sip_addr)),
                Some(old) if old != *new => changes.push(format!("node {id} has another {}", differing(&old, new))),
                Some(_) => {}
            }
        }
        for old in self.nodes.iter().filter(|old| of(newer, old.id).is_none()) {
            changes.push(format!("node {} was removed, home {}", old.id, old.sip_addr));
        }
        changes
    }
}

/// What is wrong where this node is not among the enabled ones.
fn missing(cluster_id: Id, current_id: Id, nodes: &[Node], source: &str) -> Option<Fault> {
    match nodes.iter().enumerate().find(|(_, node)| node.id == current_id) {
        Some((_, node)) if node.is_enabled => None,
        Some((index, _)) => {
            let what = format!("node {current_id}, which is this node, is disabled in {source}");
            let right = "enable it (state 1 in a table, \"enabled\" in the file), or correct cluster.current_id";
            Some(Fault::new(what, right).at(index, "state"))
        }
        None if nodes.is_empty() => {
            let what = format!("{source} has no node of cluster {cluster_id}");
            Some(Fault::new(what, "add its nodes, or correct cluster.cluster_id"))
        }
        None => {
            let known: Vec<String> = nodes.iter().map(|node| node.id.to_string()).collect();
            let what = format!(
                "node {current_id}, which is this node, is not in {source}: cluster {cluster_id} has {}",
                known.join(", ")
            );
            Some(Fault::new(what, format!("add a node with node_id {current_id}, or correct cluster.current_id")))
        }
    }
}

/// The columns in which two nodes differ, with both values.
fn differing(old: &Node, new: &Node) -> String {
    let mut columns = Vec::new();
    let mut compare = |name: &str, old: &dyn fmt::Display, new: &dyn fmt::Display| {
        let (old, new) = (old.to_string(), new.to_string());
        if old != new {
            columns.push(format!("{name}: {old} became {new}"));
        }
    };
    compare("sip_addr", &old.sip_addr, &new.sip_addr);
    compare("url", &old.url, &new.url);
    compare("state", &u8::from(old.is_enabled), &u8::from(new.is_enabled));
    compare("seed", &old.is_seed, &new.is_seed);
    compare("priority", &old.priority, &new.priority);
    compare("no_ping_retries", &old.no_ping_retries, &new.no_ping_retries);
    let text = |node: &Node| node.description.clone().unwrap_or_default();
    compare("description", &text(old), &text(new));
    let row = |node: &Node| node.db_id.map_or_else(String::new, |id| id.to_string());
    compare("id", &row(old), &row(new));
    columns.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::tests::{id, pair, row, with_backups};
    use crate::rows::{self, Row};

    fn read(rows: &[Row], current: u64) -> Result<Topology, Vec<Fault>> {
        rows::topology(rows, id(1), id(current), "clusterer")
    }

    fn only(rows: &[Row], current: u64) -> String {
        let faults = read(rows, current).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        faults[0].to_string()
    }

    #[test]
    fn a_number_of_a_node_stands_once_and_ours_is_enabled() {
        let mut rows = pair();
        rows.push(row(16, 3, "bin:10.0.0.180", Some("10.0.0.180"), None));
        assert!(only(&rows, 1).starts_with("the table clusterer names node_id 3 of cluster 1 twice: give one"));
        let told = only(&pair(), 2);
        assert!(told.starts_with("node 2, which is this node, is not in the table clusterer: cluster 1 has 1, 3: "));
        assert!(only(&[], 1).starts_with("the table clusterer has no node of cluster 1: "));
        let mut rows = pair();
        rows[0][4] = Some("0".to_owned());
        assert!(only(&rows, 1).starts_with("node 1, which is this node, is disabled in the table clusterer: "));
        // For the other one it is no peer.
        assert_eq!(read(&rows, 3).unwrap().peers(), []);
    }

    #[test]
    fn a_cluster_has_at_most_128_nodes() {
        let node = |n: u16| row(n, n, &format!("bin:10.0.1.{n}"), Some(&format!("10.0.1.{n}")), None);
        let rows: Vec<Row> = (1..=128).map(node).collect();
        assert_eq!(read(&rows, 1).unwrap().peers().len(), 127);
        let rows: Vec<Row> = (1..=129).map(node).collect();
        assert!(only(&rows, 1).starts_with("the table clusterer has 129 nodes of cluster 1"));
    }

    #[test]
    fn a_home_is_written_alike_everywhere() {
        let mut rows = with_backups();
        rows[3][7] = Some("10.0.0.224:5060".to_owned());
        assert_eq!(
            only(&rows, 1),
            "the table clusterer has the sip_addr of nodes 3 and 4 of cluster 1 in two forms of one address: 10.0.0.224 and \
             10.0.0.224:5060: write both alike"
        );
    }

    #[test]
    fn homes_are_peers_once_and_never_that_of_the_node_itself() {
        let topology = read(&with_backups(), 1).unwrap();
        assert_eq!(topology.peers().iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.224"]);
        // A node that still runs with another home does not become its own peer.
        let home = crate::address::sip_address("10.0.0.224").unwrap();
        assert_eq!(topology.peers_of(home).iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.223"]);
    }

    #[test]
    fn changes_are_told_node_by_node() {
        let old = read(&pair(), 1).unwrap();
        let mut rows = with_backups();
        rows.remove(2);
        let new = read(&rows, 1).unwrap();
        assert_eq!(
            old.changes_to(&new),
            [
                "node 1 has another sip_addr: 10.0.0.177 became 10.0.0.223",
                "node 2 was added, home 10.0.0.223",
                "node 4 was added, home 10.0.0.224",
                "node 3 was removed, home 10.0.0.179",
            ]
        );
        assert_eq!(old.changes_to(&old), [""; 0]);
    }
}
