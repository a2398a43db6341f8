//! Two nodes with one home, of which one had its address and the other has it now.

use super::node::{NODE, Node, Sent, invite, register, request, respond, with};
use sipfed_proto::directory::Answer;
use sipfed_proto::names::{Resolved, Server};
use sipfed_proto::settings::{DirectorySettings, NameSettings, Settings};
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

/// The CANCEL of the caller's INVITE.
fn cancel() -> String {
    invite("bob").replace("INVITE", "CANCEL").replace("caller1CANCEL", "caller1INVITE")
}

/// The topmost branch of a message.
fn branch(sent: &Sent) -> &str {
    sent.text.split(";branch=").nth(1).unwrap().split([';', '\r']).next().unwrap()
}

/// Who is sent which request; all responses are passed over.
fn requests(sent: &[Sent]) -> Vec<(String, String)> {
    let requests = sent.iter().filter(|sent| sent.status() == 0);
    requests.map(|sent| (sent.start().split(' ').next().unwrap().into(), sent.udp().unwrap().to_string())).collect()
}

/// Everything to the end of all transactions: nothing is sent any more, and nothing is held.
fn assert_over(node: &mut Node) {
    assert_eq!(node.pass(70_000).len(), 0);
    assert_eq!(node.shard.held_transactions(), 0);
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
fn rfc3261_9_a_call_that_rings_is_cancelled_at_the_other_node() {
    for pair in [pair, uneven_pair] {
        let [mut had, mut has] = pair();
        let copy = had.udp(CALLER, &invite("bob")).remove(1);
        had.udp(PHONE, &respond(&copy, 180, "t"));
        let sent = has.udp(CALLER, &cancel());
        assert_eq!(requests(&sent), [("CANCEL".to_owned(), PHONE.to_owned())]);
        let (ours, answer) = (&sent[0], &sent[1]);
        for name in ["Via", "From", "To", "Call-ID"] {
            assert_eq!(ours.field(name), copy.field(name), "{name}");
        }
        assert_eq!((ours.start(), ours.field("CSeq")), ("CANCEL sip:bob@203.0.113.7:5062 SIP/2.0", Some("1 CANCEL")));
        assert_eq!((answer.status(), answer.field("CSeq")), (200, Some("1 CANCEL")));
        // It is made sure that it arrives, and so is that the caller hears.
        assert_eq!(requests(&[has.pass(600).remove(0).1]), [("CANCEL".to_owned(), PHONE.to_owned())]);
        assert!(has.udp(PHONE, &respond(ours, 200, "t")).is_empty());
        assert_eq!(to(&has.udp(CALLER, &cancel())), [(200, CALLER.to_owned())]);
        let sent = has.udp(PHONE, &respond(&copy, 487, "t"));
        assert_eq!(requests(&sent), [("ACK".to_owned(), PHONE.to_owned())]);
        assert_eq!(sent[0].field("Via"), copy.field("Via"));
        let failure = sent.last().unwrap();
        assert_eq!((to(&sent[1..]), failure.field("CSeq")), (vec![(487, CALLER.to_owned())], Some("1 INVITE")));
        assert_eq!(failure.text, had.udp(PHONE, &respond(&copy, 487, "t")).pop().unwrap().text);
        assert_eq!(to(&[has.pass(500).remove(0).1]), [(487, CALLER.to_owned())]);
        assert!(has.udp(CALLER, &ack(failure)).is_empty());
        assert_over(&mut has);
    }
}

#[test]
fn a_phone_that_does_not_know_the_call_keeps_nobody_waiting() {
    let [mut had, mut has] = pair();
    had.register("bob", "sip:bob@203.0.113.8:5062", OTHER_PHONE);
    let copies = had.udp(CALLER, &invite("bob"));
    for at in [OTHER_PHONE, "203.0.113.9:5062"] {
        has.register("bob", &format!("sip:bob@{at}"), at);
    }
    let sent = has.udp(CALLER, &cancel());
    let receivers = [PHONE, OTHER_PHONE, "203.0.113.9:5062"];
    assert_eq!(requests(&sent), receivers.map(|phone| ("CANCEL".to_owned(), phone.to_owned())));
    assert_eq!([sent[0].field("Via"), sent[1].field("Via")], [copies[1].field("Via"), copies[2].field("Via")]);
    // One was not there before, one rings, and one has refused.
    assert!(has.udp(receivers[2], &respond(&sent[2], 481, "t")).is_empty());
    for (phone, copy, cancel) in [(PHONE, &copies[1], &sent[0]), (OTHER_PHONE, &copies[2], &sent[1])] {
        assert!(has.udp(phone, &respond(cancel, 200, "t")).is_empty());
        let last = has.udp(phone, &respond(copy, 487, "t")).pop().unwrap();
        let is_last = phone == OTHER_PHONE;
        assert_eq!(last.status(), if is_last { 487 } else { 0 });
        if is_last {
            has.udp(CALLER, &ack(&last));
        }
    }
    assert_over(&mut has);
}

#[test]
fn a_call_that_nobody_knows_any_more_ends_for_its_caller() {
    let [_, mut has] = pair();
    let sent = has.udp(CALLER, &cancel());
    let ended = has.udp(PHONE, &respond(&sent[0], 481, "t")).remove(0);
    assert_eq!((ended.status(), ended.field("CSeq")), (487, Some("1 INVITE")));
    assert!(has.udp(CALLER, &ack(&ended)).is_empty());
    assert_over(&mut has);
}

#[test]
fn a_call_that_is_taken_while_it_is_cancelled_is_set_up() {
    let [mut had, mut has] = pair();
    let copy = had.udp(CALLER, &invite("bob")).remove(1);
    let sent = has.udp(CALLER, &cancel());
    assert_eq!(to(&has.udp(PHONE, &respond(&copy, 200, "t"))), [(200, CALLER.to_owned())]);
    assert!(has.udp(PHONE, &respond(&sent[0], 481, "t")).is_empty());
    assert_eq!(to(&has.udp(PHONE, &respond(&copy, 200, "t"))), [(200, CALLER.to_owned())], "it is repeated end to end");
    assert_over(&mut has);
}

#[test]
fn groups_of_q_are_cancelled_together_and_none_rings_any_more() {
    let [_, mut has] = pair_with(|settings| settings.proxy.serial_by_q = true);
    has.udp(OTHER_PHONE, &register("bob", "<sip:bob@203.0.113.8:5062>;q=0.5", 9));
    let sent = has.udp(CALLER, &cancel());
    assert_eq!(requests(&sent), [PHONE, OTHER_PHONE].map(|phone| ("CANCEL".to_owned(), phone.to_owned())));
    assert!(has.pass(40_000).iter().all(|(_, sent)| !sent.start().starts_with("INVITE")));
}

#[test]
fn rfc3261_9_2_a_cancel_of_nothing_is_refused() {
    let refused = [(481, CALLER.to_owned())];
    let [mut has, _] = pair();
    // Nobody could have been called.
    assert_eq!(to(&has.udp(CALLER, &with(&cancel(), "sip:bob@fed", "sip:carol@fed"))), refused);
    assert_eq!(
        to(&has.udp(CALLER, &with(&cancel(), "sip:bob@fed.example SIP", "sip:bob@203.0.113.7:5062 SIP"))),
        refused
    );
    // A node without others has sent whatever there is itself.
    let mut alone = Node::new();
    alone.register("bob", "sip:bob@203.0.113.7:5062", PHONE);
    assert_eq!(to(&alone.udp(CALLER, &cancel())), refused);
    let [_, mut full] = pair_with(|settings| settings.proxy.transactions_per_shard_max = 0);
    assert_eq!(to(&full.udp(CALLER, &cancel())), refused);
}

#[test]
fn other_homes_are_told_of_a_cancel_once_they_are_known() {
    const HOME: &str = "192.0.2.2:5060";
    let settings = |settings: &mut Settings| {
        let home = NODE.split(':').next().unwrap().to_owned();
        settings.directory = Some(DirectorySettings { home, peers: vec![HOME.into()], ..DirectorySettings::default() });
    };
    let [mut had, mut has] = pair_with(settings);
    let homes = [HOME.into()];
    let call = |node: &mut Node, message: &str| {
        let mut sent = node.udp(CALLER, message);
        let question = node.shard.next_question().unwrap();
        sent.extend(node.answer(question.id, Answer::Homes(&homes)));
        sent
    };
    let copies = call(&mut had, &invite("bob"));
    let sent = call(&mut has, &cancel());
    assert_eq!(requests(&sent), [PHONE, HOME].map(|to| ("CANCEL".to_owned(), to.to_owned())));
    let there = sent.last().unwrap();
    assert_eq!(there.field("Via"), copies.last().unwrap().field("Via"));
    for (from, copy, cancel) in [(PHONE, &copies[1], &sent[0]), (HOME, &copies[2], there)] {
        assert!(has.udp(from, &respond(cancel, 200, "t")).is_empty());
        let last = has.udp(from, &respond(copy, 487, "t")).pop().unwrap();
        if from == HOME {
            assert_eq!((last.status(), last.udp().unwrap().to_string()), (487, CALLER.to_owned()));
            has.udp(CALLER, &ack(&last));
        }
    }
    assert_over(&mut has);
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
