//! Two nodes with one home, as far as their bindings go, and a link between them that a test cuts.

use super::node::{NODE, and, register};
use sipfed_proto::limits::AOR_BINDINGS_COUNT_MAX;
use sipfed_proto::replica::end::{ReplicaEnd, Report};
use sipfed_proto::replica::session::{News, ReplicaSettings, Replicator};
use sipfed_proto::settings::{RegistrarSettings, Settings};
use sipfed_proto::{FlowToken, Listener, Now, Outbox, Place, Shard, ShardIndex, Source, Transport};
use std::collections::VecDeque;
use std::sync::Arc;

pub(super) const EXPIRES_S_MAX: u32 = 600;

pub(super) fn start() -> Now {
    Now::from_unix_ms(1_700_000_000_000)
}

pub(super) fn empty_shard(index: u8, count: u8, now: Now) -> Shard {
    let addr = NODE.parse().unwrap();
    let settings = Settings {
        domains: vec!["fed.example".into()],
        listeners: vec![Listener { transport: Transport::Udp, addr }],
        registrar: RegistrarSettings {
            max_expires_s: EXPIRES_S_MAX,
            max_contacts: AOR_BINDINGS_COUNT_MAX as u8,
            ..RegistrarSettings::default()
        },
        ..Settings::default()
    };
    Shard::new(Arc::new(settings), Place { index: ShardIndex(index), count }, [3; 32], now)
}

/// Logs written anew for another number of shards.
pub(super) fn reshard(logs: &[Vec<u8>], count: u8, now: Now) -> Vec<Vec<u8>> {
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
    pub(super) node: u16,
    pub(super) shards: Vec<(Shard, ReplicaEnd)>,
    pub(super) replicator: Replicator,
    /// What its shards have written down, as their logs have it.
    pub(super) logs: Vec<Vec<u8>>,
    pub(super) news: Vec<News>,
    /// Frames that it has sent and that have not arrived.
    pub(super) sent: VecDeque<Vec<u8>>,
    /// Whether its logs keep nothing for now, so that nothing that was merged is told.
    pub(super) is_log_behind: bool,
    untold: Vec<(u8, Report)>,
}

impl Member {
    pub(super) fn new(node: u16, shards: u8, now: Now, change: impl FnOnce(&mut ReplicaSettings)) -> Self {
        Self::restarted(node, &vec![Vec::new(); usize::from(shards)], u64::from(node), now, change)
    }

    /// A node that comes back with these logs.
    pub(super) fn restarted(
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
            is_log_behind: false,
            untold: Vec::new(),
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
                match report {
                    Report::Merged { .. } => self.untold.push((index as u8, report)),
                    report => self.replicator.handle_report(index as u8, report, now),
                }
            }
        }
        let told_count = if self.is_log_behind { 0 } else { self.untold.len() };
        for (shard, report) in self.untold.drain(..told_count) {
            self.replicator.handle_report(shard, report, now);
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

    pub(super) fn ask(&mut self, text: &str, now: Now) -> String {
        self.turn(Some(text), now).expect("every request is answered")
    }

    pub(super) fn contacts(&mut self, user: &str, now: Now) -> Vec<String> {
        let answer = self.ask(&register(user, "", 1_000_000), now);
        let contact = |line: &&str| line.starts_with("Contact");
        let mut lines: Vec<String> = answer.lines().filter(contact).map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    }

    pub(super) fn status_of_call(&mut self, user: &str, now: Now) -> String {
        let to = format!("sip:{user}@fed.example");
        let text = register(user, "", 5).replace("REGISTER", "MESSAGE").replace("sip:fed.example ", &format!("{to} "));
        let text = text.replace("z9hG4bK", &format!("z9hG4bKm{}", now.unix_ms()));
        self.ask(&text, now).lines().next().unwrap().to_owned()
    }

    pub(super) fn is_whole(&self) -> bool {
        self.replicator.state().is_whole
    }

    pub(super) fn digests(&self) -> Vec<u64> {
        self.shards.iter().flat_map(|(shard, _)| shard.digests()).collect()
    }

    pub(super) fn bindings(&self, now: Now) -> usize {
        self.shards.iter().map(|(shard, _)| shard.live_bindings(now).count()).sum()
    }
}

/// Two nodes with one home.
pub(super) struct Pair {
    pub(super) members: [Member; 2],
    pub(super) is_linked: bool,
    pub(super) now: Now,
}

impl Pair {
    pub(super) fn new(shards: [u8; 2]) -> Self {
        let now = start();
        let members = [Member::new(1, shards[0], now, |s| s.is_seed = true), Member::new(2, shards[1], now, |_| {})];
        let mut pair = Self { members, is_linked: false, now };
        pair.pass(ReplicaSettings::default().seed_fallback_ms);
        pair
    }

    pub(super) fn connected(shards: [u8; 2]) -> Self {
        let mut pair = Self::new(shards);
        pair.connect();
        pair.settle();
        pair
    }

    pub(super) fn connect(&mut self) {
        self.is_linked = true;
        self.members[0].replicator.link_up(2);
        self.members[1].replicator.link_up(1);
    }

    /// What is on its way is lost.
    pub(super) fn cut(&mut self) {
        self.is_linked = false;
        for member in &mut self.members {
            member.replicator.link_down(3 - member.node);
            member.sent.clear();
        }
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.turn(0);
        self.turn(1);
    }

    pub(super) fn turn(&mut self, at: usize) {
        self.members[at].turn(None, self.now);
    }

    /// Hands over frames, at most so many in each direction; whether there were any.
    pub(super) fn carry(&mut self, count: usize) -> bool {
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

    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            // What comes of the last frame is sent a turn later.
            if !self.carry(usize::MAX) && !self.carry(usize::MAX) {
                return;
            }
        }
        panic!("they do not come to an end");
    }

    /// Has the nodes find each other again, after a restart of the first one where that is wished.
    pub(super) fn heal(&mut self, is_restarted: bool) {
        if is_restarted {
            let logs = self.members[0].logs.clone();
            self.members[0] = Member::restarted(1, &logs, 99, self.now, |_| {});
        }
        self.connect();
        self.settle();
        self.compare();
        self.assert_equal();
    }

    /// Time for another comparison.
    pub(super) fn compare(&mut self) {
        self.pass(ReplicaSettings::default().digest_interval_ms);
        self.settle();
    }

    pub(super) fn assert_equal(&mut self) {
        let [first, second] = &mut self.members;
        for user in (0..5).map(|user| format!("u{user}")) {
            assert_eq!(first.contacts(&user, self.now), second.contacts(&user, self.now), "{user}");
        }
        assert_eq!(first.digests(), second.digests());
    }
}

pub(super) fn bind(user: usize, contact: usize, cseq: u32, expires_s: u32) -> String {
    let contact = format!("<sip:c{contact}@203.0.113.9:5070>;+sip.instance=\"<urn:x:{contact}>\";x=1");
    and(&register(&format!("u{user}"), &contact, cseq), &format!("Expires: {expires_s}"))
}
