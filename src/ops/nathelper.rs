//! Whether this node pings phones, by the command of OpenSIPS's nathelper. Hooks of keepalived and vrrpd say by it as well
//! which node of a home does what only one may: it decides where `cluster.ownership` says so, and is recorded where the address
//! itself does.

use super::answer::{Answer, Fault};
use super::cluster::Cluster;
use super::parameters::Signature;
use super::registry::Registry;
use crate::pings::PingSwitch;
use serde_json::json;

pub(super) const COMMANDS: &[&Signature] = &[&ENABLE_PING];

static ENABLE_PING: Signature = Signature {
    name: "nathelper:enable_ping",
    old_name: "nh_enable_ping",
    forms: &[&[], &["enable"]],
    list: "",
    what: "Says that this node is to ping phones, and to be the active one of its home (1) or not (0), or whether it does.",
};

/// Adds the commands of this file.
pub(super) fn add(registry: &mut Registry, pings: &PingSwitch, cluster: Option<&Cluster>) {
    let (pings, cluster) = (pings.clone(), cluster.cloned());
    registry.add(&ENABLE_PING, move |arguments| {
        let (pings, cluster) = (pings.clone(), cluster.clone());
        async move {
            if !arguments.has("enable") {
                let is_active = cluster.is_none_or(|cluster| cluster.role().is_active);
                return Ok(Answer::Value(json!({ "Status": u8::from(is_active && pings.is_on()) })));
            }
            let is_on = match arguments.number("enable")? {
                0 => false,
                1 => true,
                _ => return Err(Fault::bad_value("enable is 0 or 1")),
            };
            pings.turn(is_on).map_err(|error| {
                Fault::server(format!("it cannot be kept in the data directory, so all stays as it was: {error}"))
            })?;
            if let Some(cluster) = &cluster {
                command(cluster, is_on).await?;
            }
            Ok(Answer::ok())
        }
    });
}

/// Says that this node is to be active, or passive. One that shares its home with nobody is active, and need not be told.
pub(super) async fn command(cluster: &Cluster, is_active: bool) -> Result<(), Fault> {
    let Some(ownership) = &cluster.ownership else { return Ok(()) };
    ownership.set_active(is_active).await.map(drop).ok_or_else(|| Fault::server("the node stops"))
}
