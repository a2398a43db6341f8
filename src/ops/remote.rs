//! Commands at other nodes, by the commands of OpenSIPS's clusterer, and those of other nodes here.
//!
//! A command goes over the link to a node as a question: one call of JSON-RPC, whose answer comes back the same way. A node
//! does what stands in `cluster.remote_commands`, and never what would send it on: so nothing goes round in circles, and who has
//! broken into one node does not command the others. Bounds are those of questions ([`crate::link::Question`]);
//! [`BROADCAST_MAX`] nodes are asked at a time.

use super::alter::{id, this_cluster};
use super::answer::{Answer, Fault, Pieces};
use super::cluster::Cluster;
use super::clusterer::not_enabled;
use super::dispatch;
use super::json_rpc::{self, Text};
use super::parameters::{Arguments, Signature};
use super::registry::Registry;
use crate::cluster::{Id, NODES_COUNT_MAX};
use crate::link::{ANSWER_MAX, Asker, MESSAGE_BYTES_MAX, QUESTIONS_COUNT_MAX, Question, Unanswered};
use serde_json::{Value, json};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

pub(super) const COMMANDS: &[&Signature] = &[&SEND, &BROADCAST];

/// What other nodes may have this one do unless the configuration says otherwise: it changes nothing.
pub(crate) const READ_ONLY: &[&str] = &[
    "which",
    "help",
    "version",
    "uptime",
    "ps",
    "usrloc:dump",
    "usrloc:show_contact",
    "statistics:get",
    "statistics:list",
    "clusterer:list",
    "clusterer:list_topology",
    "clusterer:list_cap",
    "clusterer:list_shtags",
    "sipfed:report",
];

/// Nodes that one command asks at a time.
const BROADCAST_MAX: usize = NODES_COUNT_MAX;

static SEND: Signature = Signature {
    name: "clusterer:send_mi",
    old_name: "cluster_send_mi",
    forms: &[&["cluster_id", "destination", "cmd_name"], &["cluster_id", "destination", "cmd_name", "cmd_params"]],
    list: "cmd_params",
    what: "Has another node do a command that it takes from others (cluster.remote_commands), and gives its answer.",
};
static BROADCAST: Signature = Signature {
    name: "clusterer:broadcast_mi",
    old_name: "cluster_broadcast_mi",
    forms: &[&["cluster_id", "cmd_name"], &["cluster_id", "cmd_name", "cmd_params"]],
    list: "cmd_params",
    what: "Has all nodes do a command, this one included, whose answer it gives; 500 where not all have done it.",
};

/// Whether a command would send others on.
pub(crate) fn is_sent_on(name: &str) -> bool {
    COMMANDS.iter().any(|signature| signature.is_called(name))
}

/// Adds the commands of this file.
pub(super) fn add(registry: &mut Registry, cluster: Option<&Cluster>) {
    let cluster_of = cluster.cloned();
    registry.add(&SEND, move |arguments| {
        let cluster = cluster_of.clone();
        async move {
            let (cluster, asker, call) = prepared(&arguments, cluster)?;
            let node = id(&arguments, "destination")?;
            if node == cluster.topology().current_id() {
                return Err(Fault::new(400, "Local node specified as destination"));
            }
            ask(&asker, node, call).await.map(Answer::Value)
        }
    });
    let cluster_of = cluster.cloned();
    registry.add(&BROADCAST, move |arguments| {
        let cluster = cluster_of.clone();
        async move {
            let (cluster, asker, call) = prepared(&arguments, cluster)?;
            broadcast(&cluster, &asker, &call).await.map(Answer::Value)
        }
    });
}

/// What a command that is to be sent on needs: the cluster, the way to other nodes, and the call for them.
fn prepared(arguments: &Arguments, cluster: Option<Cluster>) -> Result<(Cluster, Asker, Vec<u8>), Fault> {
    let cluster = cluster.ok_or_else(not_enabled)?;
    this_cluster(arguments, &cluster)?;
    let Some(asker) = cluster.asker.clone() else {
        let what = "this node has no links: neither cluster.secret nor cluster.tls_ca is given";
        return Err(Fault::new(400, "Clustering not enabled").with(what));
    };
    if !cluster.topology().current().is_enabled {
        return Err(Fault::new(400, "Local node disabled"));
    }
    let name = arguments.text("cmd_name")?;
    if is_sent_on(&name) {
        return Err(Fault::bad_value(format!("cmd_name: {name} is not sent on")));
    }
    let mut call = json!({ "jsonrpc": "2.0", "id": 1, "method": name });
    if arguments.has("cmd_params") {
        // opensips-cli sends a single one as it is.
        let params = match arguments.text("cmd_params") {
            Ok(one) => vec![Value::from(one)],
            Err(_) => arguments.list("cmd_params")?.into_iter().map(Value::from).collect(),
        };
        call["params"] = params.into();
    }
    Ok((cluster, asker, call.to_string().into_bytes()))
}

