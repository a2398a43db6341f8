//! The command line as a shell sees it: what is printed where, and the exit codes.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

fn sipfed(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sipfed")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A file in the folder that cargo keeps for the output of tests; every test has a name of its own.
fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, content).unwrap();
    path
}

/// Checks a file and returns exit code, stdout and stderr, the path of the file being written as FILE.
fn check(name: &str, content: &str) -> (i32, String, String) {
    let path = file(name, content.as_bytes());
    let path = path.to_str().unwrap();
    let output = sipfed(&["check", path]);
    let without_path = |bytes| text(bytes).replace(path, "FILE");
    (output.status.code().unwrap(), without_path(&output.stdout), without_path(&output.stderr))
}

#[test]
fn version_and_help_go_to_stdout() {
    let version = sipfed(&["version"]);
    assert_eq!(text(&version.stdout), concat!("sipfed ", env!("CARGO_PKG_VERSION"), "\n"));
    assert!(version.status.success() && version.stderr.is_empty());

    let help = sipfed(&["--help"]);
    assert!(help.status.success());
    for command in ["serve", "check", "log", "directory", "defaults", "version", "completions", "Exit codes:"] {
        assert!(text(&help.stdout).contains(command), "{command}");
    }
    let help = sipfed(&["serve", "--help"]);
    assert!(text(&help.stdout).contains("sipfed serve --listen udp:127.0.0.1:5060 --shards 1"));
}

#[test]
fn a_wrong_command_line_ends_with_2_and_says_what_is_right() {
    let none = sipfed(&[]);
    assert_eq!(none.status.code(), Some(2));
    assert!(text(&none.stderr).contains("Usage: sipfed <COMMAND>"));

    let slip = sipfed(&["serve", "--listn", "udp:127.0.0.1:5060"]);
    assert_eq!(slip.status.code(), Some(2));
    assert!(text(&slip.stderr).contains("--listen"), "{}", text(&slip.stderr));

    let listen = sipfed(&["serve", "--listen", "5060"]);
    assert_eq!(listen.status.code(), Some(2));
    assert!(text(&listen.stderr).contains("the transport is missing"), "{}", text(&listen.stderr));
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = sipfed(&["completions", shell]);
        assert!(output.status.success());
        assert!(text(&output.stdout).contains("completions"), "{shell}");
    }
}

#[test]
fn a_valid_file_is_summed_up() {
    let file = "[node]\nlisten = [\"udp:[::]:5060\"]\nshards = 4\n[domains]\nnames = [\"Example.com\"]\n";
    let (code, stdout, stderr) = check("valid.toml", file);
    assert_eq!(
        stdout,
        "FILE is valid\n  listens at  udp:[::]:5060\n  shards      4\n  domains     example.com, its own addresses\n  directory   none: the node stands alone\n"
    );
    assert_eq!((code, &*stderr), (0, ""));
}

#[test]
fn the_file_of_all_defaults_is_valid() {
    let defaults = sipfed(&["defaults"]);
    let (code, _, stderr) = check("defaults.toml", text(&defaults.stdout));
    assert_eq!((code, &*stderr), (0, ""));
}

#[test]
fn every_problem_is_shown_with_file_line_column_and_key() {
    let file = "\
# A file with three slips.
[registrar]
min_expires = 60
default_expires_s = \"1h\"

[node]
listen = [\"0.0.0.0:5060\"]
";
    let (code, stdout, stderr) = check("slips.toml", file);
    assert_eq!(
        stderr,
        "  × unknown key registrar.min_expires
   ╭─[FILE:3:1]
 3 │ min_expires = 60
   · ─────┬─────
   ·      ╰── not known
   ╰────
  help: did you mean min_expires_s?
  × registrar.default_expires_s has the wrong type
   ╭─[FILE:4:21]
 4 │ default_expires_s = \"1h\"
   ·                     ──┬─
   ·                       ╰── this is a string
   ╰────
  help: write 3600, without quotes
  × node.listen cannot be \"0.0.0.0:5060\"
   ╭─[FILE:7:11]
 7 │ listen = [\"0.0.0.0:5060\"]
   ·           ───────┬──────
   ·                  ╰── the transport is missing
   ╰────
  help: write \"udp:0.0.0.0:5060\" or \"tcp:0.0.0.0:5060\"
FILE: 3 problems
"
    );
    assert_eq!((code, &*stdout), (3, ""));
}

#[test]
fn a_contradiction_shows_both_of_its_places() {
    let (code, _, stderr) = check("contradiction.toml", "[registrar]\nmin_expires_s = 600\n\nmax_expires_s = 300\n");
    assert_eq!(code, 3);
    for part in ["FILE:2:17", "600 here", "FILE:4:17", "300 here", "FILE: 1 problem\n"] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let missing = sipfed(&["check", "no-such-file.toml"]);
    assert_eq!(missing.status.code(), Some(3));
    assert_eq!(
        text(&missing.stderr),
        "  × no-such-file.toml cannot be read: No such file or directory (os error 2)\n  help: name a file that this user may read\n"
    );
    let latin = file("latin.toml", b"# ok\n[node]\nserver_header = \"\xe9\"\n");
    let latin = sipfed(&["check", latin.to_str().unwrap()]);
    assert_eq!(latin.status.code(), Some(3));
    assert!(text(&latin.stderr).contains("is not UTF-8: see line 3"));
}

#[test]
fn serve_refuses_a_bad_file_before_it_touches_anything() {
    let path = file("serve.toml", b"[node]\nshards = 0\n");
    let output = sipfed(&["serve", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("node.shards = 0 is too small"));
    assert!(output.stdout.is_empty());
}
