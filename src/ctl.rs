//! `sipfed ctl`: asks and commands a node that runs, by its management interface.
//!
//! In: a command with its parameters, and where the node is: a URL, a named pipe, or a configuration file that has one of
//! them. Out: text for people, or the result as JSON, on stdout; what went wrong on stderr.

mod client;
mod drain;
mod table;

use crate::cli::{self, Exit};
use crate::ops::{self, Signature};
use crate::show;
use crate::stdout::{self, Output};
use clap::Args;
use client::{CallError, Client};
use serde_json::{Map, Value};
use sipfed_directory::nearest;
use std::fmt::Write;
use std::path::PathBuf;

/// Where a node is looked for that nobody has named: the usual port of OpenSIPS's mi_http, on this host.
const USUAL_URL: &str = "http://127.0.0.1:8888/mi";

/// Where a node that runs is, and how its answers are shown.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The configuration file of the node, which says where its management interface is.
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["url", "fifo"])]
    config: Option<PathBuf>,
    /// Where the management interface listens; by default http://127.0.0.1:8888/mi
    #[arg(long, value_name = "http://ADDRESS:PORT/mi", conflicts_with = "fifo")]
    url: Option<String>,
    /// The named pipe that the node reads commands from (ops.fifo).
    #[arg(long, value_name = "PATH")]
    fifo: Option<PathBuf>,
    /// Where the pipe for the answer is made (ops.fifo_reply_directory).
    #[arg(long, value_name = "DIRECTORY", default_value = "/tmp", requires = "fifo")]
    fifo_reply_directory: PathBuf,
    /// Prints the result as JSON.
    #[arg(long)]
    json: bool,
}

/// What `ctl` takes.
#[derive(Debug, Args)]
pub(crate) struct CtlArguments {
    #[command(flatten)]
    place: Place,
    /// What to do; the commands of OpenSIPS have their names.
    #[arg(value_name = "COMMAND")]
    command: String,
    /// Its parameters: all in their order, or all as NAME=VALUE.
    #[arg(value_name = "PARAMETER")]
    parameters: Vec<String>,
}

/// What stands below the help: every command, with examples.
pub(crate) fn help() -> String {
    let mut text = "Commands:\n".to_owned();
    for signature in ops::signatures() {
        let Signature { name, old_name, forms, what, .. } = signature;
        let forms = forms.iter().map(|form| form.join(" ")).filter(|form| !form.is_empty());
        let forms: Vec<String> = forms.collect();
        let has_none = signature.forms.iter().any(|form| form.is_empty());
        let forms = match forms.join(" | ") {
            none if none.is_empty() => none,
            some if has_none => format!(" [{some}]"),
            some => format!(" {some}"),
        };
        let old_name = if old_name.is_empty() { String::new() } else { format!(", also {old_name}") };
        // Writing to a string cannot fail.
        let _ = write!(text, "  {name}{forms}{old_name}\n      {what}\n");
    }
    text.push_str(
        "\nExamples:\n  sipfed ctl ul_dump\n  sipfed ctl usrloc:show_contact location alice@example.com --json\n  \
         sipfed ctl get_statistics usrloc: registrar:\n  sipfed ctl ul_rm table_name=location aor=alice@example.com\n  \
         sipfed ctl drain --config /etc/sipfed/sipfed.toml\n\nExit codes:\n  0  done; after drain, the node has gone\n  \
         1  no node answers, or it has answered with an error\n  2  the command line is wrong\n  \
         3  the configuration file cannot be read, is not valid, or does not say where the interface is",
    );
    text
}

/// `sipfed ctl`.
pub(crate) fn run(arguments: &CtlArguments) -> Exit {
    let client = match client(&arguments.place) {
        Ok(client) => client,
        Err(exit) => return exit,
    };
    let is_json = arguments.place.json;
    let signature = ops::signatures().find(|signature| signature.is_called(&arguments.command));
    let parameters = parameters(signature, &arguments.parameters);
    if arguments.command == "drain" || arguments.command == "sipfed:drain" {
        return drain::run(&client, is_json);
    }
    call(&client, &arguments.command, &parameters, is_json)
}

