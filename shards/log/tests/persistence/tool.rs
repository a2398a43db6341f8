//! A directory is read without a node.

use crate::child::{self, Player, tell};
use crate::owner::in_namespace;
use crate::place::{NOW_S, Opened, Place, cut, files, flip, identity, node, operations, options};
use sipfed_log::{DataDirectory, Entry, LogReader, Lost, Progress, Sequence, Verification};
use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// The child: verifies a directory.
pub(crate) fn verify(folder: &Path) {
    let found = LogReader::open(folder).unwrap().verify(&mut |_| Ok(()), &mut |_, _| {}).unwrap();
    tell(found.is_whole());
}

/// A directory with two shards: one with two generations, in a table and in a write-ahead log, and one that was never
/// opened.
fn directory(place: &Place) -> PathBuf {
    let path = place.at("node");
    let directory = DataDirectory::open(&path, &identity(2)).unwrap();
    let folder = directory.layout().shard_folder(0);
    let mut opened = Opened::new(&folder, options());
    opened.append(100);
    opened.log.close().unwrap();
    let mut opened = Opened::new(&folder, options());
    opened.start_generation(NOW_S + 60);
    opened.append(50);
    opened.log.close().unwrap();
    path
}

fn verified(path: &Path) -> Verification {
    LogReader::open(path).unwrap().verify(&mut |_| Ok(()), &mut |_, _| {}).unwrap()
}

/// All files with what is in them.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn an_inspection_shows_generations_sequences_sizes_and_ages() {
    let place = Place::new();
    let path = directory(&place);
    let found = LogReader::open(&path).unwrap().inspect();
    assert_eq!((found.format, found.created_at_s, found.layout.number, found.shards.len()), (2, NOW_S, 1, 2));
    let [first, second] = found.shards[0].generations.as_slice() else { panic!("{found:?}") };
    assert_eq!((first.generation.number, first.generation.started_at_s), (1, NOW_S));
    assert_eq!(first.entries, Some((Sequence(1), Sequence(100))));
    assert!(first.tables_count == 1 && first.tables_bytes > 100_000, "{first:?}");
    assert_eq!((second.generation.number, second.generation.started_at_s), (2, NOW_S + 60));
    assert_eq!((second.entries, second.tables_count), (Some((Sequence(101), Sequence(150))), 0));
    assert!(found.shards[0].wal_bytes > 10_000);
    assert!(found.shards[1].generations.is_empty() && found.shards[1].damages.is_empty());
}

#[test]
fn a_reading_changes_nothing() {
    let place = Place::new();
    let path = directory(&place);
    let before = contents(&path);
    let reader = LogReader::open(&path).unwrap();
    reader.inspect();
    assert!(reader.verify(&mut |_| Ok(()), &mut |_, _| {}).unwrap().is_whole());
    drop(reader);
    assert_eq!(contents(&path), before);
}

#[test]
fn an_export_gives_every_entry_of_every_shard() {
    let place = Place::new();
    let path = directory(&place);
    let mut found = Vec::new();
    let visit = &mut |shard: u32, entry: Entry<'_>| {
        assert_eq!(entry.operations, operations(entry.sequence.0));
        found.push((shard, entry.sequence.0));
        ControlFlow::Continue(())
    };
    let mut last = Progress::default();
    let damages = LogReader::open(&path).unwrap().export(false, visit, &mut |shard, progress| {
        if shard == 0 {
            last = progress;
        }
    });
    assert!(damages.unwrap().is_empty());
    assert_eq!(found, (1..=150).map(|sequence| (0, sequence)).collect::<Vec<_>>());
    assert_eq!(last.entries, 150);
}

