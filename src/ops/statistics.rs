//! What is counted, under OpenSIPS's names where it counts the same, and under the node's own.
//!
//! Groups: `usrloc` and `registrar` as OpenSIPS has them; `sipfed`, all counters of the shards added up; `directory`,
//! `clusterer` and `replication`, where there is one. A statistic is named with its group or without; a group is named with a colon behind it.

use super::answer::{Answer, Fault};
use super::cluster::Cluster;
use super::parameters::Signature;
use super::registry::Registry;
use super::shards::Shards;
use serde_json::{Map, Value};
use sipfed_directory as directory;
use sipfed_proto::Counters;
use sipfed_proto::replica::session::BackupReport;
use sipfed_proto::settings::RegistrarSettings;
use sipfed_shards::ShardReport;
use std::sync::Arc;

pub(super) const COMMANDS: &[&Signature] = &[&GET, &LIST];

static GET: Signature = Signature {
    name: "statistics:get",
    old_name: "get_statistics",
    forms: &[&["statistics"]],
    list: "statistics",
    what: "The values of some statistics: names, groups such as usrloc:, or all.",
};
static LIST: Signature = Signature {
    name: "statistics:list",
    old_name: "list_statistics",
    forms: &[&[], &["statistics"]],
    list: "statistics",
    what: "The names of all statistics, or of some, and whether they only rise.",
};

/// One number with its name.
#[derive(Debug, PartialEq, Eq)]
struct Statistic {
    group: &'static str,
    name: &'static str,
    /// Whether it is a count that only rises.
    is_incremental: bool,
    value: u64,
}

/// Adds the commands of this file.
pub(super) fn add(
    registry: &mut Registry,
    shards: &Shards,
    registrar: &RegistrarSettings,
    directory: Option<&Arc<directory::Statistics>>,
    cluster: Option<&Cluster>,
) {
    let gather = {
        let (shards, registrar) = (shards.clone(), registrar.clone());
        let (directory, cluster) = (directory.cloned(), cluster.cloned());
        move || {
            let (shards, registrar) = (shards.clone(), registrar.clone());
            let (directory, cluster) = (directory.clone(), cluster.clone());
            async move {
                let mut all = statistics(&shards.reports().await?, &registrar, directory.as_deref());
                if let Some(cluster) = cluster {
                    all.extend(of_cluster(&cluster));
                }
                Ok::<_, Fault>(all)
            }
        }
    };
    let all = gather.clone();
    registry.add(&GET, move |arguments| {
        let all = all();
        async move {
            let names = arguments.list("statistics")?;
            let all = all.await?;
            let values = selected(&all, &names)?.map(|s| (format!("{}:{}", s.group, s.name), Value::from(s.value)));
            Ok(Answer::Value(Value::Object(values.collect())))
        }
    });
    registry.add(&LIST, move |arguments| {
        let all = gather();
        async move {
            let names = if arguments.has("statistics") { arguments.list("statistics")? } else { vec!["all"] };
            let all = all.await?;
            let kinds = selected(&all, &names)?.map(|s| {
                let kind = if s.is_incremental { "incremental" } else { "non-incremental" };
                (format!("{}:{}", s.group, s.name), Value::from(kind))
            });
            Ok(Answer::Value(Value::Object(kinds.collect::<Map<_, _>>())))
        }
    });
}

/// Those that are named, each once, in the order of `all`.
fn selected<'a>(all: &'a [Statistic], names: &[&str]) -> Result<impl Iterator<Item = &'a Statistic>, Fault> {
    let is_named = |statistic: &&Statistic| {
        names.iter().any(|name| match name.split_once(':') {
            Some((group, "")) => group == statistic.group,
            Some((group, name)) => group == statistic.group && name == statistic.name,
            None => *name == "all" || *name == statistic.name,
        })
    };
    let found: Vec<&Statistic> = all.iter().filter(is_named).collect();
    if found.is_empty() { Err(Fault::new(404, "Statistics Not Found")) } else { Ok(found.into_iter()) }
}

