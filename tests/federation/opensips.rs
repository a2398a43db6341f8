//! An OpenSIPS in the federation: its rows are read as it writes them, and it is sent and asked as one of its own.

use super::daemon::total;
use super::phone::Phone;
use super::pop::Federation;
use std::net::SocketAddr;

#[test]
fn an_opensips_is_found_by_its_rows_and_what_it_asks_is_looked_up_here_alone() {
    for store in ["cassandra opensips", "mongodb opensips"] {
        let federation = Federation::new(store, 3);
        let (rows, home) = (federation.rows(), federation.homes[2].to_string());
        let mut pops = [0, 1].map(|node| federation.pop(node, ""));
        for pop in &mut pops {
            pop.wait_for_directory("the store is there", |directory| directory.count("reconciles") > 0);
        }
        let [mut a, b] = pops;
        // It answers as an OpenSIPS would that has the phone.
        let opensips = Phone::at(SocketAddr::new(federation.homes[2], 5060));
        let aors = |user: &str| [format!("{user}@fed.example")];
        rows.put(&aors("olga"), &home);
        // What is published is a sip_addr; some write a scheme or a port.
        rows.put(&aors("oscar"), &format!("sip:{home}:5060"));
        for user in ["olga", "oscar"] {
            let caller = Phone::new("127.0.0.1");
            caller.call(a.udp, user);
            let (invite, from) = opensips.rings();
            assert_eq!(invite.start(), format!("INVITE sip:{user}@fed.example SIP/2.0"));
            assert_eq!(invite.fields("Route").count(), 0, "{invite:?}");
            assert_eq!(from, a.udp, "it is to know whose request that is");
            opensips.answer(&(invite, from), 200);
            assert_eq!(caller.outcome().status(), 200, "{store}");
        }
        // A phone here has a row just as OpenSIPS wants it.
        let bob = Phone::new("127.0.0.1");
        bob.register(a.udp, "bob", 600);
        a.wait_for_directory("bob is published", |directory| directory.count("published") == 1);
        let row = rows.all().into_iter().find(|row| row.aor == "bob@fed.example").unwrap();
        assert_eq!((row.home.as_str(), row.mark), (&*a.udp.ip().to_string(), format!("{}{}", row.aor, row.home)));
        // What OpenSIPS asks about is looked up among the phones here, and nowhere else.
        let asked = total(&a.reports(), "lookups_asked");
        opensips.call_fails(a.udp, "olga", 404);
        opensips.call(a.udp, "bob");
        bob.answer(&bob.rings(), 200);
        assert_eq!(opensips.outcome().status(), 200);
        assert_eq!(total(&a.reports(), "lookups_asked"), asked);
        // Its rows are its own: a reconcile leaves them alone.
        let before = a.directory().count("reconciles");
        a.reconcile();
        a.wait_for_directory("rows are compared", |directory| directory.count("reconciles") > before);
        assert_eq!(rows.all().len(), 3, "{store}");
        a.stop();
        b.stop();
    }
}
