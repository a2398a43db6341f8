//! INVITEs that wait for a frozen store: what memory each takes, that all are answered, and that the memory is used again.
//!
//! Each INVITE is for another AoR that nobody has registered here. As long as the deadline of a lookup has not passed for
//! the first of them, nobody knows that the store is away, and all of them wait; memory is read then. Afterwards the
//! breaker opens, and those that still wait are answered 480 at once.

use super::node::{Node, domain};
use super::{Bench, Part, first_of};
use crate::answer::status;
use crate::branch::Branch;
use crate::call_message::{Invitation, InviteTemplate, call_of};
use crate::error::Error;
use crate::lines::Message;
use crate::pace::Schedule;
use crate::report::{Figure, Report};
use crate::resend::{Due, ResendQueues};
use crate::sockets::Sockets;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The longest that there is, and a request to the store that takes longer.
const MORE: &str = "lookup_deadline_ms = 5000\ntimeout_ms = 60000\nnegative_cache_ms = 0\nstale_cache_s = 0";
/// When memory is read at the latest: before the first deadline.
const READ_AT_NS: u64 = 4_700_000_000;
/// All INVITEs are sent within this time.
const SENDING_S: u32 = 4;
/// INVITEs before anything counts.
const WARM_UP_COUNT: u32 = 640;
const ROUNDS_COUNT_MAX: u32 = 3;
/// What has not been answered after this time is lost: RFC 3261's Timer H, for which a refusal is sent again, and the
/// deadline.
const PATIENCE_NS: u64 = 40_000_000_000;
/// How long the store and the transactions may take to come to rest.
const QUIET_PATIENCE: Duration = Duration::from_secs(90);
/// How long a transaction is kept after its ACK (RFC 3261's Timer I), and a little more; it is not counted as open then.
const KEPT: Duration = Duration::from_secs(7);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unsent,
    Sent,
    Trying,
    Ended,
    /// Nothing at all has come back.
    Lost,
}

/// What came of a round.
#[derive(Debug, Default)]
struct Outcome {
    /// Answered 100 and nothing else when memory was read.
    parked: u64,
    resident_bytes: u64,
    /// Final responses, by status.
    answered: BTreeMap<u16, u64>,
    lost: u64,
    retransmissions: u64,
    /// From the first INVITE to the last final response.
    took_s: f64,
}

struct Flood<'a> {
    sockets: &'a mut Sockets,
    template: &'a InviteTemplate,
    phase: u16,
    first: u32,
    states: Vec<State>,
    resend: ResendQueues,
    started_ns: u64,
    sent: u32,
    ended: u32,
    outcome: Outcome,
}

/// Runs it.
pub(super) fn run(bench: &mut Bench<'_>, report: &mut Report) -> Result<(), Error> {
    let Bench { args, cassandra, raw, .. } = bench;
    let count = args.server.sized(args.parked, 640);
    let rounds = args.server.sized(args.rounds.min(ROUNDS_COUNT_MAX), 2);
    let transactions_max = args.parked.max(1000);
    let more = format!("{MORE}\n[proxy]\ntransactions_per_shard_max = {transactions_max}");
    let mut node = Node::start(args, Some(&cassandra.url(&raw.keyspace, "parked")), &more)?;
    let template = InviteTemplate::new(node.server.address(), domain(args))?;
    let first = first_of(Part::Parked);
    Flood::run(&mut node, &template, first, WARM_UP_COUNT)?;
    wait_until_quiet(&node, args.server.shards(), args.server.smoke)?;

    let before = node.server.resident_bytes()?;
    let mut outcomes = Vec::new();
    for round in 1..=rounds {
        let frozen = cassandra.freeze()?;
        outcomes.push(Flood::run(&mut node, &template, first + round * count.max(WARM_UP_COUNT), count)?);
        drop(frozen);
        wait_until_quiet(&node, args.server.shards(), args.server.smoke)?;
    }
    let after = node.server.resident_bytes()?;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    report.set("INVITEs, parked", u64::from(count));
    report.set("INVITE bytes", template.len() as u64);
    report.set("transactions per shard at most, parked", u64::from(transactions_max));
    report.add(Figure::new("parked: resident before", "MiB", &[mib(before)]));
    let mut peak = before;
    for (round, outcome) in outcomes.iter().enumerate() {
        let name = |what: &str| format!("parked, round {}: {what}", round + 1);
        report.add(Figure::new(name("INVITEs that wait"), "INVITEs", &[outcome.parked as f64]));
        report.add(Figure::new(name("resident then"), "MiB", &[mib(outcome.resident_bytes)]));
        let grown = outcome.resident_bytes.saturating_sub(peak) as f64 / outcome.parked.max(1) as f64;
        let what = if round == 0 { "resident for each" } else { "more than before, for each" };
        report.add(Figure::new(name(what), "bytes", &[grown]));
        let answered: u64 = outcome.answered.values().sum();
        report.add(Figure::new(name("answered"), "INVITEs", &[answered as f64]));
        report.add(Figure::new(name("never answered"), "INVITEs", &[outcome.lost as f64]));
        report.add(Figure::new(name("sent again"), "INVITEs", &[outcome.retransmissions as f64]));
        report.add(Figure::new(name("first INVITE to last answer"), "s", &[outcome.took_s]));
        let statuses: Vec<String> =
            outcome.answered.iter().map(|(status, count)| format!("{count} with {status}")).collect();
        report.notes.push(format!("parked, round {}: answered {}", round + 1, statuses.join(", ")));
        peak = peak.max(outcome.resident_bytes);
    }
    report.add(Figure::new("parked: resident after", "MiB", &[mib(after)]));
    Ok(())
}

