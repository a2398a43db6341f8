//! The command line: what may be typed, and the commands that are done at once.

use crate::cluster::Provisioning;
use crate::cluster_tool::{self, ClusterCommand};
use crate::config::{self, Config, File, LogFormat, LogLevel, NodeConfig, PhoneTls, listener, listener_text};
use crate::ctl::{self, CtlArguments, ExplainArguments};
use crate::directory_tool::{self, DirectoryCommand};
use crate::log_tool::{self, LogCommand};
use crate::peer_tls::PeerVerifier;
use crate::pem::Unusable;
use crate::phone_tls::{PhoneCertificate, Standing, Validity};
use crate::show;
use clap::{Args, CommandFactory, Parser, Subcommand};
use sipfed_proto::{Listener, limits};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// What the process ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All was done.
    Done = 0,
    /// The node could not start, for a reason that no check foresaw; or a log or the directory could not be read.
    Failed = 1,
    /// What was typed is understood, and cannot be meant. Most of what is wrong with it ends in clap, with the same.
    BadCommandLine = 2,
    /// The configuration file cannot be read or is not valid, or does not say what is needed.
    BadConfiguration = 3,
    /// The host lacks something that the node cannot do without.
    UnfitHost = 4,
    /// A second signal ended the node before it had drained.
    Cut = 5,
    /// A part of the log is lost.
    DamagedLog = 6,
    /// The directory holds what it should not.
    BadDirectory = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done; a node that was asked to stop has drained and stopped
  1  the node could not start, the data directory is in use, missing, or no node's, or the store
     of the federation or the database of the cluster could not be reached or answered no
  2  the command line is wrong
  3  the configuration file cannot be read or is not valid, or what the database of the cluster
     has is not
  4  the host lacks something; the message names the command that mends it
  5  a second signal ended the node before it had drained
  6  the log is damaged; `sipfed log verify` names file, record and reason
  7  `sipfed directory verify` found something wrong in the directory of the federation";

const SERVE_EXAMPLES: &str = "\
Examples:
  sipfed serve                                  every core, UDP and TCP 5060 on all IPv4 addresses
  sipfed serve --config /etc/sipfed/sipfed.toml
  sipfed serve --listen udp:127.0.0.1:5060 --shards 1
  sipfed serve --listen 'udp:[::]:5060' --listen udp:0.0.0.0:5060 --log-format json

Signals:
  TERM, INT  hand over, drain and stop: an active node with backups first leaves its home to one of them
             (at most stop.hand_over_s seconds); then new requests are answered 503, and open transactions
             are waited for (at most stop.drain_s seconds); a second one ends the node at once
  USR1       log one line for each shard with all of its counters, one for the directory, and one for
             each link to another node
  USR2       compare what the directory says of this node with what is so, and mend it
  HUP        read the nodes of the cluster again from cluster.db_url";

const CHECK_EXAMPLES: &str = "\
Examples:
  sipfed check /etc/sipfed/sipfed.toml
  sipfed check sipfed.toml && sudo systemctl restart sipfed

Only the file is looked at, never the host: the answer is the same everywhere.";

/// A SIP registrar and proxy for carriers, one shard per core.
#[derive(Debug, Parser)]
#[command(name = "sipfed", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs a node until it is told to stop.
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(ServeArguments),
    /// Says whether a configuration file is valid, and otherwise everything that is wrong with it.
    #[command(after_help = CHECK_EXAMPLES)]
    Check {
        /// The file to check.
        file: PathBuf,
    },
    /// Shows, checks and prints the log of a node that does not run.
    #[command(after_help = log_tool::EXAMPLES)]
    Log {
        /// What to do with it.
        #[command(subcommand)]
        command: LogCommand,
    },
    /// Makes, checks, mends and asks the directory that all nodes of a federation share.
    #[command(after_help = directory_tool::EXAMPLES)]
    Directory {
        /// What to do with it.
        #[command(subcommand)]
        command: DirectoryCommand,
    },
    /// Shows the nodes of the cluster.
    #[command(after_help = cluster_tool::EXAMPLES)]
    Cluster {
        /// What to do with it.
        #[command(subcommand)]
        command: ClusterCommand,
    },
    /// Asks and commands a node that runs: bindings, statistics, drain.
    #[command(after_help = ctl::help())]
    Ctl(CtlArguments),
    /// Says what a node that runs would do with a request: which rules hold, where it would go, and why.
    #[command(after_help = ctl::EXPLAIN_EXAMPLES)]
    Explain(ExplainArguments),
    /// Prints a configuration file that names every key with its default.
    #[command(after_help = "Example:\n  sipfed defaults > sipfed.toml")]
    Defaults,
    /// Prints the version.
    Version,
    /// Prints a completion script for a shell.
    #[command(after_help = "Example:\n  sipfed completions bash | sudo tee /etc/bash_completion.d/sipfed")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// What `serve` takes; everything here stands above the file.
