//! What rules of the file do to registrations, as the management interface of a real daemon shows it.

use crate::daemon::Daemon;
use crate::http::call;
use crate::node;
use crate::phone::Phones;
use serde_json::{Value, json};

const RULES: &str = "\
[[policy]]
name = \"phones that share a private address\"
domains = [\"fed.example\"]
matching_mode = \"contact-callid\"
[[policy]]
name = \"our edge proxy\"
sources = [\"127.0.0.1\"]
header = \"Path: *\"
path_received = true
matching_mode = \"<rinstance>\"
";

/// Registers `user` with this Call-ID, Contact and more lines.
fn register(phones: &Phones, user: &str, call: &str, contact: &str, lines: &str) {
    let bytes = phones.register_bytes(user, 1, lines.as_bytes());
    let text = String::from_utf8(bytes).unwrap();
    let text = text.replace(&format!("Call-ID: {user}"), &format!("Call-ID: {call}"));
    let text = text.replace(&format!("z9hG4bK-{user}"), &format!("z9hG4bK-{call}"));
    let text = text.replace(&format!("<sip:{user}@{}>", phones.local), &format!("<{contact}>"));
    let answer = phones.ask(text.as_bytes());
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
}

/// What is held of `user`: of each contact Call-ID, URI, and where it was seen behind a NAT.
fn held(node: &Daemon, user: &str) -> Vec<[Value; 3]> {
    let params = json!({ "table_name": "location", "aor": format!("{user}@fed.example") });
    let told = call(node, "ul_show_contact", &params);
    let contacts = told["Contacts"].as_array().unwrap_or_else(|| panic!("{told}"));
    let mut held: Vec<_> = contacts
        .iter()
        .map(|contact| ["Callid", "Contact", "Received"].map(|member| contact[member].clone()))
        .collect();
    held.sort_by_key(|[call, ..]| call.to_string());
    held
}

#[test]
fn rules_say_which_contacts_are_one_and_where_an_edge_proxy_has_seen_them() {
    let node = node(RULES);
    let phones = Phones::of(node.udp);
    let at = |rest: &str| format!("sip:192.168.1.10:5060{rest}");
    for call in ["one", "two", "one"] {
        register(&phones, "alice", call, &at(""), "");
    }
    assert_eq!(
        held(&node, "alice"),
        [[json!("one"), json!(at("")), json!(null)], [json!("two"), json!(at("")), json!(null)]]
    );
    let path = |seen: &str| format!("Path: <sip:127.0.0.1:5999;lr;received=sip:{seen}>\r\n");
    register(&phones, "bob", "one", &at(";rinstance=1"), &path("203.0.113.7:31000"));
    register(&phones, "bob", "two", &at(";rinstance=2"), &path("203.0.113.7:31001"));
    register(&phones, "bob", "three", "sip:10.0.0.1;rinstance=1", &path("198.51.100.7:1024%3Btransport%3Dtcp"));
    assert_eq!(
        held(&node, "bob"),
        [
            [json!("three"), json!("sip:10.0.0.1;rinstance=1"), json!("sip:198.51.100.7:1024;transport=tcp")],
            [json!("two"), json!(at(";rinstance=2")), json!("sip:203.0.113.7:31001")],
        ]
    );
    let explained = String::from_utf8(phones.register_bytes("bob", 2, path("203.0.113.7:31000").as_bytes())).unwrap();
    let params = json!({ "message": explained, "source": format!("udp:{}", phones.local) });
    let told = call(&node, "sipfed:explain", &params)["Outcome"].to_string();
    for part in
        ["by its Path, which says that it was seen at udp:203.0.113.7:31000", "matched by rinstance of the Contact"]
    {
        assert!(told.contains(part), "{told}");
    }
    node.stop();
}
