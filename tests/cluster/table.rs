//! The table `clusterer` in real databases, as OpenSIPS's scripts make it and as its tutorial fills it.

use super::real;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection, MySqlConnection, SqliteConnection};
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};

/// Two active nodes.
pub(crate) const PAIR: &str = "\
INSERT INTO clusterer(id, cluster_id, node_id, url, state, no_ping_retries, priority, sip_addr, flags, description) VALUES \
(NULL, 1, 1, 'bin:10.0.0.177', 1, 3, 50, '10.0.0.177', 'seed', NULL), \
(NULL, 1, 3, 'bin:10.0.0.179', 1, 3, 50, '10.0.0.179', 'seed', NULL);";

/// Two active nodes and two passive ones.
pub(crate) const WITH_BACKUPS: &str = "\
INSERT INTO clusterer(id, cluster_id, node_id, url, state, no_ping_retries, priority, sip_addr, flags, description) VALUES \
(NULL, 1, 1, 'bin:10.0.0.177', 1, 3, 50, '10.0.0.223', 'seed', NULL), \
(NULL, 1, 2, 'bin:10.0.0.178', 1, 3, 50, '10.0.0.223', 'NULL', NULL), \
(NULL, 1, 3, 'bin:10.0.0.179', 1, 3, 50, '10.0.0.224', 'seed', NULL), \
(NULL, 1, 4, 'bin:10.0.0.180', 1, 3, 50, '10.0.0.224', 'NULL', NULL);";

const MYSQL_COLUMNS: &str = "\
(id INT(10) UNSIGNED AUTO_INCREMENT PRIMARY KEY NOT NULL, cluster_id INT(10) NOT NULL, node_id INT(10) NOT NULL, \
url CHAR(64) NOT NULL, state INT(1) DEFAULT 1 NOT NULL, no_ping_retries INT(10) DEFAULT 3 NOT NULL, \
priority INT(10) DEFAULT 50 NOT NULL, sip_addr CHAR(64), flags CHAR(64), description CHAR(64), \
CONSTRAINT clusterer_node UNIQUE (cluster_id, node_id)) ENGINE=InnoDB";

const SQLITE_COLUMNS: &str = "\
(id INTEGER PRIMARY KEY NOT NULL, cluster_id INTEGER NOT NULL, node_id INTEGER NOT NULL, url CHAR(64) NOT NULL, \
state INTEGER DEFAULT 1 NOT NULL, no_ping_retries INTEGER DEFAULT 3 NOT NULL, priority INTEGER DEFAULT 50 NOT NULL, \
sip_addr CHAR(64), flags CHAR(64), description CHAR(64))";

/// A table in the database that all tests share, which no other test uses. It goes with its test.
#[derive(Debug)]
pub(crate) struct Table {
    /// Of the database.
    pub(crate) url: String,
    pub(crate) name: String,
    /// The beginning of addresses that no other test uses, with its last dot: it stands for 10.0.0.
    pub(crate) network: String,
    /// The number of the test in its process.
    pub(crate) number: u8,
}

impl Table {
    /// One with these rows.
    pub(crate) fn new(insert: &str) -> Self {
        Self::with_columns(MYSQL_COLUMNS, insert)
    }

    /// One that somebody made by hand.
    pub(crate) fn with_columns(columns: &str, insert: &str) -> Self {
        static COUNT: AtomicU8 = AtomicU8::new(100);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("clusterer_{}_{number}", std::process::id());
        let network = format!("127.{}.{number}.", 20 + std::process::id() % 200);
        let table = Self { url: real::mysql(), name, network, number };
        table.run(&format!("CREATE TABLE clusterer {columns}"));
        table.run(insert);
        table
    }

    /// Runs SQL, in which `clusterer` is this table and 10.0.0. the network.
    pub(crate) fn run(&self, sql: &str) {
        let sql = sql.replace("clusterer", &self.name).replace("10.0.0.", &self.network);
        let options: MySqlConnectOptions = self.url.parse().unwrap();
        block_on(async {
            let mut connection =
                MySqlConnection::connect_with(&options.ssl_mode(MySqlSslMode::Disabled)).await.unwrap();
            sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        });
    }

    /// The address with this last number.
    pub(crate) fn address(&self, last: u8) -> String {
        format!("{}{last}", self.network)
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.run("DROP TABLE IF EXISTS clusterer");
        }
    }
}

/// A file of SQLite with the table.
pub(crate) fn sqlite(path: &Path, insert: &str) {
    block_on(async {
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        for sql in [format!("CREATE TABLE clusterer {SQLITE_COLUMNS}"), insert.to_owned()] {
            sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        }
        connection.close().await.unwrap();
    });
}

fn block_on(done: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(done);
}
