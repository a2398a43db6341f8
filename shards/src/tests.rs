//! The data plane as a whole, over real sockets of the loopback interface.

use super::*;
use sipfed_proto::Transport;
use sipfed_proto::settings::LostFlow;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// Options that tests share.
pub(crate) fn socket_options() -> SocketOptions {
    SocketOptions {
        receive_buffer_bytes: 1 << 20,
        send_buffer_bytes: 1 << 20,
        coalesce_us: 500,
        connections_per_shard_max: 100,
        stream_idle_s: 60,
        connect_timeout_ms: 2000,
        stream_message_bytes_max: 65_535,
        stream_write_bytes_max: 256 * 1024,
        tls: TlsOptions::default(),
        websocket: WebSocketOptions::default(),
    }
}

fn listener(transport: Transport, addr: &str) -> Listener {
    Listener { transport, addr: addr.parse().unwrap() }
}

/// Options of a node for the domain example.com on two shards.
fn options(listeners: Vec<Listener>) -> Options {
    let settings = Settings { domains: vec!["example.com".to_owned()], ..Settings::default() };
    Options {
        cores: vec![0, 0],
        listeners,
        virtual_ip: None,
        settings,
        sockets: socket_options(),
        persistence: None,
        directory: None,
        names: None,
        replication: None,
    }
}

fn udp_plane() -> (DataPlane, SocketAddr) {
    let plane = DataPlane::start(options(vec![listener(Transport::Udp, "127.0.0.1:0")])).unwrap();
    let addr = plane.listening()[0];
    (plane, addr)
}

