//! The global directory: in which node an address of record (AoR) is at home, for all nodes of a federation.
//!
//! Each node publishes rows (AoR, home) of its own AoRs in a store that all of them share, and asks it where the AoRs
//! of others are. A *home* is the address under which other nodes reach a node. The store is Cassandra or MongoDB,
//! in a schema of this project or in that of OpenSIPS, so that both can stand in one federation; or it is a map in
//! memory, for tests and for a node alone.
//!
//! [`keeper`] is the thread that does all of it for a running node: [`advertiser`] writes what has changed here (what
//! waits is a [`backlog`]), [`locator`] asks for the homes of others (as long as the [`breaker`] lets it), and
//! [`reconciler`] has the store say of this home what is so. [`statistics`] is what others see of it, [`inquiry`] what an
//! operator asks, and [`ambient`] what the keeper takes from around it.
//!
//! [`store`] says what a store does, [`url`] how it is named; one file each for [`memory`], [`cassandra`] and
//! [`mongodb`] does it, and `contract` holds all of them to the same behaviour. No other file knows a driver. [`given`] is a
//! store that comes from outside.

#![forbid(unsafe_code)]

#[cfg(all(test, feature = "servers"))]
mod adversity;
mod advertiser;
mod ambient;
mod backlog;
mod breaker;
#[cfg(feature = "servers")]
mod cassandra;
#[cfg(all(test, feature = "servers"))]
mod contract;
mod given;
mod inquiry;
mod keeper;
mod locator;
mod memory;
#[cfg(feature = "servers")]
mod mongodb;
mod reconciler;
mod spelling;
mod stamps;
mod statistics;
mod store;
mod url;

pub use advertiser::Backoff;
pub use ambient::Ambient;
pub use given::{Answering, GivenStore};
pub use inquiry::{Found, Inquirer};
pub use keeper::{ActivityWatch, Bell, Keeper, KeeperOptions, PeersSender};
pub use spelling::nearest;
pub use statistics::{Lag, Statistics};
pub use store::{
    Change, Epoch, Inspection, PageToken, Piece, PieceState, Row, ScannedRow, Schema, Store, StoreError, StoreOptions,
};
pub use url::{StoreUrl, UrlError, host_and_port, percent_decoded};

/// Chooses the library that does the cryptography of TLS, for the whole process; calling it again is harmless.
///
/// Without a choice rustls would guess, and would panic should a dependency ever bring a second library along.
#[cfg(feature = "servers")]
pub fn choose_cryptography() {
    // It fails where one was chosen already, which is then kept.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
