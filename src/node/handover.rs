//! How a node that stops leaves its home to a backup while it still serves, so that nobody is turned away in between.
//!
//! # Contract
//! In: the order to stop, where the node stands ([`Ownership`]), and what its backups hold ([`ReplicationStatistics`]). Out:
//! the file `draining` in the data directory, which keepalived takes as a reason to give the address up, or the command to be
//! passive where commands decide; and then an end of the waiting. The file stays until the node has started again and
//! knows all bindings of its home, so that it is not given the address before.
//!
//! Owned by the node's main thread, which waits in it for `stop.hand_over_s` at most. A node that is passive, or of which no
//! backup has all bindings, has nothing to hand over and nobody to take it.

use crate::ownership::{Mode, Ownership};
use crate::replication::{ReplicationStatistics, Standing};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tracing::{info, warn};

const FILE: &str = "draining";
/// What keepalived reads: anything but 0 is a fault of the host.
const TEXT: &str = "1\n";
/// How often it is looked whether the home has moved.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// How often it is looked at most whether what has reached the node is served.
const SETTLE_LOOKS_MAX: usize = 50;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Another node has the home.
    Over,
    /// Nobody took it in time.
    Kept,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Handover {
    mode: Mode,
    bound: Duration,
    file: PathBuf,
    /// Whether the file is there.
    is_marked: bool,
}

impl Handover {
    /// Of a node with this data directory, in which a stop may have left the file.
    pub(super) fn new(mode: Mode, bound: Duration, directory: &Path) -> Self {
        let file = directory.join(FILE);
        let is_marked = file.exists();
        Self { mode, bound, file, is_marked }
    }

    /// Whether the file of an earlier stop is still there.
    pub(super) fn is_marked(&self) -> bool {
        self.is_marked
    }

    /// Removes that file once the node knows all that it has to know to be given the home.
    pub(super) fn unmark_once_whole(&mut self, replication: Option<&ReplicationStatistics>) {
        if !self.is_marked || replication.is_some_and(|replication| !replication.standing().own.is_whole) {
            return;
        }
        self.is_marked = false;
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => warn!(
                reason = error.to_string(),
                file = self.file.display().to_string(),
                "the file of the last stop cannot be removed: remove it, or keepalived keeps the address away from this host"
            ),
            _ => {}
        }
    }

    /// Leaves the home to a backup, if this node has it and one can take it. `pause` is called while it waits, and is to return
    /// after that time at most. Whether another node has the home now.
    pub(super) fn run(
        &mut self,
        ownership: &Ownership,
        replication: &ReplicationStatistics,
        mut pause: impl FnMut(Duration),
    ) -> bool {
        if self.bound.is_zero() || !ownership.status().role.is_active {
            return false;
        }
        if !has_heir(&replication.standing()) {
            warn!("no backup has all bindings: the home is not handed over");
            return false;
        }
        let started = Instant::now();
        // Of use to whoever moves an address, whatever decides.
        self.mark();
        let end = match self.mode {
            Mode::Address => self.wait(|| !ownership.status().role.is_active, &mut pause),
            Mode::Command => {
                ownership.set_active_and_wait(false);
                let end = self.wait(|| is_taken(&replication.standing()), &mut pause);
                if end == End::Kept {
                    // Otherwise nobody would be active after the next start.
                    ownership.set_active_and_wait(true);
                }
                end
            }
        };
        let took_ms = started.elapsed().as_millis() as u64;
        match end {
            End::Over => info!(took_ms, "the home is handed over"),
            End::Kept => warn!(bound_s = self.bound.as_secs(), "no other node took the home over in time"),
        }
        end == End::Over
    }

    fn mark(&mut self) {
        match fs::write(&self.file, TEXT) {
            Ok(()) => self.is_marked = true,
            Err(error) => warn!(
                reason = error.to_string(),
                file = self.file.display().to_string(),
                "the file by which the home is handed over cannot be written: free space on the disk, or move the address by hand"
            ),
        }
    }

    fn wait(&self, is_over: impl Fn() -> bool, pause: &mut impl FnMut(Duration)) -> End {
        let end = Instant::now() + self.bound;
        loop {
            if is_over() {
                return End::Over;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return End::Kept;
            }
            pause(left.min(LOOK_INTERVAL));
        }
    }
}

/// Waits until what had reached the node's sockets when the home moved has been taken, so that it is served like what came
/// before and not turned away. `received` says how much was taken so far; where other addresses of the node are still sent to, it
/// never stands still, and so this ends in any case.
pub(super) fn settle(mut received: impl FnMut() -> u64, mut pause: impl FnMut(Duration)) {
    let mut before = received();
    for _ in 0..SETTLE_LOOKS_MAX {
        pause(LOOK_INTERVAL);
        let now = received();
        if now == before {
            return;
        }
        before = now;
    }
}

