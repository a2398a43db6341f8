//! The rules of this repository that no compiler checks, each with its reason.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file; a longer one has more than one subject.
const FILE_LINES_MAX: usize = 600;

/// Files that may hold `unsafe`: thin wrappers around system calls, and a test whose allocator counts.
const UNSAFE_ALLOWED: [&str; 5] = [
    "shards/src/sys.rs",
    "shards/src/sys/",
    "shards/sip/tests/no_allocation.rs",
    "tuning/src/sys.rs",
    "bench/src/sys.rs",
];

/// The one file that names the runtime, so that another can stand behind it.
const RUNTIME: &str = "shards/src/runtime.rs";

/// Crates that are handed time, bytes and secrets, and reach for nothing themselves.
const PURE: [&str; 2] = ["shards/sip/", "shards/proto/"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file of the repository, by its path from the root.
fn files() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            let path = entry.path();
            if [".git", "target"].contains(&&*name) {
                // In a worktree the first is a file, which says where the repository is.
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                found.push((relative(&path), text));
            }
        }
    }
    found.sort();
    assert!(found.len() > 20, "the repository was not found");
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()
}

fn is(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}

fn rust_files() -> impl Iterator<Item = (String, String)> {
    files().into_iter().filter(|(path, _)| is(path, "rs"))
}

/// The lines of code with their numbers: without comments, and without the tests at the end of the file.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let tests = text.find("\n#[cfg(test)]\nmod tests").unwrap_or(text.len());
    text[..tests].lines().enumerate().map(|(index, line)| {
        let code = line.find("//").map_or(line, |comment| &line[..comment]);
        (index + 1, code)
    })
}

/// Whether `word` stands in `line` with no letter, digit or underscore around it.
fn has_word(line: &str, word: &str) -> bool {
    let part_of_word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    line.match_indices(word).any(|(at, _)| {
        let bytes = line.as_bytes();
        !part_of_word(at.checked_sub(1).and_then(|before| bytes.get(before)))
            && !part_of_word(bytes.get(at + word.len()))
    })
}

