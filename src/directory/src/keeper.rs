//! The thread that speaks with the store.
//!
//! In: the link to the shards, and where the store is. Out: what the shards asked and published, done; [`Statistics`].
//! It connects by itself, again and again where need be; the node starts, registers and calls without it. Nothing on this
//! thread blocks: it is one executor for the drivers and for the tasks in `advertiser`, `locator` and `reconciler`.
//!
//! Of several nodes with one home only the active one publishes. A passive node answers questions, writes nothing, and forgets
//! what its shards have noted: the reconcile with which each *stint* as the active node begins finds all of it. What is under
//! way to the store when a stint ends is not called back; it has an older stamp than whatever the next active node writes.
//!
//! Owned by the node, which starts it after the shards and stops it after them. Stopping waits up to [`FLUSH_MAX`] for
//! changes that are still to be written.

use super::advertiser::{Advertiser, Backoff};
use super::ambient::{Ambient, Chance};
use super::inquiry::{self, Inquirer, Inquiry};
use super::locator::{self, Locator};
use super::reconciler::{self, Tasks};
use super::stamps::Stamps;
use super::statistics::{Statistics, add};
use super::{Change, Store, StoreError, StoreOptions, StoreUrl};
use sipfed_proto::directory::{News, Order, ShardsLink};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio::time::sleep;
use tracing::{error, info, warn};

/// How long a stopping node waits for changes to be written.
const FLUSH_MAX: Duration = Duration::from_secs(1);
/// Pauses between attempts to reach the store for the first time.
const CONNECT_BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// How long a shard that had no room for an answer is left alone.
const FULL_WAIT: Duration = Duration::from_millis(1);
/// News taken from one shard before the others have their turn.
const NEWS_PER_ROUND_MAX: usize = 4096;

/// What the keeper is started with.
#[derive(Clone, Debug)]
pub struct KeeperOptions {
    /// Where the store is.
    pub url: StoreUrl,
    /// How it is used.
    pub store: StoreOptions,
    /// This node's home, as published.
    pub home: String,
    /// Whether the node has started without a binding, so that all it ever published is void.
    pub is_empty: bool,
    /// Whether another node has the same home, so that what is not known here may be known there.
    pub has_twin: bool,
    /// How long a question may take.
    pub lookup_deadline: Duration,
    /// AoRs that may wait to be written.
    pub pending_max: usize,
    /// `None` for none but at the start, on command, and when something was forgotten.
    pub reconcile_interval: Option<Duration>,
    /// How fast a reconcile reads.
    pub reconcile_rows_per_s: u32,
    /// The time on the wall, and chance.
    pub ambient: Ambient,
}

/// Says whether this node is the active one of its home.
pub trait ActivityWatch {
    /// Whether it is now.
    fn is_active(&mut self) -> bool;

    /// The same once it may be otherwise than this has given last. May be dropped and called again.
    fn changed(&mut self) -> impl Future<Output = bool>;
}

/// The running keeper. Dropping it stops it.
#[derive(Debug)]
pub struct Keeper {
    statistics: Arc<Statistics>,
    wishes: watch::Sender<Wishes>,
    inquirer: Inquirer,
    thread: Option<JoinHandle<()>>,
}

/// What the node wants of the keeper.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    /// How often a reconcile has been asked for.
    pub(super) reconciles: u32,
    /// The homes of other nodes, once they are not those of the start any more.
    peers: Option<Arc<[Box<str>]>>,
    /// The homes that are known to be down, once any was.
    down: Option<Arc<[Box<str>]>>,
    is_stopping: bool,
}

/// Tells a keeper who the other nodes are and which homes are down, from any thread.
#[derive(Clone, Debug)]
pub struct PeersSender(watch::Sender<Wishes>);

impl PeersSender {
    /// From now on these are the homes of the other nodes; every shard is told.
    pub fn send(&self, peers: Arc<[Box<str>]>) {
        self.0.send_modify(|wishes| wishes.peers = Some(peers));
    }

