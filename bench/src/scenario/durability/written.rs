//! Bytes that the log costs: operations, write-ahead log, and all that the process writes until everything has left the
//! write buffers.
//!
//! A log flushes a write buffer when it is full, which the last one never is. So the daemon is killed after the load and
//! started again, as a start writes what only the write-ahead log holds to tables; what both processes have written is
//! what the load cost. The bytes of operations, which all is compared with, are those that the pure shard writes
//! down for the same requests in this process.

use super::{Contender, GENERATION_SETTLE};
use crate::answer::Answers;
use crate::cli::DurabilityArgs;
use crate::error::Error;
use crate::pace::Pace;
use crate::phase::{Troubles, pace_name};
use crate::register_load::Plan;
use crate::register_message::CSEQ_FIRST;
use crate::report::{Figure, Report};
use crate::scenario::{Range, machine};
use crate::server::End;

/// Passes of refreshes that are counted.
const REFRESH_PASSES: u32 = 5;

/// What one kind of request made the daemon write, per request.
struct Written {
    log: f64,
    handed: f64,
    disk: f64,
}

/// Measures at `rate`, since framing costs most where requests come alone, and adds the figures.
pub(super) fn run(
    args: &DurabilityArgs,
    count: u32,
    rate: u32,
    report: &mut Report,
    troubles: &mut Troubles,
) -> Result<(), Error> {
    let operations = machine::operation_bytes(args.phone.instance())?;
    let mut daemon = Contender::new("process", args)?;
    std::thread::sleep(GENERATION_SETTLE);
    let pace = Pace::Rate(rate);
    let (first, cseq, answers) = (Range::Durability.first(), CSEQ_FIRST, Answers::Sip);
    let new = Plan { name: "registering", first, count, cseq, pace, answers };
    let refresh = Plan { name: "refreshing", cseq: cseq + 1, ..new };
    let new = load(&mut daemon, &[new], troubles)?;
    let passes: Vec<Plan> = (0..REFRESH_PASSES).map(|pass| Plan { cseq: refresh.cseq + pass, ..refresh }).collect();
    let refreshed = load(&mut daemon, &passes, troubles)?;
    for (what, operation, written) in [("new binding", operations.new, new), ("refresh", operations.refresh, refreshed)]
    {
        let name = |of: &str| format!("{what}, {}: {of}", pace_name(pace));
        report.add(Figure::new(name("operation"), "bytes", &[operation]));
        report.add(Figure::new(name("in the write-ahead log"), "bytes", &[written.log]));
        report.add(Figure::new(name("written to files"), "bytes", &[written.handed]));
        report.add(Figure::new(name("dirtied for the disk"), "bytes", &[written.disk]));
        report.add(Figure::new(name("write amplification"), "times", &[written.handed / operation]));
    }
    Ok(())
}

/// Runs `plans`, and flushes what they left by a start.
fn load(daemon: &mut Contender, plans: &[Plan], troubles: &mut Troubles) -> Result<Written, Error> {
    let before = daemon.server.written_bytes()?;
    let (mut log_bytes, mut accepted) = (0, 0);
    for plan in plans {
        let (measured, log) = daemon.measure(*plan, troubles)?;
        log_bytes += log.bytes;
        accepted += measured.outcome.accepted;
    }
    let after = daemon.server.written_bytes()?;
    daemon.server.start_again(End::Kill)?;
    let flushed = daemon.server.written_bytes()?;
    let each = |bytes: u64| bytes as f64 / accepted.max(1) as f64;
    Ok(Written {
        log: each(log_bytes),
        handed: each(after.0 - before.0 + flushed.0),
        disk: each(after.1 - before.1 + flushed.1),
    })
}
