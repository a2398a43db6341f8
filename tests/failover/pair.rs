//! Two nodes with one home: each on a host of its own, with a data directory of its own, and a keepalived beside it.

use super::keepalived::{self, Keepalived};
use super::network::{self, Host, Network};
use super::{Daemon, Start, folder};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Where its nodes stand, and what they are told.
#[derive(Debug)]
pub(crate) struct Pair {
    /// The address that moves between them.
    pub(crate) home: IpAddr,
    pub(crate) members: [Member; 2],
    folder: PathBuf,
}

/// A node of a pair, be it running or not.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) host: Host,
    number: u8,
    file: String,
    folder: PathBuf,
}

impl Pair {
    /// A pair whose nodes have these numbers, on hosts with the addresses of these numbers. `cluster` are keys of their
    /// cluster, `others` `[[cluster.node]]`s beside them, and more of the file, such as a directory.
    pub(crate) fn new(network: &Network, numbers: [u8; 2], home: IpAddr, cluster: &str, others: &str) -> Self {
        let folder = folder();
        let node = |number: u8| {
            let ip = network::address(number);
            format!("[[cluster.node]]\nnode_id = {number}\nurl = \"bin:{ip}\"\nsip_addr = \"{home}\"\nseed = true\n")
        };
        let nodes = format!("{}{}{others}", node(numbers[0]), node(numbers[1]));
        let members = numbers.map(|number| {
            let file = format!(
                "[domains]\nnames = [\"fed.example\"]\n[registrar]\nmin_expires_s = 1\n[cluster]\ncurrent_id = {number}\n{cluster}{nodes}"
            );
            let folder = folder.join(number.to_string());
            fs::create_dir(&folder).unwrap();
            Member { host: network.host(number), number, file, folder }
        });
        Self { home, members, folder }
    }

    /// Where phones send to.
    pub(crate) fn at(&self) -> SocketAddr {
        SocketAddr::new(self.home, 5060)
    }

    /// Starts a node, and waits until it is ready.
    pub(crate) fn start(&self, member: usize) -> Daemon {
        self.start_with(member, Start::default().shards)
    }

    /// The same with so many shards.
    pub(crate) fn start_with(&self, member: usize, shards: u8) -> Daemon {
        let Member { host, file, folder, .. } = &self.members[member];
        let data = folder.join("data");
        let start =
            Start { shards, at: self.at(), file, data: Some(&data), within: &host.within(), ..Start::default() };
        let daemon = Daemon::start(&start);
        // Replaced as a whole, since keepalived may look at any time.
        fs::write(folder.join("pid.new"), daemon.pid.to_string()).unwrap();
        fs::rename(folder.join("pid.new"), self.pid_file(member)).unwrap();
        daemon
    }

    fn pid_file(&self, member: usize) -> PathBuf {
        self.members[member].folder.join("pid")
    }

    /// Starts the keepalived beside a node; of two, the first node has the address while it lives.
    pub(crate) fn keepalived(&self, member: usize) -> Keepalived {
        self.start_keepalived(member, false)
    }

    /// The same, where the node that has the address keeps it when the other one comes back.
    pub(crate) fn keepalived_that_stays(&self, member: usize) -> Keepalived {
        self.start_keepalived(member, true)
    }

    fn start_keepalived(&self, member: usize, stays: bool) -> Keepalived {
        Keepalived::start(&keepalived::Start {
            host: &self.members[member].host,
            address: self.home,
            router_id: self.members[0].number,
            priority: if member == 0 { 150 } else { 100 },
            pid_file: &self.pid_file(member),
            draining_file: &self.members[member].folder.join("data/draining"),
            stays,
        })
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
