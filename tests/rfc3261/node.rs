//! A node that serves the domains of the torture messages, and phones of its subscribers.

use sipfed_proto::settings::Settings;
use sipfed_proto::{
    Counters, Destination, FlowToken, Listener, Now, Outbox, Place, Shard, ShardIndex, Source, Transport, Verdict,
};
use sipfed_sip::{Field, HeaderName, Index, Message, SipUri, Uri, scan};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the torture messages come from.
const PEER: &str = "198.51.100.1:5060";
const PEER_6: &str = "[2001:db8::9:1]:5060";
/// Where the phones are.
pub(crate) const PHONE: &str = "198.51.100.7:5062";

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("shards/sip/tests/vectors").join(name)
}

/// The octets of the vector `name`, such as `rfc4475/wsinv`.
pub(crate) fn octets(name: &str) -> Vec<u8> {
    let path = folder(&format!("{name}.dat"));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of all vectors in `folder_name`, in order.
pub(crate) fn vectors_in(folder_name: &str) -> Vec<String> {
    let files = fs::read_dir(folder(folder_name)).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<String> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "dat"))
        .map(|path| format!("{folder_name}/{}", path.file_stem().unwrap().to_str().unwrap()))
        .collect();
    names.sort();
    names
}

/// Scans `bytes`, which must be sound, and hands the message on.
pub(crate) fn read<T>(bytes: &[u8], check: impl FnOnce(&Message<'_>) -> T) -> T {
    let mut index = Index::new();
    let message = scan(bytes, &mut index).unwrap();
    assert_eq!(message.fault(), None, "{}", bytes.escape_ascii());
    check(&message)
}

/// `text` as a SIP URI.
pub(crate) fn sip(text: &[u8]) -> SipUri<'_> {
    match Uri::parse(text) {
        Ok(Uri::Sip(uri)) => uri,
        other => panic!("{}: {other:?}", text.escape_ascii()),
    }
}

/// What the node sent on account of one message.
pub(crate) struct Outcome {
    received: Vec<u8>,
    pub(crate) sent: Vec<(Destination, Vec<u8>)>,
}

impl Outcome {
    /// The message was answered with `status`, and with nothing else, to whom it came from. `word` stands in the
    /// reason phrase, so that an operator who sees it in a trace knows what is wrong.
    #[track_caller]
    pub(crate) fn is_refused(&self, status: u16, word: &str) {
        self.is_answered(status, |reply| {
            let reason = reply.bytes().split(|&b| b == b'\r').next().unwrap();
            let reason = String::from_utf8_lossy(reason);
            assert!(reason.contains(word), "{reason:?} does not say {word:?}");
        });
    }

    /// The message was answered with `status` and with nothing else.
    #[track_caller]
    pub(crate) fn is_answered<T>(&self, status: u16, check: impl FnOnce(&Message<'_>) -> T) -> T {
        let lines: Vec<_> = self.sent.iter().map(|(_, bytes)| first_line(bytes)).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let (to, bytes) = &self.sent[0];
        let Destination::Udp { remote, .. } = to else { panic!("{to:?}") };
        assert!([PEER, PEER_6, PHONE].map(ip).contains(&remote.ip()), "{remote}");
        read(bytes, |reply| {
            assert_eq!(reply.status(), Some(status), "{lines:?}");
            check(reply)
        })
    }

    /// The message was dropped.
    #[track_caller]
    pub(crate) fn is_nothing(&self) {
        let lines: Vec<_> = self.sent.iter().map(|(_, bytes)| first_line(bytes)).collect();
        assert!(lines.is_empty(), "{lines:?}");
    }

    /// The request went on, to one place and untouched but for what a proxy changes (RFC 3261 §16.6).
    #[track_caller]
    pub(crate) fn is_forwarded<T>(&self, check: impl FnOnce(&Message<'_>) -> T) -> T {
        let is_reply = |bytes: &[u8]| bytes.starts_with(b"SIP/2.0 ");
        let lines: Vec<_> = self.sent.iter().map(|(_, bytes)| first_line(bytes)).collect();
        let replies = self.sent.iter().filter(|(_, bytes)| is_reply(bytes));
        assert!(replies.clone().all(|(_, bytes)| bytes.starts_with(b"SIP/2.0 100 ")), "{lines:?}");
        let requests: Vec<_> = self.sent.iter().filter(|(_, bytes)| !is_reply(bytes)).collect();
        assert_eq!(requests.len(), 1, "{lines:?}");
        read(&self.received, |came| read(&requests[0].1, |went| is_untouched(came, went)));
        read(&requests[0].1, check)
    }
}

fn ip(text: &str) -> std::net::IpAddr {
    text.parse::<SocketAddr>().unwrap().ip()
}

fn first_line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|&b| b == b'\r').next().unwrap()).into_owned()
}

/// The lines of a message that a proxy has no reason to change.
fn others<'a>(message: &Message<'a>) -> Vec<&'a [u8]> {
    let ours = [HeaderName::Via, HeaderName::Route, HeaderName::RecordRoute, HeaderName::MaxForwards];
    let changes = |field: &Field<'_>| {
        ours.contains(&field.name) || field.name == HeaderName::MaxBreadth || field.name == HeaderName::ContentLength
    };
    message.all_fields().filter(|field| !changes(field)).map(|field| field.line).collect()
}

