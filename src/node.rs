//! A running node: owns everything, starts it in order and stops it in reverse.
//!
//! Start: configuration, logs, checks of the host, signals, data plane, links to other nodes. Then it sleeps until a signal comes or
//! the counters are due to be looked at. Stop: a home that others can take is handed over, the data plane drains, the links
//! end, and it is stopped and reports for the last time.

mod handover;
mod hints;
mod host;
mod membership;
mod naming;
mod notify;
mod replicate;
mod signals;
mod tls;
mod watch;

use crate::cli::{self, Exit, ServeArguments};
use crate::cluster::{Id, Reloader, Topology};
use crate::config::{self, Config, LogFormat};
use crate::data_directory;
use crate::link::{LinkStates, LinkThread, QUESTIONS_COUNT_MAX, Question};
use crate::log::{self, NamedCounts};
use crate::names::{self, NameThread};
use crate::ops::{self, Cluster, Ops, Remote, Shards, Subjects, Wishes};
use crate::ownership::{Ownership, RoleWatch, Status};
use crate::pings::PingSwitch;
use crate::replication::Standing;
use crate::show;
use handover::Handover;
use membership::Member;
use replicate::Replication;
use signals::{Signal, Signals};
use sipfed_directory::{Ambient, Bell, Keeper, KeeperOptions, StoreOptions};
use sipfed_proto::{Listener, limits};
use sipfed_shards::{DataPlane, Options, PersistenceOptions, ShardReport, Wake};
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tls::NodeTls;
use tokio::sync::mpsc;
use tracing::{error, info, warn};
use watch::Watch;

/// How long a shard may take to report.
const REPORT_TIMEOUT: Duration = Duration::from_secs(1);
/// How often the counters of refusals and drops are looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(10);
/// How long a change may wait for the directory before that is told with each look.
const LAG_MAX: Duration = Duration::from_secs(30);
/// How long a stopping node waits for its backups to acknowledge what they were sent.
const SETTLE_MAX: Duration = Duration::from_secs(1);
/// How often it is looked whether the file of the last stop may go.
const UNMARK_INTERVAL: Duration = Duration::from_millis(100);
/// How often a draining node asks what is still open.
const DRAIN_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// `sipfed serve`.
pub(crate) fn serve(arguments: &ServeArguments) -> Exit {
    match run(arguments) {
        Ok(()) => Exit::Done,
        Err(exit) => exit,
    }
}

fn run(arguments: &ServeArguments) -> Result<(), Exit> {
    let mut config = match &arguments.config {
        Some(path) => cli::read_config(path)?,
        None => Config::default(),
    };
    arguments.override_config(&mut config.node);
    log::init(config.node.log_format, config.node.log_level);

    let member = membership::join(&mut config)?;
    let virtual_ip = member.as_ref().and_then(Member::virtual_ip);
    let cores = cores(config.node.shards);
    config.node.sockets.connections_per_shard_max = host::prepare(&config, virtual_ip, cores.len())?;
    let tls = NodeTls::prepare(&mut config)?.map(Arc::new);
    let signals = Signals::take().map_err(|error| failed(&config, "signals cannot be handled", &error))?;
    let started = Instant::now();
    let mut running = Running { tls, ..start(&config, arguments.salvage, cores, member)? };
    let ops = manage(&config, &mut running, &signals)?;
    let (place, hints) = (ops.as_ref().map(Ops::place), arguments.hints || std::io::stdout().is_terminal());
    announce(&config, &running.plane, place.as_deref(), started, hints);
    notify::send("READY=1");
    let signal = watch_over(&mut running, &signals);
    notify::send("STOPPING=1");
    info!(signal, "stopping");
    hand_over(&mut running, &signals);
    drain(&running.plane, &signals, Duration::from_secs(config.node.drain_s.into()));
    stop(running);
    // Last, so that who asked for the end sees it.
    if let Some(ops) = ops {
        ops.stop();
    }
    Ok(())
}

