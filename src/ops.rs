//! The management interface: commands of operators and their tools, answered on a thread of its own.
//!
//! # Contract
//! In: JSON-RPC 2.0 over HTTP ([`http`]) and over a named pipe ([`fifo`]), as OpenSIPS's mi_http and mi_fifo take it. Out:
//! answers in OpenSIPS's shapes. What a command does is written down where its subject is: [`usrloc`], [`statistics`],
//! [`clusterer`], [`alter`], [`remote`], [`nathelper`], [`node`], [`process`]; a room elsewhere adds its own to the [`Registry`] before the thread is started.
//!
//! Owned by the node, which starts it last and stops it last, so that it tells how a drain goes on. Nothing on this thread
//! blocks, and nothing of it stands in the path of a message: shards are asked by commands of bounded work ([`shards`]).
//!
//! Bounds: [`CONNECTIONS_COUNT_MAX`] connections, [`FIFO_ANSWERS_COUNT_MAX`] answers to the pipe, [`TEXT_BYTES_MAX`] bytes
//! and [`CALLS_COUNT_MAX`] calls of one text, a page of bindings for each answer. Whoever sends or takes nothing for
//! [`SILENCE_MAX`] is given up.

mod alter;
mod answer;
mod cluster;
mod clusterer;
mod contact;
mod dispatch;
mod dump;
mod explain;
mod fifo;
mod frames;
mod http;
mod impatient;
mod json_rpc;
mod nathelper;
mod node;
mod parameters;
mod process;
mod registry;
mod remote;
mod shards;
mod statistics;
mod usrloc;

pub(crate) use cluster::Cluster;
pub(crate) use parameters::Signature;
pub(crate) use registry::Registry;
pub(crate) use remote::{READ_ONLY, Remote, is_sent_on};
pub(crate) use shards::Shards;

use crate::cluster::Reload;
use crate::config::OpsConfig;
use crate::pings::PingSwitch;
use sipfed_directory::{Inquirer, Statistics};
use sipfed_proto::Listener;
use sipfed_proto::settings::RegistrarSettings;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use thiserror::Error;
use tokio::sync::watch;
use tracing::error;

/// HTTP connections that are open at a time; one more is closed at once.
const CONNECTIONS_COUNT_MAX: usize = 32;
/// Commands of the pipe that are being answered at a time; further ones wait in the pipe.
const FIFO_ANSWERS_COUNT_MAX: usize = 8;
/// Bytes of one text that is sent to the interface.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// Calls of one batch.
const CALLS_COUNT_MAX: usize = 32;
/// How long a peer may neither send what it began nor take what it asked for.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long a stopping node waits for answers that are under way.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

/// What the commands of this room work with.
pub(crate) struct Subjects {
    pub(crate) shards: Shards,
    pub(crate) registrar: RegistrarSettings,
    /// Where the node listens, as configured.
    pub(crate) listeners: Vec<Listener>,
    /// Whether bindings outlive the node.
    pub(crate) is_durable: bool,
    /// Of the directory, where there is one.
    pub(crate) directory: Option<Arc<Statistics>>,
    /// Asks it, where there is one.
    pub(crate) inquirer: Option<Inquirer>,
    /// Whether phones are pinged.
    pub(crate) pings: PingSwitch,
    /// Where the node is in a cluster.
    pub(crate) reload: Option<Reload>,
    /// Of the cluster, where the node is in one.
    pub(crate) cluster: Option<Cluster>,
    pub(crate) wishes: Wishes,
}

/// What the node is asked to do by itself.
#[derive(Clone)]
pub(crate) struct Wishes {
    /// To drain and to stop, as on a signal; `false` where that has to be asked again.
    pub(crate) stop: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Seconds that a drain may take.
    pub(crate) drain_s: u32,
    /// To compare the directory with what is so; where there is one.
    pub(crate) reconcile: Option<Arc<dyn Fn() + Send + Sync>>,
    /// To read certificates again; where there are any. What cannot be used is told.
    pub(crate) reload_tls: Option<Arc<dyn Fn() -> Result<(), String> + Send + Sync>>,
}