#[derive(Debug, Default, Args)]
pub(crate) struct ServeArguments {
    /// The configuration file; without one, every key has its default.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// An address to listen at, instead of those of the file; may be given several times.
    #[arg(long, value_name = "udp:ADDRESS:PORT", value_parser = parse_listener)]
    listen: Vec<Listener>,
    /// How many shards, one thread each; by default one on every core.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=limits::SHARDS_COUNT_MAX as i64))]
    shards: Option<u8>,
    /// Where bindings are kept, instead of persistence.directory; a folder of this node alone.
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
    /// What a 200 to a REGISTER survives, instead of persistence.durability.
    #[arg(long, value_name = "WHAT", value_parser = ["none", "process", "disk"])]
    durability: Option<String>,
    /// Gives up what is damaged in the log, and tells it, instead of refusing to start. Copy the data directory before.
    #[arg(long)]
    pub(crate) salvage: bool,
    /// The form of log lines.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// The least severe log lines that are written.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<LogLevel>,
    /// Prints what to type next to see a registration and a call, also where stdout is no terminal.
    #[arg(long)]
    pub(crate) hints: bool,
}

impl ServeArguments {
    /// Puts what was typed over what the file says.
    pub(crate) fn override_config(&self, node: &mut NodeConfig) {
        if !self.listen.is_empty() {
            node.listen.clone_from(&self.listen);
        }
        node.shards = self.shards.or(node.shards);
        node.data_directory = self.data_dir.clone().or(node.data_directory.take());
        if let Some(word) = &self.durability {
            node.durability = config::durability(word);
        }
        node.log_format = self.log_format.unwrap_or(node.log_format);
        node.log_level = self.log_level.unwrap_or(node.log_level);
    }
}

fn parse_listener(text: &str) -> Result<Listener, String> {
    listener(text).map_err(|wrong| format!("{}; {}", wrong.what, wrong.right))
}

/// Reads a configuration file; what is wrong with it has been shown when this is an error.
pub(crate) fn read_config(path: &Path) -> Result<Config, Exit> {
    let name = path.display().to_string();
    let unreadable = |what: String, right: &str| {
        show::error(&what, right);
        Exit::BadConfiguration
    };
    let bytes = std::fs::read(path).map_err(|error| {
        unreadable(format!("{name} cannot be read: {error}"), "name a file that this user may read")
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = String::from_utf8_lossy(valid).split('\n').count();
        unreadable(format!("{name} is not UTF-8: see line {line}"), "save the file as UTF-8")
    })?;
    Config::parse(&text).map_err(|problems| {
        let count = problems.len();
        let file = Arc::new(File::new(name.clone(), &text));
        for problem in problems {
            show::diagnostic(&problem.in_file(&file));
        }
        eprintln!("{name}: {count} {}", if count == 1 { "problem" } else { "problems" });
        Exit::BadConfiguration
    })
}

/// `sipfed check FILE`.
pub(crate) fn check(path: &Path) -> Exit {
    match read_config(path) {
        Err(exit) => exit,
        Ok(config) => {
            let certificates = match check_tls(&config.node.phone_tls) {
                Ok(certificates) => certificates,
                Err(error) => {
                    show::error(&error.what, error.right);
                    return Exit::BadConfiguration;
                }
            };
            let shards = config.node.shards.map_or_else(|| "one on every core".to_owned(), |n| n.to_string());
            println!("{} is valid", path.display());
            println!("  listens at  {}", listeners(&config.node.listen));
            println!("  shards      {shards}");
            println!("  domains     {}", domains(&config));
            for line in certificates {
                println!("  certificate {line}");
            }
            if let Some(cluster) = Provisioning::of(&config) {
                println!("  cluster     {cluster}");
                println!("  links       {}", links(&config));
            }
            println!(
                "  directory   {}",
                directory(&config).unwrap_or_else(|| "none: the node stands alone".to_owned())
            );
            Exit::Done
        }
    }
}

