//! What an operator does to bindings: pages of them, ending them, making one by hand.

use super::node::{NODE, Node, invite, register};
use sipfed_proto::settings::Settings;
use sipfed_proto::{ByHand, Ended, Owners, Place, Shard, ShardIndex};
use std::collections::BTreeSet;
use std::sync::Arc;

const PHONE: &str = "203.0.113.1:5062";

fn by_hand<'a>(aor: &'a str, contact: &'a str) -> ByHand<'a> {
    ByHand { aor: aor.as_bytes(), contact: contact.as_bytes(), expires_s: 600, q_milli: 500, methods: 0 }
}

/// All AoRs by pages; `between` happens after each.
fn aors_by_page(node: &mut Node, mut between: impl FnMut(&mut Node)) -> Vec<String> {
    let (mut from, mut aors) = (Some(0), Vec::new());
    while let Some(number) = from {
        let (page, next) = node.shard.page(number, node.now);
        aors.extend(page.bindings().map(|binding| String::from_utf8(binding.aor.to_vec()).unwrap()));
        from = next;
        between(node);
    }
    aors
}

#[test]
fn pages_hold_every_aor_that_stays_whatever_comes_and_goes_meanwhile() {
    let mut node = Node::new();
    for user in 0..3000 {
        node.register(&format!("u{user}"), &format!("sip:u{user}@203.0.113.1:5062"), PHONE);
    }
    let mut turn = 0;
    let aors = aors_by_page(&mut node, |node| {
        turn += 1;
        node.register(&format!("new{turn}"), "sip:n@203.0.113.1:5062", PHONE);
        let gone = format!("u{}@fed.example", 2999 - turn);
        assert_eq!(node.shard.end_by_hand(gone.as_bytes(), None, node.now), Ok(Ended::Bindings(1)));
    });
    assert!(turn > 10, "pages are small: {turn}");
    let seen: BTreeSet<&str> = aors.iter().map(String::as_str).collect();
    assert_eq!(seen.len(), aors.len(), "none is there twice");
    for user in 0..2999 - turn {
        assert!(seen.contains(format!("u{user}@fed.example").as_str()), "u{user}");
    }
}

#[test]
fn one_aor_is_seen_with_all_of_its_live_bindings() {
    let mut node = Node::new();
    node.register("a", "sip:a@203.0.113.1:5062", PHONE);
    node.register("a", "sip:b@203.0.113.1:5062", PHONE);
    let page = node.shard.bindings_of(b"a@fed.example", node.now);
    assert_eq!(page.bindings().map(|b| b.uri.to_vec()).collect::<Vec<_>>().len(), 2);
    let later = node.now.plus_ms(3_600_000);
    assert!(node.shard.bindings_of(b"a@fed.example", later).is_empty());
    assert!(node.shard.bindings_of(b"b@fed.example", node.now).is_empty());
}

#[test]
fn contacts_and_their_aors_are_counted_without_what_is_only_remembered() {
    let mut node = Node::new();
    let counts = |node: &Node| (node.shard.homes(), node.shard.contacts());
    node.register("a", "sip:a@203.0.113.1:5062", PHONE);
    node.udp(PHONE, &register("a", "<sip:b@203.0.113.1:5062>;expires=600", 2));
    node.register("c", "sip:c@203.0.113.1:5062", PHONE);
    assert_eq!(counts(&node), (2, 3));
    node.udp(PHONE, &register("a", "<sip:b@203.0.113.1:5062>;expires=0", 3));
    assert_eq!(counts(&node), (2, 2));
    node.udp(PHONE, &register("c", "<sip:c@203.0.113.1:5062>;expires=0", 2));
    assert_eq!(counts(&node), (1, 1));
    node.register("d", "sip:d@203.0.113.1:5062", PHONE);
    node.pass(3_700_000);
    assert_eq!((counts(&node), node.shard.bindings()), ((0, 0), 0));
    node.register("a", "sip:a@203.0.113.1:5062", PHONE);
    assert_eq!(counts(&node), (1, 1));
}

#[test]
fn counts_are_the_same_after_a_restart() {
    let mut node = Node::new();
    node.shard.keep_journal(node.now);
    node.register("a", "sip:a@203.0.113.1:5062", PHONE);
    node.register("b", "sip:b@203.0.113.1:5062", PHONE);
    node.shard.end_by_hand(b"b@fed.example", None, node.now).unwrap();
    let journal = node.shard.journal().to_vec();
    let mut other = Node::new();
    for _ in 0..2 {
        other.shard.restore(&journal).unwrap();
        assert_eq!((other.shard.homes(), other.shard.contacts()), (1, 1));
    }
}

#[test]
fn what_was_ended_by_hand_is_gone_and_comes_back_with_the_next_register_alone() {
    let mut node = Node::new();
    node.shard.keep_journal(node.now);
    let first = register("a", "<sip:a@203.0.113.1:5062>;expires=600", 1);
    node.udp(PHONE, &first);
    node.shard.clear_journal();
    assert_eq!(node.shard.end_by_hand(b"a@fed.example", None, node.now), Ok(Ended::Bindings(1)));
    assert!(!node.shard.journal().is_empty(), "it is written down");
    assert_eq!(node.shard.end_by_hand(b"a@fed.example", None, node.now), Ok(Ended::NoAor));
    node.udp(PHONE, &first);
    assert_eq!(node.shard.live_bindings(node.now).count(), 0, "a retransmission changes nothing");
    assert_eq!(node.udp("198.51.100.7:5060", &invite("a")).last().unwrap().status(), 480);
    node.udp(PHONE, &register("a", "<sip:a@203.0.113.1:5062>;expires=600", 2));
    assert_eq!(node.shard.live_bindings(node.now).count(), 1);
}

