//! Several nodes and one real store: calls find phones wherever they have registered, whatever the store does.

#[path = "sipp/daemon.rs"]
mod daemon;
#[path = "federation/ipv6.rs"]
mod ipv6;
#[path = "federation/lives.rs"]
mod lives;
#[path = "federation/load.rs"]
mod load;
#[path = "federation/opensips.rs"]
mod opensips;
#[path = "federation/outages.rs"]
mod outages;
#[path = "federation/phone.rs"]
mod phone;
#[path = "federation/pop.rs"]
mod pop;
#[path = "stores/real.rs"]
mod real;
#[path = "federation/reconcile.rs"]
mod reconcile;
#[path = "federation/rows.rs"]
mod rows;

use phone::Phone;
use pop::Federation;

#[test]
fn a_call_rings_the_phones_at_every_home_and_one_from_a_node_stays_there() {
    for store in ["cassandra native", "cassandra opensips", "mongodb native", "mongodb opensips"] {
        let federation = Federation::new(store, 3);
        let [mut a, b, mut c] = federation.pops();
        let (at_a, at_c) = (Phone::new("127.0.0.1"), Phone::new("127.0.0.1"));
        at_a.register(a.udp, "bob", 600);
        at_c.register(c.udp, "bob", 600);
        for pop in [&mut a, &mut c] {
            pop.wait_for_directory("bob is published", |directory| directory.count("published") >= 1);
        }
        let caller = Phone::new("127.0.0.1");
        caller.call(b.udp, "bob");
        let (rings_a, rings_c) = (at_a.rings(), at_c.rings());
        for (phone, (invite, _)) in [(&at_a, &rings_a), (&at_c, &rings_c)] {
            let vias: Vec<&str> = invite.fields("Via").collect();
            assert_eq!(vias.len(), 3, "the caller, B and the home: {vias:#?}");
            assert_eq!(invite.start(), format!("INVITE {} SIP/2.0", phone.contact("bob")));
        }
        at_c.answer(&rings_c, 200);
        assert_eq!(caller.outcome().status(), 200, "{store}");
        // What another node asks for is looked up at home alone.
        assert_eq!(a.reports().iter().map(|report| report.count("requests_from_peers")).sum::<u64>(), 1);
        assert_eq!(a.reports().iter().map(|report| report.count("lookups_asked")).sum::<u64>(), 0);
        // Who has left is called no more.
        at_a.register(a.udp, "bob", 0);
        at_c.register(c.udp, "bob", 0);
        for pop in [&mut a, &mut c] {
            pop.wait_for_directory("bob is withdrawn", |directory| directory.count("withdrawn") >= 1);
        }
        let caller = Phone::new("127.0.0.1");
        caller.call(b.udp, "bob");
        assert_eq!(caller.outcome().status(), 404, "{store}");
        for pop in [a, b, c] {
            pop.stop();
        }
    }
}
