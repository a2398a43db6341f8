//! The folder of a node.
//!
//! # Contract
//! Goes in: a path, and the [`Identity`] that a new directory gets. Comes out: the folders of the current set of shard
//! logs ([`Layout`]), the secret that the node's hash is keyed with, and whether the number of shards has changed.
//! A [`DataDirectory`] holds the directory's lock for its whole life, so one process at a time owns it.
//!
//! # What stands in it
//! ```text
//! lock              locked by the process that owns the directory, whose number stands in it
//! manifest          format, when it was made, current layout, number of shards, checksums
//! secret            32 bytes, readable by the owner only
//! layout-3/         the current set of logs
//!   secret          in place of the one above, where it was changed with a layout
//!   shard-0/        one log: `database` is RocksDB's, `durable` says what has reached the disk
//! ```
//! Files are replaced as a whole: written beside, synced, renamed, folder synced. The number of shards is changed by
//! writing a new layout beside the old one ([`DataDirectory::begin_layout`]) and switching the manifest to it
//! ([`DataDirectory::commit_layout`]); a crash leaves one of them whole and current, and what is left of the other is
//! removed at the next open.

mod durable_file;
mod error;
mod lock;
mod manifest;

pub use error::DirectoryError;
pub(crate) use lock::Lock;
pub(crate) use manifest::{FORMAT, Manifest};

pub(crate) use durable_file::sync_folder;
use durable_file::told;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Bytes of the secret.
const SECRET_BYTES: usize = 32;
/// Shards of a node.
const SHARDS_COUNT_MAX: u32 = 65_535;

/// What a directory is opened for.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Shards that the node is to run: 1 to 65,535.
    pub shards_count: u32,
    /// 32 random bytes. A new directory keeps them; one that exists has its own, and these are not used.
    pub secret: [u8; SECRET_BYTES],
    /// The time, in seconds since 1970. A new directory keeps it.
    pub now_s: u64,
}

/// A set of shard logs: one folder with one folder for each shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Its number; the first is 1, and every change of the number of shards makes the next one.
    pub number: u64,
    /// How many shards it is for.
    pub shards_count: u32,
    folder: PathBuf,
}

impl Layout {
    /// The folder of the log of `shard`, to be given to [`crate::Log::open`].
    ///
    /// # Panics
    /// When the layout has no such shard.
    pub fn shard_folder(&self, shard: u32) -> PathBuf {
        assert!(shard < self.shards_count, "shard {shard} of {}", self.shards_count);
        self.folder.join(format!("shard-{shard}"))
    }

    pub(crate) fn of(directory: &Path, manifest: &Manifest) -> Self {
        let folder = layout_folder(directory, manifest.layout);
        Self { number: manifest.layout, shards_count: manifest.shards_count, folder }
    }
}

/// The number of shards has changed since the layout was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resharding {
    /// Shards of the current layout.
    pub stored: u32,
    /// Shards that were asked for.
    pub wanted: u32,
}

/// The directory of a node, owned by this process until it is dropped.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    manifest: Manifest,
    secret: [u8; SECRET_BYTES],
    wanted: u32,
    /// The number of the layout, and the secret that goes with it.
    begun: Option<(u64, [u8; SECRET_BYTES])>,
    /// Released last.
    _lock: Lock,
}