fn call(client: &Client, command: &str, parameters: &Value, is_json: bool) -> Exit {
    match client.call(command, parameters) {
        Ok(result) => print(&result, is_json),
        Err(error) => told(client, command, &error),
    }
}

/// What `explain` takes.
#[derive(Debug, Args)]
pub(crate) struct ExplainArguments {
    #[command(flatten)]
    place: Place,
    /// A file with the request, or - for standard input.
    #[arg(long, short, value_name = "MESSAGE")]
    file: PathBuf,
    /// Where the request would come from; by default where its Via says.
    #[arg(long, value_name = "udp:ADDRESS:PORT")]
    source: Option<String>,
}

/// Below the help of `explain`.
pub(crate) const EXPLAIN_EXAMPLES: &str = "\
Examples:
  sipfed explain --file invite.txt --source udp:198.51.100.7:5060
  sipfed explain --file register.txt --config /etc/sipfed/sipfed.toml --json

Nothing is sent, and nothing is changed. Line ends may be those of an editor.";

/// `sipfed explain`.
pub(crate) fn explain(arguments: &ExplainArguments) -> Exit {
    let read = if arguments.file.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(&arguments.file)
    };
    let message = match read {
        Ok(message) => message,
        Err(error) => {
            show::error(&format!("{}: {error}", arguments.file.display()), "name a text file with one SIP request");
            return Exit::BadCommandLine;
        }
    };
    let mut parameters = Map::new();
    parameters.insert("message".to_owned(), message.into());
    if let Some(source) = &arguments.source {
        parameters.insert("source".to_owned(), source.clone().into());
    }
    match client(&arguments.place) {
        Ok(client) => call(&client, "sipfed:explain", &Value::Object(parameters), arguments.place.json),
        Err(exit) => exit,
    }
}

fn client(arguments: &Place) -> Result<Client, Exit> {
    if let Some(fifo) = &arguments.fifo {
        return Ok(Client::Fifo { path: fifo.clone(), replies: arguments.fifo_reply_directory.clone() });
    }
    if let Some(path) = &arguments.config {
        let ops = cli::read_config(path)?.node.ops;
        let right = "add listen = \"127.0.0.1:8888\" below [ops], and restart the node";
        return match (ops.listen.filter(|listen| listen.port() != 0), ops.fifo) {
            (Some(listen), _) => Ok(Client::of_listener(listen)),
            (None, Some(path)) => Ok(Client::Fifo { path, replies: ops.fifo_reply_directory }),
            (None, None) if ops.listen.is_some() => {
                show::error("ops.listen has port 0: only the log of the node says which port it got", right);
                Err(Exit::BadConfiguration)
            }
            (None, None) => {
                show::error(&format!("{} has neither ops.listen nor ops.fifo", path.display()), right);
                Err(Exit::BadConfiguration)
            }
        };
    }
    let url = arguments.url.as_deref().unwrap_or(USUAL_URL);
    Client::of_url(url).map_err(|what| {
        show::error(&format!("--url {url}: {what}"), "write http://ADDRESS:PORT/mi");
        Exit::BadCommandLine
    })
}

