//! sipfed: a SIP registrar and proxy for carriers, one shard per core.
//!
//! This crate is the control plane: command line, configuration, checks of the host, start and stop, logs.
//! Messages never pass through it; see `sipfed-shards` for the data plane.

#![forbid(unsafe_code)]

mod cli;
mod cluster;
mod cluster_tool;
mod config;
mod ctl;
mod data_directory;
mod directory_tool;
mod link;
mod log;
mod log_tool;
mod names;
mod node;
mod ops;
mod ownership;
mod peer_tls;
mod pem;
mod phone_tls;
mod pings;
mod replication;
mod show;
mod stdout;

use clap::Parser;
use cli::{Cli, Command};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(arguments) => node::serve(&arguments),
        Command::Check { file } => cli::check(&file),
        Command::Log { command } => log_tool::run(&command),
        Command::Cluster { command } => cluster_tool::run(&command),
        Command::Directory { command } => directory_tool::run(&command),
        Command::Ctl(arguments) => ctl::run(&arguments),
        Command::Explain(arguments) => ctl::explain(&arguments),
        Command::Defaults => cli::defaults(),
        Command::Version => cli::version(),
        Command::Completions { shell } => cli::completions(shell),
    }
    .into()
}
