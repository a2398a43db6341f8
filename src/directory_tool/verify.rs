//! `sipfed directory verify`: whether all rows of a directory are as they should be.

use super::collisions::{Domains, Rivals};
use super::output::{EXAMPLES_MAX, GONE, StoreObject, epoch, time};
use super::rows::{Count, Epochs, Finding, Homes, Verdict, is_named, judge};
use super::{Named, Pace, Stop, Target, pages};
use crate::cli::Exit;
use crate::stdout::{Output, counted};
use serde::Serialize;
use sipfed_directory::{Inspection, Schema, Store};
use std::collections::BTreeSet;
use std::io;

#[derive(Debug, Serialize)]
struct HomeObject<'a> {
    kind: &'static str,
    home: &'a str,
    rows: u64,
    void_rows: u64,
    /// `none`, `present` or `gone_for_good`.
    epoch: &'static str,
    epoch_at: Option<String>,
    /// `null` without a configuration.
    is_named: Option<bool>,
}

#[derive(Debug, Serialize)]
struct RiskObject<'a> {
    kind: &'static str,
    id: &'a str,
    aor: &'a str,
    home: &'a str,
    other_aor: &'a str,
    other_home: &'a str,
}

/// All that is counted.
#[derive(Debug, Default, Serialize)]
struct Summary {
    kind: &'static str,
    rows: u64,
    homes: u64,
    /// Rows of homes beyond those that are counted each by itself.
    rows_of_further_homes: u64,
    malformed: u64,
    void: u64,
    at_risk: u64,
    /// Homes that no configuration names.
    unnamed: u64,
    has_aor_index: bool,
    is_well: bool,
}

/// What is found, and where it is told: as text, examples wait for their heading.
struct Report<'o> {
    output: &'o mut Output,
    is_json: bool,
    malformed: Vec<String>,
    void: Vec<String>,
    at_risk: Vec<String>,
    summary: Summary,
}

pub(super) async fn run(target: &Target, pace: &Pace, output: &mut Output) -> Result<Exit, Stop> {
    let store = target.connect().await?;
    let found = store.inspect().await?;
    let epochs = Epochs::new(pages::patiently(async || store.epochs().await).await?);
    let mut report = Report {
        output,
        is_json: target.is_json,
        malformed: Vec::new(),
        void: Vec::new(),
        at_risk: Vec::new(),
        summary: Summary { kind: "summary", has_aor_index: found.has_aor_index, ..Summary::default() },
    };
    report.store(target, &store, &found)?;
    let mut homes = Homes::default();
    let schema = target.options.schema;
    let mut domains = Domains::default();
    for name in &target.domains {
        domains.add(name);
    }
    let rows = pages::each(&store, pace, "verifying", async |rows| {
        for scanned in rows {
            if schema == Schema::OpenSips {
                domains.add_of(&scanned.row.aor);
            }
            match judge(scanned, schema, &epochs) {
                Verdict::Good => homes.add(&scanned.row.home, false),
                Verdict::Void(epoch_us) => {
                    homes.add(&scanned.row.home, true);
                    report.row(&Finding::void(scanned, epoch_us))?;
                }
                Verdict::Malformed(why) => report.row(&Finding::malformed(scanned, why))?,
            }
        }
        Ok(())
    });
    report.summary.rows = rows.await?;
    if schema == Schema::OpenSips {
        let named: Vec<String> = target.named.iter().flat_map(Named::all).map(|home| home.to_string()).collect();
        let known =
            homes.counts.keys().map(|home| &**home).chain(epochs.homes()).chain(named.iter().map(|home| &**home));
        let rivals = Rivals::new(known);
        if !rivals.is_empty() {
            risks(&store, pace, (&rivals, &domains), &mut report).await?;
        }
    }
    report.homes(target, &homes, &epochs)?;
    Ok(report.end(target)?)
}

