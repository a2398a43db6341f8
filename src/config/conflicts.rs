//! Values of a file that are valid one by one and contradict each other.

use super::reader::Places;
use super::{ClientCertificates, Config, NodeConfig, Problem};
use crate::cluster::{Fault, Provisioning, Topology};
use sipfed_proto::Transport;
use sipfed_proto::settings::{Foreign, PingSettings, RegistrarSettings};

/// A shorter lease would end before a node that restarts has taken it anew.
const LEASE_S_MIN: u32 = 60;

/// Looks at values that are valid one by one and may contradict each other; where none do, the nodes of the file make
/// this one's home and peers.
pub(super) fn conflicts(config: &mut Config, places: &Places) -> Vec<Problem> {
    let Config { cluster, node } = &*config;
    let mut found = Conflicts { places, problems: Vec::new() };
    expiry_conflicts(&cluster.registrar, &mut found);
    found.at_most(("timers.t1_ms", cluster.timers.t1_ms), ("timers.t2_ms", cluster.timers.t2_ms));
    if cluster.domains.is_empty() && !cluster.own_addresses_are_domains {
        found.add(
            "no request could ever be for this node: it has no domain",
            &[("domains.own_addresses_are_domains", "so its addresses are none"), ("domains.names", "none")],
            "name a domain in domains.names, or set own_addresses_are_domains = true",
        );
    }
    if node.listen.is_empty() {
        found.add(
            "node.listen is empty, so nothing could be received",
            &[("node.listen", "at least one")],
            "write listen = [\"udp:0.0.0.0:5060\", \"tcp:0.0.0.0:5060\"], which is the default, or leave the key out",
        );
    }
    tls_conflicts(node, &mut found);
    foreign_conflicts(node, &mut found);
    if let Some(listen) = node.ops.listen.filter(|listen| !node.ops.allow_remote && !listen.ip().is_loopback()) {
        found.add(
            &format!("ops.listen is {}, which other hosts may reach", listen.ip()),
            &[("ops.listen", "commands need no password")],
            "listen at 127.0.0.1 or [::1], or set ops.allow_remote = true behind a firewall",
        );
    }
    ping_conflicts(&config.cluster.nat.settings().ping, &mut found);
    directory_conflicts(config, &mut found);
    links_conflicts(config, &mut found);
    cluster_conflicts(config, &mut found);
    found.problems
}

/// What is shown over TLS, and asked for.
fn tls_conflicts(node: &NodeConfig, found: &mut Conflicts<'_>) {
    let is_secured = |listener: &sipfed_proto::Listener| listener.transport.is_secured();
    let tls = &node.phone_tls;
    match (&tls.certificate, &tls.key) {
        (None, None) if node.listen.iter().any(is_secured) => found.add(
            "node.listen has an address for TLS, and there is no certificate to show there",
            &[("node.listen", "a listener tls: or wss:"), ("tls.certificate", "none")],
            "add certificate = \"/PATH.pem\" and key = \"/PATH.pem\" below [tls], or remove the listener",
        ),
        (Some(_), None) => found.add(
            "tls.key is missing, without which the certificate is of no use",
            &[("tls.certificate", "here")],
            "add key = \"/PATH.pem\" below [tls], or remove the certificate",
        ),
        (None, Some(_)) => found.add(
            "tls.certificate is missing, without which the key is of no use",
            &[("tls.key", "here")],
            "add certificate = \"/PATH.pem\" below [tls], or remove the key",
        ),
        _ => {}
    }
    if tls.certificate.is_none() && !tls.domains.is_empty() {
        found.add(
            "there is no certificate for who names no server, or another one",
            &[("tls.domain", "for those that are named"), ("tls.certificate", "none")],
            "add certificate = \"/PATH.pem\" and key = \"/PATH.pem\" below [tls]",
        );
    }
    if (tls.client == ClientCertificates::None) != tls.client_authorities.is_none() {
        found.add(
            "tls.client and tls.client_authorities are given together: certificates of phones are judged by authorities",
            &[("tls.client", "here"), ("tls.client_authorities", "here")],
            "add client_authorities = \"/PATH.pem\" and client = \"asked\" or \"required\", or remove the one that is there",
        );
    }
    let mut names: Vec<&String> = tls.domains.iter().flat_map(|domain| &domain.names).collect();
    names.sort_unstable();
    if let Some([twice, ..]) = names.windows(2).find(|two| two[0] == two[1]) {
        found.add(
            &format!("{twice} has two certificates"),
            &[("tls.domain", "in two of these")],
            "leave the name in one [[tls.domain]]",
        );
    }
}

