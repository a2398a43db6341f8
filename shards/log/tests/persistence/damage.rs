//! What was written is not what is there.

use crate::place::{NOW_S, Opened, Place, cut, files, flip, options, salvage};
use sipfed_log::{Damage, Lost, OpenError, ReplayError, Sequence};
use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

const ENTRIES: u64 = 600;

/// A log with all entries in its write-ahead log, and what a kill leaves of it in `crashed`, an orderly end in `closed`.
fn in_wal() -> Place {
    let place = Place::new();
    let mut opened = Opened::new(&place.at("shard-0"), options());
    opened.append(ENTRIES);
    place.copy("shard-0", "crashed");
    opened.log.close().unwrap();
    place.copy("shard-0", "closed");
    place
}

/// A log with its entries in two tables of one generation and one of another, in `shard-0`.
fn in_tables() -> Place {
    let place = Place::new();
    for round in 0..3 {
        let mut opened = Opened::new(&place.at("shard-0"), options());
        if round == 2 {
            opened.start_generation(NOW_S);
        }
        opened.append(ENTRIES / 3);
        opened.log.close().unwrap();
    }
    drop(Opened::new(&place.at("shard-0"), options()));
    assert_eq!(files(&place.at("shard-0"), "sst").len(), 3);
    place
}

fn wal(folder: &Path) -> PathBuf {
    files(folder, "log").pop().unwrap()
}

fn length(file: &Path) -> usize {
    fs::metadata(file).unwrap().len() as usize
}

#[track_caller]
fn refusal(folder: &Path) -> Vec<Damage> {
    match Opened::try_new(folder, options()) {
        Err(OpenError::Damaged { damages, .. }) => damages,
        Err(error) => panic!("{error}"),
        Ok(opened) => panic!("opened: {:?}", opened.report),
    }
}

fn lost(first: u64, last: u64) -> Lost {
    Lost { first: Sequence(first), last: Some(Sequence(last)) }
}

/// Opens with salvage, reads what is left, and shows that the log is a good one afterwards.
#[track_caller]
fn salvaged(folder: &Path) -> (Vec<u64>, Vec<Damage>) {
    let mut opened = Opened::new(folder, salvage());
    let (found, replayed) = opened.read();
    let damages = [opened.report.given_up.clone(), replayed.damages].concat();
    opened.append(1);
    opened.log.close().unwrap();
    Opened::new(folder, options());
    (found, damages)
}

#[test]
fn a_torn_tail_is_cut_back_and_told() {
    let place = in_wal();
    let whole = length(&wal(&place.at("crashed")));
    // The last record is 2,437 bytes long; within its header, at its start, at its end.
    for missing in [1, 2, 100, 1000, 2429, 2430, 2431, 2433, 2436] {
        let folder = place.copy("crashed", "torn");
        let file = wal(&folder);
        cut(&file, whole - missing);
        let opened = Opened::new(&folder, options());
        let told = opened.report.cut.clone().unwrap_or_else(|| panic!("{missing} bytes are missing"));
        assert_eq!((told.file, told.lost), (file, Some(Lost { first: Sequence(ENTRIES), last: None })));
        assert_eq!(opened.read().0, (1..ENTRIES).collect::<Vec<_>>(), "{missing} bytes are missing");
        drop(opened);
        assert!(Opened::new(&folder, options()).report.cut.is_none(), "it is told once");
    }
}

#[test]
fn what_stands_behind_the_last_record_is_told_and_nothing_is_lost() {
    let place = in_wal();
    let noise: Vec<u8> = (0..4096_u32).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0] | 1).collect();
    for tail in [vec![0; 4096], noise] {
        let folder = place.copy("crashed", "longer");
        fs::OpenOptions::new().append(true).open(wal(&folder)).unwrap().write_all(&tail).unwrap();
        let opened = Opened::new(&folder, options());
        assert!(opened.report.cut.is_some());
        assert_eq!(opened.read().0, (1..=ENTRIES).collect::<Vec<_>>());
    }
}

