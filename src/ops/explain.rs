//! What would become of a request, by a command: which rules hold for it, where it goes and why, and what the directory says.

use super::answer::{Answer, Fault};
use super::parameters::Signature;
use super::registry::Registry;
use super::shards::Shards;
use crate::config;
use serde_json::{Value, json};
use sipfed_directory::Inquirer;
use sipfed_proto::explain::{Explanation, Unexplained};
use sipfed_proto::{FlowToken, Listener, Source, Transport};
use sipfed_shards::Command;
use sipfed_sip::{Index, scan};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) const COMMANDS: &[&Signature] = &[&EXPLAIN];

static EXPLAIN: Signature = Signature {
    name: "sipfed:explain",
    old_name: "explain",
    forms: &[&["message"], &["message", "source"]],
    list: "",
    what: "What would become of a SIP request, and why. source is where it would come from (udp:ADDRESS:PORT), else what Via says.",
};

/// Adds the command of this file.
pub(super) fn add(registry: &mut Registry, shards: &Shards, listeners: &[Listener], inquirer: Option<Inquirer>) {
    let (shards, listeners) = (shards.clone(), listeners.to_vec());
    registry.add(&EXPLAIN, move |arguments| {
        let (shards, listeners, inquirer) = (shards.clone(), listeners.clone(), inquirer.clone());
        async move {
            let message = with_line_ends(&arguments.text("message")?);
            let from = if arguments.has("source") {
                let text = arguments.text("source")?;
                config::listener(&text)
                    .map_err(|wrong| Fault::bad_value(format!("source: {}; {}", wrong.what, wrong.right)))?
            } else {
                said_source(message.as_bytes())
            };
            let source = source(from, &listeners);
            let mut shard = 0;
            // A shard that is not the one says which is.
            for _ in 0..2 {
                let message = message.clone().into_bytes();
                let explain = |reply| Command::Explain { message, source, reply };
                match shards.ask(shard, explain).await? {
                    Ok(explanation) => {
                        let mut answer = told(&explanation);
                        if let (Some(inquirer), Ok(()), Some(aor)) =
                            (&inquirer, explanation.elsewhere, &explanation.aor)
                        {
                            answer["Directory"] = inquire(inquirer, aor).await;
                        }
                        return Ok(Answer::Value(answer));
                    }
                    Err(Unexplained::Belongs(owner)) => shard = usize::from(owner.0),
                    Err(Unexplained::NoRequest(what)) => return Err(Fault::bad_value(format!("message: {what}"))),
                }
            }
            Err(Fault::server("no shard takes it for its own"))
        }
    });
}

/// What the directory says of an AoR, how long it took, and how old that is.
async fn inquire(inquirer: &Inquirer, aor: &str) -> Value {
    match inquirer.ask(aor).await {
        Ok(found) => {
            let now_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64);
            let age_s = |written_us: i64| (now_us - written_us).max(0) / 1_000_000;
            let homes = found.rows.iter().map(|(home, written_at_us)| match written_at_us {
                Some(written_at_us) => json!({ "Home": home, "Row-Age": age_s(*written_at_us) }),
                None => json!({ "Home": home }),
            });
            json!({ "Answered-In-us": found.took.as_micros() as u64, "Homes": homes.collect::<Vec<_>>() })
        }
        Err(why) => json!({ "Silent": why }),
    }
}

/// A message that was written with an editor: with the line ends of SIP, and an empty line behind its header.
fn with_line_ends(text: &str) -> String {
    if text.contains("\r\n") {
        return text.to_owned();
    }
    let mut text = text.replace('\n', "\r\n");
    if !text.contains("\r\n\r\n") {
        text.push_str(if text.ends_with("\r\n") { "\r\n" } else { "\r\n\r\n" });
    }
    text
}

/// Where the topmost Via says that the message comes from.
fn said_source(message: &[u8]) -> Listener {
    let mut index = Index::new();
    let via = scan(message, &mut index).ok().and_then(|message| message.top_via().ok());
    let ip = via.and_then(|via| via.host.ip()).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let port = via.and_then(|via| via.port).unwrap_or(5060);
    let is_said = |transport: &Transport| {
        via.is_some_and(|via| via.transport.eq_ignore_ascii_case(transport.via_token().as_bytes()))
    };
    let transport = Transport::ALL.into_iter().find(is_said).unwrap_or(Transport::Udp);
    Listener { transport, addr: SocketAddr::new(ip, port) }
}

/// The same as a source of a message to this node.
fn source(from: Listener, listeners: &[Listener]) -> Source {
    let fits =
        |listener: &&Listener| listener.transport == from.transport && listener.addr.is_ipv4() == from.addr.is_ipv4();
    let local = listeners.iter().find(fits).or(listeners.first()).map_or(from.addr, |listener| listener.addr);
    Source { transport: from.transport, remote: from.addr, local, flow: FlowToken::NONE }
}

fn told(explanation: &Explanation) -> Value {
    let Explanation { method, aor, is_from_cluster, signs, rules, outcome, contacts, elsewhere } = explanation;
    let signs = signs.iter().map(|(sign, counts)| json!({ "Sign": sign, "Counts": counts }));
    let rules = rules.iter().enumerate().map(|(index, (name, held))| {
        let name = if name.is_empty() { format!("rule {}", index + 1) } else { name.clone() };
        json!({ "Rule": name, "Held": held })
    });
    let contacts = contacts.iter().map(|contact| match &contact.branch {
        Ok(to) => json!({ "Contact": contact.uri, "Branch": to }),
        Err(why) => json!({ "Contact": contact.uri, "Left-Out": why }),
    });
    json!({
        "Method": method,
        "Address-Of-Record": aor.as_deref().unwrap_or("none here"),
        "From-Cluster": is_from_cluster,
        "Outcome": outcome,
        "Rules": rules.collect::<Vec<_>>(),
        "NAT-Signs": signs.collect::<Vec<_>>(),
        "Contacts": contacts.collect::<Vec<_>>(),
        "Directory": elsewhere.map_or_else(|why| format!("is not asked: {why}"), |()| "is asked for other homes".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_editor_has_written_becomes_a_message() {
        let text = "OPTIONS sip:a@b SIP/2.0\nVia: SIP/2.0/TCP 192.0.2.7:5070;branch=z9hG4bK1";
        for text in
            [text.to_owned(), format!("{text}\n"), format!("{text}\n\n"), text.replace('\n', "\r\n") + "\r\n\r\n"]
        {
            let message = with_line_ends(&text);
            assert!(message.ends_with("branch=z9hG4bK1\r\n\r\n"), "{message:?}");
            let addr = "192.0.2.7:5070".parse().unwrap();
            assert_eq!(said_source(message.as_bytes()), Listener { transport: Transport::Tcp, addr });
        }
    }
}
