//! What the host has to offer before anything starts: raises what can be raised, tells what is missing.

use crate::cli::Exit;
use crate::config::{Config, LogFormat};
use crate::show;
use sipfed_tuning::{Address, Facts, Needs, Protocol, Verdict};
use std::net::IpAddr;
use tracing::{debug, error, warn};

/// Checks the host, which need not have the virtual address now, and returns the connections that a shard may hold there.
/// What is fatal has been shown when this is an error.
pub(super) fn prepare(config: &Config, virtual_ip: Option<IpAddr>, shards: usize) -> Result<u32, Exit> {
    let needs = needs(config, virtual_ip, shards);
    sipfed_tuning::raise_limits(&needs);
    let facts = Facts::read(&needs);
    let mut fit = true;
    for check in sipfed_tuning::check(&facts, &needs) {
        match check.verdict {
            Verdict::Fine => debug!(check = check.name, "fine"),
            Verdict::Warning(finding) => {
                // The first line is the command for a shell; a log line has room for one.
                let mend = finding.mend.lines().next().unwrap_or_default();
                warn!(check = check.name, mend, "{}", finding.what);
            }
            Verdict::Fatal(finding) => {
                fit = false;
                match config.node.log_format {
                    LogFormat::Json => error!(check = check.name, mend = finding.mend, "{}", finding.what),
                    LogFormat::Text => show::error(&finding.what, &finding.mend),
                }
            }
        }
    }
    match sipfed_tuning::connections_per_shard(&facts, &needs) {
        Some(connections) if fit => Ok(connections.get()),
        _ => Err(Exit::UnfitHost),
    }
}

fn needs(config: &Config, virtual_ip: Option<IpAddr>, shards: usize) -> Needs {
    let sockets = &config.node.sockets;
    let address = |listener: &sipfed_proto::Listener| Address {
        protocol: if listener.transport.is_reliable() { Protocol::Tcp } else { Protocol::Udp },
        addr: listener.addr,
        is_virtual: virtual_ip == Some(listener.addr.ip()),
    };
    Needs {
        shards: shards as u32,
        connections_per_shard_max: sockets.connections_per_shard_max,
        listen: config.node.listen.iter().map(address).collect(),
        receive_buffer_bytes: sockets.receive_buffer_bytes as u64,
        send_buffer_bytes: sockets.send_buffer_bytes as u64,
    }
}