    /// From now on these homes are known to be down; every shard is told.
    pub fn send_down(&self, homes: Arc<[Box<str>]>) {
        self.0.send_modify(|wishes| wishes.down = Some(homes));
    }
}

/// How the shards wake the keeper; made before either is there.
#[derive(Clone, Debug, Default)]
pub struct Bell(Arc<Notify>);

impl Bell {
    /// The shards have something. From any thread.
    pub fn ring(&self) {
        self.0.notify_one();
    }
}

/// What the tasks of the keeper share; all of them live on its thread.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) home: String,
    pub(super) link: Arc<dyn ShardsLink>,
    /// Raised when a queue of a shard may be looked into again.
    pub(super) news: Arc<Notify>,
    store: watch::Sender<Option<Store>>,
    pub(super) stamps: Stamps,
    pub(super) advertiser: Advertiser,
    pub(super) locator: Locator,
    pub(super) tasks: Tasks,
    pub(super) statistics: Arc<Statistics>,
    /// Orders that a shard had no room for, by shard.
    unsent: RefCell<Vec<VecDeque<Order>>>,
    /// The reason that was told why writes fail, until one succeeds: that the store is away, or that it refuses.
    write_failure: Cell<Option<Told>>,
    /// Whether a change was forgotten for want of room.
    pub(super) has_forgotten: Cell<bool>,
    /// Where this node is the active one of its home: for which time.
    stint: watch::Sender<Option<Stint>>,
    stints_count: Cell<u64>,
    chance: RefCell<Chance>,
}

/// One time of being the active node, from becoming it to becoming passive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stint(u64);

/// What was told about writes that fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// They may succeed later.
    Passing,
    /// Somebody has to do something.
    Refused,
}

impl Keeper {
    /// Starts the thread; `bell` is what the shards of `link` ring.
    pub fn start(
        options: KeeperOptions,
        link: Arc<dyn ShardsLink>,
        bell: &Bell,
        role: impl ActivityWatch + Send + 'static,
    ) -> std::io::Result<Self> {
        Self::start_with(options, link, bell, role, None)
    }

