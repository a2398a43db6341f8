//! Phones: they register, refresh, remove, move to other homes, and answer calls.
//!
//! A phone has one Call-ID for each home and one row of CSeq numbers, sends one REGISTER at a time, again and again for some
//! seconds, and takes the first final answer. Half of them stand behind a NAT ([`Nat`]): their Contact names an address that
//! nobody reaches. Half of them speak TCP, over connections that they open: such a one sends a REGISTER once, and comes again
//! over a new connection when it learns that it has none any more. Some fall silent. What a call's phones are to do stands in its Subject, so that the check of a call knows what has to come of it.

use crate::draw::Draw;
use crate::ledger::{Act, Contact};
use crate::nat::Nat;
use crate::sip::{DOMAIN, Request, Text};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

/// Milliseconds after which a REGISTER is sent again, the last one before it is given up.
pub(crate) const AGAIN_MS: [u64; 6] = [500, 1000, 1000, 2000, 2000, 2000];
/// How often a final response is sent again while no ACK comes.
const ANSWERS_COUNT_MAX: u32 = 8;

/// A REGISTER that waits for its answer.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    /// Its number in the ledger.
    pub(crate) number: usize,
    pub(crate) home: usize,
    pub(crate) call_id: String,
    pub(crate) cseq: u32,
    pub(crate) bytes: Vec<u8>,
    pub(crate) sent_count: usize,
    pub(crate) last_sent: u64,
    /// Where it seemed to come from when it was sent last, and whether that was so each time.
    pub(crate) from: Option<SocketAddr>,
    pub(crate) is_from_one: bool,
}

/// Who has sent something, and gets the answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Peer {
    At(SocketAddr),
    /// Over the connection of that number.
    Flow(usize),
}

/// A branch of a call that has come here.
#[derive(Clone, Debug)]
struct Ringing {
    invite: Text,
    from: Peer,
    /// The final response, and how often it was sent.
    answer: Option<(Vec<u8>, u32)>,
    is_acknowledged: bool,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Phone {
    pub(crate) number: usize,
    pub(crate) user: usize,
    /// Where it registers at present.
    pub(crate) home: usize,
    /// Where it is reached, unless it is behind a NAT.
    pub(crate) addr: SocketAddr,
    pub(crate) nat: Option<Nat>,
    /// It speaks TCP, over connections that it opens itself. One that is behind no NAT asks for RFC 5626.
    pub(crate) is_stream: bool,
    /// By home: its connection there, while it has one.
    pub(crate) flows: BTreeMap<usize, usize>,
    /// By home: the connection by which it has registered, once that was acknowledged, while it has that.
    pub(crate) is_bound_over: BTreeMap<usize, usize>,
    /// By home: the port of its NAT by which it has registered, once that was acknowledged, and when.
    registered: BTreeMap<usize, (u16, u64)>,
    /// It says nothing any more.
    pub(crate) is_silent: bool,
    /// What it believes to be reached at.
    own_addr: SocketAddr,
    cseq: u32,
    pub(crate) pending: Option<Pending>,
    /// By Call-ID and branch.
    ringing: BTreeMap<(String, String), Ringing>,
}

/// What a phone does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Bind {
        expires_s: u64,
    },
    Remove,
    RemoveAll,
    /// To register elsewhere from now on.
    Move,
    Nothing,
}

/// The user part of a user's AoR.
pub(crate) fn user_name(user: usize) -> String {
    format!("u{user}")
}

/// The user part of a contact.
pub(crate) fn contact_name(contact: Contact) -> String {
    format!("p{}h{}", contact.phone, contact.home)
}

impl Phone {
    /// One whose NAT, if it has any, closes a port after `idle_ms`.
    pub(crate) fn new(number: usize, user: usize, home: usize, idle_ms: u64) -> Self {
        let last = number as u8 + 1;
        let addr = SocketAddr::from((Ipv4Addr::new(203, 0, 113, last), 20_000 + number as u16));
        let nat = (!number.is_multiple_of(2)).then(|| Nat::new(addr.ip(), idle_ms));
        let own_addr = if nat.is_none() { addr } else { SocketAddr::from((Ipv4Addr::new(10, 0, 0, last), 5060)) };
        Self {
            number,
            user,
            home,
            addr,
            nat,
            is_stream: number % 4 >= 2,
            flows: BTreeMap::new(),
            is_bound_over: BTreeMap::new(),
            registered: BTreeMap::new(),
            is_silent: false,
            own_addr,
            cseq: 0,
            pending: None,
            ringing: BTreeMap::new(),
        }
    }

