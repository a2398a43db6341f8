//! The tables: which there are, whether they are what the schema says, and how they are made.

use super::connection::{failed, failed_early};
use crate::store::{Inspection, Piece, PieceState, Schema, StoreError, StoreOptions};
use crate::url::{CassandraUrl, Replication};
use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use scylla::serialize::row::SerializeRow;
use scylla::statement::Statement;
use std::collections::HashMap;
use std::fmt::{self, Write};
use std::time::Duration;

/// How long one change of the schema may take.
const SCHEMA_CHANGE_TIMEOUT: Duration = Duration::from_secs(30);

/// A column: name, type and what it is in the key, as the server describes it.
type Column = (String, String, String);

/// The tables of one directory.
pub(super) struct Tables {
    pub(super) schema: Schema,
    pub(super) keyspace: String,
    pub(super) table: String,
    /// What was found and made, where it was to be made.
    pub(super) pieces: Vec<Piece>,
    /// As it is shown, without credentials.
    url: String,
}

impl fmt::Display for Tables {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.url)
    }
}

const fn columns(schema: Schema) -> &'static [(&'static str, &'static str, &'static str)] {
    match schema {
        Schema::OpenSips => {
            &[("aor", "text", "regular"), ("home_ip", "text", "regular"), ("id", "text", "partition_key")]
        }
        Schema::Native => {
            &[("aor", "text", "partition_key"), ("home_ip", "text", "clustering"), ("stamp", "bigint", "regular")]
        }
    }
}

const EPOCH_COLUMNS: &[(&str, &str, &str)] = &[("epoch", "bigint", "regular"), ("home_ip", "text", "partition_key")];

fn are(found: &[Column], expected: &[(&str, &str, &str)]) -> bool {
    found.len() == expected.len()
        && found.iter().zip(expected).all(|((name, kind, part), expected)| (&**name, &**kind, &**part) == *expected)
}

impl Tables {
    /// The tables of `url`, which exist afterwards.
    pub(super) async fn prepared(
        session: &Session,
        url: &CassandraUrl,
        options: &StoreOptions,
    ) -> Result<Self, StoreError> {
        let mut tables = Self {
            schema: options.schema,
            keyspace: url.keyspace.clone(),
            table: url.table.clone(),
            pieces: Vec::new(),
            url: url.to_string(),
        };
        let rows = tables.columns_of(session, &tables.table).await?;
        let epochs = tables.columns_of(session, &tables.epochs_table()).await?;
        tables.check(&rows, &epochs)?;
        if options.create {
            tables.pieces = tables.make(session, url, !rows.is_empty(), !epochs.is_empty()).await?;
        } else if rows.is_empty() || epochs.is_empty() {
            return Err(tables.missing(rows.is_empty(), epochs.is_empty()));
        }
        Ok(tables)
    }

    /// The table of rows, as statements name it.
    pub(super) fn rows(&self) -> String {
        format!("{}.{}", self.keyspace, self.table)
    }

    /// The table of epochs, as statements name it.
    pub(super) fn epochs(&self) -> String {
        format!("{}.{}", self.keyspace, self.epochs_table())
    }

    fn epochs_table(&self) -> String {
        format!("{}_epochs", self.table)
    }

    fn missing(&self, rows: bool, epochs: bool) -> StoreError {
        let names: Vec<String> = [(rows, self.rows()), (epochs, self.epochs())]
            .into_iter()
            .filter(|(is, _)| *is)
            .map(|(_, name)| format!("the table {name}"))
            .collect();
        StoreError::refused(format!(
            "{self}: missing is {}; make it with `sipfed directory init`, or set directory.create = true",
            names.join(" and ")
        ))
    }

