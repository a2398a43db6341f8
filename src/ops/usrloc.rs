//! The bindings, by the commands of OpenSIPS's usrloc.
//!
//! There is one table, which is called `location`. AoRs may be written as subscribers are: `alice@example.com`, also with
//! `sip:` before it.

use super::answer::{Answer, Fault};
use super::cluster::Cluster;
use super::contact;
use super::dump::{self, TABLE};
use super::parameters::{Arguments, Signature};
use super::registry::Registry;
use super::shards::Shards;
use crate::directory_tool;
use sipfed_proto::{Ended, limits};
use sipfed_shards::{Command, OwnedBinding};

pub(super) const COMMANDS: &[&Signature] =
    &[&DUMP, &SHOW_CONTACT, &RM, &RM_CONTACT, &ADD, &FLUSH, &SYNC, &CLUSTER_SYNC];

static DUMP: Signature = Signature {
    name: "usrloc:dump",
    old_name: "ul_dump",
    forms: &[&[], &["brief"]],
    list: "",
    what: "All AoRs with their contacts; with brief, not 0, without those.",
};
static SHOW_CONTACT: Signature = Signature {
    name: "usrloc:show_contact",
    old_name: "ul_show_contact",
    forms: &[&["table_name", "aor"]],
    list: "",
    what: "The contacts of one AoR.",
};
static RM: Signature = Signature {
    name: "usrloc:rm",
    old_name: "ul_rm",
    forms: &[&["table_name", "aor"]],
    list: "",
    what: "Removes all contacts of an AoR.",
};
static RM_CONTACT: Signature = Signature {
    name: "usrloc:rm_contact",
    old_name: "ul_rm_contact",
    forms: &[&["table_name", "aor", "contact"]],
    list: "",
    what: "Removes one contact of an AoR.",
};
static ADD: Signature = Signature {
    name: "usrloc:add",
    old_name: "ul_add",
    forms: &[&["table_name", "aor", "contact", "expires", "q", "flags", "cflags", "methods"]],
    list: "",
    what: "Adds a contact to an AoR, or replaces it.",
};
static FLUSH: Signature = Signature {
    name: "usrloc:flush",
    old_name: "ul_flush",
    forms: &[&[]],
    list: "",
    what: "Answers when all that was changed before is as durable as it ever will be.",
};
static SYNC: Signature = Signature {
    name: "usrloc:sync",
    old_name: "ul_sync",
    forms: &[&["table_name"], &["table_name", "aor"]],
    list: "",
    what: "Answers when all that is held of the table, or of one AoR, is as durable as it ever will be.",
};
static CLUSTER_SYNC: Signature = Signature {
    name: "usrloc:cluster_sync",
    old_name: "ul_cluster_sync",
    forms: &[&[]],
    list: "",
    what: "Begins to compare what is held here with what backups hold, and to fetch what is missing.",
};

/// Adds the commands of this file.
pub(super) fn add(registry: &mut Registry, shards: &Shards, is_durable: bool, cluster: Option<&Cluster>) {
    add_sync(registry, shards);
    add_cluster_sync(registry, cluster);
    let all = shards.clone();
    registry.add(&DUMP, move |arguments| {
        let shards = all.clone();
        async move {
            let is_brief = is_brief(&arguments)?;
            let write = move |out| dump::write(shards, is_brief, is_durable, out);
            Ok(Answer::Pieces(Box::new(move |out| Box::pin(write(out)))))
        }
    });
    let all = shards.clone();
    registry.add(&SHOW_CONTACT, move |arguments| {
        let shards = all.clone();
        async move {
            let aor = aor(&arguments)?;
            let find = |reply| Command::Find { aor: aor.as_bytes().into(), reply };
            let page = shards.ask(shards.owner(aor.as_bytes()), find).await?;
            if page.is_empty() {
                return Err(no_aor());
            }
            Ok(Answer::Value(dump::one_aor(&aor, &page, is_durable)))
        }
    });
    let all = shards.clone();
    registry.add(&RM, move |arguments| {
        let shards = all.clone();
        async move {
            // As in OpenSIPS, it is no fault that there was nothing to remove.
            end(&shards, &aor(&arguments)?, None).await?;
            Ok(Answer::ok())
        }
    });
    let all = shards.clone();
    registry.add(&RM_CONTACT, move |arguments| {
        let shards = all.clone();
        async move {
            let (aor, contact) = (aor(&arguments)?, arguments.text("contact")?);
            match end(&shards, &aor, Some(contact.as_bytes().into())).await? {
                Ended::Bindings(_) => Ok(Answer::ok()),
                Ended::NoContact => Err(Fault::new(404, "Contact not found")),
                Ended::NoAor => Err(no_aor()),
            }
        }
    });
    let all = shards.clone();
    registry.add(&ADD, move |arguments| {
        let shards = all.clone();
        async move {
            let binding = binding(&arguments)?;
            shards.change(shards.owner(&binding.aor), |reply| Command::Bind { binding, reply }).await?;
            Ok(Answer::ok())
        }
    });
    let all = shards.clone();
    registry.add(&FLUSH, move |_| {
        let shards = all.clone();
        async move {
            flush(&shards).await?;
            Ok(Answer::ok())
        }
    });
}

