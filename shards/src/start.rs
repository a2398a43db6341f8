//! The order of starting and stopping the shards of a node.
//!
//! In: [`Options`]. Out: a running [`DataPlane`], or a [`StartError`] and nothing that runs. All that can
//! fail is done before the first shard takes its first turn: the sockets of all shards are bound, then every
//! thread makes its executor and its shard and reports; only when all have done so are they let go.
//!
//! The [`DataPlane`] owns the threads. It is the control plane's; its methods are for any one thread, and
//! block no longer than they say.

use crate::administration::Administration;
use crate::bind::{self, Ports};
use crate::clock::Clock;
use crate::directory::{DirectoryLink, DirectoryPort};
use crate::error::StartError;
use crate::link::{Command, Control, Reply};
use crate::mesh::{Mesh, MeshPort};
use crate::names::{NamesPort, NamesQueues};
use crate::persistence::PersistenceOptions;
use crate::persistence::boot::{self, OpenedLogs};
use crate::replication::{ReplicaLink, ReplicaPort, ReplicationOptions};
use crate::runtime::{self, Executor, Unfit};
use crate::turn::{Parts, ShardRun};
use crate::{Options, ShardReport, SocketOptions, sys};
use crossbeam::channel::{self, Receiver, Sender};
use sipfed_log::{DataDirectory, Log};
use sipfed_proto::{Listener, Owners, Place, Settings, Shard, ShardIndex, limits};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The running data plane. Dropping it stops it.
#[derive(Debug)]
pub struct DataPlane {
    listening: Vec<SocketAddr>,
    mesh: Arc<Mesh>,
    controls: Arc<[Arc<Control>]>,
    administration: Administration,
    directory: Option<Arc<DirectoryLink>>,
    names: Option<Arc<NamesQueues>>,
    replication: Option<Arc<ReplicaLink>>,
    threads: Vec<JoinHandle<Option<ShardReport>>>,
    /// Held while the shards run, so that no other process takes it.
    _data: Option<DataDirectory>,
}

/// Tells the shards of a node whether it is the active one of its home, whether the host has the address of that, and whether
/// it pings phones, from any thread.
#[derive(Clone, Debug)]
pub struct Activity {
    controls: Arc<[Arc<Control>]>,
    mesh: Arc<Mesh>,
}

impl Activity {
    /// Every shard knows it from its next turn on, which it takes at once. A node without a virtual address begins
    /// active, one with [`Options::virtual_ip`] does not.
    pub fn set(&self, is_active: bool) {
        for control in self.controls.iter() {
            control.tell_active(is_active);
        }
        ring(&self.mesh, self.controls.len());
    }

    /// The same of whether the host has [`Options::virtual_ip`], which is taken for so until this says otherwise.
    pub fn set_virtual_ip(&self, has_it: bool) {
        for control in self.controls.iter() {
            control.tell_virtual_ip(has_it);
        }
        ring(&self.mesh, self.controls.len());
    }

    /// The same of whether phones are pinged while it is the active one. A node begins with that.
    pub fn set_pinging(&self, is_pinging: bool) {
        for control in self.controls.iter() {
            control.tell_pinging(is_pinging);
        }
        ring(&self.mesh, self.controls.len());
    }
}

fn ring(mesh: &Mesh, shards_count: usize) {
    for index in 0..shards_count {
        mesh.bell(ShardIndex(index as u8)).ring();
    }
}

/// What the thread of one shard is given.
struct Errand {
    index: ShardIndex,
    shards_count: u8,
    core: usize,
    ports: Ports,
    settings: Arc<Settings>,
    sockets: SocketOptions,
    secret: [u8; 32],
    clock: Clock,
    mesh: MeshPort,
    control: Arc<Control>,
    directory: Option<DirectoryPort>,
    names: Option<NamesPort>,
    replication: Option<ReplicaPort>,
    log: Option<(PersistenceOptions, Log)>,
}

