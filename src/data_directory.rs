//! Where a node keeps its bindings when nobody says where.

use crate::config::NodeConfig;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Where a node with that configuration keeps its bindings.
pub(crate) fn of(node: &NodeConfig) -> PathBuf {
    node.data_directory.clone().unwrap_or_else(usual)
}

/// Where bindings are kept unless the configuration says otherwise.
pub(crate) fn usual() -> PathBuf {
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    // systemd names the folder that it made for StateDirectory=.
    if let Some(directory) = named("STATE_DIRECTORY") {
        return directory;
    }
    // The owner of its own entry in /proc is the user that a process runs as.
    if std::fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0) {
        return PathBuf::from("/var/lib/sipfed");
    }
    let state = named("XDG_STATE_HOME").or_else(|| named("HOME").map(|home| home.join(".local/state")));
    state.map_or_else(|| PathBuf::from("/var/lib/sipfed"), |state| state.join("sipfed"))
}
