//! The configuration file: parsed once into types that are valid from then on.
//!
//! What has to be equal on all nodes of a cluster ([`ClusterConfig`]) stands apart from what is this node's
//! own ([`NodeConfig`]). Everything that is wrong with a file is told at once, each with its place and with
//! what would be right.

mod cluster;
mod conflicts;
mod forms;
mod key;
mod links;
mod member;
mod names;
mod nat;
mod node;
mod ops;
mod policy;
mod problem;
mod reader;
mod reference;
mod tls;
mod tls_domain;
mod ws;

pub(crate) use cluster::ClusterConfig;
pub(crate) use forms::{BinAddress, SipAddress, listener, listener_text, sip_address};
pub(crate) use links::TlsFiles;
pub(crate) use names::{NameServer, NamesConfig};
pub(crate) use node::{LogFormat, LogLevel, NodeConfig, durability, durability_word};
pub(crate) use ops::OpsConfig;
pub(crate) use problem::{File, Problem};
pub(crate) use reference::default_file;
pub(crate) use tls::{ClientCertificates, PhoneTls};

use crate::cluster::{Fault, Topology};
use sipfed_proto::Settings;
use sipfed_proto::settings::{DirectorySettings, ProxySettings, RegistrarSettings};

/// Every key that has to be equal on all nodes of a cluster, by room.
const CLUSTER_KEYS: [&[key::Key<ClusterConfig>]; 4] = [cluster::KEYS, links::KEYS, names::KEYS, nat::KEYS];
/// Every key that is a node's own.
const NODE_KEYS: [&[key::Key<NodeConfig>]; 6] =
    [node::KEYS, links::OWN_KEYS, names::OWN_KEYS, ops::KEYS, tls::KEYS, ws::KEYS];

/// A valid configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    /// Equal on every node of the cluster.
    pub(crate) cluster: ClusterConfig,
    /// This node's own.
    pub(crate) node: NodeConfig,
}

impl Config {
    /// Reads a file's text; an empty one is the default. All problems, in the order of the file, otherwise.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let mut config = Self::default();
        let (places, mut problems) = reader::read(text, &mut config);
        // Values that are wrong already kept their defaults; comparing those would tell of nothing that
        // stands in the file.
        if problems.is_empty() {
            problems = conflicts::conflicts(&mut config, &places);
        }
        problems.sort_by_key(Problem::start);
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    /// The machine's settings. The data plane fills in what it only knows once the sockets are bound.
    pub(crate) fn settings(&self) -> Settings {
        let Self { cluster, node } = self;
        Settings {
            node: node.current_id.map_or(0, crate::cluster::Id::get),
            domains: cluster.domains.clone(),
            own_addresses_are_domains: cluster.own_addresses_are_domains,
            listeners: node.listen.clone(),
            own_addresses: Vec::new(),
            advertised_host: node.advertised_host.clone(),
            server_header: node.server_header.clone(),
            registrar: RegistrarSettings {
                service_route: node.service_route.clone(),
                bindings_per_shard_max: node.bindings_per_shard_max,
                ..cluster.registrar.clone()
            },
            proxy: ProxySettings {
                foreign: node.foreign.clone(),
                timer_c_s: cluster.timer_c_s,
                serial_by_q: cluster.serial_by_q,
                serial_group_s: cluster.serial_group_s,
                transactions_per_shard_max: node.transactions_per_shard_max,
                retry_after_s: cluster.retry_after_s,
                failover_ms: cluster.hops.failover_ms,
                datagram_bytes_max: cluster.hops.datagram_bytes_max,
            },
            nat: cluster.nat.settings(),
            policy: cluster.policy.clone(),
            timers: cluster.timers,
            directory: self.directory_settings(),
            names: node.names.resolve.then_some(node.names.settings),
        }
    }
}

