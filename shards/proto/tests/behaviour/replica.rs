//! Nodes that back each other up: they come to hold the same, whatever happens between them.

use super::node::{NODE, and, register};
use proptest::prelude::*;
use sipfed_proto::replica::end::{ReplicaEnd, Report};
use sipfed_proto::replica::session::{News, ReplicaSettings, Replicator};
use sipfed_proto::settings::{RegistrarSettings, Settings};
use sipfed_proto::{FlowToken, Listener, Now, Outbox, Place, Shard, ShardIndex, Source, Transport};
use std::collections::VecDeque;
use std::sync::Arc;

const EXPIRES_S_MAX: u32 = 600;

pub(super) fn start() -> Now {
    Now::from_unix_ms(1_700_000_000_000)
}

fn empty_shard(index: u8, count: u8, now: Now) -> Shard {
    let addr = NODE.parse().unwrap();
    let settings = Settings {
        domains: vec!["fed.example".into()],
        listeners: vec![Listener { transport: Transport::Udp, addr }],
        registrar: RegistrarSettings { max_expires_s: EXPIRES_S_MAX, ..RegistrarSettings::default() },
        ..Settings::default()
    };
    Shard::new(Arc::new(settings), Place { index: ShardIndex(index), count }, [3; 32], now)
}

/// Logs written anew for another number of shards.
fn reshard(logs: &[Vec<u8>], count: u8, now: Now) -> Vec<Vec<u8>> {
    let written = |index| {
        let mut shard = empty_shard(index, count, now);
        for log in logs {
            shard.restore(log).unwrap();
        }
        shard.keep_journal(now);
        assert_eq!(shard.write_down_all(0, usize::MAX), None);
        shard.journal().to_vec()
    };
    (0..count).map(written).collect()
}

/// A node, as far as its bindings go.
pub(super) struct Member {
    node: u16,
    shards: Vec<(Shard, ReplicaEnd)>,
    pub(super) replicator: Replicator,
    /// What its shards have written down, as their logs have it.
    logs: Vec<Vec<u8>>,
    news: Vec<News>,
    /// Frames that it has sent and that have not arrived.
    sent: VecDeque<Vec<u8>>,
}

impl Member {
    pub(super) fn new(node: u16, shards: u8, now: Now, change: impl FnOnce(&mut ReplicaSettings)) -> Self {
        Self::restarted(node, &vec![Vec::new(); usize::from(shards)], u64::from(node), now, change)
    }

    /// A node that comes back with these logs.
    fn restarted(
        node: u16,
        logs: &[Vec<u8>],
        history: u64,
        now: Now,
        change: impl FnOnce(&mut ReplicaSettings),
    ) -> Self {
        let count = logs.len() as u8;
        let mut settings = ReplicaSettings { node, history, shards: count, ..ReplicaSettings::default() };
        change(&mut settings);
        let shard = |(index, log): (usize, &Vec<u8>)| {
            let mut shard = empty_shard(index as u8, count, now);
            shard.restore(log).unwrap();
            shard.keep_journal(now);
            (shard, ReplicaEnd::new())
        };
        let other = 3 - node;
        Self {
            node,
            shards: logs.iter().enumerate().map(shard).collect(),
            replicator: Replicator::new(settings, &[other], now),
            logs: logs.to_vec(),
            news: Vec::new(),
            sent: VecDeque::new(),
        }
    }

    /// A turn of every shard, with what comes of a message where there is one.
    pub(super) fn turn(&mut self, text: Option<&str>, now: Now) -> Option<String> {
        let source = Source {
            transport: Transport::Udp,
            remote: "203.0.113.1:5062".parse().unwrap(),
            local: NODE.parse().unwrap(),
            flow: FlowToken::NONE,
        };
        let mut out = Outbox::new();
        for index in 0..self.shards.len() {
            let (shard, end) = &mut self.shards[index];
            let mut reports = Vec::new();
            while let Some(order) = self.replicator.next_order(index as u8) {
                end.obey(order, shard, now, |report| reports.push(report));
            }
            shard.mark_foreign();
            if let Some(text) = text {
                shard.receive(text.as_bytes(), &source, now, &mut out);
            }
            shard.handle_timeout(now, &mut out);
            self.logs[index].extend_from_slice(shard.journal());
            end.tell_parts(shard, |report| reports.push(report));
            shard.clear_journal();
            for report in reports {
                self.replicator.handle_report(index as u8, report, now);
            }
        }
        self.replicator.handle_timeout(now);
        while let Some(frame) = self.replicator.next_frame(3 - self.node) {
            self.sent.push_back(frame);
        }
        while let Some(news) = self.replicator.next_news() {
            self.news.push(news);
        }
        out.iter().next().map(|(_, bytes)| String::from_utf8(bytes.to_vec()).unwrap())
    }

