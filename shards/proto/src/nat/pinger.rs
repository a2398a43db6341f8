//! Sends pings, and takes their answers.

use super::branch::PingBranch;
use super::budget::{Budget, Place};
use super::intervals::Change;
use super::rhythm::Rhythm;
use super::smoothing::Smoothing;
use crate::hop::{Destination, Source, Transport};
use crate::limits;
use crate::location::{AorKey, Binding, Cause, Health, Op, Ping, Record, RecordId, Unbind};
use crate::outbox::{Outbox, Ticket};
use crate::proxy::{self, NoWay, Passage};
use crate::response::Response;
use crate::settings::{PingBytes, PingSettings};
use crate::shard::Core;
use crate::time::Now;
use crate::wheel::TICK_MS;
use arrayvec::ArrayVec;
use sipfed_sip::compose::{self, hexadecimal};
use std::net::IpAddr;

/// What a shard knows of its pings besides how each phone stands.
#[derive(Debug)]
pub(crate) struct Pinger {
    /// Whether the node's operator wants them.
    is_on: bool,
    /// See [`Health::watch`]; never 0.
    watch: u8,
    /// A local address that the host does not have now.
    absent: Option<IpAddr>,
    budget: Budget,
    smoothing: Smoothing,
}

/// What is done about one binding at a turn of its record.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// A ping, which makes this of its health.
    Send(Health),
    /// None; its health has changed.
    Note(Health),
    /// It ends.
    End,
}

/// What is done about all of them.
#[derive(Debug, Default)]
struct Judgement {
    /// By contact id.
    acts: ArrayVec<(u64, Act), { limits::AOR_BINDINGS_COUNT_MAX }>,
    /// When an open ping has to be looked at, where that may be before the next turn.
    look_at: Option<Now>,
    /// Pings that were lost, and those that are spared.
    lost: u64,
    spared: u64,
    /// Phones that would be pinged from an address that is absent.
    without_way: u64,
}

impl Judgement {
    fn look_at(&mut self, at: Now) {
        self.look_at = Some(self.look_at.map_or(at, |other| other.min(at)));
    }
}

impl Pinger {
    pub(crate) fn new(settings: &PingSettings, shards_count: u8) -> Self {
        let budget = Budget::new(settings.packets_per_s_max, shards_count);
        Self { is_on: true, watch: 1, absent: None, budget, smoothing: Smoothing::default() }
    }

    /// Another node may have pinged meanwhile, or nobody: what is open is forgotten.
    pub(crate) fn begin_watch(&mut self) {
        self.watch = self.watch % u8::MAX + 1;
        self.smoothing = Smoothing::default();
    }

    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    /// A place for `count` pings that leave together; `has_place` where the budget has given them one that has come.
    fn place(&mut self, count: u32, has_place: bool, now: Now, next_turn: Now) -> Place {
        if !has_place {
            self.smoothing.note(count, now);
            let place = self.budget.take(count, now, next_turn);
            if place != Place::Now {
                return place;
            }
        }
        if self.smoothing.admits(count, now) { Place::Now } else { Place::At(now.plus_ms(TICK_MS)) }
    }

    /// Whether the operator wants pings.
    pub(crate) fn turn(&mut self, is_on: bool) {
        if self.is_on != is_on {
            self.is_on = is_on;
            self.begin_watch();
        }
    }

    pub(crate) fn absent(&self) -> Option<IpAddr> {
        self.absent
    }

    /// What was sent from there may have been answered where the address is now: it is forgotten as well.
    pub(crate) fn set_absent(&mut self, ip: Option<IpAddr>) {
        if self.absent != ip {
            self.absent = ip;
            self.begin_watch();
        }
    }
}

impl Core {
    fn is_pinging(&self) -> bool {
        self.pinger.is_on && self.location.is_active
    }

