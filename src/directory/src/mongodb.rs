//! The directory in MongoDB.
//!
//! Rows are written by the commands `update` and `delete`, whose answers name each row that failed, and which every
//! server since 2.6 and its relatives know. A command is not repeated by itself; the advertiser repeats what failed.
//!
//! In the native schema a row holds its stamp, and a write applies to a row with an older one only. Where a newer row
//! stands, the `update` does not find its row, tries to insert it, and is told that the key exists: all is well then.

mod collections;

use super::store::{
    Change, Epoch, Inspection, PageToken, Piece, Row, ScannedRow, Schema, StoreError, StoreOptions, connect_timeout,
    now_us,
};
use super::url::MongoDbUrl;
use collections::Collections;
use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::ClientOptions;
use mongodb::{Client, Collection, Database};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Rows of one command. More than 99 make FerretDB hang, and gain little elsewhere.
pub(super) const BATCH_ROWS_MAX: usize = 50;
/// A unique key exists already.
const DUPLICATE_KEY: i32 = 11000;

/// The store; a clone is the same one.
#[derive(Clone)]
pub struct MongoDbStore(Arc<Inner>);

struct Inner {
    database: Database,
    rows: Collection<Document>,
    epochs: Collection<Document>,
    schema: Schema,
    lease_ms: i64,
    timeout: Duration,
    /// As it is shown, without credentials.
    url: String,
    /// What the URL says about it; commands do not take it from the client.
    write_concern: Option<Document>,
    /// What was found and made, where it was to be made.
    pieces: Vec<Piece>,
}

impl MongoDbStore {
    pub(super) async fn connect(url: &MongoDbUrl, options: &StoreOptions) -> Result<Self, StoreError> {
        let bad = |error: Error| {
            StoreError::refused(format!("{url}: the driver does not take the options of this URL")).because(error)
        };
        let mut client_options = ClientOptions::parse(&url.secret).await.map_err(bad)?;
        client_options.app_name.get_or_insert_with(|| "sipfed".to_owned());
        client_options.connect_timeout.get_or_insert(options.timeout);
        client_options.server_selection_timeout = Some(options.timeout);
        let write_concern = client_options.write_concern.as_ref();
        let write_concern = write_concern.and_then(|concern| mongodb::bson::serialize_to_document(concern).ok());
        let client = Client::with_options(client_options).map_err(bad)?;
        let database = client.database(&url.database);
        let mut inner = Inner {
            rows: database.collection(&url.collection),
            epochs: database.collection(&format!("{}_epochs", url.collection)),
            database,
            schema: options.schema,
            lease_ms: if options.schema == Schema::Native { i64::from(options.lease_s) * 1000 } else { 0 },
            timeout: options.timeout,
            url: url.to_string(),
            write_concern: write_concern.filter(|concern| !concern.is_empty()),
            pieces: Vec::new(),
        };
        // Whether anybody is there is asked with a limit of its own; what comes after that may have to be made.
        let limit = connect_timeout(options);
        let ping = tokio::time::timeout(limit, inner.database.run_command(doc! { "ping": 1 }));
        match ping.await {
            Ok(pong) => pong.map_err(|error| inner.failed("no connection", error))?,
            Err(_) => {
                return Err(StoreError::unavailable(format!("{url}: no connection within {} s", limit.as_secs())));
            }
        };
        inner.pieces = Collections(&inner).prepare(options.create).await?;
        Ok(Self(Arc::new(inner)))
    }

    pub(super) async fn write(&self, home: &str, changes: &[Change], stamp_us: i64) -> Result<(), StoreError> {
        let inner = &*self.0;
        for changes in changes.chunks(BATCH_ROWS_MAX) {
            let (put, removed): (Vec<&Change>, Vec<&Change>) = changes.iter().partition(|change| change.is_home);
            let updates = put.iter().map(|change| inner.update(&change.aor, home, stamp_us)).collect();
            inner.put(updates).await?;
            let deletes = removed.iter().map(|change| {
                let mut found = doc! { "_id": inner.id(&change.aor, home) };
                if inner.schema == Schema::Native {
                    found.insert("stamp", doc! { "$lte": stamp_us });
                }
                found
            });
            inner.delete(deletes.collect()).await?;
        }
        Ok(())
    }

