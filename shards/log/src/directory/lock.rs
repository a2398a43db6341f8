//! One owner at a time.

use super::DirectoryError;
use super::durable_file::told;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A directory's lock; released when it is dropped, and by the kernel when the process dies.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Drop for Lock {
    /// Closing the file is not enough: a process that another thread is just making has it too, until it begins to run its
    /// program, and would hold the lock for so long.
    fn drop(&mut self) {
        // A lock that cannot be given back ends with the last who has the file.
        let _ = self.file.unlock();
    }
}

impl Lock {
    pub(crate) const FILE: &str = "lock";

    /// Locks `directory` for this process alone, and writes its number into the lock.
    pub(super) fn take(directory: &Path) -> Result<Self, DirectoryError> {
        let path = directory.join(Self::FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(told("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(directory)),
            Err(TryLockError::Error(error)) => return Err(told("lock", &path)(error)),
        }
        file.set_len(0).map_err(told("write", &path))?;
        writeln!(file, "{}", std::process::id()).map_err(told("write", &path))?;
        Ok(Self { file })
    }

    /// Locks `directory` against an owner; others may read it as well.
    pub(crate) fn share(directory: &Path) -> Result<Self, DirectoryError> {
        let path = directory.join(Self::FILE);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(DirectoryError::Foreign { path: directory.to_path_buf() });
            }
            opened => opened.map_err(told("open", &path))?,
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => Err(in_use(directory)),
            Err(TryLockError::Error(error)) => Err(told("lock", &path)(error)),
        }
    }
}

/// The number in the lock is that of the last owner; it is told only if such a process is there, since readers do not
/// write theirs.
fn in_use(directory: &Path) -> DirectoryError {
    let holder = fs::read_to_string(directory.join(Lock::FILE))
        .ok()
        .and_then(|text| text.trim().parse::<u32>().ok())
        .filter(|pid| Path::new("/proc").join(pid.to_string()).exists());
    DirectoryError::InUse { path: directory.to_path_buf(), holder }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_ends_with_its_owner_whoever_else_has_the_file() {
        let directory = std::env::temp_dir().join(format!("sipfed-lock-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        for lock in [Lock::take, Lock::share] {
            let lock = lock(&directory).unwrap();
            let elsewhere = lock.file.try_clone().unwrap();
            drop(lock);
            drop(Lock::take(&directory).unwrap());
            drop(elsewhere);
        }
        fs::remove_dir_all(directory).unwrap();
    }
}
