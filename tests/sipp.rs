//! The daemon under SIPp: what phones and callers do, over UDP and TCP, on one shard and on several.
//!
//! The scenarios stand in `tests/sipp/scenarios`; each cites what it shows. Fields of a call: the user, and the
//! address in the Contact.

#[path = "sipp/daemon.rs"]
mod daemon;
#[path = "sipp/place.rs"]
mod place;
#[path = "sipp/run.rs"]
mod run;
#[path = "sipp/tool.rs"]
mod tool;

use daemon::{Daemon, Report, Start, total};
use run::Sipp;
use std::net::SocketAddr;

/// Users of a test about shards: that one shard of two owns all of them happens once in 2^39 runs.
const USERS: usize = 40;

const UDP: &[&str] = &["-t", "u1"];
const UDP_EACH: &[&str] = &["-t", "un"];
const TCP: &[&str] = &["-t", "t1"];
const TCP_EACH: &[&str] = &["-t", "tn"];
/// SIPp neither repeats what it sends nor hides repetitions that it receives.
const NO_TIMERS: &[&str] = &["-nr"];

/// A daemon and places for agents around it.
struct Lab {
    node: Daemon,
    /// Where phones are.
    phone: SocketAddr,
    /// Where callers are.
    caller: SocketAddr,
}

impl Lab {
    /// Opens a lab for the test `name`; `None` when SIPp is missing.
    fn open(name: &str, shards: u8) -> Option<Self> {
        tool::is_installed(name, "sipp", "sip-tester").then(|| Self {
            node: Daemon::start(&Start { shards, ..Start::default() }),
            phone: place::free(),
            caller: place::free(),
        })
    }

    fn sipp(&self, scenario: &str, at: SocketAddr, calls: u64) -> Sipp {
        Sipp::new(scenario, self.node.udp, at, calls)
    }

    /// The fields of so many users whose phones are all at one place.
    fn users(&self, count: usize) -> Vec<String> {
        (0..count).map(|index| format!("user{index};{}", self.phone)).collect()
    }

    /// Registers users, from the place of callers so that a phone can already wait at its own.
    fn register(&self, users: &[String], transport: &[&str]) {
        self.run("register", users, transport, &[]);
    }

    /// Runs a scenario once for each user.
    fn run(&self, scenario: &str, users: &[String], transport: &[&str], options: &[&str]) {
        self.place(scenario, users, users.len() as u64, transport, options).run();
    }

    /// Prepares calls of a scenario at the place of callers.
    fn place(&self, scenario: &str, users: &[String], calls: u64, transport: &[&str], options: &[&str]) -> Sipp {
        let node = if transport.iter().any(|word| word.starts_with('t')) { self.node.tcp } else { self.node.udp };
        Sipp::new(scenario, node, self.caller, calls).fields(users).with(transport).with(options)
    }

    /// One call to each user, between phones and callers of those scenarios; their options say how.
    fn call(&self, users: &[String], phone: (&str, &[&str]), caller: (&str, &[&str])) {
        let calls = users.len() as u64;
        let waiting = self.sipp(phone.0, self.phone, calls).with(phone.1).listen();
        let transport = if caller.1.first() == Some(&"-t") { &caller.1[..2] } else { UDP };
        self.place(caller.0, users, calls, transport, caller.1).run();
        waiting.finish();
    }

    /// Ends the lab; returns what the shards reported before.
    fn close(mut self) -> Vec<Report> {
        let reports =
            self.node.wait_until("no transaction is open", |reports| total(reports, "open_transactions") == 0);
        self.node.stop();
        reports
    }
}

#[test]
fn phones_register_refresh_ask_and_leave() {
    for shards in 1..=3 {
        let Some(lab) = Lab::open("phones_register_refresh_ask_and_leave", shards) else { return };
        let users = lab.users(USERS);
        for transport in [UDP, UDP_EACH, TCP, TCP_EACH] {
            lab.run("register_life", &users, transport, &["-r", "100"]);
        }
        let reports = lab.close();
        let expected = [24, 4, 4].map(|each| each * USERS as u64);
        let names = ["registers_accepted", "bindings_created", "bindings_removed"];
        assert_eq!(names.map(|name| total(&reports, name)), expected, "{shards} shards: {reports:#?}");
        assert!(total(&reports, "registers_refreshed") >= 4 * USERS as u64, "{reports:#?}");
    }
}

#[test]
fn a_star_removes_all_contacts() {
    let Some(lab) = Lab::open("a_star_removes_all_contacts", 2) else { return };
    lab.run("deregister_all", &lab.users(4), UDP, &[]);
    lab.run("deregister_all", &lab.users(4), TCP, &[]);
    assert_eq!(total(&lab.close(), "bindings_removed"), 16);
}

