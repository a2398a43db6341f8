//! The note of what has reached the disk.
//!
//! One small file beside a log's database holds the last sequence that is known to be synced. It is written after a sync
//! and not synced itself: after a loss of power it may say too little, never too much. A log that ends before its note
//! has lost something that was promised, which no checksum could tell.

use crate::Sequence;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

const FORMAT: [u8; 4] = *b"hw1\n";
const NOTE_BYTES: usize = 16;

/// The note, open for writing.
#[derive(Debug)]
pub(crate) struct HighWater {
    file: File,
}

impl HighWater {
    pub(crate) const FILE: &str = "durable";

    /// Opens the note of the log in `folder`, and makes it when there is none.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join(Self::FILE);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        Ok(Self { file })
    }

    /// What the note in `folder` says: nothing when there is none, or what is wrong with it.
    pub(crate) fn read(folder: &Path) -> Result<Option<Sequence>, String> {
        let path = folder.join(Self::FILE);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) if bytes.is_empty() => return Ok(None),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let wrong = |what: &str| Err(format!("{}: {what}", path.display()));
        let Ok(bytes) = <[u8; NOTE_BYTES]>::try_from(bytes.as_slice()) else {
            return wrong(&format!("{} bytes instead of {NOTE_BYTES}", bytes.len()));
        };
        let (body, checksum) = bytes.split_at(12);
        if crc32c::crc32c(body).to_le_bytes() != checksum {
            return wrong("the checksum does not fit");
        }
        if body[..4] != FORMAT {
            return wrong("the format is not known");
        }
        Ok(Sequence::from_key(&body[4..]))
    }

    pub(crate) fn write(&self, durable: Sequence) -> io::Result<()> {
        let mut note = [0; NOTE_BYTES];
        note[..4].copy_from_slice(&FORMAT);
        note[4..12].copy_from_slice(&durable.key());
        let checksum = crc32c::crc32c(&note[..12]);
        note[12..].copy_from_slice(&checksum.to_le_bytes());
        self.file.write_all_at(&note, 0)
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}
