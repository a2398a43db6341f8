//! The persistence log of a node: the directory that holds one log for each shard.
//!
//! # Rooms
//! - `directory`: the folder of a node: manifest, secret, lock, layouts.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod directory;

pub use directory::{DataDirectory, DirectoryError, Identity, Layout, Resharding};
