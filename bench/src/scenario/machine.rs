//! `machine`: the pure shard alone, without a socket, a runtime or a log.
//!
//! Refreshes are written in batches outside of the measured stretch, as a receive of 64 datagrams would leave
//! them, and handed to the shard as the runtime does: a glance at each, a look ahead for all, each to
//! `receive_glanced`, then one `handle_timeout`, then the outbox is emptied. Time goes on as at 30,000 requests a
//! second, so that what the shard remembers for a while is also forgotten at the usual pace. Then come calls: see [`super::machine_call`]; then
//! all bindings are given to an empty shard: see [`super::machine_sync`].

use super::machine_call::{CallStretch, Calls};
use super::machine_sync::{self, SyncStretch};
use crate::answer::status;
use crate::branch::Branch;
use crate::cli::MachineArgs;
use crate::error::Error;
use crate::register_load::coprime_stride;
use crate::register_message::{CSEQ_FIRST, Instance, RegisterTemplate, Registration, check_answer};
use crate::report::{Figure, Report};
use crate::sys::{BATCH_COUNT_MAX, allocations_count};
use crate::target;
use sipfed_proto::{
    FlowToken, Glance, Listener, Now, Outbox, Place, Settings, Shard, ShardIndex, Source, Transport, Verdict,
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

pub(super) const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15_060);
pub(super) const PHONE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000);
pub(super) const START_UNIX_MS: u64 = 1_800_000_000_000;
pub(super) const NOW: Now = Now::from_unix_ms(START_UNIX_MS);
const REQUESTS_PER_MS: u64 = 30;
/// CSeq has four digits in the template.
const PASSES_MAX: u64 = 8000;

/// What one stretch of requests took.
#[derive(Clone, Copy, Default)]
struct Stretch {
    requests: u64,
    receive_ns: u64,
    scan_ns: u64,
    allocations: u64,
}

pub(super) struct Machine {
    pub(super) shard: Shard,
    pub(super) out: Outbox,
    source: Source,
    index: sipfed_sip::Index,
    template: RegisterTemplate,
    rooms: Vec<Vec<u8>>,
    glances: Vec<Glance>,
    registrations: Vec<Registration>,
    pub(super) aors: u32,
    stride: u64,
    /// Requests so far.
    pub(super) done: u64,
}

