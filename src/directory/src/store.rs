//! What a store of the directory does, whichever it is.

#[cfg(feature = "servers")]
use super::cassandra::CassandraStore;
use super::given::GivenStore;
use super::memory::MemoryStore;
#[cfg(feature = "servers")]
use super::mongodb::MongoDbStore;
use super::url::StoreUrl;
use std::error::Error;
use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Rows that a store from outside takes in one request.
const GIVEN_BATCH_ROWS_MAX: usize = 4;

/// One AoR that has come to a home or left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `user@domain`, 1 to 256 bytes without a space.
    pub aor: Box<str>,
    /// Whether its row is to be there (`true`) or not.
    pub is_home: bool,
}

/// That an AoR is at home somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `user@domain`; empty where the row of an OpenSIPS table lacks it.
    pub aor: Box<str>,
    /// The address under which other nodes reach that node; empty where the row of an OpenSIPS table lacks it.
    pub home: Box<str>,
    /// When it was written, in microseconds since the Unix epoch; `None` where the schema does not keep it.
    pub written_at_us: Option<i64>,
}

/// A row as a scan sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannedRow {
    /// What it says.
    pub row: Row,
    /// Its key, where that repeats what the row says and may contradict it: always in OpenSIPS's schema, and for a row
    /// of another one only if it does contradict it.
    pub id: Option<Box<str>>,
}

/// Since when the rows of a home count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Whose rows.
    pub home: Box<str>,
    /// Microseconds since the Unix epoch; rows written before are void. `i64::MAX`: the home is gone for good.
    pub epoch_us: i64,
}

/// Where a scan goes on. It is good for the store that gave it, and for the same question only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageToken(pub(super) Box<[u8]>);

impl PageToken {
    /// One that means something to the store that makes it.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// What it was made of.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// How rows look in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Schema {
    /// This project's: no two rows can share a key, and each says when it was written.
    #[default]
    Native,
    /// Exactly OpenSIPS's `id, aor, home_ip`.
    OpenSips,
}

impl Schema {
    /// Its word in the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::OpenSips => "opensips",
        }
    }
}

/// How a store is used.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// How its rows look.
    pub schema: Schema,
    /// Whether tables and indexes that are missing are made.
    pub create: bool,
    /// How long one request may take.
    pub timeout: Duration,
    /// After how many seconds a row that is not written again ends by itself; 0 for never.
    pub lease_s: u32,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { schema: Schema::Native, create: true, timeout: Duration::from_secs(2), lease_s: 0 }
    }
}

/// A table or an index that a store consists of, as connecting with `create` has left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// What it is: `table k.t`, `index on aor`.
    pub what: String,
    /// Whether it had to be made.
    pub state: PieceState,
}

#[cfg(feature = "servers")]
impl Piece {
    pub(super) fn new(what: impl Into<String>, state: PieceState) -> Self {
        Self { what: what.into(), state }
    }
}

/// Where a [`Piece`] comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PieceState {
    /// It was there.
    WasThere,
    /// By this statement.
    Made(String),
    /// The server cannot have it, and the store does without it.
    Impossible,
}

/// What a store is found to be.
#[allow(clippy::struct_excessive_bools, reason = "each is an observation of its own")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Program and version.
    pub server: String,
    /// Whether the table or collection of rows exists.
    pub table_exists: bool,
    /// Its columns with their types; fields of one document for MongoDB. Sorted.
    pub columns: Vec<String>,
    /// Whether asking for an AoR uses an index or the key, and does not read the whole table.
    pub has_aor_index: bool,
    /// Whether the table or collection of epochs exists.
    pub epochs_exist: bool,
    /// Whether the store itself removes rows whose lease has ended.
    pub expires_by_itself: bool,
}

/// Why a store did not do what it was asked; the caller chooses by the variant, and tells the text.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection, no answer in time, or too much load: the same may succeed later.
    #[error("{what}")]
    Unavailable {
        /// What was tried, where.
        what: String,
        /// What the driver says.
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// The store answers, and will give the same answer again until an operator acts: schema, rights, credentials.
    #[error("{what}")]
    Refused {
        /// What is wrong, where, and what to do.
        what: String,
        /// What the driver says.
        source: Option<Box<dyn Error + Send + Sync>>,
    },
}

impl StoreError {
    /// Something that may pass.
    pub fn unavailable(what: impl Into<String>) -> Self {
        Self::Unavailable { what: what.into(), source: None }
    }

