//! RFC 7118: connections that become WebSockets.

use super::super::websocket::frames::tests::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, frame};
use super::super::websocket::upgrade::REQUEST_BYTES_MAX;
use super::super::websocket::upgrade::tests::REQUEST;
use super::secured::Secured;
use super::*;

const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: sip\r\n\r\n";

fn listening(change: impl FnOnce(&mut SocketOptions)) -> Bench {
    Bench::listening(Transport::Ws, change)
}

/// A peer whose WebSocket is open.
fn open(bench: &mut Bench) -> TcpStream {
    let mut peer = bench.peer();
    let before = bench.counters.ws_upgrades;
    peer.write_all(REQUEST.as_bytes()).unwrap();
    bench.run_until(|bench| bench.counters.ws_upgrades > before);
    assert_receives(&mut peer, ANSWER);
    peer
}

/// Everything up to the end.
fn rest(peer: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    peer.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn messages_come_in_and_answers_go_back_in_frames() {
    let mut bench = listening(|_| {});
    let mut peer = open(&mut bench);
    let cut = frame(FIN | BINARY, MESSAGE);
    peer.write_all(&[&frame(FIN | TEXT, MESSAGE), &frame(TEXT, &MESSAGE[..9]), &cut[..0]].concat()).unwrap();
    peer.write_all(&[&frame(FIN | CONTINUATION, &MESSAGE[9..]), &cut[..20]].concat()).unwrap();
    bench.run_until(|bench| bench.taken.len() == 2);
    peer.write_all(&cut[20..]).unwrap();
    bench.run_until(|bench| bench.taken.len() == 3);
    let source = bench.taken[0].1;
    assert!(bench.taken.iter().all(|(bytes, from)| bytes == MESSAGE && *from == source));
    let (remote, local) = (peer.local_addr().unwrap(), bench.addr);
    assert_eq!(source, Source { transport: Transport::Ws, remote, local, flow: source.flow });
    assert_eq!(source.flow.transport(), Transport::Ws);
    bench.answer(source.flow, Ticket::NONE, b"text");
    bench.answer(source.flow, Ticket::NONE, b"\xffbinary");
    bench.answer(source.flow, Ticket::NONE, &[b'x'; 300]);
    bench.with(Streams::flush);
    assert_receives(&mut peer, b"\x81\x04text\x82\x07\xffbinary\x81\x7e\x01\x2c");
    assert_receives(&mut peer, &[b'x'; 300]);
}

#[test]
fn a_websocket_within_tls_is_both() {
    let mut secured = Secured::listening(Transport::Wss, |_| {});
    let mut peer = secured.peer(&rustls::version::TLS13);
    let bench = &mut secured.bench;
    assert!(bench.taken.is_empty() && bench.counters.ws_upgrades == 0);
    peer.write_all(REQUEST.as_bytes()).unwrap();
    bench.run_until(|bench| bench.counters.ws_upgrades == 1);
    peer.write_all(&[frame(FIN | TEXT, MESSAGE), frame(PING, b"?")].concat()).unwrap();
    bench.run_until(|bench| bench.taken.len() == 1 && bench.counters.keepalives == 1);
    let source = bench.taken[0].1;
    assert_eq!((source.transport, source.flow.transport()), (Transport::Wss, Transport::Wss));
    bench.answer(source.flow, Ticket::NONE, b"answer");
    bench.with(Streams::flush);
    let mut read = vec![0; ANSWER.len() + 11];
    peer.read_exact(&mut read).unwrap();
    assert_eq!(read, [ANSWER, b"\x8a\x01?\x81\x06answer"].concat());
    peer.write_all(&frame(CLOSE, b"\x03\xe8bye")).unwrap();
    bench.run_until(|bench| bench.news.closed == [source.flow]);
    assert_eq!(rest(&mut peer), b"\x88\x02\x03\xe8", "and the end of TLS is told");
    drop(peer);
    bench.run_until(|bench| bench.streams.connections_count() == 0);
}

#[test]
fn rfc7118_6_keep_alives_are_answered() {
    let mut bench = listening(|_| {});
    let mut peer = open(&mut bench);
    let sent = [
        frame(PING, b"a"),
        frame(FIN | TEXT, b"\r\n\r\n"),
        frame(PONG, b"x"),
        frame(FIN | TEXT, b"\r\n"),
        frame(PING, b""),
    ];
    peer.write_all(&sent.concat()).unwrap();
    bench.run_until(|bench| bench.counters.keepalives == 3);
    assert_receives(&mut peer, b"\x8a\x01a\x81\x02\r\n\x8a\x00");
    assert!(bench.taken.is_empty());
}

#[test]
fn rfc7118_6_a_keep_alive_of_ours_is_a_ping() {
    let mut bench = listening(|_| {});
    let mut peer = open(&mut bench);
    peer.write_all(&frame(FIN | TEXT, MESSAGE)).unwrap();
    bench.run_until(|bench| bench.taken.len() == 1);
    bench.answer(bench.taken[0].1.flow, Ticket::NONE, b"\r\n\r\n");
    bench.with(Streams::flush);
    assert_receives(&mut peer, b"\x89\x00");
}

#[test]
fn a_close_is_answered_and_ends_the_connection() {
    let mut bench = listening(|_| {});
    let mut peer = open(&mut bench);
    peer.write_all(&[frame(FIN | TEXT, MESSAGE), frame(CLOSE, b""), frame(FIN | TEXT, MESSAGE)].concat()).unwrap();
    bench.run_until(|bench| !bench.news.closed.is_empty());
    let flow = bench.taken[0].1.flow;
    assert_eq!((bench.news.closed.as_slice(), bench.taken.len()), (&[flow][..], 1), "nothing follows a close");
    // RFC 6455 §5.5.1: nothing is sent behind a close either.
    bench.answer(flow, ticket(1), b"late");
    assert_eq!(bench.news.failed, [ticket(1)]);
    bench.with(Streams::flush);
    assert_eq!(rest(&mut peer), b"\x88\x00");
    drop(peer);
    bench.run_until(|bench| bench.streams.connections_count() == 0);
    assert_eq!((bench.counters.connections_broken, bench.news.closed.len()), (0, 1));
}

#[test]
fn a_breach_is_told_by_its_code_and_ends_the_connection() {
    let not_masked = b"\x81\x04text".to_vec();
    let too_long = frame(FIN | TEXT, &[b'x'; 1001])[..8].to_vec();
    let garbage = b"OPTIONS sip:a@b SIP/2.0\r\n\r\n".to_vec();
    for (sent, code, dropped_too_long) in [
        (not_masked, 1002_u16, 0),
        (garbage, 1002, 0),
        (frame(PING, &[b'x'; 126]), 1002, 0),
        (frame(FIN | TEXT, b"\xff"), 1007, 0),
        (too_long, 1009, 1),
    ] {
        let mut bench = listening(|options| options.stream_message_bytes_max = 1000);
        let mut peer = open(&mut bench);
        peer.write_all(&[frame(FIN | TEXT, MESSAGE), sent].concat()).unwrap();
        bench.run_until(|bench| !bench.news.closed.is_empty());
        assert_eq!(bench.taken.len(), 1);
        assert_eq!((bench.counters.connections_broken, bench.counters.dropped_too_long), (1, dropped_too_long));
        // What still comes is thrown away.
        peer.write_all(&frame(FIN | TEXT, MESSAGE)).unwrap();
        assert_eq!(rest(&mut peer), [b"\x88\x02", &code.to_be_bytes()[..]].concat());
        bench.pass(LINGER_MS);
        assert_eq!((bench.streams.connections_count(), bench.taken.len(), bench.news.closed.len()), (0, 1, 1));
    }
}

#[test]
fn a_refused_request_is_answered_and_counted_by_its_reason() {
    type Counter = fn(&Counters) -> u64;
    let cases: [(String, &[u8], Counter); 5] = [
        (REQUEST.replace("chat, sip", "chat"), b"HTTP/1.1 400 ", |counters| counters.ws_no_subprotocol),
        (REQUEST.replace("Version: 13", "Version: 8"), b"HTTP/1.1 426 ", |counters| counters.ws_no_upgrade),
        (REQUEST.replace("www.", "evil."), b"HTTP/1.1 403 ", |counters| counters.ws_origin_refused),
        ("x".repeat(100), b"HTTP/1.1 400 ", |counters| counters.ws_malformed),
        (format!("GET /{}", "x".repeat(REQUEST_BYTES_MAX)), b"HTTP/1.1 431 ", |counters| counters.ws_too_long),
    ];
    for (request, answer, counter) in cases {
        let mut bench = listening(|options| options.websocket.origins = ["https://www.example.com".to_owned()].into());
        open(&mut bench);
        let mut peer = bench.peer();
        peer.write_all(request.as_bytes()).unwrap();
        bench.run_until(|bench| counter(&bench.counters) == 1);
        let told = rest(&mut peer);
        assert!(told.starts_with(answer), "{}", String::from_utf8_lossy(&told));
        drop(peer);
        bench.run_until(|bench| bench.streams.connections_count() == 0);
        assert!(bench.taken.is_empty());
        assert_eq!(bench.news.closed.len(), 1, "what never was a WebSocket has not ended");
    }
}

#[test]
fn a_request_that_is_not_ended_in_time_is_given_up_although_bytes_drip() {
    let mut bench = listening(|options| options.websocket.upgrade_timeout_ms = 3000);
    let mut peer = bench.peer();
    for byte in b"GET" {
        peer.write_all(&[*byte]).unwrap();
        bench.pass(999);
        bench.with(Streams::flush);
    }
    assert_eq!(bench.streams.connections_count(), 1);
    bench.pass(3);
    assert_eq!((bench.streams.connections_count(), bench.counters.ws_timed_out), (0, 1));
    assert_eq!((bench.counters.connections_idled, bench.news.closed.len()), (0, 0));
    assert_closed(&mut peer);
}

#[test]
fn no_more_wait_for_their_request_than_allowed_and_each_end_makes_room() {
    let mut bench = listening(|options| options.websocket.upgrades_per_shard_max = 1);
    let idle = bench.peer();
    let mut refused = bench.peer();
    assert_eq!(bench.counters.ws_refused, 1);
    assert_closed(&mut refused);
    drop(idle);
    bench.run_until(|bench| bench.streams.connections_count() == 0);
    // One that is open waits no more, nor does one that was refused.
    let _first = open(&mut bench);
    let mut malformed = bench.peer();
    malformed.write_all(b"x").unwrap();
    bench.run_until(|bench| bench.counters.ws_malformed == 1);
    let _second = open(&mut bench);
    assert_eq!(bench.counters.ws_refused, 1);
}

#[test]
fn the_bound_holds_for_those_within_tls_as_well() {
    let mut secured = Secured::listening(Transport::Wss, |options| options.websocket.upgrades_per_shard_max = 1);
    let mut first = secured.peer(&rustls::version::TLS13);
    let mut second = secured.peer(&rustls::version::TLS13);
    assert_eq!(second.read(&mut [0; 1]).unwrap(), 0, "its end is told");
    let bench = &mut secured.bench;
    assert_eq!((bench.counters.ws_refused, bench.streams.connections_count()), (1, 1));
    first.write_all(REQUEST.as_bytes()).unwrap();
    bench.run_until(|bench| bench.counters.ws_upgrades == 1);
}

#[test]
fn a_websocket_that_rests_too_long_is_told_so() {
    let mut bench = listening(|options| options.stream_idle_s = 60);
    let mut peer = open(&mut bench);
    bench.pass(60_000);
    assert_eq!((bench.counters.connections_idled, bench.news.closed.len()), (1, 1));
    assert_eq!(rest(&mut peer), b"\x88\x02\x03\xe9");
}

#[test]
fn a_websocket_whose_peer_is_gone_has_ended_at_once() {
    let mut bench = listening(|_| {});
    let mut peer = open(&mut bench);
    peer.write_all(&frame(FIN | TEXT, MESSAGE)).unwrap();
    bench.run_until(|bench| bench.taken.len() == 1);
    drop(peer);
    bench.run_until(|bench| bench.streams.connections_count() == 0);
    assert_eq!(bench.news.closed, [bench.taken[0].1.flow]);
}

#[test]
fn no_message_to_an_address_takes_a_websocket() {
    let mut bench = listening(|_| {});
    let mut peer = open(&mut bench);
    peer.write_all(&frame(FIN | TEXT, MESSAGE)).unwrap();
    bench.run_until(|bench| bench.taken.len() == 1);
    let remote = bench.taken[0].1.remote;
    bench.with(|streams, step| streams.send_to(anywhere(remote), None, ticket(1), b"plain", step));
    // Nobody listens at the port of the peer.
    bench.run_until(|bench| bench.news.failed == [ticket(1)]);
}
