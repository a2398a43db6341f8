//! Who may have a directory, and what makes it be refused.

use crate::child::{self, Player, tell, wait_for_the_end};
use crate::place::{NOW_S, Place, identity, node};
use sipfed_log::{DataDirectory, DirectoryError, LogReader, ReadError, Resharding};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// The child: owns a directory until it is killed.
pub(crate) fn hold(folder: &Path) {
    let _node = node(folder);
    tell("held");
    wait_for_the_end();
}

/// The child: opens a directory, and tells the error.
pub(crate) fn open(folder: &Path) {
    match DataDirectory::open(folder, &identity(1)) {
        Ok(_) => tell("opened"),
        Err(error) => tell(error),
    }
}

fn refusal(path: &Path) -> DirectoryError {
    DataDirectory::open(path, &identity(1)).expect_err("it is refused")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_new_directory_is_its_owners_alone_and_keeps_what_it_was_made_with() {
    let place = Place::new();
    let path = place.at("a/b");
    for identity in [identity(2), sipfed_log::Identity { secret: [1; 32], now_s: 5, ..identity(2) }] {
        let directory = DataDirectory::open(&path, &identity).unwrap();
        assert_eq!((directory.secret(), directory.created_at_s()), (&[42; 32], NOW_S));
        assert_eq!((directory.layout().shards_count, directory.needs_resharding()), (2, None));
    }
    assert_eq!((mode(&path), mode(&path.join("secret")), mode(&path.join("manifest"))), (0o700, 0o600, 0o600));
    let directory = DataDirectory::open(&path, &identity(3)).unwrap();
    assert_eq!(directory.needs_resharding(), Some(Resharding { stored: 2, wanted: 3 }));
}

#[test]
fn a_second_process_is_refused_with_the_number_of_the_first() {
    let place = Place::new();
    let path = place.at("node");
    let mut owner = Player::play("hold", &path);
    owner.wait_for("held");
    let error = refusal(&path);
    assert!(matches!(error, DirectoryError::InUse { holder: Some(holder), .. } if holder == owner.id()), "{error}");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    let read = LogReader::open(&path).err().unwrap();
    assert!(matches!(read, ReadError::Directory(DirectoryError::InUse { .. })), "{read}");
    owner.kill();
    DataDirectory::open(&path, &identity(1)).unwrap();
}

#[test]
fn a_node_does_not_start_while_a_tool_reads() {
    let place = Place::new();
    let path = place.at("node");
    drop(node(&path));
    let readers = [LogReader::open(&path).unwrap(), LogReader::open(&path).unwrap()];
    assert!(matches!(refusal(&path), DirectoryError::InUse { .. }));
    drop(readers);
    node(&path);
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let place = Place::new();
    fs::write(place.at("photo.jpg"), b"").unwrap();
    let before = mode(&place.0);
    assert!(matches!(refusal(&place.0), DirectoryError::Foreign { .. }));
    assert_eq!(fs::read_dir(&place.0).unwrap().count(), 1);
    assert_eq!(mode(&place.0), before);
    assert!(matches!(refusal(&place.at("photo.jpg")), DirectoryError::NotADirectory { .. }));
    assert!(matches!(refusal(&place.at("photo.jpg/below")), DirectoryError::NotADirectory { .. }));
    let error = LogReader::open(&place.0).err().unwrap();
    assert!(matches!(error, ReadError::NoManifest { .. }), "{error}");
    let error = LogReader::open(&place.at("missing")).err().unwrap();
    assert!(matches!(error, ReadError::Missing { .. }), "{error}");
    assert!(!place.at("missing").exists(), "reading makes nothing");
}

#[test]
fn a_newer_or_damaged_manifest_is_refused() {
    let place = Place::new();
    let path = place.at("node");
    drop(node(&path));
    let manifest = path.join("manifest");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("format = 2", "format = 3")).unwrap();
    assert!(matches!(refusal(&path), DirectoryError::NewerFormat { found: 3, known: 2, .. }));
    fs::write(&manifest, text.replace("shards = 1", "shards = 2")).unwrap();
    assert!(matches!(refusal(&path), DirectoryError::ManifestDamaged { .. }));
    fs::write(&manifest, b"").unwrap();
    assert!(matches!(refusal(&path), DirectoryError::ManifestDamaged { .. }));
    fs::write(&manifest, text).unwrap();
    node(&path);
}

#[test]
fn a_lost_or_changed_secret_is_refused() {
    let place = Place::new();
    let path = place.at("node");
    drop(node(&path));
    let secret = path.join("secret");
    for damaged in [&[42; 31][..], &[42; 33], &[43; 32]] {
        fs::write(&secret, damaged).unwrap();
        assert!(matches!(refusal(&path), DirectoryError::SecretDamaged { .. }));
    }
    fs::remove_file(&secret).unwrap();
    let error = refusal(&path);
    assert!(matches!(error, DirectoryError::SecretDamaged { .. }));
    assert!(error.to_string().contains("missing"), "{error}");
}

#[test]
fn what_others_may_read_is_refused_with_the_command_that_mends_it() {
    let place = Place::new();
    let path = place.at("node");
    drop(node(&path));
    for (file, wrong, right) in [(path.clone(), 0o750, 0o700), (path.join("secret"), 0o640, 0o600)] {
        set_mode(&file, wrong);
        let error = refusal(&path);
        assert!(matches!(error, DirectoryError::Permissions { .. }), "{error}");
        assert!(error.to_string().contains(&format!("chmod {right:o} {}", file.display())), "{error}");
        set_mode(&file, right);
    }
    node(&path);
}

#[test]
fn a_read_only_file_system_is_told() {
    let place = Place::new();
    let path = place.at("mounted");
    fs::create_dir(&path).unwrap();
    drop(node(&path.join("node")));
    for target in [path.join("node"), path.join("new")] {
        let child = child::command("open", &target);
        let Some(mut mounted) =
            in_namespace("mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\"", &path, &child)
        else {
            return;
        };
        let (_, told) = Player::start(&mut mounted).end();
        assert!(told.contains("read-only"), "{told}");
    }
}

/// A command that runs `child` where `mount`, a shell command about the folder `$0`, has been done; `None`, and a line that
/// says why, where that is not possible.
pub(crate) fn in_namespace(mount: &str, folder: &Path, child: &Command) -> Option<Command> {
    let attempt = |then: &str| {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &format!("{mount} && {then}")]).arg(folder);
        command
    };
    let is_possible = attempt("true").output().is_ok_and(|tried| tried.status.success());
    if !is_possible {
        println!("skipped: no mount namespace can be made here; that takes root and unshare");
        return None;
    }
    let mut command = attempt("exec \"$@\"");
    command.arg(child.get_program()).args(child.get_args());
    for (name, value) in child.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    Some(command)
}
