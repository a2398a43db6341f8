//! The process and its commands, by the commands of OpenSIPS's core.

use super::answer::{Answer, Fault};
use super::parameters::Signature;
use super::registry::Registry;
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub(super) const COMMANDS: &[&Signature] = &[&WHICH, &HELP, &VERSION, &UPTIME, &PS];

static WHICH: Signature = Signature {
    name: "which",
    old_name: "",
    forms: &[&[], &["command"]],
    list: "",
    what: "The names of all commands, those of a module (usrloc:), or the parameters of one.",
};
static HELP: Signature =
    Signature { name: "help", old_name: "", forms: &[&["mi_cmd"]], list: "", what: "What a command does." };
static VERSION: Signature =
    Signature { name: "version", old_name: "", forms: &[&[]], list: "", what: "Which release of sipfed runs." };
static UPTIME: Signature =
    Signature { name: "uptime", old_name: "", forms: &[&[]], list: "", what: "Since when the node runs." };
static PS: Signature =
    Signature { name: "ps", old_name: "", forms: &[&[]], list: "", what: "The threads of the node." };

/// Adds the commands of this file, behind all others: what can be asked for is known then.
pub(super) fn add(registry: &mut Registry, started: Instant, started_at: SystemTime) {
    let known: Arc<[&'static Signature]> = registry.signatures().chain(COMMANDS.iter().copied()).collect();
    let all = Arc::clone(&known);
    registry.add(&WHICH, move |arguments| {
        let known = Arc::clone(&all);
        async move {
            if !arguments.has("command") {
                return Ok(Answer::Value(names(&known, |_| true)));
            }
            which(&known, &arguments.text("command")?)
        }
    });
    registry.add(&HELP, move |arguments| {
        let known = Arc::clone(&known);
        async move {
            let name = arguments.text("mi_cmd")?;
            let signature = known.iter().find(|signature| signature.is_called(&name)).ok_or_else(unknown)?;
            let module = signature.name.split_once(':').map_or("core", |(module, _)| module);
            Ok(Answer::Value(json!({ "Help": signature.what, "Exported by": module })))
        }
    });
    registry.add(&VERSION, |_| async {
        Ok(Answer::Value(json!({ "Server": concat!("sipfed (", env!("CARGO_PKG_VERSION"), ")") })))
    });
    registry.add(&UPTIME, move |_| async move {
        let up_s = started.elapsed().as_secs();
        Ok(Answer::Value(json!({
            "Now": rfc3339(SystemTime::now()),
            "Up since": rfc3339(started_at),
            "Up time": format!("{up_s} [sec]"),
        })))
    });
    registry.add(&PS, |_| async { ps().map(Answer::Value) });
}

fn which(known: &[&'static Signature], name: &str) -> Result<Answer, Fault> {
    if name.ends_with(':') {
        let names = names(known, |known| known.starts_with(name));
        return if names == json!([]) { Err(unknown()) } else { Ok(Answer::Value(names)) };
    }
    let signature = known.iter().find(|signature| signature.is_called(name)).ok_or_else(unknown)?;
    Ok(Answer::Value(json!(signature.forms)))
}

/// The names of commands, old ones among them: opensips-cli takes no name that is not told here.
fn names(known: &[&'static Signature], is_wanted: impl Fn(&str) -> bool) -> Value {
    let names = known.iter().flat_map(|signature| [signature.name, signature.old_name]);
    names.filter(|name| !name.is_empty() && is_wanted(name)).map(Value::from).collect()
}

fn unknown() -> Fault {
    Fault::new(404, "unknown MI command")
}

fn rfc3339(time: SystemTime) -> String {
    let unix_s = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    sipfed_proto::rfc3339(unix_s)
}

/// The threads, as the kernel tells them.
fn ps() -> Result<Value, Fault> {
    let cannot = |error: std::io::Error| Fault::server(format!("/proc/self/task cannot be read: {error}"));
    let mut threads = Vec::new();
    for entry in fs::read_dir("/proc/self/task").map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let id: Option<u32> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        // A thread may end meanwhile.
        if let (Some(id), Ok(name)) = (id, fs::read_to_string(entry.path().join("comm"))) {
            threads.push((id, name.trim_end().to_owned()));
        }
    }
    threads.sort_unstable();
    let threads = threads.iter().enumerate();
    let threads = threads.map(|(index, (id, name))| json!({ "ID": index, "PID": id, "Type": name }));
    Ok(json!({ "Processes": threads.collect::<Vec<_>>() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(answer: Answer) -> Value {
        let Answer::Value(value) = answer else { panic!() };
        value
    }

    #[test]
    fn which_tells_modules_and_parameters() {
        let known: Vec<&Signature> = crate::ops::signatures().collect();
        assert_eq!(told(which(&known, "ul_dump").unwrap()), json!([[], ["brief"]]));
        let of_usrloc = told(which(&known, "usrloc:").unwrap());
        assert!(of_usrloc.as_array().unwrap().contains(&json!("usrloc:show_contact")), "{of_usrloc}");
        for name in ["", "nothing", "nothing:"] {
            assert_eq!(which(&known, name).err().unwrap().code, 404, "{name}");
        }
    }

    #[test]
    fn no_two_commands_are_called_alike() {
        let known: Vec<&Signature> = crate::ops::signatures().collect();
        for signature in &known {
            for name in [signature.name, signature.old_name].iter().filter(|name| !name.is_empty()) {
                assert_eq!(known.iter().filter(|known| known.is_called(name)).count(), 1, "{name}");
            }
            let is_list_named = signature.forms.iter().any(|form| form.contains(&signature.list));
            assert!(signature.list.is_empty() || is_list_named, "{}", signature.name);
        }
    }
}