#[test]
fn a_last_record_that_had_reached_the_disk_is_missed() {
    let place = in_wal();
    for name in ["crashed", "closed"] {
        let folder = place.copy(name, "flipped");
        let file = wal(&folder);
        flip(&file, length(&file) - 700);
        if name == "crashed" {
            let opened = Opened::new(&folder, options());
            assert_eq!(opened.report.last, Sequence(ENTRIES - 1));
            assert!(opened.report.cut.unwrap().reason.contains("checksum"));
        } else {
            let damages = refusal(&folder);
            assert_eq!((&damages[0].file, damages[0].lost), (&file, Some(lost(ENTRIES, ENTRIES))));
            let (found, damages) = salvaged(&folder);
            assert_eq!(found, (1..ENTRIES).collect::<Vec<_>>());
            assert!(!damages.is_empty());
        }
    }
}

#[test]
fn damage_in_the_middle_is_refused_and_cut_back_only_by_salvage() {
    let place = in_wal();
    for name in ["crashed", "closed"] {
        let folder = place.copy(name, "flipped");
        let file = wal(&folder);
        flip(&file, length(&file) / 2);
        let before = fs::read(&file).unwrap();
        let damages = refusal(&folder);
        let [Damage { file: named, offset_bytes: Some(_), lost: Some(gone), reason }] = damages.as_slice() else {
            panic!("{damages:?}")
        };
        assert_eq!(named, &file);
        assert!(gone.first.0 > 200 && gone.last.unwrap() == gone.first, "{gone:?}");
        assert!(reason.contains("checksum"), "{reason}");
        assert_eq!(refusal(&folder), damages, "it stays refused");
        assert_eq!(fs::read(&file).unwrap(), before, "nothing was changed");

        let (found, given_up) = salvaged(&folder);
        assert_eq!(found, (1..gone.first.0).collect::<Vec<_>>());
        let end = given_up.last().unwrap().lost.unwrap();
        assert_eq!((end.first, end.last), (gone.first, Some(Sequence(ENTRIES))), "all that was cut is told");
    }
}

#[test]
fn a_write_ahead_log_that_is_gone_is_missed_after_an_orderly_end() {
    let place = in_wal();
    let folder = place.at("closed");
    fs::remove_file(wal(&folder)).unwrap();
    for _ in 0..2 {
        assert_eq!(refusal(&folder)[0].lost, Some(lost(1, ENTRIES)));
    }
    let (found, damages) = salvaged(&folder);
    assert_eq!((found, damages[0].lost), (vec![], Some(lost(1, ENTRIES))));
}

/// Reads with and without salvage. Returns what is lost, which is all that is not read.
#[track_caller]
fn blocks_lost(folder: &Path, file: &Path) -> Vec<u64> {
    let mut visited = Vec::new();
    let opened = Opened::new(folder, options());
    let visit = &mut |entry: sipfed_log::Entry<'_>| {
        visited.push(entry.sequence.0);
        ControlFlow::Continue(())
    };
    let error = opened.log.replay(visit, &mut |_| {}).expect_err("it is damaged");
    let ReplayError::Damaged { damage, .. } = &error else { panic!("{error}") };
    assert_eq!(damage.file, file);
    let first = damage.lost.unwrap().first.0;
    assert_eq!(visited, (1..first).collect::<Vec<_>>(), "all before it was read");
    assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
    drop(opened);
    salvage_lost(folder)
}

/// Reads with salvage. Returns what is lost, which is all that is not read.
#[track_caller]
fn salvage_lost(folder: &Path) -> Vec<u64> {
    let opened = Opened::new(folder, salvage());
    let (found, replayed) = opened.read();
    let lost: Vec<u64> = replayed
        .damages
        .iter()
        .filter_map(|damage| damage.lost)
        .flat_map(|lost| lost.first.0..=lost.last.unwrap().0)
        .collect();
    let mut all = [found, lost.clone()].concat();
    all.sort_unstable();
    assert_eq!(all, (1..=ENTRIES).collect::<Vec<_>>(), "each entry is read or told to be lost");
    lost
}

