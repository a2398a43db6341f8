//! The directory in Cassandra.
//!
//! Rows are written in unlogged batches, each for one replica, so that the server that takes a batch keeps its rows
//! itself. Several batches are on their way at once. A request that fails is not repeated here: the advertiser repeats
//! what it has to anyway, and a lookup has no time for it; repeating in two places would double the load of a store
//! that has too much of it.
//!
//! Every write has its stamp as Cassandra's own timestamp, so that of two writes of a row the newer one stands,
//! in whatever order they arrive, and a removal is remembered as long as the table's `gc_grace_seconds`.

mod connection;
mod tables;

use super::store::{
    Change, Epoch, Inspection, PageToken, Piece, Row, ScannedRow, Schema, StoreError, StoreOptions, now_us,
};
use super::url::CassandraUrl;
use connection::{connected, failed, failed_early};
use futures_util::{TryStreamExt, stream};
use scylla::client::session::Session;
use scylla::cluster::{ClusterState, Node};
use scylla::errors::ExecutionError;
use scylla::frame::response::result::ColumnType;
use scylla::response::PagingState;
use scylla::response::query_result::{QueryResult, QueryRowsResult};
use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::value::SerializeValue;
use scylla::serialize::writers::{CellWriter, RowWriter, WrittenCellProof};
use scylla::statement::batch::{Batch, BatchStatement, BatchType};
use scylla::statement::prepared::PreparedStatement;
use std::collections::HashMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use tables::Tables;

/// Rows of one batch.
pub(super) const BATCH_ROWS_MAX: usize = 50;
/// Bytes of one batch as this file counts them; Cassandra refuses 50 KiB of its own count (`batch_size_fail_threshold`).
const BATCH_BYTES_MAX: usize = 40 << 10;
/// What Cassandra adds to the names of a row: headers of cells, timestamps, ends of lives.
const ROW_OVERHEAD_BYTES: usize = 96;
/// Batches of one write that are on their way at once; more of them only wait inside of the server.
const BATCHES_IN_FLIGHT_MAX: usize = 8;

/// The store; a clone is the same one.
#[derive(Clone)]
pub struct CassandraStore(Arc<Inner>);

struct Inner {
    session: Session,
    tables: Tables,
    statements: Statements,
    lease_s: i32,
    /// The one whose servers are asked first.
    datacenter: Option<String>,
}

struct Statements {
    put: PreparedStatement,
    remove: PreparedStatement,
    homes: PreparedStatement,
    scan: PreparedStatement,
    epochs: PreparedStatement,
    set_epoch: PreparedStatement,
}

impl Statements {
    async fn prepare(session: &Session, tables: &Tables) -> Result<Self, StoreError> {
        let (rows, epochs) = (tables.rows(), tables.epochs());
        let prepare = async |text: String| {
            let prepared = session.prepare(text).await.map_err(ExecutionError::from);
            prepared.map_err(|error| failed_early(format!("{tables}: a statement cannot be prepared"), error))
        };
        let set_epoch = format!("UPDATE {epochs} USING TIMESTAMP ? SET epoch = ? WHERE home_ip = ?");
        let [put, remove, homes, scan] = match tables.schema {
            // An UPDATE, as OpenSIPS writes it: it leaves no marker, so that a row ends with its last column.
            Schema::OpenSips => [
                format!("UPDATE {rows} USING TTL ? AND TIMESTAMP ? SET aor = ?, home_ip = ? WHERE id = ?"),
                format!("DELETE FROM {rows} USING TIMESTAMP ? WHERE id = ?"),
                format!("SELECT home_ip, WRITETIME(home_ip) FROM {rows} WHERE aor = ? ALLOW FILTERING"),
                format!("SELECT aor, home_ip, WRITETIME(home_ip), id FROM {rows}"),
            ],
            Schema::Native => [
                format!("INSERT INTO {rows} (aor, home_ip, stamp) VALUES (?, ?, ?) USING TTL ? AND TIMESTAMP ?"),
                format!("DELETE FROM {rows} USING TIMESTAMP ? WHERE aor = ? AND home_ip = ?"),
                format!("SELECT home_ip, stamp FROM {rows} WHERE aor = ?"),
                format!("SELECT aor, home_ip, stamp FROM {rows}"),
            ],
        };
        Ok(Self {
            put: prepare(put).await?,
            remove: prepare(remove).await?,
            homes: prepare(homes).await?,
            scan: prepare(scan).await?,
            epochs: prepare(format!("SELECT home_ip, epoch FROM {epochs}")).await?,
            set_epoch: prepare(set_epoch).await?,
        })
    }

