//! The thread that resolves names of next hops (RFC 3263).
//!
//! In: the questions of the shards, and which servers to ask. Out: one answer to each. The steps from a name to servers are
//! [`sipfed_proto::names::Inquiry`]'s; here is what asks DNS for records, by hickory, and waits. Records are remembered for
//! their TTL, so that what one shard has asked for need not be asked for again by another.
//!
//! Owned by the node, which starts it after the shards and stops it before them. Bounds: [`QUESTIONS_COUNT_MAX`] questions
//! are under way, others wait with their shards; each is given up after twice `names.timeout_ms`, and what comes of it within
//! the second half still helps the next request. A server that is silent delays nobody but who asks.

mod records;
mod statistics;

use crate::config::{NameServer, NamesConfig};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use sipfed_proto::names::{Found, Inquiry, NamesLink, Question, Resolved, Step};
use statistics::Statistics;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

/// Questions that are under way at a time.
const QUESTIONS_COUNT_MAX: usize = 1024;
/// Answers of DNS that are remembered for all shards.
const ANSWERS_COUNT_MAX: u64 = 10_000;
/// Queries that wait for an answer on one connection to a server.
const QUERIES_COUNT_MAX: usize = 4 * QUESTIONS_COUNT_MAX;
/// How often a query is sent within its time.
const TRIES_COUNT: u32 = 3;
/// How long a shard that had no room for an answer is left alone.
const FULL_WAIT: Duration = Duration::from_millis(1);

/// How the shards wake the thread; made before either is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bell(Arc<Notify>);

impl Bell {
    /// The shards have something. From any thread.
    pub(crate) fn ring(&self) {
        self.0.notify_one();
    }
}

/// What the node wants of the thread.
#[derive(Clone, Debug, Default)]
struct Wishes {
    /// How often it was asked to begin anew.
    reloads: u32,
    is_stopping: bool,
}

/// The running thread. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct NameThread {
    statistics: Arc<Statistics>,
    wishes: watch::Sender<Wishes>,
    thread: Option<JoinHandle<()>>,
}

impl NameThread {
    /// Starts it; `bell` is what the shards of `link` ring.
    pub(crate) fn start(config: &NamesConfig, link: Arc<dyn NamesLink>, bell: &Bell) -> std::io::Result<Self> {
        let statistics = Arc::new(Statistics::default());
        let (wishes, wished) = watch::channel(Wishes::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (config, told, news) = (config.clone(), Arc::clone(&statistics), Arc::clone(&bell.0));
        let run = move || {
            let all = async move {
                let shared = Rc::new(Shared::new(config, link, news, told));
                answer_all(shared, wished).await;
            };
            tokio::task::LocalSet::new().block_on(&runtime, all);
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("names".to_owned()).spawn(run)?;
        Ok(Self { statistics, wishes, thread: Some(thread) })
    }

    /// Everything that it has counted, by name.
    pub(crate) fn counts(&self) -> Vec<(&'static str, u64)> {
        self.statistics.counts()
    }

    /// Reads again who is to be asked, and has the shards ask anew.
    pub(crate) fn reload(&self) {
        self.wishes.send_modify(|wishes| wishes.reloads += 1);
    }
}

impl Drop for NameThread {
    fn drop(&mut self) {
        self.wishes.send_modify(|wishes| wishes.is_stopping = true);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            error!("the thread that resolves names had panicked");
        }
    }
}

/// What the tasks of the thread share.
struct Shared {
    config: NamesConfig,
    link: Arc<dyn NamesLink>,
    news: Arc<Notify>,
    statistics: Arc<Statistics>,
    resolver: RefCell<TokioResolver>,
    under_way: Cell<usize>,
    /// Whether it was told that no server answers, and none has since.
    is_silent: Cell<bool>,
}

impl Shared {
    fn new(config: NamesConfig, link: Arc<dyn NamesLink>, news: Arc<Notify>, statistics: Arc<Statistics>) -> Self {
        let resolver = RefCell::new(resolver(&config));
        let (under_way, is_silent) = (Cell::new(0), Cell::new(false));
        Self { config, link, news, statistics, resolver, under_way, is_silent }
    }

