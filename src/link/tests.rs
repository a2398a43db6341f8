//! Links of several nodes in one process, over loopback, by certificates and by a secret.

mod asking;
mod meetings;
mod nodes;
mod payloads;
mod stranger;

pub(super) use nodes::{id, node, topology};
