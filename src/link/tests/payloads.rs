//! What is sent arrives whole and in order, and whoever is slow makes the other side wait.

use super::nodes::{SECRET, Start, by_secret, nodes, pair, poll};
use crate::link::State;
use crate::link::frame::PAYLOAD_BYTES_MAX;
use crate::link::links::NotSent;
use crate::link::queue::QUEUE_BYTES_MAX;
use std::time::Duration;

#[test]
fn payloads_arrive_whole_and_in_order_in_both_directions() {
    let (_, one, two) = pair();
    let longest: Vec<u8> = (0..PAYLOAD_BYTES_MAX).map(|n| (n % 251) as u8).collect();
    for (from, to, number, other) in [(&one, &two, 1, 2), (&two, &one, 2, 1)] {
        for (channel, bytes) in [(0, &b""[..]), (255, b"x"), (7, &longest), (7, b"after it")] {
            from.send(other, channel, bytes).unwrap();
        }
        for (channel, bytes) in [(0, &b""[..]), (255, b"x"), (7, &longest), (7, b"after it")] {
            let (by, on, got) = to.payload();
            assert_eq!((by, on), (number, channel));
            assert!(*got == *bytes, "{} bytes on {on}", got.len());
        }
    }
    assert_eq!(one.send(2, 1, &vec![0; PAYLOAD_BYTES_MAX + 1]), Err(NotSent::TooLong));
    assert_eq!(one.send(3, 1, b"nobody"), Err(NotSent::NotUp));
    two.thread.stop();
    assert_eq!(one.down(2), "the other end says: the node stops");
    assert_eq!(one.send(2, 1, b"nobody"), Err(NotSent::NotUp));
    assert!(one.room(2).recv().is_ok(), "there is nothing to wait for");
}

#[test]
fn a_slow_user_makes_the_other_side_wait_and_its_link_stays_up() {
    let nodes = nodes(2);
    // A ping that counts would be missed long before the end.
    let timeout = Duration::from_secs(1);
    let [one, two] = [1, 2].map(|me| Start { timeout, ..Start::new(me, &nodes, by_secret(SECRET)) }.go());
    one.up(2);
    two.up(1);
    two.listen(false);
    let mut sent = 0_u32;
    let payload = |number: u32| {
        let mut bytes = vec![0; 100_000];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        bytes
    };
    // Until the kernel's buffers are full as well.
    let mut is_full = false;
    poll("nothing more is taken", || {
        let before = one.count(2, "bytes_out");
        while one.send(2, 1, &payload(sent)).is_ok() {
            sent += 1;
        }
        let was_full = std::mem::replace(&mut is_full, one.count(2, "bytes_out") == before);
        was_full && is_full
    });
    assert!(sent as usize * 100_000 > QUEUE_BYTES_MAX);
    let room = one.room(2);
    let heard = one.count(2, "frames_in");
    // At one each 50 ms: longer than it would take to be down.
    poll("its pings go on", || one.count(2, "frames_in") >= heard + 100);
    assert!(one.report(2).unwrap().state != State::Down && two.report(1).unwrap().state != State::Down);
    two.listen(true);
    for number in 0..sent {
        let (_, _, bytes) = two.payload();
        assert_eq!(bytes[..4], number.to_le_bytes());
    }
    room.recv().unwrap();
    one.send(2, 2, b"the last").unwrap();
    assert_eq!(two.payload().1, 2);
    assert!(one.is_quiet() && two.is_quiet());
}