    /// It sends something; gives where that seems to come from, and `None` where it does not.
    pub(crate) fn sends(&mut self, to: SocketAddr, at: u64) -> Option<SocketAddr> {
        if self.is_silent {
            return None;
        }
        Some(self.nat.as_mut().map_or(self.addr, |nat| nat.out(to, at)))
    }

    /// Whether something that is sent to this address is its own.
    pub(crate) fn is_at(&self, addr: SocketAddr) -> bool {
        addr.ip() == self.addr.ip()
    }

    /// Whether it hears what comes from there to this address.
    pub(crate) fn hears(&self, to: SocketAddr, from: SocketAddr, at: u64) -> bool {
        let is_open = match &self.nat {
            Some(nat) => nat.open_for(from, at) == Some(to.port()),
            None => to == self.addr,
        };
        is_open && !self.is_silent && !self.is_stream
    }

    /// A home has acknowledged a registration that was sent from one address alone, or from several.
    pub(crate) fn note_registered(&mut self, home: usize, from: Option<SocketAddr>, at: u64) {
        match from {
            Some(from) => _ = self.registered.insert(home, (from.port(), at)),
            None => _ = self.registered.remove(&home),
        }
    }

    /// Whether a home that knows its latest registration reaches it for sure.
    pub(crate) fn is_reached_from(&self, home: usize, addr: SocketAddr, at: u64) -> bool {
        let Some(nat) = &self.nat else { return !self.is_silent };
        let port = self.registered.get(&home).map(|registered| registered.0);
        !self.is_silent && port.is_some() && nat.open_for(addr, at) == port
    }

    /// When it registered last with a home, where its NAT has been kept open since.
    pub(crate) fn kept_open_since(&self, home: usize, addr: SocketAddr, at: u64) -> Option<u64> {
        let is_open = self.nat.is_some() && self.is_reached_from(home, addr, at);
        self.registered.get(&home).filter(|_| is_open).map(|registered| registered.1)
    }

    /// What it does next, by chance.
    pub(crate) fn draw(draw: &mut Draw) -> Wanted {
        match draw.below(100) {
            0..60 => Wanted::Bind { expires_s: *draw.one(&[15, 40, 120, 300, 300]) },
            60..74 => Wanted::Remove,
            74..78 => Wanted::RemoveAll,
            78..88 => Wanted::Move,
            _ => Wanted::Nothing,
        }
    }

    /// A REGISTER, and what it does to contacts; `all` are those of the user at this home.
    pub(crate) fn register(&mut self, wanted: Wanted, all: Vec<Contact>) -> Option<(Act, Vec<Contact>, Pending)> {
        self.cseq += 1;
        let own = Contact { home: self.home, phone: self.number };
        let (act, contacts, more) = match wanted {
            Wanted::Bind { expires_s } => (Act::Bind { expires_s }, vec![own], self.contact_line(expires_s)),
            Wanted::Remove => (Act::Remove, vec![own], self.contact_line(0)),
            Wanted::RemoveAll => (Act::Remove, all, "Contact: *\r\nExpires: 0\r\n".to_owned()),
            Wanted::Move | Wanted::Nothing => return None,
        };
        let (user, call_id) = (user_name(self.user), format!("{}-registers", contact_name(own)));
        let bytes = Request {
            transport: self.transport(),
            method: "REGISTER",
            uri: &format!("sip:{DOMAIN}"),
            sent_by: &self.own_addr.to_string(),
            branch: &format!("{call_id}{}", self.cseq),
            from: &user,
            to: &user,
            to_tag: "",
            call_id: &call_id,
            cseq: self.cseq,
            more: &more,
        }
        .write();
        let pending = Pending {
            number: 0,
            home: self.home,
            call_id,
            cseq: self.cseq,
            bytes,
            sent_count: 0,
            last_sent: 0,
            from: None,
            is_from_one: true,
        };
        Some((act, contacts, pending))
    }

