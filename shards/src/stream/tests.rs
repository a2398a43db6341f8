mod connecting;
mod secured;
mod websocket;

use super::*;
use std::io::{Read, Write};
use std::time::Duration;

/// Streams with all that they are given, and a clock that stands still unless it is moved.
struct Bench {
    streams: Streams,
    epoll: Epoll,
    now: Now,
    counters: Counters,
    news: News,
    addr: SocketAddr,
    taken: Vec<(Vec<u8>, Source)>,
}

impl Bench {
    fn new(change: impl FnOnce(&mut SocketOptions)) -> Self {
        Self::listening(Transport::Tcp, change)
    }

    fn listening(transport: Transport, change: impl FnOnce(&mut SocketOptions)) -> Self {
        let mut options = crate::tests::socket_options();
        change(&mut options);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let epoll = Epoll::new(16).unwrap();
        let streams = Streams::new(ShardIndex(3), vec![(transport, listener)], &options, &epoll).unwrap();
        let now = Now::from_unix_ms(1_000_000);
        Self { streams, epoll, now, counters: Counters::default(), news: News::default(), addr, taken: Vec::new() }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Streams, &mut Step<'_>) -> T) -> T {
        let Self { streams, epoll, now, counters, news, .. } = self;
        act(streams, &mut Step { epoll, now: *now, counters, news })
    }

    /// Handles what is ready, turn after turn, until `is_done`.
    #[track_caller]
    fn run_until(&mut self, is_done: impl Fn(&Self) -> bool) {
        self.with(Streams::flush);
        while !is_done(self) {
            assert_ne!(self.epoll.wait(Duration::from_secs(20)), 0, "nothing happens");
            for index in 0..self.epoll.count() {
                let event = self.epoll.event(index);
                let mut taken = Vec::new();
                self.with(|streams, step| match Ready::from_token(event.token) {
                    Ready::Listener(index) => streams.accept(index, step),
                    Ready::Connection { slot, generation } => {
                        streams.handle_event(slot, generation, event, step, &mut |bytes, source| {
                            taken.push((bytes.to_vec(), *source));
                        });
                    }
                    other => panic!("{other:?}"),
                });
                self.taken.append(&mut taken);
            }
            self.with(Streams::flush);
        }
    }

    /// A connection of a peer, accepted.
    fn peer(&mut self) -> TcpStream {
        let before = self.counters.connections_accepted;
        let peer = TcpStream::connect(self.addr).unwrap();
        self.run_until(|bench| bench.counters.connections_accepted > before);
        peer
    }

    /// Lets time pass, and does what is due then.
    fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.with(Streams::expire);
    }

    fn answer(&mut self, flow: FlowToken, ticket: Ticket, message: &[u8]) {
        self.with(|streams, step| streams.send_flow(flow, None, ticket, message, step));
    }
}

const MESSAGE: &[u8] = b"OPTIONS sip:a@b SIP/2.0\r\nl: 4\r\n\r\nbody";

fn ticket(n: u64) -> Ticket {
    Ticket::new(ShardIndex(3), n)
}

/// A connection to `remote` from whichever address the kernel chooses.
fn anywhere(remote: SocketAddr) -> Ends {
    Ends::new(Transport::Tcp, remote, None)
}

/// Reads exactly what is expected to come.
#[track_caller]
fn assert_receives(peer: &mut impl Read, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), String::from_utf8_lossy(expected));
}

#[track_caller]
fn assert_closed(peer: &mut TcpStream) {
    // A reset is as good an end as any.
    assert!(matches!(peer.read(&mut [0; 1]), Ok(0) | Err(_)));
}

