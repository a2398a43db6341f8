//! What a shard writes down comes back in another: the journal that a log is made of.

use super::node::{NODE, Node, and, invite, register, with};
use proptest::prelude::*;
use sipfed_proto::settings::{RegistrarSettings, Settings};
use sipfed_proto::{FlowToken, Listener, Now, Outbox, Place, Shard, ShardIndex, Source, Transport};
use std::sync::Arc;

const PHONE: &str = "203.0.113.1:5062";

/// Seconds that a binding lives at most.
const EXPIRES_S_MAX: u32 = 600;

fn start() -> Now {
    Now::from_unix_ms(1_700_000_000_000)
}

/// Shards of one node that share what was written down so far.
fn shards(count: u8, journals: &[Vec<u8>], now: Now) -> Vec<Shard> {
    let addr = NODE.parse().unwrap();
    let settings = Arc::new(Settings {
        domains: vec!["fed.example".into()],
        listeners: vec![Listener { transport: Transport::Udp, addr }],
        registrar: RegistrarSettings { max_expires_s: EXPIRES_S_MAX, ..RegistrarSettings::default() },
        ..Settings::default()
    });
    let shard = |index| {
        let place = Place { index: ShardIndex(index), count };
        let mut shard = Shard::new(Arc::clone(&settings), place, [3; 32], now);
        for journal in journals {
            shard.restore(journal).unwrap();
        }
        shard
    };
    (0..count).map(shard).collect()
}

fn keep_journals(shards: &mut [Shard], now: Now) {
    for shard in shards {
        shard.keep_journal(now);
    }
}

/// Hands `text` to the shard that owns it; gives the answer without what differs from request to request.
fn ask(shards: &mut [Shard], text: &str, now: Now) -> String {
    let source = Source {
        transport: Transport::Udp,
        remote: PHONE.parse().unwrap(),
        local: NODE.parse().unwrap(),
        flow: FlowToken::NONE,
    };
    let mut out = Outbox::new();
    for shard in shards {
        shard.receive(text.as_bytes(), &source, now, &mut out);
    }
    let (_, bytes) = out.iter().next().expect("every request is answered");
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The bindings of a user, as a fetch tells them.
fn fetched(shards: &mut [Shard], user: &str, now: Now) -> Vec<String> {
    let answer = ask(shards, &register(user, "", 1_000_000), now);
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    sorted(&answer).into_iter().filter(|line| line.starts_with("Contact")).collect()
}

/// The lines of a message: bindings stand in the order of their making, or of their being written whole.
fn sorted(message: &str) -> Vec<String> {
    let mut lines: Vec<String> = message.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

#[derive(Clone, Debug)]
enum Step {
    Register { user: usize, contact: usize, expires_s: u32, odd: bool },
    RemoveAll { user: usize },
    Pass { s: u64 },
    Generation,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0usize..5, 0usize..3, prop_oneof![Just(0u32), Just(60), 60u32..4000], any::<bool>())
            .prop_map(|(user, contact, expires_s, odd)| Step::Register { user, contact, expires_s, odd }),
        1 => (0usize..5).prop_map(|user| Step::RemoveAll { user }),
        3 => (0u64..900).prop_map(|s| Step::Pass { s }),
        1 => Just(Step::Generation),
    ]
}

fn text(step: &Step, cseq: u32) -> Option<String> {
    match step {
        Step::Register { user, contact, expires_s, odd } => {
            let contact = format!("<sip:c{contact}@203.0.113.9:5070>;+sip.instance=\"<urn:x:{contact}>\";x=1");
            let message = register(&format!("u{user}"), &contact, cseq);
            let message = and(&message, &format!("Expires: {expires_s}"));
            // Once in a while something that is no concern of the binding differs.
            Some(if *odd { and(&message, "X-Odd: 1") } else { message })
        }
        Step::RemoveAll { user } => Some(and(&register(&format!("u{user}"), "*", cseq), "Expires: 0")),
        Step::Pass { .. } | Step::Generation => None,
    }
}

