//! The rows of a federation as they stand in the store, past the code under test.

use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};
use tokio::runtime::Runtime;

/// Requests that are on their way at a time.
const IN_FLIGHT_MAX: usize = 64;
/// Servers are shared by tests and by other work on the machine.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The table of one federation.
#[derive(Debug)]
pub(crate) struct Rows {
    runtime: Runtime,
    table: Table,
}

#[derive(Debug)]
enum Table {
    Cassandra { session: Box<Session>, keyspace: String, name: String },
    MongoDb(Collection<Document>),
}

/// What a row says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) aor: String,
    pub(crate) home: String,
    /// In the native schema when it was written, in microseconds since the Unix epoch; in that of OpenSIPS its key.
    pub(crate) mark: String,
}

impl Rows {
    /// Those of the table that this URL names.
    pub(crate) fn of(url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (server, path) = url.rsplit_once('/').unwrap();
        let (space, name) = path.split_once('.').unwrap();
        let table = runtime.block_on(async {
            if let Some(host) = server.strip_prefix("cassandra://") {
                let session = SessionBuilder::new().known_node(host).build().await.unwrap();
                Table::Cassandra { session: Box::new(session), keyspace: space.to_owned(), name: name.to_owned() }
            } else {
                Table::MongoDb(Client::with_uri_str(server).await.unwrap().database(space).collection(name))
            }
        });
        Self { runtime, table }
    }

    /// All of them, sorted.
    pub(crate) fn all(&self) -> Vec<Row> {
        let mut rows = self.within(async {
            match &self.table {
                Table::Cassandra { session, keyspace, name } => {
                    let is_native =
                        session.query_unpaged(format!("SELECT id FROM {keyspace}.{name}"), ()).await.is_err();
                    let mark = if is_native { "CAST(stamp AS text)" } else { "id" };
                    let text = format!("SELECT aor, home_ip, {mark} FROM {keyspace}.{name}");
                    let pages = session.query_iter(text, ()).await.unwrap();
                    let rows = pages.rows_stream::<(String, String, String)>().unwrap();
                    let row = |(aor, home, mark)| Row { aor, home, mark };
                    rows.map_ok(row).try_collect::<Vec<Row>>().await.unwrap()
                }
                Table::MongoDb(rows) => {
                    let (mut cursor, mut found) = (rows.find(doc! {}).await.unwrap(), Vec::new());
                    while cursor.advance().await.unwrap() {
                        let row = cursor.deserialize_current().unwrap();
                        let text = |field: &str| row.get_str(field).unwrap().to_owned();
                        let mark = row.get_i64("stamp").map_or_else(|_| text("_id"), |stamp| stamp.to_string());
                        found.push(Row { aor: text("aor"), home: text("home_ip"), mark });
                    }
                    found
                }
            }
        });
        rows.sort();
        rows
    }

    /// The AoRs that are at home there, as the store says.
    pub(crate) fn aors_at(&self, home: &impl ToString) -> BTreeSet<String> {
        let home = home.to_string();
        self.all().into_iter().filter(|row| row.home == home).map(|row| row.aor).collect()
    }

    /// Puts rows in as a node of that home does; in OpenSIPS's schema as OpenSIPS does.
    pub(crate) fn put(&self, aors: &[String], home: &impl ToString) {
        let home = home.to_string();
        self.within(async {
            match &self.table {
                Table::Cassandra { session, keyspace, name } => {
                    let stamp = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros() as i64;
                    let table = format!("{keyspace}.{name}");
                    let native = format!("INSERT INTO {table} (aor, home_ip, stamp) VALUES (?, ?, {stamp})");
                    let opensips = format!("UPDATE {table} USING TTL 0 SET aor = ?, home_ip = ? WHERE id = ?");
                    let (native, opensips) = (session.prepare(native).await, session.prepare(opensips).await);
                    let put = async |aor: &String| match (&native, &opensips) {
                        (Ok(put), _) => session.execute_unpaged(put, (aor, &home)).await.unwrap(),
                        (_, put) => {
                            let put = put.as_ref().unwrap();
                            session.execute_unpaged(put, (aor, &home, format!("{aor}{home}"))).await.unwrap()
                        }
                    };
                    stream::iter(aors).map(put).buffer_unordered(IN_FLIGHT_MAX).collect::<Vec<_>>().await;
                }
                Table::MongoDb(rows) => {
                    for aor in aors {
                        let set = doc! { "$set": { "home_ip": &home, "aor": aor } };
                        rows.update_one(doc! { "_id": format!("{aor}{home}") }, set).upsert(true).await.unwrap();
                    }
                }
            }
        });
    }

    /// Loses all of them.
    pub(crate) fn truncate(&self) {
        self.within(async {
            match &self.table {
                Table::Cassandra { session, keyspace, name } => {
                    session.query_unpaged(format!("TRUNCATE {keyspace}.{name}"), ()).await.unwrap();
                }
                Table::MongoDb(rows) => _ = rows.delete_many(doc! {}).await.unwrap(),
            }
        });
    }

    /// Drops the table with all that stands beside it.
    pub(crate) fn drop_all(&self) {
        self.within(async {
            match &self.table {
                Table::Cassandra { session, keyspace, .. } => {
                    let drop = format!("DROP KEYSPACE IF EXISTS {keyspace}");
                    session.query_unpaged(drop, ()).await.unwrap();
                }
                Table::MongoDb(rows) => {
                    rows.drop().await.unwrap();
                    let epochs = format!("{}_epochs", rows.name());
                    rows.client().database(&rows.namespace().db).collection::<Document>(&epochs).drop().await.unwrap();
                }
            }
        });
    }

    fn within<T>(&self, request: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(TIMEOUT, request).await }).expect("the store answers")
    }
}
