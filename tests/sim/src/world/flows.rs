//! Connections of phones: they are opened, carry messages, end at one end or at both, and the phone comes again.

use super::{Defect, EXPIRES_S_MAX, Event, Origin, Place, World};
use crate::draw::mix;
use crate::flow::{Far, Flow, Segment, TRIES_COUNT_MAX, Toward};
use crate::ledger::Contact;
use crate::phone::{Peer, Wanted, contact_name};
use crate::seat::Incoming;
use crate::sip::Text;
use sipfed_proto::{FlowToken, Source, Ticket, Transport};
use std::net::SocketAddr;

/// The first port that a phone opens a connection from.
const FIRST_PORT: u16 = 30_000;

/// What becomes of a segment.
enum Fate {
    /// Nobody gets it, or nobody's answer comes back.
    Lost,
    /// Who gets it knows no such connection.
    Refused,
    /// This node has it, with what it calls the connection; `None` for the phone.
    Taken(Option<Far>),
}

impl World {
    /// The connection of a phone to a home, which it opens where it has none.
    pub(super) fn flow_to(&mut self, phone: usize, home: usize) -> usize {
        let index = self.flows.len();
        let of = &mut self.phones[phone];
        if let Some(flow) = of.flows.get(&home) {
            return *flow;
        }
        of.flows.insert(home, index);
        let remote = SocketAddr::new(of.addr.ip(), FIRST_PORT + (index % 30_000) as u16);
        let nat_idle_ms = of.nat.is_some().then_some(self.plan.nat_idle_ms);
        self.flows.push(Flow::new(phone, home, remote, nat_idle_ms, self.now));
        self.note(format_args!("p{phone} opens a connection to home {home} from {remote}"));
        index
    }

    /// A phone sends something over its connection, if it still has that one.
    pub(super) fn send_by_phone(&mut self, index: usize, bytes: &[u8]) {
        let phone = self.flows[index].phone;
        if !self.flows[index].is_near || self.phones[phone].is_silent {
            return;
        }
        let origin = Origin { place: Place::Outside, disk: 0, is_backed: false, side: phone };
        self.flows[index].passed(self.now);
        self.put_on_way(index, Toward::Node, Segment::Message(origin, bytes.to_vec()));
    }

    /// A node sends something over a connection, or learns that it has none of that name.
    pub(super) fn send_by_node(&mut self, node: usize, flow: FlowToken, ticket: Ticket, origin: Origin, bytes: &[u8]) {
        self.check_ping(node, bytes);
        let Some(life) = &self.nodes[node].life else { return };
        match life.tokens.find(flow) {
            Some(index) => self.put_on_way(index, Toward::Phone, Segment::Message(origin, bytes.to_vec())),
            None => self.not_sent(node, ticket),
        }
    }

    /// A request of a node could not be sent.
    pub(super) fn not_sent(&mut self, node: usize, ticket: Ticket) {
        if ticket.is_some() {
            self.tell_of_flows(node, Incoming::NotSent(ticket));
        }
    }

    fn tell_of_flows(&mut self, node: usize, incoming: Incoming) {
        if self.defect != Defect::FlowsUnheard {
            self.nodes[node].hear(incoming);
            self.turn_soon(node, self.now);
        }
    }

    fn put_on_way(&mut self, index: usize, toward: Toward, segment: Segment<Origin>) {
        self.flows[index].way(toward).waiting.push_back(segment);
        self.move_soon(index, toward, 0);
    }

    fn move_soon(&mut self, index: usize, toward: Toward, after_ms: u64) {
        let way = self.flows[index].way(toward);
        if way.waiting.is_empty() || std::mem::replace(&mut way.is_moving, true) {
            return;
        }
        let (lost, delay_ms_max) =
            if self.is_quiet { (0, 15) } else { (self.plan.lost_per_mille, self.plan.delay_ms_max) };
        let again_ms = if self.draw.happens(lost) { self.draw.between(200, 1000) } else { 0 };
        let at = self.now + after_ms + again_ms + self.draw.between(1, delay_ms_max);
        self.agenda.put(at, Event::Moves { flow: index, toward });
    }