/// Has a node do a call; what it answers.
async fn ask(asker: &Asker, node: Id, call: Vec<u8>) -> Result<Value, Fault> {
    let answer = asker.ask(node, call).await.map_err(|why| unanswered(node, why))?;
    let unreadable = || Fault::server(format!("node {node} has sent what is no answer"));
    let mut answer: Value = serde_json::from_slice(&answer).map_err(|_| unreadable())?;
    if let Some(result) = answer.get_mut("result") {
        return Ok(result.take());
    }
    let error = answer.get("error").ok_or_else(unreadable)?;
    let code = error["code"].as_i64().ok_or_else(unreadable)?;
    let message = error["message"].as_str().ok_or_else(unreadable)?.to_owned();
    let said = error["data"].as_str().map_or_else(|| message.clone(), str::to_owned);
    Err(Fault::new(code, message).with(format!("node {node} says: {said}")))
}

fn unanswered(node: Id, why: Unanswered) -> Fault {
    match why {
        Unanswered::NotUp => {
            Fault::new(400, "Destination down").with(format!("there is no link to node {node}, or it broke meanwhile"))
        }
        Unanswered::TooOld(release) => Fault::new(400, "Send error").with(format!(
            "node {node} runs release {release}, which takes no commands from other nodes: install this release there"
        )),
        Unanswered::TurnedDown => Fault::new(400, "Send error").with(format!(
            "node {node} takes no command now: it has no management interface ([ops]), or too many wait there"
        )),
        Unanswered::TooLong => {
            Fault::bad_value(format!("cmd_params: a command for another node has {MESSAGE_BYTES_MAX} bytes at most"))
        }
        Unanswered::TooSlow => Fault::server(format!(
            "node {node} has not answered within {} s; look there whether it was done",
            ANSWER_MAX.as_secs()
        )),
    }
}

/// Has all enabled nodes do a call at the same time; what this one answers, where all have done it.
async fn broadcast(cluster: &Cluster, asker: &Asker, call: &[u8]) -> Result<Value, Fault> {
    let (topology, mut asked) = (cluster.topology(), JoinSet::new());
    for node in topology.nodes().iter().filter(|node| node.is_enabled).take(BROADCAST_MAX) {
        let (asker, id, call) = (asker.clone(), node.id, call.to_vec());
        asked.spawn_local(async move { (id, ask(&asker, id, call).await) });
    }
    let (mut own, mut done, mut failed) = (Value::Null, Vec::new(), Vec::new());
    while let Some(answered) = asked.join_next().await {
        match answered {
            Ok((id, Ok(value))) => {
                done.push(id);
                if id == topology.current_id() {
                    own = value;
                }
            }
            // What is wrong with a command is wrong with it everywhere.
            Ok((id, Err(fault))) if id == topology.current_id() => return Err(fault),
            Ok((id, Err(fault))) => failed.push((id, fault.data.unwrap_or_else(|| fault.message.into_owned()))),
            Err(error) => return Err(Fault::server(error.to_string())),
        }
    }
    if failed.is_empty() {
        return Ok(own);
    }
    done.sort_unstable();
    failed.sort_unstable();
    let done: Vec<String> = done.iter().map(ToString::to_string).collect();
    let failed: Vec<String> = failed.into_iter().map(|(_, why)| why).collect();
    let what = format!("done by nodes {}; {}", done.join(" "), failed.join("; "));
    Err(Fault::new(500, "Not all nodes have done it").with(what))
}

/// What this node does for others.
#[derive(Debug)]
pub(crate) struct Remote {
    /// What others ask of it.
    pub(crate) questions: mpsc::Receiver<Question>,
    pub(crate) own: Id,
    /// The commands that it does for others, by their names.
    pub(crate) allowed: Arc<[String]>,
}

/// Answers other nodes until the node stops, or nobody can ask any more.
pub(super) async fn serve(remote: Remote, registry: Rc<Registry>, mut stopping: watch::Receiver<bool>) {
    let Remote { mut questions, own, allowed } = remote;
    let places = Arc::new(Semaphore::new(QUESTIONS_COUNT_MAX));
    loop {
        let question = tokio::select! {
            biased;
            _ = stopping.wait_for(|is_stopping| *is_stopping) => return,
            question = questions.recv() => match question {
                Some(question) => question,
                None => return,
            },
        };
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (registry, allowed) = (Rc::clone(&registry), Arc::clone(&allowed));
        tokio::task::spawn_local(async move {
            let Question { from, bytes, answer } = question;
            let said = match refusal(&registry, from, own, &allowed, &bytes) {
                Some(refused) => json_rpc::error(&Value::from(1), &refused).into_bytes(),
                None => gathered(registry, bytes).await,
            };
            // Who asked may be gone.
            let _ = answer.send(said);
            drop(place);
        });
    }
}

