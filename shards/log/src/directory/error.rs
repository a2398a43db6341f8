//! Why a directory is refused: what was wrong, where, and what to do.

use std::io;
use std::path::PathBuf;

/// Why a directory is refused. Nothing in it was changed, unless a step of writing it has failed.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// A number of shards that no node has.
    #[error("{count} shards are asked for; a node has 1 to 65535")]
    ShardsCount {
        /// What was asked for.
        count: u32,
    },
    /// There is something at the path, or on the way to it, that is no directory.
    #[error("{} is not a directory; name one that is, or one that does not exist yet", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The directory holds something, but no manifest.
    #[error(
        "{} is not a data directory: it is not empty and has no manifest; name an empty directory, or restore the \
         manifest if it was one",
        path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// A newer release has written it.
    #[error(
        "{} has format {found}, and this release reads up to {known}; run the release that wrote it, or a newer one",
        path.display()
    )]
    NewerFormat {
        /// The manifest.
        path: PathBuf,
        /// The format that it names.
        found: u64,
        /// The newest that is known here.
        known: u64,
    },
    /// An older version has written it.
    #[error(
        "{} has format {found}, and this version reads format {known} alone; move the directory away and start with an empty \
         one: phones register anew as their registrations run out",
        path.display()
    )]
    OlderFormat {
        /// The manifest.
        path: PathBuf,
        /// The format that it names.
        found: u64,
        /// The one that is known here.
        known: u64,
    },
    /// The manifest cannot be trusted.
    #[error("{} is damaged: {reason}; restore it from a copy", path.display())]
    ManifestDamaged {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The secret cannot be trusted. With another one, every address of record would belong to another shard.
    #[error("{} is damaged: {reason}; restore it from a copy", path.display())]
    SecretDamaged {
        /// The secret's file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Others may read or write it, or its owner may not.
    #[error("{} has mode {mode:03o}; it must be {wanted:03o} (`chmod {wanted:o} {}`)", path.display(), path.display())]
    Permissions {
        /// The file or directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode that it must have.
        wanted: u32,
    },
    /// Another process has it.
    #[error(
        "{} is in use by {}; stop it first, or name another directory",
        path.display(),
        holder.map_or_else(|| "another process (`fuser` on its file `lock` names it)".to_owned(), |pid| format!("process {pid}"))
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Number of the process that owns it, where known.
        holder: Option<u32>,
    },
    /// It cannot be written to.
    #[error("{} is on a file system that is mounted read-only; mount it for writing, or name another", path.display())]
    ReadOnly {
        /// The path that could not be written.
        path: PathBuf,
    },
    /// The kernel refused something else.
    #[error("cannot {step} {}: {source}", path.display())]
    Io {
        /// What was being done.
        step: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}
