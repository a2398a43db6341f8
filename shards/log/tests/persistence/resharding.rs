//! A change of the number of shards, and a process that dies while it makes one.

use crate::child::{Player, tell, wait_for_the_end};
use crate::place::{Opened, Place, identity, node, operations, options};
use sipfed_log::{DataDirectory, Layout};
use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

const ENTRIES: u64 = 200;

/// The operations in all logs of a layout.
fn contents(layout: &Layout) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for shard in 0..layout.shards_count {
        let opened = Opened::new(&layout.shard_folder(shard), options());
        let visit = &mut |entry: sipfed_log::Entry<'_>| {
            found.push(entry.operations.to_vec());
            ControlFlow::Continue(())
        };
        opened.log.replay(visit, &mut |_| {}).unwrap();
        opened.log.close().unwrap();
    }
    found
}

/// Writes what the current logs hold to a layout of `shards_count`, which is then made the current one. Tells each step, and
/// stops at the step `at`.
fn rewrite(directory: &mut DataDirectory, shards_count: u32, at: &str) {
    let step = |name: &str| {
        tell(name);
        if name == at {
            wait_for_the_end();
        }
    };
    let contents = contents(&directory.layout());
    let layout = directory.begin_layout(shards_count).unwrap();
    step("begun");
    for shard in 0..shards_count {
        let mut opened = Opened::new(&layout.shard_folder(shard), options());
        for (index, operations) in contents.iter().enumerate() {
            if index as u32 % shards_count == shard {
                opened.log.append(operations).unwrap();
            }
        }
        step("written");
        opened.log.close().unwrap();
        step("closed");
    }
    directory.commit_layout(&layout).unwrap();
    step("committed");
}

/// The child: goes to two shards up to the step `at`; or, with "for ever", back and forth between one and two.
pub(crate) fn reshard(folder: &Path, at: &str) {
    let mut directory = DataDirectory::open(folder, &identity(1)).unwrap();
    loop {
        let shards_count = 3 - directory.layout().shards_count;
        rewrite(&mut directory, shards_count, at);
        if at != "for ever" {
            return;
        }
    }
}

fn fill(path: &Path) {
    let (_directory, mut opened) = node(path);
    opened.append(ENTRIES);
    opened.log.close().unwrap();
}

/// The directory holds one layout, and that is whole.
#[track_caller]
fn assert_whole(path: &Path) -> Layout {
    let directory = DataDirectory::open(path, &identity(1)).unwrap();
    let layout = directory.layout();
    let found: BTreeSet<Vec<u8>> = contents(&layout).into_iter().collect();
    assert_eq!(found, (1..=ENTRIES).map(operations).collect());
    let names = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(
        names.filter(|name| name.starts_with("layout-")).collect::<Vec<_>>(),
        [format!("layout-{}", layout.number)]
    );
    layout
}

#[test]
fn a_kill_at_each_step_leaves_the_old_layout_or_the_new_one_whole() {
    for (step, times, shards_count) in [("begun", 1, 1), ("written", 1, 1), ("closed", 1, 1), ("committed", 1, 2)] {
        let place = Place::new();
        let path = place.at("node");
        fill(&path);
        let mut child = Player::play(&format!("reshard:{step}"), &path);
        for _ in 0..times {
            child.wait_for(step);
        }
        child.kill();
        assert_eq!(assert_whole(&path).shards_count, shards_count, "killed when {step}");
    }
}

#[test]
fn a_kill_at_any_moment_leaves_one_layout_whole() {
    let place = Place::new();
    let path = place.at("node");
    fill(&path);
    for round in 0..10 {
        let mut child = Player::play("reshard:for ever", &path);
        // The kill meets whatever the child does after so many steps.
        for _ in 0..=round * 2 {
            child.line().unwrap();
        }
        child.kill();
        assert_whole(&path);
    }
}

#[test]
fn another_secret_comes_with_a_layout_and_stays_with_those_that_follow() {
    let folder = Place::new();
    let path = folder.at("node");
    let mut directory = DataDirectory::open(&path, &identity(1)).unwrap();
    let old = *directory.secret();
    let new = old.map(|byte| byte ^ 0x5a);
    // One that is not committed changes nothing.
    directory.begin_layout_with(1, new).unwrap();
    drop(directory);
    let mut directory = DataDirectory::open(&path, &identity(1)).unwrap();
    assert_eq!(*directory.secret(), old);
    let layout = directory.begin_layout_with(1, new).unwrap();
    directory.commit_layout(&layout).unwrap();
    assert_eq!(*directory.secret(), new);
    drop(directory);
    let mut directory = DataDirectory::open(&path, &identity(2)).unwrap();
    assert_eq!(*directory.secret(), new);
    let layout = directory.begin_layout(2).unwrap();
    directory.commit_layout(&layout).unwrap();
    drop(directory);
    assert_eq!(*DataDirectory::open(&path, &identity(2)).unwrap().secret(), new);
}

#[test]
fn one_to_two_to_three_to_one_shards_keep_everything() {
    let place = Place::new();
    let path = place.at("node");
    fill(&path);
    for (number, shards_count) in [(2, 2), (3, 3), (4, 1)] {
        let mut directory = DataDirectory::open(&path, &identity(shards_count)).unwrap();
        assert!(directory.needs_resharding().is_some());
        rewrite(&mut directory, shards_count, "");
        assert_eq!(directory.needs_resharding(), None);
        drop(directory);
        let layout = assert_whole(&path);
        assert_eq!((layout.number, layout.shards_count), (number, shards_count));
    }
}
