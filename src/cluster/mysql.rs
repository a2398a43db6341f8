//! The table in MySQL or MariaDB.

use super::source::{Question, SourceError};
use super::url::MySqlUrl;
use sipfed_nodes::rows::Row;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::{AssertSqlSafe, Connection, MySqlConnection};

/// Asks for the rows, by a connection of its own.
pub(super) async fn rows(place: &MySqlUrl, question: &Question<'_>) -> Result<Vec<Row>, SourceError> {
    sipfed_directory::choose_cryptography();
    let mut options = MySqlConnectOptions::new()
        .host(&place.host)
        .port(place.port)
        .username(&place.user)
        .database(&place.database)
        .ssl_mode(if place.tls { MySqlSslMode::VerifyIdentity } else { MySqlSslMode::Preferred });
    if let Some(password) = &place.password {
        options = options.password(password);
    }
    if let Some(ca) = &place.ca {
        options = options.ssl_ca(ca);
    }
    let mut connection = question.within("connecting", MySqlConnection::connect_with(&options)).await?;
    let sql = question.sql("CHAR", '`');
    let answer = question.within("reading", sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection)).await;
    // The answer is what matters; a server sees the end of a connection also without being told.
    let _ = question.within("closing", connection.close()).await;
    answer?.iter().map(|row| question.row(row)).collect()
}