/// What requests for other domains are relayed over.
fn foreign_conflicts(node: &NodeConfig, found: &mut Conflicts<'_>) {
    if matches!(node.foreign, Foreign::RelayByName(_)) && !node.names.resolve {
        found.add(
            "proxy.foreign is a name, and names are not resolved",
            &[("proxy.foreign", "a name"), ("names.resolve", "false")],
            "write an address, such as \"udp:192.0.2.1:5060\", or remove resolve = false",
        );
    }
    let Foreign::Relay(transport, addr) = node.foreign else { return };
    let (name, why, right) = match transport {
        Transport::Udp => (
            "UDP",
            "sent from a listening socket",
            "add a UDP listener of that family to node.listen, or relay over tcp:",
        ),
        Transport::Tls => (
            "TLS",
            "its answers name the way back (RFC 3261 §18.1.1)",
            "add a listener tls: of that family to node.listen, or relay over tcp:",
        ),
        _ => return,
    };
    let fits = |listener: &sipfed_proto::Listener| {
        listener.transport == transport && listener.addr.is_ipv4() == addr.is_ipv4()
    };
    if !node.listen.iter().any(fits) {
        let family = if addr.is_ipv4() { "IPv4" } else { "IPv6" };
        found.add(
            &format!("proxy.foreign is reached over {name} and {family}, and no listener is of that kind"),
            &[("proxy.foreign", why), ("node.listen", "none of that kind")],
            right,
        );
    }
}

/// The three times that a phone may be granted.
fn expiry_conflicts(registrar: &RegistrarSettings, found: &mut Conflicts<'_>) {
    found.at_most(
        ("registrar.min_expires_s", registrar.min_expires_s),
        ("registrar.max_expires_s", registrar.max_expires_s),
    );
    if registrar.min_expires_s <= registrar.max_expires_s {
        found.at_most(
            ("registrar.min_expires_s", registrar.min_expires_s),
            ("registrar.default_expires_s", registrar.default_expires_s),
        );
        found.at_most(
            ("registrar.default_expires_s", registrar.default_expires_s),
            ("registrar.max_expires_s", registrar.max_expires_s),
        );
    }
}

/// The interval of pings lies between the two that may be learned.
fn ping_conflicts(ping: &PingSettings, found: &mut Conflicts<'_>) {
    let interval = ("nat.ping_interval_s", ping.interval_s);
    found.at_most(("nat.ping_interval_min_s", ping.interval_min_s), interval);
    if ping.interval_max_s > 0 {
        found.at_most(interval, ("nat.ping_interval_max_s", ping.interval_max_s));
    }
}

fn directory_conflicts(config: &Config, found: &mut Conflicts<'_>) {
    let Config { cluster, node } = config;
    let directory = &cluster.directory;
    if directory.url.is_some() && node.home.is_none() && !Provisioning::is_asked_for(config) {
        found.add(
            "directory.url is given without directory.home, so there is nothing to publish",
            &[("directory.url", "needs a home")],
            "add home = \"ADDRESS\" below [directory], the address under which other nodes reach this one, or a [cluster], \
             which has it; or remove url",
        );
    }
    if (1..LEASE_S_MIN).contains(&directory.lease_s) {
        found.add(
            "directory.lease_s is too small",
            &[("directory.lease_s", "0, or 60 to 2592000 seconds")],
            "write 60 or more, or 0 for rows without end; the default is 86400",
        );
    }
}

fn links_conflicts(config: &Config, found: &mut Conflicts<'_>) {
    let tls = &config.node.tls;
    let files = [
        ("cluster.tls_ca", tls.ca.is_some()),
        ("cluster.tls_certificate", tls.certificate.is_some()),
        ("cluster.tls_key", tls.key.is_some()),
    ];
    let given: Vec<(&str, &str)> =
        files.iter().filter(|(_, is_given)| *is_given).map(|(key, _)| (*key, "here")).collect();
    if let Some((missing, _)) = files.iter().find(|(_, is_given)| !is_given).filter(|_| !given.is_empty()) {
        found.add(
            &format!("{missing} is missing, without which the other files for TLS are of no use"),
            &given,
            &format!(
                "add {} = \"/PATH.pem\" below [cluster], or remove the others",
                missing.trim_start_matches("cluster.")
            ),
        );
    }
}

