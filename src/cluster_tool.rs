//! `sipfed cluster`: shows which nodes there are, as this node would take them from its source.
//!
//! In: a configuration file, and what it names. Out: a table for people, or JSON lines for programs, on stdout; what went
//! wrong on stderr. Nothing is changed, neither there nor in the data directory; a node may run meanwhile, and need not.

use crate::cli::{self, Exit};
use crate::cluster::{Known, Node, Provisioning, Substitute, Topology};
use crate::show;
use crate::stdout::{self, Output, counted};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) const EXAMPLES: &str = "\
Examples:
  sipfed cluster show --config /etc/sipfed/sipfed.toml
  sipfed cluster show --config /etc/sipfed/sipfed.toml --json | jq 'select(.node_id)'

docs/cluster.md says how nodes are provisioned.";

const SHOW_EXAMPLES: &str = "\
Examples:
  sipfed cluster show --config /etc/sipfed/sipfed.toml
  sipfed cluster show --config /etc/sipfed/sipfed.toml --json | jq 'select(.node_id)'

The source is read now: a node that runs may not have read it since. Where the database is away,
what is shown is the copy in the data directory, and that is said.

Exit codes:
  0  told, also by the copy
  1  the database does not answer or says no, and there is no copy; the message says what to do
  2  the command line is wrong
  3  the configuration file cannot be read, is not valid, or has no cluster; or what the database
     has is not valid, and there is no copy";

/// What can be done with the cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Shows all nodes, which one this is, and which are backups of each other.
    #[command(after_help = SHOW_EXAMPLES)]
    Show(ShowArguments),
}

/// What `show` takes.
#[derive(Debug, Args)]
pub(crate) struct ShowArguments {
    /// The configuration file of a node.
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// Where the copy is kept, instead of persistence.directory.
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
    /// Prints JSON objects, one a line: the cluster, then each node.
    #[arg(long)]
    json: bool,
}

/// `sipfed cluster ...`.
pub(crate) fn run(command: &ClusterCommand) -> Exit {
    let ClusterCommand::Show(arguments) = command;
    let mut config = match cli::read_config(&arguments.config) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    config.node.data_directory = arguments.data_dir.clone().or(config.node.data_directory.take());
    let Some(provisioning) = Provisioning::of(&config) else {
        let what = format!("{} has no cluster, so its node stands alone", arguments.config.display());
        show::error(
            &what,
            "add db_url and current_id below [cluster], or current_id and a [[cluster.node]] for every node",
        );
        return Exit::BadConfiguration;
    };
    let known = match provisioning.known() {
        Ok(known) => known,
        Err(unknown) => {
            show::error(&unknown.to_string(), unknown.right());
            return unknown.exit();
        }
    };
    let mut output = Output::new();
    let written = if arguments.json {
        objects(&known, &provisioning, &mut output)
    } else {
        table(&known, &provisioning, &mut output)
    };
    match written.and_then(|()| output.flush()) {
        Ok(()) => Exit::Done,
        Err(error) => stdout::not_taken(&error),
    }
}

/// The first object.
#[derive(Serialize)]
struct Head<'a> {
    cluster_id: u16,
    current_id: u16,
    source: String,
    /// Of the copy; `null` for what the source has just said.
    copy_age_s: Option<u64>,
    copy_from: Option<&'a str>,
    copy_because: Option<String>,
}

/// One for each node.
#[derive(Serialize)]
struct Line<'a> {
    node_id: u16,
    home: String,
    url: String,
    is_enabled: bool,
    is_seed: bool,
    priority: u32,
    no_ping_retries: u32,
    description: Option<&'a str>,
    is_this_node: bool,
    backups: Vec<u16>,
}

impl<'a> Line<'a> {
    fn new(node: &'a Node, topology: &'a Topology) -> Self {
        Self {
            node_id: node.id.get(),
            home: node.sip_addr.to_string(),
            url: node.url.to_string(),
            is_enabled: node.is_enabled,
            is_seed: node.is_seed,
            priority: node.priority,
            no_ping_retries: node.no_ping_retries,
            description: node.description.as_deref(),
            is_this_node: node.id == topology.current_id(),
            backups: topology.backups(node).map(|backup| backup.id.get()).collect(),
        }
    }

    /// What people see of it.
    fn columns(&self) -> [String; 7] {
        let backups: Vec<String> = self.backups.iter().map(u16::to_string).collect();
        [
            self.node_id.to_string(),
            self.home.clone(),
            self.url.clone(),
            if self.is_enabled { "enabled" } else { "disabled" }.to_owned(),
            if self.is_seed { "seed" } else { "-" }.to_owned(),
            if backups.is_empty() { "-".to_owned() } else { backups.join(",") },
            if self.is_this_node { "this node" } else { self.description.unwrap_or_default() }.to_owned(),
        ]
    }
}

fn objects(Known { topology, substitute }: &Known, provisioning: &Provisioning, output: &mut Output) -> io::Result<()> {
    output.json(&Head {
        cluster_id: topology.cluster_id().get(),
        current_id: topology.current_id().get(),
        source: provisioning.source(),
        copy_age_s: substitute.as_ref().map(|copy| copy.age.as_secs()),
        copy_from: substitute.as_ref().map(|copy| &*copy.from),
        copy_because: substitute.as_ref().map(|copy| copy.reason.to_string()),
    })?;
    topology.nodes().iter().try_for_each(|node| output.json(&Line::new(node, topology)))
}

fn table(Known { topology, substitute }: &Known, provisioning: &Provisioning, output: &mut Output) -> io::Result<()> {
    output.line(format_args!("cluster {provisioning}"))?;
    if let Some(Substitute { reason, age, from }) = substitute {
        output.line(format_args!("this is the copy, read {} ago from {from}: {reason}", rough(*age)))?;
    }
    let titles = ["node", "home", "url", "state", "seed", "backups", ""].map(str::to_owned);
    let nodes = topology.nodes().iter().map(|node| Line::new(node, topology).columns());
    let lines: Vec<[String; 7]> = std::iter::once(titles).chain(nodes).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    for line in &lines {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        output.line(format_args!("{}", cells.collect::<Vec<_>>().join("  ").trim_end()))?;
    }
    Ok(())
}

/// A time as people say it.
fn rough(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..120 => counted(seconds, "second"),
        seconds @ ..7200 => counted(seconds / 60, "minute"),
        seconds @ ..172_800 => counted(seconds / 3600, "hour"),
        seconds => counted(seconds / 86_400, "day"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_the_unit_that_people_would_take() {
        for (seconds, text) in [(1, "1 second"), (119, "119 seconds"), (7199, "119 minutes"), (7200, "2 hours")] {
            assert_eq!(rough(Duration::from_secs(seconds)), text);
        }
        assert_eq!(rough(Duration::from_hours(24 * 30)), "30 days");
    }
}
