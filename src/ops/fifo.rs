//! The interface over a named pipe, as OpenSIPS's mi_fifo takes it.
//!
//! In: `:reply:{json}`, written to the pipe `ops.fifo`, which the node makes at its start (0660) and removes at its end.
//! Out: the answer and a line end, written to the named pipe `reply` in `ops.fifo_reply_directory`, which who asks has made.
//!
//! The name of a reply leads nowhere else: it has no slash, no link is followed, and what is there has to be a pipe. Whoever
//! has not opened it within [`READER_WAIT_MAX`], or does not read, is given up; nobody else waits for that.

use super::answer::Pieces;
use super::dispatch;
use super::frames::{Command, Frames};
use super::registry::Registry;
use super::{FIFO_ANSWERS_COUNT_MAX, LAST_WORDS_MAX, OpsError, SILENCE_MAX};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, mknodat, open};
use rustix::io::Errno;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tracing::{error, warn};

/// How long the end of a command may be missing.
const REST_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long who asks may take to open its pipe; it usually does right after asking.
const READER_WAIT_MAX: Duration = Duration::from_secs(5);
/// Pause between two attempts to find it open.
const READER_POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Owner and group may write to the pipe.
const MODE: u32 = 0o660;
const READ_BYTES: usize = 4096;

/// The pipe of the node, removed when it is dropped.
#[derive(Debug)]
pub(super) struct Fifo {
    path: PathBuf,
    file: File,
}

impl Drop for Fifo {
    fn drop(&mut self) {
        let is_ours =
            |ours: &fs::Metadata, there: &fs::Metadata| ours.ino() == there.ino() && ours.dev() == there.dev();
        let there = fs::symlink_metadata(&self.path);
        if let (Ok(ours), Ok(there)) = (self.file.metadata(), there)
            && is_ours(&ours, &there)
        {
            // What cannot be removed is found by the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the pipe; one that a node has left behind is replaced.
pub(super) fn make(path: &Path) -> Result<Fifo, OpsError> {
    let wrong = |what: String| OpsError::Fifo { path: path.display().to_string(), what };
    match fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_fifo() => {
            if open(path, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).is_ok()
            {
                return Err(wrong("another process reads that pipe; name another one, or end that process".to_owned()));
            }
            fs::remove_file(path).map_err(|error| wrong(format!("the old pipe cannot be removed: {error}")))?;
        }
        Ok(_) => {
            return Err(wrong("there is something that is no named pipe; remove it, or name another path".to_owned()));
        }
        Err(_) => {}
    }
    let made = mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(MODE), 0);
    made.map_err(|error| wrong(format!("the pipe cannot be made: {}; make its folder", io::Error::from(error))))?;
    // Also open for writing, so that it has no end when a writer has gone.
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = open(path, flags, Mode::empty()).map(File::from).map_err(io::Error::from);
    let file = file.and_then(|file| {
        // Past the umask.
        file.set_permissions(Permissions::from_mode(MODE))?;
        Ok(file)
    });
    let file = file.map_err(|error| wrong(format!("the pipe cannot be opened: {error}")))?;
    Ok(Fifo { path: path.to_owned(), file })
}

/// Serves until the node stops.
pub(super) async fn serve(fifo: Fifo, replies: PathBuf, registry: Rc<Registry>, mut stopping: watch::Receiver<bool>) {
    let receiver = fifo.file.try_clone().and_then(pipe::Receiver::from_file);
    let mut receiver = match receiver {
        Ok(receiver) => receiver,
        Err(error) => return error!(reason = error.to_string(), "the pipe of the management interface is not read"),
    };
    let room = Arc::new(Semaphore::new(FIFO_ANSWERS_COUNT_MAX));
    let replies: Rc<Path> = replies.into();
    let mut frames = Frames::default();
    let mut bytes = [0; READ_BYTES];
    loop {
        let wait = if frames.is_empty() { Duration::MAX } else { REST_WAIT_MAX };
        let read = tokio::select! {
            read = timeout(wait, receiver.read(&mut bytes)) => read,
            _ = stopping.wait_for(|is_stopping| *is_stopping) => break,
        };
        let given_up = match read {
            Ok(Ok(len)) => {
                frames.add(&bytes[..len]);
                None
            }
            Ok(Err(error)) => {
                return error!(reason = error.to_string(), "the pipe of the management interface has failed");
            }
            Err(_) => frames.give_up(),
        };
        for command in std::iter::from_fn(|| frames.next()).chain(given_up).collect::<Vec<_>>() {
            let permit = tokio::select! {
                permit = Arc::clone(&room).acquire_owned() => permit,
                _ = stopping.wait_for(|is_stopping| *is_stopping) => break,
            };
            let (registry, replies) = (Rc::clone(&registry), Rc::clone(&replies));
            tokio::task::spawn_local(async move {
                let _permit = permit;
                answer(command, &replies, registry).await;
            });
        }
    }
    let _ = timeout(LAST_WORDS_MAX, room.acquire_many(FIFO_ANSWERS_COUNT_MAX as u32)).await;
}

async fn answer(command: Command, replies: &Path, registry: Rc<Registry>) {
    let Command { reply, text } = command;
    let mut to = match reply.as_str() {
        "" => None,
        name => match timeout(READER_WAIT_MAX, reader(replies, name)).await {
            Ok(Ok(sender)) => Some(sender),
            Ok(Err(why)) => return warn!(reply = name, why, "a command was not done: its answer cannot be given"),
            Err(_) => return warn!(reply = name, "a command was not done: nobody has opened the pipe of its answer"),
        },
    };
    let (out, mut pieces) = Pieces::channel();
    tokio::task::spawn_local(dispatch::answer(registry, text, out));
    let mut is_answered = false;
    // Without somebody to tell, pieces are taken all the same, so that the command is done to its end.
    while let Some(Ok(piece)) = pieces.recv().await {
        is_answered = true;
        if let Some(sender) = &mut to
            && !write(sender, &piece).await
        {
            return;
        }
    }
    if let Some(sender) = to.as_mut().filter(|_| is_answered) {
        write(sender, b"\n").await;
    }
}

/// Whether somebody has taken all of it.
async fn write(sender: &mut pipe::Sender, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match timeout(SILENCE_MAX, sender.write(bytes)).await {
            Ok(Ok(len)) if len > 0 => bytes = &bytes[len..],
            _ => return false,
        }
    }
    true
}

/// The pipe of that name, once somebody reads it.
async fn reader(replies: &Path, name: &str) -> Result<pipe::Sender, String> {
    if name.contains(['/', '\0']) || name == "." || name == ".." {
        return Err("the name of a reply is that of a pipe in ops.fifo_reply_directory, without a path".to_owned());
    }
    let path = replies.join(name);
    loop {
        match open(&path, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) => {
                let kind = fstat(&file).map(|found| FileType::from_raw_mode(found.st_mode));
                if kind != Ok(FileType::Fifo) {
                    return Err("it is no named pipe".to_owned());
                }
                return pipe::Sender::from_file(File::from(file)).map_err(|error| error.to_string());
            }
            // No reader yet, or not made yet.
            Err(Errno::NXIO | Errno::NOENT) => sleep(READER_POLL_INTERVAL).await,
            Err(error) => return Err(io::Error::from(error).to_string()),
        }
    }
}
