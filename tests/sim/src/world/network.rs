//! Datagrams, which may be lost, doubled and overtaken, and the links between the two nodes of a home.

use super::{Event, Origin, Place, World};
use crate::sip::Text;
use crate::world::Defect;
use sipfed_proto::{FlowToken, Source, Transport};
use std::net::{IpAddr, SocketAddr};

/// Kinds of frames, as `sipfed_proto::replica::frame` lays them out.
const PART: u8 = 4;
const DIGESTS: u8 = 6;

impl World {
    /// Sends a datagram on its way.
    pub(super) fn send(&mut self, to: SocketAddr, from: SocketAddr, origin: Origin, bytes: &[u8]) {
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
        }
        let is_disguised = self.defect == Defect::PeersUnknown && matches!(origin.place, Place::Node(_));
        let remote = if is_disguised { SocketAddr::from(([198, 51, 100, 200], from.port())) } else { from };
        let source = Source { transport: Transport::Udp, remote, local: to, flow: FlowToken::NONE };
        if self.nodes[node].receive(source, bytes) {
            let at = self.now + self.draw.between(0, 2);
            self.turn_soon(node, at);
        }
    }

    fn arrive_outside(&mut self, to: SocketAddr, from: SocketAddr, origin: Origin, bytes: &[u8]) {
        if self.blocked.contains(&(origin.place, Place::Outside)) {
            return;
        }
        let text = Text::new(bytes);
        self.note(format_args!("{:?} -> {to} {} #{:04x}", origin.place, text.title(), print(bytes)));
        if let Some(phone) = self.phones.iter().position(|phone| phone.addr == to) {
            self.phone_hears(phone, &text, from, origin);
        } else if let Some(call) = self.calls.iter().position(|call| call.addr == to) {
            self.caller_hears(call, &text);
        } else if to.ip() == super::phones::PROBER {
            self.prober_hears(&text, origin);
        }
    }

    fn link_of(&self, node: usize) -> Option<usize> {
        self.links.iter().position(|link| link.nodes.contains(&node))
    }

    /// What a node's link takes at present.
    pub(super) fn room_of(&self, node: usize) -> Option<usize> {
        let link = &self.links[self.link_of(node)?];
        let side = link.side_of(node);
        link.sides[side].has?;
        let other = &self.nodes[link.nodes[1 - side]];
        let unread = other.life.iter().flat_map(|life| &life.frames).map(Vec::len).sum::<usize>();
        self.plan.link_room_bytes.checked_sub(link.sides[side].under_way_bytes + unread).filter(|room| *room > 0)
    }

    pub(super) fn send_frame(&mut self, node: usize, bytes: Vec<u8>) {
        let Some(index) = self.link_of(node) else { return };
        if self.defect == Defect::FramesVanish
            && (bytes.first() == Some(&DIGESTS) || bytes.first() == Some(&PART) && self.draw.happens(300))
        {
            return;
        }
        let delay_ms = self.draw.between(1, 20);
        let link = &mut self.links[index];
        let from = link.side_of(node);
        let side = &mut link.sides[from];
        // One that was cut, which this side has not noticed, takes it and delivers nothing.
        let Some(epoch) = side.has else { return };
        side.under_way_bytes += bytes.len();
        side.last_arrives_at = side.last_arrives_at.max(self.now + delay_ms);
        let at = side.last_arrives_at;
        self.agenda.put(at, Event::Frame { link: index, to: 1 - from, epoch, bytes });
    }

    pub(super) fn frame_arrives(&mut self, link: usize, to: usize, epoch: u64, bytes: Vec<u8>) {
        let link = &mut self.links[link];
        if link.epoch != epoch || !link.is_up || link.sides[to].has != Some(epoch) {
            return;
        }
        let side = &mut link.sides[1 - to];
        side.under_way_bytes = side.under_way_bytes.saturating_sub(bytes.len());
        let node = link.nodes[to];
        self.history.note(
            self.now,
            format_args!(
                "frame {} of {} bytes -> n{node} #{:04x}",
                bytes.first().unwrap_or(&0),
                bytes.len(),
                print(&bytes)
            ),
        );
        let Some(life) = &mut self.nodes[node].life else { return };
        life.frames.push_back(bytes);
        self.control_soon(node, 0);
    }

    /// Whether two nodes reach one another in both directions.
    fn reach(&self, nodes: [usize; 2]) -> bool {
        let [a, b] = nodes.map(Place::Node);
        !self.blocked.contains(&(a, b)) && !self.blocked.contains(&(b, a))
    }

    /// Brings a link up again where it may be.
    pub(super) fn look_after_link(&mut self, index: usize) {
        let again_ms = self.draw.between(100, 700);
        self.agenda.put(self.now + again_ms, Event::LinkLook(index));
        let nodes = self.links[index].nodes;
        let may_be = self.reach(nodes) && nodes.iter().all(|node| self.is_running(*node));
        if self.links[index].is_up && !may_be {
            return self.cut(index, 0);
        }
        if self.links[index].is_up || !may_be || self.links[index].down_until > self.now {
            return;
        }
        self.note(format_args!("link of n{} and n{} is up", nodes[0], nodes[1]));
        for side in 0..2 {
            let held = self.nodes[nodes[side]].live(self.now).map(|b| (b.aor.to_vec(), b.contact_id)).collect();
            let link = &mut self.links[index];
            link.is_up = true;
            link.held_at_start[side] = held;
            link.sides[side] = crate::link::Side { has: Some(link.epoch), ..crate::link::Side::default() };
            let twin = self.nodes[nodes[1 - side]].identity.number;
            if let Some(life) = &mut self.nodes[nodes[side]].life {
                life.frames.clear();
                life.replicator.link_up(twin);
            }
            self.control_soon(nodes[side], 0);
        }
    }

    /// Cuts a link; it does not come back for `down_ms`.
    pub(super) fn cut(&mut self, index: usize, down_ms: u64) {
        let link = &mut self.links[index];
        link.down_until = link.down_until.max(self.now + down_ms);
        if !link.is_up {
            return;
        }
        link.is_up = false;
        let epoch = link.epoch;
        link.epoch += 1;
        let [a, b] = link.nodes;
        self.note(format_args!("link of n{a} and n{b} is cut"));
        for side in 0..2 {
            let noticed_ms = if self.draw.happens(500) { 1 } else { self.draw.between(10, 2500) };
            self.agenda.put(self.now + noticed_ms, Event::LinkGone { link: index, side, epoch });
        }
    }

    pub(super) fn link_gone(&mut self, index: usize, side: usize, epoch: u64) {
        let link = &mut self.links[index];
        if link.sides[side].has != Some(epoch) {
            return;
        }
        link.sides[side].has = None;
        let (node, other) = (link.nodes[side], link.nodes[1 - side]);
        let twin = self.nodes[other].identity.number;
        if let Some(life) = &mut self.nodes[node].life {
            life.frames.clear();
            life.replicator.link_down(twin);
        }
        self.control_soon(node, 0);
    }
}

/// A few bits of what a message says.
fn print(bytes: &[u8]) -> u64 {
    bytes.iter().fold(7, |sum: u64, byte| crate::draw::mix(sum ^ u64::from(*byte))) & 0xffff
}
