//! `sipfed directory`: makes, checks, mends and asks the store in which all nodes of a federation say whose home they
//! are.
//!
//! In: the store, by its URL or that of a configuration file. Out: text for people, or JSON lines for programs, on
//! stdout; what went wrong on stderr. The store is read in pages, of which one at a time is held; what is found is
//! counted, and shown up to a bound. A node may run meanwhile, and need not.

mod collisions;
mod init;
mod output;
mod pages;
mod repair;
mod rows;
mod show;
mod verify;

pub(crate) use show::canonical as canonical_aor;

use crate::cli::{self, Exit};
use crate::cluster::Provisioning;
use crate::config::{Config, SipAddress};
use crate::stdout::{self, Output};
use clap::{Args, Subcommand};
use sipfed_directory::{Schema, Store, StoreError, StoreOptions, StoreUrl};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) const EXAMPLES: &str = "\
Examples:
  sipfed directory init --config /etc/sipfed/sipfed.toml
  sipfed directory verify --config /etc/sipfed/sipfed.toml
  sipfed directory repair --config /etc/sipfed/sipfed.toml --apply
  sipfed directory show alice@example.com --url cassandra://10.0.0.5/sipfed.userlocation

Nodes may run meanwhile. docs/directory.md says what is stored.";

const STORE_CODES: &str = "  1  the store could not be reached, or answered no; the message says what to do
  2  the command line is wrong
  3  the configuration file cannot be read, is not valid, or has no directory.url";

const INIT_EXAMPLES: &str = "\
Examples:
  sipfed directory init --config /etc/sipfed/sipfed.toml
  sipfed directory init --url 'cassandra://10.0.0.5/sipfed.userlocation?replication=dc1:3,dc2:3'
  sipfed directory init --url mongodb://10.0.0.6/opensipsDB.userlocation --schema opensips

What is there already stays as it is, so it may be done again at any time. A node does the same at
its start while directory.create = true; this is for those whose nodes have no right to.";

const VERIFY_EXAMPLES: &str = "\
Examples:
  sipfed directory verify --config /etc/sipfed/sipfed.toml
  sipfed directory verify --config /etc/sipfed/sipfed.toml --json | jq 'select(.kind == \"void\")'

Everything is read, and nothing changed. Found and counted are:
  malformed  a key that is not AoR and home, an empty AoR or home, a home that is no address[:port]
  void       a row that its home wrote before its epoch, so that no node minds it
  at risk    in OpenSIPS's schema: a row whose key is also that of another AoR at another home,
             so that the two would overwrite each other
  unnamed    with --config: a home that is neither directory.home nor one of directory.peers, nor
             that of a node of the cluster
As text at most 20 examples of each are shown; --json prints all of them.

Rows that differ from the bindings of a running node are not seen here: that node mends them itself,
at its start, every directory.reconcile_interval_s, and when it gets the signal USR2.";

const REPAIR_EXAMPLES: &str = "\
Examples:
  sipfed directory repair --config /etc/sipfed/sipfed.toml             says what it would do
  sipfed directory repair --config /etc/sipfed/sipfed.toml --apply     does it
  sipfed directory repair --config /etc/sipfed/sipfed.toml --retire 10.0.0.9 --apply
  sipfed directory repair --config /etc/sipfed/sipfed.toml --revive 10.0.0.9 --apply

Deleted are malformed rows and void ones, as `sipfed directory verify` names them. A row that is
written again meanwhile stays, and so does one whose home is no address: it may be a name that an
OpenSIPS looks up, and would not publish again.

--retire is for a node that will not come back: one write makes all of its rows void, which every
node knows within five seconds, and then they are deleted. Where the schema keeps no epochs
(OpenSIPS's in MongoDB), its rows are deleted one by one instead. Stop the node before. Should it
start again all the same, it takes its home back by itself. --revive does so by hand, for what the
home writes from then on; a node that runs publishes all of it again when it then gets USR2.

Rows that differ from the bindings of a running node are not mended here: that node does it itself,
at its start, every directory.reconcile_interval_s, and when it gets the signal USR2.";

const SHOW_EXAMPLES: &str = "\
Examples:
  sipfed directory show alice@example.com --config /etc/sipfed/sipfed.toml
  sipfed directory show sip:alice@EXAMPLE.com --url mongodb://10.0.0.6/sipfed.userlocation --json

The AoR is looked up in its canonical form: domain in lower case, no port, no parameters, no
needless escapes. With --config, the row of that node itself is marked.";

/// What can be done with the directory.
#[derive(Debug, Subcommand)]
pub(crate) enum DirectoryCommand {
    /// Makes the tables and indexes that are missing, and says which were there.
    #[command(after_help = INIT_EXAMPLES, after_long_help = with_codes(INIT_EXAMPLES, "all is there"))]
    Init(Place),
    /// Reads all rows, and says what is wrong with the directory.
    #[command(after_help = VERIFY_EXAMPLES, after_long_help = with_codes(VERIFY_EXAMPLES, "all is well")
        + "\n  7  something is wrong")]
    Verify(VerifyArguments),
    /// Deletes rows that are malformed or void, and retires homes; says what it would do unless told to apply it.
    #[command(after_help = REPAIR_EXAMPLES, after_long_help = with_codes(REPAIR_EXAMPLES, "done, or told"))]
    Repair(RepairArguments),
    /// Shows where an AoR is at home.
    #[command(after_help = SHOW_EXAMPLES, after_long_help = with_codes(SHOW_EXAMPLES, "told, also if nobody has published it"))]
    Show(ShowArguments),
}