#[test]
fn messages_come_in_with_their_connection_and_answers_go_back_over_it() {
    let mut bench = Bench::new(|_| {});
    let mut peer = bench.peer();
    peer.write_all(&[MESSAGE, MESSAGE, &MESSAGE[..20]].concat()).unwrap();
    bench.run_until(|bench| bench.taken.len() == 2);
    peer.write_all(&MESSAGE[20..]).unwrap();
    bench.run_until(|bench| bench.taken.len() == 3);
    let source = bench.taken[2].1;
    assert!(bench.taken.iter().all(|(bytes, from)| bytes == MESSAGE && *from == source));
    let (remote, local) = (peer.local_addr().unwrap(), bench.addr);
    assert_eq!(source, Source { transport: Transport::Tcp, remote, local, flow: source.flow });
    assert_eq!(source.flow.shard(), ShardIndex(3));
    bench.answer(source.flow, Ticket::NONE, b"one");
    bench.with(|streams, step| streams.send_to(anywhere(remote), None, Ticket::NONE, b"two", step));
    bench.with(Streams::flush);
    assert_receives(&mut peer, b"onetwo");
    assert_eq!((bench.streams.connections_count(), bench.counters.connections_opened), (1, 0), "RFC 5923");
}

#[test]
fn rfc5626_4_4_1_a_ping_is_answered_by_a_pong() {
    let mut bench = Bench::new(|_| {});
    let mut peer = bench.peer();
    peer.write_all(b"\r\n\r\n\r\n\r\n").unwrap();
    bench.run_until(|bench| bench.counters.keepalives == 2);
    assert_receives(&mut peer, b"\r\n\r\n");
    assert!(bench.taken.is_empty());
}

#[test]
fn a_message_without_end_is_answered_before_its_connection_is_closed() {
    let mut bench = Bench::new(|_| {});
    let mut peer = bench.peer();
    let head = b"OPTIONS sip:a@b SIP/2.0\r\nContent-Length: x\r\n\r\n";
    peer.write_all(&[head, MESSAGE].concat()).unwrap();
    bench.run_until(|bench| !bench.news.closed.is_empty());
    assert_eq!(bench.taken.len(), 1);
    let (bytes, source) = bench.taken[0].clone();
    assert_eq!(bytes, head);
    assert_eq!((&bench.news.closed, bench.counters.connections_broken), (&vec![source.flow], 1));
    bench.answer(source.flow, Ticket::NONE, b"SIP/2.0 400 Bad Request\r\n\r\n");
    peer.write_all(MESSAGE).unwrap();
    bench.with(Streams::flush);
    assert_receives(&mut peer, b"SIP/2.0 400 Bad Request\r\n\r\n");
    bench.pass(LINGER_MS);
    assert_closed(&mut peer);
    assert_eq!((bench.streams.connections_count(), bench.news.closed.len(), bench.taken.len()), (0, 1, 1));
}

#[test]
fn a_message_that_is_too_long_breaks_its_connection() {
    let mut bench = Bench::new(|options| options.stream_message_bytes_max = 1000);
    let mut peer = bench.peer();
    peer.write_all(&[b'x'; 1001]).unwrap();
    bench.run_until(|bench| !bench.news.closed.is_empty());
    assert_eq!((bench.counters.connections_broken, bench.counters.dropped_too_long), (1, 1));
    assert!(bench.taken.is_empty());
}

#[test]
fn a_peer_that_ends_its_sending_still_gets_its_answer() {
    let mut bench = Bench::new(|_| {});
    let mut peer = bench.peer();
    peer.write_all(MESSAGE).unwrap();
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    bench.run_until(|bench| !bench.news.closed.is_empty());
    assert_eq!(bench.taken.len(), 1);
    bench.answer(bench.taken[0].1.flow, Ticket::NONE, b"SIP/2.0 200 OK\r\n\r\n");
    bench.with(Streams::flush);
    assert_receives(&mut peer, b"SIP/2.0 200 OK\r\n\r\n");
    bench.pass(LINGER_MS);
    assert_closed(&mut peer);
}

#[test]
fn an_answer_that_comes_together_with_the_end_of_its_connection_is_written_first() {
    let mut bench = Bench::new(|_| {});
    let mut peer = bench.peer();
    peer.write_all(MESSAGE).unwrap();
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    bench.run_until(|bench| !bench.news.closed.is_empty());
    bench.answer(bench.taken[0].1.flow, Ticket::NONE, b"SIP/2.0 200 OK\r\n\r\n");
    bench.pass(LINGER_MS);
    assert_receives(&mut peer, b"SIP/2.0 200 OK\r\n\r\n");
    assert_closed(&mut peer);
    assert_eq!((bench.streams.connections_count(), bench.counters.dropped_flow_gone), (0, 0));
}