impl Config {
    /// Takes home and peers from the cluster, of which the file may say the same or nothing.
    pub(crate) fn join(&mut self, topology: &Topology) -> Result<(), Fault> {
        let (home, peers) = (topology.home(), topology.peers());
        let id = topology.current_id();
        if let Some(written) = self.node.home.filter(|written| !written.is_same(home)) {
            let what =
                format!("directory.home is {written}, and the sip_addr of node {id}, which is this node, is {home}");
            return Err(Fault::new(
                what,
                "remove directory.home: the cluster has it; or correct the one that is wrong",
            ));
        }
        let written = &self.cluster.directory.peers;
        let others: Vec<&SipAddress> = written.iter().filter(|peer| !peer.is_same(home)).collect();
        let is_same =
            others.len() == peers.len() && peers.iter().all(|peer| others.iter().any(|other| other.is_same(*peer)));
        if !written.is_empty() && !is_same {
            let text = |peers: &[SipAddress]| peers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let what = format!(
                "directory.peers has {}, and the other homes of the cluster are {}",
                text(written),
                if peers.is_empty() { "none".to_owned() } else { text(&peers) }
            );
            return Err(Fault::new(what, "remove directory.peers: the cluster has them; or correct what is wrong"));
        }
        self.node.home = Some(home);
        self.cluster.directory.peers = peers;
        Ok(())
    }

