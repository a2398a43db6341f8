//! Why a log does not do what it was asked: what was wrong, where, and what to do.

use crate::damage::{Damage, told};
use crate::{DirectoryError, OPERATIONS_BYTES_MAX, Sequence};
use std::path::PathBuf;

/// Why a log is not opened. No thread of it runs once this is returned.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The calling thread is pinned, and RocksDB's threads would be as well.
    #[error(
        "the log is opened from a thread that may use cores {thread} of {process} only, and its background threads would \
         share them; open it before the thread is pinned, or from another one"
    )]
    PinnedThread {
        /// The cores of the calling thread.
        thread: String,
        /// The cores of the process's first thread.
        process: String,
    },
    /// It is open already.
    #[error("the log in {} is open already, in this process or another; close it there first", folder.display())]
    InUse {
        /// The log's folder.
        folder: PathBuf,
    },
    /// Entries are lost, or may be. What is damaged is left as it was found.
    #[error(
        "the log in {} is damaged: {}; restore it from a copy, or open it with salvage to give up what is lost",
        folder.display(), told(damages)
    )]
    Damaged {
        /// The log's folder.
        folder: PathBuf,
        /// All that was found.
        damages: Vec<Damage>,
    },
    /// There is no room to open it: what the write-ahead log holds is written to tables then.
    #[error("there is no room to open the log in {}: {cause}; free some space and try again", folder.display())]
    DiskFull {
        /// The log's folder.
        folder: PathBuf,
        /// What was said below.
        cause: String,
    },
    /// Its folder cannot be made or read.
    #[error(transparent)]
    Folder(#[from] DirectoryError),
    /// Something else has failed.
    #[error("cannot {step} the log in {}: {cause}", folder.display())]
    Failed {
        /// What was being done.
        step: &'static str,
        /// The log's folder.
        folder: PathBuf,
        /// What was said below.
        cause: String,
    },
}

/// Why operations were not appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// It would have had to wait: the disk is behind by all write buffers, or the list of generations is being written.
    /// Nothing was written; try again later.
    #[error("the log would have to wait; nothing was written, try again later")]
    Stalled,
    /// More than one append may have. Nothing was written; split the operations.
    #[error("{bytes} bytes of operations are more than one append may have ({OPERATIONS_BYTES_MAX}); split them")]
    TooLarge {
        /// Their size.
        bytes: usize,
    },
    /// There is no room. These operations may be found after a restart, or not. The log takes nothing more until
    /// [`crate::Log::reopen`].
    #[error("no room is left for the log in {}: {cause}; free some space, then reopen the log", folder.display())]
    DiskFull {
        /// The log's folder.
        folder: PathBuf,
        /// What was said below.
        cause: String,
    },
    /// Something has failed. These operations may be found after a restart, or not. The log takes nothing more until
    /// [`crate::Log::reopen`].
    #[error("the log in {} cannot {step}: {cause}; it takes nothing until it is reopened", folder.display())]
    Failed {
        /// What was being done.
        step: &'static str,
        /// The log's folder.
        folder: PathBuf,
        /// What was said below.
        cause: String,
    },
}

/// The log's thread has not done yet what it was asked before; wait for its [`crate::Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log is still busy with what it was asked before; wait for its event")]
pub struct Busy;

/// Why a log was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Entries cannot be read or are missing. Those before were visited.
    #[error("{damage}; {visited} records were read; restore the log from a copy, or open it with salvage")]
    Damaged {
        /// The first damage.
        damage: Damage,
        /// Entries that were visited.
        visited: u64,
    },
    /// The log is not open: a reopening has failed or has not ended.
    #[error("the log is not open")]
    NotOpen,
    /// Something else has failed.
    #[error("cannot {step} after record {after}: {cause}")]
    Failed {
        /// What was being done.
        step: &'static str,
        /// The last entry that was visited.
        after: Sequence,
        /// What was said below.
        cause: String,
    },
}

/// Why a directory cannot be read without a node.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The directory is refused.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// There is nothing at the path.
    #[error("there is no directory {}; name the data directory of a node", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// No node has made the directory, or its manifest is lost.
    #[error(
        "{} is not the data directory of a node: it has no file `manifest`; name another, or restore the file if it was",
        path.display()
    )]
    NoManifest {
        /// The directory.
        path: PathBuf,
    },
    /// A log cannot be opened.
    #[error("the log of shard {shard} cannot be read: {}", told(damages))]
    Damaged {
        /// The shard.
        shard: u32,
        /// Why not.
        damages: Vec<Damage>,
    },
    /// A log cannot be read to its end.
    #[error("the log of shard {shard}: {source}")]
    Replay {
        /// The shard.
        shard: u32,
        /// Why not.
        source: ReplayError,
    },
}
