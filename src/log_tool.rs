//! `sipfed log`: what is in the log of a node that does not run.
//!
//! In: a data directory, which is only read. Out: text for people, or JSON lines for programs, on stdout; what went wrong
//! on stderr. Reading streams: an export of changes holds one record at a time, one of bindings those of one shard.
//!
//! `sipfed-log` knows records and what is lost of them, `sipfed-proto` what a record says; here both meet.

mod export;
mod inspect;
mod output;
mod progress;
mod verify;

use crate::cli::Exit;
use crate::stdout::{self, Output};
use crate::{data_directory, show};
use clap::{Args, Subcommand};
use sipfed_log::{DirectoryError, LogReader, ReadError, ReplayError};
use std::io;
use std::path::PathBuf;

pub(crate) const EXAMPLES: &str = "\
Examples:
  sipfed log inspect                            shards, generations, records and sizes
  sipfed log verify && sudo systemctl start sipfed
  sipfed log export | jq -r .aor | sort -u      who is registered

The node must not run: its log changes all the time. Nothing in the directory is changed.";

const INSPECT_EXAMPLES: &str = "\
Examples:
  sipfed log inspect
  sipfed log inspect --data-dir /var/lib/sipfed --json | jq 'select(.kind == \"shard\") | .records'

A record is what one shard has changed in one turn; records of a shard are numbered from 1. A
generation is a part of the log that is deleted as a whole once all that it holds has run out or
was written again. Tables are not read through, so damage in them may go unseen: see `verify`.";

const VERIFY_EXAMPLES: &str = "\
Examples:
  sipfed log verify
  sipfed log verify --data-dir /backup/sipfed --json

Exit codes:
  0  everything can be read; what was being written when the node died is no damage and is cut
     by the next start
  1  it could not be read at all: the directory is in use, missing, or no node's
  6  something is damaged or missing; each place is named with file, record and reason

Of a damaged log, `sipfed log export --salvage` prints what can be read, and
`sipfed serve --salvage` starts with that.";

const EXPORT_EXAMPLES: &str = "\
Examples:
  sipfed log export > bindings.jsonl
  sipfed log export | jq -r 'select(.aor == \"alice@example.com\") | .contact'
  sipfed log export --changes | jq 'select(.contact_id == \"8d1f0c2ab3947e55\")'

Prints a JSON object for each binding that a node would have if it started now, or with --changes
for each change in the order of its shard's log. Times are UTC. In texts of phones, what is not
UTF-8 becomes U+FFFD. Bindings of one shard at a time are held in memory; with --changes, none.

Exit codes:
  0  all was printed, or with --salvage all that can be read; what is lost is told on stderr
  1  the directory is in use, missing, or no node's
  6  something is damaged, and what came before it was printed";

/// What can be done with a log.
#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Shows what a data directory holds: shards, generations, records, sizes, and what is damaged.
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect(Form),
    /// Reads and checks everything, and names each damage with file, record and reason.
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(Form),
    /// Prints the bindings that a node would start with, or all changes, as JSON lines.
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(ExportArguments),
}

/// Which directory.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The data directory; by default the one that `sipfed serve` uses when it is started by this user.
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
}

/// Which directory, and in what form it is told.
#[derive(Debug, Args)]
pub(crate) struct Form {
    #[command(flatten)]
    place: Place,
    /// Prints JSON objects, one a line: one for the directory, and one for each shard.
    #[arg(long)]
    json: bool,
}

/// What `export` takes.
#[derive(Debug, Args)]
pub(crate) struct ExportArguments {
    #[command(flatten)]
    place: Place,
    /// Prints every change with its shard, generation and record instead of the bindings that they lead to.
    #[arg(long)]
    changes: bool,
    /// Leaves out what is damaged, and tells it, instead of ending there.
    #[arg(long)]
    salvage: bool,
}

/// Why a command has ended early.
#[derive(Debug)]
enum Stop {
    /// The log cannot be read.
    Read(ReadError),
    /// A record can be read and does not say what a record says.
    BadRecord(String),
    /// Nobody takes what is printed.
    Output(io::Error),
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// `sipfed log ...`.
pub(crate) fn run(command: &LogCommand) -> Exit {
    let place = match command {
        LogCommand::Inspect(form) | LogCommand::Verify(form) => &form.place,
        LogCommand::Export(arguments) => &arguments.place,
    };
    let path = place.data_dir.clone().unwrap_or_else(data_directory::usual);
    let mut output = Output::new();
    let done = LogReader::open(&path).map_err(Stop::Read).and_then(|reader| match command {
        LogCommand::Inspect(form) => inspect::run(&reader, &path, form.json, &mut output),
        LogCommand::Verify(form) => verify::run(&reader, &path, form.json, &mut output),
        LogCommand::Export(arguments) => {
            let what = if arguments.changes { export::What::Changes } else { export::What::Bindings };
            export::run(&reader, what, arguments.salvage, &mut output)
        }
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
    match stop {
        Stop::Output(error) => stdout::not_taken(error),
        Stop::BadRecord(what) => {
            show::error(what, "a newer release may have written it; --salvage leaves it out");
            Exit::DamagedLog
        }
        Stop::Read(error) => {
            let (right, exit) = match error {
                ReadError::Damaged { .. } | ReadError::Replay { source: ReplayError::Damaged { .. }, .. } => {
                    ("`sipfed log verify` lists all damage; --salvage exports what can be read", Exit::DamagedLog)
                }
                ReadError::Directory(DirectoryError::InUse { .. }) => {
                    ("a log can be read only while no node writes it", Exit::Failed)
                }
                ReadError::Missing { .. } | ReadError::NoManifest { .. } | ReadError::Directory(_) => {
                    ("--data-dir names the directory; a node tells its own with persistence.directory", Exit::Failed)
                }
                ReadError::Replay { .. } => ("the reason names what to look at", Exit::Failed),
            };
            show::error(&error.to_string(), right);
            exit
        }
    }
}