#[test]
fn a_message_that_comes_together_with_the_end_of_rest_keeps_its_connection() {
    let mut bench = Bench::new(|options| options.stream_idle_s = 60);
    let mut peer = bench.peer();
    peer.write_all(MESSAGE).unwrap();
    bench.run_until(|bench| bench.taken.len() == 1);
    bench.answer(bench.taken[0].1.flow, ticket(1), b"INVITE");
    bench.pass(60_000);
    assert_receives(&mut peer, b"INVITE");
    assert_eq!((bench.streams.connections_count(), bench.counters.connections_idled), (1, 0));
    assert!(bench.news.failed.is_empty());
    bench.pass(60_000);
    assert_eq!((bench.streams.connections_count(), bench.counters.connections_idled), (0, 1));
}

#[test]
fn a_peer_that_says_nothing_is_let_go_at_once() {
    let mut bench = Bench::new(|_| {});
    drop(bench.peer());
    bench.run_until(|bench| bench.streams.connections_count() == 0);
    assert_eq!(bench.news.closed.len(), 1);
}

#[test]
fn a_connection_that_is_gone_is_reported_once_and_its_flow_names_no_other() {
    let mut bench = Bench::new(|_| {});
    let mut peer = bench.peer();
    peer.write_all(MESSAGE).unwrap();
    bench.run_until(|bench| bench.taken.len() == 1);
    let flow = bench.taken[0].1.flow;
    drop(peer);
    bench.run_until(|bench| !bench.news.closed.is_empty());
    bench.pass(LINGER_MS);
    assert_eq!((bench.news.closed.as_slice(), bench.streams.connections_count()), (&[flow][..], 0));

    let mut other = bench.peer();
    other.write_all(MESSAGE).unwrap();
    bench.run_until(|bench| bench.taken.len() == 2);
    let other_flow = bench.taken[1].1.flow;
    assert_eq!(other_flow.slot(), flow.slot());
    assert_ne!(other_flow, flow);
    bench.answer(flow, ticket(1), b"lost");
    bench.answer(other_flow, Ticket::NONE, b"kept");
    bench.with(Streams::flush);
    assert_receives(&mut other, b"kept");
    assert_eq!((bench.news.failed.as_slice(), bench.counters.dropped_flow_gone), (&[ticket(1)][..], 1));
}

/// Phones keep the names of flows in their Routes (RFC 5626 §5.2) for longer than a node runs, and its twin takes them as well.
#[test]
fn a_flow_of_another_life_of_the_node_names_no_connection() {
    let first_flow = || {
        let mut bench = Bench::new(|_| {});
        let mut peer = bench.peer();
        peer.write_all(MESSAGE).unwrap();
        bench.run_until(|bench| bench.taken.len() == 1);
        (bench.taken[0].1.flow, bench, peer)
    };
    let (before, ..) = first_flow();
    let (after, mut bench, _peer) = first_flow();
    assert_eq!((before.shard(), before.slot()), (after.shard(), after.slot()));
    bench.answer(before, ticket(1), b"not yours");
    assert_eq!((bench.news.failed.as_slice(), bench.counters.dropped_flow_gone), (&[ticket(1)][..], 1));
}

#[test]
fn rfc3261_18_2_2_an_answer_whose_connection_is_gone_opens_another() {
    let mut bench = Bench::new(|_| {});
    let phone = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = FlowToken::new(ShardIndex(3), 7, 1);
    let fallback = Some(anywhere(phone.local_addr().unwrap()));
    for text in [b"first ", b"second"] {
        bench.with(|streams, step| streams.send_flow(gone, fallback, ticket(1), text, step));
    }
    bench.run_until(|bench| bench.counters.connections_opened == 1);
    let (mut peer, _) = phone.accept().unwrap();
    assert_receives(&mut peer, b"first second");
    assert!(bench.news.failed.is_empty());
    peer.write_all(MESSAGE).unwrap();
    bench.run_until(|bench| bench.taken.len() == 1);
    assert_eq!(bench.taken[0].1.local, peer.peer_addr().unwrap());
}