    /// Something that somebody has to act on.
    pub fn refused(what: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), source: None }
    }

    /// The same, because of `source`.
    pub(super) fn because(self, source: impl Error + Send + Sync + 'static) -> Self {
        let source: Option<Box<dyn Error + Send + Sync>> = Some(Box::new(source));
        match self {
            Self::Unavailable { what, .. } => Self::Unavailable { what, source },
            Self::Refused { what, .. } => Self::Refused { what, source },
        }
    }

    /// Whether the same may succeed later, without anybody's help.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// The text with all that it comes from, on one line.
    pub fn told(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        let mut last = String::new();
        while let Some(error) = cause {
            let said = error.to_string().replace('\n', " ");
            // Drivers repeat the text of their causes in their own.
            if !last.contains(&said) {
                // Writing to a string cannot fail.
                let _ = write!(text, ": {said}");
                last = said;
            }
            cause = error.source();
        }
        text
    }
}

/// A connected store. A clone is the same store.
#[derive(Clone)]
pub enum Store {
    /// A map in this process.
    Memory(MemoryStore),
    /// One that does not come from here.
    Given(Arc<dyn GivenStore>),
    /// Apache Cassandra, or what speaks its protocol.
    #[cfg(feature = "servers")]
    Cassandra(CassandraStore),
    /// MongoDB, or what speaks its protocol.
    #[cfg(feature = "servers")]
    MongoDb(MongoDbStore),
}

/// Calls the method of the store that there is.
macro_rules! of {
    ($store:expr, $inner:ident => $call:expr) => {
        match $store {
            Store::Memory($inner) => $call,
            Store::Given($inner) => $call,
            #[cfg(feature = "servers")]
            Store::Cassandra($inner) => $call,
            #[cfg(feature = "servers")]
            Store::MongoDb($inner) => $call,
        }
    };
}

impl Store {
    /// Connects, and makes what is missing or, without `create`, says what it is.
    ///
    /// Whether the store is there is known within five seconds, or two and a half times the timeout of a request where
    /// that is longer; making tables may take half a minute. Afterwards connections that are lost come back by
    /// themselves.
    #[cfg_attr(not(feature = "servers"), allow(clippy::unused_async, reason = "memory is there at once"))]
    pub async fn connect(url: &StoreUrl, options: &StoreOptions) -> Result<Self, StoreError> {
        #[cfg(feature = "servers")]
        super::choose_cryptography();
        Ok(match url {
            StoreUrl::Memory => Self::Memory(MemoryStore::new(options)),
            #[cfg(feature = "servers")]
            StoreUrl::Cassandra(url) => Self::Cassandra(CassandraStore::connect(url, options).await?),
            #[cfg(feature = "servers")]
            StoreUrl::MongoDb(url) => Self::MongoDb(MongoDbStore::connect(url, options).await?),
            #[cfg(not(feature = "servers"))]
            StoreUrl::Cassandra(_) | StoreUrl::MongoDb(_) => {
                return Err(StoreError::refused("this program was built without the drivers of Cassandra and MongoDB"));
            }
        })
    }

    /// Reaches one that comes from outside, where it may be away; what [`Store::connect`] has made was reached with that.
    pub(super) async fn reach(&self) -> Result<(), StoreError> {
        if let Self::Given(store) = self { store.reach().await } else { Ok(()) }
    }

