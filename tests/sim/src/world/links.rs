//! The links between all nodes: they are dialled, carry pings and what replication sends, break, and say which homes are down.

use super::{Event, Place, World, home_name};
use crate::link::{BACKOFF, Carried, Side};
use crate::node::EVENTS_COUNT_MAX;
use crate::sip::Text;
use crate::world::Defect;
use sipfed_directory::Backoff;
use sipfed_nodes::address::{SipAddress, sip_address};
use sipfed_nodes::health::{Seen, homes_down};
use sipfed_nodes::pulse::{Beat, State};
use std::time::{Duration, Instant};

/// Kinds of frames, as `sipfed_proto::replica::frame` lays them out.
const PART: u8 = 4;
const DIGESTS: u8 = 6;
/// Milliseconds after which somebody who gets no answer to a SYN sends another one.
const SYN_AGAIN_MS: u64 = 1000;
/// Milliseconds that an order of the keeper takes to its shards at most, those between included that had no room for it.
const ORDER_MS_MAX: u64 = 500;

impl World {
    fn instant(&self) -> Instant {
        self.keepers.began() + Duration::from_millis(self.now)
    }

    fn links_of(&self, node: usize) -> impl Iterator<Item = usize> + use<> {
        let of_node = |(index, link): (usize, &crate::link::Link)| link.nodes.contains(&node).then_some(index);
        self.links.iter().enumerate().filter_map(of_node).collect::<Vec<_>>().into_iter()
    }

    /// The link to the other node of its home.
    pub(super) fn link_of(&self, node: usize) -> Option<usize> {
        self.links_of(node).find(|index| self.links[*index].is_of_twins)
    }

    /// A node begins to run: it dials those with lower numbers.
    pub(super) fn start_links(&mut self, node: usize) {
        let (rhythm, now) = (self.plan.rhythm, self.instant());
        self.down[node] = (Vec::new(), self.now);
        for index in self.links_of(node) {
            let seed = self.draw.number();
            let link = &mut self.links[index];
            let side = link.side_of(node);
            link.sides[side] = Side::new(rhythm, now);
            self.reach.forget(index, side);
            if side == 1 {
                link.backoff = Backoff::seeded(BACKOFF, seed);
                self.dial_after(index, 0);
            }
        }
        self.look_at_reach(node, true);
    }

    /// A node runs no more. Its host may have died with it, and then nobody is told.
    pub(super) fn stop_links(&mut self, node: usize, is_told: bool) {
        for index in self.links_of(node) {
            let side = self.links[index].side_of(node);
            if let Some(connection) = self.links[index].sides[side].has
                && is_told
            {
                self.carry(index, side, connection, Carried::End);
            }
            self.links[index].sides[side].end();
        }
        self.look_at_reach(node, true);
    }

    /// Whether anything on the way is otherwise for a node than it was; `is_disturbed` for what may have been and is not seen.
    pub(super) fn look_at_reach(&mut self, node: usize, is_disturbed: bool) {
        for index in self.links_of(node) {
            let link = &self.links[index];
            let is_together = self.reach(link.nodes) && self.now >= link.down_until && self.know_each_other(link.nodes);
            self.reach.is(index, is_together, self.now, is_disturbed);
        }
    }

    /// Whether two nodes run and know each other.
    fn know_each_other(&self, nodes: [usize; 2]) -> bool {
        let knows = |node: usize, other: usize| self.members.knows(node, self.nodes[other].identity.number);
        knows(nodes[0], nodes[1]) && knows(nodes[1], nodes[0])
    }

    /// A node dials those with lower numbers that it knows and has no link to.
    pub(super) fn dial_known(&mut self, node: usize) {
        for index in self.links_of(node) {
            if self.links[index].nodes[1] == node && self.links[index].sides[1].has.is_none() {
                self.dial_after(index, 0);
            }
        }
        self.tell_health(node);
        self.look_at_reach(node, false);
    }

    fn is_blocked(&self, link: usize, from: usize) -> bool {
        let nodes = self.links[link].nodes;
        self.blocked.contains(&(Place::Node(nodes[from]), Place::Node(nodes[1 - from])))
    }

    /// Whether two nodes reach one another in both directions.
    fn reach(&self, nodes: [usize; 2]) -> bool {
        let [a, b] = nodes.map(Place::Node);
        !self.blocked.contains(&(a, b)) && !self.blocked.contains(&(b, a))
    }