    /// The turn of a record has come, or the time at which an open ping of it is lost, or its place in the budget.
    pub(crate) fn ping_due(&mut self, id: RecordId, now: Now, out: &mut Outbox) {
        let has_place = self.location.ping_has_come(id);
        let Some(record) = self.location.get(id) else { return };
        if !record.bindings().any(|b| b.flags().ping() != Ping::None && b.is_live(now.unix_s())) {
            return;
        }
        let rhythm = self.location.intervals.rhythm(record);
        let Some(next_turn) = rhythm.next_turn(record.hash(), now) else { return };
        if !self.is_pinging() {
            return self.location.ping_at(id, next_turn, false, &mut self.wheel);
        }
        let Judgement { mut acts, look_at, lost, spared, without_way } = self.judge(record, rhythm, now);
        let count = acts.iter().filter(|(_, act)| matches!(act, Act::Send(_))).count() as u32;
        if count > 0 {
            let place = self.pinger.place(count, has_place, now, next_turn);
            if let Place::At(at) = place {
                self.counters.pings_put_off += if has_place { 0 } else { count.into() };
                return self.location.ping_at(id, at, true, &mut self.wheel);
            }
            if place == Place::None {
                self.counters.pings_left_out += u64::from(count);
                for (_, act) in &mut acts {
                    if let Act::Send(health) = *act {
                        *act = Act::Note(Health { is_open: false, ..health });
                    }
                }
            }
        }
        self.counters.pings_lost += lost;
        self.counters.pings_spared += spared;
        self.counters.pings_without_way += without_way;
        for (contact_id, act) in acts {
            match act {
                Act::Send(mut health) => {
                    // Who could be called, and is not asked, is not taken for gone.
                    health.is_open &= self.ping(id, contact_id, health.pinged_at, out);
                    self.location.set_health(id, contact_id, health);
                }
                Act::Note(health) => self.location.set_health(id, contact_id, health),
                Act::End => self.end_unanswered(id, contact_id),
            }
        }
        // Its last binding may have gone.
        if self.location.get(id).is_some() {
            let at = look_at.map_or(next_turn, |at| at.min(next_turn));
            self.location.ping_at(id, at, false, &mut self.wheel);
        }
    }

    /// What is to be done about each binding of a record.
    fn judge(&self, record: &Record, rhythm: Rhythm, now: Now) -> Judgement {
        let settings = &self.settings.nat.ping;
        let (hash, now_low) = (record.hash(), now.unix_ms() as u32);
        let half_interval_ms = u64::from(rhythm.interval_ms() / 2);
        let turn = rhythm.turn(hash, now);
        let mut all = Judgement::default();
        // A log may hold more, which was written before removals had a room of their own.
        let live = record.bindings().filter(|b| b.is_live(now.unix_s())).take(limits::AOR_BINDINGS_COUNT_MAX);
        for binding in live {
            let contact_id = binding.contact_id();
            let (is_answered, ends_unanswered) = match binding.flags().ping() {
                Ping::None => continue,
                Ping::Bytes => (false, false),
                Ping::Request { ends_unanswered } => (true, ends_unanswered),
            };
            let mut health = binding.health().in_watch(self.pinger.watch);
            let is_last = |health: &Health| ends_unanswered && health.lost + 1 >= settings.lost_max.max(1);
            let pinged_at = now.before_ms(now_low.wrapping_sub(health.pinged_at).into());
            let registered_at_ms = u64::from(binding.updated_at_s()) * 1000;
            if health.pinged_at != 0 && registered_at_ms > pinged_at.unix_ms() {
                // It has not answered, and has come by itself.
                (health.lost, health.is_open) = (0, false);
            }
            let has_had_turn = health.pinged_at != 0 && rhythm.turn(hash, pinged_at) == turn;
            let open_until = pinged_at.plus_ms(settings.threshold_ms.into());
            if health.is_open && is_last(&health) && (open_until <= now || !has_had_turn) {
                all.lost += 1;
                all.acts.push((contact_id, Act::End));
                continue;
            }
            if has_had_turn {
                if health.is_open && is_last(&health) {
                    all.look_at(open_until);
                }
                continue;
            }
            if health.is_open {
                all.lost += 1;
                health.lost = health.lost.saturating_add(1).min(i8::MAX as u8);
                health.is_open = false;
            }
            health.pinged_at = now_low.max(1);
            let heard_at_ms = u64::from(binding.updated_at_s().max(health.heard_at_s)) * 1000;
            let is_absent = |ip| self.location.locals.address(binding.local()).ip() == ip;
            let act = if self.pinger.absent.is_some_and(is_absent) {
                // The kernel refuses what would leave from there, or the answer goes to the host that has it.
                all.without_way += 1;
                Act::Note(health)
            } else if now.unix_ms() < heard_at_ms + half_interval_ms {
                all.spared += 1;
                Act::Note(health)
            } else {
                health.is_open = is_answered;
                if health.is_open && is_last(&health) {
                    all.look_at(now.plus_ms(settings.threshold_ms.into()));
                }
                Act::Send(health)
            };
            all.acts.push((contact_id, act));
        }
        all
    }

