//! Hot backup: nodes with one home hold the same bindings, so that whichever of them gets its address goes on at once.
//!
//! # Contract
//! In: what the shards have written down and what they answer, over the link to them ([`sipfed_shards::ReplicaLink`]); what
//! other nodes with this home send, over the links between nodes; the role of this node; who the nodes are. Out: orders for
//! the shards, payloads for those nodes, claims of theirs for whoever decides the role, and whether this node knows all
//! bindings of its home ([`Wholeness`]). What is sent to whom and when is decided by the pure
//! [`sipfed_proto::replica::session::Replicator`]; this room only moves it, and tells people.
//!
//! It lives on the thread of the links, as their user ([`run`]). Nothing in it blocks. Bounds are those of the replicator, of
//! the queues to the shards, and of the links: while shards are behind, no link is read; while a link has no room, what is
//! to be sent stays where it is, and what cannot stay there any longer is found by a comparison later.
//!
//! # Rooms
//! [`statistics`] is what other threads see, [`secret`] what hashes come from on all nodes with one home.

mod secret;
mod statistics;

pub(crate) use secret::of_home;
pub(crate) use statistics::{ReplicationStatistics, Standing};

use crate::cluster::Id;
use crate::link::{LinkEvent, Links, NotSent};
use crate::ownership::{Claim, RoleWatch};
use sipfed_proto::Now;
use sipfed_proto::replica::end::Order;
use sipfed_proto::replica::session::{News, ReplicaSettings, Replicator};
use sipfed_shards::{ReplicaLink, Wake};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tracing::{error, info, warn};

/// The channel of the links that is this room's.
const CHANNEL: u8 = 1;
/// How long what shards have written down is gathered where nobody waits for it.
const GATHER: Duration = Duration::from_millis(2);
/// Reports of one shard that are taken before the others have their turn.
const REPORTS_PER_ROUND_MAX: usize = 1024;

/// What shards ring when they have something for this room.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReplicaBell(Arc<Notify>);

/// How often somebody has wanted a comparison now.
pub(crate) type Comparisons = watch::Receiver<u64>;

impl ReplicaBell {
    /// For the shards.
    pub(crate) fn wake(&self) -> Wake {
        let notify = Arc::clone(&self.0);
        Wake::new(move || notify.notify_one())
    }
}

/// Whether a node knows all bindings of its home: one that does not publishes nothing, since it would withdraw what it has
/// not heard of.
pub(crate) type Wholeness = watch::Receiver<bool>;

/// What replication is started with.
pub(crate) struct ReplicationSetup {
    pub(crate) settings: ReplicaSettings,
    /// The other nodes with this home, and those that there are later.
    pub(crate) backups: watch::Receiver<Vec<Id>>,
    pub(crate) shards: Arc<ReplicaLink>,
    pub(crate) bell: ReplicaBell,
    pub(crate) role: RoleWatch,
    /// Takes what other nodes claim.
    pub(crate) claims: Box<dyn Fn(Claim) + Send>,
    pub(crate) statistics: Arc<ReplicationStatistics>,
    pub(crate) comparisons: Comparisons,
    /// Whether this node sends to backups and takes from them, as operators may change.
    pub(crate) is_taking_part: watch::Receiver<bool>,
    pub(crate) is_whole: watch::Sender<bool>,
    /// Whether registrations wait for a backup, which is told where it has to be given up.
    pub(crate) is_sync: bool,
}

