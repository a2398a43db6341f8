//! `sipfed directory repair`: deletes rows that are worth nothing, and retires homes.

use super::output::{EXAMPLES_MAX, GONE, now_us};
use super::rows::{Epochs, Finding, Verdict, judge};
use super::verify::examples_of;
use super::{Named, RepairArguments, Stop, Target, pages};
use crate::cli::Exit;
use crate::config::sip_address;
use crate::stdout::{Output, counted};
use serde::Serialize;
use sipfed_directory::{ScannedRow, Store};
use std::collections::BTreeSet;
use std::io;

/// Something that was done, or would be.
#[derive(Debug, Serialize)]
struct EpochObject<'a> {
    kind: &'static str,
    home: &'a str,
    action: &'static str,
    /// `false` where the schema keeps no epochs.
    is_kept: bool,
    is_applied: bool,
}

#[derive(Debug, Serialize)]
struct DeletionObject<'a> {
    #[serde(flatten)]
    finding: &'a Finding<'a>,
    is_applied: bool,
}

#[derive(Debug, Default, Serialize)]
struct Summary {
    kind: &'static str,
    rows: u64,
    malformed: u64,
    void: u64,
    /// Rows of retired homes, where the schema keeps no epochs.
    retired: u64,
    is_applied: bool,
}

/// One kind of rows that are deleted.
#[derive(Debug, Default)]
struct Kind {
    count: u64,
    examples: Vec<String>,
}

/// What is done to a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Retire,
    Revive,
}

pub(super) async fn run(target: &Target, arguments: &RepairArguments, output: &mut Output) -> Result<Exit, Stop> {
    let homes = homes(arguments)?;
    let store = target.connect().await?;
    let mut epochs = Epochs::new(pages::patiently(async || store.epochs().await).await?);
    let is_applied = arguments.apply;
    if !target.is_json && !is_applied {
        output.line(format_args!("Nothing is changed; with --apply this would be done:"))?;
    }
    // Homes whose rows are deleted since no epoch can make them void.
    let mut doomed = BTreeSet::new();
    for (typed, action) in homes {
        let home = spelled(&typed, &epochs, target);
        turn(&store, &home, action, is_applied, &mut epochs).await?;
        if action == Action::Retire && !store.has_epochs() {
            doomed.insert(home.clone());
        }
        tell_turned(target, &store, (&home, &typed), action, is_applied, output)?;
    }
    // What is done by now counts, also if the rest takes an hour.
    output.flush()?;

    let schema = target.options.schema;
    let (mut malformed, mut void, mut retired) = (Kind::default(), Kind::default(), Kind::default());
    let rows = pages::each(&store, &arguments.pace, if is_applied { "repairing" } else { "reading" }, async |rows| {
        let mut deleted: Vec<ScannedRow> = Vec::new();
        for scanned in rows {
            let (kind, finding) = match judge(scanned, schema, &epochs) {
                Verdict::Malformed(why) if why.is_rubbish() => (&mut malformed, Finding::malformed(scanned, why)),
                Verdict::Void(epoch_us) => (&mut void, Finding::void(scanned, epoch_us)),
                Verdict::Good if doomed.contains(&*scanned.row.home) => (&mut retired, Finding::of_home(scanned)),
                Verdict::Good | Verdict::Malformed(_) => continue,
            };
            kind.count += 1;
            if target.is_json {
                output.json(&DeletionObject { finding: &finding, is_applied })?;
            } else if kind.count <= EXAMPLES_MAX {
                kind.examples.push(finding.to_string());
            }
            if is_applied {
                deleted.push(scanned.clone());
            }
        }
        pages::patiently(async || store.delete_rows(&deleted).await).await?;
        Ok(())
    });
    let rows = rows.await?;
    let (m, v, r) = (malformed.count, void.count, retired.count);
    if target.is_json {
        output.json(&Summary { kind: "summary", rows, malformed: m, void: v, retired: r, is_applied })?;
        return Ok(Exit::Done);
    }
    let kinds =
        [counted(m, "malformed row"), counted(v, "void row"), format!("{} of retired homes", counted(r, "row"))];
    let mut found = Vec::new();
    for (heading, kind) in kinds.into_iter().zip([malformed, void, retired]) {
        if kind.count > 0 {
            examples_of(output, &heading, kind.count, &kind.examples)?;
            found.push(heading);
        }
    }
    tell_end(rows, &found, is_applied, output)?;
    Ok(Exit::Done)
}

