//! A real NAT: a router between the network and one host behind it, whose mappings end soon.

use super::network::{self, Host, Network, ip};
use super::{LOOK_INTERVAL, PATIENCE, tool};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// For how long a mapping is kept that nothing uses.
pub(crate) const MAPPING_KEPT: Duration = Duration::from_secs(3);

/// Where the router and the host behind it have each other.
const ROUTER_INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
const INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);

/// What a NAT makes of the port of who is behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ports {
    /// It stays where nobody else has it.
    Kept,
    /// It is another one for each whom the host talks to.
    Symmetric,
}

/// See the module's documentation. Nothing reaches the host but answers to what it has sent.
#[derive(Debug)]
pub(crate) struct Nat {
    router: Host,
    inside: Host,
}

/// Whether there can be one here; where there cannot, the test is skipped.
pub(crate) fn is_possible(test: &str) -> bool {
    network::is_possible(test) && tool::is_installed(test, "nft", "nftables")
}

#[track_caller]
fn run(command: &mut Command, input: &str) -> String {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

impl Nat {
    /// One whose router has the address of that number in the network.
    pub(crate) fn new(network: &Network, number: u8, ports: Ports) -> Self {
        let (router, inside) = (network.host(number), network.lone_host(number + 1));
        let (far, near) = (router.namespace(), inside.namespace());
        ip(&["-n", far, "link", "add", "inside", "type", "veth", "peer", "name", "eth0", "netns", near]);
        ip(&["-n", far, "address", "add", &format!("{ROUTER_INSIDE}/24"), "dev", "inside"]);
        ip(&["-n", near, "address", "add", &format!("{INSIDE}/24"), "dev", "eth0"]);
        ip(&["-n", far, "link", "set", "inside", "up"]);
        ip(&["-n", near, "link", "set", "eth0", "up"]);
        ip(&["-n", near, "route", "add", "default", "via", &ROUTER_INSIDE.to_string()]);
        let nat = Self { router, inside };
        nat.set("ipv4/ip_forward", 1);
        let masquerade = match ports {
            Ports::Kept => "masquerade",
            Ports::Symmetric => "meta l4proto { tcp, udp } masquerade to :20000-20999 fully-random",
        };
        // What comes for nobody is counted, and told to nobody, as routers at home do.
        let rules = format!(
            "table ip sipfed {{\n counter turned_away {{ }}\n \
             chain outward {{\n  type nat hook postrouting priority srcnat;\n  oifname \"eth0\" {masquerade}\n }}\n \
             chain to_itself {{\n  type filter hook input priority filter;\n  \
             iifname \"eth0\" meta l4proto {{ tcp, udp }} counter name \"turned_away\" drop\n }}\n}}\n"
        );
        run(nat.router.command("nft").args(["-f", "-"]), &rules);
        for kind in ["udp_timeout", "udp_timeout_stream", "tcp_timeout_established", "tcp_timeout_unacknowledged"] {
            nat.set(&format!("netfilter/nf_conntrack_{kind}"), MAPPING_KEPT.as_secs());
        }
        nat
    }

    /// Sets a key of the router's kernel.
    fn set(&self, key: &str, value: u64) {
        run(self.router.command("tee").arg(format!("/proc/sys/net/{key}")), &value.to_string());
    }

    /// The host behind it, and its address there.
    pub(crate) fn inside(&self) -> (&Host, IpAddr) {
        (&self.inside, INSIDE.into())
    }

    /// Waits until it lets nothing through any more.
    pub(crate) fn wait_until_closed(&self) {
        let end = Instant::now() + PATIENCE;
        loop {
            let mappings = run(self.router.command("cat").arg("/proc/net/nf_conntrack"), "");
            if !mappings.contains(&format!("src={INSIDE} ")) {
                return;
            }
            assert!(Instant::now() < end, "the NAT stays open:\n{mappings}");
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// How many packets have come that were for nobody.
    fn turned_away(&self) -> u64 {
        let told = run(self.router.command("nft").args(["list", "counter", "ip", "sipfed", "turned_away"]), "");
        let (_, rest) = told.split_once("packets ").unwrap_or_else(|| panic!("no count in {told}"));
        rest.split(' ').next().unwrap().parse().unwrap()
    }

    /// Waits until something has come for nobody because of what `cause` does.
    pub(crate) fn turns_away(&self, cause: impl FnOnce()) {
        let (before, end) = (self.turned_away(), Instant::now() + PATIENCE);
        cause();
        while self.turned_away() == before {
            assert!(Instant::now() < end, "nothing comes to the NAT");
            std::thread::sleep(LOOK_INTERVAL);
        }
    }
}