#[test]
fn an_answer_whose_connection_is_gone_is_not_given_to_another_peer() {
    let mut bench = Bench::new(|_| {});
    // The peer's port happens to be the one that the request named in its Via, as behind one NAT.
    let mut other = bench.peer();
    let gone = FlowToken::new(ShardIndex(3), 7, 1);
    let ends = anywhere(other.local_addr().unwrap());
    bench.with(|streams, step| streams.send_flow(gone, Some(ends), ticket(1), b"not yours", step));
    // Nobody listens there.
    bench.run_until(|bench| bench.news.failed == [ticket(1)]);
    bench.with(|streams, step| streams.send_to(ends, None, Ticket::NONE, b"yours", step));
    bench.with(Streams::flush);
    assert_receives(&mut other, b"yours");
}

#[test]
fn a_connection_starts_from_the_address_that_is_asked_for_and_is_used_again_from_there_alone() {
    let mut bench = Bench::new(|_| {});
    let phone = TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = phone.local_addr().unwrap();
    let from = |octet| Ends::new(Transport::Tcp, remote, Some([127, 0, 0, octet].into()));
    for (ends, text) in [(from(2), b"two"), (from(3), b"333"), (from(2), b"too"), (anywhere(remote), b"any")] {
        bench.with(|streams, step| streams.send_to(ends, None, ticket(1), text, step));
    }
    bench.run_until(|bench| bench.counters.connections_opened == 2);
    for _ in 0..2 {
        let (mut peer, addr) = phone.accept().unwrap();
        match addr.ip().to_string().as_str() {
            "127.0.0.2" => assert_receives(&mut peer, b"twotoo"),
            // Who does not ask for an address takes the connection that was made last.
            "127.0.0.3" => assert_receives(&mut peer, b"333any"),
            _ => panic!("from {addr}"),
        }
        peer.write_all(MESSAGE).unwrap();
        bench.run_until(|bench| !bench.taken.is_empty());
        assert_eq!(bench.taken.pop().unwrap().1.local, addr);
    }
    assert!(bench.news.failed.is_empty());
}

#[test]
fn a_connection_from_an_address_of_another_host_is_opened_from_one_of_this_host_once() {
    let mut bench = Bench::new(|_| {});
    let phone = TcpListener::bind("127.0.0.1:0").unwrap();
    let ends = Ends::new(Transport::Tcp, phone.local_addr().unwrap(), Some([192, 0, 2, 1].into()));
    for n in 1..=2 {
        bench.with(|streams, step| streams.send_to(ends, None, ticket(n), b"INVITE", step));
    }
    bench.run_until(|bench| bench.counters.connections_opened == 1);
    let (mut peer, _) = phone.accept().unwrap();
    assert_receives(&mut peer, b"INVITEINVITE");
    assert_eq!((bench.news.failed.len(), bench.streams.connections_count()), (0, 1));
}

#[test]
fn a_connection_that_is_refused_fails_all_that_waited_for_it() {
    let mut bench = Bench::new(|_| {});
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for n in 1..=2 {
        bench.with(|streams, step| streams.send_to(anywhere(nobody), None, ticket(n), b"INVITE", step));
    }
    bench.run_until(|bench| bench.news.failed.len() == 2);
    assert_eq!(bench.news.failed, [ticket(1), ticket(2)]);
    assert_eq!((bench.streams.connections_count(), bench.counters.connections_opened), (0, 0));
    assert!(bench.news.closed.is_empty(), "what was never open has not ended");
}

