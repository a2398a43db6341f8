//! The yardstick: the driver that the daemon uses, with nothing around it. One thread, prepared statements, a table as the
//! daemon makes it.

use crate::error::{Doing, Error};
use crate::register_message::{SUBSCRIBER_DIGITS, user_prefix};
use crate::template::decimal;
use futures_util::{StreamExt, TryStreamExt, stream};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::prepared::PreparedStatement;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::Runtime;

/// Requests that are on their way at a time.
const IN_FLIGHT: usize = 256;
/// The daemon's `directory.lease_s`.
const LEASE_S: i32 = 86_400;

/// A connection to the store.
pub(super) struct Raw {
    runtime: Runtime,
    session: Session,
    /// One of this run alone.
    pub(super) keyspace: String,
}

/// A table of rows.
pub(super) struct Table {
    insert: PreparedStatement,
    homes: PreparedStatement,
}

fn failed(doing: &'static str) -> impl Fn(Box<dyn std::error::Error>) -> Error {
    move |error| Error::Store(format!("{doing}: {error}"))
}

/// The canonical AoR of a subscriber, as it stands in a row.
pub(super) fn aor(domain: &str, subscriber: u32) -> String {
    let digits = decimal::<SUBSCRIBER_DIGITS>(subscriber);
    format!("{}{}@{domain}", user_prefix(domain), String::from_utf8_lossy(&digits))
}

impl Raw {
    /// Connects, and makes a keyspace.
    pub(super) fn connect(address: SocketAddr) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().doing("making a runtime")?;
        let keyspace = format!("sipfed_bench_{}", std::process::id());
        let made = runtime.block_on(async {
            let session = SessionBuilder::new().known_node(address.to_string()).build().await?;
            let replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}";
            session.query_unpaged(format!("CREATE KEYSPACE {keyspace} WITH replication = {replication}"), ()).await?;
            Ok(session)
        });
        Ok(Self { session: made.map_err(failed("connecting"))?, runtime, keyspace })
    }

    /// The table of that name, which is made where it is missing.
    pub(super) fn table(&self, name: &str) -> Result<Table, Error> {
        let Self { session, keyspace, .. } = self;
        let columns = "aor text, home_ip text, stamp bigint, PRIMARY KEY (aor, home_ip)";
        let insert =
            format!("INSERT INTO {keyspace}.{name} (aor, home_ip, stamp) VALUES (?, ?, ?) USING TTL ? AND TIMESTAMP ?");
        let made = self.runtime.block_on(async {
            session.query_unpaged(format!("CREATE TABLE IF NOT EXISTS {keyspace}.{name} ({columns})"), ()).await?;
            let homes = format!("SELECT home_ip, stamp FROM {keyspace}.{name} WHERE aor = ?");
            Ok(Table { insert: session.prepare(insert).await?, homes: session.prepare(homes).await? })
        });
        made.map_err(failed("making a table"))
    }

    /// Writes a row for each subscriber, one by one, [`IN_FLIGHT`] at a time; how long it took.
    pub(super) fn write(
        &self,
        table: &Table,
        domain: &str,
        subscribers: Range<u32>,
        home: &str,
    ) -> Result<Duration, Error> {
        let started = Instant::now();
        let rows = stream::iter(subscribers).map(|subscriber| async move {
            let (aor, stamp_us) = (aor(domain, subscriber), now_us());
            let row = (aor, home, stamp_us, LEASE_S, stamp_us);
            self.session.execute_unpaged(&table.insert, row).await.map(|_| ())
        });
        let written = self.runtime.block_on(rows.buffer_unordered(IN_FLIGHT).try_collect::<()>());
        written.map_err(|error| failed("writing rows")(error.into()))?;
        Ok(started.elapsed())
    }

    /// Asks for the homes of each subscriber, [`IN_FLIGHT`] at a time.
    pub(super) fn read(&self, table: &Table, domain: &str, subscribers: Range<u32>) -> Result<(), Error> {
        let rows = stream::iter(subscribers).map(|subscriber| async move {
            self.session.execute_unpaged(&table.homes, (aor(domain, subscriber),)).await.map(|_| ())
        });
        let read = self.runtime.block_on(rows.buffer_unordered(IN_FLIGHT).try_collect::<()>());
        read.map_err(|error| failed("reading rows")(error.into()))
    }

    /// Asks for the homes of one subscriber, and nothing else meanwhile; how long it took.
    pub(super) fn select(&self, table: &Table, domain: &str, subscriber: u32) -> Result<Duration, Error> {
        let aor = aor(domain, subscriber);
        let started = Instant::now();
        let result = self.runtime.block_on(self.session.execute_unpaged(&table.homes, (aor,)));
        let took = started.elapsed();
        let rows = result.map_err(|error| failed("reading a row")(error.into()))?.into_rows_result();
        match rows.map(|rows| rows.rows_num()) {
            Ok(1) => Ok(took),
            Ok(count) => Err(Error::Store(format!("subscriber {subscriber} has {count} rows"))),
            Err(error) => Err(failed("reading a row")(error.into())),
        }
    }

    /// Removes everything that this run has written.
    pub(super) fn drop_keyspace(&self) {
        let drop = format!("DROP KEYSPACE IF EXISTS {}", self.keyspace);
        // What cannot be removed is named after us, and harms nobody.
        let _ = self.runtime.block_on(self.session.query_unpaged(drop, ()));
    }
}

fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_micros() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register_message::aor_uri;

    #[test]
    fn a_row_names_the_aor_that_registers() {
        let uri = aor_uri("bench.example", "000000042").unwrap().to_string();
        assert_eq!(uri, format!("sip:{}", aor("bench.example", 42)));
    }
}
