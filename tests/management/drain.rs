//! `sipfed ctl drain`: new work is refused, what is open is waited for, and the command ends when the node has gone.

use crate::daemon::{Daemon, PATIENCE};
use crate::node;
use crate::phone::Phones;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::Instant;

fn ctl(node: &Daemon, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sipfed"));
    let url = node.management.split(' ').next().unwrap();
    command.args(["ctl", "--url", url]).args(arguments).stdin(Stdio::null());
    command
}

#[test]
fn a_drain_waits_for_what_is_open_and_the_command_for_the_node() {
    let mut node = node("[stop]\ndrain_s = 60\n");
    let (phone, caller) = (Phones::of(node.udp), Phones::of(node.udp));
    phone.register("alice", 1, b"");
    let invite = format!(
        "INVITE sip:alice@fed.example SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK-call\r\nMax-Forwards: 70\r\n\
         From: <sip:caller@fed.example>;tag=2\r\nTo: <sip:alice@fed.example>\r\nCall-ID: call\r\nCSeq: 1 INVITE\r\n\
         Content-Length: 0\r\n\r\n",
        caller.local
    );
    caller.send(invite.as_bytes());
    let ringing = phone.wait_for("INVITE ");

    let mut drain = ctl(&node, &["drain"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(drain.stderr.take().unwrap());
    let mut line = String::new();
    told.read_line(&mut line).unwrap();
    assert_eq!(line, "draining: 1 open transactions are waited for, 60 s at most\n");
    node.line("stopping");
    let end = Instant::now() + PATIENCE;
    loop {
        let answer = phone.ask(&phone.register_bytes("bob", 1, b""));
        if answer.starts_with("SIP/2.0 503 ") {
            break;
        }
        assert!(Instant::now() < end, "{answer}");
    }
    assert!(drain.try_wait().unwrap().is_none(), "the call is open");
    let (_, rest) = ringing.split_once("\r\n").unwrap();
    let busy = rest.replacen("To: <sip:alice@fed.example>", "To: <sip:alice@fed.example>;tag=3", 1);
    let busy: Vec<&str> = busy.split_inclusive("\r\n").filter(|line| !line.starts_with("Max-Forwards")).collect();
    let busy = busy.concat();
    phone.send(format!("SIP/2.0 486 Busy Here\r\n{busy}").as_bytes());
    caller.wait_for("SIP/2.0 486 ");

    assert_eq!(node.wait(), Some(0));
    assert_eq!(drain.wait().unwrap().code(), Some(0));
    let mut result = String::new();
    drain.stdout.take().unwrap().read_to_string(&mut result).unwrap();
    assert!(result.starts_with("the node has gone after "), "{result}");
}

#[test]
fn nobody_to_drain_is_told_with_what_to_do() {
    let node = node("");
    let mut again = ctl(&node, &["drain"]);
    node.stop();
    let output = again.output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("no node answers at http://127.0.0.1:") && told.contains("below [ops]"), "{told}");
}
