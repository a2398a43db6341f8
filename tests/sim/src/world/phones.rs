//! What phones and callers do, and what comes back to them.

use super::{Event, Origin, Place, World};
use crate::call::{self, Call, Expected};
use crate::ledger::{Acknowledged, Contact};
use crate::phone::{self, Peer, Phone, Wanted, contact_name, user_name};
use crate::sip::{DOMAIN, Request, Text};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Who fetches bindings.
pub(super) const PROBER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2));

impl World {
    /// A phone does what it wants to next.
    pub(super) fn phone_acts(&mut self, index: usize) {
        if self.is_quiet {
            return;
        }
        let again_ms = self.draw.between(300, 12_000);
        self.agenda.put(self.now + again_ms, Event::PhoneActs(index));
        if self.phones[index].pending.is_some() {
            return;
        }
        if self.draw.happens(self.plan.nat_lost_per_mille)
            && let Some(nat) = &mut self.phones[index].nat
        {
            nat.forget();
            self.forget_flows_of(index);
            self.note(format_args!("the NAT of p{index} forgets all"));
        }
        match Phone::draw(&mut self.draw) {
            Wanted::Move => self.phones[index].home = self.draw.below(self.homes.len()),
            wanted => self.phone_wants(index, wanted),
        }
    }

    /// A phone begins to send a REGISTER.
    pub(super) fn phone_wants(&mut self, index: usize, wanted: Wanted) {
        let (user, home) = (self.phones[index].user, self.phones[index].home);
        let all = self.contacts_of(user, home);
        let Some((act, contacts, mut pending)) = self.phones[index].register(wanted, all) else { return };
        pending.number = self.ledger.begin(&contacts, index, act, self.now);
        self.note(format_args!("p{index} of u{user} at home {home}: {wanted:?}"));
        let number = pending.number;
        self.phones[index].pending = Some(pending);
        self.register_again(index, number);
    }

    /// Sends a REGISTER, again where it was sent already, or gives it up.
    pub(super) fn register_again(&mut self, index: usize, number: usize) {
        let is_stream = self.phones[index].is_stream;
        let Some(pending) = self.phones[index].pending.as_mut().filter(|pending| pending.number == number) else {
            return;
        };
        if is_stream {
            return self.register_over_flow(index, number);
        }
        let Some(again_ms) = phone::AGAIN_MS.get(pending.sent_count) else {
            let last_sent = pending.last_sent;
            self.phones[index].pending = None;
            return self.ledger.end(number, last_sent, None);
        };
        pending.sent_count += 1;
        pending.last_sent = self.now;
        let (home, bytes) = (pending.home, pending.bytes.clone());
        let from = self.send_datagram(index, self.homes[home].addr, &bytes);
        if let Some(pending) = &mut self.phones[index].pending {
            pending.is_from_one &= pending.from.is_none() || pending.from == from;
            pending.from = from;
        }
        self.agenda.put(self.now + again_ms, Event::PhoneAgain { phone: index, number });
    }

    /// Sends a REGISTER over the connection of a phone, or gives it up, and the connection with it.
    fn register_over_flow(&mut self, index: usize, number: usize) {
        let Some(pending) = &mut self.phones[index].pending else { return };
        pending.sent_count += 1;
        let (home, bytes, is_first) = (pending.home, pending.bytes.clone(), pending.sent_count == 1);
        let flow = self.flow_to(index, home);
        if !is_first {
            return self.close_by_phone(flow);
        }
        self.send_by_phone(flow, &bytes);
        let wait_ms = phone::AGAIN_MS.iter().sum::<u64>();
        self.agenda.put(self.now + wait_ms, Event::PhoneAgain { phone: index, number });
    }

    fn phone_sends_to(&mut self, index: usize, to: Peer, bytes: &[u8]) {
        match to {
            Peer::At(to) => _ = self.send_datagram(index, to, bytes),
            Peer::Flow(flow) => self.send_by_phone(flow, bytes),
        }
    }