#[test]
fn a_damaged_block_of_a_table_costs_its_own_entries_only() {
    let place = in_tables();
    for table in 0..3 {
        // Its first block, which stops an iterator at its very start, and one in the middle.
        for is_first in [true, false] {
            let folder = place.copy("shard-0", "flipped");
            let file = files(&folder, "sst")[table].clone();
            let at = if is_first { 1000 } else { length(&file) / 2 };
            flip(&file, at);
            let lost = if is_first && table != 1 {
                // It has the start of its generation, which is missed at once.
                let damages = refusal(&folder);
                assert_eq!(damages[0].file, file, "{damages:?}");
                salvage_lost(&folder)
            } else {
                blocks_lost(&folder, &file)
            };
            // A block has 16 KiB, and entries 1,500 bytes on average.
            assert!(!lost.is_empty() && lost.len() < 40, "{lost:?}");
            let share = ENTRIES / 3;
            let range = table as u64 * share + 1..=(table as u64 + 1) * share;
            assert!(lost.iter().all(|sequence| range.contains(sequence)), "{lost:?}");
        }
    }
}

#[test]
fn a_table_that_cannot_be_opened_is_refused_by_its_name() {
    let place = in_tables();
    let share = ENTRIES / 3;
    for table in 0..3 {
        for damage in ["footer", "cut", "missing"] {
            let folder = place.copy("shard-0", "broken");
            let file = files(&folder, "sst")[table].clone();
            match damage {
                "footer" => flip(&file, length(&file) - 20),
                "cut" => cut(&file, length(&file) - 1000),
                _ => fs::remove_file(&file).unwrap(),
            }
            let damages = refusal(&folder);
            assert_eq!(damages[0].file, file, "{damages:?}");
            assert_eq!(refusal(&folder), damages, "it stays refused");

            let opened = Opened::new(&folder, salvage());
            assert!(opened.report.is_rebuilt);
            let (found, replayed) = opened.read();
            let lost: Vec<Lost> =
                opened.report.given_up.iter().chain(&replayed.damages).filter_map(|damage| damage.lost).collect();
            let (first, last) = (table as u64 * share + 1, (table as u64 + 1) * share);
            if found.len() as u64 == ENTRIES {
                // A rebuilding reads a table without its footer's help where it can.
                assert_ne!(damage, "missing");
                continue;
            }
            let rest: Vec<u64> = (1..=ENTRIES).filter(|sequence| !(first..=last).contains(sequence)).collect();
            assert_eq!(found, rest, "{damage} of table {table}");
            if first > 1 {
                assert_eq!(lost, [self::lost(first, last)], "{damage} of table {table}");
            }
        }
    }
}

#[test]
fn a_damaged_list_of_tables_is_refused_and_rebuilt_by_salvage() {
    let place = in_tables();
    for damage in ["MANIFEST flipped", "CURRENT empty", "CURRENT missing", "MANIFEST missing"] {
        let folder = place.copy("shard-0", "broken");
        let current = folder.join("database/CURRENT");
        let manifest = folder.join("database").join(fs::read_to_string(&current).unwrap().trim());
        match damage {
            "MANIFEST flipped" => flip(&manifest, length(&manifest) / 2),
            "CURRENT empty" => fs::write(&current, b"").unwrap(),
            "CURRENT missing" => fs::remove_file(&current).unwrap(),
            _ => fs::remove_file(&manifest).unwrap(),
        }
        assert!(!refusal(&folder).is_empty(), "{damage}");
        let (found, damages) = salvaged(&folder);
        assert_eq!(found, (1..=ENTRIES).collect::<Vec<_>>(), "{damage}");
        assert!(!damages.is_empty(), "{damage}");
    }
}

#[test]
fn a_damaged_note_is_told_and_costs_nothing() {
    let place = in_wal();
    flip(&place.at("closed/durable"), 9);
    let opened = Opened::new(&place.at("closed"), options());
    assert!(opened.report.note_unreadable.as_ref().is_some_and(|reason| reason.contains("checksum")));
    assert_eq!(opened.read().0.len() as u64, ENTRIES);
}
