//! What goes wrong, and how it is put right again.

use super::{Event, Place, World};
use crate::profile::Trouble;
use crate::store::Mood;

impl World {
    /// The next fault.
    pub(super) fn make_trouble(&mut self) {
        if self.is_quiet || self.plan.troubles.is_empty() {
            return;
        }
        let again_ms = self.draw.between(500, 2 * self.plan.fault_interval_ms);
        self.agenda.put(self.now + again_ms, Event::Trouble);
        self.facts.troubles += 1;
        let troubles = self.plan.troubles.clone();
        match *self.draw.one(&troubles) {
            Trouble::Block => self.block_somebody(),
            Trouble::Cut => {
                let (link, down_ms) = (self.draw.below(self.links.len()), self.draw.between(100, 20_000));
                self.cut(link, down_ms);
            }
            Trouble::Crash => self.crash_somebody(),
            Trouble::Move => {
                let home = self.some_pair();
                self.move_away_from(home, None, 0);
            }
            Trouble::Split => {
                let home = self.some_pair();
                let nodes = self.homes[home].nodes.clone();
                let back = vec![*self.draw.one(&nodes)];
                let held = if self.draw.happens(700) { nodes } else { Vec::new() };
                self.hold(home, held);
                let until = self.now + self.draw.between(1000, 25_000);
                self.agenda.put(until, Event::Hold { home, nodes: back });
            }
            Trouble::Table => {
                self.note(format_args!("the table of nodes is away"));
                self.members.is_away = true;
                let until = self.now + self.draw.between(3000, 25_000);
                self.agenda.put(until, Event::TableWell);
                self.restart_somebody();
            }
            Trouble::Flows => self.some_flows_end(),
            Trouble::Reshard => self.restart_somebody(),
            Trouble::Pause => {
                let (node, ms) = (self.draw.below(self.nodes.len()), self.draw.between(300, 6000));
                self.pause(node, ms);
            }
            Trouble::Store => self.trouble_store(&[Mood::Failing, Mood::Away, Mood::Slow, Mood::Stale]),
            Trouble::Unreached => {
                self.trouble_store(&[Mood::Failing, Mood::Away, Mood::Slow]);
                self.restart_somebody();
            }
        }
    }

    fn trouble_store(&mut self, moods: &[Mood]) {
        let mood = *self.draw.one(moods);
        self.store_is(mood);
        let until = self.now + self.draw.between(2000, 25_000);
        self.agenda.put(until, Event::StoreWell);
    }

    pub(super) fn store_is(&mut self, mood: Mood) {
        self.note(format_args!("the store is {mood:?}"));
        self.store.set_mood(mood);
    }

    pub(super) fn pause(&mut self, node: usize, ms: u64) {
        self.note(format_args!("n{node} pauses for {ms} ms"));
        self.nodes[node].paused_until = self.now + ms;
        self.agenda.put(self.now + ms, Event::Resume(node));
        self.look_at_reach(node, true);
    }

    /// A node may go on after a pause.
    pub(super) fn resume(&mut self, node: usize) {
        if self.nodes[node].paused_until <= self.now {
            self.look_at_reach(node, true);
            self.read_on(node);
        }
    }

    /// A home with a backup; there is one at least.
    fn some_pair(&mut self) -> usize {
        let pairs: Vec<usize> = (0..self.homes.len()).filter(|home| self.homes[*home].nodes.len() == 2).collect();
        *self.draw.one(&pairs)
    }

    fn block_somebody(&mut self) {
        let first = Place::Node(self.draw.below(self.nodes.len()));
        let other = self.draw.below(self.nodes.len() + 1);
        let second = if other == self.nodes.len() { Place::Outside } else { Place::Node(other) };
        if first == second {
            return;
        }
        let until = self.now + self.draw.between(1000, 25_000);
        let directions = match self.draw.below(3) {
            0 => vec![(first, second)],
            1 => vec![(second, first)],
            _ => vec![(first, second), (second, first)],
        };
        for (from, to) in directions {
            self.note(format_args!("{to:?} is not reached from {from:?}"));
            self.blocked.insert((from, to));
            self.agenda.put(until, Event::Unblock(from, to));
        }
        self.look_at_ways(first, second);
    }

    pub(super) fn unblock(&mut self, from: Place, to: Place) {
        self.blocked.remove(&(from, to));
        self.look_at_ways(from, to);
    }

    fn look_at_ways(&mut self, one: Place, other: Place) {
        for place in [one, other] {
            if let Place::Node(node) = place {
                self.look_at_reach(node, false);
            }
        }
    }

    /// The other node of a home gets its address after `ms`, where it runs; `node` is the one to leave.
    pub(super) fn move_away_from(&mut self, home: usize, node: Option<usize>, ms: u64) {
        let from = node.or(self.homes[home].holders.first().copied());
        let to = self.homes[home].nodes.iter().copied().find(|other| Some(*other) != from && self.is_running(*other));
        if let Some(to) = to {
            self.agenda.put(self.now + ms, Event::Hold { home, nodes: vec![to] });
        }
    }