#[test]
fn too_short_a_time_is_refused() {
    let Some(lab) = Lab::open("too_short_a_time_is_refused", 2) else { return };
    lab.run("register_too_brief", &lab.users(4), UDP, &[]);
    assert_eq!(total(&lab.close(), "registers_refused"), 4);
}

#[test]
fn a_repeated_register_is_done_once() {
    let Some(lab) = Lab::open("a_repeated_register_is_done_once", 2) else { return };
    lab.run("register_twice", &lab.users(10), UDP_EACH, NO_TIMERS);
    let reports = lab.close();
    assert_eq!(["bindings_created", "bindings_removed"].map(|name| total(&reports, name)), [10, 10]);
}

#[test]
fn the_node_answers_a_ping() {
    let Some(lab) = Lab::open("the_node_answers_a_ping", 3) else { return };
    for transport in [UDP, UDP_EACH, TCP, TCP_EACH] {
        lab.run("options", &lab.users(10), transport, &["-r", "50"]);
    }
    lab.close();
}

#[test]
fn both_shards_serve_and_hand_over_what_is_not_theirs() {
    let Some(lab) = Lab::open("both_shards_serve_and_hand_over_what_is_not_theirs", 2) else { return };
    let users = lab.users(USERS);
    // A socket for each call, so that the kernel spreads them over the shards.
    lab.run("register", &users, UDP_EACH, &["-r", "100"]);
    let phone = lab.sipp("phone_answers", lab.phone, 200).listen();
    lab.place("caller", &users, 200, UDP_EACH, &["-r", "50"]).run();
    phone.finish();
    let reports = lab.close();
    for report in &reports {
        for name in ["received", "steered_in", "steered_out", "registers_accepted", "requests_proxied"] {
            assert!(report.count(name) > 0, "{name}: {reports:#?}");
        }
    }
    assert_eq!(total(&reports, "steered_in"), total(&reports, "steered_out"));
    assert_eq!(total(&reports, "registers_accepted"), USERS as u64);
    // 200 INVITEs and as many BYEs.
    assert_eq!(total(&reports, "requests_proxied"), 400);
    assert_eq!(total(&reports, "dropped_mesh_full"), 0);
}

#[test]
fn calls_go_through_one_shard_and_through_three() {
    for shards in [1, 3] {
        let Some(lab) = Lab::open("calls_go_through_one_shard_and_through_three", shards) else { return };
        let users = lab.users(USERS);
        lab.register(&users, UDP);
        lab.call(&users, ("phone_answers", UDP), ("caller", &["-t", "un", "-r", "50"]));
        let reports = lab.close();
        let steered = total(&reports, "steered_in");
        assert_eq!(steered, total(&reports, "steered_out"));
        assert_eq!(steered > 0, shards > 1, "{reports:#?}");
    }
}

#[test]
fn the_slower_phone_of_a_fork_is_cancelled() {
    let Some(lab) = Lab::open("the_slower_phone_of_a_fork_is_cancelled", 2) else { return };
    let other = place::free();
    let users: Vec<_> = (0..10).map(|index| format!("user{index};{}", lab.phone)).collect();
    let others: Vec<_> = (0..10).map(|index| format!("user{index};{other}")).collect();
    lab.register(&users, UDP);
    lab.register(&others, UDP);
    let loser = lab.sipp("phone_is_cancelled", other, 10).listen();
    lab.call(&users, ("phone_answers", &[]), ("caller", &[]));
    loser.finish();
    let reports = lab.close();
    // An INVITE to each of two phones, and a BYE to the one that answered.
    assert_eq!(total(&reports, "branches_created"), 30);
    assert_eq!(total(&reports, "branches_timed_out"), 0);
}

#[test]
fn a_call_to_nobody_is_told_so() {
    let Some(lab) = Lab::open("a_call_to_nobody_is_told_so", 3) else { return };
    let users = lab.users(10);
    lab.run("caller_finds_nobody", &users, UDP_EACH, &[]);
    lab.run("caller_finds_nobody", &users, TCP, &[]);
    lab.close();
}

#[test]
fn a_call_to_a_phone_that_has_left_is_told_so() {
    let Some(lab) = Lab::open("a_call_to_a_phone_that_has_left_is_told_so", 2) else { return };
    let users = lab.users(10);
    lab.register(&users, UDP);
    lab.run("deregister", &users, UDP, &[]);
    lab.run("caller_finds_phone_off", &users, UDP_EACH, &[]);
    lab.close();
}

