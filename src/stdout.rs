//! What commands print on stdout: lines for people, or JSON objects for programs.

use crate::cli::Exit;
use crate::show;
use serde::Serialize;
use std::fmt;
use std::io::{self, BufWriter, StdoutLock, Write};

/// Bytes that are gathered before they are written.
const GATHERED_BYTES: usize = 64 << 10;

/// Lines on stdout. A line that cannot be written is an error and no panic, since `| head` is a fair use.
#[derive(Debug)]
pub(crate) struct Output {
    lines: BufWriter<StdoutLock<'static>>,
}

impl Output {
    pub(crate) fn new() -> Self {
        Self { lines: BufWriter::with_capacity(GATHERED_BYTES, io::stdout().lock()) }
    }

    /// One line of text.
    pub(crate) fn line(&mut self, line: fmt::Arguments<'_>) -> io::Result<()> {
        self.lines.write_fmt(line)?;
        self.lines.write_all(b"\n")
    }

    /// One JSON object on a line.
    pub(crate) fn json(&mut self, object: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.lines, object)?;
        self.lines.write_all(b"\n")
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.lines.flush()
    }
}

/// A count with its noun.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// What a command ends with when nobody takes what it prints.
pub(crate) fn not_taken(error: &io::Error) -> Exit {
    // The reader of a pipe has seen enough.
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Exit::Done;
    }
    show::error(&format!("stdout cannot be written: {error}"), "make room there, or send it elsewhere");
    Exit::Failed
}