    /// The same; where a store is given, the URL means nothing.
    pub(super) fn start_with(
        options: KeeperOptions,
        link: Arc<dyn ShardsLink>,
        bell: &Bell,
        role: impl ActivityWatch + Send + 'static,
        given: Option<Store>,
    ) -> std::io::Result<Self> {
        let statistics = Arc::new(Statistics::new());
        let (wishes, wished) = watch::channel(Wishes::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (told, news) = (Arc::clone(&statistics), Arc::clone(&bell.0));
        let (inquirer, inquiries) = Inquirer::new();
        let run = move || {
            let shared = Rc::new(Shared::new(&options, link, news, told));
            let keep = keep(shared, options, given, (wished, inquiries), role);
            tokio::task::LocalSet::new().block_on(&runtime, keep);
            // The drivers' own tasks end with the runtime, without anybody waiting for their connections.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("directory".to_owned()).spawn(run)?;
        Ok(Self { statistics, wishes, inquirer, thread: Some(thread) })
    }

    /// The same on the executor of whoever polls what comes along with it, in a [`LocalSet`](tokio::task::LocalSet) within
    /// a runtime whose clock it then has. It ends when that is dropped, or some time after it was told to stop.
    pub fn here<A: ActivityWatch>(
        options: KeeperOptions,
        link: Arc<dyn ShardsLink>,
        bell: &Bell,
        role: A,
        store: Store,
    ) -> (Self, impl Future<Output = ()> + use<A>) {
        let statistics = Arc::new(Statistics::new());
        let (wishes, wished) = watch::channel(Wishes::default());
        let (inquirer, inquiries) = Inquirer::new();
        let shared = Rc::new(Shared::new(&options, link, Arc::clone(&bell.0), Arc::clone(&statistics)));
        let keep = keep(shared, options, Some(store), (wished, inquiries), role);
        (Self { statistics, wishes, inquirer, thread: None }, keep)
    }

    /// What it has done, and where it stands.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// The same, for another thread.
    pub fn shared_statistics(&self) -> Arc<Statistics> {
        Arc::clone(&self.statistics)
    }

    /// For whoever asks what the store says of an AoR.
    pub fn inquirer(&self) -> Inquirer {
        self.inquirer.clone()
    }

    /// Has what the store says of this home compared with the bindings, and mended.
    pub fn reconcile(&self) {
        self.reconciler()();
    }

    /// What has that done, for another thread.
    pub fn reconciler(&self) -> impl Fn() + Send + Sync + use<> {
        let wishes = self.wishes.clone();
        move || wishes.send_modify(|wishes| wishes.reconciles += 1)
    }

    /// For whoever learns of other nodes.
    pub fn peers_sender(&self) -> PeersSender {
        PeersSender(self.wishes.clone())
    }

    /// Writes what is left, within bounds, and ends the thread.
    pub fn stop(mut self) {
        self.join();
    }

    fn join(&mut self) {
        self.wishes.send_modify(|wishes| wishes.is_stopping = true);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            error!("the keeper of the directory had panicked");
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.join();
        }
    }
}

impl Shared {
    fn new(options: &KeeperOptions, link: Arc<dyn ShardsLink>, news: Arc<Notify>, statistics: Arc<Statistics>) -> Self {
        let shards_count = link.shards_count();
        let mut chance = options.ambient.chance();
        Self {
            home: options.home.clone(),
            link,
            news,
            store: watch::channel(None).0,
            stamps: Stamps::new(&options.ambient),
            advertiser: Advertiser::new(options.pending_max, &mut chance),
            locator: Locator::new(options.lookup_deadline),
            tasks: Tasks::new(shards_count),
            statistics,
            unsent: RefCell::new((0..shards_count).map(|_| VecDeque::new()).collect()),
            write_failure: Cell::new(None),
            has_forgotten: Cell::new(false),
            stint: watch::channel(None).0,
            stints_count: Cell::new(0),
            chance: RefCell::new(chance),
        }
    }

    /// Pauses from the first to the longest one.
    pub(super) fn backoff(&self, bounds: (Duration, Duration)) -> Backoff {
        let seed = self.chance.borrow_mut().number();
        Backoff::drawn(bounds, Chance::new(seed))
    }

    /// Whether this node is the active one of its home now.
    pub(super) fn is_active(&self) -> bool {
        self.present_stint().is_some()
    }

    /// The stint that is going on, if any.
    pub(super) fn present_stint(&self) -> Option<Stint> {
        *self.stint.borrow()
    }

    /// Whether that stint is still going on.
    pub(super) fn goes_on(&self, stint: Stint) -> bool {
        self.present_stint() == Some(stint)
    }

    /// The present stint, or the next one.
    pub(super) async fn stint(&self) -> Stint {
        let mut stint = self.stint.subscribe();
        loop {
            if let Some(stint) = *stint.borrow_and_update() {
                return stint;
            }
            // The sender lives as long as this.
            let _ = stint.changed().await;
        }
    }

    /// Waits until that stint is over.
    pub(super) async fn end_of(&self, ended: Stint) {
        let mut stint = self.stint.subscribe();
        while *stint.borrow_and_update() == Some(ended) {
            let _ = stint.changed().await;
        }
    }

    /// This node is the active one of its home from now on, or is not any more.
    fn set_active(&self, is_active: bool) {
        if is_active == self.is_active() {
            return;
        }
        let stint = is_active.then(|| {
            self.stints_count.set(self.stints_count.get() + 1);
            Stint(self.stints_count.get())
        });
        self.stint.send_replace(stint);
        if !is_active {
            self.advertiser.forget();
            self.has_forgotten.set(false);
            // A node that does not write does not learn either that it could again.
            self.write_failure.set(None);
            if self.store_if_up().is_some() {
                self.statistics.is_up.store(self.locator.is_answered(), Relaxed);
            }
            self.tell_lag();
        }
    }

