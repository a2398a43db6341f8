//! Which node of a home does what only one may, by the command of OpenSIPS's nathelper: hooks of keepalived and vrrpd say it
//! so. It decides where `cluster.ownership` says so, and is recorded where the address itself does.

use super::answer::{Answer, Fault};
use super::cluster::Cluster;
use super::parameters::Signature;
use super::registry::Registry;
use serde_json::json;

pub(super) const COMMANDS: &[&Signature] = &[&ENABLE_PING];

static ENABLE_PING: Signature = Signature {
    name: "nathelper:enable_ping",
    old_name: "nh_enable_ping",
    forms: &[&[], &["enable"]],
    list: "",
    what: "Says that this node is to be the active one of its home (1) or not (0), or whether it is.",
};

/// Adds the commands of this file.
pub(super) fn add(registry: &mut Registry, cluster: Option<&Cluster>) {
    let cluster = cluster.cloned();
    registry.add(&ENABLE_PING, move |arguments| {
        let cluster = cluster.clone();
        async move {
            if !arguments.has("enable") {
                let is_active = cluster.is_none_or(|cluster| cluster.role().is_active);
                return Ok(Answer::Value(json!({ "Status": u8::from(is_active) })));
            }
            let is_active = match arguments.number("enable")? {
                0 => false,
                1 => true,
                _ => return Err(Fault::bad_value("enable is 0 or 1")),
            };
            command(cluster.as_ref(), is_active).await?;
            Ok(Answer::ok())
        }
    });
}

/// Says that this node is to be active, or passive.
pub(super) async fn command(cluster: Option<&Cluster>, is_active: bool) -> Result<(), Fault> {
    match cluster.and_then(|cluster| cluster.ownership.as_ref()) {
        Some(ownership) => match ownership.set_active(is_active).await {
            Some(_) => Ok(()),
            None => Err(Fault::server("the node stops")),
        },
        // A node that shares its home with nobody is active, and need not be told.
        None if is_active => Ok(()),
        None => Err(Fault::new(400, "Clustering not enabled").with("no other node has this one's sip_addr")),
    }
}
