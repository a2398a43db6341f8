//! A daemon, its phones, and the backup beside it.

use crate::cli::ReplicationArgs;
use crate::error::Error;
use crate::phase::{Measured, Troubles, measure};
use crate::register_load::Plan;
use crate::register_message::RegisterTemplate;
use crate::server::{Server, free_address};
use crate::sockets::Sockets;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The domain of all AoRs.
const DOMAIN: &str = "bench.example";
/// Nobody is kept out by it.
const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// How long a backup may take to acknowledge what it was sent.
const SETTLE_S_MAX: u64 = 60;

/// How bindings are replicated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Not at all.
    Alone,
    /// A REGISTER is answered at once.
    Async,
    /// A REGISTER is answered once the backup has it.
    Sync,
}

impl Way {
    /// In the order in which they take turns. The first is what the others are compared with.
    pub(super) const ALL: [Self; 3] = [Self::Alone, Self::Async, Self::Sync];

    /// Its word in the file, and in a figure.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Alone => "no backup",
            Self::Async => "async",
            Self::Sync => "sync",
        }
    }
}

/// A daemon, and its backup once it has one.
pub(super) struct Pair {
    pub(super) server: Server,
    pub(super) backup: Option<Server>,
    pub(super) sockets: Sockets,
    template: RegisterTemplate,
    way: Way,
    links: [SocketAddr; 2],
    shards: usize,
}

/// The subscribers' domain.
pub(super) fn domain(args: &ReplicationArgs) -> &str {
    args.server.domain.as_deref().unwrap_or(DOMAIN)
}

/// The configuration of one of two nodes with the home `home`.
fn settings(domain: &str, way: Way, number: usize, home: SocketAddr, links: [SocketAddr; 2]) -> String {
    let domains = format!("[domains]\nnames = [\"{domain}\"]\n");
    if way == Way::Alone {
        return domains;
    }
    let node = |number: usize| {
        let link = links[number - 1];
        format!("[[cluster.node]]\nnode_id = {number}\nurl = \"bin:{link}\"\nsip_addr = \"{home}\"\nseed = true\n")
    };
    format!(
        "{domains}[cluster]\ncurrent_id = {number}\nsecret = \"{SECRET}\"\nreplication = \"{}\"\nseed_fallback_s = 1\n{}{}",
        way.word(),
        node(1),
        node(2)
    )
}

impl Pair {
    /// Starts a daemon that has no backup yet, and waits until it would serve alone.
    pub(super) fn start(args: &ReplicationArgs, way: Way) -> Result<Self, Error> {
        let links = [free_address()?, free_address()?];
        let server = args.server.start_configured("process", |home| settings(domain(args), way, 1, home, links))?;
        if way != Way::Alone {
            server.wait_for("this node knows all bindings of its home")?;
        }
        Ok(Self {
            sockets: Sockets::connect(server.address(), args.server.client_sockets)?,
            template: RegisterTemplate::new(server.address(), domain(args), args.phone.instance())?,
            server,
            backup: None,
            way,
            links,
            shards: args.server.shards(),
        })
    }

    /// The same with its backup, once both hold the same.
    pub(super) fn start_whole(args: &ReplicationArgs, way: Way) -> Result<Self, Error> {
        let mut pair = Self::start(args, way)?;
        if way != Way::Alone {
            pair.backup = Some(pair.start_backup(args, false)?);
            pair.settle()?;
        }
        Ok(pair)
    }

    /// Starts an empty backup. One that `is_behind` runs on what others leave of the processors, as if on a host of its own.
    pub(super) fn start_backup(&self, args: &ReplicationArgs, is_behind: bool) -> Result<Server, Error> {
        // It has to hear its home; which port of it does not matter here.
        let further = ["--listen", "udp:127.0.0.1:0"];
        let home = self.server.address();
        let server = if is_behind { args.server.behind_others() } else { args.server.clone() };
        server.start_backup("process", &further, |_| settings(domain(args), self.way, 2, home, self.links))
    }

    /// Waits until the backup holds, and has acknowledged, everything. One without a backup is asked as often.
    pub(super) fn settle(&self) -> Result<(), Error> {
        let started = Instant::now();
        loop {
            match self.server.backup(self.shards)? {
                Some(backup) if !backup.is_equal || backup.lag_parts > 0 => {}
                None if self.way != Way::Alone => {}
                _ => return Ok(()),
            }
            if started.elapsed() > Duration::from_secs(SETTLE_S_MAX) {
                return Err(Error::Options("the backup does not keep up"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// One phase.
    pub(super) fn measure(&mut self, plan: Plan, troubles: &mut Troubles) -> Result<Measured, Error> {
        let measured = measure(&mut self.server, &mut self.sockets, &self.template, plan)?;
        troubles.add(&measured.outcome);
        Ok(measured)
    }
}
