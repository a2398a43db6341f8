//! Datagrams, which may be lost, doubled and overtaken.

use super::{Event, Origin, Place, World};
use crate::ledger::Contact;
use crate::phone::Peer;
use crate::sip::Text;
use crate::world::Defect;
use sipfed_proto::{FlowToken, Source, Transport};
use std::net::{IpAddr, SocketAddr};

impl World {
    /// Sends a datagram on its way.
    pub(super) fn send(&mut self, to: SocketAddr, from: SocketAddr, origin: Origin, bytes: &[u8]) {
        if let (Place::Node(node), Some(home)) = (origin.place, self.home_at(to.ip())) {
            self.check_left_out(node, home, bytes);
        } else if let Place::Node(node) = origin.place {
            self.check_ping(node, bytes);
        }
        let (lost, doubled) =
            if self.is_quiet { (0, 0) } else { (self.plan.lost_per_mille, self.plan.doubled_per_mille) };
        let copies = if self.draw.happens(lost) { 0 } else { 1 + u64::from(self.draw.happens(doubled)) };
        for _ in 0..copies {
            let delay_ms_max = if self.is_quiet { 15 } else { self.plan.delay_ms_max };
            let at = self.now + self.draw.between(1, delay_ms_max);
            self.agenda.put(at, Event::Datagram { to, from, origin, bytes: bytes.to_vec() });
        }
    }

    fn home_at(&self, ip: IpAddr) -> Option<usize> {
        self.homes.iter().position(|home| home.addr.ip() == ip)
    }

    /// A datagram has come where it leads to.
    pub(super) fn arrive(&mut self, to: SocketAddr, from: SocketAddr, origin: Origin, bytes: Vec<u8>) {
        let Some(home) = self.home_at(to.ip()) else { return self.arrive_outside(to, from, origin, &bytes) };
        let holders = &self.homes[home].holders;
        let Some(node) = (!holders.is_empty()).then(|| holders[origin.side % holders.len()]) else { return };
        if self.blocked.contains(&(origin.place, Place::Node(node))) || !self.is_running(node) {
            return;
        }
        let text = Text::new(&bytes);
        self.note(format_args!("{from} -> n{node} {} #{:04x}", text.title(), print(&bytes)));
        if let Place::Node(_) = origin.place {
            self.note_crossing(&text, home);
        } else if let Some(phone) = self.phones.iter().position(|phone| phone.is_at(from)) {
            self.note_pong(&text, home, phone);
        }
        let is_disguised = self.defect == Defect::PeersUnknown && matches!(origin.place, Place::Node(_));
        let remote = if is_disguised { SocketAddr::from(([198, 51, 100, 200], from.port())) } else { from };
        let source = Source { transport: Transport::Udp, remote, local: to, flow: FlowToken::NONE };
        if self.nodes[node].receive(source, bytes) {
            let at = self.now + self.draw.between(0, 2);
            self.turn_soon(node, at);
        }
    }

    /// Something has come from a phone: the answer to a ping.
    pub(super) fn note_pong(&mut self, text: &Text, home: usize, phone: usize) {
        if text.status() == Some(200) && text.method() == "OPTIONS" {
            self.facts.pings += 1;
            self.ledger.heard(Contact { home, phone }, self.now);
        }
    }

    fn arrive_outside(&mut self, to: SocketAddr, from: SocketAddr, origin: Origin, bytes: &[u8]) {
        if self.blocked.contains(&(origin.place, Place::Outside)) {
            return;
        }
        let text = Text::new(bytes);
        self.note(format_args!("{:?} -> {to} {} #{:04x}", origin.place, text.title(), print(bytes)));
        if let Some(phone) = self.phones.iter().position(|phone| phone.is_at(to)) {
            if self.phones[phone].is_stream {
                self.violated(format!("flows: p{phone} is sent a datagram: {}", text.title()));
            } else if self.phones[phone].hears(to, from, self.now) {
                self.phone_hears(phone, &text, Peer::At(from), origin);
            }
        } else if let Some(call) = self.calls.iter().position(|call| call.addr == to) {
            self.caller_hears(call, &text);
        } else if to.ip() == super::phones::PROBER {
            self.prober_hears(&text, origin);
        }
    }
}

/// A few bits of what a message says.
pub(super) fn print(bytes: &[u8]) -> u64 {
    bytes.iter().fold(7, |sum: u64, byte| crate::draw::mix(sum ^ u64::from(*byte))) & 0xffff
}
