//! Which homes are down, by the links to their nodes. Pure.
//!
//! A home is known to be down where each of its enabled nodes was linked with this one at some time in the life of this
//! process, and none is now: who was never seen may be reached by callers all the same. Where no node at all is linked,
//! nothing is known: it may be this node that is cut off.

use crate::address::SipAddress;

/// What is known of another node.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Which home it stands for.
    pub home: SipAddress,
    /// Whether it is linked now.
    pub is_up: bool,
    /// Whether it was at some time.
    pub was_up: bool,
}

/// The homes that are down, other than that of this node, as they are written in the table.
pub fn homes_down(own: SipAddress, nodes: &[Seen]) -> Vec<Box<str>> {
    if !nodes.iter().any(|node| node.is_up) {
        return Vec::new();
    }
    let mut down: Vec<Box<str>> = Vec::new();
    for home in nodes.iter().map(|node| node.home).filter(|home| !home.is_same(own)) {
        let text: Box<str> = home.to_string().into();
        let is_down = nodes.iter().filter(|node| node.home.is_same(home)).all(|node| node.was_up && !node.is_up);
        if is_down && !down.contains(&text) {
            down.push(text);
        }
    }
    down
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::sip_address;

    /// Nodes by their homes; `u` is up, `d` is down, `n` was never up.
    fn down(nodes: &[(&str, char)]) -> Vec<String> {
        let nodes: Vec<Seen> = nodes
            .iter()
            .map(|(home, state)| Seen { home: sip_address(home).unwrap(), is_up: *state == 'u', was_up: *state != 'n' })
            .collect();
        homes_down(sip_address("10.0.0.1").unwrap(), &nodes).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_home_is_down_when_all_of_its_nodes_are() {
        let (a, b) = ("10.0.0.2", "10.0.0.3:5070");
        assert_eq!(down(&[(a, 'd'), (b, 'u')]), [a]);
        assert_eq!(down(&[(a, 'u'), (b, 'd'), (b, 'd')]), [b]);
        assert_eq!(down(&[(a, 'd'), (a, 'u'), (b, 'u')]), [""; 0], "one of two is there");
        assert_eq!(down(&[(a, 'd'), (a, 'n'), (b, 'u')]), [""; 0], "one of two may be there");
        assert_eq!(down(&[(a, 'n'), (b, 'u')]), [""; 0]);
    }

    #[test]
    fn who_is_cut_off_knows_nothing_of_others() {
        assert_eq!(down(&[("10.0.0.2", 'd'), ("10.0.0.3", 'd')]), [""; 0]);
        assert_eq!(down(&[]), [""; 0]);
        // A twin counts for that, and its home is this node's own.
        assert_eq!(down(&[("10.0.0.1", 'd'), ("10.0.0.2", 'u')]), [""; 0]);
        assert_eq!(down(&[("10.0.0.1", 'u'), ("10.0.0.2", 'd')]), ["10.0.0.2"]);
    }
}