#[test]
fn opening_may_take_so_long_and_resting_so_long() {
    let mut bench = Bench::new(|options| (options.connect_timeout_ms, options.stream_idle_s) = (500, 60));
    assert_eq!(bench.streams.next_deadline(), None);
    let _peer = bench.peer();
    assert_eq!(bench.streams.next_deadline(), Some(bench.now.plus_ms(60_000)));
    // The kernel opens this one at once, but nobody takes note of it.
    let phone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    bench.with(|streams, step| streams.send_to(anywhere(phone), None, ticket(1), b"INVITE", step));
    assert_eq!(bench.streams.next_deadline(), Some(bench.now.plus_ms(500)));
    bench.pass(499);
    assert_eq!(bench.streams.connections_count(), 2);
    bench.pass(1);
    assert_eq!((bench.news.failed.as_slice(), bench.streams.connections_count()), (&[ticket(1)][..], 1));
    bench.pass(59_499);
    assert_eq!((bench.streams.connections_count(), bench.counters.connections_idled), (1, 0));
    bench.pass(1);
    assert_eq!((bench.streams.connections_count(), bench.counters.connections_idled), (0, 1));
    assert_eq!((bench.news.closed.len(), bench.streams.next_deadline()), (1, None));
}

#[test]
fn one_connection_too_many_is_closed_and_counted() {
    let mut bench = Bench::new(|options| options.connections_per_shard_max = 1);
    let mut first = bench.peer();
    let mut second = TcpStream::connect(bench.addr).unwrap();
    bench.run_until(|bench| bench.counters.connections_refused == 1);
    assert_closed(&mut second);
    let elsewhere = SocketAddr::from(([127, 0, 0, 1], 1));
    bench.with(|streams, step| streams.send_to(anywhere(elsewhere), None, ticket(1), b"INVITE", step));
    assert_eq!((bench.news.failed.as_slice(), bench.counters.connections_refused), (&[ticket(1)][..], 2));
    first.write_all(MESSAGE).unwrap();
    bench.run_until(|bench| bench.taken.len() == 1);
}

#[test]
fn a_peer_that_does_not_read_loses_whole_messages_and_stops_nobody() {
    let mut bench = Bench::new(|options| options.stream_write_bytes_max = 100_000);
    let mut peer = bench.peer();
    peer.write_all(MESSAGE).unwrap();
    bench.run_until(|bench| bench.taken.len() == 1);
    let flow = bench.taken[0].1.flow;
    let (mut put_count, mut message) = (0_u32, [0; 10_000]);
    while bench.counters.dropped_flow_gone == 0 {
        message[..4].copy_from_slice(&put_count.to_be_bytes());
        bench.answer(flow, ticket(u64::from(put_count) + 1), &message);
        bench.with(Streams::flush);
        put_count += 1;
        assert!(put_count < 100_000);
    }
    assert_eq!(bench.news.failed, [ticket(u64::from(put_count))]);
    let reader = std::thread::spawn(move || {
        for n in 0..put_count - 1 {
            let mut message = [0; 10_000];
            peer.read_exact(&mut message).unwrap();
            assert_eq!(message[..4], n.to_be_bytes());
        }
        peer
    });
    bench.run_until(|bench| !bench.streams.has_unwritten());
    drop(reader.join().unwrap());
    bench.run_until(|bench| !bench.news.closed.is_empty());
    assert_eq!(bench.news.failed.len(), 1);
}

#[test]
fn what_was_not_written_when_a_connection_ends_has_failed() {
    let mut bench = Bench::new(|options| options.stream_write_bytes_max = 20_000_000);
    let mut peer = bench.peer();
    peer.write_all(MESSAGE).unwrap();
    bench.run_until(|bench| bench.taken.len() == 1);
    let flow = bench.taken[0].1.flow;
    bench.answer(flow, ticket(1), &vec![0; 10_000_000]);
    bench.answer(flow, Ticket::NONE, b"lost too");
    bench.answer(flow, ticket(2), b"and this");
    bench.with(Streams::flush);
    // Closing with unread bytes resets the connection.
    drop(peer);
    bench.run_until(|bench| bench.streams.connections_count() == 0);
    assert_eq!(bench.news.failed, [ticket(1), ticket(2)]);
    assert_eq!((bench.counters.dropped_flow_gone, bench.news.closed.len()), (3, 1));
}

#[test]
fn a_connection_at_rest_is_small() {
    assert!(size_of::<Connection>() <= 256, "{}", size_of::<Connection>());
}

impl Streams {
    fn has_unwritten(&self) -> bool {
        self.table.iter().any(Connection::has_unwritten)
    }
}
