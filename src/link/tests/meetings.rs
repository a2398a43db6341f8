//! Nodes that find each other, or find out that they cannot.

use super::nodes::{Authority, SECRET, Start, by_secret, nodes, poll, topology};
use crate::cluster::Node;
use crate::link::State;
use crate::link::{Security, Versions};

/// Whether every one of these sees all others up.
fn see_each_other(nodes: &[Node], security: impl Fn(&Node) -> Security) {
    let running: Vec<_> = nodes.iter().map(|node| Start::new(node.id.get(), nodes, security(node)).go()).collect();
    for (one, me) in running.iter().zip(1..) {
        let others = || (1..=nodes.len() as u16).filter(|number| *number != me);
        poll("all are up, and say so of each other", || {
            others().all(|number| {
                one.report(number).is_some_and(|link| {
                    link.state == State::Up
                        && link.round_trip.is_some()
                        && link.neighbours.len() == nodes.len() - 1
                        && link.next_hop == Some(link.node)
                })
            })
        });
    }
    for one in running {
        one.thread.stop();
    }
}

#[test]
fn nodes_see_each_other_by_a_secret() {
    see_each_other(&nodes(3), |_| by_secret(SECRET));
}

#[test]
fn nodes_see_each_other_by_certificates() {
    let authority = Authority::new();
    see_each_other(&nodes(3), |node| authority.for_node(node, &authority));
}

#[test]
fn whoever_has_another_secret_is_no_node() {
    let nodes = nodes(2);
    let one = Start::new(1, &nodes, by_secret(SECRET)).go();
    let two = Start::new(2, &nodes, by_secret(&SECRET.replace('0', "1"))).go();
    two.wait_for_failure("untrusted");
    // It has hung up on node 1 with an alert, and neither has said a word.
    one.wait_for_failure("distrusted");
    assert!(one.is_quiet() && two.is_quiet());
    assert_eq!(one.report(2).unwrap().state, State::Down);
}

#[test]
fn whoever_has_a_certificate_of_another_authority_is_no_node() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let nodes = nodes(2);
    // Node 2 trusts ours and is not trusted: node 1 is the one that refuses.
    let one = Start::new(1, &nodes, ours.for_node(&nodes[0], &ours)).go();
    let two = Start::new(2, &nodes, theirs.for_node(&nodes[1], &ours)).go();
    one.wait_for_failure("untrusted");
    two.wait_for_failure("distrusted");
    drop(two);
    // The other way round.
    let two = Start::new(2, &nodes, ours.for_node(&nodes[1], &theirs)).go();
    two.wait_for_failure("untrusted");
    one.wait_for_failure("distrusted");
    assert!(one.is_quiet() && two.is_quiet());
}

#[test]
fn a_certificate_is_good_for_its_own_node_alone() {
    let authority = Authority::new();
    let nodes = nodes(3);
    let for_node = |number: usize| authority.for_node(&nodes[number - 1], &authority);
    // Who dials shows the certificate of node 3: node 1 finds that out by the hello.
    let one = Start::new(1, &nodes[..2], for_node(1)).go();
    let two = Start::new(2, &nodes[..2], for_node(3)).go();
    one.wait_for_failure("refused");
    two.wait_for_failure("refused_by_peer");
    drop((one, two));
    // Who is dialled does: node 2 finds that out by itself.
    let one = Start::new(1, &nodes[..2], for_node(3)).go();
    let two = Start::new(2, &nodes[..2], for_node(2)).go();
    two.wait_for_failure("untrusted");
    one.wait_for_failure("distrusted");
    assert!(one.is_quiet() && two.is_quiet());
}

#[test]
fn certificates_on_one_side_and_a_secret_on_the_other_come_to_nothing() {
    let authority = Authority::new();
    let nodes = nodes(2);
    let certified = |number: u16| authority.for_node(&nodes[usize::from(number) - 1], &authority);
    for way in [[certified(1), by_secret(SECRET)], [by_secret(SECRET), certified(2)]] {
        let [one, two] = way;
        let one = Start::new(1, &nodes, one).go();
        let two = Start::new(2, &nodes, two).go();
        let failed = |reason| one.failures(reason) + two.failures(reason);
        poll("both know why", || failed("untrusted") > 0 && failed("distrusted") > 0);
        assert!(one.is_quiet() && two.is_quiet());
    }
}