/// Until the store answers and every transaction is forgotten.
fn wait_until_quiet(node: &Node, shards: usize, smoke: bool) -> Result<(), Error> {
    node.probe.wait_until("the store's return", QUIET_PATIENCE, |state| state.is_up)?;
    let started = Instant::now();
    while node.server.open_transactions(shards)? > 0 {
        if started.elapsed() > QUIET_PATIENCE {
            return Err(Error::Options("transactions of the daemon do not end"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    std::thread::sleep(if smoke { Duration::ZERO } else { KEPT });
    Ok(())
}

impl<'a> Flood<'a> {
    /// Sends `count` INVITEs, each for another subscriber, and waits for their answers.
    fn run(node: &mut Node, template: &'a InviteTemplate, first: u32, count: u32) -> Result<Outcome, Error> {
        let Node { sockets, server, .. } = node;
        let mut flood = Flood {
            phase: sockets.next_phase(),
            started_ns: sockets.now_ns(),
            sockets,
            template,
            first,
            states: vec![State::Unsent; count as usize],
            resend: ResendQueues::default(),
            sent: 0,
            ended: 0,
            outcome: Outcome::default(),
        };
        let schedule = Schedule::new(count.div_ceil(SENDING_S));
        let mut is_read = false;
        while flood.ended < count {
            let now_ns = flood.sockets.now_ns();
            let mut wake_ns = flood.started_ns + READ_AT_NS;
            while flood.sent < count {
                let due_ns = flood.started_ns + schedule.due_ns(flood.sent);
                if due_ns > now_ns {
                    wake_ns = wake_ns.min(due_ns);
                    break;
                }
                flood.states[flood.sent as usize] = State::Sent;
                flood.resend.sent(flood.sent, due_ns);
                flood.invite(flood.sent)?;
                flood.sent += 1;
            }
            flood.send_again(now_ns)?;
            wake_ns = wake_ns.min(flood.resend.next_ns().unwrap_or(u64::MAX));
            if !is_read && now_ns >= flood.started_ns + READ_AT_NS {
                is_read = true;
                flood.outcome.parked = flood.states.iter().filter(|state| **state == State::Trying).count() as u64;
                flood.outcome.resident_bytes = server.resident_bytes()?;
            }
            if is_read {
                wake_ns = now_ns + 100_000_000;
            }
            if now_ns > flood.started_ns + PATIENCE_NS {
                break;
            }
            flood.sockets.wait_until(wake_ns)?;
            while let Some((socket, count)) = flood.sockets.receive()? {
                for at in 0..count {
                    flood.take(socket, at)?;
                }
            }
        }
        server.check_alive()?;
        let Flood { sockets, states, started_ns, mut outcome, .. } = flood;
        outcome.took_s = (sockets.now_ns() - started_ns) as f64 / 1e9;
        outcome.lost = states.iter().filter(|state| **state != State::Ended).count() as u64;
        Ok(outcome)
    }

    fn invitation(&self, number: u32) -> Invitation {
        let port = self.sockets.port(number as usize % self.sockets.count());
        let call = Branch { phase: self.phase, number };
        Invitation { caller: self.first + number, callee: self.first + number, port, call }
    }

    fn invite(&mut self, number: u32) -> Result<(), Error> {
        self.template.write(&self.invitation(number), self.sockets.outgoing.room(0));
        self.sockets.outgoing.set_length(0, self.template.len());
        self.sockets.send(number as usize % self.sockets.count(), 1)
    }

    /// Timer A of RFC 3261 §17.1.1.2, until a provisional response comes.
    fn send_again(&mut self, now_ns: u64) -> Result<(), Error> {
        loop {
            let states = &self.states;
            match self.resend.pop(now_ns, |number| states[number as usize] != State::Sent) {
                Some(Due::Resend(number)) => {
                    self.outcome.retransmissions += 1;
                    self.invite(number)?;
                }
                Some(Due::GiveUp(number)) => {
                    self.states[number as usize] = State::Lost;
                    self.ended += 1;
                }
                None => return Ok(()),
            }
        }
    }

    /// One received response; a final one is acknowledged whenever it comes (RFC 3261 §17.1.1.2).
    fn take(&mut self, socket: usize, at: usize) -> Result<(), Error> {
        let datagram = self.sockets.incoming.datagram(at);
        let (Some(status), Some(message)) = (status(datagram), Message::cut(datagram)) else { return Ok(()) };
        let Some(call) = call_of(message).filter(|call| call.phase == self.phase) else { return Ok(()) };
        let invitation = self.invitation(call.number);
        let Some(state) = self.states.get_mut(call.number as usize) else { return Ok(()) };
        if status < 200 {
            if *state == State::Sent {
                *state = State::Trying;
            }
            return Ok(());
        }
        if *state != State::Ended {
            self.ended += u32::from(*state != State::Lost);
            *state = State::Ended;
            *self.outcome.answered.entry(status).or_default() += 1;
        }
        let ack = self.template.ack_of_refusal(&invitation, message).unwrap_or_default();
        self.sockets.outgoing.room(0)[..ack.len()].copy_from_slice(&ack);
        self.sockets.outgoing.set_length(0, ack.len());
        self.sockets.send(socket, 1)
    }
}
