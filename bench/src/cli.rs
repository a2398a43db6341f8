//! The command line: one subcommand per scenario. Options are checked here, once.

use crate::echo::{self, Mode};
use crate::error::Error;
use crate::register_message::Instance;
use crate::report::{Document, Machine, Report, cores_count};
use crate::scenario;
use crate::scenario::directory::Part;
use crate::server::{End, Server};
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Measures what sipfed costs, beside the least that a server could cost.
///
/// Every scenario starts the daemon on loopback with one client thread beside it, or attaches to a server
/// that runs on this machine. CPU time is that of the whole server process. Figures are medians over the
/// rounds; the exit code says whether they could be measured, never whether they are good.
#[derive(Debug, Parser)]
#[command(name = "sipfed-bench", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// CPU per REGISTER (new and refresh), at saturation and at a given rate, beside two bare echo servers.
    Register(#[command(flatten)] RegisterArgs),
    /// Response times of refreshes at half of the highest rate.
    Latency(#[command(flatten)] LatencyArgs),
    /// Resident memory per binding.
    Memory(#[command(flatten)] MemoryArgs),
    /// CPU per call: INVITE 100 180 200 ACK BYE 200, record-routed.
    Call(#[command(flatten)] CallArgs),
    /// The pure shard alone, in this process: nanoseconds and allocations per refresh.
    Machine(#[command(flatten)] MachineArgs),
    /// What durability costs: CPU per REGISTER without, with `process` and with `disk`, and bytes written.
    Durability(#[command(flatten)] DurabilityArgs),
    /// How fast a killed daemon comes back with all bindings.
    Boot(#[command(flatten)] BootArgs),
    /// What hot backup costs: CPU per REGISTER, response times, and an empty backup that is given everything.
    Replication(#[command(flatten)] ReplicationArgs),
    /// What it costs to ping phones behind NATs, how evenly pings leave, and memory of a binding that is pinged; of one
    /// shard, if --shards does not say otherwise.
    Pings(#[command(flatten)] PingsArgs),
    /// What the global directory costs: publishing, lookups, and a store that does not answer.
    Directory(#[command(flatten)] DirectoryArgs),
    /// What phones cost that are connected over TLS: memory at rest, and handshakes.
    Tls(#[command(flatten)] TlsArgs),
    /// Every scenario that takes seconds, beside its targets; with --smoke every scenario.
    All(#[command(flatten)] AllArgs),
    /// A yardstick: answers each datagram with its own beginning. Started by the other scenarios.
    Echo(#[command(flatten)] EchoArgs),
}

/// Which server is measured, and how a run is reported.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServerArgs {
    /// The daemon to start [default: `sipfed` beside this executable].
    #[arg(long, value_name = "PATH", conflicts_with = "target")]
    daemon: Option<PathBuf>,
    /// One more argument for `sipfed serve`; may be given again.
    #[arg(long = "daemon-arg", value_name = "ARG", allow_hyphen_values = true, conflicts_with = "target")]
    daemon_args: Vec<String>,
    /// Measure the server that listens here (UDP, loopback) instead of starting one.
    #[arg(long, value_name = "ADDR", requires = "pids")]
    target: Option<SocketAddr>,
    /// A process of that server; given again, or with commas, for a server of several.
    #[arg(long = "pid", value_name = "PID", value_delimiter = ',', requires = "target")]
    pids: Vec<u32>,
    /// Shards of the daemon, and threads of the echo servers [default: one per core].
    #[arg(long, value_name = "N")]
    shards: Option<usize>,
    /// Domain of the subscribers [default: the server's address and port].
    #[arg(long)]
    pub(crate) domain: Option<String>,
    /// UDP sockets of the generator (1 to 64).
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub(crate) client_sockets: usize,
    /// Tiny numbers: shows in seconds that everything works, measures nothing worth reading.
    #[arg(long)]
    pub(crate) smoke: bool,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
    /// Whether daemons that are started run on what others leave of the processors.
    #[arg(skip)]
    runs_idle: bool,
}

impl ServerArgs {
    /// Starts or attaches the server under measurement.
    pub(crate) fn open(&self) -> Result<Server, Error> {
        match self.target {
            Some(target) => Server::attach(target, &self.pids),
            None => self.start(&[], |_| String::new()),
        }
    }

    /// Starts a daemon that keeps what `durability` says, and logs for us to read. One that runs already is refused:
    /// what it keeps and how it was started is not ours to change.
    pub(crate) fn start_with(&self, durability: &str) -> Result<Server, Error> {
        self.start_configured(durability, |_| String::new())
    }

    /// The same with a configuration, whose text `settings` makes for the address of the daemon.
    pub(crate) fn start_configured(
        &self,
        durability: &str,
        settings: impl FnOnce(SocketAddr) -> String,
    ) -> Result<Server, Error> {
        self.start_backup(durability, &[], settings)
    }

    /// The same with further arguments, for a daemon that stands beside another one.
    pub(crate) fn start_backup(
        &self,
        durability: &str,
        further: &[&str],
        settings: impl FnOnce(SocketAddr) -> String,
    ) -> Result<Server, Error> {
        if self.target.is_some() {
            return Err(Error::Options("this scenario starts its daemons itself: leave --target out"));
        }
        let usual = ["--log-format", "json", "--durability", durability];
        self.start(&[&usual, further].concat(), settings)
    }

    fn start(&self, arguments: &[&str], settings: impl FnOnce(SocketAddr) -> String) -> Result<Server, Error> {
        let program = match &self.daemon {
            Some(program) => program.clone(),
            None => std::env::current_exe()
                .map_err(|source| Error::System { doing: "finding this executable", source })?
                .with_file_name("sipfed"),
        };
        let arguments: Vec<String> =
            arguments.iter().map(ToString::to_string).chain(self.daemon_args.iter().cloned()).collect();
        Server::start_daemon(&program, self.shards(), &arguments, self.runs_idle, settings)
    }

    /// The same, for a daemon that runs on what others leave of the processors.
    pub(crate) fn behind_others(&self) -> Self {
        Self { runs_idle: true, ..self.clone() }
    }

    /// The same, with so many shards where the command line does not say how many.
    pub(crate) fn with_shards(&self, usual: usize) -> Self {
        Self { shards: self.shards.or(Some(usual)), ..self.clone() }
    }

    /// Shards of the daemon.
    pub(crate) fn shards(&self) -> usize {
        self.shards.unwrap_or_else(cores_count).clamp(1, echo::THREADS_COUNT_MAX)
    }

    /// `usual`, or `tiny` with `--smoke`.
    pub(crate) fn sized(&self, usual: u32, tiny: u32) -> u32 {
        if self.smoke { usual.min(tiny) } else { usual }
    }

    /// The subscribers' domain at `server`.
    pub(crate) fn domain_at(&self, server: SocketAddr) -> String {
        self.domain.clone().unwrap_or_else(|| server.to_string())
    }
}

/// What the phones send.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct PhoneArgs {
    /// Leave +sip.instance out of the Contact.
    #[arg(long)]
    no_instance: bool,
}

impl PhoneArgs {
    /// Whether the phones name their instance.
    pub(crate) fn instance(self) -> Instance {
        if self.no_instance { Instance::Unnamed } else { Instance::Named }
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RegisterArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) phone: PhoneArgs,
    /// Addresses of record.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(64..=50_000_000))]
    pub(crate) aors: u32,
    /// Requests a second of the open loop.
    #[arg(long, value_name = "N", default_value_t = 30_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rate: u32,
    /// Outstanding requests of the closed loop.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) window: u32,
    /// Rounds of refreshes; each measures daemon and echo servers in turn.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct LatencyArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Addresses of record, and requests per round.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(64..=50_000_000))]
    pub(crate) aors: u32,
    /// Outstanding requests while the highest rate is looked for.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) window: u32,
    /// Rounds.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct MemoryArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) phone: PhoneArgs,
    /// Bindings, each of its own address of record.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(64..=50_000_000))]
    pub(crate) bindings: u32,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CallArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Calls a second.
    #[arg(long, value_name = "N", default_value_t = 1200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,
    /// Seconds of one round.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) duration_s: u32,
    /// Subscribers who are called in turn.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(64..=1_000_000))]
    pub(crate) callees: u32,
    /// Milliseconds from 180 to 200.
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=60_000))]
    pub(crate) ring_ms: u32,
    /// Milliseconds from ACK to BYE.
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=60_000))]
    pub(crate) hold_ms: u32,
    /// Rounds.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct MachineArgs {
    /// Addresses of record in the shard.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) aors: u32,
    /// Refreshes of one round; small for `valgrind --tool=callgrind`.
    #[arg(long, value_name = "N", default_value_t = 500_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub(crate) iterations: u32,
    /// Calls of one round.
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) calls: u32,
    /// Rounds.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    #[command(flatten)]
    pub(crate) phone: PhoneArgs,
    /// Tiny numbers: shows that everything works, measures nothing worth reading.
    #[arg(long)]
    pub(crate) smoke: bool,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DurabilityArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) phone: PhoneArgs,
    /// Addresses of record.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(64..=50_000_000))]
    pub(crate) aors: u32,
    /// Requests a second of the open loop.
    #[arg(long, value_name = "N", default_value_t = 30_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rate: u32,
    /// Outstanding requests of the closed loop.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) window: u32,
    /// Rounds of refreshes; each measures all daemons in turn.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct BootArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) phone: PhoneArgs,
    /// Bindings, each of its own address of record.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(64..=20_000_000))]
    pub(crate) bindings: u32,
    /// Refreshes of each binding before the daemon ends.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub(crate) refreshes: u32,
    /// How the daemon ends.
    #[arg(long, value_enum, default_value_t = End::Kill)]
    pub(crate) end: End,
    /// Starts; the daemon is ended before each.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DirectoryArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) phone: PhoneArgs,
    /// What is measured; may be given again [default: everything].
    #[arg(long = "part", value_enum)]
    pub(crate) parts: Vec<Part>,
    /// New AoRs of one round of publishing into Cassandra.
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(64..=1_000_000))]
    pub(crate) aors: u32,
    /// New AoRs a second, published into memory.
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rate: u32,
    /// Seconds of one round of REGISTERs at a rate.
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub(crate) duration_s: u32,
    /// REGISTERs a second while the store is frozen or not.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) frozen_rate: u32,
    /// Calls of each kind in one round of lookups.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    pub(crate) lookups: u32,
    /// Milliseconds between two of those calls; without a pause the shards believe to be under load.
    #[arg(long, value_name = "MS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub(crate) pause_ms: u32,
    /// INVITEs that wait for a frozen store at a time.
    #[arg(long, value_name = "N", default_value_t = 64_000, value_parser = clap::value_parser!(u32).range(64..=100_000))]
    pub(crate) parked: u32,
    /// Outstanding REGISTERs where they are sent as fast as they are answered.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) window: u32,
    /// Rounds; within each, what is compared takes turns.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// The process of the Cassandra that CASSANDRA_URL names. It is stopped for seconds by SIGSTOP, so give none that
    /// anybody else uses; without it nothing is frozen.
    #[arg(long, value_name = "PID")]
    pub(crate) store_pid: Option<u32>,
    /// The program that starts a Cassandra where CASSANDRA_URL is not set [default: scripts/stores of the sources].
    #[arg(long, value_name = "PATH")]
    pub(crate) stores: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ReplicationArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) phone: PhoneArgs,
    /// What is measured; may be given again [default: everything].
    #[arg(long = "part", value_enum)]
    pub(crate) parts: Vec<scenario::replication::Part>,
    /// Addresses of record of one phase of what it costs.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(64..=1_000_000))]
    pub(crate) aors: u32,
    /// Requests a second of the open loop of what it costs.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rate: u32,
    /// Requests a second at which response times are looked at.
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) modest_rate: u32,
    /// Bindings that an empty backup is given.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(64..=10_000_000))]
    pub(crate) bindings: u32,
    /// Outstanding requests of the closed loop.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) window: u32,
    /// Rounds; within each, what is compared takes turns.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub(crate) rounds: u32,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct PingsArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) phone: PhoneArgs,
    /// Bindings, each of its own address of record.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(64..=20_000_000))]
    pub(crate) bindings: u32,
    /// Seconds in which each of them is pinged once.
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) interval_s: u32,
    /// Rounds, each of one interval.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct TlsArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Connections that are open at a time.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) connections: u32,
    /// Rounds, each with a daemon of its own.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
}