/// Starts the management interface, where there is to be one.
fn manage(config: &Config, running: &mut Running, signals: &Signals) -> Result<Option<Ops>, Exit> {
    let keeper = running.keeper.as_ref();
    let wishes = Wishes {
        stop: Arc::new(signals.stopper("drain")),
        drain_s: config.node.drain_s,
        reconcile: keeper.map(|keeper| Arc::new(keeper.reconciler()) as Arc<dyn Fn() + Send + Sync>),
        reload_tls: running.tls.clone().map(|tls| Arc::new(move || tls.reload()) as Arc<dyn Fn() -> _ + Send + Sync>),
    };
    let remote = running.nodes.as_ref().zip(running.questions.take()).map(|(nodes, questions)| Remote {
        questions,
        own: nodes.borrow().current_id(),
        allowed: config.node.remote_commands.clone().into(),
    });
    let registry = ops::registry(Subjects {
        shards: Shards::new(running.plane.administration()),
        registrar: config.settings().registrar,
        listeners: config.node.listen.clone(),
        is_durable: config.node.durability.is_some(),
        directory: keeper.map(Keeper::shared_statistics),
        inquirer: keeper.map(Keeper::inquirer),
        pings: running.pings.clone(),
        reload: running.reloader.as_ref().map(Reloader::handle),
        cluster: running.nodes.as_ref().map(|nodes| Cluster {
            nodes: nodes.clone(),
            links: running.links.as_ref().map(|links| Arc::clone(links.states())),
            ownership: running.ownership.as_ref().map(Ownership::commander),
            replication: running.replication.as_ref().map(Replication::statistics),
            compare: running.replication.as_ref().map(Replication::comparer),
            asker: running.links.as_ref().map(LinkThread::asker),
            is_replicating: running.replication.as_ref().map(Replication::is_taking_part),
        }),
        wishes,
    });
    let ops = Ops::start(&config.node.ops, registry, remote);
    ops.map_err(|error| failed(config, "the management interface did not start", &error))
}

/// What runs, in the order in which it was started.
struct Running {
    plane: DataPlane,
    pings: PingSwitch,
    ownership: Option<Ownership>,
    handover: Option<Handover>,
    keeper: Option<Keeper>,
    names: Option<NameThread>,
    links: Option<LinkThread>,
    /// What other nodes ask over them, until somebody answers.
    questions: Option<mpsc::Receiver<Question>>,
    replication: Option<Replication>,
    reloader: Option<Reloader>,
    /// What is shown and verified over TLS, where a certificate is configured.
    tls: Option<Arc<NodeTls>>,
    /// Those of the cluster, where there is one.
    nodes: Option<tokio::sync::watch::Receiver<Topology>>,
}

fn start(config: &Config, salvage: bool, cores: Vec<usize>, member: Option<Member>) -> Result<Running, Exit> {
    let (bell, names_bell) = (Bell::default(), names::Bell::default());
    let replication = match &member {
        Some(member) => member.replication(config),
        None => Ok(None),
    };
    let replication = replication.map_err(|error| failed(config, "the secret of this home cannot be made", &error))?;
    let plane = DataPlane::start(Options {
        cores,
        listeners: config.node.listen.clone(),
        virtual_ip: member.as_ref().and_then(Member::virtual_ip),
        settings: config.settings(),
        sockets: config.node.sockets.clone(),
        persistence: persistence(config, salvage),
        directory: config.cluster.directory.url.as_ref().map(|_| {
            let bell = bell.clone();
            Wake::new(move || bell.ring())
        }),
        names: naming::wake(config, &names_bell),
        replication: replication.as_ref().map(|replication| replication.options(config)),
    })
    .map_err(|error| failed(config, "the data plane did not start", &error))?;

    let names = naming::start(config, &plane, &names_bell)?;
    let pings = PingSwitch::new(plane.activity(), config.node.durability.map(|_| data_directory::of(&config.node)));
    let ownership = follow_address(config, member.as_ref(), &plane)?;
    let handover = member.as_ref().and_then(|member| member.handover(config));
    let role = ownership.as_ref().map_or_else(RoleWatch::always_active, Ownership::follow);
    let twins = match (&member, &replication) {
        (_, Some(_)) => Twins::Replicated,
        (Some(member), None) if member.has_twin() => Twins::Unknown,
        _ => Twins::None,
    };
    let publisher = match &replication {
        Some(replication) => role.clone().once_whole(replication.wholeness()),
        None => role.clone(),
    };
    let keeper = keep_directory(config, twins, publisher, &plane, &bell)?;
    let shards = || keeper.as_ref().map(Keeper::peers_sender);
    let setup = match &replication {
        Some(replication) => replication.setup(config, &plane, ownership.as_ref(), role),
        None => Ok(None),
    };
    let setup = setup.map_err(|error| failed(config, "replication did not start", &error))?;
    let (answerer, questions) = mpsc::channel(QUESTIONS_COUNT_MAX);
    let links = match &member {
        Some(member) => member.link(config, shards(), setup, answerer),
        None => Ok(None),
    };
    let links = links.map_err(|error| failed(config, "this node cannot listen at its url for others", &error))?;
    let settled = member.map(|member| {
        // The data directory is there by now.
        let (links, backups) = (links.as_ref().map(LinkThread::sender), replication.as_ref().map(Replication::backups));
        member.settle(shards(), links, backups)
    });
    let settled = settled.transpose();
    let settled = settled.map_err(|error| failed(config, "what reloads the cluster did not start", &error))?;
    let (reloader, nodes) = settled.unzip();
    let questions = Some(questions);
    Ok(Running {
        plane,
        pings,
        ownership,
        handover,
        keeper,
        names,
        links,
        questions,
        replication,
        tls: None,
        reloader,
        nodes,
    })
}