    /// What exists has to be what the schema says.
    fn check(&self, rows: &[Column], epochs: &[Column]) -> Result<(), StoreError> {
        if !rows.is_empty() && !are(rows, columns(self.schema)) {
            let other = if self.schema == Schema::Native { Schema::OpenSips } else { Schema::Native };
            let right = if are(rows, columns(other)) {
                format!("set directory.schema = \"{}\", or name another table", other.word())
            } else {
                "name another table in directory.url".to_owned()
            };
            return Err(StoreError::refused(format!(
                "{self}: the table is not of the schema \"{}\"; it has ({}), \"native\" is ({}), \"opensips\" is ({}); {right}",
                self.schema.word(),
                told(rows.iter().map(|(name, kind, part)| (&**name, &**kind, &**part))),
                told(columns(Schema::Native).iter().copied()),
                told(columns(Schema::OpenSips).iter().copied()),
            )));
        }
        if !epochs.is_empty() && !are(epochs, EPOCH_COLUMNS) {
            return Err(StoreError::refused(format!(
                "{self}: the table {} is not one of epochs, which has ({}); remove it, or name another table in directory.url",
                self.epochs(),
                told(EPOCH_COLUMNS.iter().copied()),
            )));
        }
        Ok(())
    }

    /// Makes what is missing, and nothing else: where all is there, no right to make anything is needed.
    async fn make(
        &self,
        session: &Session,
        url: &CassandraUrl,
        rows_exist: bool,
        epochs_exist: bool,
    ) -> Result<Vec<Piece>, StoreError> {
        let mut pieces = Vec::new();
        let keyspace = &self.keyspace;
        let keyspaces: Vec<(String,)> = self
            .ask(session, "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?", (keyspace,))
            .await?;
        let replication = replication(&url.replication);
        let make = format!("CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {replication}");
        pieces.push(self.piece(session, format!("keyspace {keyspace}"), !keyspaces.is_empty(), make).await?);
        let rows = self.rows();
        let columns = match self.schema {
            Schema::OpenSips => "id text PRIMARY KEY, aor text, home_ip text",
            Schema::Native => "aor text, home_ip text, stamp bigint, PRIMARY KEY (aor, home_ip)",
        };
        let make = format!("CREATE TABLE IF NOT EXISTS {rows} ({columns})");
        pieces.push(self.piece(session, format!("table {rows}"), rows_exist, make).await?);
        let epochs = self.epochs();
        let make = format!("CREATE TABLE IF NOT EXISTS {epochs} (home_ip text PRIMARY KEY, epoch bigint)");
        pieces.push(self.piece(session, format!("table {epochs}"), epochs_exist, make).await?);
        // Without it every lookup would read the whole table, as it does with OpenSIPS alone.
        if self.schema == Schema::OpenSips {
            let index = format!("CREATE INDEX IF NOT EXISTS {}_aor_idx ON {rows} (aor)", self.table);
            let has_index = self.has_aor_index(session).await?;
            pieces.push(self.piece(session, "index on aor".to_owned(), has_index, index).await?);
        }
        Ok(pieces)
    }

    /// Makes one of them by the statement `make`, unless it is there.
    async fn piece(&self, session: &Session, what: String, exists: bool, make: String) -> Result<Piece, StoreError> {
        if exists {
            return Ok(Piece::new(what, PieceState::WasThere));
        }
        self.change(session, make.clone()).await?;
        Ok(Piece::new(what, PieceState::Made(make)))
    }

    async fn change(&self, session: &Session, text: String) -> Result<(), StoreError> {
        let what = format!("{self}: `{text}` failed; let an administrator do it, or give the user the right to");
        let mut statement = Statement::new(text);
        statement.set_request_timeout(Some(SCHEMA_CHANGE_TIMEOUT));
        session.query_unpaged(statement, ()).await.map_err(|error| failed_early(what, error))?;
        Ok(())
    }

    /// Sorted by name; none where there is no such table.
    async fn columns_of(&self, session: &Session, table: &str) -> Result<Vec<Column>, StoreError> {
        let text =
            "SELECT column_name, type, kind FROM system_schema.columns WHERE keyspace_name = ? AND table_name = ?";
        let mut columns: Vec<Column> = self.ask(session, text, (&self.keyspace, table)).await?;
        columns.sort();
        Ok(columns)
    }