proptest! {
    /// However many shards wrote it and however many read it, and from whatever generation on that is not older than
    /// the longest time a binding lives.
    #[test]
    fn what_was_answered_comes_back(
        steps in prop::collection::vec(step(), 1..60),
        (wrote, reads) in (1u8..4, 1u8..4),
    ) {
        let mut now = start();
        let mut all = shards(wrote, &[], now);
        let mut journals = vec![(now, Vec::new())];
        keep_journals(&mut all, now);
        for (n, step) in steps.iter().enumerate() {
            match step {
                Step::Pass { s } => now = now.plus_ms(s * 1000),
                Step::Generation => {
                    journals.push((now, Vec::new()));
                    keep_journals(&mut all, now);
                }
                _ => {}
            }
            if let Some(text) = text(step, n as u32 + 1) {
                ask(&mut all, &text, now);
            }
            let mut out = Outbox::new();
            for shard in &mut all {
                shard.handle_timeout(now, &mut out);
                journals.last_mut().unwrap().1.extend_from_slice(shard.journal());
                shard.clear_journal();
            }
        }
        // A generation that ended longer ago than a binding may live is not needed.
        let ended = journals.windows(2).filter(|two| two[1].0.plus_ms(u64::from(EXPIRES_S_MAX + 1) * 1000) <= now);
        let dropped = ended.count();
        let needed: Vec<Vec<u8>> = journals.into_iter().skip(dropped).map(|(_, journal)| journal).collect();
        let mut again = shards(reads, &needed, now);
        for user in (0..5).map(|n| format!("u{n}")) {
            prop_assert_eq!(fetched(&mut all, &user, now), fetched(&mut again, &user, now), "{}", user);
        }
        // A late REGISTER, and the next one, are judged by what came back.
        for user in 0..5 {
            for cseq in [1, steps.len() as u32 + 1] {
                let step = Step::Register { user, contact: 0, expires_s: 60, odd: false };
                let text = text(&step, cseq).unwrap();
                let answers = [&mut all, &mut again].map(|shards| sorted(&ask(shards, &text, now)));
                prop_assert_eq!(&answers[0], &answers[1]);
            }
        }
    }

    /// A damaged journal is told as such, or does what it says; nothing else.
    #[test]
    fn damage_does_not_panic(at in 0usize..4000, byte in any::<u8>(), cut in 0usize..4000) {
        let mut journal = journal_of_all_kinds();
        let len = journal.len();
        journal[at % len] = byte;
        let mut node = Node::new();
        let _ = node.shard.restore(&journal);
        let _ = node.shard.restore(&journal[..cut % len]);
    }
}

/// One entry of each kind.
fn journal_of_all_kinds() -> Vec<u8> {
    let mut node = Node::new();
    node.shard.keep_journal(node.now);
    let texts = [
        register("a", "<sip:a@h>;expires=600", 1),
        register("a", "<sip:a@h>;expires=600", 2),
        and(&register("a", "<sip:a@h>;expires=600", 3), "X-Odd: 1"),
        register("b", "<sip:b@[2001:db8::1]>;expires=600", 1),
        register("a", "<sip:a@h>;expires=0", 4),
    ];
    for text in texts {
        assert_eq!(node.udp(PHONE, &text)[0].status(), 200);
    }
    node.shard.journal().to_vec()
}

#[test]
fn a_refresh_is_written_down_in_a_few_dozen_bytes() {
    let mut node = Node::new();
    node.shard.keep_journal(node.now);
    node.pass(1_000);
    let written = |node: &mut Node, text: &str| {
        node.shard.clear_journal();
        assert_eq!(node.udp(PHONE, text)[0].status(), 200);
        node.shard.journal().len()
    };
    let whole = written(&mut node, &register("a", "<sip:a@h>;expires=600", 1));
    assert_eq!(written(&mut node, &register("a", "<sip:a@h>;expires=600", 2)), 51);
    assert_eq!(written(&mut node, &register("a", "<sip:a@h>;expires=600", 2)), 0, "a retransmission changes nothing");
    assert_eq!(written(&mut node, &and(&register("a", "<sip:a@h>;expires=600", 3), "X-Odd: 1")), 59);
    // Once a generation it is written whole, so that nothing older is needed.
    node.pass(5_000);
    node.shard.keep_journal(node.now);
    node.pass(1_000);
    assert_eq!(written(&mut node, &register("a", "<sip:a@h>;expires=600", 4)), whole);
    assert_eq!(written(&mut node, &register("a", "<sip:a@h>;expires=600", 5)), 51);
    let counters = node.shard.counters();
    assert_eq!((counters.journal_bindings, counters.journal_binding_bytes), (2, 2 * whole as u64));
    assert_eq!((counters.journal_refreshes, counters.journal_refresh_bytes), (3, 51 + 59 + 51));
}