/// Ends what runs, in the reverse of the order in which it was started.
fn stop(running: Running) {
    let Running { plane, ownership, keeper, names, links, replication, reloader, .. } = running;
    drop(reloader);
    if let Some(replication) = replication
        && !replication.statistics().settles_within(SETTLE_MAX)
    {
        warn!("not every backup has acknowledged everything");
    }
    if let Some(links) = links {
        links.stop();
    }
    if let Some(keeper) = keeper {
        keeper.stop();
    }
    drop(names);
    // It writes into the data directory, which another process may take once the shards have ended.
    drop(ownership);
    for report in plane.stop() {
        log_report("stopped", &report);
    }
}

/// Starts what learns whether this node is the active one of its home, where there are others.
fn follow_address(config: &Config, member: Option<&Member>, plane: &DataPlane) -> Result<Option<Ownership>, Exit> {
    let Some(options) = member.and_then(|member| member.ownership(config)) else { return Ok(None) };
    let activity = plane.activity();
    let ownership = Ownership::start(options, move |status| {
        // Until the kernel has said so, it is not known to be away.
        activity.set_virtual_ip(status.has_address != Some(false));
        activity.set(status.role.is_active);
    });
    ownership.map(Some).map_err(|error| failed(config, "what follows the virtual address did not start", &error))
}

/// Whether other nodes have this one's home.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Twins {
    None,
    /// They hold the same bindings.
    Replicated,
    /// Nothing is known of what they hold.
    Unknown,
}

/// Starts what speaks with the directory of the federation, where there is one.
fn keep_directory(
    config: &Config,
    twins: Twins,
    role: RoleWatch,
    plane: &DataPlane,
    bell: &Bell,
) -> Result<Option<Keeper>, Exit> {
    let directory = &config.cluster.directory;
    let (Some(link), Some(url), Some(home)) = (plane.directory(), &directory.url, config.node.home) else {
        return Ok(None);
    };
    let bindings: usize = plane.report(REPORT_TIMEOUT).iter().map(|report| report.bindings).sum();
    let options = KeeperOptions {
        url: url.clone(),
        store: StoreOptions {
            schema: directory.schema,
            create: directory.create,
            timeout: Duration::from_millis(directory.timeout_ms.into()),
            lease_s: directory.lease_s,
        },
        home: home.to_string(),
        // What a backup holds was published under this home as well.
        is_empty: bindings == 0 && twins == Twins::None,
        has_twin: twins == Twins::Unknown,
        lookup_deadline: Duration::from_millis(directory.lookup_deadline_ms.into()),
        pending_max: directory.pending_max as usize,
        reconcile_interval: (directory.reconcile_interval_s > 0)
            .then(|| Duration::from_secs(directory.reconcile_interval_s.into())),
        reconcile_rows_per_s: directory.reconcile_rows_per_s,
        ambient: Ambient::default(),
    };
    let keeper = Keeper::start(options, link, bell, role);
    keeper.map(Some).map_err(|error| failed(config, "the keeper of the directory did not start", &error))
}

/// How bindings are kept, as configured.
fn persistence(config: &Config, salvage: bool) -> Option<PersistenceOptions> {
    let node = &config.node;
    let durability = node.durability?;
    Some(PersistenceOptions {
        directory: data_directory::of(node),
        durability,
        on_failure: node.on_disk_failure,
        salvage,
    })
}

