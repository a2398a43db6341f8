//! A whole federation in virtual time: everything that happens is an event of one agenda.
//!
//! - `network`: datagrams; `flows`: the connections of phones; `links`: those between nodes.
//! - `making`: what a world is made of.
//! - `nats`: what has to hold of phones behind NATs.
//! - `phones`: what phones and callers do, and what comes back to them.
//! - `provisioning`: who learns of whom from the table of nodes.
//! - `roles`: which node of a home answers for it.
//! - `scenario`: failures that are played on purpose.
//! - `trouble`: what goes wrong, and how it is put right again.
//! - `watch`: what has to hold at any time; `ends`: what has to hold once all is well again.

mod ends;
mod flows;
mod links;
mod making;
mod nats;
mod network;
mod phones;
mod provisioning;
mod roles;
mod scenario;
mod trouble;
mod watch;

use making::{home_name, ledger, links_between, settings};
pub use scenario::Scenario;

use crate::agenda::Agenda;
use crate::call::Call;
use crate::draw::Draw;
use crate::facts::Facts;
use crate::flow::{Flow, Toward};
use crate::history::History;
use crate::keepers::{Activity, Keepers, Start};
use crate::ledger::{Contact, Ledger};
use crate::link::{Carried, Link};
use crate::members::Members;
use crate::node::{Identity, Node, Sent};
use crate::owner::Owner;
use crate::phone::Phone;
use crate::profile::Plan;
use crate::reach::Reach;
use crate::seat::{Leaving, Way};
use crate::stints::Stints;
use crate::store::{Asked, Client, Mailbox, Mood, Request, Said, Store};
use sipfed_directory::{KeeperOptions, StoreOptions, StoreUrl};
use sipfed_proto::replica::session::{News, Replicator};
use sipfed_proto::settings::DirectorySettings;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Milliseconds after which a store that is away is known to be.
const SILENCE_MS: u64 = 1000;
/// Time between two reconciles.
const RECONCILE_INTERVAL: Duration = Duration::from_secs(20);
/// Seconds from one ping of a phone to the next.
const PING_INTERVAL_S: u32 = 10;
/// Seconds that a binding may live.
pub(crate) const EXPIRES_S_MAX: u32 = 300;

/// A defect of the world, planted so that a test sees a checker find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// None.
    None,
    /// Links lose some journals and all digests, and nobody notices.
    FramesVanish,
    /// What nodes have answered is not in their logs.
    LogsForget,
    /// Keepers withdraw no row.
    RowsStay,
    /// Passive nodes publish.
    PassivePublish,
    /// Requests between homes arrive as if phones had sent them, and without their mark.
    PeersUnknown,
    /// Keepers do not know that rows have a lease.
    LeasesUnknown,
    /// Nodes keep the first copy of the table for ever.
    CopiesStay,
    /// Passive nodes ping.
    PassivePing,
    /// A binding stays whose phone answers no ping.
    SilentStay,
    /// Shards do not hear which homes are down.
    HealthUnheard,
    /// Nobody is taken for lost that answers no ping.
    LostStay,
    /// Nodes begin each life without what was kept of their terms.
    TermsForget,
    /// Nodes do not hear that connections have ended, nor what could not be sent.
    FlowsUnheard,
    /// Nodes call their connections in each life what they have called others in the life before.
    TokensRepeat,
    /// Who has not reached the store at once never does.
    StoreReachedOnce,
}

/// Where something is, as far as reaching one another goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Node(usize),
    Outside,
}

/// Who has sent a datagram.
#[derive(Clone, Copy, Debug)]
struct Origin {
    place: Place,
    disk: u64,
    is_backed: bool,
    /// Which of two holders of an address it reaches.
    side: usize,
}

