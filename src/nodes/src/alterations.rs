//! What operators have changed of the nodes by commands since these were read. Pure: what is asked for and the nodes that were
//! read come in; the nodes that the node goes by come out, or why not.
//!
//! What is disabled or enabled so lasts until the nodes are read again; who was removed is away until the node starts anew.
//! Bounded by the nodes that there are.

use crate::topology::{Id, Topology};
use std::collections::{BTreeMap, BTreeSet};

/// Why the nodes are not altered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unaltered {
    /// No node has that number.
    NoNode,
    /// It is this node itself, which cannot do without itself.
    Own,
    /// Nodes that stand in a database are removed there.
    InTable,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Alterations {
    is_enabled: BTreeMap<Id, bool>,
    removed: BTreeSet<Id>,
}

impl Alterations {
    /// From now on the node takes part, or does not.
    pub fn set_enabled(&mut self, read: &Topology, node: Id, is_enabled: bool) -> Result<(), Unaltered> {
        self.find(read, node)?;
        self.is_enabled.insert(node, is_enabled);
        Ok(())
    }

    /// From now on there is no such node.
    pub fn remove(&mut self, read: &Topology, node: Id) -> Result<(), Unaltered> {
        self.find(read, node)?;
        if node == read.current_id() {
            return Err(Unaltered::Own);
        }
        self.removed.insert(node);
        Ok(())
    }

    fn find(&self, read: &Topology, node: Id) -> Result<(), Unaltered> {
        let is_there = read.nodes().iter().any(|known| known.id == node) && !self.removed.contains(&node);
        if is_there { Ok(()) } else { Err(Unaltered::NoNode) }
    }

    /// The nodes have been read again.
    pub fn forget_enabled(&mut self) {
        self.is_enabled.clear();
    }

    /// The nodes that are left of those that were read.
    pub fn without_removed(&self, read: &Topology) -> Topology {
        read.retain(|node| !self.removed.contains(&node.id))
    }

    /// The same, enabled and disabled as was asked for.
    pub fn applied(&self, read: &Topology) -> Topology {
        let enabled = |id: &Id| self.is_enabled.get(id).copied();
        self.without_removed(read).enable(|node| enabled(&node.id).unwrap_or(node.is_enabled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows;
    use crate::rows::tests::{id, with_backups};

    fn read() -> Topology {
        rows::topology(&with_backups(), id(1), id(1), "clusterer").unwrap()
    }

    fn enabled(topology: &Topology) -> Vec<u16> {
        topology.nodes().iter().filter(|node| node.is_enabled).map(|node| node.id.get()).collect()
    }

    #[test]
    fn what_was_disabled_is_so_until_it_is_enabled_or_read_again() {
        let (mut alterations, read) = (Alterations::default(), read());
        for node in [3, 4, 1] {
            alterations.set_enabled(&read, id(node), false).unwrap();
        }
        let altered = alterations.applied(&read);
        assert_eq!((enabled(&altered), altered.nodes().len()), (vec![2], 4));
        assert_eq!(altered.peers(), []);
        alterations.set_enabled(&read, id(4), true).unwrap();
        assert_eq!(enabled(&alterations.applied(&read)), [2, 4]);
        assert_eq!(alterations.applied(&read).peers().len(), 1);
        alterations.forget_enabled();
        assert_eq!(alterations.applied(&read), read);
        assert_eq!(alterations.set_enabled(&read, id(5), true), Err(Unaltered::NoNode));
    }

    #[test]
    fn who_was_removed_is_away_also_when_the_nodes_are_read_again() {
        let (mut alterations, read) = (Alterations::default(), read());
        alterations.remove(&read, id(2)).unwrap();
        assert_eq!(enabled(&alterations.applied(&read)), [1, 3, 4]);
        assert!(!alterations.without_removed(&read).has_twin());
        alterations.forget_enabled();
        assert_eq!(alterations.applied(&read).nodes().len(), 3);
        assert_eq!(alterations.remove(&read, id(2)), Err(Unaltered::NoNode));
        assert_eq!(alterations.set_enabled(&read, id(2), true), Err(Unaltered::NoNode));
        assert_eq!(alterations.remove(&read, id(1)), Err(Unaltered::Own));
    }
}
