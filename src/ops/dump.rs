//! All bindings of the node as JSON, written while they are read.
//!
//! Shards are asked for a page at a time, one after another; nobody waits for it but who asked. What registers or goes
//! meanwhile may be in it or not; what is there all the time is.

use super::answer::{Cut, Pieces};
use super::contact::Contact;
use super::shards::Shards;
use serde_json::Value;
use sipfed_proto::Page;
use sipfed_shards::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// The name of the one table, as OpenSIPS's configurations call it.
pub(super) const TABLE: &str = "location";
/// What OpenSIPS's usrloc tells of its table by default. Nothing here has that size.
const HASH_SIZE: u32 = 512;

/// Writes the dump; `is_brief` leaves the contacts out.
pub(super) async fn write(shards: Shards, is_brief: bool, is_durable: bool, out: Pieces) -> Result<(), Cut> {
    out.send(format!("{{\"Domains\":[{{\"name\":\"{TABLE}\",\"hash_size\":{HASH_SIZE},\"AORs\":[")).await?;
    let mut is_first = true;
    for shard in 0..shards.count() {
        let mut from = Some(0);
        while let Some(number) = from {
            let asked = shards.ask(shard, |reply| Command::Page { from: number, reply }).await;
            let (page, next) = asked.map_err(|_| Cut)?;
            from = next;
            if !page.is_empty() {
                let mut text = Vec::new();
                write_page(&page, is_brief, is_durable, &mut is_first, &mut text);
                out.send(text).await?;
            }
        }
    }
    out.send("]}]}").await
}

fn write_page(page: &Page, is_brief: bool, is_durable: bool, is_first: &mut bool, out: &mut Vec<u8>) {
    let mut bindings = page.bindings().peekable();
    let now_s = unix_s();
    while let Some(aor) = bindings.peek().map(|binding| binding.aor) {
        if !std::mem::take(is_first) {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"AOR\":");
        write_json(&String::from_utf8_lossy(aor), out);
        if !is_brief {
            out.extend_from_slice(b",\"Contacts\":[");
        }
        let mut is_first_contact = true;
        while let Some(binding) = bindings.next_if(|binding| binding.aor == aor) {
            if is_brief {
                continue;
            }
            if !std::mem::take(&mut is_first_contact) {
                out.push(b',');
            }
            write_json(&Contact::new(&binding, now_s, is_durable), out);
        }
        out.extend_from_slice(if is_brief { b"}" } else { b"]}" });
    }
}

/// One AoR with its contacts.
pub(super) fn one_aor(aor: &str, page: &Page, is_durable: bool) -> Value {
    let now_s = unix_s();
    let contacts = page.bindings().map(|binding| Contact::new(&binding, now_s, is_durable));
    let contacts: Vec<Value> = contacts.filter_map(|contact| serde_json::to_value(contact).ok()).collect();
    serde_json::json!({ "AOR": aor, "Contacts": contacts })
}

fn write_json(value: &impl serde::Serialize, out: &mut Vec<u8>) {
    // Texts and numbers in memory are always written.
    let _ = serde_json::to_writer(out, value);
}

/// Rounded up, as the end of a binding is.
fn unix_s() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis().div_ceil(1000) as u32)
}