impl DataPlane {
    /// Binds every listener on every shard, then starts all executors; nothing runs when this fails.
    pub fn start(options: Options) -> Result<Self, StartError> {
        let Options { cores, listeners, virtual_ip, mut settings, sockets, persistence, directory, names, replication } =
            options;
        check(&cores, &listeners, &sockets)?;
        sys::decline_huge_pages();
        let bound = bind::bind(&listeners, virtual_ip, cores.len(), &sockets)?;
        settings.own_addresses = bind::own_addresses(&bound.listeners, virtual_ip)?;
        settings.listeners.clone_from(&bound.listeners);
        let settings = Arc::new(settings);
        let mesh = Mesh::new(cores.len())
            .map(Arc::new)
            .map_err(|source| StartError::Machine { step: "make the shards' bells", source })?;
        let clock = Clock::start();
        let wanted = replication.as_ref().map(|replication| replication.secret);
        let Opened { data, logs, secret } =
            open_logs(persistence.as_ref(), cores.len() as u8, wanted, &settings, clock, &mesh)?;
        let shards_count = cores.len();
        let link = |ReplicationOptions { wake, is_sync, .. }| {
            Arc::new(ReplicaLink::new(Arc::clone(&mesh), shards_count, wake, is_sync))
        };
        let replication = replication.map(link);
        let directory = directory.map(|wake| Arc::new(DirectoryLink::new(Arc::clone(&mesh), cores.len(), wake)));
        let names = names.map(|wake| Arc::new(NamesQueues::new(Arc::clone(&mesh), cores.len(), wake)));
        let mut logs = logs.into_iter();
        let controls: Arc<[_]> = cores.iter().map(|_| Arc::new(Control::new(virtual_ip))).collect();
        let owners = Owners::new(secret, cores.len() as u8);
        let mut plane = Self {
            listening: bound.listeners.iter().map(|listener| listener.addr).collect(),
            administration: Administration::new(Arc::clone(&controls), Arc::clone(&mesh), owners),
            controls,
            threads: Vec::with_capacity(cores.len()),
            mesh,
            _data: data,
            directory,
            names,
            replication,
        };
        let (ready_to, ready) = channel::bounded(cores.len());
        let (go, go_on) = channel::bounded(cores.len());
        for (index, (ports, core)) in bound.shards.into_iter().zip(&cores).enumerate() {
            let shard = ShardIndex(index as u8);
            let errand = Errand {
                index: shard,
                shards_count: cores.len() as u8,
                core: *core,
                ports,
                settings: Arc::clone(&settings),
                sockets: sockets.clone(),
                secret,
                clock,
                mesh: MeshPort::new(Arc::clone(&plane.mesh), shard),
                control: Arc::clone(&plane.controls[index]),
                directory: plane.directory().map(|link| DirectoryPort::new(link, shard)),
                names: plane.names().map(|link| NamesPort::new(link, shard)),
                replication: plane.replication().map(|link| ReplicaPort::new(link, shard)),
                log: persistence.clone().zip(logs.next()),
            };
            let (ready_to, go_on) = (ready_to.clone(), go_on.clone());
            let thread = thread::Builder::new()
                .name(format!("shard-{index}"))
                .spawn(move || errand.run(&ready_to, &go_on))
                .map_err(|e| StartError::Shard { shard: index, step: "starting its thread", reason: e.to_string() })?;
            plane.threads.push(thread);
        }
        drop(ready_to);
        // On an error `go` is dropped, which ends the threads, and then `plane`, which waits for them.
        wait_until_ready(&ready, cores.len())?;
        for _ in &cores {
            // There is room for all, and a thread that has reported is there to take it.
            let _ = go.send(());
        }
        Ok(plane)
    }

    /// The bound addresses, ports filled in.
    pub fn listening(&self) -> &[SocketAddr] {
        &self.listening
    }

    /// The keeper of the global directory's end of its queues, where [`Options::directory`] asked for them.
    pub fn directory(&self) -> Option<Arc<DirectoryLink>> {
        self.directory.clone()
    }

    /// The end of its queues of whoever resolves names, where [`Options::names`] asked for them.
    pub fn names(&self) -> Option<Arc<NamesQueues>> {
        self.names.clone()
    }