#[derive(Clone, Debug, Args)]
struct AllArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Bindings of the memory scenario.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(64..=50_000_000))]
    bindings: u32,
    /// Rounds of each scenario that has some.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
}

#[derive(Clone, Debug, Args)]
struct EchoArgs {
    /// System calls per packet or per batch.
    #[arg(long, value_enum)]
    mode: Mode,
    /// Where to listen (loopback).
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Threads, each with its own SO_REUSEPORT socket.
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Bytes of each reply.
    #[arg(long, value_name = "N", default_value_t = 500)]
    reply_bytes: usize,
}

impl Cli {
    /// Runs the scenario and prints what it measured.
    pub(crate) fn run(self) -> Result<(), Error> {
        let (reports, json) = match self.scenario {
            Scenario::Register(args) => (vec![scenario::register::run(&args)?], args.server.json),
            Scenario::Latency(args) => (vec![scenario::latency::run(&args)?], args.server.json),
            Scenario::Memory(args) => (vec![scenario::memory::run(&args)?], args.server.json),
            Scenario::Call(args) => (vec![scenario::call::run(&args)?], args.server.json),
            Scenario::Machine(args) => (vec![scenario::machine::run(&args)?], args.json),
            Scenario::Durability(args) => (vec![scenario::durability::run(&args)?], args.server.json),
            Scenario::Boot(args) => (vec![scenario::boot::run(&args)?], args.server.json),
            Scenario::Directory(args) => (vec![scenario::directory::run(&args)?], args.server.json),
            Scenario::Replication(args) => (vec![scenario::replication::run(&args)?], args.server.json),
            Scenario::Pings(args) => (vec![scenario::pings::run(&args)?], args.server.json),
            Scenario::Tls(args) => (vec![scenario::tls::run(&args)?], args.server.json),
            Scenario::All(args) => (args.run()?, args.server.json),
            Scenario::Echo(args) => return echo::serve(args.mode, args.listen, args.threads, args.reply_bytes),
        };
        let document = Document { machine: Machine::this(), reports };
        print!("{}", if json { document.to_json() + "\n" } else { document.to_table() });
        Ok(())
    }
}

