//! `sipfed directory` as a shell sees it, on real servers that other clients have written to.

#[path = "stores/real.rs"]
mod real;

use mongodb::bson::{Bson, Document, doc};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use serde_json::Value;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Cassandra,
    MongoDb,
}

use Server::{Cassandra, MongoDb};

/// A directory of a test's own: a keyspace or a database, which is dropped in the end.
struct Directory {
    server: Server,
    schema: &'static str,
    base: String,
    name: String,
    runtime: tokio::runtime::Runtime,
}

impl Directory {
    /// One that is not made yet.
    fn new(server: Server, schema: &'static str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let base = if server == Cassandra { real::cassandra() } else { real::mongodb() };
        let name = format!("tool_{}_{}_{:x}", std::process::id(), NUMBER.fetch_add(1, Relaxed), now_us());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { server, schema, base: base.trim_end_matches('/').to_owned(), name, runtime }
    }

    fn made(server: Server, schema: &'static str) -> Self {
        let directory = Self::new(server, schema);
        directory.done(&["init"]);
        directory
    }

    fn url(&self) -> String {
        format!("{}/{}.userlocation", self.base, self.name)
    }

    fn tool(&self, arguments: &[&str]) -> Output {
        let url = self.url();
        sipfed(&[arguments, &["--url", &*url, "--schema", self.schema]].concat())
    }

    /// What a command prints that ends with `code` and has nothing to say on stderr.
    #[track_caller]
    fn told(&self, arguments: &[&str], code: i32) -> String {
        let output = self.tool(arguments);
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert_eq!((output.status.code(), stderr), (Some(code), ""), "{self:?} {arguments:?}: {stdout}");
        stdout.to_owned()
    }

    #[track_caller]
    fn done(&self, arguments: &[&str]) -> String {
        self.told(arguments, 0)
    }

    #[track_caller]
    fn objects(&self, arguments: &[&str], code: i32) -> Vec<Value> {
        let lines = self.told(&[arguments, &["--json"]].concat(), code);
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Writes a row, past the code under test; `None` for a key that is as it should be.
    fn put(&self, key: Option<&str>, aor: &str, home: &str, written_at_us: i64) {
        let is_native = self.schema == "native";
        let usual = format!("{aor}{}{home}", if is_native { " " } else { "" });
        let key = key.unwrap_or(&usual);
        self.runtime.block_on(async {
            match self.server {
                Cassandra => {
                    let table = format!("{}.userlocation", self.name);
                    let session = session(&self.base).await;
                    if is_native {
                        let insert = format!(
                            "INSERT INTO {table} (aor, home_ip, stamp) VALUES (?, ?, ?) USING TIMESTAMP {written_at_us}"
                        );
                        session.query_unpaged(insert, (aor, home, written_at_us)).await.unwrap();
                    } else {
                        let update = format!(
                            "UPDATE {table} USING TIMESTAMP {written_at_us} SET aor = ?, home_ip = ? WHERE id = ?"
                        );
                        session.query_unpaged(update, (aor, home, key)).await.unwrap();
                    }
                }
                MongoDb => {
                    let mut row = doc! { "_id": key, "aor": aor, "home_ip": home };
                    if is_native {
                        row.insert("stamp", Bson::Int64(written_at_us));
                    }
                    self.database().await.collection::<Document>("userlocation").insert_one(row).await.unwrap();
                }
            }
        });
    }

    async fn database(&self) -> mongodb::Database {
        mongodb::Client::with_uri_str(&self.base).await.unwrap().database(&self.name)
    }

    /// How many rows there are, past the code under test.
    fn rows(&self) -> u64 {
        self.runtime.block_on(async {
            match self.server {
                Cassandra => {
                    let count = format!("SELECT count(*) FROM {}.userlocation", self.name);
                    let result = session(&self.base).await.query_unpaged(count, ()).await.unwrap();
                    result.into_rows_result().unwrap().single_row::<(i64,)>().unwrap().0 as u64
                }
                MongoDb => {
                    let rows = self.database().await.collection::<Document>("userlocation");
                    rows.count_documents(doc! {}).await.unwrap()
                }
            }
        })
    }

    /// A configuration file of the node 10.0.0.1.
    fn config(&self, peers: &str) -> PathBuf {
        let lines = format!(
            "[directory]\nhome = \"10.0.0.1\"\nurl = \"{}\"\nschema = \"{}\"\npeers = [{peers}]\n",
            self.url(),
            self.schema
        );
        file(&self.name, &lines)
    }
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:?}, {}", self.server, self.schema)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.runtime.block_on(async {
            match self.server {
                Cassandra => {
                    let drop = format!("DROP KEYSPACE IF EXISTS {}", self.name);
                    let dropped = session(&self.base).await.query_unpaged(drop, ()).await;
                    assert!(std::thread::panicking() || dropped.is_ok(), "{dropped:?}");
                }
                MongoDb => {
                    let dropped = self.database().await.drop().await;
                    assert!(std::thread::panicking() || dropped.is_ok(), "{dropped:?}");
                }
            }
        });
    }
}