    /// The one that does it.
    const fn of(&self, write: &Write<'_>) -> &PreparedStatement {
        if write.lease_s.is_some() { &self.put } else { &self.remove }
    }
}

/// Batches of rows that the same server keeps.
fn batched<'a>(writes: impl Iterator<Item = Write<'a>>, server: impl Fn(&Write<'a>) -> u128) -> Vec<Vec<Write<'a>>> {
    // The batch that is being filled for each server, with its bytes.
    let mut open: HashMap<u128, (usize, Vec<Write<'a>>)> = HashMap::new();
    let mut full = Vec::new();
    for write in writes {
        let (bytes, batch) = open.entry(server(&write)).or_default();
        if batch.len() == BATCH_ROWS_MAX || *bytes + write.bytes() > BATCH_BYTES_MAX {
            full.push(std::mem::take(batch));
            *bytes = 0;
        }
        *bytes += write.bytes();
        batch.push(write);
    }
    full.extend(open.into_values().map(|(_, batch)| batch));
    full
}

/// A key of OpenSIPS's schema: two texts, one behind the other.
struct Id<'a>(&'a str, &'a str);

impl SerializeValue for Id<'_> {
    /// The tables were found to have a text here, so the type is not looked at again.
    fn serialize<'b>(
        &self,
        _: &ColumnType<'_>,
        cell: CellWriter<'b>,
    ) -> Result<WrittenCellProof<'b>, SerializationError> {
        let mut value = cell.into_value_builder();
        value.append_bytes(self.0.as_bytes());
        value.append_bytes(self.1.as_bytes());
        value.finish().map_err(SerializationError::new)
    }
}

/// What one statement of a batch does to one row.
struct Write<'a> {
    aor: &'a str,
    home: &'a str,
    /// The key that a scan has seen, where it is not the one that follows from AoR and home.
    id: Option<&'a str>,
    /// Seconds to live, for a row that is put; `None` to remove it.
    lease_s: Option<i32>,
    stamp_us: i64,
    schema: Schema,
}

impl Write<'_> {
    fn bytes(&self) -> usize {
        2 * (self.aor.len() + self.home.len()) + ROW_OVERHEAD_BYTES
    }
}

impl SerializeRow for Write<'_> {
    fn serialize(
        &self,
        context: &RowSerializationContext<'_>,
        row: &mut RowWriter<'_>,
    ) -> Result<(), SerializationError> {
        let &Write { aor, home, id, lease_s, stamp_us, schema } = self;
        let id = id.map_or(Id(aor, home), |id| Id(id, ""));
        match (schema, lease_s) {
            (Schema::OpenSips, Some(lease_s)) => {
                SerializeRow::serialize(&(lease_s, stamp_us, aor, home, id), context, row)
            }
            (Schema::OpenSips, None) => SerializeRow::serialize(&(stamp_us, id), context, row),
            (Schema::Native, Some(lease_s)) => {
                SerializeRow::serialize(&(aor, home, stamp_us, lease_s, stamp_us), context, row)
            }
            (Schema::Native, None) => SerializeRow::serialize(&(stamp_us, aor, home), context, row),
        }
    }

    fn is_empty(&self) -> bool {
        false
    }
}

impl CassandraStore {
    pub(super) async fn connect(url: &CassandraUrl, options: &StoreOptions) -> Result<Self, StoreError> {
        let session = connected(url, options).await?;
        let tables = Tables::prepared(&session, url, options).await?;
        // The driver has to know the tables to find their replicas.
        session.refresh_metadata().await.map_err(|error| {
            StoreError::unavailable(format!("{url}: the cluster does not describe itself")).because(error)
        })?;
        let statements = Statements::prepare(&session, &tables).await?;
        let lease_s = i32::try_from(options.lease_s).unwrap_or(i32::MAX);
        Ok(Self(Arc::new(Inner { session, tables, statements, lease_s, datacenter: url.datacenter.clone() })))
    }

    pub(super) async fn write(&self, home: &str, changes: &[Change], stamp_us: i64) -> Result<(), StoreError> {
        let Inner { tables, lease_s, .. } = &*self.0;
        let writes = changes.iter().map(|Change { aor, is_home }| Write {
            aor,
            home,
            id: None,
            lease_s: is_home.then_some(*lease_s),
            stamp_us,
            schema: tables.schema,
        });
        self.send(writes).await
    }