    /// How the machine takes part in a federation, where there is one.
    fn directory_settings(&self) -> Option<DirectorySettings> {
        let Self { cluster: ClusterConfig { directory, .. }, node } = self;
        let home = node.home.filter(|_| directory.url.is_some())?;
        Some(DirectorySettings {
            home: home.to_string(),
            peers: directory.peers.iter().filter(|peer| !peer.is_same(home)).map(ToString::to_string).collect(),
            secret: directory.secret.clone(),
            lookup_deadline_ms: directory.lookup_deadline_ms,
            negative_cache_ms: directory.negative_cache_ms,
            stale_cache_s: directory.stale_cache_s,
            home_timeout_ms: directory.home_timeout_ms,
            ask_peers_max: directory.ask_peers_max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<Problem> {
        Config::parse(text).expect_err("the file should be refused")
    }

    fn only(text: &str) -> (String, String, String) {
        let mut problems = problems(text);
        assert_eq!(problems.len(), 1, "{problems:?}");
        let Problem { what, places, right } = problems.remove(0);
        (what, places[0].1.clone(), right)
    }

    fn only_eq(text: &str, what: &str, label: &str, right: &str) {
        assert_eq!(only(text), (what.to_owned(), label.to_owned(), right.to_owned()));
    }

    #[test]
    fn an_empty_file_is_the_default_and_keeps_the_defaults_of_the_machine() {
        let settings = Config::parse("").unwrap().settings();
        let machine = Settings::default();
        assert_eq!(settings.registrar, machine.registrar);
        assert_eq!(settings.proxy, machine.proxy);
        assert_eq!(settings.timers, machine.timers);
        let listen: Vec<_> = settings.listeners.iter().map(listener_text).collect();
        assert_eq!(listen, ["udp:0.0.0.0:5060", "tcp:0.0.0.0:5060"]);
    }

    #[test]
    fn every_number_takes_its_bounds_and_refuses_what_lies_beyond() {
        fn check<C: Default>(keys: &[key::Key<C>]) {
            for key in keys {
                let key::Kind::Number { min, max, get, set, .. } = &key.kind else { continue };
                for value in [*min, *max] {
                    let mut config = C::default();
                    set(&mut config, value);
                    assert_eq!(get(&config), Some(value), "{} does not keep {value}", key.path());
                    // Another key may contradict the bound, but the key itself takes it.
                    let text = format!("[{}]\n{} = {value}\n", key.section, key.name);
                    let (_, problems) = reader::read(&text, &mut Config::default());
                    assert!(problems.is_empty(), "{text}{problems:?}");
                }
                for value in [min.checked_sub(1).map_or(-1, i128::from), i128::from(*max) + 1] {
                    let text = format!("[{}]\n{} = {value}\n", key.section, key.name);
                    let problems = problems(&text);
                    assert!(problems[0].what.starts_with(&format!("{} = {value} is too ", key.path())));
                    assert_eq!(problems[0].start(), text.find(&format!("{value}")).unwrap());
                }
            }
        }
        CLUSTER_KEYS.into_iter().for_each(check);
        NODE_KEYS.into_iter().for_each(check);
    }

    #[test]
    fn every_default_is_a_value_that_the_file_accepts() {
        fn check<C: Default>(keys: &[key::Key<C>]) {
            for key in keys {
                let Some(default) = key.default_text() else { continue };
                let text = format!("[{}]\n{} = {default}\n", key.section, key.name);
                assert!(Config::parse(&text).is_ok(), "{text}");
            }
        }
        CLUSTER_KEYS.into_iter().for_each(check);
        NODE_KEYS.into_iter().for_each(check);
    }

    #[test]
    fn all_problems_are_told_in_the_order_of_the_file() {
        let problems =
            problems("[registrar]\nmin_expires = 60\nmax_contacts = 0\n[proxi]\n[node]\nlisten = [\"0.0.0.0:5060\"]\n");
        let what: Vec<&str> = problems.iter().map(|problem| &*problem.what).collect();
        assert_eq!(
            what,
            [
                "unknown key registrar.min_expires",
                "registrar.max_contacts = 0 is too small",
                "unknown section [proxi]",
                "node.listen cannot be \"0.0.0.0:5060\"",
            ]
        );
        let right: Vec<&str> = problems.iter().map(|problem| &*problem.right).collect();
        assert_eq!(
            right,
            [
                "did you mean min_expires_s?",
                "write 1 or more; the default is 16",
                "did you mean [proxy]?",
                "write \"udp:0.0.0.0:5060\" or \"tcp:0.0.0.0:5060\"",
            ]
        );
    }

    #[test]
    fn a_number_with_a_unit_is_converted_in_the_answer() {
        only_eq(
            "[registrar]\ndefault_expires_s = \"1h\"\n",
            "registrar.default_expires_s has the wrong type",
            "this is a string",
            "write 3600, without quotes",
        );
        only_eq(
            "[stop]\ndrain_s = 1.5\n",
            "stop.drain_s has the wrong type",
            "this is a number with a fraction",
            "write a whole number, 0 to 600 seconds; the default is 5",
        );
    }

    #[test]
    fn a_key_in_the_wrong_place_is_shown_its_section() {
        only_eq("[proxy]\ngruu = true\n", "unknown key proxy.gruu", "not known", "gruu belongs below [registrar]");
        only_eq("gruu = true\n", "unknown key gruu", "not known", "gruu belongs below [registrar]");
        only_eq(
            "registrar = 5\n",
            "registrar is a section",
            "this is a whole number",
            "write [registrar] on a line of its own, and its keys below it",
        );
    }

    #[test]
    fn words_lists_and_flags_are_told_what_they_may_be() {
        only_eq(
            "[registrar]\noverflow = \"evict-oldest\"\n",
            "registrar.overflow does not know \"evict-oldest\"",
            "not one of its words",
            "write \"refuse\" or \"evict_oldest\"; did you mean \"evict_oldest\"?",
        );
        only_eq(
            "[domains]\nnames = \"example.com\"\n",
            "domains.names has the wrong type",
            "this is a string",
            "write a list: [\"example.com\"]",
        );
        only_eq(
            "[registrar]\ngruu = \"yes\"\n",
            "registrar.gruu has the wrong type",
            "this is a string",
            "write true or false, without quotes",
        );
    }

    #[test]
    fn what_stands_twice_is_refused() {
        only_eq(
            "[domains]\nnames = [\"example.com\", \"Example.Com\"]\n",
            "domains.names cannot be \"Example.Com\"",
            "this domain stands here twice",
            "remove one of the two",
        );
        let (what, _, right) = only("[stop]\ndrain_s = 1\ndrain_s = 2\n");
        assert_eq!(what, "not TOML: duplicate key");
        assert!(right.starts_with("remove one of the two"));
    }

    #[test]
    fn keys_that_contradict_each_other_are_both_shown() {
        let problems = problems("[registrar]\nmin_expires_s = 600\nmax_expires_s = 300\n");
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].what, "registrar.min_expires_s is more than registrar.max_expires_s");
        assert_eq!(problems[0].places.len(), 2);

        let (what, label, _) = only("[registrar]\nmax_expires_s = 600\n");
        assert_eq!(what, "registrar.default_expires_s is more than registrar.max_expires_s");
        assert_eq!(label, "600 here");

        assert!(only("[node]\nlisten = []\n").0.starts_with("node.listen is empty"));
        assert!(only("[domains]\nown_addresses_are_domains = false\n").0.contains("it has no domain"));
        let relay = "[node]\nlisten = [\"udp:0.0.0.0:5060\"]\n[proxy]\nforeign = \"udp:[2001:db8::1]:5060\"\n";
        assert!(only(relay).0.contains("UDP and IPv6"));
    }

    #[test]
    fn a_directory_needs_a_home() {
        let url = "url = \"cassandra://10.0.0.5/opensips.userlocation\"\n";
        let config =
            Config::parse(&format!("[directory]\n{url}home = \"10.0.0.1\"\npeers = [\"10.0.0.2\"]\n")).unwrap();
        let directory = config.cluster.directory;
        assert_eq!(directory.url.unwrap().to_string(), "cassandra://10.0.0.5:9042/opensips.userlocation");
        assert_eq!(config.node.home.unwrap().to_string(), "10.0.0.1");

        assert!(only(&format!("[directory]\n{url}")).0.contains("without directory.home"));
        // One list serves all nodes: that it names this one too changes nothing.
        let peers = "peers = [\"10.0.0.2\", \"10.0.0.1:5060\"]\n";
        let settings = Config::parse(&format!("[directory]\n{url}home = \"10.0.0.1\"\n{peers}")).unwrap().settings();
        assert_eq!(settings.directory.unwrap().peers, ["10.0.0.2"]);
    }

    #[test]
    fn passwords_are_not_shown() {
        let text = "[directory]\nurl = \"cassandra://user:sesame@h:0/k.t\" # mine\n";
        let (what, ..) = only(text);
        assert_eq!(what, "directory.url cannot be \"cassandra://***********@h:0/k.t\"");
        let file = File::new("x", text);
        assert_eq!(file.text.len(), text.len());
        assert!(file.text.contains("@h:0/k.t\" # mine") && !file.text.contains("sesame"));

        let text = "[cluster]\ndb_url = \"mysql:user:sesame@h/d\"\n";
        assert_eq!(only(text).0, "cluster.db_url cannot be what stands there");
        assert!(!File::new("x", text).text.contains("sesame"));
        let text = "[cluster]\ndb_url = \"mysql://user:s@h/sesame@h\"\n";
        assert_eq!(only(text).0, "cluster.db_url cannot be \"mysql://***************@h\"");

        let text = "[directory]\nsecret = \"open sesame\"\n";
        assert_eq!(only(text).0, "directory.secret cannot be what stands there");
        assert_eq!(File::new("x", text).text, "[directory]\nsecret = \"**** ******\"\n");
        let text = "[cluster]\nsecret = \"sesame-sesame-sesame-sesame-ses\"\n";
        assert_eq!(only(text).0, "cluster.secret cannot be what stands there");
        assert!(!File::new("x", text).text.contains("sesame"));
        let config = Config::parse("[cluster]\nsecret = \"sesame-sesame-sesame-sesame-sesa\"\n").unwrap();
        assert!(!format!("{config:?}").contains("sesame"));
    }

    #[test]
    fn a_broken_line_does_not_hide_what_is_wrong_elsewhere() {
        let problems = problems("[registrar]\nmax_contacts = = 3\n[stop]\ndrain_s = 601\n");
        assert!(problems[0].what.starts_with("not TOML: "), "{problems:?}");
        assert_eq!(problems[1].what, "stop.drain_s = 601 is too large");
        assert_eq!(problems.len(), 2, "{problems:?}");
    }
}
