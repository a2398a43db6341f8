//! A real keepalived on a host, which moves one address.

use super::network::Host;
use super::{PATIENCE, folder};
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Instant;

/// A running keepalived. Dropping it ends it as an operator does, so that it gives the address up.
#[derive(Debug)]
pub(crate) struct Keepalived {
    child: Child,
    folder: PathBuf,
}

/// What a keepalived is started with.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    pub(crate) host: &'a Host,
    /// The address that it moves, and the number that all who move it share.
    pub(crate) address: IpAddr,
    pub(crate) router_id: u8,
    pub(crate) priority: u8,
    /// A file with the number of the process without which the host is not to have the address.
    pub(crate) pid_file: &'a Path,
    /// A file by which the node asks for the address to be given up.
    pub(crate) draining_file: &'a Path,
    /// Whether it leaves the address where it is although it has the greater priority.
    pub(crate) stays: bool,
}

impl Keepalived {
    /// Starts it; it tells others that it is there ten times a second, before all else that the machine has to do, and looks
    /// at the process every second.
    pub(crate) fn start(start: &Start<'_>) -> Self {
        let Start { host, address, router_id, priority, pid_file, draining_file, stays } = start;
        let nopreempt = if *stays { " nopreempt\n" } else { "" };
        let folder = folder();
        let (configuration, check) = (folder.join("keepalived.conf"), folder.join("check"));
        fs::write(&check, format!("#!/bin/sh\nkill -0 \"$(cat {})\"\n", pid_file.display())).unwrap();
        fs::set_permissions(&check, fs::Permissions::from_mode(0o755)).unwrap();
        let text = format!(
            "global_defs {{\n vrrp_version 3\n vrrp_rt_priority 50\n script_user root\n}}\n\
             vrrp_script node {{\n script \"{}\"\n interval 1\n fall 1\n rise 1\n weight -60\n}}\n\
             vrrp_track_file draining {{\n file {}\n weight 0\n}}\n\
             vrrp_instance home {{\n state BACKUP\n{nopreempt} interface eth0\n virtual_router_id {router_id}\n priority {priority}\n \
             advert_int 0.1\n virtual_ipaddress {{\n  {address}/24\n }}\n track_script {{\n  node\n }}\n \
             track_file {{\n  draining\n }}\n}}\n",
            check.display(),
            draining_file.display()
        );
        fs::write(&configuration, text).unwrap();
        let log = fs::File::create(folder.join("log")).unwrap();
        let pid = |name: &str| folder.join(name).display().to_string();
        let child = host
            .command("keepalived")
            .args(["--vrrp", "--dont-fork", "--log-console", "--log-detail", "--no-syslog"])
            .args(["--pid", &pid("pid"), "--vrrp_pid", &pid("vrrp-pid")])
            .arg("--use-file")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    /// What it has written so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Keepalived {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let end = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > end {
                let _ = self.child.kill();
            }
            std::thread::sleep(super::LOOK_INTERVAL);
        }
        if std::thread::panicking() {
            eprintln!("keepalived: {}", self.log());
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}
