//! RFC 3261 §10.3 step 7: Call-ID, CSeq and retransmissions.

use super::node::{Node, Sent, and, register, with};
use super::pair::{Member, Pair};

const PHONE: &str = "198.51.100.9:5060";

fn send(node: &mut Node, message: &str) -> Sent {
    node.udp(PHONE, message).remove(0)
}

#[test]
fn a_retransmission_is_answered_alike_and_changes_nothing() {
    let mut node = Node::new();
    let message = register("a", "<sip:a@h>", 1);
    let first = send(&mut node, &message);
    node.pass(500);
    let again = send(&mut node, &message);
    assert_eq!(first.field("To"), again.field("To"), "the same tag");
    assert_eq!(again.status(), 200);
    assert_eq!((node.shard.bindings(), node.shard.counters().bindings_created), (1, 1));
}

#[test]
fn a_refresh_is_one_and_prolongs() {
    let mut node = Node::new();
    send(&mut node, &register("a", "<sip:a@h>;expires=100", 1));
    node.pass(90_000);
    send(&mut node, &register("a", "<sip:a@h>;expires=100", 2));
    assert_eq!(node.shard.counters().registers_refreshed, 1);
    node.pass(90_000);
    assert_eq!(send(&mut node, &register("a", "", 3)).fields("Contact").count(), 1);
    node.pass(20_000);
    assert_eq!(send(&mut node, &register("a", "", 4)).fields("Contact").count(), 0);
}

#[test]
fn an_older_or_equal_cseq_of_the_same_call_id_fails_with_500() {
    let mut node = Node::new();
    send(&mut node, &register("a", "<sip:a@h>", 5));
    assert_eq!(send(&mut node, &register("a", "<sip:a@h>;expires=0", 4)).status(), 500);
    let same = with(&register("a", "<sip:a@h>;expires=0", 5), "z9hG4bKa5", "z9hG4bKnew");
    assert_eq!(send(&mut node, &same).status(), 500);
    assert_eq!(send(&mut node, &register("a", "", 9)).fields("Contact").count(), 1);
}

#[test]
fn another_call_id_wins_whatever_its_cseq() {
    let mut node = Node::new();
    send(&mut node, &register("a", "<sip:a@h>", 500));
    let reborn = with(&register("a", "<sip:a@h>", 1), "Call-ID: a-call", "Call-ID: after-reboot");
    assert_eq!(send(&mut node, &reborn).status(), 200);
    let reborn = with(&register("a", "<sip:a@h>", 2), "Call-ID: a-call", "Call-ID: after-reboot");
    assert_eq!(send(&mut node, &reborn).status(), 200);
}

#[test]
fn a_late_older_register_does_not_bring_a_removed_binding_back() {
    let mut node = Node::new();
    let bind = register("a", "<sip:a@h>", 1);
    let remove = register("a", "<sip:a@h>;expires=0", 2);
    send(&mut node, &bind);
    assert_eq!(send(&mut node, &remove).fields("Contact").count(), 0);
    node.pass(10_000);
    assert_eq!(send(&mut node, &bind).status(), 500);
    let again = send(&mut node, &remove);
    assert_eq!((again.status(), again.fields("Contact").count()), (200, 0), "the removal repeated is still done");
    assert_eq!(node.shard.counters().bindings_removed, 1);
    // The memory ends, and with it everything.
    node.pass(33_000);
    assert_eq!(node.shard.bindings(), 0);
    // A newer one binds at once.
    send(&mut node, &register("a", "<sip:a@h>", 3));
    send(&mut node, &register("a", "<sip:a@h>;expires=0", 4));
    assert_eq!(send(&mut node, &register("a", "<sip:a@h>", 5)).fields("Contact").count(), 1);
}

#[test]
fn removing_what_is_not_there_is_no_error() {
    let mut node = Node::new();
    let sent = send(&mut node, &register("a", "<sip:a@h>;expires=0", 1));
    assert_eq!((sent.status(), sent.fields("Contact").count(), node.shard.bindings()), (200, 0, 0));
}

#[test]
fn whatever_else_changes_in_a_refresh_is_taken_up() {
    let mut node = Node::new();
    let mut cseq = 0;
    let mut next = |node: &mut Node, from: &str, change: &dyn Fn(String) -> String| {
        cseq += 1;
        let message = change(register("a", "<sip:a@h>;expires=100;x=1", cseq));
        let sent = node.udp(from, &message).remove(0);
        assert_eq!(sent.status(), 200, "{}", sent.text);
        (sent.field("Contact").unwrap_or_default().to_owned(), node.shard.counters().registers_refreshed)
    };
    let same = |m: String| m;
    assert_eq!(next(&mut node, PHONE, &same), ("<sip:a@h>;x=1;expires=100".into(), 0));
    assert_eq!(next(&mut node, PHONE, &same).1, 1);
    let other = |m: String| with(&m, ";x=1", ";x=2;q=0.3");
    assert_eq!(next(&mut node, PHONE, &other), ("<sip:a@h>;x=2;q=0.300;expires=100".into(), 1));
    let longer = |m: String| with(&m, "expires=100", "expires=200");
    assert_eq!(next(&mut node, PHONE, &longer), ("<sip:a@h>;x=1;expires=200".into(), 1));
    assert_eq!(next(&mut node, PHONE, &longer).1, 2);
    assert_eq!(next(&mut node, "198.51.100.9:7000", &longer).1, 2, "from another port");
    assert_eq!(next(&mut node, "198.51.100.9:7000", &longer).1, 3);
    for line in ["Allow: INVITE", "User-Agent: x", "Path: <sip:192.0.2.7;lr>"] {
        let before = node.shard.counters().registers_refreshed;
        let and_line = |m: String| and(&m, line);
        assert_eq!(next(&mut node, PHONE, &and_line).1, before, "{line}");
        assert_eq!(next(&mut node, PHONE, &and_line).1, before + 1, "{line}");
    }
    for (old, new) in [("tag=", "tag=x"), ("Max-Forwards: 70", "Max-Forwards: 69")] {
        let before = next(&mut node, PHONE, &same).1;
        let changed = |m: String| with(&m, old, new);
        assert_eq!(next(&mut node, PHONE, &changed).1, before + 1, "{new} does not concern the binding");
        assert_eq!(next(&mut node, PHONE, &changed).1, before + 2);
    }
    let gone = |m: String| with(&m, "expires=100", "expires=0");
    assert_eq!(next(&mut node, PHONE, &gone).0, "");
    assert_eq!(next(&mut node, PHONE, &same).0, "<sip:a@h>;x=1;expires=100");
}