/// The core of each shard: the cores that this process may use, each again when there are more shards.
fn cores(shards: Option<u8>) -> Vec<usize> {
    let allowed = sipfed_tuning::allowed_cores();
    // The quota of a container may grant less than its cores show.
    let granted = std::thread::available_parallelism().map_or(1, usize::from);
    let count = shards.map_or(granted.min(allowed.len()), usize::from);
    allowed.into_iter().cycle().take(count.clamp(1, limits::SHARDS_COUNT_MAX)).collect()
}

fn failed(config: &Config, what: &str, error: &dyn std::error::Error) -> Exit {
    let mut reasons = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Some errors tell their cause themselves.
        let cause_text = cause.to_string();
        if !reasons.contains(&cause_text) {
            reasons = format!("{reasons}: {cause_text}");
        }
        source = cause.source();
    }
    match config.node.log_format {
        LogFormat::Json => error!(reason = reasons, "{what}"),
        LogFormat::Text => show::error(&format!("{what}: {reasons}"), "the reason names what to change"),
    }
    Exit::Failed
}

/// One line for the log, and where a person looks on what to type next.
fn announce(config: &Config, plane: &DataPlane, management: Option<&str>, started: Instant, hints: bool) {
    let listening: Vec<Listener> = config
        .node
        .listen
        .iter()
        .zip(plane.listening())
        .map(|(configured, addr)| Listener { transport: configured.transport, addr: *addr })
        .collect();
    info!(
        listening = cli::listeners(&listening),
        shards = plane.administration().shards_count(),
        domains = cli::domains(config),
        directory = cli::directory(config),
        durability = config::durability_word(config.node.durability),
        management,
        data = persistence(config, false).map(|kept| kept.directory.display().to_string()),
        start_ms = started.elapsed().as_millis() as u64,
        version = env!("CARGO_PKG_VERSION"),
        "ready"
    );
    if hints && let Some(hints) = hints::text(&listening, config) {
        print!("{hints}");
    }
}

/// Until a signal asks to stop: logs reports when asked to, and a warning when refusals or drops rose.
fn watch_over(running: &mut Running, signals: &Signals) -> &'static str {
    let mut watch = Watch::default();
    let mut look_at = Instant::now() + WATCH_INTERVAL;
    loop {
        let mut wait = look_at.saturating_duration_since(Instant::now());
        if let Some(handover) = running.handover.as_mut().filter(|handover| handover.is_marked()) {
            let replication = running.replication.as_ref().map(Replication::statistics);
            handover.unmark_once_whole(replication.as_deref());
            wait = wait.min(UNMARK_INTERVAL);
        }
        let Running { plane, keeper, names, reloader, tls, .. } = &*running;
        match signals.next(wait) {
            Some(Signal::Stop(name)) => return name,
            Some(Signal::Report) => log_reports(running),
            Some(Signal::Reconcile) => {
                if let Some(keeper) = keeper {
                    keeper.reconcile();
                }
            }
            Some(Signal::Reload) => {
                if let Some(tls) = tls {
                    // The log says what cannot be used.
                    let _ = tls.reload();
                }
                if let Some(names) = names {
                    names.reload();
                }
                if !reloader.as_ref().is_some_and(Reloader::reload) && tls.is_none() && names.is_none() {
                    info!("there is nothing to read again: neither a table of nodes nor certificates");
                }
            }
            None if Instant::now() < look_at => {}
            None => {
                let reports = plane.report(REPORT_TIMEOUT);
                if let Some(rose) = watch.look(&reports) {
                    warn!(
                        interval_s = WATCH_INTERVAL.as_secs(),
                        counters = ?NamedCounts(rose),
                        "messages were refused or dropped"
                    );
                }
                if let Some(lag) =
                    keeper.as_ref().map(|keeper| keeper.statistics().lag()).filter(|lag| lag.oldest > LAG_MAX)
                {
                    let lag_ms = lag.oldest.as_millis() as u64;
                    warn!(pending = lag.pending, lag_ms, "the directory is behind: other nodes do not find everybody");
                }
                if let Some(tls) = tls {
                    tls.look();
                }
                look_at = Instant::now() + WATCH_INTERVAL;
            }
        }
    }
}