    /// A phone sends a datagram; gives where that seems to come from.
    fn send_datagram(&mut self, index: usize, to: SocketAddr, bytes: &[u8]) -> Option<SocketAddr> {
        let from = self.phones[index].sends(to, self.now)?;
        self.send_from_outside(to, from, index, bytes);
        Some(from)
    }

    fn send_from_outside(&mut self, to: SocketAddr, from: SocketAddr, side: usize, bytes: &[u8]) {
        let origin = Origin { place: Place::Outside, disk: 0, is_backed: false, side };
        self.send(to, from, origin, bytes);
    }

    pub(super) fn phone_hears(&mut self, index: usize, text: &Text, from: Peer, origin: Origin) {
        if text.status().is_some() {
            return self.registered(index, text, origin);
        }
        let (answers, is_new) = self.phones[index].receive(text, from);
        for answer in answers {
            self.phone_sends_to(index, from, &answer);
        }
        if is_new {
            let (call_id, branch) = (text.field("Call-ID").unwrap_or_default().to_owned(), text.branch().to_owned());
            if let Some(call) = self.call_mut(&call_id) {
                call.rung.push(text.user().to_owned());
            }
            // Later than any other home is asked, where the calls are counted.
            let at = self.now + self.draw.between(if self.is_quiet { 500 } else { 50 }, 1500);
            self.agenda.put(at, Event::PhoneAnswers { phone: index, call_id, branch });
        }
    }

    fn registered(&mut self, index: usize, text: &Text, origin: Origin) {
        let is_it = |pending: &&mut phone::Pending| {
            text.field("Call-ID") == Some(&*pending.call_id) && text.cseq() == pending.cseq
        };
        let Some(pending) = self.phones[index].pending.as_mut().filter(is_it) else { return };
        let (number, last_sent, home) = (pending.number, pending.last_sent, pending.home);
        let from = pending.from.filter(|_| pending.is_from_one);
        let (Some(status), Place::Node(node)) = (text.status(), origin.place) else { return };
        if status < 200 {
            return;
        }
        let last_sent = if self.phones[index].is_stream { self.now } else { last_sent };
        self.phones[index].pending = None;
        let by = Acknowledged { at: self.now, node, disk: origin.disk, is_backed: origin.is_backed };
        self.ledger.end(number, last_sent, (status == 200).then_some(by));
        if status == 200 {
            self.phones[index].note_registered(home, from, self.now);
            if let Some(flow) = self.phones[index].flows.get(&home).copied() {
                self.phones[index].is_bound_over.insert(home, flow);
            }
        }
        if status == 500 {
            self.violated(format!("order: p{index} was refused its latest CSeq: {}", text.start()));
        }
    }

    pub(super) fn phone_answers(&mut self, index: usize, call_id: &str, branch: &str) {
        let Some((bytes, to)) = self.phones[index].answer(call_id, branch) else { return };
        self.phone_sends_to(index, to, &bytes);
        let (call_id, branch) = (call_id.to_owned(), branch.to_owned());
        self.agenda.put(self.now + 1000, Event::PhoneAnswers { phone: index, call_id, branch });
    }

    fn call_mut(&mut self, call_id: &str) -> Option<&mut Call> {
        let number: usize = call_id.strip_prefix("call")?.parse().ok()?;
        self.calls.get_mut(number)
    }

    /// A request has come from node to node.
    pub(super) fn note_crossing(&mut self, text: &Text, home: usize) {
        if text.status().is_some() || text.method() != "INVITE" {
            return;
        }
        let branch = (home, text.branch().to_owned());
        let count_max = 8 * self.homes.len();
        let Some(call) = self.call_mut(text.field("Call-ID").unwrap_or_default()) else { return };
        if !call.crossings.contains(&branch) {
            call.crossings.push(branch);
            if call.crossings.len() > count_max {
                let what = format!("loops: call {} goes from home to home: {:?}", call.number, call.crossings);
                self.violated(what);
            }
        }
    }

