//! `latency`: response times of refreshes at half of the highest rate, from the intended instant of sending.
//!
//! The highest rate is that of a closed loop, so it is the rate of daemon and generator on this machine
//! together. A recvfrom echo at the same rate shows what machine and generator alone do to response times.

use super::Range;
use crate::answer::Answers;
use crate::cli::LatencyArgs;
use crate::echo::Mode;
use crate::error::Error;
use crate::latency::Quantiles;
use crate::pace::Pace;
use crate::phase::{Troubles, measure};
use crate::register_load::{Plan, whole_rounds};
use crate::register_message::{CSEQ_FIRST, Instance, RegisterTemplate};
use crate::report::{Figure, Report};
use crate::server::Server;
use crate::sockets::Sockets;
use crate::target;

/// Runs the scenario.
pub(crate) fn run(args: &LatencyArgs) -> Result<Report, Error> {
    let count = whole_rounds(args.server.sized(args.aors, 640), args.server.client_sockets);
    let rounds = args.server.sized(args.rounds, 1);
    let mut daemon = args.server.open()?;
    let mut sockets = Sockets::connect(daemon.address(), args.server.client_sockets)?;
    let domain = args.server.domain_at(daemon.address());
    let template = RegisterTemplate::new(daemon.address(), &domain, Instance::Named)?;
    let mut plan = Plan {
        name: "registering",
        first: Range::Latency.first(),
        count,
        cseq: CSEQ_FIRST,
        pace: Pace::Window(args.window),
        answers: Answers::Sip,
    };
    let mut troubles = Troubles::default();
    let registered = measure(&mut daemon, &mut sockets, &template, plan)?;
    troubles.add(&registered.outcome);

    let mut rates = Vec::new();
    plan.name = "refreshing";
    for _ in 0..rounds {
        plan.cseq += 1;
        let measured = measure(&mut daemon, &mut sockets, &template, plan)?;
        troubles.add(&measured.outcome);
        rates.push(measured.per_second());
    }
    let highest = Figure::new("highest rate, closed loop", "requests/s", &rates);
    let half = ((highest.value / 2.0) as u32).clamp(1, args.server.sized(u32::MAX, 2000));
    plan.pace = Pace::Rate(half);

    let mut echo = Server::start_echo(Mode::Recvfrom, args.server.shards(), registered.answer_bytes().max(1))?;
    let mut echo_sockets = Sockets::connect(echo.address(), args.server.client_sockets)?;
    let (mut of_daemon, mut of_echo, mut bursts) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        plan.cseq += 1;
        let measured = measure(&mut daemon, &mut sockets, &template, plan)?;
        troubles.add(&measured.outcome);
        of_daemon.push(measured.outcome.latencies.quantiles());
        bursts.push(measured.burst());
        let echo_plan = Plan { answers: Answers::Echo, ..plan };
        let measured = measure(&mut echo, &mut echo_sockets, &template, echo_plan)?;
        of_echo.push(measured.outcome.latencies.quantiles());
    }

    let mut report = Report::new("latency");
    report.set("AoRs", u64::from(count));
    report.set("shards", args.server.shards() as u64);
    report.set("rounds", u64::from(rounds));
    report.set("rate", u64::from(half));
    report.add(highest);
    report.add(Figure::new("sent per wake-up", "requests", &bursts));
    report_quantiles(&mut report, "daemon", &of_daemon);
    report_quantiles(&mut report, "recvfrom echo", &of_echo);
    troubles.report(&mut report);
    Ok(report)
}

fn report_quantiles(report: &mut Report, name: &str, rounds: &[Quantiles]) {
    let mut add = |label: &str, of: fn(&Quantiles) -> f64, target| {
        let samples: Vec<f64> = rounds.iter().map(of).collect();
        report.add(Figure::new(format!("half load: {label}, {name}"), "µs", &samples).against(target));
    };
    add("p50", |quantiles| quantiles.p50, None);
    add("p99", |quantiles| quantiles.p99, if name == "daemon" { target::HALF_LOAD_P99_US } else { None });
    add("p99.9", |quantiles| quantiles.p999, None);
    add("max", |quantiles| quantiles.max, None);
}