#[derive(Debug)]
enum Event {
    Datagram {
        to: SocketAddr,
        from: SocketAddr,
        origin: Origin,
        bytes: Vec<u8>,
    },
    Turn(usize),
    Control(usize),
    Tick(usize),
    Carried {
        link: usize,
        from: usize,
        connection: u64,
        carried: Carried,
    },
    SendAgain {
        link: usize,
        from: usize,
    },
    Dial {
        link: usize,
        attempt: u64,
    },
    Beat {
        link: usize,
        side: usize,
    },
    LinkGone {
        link: usize,
        side: usize,
        connection: u64,
    },
    /// A home comes to be in the table.
    Join(usize),
    /// A node reads the table again.
    Reload(usize),
    TableWell,
    /// What is on the way to a node may be otherwise.
    Reach(usize),
    /// A node goes on after a pause.
    Resume(usize),
    StoreArrives(Request),
    StoreAnswers {
        answer: oneshot::Sender<Said>,
        said: Said,
    },
    Kernel(usize),
    Hook {
        node: usize,
        is_active: bool,
    },
    PhoneActs(usize),
    PhoneReturns {
        phone: usize,
        home: usize,
    },
    /// What is on its way over a connection.
    Moves {
        flow: usize,
        toward: Toward,
    },
    PhoneAgain {
        phone: usize,
        number: usize,
    },
    PhoneAnswers {
        phone: usize,
        call_id: String,
        branch: String,
    },
    CallAgain(usize),
    HangUp(usize),
    Probe,
    NewCall,
    Trouble,
    /// Both directions, or one.
    Unblock(Place, Place),
    Start {
        node: usize,
        shards: u8,
    },
    Hold {
        home: usize,
        nodes: Vec<usize>,
    },
    StoreWell,
    Watch,
}

#[derive(Debug)]
struct Home {
    addr: SocketAddr,
    nodes: Vec<usize>,
    /// Those that have its address.
    holders: Vec<usize>,
}

/// A fetch of a user's bindings at a home.
#[derive(Debug)]
struct Probe {
    home: usize,
    user: usize,
    sent_at: u64,
}

/// See the module's documentation. Times are milliseconds since the beginning.
#[derive(Debug)]
pub(crate) struct World {
    now: u64,
    agenda: Agenda<Event>,
    draw: Draw,
    pub(crate) plan: Plan,
    defect: Defect,
    homes: Vec<Home>,
    nodes: Vec<Node>,
    links: Vec<Link>,
    store: Store,
    mailbox: Mailbox,
    keepers: Keepers,
    phones: Vec<Phone>,
    /// All connections of phones that there were.
    flows: Vec<Flow<Origin>>,
    calls: Vec<Call>,
    probes: Vec<Probe>,
    ledger: Ledger,
    stints: Stints,
    members: Members,
    /// The home that is not in the table yet.
    latecomer: Option<usize>,
    blocked: BTreeSet<(Place, Place)>,
    /// By home: whether its nodes held the same when they were at these versions.
    same: Vec<([u64; 2], bool)>,
    reach: Reach,
    /// By node: the homes that it leaves out, and since when.
    down: Vec<(Vec<Box<str>>, u64)>,
    /// Branches that have gone from home to home.
    branches: BTreeSet<String>,
    /// By node: when it had its address last.
    held_until: Vec<u64>,
    /// When the bindings end that were there once all was well, by the clocks of their nodes.
    ends_s: Vec<u32>,
    is_quiet: bool,
    is_over: bool,
    pub(crate) history: History,
    pub(crate) violations: Vec<String>,
    pub(crate) facts: Facts,
}