    fn ask(&mut self, text: &str, now: Now) -> String {
        self.turn(Some(text), now).expect("every request is answered")
    }

    fn contacts(&mut self, user: &str, now: Now) -> Vec<String> {
        let answer = self.ask(&register(user, "", 1_000_000), now);
        let contact = |line: &&str| line.starts_with("Contact");
        let mut lines: Vec<String> = answer.lines().filter(contact).map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    }

    fn status_of_call(&mut self, user: &str, now: Now) -> String {
        let to = format!("sip:{user}@fed.example");
        let text = register(user, "", 5).replace("REGISTER", "MESSAGE").replace("sip:fed.example ", &format!("{to} "));
        let text = text.replace("z9hG4bK", &format!("z9hG4bKm{}", now.unix_ms()));
        self.ask(&text, now).lines().next().unwrap().to_owned()
    }

    fn is_whole(&self) -> bool {
        self.replicator.state().is_whole
    }

    fn digests(&self) -> Vec<u64> {
        self.shards.iter().flat_map(|(shard, _)| shard.digests()).collect()
    }

    fn bindings(&self, now: Now) -> usize {
        self.shards.iter().map(|(shard, _)| shard.live_bindings(now).count()).sum()
    }
}

/// Two nodes with one home.
struct Pair {
    members: [Member; 2],
    is_linked: bool,
    now: Now,
}

impl Pair {
    fn new(shards: [u8; 2]) -> Self {
        let now = start();
        let members = [Member::new(1, shards[0], now, |s| s.is_seed = true), Member::new(2, shards[1], now, |_| {})];
        let mut pair = Self { members, is_linked: false, now };
        pair.pass(ReplicaSettings::default().seed_fallback_ms);
        pair
    }

    fn connected(shards: [u8; 2]) -> Self {
        let mut pair = Self::new(shards);
        pair.connect();
        pair.settle();
        pair
    }

    fn connect(&mut self) {
        self.is_linked = true;
        self.members[0].replicator.link_up(2);
        self.members[1].replicator.link_up(1);
    }

    /// What is on its way is lost.
    fn cut(&mut self) {
        self.is_linked = false;
        for member in &mut self.members {
            member.replicator.link_down(3 - member.node);
            member.sent.clear();
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.turn(0);
        self.turn(1);
    }

    fn turn(&mut self, at: usize) {
        self.members[at].turn(None, self.now);
    }

    /// Hands over frames, at most so many in each direction; whether there were any.
    fn carry(&mut self, count: usize) -> bool {
        let mut is_busy = false;
        for at in 0..2 {
            for _ in 0..count {
                let Some(frame) = self.members[at].sent.pop_front() else { break };
                is_busy = true;
                let from = self.members[at].node;
                self.members[1 - at].replicator.receive(from, &frame, self.now).unwrap();
            }
        }
        self.turn(0);
        self.turn(1);
        is_busy || self.members.iter().any(|member| !member.sent.is_empty())
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.carry(usize::MAX) {
                return;
            }
        }
        panic!("they do not come to an end");
    }

    /// Time for another comparison.
    fn compare(&mut self) {
        self.pass(ReplicaSettings::default().digest_interval_ms);
        self.settle();
    }

    fn assert_equal(&mut self) {
        let [first, second] = &mut self.members;
        for user in (0..5).map(|user| format!("u{user}")) {
            assert_eq!(first.contacts(&user, self.now), second.contacts(&user, self.now), "{user}");
        }
        assert_eq!(first.digests(), second.digests());
    }
}

fn bind(user: usize, contact: usize, cseq: u32, expires_s: u32) -> String {
    let contact = format!("<sip:c{contact}@203.0.113.9:5070>;+sip.instance=\"<urn:x:{contact}>\";x=1");
    and(&register(&format!("u{user}"), &contact, cseq), &format!("Expires: {expires_s}"))
}