#[test]
fn a_verification_lists_damage_of_tables_and_write_ahead_logs_but_not_a_torn_tail() {
    let place = Place::new();
    let path = place.at("node");
    let (directory, mut opened) = node(&path);
    opened.append(300);
    // As a kill leaves it: the copy of a directory whose log is open.
    let crashed = place.copy("node", "crashed");
    let log = crashed.join("layout-1/shard-0");
    let file = files(&log, "log").pop().unwrap();
    cut(&file, fs::metadata(&file).unwrap().len() as usize - 10);
    let found = verified(&crashed);
    assert!(found.is_whole());
    assert_eq!((found.shards[0].entries, found.shards[0].tail.as_ref().unwrap().file.clone()), (299, file.clone()));

    flip(&file, 100_000);
    let found = verified(&crashed);
    let damage = &found.shards[0].damages[0];
    assert_eq!(damage.file, file);
    assert!(damage.lost.is_some_and(|lost| (40..120).contains(&lost.first.0)), "{damage}");
    // All that stands behind it is lost by it, since a start cuts there.
    let [shard] = found.shards.as_slice() else { panic!("{found:?}") };
    assert_eq!((shard.damages.len(), damage.lost.unwrap().first.0), (1, shard.entries + 1));
    assert_eq!(damage.lost.unwrap().last, Some(Sequence(299)));

    opened.log.close().unwrap();
    drop(Opened::new(&directory.layout().shard_folder(0), options()));
    drop(directory);
    let table = files(&path.join("layout-1/shard-0"), "sst").pop().unwrap();
    flip(&table, 100_000);
    let found = verified(&path);
    let shard = &found.shards[0];
    assert_eq!(shard.damages[0].file, table);
    let lost = shard.damages.iter().filter_map(|damage| damage.lost);
    assert_eq!(shard.entries + lost.map(|lost| lost.last.unwrap().0 - lost.first.0 + 1).sum::<u64>(), 300);

    let ignore = &mut |_: u32, _: Entry<'_>| ControlFlow::Continue(());
    let reader = LogReader::open(&path).unwrap();
    assert!(reader.export(false, ignore, &mut |_, _| {}).is_err());
    assert_eq!(reader.export(true, ignore, &mut |_, _| {}).unwrap(), shard.damages);
}

#[test]
fn a_verification_misses_what_had_reached_the_disk() {
    let place = Place::new();
    let path = directory(&place);
    let log = path.join("layout-1/shard-0");
    let file = files(&log, "log").pop().unwrap();
    // With the last record torn, and without the write-ahead log at all.
    let torn = Some(file.clone());
    for (named, first) in [(torn, 150), (None, 101)] {
        match &named {
            Some(file) => cut(file, fs::metadata(file).unwrap().len() as usize - 10),
            None => fs::remove_file(&file).unwrap(),
        }
        let found = verified(&path);
        let [damage] = found.shards[0].damages.as_slice() else { panic!("{found:?}") };
        assert_eq!(damage.file, named.unwrap_or_else(|| log.join("database")));
        assert_eq!(damage.lost, Some(Lost { first: Sequence(first), last: Some(Sequence(150)) }));
        assert_eq!((found.shards[0].entries, found.shards[0].tail.is_none()), (first - 1, true));
    }
}

#[test]
fn what_a_table_holds_and_nobody_can_read_is_damaged_and_not_missing() {
    let place = Place::new();
    let path = place.at("node");
    let (directory, mut opened) = node(&path);
    opened.append(3);
    opened.log.close().unwrap();
    drop(Opened::new(&directory.layout().shard_folder(0), options()));
    drop(directory);
    let table = files(&path.join("layout-1/shard-0"), "sst").pop().unwrap();
    flip(&table, 1_000);
    let reader = LogReader::open(&path).unwrap();
    let found = &reader.inspect().shards[0];
    assert_eq!(found.generations[0].entries, Some((Sequence(1), Sequence(3))));
    assert!(found.damages.is_empty(), "tables are not read through: {found:?}");
    let found = verified(&path);
    let [damage] = found.shards[0].damages.as_slice() else { panic!("{found:?}") };
    assert_eq!((&damage.file, damage.lost), (&table, Some(Lost { first: Sequence(1), last: Some(Sequence(3)) })));
}

#[test]
fn a_verification_names_entries_whose_operations_are_refused() {
    let place = Place::new();
    let path = directory(&place);
    let mut check = |entry: Entry<'_>| match entry.sequence.0 {
        7 | 8 | 120 => Err("means nothing".to_owned()),
        _ => Ok(()),
    };
    let found = LogReader::open(&path).unwrap().verify(&mut check, &mut |_, _| {}).unwrap();
    let log = path.join("layout-1/shard-0");
    let table = files(&log, "sst").pop().unwrap();
    let told: Vec<_> = found.shards[0].damages.iter().map(|damage| (damage.file.clone(), damage.lost)).collect();
    let lost = |first, last| Some(Lost { first: Sequence(first), last: Some(Sequence(last)) });
    assert_eq!(told, [(table, lost(7, 8)), (log.join("database"), lost(120, 120))]);
    assert_eq!((found.is_whole(), found.shards[0].entries), (false, 147));
}

#[test]
fn a_directory_is_verified_on_a_file_system_that_cannot_be_written() {
    let place = Place::new();
    let path = directory(&place);
    let child = child::command("verify", &path);
    let mount = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\"";
    let Some(mut mounted) = in_namespace(mount, &path, &child) else { return };
    let (_, told) = Player::start(&mut mounted).end();
    assert!(told.contains("true"), "{told}");
}