    /// The first of what is on its way arrives, or does not.
    pub(super) fn moves(&mut self, index: usize, toward: Toward) {
        self.flows[index].way(toward).is_moving = false;
        if self.flows[index].way(toward).waiting.is_empty() {
            return;
        }
        let fate = match toward {
            Toward::Node => self.fate_at_node(index),
            Toward::Phone => self.fate_at_phone(index),
        };
        let way = self.flows[index].way(toward);
        match fate {
            Fate::Lost if way.tries + 1 < TRIES_COUNT_MAX => {
                way.tries += 1;
                let pause_ms = (300 << way.tries).min(4000);
                return self.move_soon(index, toward, pause_ms);
            }
            Fate::Lost | Fate::Refused => {
                way.waiting.clear();
                return match toward {
                    Toward::Node => self.near_ends(index),
                    Toward::Phone => self.far_ends(index),
                };
            }
            Fate::Taken(far) => {
                way.tries = 0;
                if let Some(segment) = way.waiting.pop_front() {
                    self.flows[index].passed(self.now);
                    match far {
                        Some(far) => self.node_gets(index, far, segment),
                        None => self.phone_gets(index, segment),
                    }
                }
            }
        }
        self.move_soon(index, toward, 0);
    }

    fn fate_at_node(&mut self, index: usize) -> Fate {
        let Flow { phone, home, far, node: taken_by, .. } = self.flows[index];
        let holders = &self.homes[home].holders;
        let Some(node) = (!holders.is_empty()).then(|| holders[phone % holders.len()]) else { return Fate::Lost };
        if self.blocked.contains(&(Place::Outside, Place::Node(node))) {
            return Fate::Lost;
        }
        let Some(life) = &mut self.nodes[node].life else {
            // Its host may be gone as well.
            return if self.draw.happens(500) { Fate::Refused } else { Fate::Lost };
        };
        if taken_by.is_none() && self.flows[index].is_near {
            let flow = &mut self.flows[index];
            let shard = mix(u64::from(flow.remote.port())) as usize % life.seats.len();
            let token = life.tokens.take(shard, index);
            (flow.far, flow.node) = (Some(Far { node, token }), Some(node));
            self.note(format_args!("n{node} takes the connection of p{phone} as {token:?}"));
            return Fate::Taken(self.flows[index].far);
        }
        let is_known = far.is_some_and(|far| far.node == node) && self.flows[index].is_passable(self.now);
        if is_known { Fate::Taken(far) } else { Fate::Refused }
    }

    fn fate_at_phone(&self, index: usize) -> Fate {
        let flow = &self.flows[index];
        let Some(node) = flow.node else { return Fate::Refused };
        let is_heard = !self.phones[flow.phone].is_silent
            && flow.is_passable(self.now)
            && self.homes[flow.home].holders.contains(&node)
            && !self.blocked.contains(&(Place::Node(node), Place::Outside));
        match (is_heard, flow.is_near) {
            (false, _) => Fate::Lost,
            (true, false) => Fate::Refused,
            (true, true) => Fate::Taken(None),
        }
    }

    fn node_gets(&mut self, index: usize, far: Far, segment: Segment<Origin>) {
        let Segment::Message(_, bytes) = segment else { return self.far_ends(index) };
        let Flow { phone, home, remote, .. } = self.flows[index];
        let text = Text::new(&bytes);
        self.note(format_args!("p{phone} -> n{} {} #{:04x}", far.node, text.title(), super::network::print(&bytes)));
        self.note_pong(&text, home, phone);
        let local = self.homes[home].addr;
        let source = Source { transport: Transport::Tcp, remote, local, flow: far.token };
        self.nodes[far.node].hear(Incoming::Message(source, bytes));
        let at = self.now + self.draw.between(0, 2);
        self.turn_soon(far.node, at);
    }

    fn phone_gets(&mut self, index: usize, segment: Segment<Origin>) {
        let Segment::Message(origin, bytes) = segment else { return self.near_ends(index) };
        let Flow { phone, home, .. } = self.flows[index];
        let text = Text::new(&bytes);
        self.note(format_args!(
            "{:?} -> p{phone} {} #{:04x}",
            origin.place,
            text.title(),
            super::network::print(&bytes)
        ));
        let own = contact_name(Contact { home, phone });
        if text.status().is_none() && text.user() != own {
            let what = format!("flows: {:?} sends p{phone} what is not for it: {}", origin.place, text.title());
            return self.violated(what);
        }
        self.phone_hears(phone, &text, Peer::Flow(index), origin);
    }