    /// The store, once it has been reached for the first time.
    pub(super) async fn store(&self) -> Store {
        let mut store = self.store.subscribe();
        loop {
            if let Some(store) = &*store.borrow_and_update() {
                return store.clone();
            }
            // The sender lives as long as this.
            let _ = store.changed().await;
        }
    }

    /// The store, if it has been reached.
    pub(super) fn store_if_up(&self) -> Option<Store> {
        self.store.borrow().clone()
    }

    /// Gives a shard an order, at once or as soon as there is room.
    pub(super) fn deliver(self: &Rc<Self>, shard: usize, order: Order) {
        let unsent = &mut self.unsent.borrow_mut()[shard];
        if unsent.is_empty() {
            match self.link.put(shard, order) {
                Ok(()) => return self.link.ring(shard),
                Err(order) => unsent.push_back(order),
            }
            tokio::task::spawn_local(deliver_unsent(Rc::clone(self), shard));
        } else {
            unsent.push_back(order);
        }
    }

    fn has_unsent(&self, shard: usize) -> bool {
        !self.unsent.borrow()[shard].is_empty()
    }

    pub(super) fn tell_lag(&self) {
        self.statistics.set_lag(self.advertiser.pending(), self.advertiser.oldest());
    }

    pub(super) fn tell_away(&self, why: &str) {
        self.statistics.is_up.store(false, Relaxed);
        warn!(why, "the directory does not answer; calls go on with what is known without it");
    }

    pub(super) fn tell_back(&self, away: Duration) {
        self.statistics.is_up.store(self.write_failure.get().is_none(), Relaxed);
        info!(away_ms = away.as_millis() as u64, "the directory answers again");
    }

    pub(super) fn write_failed(&self, error: &StoreError) {
        self.statistics.is_up.store(false, Relaxed);
        let told = if error.is_passing() { Told::Passing } else { Told::Refused };
        // Once for each kind: a store that comes back without its tables is another matter than one that is away.
        if self.write_failure.get().is_some_and(|before| before == told || before == Told::Refused) {
            return;
        }
        self.write_failure.set(Some(told));
        let why = error.told();
        if told == Told::Passing {
            warn!(why, "the directory does not take what is published; it is tried again");
        } else {
            error!(why, "the directory refuses what is published; it is tried again");
        }
    }

