//! Why the data plane did not start: what was wrong, where, and what to do.

use sipfed_proto::{Listener, limits};
use std::io;

/// Why the data plane did not start. Nothing of it runs, and no socket is held, once this is returned.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No core was named.
    #[error("no core is named to run on; name at least one")]
    NoCores,
    /// More shards than their numbers allow.
    #[error("{count} shards are asked for, but {max} are the most; name fewer cores", max = limits::SHARDS_COUNT_MAX)]
    TooManyShards {
        /// How many were asked for.
        count: usize,
    },
    /// Nowhere to listen.
    #[error("no listener is configured; name at least one address to listen on")]
    NoListeners,
    /// A listener for TLS without a certificate.
    #[error("{} is for TLS, but there is no certificate to show; name one, or do not listen there", written(listener))]
    NoCertificate {
        /// The listener.
        listener: Listener,
    },
    /// A stream's message limit above what a message can have.
    #[error(
        "messages of {bytes} bytes are allowed on streams, but {max} are the most; lower stream_message_bytes_max",
        max = limits::MESSAGE_BYTES_MAX
    )]
    StreamMessageBytes {
        /// What was asked for.
        bytes: usize,
    },
    /// Another process has the address.
    #[error(
        "cannot listen on {}: the port is in use; end the process that has it (`ss -lnp 'sport = :{port}'` names it) \
         or choose another port",
        written(listener), port = listener.addr.port()
    )]
    PortInUse {
        /// The listener.
        listener: Listener,
    },
    /// No interface has the address.
    #[error(
        "cannot listen on {}: no interface of this machine has that address (`ip address` lists them); \
         correct it, or give the address to an interface first",
        written(listener)
    )]
    AddressNotHere {
        /// The listener.
        listener: Listener,
    },
    /// The address may not be listened on.
    #[error(
        "cannot listen on {}: permission denied; a port below 1024 needs CAP_NET_BIND_SERVICE, or choose a higher one",
        written(listener)
    )]
    NotPermitted {
        /// The listener.
        listener: Listener,
    },
    /// The address cannot be listened on for another reason.
    #[error("cannot listen on {} ({step}): {source}", written(listener))]
    Listen {
        /// The listener.
        listener: Listener,
        /// What was being done.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A core cannot be run on.
    #[error("shard {shard} cannot run on core {core}: {reason}; name cores that `taskset -p $$` shows")]
    Core {
        /// The shard.
        shard: usize,
        /// The core.
        core: usize,
        /// Why not.
        reason: String,
    },
    /// The process may lock too little memory for io_uring.
    #[error(
        "this process may lock {limit_bytes} bytes of memory, and needs {needed_bytes}; raise RLIMIT_MEMLOCK \
         (`LimitMEMLOCK=infinity` in the unit, `--ulimit memlock=-1` for a container, `ulimit -l` in a shell)"
    )]
    LockableMemory {
        /// What it may lock.
        limit_bytes: u64,
        /// What is needed.
        needed_bytes: u64,
    },
    /// The kernel refuses io_uring.
    #[error(
        "io_uring is not available: {reason}; allow it with `sysctl kernel.io_uring_disabled=0` and, in a \
         container, with a seccomp profile that permits io_uring_setup, io_uring_enter and io_uring_register"
    )]
    IoUring {
        /// What the kernel said.
        reason: String,
    },
    /// The data directory, or a log in it, cannot be used.
    #[error("{reason}")]
    Persistence {
        /// What is wrong, where, and what to do.
        reason: String,
    },
    /// A shard could not be made for another reason.
    #[error("shard {shard} cannot start ({step}): {reason}")]
    Shard {
        /// The shard.
        shard: usize,
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        reason: String,
    },
    /// The machine as a whole could not be asked for something.
    #[error("cannot {step}: {source}")]
    Machine {
        /// What was being done.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A listener as configuration writes it.
fn written(listener: &Listener) -> String {
    format!("{}:{}", listener.transport.uri_token(), listener.addr)
}
