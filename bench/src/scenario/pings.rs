//! `pings`: phones behind NATs that are pinged, each once in an interval, and answer.
//!
//! Memory is compared with that of a daemon that pings nobody and is given the same bindings. A round is one interval, in which
//! each phone is pinged once; rounds begin when no phone is spared any more because it has just registered.

use super::Range;
use crate::answer::Answers;
use crate::cli::PingsArgs;
use crate::error::Error;
use crate::pace::Pace;
use crate::phase::{Troubles, measure, own_cpu_ns};
use crate::pinged;
use crate::register_load::{Plan, whole_rounds};
use crate::register_message::{CSEQ_FIRST, RegisterTemplate};
use crate::report::{Figure, Report};
use crate::server::Server;
use crate::sockets::Sockets;
use crate::target;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// The domain of all AoRs.
const DOMAIN: &str = "bench.example";
/// Where phones believe to be. It is as long as their true address.
const INSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 70));
const WINDOW: u32 = 512;
/// How long what the daemon does behind its answers may go on.
const SETTLE: Duration = Duration::from_secs(1);

/// What the daemon counts of its pings.
const COUNTERS: [&str; 5] = ["pings_sent", "pings_answered", "pings_lost", "pings_spared", "pings_answered_late"];

/// A daemon, and all phones that it is to have.
struct Phones {
    server: Server,
    sockets: Sockets,
    /// What the bindings have taken, each.
    resident_each: f64,
    bindings: u32,
}

impl Phones {
    /// Starts a daemon that pings every so many seconds (0 for never), and registers all phones.
    fn start(args: &PingsArgs, shards: usize, interval_s: u32, troubles: &mut Troubles) -> Result<Self, Error> {
        let domain = args.server.domain.as_deref().unwrap_or(DOMAIN);
        let mut server = args.server.start_configured("none", |_| {
            format!("[domains]\nnames = [\"{domain}\"]\n[nat]\nping_interval_s = {interval_s}\n")
        })?;
        let mut sockets = Sockets::connect(server.address(), args.server.client_sockets)?;
        sockets.note_arrivals()?;
        let seen_inside = SocketAddr::new(INSIDE, server.address().port());
        let template = RegisterTemplate::new(seen_inside, domain, args.phone.instance())?;
        let count = whole_rounds(args.server.sized(args.bindings, 640), args.server.client_sockets);
        let before = server.resident_bytes()?;
        let plan = Plan {
            name: "registering",
            first: Range::Pings.first(),
            count,
            cseq: CSEQ_FIRST,
            pace: Pace::Window(WINDOW),
            answers: Answers::Sip,
        };
        let measured = measure(&mut server, &mut sockets, &template, plan)?;
        troubles.add(&measured.outcome);
        if !args.server.smoke {
            std::thread::sleep(SETTLE);
        }
        let grown = server.resident_bytes()?.saturating_sub(before);
        let [contacts] = server.counts(shards, ["contacts"])?;
        let bindings = measured.outcome.accepted as u32;
        if contacts != u64::from(bindings) {
            return Err(Error::Options("not every phone that was answered 200 has a binding"));
        }
        Ok(Self { server, sockets, resident_each: grown as f64 / f64::from(bindings.max(1)), bindings })
    }
}

/// Samples of what is measured in each round.
#[derive(Debug, Default)]
struct Samples {
    core_percent: Vec<f64>,
    process_percent: Vec<f64>,
    generator_percent: Vec<f64>,
    wait_percent: Vec<f64>,
    per_cpu_s: Vec<f64>,
    per_s: Vec<f64>,
    answered_percent: Vec<f64>,
    busiest: Vec<f64>,
    p999: Vec<f64>,
    crowded: Vec<f64>,
}

