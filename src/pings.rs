//! Whether the node pings phones, as its operator wants it: kept over a restart by a file in the data directory.
//!
//! In: `nh_enable_ping`. Out: what the shards are told, once it is durable. Whoever is not the active node of its home pings
//! nobody, whatever was said here; and a node that was told to leave it does so until it is told otherwise, however often
//! its address comes and goes.

use sipfed_shards::Activity;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::info;

/// In the data directory while phones are not pinged.
const FILE: &str = "no-pings";

/// See the module's documentation. A copy turns the same switch.
#[derive(Clone, Debug)]
pub(crate) struct PingSwitch(Arc<Switch>);

#[derive(Debug)]
struct Switch {
    shards: Activity,
    /// Where it is kept; `None` for nowhere, as a node without a data directory does.
    directory: Option<PathBuf>,
    is_on: Mutex<bool>,
}

impl PingSwitch {
    /// As it was left. The data directory must be there.
    pub(crate) fn new(shards: Activity, directory: Option<PathBuf>) -> Self {
        let is_on = directory.as_ref().is_none_or(|directory| !directory.join(FILE).exists());
        if !is_on {
            info!(
                "phones are not pinged, as nh_enable_ping 0 has said before the start; nh_enable_ping 1 says otherwise"
            );
            shards.set_pinging(false);
        }
        Self(Arc::new(Switch { shards, directory, is_on: Mutex::new(is_on) }))
    }

    /// Whether phones are pinged while the node is the active one.
    pub(crate) fn is_on(&self) -> bool {
        *self.0.is_on.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Turns it. What could not be kept is not done.
    pub(crate) fn turn(&self, is_on: bool) -> io::Result<()> {
        let Switch { shards, directory, is_on: present } = &*self.0;
        let mut present = present.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(directory) = directory.as_ref().filter(|_| *present != is_on) {
            let file = directory.join(FILE);
            if is_on {
                fs::remove_file(file).or_else(|error| match error.kind() {
                    io::ErrorKind::NotFound => Ok(()),
                    _ => Err(error),
                })?;
            } else {
                OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(file)?.sync_all()?;
            }
            File::open(directory)?.sync_all()?;
        }
        *present = is_on;
        shards.set_pinging(is_on);
        Ok(())
    }
}
