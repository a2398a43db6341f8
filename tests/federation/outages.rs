//! The store is not there yet, does not answer, or has died: registrations and calls go on, and nothing is lost.

use super::daemon::{Daemon, total};
use super::load::Stream;
use super::phone::Phone;
use super::pop::Federation;
use super::real::OwnCassandra;
use std::collections::BTreeSet;

/// REGISTERs that have to be answered while the store is away.
const REGISTERS_MEANWHILE: u32 = 2000;

#[test]
fn the_node_boots_registers_and_serves_local_calls_while_the_store_is_absent() {
    let mut store = OwnCassandra::absent();
    let federation = Federation::at(store.url(), "native", 2);
    let mut node = federation.pop(0, "ask_peers_max = 0\nlookup_deadline_ms = 500");
    let (bob, caller) = (Phone::new("127.0.0.1"), Phone::new("127.0.0.1"));
    bob.register(node.udp, "bob", 600);
    call(&caller, &node, &bob, "bob");
    let refused = caller.call_fails(node.udp, "nobody", 480);
    assert!(refused.fields("Retry-After").next().is_some(), "{refused:?}");
    assert_eq!(node.directory().count("published"), 0);
    store.restart();
    node.wait_for_directory("bob is published", |directory| directory.count("published") >= 1);
    assert_eq!(federation.rows().aors_at(&federation.homes[0]), BTreeSet::from(["bob@fed.example".to_owned()]));
    Phone::new("127.0.0.1").call_fails(node.udp, "nobody", 404);
    node.stop();
}

/// A call that one phone answers.
fn call(caller: &Phone, node: &Daemon, phone: &Phone, user: &str) {
    caller.call(node.udp, user);
    phone.answer(&phone.rings(), 200);
    assert_eq!(caller.outcome().status(), 200);
}

/// A call that one phone declines, so that it may be called again.
fn decline(node: &Daemon, phone: &Phone, user: &str) {
    let caller = Phone::new("127.0.0.1");
    caller.call(node.udp, user);
    phone.answer(&phone.rings(), 486);
    assert_eq!(caller.outcome().status(), 486);
}

#[test]
fn what_is_registered_while_the_store_is_frozen_or_dead_is_published_and_calls_go_on() {
    let mut store = OwnCassandra::start();
    let federation = Federation::at(store.url(), "native", 3);
    let [mut a, mut b, mut c] = federation.pops();
    let phones = ["bob", "carol", "dave"].map(|user| {
        let phone = Phone::new("127.0.0.1");
        phone.register(a.udp, user, 600);
        phone
    });
    let [bob, carol, dave] = &phones;
    a.wait_for_directory("they are published", |directory| directory.count("published") == 3);
    decline(&b, bob, "bob");
    let mut all: BTreeSet<String> = ["bob", "carol", "dave"].map(|user| format!("{user}@fed.example")).into();
    for (name, hurt, mend) in OUTAGES {
        hurt(&store);
        let stream = Stream::start(a.udp, name);
        // Who is at home at the same node is called as ever.
        call(&Phone::new("127.0.0.1"), &a, dave, "dave");
        let asked = |c: &mut Daemon| total(&c.reports(), "requests_from_peers");
        let before = asked(&mut c);
        // Where bob was before is where he is sought.
        decline(&b, bob, "bob");
        assert_eq!(asked(&mut c), before, "{name}");
        // Where carol may be nobody has said, so every other node is asked.
        decline(&b, carol, "carol");
        assert_eq!(asked(&mut c), before + 1, "{name}");
        // A node remembers for a moment that nobody has an AoR, so this is another one each time.
        let nobody = format!("nobody_{name}");
        Phone::new("127.0.0.1").call_fails(b.udp, &nobody, 480);
        stream.wait_for(REGISTERS_MEANWHILE);
        let came = stream.stop();
        // Not one of them has been published.
        let behind = a.directory();
        assert_eq!(behind.count("pending") as usize, came.len(), "{behind:?}");
        assert!(behind.count("lag_ms") > 0);
        let stream = Stream::start(a.udp, "while_it_comes_back");
        mend(&mut store);
        stream.wait_for(REGISTERS_MEANWHILE);
        all.extend(came.into_iter().chain(stream.stop()));
        let done = a.wait_for_directory("everything is published", |directory| directory.count("pending") == 0);
        assert_eq!(done.count("lag_ms"), 0);
        assert_eq!(federation.rows().aors_at(&federation.homes[0]), all, "{name}");
        b.wait_for_directory("the store answers again", |directory| directory.count("is_up") == 1);
        Phone::new("127.0.0.1").call_fails(b.udp, &nobody, 404);
    }
    for node in [a, b, c] {
        node.stop();
    }
}

type Outage = (&'static str, fn(&OwnCassandra), fn(&mut OwnCassandra));

/// What befalls a store, and how it ends.
const OUTAGES: [Outage; 2] =
    [("frozen", OwnCassandra::freeze, |store| store.thaw()), ("dead", OwnCassandra::kill, OwnCassandra::restart)];