    /// For whoever learns whether this node is the active one of its home, or whether it is to ping phones.
    pub fn activity(&self) -> Activity {
        Activity { controls: Arc::clone(&self.controls), mesh: Arc::clone(&self.mesh) }
    }

    /// For whoever asks and commands the shards from another thread.
    pub fn administration(&self) -> Administration {
        self.administration.clone()
    }

    /// The end of the queues of whoever speaks with backups, where [`Options::replication`] asked for them.
    pub fn replication(&self) -> Option<Arc<ReplicaLink>> {
        self.replication.clone()
    }

    fn ring_all(&self) {
        ring(&self.mesh, self.controls.len());
    }

    /// Asks every shard for its report and waits for it, at most `timeout`. In shard order; a shard that did
    /// not answer in time is missing.
    pub fn report(&self, timeout: Duration) -> Vec<ShardReport> {
        let deadline = Instant::now() + timeout;
        let (reply, replies) = channel::bounded(self.controls.len());
        let asked_count = self.controls.iter().filter(|control| control.ask(report_to(reply.clone()))).count();
        drop(reply);
        self.ring_all();
        let mut reports: Vec<ShardReport> =
            (0..asked_count).map_while(|_| replies.recv_deadline(deadline).ok()).collect();
        reports.sort_by_key(|report| report.shard);
        reports
    }

    /// Stops taking new requests: they are answered 503; open transactions go on.
    pub fn drain(&self) {
        for control in self.controls.iter() {
            control.ask_drain();
        }
        self.ring_all();
    }

    /// Ends all shards and waits for their threads. Returns their last reports.
    pub fn stop(mut self) -> Vec<ShardReport> {
        self.join()
    }

    fn join(&mut self) -> Vec<ShardReport> {
        for control in self.controls.iter() {
            control.ask_stop();
        }
        self.ring_all();
        let mut reports = Vec::with_capacity(self.threads.len());
        for (index, thread) in self.threads.drain(..).enumerate() {
            // A shard that was never let go, or could not wait, has none; the latter has said so.
            if let Ok(report) = thread.join() {
                reports.extend(report);
            } else {
                tracing::error!(shard = index, "the shard had panicked");
            }
        }
        reports
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.join();
        }
    }
}

/// Asks for a report, which is sent to `reply`.
fn report_to(reply: Sender<ShardReport>) -> Command {
    Command::Report(Reply::new(move |report| {
        // There is room for all of them; who asked may have given up waiting, which is no concern of the shard.
        let _ = reply.try_send(report);
    }))
}

/// What was opened before any shard is made.
struct Opened {
    data: Option<DataDirectory>,
    logs: Vec<Log>,
    secret: [u8; 32],
}

/// The data directory and its logs, where there is one, and the secret of the node: the one that is wanted, or one that was
/// drawn now or when the directory was made.
fn open_logs(
    persistence: Option<&PersistenceOptions>,
    shards_count: u8,
    wanted: Option<[u8; 32]>,
    settings: &Arc<Settings>,
    clock: Clock,
    mesh: &Arc<Mesh>,
) -> Result<Opened, StartError> {
    let mut secret = [0; 32];
    sys::fill_random(&mut secret).map_err(|source| StartError::Machine { step: "draw the node's secret", source })?;
    let Some(options) = persistence else {
        return Ok(Opened { data: None, logs: Vec::new(), secret: wanted.unwrap_or(secret) });
    };
    let OpenedLogs { directory, logs } = boot::open(options, shards_count, wanted, secret, settings, clock, mesh)?;
    let secret = *directory.secret();
    Ok(Opened { data: Some(directory), logs, secret })
}

