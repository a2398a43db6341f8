//! What kinds of trouble a run has.

use crate::draw::Draw;
use crate::link::BACKOFF;
use crate::store::Mood;
use sipfed_nodes::ownership::Mode;
use sipfed_nodes::pulse::Rhythm;
use sipfed_proto::settings::Ping;
use std::time::Duration;

/// A kind of run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// Nothing goes wrong.
    Calm,
    /// Datagrams are lost, doubled and overtaken by others.
    Lossy,
    /// Places do not reach one another, in one direction or in both, links are cut, and connections of phones end.
    Partitions,
    /// Nodes die, some in the middle of a turn or with their disk, and come back; addresses move.
    Crashes,
    /// Both nodes of a home have its address for a while, or none has.
    SplitBrain,
    /// One node after the other is started again with another number of shards.
    Rolling,
    /// The store fails, is away, slow, or answers with what was, also when nodes start.
    Store,
    /// All of it, and nodes that pause.
    Everything,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Calm,
        Self::Lossy,
        Self::Partitions,
        Self::Crashes,
        Self::SplitBrain,
        Self::Rolling,
        Self::Store,
        Self::Everything,
    ];

    /// That of a seed.
    pub fn of(seed: u64) -> Self {
        *Draw::new(seed ^ 0x0070_726f_6669_6c65).one(&Self::ALL)
    }

    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Lossy => "lossy",
            Self::Partitions => "partitions",
            Self::Crashes => "crashes",
            Self::SplitBrain => "split-brain",
            Self::Rolling => "rolling",
            Self::Store => "store",
            Self::Everything => "everything",
        }
    }

    fn has(self, other: Self) -> bool {
        self == other || self == Self::Everything
    }
}

/// One kind of fault, and how often it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Two places do not reach one another.
    Block,
    /// The link of a pair is cut.
    Cut,
    /// Connections of phones end.
    Flows,
    /// A node dies; its address moves, or waits for it.
    Crash,
    /// An address moves to the other node.
    Move,
    /// Both have it, or none.
    Split,
    /// A node is started again with another number of shards.
    Reshard,
    /// The table of nodes does not answer, and a node is started again.
    Table,
    /// A node does nothing for some seconds.
    Pause,
    /// The store is in trouble.
    Store,
    /// It is, and a node is started again, which does not reach it.
    Unreached,
}

/// What a run is made of: drawn once from its seed.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) homes_count: usize,
    /// By home, whether it has a backup.
    pub(crate) has_backup: Vec<bool>,
    pub(crate) users_count: usize,
    pub(crate) phones_count: usize,
    pub(crate) is_sync: bool,
    /// Whether nodes mark their requests with a secret.
    pub(crate) is_marked: bool,
    pub(crate) skew_ms_max: u64,
    /// Of a thousand datagrams.
    pub(crate) lost_per_mille: u64,
    pub(crate) doubled_per_mille: u64,
    pub(crate) delay_ms_max: u64,
    /// Bytes that a link between two nodes takes at a time.
    pub(crate) link_room_bytes: usize,
    /// Bytes of parts that a node keeps.
    pub(crate) kept_bytes: usize,
    /// Reports of a shard that may wait.
    pub(crate) reports_count_max: usize,
    /// How long things go wrong.
    pub(crate) trouble_ms: u64,
    /// Mean time between two faults.
    pub(crate) fault_interval_ms: u64,
    pub(crate) troubles: Vec<Trouble>,
    /// Whether the run goes on until everything has expired.
    pub(crate) goes_to_the_end: bool,
    /// What decides which node of a home is the active one.
    pub(crate) mode: Mode,
    /// When a home comes to be that is not there at first, in milliseconds.
    pub(crate) joins_at: Option<u64>,
    /// Seconds after which a row of the store ends; `None` for never.
    pub(crate) lease_s: Option<u32>,
    /// Milliseconds after which NATs close a port.
    pub(crate) nat_idle_ms: u64,
    /// Of a thousand acts of phones, before how many their NAT forgets all.
    pub(crate) nat_lost_per_mille: u64,
    /// How phones behind NATs are pinged.
    pub(crate) ping: Ping,
    /// How nodes find out that another one is lost.
    pub(crate) rhythm: Rhythm,
    /// How the store is when all nodes start, and until when, in milliseconds.
    pub(crate) store_at_first: (Mood, u64),
}