#[track_caller]
fn assert_none(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

#[test]
fn no_file_is_too_long() {
    let found: Vec<String> = rust_files()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    assert_none(&found, &format!("a file has at most {FILE_LINES_MAX} lines; split it by subject"));
}

#[test]
fn no_file_is_a_drawer() {
    let drawers = ["mod", "util", "utils", "common", "helper", "helpers", "misc", "manager", "managers"];
    let found: Vec<String> = rust_files()
        .map(|(path, _)| path)
        .filter(|path| Path::new(path).with_extension("").iter().any(|part| drawers.contains(&part.to_str().unwrap())))
        .collect();
    assert_none(&found, "a file is named by the one thing it is about, and a module is foo.rs beside foo/");
}

#[test]
fn the_runtime_is_named_in_one_file() {
    let found: Vec<String> = rust_files()
        .filter(|(path, _)| path != RUNTIME && path != "tests/tidy.rs")
        .flat_map(|(path, text)| places(&path, &text, &["glommio"]))
        .collect();
    assert_none(&found, &format!("only {RUNTIME} names the runtime"));
}

#[test]
fn pure_crates_reach_for_nothing() {
    let forbidden = [
        "Instant",
        "SystemTime",
        "UdpSocket",
        "TcpStream",
        "TcpListener",
        "thread",
        "rand",
        "getrandom",
        "tokio",
        "glommio",
        "socket2",
        "libc",
        "fs",
        "env",
        "println",
        "eprintln",
        "RandomState",
    ];
    let found: Vec<String> = rust_files()
        .filter(|(path, _)| PURE.iter().any(|pure| path.starts_with(&format!("{pure}src/"))))
        .flat_map(|(path, text)| places(&path, &text, &forbidden))
        .collect();
    assert_none(&found, "a pure crate is handed time, bytes and secrets; it has no clock, no I/O, no randomness");
    for pure in PURE {
        let lib = fs::read_to_string(root().join(pure).join("src/lib.rs")).unwrap();
        assert!(lib.contains("#![forbid(unsafe_code)]"), "{pure} forbids unsafe code");
    }
}

#[test]
fn unsafe_code_stands_beside_system_calls_only() {
    let found: Vec<String> = rust_files()
        .filter(|(path, _)| path != "tests/tidy.rs")
        .filter(|(path, _)| !UNSAFE_ALLOWED.iter().any(|allowed| path.starts_with(allowed)))
        .flat_map(|(path, text)| places(&path, &text, &["unsafe"]))
        .collect();
    assert_none(&found, &format!("unsafe code stands in {} only", UNSAFE_ALLOWED.join(", ")));
}

/// Where one of `words` stands in the code of a file.
fn places(path: &str, text: &str, words: &[&str]) -> Vec<String> {
    code_lines(text)
        .filter_map(|(number, line)| {
            let word = words.iter().find(|word| has_word(line, word))?;
            Some(format!("{path}:{number}: {word}"))
        })
        .collect()
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let found: Vec<String> = files()
        .into_iter()
        .filter(|(path, _)| path.ends_with("Cargo.toml"))
        .filter(|(_, text)| !text.contains("[lints]\nworkspace = true"))
        .map(|(path, _)| path)
        .collect();
    assert_none(&found, "a crate says [lints] workspace = true");
}

#[test]
fn the_repository_stands_alone() {
    // Put together here so that this file does not name them itself.
    let paths = [["/wo", "rk/"], ["/ro", "ot/"], ["/ho", "me/"], ["../sha", "red"], ["/Use", "rs/"]]
        .map(|parts| parts.concat());
    let found: Vec<String> = files()
        .into_iter()
        .flat_map(|(path, text)| {
            let mut found = Vec::new();
            for (index, line) in text.lines().enumerate() {
                if paths.iter().any(|machine| line.contains(machine.as_str())) {
                    found.push(format!("{path}:{}: {}", index + 1, line.trim()));
                }
            }
            found
        })
        .collect();
    assert_none(&found, "no path of somebody's machine stands in the repository");

    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let official = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let found: Vec<String> =
        lock.lines().filter(|line| line.starts_with("source = ") && *line != official).map(str::to_owned).collect();
    assert_none(&found, "every package comes from crates.io");
}

#[test]
fn every_test_file_has_its_place_on_the_ladder() {
    let page = fs::read_to_string(root().join("docs/testing.md")).unwrap();
    let exists: BTreeSet<String> = files()
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| {
            let folder = Path::new(path).parent().and_then(Path::file_name);
            is(path, "rs") && folder.is_some_and(|name| name == "tests") && !path.contains("src/")
        })
        .collect();
    let named: BTreeSet<String> =
        page.split('`').filter(|word| is(word, "rs") && word.contains("tests/")).map(str::to_owned).collect();
    let missing: Vec<String> = exists.difference(&named).cloned().collect();
    assert_none(&missing, "docs/testing.md says what each test file shows; these are missing");
    let gone: Vec<String> = named.difference(&exists).cloned().collect();
    assert_none(&gone, "docs/testing.md names test files that do not exist");
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut found = Vec::new();
    for (path, text) in files().into_iter().filter(|(path, _)| is(path, "md")) {
        let folder = root().join(&path).parent().map(PathBuf::from).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap();
            if !target.contains("://") && !file.is_empty() && !folder.join(file).exists() {
                found.push(format!("{path}: {target}"));
            }
        }
    }
    assert_none(&found, "a link leads to a file that exists");
}

#[test]
fn the_readme_maps_every_folder() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let found: Vec<String> = fs::read_dir(root())
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && name != "target")
        .filter(|name| !readme.contains(&format!("`{name}/")))
        .collect();
    assert_none(&found, "the map in README.md has a line for every folder");
}