    pub(super) async fn delete_rows(&self, rows: &[ScannedRow]) -> Result<(), StoreError> {
        // With the timestamp of what was seen, a removal leaves alone what was written since then.
        let now_us = now_us();
        let writes = rows.iter().map(|ScannedRow { row, id }| Write {
            aor: &row.aor,
            home: &row.home,
            id: id.as_deref(),
            lease_s: None,
            stamp_us: row.written_at_us.unwrap_or(now_us),
            schema: self.0.tables.schema,
        });
        self.send(writes).await
    }

    async fn send<'a>(&self, writes: impl Iterator<Item = Write<'a>>) -> Result<(), StoreError> {
        let state = self.0.session.get_cluster_state();
        let batches = batched(writes, |write| self.server(&state, write));
        let batches = stream::iter(batches.into_iter().map(Ok));
        batches.try_for_each_concurrent(BATCHES_IN_FLIGHT_MAX, |batch| self.send_batch(batch)).await
    }

    /// A server that keeps the row, one of the preferred datacenter where there is one; 0 where none is known.
    fn server(&self, state: &ClusterState, write: &Write<'_>) -> u128 {
        let Inner { statements, tables, datacenter, .. } = &*self.0;
        let Ok(Some(token)) = statements.of(write).calculate_token(write) else { return 0 };
        let replicas = state.get_token_endpoints(&tables.keyspace, &tables.table, token);
        let is_near = |node: &Node| datacenter.is_some() && node.datacenter == *datacenter;
        let server = replicas.iter().find(|(node, _)| is_near(node)).or_else(|| replicas.first());
        server.map_or(0, |(node, _)| node.host_id.as_u128())
    }

    async fn send_batch(&self, writes: Vec<Write<'_>>) -> Result<(), StoreError> {
        let Inner { session, statements, tables, .. } = &*self.0;
        let statements = writes.iter().map(|write| BatchStatement::from(statements.of(write).clone())).collect();
        let batch = Batch::new_with_statements(BatchType::Unlogged, statements);
        session
            .batch(&batch, &writes)
            .await
            .map_err(|error| failed(format!("{tables}: rows were not written"), error))?;
        Ok(())
    }

    pub(super) async fn homes(&self, aor: &str) -> Result<Vec<Row>, StoreError> {
        let Inner { session, statements, tables, .. } = &*self.0;
        let failed = |error| failed(format!("{tables}: homes were not read"), error);
        let rows = self.rows(session.execute_unpaged(&statements.homes, (aor,)).await.map_err(failed)?)?;
        let mut homes = Vec::with_capacity(rows.rows_num());
        for row in rows.rows::<(Option<&str>, Option<i64>)>().map_err(|error| self.odd(error))? {
            let (home, written_at_us) = row.map_err(|error| self.odd(error))?;
            if let Some(home) = home {
                homes.push(Row { aor: aor.into(), home: home.into(), written_at_us });
            }
        }
        Ok(homes)
    }

    /// The rows of one home are picked from all of them here. The server would do it as well, but would search for as
    /// long as it takes to fill a page, which for a home of few rows is longer than any timeout.
    pub(super) async fn scan(
        &self,
        home: Option<&str>,
        page: Option<PageToken>,
        rows_max: usize,
    ) -> Result<(Vec<ScannedRow>, Option<PageToken>), StoreError> {
        let Inner { session, statements, tables, .. } = &*self.0;
        let mut statement = statements.scan.clone();
        statement.set_page_size(i32::try_from(rows_max).unwrap_or(i32::MAX));
        let from = page.map_or_else(PagingState::start, |PageToken(bytes)| PagingState::new_from_raw_bytes(bytes));
        let read = session.execute_single_page(&statement, (), from).await;
        let (result, next) = read.map_err(|error| failed(format!("{tables}: rows were not read"), error))?;
        let rows = self.rows(result)?;
        let mut found = Vec::with_capacity(rows.rows_num());
        let mut push = |aor: Option<&str>, in_home: Option<&str>, written_at_us, id: Option<&str>| {
            let in_home = in_home.unwrap_or_default();
            if home.is_none_or(|home| home == in_home) {
                let row = Row { aor: aor.unwrap_or_default().into(), home: in_home.into(), written_at_us };
                found.push(ScannedRow { row, id: id.map(Into::into) });
            }
        };
        match tables.schema {
            Schema::OpenSips => {
                type Raw<'r> = (Option<&'r str>, Option<&'r str>, Option<i64>, &'r str);
                for row in rows.rows::<Raw<'_>>().map_err(|error| self.odd(error))? {
                    let (aor, home, written_at_us, id) = row.map_err(|error| self.odd(error))?;
                    push(aor, home, written_at_us, Some(id));
                }
            }
            Schema::Native => {
                for row in rows.rows::<(&str, &str, Option<i64>)>().map_err(|error| self.odd(error))? {
                    let (aor, home, written_at_us) = row.map_err(|error| self.odd(error))?;
                    push(Some(aor), Some(home), written_at_us, None);
                }
            }
        }
        let next = match next.into_paging_control_flow() {
            ControlFlow::Continue(state) => state.as_bytes_slice().map(|bytes| PageToken((&**bytes).into())),
            ControlFlow::Break(()) => None,
        };
        Ok((found, next))
    }

    pub(super) async fn epochs(&self) -> Result<Vec<Epoch>, StoreError> {
        let Inner { session, statements, tables, .. } = &*self.0;
        let failed = |error| failed(format!("{tables}: epochs were not read"), error);
        let rows = self.rows(session.execute_unpaged(&statements.epochs, ()).await.map_err(failed)?)?;
        let mut epochs = Vec::with_capacity(rows.rows_num());
        for row in rows.rows::<(&str, Option<i64>)>().map_err(|error| self.odd(error))? {
            if let (home, Some(epoch_us)) = row.map_err(|error| self.odd(error))? {
                epochs.push(Epoch { home: home.into(), epoch_us });
            }
        }
        Ok(epochs)
    }

    pub(super) async fn set_epoch(&self, home: &str, epoch_us: i64, stamp_us: i64) -> Result<(), StoreError> {
        let Inner { session, statements, tables, .. } = &*self.0;
        let set = session.execute_unpaged(&statements.set_epoch, (stamp_us, epoch_us, home)).await;
        set.map_err(|error| failed(format!("{tables}: an epoch was not set"), error))?;
        Ok(())
    }

    /// Cassandra ends rows by itself.
    #[allow(clippy::unused_async, clippy::unused_self, clippy::unnecessary_wraps, reason = "other stores have to work")]
    pub(super) async fn sweep(&self, _: &str, _: i64) -> Result<u64, StoreError> {
        Ok(0)
    }

    pub(super) fn has_leases(&self) -> bool {
        self.0.lease_s > 0
    }

    #[allow(clippy::unused_self, reason = "the other stores' answer depends on their schema")]
    pub(super) const fn has_epochs(&self) -> bool {
        true
    }

    pub(super) fn pieces(&self) -> &[Piece] {
        &self.0.tables.pieces
    }

    pub(super) async fn inspect(&self) -> Result<Inspection, StoreError> {
        self.0.tables.inspect(&self.0.session).await
    }

    fn rows(&self, result: QueryResult) -> Result<QueryRowsResult, StoreError> {
        result.into_rows_result().map_err(|error| self.odd(error))
    }

    /// An answer that is not of the form that was asked for: somebody has changed the table.
    fn odd(&self, error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
        let tables = &self.0.tables;
        StoreError::refused(format!(
            "{tables}: the table is no longer what it was; restart the node to have it checked"
        ))
        .because(error)
    }
}