/// Reads everything once more, for rows whose key may be another's.
async fn risks(
    store: &Store,
    pace: &Pace,
    (rivals, domains): (&Rivals<'_>, &Domains),
    report: &mut Report<'_>,
) -> Result<(), Stop> {
    pages::each(store, pace, "looking for keys that collide", async |rows| {
        for scanned in rows {
            let (Some(id), aor, home) = (&scanned.id, &*scanned.row.aor, &*scanned.row.home) else { continue };
            // Of a malformed row the key says nothing about its home.
            if id.strip_prefix(aor) == Some(home) {
                for (other_aor, other_home) in rivals.of(id, home, domains) {
                    report.risk(&RiskObject { kind: "at_risk", id, aor, home, other_aor, other_home })?;
                }
            }
        }
        Ok(())
    })
    .await?;
    Ok(())
}

impl Report<'_> {
    fn store(&mut self, target: &Target, store: &Store, found: &Inspection) -> io::Result<()> {
        if self.is_json {
            return self.output.json(&StoreObject::new(target, found, store.has_epochs()));
        }
        let schema = target.options.schema.word();
        let columns = if found.columns.is_empty() { "no rows yet".to_owned() } else { found.columns.join(", ") };
        let index = if found.has_aor_index {
            "on aor"
        } else {
            "none on aor: every lookup reads the whole table; `sipfed directory init` makes one"
        };
        let epochs = if store.has_epochs() { "kept" } else { "not kept by this schema in MongoDB" };
        self.output.line(format_args!("{}", target.url))?;
        self.output.line(format_args!("  server  {}", found.server))?;
        self.output.line(format_args!("  schema  {schema}: {columns}"))?;
        self.output.line(format_args!("  index   {index}"))?;
        self.output.line(format_args!("  epochs  {epochs}"))
    }

    fn row(&mut self, finding: &Finding<'_>) -> io::Result<()> {
        let (count, examples) = match finding.kind {
            "void" => (&mut self.summary.void, &mut self.void),
            _ => (&mut self.summary.malformed, &mut self.malformed),
        };
        *count += 1;
        if self.is_json {
            return self.output.json(finding);
        }
        if *count <= EXAMPLES_MAX {
            examples.push(finding.to_string());
        }
        Ok(())
    }

    fn risk(&mut self, risk: &RiskObject<'_>) -> io::Result<()> {
        self.summary.at_risk += 1;
        if self.is_json {
            return self.output.json(risk);
        }
        if self.summary.at_risk <= EXAMPLES_MAX {
            let RiskObject { id, aor, home, other_aor, other_home, .. } = risk;
            let example = format!("key {id:?} of {aor:?} at {home:?} is that of {other_aor:?} at {other_home:?}, too");
            self.at_risk.push(example);
        }
        Ok(())
    }

    fn homes(&mut self, target: &Target, homes: &Homes, epochs: &Epochs) -> io::Result<()> {
        let all: BTreeSet<&str> = homes.counts.keys().map(|home| &**home).chain(epochs.homes()).collect();
        let width = all.iter().map(|home| home.len()).max().unwrap_or(0).max("home".len());
        if !self.is_json && !all.is_empty() {
            self.output.line(format_args!("\n{:width$}  {:>10}  {:>10}  epoch", "home", "rows", "void"))?;
        }
        for home in all {
            let Count { rows, void } = homes.counts.get(home).copied().unwrap_or_default();
            let epoch_us = epochs.of(home);
            let is_named = target.named.as_ref().map(|named| is_named(named, home));
            self.summary.homes += u64::from(rows > 0);
            // One that is gone for good needs no name, and rows of it are told as void.
            let is_amiss = is_named == Some(false) && rows > 0 && epoch_us != Some(GONE);
            self.summary.unnamed += u64::from(is_amiss);
            if self.is_json {
                let state = match epoch_us {
                    None => "none",
                    Some(GONE) => "gone_for_good",
                    Some(_) => "present",
                };
                let epoch_at = epoch_us.filter(|us| *us != GONE).map(time);
                let home = HomeObject { kind: "home", home, rows, void_rows: void, epoch: state, epoch_at, is_named };
                self.output.json(&home)?;
            } else {
                let note = if is_amiss { "  the configuration does not name this home" } else { "" };
                self.output.line(format_args!("{home:width$}  {rows:>10}  {void:>10}  {}{note}", epoch(epoch_us)))?;
            }
        }
        self.summary.rows_of_further_homes = homes.further_rows;
        if homes.further_rows > 0 && !self.is_json {
            self.output.line(format_args!("and {} of further homes", counted(homes.further_rows, "row")))?;
        }
        Ok(())
    }

    fn end(mut self, target: &Target) -> io::Result<Exit> {
        let Summary { malformed, void, at_risk, unnamed, has_aor_index, .. } = self.summary;
        self.summary.is_well = malformed + void + at_risk + unnamed == 0 && has_aor_index;
        let exit = if self.summary.is_well { Exit::Done } else { Exit::BadDirectory };
        if self.is_json {
            self.output.json(&self.summary)?;
            return Ok(exit);
        }
        let sum = format!("{} of {}", counted(self.summary.rows, "row"), counted(self.summary.homes, "home"));
        if self.summary.is_well {
            self.output.line(format_args!("\nAll is well: {sum}."))?;
            return Ok(exit);
        }
        let mut wrong = Vec::new();
        for (heading, count, examples) in [
            (counted(malformed, "malformed row"), malformed, &self.malformed),
            (counted(void, "void row"), void, &self.void),
            (format!("{} at risk", counted(at_risk, "key")), at_risk, &self.at_risk),
        ] {
            if count > 0 {
                examples_of(self.output, &heading, count, examples)?;
                wrong.push(heading);
            }
        }
        if unnamed > 0 {
            wrong.push(format!("{} that the configuration does not name", counted(unnamed, "home")));
        }
        if !has_aor_index {
            wrong.push("no index on aor".to_owned());
        }
        self.output.line(format_args!("\nSomething is wrong: {}; {sum}.", wrong.join(", ")))?;
        for right in rights(&self.summary, &target.argument) {
            self.output.line(format_args!("{right}"))?;
        }
        Ok(exit)
    }
}

/// What to do about it, a sentence for each.
fn rights(summary: &Summary, argument: &str) -> Vec<String> {
    let mut rights = Vec::new();
    if summary.malformed + summary.void > 0 {
        rights.push(format!("Malformed and void rows are deleted by `sipfed directory repair {argument} --apply`."));
    }
    if summary.unnamed > 0 {
        rights.push(format!(
            "Add the home to directory.peers, or, if it is gone for good, `sipfed directory repair {argument} --retire HOME --apply`."
        ));
    }
    if summary.at_risk > 0 {
        rights.push(
            "Two AoRs of one key overwrite each other's row: use the schema \"native\", or give one of the two homes another address or a port."
                .to_owned(),
        );
    }
    if !summary.has_aor_index {
        rights.push(format!("The index is made by `sipfed directory init {argument}`."));
    }
    rights
}

/// `3 malformed rows:` and what they are, as far as they are shown.
pub(super) fn examples_of(output: &mut Output, heading: &str, count: u64, examples: &[String]) -> io::Result<()> {
    output.line(format_args!("\n{heading}:"))?;
    for example in examples {
        output.line(format_args!("  {example}"))?;
    }
    if count > examples.len() as u64 {
        output.line(format_args!("  and {} more; --json prints all of them", count - examples.len() as u64))?;
    }
    Ok(())
}