pub(crate) fn register(user: &str, transport: &str, from: SocketAddr) -> Vec<u8> {
    format!(
        "REGISTER sip:example.com SIP/2.0\r\n\
         Via: SIP/2.0/{transport} {from};branch=z9hG4bK-{user}\r\n\
         From: <sip:{user}@example.com>;tag=1\r\n\
         To: <sip:{user}@example.com>\r\n\
         Call-ID: {user}-call\r\n\
         CSeq: 1 REGISTER\r\n\
         Max-Forwards: 70\r\n\
         Contact: <sip:{user}@{from}>\r\n\
         Expires: 600\r\n\
         Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

fn phone(addr: &str) -> UdpSocket {
    let socket = UdpSocket::bind(addr).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

/// The next datagram and where it came from.
#[track_caller]
fn receive(socket: &UdpSocket) -> (String, SocketAddr) {
    let mut bytes = vec![0; 65_536];
    let (len, from) = socket.recv_from(&mut bytes).expect("an answer");
    (String::from_utf8_lossy(&bytes[..len]).into_owned(), from)
}

/// The reports of all shards once they fulfil `is_done`; the shards are asked again until then.
#[track_caller]
fn reports_once(plane: &DataPlane, is_done: impl Fn(&[ShardReport]) -> bool) -> Vec<ShardReport> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let reports = plane.report(Duration::from_secs(20));
        if is_done(&reports) {
            return reports;
        }
        assert!(Instant::now() < deadline, "{reports:?}");
    }
}

fn sum(reports: &[ShardReport], of: impl Fn(&Counters) -> u64) -> u64 {
    reports.iter().map(|report| of(&report.counters)).sum()
}

#[test]
fn registers_of_many_phones_are_answered_wherever_their_owner_is() {
    let (plane, addr) = udp_plane();
    let phones: Vec<UdpSocket> = (0..40).map(|_| phone("127.0.0.1:0")).collect();
    for (n, phone) in phones.iter().enumerate() {
        phone.send_to(&register(&format!("user{n}"), "UDP", phone.local_addr().unwrap()), addr).unwrap();
    }
    for (n, phone) in phones.iter().enumerate() {
        let (answer, from) = receive(phone);
        assert!(answer.starts_with("SIP/2.0 200 ") && answer.contains(&format!("user{n}-call")), "{answer}");
        assert_eq!(from, addr);
    }
    let reports = plane.report(Duration::from_secs(20));
    assert_eq!(reports.iter().map(|r| usize::from(r.shard.0)).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(reports.iter().map(|r| r.bindings).sum::<usize>(), 40);
    assert_eq!((sum(&reports, |c| c.received), sum(&reports, |c| c.dropped_mesh_full)), (40, 0));
    assert_eq!(sum(&reports, |c| c.steered_in), sum(&reports, |c| c.steered_out));
    assert!(reports.iter().all(|report| report.bindings > 0), "both shards own some of 40 users");
    assert_eq!(plane.stop().len(), 2);
}

#[test]
fn an_answer_leaves_from_the_address_its_request_came_to() {
    for (wildcard, to, from) in [("0.0.0.0:0", "127.0.0.9", "127.0.0.1:0"), ("[::]:0", "::1", "[::1]:0")] {
        let plane = DataPlane::start(options(vec![listener(Transport::Udp, wildcard)])).unwrap();
        let addr = SocketAddr::new(to.parse().unwrap(), plane.listening()[0].port());
        let phone = phone(from);
        for user in ["a", "b", "c", "d", "e", "f"] {
            phone.send_to(&register(user, "UDP", phone.local_addr().unwrap()), addr).unwrap();
            assert_eq!(receive(&phone).1, addr, "{wildcard}");
        }
    }
}

#[test]
fn garbage_stops_nothing() {
    let (plane, addr) = udp_plane();
    let phone = phone("127.0.0.1:0");
    let most = vec![b'x'; 65_507];
    for garbage in [&b""[..], b"\r\n\r\n", &[0; 4], b"SIP/2.0\r\n\r\n", &[255; 1400], &most] {
        phone.send_to(garbage, addr).unwrap();
    }
    phone.send_to(&register("user", "UDP", phone.local_addr().unwrap()), addr).unwrap();
    assert!(receive(&phone).0.starts_with("SIP/2.0 200 "));
    assert_eq!(sum(&plane.report(Duration::from_secs(20)), |c| c.received), 7);
}

/// Reads one answer without a body.
#[track_caller]
fn read_answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_connection_serves_users_of_all_shards_and_its_end_is_known_to_all_of_them() {
    let mut options = options(vec![listener(Transport::Tcp, "127.0.0.1:0")]);
    options.settings.registrar.lost_flow = LostFlow::Remove;
    let plane = DataPlane::start(options).unwrap();
    let mut stream = TcpStream::connect(plane.listening()[0]).unwrap();
    let from = stream.local_addr().unwrap();
    for n in 0..24 {
        stream.write_all(&register(&format!("user{n}"), "TCP", from)).unwrap();
    }
    for _ in 0..24 {
        let answer = read_answer(&mut stream);
        assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    }
    stream.write_all(b"\r\n\r\n").unwrap();
    let mut pong = [0; 2];
    stream.read_exact(&mut pong).unwrap();
    assert_eq!(&pong, b"\r\n");
    let reports = plane.report(Duration::from_secs(20));
    assert!(reports.iter().all(|report| report.bindings > 0), "both shards own some of 24 users");
    assert_eq!(
        reports.iter().map(|r| (r.bindings, r.connections)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1)),
        (24, 1)
    );
    drop(stream);
    reports_once(&plane, |reports| reports.iter().all(|report| report.bindings == 0));
}

#[test]
fn rfc3261_18_3_a_bad_content_length_on_a_stream_is_answered_400() {
    let plane = DataPlane::start(options(vec![listener(Transport::Tcp, "[::1]:0")])).unwrap();
    let mut stream = TcpStream::connect(plane.listening()[0]).unwrap();
    let text = String::from_utf8(register("user", "TCP", stream.local_addr().unwrap())).unwrap();
    stream.write_all(text.replace("Content-Length: 0", "Content-Length: many").as_bytes()).unwrap();
    assert!(read_answer(&mut stream).starts_with("SIP/2.0 400 "));
    let reports = reports_once(&plane, |reports| sum(reports, |c| c.connections_broken) == 1);
    assert_eq!(reports.iter().map(|report| report.bindings).sum::<usize>(), 0);
}

#[test]
fn a_draining_node_answers_503_and_a_stopped_one_frees_its_port() {
    let (plane, addr) = udp_plane();
    let phone = phone("127.0.0.1:0");
    plane.drain();
    // What is asked of a shard is followed in its order.
    assert_eq!(plane.report(Duration::from_secs(20)).len(), 2);
    phone.send_to(&register("user", "UDP", phone.local_addr().unwrap()), addr).unwrap();
    assert!(receive(&phone).0.starts_with("SIP/2.0 503 "));
    let last = plane.stop();
    assert_eq!(sum(&last, |c| c.refused_draining), 1);
    let again = DataPlane::start(options(vec![Listener { transport: Transport::Udp, addr }])).unwrap();
    assert_eq!(again.listening(), [addr]);
}

#[test]
fn a_passive_node_keeps_what_is_over_until_it_is_told_that_it_is_active() {
    let mut options = options(vec![listener(Transport::Udp, "127.0.0.1:0")]);
    options.settings.registrar.min_expires_s = 1;
    options.virtual_ip = Some("192.0.2.1".parse().unwrap());
    let plane = DataPlane::start(options).unwrap();
    let phone = phone("127.0.0.1:0");
    let at = phone.local_addr().unwrap();
    let text = String::from_utf8(register("user", "UDP", at)).unwrap().replace("Expires: 600", "Expires: 1");
    let ask = |text: &str| {
        phone.send_to(text.as_bytes(), plane.listening()[0]).unwrap();
        receive(&phone).0
    };
    assert!(ask(&text).starts_with("SIP/2.0 200 "));
    let question = text.replace(&format!("Contact: <sip:user@{at}>\r\n"), "").replace("Call-ID: user", "Call-ID: ask");
    assert_ne!(question, text);
    while ask(&question).contains("Contact: ") {}
    let bindings = |reports: &[ShardReport]| reports.iter().map(|report| report.bindings).sum::<usize>();
    assert_eq!(bindings(&plane.report(Duration::from_secs(20))), 1, "it is kept and not found");
    plane.activity().set(true);
    reports_once(&plane, |reports| bindings(reports) == 0);
}

#[test]
fn a_request_that_cannot_be_sent_is_answered_without_waiting_for_its_timers() {
    let (plane, addr) = udp_plane();
    let phone = phone("127.0.0.1:0");
    // A socket of the loopback interface reaches nothing outside.
    let text = String::from_utf8(register("bob", "UDP", phone.local_addr().unwrap())).unwrap();
    let contact = format!("Contact: <sip:bob@{}>", phone.local_addr().unwrap());
    phone.send_to(text.replace(&contact, "Contact: <sip:bob@192.0.2.1:5060>").as_bytes(), addr).unwrap();
    assert!(receive(&phone).0.starts_with("SIP/2.0 200 "));
    let invite = text.replace("REGISTER sip:example.com", "INVITE sip:bob@example.com").replace("REGISTER", "INVITE");
    phone.send_to(invite.replace("branch=z9hG4bK-", "branch=z9hG4bK-i").as_bytes(), addr).unwrap();
    let answers = std::iter::repeat_with(|| receive(&phone).0);
    let last = answers.take(3).find(|answer| !answer.starts_with("SIP/2.0 1")).unwrap();
    assert!(last.starts_with("SIP/2.0 5") || last.starts_with("SIP/2.0 4"), "{last}");
    assert!(!last.starts_with("SIP/2.0 408"), "{last}");
    assert_eq!(sum(&plane.stop(), |c| c.dropped_send_error), 1);
}

#[test]
fn what_cannot_start_says_why_and_leaves_nothing_behind() {
    let udp = || vec![listener(Transport::Udp, "127.0.0.1:0")];
    let start = |change: &dyn Fn(&mut Options)| {
        let mut options = options(udp());
        change(&mut options);
        DataPlane::start(options).map(|_| ()).unwrap_err()
    };
    assert!(matches!(start(&|o| o.cores.clear()), StartError::NoCores));
    assert!(matches!(start(&|o| o.cores = vec![0; 129]), StartError::TooManyShards { count: 129 }));
    assert!(matches!(start(&|o| o.listeners.clear()), StartError::NoListeners));
    let bytes = 65_536;
    assert!(matches!(
        start(&|o| o.sockets.stream_message_bytes_max = bytes),
        StartError::StreamMessageBytes { bytes: 65_536 }
    ));
    let error = start(&|o| o.cores = vec![0, 4000]);
    assert!(matches!(error, StartError::Core { shard: 1, core: 4000, .. }), "{error}");

    let (plane, addr) = udp_plane();
    let taken = start(&|o| o.listeners.push(Listener { transport: Transport::Udp, addr }));
    assert!(matches!(taken, StartError::PortInUse { listener } if listener.addr == addr), "{taken}");
    drop(plane);
}

/// The answer to a command that `make` makes.
#[track_caller]
fn answered<T: Send + 'static>(shards: &Administration, shard: usize, make: impl FnOnce(Reply<T>) -> Command) -> T {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    shards.ask(shard, make(Reply::new(move |answer| drop(sender.try_send(answer))))).unwrap();
    receiver.recv_timeout(Duration::from_secs(20)).expect("an answer")
}