/// Whether the files of TLS can be used, and until when each certificate is valid.
fn check_tls(files: &PhoneTls) -> Result<Vec<String>, Unusable> {
    let Some(certificate) = PhoneCertificate::of(files)? else { return Ok(Vec::new()) };
    PeerVerifier::new(files.authorities.as_deref())?;
    let line = |validity: &Validity| {
        let file = validity.file.display();
        let dates = format!("{} to {}", validity.begins_at(), validity.ends_at());
        match validity.standing(files.expiry_warning_days) {
            Standing::Valid => format!("{file}: {dates}"),
            Standing::EndsSoon(days) => format!("{file}: {dates}: it ends in {days} days, renew it"),
            Standing::Expired => format!("{file}: {dates}: IT HAS EXPIRED, phones and peers refuse it"),
            Standing::NotYet => format!("{file}: {dates}: IT DOES NOT COUNT YET, phones and peers refuse it"),
        }
    };
    Ok(certificate.validities().iter().map(line).collect())
}

/// The listeners of a node on one line.
pub(crate) fn listeners(listeners: &[Listener]) -> String {
    listeners.iter().map(listener_text).collect::<Vec<_>>().join(" ")
}

/// The domains of a node on one line.
pub(crate) fn domains(config: &Config) -> String {
    let own = config.cluster.own_addresses_are_domains.then_some("its own addresses");
    config.cluster.domains.iter().map(String::as_str).chain(own).collect::<Vec<_>>().join(", ")
}

/// By what a node and the others of its cluster know each other.
fn links(config: &Config) -> &'static str {
    match (&config.node.tls.ca, &config.cluster.links.secret) {
        (Some(_), _) => "by certificates",
        (None, Some(_)) => "by a secret",
        (None, None) => "none: neither cluster.tls_ca nor cluster.secret is given",
    }
}

/// The directory of a node on one line, where it has one.
pub(crate) fn directory(config: &Config) -> Option<String> {
    let directory = &config.cluster.directory;
    let url = directory.url.as_ref()?;
    // With the table of a cluster it is known when that has been read.
    let home = config.node.home.map_or_else(|| "of the cluster".to_owned(), |home| home.to_string());
    Some(format!("{url} ({}), home {home}", directory.schema.word()))
}

/// `sipfed defaults`.
pub(crate) fn defaults() -> Exit {
    print!("{}", config::default_file());
    Exit::Done
}

/// `sipfed version`.
pub(crate) fn version() -> Exit {
    println!("sipfed {}", env!("CARGO_PKG_VERSION"));
    Exit::Done
}

/// `sipfed completions SHELL`.
pub(crate) fn completions(shell: clap_complete::Shell) -> Exit {
    clap_complete::generate(shell, &mut Cli::command(), "sipfed", &mut std::io::stdout());
    Exit::Done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_typed_stands_above_the_file() {
        let mut config = Config::parse("[node]\nshards = 3\n[log]\nlevel = \"warn\"\n").unwrap();
        let typed = ["sipfed", "serve", "--listen", "udp:127.0.0.1:0", "--log-format", "json"];
        let Command::Serve(arguments) = Cli::parse_from(typed).command else { panic!() };
        arguments.override_config(&mut config.node);
        assert_eq!(listeners(&config.node.listen), "udp:127.0.0.1:0");
        assert_eq!(config.node.shards, Some(3));
        assert_eq!((config.node.log_format, config.node.log_level), (LogFormat::Json, LogLevel::Warn));
    }

    #[test]
    fn a_wrong_listener_is_explained_where_it_was_typed() {
        let error = Cli::try_parse_from(["sipfed", "serve", "--listen", "127.0.0.1:5060"]).unwrap_err();
        assert!(error.to_string().contains("the transport is missing; write \"udp:127.0.0.1:5060\""), "{error}");
        assert!(Cli::try_parse_from(["sipfed", "serve", "--shards", "0"]).is_err());
        assert!(Cli::try_parse_from(["sipfed", "serve", "--shards", "129"]).is_err());
    }
}
