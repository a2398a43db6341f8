//! Dumps: of many AoRs while they register, of whatever phones have sent, and of what a killed node brings back.

use crate::daemon::{Daemon, Start, folder};
use crate::http::{Response, call, connect, post};
use crate::phone::Phones;
use crate::{FILE, node};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;

const AORS: usize = 100_000;
/// Kilobytes that a dump may take: some pages, and what allocators keep. All of the dump is some 40 MB.
const DUMP_KB_MAX: u64 = 12 * 1024;

fn rss_kb(node: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid)).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn aors(dump: &Value) -> Vec<&str> {
    let aors = dump["Domains"][0]["AORs"].as_array().unwrap();
    aors.iter().map(|aor| aor["AOR"].as_str().unwrap()).collect()
}

#[test]
fn a_dump_of_many_aors_has_each_of_them_and_hinders_nobody() {
    let node = node("");
    let phones = Phones::of(node.udp);
    phones.register_all((0..AORS).map(|user| format!("u{user}")), 1, b"");
    let before_kb = rss_kb(&node);
    let mut stream = connect(&node);
    let text = br#"{"jsonrpc":"2.0","id":1,"method":"ul_dump"}"#;
    let head = format!("POST /mi HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", text.len());
    stream.write_all(&[head.as_bytes(), text].concat()).unwrap();
    let mut response = Response::of(stream).unwrap();
    let (mut body, mut pieces, mut most_kb) = (Vec::new(), 0, 0);
    while let Some(piece) = response.piece() {
        body.extend(piece);
        response.end_of_chunk();
        pieces += 1;
        if pieces % 20 == 0 {
            // It is half-way: phones come, and phones refresh, and are answered.
            phones.register(&format!("late{pieces}"), 1, b"");
            phones.register(&format!("u{pieces}"), 2, b"");
            most_kb = rss_kb(&node).max(most_kb);
        }
    }
    assert!(pieces > 200, "{pieces}");
    assert!(most_kb < before_kb + DUMP_KB_MAX, "from {before_kb} to {most_kb} kB");
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(answer["id"], 1);
    let all = aors(&answer["result"]);
    let distinct: BTreeSet<&str> = all.iter().copied().collect();
    assert_eq!(distinct.len(), all.len(), "none is there twice");
    let missing = (0..AORS).find(|user| !distinct.contains(format!("u{user}@fed.example").as_str()));
    assert_eq!(missing, None);

    let brief = call(&node, "usrloc:dump", &json!(["1"]));
    assert!(aors(&brief).len() > AORS && brief["Domains"][0]["AORs"][0].get("Contacts").is_none());
    node.stop();
}

#[test]
fn whatever_phones_have_sent_is_told_as_json() {
    let node = node("");
    let phones = Phones::of(node.udp);
    let texts: [&[u8]; 4] = [
        b"User-Agent: \"q\\uote\" </script><script>\xff\xfe\r\n",
        b"User-Agent: bell\x07 esc\x1b[31m tab\t del\x7f\r\n",
        b"User-Agent: caf\xc3\xa9 \xe2\x80\xae\r\n",
        b"User-Agent: \xc3\r\n",
    ];
    let mut answered = 0;
    for (user, line) in texts.iter().enumerate() {
        let answer = phones.ask(&phones.register_bytes(&format!("u{user}"), 1, line));
        // Control characters may be refused before they are stored.
        answered += usize::from(answer.starts_with("SIP/2.0 200 "));
    }
    assert!(answered >= 3, "{answered}");
    let body = post(&node, br#"{"id":1,"method":"ul_dump"}"#).body();
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(aors(&answer["result"]).len(), answered);
    assert!(body.iter().all(|byte| *byte >= b' '), "what does not print is escaped");
    let shown = call(&node, "ul_show_contact", &json!(["location", "u0@fed.example"]));
    let told = shown["Contacts"][0]["User-agent"].as_str().unwrap();
    assert_eq!(told, "\"q\\uote\" </script><script>\u{fffd}\u{fffd}");
    node.stop();
}

#[test]
fn what_was_changed_by_hand_outlives_a_kill() {
    let data = folder();
    let start = || Daemon::start(&Start { file: FILE, data: Some(&data), ..Start::default() });
    let mut node = start();
    let phones = Phones::of(node.udp);
    phones.register("alice", 1, b"");
    phones.register("carol", 1, b"");
    let bob = json!(["location", "bob@fed.example", "sip:bob@127.0.0.1:9", 600, "1", 0, 0, 0]);
    assert_eq!(call(&node, "ul_add", &bob), "OK");
    assert_eq!(call(&node, "ul_rm", &json!(["location", "sip:alice@FED.example"])), "OK");
    let dump = call(&node, "ul_dump", &json!([]));
    node.kill();
    let node = start();
    let restored = call(&node, "ul_dump", &json!([]));
    assert_eq!(aors(&restored).into_iter().collect::<BTreeSet<_>>(), ["bob@fed.example", "carol@fed.example"].into());
    let ids = |dump: &Value| {
        let aors = dump["Domains"][0]["AORs"].as_array().unwrap().clone();
        aors.iter().map(|aor| aor["Contacts"][0]["ContactID"].to_string()).collect::<BTreeSet<_>>()
    };
    assert_eq!(ids(&restored), ids(&dump), "the ids of contacts stay");
    node.stop();
    std::fs::remove_dir_all(&data).unwrap();
}