#[track_caller]
fn is_untouched(came: &Message<'_>, went: &Message<'_>) {
    assert_eq!((went.method(), went.body()), (came.method(), came.body()));
    assert_eq!(others(went), others(came));
    let sent_by = |m: &Message<'_>| m.vias().map(|via| via.unwrap().sent_by.to_vec()).collect::<Vec<_>>();
    assert_eq!(sent_by(went)[1..], sent_by(came), "all Vias, in order, below ours");
    let hops = came.max_forwards().unwrap().map_or(70, |hops| hops - 1);
    assert_eq!(went.max_forwards(), Ok(Some(hops)));
}

/// The node under test.
pub(crate) struct Node {
    shard: Shard,
    now: Now,
}

impl Node {
    /// A registrar for the domains that the torture messages name.
    pub(crate) fn new() -> Self {
        let domains = [
            "example.com",
            "example.net",
            "example.org",
            "chair-dnrc.example.com",
            "registrar.example.com",
            "services.example.com",
            "host.example.net",
            "2001:db8::192.0.2.1",
        ];
        let listeners = ["192.0.2.200:5060", "[2001:db8::10]:5060", "[2001:db8::10]:5070", "127.0.0.1:5080"];
        let udp = |addr: &str| Listener { transport: Transport::Udp, addr: addr.parse().unwrap() };
        let settings = Settings {
            domains: domains.map(str::to_owned).to_vec(),
            listeners: listeners.map(udp).to_vec(),
            ..Settings::default()
        };
        let now = Now::from_unix_ms(1_700_000_000_000);
        let place = Place { index: ShardIndex(0), count: 1 };
        Self { shard: Shard::new(Arc::new(settings), place, [7; 32], now), now }
    }

    /// A node at which the phone is bound to each of the AoRs `uris`.
    pub(crate) fn with_phone_at(uris: &[&str]) -> Self {
        let mut node = Self::new();
        for (i, uri) in uris.iter().enumerate() {
            node.register(uri, &format!("Contact: <sip:phone@{PHONE}>\r\nCall-ID: phone{i}\r\n"))
                .is_answered(200, |_| {});
        }
        node
    }

    fn register(&mut self, aor: &str, fields: &str) -> Outcome {
        let domain = aor.rsplit_once('@').map_or(aor, |(_, domain)| domain);
        let text = format!(
            "REGISTER sip:{domain} SIP/2.0\r\nVia: SIP/2.0/UDP {PHONE};branch=z9hG4bKphone\r\n\
             From: <{aor}>;tag=1\r\nTo: <{aor}>\r\nCSeq: 1 REGISTER\r\n{fields}Content-Length: 0\r\n\r\n"
        );
        self.send_from(PHONE, text.as_bytes())
    }

    /// The Contacts that the registrar says an AoR has.
    pub(crate) fn contacts(&mut self, aor: &str) -> Vec<String> {
        self.register(aor, "Call-ID: fetch\r\n").is_answered(200, |reply| {
            let fields = reply.fields(HeaderName::Contact);
            fields.map(|field| String::from_utf8(field.value.to_vec()).unwrap()).collect()
        })
    }

    /// Hands the vector `name` in as a datagram.
    pub(crate) fn take(&mut self, name: &str) -> Outcome {
        self.take_octets(name, &octets(name))
    }

    /// Hands `bytes`, made of the vector `name`, in as a datagram.
    pub(crate) fn take_octets(&mut self, name: &str, bytes: &[u8]) -> Outcome {
        self.send_from(if name.starts_with("rfc5118") { PEER_6 } else { PEER }, bytes)
    }

    /// Hands a datagram from `remote` in.
    pub(crate) fn send_from(&mut self, remote: &str, bytes: &[u8]) -> Outcome {
        let remote: SocketAddr = remote.parse().unwrap();
        let local = if remote.is_ipv4() { "192.0.2.200:5060" } else { "[2001:db8::10]:5060" };
        let local = local.parse().unwrap();
        let source = Source { transport: Transport::Udp, remote, local, flow: FlowToken::NONE };
        let mut out = Outbox::new();
        let verdict = self.shard.receive(bytes, &source, self.now, &mut out);
        assert_eq!(verdict, Verdict::Handled);
        self.shard.handle_timeout(self.now, &mut out);
        let sent = out.iter().map(|(transmit, bytes)| (transmit.to, bytes.to_vec())).collect();
        Outcome { received: bytes.to_vec(), sent }
    }

    /// Lets a minute pass, in which every transaction comes to its end; shows what the node sends.
    pub(crate) fn pass_a_minute(&mut self, mut check: impl FnMut(&[u8])) {
        let end = self.now.plus_ms(60_000);
        let mut out = Outbox::new();
        while let Some(next) = self.shard.next_deadline().filter(|next| *next <= end) {
            self.now = next.max(self.now);
            self.shard.handle_timeout(self.now, &mut out);
            out.iter().for_each(|(_, bytes)| check(bytes));
            out.clear();
        }
        self.now = end;
    }

    pub(crate) fn counters(&self) -> Counters {
        self.shard.counters()
    }

    pub(crate) fn bindings(&self) -> usize {
        self.shard.bindings()
    }
}
