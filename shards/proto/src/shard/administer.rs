//! What an operator does to the bindings of a shard: looks at them, ends them, makes one.
//!
//! What is changed goes through the same door as a REGISTER's, is written down like it, and is refused while a REGISTER
//! would be. A binding that is made by hand is a REGISTER that the shard writes itself, so that every rule of the
//! registrar holds for it. A binding that is ended by hand is remembered like one that its phone has ended: a REGISTER
//! that was on its way does not bring it back, the next one does.

use super::{Place, Shard};
use crate::hop::{FlowToken, Source, Transport};
use crate::keys::Keys;
use crate::limits;
use crate::location::{AorKey, Bind, Binding, Cause, Op, Page, Record, Unbind};
use crate::outbox::Outbox;
use crate::proxy::may_send_to;
use crate::time::Now;
use sipfed_sip::{Method, SipUri, Uri};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// RFC 3261 §19.1.2.
const SIP_PORT: u16 = 5060;

/// Which shard owns which AoR, for whoever holds the node's secret.
#[derive(Debug)]
pub struct Owners {
    keys: Keys,
    count: u8,
}

impl Owners {
    /// Those of `count` shards with that secret.
    pub fn new(secret: [u8; 32], count: u8) -> Self {
        Self { keys: Keys::new(secret, 0), count }
    }

    /// The number of the shard that owns a canonical AoR.
    pub fn of(&self, aor: &[u8]) -> usize {
        self.keys.aor(aor).shard(self.count).into()
    }
}

/// A binding to be made by hand.
#[derive(Clone, Copy, Debug)]
pub struct ByHand<'a> {
    /// The canonical AoR.
    pub aor: &'a [u8],
    /// The Contact's URI.
    pub contact: &'a [u8],
    /// Seconds that it is to live.
    pub expires_s: u32,
    /// 0 to 1000.
    pub q_milli: u16,
    /// Set of [`Method::bit`]; 0 for all.
    pub methods: u16,
}

/// Why a change by hand was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status code that a REGISTER would have been answered with.
    pub status: u16,
    /// What was wrong.
    pub reason: String,
}

/// What became of the bindings that were to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The AoR has no binding.
    NoAor,
    /// It has none at that Contact.
    NoContact,
    /// So many have ended.
    Bindings(usize),
}

impl Shard {
    /// The bindings of a canonical AoR that can be called at `now`.
    pub fn bindings_of(&self, aor: &[u8], now: Now) -> Page {
        let location = &self.core.location;
        let mut page = Page::new();
        if let Some((_, record)) = location.find(AorKey { hash: self.core.keys.aor(aor), aor }) {
            location.copy_out(record, now.unix_s(), &mut page);
        }
        page
    }

    /// Some bindings that can be called at `now`, from the record with the number `from` on (0 to begin), and the number
    /// to go on from; `None` when there is none left. An AoR that is there from the first page to the last is on one of
    /// them, whatever happens to others meanwhile.
    pub fn page(&self, from: u32, now: Now) -> (Page, Option<u32>) {
        self.core.location.page(from, now.unix_s())
    }

    /// How many AoRs have a binding.
    pub fn homes(&self) -> usize {
        self.core.location.homes()
    }

    /// How many bindings there are, without those that are only remembered.
    pub fn contacts(&self) -> usize {
        self.core.location.contacts()
    }

    /// Ends the bindings of a canonical AoR, or those at one Contact of it.
    pub fn end_by_hand(&mut self, aor: &[u8], contact: Option<&[u8]>, now: Now) -> Result<Ended, Refusal> {
        let core = &mut self.core;
        if core.is_refusing_changes {
            return Err(Refusal::new(503, "Service Unavailable (the log does not take changes)"));
        }
        let key = AorKey { hash: core.keys.aor(aor), aor };
        let wanted = contact.map(|contact| (contact, Uri::parse(contact).ok()));
        let is_wanted = |uri: &[u8]| {
            wanted.as_ref().is_none_or(|(bytes, parsed)| {
                uri == *bytes || parsed.as_ref().is_some_and(|parsed| Uri::parse(uri).is_ok_and(|uri| uri == *parsed))
            })
        };
        let record = core.location.find(key).map(|(_, record)| record);
        let live = record.into_iter().flat_map(Record::bindings).filter(|b| b.is_live(now.unix_s()));
        let until_s = now.unix_s() + limits::REMOVED_REMEMBERED_S + 1;
        let mut found = Ended::NoAor;
        let mut ops = Vec::new();
        for binding in live {
            found = Ended::NoContact;
            if is_wanted(binding.uri()) {
                let cause = Cause::User { cseq: binding.cseq(), branch_hash: binding.branch_hash(), until_s };
                ops.push(Op::Unbind(Unbind { contact_id: binding.contact_id(), cause }));
            }
        }
        let ended = if ops.is_empty() { found } else { Ended::Bindings(ops.len()) };
        if contact.is_none() && core.location.has_backups() {
            ops.push(core.removal_elsewhere(key, until_s)?);
        }
        for op in &ops {
            core.location.apply(key, op, &mut core.wheel, &mut core.counters);
        }
        Ok(ended)
    }

