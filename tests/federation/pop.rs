//! Points of presence of one federation: daemons at addresses of their own that share a store.

use super::daemon::{Daemon, Start};
use super::real;
use super::rows::Rows;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};

/// Nodes that know each other, and the store that they share.
#[derive(Debug)]
pub(crate) struct Federation {
    /// The store's URL with a table that no other federation uses.
    pub(crate) url: String,
    schema: &'static str,
    /// The homes.
    pub(crate) homes: Vec<IpAddr>,
    /// Whether others use the store too, so that the table has to go with the test.
    is_shared: bool,
}

impl Federation {
    /// One of `count` nodes on a shared store: `cassandra` or `mongodb`, and the schema.
    pub(crate) fn new(store: &'static str, count: u8) -> Self {
        let (kind, schema) = store.split_once(' ').unwrap();
        let base = if kind == "cassandra" { real::cassandra() } else { real::mongodb() };
        let mut federation = Self::at(&base, schema, count);
        federation.is_shared = true;
        federation
    }

    /// One on the store at this URL, which ends with the test.
    pub(crate) fn at(base: &str, schema: &'static str, count: u8) -> Self {
        static COUNT: AtomicU8 = AtomicU8::new(1);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // Nodes are reached at port 5060 of their home, so each federation has addresses of its own.
        let network = 20 + (std::process::id() % 200) as u8;
        let homes = (1..=count).map(|node| Ipv4Addr::new(127, network, number, node).into()).collect();
        let url = format!("{}/fed_{}_{number}.homes", base.trim_end_matches('/'), std::process::id());
        Self { url, schema, homes, is_shared: false }
    }

    /// The configuration of a node, with more keys of its directory.
    pub(crate) fn file(&self, node: usize, more: &str) -> String {
        let peers: Vec<String> =
            self.homes.iter().filter(|home| **home != self.homes[node]).map(|home| format!("\"{home}\"")).collect();
        let deadline = if more.contains("lookup_deadline_ms") { "" } else { "lookup_deadline_ms = 2000" };
        format!(
            "[domains]\nnames = [\"fed.example\"]\n[directory]\nurl = \"{}\"\nschema = \"{}\"\nhome = \"{}\"\n\
             peers = [{}]\n{deadline}\n{more}\n",
            self.url,
            self.schema,
            self.homes[node],
            peers.join(", ")
        )
    }

    /// Starts a node.
    pub(crate) fn pop(&self, node: usize, more: &str) -> Daemon {
        self.pop_with(node, &Start { file: &self.file(node, more), ..Start::default() })
    }

    /// Starts a node in another way, at its home.
    pub(crate) fn pop_with(&self, node: usize, start: &Start<'_>) -> Daemon {
        Daemon::start(&Start { at: SocketAddr::new(self.homes[node], 5060), ..*start })
    }

    /// Starts all nodes, and waits until each has found the store.
    pub(crate) fn pops<const N: usize>(&self) -> [Daemon; N] {
        let mut pops = std::array::from_fn(|node| self.pop(node, ""));
        for pop in &mut pops {
            pop.wait_for_directory("the store is there", |directory| directory.count("reconciles") > 0);
        }
        pops
    }
    /// What stands in the store.
    pub(crate) fn rows(&self) -> Rows {
        Rows::of(&self.url)
    }
}

impl Drop for Federation {
    fn drop(&mut self) {
        if self.is_shared && !std::thread::panicking() {
            self.rows().drop_all();
        }
    }
}
