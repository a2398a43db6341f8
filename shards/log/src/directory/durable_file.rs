//! Files that are replaced as a whole: after a crash, the old one or the new one is there.

use super::DirectoryError;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const STAGED: &str = ".new";

/// Whether `name` is a file that was staged and not published.
pub(super) fn is_staged(name: &str) -> bool {
    name.ends_with(STAGED)
}

/// Writes the future `name` beside it, for its owner only, and syncs it.
pub(super) fn stage(folder: &Path, name: &str, content: &[u8]) -> Result<(), DirectoryError> {
    let path = folder.join(format!("{name}{STAGED}"));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .map_err(told("create", &path))?;
    file.write_all(content).map_err(told("write", &path))?;
    file.sync_all().map_err(told("sync", &path))
}

/// Puts what was staged in place of `name`.
pub(super) fn publish(folder: &Path, name: &str) -> Result<(), DirectoryError> {
    let path = folder.join(name);
    fs::rename(folder.join(format!("{name}{STAGED}")), &path).map_err(told("replace", &path))?;
    sync_folder(folder)
}

/// Makes the names in `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), DirectoryError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(told("sync", folder))
}

/// What the kernel said about `path`, as an error of the directory.
pub(super) fn told(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DirectoryError {
    let path = path.to_path_buf();
    move |source| match source.kind() {
        io::ErrorKind::ReadOnlyFilesystem => DirectoryError::ReadOnly { path },
        _ => DirectoryError::Io { step, path, source },
    }
}
