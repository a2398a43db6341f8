//! Whether whoever says hello is the node that it says it is, as far as the table of nodes can tell, and which version of the
//! protocol is spoken. Pure: what was said and the table come in, the other node or why not comes out.
//!
//! What is said to a node that is refused, and told here, is one text: it names what differs, and who has to change what.

use super::frame::{Hello, Versions};
use crate::cluster::{Id, Node, Topology};
use crate::config::{SipAddress, sip_address};

/// The versions of the protocol that this release speaks.
pub(crate) const VERSIONS: Versions = Versions { min: 1, max: 2 };

/// A node at the other end of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerHello {
    pub(crate) node: Id,
    /// Of the protocol; the highest that both speak.
    pub(crate) version: u16,
    /// Of its software.
    pub(crate) release: String,
}

/// Why a node is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Refusal {
    OtherCluster = 1,
    /// No node has its number.
    UnknownNode = 2,
    DisabledNode = 3,
    /// It has the number of the one that it speaks to.
    OwnNumber = 4,
    /// It is a node, and another one than belongs to this end of the link.
    OtherNode = 5,
    OtherSipAddr = 6,
    NoCommonVersion = 7,
    /// Its certificate is that of another address than the node's.
    OtherCertificate = 8,
}

/// That a node is refused, and the text for both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    pub(super) why: String,
}

/// This node, as it introduces itself.
#[derive(Clone, Debug)]
pub(super) struct Own {
    pub(super) versions: Versions,
    /// The home that it runs with, whatever the table has come to say of it.
    pub(super) home: SipAddress,
    pub(super) release: &'static str,
}

/// Who may be at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// The node that was dialled.
    Dialled(Id),
    /// Any that dials this one: those with higher numbers.
    Anybody,
}

impl Own {
    pub(super) fn hello(&self, topology: &Topology) -> Hello {
        Hello {
            versions: self.versions,
            cluster_id: topology.cluster_id().get(),
            node_id: topology.current_id().get(),
            sip_addr: self.home.to_string(),
            release: self.release.to_owned(),
        }
    }

    /// Who says hello, and the row of that node.
    pub(super) fn check(
        &self,
        hello: &Hello,
        expected: Expected,
        topology: &Topology,
    ) -> Result<(PeerHello, Node), Refused> {
        let node = named(hello, expected, topology)?;
        let (me, id) = (topology.current_id(), node.id);
        if !sip_address(&hello.sip_addr).is_ok_and(|home| home.is_same(node.sip_addr)) {
            let why = format!(
                "node {id} runs with the sip_addr {}, and node {me} has {} for it: let both go by the same table (SIGHUP to \
                 node {me}, a restart of node {id})",
                hello.sip_addr, node.sip_addr
            );
            return Err(Refused { refusal: Refusal::OtherSipAddr, why });
        }
        let (own, theirs) = (self.versions, hello.versions);
        let version = own.max.min(theirs.max);
        if version < own.min.max(theirs.min) {
            let why = format!(
                "node {me} (release {}) speaks the versions {} to {} of the protocol between nodes, and node {id} (release {}) \
                 the versions {} to {}: install a newer release on node {}",
                self.release,
                own.min,
                own.max,
                hello.release,
                theirs.min,
                theirs.max,
                if own.max < theirs.max { me } else { id }
            );
            return Err(Refused { refusal: Refusal::NoCommonVersion, why });
        }
        Ok((PeerHello { node: id, version, release: hello.release.clone() }, node.clone()))
    }
}

