//! Has the store say of this home what is so: whenever the node becomes the active one of it, on a schedule, on command, and
//! after something was forgotten. A passive node does nothing of this but learn the epochs of all homes.
//!
//! A reconcile is two streams. The store's rows of this home go to the shards page by page: an AoR that is not at home
//! there becomes a withdrawal, one that is gets a mark. Then the shards walk over their AoRs: what has no mark becomes a
//! publication. Both go the way of any other change, through the shard's own queue, so that what happens meanwhile is
//! never overtaken by what was seen before it. Nothing is held but a page.
//!
//! Where another node has the same home, what is not known here may be known there: then nothing is withdrawn or made void
//! on a guess, every AoR at home here is written anew, and what is wrong ends with its lease.
//!
//! Rows have a lease; a walk over everything writes each of them anew twice in that time, evenly, and rows whose lease
//! has ended are swept where the store does not do so itself. The *epoch* of a home is when its present life began: a
//! node that starts with nothing sets it to now, by which everything published before is void.
//!
//! Bounds: the store is read at `directory.reconcile_rows_per_s`, whoever's rows these are; half of
//! `directory.pending_max` may wait to be written.

use super::keeper::{KeeperOptions, Shared, Stint, Wishes};
use super::statistics::add;
use super::{PageToken, ScannedRow, Store, StoreError};
use sipfed_proto::directory::{Order, Pass, Walk};
use std::cell::RefCell;
use std::num::NonZeroU8;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio::time::{sleep, sleep_until};
use tracing::{info, warn};

/// Rows of one page.
const PAGE_ROWS_COUNT: usize = 1000;
/// AoRs that a shard looks at in one step of a walk.
const WALK_COUNT: u32 = 1000;
/// Time between two looks at the epochs of all homes.
const EPOCHS_INTERVAL: Duration = Duration::from_secs(5);
/// Shortest time between two sweeps.
const SWEEP_INTERVAL_MIN: Duration = Duration::from_secs(30);
/// Longest pause between two steps of a renewal.
const RENEWAL_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Longest wait before the tasks that are due are looked at again.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Pauses after a reconcile that failed.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How often a request of a reconcile is tried, and pauses in between.
const TRIES: u32 = 8;
const TRY_BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The task that each shard has been given.
#[derive(Debug)]
pub(super) struct Tasks(RefCell<Vec<Option<oneshot::Sender<Option<u32>>>>>);

impl Tasks {
    pub(super) fn new(shards_count: usize) -> Self {
        Self(RefCell::new((0..shards_count).map(|_| None).collect()))
    }

    /// A shard has done its task.
    pub(super) fn done(&self, shard: usize, next: Option<u32>) {
        if let Some(waiting) = self.0.borrow_mut()[shard].take() {
            // Who waited for it may have ended with the node.
            let _ = waiting.send(next);
        }
    }
}

/// Gives a shard a task and waits until it is done.
async fn have_done(shared: &Rc<Shared>, shard: usize, order: Order) -> Option<u32> {
    let (done, is_done) = oneshot::channel();
    shared.tasks.0.borrow_mut()[shard] = Some(done);
    shared.deliver(shard, order);
    is_done.await.ok().flatten()
}

/// Why something was not done to its end.
enum Cut {
    /// The store did not do its part.
    Store(StoreError),
    /// The node is not the active one of its home any more.
    Passive,
}

impl From<StoreError> for Cut {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Tries a request again that may succeed later, for as long as the stint goes on. A reconcile that began anew whenever one of its pages fails would come
/// to no end with a store that fails now and then.
async fn tried<T>(shared: &Shared, stint: Stint, request: impl AsyncFn() -> Result<T, StoreError>) -> Result<T, Cut> {
    let mut backoff = shared.backoff(TRY_BACKOFF);
    for _ in 1..TRIES {
        match request().await {
            _ if !shared.goes_on(stint) => return Err(Cut::Passive),
            Err(error) if error.is_passing() => sleep(backoff.next_pause()).await,
            done => return Ok(done?),
        }
        if !shared.goes_on(stint) {
            return Err(Cut::Passive);
        }
    }
    Ok(request().await?)
}

/// Keeps to a rate.
struct Pace {
    per_s: u32,
    next_at: Instant,
}

impl Pace {
    fn new(per_s: u32) -> Self {
        Self { per_s: per_s.max(1), next_at: Instant::now() }
    }

