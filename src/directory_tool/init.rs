//! `sipfed directory init`: makes what is missing.

use super::output::StoreObject;
use super::{Stop, Target};
use crate::cli::Exit;
use crate::stdout::Output;
use serde::Serialize;
use sipfed_directory::{Piece, PieceState, Schema, Store, StoreOptions};

/// Why the index is made that OpenSIPS does without.
const WHY_INDEX: &str = "without the index on aor, every lookup would read the whole table";

#[derive(Debug, Serialize)]
struct PieceObject<'a> {
    kind: &'static str,
    what: &'a str,
    state: &'static str,
    statement: Option<&'a str>,
}

pub(super) async fn run(target: &Target, output: &mut Output) -> Result<Exit, Stop> {
    let options = StoreOptions { create: true, ..target.options };
    let store = Store::connect(&target.url, &options).await?;
    let found = store.inspect().await?;
    if target.is_json {
        output.json(&StoreObject::new(target, &found, store.has_epochs()))?;
        for Piece { what, state } in store.pieces() {
            let (state, statement) = match state {
                PieceState::WasThere => ("was_there", None),
                PieceState::Made(statement) => ("made", Some(&**statement)),
                PieceState::Impossible => ("impossible", None),
            };
            output.json(&PieceObject { kind: "piece", what, state, statement })?;
        }
        return Ok(Exit::Done);
    }
    output.line(format_args!("{}", target.url))?;
    output.line(format_args!("  server  {}", found.server))?;
    output.line(format_args!("  schema  {}\n", target.options.schema.word()))?;
    let width = store.pieces().iter().map(|piece| piece.what.len()).max().unwrap_or(0);
    for Piece { what, state } in store.pieces() {
        let state = match state {
            PieceState::WasThere => "was there".to_owned(),
            PieceState::Made(statement) => format!("made by {statement}"),
            PieceState::Impossible => {
                "this server cannot have it: each node removes its own rows that have ended".to_owned()
            }
        };
        output.line(format_args!("{what:width$}  {state}"))?;
    }
    if target.options.schema == Schema::OpenSips {
        output.line(format_args!("\nOpenSIPS makes no index; {WHY_INDEX}."))?;
    }
    let made = store.pieces().iter().any(|piece| matches!(piece.state, PieceState::Made(_)));
    let end = if made { "The directory is ready." } else { "The directory was ready; nothing had to be made." };
    output.line(format_args!("{end}"))?;
    Ok(Exit::Done)
}
