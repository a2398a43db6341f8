//! The global directory: in which node an address of record (AoR) is at home, for all nodes of a federation.
//!
//! Each node publishes rows (AoR, home) of its own AoRs in a store that all of them share, and asks it where the AoRs
//! of others are. A *home* is the address under which other nodes reach a node. The store is Cassandra or MongoDB,
//! in a schema of this project or in that of OpenSIPS, so that both can stand in one federation; or it is a map in
//! memory, for tests and for a node alone.
//!
//! [`keeper`] is the thread that does all of it for a running node: [`advertiser`] writes what has changed here (what
//! waits is a [`backlog`]), [`locator`] asks for the homes of others (as long as the [`breaker`] lets it), and
//! [`reconciler`] has the store say of this home what is so. [`statistics`] is what others see of it.
//!
//! [`store`] says what a store does, [`url`] how it is named; one file each for [`memory`], [`cassandra`] and
//! [`mongodb`] does it, and `contract` holds all of them to the same behaviour. No other file knows a driver.

#[cfg(test)]
mod adversity;
mod advertiser;
mod backlog;
mod breaker;
pub(crate) mod cassandra;
#[cfg(test)]
mod contract;
mod keeper;
mod locator;
pub(crate) mod memory;
pub(crate) mod mongodb;
mod reconciler;
mod statistics;
pub(crate) mod store;
pub(crate) mod url;

pub(crate) use advertiser::Backoff;
pub(crate) use keeper::{Bell, Keeper, KeeperOptions, PeersSender};
pub(crate) use statistics::Statistics;
pub(crate) use store::{
    Change, Epoch, Inspection, PageToken, Piece, PieceState, Row, ScannedRow, Schema, Store, StoreError, StoreOptions,
};
pub(crate) use url::{StoreUrl, UrlError, host_and_port, percent_decoded};

/// Chooses the library that does the cryptography of TLS, for the whole process; calling it again is harmless.
///
/// Without a choice rustls would guess, and would panic should a dependency ever bring a second library along.
pub(crate) fn choose_cryptography() {
    // It fails where one was chosen already, which is then kept.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
