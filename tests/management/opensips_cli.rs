//! OpenSIPS's own tool drives the daemon, as it is, over HTTP and over the named pipe.

use crate::daemon::{Daemon, folder};
use crate::node;
use crate::phone::Phones;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/opensips-cli");
    let output = Command::new(script).stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "without opensips-cli no test; {script} says:\n{told}");
    String::from_utf8(output.stdout).unwrap().trim().into()
});

/// How the tool reaches the daemon.
struct Tool(Vec<String>);

impl Tool {
    fn http(node: &Daemon) -> Self {
        let url = node.management.split(' ').next().unwrap();
        Self(vec!["communication_type=http".to_owned(), format!("url={url}")])
    }

    fn fifo(node: &Daemon, replies: &str) -> Self {
        let path = node.management.split(' ').nth(1).unwrap();
        Self(vec![
            "communication_type=fifo".to_owned(),
            format!("fifo_file={path}"),
            format!("fifo_reply_dir={replies}"),
        ])
    }

    /// What it prints for a command: JSON, or what went wrong.
    fn mi(&self, command: &[&str]) -> Result<Value, String> {
        let options = self.0.iter().flat_map(|option| ["-o", option]);
        let output = Command::new(&*PROGRAM)
            .args(options)
            .args(["-o", "output_type=pretty-print", "-x", "mi"])
            .args(command)
            .env("HOME", env!("CARGO_TARGET_TMPDIR"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        serde_json::from_str(&out).map_err(|_| format!("{out}{error}"))
    }
}

/// `ul_sync`, while bob has a contact.
fn syncs(tool: &Tool) {
    for sync in [&["ul_sync", "location"][..], &["usrloc:sync", "location", "bob@fed.example"]] {
        assert_eq!(tool.mi(sync), Ok(json!("OK")));
    }
    for (sync, fault) in [
        (&["ul_sync", "nowhere"][..], "404: Table not found"),
        (&["ul_sync", "location", "carol@fed.example"], "404: AOR not found"),
        (&["ul_sync", "location", "carol"], "400: Domain missing in AOR"),
    ] {
        assert!(tool.mi(sync).unwrap_err().contains(fault), "{sync:?}");
    }
}

/// What the tool may do over either way.
fn drives(node: &Daemon, tool: &Tool) {
    let names = tool.mi(&["which"]).unwrap();
    for name in ["usrloc:dump", "ul_dump", "get_statistics", "clusterer:reload", "ps"] {
        assert!(names.as_array().unwrap().contains(&json!(name)), "{names}");
    }
    let phones = Phones::of(node.udp);
    phones.register("alice", 7, b"User-Agent: phone/1\r\nPath: <sip:127.0.0.1;lr>\r\nSupported: path\r\n");

    let dump = tool.mi(&["ul_dump"]).unwrap();
    let domain = &dump["Domains"][0];
    assert_eq!((&domain["name"], &domain["hash_size"]), (&json!("location"), &json!(512)));
    let aor = &domain["AORs"][0];
    assert_eq!(aor["AOR"], "alice@fed.example");
    let contact = aor["Contacts"][0].as_object().unwrap();
    // OpenSIPS's order; what a contact does not have is left out.
    let members: Vec<&str> = contact.keys().map(String::as_str).collect();
    let wanted = [
        "Contact",
        "ContactID",
        "Expires",
        "Q",
        "Callid",
        "Cseq",
        "User-agent",
        "Path",
        "State",
        "Flags",
        "Cflags",
        "Socket",
        "Methods",
    ];
    assert_eq!(members, wanted);
    assert_eq!(contact["Contact"], format!("sip:alice@{}", phones.local));
    assert!((3590..=3600).contains(&contact["Expires"].as_u64().unwrap()), "{contact:?}");
    assert!(contact["ContactID"].as_str().unwrap().parse::<u64>().is_ok());
    assert_eq!((&contact["Q"], &contact["Callid"], &contact["Cseq"]), (&json!("1"), &json!("alice"), &json!(7)));
    assert_eq!((&contact["User-agent"], &contact["State"]), (&json!("phone/1"), &json!("CS_SYNC")));
    assert_eq!(contact["Socket"], format!("udp:{}", node.udp));
    assert_eq!(contact["Methods"], 4_294_967_295u32);

    let shown = tool.mi(&["usrloc:show_contact", "location", "alice@fed.example"]).unwrap();
    assert_eq!(shown["AOR"], "alice@fed.example");
    assert_eq!(shown["Contacts"][0]["ContactID"], contact["ContactID"]);
    assert_eq!(tool.mi(&["ul_dump", "brief=1"]).unwrap()["Domains"][0]["AORs"][0], json!({"AOR": "alice@fed.example"}));

    let added = ["ul_add", "location", "bob@fed.example", "sip:bob@127.0.0.1:9", "600", "0.5", "0", "0", "5"];
    assert_eq!(tool.mi(&added), Ok(json!("OK")));
    let shown = tool.mi(&["ul_show_contact", "table_name=location", "aor=bob@fed.example"]).unwrap();
    let contact = &shown["Contacts"][0];
    assert_eq!((&contact["Q"], &contact["Methods"]), (&json!("0.5"), &json!(5)));
    let values = tool.mi(&["get_statistics", "usrloc:", "accepted_regs"]).unwrap();
    assert_eq!((&values["usrloc:registered_users"], &values["usrloc:location-contacts"]), (&json!(2), &json!(2)));
    assert!(values["registrar:accepted_regs"].is_u64(), "{values}");
    let listed = tool.mi(&["list_statistics", "registered_users"]).unwrap();
    assert_eq!(listed, json!({ "usrloc:registered_users": "non-incremental" }));

    syncs(tool);
    let remove = ["ul_rm_contact", "location", "bob@fed.example"];
    assert!(tool.mi(&[&remove[..], &["sip:carol@127.0.0.1"]].concat()).unwrap_err().contains("404: Contact not found"));
    assert_eq!(tool.mi(&[&remove[..], &["sip:bob@127.0.0.1:9"]].concat()), Ok(json!("OK")));
    assert!(tool.mi(&["ul_show_contact", "location", "bob@fed.example"]).unwrap_err().contains("404: AOR not found"));
    assert!(tool.mi(&["ul_rm", "nowhere", "bob@fed.example"]).unwrap_err().contains("404: Table not found"));
    assert!(tool.mi(&["ul_rm", "location", "bob"]).unwrap_err().contains("400: Domain missing in AOR"));
    assert!(tool.mi(&["ul_rm", "location"]).unwrap_err().contains("-32602: Invalid params"));
    assert_eq!(tool.mi(&["ul_rm", "location", "alice@fed.example"]), Ok(json!("OK")));
    assert_eq!(tool.mi(&["ul_flush"]), Ok(json!("OK")));
    assert_eq!(tool.mi(&["ul_dump"]).unwrap()["Domains"][0]["AORs"], json!([]));
    assert!(tool.mi(&["clusterer_reload"]).unwrap_err().contains("400: Clustering not enabled"));
}

#[test]
fn opensips_cli_drives_a_node_over_http() {
    let node = node("");
    drives(&node, &Tool::http(&node));
    node.stop();
}

#[test]
fn opensips_cli_drives_a_node_over_its_pipe() {
    let folder = folder();
    let replies = folder.to_str().unwrap();
    let node = node(&format!("fifo = \"{replies}/fifo\"\nfifo_reply_directory = \"{replies}\"\n"));
    drives(&node, &Tool::fifo(&node, replies));
    node.stop();
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "no pipe is left");
    std::fs::remove_dir(&folder).unwrap();
}

#[test]
fn opensips_cli_takes_nodes_out_of_a_cluster_and_commands_those_that_are_left() {
    let network = format!("127.{}.240.", 20 + std::process::id() % 200);
    let member = |number| {
        let home = format!("{network}{number}");
        format!("[[cluster.node]]\nnode_id = {number}\nurl = \"bin:{home}:5579\"\nsip_addr = \"{home}\"\n")
    };
    let secret = "secret = \"0123456789abcdef0123456789abcdef\"\n";
    let node = node(&format!("[cluster]\ncurrent_id = 1\n{secret}{}{}", member(1), member(2)));
    let tool = Tool::http(&node);
    let state = || tool.mi(&["clusterer_list"]).unwrap()["Clusters"][0]["Nodes"][0]["state"].clone();
    assert_eq!(state(), "enabled");
    assert_eq!(tool.mi(&["clusterer_set_status", "1", "2", "0"]), Ok(json!("OK")));
    assert_eq!(state(), "disabled");
    assert_eq!(tool.mi(&["clusterer:set_status", "cluster_id=1", "node_id=2", "status=1"]), Ok(json!("OK")));
    assert_eq!(state(), "enabled");
    let down = tool.mi(&["cluster_send_mi", "1", "2", "version"]).unwrap_err();
    assert!(down.contains("400: Destination down"), "{down}");
    let not_all = tool.mi(&["cluster_broadcast_mi", "1", "version"]).unwrap_err();
    assert!(not_all.contains("500: Not all nodes have done it"), "{not_all}");
    assert_eq!(tool.mi(&["clusterer_remove_node", "1", "2"]), Ok(json!("OK")));
    assert_eq!(tool.mi(&["clusterer:list"]).unwrap()["Clusters"][0]["Nodes"], json!([]));
    // The tool makes a list of what stands behind the command.
    let show = ["clusterer:broadcast_mi", "1", "ul_show_contact", "location", "nobody@fed.example"];
    let unknown = tool.mi(&show).unwrap_err();
    assert!(unknown.contains("404: AOR not found"), "{unknown}");
    assert!(tool.mi(&["clusterer:broadcast_mi", "1", "version"]).unwrap()["Server"].is_string());
    assert_eq!(tool.mi(&["clusterer_set_status", "1", "0"]), Ok(json!("OK")));
    assert!(tool.mi(&["clusterer:broadcast_mi", "1", "version"]).unwrap_err().contains("400: Local node disabled"));
    let capability = ["clusterer_set_cap_status", "1", "usrloc-contact-repl", "0"];
    assert!(tool.mi(&capability).unwrap_err().contains("404: Capability not found"));
    node.stop();
}
