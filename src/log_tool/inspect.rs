//! `sipfed log inspect`: what is in a data directory.

use super::Stop;
use super::output::{DamageObject, damage_objects, size};
use crate::cli::Exit;
use crate::stdout::{Output, counted};
use serde::Serialize;
use sipfed_log::{GenerationInspection, Inspection, LogReader, ShardInspection};
use sipfed_proto::rfc3339;
use std::io;
use std::path::Path;

#[derive(Debug, Serialize)]
struct DirectoryObject {
    kind: &'static str,
    path: String,
    format: u64,
    created_at: String,
    created_at_s: u64,
    layout: u64,
    shards: u32,
}

#[derive(Debug, Serialize)]
struct ShardObject {
    kind: &'static str,
    shard: u32,
    records: u64,
    tables_bytes: u64,
    write_ahead_log_bytes: u64,
    generations: Vec<GenerationObject>,
    /// What the next start will cut off the end.
    to_be_cut: Option<DamageObject>,
    damages: Vec<DamageObject>,
}

#[derive(Debug, Serialize)]
struct GenerationObject {
    generation: u64,
    /// `null` when it cannot be read.
    started_at: Option<String>,
    started_at_s: Option<u64>,
    first_record: Option<u64>,
    last_record: Option<u64>,
    records: u64,
    tables: u64,
    tables_bytes: u64,
}

pub(super) fn run(reader: &LogReader, path: &Path, is_json: bool, output: &mut Output) -> Result<Exit, Stop> {
    let found = reader.inspect();
    if is_json {
        objects(&found, path, output)?;
    } else {
        text(&found, path, output)?;
    }
    Ok(Exit::Done)
}

/// Records have numbers without gaps.
fn records(generation: &GenerationInspection) -> u64 {
    generation.entries.map_or(0, |(first, last)| last.0 + 1 - first.0)
}

fn started_at_s(generation: &GenerationInspection) -> Option<u64> {
    Some(generation.generation.started_at_s).filter(|started| *started > 0)
}

fn objects(found: &Inspection, path: &Path, output: &mut Output) -> io::Result<()> {
    output.json(&DirectoryObject {
        kind: "directory",
        path: path.display().to_string(),
        format: found.format,
        created_at: rfc3339(found.created_at_s),
        created_at_s: found.created_at_s,
        layout: found.layout.number,
        shards: found.layout.shards_count,
    })?;
    for shard in &found.shards {
        output.json(&ShardObject {
            kind: "shard",
            shard: shard.shard,
            records: shard.generations.iter().map(records).sum(),
            tables_bytes: shard.generations.iter().map(|generation| generation.tables_bytes).sum(),
            write_ahead_log_bytes: shard.wal_bytes,
            generations: shard.generations.iter().map(generation_object).collect(),
            to_be_cut: shard.tail.as_ref().map(DamageObject::from),
            damages: damage_objects(&shard.damages),
        })?;
    }
    Ok(())
}

fn generation_object(generation: &GenerationInspection) -> GenerationObject {
    GenerationObject {
        generation: generation.generation.number,
        started_at: started_at_s(generation).map(rfc3339),
        started_at_s: started_at_s(generation),
        first_record: generation.entries.map(|(first, _)| first.0),
        last_record: generation.entries.map(|(_, last)| last.0),
        records: records(generation),
        tables: generation.tables_count,
        tables_bytes: generation.tables_bytes,
    }
}

fn text(found: &Inspection, path: &Path, output: &mut Output) -> io::Result<()> {
    output.line(format_args!("{}", path.display()))?;
    output.line(format_args!("  made at  {}", rfc3339(found.created_at_s)))?;
    output.line(format_args!("  format   {}", found.format))?;
    output.line(format_args!("  layout   {}", found.layout.number))?;
    output.line(format_args!("  shards   {}\n", found.layout.shards_count))?;
    for line in table(&found.shards) {
        output.line(format_args!("{line}"))?;
    }
    for shard in &found.shards {
        if let Some(tail) = &shard.tail {
            output.line(format_args!(
                "\nThe next start cuts off what was being written at the end of shard {}:",
                shard.shard
            ))?;
            output.line(format_args!("  {tail}"))?;
        }
        if !shard.damages.is_empty() {
            let count = counted(shard.damages.len() as u64, "damage");
            output.line(format_args!("\nShard {} has {count}:", shard.shard))?;
            for damage in &shard.damages {
                output.line(format_args!("  {damage}"))?;
            }
        }
    }
    Ok(())
}

const COLUMNS: [&str; 7] = ["shard", "generation", "started at", "records", "count", "tables", "write-ahead log"];

/// A line for each generation. The write-ahead log is the shard's and stands in the line of its last generation.
fn table(shards: &[ShardInspection]) -> Vec<String> {
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    for shard in shards {
        let wal = size(shard.wal_bytes);
        let Some((last, before)) = shard.generations.split_last() else {
            rows.push([&shard.shard.to_string(), "none", "", "", "0", "", &wal].map(str::to_owned));
            continue;
        };
        rows.extend(before.iter().map(|generation| row(shard.shard, generation, String::new())));
        rows.push(row(shard.shard, last, wal));
    }
    let mut widths = [0; COLUMNS.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let aligned = |row: &[String; COLUMNS.len()]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(aligned).collect()
}

fn row(shard: u32, generation: &GenerationInspection, wal: String) -> [String; COLUMNS.len()] {
    let range = generation.entries.map_or_else(|| "none".to_owned(), |(first, last)| format!("{first} to {last}"));
    let tables = match generation.tables_count {
        0 => "none".to_owned(),
        count => format!("{count}, {}", size(generation.tables_bytes)),
    };
    [
        shard.to_string(),
        generation.generation.number.to_string(),
        started_at_s(generation).map_or_else(|| "cannot be read".to_owned(), rfc3339),
        range,
        records(generation).to_string(),
        tables,
        wal,
    ]
}