/// Leaves the home of the node to a backup, where there is one that can take it.
fn hand_over(running: &mut Running, signals: &Signals) {
    let Some(mut handover) = running.handover.take() else { return };
    if let (Some(ownership), Some(replication)) = (&running.ownership, &running.replication) {
        let pause = |wait| {
            if signals.next(wait) == Some(Signal::Report) {
                log_reports(running);
            }
        };
        if handover.run(ownership, &replication.statistics(), pause) {
            let received = || running.plane.report(REPORT_TIMEOUT).iter().map(|report| report.counters.received).sum();
            handover::settle(received, pause);
        }
    }
}

/// Waits until no transaction is open, at most `bound`.
fn drain(plane: &DataPlane, signals: &Signals, bound: Duration) {
    plane.drain();
    let end = Instant::now() + bound;
    loop {
        let reports = plane.report(REPORT_TIMEOUT);
        let open: usize = reports.iter().map(|report| report.open_transactions).sum();
        if open == 0 {
            return;
        }
        if Instant::now() >= end {
            warn!(open_transactions = open, bound_s = bound.as_secs(), "not everything ended in time");
            return;
        }
        if signals.next(DRAIN_POLL_INTERVAL) == Some(Signal::Report) {
            for report in &reports {
                log_report("report", report);
            }
        }
    }
}

fn log_reports(running: &Running) {
    let Running { plane, ownership, keeper, names, links, replication, .. } = running;
    // Before those of the shards, so that whoever has seen these has seen it.
    if let Some(ownership) = ownership {
        let Status { role, has_address, commanded, split_brains, is_kept } = ownership.status();
        info!(
            is_active = role.is_active,
            term = role.term,
            has_address,
            commanded_active = commanded,
            split_brains,
            is_kept,
            "ownership"
        );
    }
    if let Some(keeper) = keeper {
        let statistics = keeper.statistics();
        let lag = statistics.lag();
        info!(
            is_up = statistics.is_up(),
            pending = lag.pending,
            lag_ms = lag.oldest.as_millis() as u64,
            counters = ?NamedCounts(statistics.counts()),
            "directory"
        );
    }
    if let Some(names) = names {
        info!(counters = ?NamedCounts(names.counts()), "names");
    }
    if let Some(links) = links {
        log_links(links.states());
    }
    if let Some(replication) = replication {
        log_replication(&replication.statistics().standing());
    }
    for report in plane.report(REPORT_TIMEOUT) {
        log_report("report", &report);
    }
}

/// One line for the node, and one for each backup.
fn log_replication(standing: &Standing) {
    let Standing { own, is_backed_up, backups } = standing;
    info!(is_whole = own.is_whole, is_backed_up, "replication");
    for backup in backups {
        info!(
            node = backup.node,
            is_connected = backup.is_connected,
            is_whole = backup.state.is_whole,
            is_active = backup.state.is_active,
            term = backup.state.term,
            lag_parts = backup.lag_parts,
            lag_bytes = backup.lag_bytes,
            has_all = backup.has_all,
            is_synchronized = backup.is_synchronized,
            leaves_left = backup.leaves_left,
            divergence = backup.divergence,
            mended = backup.mended,
            "backup"
        );
    }
}

/// One line for each link, and one for the connections that came to none.
fn log_links(states: &LinkStates) {
    for link in states.reports() {
        let neighbours: Vec<String> = link.neighbours.iter().map(ToString::to_string).collect();
        info!(
            node = link.node.get(),
            state = link.state.word(),
            age_ms = link.age.as_millis() as u64,
            rtt_us = link.round_trip.map(|time| time.as_micros() as u64),
            neighbours = neighbours.join(" "),
            next_hop = link.next_hop.map(Id::get),
            counters = ?NamedCounts(link.counts),
            "link"
        );
    }
    info!(counters = ?NamedCounts(states.failures()), "connections between nodes that came to no link");
}

fn log_report(message: &str, report: &ShardReport) {
    let counts = report.counters.iter().map(|(name, _, count)| (name, count)).collect();
    info!(
        shard = report.shard.0,
        bindings = report.bindings,
        contacts = report.contacts,
        open_transactions = report.open_transactions,
        connections = report.connections,
        log_entries = report.log.map(|log| log.entries),
        log_bytes = report.log.map(|log| log.wal_bytes),
        counters = ?NamedCounts(counts),
        "{message}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_shards_than_cores_share_them() {
        let allowed = sipfed_tuning::allowed_cores();
        let shards = cores(Some(128));
        assert_eq!(shards.len(), 128);
        assert_eq!(shards[allowed.len() % 128], allowed[0]);
        assert!(!cores(None).is_empty());
    }
}
