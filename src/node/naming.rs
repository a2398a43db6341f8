//! The thread that resolves names, as the node starts it.

use super::failed;
use crate::cli::Exit;
use crate::config::Config;
use crate::names::{Bell, NameThread};
use sipfed_shards::{DataPlane, Wake};

/// How the shards wake it, where there is to be one.
pub(super) fn wake(config: &Config, bell: &Bell) -> Option<Wake> {
    let bell = bell.clone();
    config.node.names.resolve.then(|| Wake::new(move || bell.ring()))
}

/// Starts it for the shards that have queues to it.
pub(super) fn start(config: &Config, plane: &DataPlane, bell: &Bell) -> Result<Option<NameThread>, Exit> {
    let Some(link) = plane.names() else { return Ok(None) };
    let thread = NameThread::start(&config.node.names, link, bell);
    thread.map(Some).map_err(|error| failed(config, "what resolves names did not start", &error))
}
