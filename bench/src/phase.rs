//! One measured stretch of load: what came of it, and what it cost server and generator.

use crate::error::Error;
use crate::pace::Pace;
use crate::register_load::{self, Outcome, Plan};
use crate::register_message::RegisterTemplate;
use crate::report::{Figure, Report};
use crate::server::Server;
use crate::sockets::Sockets;
use crate::sys::CpuClock;
use std::collections::BTreeMap;

/// A phase of REGISTERs with its costs.
#[derive(Debug)]
pub(crate) struct Measured {
    /// What came of it.
    pub(crate) outcome: Outcome,
    /// CPU time of the server's processes.
    pub(crate) server_cpu_ns: u64,
    /// CPU time of the generator.
    pub(crate) generator_cpu_ns: u64,
}

/// Runs `plan` against `server` and reads the CPU clocks before and after.
pub(crate) fn measure(
    server: &mut Server,
    sockets: &mut Sockets,
    template: &RegisterTemplate,
    plan: Plan,
) -> Result<Measured, Error> {
    let server_before_ns = server.cpu_ns()?;
    let generator_before_ns = own_cpu_ns()?;
    let outcome = register_load::run(sockets, template, plan);
    let generator_cpu_ns = own_cpu_ns()? - generator_before_ns;
    // A dead server explains lost requests better than their number does.
    server.check_alive()?;
    let outcome = outcome?;
    Ok(Measured { outcome, server_cpu_ns: server.cpu_ns()?.saturating_sub(server_before_ns), generator_cpu_ns })
}

/// CPU time of the generator so far.
pub(crate) fn own_cpu_ns() -> Result<u64, Error> {
    CpuClock::own().read_ns().map_err(|source| Error::System { doing: "reading the own CPU clock", source })
}

impl Measured {
    /// Server CPU per request answered 200, microseconds.
    pub(crate) fn server_us(&self) -> f64 {
        self.server_cpu_ns as f64 / 1000.0 / self.outcome.accepted.max(1) as f64
    }

    /// Generator CPU per request sent, microseconds.
    pub(crate) fn generator_us(&self) -> f64 {
        self.generator_cpu_ns as f64 / 1000.0 / self.outcome.sent.max(1) as f64
    }

    /// Requests answered a second, while most of them were.
    pub(crate) fn per_second(&self) -> f64 {
        let (answered, elapsed_ns) = self.outcome.most;
        answered as f64 * 1e9 / elapsed_ns.max(1) as f64
    }

    /// Mean size of an answer.
    pub(crate) fn answer_bytes(&self) -> usize {
        (self.outcome.answer_bytes / self.outcome.accepted.max(1)) as usize
    }

    /// Datagrams sent per wake-up of the generator: near 1 for a smooth open loop.
    pub(crate) fn burst(&self) -> f64 {
        self.outcome.tally.sent as f64 / self.outcome.tally.bursts.max(1) as f64
    }
}

/// What went wrong in many phases, added up.
#[derive(Debug, Default)]
pub(crate) struct Troubles {
    sent: u64,
    lost: u64,
    retransmissions: u64,
    refused: BTreeMap<u16, u64>,
    refused_by_kernel: u64,
    checked: u64,
}

impl Troubles {
    /// Adds those of one phase.
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        self.sent += outcome.sent;
        self.lost += outcome.lost;
        self.retransmissions += outcome.retransmissions;
        self.refused_by_kernel += outcome.tally.refused;
        self.checked += outcome.checked;
        for (&status, &count) in &outcome.refused {
            *self.refused.entry(status).or_default() += count;
        }
    }

    /// Adds the figures to `report`.
    pub(crate) fn report(&self, report: &mut Report) {
        let refused: u64 = self.refused.values().sum();
        report.add(Figure::new("requests sent to the server", "requests", &[self.sent as f64]));
        report.add(Figure::new("retransmissions", "requests", &[self.retransmissions as f64]));
        report.add(Figure::new("never answered", "requests", &[self.lost as f64]));
        report.add(Figure::new("answered other than 200", "requests", &[refused as f64]));
        report.add(Figure::new("answers decoded with rsip, right", "answers", &[self.checked as f64]));
        for (status, count) in &self.refused {
            report.notes.push(format!("{count} requests were answered {status}"));
        }
        if self.refused_by_kernel > 0 {
            report.notes.push(format!("the kernel did not take {} datagrams", self.refused_by_kernel));
        }
    }
}

/// How a pace is named in a report.
pub(crate) fn pace_name(pace: Pace) -> String {
    match pace {
        Pace::Window(_) => "saturated".to_owned(),
        Pace::Rate(rate) => format!("{rate}/s"),
    }
}
