//! What a world is made of: links between its nodes, the checker of its bindings, and the settings of each node.

use super::{Defect, EXPIRES_S_MAX, Home, PING_INTERVAL_S};
use crate::ledger::Ledger;
use crate::link::Link;
use crate::node::Node;
use crate::profile::{Plan, Trouble};
use crate::sip::DOMAIN;
use sipfed_nodes::pulse::Rhythm;
use sipfed_proto::settings::{DirectorySettings, NatSettings, Ping, PingSettings, RegistrarSettings};
use sipfed_proto::{Listener, Settings, Transport};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

/// The checker of bindings, before anything has happened.
pub(super) fn ledger(homes: &[Home], plan: &Plan) -> Ledger {
    let pauses = plan.troubles.contains(&Trouble::Pause);
    let settle_ms = 2 * plan.delay_ms_max + 200 + if pauses { 7000 } else { 0 };
    let mut ledger = Ledger::new(homes.iter().map(|home| home.nodes.clone()).collect(), settle_ms, plan.skew_ms_max);
    // Every second one is behind a NAT.
    for phone in (0..plan.phones_count).filter(|number| plan.ends_unanswered() && !number.is_multiple_of(2)) {
        ledger.may_end(phone);
    }
    ledger
}

/// A link between any two nodes.
pub(super) fn links_between(nodes: &[Node], rhythm: Rhythm, now: Instant) -> Vec<Link> {
    let pairs = (0..nodes.len()).flat_map(|a| (a + 1..nodes.len()).map(move |b| [a, b]));
    let link =
        |pair: [usize; 2]| Link::new(pair, nodes[pair[0]].identity.home == nodes[pair[1]].identity.home, rhythm, now);
    pairs.map(link).collect()
}

/// A home as it is published.
pub(super) fn home_name(addr: SocketAddr) -> String {
    addr.ip().to_string()
}

pub(super) fn settings(home: SocketAddr, plan: &Plan, defect: Defect) -> Settings {
    let is_known = defect != Defect::PeersUnknown;
    Settings {
        domains: vec![DOMAIN.to_owned()],
        listeners: [Transport::Udp, Transport::Tcp].map(|transport| Listener { transport, addr: home }).to_vec(),
        own_addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST), home.ip()],
        registrar: RegistrarSettings {
            min_expires_s: 10,
            max_expires_s: EXPIRES_S_MAX,
            ..RegistrarSettings::default()
        },
        directory: Some(DirectorySettings {
            home: home_name(home),
            secret: (plan.is_marked && is_known).then(|| "a secret of all nodes".to_owned()),
            ..DirectorySettings::default()
        }),
        nat: NatSettings {
            ping: PingSettings {
                interval_s: PING_INTERVAL_S,
                kind: if defect == Defect::SilentStay { Ping::default() } else { plan.ping },
                ..PingSettings::default()
            },
            ..NatSettings::default()
        },
        ..Settings::default()
    }
}
