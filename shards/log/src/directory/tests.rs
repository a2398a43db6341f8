use super::*;
use std::sync::atomic::{AtomicU32, Ordering};

static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// A place for one test, removed when it has passed.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sipfed-directory-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn open(&self, shards_count: u32) -> Result<DataDirectory, DirectoryError> {
        DataDirectory::open(&self.0, &Identity { shards_count, secret: [7; SECRET_BYTES], now_s: 1 })
    }

    /// The names in it, in order.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// Makes a directory as a crash after `steps` steps of its making leaves it.
fn interrupted_creation(place: &Place, steps: usize) {
    fs::write(place.0.join(Lock::FILE), b"").unwrap();
    let path = &place.0;
    let all: [&dyn Fn(); 4] = [
        &|| durable_file::stage(path, SECRET_FILE, &[1; SECRET_BYTES]).unwrap(),
        &|| durable_file::publish(path, SECRET_FILE).unwrap(),
        &|| make_folder(&layout_folder(path, 1)).unwrap(),
        &|| durable_file::stage(path, Manifest::FILE, b"format = 2\ncre").unwrap(),
    ];
    all[..steps].iter().for_each(|step| step());
}

#[test]
fn a_creation_that_was_interrupted_is_begun_anew() {
    for steps in 0..=4 {
        let place = Place::new();
        interrupted_creation(&place, steps);
        let directory = place.open(2).unwrap();
        assert_eq!(directory.secret(), &[7; SECRET_BYTES], "after {steps} steps");
        assert_eq!(place.names(), ["layout-1", "lock", "manifest", "secret"], "after {steps} steps");
    }
}

#[test]
fn a_switch_that_was_interrupted_leaves_one_layout_whole() {
    for steps in 0..=4 {
        let place = Place::new();
        let mut directory = place.open(1).unwrap();
        fs::create_dir(directory.layout().shard_folder(0)).unwrap();
        let next = directory.begin_layout(2).unwrap();
        fs::create_dir(next.shard_folder(1)).unwrap();
        let manifest = Manifest { layout: 2, shards_count: 2, ..directory.manifest.clone() };
        // As `commit_layout` does it, up to the step at which the process dies.
        let all: [&dyn Fn(); 4] = [
            &|| durable_file::stage(&place.0, Manifest::FILE, &manifest.text().as_bytes()[..20]).unwrap(),
            &|| durable_file::stage(&place.0, Manifest::FILE, manifest.text().as_bytes()).unwrap(),
            &|| durable_file::publish(&place.0, Manifest::FILE).unwrap(),
            &|| fs::remove_dir(place.0.join("layout-1/shard-0")).unwrap(),
        ];
        all[..steps].iter().for_each(|step| step());
        drop(directory);

        let directory = place.open(1).unwrap();
        let is_switched = steps >= 3;
        assert_eq!(directory.layout().number, if is_switched { 2 } else { 1 }, "after {steps} steps");
        assert_eq!(directory.needs_resharding().is_some(), is_switched);
        let whole = if is_switched { "layout-2/shard-1" } else { "layout-1/shard-0" };
        assert!(place.0.join(whole).exists(), "after {steps} steps");
        let current = if is_switched { "layout-2" } else { "layout-1" };
        assert_eq!(place.names(), [current, "lock", "manifest", "secret"], "after {steps} steps");
    }
}

#[test]
fn a_layout_that_was_begun_twice_holds_nothing_of_the_first_time() {
    let place = Place::new();
    let mut directory = place.open(1).unwrap();
    let first = directory.begin_layout(3).unwrap();
    fs::create_dir(first.shard_folder(2)).unwrap();
    let second = directory.begin_layout(2).unwrap();
    assert!(!first.shard_folder(2).exists());
    directory.commit_layout(&second).unwrap();
    assert_eq!(directory.layout(), second);
    assert_eq!(place.names(), ["layout-2", "lock", "manifest", "secret"]);
}

#[test]
fn the_logs_of_a_lost_manifest_are_not_taken_for_an_empty_directory() {
    let place = Place::new();
    let directory = place.open(1).unwrap();
    fs::create_dir(directory.layout().shard_folder(0)).unwrap();
    drop(directory);
    fs::remove_file(place.0.join(Manifest::FILE)).unwrap();
    assert!(matches!(place.open(1), Err(DirectoryError::Foreign { .. })));
}