    pub(super) async fn delete_rows(&self, rows: &[ScannedRow]) -> Result<(), StoreError> {
        let inner = &*self.0;
        for rows in rows.chunks(BATCH_ROWS_MAX) {
            let found = rows.iter().map(|ScannedRow { row, id }| {
                if let Some(id) = id {
                    // Another home may have taken the key meanwhile; its row stays.
                    return doc! { "_id": &**id, "aor": text_or_absent(&row.aor), "home_ip": text_or_absent(&row.home) };
                }
                let seen_us = row.written_at_us.unwrap_or(i64::MAX);
                doc! { "_id": inner.id(&row.aor, &row.home), "stamp": { "$lte": seen_us } }
            });
            inner.delete(found.collect()).await?;
        }
        Ok(())
    }

    pub(super) async fn homes(&self, aor: &str) -> Result<Vec<Row>, StoreError> {
        let documents = self.0.find(&self.0.rows, doc! { "aor": aor }, None, "homes were not read").await?;
        let now = DateTime::now();
        let there = documents.iter().filter(|document| !has_ended(document, now));
        Ok(there.map(|document| self.0.row(document)).filter(|row| !row.home.is_empty()).collect())
    }

    pub(super) async fn scan(
        &self,
        home: Option<&str>,
        page: Option<PageToken>,
        rows_max: usize,
    ) -> Result<(Vec<ScannedRow>, Option<PageToken>), StoreError> {
        let mut filter = Document::new();
        if let Some(PageToken(last)) = page {
            let last = String::from_utf8(last.into()).map_err(|error| {
                StoreError::refused("the page token is of another store; scan from the start").because(error)
            })?;
            filter.insert("_id", doc! { "$gt": last });
        }
        if let Some(home) = home {
            filter.insert("home_ip", home);
        }
        let documents = self.0.find(&self.0.rows, filter, Some(rows_max), "rows were not read").await?;
        let id = |document: &Document| document.get_str("_id").ok().map(Box::<str>::from);
        let next = documents.last().filter(|_| documents.len() >= rows_max).and_then(id);
        let now = DateTime::now();
        let there = documents.iter().filter(|document| !has_ended(document, now));
        let rows = there.map(|document| {
            let row = self.0.row(document);
            let repeats = |id: &str| self.0.schema == Schema::Native && id == self.0.id(&row.aor, &row.home);
            let id = id(document).filter(|id| !repeats(id));
            ScannedRow { row, id }
        });
        Ok((rows.collect(), next.map(|last| PageToken(last.into_boxed_bytes()))))
    }

    pub(super) async fn epochs(&self) -> Result<Vec<Epoch>, StoreError> {
        if !self.has_epochs() {
            return Ok(Vec::new());
        }
        let documents = self.0.find(&self.0.epochs, Document::new(), None, "epochs were not read").await?;
        let epoch = |document: &Document| {
            Some(Epoch { home: document.get_str("_id").ok()?.into(), epoch_us: document.get_i64("epoch").ok()? })
        };
        Ok(documents.iter().filter_map(epoch).collect())
    }

    pub(super) async fn set_epoch(&self, home: &str, epoch_us: i64, stamp_us: i64) -> Result<(), StoreError> {
        let inner = &*self.0;
        if !self.has_epochs() {
            return Err(StoreError::refused(format!(
                "{}: OpenSIPS's schema in MongoDB has no place for epochs; use directory.schema = \"native\"",
                inner.url
            )));
        }
        let update = doc! {
            "q": { "_id": home, "stamp": { "$lte": stamp_us } },
            "u": { "$set": { "epoch": epoch_us, "stamp": stamp_us } },
            "upsert": true,
        };
        inner.put_into(inner.epochs.name(), vec![update]).await
    }

    /// Also where the server has an index that ends rows: it looks once a minute, and the owner cannot know.
    pub(super) async fn sweep(&self, home: &str, now_us: i64) -> Result<u64, StoreError> {
        let inner = &*self.0;
        if inner.schema == Schema::OpenSips {
            return Ok(0);
        }
        let now = DateTime::from_millis(now_us / 1000);
        let ended = doc! { "home_ip": home, "expires_at": { "$lte": now } };
        let deleted = inner.in_time("rows were not swept", inner.rows.delete_many(ended).into_future()).await?;
        Ok(deleted.deleted_count)
    }

    pub(super) fn has_leases(&self) -> bool {
        self.0.lease_ms > 0
    }

