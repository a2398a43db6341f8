//! A node of the cluster as the file names it, one `[[cluster.node]]`, and where its nodes stand otherwise.

use super::forms::{self, BinAddress, SipAddress};
use super::key::{Key, Kind, Unit};
use crate::cluster::{Id, Node};

/// Which nodes the cluster has: those of a table in a database, or those that the file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProvisioningConfig {
    /// The table.
    pub(crate) table: String,
    /// Which of its clusters.
    pub(crate) cluster_id: Id,
    /// The nodes of the file.
    pub(crate) nodes: Vec<Node>,
}

impl Default for ProvisioningConfig {
    fn default() -> Self {
        Self { table: "clusterer".to_owned(), cluster_id: Id::ONE, nodes: Vec::new() }
    }
}

/// What one table has said so far.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    node_id: Option<Id>,
    url: Option<BinAddress>,
    sip_addr: Option<SipAddress>,
    is_seed: bool,
    is_enabled: bool,
    priority: u32,
    no_ping_retries: u32,
    description: Option<String>,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            node_id: None,
            url: None,
            sip_addr: None,
            is_seed: false,
            is_enabled: true,
            priority: 50,
            no_ping_retries: 3,
            description: None,
        }
    }
}

impl Draft {
    /// The node, if nothing is missing.
    pub(super) fn node(self) -> Option<Node> {
        let Self { is_seed, is_enabled, priority, no_ping_retries, description, .. } = self;
        let (id, url, sip_addr) = (self.node_id?, self.url?, self.sip_addr?);
        Some(Node { id, url, is_enabled, no_ping_retries, priority, sip_addr, is_seed, description, db_id: None })
    }
}

/// Keys that every table has to name, each with an example.
pub(super) const NEEDED: [(&str, &str); 3] =
    [("node_id", "1"), ("url", "\"bin:192.0.2.1\""), ("sip_addr", "\"192.0.2.1\"")];

/// The section's name in messages and in the reference.
pub(super) const SECTION: &str = "cluster.node";

/// Every key of such a table.
pub(super) const KEYS: &[Key<Draft>] = &[
    Key {
        section: SECTION,
        name: "node_id",
        what: "Its number (OpenSIPS's `node_id`), which no other node of the cluster has.",
        kind: Kind::Number {
            min: 1,
            max: Id::MAX,
            unit: Unit::Things,
            get: |draft| draft.node_id.map(|id| id.get().into()),
            set: |draft, value| draft.node_id = Id::new(value),
        },
    },
    Key {
        section: SECTION,
        name: "url",
        what: "Where other nodes reach it for what is between nodes (OpenSIPS's `url`), and where it takes their \
               connections.",
        kind: Kind::Text {
            form: "\"bin:address\" or \"bin:address:port\"",
            get: |draft| draft.url.as_ref().map(ToString::to_string),
            set: |draft, text| {
                draft.url = Some(forms::bin_address(text)?);
                Ok(())
            },
        },
    },
    Key {
        section: SECTION,
        name: "sip_addr",
        what: "Its home (OpenSIPS's `sip_addr`): where it takes SIP for what it has published. Nodes with equal homes \
               are backups of each other.",
        kind: Kind::Text {
            form: "\"address\" or \"address:port\"",
            get: |draft| draft.sip_addr.as_ref().map(ToString::to_string),
            set: |draft, text| {
                draft.sip_addr = Some(forms::sip_address(text)?);
                Ok(())
            },
        },
    },
    Key {
        section: SECTION,
        name: "seed",
        what: "Whether it may begin with nothing where no backup gives it its bindings (OpenSIPS's `flags`, where it is \
               the text `seed`). This release reads it.",
        kind: Kind::Flag { get: |draft| draft.is_seed, set: |draft, value| draft.is_seed = value },
    },
    Key {
        section: SECTION,
        name: "state",
        what: "Whether it takes part (OpenSIPS's `state`, 1 or 0); one that is disabled is nobody's peer.",
        kind: Kind::Choice {
            words: &["enabled", "disabled"],
            get: |draft| if draft.is_enabled { "enabled" } else { "disabled" },
            set: |draft, word| draft.is_enabled = word == "enabled",
        },
    },
    Key {
        section: SECTION,
        name: "priority",
        what: "OpenSIPS's `priority`, by which one of several ways to a node is chosen. This release reads it.",
        kind: Kind::Number {
            min: 0,
            max: u32::MAX as u64,
            unit: Unit::Things,
            get: |draft| Some(draft.priority.into()),
            set: |draft, value| draft.priority = value as u32,
        },
    },
    Key {
        section: SECTION,
        name: "no_ping_retries",
        what: "OpenSIPS's `no_ping_retries`: after how many pings without an answer it is down.",
        kind: Kind::Number {
            min: 0,
            max: u32::MAX as u64,
            unit: Unit::Things,
            get: |draft| Some(draft.no_ping_retries.into()),
            set: |draft, value| draft.no_ping_retries = value as u32,
        },
    },
    Key {
        section: SECTION,
        name: "description",
        what: "A text for people (OpenSIPS's `description`).",
        kind: Kind::Text {
            form: "any text",
            get: |draft| draft.description.clone(),
            set: |draft, text| {
                draft.description = Some(text.to_owned()).filter(|text| !text.is_empty());
                Ok(())
            },
        },
    },
];