async fn session(base: &str) -> Session {
    let (_, host) = base.split_once("://").unwrap();
    let timeout = Duration::from_mins(1);
    SessionBuilder::new()
        .known_node(host)
        .connection_timeout(timeout)
        .fetch_schema_metadata(false)
        .build()
        .await
        .unwrap()
}

fn sipfed(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sipfed")).arg("directory").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A file in the folder that cargo keeps for the output of tests.
fn file(name: &str, content: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.toml"));
    fs::write(&path, content).unwrap();
    path
}

fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64
}

fn of_kind<'v>(objects: &'v [Value], kind: &str) -> Vec<&'v Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

const ALL: [(Server, &str); 4] =
    [(Cassandra, "native"), (Cassandra, "opensips"), (MongoDb, "native"), (MongoDb, "opensips")];

const HOUR_US: i64 = 3_600_000_000;

#[test]
fn init_says_what_it_made_and_the_second_time_that_all_was_there() {
    for (server, schema) in ALL {
        let directory = Directory::new(server, schema);
        let output = directory.tool(&["verify"]);
        assert_eq!(output.status.code(), Some(1), "{directory:?}");
        assert!(text(&output.stderr).contains("`sipfed directory init`"), "{}", text(&output.stderr));

        let first = directory.done(&["init"]);
        let index = match (server, schema) {
            (Cassandra, "opensips") => "CREATE INDEX IF NOT EXISTS userlocation_aor_idx ON ",
            (Cassandra, _) => "PRIMARY KEY (aor, home_ip)",
            (MongoDb, _) => "db.getCollection(\"userlocation\").createIndex({ aor: 1 })",
        };
        for part in ["made by", index, "The directory is ready."] {
            assert!(first.contains(part), "{directory:?}: {part}: {first}");
        }
        let explained = first.contains("every lookup would read the whole table");
        assert_eq!(explained, schema == "opensips", "{first}");

        let second = directory.objects(&["init"], 0);
        let pieces = of_kind(&second, "piece");
        assert!(pieces.len() >= 2, "{directory:?}: {second:?}");
        for piece in pieces {
            assert_ne!(piece["state"], "made", "{directory:?}: {second:?}");
        }
        let clean = directory.done(&["verify"]);
        assert!(clean.contains("All is well: 0 rows of 0 homes."), "{clean}");
    }
}

#[test]
fn malformed_and_void_rows_are_told_and_deleted() {
    for (server, schema) in ALL {
        let directory = Directory::made(server, schema);
        let now_us = now_us();
        for user in 0..30 {
            directory.put(None, &format!("u{user}@example.com"), "10.0.0.1", now_us - HOUR_US);
        }
        let clean = directory.done(&["verify"]);
        assert!(clean.contains("All is well: 30 rows of 1 home."), "{clean}");

        let mut malformed = 23;
        for user in 0..23 {
            directory.put(None, &format!("u{user}@example.com"), "sip:10.5.29.7", now_us);
        }
        if schema == "opensips" {
            directory.put(Some("x@example.com"), "x@example.com", "", now_us);
            directory.put(Some("10.0.0.1"), "", "10.0.0.1", now_us);
            directory.put(Some("other@example.com10.0.0.9"), "x@example.com", "10.0.0.1", now_us);
            malformed += 3;
        } else if server == MongoDb {
            directory.put(Some("a key of its own"), "x@example.com", "10.0.0.1", now_us);
            malformed += 1;
        }
        // What a node does that lost its memory: its older rows are void.
        let has_epochs = (server, schema) != (MongoDb, "opensips");
        let revived = directory.done(&["repair", "--revive", "10.0.0.1"]);
        assert!(revived.contains("Nothing was changed; --apply does it."), "{revived}");
        let void = if has_epochs { 30 } else { 0 };
        if has_epochs {
            let epochs = format!("{malformed} malformed rows, {void} void rows");
            assert!(revived.contains(&epochs), "{revived}");
            epoch(&directory, "10.0.0.1", now_us - 1);
        }

        let dirty = directory.told(&["verify"], 7);
        let expected = format!("Something is wrong: {malformed} malformed rows");
        for part in
            [&*expected, "\"sip:10.5.29.7\"", "and ", " more; --json prints all of them", "repair --url … --schema"]
        {
            assert!(dirty.contains(part), "{part}: {dirty}");
        }
        let objects = directory.objects(&["verify"], 7);
        assert_eq!(of_kind(&objects, "malformed").len(), malformed, "{directory:?}");
        assert_eq!(of_kind(&objects, "void").len(), void, "{directory:?}");
        let summary = &objects[objects.len() - 1];
        assert_eq!((&summary["rows"], &summary["is_well"]), (&(30 + malformed).into(), &false.into()));

        let before = directory.rows();
        let dry = directory.done(&["repair"]);
        assert!(dry.contains("Nothing was changed; --apply does it."), "{dry}");
        assert_eq!(directory.rows(), before, "{directory:?}: a dry run changes nothing");
        // In several pages, of which each loses rows while the next is waited for.
        let applied = directory.objects(&["repair", "--apply", "--rows-per-s", "25"], 0);
        let summary = &applied[applied.len() - 1];
        assert_eq!((&summary["malformed"], &summary["void"]), (&malformed.into(), &void.into()), "{directory:?}");
        assert_eq!(directory.rows(), before - (malformed + void) as u64, "{directory:?}");
        let again = directory.done(&["repair", "--apply"]);
        assert!(again.contains("none has to be deleted"), "{again}");
        assert!(directory.done(&["verify"]).contains("All is well"), "{directory:?}");
    }
}

