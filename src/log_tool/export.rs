//! `sipfed log export`: what the log says, as JSON lines.

use super::Stop;
use super::progress::ProgressLine;
use crate::cli::Exit;
use crate::stdout::Output;
use serde::Serialize;
use sipfed_log::{Entry, LogReader};
use sipfed_proto::view::{BindingView, ChangeKind, ChangeView, changes};
use sipfed_proto::{Now, Outbox, Place, Settings, Shard, ShardIndex, rfc3339};
use std::borrow::Cow;
use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::SystemTime;

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The bindings that a node would have if it started now.
    Bindings,
    /// Each change, in the order of its log.
    Changes,
}

/// A binding. Texts of phones that are not UTF-8 are shown as far as they are.
#[derive(Debug, Serialize)]
struct BindingObject<'a> {
    aor: Cow<'a, str>,
    contact: Cow<'a, str>,
    contact_params: Option<Cow<'a, str>>,
    expires_at: String,
    expires_at_s: u32,
    q: f64,
    call_id: Cow<'a, str>,
    cseq: u32,
    user_agent: Option<Cow<'a, str>>,
    path: Option<Cow<'a, str>>,
    /// Where the REGISTER came from.
    received: String,
    transport: &'static str,
    /// The address of the node that it came to.
    local: String,
    instance: Option<Cow<'a, str>>,
    reg_id: Option<u32>,
    methods: Vec<&'static str>,
    flags: Vec<&'static str>,
    contact_id: String,
    registered_at: String,
    updated_at: String,
}

/// A binding and the shard whose log it is in.
#[derive(Debug, Serialize)]
struct ShardBindingObject<'a> {
    #[serde(flatten)]
    binding: BindingObject<'a>,
    shard: u32,
}

/// Where a change stands, what it is about, and what it is.
#[derive(Debug, Serialize)]
struct ChangeObject<'a> {
    shard: u32,
    generation: u64,
    record: u64,
    aor_hash: String,
    #[serde(flatten)]
    kind: KindObject<'a>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
enum KindObject<'a> {
    Bound(Box<BindingObject<'a>>),
    Refreshed { contact_id: String, expires_at: String, expires_at_s: u32, cseq: u32, updated_at: String },
    Removed { contact_id: String, cseq: u32, remembered_until: String, remembered_until_s: u32 },
    Gone { contact_id: String },
    Taken { node: u16, node_shard: u8, history: String, part: u64 },
}

/// A number that is a name, as it is searched for.
fn hex(number: u64) -> String {
    format!("{number:016x}")
}

fn time(unix_s: u32) -> String {
    rfc3339(unix_s.into())
}

fn present(text: &[u8]) -> Option<Cow<'_, str>> {
    (!text.is_empty()).then(|| String::from_utf8_lossy(text))
}

impl<'a> From<&BindingView<'a>> for BindingObject<'a> {
    fn from(binding: &BindingView<'a>) -> Self {
        let flags = [
            (binding.is_natted, "natted"),
            (binding.is_flow_lost, "flow_lost"),
            (binding.supports_gruu, "supports_gruu"),
            (binding.supports_path, "supports_path"),
        ];
        Self {
            aor: String::from_utf8_lossy(binding.aor),
            contact: String::from_utf8_lossy(binding.uri),
            contact_params: present(binding.params),
            expires_at: time(binding.expires_at_s),
            expires_at_s: binding.expires_at_s,
            q: f64::from(binding.q_milli) / 1000.0,
            call_id: String::from_utf8_lossy(binding.call_id),
            cseq: binding.cseq,
            user_agent: present(binding.user_agent),
            path: present(binding.path),
            received: binding.received.to_string(),
            transport: binding.transport.uri_token(),
            local: binding.local.to_string(),
            instance: present(binding.instance),
            reg_id: (binding.reg_id > 0).then_some(binding.reg_id),
            methods: binding.methods().collect(),
            flags: flags.into_iter().filter_map(|(is_set, name)| is_set.then_some(name)).collect(),
            contact_id: hex(binding.contact_id),
            registered_at: time(binding.first_at_s),
            updated_at: time(binding.updated_at_s),
        }
    }
}