    pub(super) fn has_epochs(&self) -> bool {
        self.0.schema == Schema::Native
    }

    pub(super) fn pieces(&self) -> &[Piece] {
        &self.0.pieces
    }

    pub(super) async fn inspect(&self) -> Result<Inspection, StoreError> {
        Collections(&self.0).inspect().await
    }
}

impl Inner {
    fn id(&self, aor: &str, home: &str) -> String {
        match self.schema {
            Schema::OpenSips => format!("{aor}{home}"),
            // No AoR and no home holds a space.
            Schema::Native => format!("{aor} {home}"),
        }
    }

    /// One entry of an `update` command, which puts a row.
    fn update(&self, aor: &str, home: &str, stamp_us: i64) -> Document {
        let id = self.id(aor, home);
        match self.schema {
            Schema::OpenSips => {
                doc! { "q": { "_id": id }, "u": { "$set": { "home_ip": home, "aor": aor } }, "upsert": true }
            }
            Schema::Native => {
                let mut set = doc! { "aor": aor, "home_ip": home, "stamp": stamp_us };
                let mut change = Document::new();
                if self.lease_ms > 0 {
                    set.insert("expires_at", DateTime::from_millis(now_us() / 1000 + self.lease_ms));
                } else {
                    change.insert("$unset", doc! { "expires_at": "" });
                }
                change.insert("$set", set);
                doc! { "q": { "_id": id, "stamp": { "$lte": stamp_us } }, "u": change, "upsert": true }
            }
        }
    }

    async fn put(&self, updates: Vec<Document>) -> Result<(), StoreError> {
        self.put_into(self.rows.name(), updates).await
    }

    /// Does `updates` one after another, and goes on behind one that finds a newer row.
    async fn put_into(&self, collection: &str, mut updates: Vec<Document>) -> Result<(), StoreError> {
        // Two commands that insert the same row race for it, and the loser is told the same as one that is too old:
        // only the second time it is certain that a newer row stands there.
        let mut is_second_time = false;
        while !updates.is_empty() {
            let command = self.command(doc! { "update": collection, "updates": updates.clone() });
            let reply = self.in_time("rows were not written", self.database.run_command(command).into_future()).await?;
            let Some((index, code, error)) = first_write_error(&reply) else { return self.check_concern(&reply) };
            if code != DUPLICATE_KEY || index >= updates.len() {
                return Err(StoreError::refused(format!("{}: a row was not written: {error}", self.url)));
            }
            let skipped = usize::from(is_second_time && index == 0);
            is_second_time = skipped == 0;
            updates.drain(..index + skipped);
        }
        Ok(())
    }

    async fn delete(&self, found: Vec<Document>) -> Result<(), StoreError> {
        if found.is_empty() {
            return Ok(());
        }
        let deletes: Vec<Document> = found.into_iter().map(|found| doc! { "q": found, "limit": 1 }).collect();
        let command = self.command(doc! { "delete": self.rows.name(), "deletes": deletes });
        let reply = self.in_time("rows were not removed", self.database.run_command(command).into_future()).await?;
        match first_write_error(&reply) {
            Some((_, _, error)) => Err(StoreError::refused(format!("{}: a row was not removed: {error}", self.url))),
            None => self.check_concern(&reply),
        }
    }

    fn command(&self, mut command: Document) -> Document {
        if let Some(concern) = &self.write_concern {
            command.insert("writeConcern", concern.clone());
        }
        command
    }

    /// Written, but not by as many servers as the URL wants, or not in time.
    fn check_concern(&self, reply: &Document) -> Result<(), StoreError> {
        match reply.get_document("writeConcernError") {
            Ok(error) => {
                let said = error.get_str("errmsg").unwrap_or("no reason given");
                Err(StoreError::unavailable(format!("{}: too few servers have written it: {said}", self.url)))
            }
            Err(_) => Ok(()),
        }
    }

    /// The documents that `filter` finds; with a limit, those with the least keys.
    async fn find(
        &self,
        collection: &Collection<Document>,
        filter: Document,
        limit: Option<usize>,
        what: &str,
    ) -> Result<Vec<Document>, StoreError> {
        let find = async {
            let mut find = collection.find(filter);
            if let Some(limit) = limit {
                find = find.sort(doc! { "_id": 1 }).limit(i64::try_from(limit).unwrap_or(i64::MAX));
            }
            let (mut cursor, mut found) = (find.await?, Vec::new());
            while cursor.advance().await? {
                found.push(cursor.deserialize_current()?);
            }
            Ok(found)
        };
        self.in_time(what, find).await
    }

