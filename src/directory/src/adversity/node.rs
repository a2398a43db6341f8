//! A node of real shards and a keeper, with a store that the test holds in its hand.

use crate::memory::MemoryStore;
use crate::store::{Store, StoreOptions};
use crate::url::StoreUrl;
use crate::{ActivityWatch, Ambient, Bell, Keeper, KeeperOptions};
use sipfed_proto::settings::DirectorySettings;
use sipfed_proto::{Listener, Settings, Transport};
use sipfed_shards::{DataPlane, DirectoryLink, Options, SocketOptions, TlsOptions, Wake, WebSocketOptions};
use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long anything may take before its test fails.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);
/// How often the state of another thread is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// Requests that wait for their answer at a time.
const WINDOW: usize = 64;
/// When an answer is missed, and asked for again.
const RETRANSMIT: Duration = Duration::from_millis(500);

/// This node's, as published.
pub(super) const HOME: &str = "192.0.2.1";

/// The AoRs of phones with these numbers, sorted.
pub(super) fn aors(numbers: impl Iterator<Item = u32>) -> Vec<String> {
    let mut aors: Vec<String> = numbers.map(|number| format!("u{number}@fed.example")).collect();
    aors.sort();
    aors
}

/// Waits until it is so.
pub(super) fn poll(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// Does a request of a store here and now.
pub(super) fn now<T>(request: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(request)
}

/// What a test says with the sender.
struct Follow(watch::Receiver<bool>);

impl ActivityWatch for Follow {
    fn is_active(&mut self) -> bool {
        *self.0.borrow_and_update()
    }

    async fn changed(&mut self) -> bool {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.is_active()
    }
}

/// See the module's documentation.
pub(super) struct Node {
    keeper: Option<Keeper>,
    plane: DataPlane,
    store: Store,
    at: SocketAddr,
    phone: UdpSocket,
    cseq: u32,
    role: watch::Sender<bool>,
}

impl Node {
    /// One of two shards that has compared what the store says.
    pub(super) fn start(store: &MemoryStore, change: impl FnOnce(&mut KeeperOptions)) -> Self {
        Self::start_on(2, store, change)
    }

    pub(super) fn start_on(shards: usize, store: &MemoryStore, change: impl FnOnce(&mut KeeperOptions)) -> Self {
        let node = Self::start_unsettled(shards, store, change);
        node.wait_until("the first reconcile is done", |node| node.count("reconciles") == 1);
        node
    }

    /// One that has just been started.
    pub(super) fn start_unsettled(shards: usize, store: &MemoryStore, change: impl FnOnce(&mut KeeperOptions)) -> Self {
        Self::start_as(true, shards, store, change)
    }

    /// One that is not the active one of its home.
    pub(super) fn start_passive(store: &MemoryStore) -> Self {
        Self::start_as(false, 2, store, |_| {})
    }

    fn start_as(is_active: bool, shards: usize, store: &MemoryStore, change: impl FnOnce(&mut KeeperOptions)) -> Self {
        let mut options = KeeperOptions {
            url: StoreUrl::Memory,
            store: StoreOptions::default(),
            home: HOME.to_owned(),
            is_empty: true,
            has_twin: false,
            lookup_deadline: Duration::from_millis(200),
            pending_max: 100_000,
            reconcile_interval: None,
            reconcile_rows_per_s: 1_000_000,
            ambient: Ambient::default(),
        };
        change(&mut options);
        let directory = DirectorySettings { home: HOME.to_owned(), ask_peers_max: 0, ..DirectorySettings::default() };
        let domains = vec!["fed.example".to_owned()];
        let bell = Bell::default();
        let plane = DataPlane::start(Options {
            cores: vec![0; shards],
            listeners: vec![Listener { transport: Transport::Udp, addr: SocketAddr::from(([127, 0, 0, 1], 0)) }],
            virtual_ip: None,
            settings: Settings { domains, directory: Some(directory), ..Settings::default() },
            names: None,
            replication: None,
            sockets: SocketOptions {
                receive_buffer_bytes: 1 << 20,
                send_buffer_bytes: 1 << 20,
                coalesce_us: 500,
                connections_per_shard_max: 10,
                stream_idle_s: 60,
                connect_timeout_ms: 2000,
                stream_message_bytes_max: 65_535,
                stream_write_bytes_max: 256 * 1024,
                tls: TlsOptions::default(),
                websocket: WebSocketOptions::default(),
            },
            persistence: None,
            directory: Some({
                let bell = bell.clone();
                Wake::new(move || bell.ring())
            }),
        })
        .unwrap();
        let store = Store::Memory(store.clone());
        let (role, follow) = watch::channel(is_active);
        let link = plane.directory().unwrap();
        let keeper = Keeper::start_with(options, link, &bell, Follow(follow), Some(store.clone())).unwrap();
        let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
        phone.set_read_timeout(Some(RETRANSMIT)).unwrap();
        Self { keeper: Some(keeper), at: plane.listening()[0], plane, store, phone, cseq: 0, role }
    }

    /// Stops the keeper, then the shards.
    pub(super) fn stop(mut self) {
        self.keeper.take().unwrap().stop();
        self.plane.stop();
    }

    /// Makes it the active one of its home, or another.
    pub(super) fn set_active(&self, is_active: bool) {
        self.role.send_modify(|told| *told = is_active);
    }

    pub(super) fn keeper(&self) -> &Keeper {
        self.keeper.as_ref().unwrap()
    }

    pub(super) fn link(&self) -> Arc<DirectoryLink> {
        self.plane.directory().unwrap()
    }

    /// What the keeper counts under this name.
    pub(super) fn count(&self, name: &str) -> u64 {
        let counts = self.keeper().statistics().counts();
        counts.into_iter().find(|(counted, _)| *counted == name).unwrap().1
    }

    /// Whether nothing waits to be written, as far as the keeper knows.
    pub(super) fn is_settled(&self) -> bool {
        self.keeper().statistics().lag().pending == 0
    }

    pub(super) fn wait_until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so(self) {
            let counts = self.keeper().statistics();
            assert!(Instant::now() < end, "waited in vain until {what}: {:?} {:?}", counts.lag(), counts.counts());
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// The AoRs that the store says are at home here, sorted; `None` where it does not answer.
    pub(super) fn rows(&self) -> Option<Vec<String>> {
        let (rows, _) = now(self.store.scan(Some(HOME), None, usize::MAX)).ok()?;
        Some(rows.into_iter().map(|row| row.row.aor.into_string()).collect())
    }

    /// When each of these rows was last written.
    pub(super) fn newest_stamps(&self) -> BTreeMap<Box<str>, i64> {
        let (rows, _) = now(self.store.scan(Some(HOME), None, usize::MAX)).unwrap();
        rows.into_iter().map(|row| (row.row.aor, row.row.written_at_us.unwrap())).collect()
    }

    /// Registers phones for so long (0 to leave), and waits for the 200 to each.
    pub(super) fn register(&mut self, mut numbers: Range<u32>, expires_s: u32) {
        self.cseq += 1;
        let (cseq, end, mut open) = (self.cseq, Instant::now() + PATIENCE, HashMap::new());
        loop {
            while open.len() < WINDOW
                && let Some(number) = numbers.next()
            {
                let contact = format!("Contact: <sip:u{number}@192.0.2.99>;expires={expires_s}\r\n");
                let message = self.request("REGISTER", &format!("u{number}"), "sip:fed.example", cseq, &contact);
                self.phone.send_to(message.as_bytes(), self.at).unwrap();
                open.insert(format!("u{number}"), message);
            }
            if open.is_empty() {
                return;
            }
            let Some(answer) = self.receive() else {
                assert!(Instant::now() < end, "{} REGISTERs are not answered", open.len());
                for message in open.values() {
                    self.phone.send_to(message.as_bytes(), self.at).unwrap();
                }
                continue;
            };
            if answer.contains(&format!("CSeq: {cseq} REGISTER\r\n")) {
                assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
                let (_, rest) = answer.split_once("Call-ID: ").unwrap();
                open.remove(rest.split("\r\n").next().unwrap());
            }
        }
    }

    /// Calls somebody, and does not wait for what comes of it.
    pub(super) fn begin_call(&mut self, user: &str) {
        self.cseq += 1;
        let invite = self.request("INVITE", user, &format!("sip:{user}@fed.example"), self.cseq, "");
        self.phone.send_to(invite.as_bytes(), self.at).unwrap();
    }

    /// Calls somebody who has no phone here; the final status.
    pub(super) fn call(&mut self, user: &str) -> u16 {
        self.begin_call(user);
        let end = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < end, "no final response to a call to {user}");
            let Some(answer) = self.receive() else { continue };
            let status = answer.get(8..11).and_then(|status| status.parse().ok()).unwrap();
            if status >= 200 && answer.contains(&format!("CSeq: {} INVITE\r\n", self.cseq)) {
                return status;
            }
        }
    }

    fn receive(&self) -> Option<String> {
        let mut bytes = vec![0; 4096];
        let length = self.phone.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }

    fn request(&self, method: &str, user: &str, uri: &str, cseq: u32, more: &str) -> String {
        let from = self.phone.local_addr().unwrap();
        format!(
            "{method} {uri} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {from};branch=z9hG4bK{user}x{cseq};rport\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:{user}@fed.example>;tag=1\r\nTo: <sip:{user}@fed.example>\r\n\
             Call-ID: {user}\r\nCSeq: {cseq} {method}\r\n{more}Content-Length: 0\r\n\r\n"
        )
    }
}