impl<'a> From<&ChangeView<'a>> for KindObject<'a> {
    fn from(change: &ChangeView<'a>) -> Self {
        let contact_id = hex(change.contact_id);
        match &change.kind {
            ChangeKind::Bound(binding) => Self::Bound(Box::new(binding.into())),
            ChangeKind::Refreshed { expires_at_s, updated_at_s, cseq } => Self::Refreshed {
                contact_id,
                expires_at: time(*expires_at_s),
                expires_at_s: *expires_at_s,
                cseq: *cseq,
                updated_at: time(*updated_at_s),
            },
            ChangeKind::Removed { cseq, remembered_until_s } => Self::Removed {
                contact_id,
                cseq: *cseq,
                remembered_until: time(*remembered_until_s),
                remembered_until_s: *remembered_until_s,
            },
            ChangeKind::Gone => Self::Gone { contact_id },
            ChangeKind::Taken(position) => Self::Taken {
                node: position.node,
                node_shard: position.shard,
                history: hex(position.history),
                part: position.sequence,
            },
        }
    }
}

pub(super) fn run(reader: &LogReader, what: What, salvage: bool, output: &mut Output) -> Result<Exit, Stop> {
    // Lines of both kinds on one terminal would run into each other.
    let is_apart = !io::stdout().is_terminal();
    let mut progress = ProgressLine::new("reading", reader.layout().shards_count, is_apart);
    let mut replayed = Replayed::new();
    let mut refused = Vec::new();
    let mut stop = None;
    let mut visit = |shard, entry: Entry<'_>| {
        let done = match what {
            What::Bindings => replayed.take(shard, entry, output),
            What::Changes => print_changes(shard, entry, output),
        };
        match done {
            Err(Stop::BadRecord(bad)) if salvage => refused.push(bad),
            Err(reason) => {
                stop = Some(reason);
                return ControlFlow::Break(());
            }
            Ok(()) => {}
        }
        ControlFlow::Continue(())
    };
    let damages = reader.export(salvage, &mut visit, &mut |shard, at| progress.tell(shard, at))?;
    drop(progress);
    if let Some(reason) = stop {
        return Err(reason);
    }
    replayed.print(output)?;
    for lost in damages.iter().map(ToString::to_string).chain(refused) {
        eprintln!("lost: {lost}");
    }
    Ok(Exit::Done)
}

/// The bindings of the shard that is being read.
struct Replayed {
    now: Now,
    machine: Option<(u32, Shard)>,
}

impl Replayed {
    fn new() -> Self {
        // A clock that stands before 1970 ends no binding.
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Self { now: Now::from_unix_ms(since.as_millis() as u64), machine: None }
    }

    /// Does again what an entry says. The first one of another shard ends the one before, which is printed.
    fn take(&mut self, shard: u32, entry: Entry<'_>, output: &mut Output) -> Result<(), Stop> {
        if self.machine.as_ref().is_some_and(|(before, _)| *before != shard) {
            self.print(output)?;
        }
        let (_, machine) = self.machine.get_or_insert_with(|| (shard, machine(self.now)));
        match machine.restore(entry.operations) {
            Ok(_) => Ok(()),
            Err(bad) => Err(bad_record(shard, entry, bad.at, bad.what)),
        }
    }

    /// Prints what is held, and forgets it.
    fn print(&mut self, output: &mut Output) -> Result<(), Stop> {
        let Some((shard, mut machine)) = self.machine.take() else { return Ok(()) };
        // As a start does: what has run out meanwhile ends first.
        let mut nothing = Outbox::new();
        while machine.next_deadline().is_some_and(|deadline| deadline <= self.now) {
            machine.handle_timeout(self.now, &mut nothing);
        }
        for binding in machine.live_bindings(self.now) {
            output.json(&ShardBindingObject { binding: (&binding).into(), shard })?;
        }
        Ok(())
    }
}

/// A machine that takes all entries that it is given. The secret does not matter: entries have the hashes in them.
fn machine(now: Now) -> Shard {
    Shard::new(Arc::new(Settings::default()), Place { index: ShardIndex(0), count: 1 }, [0; 32], now)
}

fn print_changes(shard: u32, entry: Entry<'_>, output: &mut Output) -> Result<(), Stop> {
    for change in changes(entry.operations) {
        let change = change.map_err(|bad| bad_record(shard, entry, bad.at, bad.what))?;
        output.json(&ChangeObject {
            shard,
            generation: entry.generation.number,
            record: entry.sequence.0,
            aor_hash: hex(change.aor_hash),
            kind: (&change).into(),
        })?;
    }
    Ok(())
}

fn bad_record(shard: u32, entry: Entry<'_>, at: usize, what: &str) -> Stop {
    let record = entry.sequence;
    Stop::BadRecord(format!("the log of shard {shard}, record {record}: its change at byte {at} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_utf8_is_replaced_and_leaves_the_line_whole() {
        let text = serde_json::to_string(&present(b"a\xff\"\n\xc3\xa9")).unwrap();
        assert_eq!(text, "\"a\u{fffd}\\\"\\n\u{e9}\"");
        assert_eq!(serde_json::to_string(&present(b"")).unwrap(), "null");
    }
}