#[test]
fn a_backup_answers_like_the_node_that_it_takes_over_from() {
    for shards in [[1, 1], [1, 3], [4, 2]] {
        let mut pair = Pair::connected(shards);
        assert!(pair.members.iter().all(Member::is_whole));
        for user in 0..5 {
            pair.now = pair.now.plus_ms(1);
            let now = pair.now;
            assert!(pair.members[0].ask(&bind(user, user, 1, 300), now).starts_with("SIP/2.0 200 "));
        }
        pair.now = pair.now.plus_ms(60_000);
        let refreshed = pair.members[0].ask(&bind(1, 1, 2, 400), pair.now);
        pair.members[0].ask(&bind(2, 2, 3, 0), pair.now);
        pair.settle();
        pair.assert_equal();
        assert_eq!(pair.members[1].bindings(pair.now), 4);
        // A retransmission is known, and an older request is refused, as if nothing had happened.
        assert_eq!(pair.members[1].ask(&bind(1, 1, 2, 400), pair.now), refreshed);
        assert!(pair.members[1].ask(&bind(2, 2, 2, 300), pair.now).starts_with("SIP/2.0 500 "));
    }
}

#[test]
fn nobody_is_said_to_be_unknown_before_all_bindings_have_come() {
    let mut pair = Pair::new([1, 2]);
    for user in 0..5 {
        pair.members[0].ask(&bind(user, 0, 1, 300), pair.now);
    }
    assert!(!pair.members[1].is_whole(), "no seed");
    let now = pair.now;
    assert_eq!(pair.members[0].status_of_call("nobody", now), "SIP/2.0 404 Not Found");
    assert!(pair.members[1].status_of_call("nobody", now).starts_with("SIP/2.0 480 "));
    pair.connect();
    while !pair.members[1].is_whole() {
        assert!(pair.carry(1), "it never comes to know all");
        assert!(!pair.members[1].is_whole() || pair.members[1].bindings(pair.now) == 5);
    }
    pair.now = pair.now.plus_ms(1);
    let now = pair.now;
    assert_eq!(pair.members[1].status_of_call("nobody", now), "SIP/2.0 404 Not Found");
    assert!(pair.members[1].news.contains(&News::Whole(Some(1))));
}

#[test]
fn a_seed_goes_on_alone_and_two_that_wait_for_one_another_go_on_together() {
    let now = start();
    let fallback_ms = ReplicaSettings::default().seed_fallback_ms;
    let mut seed = Member::new(1, 1, now, |settings| settings.is_seed = true);
    seed.turn(None, now.plus_ms(fallback_ms - 1));
    assert!(!seed.is_whole());
    seed.turn(None, now.plus_ms(fallback_ms));
    assert!(seed.is_whole() && seed.news == [News::Whole(None)]);
    let members = [Member::new(1, 1, now, |_| {}), Member::new(2, 2, now, |_| {})];
    let mut pair = Pair { members, is_linked: false, now };
    pair.members[1].ask(&bind(1, 1, 1, 300), now);
    pair.pass(10 * fallback_ms);
    assert!(!pair.members.iter().any(Member::is_whole));
    pair.connect();
    pair.settle();
    pair.pass(10 * fallback_ms);
    pair.settle();
    assert!(pair.members.iter().all(Member::is_whole));
    pair.assert_equal();
}

#[test]
fn a_synchronization_that_breaks_off_goes_on_where_it_was() {
    let mut pair = Pair::new([2, 1]);
    for n in 0..3000 {
        let contact = format!("<sip:c{n}@203.0.113.9:5070>");
        pair.members[0].ask(&and(&register(&format!("v{n}"), &contact, 1), "Expires: 600"), pair.now);
    }
    let mut held = 0;
    for _ in 0..5 {
        pair.connect();
        while pair.members[1].bindings(pair.now) < held + 500 {
            assert!(pair.carry(2), "nothing comes any more");
        }
        held = pair.members[1].bindings(pair.now);
        assert!(!pair.members[1].is_whole());
        pair.cut();
    }
    pair.connect();
    pair.settle();
    assert!(pair.members[1].is_whole());
    assert_eq!(pair.members[1].bindings(pair.now), 3000);
    let report = pair.members[1].replicator.reports()[0];
    assert!(report.is_synchronized && report.leaves_left == 0);
    assert!((3000..3300).contains(&report.mended), "{} were sent", report.mended);
    pair.compare();
    assert_eq!(pair.members[1].replicator.reports()[0].divergence, 0);
}