    /// A phone has a connection no more, and comes again some time later.
    fn near_ends(&mut self, index: usize) {
        let Flow { phone, home, is_near, .. } = self.flows[index];
        if !is_near {
            return;
        }
        self.flows[index].is_near = false;
        self.flows[index].way(Toward::Node).waiting.clear();
        self.note(format_args!("p{phone} has no connection to home {home} any more"));
        self.phones[phone].flows.remove(&home);
        self.phones[phone].is_bound_over.remove(&home);
        if let Some(pending) = self.phones[phone].pending.take_if(|pending| pending.home == home) {
            self.ledger.end(pending.number, self.now, None);
        }
        let at = self.now + self.draw.between(100, 4000);
        self.agenda.put(at, Event::PhoneReturns { phone, home });
    }

    /// A phone that has lost its connection registers again.
    pub(super) fn phone_returns(&mut self, phone: usize, home: usize) {
        let of = &self.phones[phone];
        if !self.is_quiet && of.home == home && of.pending.is_none() && !of.flows.contains_key(&home) {
            self.facts.returns += 1;
            self.phone_wants(phone, Wanted::Bind { expires_s: EXPIRES_S_MAX.into() });
        }
    }

    /// Once all is well: some of those come again that have no connection.
    pub(crate) fn some_come_again(&mut self) {
        for index in 0..self.phones.len() {
            let of = &self.phones[index];
            let may_come = of.is_stream && !of.is_silent && of.pending.is_none() && !of.flows.contains_key(&of.home);
            if may_come && self.draw.happens(600) {
                self.phone_wants(index, Wanted::Bind { expires_s: EXPIRES_S_MAX.into() });
            }
        }
    }

    /// A phone hangs up.
    pub(super) fn close_by_phone(&mut self, index: usize) {
        self.near_ends(index);
        self.put_on_way(index, Toward::Node, Segment::End);
    }

    /// The node of a connection has it no more, and its shards are told.
    fn far_ends(&mut self, index: usize) {
        let Some(Far { node, token, .. }) = self.flows[index].far.take() else { return };
        self.flows[index].way(Toward::Phone).waiting.clear();
        self.note(format_args!("n{node} has {token:?} no more"));
        if let Some(life) = &mut self.nodes[node].life {
            life.tokens.free(token);
            self.tell_of_flows(node, Incoming::Closed(token));
        }
    }

    /// The connections of a node end with it. Its host may have died as well, and then nobody is told.
    pub(super) fn stop_flows(&mut self, node: usize, is_told: bool) {
        for index in 0..self.flows.len() {
            if self.flows[index].far.take_if(|far| far.node == node).is_some() {
                self.flows[index].way(Toward::Phone).waiting.clear();
                if is_told {
                    self.put_on_way(index, Toward::Phone, Segment::End);
                }
            }
        }
    }

    /// Some connections end at one end, or their NAT forgets them.
    pub(super) fn some_flows_end(&mut self) {
        for index in 0..self.flows.len() {
            let is_there = self.flows[index].is_near || self.flows[index].far.is_some();
            if !is_there || !self.draw.happens(300) {
                continue;
            }
            let Flow { phone, remote, .. } = self.flows[index];
            self.note(format_args!("the connection of p{phone} from {remote} is in trouble"));
            match self.draw.below(3) {
                0 => self.near_ends(index),
                1 => self.far_ends(index),
                _ => self.flows[index].forget(),
            }
        }
    }

    /// The NAT of a phone forgets its connections.
    pub(super) fn forget_flows_of(&mut self, phone: usize) {
        self.flows.iter_mut().filter(|flow| flow.phone == phone).for_each(Flow::forget);
    }

    /// Whether a phone has registered with a home over a connection that both ends have, the far one being that of the node
    /// which has the address.
    pub(super) fn is_reached_by_flow(&self, contact: Contact) -> bool {
        let Contact { home, phone } = contact;
        let Some(index) = self.phones[phone].is_bound_over.get(&home) else { return false };
        let flow = &self.flows[*index];
        let has_far = flow.far.is_some_and(|far| self.homes[home].holders == [far.node]);
        flow.is_near && has_far && flow.is_passable(self.now) && !self.phones[phone].is_silent
    }

    /// Whether the node that has the address of a home has no connection of a phone's.
    pub(super) fn is_lost(&self, contact: Contact) -> bool {
        let holders = &self.homes[contact.home].holders;
        let is_of = |flow: &Flow<Origin>| (flow.phone, flow.home) == (contact.phone, contact.home);
        let is_there = |flow: &Flow<Origin>| is_of(flow) && flow.far.is_some_and(|far| holders.contains(&far.node));
        self.phones[contact.phone].is_stream && !self.flows.iter().any(is_there)
    }
}