    async fn has_aor_index(&self, session: &Session) -> Result<bool, StoreError> {
        let text = "SELECT options FROM system_schema.indexes WHERE keyspace_name = ? AND table_name = ?";
        let indexes: Vec<(HashMap<String, String>,)> = self.ask(session, text, (&self.keyspace, &self.table)).await?;
        Ok(indexes
            .iter()
            .any(|(options,)| options.get("target").is_some_and(|target| target.trim_matches('"') == "aor")))
    }

    /// The rows of a small table of the system's.
    async fn ask<R>(&self, session: &Session, text: &str, values: impl SerializeRow) -> Result<Vec<R>, StoreError>
    where
        R: for<'r> DeserializeRow<'r, 'r>,
    {
        let what = || format!("{self}: the cluster does not describe its tables");
        let result = session.query_unpaged(text, values).await.map_err(|error| failed(what(), error))?;
        let odd = || StoreError::refused(format!("{}; is it Cassandra 3.0 or newer?", what()));
        let rows = result.into_rows_result().map_err(|error| odd().because(error))?;
        rows.rows::<R>()
            .map_err(|error| odd().because(error))?
            .collect::<Result<_, _>>()
            .map_err(|error| odd().because(error))
    }

    pub(super) async fn inspect(&self, session: &Session) -> Result<Inspection, StoreError> {
        let versions: Vec<(String,)> = self.ask(session, "SELECT release_version FROM system.local", ()).await?;
        let version = versions.first().map_or("?", |(version,)| version);
        let columns = self.columns_of(session, &self.table).await?;
        let is_key = columns.iter().any(|(name, _, part)| name == "aor" && part == "partition_key");
        Ok(Inspection {
            server: format!("Cassandra {version}"),
            table_exists: !columns.is_empty(),
            has_aor_index: is_key || self.has_aor_index(session).await?,
            epochs_exist: !self.columns_of(session, &self.epochs_table()).await?.is_empty(),
            columns: columns.into_iter().map(|(name, kind, _)| format!("{name} {kind}")).collect(),
            expires_by_itself: true,
        })
    }
}

fn replication(replication: &Replication) -> String {
    match replication {
        Replication::Copies(copies) => format!("{{'class': 'SimpleStrategy', 'replication_factor': {copies}}}"),
        Replication::ByDatacenter(datacenters) => {
            let mut map = "{'class': 'NetworkTopologyStrategy'".to_owned();
            for (name, copies) in datacenters {
                // Writing to a string cannot fail.
                let _ = write!(map, ", '{name}': {copies}");
            }
            map + "}"
        }
    }
}

/// `aor text, id text PRIMARY KEY`.
fn told<'c>(columns: impl Iterator<Item = (&'c str, &'c str, &'c str)>) -> String {
    let columns = columns.map(|(name, kind, part)| match part {
        "regular" => format!("{name} {kind}"),
        _ => format!("{name} {kind} in the key"),
    });
    columns.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replication_is_written_as_a_map() {
        assert_eq!(replication(&Replication::Copies(3)), "{'class': 'SimpleStrategy', 'replication_factor': 3}");
        let by_datacenter = Replication::ByDatacenter(vec![("dc1".to_owned(), 3), ("dc2".to_owned(), 2)]);
        assert_eq!(replication(&by_datacenter), "{'class': 'NetworkTopologyStrategy', 'dc1': 3, 'dc2': 2}");
    }

    #[test]
    fn a_table_is_known_by_all_of_its_columns() {
        let owned = |column: &(&str, &str, &str)| (column.0.to_owned(), column.1.to_owned(), column.2.to_owned());
        let mut found: Vec<Column> = columns(Schema::OpenSips).iter().map(owned).collect();
        assert!(are(&found, columns(Schema::OpenSips)));
        assert!(!are(&found, columns(Schema::Native)));
        found.push(("last".to_owned(), "text".to_owned(), "regular".to_owned()));
        assert!(!are(&found, columns(Schema::OpenSips)));
    }
}