#[test]
fn files_that_are_of_no_use_are_told_by_name() {
    let authority = Authority::new();
    let nodes = nodes(2);
    authority.for_node(&nodes[0], &authority);
    authority.for_node(&nodes[1], &authority);
    let [ca, certificate, key] = authority.files(&nodes[0]);
    let [_, _, other_key] = authority.files(&nodes[1]);
    let (ip, other_ip) = (nodes[0].url.socket_addr().ip(), nodes[1].url.socket_addr().ip());
    let absent = ca.with_file_name("absent.pem");
    let empty = ca.with_file_name("empty.pem");
    std::fs::write(&empty, "").unwrap();
    for (files, own, what) in [
        ([&absent, &certificate, &key], ip, "cluster.tls_ca, "),
        ([&empty, &certificate, &key], ip, "has no certificate"),
        ([&ca, &absent, &key], ip, "cluster.tls_certificate, "),
        ([&ca, &key, &key], ip, "has no certificate"),
        ([&ca, &certificate, &certificate], ip, "has no private key in PEM form"),
        ([&ca, &certificate, &other_key], ip, "cannot be used"),
        ([&ca, &certificate, &key], other_ip, "cannot be used"),
    ] {
        let error = Security::by_certificates(files[0], files[1], files[2], own).unwrap_err();
        assert!(error.what.contains(what), "{error:?}");
    }
}

#[test]
fn releases_that_share_a_version_speak_the_highest_one() {
    let nodes = nodes(2);
    let start = |me, min, max| {
        let versions = Versions { min, max };
        Start { versions, ..Start::new(me, &nodes, by_secret(SECRET)) }.go()
    };
    let one = start(1, 1, 1);
    let two = start(2, 1, 2);
    assert_eq!((one.up(2), two.up(1)), (1, 1));
    drop(two);
    one.down(2);
    let two = start(2, 2, 2);
    one.wait_for_failure("refused");
    two.wait_for_failure("refused_by_peer");
    drop(one);
    let one = start(1, 1, 3);
    assert_eq!((one.up(2), two.up(1)), (2, 2));
}

#[test]
fn a_link_comes_and_goes_with_the_row_of_its_node() {
    let nodes = nodes(3);
    let one = Start::new(1, &nodes[..2], by_secret(SECRET)).go();
    let [two, three] = [2, 3].map(|me| Start::new(me, &nodes, by_secret(SECRET)).go());
    one.up(2);
    three.wait_for_failure("refused_by_peer");
    one.thread.sender().send_topology(topology(1, nodes.clone()));
    one.up(3);
    three.up(1);
    let mut without = nodes.clone();
    without[2].is_enabled = false;
    one.thread.sender().send_topology(topology(1, without));
    one.down(3);
    assert_eq!(three.down(1), "the other end says: its row of the table of nodes has changed or is gone");
    poll("the link is gone", || one.report(3).is_none());
    assert_eq!(one.report(2).unwrap().state, State::Up);
    assert!(two.report(3).is_some());
}

#[test]
fn a_home_is_down_when_the_links_to_all_of_its_nodes_are() {
    let mut nodes = nodes(4);
    // Nodes 3 and 4 have one home.
    nodes[3].sip_addr = nodes[2].sip_addr;
    let [one, two, three, four] = [1, 2, 3, 4].map(|me| Start::new(me, &nodes, by_secret(SECRET)).go());
    for number in [2, 3, 4] {
        poll("all are up", || one.report(number).is_some_and(|link| link.state == State::Up));
    }
    let home = nodes[2].sip_addr.to_string();
    three.thread.stop();
    one.down(3);
    assert!(one.homes_down().is_empty());
    four.thread.stop();
    one.down(4);
    assert_eq!(one.homes_down(), [vec![home.clone()]]);
    let three = Start::new(3, &nodes, by_secret(SECRET)).go();
    one.up(3);
    assert_eq!(one.homes_down(), [vec![home.clone()], vec![]], "it is used at once");
    three.thread.stop();
    one.down(3);
    two.thread.stop();
    one.down(2);
    assert_eq!(one.homes_down()[2..], [vec![home], vec![]], "this node may be the one that is cut off");
}