    /// Makes a binding, or replaces the one at the same Contact.
    pub fn bind_by_hand(&mut self, wanted: &ByHand<'_>, now: Now) -> Result<(), Refusal> {
        let contact = Uri::parse(wanted.contact).map_err(|what| Refusal::new(400, &format!("the contact: {what}")))?;
        let remote = contact.sip().and_then(|uri| Some(SocketAddr::new(uri.host.ip()?, uri.port.unwrap_or(SIP_PORT))));
        let Some(remote) = remote.filter(|remote| may_send_to(remote.ip())) else {
            return Err(Refusal::new(400, "the contact is no SIP URI at an IP address that can be sent to"));
        };
        let message = self.register_by_hand(wanted, remote, now)?;
        let local = self.core.settings.listeners.iter().map(|listener| listener.addr);
        let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, SIP_PORT));
        let local = local.clone().find(|local| local.is_ipv4() == remote.is_ipv4()).unwrap_or(unknown);
        let source = Source { transport: Transport::Udp, remote, local, flow: FlowToken::NONE };
        let mut out = Outbox::new();
        let Self { index, core } = self;
        if let Some(message) = core.scan(&message, index) {
            core.handle(&message, None, &source, now, &mut out);
        }
        match out.iter().next().and_then(|(_, reply)| status_line(reply)) {
            Some((200, _)) => Ok(()),
            Some((status, reason)) => Err(Refusal::new(status, reason)),
            None => Err(Refusal::new(400, "the address of record or the contact cannot be written into a REGISTER")),
        }
    }

    /// The REGISTER that makes such a binding.
    fn register_by_hand(&mut self, wanted: &ByHand<'_>, remote: SocketAddr, now: Now) -> Result<Vec<u8>, Refusal> {
        let core = &mut self.core;
        let number = core.keys.count(now.unix_ms());
        let domain = core.domain_of(wanted.aor)?;
        let user = wanted.aor.rsplitn(2, |&byte| byte == b'@').last().unwrap_or_default();
        let Place { index, .. } = core.place;
        let methods: Vec<&[u8]> =
            Method::KNOWN.iter().filter(|method| wanted.methods & method.bit() != 0).map(Method::as_bytes).collect();
        let methods = match methods.join(&b',') {
            none if none.is_empty() => Vec::new(),
            list => [b";methods=\"", list.as_slice(), b"\""].concat(),
        };
        let (whole, thousandths) = (wanted.q_milli / 1000, wanted.q_milli % 1000);
        let params = format!(">;q={whole}.{thousandths:03};expires={}", wanted.expires_s);
        let head = format!(
            "REGISTER sip:{domain} SIP/2.0\r\nVia: SIP/2.0/UDP {remote};branch=z9hG4bKhand{number:x}.{}\r\n\
             Max-Forwards: 70\r\nCSeq: 1 REGISTER\r\nCall-ID: {number:x}.{}@by-hand\r\nUser-Agent: sipfed\r\n\
             Content-Length: 0\r\nFrom: <sip:",
            index.0, index.0
        );
        let host = format!("@{domain}>");
        let parts: [&[u8]; 12] = [
            head.as_bytes(),
            user,
            host.as_bytes(),
            b";tag=hand\r\nTo: <sip:",
            user,
            host.as_bytes(),
            b"\r\nContact: <",
            wanted.contact,
            params.as_bytes(),
            &methods,
            b"\r\n",
            b"\r\n",
        ];
        Ok(parts.concat())
    }
}

impl super::Core {
    /// What removes all bindings of an AoR that only other nodes know.
    fn removal_elsewhere(&mut self, key: AorKey<'_>, until_s: u32) -> Result<Op<'static>, Refusal> {
        let record = self.location.find(key).map(|(_, record)| record);
        if let Some(before) = record.into_iter().flat_map(Record::bindings).find(Binding::is_removal_of_all) {
            let cause = Cause::User { cseq: before.cseq(), branch_hash: before.branch_hash(), until_s };
            return Ok(Op::Unbind(Unbind { contact_id: before.contact_id(), cause }));
        }
        if self.location.bindings() >= self.settings.registrar.bindings_per_shard_max as usize {
            return Err(Refusal::new(503, "Service Unavailable (limit of bindings reached)"));
        }
        let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, SIP_PORT));
        let local = self.settings.listeners.first().map_or(unknown, |listener| listener.addr);
        let local = self.location.locals.number(local);
        Ok(Op::Forestall(Bind::of_all(self.contact_of_all(key.hash), local, until_s)))
    }

    /// The domain of a canonical AoR as a URI of ours has it, with the port that makes it ours where it needs one.
    fn domain_of(&self, aor: &[u8]) -> Result<String, Refusal> {
        let unknown = || Refusal::new(404, "Not Found (the domain of the address of record is none of this node's)");
        let host = aor.rsplit(|&byte| byte == b'@').next().and_then(|host| std::str::from_utf8(host).ok());
        let host = host.ok_or_else(unknown)?;
        let host = if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() };
        let is_ours = |domain: &String| {
            let uri = format!("sip:hand@{domain}");
            let uri = Uri::parse(uri.as_bytes());
            uri.as_ref().ok().and_then(Uri::sip).is_some_and(|uri: &SipUri<'_>| self.is_ours(uri))
        };
        let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        let ports = self.settings.listeners.iter().filter(|_| is_address).map(|listener| listener.addr.port());
        let with_ports = ports.map(|port| format!("{host}:{port}"));
        std::iter::once(host.clone()).chain(with_ports).find(is_ours).ok_or_else(unknown)
    }
}

impl Refusal {
    fn new(status: u16, reason: &str) -> Self {
        Self { status, reason: reason.to_owned() }
    }
}

fn status_line(reply: &[u8]) -> Option<(u16, &str)> {
    let line = std::str::from_utf8(reply.split(|&byte| byte == b'\r').next()?).ok()?;
    let (status, reason) = line.strip_prefix("SIP/2.0 ")?.split_once(' ')?;
    Some((status.parse().ok()?, reason))
}