/// Runs the scenario.
pub(crate) fn run(args: &MachineArgs) -> Result<Report, Error> {
    let sized = |usual: u32, tiny: u32| if args.smoke { usual.min(tiny) } else { usual };
    let (aors, iterations, rounds) = (sized(args.aors, 640), sized(args.iterations, 6400), sized(args.rounds, 1));
    let requests = u64::from(iterations) * u64::from(rounds) + 2 * u64::from(aors);
    if requests / u64::from(aors) > PASSES_MAX {
        return Err(Error::Options("every AoR would be refreshed more than 8000 times: raise --aors"));
    }
    let mut machine = Machine::new(aors, RegisterTemplate::new(LOCAL, &LOCAL.to_string(), args.phone.instance())?);
    let new = machine.stretch(u64::from(aors))?;
    // One whole pass warms caches and lets every buffer grow to its size.
    machine.stretch(u64::from(aors))?;
    let stretches: Vec<Stretch> =
        (0..rounds).map(|_| machine.stretch(u64::from(iterations))).collect::<Result<_, _>>()?;

    let mut calls = Calls::new(&mut machine)?;
    // As many as are held in memory at a time warm up.
    calls.stretch(u64::from(sized(args.calls, 64)))?;
    let call_stretches: Vec<CallStretch> =
        (0..rounds).map(|_| calls.stretch(u64::from(sized(args.calls, 64)))).collect::<Result<_, _>>()?;
    let sync_stretches: Vec<SyncStretch> =
        (0..rounds).map(|_| machine_sync::stretch(&machine.shard)).collect::<Result<_, _>>()?;

    let mut report = Report::new("machine");
    report.set("AoRs", u64::from(aors));
    report.set("iterations", u64::from(iterations));
    report.set("calls", u64::from(sized(args.calls, 64)));
    report.set("rounds", u64::from(rounds));
    report.set("request bytes", machine.template.len() as u64);
    let per_request = |of: fn(&Stretch) -> u64| -> Vec<f64> {
        stretches.iter().map(|stretch| of(stretch) as f64 / stretch.requests.max(1) as f64).collect()
    };
    let refresh_ns = per_request(|stretch| stretch.receive_ns);
    report.add(Figure::new("refresh, pure shard", "ns", &refresh_ns).against(target::MACHINE_REFRESH_NS));
    let allocations = per_request(|stretch| stretch.allocations);
    let allocations = Figure::new("refresh, allocations", "per request", &allocations);
    report.add(allocations.against(target::MACHINE_REFRESH_ALLOCATIONS));
    report.add(Figure::new("scan alone", "ns", &per_request(|stretch| stretch.scan_ns)));
    let new_requests = new.requests.max(1) as f64;
    report.add(Figure::new("new binding, pure shard", "ns", &[new.receive_ns as f64 / new_requests]));
    report.add(Figure::new("new binding, allocations", "per request", &[new.allocations as f64 / new_requests]));
    let per_call = |of: fn(&CallStretch) -> u64| -> Vec<f64> {
        call_stretches.iter().map(|stretch| of(stretch) as f64 / stretch.calls.max(1) as f64).collect()
    };
    report.add(Figure::new("call, pure shard", "ns", &per_call(|stretch| stretch.ns)));
    report.add(Figure::new("call, allocations", "per call", &per_call(|stretch| stretch.allocations)));
    let per_binding = |of: fn(&SyncStretch) -> u64| -> Vec<f64> {
        sync_stretches.iter().map(|stretch| of(stretch) as f64 / stretch.bindings.max(1) as f64).collect()
    };
    report.add(Figure::new("binding given to a backup, pure shard", "ns", &per_binding(|stretch| stretch.give_ns)));
    report.add(Figure::new("binding merged by a backup, pure shard", "ns", &per_binding(|stretch| stretch.merge_ns)));
    let merge_allocations = per_binding(|stretch| stretch.merge_allocations);
    report.add(Figure::new("binding merged by a backup, allocations", "per binding", &merge_allocations));
    Ok(report)
}

/// A shard that owns all subscribers and has none yet.
pub(super) fn empty_shard() -> Shard {
    let settings = Settings {
        listeners: vec![Listener { transport: Transport::Udp, addr: LOCAL }],
        own_addresses: vec![LOCAL.ip()],
        ..Settings::default()
    };
    Shard::new(Arc::new(settings), Place { index: ShardIndex(0), count: 1 }, [7; 32], NOW)
}

/// Bytes that one request makes the shard write down for its log.
pub(super) struct OperationBytes {
    pub(super) new: f64,
    pub(super) refresh: f64,
}

/// What the pure shard writes down for a new binding and for its refresh.
pub(super) fn operation_bytes(instance: Instance) -> Result<OperationBytes, Error> {
    let aors = BATCH_COUNT_MAX as u32;
    let mut machine = Machine::new(aors, RegisterTemplate::new(LOCAL, &LOCAL.to_string(), instance)?);
    // A generation that began before all of them: a refresh need not write its binding whole.
    machine.shard.keep_journal(Now::from_unix_ms(START_UNIX_MS - 1000));
    let mut bytes_of_pass = || -> Result<f64, Error> {
        machine.stretch(u64::from(aors))?;
        let bytes = machine.shard.journal().len();
        machine.shard.clear_journal();
        Ok(bytes as f64 / f64::from(aors))
    };
    Ok(OperationBytes { new: bytes_of_pass()?, refresh: bytes_of_pass()? })
}

