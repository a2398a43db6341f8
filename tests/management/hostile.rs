//! Bad input over HTTP: whatever comes, the daemon lives, answers the next one, and gives back what it took.

use crate::http::{Response, answer, call, connect, error, post};
use crate::node;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;

/// The error that a text is answered with.
fn code(node: &crate::daemon::Daemon, text: &[u8]) -> Value {
    answer(node, text)["error"]["code"].clone()
}

fn descriptors(node: &crate::daemon::Daemon) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", node.pid)).unwrap().count()
}

#[test]
fn texts_that_are_no_calls_are_answered_with_errors() {
    let node = node("");
    // Cut at every byte (CVE-2023-28096).
    let whole = br#"{"jsonrpc":"2.0","id":"1","method":"ul_rm","params":{"table_name":"location","aor":"a\u0041@fed.example"}}"#;
    for cut in (0..whole.len()).step_by(3) {
        assert_eq!(code(&node, &whole[..cut]), -32700, "{cut}");
    }
    let deep = [vec![b'['; 30_000], vec![b']'; 30_000]].concat();
    let deeper = [br#"{"id":1,"method":"ul_dump","params":"#.to_vec(), vec![b'['; 30_000]].concat();
    let binary: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    for text in [&deep[..], &deeper, &binary, b"\0", b"\xff\xfe", b"{\"id\":1,\"method\":\"\xc3\"}"] {
        assert_eq!(code(&node, text), -32700, "{:?}", &text[..text.len().min(40)]);
    }
    for text in ["{}", "[]", "7", "[[]]", r#"{"id":[],"method":"ps"}"#, r#"{"id":1,"method":{}}"#] {
        let answer = answer(&node, text.as_bytes());
        let first = answer.get(0).unwrap_or(&answer);
        assert_eq!(first["error"]["code"], -32600, "{answer}");
    }
    let many = format!("[{}7]", "{\"id\":1,\"method\":\"ul_dump\"},".repeat(1000));
    assert_eq!(code(&node, many.as_bytes()), -32600, "a batch is bounded");
    assert_eq!(answer(&node, br#"[{"id":1,"method":"version"},{"method":"ps"},{"id":2,"method":"no"}]"#)[1]["id"], 2);
    assert_eq!(post(&node, br#"{"method":"version"}"#).status, 204, "a notification");
    node.stop();
}

#[test]
fn parameters_of_wrong_types_and_values_are_refused() {
    let node = node("");
    for params in [
        json!([7]),
        json!([{}, {}]),
        json!([["location"], "a@fed.example"]),
        json!({"aor": "a@b"}),
        json!(["a", "b", "c"]),
    ] {
        assert_eq!(error(&node, "ul_rm", &params).0, -32602, "{params}");
    }
    let add = |n: usize, value: Value| {
        let mut params = json!(["location", "a@fed.example", "sip:a@127.0.0.1", 60, "1", 0, 0, 0]);
        params[n] = value;
        error(&node, "ul_add", &params)
    };
    for (n, value) in [
        (1, json!("a@b@c@fed.example")),
        (1, json!("\r\nX: y@fed.example")),
        (1, json!(format!("{}@fed.example", "a".repeat(60_000)))),
        (2, json!("sip:a@127.0.0.1>\r\nX: y")),
        (2, json!("")),
        (2, json!("*")),
        (3, json!(-1)),
        (3, json!(0)),
        (3, json!(u64::MAX)),
        (4, json!("1e9")),
        (7, json!(-1)),
        (7, json!(16384)),
    ] {
        let (code, message) = add(n, value.clone());
        assert!([400, 403, -32602].contains(&code), "{value}: {code} {message}");
    }
    assert_eq!(add(1, json!("a@other.example")).0, 404);
    assert_eq!(error(&node, "get_statistics", &json!([["nothing"]])), (404, "Statistics Not Found".to_owned()));
    assert_eq!(error(&node, "get_statistics", &json!(["usrloc:"])).0, -32602);
    assert_eq!(call(&node, "get_statistics", &json!([["registered_users"]])), json!({ "usrloc:registered_users": 0 }));
    node.stop();
}

#[test]
fn requests_that_carry_no_text_are_refused() {
    let node = node("");
    let status = |request: &str| {
        let mut stream = connect(&node);
        // It may be refused before all of it is sent.
        let _ = stream.write_all(request.as_bytes());
        Response::of(stream).map(|response| response.status)
    };
    assert_eq!(status("GET /mi HTTP/1.1\r\nHost: x\r\n\r\n"), Some(405));
    assert_eq!(status("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"), Some(404));
    let from_page = "POST /mi HTTP/1.1\r\nHost: x\r\nOrigin: http://evil.example\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(status(from_page), Some(403));
    let long = "x".repeat(70_000);
    assert_eq!(status(&format!("POST /mi HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n{long}")), Some(413));
    let chunked =
        format!("POST /mi HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n11170\r\n{long}\r\n0\r\n\r\n");
    assert_eq!(status(&chunked), Some(413));
    assert_eq!(status("nonsense\r\n\r\n"), Some(400));
    assert_eq!(status(&format!("POST /mi HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(200_000))), Some(431));
    for length in ["-1", "18446744073709551616", "1, 2"] {
        assert_eq!(status(&format!("POST /mi HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{{}}")), Some(400));
    }
    call(&node, "version", &json!([]));
    node.stop();
}

#[test]
fn whoever_says_nothing_more_is_given_up() {
    let node = node("");
    let before = descriptors(&node);
    let begin = |text: &str| {
        let mut stream = connect(&node);
        stream.write_all(text.as_bytes()).unwrap();
        stream
    };
    let silent = [
        begin(""),
        begin("POST /mi HTT"),
        begin("POST /mi HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{"),
        begin("GET /mi HTTP/1.1\r\nHost: x\r\n\r\n"),
    ];
    for mut stream in silent {
        // Its end, whatever comes before.
        stream.read_to_end(&mut Vec::new()).unwrap();
    }
    // It hangs up before it lets go of the connection.
    let end = std::time::Instant::now() + crate::daemon::PATIENCE;
    while descriptors(&node) != before {
        assert!(std::time::Instant::now() < end, "{} descriptors, and {before} before", descriptors(&node));
        std::thread::sleep(crate::daemon::LOOK_INTERVAL);
    }
    node.stop();
}

#[test]
fn connections_are_bounded_and_their_room_comes_back() {
    let node = node("");
    let open: Vec<TcpStream> = (0..100).map(|_| connect(&node)).collect();
    // The last ones are closed at once; those before stay.
    for mut stream in open.iter().rev().take(60) {
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    }
    drop(open);
    let end = std::time::Instant::now() + crate::daemon::PATIENCE;
    loop {
        let mut stream = connect(&node);
        let text = "POST /mi HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
        if stream.write_all(text.as_bytes()).is_ok() && Response::of(stream).is_some() {
            break;
        }
        assert!(std::time::Instant::now() < end);
    }
    node.stop();
}
