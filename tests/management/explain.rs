//! What a running node says that it would do with a request, as a person and as a program asks it.

use crate::http::{call, error};
use crate::node;
use crate::phone::Phones;
use serde_json::json;
use std::io::Write;
use std::process::{Command, Stdio};

const RULES: &str = "\
[[policy]]
name = \"our phones\"
user_agent = \"snom*\"
ping = \"request\"
[[policy]]
name = \"from there\"
sources = [\"192.0.2.0/24\"]
refuse = \"403 Not From There\"
";

fn invite(user: &str) -> String {
    format!(
        "INVITE sip:{user}@fed.example SIP/2.0\nVia: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bK1\nMax-Forwards: 70\n\
         From: <sip:caller@fed.example>;tag=1\nTo: <sip:{user}@fed.example>\nCall-ID: 1\nCSeq: 1 INVITE\n"
    )
}

#[test]
fn a_request_is_explained_by_whichever_shard_would_handle_it() {
    let node = node(RULES);
    let phones = Phones::of(node.udp);
    for n in 0..8 {
        phones.register(&format!("u{n}"), 1, b"");
    }
    for n in 0..8 {
        let told = call(&node, "sipfed:explain", &json!({ "message": invite(&format!("u{n}")) }));
        let contact = format!("sip:u{n}@{}", phones.local);
        assert_eq!(told["Contacts"], json!([{ "Contact": contact, "Branch": format!("udp:{}", phones.local) }]));
        assert_eq!((&told["Outcome"], &told["Method"]), (&json!("branches: 1"), &json!("INVITE")));
        assert_eq!(told["Directory"], "is not asked: there is no directory");
    }
    let from = json!({ "message": invite("u1"), "source": "udp:192.0.2.9:5060" });
    let told = call(&node, "explain", &from);
    assert_eq!(told["Outcome"], "refused with 403 Not From There");
    let held = json!([{ "Rule": "our phones", "Held": false }, { "Rule": "from there", "Held": true }]);
    assert_eq!(told["Rules"], held);
    assert!(told["NAT-Signs"].as_array().unwrap().contains(&json!({ "Sign": "diff-ip-src-via", "Counts": true })));
    for (params, wanted) in [
        (json!({ "message": "hello" }), "Bad parameter value"),
        (json!({ "message": invite("u1"), "source": "here" }), "Bad parameter value"),
    ] {
        assert_eq!(error(&node, "sipfed:explain", &params).1, wanted);
    }
    node.stop();
}

#[test]
fn what_the_directory_says_is_told_with_how_long_it_took_and_how_old_it_is() {
    let directory = "[directory]\nurl = \"memory:\"\nhome = \"127.0.0.1\"\n";
    let node = node(directory);
    let phones = Phones::of(node.udp);
    phones.register("bob", 1, b"");
    let end = std::time::Instant::now() + crate::daemon::PATIENCE;
    // Until the store is there, and the row has been written.
    let told = loop {
        let told = call(&node, "sipfed:explain", &json!({ "message": invite("bob") }));
        if told["Directory"]["Homes"].as_array().is_some_and(|homes| !homes.is_empty()) {
            break told;
        }
        assert!(std::time::Instant::now() < end, "{told}");
    };
    let directory = &told["Directory"];
    assert!(directory["Answered-In-us"].is_u64(), "{directory}");
    assert_eq!(directory["Homes"][0]["Home"], "127.0.0.1");
    assert!(directory["Homes"][0]["Row-Age"].as_u64().unwrap() < 60, "{directory}");
    assert_eq!(told["Outcome"], "branches: 1, and those to other homes");
    node.stop();
}

#[test]
fn people_ask_with_a_file_and_are_told_what_is_wrong_with_it() {
    let node = node(RULES);
    let url = node.management.split(' ').next().unwrap();
    let run = |file: &str, text: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sipfed"));
        command.args(["explain", "--url", url, "--file", file]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, out, told) = run("-", &invite("nobody"));
    assert_eq!((code, told.as_str()), (Some(0), ""));
    for line in ["no branch: nobody can be reached", "our phones", "nobody@fed.example"] {
        assert!(out.contains(line), "{line}: {out}");
    }
    let (code, _, told) = run("-", "SIP/2.0 200 OK\n");
    assert!(code == Some(1) && told.contains("it is a response"), "{told}");
    let (code, _, told) = run("/nonexistent/message", "");
    assert!(code == Some(2) && told.contains("/nonexistent/message"), "{told}");
    node.stop();
}
