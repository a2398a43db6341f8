//! Which of the nodes with one home answers for it: the one that is *active*; the others are *passive*.
//!
//! In: what the kernel says of the address of the home, which keepalived or vrrpd moves between the nodes; commands; what
//! twins claim. Out: the node's [`Role`], to the shards by a function and to tasks by a [`RoleWatch`]; a [`Status`] for whoever
//! asks. One thread does it, which reads netlink ([`addresses`]), asks a pure machine ([`sipfed_nodes::ownership`]) and keeps what has to
//! outlive the process ([`kept`]). A role is in force only once its term is durable; on a disk that fails it is all the same,
//! with an error, since a home that nobody answers for is worse.
//!
//! Owned by the node, which starts it after the shards and before whoever follows it. A node without twins has none, is
//! always active, and pays for nothing of this.
//!
//! Bounds: [`REQUESTS_COUNT_MAX`] commands and claims wait; one more claim is dropped, since the next one says the same.

mod addresses;
mod kept;

pub(crate) use sipfed_nodes::ownership::{Claim, Mode, Role};

use crate::cluster::Id;
use crate::replication::Wholeness;
use addresses::AddressWatch;
use sipfed_directory::ActivityWatch;
use sipfed_nodes::ownership::{Kept, Machine, Told};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tracing::{error, info, warn};

/// Commands and claims that wait for the thread.
const REQUESTS_COUNT_MAX: usize = 64;
/// How long a start waits for the kernel to say whether the address is there; a later answer counts as well.
const FIRST_ANSWER_MAX: Duration = Duration::from_secs(1);

/// What ownership is started with.
#[derive(Clone, Debug)]
pub(crate) struct OwnershipOptions {
    /// This node.
    pub(crate) node: Id,
    /// The address of its home.
    pub(crate) ip: IpAddr,
    pub(crate) mode: Mode,
    /// The data directory.
    pub(crate) directory: PathBuf,
}

/// Where a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) role: Role,
    /// Whether the host has the address; `None` until the kernel has said so.
    pub(crate) has_address: Option<bool>,
    /// What was commanded last, also where the address decides.
    pub(crate) commanded: Option<bool>,
    /// How often a twin was found active while this node was.
    pub(crate) split_brains: u64,
    /// Whether what has to outlive the process is on the disk.
    pub(crate) is_kept: bool,
}

/// Tells a task what the node is, and waits for that to change.
#[derive(Clone, Debug)]
pub(crate) struct RoleWatch {
    /// `None` where it never changes.
    status: Option<watch::Receiver<Status>>,
    /// Where it counts as passive until this says otherwise.
    is_whole: Option<watch::Receiver<bool>>,
    seen: Role,
}

impl RoleWatch {
    /// Of a node that is always active.
    pub(crate) const fn always_active() -> Self {
        Self { status: None, is_whole: None, seen: Role::ALONE }
    }

    /// The same for who must not act before the node knows all bindings of its home: until then it is told that the node
    /// is passive.
    pub(crate) fn once_whole(self, is_whole: Wholeness) -> Self {
        Self { is_whole: Some(is_whole), ..self }
    }

    /// What the node is now.
    pub(crate) fn role(&mut self) -> Role {
        let role = self.status.as_mut().map_or(Role::ALONE, |status| status.borrow_and_update().role);
        let is_whole = self.is_whole.as_mut().is_none_or(|is_whole| *is_whole.borrow_and_update());
        self.seen = Role { is_active: role.is_active && is_whole, ..role };
        self.seen
    }

    /// What the node is once that is otherwise than what this has given last. May be dropped and called again.
    pub(crate) async fn changed(&mut self) -> Role {
        loop {
            let before = self.seen;
            if self.role() != before {
                return self.seen;
            }
            // Where nobody decides any more, as in a node that stops, it stays.
            tokio::select! {
                () = changed(&mut self.status) => {}
                () = changed(&mut self.is_whole) => {}
            }
        }
    }
}

impl ActivityWatch for RoleWatch {
    fn is_active(&mut self) -> bool {
        self.role().is_active
    }

    async fn changed(&mut self) -> bool {
        Self::changed(self).await.is_active
    }
}

