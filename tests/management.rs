//! The management interface of a real daemon: OpenSIPS's tool and sipfed's own, dumps of many, hostile input, drain.

#[path = "management/ctl.rs"]
mod ctl;
#[path = "sipp/daemon.rs"]
mod daemon;
#[path = "management/drain.rs"]
mod drain;
#[path = "management/dump.rs"]
mod dump;
#[path = "management/explain.rs"]
mod explain;
#[path = "management/fifo.rs"]
mod fifo;
#[path = "management/hostile.rs"]
mod hostile;
#[path = "management/http.rs"]
mod http;
#[path = "management/opensips_cli.rs"]
mod opensips_cli;
#[path = "management/phone.rs"]
mod phone;
#[path = "management/rules.rs"]
mod rules;

use daemon::{Daemon, Start};

const FILE: &str = "[domains]\nnames = [\"fed.example\"]\n[ops]\nlisten = \"127.0.0.1:0\"\n";

/// A daemon that is managed over HTTP, with more in its section `[ops]`.
fn node(more: &str) -> Daemon {
    Daemon::start(&Start { file: &format!("{FILE}{more}"), ..Start::default() })
}