    /// Somebody calls a user.
    pub(super) fn call(&mut self, user: usize, home: usize, subject: &str, expected: Expected) {
        let number = self.calls.len();
        let mut call = Call::new(number, user_name(user), home, subject, expected);
        call.began_at = self.now;
        self.calls.push(call);
        self.call_again(number);
    }

    pub(super) fn call_again(&mut self, index: usize) {
        let call = &mut self.calls[index];
        if call.has_response {
            return;
        }
        let Some(again_ms) = call::AGAIN_MS.get(call.sent_count) else { return };
        call.sent_count += 1;
        let (home, from, bytes) = (call.home, call.addr, call.invite.clone());
        self.send_from_outside(self.homes[home].addr, from, index, &bytes);
        self.agenda.put(self.now + again_ms, Event::CallAgain(index));
    }

    pub(super) fn caller_hears(&mut self, index: usize, text: &Text) {
        if text.status() == Some(200) && text.method() == "INVITE" {
            let at = self.now + self.draw.between(500, 20_000);
            self.agenda.put(at, Event::HangUp(index));
        }
        if let Some(ack) = self.calls[index].receive(text) {
            self.calls[index].answered_at.get_or_insert(self.now);
            let (home, from) = (self.calls[index].home, self.calls[index].addr);
            self.send_from_outside(self.homes[home].addr, from, index, &ack);
        }
    }

    /// A caller ends a call that was answered.
    pub(super) fn hang_up(&mut self, index: usize) {
        let Some(bye) = self.calls[index].bye() else { return };
        let (home, from) = (self.calls[index].home, self.calls[index].addr);
        self.send_from_outside(self.homes[home].addr, from, index, &bye);
    }

    pub(super) fn call_sometimes(&mut self) {
        if self.is_quiet {
            return;
        }
        let again_ms = self.draw.between(1000, 8000);
        self.agenda.put(self.now + again_ms, Event::NewCall);
        let (user, home) = (self.draw.below(self.plan.users_count), self.draw.below(self.homes.len()));
        let phone = self.draw.below(self.phones.len());
        let answering = contact_name(Contact { home, phone });
        let subject = if self.draw.happens(500) { "decline" } else { &*answering };
        self.call(user, home, subject, Expected::Anything);
    }

    pub(super) fn probe_sometimes(&mut self) {
        if self.is_quiet {
            return;
        }
        let again_ms = self.draw.between(200, 2500);
        self.agenda.put(self.now + again_ms, Event::Probe);
        let (home, user) = (self.draw.below(self.homes.len()), self.draw.below(self.plan.users_count));
        self.probe(home, user);
    }

    /// Fetches the bindings of a user at a home, once.
    pub(super) fn probe(&mut self, home: usize, user: usize) {
        let number = self.probes.len();
        self.probes.push(super::Probe { home, user, sent_at: self.now });
        let from = SocketAddr::new(PROBER, 10_000 + (number % 50_000) as u16);
        let name = user_name(user);
        let bytes = Request {
            transport: "UDP",
            method: "REGISTER",
            uri: &format!("sip:{DOMAIN}"),
            sent_by: &from.to_string(),
            branch: &format!("probe{number}"),
            from: &name,
            to: &name,
            to_tag: "",
            call_id: &format!("probe{number}"),
            cseq: 1,
            more: "",
        }
        .write();
        self.send_from_outside(self.homes[home].addr, from, number, &bytes);
    }

    pub(super) fn prober_hears(&mut self, text: &Text, origin: Origin) {
        let call_id = text.field("Call-ID").unwrap_or_default();
        let Some(number) = call_id.strip_prefix("probe").and_then(|number| number.parse::<usize>().ok()) else {
            return;
        };
        let (Some(200), Place::Node(node)) = (text.status(), origin.place) else { return };
        let found: Vec<&str> = text.fields("Contact").flat_map(|line| line.split(',')).collect();
        let super::Probe { home, user, sent_at } = self.probes[number];
        for contact in self.contacts_of(user, home) {
            let name = format!("<sip:{}@", contact_name(contact));
            let is_found = found.iter().any(|value| value.contains(&name));
            self.check_contact(contact, node, sent_at, is_found);
        }
    }
}
