//! Calls through a small record-routing proxy that forgets, misroutes or refuses on demand.

use super::*;
use crate::lines::{host_port, uri};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const CALLEES: u32 = 8;

/// A proxy that knows where each subscriber is, and what it does wrong.
struct Proxy {
    socket: UdpSocket,
    ports: Vec<u16>,
    /// Drops each message whose count is a multiple of this; 0 for none.
    drop_every: u64,
    /// Leaves out the Record-Route.
    forgetful: bool,
    /// Refuses the call of this number.
    refused: Option<u32>,
}

impl Proxy {
    fn run(&self, stop: &AtomicBool) {
        let (mut room, mut count) = ([0; 2048], 0);
        self.socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        while !stop.load(Ordering::Relaxed) {
            let Ok((length, from)) = self.socket.recv_from(&mut room) else { continue };
            count += 1;
            if self.drop_every > 0 && count % self.drop_every == 0 {
                continue;
            }
            let text = std::str::from_utf8(&room[..length]).unwrap();
            if text.starts_with("SIP/2.0") {
                self.forward_response(text);
            } else {
                self.forward_request(text, from, count);
            }
        }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    fn forward_response(&self, text: &str) {
        let (before, rest) = text.split_once("Via: ").unwrap();
        let (_, rest) = rest.split_once("\r\n").unwrap();
        let next = rest.split("SIP/2.0/UDP ").nth(1).unwrap().split(';').next().unwrap();
        self.socket.send_to(format!("{before}{rest}").as_bytes(), next).unwrap();
    }

    fn forward_request(&self, text: &str, from: SocketAddr, count: u64) {
        let message = Message::cut(text.as_bytes()).unwrap();
        let call = call_of(message).unwrap();
        let (method, rest) = text.split_once(' ').unwrap();
        let (target, rest) = rest.split_once(' ').unwrap();
        let mut added = format!("Via: SIP/2.0/UDP {};branch=z9hG4bKproxy{count}\r\n", self.address());
        let (mut target, mut rest) = (target.to_owned(), rest.to_owned());
        if let Some(route) = message.value("Route", "Route") {
            let line = format!("Route: {}\r\n", std::str::from_utf8(route).unwrap());
            rest = rest.replace(&line, "");
        } else if self.refused == Some(call.number) {
            if method == "INVITE" {
                let refusal = crate::call_message::response(message, b"SIP/2.0 404 Not Found", call, None);
                self.socket.send_to(&refusal, from).unwrap();
            }
            return;
        } else {
            let callee: usize = target[target.find('@').unwrap() - 9..][..9].parse().unwrap();
            target = format!("sip:c-{callee:09}@127.0.0.1:{}", self.ports[callee % self.ports.len()]);
            if !self.forgetful {
                added = format!("{added}Record-Route: <sip:{};lr>\r\n", self.address());
            }
        }
        let forwarded = format!("{method} {target} {}", rest.replacen("Via: ", &(added + "Via: "), 1));
        let next: SocketAddr = std::str::from_utf8(host_port(uri(target.as_bytes()))).unwrap().parse().unwrap();
        self.socket.send_to(forwarded.as_bytes(), next).unwrap();
    }
}

fn outcome_of(break_it: impl FnOnce(&mut Proxy), plan: impl FnOnce(&mut Plan)) -> Outcome {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut sockets = Sockets::connect(address, 4).unwrap();
    let ports = (0..4).map(|at| sockets.port(at)).collect();
    let mut proxy = Proxy { socket, ports, drop_every: 0, forgetful: false, refused: None };
    break_it(&mut proxy);
    let mut chosen = Plan { rate: 200, count: 40, first_callee: 0, callees: CALLEES, ring_ms: 0, hold_ms: 0 };
    plan(&mut chosen);
    let template = InviteTemplate::new(address, "127.0.0.1").unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| proxy.run(&stop));
        let outcome = run(&mut sockets, &template, chosen);
        stop.store(true, Ordering::Relaxed);
        outcome.unwrap()
    })
}

#[test]
fn every_call_completes_through_a_proxy_that_is_right() {
    let outcome = outcome_of(|_| {}, |_| {});
    assert_eq!((outcome.completed, outcome.failed.len()), (40, 0));
    assert_eq!((outcome.acknowledged, outcome.set_up.count(), outcome.routes_left), (40, 40, 0));
    assert_eq!(outcome.retransmissions, 0);
}

#[test]
fn ringing_and_holding_take_their_time_and_do_not_count_as_set_up() {
    let outcome = outcome_of(|_| {}, |plan| (plan.count, plan.ring_ms, plan.hold_ms) = (4, 150, 100));
    assert_eq!(outcome.completed, 4);
    assert!(outcome.elapsed_ns >= 250 * MS);
    assert!(outcome.set_up.quantiles().p50 < 100_000.0);
}

#[test]
fn lost_datagrams_cost_time_but_no_call() {
    let outcome = outcome_of(|proxy| proxy.drop_every = 17, |_| {});
    assert_eq!((outcome.completed, outcome.failed.len()), (40, 0));
    assert!(outcome.retransmissions > 0);
}

#[test]
fn a_call_outside_of_the_route_set_fails_with_that_reason() {
    let outcome = outcome_of(|proxy| proxy.forgetful = true, |plan| plan.count = 3);
    assert_eq!(outcome.failed, BTreeMap::from([(Failure::Dialog(WrongDialog::NotRecordRouted), 3)]));
}

#[test]
fn a_refusal_and_a_wrong_phone_are_told_apart() {
    let outcome = outcome_of(|proxy| proxy.refused = Some(2), |plan| plan.count = 4);
    assert_eq!(outcome.failed, BTreeMap::from([(Failure::Refused(404), 1)]));
    assert_eq!(outcome.completed, 3);
}