impl Machine {
    fn new(aors: u32, template: RegisterTemplate) -> Self {
        Self {
            shard: empty_shard(),
            out: Outbox::new(),
            source: Source { transport: Transport::Udp, remote: PHONE, local: LOCAL, flow: FlowToken::NONE },
            index: sipfed_sip::Index::new(),
            rooms: vec![vec![0; template.len()]; BATCH_COUNT_MAX],
            glances: Vec::with_capacity(BATCH_COUNT_MAX),
            registrations: Vec::with_capacity(BATCH_COUNT_MAX),
            template,
            aors,
            stride: coprime_stride(aors),
            done: 0,
        }
    }

    fn stretch(&mut self, requests: u64) -> Result<Stretch, Error> {
        let mut stretch = Stretch { requests, ..Stretch::default() };
        let mut left = requests;
        while left > 0 {
            let count = left.min(BATCH_COUNT_MAX as u64) as usize;
            self.write_batch(count);
            self.scan_batch(count, &mut stretch);
            self.handle_batch(count, &mut stretch);
            self.check_batch(count)?;
            self.out.clear();
            self.done += count as u64;
            left -= count as u64;
        }
        Ok(stretch)
    }

    fn write_batch(&mut self, count: usize) {
        self.registrations.clear();
        for (at, room) in self.rooms[..count].iter_mut().enumerate() {
            let number = self.done + at as u64;
            let registration = Registration {
                subscriber: (number * self.stride % u64::from(self.aors)) as u32,
                port: PHONE.port(),
                cseq: CSEQ_FIRST + (number / u64::from(self.aors)) as u32,
                branch: Branch { phase: (number >> 32) as u16, number: number as u32 },
            };
            self.template.write(&registration, room);
            self.registrations.push(registration);
        }
    }

    fn scan_batch(&mut self, count: usize, stretch: &mut Stretch) {
        let started = Instant::now();
        for room in &self.rooms[..count] {
            std::hint::black_box(sipfed_sip::scan(room, &mut self.index).is_ok());
        }
        stretch.scan_ns += started.elapsed().as_nanos() as u64;
    }

    fn handle_batch(&mut self, count: usize, stretch: &mut Stretch) {
        let now = Now::from_unix_ms(START_UNIX_MS + self.done / REQUESTS_PER_MS);
        let allocations_before = allocations_count();
        let started = Instant::now();
        self.glances.clear();
        self.glances.extend(self.rooms[..count].iter().map(|room| self.shard.glance(room)));
        self.shard.foresee(self.glances.iter().copied());
        for (room, glance) in self.rooms[..count].iter().zip(&self.glances) {
            let verdict = self.shard.receive_glanced(room, *glance, &self.source, now, &mut self.out);
            debug_assert_eq!(verdict, Verdict::Handled, "there is one shard");
        }
        self.shard.handle_timeout(now, &mut self.out);
        stretch.receive_ns += started.elapsed().as_nanos() as u64;
        stretch.allocations += allocations_count() - allocations_before;
    }

    /// Every request has its 200, in order; the first of a batch is read with rsip now and then.
    fn check_batch(&self, count: usize) -> Result<(), Error> {
        let answers = self.out.iter().filter(|(_, bytes)| status(bytes) == Some(200)).count();
        let first = self.out.iter().next().map(|(_, bytes)| bytes);
        match first {
            Some(first) if answers == count && self.out.len() == count => {
                let sampled = self.done.is_multiple_of(BATCH_COUNT_MAX as u64 * 100);
                if sampled { check_answer(first, &self.registrations[0]) } else { Ok(()) }
            }
            _ => Err(Error::WrongAnswer {
                what: format!(
                    "{count} requests to the shard led to {answers} times 200 in {} messages",
                    self.out.len()
                ),
                answer: String::from_utf8_lossy(first.unwrap_or_default()).into_owned(),
            }),
        }
    }
}