    fn crash_somebody(&mut self) {
        let node = self.draw.below(self.nodes.len());
        if !self.is_running(node) {
            return;
        }
        let home = self.nodes[node].identity.home;
        let is_torn = self.draw.happens(500);
        let loses_disk = self.homes[home].nodes.len() == 2 && self.draw.happens(250);
        let down_ms = self.draw.between(300, 30_000);
        let shards = self.some_shards(node, 250);
        self.crash(node, is_torn, loses_disk);
        if self.homes[home].holders.contains(&node) && self.draw.happens(800) {
            let after_ms = self.draw.between(100, 3000);
            self.move_away_from(home, Some(node), after_ms);
        }
        self.agenda.put(self.now + down_ms, Event::Start { node, shards });
    }

    /// As many shards as a node has, or in some of a thousand cases another number.
    fn some_shards(&mut self, node: usize, other_per_mille: u64) -> u8 {
        let count = self.nodes[node].shards_count() as u8;
        if self.draw.happens(other_per_mille) { self.draw.between(1, 4) as u8 } else { count }
    }

    /// A node dies: before a turn, or within one, whose shards from some on do not get as far as their logs.
    pub(super) fn crash(&mut self, node: usize, is_torn: bool, loses_disk: bool) {
        let shards_count = self.nodes[node].shards_count();
        self.note(format_args!(
            "n{node} dies{}{}",
            if is_torn { " within a turn" } else { "" },
            if loses_disk { ", with its disk" } else { "" }
        ));
        if is_torn && self.nodes[node].paused_until <= self.now {
            let torn_at = self.draw.below(shards_count);
            let sent = self.nodes[node].turn(self.now, Some(torn_at));
            self.take(node, sent);
            // What the turn told the control plane may be on its way already.
            if self.draw.happens(500) {
                let room = self.room_of(node);
                let sent = self.nodes[node].control(self.now, room);
                self.take(node, sent);
            }
        }
        // Its host may die with it.
        let is_told = self.draw.happens(500);
        self.stop(node, is_told);
        if loses_disk {
            self.nodes[node].lose_disk();
            self.ledger.disk_lost(node, self.now);
            self.stints.disk_lost(node);
            self.members.lose_disk(node);
        }
    }

    /// A node runs no more.
    fn stop(&mut self, node: usize, is_told: bool) {
        self.nodes[node].life = None;
        self.stop_links(node, is_told);
        self.stop_flows(node, is_told);
        self.members.stop(node);
        self.keepers.stop(node);
        self.nodes[node].paused_until = 0;
        self.ledger.node_died(node, self.now);
        self.stints.died(node, self.now);
    }

    /// One node is started again by its operator, who moves the address away first.
    fn restart_somebody(&mut self) {
        let node = self.draw.below(self.nodes.len());
        if !self.is_running(node) {
            return;
        }
        let home = self.nodes[node].identity.home;
        if self.homes[home].holders == [node] && self.homes[home].nodes.len() == 2 {
            self.move_away_from(home, Some(node), 0);
        }
        let shards = self.some_shards(node, 800);
        self.note(format_args!("n{node} is started again"));
        let sent = self.nodes[node].turn(self.now, None);
        self.take(node, sent);
        self.stop(node, true);
        let down_ms = self.draw.between(200, 5000);
        self.agenda.put(self.now + down_ms, Event::Start { node, shards });
    }

    pub(super) fn start(&mut self, node: usize, shards: u8) {
        if self.is_running(node) {
            return;
        }
        if !self.learn_nodes(node, shards) {
            return;
        }
        let has_address = self.homes[self.nodes[node].identity.home].holders.contains(&node);
        let peers = self.peers_of(node);
        match self.nodes[node].start(shards, (has_address, peers), self.now, &self.keepers.stir) {
            Ok((activity, is_empty)) => self.start_keeper(node, activity, is_empty),
            Err(why) => return self.violated(format!("log: n{node} does not start: {why}")),
        }
        self.note(format_args!("n{node} starts with {shards} shards"));
        self.look_at_role(node);
        self.start_links(node);
        self.turn_soon(node, self.now);
    }

    /// Everything is well from now on, and phones keep still.
    pub(crate) fn heal(&mut self) {
        self.note(format_args!("all is well from now on"));
        self.is_quiet = true;
        self.some_fall_silent();
        self.join_all();
        self.blocked.clear();
        self.store.set_mood(Mood::Good);
        for link in &mut self.links {
            link.down_until = 0;
        }
        for node in 0..self.nodes.len() {
            self.nodes[node].paused_until = self.nodes[node].paused_until.min(self.now);
            self.resume(node);
            if !self.is_running(node) {
                let shards = self.draw.between(1, 4) as u8;
                self.start(node, shards);
            }
        }
    }

    /// After what was still to be put right has been: each address is where one node has it.
    pub(crate) fn settle_addresses(&mut self) {
        let live = |node: usize| self.nodes[node].live(self.now).map(|binding| binding.expires_at_s);
        self.ends_s = (0..self.nodes.len()).flat_map(live).collect();
        for home in 0..self.homes.len() {
            let nodes = self.homes[home].nodes.clone();
            let holder = *self.draw.one(&nodes);
            self.hold(home, vec![holder]);
            // One that did not run may not have heard the last one.
            self.run_hooks(home);
        }
    }
}
