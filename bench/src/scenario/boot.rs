//! `boot`: how fast a daemon that was ended comes back with all its bindings, and whether it has them.
//!
//! The bindings are registered and refreshed as phones do it, so the log is what load leaves behind. Ended and started
//! on the same machine, the daemon reads files that the page cache still holds: what is measured is the processor's
//! work, not the disk's.

use super::Range;
use crate::answer::Answers;
use crate::cli::BootArgs;
use crate::error::Error;
use crate::fetch;
use crate::pace::Pace;
use crate::phase::{Troubles, measure};
use crate::register_load::{Plan, whole_rounds};
use crate::register_message::{CSEQ_FIRST, RegisterTemplate};
use crate::report::{Figure, Report, cores_count};
use crate::server::{End, Server};
use crate::sockets::Sockets;
use crate::target;
use std::time::Duration;

const WINDOW: u32 = 512;
/// How long what the daemon does behind its answers may go on.
const SETTLE: Duration = Duration::from_secs(1);
const MIB: f64 = (1 << 20) as f64;

/// What the starts came to.
#[derive(Default)]
struct Starts {
    wall_s: Vec<f64>,
    cpu_s: Vec<f64>,
    resident: Vec<f64>,
    checked: u32,
}

/// Runs the scenario.
pub(crate) fn run(args: &BootArgs) -> Result<Report, Error> {
    let count = whole_rounds(args.server.sized(args.bindings, 640), args.server.client_sockets);
    let (refreshes, rounds) = (args.server.sized(args.refreshes, 1), args.server.sized(args.rounds, 1));
    let mut daemon = args.server.start_with("process")?;
    let mut sockets = Sockets::connect(daemon.address(), args.server.client_sockets)?;
    let domain = args.server.domain_at(daemon.address());
    let template = RegisterTemplate::new(daemon.address(), &domain, args.phone.instance())?;
    let mut troubles = Troubles::default();
    for pass in 0..=refreshes {
        let plan = Plan {
            name: if pass == 0 { "registering" } else { "refreshing" },
            first: Range::Boot.first(),
            count,
            cseq: CSEQ_FIRST + pass,
            pace: Pace::Window(WINDOW),
            answers: Answers::Sip,
        };
        troubles.add(&measure(&mut daemon, &mut sockets, &template, plan)?.outcome);
    }
    std::thread::sleep(if args.server.smoke { Duration::ZERO } else { SETTLE });
    let (resident_before, log) = (daemon.resident_bytes()?, daemon.log_totals(args.server.shards())?);
    let data_bytes = daemon.data_bytes()?;

    let mut starts = Starts::default();
    for _ in 0..rounds {
        start(&mut daemon, &mut starts, args, &|daemon| {
            fetch::check_sample(daemon.address(), &domain, &sockets, Range::Boot.first(), count)
        })?;
    }
    let mut report = Report::new("boot");
    report.set("bindings", u64::from(count));
    report.set("refreshes", u64::from(refreshes));
    report.set("shards", args.server.shards() as u64);
    report.set("rounds", u64::from(rounds));
    report_starts(&mut report, &starts, args, [u64::from(count), u64::from(count) * u64::from(refreshes)]);
    let before = resident_before as f64;
    let ratios: Vec<f64> = starts.resident.iter().map(|after| after / before.max(1.0)).collect();
    report.add(Figure::new("resident before the end", "MiB", &[before / MIB]));
    let resident: Vec<f64> = starts.resident.iter().map(|after| after / MIB).collect();
    report.add(Figure::new("resident after the start", "MiB", &resident));
    report.add(Figure::new("resident, after / before", "times", &ratios).against(target::BOOT_RESIDENT_RATIO));
    report.add(Figure::new("data directory before the end", "MiB", &[data_bytes as f64 / MIB]));
    report.add(Figure::new("data directory after the starts", "MiB", &[daemon.data_bytes()? as f64 / MIB]));
    report.add(Figure::new("appends to the logs", "appends", &[log.entries as f64]));
    report.add(Figure::new("bindings fetched after a start, right", "bindings", &[f64::from(starts.checked)]));
    troubles.report(&mut report);
    report.notes.push("the files of the log are in the page cache at every start".to_owned());
    Ok(report)
}

fn start(
    daemon: &mut Server,
    starts: &mut Starts,
    args: &BootArgs,
    check_sample: &dyn Fn(&Server) -> Result<u32, Error>,
) -> Result<(), Error> {
    let started = daemon.start_again(args.end)?;
    starts.wall_s.push(started.wall.as_secs_f64());
    starts.cpu_s.push(started.cpu_ns as f64 / 1e9);
    starts.resident.push(daemon.resident_bytes()? as f64);
    starts.checked += check_sample(daemon)?;
    Ok(())
}

fn report_starts(report: &mut Report, starts: &Starts, args: &BootArgs, [bindings, refreshes]: [u64; 2]) {
    let ended = match args.end {
        End::Kill => "SIGKILL",
        End::Terminate => "SIGTERM",
    };
    let cores = args.server.shards().min(cores_count()) as f64;
    let per_s = |operations: u64, seconds: &[f64], cores: f64| -> Vec<f64> {
        seconds.iter().map(|seconds| operations as f64 / seconds / cores).collect()
    };
    report.add(Figure::new(format!("start after {ended}, to ready"), "s", &starts.wall_s));
    report.add(Figure::new(format!("start after {ended}, CPU"), "s CPU", &starts.cpu_s));
    let per_core = Figure::new("bindings per second and core", "bindings/s", &per_s(bindings, &starts.wall_s, cores));
    report.add(per_core.against(target::BOOT_BINDINGS_PER_S));
    report.add(Figure::new("bindings per second of CPU", "bindings/s", &per_s(bindings, &starts.cpu_s, 1.0)));
    let operations = bindings + refreshes;
    report.add(Figure::new("operations per second of CPU", "operations/s", &per_s(operations, &starts.cpu_s, 1.0)));
}
