//! Reads the table of a cluster's nodes: one question, one answer, within a time.

use super::url::SqlUrl;
use super::{mysql, sqlite};
use sipfed_nodes::rows::{COLUMNS, Row};
use sipfed_nodes::topology::CLUSTERS_COUNT_MAX;
use sipfed_nodes::{Fault, NODES_COUNT_MAX};
use sqlx::{ColumnIndex, Database, Decode, Type};
use std::fmt;
use std::io;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// More rows than any table of nodes has: as many clusters as there may be, each full.
const ROWS_COUNT_MAX: usize = CLUSTERS_COUNT_MAX * NODES_COUNT_MAX;

/// Why the nodes could not be read. No text has a password.
#[derive(Debug)]
pub(crate) enum SourceError {
    /// The database does not answer.
    Away(String),
    /// It does, and says no.
    Refused(String),
    /// It has told nodes that cannot be.
    Wrong(Vec<Fault>),
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(why) | Self::Refused(why) => f.write_str(why),
            Self::Wrong(faults) => f.write_str(&joined(faults)),
        }
    }
}

/// All faults in one line.
pub(super) fn joined(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The rows of the table. Blocks the thread, for `patience` at most.
pub(super) fn rows(url: &SqlUrl, table: &str, patience: Duration) -> Result<Vec<Row>, SourceError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| SourceError::Away(format!("no thread to read {url} with: {error}")))?;
    let rows = runtime.block_on(async {
        let question = Question { url, table, end: Instant::now() + patience, patience };
        match url {
            SqlUrl::MySql(place) => mysql::rows(place, &question).await,
            SqlUrl::Sqlite(path) => sqlite::rows(path, &question).await,
        }
    });
    // A driver may have begun what it does not end.
    runtime.shutdown_background();
    let rows = rows?;
    if rows.len() > ROWS_COUNT_MAX {
        let what = format!("the table {table} at {url} has more than {ROWS_COUNT_MAX} rows");
        return Err(SourceError::Refused(format!("{what}, so that it is none of nodes; correct cluster.table")));
    }
    Ok(rows)
}

/// What is asked, and until when an answer is of use.
pub(super) struct Question<'a> {
    url: &'a SqlUrl,
    table: &'a str,
    end: Instant,
    pub(super) patience: Duration,
}

impl Question<'_> {
    /// The SQL of it. Each column is asked for as text; what the column itself is does not matter then.
    pub(super) fn sql(&self, text_type: &str, quote: char) -> String {
        let columns = COLUMNS.map(|column| format!("CAST({column} AS {text_type})")).join(", ");
        // A name of a table has no quotes in it.
        format!("SELECT {columns} FROM {quote}{}{quote} LIMIT {}", self.table, ROWS_COUNT_MAX + 1)
    }

    /// What `done` gives, if it does in time.
    pub(super) async fn within<T>(
        &self,
        step: &str,
        done: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, SourceError> {
        match timeout_at(self.end, done).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.told(&error)),
            Err(_) => {
                let bound = self.patience.as_millis();
                Err(SourceError::Away(format!("{} does not answer: {step} took more than {bound} ms", self.url)))
            }
        }
    }

    fn told(&self, error: &sqlx::Error) -> SourceError {
        let url = self.url;
        match error {
            sqlx::Error::Database(error) => {
                SourceError::Refused(format!("{url} says no to reading the table {}: {}", self.table, error.message()))
            }
            // What rustls does not accept of the other side.
            sqlx::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                SourceError::Refused(format!("{url} does not speak TLS with us: {error}"))
            }
            sqlx::Error::Io(error) => SourceError::Away(format!("{url} does not answer: {error}")),
            sqlx::Error::Tls(error) => SourceError::Refused(format!("{url} does not speak TLS with us: {error}")),
            sqlx::Error::Protocol(what) => SourceError::Away(format!("{url} answers what it should not: {what}")),
            error => SourceError::Refused(format!("{url} cannot be read: {error}")),
        }
    }

    /// A row of the answer.
    pub(super) fn row<R>(&self, row: &R) -> Result<Row, SourceError>
    where
        R: sqlx::Row,
        usize: ColumnIndex<R>,
        String: for<'r> Decode<'r, R::Database> + Type<R::Database>,
        R::Database: Database,
    {
        let mut columns = Row::default();
        for (index, column) in columns.iter_mut().enumerate() {
            *column = row.try_get::<Option<String>, _>(index).map_err(|error| self.told(&error))?;
        }
        Ok(columns)
    }
}
