//! What phones were told, and what has to follow from it: the checker of single bindings.
//!
//! In: what phones sent and what came back, with the node that it came from; when nodes died or lost their disks; when
//! the two nodes of a home held the same. Out: whether a node has to find a contact, or must not.
//!
//! when a phone has answered a ping. Out also: whether its binding may have ended since nothing was heard of it.
//!
//! # The rule
//! A node *knows* what was acknowledged: by itself, with the disk that it has; by its twin, where that promised that a
//! backup has it; or by its twin at all, once both have held the same since. A request counts as *followed* by another one
//! where a later one was made by the same node alone and its CSeq protects it, or where both nodes held the same in between.
//! Of two requests of which neither followed the other, as in a split brain, nothing is said.
//!
//! - A contact has to be found where the node knows of a request that bound it, which followed every request that may have
//!   removed it, and its time is not over.
//! - A binding that may end since its phone answers no ping has to be found only while one node alone had the address and
//!   something was heard of the phone every [`SILENCE_MS_MAX`].
//! - A contact must not be found where every request that may have bound it is over, or was followed by a removal that the
//!   node knows of.

use std::collections::{BTreeMap, BTreeSet};

/// How long nothing may be heard of a phone while its binding stays for sure: three pings in a row are lost later.
pub(crate) const SILENCE_MS_MAX: u64 = 20_000;

/// A contact: a phone, at a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Contact {
    pub(crate) home: usize,
    pub(crate) phone: usize,
}

/// What a request is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Bind { expires_s: u64 },
    Remove,
}

/// Who acknowledged a request, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledged {
    pub(crate) at: u64,
    pub(crate) node: usize,
    pub(crate) disk: u64,
    /// Whether it was promised that a backup has it.
    pub(crate) is_backed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    phone: usize,
    act: Act,
    sent_at: u64,
    /// When the last copy of it may have been handled.
    over_at: u64,
    acknowledged: Option<Acknowledged>,
}

/// See the module's documentation. Times are milliseconds since the simulation began.
#[derive(Debug)]
pub(crate) struct Ledger {
    asked: Vec<Asked>,
    by_contact: BTreeMap<Contact, Vec<usize>>,
    /// By home.
    homes: Vec<Vec<usize>>,
    /// By node.
    died_at: Vec<Vec<u64>>,
    /// Disks that were lost, by time, and the nodes that had them.
    lost_at: Vec<(u64, usize)>,
    /// By home: when its nodes held the same.
    equal_at: Vec<Vec<u64>>,
    /// By contact: when a ping was answered.
    heard_at: BTreeMap<Contact, Vec<u64>>,
    /// Phones whose bindings end when too many pings are not answered.
    mortal: BTreeSet<usize>,
    /// By home: from when on which nodes had its address.
    holders: Vec<Vec<(u64, Vec<usize>)>>,
    /// How long after it was sent a copy of a request may be handled.
    settle_ms: u64,
    /// How far apart clocks are, and what rounding adds.
    margin_ms: u64,
}

impl Ledger {
    /// Of these nodes, by home.
    pub(crate) fn new(homes: Vec<Vec<usize>>, settle_ms: u64, skew_ms: u64) -> Self {
        let (homes_count, nodes_count) = (homes.len(), homes.iter().map(Vec::len).sum());
        Self {
            asked: Vec::new(),
            by_contact: BTreeMap::new(),
            homes,
            died_at: vec![Vec::new(); nodes_count],
            lost_at: Vec::new(),
            equal_at: vec![Vec::new(); homes_count],
            heard_at: BTreeMap::new(),
            mortal: BTreeSet::new(),
            holders: vec![Vec::new(); homes_count],
            settle_ms,
            margin_ms: 2 * skew_ms + 2500,
        }
    }

    /// A phone begins to send a request about these contacts; gives its number.
    pub(crate) fn begin(&mut self, contacts: &[Contact], phone: usize, act: Act, at: u64) -> usize {
        let number = self.asked.len();
        self.asked.push(Asked { phone, act, sent_at: at, over_at: u64::MAX, acknowledged: None });
        for contact in contacts {
            self.by_contact.entry(*contact).or_default().push(number);
        }
        number
    }

    /// The phone sends it no more; `last_sent` is when it did so last.
    pub(crate) fn end(&mut self, number: usize, last_sent: u64, acknowledged: Option<Acknowledged>) {
        let asked = &mut self.asked[number];
        asked.over_at = last_sent + self.settle_ms;
        asked.acknowledged = acknowledged;
    }

