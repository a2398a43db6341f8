//! Asks the servers themselves, past the code under test.

use crate::url::{CassandraUrl, MongoDbUrl, StoreUrl};
use mongodb::bson::{Bson, Document, doc};
use mongodb::{Client, Collection};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::value::{CqlValue, Row};
use std::collections::BTreeMap;

/// A row by its columns, with values as text.
pub(super) type Fields = BTreeMap<String, String>;

async fn session(url: &CassandraUrl) -> Session {
    SessionBuilder::new().known_nodes(&url.hosts).fetch_schema_metadata(false).build().await.unwrap()
}

async fn collection(url: &MongoDbUrl) -> Collection<Document> {
    let client = Client::with_uri_str(&url.secret).await.unwrap();
    client.database(&url.database).collection(&url.collection)
}

/// Sends one CQL statement, in which `{table}` stands for the table of `url`.
pub(super) async fn cql(url: &StoreUrl, text: &str) {
    let StoreUrl::Cassandra(url) = url else { panic!("{url} is not Cassandra") };
    let text = text.replace("{table}", &format!("{}.{}", url.keyspace, url.table));
    session(url).await.query_unpaged(text, ()).await.unwrap();
}

/// Drops all that a test has made.
pub(super) async fn drop_all(url: &StoreUrl) {
    match url {
        StoreUrl::Memory => {}
        StoreUrl::Cassandra(url) => {
            let session = session(url).await;
            for suffix in ["", "_epochs"] {
                let drop = format!("DROP TABLE IF EXISTS {}.{}{suffix}", url.keyspace, url.table);
                // Where nothing was made, not even the keyspace may be there.
                let _ = session.query_unpaged(drop, ()).await;
            }
        }
        StoreUrl::MongoDb(url) => {
            let client = Client::with_uri_str(&url.secret).await.unwrap();
            for suffix in ["", "_epochs"] {
                let name = format!("{}{suffix}", url.collection);
                client.database(&url.database).collection::<Document>(&name).drop().await.unwrap();
            }
        }
    }
}

/// All that stands in the table, sorted.
pub(super) async fn rows(url: &StoreUrl) -> Vec<Fields> {
    let mut rows: Vec<Fields> = match url {
        StoreUrl::Memory => Vec::new(),
        StoreUrl::Cassandra(url) => {
            let all = format!("SELECT * FROM {}.{}", url.keyspace, url.table);
            let result = session(url).await.query_unpaged(all, ()).await.unwrap().into_rows_result().unwrap();
            let names: Vec<String> = result.column_specs().iter().map(|column| column.name().to_owned()).collect();
            result.rows::<Row>().unwrap().map(|row| fields(&names, row.unwrap())).collect()
        }
        StoreUrl::MongoDb(url) => {
            let (mut cursor, mut documents) = (collection(url).await.find(doc! {}).await.unwrap(), Vec::new());
            while cursor.advance().await.unwrap() {
                documents.push(cursor.deserialize_current().unwrap());
            }
            documents.into_iter().map(|document| document.into_iter().map(field).collect()).collect()
        }
    };
    rows.sort();
    rows
}

fn fields(names: &[String], row: Row) -> Fields {
    let value = |value: Option<CqlValue>| match value {
        Some(CqlValue::Text(text)) => text,
        Some(other) => format!("{other:?}"),
        None => "null".to_owned(),
    };
    names.iter().cloned().zip(row.columns.into_iter().map(value)).collect()
}

fn field((name, value): (String, Bson)) -> (String, String) {
    let value = match value {
        Bson::String(text) => text,
        other => format!("{other:?}"),
    };
    (name, value)
}

/// Writes a row as OpenSIPS does, with its key as it is given.
pub(super) async fn put_as_opensips(url: &StoreUrl, id: &str, aor: &str, home: &str) {
    match url {
        StoreUrl::Memory => {}
        StoreUrl::Cassandra(url) => {
            let update =
                format!("UPDATE {}.{} USING TTL 0 SET aor = ?, home_ip = ? WHERE id = ?", url.keyspace, url.table);
            session(url).await.query_unpaged(update, (aor, home, id)).await.unwrap();
        }
        StoreUrl::MongoDb(url) => {
            let set = doc! { "$set": { "home_ip": home, "aor": aor } };
            collection(url).await.update_one(doc! { "_id": id }, set).upsert(true).await.unwrap();
        }
    }
}
