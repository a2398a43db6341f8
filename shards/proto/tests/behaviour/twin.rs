//! Two nodes with one home, of which one had its address and the other has it now.

use super::node::{NODE, Node, Sent, invite, register, request, respond, with};
use sipfed_proto::names::{Resolved, Server};
use sipfed_proto::settings::{NameSettings, Settings};
use sipfed_proto::{FlowToken, Outbox, Place, ShardIndex, Source, Transport, Verdict};
use std::net::SocketAddr;

const CALLER: &str = "198.51.100.9:5060";
const PHONE: &str = "203.0.113.7:5062";
const OTHER_PHONE: &str = "203.0.113.8:5062";

fn pair() -> [Node; 2] {
    pair_with(|_| {})
}

fn pair_with(change: impl Fn(&mut Settings)) -> [Node; 2] {
    [(); 2].map(|()| {
        let mut node = Node::with(&change);
        node.shard.keep_backups();
        node.register("bob", "sip:bob@203.0.113.7:5062", PHONE);
        node
    })
}

/// A pair of which the second node has several shards: the one that has bob.
fn uneven_pair() -> [Node; 2] {
    let [had, _] = pair();
    let (remote, local) = (PHONE.parse().unwrap(), NODE.parse().unwrap());
    let source = Source { transport: Transport::Udp, remote, local, flow: FlowToken::NONE };
    let message = register("bob", "<sip:bob@203.0.113.7:5062>", 1);
    let first = Place { index: ShardIndex(0), count: 7 };
    let verdict = Node::at(first, |_| {}).shard.receive(message.as_bytes(), &source, had.now, &mut Outbox::new());
    let Verdict::Belongs(index) = verdict else { panic!("bob is chosen to be of another shard than the first") };
    let mut has = Node::at(Place { index, ..first }, |_| {});
    has.shard.keep_backups();
    has.register("bob", "sip:bob@203.0.113.7:5062", PHONE);
    [had, has]
}

/// The ACK of a caller to a final response that is no 2xx.
fn ack(response: &Sent) -> String {
    let ack = invite("bob").replace("INVITE", "ACK").replace("branch=z9hG4bKcaller1ACK", "branch=z9hG4bKcaller1INVITE");
    with(&ack, "To: <sip:bob@fed.example>", &format!("To: {}", response.field("To").unwrap()))
}

/// The topmost branch of a message.
fn branch(sent: &Sent) -> &str {
    sent.text.split(";branch=").nth(1).unwrap().split([';', '\r']).next().unwrap()
}

fn to(sent: &[Sent]) -> Vec<(u16, String)> {
    sent.iter().map(|sent| (sent.status(), sent.udp().unwrap().to_string())).collect()
}

fn strays(node: &Node) -> u64 {
    node.shard.counters().dropped_stray_response
}

#[test]
fn what_phones_answer_reaches_the_caller_through_the_other_node() {
    for status in [180, 200, 486] {
        let [mut had, mut has] = pair();
        let copy = had.udp(CALLER, &invite("bob")).remove(1);
        assert!(has.udp(PHONE, &respond(&copy, 100, "")).is_empty());
        let sent = has.udp(PHONE, &respond(&copy, status, "t"));
        assert_eq!(to(&sent), [(status, CALLER.to_owned())]);
        assert_eq!(sent[0].text, had.udp(PHONE, &respond(&copy, status, "t")).last().unwrap().text);
        assert_eq!(has.shard.counters().responses_for_twins, 1);
    }
}

#[test]
fn other_requests_are_answered_that_way_too_and_at_the_port_that_the_caller_asks_for() {
    let [mut had, mut has] = pair();
    let message = request("MESSAGE", "sip:bob@fed.example", "bob", 1);
    for message in [message.replace(";branch", ";rport;branch"), message] {
        for caller in ["198.51.100.9:40000", "203.0.113.99:5060"] {
            let copy = had.udp(caller, &message).pop().unwrap();
            let sent = has.udp(PHONE, &respond(&copy, 200, "t"));
            assert_eq!(to(&sent), to(&had.udp(PHONE, &respond(&copy, 200, "t"))));
        }
    }
}

#[test]
fn a_failure_of_one_of_several_branches_is_not_passed_on_and_a_success_is() {
    let [mut had, mut has] = pair();
    had.register("bob", "sip:bob@203.0.113.8:5062", OTHER_PHONE);
    let copies = had.udp(CALLER, &invite("bob"));
    for copy in &copies[1..] {
        assert!(has.udp(PHONE, &respond(copy, 486, "t")).is_empty());
        assert_eq!(to(&has.udp(PHONE, &respond(copy, 200, "t"))), [(200, CALLER.to_owned())]);
    }
    assert_eq!(strays(&has), 2);
}

