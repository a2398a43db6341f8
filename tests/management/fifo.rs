//! The named pipe by hand: what opensips-cli would never write.

use crate::daemon::{Daemon, folder};
use crate::{FILE, node};
use serde_json::Value;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A folder with a node's pipe.
struct Place {
    node: Daemon,
    folder: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = folder();
        let at = folder.to_str().unwrap();
        let node = node(&format!("fifo = \"{at}/fifo\"\nfifo_reply_directory = \"{at}\"\n"));
        Self { node, folder }
    }

    fn write(&self, bytes: &[u8]) {
        OpenOptions::new().write(true).open(self.folder.join("fifo")).unwrap().write_all(bytes).unwrap();
    }

    /// Makes a pipe for a reply.
    fn make(&self, name: &str) -> PathBuf {
        let path = self.folder.join(name);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }

    /// Writes `bytes`, and reads the line that comes at `name`, by a process that does not wait for ever.
    fn ask(&self, name: &str, bytes: &[u8]) -> Value {
        let path = self.make(name);
        self.write(bytes);
        let read = Command::new("timeout").args(["60", "head", "-n", "1"]).arg(&path).output().unwrap();
        fs::remove_file(&path).unwrap();
        let line = String::from_utf8(read.stdout).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    fn end(self) {
        self.node.stop();
        fs::remove_dir_all(&self.folder).unwrap();
    }
}

const VERSION: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\"}";

#[test]
fn the_pipe_is_the_groups_and_goes_with_the_node() {
    let place = Place::new();
    let path = place.folder.join("fifo");
    let found = fs::metadata(&path).unwrap();
    assert!(found.file_type().is_fifo());
    assert_eq!(found.permissions().mode() & 0o777, 0o660);
    let Place { node, folder } = place;
    node.stop();
    assert!(!path.exists());
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn commands_are_answered_with_or_without_a_line_end_and_however_they_are_cut() {
    let place = Place::new();
    let whole = |name: &str| [format!(":{name}:").as_bytes(), VERSION].concat();
    assert!(place.ask("r1", &whole("r1"))["result"]["Server"].is_string());
    assert!(place.ask("r2", &[&whole("r2")[..], b"\n"].concat())["result"]["Server"].is_string());
    // What never ends is an error after a while, and does not hold up what follows.
    assert_eq!(place.ask("r3", b":r3:{\"method\": \"ver")["error"]["code"], -32700);
    assert_eq!(place.ask("r4", b":r4:{\"method\": \n:nobody:{")["error"]["code"], -32700);
    assert!(place.ask("r5", &whole("r5"))["result"]["Server"].is_string());
    assert_eq!(place.ask("r6", b":r6:\x00\xff nonsense\n")["error"]["code"], -32700);
    let long = [b":r7:{\"method\":\"", &vec![b'x'; 200_000][..], b"\"}\n"].concat();
    assert_eq!(place.ask("r7", &long)["error"]["code"], -32700);
    place.write(b"junk\n::::\n:../../x:{}\n::{\"method\":\"version\",\"id\":1}\n\n\n");
    assert!(place.ask("r8", &whole("r8"))["result"]["Server"].is_string());
    place.end();
}

#[test]
fn an_answer_goes_to_a_pipe_in_its_folder_and_nowhere_else() {
    let mut place = Place::new();
    let file = place.folder.join("file");
    fs::write(&file, "untouched").unwrap();
    let elsewhere = place.folder.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("file"), "untouched").unwrap();
    symlink(&file, place.folder.join("link")).unwrap();
    let told = "a command was not done: its answer cannot be given";
    for name in ["file", "link", "elsewhere/file", "..", "."] {
        place.write(&[format!(":{name}:").as_bytes(), VERSION, b"\n"].concat());
        place.node.line(told);
    }
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    assert_eq!((read(&file).as_str(), read(&elsewhere.join("file")).as_str()), ("untouched", "untouched"));
    place.end();
}

#[test]
fn readers_that_are_not_there_hold_up_nobody() {
    let mut place = Place::new();
    place.make("nobody");
    // Fewer than may be waited for at a time: the next one is answered while they are.
    for _ in 0..7 {
        place.write(&[b":nobody:", VERSION, b"\n"].concat());
    }
    assert!(place.ask("r", &[b":r:", VERSION, b"\n"].concat())["result"]["Server"].is_string());
    for _ in 0..7 {
        place.node.line("a command was not done: nobody has opened the pipe of its answer");
    }
    place.end();
}

#[test]
fn a_pipe_that_another_node_reads_is_not_taken_and_one_that_was_left_is() {
    let place = Place::new();
    let path = place.folder.join("fifo");
    let second = |path: &Path| {
        let file = place.folder.join("second.toml");
        fs::write(&file, format!("[node]\nlisten = [\"udp:127.0.0.1:0\"]\n{FILE}fifo = \"{}\"\n", path.display()))
            .unwrap();
        Command::new(env!("CARGO_BIN_EXE_sipfed"))
            .args(["serve", "--durability", "none", "--log-format", "json", "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let refused = second(&path);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another process reads that pipe"));
    let file = place.folder.join("file");
    fs::write(&file, "mine").unwrap();
    assert!(String::from_utf8_lossy(&second(&file).stderr).contains("no named pipe"));
    let Place { mut node, folder } = place;
    node.kill();
    assert!(path.exists());
    let at = folder.to_str().unwrap();
    let node = crate::node(&format!("fifo = \"{at}/fifo\"\nfifo_reply_directory = \"{at}\"\n"));
    let place = Place { node, folder };
    assert!(place.ask("r", &[b":r:", VERSION].concat())["result"]["Server"].is_string());
    place.end();
}