#[test]
fn commands_are_answered_by_the_shard_that_owns_the_aor() {
    let (plane, _) = udp_plane();
    let shards = plane.administration();
    let users: Vec<String> = (0..20).map(|n| format!("user{n}@example.com")).collect();
    for aor in &users {
        let binding = OwnedBinding {
            aor: aor.as_bytes().into(),
            contact: (*b"sip:x@203.0.113.1").into(),
            expires_s: 600,
            q_milli: 1000,
            methods: 0,
        };
        let owner = shards.owner(aor.as_bytes());
        assert_eq!(answered(&shards, owner, |reply| Command::Bind { binding, reply }), Ok(()));
        let find = |reply| Command::Find { aor: aor.as_bytes().into(), reply };
        assert_eq!(answered(&shards, owner, find).bindings().count(), 1);
    }
    let pages = |shard| answered(&shards, shard, |reply| Command::Page { from: 0, reply });
    let seen: usize = (0..shards.shards_count()).map(|shard| pages(shard).0.bindings().count()).sum();
    assert_eq!(seen, users.len());
    let aor = users[0].as_bytes();
    let end = |reply| Command::End { aor: aor.into(), contact: None, reply };
    assert_eq!(answered(&shards, shards.owner(aor), end), Ok(sipfed_proto::Ended::Bindings(1)));
    assert_eq!(answered(&shards, 0, |reply| Command::Flush { reply }), Ok(()));
    let reports = plane.report(Duration::from_secs(20));
    assert_eq!(reports.iter().map(|report| report.homes).sum::<usize>(), users.len() - 1);
    assert_eq!(reports.iter().map(|report| report.contacts).sum::<usize>(), users.len() - 1);
}

