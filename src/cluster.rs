//! The cluster: which nodes there are, and which of them stand for the same home.
//!
//! Provisioned as OpenSIPS's clusterer is: by a table in MySQL, MariaDB or SQLite, or by the configuration file. A table is
//! read at the start and whenever the node is told to, never in between, and what it said last is kept in the data
//! directory, so that a node starts while its database is away.
//!
//! What a cluster is and when it is valid, and what a row of the table means, is decided in [`sipfed_nodes`]. [`source`]
//! reads the rows, by [`mysql`] or [`sqlite`], of a database named by its [`url`]. [`copy`] is what is kept.
//! [`reloader`] does it again while the node runs, and changes nodes by command.

mod copy;
mod mysql;
mod reloader;
mod source;
mod sqlite;
mod url;

pub(crate) use copy::CopyError;
pub(crate) use reloader::{Alteration, Outlets, Reload, Reloader};
pub(crate) use sipfed_nodes::alterations::Unaltered;
pub(crate) use sipfed_nodes::{Fault, Id, NODES_COUNT_MAX, Node, Topology};
pub(crate) use source::SourceError;
pub(crate) use url::SqlUrl;

use crate::cli::Exit;
use crate::config::Config;
use crate::data_directory;
use copy::Kept;
use sipfed_nodes::rows;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use tracing::warn;

/// Where the nodes of a cluster stand, and which of them this one is.
#[derive(Clone, Debug)]
pub(crate) struct Provisioning {
    source: Source,
    cluster_id: Id,
    current_id: Id,
    /// Where the copy is.
    directory: PathBuf,
    /// Whether the file names peers as well.
    names_peers: bool,
}

#[derive(Clone, Debug)]
enum Source {
    File(Vec<Node>),
    Table { url: SqlUrl, table: String, timeout: Duration },
}

/// A topology, and where it comes from.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) topology: Topology,
    /// Where it is the copy.
    pub(crate) substitute: Option<Substitute>,
}

/// That the copy had to do.
#[derive(Debug)]
pub(crate) struct Substitute {
    /// Why.
    pub(crate) reason: SourceError,
    pub(crate) age: Duration,
    /// The database that it was read from.
    pub(crate) from: String,
}

/// Neither the source nor the copy tells the nodes.
#[derive(Debug)]
pub(crate) struct Unknown {
    pub(crate) reason: SourceError,
    pub(crate) copy: CopyError,
}

impl Provisioning {
    /// What the configuration says of it, where it does.
    pub(crate) fn of(config: &Config) -> Option<Self> {
        let (shared, node) = (&config.cluster.provisioning, &config.node);
        let source = match &node.db_url {
            Some(url) => Source::Table {
                url: url.clone(),
                table: shared.table.clone(),
                timeout: Duration::from_millis(node.db_timeout_ms.into()),
            },
            None if shared.nodes.is_empty() => return None,
            None => Source::File(shared.nodes.clone()),
        };
        Some(Self {
            source,
            cluster_id: shared.cluster_id,
            current_id: node.current_id?,
            directory: data_directory::of(node),
            names_peers: !config.cluster.directory.peers.is_empty(),
        })
    }

    /// Whether the configuration names nodes, or where they stand.
    pub(crate) fn is_asked_for(config: &Config) -> bool {
        config.node.db_url.is_some() || !config.cluster.provisioning.nodes.is_empty()
    }

    /// Where the nodes stand, for people; without a password.
    pub(crate) fn source(&self) -> String {
        match &self.source {
            Source::File(nodes) => format!("the {} nodes in the file", nodes.len()),
            Source::Table { url, table, .. } => format!("the table {table} at {url}"),
        }
    }

    /// Whether it can be read anew while the node runs.
    pub(crate) fn is_a_table(&self) -> bool {
        matches!(self.source, Source::Table { .. })
    }

    /// Reads the source; waits no longer than `cluster.db_timeout_ms`.
    pub(crate) fn read(&self) -> Result<Topology, SourceError> {
        match &self.source {
            Source::File(nodes) => {
                Topology::new(self.cluster_id, self.current_id, nodes.clone(), "the file").map_err(SourceError::Wrong)
            }
            Source::Table { url, table, timeout } => {
                let rows = source::rows(url, table, *timeout)?;
                rows::topology(&rows, self.cluster_id, self.current_id, table).map_err(SourceError::Wrong)
            }
        }
    }

    /// Reads the source, and the copy where that is of no use.
    pub(crate) fn known(&self) -> Result<Known, Box<Unknown>> {
        match self.read() {
            Ok(topology) => Ok(Known { topology, substitute: None }),
            Err(reason) => {
                let copy = copy::find(&self.directory, self.cluster_id).and_then(|Kept { read_at, source, nodes }| {
                    let name = format!("the copy in {}", copy::path(&self.directory).display());
                    let topology = Topology::new(self.cluster_id, self.current_id, nodes, &name)
                        .map_err(|faults| CopyError::Useless(source::joined(&faults)))?;
                    Ok((topology, SystemTime::now().duration_since(read_at).unwrap_or_default(), source))
                });
                match copy {
                    Ok((topology, age, from)) => {
                        Ok(Known { topology, substitute: Some(Substitute { reason, age, from }) })
                    }
                    Err(copy) => Err(Box::new(Unknown { reason, copy })),
                }
            }
        }
    }

    /// Keeps what the source has just said.
    pub(crate) fn keep(&self, topology: &Topology) -> Result<(), CopyError> {
        match &self.source {
            // The file is there whenever the node is.
            Source::File(_) => Ok(()),
            Source::Table { .. } => copy::keep(&self.directory, &self.source(), topology, SystemTime::now()),
        }
    }
}

impl Provisioning {
    /// [`Self::keep`], whose failure is no more than a warning.
    pub(crate) fn keep_or_warn(&self, topology: &Topology) {
        if let Err(error) = self.keep(topology) {
            let why = error.to_string();
            warn!(why, "the node could not start again while its database is away");
        }
    }
}

impl fmt::Display for Provisioning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, node {}, of {}", self.cluster_id, self.current_id, self.source())
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the nodes of the cluster are not known: {}; and {}", self.reason, self.copy)
    }
}

impl Unknown {
    /// What a command ends with.
    pub(crate) fn exit(&self) -> Exit {
        if matches!(self.reason, SourceError::Wrong(_)) { Exit::BadConfiguration } else { Exit::Failed }
    }

    /// What would help.
    pub(crate) fn right(&self) -> &'static str {
        match self.reason {
            SourceError::Away(_) => {
                "start the database or correct cluster.db_url; or name the nodes by [[cluster.node]] instead. A node that \
                 has read the table once starts without the database"
            }
            SourceError::Refused(_) => "correct cluster.db_url or cluster.table, or what the database says",
            SourceError::Wrong(_) => "correct what is wrong there",
        }
    }
}
