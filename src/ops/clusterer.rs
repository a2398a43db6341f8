//! The nodes of the cluster, by the commands of OpenSIPS's clusterer.

use super::answer::{Answer, Fault};
use super::cluster::Cluster;
use super::nathelper;
use super::parameters::Signature;
use super::registry::Registry;
use crate::cluster::{Id, Node, Reload, Topology};
use crate::link::State;
use serde_json::{Value, json};
use tokio::sync::oneshot;

pub(super) const COMMANDS: &[&Signature] =
    &[&RELOAD, &LIST, &LIST_TOPOLOGY, &LIST_CAPABILITIES, &LIST_TAGS, &SET_TAG_ACTIVE];

/// The name of what is shared between nodes with one home.
const TAG: &str = "home";
/// OpenSIPS's name of what hot backup is here.
pub(super) const CAPABILITY: &str = "usrloc-contact-repl";

static RELOAD: Signature = Signature {
    name: "clusterer:reload",
    old_name: "clusterer_reload",
    forms: &[&[]],
    list: "",
    what: "Reads the nodes of the cluster from cluster.db_url and the certificates of links again; answers when that is done.",
};

static LIST: Signature = Signature {
    name: "clusterer:list",
    old_name: "clusterer_list",
    forms: &[&[]],
    list: "",
    what: "The other nodes of the cluster, and how the links to them stand.",
};
static LIST_TOPOLOGY: Signature = Signature {
    name: "clusterer:list_topology",
    old_name: "clusterer_list_topology",
    forms: &[&[]],
    list: "",
    what: "All nodes of the cluster, and to which others each of them has links.",
};
static LIST_CAPABILITIES: Signature = Signature {
    name: "clusterer:list_cap",
    old_name: "clusterer_list_cap",
    forms: &[&[]],
    list: "",
    what: "What nodes do together: whether this one has the bindings of its backups.",
};
static LIST_TAGS: Signature = Signature {
    name: "clusterer:list_shtags",
    old_name: "clusterer_list_shtags",
    forms: &[&[]],
    list: "",
    what: "Whether this node is the active one of its home.",
};
static SET_TAG_ACTIVE: Signature = Signature {
    name: "clusterer:shtag_set_active",
    old_name: "clusterer_shtag_set_active",
    forms: &[&["tag"]],
    list: "",
    what: "Says that this node is to be the active one of its home: home/CLUSTER_ID.",
};

/// Tells something of the cluster.
type Tell = fn(&Cluster) -> Value;

/// Adds the commands of this file.
pub(super) fn add(registry: &mut Registry, reload: Option<Reload>, cluster: Option<&Cluster>) {
    add_reload(registry, reload);
    let told: [(_, Tell); 4] =
        [(&LIST, nodes), (&LIST_TOPOLOGY, topology), (&LIST_CAPABILITIES, capabilities), (&LIST_TAGS, tags)];
    for (signature, tell) in told {
        let cluster = cluster.cloned();
        registry.add(signature, move |_| {
            let answer = cluster.as_ref().map(tell).ok_or_else(not_enabled);
            async move { answer.map(Answer::Value) }
        });
    }
    let cluster = cluster.cloned();
    registry.add(&SET_TAG_ACTIVE, move |arguments| {
        let cluster = cluster.clone();
        async move {
            let cluster = cluster.ok_or_else(not_enabled)?;
            let wanted = arguments.text("tag")?;
            let known = format!("{TAG}/{}", cluster.topology().cluster_id());
            if wanted != known {
                return Err(Fault::new(404, "Tag not found").with(format!("the one tag is {known}")));
            }
            nathelper::command(&cluster, true).await?;
            Ok(Answer::ok())
        }
    });
}

pub(super) fn not_enabled() -> Fault {
    Fault::new(400, "Clustering not enabled").with("the configuration has no section [cluster]")
}

/// In OpenSIPS's frame: one cluster, with what is said of it.
fn of_cluster(topology: &Topology, name: &str, what: impl Iterator<Item = Value>) -> Value {
    let what: Vec<Value> = what.collect();
    json!({ "Clusters": [{ "cluster_id": topology.cluster_id().get(), name: what }] })
}

fn nodes(cluster: &Cluster) -> Value {
    let (topology, reports) = (cluster.topology(), cluster.reports());
    let others = topology.nodes().iter().filter(|node| node.id != topology.current_id());
    let node = |node: &Node| {
        let link = reports.iter().find(|report| report.node == node.id);
        let next_hop = link.and_then(|link| link.next_hop);
        json!({
            "node_id": node.id.get(),
            "db_id": node.db_id.map_or(json!(-1), Value::from),
            "url": node.url.to_string(),
            "link_state": link.map_or(State::Down, |link| link.state).word(),
            "state": if node.is_enabled { "enabled" } else { "disabled" },
            "next_hop": next_hop.map_or_else(|| "none".to_owned(), |hop| hop.to_string()),
            "description": node.description.as_deref().unwrap_or("none"),
        })
    };
    of_cluster(&topology, "Nodes", others.map(node))
}

fn topology(cluster: &Cluster) -> Value {
    let (topology, reports) = (cluster.topology(), cluster.reports());
    let node = |node: &Node| {
        let of_it = |report: &&crate::link::LinkReport| report.node == node.id;
        let neighbours = if node.id == topology.current_id() {
            cluster.neighbours()
        } else {
            reports.iter().find(of_it).map_or_else(Vec::new, |report| report.neighbours.clone())
        };
        let neighbours: Vec<u16> = neighbours.into_iter().map(Id::get).collect();
        json!({ "node_id": node.id.get(), "Neighbours": neighbours })
    };
    of_cluster(&topology, "Nodes", topology.nodes().iter().map(node))
}

fn capabilities(cluster: &Cluster) -> Value {
    let standing = cluster.standing();
    let is_ok = standing.as_ref().is_some_and(|standing| standing.own.is_whole);
    let capability = json!({
        "name": CAPABILITY,
        "state": if is_ok { "Ok" } else { "not synced" },
        "enabled": if cluster.is_taking_part_in_replication() { "yes" } else { "no" },
    });
    of_cluster(&cluster.topology(), "Capabilities", std::iter::once(capability))
}

fn tags(cluster: &Cluster) -> Value {
    let state = if cluster.role().is_active { "active" } else { "backup" };
    json!([{ "Tag": TAG, "Cluster": cluster.topology().cluster_id().get(), "State": state }])
}

fn add_reload(registry: &mut Registry, reload: Option<Reload>) {
    registry.add(&RELOAD, move |_| {
        let reload = reload.clone();
        async move {
            let Some(reload) = reload.filter(Reload::has_source) else {
                let what = "the nodes of the cluster are in no database (cluster.db_url is not given), and links go by no \
                            certificates: there is nothing to read again";
                return Err(Fault::new(400, "Clustering not enabled").with(what));
            };
            let (sender, done) = oneshot::channel();
            let tell = move |read| {
                // Whoever asked may have gone.
                let _ = sender.send(read);
            };
            if !reload.ask(tell) {
                return Err(Fault::server(
                    "everything is being read already, and others wait for that; ask again later",
                ));
            }
            // Reading ends by itself: cluster.db_timeout_ms bounds it.
            match done.await {
                Ok(Ok(())) => Ok(Answer::ok()),
                Ok(Err(why)) => Err(Fault::new(500, "Failed to reload").with(why)),
                Err(_) => Err(Fault::server("the node stops")),
            }
        }
    });
}
