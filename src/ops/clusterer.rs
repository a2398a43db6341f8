//! The nodes of the cluster, by the commands of OpenSIPS's clusterer.

use super::answer::{Answer, Fault};
use super::parameters::Signature;
use super::registry::Registry;
use crate::cluster::Reload;
use tokio::sync::oneshot;

pub(super) const COMMANDS: &[&Signature] = &[&RELOAD];

static RELOAD: Signature = Signature {
    name: "clusterer:reload",
    old_name: "clusterer_reload",
    forms: &[&[]],
    list: "",
    what: "Reads the nodes of the cluster again from cluster.db_url, and answers when that is done.",
};

/// Adds the commands of this file.
pub(super) fn add(registry: &mut Registry, reload: Option<Reload>) {
    registry.add(&RELOAD, move |_| {
        let reload = reload.clone();
        async move {
            let Some(reload) = reload else {
                let what = "the nodes of the cluster are in no database: cluster.db_url is not given";
                return Err(Fault::new(400, "Clustering not enabled").with(what));
            };
            let (sender, done) = oneshot::channel();
            let tell = move |read| {
                // Whoever asked may have gone.
                let _ = sender.send(read);
            };
            if !reload.ask(tell) {
                return Err(Fault::server(
                    "the nodes are being read already, and others wait for that; ask again later",
                ));
            }
            // Reading ends by itself: cluster.db_timeout_ms bounds it.
            match done.await {
                Ok(Ok(())) => Ok(Answer::ok()),
                Ok(Err(why)) => Err(Fault::new(500, "Failed to reload").with(format!("all stays as it was: {why}"))),
                Err(_) => Err(Fault::server("the node stops")),
            }
        }
    });
}