impl World {
    pub(crate) fn new(seed: u64, plan: Plan, defect: Defect, is_told: bool) -> Self {
        let mut draw = Draw::new(seed);
        let keepers = Keepers::new(plan.homes_count + plan.has_backup.iter().filter(|has| **has).count());
        let homes_count = plan.homes_count;
        let home_addr = |home: usize| SocketAddr::from((Ipv4Addr::new(192, 0, 2, home as u8 + 1), 5060));
        let (mut homes, mut nodes): (Vec<Home>, Vec<Node>) = (Vec::new(), Vec::new());
        for home in 0..homes_count {
            let first = nodes.len();
            let count = 1 + usize::from(plan.has_backup[home]);
            for index in 0..count {
                let number = (first + index) as u16 + 1;
                let twin = (count == 2).then(|| (first + 1 - index) as u16 + 1);
                let identity = Identity {
                    home,
                    number,
                    twin,
                    secret: [home as u8 + 1; 32],
                    skew_ms: draw.between(0, plan.skew_ms_max),
                    is_seed: index == 0,
                    is_sync: plan.is_sync,
                    kept_bytes: plan.kept_bytes,
                    reports_count_max: plan.reports_count_max,
                    mode: plan.mode,
                    began: keepers.began(),
                };
                nodes.push(Node::new(identity, settings(home_addr(home), &plan, defect), defect));
            }
            homes.push(Home { addr: home_addr(home), nodes: (first..first + count).collect(), holders: vec![first] });
        }
        let links = links_between(&nodes, plan.rhythm, keepers.began());
        let phones = (0..plan.phones_count)
            .map(|number| Phone::new(number, draw.below(plan.users_count), draw.below(homes_count), plan.nat_idle_ms))
            .collect();
        let ledger = ledger(&homes, &plan);
        let (held_until, stints) = (vec![0; nodes.len()], Stints::new(nodes.len()));
        let store = Store::new(draw.fork(), plan.lease_s.map(|lease_s| u64::from(lease_s) * 1000));
        let reach = Reach::new(links.len(), plan.linked_after_ms(), plan.lost_after_ms());
        let nodes_count = nodes.len();
        Self {
            now: 0,
            agenda: Agenda::new(),
            draw,
            plan,
            defect,
            homes,
            nodes,
            links,
            store,
            mailbox: Mailbox::default(),
            keepers,
            phones,
            flows: Vec::new(),
            calls: Vec::new(),
            probes: Vec::new(),
            ledger,
            stints,
            members: Members::new(nodes_count, defect == Defect::CopiesStay),
            latecomer: None,
            blocked: BTreeSet::new(),
            same: vec![([0; 2], false); homes_count],
            reach,
            down: vec![(Vec::new(), 0); nodes_count],
            branches: BTreeSet::new(),
            held_until,
            ends_s: Vec::new(),
            is_quiet: false,
            is_over: false,
            history: History::new(is_told),
            violations: Vec::new(),
            facts: Facts::default(),
        }
    }

    /// Starts all nodes and everything that goes by itself.
    pub(crate) fn begin(&mut self) {
        self.provision_first();
        let (mood, until) = self.plan.store_at_first;
        if mood != Mood::Good {
            self.store_is(mood);
            self.agenda.put(until, Event::StoreWell);
        }
        for home in 0..self.homes.len() {
            let holders = self.homes[home].holders.clone();
            self.ledger.held_by(home, holders, 0);
            self.run_hooks(home);
            for node in self.homes[home].nodes.clone() {
                let shards = self.draw.between(1, 4) as u8;
                if !self.is_to_come(home) {
                    self.start(node, shards);
                }
                self.agenda.put(0, Event::Tick(node));
            }
        }
        for phone in 0..self.phones.len() {
            let at = self.draw.between(0, 8000);
            self.agenda.put(at, Event::PhoneActs(phone));
        }
        for (at, event) in [(6000, Event::Probe), (5000, Event::NewCall), (9000, Event::Trouble), (500, Event::Watch)] {
            self.agenda.put(at, event);
        }
    }

    /// Phones and callers do nothing by themselves from now on.
    fn keep_still(&mut self) {
        self.is_quiet = true;
    }

    /// Lets time pass, or ends at the first violation.
    pub(crate) fn pass(&mut self, ms: u64) {
        let until = self.now + ms;
        while self.violations.is_empty() {
            let next = self.agenda.next_at().map_or(until, |at| at.clamp(self.now, until));
            if next > self.now && self.keep_directories(next) {
                // What was asked or ordered may have to be done before that.
                continue;
            }
            let Some((at, event)) = self.agenda.take(until) else { break };
            self.now = self.now.max(at);
            self.handle(event);
        }
        self.now = until;
    }

    /// Has the keepers do what they have to until then, or until something has to be seen to; whether that is so.
    fn keep_directories(&mut self, until: u64) -> bool {
        let (nodes, now) = (&self.nodes, self.now);
        let (now, is_stirred) = self.keepers.run(until, |node| nodes[node].paused_until > now);
        self.now = now;
        if is_stirred {
            for request in self.mailbox.take() {
                if matches!(request.asked, Asked::Write { .. }) {
                    self.check_publisher(request.node);
                }
                let at = self.now + self.store.takes_ms();
                self.agenda.put(at, Event::StoreArrives(request));
            }
            for node in 0..self.nodes.len() {
                self.turn_where_due(node);
            }
        }
        is_stirred
    }

