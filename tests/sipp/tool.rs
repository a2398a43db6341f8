//! Programs that a test needs beside the daemon.

use std::io::Write;
use std::path::Path;

/// Whether `program` is installed. Where it is not, the test `name` is skipped.
pub(crate) fn is_installed(name: &str, program: &str, package: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| is_file(&folder.join(program))) {
        return true;
    }
    skip(name, &format!("{program} is not installed (apt-get install {package})"));
    false
}

/// The test `name` is skipped, and says why on a line of its own; under CI=true it fails.
#[allow(dead_code, reason = "most tests want no more than programs")]
pub(crate) fn skip(name: &str, why: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{why}");
    // Written past the macros, whose output cargo hides when a test does not fail. The line may follow one that
    // is not finished.
    std::io::stderr().write_all(format!("\nSKIPPED {name}: {why}\n").as_bytes()).unwrap();
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|data| data.is_file())
}