#[test]
fn rfc6026_8_9_whoever_makes_a_response_up_reaches_nobody_by_it() {
    let [mut had, mut has] = pair();
    let copy = had.udp(CALLER, &invite("bob")).remove(1);
    let response = respond(&copy, 200, "t");
    let branch = branch(&copy);
    let last = branch.chars().last().unwrap();
    let forged = format!("{}{}", &branch[..branch.len() - 1], if last == '0' { '1' } else { '0' });
    let call_id = copy.field("Call-ID").unwrap();
    let made_up = [
        response.replace("198.51.100.9", "198.51.100.10"),
        response.replace(call_id, "another@call"),
        response.replace(branch, &forged),
        response.replace(branch, &branch[..branch.len() - 17]),
        response.replacen("z9hG4bK.ff", "z9hG4bK.00", 1),
    ];
    for (number, response) in made_up.iter().enumerate() {
        assert!(has.udp(PHONE, response).is_empty(), "{number}");
        assert_eq!(strays(&has), number as u64 + 1);
    }
    // A node without others neither passes anything on nor signs its own branches.
    let mut alone = Node::new();
    assert!(alone.udp(PHONE, &response).is_empty());
    alone.register("bob", "sip:bob@203.0.113.7:5062", PHONE);
    let own = alone.udp(CALLER, &invite("bob")).remove(1);
    assert!(has.udp(PHONE, &respond(&own, 200, "t")).is_empty());
}

#[test]
fn an_invite_that_is_sent_again_to_the_other_node_reaches_the_phone_as_the_same() {
    for pair in [pair, uneven_pair] {
        let mut nodes = pair();
        let copies = nodes.each_mut().map(|node| node.udp(CALLER, &invite("bob")).remove(1));
        assert_eq!(copies[0].text, copies[1].text);
        let [_, has] = &mut nodes;
        assert_eq!(to(&has.udp(PHONE, &respond(&copies[0], 180, "t"))), [(180, CALLER.to_owned())]);
        assert_eq!((strays(has), has.shard.counters().responses_for_twins), (0, 0), "it has state of its own");
    }
}

#[test]
fn rfc3261_17_1_1_3_an_ack_to_a_failure_that_was_passed_on_has_the_branch_that_the_phone_knows() {
    for pair in [pair, uneven_pair] {
        let [mut had, mut has] = pair();
        let copy = had.udp(CALLER, &invite("bob")).remove(1);
        let failure = has.udp(PHONE, &respond(&copy, 486, "t")).remove(0);
        let acks = has.udp(CALLER, &ack(&failure));
        assert_eq!((acks.len(), acks[0].udp().unwrap().to_string()), (1, PHONE.to_owned()));
        assert_eq!(acks[0].field("Via"), copy.field("Via"));
    }
}

#[test]
fn branches_of_one_call_differ_and_so_do_those_of_calls_that_a_caller_does_not_keep_apart() {
    let [mut had, _] = pair();
    had.register("bob", "sip:bob@203.0.113.8:5062", OTHER_PHONE);
    let copies = had.udp(CALLER, &invite("bob"));
    assert_ne!(branch(&copies[1]), branch(&copies[2]));
    had.udp(PHONE, &respond(&copies[1], 486, "t"));
    let failure = had.udp(OTHER_PHONE, &respond(&copies[2], 486, "t")).pop().unwrap();
    assert_eq!(failure.status(), 486);
    had.udp(CALLER, &ack(&failure));
    // The caller's transaction is over before those of the phones, and it begins another one that looks the same.
    had.pass(6_000);
    let again = had.udp(CALLER, &invite("bob"));
    assert_eq!((again.len(), again[0].status()), (3, 100));
    for (copy, again) in copies[1..].iter().zip(&again[1..]) {
        assert_eq!(copy.udp(), again.udp());
        assert_ne!(branch(copy), branch(again));
    }
    assert_eq!(to(&had.udp(PHONE, &respond(&again[1], 180, "t"))), [(180, CALLER.to_owned())]);
}

#[test]
fn a_later_way_of_a_phone_has_a_branch_of_its_own() {
    let [mut had, _] = pair_with(|settings| settings.names = Some(NameSettings::default()));
    had.register("eve", "sip:eve@example.net", PHONE);
    assert!(had.udp(CALLER, &invite("eve")).is_empty());
    let question = had.shard.next_name().unwrap();
    let server = |(rank, at): (u16, &str)| {
        let at: SocketAddr = at.parse().unwrap();
        let (transport, port) = (Some(Transport::Udp), Some(at.port()));
        Server { transport, port, rank, weight: 0, addresses: Box::new([at.ip()]) }
    };
    let servers = (0..).zip([PHONE, OTHER_PHONE]).map(server).collect();
    had.shard.handle_name(question.id, Resolved::Servers(servers, 3600), had.now);
    let sent: Vec<Sent> = had.pass(0).into_iter().map(|(_, sent)| sent).collect();
    let copy = sent.iter().find(|sent| sent.start().starts_with("INVITE")).unwrap();
    // Nothing is left of a branch that could not be sent.
    let next = had.fail(copy);
    let next = next.iter().find(|sent| sent.start().starts_with("INVITE")).unwrap();
    assert_eq!((copy.udp(), next.udp()), (PHONE.parse().ok(), OTHER_PHONE.parse().ok()));
    assert_ne!(branch(next), branch(copy));
}