/// Why this node does not do what another one asks for.
fn refusal(registry: &Registry, from: Id, own: Id, allowed: &[String], bytes: &[u8]) -> Option<Fault> {
    let Text::One(Ok(call)) = json_rpc::read(bytes) else {
        return Some(Fault::invalid_request().with("another node asks for one call"));
    };
    let method = call.method;
    let forbidden = |what: String| Some(Fault::new(403, "Forbidden").with(what));
    if is_sent_on(&method) {
        return forbidden(format!("{method} is not taken from another node"));
    }
    let signature = registry.signatures().find(|signature| signature.is_called(&method))?;
    if from != own && !allowed.iter().any(|name| name == signature.name) {
        warn!(from = from.get(), command = signature.name, "a command of another node was refused");
        let name = signature.name;
        return forbidden(format!(
            "{name} is taken from no other node: add it to cluster.remote_commands of node {own}"
        ));
    }
    if from != own {
        info!(from = from.get(), command = signature.name, "a command of another node");
    }
    None
}

/// The whole answer to a call, where it is not too long.
async fn gathered(registry: Rc<Registry>, bytes: Box<[u8]>) -> Vec<u8> {
    let (out, mut pieces) = Pieces::channel();
    let gather = async {
        let mut whole = Vec::new();
        while let Some(piece) = pieces.recv().await {
            let Ok(piece) = piece else { return Err("the answer broke off: ask again") };
            if whole.len() + piece.len() > MESSAGE_BYTES_MAX {
                return Err("the answer is too long for a link: ask the node itself");
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    };
    // What is not gathered any more is not done any further.
    let whole = tokio::select! {
        biased;
        whole = gather => whole,
        () = async {
            dispatch::answer(registry, bytes, out).await;
            std::future::pending::<()>().await;
        } => Ok(Vec::new()),
    };
    whole.unwrap_or_else(|what| json_rpc::error(&Value::from(1), &Fault::server(what)).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::answer::Cut;

    #[test]
    fn what_is_allowed_by_default_is_there_and_never_sent_on() {
        for name in READ_ONLY {
            assert!(crate::ops::signatures().any(|signature| signature.name == *name), "{name}");
            assert!(!is_sent_on(name), "{name}");
        }
    }

    fn answered(registry: Registry, call: &str) -> Value {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let answer = runtime.block_on(gathered(Rc::new(registry), call.as_bytes().into()));
        serde_json::from_slice(&answer).unwrap()
    }

    #[test]
    fn an_answer_that_is_too_long_for_a_link_is_told() {
        static LONG: Signature = Signature { name: "test:long", old_name: "", forms: &[&[]], list: "", what: "" };
        let registry = |pieces: usize| {
            let mut registry = Registry::default();
            registry.add(&LONG, move |_| async move {
                let write = async move |out: Pieces| -> Result<(), Cut> {
                    out.send("[1").await?;
                    for _ in 0..pieces {
                        out.send(",1".repeat(4096)).await?;
                    }
                    out.send("]").await
                };
                Ok(Answer::Pieces(Box::new(move |out| Box::pin(async move { write(out).await }))))
            });
            registry
        };
        let call = r#"{"id":1,"method":"test:long"}"#;
        assert_eq!(answered(registry(1), call)["result"].as_array().unwrap().len(), 4097);
        // It would go on for ever.
        let told = answered(registry(usize::MAX), call);
        assert_eq!(told["error"]["data"], "the answer is too long for a link: ask the node itself");
    }

    #[test]
    fn who_asks_for_more_than_one_call_or_to_send_on_is_refused() {
        let registry = Registry::default();
        let code = |text: &str| refusal(&registry, Id::ONE, Id::ONE, &[], text.as_bytes()).map(|fault| fault.code);
        assert_eq!(code("[]"), Some(-32600));
        assert_eq!(code(r#"[{"id":1,"method":"version"}]"#), Some(-32600));
        assert_eq!(code("nonsense"), Some(-32600));
        for name in ["cluster_send_mi", "clusterer:broadcast_mi"] {
            assert_eq!(code(&format!(r#"{{"id":1,"method":"{name}"}}"#)), Some(403));
        }
        assert_eq!(code(r#"{"id":1,"method":"unknown"}"#), None, "the registry says that");
    }
}