fn statistics(
    reports: &[ShardReport],
    registrar: &RegistrarSettings,
    directory: Option<&directory::Statistics>,
) -> Vec<Statistic> {
    let mut counters = Counters::default();
    for report in reports {
        counters.add(&report.counters);
    }
    let sum = |of: fn(&ShardReport) -> usize| reports.iter().map(of).sum::<usize>() as u64;
    let gauge = |group, name, value| Statistic { group, name, is_incremental: false, value };
    let count = |group, name, value| Statistic { group, name, is_incremental: true, value };
    let (homes, contacts) = (sum(|report| report.homes), sum(|report| report.contacts));
    let mut all = vec![
        gauge("usrloc", "registered_users", homes),
        gauge("usrloc", "location-users", homes),
        gauge("usrloc", "location-contacts", contacts),
        count("usrloc", "location-expires", counters.bindings_expired),
        gauge("registrar", "max_expires", registrar.max_expires_s.into()),
        gauge("registrar", "max_contacts", registrar.max_contacts.into()),
        gauge("registrar", "default_expire", registrar.default_expires_s.into()),
        count("registrar", "accepted_regs", counters.registers_accepted),
        count("registrar", "rejected_regs", counters.registers_refused),
        gauge("sipfed", "open_transactions", sum(|report| report.open_transactions)),
        gauge("sipfed", "connections", sum(|report| report.connections)),
    ];
    all.extend(counters.iter().map(|(name, _, value)| count("sipfed", name, value)));
    if let Some(directory) = directory {
        let lag = directory.lag();
        all.push(gauge("directory", "is_up", directory.is_up().into()));
        all.push(gauge("directory", "pending", lag.pending));
        all.push(gauge("directory", "lag_ms", lag.oldest.as_millis() as u64));
        all.extend(directory.counts().into_iter().map(|(name, value)| count("directory", name, value)));
    }
    all
}

fn of_cluster(cluster: &Cluster) -> Vec<Statistic> {
    let gauge = |group, name, value: usize| Statistic { group, name, is_incremental: false, value: value as u64 };
    let (links, up) = (cluster.reports(), cluster.neighbours().len());
    let mut all = vec![
        gauge("clusterer", "nodes", links.len()),
        gauge("clusterer", "nodes_up", up),
        gauge("clusterer", "nodes_down", links.len() - up),
        gauge("clusterer", "is_active", cluster.role().is_active.into()),
    ];
    if let Some(standing) = cluster.standing() {
        let sum = |of: fn(&BackupReport) -> usize| standing.backups.iter().map(of).sum();
        all.extend([
            gauge("replication", "is_whole", standing.own.is_whole.into()),
            gauge("replication", "is_backed_up", standing.is_backed_up.into()),
            gauge("replication", "lag_parts", sum(|backup| backup.lag_parts as usize)),
            gauge("replication", "lag_bytes", sum(|backup| backup.lag_bytes)),
            gauge("replication", "divergence", sum(|backup| backup.divergence as usize)),
            gauge("replication", "leaves_left", sum(|backup| backup.leaves_left)),
        ]);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Result<Vec<String>, Fault> {
        let all = statistics(&[], &RegistrarSettings::default(), None);
        selected(&all, names).map(|found| found.map(|s| format!("{}:{}", s.group, s.name)).collect())
    }

    #[test]
    fn statistics_are_named_with_their_group_or_without_and_groups_by_a_colon() {
        assert_eq!(names(&["registered_users"]).unwrap(), ["usrloc:registered_users"]);
        assert_eq!(names(&["usrloc:registered_users"]).unwrap(), ["usrloc:registered_users"]);
        assert_eq!(names(&["usrloc:"]).unwrap().len(), 4);
        assert_eq!(names(&["registrar:", "accepted_regs"]).unwrap().len(), 5);
        assert!(names(&["all"]).unwrap().len() > 20);
        assert_eq!(names(&["nothing", ":", "usrloc:nothing"]).unwrap_err().code, 404);
        assert_eq!(names(&["nothing", "max_expires"]).unwrap(), ["registrar:max_expires"]);
    }

    #[test]
    fn no_two_statistics_have_one_name() {
        let all = names(&["all"]).unwrap();
        let distinct: std::collections::BTreeSet<&String> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
