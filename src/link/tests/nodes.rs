//! Nodes of a test: each has the thread of its links, and a user there that does what the test says.

use crate::cluster::{Id, Node, Topology};
use crate::config::sip_address;
use crate::link::links::NotSent;
use crate::link::snapshot::LinkReport;
use crate::link::{LinkEvent, LinkThread, LinksOptions, QUESTIONS_COUNT_MAX, Question, Security, VERSIONS, Versions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sipfed_nodes::address::bin_address;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::mpsc as tokio_mpsc;

/// How long anything may take before its test fails.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

pub(super) const SECRET: &str = "0123456789abcdef0123456789abcdef";

pub(in crate::link) fn id(number: u16) -> Id {
    Id::new(number.into()).unwrap()
}

/// A node at this address, with this home.
pub(in crate::link) fn node(number: u16, at: &str, home: &str) -> Node {
    Node {
        id: id(number),
        url: bin_address(&format!("bin:{at}")).unwrap(),
        is_enabled: true,
        no_ping_retries: 3,
        priority: 50,
        sip_addr: sip_address(home).unwrap(),
        is_seed: false,
        description: None,
        db_id: None,
    }
}

/// These nodes, as one of them sees them.
pub(in crate::link) fn topology(me: u16, nodes: Vec<Node>) -> Topology {
    Topology::new(Id::ONE, id(me), nodes, "the test").unwrap()
}

/// Waits until it is so.
pub(super) fn poll(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// Nodes 1 to N at addresses that no other test uses, each with a home of its own.
pub(super) fn nodes(count: u16) -> Vec<Node> {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let test = COUNT.fetch_add(1, Ordering::Relaxed);
    let network = 20 + std::process::id() % 200;
    (1..=count)
        .map(|number| {
            let ip = format!("127.{network}.{test}.{number}");
            node(number, &format!("{ip}:5577"), &ip)
        })
        .collect()
}

pub(super) fn by_secret(secret: &str) -> Security {
    Security::by_secret(secret, 1).unwrap()
}

/// An authority, and a folder for what it issues, which goes with it.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU8 = AtomicU8::new(0);
        let name = format!("sipfed-links-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    /// What the node of this address goes by. `ca` is whom it trusts.
    pub(super) fn for_node(&self, node: &Node, ca: &Self) -> Security {
        let ip = node.url.socket_addr().ip();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![ip.to_string()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let [certificate_file, key_file] =
            ["certificate", "key"].map(|what| self.folder.join(format!("{what}-{ip}.pem")));
        std::fs::write(&certificate_file, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        Security::by_certificates(&ca.folder.join("ca.pem"), &certificate_file, &key_file, ip).unwrap()
    }

    /// The files of a node: authorities, certificate and key.
    pub(super) fn files(&self, node: &Node) -> [PathBuf; 3] {
        let ip = node.url.socket_addr().ip();
        ["ca".to_owned(), format!("certificate-{ip}"), format!("key-{ip}")]
            .map(|name| self.folder.join(format!("{name}.pem")))
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What a test has the user of links do.
enum Wish {
    /// To send, and to say what came of it.
    Send(Id, u8, Vec<u8>, mpsc::Sender<Result<(), NotSent>>),
    /// To say when there is room.
    Room(Id, mpsc::Sender<()>),
    /// To take events, or not to.
    Listen(bool),
}

/// What a node is started with.
pub(super) struct Start {
    pub(super) security: Security,
    pub(super) versions: Versions,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) topology: Topology,
}

impl Start {
    /// The node of this number, by this security.
    pub(super) fn new(me: u16, nodes: &[Node], security: Security) -> Self {
        let topology = topology(me, nodes.to_vec());
        // Long enough for the slowest machine; who waits for a ping to be missed says otherwise.
        let (interval, timeout) = (Duration::from_millis(50), PATIENCE);
        Self { security, versions: VERSIONS, interval, timeout, topology }
    }

    pub(super) fn go(self) -> Running {
        let Self { security, versions, interval, timeout, topology } = self;
        let current = topology.current();
        let (at, home) = (current.url.socket_addr(), current.sip_addr);
        let (answerer, questions) = tokio_mpsc::channel(QUESTIONS_COUNT_MAX);
        let down = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&down);
        let options = LinksOptions {
            topology,
            at,
            home,
            versions,
            security,
            ping_interval: interval,
            ping_timeout: timeout,
            answerer,
            tell_down: Box::new(move |homes| {
                told.lock().unwrap().push(homes.iter().map(ToString::to_string).collect());
            }),
        };
        let (wishes, mut wished) = tokio_mpsc::unbounded_channel();
        let (sender, events) = mpsc::channel();
        let thread = LinkThread::start(options, move |links, mut happening| async move {
            let mut is_listening = true;
            loop {
                tokio::select! {
                    event = happening.recv(), if is_listening => match event {
                        Some(event) => _ = sender.send(event),
                        None => return,
                    },
                    wish = wished.recv() => match wish {
                        Some(Wish::Send(node, channel, mut bytes, answer)) => {
                            answer.send(links.send(node, channel, &mut bytes)).unwrap();
                        }
                        Some(Wish::Room(node, answer)) => {
                            let links = std::rc::Rc::clone(&links);
                            tokio::task::spawn_local(async move {
                                links.room(node).await;
                                let _ = answer.send(());
                            });
                        }
                        Some(Wish::Listen(wanted)) => is_listening = wanted,
                        None => is_listening = true,
                    },
                }
            }
        });
        Running { thread: thread.unwrap(), wishes, events, down, questions: Some(questions) }
    }
}

/// A node whose links live.
pub(super) struct Running {
    pub(super) thread: LinkThread,
    wishes: tokio_mpsc::UnboundedSender<Wish>,
    events: mpsc::Receiver<LinkEvent>,
    down: Arc<Mutex<Vec<Vec<String>>>>,
    /// Those of others, until somebody answers them or nobody does.
    pub(super) questions: Option<tokio_mpsc::Receiver<Question>>,
}

impl Running {
    /// The next event.
    pub(super) fn event(&self) -> LinkEvent {
        self.events.recv_timeout(PATIENCE).expect("what the test waits for happens")
    }

    /// Whether nothing has happened since the last event.
    pub(super) fn is_quiet(&self) -> bool {
        self.events.try_recv().is_err()
    }

    /// Waits for the link to this node to come up; the version of it.
    pub(super) fn up(&self, number: u16) -> u16 {
        loop {
            if let LinkEvent::Up { node, peer } = self.event()
                && node == id(number)
            {
                return peer.version;
            }
        }
    }

    /// Waits for it to go down; why it did.
    pub(super) fn down(&self, number: u16) -> String {
        loop {
            if let LinkEvent::Down { node, why } = self.event()
                && node == id(number)
            {
                return why;
            }
        }
    }

    /// The next payload.
    pub(super) fn payload(&self) -> (u16, u8, Box<[u8]>) {
        match self.event() {
            LinkEvent::Payload { node, channel, bytes } => (node.get(), channel, bytes),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn send(&self, number: u16, channel: u8, bytes: &[u8]) -> Result<(), NotSent> {
        let (answer, answered) = mpsc::channel();
        assert!(self.wishes.send(Wish::Send(id(number), channel, bytes.to_vec(), answer)).is_ok());
        answered.recv_timeout(PATIENCE).unwrap()
    }

    /// Raised when there is room for a payload to this node.
    pub(super) fn room(&self, number: u16) -> mpsc::Receiver<()> {
        let (answer, answered) = mpsc::channel();
        assert!(self.wishes.send(Wish::Room(id(number), answer)).is_ok());
        answered
    }

    pub(super) fn listen(&self, wanted: bool) {
        assert!(self.wishes.send(Wish::Listen(wanted)).is_ok());
    }

    pub(super) fn report(&self, number: u16) -> Option<LinkReport> {
        self.thread.states().reports().into_iter().find(|link| link.node == id(number))
    }

    /// A count of the link to this node.
    pub(super) fn count(&self, number: u16, name: &str) -> u64 {
        let counts = self.report(number).unwrap().counts;
        counts.into_iter().find(|(found, _)| *found == name).unwrap().1
    }

    /// How many connections came to no link for this reason.
    pub(super) fn failures(&self, name: &str) -> u64 {
        self.thread.states().failures().into_iter().find(|(found, _)| *found == name).unwrap().1
    }

    pub(super) fn wait_for_failure(&self, name: &str) {
        poll(name, || self.failures(name) > 0);
    }

    /// The homes that were told to be down, each time.
    pub(super) fn homes_down(&self) -> Vec<Vec<String>> {
        self.down.lock().unwrap().clone()
    }
}

/// Two nodes by the same secret, whose link is up.
pub(super) fn pair() -> (Vec<Node>, Running, Running) {
    let nodes = nodes(2);
    let [one, two] = [1, 2].map(|me| Start::new(me, &nodes, by_secret(SECRET)).go());
    one.up(2);
    two.up(1);
    (nodes, one, two)
}