fn cluster_conflicts(config: &mut Config, found: &mut Conflicts<'_>) {
    let (db_url, nodes) = (&config.node.db_url, &config.cluster.provisioning.nodes);
    if db_url.is_some() && !nodes.is_empty() {
        found.add(
            "the nodes of the cluster are asked for twice: in a database, and in the file",
            &[("cluster.db_url", "a database"), ("cluster.node", "the file")],
            "remove cluster.db_url, or every [[cluster.node]]",
        );
        return;
    }
    let Some(current_id) = config.node.current_id else {
        if Provisioning::is_asked_for(config) {
            found.add(
                "cluster.current_id is missing, so this node does not know which of the nodes it is",
                &[("cluster.db_url", "the nodes stand there"), ("cluster.node", "the nodes")],
                "add current_id = N below [cluster], with the node_id of this node",
            );
        }
        return;
    };
    if !Provisioning::is_asked_for(config) {
        found.add(
            "cluster.current_id is given, and there are no nodes",
            &[("cluster.current_id", "of which nodes?")],
            "add db_url = \"mysql://…\" below [cluster], or a [[cluster.node]] for every node; or remove current_id",
        );
    }
    if nodes.is_empty() {
        return;
    }
    let cluster_id = config.cluster.provisioning.cluster_id;
    match Topology::new(cluster_id, current_id, nodes.clone(), "the file") {
        Ok(topology) => {
            if let Err(Fault { what, right, .. }) = config.join(&topology) {
                found.add(&what, &[("directory.home", "here"), ("directory.peers", "here")], &right);
            }
        }
        Err(faults) => {
            for Fault { what, right, at } in faults {
                // What a node leaves out is told at its table.
                let keys = at
                    .map(|(index, column)| [format!("cluster.node.{index}.{column}"), format!("cluster.node.{index}")]);
                let key = keys.into_iter().flatten().find(|key| found.places.contains_key(key));
                found.add(&what, &[(key.as_deref().unwrap_or("cluster.current_id"), "here")], &right);
            }
        }
    }
}

struct Conflicts<'p> {
    places: &'p Places,
    problems: Vec<Problem>,
}

