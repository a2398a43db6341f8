//! What a node says to type next does show a registration and a call.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Command, Stdio};

/// A port that is free together with those of the phone and of the caller. sipsak knows ports of four digits.
fn free_port() -> u16 {
    let free = |port| UdpSocket::bind(("127.0.0.1", port)).is_ok();
    let first = 5200 + (std::process::id() % 4000) as u16;
    (first..9970).find(|port| [0, 10, 20].into_iter().all(|offset| free(port + offset))).expect("no port is free")
}

#[test]
fn the_commands_that_a_node_prints_register_a_phone_and_call_it() {
    let data = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("first-call-{}", std::process::id()));
    let mut node = Command::new(env!("CARGO_BIN_EXE_sipfed"))
        .args(["serve", "--hints", "--listen", &format!("udp:127.0.0.1:{}", free_port())])
        .arg("--data-dir")
        .arg(&data)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut commands = Vec::new();
    for line in BufReader::new(node.stdout.take().unwrap()).lines().map(Result::unwrap) {
        let last = line.contains("Stop it:");
        if ["  sip", "  timeout"].iter().any(|start| line.starts_with(start)) {
            commands.push(line);
        }
        if last {
            break;
        }
    }
    // The phone is ended with the script: SIPp waits some seconds for stragglers after its call.
    let script = format!("set -e\ntrap 'kill $!' EXIT\n{}", commands.join("\n"));
    let typed = Command::new("timeout").args(["30", "sh", "-c", &script]).stdin(Stdio::null()).output().unwrap();
    node.kill().unwrap();
    node.wait().unwrap();
    std::fs::remove_dir_all(data).unwrap();

    assert_eq!(commands.len(), 3, "{commands:?}");
    assert_ne!(typed.status.code(), Some(127), "a program is missing: apt-get install sipsak sip-tester");
    let output = [typed.stdout, typed.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(typed.status.success(), "{}\n{script}\n{output}", typed.status);
}
