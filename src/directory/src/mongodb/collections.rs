//! The collections and their indexes: which there are, whether they are what the schema says, and how they are made.

use super::Inner;
use crate::store::{Inspection, Piece, PieceState, Schema, StoreError};
use mongodb::IndexModel;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::IndexOptions;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long making a collection or an index may take; an index reads all that there is.
const MAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// What is made and looked at, of one store.
pub(super) struct Collections<'s>(pub(super) &'s Inner);

impl Collections<'_> {
    /// Checks what is there, and makes or misses what is not.
    pub(super) async fn prepare(&self, create: bool) -> Result<Vec<Piece>, StoreError> {
        let Inner { rows, epochs, schema, url, .. } = self.0;
        let names = self.names().await?;
        let has_rows = names.contains(rows.name());
        let has_epochs = *schema == Schema::OpenSips || names.contains(epochs.name());
        if has_rows {
            self.check().await?;
        }
        if create {
            return self.make(has_rows, has_epochs).await;
        }
        let missing: Vec<String> = [(has_rows, rows.name()), (has_epochs, epochs.name())]
            .into_iter()
            .filter(|(is_there, _)| !is_there)
            .map(|(_, name)| format!("the collection {name}"))
            .collect();
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        Err(StoreError::refused(format!(
            "{url}: missing is {}; make it with `sipfed directory init`, or set directory.create = true",
            missing.join(" and ")
        )))
    }

    async fn names(&self) -> Result<BTreeSet<String>, StoreError> {
        let Inner { database, .. } = self.0;
        let names = database.list_collection_names().into_future();
        Ok(self.0.in_time("the collections were not listed", names).await?.into_iter().collect())
    }

    /// Documents have no schema of their own, so one of them stands for all.
    async fn check(&self) -> Result<(), StoreError> {
        let Inner { rows, schema, url, .. } = self.0;
        let found = self.0.find(rows, Document::new(), Some(1), "rows were not read").await?;
        let Some(document) = found.first() else { return Ok(()) };
        let is_native = document.contains_key("stamp");
        if is_native == (*schema == Schema::Native) {
            return Ok(());
        }
        let other = if is_native { Schema::Native } else { Schema::OpenSips };
        Err(StoreError::refused(format!(
            "{url}: the collection is not of the schema \"{}\"; a row of it has {}, one of \"native\" has _id, aor, home_ip, stamp and perhaps expires_at, one of \"opensips\" _id, aor, home_ip; set directory.schema = \"{}\", or name another collection",
            schema.word(),
            fields(document).join(", "),
            other.word(),
        )))
    }

    async fn make(&self, has_rows: bool, has_epochs: bool) -> Result<Vec<Piece>, StoreError> {
        let Inner { database, rows, epochs, schema, .. } = self.0;
        let mut pieces = Vec::new();
        let epochs = (*schema == Schema::Native).then_some((has_epochs, epochs.name()));
        for (is_there, name) in [(has_rows, rows.name())].into_iter().chain(epochs) {
            let mut state = PieceState::WasThere;
            if !is_there {
                state = PieceState::Made(format!("db.createCollection(\"{name}\")"));
                let made = self.0.within(
                    MAKE_TIMEOUT,
                    "a collection was not made",
                    database.create_collection(name).into_future(),
                );
                // Another node that starts at the same time may have been first.
                if let Err(error) = made.await
                    && !self.names().await?.contains(name)
                {
                    return Err(error);
                }
            }
            pieces.push(Piece::new(format!("collection {name}"), state));
        }
        let indexes = if has_rows { self.indexes().await? } else { Vec::new() };
        let has_index = |field: &str| indexes.iter().any(|index| leads_with(index, field));
        let by_shell =
            |what: &str| PieceState::Made(format!("db.getCollection(\"{}\").createIndex({what})", rows.name()));
        let mut state = PieceState::WasThere;
        if !has_index("aor") {
            state = by_shell("{ aor: 1 }");
            let index = IndexModel::builder().keys(doc! { "aor": 1 }).build();
            self.0
                .within(MAKE_TIMEOUT, "the index on aor was not made", rows.create_index(index).into_future())
                .await?;
        }
        pieces.push(Piece::new("index on aor", state));
        if *schema == Schema::OpenSips {
            return Ok(pieces);
        }
        let mut state = PieceState::WasThere;
        if !has_index("expires_at") {
            // The server then removes a row at the time that stands in it. Where it cannot, the owner sweeps.
            let options = IndexOptions::builder().expire_after(Duration::ZERO).build();
            let index = IndexModel::builder().keys(doc! { "expires_at": 1 }).options(options).build();
            let made = self.0.within(
                MAKE_TIMEOUT,
                "the index on expires_at was not made",
                rows.create_index(index).into_future(),
            );
            state = match made.await {
                Err(error) if error.is_passing() => return Err(error),
                Err(_) => PieceState::Impossible,
                Ok(_) => by_shell("{ expires_at: 1 }, { expireAfterSeconds: 0 }"),
            };
        }
        pieces.push(Piece::new("index on expires_at", state));
        Ok(pieces)
    }

    async fn indexes(&self) -> Result<Vec<IndexModel>, StoreError> {
        let Inner { rows, .. } = self.0;
        let list = async {
            let (mut cursor, mut found) = (rows.list_indexes().await?, Vec::new());
            while cursor.advance().await? {
                found.push(cursor.deserialize_current()?);
            }
            Ok(found)
        };
        self.0.in_time("the indexes were not listed", list).await
    }

    pub(super) async fn inspect(&self) -> Result<Inspection, StoreError> {
        let Inner { database, rows, epochs, .. } = self.0;
        let build = database.run_command(doc! { "buildInfo": 1 }).into_future();
        let build = self.0.in_time("the server does not tell its version", build).await?;
        let version = build.get_str("version").unwrap_or("?");
        let server = match build.get_document("ferretdb").and_then(|own| own.get_str("version")) {
            Ok(own) => format!("FerretDB {own} as MongoDB {version}"),
            Err(_) => format!("MongoDB {version}"),
        };
        let names = self.names().await?;
        let table_exists = names.contains(rows.name());
        let indexes = if table_exists { self.indexes().await? } else { Vec::new() };
        let sample = self.0.find(rows, Document::new(), Some(1), "rows were not read").await?;
        let ends = |index: &IndexModel| {
            leads_with(index, "expires_at")
                && index.options.as_ref().is_some_and(|options| options.expire_after.is_some())
        };
        Ok(Inspection {
            server,
            table_exists,
            columns: sample.first().map(fields).unwrap_or_default(),
            has_aor_index: indexes.iter().any(|index| leads_with(index, "aor")),
            epochs_exist: names.contains(epochs.name()),
            expires_by_itself: indexes.iter().any(ends),
        })
    }
}

/// Whether asking for `field` alone can use the index.
fn leads_with(index: &IndexModel, field: &str) -> bool {
    index.keys.keys().next().is_some_and(|first| first == field)
}

/// `aor string`, sorted.
fn fields(document: &Document) -> Vec<String> {
    let kind = |value: &Bson| match value {
        Bson::String(_) => "string",
        Bson::Int64(_) => "long",
        Bson::DateTime(_) => "date",
        _ => "of another type",
    };
    let mut fields: Vec<String> = document.iter().map(|(name, value)| format!("{name} {}", kind(value))).collect();
    fields.sort();
    fields
}