#[test]
fn a_removal_is_kept_for_a_backup_that_is_away() {
    let mut pair = Pair::connected([1, 1]);
    pair.members[0].ask(&bind(1, 1, 1, 600), pair.now);
    pair.settle();
    pair.cut();
    pair.members[0].ask(&bind(1, 1, 2, 0), pair.now);
    // Long after a retransmission could come.
    for _ in 0..30 {
        pair.pass(10_000);
    }
    assert_eq!(pair.members[1].bindings(pair.now), 1);
    // It survives a restart as well.
    let [first, _] = &pair.members;
    let logs = first.logs.clone();
    pair.members[0] = Member::restarted(1, &logs, 99, pair.now, |_| {});
    pair.connect();
    pair.settle();
    pair.compare();
    assert_eq!(pair.members.each_ref().map(|member| member.bindings(pair.now)), [0, 0]);
    // Once the backup has it, it is forgotten in time.
    for _ in 0..6 {
        pair.compare();
    }
    assert_eq!(pair.members.each_ref().map(|member| member.shards[0].0.bindings()), [0, 0]);
}

#[test]
fn what_expires_expires_everywhere_and_is_no_difference() {
    let mut pair = Pair::connected([1, 2]);
    for user in 0..5 {
        pair.members[0].ask(&bind(user, 0, 1, 60), pair.now);
    }
    pair.settle();
    pair.pass(61_000);
    pair.settle();
    pair.compare();
    assert_eq!(pair.members.each_ref().map(|member| member.bindings(pair.now)), [0, 0]);
    pair.assert_equal();
    assert!(!pair.members.iter().flat_map(|member| &member.news).any(|news| matches!(news, News::Diverged { .. })));
}

#[test]
fn a_restarted_backup_asks_for_what_it_missed() {
    let mut pair = Pair::connected([2, 2]);
    for user in 0..5 {
        pair.members[0].ask(&bind(user, 0, 1, 600), pair.now);
    }
    pair.settle();
    pair.cut();
    for user in 0..3 {
        pair.members[0].ask(&bind(user, 1, 2, 600), pair.now);
    }
    let logs = pair.members[1].logs.clone();
    pair.members[1] = Member::restarted(2, &logs, 77, pair.now, |_| {});
    pair.members[0].news.clear();
    pair.connect();
    pair.settle();
    pair.assert_equal();
    assert_eq!(pair.members[1].bindings(pair.now), 8);
    let is_restart = |news: &News| matches!(news, News::Restarted { .. });
    assert!(!pair.members[0].news.iter().any(is_restart), "{:?}", pair.members[0].news);
    assert_eq!(pair.members[1].replicator.reports()[0].mended, 0, "no comparison had to find it");
    // What is not kept any more is found by a comparison.
    pair.cut();
    let logs = pair.members[0].logs.clone();
    pair.members[0] = Member::restarted(1, &logs, 78, pair.now, |settings| settings.kept_bytes = 100);
    pair.connect();
    pair.settle();
    pair.cut();
    for user in 0..5 {
        pair.members[0].ask(&bind(user, 2, 3, 600), pair.now);
    }
    pair.connect();
    pair.settle();
    pair.assert_equal();
    assert!(pair.members[0].news.iter().any(is_restart));
}

#[test]
fn a_reply_has_to_wait_for_backups_that_keep_up_and_for_no_others() {
    let mut pair = Pair::connected([1, 1]);
    let released = |pair: &Pair| pair.members[0].replicator.released(0);
    assert!(pair.members[0].replicator.is_backed_up());
    let before = pair.members[0].shards[0].1.sequence();
    pair.members[0].ask(&bind(1, 1, 1, 600), pair.now);
    let wanted = pair.members[0].shards[0].1.sequence();
    assert_eq!((wanted, released(&pair)), (before + 1, before));
    pair.settle();
    assert_eq!(released(&pair), wanted);
    // It says nothing for too long.
    pair.members[0].ask(&bind(1, 1, 2, 600), pair.now);
    pair.turn(0);
    let now = pair.now.plus_ms(ReplicaSettings::default().ack_timeout_ms);
    pair.members[0].turn(None, now);
    assert_eq!(released(&pair), u64::MAX);
    assert!(!pair.members[0].replicator.is_backed_up());
    assert!(pair.members[0].news.contains(&News::Lagging(2)));
    pair.settle();
    assert!(pair.members[0].news.contains(&News::CaughtUp(2)));
    assert_eq!(released(&pair), wanted + 1);
    pair.cut();
    assert_eq!(released(&pair), u64::MAX);
}