/// What was typed for `--retire` and `--revive`.
fn homes(arguments: &RepairArguments) -> Result<Vec<(String, Action)>, Stop> {
    let retired = arguments.retire.iter().map(|home| (home, Action::Retire));
    let revived = arguments.revive.iter().map(|home| (home, Action::Revive));
    let mut homes: Vec<(String, Action)> = Vec::new();
    for (home, action) in retired.chain(revived) {
        let option = if action == Action::Retire { "--retire" } else { "--revive" };
        let address = sip_address(home)
            .map_err(|wrong| Stop::Typed(format!("{option} {home:?}: {}", wrong.what), wrong.right))?;
        let same = homes.iter().find(|(known, _)| sip_address(known).is_ok_and(|known| known.is_same(address)));
        match same {
            Some((_, before)) if *before == action => {}
            Some(_) => {
                let right = "name it behind one of the two".to_owned();
                return Err(Stop::Typed(format!("{home} is to be retired and revived"), right));
            }
            None => homes.push((home.clone(), action)),
        }
    }
    Ok(homes)
}

/// Homes are compared byte for byte in the store: as it is spelled there or in the configuration, otherwise as typed.
fn spelled(typed: &str, epochs: &Epochs, target: &Target) -> String {
    if epochs.of(typed).is_some() {
        return typed.to_owned();
    }
    let Ok(address) = sip_address(typed) else { return typed.to_owned() };
    let same = |home: &str| sip_address(home).is_ok_and(|home| home.is_same(address));
    let named = || target.named.iter().flat_map(Named::all).map(|home| home.to_string());
    let known = named().chain(epochs.homes().map(str::to_owned)).find(|home| same(home));
    known.unwrap_or_else(|| typed.to_owned())
}

/// Sets the epoch of `home`, in `epochs` alone where nothing is to be changed.
async fn turn(store: &Store, home: &str, action: Action, is_applied: bool, epochs: &mut Epochs) -> Result<(), Stop> {
    if !store.has_epochs() {
        return Ok(());
    }
    let now_us = now_us();
    let epoch_us = if action == Action::Retire { GONE } else { now_us };
    if is_applied {
        pages::patiently(async || store.set_epoch(home, epoch_us, now_us).await).await?;
    }
    epochs.set(home, epoch_us);
    Ok(())
}

fn tell_turned(
    target: &Target,
    store: &Store,
    (home, typed): (&str, &str),
    action: Action,
    is_applied: bool,
    output: &mut Output,
) -> io::Result<()> {
    let is_kept = store.has_epochs();
    if target.is_json {
        let action = if action == Action::Retire { "retire" } else { "revive" };
        return output.json(&EpochObject { kind: "epoch", home, action, is_kept, is_applied });
    }
    if home != typed {
        output.line(format_args!("{typed} is spelled {home} in the directory or the configuration."))?;
    }
    let is = if is_applied { "is now" } else { "would be" };
    match (action, is_kept) {
        (Action::Retire, true) => {
            output.line(format_args!(
                "{home} {is} gone for good: no node minds any row of it, until a node of that address starts again."
            ))
        }
        (Action::Retire, false) => output.line(format_args!(
            "{home}: this schema keeps no epochs in MongoDB, so its rows are deleted one by one; if its node still runs, stop it first, as it would publish them again."
        )),
        (Action::Revive, true) => output.line(format_args!(
            "{home} {is} alive: its rows count that it writes from now on. If its node runs, send it the signal USR2 when this is done, so that it publishes all of them again."
        )),
        (Action::Revive, false) => output.line(format_args!(
            "{home}: this schema keeps no epochs in MongoDB, so no home is retired for good, and there is nothing to revive."
        )),
    }
}

fn tell_end(rows: u64, found: &[String], is_applied: bool, output: &mut Output) -> io::Result<()> {
    let (of, found) = (counted(rows, "row"), found.join(", "));
    match (found.is_empty(), is_applied) {
        (true, _) => output.line(format_args!("\nOf {of}, none has to be deleted.")),
        (false, true) => output.line(format_args!("\nDeleted of {of}: {found}.")),
        (false, false) => {
            output.line(format_args!("\nTo be deleted of {of}: {found}. Nothing was changed; --apply does it."))
        }
    }
}
