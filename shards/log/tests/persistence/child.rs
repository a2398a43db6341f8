//! This binary again, as a process that plays a role and may be killed.

use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

const ROLE: &str = "SIPFED_LOG_ROLE";
const FOLDER: &str = "SIPFED_LOG_FOLDER";

/// A child that runs. What it tells are lines; it is killed when it is dropped.
pub(crate) struct Player {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
}

/// The command that plays `role` in `folder`.
pub(crate) fn command(role: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments()).env(ROLE, role).env(FOLDER, folder);
    command
}

/// What makes this binary play the role in its environment.
pub(crate) fn arguments() -> [&'static str; 4] {
    ["--exact", "child::plays_the_role_it_was_given", "--nocapture", "--test-threads=1"]
}

impl Player {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the child starts");
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines }
    }

    pub(crate) fn play(role: &str, folder: &Path) -> Self {
        Self::start(&mut command(role, folder))
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it tells; `None` at its end.
    pub(crate) fn line(&mut self) -> Option<String> {
        self.lines.next().map(Result::unwrap)
    }

    /// Reads on until it tells `wanted`.
    pub(crate) fn wait_for(&mut self, wanted: &str) {
        let mut told = Vec::new();
        while let Some(line) = self.line() {
            if line == wanted {
                return;
            }
            told.push(line);
        }
        panic!("the child ended before it told {wanted:?}:\n{}", told.join("\n"));
    }

    /// Kills it, and returns what it had still told before.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.lines.by_ref().map(Result::unwrap).collect()
    }

    /// Waits for its end, and returns what it has told.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let lines: Vec<String> = self.lines.by_ref().map(Result::unwrap).collect();
        (self.child.wait().unwrap(), lines.join("\n"))
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tells the parent something.
pub(crate) fn tell(line: impl std::fmt::Display) {
    eprintln!("{line}");
}

/// Waits to be killed, or for the parent's end.
pub(crate) fn wait_for_the_end() {
    let _ = std::io::stdin().lines().next();
}

/// Not a test by itself: what a child does. It has nothing to do where no role is given.
#[test]
fn plays_the_role_it_was_given() {
    let (Ok(role), Some(folder)) = (std::env::var(ROLE), std::env::var_os(FOLDER)) else { return };
    let folder = Path::new(&folder);
    let (role, argument) = role.split_once(':').unwrap_or((&role, ""));
    match role {
        "append" => crate::crash::append(folder),
        "hold" => crate::owner::hold(folder),
        "open" => crate::owner::open(folder),
        "reshard" => crate::resharding::reshard(folder, argument),
        "fill" => crate::disk::fill(folder, argument),
        "sync" => crate::disk::sync(folder, argument),
        "stall" => crate::disk::stall(folder),
        "write" => crate::disk::write(folder),
        "verify" => crate::tool::verify(folder),
        _ => panic!("{role} is no role"),
    }
}
