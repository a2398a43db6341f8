//! A network of its own: hosts in network namespaces, at one switch. Nothing of it is seen outside, and all of it goes with
//! the test.

use super::tool;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Network {
    /// What the names of its namespaces begin with.
    name: String,
}

/// One host of the network. Whoever holds it holds on to nothing: it goes with the network.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    namespace: String,
    number: u8,
}

/// The IPv4 address of the network with that number.
pub(crate) fn address(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 77, 0, number).into()
}

/// The IPv6 address of the network with that number.
pub(crate) fn address_v6(number: u8) -> IpAddr {
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, number.into()).into()
}

/// With the length of the network's prefix.
fn with_prefix(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 24 } else { 64 })
}

/// Whether networks can be made here; where they cannot, the test is skipped.
pub(crate) fn is_possible(test: &str) -> bool {
    if !tool::is_installed(test, "ip", "iproute2") {
        return false;
    }
    // The owner of its own entry in /proc is the user that a process runs as.
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0);
    if !is_root {
        tool::skip(test, "network namespaces are made by root");
    }
    is_root
}

/// Runs `ip`, which has to succeed.
#[track_caller]
pub(crate) fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {told}", arguments.join(" "));
}

impl Network {
    /// A switch without hosts.
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("sipfed-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let network = Self { name };
        let switch = network.switch();
        ip(&["netns", "add", &switch]);
        // Every frame for many hosts goes to all of them at once.
        ip(&["-n", &switch, "link", "add", "switch", "type", "bridge", "mcast_snooping", "0"]);
        ip(&["-n", &switch, "link", "set", "switch", "up"]);
        network
    }

    fn switch(&self) -> String {
        format!("{}-switch", self.name)
    }

    /// A new host with the addresses of that number.
    pub(crate) fn host(&self, number: u8) -> Host {
        let (switch, port) = (self.switch(), format!("port{number}"));
        let host = self.lone_host(number);
        let namespace = &host.namespace;
        ip(&["-n", &switch, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", namespace]);
        ip(&["-n", &switch, "link", "set", &port, "master", "switch", "up"]);
        ip(&["-n", namespace, "link", "set", "eth0", "up"]);
        host.set_address(address(number), true);
        host.set_address(address_v6(number), true);
        host
    }

    /// A new host that is not at the switch.
    pub(crate) fn lone_host(&self, number: u8) -> Host {
        let host = Host { namespace: format!("{}-{number}", self.name), number };
        ip(&["netns", "add", &host.namespace]);
        ip(&["-n", &host.namespace, "link", "set", "lo", "up"]);
        host
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let Ok(list) = Command::new("ip").args(["netns", "list"]).output() else { return };
        let list = String::from_utf8_lossy(&list.stdout).into_owned();
        let own = format!("{}-", self.name);
        for namespace in list.lines().filter_map(|line| line.split(' ').next()).filter(|name| name.starts_with(&own)) {
            // What is left behind would only take up names.
            let _ = Command::new("ip").args(["netns", "delete", namespace]).status();
        }
    }
}

impl Host {
    /// The name of its network namespace.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// What a command begins with that is to run there, with `exec`.
    pub(crate) fn within(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.namespace]
    }

    /// A command that runs there.
    pub(crate) fn command(&self, program: &str) -> Command {
        let [first, rest @ ..] = self.within();
        let mut command = Command::new(first);
        command.args(rest).arg(program);
        command
    }

    /// A socket there for the test itself, which reaches that address.
    pub(crate) fn socket_to(&self, other: IpAddr) -> UdpSocket {
        let own = if other.is_ipv4() { address(self.number) } else { address_v6(self.number) };
        self.make_there(move || UdpSocket::bind(SocketAddr::new(own, 0)).unwrap())
    }

    /// Has whoever connects there be connected with a server of this host instead.
    pub(crate) fn lead_to(&self, server: SocketAddr) -> SocketAddr {
        let at = SocketAddr::new(address(self.number), server.port());
        let listener = self.make_there(move || TcpListener::bind(at).unwrap());
        // Ends with the test.
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(server) else { continue };
                for (mut from, mut to) in [(&near, &far), (&far, &near)]
                    .map(|(from, to)| (from.try_clone().unwrap(), to.try_clone().unwrap()))
                {
                    std::thread::spawn(move || {
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        at
    }

    /// What belongs to the network of the host because it was made there.
    pub(crate) fn make_there<T: Send + 'static>(&self, make: impl FnOnce() -> T + Send + 'static) -> T {
        let path = format!("/run/netns/{}", self.namespace);
        // A thread goes there and does not come back; what it has made does.
        let made = std::thread::spawn(move || {
            let namespace = File::open(path).unwrap();
            let network = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(network)).unwrap();
            make()
        });
        made.join().unwrap()
    }

    /// Gives it another address, or takes that away.
    pub(crate) fn set_address(&self, address: IpAddr, is_there: bool) {
        let address = with_prefix(address);
        let mut change = vec!["-n", &self.namespace, "address", if is_there { "add" } else { "delete" }];
        change.extend([&*address, "dev", "eth0"]);
        if is_there && address.contains(':') {
            // As keepalived does: nobody else has it, and it is wanted at once.
            change.push("nodad");
        }
        ip(&change);
    }

    /// Has it find out anew which host has an address, as it does when keepalived announces that.
    pub(crate) fn forget_who_has(&self, address: IpAddr) {
        ip(&["-n", &self.namespace, "neighbour", "flush", "to", &address.to_string()]);
    }

    /// What the kernel says of its addresses from now on.
    pub(crate) fn watch(&self) -> AddressEvents {
        let mut child = self
            .command("ip")
            .args(["-tshort", "-oneline", "monitor", "address"])
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, events) = mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let watch = AddressEvents { child, events };
        // It is subscribed once it tells of a change.
        let (probe, end) = (Ipv4Addr::new(192, 0, 2, 77).into(), Instant::now() + super::PATIENCE);
        loop {
            self.set_address(probe, true);
            let seen = watch.events.recv_timeout(super::LOOK_INTERVAL);
            self.set_address(probe, false);
            if seen.is_ok() {
                return watch;
            }
            assert!(Instant::now() < end, "`ip monitor` tells of nothing: {seen:?}");
        }
    }
}

/// See [`Host::watch`].
#[derive(Debug)]
pub(crate) struct AddressEvents {
    child: Child,
    events: Receiver<String>,
}

impl AddressEvents {
    /// When the host next got the address, or lost it: the microsecond of the day.
    pub(crate) fn next(&self, address: IpAddr, is_there: bool) -> u64 {
        let text = format!(" {address}/");
        loop {
            let event = self.events.recv_timeout(super::PATIENCE).expect("the kernel tells of the address in time");
            let has_gone = event.contains("Deleted ");
            if event.contains(&text) && has_gone != is_there {
                return microsecond(&event);
            }
        }
    }
}

impl Drop for AddressEvents {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The microsecond of the day that stands in a line: what follows the `T` of its first date.
pub(crate) fn microsecond(line: &str) -> u64 {
    let time = line.split(['[', '"']).find_map(|word| {
        let (date, time) = word.split_once('T')?;
        (date.len() == 10 && date.starts_with("20")).then_some(time)
    });
    let time = time.unwrap_or_else(|| panic!("no time in {line}"));
    let digits = |from: usize, to: usize| time[from..to].parse::<u64>().unwrap();
    (digits(0, 2) * 3600 + digits(3, 5) * 60 + digits(6, 8)) * 1_000_000 + digits(9, 15)
}
