//! `sipfed ctl drain`: asks a node to end, tells how far it is, and ends when it has gone.

use super::client::{CallError, Client};
use super::{print, told};
use crate::cli::Exit;
use crate::show;
use serde_json::{Value, json};
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often the node is asked how far it is.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// What a node may take beyond its drain, to publish and to close its logs.
const CLOSE_MAX: Duration = Duration::from_mins(1);

const COMMAND: &str = "sipfed:drain";

pub(super) fn run(client: &Client, is_json: bool) -> Exit {
    let first = match client.call(COMMAND, &Value::Null) {
        Ok(first) => first,
        Err(error) => return told(client, COMMAND, &error),
    };
    let drain_s = first["Drain-Seconds"].as_u64().unwrap_or_default();
    // A process of another host or container is not seen; the interface alone tells then.
    let process = first["PID"].as_u64().filter(|pid| client.is_here() && runs(*pid));
    let started = Instant::now();
    let end = started + Duration::from_secs(drain_s) + CLOSE_MAX;
    let mut open = first["Open-Transactions"].as_u64();
    tell(open, drain_s);
    loop {
        match client.call(COMMAND, &Value::Null) {
            Ok(progress) => {
                let now_open = progress["Open-Transactions"].as_u64();
                if now_open != open {
                    open = now_open;
                    tell(open, drain_s);
                }
            }
            Err(CallError::Away(_)) if process.is_none_or(|pid| !runs(pid)) => break,
            // It may be too far with its end to answer.
            Err(_) => {}
        }
        if Instant::now() >= end {
            show::error(
                &format!("the node at {client} has not gone within {} s", started.elapsed().as_secs()),
                "look into its log; SIGTERM, and then SIGTERM again, ends it at once",
            );
            return Exit::Failed;
        }
        sleep(POLL_INTERVAL);
    }
    let seconds = started.elapsed().as_secs_f32();
    if is_json {
        return print(&json!({ "State": "gone", "Seconds": seconds }), true);
    }
    print(&Value::from(format!("the node has gone after {seconds:.1} s")), false)
}

/// Whether there is such a process, and it has not ended.
fn runs(pid: u64) -> bool {
    // Its name may hold anything; the state stands behind it. A zombie only waits to be noticed by its parent.
    let state = fs::read_to_string(format!("/proc/{pid}/stat"));
    state.is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X'])))
}

/// Progress goes to stderr: stdout has the result.
fn tell(open: Option<u64>, drain_s: u64) {
    let open = open.map_or_else(|| "some".to_owned(), |open| open.to_string());
    eprintln!("draining: {open} open transactions are waited for, {drain_s} s at most");
}
