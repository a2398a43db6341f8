//! The bindings of a shard (RFC 3261 §10), and the one door to them.
//!
//! # Contract
//! [`Location::apply`] is the only way in: a REGISTER, an expiry, a lost connection, and later a log, a
//! replica or a sync all say what they do as an [`Op`]. Whether it may be done was decided before, by the
//! registrar; `apply` does it. Reading is by [`Location::find`].
//!
//! Owned by one shard, never shared. Bounded by `registrar.bindings_per_shard_max` and
//! [`crate::limits::AOR_RECORD_BYTES_MAX`] per AoR; both are the registrar's to keep. What an AoR remembers of removals is
//! bounded here, by [`crate::limits::AOR_REMOVALS_COUNT_MAX`] and [`crate::limits::AOR_REMOVALS_BYTES_MAX`].
//!
//! # How it is stored
//! One allocation per AoR: a packed [`record::Record`] with the AoR and all its bindings. A refresh that
//! changes only times, CSeq and branch is written into it in place. Records lie in a slab; an index of small
//! hash tables leads to them, so that none of them is ever large enough for its growth to be felt. Each
//! record has one deadline in the wheel, for the binding that ends first; a refresh leaves it alone, and when
//! it fires too early it is set anew. One whose bindings are pinged has another for that.

mod health;
mod homes;
pub(crate) mod journal;
mod local_addresses;
mod naming;
mod op;
mod page;
mod pings;
mod record;
mod removals;
mod replica;
mod stamp;
mod table;

pub(crate) use health::Health;
pub use naming::Matching;
pub(crate) use naming::{KnownBy, Named};
pub use op::Ping;
pub(crate) use op::{Bind, Cause, Op, Refresh, Unbind};
pub use page::Page;
pub(crate) use record::{Binding, BindingFlags, Record};
pub use replica::Held;
pub use stamp::Stamp;
pub(crate) use table::{AorKey, Location, RecordId};
