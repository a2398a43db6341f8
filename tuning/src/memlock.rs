//! Locked memory: what io_uring charges to RLIMIT_MEMLOCK.
//!
//! The runtime refuses to start below [`RUNTIME_FLOOR_BYTES`] on every kernel and for every user. A process
//! without CAP_IPC_LOCK is also charged, added up over all processes of its user: for the buffers that each
//! executor registers, without which it works as well, and before Linux 5.12 for the rings themselves, which
//! later kernels charge to the control group.

use crate::{Facts, Finding, KernelVersion, Needs, Verdict};

/// The soft limit below which the runtime makes no executor.
const RUNTIME_FLOOR_BYTES: u64 = 512 << 10;
/// What the rings of one executor cost: three of 64 entries, a page of submission and one of completion
/// entries each, and a small one for a moment at start.
const RINGS_BYTES_PER_SHARD: u64 = 32 << 10;
/// What an executor registers: 64 KiB with each of its three rings.
const BUFFERS_BYTES_PER_SHARD: u64 = 192 << 10;

/// What the limit has to be on the kernels that charge the most.
pub(crate) fn needed_bytes(needs: &Needs) -> u64 {
    let charged = (RINGS_BYTES_PER_SHARD + BUFFERS_BYTES_PER_SHARD) * u64::from(needs.shards);
    charged.max(RUNTIME_FLOOR_BYTES)
}

pub(crate) fn decide(facts: &Facts, needs: &Needs) -> Verdict {
    let soft = facts.memlock.soft;
    let needed = needed_bytes(needs);
    let found = format!("this process may lock {} KiB of memory (RLIMIT_MEMLOCK)", soft >> 10);
    if soft < RUNTIME_FLOOR_BYTES {
        let what = format!("{found}; io_uring needs at least {} KiB", RUNTIME_FLOOR_BYTES >> 10);
        return Verdict::Fatal(Finding::new(what, mend(needed)));
    }
    if soft >= needed || facts.capabilities.ipc_lock {
        return Verdict::Fine;
    }
    let shards = needs.shards;
    if facts.kernel.is_some_and(|version| version < KernelVersion::RINGS_BELONG_TO_CGROUP) {
        let what = format!(
            "{found}; kernels before {} charge the rings to it, and {shards} shards need {} KiB",
            KernelVersion::RINGS_BELONG_TO_CGROUP,
            needed >> 10
        );
        Verdict::Fatal(Finding::new(what, mend(needed)))
    } else {
        let what = format!(
            "{found}, and {shards} shards would register {} KiB; those that cannot say so and work without",
            needed >> 10
        );
        Verdict::Warning(Finding::new(what, mend(needed)))
    }
}

/// How the limit is raised to at least `bytes`, for each way of starting a process.
pub(crate) fn mend(bytes: u64) -> String {
    let kib = bytes.div_ceil(1024);
    format!(
        "ulimit -l {kib}   # in this shell; as root: prlimit --pid $$ --memlock={0}:{0}\n\
         LimitMEMLOCK={kib}K   # in the [Service] section of the systemd unit\n\
         docker run --ulimit memlock={0}:{0} ...",
        kib * 1024
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Capabilities, Limit};

    fn facts(version: KernelVersion, soft_kib: u64, ipc_lock: bool) -> Facts {
        Facts {
            kernel: Some(version),
            memlock: Limit { soft: soft_kib << 10, hard: soft_kib << 10 },
            capabilities: Capabilities { ipc_lock, ..Capabilities::default() },
            ..Facts::of_a_good_host()
        }
    }

    fn needs(shards: u32) -> Needs {
        Needs { shards, ..Needs::small() }
    }

    #[test]
    fn the_floor_of_the_runtime_holds_on_every_kernel_and_for_root() {
        for version in [KernelVersion(5, 10), KernelVersion(6, 1)] {
            let Verdict::Fatal(finding) = decide(&facts(version, 64, true), &needs(2)) else { panic!("passed") };
            assert_eq!(
                finding.what,
                "this process may lock 64 KiB of memory (RLIMIT_MEMLOCK); io_uring needs at least 512 KiB"
            );
            assert_eq!(
                finding.mend,
                "ulimit -l 512   # in this shell; as root: prlimit --pid $$ --memlock=524288:524288\n\
                 LimitMEMLOCK=512K   # in the [Service] section of the systemd unit\n\
                 docker run --ulimit memlock=524288:524288 ..."
            );
        }
    }

    #[test]
    fn rings_are_charged_before_5_12_and_to_unprivileged_processes_only() {
        assert!(matches!(decide(&facts(KernelVersion(5, 11), 8192, false), &needs(64)), Verdict::Fatal(_)));
        assert_eq!(decide(&facts(KernelVersion(5, 11), 8192, true), &needs(64)), Verdict::Fine);
        assert_eq!(decide(&facts(KernelVersion(5, 11), 8192, false), &needs(32)), Verdict::Fine);
    }

    #[test]
    fn on_later_kernels_only_the_buffers_go_without() {
        let Verdict::Warning(finding) = decide(&facts(KernelVersion(5, 12), 8192, false), &needs(64)) else {
            panic!("no warning")
        };
        assert_eq!(
            finding.what,
            "this process may lock 8192 KiB of memory (RLIMIT_MEMLOCK), and 64 shards would register 14336 KiB; those that cannot say so and work without"
        );
    }
}
