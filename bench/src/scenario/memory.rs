//! `memory`: resident memory of the daemon per binding of the usual REGISTER.
//!
//! Read before the first registration and after the last, so buffers that the first load makes are counted on
//! the bindings; the quarters between show how tables that double behave.

use super::Range;
use crate::answer::Answers;
use crate::cli::MemoryArgs;
use crate::error::Error;
use crate::pace::Pace;
use crate::phase::{Troubles, measure};
use crate::register_load::{Plan, whole_rounds};
use crate::register_message::{CSEQ_FIRST, RegisterTemplate};
use crate::report::{Figure, Report};
use crate::sockets::Sockets;
use crate::target;
use std::time::Duration;

/// Steps at which memory is read.
const STEPS: u32 = 4;
const WINDOW: u32 = 512;
/// How long what the daemon does behind its answers may go on.
const SETTLE: Duration = Duration::from_secs(1);

/// Runs the scenario.
pub(crate) fn run(args: &MemoryArgs) -> Result<Report, Error> {
    let sockets_count = args.server.client_sockets;
    let step = whole_rounds(args.server.sized(args.bindings, 640).div_ceil(STEPS), sockets_count);
    let mut daemon = args.server.open()?;
    let mut sockets = Sockets::connect(daemon.address(), sockets_count)?;
    let domain = args.server.domain_at(daemon.address());
    let template = RegisterTemplate::new(daemon.address(), &domain, args.phone.instance())?;

    let mut report = Report::new("memory");
    let mut troubles = Troubles::default();
    let before = daemon.resident_bytes()?;
    let mut bindings = 0;
    let mut cpu_us = Vec::new();
    for quarter in 0..STEPS {
        let plan = Plan {
            name: "registering",
            first: Range::Memory.first() + quarter * step,
            count: step,
            cseq: CSEQ_FIRST,
            pace: Pace::Window(WINDOW),
            answers: Answers::Sip,
        };
        let measured = measure(&mut daemon, &mut sockets, &template, plan)?;
        bindings += measured.outcome.accepted;
        cpu_us.push(measured.server_us());
        troubles.add(&measured.outcome);
        if quarter + 1 == STEPS && !args.server.smoke {
            std::thread::sleep(SETTLE);
        }
        let grown = daemon.resident_bytes()?.saturating_sub(before) as f64 / bindings.max(1) as f64;
        let target = if quarter + 1 == STEPS { target::BINDING_BYTES } else { None };
        report.add(Figure::new(format!("resident per binding, at {bindings}"), "bytes", &[grown]).against(target));
    }
    report.set("bindings", bindings);
    report.set("shards", args.server.shards() as u64);
    report.set("request bytes", template.len() as u64);
    report.add(Figure::new("resident before", "MiB", &[before as f64 / f64::from(1 << 20)]));
    report.add(Figure::new("new binding, saturated: daemon", "µs CPU", &cpu_us));
    troubles.report(&mut report);
    Ok(report)
}
