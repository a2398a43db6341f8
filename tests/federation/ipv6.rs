//! Homes of IPv6.

use super::daemon::{Daemon, Start, total};
use super::phone::Phone;
use super::pop::Federation;
use std::net::SocketAddr;

/// Ports of this process: there is one address of IPv6 that every machine has, and nodes of two tests may want it.
fn ports() -> [u16; 2] {
    let first = 12_000 + (std::process::id() % 4000) as u16 * 2;
    [first, first + 1]
}

#[test]
fn a_home_of_ipv6_is_called_and_knows_its_peers() {
    let federation = Federation::new("cassandra native", 2);
    let ports = ports();
    let homes = ports.map(|port| SocketAddr::new("::1".parse().unwrap(), port));
    let start = |node: usize| -> Daemon {
        let mut file = federation.file(node, "");
        for (old, new) in federation.homes.iter().zip(homes) {
            file = file.replace(&format!("\"{old}\""), &format!("\"{new}\""));
        }
        // Phones and callers come by IPv4, since every address of IPv6 on this machine is that of a peer.
        let at = SocketAddr::new(federation.homes[node], ports[node]);
        Daemon::start(&Start { at, also: &[&format!("udp:{}", homes[node])], file: &file, ..Start::default() })
    };
    let [mut a, mut b] = [0, 1].map(start);
    let bob = Phone::new("127.0.0.1");
    bob.register(a.udp, "bob", 600);
    a.wait_for_directory("bob is published", |directory| directory.count("published") >= 1);
    b.wait_for_directory("the store is there", |directory| directory.count("reconciles") > 0);
    assert_eq!(federation.rows().aors_at(&homes[0]).len(), 1);
    let caller = Phone::new("127.0.0.1");
    caller.call(b.udp, "bob");
    let ringing = bob.rings();
    let vias: Vec<&str> = ringing.0.fields("Via").collect();
    assert!(vias[1].starts_with(&format!("SIP/2.0/UDP {};", homes[1])), "{vias:#?}");
    bob.answer(&ringing, 200);
    assert_eq!(caller.outcome().status(), 200);
    assert_eq!(total(&a.reports(), "requests_from_peers"), 1);
    assert_eq!(total(&a.reports(), "lookups_asked"), 0);
    // A caller at an address of IPv6 that is a peer's is looked up here alone, at any port.
    Phone::new("::1").call_fails(homes[0], "nobody", 404);
    assert_eq!(total(&a.reports(), "requests_from_peers"), 2);
    a.stop();
    b.stop();
}