/// Why the interface did not start.
#[derive(Debug, Error)]
pub(crate) enum OpsError {
    /// The address of `ops.listen`.
    #[error("ops.listen: {addr} cannot be listened at: {source}; name another port, or end who has it")]
    Listen {
        addr: SocketAddr,
        #[source]
        source: io::Error,
    },
    /// The pipe of `ops.fifo`.
    #[error("ops.fifo: {path}: {what}")]
    Fifo { path: String, what: String },
    /// The thread.
    #[error("a thread: {0}")]
    Thread(#[from] io::Error),
}

/// The running interface. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct Ops {
    listening: Option<SocketAddr>,
    fifo: Option<PathBuf>,
    is_stopping: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// Every command that a node of this version may have, for who asks one.
pub(crate) fn signatures() -> impl Iterator<Item = &'static Signature> {
    let rooms = [
        process::COMMANDS,
        usrloc::COMMANDS,
        statistics::COMMANDS,
        clusterer::COMMANDS,
        alter::COMMANDS,
        remote::COMMANDS,
        nathelper::COMMANDS,
        node::COMMANDS,
        explain::COMMANDS,
    ];
    rooms.into_iter().flatten().copied()
}

/// A registry with the commands of this room.
pub(crate) fn registry(subjects: Subjects) -> Registry {
    let Subjects { shards, registrar, listeners, is_durable, directory, inquirer, pings, reload, cluster, wishes } =
        subjects;
    let mut registry = Registry::default();
    usrloc::add(&mut registry, &shards, is_durable, cluster.as_ref());
    statistics::add(&mut registry, &shards, &registrar, directory.as_ref(), cluster.as_ref());
    alter::add(&mut registry, reload.as_ref(), cluster.as_ref());
    remote::add(&mut registry, cluster.as_ref());
    clusterer::add(&mut registry, reload, cluster.as_ref());
    nathelper::add(&mut registry, &pings, cluster.as_ref());
    explain::add(&mut registry, &shards, &listeners, inquirer);
    node::add(&mut registry, &shards, directory.as_ref(), cluster.as_ref(), &wishes);
    registry
}

impl Ops {
    /// Starts the thread where the configuration asks for the interface; without it nothing is done for other nodes either.
    pub(crate) fn start(
        config: &OpsConfig,
        mut registry: Registry,
        remote: Option<Remote>,
    ) -> Result<Option<Self>, OpsError> {
        let listener = config.listen.map(|addr| {
            let listen = || {
                let listener = TcpListener::bind(addr)?;
                listener.set_nonblocking(true)?;
                Ok((listener.local_addr()?, listener))
            };
            listen().map_err(|source| OpsError::Listen { addr, source })
        });
        let (listening, listener) = listener.transpose()?.unzip();
        let fifo = config.fifo.as_ref().map(|path| fifo::make(path)).transpose()?;
        if listener.is_none() && fifo.is_none() {
            return Ok(None);
        }
        process::add(&mut registry, Instant::now(), SystemTime::now());
        let (is_stopping, stopping) = watch::channel(false);
        let replies = config.fifo_reply_directory.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let run = move || {
            let serve = async move {
                let registry = Rc::new(registry);
                let http = async {
                    if let Some(listener) = listener {
                        http::serve(listener, Rc::clone(&registry), stopping.clone()).await;
                    }
                };
                let pipe = async {
                    if let Some(fifo) = fifo {
                        fifo::serve(fifo, replies, Rc::clone(&registry), stopping.clone()).await;
                    }
                };
                let others = async {
                    if let Some(remote) = remote {
                        remote::serve(remote, Rc::clone(&registry), stopping.clone()).await;
                    }
                };
                tokio::join!(http, pipe, others);
            };
            tokio::task::LocalSet::new().block_on(&runtime, serve);
        };
        let thread = std::thread::Builder::new().name("ops".to_owned()).spawn(run)?;
        Ok(Some(Self { listening, fifo: config.fifo.clone(), is_stopping, thread: Some(thread) }))
    }

    /// Where it is reached, for people.
    pub(crate) fn place(&self) -> String {
        let http = self.listening.map(|addr| format!("http://{addr}/mi"));
        let fifo = self.fifo.as_ref().map(|path| path.display().to_string());
        http.into_iter().chain(fifo).collect::<Vec<_>>().join(" ")
    }

    /// Gives the answers that are under way, within bounds, and ends the thread.
    pub(crate) fn stop(mut self) {
        self.join();
    }

    fn join(&mut self) {
        self.is_stopping.send_replace(true);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            error!("the management interface had panicked");
        }
    }
}

impl Drop for Ops {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.join();
        }
    }
}
