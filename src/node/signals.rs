//! Signals, turned into events of the main thread.

use crate::cli::Exit;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;
use tracing::error;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// To drain and stop; the signal's name, or who else asked.
    Stop(&'static str),
    /// To log a report of each shard.
    Report,
    /// To compare what the directory says of this node with what is so.
    Reconcile,
    /// To read the nodes of the cluster again.
    Reload,
}

/// The signals that this process handles from now on.
pub(super) struct Signals {
    events: Receiver<Signal>,
    sender: SyncSender<Signal>,
}

impl Signals {
    /// Takes over TERM, INT, HUP, USR1 and USR2. The second of the stopping ones ends the process where it stands:
    /// it is for a node that does not get to its end by itself.
    pub(super) fn take() -> std::io::Result<Self> {
        let mut incoming = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2])?;
        let (sender, events) = mpsc::sync_channel(16);
        let others = sender.clone();
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let mut stopping = false;
            for signal in incoming.forever() {
                let event = match signal {
                    SIGUSR1 => Signal::Report,
                    SIGUSR2 => Signal::Reconcile,
                    SIGHUP => Signal::Reload,
                    _ if stopping => {
                        error!("a second signal came; ending at once");
                        signal_hook::low_level::exit(Exit::Cut as i32);
                    }
                    _ => {
                        stopping = true;
                        Signal::Stop(if signal == SIGTERM { "TERM" } else { "INT" })
                    }
                };
                // A stop waits for its place in the queue; what is asked for again before it is done is one.
                let delivered = match event {
                    Signal::Report | Signal::Reconcile | Signal::Reload => {
                        !matches!(sender.try_send(event), Err(mpsc::TrySendError::Disconnected(_)))
                    }
                    Signal::Stop(_) => sender.send(event).is_ok(),
                };
                if !delivered {
                    return;
                }
            }
        })?;
        Ok(Self { events, sender: others })
    }

    /// What asks to stop as a signal does, from any thread and for the reason `name`; `false` where so much waits that it
    /// has to be asked again.
    pub(super) fn stopper(&self, name: &'static str) -> impl Fn() -> bool + Send + Sync + use<> {
        let sender = self.sender.clone();
        move || sender.try_send(Signal::Stop(name)).is_ok()
    }

    /// The next one, if it comes within `wait`.
    pub(super) fn next(&self, wait: Duration) -> Option<Signal> {
        match self.events.recv_timeout(wait) {
            Ok(signal) => Some(signal),
            Err(RecvTimeoutError::Timeout) => None,
            // The thread never ends before the process does; without it nothing could ever stop the node.
            Err(RecvTimeoutError::Disconnected) => Some(Signal::Stop("none")),
        }
    }
}
