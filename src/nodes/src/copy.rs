//! The copy of what the table of a cluster said last, as a text that another life of the node reads. Pure.
//!
//! One that is of another version, broken or of another cluster is of no use, which is told.

use crate::address::{self, Wrong};
use crate::topology::{Id, Node, Topology};
use serde::{Deserialize, Serialize};

const VERSION: u32 = 1;

/// What was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// When it was read, in seconds since the Unix epoch.
    pub read_at_s: u64,
    /// The table and its database, without a password.
    pub source: String,
    /// The nodes of the cluster.
    pub nodes: Vec<Node>,
}

/// What every version has.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    read_at_s: u64,
    source: String,
    cluster_id: Id,
    nodes: Vec<CopiedNode>,
}

/// A node in the forms of the table.
#[derive(Serialize, Deserialize)]
struct CopiedNode {
    node_id: Id,
    url: String,
    state: u8,
    no_ping_retries: u32,
    priority: u32,
    sip_addr: String,
    seed: bool,
    description: Option<String>,
    /// Earlier releases did not keep it.
    #[serde(default)]
    id: Option<u64>,
}

impl From<&Node> for CopiedNode {
    fn from(node: &Node) -> Self {
        Self {
            node_id: node.id,
            url: node.url.to_string(),
            state: node.is_enabled.into(),
            no_ping_retries: node.no_ping_retries,
            priority: node.priority,
            sip_addr: node.sip_addr.to_string(),
            seed: node.is_seed,
            description: node.description.clone(),
            id: node.db_id,
        }
    }
}

impl CopiedNode {
    fn node(self) -> Result<Node, Wrong> {
        Ok(Node {
            id: self.node_id,
            url: address::bin_address(&self.url)?,
            is_enabled: self.state == 1,
            no_ping_retries: self.no_ping_retries,
            priority: self.priority,
            sip_addr: address::sip_address(&self.sip_addr)?,
            is_seed: self.seed,
            description: self.description,
            db_id: self.id,
        })
    }
}

/// A text of the nodes that `source` has told at that time, in seconds since the Unix epoch.
pub fn write(source: &str, topology: &Topology, read_at_s: u64) -> Result<Vec<u8>, serde_json::Error> {
    let document = Document {
        version: VERSION,
        read_at_s,
        source: source.to_owned(),
        cluster_id: topology.cluster_id(),
        nodes: topology.nodes().iter().map(CopiedNode::from).collect(),
    };
    let mut text = serde_json::to_vec_pretty(&document)?;
    text.push(b'\n');
    Ok(text)
}

/// What a text says of that cluster; otherwise what is wrong with it, to stand behind its name.
pub fn read(text: &[u8], cluster_id: Id) -> Result<Copied, String> {
    let damaged = |error: serde_json::Error| format!("is damaged: {error}");
    let Version { version } = serde_json::from_slice(text).map_err(damaged)?;
    if version != VERSION {
        return Err(format!("is of version {version}, and this release knows version {VERSION}"));
    }
    let document: Document = serde_json::from_slice(text).map_err(damaged)?;
    let Document { read_at_s, source, cluster_id: copied, nodes, .. } = document;
    if copied != cluster_id {
        return Err(format!("is of cluster {copied}, and this node is in cluster {cluster_id}"));
    }
    let nodes = nodes.into_iter().map(CopiedNode::node).collect::<Result<_, _>>();
    let nodes = nodes.map_err(|wrong| format!("is damaged: {}", wrong.what))?;
    Ok(Copied { read_at_s, source, nodes })
}