    /// What has come of a query, for the log.
    fn note(&self, error: Option<&NetError>) {
        let is_silent = error.is_some_and(records::is_silence);
        match error {
            Some(error) if is_silent && !self.is_silent.replace(true) => {
                warn!(reason = %error, "no server of DNS answers; next hops by name are not found meanwhile");
            }
            None if self.is_silent.replace(false) => info!("servers of DNS answer again"),
            _ => {}
        }
    }
}

/// The life of the thread.
async fn answer_all(shared: Rc<Shared>, mut wished: watch::Receiver<Wishes>) {
    let mut reloads = 0;
    loop {
        let wishes = wished.borrow_and_update().clone();
        if wishes.is_stopping {
            return;
        }
        if wishes.reloads != reloads {
            reloads = wishes.reloads;
            shared.resolver.replace(resolver(&shared.config));
            spawn_local(ask_anew(Rc::clone(&shared)));
        }
        tokio::select! {
            // Shards may always have something; the others have their turn before.
            biased;
            changed = wished.changed() => if changed.is_err() { return },
            () = shared.news.notified() => take_questions(&shared),
        }
    }
}

/// Takes the questions of all shards in turn, as far as there is room.
fn take_questions(shared: &Rc<Shared>) {
    shared.link.look();
    let mut shards: VecDeque<usize> = (0..shared.link.shards_count()).collect();
    while shared.under_way.get() < QUESTIONS_COUNT_MAX
        && let Some(shard) = shards.pop_front()
    {
        if let Some(question) = shared.link.take_question(shard) {
            shared.under_way.set(shared.under_way.get() + 1);
            spawn_local(answer(Rc::clone(shared), shard, question));
            shards.push_back(shard);
        }
    }
}

/// Sees to the answer of one question.
async fn answer(shared: Rc<Shared>, shard: usize, question: Question) {
    let bound = Duration::from_millis(u64::from(shared.config.settings.timeout_ms) * 2);
    let mut resolved = timeout(bound, resolve(&shared, &question)).await.unwrap_or(Resolved::Failed);
    shared.statistics.resolved(&resolved);
    while let Err(back) = shared.link.answer(shard, question.id, resolved) {
        resolved = back;
        sleep(FULL_WAIT).await;
    }
    let before = shared.under_way.replace(shared.under_way.get() - 1);
    if before == QUESTIONS_COUNT_MAX {
        shared.news.notify_one();
    }
}

/// Goes the way from a name to servers.
async fn resolve(shared: &Shared, question: &Question) -> Resolved {
    let resolver = shared.resolver.borrow().clone();
    let (mut inquiry, mut step) = Inquiry::new(&question.name, question.wanted);
    loop {
        let lookups = match step {
            Step::Done(resolved) => return resolved,
            Step::Ask(lookups) => lookups,
        };
        let found = futures_util::future::join_all(lookups.iter().map(|lookup| async {
            let answer = records::look_up(&resolver, lookup).await;
            shared.note(answer.as_ref().err());
            shared.statistics.asked(lookup.kind);
            answer.unwrap_or(Found::Failed)
        }));
        step = inquiry.take(found.await);
    }
}

/// Has every shard ask anew.
async fn ask_anew(shared: Rc<Shared>) {
    for shard in 0..shared.link.shards_count() {
        while !shared.link.ask_anew(shard) {
            sleep(FULL_WAIT).await;
        }
    }
    info!("names are asked for anew");
}

/// What asks the servers of the configuration, or of the host.
fn resolver(config: &NamesConfig) -> TokioResolver {
    let (servers, mut options) = if config.servers.is_empty() {
        hickory_resolver::system_conf::read_system_conf().unwrap_or_else(|error| {
            warn!(reason = %error, "/etc/resolv.conf names no server of DNS; the one on this host is asked");
            // As a C library does (resolv.conf(5)).
            let here = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
            (ResolverConfig::from_parts(None, Vec::new(), vec![here]), ResolverOpts::default())
        })
    } else {
        let servers = config.servers.iter().map(server).collect();
        let mut options = ResolverOpts::default();
        options.use_hosts_file = hickory_resolver::config::ResolveHosts::Never;
        (ResolverConfig::from_parts(None, Vec::new(), servers), options)
    };
    let ttl_max = Some(Duration::from_secs(config.settings.ttl_max_s.into()));
    options.timeout = Duration::from_millis(config.settings.timeout_ms.into()) / TRIES_COUNT;
    options.attempts = TRIES_COUNT as usize - 1;
    options.cache_size = ANSWERS_COUNT_MAX;
    options.max_active_requests = QUERIES_COUNT_MAX;
    (options.positive_max_ttl, options.negative_max_ttl) = (ttl_max, ttl_max);
    let provider = TokioRuntimeProvider::default();
    TokioResolver::builder_with_config(servers, provider)
        .with_options(options)
        .build()
        .expect("there is no TLS to set up")
}

fn server(server: &NameServer) -> NameServerConfig {
    let with_port = |mut connection: ConnectionConfig| {
        connection.port = server.addr.port();
        connection
    };
    let mut connections = vec![with_port(ConnectionConfig::tcp())];
    if !server.is_tcp {
        connections.insert(0, with_port(ConnectionConfig::udp()));
    }
    NameServerConfig::new(server.addr.ip(), true, connections)
}
