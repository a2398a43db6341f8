//! A daemon that is ended and started again over what it has kept.
//!
//! Address, data directory and log file stay the same from start to start; the data directory goes with the server.

use super::Server;
use crate::error::{Doing, Error};
use crate::sys;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a daemon may take to read what it has kept.
const READY_S_MAX: u64 = 1800;
/// How often its log is looked at for the line that says it is ready.
const READY_POLL_INTERVAL: Duration = Duration::from_millis(1);

/// How a daemon ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum End {
    /// SIGKILL: nothing is closed.
    Kill,
    /// SIGTERM: it drains and closes its logs.
    Terminate,
}

/// What a start took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started {
    /// From before the process was made to the line that says `ready`.
    pub(crate) wall: Duration,
    /// CPU time of the process up to then, and until it has come to rest.
    pub(crate) cpu_ns: u64,
}

/// What it takes to start a daemon, also another time.
pub(super) struct Launch {
    program: PathBuf,
    arguments: Vec<OsString>,
    /// What it writes: a file without a name, so that nothing is left behind however we end.
    pub(super) log: File,
    /// Its data directory.
    data: PathBuf,
    /// Its configuration, where it has one.
    settings: Option<PathBuf>,
    runs_idle: bool,
}

impl Drop for Launch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.data);
        if let Some(settings) = &self.settings {
            let _ = std::fs::remove_file(settings);
        }
    }
}

impl Launch {
    /// `settings` is the text of its configuration; none where it is empty.
    pub(super) fn new(
        program: &Path,
        address: SocketAddr,
        shards: usize,
        extra: &[String],
        runs_idle: bool,
        settings: &str,
    ) -> Result<Self, Error> {
        let name = format!("sipfed-bench-{}-{}", std::process::id(), address.port());
        let data = std::env::temp_dir().join(&name);
        let log = nameless_file(&data.with_extension("log")).doing("making a file for the daemon's log")?;
        let (udp, tcp, shards) = (format!("udp:{address}"), format!("tcp:{address}"), shards.to_string());
        let usual = ["serve", "--listen", &udp, "--listen", &tcp, "--shards", &shards, "--data-dir"];
        let mut arguments: Vec<OsString> = usual.iter().map(OsString::from).collect();
        arguments.push(data.clone().into());
        arguments.extend(extra.iter().map(OsString::from));
        let file = data.with_extension("toml");
        let mut launch = Self { program: program.to_owned(), arguments, log, data, settings: None, runs_idle };
        if !settings.is_empty() {
            std::fs::write(&file, settings).doing("writing the daemon's configuration")?;
            launch.arguments.extend(["--config".into(), file.clone().into()]);
            launch.settings = Some(file);
        }
        Ok(launch)
    }

    pub(super) fn command(&self) -> Result<Command, Error> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(self.log.try_clone().doing("sharing the log file")?)
            .stderr(self.log.try_clone().doing("sharing the log file")?);
        if self.runs_idle {
            sys::run_idle(&mut command);
        }
        Ok(command)
    }
}

impl Server {
    /// Ends a daemon that we started, and starts it again over the same data directory.
    pub(crate) fn start_again(&mut self, end: End) -> Result<Started, Error> {
        self.end(end)?;
        let log_bytes = self.log_bytes()?;
        let started = Instant::now();
        let launch = self.launch()?;
        let guard = Self::spawn(launch.command()?, &launch.program)?;
        let new = Self::of_child(guard, self.address)?;
        (self.pids, self.clocks, self.child) = (new.pids, new.clocks, new.child);
        loop {
            if self.log_since(log_bytes)?.iter().any(|line| line["message"] == "ready") {
                let wall = started.elapsed();
                return Ok(Started { wall, cpu_ns: self.cpu_ns()? });
            }
            self.check_alive()?;
            if started.elapsed() > Duration::from_secs(READY_S_MAX) {
                return Err(Error::Silent { server: self.address, waited_s: READY_S_MAX, log: self.log_tail() });
            }
            std::thread::sleep(READY_POLL_INTERVAL);
        }
    }

    fn end(&mut self, end: End) -> Result<(), Error> {
        self.check_alive()?;
        let guard = self.child.as_mut().ok_or(Error::Options("a server that was not started here is not ended"))?;
        match end {
            End::Kill => guard.child.kill().doing("killing the daemon")?,
            End::Terminate => sys::signal(guard.child.id(), libc::SIGTERM).doing("terminating the daemon")?,
        }
        guard.child.wait().doing("waiting for the daemon's end")?;
        Ok(())
    }

    /// Bytes of all files in the data directory.
    pub(crate) fn data_bytes(&self) -> Result<u64, Error> {
        folder_bytes(&self.launch()?.data).doing("reading the data directory")
    }

    pub(super) fn launch(&self) -> Result<&Launch, Error> {
        self.launch.as_ref().ok_or(Error::Options("the server was not started here"))
    }
}

fn folder_bytes(folder: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // The daemon makes and drops files while we look.
        let Ok(metadata) = entry.metadata() else { continue };
        sum += if metadata.is_dir() { folder_bytes(&entry.path())? } else { metadata.len() };
    }
    Ok(sum)
}

fn nameless_file(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).append(true).create_new(true).open(path)?;
    std::fs::remove_file(path)?;
    Ok(file)
}