impl Plan {
    /// That of a scenario: nothing goes wrong by chance, and there are a pair and a node alone.
    pub(crate) fn of_scenario(seed: u64) -> Self {
        let plan = Self::new(seed, Profile::Calm);
        Self { homes_count: 2, has_backup: vec![true, false], mode: Mode::Address, ..plan }
    }

    pub(crate) fn new(seed: u64, profile: Profile) -> Self {
        let draw = &mut Draw::new(seed ^ 0x706c_616e);
        let homes_count = draw.between(2, 4) as usize;
        let mode = if draw.happens(300) { Mode::Command } else { Mode::Address };
        let is_bad = profile.has(Profile::Lossy);
        let mut troubles = Vec::new();
        for (of, list) in [
            (Profile::Partitions, &[Trouble::Block, Trouble::Cut, Trouble::Flows][..]),
            (Profile::Crashes, &[Trouble::Crash, Trouble::Crash, Trouble::Move]),
            (Profile::SplitBrain, &[Trouble::Split, Trouble::Move, Trouble::Cut]),
            (Profile::Rolling, &[Trouble::Reshard, Trouble::Reshard, Trouble::Table]),
            (Profile::Store, &[Trouble::Store, Trouble::Store, Trouble::Move, Trouble::Unreached]),
            (Profile::Everything, &[Trouble::Pause]),
        ] {
            if profile.has(of) {
                troubles.extend_from_slice(list);
            }
        }
        Self {
            homes_count,
            has_backup: (0..homes_count).map(|home| home == 0 || draw.happens(600)).collect(),
            users_count: draw.between(3, 8) as usize,
            phones_count: draw.between(6, 16) as usize,
            is_sync: draw.happens(500),
            is_marked: draw.happens(500),
            skew_ms_max: if profile == Profile::Calm { 0 } else { *draw.one(&[0, 300, 3000]) },
            lost_per_mille: if is_bad { draw.between(20, 150) } else { 0 },
            doubled_per_mille: if is_bad { draw.between(20, 150) } else { 0 },
            delay_ms_max: if is_bad { draw.between(20, 1200) } else { 15 },
            link_room_bytes: *draw.one(&[4 << 10, 40 << 10, 256 << 10]),
            kept_bytes: *draw.one(&[600, 20_000, 16 << 20]),
            reports_count_max: *draw.one(&[6, 64, 4096]),
            trouble_ms: draw.between(90, 200) * 1000,
            fault_interval_ms: draw.between(3, 20) * 1000,
            troubles,
            goes_to_the_end: draw.happens(250),
            rhythm: Rhythm {
                interval: Duration::from_millis(*draw.one(&[1000, 4000])),
                timeout: Duration::from_secs(1),
                retries: draw.between(1, 3) as u32,
            },
            mode,
            joins_at: draw.happens(400).then(|| draw.between(15_000, 60_000)),
            lease_s: *draw.one(&[None, Some(30), Some(80)]),
            nat_idle_ms: *draw.one(&[20_000, 40_000]),
            nat_lost_per_mille: *draw.one(&[0, 0, 30]),
            // Where nodes go by commands a node that has no address may ping, and no answer comes to it.
            ping: Ping::Request { ends_unanswered: mode == Mode::Address && draw.happens(600) },
            store_at_first: {
                let is_bad = profile.has(Profile::Store) && draw.happens(700);
                let mood = *draw.one(&[Mood::Away, Mood::Failing, Mood::Slow]);
                (if is_bad { mood } else { Mood::Good }, draw.between(2000, 30_000))
            },
        }
    }

    /// Whether a binding ends when its phone answers no ping.
    pub(crate) fn ends_unanswered(&self) -> bool {
        matches!(self.ping, Ping::Request { ends_unanswered: true })
    }

    /// Milliseconds after which a silent node is lost.
    fn silence_ms(&self) -> u64 {
        let Rhythm { interval, timeout, retries } = self.rhythm;
        (interval + timeout * retries).as_millis() as u64
    }

    /// Milliseconds after which two nodes that reach one another are linked: the end of a connection that is none any more
    /// is noticed, the pause before an attempt passes, and what was lost on its way is sent again.
    pub(crate) fn linked_after_ms(&self) -> u64 {
        self.silence_ms() + BACKOFF.1.as_millis() as u64 + 4000
    }

    /// Milliseconds after which two nodes of which one does not reach the other are not linked: the one that hears nothing
    /// hangs up, and the other one hears nothing from then on.
    pub(crate) fn lost_after_ms(&self) -> u64 {
        2 * self.silence_ms() + 4000
    }
}