/// The parameters as they are sent: named where all of them are, else in their order, with those of a list together.
fn parameters(signature: Option<&Signature>, typed: &[String]) -> Value {
    let is_known = |name: &str| signature.is_none_or(|s| s.forms.iter().any(|form| form.contains(&name)));
    let is_name = |name: &&str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && is_known(name)
    };
    let list = signature.map_or("", |signature| signature.list);
    let named: Option<Map<String, Value>> = typed
        .iter()
        .map(|typed| {
            let (name, value) = typed.split_once('=').filter(|(name, _)| is_name(name))?;
            let value =
                if name == list { value.split_whitespace().map(Value::from).collect() } else { Value::from(value) };
            Some((name.to_owned(), value))
        })
        .collect();
    if let Some(named) = named {
        return Value::Object(named);
    }
    let at = signature.and_then(|s| s.forms.iter().find_map(|form| form.iter().position(|name| *name == list)));
    match at.filter(|at| *at < typed.len()) {
        Some(at) => {
            let (before, listed) = typed.split_at(at);
            let listed: Value = listed.iter().map(String::as_str).map(Value::from).collect();
            before.iter().map(String::as_str).map(Value::from).chain([listed]).collect()
        }
        None => typed.iter().map(String::as_str).map(Value::from).collect(),
    }
}

fn print(result: &Value, is_json: bool) -> Exit {
    let mut output = Output::new();
    let printed = if is_json { output.json(result) } else { output.line(format_args!("{}", table::text(result))) };
    match printed.and_then(|()| output.flush()) {
        Ok(()) => Exit::Done,
        Err(error) => stdout::not_taken(&error),
    }
}

/// Shows why a command was not done.
fn told(client: &Client, command: &str, error: &CallError) -> Exit {
    match error {
        CallError::Away(why) => show::error(
            &format!("no node answers at {client}: {why}"),
            "start the node with listen = \"127.0.0.1:8888\" below [ops], or say where it is by --config, --url or --fifo",
        ),
        CallError::Silent(why) => show::error(
            &format!("the node at {client} has not answered {command}: {why}"),
            "look into its log; the command may have been done",
        ),
        CallError::Fault { code, message, data } => {
            let data = data.as_ref().map_or_else(String::new, |data| format!(": {data}"));
            let text = table::printable(&format!("{command}: {message} ({code}){data}"));
            show::error(&text, &right(command, *code));
        }
    }
    Exit::Failed
}

/// What helps against an error of the node.
fn right(command: &str, code: i64) -> String {
    let names = || ops::signatures().flat_map(|signature| [signature.name, signature.old_name]);
    match code {
        -32601 => match nearest(command, names().filter(|name| !name.is_empty())) {
            Some(name) => format!("did you mean {name}? `sipfed ctl which` lists the commands of the node"),
            None => "`sipfed ctl which` lists the commands of the node".to_owned(),
        },
        -32602 => format!("`sipfed ctl which {command}` lists its parameters"),
        _ => "the message says what was wrong".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sent(command: &str, typed: &[&str]) -> Value {
        let signature = ops::signatures().find(|signature| signature.is_called(command));
        parameters(signature, &typed.iter().map(|typed| (*typed).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn parameters_are_sent_by_name_or_in_order() {
        assert_eq!(sent("ul_rm", &["location", "a@b"]), json!(["location", "a@b"]));
        assert_eq!(sent("ul_rm", &["aor=a@b", "table_name=location"]), json!({"aor": "a@b", "table_name": "location"}));
        let contact = "sip:a@h;x=1";
        assert_eq!(sent("ul_rm_contact", &["location", "a@b", contact]), json!(["location", "a@b", contact]));
        assert_eq!(sent("ul_show_contact", &["location", "user=1@b"]), json!(["location", "user=1@b"]));
        assert_eq!(sent("ul_dump", &[]), json!({}));
    }

    #[test]
    fn what_belongs_to_a_list_is_sent_as_one() {
        assert_eq!(sent("get_statistics", &["usrloc:", "max_expires"]), json!([["usrloc:", "max_expires"]]));
        assert_eq!(sent("statistics:list", &["statistics=usrloc: all"]), json!({"statistics": ["usrloc:", "all"]}));
        assert_eq!(sent("list_statistics", &[]), json!({}));
    }

    #[test]
    fn the_help_names_every_command() {
        let help = help();
        for signature in ops::signatures() {
            assert!(help.contains(signature.name) && help.contains(signature.old_name), "{}", signature.name);
        }
        assert!(help.lines().all(|line| line.chars().count() <= 160), "{help}");
    }
}