/// The usual refresh is not read as a whole. What it is answered has to be what it would be answered if it were.
#[test]
fn a_refresh_that_repeats_a_registration_is_answered_like_any_other() {
    let lines =
        ["Supported: gruu, path", "Path: <sip:192.0.2.7;lr>", "Timestamp: 1", "Via: SIP/2.0/TCP x;branch=z9hG4bKx"];
    let vias = ["", ";rport", ";received=192.0.2.99", ";rport=1;received=192.0.2.99;x=y"];
    let stale = ["9", "4294967296", "x"];
    for (line, via) in lines.into_iter().flat_map(|line| vias.map(|via| (line, via))) {
        let message = |cseq: u32| {
            let message = register("a", "<sip:a@h>;+sip.instance=\"<urn:uuid:1>\";expires=100", cseq);
            and(&with(&message, ";branch=", &format!("{via};branch=")), line)
        };
        let answers = [message(1), and(&message(1), "X-Other: 1")].map(|first| {
            let mut node = Node::new();
            assert_eq!(send(&mut node, &first).status(), 200);
            node.pass(3_000);
            let refreshed = send(&mut node, &message(20));
            let again = send(&mut node, &message(20));
            let refused =
                stale.map(|cseq| send(&mut node, &with(&message(20), "CSeq: 20 ", &format!("CSeq: {cseq} "))));
            node.shard.drain();
            let drained = send(&mut node, &message(21));
            [refreshed, again, drained].into_iter().chain(refused).map(|sent| (sent.to, sent.text)).collect::<Vec<_>>()
        });
        let [same, other] = answers;
        // Temporary GRUUs are new each time (RFC 5627 §4.2).
        let but_gruu = |text: &str| text.split(";temp-gruu").next().unwrap_or_default().to_owned();
        for (same, other) in same.iter().zip(&other) {
            assert_eq!(same.0, other.0);
            assert_eq!(but_gruu(&same.1), but_gruu(&other.1), "{line} {via}");
            assert_eq!(same.1.len(), other.1.len(), "{line} {via}");
        }
        let statuses: Vec<&str> = same.iter().map(|(_, text)| &text[8..11]).collect();
        assert_eq!(statuses, ["200", "200", "503", "500", "400", "400"], "{line} {via}");
    }
}

/// Another phone of the user removes everything; its CSeq says nothing of those of this one.
#[test]
fn a_removal_by_another_call_id_leaves_the_order_of_the_first_one_alone() {
    for other_cseq in [1, 500] {
        let mut node = Node::new();
        send(&mut node, &register("a", "<sip:a@h>", 6));
        let bind = register("a", "<sip:a@h>", 7);
        send(&mut node, &bind);
        let remove = with(&register("a", "*", other_cseq), "Call-ID: a-call", "Call-ID: another");
        let remove = with(&remove, "Content-Length", "Expires: 0\r\nContent-Length");
        assert_eq!(send(&mut node, &remove).fields("Contact").count(), 0);
        // What is late does not bring it back.
        assert_eq!(send(&mut node, &register("a", "<sip:a@h>", 6)).status(), 500);
        let again = send(&mut node, &bind);
        assert_eq!((again.status(), again.fields("Contact").count()), (200, 0), "{}", again.text);
        assert_eq!(send(&mut node, &remove).status(), 200);
        // What is new does.
        let reborn = send(&mut node, &register("a", "<sip:a@h>", 8));
        assert_eq!((reborn.status(), reborn.fields("Contact").count()), (200, 1), "{}", reborn.text);
    }
}

/// RFC 3261 §10.3 step 6 compares the CSeq of one Call-ID: what another node tells of a removal under another Call-ID must not
/// be mixed with that.
#[test]
fn a_removal_at_another_node_refuses_no_phone_the_next_one() {
    for contact in ["*", "<sip:c1@203.0.113.9:5070>"] {
        let removal = |call_id, cseq| {
            let message = and(&register("u1", contact, cseq), "Expires: 0");
            with(&message, "u1-call", call_id)
        };
        let mut pair = Pair::connected([1, 1]);
        assert!(pair.members[0].ask(&removal("one", 10), pair.now).starts_with("SIP/2.0 200 "));
        pair.settle();
        // The other node comes back without its disk, and hears of another phone's removal before it is told all.
        pair.cut();
        pair.members[1] = Member::new(2, 1, pair.now, |_| {});
        pair.pass(1000);
        assert!(pair.members[1].ask(&removal("other", 27), pair.now).starts_with("SIP/2.0 200 "));
        pair.connect();
        pair.settle();
        pair.pass(1000);
        let answer = pair.members[0].ask(&removal("one", 11), pair.now);
        assert!(answer.starts_with("SIP/2.0 200 "), "{contact}: {answer}");
        // A late copy is refused as before.
        assert!(pair.members[0].ask(&removal("one", 9), pair.now).starts_with("SIP/2.0 500 "), "{contact}");
    }
}