    fn note(&mut self, what: std::fmt::Arguments<'_>) {
        self.history.note(self.now, what);
    }

    /// Something has happened that must not.
    fn violated(&mut self, what: String) {
        self.note(format_args!("VIOLATION {what}"));
        self.violations.push(what);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Datagram { to, from, origin, bytes } => self.arrive(to, from, origin, bytes),
            Event::Turn(node) => self.turn(node),
            Event::Control(node) => self.control(node),
            Event::Tick(node) => {
                self.control_soon(node, 0);
                self.agenda.put(self.now + 2 * Replicator::INTERVAL_MS, Event::Tick(node));
            }
            Event::Carried { link, from, connection, carried } => self.carried_arrives(link, from, connection, carried),
            Event::SendAgain { link, from } => self.send_again(link, from),
            Event::Dial { link, attempt } => self.dial(link, attempt),
            Event::Beat { link, side } => self.beat(link, side),
            Event::LinkGone { link, side, connection } => self.side_is_gone(link, side, connection),
            Event::Join(home) => self.join(home),
            Event::Reload(node) => self.reload(node),
            Event::TableWell => self.members.is_away = false,
            Event::Reach(node) => self.look_at_reach(node, false),
            Event::Resume(node) => self.resume(node),
            Event::StoreArrives(request) => self.ask_store(request),
            // Who asked may have died, or waits no longer.
            Event::StoreAnswers { answer, said } => _ = answer.send(said),
            Event::Kernel(node) => self.kernel_says(node),
            Event::Hook { node, is_active } => self.hook_says(node, is_active),
            Event::PhoneActs(phone) => self.phone_acts(phone),
            Event::PhoneReturns { phone, home } => self.phone_returns(phone, home),
            Event::Moves { flow, toward } => self.moves(flow, toward),
            Event::PhoneAgain { phone, number } => self.register_again(phone, number),
            Event::PhoneAnswers { phone, call_id, branch } => self.phone_answers(phone, &call_id, &branch),
            Event::CallAgain(call) => self.call_again(call),
            Event::HangUp(call) => self.hang_up(call),
            Event::Probe => self.probe_sometimes(),
            Event::NewCall => self.call_sometimes(),
            Event::Trouble => self.make_trouble(),
            Event::Unblock(from, to) => self.unblock(from, to),
            Event::Start { node, shards } => self.start(node, shards),
            Event::Hold { home, nodes } => self.hold(home, nodes),
            Event::StoreWell => self.store.set_mood(Mood::Good),
            Event::Watch => self.watch(),
        }
    }

    fn is_running(&self, node: usize) -> bool {
        self.nodes[node].life.is_some()
    }

    fn turn_soon(&mut self, node: usize, at: u64) {
        if self.nodes[node].turn_at.is_none_or(|before| at < before) {
            self.nodes[node].turn_at = Some(at);
            self.agenda.put(at, Event::Turn(node));
        }
    }

    fn control_soon(&mut self, node: usize, ms: u64) {
        if !self.nodes[node].is_control_due {
            self.nodes[node].is_control_due = true;
            self.agenda.put(self.now + ms, Event::Control(node));
        }
    }

    fn turn(&mut self, node: usize) {
        if self.nodes[node].turn_at != Some(self.now) {
            // It was taken earlier.
            return;
        }
        let paused_until = self.nodes[node].paused_until;
        self.nodes[node].turn_at = None;
        if paused_until > self.now {
            return self.turn_soon(node, paused_until);
        }
        let sent = self.nodes[node].turn(self.now, None);
        self.take(node, sent);
        self.turn_where_due(node);
        self.control_soon(node, 1);
    }

    /// The next turn, unless one is to come anyway; it is looked for after every step of the control plane too.
    fn turn_where_due(&mut self, node: usize) {
        if let Some(at) = self.nodes[node].next_turn(self.now)
            && at <= self.now + 2 * Replicator::INTERVAL_MS
        {
            self.turn_soon(node, at);
        }
    }

    fn control(&mut self, node: usize) {
        let paused_until = self.nodes[node].paused_until;
        if paused_until > self.now {
            return self.agenda.put(paused_until, Event::Control(node));
        }
        self.nodes[node].is_control_due = false;
        let room = self.room_of(node);
        let sent = self.nodes[node].control(self.now, room);
        self.take(node, sent);
        self.look_at_role(node);
        self.read_on(node);
        self.turn_where_due(node);
    }

    /// Does what a node wants done.
    fn take(&mut self, node: usize, sent: Vec<Sent>) {
        for sent in sent {
            match sent {
                Sent::Message(Leaving { way, ticket, bytes, is_backed }) => {
                    let disk = self.nodes[node].disks_count;
                    let origin = Origin { place: Place::Node(node), disk, is_backed, side: node % 2 };
                    match way {
                        Way::Datagram { to, from } => self.send(to, from, origin, &bytes),
                        Way::Flow(flow) => self.send_by_node(node, flow, ticket, origin, &bytes),
                        Way::Refused => self.not_sent(node, ticket),
                    }
                }
                Sent::Frame(bytes) => self.send_frame(node, bytes),
                Sent::News(news) => {
                    self.note(format_args!("n{node} {news:?}"));
                    self.note_claim(node, &news);
                    if let News::Whole(Some(_)) = news {
                        self.check_whole(node);
                    }
                }
                Sent::Bad(bad) => self.violated(format!("frames: n{node} was sent a frame that {}", bad.0)),
            }
        }
    }

    fn ask_store(&mut self, request: Request) {
        let Request { node, asked, answer } = request;
        let said = self.store.carry_out(&asked, self.now);
        self.facts.unreached += u64::from(matches!((&asked, &said), (Asked::Reach, None | Some(Said::Failed))));
        let Some(said) = said else {
            // It is told that the connection has ended, or nothing at all until it gives up.
            if self.draw.happens(500) {
                self.agenda.put(self.now + SILENCE_MS, Event::StoreAnswers { answer, said: Said::Failed });
            }
            return;
        };
        self.note(format_args!("store {asked:?} of n{node}: {said:?}"));
        let at = self.now + self.store.takes_ms();
        self.agenda.put(at, Event::StoreAnswers { answer, said });
    }

    /// Starts the keeper of a node that has begun to run.
    fn start_keeper(&mut self, node: usize, activity: Activity, is_empty: bool) {
        let Some(life) = &self.nodes[node].life else { return };
        let identity = &self.nodes[node].identity;
        let lease_s = self.plan.lease_s.filter(|_| self.defect != Defect::LeasesUnknown);
        let options = KeeperOptions {
            url: StoreUrl::Memory,
            store: StoreOptions { lease_s: lease_s.unwrap_or(0), ..StoreOptions::default() },
            home: home_name(self.homes[identity.home].addr),
            is_empty: is_empty && identity.twin.is_none(),
            has_twin: false,
            lookup_deadline: Duration::from_millis(DirectorySettings::default().lookup_deadline_ms.into()),
            pending_max: 100,
            reconcile_interval: Some(RECONCILE_INTERVAL),
            reconcile_rows_per_s: 100_000,
            ambient: self.keepers.ambient(identity.skew_ms, self.draw.number()),
        };
        let has_leases = lease_s.is_some();
        let gives_up = self.defect == Defect::StoreReachedOnce;
        let client =
            Client { node, mailbox: self.mailbox.clone(), stir: self.keepers.stir.clone(), has_leases, gives_up };
        let (link, store) = (Arc::clone(&life.directory), sipfed_directory::Store::Given(Arc::new(client)));
        self.keepers.start(node, Start { options, link, activity, store });
    }

    /// The contacts of a user at a home, whether they are bound or not.
    fn contacts_of(&self, user: usize, home: usize) -> Vec<Contact> {
        let of_user = self.phones.iter().filter(|phone| phone.user == user);
        of_user.map(|phone| Contact { home, phone: phone.number }).collect()
    }
}