    pub(super) fn write_succeeded(&self) {
        if self.write_failure.take().is_some() {
            self.statistics.is_up.store(self.locator.is_answered(), Relaxed);
            info!(pending = self.advertiser.pending(), "the directory takes what is published again");
        }
    }
}

/// Gives a shard what it had no room for.
async fn deliver_unsent(shared: Rc<Shared>, shard: usize) {
    loop {
        sleep(FULL_WAIT).await;
        let mut unsent = shared.unsent.borrow_mut();
        while let Some(order) = unsent[shard].pop_front() {
            if let Err(order) = shared.link.put(shard, order) {
                unsent[shard].push_front(order);
                break;
            }
        }
        shared.link.ring(shard);
        if unsent[shard].is_empty() {
            // Its questions were left alone meanwhile.
            shared.news.notify_one();
            return;
        }
    }
}

/// The life of the keeper.
async fn keep(
    shared: Rc<Shared>,
    options: KeeperOptions,
    given: Option<Store>,
    (mut wished, inquiries): (watch::Receiver<Wishes>, mpsc::Receiver<Inquiry>),
    mut role: impl ActivityWatch,
) {
    shared.set_active(role.is_active());
    let begun_us = shared.stamps.next();
    Advertiser::start(&shared);
    tokio::task::spawn_local(connect(Rc::clone(&shared), options.clone(), given));
    tokio::task::spawn_local(inquiry::answer_all(Rc::clone(&shared), inquiries));
    tokio::task::spawn_local(reconciler::run(Rc::clone(&shared), options, begun_us, wished.clone()));
    let (mut peers, mut down) = (None, None);
    loop {
        let wishes = wished.borrow_and_update().clone();
        if wishes.is_stopping {
            break;
        }
        deliver_if_new(&shared, &mut peers, wishes.peers, Order::Peers);
        deliver_if_new(&shared, &mut down, wishes.down, Order::Down);
        tokio::select! {
            // Shards may always have something; the others have their turn before.
            biased;
            changed = wished.changed() => if changed.is_err() { return },
            is_active = role.changed() => shared.set_active(is_active),
            () = shared.news.notified() => look(&shared),
        }
    }
    let flushed = async {
        loop {
            look(&shared);
            let progress = shared.advertiser.progress.notified();
            if shared.advertiser.pending() == 0 {
                return;
            }
            progress.await;
        }
    };
    if shared.store_if_up().is_none() || tokio::time::timeout(FLUSH_MAX, flushed).await.is_err() {
        let pending = shared.advertiser.pending();
        if pending > 0 {
            warn!(pending, "not everything was published before the end; the next start compares and mends");
        }
    }
}

/// Tells every shard homes that are other ones than those of the last time.
fn deliver_if_new(
    shared: &Rc<Shared>,
    known: &mut Option<Arc<[Box<str>]>>,
    wished: Option<Arc<[Box<str>]>>,
    order: fn(Arc<[Box<str>]>) -> Order,
) {
    if *known == wished {
        return;
    }
    *known = wished;
    if let Some(homes) = &*known {
        (0..shared.link.shards_count()).for_each(|shard| shared.deliver(shard, order(Arc::clone(homes))));
    }
}

/// Takes what the shards have.
fn look(shared: &Rc<Shared>) {
    shared.link.look();
    let now = Instant::now();
    for shard in 0..shared.link.shards_count() {
        while shared.locator.has_room()
            && !shared.has_unsent(shard)
            && let Some(question) = shared.link.take_question(shard)
        {
            locator::ask(shared, shard, question);
        }
        let mut budget = NEWS_PER_ROUND_MAX;
        while budget > 0
            && shared.advertiser.has_room()
            && let Some(news) = shared.link.take_news(shard)
        {
            budget -= 1;
            match news {
                News::Change(_) | News::Forgotten if !shared.is_active() => {}
                News::Change(change) => match String::from_utf8(change.aor.into()) {
                    Ok(aor) => {
                        let change = Change { aor: aor.into(), is_home: change.is_home };
                        shared.advertiser.note(change, now);
                    }
                    Err(_) => add(&shared.statistics.unpublishable, 1),
                },
                News::Done(next) => shared.tasks.done(shard, next),
                News::Forgotten => shared.has_forgotten.set(true),
            }
        }
        if budget == 0 {
            shared.news.notify_one();
        }
    }
    shared.tell_lag();
}

/// Reaches the store for the first time, however long that takes.
async fn connect(shared: Rc<Shared>, options: KeeperOptions, given: Option<Store>) {
    let mut backoff = shared.backoff(CONNECT_BACKOFF);
    let (started, mut told) = (Instant::now(), String::new());
    loop {
        let reached = match &given {
            Some(store) => store.reach().await.map(|()| store.clone()),
            None => Store::connect(&options.url, &options.store).await,
        };
        match reached {
            Ok(store) => {
                info!(store = ?store, after_ms = started.elapsed().as_millis() as u64, "the directory is there");
                shared.statistics.is_up.store(true, Relaxed);
                shared.store.send_replace(Some(store));
                return;
            }
            Err(error) => {
                // Each reason once, not each attempt.
                let why = error.told();
                if why != told && error.is_passing() {
                    warn!(why, "the directory is not there yet; the node goes on without it");
                } else if why != told {
                    error!(why, "the directory cannot be used; the node goes on without it");
                }
                told = why;
                sleep(backoff.next_pause()).await;
            }
        }
    }
}