    fn dial_after(&mut self, index: usize, ms: u64) {
        self.links[index].attempt += 1;
        let attempt = self.links[index].attempt;
        self.agenda.put(self.now + ms, Event::Dial { link: index, attempt });
    }

    fn dial_later(&mut self, index: usize) {
        let pause = self.links[index].backoff.next_pause();
        self.dial_after(index, pause.as_millis() as u64 + 1);
    }

    /// The node with the higher number tries to reach the other one.
    pub(super) fn dial(&mut self, index: usize, attempt: u64) {
        let link = &self.links[index];
        let [other, node] = link.nodes;
        let is_wanted = self.members.knows(node, self.nodes[other].identity.number);
        if link.attempt != attempt || !is_wanted || link.sides[1].has.is_some() {
            return;
        }
        let paused_until = self.nodes[node].paused_until;
        if paused_until > self.now {
            return self.agenda.put(paused_until, Event::Dial { link: index, attempt });
        }
        if !self.reach(link.nodes) || self.nodes[other].paused_until > self.now {
            return self.dial_after(index, SYN_AGAIN_MS);
        }
        // Who is not known is refused.
        if !self.know_each_other(link.nodes) || link.down_until > self.now {
            return self.dial_later(index);
        }
        self.connect(index);
    }

    fn connect(&mut self, index: usize) {
        let (nodes, is_of_twins, now) = (self.links[index].nodes, self.links[index].is_of_twins, self.instant());
        // One that the other end still believes to have ends with that.
        self.end_side(index, 0);
        self.links[index].connections += 1;
        let connection = self.links[index].connections;
        self.note(format_args!("link of n{} and n{} is up", nodes[0], nodes[1]));
        for side in 0..2 {
            self.links[index].sides[side].begin(connection, self.now, now);
            if is_of_twins {
                let held = self.nodes[nodes[side]].live(self.now).map(|b| (b.aor.to_vec(), b.contact_id)).collect();
                self.links[index].held_at_start[side] = held;
                let twin = self.nodes[nodes[1 - side]].identity.number;
                if let Some(life) = &mut self.nodes[nodes[side]].life {
                    life.frames.clear();
                    life.replicator.link_up(twin);
                }
                self.control_soon(nodes[side], 0);
            }
            self.tell_health(nodes[side]);
            self.beat_soon(index, side);
        }
    }

    /// A side has no connection any more.
    fn end_side(&mut self, index: usize, side: usize) {
        let link = &mut self.links[index];
        let (node, other) = (link.nodes[side], link.nodes[1 - side]);
        if link.sides[side].has.is_none() {
            return;
        }
        link.sides[side].end();
        let lasted = Duration::from_millis(self.now - link.sides[side].began_at);
        self.note(format_args!("n{node} has no link to n{other} any more"));
        if self.links[index].is_of_twins {
            let twin = self.nodes[other].identity.number;
            if let Some(life) = &mut self.nodes[node].life {
                life.frames.clear();
                life.replicator.link_down(twin);
            }
            self.control_soon(node, 0);
        }
        self.tell_health(node);
        if side == 1 {
            if lasted > BACKOFF.1 {
                let seed = self.draw.number();
                self.links[index].backoff = Backoff::seeded(BACKOFF, seed);
            }
            self.dial_later(index);
        }
    }

    /// A side learns from its kernel that its connection was reset.
    pub(super) fn side_is_gone(&mut self, index: usize, side: usize, connection: u64) {
        if self.links[index].sides[side].has == Some(connection) && self.is_running(self.links[index].nodes[side]) {
            self.end_side(index, side);
        }
    }

    /// Cuts a link; it does not come back for `down_ms`. Some sides are told.
    pub(super) fn cut(&mut self, index: usize, down_ms: u64) {
        let link = &mut self.links[index];
        link.down_until = link.down_until.max(self.now + down_ms);
        link.severed = Some(link.connections);
        let (connection, nodes) = (link.connections, link.nodes);
        self.note(format_args!("link of n{} and n{} is cut", nodes[0], nodes[1]));
        for side in 0..2 {
            if self.draw.happens(500) {
                let told_ms = self.draw.between(1, 30);
                self.agenda.put(self.now + told_ms, Event::LinkGone { link: index, side, connection });
            }
        }
        self.reach.is(index, false, self.now, true);
        let until = self.links[index].down_until;
        self.agenda.put(until, Event::Reach(nodes[0]));
    }

