//! Where a test keeps its logs, and what it writes into them.

use sipfed_log::{
    AppendError, DataDirectory, Durability, Event, Identity, Log, LogOptions, OpenError, OpenReport, Replayed, Sequence,
};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};

static PLACES: AtomicU32 = AtomicU32::new(0);

/// The time at which tests happen, in seconds since 1970.
pub(crate) const NOW_S: u64 = 1_750_000_000;

/// A folder of one test, which is removed when the test has passed.
pub(crate) struct Place(pub(crate) PathBuf);

impl Place {
    pub(crate) fn new() -> Self {
        let number = PLACES.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sipfed-log-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// A folder in it.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A copy of a folder in it: of a log that is open, what a kill at this moment would leave.
    pub(crate) fn copy(&self, name: &str, copy: &str) -> PathBuf {
        copy_folder(&self.at(name), &self.at(copy));
        self.at(copy)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The files of a log's database with `extension`, oldest first; empty ones are left out.
pub(crate) fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder.join("database"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .filter(|path| fs::metadata(path).unwrap().len() > 0)
        .collect();
    files.sort();
    files
}

/// Flips a bit.
pub(crate) fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 0x40;
    fs::write(file, bytes).unwrap();
}

/// Cuts a file to `length` bytes.
pub(crate) fn cut(file: &Path, length: usize) {
    fs::OpenOptions::new().write(true).open(file).unwrap().set_len(length as u64).unwrap();
}

/// The operations that tests append as entry `sequence`: between 0 and 2,999 bytes that follow from it.
pub(crate) fn operations(sequence: u64) -> Vec<u8> {
    let length = (sequence.wrapping_mul(7919) % 3000) as usize;
    (0..length).map(|at| (sequence as usize).wrapping_add(at) as u8).collect()
}

pub(crate) fn options() -> LogOptions {
    LogOptions { durability: Durability::Process, salvage: false, now_s: NOW_S, flush_threads_count: 1 }
}

pub(crate) fn salvage() -> LogOptions {
    LogOptions { salvage: true, ..options() }
}

pub(crate) fn identity(shards_count: u32) -> Identity {
    Identity { shards_count, secret: [42; 32], now_s: NOW_S }
}

/// Opens the directory of a node with one shard, and its log.
pub(crate) fn node(path: &Path) -> (DataDirectory, Opened) {
    let directory = DataDirectory::open(path, &identity(1)).unwrap();
    let log = Opened::new(&directory.layout().shard_folder(0), options());
    (directory, log)
}

/// An open log, and the bell that its threads ring.
pub(crate) struct Opened {
    pub(crate) log: Log,
    pub(crate) report: OpenReport,
    /// The sequence that the next append has.
    next: u64,
    bell: Receiver<()>,
}

impl Opened {
    pub(crate) fn try_new(folder: &Path, options: LogOptions) -> Result<Self, OpenError> {
        let (ring, bell) = sync_channel(1);
        let wake = move || {
            let _ = ring.try_send(());
        };
        let (log, report) = Log::open(folder, options, wake)?;
        Ok(Self { log, next: report.last.0 + 1, report, bell })
    }

    pub(crate) fn new(folder: &Path, options: LogOptions) -> Self {
        Self::try_new(folder, options).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Appends the operations of the entries that come next, `count` of them, and tries again what is stalled.
    pub(crate) fn append(&mut self, count: u64) -> Sequence {
        let mut last = Sequence(0);
        for _ in 0..count {
            last = self.append_one();
        }
        last
    }

    fn append_one(&mut self) -> Sequence {
        loop {
            match self.try_append() {
                Ok(sequence) => return sequence,
                Err(AppendError::Stalled) => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Appends the operations of the entry that comes next.
    pub(crate) fn try_append(&mut self) -> Result<Sequence, AppendError> {
        let sequence = self.log.append(&operations(self.next))?;
        assert_eq!(sequence.0, self.next);
        self.next += 1;
        Ok(sequence)
    }

    /// Waits until the log has something to tell.
    pub(crate) fn event(&mut self) -> Event {
        loop {
            if let Some(event) = self.log.poll() {
                if let Event::Reopened(report) = &event {
                    self.next = report.last.0 + 1;
                }
                return event;
            }
            self.bell.recv().unwrap();
        }
    }

    /// Waits until `durable` has reached `sequence`.
    pub(crate) fn wait_durable(&mut self, sequence: Sequence) {
        while self.log.durable() < sequence {
            self.bell.recv().unwrap();
        }
    }

    pub(crate) fn start_generation(&mut self, now_s: u64) {
        self.log.start_generation(now_s).unwrap();
        let event = self.event();
        assert!(matches!(event, Event::GenerationStarted(_)), "{event:?}");
    }

    /// Reads everything, and checks that every entry is what was appended under its sequence. Returns the sequences.
    pub(crate) fn read(&self) -> (Vec<u64>, Replayed) {
        let mut found = Vec::new();
        let replayed = self.log.replay(
            &mut |entry| {
                assert_eq!(entry.operations, operations(entry.sequence.0), "entry {}", entry.sequence);
                found.push(entry.sequence.0);
                ControlFlow::Continue(())
            },
            &mut |_| {},
        );
        (found, replayed.unwrap_or_else(|error| panic!("{error}")))
    }
}