/// The end of a help text: exit codes, of which `done` is the meaning of 0.
fn with_codes(examples: &str, done: &str) -> String {
    format!("{examples}\n\nExit codes:\n  0  {done}\n{STORE_CODES}")
}

/// Which store, and in what form it is told.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct Place {
    /// The configuration file of a node, whose directory.url says where the store is.
    #[arg(long, short, value_name = "FILE", required_unless_present = "url", conflicts_with_all = ["url", "schema"])]
    config: Option<PathBuf>,
    /// The store, as in directory.url. Who can list processes sees a password in it; in a file it is not seen.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// How rows look, as in directory.schema.
    #[arg(long, value_name = "SCHEMA", value_parser = ["native", "opensips"], default_value = "native")]
    schema: String,
    /// Prints JSON objects, one a line.
    #[arg(long)]
    json: bool,
}

/// How fast rows are read.
#[derive(Debug, Args)]
pub(crate) struct Pace {
    /// Rows a second that are read at most, to spare the store.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rows_per_s: u32,
}

/// What `verify` takes.
#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    pace: Pace,
}

/// What `repair` takes.
#[derive(Debug, Args)]
pub(crate) struct RepairArguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    pace: Pace,
    /// Does it, instead of saying what would be done.
    #[arg(long)]
    apply: bool,
    /// A home that is gone for good; may be given several times.
    #[arg(long, value_name = "HOME")]
    retire: Vec<String>,
    /// A home whose rows count again from now on; may be given several times.
    #[arg(long, value_name = "HOME")]
    revive: Vec<String>,
}

/// What `show` takes.
#[derive(Debug, Args)]
pub(crate) struct ShowArguments {
    /// The address of record: user@domain, or a SIP URI.
    #[arg(value_name = "AOR")]
    aor: String,
    #[command(flatten)]
    place: Place,
}

impl DirectoryCommand {
    const fn place(&self) -> &Place {
        match self {
            Self::Init(place) => place,
            Self::Verify(arguments) => &arguments.place,
            Self::Repair(arguments) => &arguments.place,
            Self::Show(arguments) => &arguments.place,
        }
    }
}

/// Why a command has ended early.
#[derive(Debug)]
enum Stop {
    /// The store is not there, or does not want to.
    Store(StoreError),
    /// What was typed cannot be meant: what is wrong, and what would be right.
    Typed(String, String),
    /// What the configuration lacks, and what would be right.
    Configuration(String, String),
    /// It has been told already.
    Told(Exit),
    /// Nobody takes what is printed.
    Output(io::Error),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// A request that takes longer than this is repeated, and given up in the end; an operator has more patience than a
/// call.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where the store is, and what the configuration says about who uses it.
#[derive(Debug)]
struct Target {
    url: StoreUrl,
    options: StoreOptions,
    /// How the store is named in commands that a text proposes.
    argument: String,
    /// This node and its peers; `None` without a configuration.
    named: Option<Named>,
    /// The domains that the configuration names.
    domains: Vec<String>,
    is_json: bool,
}

/// The nodes that a configuration names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Named {
    home: Option<SipAddress>,
    peers: Vec<SipAddress>,
}

impl Named {
    fn all(&self) -> impl Iterator<Item = SipAddress> + use<'_> {
        self.home.into_iter().chain(self.peers.iter().copied())
    }
}

impl Target {
    fn new(place: &Place) -> Result<Self, Stop> {
        match (&place.config, &place.url) {
            (Some(path), _) => Self::of_config(path, place.json),
            (None, Some(text)) => Self::of_url(text, &place.schema, place.json),
            // clap lets nobody through who gives neither.
            (None, None) => Err(Stop::Typed("no store is named".to_owned(), "give --config or --url".to_owned())),
        }
    }

