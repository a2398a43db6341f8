//! `sipfed log verify`: whether everything can be read, down to what each record says.

use super::Stop;
use super::output::{DamageObject, damage_objects, size};
use super::progress::ProgressLine;
use crate::cli::Exit;
use crate::stdout::{Output, counted};
use serde::Serialize;
use sipfed_log::{Entry, LogReader, ShardVerification, Verification};
use sipfed_proto::view;
use std::io;
use std::path::Path;

#[derive(Debug, Serialize)]
struct DirectoryObject {
    kind: &'static str,
    path: String,
    is_whole: bool,
    records: u64,
    bytes: u64,
    damages: usize,
}

#[derive(Debug, Serialize)]
struct ShardObject {
    kind: &'static str,
    shard: u32,
    is_whole: bool,
    records: u64,
    bytes: u64,
    /// What the next start will cut off the end.
    to_be_cut: Option<DamageObject>,
    damages: Vec<DamageObject>,
}

pub(super) fn run(reader: &LogReader, path: &Path, is_json: bool, output: &mut Output) -> Result<Exit, Stop> {
    let mut progress = ProgressLine::new("verifying", reader.layout().shards_count, true);
    let found = reader.verify(&mut check, &mut |shard, at| progress.tell(shard, at))?;
    drop(progress);
    if is_json {
        objects(&found, path, output)?;
    } else {
        text(&found, path, output)?;
    }
    Ok(if found.is_whole() { Exit::Done } else { Exit::DamagedLog })
}

/// Whether each change of a record can be read.
fn check(entry: Entry<'_>) -> Result<(), String> {
    view::changes(entry.operations).try_for_each(|change| match change {
        Ok(_) => Ok(()),
        Err(bad) => Err(format!("its change at byte {} {}", bad.at, bad.what)),
    })
}

/// Records, bytes and damages of all shards.
fn sums(found: &Verification) -> (u64, u64, usize) {
    let shards = found.shards.iter();
    shards.fold((0, 0, 0), |(records, bytes, damages), shard| {
        (records + shard.entries, bytes + shard.bytes, damages + shard.damages.len())
    })
}

fn objects(found: &Verification, path: &Path, output: &mut Output) -> io::Result<()> {
    let (records, bytes, damages) = sums(found);
    let (path, is_whole) = (path.display().to_string(), found.is_whole());
    output.json(&DirectoryObject { kind: "directory", path, is_whole, records, bytes, damages })?;
    for shard in &found.shards {
        output.json(&ShardObject {
            kind: "shard",
            shard: shard.shard,
            is_whole: shard.damages.is_empty(),
            records: shard.entries,
            bytes: shard.bytes,
            to_be_cut: shard.tail.as_ref().map(DamageObject::from),
            damages: damage_objects(&shard.damages),
        })?;
    }
    Ok(())
}

fn text(found: &Verification, path: &Path, output: &mut Output) -> io::Result<()> {
    for shard in &found.shards {
        shard_text(shard, output)?;
    }
    let (records, bytes, damages) = sums(found);
    let sum = format!("{}, {}", counted(records, "record"), size(bytes));
    if found.is_whole() {
        output.line(format_args!("{} is whole: {sum}", path.display()))
    } else {
        let damages = counted(damages as u64, "damage");
        output.line(format_args!("{} is damaged: {damages}; {sum} can be read", path.display()))
    }
}

fn shard_text(shard: &ShardVerification, output: &mut Output) -> io::Result<()> {
    let judgement = if shard.damages.is_empty() { "whole" } else { "damaged" };
    let (records, bytes) = (counted(shard.entries, "record"), size(shard.bytes));
    output.line(format_args!("shard {}: {judgement}, {records}, {bytes}", shard.shard))?;
    if let Some(tail) = &shard.tail {
        output.line(format_args!("  was being written when the node died, the next start cuts it: {tail}"))?;
    }
    for damage in &shard.damages {
        output.line(format_args!("  {damage}"))?;
    }
    Ok(())
}