#[test]
fn a_busy_phone_is_told_to_the_caller() {
    let Some(lab) = Lab::open("a_busy_phone_is_told_to_the_caller", 2) else { return };
    let users = lab.users(10);
    lab.register(&users, UDP);
    lab.call(&users, ("phone_is_busy", UDP), ("caller_finds_busy", UDP_EACH));
    lab.close();
}

#[test]
fn a_caller_who_gives_up_ends_the_ringing() {
    let Some(lab) = Lab::open("a_caller_who_gives_up_ends_the_ringing", 2) else { return };
    let users = lab.users(10);
    lab.register(&users, UDP);
    lab.call(&users, ("phone_is_cancelled", UDP), ("caller_gives_up", UDP_EACH));
    lab.close();
}

#[test]
fn a_lost_invite_is_sent_again() {
    let Some(lab) = Lab::open("a_lost_invite_is_sent_again", 2) else { return };
    let users = lab.users(5);
    lab.register(&users, UDP);
    lab.call(&users, ("phone_is_deaf_once", NO_TIMERS), ("caller", UDP_EACH));
    assert!(total(&lab.close(), "retransmissions_sent") >= 5);
}

#[test]
fn a_lost_answer_comes_again() {
    let Some(lab) = Lab::open("a_lost_answer_comes_again", 2) else { return };
    let users = lab.users(5);
    lab.register(&users, UDP);
    lab.call(&users, ("phone_answers", UDP), ("caller_losing_answers", NO_TIMERS));
    lab.close();
}

#[test]
fn a_repeated_invite_and_an_unheard_refusal_are_answered_again() {
    let Some(lab) = Lab::open("a_repeated_invite_and_an_unheard_refusal_are_answered_again", 2) else { return };
    let users = lab.users(5);
    lab.register(&users, UDP);
    lab.call(&users, ("phone_is_cancelled", NO_TIMERS), ("caller_repeats_itself", NO_TIMERS));
    let reports = lab.close();
    assert!(total(&reports, "retransmissions_absorbed") >= 5, "{reports:#?}");
    assert_eq!(total(&reports, "requests_proxied"), 5);
}

#[test]
fn calls_over_lossy_lines_come_about() {
    let Some(lab) = Lab::open("calls_over_lossy_lines_come_about", 2) else { return };
    let users = lab.users(20);
    lab.register(&users, UDP);
    // More repetitions than SIPp makes by itself, so that no call fails by a series of losses.
    let patient = ["-max_invite_retrans", "12"];
    lab.call(&users, ("phone_on_lossy_line", &patient), ("caller_on_lossy_line", &patient));
    lab.close();
}

#[test]
fn calls_cross_between_udp_and_tcp() {
    let Some(lab) = Lab::open("calls_cross_between_udp_and_tcp", 2) else { return };
    let users = lab.users(10);
    for phone in [UDP, TCP] {
        // The phone that registered over TCP has hung up: the node connects to its Contact.
        lab.run("register", &users, phone, &[]);
        for caller in [UDP, TCP, TCP_EACH] {
            lab.call(&users, ("phone_answers", phone), ("caller", caller));
        }
        lab.run("deregister", &users, phone, &[]);
    }
    let reports = lab.close();
    assert!(total(&reports, "connections_opened") > 0, "{reports:#?}");
    assert!(total(&reports, "connections_accepted") > 0, "{reports:#?}");
}

#[test]
fn a_phone_is_called_over_the_connection_that_it_opened() {
    let Some(mut lab) = Lab::open("a_phone_is_called_over_the_connection_that_it_opened", 2) else { return };
    // Nobody can connect to the Contact.
    let users: Vec<_> = (0..20).map(|index| format!("user{index};192.0.2.1:5060;transport=tcp")).collect();
    for (round, caller) in (1..).zip([UDP, TCP]) {
        let call_id = ["-cid_str", &format!("%u-{round}-life")].map(str::to_owned);
        let call_id = call_id.each_ref().map(String::as_str);
        let phone = Sipp::new("phone_life", lab.node.tcp, lab.phone, 20).fields(&users);
        let phone = phone.with(TCP_EACH).with(&call_id).start();
        let bound = |reports: &[Report]| total(reports, "bindings_created") == 20 * round;
        lab.node.wait_until("all phones are registered", bound);
        lab.place("caller", &users, 20, caller, &call_id).run();
        phone.finish();
    }
    let reports = lab.close();
    assert_eq!(total(&reports, "connections_opened"), 0, "{reports:#?}");
}