    fn of_config(path: &std::path::Path, is_json: bool) -> Result<Self, Stop> {
        let mut config = cli::read_config(path).map_err(Stop::Told)?;
        let is_known = know_cluster(&mut config)?;
        let Config { cluster, node } = config;
        let directory = cluster.directory;
        let Some(url) = directory.url else {
            return Err(Stop::Configuration(
                format!("{} has no directory.url, so its node stands alone", path.display()),
                "add url = \"cassandra://…\" or \"mongodb://…\" below [directory], or give --url".to_owned(),
            ));
        };
        if url == StoreUrl::Memory {
            return Err(Stop::Configuration(
                format!("directory.url of {} is \"memory:\", which only the node itself can see", path.display()),
                "name a store in Cassandra or MongoDB".to_owned(),
            ));
        }
        let options = StoreOptions {
            schema: directory.schema,
            create: false,
            timeout: Duration::from_millis(directory.timeout_ms.into()).max(TIMEOUT),
            lease_s: directory.lease_s,
        };
        let named = is_known.then_some(Named { home: node.home, peers: directory.peers });
        Ok(Self {
            url,
            options,
            argument: format!("--config {}", path.display()),
            named,
            domains: cluster.domains,
            is_json,
        })
    }

    fn of_url(text: &str, schema: &str, is_json: bool) -> Result<Self, Stop> {
        let url: StoreUrl = text
            .parse()
            .map_err(|error: sipfed_directory::UrlError| Stop::Typed(format!("--url: {}", error.what), error.right))?;
        if url == StoreUrl::Memory {
            let what = "--url: \"memory:\" is a store that only a node itself can see";
            return Err(Stop::Typed(what.to_owned(), "name a store in Cassandra or MongoDB".to_owned()));
        }
        let schema = if schema == Schema::OpenSips.word() { Schema::OpenSips } else { Schema::Native };
        let options = StoreOptions { schema, create: false, timeout: TIMEOUT, lease_s: 0 };
        // Not the URL: it may hold a password, and without it would not do.
        Ok(Self {
            url,
            options,
            argument: format!("--url … --schema {}", schema.word()),
            named: None,
            domains: Vec::new(),
            is_json,
        })
    }

    async fn connect(&self) -> Result<Store, StoreError> {
        Store::connect(&self.url, &self.options).await
    }
}

/// Takes home and peers from the cluster, where the configuration has one. Says whether they are known; what the store
/// holds can be told without.
fn know_cluster(config: &mut Config) -> Result<bool, Stop> {
    let Some(provisioning) = Provisioning::of(config) else { return Ok(true) };
    match provisioning.known() {
        Ok(known) => {
            config.join(&known.topology).map_err(|fault| Stop::Configuration(fault.what, fault.right))?;
            Ok(true)
        }
        Err(unknown) => {
            eprintln!("the homes of this cluster are not named below: {unknown}");
            Ok(false)
        }
    }
}

/// `sipfed directory ...`.
pub(crate) fn run(command: &DirectoryCommand) -> Exit {
    let mut output = Output::new();
    let done = Target::new(command.place()).and_then(|target| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            match command {
                DirectoryCommand::Init(_) => init::run(&target, &mut output).await,
                DirectoryCommand::Verify(arguments) => verify::run(&target, &arguments.pace, &mut output).await,
                DirectoryCommand::Repair(arguments) => repair::run(&target, arguments, &mut output).await,
                DirectoryCommand::Show(arguments) => show::run(&target, &arguments.aor, &mut output).await,
            }
        })
    });
    // What was found before the end is worth as much as all of it.
    let flushed = output.flush();
    match done.and_then(|exit| flushed.map(|()| exit).map_err(Stop::Output)) {
        Ok(exit) => exit,
        Err(stop) => told(&stop),
    }
}

/// Shows why a command has ended early.
fn told(stop: &Stop) -> Exit {
    let (what, right, exit) = match stop {
        Stop::Output(error) => return stdout::not_taken(error),
        Stop::Told(exit) => return *exit,
        Stop::Typed(what, right) => (what.clone(), &**right, Exit::BadCommandLine),
        Stop::Configuration(what, right) => (what.clone(), &**right, Exit::BadConfiguration),
        Stop::Store(error) if error.is_passing() => {
            (error.told(), "see that the store runs and can be reached from here, and try again", Exit::Failed)
        }
        Stop::Store(error) => {
            (error.told(), "the store has answered; the same will fail again until that is changed", Exit::Failed)
        }
    };
    crate::show::error(&what, right);
    exit
}