    /// What a node's link to its twin takes at present.
    pub(super) fn room_of(&self, node: usize) -> Option<usize> {
        let link = &self.links[self.link_of(node)?];
        let side = link.side_of(node);
        link.sides[side].has?;
        let other = &self.nodes[link.nodes[1 - side]];
        let unread = other.life.iter().flat_map(|life| &life.frames).map(Vec::len).sum::<usize>();
        let unread = unread + link.sides[1 - side].received.iter().map(Carried::bytes).sum::<usize>();
        self.plan.link_room_bytes.checked_sub(link.sides[side].under_way_bytes + unread).filter(|room| *room > 0)
    }

    pub(super) fn send_frame(&mut self, node: usize, bytes: Vec<u8>) {
        let Some(index) = self.link_of(node) else { return };
        if self.defect == Defect::FramesVanish
            && (bytes.first() == Some(&DIGESTS) || bytes.first() == Some(&PART) && self.draw.happens(300))
        {
            return;
        }
        let side = self.links[index].side_of(node);
        if let Some(connection) = self.links[index].sides[side].has {
            self.carry(index, side, connection, Carried::Payload(bytes));
        }
    }

    /// Sends something on its way, behind what was sent before.
    fn carry(&mut self, index: usize, from: usize, connection: u64, carried: Carried) {
        let delay_ms = self.draw.between(1, 20);
        let side = &mut self.links[index].sides[from];
        side.under_way_bytes += carried.bytes();
        side.last_arrives_at = side.last_arrives_at.max(self.now + delay_ms);
        let at = side.last_arrives_at;
        self.agenda.put(at, Event::Carried { link: index, from, connection, carried });
    }

    /// Something has come to the end of its way, or was lost there and is sent again.
    pub(super) fn carried_arrives(&mut self, index: usize, from: usize, connection: u64, carried: Carried) {
        if self.links[index].severed == Some(connection) {
            return;
        }
        if self.is_blocked(index, from) || !self.links[index].sides[from].stalled.is_empty() {
            self.links[index].sides[from].stalled.push_back((connection, carried));
            return self.send_again_soon(index, from);
        }
        self.deliver(index, from, connection, carried);
    }

    fn send_again_soon(&mut self, index: usize, from: usize) {
        if !std::mem::replace(&mut self.links[index].sides[from].is_sending_again, true) {
            let after_ms = self.draw.between(200, 1200);
            self.agenda.put(self.now + after_ms, Event::SendAgain { link: index, from });
        }
    }

    /// A kernel sends again what was lost, and what it takes for lost.
    pub(super) fn send_again(&mut self, index: usize, from: usize) {
        self.links[index].sides[from].is_sending_again = false;
        if !self.is_blocked(index, 1 - from) {
            let side = &mut self.links[index].sides[from];
            let bytes = std::mem::take(&mut side.unacknowledged_bytes);
            side.under_way_bytes = side.under_way_bytes.saturating_sub(bytes);
        }
        if !self.is_blocked(index, from) {
            for (connection, carried) in std::mem::take(&mut self.links[index].sides[from].stalled) {
                self.deliver(index, from, connection, carried);
            }
        }
        let side = &self.links[index].sides[from];
        if !side.stalled.is_empty() || side.unacknowledged_bytes > 0 {
            self.send_again_soon(index, from);
        }
    }

    /// Something is in the kernel of the other node.
    fn deliver(&mut self, index: usize, from: usize, connection: u64, carried: Carried) {
        let (to, bytes, is_deaf) = (1 - from, carried.bytes(), self.is_blocked(index, 1 - from));
        let node = self.links[index].nodes[to];
        let link = &mut self.links[index];
        if link.sides[from].has == Some(connection) {
            let side = &mut link.sides[from];
            if is_deaf {
                side.unacknowledged_bytes += bytes;
            } else {
                side.under_way_bytes = side.under_way_bytes.saturating_sub(bytes);
            }
        }
        if link.sides[to].has == Some(connection) {
            link.sides[to].received.push_back(carried);
            self.read(index, to);
        } else if self.is_running(node) && !is_deaf {
            // There is nobody to whom it belongs: who sent it is told.
            let told_ms = self.draw.between(1, 20);
            self.agenda.put(self.now + told_ms, Event::LinkGone { link: index, side: from, connection });
        }
        if is_deaf {
            self.send_again_soon(index, from);
        }
    }

