//! The keepers of the directory, those of the daemon, on a clock that the agenda of the simulation moves.
//!
//! In: until when time may go. Out: how far it went, since whatever a keeper asks of the store or orders from a shard has to
//! be seen to first. All of them are tasks of one thread on tokio's paused clock: it stands while one of them has something to
//! do, and then goes on to the next time that one waits for. The tasks of a node that pauses wait; those of one that has died
//! are dropped.

use crate::node::BEGINNING_MS;
use crate::shards_link::ShardsQueues;
use sipfed_directory::{ActivityWatch, Ambient, Keeper, KeeperOptions, Store};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until};

/// Says that a keeper has done something that others have to see.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stir(Arc<AtomicBool>);

impl Stir {
    pub(crate) fn raise(&self) {
        self.0.store(true, Relaxed);
    }

    fn take(&self) -> bool {
        self.0.swap(false, Relaxed)
    }
}

/// Whether a node is the active one of its home and knows all of it.
#[derive(Debug)]
pub(crate) struct Activity(pub(crate) watch::Receiver<bool>);

impl ActivityWatch for Activity {
    fn is_active(&mut self) -> bool {
        *self.0.borrow_and_update()
    }

    async fn changed(&mut self) -> bool {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.is_active()
    }
}

/// What a keeper is started with.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) options: KeeperOptions,
    pub(crate) link: Arc<ShardsQueues>,
    pub(crate) activity: Activity,
    pub(crate) store: Store,
}

/// That of one node, while it runs.
#[derive(Debug)]
struct Seated {
    keeper: Keeper,
    tasks: LocalSet,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Keepers {
    // Before the runtime, on whose timers they wait.
    by_node: Vec<Option<Seated>>,
    runtime: Runtime,
    began: Instant,
    pub(crate) stir: Stir,
}

impl Keepers {
    pub(crate) fn new(nodes_count: usize) -> Self {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime without I/O needs nothing of the system");
        let began = runtime.block_on(async { Instant::now() });
        Self { by_node: (0..nodes_count).map(|_| None).collect(), runtime, began, stir: Stir::default() }
    }

    /// When the simulation began, by a clock that stands still until it is moved.
    pub(crate) fn began(&self) -> std::time::Instant {
        self.began.into_std()
    }

    /// The surroundings of the keeper of a node whose clock is `skew_ms` ahead.
    pub(crate) fn ambient(&self, skew_ms: u64, seed: u64) -> Ambient {
        let began = self.began;
        let wall_us = move || ((BEGINNING_MS + skew_ms) * 1000) as i64 + began.elapsed().as_micros() as i64;
        Ambient::new(wall_us, seed)
    }

    pub(crate) fn start(&mut self, node: usize, start: Start) {
        let _context = self.runtime.enter();
        let Start { options, link, activity, store } = start;
        let bell = link.bell.clone();
        let (keeper, life) = Keeper::here(options, link, &bell, activity, store);
        let tasks = LocalSet::new();
        tasks.spawn_local(life);
        self.by_node[node] = Some(Seated { keeper, tasks });
    }

    /// It dies with its node.
    pub(crate) fn stop(&mut self, node: usize) {
        let _context = self.runtime.enter();
        self.by_node[node] = None;
    }

    /// From now on a node knows these homes to be down.
    pub(crate) fn send_down(&self, node: usize, homes: Arc<[Box<str>]>) {
        let _context = self.runtime.enter();
        if let Some(seated) = &self.by_node[node] {
            seated.keeper.peers_sender().send_down(homes);
        }
    }

    /// From now on a node knows these to be the homes of others.
    pub(crate) fn send_peers(&self, node: usize, homes: Arc<[Box<str>]>) {
        let _context = self.runtime.enter();
        if let Some(seated) = &self.by_node[node] {
            seated.keeper.peers_sender().send(homes);
        }
    }

    /// How many AoRs wait to be written.
    pub(crate) fn waiting_count(&self, node: usize) -> u64 {
        let _context = self.runtime.enter();
        self.by_node[node].as_ref().map_or(0, |seated| seated.keeper.statistics().lag().pending)
    }

    /// Lets time go on to `until` milliseconds, or until something has to be seen to; gives what time it is, and whether
    /// that is so. Nodes that pause do nothing.
    pub(crate) fn run(&mut self, until: u64, pauses: impl Fn(usize) -> bool) -> (u64, bool) {
        let Self { by_node, runtime, began, stir } = self;
        let at = *began + Duration::from_millis(until);
        let is_stirred = runtime.block_on(async {
            let mut end = pin!(sleep_until(at));
            poll_fn(|context| {
                for (node, seated) in by_node.iter_mut().enumerate() {
                    if let Some(seated) = seated.as_mut().filter(|_| !pauses(node)) {
                        // The tasks of a keeper do not all end before it.
                        let _ = Pin::new(&mut seated.tasks).poll(context);
                    }
                }
                if stir.take() { Poll::Ready(true) } else { end.as_mut().poll(context).map(|()| false) }
            })
            .await
        });
        let now = runtime.block_on(async { began.elapsed() });
        (now.as_millis() as u64, is_stirred)
    }
}