    async fn in_time<T>(&self, what: &str, request: impl Future<Output = Result<T, Error>>) -> Result<T, StoreError> {
        self.within(self.timeout, what, request).await
    }

    async fn within<T>(
        &self,
        limit: Duration,
        what: &str,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, StoreError> {
        let Ok(result) = tokio::time::timeout(limit, request).await else {
            let limit_ms = limit.as_millis();
            return Err(StoreError::unavailable(format!("{}: {what}: no answer within {limit_ms} ms", self.url)));
        };
        result.map_err(|error| self.failed(what, error))
    }

    fn failed(&self, what: &str, error: Error) -> StoreError {
        let what = format!("{}: {what}", self.url);
        let refused = match &*error.kind {
            ErrorKind::Command(command) => is_for_good(command.code),
            ErrorKind::Authentication { .. }
            | ErrorKind::InvalidArgument { .. }
            | ErrorKind::InvalidTlsConfig { .. }
            | ErrorKind::IncompatibleServer { .. }
            | ErrorKind::BsonDeserialization(_)
            | ErrorKind::BsonSerialization(_)
            | ErrorKind::Bson(_) => true,
            _ => false,
        };
        // What stands around the kind is for the driver itself, and long.
        let kind = *error.kind;
        if refused { StoreError::refused(what).because(kind) } else { StoreError::unavailable(what).because(kind) }
    }

    /// What a document says; what it lacks is empty.
    fn row(&self, document: &Document) -> Row {
        let text = |field| document.get_str(field).unwrap_or_default().into();
        let written_at_us = document.get_i64("stamp").ok().filter(|_| self.schema == Schema::Native);
        Row { aor: text("aor"), home: text("home_ip"), written_at_us }
    }
}

/// Whether the server would say the same again: not a server that stops, is overloaded, or is no longer the primary.
const fn is_for_good(code: i32) -> bool {
    // Unauthorized, authentication failed, failed to parse, bad value, type mismatch, no such command, not allowed by
    // the API's version, unknown or missing option, and a document that does not fit its schema.
    matches!(code, 2 | 4 | 9 | 13 | 14 | 18 | 20 | 40 | 59 | 72 | 73 | 115 | 121 | 238 | 323 | 8000)
}

/// Index, code and text of the first entry of a command that failed.
fn first_write_error(reply: &Document) -> Option<(usize, i32, String)> {
    let errors = reply.get_array("writeErrors").ok()?;
    let error = errors.first()?.as_document()?;
    let number = |field| match error.get(field) {
        Some(Bson::Int32(number)) => Some(*number),
        Some(Bson::Int64(number)) => i32::try_from(*number).ok(),
        Some(Bson::Double(number)) => Some(*number as i32),
        _ => None,
    };
    let text = error.get_str("errmsg").unwrap_or("no reason given").to_owned();
    Some((usize::try_from(number("index")?).ok()?, number("code")?, text))
}

fn has_ended(document: &Document, now: DateTime) -> bool {
    document.get_datetime("expires_at").is_ok_and(|end| *end <= now)
}

/// A field that a scan has seen as empty may as well be missing.
fn text_or_absent(text: &str) -> Bson {
    if text.is_empty() { Bson::Document(doc! { "$in": ["", Bson::Null] }) } else { text.into() }
}

impl fmt::Debug for MongoDbStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failed_entry_is_found_in_a_reply() {
        assert_eq!(first_write_error(&doc! { "ok": 1.0, "n": 2 }), None);
        let reply = doc! { "ok": 1.0, "writeErrors": [{ "index": 3, "code": 11000, "errmsg": "E11000" }] };
        assert_eq!(first_write_error(&reply), Some((3, DUPLICATE_KEY, "E11000".to_owned())));
    }

    #[test]
    fn rows_end_at_their_time() {
        let now = DateTime::from_millis(1000);
        assert!(has_ended(&doc! { "expires_at": now }, now));
        assert!(!has_ended(&doc! { "expires_at": DateTime::from_millis(1001) }, now));
        assert!(!has_ended(&doc! {}, now));
    }
}