impl AllArgs {
    fn run(&self) -> Result<Vec<Report>, Error> {
        let server = || self.server.clone();
        let phone = PhoneArgs { no_instance: false };
        let rounds = self.rounds;
        let smoke = self.server.smoke;
        let (aors, window, iterations, calls) = (100_000, 512, 500_000, 50_000);
        let mut reports = vec![
            scenario::machine::run(&MachineArgs { aors, iterations, calls, rounds, phone, smoke, json: false })?,
            scenario::register::run(&RegisterArgs { server: server(), phone, aors, rate: 30_000, window, rounds })?,
            scenario::latency::run(&LatencyArgs { server: server(), aors, window, rounds })?,
            scenario::call::run(&CallArgs {
                server: server(),
                rate: 1200,
                duration_s: 10,
                callees: 10_000,
                ring_ms: 0,
                hold_ms: 0,
                rounds,
            })?,
            scenario::memory::run(&MemoryArgs { server: server(), phone, bindings: self.bindings })?,
        ];
        // The other parts need a store beside the daemon. A server that runs already has the directory that it has.
        if self.server.target.is_none() {
            reports.push(scenario::directory::run(&DirectoryArgs {
                server: server(),
                phone,
                parts: vec![Part::Memory],
                aors: 200_000,
                rate: 50_000,
                duration_s: 5,
                frozen_rate: 20_000,
                lookups: 500,
                pause_ms: 10,
                parked: 64_000,
                window,
                rounds,
                store_pid: None,
                stores: None,
            })?);
        }
        // Minutes by default: they are asked for by name.
        if smoke {
            let (server, rate) = (server(), 30_000);
            let args = DurabilityArgs { server: server.clone(), phone, aors, rate, window, rounds };
            reports.push(scenario::durability::run(&args)?);
            let (bindings, refreshes, end) = (self.bindings, 1, End::Kill);
            let boot = BootArgs { server: server.clone(), phone, bindings, refreshes, end, rounds };
            reports.push(scenario::boot::run(&boot)?);
            reports.push(scenario::tls::run(&TlsArgs { server: server.clone(), connections: 10_000, rounds })?);
            let (parts, modest_rate) = (Vec::new(), 5000);
            let pings = PingsArgs { server: server.clone(), phone, bindings, interval_s: 30, rounds };
            reports.push(scenario::pings::run(&pings)?);
            let args = ReplicationArgs { server, phone, parts, aors, rate, modest_rate, bindings, window, rounds };
            reports.push(scenario::replication::run(&args)?);
        }
        Ok(reports)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_target_needs_its_process() {
        assert!(Cli::try_parse_from(["sipfed-bench", "register", "--target", "127.0.0.1:5060"]).is_err());
        let attached = ["sipfed-bench", "register", "--target", "127.0.0.1:5060", "--pid", "12,13"];
        assert!(Cli::try_parse_from(attached).is_ok());
    }

    #[test]
    fn a_daemon_that_runs_already_is_neither_ended_nor_given_another_durability() {
        let attached = ["sipfed-bench", "boot", "--target", "127.0.0.1:5060", "--pid", "12"];
        let Cli { scenario: Scenario::Boot(args) } = Cli::parse_from(attached) else {
            panic!("boot was asked for");
        };
        assert!(matches!(args.server.start_with("process"), Err(Error::Options(_))));
    }

    #[test]
    fn smoke_makes_numbers_smaller_only() {
        let Cli { scenario: Scenario::Memory(args) } =
            Cli::parse_from(["sipfed-bench", "memory", "--smoke", "--bindings", "100"])
        else {
            panic!("memory was asked for");
        };
        assert_eq!(args.server.sized(args.bindings, 640), 100);
        assert_eq!(args.server.sized(1_000_000, 640), 640);
    }
}
