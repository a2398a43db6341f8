//! Phones behind NATs, and the pings of real daemons: over loopback, through a real NAT in network namespaces, and from pairs of
//! which only the active node pings. What needs namespaces needs root.

#[path = "nat/behind.rs"]
mod behind;
#[path = "sipp/daemon.rs"]
mod daemon;
#[allow(dead_code, reason = "nothing is asked for here that is no JSON")]
#[path = "management/http.rs"]
mod http;
#[allow(dead_code, reason = "here nobody asks what it has written")]
#[path = "failover/keepalived.rs"]
mod keepalived;
#[path = "nat/life.rs"]
mod life;
#[path = "nat/natted.rs"]
mod natted;
#[allow(dead_code, reason = "here nobody measures when the kernel tells of an address")]
#[path = "failover/network.rs"]
mod network;
#[allow(dead_code, reason = "here the address never stays where it is by wish")]
#[path = "failover/pair.rs"]
mod pair;
#[path = "nat/passive.rs"]
mod passive;
#[allow(dead_code, reason = "who is called here is behind a NAT")]
#[path = "federation/phone.rs"]
mod phone;
#[allow(dead_code, reason = "here is one node with one store")]
#[path = "federation/pop.rs"]
mod pop;
#[path = "stores/real.rs"]
mod real;
#[path = "nat/router.rs"]
mod router;
#[allow(dead_code, reason = "here rows are only looked at")]
#[path = "federation/rows.rs"]
mod rows;
#[path = "sipp/tool.rs"]
mod tool;

use daemon::{Daemon, LOOK_INTERVAL, PATIENCE, Start, folder, total};

/// All phones are pinged every second.
const EVERY_SECOND: &str = "[nat]\nping_interval_s = 1\n";
