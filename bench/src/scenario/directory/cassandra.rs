//! New AoRs as fast as they register, published into Cassandra, in turn with the bare driver that writes rows of the
//! same shape one by one.

use super::node::{Node, domain};
use super::publishing::{Published, publish};
use super::{Bench, Part, cpu_ns, first_of};
use crate::answer::Answers;
use crate::error::Error;
use crate::pace::Pace;
use crate::phase::own_cpu_ns;
use crate::register_load::{Plan, whole_rounds};
use crate::register_message::CSEQ_FIRST;
use crate::report::{Figure, Report};
use crate::target;
use std::time::Duration;

/// Rows that the bare driver writes before anything counts: Java compiles what runs often.
const WARM_UP_ROWS: u32 = 300_000;
/// How long the store is left alone between two turns.
const SETTLE: Duration = Duration::from_secs(1);

/// What the rounds of one writer came to.
#[derive(Default)]
struct Series {
    per_s: Vec<f64>,
    writer_us: Vec<f64>,
    store_us: Vec<f64>,
}

/// Runs it.
pub(super) fn run(bench: &mut Bench<'_>, report: &mut Report) -> Result<(), Error> {
    let Bench { args, cassandra, raw, troubles } = bench;
    let count = whole_rounds(args.server.sized(args.aors, 1600), args.server.client_sockets);
    let rounds = args.server.sized(args.rounds, 1);
    let (domain, first) = (domain(args), first_of(Part::Cassandra));
    let mut node = Node::start(args, Some(&cassandra.url(&raw.keyspace, "published")), "")?;
    let table = raw.table("raw")?;
    raw.write(&raw.table("warm_up")?, domain, first..first + args.server.sized(WARM_UP_ROWS, 1000), "127.0.0.1")?;

    let (mut rows, mut daemon) = (Series::default(), Series::default());
    let mut published: Vec<Published> = Vec::new();
    let settle = if args.server.smoke { Duration::ZERO } else { SETTLE };
    // The first round warms up.
    for round in 0..=rounds {
        let first = first + round * count;
        std::thread::sleep(settle);
        let (own_before_ns, store_before_ns) = (own_cpu_ns()?, cpu_ns(cassandra)?);
        let took = raw.write(&table, domain, first..first + count, "127.0.0.1")?;
        let (own_ns, store_ns) = (own_cpu_ns()? - own_before_ns, cpu_ns(cassandra)?);
        if round > 0 {
            rows.add(f64::from(count), took.as_secs_f64(), own_ns, store_ns.zip(store_before_ns));
        }

        std::thread::sleep(settle);
        let pace = Pace::Window(args.window);
        let plan = Plan { name: "registering", first, count, cseq: CSEQ_FIRST, pace, answers: Answers::Sip };
        let store_before_ns = cpu_ns(cassandra)?;
        let round_of_daemon = publish(&mut node, plan, true, troubles)?;
        let store_ns = cpu_ns(cassandra)?;
        if round > 0 {
            let Published { left, draining, accepted, cpu_ns, .. } = round_of_daemon;
            daemon.add(left as f64, draining.as_secs_f64(), 0, None);
            let each = |ns: u64| ns as f64 / 1000.0 / accepted.max(1) as f64;
            *daemon.writer_us.last_mut().unwrap_or(&mut 0.0) = each(cpu_ns);
            daemon.store_us.extend(store_ns.zip(store_before_ns).map(|(after, before)| each(after - before)));
            published.push(round_of_daemon);
        }
    }
    report.set("new AoRs a round, Cassandra", u64::from(count));
    let mut add = |name: &str, unit, samples: &[f64], target| {
        report.add(Figure::new(format!("Cassandra, new AoRs, saturated: {name}"), unit, samples).against(target));
    };
    let of = |of: fn(&Published) -> f64| -> Vec<f64> { published.iter().map(of).collect() };
    let against_raw = |samples: &[f64]| -> Vec<f64> {
        samples.iter().zip(&rows.per_s).map(|(daemon, raw)| daemon / raw.max(1e-9)).collect()
    };
    let whole = of(Published::whole_per_s);
    add("bare driver, one row a request", "rows/s", &rows.per_s, None);
    add("registered", "AoRs/s", &of(|round| round.registered_per_s), None);
    add("from the first REGISTER to the last row", "s", &of(|round| round.whole.as_secs_f64()), None);
    add("the same", "rows/s", &whole, None);
    add("the same / bare driver", "times", &against_raw(&whole), None);
    add("rows left when the last had registered", "rows", &of(|round| round.left as f64), None);
    add("those, written", "rows/s", &daemon.per_s, None);
    add("those, written / bare driver", "times", &against_raw(&daemon.per_s), target::PUBLISHING_RAW_RATIO);
    add("daemon, REGISTER and row", "µs CPU", &daemon.writer_us, None);
    add("bare driver, row", "µs CPU", &rows.writer_us, None);
    add("Cassandra, row of the daemon", "µs CPU", &daemon.store_us, None);
    add("Cassandra, row of the bare driver", "µs CPU", &rows.store_us, None);
    add("writes that failed", "writes", &[node.probe.ask()?.write_failures as f64], None);
    Ok(())
}

impl Series {
    fn add(&mut self, count: f64, took_s: f64, own_ns: u64, store_ns: Option<(u64, u64)>) {
        self.per_s.push(count / took_s.max(1e-9));
        self.writer_us.push(own_ns as f64 / 1000.0 / count.max(1.0));
        self.store_us.extend(store_ns.map(|(after, before)| (after - before) as f64 / 1000.0 / count.max(1.0)));
    }
}