    /// Waits until what was done before is paid for; `count` more is done now.
    async fn pay(&mut self, count: usize) {
        sleep_until(self.next_at).await;
        let now = Instant::now();
        self.next_at = self.next_at.max(now) + Duration::from_secs_f64(count as f64 / f64::from(self.per_s));
    }
}

/// The next step of the walk that writes every row anew.
#[derive(Clone, Copy, Debug)]
struct Renewal {
    at: Instant,
    shard: usize,
    from: u32,
}

struct Reconciler {
    shared: Rc<Shared>,
    options: KeeperOptions,
    pass: NonZeroU8,
    /// How many steps it takes to walk over all AoRs.
    steps_count: u32,
    /// Since when rows of this home count.
    epoch_us: i64,
    /// A stamp older than that of any row that this life has written.
    begun_us: i64,
}

/// Does all of it, for as long as the keeper lives. `begun_us` is a stamp from before the first write.
pub(super) async fn run(
    shared: Rc<Shared>,
    options: KeeperOptions,
    begun_us: i64,
    mut wishes: watch::Receiver<Wishes>,
) {
    let store = shared.store().await;
    if store.has_epochs() {
        tokio::task::spawn_local(know_epochs(Rc::clone(&shared), store.clone()));
    }
    let mut reconciler =
        Reconciler { shared, options, pass: NonZeroU8::MIN, steps_count: 0, epoch_us: i64::MIN, begun_us };
    loop {
        let stint = reconciler.shared.stint().await;
        if reconciler.serve(stint, &store, &mut wishes).await.is_none() {
            return;
        }
    }
}

/// Learns the epochs of all homes, again and again.
async fn know_epochs(shared: Rc<Shared>, store: Store) {
    loop {
        // One that is not answered leaves what was known.
        if let Ok(epochs) = store.epochs().await {
            shared.locator.know(epochs);
        }
        sleep(EPOCHS_INTERVAL).await;
    }
}

impl Reconciler {
    /// Does what is due until the stint is over; `None` when the node ends.
    async fn serve(&mut self, stint: Stint, store: &Store, wishes: &mut watch::Receiver<Wishes>) -> Option<()> {
        self.shared.advertiser.have_ended_before(stint).await;
        let mut backoff = self.shared.backoff(BACKOFF);
        while let Err(error) = self.begin_life(store).await {
            warn!(why = error.told(), "the directory does not say since when this home's rows count; trying again");
            sleep(backoff.next_pause()).await;
            if !self.shared.goes_on(stint) {
                return Some(());
            }
        }
        let lease = Duration::from_secs(self.options.store.lease_s.into());
        let renews = store.has_leases() && !lease.is_zero();
        let sweep_interval = (lease / 10).max(SWEEP_INTERVAL_MIN);
        let mut asked_for = wishes.borrow_and_update().reconciles;
        let mut reconcile_at = Some(Instant::now());
        let mut renewal = renews.then(|| Renewal { at: Instant::now() + lease / 2, shard: 0, from: 0 });
        let mut sweep_at = renews.then(|| Instant::now() + sweep_interval);
        backoff = self.shared.backoff(BACKOFF);
        while self.shared.goes_on(stint) {
            let now = Instant::now();
            if reconcile_at.is_some_and(|at| at <= now) || self.shared.has_forgotten.take() {
                reconcile_at = match self.reconcile(stint, store).await {
                    Ok(()) => {
                        backoff = self.shared.backoff(BACKOFF);
                        self.options.reconcile_interval.map(|interval| Instant::now() + interval)
                    }
                    Err(Cut::Passive) => break,
                    Err(Cut::Store(error)) => {
                        warn!(why = error.told(), "a reconcile was not finished; it begins anew");
                        Some(Instant::now() + backoff.next_pause())
                    }
                };
            } else if let Some(due) = renewal.filter(|renewal| renewal.at <= now) {
                renewal = Some(self.renew(due, lease).await);
            } else if sweep_at.is_some_and(|at| at <= now) {
                sweep_at = Some(now + sweep_interval);
                if let Err(error) = store.sweep(&self.shared.home, self.shared.stamps.wall_us()).await {
                    warn!(why = error.told(), "rows whose lease has ended were not swept");
                }
            } else {
                tokio::select! {
                    biased;
                    () = sleep(LOOK_INTERVAL) => {}
                    () = self.shared.end_of(stint) => {}
                    changed = wishes.changed() => {
                        changed.ok()?;
                        let wished = wishes.borrow_and_update().reconciles;
                        if wished != asked_for {
                            (asked_for, reconcile_at) = (wished, Some(Instant::now()));
                        }
                    }
                }
            }
        }
        Some(())
    }

    /// Finds out since when the rows of this home count, or says so.
    async fn begin_life(&mut self, store: &Store) -> Result<(), StoreError> {
        if !store.has_epochs() {
            return Ok(());
        }
        let shared = &self.shared;
        let known = store.epochs().await?.into_iter().find(|epoch| *epoch.home == *shared.home);
        let known_us = known.map(|epoch| epoch.epoch_us);
        let is_gone = known_us == Some(i64::MAX);
        if let Some(known_us) = known_us.filter(|_| !is_gone) {
            // A clock that was set back must not let our rows be older than their home.
            shared.stamps.pass(known_us);
        }
        self.epoch_us = known_us.unwrap_or(i64::MIN);
        if self.options.is_empty && !self.options.has_twin || is_gone {
            // Rows may have been written since the store is there, and they are of this life. Where the clock was set
            // back they are not newer than those of the one before, and the reconcile writes them anew.
            let is_later = known_us.is_none_or(|known_us| is_gone || self.begun_us > known_us);
            let epoch_us = if is_later { self.begun_us } else { shared.stamps.next() };
            store.set_epoch(&shared.home, epoch_us, shared.stamps.next()).await?;
            info!(home = shared.home, "everything that this home published before is void");
            self.epoch_us = epoch_us;
        }
        // What has been published since is of this life.
        self.options.is_empty = false;
        Ok(())
    }