/// Whether a backup could go on at once.
fn has_heir(standing: &Standing) -> bool {
    standing.backups.iter().any(|backup| backup.is_connected && backup.has_all && backup.state.is_whole)
}

/// Whether a backup says that it is active.
fn is_taken(standing: &Standing) -> bool {
    standing.backups.iter().any(|backup| backup.is_connected && backup.state.is_active)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Id;
    use crate::ownership::OwnershipOptions;
    use sipfed_proto::replica::frame::State;
    use sipfed_proto::replica::session::BackupReport;

    const FOREVER: Duration = Duration::from_mins(10);

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("sipfed-handover-{}-{name}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        folder
    }

    fn own(mode: Mode, directory: &Path) -> Ownership {
        let options =
            OwnershipOptions { node: Id::ONE, ip: "127.0.0.1".parse().unwrap(), mode, directory: directory.to_owned() };
        Ownership::start(options, |_| {}).unwrap()
    }

    /// A backup that is connected and has everything.
    fn heir(is_active: bool) -> BackupReport {
        let state = State { is_whole: true, is_active, ..State::default() };
        BackupReport { node: 2, is_connected: true, has_all: true, state, ..BackupReport::default() }
    }

    fn known(backups: Vec<BackupReport>) -> ReplicationStatistics {
        let statistics = ReplicationStatistics::default();
        statistics.set(Standing { backups, ..Standing::default() });
        statistics
    }

    #[test]
    fn nothing_is_handed_over_where_nobody_can_take_it_or_nothing_is_had() {
        let folder = folder("nothing");
        let (active, passive) = (own(Mode::Address, &folder), own(Mode::Command, &folder));
        let never = |_| panic!("it waits");
        let lacks = |change: fn(&mut BackupReport)| {
            let mut backup = heir(false);
            change(&mut backup);
            known(vec![backup])
        };
        for replication in [
            known(Vec::new()),
            lacks(|backup| backup.is_connected = false),
            lacks(|backup| backup.has_all = false),
            lacks(|backup| backup.state.is_whole = false),
        ] {
            Handover::new(Mode::Address, FOREVER, &folder).run(&active, &replication, never);
        }
        let replication = known(vec![heir(false)]);
        Handover::new(Mode::Command, FOREVER, &folder).run(&passive, &replication, never);
        Handover::new(Mode::Address, Duration::ZERO, &folder).run(&active, &replication, never);
        assert!(!folder.join(FILE).exists());
        drop((active, passive));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_file_is_there_while_the_address_is_given_up_and_until_the_node_knows_all_again() {
        let folder = folder("file");
        let ownership = own(Mode::Address, &folder);
        let replication = known(vec![heir(false)]);
        let mut handover = Handover::new(Mode::Address, Duration::from_millis(50), &folder);
        let mut looks = 0;
        let is_over = handover.run(&ownership, &replication, |wait| {
            looks += 1;
            assert_eq!(fs::read_to_string(folder.join(FILE)).unwrap(), TEXT);
            // Nobody takes 127.0.0.1 away.
            std::thread::sleep(wait);
        });
        assert!(!is_over);
        assert!(looks > 0);
        let mut again = Handover::new(Mode::Address, FOREVER, &folder);
        assert!(again.is_marked());
        again.unmark_once_whole(Some(&replication));
        assert!(again.is_marked() && folder.join(FILE).exists());
        let own = State { is_whole: true, ..State::default() };
        replication.set(Standing { own, ..Standing::default() });
        again.unmark_once_whole(Some(&replication));
        assert!(!again.is_marked() && !folder.join(FILE).exists());
        drop(ownership);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn where_commands_decide_the_node_is_passive_and_waits_for_a_backup_that_is_active() {
        let folder = folder("command");
        let ownership = own(Mode::Command, &folder);
        ownership.set_active_and_wait(true);
        let replication = known(vec![heir(false)]);
        let mut handover = Handover::new(Mode::Command, FOREVER, &folder);
        let is_over = handover.run(&ownership, &replication, |_| {
            assert!(!ownership.status().role.is_active);
            replication.set(Standing { backups: vec![heir(true)], ..Standing::default() });
        });
        assert!(is_over);
        assert_eq!(ownership.status().commanded, Some(false));

        // Where nobody is told to take it, it comes back as what it was.
        ownership.set_active_and_wait(true);
        let mut handover = Handover::new(Mode::Command, Duration::from_millis(1), &folder);
        assert!(!handover.run(&ownership, &known(vec![heir(false)]), std::thread::sleep));
        assert_eq!(ownership.status().commanded, Some(true));
        drop(ownership);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_has_reached_the_node_is_taken_before_it_turns_anybody_away() {
        for (left, looks) in [(vec![3, 9, 9], 2), (vec![5, 5], 1), ((0..100).collect(), SETTLE_LOOKS_MAX)] {
            let (mut left, mut paused) = (left.into_iter(), 0);
            settle(|| left.next().unwrap(), |_| paused += 1);
            assert_eq!(paused, looks);
        }
    }
}
