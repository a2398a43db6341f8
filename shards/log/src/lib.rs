//! The persistence log of a node: one RocksDB per shard, and the directory that holds them all.
//!
//! # Contract
//! What goes in: the operations of one turn of a shard, as bytes that mean nothing here. What comes out, after a
//! restart: the same bytes under the same [`Sequence`], oldest first. [`DataDirectory`] owns the folder of a node,
//! [`Log`] the log of one shard; each has one owner and is shared with nobody. [`LogReader`] reads both while no node
//! runs.
//!
//! Three promises:
//! - What [`Log::append`] has returned a sequence for survives the death of the process, and what [`Log::durable`] has
//!   reached survives what [`Durability`] says.
//! - Nothing is lost silently. A tail that was being written when the process or the machine died is cut back and told in
//!   the [`OpenReport`]; any other loss is refused with file, record and reason, and is accepted only by
//!   [`LogOptions::salvage`], which lists what it gave up.
//! - The thread that appends does not wait: creating, flushing and dropping generations, syncing and reopening happen
//!   on threads of the log. What cannot be written at once is [`AppendError::Stalled`].
//!
//! # Generations, and how what has expired leaves
//! A log is a row of generations, each a column family of its own, and is only ever dropped by the oldest generation as
//! a whole: no scan, no compaction, every byte is written twice (write-ahead log, then table) and never again. That
//! works when a generation holds nothing that a later time needs. So the caller *logs a binding whole when it was last
//! written whole before the current generation began*, and as a few bytes otherwise. A binding that lives is then whole
//! in the current generation or the one before, and a generation that ended longer ago than the longest expiry holds
//! only what has expired, was removed, or was written again. To that end operations are composed for the generation that
//! [`Log::generation`] names, which changes in [`Log::poll`] and nowhere else: poll at the start of a turn, then
//! compose, then append.
//!
//! # Threads
//! RocksDB starts its threads from the thread that opens the first log, and they inherit the cores that it may run on.
//! Open logs from a thread that is not pinned; [`Log::open`] refuses one that may use fewer cores than the
//! process's first thread, and looks at RocksDB's threads afterwards. [`Log::reopen`] works on a thread that was started
//! then, so it may be called from a pinned one. Each log has one thread of its own (`log-keeper`), and with
//! [`Durability::Disk`] a second one (`log-syncer`).
//!
//! # Bounds
//! Memory of a log: at most [`WRITE_BUFFERS_COUNT_MAX`] buffers of [`WRITE_BUFFER_BYTES`]. Write-ahead logs: about as
//! much, at most [`WAL_BYTES_MAX`]. A turn's operations: [`OPERATIONS_BYTES_MAX`]. Disk: two generations and what is not
//! dropped yet, which is the caller's to bound.
//!
//! # Rooms
//! - `directory`: the folder of a node: manifest, secret, lock, layouts.
//! - `log`: one shard's log: `log/opening`, `log/keeper`, `log/syncer` are its threads and its start.
//! - `wal`: reads RocksDB's write-ahead log by itself, to tell a torn tail from damage.
//! - `replay`: reads everything in order and finds what is missing.
//! - `reader`: inspection, verification and export without a node.
//! - `store`: RocksDB's options and handles; no type of RocksDB is public.
//! - `entry`: how a turn's operations are written; `high_water`: the note of what has reached the disk.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod affinity;
mod damage;
mod directory;
mod entry;
mod error;
mod generation;
mod high_water;
mod log;
mod reader;
mod replay;
mod sequence;
mod store;
mod wal;

pub use damage::{Damage, Lost};
pub use directory::{DataDirectory, DirectoryError, Identity, Layout, Resharding};
pub use error::{AppendError, Busy, OpenError, ReadError, ReplayError};
pub use generation::Generation;
pub use log::{Durability, Event, Log, LogOptions, Meter, OpenReport, Sizes, Statistics};
pub use reader::{GenerationInspection, Inspection, LogReader, ShardInspection, ShardVerification, Verification};
pub use replay::{Entry, Progress, Replayed};
pub use sequence::Sequence;
pub use store::{WAL_BYTES_MAX, WRITE_BUFFER_BYTES, WRITE_BUFFERS_COUNT_MAX};

/// Bytes of operations of one append.
pub const OPERATIONS_BYTES_MAX: usize = 8 << 20;
/// Damages that one report lists; further ones are only counted into the last.
pub const DAMAGES_COUNT_MAX: usize = 1000;

const _: () = assert!(OPERATIONS_BYTES_MAX < WRITE_BUFFER_BYTES, "a turn fits into one write buffer");