    /// A node reads what has come, as far as it takes it.
    fn read(&mut self, index: usize, side: usize) {
        let node = self.links[index].nodes[side];
        if self.nodes[node].paused_until > self.now {
            return;
        }
        let now = self.instant();
        loop {
            let Some(life) = &mut self.nodes[node].life else { return };
            let this = &mut self.links[index].sides[side];
            let Some(connection) = this.has else { return };
            if matches!(this.received.front(), Some(Carried::Payload(_))) && life.frames.len() >= EVENTS_COUNT_MAX {
                if !std::mem::replace(&mut this.is_full, true) {
                    this.pulse.pause(now);
                }
                break;
            }
            let Some(carried) = this.received.pop_front() else { break };
            this.pulse.heard();
            match carried {
                Carried::Ping(number) => self.carry(index, side, connection, Carried::Pong(number)),
                Carried::Pong(number) => this.pulse.answered(number, now),
                Carried::End => return self.end_side(index, side),
                Carried::Payload(bytes) => {
                    let (kind, print) = (bytes.first().copied().unwrap_or(0), super::network::print(&bytes));
                    let line = format_args!("frame {kind} of {} bytes -> n{node} #{print:04x}", bytes.len());
                    self.history.note(self.now, line);
                    life.frames.push_back(bytes);
                    self.control_soon(node, 0);
                }
            }
        }
        self.beat_soon(index, side);
    }

    /// A node has taken what had come, or goes on after a pause.
    pub(super) fn read_on(&mut self, node: usize) {
        let (now, paused_until) = (self.instant(), self.nodes[node].paused_until);
        let waits = |side: &Side| side.is_full || !side.received.is_empty();
        let is_waiting =
            self.links.iter().any(|link| link.nodes.contains(&node) && waits(&link.sides[link.side_of(node)]));
        if !is_waiting || paused_until > self.now {
            return;
        }
        for index in self.links_of(node) {
            let side = self.links[index].side_of(node);
            let has_room = self.nodes[node].life.as_ref().is_some_and(|life| life.frames.len() < EVENTS_COUNT_MAX);
            let this = &mut self.links[index].sides[side];
            if this.is_full && has_room {
                this.is_full = false;
                this.pulse.resume(now);
            }
            if !this.received.is_empty() {
                self.read(index, side);
            }
        }
    }

    fn beat_soon(&mut self, index: usize, side: usize) {
        let (began, now) = (self.keepers.began(), self.now);
        let this = &mut self.links[index].sides[side];
        let deadline = this.pulse.deadline().saturating_duration_since(began);
        let at = (deadline.as_micros().div_ceil(1000) as u64).max(now);
        if this.has.is_some() && this.beat_at.is_none_or(|before| at < before) {
            this.beat_at = Some(at);
            self.agenda.put(at, Event::Beat { link: index, side });
        }
    }

    /// The pulse of a link is looked at.
    pub(super) fn beat(&mut self, index: usize, side: usize) {
        let node = self.links[index].nodes[side];
        if self.links[index].sides[side].beat_at != Some(self.now) {
            return;
        }
        let paused_until = self.nodes[node].paused_until;
        if paused_until > self.now {
            self.links[index].sides[side].beat_at = Some(paused_until);
            return self.agenda.put(paused_until, Event::Beat { link: index, side });
        }
        self.links[index].sides[side].beat_at = None;
        // What has come has to count before what may have been missed.
        self.read(index, side);
        let now = self.instant();
        while let Some(connection) = self.links[index].sides[side].has
            && let Some(beat) = self.links[index].sides[side].pulse.poll(now)
        {
            match beat {
                Beat::Ping(number) => self.carry(index, side, connection, Carried::Ping(number)),
                Beat::Lost if self.defect == Defect::LostStay => self.links[index].sides[side].pulse.begin(now),
                Beat::Lost => {
                    self.facts.lost += 1;
                    self.carry(index, side, connection, Carried::End);
                    self.end_side(index, side);
                }
            }
        }
        self.beat_soon(index, side);
    }