    pub(crate) fn node_died(&mut self, node: usize, at: u64) {
        self.died_at[node].push(at);
    }

    pub(crate) fn disk_lost(&mut self, node: usize, at: u64) {
        self.lost_at.push((at, node));
    }

    /// Since when a node has the disk that it has.
    fn disk_since(&self, node: usize) -> u64 {
        self.lost_at.iter().rev().find(|lost| lost.1 == node).map_or(0, |lost| lost.0)
    }

    /// Both nodes of a home hold the same.
    pub(crate) fn are_equal(&mut self, home: usize, at: u64) {
        self.equal_at[home].push(at);
    }

    pub(crate) fn held_by(&mut self, home: usize, nodes: Vec<usize>, at: u64) {
        self.holders[home].push((at, nodes));
    }

    /// Bindings of a phone end when too many pings are not answered.
    pub(crate) fn may_end(&mut self, phone: usize) {
        self.mortal.insert(phone);
    }

    /// A phone has answered a ping.
    pub(crate) fn heard(&mut self, contact: Contact, at: u64) {
        self.heard_at.entry(contact).or_default().push(at);
    }

    /// Whether a binding made at `from` cannot have ended until `to` since nothing was heard of its phone.
    fn is_kept_alive(&self, contact: Contact, from: u64, to: u64) -> bool {
        if !self.mortal.contains(&contact.phone) {
            return true;
        }
        let spans = &self.holders[contact.home];
        let ends = spans.iter().skip(1).map(|span| span.0).chain([u64::MAX]);
        if spans.iter().zip(ends).any(|(span, end)| end >= from && span.0 <= to && span.1.len() != 1) {
            return false;
        }
        let answers = self.heard_at.get(&contact).into_iter().flatten().copied();
        let bound =
            self.of(contact).filter(|asked| matches!(asked.act, Act::Bind { .. }) && asked.acknowledged.is_some());
        let mut heard: Vec<u64> = answers.chain(bound.map(|asked| asked.sent_at)).collect();
        heard.extend([from, to]);
        heard.retain(|at| (from..=to).contains(at));
        heard.sort_unstable();
        heard.windows(2).all(|two| two[1] - two[0] <= SILENCE_MS_MAX)
    }

    /// How many requests were acknowledged.
    pub(crate) fn acknowledged_count(&self) -> usize {
        self.asked.iter().filter(|asked| asked.acknowledged.is_some()).count()
    }

    fn are_equal_within(&self, home: usize, from: u64, to: u64) -> bool {
        let equal_at = &self.equal_at[home];
        equal_at.get(equal_at.partition_point(|at| *at < from)).is_some_and(|at| *at <= to)
    }

    /// Whether `node` knows at `as_of` what was acknowledged.
    fn knows(&self, home: usize, node: usize, asked: &Asked, as_of: u64) -> bool {
        let Some(by) = asked.acknowledged.filter(|by| by.at <= as_of) else { return false };
        let mut knowing: Vec<usize> = Vec::new();
        if self.disk_at(by.node, by.at) == by.disk {
            knowing.push(by.node);
        }
        knowing.extend(self.backups_of(home, asked, by));
        // Each disk that is lost takes with it what the other node has not had since.
        let lost = self.lost_at.iter().filter(|lost| (by.at..=as_of).contains(&lost.0));
        let mut from = by.at;
        for (at, loser) in lost.copied().chain([(as_of, usize::MAX)]) {
            if !knowing.is_empty() && self.are_equal_within(home, from, at) {
                knowing.clone_from(&self.homes[home]);
            }
            knowing.retain(|node| *node != loser);
            from = at;
        }
        knowing.contains(&node)
    }

    fn disk_at(&self, node: usize, at: u64) -> u64 {
        self.lost_at.iter().filter(|lost| lost.1 == node && lost.0 <= at).count() as u64
    }

    /// The other nodes of a home of which it was promised that they have it.
    fn backups_of(&self, home: usize, asked: &Asked, by: Acknowledged) -> impl Iterator<Item = usize> {
        // Where both nodes may have written, a refresh is nothing to who has another binding, or none any more: only one may
        // have had the address, and they have to have been equal since.
        let held = self.holders[home].iter().rev().find(|span| span.0 <= by.at);
        let is_one_since = held.filter(|span| span.1.len() == 1).map(|span| span.0);
        let is_promised =
            by.is_backed && is_one_since.is_some_and(|since| self.are_equal_within(home, since, asked.sent_at));
        let is_alive = move |node: &usize| {
            let died_at = &self.died_at[*node];
            *node != by.node && is_promised && !died_at.iter().any(|at| (asked.sent_at..=by.at).contains(at))
        };
        self.homes[home].iter().copied().filter(is_alive)
    }