/// Sets the epoch of a home, past the code under test.
fn epoch(directory: &Directory, home: &str, epoch_us: i64) {
    directory.runtime.block_on(async {
        match directory.server {
            Cassandra => {
                let update = format!("UPDATE {}.userlocation_epochs SET epoch = ? WHERE home_ip = ?", directory.name);
                session(&directory.base).await.query_unpaged(update, (epoch_us, home)).await.unwrap();
            }
            MongoDb => {
                let epochs = directory.database().await.collection::<Document>("userlocation_epochs");
                epochs.insert_one(doc! { "_id": home, "epoch": epoch_us, "stamp": 1_i64 }).await.unwrap();
            }
        }
    });
}

#[test]
fn a_home_is_retired_and_revived() {
    for (server, schema) in ALL {
        let directory = Directory::made(server, schema);
        let at_us = now_us() - HOUR_US;
        for user in ["alice", "bob"] {
            for home in ["10.0.0.1", "10.0.0.2"] {
                directory.put(None, &format!("{user}@example.com"), home, at_us);
            }
        }
        let has_epochs = (server, schema) != (MongoDb, "opensips");
        let dry = directory.done(&["repair", "--retire", "10.0.0.2"]);
        let said = if has_epochs { "10.0.0.2 would be gone for good" } else { "keeps no epochs in MongoDB" };
        let rows = if has_epochs { "2 void rows" } else { "2 rows of retired homes" };
        assert!(dry.contains(said) && dry.contains(rows), "{directory:?}: {dry}");
        assert_eq!(directory.rows(), 4, "{directory:?}");

        let applied = directory.done(&["repair", "--retire", "10.0.0.2", "--apply"]);
        assert!(applied.contains(&format!("Deleted of 4 rows: {rows}.")), "{directory:?}: {applied}");
        assert_eq!(directory.rows(), 2, "{directory:?}");
        if has_epochs {
            // Its node still runs, and publishes.
            directory.put(None, "carol@example.com", "10.0.0.2", now_us());
            let shown = directory.done(&["show", "carol@example.com"]);
            assert!(shown.contains("void: its home is gone for good"), "{shown}");
            let told = directory.told(&["verify"], 7);
            assert!(told.contains("gone for good"), "{told}");
            let revived = directory.done(&["repair", "--revive", "10.0.0.2:5060", "--apply"]);
            assert!(revived.contains("10.0.0.2:5060 is spelled 10.0.0.2"), "{revived}");
            assert!(revived.contains("10.0.0.2 is now alive"), "{revived}");
            directory.put(None, "dave@example.com", "10.0.0.2", now_us());
        }
        assert!(directory.done(&["verify"]).contains("All is well"), "{directory:?}");
    }
}

#[test]
fn keys_of_opensips_that_two_homes_may_share_are_told() {
    for server in [Cassandra, MongoDb] {
        let directory = Directory::made(server, "opensips");
        directory.put(None, "u@10.0.0.1", "12.3.4.5", now_us());
        directory.put(None, "v@example.com", "12.3.4.5", now_us());
        assert!(directory.done(&["verify"]).contains("All is well"), "the other home is not known");
        directory.put(None, "w@example.com", "2.3.4.5", now_us());
        let told = directory.told(&["verify"], 7);
        let risk =
            "key \"u@10.0.0.112.3.4.5\" of \"u@10.0.0.1\" at \"12.3.4.5\" is that of \"u@10.0.0.11\" at \"2.3.4.5\"";
        assert!(told.contains(risk) && told.contains("1 key at risk; 3 rows of 2 homes"), "{told}");
        let objects = directory.objects(&["verify"], 7);
        let risks: Vec<_> =
            of_kind(&objects, "at_risk").iter().map(|risk| risk["aor"].as_str().unwrap().to_owned()).collect();
        // Nobody has the domain example.com1.
        assert_eq!(risks, ["u@10.0.0.1"], "{objects:?}");
        assert!(directory.done(&["repair", "--apply"]).contains("none has to be deleted"), "nobody's row is wrong");
    }
}

