//! Two nodes with one home, of which one had its address and the other has it now.

use super::node::{Node, Sent, invite, request, respond};

const CALLER: &str = "198.51.100.9:5060";
const PHONE: &str = "203.0.113.7:5062";
const OTHER_PHONE: &str = "203.0.113.8:5062";

fn pair() -> [Node; 2] {
    [(); 2].map(|()| {
        let mut node = Node::new();
        node.shard.keep_backups();
        node.register("bob", "sip:bob@203.0.113.7:5062", PHONE);
        node
    })
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
    let branch = response.split(";branch=").nth(1).unwrap().split("\r\n").next().unwrap();
    let last = branch.chars().last().unwrap();
    let forged = format!("{}{}", &branch[..branch.len() - 1], if last == '0' { '1' } else { '0' });
    let call_id = copy.field("Call-ID").unwrap();
    let made_up = [
        response.replace("198.51.100.9", "198.51.100.10"),
        response.replace(call_id, "another@call"),
        response.replace(branch, &forged),
        response.replace(branch, &branch[..branch.len() - 17]),
        response.replacen("z9hG4bK.00", "z9hG4bK.01", 1),
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
