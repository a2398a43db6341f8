//! `register`: CPU per REGISTER, new and refresh, beside the yardsticks.
//!
//! New registrations are measured once, at saturation and at the given rate, each with addresses of its own.
//! Refreshes are measured in rounds; within a round daemon and echo servers take turns, so that a noisy minute
//! of a shared machine falls on all of them, and ratios are taken within a round.

use super::Range;
use crate::answer::Answers;
use crate::cli::RegisterArgs;
use crate::echo::Mode;
use crate::error::Error;
use crate::latency::Quantiles;
use crate::pace::Pace;
use crate::phase::{Measured, Troubles, measure, pace_name};
use crate::register_load::{Plan, whole_rounds};
use crate::register_message::{CSEQ_FIRST, RegisterTemplate};
use crate::report::{Figure, Report};
use crate::server::Server;
use crate::sockets::Sockets;
use crate::target;
use std::time::Duration;

/// One of the servers that take turns.
struct Contender {
    name: &'static str,
    server: Server,
    sockets: Sockets,
    template: RegisterTemplate,
    answers: Answers,
}

/// What the rounds of one contender at one pace came to.
#[derive(Default)]
struct Series {
    server_us: Vec<f64>,
    generator_us: Vec<f64>,
    per_second: Vec<f64>,
    burst: Vec<f64>,
    quantiles: Vec<Quantiles>,
}

impl Contender {
    fn new(name: &'static str, server: Server, answers: Answers, args: &RegisterArgs) -> Result<Self, Error> {
        let domain = args.server.domain_at(server.address());
        Ok(Self {
            name,
            sockets: Sockets::connect(server.address(), args.server.client_sockets)?,
            template: RegisterTemplate::new(server.address(), &domain, args.phone.instance())?,
            server,
            answers,
        })
    }

    fn measure(
        &mut self,
        name: &'static str,
        first: u32,
        count: u32,
        cseq: u32,
        pace: Pace,
    ) -> Result<Measured, Error> {
        let plan = Plan { name, first, count, cseq, pace, answers: self.answers };
        measure(&mut self.server, &mut self.sockets, &self.template, plan)
    }
}

/// Runs the scenario.
pub(crate) fn run(args: &RegisterArgs) -> Result<Report, Error> {
    let count = whole_rounds(args.server.sized(args.aors, 640), args.server.client_sockets);
    let rounds = args.server.sized(args.rounds, 1);
    let paces = [Pace::Window(args.window), Pace::Rate(args.server.sized(args.rate, 2000))];
    let first = Range::Register.first();
    let mut report = Report::new("register");
    let mut troubles = Troubles::default();
    let mut daemon = Contender::new("daemon", args.server.open()?, Answers::Sip, args)?;

    for (pace, first) in [(paces[0], first), (paces[1], first + count)] {
        let new = daemon.measure("registering", first, count, CSEQ_FIRST, pace)?;
        troubles.add(&new.outcome);
        let name = format!("new binding, {}: daemon", pace_name(pace));
        report.add(Figure::new(name, "µs CPU", &[new.server_us()]));
    }
    report.add(Figure::new("idle daemon", "µs CPU/s", &[idle_us_per_s(&daemon.server, args.server.smoke)?]));

    // The first refreshes warm up, and show how large the yardsticks' replies have to be.
    let mut cseq = CSEQ_FIRST + 1;
    let warm = daemon.measure("warming up", first, count, cseq, paces[0])?;
    troubles.add(&warm.outcome);
    let reply_bytes = warm.answer_bytes().max(1);
    let mut contenders = vec![daemon];
    for (name, mode) in [("recvfrom echo", Mode::Recvfrom), ("mmsg echo", Mode::Mmsg)] {
        let server = Server::start_echo(mode, args.server.shards(), reply_bytes)?;
        contenders.push(Contender::new(name, server, Answers::Echo, args)?);
    }

    let mut series: [Vec<Series>; 2] = Default::default();
    for series in &mut series {
        series.resize_with(contenders.len(), Series::default);
    }
    for _ in 0..rounds {
        for (pace, series) in paces.into_iter().zip(&mut series) {
            cseq += 1;
            for (contender, series) in contenders.iter_mut().zip(series) {
                let measured = contender.measure("refreshing", first, count, cseq, pace)?;
                if contender.answers == Answers::Sip {
                    troubles.add(&measured.outcome);
                }
                series.add(&measured);
            }
        }
    }
    for (pace, series) in paces.into_iter().zip(&series) {
        report_series(&mut report, pace, &contenders, series);
    }
    report.set("AoRs", u64::from(count));
    report.set("shards", args.server.shards() as u64);
    report.set("window", u64::from(args.window));
    report.set("rounds", u64::from(rounds));
    report.set("request bytes", contenders[0].template.len() as u64);
    report.set("reply bytes", reply_bytes as u64);
    troubles.report(&mut report);
    Ok(report)
}

impl Series {
    fn add(&mut self, measured: &Measured) {
        self.server_us.push(measured.server_us());
        self.generator_us.push(measured.generator_us());
        self.per_second.push(measured.per_second());
        self.burst.push(measured.burst());
        self.quantiles.push(measured.outcome.latencies.quantiles());
    }
}

/// What the daemon uses while nobody asks anything, over a second (or a tenth of one).
fn idle_us_per_s(server: &Server, smoke: bool) -> Result<f64, Error> {
    let watched = Duration::from_millis(if smoke { 100 } else { 1000 });
    let before_ns = server.cpu_ns()?;
    std::thread::sleep(watched);
    Ok((server.cpu_ns()?.saturating_sub(before_ns)) as f64 / 1000.0 / watched.as_secs_f64())
}

fn report_series(report: &mut Report, pace: Pace, contenders: &[Contender], series: &[Series]) {
    let paced = matches!(pace, Pace::Rate(_));
    let pace = format!("refresh, {}", pace_name(pace));
    for (contender, series) in contenders.iter().zip(series) {
        let name = contender.name;
        let target = if paced && name == "daemon" { target::REFRESH_PACED_US } else { None };
        report.add(Figure::new(format!("{pace}: {name}"), "µs CPU", &series.server_us).against(target));
    }
    let daemon = &series[0];
    for (contender, echo) in contenders.iter().zip(series).skip(1) {
        let ratios: Vec<f64> = daemon.server_us.iter().zip(&echo.server_us).map(|(a, b)| a / b.max(1e-9)).collect();
        let target = if !paced && contender.name == "recvfrom echo" { target::REFRESH_SATURATED_RATIO } else { None };
        report.add(Figure::new(format!("{pace}: daemon / {}", contender.name), "times", &ratios).against(target));
    }
    for (contender, series) in contenders.iter().zip(series) {
        let name = contender.name;
        report.add(Figure::new(format!("{pace}: generator, {name}"), "µs CPU", &series.generator_us));
        if paced {
            report.add(Figure::new(format!("{pace}: sent per wake-up, {name}"), "requests", &series.burst));
            let p50: Vec<f64> = series.quantiles.iter().map(|quantiles| quantiles.p50).collect();
            let p99: Vec<f64> = series.quantiles.iter().map(|quantiles| quantiles.p99).collect();
            report.add(Figure::new(format!("{pace}: p50, {name}"), "µs", &p50));
            report.add(Figure::new(format!("{pace}: p99, {name}"), "µs", &p99));
        } else {
            report.add(Figure::new(format!("{pace}: throughput, {name}"), "requests/s", &series.per_second));
        }
    }
}