#[test]
fn show_tells_homes_ages_and_which_is_this_node() {
    for (server, schema) in ALL {
        let directory = Directory::made(server, schema);
        directory.put(None, "alice@example.com", "10.0.0.1:5060", now_us() - HOUR_US);
        directory.put(None, "alice@example.com", "10.0.0.2", now_us() - 25 * HOUR_US);
        let config = directory.config("\"10.0.0.3\"");
        let config = config.to_str().unwrap();
        let output = sipfed(&["show", "sip:alice@EXAMPLE.com:5070", "--config", config]);
        let shown = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let ages = if (server, schema) == (MongoDb, "opensips") {
            ["written at a time that this schema does not keep", "written at a time that this schema does not keep"]
        } else {
            ["written 1 h ", "written 1 d 1 h ago, "]
        };
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 3, "{shown}");
        assert_eq!(lines[0], "alice@example.com");
        assert!(lines[1].contains("10.0.0.1:5060") && lines[1].contains(ages[0]), "{shown}");
        assert!(lines[1].ends_with("; this node"), "{shown}");
        assert!(lines[2].contains("10.0.0.2") && lines[2].contains(ages[1]), "{shown}");
        assert!(!lines[2].contains("this node"), "{shown}");
        assert_eq!(directory.done(&["show", "bob@example.com"]), "nobody has published bob@example.com\n");

        let verified = sipfed(&["verify", "--config", config]);
        let told = text(&verified.stdout);
        assert_eq!(verified.status.code(), Some(7), "{told}");
        assert!(told.contains("1 home that the configuration does not name"), "{told}");
        let objects = directory.objects(&["show", "alice@example.com"], 0);
        assert_eq!((&objects[0]["homes"], &objects[1]["is_this_node"]), (&2.into(), &Value::Null));
    }
}

#[test]
fn what_is_wrong_is_told_where_and_without_a_password() {
    let told = |arguments: &[&str], code: i32, parts: &[&str]| {
        let output = sipfed(arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        for part in parts {
            assert!(stderr.contains(part), "{arguments:?}: {part}: {stderr}");
        }
        assert!(!stderr.contains("sesame") && output.stdout.is_empty(), "{stderr}");
    };
    // Bound, and given up: nobody listens there now.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = format!("cassandra://user:sesame@127.0.0.1:{port}/k.t");
    told(&["verify", "--url", &nobody], 1, &[&format!("cassandra://127.0.0.1:{port}/k.t"), "try again"]);
    told(&["verify", "--url", "cassandra://u:sesame@h/k.t?tls=yes"], 2, &["--url: tls is neither true nor false"]);
    told(&["show", "a@h", "--url", "memory:"], 2, &["only a node itself can see"]);
    told(&["verify"], 2, &["--config"]);
    told(&["verify", "--url", "mongodb://h/d.c", "--config", "x"], 2, &["cannot be used with"]);
    told(&["show", "example.com", "--url", "mongodb://u:sesame@h/d.c"], 2, &["has a user"]);
    told(
        &["repair", "--url", "mongodb://h/d.c", "--retire", "pop1.example.com"],
        2,
        &["--retire", "not an IP address"],
    );
    told(
        &["repair", "--url", "mongodb://h/d.c", "--retire", "10.0.0.1", "--revive", "10.0.0.1:5060"],
        2,
        &["retired and"],
    );
    told(&["verify", "--config", "no-such-file.toml"], 3, &["no-such-file.toml cannot be read"]);
    let alone = file("directory-alone", "[node]\nshards = 1\n");
    told(&["verify", "--config", alone.to_str().unwrap()], 3, &["has no directory.url", "stands alone"]);
}

#[test]
fn every_help_has_examples_and_exit_codes() {
    for command in ["init", "verify", "repair", "show"] {
        let output = sipfed(&[command, "--help"]);
        let help = text(&output.stdout);
        for part in ["Examples:", "Exit codes:", &format!("sipfed directory {command} ")] {
            assert!(help.contains(part), "{command}: {part}: {help}");
        }
    }
    let verify = sipfed(&["verify", "--help"]);
    assert!(text(&verify.stdout).contains("  7  something is wrong"));
}