/// Runs the scenario.
pub(crate) fn run(args: &PingsArgs) -> Result<Report, Error> {
    let args = &PingsArgs { server: args.server.with_shards(1), ..args.clone() };
    let (mut report, mut troubles) = (Report::new("pings"), Troubles::default());
    let interval_s = args.server.sized(args.interval_s, 1);
    let rounds = args.server.sized(args.rounds, 1);
    let shards = args.server.shards();
    let unpinged = Phones::start(args, shards, 0, &mut troubles)?.resident_each;
    let mut phones = Phones::start(args, shards, interval_s, &mut troubles)?;
    let interval = Duration::from_secs(interval_s.into());
    // Those whose turn is in half of an interval after they have registered are spared.
    pinged::answer(&mut phones.sockets, interval + interval / 2)?;
    let after_all = phones.server.resident_bytes()?;
    let mut samples = Samples::default();
    for _ in 0..rounds {
        round(&mut phones, shards, interval, &mut samples, &mut report)?;
    }
    let grown = phones.server.resident_bytes()?.saturating_sub(after_all);
    report.set("bindings", phones.bindings.into());
    report.set("interval s", interval_s.into());
    report.set("shards", shards as u64);
    report.set("rounds", rounds.into());
    let each = phones.resident_each;
    let Samples { core_percent, process_percent, generator_percent, wait_percent, .. } = &samples;
    for figure in [
        Figure::new("shards' threads, of one core", "%", core_percent).against(target::PINGS_CORE_PERCENT),
        Figure::new("busiest 10 ms, beside its share", "times", &samples.busiest).against(target::PINGS_BUSIEST_RATIO),
        Figure::new("999 of 1,000 such windows at most", "times", &samples.p999),
        Figure::new("windows with more than twice their share", "of 1,000,000", &samples.crowded),
        Figure::new("pings and answers", "1/s", &samples.per_s),
        Figure::new("pings and answers a second of a shard's CPU", "1/s", &samples.per_cpu_s),
        Figure::new("answers that the daemon took", "%", &samples.answered_percent),
        Figure::new("shards' threads waited for a core", "%", wait_percent),
        Figure::new("daemon, all threads, of one core", "%", process_percent),
        Figure::new("generator, of one core", "%", generator_percent),
        Figure::new("resident per binding, not pinged", "bytes", &[unpinged]),
        Figure::new("resident per binding, to be pinged", "bytes", &[each]),
        Figure::new("resident per binding more after rounds", "bytes", &[grown as f64 / f64::from(phones.bindings)]),
    ] {
        report.add(figure);
    }
    troubles.report(&mut report);
    Ok(report)
}

/// One interval, in which each phone is pinged once.
fn round(
    phones: &mut Phones,
    shards: usize,
    interval: Duration,
    samples: &mut Samples,
    report: &mut Report,
) -> Result<(), Error> {
    let before = phones.server.counts(shards, COUNTERS)?;
    let (cpu_ns, own_ns) = (phones.server.cpu_ns()?, own_cpu_ns()?);
    let (times, started) = (phones.server.shard_times()?, Instant::now());
    let mut pinged = pinged::answer(&mut phones.sockets, interval)?;
    let elapsed_ns = started.elapsed().as_nanos() as f64;
    let times = phones.server.shard_times()? - times;
    let percent = |ns: u64| ns as f64 * 100.0 / elapsed_ns;
    samples.generator_percent.push(percent(own_cpu_ns()? - own_ns));
    samples.core_percent.push(percent(times.cpu_ns));
    samples.wait_percent.push(percent(times.wait_ns));
    samples.process_percent.push(percent(phones.server.cpu_ns()?.saturating_sub(cpu_ns)));
    phones.server.check_alive()?;
    let after = phones.server.counts(shards, COUNTERS)?;
    let [sent, answered, lost, spared, late] = std::array::from_fn(|at| after[at] - before[at]);
    samples.answered_percent.push(answered as f64 * 100.0 / sent.max(1) as f64);
    samples.per_s.push(pinged.count() as f64 * 1e9 / elapsed_ns);
    samples.per_cpu_s.push(pinged.count() as f64 * 1e9 / times.cpu_ns.max(1) as f64);
    let evenness = pinged.evenness(interval);
    samples.busiest.push(evenness.busiest);
    samples.p999.push(evenness.p999);
    samples.crowded.push(evenness.crowded_per_million);
    for (what, count) in [
        ("pings were lost", lost),
        ("phones were spared", spared),
        ("answers were late", late),
        ("datagrams were no pings", pinged.others),
        ("answers found no room in the kernel", pinged.refused),
    ] {
        if count > 0 {
            report.notes.push(format!("a round of {} pings: {count} {what}", pinged.count()));
        }
    }
    Ok(())
}
