//! The databases that tests use are real ones, and a test can do to its own what a network and a night can.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

#[path = "stores/real.rs"]
mod real;

use real::OwnCassandra;

/// An OPTIONS frame of CQL v4, and how the header of its answer, SUPPORTED, begins.
const OPTIONS: [u8; 9] = [0x04, 0, 0, 0, 0x05, 0, 0, 0, 0];
const SUPPORTED: [u8; 5] = [0x84, 0, 0, 0, 0x06];

/// A message of MongoDB: OP_MSG with `{ ping: 1, $db: "admin" }`.
const PING: &[u8; 51] =
    b"\x33\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0\x1e\0\0\0\x10ping\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0";

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long it takes to see that nothing answers.
const SILENCE: Duration = Duration::from_millis(500);

fn address(url: &str) -> SocketAddr {
    let (_, address) = url.split_once("://").unwrap();
    let (_, address) = address.rsplit_once('@').unwrap_or(("", address));
    address.split('/').next().unwrap().parse().unwrap_or_else(|_| panic!("{url} has no numeric address"))
}

/// A connection that has asked.
fn asked(url: &str, question: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect_timeout(&address(url), PATIENCE).unwrap();
    stream.write_all(question).unwrap();
    stream
}

/// The first bytes of the answer, if one comes in time.
fn answer<const LENGTH: usize>(stream: &mut TcpStream, patience: Duration) -> Option<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    stream.set_read_timeout(Some(patience)).unwrap();
    stream.read_exact(&mut bytes).is_ok().then_some(bytes)
}

#[test]
fn a_store_of_ones_own_freezes_thaws_dies_and_comes_back() {
    let mut store = OwnCassandra::start();
    let url = store.url().to_owned();
    assert_eq!(answer(&mut asked(&url, &OPTIONS), PATIENCE), Some(SUPPORTED));

    store.freeze();
    let mut waiting = asked(&url, &OPTIONS);
    assert_eq!(answer::<5>(&mut waiting, SILENCE), None, "a frozen one says nothing");
    store.thaw();
    assert_eq!(answer(&mut waiting, PATIENCE), Some(SUPPORTED), "it answers what it was asked in between");

    store.kill();
    TcpStream::connect_timeout(&address(&url), PATIENCE).expect_err("a dead one refuses");
    let end = waiting.read_to_end(&mut Vec::new());
    assert!(!end.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "its connections are gone");
    store.restart();
    assert_eq!(store.url(), url);
    assert_eq!(answer(&mut asked(&url, &OPTIONS), PATIENCE), Some(SUPPORTED));

    // Frozen at its end: that must not keep it.
    store.freeze();
    drop(store);
    TcpStream::connect_timeout(&address(&url), PATIENCE).expect_err("it ends with its test");
}

#[test]
fn the_shared_stores_answer() {
    assert_eq!(answer(&mut asked(&real::cassandra(), &OPTIONS), PATIENCE), Some(SUPPORTED));
    let [.., opcode, _, _, _] = answer::<16>(&mut asked(&real::mongodb(), PING), PATIENCE).unwrap();
    assert_eq!(opcode, 0xdd, "OP_MSG answers OP_MSG");
    // Who speaks MySQL is greeted, with version 10 of the protocol behind a length of three bytes and a number.
    let [.., number, version] = answer::<5>(&mut asked(&real::mysql(), &[]), PATIENCE).unwrap();
    assert_eq!((number, version), (0, 10), "a greeting");
}
