//! Who may connect by WebSocket, and the bounds of how a connection becomes one.

use super::forms;
use super::key::{Key, Kind, Unit};
use super::node::NodeConfig;
use std::sync::Arc;

/// Its name in the file.
pub(super) const SECTION: &str = "ws";

/// Origins that one node may name.
const ORIGINS_COUNT_MAX: usize = 64;

/// Every key of the section.
pub(super) const KEYS: &[Key<NodeConfig>] = &[
    Key {
        section: SECTION,
        name: "origins",
        what: "Where pages come from that may connect, as browsers say it in Origin. Left out: from anywhere. A client that \
               says none is no browser, and is not asked.",
        kind: Kind::List {
            form: "\"https://host\" or \"https://host:port\"",
            count_max: ORIGINS_COUNT_MAX,
            get: |config| config.sockets.websocket.origins.to_vec(),
            clear: |config| config.sockets.websocket.origins = Arc::default(),
            add: |config, text| {
                let origins = &mut config.sockets.websocket.origins;
                *origins = origins.iter().cloned().chain([forms::origin(text)?]).collect();
                Ok(())
            },
        },
    },
    Key {
        section: SECTION,
        name: "upgrade_timeout_ms",
        what: "How long the request for a WebSocket may take to come, once a connection is there and within TLS where it has to be.",
        kind: Kind::Number {
            min: 100,
            max: 60_000,
            unit: Unit::Milliseconds,
            get: |config| Some(config.sockets.websocket.upgrade_timeout_ms.into()),
            set: |config, value| config.sockets.websocket.upgrade_timeout_ms = value as u32,
        },
    },
    Key {
        section: SECTION,
        name: "upgrades_per_shard_max",
        what: "Connections of one shard that wait for their request; one beyond is closed at once.",
        kind: Kind::Number {
            min: 1,
            max: 1_000_000,
            unit: Unit::Things,
            get: |config| Some(config.sockets.websocket.upgrades_per_shard_max.into()),
            set: |config, value| config.sockets.websocket.upgrades_per_shard_max = value as u32,
        },
    },
];