impl fmt::Debug for CassandraStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0.tables)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(aor: &str) -> Write<'_> {
        Write { aor, home: "192.0.2.1:5060", id: None, lease_s: Some(0), stamp_us: 1, schema: Schema::Native }
    }

    #[test]
    fn a_batch_is_for_one_server_and_bounded() {
        let aors: Vec<String> = (0..240).map(|n| format!("user{n}@example.com")).collect();
        let server = |write: &Write<'_>| (write.aor.len() % 3) as u128;
        let batches = batched(aors.iter().map(|aor| write(aor)), server);
        assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 240);
        for batch in &batches {
            assert!((1..=BATCH_ROWS_MAX).contains(&batch.len()));
            assert!(batch.iter().all(|write| server(write) == server(&batch[0])));
        }
        // 10 of one, 90 of another and 140 of the third length.
        assert_eq!(batches.len(), 1 + 2 + 3);
    }

    #[test]
    fn a_batch_of_long_names_stays_below_what_cassandra_takes() {
        let aor = "x".repeat(4000);
        let batches = batched((0..40).map(|_| write(&aor)), |_| 7);
        assert_eq!(batches.len(), 8);
        for batch in &batches {
            assert!(batch.iter().map(Write::bytes).sum::<usize>() <= BATCH_BYTES_MAX);
        }
    }
}