#[test]
fn one_contact_is_ended_by_what_its_uri_means() {
    let mut node = Node::new();
    node.register("a", "sip:a@203.0.113.1:5062", PHONE);
    node.udp(PHONE, &register("a", "<sip:b@203.0.113.1:5062;x=1>;expires=600", 2));
    let mut end = |contact: &str| node.shard.end_by_hand(b"a@fed.example", Some(contact.as_bytes()), node.now);
    assert_eq!(end("sip:c@203.0.113.1:5062"), Ok(Ended::NoContact));
    assert_eq!(end("no uri at all"), Ok(Ended::NoContact));
    assert_eq!(end("SIP:b@203.0.113.1:5062;x=1"), Ok(Ended::Bindings(1)));
    assert_eq!(end("sip:a@203.0.113.1:5062"), Ok(Ended::Bindings(1)));
    assert_eq!(end("sip:a@203.0.113.1:5062"), Ok(Ended::NoAor));
}

#[test]
fn a_binding_made_by_hand_is_called_and_kept_like_any_other() {
    let mut node = Node::new();
    node.shard.keep_journal(node.now);
    let wanted =
        ByHand { methods: 1 << 0 | 1 << 1, ..by_hand("a@fed.example", "sip:a@203.0.113.9:5070;transport=tcp") };
    assert_eq!(node.shard.bind_by_hand(&wanted, node.now), Ok(()));
    let journal = node.shard.journal().to_vec();
    let page = node.shard.bindings_of(b"a@fed.example", node.now);
    let binding = page.bindings().next().unwrap();
    assert_eq!((binding.uri, binding.q_milli), (&b"sip:a@203.0.113.9:5070;transport=tcp"[..], 500));
    assert_eq!(binding.methods().collect::<Vec<_>>(), ["INVITE", "ACK"]);
    assert_eq!((binding.expires_at_s, binding.is_natted), (node.now.unix_s() + 600, false));
    let sent = node.udp("198.51.100.7:5060", &invite("a"));
    assert!(sent.iter().any(|sent| sent.start().starts_with("INVITE sip:a@203.0.113.9:5070")), "{sent:?}");
    let mut other = Node::new();
    assert_eq!(other.shard.restore(&journal), Ok(1));
    // The same contact again replaces it.
    assert_eq!(
        node.shard.bind_by_hand(&by_hand("a@fed.example", "sip:a@203.0.113.9:5070;transport=tcp"), node.now),
        Ok(())
    );
    assert_eq!(node.shard.contacts(), 1);
}

#[test]
fn a_domain_may_be_an_address_of_the_node_itself() {
    let mut node = Node::with(|settings: &mut Settings| settings.own_addresses_are_domains = true);
    let aor = format!("a@{}", NODE.split(':').next().unwrap());
    assert_eq!(node.shard.bind_by_hand(&by_hand(&aor, "sip:a@203.0.113.9"), node.now), Ok(()));
    assert_eq!(node.shard.bindings_of(aor.as_bytes(), node.now).bindings().count(), 1);
}

#[test]
fn what_a_register_would_be_refused_for_is_refused_by_hand() {
    let mut node = Node::with(|settings| settings.registrar.max_contacts = 1);
    let status = |node: &mut Node, wanted: &ByHand<'_>| node.shard.bind_by_hand(wanted, node.now).unwrap_err().status;
    for contact in
        ["", "sip:a@host.example", "tel:+1", "sip:a@224.0.0.1", "sip:a@203.0.113.1>\r\nX: y", "sip:a@203.0.113.1\0"]
    {
        assert_eq!(status(&mut node, &by_hand("a@fed.example", contact)), 400, "{contact:?}");
    }
    assert_eq!(status(&mut node, &by_hand("a@other.example", "sip:a@203.0.113.9")), 404);
    assert_eq!(status(&mut node, &by_hand("a b@fed.example", "sip:a@203.0.113.9")), 400);
    let brief = ByHand { expires_s: 1, ..by_hand("a@fed.example", "sip:a@203.0.113.9") };
    assert_eq!(status(&mut node, &brief), 423);
    node.shard.refuse_changes(true);
    assert_eq!(status(&mut node, &by_hand("a@fed.example", "sip:a@203.0.113.9")), 503);
    assert_eq!(node.shard.end_by_hand(b"a@fed.example", None, node.now).unwrap_err().status, 503);
    assert_eq!((node.shard.contacts(), node.shard.bindings()), (0, 0));
}

#[test]
fn whoever_has_the_secret_knows_the_owner() {
    let owners = Owners::new([7; 32], 3);
    for user in 0..50 {
        let aor = format!("u{user}@fed.example");
        let settings = Arc::new(Settings { domains: vec!["fed.example".into()], ..Settings::default() });
        let now = sipfed_proto::Now::from_unix_ms(1_700_000_000_000);
        let place = Place { index: ShardIndex(owners.of(aor.as_bytes()) as u8), count: 3 };
        let mut shard = Shard::new(settings, place, [7; 32], now);
        let source = sipfed_proto::Source {
            transport: sipfed_proto::Transport::Udp,
            remote: PHONE.parse().unwrap(),
            local: NODE.parse().unwrap(),
            flow: sipfed_proto::FlowToken::NONE,
        };
        let message = register(&format!("u{user}"), "<sip:a@203.0.113.1:5062>;expires=600", 1);
        let verdict = shard.receive(message.as_bytes(), &source, now, &mut sipfed_proto::Outbox::new());
        assert_eq!(verdict, sipfed_proto::Verdict::Handled);
    }
}