/// Until something else is said, which may be never.
async fn changed<T>(said: &mut Option<watch::Receiver<T>>) {
    let is_said = match said {
        Some(said) => said.changed().await.is_ok(),
        None => false,
    };
    // Where nobody decides any more, as in a node that stops, it stays.
    if !is_said {
        std::future::pending::<()>().await;
    }
}

#[derive(Debug)]
enum Request {
    Command { is_active: bool, done: oneshot::Sender<Status> },
    Claim(Claim),
}

/// The running thread. Dropping this ends it; the role then stays what it is.
#[derive(Debug)]
pub(crate) struct Ownership {
    requests: mpsc::Sender<Request>,
    status: watch::Receiver<Status>,
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

impl Ownership {
    /// Starts the thread and waits until the first role is in force. `apply` is called on the thread with each role, and when
    /// the address comes or goes, before anybody else is told; it must not block.
    pub(crate) fn start(options: OwnershipOptions, apply: impl Fn(Status) + Send + 'static) -> io::Result<Self> {
        let (requests, requested) = mpsc::channel(REQUESTS_COUNT_MAX);
        let (status, follow) = watch::channel(Status {
            role: Role::UNKNOWN,
            has_address: None,
            commanded: None,
            split_brains: 0,
            is_kept: true,
        });
        let stop = Arc::new(Notify::new());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stopped, (ready, is_ready)) = (Arc::clone(&stop), std_mpsc::sync_channel(1));
        let run = move || {
            let mut owner = Owner::new(options, apply, status);
            runtime.block_on(async {
                tokio::select! {
                    () = owner.run(requested, ready) => {}
                    () = stopped.notified() => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("ownership".to_owned()).spawn(run)?;
        // Where the kernel says nothing the node starts all the same, passive, and the reason is told.
        let _ = is_ready.recv_timeout(FIRST_ANSWER_MAX);
        Ok(Self { requests, status: follow, stop, thread: Some(thread) })
    }

    /// For a task that does something else while the node is passive.
    pub(crate) fn follow(&self) -> RoleWatch {
        let mut status = self.status.clone();
        let seen = status.borrow_and_update().role;
        RoleWatch { status: Some(status), is_whole: None, seen }
    }

    /// Where the node stands.
    pub(crate) fn status(&self) -> Status {
        *self.status.borrow()
    }

    /// For whoever has commands from people and scripts.
    pub(crate) fn commander(&self) -> Commander {
        Commander { requests: self.requests.clone(), status: self.status.clone() }
    }

    /// As [`Commander::set_active`], for a thread that may wait.
    pub(crate) fn set_active_and_wait(&self, is_active: bool) -> Option<Status> {
        let (done, is_done) = oneshot::channel();
        self.requests.blocking_send(Request::Command { is_active, done }).ok()?;
        is_done.blocking_recv().ok()
    }

    /// For whoever hears what nodes with the same home say they are, over links on which they are known to be those nodes.
    pub(crate) fn claims(&self) -> impl Fn(Claim) + Send + use<> {
        let requests = self.requests.clone();
        move |claim| _ = requests.try_send(Request::Claim(claim))
    }
}

/// Takes commands to the thread, from any other.
#[derive(Clone, Debug)]
pub(crate) struct Commander {
    requests: mpsc::Sender<Request>,
    status: watch::Receiver<Status>,
}

impl Commander {
    /// Where the node stands.
    pub(crate) fn status(&self) -> Status {
        *self.status.borrow()
    }

    /// Somebody wants the node to be active or passive, as by `nh_enable_ping` or a sharing tag. Gives where the node stands
    /// after that: where the address decides, a command is recorded and changes nothing. `None` while the node stops.
    pub(crate) async fn set_active(&self, is_active: bool) -> Option<Status> {
        let (done, is_done) = oneshot::channel();
        self.requests.send(Request::Command { is_active, done }).await.ok()?;
        is_done.await.ok()
    }
}

impl Drop for Ownership {
    fn drop(&mut self) {
        self.stop.notify_one();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            error!("the thread that follows the virtual address had panicked");
        }
    }
}

/// What the thread owns.
struct Owner<F> {
    options: OwnershipOptions,
    apply: F,
    status: watch::Sender<Status>,
    machine: Machine,
    /// What is on the disk; `None` while that is not known.
    kept: Option<Kept>,
    /// Whether a role is in force.
    is_settled: bool,
}

impl<F: Fn(Status)> Owner<F> {
    fn new(options: OwnershipOptions, apply: F, status: watch::Sender<Status>) -> Self {
        let found = kept::find(&options.directory);
        if let Err(why) = &found {
            let path = kept::path(&options.directory).display().to_string();
            error!(
                why,
                path, "what was kept of earlier terms is of no use: they begin anew, and a twin may know greater ones"
            );
        }
        // What was never there need not be written to be so.
        let kept = found.ok().map(Option::unwrap_or_default);
        let machine = Machine::new(options.node, options.mode, kept.unwrap_or_default());
        Self { options, apply, status, machine, kept, is_settled: false }
    }

    async fn run(&mut self, mut requested: mpsc::Receiver<Request>, ready: std_mpsc::SyncSender<()>) {
        let mut addresses = AddressWatch::new(self.options.ip);
        if self.options.mode == Mode::Command {
            // What was commanded last holds whatever the kernel has to say.
            self.settle();
            let _ = ready.try_send(());
        }
        loop {
            let mut told = Vec::new();
            let mut done = None;
            let deadline = self.machine.next_deadline();
            tokio::select! {
                // The kernel first: a hook runs when the address has moved.
                biased;
                has_address = addresses.changed() => self.machine.handle_address(has_address),
                request = requested.recv() => match request {
                    Some(Request::Command { is_active, done: asked }) => {
                        self.machine.handle_command(is_active, Instant::now());
                        done = Some(asked);
                    }
                    Some(Request::Claim(claim)) => self.machine.handle_claim(claim, &mut told),
                    None => return,
                },
                () = until(deadline) => self.machine.handle_timeout(Instant::now(), &mut told),
            }
            self.settle();
            for told in told {
                self.tell(told);
            }
            if let Some(done) = done {
                // Who asked may have gone.
                let _ = done.send(*self.status.borrow());
            }
            if self.machine.has_address().is_some() {
                // Only the first one is waited for.
                let _ = ready.try_send(());
            }
        }
    }

    /// Puts in force what the machine has come to: what has to be kept first, then the role.
    fn settle(&mut self) {
        let wanted = self.machine.kept();
        if self.kept != Some(wanted) {
            match kept::keep(&self.options.directory, wanted) {
                Ok(()) => self.kept = Some(wanted),
                Err(source) => {
                    self.kept = None;
                    let (why, path) = (source.to_string(), kept::path(&self.options.directory).display().to_string());
                    error!(why, path, "the term of this node is not kept: after a restart it may use it a second time");
                }
            }
        }
        let before = *self.status.borrow();
        let machine = &self.machine;
        let status = Status {
            role: machine.role(),
            has_address: machine.has_address(),
            commanded: wanted.commanded,
            split_brains: machine.splits(),
            is_kept: self.kept.is_some(),
        };
        let is_first = !std::mem::replace(&mut self.is_settled, true);
        if is_first || (status.role, status.has_address) != (before.role, before.has_address) {
            (self.apply)(status);
        }
        self.status.send_replace(status);
        if is_first || status.role.is_active != before.role.is_active {
            let Role { is_active, term } = status.role;
            let (address, by) = (self.options.ip.to_string(), self.options.mode.word());
            let has_address = status.has_address;
            if is_active {
                info!(term, address, has_address, by, "this node is active");
            } else {
                info!(term, address, has_address, by, "this node is passive");
            }
        }
    }

    fn tell(&self, told: Told) {
        let address = self.options.ip.to_string();
        match told {
            Told::Contradiction { commanded } => warn!(
                commanded_active = commanded,
                address,
                "a command contradicts the kernel: this node is active while its host has the address; move the address, or set \
                 cluster.ownership = \"command\""
            ),
            Told::SplitBrain { node, term } => {
                let (node, its_term) = (node.get(), term);
                match self.options.mode {
                    Mode::Address => warn!(
                        node,
                        its_term,
                        address,
                        "split brain: another node is active as well; see to it that one of them has the address alone"
                    ),
                    Mode::Command => warn!(
                        node,
                        its_term,
                        address,
                        "split brain: another node is active as well; the one with the earlier term becomes passive"
                    ),
                }
            }
            Told::Healed => info!(address, "the split brain is over: no other node is active any more"),
            Told::Yielded { node, term } => warn!(
                node = node.get(),
                its_term = term,
                "this node was active too, in an earlier term than that node, and is passive from now on"
            ),
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::sync::Mutex;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("sipfed-owner-{}-{name}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    fn start(mode: Mode, ip: &str, directory: &Path) -> (Ownership, Arc<Mutex<Vec<Role>>>) {
        let applied = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&applied);
        let options =
            OwnershipOptions { node: Id::ONE, ip: ip.parse().unwrap(), mode, directory: directory.to_path_buf() };
        let apply = move |status: Status| {
            let mut told = told.lock().unwrap();
            // The kernel may have its say about the address in between.
            if told.last() != Some(&status.role) {
                told.push(status.role);
            }
        };
        let ownership = Ownership::start(options, apply).unwrap();
        (ownership, applied)
    }

    const fn role(is_active: bool, term: u64) -> Role {
        Role { is_active, term }
    }

    #[tokio::test]
    async fn a_node_whose_host_has_the_address_starts_active_in_a_later_term_each_time() {
        let folder = folder("address");
        for term in 1..=2 {
            let (ownership, applied) = start(Mode::Address, "127.0.0.1", &folder);
            assert_eq!(*applied.lock().unwrap(), [role(true, term)]);
            // A command is answered and changes nothing.
            let status = ownership.commander().set_active(false).await.unwrap();
            assert_eq!((status.role, status.commanded), (role(true, term), Some(false)));
            assert!(status.is_kept && status.has_address == Some(true));
            let kept = kept::find(&folder).unwrap().unwrap();
            assert_eq!((kept.own_term, kept.commanded), (term, Some(false)));
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn commands_and_claims_change_the_role_for_shards_tasks_and_after_a_restart() {
        let folder = folder("command");
        let (ownership, applied) = start(Mode::Command, "198.51.100.1", &folder);
        let mut task = ownership.follow();
        assert_eq!(task.role(), role(false, 0));
        assert_eq!(ownership.commander().set_active(true).await.unwrap().role, role(true, 1));
        assert_eq!(task.changed().await, role(true, 1));
        ownership.claims()(Claim { node: Id::new(2).unwrap(), term: 4, is_active: true });
        assert_eq!(task.changed().await, role(false, 4));
        assert_eq!(ownership.status().split_brains, 1);
        assert_eq!(ownership.commander().set_active(true).await.unwrap().role, role(true, 5));
        assert_eq!(*applied.lock().unwrap(), [role(false, 0), role(true, 1), role(false, 4), role(true, 5)]);
        drop(ownership);
        let (_again, applied) = start(Mode::Command, "198.51.100.1", &folder);
        assert_eq!(*applied.lock().unwrap(), [role(true, 5)], "without waiting for anybody");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn a_disk_that_fails_keeps_no_home_from_being_answered_for() {
        let nowhere = std::env::temp_dir().join("sipfed-owner-nowhere");
        let (ownership, applied) = start(Mode::Address, "127.0.0.1", &nowhere);
        assert_eq!(*applied.lock().unwrap(), [role(true, 1)]);
        assert!(!ownership.status().is_kept);
        assert_eq!(ownership.follow().role(), role(true, 1));
    }

    #[tokio::test]
    async fn who_must_know_all_is_told_that_the_node_is_passive_until_it_does() {
        let (say, is_whole) = watch::channel(false);
        let mut task = RoleWatch::always_active().once_whole(is_whole);
        assert!(!task.role().is_active);
        say.send(true).unwrap();
        assert!(task.changed().await.is_active);
    }

    #[tokio::test]
    async fn a_node_without_twins_is_active_and_stays_so() {
        let mut alone = RoleWatch::always_active();
        assert!(alone.role().is_active);
        tokio::select! {
            biased;
            role = alone.changed() => panic!("{role:?}"),
            () = std::future::ready(()) => {}
        }
    }
}