/// Until all that every shard has changed before is durable.
async fn flush(shards: &Shards) -> Result<(), Fault> {
    for shard in 0..shards.count() {
        shards.change(shard, |reply| Command::Flush { reply }).await?;
    }
    Ok(())
}

fn add_sync(registry: &mut Registry, shards: &Shards) {
    let all = shards.clone();
    registry.add(&SYNC, move |arguments| {
        let shards = all.clone();
        async move {
            if arguments.has("aor") {
                let aor = aor(&arguments)?;
                let owner = shards.owner(aor.as_bytes());
                let find = |reply| Command::Find { aor: aor.as_bytes().into(), reply };
                if shards.ask(owner, find).await?.is_empty() {
                    return Err(no_aor());
                }
                shards.change(owner, |reply| Command::Flush { reply }).await?;
            } else {
                is_table(&arguments)?;
                flush(&shards).await?;
            }
            Ok(Answer::ok())
        }
    });
}

async fn end(shards: &Shards, aor: &str, contact: Option<Box<[u8]>>) -> Result<Ended, Fault> {
    let end = |reply| Command::End { aor: aor.as_bytes().into(), contact, reply };
    shards.change(shards.owner(aor.as_bytes()), end).await
}

fn no_aor() -> Fault {
    Fault::new(404, "AOR not found")
}

fn is_brief(arguments: &Arguments) -> Result<bool, Fault> {
    if !arguments.has("brief") {
        return Ok(false);
    }
    if arguments.text("brief").is_ok_and(|word| word.eq_ignore_ascii_case("brief")) {
        return Ok(true);
    }
    Ok(arguments.number("brief")? != 0)
}

/// Whether the one table is meant.
fn is_table(arguments: &Arguments) -> Result<(), Fault> {
    if arguments.text("table_name")? == TABLE { Ok(()) } else { Err(Fault::new(404, "Table not found")) }
}

/// The canonical AoR that is meant.
fn aor(arguments: &Arguments) -> Result<String, Fault> {
    is_table(arguments)?;
    let typed = arguments.text("aor")?;
    if !typed.contains('@') {
        return Err(Fault::new(400, "Domain missing in AOR"));
    }
    let canonical = directory_tool::canonical_aor(&typed);
    canonical.map_err(|(what, right)| Fault::bad_value(format!("aor: {what}; {right}")))
}

fn binding(arguments: &Arguments) -> Result<OwnedBinding, Fault> {
    let aor = aor(arguments)?;
    let contact = arguments.text("contact")?;
    let expires = arguments.number("expires")?;
    let expires_s = u32::try_from(expires).ok().filter(|expires_s| (1..=limits::EXPIRES_S_MAX).contains(expires_s));
    let expires_s = expires_s.ok_or_else(|| {
        Fault::bad_value(format!("expires: write 1 to {} seconds; no binding is permanent here", limits::EXPIRES_S_MAX))
    })?;
    let q_milli = contact::q_milli(&arguments.text("q")?)
        .ok_or_else(|| Fault::bad_value("q: write a number from 0 to 1 with three decimals at most"))?;
    // Marks that only a script would read.
    arguments.number("flags")?;
    arguments.text("cflags")?;
    let methods = u32::try_from(arguments.number("methods")?).ok().and_then(contact::from_opensips);
    let methods = methods.ok_or_else(|| {
        Fault::bad_value("methods: write the sum of OpenSIPS's numbers of methods, such as 1 for INVITE; 0 for all")
    })?;
    Ok(OwnedBinding { aor: aor.into_bytes().into(), contact: contact.into_bytes().into(), expires_s, q_milli, methods })
}

fn add_cluster_sync(registry: &mut Registry, cluster: Option<&Cluster>) {
    let compare = cluster.and_then(|cluster| cluster.compare.clone());
    registry.add(&CLUSTER_SYNC, move |_| {
        let compare = compare.clone();
        async move {
            let Some(compare) = compare else {
                let what = "this node has no backup that it is linked with";
                return Err(Fault::new(400, "Clustering not enabled").with(what));
            };
            compare();
            Ok(Answer::ok())
        }
    });
}