    /// The nodes that may have handled a request.
    fn handlers(&self, home: usize, asked: &Asked) -> Vec<usize> {
        let spans = &self.holders[home];
        let mut nodes: Vec<usize> = asked.acknowledged.iter().map(|by| by.node).collect();
        for (index, (from, holders)) in spans.iter().enumerate() {
            let until = spans.get(index + 1).map_or(u64::MAX, |next| next.0);
            if *from <= asked.over_at && until >= asked.sent_at {
                nodes.extend(holders);
            }
        }
        nodes
    }

    /// Whether `later`, which was acknowledged, is known to have been done after `earlier`, and knowing of it.
    fn is_followed(&self, home: usize, earlier: &Asked, later: &Asked) -> bool {
        let Some(by) = later.acknowledged else { return false };
        if earlier.sent_at >= later.sent_at {
            return false;
        }
        let is_protected = earlier.phone == later.phone || earlier.over_at < later.sent_at;
        let has_disk = self.disk_at(by.node, u64::MAX) == by.disk;
        let disk_since = if has_disk { self.disk_since(by.node) } else { u64::MAX };
        let is_same = self.handlers(home, earlier).iter().all(|node| *node == by.node);
        if is_same && is_protected && disk_since <= earlier.sent_at {
            return true;
        }
        self.are_equal_within(home, earlier.over_at.max(disk_since), later.sent_at)
    }

    /// Whether anything was ever asked for a contact.
    pub(crate) fn was_asked(&self, contact: Contact) -> bool {
        self.by_contact.contains_key(&contact)
    }

    fn of(&self, contact: Contact) -> impl Iterator<Item = &Asked> {
        self.by_contact.get(&contact).into_iter().flatten().map(|number| &self.asked[*number])
    }

    /// Whether the answer of `node`, asked at `as_of` and heard at `now`, has to name the contact.
    pub(crate) fn has_to_be_found(&self, contact: Contact, node: usize, as_of: u64, now: u64) -> bool {
        let home = contact.home;
        let is_bound = |bound: &Asked| {
            let Act::Bind { expires_s } = bound.act else { return false };
            let mut until = bound.sent_at + expires_s * 1000;
            for other in self.of(contact).filter(|other| !std::ptr::eq(*other, bound)) {
                let is_before = self.is_followed(home, other, bound);
                match other.act {
                    Act::Remove if !is_before => return false,
                    Act::Bind { expires_s } if !is_before => until = until.min(other.sent_at + expires_s * 1000),
                    _ => {}
                }
            }
            until > now + self.margin_ms
                && self.knows(home, node, bound, as_of)
                && self.is_kept_alive(contact, bound.sent_at, as_of)
        };
        self.disk_since(node) <= as_of && self.of(contact).any(is_bound)
    }

    /// Whether the answer of `node`, asked at `as_of`, must not name the contact.
    pub(crate) fn must_not_be_found(&self, contact: Contact, node: usize, as_of: u64) -> bool {
        let home = contact.home;
        self.of(contact).all(|bound| {
            let Act::Bind { expires_s } = bound.act else { return true };
            let is_over = bound.over_at.saturating_add(expires_s * 1000 + self.margin_ms) < as_of;
            is_over
                || self.of(contact).any(|removed| {
                    removed.act == Act::Remove
                        && self.is_followed(home, bound, removed)
                        && self.knows(home, node, removed, as_of)
                })
        })
    }

    /// What was asked for a contact, for whoever has to find out what went wrong.
    pub(crate) fn tell(&self, contact: Contact) -> String {
        let tell = |asked: &Asked| {
            let by = asked.acknowledged.map_or_else(
                || "no answer".to_owned(),
                |by| format!("200 at {} by n{}{}", by.at, by.node, if by.is_backed { ", backed up" } else { "" }),
            );
            format!("{:?} by p{} at {}: {by}", asked.act, asked.phone, asked.sent_at)
        };
        self.of(contact).map(tell).collect::<Vec<_>>().join("; ")
    }
}
