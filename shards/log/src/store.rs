//! RocksDB: its options, and what its errors mean.
//!
//! The options are those that measured best for a log that is appended to and read once: small write buffers, which stay
//! in the processor's cache; tables that are never compacted, since keys only grow and generations leave as a whole;
//! no compression, which costs more than the bytes that it saves on entries of a few dozen bytes.

use crate::Generation;
use rocksdb::{
    ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, DBWithThreadMode, Env, Error, ErrorKind, LogLevel,
    MultiThreaded, Options,
};
use std::path::Path;

/// An open database.
pub(crate) type Store = DBWithThreadMode<MultiThreaded>;

/// Bytes of one write buffer. When it is full it becomes a table on disk.
pub const WRITE_BUFFER_BYTES: usize = 16 << 20;
/// Write buffers of a log, the one that is written to included. When all are full, appends are stalled.
pub const WRITE_BUFFERS_COUNT_MAX: usize = 4;
/// Bytes of write-ahead logs after which the oldest buffer is written to disk, full or not.
pub const WAL_BYTES_MAX: u64 = 128 << 20;

/// RocksDB's own notes of what it does, kept to a few small files.
const NOTES_BYTES_MAX: usize = 1 << 20;
const NOTES_COUNT_MAX: usize = 4;

/// Name of the column family that RocksDB always has. Nothing is in it.
const UNUSED: &str = "default";

pub(crate) fn database_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    // One job writes buffers to tables; the other has nothing to do without compactions.
    options.set_max_background_jobs(2);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    // What may be cut was decided before the database is opened; see `log/opening`.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    // A log has one writer.
    options.set_allow_concurrent_memtable_write(false);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    // All tables are opened at the start, so that a missing or damaged one is found then.
    options.set_max_open_files(-1);
    options.set_log_level(LogLevel::Warn);
    options.set_max_log_file_size(NOTES_BYTES_MAX);
    options.set_keep_log_file_num(NOTES_COUNT_MAX);
    options
}

/// How tables are laid out; the binding of RocksDB names most of it, but not the kind of index.
///
/// The index has the first key of each block, so that a block is not read before the reading is at its entries: a replay
/// does not begin with a block of every table, and a damaged block stops nobody who does not want it. Nothing is cached,
/// since everything is read once, in order.
const TABLES: &str = "block_based_table_factory={index_type=kBinarySearchWithFirstKey;block_size=16384;\
                      format_version=6;no_block_cache=true}";

pub(crate) fn generation_options() -> Result<Options, Error> {
    let mut options = Options::default();
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(WRITE_BUFFERS_COUNT_MAX as i32);
    options.set_compression_type(DBCompressionType::None);
    options.set_disable_auto_compactions(true);
    // Tables gather in level 0 on purpose, so their number stalls nobody.
    options.set_level_zero_slowdown_writes_trigger(i32::MAX);
    options.set_level_zero_stop_writes_trigger(i32::MAX);
    options.get_options_from_string(TABLES)
}

fn descriptors(names: &[String]) -> Result<Vec<ColumnFamilyDescriptor>, Error> {
    let unused = std::iter::once(UNUSED);
    let generations = names.iter().map(String::as_str).filter(|name| *name != UNUSED);
    unused.chain(generations).map(|name| Ok(ColumnFamilyDescriptor::new(name, generation_options()?))).collect()
}

/// The column families of the database at `path`.
fn names(path: &Path) -> Result<Vec<String>, Error> {
    if path.join("CURRENT").exists() { Store::list_cf(&database_options(), path) } else { Ok(Vec::new()) }
}

/// Opens the database at `path`, or makes it.
pub(crate) fn open(path: &Path) -> Result<Store, Error> {
    Store::open_cf_descriptors(&database_options(), path, descriptors(&names(path)?)?)
}

/// Opens the database at `path` without changing anything in it. Nobody may write to it meanwhile.
pub(crate) fn open_read_only(path: &Path) -> Result<Store, Error> {
    let mut options = database_options();
    options.create_if_missing(false);
    Store::open_cf_descriptors_read_only(&options, path, descriptors(&names(path)?)?, false)
}

/// Rebuilds the database from the tables and logs that can be read.
pub(crate) fn repair(path: &Path) -> Result<(), Error> {
    let mut options = generation_options()?;
    options.set_log_level(LogLevel::Warn);
    Store::repair(&options, path)
}

/// The numbers of the generations, oldest first.
pub(crate) fn generation_numbers(path: &Path) -> Result<Vec<u64>, Error> {
    let mut numbers: Vec<u64> = names(path)?.iter().filter_map(|name| Generation::number_of(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Lets all databases of the process share `count` threads for writing buffers to disk; they never become fewer.
///
/// They get the processor when nobody else wants it: a buffer has time until three others are full, and the shards have
/// phones that wait.
pub(crate) fn share_flush_threads(count: u32) -> Result<(), Error> {
    let mut environment = Env::new()?;
    environment.set_high_priority_background_threads(count.max(1) as i32);
    environment.lower_high_priority_thread_pool_cpu_priority();
    environment.lower_thread_pool_cpu_priority();
    Ok(())
}

/// Nothing was written, since RocksDB would have had to wait.
pub(crate) fn is_stall(error: &Error) -> bool {
    error.kind() == ErrorKind::Incomplete
}

/// There is no room on the disk, or for this user, or in a file.
pub(crate) fn is_full(error: &Error) -> bool {
    ["No space left on device", "Disk quota exceeded", "File too large"]
        .iter()
        .any(|reason| error.as_ref().contains(reason))
}

/// Another process, or this one, has the database open.
pub(crate) fn is_locked(error: &Error) -> bool {
    error.kind() == ErrorKind::IOError
        && (error.as_ref().contains("lock hold by current process") || error.as_ref().contains("While lock file"))
}

/// What is stored is wrong, or a part of it is not there.
pub(crate) fn is_damage(error: &Error) -> bool {
    error.kind() == ErrorKind::Corruption || error.as_ref().contains("No such file or directory")
}

/// The file in `folder` that an error is about, where it names one.
pub(crate) fn file_in(error: &Error, folder: &Path) -> Option<std::path::PathBuf> {
    // RocksDB names the manifest in every error of opening, whether it is to blame or not.
    let text = error.as_ref().split(" The file ").next().unwrap_or_default();
    let text = if text.contains(folder.to_str()?) { text } else { error.as_ref() };
    let start = text.find(folder.to_str()?)?;
    let name = text[start..].split([' ', ':', ',', '\n']).next()?;
    Some(name.trim_end_matches('.').into())
}
