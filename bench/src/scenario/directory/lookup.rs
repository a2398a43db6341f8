//! Calls to a phone at another home, beside calls to a phone at this one and one round trip to the store.
//!
//! The other home is a socket of the generator, its rows are written by the bare driver. One call at a time: what is
//! measured is the way of one, not what many do to each other. Between two there is a pause, since a shard to which many
//! messages have just come sleeps until more are there (`udp.coalesce_us`). A node remembers for a minute here that nobody
//! else has an AoR, so that after the first one a local call asks nobody.

use super::node::{Node, domain};
use super::{Bench, Part, first_of};
use crate::answer::status;
use crate::branch::Branch;
use crate::call_message::{Invitation, InviteTemplate, call_of, response};
use crate::error::{Doing, Error};
use crate::latency::{Latencies, Quantiles};
use crate::lines::Message;
use crate::register_message::{CSEQ_FIRST, Registration};
use crate::report::{Figure, Report};
use crate::sys::DATAGRAM_BYTES_MAX;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// Each round takes turns so often.
const TURNS: u32 = 10;
/// Phones at this home.
const LOCAL_COUNT: u32 = 64;
/// Rows that are read before anything counts: Java compiles what runs often.
const WARM_UP_READS: u32 = 60_000;
/// How long one message may be on its way.
const PATIENCE: Duration = Duration::from_secs(5);
const BUSY: &[u8] = b"SIP/2.0 486 Busy Here";
const MORE: &str = "negative_cache_ms = 60000\nlookup_deadline_ms = 5000";

/// Who calls.
struct Caller {
    socket: UdpSocket,
    port: u16,
    template: InviteTemplate,
    number: u32,
    subscriber: u32,
}

/// One of the three ways that are compared.
#[derive(Default)]
struct Series {
    quantiles: Vec<Quantiles>,
    server_us: Vec<f64>,
}

/// Runs it.
pub(super) fn run(bench: &mut Bench<'_>, report: &mut Report) -> Result<(), Error> {
    let Bench { args, cassandra, raw, .. } = bench;
    let turn = args.server.sized(args.lookups, 50).div_ceil(TURNS);
    let rounds = args.server.sized(args.rounds, 1);
    let pause = Duration::from_millis(args.pause_ms.into());
    let (domain, first) = (domain(args), first_of(Part::Lookup));
    let (remote, local) = (first..first + turn * TURNS, first + 1_000_000);
    let node = Node::start(args, Some(&cassandra.url(&raw.keyspace, "lookups")), MORE)?;
    let table = raw.table("lookups")?;
    let (home, phone) = (socket(&node)?, socket(&node)?);
    let home_name = home.local_addr().doing("reading the port of the other home")?.to_string();
    raw.write(&table, domain, remote.clone(), &home_name)?;
    for _ in 0..args.server.sized(WARM_UP_READS, 100).div_ceil(turn * TURNS) {
        raw.read(&table, domain, remote.clone())?;
    }
    register(&node, &phone, local)?;
    let mut caller = Caller::new(&node, domain, first + 2_000_000)?;
    for number in 0..LOCAL_COUNT.max(turn) {
        caller.call(local + number % LOCAL_COUNT, &phone)?;
        caller.call(remote.start + number % (turn * TURNS), &home)?;
    }

    let asked_before = node.probe.ask()?.lookups;
    let mut series: [Series; 3] = Default::default();
    for _ in 0..rounds {
        let mut latencies = [Latencies::new(), Latencies::new(), Latencies::new()];
        let mut cpu_ns = [0; 3];
        for at in 0..TURNS {
            for (way, (latencies, cpu_ns)) in latencies.iter_mut().zip(&mut cpu_ns).enumerate() {
                let before_ns = node.server.cpu_ns()?;
                for number in at * turn..(at + 1) * turn {
                    std::thread::sleep(pause);
                    let took = match way {
                        0 => raw.select(&table, domain, remote.start + number)?,
                        1 => caller.call(local + number % LOCAL_COUNT, &phone)?,
                        _ => caller.call(remote.start + number, &home)?,
                    };
                    latencies.record(0, took.as_nanos() as u64);
                }
                *cpu_ns += node.server.cpu_ns()?.saturating_sub(before_ns);
            }
        }
        for (series, (latencies, cpu_ns)) in series.iter_mut().zip(latencies.iter().zip(cpu_ns)) {
            series.quantiles.push(latencies.quantiles());
            series.server_us.push(cpu_ns as f64 / 1000.0 / f64::from(turn * TURNS));
        }
    }
    let asked = node.probe.ask()?.lookups - asked_before;
    report.set("calls of each kind in a round", u64::from(turn * TURNS));
    report.set("pause before each, ms", args.pause_ms.into());
    report_series(report, &series);
    let each = asked as f64 / f64::from(rounds * turn * TURNS);
    report.add(Figure::new("lookup: questions to the store for each global call", "questions", &[each]));
    Ok(())
}