#[test]
fn what_is_over_does_not_come_back_and_needs_no_entry() {
    let mut node = Node::new();
    node.shard.keep_journal(node.now);
    node.udp(PHONE, &register("a", "<sip:a@h>;expires=60", 1));
    let journal = node.shard.journal().to_vec();
    node.shard.clear_journal();
    node.pass(70_000);
    assert_eq!((node.shard.bindings(), node.shard.journal().len()), (0, 0));
    let mut again = Node::new();
    again.pass(70_000);
    again.shard.restore(&journal).unwrap();
    again.pass(10);
    assert_eq!(again.shard.bindings(), 0);
}

#[test]
fn everything_can_be_written_down_anew_a_part_at_a_time() {
    let mut node = Node::new();
    for n in 0..50 {
        node.udp(PHONE, &register(&format!("u{n}"), "<sip:a@h>;expires=600", 1));
    }
    node.udp(PHONE, &register("u7", "<sip:a@h>;expires=0", 2));
    node.shard.keep_journal(node.now);
    let (mut again, mut from, mut parts) = (Node::new(), Some(0), 0);
    while let Some(next) = from {
        from = node.shard.write_down_all(next, 2_000);
        assert!(node.shard.journal().len() < 3_000);
        again.shard.restore(node.shard.journal()).unwrap();
        node.shard.clear_journal();
        parts += 1;
    }
    assert!(parts > 3);
    assert_eq!(again.shard.bindings(), node.shard.bindings());
    assert_eq!(again.shard.last_expiry_s(), node.now.unix_s() + 600);
    let late = again.udp(PHONE, &register("u7", "<sip:a@h>;expires=600", 1)).remove(0);
    assert_eq!(late.status(), 500, "what was removed is remembered");
}

#[test]
fn a_connection_comes_back_as_lost() {
    let mut node = Node::new();
    node.shard.keep_journal(node.now);
    let flow = FlowToken::new(ShardIndex(0), 1, 1);
    let over_tcp = with(&register("bob", "<sip:bob@198.51.100.9;transport=tcp>", 1), "SIP/2.0/UDP", "SIP/2.0/TCP");
    assert_eq!(node.tcp(flow, "198.51.100.9:40000", &over_tcp)[0].status(), 200);
    let mut again = Node::new();
    assert_eq!(again.shard.restore(node.shard.journal()), Ok(1));
    let copy = again.udp("198.51.100.9:5060", &invite("bob")).remove(1);
    assert!(matches!(copy.to, sipfed_proto::Destination::Connect(_)), "{copy:?}");
}

#[test]
fn a_bad_entry_says_where_it_begins() {
    let journal = journal_of_all_kinds();
    let first = 11 + usize::from(u16::from_le_bytes([journal[1], journal[2]]));
    let mut bad = journal.clone();
    bad[first] = 77;
    let mut node = Node::new();
    let fault = node.shard.restore(&bad).unwrap_err();
    assert_eq!((fault.at, fault.what), (first, "is of a kind that this version does not know"));
    assert_eq!(node.shard.bindings(), 1, "what came before it is done");
    let fault = node.shard.restore(&journal[..journal.len() - 1]).unwrap_err();
    assert_eq!(fault.what, "is cut off");
}

#[test]
fn what_cannot_be_made_durable_is_refused_and_calls_go_on() {
    let mut node = Node::new();
    let message = |cseq| register("bob", "<sip:bob@203.0.113.1:5062>", cseq);
    assert_eq!(node.udp(PHONE, &message(1))[0].status(), 200);
    node.shard.refuse_changes(true);
    for cseq in [1, 2] {
        let sent = node.udp(PHONE, &message(cseq)).remove(0);
        assert_eq!((sent.status(), sent.field("Retry-After")), (503, Some("5")));
    }
    assert_eq!(node.shard.counters().refused_not_durable, 2);
    assert_eq!(node.udp("198.51.100.9:5060", &invite("bob")).len(), 2, "100 and the INVITE");
    node.shard.refuse_changes(false);
    assert_eq!(node.udp(PHONE, &message(2))[0].status(), 200);
}
