//! Why a measurement could not be made. A slow server is never an error; a silent or broken one is.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;

/// What kept a figure from being measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The generator would load a machine that may not be ours.
    #[error("{0} is not a loopback address: the generator loads this machine only")]
    NotLoopback(SocketAddr),
    /// The options do not go together.
    #[error("{0}")]
    Options(&'static str),
    /// A child process could not be started.
    #[error("cannot start {}", program.display())]
    Start {
        /// What was to be run.
        program: PathBuf,
        /// Why it could not be.
        source: io::Error,
    },
    /// The server did not answer its first request.
    #[error("no answer from {server} within {waited_s} s{log}")]
    Silent {
        /// Whom we asked.
        server: SocketAddr,
        /// How long.
        waited_s: u64,
        /// What it wrote last, with a leading line break, or nothing.
        log: String,
    },
    /// The server ended although nobody told it to.
    #[error("the server ended by itself: {status}{log}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// What it wrote last, with a leading line break, or nothing.
        log: String,
    },
    /// Too many requests were never answered for the figures to mean anything.
    #[error("{what}: {lost} of {sent} requests were never answered")]
    Lost {
        /// The phase.
        what: &'static str,
        /// Requests without a final response.
        lost: u64,
        /// Requests sent.
        sent: u64,
    },
    /// Not one request was answered 200: there is nothing to measure.
    #[error("{what}: of {sent} requests not one was answered 200; the first other answer was\n{answer}")]
    Refused {
        /// The phase.
        what: &'static str,
        /// Requests sent.
        sent: u64,
        /// What came instead.
        answer: String,
    },
    /// An answer is not what the RFC and this load lead to.
    #[error("wrong answer: {what}\n{answer}")]
    WrongAnswer {
        /// What is wrong with it.
        what: String,
        /// The answer.
        answer: String,
    },
    /// A message that the generator itself made is wrong.
    #[error("the template is not what it should be: {0}")]
    Template(String),
    /// The store of the directory did not do what the measurement needs.
    #[error("the directory's store: {0}")]
    Store(String),
    /// A system call failed.
    #[error("{doing}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Names what a failing system call was for.
pub(crate) trait Doing<T> {
    /// Turns an I/O error into [`Error::System`].
    fn doing(self, doing: &'static str) -> Result<T, Error>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error::System { doing, source })
    }
}