    /// Puts and removes rows of `home`; an AoR stands at most once in `changes`.
    ///
    /// `stamp_us` is the time in microseconds since the Unix epoch, and rises with every write of this home. A write
    /// with an older stamp does not undo a newer one where the store can see that: Cassandra and memory always,
    /// MongoDB in the native schema unless the newer one was a removal.
    ///
    /// All is done, or an error told; then a part may be done, and repeating all of it with the same stamp or a newer
    /// one is harmless.
    pub async fn write(&self, home: &str, changes: &[Change], stamp_us: i64) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        of!(self, store => store.write(home, changes, stamp_us).await)
    }

    /// How many changes travel in one request; a write of that many, or of a few times that many, serves best.
    pub const fn batch_rows_max(&self) -> usize {
        match self {
            Self::Memory(_) => 1000,
            Self::Given(_) => GIVEN_BATCH_ROWS_MAX,
            #[cfg(feature = "servers")]
            Self::Cassandra(_) => super::cassandra::BATCH_ROWS_MAX,
            #[cfg(feature = "servers")]
            Self::MongoDb(_) => super::mongodb::BATCH_ROWS_MAX,
        }
    }

    /// All homes of an AoR, in no order. Rows whose lease has ended are left out; epochs are the caller's to regard.
    pub async fn homes(&self, aor: &str) -> Result<Vec<Row>, StoreError> {
        of!(self, store => store.homes(aor).await)
    }

    /// A page of all rows, or of those of one home, and where the next page begins; `None` after the last.
    ///
    /// A page may hold fewer rows than `rows_max`, and none at all, although more follow. A row that is written
    /// meanwhile may be seen or not, one that stays is seen once.
    pub async fn scan(
        &self,
        home: Option<&str>,
        page: Option<PageToken>,
        rows_max: usize,
    ) -> Result<(Vec<ScannedRow>, Option<PageToken>), StoreError> {
        of!(self, store => store.scan(home, page, rows_max.max(1)).await)
    }

    /// Removes rows that a scan has shown. One that has been written again since then stays.
    pub async fn delete_rows(&self, rows: &[ScannedRow]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        of!(self, store => store.delete_rows(rows).await)
    }

    /// The epochs of all homes that have one; none where the schema keeps none.
    pub async fn epochs(&self) -> Result<Vec<Epoch>, StoreError> {
        of!(self, store => store.epochs().await)
    }

    /// Says since when the rows of `home` count. A setting with an older stamp does not undo a newer one.
    ///
    /// [`StoreError::Refused`] where the schema keeps no epochs.
    pub async fn set_epoch(&self, home: &str, epoch_us: i64, stamp_us: i64) -> Result<(), StoreError> {
        of!(self, store => store.set_epoch(home, epoch_us, stamp_us).await)
    }

    /// Removes rows of `home` whose lease had ended at `now_us`, where the store may not do so by itself; how many.
    pub async fn sweep(&self, home: &str, now_us: i64) -> Result<u64, StoreError> {
        of!(self, store => store.sweep(home, now_us).await)
    }

    /// Whether rows end by themselves when they are not written again.
    pub fn has_leases(&self) -> bool {
        of!(self, store => store.has_leases())
    }

    /// Whether the schema keeps epochs.
    pub fn has_epochs(&self) -> bool {
        of!(self, store => store.has_epochs())
    }

    /// What connecting with `create` found and made; nothing without it.
    pub fn pieces(&self) -> &[Piece] {
        match self {
            Self::Memory(_) | Self::Given(_) => &[],
            #[cfg(feature = "servers")]
            Self::Cassandra(store) => store.pieces(),
            #[cfg(feature = "servers")]
            Self::MongoDb(store) => store.pieces(),
        }
    }

    /// What server, tables and indexes there are. It tells of what is missing, and makes nothing.
    pub async fn inspect(&self) -> Result<Inspection, StoreError> {
        of!(self, store => store.inspect().await)
    }
}

impl fmt::Debug for Store {
    /// Where it is, without credentials.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        of!(self, store => fmt::Debug::fmt(store, formatter))
    }
}

/// The wall clock in microseconds since the Unix epoch; 0 for a clock that stands before it.
pub(super) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// How long reaching a store may take.
#[cfg(feature = "servers")]
pub(super) fn connect_timeout(options: &StoreOptions) -> Duration {
    (options.timeout * 5 / 2).max(Duration::from_secs(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_its_causes_once() {
        let inner = std::io::Error::other("connection refused");
        let error = StoreError::unavailable("no answer from 192.0.2.1:9042").because(inner);
        assert!(error.is_passing());
        assert_eq!(error.told(), "no answer from 192.0.2.1:9042: connection refused");
        assert!(!StoreError::refused("no such table").is_passing());
    }

    #[test]
    fn a_store_can_be_handed_to_another_thread() {
        fn check<T: Send + Sync + Clone + 'static>() {}
        check::<Store>();
    }

    #[test]
    fn a_request_can_be_handed_to_another_thread() {
        fn check(_: &impl Send) {}
        let (url, options) = (StoreUrl::Memory, StoreOptions::default());
        check(&Store::connect(&url, &options));
        let store = Store::Memory(MemoryStore::new(&options));
        check(&store.write("192.0.2.1", &[], 0));
        check(&store.homes("alice@example.com"));
        check(&store.scan(None, None, 1));
        check(&store.delete_rows(&[]));
        check(&store.epochs());
        check(&store.set_epoch("192.0.2.1", 0, 0));
        check(&store.sweep("192.0.2.1", 0));
        check(&store.inspect());
    }
}
