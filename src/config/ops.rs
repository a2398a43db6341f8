//! How the node is managed while it runs: where its management interface is.

use super::key::{Key, Kind, Wrong};
use super::node::NodeConfig;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The keys of the section `ops`.
#[derive(Clone, Debug)]
pub(crate) struct OpsConfig {
    /// Where HTTP is listened for; `None` for nowhere.
    pub(crate) listen: Option<SocketAddr>,
    /// Whether that may be an address that other hosts reach.
    pub(crate) allow_remote: bool,
    /// The named pipe that commands are written to; `None` for none.
    pub(crate) fifo: Option<PathBuf>,
    /// The folder of the pipes that are answered to.
    pub(crate) fifo_reply_directory: PathBuf,
}

impl Default for OpsConfig {
    fn default() -> Self {
        Self { listen: None, allow_remote: false, fifo: None, fifo_reply_directory: PathBuf::from("/tmp") }
    }
}

/// Its name in the file.
pub(super) const SECTION: &str = "ops";

/// Every key of the section.
pub(super) const KEYS: &[Key<NodeConfig>] = &[
    Key {
        section: SECTION,
        name: "listen",
        what: "Where commands are taken over HTTP, at the path `/mi` (OpenSIPS's mi_http). Left out: nowhere. Port 0 lets the \
               kernel choose.",
        kind: Kind::Text {
            form: "\"address:port\"",
            get: |config| config.ops.listen.map(|addr| addr.to_string()),
            set: |config, text| {
                let right = "write an IP address of this host and a port, such as \"127.0.0.1:8888\" or \"[::1]:8888\"";
                let addr = text.parse().map_err(|_| Wrong::new("not an IP address with a port", right))?;
                config.ops.listen = Some(addr);
                Ok(())
            },
        },
    },
    Key {
        section: SECTION,
        name: "allow_remote",
        what: "Whether `ops.listen` may be an address that other hosts reach. Nobody is asked for a password there: only a \
               firewall then stands between the network and every binding.",
        kind: Kind::Flag {
            get: |config| config.ops.allow_remote,
            set: |config, value| config.ops.allow_remote = value,
        },
    },
    Key {
        section: SECTION,
        name: "fifo",
        what: "A named pipe that commands are written to (OpenSIPS's mi_fifo); the node makes it, for its user and group, and \
               removes it. Left out: none.",
        kind: Kind::Text {
            form: "absolute path",
            get: |config| config.ops.fifo.as_ref().map(|path| path.display().to_string()),
            set: |config, text| {
                config.ops.fifo = Some(absolute(text)?);
                Ok(())
            },
        },
    },
    Key {
        section: SECTION,
        name: "fifo_reply_directory",
        what: "The folder of the named pipes that who writes to `ops.fifo` wants answers at (mi_fifo's `reply_dir`).",
        kind: Kind::Text {
            form: "absolute path",
            get: |config| Some(config.ops.fifo_reply_directory.display().to_string()),
            set: |config, text| {
                config.ops.fifo_reply_directory = absolute(text)?;
                Ok(())
            },
        },
    },
];

fn absolute(text: &str) -> Result<PathBuf, Wrong> {
    let path = PathBuf::from(text);
    if !path.is_absolute() {
        return Err(Wrong::new("not an absolute path", "write it from the root, such as \"/run/sipfed/fifo\""));
    }
    Ok(path)
}