    fn transport(&self) -> &'static str {
        if self.is_stream { "TCP" } else { "UDP" }
    }

    /// The header fields by which it binds itself, or with 0 does so no more.
    fn contact_line(&self, expires_s: u64) -> String {
        let name = contact_name(Contact { home: self.home, phone: self.number });
        let (transport, more) = match (self.is_stream, &self.nat) {
            (false, _) => ("", String::new()),
            (true, Some(_)) => (";transport=tcp", String::new()),
            (true, None) => (";transport=tcp", format!(";+sip.instance=\"<urn:p{}>\";reg-id=1", self.number)),
        };
        let supported = if more.is_empty() { "" } else { "Supported: path, outbound\r\n" };
        format!("Contact: <sip:{name}@{}{transport}>{more};expires={expires_s}\r\n{supported}", self.own_addr)
    }

    /// A request has come; gives what it answers, and whether it is a branch that is new here.
    pub(crate) fn receive(&mut self, request: &Text, from: Peer) -> (Vec<Vec<u8>>, bool) {
        let key = (request.field("Call-ID").unwrap_or_default().to_owned(), request.branch().to_owned());
        match request.method() {
            "INVITE" => {
                if let Some(ringing) = self.ringing.get(&key) {
                    let answer = ringing.answer.as_ref().map(|answer| answer.0.clone());
                    return (answer.into_iter().collect(), false);
                }
                let ringing = Ringing { invite: request.clone(), from, answer: None, is_acknowledged: false };
                let rings = request.respond(180, &self.tag(request), "");
                self.ringing.insert(key, ringing);
                (vec![rings], true)
            }
            "CANCEL" => {
                let mut answers = vec![request.respond(200, "cancel", "")];
                let tag = self.tag(request);
                if let Some(ringing) = self.ringing.get_mut(&key).filter(|ringing| ringing.answer.is_none()) {
                    let answer = ringing.invite.respond(487, &tag, "");
                    ringing.answer = Some((answer.clone(), 1));
                    answers.push(answer);
                }
                (answers, false)
            }
            "ACK" => {
                // One to a 2xx has a branch of its own.
                for (_, ringing) in self.ringing.iter_mut().filter(|(of, _)| of.0 == key.0) {
                    ringing.is_acknowledged = true;
                }
                (Vec::new(), false)
            }
            _ => (vec![request.respond(200, "other", "")], false),
        }
    }

    /// The user part of an INVITE's Request-URI names the contact that is called.
    fn tag(&self, request: &Text) -> String {
        let of = self.ringing.get(&(request.field("Call-ID").unwrap_or_default().into(), request.branch().into()));
        of.map_or(request.user(), |ringing| ringing.invite.user()).to_owned()
    }

    /// The final response to a branch that still rings, or that was not acknowledged: what is sent, and where to.
    pub(crate) fn answer(&mut self, call_id: &str, branch: &str) -> Option<(Vec<u8>, Peer)> {
        let addr = self.addr;
        let transport = if self.is_stream { ";transport=tcp" } else { "" };
        let ringing = self.ringing.get_mut(&(call_id.to_owned(), branch.to_owned()))?;
        let name = ringing.invite.user().to_owned();
        let from = ringing.from;
        if let Some((bytes, count)) = &mut ringing.answer {
            *count += 1;
            let is_wanted = !ringing.is_acknowledged && *count <= ANSWERS_COUNT_MAX;
            return is_wanted.then(|| (bytes.clone(), from));
        }
        let bytes = match ringing.invite.field("Subject") {
            Some("decline") => ringing.invite.respond(486, &name, ""),
            Some(by) if by == name => {
                ringing.invite.respond(200, &name, &format!("Contact: <sip:{name}@{addr}{transport}>\r\n"))
            }
            // Somebody else answers.
            _ => return None,
        };
        ringing.answer = Some((bytes.clone(), 1));
        Some((bytes, from))
    }
}