    /// Sends one ping; whether it counts against the phone that none is answered.
    fn ping(&mut self, id: RecordId, contact_id: u64, sent_at: u32, out: &mut Outbox) -> bool {
        let Some(record) = self.location.get(id) else { return false };
        let Some(binding) = record.binding(contact_id) else { return false };
        let arrived = Source {
            transport: binding.transport(),
            remote: binding.remote(),
            local: self.location.locals.address(binding.local()),
            flow: binding.flow(),
        };
        // A ping waits for no name: a NAT is kept open where the phone registered from.
        let passage = Passage { arrived: &arrived, call_id: binding.call_id(), may_ask: false, is_sips: false };
        let to = match self.ways_to_binding(passage, &binding).map(|ways| ways.to) {
            Ok(Destination::Flow { flow, .. }) => Destination::Flow { flow, fallback: None },
            Err(NoWay::Name(_)) if binding.path().is_empty() && arrived.transport == Transport::Udp => {
                Destination::Udp { remote: arrived.remote, local: arrived.local }
            }
            // Whom a connection would have to be opened to has none that a NAT could close.
            way @ (Err(_) | Ok(Destination::Connect(_))) => {
                self.counters.pings_without_way += 1;
                // A phone whose own connection is gone cannot be called either, unless one can be opened to it: that it does not
                // come again counts.
                let may_be_opened = way.is_ok() && !binding.flags().natted();
                return binding.path().is_empty() && arrived.transport.is_reliable() && !may_be_opened;
            }
            Ok(to) => to,
        };
        if binding.flags().ping() == Ping::Bytes {
            let bytes: &[u8] = match self.settings.nat.ping.bytes {
                _ if to.transport().is_reliable() => b"\r\n\r\n",
                PingBytes::Crlf => b"\r\n\r\n",
                PingBytes::Zeros => &[0; 4],
            };
            out.push(to, Ticket::NONE, |buffer| buffer.extend_from_slice(bytes));
        } else {
            let (shard, binding_key) = (self.place.index, (record.hash(), contact_id));
            let branch = PingBranch::new(&self.keys, shard, id.0, sent_at, binding_key);
            out.push(to, Ticket::NONE, |buffer| self.write_ping(&binding, &to, &arrived, &branch, buffer));
        }
        self.counters.pings_sent += 1;
        self.counters.sent += 1;
        true
    }

    /// Writes the request of a ping (RFC 3261 §11.1): out of any dialog, and each a call of its own.
    fn write_ping(
        &self,
        binding: &Binding<'_>,
        to: &Destination,
        arrived: &Source,
        branch: &PingBranch,
        out: &mut Vec<u8>,
    ) {
        let settings = &self.settings.nat.ping;
        let uri = proxy::in_request_uri(binding.uri());
        let begin = out.len();
        for part in [settings.method.as_bytes(), b" ", &uri, b" SIP/2.0\r\nVia: SIP/2.0/"] {
            out.extend_from_slice(part);
        }
        out.extend_from_slice(to.transport().via_token().as_bytes());
        out.push(b' ');
        self.write_sent_by(self.local_of(to, arrived), out);
        out.extend_from_slice(b";rport;branch=");
        branch.write(out);
        out.extend_from_slice(b"\r\n");
        if !binding.path().is_empty() {
            compose::header(out, "Route", binding.path());
        }
        compose::header_number(out, "Max-Forwards", limits::MAX_FORWARDS_DEFAULT);
        // Nothing but the branch need be kept apart, but no two pings look like one call to whoever takes notes.
        let number = self.keys.pair(b"ping-call", &out[begin..]);
        for part in [b"From: <", settings.from.as_bytes(), b">;tag=", &hexadecimal::<16>(number), b"\r\nTo: <"] {
            out.extend_from_slice(part);
        }
        out.extend_from_slice(&uri);
        out.extend_from_slice(b">\r\nCall-ID: ");
        out.extend_from_slice(&hexadecimal::<16>(!number));
        out.extend_from_slice(b"\r\nCSeq: 1 ");
        out.extend_from_slice(settings.method.as_bytes());
        out.extend_from_slice(b"\r\n");
        compose::end(out);
    }

