//! The node itself, by commands of its own: what signals ask for, and answers to it.

use super::Wishes;
use super::answer::{Answer, Fault};
use super::cluster::Cluster;
use super::parameters::Signature;
use super::registry::Registry;
use super::shards::Shards;
use serde_json::{Map, Value, json};
use sipfed_directory as directory;
use sipfed_shards::ShardReport;
use std::sync::Arc;

pub(super) const COMMANDS: &[&Signature] = &[&DRAIN, &REPORT, &RECONCILE, &TLS_RELOAD];

static DRAIN: Signature = Signature {
    name: "sipfed:drain",
    old_name: "drain",
    forms: &[&[]],
    list: "",
    what: "Takes no new requests, waits for open transactions (at most stop.drain_s), and ends the node; \
           again: says how far it is.",
};
static REPORT: Signature = Signature {
    name: "sipfed:report",
    old_name: "report",
    forms: &[&[]],
    list: "",
    what: "Every counter of every shard, how far the directory is, and how the cluster stands.",
};
static RECONCILE: Signature = Signature {
    name: "sipfed:reconcile",
    old_name: "reconcile",
    forms: &[&[]],
    list: "",
    what: "Begins to compare what the directory says of this node with what is so, and to mend it.",
};

static TLS_RELOAD: Signature = Signature {
    name: "sipfed:tls_reload",
    old_name: "tls_reload",
    forms: &[&[]],
    list: "",
    what: "Reads the certificates, keys and authorities of TLS again; connections that exist are kept.",
};

/// Adds the commands of this file.
pub(super) fn add(
    registry: &mut Registry,
    shards: &Shards,
    directory: Option<&Arc<directory::Statistics>>,
    cluster: Option<&Cluster>,
    wishes: &Wishes,
) {
    let (all, wish) = (shards.clone(), wishes.clone());
    registry.add(&DRAIN, move |_| {
        let (shards, wish) = (all.clone(), wish.clone());
        async move {
            // Before the wish: a node without open transactions is gone at once.
            let reports = shards.reports().await?;
            let open: usize = reports.iter().map(|report| report.open_transactions).sum();
            if !(wish.stop)() {
                return Err(Fault::server("the node is busy with what was asked of it before; ask again"));
            }
            Ok(Answer::Value(json!({
                "State": "draining",
                "PID": std::process::id(),
                "Open-Transactions": open,
                "Drain-Seconds": wish.drain_s,
            })))
        }
    });
    let (all, directory, cluster) = (shards.clone(), directory.cloned(), cluster.cloned());
    registry.add(&REPORT, move |_| {
        let (shards, directory, cluster) = (all.clone(), directory.clone(), cluster.clone());
        async move {
            let shards: Vec<Value> = shards.reports().await?.iter().map(shard).collect();
            let mut report = json!({ "Shards": shards });
            if let Some(directory) = directory {
                let lag = directory.lag();
                report["Directory"] = json!({
                    "is_up": directory.is_up(),
                    "pending": lag.pending,
                    "lag_ms": lag.oldest.as_millis() as u64,
                    "counters": counts(directory.counts().into_iter()),
                });
            }
            if let Some(cluster) = cluster {
                report["Cluster"] = cluster.report();
            }
            Ok(Answer::Value(report))
        }
    });
    let reload = wishes.reload_tls.clone();
    registry.add(&TLS_RELOAD, move |_| {
        let reload = reload.clone();
        async move {
            let Some(reload) = reload else {
                return Err(Fault::new(400, "No TLS").with("tls.certificate is not given"));
            };
            reload().map_err(|why| Fault::new(500, "Files cannot be used").with(why))?;
            Ok(Answer::ok())
        }
    });
    let reconcile = wishes.reconcile.clone();
    registry.add(&RECONCILE, move |_| {
        let reconcile = reconcile.clone();
        async move {
            let Some(reconcile) = reconcile else {
                return Err(Fault::new(400, "No directory").with("directory.url is not given: the node stands alone"));
            };
            reconcile();
            Ok(Answer::ok())
        }
    });
}

fn shard(report: &ShardReport) -> Value {
    json!({
        "shard": report.shard.0,
        "aors": report.homes,
        "contacts": report.contacts,
        "bindings": report.bindings,
        "open_transactions": report.open_transactions,
        "connections": report.connections,
        "log_entries": report.log.map(|log| log.entries),
        "log_bytes": report.log.map(|log| log.wal_bytes),
        "counters": counts(report.counters.iter().map(|(name, _, count)| (name, count))),
    })
}

fn counts(counts: impl Iterator<Item = (&'static str, u64)>) -> Value {
    Value::Object(counts.map(|(name, count)| (name.to_owned(), Value::from(count))).collect::<Map<_, _>>())
}