impl Conflicts<'_> {
    fn at_most(&mut self, (lower, low): (&str, u32), (upper, high): (&str, u32)) {
        if low > high {
            self.add(
                &format!("{lower} is more than {upper}"),
                &[(lower, &format!("{low} here")), (upper, &format!("{high} here"))],
                &format!("{lower} = {low} and {upper} = {high} in force (what the file does not name has its default); lower the one or raise the other"),
            );
        }
    }

    /// Points at those of the keys that the file names; a conflict has at least one of them.
    fn add(&mut self, what: &str, keys: &[(&str, &str)], right: &str) {
        let places = keys
            .iter()
            .filter_map(|(key, label)| Some((self.places.get(*key)?.clone(), (*label).to_owned())))
            .collect();
        self.problems.push(Problem { what: what.to_owned(), places, right: right.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "[cluster]\ncurrent_id = 1\ndb_url = \"mysql://opensips:opensipsrw@localhost/opensips\"\n";

    /// The nodes of two homes, each with a backup.
    const NODES: &str = "\
[cluster]
current_id = 2
[[cluster.node]]
node_id = 1
url = \"bin:10.0.0.177\"
sip_addr = \"10.0.0.223\"
seed = true
[[cluster.node]]
node_id = 2
url = \"bin:10.0.0.178\"
sip_addr = \"10.0.0.223\"
[[cluster.node]]
node_id = 3
url = \"bin:10.0.0.179\"
sip_addr = \"10.0.0.224\"
seed = true
[[cluster.node]]
node_id = 4
url = \"bin:10.0.0.180\"
sip_addr = \"10.0.0.224\"
description = \"the last one\"
";

    const DIRECTORY: &str = "[directory]\nurl = \"cassandra://10.0.0.5/opensips.userlocation\"\n";

    fn problems(text: &str) -> Vec<(String, usize, String)> {
        let problems = Config::parse(text).expect_err("the file should be refused");
        problems.into_iter().map(|problem| (problem.what.clone(), problem.start(), problem.right)).collect()
    }

    fn only(text: &str, what: &str) {
        let problems = problems(text);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].0.contains(what), "{problems:?}");
    }

    #[test]
    fn other_hosts_reach_the_management_interface_only_when_it_is_said() {
        for listen in ["0.0.0.0:8888", "[::]:8888", "192.0.2.1:8888"] {
            let text = format!("[ops]\nlisten = \"{listen}\"\n");
            only(&text, "which other hosts may reach");
            assert!(Config::parse(&format!("{text}allow_remote = true\n")).is_ok());
        }
        for listen in ["127.0.0.1:8888", "[::1]:0"] {
            assert!(Config::parse(&format!("[ops]\nlisten = \"{listen}\"\n")).is_ok());
        }
    }

    #[test]
    fn nodes_of_the_file_give_home_and_peers() {
        let config = Config::parse(&format!("{NODES}{DIRECTORY}")).unwrap();
        let directory = config.settings().directory.unwrap();
        assert_eq!((&*directory.home, &*directory.peers), ("10.0.0.223", &["10.0.0.224".to_owned()][..]));
        let nodes = &config.cluster.provisioning.nodes;
        assert_eq!(nodes.iter().map(|node| node.is_seed).collect::<Vec<_>>(), [true, false, true, false]);
        assert_eq!(nodes[3].description.as_deref(), Some("the last one"));
        // What the file says as well has to be the same.
        let same = "home = \"10.0.0.223:5060\"\npeers = [\"10.0.0.224\", \"10.0.0.223\"]\n";
        assert!(Config::parse(&format!("{NODES}{DIRECTORY}{same}")).is_ok());
        only(
            &format!("{NODES}{DIRECTORY}home = \"10.0.0.1\"\n"),
            "directory.home is 10.0.0.1, and the sip_addr of node 2",
        );
        let peers = "peers = [\"10.0.0.9\"]\n";
        only(
            &format!("{NODES}{DIRECTORY}{peers}"),
            "directory.peers has 10.0.0.9, and the other homes of the cluster are",
        );
    }

    #[test]
    fn the_interval_of_pings_lies_between_those_that_are_learned() {
        only("[nat]\nping_interval_s = 30\nping_interval_min_s = 31", "nat.ping_interval_min_s is more than");
        only("[nat]\nping_interval_s = 30\nping_interval_max_s = 29", "nat.ping_interval_s is more than");
        let right = "[nat]\nping_interval_s = 30\nping_interval_min_s = 10\nping_interval_max_s = 120";
        assert!(Config::parse(right).is_ok());
    }

    #[test]
    fn a_relay_over_tls_needs_a_listener_of_its_family_that_answers_come_back_to() {
        let listen = |tls: &str| format!("[node]\nlisten = [\"udp:127.0.0.1:5060\", \"tls:{tls}:5061\"]\n");
        let files = "[tls]\ncertificate = \"/c.pem\"\nkey = \"/k.pem\"\n";
        let foreign = "[proxy]\nforeign = \"tls:192.0.2.1:5061\"\n";
        only(&format!("[node]\nlisten = [\"udp:127.0.0.1:5060\"]\n{foreign}"), "over TLS and IPv4");
        only(&format!("{}{foreign}{files}", listen("[::1]")), "over TLS and IPv4");
        assert!(Config::parse(&format!("{}{foreign}{files}", listen("127.0.0.1"))).is_ok());
    }

    #[test]
    fn a_relay_by_name_needs_names_to_be_resolved() {
        let proxy = "[proxy]\nforeign = \"udp:proxy.example.net\"\n";
        assert!(Config::parse(proxy).is_ok());
        only(&format!("{proxy}[names]\nresolve = false\n"), "proxy.foreign is a name, and names are not resolved");
    }

    #[test]
    fn a_listener_for_tls_needs_a_certificate_and_that_a_key() {
        let listen = "[node]\nlisten = [\"wss:127.0.0.1:443\"]\n";
        only(listen, "no certificate to show");
        assert!(Config::parse(&listen.replace("wss", "ws")).is_ok());
        let listen = "[node]\nlisten = [\"tls:127.0.0.1:5061\"]\n";
        let (certificate, key) = ("certificate = \"/c.pem\"\n", "key = \"/k.pem\"\n");
        only(listen, "no certificate to show");
        only(&format!("{listen}[tls]\n{certificate}"), "tls.key is missing");
        only(&format!("{listen}[tls]\n{key}"), "tls.certificate is missing");
        assert!(Config::parse(&format!("{listen}[tls]\n{certificate}{key}")).is_ok());
    }

    #[test]
    fn certificates_of_several_domains_need_a_default_and_names_of_their_own() {
        let domain =
            |name: &str| format!("[[tls.domain]]\nnames = [\"{name}\"]\ncertificate = \"/a.pem\"\nkey = \"/a.key\"\n");
        let default = "[tls]\ncertificate = \"/c.pem\"\nkey = \"/k.pem\"\n";
        let (one, wild) = (domain("sip.example"), domain("*.Example.COM"));
        let config = Config::parse(&format!("{default}{one}{wild}")).unwrap();
        assert_eq!(config.node.phone_tls.domains[1].names, ["*.example.com"]);
        only(&one, "there is no certificate for who names no server");
        only(&format!("{default}{one}{one}"), "sip.example has two certificates");
        only(&format!("{default}[[tls.domain]]\nnames = []\nkey = \"/k\"\n"), "a [[tls.domain]] has no certificate");
        only(&format!("{default}{}", domain("192.0.2.1")), "tls.domain.names cannot be");
    }

    #[test]
    fn who_is_asked_for_a_certificate_is_judged_by_authorities() {
        for tls in ["client = \"required\"\n", "client_authorities = \"/a.pem\"\n"] {
            only(&format!("[tls]\n{tls}"), "are given together");
        }
        assert!(Config::parse("[tls]\nclient = \"asked\"\nclient_authorities = \"/a.pem\"\n").is_ok());
    }

    #[test]
    fn files_for_tls_are_given_together_beside_a_secret_or_without() {
        let nodes = &NODES[NODES.find("[[").unwrap()..];
        let file = |keys: &str| format!("[cluster]\ncurrent_id = 2\n{keys}{nodes}");
        let (ca, others) = ("tls_ca = \"/a.pem\"\n", "tls_certificate = \"/c.pem\"\ntls_key = \"/k.pem\"\n");
        let secret = "secret = \"b3BlbiBzZXNhbWUgb3BlbiBzZXNhbWUgb3Blbg==\"\n";
        assert!(Config::parse(&file(&format!("{ca}{others}"))).is_ok());
        assert!(Config::parse(&file(secret)).is_ok());
        only(&file(others), "cluster.tls_ca is missing");
        only(&file(ca), "cluster.tls_certificate is missing");
        assert!(Config::parse(&file(&format!("{ca}{others}{secret}"))).is_ok());
    }

    #[test]
    fn a_table_needs_no_home_in_the_file() {
        let config = Config::parse(&format!("{TABLE}{DIRECTORY}")).unwrap();
        assert_eq!(config.node.db_url.unwrap().to_string(), "mysql://localhost:3306/opensips");
        assert_eq!(config.cluster.provisioning.table, "clusterer");
        only(DIRECTORY, "without directory.home");
    }

    #[test]
    fn nodes_stand_in_one_place_and_this_one_is_among_them() {
        only(&format!("{TABLE}{}", &NODES[NODES.find("[[").unwrap()..]), "asked for twice");
        only(&NODES.replace("current_id = 2\n", ""), "cluster.current_id is missing");
        only(&TABLE.replace("current_id = 1\n", ""), "cluster.current_id is missing");
        only("[cluster]\ncurrent_id = 1\n", "cluster.current_id is given, and there are no nodes");
        only(&NODES.replace("current_id = 2", "current_id = 5"), "node 5, which is this node, is not in the file");
        let disabled = NODES.replace("node_id = 2\n", "node_id = 2\nstate = \"disabled\"\n");
        only(&disabled, "node 2, which is this node, is disabled in the file");
        let twice = NODES.replace("node_id = 4", "node_id = 3");
        only(&twice, "the file names node_id 3 of cluster 1 twice");
        assert_eq!(problems(&twice)[0].1, twice.rfind("3\nurl = \"bin:10.0.0.180\"").unwrap(), "the second of the two");
    }

    #[test]
    fn a_node_that_lacks_something_is_told_what() {
        let text = "[cluster]\ncurrent_id = 1\n[[cluster.node]]\nnode_id = 1\nurl = \"bin:10.0.0.1\"\n";
        let told = problems(text);
        assert_eq!(
            told,
            [(
                "a [[cluster.node]] has no sip_addr".to_owned(),
                text.find("[[").unwrap(),
                "add sip_addr = \"192.0.2.1\"".to_owned()
            )]
        );
        let more = "sip_addr = \"sip.example.com\"\nstat = 1\nnode_id = 0\n".to_owned();
        let told = problems(&format!("{}{more}", text.replace("node_id = 1\n", "")));
        let what: Vec<&str> = told.iter().map(|(what, ..)| &**what).collect();
        assert_eq!(
            what,
            [
                "cluster.node.sip_addr cannot be \"sip.example.com\"",
                "unknown key cluster.node.stat",
                "cluster.node.node_id = 0 is too small"
            ]
        );
        assert_eq!(told[1].2, "did you mean state?");
        only("[cluster]\nsip_addr = \"10.0.0.1\"\n", "unknown key cluster.sip_addr");
        assert_eq!(problems("[cluster]\nsip_addr = \"10.0.0.1\"\n")[0].2, "sip_addr belongs below [[cluster.node]]");
        only("[cluster.node]\nnode_id = 1\n", "cluster.node is a list of tables");
    }
}