impl DataDirectory {
    /// Opens the directory at `path`, and makes it when it is missing or empty.
    ///
    /// It is refused when it is in use, is no directory, belongs to something else, was written by a newer format, is
    /// damaged, is open to other users, or cannot be written to; see [`DirectoryError`].
    pub fn open(path: &Path, identity: &Identity) -> Result<Self, DirectoryError> {
        check_shards_count(identity.shards_count)?;
        make_folder(path)?;
        if is_to_be_made(path)? {
            fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(told("set the permissions of", path))?;
        }
        check_mode(path, 0o700)?;
        let lock = Lock::take(path)?;
        // Asked again: another process may have made it until the lock was ours.
        if is_to_be_made(path)? {
            create(path, identity)?;
        }
        let manifest = manifest_of(path)?;
        let secret = secret_of(path, &manifest)?;
        let wanted = identity.shards_count;
        let directory = Self { path: path.to_path_buf(), manifest, secret, wanted, begun: None, _lock: lock };
        directory.remove_leftovers()?;
        Ok(directory)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The current set of logs.
    pub fn layout(&self) -> Layout {
        Layout::of(&self.path, &self.manifest)
    }

    /// The secret that the directory was made with.
    pub fn secret(&self) -> &[u8; SECRET_BYTES] {
        &self.secret
    }

    /// When it was made, in seconds since 1970.
    pub fn created_at_s(&self) -> u64 {
        self.manifest.created_at_s
    }

    /// Set when the current layout is for another number of shards than was asked for: its logs have to be read, and
    /// written to a new layout.
    pub fn needs_resharding(&self) -> Option<Resharding> {
        let (stored, wanted) = (self.manifest.shards_count, self.wanted);
        (stored != wanted).then_some(Resharding { stored, wanted })
    }

    /// Makes room for a new set of `shards_count` logs beside the current one, in place of one that was begun and not
    /// committed. Nothing of the current layout changes.
    pub fn begin_layout(&mut self, shards_count: u32) -> Result<Layout, DirectoryError> {
        self.begin_layout_keyed(shards_count, None)
    }

    /// The same for logs that are keyed with another secret, which is the directory's once the layout is committed.
    pub fn begin_layout_with(
        &mut self,
        shards_count: u32,
        secret: [u8; SECRET_BYTES],
    ) -> Result<Layout, DirectoryError> {
        self.begin_layout_keyed(shards_count, Some(secret))
    }

    fn begin_layout_keyed(
        &mut self,
        shards_count: u32,
        secret: Option<[u8; SECRET_BYTES]>,
    ) -> Result<Layout, DirectoryError> {
        check_shards_count(shards_count)?;
        let number = self.manifest.layout + 1;
        let folder = layout_folder(&self.path, number);
        remove_folder(&folder)?;
        make_folder(&folder)?;
        // One that was changed before stays with the layout that goes on.
        let is_in_layout = layout_folder(&self.path, self.manifest.layout).join(SECRET_FILE).exists();
        if let Some(secret) = secret.or(is_in_layout.then_some(self.secret)) {
            durable_file::stage(&folder, SECRET_FILE, &secret)?;
            durable_file::publish(&folder, SECRET_FILE)?;
        }
        sync_folder(&self.path)?;
        self.begun = Some((number, secret.unwrap_or(self.secret)));
        Ok(Layout { number, shards_count, folder })
    }

    /// Makes `layout` the current one, and deletes the folders of the one before. Close all logs first, of both: closing
    /// a log syncs it, and the folders of the old ones disappear.
    ///
    /// Once this has returned, and after a crash at any moment of it, one of the two layouts is current and whole.
    ///
    /// # Panics
    /// When `layout` is not the one that [`DataDirectory::begin_layout`] returned last.
    pub fn commit_layout(&mut self, layout: &Layout) -> Result<(), DirectoryError> {
        let begun = self.begun.filter(|begun| begun.0 == layout.number);
        let (_, secret) = begun.expect("the layout that was begun last is the one to commit");
        let manifest = Manifest {
            layout: layout.number,
            shards_count: layout.shards_count,
            secret_checksum: crc32c::crc32c(&secret),
            ..self.manifest
        };
        sync_folder(&layout.folder)?;
        durable_file::stage(&self.path, Manifest::FILE, manifest.text().as_bytes())?;
        durable_file::publish(&self.path, Manifest::FILE)?;
        (self.manifest, self.secret) = (manifest, secret);
        self.begun = None;
        self.remove_leftovers()
    }

    /// Removes what a crash or a switch has left behind: layouts other than the current one, and files that were
    /// being written.
    fn remove_leftovers(&self) -> Result<(), DirectoryError> {
        let current = layout_folder(&self.path, self.manifest.layout);
        for entry in fs::read_dir(&self.path).map_err(told("list", &self.path))? {
            let found = entry.map_err(told("list", &self.path))?.path();
            let name = found.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if is_layout_name(name) && found != current {
                remove_folder(&found)?;
            } else if durable_file::is_staged(name) {
                fs::remove_file(&found).map_err(told("remove", &found))?;
            }
        }
        sync_folder(&self.path)
    }
}

fn check_shards_count(count: u32) -> Result<(), DirectoryError> {
    if (1..=SHARDS_COUNT_MAX).contains(&count) { Ok(()) } else { Err(DirectoryError::ShardsCount { count }) }
}

fn layout_folder(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("layout-{number}"))
}

fn is_layout_name(name: &str) -> bool {
    name.strip_prefix("layout-").is_some_and(|number| number.parse::<u64>().is_ok())
}

