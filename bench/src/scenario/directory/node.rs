//! A daemon with a directory, and its phones.

use crate::cli::DirectoryArgs;
use crate::error::Error;
use crate::register_message::RegisterTemplate;
use crate::server::{DirectoryProbe, Server};
use crate::sockets::Sockets;
use std::fmt::Write;
use std::time::Duration;

/// The domain of all AoRs, for which every node of a federation is responsible.
const DOMAIN: &str = "bench.example";
/// How long a node may take to find its store and to compare what it says.
const START_PATIENCE: Duration = Duration::from_mins(1);

/// A daemon and what loads it.
pub(super) struct Node {
    pub(super) server: Server,
    pub(super) sockets: Sockets,
    pub(super) registers: RegisterTemplate,
    pub(super) probe: DirectoryProbe,
}

/// The subscribers' domain.
pub(super) fn domain(args: &DirectoryArgs) -> &str {
    args.server.domain.as_deref().unwrap_or(DOMAIN)
}

impl Node {
    /// Starts one that keeps its bindings in memory alone, with the directory at `url` or with none, and `more` lines of
    /// its configuration, which begin in `[directory]`. It has done what it does once when this returns.
    pub(super) fn start(args: &DirectoryArgs, url: Option<&str>, more: &str) -> Result<Self, Error> {
        let domain = domain(args);
        let server = args.server.start_configured("none", |address| {
            let mut text = format!("[domains]\nnames = [\"{domain}\"]\n");
            if let Some(url) = url {
                // Writing to a string cannot fail.
                let _ = write!(
                    text,
                    "[directory]\nurl = \"{url}\"\nhome = \"{address}\"\nreconcile_interval_s = 0\n{more}\n"
                );
            }
            text
        })?;
        let probe = server.directory_probe(url.is_some())?;
        if url.is_some() {
            probe.wait_until("the first comparison", START_PATIENCE, |state| state.is_up && state.reconciles > 0)?;
        }
        Ok(Self {
            sockets: Sockets::connect(server.address(), args.server.client_sockets)?,
            registers: RegisterTemplate::new(server.address(), domain, args.phone.instance())?,
            probe,
            server,
        })
    }
}