    /// Compares what the store says of this home with what is so, and has what differs mended.
    async fn reconcile(&mut self, stint: Stint, store: &Store) -> Result<(), Cut> {
        let started = Instant::now();
        self.pass = self.pass.checked_add(1).unwrap_or(NonZeroU8::MIN);
        let pass = Pass(self.pass);
        let (rows_count, void_count) =
            if self.options.has_twin { (0, 0) } else { self.compare(stint, store, pass).await? };
        self.steps_count = 0;
        for shard in 0..self.shared.link.shards_count() {
            let mut from = Some(0);
            while let Some(at) = from {
                self.steps_count += 1;
                let walk = if self.options.has_twin { Walk::All } else { Walk::Unseen(pass) };
                from = have_done(&self.shared, shard, Order::Walk { walk, from: at, count: WALK_COUNT }).await;
                self.wait_for_writes().await;
                if !self.shared.goes_on(stint) {
                    return Err(Cut::Passive);
                }
            }
        }
        add(&self.shared.statistics.reconciles, 1);
        info!(
            rows = rows_count,
            void = void_count,
            pending = self.shared.advertiser.pending(),
            took_ms = started.elapsed().as_millis() as u64,
            "what the directory says of this home was compared"
        );
        Ok(())
    }

    /// Shows the shards what the store says of this home; gives how many rows that were, and how many void ones more.
    async fn compare(&self, stint: Stint, store: &Store, pass: Pass) -> Result<(usize, usize), Cut> {
        let mut pace = Pace::new(self.options.reconcile_rows_per_s);
        let (mut page, mut rows_count, mut void_count): (Option<PageToken>, _, _) = (None, 0, 0);
        loop {
            let scan = async || store.scan(Some(&self.shared.home), page.clone(), PAGE_ROWS_COUNT).await;
            let (rows, next) = tried(&self.shared, stint, scan).await?;
            rows_count += rows.len();
            // What another node of this home has written, whose clock was ahead, must not outlast what is written now.
            if let Some(written_at_us) = rows.iter().filter_map(|row| row.row.written_at_us).max() {
                self.shared.stamps.pass(written_at_us);
            }
            add(&self.shared.statistics.rows_compared, rows.len());
            // The store may have read a whole page to find the few rows of this home.
            pace.pay(PAGE_ROWS_COUNT).await;
            let (void, valid): (Vec<ScannedRow>, Vec<ScannedRow>) =
                rows.into_iter().partition(|row| row.row.written_at_us.is_some_and(|at| at < self.epoch_us));
            // A void row of an AoR that is at home stays unmarked, and is then written anew.
            tried(&self.shared, stint, async || store.delete_rows(&void).await).await?;
            void_count += void.len();
            let aors: Arc<[Box<[u8]>]> =
                valid.into_iter().map(|row| row.row.aor.into_string().into_bytes().into_boxed_slice()).collect();
            if !aors.is_empty() {
                for shard in 0..self.shared.link.shards_count() {
                    have_done(&self.shared, shard, Order::Compare { pass, aors: Arc::clone(&aors) }).await;
                }
            }
            self.wait_for_writes().await;
            page = next;
            if page.is_none() {
                break;
            }
        }
        Ok((rows_count, void_count))
    }

    /// Has the rows of some AoRs written anew; gives what is to be renewed next, and when.
    async fn renew(&mut self, due: Renewal, lease: Duration) -> Renewal {
        let Renewal { at, shard, from } = due;
        let order = Order::Walk { walk: Walk::All, from, count: WALK_COUNT };
        let next = have_done(&self.shared, shard, order).await;
        self.wait_for_writes().await;
        // Half of the lease is left for a store that is away; a quarter is enough for as many steps as the last
        // reconcile has taken.
        let pause = (lease / 4 / self.steps_count.max(1)).min(RENEWAL_PAUSE_MAX);
        match next {
            Some(from) => Renewal { at: at + pause, shard, from },
            None if shard + 1 < self.shared.link.shards_count() => {
                Renewal { at: at + pause, shard: shard + 1, from: 0 }
            }
            None => Renewal { at: Instant::now() + lease / 2, shard: 0, from: 0 },
        }
    }

    /// Until there is room for what the next step may bring.
    async fn wait_for_writes(&self) {
        let advertiser = &self.shared.advertiser;
        loop {
            let progress = advertiser.progress.notified();
            if advertiser.pending() * 2 <= self.options.pending_max {
                return;
            }
            progress.await;
        }
    }
}