fn report_series(report: &mut Report, series: &[Series; 3]) {
    let names = ["bare driver, one SELECT", "local call, INVITE at its phone", "global call, INVITE at the other home"];
    for (label, of) in [("p50", (|q| q.p50) as fn(&Quantiles) -> f64), ("p99", |q| q.p99)] {
        let samples: Vec<Vec<f64>> = series.iter().map(|one| one.quantiles.iter().map(of).collect()).collect();
        for (name, samples) in names.iter().zip(&samples) {
            report.add(Figure::new(format!("lookup: {name}, {label}"), "µs", samples));
        }
        let more: Vec<f64> = (0..samples[0].len()).map(|n| samples[2][n] - samples[1][n] - samples[0][n]).collect();
        report.add(Figure::new(format!("lookup: global less local less SELECT, {label}"), "µs", &more));
    }
    for (name, series) in ["local call", "global call"].iter().zip(&series[1..]) {
        report.add(Figure::new(format!("lookup: daemon, {name} (INVITE 486 ACK)"), "µs CPU", &series.server_us));
    }
    let more: Vec<f64> = series[2].server_us.iter().zip(&series[1].server_us).map(|(a, b)| a - b).collect();
    report.add(Figure::new("lookup: daemon, global less local", "µs CPU", &more));
}

fn socket(node: &Node) -> Result<UdpSocket, Error> {
    let socket = UdpSocket::bind((node.server.address().ip(), 0)).doing("binding a socket")?;
    socket.set_read_timeout(Some(PATIENCE)).doing("bounding the wait for a message")?;
    Ok(socket)
}

/// Registers the local phones from the socket `phone`, one after another.
fn register(node: &Node, phone: &UdpSocket, first: u32) -> Result<(), Error> {
    let port = phone.local_addr().doing("reading the port of a phone")?.port();
    let mut room = [0; DATAGRAM_BYTES_MAX];
    for number in 0..LOCAL_COUNT {
        let branch = Branch { phase: 0, number };
        let registration = Registration { subscriber: first + number, port, cseq: CSEQ_FIRST, branch };
        node.registers.write(&registration, &mut room);
        phone.send_to(&room[..node.registers.len()], node.server.address()).doing("registering a phone")?;
        let length = phone.recv(&mut room).doing("waiting for the answer to a REGISTER")?;
        if status(&room[..length]) != Some(200) {
            let answer = String::from_utf8_lossy(&room[..length]).into_owned();
            return Err(Error::Refused { what: "registering a phone", sent: 1, answer });
        }
    }
    Ok(())
}

impl Caller {
    fn new(node: &Node, domain: &str, subscriber: u32) -> Result<Self, Error> {
        let socket = socket(node)?;
        socket.connect(node.server.address()).doing("connecting the caller's socket")?;
        let port = socket.local_addr().doing("reading the caller's port")?.port();
        let template = InviteTemplate::new(node.server.address(), domain)?;
        Ok(Self { socket, port, template, number: 0, subscriber })
    }

    /// One call, refused by whom it reaches at the socket `at`: from the sending of the INVITE to its arrival there.
    fn call(&mut self, callee: u32, at: &UdpSocket) -> Result<Duration, Error> {
        self.number += 1;
        let call = Branch { phase: 1, number: self.number };
        let invitation = Invitation { caller: self.subscriber, callee, port: self.port, call };
        let mut room = [0; DATAGRAM_BYTES_MAX];
        self.template.write(&invitation, &mut room);
        let sent = Instant::now();
        self.socket.send(&room[..self.template.len()]).doing("sending an INVITE")?;
        let took = loop {
            let (length, from) = at.recv_from(&mut room).doing("waiting for the INVITE where it should arrive")?;
            let arrived = Instant::now();
            // An ACK may still come of the call before.
            let message = Message::cut(&room[..length]).filter(|message| message.start.starts_with(b"INVITE "));
            let Some(message) = message.filter(|message| call_of(*message) == Some(call)) else { continue };
            at.send_to(&response(message, BUSY, call, None), from).doing("refusing a call")?;
            break arrived - sent;
        };
        loop {
            let length = self.socket.recv(&mut room).doing("waiting for the answer to an INVITE")?;
            let Some(message) = Message::cut(&room[..length]).filter(|message| call_of(*message) == Some(call)) else {
                continue;
            };
            match status(&room[..length]) {
                Some(486) => {
                    let ack = self.template.ack_of_refusal(&invitation, message).unwrap_or_default();
                    self.socket.send(&ack).doing("sending an ACK")?;
                    return Ok(took);
                }
                Some(100..200) => {}
                _ => {
                    let answer = String::from_utf8_lossy(&room[..length]).into_owned();
                    return Err(Error::WrongAnswer { what: "a call was not refused by its phone".to_owned(), answer });
                }
            }
        }
    }
}
