//! A phone in a browser, as a process of Node.js that is told what to do and tells what happens, line by line.

use crate::daemon::PATIENCE;
use crate::node::Node;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

/// The folder with the libraries.
static MODULES: LazyLock<PathBuf> = LazyLock::new(|| {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/browser-phones");
    let output = Command::new(script).stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "without its libraries no test; {script} says:\n{told}");
    String::from_utf8(output.stdout).unwrap().trim().into()
});

/// A running phone; killed when its test fails.
pub(crate) struct Browser {
    child: Child,
    /// `None` once it was told to end.
    commands: Option<ChildStdin>,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Browser {
    /// The phone of `user` that `script` plays, connected to `node` over `transport`.
    pub(crate) fn start(script: &str, node: &Node, transport: &str, user: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser").join(script);
        let at = if transport == "ws" { node.ws } else { node.wss };
        let mut child = Command::new("node")
            .arg(script)
            .arg(&*MODULES)
            .args([&format!("{transport}://{at}"), user])
            .env("NODE_EXTRA_CA_CERTS", &node.trusted)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, receiver) = mpsc::channel();
        // Reading ends with the process, or with the test, which then does not listen any more.
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let commands = child.stdin.take();
        let mut browser = Self { child, commands, lines: receiver, seen: Vec::new() };
        browser.expect("connected");
        browser
    }

    /// Has it do something.
    pub(crate) fn say(&mut self, command: &str) {
        writeln!(self.commands.as_mut().unwrap(), "{command}").unwrap();
    }

    /// Waits until it tells that; what it tells before is passed over.
    #[track_caller]
    pub(crate) fn expect(&mut self, event: &str) {
        // In all, since one that tries again and again tells other things for ever.
        let end = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(error) => panic!("it does not tell `{event}` ({error}), but has told:\n{}", self.seen.join("\n")),
            }
            if self.seen.last().is_some_and(|line| line.trim_end() == event) {
                return;
            }
        }
    }

    pub(crate) fn register(&mut self) {
        self.say("register");
        self.expect("registered");
    }

    /// Ends it, as a page is closed.
    pub(crate) fn end(&mut self) {
        self.commands = None;
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Where it has ended already, nobody is left to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
