//! The table in a file of SQLite.

use super::source::{Question, SourceError};
use sipfed_nodes::rows::Row;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};
use std::path::Path;

/// Asks for the rows; the file is opened for reading alone.
pub(super) async fn rows(path: &Path, question: &Question<'_>) -> Result<Vec<Row>, SourceError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .create_if_missing(false)
        .busy_timeout(question.patience);
    let mut connection = question.within("opening", SqliteConnection::connect_with(&options)).await?;
    let sql = question.sql("TEXT", '"');
    let answer = question.within("reading", sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection)).await;
    let _ = question.within("closing", connection.close()).await;
    answer?.iter().map(|row| question.row(row)).collect()
}