/// Lives for as long as the links do.
pub(crate) async fn run(setup: ReplicationSetup, links: Rc<Links>, mut events: mpsc::Receiver<LinkEvent>) {
    let (mut backups, mut role, bell) = (setup.backups.clone(), setup.role.clone(), setup.bell.clone());
    let (mut comparisons, mut is_taking_part) = (setup.comparisons.clone(), setup.is_taking_part.clone());
    let mut mover = Mover::new(setup, links);
    mover.set_role(&mut role);
    let mut ticks = interval(Duration::from_millis(Replicator::INTERVAL_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut gathered_at: Option<Instant> = None;
    loop {
        let is_congested = mover.replicator.is_congested();
        tokio::select! {
            event = events.recv(), if !is_congested => match event {
                Some(event) => mover.take(event),
                None => return,
            },
            () = bell.0.notified() => gathered_at = gathered_at.or_else(|| Some(Instant::now() + GATHER)),
            () = sleep_until(gathered_at.unwrap_or_else(Instant::now).into()), if gathered_at.is_some() => {}
            _ = ticks.tick() => {
                let now = mover.now();
                mover.replicator.handle_timeout(now);
                mover.tell_standing();
            }
            _ = role.changed() => mover.set_role(&mut role),
            () = changed(&mut is_taking_part) => {
                let wanted = *is_taking_part.borrow_and_update();
                mover.take_part(wanted);
            }
            () = changed(&mut comparisons) => {
                let nodes = mover.replicator.compare_now();
                info!(nodes, "what is held here is compared with what backups hold, as was asked");
            }
            () = changed(&mut backups) => {
                let nodes: Vec<u16> = backups.borrow_and_update().iter().map(|id| id.get()).collect();
                let now = mover.now();
                mover.replicator.set_backups(&nodes, now);
            }
        }
        // What a wake-up costs is shared by what shards write down meanwhile. What comes from other nodes is no reason to send
        // less at a time: they acknowledge all the time.
        if !mover.may_gather() || gathered_at.is_some_and(|at| at <= Instant::now()) {
            gathered_at = None;
            mover.take_reports();
        }
        mover.go_on();
    }
}

/// Until something else is said, which is never where nobody can: the nodes of a file are read once.
async fn changed<T>(said: &mut watch::Receiver<T>) {
    if said.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Moves what the replicator gives and wants.
struct Mover {
    setup: ReplicationSetup,
    links: Rc<Links>,
    replicator: Replicator,
    started: Instant,
    /// Orders that a shard had no room for.
    unsent: Vec<Option<Order>>,
    /// Frames that a link had no room for, by node.
    waiting: BTreeMap<Id, Vec<u8>>,
    /// Nodes to which there is a link that replication goes over.
    linked: Vec<Id>,
    is_taking_part: bool,
    /// Nothing that was promised is known to be on a second node, and that was told.
    is_alone: bool,
}

impl Mover {
    fn new(mut setup: ReplicationSetup, links: Rc<Links>) -> Self {
        let nodes: Vec<u16> = setup.backups.borrow_and_update().iter().map(|id| id.get()).collect();
        let replicator = Replicator::new(setup.settings.clone(), &nodes, Now::from_unix_ms(0));
        let shards_count = setup.shards.shards_count();
        let is_taking_part = *setup.is_taking_part.borrow_and_update();
        Self {
            links,
            replicator,
            started: Instant::now(),
            unsent: vec![None; shards_count],
            waiting: BTreeMap::new(),
            linked: Vec::new(),
            is_taking_part,
            is_alone: true,
            setup,
        }
    }

    /// Whether nobody waits for what shards have to say: no reply to a phone, and no backup that asks for the next bindings.
    fn may_gather(&self) -> bool {
        !self.setup.is_sync && !self.replicator.is_mending()
    }

    /// The time for the replicator, which measures only.
    fn now(&self) -> Now {
        Now::from_unix_ms(self.started.elapsed().as_millis() as u64)
    }

    fn set_role(&mut self, role: &mut RoleWatch) {
        let role = role.role();
        self.replicator.set_role(role.is_active, role.term);
    }

    fn take(&mut self, event: LinkEvent) {
        match event {
            // A backup that is told nothing takes this node for one that does not keep up.
            LinkEvent::Up { .. } if !self.is_taking_part => {}
            LinkEvent::Up { node, .. } => {
                self.linked.push(node);
                self.replicator.link_up(node.get());
            }
            LinkEvent::Payload { node, channel: CHANNEL, bytes } if self.linked.contains(&node) => {
                let now = self.now();
                if let Err(error) = self.replicator.receive(node.get(), &bytes, now) {
                    let why = error.to_string();
                    warn!(node = node.get(), why, "a backup does not keep to the protocol; the link to it is closed");
                    self.links.close(node, &why);
                }
            }
            // Of a room that this version does not have, or while this node takes no part.
            LinkEvent::Payload { .. } => {}
            LinkEvent::Down { node, .. } => {
                self.linked.retain(|linked| *linked != node);
                self.waiting.remove(&node);
                self.replicator.link_down(node.get());
            }
        }
    }

    /// Has this node take part from now on, or not. A backup is met anew either way, since what either end knows of the
    /// other is of one link.
    fn take_part(&mut self, is_taking_part: bool) {
        if self.is_taking_part == is_taking_part {
            return;
        }
        self.is_taking_part = is_taking_part;
        for node in std::mem::take(&mut self.linked) {
            self.waiting.remove(&node);
            self.replicator.link_down(node.get());
        }
        let why = if is_taking_part {
            info!("this node takes part in hot backup again, as was commanded");
            "the node takes part in hot backup again"
        } else {
            warn!("this node takes no part in hot backup, as was commanded: backups do not hear of what changes here");
            "the node takes no part in hot backup"
        };
        for node in self.setup.backups.borrow().iter() {
            self.links.close(*node, why);
        }
    }

    /// Moves whatever there is to move.
    fn go_on(&mut self) {
        self.give_orders();
        for index in 0..self.linked.len() {
            self.send(self.linked[index]);
        }
        for shard in 0..self.unsent.len() {
            self.setup.shards.release(shard, self.replicator.released(shard as u8));
        }
        while let Some(news) = self.replicator.next_news() {
            // Whoever reads of it in the log may look at once.
            self.tell_standing();
            self.tell(&news);
        }
        self.tell_whether_alone();
    }

    fn take_reports(&mut self) {
        let now = self.now();
        self.setup.shards.look();
        for shard in 0..self.unsent.len() {
            let mut taken = 0;
            while taken < REPORTS_PER_ROUND_MAX
                && let Some(report) = self.setup.shards.take_report(shard)
            {
                taken += 1;
                self.replicator.handle_report(shard as u8, report, now);
            }
            if taken == REPORTS_PER_ROUND_MAX {
                self.setup.bell.0.notify_one();
            }
        }
    }

    fn give_orders(&mut self) {
        for shard in 0..self.unsent.len() {
            let mut has_given = false;
            while let Some(order) = self.unsent[shard].take().or_else(|| self.replicator.next_order(shard as u8)) {
                match self.setup.shards.put(shard, order) {
                    Ok(()) => has_given = true,
                    Err(order) => {
                        self.unsent[shard] = Some(order);
                        break;
                    }
                }
            }
            if has_given {
                self.setup.shards.ring(shard);
            }
        }
    }

    /// Sends what there is for a node, as far as its link has room.
    fn send(&mut self, node: Id) {
        while let Some(mut frame) = self.waiting.remove(&node).or_else(|| self.replicator.next_frame(node.get())) {
            match self.links.send(node, CHANNEL, &mut frame) {
                Ok(()) => {}
                Err(NotSent::NoRoom) => {
                    self.waiting.insert(node, frame);
                    let (links, bell) = (Rc::clone(&self.links), self.setup.bell.clone());
                    tokio::task::spawn_local(async move {
                        links.room(node).await;
                        bell.0.notify_one();
                    });
                    return;
                }
                // That it is down is told as an event, if it has not been.
                Err(NotSent::NotUp) => return,
                Err(NotSent::TooLong) => {
                    warn!(node = node.get(), bytes = frame.len(), "what a backup lacks is too long for a link");
                }
            }
        }
    }

    fn tell(&self, news: &News) {
        match *news {
            News::Whole(source) => {
                self.setup.is_whole.send_replace(true);
                info!(source, "this node knows all bindings of its home");
            }
            News::Restarted { node, shard } => {
                info!(node, shard, "a backup is sent what is written from now on, and compared for the rest");
            }
            News::Synchronized { node, bindings } => {
                info!(node, bindings, "all bindings of a backup are held here");
            }
            News::Diverged { node, bindings } => {
                warn!(
                    node,
                    bindings, "a comparison with a backup found bindings that were missing here; they are mended"
                );
            }
            News::Unreadable(node) => error!(
                node,
                "a backup has sent what this release cannot read: bring both to the same release; until then this node lacks it"
            ),
            News::Lagging(node) => warn!(node, "a backup does not keep up"),
            News::CaughtUp(node) => info!(node, "a backup keeps up again"),
            News::Claim { node, state } => {
                if let Some(node) = Id::new(node.into()) {
                    (self.setup.claims)(Claim { node, term: state.term, is_active: state.is_active });
                }
            }
        }
    }

    fn tell_standing(&self) {
        let replicator = &self.replicator;
        self.setup.statistics.set(Standing {
            own: replicator.state(),
            is_backed_up: replicator.is_backed_up(),
            backups: replicator.reports(),
        });
    }

    /// With `replication = "sync"` it is told when it has to be given up, and when it is back.
    fn tell_whether_alone(&mut self) {
        let is_alone = !self.replicator.is_backed_up();
        if is_alone == self.is_alone {
            return;
        }
        self.is_alone = is_alone;
        match (is_alone, self.setup.is_sync) {
            (true, true) => warn!("no backup keeps up: registrations are promised although this node alone has them"),
            (false, true) => info!("registrations are promised once a backup has them"),
            (true, false) => warn!("no backup keeps up: this node alone has what is registered from now on"),
            (false, false) => info!("a backup keeps up"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn backups_that_nobody_can_change_are_no_reason_to_wake() {
        let (say, mut backups) = watch::channel(Vec::new());
        say.send(vec![Id::ONE]).unwrap();
        changed(&mut backups).await;
        backups.mark_unchanged();
        drop(say);
        tokio::select! {
            biased;
            () = changed(&mut backups) => panic!("they have not changed"),
            () = std::future::ready(()) => {}
        }
    }
}
