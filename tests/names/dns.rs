//! A server of DNS whose zone a test writes, and which tells every query.

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, NAPTR, SOA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a query may take to come.
const PATIENCE: Duration = Duration::from_mins(1);

/// What is answered to a query.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "not every test that has a server of DNS has one that fails")]
pub(crate) enum Answer {
    Records(Vec<RData>),
    /// Nothing at all.
    Silence,
    /// SERVFAIL.
    Failure,
}

type Zone = HashMap<(String, RecordType), (Answer, u32)>;

/// See the module's documentation. It ends with the test's process.
#[derive(Debug)]
pub(crate) struct Dns {
    pub(crate) addr: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    queries: Receiver<String>,
}

impl Dns {
    /// A server with an empty zone at an address.
    pub(crate) fn start(at: SocketAddr) -> Self {
        let socket = UdpSocket::bind(at).unwrap();
        let (addr, zone) = (socket.local_addr().unwrap(), Arc::new(Mutex::new(Zone::new())));
        let (tell, queries) = mpsc::channel();
        let seen = Arc::clone(&zone);
        std::thread::spawn(move || serve(&socket, &seen, &tell));
        Self { addr, zone, queries }
    }

    fn put(&self, name: &str, kind: RecordType, answer: Answer, ttl_s: u32) {
        self.zone.lock().unwrap().insert((name.to_owned(), kind), (answer, ttl_s));
    }

    /// All queries for a name get this.
    #[allow(dead_code, reason = "not every test that has a server of DNS has one that fails")]
    pub(crate) fn say(&self, name: &str, answer: &Answer) {
        for kind in [RecordType::NAPTR, RecordType::SRV, RecordType::A, RecordType::AAAA] {
            self.put(name, kind, answer.clone(), 60);
        }
    }

    /// Addresses of a host, of one family.
    pub(crate) fn host(&self, name: &str, ip: IpAddr, ttl_s: u32) {
        let (kind, record) = match ip {
            IpAddr::V4(ip) => (RecordType::A, RData::A(A(ip))),
            IpAddr::V6(ip) => (RecordType::AAAA, RData::AAAA(AAAA(ip))),
        };
        self.put(name, kind, Answer::Records(vec![record]), ttl_s);
    }

    /// The servers of a service: priority, target and port of each.
    pub(crate) fn servers(&self, service: &str, targets: &[(u16, &str, u16)]) {
        let record = |(priority, target, port): &(u16, &str, u16)| {
            RData::SRV(SRV::new(*priority, 1, *port, Name::from_ascii(format!("{target}.")).unwrap()))
        };
        self.put(service, RecordType::SRV, Answer::Records(targets.iter().map(record).collect()), 60);
    }

    /// The services of a domain, the most wanted first.
    pub(crate) fn services(&self, domain: &str, services: &[(&str, &str)]) {
        let record = |((service, replacement), order): (&(&str, &str), u16)| {
            let replacement = Name::from_ascii(format!("{replacement}.")).unwrap();
            RData::NAPTR(NAPTR::new(order, 0, (*b"s").into(), service.as_bytes().into(), [].into(), replacement))
        };
        let records = services.iter().zip(1..).map(record).collect();
        self.put(domain, RecordType::NAPTR, Answer::Records(records), 60);
    }

    /// The queries that have come since the last call, as `TYPE name`, each once.
    #[allow(dead_code, reason = "not every test that has a server of DNS looks at what it is asked")]
    pub(crate) fn queries(&self) -> Vec<String> {
        let mut all: Vec<String> = self.queries.try_iter().collect();
        all.sort();
        all.dedup();
        all
    }

    /// Waits for a query.
    #[allow(dead_code, reason = "not every test that has a server of DNS looks at what it is asked")]
    pub(crate) fn wait_for_query(&self) -> String {
        self.queries.recv_timeout(PATIENCE).expect("no query came")
    }
}

fn serve(socket: &UdpSocket, zone: &Mutex<Zone>, tell: &Sender<String>) {
    let mut buffer = [0; 4096];
    while let Ok((len, from)) = socket.recv_from(&mut buffer) {
        let Ok(query) = Message::from_vec(&buffer[..len]) else { continue };
        let Some(asked) = query.queries.first().cloned() else { continue };
        let name = asked.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
        // Told before it is answered, so that who has seen what came of it has seen it too.
        if tell.send(format!("{} {name}", asked.query_type())).is_err() {
            return;
        }
        let known = zone.lock().unwrap().get(&(name, asked.query_type())).cloned();
        if let Some(reply) = reply(&query, asked, known) {
            let _ = socket.send_to(&reply.to_vec().unwrap(), from);
        }
    }
}

fn reply(query: &Message, asked: Query, known: Option<(Answer, u32)>) -> Option<Message> {
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    let name = asked.name().clone();
    reply.add_query(asked);
    match known {
        Some((Answer::Silence, _)) => return None,
        Some((Answer::Failure, _)) => reply.metadata.response_code = ResponseCode::ServFail,
        Some((Answer::Records(records), ttl_s)) => {
            reply.add_answers(records.into_iter().map(|data| Record::from_rdata(name.clone(), ttl_s, data)));
        }
        None => {
            reply.metadata.response_code = ResponseCode::NXDomain;
            let here = Name::from_ascii("example.").unwrap();
            let soa = SOA::new(here.clone(), here.clone(), 1, 60, 60, 60, 60);
            reply.add_authority(Record::from_rdata(here, 60, RData::SOA(soa)));
        }
    }
    Some(reply)
}