#[test]
fn parts_that_could_not_be_handed_over_are_found_by_a_comparison() {
    let mut pair = Pair::connected([1, 1]);
    let now = pair.now;
    let (shard, end) = &mut pair.members[0].shards[0];
    let mut out = Outbox::new();
    let source = Source {
        transport: Transport::Udp,
        remote: "203.0.113.1:5062".parse().unwrap(),
        local: NODE.parse().unwrap(),
        flow: FlowToken::NONE,
    };
    shard.receive(bind(1, 1, 1, 600).as_bytes(), &source, now, &mut out);
    end.tell_parts(shard, |_| {});
    shard.clear_journal();
    let (sequence, stamp) = (end.sequence(), shard.last_stamp());
    pair.members[0].replicator.handle_report(0, Report::Lost { sequence, stamp }, now);
    pair.settle();
    pair.compare();
    pair.assert_equal();
    assert_eq!(pair.members[1].bindings(pair.now), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Register { at: usize, user: usize, contact: usize, expires_s: u32 },
    RemoveAll { at: usize, user: usize },
    Pass { s: u64 },
    Carry { frames: usize },
    Cut,
    Connect,
    Restart { at: usize, shards: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0usize..2, 0usize..5, 0usize..3, prop_oneof![Just(0u32), Just(60), 60u32..600])
            .prop_map(|(at, user, contact, expires_s)| Step::Register { at, user, contact, expires_s }),
        1 => (0usize..2, 0usize..5).prop_map(|(at, user)| Step::RemoveAll { at, user }),
        3 => (0u64..200).prop_map(|s| Step::Pass { s }),
        4 => (1usize..5).prop_map(|frames| Step::Carry { frames }),
        1 => Just(Step::Cut),
        2 => Just(Step::Connect),
        1 => (0usize..2, 1u8..4).prop_map(|(at, shards)| Step::Restart { at, shards }),
    ]
}

proptest! {
    /// Whatever both have answered, with a link that comes and goes and frames that are lost with it, and lives that end:
    /// once they can speak with one another, both hold the same, and of each binding the latest that was said anywhere.
    #[test]
    fn two_nodes_come_to_hold_the_same(steps in prop::collection::vec(step(), 1..80), shards in (1u8..4, 1u8..4)) {
        let mut pair = Pair::new([shards.0, shards.1]);
        let mut history = 100;
        // By user and contact: until when the latest request that was answered has it live.
        let mut latest = std::collections::HashMap::new();
        for (n, step) in steps.iter().enumerate() {
            pair.now = pair.now.plus_ms(1);
            let (now, cseq) = (pair.now, n as u32 + 1);
            match *step {
                Step::Register { at, user, contact, expires_s } => {
                    let answer = pair.members[at].ask(&bind(user, contact, cseq, expires_s), now);
                    prop_assert!(answer.starts_with("SIP/2.0 200 "), "{}", answer);
                    // What is removed where it is not known is no write.
                    if expires_s > 0 {
                        latest.insert((user, contact), now.unix_ms() + u64::from(expires_s) * 1000);
                    } else {
                        latest.remove(&(user, contact));
                    }
                }
                Step::RemoveAll { at, user } => {
                    pair.members[at].ask(&and(&register(&format!("u{user}"), "*", cseq), "Expires: 0"), now);
                    latest.retain(|(of, _), _| *of != user);
                }
                Step::Pass { s } => {
                    for _ in 0..s.div_ceil(20) {
                        pair.pass(20_000);
                    }
                }
                Step::Carry { frames } if pair.is_linked => {
                    pair.carry(frames);
                }
                Step::Connect if !pair.is_linked => pair.connect(),
                Step::Carry { .. } | Step::Connect => {}
                Step::Cut => pair.cut(),
                Step::Restart { at, shards } => {
                    pair.cut();
                    history += 1;
                    let old = pair.members[at].logs.clone();
                    let (node, is_same) = (at as u16 + 1, usize::from(shards) == old.len());
                    let logs = if is_same { old } else { reshard(&old, shards, now) };
                    pair.members[at] = Member::restarted(node, &logs, history, now, |settings| {
                        settings.is_seed = true;
                        settings.kept_bytes = 400;
                    });
                }
            }
        }
        pair.cut();
        pair.connect();
        pair.settle();
        for _ in 0..3 {
            pair.compare();
        }
        pair.assert_equal();
        for member in &mut pair.members {
            prop_assert!(member.replicator.reports()[0].is_synchronized);
            prop_assert_eq!(member.replicator.reports()[0].divergence, 0);
        }
        let now_ms = pair.now.unix_ms();
        for ((user, contact), until_ms) in latest {
            let contacts = pair.members[0].contacts(&format!("u{user}"), pair.now);
            let is_there = contacts.iter().any(|line| line.contains(&format!("sip:c{contact}@")));
            // Times are rounded up to seconds.
            prop_assert!(is_there || until_ms <= now_ms + 1000, "u{} c{}: {:?}", user, contact, contacts);
        }
    }
}