/// Checks what can be checked before anything is opened.
fn check(cores: &[usize], listeners: &[Listener], sockets: &SocketOptions) -> Result<(), StartError> {
    if cores.is_empty() {
        return Err(StartError::NoCores);
    }
    if cores.len() > limits::SHARDS_COUNT_MAX {
        return Err(StartError::TooManyShards { count: cores.len() });
    }
    if listeners.is_empty() {
        return Err(StartError::NoListeners);
    }
    let secured = listeners.iter().find(|listener| listener.transport.is_secured());
    if let Some(&listener) = secured.filter(|_| sockets.tls.server.is_none()) {
        return Err(StartError::NoCertificate { listener });
    }
    if sockets.stream_message_bytes_max > limits::MESSAGE_BYTES_MAX {
        return Err(StartError::StreamMessageBytes { bytes: sockets.stream_message_bytes_max });
    }
    let needed_bytes = runtime::LOCKABLE_BYTES_MIN;
    // All rings together want more than the least; without it they only work a little slower.
    match sys::lockable_bytes(needed_bytes * (1 + cores.len() as u64)) {
        Ok(limit_bytes) if limit_bytes < needed_bytes => Err(StartError::LockableMemory { limit_bytes, needed_bytes }),
        Ok(_) => Ok(()),
        Err(source) => Err(StartError::Machine { step: "ask how much memory may be locked", source }),
    }
}

/// Waits until all shards are made, or returns why one is not.
fn wait_until_ready(ready: &Receiver<Result<(), StartError>>, shards_count: usize) -> Result<(), StartError> {
    for _ in 0..shards_count {
        // A thread that ends without a word has panicked; its panic is printed already.
        ready.recv().unwrap_or_else(|_| {
            Err(StartError::Machine { step: "start all shards", source: io::Error::other("a thread panicked") })
        })?;
    }
    Ok(())
}

impl Errand {
    /// Makes the shard on its own thread, waits for the others and runs it to its end.
    fn run(self, ready: &Sender<Result<(), StartError>>, go_on: &Receiver<()>) -> Option<ShardReport> {
        let shard = usize::from(self.index.0);
        let made = Executor::pinned(self.core)
            .map_err(|unfit| refused(shard, self.core, unfit))
            .and_then(|executor| Ok((executor, self.make()?)));
        let (executor, run) = match made {
            Ok(made) => made,
            Err(error) => {
                let _ = ready.send(Err(error));
                return None;
            }
        };
        let _ = ready.send(Ok(()));
        go_on.recv().ok()?;
        Some(executor.run(run.run()))
    }

    fn make(self) -> Result<ShardRun, StartError> {
        let shard = usize::from(self.index.0);
        let place = Place { index: self.index, count: self.shards_count };
        let now = self.clock.now();
        let expires_s_max = self.settings.registrar.max_expires_s;
        let mut machine = Shard::new(self.settings, place, self.secret, now);
        if self.replication.is_some() {
            // Before anything that comes back can end: it is remembered for backups like anything else.
            machine.keep_backups();
        }
        let log = self
            .log
            .map(|(options, log)| boot::restore(&options, &mut machine, log, self.index, expires_s_max, now))
            .transpose()?;
        if self.directory.is_some() {
            machine.keep_homes();
        }
        if self.replication.is_some() && log.is_none() {
            machine.keep_journal(now);
        }
        let parts = Parts {
            index: self.index,
            machine,
            log,
            ports: self.ports,
            mesh: self.mesh,
            control: self.control,
            directory: self.directory,
            names: self.names,
            replication: self.replication,
            clock: self.clock,
            sockets: &self.sockets,
        };
        ShardRun::new(parts).map_err(|error| StartError::Shard {
            shard,
            step: "waiting for its sockets",
            reason: error.to_string(),
        })
    }
}

fn refused(shard: usize, core: usize, unfit: Unfit) -> StartError {
    match unfit {
        Unfit::Core(reason) => StartError::Core { shard, core, reason },
        Unfit::IoUring(reason) => StartError::IoUring { reason },
        Unfit::LockableMemory => {
            let needed_bytes = runtime::LOCKABLE_BYTES_MIN * (shard as u64 + 1);
            StartError::LockableMemory { limit_bytes: sys::lockable_bytes(0).unwrap_or(0), needed_bytes }
        }
        Unfit::Other(reason) => StartError::Shard { shard, step: "making its executor", reason },
    }
}