/// The row of the node that somebody says it is, if it may be.
fn named<'t>(hello: &Hello, expected: Expected, topology: &'t Topology) -> Result<&'t Node, Refused> {
    let (me, id) = (topology.current_id(), hello.node_id);
    let refused = |refusal, why| Err(Refused { refusal, why });
    if hello.cluster_id != topology.cluster_id().get() {
        let why = format!(
            "node {me} is in cluster {}, and node {id} in cluster {}: correct cluster.cluster_id of the one that is wrong, or \
             the url in its row of the table",
            topology.cluster_id(),
            hello.cluster_id
        );
        return refused(Refusal::OtherCluster, why);
    }
    if id == me.get() {
        let why = format!(
            "both ends say that they are node {me}: correct cluster.current_id of one of them, or the url of the row by which \
             a node reaches itself"
        );
        return refused(Refusal::OwnNumber, why);
    }
    let Some(node) = topology.nodes().iter().find(|node| node.id.get() == id) else {
        let why = format!(
            "node {me} knows of no node {id}: add it to the table and send SIGHUP to node {me}, or correct cluster.current_id \
             of node {id}"
        );
        return refused(Refusal::UnknownNode, why);
    };
    if !topology.current().is_enabled {
        let why = format!(
            "node {me} takes no part in the cluster: enable it there by clusterer:set_status, or by clusterer:reload"
        );
        return refused(Refusal::DisabledNode, why);
    }
    if !node.is_enabled {
        let why = format!("node {id} is disabled for node {me}: enable it in the table and send SIGHUP to node {me}");
        return refused(Refusal::DisabledNode, why);
    }
    match expected {
        Expected::Dialled(wanted) if wanted != node.id => {
            let why = format!(
                "node {me} has dialled node {wanted}, and node {id} has answered: correct the url of one of the two in the \
                 table, or cluster.current_id there"
            );
            refused(Refusal::OtherNode, why)
        }
        Expected::Anybody if node.id < me => {
            let why = format!(
                "node {id} has dialled node {me}, which has the higher number and dials it: correct the url of one of the two \
                 in the table of node {id}"
            );
            refused(Refusal::OtherNode, why)
        }
        _ => Ok(node),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::tests::{id, node, topology};

    /// Nodes 1 to 4, of which 2 is asked and 4 is disabled.
    fn nodes() -> Topology {
        let row = |number: u16| {
            let home = if number < 3 { "10.0.0.223" } else { "10.0.0.224" };
            Node { is_enabled: number != 4, ..node(number, &format!("10.0.0.17{number}:5555"), home) }
        };
        topology(2, (1..=4).map(row).collect())
    }

    fn own() -> Own {
        Own { versions: Versions { min: 2, max: 4 }, home: nodes().home(), release: "0.2" }
    }

    fn hello(node_id: u16) -> Hello {
        Hello {
            versions: Versions { min: 1, max: 3 },
            cluster_id: 1,
            node_id,
            sip_addr: if node_id < 3 { "10.0.0.223" } else { "10.0.0.224" }.to_owned(),
            release: "0.1".to_owned(),
        }
    }

    fn refused(hello: &Hello, expected: Expected) -> (Refusal, String) {
        let Refused { refusal, why } = own().check(hello, expected, &nodes()).unwrap_err();
        (refusal, why)
    }

    #[test]
    fn a_node_of_the_table_is_welcome_with_the_highest_version_of_both() {
        let peer = PeerHello { node: id(3), version: 3, release: "0.1".to_owned() };
        let row = nodes().nodes()[2].clone();
        assert_eq!(own().check(&hello(3), Expected::Anybody, &nodes()), Ok((peer, row)));
        assert_eq!(own().check(&hello(1), Expected::Dialled(id(1)), &nodes()).unwrap().0.node, id(1));
        // However it writes its address.
        let other = Hello { sip_addr: "10.0.0.224:5060".to_owned(), ..hello(3) };
        assert!(own().check(&other, Expected::Anybody, &nodes()).is_ok());
        let said = own().hello(&nodes());
        assert_eq!((said.cluster_id, said.node_id, &*said.sip_addr), (1, 2, "10.0.0.223"));
    }

    #[test]
    fn whoever_is_not_is_told_what_has_to_be_changed_where() {
        let any = Expected::Anybody;
        for (hello, expected, refusal, why) in [
            (Hello { cluster_id: 7, ..hello(3) }, any, Refusal::OtherCluster, "node 3 in cluster 7: correct"),
            (hello(2), any, Refusal::OwnNumber, "both ends say that they are node 2: correct cluster.current_id"),
            (hello(0), any, Refusal::UnknownNode, "node 2 knows of no node 0: add it"),
            (hello(9), any, Refusal::UnknownNode, "node 2 knows of no node 9: add it"),
            (hello(4), any, Refusal::DisabledNode, "node 4 is disabled for node 2: enable it"),
            (hello(3), Expected::Dialled(id(1)), Refusal::OtherNode, "dialled node 1, and node 3 has answered"),
            (hello(1), any, Refusal::OtherNode, "node 1 has dialled node 2"),
            (Hello { sip_addr: "10.0.0.9".to_owned(), ..hello(3) }, any, Refusal::OtherSipAddr, "10.0.0.9, and node 2"),
            (Hello { sip_addr: String::new(), ..hello(3) }, any, Refusal::OtherSipAddr, "a restart of node 3"),
        ] {
            let told = refused(&hello, expected);
            assert_eq!(told.0, refusal, "{told:?}");
            assert!(told.1.contains(why), "{told:?}");
        }
    }

    #[test]
    fn without_a_common_version_the_older_side_is_named() {
        let with = |min, max| Hello { versions: Versions { min, max }, ..hello(3) };
        let (refusal, why) = refused(&with(1, 1), Expected::Anybody);
        assert_eq!(refusal, Refusal::NoCommonVersion);
        assert!(why.ends_with("(release 0.1) the versions 1 to 1: install a newer release on node 3"), "{why}");
        let (_, why) = refused(&with(5, 6), Expected::Anybody);
        assert!(why.ends_with("on node 2"), "{why}");
        let version = |min, max| own().check(&with(min, max), Expected::Anybody, &nodes()).unwrap().0.version;
        assert_eq!((version(4, 6), version(1, 2)), (4, 2));
    }
}
