//! TLS with the real daemon: phones that connect to it, and peers that it connects to.

#[path = "sipp/daemon.rs"]
mod daemon;
#[path = "names/dns.rs"]
mod dns;
#[path = "tls/hostile.rs"]
mod hostile;
#[path = "tls/node.rs"]
mod node;
#[path = "tls/peers.rs"]
mod peers;
#[path = "tls/phones.rs"]
mod phones;
#[path = "tls/shown.rs"]
mod shown;
#[path = "tls/sips.rs"]
mod sips;