    fn end_unanswered(&mut self, id: RecordId, contact_id: u64) {
        let Some(record) = self.location.get(id) else { return };
        let (hash, aor) = (record.hash(), record.aor().to_vec());
        let op = Op::Unbind(Unbind { contact_id, cause: Cause::Unanswered });
        self.location.apply(AorKey { hash, aor: &aor }, &op, &mut self.wheel, &mut self.counters);
    }

    /// A phone registers from `source`, which may tell that its NAT has closed before its last ping.
    pub(crate) fn note_registering(&mut self, key: AorKey<'_>, contact_id: u64, source: &Source, now: Now) {
        if !self.location.intervals.is_learning() || source.transport != Transport::Udp {
            return;
        }
        let Some((_, record)) = self.location.find(key) else { return };
        let Some(binding) = record.binding(contact_id) else { return };
        let health = binding.health().in_watch(self.pinger.watch);
        let has_moved = binding.transport() == Transport::Udp
            && binding.remote().ip() == source.remote.ip()
            && binding.remote().port() != source.remote.port();
        if has_moved && binding.is_live(now.unix_s()) && (health.is_open || health.lost > 0) {
            let change = self.location.intervals.moved(source.remote.ip(), now);
            self.count_change(change);
        }
    }

    /// The phone of a binding has answered a request of somebody: the next ping is spared, as after a REGISTER.
    pub(crate) fn note_heard(&mut self, id: RecordId, contact_id: u64, now: Now) {
        let binding = self.location.get(id).and_then(|record| record.binding(contact_id));
        let Some(binding) = binding.filter(|b| b.flags().ping() != Ping::None) else { return };
        let health = binding.health().in_watch(self.pinger.watch);
        let heard = Health { heard_at_s: now.unix_s(), lost: 0, is_open: false, ..health };
        if heard != health {
            self.location.set_health(id, contact_id, heard);
        }
    }

    fn count_change(&mut self, change: Change) {
        self.counters.ping_intervals_shortened += u64::from(change == Change::Shorter);
        self.counters.ping_intervals_lengthened += u64::from(change == Change::Longer);
    }

    /// Takes the response to a ping; whether it is one.
    pub(crate) fn ping_answered(&mut self, response: &Response<'_>, now: Now) -> bool {
        let Some(branch) = response.via.branch().and_then(PingBranch::read) else { return false };
        let id = RecordId(branch.record);
        let found = self.location.get(id).filter(|_| branch.shard == self.place.index).and_then(|record| {
            let hash = record.hash();
            let binding = record.bindings().find(|b| branch.is_of(&self.keys, (hash, b.contact_id())))?;
            Some((binding.contact_id(), binding.health(), binding.remote().ip()))
        });
        let Some((contact_id, health, ip)) = found else {
            self.counters.dropped_stray_response += 1;
            return true;
        };
        let threshold_ms = self.settings.nat.ping.threshold_ms;
        if self.settings.nat.ping.ignored_codes.contains(&response.status) {
            self.counters.pings_ignored += 1;
            return true;
        }
        let took_ms = (now.unix_ms() as u32).wrapping_sub(branch.sent_at);
        let mut health = health.in_watch(self.pinger.watch);
        let is_of_last = health.is_open && health.pinged_at == branch.sent_at;
        if is_of_last {
            self.counters.pings_answered += 1;
            health.latency_ms = took_ms.clamp(1, u16::MAX.into()) as u16;
            health.is_open = false;
            let change = self.location.intervals.answered(ip, now);
            self.count_change(change);
        }
        // One that comes again, or very late, still says that its phone is there.
        self.counters.pings_answered_late += u64::from(!is_of_last || took_ms > threshold_ms);
        health.lost = 0;
        health.heard_at_s = now.unix_s();
        self.location.set_health(id, contact_id, health);
        true
    }
}
