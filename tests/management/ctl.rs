//! `sipfed ctl` as a person and as a program sees it.

use crate::daemon::{Daemon, folder};
use crate::node;
use crate::phone::Phones;
use serde_json::Value;
use std::fs;
use std::process::{Command, Stdio};

fn ctl(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_sipfed")).arg("ctl").args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn at(node: &Daemon, arguments: &[&str]) -> (Option<i32>, String, String) {
    let url = node.management.split(' ').next().unwrap();
    ctl(&[&["--url", url], arguments].concat())
}

#[test]
fn people_get_tables_and_programs_json() {
    let node = node("");
    let phones = Phones::of(node.udp);
    phones.register("alice", 1, b"User-Agent: turned\xe2\x80\xae\r\n");
    phones.register("bob", 1, b"User-Agent: phone/1\r\n");
    let (code, table, told) = at(&node, &["ul_show_contact", "location", "bob@fed.example"]);
    assert_eq!((code, told.as_str()), (Some(0), ""));
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("AOR ") && lines[0].ends_with("User-agent"), "{table}");
    assert!(lines[1].starts_with("bob@fed.example ") && lines[1].ends_with(" phone/1"), "{table}");
    let (_, table, _) = at(&node, &["ul_dump"]);
    assert!(table.lines().count() == 3 && !table.contains('\u{202e}'), "{table:?}");
    let (code, json, _) = at(&node, &["ul_dump", "--json"]);
    let dump: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, dump["Domains"][0]["AORs"].as_array().unwrap().len()), (Some(0), 2));
    let (_, values, _) = at(&node, &["get_statistics", "registered_users", "registrar:"]);
    assert!(values.contains("usrloc:registered_users ") && values.contains("registrar:max_expires "), "{values}");
    let (_, report, _) = at(&node, &["report", "--json"]);
    let report: Value = serde_json::from_str(&report).unwrap();
    let shards = report["Shards"].as_array().unwrap();
    assert_eq!(shards.iter().map(|shard| shard["contacts"].as_u64().unwrap()).sum::<u64>(), 2);
    node.stop();
}

#[test]
fn what_the_node_refuses_is_told_with_what_helps() {
    let node = node("");
    for (arguments, code, wanted) in [
        (&["ul_dmp"][..], 1, "did you mean ul_dump?"),
        (&["ul_rm"], 1, "`sipfed ctl which ul_rm` lists its parameters"),
        (&["ul_rm", "location", "alice"], 1, "Domain missing in AOR (400)"),
        (&["ul_add", "location", "a@fed.example", "sip:a@h", "60", "1", "0", "0", "0"], 1, "IP address"),
        (&["reconcile"], 1, "directory.url is not given"),
        (&["ul_dump", "--nonsense"], 2, "--nonsense"),
        (&[], 2, "COMMAND"),
    ] {
        let (status, out, told) = at(&node, arguments);
        assert_eq!((status, out.as_str()), (Some(code), ""), "{told}");
        assert!(told.contains(wanted), "{told}");
    }
    node.stop();
}

#[test]
fn a_node_is_found_by_its_file_or_its_pipe() {
    let folder = folder();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (fifo, file) = (path("fifo"), path("ctl.toml"));
    let replies = folder.to_str().unwrap();
    let node = node(&format!("fifo = \"{fifo}\"\nfifo_reply_directory = \"{replies}\"\n"));
    let (code, out, told) = ctl(&["version", "--fifo", &fifo, "--fifo-reply-directory", replies]);
    assert_eq!((code, told.as_str()), (Some(0), ""));
    assert!(out.contains("sipfed ("), "{out}");
    let address = crate::http::address(&node);
    for ops in [format!("listen = \"{address}\""), format!("fifo = \"{fifo}\"\nfifo_reply_directory = \"{replies}\"")] {
        fs::write(&file, format!("[ops]\n{ops}\n")).unwrap();
        let (code, out, told) = ctl(&["--config", &file, "version"]);
        assert_eq!((code, told.as_str()), (Some(0), ""), "{out}");
    }
    for (text, wanted) in [("", "neither ops.listen nor ops.fifo"), ("[ops]\nlisten = \"127.0.0.1:0\"\n", "port 0")] {
        fs::write(&file, text).unwrap();
        let (code, _, told) = ctl(&["--config", &file, "version"]);
        assert_eq!(code, Some(3));
        assert!(told.contains(wanted), "{told}");
    }
    node.stop();
    let (code, _, told) = ctl(&["version", "--fifo", &fifo]);
    assert!(code == Some(1) && told.contains("no node answers"), "{told}");
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_help_lists_commands_examples_and_exit_codes() {
    let (code, help, _) = ctl(&["--help"]);
    assert_eq!(code, Some(0));
    for wanted in ["usrloc:dump [brief], also ul_dump", "sipfed:drain", "Examples:", "Exit codes:"] {
        assert!(help.contains(wanted), "{help}");
    }
}