#[test]
fn shards_that_have_ended_take_no_command() {
    let (plane, _) = udp_plane();
    let shards = plane.administration();
    plane.stop();
    assert_eq!(shards.ask(0, Command::Flush { reply: Reply::new(|_| panic!("nobody answers")) }), Err(Busy));
}

#[test]
fn a_registration_is_promised_once_a_backup_has_it() {
    use sipfed_proto::replica::end::{Order, Report};
    use std::sync::mpsc;
    let (woken, wakes) = mpsc::channel();
    let wake = Wake::new(move || _ = woken.send(()));
    let replication = Some(ReplicationOptions { wake, is_sync: true, secret: [9; 32] });
    let options = Options { cores: vec![0], replication, ..options(vec![listener(Transport::Udp, "127.0.0.1:0")]) };
    let plane = DataPlane::start(options).unwrap();
    let link = plane.replication().unwrap();
    link.put(0, Order::KeepBackups(true)).unwrap();
    link.put(0, Order::TellPositions).unwrap();
    link.release(0, 0);
    link.ring(0);
    let next = || loop {
        link.look();
        if let Some(report) = link.take_report(0) {
            break report;
        }
        wakes.recv_timeout(Duration::from_secs(20)).expect("the shard wakes whoever waits for it");
    };
    assert_eq!(next(), Report::Positions(Vec::new()));
    let phone = phone("127.0.0.1:0");
    phone.connect(plane.listening()[0]).unwrap();
    phone.send(&register("alice", "UDP", phone.local_addr().unwrap())).unwrap();
    let Report::Part { sequence, journal, .. } = next() else { panic!("it was written down") };
    assert_eq!(sequence, 1);
    // What is no promise does not wait, so once this is answered the registration would have been.
    phone.send(b"OPTIONS sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK-o;rport\r\nFrom: <sip:a@b>;tag=1\r\n\
        To: <sip:example.com>\r\nCall-ID: o\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n").unwrap();
    let mut buffer = [0; 2048];
    let len = phone.recv(&mut buffer).unwrap();
    assert!(String::from_utf8_lossy(&buffer[..len]).contains("OPTIONS"));
    link.release(0, sequence);
    let len = phone.recv(&mut buffer).unwrap();
    assert!(buffer[..len].starts_with(b"SIP/2.0 200 ") && buffer[..len].windows(10).any(|part| part == b"1 REGISTER"));
    // Another node with the same secret takes it over.
    link.put(0, Order::Merge { ticket: 1, position: None, journal: journal.to_vec() }).unwrap();
    link.ring(0);
    assert_eq!(next(), Report::Merged { ticket: 1, is_good: true, gaps: 0, spent: journal.into() });
}