    fn home_address(&self, home: usize) -> SipAddress {
        sip_address(&home_name(self.homes[home].addr)).expect("homes have addresses that can be sent to")
    }

    /// Has the shards of a node know which homes are down, where that is otherwise than before.
    fn tell_health(&mut self, node: usize) {
        let seen = |index: usize| {
            let link = &self.links[index];
            let side = link.side_of(node);
            let (other, this) = (link.nodes[1 - side], &link.sides[side]);
            let home = self.home_address(self.nodes[other].identity.home);
            Seen { home, is_up: this.pulse.state() != State::Down, was_up: this.was_up }
        };
        let is_known = |index: &usize| {
            let link = &self.links[*index];
            self.members.knows(node, self.nodes[link.nodes[1 - link.side_of(node)]].identity.number)
        };
        let all: Vec<Seen> = self.links_of(node).filter(is_known).map(seen).collect();
        let down = homes_down(self.home_address(self.nodes[node].identity.home), &all);
        if self.is_running(node) && self.down[node].0 != down {
            self.note(format_args!("n{node} leaves out {down:?}"));
            if self.defect != Defect::HealthUnheard {
                self.keepers.send_down(node, down.iter().cloned().collect());
            }
            self.down[node] = (down, self.now);
        }
    }

    /// Which homes a node leaves out, against which it can reach.
    pub(super) fn check_health(&mut self, node: usize) {
        if !self.is_running(node) || self.nodes[node].paused_until > self.now {
            return;
        }
        self.look_at_reach(node, false);
        let own = self.nodes[node].identity.home;
        let links: Vec<(usize, usize, usize)> = self
            .links_of(node)
            .map(|index| {
                let side = self.links[index].side_of(node);
                (index, side, self.nodes[self.links[index].nodes[1 - side]].identity.home)
            })
            .collect();
        let is_up = |of: &(usize, usize, usize)| self.reach.is_up(of.0, self.now);
        let mut wrong = None;
        for home in (0..self.homes.len()).filter(|home| *home != own) {
            let name = home_name(self.homes[home].addr);
            let is_left_out = self.down[node].0.iter().any(|down| **down == *name);
            let (of_home, others): (Vec<&(usize, usize, usize)>, Vec<_>) = links.iter().partition(|of| of.2 == home);
            let is_lost = of_home.iter().all(|of| self.reach.is_lost(of.0, of.1, self.now));
            if is_left_out && of_home.iter().any(|of| is_up(of)) {
                wrong = Some(format!("links: n{node} leaves out home {home}, which it reaches"));
            } else if !is_left_out && is_lost && others.iter().any(|of| is_up(of)) {
                wrong = Some(format!("links: n{node} does not leave out home {home}, which it has lost"));
            }
            self.facts.left_out += u64::from(is_left_out && is_lost);
        }
        if let Some(what) = wrong {
            self.violated(what);
        }
    }

    /// A node sends something to a home: no new branch of a call goes to one that it leaves out.
    pub(super) fn check_left_out(&mut self, node: usize, home: usize, bytes: &[u8]) {
        if !bytes.starts_with(b"INVITE ") {
            return;
        }
        let text = Text::new(bytes);
        if !self.branches.insert(text.branch().to_owned()) {
            return;
        }
        let (down, since) = &self.down[node];
        let name = home_name(self.homes[home].addr);
        if down.iter().any(|down| **down == *name) && since + ORDER_MS_MAX < self.now {
            self.violated(format!("links: n{node} sends a call to home {home}, which it leaves out: {}", text.title()));
        }
    }

    /// Once all is well: every node is linked with every other one, and leaves out nobody.
    pub(crate) fn check_links(&mut self) {
        let mut wrong = Vec::new();
        for link in &self.links {
            for (side, node) in link.nodes.iter().enumerate() {
                let Side { has, pulse, .. } = &link.sides[side];
                if *has != Some(link.connections) || pulse.state() != State::Up {
                    wrong.push(format!("links: n{node} has {has:?} to {:?}, {:?}", link.nodes, pulse.state()));
                }
            }
        }
        let left_out = self.down.iter().enumerate().filter(|(_, down)| !down.0.is_empty());
        wrong.extend(left_out.map(|(node, down)| format!("links: n{node} leaves out {:?}", down.0)));
        for what in wrong {
            self.violated(what);
        }
    }
}
