//! Who takes part in the cluster and in what, changed by the commands of OpenSIPS's clusterer. Nothing of it outlives the node.

use super::answer::{Answer, Fault};
use super::cluster::Cluster;
use super::clusterer::{CAPABILITY, not_enabled};
use super::parameters::{Arguments, Signature};
use super::registry::Registry;
use crate::cluster::{Alteration, Id, Reload, Unaltered};
use tokio::sync::oneshot;

pub(super) const COMMANDS: &[&Signature] = &[&SET_STATUS, &SET_CAPABILITY_STATUS, &REMOVE_NODE];

static SET_STATUS: Signature = Signature {
    name: "clusterer:set_status",
    old_name: "clusterer_set_status",
    forms: &[&["cluster_id", "status"], &["cluster_id", "node_id", "status"]],
    list: "",
    what: "Has this node, or for this node another one, take part in the cluster (1) or not (0), until the nodes are read again.",
};
static SET_CAPABILITY_STATUS: Signature = Signature {
    name: "clusterer:set_cap_status",
    old_name: "clusterer_set_cap_status",
    forms: &[&["cluster_id", "capability", "status"]],
    list: "",
    what: "Has this node take part in hot backup (usrloc-contact-repl), 1, or not, 0, until it starts anew.",
};
static REMOVE_NODE: Signature = Signature {
    name: "clusterer:remove_node",
    old_name: "clusterer_remove_node",
    forms: &[&["cluster_id", "node_id"]],
    list: "",
    what: "Has this node know of another one no more, until it starts anew; where the nodes are in no database.",
};

/// Adds the commands of this file.
pub(super) fn add(registry: &mut Registry, reload: Option<&Reload>, cluster: Option<&Cluster>) {
    for signature in [&SET_STATUS, &REMOVE_NODE] {
        let subjects = cluster.cloned().zip(reload.cloned());
        let is_removal = signature.name == REMOVE_NODE.name;
        registry.add(signature, move |arguments| {
            let subjects = subjects.clone();
            async move {
                let (cluster, reload) = subjects.ok_or_else(not_enabled)?;
                this_cluster(&arguments, &cluster)?;
                let node =
                    if arguments.has("node_id") { id(&arguments, "node_id")? } else { cluster.topology().current_id() };
                let alteration =
                    if is_removal { Alteration::Remove(node) } else { Alteration::Enable(node, status(&arguments)?) };
                alter(&reload, alteration).await
            }
        });
    }
    let cluster = cluster.cloned();
    registry.add(&SET_CAPABILITY_STATUS, move |arguments| {
        let cluster = cluster.clone();
        async move {
            let cluster = cluster.ok_or_else(not_enabled)?;
            this_cluster(&arguments, &cluster)?;
            let (wanted, is_taking_part) = (arguments.text("capability")?, status(&arguments)?);
            let Some(known) = cluster.is_replicating.filter(|_| wanted == CAPABILITY) else {
                let what = format!("the one capability is {CAPABILITY}, where the node has backups");
                return Err(Fault::new(404, "Capability not found").with(what));
            };
            known.send_replace(is_taking_part);
            Ok(Answer::ok())
        }
    });
}

async fn alter(reload: &Reload, alteration: Alteration) -> Result<Answer, Fault> {
    let (sender, done) = oneshot::channel();
    let tell = move |altered| {
        // Whoever asked may have gone.
        let _ = sender.send(altered);
    };
    if !reload.alter(alteration, tell) {
        return Err(Fault::server("the nodes are being read, and others wait for that; ask again later"));
    }
    match done.await {
        Ok(Ok(())) => Ok(Answer::ok()),
        Ok(Err(Unaltered::NoNode)) => Err(Fault::new(404, "Node id not found")),
        Ok(Err(Unaltered::Own)) => Err(Fault::bad_value(
            "node_id: this node cannot be removed; clusterer:set_status has it take no part, sipfed:drain ends it",
        )),
        Ok(Err(Unaltered::InTable)) => Err(Fault::new(400, "Nodes are provisioned by a database")
            .with("remove the row of the node from the table, and call clusterer:reload")),
        Err(_) => Err(Fault::server("the node stops")),
    }
}

/// The number of a node or of a cluster.
pub(super) fn id(arguments: &Arguments, name: &str) -> Result<Id, Fault> {
    let number = u64::try_from(arguments.number(name)?).ok();
    number.and_then(Id::new).ok_or_else(|| bad_value(name))
}

/// Whether `cluster_id` is that of this node.
pub(super) fn this_cluster(arguments: &Arguments, cluster: &Cluster) -> Result<(), Fault> {
    let known = cluster.topology().cluster_id();
    if id(arguments, "cluster_id")? == known {
        return Ok(());
    }
    Err(Fault::new(404, "Cluster id not found").with(format!("this node is in cluster {known}")))
}

fn status(arguments: &Arguments) -> Result<bool, Fault> {
    match arguments.number("status")? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(bad_value("status")),
    }
}

fn bad_value(name: &str) -> Fault {
    Fault::new(400, format!("Bad value for '{name}'"))
}