/// Makes a folder for its owner only; one that exists is left as it is.
pub(crate) fn make_folder(path: &Path) -> Result<(), DirectoryError> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => return Err(DirectoryError::NotADirectory { path: path.to_path_buf() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(DirectoryError::NotADirectory { path: path.to_path_buf() });
        }
        Err(error) => return Err(told("look at", path)(error)),
    }
    DirBuilder::new().mode(0o700).recursive(true).create(path).map_err(told("create", path))
}

fn remove_folder(path: &Path) -> Result<(), DirectoryError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(told("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Refuses what others than its owner may read or write.
fn check_mode(path: &Path, wanted: u32) -> Result<(), DirectoryError> {
    let mode = fs::metadata(path).map_err(told("look at", path))?.permissions().mode() & 0o777;
    if mode & (0o077 | wanted) == wanted {
        return Ok(());
    }
    Err(DirectoryError::Permissions { path: path.to_path_buf(), mode, wanted })
}

/// The manifest of the directory at `path`.
pub(crate) fn manifest_of(path: &Path) -> Result<Manifest, DirectoryError> {
    let file = path.join(Manifest::FILE);
    let text = match fs::read(&file) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(DirectoryError::Foreign { path: path.to_path_buf() });
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(DirectoryError::NotADirectory { path: path.to_path_buf() });
        }
        Err(error) => return Err(told("read", &file)(error)),
    };
    Manifest::parse(&file, &text)
}

/// Whether a directory has no manifest yet, and nothing else that stands against making it one.
fn is_to_be_made(path: &Path) -> Result<bool, DirectoryError> {
    match manifest_of(path) {
        Err(DirectoryError::Foreign { .. }) if is_unfinished(path)? => Ok(true),
        found => found.map(|_| false),
    }
}

/// Whether a directory without a manifest is empty, or one whose making was interrupted: then it holds nothing but what
/// is made before the manifest.
fn is_unfinished(path: &Path) -> Result<bool, DirectoryError> {
    for entry in fs::read_dir(path).map_err(told("list", path))? {
        let found = entry.map_err(told("list", path))?.path();
        let name = found.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_empty_layout =
            name == "layout-1" && fs::read_dir(&found).is_ok_and(|mut entries| entries.next().is_none());
        if !is_empty_layout
            && !durable_file::is_staged(name)
            && ![Lock::FILE, SECRET_FILE, CLUSTER_FILE, OWNERSHIP_FILE, DRAINING_FILE, NO_PINGS_FILE].contains(&name)
        {
            return Ok(false);
        }
    }
    Ok(true)
}

const SECRET_FILE: &str = "secret";
/// What a node that keeps no bindings may have put there before: the nodes of its cluster, its terms, that it stops, and that
/// it does not ping.
const CLUSTER_FILE: &str = "cluster.json";
const OWNERSHIP_FILE: &str = "ownership.json";
const DRAINING_FILE: &str = "draining";
const NO_PINGS_FILE: &str = "no-pings";

/// Fills an empty directory. The manifest comes last: without it, the directory is still empty to the next open.
fn create(path: &Path, identity: &Identity) -> Result<(), DirectoryError> {
    durable_file::stage(path, SECRET_FILE, &identity.secret)?;
    durable_file::publish(path, SECRET_FILE)?;
    make_folder(&layout_folder(path, 1))?;
    let manifest = Manifest {
        created_at_s: identity.now_s,
        layout: 1,
        shards_count: identity.shards_count,
        secret_checksum: crc32c::crc32c(&identity.secret),
    };
    durable_file::stage(path, Manifest::FILE, manifest.text().as_bytes())?;
    durable_file::publish(path, Manifest::FILE)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent),
        _ => Ok(()),
    }
}

fn secret_of(path: &Path, manifest: &Manifest) -> Result<[u8; SECRET_BYTES], DirectoryError> {
    let in_layout = layout_folder(path, manifest.layout).join(SECRET_FILE);
    let file = if in_layout.exists() { in_layout } else { path.join(SECRET_FILE) };
    let damaged = |reason: String| DirectoryError::SecretDamaged { path: file.clone(), reason };
    let bytes = match fs::read(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(damaged("it is missing".to_owned())),
        read => read.map_err(told("read", &file))?,
    };
    check_mode(&file, 0o600)?;
    let found = bytes.len();
    let secret: [u8; SECRET_BYTES] =
        bytes.try_into().map_err(|_| damaged(format!("it has {found} bytes instead of {SECRET_BYTES}")))?;
    if crc32c::crc32c(&secret) != manifest.secret_checksum {
        return Err(damaged("it does not fit the checksum in the manifest".to_owned()));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests;
